package job

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// endTimeout bounds the write that ends an attempt, so that a worker which is
// told to stop does.
const endTimeout = 10 * time.Second

// errPanic is the failure of a handler that panicked.
var errPanic = errs.New(errs.Internal, "the handler panicked")

// Run is one attempt at a job in the hands of a handler. It may be used
// concurrently. Its writes are refused with ErrFenced once the claim is lost.
type Run struct {
	store  Store
	now    func() time.Time
	timing Timing
	job    *Job // as claimed

	mu       sync.Mutex
	steps    []Step
	progress Progress
	unsaved  bool
	savedAt  time.Time
}

// ID returns the job's id.
func (r *Run) ID() string { return r.job.ID }

// Type returns the job's type.
func (r *Run) Type() string { return r.job.Type }

// Tenant returns whose job it is. The handler's context carries it too.
func (r *Run) Tenant() tenant.ID { return r.job.Tenant }

// Object returns the id of what to work on.
func (r *Run) Object() string { return r.job.Object }

// Attempt returns the number of this attempt, from 1.
func (r *Run) Attempt() int { return r.job.Attempt }

// Fence returns the number of this claim, which grows with each. It belongs in
// the key of every object that the attempt writes.
func (r *Run) Fence() int64 { return r.job.Fence }

func (r *Run) claim() Claim { return Claim{r.job.ID, r.job.Fence} }

// Guard fails with ErrFenced if the claim is lost. Within a transaction it
// makes the two exclude each other: the transaction commits under this claim or
// not at all.
func (r *Run) Guard(ctx context.Context) error {
	return r.store.Renew(ctx, r.claim(), r.now().Add(r.timing.Lease))
}

// Progress reports how far the attempt is; total is 0 while unknown. It is
// cheap: most calls write nothing, and the last one is written at the end.
func (r *Run) Progress(ctx context.Context, done, total int64, unit string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress, r.unsaved = Progress{done, total, unit}, true
	if now := r.now(); now.Sub(r.savedAt) >= r.timing.Progress {
		r.savedAt = now
		return r.saveProgress(ctx)
	}
	return nil
}

func (r *Run) saveProgress(ctx context.Context) error {
	if !r.unsaved {
		return nil
	}
	if err := r.store.SaveProgress(ctx, r.claim(), r.progress); err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	r.unsaved = false
	return nil
}

// Done reports whether this or an earlier attempt finished the step.
func (r *Run) Done(step string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return done(r.steps, step)
}

// Step records that the step is finished, so that another attempt may skip it.
func (r *Run) Step(ctx context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done(r.steps, name) {
		return nil
	}
	step := Step{name, r.now()}
	if err := r.store.SaveStep(ctx, r.claim(), step); err != nil {
		return fmt.Errorf("save step %s: %w", name, err)
	}
	r.steps = append(r.steps, step)
	return nil
}

// Work carries out one delivery of a job of the tenant in ctx: it claims the
// job, lets do work on it, keeps the claim meanwhile and records how it ended.
// do's context carries tenant and principal; it ends with ctx, when the claim is
// lost and when an attempt's time is up. If ctx ends before the work, the job is
// queued again without counting the attempt. A delivery that was overtaken or
// carried out is ErrFenced and harmless. How the work itself ended is in the
// job's row, not in the error.
func (s *Service) Work(ctx context.Context, jobID string, delivery int, do func(ctx context.Context, r *Run) error) error {
	now := s.now()
	j, err := s.store.Claim(ctx, jobID, delivery, now, now.Add(s.timing.Lease))
	if err != nil {
		return fmt.Errorf("claim job %s: %w", jobID, err)
	}
	ctx = asJob(ctx, j)
	r := &Run{store: s.store, now: s.now, timing: s.timing, job: j, steps: slices.Clone(j.Steps), progress: j.Progress}
	s.log.InfoContext(ctx, "job started", "job", j.ID, "type", j.Type, "attempt", j.Attempt)

	working, lose := context.WithCancelCause(ctx)
	working, stop := context.WithTimeout(working, s.timing.Timeout)
	var heart sync.WaitGroup
	heart.Go(func() { s.beat(working, r, now.Add(s.timing.Lease), lose) })
	failed := s.try(working, r, func(ctx context.Context, r *Run) error {
		if err := s.started(ctx, j); err != nil {
			return err
		}
		return do(ctx, r)
	})
	interrupted := ctx.Err() != nil
	stop()
	lose(nil)
	heart.Wait()

	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return s.end(ending, r, failed, interrupted)
}

// asJob returns ctx for work in the name of the job.
func asJob(ctx context.Context, j *Job) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, j.Tenant),
		authz.Principal{Kind: authz.KindSystem, ID: j.ID, Tenant: j.Tenant})
}

// try calls do and turns a panic into an error. What was panicked with may be
// anything, so no more than its type is logged.
func (s *Service) try(ctx context.Context, r *Run, do func(ctx context.Context, r *Run) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "job panicked", "job", r.ID(), "type", r.Type(), "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return do(ctx, r)
}

// beat renews the lease until ctx ends. When the claim is lost, or may be since
// the lease ran out without an answer from the store, it calls lose.
func (s *Service) beat(ctx context.Context, r *Run, until time.Time, lose context.CancelCauseFunc) {
	tick := time.NewTicker(s.timing.Renew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		next := s.now().Add(s.timing.Lease)
		err := s.renew(ctx, r, next)
		switch {
		case err == nil:
			until = next
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrFenced) || !s.now().Before(until):
			s.log.WarnContext(ctx, "job's claim is lost", "job", r.ID(), "type", r.Type(), "attempt", r.Attempt(), "err", err)
			lose(ErrFenced)
			return
		}
	}
}

func (s *Service) renew(ctx context.Context, r *Run, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, s.timing.Renew)
	defer cancel()
	return s.store.Renew(ctx, r.claim(), until)
}

// end records how an attempt ended.
func (s *Service) end(ctx context.Context, r *Run, failed error, interrupted bool) error {
	next, now := *r.job, s.now()
	attemptFailed := false
	postponed, later := errors.AsType[postponedError](failed)
	switch {
	case failed == nil:
		next.succeed(now)
	case later:
		next.queue(now.Add(postponed.pause))
	case interrupted && !permanent(failed):
		next.queue(now)
	default:
		next.fail(failed, now, s.timing.Pause)
		attemptFailed = true
	}
	r.mu.Lock()
	err := r.saveProgress(ctx)
	r.mu.Unlock()
	if err == nil {
		err = s.move(ctx, &next, attemptFailed, func(ctx context.Context) error { return s.store.Swap(ctx, r.job, &next) })
	}
	if err != nil {
		return fmt.Errorf("end job %s: %w", r.ID(), err)
	}
	if later {
		s.log.InfoContext(ctx, "job postponed", "job", r.ID(), "type", r.Type(), "pause", postponed.pause)
		return nil
	}
	if failed != nil {
		s.log.WarnContext(ctx, "job attempt failed", "job", r.ID(), "type", r.Type(), "attempt", r.Attempt(),
			"state", string(next.State), "interrupted", interrupted, "err", failed)
		return nil
	}
	s.log.InfoContext(ctx, "job finished", "job", r.ID(), "type", r.Type(), "attempt", r.Attempt())
	return nil
}
