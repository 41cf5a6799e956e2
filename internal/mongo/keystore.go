package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ vault.KeyStore = (*KeyStore)(nil)

// KeyStore keeps wrapped keys in a database of its own, with its own
// credentials. It takes no part in transactions of the data, so that a backup
// of the data never holds a key.
type KeyStore struct {
	db *DB

	masters, tenantKeys, indexKeys, dataKeys *mongo.Collection
}

// NewKeyStore returns the key store in d, which must not be the data's database.
func NewKeyStore(d *DB) *KeyStore {
	return &KeyStore{
		db:         d,
		masters:    d.db.Collection("masters"),
		tenantKeys: d.db.Collection("tenantKeys"),
		indexKeys:  d.db.Collection("indexKeys"),
		dataKeys:   d.db.Collection("dataKeys"),
	}
}

type masterDoc struct {
	ID        int32             `bson:"_id"` // the epoch
	KeyRef    string            `bson:"keyRef"`
	State     vault.MasterState `bson:"state"`
	CreatedAt time.Time         `bson:"createdAt"`

	ClosedAt    time.Time `bson:"closedAt"`
	DisabledAt  time.Time `bson:"disabledAt"`
	DestroyedAt time.Time `bson:"destroyedAt"`
}

func (m masterDoc) master() vault.Master {
	return vault.Master{
		Epoch: vault.Epoch(m.ID), KeyRef: m.KeyRef, State: m.State, CreatedAt: m.CreatedAt,
		ClosedAt: m.ClosedAt, DisabledAt: m.DisabledAt, DestroyedAt: m.DestroyedAt,
	}
}

func newMasterDoc(m vault.Master) masterDoc {
	return masterDoc{int32(m.Epoch), m.KeyRef, m.State, m.CreatedAt, m.ClosedAt, m.DisabledAt, m.DestroyedAt}
}

type epochKeyDoc struct {
	ID        string    `bson:"_id"` // tenant/epoch
	Tenant    tenant.ID `bson:"tenant"`
	Epoch     int32     `bson:"epoch"`
	WrappedIn int32     `bson:"wrappedIn"`
	Wrapped   []byte    `bson:"wrapped,omitempty"`
	CreatedAt time.Time `bson:"createdAt"`
}

type dataKeyDoc struct {
	ID          string          `bson:"_id"` // vault.Owner.ID
	Tenant      tenant.ID       `bson:"tenant"`
	Subject     string          `bson:"subject"`
	Unit        vault.Unit      `bson:"unit"`
	Current     int32           `bson:"current"`
	Generations []generationDoc `bson:"generations"`
	Epochs      []int32         `bson:"epochs"` // of the living generations, for the index
	CreatedAt   time.Time       `bson:"createdAt"`
	DestroyedAt *time.Time      `bson:"destroyedAt,omitempty"`
}

type generationDoc struct {
	Number  int32  `bson:"number"`
	KeyID   []byte `bson:"keyId"`
	Epoch   int32  `bson:"epoch"`
	Wrapped []byte `bson:"wrapped,omitempty"`

	CreatedAt   time.Time `bson:"createdAt,omitempty"`
	Quarantined []byte    `bson:"quarantined,omitempty"`
}

func epochID(t tenant.ID, e vault.Epoch) string { return fmt.Sprintf("%s/%d", t, e) }

// Masters implements vault.KeyStore.
func (s *KeyStore) Masters(ctx context.Context) ([]vault.Master, error) {
	// The few masters there are, by their ids, which an index serves.
	docs, err := all[masterDoc](outside(ctx), s.masters, bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: 0}}}})
	if err != nil {
		return nil, fmt.Errorf("find masters: %w", err)
	}
	masters := make([]vault.Master, len(docs))
	for i, m := range docs {
		masters[i] = m.master()
	}
	return masters, nil
}

// InsertMaster implements vault.KeyStore.
func (s *KeyStore) InsertMaster(ctx context.Context, m vault.Master) (vault.Master, error) {
	doc, err := insertIfAbsent(ctx, s.masters, int32(m.Epoch), newMasterDoc(m))
	if err != nil {
		return vault.Master{}, fmt.Errorf("insert master: %w", err)
	}
	return doc.master(), nil
}

// FindTenantKey implements vault.KeyStore.
func (s *KeyStore) FindTenantKey(ctx context.Context, t tenant.ID, e vault.Epoch) (vault.TenantKey, bool, error) {
	doc, found, err := findKey[epochKeyDoc](ctx, s.tenantKeys, epochID(t, e))
	return tenantKey(doc), found, err
}

// InsertTenantKey implements vault.KeyStore.
func (s *KeyStore) InsertTenantKey(ctx context.Context, k vault.TenantKey) (vault.TenantKey, error) {
	id := epochID(k.Tenant, k.Epoch)
	doc, err := s.insertInEpoch(ctx, s.tenantKeys, k.Epoch,
		epochKeyDoc{id, k.Tenant, int32(k.Epoch), int32(k.Epoch), k.Wrapped, k.CreatedAt})
	if err != nil {
		return vault.TenantKey{}, fmt.Errorf("insert tenant key: %w", err)
	}
	return tenantKey(doc), nil
}

