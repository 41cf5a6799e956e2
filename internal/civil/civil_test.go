package civil_test

import (
	"errors"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/civil"
)

func TestParse(t *testing.T) {
	for s, ok := range map[string]bool{
		"2028-02-29": true, "1858-01-01": true,
		"2026-02-29": false, "2026-13-01": false, "2026-1-1": false, "": false, "2026-01-01T00:00:00Z": false,
	} {
		d, err := civil.Parse(s)
		if ok && (err != nil || d.String() != s) || !ok && !errors.Is(err, civil.ErrFormat) {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}

func TestOfUsesTheZone(t *testing.T) {
	at := time.Date(2026, 3, 31, 22, 30, 0, 0, time.UTC)
	if got := civil.Of(at.In(time.FixedZone("CEST", 2*3600))).String(); got != "2026-04-01" {
		t.Error(got)
	}
}

func TestBefore(t *testing.T) {
	a, b, c := civil.Date{2025, 12, 31}, civil.Date{2026, 1, 1}, civil.Date{2026, 1, 2}
	if !a.Before(b) || !b.Before(c) || c.Before(a) || b.Before(b) {
		t.Error("order is wrong")
	}
}

func TestDaysInWords(t *testing.T) {
	d := civil.Date{Year: 2026, Month: time.March, Day: 7}
	for tag, want := range map[string]string{"da": "7. marts 2026", "da-DK": "7. marts 2026", "en": "7 March 2026", "de": "7 March 2026"} {
		if got := d.In(tag); got != want {
			t.Errorf("in %s it is %q", tag, got)
		}
	}
}
