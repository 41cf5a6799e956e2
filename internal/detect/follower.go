package detect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Place is how far a tenant's log goes.
type Place struct {
	Tenant tenant.ID
	End    int64 // above the seq of the last entry
}

// Store is where the Follower reads, and how far it is. Without saying so, its
// methods are for the tenant in ctx.
type Store interface {
	SignalStore

	// Behind returns the tenants with entries that haven't been read. It spans
	// tenants.
	Behind(ctx context.Context) ([]Place, error)
	// Signalled returns tenants with signals that haven't been read. It spans tenants.
	Signalled(ctx context.Context) ([]tenant.ID, error)
	// Next returns the tenant's place, 0 before the first.
	Next(ctx context.Context) (int64, error)
	// Entries returns up to limit sealed entries from a place on, in order.
	Entries(ctx context.Context, from int64, limit int) ([]Entry, error)
	// SeqAt returns the place of the newest sealed entry before a time, 0 if none.
	SeqAt(ctx context.Context, at time.Time) (int64, error)
	// Advance moves the place, within a transaction, or fails with ErrMoved when
	// it isn't from any more.
	Advance(ctx context.Context, from, to int64) error
	// Signals returns up to limit signals that haven't been read, the oldest first.
	Signals(ctx context.Context, limit int) ([]Row, error)
	// Read returns the signals since a time that have been, the oldest first.
	Read(ctx context.Context, since time.Time) ([]Row, error)
	// MarkRead notes signals as read, or fails with ErrMoved when one was before.
	MarkRead(ctx context.Context, ids []string) error
	// Networks returns from where a member has called, each with when last.
	Networks(ctx context.Context, member string) (map[string]time.Time, error)
	// PutNetwork notes that a member called from a network.
	PutNetwork(ctx context.Context, member, network string, at time.Time) error
	// Forget deletes signals and networks, of all tenants, from before these times.
	Forget(ctx context.Context, signals, networks time.Time) error

	InTransaction(ctx context.Context, fn func(ctx context.Context) error) error
}

// Register is where events are raised.
type Register interface {
	Detectors(ctx context.Context) ([]*security.Setting, error)
	Raise(ctx context.Context, seen []security.Sighting, commit func(ctx context.Context) error) error
}

