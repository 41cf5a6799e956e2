package mongo_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

func minute(n int) time.Time { return time.Date(2026, time.March, 2, 10, n, 0, 0, time.UTC) }

func newJob(of tenant.ID, at time.Time) *job.Job {
	return job.New(job.Spec{Type: "test:work", Object: "obj_1", Tenant: of, MaxAttempts: 3}, id.New(id.Job, of), at)
}

func TestJobStoreKeepsEverything(t *testing.T) {
	db := testenv.Mongo(t)
	store, ctx := mongo.NewJobStore(db), tenant.NewContext(t.Context(), testenv.One)
	want := newJob(testenv.One, minute(1))
	want.Steps = []job.Step{}
	if err := db.InsertJobs(ctx, want); err != nil {
		t.Fatal(err)
	}
	check := func(of string) {
		t.Helper()
		got, err := store.Get(ctx, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %s (-want +got)\n%s", of, diff)
		}
	}
	check("insert")

	claimed, err := store.Claim(ctx, want.ID, 1, minute(2), minute(3))
	if err != nil {
		t.Fatal(err)
	}
	want.State, want.Fence, want.StartedAt, want.LeaseUntil = job.Running, 1, minute(2), minute(3)
	if diff := cmp.Diff(want, claimed); diff != "" {
		t.Errorf("claimed (-want +got)\n%s", diff)
	}
	check("claim")

	claim := job.Claim{ID: want.ID, Fence: 1}
	want.LeaseUntil, want.Progress = minute(9), job.Progress{Done: 1 << 40, Total: 1 << 41, Unit: "bytes"}
	want.Steps = []job.Step{{Name: "a", EndedAt: minute(3)}, {Name: "b", EndedAt: minute(4)}}
	if err := errors.Join(
		store.Renew(ctx, claim, minute(9)), store.SaveProgress(ctx, claim, want.Progress),
		store.SaveStep(ctx, claim, want.Steps[0]), store.SaveStep(ctx, claim, want.Steps[1]),
	); err != nil {
		t.Fatal(err)
	}
	check("writes of a claim")

	old := *want
	want.State, want.Attempt, want.Delivery, want.RunAfter = job.Queued, 2, 2, minute(6)
	want.Error = &job.Failure{Code: errs.Unavailable, Message: "down"}
	if err := store.Swap(ctx, &old, want); err != nil {
		t.Fatal(err)
	}
	check("swap")
	want.EnqueuedAt = minute(7)
	if err := store.Enqueued(ctx, want.ID, 2, minute(7)); err != nil {
		t.Fatal(err)
	}
	check("enqueue")
	if _, err := store.Claim(ctx, want.ID, 2, minute(8), minute(9)); err != nil {
		t.Fatal(err)
	}
	want.State, want.Fence = job.Running, 2 // StartedAt stays
	check("second claim")
}

