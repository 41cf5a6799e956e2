package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/jobs"
)

func sweepers(t *testing.T, n int) []*jobs.Sweeper {
	t.Helper()
	_, timing := impatient()
	leases := mongo.NewLeaseStore(testenv.Mongo(t))
	all := make([]*jobs.Sweeper, n)
	for i := range all {
		all[i] = jobs.NewSweeper(leases, testenv.Now, testenv.Logger(t), timing)
	}
	return all
}

func TestOneSweepsAtATime(t *testing.T) {
	var now, most, times atomic.Int64
	for _, s := range sweepers(t, 4) {
		s.Sweep("test", 20*time.Millisecond, func(ctx context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			times.Add(1)
			time.Sleep(10 * time.Millisecond)
			return tenant.RequireSystem(ctx)
		})
		run(t, s.Run)
	}
	waitFor(t, "ten sweeps", func() bool { return times.Load() >= 10 })
	if most.Load() != 1 {
		t.Errorf("%d workers swept at once", most.Load())
	}
}

func TestSweepIsNotDoneTooOften(t *testing.T) {
	var times atomic.Int64
	for _, s := range sweepers(t, 3) {
		s.Sweep("test", time.Hour, func(context.Context) error {
			times.Add(1)
			return errors.New("also when it fails")
		})
		stop := run(t, s.Run)
		waitFor(t, "the first sweep", func() bool { return times.Load() > 0 })
		time.Sleep(50 * time.Millisecond) // for one too many
		stop()
	}
	if times.Load() != 1 {
		t.Errorf("swept %d times in an hour", times.Load())
	}
}

// A sweeper that loses its lease must stop; who takes over sweeps on.
func TestLostLease(t *testing.T) {
	leases := mongo.NewLeaseStore(testenv.Mongo(t))
	system := tenant.System(t.Context(), "test")
	lost := make(chan error, 1)
	_, timing := impatient()
	s := jobs.NewSweeper(leases, testenv.Now, testenv.Logger(t), timing)
	s.Sweep("test", time.Hour, func(ctx context.Context) error {
		// Another worker's clock is ahead.
		ahead := testenv.Now().Add(time.Minute)
		if fence, ok, err := leases.Acquire(system, "test", ahead, ahead.Add(time.Second)); fence != 2 || !ok || err != nil {
			t.Errorf("take over: %d, %t, %v", fence, ok, err)
		}
		select {
		case <-ctx.Done():
			lost <- context.Cause(ctx)
		case <-time.After(patient):
			lost <- errors.New("nobody told")
		}
		return nil
	})
	run(t, s.Run)
	if err := <-lost; !errors.Is(err, job.ErrFenced) {
		t.Errorf("the sweep ended with %v", err)
	}
}

func TestPanickingSweepHarmsNoOther(t *testing.T) {
	s := sweepers(t, 1)[0]
	var times atomic.Int64
	s.Sweep("bad", time.Millisecond, func(context.Context) error { panic("bad") })
	s.Sweep("good", time.Millisecond, func(context.Context) error {
		times.Add(1)
		return nil
	})
	run(t, s.Run)
	waitFor(t, "some sweeps", func() bool { return times.Load() > 3 })
}

func TestReceiptsExpire(t *testing.T) {
	db := testenv.Mongo(t)
	now := testenv.Now().UTC().Truncate(time.Millisecond)
	clock := func() time.Time { return now }
	for _, of := range []tenant.ID{testenv.One, testenv.Two} {
		ctx := tenant.NewContext(t.Context(), of)
		for key, age := range map[string]time.Duration{"old": change.ReceiptLife + time.Second, "young": change.ReceiptLife - time.Second} {
			if err := db.InsertReceipt(ctx, change.Receipt{Key: key, Object: "obj_1", CreatedAt: now.Add(-age)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep := jobs.ExpireReceipts(db, clock)
	if err := sweep(t.Context()); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("without a system context: %v", err)
	}
	if err := sweep(tenant.System(t.Context(), "test")); err != nil {
		t.Fatal(err)
	}
	for _, of := range []tenant.ID{testenv.One, testenv.Two} {
		for key, want := range map[string]bool{"old": false, "young": true} {
			r, err := db.FindReceipt(tenant.NewContext(t.Context(), of), key)
			if err != nil || (r != nil) != want {
				t.Errorf("the %s receipt of %s: %+v, %v", key, of, r, err)
			}
		}
	}
}
