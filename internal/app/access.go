package app

import (
	"context"

	"github.com/vogter/vogter/internal/access"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/vault"
)

// openAccess has exports answer requests, and returns who carries those out.
// Processing, disclosures, retention and letters must be there.
func (p *Platform) openAccess(v *vault.Vault) map[request.Type]request.Work {
	p.Exports.Contents = &access.Contents{
		Trail: p.audit.trail, Disclosures: mongo.NewDisclosureStore(p.db, v, p.log), Parties: p.processing, Activities: p.processing,
		Requests: mongo.NewRequestStore(p.db, v), Consents: mongo.NewConsentStore(p.db, v, p.log), Receipts: p.receipts,
		Statement: &access.Statement{
			Tenants: p.Tenants, Purposes: p.purposes, Retention: p.retention, Letters: p.letters,
		},
	}
	counts := mongo.NewHoldingsStore(p.db, v)
	p.Exports.Count = func(ctx context.Context, subjectID string) (map[string]int64, error) {
		found, err := counts.Count(ctx, subjectID)
		all := make(map[string]int64, len(found))
		for set, n := range found {
			all[set] = int64(n.Records + n.Passages)
		}
		return all, err
	}
	works := map[request.Type]request.Work{}
	for to, kind := range map[request.Type]pack.Type{request.Access: pack.AccessType, request.Portability: pack.PortabilityType} {
		works[to] = &access.Work{Type: kind, Exports: p.Exports, Tenants: p.Tenants}
	}
	return works
}
