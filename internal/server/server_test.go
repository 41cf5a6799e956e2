package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/tenant"
)

const one tenant.ID = "ten_aaaaaaaaaaaaaaaa"

type keys struct{}

func (keys) Authenticate(_ context.Context, token string) (authz.Principal, error) {
	if token != "vgt_good" {
		return authz.Principal{}, errs.New(errs.Unauthenticated, "the API key is unknown")
	}
	return authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one}, nil
}

// newServer returns a running API with some routes, and its log.
func newServer(t *testing.T, checks []server.Check, stop <-chan struct{}) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	auth, err := authn.New(authn.Config{Keys: keys{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	h, err := server.New(server.Config{
		Log: log, Now: time.Now, Auth: auth, Checks: checks, Stop: stop,
		Proxies: network.List{netip.MustParsePrefix("127.0.0.0/8")},
		Fail:    func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) },
		Routes: []server.Route{
			{Pattern: "GET /v1/things/{id}", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := json.NewEncoder(w).Encode([]string{authz.FromContext(r.Context()).ID, audit.RequestFrom(r.Context()).Network}); err != nil {
					t.Error(err)
				}
			})},
			{Pattern: "PUT /v1/things/{id}", Handler: http.NotFoundHandler()},
			{Pattern: "GET /panic", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("planted-panic") })},
			{Pattern: "GET /half", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half")
				panic("planted-panic")
			})},
			{
				Pattern: "GET /own",
				Handler: http.NotFoundHandler(),
				Fail:    func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) },
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv, &out
}

