package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/rotation"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var (
	_ rotation.Store  = (*RotationStore)(nil)
	_ rotation.Values = (*SealedValues)(nil)
)

// RotationStore keeps the rotations of data keys.
type RotationStore struct {
	coll  *mongo.Collection
	names *names
}

// NewRotationStore returns the store of rotations in d.
func NewRotationStore(d *DB) *RotationStore {
	return &RotationStore{d.db.Collection(rotationsColl), newNames(d)}
}

// nameRotation is the kind of names that keep a tenant's keys from being rotated twice at once.
const nameRotation = "keyRotation"

type rotationDoc struct {
	ID          string         `bson:"_id"`
	Tenant      tenant.ID      `bson:"tenant"` // the provider
	Of          tenant.ID      `bson:"of"`
	Subject     *string        `bson:"subject,omitempty"`
	State       rotation.State `bson:"state"`
	RequestedBy string         `bson:"requestedBy"`
	CreatedAt   time.Time      `bson:"createdAt"`
	NextAt      time.Time      `bson:"nextAt"`
	Keys        int            `bson:"keys"`
	Values      int            `bson:"values"`
	LeftValues  int            `bson:"leftValues"`
	LeftObjects int            `bson:"leftObjects"`
	Unreadable  int            `bson:"unreadable"`
	LookedAt    *time.Time     `bson:"lookedAt,omitempty"`
	CleanAt     *time.Time     `bson:"cleanAt,omitempty"`
	DestroyAt   *time.Time     `bson:"destroyAt,omitempty"`
	Destroyed   int            `bson:"destroyed"`
	EndedAt     *time.Time     `bson:"endedAt,omitempty"`
	Collection  string         `bson:"collection"`
	After       string         `bson:"after"`
	Version     int64          `bson:"version"`
}

func newRotationDoc(of tenant.ID, r *rotation.Rotation) rotationDoc {
	return rotationDoc{
		ID: r.ID, Tenant: of, Of: r.Tenant, Subject: r.Subject, State: r.State, RequestedBy: r.RequestedBy, CreatedAt: r.RequestedAt,
		NextAt: r.NextAt, Keys: r.Keys, Values: r.Values, LeftValues: r.LeftValues, LeftObjects: r.LeftObjects, Unreadable: r.Unreadable,
		LookedAt: r.LookedAt, CleanAt: r.CleanAt, DestroyAt: r.DestroyAt, Destroyed: r.Destroyed, EndedAt: r.EndedAt,
		Collection: r.At.Collection, After: r.At.After, Version: r.Version,
	}
}

func (d *rotationDoc) rotation() *rotation.Rotation {
	return &rotation.Rotation{
		ID: d.ID, Tenant: d.Of, Subject: d.Subject, State: d.State, RequestedBy: d.RequestedBy, RequestedAt: d.CreatedAt.UTC(),
		NextAt: d.NextAt, Keys: d.Keys, Values: d.Values, LeftValues: d.LeftValues, LeftObjects: d.LeftObjects, Unreadable: d.Unreadable,
		LookedAt: d.LookedAt, CleanAt: d.CleanAt, DestroyAt: d.DestroyAt, Destroyed: d.Destroyed, EndedAt: d.EndedAt,
		At: rotation.Cursor{Collection: d.Collection, After: d.After}, Version: d.Version,
	}
}

// Insert implements rotation.Store.
func (s *RotationStore) Insert(ctx context.Context, r *rotation.Rotation) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	taken, err := s.names.claim(ctx, nameRotation, string(r.Tenant), r.ID)
	if err != nil {
		return err
	}
	if taken {
		return rotation.ErrRunning
	}
	if _, err := s.coll.InsertOne(ctx, newRotationDoc(of, r)); err != nil {
		return fmt.Errorf("insert key rotation: %w", translate(err))
	}
	return nil
}

// Update implements rotation.Store.
func (s *RotationStore) Update(ctx context.Context, r *rotation.Rotation) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter := bson.D{{Key: "_id", Value: r.ID}, {Key: "tenant", Value: of}, {Key: "version", Value: r.Version - 1}}
	res, err := s.coll.ReplaceOne(ctx, filter, newRotationDoc(of, r))
	if err != nil {
		return fmt.Errorf("update key rotation: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	if r.State == rotation.Renewing || r.State == rotation.Resealing {
		return nil
	}
	return s.names.release(ctx, of, nameRotation, string(r.Tenant), r.ID)
}

// Find implements rotation.Store.
func (s *RotationStore) Find(ctx context.Context, rotationID string) (*rotation.Rotation, error) {
	doc, err := one[rotationDoc](ctx, s.coll, "key rotation", rotation.ErrNotFound, bson.E{Key: "_id", Value: rotationID})
	if err != nil {
		return nil, err
	}
	return doc.rotation(), nil
}

