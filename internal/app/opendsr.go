package app

import (
	"net/url"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/opendsr"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/webhook"
)

// openOpenDSR makes what takes requests of data subjects from other systems.
// Requests must be there.
func (p *Platform) openOpenDSR(hasher vault.Hasher, subjects *mongo.SubjectStore, changes *change.Runner, calls *webhook.Client) {
	domain := ""
	if u, err := url.Parse(p.Config.URL()); err == nil {
		domain = u.Hostname()
	}
	p.openDSR = opendsr.NewService(opendsr.Config{
		Store: mongo.NewOpenDSRStore(p.db), Requests: p.requests, Subjects: subjects, Tenants: p.Tenants, Hasher: hasher, Signer: p.audit.ring,
		Caller: calls, Changes: changes, Private: p.Config.WebhookAllowPrivate, Domain: domain, KeySet: p.Config.URL() + "/.well-known/jwks.json", Now: p.now,
	})
}

// systems returns the routes for other systems.
func (p *Platform) systems() []server.Route {
	return (&opendsr.API{Service: p.openDSR, Authorizer: p.authorizer, Permits: p.Recorder, Log: p.log}).Routes()
}