func tenantKey(d epochKeyDoc) vault.TenantKey {
	return vault.TenantKey{Tenant: d.Tenant, Epoch: vault.Epoch(d.Epoch), Wrapped: d.Wrapped, CreatedAt: d.CreatedAt}
}

// FindIndexKey implements vault.KeyStore.
func (s *KeyStore) FindIndexKey(ctx context.Context, t tenant.ID, e vault.Epoch) (vault.IndexKey, bool, error) {
	doc, found, err := findKey[epochKeyDoc](ctx, s.indexKeys, epochID(t, e))
	return indexKey(doc), found, err
}

// InsertIndexKey implements vault.KeyStore.
func (s *KeyStore) InsertIndexKey(ctx context.Context, k vault.IndexKey) (vault.IndexKey, error) {
	id := epochID(k.Tenant, k.Epoch)
	doc, err := s.insertInEpoch(ctx, s.indexKeys, k.WrappedIn,
		epochKeyDoc{id, k.Tenant, int32(k.Epoch), int32(k.WrappedIn), k.Wrapped, k.CreatedAt})
	if err != nil {
		return vault.IndexKey{}, fmt.Errorf("insert index key: %w", err)
	}
	return indexKey(doc), nil
}

func indexKey(d epochKeyDoc) vault.IndexKey {
	return vault.IndexKey{
		Tenant: d.Tenant, Epoch: vault.Epoch(d.Epoch), WrappedIn: vault.Epoch(d.WrappedIn),
		Wrapped: d.Wrapped, CreatedAt: d.CreatedAt,
	}
}

// FindDataKeys implements vault.KeyStore.
func (s *KeyStore) FindDataKeys(ctx context.Context, owners []vault.Owner) ([]vault.DataKey, error) {
	ids := make([]string, len(owners))
	for i, o := range owners {
		ids[i] = o.ID()
	}
	return s.dataKeysByID(ctx, ids)
}

