package authn

import (
	"context"
	"log/slog"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/broadcast"
)

// Evictions carries word to all servers that a person's sessions or memberships
// have changed, so that each forgets what it has cached of them. Who misses a
// word believes a session for up to 30 s more.
type Evictions struct {
	channel broadcast.Channel // of opaque ids of persons at the identity server

	mu   sync.Mutex
	here []func(identity string)
}

// NewEvictions returns Evictions over a Redis.
func NewEvictions(r redis.UniversalClient, log *slog.Logger) *Evictions {
	return &Evictions{channel: broadcast.Channel{
		Redis: r, Name: "vogter:evictions", Lost: "other servers believe a changed session for up to 30 s", Log: log,
	}}
}

// Forget has a person forgotten by this server, at once, and by all others as
// soon as they hear of it.
func (e *Evictions) Forget(ctx context.Context, identity string) {
	if identity == "" {
		return
	}
	e.evict(identity)
	e.channel.Send(ctx, identity, "identity", identity)
}

// Run hears what other servers have to say until ctx ends.
func (e *Evictions) Run(ctx context.Context) error { return e.channel.Listen(ctx, e.evict) }

func (e *Evictions) evict(identity string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, evict := range e.here {
		evict(identity)
	}
}

func (e *Evictions) tell(evict func(identity string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.here = append(e.here, evict)
}
