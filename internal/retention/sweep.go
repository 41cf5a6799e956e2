package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// batch is how many items are worked on at once.
const batch = 200

// Sentinels.
var (
	ErrNoRun = errs.New(errs.NotFound, "no such retention run")
	// ErrDecided refuses to decide on a run twice.
	ErrDecided = errs.New(errs.Precondition, "the run doesn't wait for a decision any more").Under("retention.run")
)

// Outdate is the work of JobOutdate: everything that a changed rule is about, or
// the settings are, is decided on anew.
func (s *Service) Outdate(ctx context.Context, r *job.Run) error {
	if r.Object() == string(r.Tenant()) { // the settings
		return s.outdate(ctx, Proof)
	}
	rule, err := s.Store.GetRule(ctx, r.Object())
	if err != nil {
		return err
	}
	return s.outdate(ctx, rule.unit())
}

func (s *Service) outdate(ctx context.Context, u Unit) error {
	for after := ""; ; {
		last, err := s.Store.Outdate(ctx, u, after, batch)
		if err != nil || last == "" {
			return err
		}
		after = last
	}
}

// Resolve decides on all items whose dates or rules changed, of all tenants. It is
// for a sweep.
func (s *Service) Resolve(ctx context.Context) error {
	for {
		items, err := s.Store.Outdated(ctx, batch)
		if err != nil || len(items) == 0 {
			return err
		}
		slices.SortStableFunc(items, func(a, b *Item) int { return order(a) - order(b) }) // persons last
		byTenant := map[tenant.ID][]*Item{}
		for _, i := range items {
			byTenant[i.Tenant] = append(byTenant[i.Tenant], i)
		}
		for of, list := range byTenant {
			if err := s.resolve(system(ctx, of), list); err != nil {
				return fmt.Errorf("resolve retention of %s: %w", of, err)
			}
		}
		if err := s.Store.SetDue(ctx, items); err != nil {
			return err
		}
	}
}

func order(i *Item) int {
	if i.Unit == Person {
		return 1
	}
	return 0
}

// system returns ctx in the name of the sweep, within a tenant.
func system(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "retention", Tenant: of})
}

// resolve sets DueOn of a tenant's items: by the rules alone, for holds and
// restrictions end, and are looked at when an item is due.
func (s *Service) resolve(ctx context.Context, items []*Item) error {
	zone, today, err := s.today(ctx)
	if err != nil {
		return err
	}
	rules, err := s.rules(ctx)
	if err != nil {
		return err
	}
	persons := make([]string, len(items))
	for n, i := range items {
		persons[n] = i.Subject
	}
	known, err := s.Store.Items(ctx, persons...)
	if err != nil {
		return err
	}
	secret, err := s.Datasets.Secret(ctx)
	if err != nil {
		return err
	}
	for _, i := range items {
		d := i.datum(personOf(known, i.Subject), zone)
		d.Restricted = false
		i.DueOn = Decide(d, rules, nil, today).due(today)
		for _, k := range known {
			switch {
			case k.ID == i.ID:
				k.DueOn = i.DueOn
			case i.Unit != Person || k.Subject != i.Subject || i.DueOn == nil || slices.Contains(secret, k.Unit):
			case k.DueOn == nil:
				i.DueOn = nil // the person stays as long as any of the person's data
			case k.DueOn.After(*i.DueOn):
				i.DueOn = k.DueOn
			}
		}
	}
	return nil
}

// due returns from when the datum is to be gone, nil while no rule demands it.
func (d Decision) due(today civil.Date) *civil.Date {
	switch {
	case d.Outcome == Keep:
		return nil
	case d.Date == nil:
		return &today
	default:
		return d.Date
	}
}

