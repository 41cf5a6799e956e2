// Package civil has the calendar date: a day without time of day or zone, as
// birth dates, relations and legal periods use it.
package civil

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
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
