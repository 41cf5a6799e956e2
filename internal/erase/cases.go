package erase

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Cases are the requests whose own time is over: see request.Request.EndsAt.
type Cases interface {
	// Ended returns up to limit requests of all tenants that are to be erased by a
	// time. It needs a system context.
	Ended(ctx context.Context, by time.Time, limit int) ([]request.Ref, error)
	// Get returns the request as it is stored.
	Get(ctx context.Context, requestID string) (*request.Request, error)
	// Later has a request looked at again then, in a change's transaction.
	Later(ctx context.Context, requestID string, at time.Time) error
}

// Holds knows the legal holds on persons.
type Holds interface {
	HoldsOn(ctx context.Context, persons ...string) ([]*retention.Hold, error)
}

// Ends erases requests whose own time is over: all that was written in them, by the
// person and about them, with letters, tasks and documents. That there was a
// request, when it came, and what it came to stays under opaque ids, as does what
// the audit log says of it. A legal hold on the request, or on all of the person's
// data, puts it off.
type Ends struct {
	Cases    Cases
	Holds    Holds
	Erasures Erasures
	Changes  *change.Runner
	Now      func() time.Time
}

const (
	endBatch = 100
	hold     = 24 * time.Hour // until a request under a hold is looked at again
)

// Sweep begins to erase what has to be gone. ctx spans tenants.
func (e *Ends) Sweep(ctx context.Context) error {
	now := e.Now().UTC()
	for {
		over, err := e.Cases.Ended(tenant.System(ctx, "cases"), now, endBatch)
		if err != nil {
			return err
		}
		var failed error
		for _, ref := range over {
			in, err := platform(tenant.NewContext(ctx, ref.Tenant))
			if err == nil {
				err = e.end(in, ref.ID, now)
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("erase request %s: %w", ref.ID, err))
			}
		}
		if failed != nil || len(over) < endBatch {
			return failed
		}
	}
}

func (e *Ends) end(ctx context.Context, requestID string, now time.Time) error {
	return e.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "request.keep", Object: requestID, Quiet: true}
		r, err := e.Cases.Get(ctx, requestID)
		if err != nil {
			return c, err
		}
		holds, err := e.Holds.HoldsOn(ctx, r.Subject)
		if err != nil {
			return c, err
		}
		for _, h := range holds {
			if h.Covers(r.Subject, requestID) {
				return c, e.Cases.Later(ctx, requestID, now.Add(hold))
			}
		}
		if at := r.EndsAt(); at == nil || at.After(now) {
			return c, errors.New("it was reopened") // and is found no more
		}
		sh, then, err := e.Erasures.BeginIn(ctx, erasure.Plan{Subject: requestID, Units: []vault.Unit{vault.Case}, Cause: requestID})
		if err != nil {
			return c, err
		}
		return change.Change{Action: "erasure.begin", Object: sh.ID, Then: then}, nil
	})
}
