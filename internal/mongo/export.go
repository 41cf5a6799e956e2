package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

var (
	_ export.Store    = (*ExportStore)(nil)
	_ export.Subjects = (*SubjectStore)(nil)
)

// ExportStore keeps exports.
type ExportStore struct{ coll *mongo.Collection }

// NewExportStore returns the store of exports in d.
func NewExportStore(d *DB) *ExportStore { return &ExportStore{d.db.Collection(exportsColl)} }

type exportDoc struct {
	ID        string       `bson:"_id"`
	Tenant    tenant.ID    `bson:"tenant"`
	Subject   string       `bson:"subject"`
	Job       string       `bson:"job"`
	State     export.State `bson:"state"`
	Language  string       `bson:"language"`
	Size      *int64       `bson:"size,omitempty"`
	Object    objectDoc    `bson:"object"`
	Fence     int64        `bson:"fence"`
	CreatedAt time.Time    `bson:"createdAt"`
	ExpiresAt time.Time    `bson:"expiresAt"` // in every state
	Case      *exportCase  `bson:"case,omitempty"`
}

type exportCase struct {
	Request string    `bson:"request"`
	Item    string    `bson:"item"`
	Number  string    `bson:"number"`
	Type    pack.Type `bson:"type"`
}

// Get implements export.Store.
func (s *ExportStore) Get(ctx context.Context, id string) (*export.Export, error) {
	d, err := one[exportDoc](ctx, s.coll, "export", export.ErrNotFound, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	e := &export.Export{
		ID: d.ID, SubjectID: d.Subject, JobID: d.Job, State: d.State, Language: d.Language, Size: d.Size,
		CreatedAt: d.CreatedAt, Object: file.Object(d.Object), Fence: d.Fence,
		Case: (*export.Case)(d.Case),
	}
	if d.State == export.Ready || d.State == export.Expired {
		e.ExpiresAt = &d.ExpiresAt
	}
	return e, nil
}

// Insert implements export.Store.
func (s *ExportStore) Insert(ctx context.Context, e *export.Export, due time.Time) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.coll.InsertOne(ctx, exportDoc{
		ID: e.ID, Tenant: of, Subject: e.SubjectID, Job: e.JobID, State: e.State, Language: e.Language,
		CreatedAt: e.CreatedAt, ExpiresAt: due, Case: (*exportCase)(e.Case),
	}); err != nil {
		return fmt.Errorf("insert export %s: %w", e.ID, translate(err))
	}
	return nil
}

// Finish implements export.Store.
func (s *ExportStore) Finish(ctx context.Context, e *export.Export) error {
	matched, err := s.update(ctx, e.ID, bson.D{{Key: "$set", Value: bson.D{
		{Key: "state", Value: e.State},
		{Key: "size", Value: e.Size},
		{Key: "object", Value: objectDoc(e.Object)},
		{Key: "fence", Value: e.Fence},
		{Key: "expiresAt", Value: e.ExpiresAt},
	}}}, bson.E{Key: "state", Value: export.Building})
	if err == nil && !matched {
		return export.ErrExpired
	}
	return err
}

// Expire implements export.Store.
func (s *ExportStore) Expire(ctx context.Context, id string) error {
	matched, err := s.update(ctx, id, bson.D{
		{Key: "$set", Value: bson.D{{Key: "state", Value: export.Expired}}},
		{Key: "$unset", Value: bson.D{{Key: "size", Value: ""}}},
	})
	if err == nil && !matched {
		return export.ErrNotFound
	}
	return err
}

func (s *ExportStore) update(ctx context.Context, id string, update bson.D, from ...bson.E) (matched bool, err error) {
	filter, err := scoped(ctx, append(bson.D{{Key: "_id", Value: id}}, from...)...)
	if err != nil {
		return false, err
	}
	res, err := s.coll.UpdateOne(ctx, filter, update)
	if err != nil {
		return false, fmt.Errorf("update export %s: %w", id, translate(err))
	}
	return res.MatchedCount == 1, nil
}

// Due implements export.Store.
func (s *ExportStore) Due(ctx context.Context, now time.Time, limit int) ([]export.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	var due []export.Ref
	for _, state := range []export.State{export.Building, export.Ready} {
		docs, err := all[exportDoc](ctx, s.coll, bson.D{
			{Key: "state", Value: state}, {Key: "expiresAt", Value: bson.D{{Key: "$lte", Value: now}}},
		}, options.Find().SetLimit(int64(limit-len(due))).SetProjection(bson.D{{Key: "tenant", Value: 1}, {Key: "subject", Value: 1}}))
		if err != nil {
			return nil, fmt.Errorf("find due exports: %w", err)
		}
		for _, d := range docs {
			due = append(due, export.Ref{Tenant: d.Tenant, ID: d.ID, Subject: d.Subject})
		}
		if len(due) >= limit { // a limit of 0 would be none at all
			break
		}
	}
	return due, nil
}

// GuardRead implements export.Subjects.
func (s *SubjectStore) GuardRead(ctx context.Context, ids ...string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}},
		bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{subject.Active, subject.Restricted}}}})
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateMany(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("guard subjects: %w", translate(err))
	}
	if res.MatchedCount == int64(len(ids)) {
		return nil
	}
	return s.Guard(ctx, ids...) // says why not
}