// Sweep looks, once on each day of each tenant, for what has fallen due, and
// proposes or begins a run. A tenant that fails is tried again with the next sweep.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.Resolve(ctx); err != nil {
		return err
	}
	var failed error
	for after := tenant.ID(""); ; {
		ids, err := s.Store.Tenants(ctx, after, batch)
		if err != nil {
			return err
		}
		for _, of := range ids {
			after = of
			if err := s.sweep(system(ctx, of)); err != nil {
				failed = errors.Join(failed, fmt.Errorf("sweep retention of %s: %w", of, err))
			}
		}
		if len(ids) < batch {
			return failed
		}
	}
}

func (s *Service) sweep(ctx context.Context) error {
	_, today, err := s.today(ctx)
	if err != nil {
		return err
	}
	set, err := s.Store.Settings(ctx)
	if err != nil || set.SweptOn != nil && !set.SweptOn.Before(today) {
		return err
	}
	if err := s.turn(ctx, set.SweptOn, today); err != nil {
		return err
	}
	open, err := s.Store.OpenRun(ctx)
	if err != nil {
		return err
	}
	if !open {
		if err := s.propose(ctx, set, today); err != nil {
			return err
		}
	}
	return s.Store.Swept(ctx, today)
}

// turn has what rules are about decided on anew that came into force, or went out
// of it, since a day.
func (s *Service) turn(ctx context.Context, since *civil.Date, today civil.Date) error {
	rules, err := s.Store.ActiveRules(ctx)
	if err != nil || since == nil {
		return err
	}
	outdated := false
	for _, r := range rules {
		if r.valid(*since) == r.valid(today) {
			continue
		}
		outdated = true
		if err := s.outdate(ctx, r.unit()); err != nil {
			return err
		}
	}
	if !outdated {
		return nil
	}
	return s.Resolve(tenant.System(ctx, "retention"))
}

// propose makes a run of what is due and may go, if anything is.
func (s *Service) propose(ctx context.Context, set Settings, today civil.Date) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	now := s.at()
	run := &Run{ID: id.New(id.RetentionRun, of), AsOf: today, State: Proposed, ProposedAt: now, Version: 1}
	var after *page.Position
	for !run.More {
		due, err := s.due(ctx, nil, today, after, batch)
		if err != nil {
			return err
		}
		for _, d := range due {
			after = d.position()
			switch {
			case d.Outcome != EraseNow:
			case len(run.Items) == set.Cap:
				run.More = true
			default:
				run.Items = append(run.Items, Planned{d.Subject, d.Unit})
			}
		}
		if len(due) < batch {
			break
		}
	}
	run.Items = slices.DeleteFunc(run.Items, func(p Planned) bool { // what goes with the person
		return p.Unit != Person && p.Unit != Proof && slices.Contains(run.Items, Planned{p.Subject, Person})
	})
	if len(run.Items) == 0 {
		return nil
	}
	c := change.Change{Action: "retention.propose", Object: run.ID}
	if !set.Approval {
		run.State, c.Action, c.Then = Running, "retention.run", []job.Spec{run.job()}
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) { return c, s.Store.InsertRun(ctx, run) })
}

func (r *Run) job() job.Spec { return job.Spec{Type: JobRun, Object: r.ID} }

// position is the place of an item in the list of what is due.
func (i *Item) position() *page.Position {
	return &page.Position{CreatedAt: i.DueOn.Start(time.UTC), ID: i.ID}
}

// due returns items that are due on a day or before, decided on as of today.
func (s *Service) due(ctx context.Context, hidden []string, by civil.Date, after *page.Position, limit int) ([]*Decided, error) {
	items, err := s.Store.DueItems(ctx, hidden, by, after, limit)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	persons := make([]string, len(items))
	for n, i := range items {
		persons[n] = i.Subject
	}
	known, err := s.Store.Items(ctx, persons...)
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		for _, k := range known {
			if k.Subject == i.Subject {
				i.State = k.State
			}
		}
	}
	return s.decide(ctx, items, known, false)
}

