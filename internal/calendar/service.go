package calendar

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenancy"
)

// Store keeps what tenants change, each version for good.
type Store interface {
	// Own returns the changes of a calendar with a number, the newest with 0; no
	// Changes when there are none.
	Own(ctx context.Context, id string, number int) (Changes, error)
	// InsertOwn works in the transaction of a change and fails with
	// change.ErrVersion when there are changes of that number.
	InsertOwn(ctx context.Context, id string, c Changes) error
}

// Tenants knows the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Service knows the calendars of tenants.
type Service struct {
	store   Store
	tenants Tenants
	changes *change.Runner
}

// NewService returns a Service.
func NewService(store Store, tenants Tenants, changes *change.Runner) *Service {
	return &Service{store, tenants, changes}
}

// The bounds of a tenant's changes.
const (
	maxChanges = 500
	maxName    = 100
)

var errChanges = errs.New(errs.Invalid, "a calendar has at most %d days added and %d removed, each once, with names of 1 to %d characters", maxChanges, maxChanges, maxName)

// base returns a calendar of the data; of a place that it doesn't have, one that
// knows no holidays: a period then never ends later than the law allows.
func base(id string, version int) (*Calendar, error) {
	c, err := At(id, version)
	if errors.Is(err, ErrUnknown) && version == Latest {
		return &Calendar{id: id, version: version}, nil
	}
	return c, err
}

// Current returns the tenant's zone and calendar as they are now.
func (s *Service) Current(ctx context.Context) (zone string, c *Calendar, err error) {
	t, err := s.tenants.Get(ctx)
	if err != nil {
		return "", nil, err
	}
	if c, err = base(t.HolidayCalendar, Latest); err != nil {
		return "", nil, err
	}
	own, err := s.store.Own(ctx, c.id, 0)
	return t.TimeZone, c.With(own), err
}

// Version returns the calendar in a version that Current returned once.
func (s *Service) Version(ctx context.Context, version string) (*Calendar, error) {
	id, data, number, err := ParseVersion(version)
	if err != nil {
		return nil, err
	}
	c, err := base(id, data)
	if err != nil || number == 0 {
		return c, err
	}
	own, err := s.store.Own(ctx, id, number)
	if err == nil && own.Number != number {
		err = errs.New(errs.NotFound, "no such version of the holiday calendar")
	}
	return c.With(own), err
}

// Year is the holidays of a year in a calendar.
type Year struct {
	Calendar string
	Version  string
	// Number is that of the tenant's own changes, 0 before there are any.
	Number   int
	Holidays []Holiday
	Added    []Day
	Removed  []civil.Date
}

// Year returns the tenant's holidays of a year.
func (s *Service) Year(ctx context.Context, year int) (*Year, error) {
	if year < 1970 || year > 2199 {
		return nil, errs.New(errs.Invalid, "a year is 1970 to 2199").At("year")
	}
	_, c, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	return &Year{c.id, c.Version(), c.own.Number, c.Holidays(year), c.own.Added, c.own.Removed}, nil
}

// ChangeInput asks for all of a tenant's changes anew.
type ChangeInput struct {
	ExpectedNumber int
	Added          []Day
	Removed        []civil.Date
}

// Change makes a new version of the tenant's changes. What was computed before
// keeps its own.
func (s *Service) Change(ctx context.Context, in ChangeInput) (*Calendar, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	_, c, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	if c.own.Number != in.ExpectedNumber {
		return nil, change.ErrVersion.At("expectedNumber")
	}
	own := Changes{in.ExpectedNumber + 1, in.Added, in.Removed}
	err = s.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "calendar.change", Object: c.With(own).Version()}, s.store.InsertOwn(ctx, c.id, own)
	})
	return c.With(own), err
}

func (in *ChangeInput) check() error {
	if len(in.Added) > maxChanges || len(in.Removed) > maxChanges {
		return errChanges
	}
	for i, d := range in.Added {
		twice := slices.ContainsFunc(in.Added[:i], func(o Day) bool { return o.Date == d.Date }) || slices.Contains(in.Removed, d.Date)
		if twice || strings.TrimSpace(d.Name) == "" || utf8.RuneCountInString(d.Name) > maxName || !utf8.ValidString(d.Name) ||
			strings.ContainsFunc(d.Name, unicode.IsControl) {
			return errChanges.At("added")
		}
	}
	for i, d := range in.Removed {
		if slices.Contains(in.Removed[:i], d) {
			return errChanges.At("removed")
		}
	}
	return nil
}
