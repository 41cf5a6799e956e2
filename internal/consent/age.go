package consent

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/personal"
)

//go:embed childages.csv
var childAges string

// regulationAge is from which age a child's own consent holds where a country's
// law says nothing else: GDPR Art. 8(1).
const regulationAge = 16

// ChildAge is from which age a child's own consent to a service of the information
// society holds in a country, from a day on.
type ChildAge struct {
	Country string // ISO 3166-1 alpha-2
	From    civil.Date
	Age     int // in years
	Source  string
}

// ages is the table, by country, in the order of days.
type ages map[string][]ChildAge

// readAges reads the table of child ages.
func readAges(text string) (ages, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read child ages: %w", err)
	}
	table := ages{}
	for _, row := range rows[1:] {
		from, err := civil.Parse(row[1])
		if err != nil {
			return nil, fmt.Errorf("read child ages of %s: %w", row[0], err)
		}
		age, err := strconv.Atoi(row[2])
		if err != nil || age < 13 || age > regulationAge {
			return nil, fmt.Errorf("read child ages of %s: no age of 13 to %d", row[0], regulationAge)
		}
		if have := table[row[0]]; len(have) > 0 && !have[len(have)-1].From.Before(from) {
			return nil, fmt.Errorf("read child ages of %s: days out of order", row[0])
		}
		table[row[0]] = append(table[row[0]], ChildAge{row[0], from, age, row[3]})
	}
	return table, nil
}

// ChildAges returns the table of child ages, by country and day.
func (s *Service) ChildAges() []*ChildAge {
	var all []*ChildAge
	for _, country := range slices.Sorted(maps.Keys(s.ages)) {
		for i := range s.ages[country] {
			all = append(all, &s.ages[country][i])
		}
	}
	return all
}

// at returns the age that holds in a country on a day.
func (a ages) at(country string, day civil.Date) int {
	age := regulationAge
	for _, c := range a[country] {
		if !day.Before(c.From) {
			age = c.Age
		}
	}
	return age
}

// years returns how old a person is on a day, by their birth date or the age that
// they stated at an instant before: then it is at least so much. It reports whether
// that is known.
func (e *Evidence) years(birthDate personal.Text, stated time.Time, day civil.Date) (int, bool) {
	if born, err := civil.Parse(birthDate.Reveal()); err == nil {
		return yearsOn(born, day), true
	}
	if e == nil || e.Age == nil {
		return 0, false
	}
	return *e.Age + yearsOn(civil.Of(stated), day), true
}

// underAge reports whether a yes of a person's own was one of a child, or became one
// on a day when the law of the country changed: DOMAIN §5.1. One whose age isn't
// known, and one of a parent's, was not.
func (a ages) underAge(e *Event, birthDate personal.Text, own string, today civil.Date) bool {
	if e.Actor == Parent {
		return false
	}
	country := own
	if e.Evidence != nil {
		country = cmp.Or(e.Evidence.Country, own)
	}
	days := []civil.Date{civil.Of(e.At)}
	for _, c := range a[country] {
		if c.From.After(days[0]) && !c.From.After(today) {
			days = append(days, c.From)
		}
	}
	return slices.ContainsFunc(days, func(day civil.Date) bool {
		years, known := e.Evidence.years(birthDate, e.At, day)
		return known && years < a.at(country, day)
	})
}

// yearsOn returns how many full years a person born on a day has on another. Who
// is born on 29 February is a year older on 1 March.
func yearsOn(born, day civil.Date) int {
	years := day.Year - born.Year
	if day.Month < born.Month || day.Month == born.Month && day.Day < born.Day {
		years--
	}
	return years
}
