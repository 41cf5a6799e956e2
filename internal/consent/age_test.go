package consent

import (
	"testing"

	"github.com/vogter/vogter/internal/civil"
)

func day(t *testing.T, s string) civil.Date {
	t.Helper()
	d, err := civil.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestChildAge(t *testing.T) {
	table, err := readAges(childAges)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		country, day string
		want         int
	}{
		{"DK", "2018-05-24", 16},
		{"DK", "2018-05-25", 13},
		{"DK", "2023-12-31", 13},
		{"DK", "2024-01-01", 15},
		{"CZ", "2019-04-23", 16},
		{"CZ", "2019-04-24", 15},
		{"FR", "2026-01-01", 15},
		{"DE", "2026-01-01", 16},
		{"NO", "2026-01-01", 13},
		{"US", "2026-01-01", 16},
	} {
		if got := table.at(tt.country, day(t, tt.day)); got != tt.want {
			t.Errorf("%s on %s: got %d, want %d", tt.country, tt.day, got, tt.want)
		}
	}
	// The EU and EEA whole.
	for _, c := range []string{
		"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT", "LU", "LV", "MT",
		"NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
	} {
		if len(table[c]) == 0 {
			t.Errorf("no line for %s", c)
		}
	}
}

func TestYearsOn(t *testing.T) {
	for _, tt := range []struct {
		born, day string
		want      int
	}{
		{"2010-06-15", "2025-06-14", 14},
		{"2010-06-15", "2025-06-15", 15},
		{"2012-02-29", "2027-02-28", 14},
		{"2012-02-29", "2027-03-01", 15},
		{"2012-02-29", "2028-02-29", 16},
	} {
		if got := yearsOn(day(t, tt.born), day(t, tt.day)); got != tt.want {
			t.Errorf("born %s, on %s: got %d, want %d", tt.born, tt.day, got, tt.want)
		}
	}
}
