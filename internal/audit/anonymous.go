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

// ActionAnonymous is the action of an entry about calls that nobody could be
// named for and that were refused: its fields are the route, the code and how
// many there were.
const ActionAnonymous = "anonymous.refused"

const (
	anonymousEvery = time.Minute
	// anonymousKinds bounds the entries of a minute: routes and codes are ours,
	// so there are never more.
	anonymousKinds = 200
)

// Anonymous notes refused calls of callers who belong to no tenant: they are in
// the provider's log, one entry per minute, route and code, however many call.
type Anonymous struct {
	recorder *Recorder
	provider func(ctx context.Context) (tenant.ID, error)
	log      *slog.Logger

	mu    sync.Mutex
	calls map[[2]string]int
}

// NewAnonymous returns an Anonymous. Run must be called for it to write.
func NewAnonymous(r *Recorder, provider func(ctx context.Context) (tenant.ID, error), log *slog.Logger) *Anonymous {
	return &Anonymous{recorder: r, provider: provider, log: log, calls: map[[2]string]int{}}
}

// Refused notes a call of a route that was refused with this code.
func (a *Anonymous) Refused(route string, code errs.Kind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := [2]string{route, string(code)}
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
	a.calls = map[[2]string]int{}
	a.mu.Unlock()
	for kind, n := range calls {
		if err := a.write(ctx, kind, n); err != nil {
			a.log.WarnContext(ctx, "refused calls not recorded", "route", kind[0], "code", kind[1], "calls", n, "err", err)
			a.mu.Lock()
			a.calls[kind] += n
			a.mu.Unlock()
		}
	}
}

func (a *Anonymous) write(ctx context.Context, kind [2]string, n int) error {
	of, err := a.provider(tenant.System(ctx, "refused calls"))
	if err != nil {
		return fmt.Errorf("find provider: %w", err)
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: "anonymous", Tenant: of})
	return a.recorder.Record(ctx, Event{
		Action: ActionAnonymous, Outcome: Refused, Fields: []string{kind[0], kind[1], strconv.Itoa(n)},
	})
}
