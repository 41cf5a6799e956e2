package machine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// UsesEvery is how often uses are written: a client costs one write in that
// time, however often it calls.
const UsesEvery = time.Minute

const usesTimeout = 10 * time.Second

// Use is what a client called with.
type Use struct {
	Client string
	Secret string // id of its secret, where it has several
}

// UseStore keeps when clients last called.
type UseStore interface {
	// Used moves the time of a last use forward, in the tenant in ctx.
	Used(ctx context.Context, u Use, at time.Time) error
}

// Uses gathers the uses of clients in memory and writes them now and then. What
// is lost in a crash is at most UsesEvery old.
type Uses struct {
	store UseStore
	log   *slog.Logger

	mu      sync.Mutex
	pending map[Use]time.Time
}

// NewUses returns Uses; somebody has to Run it.
func NewUses(store UseStore, log *slog.Logger) *Uses {
	return &Uses{store: store, log: log, pending: make(map[Use]time.Time)}
}

// Note remembers that a client called.
func (u *Uses) Note(use Use, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending[use] = at
}

// Run writes until ctx ends, and then what is left.
func (u *Uses) Run(ctx context.Context) error {
	tick := time.NewTicker(UsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.Flush(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usesTimeout)
			defer cancel()
			u.Flush(ctx)
			return nil
		}
	}
}

// Flush writes what was noted. A use that can't be written is forgotten: the
// next one tells the same, and later.
func (u *Uses) Flush(ctx context.Context) {
	u.mu.Lock()
	pending := u.pending
	u.pending = make(map[Use]time.Time, len(pending))
	u.mu.Unlock()
	for use, at := range pending {
		if err := u.write(ctx, use, at); err != nil {
			u.log.WarnContext(ctx, "last use could not be written", "client", use.Client, "err", err)
		}
	}
}

func (u *Uses) write(ctx context.Context, use Use, at time.Time) error {
	of, ok := id.TenantOf(use.Client)
	if !ok {
		return fmt.Errorf("note use: %w", id.ErrUnknown)
	}
	return u.store.Used(tenant.NewContext(ctx, of), use, at.UTC().Truncate(time.Millisecond))
}
