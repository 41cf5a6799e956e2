package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ vault.EpochStore = (*KeyStore)(nil)

// EnsureIndexes makes the indexes of the key store that aren't there yet.
func (s *KeyStore) EnsureIndexes(ctx context.Context) error {
	_, err := s.dataKeys.Indexes().CreateMany(ctx, []mongo.IndexModel{
		index{"epochs", "_id"}.model(), index{"generations.keyId"}.model(), index{"current"}.model(),
	})
	if err != nil {
		return fmt.Errorf("create indexes of data keys: %w", translate(err))
	}
	return nil
}

// MoveMaster implements vault.EpochStore.
func (s *KeyStore) MoveMaster(ctx context.Context, from vault.MasterState, m vault.Master) (bool, error) {
	res, err := s.masters.ReplaceOne(outside(ctx),
		bson.D{{Key: "_id", Value: int32(m.Epoch)}, {Key: "state", Value: from}}, newMasterDoc(m))
	if err != nil {
		return false, fmt.Errorf("move master: %w", translate(err))
	}
	return res.MatchedCount == 1, nil
}

// DataKeys implements vault.EpochStore.
func (s *KeyStore) DataKeys(ctx context.Context, after string, limit int) ([]vault.DataKey, error) {
	return s.dataKeyPage(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}, limit)
}

// DataKeysIn implements vault.EpochStore.
func (s *KeyStore) DataKeysIn(ctx context.Context, e vault.Epoch, after string, limit int) ([]vault.DataKey, error) {
	return s.dataKeyPage(ctx, bson.D{
		{Key: "epochs", Value: int32(e)}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
	}, limit)
}

func (s *KeyStore) dataKeyPage(ctx context.Context, filter bson.D, limit int) ([]vault.DataKey, error) {
	docs, err := all[dataKeyDoc](outside(ctx), s.dataKeys, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find data keys: %w", err)
	}
	return dataKeys(docs)
}

// ReplaceDataKeys implements vault.EpochStore.
func (s *KeyStore) ReplaceDataKeys(ctx context.Context, to vault.Epoch, from, moved []vault.DataKey) error {
	writes := make([]mongo.WriteModel, len(moved))
	for i := range moved {
		was, is := newDataKeyDoc(&from[i]), newDataKeyDoc(&moved[i])
		writes[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: is.ID}, {Key: "generations", Value: was.Generations}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{
				{Key: "current", Value: is.Current},
				{Key: "generations", Value: is.Generations},
				{Key: "epochs", Value: is.Epochs},
			}}})
	}
	return s.replace(ctx, s.dataKeys, to, writes)
}

// IndexKeys implements vault.EpochStore.
func (s *KeyStore) IndexKeys(ctx context.Context, after string, limit int) ([]vault.IndexKey, error) {
	docs, err := all[epochKeyDoc](outside(ctx), s.indexKeys, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find index keys: %w", err)
	}
	keys := make([]vault.IndexKey, len(docs))
	for i, d := range docs {
		keys[i] = indexKey(d)
	}
	return keys, nil
}

// ReplaceIndexKeys implements vault.EpochStore.
func (s *KeyStore) ReplaceIndexKeys(ctx context.Context, to vault.Epoch, from, moved []vault.IndexKey) error {
	writes := make([]mongo.WriteModel, len(moved))
	for i := range moved {
		writes[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: moved[i].ID()}, {Key: "wrapped", Value: from[i].Wrapped}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{
				{Key: "wrappedIn", Value: int32(moved[i].WrappedIn)}, {Key: "wrapped", Value: moved[i].Wrapped},
			}}})
	}
	return s.replace(ctx, s.indexKeys, to, writes)
}

// replace carries out the writes in a transaction that reads the epoch as open.
func (s *KeyStore) replace(ctx context.Context, c *mongo.Collection, to vault.Epoch, writes []mongo.WriteModel) error {
	err := s.inEpochs(ctx, []vault.Epoch{to}, func(ctx context.Context) error {
		_, err := c.BulkWrite(ctx, writes)
		return err
	})
	if err != nil {
		return fmt.Errorf("replace wrapped keys: %w", translate(err))
	}
	return nil
}

// DestroyIndexKey implements vault.EpochStore.
func (s *KeyStore) DestroyIndexKey(ctx context.Context, t tenant.ID, e vault.Epoch) error {
	_, err := s.indexKeys.UpdateOne(outside(ctx), bson.D{{Key: "_id", Value: epochID(t, e)}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "wrapped", Value: ""}}}})
	if err != nil {
		return fmt.Errorf("destroy index key: %w", translate(err))
	}
	return nil
}

