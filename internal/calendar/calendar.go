// Package calendar knows which days are public holidays: of countries and of the
// institutions of the European Union, as data with versions, and as a tenant
// changes them. What it answers depends on nothing but that data.
package calendar

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
)

// Latest is the newest version of the data. An old case keeps the version that it
// was computed with: files of old versions stay.
const Latest = 1

//go:embed holidays-*.json
var data embed.FS

// Name is what a holiday is called, in the languages of letters.
type Name struct {
	Da string `json:"da"`
	En string `json:"en"`
}

// Calendar is the holidays of one place in one version.
type Calendar struct {
	id      string
	version int
	rules   []rule
	own     Changes
}

// Changes is what a tenant changes in a calendar. Number tells its own versions
// apart, 0 that there is none.
type Changes struct {
	Number  int
	Added   []Day
	Removed []civil.Date
}

// Day is a holiday that a tenant adds.
type Day struct {
	Date civil.Date
	Name string // the same in all languages
}

// file is one version of the data.
type file struct {
	Version   int     `json:"version"`
	Calendars []entry `json:"calendars"`
}

type entry struct {
	ID   string `json:"id"`
	Days []rule `json:"days"`
}

// rule says on which day of a year a holiday falls: one of Date, Easter, or
// Weekday on or after From.
type rule struct {
	Name

	Date    monthDay `json:"date"`
	Easter  *int     `json:"easter"` // days after Easter Sunday
	Weekday string   `json:"weekday"`
	From    monthDay `json:"from"`
	Since   int      `json:"since"` // first year, 0 for no bound
	Until   int      `json:"until"` // last year

	UnlessSunday bool `json:"unlessSunday"` // then it is the day before
}

// monthDay is a day of every year, "12-24".
type monthDay struct {
	month time.Month
	day   int
}

// UnmarshalJSON reads MM-DD.
func (m *monthDay) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	t, err := time.Parse("01-02", s)
	m.month, m.day = t.Month(), t.Day()
	return err
}

func (m monthDay) in(year int) civil.Date { return civil.Date{Year: year, Month: m.month, Day: m.day} }

// ErrUnknown reports a calendar that isn't in the data.
var ErrUnknown = errs.New(errs.Invalid, "there is no such holiday calendar: there are DK, DE, SE, NO, FI, NL and EU").At("holidayCalendar")

// Get returns a calendar in the newest version, or ErrUnknown.
func Get(id string) (*Calendar, error) { return At(id, Latest) }

// At returns a calendar in a version of the data, or ErrUnknown.
func At(id string, version int) (*Calendar, error) {
	b, err := data.ReadFile("holidays-" + strconv.Itoa(version) + ".json")
	if err != nil {
		return nil, ErrUnknown.Because(err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("read holidays, version %d: %w", version, err)
	}
	for _, e := range f.Calendars {
		if e.ID == id {
			return &Calendar{id: id, version: f.Version, rules: e.Days}, nil
		}
	}
	return nil, ErrUnknown
}

// With returns the calendar as a tenant changes it.
func (c *Calendar) With(own Changes) *Calendar {
	return &Calendar{id: c.id, version: c.version, rules: c.rules, own: own}
}

// ID returns the calendar's id, "DK".
func (c *Calendar) ID() string { return c.id }

// Version names the data that c answers from: "DK/1", or "DK/1+3" with the
// tenant's changes number 3.
func (c *Calendar) Version() string {
	v := fmt.Sprintf("%s/%d", c.id, c.version)
	if c.own.Number > 0 {
		v += fmt.Sprintf("+%d", c.own.Number)
	}
	return v
}

// ParseVersion takes a Version apart.
func ParseVersion(s string) (id string, version, own int, err error) {
	id, rest, ok := strings.Cut(s, "/")
	number, changes, has := strings.Cut(rest, "+")
	if version, err = strconv.Atoi(number); err == nil && has {
		own, err = strconv.Atoi(changes)
	}
	if !ok || err != nil {
		return "", 0, 0, errs.New(errs.Invalid, "not a version of a holiday calendar, as in DK/1")
	}
	return id, version, own, nil
}

// Holiday returns what a day is called if it is a holiday.
func (c *Calendar) Holiday(d civil.Date) (Name, bool) {
	if slices.Contains(c.own.Removed, d) {
		return Name{}, false
	}
	for _, a := range c.own.Added {
		if a.Date == d {
			return Name{a.Name, a.Name}, true
		}
	}
	for _, r := range c.rules {
		if r.valid(d.Year) && r.in(d.Year) == d {
			return r.Name, true
		}
	}
	return Name{}, false
}

// Working reports whether a day is a working day: Regulation 1182/71, Art. 2(2).
func (c *Calendar) Working(d civil.Date) bool {
	if w := d.Weekday(); w == time.Saturday || w == time.Sunday {
		return false
	}
	_, holiday := c.Holiday(d)
	return !holiday
}

// Roll returns the first working day that isn't before d.
func (c *Calendar) Roll(d civil.Date) civil.Date {
	for !c.Working(d) {
		d = d.AddDays(1)
	}
	return d
}

// AddWorking returns the working day that is n working days after d, or before it
// when n is negative; with 0, d itself.
func (c *Calendar) AddWorking(d civil.Date, n int) civil.Date {
	step := 1
	if n < 0 {
		step, n = -1, -n
	}
	for n > 0 {
		if d = d.AddDays(step); c.Working(d) {
			n--
		}
	}
	return d
}

// Holidays returns the holidays of a year in their order.
func (c *Calendar) Holidays(year int) []Holiday {
	var list []Holiday
	for d := (civil.Date{Year: year, Month: time.January, Day: 1}); d.Year == year; d = d.AddDays(1) {
		if name, ok := c.Holiday(d); ok {
			list = append(list, Holiday{d, name})
		}
	}
	return list
}

// Holiday is a holiday of one year.
type Holiday struct {
	Date civil.Date
	Name Name
}

// Danish returns the name in Danish.
func (h Holiday) Danish() string { return h.Name.Da }

// English returns the name in English.
func (h Holiday) English() string { return h.Name.En }

func (r *rule) valid(year int) bool {
	return (r.Since == 0 || year >= r.Since) && (r.Until == 0 || year <= r.Until)
}

// in returns the day of the rule in a year.
func (r *rule) in(year int) civil.Date {
	switch {
	case r.Easter != nil:
		return Easter(year).AddDays(*r.Easter)
	case r.Weekday != "":
		d := r.From.in(year)
		for d.Weekday().String()[:3] != r.Weekday {
			d = d.AddDays(1)
		}
		return d
	default:
		d := r.Date.in(year)
		if r.UnlessSunday && d.Weekday() == time.Sunday {
			d = d.AddDays(-1)
		}
		return d
	}
}

// Easter returns Easter Sunday of a year in the Gregorian calendar, by the
// algorithm of Meeus, Jones and Butcher.
func Easter(year int) civil.Date {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return civil.Date{Year: year, Month: time.Month(n / 31), Day: n%31 + 1}
}
