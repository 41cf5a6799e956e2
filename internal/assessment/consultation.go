package assessment

import (
	"strings"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
)

// The time that the authority has, Art. 36(2), in days.
const (
	answerDays    = 8 * 7
	extensionDays = 6 * 7
)

// Note is what happened in a consultation.
type Note string

// The notes.
const (
	Extended  Note = "EXTENDED"  // by six weeks, once
	Suspended Note = "SUSPENDED" // until the authority has what it asked for
	Resumed   Note = "RESUMED"
	Answered  Note = "ANSWERED"
)

// Answer is what the authority said.
type Answer string

// The answers.
const (
	NoObjection Answer = "NO_OBJECTION"
	Advised     Answer = "ADVICE" // in writing, to be followed
	Prohibited  Answer = "PROHIBITED"
)

// Consultation is that of the authority before the processing, Art. 36.
type Consultation struct {
	Authority   string
	ReceivedOn  civil.Date // by the authority: its time runs from here
	ExtendedOn  *civil.Date
	Suspensions []Suspension
	AnsweredOn  *civil.Date
	Outcome     *Answer
	Text        string // what it said
	// DueOn is the last day of its time; nil while it is suspended.
	DueOn *civil.Date
}

// Suspension is a time in which the authority waited for information. Its time
// ends that many days later.
type Suspension struct {
	From  civil.Date
	Until *civil.Date // nil for still
}

func (c *Consultation) suspended() bool {
	n := len(c.Suspensions)
	return n > 0 && c.Suspensions[n-1].Until == nil
}

// reckon computes DueOn: eight weeks after receipt, the day of receipt not counted,
// six more if they were taken, and the days of suspensions. An end on a day off is
// moved to the next working day (Regulation 1182/71, Art. 3(4)).
func (c *Consultation) reckon(cal *calendar.Calendar) {
	c.DueOn = nil
	if c.suspended() {
		return
	}
	days := answerDays
	if c.ExtendedOn != nil {
		days += extensionDays
	}
	for _, s := range c.Suspensions {
		days += s.Until.DaysSince(s.From)
	}
	due := cal.Roll(c.ReceivedOn.AddDays(days))
	c.DueOn = &due
}

// open reports whether the processing must still wait for the authority today.
func (c *Consultation) open(today civil.Date) bool {
	return c.AnsweredOn == nil && (c.DueOn == nil || !today.After(*c.DueOn))
}

// last is the day of the newest thing noted but the extension, which may be told
// at any time.
func (c *Consultation) last() civil.Date {
	n := len(c.Suspensions)
	switch {
	case n == 0:
		return c.ReceivedOn
	case c.Suspensions[n-1].Until != nil:
		return *c.Suspensions[n-1].Until
	default:
		return c.Suspensions[n-1].From
	}
}

// note adds what happened.
func (c *Consultation) note(in NoteInput, today civil.Date) error {
	switch {
	case in.On.Before(c.ReceivedOn) || in.On.After(today):
		return errDateOfPast
	case (in.Note == Answered) != (in.Outcome != nil):
		return errWithOutcome
	case c.AnsweredOn != nil || in.Note != Extended && in.On.Before(c.last()):
		return errNote
	}
	text := strings.TrimSpace(c.Text + "\n\n" + strings.TrimSpace(in.Text))
	if err := checkText("text", text, maxText); err != nil {
		return err
	}
	n := len(c.Suspensions)
	switch in.Note {
	case Extended:
		if c.ExtendedOn != nil {
			return errNote
		}
		c.ExtendedOn = &in.On
	case Suspended:
		if c.suspended() {
			return errNote
		}
		if n == maxPauses {
			return errs.New(errs.Limited, "a consultation is suspended at most %d times", maxPauses)
		}
		c.Suspensions = append(c.Suspensions, Suspension{From: in.On})
	case Resumed:
		if !c.suspended() {
			return errNote
		}
		c.Suspensions[n-1].Until = &in.On
	case Answered:
		if c.suspended() {
			c.Suspensions[n-1].Until = &in.On
		}
		c.AnsweredOn, c.Outcome = &in.On, in.Outcome
	default:
		return errs.New(errs.Invalid, "not a note").At("note")
	}
	c.Text = text
	return nil
}
