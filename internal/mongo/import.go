package mongo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/tenant"
)

var _ imports.Store = (*ImportStore)(nil)

// ImportStore keeps import mappings, imports and their rejections.
type ImportStore struct {
	imports, mappings, rejections *mongo.Collection
}

// NewImportStore returns the store of imports in d.
func NewImportStore(d *DB) *ImportStore {
	return &ImportStore{
		imports: d.db.Collection(importsColl), mappings: d.db.Collection(mappingsColl),
		rejections: d.db.Collection(rejectionsColl),
	}
}

type mappingDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Name      string    `bson:"name"`
	Document  string    `bson:"document"`
	Version   int64     `bson:"version"`
	UpdatedAt time.Time `bson:"updatedAt"`
}

func (d *mappingDoc) mapping() *imports.Mapping {
	return &imports.Mapping{ID: d.ID, Name: d.Name, Document: d.Document, Version: d.Version, UpdatedAt: d.UpdatedAt}
}

type importDoc struct {
	ID         string        `bson:"_id"`
	Tenant     tenant.ID     `bson:"tenant"`
	Params     string        `bson:"params"`
	State      imports.State `bson:"state"`
	Line       int64         `bson:"line"`
	Chain      []byte        `bson:"chain"`
	Counts     countsDoc     `bson:"counts"`
	Fence      int64         `bson:"fence"`
	LeaseUntil time.Time     `bson:"leaseUntil"`
	CreatedAt  time.Time     `bson:"createdAt"`
	UpdatedAt  time.Time     `bson:"updatedAt"`
}

type countsDoc struct {
	Created   int64 `bson:"created"`
	Updated   int64 `bson:"updated"`
	Unchanged int64 `bson:"unchanged"`
	Rejected  int64 `bson:"rejected"`
	Records   int64 `bson:"records"`
}

// rejectionDoc has the import and the line, in digits of one length, as its _id,
// so that one import's lie together by line.
type rejectionDoc struct {
	ID      string    `bson:"_id"`
	Tenant  tenant.ID `bson:"tenant"`
	Line    int64     `bson:"line"`
	Field   string    `bson:"field"`
	Code    errs.Kind `bson:"code"`
	Message string    `bson:"message"`
}

func rejectionID(importID string, line int64) string { return fmt.Sprintf("%s/%019d", importID, line) }

// Mappings implements imports.Store.
func (s *ImportStore) Mappings(ctx context.Context) ([]*imports.Mapping, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[mappingDoc](ctx, s.mappings, filter,
		options.Find().SetSort(bson.D{{Key: "name", Value: 1}}).SetLimit(imports.MaxMappings))
	if err != nil {
		return nil, fmt.Errorf("list import mappings: %w", err)
	}
	list := make([]*imports.Mapping, len(docs))
	for i := range docs {
		list[i] = docs[i].mapping()
	}
	return list, nil
}

// Mapping implements imports.Store.
func (s *ImportStore) Mapping(ctx context.Context, id string) (*imports.Mapping, error) {
	d, err := one[mappingDoc](ctx, s.mappings, "import mapping", imports.ErrMappingNotFound, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	return d.mapping(), nil
}

// SaveMapping implements imports.Store.
func (s *ImportStore) SaveMapping(ctx context.Context, m *imports.Mapping) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := mappingDoc{m.ID, of, m.Name, m.Document, m.Version, m.UpdatedAt}
	if m.Version > 1 {
		return replaceVersion(ctx, s.mappings, m.ID, m.Version, doc)
	}
	_, err = s.mappings.InsertOne(ctx, doc)
	if mongo.IsDuplicateKeyError(err) {
		return change.ErrVersion.Because(err)
	}
	if err != nil {
		return fmt.Errorf("insert import mapping: %w", translate(err))
	}
	return nil
}

// Get implements imports.Store.
func (s *ImportStore) Get(ctx context.Context, id string) (*imports.Import, error) {
	d, err := one[importDoc](ctx, s.imports, "import", imports.ErrNotFound, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	if len(d.Chain) != sha256.Size {
		return nil, fmt.Errorf("find import %s: a damaged row", id)
	}
	return &imports.Import{
		ID: d.ID, Params: d.Params, State: d.State, Line: d.Line, Chain: [sha256.Size]byte(d.Chain),
		Counts: imports.Counts(d.Counts), Fence: d.Fence, LeaseUntil: d.LeaseUntil,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}, nil
}

func (s *ImportStore) doc(ctx context.Context, i *imports.Import) (importDoc, error) {
	of, err := tenant.FromContext(ctx)
	return importDoc{
		i.ID, of, i.Params, i.State, i.Line, i.Chain[:], countsDoc(i.Counts), i.Fence, i.LeaseUntil, i.CreatedAt, i.UpdatedAt,
	}, err
}

// Insert implements imports.Store.
func (s *ImportStore) Insert(ctx context.Context, i *imports.Import) error {
	doc, err := s.doc(ctx, i)
	if err != nil {
		return err
	}
	_, err = s.imports.InsertOne(ctx, doc)
	if mongo.IsDuplicateKeyError(err) {
		return imports.ErrRunning.Because(err)
	}
	if err != nil {
		return fmt.Errorf("insert import: %w", translate(err))
	}
	return nil
}

// Update implements imports.Store.
func (s *ImportStore) Update(ctx context.Context, i *imports.Import, fence int64) error {
	doc, err := s.doc(ctx, i)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: i.ID}, bson.E{Key: "fence", Value: fence})
	if err != nil {
		return err
	}
	res, err := s.imports.ReplaceOne(ctx, filter, doc)
	if err != nil {
		return fmt.Errorf("update import %s: %w", i.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return imports.ErrRunning
	}
	return nil
}

// InsertRejections implements imports.Store.
func (s *ImportStore) InsertRejections(ctx context.Context, importID string, rejections []imports.Rejection) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	docs := make([]rejectionDoc, len(rejections))
	for i, r := range rejections {
		docs[i] = rejectionDoc{rejectionID(importID, r.Line), of, r.Line, r.Field, r.Code, r.Message}
	}
	if _, err := s.rejections.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert rejections: %w", translate(err))
	}
	return nil
}

// rejectionsOf matches the rejections of an import after a line.
func rejectionsOf(ctx context.Context, importID string, after int64) (bson.D, error) {
	// "0" is the character after "/".
	return scoped(ctx, bson.E{Key: "_id", Value: bson.D{
		{Key: "$gt", Value: rejectionID(importID, after)}, {Key: "$lt", Value: importID + "0"},
	}})
}

// Rejections implements imports.Store.
func (s *ImportStore) Rejections(ctx context.Context, importID string, after int64, limit int) ([]imports.Rejection, error) {
	filter, err := rejectionsOf(ctx, importID, after)
	if err != nil {
		return nil, err
	}
	docs, err := all[rejectionDoc](ctx, s.rejections, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find rejections: %w", err)
	}
	list := make([]imports.Rejection, len(docs))
	for i, d := range docs {
		list[i] = imports.Rejection{Line: d.Line, Field: d.Field, Code: d.Code, Message: d.Message}
	}
	return list, nil
}

// DeleteRejections implements imports.Store.
func (s *ImportStore) DeleteRejections(ctx context.Context, importID string) error {
	filter, err := rejectionsOf(ctx, importID, 0)
	if err != nil {
		return err
	}
	if _, err := s.rejections.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("delete rejections: %w", translate(err))
	}
	return nil
}
