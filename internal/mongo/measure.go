package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

var _ measure.Store = (*MeasureStore)(nil)

// nameMeasure is the kind of the keys of a tenant's measures.
const nameMeasure = "measure"

// MeasureStore keeps security measures.
type MeasureStore struct {
	coll  *mongo.Collection
	names *names
}

// NewMeasureStore returns the store of security measures in d.
func NewMeasureStore(d *DB) *MeasureStore {
	return &MeasureStore{d.db.Collection(measuresColl), newNames(d)}
}

type measureDoc struct {
	ID                string           `bson:"_id"`
	Tenant            tenant.ID        `bson:"tenant"`
	Key               string           `bson:"key"`
	Term              *string          `bson:"term,omitempty"`
	VocabularyVersion *string          `bson:"vocabularyVersion,omitempty"`
	Texts             []measureTextDoc `bson:"texts"`
	Kind              measure.Kind     `bson:"kind"`
	Art32             []measure.Letter `bson:"art32"`
	Systems           []string         `bson:"systems,omitempty"`
	Status            measure.Status   `bson:"status"`
	Owner             *string          `bson:"owner,omitempty"`
	Controls          []string         `bson:"controls,omitempty"`
	Version           int64            `bson:"version"`
	CreatedAt         time.Time        `bson:"createdAt"`
	UpdatedAt         time.Time        `bson:"updatedAt"`
	RetiredAt         *time.Time       `bson:"retiredAt,omitempty"`
}

type measureTextDoc struct {
	Language    string `bson:"language"`
	Description string `bson:"description"`
}

func newMeasureDoc(of tenant.ID, m *measure.Measure) measureDoc {
	doc := measureDoc{
		ID: m.ID, Tenant: of, Key: m.Key, Term: m.Term, VocabularyVersion: m.VocabularyVersion, Kind: m.Kind, Art32: m.Art32, Systems: m.Systems,
		Status: m.Status, Owner: m.Owner, Controls: m.Controls, Version: m.Version, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
		RetiredAt: m.RetiredAt, Texts: make([]measureTextDoc, len(m.Texts)),
	}
	for i, t := range m.Texts {
		doc.Texts[i] = measureTextDoc(t)
	}
	return doc
}

func (d *measureDoc) measure() *measure.Measure {
	m := &measure.Measure{
		ID: d.ID, Key: d.Key, Term: d.Term, VocabularyVersion: d.VocabularyVersion, Kind: d.Kind, Art32: d.Art32, Systems: d.Systems,
		Status: d.Status, Owner: d.Owner, Controls: d.Controls, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		RetiredAt: d.RetiredAt, Texts: make([]measure.Text, len(d.Texts)),
	}
	for i, t := range d.Texts {
		m.Texts[i] = measure.Text(t)
	}
	return m
}

// Get implements measure.Store.
func (s *MeasureStore) Get(ctx context.Context, measureID string) (*measure.Measure, error) {
	d, err := one[measureDoc](ctx, s.coll, "measure", measure.ErrNotFound, bson.E{Key: "_id", Value: measureID})
	if err != nil {
		return nil, err
	}
	return d.measure(), nil
}

// GetMany implements measure.Store.
func (s *MeasureStore) GetMany(ctx context.Context, ids []string) ([]*measure.Measure, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[measureDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find measures: %w", err)
	}
	found := make([]*measure.Measure, len(docs))
	for i := range docs {
		found[i] = docs[i].measure()
	}
	return found, nil
}

// List implements measure.Store.
func (s *MeasureStore) List(ctx context.Context, status *measure.Status, after *page.Position, limit int) ([]*measure.Measure, error) {
	var equal bson.D
	if status != nil {
		equal = bson.D{{Key: "status", Value: *status}}
	}
	docs, err := keyset[measureDoc](ctx, s.coll, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list measures: %w", err)
	}
	list := make([]*measure.Measure, len(docs))
	for i := range docs {
		list[i] = docs[i].measure()
	}
	return list, nil
}

// Count implements measure.Store.
func (s *MeasureStore) Count(ctx context.Context, ids ...string) (int, error) {
	var match []bson.E
	if len(ids) > 0 {
		match = []bson.E{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
	}
	filter, err := scoped(ctx, match...)
	if err != nil {
		return 0, err
	}
	return count(ctx, s.coll, filter, measure.Max+1)
}

// Taken implements measure.Store.
func (s *MeasureStore) Taken(ctx context.Context, key string) (bool, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return false, err
	}
	owner, err := s.names.owner(ctx, of, nameMeasure, key)
	return owner != "", err
}

// Insert implements measure.Store.
func (s *MeasureStore) Insert(ctx context.Context, m *measure.Measure) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	taken, err := s.names.claim(ctx, nameMeasure, m.Key, m.ID)
	if err != nil {
		return err
	}
	if taken {
		return measure.ErrKeyTaken
	}
	if _, err := s.coll.InsertOne(ctx, newMeasureDoc(of, m)); err != nil {
		return fmt.Errorf("insert measure: %w", translate(err))
	}
	return nil
}

// Update implements measure.Store.
func (s *MeasureStore) Update(ctx context.Context, m *measure.Measure) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.coll, m.ID, m.Version, newMeasureDoc(of, m))
}