// List implements rotation.Store.
func (s *RotationStore) List(ctx context.Context, after *page.Position, limit int) ([]*rotation.Rotation, error) {
	docs, err := keyset[rotationDoc](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list key rotations: %w", err)
	}
	return rotations(docs), nil
}

func rotations(docs []rotationDoc) []*rotation.Rotation {
	list := make([]*rotation.Rotation, len(docs))
	for i := range docs {
		list[i] = docs[i].rotation()
	}
	return list
}

// Due implements rotation.Store.
func (s *RotationStore) Due(ctx context.Context, now time.Time, limit int) ([]*rotation.Rotation, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{rotation.Renewing, rotation.Resealing, rotation.Waiting}}}},
		bson.E{Key: "nextAt", Value: bson.D{{Key: "$lte", Value: now}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[rotationDoc](ctx, s.coll, filter, options.Find().SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find due key rotations: %w", err)
	}
	return rotations(docs), nil
}

// SealedValues walks through everything that the data database holds sealed. It
// looks into every collection there is and every field of every document: so a
// store that nobody told it of keeps a generation alive that it needs.
type SealedValues struct {
	db    *DB
	keys  *KeyStore
	vault *vault.Vault
}

// NewSealedValues returns what d holds sealed by keys of a key store.
func NewSealedValues(d *DB, keys *KeyStore, v *vault.Vault) *SealedValues {
	return &SealedValues{d, keys, v}
}

// sealedForm says how a collection's values are sealed, where it isn't as most are:
// for the collection, the document's id and the field's own name.
type sealedForm struct {
	ids    id.Type // the documents' ids are of this type: so those of a tenant lie together
	record func(root bson.D) (string, error)
	field  func(path []string, parent bson.D) string
}

func sealedForms() map[string]sealedForm {
	return map[string]sealedForm{
		subjectsColl: {ids: id.Subject},
		recordsColl: {ids: id.Record, field: func(path []string, parent bson.D) string {
			if path[0] == "fields" {
				return text(parent, "f")
			}
			return path[len(path)-1]
		}},
		auditColl:          {ids: id.Audit, field: func(_ []string, parent bson.D) string { return text(parent, "id") }},
		filesColl:          {ids: id.File},
		disclosuresColl:    {ids: id.Disclosure},
		consentsColl:       {ids: id.Consent},
		consentEventsColl:  {ids: id.ConsentNote},
		messagesColl:       {ids: id.Message},
		requestsColl:       {ids: id.Request},
		requestEventsColl:  {ids: id.RequestNote},
		sentLettersColl:    {ids: id.SentLetter},
		noticesToldColl:    {ids: id.Told},
		tasksColl:          {ids: id.Task},
		membersColl:        {ids: id.Member},
		challengesColl:     {ids: id.Challenge},
		jobsColl:           {ids: id.Job},
		exportsColl:        {ids: id.Export},
		deliveriesColl:     {ids: id.Delivery},
		securityEventsColl: {ids: id.SecurityEvent},
		securityNotesColl:  {ids: id.SecurityNote},
		registersColl:      {ids: id.Register},

		agreementVersionsColl: {ids: id.AgreementVersion},
		instructionsColl:      {ids: id.Instruction},
		partiesColl:           {ids: id.Party, field: func(path []string, _ bson.D) string { return strings.Join(path, ".") }},
		tenantsColl:           {field: func(path []string, _ bson.D) string { return strings.Join(path, ".") }},
		signingKeysColl: {record: func(root bson.D) (string, error) {
			var d signingKeyDoc
			err := decode(root, &d)
			k := sign.Key{Name: d.Name, Public: d.Public}
			return k.ID(), err
		}},
	}
}

// unsealedColl reports a large collection whose documents have no place for
// anything sealed.
func unsealedColl(name string) bool {
	return name == lookupsColl || name == tilesColl || name == headsAtColl || strings.HasPrefix(name, "system.")
}

func text(d bson.D, name string) string {
	for _, e := range d {
		if s, ok := e.Value.(string); ok && e.Key == name {
			return s
		}
	}
	return ""
}

func decode(d bson.D, into any) error {
	b, err := bson.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode document: %w", err)
	}
	if err := bson.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode document: %w", err)
	}
	return nil
}