func (s *KeyStore) dataKeysByID(ctx context.Context, ids []string) ([]vault.DataKey, error) {
	docs, err := all[dataKeyDoc](outside(ctx), s.dataKeys, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if err != nil {
		return nil, fmt.Errorf("find data keys: %w", err)
	}
	return dataKeys(docs)
}

func dataKeys(docs []dataKeyDoc) ([]vault.DataKey, error) {
	keys := make([]vault.DataKey, len(docs))
	for i, d := range docs {
		keys[i] = vault.DataKey{
			Owner:   vault.Owner{Tenant: d.Tenant, Subject: d.Subject, Unit: d.Unit},
			Current: d.Current, CreatedAt: d.CreatedAt,
		}
		if d.DestroyedAt != nil {
			keys[i].DestroyedAt = *d.DestroyedAt
		}
		for _, g := range d.Generations {
			if len(g.KeyID) != len(vault.KeyID{}) {
				return nil, fmt.Errorf("data key %s: %w", d.ID, vault.ErrAuth)
			}
			keys[i].Generations = append(keys[i].Generations, vault.Generation{
				Number: g.Number, KeyID: vault.KeyID(g.KeyID), Epoch: vault.Epoch(g.Epoch), Wrapped: g.Wrapped, CreatedAt: g.CreatedAt,
				Quarantined: g.Quarantined,
			})
		}
	}
	return keys, nil
}

func newDataKeyDoc(k *vault.DataKey) dataKeyDoc {
	doc := dataKeyDoc{
		ID: k.Owner.ID(), Tenant: k.Owner.Tenant, Subject: k.Owner.Subject, Unit: k.Owner.Unit,
		Current: k.Current, CreatedAt: k.CreatedAt, Epochs: []int32{},
	}
	for _, g := range k.Generations {
		doc.Generations = append(doc.Generations, generationDoc{g.Number, g.KeyID[:], int32(g.Epoch), g.Wrapped, g.CreatedAt, g.Quarantined})
		if len(g.Wrapped) > 0 && !slices.Contains(doc.Epochs, int32(g.Epoch)) {
			doc.Epochs = append(doc.Epochs, int32(g.Epoch))
		}
	}
	return doc
}

// InsertDataKeys implements vault.KeyStore.
func (s *KeyStore) InsertDataKeys(ctx context.Context, keys []vault.DataKey) ([]vault.DataKey, error) {
	docs, ids, epochs := make([]dataKeyDoc, len(keys)), make([]string, len(keys)), []vault.Epoch{}
	for i := range keys {
		docs[i] = newDataKeyDoc(&keys[i])
		ids[i] = docs[i].ID
		for _, g := range keys[i].Generations {
			epochs = append(epochs, g.Epoch)
		}
	}
	missing := docs
	for {
		err := s.inEpochs(ctx, epochs, func(ctx context.Context) error {
			_, err := s.dataKeys.InsertMany(ctx, missing)
			return err
		})
		switch {
		case err == nil && len(missing) == len(docs):
			return keys, nil
		case err != nil && !mongo.IsDuplicateKeyError(err):
			return nil, fmt.Errorf("insert data keys: %w", translate(err))
		}
		stored, ferr := s.dataKeysByID(ctx, ids)
		if ferr != nil || err == nil || len(stored) == len(ids) {
			return stored, ferr
		}
		// Somebody else made some of them: the rest again.
		there := make(map[string]bool, len(stored))
		for i := range stored {
			there[stored[i].Owner.ID()] = true
		}
		missing = slices.DeleteFunc(slices.Clone(docs), func(d dataKeyDoc) bool { return there[d.ID] })
	}
}

// inEpochs runs fn in a transaction of the key store that reads the epochs as
// open, or fails with vault.ErrEpochClosed.
func (s *KeyStore) inEpochs(ctx context.Context, epochs []vault.Epoch, fn func(ctx context.Context) error) error {
	epochs = slices.Compact(slices.Sorted(slices.Values(epochs)))
	open := bson.D{
		{Key: "_id", Value: bson.D{{Key: "$in", Value: epochs}}}, {Key: "state", Value: vault.MasterOpen},
	}
	return s.db.InTransaction(outside(ctx), func(ctx context.Context) error {
		found, err := all[masterDoc](ctx, s.masters, open)
		if err != nil {
			return fmt.Errorf("find masters: %w", err)
		}
		if len(found) != len(epochs) {
			return vault.ErrEpochClosed
		}
		return fn(ctx)
	})
}

// insertInEpoch inserts doc unless its id is taken, in a transaction that reads
// the epoch as open, and returns what is stored.
func (s *KeyStore) insertInEpoch(ctx context.Context, c *mongo.Collection, e vault.Epoch, doc epochKeyDoc) (epochKeyDoc, error) {
	err := s.inEpochs(ctx, []vault.Epoch{e}, func(ctx context.Context) error {
		_, err := c.InsertOne(ctx, doc)
		return err
	})
	if !mongo.IsDuplicateKeyError(err) {
		return doc, err
	}
	stored, found, err := findKey[epochKeyDoc](ctx, c, doc.ID)
	if err == nil && !found {
		err = mongo.ErrNoDocuments
	}
	return stored, err
}

// DestroyDataKey implements vault.KeyStore.
func (s *KeyStore) DestroyDataKey(ctx context.Context, o vault.Owner, at time.Time) error {
	tombstone := dataKeyDoc{
		ID: o.ID(), Tenant: o.Tenant, Subject: o.Subject, Unit: o.Unit, Epochs: []int32{}, CreatedAt: at, DestroyedAt: &at,
	}
	doc, err := insertIfAbsent(ctx, s.dataKeys, tombstone.ID, tombstone)
	if err != nil {
		return fmt.Errorf("destroy data key: %w", err)
	}
	for doc.DestroyedAt == nil {
		alive := bson.D{{Key: "_id", Value: doc.ID}, {Key: "generations", Value: doc.Generations}}
		unset := slices.Clone(doc.Generations)
		for i := range unset {
			unset[i].Wrapped, unset[i].Quarantined = nil, nil
		}
		res, err := s.dataKeys.UpdateOne(outside(ctx), alive, bson.D{{Key: "$set", Value: bson.D{
			{Key: "generations", Value: unset}, {Key: "epochs", Value: bson.A{}}, {Key: "destroyedAt", Value: at},
		}}})
		if err != nil {
			return fmt.Errorf("destroy data key: %w", translate(err))
		}
		if res.MatchedCount == 1 {
			return nil
		}
		// A new generation came in between.
		if doc, _, err = findKey[dataKeyDoc](ctx, s.dataKeys, tombstone.ID); err != nil {
			return err
		}
	}
	return nil
}

func findKey[T any](ctx context.Context, c *mongo.Collection, id any) (doc T, found bool, err error) {
	err = c.FindOne(outside(ctx), bson.D{{Key: "_id", Value: id}}).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return doc, false, nil
	}
	if err != nil {
		return doc, false, fmt.Errorf("find key: %w", translate(err))
	}
	return doc, true, nil
}

// insertIfAbsent inserts doc unless its id is taken, and returns what is stored.
func insertIfAbsent[T any](ctx context.Context, c *mongo.Collection, id any, doc T) (T, error) {
	_, err := c.InsertOne(outside(ctx), doc)
	if err == nil {
		return doc, nil
	}
	var none T
	if !mongo.IsDuplicateKeyError(err) {
		return none, translate(err)
	}
	stored, found, err := findKey[T](ctx, c, id)
	if err == nil && !found {
		err = mongo.ErrNoDocuments
	}
	return stored, err
}
