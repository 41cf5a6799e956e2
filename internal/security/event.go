// Package security keeps the register of security events (DOMAIN §8.1): what
// happened, when it was detected and recorded, and what was decided about it.
//
// Nothing in it is ever deleted or overwritten unseen. An event begins a history
// to which corrections, activities and dispositions are added. What people write
// is sealed under a key of the tenant, for it may name persons.
//
// Events are recorded by people and machine clients, or raised by detectors
// (package detect), which group what belongs together: there is one open event of
// a detector and group, and it counts.
package security

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Source is how an event became known.
type Source string

// The sources.
const (
	SourceDetector  Source = "DETECTOR" // the platform's own, see Detector; nobody can record it
	SourceStaff     Source = "STAFF"
	SourceSystem    Source = "SYSTEM" // a system beside the platform
	SourceCustomer  Source = "CUSTOMER"
	SourceSupplier  Source = "SUPPLIER"
	SourceAuthority Source = "AUTHORITY"
	SourcePublic    Source = "PUBLIC"
)

// Category is what kind of event it is.
type Category string

// The categories.
const (
	CategoryAccess        Category = "ACCESS"      // somebody had access who ought not to
	CategoryCredentials   Category = "CREDENTIALS" // guessed, leaked or used by somebody else
	CategoryAttack        Category = "ATTACK"      // tried from outside
	CategoryMisuse        Category = "MISUSE"      // by somebody who has access
	CategoryMalware       Category = "MALWARE"
	CategoryPhishing      Category = "PHISHING"
	CategoryDisclosure    Category = "DISCLOSURE"
	CategoryLoss          Category = "LOSS"
	CategoryIntegrity     Category = "INTEGRITY"
	CategoryAvailability  Category = "AVAILABILITY"
	CategoryConfiguration Category = "CONFIGURATION"
	CategoryOther         Category = "OTHER"
)

// Severity is how bad an event is.
type Severity string

// The severities.
const (
	Low      Severity = "LOW"
	Medium   Severity = "MEDIUM"
	High     Severity = "HIGH"
	Critical Severity = "CRITICAL"
)

// Disposition is what was decided about an event (DOMAIN §8.1).
type Disposition string

// The dispositions.
const (
	FalsePositive     Disposition = "FALSE_POSITIVE"
	Benign            Disposition = "BENIGN"
	Mitigated         Disposition = "MITIGATED"
	EscalatedIncident Disposition = "ESCALATED_INCIDENT"
	EscalatedBreach   Disposition = "ESCALATED_BREACH"
	AcceptedRisk      Disposition = "ACCEPTED_RISK"
	Open              Disposition = "OPEN"
)

// Facts are what is known of an event: as it was recorded, or corrected since.
type Facts struct {
	OccurredAt      time.Time
	DetectedAt      time.Time
	Source          Source
	Category        Category
	Severity        Severity
	Description     personal.Text
	AffectedSystems []string // sealed like the description
	AffectedTenants []tenant.ID
}

// Event is one line of the register.
type Event struct {
	Facts

	ID                string
	Tenant            tenant.ID
	RecordedAt        time.Time
	Reporter          string // id of who recorded it
	Disposition       Disposition
	DispositionReason personal.Text
	DispositionBy     *string
	DispositionAt     *time.Time
	LinkedIncident    *string // of an escalated event: the incident or breach it became
	Version           int64   // grows with its history, not when it recurs
	Notes             int     // length of its history

	Detector       *Detector // nil: not raised by one
	Group          *string   // what the detector grouped by: id of a caller or of an object; nil: the whole tenant
	Occurrences    int64     // grows while it is open
	LastOccurredAt time.Time
}

// Kind is what a note of an event's history is.
type Kind string

// The kinds of notes.
const (
	Recorded   Kind = "RECORDED"
	Activity   Kind = "ACTIVITY" // something that was done about it
	Correction Kind = "CORRECTION"
	Disposed   Kind = "DISPOSITION"
)

