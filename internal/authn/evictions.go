package authn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Evictions carries word to all servers that a person's sessions or memberships
// have changed, so that each forgets what it has cached of them. It is an
// acceleration: who misses a word believes a session for up to 30 s more.
type Evictions struct {
	redis redis.UniversalClient
	log   *slog.Logger

	mu   sync.Mutex
	here []func(identity string)
}

const (
	// evictionsChannel carries opaque ids of persons at the identity server.
	evictionsChannel = "vogter:evictions"
	publishTimeout   = time.Second
)

// NewEvictions returns Evictions over a Redis.
func NewEvictions(r redis.UniversalClient, log *slog.Logger) *Evictions {
	return &Evictions{redis: r, log: log}
}

// Forget has a person forgotten by this server, at once, and by all others as
// soon as they hear of it. A Redis that doesn't answer is logged.
func (e *Evictions) Forget(ctx context.Context, identity string) {
	if identity == "" {
		return
	}
	e.evict(identity)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := e.redis.Publish(ctx, evictionsChannel, identity).Err(); err != nil {
		e.log.WarnContext(ctx, "other servers believe a changed session for up to 30 s", "identity", identity, "err", err)
	}
}

// Run hears what other servers have to say until ctx ends. The connection is
// made anew when it is lost.
func (e *Evictions) Run(ctx context.Context) error {
	heard := e.redis.Subscribe(ctx, evictionsChannel)
	defer func() { _ = heard.Close() }()
	messages := heard.Channel()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return fmt.Errorf("hear of changed sessions: %w", redis.ErrClosed)
			}
			e.evict(m.Payload)
		case <-ctx.Done():
			return nil
		}
	}
}

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
