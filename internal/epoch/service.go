package epoch

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
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Timing tunes the service. The zero value of a field is its default.
type Timing struct {
	Transaction time.Duration // the longest life of a transaction of the key store: 60 s, MongoDB's default
	Wait        time.Duration // between disabling a master and destroying it: 7 days
	Allowance   time.Duration // for the rest of a close: 1 day; after it an alarm is raised
	Batch       int           // things moved in one transaction: 500
	Rate        int           // things moved per second at most: 5,000
}

func (t Timing) withDefaults() Timing {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Transaction: time.Minute, &t.Wait: 7 * 24 * time.Hour, &t.Allowance: 24 * time.Hour,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if t.Batch == 0 {
		t.Batch = 500
	}
	if t.Rate == 0 {
		t.Rate = 5000
	}
	return t
}

// Provider tells which tenant runs the platform; it needs a system context.
type Provider interface {
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Keys is the key store.
type Keys interface {
	vault.EpochStore
	// Copy restores a copy of the key store, as from a backup, and calls use with it.
	Copy(ctx context.Context, use func(vault.EpochStore) error) error
	CountDataKeys(ctx context.Context, e vault.Epoch, limit int) (int, error)
	// CountGenerations counts, each up to limit, the data keys whose current
	// generation is the first, the second and so on.
	CountGenerations(ctx context.Context, limit int) ([]int, error)
}

// Lookups are made with index keys, which are renewed with the epoch.
type Lookups interface {
	// Renew makes the lookups of all tenants anew with the index keys of the
	// epoch, and returns done when no older index key is needed any more. It needs
	// a system context.
	Renew(ctx context.Context, to vault.Epoch) (done bool, err error)
	// Rebuild has the lookups of a tenant, or of all, made anew, and returns of how
	// many tenants; Pending counts those where it isn't done. Both need a system context.
	Rebuild(ctx context.Context, of *tenant.ID) (int, error)
	Pending(ctx context.Context) (int, error)
}

// Config is what a Service needs. Alarm, Kinds, Lookups, Timing and Trace may be left out.
type Config struct {
	Store    Store
	Keys     Keys
	KMS      kms.Wrapper
	Vault    *vault.Vault
	Provider Provider
	Changes  *change.Runner
	Lookups  Lookups
	Kinds    []vault.Kind // of wrapped things beside data keys and index keys
	Log      *slog.Logger
	Now      func() time.Time
	Timing   Timing

	// Alarm is told of what an operator must look at: a code, and an opaque id.
	Alarm func(ctx context.Context, code, object string)
	// Trace is called at each point at which a crash would leave the work half
	// done: tests end the process there.
	Trace func(point string)
}

// Service opens and closes epochs.
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

func (s *Service) kinds() []vault.Kind {
	return append([]vault.Kind{vault.DataKeyKind(s.Keys), vault.IndexKeyKind(s.Keys)}, s.Kinds...)
}

// person returns the operator who is calling.
func person(ctx context.Context) (string, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindMember && p.Kind != authz.KindOperator {
		return "", ErrPerson
	}
	return p.ID, nil
}

// RequestInput names the epoch to close.
type RequestInput struct {
	Epoch int
}

// Request asks for the closing of an epoch, which another operator must approve.
func (s *Service) Request(ctx context.Context, in RequestInput) (*Close, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	e := vault.Epoch(in.Epoch) //nolint:gosec // G115: the API's integers have 32 bits
	masters, err := s.Keys.Masters(ctx)
	if err != nil {
		return nil, err
	}
	var master *vault.Master
	for _, m := range masters {
		switch {
		case m.Epoch == e:
			master = &m
		case m.Epoch < e && m.State != vault.MasterDestroyed:
			return nil, ErrOrder
		}
	}
	if master == nil || master.State == vault.MasterDestroyed {
		return nil, ErrEpoch
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	c := &Close{ID: id.New(id.EpochClose, of), Epoch: e, State: Requested, RequestedBy: by, RequestedAt: s.Now().UTC(), Version: 1}
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "vault.close.request", Object: c.ID}, s.Store.InsertClose(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, made)
}

// Get returns a close.
func (s *Service) Get(ctx context.Context, closeID string) (*Close, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.EpochClose, of, closeID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.FindClose(ctx, closeID)
}

// RebuildInput says whose lookups to rebuild.
type RebuildInput struct {
	Tenant *tenant.ID // all tenants' when nil
}

// RebuildLookups has lookups made anew with another index key, as after a change of
// a normaliser, and returns of how many tenants. The worker does it.
func (s *Service) RebuildLookups(ctx context.Context, in RebuildInput) (tenants int, err error) {
	if _, err := person(ctx); err != nil {
		return 0, err
	}
	if s.Lookups == nil {
		return 0, ErrNoLookups
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "vault.lookups.rebuild"}
		if in.Tenant != nil {
			c.Object = string(*in.Tenant)
		}
		if tenants, err = s.Lookups.Rebuild(tenant.System(ctx, "rebuild lookups"), in.Tenant); err == nil && tenants == 0 {
			err = ErrNoLookups
		}
		return c, err
	})
	return tenants, err
}

// DecideInput names a close.
type DecideInput struct {
	ID string
}

// Approve lets a close be carried out.
func (s *Service) Approve(ctx context.Context, in DecideInput) (*Close, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	return s.change(ctx, in.ID, "vault.close.approve", func(c *Close) error {
		switch {
		case c.State != Requested:
			return ErrNotRequested
		case c.RequestedBy == by:
			return ErrSamePerson
		}
		at := s.Now().UTC()
		c.State, c.ApprovedBy, c.ApprovedAt = Running, &by, &at
		return nil
	})
}

