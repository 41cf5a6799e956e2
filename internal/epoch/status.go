package epoch

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// countMax is up to where the keys of an epoch are counted.
const countMax = 1_000_000

// Status tells how the keys are.
type Status struct {
	Epochs []Period // the newest first
	Closes []*Close // the latest, newest first

	Generations []Generation  // of data keys
	Quarantines []*Quarantine // of data keys, the latest, newest first
	// LookupsPending is of how many tenants lookups are being made anew.
	LookupsPending int
}

// Generation tells how many data keys seal by their first, second, … generation.
type Generation struct {
	Number int
	Keys   int // at most 1,000,000
}

// Period is one epoch.
type Period struct {
	Epoch       int
	State       vault.MasterState
	Begins      time.Time
	Ends        time.Time
	OpenedAt    time.Time
	ClosedAt    *time.Time
	DisabledAt  *time.Time
	DestroyedAt *time.Time
	// DestroyAt is when the master is meant to be destroyed, and was when it is.
	DestroyAt time.Time
	// IrrecoverableAt is from when nothing erased in the epoch, or before, can be
	// brought back: planned until the master is destroyed, then a fact.
	IrrecoverableAt time.Time
	DataKeys        int // wrapped in it, at most 1,000,000
	Late            bool
}

// Status returns how the keys are. It spans tenants: it counts, and shows no more.
func (s *Service) Status(ctx context.Context) (*Status, error) {
	masters, err := s.Keys.Masters(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(masters, func(a, b vault.Master) int { return int(b.Epoch) - int(a.Epoch) })
	status := &Status{}
	if status.Closes, err = s.Store.Closes(ctx, listed); err != nil {
		return nil, err
	}
	if status.Quarantines, err = s.Store.Quarantines(ctx, listed); err != nil {
		return nil, err
	}
	generations, err := s.Keys.CountGenerations(ctx, countMax)
	if err != nil {
		return nil, err
	}
	for i, n := range generations {
		status.Generations = append(status.Generations, Generation{i + 1, n})
	}
	if s.Lookups != nil {
		if status.LookupsPending, err = s.Lookups.Pending(tenant.System(ctx, "status of keys")); err != nil {
			return nil, err
		}
	}
	for _, m := range masters {
		destroy := m.DestroyedAt
		if destroy.IsZero() {
			destroy = s.planned(m.Epoch)
		}
		e := Period{
			Epoch: int(m.Epoch), State: m.State, Begins: m.Epoch.Start(), Ends: m.Epoch.End(), OpenedAt: m.CreatedAt,
			ClosedAt: present(m.ClosedAt), DisabledAt: present(m.DisabledAt), DestroyedAt: present(m.DestroyedAt),
			DestroyAt: destroy, IrrecoverableAt: destroy.Add(s.KMS.Recovery()), Late: s.late(m),
		}
		if e.DataKeys, err = s.Keys.CountDataKeys(ctx, m.Epoch, countMax); err != nil {
			return nil, err
		}
		status.Epochs = append(status.Epochs, e)
	}
	return status, nil
}

func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// planned returns when an epoch's master is meant to be destroyed.
func (s *Service) planned(e vault.Epoch) time.Time {
	return e.End().Add(s.Timing.Allowance + s.Timing.Wait)
}

// late reports whether the master should be further by now.
func (s *Service) late(m vault.Master) bool {
	now := s.Now()
	switch m.State {
	case vault.MasterDestroyed:
		return false
	case vault.MasterOpen:
		return now.After(m.Epoch.End().Add(s.Timing.Allowance))
	default:
		return now.After(s.planned(m.Epoch).Add(s.Timing.Allowance))
	}
}

// Irrecoverable returns from when what was erased under keys of the epochs can be
// brought back by nobody: as planned, and as it is once the masters of these
// epochs, and of all before, are destroyed; nil until then.
func (s *Service) Irrecoverable(ctx context.Context, epochs ...vault.Epoch) (planned time.Time, actual *time.Time, err error) {
	masters, err := s.Keys.Masters(ctx)
	if err != nil || len(epochs) == 0 {
		return planned, nil, err
	}
	newest, last := slices.Max(epochs), time.Time{}
	planned = s.planned(newest).Add(s.KMS.Recovery())
	for _, m := range masters {
		switch {
		case m.Epoch > newest:
		case m.State != vault.MasterDestroyed:
			return planned, nil, nil
		case m.DestroyedAt.After(last):
			last = m.DestroyedAt
		}
	}
	return planned, present(last.Add(s.KMS.Recovery())), nil
}

// Watch raises an alarm for each epoch that is late. It needs a system context.
func (s *Service) Watch(ctx context.Context) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	masters, err := s.Keys.Masters(ctx)
	if err != nil {
		return err
	}
	for _, m := range masters {
		if s.late(m) {
			s.Log.ErrorContext(ctx, "epoch is late: its master should be further by now", "epoch", int(m.Epoch), "state", string(m.State))
			s.Alarm(ctx, "vault.epoch.late", m.KeyRef)
		}
	}
	return nil
}