// Pages of what is due.
type (
	// DueConnection is a page of them.
	DueConnection = page.Connection[*Decided]
	// DueEdge is one of them, on a page.
	DueEdge = page.Edge[*Decided]
)

// Due returns a page of what is due on a day, today when it is nil, or was before:
// the oldest first, with what would happen to it now. Items whose dates changed in
// the last minute may be missing.
func (s *Service) Due(ctx context.Context, by *civil.Date, r page.Request) (*DueConnection, error) {
	hidden, err := s.Datasets.Hidden(ctx)
	if err != nil {
		return nil, err
	}
	if by == nil {
		_, today, err := s.today(ctx)
		if err != nil {
			return nil, err
		}
		by = &today
	}
	at := func(d *Decided) page.Position { return *d.position() }
	return page.Read(ctx, page.List{Of: id.RetentionItem}, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Decided, error) {
		return s.due(ctx, hidden, *by, after, limit)
	})
}

// RunInput names a run.
type RunInput struct{ ID string }

// RunOf returns a run, or ErrNoRun.
func (s *Service) RunOf(ctx context.Context, runID string) (*Run, error) {
	if err := check(ctx, id.RetentionRun, runID, ErrNoRun); err != nil {
		return nil, err
	}
	return s.Store.GetRun(ctx, runID)
}

// Runs returns a page of runs, the newest first.
func (s *Service) Runs(ctx context.Context, r page.Request) (*RunConnection, error) {
	at := func(r *Run) page.Position { return page.Position{CreatedAt: r.ProposedAt, ID: r.ID} }
	return page.Read(ctx, page.List{Of: id.RetentionRun}, r, at, s.Store.Runs)
}

// Approve lets a proposed run erase what is on its list.
func (s *Service) Approve(ctx context.Context, in RunInput) (*Run, error) {
	return s.settle(ctx, in.ID, "retention.approve", Running)
}

// Dismiss ends a proposed run. What is due then is proposed again.
func (s *Service) Dismiss(ctx context.Context, in RunInput) (*Run, error) {
	return s.settle(ctx, in.ID, "retention.dismiss", Dismissed)
}

func (s *Service) settle(ctx context.Context, runID, action string, to RunState) (run *Run, err error) {
	if _, err := s.RunOf(ctx, runID); err != nil {
		return nil, err
	}
	by, at := authz.FromContext(ctx).ID, s.at()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if run, err = s.Store.GetRun(ctx, runID); err != nil {
			return c, err
		}
		if run.State != Proposed {
			return c, ErrDecided
		}
		run.State, run.DecidedBy, run.DecidedAt = to, &by, &at
		run.Version++
		c = change.Change{Action: action, Object: run.ID}
		if to == Running {
			c.Then = []job.Spec{run.job()}
		}
		return c, s.Store.UpdateRun(ctx, run)
	})
	return run, err
}

// Run is the work of JobRun: each item is decided on once more, and its erasure
// begun, in a transaction of its own, so that the run goes on where it was.
func (s *Service) Run(ctx context.Context, r *job.Run) error {
	for {
		run, err := s.Store.GetRun(ctx, r.Object())
		if err != nil || run.State != Running {
			return err
		}
		if err := s.step(ctx, r, run.Next); err != nil {
			return fmt.Errorf("run %s, item %d: %w", run.ID, run.Next, err)
		}
		if err := r.Progress(ctx, int64(run.Next+1), int64(len(run.Items)), "items"); err != nil {
			return err
		}
	}
}

