package deadline_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
)

type vector struct {
	ID                     string      `json:"id"`
	ReceivedAt             time.Time   `json:"receivedAt"`
	TimeZone               string      `json:"timeZone"`
	HolidayCalendar        string      `json:"holidayCalendar"`
	Months                 int         `json:"months"`
	PausedDays             int         `json:"pausedDays"`
	LocalReceiptDate       civil.Date  `json:"localReceiptDate"`
	UnrolledDate           civil.Date  `json:"unrolledDate"`
	DueDate                civil.Date  `json:"dueDate"`
	DueWeekday             string      `json:"dueWeekday"`
	DueBefore              time.Time   `json:"dueInstantExclusiveUtc"`
	ExtensionNoticeDueDate *civil.Date `json:"extensionNoticeDueDate"`
	PausedFrom             *civil.Date `json:"pausedFrom"`
	ResumedAt              *civil.Date `json:"resumedAt"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/dsr-deadline-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) != 36 {
		t.Fatalf("%d vectors", len(vs))
	}
	return vs
}

func facts(t *testing.T, received, zone, cal string) deadline.Facts {
	t.Helper()
	at, err := time.Parse(time.RFC3339, received)
	if err != nil {
		t.Fatal(err)
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	c, err := calendar.Get(cal)
	if err != nil {
		t.Fatal(err)
	}
	return deadline.Facts{ReceivedAt: at, Zone: loc, Calendar: c}
}

func (v *vector) facts(t *testing.T) deadline.Facts {
	t.Helper()
	f := facts(t, v.ReceivedAt.Format(time.RFC3339), v.TimeZone, v.HolidayCalendar)
	f.Extended = v.Months == 3
	if v.PausedFrom != nil {
		to := v.ResumedAt.Start(f.Zone).Add(12 * time.Hour)
		f.Pauses = []deadline.Pause{{From: v.PausedFrom.Start(f.Zone).Add(12 * time.Hour), To: &to}}
	}
	return f
}

func compute(t *testing.T, f deadline.Facts) *deadline.Clock {
	t.Helper()
	c, err := deadline.Compute(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			c := compute(t, v.facts(t))
			if c.ReceivedOn != v.LocalReceiptDate || *c.DueDate != v.DueDate || !c.DueBefore.Equal(v.DueBefore) || c.PausedDays != v.PausedDays {
				t.Errorf("received %s, due %s before %s after %d days of pause", c.ReceivedOn, c.DueDate, c.DueBefore, c.PausedDays)
			}
			if got := c.DueDate.Weekday().String()[:3]; got != v.DueWeekday {
				t.Errorf("due on a %s", got)
			}
			if v.ExtensionNoticeDueDate != nil && *c.ExtensionNoticeDueDate != *v.ExtensionNoticeDueDate {
				t.Errorf("notice of extension by %s", c.ExtensionNoticeDueDate)
			}
			if !v.DueDate.After(v.UnrolledDate) && v.DueDate != v.UnrolledDate || v.DueDate != v.UnrolledDate && len(c.Trace) < 4 {
				t.Errorf("the trace has no step for the roll: %v", c.Trace.Lines(deadline.English))
			}
		})
	}
}

func TestTrace(t *testing.T) {
	for _, c := range []struct{ id, da, en string }{
		{
			"V04",
			"Modtaget lørdag den 31. januar 2026 kl. 10.00 (Europe/Copenhagen). Den dag tæller ikke med. 31. januar 2026 + 1 måned = 28. februar 2026 (månedens sidste dag), en lørdag. 28. februar 2026 er en lørdag og 1. marts 2026 er en søndag. Fristen flyttes til næste arbejdsdag: mandag den 2. marts 2026. Fristen udløber ved udgangen af mandag den 2. marts 2026 (kl. 24, Europe/Copenhagen).",
			"Received on Saturday 31 January 2026 at 10:00 (Europe/Copenhagen). That day does not count. 31 January 2026 + 1 month = 28 February 2026 (the last day of that month), a Saturday. 28 February 2026 is a Saturday and 1 March 2026 is a Sunday. The period ends on the next working day: Monday 2 March 2026. The period ends at the end of Monday 2 March 2026 (24:00, Europe/Copenhagen).",
		},
		{
			"V36",
			"Fristen stod stille fra 2. januar 2025 til 30. januar 2025, mens vi ventede på svar: 28 dage. 2. januar 2025 + 1 måned = 2. februar 2025, en søndag. 2. februar 2025 + 28 dage = 2. marts 2025. Regnet forfra fra svaret: 30. januar 2025 + 1 måned = 28. februar 2025. Den tidligste dato gælder: 28. februar 2025, en fredag.",
			"The time limit stood still from 2 January 2025 to 30 January 2025, while an answer was awaited: 28 days. 2 January 2025 + 1 month = 2 February 2025, a Sunday. 2 February 2025 + 28 days = 2 March 2025. Counted anew from the answer: 30 January 2025 + 1 month = 28 February 2025. The earlier date counts: 28 February 2025, a Friday.",
		},
		{
			"V01",
			"5. april 2026 er påskedag og 6. april 2026 er 2. påskedag. Fristen flyttes til næste arbejdsdag: tirsdag den 7. april 2026.",
			"5 April 2026 is Easter Sunday and 6 April 2026 is Easter Monday. The period ends on the next working day: Tuesday 7 April 2026.",
		},
		{
			"V30",
			"Fristen er forlænget og regnes som én periode på tre måneder fra modtagelsen. 25. september 2026 + 3 måneder = 25. december 2026, en fredag. 25. december 2026 er juledag, 26. december 2026 er 2. juledag og 27. december 2026 er en søndag.",
			"The period is extended and counts as one period of three months from receipt. 25 September 2026 + 3 months = 25 December 2026, a Friday. 25 December 2026 is Christmas Day, 26 December 2026 is the second day of Christmas and 27 December 2026 is a Sunday.",
		},
	} {
		for _, v := range vectors(t) {
			if v.ID != c.id {
				continue
			}
			trace := compute(t, v.facts(t)).Trace
			if got := trace.Text(deadline.Danish); !strings.Contains(got, c.da) {
				t.Errorf("%s: %s", c.id, got)
			}
			if got := trace.Text(deadline.English); !strings.Contains(got, c.en) {
				t.Errorf("%s: %s", c.id, got)
			}
		}
	}
}

func TestExtend(t *testing.T) {
	f := facts(t, "2026-03-05T09:00:00+01:00", "Europe/Copenhagen", "DK") // V27
	for at, want := range map[string]error{
		"2026-04-07T21:59:59Z":      nil,
		"2026-04-07T22:00:00Z":      deadline.ErrTooLate,
		"2026-04-08T09:00:00+02:00": deadline.ErrTooLate,
	} {
		told, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		c, err := deadline.Extend(f, told)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", at, err)
		}
		if err == nil && c.DueDate.String() != "2026-06-05" {
			t.Errorf("extended to %s", c.DueDate)
		}
	}
	again := f
	again.Extended = true
	if _, err := deadline.Extend(again, f.ReceivedAt); !errors.Is(err, deadline.ErrTwice) {
		t.Errorf("a second time: %v", err)
	}
	paused := f
	paused.Pauses = []deadline.Pause{{From: f.ReceivedAt.Add(time.Hour)}}
	if _, err := deadline.Extend(paused, f.ReceivedAt.Add(2*time.Hour)); !errors.Is(err, deadline.ErrPaused) {
		t.Errorf("while paused: %v", err)
	}
	v29 := facts(t, "2026-01-31T09:00:00+01:00", "Europe/Copenhagen", "DK")
	v29.Extended = true
	if c := compute(t, v29); c.Target.String() != "2026-04-28" || c.DueDate.String() != "2026-04-30" {
		t.Errorf("target %s, due %s", c.Target, c.DueDate)
	}
}

func TestWrongReadings(t *testing.T) {
	for received, right := range map[string]string{
		"2026-03-26T09:00:00+01:00": "2026-04-27", // not 30 days
		"2026-01-31T09:00:00+01:00": "2026-03-02", // not 3 March
		"2026-03-31T22:30:00+00:00": "2026-05-01", // not by the date in UTC
	} {
		if c := compute(t, facts(t, received, "Europe/Copenhagen", "DK")); c.DueDate.String() != right {
			t.Errorf("%s: due %s, not %s", received, c.DueDate, right)
		}
	}
}

func TestPauses(t *testing.T) {
	f := facts(t, "2026-05-04T09:00:00+02:00", "Europe/Copenhagen", "DK")
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	pause := func(from, to string) deadline.Pause {
		p := deadline.Pause{From: at(from)}
		if to != "" {
			end := at(to)
			p.To = &end
		}
		return p
	}
	p := deadline.DefaultPolicy()
	if deadline.AskedLate(f, at("2026-05-07T21:59:59Z"), p) || !deadline.AskedLate(f, at("2026-05-07T22:00:00Z"), p) {
		t.Error("late is after three working days")
	}

	// One asked too late adds nothing, and an open one of that kind stops nothing.
	idle := pause("2026-05-08T10:00:00+02:00", "2026-05-20T10:00:00+02:00")
	idle.Idle = true
	f.Pauses = []deadline.Pause{idle}
	if c := compute(t, f); c.DueDate.String() != "2026-06-04" || c.PausedDays != 0 {
		t.Errorf("due %s", c.DueDate)
	}
	idle.To = nil
	f.Pauses = []deadline.Pause{idle}
	if c := compute(t, f); c.Paused || c.DueDate.String() != "2026-06-04" {
		t.Errorf("due %s", c.DueDate)
	}

	// While an answer is awaited there is no due date; the one without pauses is known.
	f.Pauses = []deadline.Pause{pause("2026-05-05T10:00:00+02:00", "")}
	c := compute(t, f)
	if !c.Paused || c.DueDate != nil || c.DueBefore != nil || c.BaseDue.String() != "2026-06-04" || c.Urgency(at("2027-01-01T00:00:00Z"), p) != deadline.Paused {
		t.Errorf("%+v", c)
	}

	// Two pauses add up: 2 + 3 days, midnights counted in the tenant's zone.
	f.Pauses = []deadline.Pause{
		pause("2026-05-05T23:59:00+02:00", "2026-05-07T00:01:00+02:00"), pause("2026-05-11T10:00:00+02:00", "2026-05-14T10:00:00+02:00"),
	}
	if c := compute(t, f); c.PausedDays != 5 || c.DueDate.String() != "2026-06-09" {
		t.Errorf("%d days, due %s", c.PausedDays, c.DueDate)
	}

	for name, bad := range map[string][]deadline.Pause{
		"before receipt":  {pause("2026-05-04T08:59:59+02:00", "2026-05-14T10:00:00+02:00")},
		"ends too early":  {pause("2026-05-06T10:00:00+02:00", "2026-05-05T10:00:00+02:00")},
		"overlap":         {pause("2026-05-05T10:00:00+02:00", "2026-05-08T10:00:00+02:00"), pause("2026-05-07T10:00:00+02:00", "2026-05-09T10:00:00+02:00")},
		"open before one": {pause("2026-05-05T10:00:00+02:00", ""), pause("2026-05-07T10:00:00+02:00", "2026-05-09T10:00:00+02:00")},
	} {
		f.Pauses = bad
		if _, err := deadline.Compute(f); !errors.Is(err, deadline.ErrPauses) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUrgency(t *testing.T) {
	c := compute(t, facts(t, "2026-03-05T09:00:00+01:00", "Europe/Copenhagen", "DK")) // due 7 April, after Easter
	for at, want := range map[string]deadline.Urgency{
		"2026-03-27T22:59:59Z": deadline.Green,
		"2026-03-27T23:00:00Z": deadline.Amber, // ten days before
		"2026-03-29T21:59:59Z": deadline.Amber,
		"2026-03-29T22:00:00Z": deadline.Red, // three working days: 30 and 31 March, 1 April
		"2026-04-07T21:59:59Z": deadline.Red,
		"2026-04-07T22:00:00Z": deadline.Overdue,
	} {
		instant, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Urgency(instant, deadline.DefaultPolicy()); got != want {
			t.Errorf("%s: %s, not %s", at, got, want)
		}
	}
	f := facts(t, "2026-04-01T09:00:00+02:00", "Europe/Copenhagen", "DK")
	if got := deadline.ServiceTarget(f, deadline.DefaultPolicy()).String(); got != "2026-04-07" {
		t.Errorf("service target %s", got)
	}
}

func TestBreach(t *testing.T) {
	for _, c := range []struct{ id, aware, limit string }{
		{"B01", "2026-06-12T15:20:00+02:00", "2026-06-15T13:20:00Z"},
		{"B02", "2026-03-27T15:00:00+01:00", "2026-03-30T14:00:00Z"},
		{"B03", "2026-10-23T15:00:00+02:00", "2026-10-26T13:00:00Z"},
		{"B04", "2026-12-24T08:05:00+01:00", "2026-12-27T07:05:00Z"},
		{"B05", "2026-04-01T16:45:00+02:00", "2026-04-04T14:45:00Z"},
	} {
		aware, err := time.Parse(time.RFC3339, c.aware)
		if err != nil {
			t.Fatal(err)
		}
		b := deadline.OfBreach(aware)
		if got := b.Limit.Format(time.RFC3339); got != c.limit {
			t.Errorf("%s: %s", c.id, got)
		}
		if b.FormalEnd.Before(b.Limit) || b.FormalEnd.Sub(b.Limit) >= time.Hour || b.FormalEnd.Minute() != 0 {
			t.Errorf("%s: formal end %s", c.id, b.FormalEnd)
		}
	}
}

// What holds for every request, in every zone and calendar.
func TestProperties(t *testing.T) {
	zones := []string{"Europe/Copenhagen", "Europe/Berlin", "Europe/Helsinki", "Atlantic/Reykjavik", "Pacific/Auckland", "America/New_York"}
	calendars := []string{"DK", "DE", "SE", "NO", "FI", "NL", "EU"}
	begin := time.Date(2023, time.January, 1, 0, 0, 0, 0, time.UTC)
	for range 3000 {
		f := facts(t, begin.Add(span(8*365*24*time.Hour)).Format(time.RFC3339),
			zones[random(len(zones))], calendars[random(len(calendars))])
		c := compute(t, f)
		day := c.ReceivedOn
		switch n := c.DueDate.DaysSince(day); {
		case n < 28, n > 31+12: // the longest row of days off there is: the institutions' at the year's end
			t.Fatalf("%v: due after %d days", f, n)
		case !f.Calendar.Working(*c.DueDate):
			t.Fatalf("%v: due on a day off", f)
		case c.DueDate.Before(day.AddMonths(1)):
			t.Fatalf("%v: due before a month is over", f)
		case *c.DueDate != c.BaseDue || *c.DueDate != *c.ExtensionNoticeDueDate:
			t.Fatalf("%v: without pause and extension the three dates are one", f)
		case civil.Of(c.DueBefore.Add(-time.Nanosecond).In(f.Zone)) != *c.DueDate || civil.Of(c.DueBefore.In(f.Zone)) != c.DueDate.AddDays(1):
			t.Fatalf("%v: %s isn't the end of %s", f, c.DueBefore, c.DueDate)
		}

		// A later receipt is never due earlier.
		later := f
		later.ReceivedAt = f.ReceivedAt.Add(span(60 * 24 * time.Hour))
		if next := compute(t, later); next.DueBefore.Before(*c.DueBefore) {
			t.Fatalf("%v: due %s, received later %s", f, c.DueDate, next.DueDate)
		}

		// The time of day doesn't count.
		same := f
		same.ReceivedAt = day.Start(f.Zone).Add(time.Minute)
		if again := compute(t, same); *again.DueDate != *c.DueDate {
			t.Fatalf("%v: the hour decides", f)
		}

		// A pause never brings the date forward, nor beyond its own days and a roll;
		// a longer pause never brings it forward, either.
		from := f.ReceivedAt.Add(span(3 * 24 * time.Hour))
		to := from.Add(span(60 * 24 * time.Hour))
		paused := f
		paused.Pauses = []deadline.Pause{{From: from, To: &to}}
		p := compute(t, paused)
		if p.DueDate.Before(*c.DueDate) || p.DueDate.After(f.Calendar.Roll(day.AddMonths(1).AddDays(p.PausedDays))) || p.BaseDue != c.BaseDue {
			t.Fatalf("%v: pause %s to %s: due %s", f, from, to, p.DueDate)
		}
		longer := to.Add(24 * time.Hour)
		paused.Pauses = []deadline.Pause{{From: from, To: &longer}}
		if l := compute(t, paused); l.DueDate.Before(*p.DueDate) {
			t.Fatalf("%v: a longer pause brings %s to %s", f, p.DueDate, l.DueDate)
		}

		// An extension is later, and its target isn't later than its due date.
		extended := f
		extended.Extended = true
		if e := compute(t, extended); !e.DueDate.After(*c.DueDate) || e.Target.After(*e.DueDate) || *e.ExtensionNoticeDueDate != *c.DueDate {
			t.Fatalf("%v: extended to %s", f, e.DueDate)
		}
	}
}

// random returns a number from 0 to below n.
func random(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err)
	}
	return int(i.Int64())
}

// span returns a time of up to d, to the second.
func span(d time.Duration) time.Duration {
	return time.Duration(random(int(d/time.Second))) * time.Second
}
