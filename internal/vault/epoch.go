package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/tenant"
)

// EpochStore is the key store as closing an epoch works on it: across tenants.
// The methods that store wrapped bytes do so in a transaction that reads the new
// epoch as OPEN, and leave alone what was changed in the meantime.
type EpochStore interface {
	KeyStore

	// MoveMaster replaces the master of m's epoch by m if it is in the state
	// from, and reports whether it did.
	MoveMaster(ctx context.Context, from MasterState, m Master) (moved bool, err error)

	// DataKeys returns up to limit key documents by id after one, tombstones included.
	DataKeys(ctx context.Context, after string, limit int) ([]DataKey, error)
	// DataKeysIn returns up to limit key documents, by id after one, with a living
	// generation that is wrapped in the epoch.
	DataKeysIn(ctx context.Context, e Epoch, after string, limit int) ([]DataKey, error)
	// ReplaceDataKeys stores the generations of moved[i] in place of those of old[i].
	ReplaceDataKeys(ctx context.Context, to Epoch, old, moved []DataKey) error

	// IndexKeys returns up to limit index keys by id after one, destroyed ones included.
	IndexKeys(ctx context.Context, after string, limit int) ([]IndexKey, error)
	// ReplaceIndexKeys stores the wrapping of moved[i] in place of that of old[i].
	ReplaceIndexKeys(ctx context.Context, to Epoch, old, moved []IndexKey) error
	// DestroyIndexKey removes the wrapped bytes. Repeating it changes nothing.
	DestroyIndexKey(ctx context.Context, t tenant.ID, e Epoch) error

	// DeleteTenantKeys deletes the tenant keys of an epoch whose master is DESTROYED.
	DeleteTenantKeys(ctx context.Context, e Epoch) error
}

// Start returns when the epoch begins.
func (e Epoch) Start() time.Time {
	return time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(e) * EpochLength)
}

// End returns when the epoch ends and the next begins.
func (e Epoch) End() time.Time { return (e + 1).Start() }

// Wrapped is a thing as it is stored under a tenant key.
type Wrapped struct {
	Kind   string // of thing, for messages
	ID     string // opaque
	Tenant tenant.ID
	Epoch  Epoch // of the tenant key
	Bytes  []byte
	AAD    func(Epoch) []byte // what the bytes are bound to in an epoch
}

// Kind is a kind of things that tenant keys wrap directly. Every kind there is
// must take part in closing an epoch, or its things are lost with the master.
type Kind interface {
	// Rewrap moves up to limit things that are wrapped in one epoch to another, each by
	// move, and returns how many it found: with 0 none is left.
	Rewrap(ctx context.Context, from, to Epoch, limit int, move func(Wrapped) (Wrapped, error)) (int, error)
	// Visit calls visit for every living thing there is.
	Visit(ctx context.Context, visit func(Wrapped) error) error
}

// Rewrap moves up to limit things of a kind from the tenant keys of one epoch
// to those of another, which are made as needed, and returns how many it found.
func (v *Vault) Rewrap(ctx context.Context, k Kind, from, to Epoch, limit int) (int, error) {
	master, err := v.master(ctx, to)
	if err != nil {
		return 0, err
	}
	return k.Rewrap(ctx, from, to, limit, func(w Wrapped) (Wrapped, error) {
		plain, err := v.openWrapped(ctx, w)
		if err != nil {
			return w, err
		}
		tk, err := v.makeTenantKey(ctx, w.Tenant, master)
		if err != nil {
			return w, fmt.Errorf("rewrap %s %s: %w", w.Kind, w.ID, err)
		}
		w.Epoch = to
		w.Bytes = seal(tk.aead, nil, plain, w.AAD(to))
		return w, nil
	})
}

// TryOpen fails unless w opens.
func (v *Vault) TryOpen(ctx context.Context, w Wrapped) error {
	_, err := v.openWrapped(ctx, w)
	return err
}

func (v *Vault) openWrapped(ctx context.Context, w Wrapped) ([]byte, error) {
	tk, err := v.tenantKey(ctx, w.Tenant, w.Epoch)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: tenant key of epoch %d: %w", w.Kind, w.ID, w.Epoch, err)
	}
	plain, err := tk.aead.Open(nil, nil, w.Bytes, w.AAD(w.Epoch))
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", w.Kind, w.ID, ErrAuth)
	}
	return plain, nil
}

// visitPage is how many documents Visit asks for at once.
const visitPage = 1000

