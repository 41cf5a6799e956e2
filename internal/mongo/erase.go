package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/vault"
)

var _ erase.Store = (*HoldingsStore)(nil)

// HoldingsStore counts what is kept on persons.
type HoldingsStore struct {
	records, files, exports, subjects *mongo.Collection
	vault                             *vault.Vault
}

// NewHoldingsStore returns the store in d.
func NewHoldingsStore(d *DB, v *vault.Vault) *HoldingsStore {
	return &HoldingsStore{
		d.db.Collection(recordsColl), d.db.Collection(filesColl), d.db.Collection(exportsColl), d.db.Collection(subjectsColl), v,
	}
}

// Count implements erase.Store. It goes over the index, and reads no value.
func (s *HoldingsStore) Count(ctx context.Context, subject string) (map[retention.Unit]erase.Counts, error) {
	counts := map[retention.Unit]erase.Counts{}
	err := visit(ctx, s.records, bson.E{Key: "subjects", Value: subject}, []string{"dataset", "subject"}, func(set, owner string) {
		c := counts[set]
		if owner == subject {
			c.Records++
		} else {
			c.Passages++
		}
		counts[set] = c
	})
	if err != nil {
		return nil, fmt.Errorf("count records: %w", err)
	}
	// Proofs are of no dataset.
	err = visit(ctx, s.files, bson.E{Key: "subject", Value: subject}, []string{"dataset"}, func(set, _ string) {
		if set != "" {
			c := counts[set]
			c.Files++
			counts[set] = c
		}
	})
	if err != nil {
		return nil, fmt.Errorf("count files: %w", err)
	}
	return counts, nil
}

// Units implements erase.Store. It reads one document of each unit.
func (s *HoldingsStore) Units(ctx context.Context, subject string) ([]retention.Unit, error) {
	var units []retention.Unit
	for _, held := range []struct {
		coll  *mongo.Collection
		field string
	}{{s.records, "subjects"}, {s.files, "subject"}} {
		for last := ""; ; {
			filter, err := scoped(ctx, bson.E{Key: held.field, Value: subject}, bson.E{Key: "dataset", Value: bson.D{{Key: "$gt", Value: last}}})
			if err != nil {
				return nil, err
			}
			next, err := all[struct {
				Dataset string `bson:"dataset"`
			}](ctx, held.coll, filter, options.Find().SetSort(bson.D{{Key: "dataset", Value: 1}}).SetLimit(1).SetProjection(bson.D{{Key: "dataset", Value: 1}}))
			if err != nil {
				return nil, fmt.Errorf("find the datasets of a person: %w", err)
			}
			if len(next) == 0 {
				break
			}
			last = next[0].Dataset
			units = append(units, last)
		}
	}
	slices.Sort(units)
	return slices.Compact(units), nil
}

// visit calls fn with the dataset, and the subject when it is asked for, of each of
// the tenant's documents that match.
func visit(ctx context.Context, coll *mongo.Collection, match bson.E, fields []string, fn func(set, subject string)) error {
	filter, err := scoped(ctx, match)
	if err != nil {
		return err
	}
	show := bson.D{{Key: "_id", Value: 0}}
	for _, f := range fields {
		show = append(show, bson.E{Key: f, Value: 1})
	}
	found, err := coll.Find(ctx, filter, options.Find().SetProjection(show))
	if err != nil {
		return translate(err)
	}
	defer func() { _ = found.Close(ctx) }() // what was read is read
	for found.Next(ctx) {
		var d struct {
			Dataset string `bson:"dataset"`
			Subject string `bson:"subject"`
		}
		if err := found.Decode(&d); err != nil {
			return fmt.Errorf("decode: %w", err)
		}
		fn(d.Dataset, d.Subject)
	}
	return translate(found.Err())
}

// Packages implements erase.Store.
func (s *HoldingsStore) Packages(ctx context.Context, subject string) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: subject})
	if err != nil {
		return 0, err
	}
	return count(ctx, s.exports, filter, eraseBatch)
}
