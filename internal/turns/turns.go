// Package turns shares out what a process can do at once, such as taking in
// files, so that one tenant or one caller can't take it all.
package turns

import (
	"context"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// ErrBusy reports that no turn came up in time.
var ErrBusy = errs.New(errs.Limited, "too many at once: send it again in a while")

// Shares are how many turns there are at once.
type Shares struct {
	Process int // of all together
	Tenant  int // of one tenant
	Caller  int // of one caller
	// Wait is how long a caller waits for a turn.
	Wait time.Duration
}

// Turns hands turns out.
type Turns struct {
	Shares

	mu      sync.Mutex
	taken   int
	tenants map[tenant.ID]int
	callers map[string]int
	freed   chan struct{} // closed when a turn ends
}

// New returns Turns of which none is taken.
func New(s Shares) *Turns {
	return &Turns{Shares: s, tenants: make(map[tenant.ID]int), callers: make(map[string]int), freed: make(chan struct{})}
}

// Take waits for a turn of the caller in ctx, who calls done at its end. It
// fails with ErrBusy, or with ctx when that ends first.
func (t *Turns) Take(ctx context.Context) (done func(), err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	by := authz.FromContext(ctx).ID
	late := time.NewTimer(t.Wait)
	defer late.Stop()
	for {
		freed, ok := t.try(of, by)
		if ok {
			return sync.OnceFunc(func() { t.free(of, by) }), nil
		}
		select {
		case <-freed:
		case <-late.C:
			return nil, ErrBusy
		case <-ctx.Done():
			return nil, ErrBusy.Because(ctx.Err())
		}
	}
}

// try takes a turn if there is one; if not, freed says when to try again.
func (t *Turns) try(of tenant.ID, by string) (freed <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken >= t.Process || t.tenants[of] >= t.Tenant || t.callers[by] >= t.Caller {
		return t.freed, false
	}
	t.taken++
	t.tenants[of]++
	t.callers[by]++
	return nil, true
}

func (t *Turns) free(of tenant.ID, by string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken--
	if t.tenants[of]--; t.tenants[of] == 0 {
		delete(t.tenants, of)
	}
	if t.callers[by]--; t.callers[by] == 0 {
		delete(t.callers, by)
	}
	close(t.freed)
	t.freed = make(chan struct{})
}
