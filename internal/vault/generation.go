package vault

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Retire makes a new generation of each key whose current one was made before a
// time. The older ones stay and open what they sealed;
// other processes seal by the new one once their caches have forgotten, within
// CacheLife. A key that is destroyed, or is a Credentials key, is left alone: by keyed
// hashes things are found, which nobody can make anew without what was hashed. A
// key that is changed meanwhile, or destroyed, isn't touched: ask again.
func (v *Vault) Retire(ctx context.Context, s EpochStore, docs []DataKey, before time.Time) error {
	var old, next []DataKey
	err := v.inOpenEpoch(ctx, func(master Master) error {
		old, next = nil, nil
		for _, doc := range docs {
			if !doc.Older(before) {
				continue
			}
			tk, err := v.makeTenantKey(ctx, doc.Owner.Tenant, master)
			if err != nil {
				return err
			}
			last := slices.MaxFunc(doc.Generations, func(a, b Generation) int { return int(a.Number - b.Number) })
			_, g := newGeneration(tk, doc.Owner, last.Number+1, master.Epoch)
			g.CreatedAt = v.now().UTC().Truncate(time.Millisecond)
			old = append(old, doc)
			doc.Generations, doc.Current = append(slices.Clone(doc.Generations), g), g.Number
			next = append(next, doc)
		}
		if len(next) == 0 {
			return nil
		}
		return s.ReplaceDataKeys(ctx, master.Epoch, old, next)
	})
	if err != nil {
		return fmt.Errorf("retire data keys: %w", err)
	}
	v.evictAll(next)
	return nil
}

// DestroyRetired destroys the generations of the keys that were made before a
// time and aren't current. Nothing may be sealed by them any more. A key that is
// changed meanwhile isn't touched: ask again.
func (v *Vault) DestroyRetired(ctx context.Context, s EpochStore, docs []DataKey, before time.Time) error {
	var old, next []DataKey
	for _, doc := range docs {
		gs := slices.Clone(doc.Generations)
		for i := range gs {
			if doc.retired(gs[i]) && doc.madeAt(gs[i]).Before(before) {
				gs[i].Wrapped, gs[i].Quarantined = nil, nil
			}
		}
		if !slices.EqualFunc(gs, doc.Generations, func(a, b Generation) bool { return len(a.Wrapped) == len(b.Wrapped) }) {
			old = append(old, doc)
			doc.Generations = gs
			next = append(next, doc)
		}
	}
	if len(next) == 0 {
		return nil
	}
	err := v.inOpenEpoch(ctx, func(master Master) error { return s.ReplaceDataKeys(ctx, master.Epoch, old, next) })
	if err != nil {
		return fmt.Errorf("destroy retired data keys: %w", err)
	}
	v.evictAll(next)
	return nil
}

func (v *Vault) evictAll(docs []DataKey) {
	owners := make([]Owner, len(docs))
	for i := range docs {
		owners[i] = docs[i].Owner
	}
	v.Evict(owners...)
}

// Older reports whether a key can have a new generation, and its current one was
// made before a time.
func (k *DataKey) Older(before time.Time) bool {
	if k.Destroyed() || k.Owner.Unit == Credentials {
		return false
	}
	i := slices.IndexFunc(k.Generations, func(g Generation) bool { return g.Number == k.Current })
	return i >= 0 && k.madeAt(k.Generations[i]).Before(before)
}

// madeAt returns when a generation was made.
func (k *DataKey) madeAt(g Generation) time.Time {
	if g.CreatedAt.IsZero() {
		return k.CreatedAt
	}
	return g.CreatedAt
}

// retired reports whether a generation lives only to open what it sealed.
func (k *DataKey) retired(g Generation) bool { return g.Number != k.Current && len(g.Wrapped) > 0 }

// Retired returns the ids of the generations that were made before a time, live, and
// seal no more. A key that is destroyed has none.
func (k *DataKey) Retired(before time.Time) []KeyID {
	var ids []KeyID
	for _, g := range k.Generations {
		if !k.Destroyed() && k.retired(g) && k.madeAt(g).Before(before) {
			ids = append(ids, g.KeyID)
		}
	}
	return ids
}

// CacheLife is how long a process may seal by a generation that was retired.
const CacheLife = dataKeyTTL

// SealedBy returns the id of the key that b names, if b may be a sealed value.
func SealedBy(b []byte) (KeyID, bool) {
	if len(b) < Overhead || b[0] != versionValue {
		return KeyID{}, false
	}
	switch b[1] {
	case bsonString, bsonBinary, bsonBool, bsonDateTime, bsonInt64:
		return KeyID(b[2:headerSize]), true
	default:
		return KeyID{}, false
	}
}

// StreamKey returns the id of the key by which SealStream seals for o.
func (k *Keys) StreamKey(o Owner) (KeyID, error) {
	e, err := k.entry(o)
	if err != nil {
		return KeyID{}, err
	}
	return e.current.id, nil
}

// Reseal opens a sealed value, whichever generation sealed it, and seals it by the
// current one for the same owner and place.
func (k *Keys) Reseal(o Owner, p Place, sealed []byte) ([]byte, error) {
	v, err := k.Open(o, p, sealed)
	if err != nil {
		return nil, fmt.Errorf("reseal value: %w", err)
	}
	return k.Seal(o, p, v)
}

// Fault is a generation of a data key that doesn't open.
type Fault struct {
	Generation int32
	Err        error
	// Own: the fault is of this generation's bytes alone; else its tenant key or
	// master can't be used, and every key beside it has the same fault.
	Own bool
}

// Faults opens every living generation of a key, from the store's bytes, and
// returns those that don't open. It fails when keys can't be had now.
func (v *Vault) Faults(ctx context.Context, doc *DataKey) ([]Fault, error) {
	var faults []Fault
	for i := range doc.Generations {
		g := &doc.Generations[i]
		if len(g.Wrapped) == 0 {
			continue
		}
		_, terr := v.tenantKey(ctx, doc.Owner.Tenant, g.Epoch)
		_, err := v.openGeneration(ctx, doc.Owner, g)
		switch {
		case err == nil:
		case !unusable(err):
			return nil, err
		default:
			faults = append(faults, Fault{g.Number, err, terr == nil})
		}
	}
	return faults, nil
}

// Quarantine sets aside those generations of a key, and Release puts back all that
// were. Both leave a key alone that is changed meanwhile: ask again.
func (v *Vault) Quarantine(ctx context.Context, s EpochStore, doc DataKey, generations ...int32) error {
	return v.replace(ctx, s, doc, func(g *Generation) {
		if slices.Contains(generations, g.Number) && len(g.Wrapped) > 0 {
			g.Quarantined, g.Wrapped = g.Wrapped, nil
		}
	})
}

// Release is the reverse of Quarantine.
func (v *Vault) Release(ctx context.Context, s EpochStore, doc DataKey) error {
	return v.replace(ctx, s, doc, func(g *Generation) {
		if len(g.Quarantined) > 0 {
			g.Wrapped, g.Quarantined = g.Quarantined, nil
		}
	})
}

func (v *Vault) replace(ctx context.Context, s EpochStore, doc DataKey, change func(*Generation)) error {
	next := doc
	next.Generations = slices.Clone(doc.Generations)
	for i := range next.Generations {
		change(&next.Generations[i])
	}
	err := v.inOpenEpoch(ctx, func(master Master) error {
		return s.ReplaceDataKeys(ctx, master.Epoch, []DataKey{doc}, []DataKey{next})
	})
	if err != nil {
		return fmt.Errorf("replace data key: %w", err)
	}
	v.Evict(doc.Owner)
	return nil
}
