package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// Claim names one worker's hold on a job. A write under it is refused with
// ErrFenced once the job isn't running under that fence any more.
type Claim struct {
	ID    string
	Fence int64
}

// Store keeps the rows. Its methods work within a transaction carried by ctx
// and without one, for the tenant in ctx; those that say so span tenants and
// need tenant.System.
type Store interface {
	// Get fails with ErrNotFound.
	Get(ctx context.Context, id string) (*Job, error)

	// Claim makes a job of that delivery RUNNING under the next fence, if it is
	// QUEUED still, and returns it; else it fails with ErrFenced.
	Claim(ctx context.Context, id string, delivery int, at, leaseUntil time.Time) (*Job, error)
	Renew(ctx context.Context, c Claim, leaseUntil time.Time) error
	SaveProgress(ctx context.Context, c Claim, p Progress) error
	SaveStep(ctx context.Context, c Claim, s Step) error

	// Swap writes what next says of state, attempts, delivery, error and times,
	// if the job is in old's state, fence and delivery still; else it fails with
	// ErrFenced.
	Swap(ctx context.Context, old, next *Job) error
	// SwapExpired is Swap if the lease too is old's still.
	SwapExpired(ctx context.Context, old, next *Job) error
	// Enqueued notes that the queue held the delivery at that time. Nothing is
	// noted of one that is no longer QUEUED.
	Enqueued(ctx context.Context, id string, delivery int, at time.Time) error

	// Due returns QUEUED jobs that the queue hasn't got yet and that may run now,
	// the oldest first. It spans tenants.
	Due(ctx context.Context, now time.Time, limit int) ([]*Job, error)
	// Unclaimed returns QUEUED jobs that the queue was last known to hold at or
	// before a time, the oldest first. It spans tenants.
	Unclaimed(ctx context.Context, before time.Time, limit int) ([]*Job, error)
	// Expired returns RUNNING jobs whose lease ended at or before now. It spans tenants.
	Expired(ctx context.Context, now time.Time, limit int) ([]*Job, error)
}

// Changes commits a change of state together with its audit entry.
type Changes interface {
	DoPlain(ctx context.Context, action, object string, fn func(ctx context.Context) error) error
	// DoQuiet leaves the change out of the change feed.
	DoQuiet(ctx context.Context, action, object string, fn func(ctx context.Context) error) error
	// DoFailed is for the end of what failed.
	DoFailed(ctx context.Context, action, object string, quiet bool, fn func(ctx context.Context) error) error
}

// Timing tunes the service. The zero value of a field is its default.
type Timing struct {
	Lease    time.Duration // how long a claim holds unless renewed: 30 s
	Renew    time.Duration // between renewals, well below Lease: 10 s
	Timeout  time.Duration // of one attempt: 6 h
	Pause    time.Duration // after a first failed attempt, doubled with each, at most 10 min: 5 s
	Progress time.Duration // at least this between two writes of progress: 1 s
	Watch    time.Duration // between two looks at a watched job: 300 ms
}

func (t Timing) withDefaults() Timing {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Lease: 30 * time.Second, &t.Renew: 10 * time.Second, &t.Timeout: 6 * time.Hour,
		&t.Pause: 5 * time.Second, &t.Progress: time.Second, &t.Watch: 300 * time.Millisecond,
	} {
		if *field == 0 {
			*field = value
		}
	}
	return t
}

// Service shows jobs to tenants and moves them through their states.
type Service struct {
	store   Store
	changes Changes
	now     func() time.Time
	log     *slog.Logger
	timing  Timing
	watches atomic.Int64
}

// NewService returns the service of the jobs in store.
func NewService(store Store, changes Changes, now func() time.Time, log *slog.Logger, timing Timing) *Service {
	return &Service{store: store, changes: changes, now: now, log: log, timing: timing.withDefaults()}
}

// Get returns the tenant's job.
func (s *Service) Get(ctx context.Context, jobID string) (*Job, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Job, of, jobID) != nil {
		return nil, ErrNotFound
	}
	return s.store.Get(ctx, jobID)
}

// RetryInput names the parked job to queue again.
type RetryInput struct {
	ID string
}

// Retry queues a parked job again, with as many attempts as it had at first.
func (s *Service) Retry(ctx context.Context, in RetryInput) (*Job, error) {
	old, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	next := *old
	if err := next.retry(s.now()); err != nil {
		return nil, err
	}
	err = s.changes.DoPlain(ctx, "job.retry", old.ID, func(ctx context.Context) error { return s.store.Swap(ctx, old, &next) })
	if errors.Is(err, ErrFenced) {
		return nil, ErrNotParked.Because(err) // somebody else retried it
	}
	if err != nil {
		return nil, fmt.Errorf("retry job %s: %w", old.ID, err)
	}
	return &next, nil
}

const (
	maxWatches = 1000
	watchLife  = time.Hour
)

// ErrWatches reports that no more jobs can be watched at once.
var ErrWatches = errs.New(errs.Limited, "too many jobs are being watched just now; ask for the job instead")

