// Package deadline computes the clocks of law: the month of GDPR Art. 12(3) after
// Regulation (EEC, Euratom) 1182/71 Art. 3, with extension and suspension, and the
// 72 hours of Art. 33(1). It is pure: the same facts give the same dates, with the
// same explanation.
package deadline

import (
	"time"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
)

// RuleVersion is the version of the rules of this package. A case notes it with
// the calendar's version.
const RuleVersion = 1

// The periods in months, GDPR Art. 12(3): an extended one is a single period from
// receipt.
const (
	months         = 1
	monthsExtended = 3
)

// Facts is what a clock is computed from.
type Facts struct {
	ReceivedAt time.Time
	Zone       *time.Location     // of the tenant
	Calendar   *calendar.Calendar // of the tenant's country
	Pauses     []Pause            // in their order
	Extended   bool
}

// Pause is a time in which the person was asked for something without which the
// request can't be handled: DOMAIN §2.5.
type Pause struct {
	From time.Time  // the question left
	To   *time.Time // the sufficient answer came; nil while it is awaited
	// Idle pauses are recorded and stop nothing: asked too late (see AskedLate), and not
	// allowed by an approver.
	Idle bool
}

// Clock is what follows from Facts.
type Clock struct {
	ReceivedOn civil.Date // in the tenant's zone
	// Paused is true while an answer is awaited. Then there is no due date.
	Paused     bool
	PausedDays int

	DueDate   *civil.Date // the last day
	DueBefore *time.Time  // its end: the first instant that is too late
	// ExtensionNoticeDueDate is the last day on which an extension can be told.
	ExtensionNoticeDueDate *civil.Date
	ExtensionNoticeBefore  *time.Time
	// BaseDue is the last day without any pause. Going past it needs a note.
	BaseDue    civil.Date
	BaseBefore time.Time
	// Target is when to be ready: of an extended period, the earlier of both readings.
	Target *civil.Date

	Trace Trace

	zone *time.Location
	cal  *calendar.Calendar
}

// Sentinels.
var (
	ErrPauses = errs.New(errs.Invalid, "pauses are given in their order, don't overlap, begin after receipt, and only the last may be open").At("pauses")
	// ErrTwice refuses a second extension.
	ErrTwice = errs.New(errs.Precondition, "the period was extended already: Art. 12(3) allows it once").Under("art12.extendOnce")
	// ErrTooLate refuses an extension of which the person wasn't told in time.
	ErrTooLate = errs.New(errs.Precondition, "the person must be told of an extension within one month of receipt, and that time is over").Under("art12.extensionNotice")
	// ErrPaused refuses an extension while an answer is awaited.
	ErrPaused = errs.New(errs.Precondition, "the clock is paused: extend when it runs again").Under("art12.paused")
)

// Compute returns the clock of a request. It fails with ErrPauses.
func Compute(f Facts) (*Clock, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	c := &Clock{ReceivedOn: civil.Of(f.ReceivedAt.In(f.Zone)), zone: f.Zone, cal: f.Calendar}
	c.Trace.received(f)
	c.BaseDue = f.Calendar.Roll(c.ReceivedOn.AddMonths(months))
	c.BaseBefore = c.end(c.BaseDue)

	var resumed *civil.Date
	for _, p := range f.Pauses {
		switch {
		case p.Idle:
			c.Trace.idle(f, p)
		case p.To == nil:
			c.Paused = true
			c.Trace.open(f, p)
		default:
			from, to := civil.Of(p.From.In(f.Zone)), civil.Of(p.To.In(f.Zone))
			c.PausedDays += to.DaysSince(from)
			resumed = &to
			c.Trace.paused(from, to)
		}
	}
	if c.Paused {
		return c, nil
	}
	notice := f.Calendar.Roll(c.limit(months, resumed, nil))
	n := months
	if f.Extended {
		n = monthsExtended
		c.Trace.extended()
	}
	unrolled := c.limit(n, resumed, &c.Trace)
	due := f.Calendar.Roll(unrolled)
	c.Trace.rolled(f.Calendar, unrolled, due)
	dueBefore, noticeBefore, target := c.end(due), c.end(notice), due
	if f.Extended {
		if chained := c.limit(months, resumed, nil).AddMonths(monthsExtended - months); chained.Before(due) {
			target = chained
		}
	}
	c.DueDate, c.DueBefore, c.Target = &due, &dueBefore, &target
	c.ExtensionNoticeDueDate, c.ExtensionNoticeBefore = &notice, &noticeBefore
	c.Trace.due(due, f.Zone)
	return c, nil
}

