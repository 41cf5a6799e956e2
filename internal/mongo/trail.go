package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

var _ trail.Store = (*TrailStore)(nil)

// TrailStore reads the audit log, and keeps its exports.
type TrailStore struct {
	*AuditStore

	exports *mongo.Collection
}

// NewTrailStore returns the store of what is shown of the audit log in d.
func NewTrailStore(d *DB) *TrailStore {
	return &TrailStore{NewAuditStore(d), d.db.Collection(auditExportsColl)}
}

// auditFields are the stored fields of what can be filtered by.
func auditFields() map[string]string {
	return map[string]string{
		"actor": "actor.id", "action": "action", "object": "object", "subject": "subjects.id", "outcome": "outcome",
	}
}

// Page implements trail.Store.
func (s *TrailStore) Page(ctx context.Context, f *trail.Filter, after *page.Position, limit int) ([]*trail.Entry, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	field, value, err := f.By()
	if err != nil {
		return nil, err
	}
	if field != "" {
		filter = append(filter, bson.E{Key: auditFields()[field], Value: value})
	}
	within := bson.D{}
	if f.From != nil {
		within = append(within, bson.E{Key: "$gte", Value: f.From.UTC()})
	}
	if f.To != nil && (after == nil || f.To.Before(after.CreatedAt)) {
		within = append(within, bson.E{Key: "$lt", Value: f.To.UTC()})
	}
	if after != nil {
		within = append(within, bson.E{Key: "$lte", Value: after.CreatedAt})
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "at", Value: bson.D{{Key: "$lt", Value: after.CreatedAt}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: after.ID}}}},
		}})
	}
	if len(within) > 0 {
		filter = append(filter, bson.E{Key: "at", Value: within})
	}
	docs, err := all[auditDoc](ctx, s.entries, filter,
		options.Find().SetSort(bson.D{{Key: "at", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find audit entries: %w", err)
	}
	entries := make([]*trail.Entry, len(docs))
	for i := range docs {
		entries[i] = trail.NewEntry(docs[i].row(), docs[i].Seq)
	}
	return entries, nil
}

// Entry implements trail.Store.
func (s *TrailStore) Entry(ctx context.Context, id string) (*trail.Entry, error) {
	d, err := one[auditDoc](ctx, s.entries, "audit entry", trail.ErrNotFound, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	return trail.NewEntry(d.row(), d.Seq), nil
}

// Covering implements trail.Store.
func (s *TrailStore) Covering(ctx context.Context, seq int64) (*seal.At, error) {
	newest, err := s.headAt(ctx, bson.D{{Key: "number", Value: -1}, {Key: "log", Value: -1}},
		bson.E{Key: "number", Value: bson.D{{Key: "$gt", Value: int64(0)}}})
	for err == nil && newest != nil && seq < newest.Base { // of an earlier log, before a restore
		newest, err = s.headAt(ctx, bson.D{{Key: "log", Value: -1}, {Key: "size", Value: -1}},
			bson.E{Key: "log", Value: bson.D{{Key: "$lt", Value: newest.Log}}})
	}
	if err != nil || newest == nil || seq >= newest.Base+newest.Size {
		return nil, err
	}
	return newest, nil
}

// StateBy implements trail.Store.
func (s *TrailStore) StateBy(ctx context.Context, number int64) (*seal.At, error) {
	return s.headAt(ctx, bson.D{{Key: "number", Value: -1}, {Key: "log", Value: -1}},
		bson.E{Key: "number", Value: bson.D{{Key: "$lte", Value: number}}})
}

// StateBefore implements trail.Store.
func (s *TrailStore) StateBefore(ctx context.Context, at time.Time) (*seal.At, error) {
	return s.headAt(ctx, bson.D{{Key: "at", Value: -1}, {Key: "log", Value: -1}},
		bson.E{Key: "at", Value: bson.D{{Key: "$lte", Value: at}}})
}

// States implements trail.Store.
func (s *TrailStore) States(ctx context.Context, number int64, limit int) ([]seal.At, error) {
	filter, err := scoped(ctx, bson.E{Key: "number", Value: bson.D{{Key: "$gt", Value: number}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[headAtDoc](ctx, s.headsAt, filter,
		options.Find().SetSort(bson.D{{Key: "number", Value: 1}, {Key: "log", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find heads at checkpoints: %w", err)
	}
	states := make([]seal.At, len(docs))
	for i := range docs {
		states[i] = *docs[i].at()
	}
	return states, nil
}

type auditExportDoc struct {
	ID        string            `bson:"_id"`
	Tenant    tenant.ID         `bson:"tenant"`
	Job       string            `bson:"job"`
	State     trail.ExportState `bson:"state"`
	From      time.Time         `bson:"from"`
	To        time.Time         `bson:"to"`
	Size      *int64            `bson:"size,omitempty"`
	Object    objectDoc         `bson:"object"`
	Fence     int64             `bson:"fence"`
	CreatedAt time.Time         `bson:"createdAt"`
	ExpiresAt time.Time         `bson:"expiresAt"`
}

// Export implements trail.ExportStore.
func (s *TrailStore) Export(ctx context.Context, id string) (*trail.Export, error) {
	d, err := one[auditExportDoc](ctx, s.exports, "export", trail.ErrNoExport, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	return &trail.Export{
		ID: d.ID, JobID: d.Job, State: d.State, From: d.From.UTC(), To: d.To.UTC(), Size: d.Size, CreatedAt: d.CreatedAt.UTC(),
		ExpiresAt: d.ExpiresAt.UTC(), Object: file.Object(d.Object), Fence: d.Fence,
	}, nil
}

// InsertExport implements trail.ExportStore.
func (s *TrailStore) InsertExport(ctx context.Context, e *trail.Export) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.exports.InsertOne(ctx, auditExportDoc{
		ID: e.ID, Tenant: of, Job: e.JobID, State: e.State, From: e.From, To: e.To, CreatedAt: e.CreatedAt, ExpiresAt: e.ExpiresAt,
	}); err != nil {
		return fmt.Errorf("insert export %s: %w", e.ID, translate(err))
	}
	return nil
}

// FinishExport implements trail.ExportStore.
func (s *TrailStore) FinishExport(ctx context.Context, e *trail.Export) error {
	matched, err := s.updateExport(ctx, e.ID, set(bson.E{Key: "state", Value: e.State}, bson.E{Key: "size", Value: e.Size},
		bson.E{Key: "object", Value: objectDoc(e.Object)}, bson.E{Key: "fence", Value: e.Fence}), bson.E{Key: "state", Value: trail.Building})
	if err == nil && !matched {
		return trail.ErrExpired
	}
	return err
}

// ExpireExport implements trail.ExportStore.
func (s *TrailStore) ExpireExport(ctx context.Context, id string) error {
	_, err := s.updateExport(ctx, id, bson.D{
		{Key: "$set", Value: bson.D{{Key: "state", Value: trail.Expired}}}, {Key: "$unset", Value: bson.D{{Key: "size", Value: ""}}},
	})
	return err
}

func (s *TrailStore) updateExport(ctx context.Context, id string, update bson.D, from ...bson.E) (bool, error) {
	filter, err := scoped(ctx, append(bson.D{{Key: "_id", Value: id}}, from...)...)
	if err != nil {
		return false, err
	}
	res, err := s.exports.UpdateOne(ctx, filter, update)
	if err != nil {
		return false, fmt.Errorf("update export %s: %w", id, translate(err))
	}
	return res.MatchedCount == 1, nil
}

// DueExports implements trail.ExportStore.
func (s *TrailStore) DueExports(ctx context.Context, now time.Time, limit int) ([]trail.ExportRef, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[auditExportDoc](ctx, s.exports, bson.D{
		{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{trail.Building, trail.Ready}}}},
		{Key: "expiresAt", Value: bson.D{{Key: "$lte", Value: now}}},
	}, options.Find().SetLimit(int64(limit)).SetProjection(bson.D{{Key: "tenant", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find due exports: %w", err)
	}
	due := make([]trail.ExportRef, len(docs))
	for i, d := range docs {
		due[i] = trail.ExportRef{Tenant: d.Tenant, ID: d.ID}
	}
	return due, nil
}
