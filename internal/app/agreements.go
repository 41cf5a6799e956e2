package app

import (
	"context"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// openGate makes the gate before personal data. Tenants must be there.
func (p *Platform) openGate(v *vault.Vault, changes *change.Runner) {
	mode := agreement.Mode(strings.ToUpper(p.Config.Agreement.Gate))
	p.gate = agreement.NewGate(mongo.NewAgreementStore(p.db, v), mongo.NewTenantStore(p.db, v), changes, p.log, p.now, mode, p.Config.Agreement.Places())
}

// openAgreements makes what keeps agreements. The gate, the audit log and the record
// of processing must be there.
func (p *Platform) openAgreements(v *vault.Vault, changes *change.Runner, tenants *mongo.TenantStore) (err error) {
	terms := agreement.StandardTerms()
	terms.Countries, terms.BackupDays = p.Config.Agreement.Places(), int(p.Config.LedgerRetention/(24*time.Hour))
	terms.ServiceContact, terms.BreachContact = p.Config.Mail.From, p.Config.Agreement.BreachContact
	if terms.BreachContact == "" {
		terms.BreachContact = p.Config.Mail.From
	}
	p.Agreements, err = agreement.NewService(agreement.Config{
		Store: mongo.NewAgreementStore(p.db, v), Changes: changes, Vault: v, Tenants: tenants, Owners: p.Tenants, Processing: p.processing,
		Datasets: p.Datasets, Mail: p.notices, Signer: p.audit.ring, Trail: p.audit.trail, Gate: p.gate, Terms: terms, Now: p.now,
	})
	return err
}

// workAgreements has the worker move agreements on, and write out those that are signed.
func (p *Platform) workAgreements(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(agreement.JobDocument, func(ctx context.Context, r *job.Run) error { return p.Agreements.Document(ctx, r) })
	sweeper.Sweep("agreements", time.Minute, p.Agreements.Sweep)
}

// warned has the answers of routes carry warnings.
func warned(routes []server.Route) []server.Route {
	for i := range routes {
		routes[i].Handler = agreement.Warned(routes[i].Handler)
	}
	return routes
}
