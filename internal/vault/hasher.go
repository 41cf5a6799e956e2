package vault

import (
	"context"
	"crypto/sha256"

	"github.com/vogter/vogter/internal/tenant"
)

// Hasher makes keyed hashes under the credentials key of the tenant in ctx: for
// what a tenant must recognise and nobody may read.
type Hasher struct{ Vault *Vault }

// CredentialsOf returns the owner of the key of a tenant's keyed hashes.
func CredentialsOf(of tenant.ID) Owner {
	return Owner{Tenant: of, Subject: string(of), Unit: Credentials}
}

// Hash returns the keyed hash of parts for a purpose.
func (h Hasher) Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error) {
	keys, owner, err := h.keys(ctx)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return keys.MAC(owner, purpose, parts...)
}

// Verify reports, in constant time, whether hash is that of parts.
func (h Hasher) Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error) {
	keys, owner, err := h.keys(ctx)
	if err != nil {
		return false, err
	}
	return keys.VerifyMAC(hash, owner, purpose, parts...)
}

func (h Hasher) keys(ctx context.Context) (*Keys, Owner, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, Owner{}, err
	}
	owner := CredentialsOf(of)
	keys, err := h.Vault.Ensure(ctx, owner)
	return keys, owner, err
}