// Note is an entry of an event's history, which is never changed.
type Note struct {
	ID             string
	Kind           Kind
	At             time.Time // when it took place
	RecordedAt     time.Time
	By             string
	Text           personal.Text // what was done, or the reason
	Facts          *Facts        // from now on: of Recorded and Correction
	Disposition    *Disposition  // of Disposed
	LinkedIncident *string
}

// RecordInput asks for an event.
type RecordInput struct {
	OccurredAt      time.Time
	DetectedAt      time.Time
	Source          Source
	Category        Category
	Severity        Severity
	Description     personal.Text
	AffectedSystems []string
	AffectedTenants []string
}

// ActivityInput tells what was done about an event.
type ActivityInput struct {
	ID   string
	At   time.Time
	Text personal.Text
}

// CorrectInput asks for other facts; what is nil stays.
type CorrectInput struct {
	ID              string
	ExpectedVersion int64
	Reason          personal.Text
	OccurredAt      *time.Time
	DetectedAt      *time.Time
	Category        *Category
	Severity        *Severity
	Description     *personal.Text
	AffectedSystems []string
	AffectedTenants []string
}

// DisposeInput decides about an event.
type DisposeInput struct {
	ID              string
	ExpectedVersion int64
	Disposition     Disposition
	Reason          personal.Text
	LinkedIncident  *string
}

// Filter says which events are listed: those to which all of it applies. The
// times bound RecordedAt.
type Filter struct {
	Disposition *Disposition
	Severity    *Severity
	Category    *Category
	Source      *Source
	From        *time.Time // inclusive
	To          *time.Time // exclusive
}

// Connection is a page of events.
type Connection = page.Connection[*Event]

// Edge is an event in a page of them.
type Edge = page.Edge[*Event]

// Limits.
const (
	maxText    = 4000
	minReason  = 10
	maxReason  = 2000
	maxSystems = 20
	maxSystem  = 100
	maxTenants = 1000
	maxNotes   = 200
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such security event")
	ErrText     = errs.New(errs.Invalid, "a text of 1 to %d characters is needed", maxText)
	ErrReason   = errs.New(errs.Invalid, "a reason is a text of %d to %d characters", minReason, maxReason).At("reason")
	ErrFuture   = errs.New(errs.Invalid, "it can't lie in the future")
	ErrOrder    = errs.New(errs.Invalid, "an event occurs before it is detected").At("detectedAt")
	ErrSource   = errs.New(errs.Invalid, "only the platform's own detectors have this source").At("source")
	ErrSystems  = errs.New(errs.Invalid, "up to %d systems, each of 1 to %d characters on one line", maxSystems, maxSystem).At("affectedSystems")
	ErrTenants  = errs.New(errs.Invalid, "up to %d tenants, which only the provider's register may name beside its own", maxTenants).At("affectedTenants")
	ErrSame     = errs.New(errs.Precondition, "it has this disposition already").At("disposition").Under("securityEvent.disposition")
	ErrLink     = errs.New(errs.Invalid, "the id of an incident is up to 100 letters, digits and . _ : -, of an escalated event only").At("linkedIncident")
	ErrNothing  = errs.New(errs.Invalid, "a correction says what is to be corrected")
	ErrFull     = errs.New(errs.Limited, "the history of an event has at most %d entries", maxNotes)
)

// Owner returns the owner of the key of a tenant's register.
func Owner(of tenant.ID) vault.Owner {
	return vault.Owner{Tenant: of, Subject: string(of), Unit: "security"}
}

func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// check fails unless the facts can be those of an event of the tenant recorded
// at a time, and brings them into their stored form.
func (f *Facts) check(of tenant.ID, provider bool, recorded time.Time) error {
	f.OccurredAt, f.DetectedAt = whole(f.OccurredAt), whole(f.DetectedAt)
	switch {
	case f.OccurredAt.After(recorded):
		return ErrFuture.At("occurredAt")
	case f.DetectedAt.After(recorded):
		return ErrFuture.At("detectedAt")
	case f.OccurredAt.After(f.DetectedAt):
		return ErrOrder
	}
	var err error
	if f.Description, err = text(f.Description); err != nil {
		return errs.At(err, "description")
	}
	if len(f.AffectedSystems) > maxSystems || slices.ContainsFunc(f.AffectedSystems, func(s string) bool {
		return strings.TrimSpace(s) == "" || utf8.RuneCountInString(s) > maxSystem || !utf8.ValidString(s) ||
			strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}) {
		return ErrSystems
	}
	if len(f.AffectedTenants) > maxTenants || slices.ContainsFunc(f.AffectedTenants, func(t tenant.ID) bool {
		return t != of && !provider || !id.ValidTenant(t)
	}) {
		return ErrTenants
	}
	return nil
}

