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

// EpochStore keeps the closings of epochs, and the quarantines of keys.
type EpochStore struct {
	coll, quarantines *mongo.Collection
	names             *names
}

// NewEpochStore returns the store of closings in d.
func NewEpochStore(d *DB) *EpochStore {
	return &EpochStore{d.db.Collection(epochClosesColl), d.db.Collection(quarantinesColl), newNames(d)}
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

type quarantineDoc struct {
	ID          string                `bson:"_id"`
	Tenant      tenant.ID             `bson:"tenant"`
	Key         string                `bson:"key"`
	Generations []int32               `bson:"generations"`
	Reason      string                `bson:"reason"`
	State       epoch.QuarantineState `bson:"state"`
	RequestedBy string                `bson:"requestedBy"`
	CreatedAt   time.Time             `bson:"createdAt"`
	ApprovedBy  *string               `bson:"approvedBy,omitempty"`
	ApprovedAt  *time.Time            `bson:"approvedAt,omitempty"`
	EndedBy     *string               `bson:"endedBy,omitempty"`
	EndedAt     *time.Time            `bson:"endedAt,omitempty"`
	Version     int64                 `bson:"version"`
}

func newQuarantineDoc(of tenant.ID, q *epoch.Quarantine) quarantineDoc {
	return quarantineDoc{
		q.ID, of, q.Key, q.Generations, q.Reason, q.State, q.RequestedBy, q.RequestedAt, q.ApprovedBy, q.ApprovedAt, q.EndedBy, q.EndedAt, q.Version,
	}
}

func (d *quarantineDoc) quarantine() *epoch.Quarantine {
	return &epoch.Quarantine{
		ID: d.ID, Key: d.Key, Generations: d.Generations, Reason: d.Reason, State: d.State, RequestedBy: d.RequestedBy, RequestedAt: d.CreatedAt,
		ApprovedBy: d.ApprovedBy, ApprovedAt: d.ApprovedAt, EndedBy: d.EndedBy, EndedAt: d.EndedAt, Version: d.Version,
	}
}

// InsertQuarantine implements epoch.Store.
func (s *EpochStore) InsertQuarantine(ctx context.Context, q *epoch.Quarantine) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.quarantines.InsertOne(ctx, newQuarantineDoc(of, q)); err != nil {
		return fmt.Errorf("insert key quarantine: %w", translate(err))
	}
	return nil
}

// UpdateQuarantine implements epoch.Store.
func (s *EpochStore) UpdateQuarantine(ctx context.Context, q *epoch.Quarantine) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter := bson.D{{Key: "_id", Value: q.ID}, {Key: "tenant", Value: of}, {Key: "version", Value: q.Version - 1}}
	res, err := s.quarantines.ReplaceOne(ctx, filter, newQuarantineDoc(of, q))
	if err != nil {
		return fmt.Errorf("update key quarantine: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// FindQuarantine implements epoch.Store.
func (s *EpochStore) FindQuarantine(ctx context.Context, quarantineID string) (*epoch.Quarantine, error) {
	doc, err := one[quarantineDoc](ctx, s.quarantines, "key quarantine", epoch.ErrNoQuarantine, bson.E{Key: "_id", Value: quarantineID})
	if err != nil {
		return nil, err
	}
	return doc.quarantine(), nil
}

// Quarantines implements epoch.Store.
func (s *EpochStore) Quarantines(ctx context.Context, limit int) ([]*epoch.Quarantine, error) {
	docs, err := keyset[quarantineDoc](ctx, s.quarantines, nil, nil, limit)
	if err != nil {
		return nil, fmt.Errorf("list key quarantines: %w", err)
	}
	list := make([]*epoch.Quarantine, len(docs))
	for i := range docs {
		list[i] = docs[i].quarantine()
	}
	return list, nil
}
