package mongo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ epoch.Store = (*EpochStore)(nil)

// EpochStore keeps the closings of epochs.
type EpochStore struct {
	coll  *mongo.Collection
	names *names
}

// NewEpochStore returns the store of closings in d.
func NewEpochStore(d *DB) *EpochStore {
	return &EpochStore{d.db.Collection(epochClosesColl), newNames(d)}
}

// nameEpochClose is the kind of names that keep an epoch from being closed twice at once.
const nameEpochClose = "epochClose"

type epochCloseDoc struct {
	ID          string         `bson:"_id"`
	Tenant      tenant.ID      `bson:"tenant"`
	Epoch       int32          `bson:"epoch"`
	State       epoch.State    `bson:"state"`
	RequestedBy string         `bson:"requestedBy"`
	CreatedAt   time.Time      `bson:"createdAt"`
	ApprovedBy  *string        `bson:"approvedBy,omitempty"`
	ApprovedAt  *time.Time     `bson:"approvedAt,omitempty"`
	Steps       []epochStepDoc `bson:"steps"`
	Trouble     *string        `bson:"trouble,omitempty"`
	Version     int64          `bson:"version"`
}

type epochStepDoc struct {
	Step epoch.Step `bson:"step"`
	At   time.Time  `bson:"at"`
}

func newEpochCloseDoc(of tenant.ID, c *epoch.Close) epochCloseDoc {
	doc := epochCloseDoc{
		ID: c.ID, Tenant: of, Epoch: int32(c.Epoch), State: c.State, RequestedBy: c.RequestedBy, CreatedAt: c.RequestedAt,
		ApprovedBy: c.ApprovedBy, ApprovedAt: c.ApprovedAt, Steps: []epochStepDoc{}, Trouble: c.Trouble, Version: c.Version,
	}
	for _, s := range c.Steps {
		doc.Steps = append(doc.Steps, epochStepDoc(s))
	}
	return doc
}

func (d *epochCloseDoc) close() *epoch.Close {
	c := &epoch.Close{
		ID: d.ID, Epoch: vault.Epoch(d.Epoch), State: d.State, RequestedBy: d.RequestedBy, RequestedAt: d.CreatedAt,
		ApprovedBy: d.ApprovedBy, ApprovedAt: d.ApprovedAt, Trouble: d.Trouble, Version: d.Version,
	}
	for _, s := range d.Steps {
		c.Steps = append(c.Steps, epoch.StepDone(s))
	}
	return c
}

// InsertClose implements epoch.Store.
func (s *EpochStore) InsertClose(ctx context.Context, c *epoch.Close) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	taken, err := s.names.claim(ctx, nameEpochClose, strconv.Itoa(int(c.Epoch)), c.ID)
	if err != nil {
		return err
	}
	if taken {
		return epoch.ErrRunning
	}
	if _, err := s.coll.InsertOne(ctx, newEpochCloseDoc(of, c)); err != nil {
		return fmt.Errorf("insert epoch close: %w", translate(err))
	}
	return nil
}

// UpdateClose implements epoch.Store.
func (s *EpochStore) UpdateClose(ctx context.Context, c *epoch.Close) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter := bson.D{{Key: "_id", Value: c.ID}, {Key: "tenant", Value: of}, {Key: "version", Value: c.Version - 1}}
	res, err := s.coll.ReplaceOne(ctx, filter, newEpochCloseDoc(of, c))
	if err != nil {
		return fmt.Errorf("update epoch close: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	if c.State == epoch.Halted { // it may be asked for again
		return s.names.release(ctx, of, nameEpochClose, strconv.Itoa(int(c.Epoch)), c.ID)
	}
	return nil
}

// FindClose implements epoch.Store.
func (s *EpochStore) FindClose(ctx context.Context, closeID string) (*epoch.Close, error) {
	doc, err := one[epochCloseDoc](ctx, s.coll, "epoch close", epoch.ErrNotFound, bson.E{Key: "_id", Value: closeID})
	if err != nil {
		return nil, err
	}
	return doc.close(), nil
}

// Closes implements epoch.Store.
func (s *EpochStore) Closes(ctx context.Context, limit int) ([]*epoch.Close, error) {
	docs, err := keyset[epochCloseDoc](ctx, s.coll, nil, nil, limit)
	if err != nil {
		return nil, fmt.Errorf("list epoch closes: %w", err)
	}
	closes := make([]*epoch.Close, len(docs))
	for i, d := range docs {
		closes[i] = d.close()
	}
	return closes, nil
}
