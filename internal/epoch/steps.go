package epoch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// The gates before a master is destroyed. Each is a reason not to.
var (
	errGateApproval = errs.New(errs.Internal, "it wasn't approved by two persons")
	errGateSteps    = errs.New(errs.Internal, "a step before it isn't recorded")
	errGateState    = errs.New(errs.Internal, "the master isn't disabled")
	errGateWait     = errs.New(errs.Internal, "the master wasn't disabled for long enough")
	errGateNext     = errs.New(errs.Internal, "no later epoch is open")
	errGateLeft     = errs.New(errs.Internal, "a key is wrapped in the epoch still")
)

// do carries out one step. It can be repeated.
func (s *Service) do(ctx context.Context, c *Close, step Step) error {
	switch step {
	case OpenNext:
		return s.openNext(ctx, c)
	case Flip:
		return s.flip(ctx, c)
	case Drain:
		return s.until(c, Flip, 2*s.Timing.Transaction)
	case Reindex:
		return s.reindex(ctx)
	case Rewrap:
		return s.rewrap(ctx, c)
	case Prove:
		return s.prove(ctx, c, s.Keys, s.kinds())
	case Restore:
		return s.Keys.Copy(ctx, func(restored vault.EpochStore) error {
			s.Trace("restored")
			return s.prove(ctx, c, restored, []vault.Kind{vault.DataKeyKind(restored), vault.IndexKeyKind(restored)})
		})
	case Disable:
		return s.disable(ctx, c)
	case Wait:
		return s.until(c, Disable, s.Timing.Wait)
	case Destroy:
		return s.destroy(ctx, c)
	case Forget:
		return s.Keys.DeleteTenantKeys(ctx, c.Epoch)
	default:
		return fmt.Errorf("unknown step %s", step)
	}
}

// until waits for a time after a step was recorded.
func (s *Service) until(c *Close, after Step, wait time.Duration) error {
	if s.Now().Before(c.doneAt(after).Add(wait)) {
		return errNotYet
	}
	return nil
}

// openNext sees to it that a later epoch is open.
func (s *Service) openNext(ctx context.Context, c *Close) error {
	if _, err := s.next(ctx, c.Epoch); !errors.Is(err, errGateNext) {
		return err
	}
	return s.Vault.OpenEpoch(ctx, max(vault.EpochAt(s.Now()), c.Epoch+1))
}

// next returns the oldest epoch after e that is open.
func (s *Service) next(ctx context.Context, e vault.Epoch) (vault.Epoch, error) {
	masters, err := s.Keys.Masters(ctx)
	if err != nil {
		return 0, err
	}
	var oldest vault.Epoch
	for _, m := range masters {
		if m.State == vault.MasterOpen && m.Epoch > e && (oldest == 0 || m.Epoch < oldest) {
			oldest = m.Epoch
		}
	}
	if oldest == 0 {
		return 0, errGateNext
	}
	return oldest, nil
}

// flip closes the epoch to new keys.
func (s *Service) flip(ctx context.Context, c *Close) error {
	m, err := s.master(ctx, c.Epoch)
	if err != nil || m.State != vault.MasterOpen {
		return err
	}
	m.State, m.ClosedAt = vault.MasterClosed, s.Now().UTC()
	_, err = s.Keys.MoveMaster(ctx, vault.MasterOpen, m)
	return err
}

func (s *Service) reindex(ctx context.Context) error {
	if s.Lookups == nil {
		return nil
	}
	master, err := s.Vault.Current(ctx)
	if err != nil {
		return err
	}
	done, err := s.Lookups.Renew(ctx, master.Epoch)
	if err == nil && !done {
		return errNotYet
	}
	return err
}

