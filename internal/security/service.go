package security

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Store keeps the register, for the tenant in ctx. What writes works in a
// change's transaction.
type Store interface {
	Insert(ctx context.Context, e *Event) error
	// Get returns an event, or ErrNotFound.
	Get(ctx context.Context, eventID string) (*Event, error)
	// Update writes all but how often the event occurred. It fails with
	// change.ErrVersion unless the stored version is the one before.
	Update(ctx context.Context, e *Event) error
	// Recur counts further occurrences of an event that is OPEN; else it reports
	// false.
	Recur(ctx context.Context, eventID string, more int64, last time.Time) (bool, error)
	// List returns up to limit events, the newest first, after a position.
	List(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Event, error)

	InsertNote(ctx context.Context, eventID string, n *Note) error
	// Notes returns the history of an event, the oldest first.
	Notes(ctx context.Context, eventID string) ([]*Note, error)

	// Group returns the latest event of a detector and group; nil before the first.
	Group(ctx context.Context, d Detector, group string) (*Group, error)
	PutGroup(ctx context.Context, d Detector, group string, g Group) error

	// Settings returns the settings that were changed.
	Settings(ctx context.Context) ([]Setting, error)
	PutSetting(ctx context.Context, s Setting) error
}

// Group is the latest event of a detector and group, and when it was mailed of.
type Group struct {
	Event    string
	MailedAt time.Time
}

// Tenants knows the tenant in ctx and who works for it.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	ActiveMembers(ctx context.Context, role authz.Role, now time.Time) ([]*tenancy.Member, error)
}

// Mailer queues mail within a change, and returns the job that sends it.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Vault makes keys.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Config is what a Service is made of.
type Config struct {
	Store    Store
	Changes  *change.Runner
	Recorder *audit.Recorder
	Tenants  Tenants
	Mail     Mailer
	Vault    Vault
	Now      func() time.Time
}

// Service keeps the register.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

func (s *Service) now() time.Time { return whole(s.Now()) }

// of returns the tenant in ctx and whether it is the provider, and makes sure of
// its key.
func (s *Service) of(ctx context.Context) (of tenant.ID, provider bool, err error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return "", false, err
	}
	_, err = s.Vault.Ensure(ctx, Owner(t.ID))
	return t.ID, t.Kind == tenancy.Provider, err
}

// Record enters an event that was seen by other means than the platform's own,
// once per Idempotency-Key.
func (s *Service) Record(ctx context.Context, in RecordInput) (*Event, error) {
	if in.Source == SourceDetector {
		return nil, ErrSource
	}
	of, provider, err := s.of(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	e := &Event{
		ID: id.New(id.SecurityEvent, of), Tenant: of, RecordedAt: now, Reporter: authz.FromContext(ctx).ID, Disposition: Open,
		Version: 1, Occurrences: 1, LastOccurredAt: whole(in.OccurredAt),
		Facts: Facts{
			in.OccurredAt, in.DetectedAt, in.Source, in.Category, in.Severity, in.Description, in.AffectedSystems,
			tenants(in.AffectedTenants),
		},
	}
	if err := e.check(of, provider, now); err != nil {
		return nil, err
	}
	eventID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "securityEvent.record", Object: e.ID}, s.insert(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, eventID)
}

// insert writes a new event with the beginning of its history.
func (s *Service) insert(ctx context.Context, recorded *Event) error {
	e := *recorded
	e.Notes = 0 // the transaction may run again
	n, err := e.note(Recorded, e.DetectedAt, e.RecordedAt, e.Reporter)
	if err != nil {
		return err
	}
	n.Facts = &e.Facts
	if err := s.Store.Insert(ctx, &e); err != nil {
		return err
	}
	return s.Store.InsertNote(ctx, e.ID, n)
}

