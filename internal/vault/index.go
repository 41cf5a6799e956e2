package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// DigestSize is the length of a blind index's digest in bytes: 128 bits.
const DigestSize = 16

// Index makes the digests of a tenant's blind indexes in one epoch. It may be
// used concurrently.
type Index struct {
	tenant tenant.ID
	epoch  Epoch
	root   rootKey

	mu   sync.Mutex
	keys map[string][]byte // derived, by index name
}

// Index returns the tenant's present index and makes its key when there is
// none. A lookup is stored together with its index's Epoch.
func (v *Vault) Index(ctx context.Context, t tenant.ID) (*Index, error) {
	var x *Index
	err := v.inOpenEpoch(ctx, func(master Master) (err error) {
		x, err = v.ensureIndex(ctx, t, master.Epoch, master)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", t, err)
	}
	return x, nil
}

// rebuildStep is the distance between the numbers of index keys made in one epoch.
const rebuildStep = 1 << 20

// MadeIn returns the epoch in which the index key of that number was made: its first
// has the number of the epoch itself, those made to rebuild lookups within it come
// 2²⁰ after one another.
func (e Epoch) MadeIn() Epoch { return e % rebuildStep }

// NextIndex returns an index with another key than the one of that number, made
// now: for lookups to be made anew within an epoch.
func (v *Vault) NextIndex(ctx context.Context, t tenant.ID, last Epoch) (*Index, error) {
	var x *Index
	err := v.inOpenEpoch(ctx, func(master Master) (err error) {
		number := master.Epoch
		if last.MadeIn() == number {
			number = last + rebuildStep
		}
		x, err = v.ensureIndex(ctx, t, number, master)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("next index of %s: %w", t, err)
	}
	return x, nil
}

func (v *Vault) ensureIndex(ctx context.Context, t tenant.ID, number Epoch, master Master) (*Index, error) {
	x, err := v.IndexAt(ctx, t, number)
	if !errors.Is(err, ErrKeyMissing) {
		return x, err
	}
	tk, err := v.makeTenantKey(ctx, t, master)
	if err != nil {
		return nil, err
	}
	k := IndexKey{Tenant: t, Epoch: number, WrappedIn: master.Epoch, CreatedAt: v.now().UTC()}
	root := newRoot()
	k.Wrapped = seal(tk.aead, nil, root[:], indexKeyAAD(&k))
	if k, err = v.store.InsertIndexKey(ctx, k); err != nil {
		return nil, fmt.Errorf("insert index key: %w", err)
	}
	return v.openIndex(ctx, &k)
}

// IndexAt returns the tenant's index of that number, or ErrKeyMissing.
func (v *Vault) IndexAt(ctx context.Context, t tenant.ID, e Epoch) (*Index, error) {
	if x, ok := v.indexes.get(tenantEpoch{t, e}); ok {
		return x, nil
	}
	return share(ctx, &v.flights, flightName("index", t, e), func(ctx context.Context) (*Index, error) {
		k, found, err := v.store.FindIndexKey(ctx, t, e)
		if err != nil {
			return nil, fmt.Errorf("find index key of %s: %w", t, err)
		}
		if !found || len(k.Wrapped) == 0 {
			return nil, fmt.Errorf("find index key of %s: %w", t, ErrKeyMissing)
		}
		return v.openIndex(ctx, &k)
	})
}

func (v *Vault) openIndex(ctx context.Context, k *IndexKey) (*Index, error) {
	tk, err := v.tenantKey(ctx, k.Tenant, k.WrappedIn)
	if err != nil {
		return nil, fmt.Errorf("open index key of %s: %w", k.Tenant, err)
	}
	plain, err := tk.aead.Open(nil, nil, k.Wrapped, indexKeyAAD(k))
	if err != nil || len(plain) != keySize {
		return nil, fmt.Errorf("open index key of %s: %w", k.Tenant, ErrAuth)
	}
	x := &Index{tenant: k.Tenant, epoch: k.Epoch, root: rootKey(plain), keys: map[string][]byte{}}
	v.indexes.put(tenantEpoch{k.Tenant, k.Epoch}, x)
	return x, nil
}

// Epoch returns the number of the key that the digests are made with.
func (x *Index) Epoch() Epoch { return x.epoch }

// Digest returns the keyed digest of a normalised value in the index of that
// name: HMAC-SHA-256 cut to 128 bits. It is for identifiers that are hard to
// guess among few: a digest of one of ten words tells the word to whoever counts.
func (x *Index) Digest(name string, normaliser int, value personal.Text) ([DigestSize]byte, error) {
	key, err := x.key(name)
	if err != nil {
		return [DigestSize]byte{}, fmt.Errorf("digest for index %s: %w", name, err)
	}
	b := appendPart(nil, string(x.tenant))
	b = appendPart(b, name)
	b = appendNumber(b, int32(normaliser)) //nolint:gosec // G115: a version, counted from 1
	b = appendPart(b, value.Reveal())
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return [DigestSize]byte(h.Sum(nil)), nil
}

func (x *Index) key(name string) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if key, ok := x.keys[name]; ok {
		return key, nil
	}
	key, err := x.root.derive(purposeIndex, name)
	if err != nil {
		return nil, err
	}
	x.keys[name] = key
	return key, nil
}
