// Package apikey lets machine clients sign in: a key belongs to one tenant,
// holds a list of permissions, is shown once and kept as a keyed hash.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// Prefix begins every API key, so that a leaked one is recognised.
const Prefix = "vgt_"

const (
	secretBytes = 20 // 160 bits of chance
	maxName     = 200
	// MaxKeys is how many keys a tenant can have, revoked ones included.
	MaxKeys = 1000
)

// APIKey is a key without its secret.
type APIKey struct {
	ID          string
	Name        string
	Permissions []authz.Permission
	Hash        [sha256.Size]byte // keyed
	CreatedAt   time.Time
	ExpiresAt   *time.Time
	RevokedAt   *time.Time
}

// CreateInput asks for a key.
type CreateInput struct {
	Name        string
	Permissions []authz.Permission // authz.ForKeys when nil
	ExpiresAt   *time.Time
}

// RevokeInput asks for the end of a key.
type RevokeInput struct {
	ID string
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such API key")
	// ErrRefused says nothing of why: unknown, altered, expired or revoked.
	ErrRefused = errs.New(errs.Unauthenticated, "this API key isn't valid: it may have expired or been revoked")
)

// Store keeps keys.
type Store interface {
	Get(ctx context.Context, keyID string) (*APIKey, error)
	List(ctx context.Context, limit int) ([]*APIKey, error)
	Insert(ctx context.Context, k *APIKey) error
	// Revoke sets the time of revocation unless there is one.
	Revoke(ctx context.Context, keyID string, at time.Time) error
}

// Hasher makes and checks keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
	Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error)
}

const hashPurpose = "api key"

// Service keeps a tenant's keys, and checks those that callers send.
type Service struct {
	store   Store
	changes *change.Runner
	hasher  Hasher
	now     func() time.Time
}

// NewService returns a Service.
func NewService(store Store, changes *change.Runner, hasher Hasher, now func() time.Time) *Service {
	return &Service{store, changes, hasher, now}
}

// Create makes a key. The secret is returned this once; in a replay it is nil.
func (s *Service) Create(ctx context.Context, in CreateInput) (k *APIKey, secret *string, err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	k = &APIKey{
		ID: id.New(id.APIKey, of), Name: strings.TrimSpace(in.Name), Permissions: in.Permissions,
		CreatedAt: now, ExpiresAt: in.ExpiresAt,
	}
	if k.Permissions == nil {
		k.Permissions = authz.ForKeys()
	}
	switch {
	case k.Name == "" || utf8.RuneCountInString(k.Name) > maxName:
		return nil, nil, errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("name")
	case k.ExpiresAt != nil && !k.ExpiresAt.After(s.now()):
		return nil, nil, errs.New(errs.Invalid, "a key expires in the future").At("expiresAt")
	}
	for _, p := range k.Permissions {
		if !slices.Contains(authz.ForKeys(), p) {
			return nil, nil, errs.New(errs.Invalid, "a key can't hold %s", p).At("permissions")
		}
	}
	random := make([]byte, secretBytes)
	rand.Read(random)
	token := Prefix + strings.TrimPrefix(k.ID, string(id.APIKey)+"_") + "_" + id.Encode(random)
	if k.Hash, err = s.hasher.Hash(ctx, hashPurpose, []byte(token)); err != nil {
		return nil, nil, err
	}
	keyID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		have, err := s.store.List(ctx, MaxKeys)
		if err != nil {
			return change.Change{}, err
		}
		if len(have) >= MaxKeys {
			return change.Change{}, errs.New(errs.Limited, "a tenant has at most %d API keys", MaxKeys)
		}
		return change.Change{Action: "apiKey.create", Object: k.ID}, s.store.Insert(ctx, k)
	})
	if err != nil {
		return nil, nil, err
	}
	if keyID != k.ID {
		k, err = s.store.Get(ctx, keyID)
		return k, nil, err
	}
	return k, &token, nil
}

// Get returns a key, or ErrNotFound.
func (s *Service) Get(ctx context.Context, keyID string) (*APIKey, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.APIKey, of, keyID) != nil {
		return nil, ErrNotFound
	}
	return s.store.Get(ctx, keyID)
}

// List returns all keys of the tenant, the newest first.
func (s *Service) List(ctx context.Context) ([]*APIKey, error) { return s.store.List(ctx, MaxKeys) }

// Revoke ends a key at once.
func (s *Service) Revoke(ctx context.Context, in RevokeInput) (*APIKey, error) {
	k, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if k.RevokedAt != nil {
		return k, nil
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	err = s.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "apiKey.revoke", Object: k.ID}, s.store.Revoke(ctx, k.ID, now)
	})
	if err != nil {
		return nil, err
	}
	return s.store.Get(ctx, k.ID)
}

// Authenticate returns the machine client that a token proves, or ErrRefused.
// The key is read each time, so that a revocation holds at once.
func (s *Service) Authenticate(ctx context.Context, token string) (authz.Principal, error) {
	rest, ok := strings.CutPrefix(token, Prefix)
	named, _, found := strings.Cut(rest, "_")
	keyID := string(id.APIKey) + "_" + named
	of, valid := id.TenantOf(keyID)
	if !ok || !found || !valid || id.Check(id.APIKey, of, keyID) != nil {
		return authz.Principal{}, ErrRefused
	}
	ctx = tenant.NewContext(ctx, of)
	k, err := s.store.Get(ctx, keyID)
	if errs.KindOf(err) == errs.NotFound {
		return authz.Principal{}, ErrRefused
	}
	if err != nil {
		return authz.Principal{}, err
	}
	same, err := s.hasher.Verify(ctx, k.Hash, hashPurpose, []byte(token))
	if err != nil {
		return authz.Principal{}, err
	}
	if now := s.now(); !same || k.RevokedAt != nil || k.ExpiresAt != nil && !now.Before(*k.ExpiresAt) {
		return authz.Principal{}, ErrRefused
	}
	return authz.Principal{
		Kind: authz.KindMachine, ID: k.ID, Tenant: of, Credential: k.ID, Grants: k.Permissions,
	}, nil
}
