package sign

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// ErrExists reports a key that somebody else made at the same moment.
var ErrExists = errs.New(errs.Conflict, "the signing key was made by another process: try again")

// Stored is a key as it is stored: with its private half, sealed, until it retires.
type Stored struct {
	Key

	Private []byte
}

// Store keeps the keys of the tenant in ctx, which is the provider. Insert and
// Retire work in the transaction of a change.
type Store interface {
	// SigningKeys returns all keys, by purpose and number.
	SigningKeys(ctx context.Context) ([]Stored, error)
	// InsertSigningKey fails with ErrExists when there is one of that purpose and number.
	InsertSigningKey(ctx context.Context, k *Stored) error
	// RetireSigningKey dates the end of a key and drops its private half.
	RetireSigningKey(ctx context.Context, k *Key, at time.Time) error
}

// Vault seals the private keys.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Provider tells which tenant runs the platform.
type Provider interface {
	// ProviderID needs a system context.
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Config is what a Ring needs. All of it is required.
type Config struct {
	Store    Store
	Vault    Vault
	Provider Provider
	Changes  *change.Runner
	Now      func() time.Time
}

// Ring signs with the keys of the platform, one per purpose at a time. It may be
// used concurrently.
type Ring struct {
	Config

	mu     sync.Mutex
	loaded time.Time
	keys   []Stored
	seeds  map[string][]byte // by key id
}

// Unit is the retention unit of the provider's key that seals the private keys.
// The closing of an epoch rewraps that key, and so these need nothing.
const Unit vault.Unit = "signing"

// Collection is the collection that sealed private keys are bound to.
const Collection = "signingKeys"

// remembered is how long keys are used before the store is asked again.
const remembered = time.Minute

// NewRing returns a Ring.
func NewRing(c Config) *Ring { return &Ring{Config: c, seeds: map[string][]byte{}} }

// Sign returns text with a signature of the purpose's key, which is made at its
// first use. The text's first line is its kind, and its last byte a line end. It
// must not be called inside a transaction.
func (r *Ring) Sign(ctx context.Context, p Purpose, text []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, of, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.current(ctx, of, p)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", p, err)
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, s)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", p, err)
	}
	return signed, nil
}

// Keys returns the public keys, those that retired included.
func (r *Ring) Keys(ctx context.Context) (*KeySet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, _, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.load(ctx, true); err != nil { // another process may have made one just now
		return nil, err
	}
	s := &KeySet{}
	for i := range r.keys {
		s.keys = append(s.keys, r.keys[i].Key)
	}
	return s, nil
}

// Rotate gives each of the purposes a new key. What the old ones signed stays
// good; their private halves are destroyed.
func (r *Ring) Rotate(ctx context.Context, purposes ...Purpose) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, of, err := r.enter(ctx)
	if err != nil {
		return err
	}
	for _, p := range purposes {
		if !slices.Contains(Purposes(), p) {
			return errs.New(errs.Invalid, "no such purpose of a signing key").At("purpose")
		}
		if _, err := r.current(ctx, of, p); err != nil {
			return fmt.Errorf("rotate signing key: %w", err)
		}
		if err := r.load(ctx, true); err != nil {
			return err
		}
		if err := r.make(ctx, of, p); err != nil {
			return fmt.Errorf("rotate signing key: %w", err)
		}
	}
	return nil
}

// enter returns ctx for work on the provider's keys. The caller stays who it is.
func (r *Ring) enter(ctx context.Context) (context.Context, tenant.ID, error) {
	of, err := r.Provider.ProviderID(tenant.System(ctx, "signing keys"))
	if err != nil {
		return nil, "", fmt.Errorf("find provider: %w", err)
	}
	if !authz.FromContext(ctx).SignedIn() {
		ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "sign", Tenant: of})
	}
	return tenant.NewContext(ctx, of), of, nil
}

func (r *Ring) load(ctx context.Context, anew bool) error {
	now := r.Now()
	if age := now.Sub(r.loaded); !anew && r.keys != nil && age >= 0 && age < remembered {
		return nil
	}
	keys, err := r.Store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	r.keys, r.loaded = keys, now
	return nil
}

