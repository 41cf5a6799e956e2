package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/tenant"
)

var _ dataset.Store = (*DatasetStore)(nil)

// DatasetStore keeps the descriptions of datasets.
type DatasetStore struct {
	coll  *mongo.Collection
	names *names
}

// NewDatasetStore returns the store of datasets in d.
func NewDatasetStore(d *DB) *DatasetStore {
	return &DatasetStore{coll: d.db.Collection(datasetsColl), names: newNames(d)}
}

type datasetDoc struct {
	ID          string            `bson:"_id"`
	Tenant      tenant.ID         `bson:"tenant"`
	Name        string            `bson:"name"`
	Description string            `bson:"description"`
	Secrecy     dataset.Secrecy   `bson:"secrecy"`
	Purposes    []string          `bson:"purposes,omitempty"`
	State       dataset.State     `bson:"state"`
	Fields      []datasetFieldDoc `bson:"fields"`
	Version     int64             `bson:"version"`
	CreatedAt   time.Time         `bson:"createdAt"`
	UpdatedAt   time.Time         `bson:"updatedAt"`
}

type datasetFieldDoc struct {
	ID         string              `bson:"id"`
	Key        string              `bson:"key"`
	Type       dataset.Type        `bson:"type"`
	DataClass  dataset.Class       `bson:"class"`
	Term       string              `bson:"term,omitempty"`
	Secrecy    dataset.Secrecy     `bson:"secrecy"`
	Required   bool                `bson:"required"`
	Lookup     dataset.Lookup      `bson:"lookup"`
	Normaliser *dataset.Normaliser `bson:"normaliser,omitempty"`
	Values     []string            `bson:"values,omitempty"`
	Since      int64               `bson:"since"`
}

func (s *DatasetStore) doc(ctx context.Context, d *dataset.Dataset) (datasetDoc, error) {
	of, err := tenant.FromContext(ctx)
	doc := datasetDoc{
		ID: d.ID, Tenant: of, Name: d.Name, Description: d.Description, Secrecy: d.Secrecy, Purposes: d.Purposes, State: d.State,
		Fields: make([]datasetFieldDoc, len(d.Fields)), Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	for i, f := range d.Fields {
		doc.Fields[i] = datasetFieldDoc(f)
	}
	return doc, err
}

func (d *datasetDoc) dataset() *dataset.Dataset {
	of := &dataset.Dataset{
		ID: d.ID, Name: d.Name, Description: d.Description, Secrecy: d.Secrecy, Purposes: d.Purposes, State: d.State,
		Fields: make([]dataset.Field, len(d.Fields)), Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	for i, f := range d.Fields {
		of.Fields[i] = dataset.Field(f)
	}
	return of
}

// Get implements dataset.Store.
func (s *DatasetStore) Get(ctx context.Context, id string) (*dataset.Dataset, error) {
	return s.find(ctx, bson.E{Key: "_id", Value: id})
}

// ByName implements dataset.Store.
func (s *DatasetStore) ByName(ctx context.Context, name string, secrecy dataset.Secrecy) (*dataset.Dataset, error) {
	return s.find(ctx, bson.E{Key: "name", Value: name}, bson.E{Key: "secrecy", Value: secrecy})
}

func (s *DatasetStore) find(ctx context.Context, by ...bson.E) (*dataset.Dataset, error) {
	d, err := one[datasetDoc](ctx, s.coll, "dataset", dataset.ErrNotFound, by...)
	if err != nil {
		return nil, err
	}
	return d.dataset(), nil
}

// List implements dataset.Store.
func (s *DatasetStore) List(ctx context.Context) ([]*dataset.Dataset, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[datasetDoc](ctx, s.coll, filter,
		options.Find().SetSort(bson.D{{Key: "name", Value: 1}}).SetLimit(dataset.MaxDatasets))
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	list := make([]*dataset.Dataset, len(docs))
	for i := range docs {
		list[i] = docs[i].dataset()
	}
	return list, nil
}

// Secret implements dataset.Store.
func (s *DatasetStore) Secret(ctx context.Context) ([]string, error) {
	filter, err := scoped(ctx, bson.E{Key: "secrecy", Value: dataset.AML})
	if err != nil {
		return nil, err
	}
	docs, err := all[datasetDoc](ctx, s.coll, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list secret datasets: %w", err)
	}
	ids := make([]string, len(docs))
	for i := range docs {
		ids[i] = docs[i].ID
	}
	return ids, nil
}

// Insert implements dataset.Store.
func (s *DatasetStore) Insert(ctx context.Context, d *dataset.Dataset) error {
	doc, err := s.doc(ctx, d)
	if err != nil {
		return err
	}
	kind := "dataset"
	if d.Secrecy == dataset.AML {
		kind = "secret dataset" // see dataset.ErrNameTaken
	}
	taken, err := s.names.claim(ctx, kind, d.Name, d.ID)
	if err != nil {
		return err
	}
	if taken {
		return dataset.ErrNameTaken
	}
	if _, err := s.coll.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert dataset: %w", translate(err))
	}
	return nil
}

// Update implements dataset.Store.
func (s *DatasetStore) Update(ctx context.Context, d *dataset.Dataset) error {
	doc, err := s.doc(ctx, d)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.coll, d.ID, d.Version, doc)
}

// replaceVersion replaces the tenant's document with an id by its next version.
func replaceVersion(ctx context.Context, c *mongo.Collection, id string, version int64, doc any) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: id}, bson.E{Key: "version", Value: version - 1})
	if err != nil {
		return err
	}
	res, err := c.ReplaceOne(ctx, filter, doc)
	if err != nil {
		return fmt.Errorf("update %s: %w", id, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}