// AddActivity adds what was done about an event to its history, once per
// Idempotency-Key.
func (s *Service) AddActivity(ctx context.Context, in ActivityInput) (*Event, error) {
	if _, _, err := s.of(ctx); err != nil {
		return nil, err
	}
	now := s.now()
	done, err := text(in.Text)
	switch {
	case err != nil:
		return nil, ErrText.At("text")
	case in.At.After(now):
		return nil, ErrFuture.At("at")
	}
	eventID, err := s.Changes.Create(ctx, func(ctx context.Context) (c change.Change, err error) {
		e, err := s.get(ctx, in.ID)
		if err != nil {
			return c, err
		}
		n, err := e.note(Activity, in.At, now, authz.FromContext(ctx).ID)
		if err != nil {
			return c, err
		}
		n.Text = done
		return change.Change{Action: "securityEvent.act", Object: e.ID}, s.save(ctx, e, n)
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, eventID)
}

// Correct gives an event other facts. Those before stay in its history.
func (s *Service) Correct(ctx context.Context, in CorrectInput) (*Event, error) {
	_, provider, err := s.of(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	return s.update(ctx, in.ID, in.ExpectedVersion, "securityEvent.correct", func(e *Event) (*Note, []string, error) {
		return e.correct(in, provider, authz.FromContext(ctx).ID, now)
	})
}

// Dispose decides about an event, or opens it again.
func (s *Service) Dispose(ctx context.Context, in DisposeInput) (*Event, error) {
	if _, _, err := s.of(ctx); err != nil {
		return nil, err
	}
	now := s.now()
	return s.update(ctx, in.ID, in.ExpectedVersion, "securityEvent.dispose", func(e *Event) (*Note, []string, error) {
		n, err := e.dispose(in, authz.FromContext(ctx).ID, now)
		return n, []string{"disposition"}, err
	})
}

func (s *Service) update(
	ctx context.Context, eventID string, version int64, action string, apply func(e *Event) (*Note, []string, error),
) (*Event, error) {
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		e, err := s.get(ctx, eventID)
		if err != nil {
			return c, err
		}
		if e.Version != version {
			return c, change.ErrVersion
		}
		n, fields, err := apply(e)
		if err != nil {
			return c, err
		}
		return change.Change{Action: action, Object: e.ID, Fields: fields}, s.save(ctx, e, n)
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, eventID)
}

func (s *Service) save(ctx context.Context, e *Event, n *Note) error {
	e.Version++
	if err := s.Store.Update(ctx, e); err != nil {
		return err
	}
	return s.Store.InsertNote(ctx, e.ID, n)
}

func (s *Service) get(ctx context.Context, eventID string) (*Event, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.SecurityEvent, of, eventID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, eventID)
}

// Get returns an event, or ErrNotFound.
func (s *Service) Get(ctx context.Context, eventID string) (*Event, error) {
	e, err := s.get(ctx, eventID)
	if err != nil {
		return nil, err
	}
	return e, s.Recorder.Read(ctx, "securityEvent.read", e.ID)
}

// List returns a page of the events that fit the filter, the newest first.
func (s *Service) List(ctx context.Context, f *Filter, r page.Request) (*Connection, error) {
	if f == nil {
		f = &Filter{}
	}
	at := func(e *Event) page.Position { return page.Position{CreatedAt: e.RecordedAt, ID: e.ID} }
	read := func(ctx context.Context, after *page.Position, limit int) ([]*Event, error) {
		return s.Store.List(ctx, *f, after, limit)
	}
	c, err := page.Read(ctx, page.List{Of: id.SecurityEvent}, r, at, read)
	if err != nil {
		return nil, err
	}
	return c, s.Recorder.Read(ctx, "securityEvent.list", "")
}