// Members knows the members of the tenant in ctx.
type Members interface {
	GetMember(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Config is what a Follower is made of.
type Config struct {
	Store    Store
	Register Register
	Members  Members
	Now      func() time.Time
	Log      *slog.Logger
}

// Follower reads the logs of all tenants and what was signalled, and raises
// events. One at a time does: what it has counted is in its memory, and is read
// from the log again by who takes over.
type Follower struct {
	Config

	states map[tenant.ID]*state
}

// state is what is counted of a tenant. It is of the log before next.
type state struct {
	next     int64
	windows  map[key]*window
	networks map[string]map[string]time.Time // of members, as far as they were needed
	settings map[security.Detector]*security.Setting
}

type key struct {
	detector security.Detector
	group    string
}

// NewFollower returns a Follower.
func NewFollower(c Config) *Follower { return &Follower{c, map[tenant.ID]*state{}} }

const (
	pause   = time.Second // between two looks
	batch   = 200         // entries and signals read at once
	perTurn = 20          // batches of a tenant before the next tenant's
	// keepNetworks is how long it isn't forgotten that a member called from a network.
	keepNetworks = 90 * 24 * time.Hour
	touchEvery   = 24 * time.Hour
)

// Run follows until ctx, which spans tenants, ends. Only one may at a time: it is
// the work of a sweep.
func (f *Follower) Run(ctx context.Context) error {
	clear(f.states) // another one may have been at it
	for {
		if err := f.Follow(ctx); err != nil && ctx.Err() == nil {
			f.Log.ErrorContext(ctx, "following the audit log failed", "err", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// Follow goes once through everything new. ctx spans tenants.
func (f *Follower) Follow(ctx context.Context) error {
	places, err := f.Store.Behind(ctx)
	if err != nil {
		return fmt.Errorf("look for entries: %w", err)
	}
	var failed []error
	for _, p := range places {
		failed = append(failed, f.tenant(ctx, p.Tenant, func(ctx context.Context, s *state) error { return f.log(ctx, s, p.End) }))
	}
	signalled, err := f.Store.Signalled(ctx)
	if err != nil {
		return errors.Join(append(failed, fmt.Errorf("look for signals: %w", err))...)
	}
	for _, of := range signalled {
		failed = append(failed, f.tenant(ctx, of, f.signals))
	}
	return errors.Join(failed...)
}

// tenant does work on the state of a tenant. One tenant's trouble is not another's.
func (f *Follower) tenant(ctx context.Context, of tenant.ID, do func(context.Context, *state) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "detectors", Tenant: of})
	settings, err := f.Register.Detectors(ctx)
	if err == nil {
		s := f.states[of]
		if s == nil {
			s, err = f.load(ctx, settings)
		}
		if err == nil {
			f.states[of] = s
			s.set(settings)
			err = do(ctx, s)
		}
	}
	if err == nil {
		return nil
	}
	delete(f.states, of) // it may be ahead of what is stored
	if errors.Is(err, ErrMoved) {
		return nil
	}
	return fmt.Errorf("follow log of %s: %w", of, err)
}

func (s *state) set(settings []*security.Setting) {
	s.settings = make(map[security.Detector]*security.Setting, len(settings))
	for _, set := range settings {
		s.settings[set.Detector] = set
	}
}

// load counts again what was counted before, as far as it matters still.
func (f *Follower) load(ctx context.Context, settings []*security.Setting) (*state, error) {
	s := &state{windows: map[key]*window{}, networks: map[string]map[string]time.Time{}}
	s.set(settings)
	var err error
	if s.next, err = f.Store.Next(ctx); err != nil {
		return nil, err
	}
	now := f.Now()
	if unread, err := f.Store.Entries(ctx, s.next, 1); err != nil {
		return nil, err
	} else if len(unread) > 0 && unread[0].At.Before(now) {
		now = unread[0].At
	}
	longest := slices.MaxFunc(settings, func(a, b *security.Setting) int { return a.WindowMinutes - b.WindowMinutes })
	since := now.Add(-longest.Window())
	from, err := f.Store.SeqAt(ctx, since)
	if err != nil {
		return nil, err
	}
	for from < s.next {
		entries, err := f.Store.Entries(ctx, from, int(min(batch, s.next-from)))
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			break
		}
		for i := range entries {
			if entries[i].Seq < s.next {
				s.count(entries[i].hits(), nil)
			}
		}
		from = entries[len(entries)-1].Seq + 1
	}
	rows, err := f.Store.Read(ctx, since)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		s.count([]hit{rows[i].hit(s)}, nil)
	}
	return s, nil
}

// count adds hits to their windows, and to seen what lies beyond a threshold.
func (s *state) count(hits []hit, seen map[key]*security.Sighting) {
	for _, h := range hits {
		set := s.settings[h.detector]
		if !set.Enabled {
			continue
		}
		threshold := set.Threshold
		if h.detector == security.ClockJump {
			threshold = 1 // it was measured against it
		}
		k := key{h.detector, h.group}
		w := s.windows[k]
		if w == nil {
			w = &window{}
			s.windows[k] = w
		}
		for _, thing := range h.things {
			more, first := w.add(thing, h.at, threshold, set.Window())
			if more == 0 || seen == nil {
				continue
			}
			if seen[k] == nil {
				seen[k] = &security.Sighting{Detector: h.detector, Group: h.group, First: first}
			}
			seen[k].Count += more
			seen[k].Last = h.at
		}
	}
}

// log follows the tenant's log to an end.
func (f *Follower) log(ctx context.Context, s *state, end int64) error {
	for range perTurn {
		if s.next >= end {
			break
		}
		entries, err := f.Store.Entries(ctx, s.next, batch)
		if err != nil {
			return err
		}
		if len(entries) == 0 { // nothing of the log is left of before a restore
			return f.Store.InTransaction(ctx, func(ctx context.Context) error { return f.Store.Advance(ctx, s.next, end) })
		}
		seen := map[key]*security.Sighting{}
		var calls []call
		for i := range entries {
			e := &entries[i]
			s.count(e.hits(), seen)
			c, h, err := f.from(ctx, s, e)
			if err != nil {
				return err
			}
			s.count(h, seen)
			calls = append(calls, c...)
		}
		to := entries[len(entries)-1].Seq + 1
		if err := f.raise(ctx, seen, func(ctx context.Context) error {
			for _, c := range calls {
				if err := f.Store.PutNetwork(ctx, c.member, c.network, c.at); err != nil {
					return err
				}
			}
			return f.Store.Advance(ctx, s.next, to)
		}); err != nil {
			return err
		}
		s.next = to
	}
	s.forget(f.Now())
	return nil
}

// raise commits what was read with the events it leads to.
func (f *Follower) raise(ctx context.Context, seen map[key]*security.Sighting, commit func(context.Context) error) error {
	if len(seen) == 0 {
		return f.Store.InTransaction(ctx, commit)
	}
	sightings := make([]security.Sighting, 0, len(seen))
	for _, s := range seen {
		sightings = append(sightings, *s)
	}
	return f.Register.Raise(ctx, sightings, commit)
}

// signals reads what the tenant was signalled.
func (f *Follower) signals(ctx context.Context, s *state) error {
	rows, err := f.Store.Signals(ctx, batch)
	if err != nil {
		return err
	}
	seen, ids := map[key]*security.Sighting{}, make([]string, len(rows))
	for i := range rows {
		s.count([]hit{rows[i].hit(s)}, seen)
		ids[i] = rows[i].ID
	}
	return f.raise(ctx, seen, func(ctx context.Context) error { return f.Store.MarkRead(ctx, ids) })
}

// hit returns what the detector counts of a signal.
func (r *Row) hit(s *state) hit {
	h := hit{detector: r.Detector, group: r.Group, at: r.At}
	n, threshold := r.Count, s.settings[r.Detector].Threshold
	if r.Detector == security.ClockJump {
		if n < threshold {
			return h
		}
		n = 1
	}
	for i := range n {
		h.things = append(h.things, r.ID+"/"+strconv.Itoa(i))
	}
	return h
}

// call is that a member called from a network.
type call struct {
	member, network string
	at              time.Time
}

// from looks whether an entry is of a privileged member in a network for the
// first time, and returns what is to be remembered. The first network of all is
// no news.
func (f *Follower) from(ctx context.Context, s *state, e *Entry) ([]call, []hit, error) {
	if !e.person() {
		return nil, nil, nil
	}
	known := s.networks[e.Actor]
	if known == nil {
		var err error
		if known, err = f.Store.Networks(ctx, e.Actor); err != nil {
			return nil, nil, err
		}
		s.networks[e.Actor] = known
	}
	last, seen := known[e.Network]
	if seen && e.At.Sub(last) < touchEvery {
		return nil, nil, nil
	}
	first := len(known) == 0
	known[e.Network] = e.At
	remember := []call{{e.Actor, e.Network, e.At}}
	if first || seen && e.At.Sub(last) < keepNetworks {
		return remember, nil, nil
	}
	privileged, err := f.privileged(ctx, e)
	if err != nil || !privileged {
		return remember, nil, err
	}
	return remember, []hit{{security.NewNetwork, e.Actor, []string{e.Network}, e.At}}, nil
}

func (f *Follower) privileged(ctx context.Context, e *Entry) (bool, error) {
	if e.Kind == authz.KindOperator {
		return true, nil
	}
	m, err := f.Members.GetMember(ctx, e.Actor)
	if errs.KindOf(err) == errs.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.Role == authz.RoleOwner || m.Role == authz.RoleApprover || m.Role == authz.RoleOperator, nil
}

// forget lets go of windows in which nothing is left.
func (s *state) forget(now time.Time) {
	for k, w := range s.windows {
		set := s.settings[k.detector]
		w.prune(now.Add(-set.Window()), max(set.Threshold, 1))
		if len(w.last) == 0 {
			delete(s.windows, k)
		}
	}
	if len(s.windows) == 0 {
		clear(s.networks)
	}
}

// Sweep deletes, for all tenants, what is needed no more. ctx spans tenants.
func (f *Follower) Sweep(ctx context.Context) error {
	now := f.Now()
	return f.Store.Forget(ctx, now.Add(-2*security.MaxWindow*time.Minute), now.Add(-keepNetworks))
}
