package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// ActionMachine is the action of an entry about calls of a machine client that was
// refused: its fields are the reason and how many there were.
const ActionMachine = "machine.refused"

// ActionAnonymous is the action of an entry about calls that nobody could be
// named for and that were refused: its fields are the route, the code and how
// many there were.
const ActionAnonymous = "anonymous.refused"

const (
	anonymousEvery = time.Minute
	// anonymousKinds bounds the entries of a minute. Routes and codes are ours, so
	// there are never more; clients there may be, of which some are left out then.
	anonymousKinds = 500
)

// refusals are calls that were refused alike.
type refusals struct {
	of     tenant.ID // "" for the provider
	action string
	object string
	fields [2]string
}

// Anonymous notes refused calls of callers who didn't prove who they are: those
// who belong to no tenant are in the provider's log, one entry per minute, route
// and code, however many call; those who name a machine client in its tenant's,
// one per minute, client and reason.
type Anonymous struct {
	recorder *Recorder
	provider func(ctx context.Context) (tenant.ID, error)
	log      *slog.Logger

	mu    sync.Mutex
	calls map[refusals]int
}

// NewAnonymous returns an Anonymous. Run must be called for it to write.
func NewAnonymous(r *Recorder, provider func(ctx context.Context) (tenant.ID, error), log *slog.Logger) *Anonymous {
	return &Anonymous{recorder: r, provider: provider, log: log, calls: map[refusals]int{}}
}

// Refused notes a call of a route that was refused with this code.
func (a *Anonymous) Refused(route string, code errs.Kind) {
	a.note(refusals{action: ActionAnonymous, fields: [2]string{route, string(code)}})
}

// Denied notes a call that named a machine client of a tenant and was refused for
// this reason.
func (a *Anonymous) Denied(of tenant.ID, clientID, reason string) {
	a.note(refusals{of: of, action: ActionMachine, object: clientID, fields: [2]string{reason}})
}

func (a *Anonymous) note(kind refusals) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.calls[kind]; known || len(a.calls) < anonymousKinds {
		a.calls[kind]++
	}
}

// Run writes what was noted, each minute and when ctx ends.
func (a *Anonymous) Run(ctx context.Context) error {
	tick := time.NewTicker(anonymousEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.flush(ctx)
		case <-ctx.Done():
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
			defer cancel()
			a.flush(ending)
			return nil
		}
	}
}

// flush writes what was noted. What can't be written is noted again.
func (a *Anonymous) flush(ctx context.Context) {
	a.mu.Lock()
	calls := a.calls
	a.calls = map[refusals]int{}
	a.mu.Unlock()
	for kind, n := range calls {
		if err := a.write(ctx, kind, n); err != nil {
			a.log.WarnContext(ctx, "refused calls not recorded", "action", kind.action, "object", kind.object, "calls", n, "err", err)
			a.mu.Lock()
			a.calls[kind] += n
			a.mu.Unlock()
		}
	}
}

func (a *Anonymous) write(ctx context.Context, kind refusals, n int) (err error) {
	of := kind.of
	if of == "" {
		if of, err = a.provider(tenant.System(ctx, "refused calls")); err != nil {
			return fmt.Errorf("find provider: %w", err)
		}
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "anonymous", Tenant: of})
	return a.recorder.Record(ctx, Event{
		Action: kind.action, Object: kind.object, Outcome: Refused, Fields: kind.described(n),
	})
}

// described returns the fields of an entry about n calls.
func (r *refusals) described(n int) (fields []string) {
	for _, f := range r.fields {
		if f != "" {
			fields = append(fields, f)
		}
	}
	return append(fields, strconv.Itoa(n))
}
