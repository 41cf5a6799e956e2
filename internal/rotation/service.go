package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Timing tunes the service. The zero value of a field is its default.
type Timing struct {
	// Settle is for how long other processes may go on sealing by the older
	// generations: the life of their caches and of a transaction; 10 minutes.
	Settle time.Duration
	Again  time.Duration // between looks for files of before: 1 day
	Batch  int           // keys or documents at once: 200
	Rate   int           // of them per second at most: 2,000
}

func (t Timing) withDefaults() Timing {
	if t.Settle == 0 {
		t.Settle = vault.CacheLife + 5*time.Minute
	}
	if t.Again == 0 {
		t.Again = 24 * time.Hour
	}
	if t.Batch == 0 {
		t.Batch = 200
	}
	if t.Rate == 0 {
		t.Rate = 2000
	}
	return t
}

// Provider tells which tenant runs the platform; it needs a system context.
type Provider interface {
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Evictor tells all processes to forget keys.
type Evictor interface {
	Evict(ctx context.Context, owners ...vault.Owner)
}

// Config is what a Service needs. Timing and the functions may be left out.
type Config struct {
	Store    Store
	Values   Values
	Keys     Keys
	Vault    *vault.Vault
	Caches   Evictor
	Backups  Backups
	Provider Provider
	Changes  *change.Runner
	Log      *slog.Logger
	Now      func() time.Time
	Timing   Timing

	// Alarm is told of what an operator must look at: a code, and an opaque id.
	Alarm func(ctx context.Context, code, object string)
	// Trace is called at each point at which a crash would leave the work half
	// done: tests end the process there.
	Trace func(point string)
}

// Service rotates data keys.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service {
	c.Timing = c.Timing.withDefaults()
	if c.Trace == nil {
		c.Trace = func(string) {}
	}
	if c.Alarm == nil {
		c.Alarm = func(context.Context, string, string) {}
	}
	return &Service{c}
}

// person returns the operator who is calling.
func person(ctx context.Context) (string, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindMember && p.Kind != authz.KindOperator {
		return "", ErrPerson
	}
	return p.ID, nil
}

// RequestInput says whose keys to rotate.
type RequestInput struct {
	Tenant  tenant.ID
	Subject *string // one person of the tenant; all keys when nil
}

// Request has keys rotated by the worker.
func (s *Service) Request(ctx context.Context, in RequestInput) (*Rotation, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	provider, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if in.Subject != nil && id.Check(id.Subject, in.Tenant, *in.Subject) != nil {
		return nil, ErrOwner
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	r := &Rotation{
		ID: id.New(id.KeyRotation, provider), Tenant: in.Tenant, Subject: in.Subject, State: Renewing, RequestedBy: by,
		RequestedAt: now, NextAt: now, Version: 1,
	}
	switch first, _, err := s.keys(ctx, r, ""); {
	case err != nil:
		return nil, err
	case len(first) == 0:
		return nil, ErrOwner
	}
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "vault.rotation.request", Object: r.ID}, s.Store.Insert(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, made)
}

// Get returns a rotation.
func (s *Service) Get(ctx context.Context, rotationID string) (*Rotation, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.KeyRotation, of, rotationID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Find(ctx, rotationID)
}

// List returns a page of the rotations, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	at := func(r *Rotation) page.Position { return page.Position{CreatedAt: r.RequestedAt, ID: r.ID} }
	return page.Read(ctx, page.List{Of: id.KeyRotation}, r, at, s.Store.List)
}

// HaltInput names a rotation.
type HaltInput struct {
	ID string
}

// Halt gives a rotation up. All generations stay and open what they sealed; the
// next rotation of these keys takes them along.
func (s *Service) Halt(ctx context.Context, in HaltInput) (*Rotation, error) {
	if _, err := person(ctx); err != nil {
		return nil, err
	}
	if _, err := s.Get(ctx, in.ID); err != nil {
		return nil, err
	}
	return s.change(ctx, in.ID, "vault.rotation.halt", func(r *Rotation) error {
		if r.ended() {
			return ErrEnded
		}
		at := s.Now().UTC()
		r.State, r.EndedAt = Halted, &at
		return nil
	})
}