// step carries out an item of a run.
func (s *Service) step(ctx context.Context, r *job.Run, next int) error {
	at := s.at()
	return s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		run, err := s.Store.GetRun(ctx, r.Object())
		if err != nil {
			return c, err
		}
		if run.Next != next {
			return c, change.ErrVersion // another worker is at it
		}
		item := run.Items[next]
		c = change.Change{Action: "retention.keep", Object: run.ID, Quiet: true}
		may, cause, err := s.may(ctx, item)
		if err != nil {
			return c, err
		}
		if may {
			p := erasure.Plan{Subject: item.Subject, Cause: cmp.Or(cause, run.ID)}
			if item.Unit != Person {
				p.Units = []vault.Unit{vault.Unit(item.Unit)}
			} else if p.Spared, p.With, err = s.whole(ctx, item.Subject); err != nil {
				return c, err
			}
			sh, then, err := s.Erasures.BeginIn(ctx, p)
			if err != nil {
				return c, err
			}
			c = change.Change{Action: "retention.erase", Object: sh.ID, Then: then}
			run.Erased++
		} else {
			run.Kept++
		}
		if run.Next++; run.Next == len(run.Items) {
			run.State, run.DoneAt = Done, &at
		}
		run.Version++
		return c, s.Store.UpdateRun(ctx, run)
	})
}

// whole returns what outlives a person who is erased, and the datasets that go too.
func (s *Service) whole(ctx context.Context, person string) (spared, with []vault.Unit, err error) {
	if spared, err = s.Spare(ctx, person); err != nil {
		return nil, nil, err
	}
	known, err := s.Store.Items(ctx, person)
	for _, i := range known {
		if u := vault.Unit(i.Unit); i.Unit != Person && i.Unit != Proof && !i.State.Gone() && !slices.Contains(spared, u) {
			with = append(with, u)
		}
	}
	return spared, with, err
}

// may reports whether an item is still to be erased, and what granted that, "" when
// nothing did but its time is over.
func (s *Service) may(ctx context.Context, p Planned) (may bool, cause string, err error) {
	known, err := s.Store.Items(ctx, p.Subject)
	if err != nil {
		return false, "", err
	}
	i := slices.IndexFunc(known, func(k *Item) bool { return k.Unit == p.Unit })
	if i < 0 || known[i].State.Gone() && p.Unit != Proof {
		return false, "", nil // it is erased already
	}
	all, err := s.decide(ctx, known[i:i+1], known, false)
	if err != nil {
		return false, "", err
	}
	return all[0].Outcome == EraseNow, known[i].Requested, nil
}

// SettingsInput asks for changes; what is nil stays.
type SettingsInput struct {
	ExpectedVersion int64
	Approval        *bool
	Cap             *int
	ProofYears      *int
}

// Settings returns what the tenant has set for its runs.
func (s *Service) Settings(ctx context.Context) (*Settings, error) {
	set, err := s.Store.Settings(ctx)
	return &set, err
}

// ChangeSettings changes them.
func (s *Service) ChangeSettings(ctx context.Context, in SettingsInput) (*Settings, error) {
	if in.Cap != nil && (*in.Cap < 1 || *in.Cap > maxCap) {
		return nil, errs.New(errs.Invalid, "a run has 1 to %d items", maxCap).At("cap")
	}
	if y := in.ProofYears; y != nil && (*y < minProof || *y > maxProof) {
		return nil, errs.New(errs.Invalid, "the proof is kept for %d to %d years", minProof, maxProof).At("proofYears")
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var set Settings
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if set, err = s.Store.Settings(ctx); err != nil {
			return c, err
		}
		if set.Version != in.ExpectedVersion {
			return c, change.ErrVersion
		}
		c = change.Change{Action: "retention.settings", Object: string(of)}
		if in.Approval != nil {
			set.Approval, c.Fields = *in.Approval, append(c.Fields, "approval")
		}
		if in.Cap != nil {
			set.Cap, c.Fields = *in.Cap, append(c.Fields, "cap")
		}
		if in.ProofYears != nil {
			set.ProofYears, c.Fields = *in.ProofYears, append(c.Fields, "proofYears")
			c.Then = []job.Spec{{Type: JobOutdate, Object: string(of)}}
		}
		set.Version++
		return c, s.Store.SaveSettings(ctx, set)
	})
	return &set, err
}
