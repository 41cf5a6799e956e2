package app

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// keeper says which records must be kept. Tenants must be there.
func (p *Platform) keeper(v *vault.Vault) *retention.Keeper {
	return retention.NewKeeper(mongo.NewRetentionStore(p.db, v), p.Tenants, p.now)
}

// openRetention makes the services of holiday calendars, and of what is kept and
// until when. What ends keys must be there.
func (p *Platform) openRetention(v *vault.Vault, changes *change.Runner) {
	p.calendars = calendar.NewService(mongo.NewCalendarStore(p.db), p.Tenants, changes)
	p.retention = retention.NewService(retention.Config{
		Store: mongo.NewRetentionStore(p.db, v), Datasets: p.Datasets, Tenants: p.Tenants, Erasures: p.keys.erasures, Ledger: p.keys.ledger,
		Vault: v, Changes: changes, Recorder: p.Recorder, Log: p.log, Now: p.now,
	})
}

// workRetention has the worker erase what has fallen due.
func (p *Platform) workRetention(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(retention.JobOutdate, func(ctx context.Context, r *job.Run) error { return p.retention.Outdate(ctx, r) })
	mux.Handle(retention.JobLedger, func(ctx context.Context, r *job.Run) error { return p.retention.TellLedger(ctx, r) })
	mux.Handle(retention.JobRun, func(ctx context.Context, r *job.Run) error { return p.retention.Run(ctx, r) })
	sweeper.Sweep("retention dates", time.Minute, p.retention.Resolve)
	sweeper.Sweep("retention", time.Hour, p.retention.Sweep) // which looks once on each day of a tenant
}