// change changes a rotation in a transaction of its own.
func (s *Service) change(ctx context.Context, rotationID, action string, fn func(*Rotation) error) (r *Rotation, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if r, err = s.Store.Find(ctx, rotationID); err != nil {
			return change.Change{}, err
		}
		if err := fn(r); err != nil {
			return change.Change{}, err
		}
		r.Version++
		return change.Change{Action: action, Object: r.ID}, s.Store.Update(ctx, r)
	})
	return r, err
}

// sweepBatch is how many rotations a sweep carries on.
const sweepBatch = 50

// Sweep carries every rotation on, as far as it goes now. It needs a system context.
func (s *Service) Sweep(ctx context.Context) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	of, err := s.Provider.ProviderID(ctx)
	if errs.KindOf(err) == errs.NotFound {
		return nil // there is no provider yet
	}
	if err != nil {
		return err
	}
	ctx = enter(ctx, of)
	due, err := s.Store.Due(ctx, s.Now(), sweepBatch)
	if err != nil {
		return err
	}
	var faults []error
	for _, r := range due {
		if err := s.advance(ctx, r); err != nil {
			s.Log.ErrorContext(ctx, "rotating keys doesn't go on", "rotation", r.ID, "state", string(r.State), "err", err)
			faults = append(faults, fmt.Errorf("rotate keys %s: %s: %w", r.ID, r.State, err))
		}
	}
	return errors.Join(faults...)
}

// enter returns ctx for work in a tenant's name.
func enter(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "rotations", Tenant: of})
}

// errHalted reports that a rotation was given up meanwhile.
var errHalted = errs.New(errs.Precondition, "the rotation was given up")

// advance does what is to be done in the present state, and moves to the next.
func (s *Service) advance(ctx context.Context, r *Rotation) error {
	var err error
	switch r.State {
	case Renewing:
		err = s.renew(ctx, r)
	case Resealing:
		err = s.reseal(ctx, r)
	case Waiting:
		err = s.wait(ctx, r)
	default:
		return nil
	}
	if errors.Is(err, errHalted) {
		return nil
	}
	return err
}

// save stores how far a rotation is, unless it was given up.
func (s *Service) save(ctx context.Context, r *Rotation, action string) error {
	next, err := s.change(ctx, r.ID, action, func(stored *Rotation) error {
		if stored.Version != r.Version {
			return errHalted // that is all others do to it, but for another worker
		}
		*stored = *r
		return nil
	})
	if err != nil {
		return err
	}
	*r = *next
	s.Trace("saved " + string(r.State))
	return nil
}

// keys returns some of the keys to be rotated, by id after one, and after which to
// go on: "" when these are the last.
func (s *Service) keys(ctx context.Context, r *Rotation, after string) (docs []vault.DataKey, next string, err error) {
	prefix := string(r.Tenant) + "/"
	if r.Subject != nil {
		prefix += *r.Subject + "/"
	}
	all, err := s.Keys.DataKeys(ctx, max(after, prefix), s.Timing.Batch)
	if err != nil {
		return nil, "", err
	}
	for _, doc := range all {
		if !r.covers(doc.Owner) {
			return docs, "", nil
		}
		docs = append(docs, doc)
	}
	if len(all) < s.Timing.Batch {
		return docs, "", nil
	}
	return docs, all[len(all)-1].Owner.ID(), nil
}

// eachKey calls fn for all keys to be rotated, no faster than the rate.
func (s *Service) eachKey(ctx context.Context, r *Rotation, fn func([]vault.DataKey) error) error {
	pause := s.pace()
	defer pause.Stop()
	for after := ""; ; {
		docs, next, err := s.keys(ctx, r, after)
		if err != nil {
			return err
		}
		if err := fn(docs); err != nil {
			return err
		}
		if next == "" {
			return nil
		}
		after = next
		if err := tick(ctx, pause); err != nil {
			return err
		}
	}
}