// eachBinary calls fn for each binary in v, which it may change in place. The path
// has the names of fields, not the places in lists; parent is the document around it.
func eachBinary(path []string, parent bson.D, v any, fn func(path []string, parent bson.D, b *bson.Binary) error) (any, error) {
	switch v := v.(type) {
	case bson.D:
		for i := range v {
			next, err := eachBinary(append(slices.Clip(path), v[i].Key), v, v[i].Value, fn)
			if err != nil {
				return nil, err
			}
			v[i].Value = next
		}
	case bson.A:
		for i := range v {
			next, err := eachBinary(path, parent, v[i], fn)
			if err != nil {
				return nil, err
			}
			v[i] = next
		}
	case bson.Binary:
		err := fn(path, parent, &v)
		return v, err
	}
	return v, nil
}

// sealedBy returns the id of the key that a binary names: as a sealed value, or as
// that of an object, which lies beside.
func sealedBy(path []string, b *bson.Binary) (k vault.KeyID, object, ok bool) {
	if path[len(path)-1] == "keyId" && len(b.Data) == len(k) {
		return vault.KeyID(b.Data), true, true
	}
	k, ok = vault.SealedBy(b.Data)
	return k, false, ok
}

// unnamed reports whether a binary is the digest of an object that doesn't name
// its key.
func unnamed(path []string, parent bson.D) bool {
	return slices.Equal(path, []string{"object", "sha256"}) &&
		!slices.ContainsFunc(parent, func(e bson.E) bool { return e.Key == "keyId" })
}

// Look implements rotation.Values.
func (s *SealedValues) Look(ctx context.Context, at rotation.Cursor, which rotation.Which, limit int) (*rotation.Found, error) {
	names, err := s.collections(ctx)
	if err != nil {
		return nil, err
	}
	i, there := slices.BinarySearch(names, at.Collection)
	if !there {
		at.After = "" // it is gone, or this is the start
	}
	if i == len(names) {
		return &rotation.Found{End: true}, nil
	}
	f := &rotation.Found{Collection: names[i]}
	docs, err := s.page(ctx, f.Collection, at.After, limit)
	if err != nil {
		return nil, err
	}
	f.Looked = len(docs)
	if f.Looked == limit {
		f.Next = rotation.Cursor{Collection: f.Collection, After: text(docs[limit-1], "_id")}
	} else if f.End = i == len(names)-1; !f.End {
		f.Next = rotation.Cursor{Collection: names[i+1]}
	}
	retired, err := s.retired(ctx, docs, which)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		stale := false
		_, err := eachBinary(nil, doc, doc, func(path []string, parent bson.D, b *bson.Binary) error {
			if f.Collection == filesColl && unnamed(path, parent) {
				f.Objects++ // of before objects named their keys: it may be under any generation
				return nil
			}
			k, object, ok := sealedBy(path, b)
			if _, old := retired[k]; !ok || !old {
				return nil
			}
			if object {
				f.Objects++
				return nil
			}
			f.Values++
			stale = true
			return nil
		})
		if err != nil {
			return nil, err
		}
		if stale {
			f.Stale = append(f.Stale, text(doc, "_id"))
		}
	}
	return f, nil
}

func (s *SealedValues) collections(ctx context.Context) ([]string, error) {
	names, err := s.db.db.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return nil, fmt.Errorf("list collections: %w", translate(err))
	}
	names = slices.DeleteFunc(names, unsealedColl)
	slices.Sort(names)
	return names, nil
}

// errSealedID reports a document that the walk can't find again. Ids are strings.
var errSealedID = errors.New("a document's id is no string")

// page returns documents of the tenant by id, after one.
func (s *SealedValues) page(ctx context.Context, collection, after string, limit int) ([]bson.D, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	of, _ := tenant.FromContext(ctx)
	bounds := bson.D{}
	if form, ok := sealedForms()[collection]; ok && form.ids != "" {
		prefix := id.Prefix(form.ids, of)
		after = max(after, prefix)
		bounds = append(bounds, bson.E{Key: "$lt", Value: prefix + "~"}) // which follows every character of an id
	}
	if after != "" {
		bounds = append(bounds, bson.E{Key: "$gt", Value: after})
	}
	if len(bounds) > 0 {
		filter = append(filter, bson.E{Key: "_id", Value: bounds})
	}
	docs, err := all[bson.D](ctx, s.db.db.Collection(collection), filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find documents of %s: %w", collection, err)
	}
	for _, d := range docs {
		if text(d, "_id") == "" {
			return nil, fmt.Errorf("find documents of %s: %w", collection, errSealedID)
		}
	}
	return docs, nil
}

// lookupKeyIDs is how many key ids are looked up at once.
const lookupKeyIDs = 1000