// History returns what was noted of an event, the oldest first.
func (s *Service) History(ctx context.Context, e *Event) ([]*Note, error) {
	notes, err := s.Store.Notes(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	return notes, s.Recorder.Read(ctx, "securityEvent.read", e.ID)
}

// Detectors returns how the tenant's detectors are set.
func (s *Service) Detectors(ctx context.Context) ([]*Setting, error) {
	stored, err := s.Store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return Settings(stored), nil
}

// ChangeDetector sets a detector of the tenant, within seconds.
func (s *Service) ChangeDetector(ctx context.Context, in ChangeDetectorInput) (*Setting, error) {
	now := s.now()
	var set *Setting
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		all, err := s.Detectors(ctx)
		if err != nil {
			return c, err
		}
		i := slices.IndexFunc(all, func(have *Setting) bool { return have.Detector == in.Detector })
		if i < 0 {
			return c, errors.New("no such detector") // the schema has seen to it
		}
		set = all[i]
		fields, err := set.change(in)
		if err != nil {
			return c, err
		}
		set.UpdatedAt = &now
		return change.Change{Action: "detector.change", Object: string(in.Detector), Fields: fields}, s.Store.PutSetting(ctx, *set)
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// Sighting is what a detector saw of a group, beyond its threshold.
type Sighting struct {
	Detector    Detector
	Group       string // "" for the whole tenant
	Count       int64
	First, Last time.Time
}

// mailEvery is how often a group is mailed of, at most.
const mailEvery = time.Hour

// Raise enters what detectors of the tenant in ctx saw: in the open event of the
// same detector and group, or a new one, of which webhooks are told; and mails to
// those who watch. What commit writes commits with it.
func (s *Service) Raise(ctx context.Context, seen []Sighting, commit func(ctx context.Context) error) error {
	of, provider, err := s.of(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	watchers, err := s.watchers(ctx, provider, now)
	if err != nil {
		return err
	}
	return s.Changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		if err := commit(ctx); err != nil {
			return nil, err
		}
		changes := make([]change.Change, len(seen))
		for i := range seen {
			if changes[i], err = s.enter(ctx, of, &seen[i], watchers, now); err != nil {
				return nil, err
			}
		}
		return changes, nil
	})
}

// watchers are who is told of events: owners and data protection officer, or the
// provider's operators.
func (s *Service) watchers(ctx context.Context, provider bool, now time.Time) ([]*tenancy.Member, error) {
	roles := []authz.Role{authz.RoleOwner, authz.RoleDPO}
	if provider {
		roles = []authz.Role{authz.RoleOperator, authz.RoleDPO}
	}
	var all []*tenancy.Member
	for _, role := range roles {
		members, err := s.Tenants.ActiveMembers(ctx, role, now)
		if err != nil {
			return nil, err
		}
		all = append(all, members...)
	}
	return all, nil
}

func (s *Service) enter(
	ctx context.Context, of tenant.ID, seen *Sighting, watchers []*tenancy.Member, now time.Time,
) (c change.Change, err error) {
	g, err := s.Store.Group(ctx, seen.Detector, seen.Group)
	if err != nil {
		return c, err
	}
	if g == nil {
		g = &Group{}
	}
	p, known := profileOf(seen.Detector), false
	if g.Event != "" {
		if known, err = s.Store.Recur(ctx, g.Event, seen.Count, whole(seen.Last)); err != nil {
			return c, err
		}
	}
	c = change.Change{Action: "securityEvent.recur", Quiet: true}
	if !known {
		g.Event = id.New(id.SecurityEvent, of)
		c = change.Change{Action: "securityEvent.record"}
		if err := s.insert(ctx, p.event(g.Event, of, seen, authz.FromContext(ctx).ID, now)); err != nil {
			return c, err
		}
	}
	c.Object = g.Event
	mail := now.Sub(g.MailedAt) >= mailEvery
	if mail {
		g.MailedAt = now
		if c.Then, err = s.mail(ctx, g.Event, &p, watchers); err != nil {
			return c, err
		}
	}
	if known && !mail {
		return c, nil
	}
	return c, s.Store.PutGroup(ctx, seen.Detector, seen.Group, *g)
}

// event returns the event that a sighting begins.
func (p *profile) event(eventID string, of tenant.ID, seen *Sighting, by string, now time.Time) *Event {
	first, last := earlier(whole(seen.First), now), earlier(whole(seen.Last), now) // by a clock that may be ahead
	e := &Event{
		ID: eventID, Tenant: of, RecordedAt: now, Reporter: by, Disposition: Open, Version: 1, Detector: &seen.Detector,
		Occurrences: seen.Count, LastOccurredAt: last,
		Facts: Facts{
			OccurredAt: first, DetectedAt: now, Source: SourceDetector, Category: p.category, Severity: p.severity,
			Description: personal.NewText(p.text), AffectedTenants: []tenant.ID{of},
		},
	}
	if seen.Group != "" {
		e.Group = &seen.Group
	}
	return e
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (s *Service) mail(ctx context.Context, eventID string, p *profile, watchers []*tenancy.Member) ([]job.Spec, error) {
	specs := make([]job.Spec, len(watchers))
	for i, m := range watchers {
		spec, err := s.Mail.Queue(ctx, notify.Message{
			Template: notify.TemplateSecurityEvent, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(m.Tenant, m.ID),
			Vars: map[string]personal.Text{
				"event": personal.NewText(eventID), "kind": personal.NewText(string(p.Detector)),
				"severity": personal.NewText(string(p.severity)),
			},
		})
		if err != nil {
			return nil, err
		}
		specs[i] = spec
	}
	return specs, nil
}
