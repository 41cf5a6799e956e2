package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// LeaseStore keeps the leases of work that one worker at a time does. They
// belong to no tenant: every method needs tenant.System.
type LeaseStore struct {
	coll *mongo.Collection
}

// NewLeaseStore returns the store of leases in d.
func NewLeaseStore(d *DB) *LeaseStore { return &LeaseStore{d.db.Collection(leasesColl)} }

type leaseDoc struct {
	Name  string    `bson:"_id"`
	Fence int64     `bson:"fence"`
	Until time.Time `bson:"until"`
	DueAt time.Time `bson:"dueAt"`
}

// Acquire takes the lease of that name if nobody holds it and its work is due,
// and returns its next fence; else ok is false.
func (s *LeaseStore) Acquire(ctx context.Context, name string, now, until time.Time) (fence int64, ok bool, err error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return 0, false, err
	}
	free := bson.D{
		{Key: "_id", Value: name},
		{Key: "until", Value: bson.D{{Key: "$lte", Value: now}}},
		{Key: "dueAt", Value: bson.D{{Key: "$lte", Value: now}}},
	}
	take := bson.D{
		{Key: "$set", Value: bson.D{{Key: "until", Value: until}}},
		{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "dueAt", Value: now}}},
	}
	var doc leaseDoc
	err = s.coll.FindOneAndUpdate(ctx, free, take,
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&doc)
	if mongo.IsDuplicateKeyError(err) {
		return 0, false, nil // it is there, and held or not due
	}
	if err != nil {
		return 0, false, fmt.Errorf("acquire lease %s: %w", name, translate(err))
	}
	return doc.Fence, true, nil
}

// Renew prolongs a lease, or fails with job.ErrFenced when it was lost.
func (s *LeaseStore) Renew(ctx context.Context, name string, fence int64, until time.Time) error {
	return s.update(ctx, name, fence, set(bson.E{Key: "until", Value: until}))
}

// Release gives a lease back, or fails with job.ErrFenced when it was lost. Its
// work is due again at that time.
func (s *LeaseStore) Release(ctx context.Context, name string, fence int64, due time.Time) error {
	return s.update(ctx, name, fence, set(bson.E{Key: "until", Value: time.Time{}}, bson.E{Key: "dueAt", Value: due}))
}

func (s *LeaseStore) update(ctx context.Context, name string, fence int64, update bson.D) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: name}, {Key: "fence", Value: fence}}, update)
	if err != nil {
		return fmt.Errorf("update lease %s: %w", name, translate(err))
	}
	if res.MatchedCount == 0 {
		return job.ErrFenced
	}
	return nil
}

// receiptBatch is how many receipts are deleted at once.
const receiptBatch = 1000

// DeleteReceipts deletes the receipts of all tenants made before a time. It
// spans tenants and needs tenant.System.
func (d *DB) DeleteReceipts(ctx context.Context, before time.Time) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	coll := d.db.Collection(receiptsColl)
	expired := bson.E{Key: "createdAt", Value: bson.D{{Key: "$lt", Value: before}}}
	for {
		docs, err := all[receiptDoc](ctx, coll, bson.D{expired},
			options.Find().SetSort(bson.D{{Key: "createdAt", Value: 1}}).SetLimit(receiptBatch))
		if err != nil {
			return fmt.Errorf("find expired receipts: %w", err)
		}
		ids := make([]string, len(docs))
		for i, doc := range docs {
			ids[i] = doc.ID
		}
		// One that was made anew in the meantime stays.
		if len(ids) > 0 {
			_, err = coll.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, expired})
		}
		if err != nil {
			return fmt.Errorf("delete expired receipts: %w", translate(err))
		}
		if len(ids) < receiptBatch {
			return nil
		}
	}
}