// rewrap moves every kind of thing, no faster than the rate.
func (s *Service) rewrap(ctx context.Context, c *Close) error {
	to, err := s.next(ctx, c.Epoch)
	if err != nil {
		return err
	}
	pause := time.Duration(s.Timing.Batch) * time.Second / time.Duration(s.Timing.Rate)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for _, k := range s.kinds() {
		for {
			n, err := s.Vault.Rewrap(ctx, k, c.Epoch, to, s.Timing.Batch)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			s.Trace("moved a batch")
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// prove opens everything there is in keys with a vault that remembers nothing and
// can't use the epoch's master, and fails if something needs it.
func (s *Service) prove(ctx context.Context, c *Close, keys vault.KeyStore, kinds []vault.Kind) error {
	m, err := s.master(ctx, c.Epoch)
	if err != nil {
		return err
	}
	v, err := vault.New(vault.Config{Store: keys, KMS: without{s.KMS, m.KeyRef}, Now: s.Now})
	if err != nil {
		return err
	}
	type tenantKey struct {
		tenant tenant.ID
		epoch  vault.Epoch
	}
	wraps := map[tenantKey]int{}
	for _, k := range kinds {
		err := k.Visit(ctx, func(w vault.Wrapped) error {
			if w.Epoch == c.Epoch {
				return errGateLeft.Because(fmt.Errorf("%s %s", w.Kind, w.ID))
			}
			wraps[tenantKey{w.Tenant, w.Epoch}]++
			return v.TryOpen(ctx, w)
		})
		if err != nil {
			return err
		}
	}
	for k, n := range wraps {
		if n > wrapsAlarm {
			s.Log.ErrorContext(ctx, "a tenant key wraps too many keys: close its epoch", "tenant", string(k.tenant), "epoch", int(k.epoch), "count", n)
			s.Alarm(ctx, "vault.tenant-key.worn", string(k.tenant))
		}
	}
	return nil
}

// wrapsAlarm is how many things under one tenant key raise an alarm: a quarter of
// the 2³² that random nonces allow (NIST SP 800-38D, 8.3; see FORMAT.md).
const wrapsAlarm = 1 << 30

// without is a key management service that lacks one key.
type without struct {
	kms.Wrapper

	keyRef string
}

// Unwrap implements kms.Wrapper.
func (w without) Unwrap(ctx context.Context, keyRef string, wrapped, aad []byte) ([]byte, error) {
	if keyRef == w.keyRef {
		return nil, kms.ErrDestroyed
	}
	return w.Wrapper.Unwrap(ctx, keyRef, wrapped, aad)
}

// disable disables the master. Who finds something missing can still halt.
func (s *Service) disable(ctx context.Context, c *Close) error {
	m, err := s.master(ctx, c.Epoch)
	if err != nil {
		return err
	}
	if err := s.KMS.Disable(ctx, m.KeyRef); err != nil {
		return fmt.Errorf("disable master: %w", err)
	}
	s.Trace("disabled the master")
	if m.State == vault.MasterClosed {
		m.State, m.DisabledAt = vault.MasterDisabled, s.Now().UTC()
		if _, err := s.Keys.MoveMaster(ctx, vault.MasterClosed, m); err != nil {
			return err
		}
	}
	now, err := s.Store.FindClose(ctx, c.ID)
	if err == nil && now.State == Halted { // in this moment: the master was to stay usable
		return errors.Join(ErrTooLate, s.enable(ctx, c.Epoch))
	}
	return err
}

// destroy asks every gate again and destroys the master.
func (s *Service) destroy(ctx context.Context, c *Close) error {
	m, err := s.master(ctx, c.Epoch)
	if err != nil || m.State == vault.MasterDestroyed {
		return err
	}
	if err := s.gates(ctx, c, m); err != nil {
		return err
	}
	if c.State == Running { // from here nobody can halt
		next, err := s.change(ctx, c.ID, "vault.close.finish", func(c *Close) error {
			if c.State != Running {
				return ErrTooLate
			}
			c.State = Finishing
			return nil
		})
		if err != nil {
			return err
		}
		*c = *next
	}
	s.Trace("finishing")
	if err := s.KMS.Destroy(ctx, m.KeyRef); err != nil {
		return fmt.Errorf("destroy master: %w", err)
	}
	s.Trace("destroyed the master")
	m.State, m.DestroyedAt = vault.MasterDestroyed, s.Now().UTC()
	_, err = s.Keys.MoveMaster(ctx, vault.MasterDisabled, m)
	return err
}

// gates returns the first reason not to destroy the master.
func (s *Service) gates(ctx context.Context, c *Close, m vault.Master) error {
	steps := Steps()
	switch {
	case c.ApprovedBy == nil || *c.ApprovedBy == c.RequestedBy || c.RequestedBy == "":
		return errGateApproval
	case c.State != Running && c.State != Finishing:
		return errGateApproval
	case c.Next() != Destroy || !slices.EqualFunc(c.Steps, steps[:len(c.Steps)], func(d StepDone, s Step) bool { return d.Step == s }):
		return errGateSteps
	case m.State != vault.MasterDisabled || m.DisabledAt.IsZero():
		return errGateState
	case s.Now().Before(m.DisabledAt.Add(s.Timing.Wait)):
		return errGateWait
	}
	if _, err := s.next(ctx, c.Epoch); err != nil {
		return err
	}
	if c.State == Finishing {
		return nil // proven before; the master may be gone already
	}
	return s.prove(ctx, c, s.Keys, s.kinds())
}
