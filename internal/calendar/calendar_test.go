package calendar_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
)

func date(t *testing.T, s string) civil.Date {
	t.Helper()
	d, err := civil.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func get(t *testing.T, id string) *calendar.Calendar {
	t.Helper()
	c, err := calendar.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEaster(t *testing.T) {
	for want := range strings.FieldsSeq("2019-04-21 2023-04-09 2024-03-31 2025-04-20 2026-04-05 2027-03-28 2028-04-16 2029-04-01 2030-04-21 2031-04-13 2038-04-25") {
		if got := calendar.Easter(date(t, want).Year); got != date(t, want) {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// Every holiday of a year, so that one too many shows, too.
func TestHolidays(t *testing.T) {
	for _, c := range []struct{ id, want string }{
		{"DK", "2026-01-01 2026-04-02 2026-04-03 2026-04-05 2026-04-06 2026-05-14 2026-05-24 2026-05-25 2026-12-25 2026-12-26"},
		{"DE", "2026-01-01 2026-04-03 2026-04-06 2026-05-01 2026-05-14 2026-05-25 2026-10-03 2026-12-25 2026-12-26"},
		{"DE", "2017-01-01 2017-04-14 2017-04-17 2017-05-01 2017-05-25 2017-06-05 2017-10-03 2017-10-31 2017-12-25 2017-12-26"},
		{"SE", "2026-01-01 2026-01-06 2026-04-03 2026-04-05 2026-04-06 2026-05-01 2026-05-14 2026-05-24 2026-06-06 2026-06-20 2026-10-31 2026-12-25 2026-12-26"},
		{"SE", "2027-01-01 2027-01-06 2027-03-26 2027-03-28 2027-03-29 2027-05-01 2027-05-06 2027-05-16 2027-06-06 2027-06-26 2027-11-06 2027-12-25 2027-12-26"},
		{"NO", "2026-01-01 2026-04-02 2026-04-03 2026-04-05 2026-04-06 2026-05-01 2026-05-14 2026-05-17 2026-05-24 2026-05-25 2026-12-25 2026-12-26"},
		{"FI", "2026-01-01 2026-01-06 2026-04-03 2026-04-05 2026-04-06 2026-05-01 2026-05-14 2026-05-24 2026-06-20 2026-10-31 2026-12-06 2026-12-25 2026-12-26"},
		{"NL", "2025-01-01 2025-04-18 2025-04-21 2025-04-26 2025-05-05 2025-05-29 2025-06-09 2025-12-25 2025-12-26"},
		{"NL", "2026-01-01 2026-04-03 2026-04-06 2026-04-27 2026-05-05 2026-05-14 2026-05-25 2026-12-25 2026-12-26"},
		{"EU", "2026-01-01 2026-01-02 2026-04-02 2026-04-03 2026-04-06 2026-05-01 2026-05-09 2026-05-14 2026-05-15 2026-05-25 2026-07-21 2026-08-15 2026-11-01 2026-11-02 2026-12-24 2026-12-25 2026-12-26 2026-12-27 2026-12-28 2026-12-29 2026-12-30 2026-12-31"},
	} {
		want := strings.Fields(c.want)
		var got []string
		for _, h := range get(t, c.id).Holidays(date(t, want[0]).Year) {
			if h.Name.Da == "" || h.Name.En == "" {
				t.Errorf("%s: %s has no name", c.id, h.Date)
			}
			got = append(got, h.Date.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s:\n%v, not\n%v", c.id, got, want)
		}
	}
}

// Great Prayer Day was a holiday up to and including 2023.
func TestDated(t *testing.T) {
	dk := get(t, "DK")
	for day, want := range map[string]bool{
		"2022-05-13": true, "2023-05-05": true, "2024-04-26": false, "2025-05-16": false,
		"2026-05-01": false, "2026-06-05": false, "2026-12-24": false, "2026-12-31": false,
	} {
		if _, got := dk.Holiday(date(t, day)); got != want {
			t.Errorf("%s: %v", day, got)
		}
	}
}

func TestWorking(t *testing.T) {
	dk := get(t, "DK")
	for day, want := range map[string]string{"2026-04-02": "2026-04-07", "2026-04-07": "2026-04-07", "2026-02-28": "2026-03-02"} {
		if got := dk.Roll(date(t, day)); got != date(t, want) {
			t.Errorf("%s rolls to %s", day, got)
		}
	}
	for _, c := range []struct {
		day  string
		n    int
		want string
	}{{"2026-04-01", 1, "2026-04-07"}, {"2026-04-07", -3, "2026-03-30"}, {"2026-04-04", 0, "2026-04-04"}, {"2026-04-04", -1, "2026-04-01"}} {
		if got := dk.AddWorking(date(t, c.day), c.n); got != date(t, c.want) {
			t.Errorf("%s + %d working days = %s", c.day, c.n, got)
		}
	}
}

func TestChanges(t *testing.T) {
	dk := get(t, "DK").With(calendar.Changes{
		Number: 3, Added: []calendar.Day{{Date: date(t, "2026-06-05"), Name: "Grundlovsdag"}}, Removed: []civil.Date{date(t, "2026-04-02")},
	})
	if n, ok := dk.Holiday(date(t, "2026-06-05")); !ok || n.En != "Grundlovsdag" {
		t.Error("the added day is none")
	}
	if !dk.Working(date(t, "2026-04-02")) || dk.Working(date(t, "2026-04-03")) {
		t.Error("what was removed, or is left")
	}
	id, version, own, err := calendar.ParseVersion(dk.Version())
	if dk.Version() != "DK/1+3" || id != "DK" || version != 1 || own != 3 || err != nil {
		t.Errorf("%s: %s %d %d %v", dk.Version(), id, version, own, err)
	}
	if _, _, _, err := calendar.ParseVersion("DK"); err == nil {
		t.Error("half a version")
	}
	for _, id := range []string{"XX", "dk", ""} {
		if _, err := calendar.Get(id); !errors.Is(err, calendar.ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := calendar.At("DK", 99); !errors.Is(err, calendar.ErrUnknown) {
		t.Errorf("a version to come: %v", err)
	}
}
