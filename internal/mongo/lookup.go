package mongo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// lookups keeps the blind indexes. A lookup's _id is tenant, index and digest;
// that of one that isn't unique ends with its owner. So uniqueness is that of
// _id, and every search is a point or a range of it.
//
// The digests are made with the tenant's index key of an epoch. Which one that is
// says a document that every transaction reads which writes lookups: while
// they are made anew under the next key (see LookupRenewal) it writes both.
type lookups struct {
	coll, keys, subjects *mongo.Collection
	vault                *vault.Vault
}

func newLookups(d *DB, v *vault.Vault) *lookups {
	return &lookups{d.db.Collection(lookupsColl), d.db.Collection(lookupKeysColl), d.db.Collection(subjectsColl), v}
}

type lookupDoc struct {
	ID      string      `bson:"_id"`
	Tenant  tenant.ID   `bson:"tenant"`
	Owner   string      `bson:"owner"`   // id of the subject or record found by it
	Subject string      `bson:"subject"` // whom it is about, and with whom it is erased
	Epoch   vault.Epoch `bson:"epoch"`   // of the index key that made the digest
}

// lookupKeyDoc says with which index keys a tenant's lookups are made.
type lookupKeyDoc struct {
	ID     tenant.ID    `bson:"_id"`
	Tenant tenant.ID    `bson:"tenant"`
	Read   vault.Epoch  `bson:"read"`           // searches go by it
	Next   *vault.Epoch `bson:"next,omitempty"` // is being built: writes go to both
	Old    *vault.Epoch `bson:"old,omitempty"`  // is being removed
	Since  time.Time    `bson:"since"`          // of the present phase
	After  string       `bson:"after"`          // the person or record up to which the next is built

	Rebuild bool `bson:"rebuild,omitempty"` // an operator wants them to be made anew
}

// writes returns the epochs under which lookups are written.
func (d *lookupKeyDoc) writes() []vault.Epoch {
	if d.Next != nil {
		return []vault.Epoch{d.Read, *d.Next}
	}
	return []vault.Epoch{d.Read}
}

// epochs returns with which index keys the tenant's lookups are made. The first
// transaction of a tenant decides it.
func (l *lookups) epochs(ctx context.Context) (lookupKeyDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return lookupKeyDoc{}, err
	}
	var doc lookupKeyDoc
	err = l.keys.FindOne(ctx, bson.D{{Key: "_id", Value: of}, {Key: "tenant", Value: of}}).Decode(&doc)
	if err == nil {
		return doc, nil
	}
	if !errors.Is(err, mongo.ErrNoDocuments) {
		return doc, fmt.Errorf("find index epochs: %w", translate(err))
	}
	x, err := l.vault.Index(ctx, of)
	if err != nil {
		return doc, err
	}
	doc = lookupKeyDoc{ID: of, Tenant: of, Read: x.Epoch(), Since: x.Epoch().Start()}
	if mongo.SessionFromContext(ctx) == nil {
		return doc, nil // a search in what is empty
	}
	if _, err := l.keys.InsertOne(ctx, doc); err != nil {
		return doc, fmt.Errorf("insert index epochs: %w", translate(err))
	}
	return doc, nil
}

// prefix returns the _id of a unique lookup in an epoch, or what those of others
// begin with.
func (l *lookups) prefix(ctx context.Context, k lookup.Key, e vault.Epoch) (string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	x, err := l.vault.IndexAt(ctx, of, e)
	if err != nil {
		return "", err
	}
	d, err := x.Digest(string(k.Name), k.Normaliser, k.Value)
	if err != nil {
		return "", err
	}
	return string(of) + "/" + string(k.Name) + "/" + hex.EncodeToString(d[:]), nil
}

// forms returns the keys in all their forms.
func forms(keys []lookup.Key) []lookup.Key {
	all := make([]lookup.Key, 0, len(keys))
	for _, k := range keys {
		all = append(all, k.Forms()...)
	}
	return all
}