func do(t *testing.T, srv *httptest.Server, method, path string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestRoutes(t *testing.T) {
	tests := []struct {
		name, method, path string
		headers            []string
		status             int
		want               string
	}{
		{"signed in", "GET", "/v1/things/1", []string{"Authorization", "Bearer vgt_good"}, 200, `["key_1",`},
		{"signed out", "GET", "/v1/things/1", nil, 200, `["",`},
		{"behind a proxy", "GET", "/v1/things/1", []string{"X-Forwarded-For", "203.0.113.9, 192.0.2.77"}, 200, `["","192.0.2.0/24"]`},
		{"bad credential", "GET", "/v1/things/1", []string{"Authorization", "Bearer vgt_bad"}, 401, `"code":"UNAUTHENTICATED"`},
		{"bad credential, a route with its own form", "GET", "/own", []string{"Authorization", "Bearer vgt_bad"}, 418, ""},
		{"no such address", "GET", "/planted-address", nil, 404, `"code":"NOT_FOUND"`},
		{"wrong method", "POST", "/v1/things/1", nil, 405, `"code":"INVALID"`},
		{"panic", "GET", "/panic", nil, 500, `"code":"INTERNAL","message":"internal error"`},
		{"alive", "GET", "/healthz", nil, 200, `{"status":"ok"}`},
		{"alive only by GET", "POST", "/healthz", nil, 405, `"code":"INVALID"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, out := newServer(t, nil, nil)
			status, header, body := do(t, srv, tt.method, tt.path+"?q=planted-query", append(tt.headers, "User-Agent", "planted-agent")...)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s, want %d %s", status, body, tt.status, tt.want)
			}
			srv.Close() // waits for the log's line
			id := header.Get(server.HeaderRequestID)
			if status >= 400 && tt.want != "" && !strings.Contains(out.String(), strings.Split(tt.want, ",")[0]) {
				t.Errorf("the outcome isn't logged: %s", out)
			}
			if id == "" || !strings.Contains(out.String(), `"request_id":"`+id+`"`) {
				t.Errorf("request id %q isn't logged: %s", id, out)
			}
			if all := out.String() + body; strings.Contains(all, "planted") || strings.Contains(all, "127.0.0.1") {
				t.Errorf("log or answer tell too much: %s", all)
			}
			for _, h := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Cache-Control"} {
				if header.Get(h) == "" {
					t.Errorf("no header %s", h)
				}
			}
		})
	}
	t.Run("half an answer is cut off", func(t *testing.T) {
		srv, _ := newServer(t, nil, nil)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/half", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := srv.Client().Do(req); err == nil {
			_, err = io.ReadAll(res.Body)
			if err := errors.Join(err, res.Body.Close()); err == nil {
				t.Error("it looks whole")
			}
		}
	})
	t.Run("own request id only", func(t *testing.T) {
		srv, out := newServer(t, nil, nil)
		_, header, _ := do(t, srv, "GET", "/v1/things/1", server.HeaderRequestID, "planted-id")
		srv.Close()
		if header.Get(server.HeaderRequestID) == "planted-id" || strings.Contains(out.String(), "planted") {
			t.Error("took over the caller's id")
		}
	})
	t.Run("line of the log", func(t *testing.T) {
		srv, out := newServer(t, nil, nil)
		do(t, srv, "GET", "/v1/things/planted-id", "Authorization", "Bearer vgt_good")
		srv.Close()
		for _, want := range []string{`"method":"GET"`, `"route":"GET /v1/things/{id}"`, `"status":200`, `"principal":"key_1"`, `"ms":`, `"code":""`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %s in %s", want, out)
			}
		}
	})
}

func TestReady(t *testing.T) {
	up := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("planted-cause") }
	deaf := func(context.Context) error {
		time.Sleep(5 * time.Second)
		return nil
	}
	stopped := make(chan struct{})
	close(stopped)
	tests := []struct {
		name   string
		checks []server.Check
		stop   <-chan struct{}
		status int
		want   string
	}{
		{"all up", []server.Check{{Name: "mongodb", Ready: up}, {Name: "redis", Ready: up}}, nil, 200, `{"checks":{"mongodb":"ok","redis":"ok"},"status":"ok"}`},
		{"one down", []server.Check{{Name: "mongodb", Ready: up}, {Name: "redis", Ready: down}}, nil, 503, `{"checks":{"mongodb":"ok","redis":"down"},"status":"down"}`},
		{
			"an optional one down",
			[]server.Check{{Name: "mongodb", Ready: up}, {Name: "hydra", Ready: down, Optional: true}},
			nil,
			200, `{"checks":{"hydra":"down","mongodb":"ok"},"status":"ok"}`,
		},
		{"one hangs", []server.Check{{Name: "mongodb", Ready: deaf}, {Name: "redis", Ready: up}}, nil, 503, `{"checks":{"mongodb":"down","redis":"ok"},"status":"down"}`},
		{"stopping", []server.Check{{Name: "mongodb", Ready: up}}, stopped, 503, `{"checks":{"mongodb":"ok"},"status":"stopping"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv, _ := newServer(t, tt.checks, tt.stop)
			status, _, body := do(t, srv, "GET", "/readyz")
			if status != tt.status || strings.TrimSpace(body) != tt.want {
				t.Errorf("got %d %s, want %d %s", status, body, tt.status, tt.want)
			}
		})
	}
}

// However many ask at once whether the process is ready, its parts are asked once
// in a while; and one who hangs up doesn't spoil the answer for the others.
func TestReadyAsksOnce(t *testing.T) {
	var asked atomic.Int32
	var now atomic.Int64
	check := server.Check{Name: "mongodb", Ready: func(ctx context.Context) error {
		asked.Add(1)
		return ctx.Err()
	}}
	h := handler(t, io.Discard, func(c *server.Config) {
		c.Checks, c.Now = []server.Check{check}, func() time.Time { return time.Unix(now.Load(), 0) }
	})
	get := func(ctx context.Context) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil))
		if w.Code != http.StatusOK {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for want := range int32(2) {
		get(gone)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { get(t.Context()) })
		}
		wg.Wait()
		if got := asked.Load(); got != want+1 {
			t.Errorf("asked %d times, want %d", got, want+1)
		}
		now.Add(1)
	}
}

func TestServe(t *testing.T) {
	tests := []struct {
		name  string
		takes time.Duration
		grace time.Duration
		whole bool
	}{
		{"a call under way finishes", 300 * time.Millisecond, 10 * time.Second, true},
		{"one that takes longer than the grace is cut off", 10 * time.Second, 200 * time.Millisecond, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			begun := make(chan struct{})
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				select {
				case <-time.After(tt.takes):
					_, _ = io.WriteString(w, "done")
				case <-r.Context().Done():
				}
			})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, l, h, server.Listening{Connections: 10, Grace: tt.grace}) }()
			answered := make(chan string, 1)
			go func() {
				res, err := http.Get("http://" + l.Addr().String())
				if err != nil {
					answered <- ""
					return
				}
				defer res.Body.Close()
				b, _ := io.ReadAll(res.Body)
				answered <- string(b)
			}()
			<-begun
			stop()
			if err := <-served; (err == nil) != tt.whole {
				t.Errorf("serve: %v", err)
			}
			if got := <-answered; (got == "done") != tt.whole {
				t.Errorf("answered %q", got)
			}
			if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
				t.Error("still takes calls")
			}
		})
	}
}
