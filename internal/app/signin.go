package app

import (
	"net/http"
	"strings"

	"github.com/vogter/vogter/internal/detect"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/signin"
)

// signIn are the routes by which people reach the identity server. Passwords may
// be anything, so the firewall looks at headers only.
func (p *Platform) signIn() ([]server.Route, error) {
	proxy, err := signin.New(signin.Config{
		Kratos: p.Config.Kratos.PublicURL, Limits: p.limiter, Key: p.limiter.Key, Secure: strings.HasPrefix(p.Config.URL(), "https:"),
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, p.log) }, Log: p.log, Now: p.now,
		// Whose account it is, only the identity server knows: it is the provider's to look at.
		Failed: func() {
			p.watch.inbox.Tell(detect.Signal{Detector: security.CodesGuessed})
			p.audit.anonymous.Refused("POST "+signin.Path+"self-service/login", errs.Unauthenticated)
		},
		SignOut: p.signIns().SignOut,
	})
	if err != nil {
		return nil, err
	}
	var routes []server.Route
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		routes = append(routes, server.Route{Pattern: method + " " + signin.Path, Public: true, Stream: true, Own: true, Handler: proxy})
	}
	return routes, nil
}

// signIns writes sign-ins and sign-outs to the audit logs.
func (p *Platform) signIns() *signin.Entries {
	return &signin.Entries{
		Redis: p.redis, Recorder: p.Recorder, Sessions: p.Identity, Members: p.Tenants, Cache: p.evictions, Log: p.log,
	}
}