// Watch sends the tenant's job as it is, then each time it has moved. The
// channel is closed after the state in which the job ends, when ctx ends, or
// after an hour.
func (s *Service) Watch(ctx context.Context, jobID string) (<-chan *Job, error) {
	first, err := s.Get(ctx, jobID)
	if err != nil {
		return nil, err
	}
	if s.watches.Add(1) > maxWatches {
		s.watches.Add(-1)
		return nil, ErrWatches
	}
	out := make(chan *Job)
	go func() {
		defer s.watches.Add(-1)
		defer close(out)
		ctx, cancel := context.WithTimeout(ctx, watchLife)
		defer cancel()
		s.watch(ctx, first, out)
	}()
	return out, nil
}

func (s *Service) watch(ctx context.Context, j *Job, out chan<- *Job) {
	tick := time.NewTicker(s.timing.Watch)
	defer tick.Stop()
	for {
		select {
		case out <- j:
		case <-ctx.Done():
			return
		}
		for seen := j; !moved(seen, j); {
			if seen.State.Terminal() {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			// While the database is away the watcher waits with everybody else.
			next, err := s.store.Get(ctx, seen.ID)
			switch {
			case err == nil:
				j = next
			case errs.KindOf(err) != errs.Unavailable:
				s.log.WarnContext(ctx, "watching a job ended", "job", seen.ID, "err", err)
				return
			}
		}
	}
}

// moved reports whether there is news for a watcher.
func moved(a, b *Job) bool {
	return a.State != b.State || a.Attempt != b.Attempt || a.Progress != b.Progress || len(a.Steps) != len(b.Steps) ||
		(a.Error == nil) != (b.Error == nil) || (a.Error != nil && *a.Error != *b.Error)
}

// Due returns up to limit jobs of all tenants that the queue shall have now.
func (s *Service) Due(ctx context.Context, limit int) ([]*Job, error) {
	jobs, err := s.store.Due(tenant.System(ctx, "job relay"), s.now(), limit)
	if err != nil {
		return nil, fmt.Errorf("find due jobs: %w", err)
	}
	return jobs, nil
}

// Enqueued notes that the queue holds the job's delivery.
func (s *Service) Enqueued(ctx context.Context, j *Job) error {
	if err := s.store.Enqueued(tenant.NewContext(ctx, j.Tenant), j.ID, j.Delivery, s.now()); err != nil {
		return fmt.Errorf("note job %s as enqueued: %w", j.ID, err)
	}
	return nil
}

// Unclaimed returns up to limit jobs of all tenants that the queue has got for
// at least age, as far as is known, and no worker has claimed.
func (s *Service) Unclaimed(ctx context.Context, age time.Duration, limit int) ([]*Job, error) {
	jobs, err := s.store.Unclaimed(tenant.System(ctx, "job reconciler"), s.now().Add(-age), limit)
	if err != nil {
		return nil, fmt.Errorf("find unclaimed jobs: %w", err)
	}
	return jobs, nil
}

// Redeliver makes a delivery that the queue lost due again, as a new one. It
// doesn't count as an attempt.
func (s *Service) Redeliver(ctx context.Context, j *Job) error {
	next := *j
	next.queue(s.now())
	if err := s.store.Swap(tenant.NewContext(ctx, j.Tenant), j, &next); err != nil && !errors.Is(err, ErrFenced) {
		return fmt.Errorf("deliver job %s anew: %w", j.ID, err)
	}
	return nil
}

// errDied is the failure of an attempt whose worker stopped renewing its lease.
var errDied = errs.New(errs.Internal, "the worker died")

// RecoverDead ends up to limit attempts, of all tenants, whose worker died, and
// returns how many it found. They count: a job that kills its workers is parked
// in the end.
func (s *Service) RecoverDead(ctx context.Context, limit int) (int, error) {
	now := s.now()
	dead, err := s.store.Expired(tenant.System(ctx, "job reconciler"), now, limit)
	if err != nil {
		return 0, fmt.Errorf("find dead jobs: %w", err)
	}
	for _, j := range dead {
		next := *j
		next.fail(errDied, now, s.timing.Pause)
		err := s.move(asJob(ctx, j), &next, true, func(ctx context.Context) error { return s.store.SwapExpired(ctx, j, &next) })
		if errors.Is(err, ErrFenced) {
			continue // it lives, or another reconciler was faster
		}
		if err != nil {
			return 0, fmt.Errorf("recover job %s: %w", j.ID, err)
		}
		s.log.WarnContext(ctx, "job lost its worker", "job", j.ID, "type", j.Type, "attempt", j.Attempt, "state", string(next.State))
	}
	return len(dead), nil
}

// started writes that an attempt begins, of a job that isn't bookkeeping.
func (s *Service) started(ctx context.Context, j *Job) error {
	if j.Quiet {
		return nil
	}
	return s.changes.DoQuiet(ctx, "job.start", j.ID, func(context.Context) error { return nil })
}

// move writes a job's next state by swap, with an audit entry if it ends there or
// the attempt failed.
func (s *Service) move(ctx context.Context, next *Job, failed bool, swap func(ctx context.Context) error) error {
	do := s.changes.DoPlain
	if next.Quiet {
		do = s.changes.DoQuiet
	}
	switch next.State {
	case Succeeded:
		return do(ctx, "job.finish", next.ID, swap)
	case Parked:
		return s.changes.DoFailed(ctx, "job.park", next.ID, next.Quiet, swap)
	default:
		if failed && !next.Quiet {
			return s.changes.DoFailed(ctx, "job.fail", next.ID, true, swap)
		}
		return swap(ctx)
	}
}

// done reports whether the steps hold one of that name.
func done(steps []Step, name string) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Name == name })
}
