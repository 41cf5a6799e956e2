package app

import (
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/vault"
)

// openProcessing makes what keeps the record of processing. Datasets, purposes,
// measures, assessments and the signing ring must be there.
func (p *Platform) openProcessing(v *vault.Vault, changes *change.Runner, tenants *mongo.TenantStore) {
	p.processing = processing.NewService(processing.Config{
		Store: mongo.NewProcessingStore(p.db, v), Changes: changes, Vault: v, Datasets: p.Datasets, Purposes: p.purposes,
		Measures: p.measures, Assessments: p.assessments, Tenants: tenants, Signer: p.audit.ring, Now: p.now,
	})
}