func (f *Facts) check() error {
	last, open := f.ReceivedAt, false
	for _, p := range f.Pauses {
		if open || p.From.Before(last) || p.To != nil && p.To.Before(p.From) {
			return ErrPauses
		}
		if last = p.From; p.To != nil {
			last = *p.To
		}
		open = p.To == nil
	}
	return nil
}

// limit returns the last day of n months, before it is moved to a working day: the
// earlier of two readings when there were pauses, suspension and restart.
func (c *Clock) limit(n int, resumed *civil.Date, t *Trace) civil.Date {
	plain := c.ReceivedOn.AddMonths(n)
	t.months(c.ReceivedOn, n, plain)
	if resumed == nil {
		return plain
	}
	suspended, restarted := plain.AddDays(c.PausedDays), resumed.AddMonths(n)
	t.readings(plain, c.PausedDays, suspended, *resumed, n, restarted)
	if restarted.Before(suspended) {
		return restarted
	}
	return suspended
}

// end returns the first instant after a day.
func (c *Clock) end(d civil.Date) time.Time { return d.AddDays(1).Start(c.zone).UTC() }

// Overdue reports whether the answer is owed and late. It blocks nothing.
func (c *Clock) Overdue(at time.Time) bool { return c.DueBefore != nil && !at.Before(*c.DueBefore) }

// Urgency is how a clock stands.
type Urgency string

// The urgencies.
const (
	Green   Urgency = "GREEN"
	Amber   Urgency = "AMBER"
	Red     Urgency = "RED"
	Overdue Urgency = "OVERDUE"
	Paused  Urgency = "PAUSED"
)

// Policy is what a tenant sets.
type Policy struct {
	AmberDays          int // before the due date
	RedWorkingDays     int // before the due date
	AskWorkingDays     int // after receipt: who asks later asks late
	ServiceWorkingDays int // for what must be effective at once
}

// DefaultPolicy returns the policy of DOMAIN §2.3, §2.5 and §2.9.
func DefaultPolicy() Policy {
	return Policy{AmberDays: 10, RedWorkingDays: 3, AskWorkingDays: 3, ServiceWorkingDays: 1}
}

// Escalations returns from when on a running clock is amber and red.
func (c *Clock) Escalations(p Policy) (amber, red time.Time, ok bool) {
	if c.DueDate == nil {
		return amber, red, false
	}
	amber = c.DueDate.AddDays(-p.AmberDays).Start(c.zone).UTC()
	red = c.cal.AddWorking(*c.DueDate, -p.RedWorkingDays).Start(c.zone).UTC()
	return amber, red, true
}

// Urgency returns how the clock stands at an instant.
func (c *Clock) Urgency(at time.Time, p Policy) Urgency {
	amber, red, ok := c.Escalations(p)
	switch {
	case !ok:
		return Paused
	case c.Overdue(at):
		return Overdue
	case !at.Before(red):
		return Red
	case !at.Before(amber):
		return Amber
	default:
		return Green
	}
}

// Extend returns the clock of the same request when its period is extended, told
// at an instant. It fails with ErrTwice, ErrTooLate or ErrPaused.
func Extend(f Facts, told time.Time) (*Clock, error) {
	if f.Extended {
		return nil, ErrTwice
	}
	c, err := Compute(f)
	switch {
	case err != nil:
		return nil, err
	case c.Paused:
		return nil, ErrPaused
	case !told.Before(*c.ExtensionNoticeBefore):
		return nil, ErrTooLate
	}
	f.Extended = true
	return Compute(f)
}

// AskedLate reports whether a question left later than a policy allows, so that it
// stops the clock only if an approver allows it: "without undue delay".
func AskedLate(f Facts, asked time.Time, p Policy) bool {
	latest := f.Calendar.AddWorking(civil.Of(f.ReceivedAt.In(f.Zone)), p.AskWorkingDays)
	return !asked.Before(latest.AddDays(1).Start(f.Zone))
}

// ServiceTarget returns the day by which what must be effective at once should
// be: marketing objections and withdrawn consents.
func ServiceTarget(f Facts, p Policy) civil.Date {
	return f.Calendar.AddWorking(civil.Of(f.ReceivedAt.In(f.Zone)), p.ServiceWorkingDays)
}
