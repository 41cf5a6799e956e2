package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/tenant"
)

var _ document.Store = (*DocumentStore)(nil)

// DocumentStore keeps registered documents, which hold no personal data.
type DocumentStore struct{ coll *mongo.Collection }

// NewDocumentStore returns the store of registered documents in d.
func NewDocumentStore(d *DB) *DocumentStore { return &DocumentStore{d.db.Collection(documentsColl)} }

type documentDoc struct {
	ID        string    `bson:"_id"` // two tenants can have the same document
	Tenant    tenant.ID `bson:"tenant"`
	Document  string    `bson:"document"`
	Name      string    `bson:"name"`
	Text      string    `bson:"text"`
	CreatedAt time.Time `bson:"createdAt"`
	CreatedBy string    `bson:"createdBy"`
}

func (d *documentDoc) plain() *document.Document {
	return &document.Document{ID: d.Document, Name: d.Name, CreatedAt: d.CreatedAt, CreatedBy: d.CreatedBy}
}

func documentKey(of tenant.ID, docID string) string { return string(of) + "/" + docID }

func (s *DocumentStore) find(ctx context.Context, docID string) (documentDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return documentDoc{}, err
	}
	return one[documentDoc](ctx, s.coll, "document", document.ErrNotFound, bson.E{Key: "_id", Value: documentKey(of, docID)})
}

// Text implements document.Store.
func (s *DocumentStore) Text(ctx context.Context, docID string) (string, error) {
	d, err := s.find(ctx, docID)
	return d.Text, err
}

// List implements document.Store.
func (s *DocumentStore) List(ctx context.Context, limit int) ([]*document.Document, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[documentDoc](ctx, s.coll, filter, newest(limit), options.Find().SetProjection(bson.D{{Key: "text", Value: 0}}))
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	list := make([]*document.Document, len(docs))
	for i := range docs {
		list[i] = docs[i].plain()
	}
	return list, nil
}

// Insert implements document.Store.
func (s *DocumentStore) Insert(ctx context.Context, d *document.Document, text string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, documentDoc{documentKey(of, d.ID), of, d.ID, d.Name, text, d.CreatedAt, d.CreatedBy})
	if err != nil {
		return fmt.Errorf("insert document: %w", translate(err))
	}
	return nil
}

// Delete implements document.Store.
func (s *DocumentStore) Delete(ctx context.Context, docID string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	res, err := s.coll.DeleteOne(ctx, bson.D{{Key: "_id", Value: documentKey(of, docID)}, {Key: "tenant", Value: of}})
	if err != nil {
		return fmt.Errorf("delete document: %w", translate(err))
	}
	if res.DeletedCount == 0 {
		return document.ErrNotFound
	}
	return nil
}
