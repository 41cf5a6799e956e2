package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

var _ job.Store = (*JobStore)(nil)

// JobStore keeps jobs.
type JobStore struct {
	coll *mongo.Collection
}

// NewJobStore returns the store of jobs in d.
func NewJobStore(d *DB) *JobStore { return &JobStore{d.db.Collection(jobsColl)} }

type jobDoc struct {
	ID          string       `bson:"_id"`
	Tenant      tenant.ID    `bson:"tenant"`
	Type        string       `bson:"type"`
	Object      string       `bson:"object"`
	MaxAttempts int          `bson:"maxAttempts"`
	Fence       int64        `bson:"fence"`
	Progress    progressDoc  `bson:"progress"`
	Steps       []stepDoc    `bson:"steps"`
	CreatedAt   time.Time    `bson:"createdAt"`
	StartedAt   time.Time    `bson:"startedAt,omitempty"`
	LeaseUntil  time.Time    `bson:"leaseUntil"`
	Quiet       bool         `bson:"quiet,omitempty"`
	Life        lifecycleDoc `bson:",inline"`
}

// lifecycleDoc is what Swap writes.
type lifecycleDoc struct {
	State       job.State   `bson:"state"`
	Attempt     int         `bson:"attempt"`
	LastAttempt int         `bson:"lastAttempt"`
	Delivery    int         `bson:"delivery"`
	Error       *failureDoc `bson:"error"`
	RunAfter    time.Time   `bson:"runAfter"`
	EnqueuedAt  time.Time   `bson:"enqueuedAt"`
	EndedAt     time.Time   `bson:"endedAt"`
}

type progressDoc struct {
	Done  int64  `bson:"done"`
	Total int64  `bson:"total"`
	Unit  string `bson:"unit"`
}

type stepDoc struct {
	Name    string    `bson:"name"`
	EndedAt time.Time `bson:"endedAt"`
}

type failureDoc struct {
	Code    errs.Kind `bson:"code"`
	Message string    `bson:"message"`
}

func lifecycle(j *job.Job) lifecycleDoc {
	return lifecycleDoc{
		State: j.State, Attempt: j.Attempt, LastAttempt: j.LastAttempt, Delivery: j.Delivery, Error: (*failureDoc)(j.Error),
		RunAfter: j.RunAfter, EnqueuedAt: j.EnqueuedAt, EndedAt: j.EndedAt,
	}
}

func (d *jobDoc) job() *job.Job {
	j := &job.Job{
		ID: d.ID, Tenant: d.Tenant, Type: d.Type, Object: d.Object, State: d.Life.State, Attempt: d.Life.Attempt,
		LastAttempt: d.Life.LastAttempt, MaxAttempts: d.MaxAttempts, Delivery: d.Life.Delivery, Fence: d.Fence,
		Progress: job.Progress(d.Progress), Steps: make([]job.Step, len(d.Steps)), Error: (*job.Failure)(d.Life.Error),
		RunAfter: d.Life.RunAfter, EnqueuedAt: d.Life.EnqueuedAt, LeaseUntil: d.LeaseUntil, CreatedAt: d.CreatedAt,
		StartedAt: d.StartedAt, EndedAt: d.Life.EndedAt, Quiet: d.Quiet,
	}
	for i, s := range d.Steps {
		j.Steps[i] = job.Step(s)
	}
	return j
}

// InsertJobs implements change.Store.
func (d *DB) InsertJobs(ctx context.Context, jobs ...*job.Job) error {
	docs := make([]jobDoc, len(jobs))
	for i, j := range jobs {
		if j.Tenant == "" {
			return tenant.ErrNone
		}
		docs[i] = jobDoc{
			ID: j.ID, Tenant: j.Tenant, Type: j.Type, Object: j.Object, MaxAttempts: j.MaxAttempts,
			Progress: progressDoc(j.Progress), Steps: []stepDoc{}, CreatedAt: j.CreatedAt, Quiet: j.Quiet,
			Life: lifecycle(j),
		}
	}
	if _, err := d.db.Collection(jobsColl).InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert jobs: %w", translate(err))
	}
	return nil
}

// Get implements job.Store.
func (s *JobStore) Get(ctx context.Context, id string) (*job.Job, error) {
	doc, err := one[jobDoc](ctx, s.coll, "job", job.ErrNotFound, bson.E{Key: "_id", Value: id})
	if err != nil {
		return nil, err
	}
	return doc.job(), nil
}

// Claim implements job.Store.
func (s *JobStore) Claim(ctx context.Context, id string, delivery int, at, leaseUntil time.Time) (*job.Job, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: id},
		bson.E{Key: "state", Value: job.Queued}, bson.E{Key: "delivery", Value: delivery})
	if err != nil {
		return nil, err
	}
	update := bson.D{
		{Key: "$set", Value: bson.D{{Key: "state", Value: job.Running}, {Key: "leaseUntil", Value: leaseUntil}}},
		{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}},
		{Key: "$min", Value: bson.D{{Key: "startedAt", Value: at}}},
	}
	var doc jobDoc
	err = s.coll.FindOneAndUpdate(ctx, filter, update, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, job.ErrFenced
	}
	if err != nil {
		return nil, translate(err)
	}
	return doc.job(), nil
}

