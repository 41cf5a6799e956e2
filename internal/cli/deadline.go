package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // zones, where the machine has none

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
)

// deadlineCmd computes the clock of a request, without server or database.
type deadlineCmd struct {
	Received string   `required:"" placeholder:"INSTANT" help:"When the request came, RFC 3339."`
	Zone     string   `required:"" help:"IANA time zone of the tenant, as in Europe/Copenhagen."`
	Calendar string   `required:"" help:"Holiday calendar: DK, DE, SE, NO, FI, NL or EU; or one in a version, as in DK/1."`
	Pause    []string `placeholder:"FROM..TO" sep:"none" help:"Two instants, RFC 3339, between which an answer was awaited; once for each pause."`
	Extended bool     `help:"The period was extended, and the person told in time."`
	Language string   `enum:"da,en" default:"en" help:"Of the trace: da or en."`
}

// inputError reports what somebody typed wrong. The program ends with 2.
type inputError struct{ err error }

func (e *inputError) Error() string { return e.err.Error() }

func (e *inputError) Unwrap() error { return e.err }

// facts reads the flags.
func (c *deadlineCmd) facts() (f deadline.Facts, err error) {
	if f.ReceivedAt, err = instant("--received", c.Received); err != nil {
		return f, err
	}
	if f.Zone, err = time.LoadLocation(c.Zone); err != nil || c.Zone == "" || f.Zone == time.Local {
		return f, fmt.Errorf("--zone %s: not an IANA time zone, as in Europe/Copenhagen", c.Zone)
	}
	if f.Calendar, err = calendar.Get(c.Calendar); strings.Contains(c.Calendar, "/") {
		f.Calendar, err = versioned(c.Calendar)
	}
	if err != nil {
		return f, fmt.Errorf("--calendar %s: %w", c.Calendar, err)
	}
	for _, p := range c.Pause {
		from, to, ok := strings.Cut(p, "..")
		if !ok {
			return f, fmt.Errorf("--pause %s: write FROM..TO, two instants", p)
		}
		pause, end := deadline.Pause{}, time.Time{}
		if pause.From, err = instant("--pause", from); err == nil {
			end, err = instant("--pause", to)
		}
		if err != nil {
			return f, err
		}
		pause.To = &end
		f.Pauses = append(f.Pauses, pause)
	}
	f.Extended = c.Extended
	return f, nil
}

func versioned(s string) (*calendar.Calendar, error) {
	id, version, own, err := calendar.ParseVersion(s)
	if err != nil {
		return nil, err
	}
	if own != 0 {
		return nil, errors.New("a tenant's own changes are on its server")
	}
	return calendar.At(id, version)
}

func instant(flag, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%s %s: not an instant, as in 2026-03-05T09:00:00+01:00", flag, s)
	}
	return t, nil
}

// Run prints one JSON object.
func (c *deadlineCmd) Run() error {
	f, err := c.facts()
	if err != nil {
		return &inputError{err}
	}
	clock, err := deadline.Compute(f)
	if err != nil {
		return &inputError{err}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	return out.Encode(struct {
		DueDate                *civil.Date `json:"dueDate"`
		DueBefore              *time.Time  `json:"dueBefore"`
		ExtensionNoticeDueDate *civil.Date `json:"extensionNoticeDueDate"`
		BaseDue                civil.Date  `json:"baseDue"`
		Trace                  []string    `json:"trace"`
	}{clock.DueDate, clock.DueBefore, clock.ExtensionNoticeDueDate, clock.BaseDue, clock.Trace.Lines(deadline.Language(c.Language))})
}