// retired returns whose keys those are, among the ids that documents name, that
// were retired.
func (s *SealedValues) retired(ctx context.Context, docs []bson.D, which rotation.Which) (map[vault.KeyID]vault.Owner, error) {
	named := map[vault.KeyID]bool{}
	for _, doc := range docs {
		_, err := eachBinary(nil, doc, doc, func(path []string, _ bson.D, b *bson.Binary) error {
			if k, _, ok := sealedBy(path, b); ok {
				named[k] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	ids := make([]vault.KeyID, 0, len(named))
	for k := range named {
		ids = append(ids, k)
	}
	retired := map[vault.KeyID]vault.Owner{}
	for part := range slices.Chunk(ids, lookupKeyIDs) {
		keys, err := s.keys.RetiredByKeyID(ctx, part)
		if err != nil {
			return nil, err
		}
		for i := range keys {
			for _, k := range which(&keys[i]) {
				retired[k] = keys[i].Owner
			}
		}
	}
	return retired, nil
}

// Reseal implements rotation.Values.
func (s *SealedValues) Reseal(ctx context.Context, collection string, ids []string, which rotation.Which) (*rotation.Resealed, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	coll := s.db.db.Collection(collection)
	docs, err := all[bson.D](ctx, coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find documents of %s: %w", collection, err)
	}
	retired, err := s.retired(ctx, docs, which)
	if err != nil {
		return nil, err
	}
	owners := make([]vault.Owner, 0, len(retired))
	for _, o := range retired {
		owners = append(owners, o)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	done := &rotation.Resealed{}
	for _, doc := range docs {
		n, err := resealDoc(doc, collection, keys, retired, done)
		if err != nil {
			return nil, fmt.Errorf("seal %s of %s anew: %w", text(doc, "_id"), collection, err)
		}
		if n == 0 {
			continue
		}
		done.Values += n
		if doc, err = s.noteContent(ctx, collection, doc, done); err != nil {
			return nil, err
		}
		one, err := scoped(ctx, bson.E{Key: "_id", Value: text(doc, "_id")})
		if err != nil {
			return nil, err
		}
		if _, err := coll.ReplaceOne(ctx, one, doc); err != nil {
			return nil, fmt.Errorf("seal %s of %s anew: %w", text(doc, "_id"), collection, translate(err))
		}
	}
	return done, nil
}

// resealDoc seals anew what a document holds under retired generations, in place,
// and returns how many values that were. What no key opens stays as it is.
func resealDoc(
	doc bson.D, collection string, keys *vault.Keys, retired map[vault.KeyID]vault.Owner, done *rotation.Resealed,
) (n int, err error) {
	form := sealedForms()[collection]
	record := text(doc, "_id")
	if form.record != nil {
		if record, err = form.record(doc); err != nil {
			return 0, err
		}
	}
	_, err = eachBinary(nil, doc, doc, func(path []string, parent bson.D, b *bson.Binary) error {
		k, object, ok := sealedBy(path, b)
		owner, old := retired[k]
		if !ok || object || !old {
			return nil
		}
		place := vault.Place{Collection: collection, Record: record, Field: path[len(path)-1]}
		if form.field != nil {
			place.Field = form.field(path, parent)
		}
		anew, err := keys.Reseal(owner, place, b.Data)
		if _, is := unreadable(err); is || errors.Is(err, vault.ErrOwner) {
			done.Unreadable++
			return nil
		}
		if err != nil {
			return err
		}
		b.Data = anew
		n++
		return nil
	})
	return n, err
}

// noteContent returns the document at its next version, where documents of the
// collection have one of which the audit log knows the content, and notes that.
func (s *SealedValues) noteContent(ctx context.Context, collection string, doc bson.D, done *rotation.Resealed) (bson.D, error) {
	var d interface {
		digest() ([]byte, error)
	}
	var version *int64
	switch collection {
	case subjectsColl:
		sub := &subjectDoc{}
		d, version = sub, &sub.Version
	case recordsColl:
		rec := &recordDoc{}
		d, version = rec, &rec.Version
	default:
		k := keptKind(collection)
		if k == nil || k.told { // of those nothing sealed is told
			return doc, nil
		}
		if k.counter == ownCounter {
			countUp(doc)
		}
		return doc, note(ctx, s.db.db.Collection(collection), text(doc, "_id"))
	}
	countUp(doc)
	if err := decode(doc, d); err != nil {
		return nil, err
	}
	sum, err := d.digest()
	if err != nil {
		return nil, err
	}
	done.Contents = append(done.Contents, audit.Content{Object: text(doc, "_id"), Version: *version, Digest: sum})
	return doc, nil
}

func countUp(doc bson.D) {
	for i := range doc {
		if n, ok := doc[i].Value.(int64); ok && doc[i].Key == ownCounter {
			doc[i].Value = n + 1
		}
	}
}
