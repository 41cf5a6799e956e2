// Package detect watches what happens and raises security events (package
// security) when something is conspicuous.
//
// Most of it is in the audit log. The Follower reads each tenant's log, in order,
// from where it stopped before, so that nothing is missed whatever stops, and
// nothing counts twice; no call waits for it. What isn't in the log, it is told by
// a Signal.
package detect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenant"
)

// Signal is something conspicuous that the audit log doesn't tell.
type Signal struct {
	Tenant   tenant.ID // "" for the provider's register
	Detector security.Detector
	Group    string // id of a caller or of an object, "" for the whole tenant
	Count    int    // how often, 1 when 0; of ClockJump the seconds
}

// Row is a Signal as it is kept.
type Row struct {
	Signal

	ID string
	At time.Time
}

// SignalStore keeps signals. It spans tenants and needs tenant.System.
type SignalStore interface {
	InsertSignals(ctx context.Context, rows []Row) error
}

// Provider knows which tenant the provider is. It needs tenant.System.
type Provider interface {
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Inbox takes signals.
type Inbox struct {
	store    SignalStore
	provider Provider
	now      func() time.Time
	log      *slog.Logger

	mu      sync.Mutex
	waiting map[Signal]int // without Count
}

// NewInbox returns an Inbox. Run must be called for what it is told to be kept.
func NewInbox(store SignalStore, provider Provider, now func() time.Time, log *slog.Logger) *Inbox {
	return &Inbox{store: store, provider: provider, now: now, log: log, waiting: map[Signal]int{}}
}

const (
	flushEvery = time.Second
	// maxWaiting bounds the kinds of signals of a second; others of the same
	// tenant and detector then count as of no group.
	maxWaiting = 1000
)

// Tell notes a signal and returns at once. It is kept within a second; a crash
// before loses it.
func (i *Inbox) Tell(s Signal) {
	n := max(1, s.Count)
	s.Count = 0
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, known := i.waiting[s]; !known && len(i.waiting) >= maxWaiting {
		s.Group = ""
	}
	i.waiting[s] = i.waiting[s] + n
}

// Report keeps a signal, and returns when it is durable.
func (i *Inbox) Report(ctx context.Context, s Signal) error {
	n := max(1, s.Count)
	s.Count = 0
	return i.keep(ctx, map[Signal]int{s: n})
}

// Run keeps what is told until ctx ends, and what is left then.
func (i *Inbox) Run(ctx context.Context) error {
	for running := true; running; {
		select {
		case <-time.After(flushEvery):
		case <-ctx.Done():
			running = false
		}
		i.flush(context.WithoutCancel(ctx))
	}
	return nil
}

const keepTimeout = 10 * time.Second

func (i *Inbox) flush(ctx context.Context) {
	i.mu.Lock()
	told := i.waiting
	i.waiting = map[Signal]int{}
	i.mu.Unlock()
	if len(told) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := i.keep(ctx, told); err != nil {
		i.log.ErrorContext(ctx, "security signals were not kept; they are tried again", "err", err)
		for s, n := range told {
			s.Count = n
			i.Tell(s)
		}
	}
}

func (i *Inbox) keep(ctx context.Context, told map[Signal]int) error {
	ctx = tenant.System(ctx, "security signals")
	at := i.now().UTC().Truncate(time.Millisecond)
	rows := make([]Row, 0, len(told))
	for s, n := range told {
		if s.Tenant == "" {
			var err error
			s.Tenant, err = i.provider.ProviderID(ctx)
			if errs.KindOf(err) == errs.NotFound {
				continue // before bootstrap there is nobody to tell
			}
			if err != nil {
				return fmt.Errorf("find provider: %w", err)
			}
		}
		s.Count = n
		rows = append(rows, Row{s, rand.Text(), at})
	}
	if len(rows) == 0 {
		return nil
	}
	return i.store.InsertSignals(ctx, rows)
}

// ErrMoved reports a log that somebody else has followed further.
var ErrMoved = errors.New("somebody else follows this log")
