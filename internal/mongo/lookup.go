package mongo

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// lookups keeps the blind indexes. A lookup's _id is tenant, index and digest;
// that of one that isn't unique ends with its owner. So uniqueness is that of
// _id, and every search is a point or a range of it.
type lookups struct {
	coll  *mongo.Collection
	vault *vault.Vault
}

type lookupDoc struct {
	ID      string      `bson:"_id"`
	Tenant  tenant.ID   `bson:"tenant"`
	Owner   string      `bson:"owner"`   // id of the subject or record found by it
	Subject string      `bson:"subject"` // whom it is about, and with whom it is erased
	Epoch   vault.Epoch `bson:"epoch"`   // of the index key that made the digest
}

// prefix returns the _id of a unique lookup, or what those of others begin with.
func (l *lookups) prefix(ctx context.Context, k lookup.Key) (string, vault.Epoch, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", 0, err
	}
	x, err := l.vault.Index(ctx, of)
	if err != nil {
		return "", 0, err
	}
	d, err := x.Digest(string(k.Name), k.Normaliser, k.Value)
	if err != nil {
		return "", 0, err
	}
	return string(of) + "/" + string(k.Name) + "/" + hex.EncodeToString(d[:]), x.Epoch(), nil
}

func (l *lookups) docs(ctx context.Context, owner string, keys []lookup.Key) ([]lookupDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	docs, seen := make([]lookupDoc, 0, len(keys)), make(map[string]bool, len(keys))
	for _, k := range keys {
		id, epoch, err := l.prefix(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", k.Name, err)
		}
		if !k.Unique {
			id += "/" + owner
		}
		if !seen[id] {
			seen[id] = true
			about := k.About
			if about == "" {
				about = owner
			}
			docs = append(docs, lookupDoc{id, of, owner, about, epoch})
		}
	}
	return docs, nil
}

// taken returns the position in keys of a unique lookup that another owner has,
// or -1. Keys and owners go together.
func (l *lookups) taken(ctx context.Context, owners []string, keys []lookup.Key) (int, error) {
	of := map[string]int{}
	ids := []string{}
	for i, k := range keys {
		if !k.Unique {
			continue
		}
		id, _, err := l.prefix(ctx, k)
		if err != nil {
			return -1, fmt.Errorf("look up %s: %w", k.Name, err)
		}
		if first, twice := of[id]; twice && owners[first] != owners[i] {
			return i, nil
		}
		of[id] = i
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return -1, nil
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return -1, err
	}
	found, err := all[lookupDoc](ctx, l.coll, filter)
	if err != nil {
		return -1, fmt.Errorf("find lookups: %w", err)
	}
	for _, f := range found {
		if i := of[f.ID]; owners[i] != f.Owner {
			return i, nil
		}
	}
	return -1, nil
}

func (l *lookups) insert(ctx context.Context, docs []lookupDoc) error {
	if len(docs) == 0 {
		return nil
	}
	if _, err := l.coll.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert lookups: %w", translate(err))
	}
	return nil
}

// replace makes keys the lookups of owner, leaving alone those that stay.
func (l *lookups) replace(ctx context.Context, owner string, keys []lookup.Key) error {
	want, err := l.docs(ctx, owner, keys)
	if err != nil {
		return err
	}
	have, err := l.of(ctx, owner)
	if err != nil {
		return err
	}
	stale := make(map[string]bool, len(have))
	for _, h := range have {
		stale[h.ID] = true
	}
	fresh := want[:0:0]
	for _, w := range want {
		if stale[w.ID] {
			delete(stale, w.ID)
		} else {
			fresh = append(fresh, w)
		}
	}
	if len(stale) > 0 {
		ids := make([]string, 0, len(stale))
		for id := range stale {
			ids = append(ids, id)
		}
		filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
		if err != nil {
			return err
		}
		if _, err := l.coll.DeleteMany(ctx, filter); err != nil {
			return fmt.Errorf("delete lookups: %w", translate(err))
		}
	}
	return l.insert(ctx, fresh)
}

func (l *lookups) of(ctx context.Context, owner string) ([]lookupDoc, error) {
	filter, err := scoped(ctx, bson.E{Key: "owner", Value: owner})
	if err != nil {
		return nil, err
	}
	docs, err := all[lookupDoc](ctx, l.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find lookups: %w", err)
	}
	return docs, nil
}

// remove deletes all lookups of owners.
func (l *lookups) remove(ctx context.Context, owners ...string) error {
	filter, err := scoped(ctx, bson.E{Key: "owner", Value: bson.D{{Key: "$in", Value: owners}}})
	if err != nil {
		return err
	}
	if _, err := l.coll.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("delete lookups: %w", translate(err))
	}
	return nil
}

// owners returns up to limit owners with a lookup, by id, after one of them.
func (l *lookups) owners(ctx context.Context, k lookup.Key, after string, limit int) ([]string, error) {
	filter, err := l.filter(ctx, k, after)
	if err != nil {
		return nil, err
	}
	docs, err := all[lookupDoc](ctx, l.coll, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find lookups: %w", err)
	}
	ids := make([]string, len(docs))
	for i, d := range docs {
		ids[i] = d.Owner
	}
	return ids, nil
}

// ownersOf returns the owners of unique lookups in the order of keys, "" where
// there is none, with one query.
func (l *lookups) ownersOf(ctx context.Context, keys []lookup.Key) ([]string, error) {
	ids := make([]string, len(keys))
	for i, k := range keys {
		var err error
		if ids[i], _, err = l.prefix(ctx, k); err != nil {
			return nil, fmt.Errorf("look up %s: %w", k.Name, err)
		}
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[lookupDoc](ctx, l.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find lookups: %w", err)
	}
	found := make(map[string]string, len(docs))
	for _, d := range docs {
		found[d.ID] = d.Owner
	}
	owners := make([]string, len(keys))
	for i, id := range ids {
		owners[i] = found[id]
	}
	return owners, nil
}

// inOrder returns what is found for each of ids, nil where nothing is.
func inOrder[T any](ids []string, found []*T, id func(*T) string) []*T {
	byID := make(map[string]*T, len(found))
	for _, f := range found {
		byID[id(f)] = f
	}
	ordered := make([]*T, len(ids))
	for i, want := range ids {
		ordered[i] = byID[want]
	}
	return ordered
}

// present returns the ids that aren't empty, sorted and without repeats.
func present(ids []string) []string {
	return slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for _, id := range ids {
			if id != "" && !yield(id) {
				return
			}
		}
	}))
}

// count counts the owners with a lookup, up to limit.
func (l *lookups) count(ctx context.Context, k lookup.Key, limit int) (int, error) {
	filter, err := l.filter(ctx, k, "")
	if err != nil {
		return 0, err
	}
	return count(ctx, l.coll, filter, limit)
}

func (l *lookups) filter(ctx context.Context, k lookup.Key, after string) (bson.D, error) {
	id, _, err := l.prefix(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", k.Name, err)
	}
	if k.Unique && after == "" {
		return scoped(ctx, bson.E{Key: "_id", Value: id})
	}
	// "0" is the character after "/".
	return scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: id + "/" + after}, {Key: "$lt", Value: id + "0"}}})
}

// count counts documents, up to limit.
func count(ctx context.Context, c *mongo.Collection, filter bson.D, limit int) (int, error) {
	n, err := c.CountDocuments(ctx, filter, options.Count().SetLimit(int64(limit)))
	if err != nil {
		return 0, fmt.Errorf("count: %w", translate(err))
	}
	return int(n), nil
}
