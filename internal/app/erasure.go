package app

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// openErasures makes what previews and carries out wishes to be erased, and what
// certifies each erasure. Keys, retention, parties and the signing ring must be there.
func (p *Platform) openErasures(v *vault.Vault, changes *change.Runner, tenants *mongo.TenantStore, disclosures *mongo.DisclosureStore) {
	// The ledger is kept for longer than any backup: see config.Config.LedgerRetention.
	p.certificates = certificate.NewService(certificate.Config{
		Store: mongo.NewCertificateStore(p.db), Shreddings: p.keys.erasures, Epochs: p.keys.epochs, Datasets: p.Datasets, Tenants: tenants,
		Ledger: mongo.NewLedgerStore(p.db), Signer: p.audit.ring, Changes: changes, Now: p.now, Backups: p.Config.LedgerRetention,
		Issued: erase.Jobs,
	})
	p.erase = erase.NewService(erase.Config{
		Store: mongo.NewHoldingsStore(p.db, v), Keeping: p.retention, Datasets: p.Datasets, Recipients: disclosures, Parties: p.processing,
		Erasures: p.keys.erasures, Changes: changes, Recorder: p.Recorder, Now: p.now, Backups: p.Config.LedgerRetention,
	})
}

// workErasures has the worker certify erasures.
func (p *Platform) workErasures(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(certificate.JobIssue, func(ctx context.Context, r *job.Run) error { return p.certificates.Run(ctx, r) })
	mux.Handle(erase.JobTell, func(ctx context.Context, r *job.Run) error { return p.erasures.Run(ctx, r) })
	sweeper.Sweep("certificates of erasure", time.Hour, p.certificates.Sweep)
}
