package measure

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Tenants knows the tenant in ctx, and its members.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// GetMember fails with tenancy.ErrNoMember.
	GetMember(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Systems knows the systems of the tenant in ctx.
type Systems interface {
	// System fails with processing.ErrNoSystem.
	System(ctx context.Context, systemID string) (*processing.System, error)
}

// Config is what a Service needs.
type Config struct {
	Store   Store
	Tenants Tenants
	Systems Systems
	Changes *change.Runner
	Now     func() time.Time
}

// Service keeps a tenant's security measures.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Get returns a measure, or ErrNotFound.
func (s *Service) Get(ctx context.Context, measureID string) (*Measure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Measure, of, measureID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, measureID)
}

var _ processing.Measures = (*Service)(nil)

// Measures returns measures as the record of processing names them, by their ids, or
// ErrNotFound if one isn't there: in one read, however many.
func (s *Service) Measures(ctx context.Context, ids ...string) (map[string]*processing.Measure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	for _, i := range ids {
		if id.Check(id.Measure, of, i) != nil {
			return nil, ErrNotFound
		}
	}
	found, err := s.Store.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*processing.Measure, len(found))
	for _, m := range found {
		byID[m.ID] = &processing.Measure{
			ID: m.ID, Text: processing.Words{Da: m.in("da"), En: m.in("en")}, Retired: m.Status == Retired,
		}
	}
	if slices.ContainsFunc(ids, func(i string) bool { return byID[i] == nil }) {
		return nil, ErrNotFound
	}
	return byID, nil
}

// in returns the description in a language; in the first one when there is none.
func (m *Measure) in(tag string) string {
	for _, t := range m.Texts {
		if base, _, _ := strings.Cut(t.Language, "-"); base == tag {
			return t.Description
		}
	}
	return m.Texts[0].Description
}

// List returns a page of the measures, the newest first, all or those of a status.
func (s *Service) List(ctx context.Context, status *Status, r page.Request) (*Connection, error) {
	list := page.List{Of: id.Measure}
	if status != nil {
		list.Scope = string(*status)
	}
	at := func(m *Measure) page.Position { return page.Position{CreatedAt: m.CreatedAt, ID: m.ID} }
	return page.Read(ctx, list, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Measure, error) {
		return s.Store.List(ctx, status, after, limit)
	})
}

// Check fails with ErrNotFound unless all measures are there. Retired ones are.
func (s *Service) Check(ctx context.Context, ids ...string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	for _, measureID := range ids {
		if id.Check(id.Measure, of, measureID) != nil {
			return ErrNotFound
		}
	}
	n, err := s.Store.Count(ctx, ids...)
	if err == nil && n < len(ids) {
		err = ErrNotFound
	}
	return err
}

// make returns the measure that is asked for.
func (s *Service) make(ctx context.Context, in CreateInput) (*Measure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	m := &Measure{
		ID: id.New(id.Measure, of), Key: in.Key, Term: in.Term, Texts: trimmed(in.Texts), Kind: in.Kind, Art32: in.Art32, Systems: in.Systems,
		Status: in.Status, Owner: in.Owner, Controls: in.Controls, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if in.Status == Retired {
		return nil, errs.New(errs.Invalid, "a new measure is PLANNED or IN_PLACE").At("status")
	}
	return m, s.check(ctx, of, m)
}

// check reports the first thing that is wrong with m, or isn't there that it names.
func (s *Service) check(ctx context.Context, of tenant.ID, m *Measure) error {
	if err := m.check(of); err != nil {
		return err
	}
	for i, one := range m.Systems {
		if _, err := s.Systems.System(ctx, one); err != nil {
			return errs.At(err, fmt.Sprintf("systems.%d", i))
		}
	}
	if m.Owner == nil {
		return nil
	}
	_, err := s.Tenants.GetMember(ctx, *m.Owner)
	return errs.At(err, "owner")
}

// room fails with ErrTooMany unless n more measures fit.
func (s *Service) room(ctx context.Context, n int) error {
	have, err := s.Store.Count(ctx)
	if err == nil && have+n > Max {
		err = ErrTooMany
	}
	return err
}

// Create makes a measure. It obeys the caller's Idempotency-Key.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Measure, error) {
	m, err := s.make(ctx, in)
	if err != nil {
		return nil, err
	}
	measureID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.room(ctx, 1); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "measure.create", Object: m.ID}, s.Store.Insert(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	if measureID != m.ID {
		return s.Store.Get(ctx, measureID)
	}
	return m, nil
}

// Update changes a measure that isn't retired.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Measure, error) {
	return s.update(ctx, "measure.update", in.ID, in.ExpectedVersion, func(m *Measure) ([]string, error) { return m.apply(in) })
}

// Retire ends a measure. What names it goes on naming it.
func (s *Service) Retire(ctx context.Context, in RetireInput) (*Measure, error) {
	now := s.at()
	return s.update(ctx, "measure.retire", in.ID, in.ExpectedVersion, func(m *Measure) ([]string, error) {
		m.Status, m.RetiredAt = Retired, &now
		return nil, nil
	})
}

func (s *Service) update(
	ctx context.Context, action, measureID string, version int64, edit func(*Measure) ([]string, error),
) (*Measure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Measure, of, measureID) != nil {
		return nil, ErrNotFound
	}
	var m *Measure
	now := s.at()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if m, err = s.Store.Get(ctx, measureID); err != nil {
			return c, err
		}
		switch {
		case m.Version != version:
			return c, change.ErrVersion
		case m.Status == Retired:
			return c, ErrRetired
		}
		c = change.Change{Action: action, Object: m.ID}
		if c.Fields, err = edit(m); err != nil {
			return c, err
		}
		if err := s.check(ctx, of, m); err != nil {
			return c, err
		}
		m.Version++
		m.UpdatedAt = now
		return c, s.Store.Update(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Adopt makes those of the default set that the provider hasn't yet, by key: all,
// or those that are named. It returns what it made.
func (s *Service) Adopt(ctx context.Context, in AdoptInput) ([]*Measure, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	if t.Kind != tenancy.Provider {
		return nil, ErrProvider
	}
	set, err := Defaults()
	if err != nil {
		return nil, err
	}
	for _, key := range in.Keys {
		if !slices.ContainsFunc(set, func(d CreateInput) bool { return d.Key == key }) {
			return nil, errs.New(errs.Invalid, "the default set has no measure of this key").At("keys")
		}
	}
	var made []*Measure
	for _, d := range set {
		if len(in.Keys) > 0 && !slices.Contains(in.Keys, d.Key) {
			continue
		}
		m, err := s.make(ctx, d)
		if err != nil {
			return nil, err
		}
		made = append(made, m)
	}
	var adopted []*Measure
	err = s.Changes.DoAll(ctx, func(ctx context.Context) (changes []change.Change, err error) {
		adopted = []*Measure{}
		if err := s.room(ctx, len(made)); err != nil {
			return nil, err
		}
		for _, m := range made {
			taken, err := s.Store.Taken(ctx, m.Key)
			if err != nil {
				return nil, err
			}
			if taken {
				continue
			}
			if err := s.Store.Insert(ctx, m); err != nil {
				return nil, err
			}
			adopted = append(adopted, m)
			changes = append(changes, change.Change{Action: "measure.create", Object: m.ID})
		}
		return changes, nil
	})
	if err != nil {
		return nil, err
	}
	return adopted, nil
}
