package jobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/vogter/vogter/internal/job"
)

// batch is how many rows are looked at in one query.
const batch = 200

// Timing tunes relay, reconciler, server and sweeper. The zero value of a field
// is its default.
type Timing struct {
	Poll      time.Duration // between two looks for due jobs, unless woken: 1 s
	Reconcile time.Duration // between two looks for lost and dead jobs: 5 s
	LostAfter time.Duration // how long a delivery may be unclaimed before the queue is asked for it: 15 s
	Check     time.Duration // between two looks into an empty queue: 200 ms
	Lease     time.Duration // how long a sweep's lease holds unless renewed: 30 s
	Renew     time.Duration // between renewals, well below Lease: 10 s
}

func (t Timing) withDefaults() Timing {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Poll: time.Second, &t.Reconcile: 5 * time.Second, &t.LostAfter: 15 * time.Second,
		&t.Check: 200 * time.Millisecond, &t.Lease: 30 * time.Second, &t.Renew: 10 * time.Second,
	} {
		if *field == 0 {
			*field = value
		}
	}
	return t
}

// Bell wakes a relay in the same process. Whoever commits jobs rings it.
type Bell chan struct{}

// NewBell returns a bell for one relay.
func NewBell() Bell { return make(Bell, 1) }

// Ring wakes the relay. It never blocks.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default: // it is awake
	}
}

// Relay hands due jobs to the queue. Any number may run at once.
type Relay struct {
	jobs   *job.Service
	queue  Queue
	bell   Bell
	log    *slog.Logger
	timing Timing
}

// NewRelay returns a relay that bell wakes.
func NewRelay(jobs *job.Service, queue Queue, bell Bell, log *slog.Logger, timing Timing) *Relay {
	return &Relay{jobs, queue, bell, log, timing.withDefaults()}
}

// Run relays until ctx ends. While a part is down it keeps trying.
func (r *Relay) Run(ctx context.Context) error {
	return repeat(ctx, "job relay", r.timing.Poll, r.bell, r.log, r.relay)
}

func (r *Relay) relay(ctx context.Context) error {
	for {
		due, err := r.jobs.Due(ctx, batch)
		if err != nil {
			return err
		}
		for _, j := range due {
			if err := r.queue.Enqueue(ctx, deliveryOf(j)); err != nil {
				return err
			}
			if err := r.jobs.Enqueued(ctx, j); err != nil {
				return err
			}
		}
		if len(due) < batch {
			return nil
		}
	}
}

// Reconciler finds what was lost: deliveries that the queue forgot and attempts
// whose worker died. Any number may run at once.
type Reconciler struct {
	jobs   *job.Service
	queue  Queue
	bell   Bell
	log    *slog.Logger
	timing Timing
}

// NewReconciler returns a reconciler that rings bell when it made jobs due.
func NewReconciler(jobs *job.Service, queue Queue, bell Bell, log *slog.Logger, timing Timing) *Reconciler {
	return &Reconciler{jobs, queue, bell, log, timing.withDefaults()}
}

// Run reconciles until ctx ends. While a part is down it keeps trying.
func (r *Reconciler) Run(ctx context.Context) error {
	return repeat(ctx, "job reconciler", r.timing.Reconcile, nil, r.log, r.reconcile)
}

func (r *Reconciler) reconcile(ctx context.Context) error {
	if err := r.recoverDead(ctx); err != nil {
		return err
	}
	for {
		unclaimed, err := r.jobs.Unclaimed(ctx, r.timing.LostAfter, batch)
		if err != nil {
			return err
		}
		for _, j := range unclaimed {
			if err := r.find(ctx, j); err != nil {
				return err
			}
		}
		if len(unclaimed) < batch {
			return nil
		}
	}
}

func (r *Reconciler) recoverDead(ctx context.Context) error {
	for {
		n, err := r.jobs.RecoverDead(ctx, batch)
		if err != nil || n < batch {
			return err
		}
	}
}

// find asks the queue for a delivery that nobody has claimed yet. One that waits
// behind others is asked for again later, one that is gone is made anew.
func (r *Reconciler) find(ctx context.Context, j *job.Job) error {
	held, err := r.queue.Holds(ctx, deliveryOf(j))
	switch {
	case err != nil:
		return err
	case held:
		return r.jobs.Enqueued(ctx, j)
	}
	if err := r.jobs.Redeliver(ctx, j); err != nil {
		return err
	}
	r.log.WarnContext(ctx, "queue lost a job", "job", j.ID, "type", j.Type, "delivery", j.Delivery)
	r.bell.Ring()
	return nil
}

// repeat calls do at once, then after each interval and each ring, until ctx
// ends. Of an outage it logs the beginning and the end.
func repeat(ctx context.Context, name string, every time.Duration, bell Bell, log *slog.Logger, do func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for down := false; ; {
		err := do(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !down:
			log.WarnContext(ctx, "background work is held up", "work", name, "err", err)
		case err == nil && down:
			log.InfoContext(ctx, "background work goes on", "work", name)
		}
		down = err != nil
		select {
		case <-tick.C:
		case <-bell:
			if down {
				// Whoever rings can't know of the outage: wait for the tick.
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
		}
	}
}
