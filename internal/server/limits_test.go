package server_test

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/jobs"
)

// tenants knows keys of two tenants: vgt_TENANT_ID.
type tenants struct{}

func (tenants) Authenticate(_ context.Context, token string) (authz.Principal, error) {
	parts := strings.Split(token, "_")
	if len(parts) != 3 {
		return authz.Principal{}, errs.New(errs.Unauthenticated, "the API key is unknown")
	}
	return authz.Principal{Kind: authz.KindMachine, ID: parts[2], Tenant: tenant.ID(parts[1])}, nil
}

const pageOfOne = "https://portal.example"

// limitedServer is a server whose callers come from the address in
// X-Forwarded-For, with limits as a setting has them.
func limitedServer(t *testing.T, setting string) *httptest.Server {
	t.Helper()
	redis, err := jobs.OpenRedis(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	table, err := ratelimit.Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	log, stands := slog.New(slog.DiscardHandler), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	l, err := ratelimit.New(ratelimit.Config{
		Redis: redis, Table: table, Log: log, Now: func() time.Time { return stands },
		Key: func(context.Context) ([sha256.Size]byte, error) { return [sha256.Size]byte{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := authn.New(authn.Config{Keys: tenants{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") })
	h, err := server.New(server.Config{
		Log: log, Now: time.Now, Auth: auth, Limiter: l, Origins: allowed{"one": {pageOfOne}}, Proxies: network.List{netip.MustParsePrefix("127.0.0.0/8")},
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) },
		Routes: []server.Route{
			{Pattern: "GET /v1/things", Handler: ok},
			{Pattern: "PUT /v1/uploads", Handler: ok, Uses: server.ByTenant(ratelimit.Uploads)},
			{Pattern: "GET /d", Handler: ok, Uses: server.ByCaller(ratelimit.Downloads)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// caller is somebody at an address, with a token if there is one.
type caller struct{ address, token string }

func (c caller) headers() []string {
	h := []string{network.HeaderForwarded, c.address}
	if c.token != "" {
		h = append(h, "Authorization", "Bearer "+c.token)
	}
	return h
}

func TestLimits(t *testing.T) {
	const here, there = "192.0.2.1", "198.51.100.1"
	one, two := caller{here, "vgt_one_key1"}, caller{here, "vgt_two_key2"}
	tests := []struct {
		name, setting, method, path string
		by, other                   caller // other isn't touched by what by does
		passed                      int
		rule                        string
	}{
		{"nobody", "anonymous=3/1m", "GET", "/v1/things", caller{address: here}, caller{address: there}, 3, "limit.anonymous"},
		{"nobody beside somebody", "anonymous=3/1m", "GET", "/v1/things", caller{address: here}, one, 3, "limit.anonymous"},
		{"a principal", "requests=3/1m", "GET", "/v1/things", one, two, 3, "limit.requests"},
		{"a principal of the same tenant", "requests=3/1m", "GET", "/v1/things", one, caller{here, "vgt_one_key3"}, 3, "limit.requests"},
		{"a tenant's uploads", "uploads=3/1m", "PUT", "/v1/uploads", one, two, 3, "limit.uploads"},
		{"downloads by link", "downloads=3/1m", "GET", "/d", caller{address: here}, caller{address: there}, 3, "limit.downloads"},
		{"downloads by a principal", "downloads=3/1m", "GET", "/d", one, two, 3, "limit.downloads"},
		{"a network", "network=3/1m", "GET", "/v1/things", one, caller{there, one.token}, 3, "limit.network"},
		{"guesses of a network", "network=60/1m", "GET", "/v1/things", caller{here, "vgt_guess"}, caller{there, one.token}, 3, "limit.network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := limitedServer(t, tt.setting)
			wrong := http.StatusOK
			if tt.by.token == "vgt_guess" {
				wrong = http.StatusUnauthorized
			}
			for i := range tt.passed {
				if status, header, body := do(t, srv, tt.method, tt.path, tt.by.headers()...); status != wrong {
					t.Fatalf("call %d: %d %v %s", i+1, status, header, body)
				}
			}
			for range 3 {
				status, header, body := do(t, srv, tt.method, tt.path, tt.by.headers()...)
				if status != http.StatusTooManyRequests || !strings.Contains(body, `"code":"LIMITED"`) || !strings.Contains(body, tt.rule) || header.Get("Retry-After") == "" {
					t.Errorf("one more: %d %v %s", status, header, body)
				}
			}
			if status, header, body := do(t, srv, tt.method, tt.path, tt.other.headers()...); status != http.StatusOK || header.Get("RateLimit") == "" {
				t.Errorf("the other: %d %v %s", status, header, body)
			}
		})
	}
}

// Calls count that sign-in lets go no further, whatever it has against them.
func TestCallsThatSignInRefuses(t *testing.T) {
	srv := limitedServer(t, "network=3/1m")
	elsewhere := append(caller{"192.0.2.1", "vgt_one_key1"}.headers(), authn.HeaderTenant, "two")
	for _, want := range []int{http.StatusForbidden, http.StatusForbidden, http.StatusForbidden, http.StatusTooManyRequests} {
		if status, _, body := do(t, srv, http.MethodGet, "/v1/things", elsewhere...); status != want {
			t.Errorf("got %d, want %d: %s", status, want, body)
		}
	}
}

// Calls count that reach no route, among them what browsers ask before a page's.
func TestCallsOfNoRoute(t *testing.T) {
	const here, there = "192.0.2.1", "198.51.100.1"
	for _, tt := range []struct {
		name, method, path string
		status             int
		headers            []string
	}{
		{"a wrong method", "DELETE", "/v1/things", 405, nil},
		{"a wrong method of health", "POST", "/readyz", 405, nil},
		{"a preflight", "OPTIONS", "/v1/things", 204, []string{"Origin", pageOfOne, "Access-Control-Request-Method", "GET"}},
		{"no address", "GET", "/nowhere", 404, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := limitedServer(t, "network=3/1m")
			from := func(address string) []string { return append(caller{address: address}.headers(), tt.headers...) }
			for _, want := range []int{tt.status, tt.status, tt.status, http.StatusTooManyRequests} {
				if status, _, body := do(t, srv, tt.method, tt.path, from(here)...); status != want {
					t.Errorf("got %d, want %d: %s", status, want, body)
				}
			}
			if status, _, body := do(t, srv, tt.method, tt.path, from(there)...); status != tt.status {
				t.Errorf("another network: %d %s", status, body)
			}
		})
	}
}

// A whole office isn't shut out by its own guesser before the network's limit.
func TestGuesserAmongOthers(t *testing.T) {
	srv := limitedServer(t, "network=1000/1m")
	guesser, colleague := caller{"192.0.2.1", "vgt_guess"}, caller{"192.0.2.1", "vgt_one_key1"}
	for range 40 {
		if status, _, body := do(t, srv, http.MethodGet, "/v1/things", guesser.headers()...); status != http.StatusUnauthorized {
			t.Fatal(status, body)
		}
	}
	if status, _, body := do(t, srv, http.MethodGet, "/v1/things", colleague.headers()...); status != http.StatusOK {
		t.Error(status, body)
	}
}
