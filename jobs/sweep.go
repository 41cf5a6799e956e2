package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// Leases see to it that one worker at a time does a sweep, and remember when it
// is due again. They belong to no tenant: all methods need tenant.System.
type Leases interface {
	// Acquire takes the lease of that name if nobody holds it and its work is
	// due, and returns its next fence; else ok is false.
	Acquire(ctx context.Context, name string, now, until time.Time) (fence int64, ok bool, err error)
	// Renew prolongs the lease, or fails with job.ErrFenced.
	Renew(ctx context.Context, name string, fence int64, until time.Time) error
	// Release gives the lease back, or fails with job.ErrFenced. Its work is due
	// again at that time.
	Release(ctx context.Context, name string, fence int64, due time.Time) error
}

// Sweeper does regular work, each kind on one worker at a time.
type Sweeper struct {
	leases Leases
	now    func() time.Time
	log    *slog.Logger
	timing Timing
	sweeps []sweep
}

type sweep struct {
	name  string
	every time.Duration
	do    func(ctx context.Context) error
}

// NewSweeper returns a sweeper without sweeps.
func NewSweeper(leases Leases, now func() time.Time, log *slog.Logger, timing Timing) *Sweeper {
	return &Sweeper{leases: leases, now: now, log: log, timing: timing.withDefaults()}
}

// Sweep registers work to be done regularly, before Run. Its context may span
// tenants (tenant.System) and ends when the lease is lost; what fails is done
// again after the same time.
func (s *Sweeper) Sweep(name string, every time.Duration, do func(ctx context.Context) error) {
	s.sweeps = append(s.sweeps, sweep{name, every, do})
}

// maxLook bounds the time between two looks whether a sweep is due.
const maxLook = time.Minute

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	ctx = tenant.System(ctx, "sweeper")
	var all sync.WaitGroup
	defer all.Wait()
	for _, w := range s.sweeps {
		all.Go(func() {
			// repeat ends with ctx only, and then without an error.
			_ = repeat(ctx, w.name, min(w.every, maxLook), nil, s.log, func(ctx context.Context) error { return s.once(ctx, w) })
		})
	}
	return nil
}

// once does a sweep if it is due and nobody else is at it.
func (s *Sweeper) once(ctx context.Context, w sweep) error {
	now := s.now()
	until := now.Add(s.timing.Lease)
	fence, ok, err := s.leases.Acquire(ctx, w.name, now, until)
	if err != nil || !ok {
		return err
	}
	sweeping, lose := context.WithCancelCause(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { s.hold(sweeping, w.name, fence, until, lose) })
	failed := s.try(sweeping, w)
	lose(nil)
	heart.Wait()

	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return errors.Join(failed, s.leases.Release(ending, w.name, fence, s.now().Add(w.every)))
}

func (s *Sweeper) try(ctx context.Context, w sweep) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "sweep panicked", "sweep", w.name, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errs.New(errs.Internal, "the sweep panicked")
		}
	}()
	return w.do(ctx)
}

// hold renews the lease until ctx ends, and calls lose when it is lost or ran out.
func (s *Sweeper) hold(ctx context.Context, name string, fence int64, until time.Time, lose context.CancelCauseFunc) {
	tick := time.NewTicker(s.timing.Renew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		next := s.now().Add(s.timing.Lease)
		err := s.leases.Renew(ctx, name, fence, next)
		switch {
		case err == nil:
			until = next
		case errors.Is(err, job.ErrFenced) || !s.now().Before(until):
			lose(job.ErrFenced)
			return
		}
	}
}

// Receipts keeps the receipts of creates, as the sweep needs it.
type Receipts interface {
	// DeleteReceipts deletes those of all tenants made before a time, and needs
	// tenant.System.
	DeleteReceipts(ctx context.Context, before time.Time) error
}

// ExpireReceipts returns the sweep that deletes receipts whose life is over.
func ExpireReceipts(r Receipts, now func() time.Time) func(ctx context.Context) error {
	return func(ctx context.Context) error { return r.DeleteReceipts(ctx, now().Add(-change.ReceiptLife)) }
}
