package graph_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/testenv"
)

// waning is a key that loses what it has.
type waning struct {
	now atomic.Pointer[authz.Principal]
}

func (k *waning) Authenticate(context.Context, string) (authz.Principal, error) {
	if p := k.now.Load(); p != nil {
		return *p, nil
	}
	return authz.Principal{}, apikey.ErrRefused
}

// A stream ends soon after its caller lost the credential that opened it, or
// some of its rights, and not before.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	const loses = time.Minute
	full := authz.Principal{
		Kind: authz.KindMachine, ID: "key_1", Tenant: testenv.One, Grants: []authz.Permission{authz.JobRead}, Clearances: authz.Clearances(),
	}
	less := full
	less.Clearances = nil
	for name, left := range map[string]*authz.Principal{"credential": nil, "clearances": &less, "nothing": &full} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := slog.New(slog.DiscardHandler)
				known := &waning{}
				known.now.Store(&full)
				auth, err := authn.New(authn.Config{Keys: known, Now: time.Now})
				if err != nil {
					t.Fatal(err)
				}
				api := graph.New(graph.Config{
					Services: graph.Services{Authorizer: testenv.Authorizer(t), Jobs: jobs{states: []job.State{job.Running}, open: true}},
					Recorder: audit.NewRecorder(&auditLog{}, nil, time.Now), Log: log,
				})
				h, err := server.New(server.Config{
					Log: log, Now: time.Now, Auth: auth, Routes: api.Routes(),
					Fail: func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, leave := context.WithTimeout(t.Context(), 5*time.Minute)
				defer leave()
				req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql",
					strings.NewReader(`{"query": "subscription { job(id: \"job_1\") { id } }"}`))
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "text/event-stream")
				req.Header.Set("Authorization", "Bearer vgt_any")
				time.AfterFunc(loses, func() { known.now.Store(left) })
				began, answer := time.Now(), httptest.NewRecorder()
				h.ServeHTTP(answer, req)
				leave()
				synctest.Wait()
				if !strings.Contains(answer.Body.String(), "event: next") || strings.Contains(answer.Body.String(), "event: complete") {
					t.Fatalf("got %s", answer.Body)
				}
				took, ends := time.Since(began), left != &full
				if took < loses || ends != (took <= loses+30*time.Second) {
					t.Errorf("it lasted %s", took)
				}
			})
		})
	}
}
