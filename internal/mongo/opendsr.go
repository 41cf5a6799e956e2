package mongo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/opendsr"
	"github.com/vogter/vogter/internal/tenant"
)

var _ opendsr.Store = (*OpenDSRStore)(nil)

// OpenDSRStore knows requests by the ids of the systems that sent them. It has
// nothing of persons.
type OpenDSRStore struct{ coll *mongo.Collection }

// NewOpenDSRStore returns the store in d.
func NewOpenDSRStore(d *DB) *OpenDSRStore { return &OpenDSRStore{d.db.Collection(openDSRColl)} }

type openDSRDoc struct {
	ID        string           `bson:"_id"` // tenant and the sender's id
	Tenant    tenant.ID        `bson:"tenant"`
	Sent      string           `bson:"sent"`
	Request   string           `bson:"request"`
	Hash      []byte           `bson:"hash"`
	Received  time.Time        `bson:"receivedAt"`
	Callbacks []string         `bson:"callbacks"`
	Told      []opendsr.Status `bson:"told"`
}

// Get implements opendsr.Store.
func (s *OpenDSRStore) Get(ctx context.Context, id string) (*opendsr.Row, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return s.one(ctx, bson.E{Key: "_id", Value: string(of) + "/" + id})
}

// ByRequest implements opendsr.Store.
func (s *OpenDSRStore) ByRequest(ctx context.Context, requestID string) (*opendsr.Row, error) {
	return s.one(ctx, bson.E{Key: "request", Value: requestID})
}

func (s *OpenDSRStore) one(ctx context.Context, match bson.E) (*opendsr.Row, error) {
	d, err := one[openDSRDoc](ctx, s.coll, "request of OpenDSR", opendsr.ErrNotFound, match)
	if err != nil {
		return nil, err
	}
	return &opendsr.Row{ID: d.Sent, Request: d.Request, Hash: d.Hash, Received: d.Received, Callbacks: d.Callbacks, Told: d.Told}, nil
}

// Insert implements opendsr.Store.
func (s *OpenDSRStore) Insert(ctx context.Context, r *opendsr.Row) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, openDSRDoc{string(of) + "/" + r.ID, of, r.ID, r.Request, r.Hash, r.Received, r.Callbacks, r.Told})
	if mongo.IsDuplicateKeyError(err) {
		return opendsr.ErrOther
	}
	if err != nil {
		return fmt.Errorf("insert request of OpenDSR: %w", translate(err))
	}
	return nil
}

// Tell implements opendsr.Store.
func (s *OpenDSRStore) Tell(ctx context.Context, id string, callback int, status opendsr.Status) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: string(of) + "/" + id}, {Key: "tenant", Value: of}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "told." + strconv.Itoa(callback), Value: status}}}})
	if err != nil {
		return fmt.Errorf("note callback of OpenDSR: %w", translate(err))
	}
	return nil
}