// Halt gives a close up, as long as the master isn't being destroyed, and makes a
// disabled master usable again. One person is enough to stop.
func (s *Service) Halt(ctx context.Context, in DecideInput) (*Close, error) {
	if _, err := person(ctx); err != nil {
		return nil, err
	}
	c, err := s.change(ctx, in.ID, "vault.close.halt", func(c *Close) error {
		if c.State != Requested && c.State != Running {
			return ErrTooLate
		}
		c.State = Halted
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, s.enable(ctx, c.Epoch)
}

// enable makes an epoch's master usable again, as it was before it was disabled.
func (s *Service) enable(ctx context.Context, e vault.Epoch) error {
	m, err := s.master(ctx, e)
	if err != nil || m.State == vault.MasterOpen {
		return err
	}
	if err := s.KMS.Enable(ctx, m.KeyRef); err != nil {
		return fmt.Errorf("enable master of epoch %d: %w", e, err)
	}
	m.State, m.DisabledAt = vault.MasterClosed, time.Time{}
	_, err = s.Keys.MoveMaster(ctx, vault.MasterDisabled, m)
	return err
}

// change changes a close in a transaction of its own.
func (s *Service) change(ctx context.Context, closeID, action string, fn func(*Close) error) (c *Close, err error) {
	if _, err := s.Get(ctx, closeID); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if c, err = s.Store.FindClose(ctx, closeID); err != nil {
			return change.Change{}, err
		}
		if err := fn(c); err != nil {
			return change.Change{}, err
		}
		c.Version++
		return change.Change{Action: action, Object: c.ID}, s.Store.UpdateClose(ctx, c)
	})
	return c, err
}

func (s *Service) master(ctx context.Context, e vault.Epoch) (vault.Master, error) {
	masters, err := s.Keys.Masters(ctx)
	if err != nil {
		return vault.Master{}, err
	}
	i := slices.IndexFunc(masters, func(m vault.Master) bool { return m.Epoch == e })
	if i < 0 {
		return vault.Master{}, fmt.Errorf("master of epoch %d: %w", e, vault.ErrKeyMissing)
	}
	return masters[i], nil
}

// enter returns ctx for work in the provider's name.
func (s *Service) enter(ctx context.Context) (context.Context, error) {
	of, err := s.Provider.ProviderID(ctx)
	if err != nil {
		return nil, err
	}
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "epochs", Tenant: of}), nil
}

// Sweep opens the present epoch when its time has come and carries on every
// close that is approved, as far as it goes now. It needs a system context.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.openPresent(ctx); err != nil {
		return err
	}
	ctx, err := s.enter(ctx)
	if errs.KindOf(err) == errs.NotFound {
		return nil // there is no provider yet
	}
	if err != nil {
		return err
	}
	closes, err := s.Store.Closes(ctx, listed)
	if err != nil {
		return err
	}
	slices.Reverse(closes) // the oldest first
	var faults []error
	for _, c := range closes {
		if c.State == Running || c.State == Finishing {
			faults = append(faults, s.advance(ctx, c))
		}
	}
	return errors.Join(faults...)
}

// listed is how many closes are looked at: those of about two years.
const listed = 50

// openPresent makes the master of the present epoch, unless no epoch was ever opened.
func (s *Service) openPresent(ctx context.Context) error {
	masters, err := s.Keys.Masters(ctx)
	if err != nil || len(masters) == 0 {
		return err
	}
	present := vault.EpochAt(s.Now())
	if slices.ContainsFunc(masters, func(m vault.Master) bool { return m.Epoch >= present }) {
		return nil
	}
	if err := s.Vault.OpenEpoch(ctx, present); err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "epoch is open", "epoch", int(present))
	return nil
}

// errNotYet says that a step has to wait.
var errNotYet = errors.New("not yet")

// advance carries on a close until it is done, has to wait, or fails.
func (s *Service) advance(ctx context.Context, c *Close) error {
	for step := c.Next(); step != ""; step = c.Next() {
		err := s.do(ctx, c, step)
		if errors.Is(err, errNotYet) {
			return nil
		}
		if err != nil {
			s.Log.ErrorContext(ctx, "closing an epoch doesn't go on", "close", c.ID, "epoch", int(c.Epoch), "step", string(step), "err", err)
			return errors.Join(fmt.Errorf("close epoch %d: %s: %w", c.Epoch, step, err), s.note(ctx, c, step))
		}
		s.Trace("did " + string(step))
		if err := s.record(ctx, c, step); err != nil {
			return err
		}
		s.Trace("recorded " + string(step))
	}
	return nil
}

// record notes that a step is done.
func (s *Service) record(ctx context.Context, c *Close, step Step) error {
	next, err := s.change(ctx, c.ID, "vault.close.step", func(c *Close) error {
		if c.ended() || c.Next() != step {
			return ErrTooLate // halted meanwhile, or another worker was faster
		}
		c.Steps, c.Trouble = append(c.Steps, StepDone{step, s.Now().UTC()}), nil
		if c.Next() == "" {
			c.State = Done
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record step %s of closing epoch %d: %w", step, c.Epoch, err)
	}
	*c = *next
	s.Log.InfoContext(ctx, "closing an epoch", "close", c.ID, "epoch", int(c.Epoch), "done", string(step))
	return nil
}

// note lets operators see which step fails; the cause is in the log.
func (s *Service) note(ctx context.Context, c *Close, step Step) error {
	trouble := string(step) + " failed: see the worker's log"
	if c.Trouble != nil && *c.Trouble == trouble {
		return nil
	}
	s.Alarm(ctx, "vault.close.stuck", c.ID)
	next, err := s.change(ctx, c.ID, "vault.close.trouble", func(c *Close) error {
		c.Trouble = &trouble
		return nil
	})
	if err == nil {
		*c = *next
	}
	return err
}
