package app

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// openPortal makes the sign-in of data subjects. Tenants, mail and limits must be there.
func (p *Platform) openPortal(v *vault.Vault, changes *change.Runner, subjects *mongo.SubjectStore) {
	p.portal = portal.NewService(portal.Config{
		Store: mongo.NewPortalStore(p.db, v), Tenants: p.Tenants, Subjects: subjects, Changes: changes, Recorder: p.Recorder,
		Vault: v, Hasher: vault.Hasher{Vault: v}, Limits: p.limiter, Mail: p.notices, EID: portal.EID{Identities: p.Identity, Claim: p.Config.EID.Claim, Country: p.Config.EID.Country}, Now: p.now,
	})
}

// workPortal has the worker send codes and forget old sign-ins.
func (p *Platform) workPortal(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(portal.JobCode, func(ctx context.Context, r *job.Run) error { return p.portal.Deliver(ctx, r) })
	sweeper.Sweep("sign-ins", time.Hour, p.portal.Sweep)
}