func TestJobStoreRefusesWhoIsLate(t *testing.T) {
	db := testenv.Mongo(t)
	store, ctx := mongo.NewJobStore(db), tenant.NewContext(t.Context(), testenv.One)
	j := newJob(testenv.One, minute(1))
	if err := db.InsertJobs(ctx, j); err != nil {
		t.Fatal(err)
	}
	const workers = 16
	var wg sync.WaitGroup
	won := make([]*job.Job, workers)
	for i := range workers {
		wg.Go(func() {
			var err error
			if won[i], err = store.Claim(ctx, j.ID, 1, minute(2), minute(3)); err != nil && !errors.Is(err, job.ErrFenced) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	won = slices.DeleteFunc(won, func(j *job.Job) bool { return j == nil })
	if len(won) != 1 {
		t.Fatalf("%d of %d claims won", len(won), workers)
	}
	running, late, two := won[0], job.Claim{ID: j.ID, Fence: 0}, tenant.NewContext(t.Context(), testenv.Two)
	now := job.Claim{ID: j.ID, Fence: 1}
	moved := *running
	moved.Delivery++
	for name, err := range map[string]error{
		"renew":                store.Renew(ctx, late, minute(9)),
		"progress":             store.SaveProgress(ctx, late, job.Progress{Done: 9}),
		"step":                 store.SaveStep(ctx, late, job.Step{Name: "late"}),
		"swap of old state":    store.Swap(ctx, j, &moved),
		"swap of old delivery": store.Swap(ctx, &moved, running),
		"renew, foreign":       store.Renew(two, now, minute(9)),
		"progress, foreign":    store.SaveProgress(two, now, job.Progress{Done: 9}),
		"step, foreign":        store.SaveStep(two, now, job.Step{Name: "foreign"}),
		"swap, foreign":        store.Swap(two, running, &moved),
		"expire, foreign":      store.SwapExpired(two, running, &moved),
	} {
		if !errors.Is(err, job.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := store.Enqueued(ctx, j.ID, 1, minute(9)); err != nil {
		t.Errorf("enqueued of a running job: %v", err)
	}
	if _, err := store.Get(two, j.ID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("get, foreign: %v", err)
	}
	got, err := store.Get(ctx, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(running, got); diff != "" {
		t.Errorf("something was written (-want +got)\n%s", diff)
	}
	// Renewed after it was read, so no longer expired.
	if err := store.Renew(ctx, now, minute(9)); err != nil {
		t.Fatal(err)
	}
	if err := store.SwapExpired(ctx, running, &moved); !errors.Is(err, job.ErrFenced) {
		t.Errorf("expiry of a renewed lease: %v", err)
	}
}

func TestJobStoreFindsWhatIsDue(t *testing.T) {
	uri, engine := testenv.Engine(t)
	db := testenv.Data(t, uri)
	store, system := mongo.NewJobStore(db), tenant.System(t.Context(), "test")
	names := map[string]string{}
	insert := func(name string, of tenant.ID, at int) (*job.Job, string) {
		j := newJob(of, minute(at))
		names[j.ID] = name
		if err := db.InsertJobs(tenant.NewContext(t.Context(), of), j); err != nil {
			t.Fatal(err)
		}
		return j, j.ID
	}
	insert("due 2", testenv.One, 2)
	insert("due 1", testenv.Two, 1)
	insert("later", testenv.One, 30)
	for _, name := range []struct {
		name  string
		of    tenant.ID
		at    int
		claim int
	}{
		{"enqueued 5", testenv.One, 5, 0},
		{"enqueued 4", testenv.Two, 4, 0},
		{"enqueued 20", testenv.One, 20, 0},
		{"leased 7", testenv.One, 3, 7},
		{"leased 6", testenv.Two, 3, 6},
		{"leased 40", testenv.One, 3, 40},
	} {
		_, jobID := insert(name.name, name.of, 0)
		ctx := tenant.NewContext(t.Context(), name.of)
		if err := store.Enqueued(ctx, jobID, 1, minute(name.at)); err != nil {
			t.Fatal(err)
		}
		if name.claim == 0 {
			continue
		}
		if _, err := store.Claim(ctx, jobID, 1, minute(3), minute(name.claim)); err != nil {
			t.Fatal(err)
		}
	}
	scans := engine.FullScans()
	check := func(what string, limit int, found []*job.Job, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(found))
		for i, j := range found {
			got[i] = names[j.ID]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, limit %d: %v, want %v", what, limit, got, want)
		}
	}
	for _, limit := range []int{10, 1} {
		first := func(names ...string) []string { return names[:min(limit, len(names))] }
		found, err := store.Due(system, minute(10), limit)
		check("due", limit, found, err, first("due 1", "due 2")...)
		found, err = store.Unclaimed(system, minute(10), limit)
		check("unclaimed", limit, found, err, first("enqueued 4", "enqueued 5")...)
		found, err = store.Expired(system, minute(10), limit)
		check("expired", limit, found, err, first("leased 6", "leased 7")...)
	}
	if n := engine.FullScans() - scans; n != 0 {
		t.Errorf("%d collection scans", n)
	}
	one := tenant.NewContext(t.Context(), testenv.One)
	for name, find := range map[string]func() ([]*job.Job, error){
		"due":       func() ([]*job.Job, error) { return store.Due(one, minute(10), 1) },
		"unclaimed": func() ([]*job.Job, error) { return store.Unclaimed(one, minute(10), 1) },
		"expired":   func() ([]*job.Job, error) { return store.Expired(one, minute(10), 1) },
	} {
		if found, err := find(); !errors.Is(err, tenant.ErrSystem) || found != nil {
			t.Errorf("%s for one tenant: %v, %v", name, found, err)
		}
	}
}

func TestLeases(t *testing.T) {
	store, ctx := mongo.NewLeaseStore(testenv.Mongo(t)), tenant.System(t.Context(), "test")
	acquire := func(at int, fence int64, want bool) {
		t.Helper()
		got, ok, err := store.Acquire(ctx, "test", minute(at), minute(at+2))
		if err != nil || ok != want || got != fence {
			t.Errorf("acquire at %d: %d, %t, %v", at, got, ok, err)
		}
	}
	acquire(1, 1, true)
	acquire(2, 0, false) // held
	acquire(3, 2, true)  // its holder died
	for name, err := range map[string]error{
		"renew": store.Renew(ctx, "test", 1, minute(9)), "release": store.Release(ctx, "test", 1, minute(9)),
	} {
		if !errors.Is(err, job.ErrFenced) {
			t.Errorf("%s under an old fence: %v", name, err)
		}
	}
	if err := store.Renew(ctx, "test", 2, minute(7)); err != nil {
		t.Fatal(err)
	}
	acquire(6, 0, false)
	if err := store.Release(ctx, "test", 2, minute(20)); err != nil {
		t.Fatal(err)
	}
	acquire(19, 0, false) // free, but not due
	acquire(20, 3, true)
	for name, err := range map[string]error{
		"renew":   store.Renew(t.Context(), "test", 3, minute(9)),
		"release": store.Release(t.Context(), "test", 3, minute(9)),
		"acquire": func() error { _, _, err := store.Acquire(t.Context(), "other", minute(1), minute(2)); return err }(),
	} {
		if !errors.Is(err, tenant.ErrSystem) {
			t.Errorf("%s without a system context: %v", name, err)
		}
	}
}
