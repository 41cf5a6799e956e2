package civil_test

import (
	"testing"
	"time"

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

func TestAddMonths(t *testing.T) {
	for _, c := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-01-31", 1, "2026-02-28"},
		{"2028-01-31", 1, "2028-02-29"},
		{"2026-02-28", 1, "2026-03-28"},
		{"2026-08-31", 1, "2026-09-30"},
		{"2025-11-30", 3, "2026-02-28"},
		{"2024-02-29", 60, "2029-02-28"},
		{"2026-12-15", 1, "2027-01-15"},
		{"2026-03-31", -1, "2026-02-28"},
		{"2026-01-15", -1, "2025-12-15"},
	} {
		if got := date(t, c.from).AddMonths(c.n).String(); got != c.want {
			t.Errorf("%s + %d months = %s, not %s", c.from, c.n, got, c.want)
		}
	}
}

func TestDays(t *testing.T) {
	d := date(t, "2026-02-27")
	if got := d.AddDays(3); got != date(t, "2026-03-02") || got.DaysSince(d) != 3 || !got.After(d) || d.After(got) || got.Weekday() != time.Monday {
		t.Errorf("%s", got)
	}
}

// Where clocks change at midnight, a day begins late or has two midnights.
func TestStart(t *testing.T) {
	for zone, days := range map[string]map[string]string{
		"Europe/Copenhagen": {"2026-03-30": "2026-03-29T22:00:00Z", "2026-03-29": "2026-03-28T23:00:00Z", "2026-10-26": "2026-10-25T23:00:00Z"},
		"Asia/Beirut":       {"2022-03-27": "2022-03-26T22:00:00Z", "2022-10-30": "2022-10-29T22:00:00Z"},
		"America/Havana":    {"2024-11-03": "2024-11-03T04:00:00Z", "2024-03-10": "2024-03-10T05:00:00Z"},
	} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for day, want := range days {
			if got := date(t, day).Start(loc).UTC().Format(time.RFC3339); got != want {
				t.Errorf("%s in %s begins %s, not %s", day, zone, got, want)
			}
		}
	}
}
