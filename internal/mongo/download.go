package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenant"
)

var _ download.Store = (*DownloadStore)(nil)

// DownloadStore keeps the grants of downloads.
type DownloadStore struct{ coll *mongo.Collection }

// NewDownloadStore returns the store of grants in d.
func NewDownloadStore(d *DB) *DownloadStore { return &DownloadStore{d.db.Collection(grantsColl)} }

type grantDoc struct {
	ID        string    `bson:"_id"` // tenant and hash
	Tenant    tenant.ID `bson:"tenant"`
	Object    string    `bson:"object"`
	Form      *formDoc  `bson:"form,omitempty"`
	Subject   string    `bson:"subject"`
	Principal string    `bson:"principal"`
	UsesLeft  int       `bson:"usesLeft"`
	CreatedAt time.Time `bson:"createdAt"`
	ExpiresAt time.Time `bson:"expiresAt"`
}

// formDoc is the form in which a register is downloaded.
type formDoc struct {
	Format   processing.Format `bson:"format"`
	Language *string           `bson:"language,omitempty"`
	Hat      *processing.Hat   `bson:"hat,omitempty"`
}

func grantID(of tenant.ID, hash string) string { return string(of) + "/" + hash }

// Get implements download.Store.
func (s *DownloadStore) Get(ctx context.Context, hash string) (*download.Row, error) {
	filter, err := s.one(ctx, hash)
	if err != nil {
		return nil, err
	}
	var d grantDoc
	err = s.coll.FindOne(ctx, filter).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, download.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find grant: %w", translate(err))
	}
	return &download.Row{
		Hash: hash, Object: d.Object, Form: (*processing.Form)(d.Form), Subject: d.Subject, Principal: d.Principal, UsesLeft: d.UsesLeft,
		CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt,
	}, nil
}

func (s *DownloadStore) one(ctx context.Context, hash string, more ...bson.E) (bson.D, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	return append(bson.D{{Key: "_id", Value: grantID(of, hash)}, {Key: "tenant", Value: of}}, more...), nil
}

// Insert implements download.Store.
func (s *DownloadStore) Insert(ctx context.Context, r *download.Row) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, grantDoc{
		grantID(of, r.Hash), of, r.Object, (*formDoc)(r.Form), r.Subject, r.Principal, r.UsesLeft, r.CreatedAt, r.ExpiresAt,
	})
	if err != nil {
		return fmt.Errorf("insert grant: %w", translate(err))
	}
	return nil
}

// Use implements download.Store.
func (s *DownloadStore) Use(ctx context.Context, hash string) error {
	filter, err := s.one(ctx, hash, bson.E{Key: "usesLeft", Value: bson.D{{Key: "$gt", Value: 0}}})
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "usesLeft", Value: -1}}}})
	if err != nil {
		return fmt.Errorf("use grant: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return download.ErrSpent
	}
	return nil
}

// DeleteExpired implements download.Store.
func (s *DownloadStore) DeleteExpired(ctx context.Context, before time.Time) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	_, err := s.coll.DeleteMany(ctx, bson.D{{Key: "expiresAt", Value: bson.D{{Key: "$lt", Value: before}}}})
	if err != nil {
		return fmt.Errorf("delete expired grants: %w", translate(err))
	}
	return nil
}