func (s *Service) pace() *time.Ticker {
	return time.NewTicker(time.Duration(s.Timing.Batch) * time.Second / time.Duration(s.Timing.Rate))
}

func tick(ctx context.Context, t *time.Ticker) error {
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// renew gives the keys a new generation. It can be repeated: those that have one
// that isn't older than the rotation are left alone.
func (s *Service) renew(ctx context.Context, r *Rotation) error {
	err := s.eachKey(ctx, r, func(docs []vault.DataKey) error {
		err := s.Vault.Retire(ctx, s.Keys, docs, r.RequestedAt)
		s.Trace("retired keys")
		s.evict(ctx, docs)
		return err
	})
	if err != nil {
		return err
	}
	// Again, for what was changed meanwhile, and to count.
	left, made := 0, 0
	err = s.eachKey(ctx, r, func(docs []vault.DataKey) error {
		for i := range docs {
			if docs[i].Older(r.RequestedAt) {
				left++
			}
			if len(docs[i].Retired(r.RequestedAt)) > 0 {
				made++
			}
		}
		return nil
	})
	if err != nil || left > 0 {
		return err
	}
	r.State, r.Keys, r.NextAt = Resealing, made, s.Now().UTC().Add(s.Timing.Settle)
	return s.save(ctx, r, "vault.rotation.renewed")
}

func (s *Service) evict(ctx context.Context, docs []vault.DataKey) {
	owners := make([]vault.Owner, len(docs))
	for i := range docs {
		owners[i] = docs[i].Owner
	}
	s.Caches.Evict(ctx, owners...)
}

// which returns what tells the generations that the rotation retires.
func (r *Rotation) which() Which {
	return func(k *vault.DataKey) []vault.KeyID {
		if !r.covers(k.Owner) {
			return nil
		}
		return k.Retired(r.RequestedAt)
	}
}

// saveEvery is after how many looks the place in the walk is noted.
const saveEvery = 50

// walk looks through everything from a place on, no faster than the rate.
func (s *Service) walk(ctx context.Context, r *Rotation, from Cursor, each func(context.Context, *Found) error) error {
	pause := s.pace()
	defer pause.Stop()
	within := enter(ctx, r.Tenant)
	for at := from; ; {
		found, err := s.Values.Look(within, at, r.which(), s.Timing.Batch)
		if err != nil {
			return err
		}
		if err := each(within, found); err != nil {
			return err
		}
		if found.End {
			return nil
		}
		at = found.Next
		if found.Looked == 0 {
			continue // an empty collection costs nothing
		}
		if err := tick(ctx, pause); err != nil {
			return err
		}
	}
}

// reseal seals everything anew, and does it again until it finds nothing.
func (s *Service) reseal(ctx context.Context, r *Rotation) error {
	if r.At == (Cursor{}) {
		r.LeftValues, r.LeftObjects, r.Unreadable = 0, 0, 0
	}
	looks := 0
	err := s.walk(ctx, r, r.At, func(within context.Context, f *Found) error {
		if len(f.Stale) > 0 {
			done, err := s.resealSome(within, r, f)
			if err != nil {
				return err
			}
			r.Values, r.Unreadable = r.Values+done.Values, r.Unreadable+done.Unreadable
			s.Trace("sealed anew")
		}
		r.LeftValues, r.LeftObjects, r.At = r.LeftValues+f.Values, r.LeftObjects+f.Objects, f.Next
		if looks++; looks%saveEvery == 0 && !f.End {
			return s.save(ctx, r, "vault.rotation.progress")
		}
		return nil
	})
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	r.At, r.LookedAt, r.NextAt = Cursor{}, &now, now
	switch r.LeftValues {
	case 0:
		return s.clean(ctx, r)
	case r.Unreadable: // doing it again won't help
		s.Alarm(ctx, "vault.rotation.unreadable", r.ID)
		r.NextAt = now.Add(s.Timing.Again)
	}
	return s.save(ctx, r, "vault.rotation.looked")
}

func (s *Service) resealSome(ctx context.Context, r *Rotation, f *Found) (done *Resealed, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if done, err = s.Values.Reseal(ctx, f.Collection, f.Stale, r.which()); err != nil {
			return change.Change{}, err
		}
		if done.Values == 0 {
			return change.Change{}, errNothing
		}
		return change.Change{Action: "vault.reseal", Object: r.ID, Contents: done.Contents, Quiet: true}, nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	return done, err
}

// errNothing ends a change that changes nothing.
var errNothing = errors.New("nothing to be sealed anew")

// clean notes that no value is left: then files, and then backups, are waited for.
func (s *Service) clean(ctx context.Context, r *Rotation) error {
	now := s.Now().UTC()
	r.State, r.CleanAt, r.DestroyAt, r.NextAt = Waiting, nil, nil, now.Add(s.Timing.Again)
	if r.LeftObjects == 0 {
		until, err := s.Backups.Until(ctx, r.Tenant, now)
		if err != nil {
			return err
		}
		r.CleanAt, r.DestroyAt, r.NextAt = &now, &until, until
	}
	return s.save(ctx, r, "vault.rotation.clean")
}

// wait looks again whether something is left, and destroys the retired generations
// when nothing is, and nothing was for as long as a backup of before may live.
func (s *Service) wait(ctx context.Context, r *Rotation) error {
	r.LeftValues, r.LeftObjects, r.Unreadable = 0, 0, 0
	err := s.walk(ctx, r, Cursor{}, func(_ context.Context, f *Found) error {
		r.LeftValues, r.LeftObjects = r.LeftValues+f.Values, r.LeftObjects+f.Objects
		return nil
	})
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	r.LookedAt = &now
	switch {
	case r.LeftValues > 0: // as after a restore: all over again
		r.State, r.CleanAt, r.DestroyAt, r.NextAt = Resealing, nil, nil, now
		return s.save(ctx, r, "vault.rotation.again")
	case r.LeftObjects > 0 || r.CleanAt == nil:
		return s.clean(ctx, r)
	}
	until, err := s.Backups.Until(ctx, r.Tenant, *r.CleanAt)
	if err != nil {
		return err
	}
	if now.Before(until) {
		r.DestroyAt, r.NextAt = &until, until
		return s.save(ctx, r, "vault.rotation.wait")
	}
	s.Trace("destroying")
	return s.destroy(ctx, r)
}

func (s *Service) destroy(ctx context.Context, r *Rotation) error {
	stored, err := s.Store.Find(ctx, r.ID)
	switch {
	case err != nil:
		return err
	case stored.Version != r.Version:
		return errHalted
	}
	err = s.eachKey(ctx, r, func(docs []vault.DataKey) error {
		err := s.Vault.DestroyRetired(ctx, s.Keys, docs, r.RequestedAt)
		s.Trace("destroyed keys")
		s.evict(ctx, docs)
		return err
	})
	if err != nil {
		return err
	}
	left, n := 0, 0
	err = s.eachKey(ctx, r, func(docs []vault.DataKey) error {
		for i := range docs {
			left += len(docs[i].Retired(r.RequestedAt))
			if !docs[i].Destroyed() && slices.ContainsFunc(docs[i].Generations, func(g vault.Generation) bool { return len(g.Wrapped)+len(g.Quarantined) == 0 }) {
				n++
			}
		}
		return nil
	})
	if err != nil || left > 0 { // a key was moved to another epoch meanwhile: again
		return err
	}
	now := s.Now().UTC()
	r.State, r.Destroyed, r.EndedAt = Done, n, &now
	s.Log.InfoContext(ctx, "retired keys are destroyed", "rotation", r.ID, "tenant", string(r.Tenant), "keys", r.Destroyed)
	return s.save(ctx, r, "vault.rotation.done")
}
