package erasure

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Evictions carries word to all processes that keys are destroyed, so that each
// drops what it has cached. It is an acceleration: caches forget within five
// minutes, and a person's state is asked for with every read.
type Evictions struct {
	redis redis.UniversalClient
	vault *vault.Vault
	log   *slog.Logger
}

const (
	// channel carries ids of owners, which are opaque.
	channel        = "vogter:keys"
	publishTimeout = time.Second
)

// NewEvictions returns Evictions over a Redis.
func NewEvictions(r redis.UniversalClient, v *vault.Vault, log *slog.Logger) *Evictions {
	return &Evictions{r, v, log}
}

var _ Evictor = (*Evictions)(nil)

// Evict drops the owners' keys here at once, and elsewhere as soon as it is heard
// of. A Redis that doesn't answer is logged.
func (e *Evictions) Evict(ctx context.Context, owners ...vault.Owner) {
	e.vault.Evict(owners...)
	ids := make([]string, len(owners))
	for i, o := range owners {
		ids[i] = o.ID()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := e.redis.Publish(ctx, channel, strings.Join(ids, "\n")).Err(); err != nil {
		e.log.WarnContext(ctx, "other processes remember destroyed keys for up to 5 min", "err", err)
	}
}

// Run hears what other processes have to say until ctx ends. The connection is
// made anew when it is lost.
func (e *Evictions) Run(ctx context.Context) error {
	heard := e.redis.Subscribe(ctx, channel)
	defer func() { _ = heard.Close() }()
	messages := heard.Channel()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return fmt.Errorf("hear of destroyed keys: %w", redis.ErrClosed)
			}
			e.vault.Evict(parseOwners(m.Payload)...)
		case <-ctx.Done():
			return nil
		}
	}
}

func parseOwners(message string) []vault.Owner {
	var owners []vault.Owner
	for line := range strings.Lines(message) {
		if p := strings.Split(strings.TrimSpace(line), "/"); len(p) == 3 {
			owners = append(owners, vault.Owner{Tenant: tenant.ID(p[0]), Subject: p[1], Unit: vault.Unit(p[2])})
		}
	}
	return owners
}