// DataKeyKind returns the data keys of a store as a kind.
func DataKeyKind(s EpochStore) Kind { return dataKeyKind{s} }

type dataKeyKind struct{ store EpochStore }

func wrappedDataKey(o Owner, g Generation) Wrapped {
	return Wrapped{
		Kind: "data key", ID: o.ID(), Tenant: o.Tenant, Epoch: g.Epoch, Bytes: g.Wrapped,
		AAD: func(e Epoch) []byte {
			g.Epoch = e
			return dataKeyAAD(o, &g)
		},
	}
}

// Rewrap implements Kind.
func (k dataKeyKind) Rewrap(ctx context.Context, from, to Epoch, limit int, move func(Wrapped) (Wrapped, error)) (int, error) {
	old, err := k.store.DataKeysIn(ctx, from, "", limit)
	if err != nil || len(old) == 0 {
		return 0, err
	}
	moved := make([]DataKey, len(old))
	for i, doc := range old {
		gs := make([]Generation, len(doc.Generations))
		for n, g := range doc.Generations {
			if g.Epoch == from && len(g.Wrapped) > 0 {
				w, err := move(wrappedDataKey(doc.Owner, g))
				if err != nil {
					return 0, err
				}
				g.Epoch, g.Wrapped = w.Epoch, w.Bytes
			}
			gs[n] = g
		}
		doc.Generations = gs
		moved[i] = doc
	}
	return len(old), k.store.ReplaceDataKeys(ctx, to, old, moved)
}

// Visit implements Kind.
func (k dataKeyKind) Visit(ctx context.Context, visit func(Wrapped) error) error {
	for after := ""; ; {
		docs, err := k.store.DataKeys(ctx, after, visitPage)
		if err != nil {
			return err
		}
		for i := range docs {
			for _, g := range docs[i].Generations {
				if len(g.Wrapped) == 0 {
					continue
				}
				if err := visit(wrappedDataKey(docs[i].Owner, g)); err != nil {
					return err
				}
			}
		}
		if len(docs) < visitPage {
			return nil
		}
		after = docs[len(docs)-1].Owner.ID()
	}
}

// IndexKeyKind returns the index keys of a store as a kind.
func IndexKeyKind(s EpochStore) Kind { return indexKeyKind{s} }

type indexKeyKind struct{ store EpochStore }

func wrappedIndexKey(k IndexKey) Wrapped {
	return Wrapped{
		Kind: "index key", ID: k.ID(), Tenant: k.Tenant, Epoch: k.WrappedIn, Bytes: k.Wrapped,
		AAD: func(e Epoch) []byte {
			k.WrappedIn = e
			return indexKeyAAD(&k)
		},
	}
}

// ID returns the key's _id: tenant and epoch.
func (k *IndexKey) ID() string { return fmt.Sprintf("%s/%d", k.Tenant, k.Epoch) }

// Rewrap implements Kind.
func (k indexKeyKind) Rewrap(ctx context.Context, from, to Epoch, limit int, move func(Wrapped) (Wrapped, error)) (int, error) {
	var old, moved []IndexKey
	err := k.each(ctx, func(key IndexKey) error {
		if key.WrappedIn != from || len(old) == limit {
			return nil
		}
		w, err := move(wrappedIndexKey(key))
		old, moved = append(old, key), append(moved, key)
		moved[len(moved)-1].WrappedIn, moved[len(moved)-1].Wrapped = w.Epoch, w.Bytes
		return err
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	return len(old), k.store.ReplaceIndexKeys(ctx, to, old, moved)
}

// Visit implements Kind.
func (k indexKeyKind) Visit(ctx context.Context, visit func(Wrapped) error) error {
	return k.each(ctx, func(key IndexKey) error { return visit(wrappedIndexKey(key)) })
}

// each calls fn for every living index key: a few per tenant.
func (k indexKeyKind) each(ctx context.Context, fn func(IndexKey) error) error {
	for after := ""; ; {
		keys, err := k.store.IndexKeys(ctx, after, visitPage)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if len(key.Wrapped) == 0 {
				continue
			}
			if err := fn(key); err != nil {
				return err
			}
		}
		if len(keys) < visitPage {
			return nil
		}
		after = keys[len(keys)-1].ID()
	}
}

// Current returns the master under which new keys are made.
func (v *Vault) Current(ctx context.Context) (Master, error) { return v.currentMaster(ctx) }
