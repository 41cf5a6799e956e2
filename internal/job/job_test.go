package job_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// env is a job service over the real store, with little patience.
type env struct {
	*job.Service
	changes *change.Runner
	log     bytes.Buffer
}

func newEnv(t *testing.T, timing job.Timing) *env {
	t.Helper()
	db := testenv.Mongo(t)
	e := &env{}
	e.changes, _ = testenv.Changes(t, db, nil, nil, nil)
	log := slog.New(slog.NewTextHandler(&e.log, nil))
	e.Service = job.NewService(mongo.NewJobStore(db), e.changes, testenv.Now, log, timing)
	return e
}

func ctxOf(t *testing.T, of tenant.ID) context.Context {
	t.Helper()
	return tenant.NewContext(t.Context(), of)
}

// ask commits a job of the first tenant.
func (e *env) ask(t *testing.T, spec job.Spec) *job.Job {
	t.Helper()
	spec.ID = id.New(id.Job, testenv.One)
	if spec.Type == "" {
		spec.Type = "test:work"
	}
	spec.Object = "obj_1"
	err := e.changes.Do(ctxOf(t, testenv.One), func(context.Context) (change.Change, error) {
		return change.Change{Action: "test.ask", Object: spec.ID, Then: []job.Spec{spec}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e.get(t.Context(), t, spec.ID)
}

func (e *env) get(ctx context.Context, t *testing.T, jobID string) *job.Job {
	t.Helper()
	j, err := e.Get(tenant.NewContext(ctx, testenv.One), jobID)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// work carries out the job's present delivery.
func (e *env) work(ctx context.Context, t *testing.T, jobID string, do func(ctx context.Context, r *job.Run) error) error {
	t.Helper()
	return e.Work(tenant.NewContext(ctx, testenv.One), jobID, e.get(ctx, t, jobID).Delivery, do)
}

func TestWorkRecordsHowItWent(t *testing.T) {
	e := newEnv(t, job.Timing{})
	j := e.ask(t, job.Spec{})
	if j.State != job.Queued || j.Attempt != 1 || !j.StartedAt.IsZero() || !j.EnqueuedAt.IsZero() {
		t.Fatalf("a fresh job is %+v", j)
	}
	err := e.work(t.Context(), t, j.ID, func(ctx context.Context, r *job.Run) error {
		p := authz.FromContext(ctx)
		of, err := tenant.FromContext(ctx)
		if err != nil || of != testenv.One || p.Kind != authz.KindSystem || p.ID != j.ID || p.Tenant != testenv.One {
			t.Errorf("the handler runs as %+v of %s (%v)", p, of, err)
		}
		if r.ID() != j.ID || r.Type() != "test:work" || r.Object() != "obj_1" || r.Tenant() != testenv.One || r.Attempt() != 1 || r.Fence() != 1 {
			t.Errorf("the handler got %s %s %s %s %d %d", r.ID(), r.Type(), r.Object(), r.Tenant(), r.Attempt(), r.Fence())
		}
		if running := e.get(ctx, t, j.ID); running.State != job.Running || running.StartedAt.IsZero() {
			t.Errorf("a claimed job is %+v", running)
		}
		if r.Done("first") {
			t.Error("a step is done before it was")
		}
		return errors.Join(
			r.Step(ctx, "first"), r.Step(ctx, "first"), r.Step(ctx, "second"),
			r.Progress(ctx, 1, 0, "records"), r.Progress(ctx, 7, 9, "records"),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	j = e.get(t.Context(), t, j.ID)
	if j.State != job.Succeeded || j.EndedAt.IsZero() || j.Error != nil {
		t.Errorf("a finished job is %+v", j)
	}
	if want := (job.Progress{Done: 7, Total: 9, Unit: "records"}); j.Progress != want {
		t.Errorf("progress %+v, want %+v", j.Progress, want)
	}
	steps := make([]string, len(j.Steps))
	for i, s := range j.Steps {
		steps[i] = s.Name
	}
	if !slices.Equal(steps, []string{"first", "second"}) {
		t.Errorf("steps %v", steps)
	}
}

func TestFailures(t *testing.T) {
	const planted = "planted-value"
	internal := job.Failure{Code: errs.Internal, Message: "internal error"}
	for _, tt := range []struct {
		name     string
		attempts int
		do       func() error
		want     job.State
		failure  job.Failure
	}{
		{"internal, attempts left", 2, func() error { return errors.New("disk of " + planted) }, job.Queued, internal},
		{"internal, last attempt", 1, func() error { return errors.New("disk of " + planted) }, job.Parked, internal},
		{"panic", 1, func() error { panic(planted) }, job.Parked, internal},
		{"unavailable", 2, func() error { return errs.New(errs.Unavailable, "the store is down") }, job.Queued, job.Failure{Code: errs.Unavailable, Message: "the store is down"}},
		{"conflict", 2, func() error { return errs.New(errs.Conflict, "it moved") }, job.Queued, job.Failure{Code: errs.Conflict, Message: "it moved"}},
		{"marked permanent", 5, func() error { return job.Permanent(errors.New("bad")) }, job.Parked, internal},
		{"marked permanent, wrapped", 5, func() error {
			return fmt.Errorf("build: %w", job.Permanent(errs.New(errs.Limited, "too large")))
		}, job.Parked, job.Failure{Code: errs.Limited, Message: "too large"}},
		{"invalid", 5, func() error { return errs.New(errs.Invalid, "no").Because(errors.New(planted)) }, job.Parked, job.Failure{Code: errs.Invalid, Message: "no"}},
		{"not found", 5, func() error { return errs.New(errs.NotFound, "none") }, job.Parked, job.Failure{Code: errs.NotFound, Message: "none"}},
		{"precondition", 5, func() error { return errs.New(errs.Precondition, "not yet") }, job.Parked, job.Failure{Code: errs.Precondition, Message: "not yet"}},
		{"erased", 5, func() error { return fmt.Errorf("open: %w", errs.New(errs.Erased, "gone")) }, job.Parked, job.Failure{Code: errs.Erased, Message: "gone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t, job.Timing{Pause: time.Minute})
			j := e.ask(t, job.Spec{MaxAttempts: tt.attempts})
			if err := e.work(t.Context(), t, j.ID, func(context.Context, *job.Run) error { return tt.do() }); err != nil {
				t.Fatal(err)
			}
			got := e.get(t.Context(), t, j.ID)
			if got.State != tt.want || got.Error == nil || *got.Error != tt.failure {
				t.Fatalf("got %s with %+v, want %s with %+v", got.State, got.Error, tt.want, tt.failure)
			}
			parked := tt.want == job.Parked
			if parked == got.EndedAt.IsZero() || parked != (got.Attempt == 1) || parked != (got.Delivery == 1) {
				t.Errorf("left as %+v", got)
			}
			if wait := got.RunAfter.Sub(j.RunAfter); !parked && wait < 50*time.Second {
				t.Errorf("waits %s", wait)
			}
			if tt.name == "panic" && strings.Contains(e.log.String(), planted) {
				t.Error("what was panicked with is in the log")
			}
		})
	}
}

func TestPauseGrows(t *testing.T) {
	e := newEnv(t, job.Timing{Pause: time.Minute})
	j := e.ask(t, job.Spec{})
	var got []time.Duration
	for range 6 {
		// Due looks at the clock; a delivery that is at hand may be carried out early.
		before := testenv.Now()
		if err := e.work(t.Context(), t, j.ID, func(context.Context, *job.Run) error { return errors.New("no") }); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.get(t.Context(), t, j.ID).RunAfter.Sub(before).Round(time.Minute))
	}
	if diff := cmp.Diff([]time.Duration{1 * time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeliveredTwice(t *testing.T) {
	e := newEnv(t, job.Timing{})
	j := e.ask(t, job.Spec{})
	effects := 0
	do := func(ctx context.Context, _ *job.Run) error {
		effects++
		if err := e.Work(ctx, j.ID, 1, func(context.Context, *job.Run) error {
			effects++
			return nil
		}); !errors.Is(err, job.ErrFenced) {
			t.Errorf("a second claim of a running job: %v", err)
		}
		return nil
	}
	if err := e.Work(ctxOf(t, testenv.One), j.ID, 1, do); err != nil {
		t.Fatal(err)
	}
	for _, delivery := range []int{1, 2} {
		if err := e.Work(ctxOf(t, testenv.One), j.ID, delivery, do); !errors.Is(err, job.ErrFenced) {
			t.Errorf("delivery %d of a finished job: %v", delivery, err)
		}
	}
	if effects != 1 {
		t.Errorf("%d effects", effects)
	}
}

// A worker that was held up so long that its job was given to another must not
// write any more.
func TestOvertakenWorkerIsFenced(t *testing.T) {
	e := newEnv(t, job.Timing{Lease: 50 * time.Millisecond, Renew: time.Hour, Pause: time.Nanosecond, Progress: time.Nanosecond})
	j := e.ask(t, job.Spec{})
	err := e.work(t.Context(), t, j.ID, func(ctx context.Context, slow *job.Run) error {
		time.Sleep(100 * time.Millisecond)
		if n, err := e.RecoverDead(ctx, 10); n != 1 || err != nil {
			t.Fatalf("recovered %d: %v", n, err)
		}
		if err := e.work(ctx, t, j.ID, func(ctx context.Context, fast *job.Run) error {
			if fast.Attempt() != 2 || fast.Fence() != slow.Fence()+1 {
				t.Errorf("attempt %d under fence %d", fast.Attempt(), fast.Fence())
			}
			for name, err := range map[string]error{
				"step": slow.Step(ctx, "slow"), "progress": slow.Progress(ctx, 1, 1, "bytes"), "guard": slow.Guard(ctx),
			} {
				if !errors.Is(err, job.ErrFenced) {
					t.Errorf("%s of the overtaken worker: %v", name, err)
				}
			}
			return fast.Step(ctx, "fast")
		}); err != nil {
			t.Fatal(err)
		}
		if err := slow.Guard(ctx); !errors.Is(err, job.ErrFenced) {
			t.Errorf("guard after the end: %v", err)
		}
		return errors.New("too late")
	})
	if !errors.Is(err, job.ErrFenced) {
		t.Errorf("end of the overtaken worker: %v", err)
	}
	j = e.get(t.Context(), t, j.ID)
	if j.State != job.Succeeded || len(j.Steps) != 1 || j.Steps[0].Name != "fast" || j.Error != nil {
		t.Errorf("left as %+v", j)
	}
}

// A change made under a claim commits under it or not at all.
func TestGuardedChange(t *testing.T) {
	e := newEnv(t, job.Timing{Lease: 50 * time.Millisecond, Renew: time.Hour, Pause: time.Nanosecond})
	j := e.ask(t, job.Spec{})
	effect := e.ask(t, job.Spec{}).ID + "x" // any id that is free
	err := e.work(t.Context(), t, j.ID, func(ctx context.Context, r *job.Run) error {
		time.Sleep(100 * time.Millisecond)
		if _, err := e.RecoverDead(ctx, 10); err != nil {
			t.Fatal(err)
		}
		return e.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
			c := change.Change{Action: "test.effect", Object: effect, Then: []job.Spec{{ID: effect, Type: "test:effect"}}}
			return c, r.Guard(ctx)
		})
	})
	if !errors.Is(err, job.ErrFenced) {
		t.Errorf("end: %v", err)
	}
	due, err := e.Due(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range due {
		if d.ID == effect {
			t.Error("the change of a lost claim was committed")
		}
	}
}

func TestLostClaimEndsTheHandler(t *testing.T) {
	e := newEnv(t, job.Timing{Lease: 60 * time.Millisecond, Renew: 200 * time.Millisecond, Pause: time.Nanosecond})
	j := e.ask(t, job.Spec{})
	err := e.work(t.Context(), t, j.ID, func(ctx context.Context, _ *job.Run) error {
		time.Sleep(100 * time.Millisecond)
		if _, err := e.RecoverDead(ctx, 10); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, job.ErrFenced) {
		t.Errorf("end: %v", err)
	}
}

func TestLeaseIsKept(t *testing.T) {
	e := newEnv(t, job.Timing{Lease: time.Second, Renew: 50 * time.Millisecond})
	j := e.ask(t, job.Spec{})
	err := e.work(t.Context(), t, j.ID, func(ctx context.Context, _ *job.Run) error {
		for range 15 {
			time.Sleep(100 * time.Millisecond)
			if n, err := e.RecoverDead(ctx, 10); n != 0 || err != nil {
				t.Errorf("recovered %d living jobs: %v", n, err)
			}
		}
		return nil
	})
	if err != nil || e.get(t.Context(), t, j.ID).State != job.Succeeded {
		t.Errorf("%v, %+v", err, e.get(t.Context(), t, j.ID))
	}
}

func TestAttemptHasATime(t *testing.T) {
	e := newEnv(t, job.Timing{Timeout: 50 * time.Millisecond, Pause: time.Minute})
	j := e.ask(t, job.Spec{})
	if err := e.work(t.Context(), t, j.ID, func(ctx context.Context, _ *job.Run) error {
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if j = e.get(t.Context(), t, j.ID); j.State != job.Queued || j.Attempt != 2 {
		t.Errorf("left as %+v", j)
	}
}

func TestInterruptedAttemptIsNotCounted(t *testing.T) {
	e := newEnv(t, job.Timing{Pause: time.Minute})
	j := e.ask(t, job.Spec{MaxAttempts: 1})
	ctx, stop := context.WithCancel(ctxOf(t, testenv.One))
	if err := e.Work(ctx, j.ID, 1, func(ctx context.Context, _ *job.Run) error {
		stop()
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if j = e.get(t.Context(), t, j.ID); j.State != job.Queued || j.Attempt != 1 || j.Delivery != 2 || j.Error != nil {
		t.Errorf("left as %+v", j)
	}
	if err := e.work(t.Context(), t, j.ID, func(context.Context, *job.Run) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if j = e.get(t.Context(), t, j.ID); j.State != job.Succeeded {
		t.Errorf("left as %+v", j)
	}
}

// A job that kills its workers must not do so for ever.
func TestDeadlyJobIsParked(t *testing.T) {
	e := newEnv(t, job.Timing{Lease: time.Nanosecond, Renew: time.Hour, Pause: time.Nanosecond})
	j := e.ask(t, job.Spec{MaxAttempts: 2})
	for range 2 {
		if err := e.work(t.Context(), t, j.ID, func(ctx context.Context, _ *job.Run) error {
			time.Sleep(2 * time.Millisecond) // as long as a lease can be stored
			_, err := e.RecoverDead(ctx, 10)
			return err
		}); !errors.Is(err, job.ErrFenced) {
			t.Fatalf("end: %v", err)
		}
	}
	if j = e.get(t.Context(), t, j.ID); j.State != job.Parked || j.Attempt != 2 || j.Error == nil || j.Error.Code != errs.Internal {
		t.Errorf("left as %+v", j)
	}
}

func TestRetry(t *testing.T) {
	e := newEnv(t, job.Timing{Pause: time.Nanosecond})
	j := e.ask(t, job.Spec{MaxAttempts: 2})
	broken := func(ctx context.Context, r *job.Run) error {
		return errors.Join(r.Step(ctx, "once"), errors.New("no"))
	}
	one, two := ctxOf(t, testenv.One), ctxOf(t, testenv.Two)
	if _, err := e.Retry(one, job.RetryInput{ID: j.ID}); !errors.Is(err, job.ErrNotParked) {
		t.Errorf("retry of a queued job: %v", err)
	}
	for range 2 {
		if err := e.work(t.Context(), t, j.ID, broken); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Retry(two, job.RetryInput{ID: j.ID}); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("retry by another tenant: %v", err)
	}
	got, err := e.Retry(one, job.RetryInput{ID: j.ID})
	if err != nil {
		t.Fatal(err)
	}
	if got.State != job.Queued || got.Attempt != 3 || got.Delivery != 3 || !got.EndedAt.IsZero() {
		t.Errorf("a retried job is %+v", got)
	}
	// Two attempts again: the first may fail.
	if err := e.work(t.Context(), t, j.ID, broken); err != nil {
		t.Fatal(err)
	}
	if got = e.get(t.Context(), t, j.ID); got.State != job.Queued || got.Attempt != 4 {
		t.Fatalf("after a retry's first failure it is %+v", got)
	}
	if err := e.work(t.Context(), t, j.ID, func(_ context.Context, r *job.Run) error {
		if !r.Done("once") {
			t.Error("the step of an earlier attempt is forgotten")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got = e.get(t.Context(), t, j.ID); got.State != job.Succeeded {
		t.Errorf("left as %+v", got)
	}
	if _, err := e.Retry(one, job.RetryInput{ID: j.ID}); !errors.Is(err, job.ErrNotParked) {
		t.Errorf("retry of a finished job: %v", err)
	}
}

func TestAnotherTenantSeesNothing(t *testing.T) {
	e := newEnv(t, job.Timing{})
	j := e.ask(t, job.Spec{})
	two := ctxOf(t, testenv.Two)
	for name, jobID := range map[string]string{
		"foreign": j.ID, "unknown": id.New(id.Job, testenv.Two), "of another type": id.New(id.Export, testenv.Two), "none": "",
	} {
		if _, err := e.Get(two, jobID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("get %s: %v", name, err)
		}
		if _, err := e.Watch(two, jobID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("watch %s: %v", name, err)
		}
		if _, err := e.Retry(two, job.RetryInput{ID: jobID}); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("retry %s: %v", name, err)
		}
	}
	if err := e.Work(two, j.ID, 1, func(context.Context, *job.Run) error { return nil }); !errors.Is(err, job.ErrFenced) {
		t.Errorf("work: %v", err)
	}
	if _, err := e.Get(t.Context(), j.ID); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("get without a tenant: %v", err)
	}
	if got := e.get(t.Context(), t, j.ID); got.State != job.Queued || got.Fence != 0 {
		t.Errorf("left as %+v", got)
	}
}

func TestWatch(t *testing.T) {
	e := newEnv(t, job.Timing{Watch: time.Millisecond, Progress: time.Nanosecond})
	j := e.ask(t, job.Spec{})
	watched, err := e.Watch(ctxOf(t, testenv.One), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	if first := <-watched; first.State != job.Queued {
		t.Errorf("first it is %+v", first)
	}
	if err := e.work(t.Context(), t, j.ID, func(ctx context.Context, r *job.Run) error {
		if seen := <-watched; seen.State != job.Running {
			t.Errorf("then it is %+v", seen)
		}
		err := r.Progress(ctx, 3, 5, "bytes")
		if seen := <-watched; seen.Progress.Done != 3 {
			t.Errorf("then it is %+v", seen)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if last := <-watched; last.State != job.Succeeded {
		t.Errorf("last it is %+v", last)
	}
	if more, open := <-watched; open {
		t.Errorf("after the end comes %+v", more)
	}

	ctx, stop := context.WithCancel(ctxOf(t, testenv.One))
	watched, err = e.Watch(ctx, e.ask(t, job.Spec{}).ID)
	if err != nil {
		t.Fatal(err)
	}
	<-watched
	stop()
	if more, open := <-watched; open {
		t.Errorf("after the watcher left comes %+v", more)
	}
}

func TestWatchesAreBounded(t *testing.T) {
	e := newEnv(t, job.Timing{Watch: time.Hour})
	j := e.ask(t, job.Spec{})
	ctx, stop := context.WithCancel(ctxOf(t, testenv.One))
	var last <-chan *job.Job
	for range 1000 {
		var err error
		if last, err = e.Watch(ctx, j.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Watch(ctx, j.ID); !errors.Is(err, job.ErrWatches) {
		t.Errorf("one watch too many: %v", err)
	}
	stop()
	for range last {
	}
	var err error
	for range 1000 { // the others leave about now
		if _, err = e.Watch(ctxOf(t, testenv.One), j.ID); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("after the watchers left: %v", err)
}
