package seal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Verification is what the platform's own checks of a tenant's log came to.
type Verification struct {
	At     time.Time  // of the last one
	FullAt *time.Time // of the last that read all of it and found it whole
	Fault  *Fault     // nil while it is whole
	Log    int64      // number of the newest log that was checked
	Size   int64      // how many of its entries were found whole
	Edge   [][]byte   // of its tree at that size
	// Checkpoint, of the provider's only, is the number up to which the published
	// checkpoints were found whole.
	Checkpoint int64
}

// Sound reports whether the log was found whole.
func (v *Verification) Sound() bool { return v.Fault == nil }

// Fault is the first place at which a log isn't whole.
type Fault struct {
	FoundAt time.Time // when the log was first found not to be whole
	What    string
	Seq     *int64  // of the entry
	Entry   *string // its id
	Object  *string // id of the stored value that isn't what the log told
}

// Verifications keeps them. Its methods are for the tenant in ctx.
type Verifications interface {
	// Verification returns nil without an error when there is none.
	Verification(ctx context.Context) (*Verification, error)
	PutVerification(ctx context.Context, v *Verification) error
}

// PatrolConfig is what a Patrol needs. All of it is required.
type PatrolConfig struct {
	Verifier Verifier // its Pace is the patrol's own
	Store    Verifications
	Changes  *change.Runner
	// Report tells that the log of a tenant isn't whole, or with "" that the
	// checkpoints aren't.
	Report func(ctx context.Context, of tenant.ID) error
	Now    func() time.Time
	Log    *slog.Logger
}

// Patrol checks all logs regularly, without being asked: each tenant's new
// entries each day, and everything of it, the stored values too, each week. The
// published checkpoints are locked: so they are read once, from the last one on
// that was read before, which is compared with all trees again. Verifier.Verify
// reads them all.
type Patrol struct{ PatrolConfig }

// NewPatrol returns a Patrol.
func NewPatrol(c PatrolConfig) *Patrol {
	c.Verifier.Pace = pace
	return &Patrol{c}
}

// When the logs are checked. A log in which something was found is read whole
// each day.
const (
	verifyEvery = 24 * time.Hour
	verifyWhole = 7 * 24 * time.Hour
	// verifyRate bounds the load: entries and values per second.
	verifyRate = 5000
)

// ActionVerify is the entry that a check leaves in the log that was checked.
const ActionVerify = "audit.verify"

// pace waits for as long as n entries may take.
func pace(ctx context.Context, n int) error {
	select {
	case <-time.After(time.Duration(n) * time.Second / verifyRate):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sweep checks the logs that are due. One tenant's trouble doesn't keep it from
// the next tenant's log.
func (p *Patrol) Sweep(ctx context.Context) error {
	ctx, provider, err := p.Verifier.Publisher.enter(ctx)
	if errs.KindOf(err) == errs.NotFound {
		return nil // before bootstrap there is no log
	}
	if err != nil {
		return err
	}
	heads, err := p.Verifier.Archive.Heads(ctx)
	if err != nil {
		return fmt.Errorf("find heads: %w", err)
	}
	var tenants []tenant.ID
	for i := range heads {
		tenants = append(tenants, heads[i].Tenant)
	}
	var failed []error
	for _, of := range slices.Compact(tenants) {
		err := p.tenant(tenant.NewContext(ctx, of), of, of == provider)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("verify log of %s: %w", of, err))
		}
	}
	return errors.Join(failed...)
}

// tenant checks a tenant's log if it is due, and with the provider's the
// checkpoints.
func (p *Patrol) tenant(ctx context.Context, of tenant.ID, checkpoints bool) error {
	before, err := p.Store.Verification(ctx)
	if err != nil {
		return err
	}
	now := p.Now().UTC().Truncate(time.Millisecond)
	if before == nil {
		before = &Verification{}
	} else if now.Before(before.At.Add(verifyEvery)) {
		return nil
	}
	whole := before.FullAt == nil || before.Fault != nil || !now.Before(before.FullAt.Add(verifyWhole))
	next := *before
	next.At = now
	faulty := of // in what something was found
	err = p.check(ctx, of, whole, &next)
	if err == nil && checkpoints {
		faulty = ""
		next.Checkpoint, err = p.Verifier.checkpoints(ctx, max(1, before.Checkpoint), &Report{})
	}
	found, bad := errors.AsType[*proof.Error](err)
	switch {
	case bad:
		next = *before // from where it is to be looked at again
		next.At, next.Fault = now, fault(found, now)
		if before.Fault != nil {
			next.Fault.FoundAt = before.Fault.FoundAt
		}
		p.Log.ErrorContext(ctx, "THE AUDIT LOG ISN'T WHOLE", "tenant", string(of), "err", err)
		// Before it is noted as looked at: what isn't told now is found again.
		if err := p.Report(ctx, faulty); err != nil {
			return fmt.Errorf("report it as a security event: %w", err)
		}
	case err != nil:
		return err
	default:
		if next.Fault = nil; whole {
			next.FullAt = &now
		}
	}
	return p.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: ActionVerify, Quiet: true}
		if bad {
			c.Outcome = audit.Failed
		}
		return c, p.Store.PutVerification(ctx, &next)
	})
}

// check reads the tenant's logs, whole or from where v stands, and has v stand
// where they end.
func (p *Patrol) check(ctx context.Context, of tenant.ID, whole bool, v *Verification) error {
	logs, err := p.Verifier.Archive.Logs(ctx)
	if err != nil {
		return err
	}
	start := *v
	if !whole && !slices.ContainsFunc(logs, func(h proof.Head) bool { return h.Log == start.Log && h.Size >= start.Size }) {
		return &proof.Error{Tenant: of, Seq: -1, What: fmt.Sprintf("log %d of %s has lost entries that were there before", start.Log, of)}
	}
	for i := range logs {
		at := from{}
		switch {
		case whole || logs[i].Log > start.Log: // from its beginning
		case logs[i].Log == start.Log:
			at = from{start.Size, start.Edge}
		default:
			continue
		}
		edge, err := p.Verifier.log(ctx, &logs[i], at, &Report{})
		if err != nil {
			return err
		}
		v.Log, v.Size, v.Edge = logs[i].Log, logs[i].Size, edge
	}
	if err := p.Verifier.stray(ctx, of); err != nil || !whole {
		return err
	}
	return p.Verifier.values(ctx, of, &Report{})
}

func fault(e *proof.Error, at time.Time) *Fault {
	f := &Fault{FoundAt: at, What: e.What}
	if e.Seq >= 0 {
		f.Seq = &e.Seq
	}
	if e.Entry != "" {
		f.Entry = &e.Entry
	}
	if e.Object != "" {
		f.Object = &e.Object
	}
	return f
}