func text(t personal.Text) (personal.Text, error) {
	s := strings.TrimSpace(t.Reveal())
	if s == "" || utf8.RuneCountInString(s) > maxText || !printable(s) {
		return t, ErrText
	}
	return personal.NewText(s), nil
}

func reason(t personal.Text) (personal.Text, error) {
	s := strings.TrimSpace(t.Reveal())
	if n := utf8.RuneCountInString(s); n < minReason || n > maxReason || !printable(s) {
		return t, ErrReason
	}
	return personal.NewText(s), nil
}

// printable reports whether s is text, on any number of lines.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' })
}

// note returns the next entry of the event's history.
func (e *Event) note(kind Kind, at, recorded time.Time, by string) (*Note, error) {
	if e.Notes >= maxNotes && kind != Disposed { // a decision always has room
		return nil, ErrFull
	}
	e.Notes++
	return &Note{ID: id.New(id.SecurityNote, e.Tenant), Kind: kind, At: whole(at), RecordedAt: recorded, By: by}, nil
}

// dispose decides about the event. Any disposition can follow any other: OPEN
// reopens it.
func (e *Event) dispose(in DisposeInput, by string, now time.Time) (*Note, error) {
	why, err := reason(in.Reason)
	if err != nil {
		return nil, err
	}
	escalated := in.Disposition == EscalatedIncident || in.Disposition == EscalatedBreach
	switch {
	case in.Disposition == e.Disposition:
		return nil, ErrSame
	case in.LinkedIncident != nil && (!escalated || !regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`).MatchString(*in.LinkedIncident)):
		return nil, ErrLink
	}
	n, err := e.note(Disposed, now, now, by)
	if err != nil {
		return nil, err
	}
	n.Text, n.Disposition, n.LinkedIncident = why, &in.Disposition, in.LinkedIncident
	e.Disposition, e.DispositionReason, e.DispositionBy, e.DispositionAt = in.Disposition, why, &by, &now
	e.LinkedIncident = in.LinkedIncident
	return n, nil
}

// correct gives the event other facts, and returns the names of those.
func (e *Event) correct(in CorrectInput, provider bool, by string, now time.Time) (*Note, []string, error) {
	why, err := reason(in.Reason)
	if err != nil {
		return nil, nil, err
	}
	f, fields := e.Facts, []string{}
	replace(&f.OccurredAt, in.OccurredAt, &fields, "occurredAt")
	replace(&f.DetectedAt, in.DetectedAt, &fields, "detectedAt")
	replace(&f.Category, in.Category, &fields, "category")
	replace(&f.Severity, in.Severity, &fields, "severity")
	replace(&f.Description, in.Description, &fields, "description")
	if in.AffectedSystems != nil {
		replace(&f.AffectedSystems, &in.AffectedSystems, &fields, "affectedSystems")
	}
	if in.AffectedTenants != nil {
		named := tenants(in.AffectedTenants)
		replace(&f.AffectedTenants, &named, &fields, "affectedTenants")
	}
	if len(fields) == 0 {
		return nil, nil, ErrNothing
	}
	if err := f.check(e.Tenant, provider, e.RecordedAt); err != nil {
		return nil, nil, err
	}
	n, err := e.note(Correction, now, now, by)
	if err != nil {
		return nil, nil, err
	}
	n.Text, n.Facts, e.Facts = why, &f, f
	return n, fields, nil
}

func replace[T any](to, with *T, fields *[]string, name string) {
	if with != nil {
		*to, *fields = *with, append(*fields, name)
	}
}

func tenants(names []string) []tenant.ID {
	ids := make([]tenant.ID, len(names))
	for i, n := range names {
		ids[i] = tenant.ID(n)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
