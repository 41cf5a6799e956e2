package app

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// openLimits makes the limiter. Its counters are under a key of the provider's.
func (p *Platform) openLimits(hasher vault.Hasher, provider sign.Provider) error {
	table, err := ratelimit.Parse(p.Config.Limits)
	if err != nil {
		return fmt.Errorf("read limits: %w", err)
	}
	p.limiter, err = ratelimit.New(ratelimit.Config{
		Redis: p.redis, Table: table, Log: p.log, Now: p.now,
		Key: func(ctx context.Context) ([sha256.Size]byte, error) {
			of, err := provider.ProviderID(tenant.System(ctx, "count uses"))
			if err != nil {
				return [sha256.Size]byte{}, err
			}
			return hasher.Hash(tenant.NewContext(ctx, of), "limits", []byte("counters"))
		},
	})
	return err
}
