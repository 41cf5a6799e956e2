package app

import (
	"context"
	"strings"

	"github.com/vogter/vogter/internal/centre"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
)

// openCentre makes the privacy centre. All that it shows must be there.
func (p *Platform) openCentre(tenants *mongo.TenantStore) error {
	var err error
	p.centre, err = centre.New(centre.Config{
		Tenants: p.Tenants, Portal: p.portal, Requests: p.requests, Letters: p.post, Consents: p.consents, Purposes: p.purposes,
		Receipts: p.receipts, Accesses: p.audit.trail, Recipients: p.disclosures, Downloads: p.downloads, Authorizer: p.authorizer,
		Permits: p.Recorder, Limits: p.limiter, Key: p.limiter.Key, Secure: strings.HasPrefix(p.Config.URL(), "https:"), Log: p.log, Now: p.now,
		Processor: func(ctx context.Context) (string, error) {
			of, err := tenants.ProviderID(tenant.System(ctx, "name of the provider"))
			if err != nil {
				return "", err
			}
			provider, err := p.Tenants.Get(tenant.NewContext(ctx, of))
			if err != nil {
				return "", err
			}
			return provider.LegalName, nil
		},
	})
	return err
}
