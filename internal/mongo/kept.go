package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// kept is a kind of documents of which the audit log tells every content. A store
// names what it writes to note, within the change that writes it; what the documents
// are in the end is then told by the change's entry, and compared by Values.
type kept struct {
	coll string
	ids  id.Type // of the documents; "" of those that are named by what they are about
	// counter is the field that counts a document's changes, from 1 without a gap. One
	// of the store's own is written by the store; the other is counted up by note.
	counter string
	// aside are fields that say nothing, or what other fields say, or that are sealed on
	// their own and never change: what writes them needs no entry.
	aside []string
	told  bool // the store itself tells what it writes, by steps; only what it deletes is noted
}

// The fields that count changes.
const (
	ownCounter  = "version"
	keptCounter = "kept"
)

// keptKinds has every kind but persons and records, whose services tell themselves
// what they write.
func keptKinds() []kept {
	return []kept{
		{coll: filesColl, ids: id.File, counter: keptCounter},
		{coll: disclosuresColl, ids: id.Disclosure, counter: keptCounter},
		{coll: requestsColl, ids: id.Request, counter: keptCounter, aside: []string{"guard"}},
		{coll: requestEventsColl, ids: id.RequestNote, counter: keptCounter},
		{coll: sentLettersColl, ids: id.SentLetter, counter: keptCounter},
		{coll: holdsColl, ids: id.Hold, counter: keptCounter},
		{coll: noticesToldColl, ids: id.Told, counter: keptCounter},
		{coll: tasksColl, ids: id.Task, counter: keptCounter},
		{coll: stopsColl, counter: keptCounter},
		{coll: consentsColl, ids: id.Consent, counter: ownCounter, aside: []string{"language", "slot"}, told: true},
		{coll: consentEventsColl, ids: id.ConsentNote, counter: keptCounter}, // of a new one the service tells
		{coll: standingsColl, counter: "seq", aside: []string{"conflictAt", "expiresAt", "askDue", "inForce", "erased"}, told: true},
		{coll: partiesColl, ids: id.Party, counter: ownCounter},
	}
}

// keptKind returns the kind of a collection's documents; nil if it has none.
func keptKind(coll string) *kept {
	for _, k := range keptKinds() {
		if k.coll == coll {
			return &k
		}
	}
	return nil
}

// prefix is what the ids of the tenant's documents begin with.
func (k *kept) prefix(of tenant.ID) string {
	if k.ids == "" {
		return string(of) + "/"
	}
	return id.Prefix(k.ids, of)
}

// object is the name of a document in the audit log.
func (k *kept) object(docID string) string {
	if k.ids == "" {
		return k.coll + "/" + docID
	}
	return docID
}

// docID is the _id of an object.
func (k *kept) docID(object string) string {
	if k.ids == "" {
		return strings.TrimPrefix(object, k.coll+"/")
	}
	return object
}

// content returns what is stored of a document: all of it but for what counts.
func (k *kept) content(doc bson.D) (audit.Content, error) {
	c := audit.Content{Object: k.object(text(doc, "_id"))}
	rest := make(bson.D, 0, len(doc))
	for _, e := range doc {
		switch n, ok := e.Value.(int64); {
		case ok && e.Key == k.counter:
			c.Version = n
		case !slices.Contains(k.aside, e.Key):
			rest = append(rest, e)
		}
	}
	var err error
	c.Digest, err = digest(sorted(rest))
	return c, err
}

// made returns the content of a document that is about to be written.
func (k *kept) made(doc any) (audit.Content, error) {
	b, err := bson.Marshal(doc)
	if err != nil {
		return audit.Content{}, fmt.Errorf("encode content: %w", err)
	}
	var d bson.D
	if err := bson.Unmarshal(b, &d); err != nil {
		return audit.Content{}, fmt.Errorf("decode content: %w", err)
	}
	return k.content(d)
}

// steps returns a content with the counts that were left out before it, n in all:
// so that none is missing.
func steps(c audit.Content, n int64) []audit.Content {
	var all []audit.Content
	for at := c.Version - n + 1; at < c.Version; at++ {
		all = append(all, audit.Content{Object: c.Object, Version: at})
	}
	if n > 0 {
		all = append(all, c)
	}
	return all
}

// sorted returns a value with the fields of its documents by name: their order says
// nothing, and depends on what was written before.
func sorted(v any) any {
	switch v := v.(type) {
	case bson.D:
		d := make(bson.D, len(v))
		for i, e := range v {
			d[i] = bson.E{Key: e.Key, Value: sorted(e.Value)}
		}
		slices.SortStableFunc(d, func(a, b bson.E) int { return strings.Compare(a.Key, b.Key) })
		return d
	case bson.A:
		a := make(bson.A, len(v))
		for i := range v {
			a[i] = sorted(v[i])
		}
		return a
	}
	return v
}

