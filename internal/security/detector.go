package security

import (
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
)

// Detector is what raises events by itself (package detect).
type Detector string

// The detectors. Those of the platform raise events in the provider's register.
const (
	Refusals     Detector = "REFUSALS"         // calls of one caller that were refused
	CodesGuessed Detector = "CODES_GUESSED"    // wrong codes, and wrong secrets of machine clients
	NewNetwork   Detector = "NEW_NETWORK"      // a privileged member calls from a network for the first time
	MassRead     Detector = "MASS_READ"        // persons read by one caller
	MassExport   Detector = "MASS_EXPORT"      // persons exported by one caller
	KeyNetwork   Detector = "KEY_NETWORK"      // a machine client's proven secret, from a network it isn't bound to
	NoPurpose    Detector = "NO_PURPOSE"       // persons read by one caller who stated no purpose
	Firewall     Detector = "FIREWALL"         // calls that look like attacks
	ClockJump    Detector = "CLOCK_JUMP"       // of the platform: seconds by which clocks differ
	LateEpoch    Detector = "LATE_EPOCH_CLOSE" // of the platform
	LogIntegrity Detector = "LOG_INTEGRITY"    // of the platform: the audit log or the ledger isn't whole
)

// Setting is when a detector of a tenant raises an event: at the threshold-th
// occurrence within the window.
type Setting struct {
	Detector      Detector
	Threshold     int // persons of MassRead, MassExport and NoPurpose, seconds of ClockJump, else occurrences
	WindowMinutes int
	Enabled       bool
	UpdatedAt     *time.Time // nil: as it comes
}

// Window is the time within which occurrences are counted.
func (s *Setting) Window() time.Duration { return time.Duration(s.WindowMinutes) * time.Minute }

// ChangeDetectorInput asks for another setting; what is nil stays.
type ChangeDetectorInput struct {
	Detector      Detector
	Threshold     *int
	WindowMinutes *int
	Enabled       *bool
}

// Limits of settings.
const (
	MaxThreshold = 100_000
	MaxWindow    = 24 * 60 // minutes
)

// Sentinels.
var (
	ErrThreshold = errs.New(errs.Invalid, "a threshold is 1 to %d", MaxThreshold).At("threshold")
	ErrWindow    = errs.New(errs.Invalid, "a window is 1 to %d minutes", MaxWindow).At("windowMinutes")
)

// profile is what is fixed of a detector, and how it is set as it comes.
type profile struct {
	Setting

	category Category
	severity Severity
	text     string // what the event's description says
}

// profiles are all detectors, in the order in which they are listed.
func profiles() []profile {
	p := func(d Detector, threshold, minutes int, c Category, s Severity, text string) profile {
		return profile{Setting{d, threshold, minutes, true, nil}, c, s, text}
	}
	return []profile{
		p(Refusals, 20, 10, CategoryMisuse, Medium, "A caller was refused again and again."),
		p(CodesGuessed, 20, 10, CategoryCredentials, High, "Wrong codes or secrets were tried again and again."),
		p(NewNetwork, 1, 60, CategoryCredentials, Medium, "A privileged member called from a network for the first time."),
		p(MassRead, 2000, 60, CategoryMisuse, High, "A caller read the data of many persons."),
		p(MassExport, 100, 60, CategoryMisuse, High, "A caller asked for exports of many persons."),
		p(KeyNetwork, 1, 60, CategoryCredentials, High, "The secret of a machine client was used from a network that it isn't bound to: it may have leaked."),
		p(NoPurpose, 200, 60, CategoryMisuse, Low, "A caller read the data of many persons without stating a purpose."),
		p(Firewall, 20, 5, CategoryAttack, High, "Many calls looked like attacks."),
		p(ClockJump, 5, 60, CategoryIntegrity, High, "A clock jumped, or two clocks differ: legal time limits and signatures depend on them."),
		p(LateEpoch, 1, 60, CategoryConfiguration, High, "The end of a key epoch is late or stuck: what was erased may be recoverable for longer than promised."),
		p(LogIntegrity, 1, 60, CategoryIntegrity, Critical, "The audit log or the erasure ledger isn't whole: entries are missing or were altered."),
	}
}

func profileOf(d Detector) profile {
	all := profiles()
	return all[max(0, slices.IndexFunc(all, func(p profile) bool { return p.Detector == d }))]
}

// Settings returns the setting of each detector: as stored, else as it comes.
func Settings(stored []Setting) []*Setting {
	all := make([]*Setting, 0, len(profiles()))
	for _, p := range profiles() {
		s := p.Setting
		if i := slices.IndexFunc(stored, func(have Setting) bool { return have.Detector == s.Detector }); i >= 0 {
			s = stored[i]
		}
		all = append(all, &s)
	}
	return all
}

// change applies what is asked for, and returns the names of what changed.
func (s *Setting) change(in ChangeDetectorInput) ([]string, error) {
	fields := []string{}
	replace(&s.Threshold, in.Threshold, &fields, "threshold")
	replace(&s.WindowMinutes, in.WindowMinutes, &fields, "windowMinutes")
	replace(&s.Enabled, in.Enabled, &fields, "enabled")
	switch {
	case s.Threshold < 1 || s.Threshold > MaxThreshold:
		return nil, ErrThreshold
	case s.WindowMinutes < 1 || s.WindowMinutes > MaxWindow:
		return nil, ErrWindow
	}
	return fields, nil
}