// owned are the keys of one owner: a subject or a record.
type owned struct {
	owner string
	keys  []lookup.Key
}

// entry is a lookup to be stored, with the name of its index.
type entry struct {
	lookupDoc

	name   lookup.Name
	unique bool
}

// entries returns the lookups that owners are to have, each once.
func (l *lookups) entries(ctx context.Context, owners ...owned) ([]entry, error) {
	keys, err := l.epochs(ctx)
	if err != nil {
		return nil, err
	}
	return l.entriesIn(ctx, keys.writes(), owners...)
}

func (l *lookups) entriesIn(ctx context.Context, epochs []vault.Epoch, owners ...owned) ([]entry, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, o := range owners {
		seen := make(map[string]bool, len(epochs)*len(o.keys))
		for _, k := range forms(o.keys) {
			for _, e := range epochs {
				id, err := l.prefix(ctx, k, e)
				if err != nil {
					return nil, fmt.Errorf("look up %s: %w", k.Name, err)
				}
				if !k.Unique {
					id += "/" + o.owner
				}
				if seen[id] {
					continue
				}
				seen[id] = true
				about := k.About
				if about == "" {
					about = o.owner
				}
				entries = append(entries, entry{lookupDoc{id, of, o.owner, about, e}, k.Name, k.Unique})
			}
		}
	}
	return entries, nil
}

// add stores the lookups of new owners, unless somebody has a unique one of
// them: then it returns the name of that index.
func (l *lookups) add(ctx context.Context, owners ...owned) (taken lookup.Name, err error) {
	entries, err := l.entries(ctx, owners...)
	if err != nil {
		return "", err
	}
	if taken, err = l.taken(ctx, entries); taken != "" || err != nil {
		return taken, err
	}
	return "", l.insert(ctx, entries)
}

// taken returns the name of an index in which somebody else has one of the
// entries, "" if nobody has.
func (l *lookups) taken(ctx context.Context, entries []entry) (lookup.Name, error) {
	wanted, ids := map[string]entry{}, []string{}
	for _, e := range entries {
		if !e.unique {
			continue
		}
		if other, twice := wanted[e.ID]; twice && other.Owner != e.Owner {
			return e.name, nil
		}
		wanted[e.ID] = e
		ids = append(ids, e.ID)
	}
	if len(ids) == 0 {
		return "", nil
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return "", err
	}
	found, err := all[lookupDoc](ctx, l.coll, filter)
	if err != nil {
		return "", fmt.Errorf("find lookups: %w", err)
	}
	for _, f := range found {
		if e := wanted[f.ID]; e.Owner != f.Owner {
			return e.name, nil
		}
	}
	return "", nil
}

func (l *lookups) insert(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	docs := make([]lookupDoc, len(entries))
	for i, e := range entries {
		docs[i] = e.lookupDoc
	}
	if _, err := l.coll.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert lookups: %w", translate(err))
	}
	return nil
}

// replace makes keys the lookups of their owner, leaving alone those that stay,
// unless somebody else has a unique one: then it returns the name of that index.
func (l *lookups) replace(ctx context.Context, o owned) (taken lookup.Name, err error) {
	want, err := l.entries(ctx, o)
	if err != nil {
		return "", err
	}
	if taken, err = l.taken(ctx, want); taken != "" || err != nil {
		return taken, err
	}
	have, err := l.of(ctx, o.owner)
	if err != nil {
		return "", err
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
		filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: slices.Collect(maps.Keys(stale))}}})
		if err != nil {
			return "", err
		}
		if _, err := l.coll.DeleteMany(ctx, filter); err != nil {
			return "", fmt.Errorf("delete lookups: %w", translate(err))
		}
	}
	return "", l.insert(ctx, fresh)
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