// Renew implements job.Store.
func (s *JobStore) Renew(ctx context.Context, c job.Claim, leaseUntil time.Time) error {
	return s.write(ctx, c, set(bson.E{Key: "leaseUntil", Value: leaseUntil}))
}

// SaveProgress implements job.Store.
func (s *JobStore) SaveProgress(ctx context.Context, c job.Claim, p job.Progress) error {
	return s.write(ctx, c, set(bson.E{Key: "progress", Value: progressDoc(p)}))
}

// SaveStep implements job.Store.
func (s *JobStore) SaveStep(ctx context.Context, c job.Claim, step job.Step) error {
	return s.write(ctx, c, bson.D{{Key: "$push", Value: bson.D{{Key: "steps", Value: stepDoc(step)}}}})
}

func set(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

// write updates a job that runs under the claim.
func (s *JobStore) write(ctx context.Context, c job.Claim, update bson.D) error {
	return s.update(ctx, update, bson.E{Key: "_id", Value: c.ID},
		bson.E{Key: "state", Value: job.Running}, bson.E{Key: "fence", Value: c.Fence})
}

// update updates the tenant's one job of the filter, or fails with ErrFenced.
func (s *JobStore) update(ctx context.Context, update bson.D, filter ...bson.E) error {
	f, err := scoped(ctx, filter...)
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, f, update)
	if err != nil {
		return translate(err)
	}
	if res.MatchedCount == 0 {
		return job.ErrFenced
	}
	return nil
}

// Swap implements job.Store.
func (s *JobStore) Swap(ctx context.Context, old, next *job.Job) error {
	return s.update(ctx, bson.D{{Key: "$set", Value: lifecycle(next)}}, unmoved(old)...)
}

// SwapExpired implements job.Store.
func (s *JobStore) SwapExpired(ctx context.Context, old, next *job.Job) error {
	return s.update(ctx, bson.D{{Key: "$set", Value: lifecycle(next)}},
		append(unmoved(old), bson.E{Key: "leaseUntil", Value: old.LeaseUntil})...)
}

func unmoved(j *job.Job) []bson.E {
	return []bson.E{
		{Key: "_id", Value: j.ID},
		{Key: "state", Value: j.State},
		{Key: "fence", Value: j.Fence},
		{Key: "delivery", Value: j.Delivery},
	}
}

// Enqueued implements job.Store.
func (s *JobStore) Enqueued(ctx context.Context, id string, delivery int, at time.Time) error {
	err := s.update(ctx, set(bson.E{Key: "enqueuedAt", Value: at}), bson.E{Key: "_id", Value: id},
		bson.E{Key: "state", Value: job.Queued}, bson.E{Key: "delivery", Value: delivery})
	if errors.Is(err, job.ErrFenced) {
		return nil // a worker was faster
	}
	return err
}

// Due implements job.Store. It spans tenants.
func (s *JobStore) Due(ctx context.Context, now time.Time, limit int) ([]*job.Job, error) {
	return s.spanning(ctx, bson.D{
		{Key: "state", Value: job.Queued},
		{Key: "enqueuedAt", Value: time.Time{}},
		{Key: "runAfter", Value: bson.D{{Key: "$lte", Value: now}}},
	}, "runAfter", limit)
}

// Unclaimed implements job.Store. It spans tenants.
func (s *JobStore) Unclaimed(ctx context.Context, before time.Time, limit int) ([]*job.Job, error) {
	return s.spanning(ctx, bson.D{
		{Key: "state", Value: job.Queued},
		{Key: "enqueuedAt", Value: bson.D{{Key: "$gt", Value: time.Time{}}, {Key: "$lte", Value: before}}},
	}, "enqueuedAt", limit)
}

// Expired implements job.Store. It spans tenants.
func (s *JobStore) Expired(ctx context.Context, now time.Time, limit int) ([]*job.Job, error) {
	return s.spanning(ctx, bson.D{
		{Key: "state", Value: job.Running},
		{Key: "leaseUntil", Value: bson.D{{Key: "$lte", Value: now}}},
	}, "leaseUntil", limit)
}

// spanning finds jobs of all tenants by an index that ends with the field they
// are sorted by.
func (s *JobStore) spanning(ctx context.Context, filter bson.D, sort string, limit int) ([]*job.Job, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[jobDoc](ctx, s.coll, filter,
		options.Find().SetSort(bson.D{{Key: sort, Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, err
	}
	jobs := make([]*job.Job, len(docs))
	for i := range docs {
		jobs[i] = docs[i].job()
	}
	return jobs, nil
}
