// Package apikey lets machine clients sign in: a key belongs to one tenant,
// holds a list of permissions, is shown once and kept as a keyed hash. Its
// secret can be rotated with an overlap in which the old one works too.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/tenant"
)

// Prefix begins every API key, so that a leaked one is recognised.
const Prefix = "vgt_"

const (
	secretBytes   = 20 // 160 bits of chance
	secretIDBytes = 5
	// MaxOverlap is the longest time in which two secrets of a key work, in hours.
	MaxOverlap = 168
)

// APIKey is a key without its secrets.
type APIKey struct {
	machine.Client
	Secrets []Secret // the newest first; at most two that work
}

// Secret is what is kept of one.
type Secret struct {
	ID         string            // of no meaning outside the key
	Hash       [sha256.Size]byte // keyed
	CreatedAt  time.Time
	ExpiresAt  *time.Time // set once another secret has taken its place
	LastUsedAt *time.Time // accurate to machine.UsesEvery
}

func (s *Secret) live(now time.Time) bool { return s.ExpiresAt == nil || now.Before(*s.ExpiresAt) }

// CreateInput asks for a key.
type CreateInput = machine.CreateInput

// UpdateInput asks for a change of a key; what is nil stays.
type UpdateInput struct {
	ID              string
	ExpectedVersion int64
	Name            *string
	Networks        []string // an empty list: any
}

// RotateInput asks for a new secret.
type RotateInput struct {
	ID           string
	OverlapHours int // in which the present secret works on, 0 to MaxOverlap
}

// RevokeInput asks for the end of a key.
type RevokeInput struct {
	ID string
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such API key")
	// ErrRefused says nothing of why: unknown, altered, expired, revoked, or called from elsewhere.
	ErrRefused = errs.New(errs.Unauthenticated, "this API key isn't valid here: it may have expired, been revoked or rotated, or be bound to other networks")
	ErrRevoked = errs.New(errs.Precondition, "the API key is revoked: create another")
	ErrOverlap = errs.New(errs.Invalid, "an overlap lasts 0 to %d hours", MaxOverlap).At("overlapHours")
	// ErrOverlapping reports a rotation that would leave three secrets.
	ErrOverlapping = errs.New(errs.Precondition, "two secrets of this key work already: wait until the older one has expired, or rotate with overlapHours 0, which ends both at once")
)

// Store keeps keys.
type Store interface {
	machine.UseStore
	Get(ctx context.Context, keyID string) (*APIKey, error)
	List(ctx context.Context, limit int) ([]*APIKey, error)
	Insert(ctx context.Context, k *APIKey) error
	// Update replaces what can change of a key, unless its version isn't the one
	// before: then it fails with change.ErrVersion.
	Update(ctx context.Context, k *APIKey) error
}

// Hasher makes and checks keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
	Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error)
}

const hashPurpose = "api key"

// Config is what a Service is made of.
type Config struct {
	Store      Store
	Changes    *change.Runner
	Authorizer authz.Authorizer
	Hasher     Hasher
	Denied     machine.Denied // may be nil
	Log        *slog.Logger
	Now        func() time.Time
}

// Service keeps a tenant's keys, and checks those that callers send.
type Service struct {
	store      Store
	changes    *change.Runner
	authorizer authz.Authorizer
	hasher     Hasher
	denied     machine.Denied
	uses       *machine.Uses
	now        func() time.Time
}

// NewService returns a Service.
func NewService(c Config) *Service {
	if c.Denied == nil {
		c.Denied = func(context.Context, string, machine.Reason) {}
	}
	return &Service{c.Store, c.Changes, c.Authorizer, c.Hasher, c.Denied, machine.NewUses(c.Store, c.Log), c.Now}
}

// Run writes down when keys were used, until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.uses.Run(ctx) }

