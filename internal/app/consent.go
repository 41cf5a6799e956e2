package app

import (
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// consentSweep is how often it is looked for consents whose time is over: no use of
// data waits for it.
const consentSweep = time.Minute

// openConsents makes the service of consents. Everything that it works on must be there.
func (p *Platform) openConsents(v *vault.Vault, changes *change.Runner, subjects *mongo.SubjectStore, answers *mongo.ConsentStore) error {
	var err error
	p.consents, err = consent.NewService(consent.Config{
		Store: answers, Purposes: p.purposes, Subjects: subjects, Datasets: p.Datasets, Records: mongo.NewRecordStore(p.db, v, p.log),
		Files: p.files, Vault: v, Ledger: p.keys.ledger, Looker: p.authorizer, Regions: p.Tenants, Recorder: p.Recorder, Changes: changes,
		Log: p.log, Now: p.now,
	})
	if err != nil {
		return fmt.Errorf("open consents: %w", err)
	}
	p.receipts = receipt.NewService(receipt.Config{Consents: p.consents, Purposes: p.purposes, Signer: p.audit.ring})
	return nil
}

// workConsents has the worker do what follows from consents.
func (p *Platform) workConsents(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(consent.JobCheck, p.consents.RunCheck)
	mux.Handle(consent.JobInvalidate, p.consents.RunInvalidation)
	sweeper.Sweep("consents", consentSweep, p.consents.Sweep)
}
