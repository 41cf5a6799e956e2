package erasure

import (
	"context"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/broadcast"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Evictions carries word to all processes that keys are destroyed, so that each
// drops what it has cached. Who misses a word forgets within five minutes, and a
// person's state is asked for with every read.
type Evictions struct {
	channel broadcast.Channel // of ids of owners, which are opaque
	vault   *vault.Vault
}

// NewEvictions returns Evictions over a Redis.
func NewEvictions(r redis.UniversalClient, v *vault.Vault, log *slog.Logger) *Evictions {
	return &Evictions{broadcast.Channel{
		Redis: r, Name: "vogter:keys", Lost: "other processes remember destroyed keys for up to 5 min", Log: log,
	}, v}
}

var _ Evictor = (*Evictions)(nil)

// Evict drops the owners' keys here at once, and elsewhere as soon as it is heard of.
func (e *Evictions) Evict(ctx context.Context, owners ...vault.Owner) {
	e.vault.Evict(owners...)
	ids := make([]string, len(owners))
	for i, o := range owners {
		ids[i] = o.ID()
	}
	e.channel.Send(ctx, strings.Join(ids, "\n"))
}

// Run hears what other processes have to say until ctx ends.
func (e *Evictions) Run(ctx context.Context) error {
	return e.channel.Listen(ctx, func(message string) { e.vault.Evict(parseOwners(message)...) })
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