// notes are the documents that a transaction has written, by tenant and collection,
// and what is told of others.
type notes struct {
	docs map[noteKey]map[string]bool
	told []audit.Content
}

type noteKey struct {
	coll string
	of   tenant.ID
}

type notesKey struct{}

var (
	errNoChange = errors.New("written outside of a change: the audit log couldn't tell of it")
	errUntold   = errors.New("a change without an entry wrote what the audit log tells of")
)

// note has the entry of the change that ctx carries tell what documents are in the
// end. It is called by whoever writes a document of a kept kind, or deletes it.
func note(ctx context.Context, coll *mongo.Collection, ids ...string) error {
	n, ok := ctx.Value(notesKey{}).(*notes)
	if !ok {
		return fmt.Errorf("%s: %w", coll.Name(), errNoChange)
	}
	of, err := tenant.FromContext(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	key := noteKey{coll.Name(), of}
	if n.docs[key] == nil {
		n.docs[key] = map[string]bool{}
	}
	for _, docID := range ids {
		n.docs[key][docID] = true
	}
	return nil
}

// tell has the entry of the change that ctx carries tell contents.
func tell(ctx context.Context, contents ...audit.Content) error {
	n, ok := ctx.Value(notesKey{}).(*notes)
	if !ok {
		return errNoChange
	}
	n.told = append(n.told, contents...)
	return nil
}

// idDoc is a document of which nothing else is read.
type idDoc struct {
	ID string `bson:"_id"`
}

// noted returns what the transaction that ctx carries has made of the documents
// that it wrote, and forgets which they are.
func (d *DB) noted(ctx context.Context) (made []audit.Content, err error) {
	n, ok := ctx.Value(notesKey{}).(*notes)
	if !ok || len(n.docs)+len(n.told) == 0 {
		return nil, nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	made = n.told
	for _, key := range slices.SortedFunc(maps.Keys(n.docs), func(a, b noteKey) int { return strings.Compare(a.coll, b.coll) }) {
		k := keptKind(key.coll)
		if k == nil || key.of != of {
			return nil, fmt.Errorf("note documents of %s: not of a kept kind, or of another tenant than the change", key.coll)
		}
		contents, err := d.contents(ctx, k, slices.Sorted(maps.Keys(n.docs[key])))
		if err != nil {
			return nil, fmt.Errorf("note documents of %s: %w", key.coll, err)
		}
		made = append(made, contents...)
	}
	*n = notes{docs: map[noteKey]map[string]bool{}}
	return made, nil
}

// contents returns what documents of a kind are now.
func (d *DB) contents(ctx context.Context, k *kept, ids []string) ([]audit.Content, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	coll := d.db.Collection(k.coll)
	if k.counter == keptCounter {
		if _, err := coll.UpdateMany(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: keptCounter, Value: int64(1)}}}}); err != nil {
			return nil, translate(err)
		}
	}
	docs, err := all[bson.D](ctx, coll, filter)
	if err != nil {
		return nil, err
	}
	made, there := make([]audit.Content, 0, len(ids)), make(map[string]bool, len(docs))
	for _, doc := range docs {
		c, err := k.content(doc)
		if err != nil {
			return nil, err
		}
		made, there[text(doc, "_id")] = append(made, c), true
	}
	for _, docID := range ids {
		if !there[docID] {
			made = append(made, audit.Content{Object: k.object(docID)}) // gone
		}
	}
	return made, nil
}

// keptValues implements seal.Values for a kept kind.
type keptValues struct {
	kept

	coll *mongo.Collection
}

// Prefix implements seal.Values.
func (v *keptValues) Prefix(of tenant.ID) string { return v.object(v.prefix(of)) }

// Behind implements seal.Values.
func (v *keptValues) Behind(ctx context.Context, after string, limit int) ([]seal.Kept, error) {
	docs, err := behindID[bson.D](ctx, v.coll, v.prefix, v.docID(after), limit)
	if err != nil {
		return nil, err
	}
	values := make([]seal.Kept, len(docs))
	for i, doc := range docs {
		if values[i].Content, err = v.content(doc); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Missing implements seal.Values.
func (v *keptValues) Missing(ctx context.Context, objects []string) ([]string, error) {
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = v.docID(o)
	}
	gone, err := missing(ctx, v.coll, ids)
	for i := range gone {
		gone[i] = v.object(gone[i])
	}
	return gone, err
}