// DeleteTenantKeys implements vault.EpochStore.
func (s *KeyStore) DeleteTenantKeys(ctx context.Context, e vault.Epoch) error {
	m, found, err := findKey[masterDoc](ctx, s.masters, int32(e))
	if err != nil {
		return err
	}
	if !found || m.State != vault.MasterDestroyed {
		return fmt.Errorf("delete tenant keys of epoch %d: its master isn't destroyed", e)
	}
	for after := ""; ; {
		docs, err := all[epochKeyDoc](outside(ctx), s.tenantKeys, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(copyBatch).SetProjection(bson.D{{Key: "epoch", Value: 1}}))
		if err != nil {
			return fmt.Errorf("find tenant keys: %w", err)
		}
		ids := bson.A{}
		for _, d := range docs {
			if d.Epoch == int32(e) {
				ids = append(ids, d.ID)
			}
			after = d.ID
		}
		if len(ids) > 0 {
			if _, err := s.tenantKeys.DeleteMany(outside(ctx), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}); err != nil {
				return fmt.Errorf("delete tenant keys: %w", translate(err))
			}
		}
		if len(docs) < copyBatch {
			return nil
		}
	}
}

// CountDataKeys counts the data keys with a living generation in an epoch, up to limit.
func (s *KeyStore) CountDataKeys(ctx context.Context, e vault.Epoch, limit int) (int, error) {
	return count(outside(ctx), s.dataKeys, bson.D{{Key: "epochs", Value: int32(e)}}, limit)
}

// RetiredByKeyID returns the key documents that have one of the key ids, in any
// order: only those with more generations than one.
func (s *KeyStore) RetiredByKeyID(ctx context.Context, ids []vault.KeyID) ([]vault.DataKey, error) {
	in := make(bson.A, len(ids))
	for i := range ids {
		in[i] = ids[i][:]
	}
	docs, err := all[dataKeyDoc](outside(ctx), s.dataKeys,
		bson.D{
			{Key: "generations.keyId", Value: bson.D{{Key: "$in", Value: in}}},
			{Key: "current", Value: bson.D{{Key: "$gt", Value: 1}}},
		})
	if err != nil {
		return nil, fmt.Errorf("find data keys by key id: %w", err)
	}
	return dataKeys(docs)
}

// CountGenerations counts, each up to limit, the data keys whose current generation
// is the first, the second and so on.
func (s *KeyStore) CountGenerations(ctx context.Context, limit int) ([]int, error) {
	newest, err := all[dataKeyDoc](outside(ctx), s.dataKeys, bson.D{{Key: "current", Value: bson.D{{Key: "$gte", Value: 1}}}},
		options.Find().SetSort(bson.D{{Key: "current", Value: -1}}).SetLimit(1).SetProjection(bson.D{{Key: "current", Value: 1}}))
	if err != nil || len(newest) == 0 {
		return nil, err
	}
	counts := make([]int, newest[0].Current)
	for i := range counts {
		if counts[i], err = count(outside(ctx), s.dataKeys, bson.D{{Key: "current", Value: i + 1}}, limit); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// copyBatch is how many documents are copied at once.
const copyBatch = 1000

// Copy restores a copy of the key store into a new database beside it, calls
// use with it and drops it again.
func (s *KeyStore) Copy(ctx context.Context, use func(vault.EpochStore) error) (err error) {
	d := &DB{client: s.db.client, db: s.db.client.Database(s.db.db.Name() + "_test_" + strings.ToLower(rand.Text()[:8]))}
	defer func() {
		if derr := d.db.Drop(context.WithoutCancel(ctx)); derr != nil {
			err = errors.Join(err, fmt.Errorf("drop the copy of the key store: %w", translate(derr)))
		}
	}()
	scratch := NewKeyStore(d)
	for _, pair := range [][2]*mongo.Collection{
		{s.masters, scratch.masters}, {s.tenantKeys, scratch.tenantKeys}, {s.indexKeys, scratch.indexKeys}, {s.dataKeys, scratch.dataKeys},
	} {
		if err := copyAll(outside(ctx), pair[0], pair[1]); err != nil {
			return fmt.Errorf("copy %s: %w", pair[0].Name(), translate(err))
		}
	}
	return use(scratch)
}

func copyAll(ctx context.Context, from, to *mongo.Collection) error {
	cursor, err := from.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(copyBatch))
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	var batch []any
	for more := true; more; {
		if more = cursor.Next(ctx); more {
			batch = append(batch, bson.Raw(append([]byte(nil), cursor.Current...)))
		}
		if len(batch) == copyBatch || !more && len(batch) > 0 {
			if _, err := to.InsertMany(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return cursor.Err()
}