// active returns the key that signs for a purpose now, or nil.
func (r *Ring) active(p Purpose) *Stored {
	for i := range r.keys {
		if k := &r.keys[i]; k.Purpose == p && k.Retired.IsZero() {
			return k
		}
	}
	return nil
}

// current returns the signer of a purpose, made if there is none.
func (r *Ring) current(ctx context.Context, of tenant.ID, p Purpose) (note.Signer, error) {
	if err := r.load(ctx, false); err != nil {
		return nil, err
	}
	if p != Root && r.active(Root) == nil {
		if _, err := r.current(ctx, of, Root); err != nil {
			return nil, err
		}
	}
	if r.active(p) == nil {
		if err := r.make(ctx, of, p); err != nil && !errors.Is(err, ErrExists) {
			return nil, err
		}
		if err := r.load(ctx, true); err != nil {
			return nil, err
		}
	}
	k := r.active(p)
	if k == nil {
		return nil, errs.New(errs.Internal, "there is no key for this purpose")
	}
	return r.signer(ctx, of, k)
}

func owner(of tenant.ID) vault.Owner { return vault.Owner{Tenant: of, Subject: string(of), Unit: Unit} }

func place(k *Key) vault.Place {
	return vault.Place{Collection: Collection, Record: k.ID(), Field: "private"}
}

// signer opens the private half of k.
func (r *Ring) signer(ctx context.Context, of tenant.ID, k *Stored) (note.Signer, error) {
	id := k.ID()
	if r.seeds[id] == nil {
		keys, err := r.Vault.Ensure(ctx, owner(of))
		if err != nil {
			return nil, err
		}
		v, err := keys.Open(owner(of), place(&k.Key), k.Private)
		if err != nil {
			return nil, fmt.Errorf("open signing key: %w", err)
		}
		seed, ok := v.RevealBytes()
		if !ok || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("open signing key: %w", vault.ErrAuth)
		}
		r.seeds[id] = seed
	}
	return signer(k.Name, r.seeds[id])
}

// make makes the next key of a purpose, introduced by itself, its predecessor
// and the root key, and retires the predecessor.
func (r *Ring) make(ctx context.Context, of tenant.ID, p Purpose) error {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails
	name := keyName(string(of), p)
	self, err := signer(name, seed)
	if err != nil {
		return err
	}
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	next := &Stored{Key: Key{Purpose: p, Number: 1, Name: name, Public: public, From: r.Now().UTC().Truncate(time.Second)}}
	for i := range r.keys {
		if r.keys[i].Purpose == p {
			next.Number = max(next.Number, r.keys[i].Number+1)
		}
	}
	before, signers := r.active(p), []note.Signer{self}
	by := []*Stored{before}
	if p != Root {
		by = append(by, r.active(Root))
	}
	for _, k := range by {
		if k == nil {
			continue
		}
		s, err := r.signer(ctx, of, k)
		if err != nil {
			return err
		}
		signers = append(signers, s)
	}
	if next.Intro, err = note.Sign(&note.Note{Text: next.introduction()}, signers...); err != nil {
		return fmt.Errorf("introduce key: %w", err)
	}
	keys, err := r.Vault.Ensure(ctx, owner(of))
	if err != nil {
		return err
	}
	if next.Private, err = keys.Seal(owner(of), place(&next.Key), personal.Bytes(seed)); err != nil {
		return err
	}
	action := "sign.key.create"
	if before != nil {
		action = "sign.key.rotate"
	}
	err = r.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if before != nil {
			if err := r.Store.RetireSigningKey(ctx, &before.Key, next.From); err != nil {
				return change.Change{}, err
			}
		}
		return change.Change{Action: action, Object: next.ID()}, r.Store.InsertSigningKey(ctx, next)
	})
	if err != nil {
		return err
	}
	if before != nil {
		delete(r.seeds, before.ID())
	}
	r.seeds[next.ID()] = seed
	return r.load(ctx, true)
}