// owners returns up to limit owners that a search finds, by id, after one of them.
func (l *lookups) owners(ctx context.Context, s lookup.Search, after string, limit int) ([]string, error) {
	var ids []string
	for {
		asked := limit - len(ids)
		docs, err := l.matches(ctx, s.Key, after, asked)
		if err != nil {
			return nil, err
		}
		var restricted map[string]bool
		if !s.Restricted {
			if restricted, err = l.restricted(ctx, docs); err != nil {
				return nil, err
			}
		}
		for _, d := range docs {
			if !restricted[d.Subject] {
				ids = append(ids, d.Owner)
			}
		}
		if len(docs) < asked || len(ids) == limit {
			return ids, nil
		}
		after = docs[len(docs)-1].Owner // others take the places of those left out
	}
}

// matches returns up to limit lookups in all forms of a key, one of each owner, by
// owner and after one.
func (l *lookups) matches(ctx context.Context, k lookup.Key, after string, limit int) ([]lookupDoc, error) {
	var found []lookupDoc
	for _, form := range k.Forms() {
		filter, err := l.filter(ctx, form, after)
		if err != nil {
			return nil, err
		}
		docs, err := all[lookupDoc](ctx, l.coll, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
		if err != nil {
			return nil, fmt.Errorf("find lookups: %w", err)
		}
		found = append(found, docs...)
	}
	if len(k.Before) == 0 {
		return found, nil
	}
	slices.SortFunc(found, func(a, b lookupDoc) int { return strings.Compare(a.Owner, b.Owner) })
	found = slices.CompactFunc(found, func(a, b lookupDoc) bool { return a.Owner == b.Owner })
	return found[:min(limit, len(found))], nil
}

// restricted returns which of the persons that lookups are about may not be
// found by them, GDPR Art. 18.
func (l *lookups) restricted(ctx context.Context, docs []lookupDoc) (map[string]bool, error) {
	if len(docs) == 0 {
		return nil, nil //nolint:nilnil // nobody is none of them
	}
	about := make([]string, len(docs))
	for i, d := range docs {
		about[i] = d.Subject
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: present(about)}}},
		bson.E{Key: "state", Value: subject.Restricted})
	if err != nil {
		return nil, err
	}
	found, err := all[subjectDoc](ctx, l.subjects, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find restricted subjects: %w", err)
	}
	restricted := make(map[string]bool, len(found))
	for _, d := range found {
		restricted[d.ID] = true
	}
	return restricted, nil
}

// ownersOf returns the owners of unique lookups in the order of keys, "" where
// there is none, with one query.
func (l *lookups) ownersOf(ctx context.Context, keys []lookup.Key) ([]string, error) {
	present, err := l.epochs(ctx)
	if err != nil {
		return nil, err
	}
	asked := forms(keys)
	ids := make([]string, len(asked))
	for i, k := range asked {
		if ids[i], err = l.prefix(ctx, k, present.Read); err != nil {
			return nil, fmt.Errorf("look up %s: %w", k.Name, err)
		}
	}
	owner, err := l.ownersByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	owners := make([]string, len(keys))
	for i, k := range keys {
		for range 1 + len(k.Before) {
			if owners[i] == "" {
				owners[i] = owner[ids[0]]
			}
			ids = ids[1:]
		}
	}
	return owners, nil
}

// ownersByID returns the owners of unique lookups by their ids.
func (l *lookups) ownersByID(ctx context.Context, ids []string) (map[string]string, error) {
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
	return found, nil
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

// count counts the owners that a search finds, up to limit.
func (l *lookups) count(ctx context.Context, s lookup.Search, limit int) (int, error) {
	if !s.Restricted || len(s.Before) > 0 {
		ids, err := l.owners(ctx, s, "", limit)
		return len(ids), err
	}
	filter, err := l.filter(ctx, s.Key, "")
	if err != nil {
		return 0, err
	}
	return count(ctx, l.coll, filter, limit)
}

func (l *lookups) filter(ctx context.Context, k lookup.Key, after string) (bson.D, error) {
	present, err := l.epochs(ctx)
	if err != nil {
		return nil, err
	}
	id, err := l.prefix(ctx, k, present.Read)
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
