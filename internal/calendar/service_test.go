package calendar_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// A tenant's changes are versions: an old case is computed by those it kept, and
// no other tenant sees them.
func TestService(t *testing.T) {
	w := world.Start(t)
	tenants := mongo.NewTenantStore(w.DB, w.Vault)
	s := calendar.NewService(mongo.NewCalendarStore(w.DB), tenants, w.Changes)
	ctx, two := w.As(testenv.One), w.As(testenv.Two)
	for of, id := range map[tenant.ID]string{testenv.One: "DK", testenv.Two: "FR"} {
		set := w.As(of)
		of, err := tenants.Get(set)
		if err == nil {
			of.HolidayCalendar, of.Version = id, of.Version+1
			err = w.Changes.DoPlain(set, "test.tenant", string(of.ID), func(ctx context.Context) error { return tenants.Update(ctx, of) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	zone, before, err := s.Current(ctx)
	if err != nil || zone != "Europe/Copenhagen" || before.Version() != "DK/1" {
		t.Fatalf("%s %v", zone, err)
	}
	constitution := date(t, "2026-06-05")
	for name, in := range map[string]calendar.ChangeInput{
		"number":  {ExpectedNumber: 1},
		"twice":   {Added: []calendar.Day{{Date: constitution, Name: "a"}, {Date: constitution, Name: "b"}}},
		"both":    {Added: []calendar.Day{{Date: constitution, Name: "a"}}, Removed: []civil.Date{constitution}},
		"no name": {Added: []calendar.Day{{Date: constitution, Name: " "}}},
	} {
		if _, err := s.Change(ctx, in); err == nil {
			t.Errorf("%s: changed", name)
		}
	}
	after, err := s.Change(ctx, calendar.ChangeInput{Added: []calendar.Day{{Date: constitution, Name: "Grundlovsdag"}}, Removed: []civil.Date{date(t, "2026-04-02")}})
	if err != nil || after.Version() != "DK/1+1" || after.Working(constitution) {
		t.Fatalf("%v", err)
	}
	if _, err := s.Change(ctx, calendar.ChangeInput{}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("changed as of an old version: %v", err)
	}
	for version, working := range map[string]bool{"DK/1": true, "DK/1+1": false} {
		if c, err := s.Version(ctx, version); err != nil || c.Working(constitution) != working || c.Version() != version {
			t.Errorf("%s: %v", version, err)
		}
	}
	if y, err := s.Year(ctx, 2026); err != nil || y.Number != 1 || len(y.Holidays) != 10 {
		t.Errorf("%+v, %v", y, err)
	}

	// A place without data rests on weekends only.
	_, french, err := s.Current(two)
	if err != nil || french.Version() != "FR/1" || !french.Working(date(t, "2026-07-14")) || french.Working(date(t, "2026-07-18")) {
		t.Errorf("%v", err)
	}
	if _, err := s.Version(two, "DK/1+1"); err == nil {
		t.Error("another tenant reads the changes")
	}
	if _, err := s.Version(ctx, "DK/99"); !errors.Is(err, calendar.ErrUnknown) {
		t.Errorf("data to come: %v", err)
	}
}