// Create makes a key. The secret is returned this once; in a replay it is nil.
func (s *Service) Create(ctx context.Context, in CreateInput) (k *APIKey, secret *string, err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	k = &APIKey{}
	if k.Client, err = machine.New(ctx, s.authorizer, id.New(id.APIKey, of), in, s.now()); err != nil {
		return nil, nil, err
	}
	first, token, err := s.secret(ctx, k.ID, k.CreatedAt)
	if err != nil {
		return nil, nil, err
	}
	k.Secrets = []Secret{first}
	keyID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		have, err := s.store.List(ctx, machine.MaxClients)
		if err != nil {
			return change.Change{}, err
		}
		if len(have) >= machine.MaxClients {
			return change.Change{}, errs.New(errs.Limited, "a tenant has at most %d API keys", machine.MaxClients)
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

// secret makes one for a key, with the token that proves it.
func (s *Service) secret(ctx context.Context, keyID string, at time.Time) (kept Secret, token string, err error) {
	random, name := make([]byte, secretBytes), make([]byte, secretIDBytes)
	rand.Read(random)
	rand.Read(name)
	token = Prefix + strings.TrimPrefix(keyID, string(id.APIKey)+"_") + "_" + id.Encode(random)
	kept = Secret{ID: id.Encode(name), CreatedAt: at}
	kept.Hash, err = s.hasher.Hash(ctx, hashPurpose, []byte(token))
	return kept, token, err
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
func (s *Service) List(ctx context.Context) ([]*APIKey, error) {
	return s.store.List(ctx, machine.MaxClients)
}

// Update changes a key's name and networks.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*APIKey, error) {
	return s.change(ctx, in.ID, "apiKey.update", func(k *APIKey) error {
		if k.Version != in.ExpectedVersion {
			return change.ErrVersion
		}
		if in.Name != nil {
			if err := k.Rename(*in.Name); err != nil {
				return err
			}
		}
		if in.Networks != nil {
			return k.Bind(in.Networks)
		}
		return nil
	})
}

// Rotate gives a key a new secret, which is returned this once. The one before
// works on until the overlap ends; without an overlap all others end at once. It
// fails with machine.ErrBeyond for a key that holds more than the caller can give.
func (s *Service) Rotate(ctx context.Context, in RotateInput) (k *APIKey, secret string, err error) {
	if in.OverlapHours < 0 || in.OverlapHours > MaxOverlap {
		return nil, "", ErrOverlap
	}
	if k, err = s.Get(ctx, in.ID); err != nil {
		return nil, "", err
	}
	if err := k.Entrust(ctx, s.authorizer); err != nil {
		return nil, "", err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	ends := now.Add(time.Duration(in.OverlapHours) * time.Hour)
	next, token, err := s.secret(ctx, in.ID, now)
	if err != nil {
		return nil, "", err
	}
	k, err = s.change(ctx, in.ID, "apiKey.rotate", func(k *APIKey) error {
		secrets := []Secret{next}
		for _, old := range k.Secrets {
			if in.OverlapHours == 0 || !old.live(now) {
				continue
			}
			if len(secrets) > 1 {
				return ErrOverlapping
			}
			old.ExpiresAt = &ends
			secrets = append(secrets, old)
		}
		k.Secrets = secrets
		return nil
	})
	return k, token, err
}

// Revoke ends a key at once. Revoking it again changes nothing.
func (s *Service) Revoke(ctx context.Context, in RevokeInput) (*APIKey, error) {
	k, err := s.Get(ctx, in.ID)
	if err != nil || k.RevokedAt != nil {
		return k, err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	return s.change(ctx, in.ID, "apiKey.revoke", func(k *APIKey) error {
		k.RevokedAt = &now
		return nil
	})
}

// change changes a key that isn't revoked.
func (s *Service) change(ctx context.Context, keyID, action string, apply func(k *APIKey) error) (k *APIKey, err error) {
	err = s.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if k, err = s.Get(ctx, keyID); err != nil {
			return change.Change{}, err
		}
		if k.RevokedAt != nil {
			return change.Change{}, ErrRevoked
		}
		if err := apply(k); err != nil {
			return change.Change{}, err
		}
		k.Version++
		return change.Change{Action: action, Object: k.ID}, s.store.Update(ctx, k)
	})
	if err != nil {
		return nil, err
	}
	return k, nil
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
	now := s.now()
	proved, err := s.proved(ctx, k, token)
	if err != nil {
		return authz.Principal{}, err
	}
	reason := machine.Secret
	if proved != nil {
		if reason = k.Refusal(ctx, now); reason == "" && !proved.live(now) {
			reason = machine.Expired
		}
	}
	if reason != "" {
		s.denied(ctx, k.ID, reason)
		return authz.Principal{}, ErrRefused
	}
	s.uses.Note(machine.Use{Client: k.ID, Secret: proved.ID}, now)
	return k.Principal(of), nil
}

// proved returns the secret that the token is, nil if it is none.
func (s *Service) proved(ctx context.Context, k *APIKey, token string) (*Secret, error) {
	for i := range k.Secrets {
		same, err := s.hasher.Verify(ctx, k.Secrets[i].Hash, hashPurpose, []byte(token))
		if err != nil {
			return nil, err
		}
		if same {
			return &k.Secrets[i], nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}
