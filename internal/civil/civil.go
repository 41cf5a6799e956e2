// Package civil has the calendar date: a day without time of day or zone, as
// birth dates, relations and legal periods use it.
package civil

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
)

// Date is a day in the Gregorian calendar. The zero Date is no date.
type Date struct { //nolint:recvcheck // decoding needs a pointer, a date is a value
	Year  int
	Month time.Month
	Day   int
}

// ErrFormat reports text that is not a date.
var ErrFormat = errs.New(errs.Invalid, "not a date: write YYYY-MM-DD, a day that exists")

// Parse reads an RFC 3339 full-date, YYYY-MM-DD.
func Parse(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, ErrFormat
	}
	return Of(t), nil
}

// Of returns the date of t in t's own zone.
func Of(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// In writes the day in words: "7. april 2026" in Danish, whose tag begins with da,
// and otherwise "7 April 2026".
func (d Date) In(language string) string {
	if !strings.HasPrefix(strings.ToLower(language), "da") {
		return fmt.Sprintf("%d %s %d", d.Day, d.Month, d.Year)
	}
	months := [...]string{
		"januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober", "november", "december",
	}
	return fmt.Sprintf("%d. %s %d", d.Day, months[d.Month-1], d.Year)
}

// IsZero reports whether d is no date.
func (d Date) IsZero() bool { return d == Date{} }

// Before reports whether d is an earlier day than e.
func (d Date) Before(e Date) bool {
	if d.Year != e.Year {
		return d.Year < e.Year
	}
	if d.Month != e.Month {
		return d.Month < e.Month
	}
	return d.Day < e.Day
}

// After reports whether d is a later day than e.
func (d Date) After(e Date) bool { return e.Before(d) }

// Weekday returns the day of the week.
func (d Date) Weekday() time.Weekday { return d.noon().Weekday() }

// AddDays returns the date n days later.
func (d Date) AddDays(n int) Date { return Of(d.noon().AddDate(0, 0, n)) }

// AddMonths returns the date with the same day number n months later, or the last
// day of that month when it has no such day: Regulation (EEC, Euratom) 1182/71,
// Art. 3(2)(c).
func (d Date) AddMonths(n int) Date {
	first := time.Date(d.Year, d.Month+time.Month(n), 1, 12, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return Date{first.Year(), first.Month(), min(d.Day, last)}
}

// DaysSince returns how many days d is later than e.
func (d Date) DaysSince(e Date) int {
	return int(d.noon().Sub(e.noon()) / (24 * time.Hour))
}

// Start returns the first instant of the day in a zone, also of one that the
// clocks there begin late, or twice.
func (d Date) Start(zone *time.Location) time.Time {
	t := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, zone)
	begin, end := t.ZoneBounds()
	if Of(t).Before(d) {
		return end // midnight was skipped
	}
	if begin.IsZero() {
		return t
	}
	_, before := begin.Add(-time.Second).Zone()
	_, now := t.Zone()
	if earlier := t.Add(time.Duration(now-before) * time.Second); earlier.Before(begin) && Of(earlier) == d {
		return earlier // midnight comes twice
	}
	return t
}

// noon is d as an instant in UTC, where every day has 24 hours.
func (d Date) noon() time.Time { return time.Date(d.Year, d.Month, d.Day, 12, 0, 0, 0, time.UTC) }

// String returns YYYY-MM-DD.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// MarshalJSON writes the date as a string.
func (d Date) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a date from a string.
func (d *Date) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return ErrFormat
	}
	var err error
	*d, err = Parse(s)
	return err
}

// MarshalGQL writes the GraphQL scalar Date.
func (d Date) MarshalGQL(w io.Writer) { _, _ = io.WriteString(w, strconv.Quote(d.String())) }

// UnmarshalGQL reads the GraphQL scalar Date.
func (d *Date) UnmarshalGQL(v any) error {
	s, ok := v.(string)
	if !ok {
		return ErrFormat
	}
	var err error
	*d, err = Parse(s)
	return err
}
