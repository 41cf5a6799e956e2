package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

const (
	one tenant.ID = "ten_aaaaaaaaaaaaaaaa"
	two tenant.ID = "ten_bbbbbbbbbbbbbbbb"
)

// keys knows the API keys vgt_all, vgt_none and vgt_bound, to registered
// documents, of one tenant and vgt_two of the other.
type keys struct{}

func (keys) Authenticate(_ context.Context, token string) (authz.Principal, error) {
	p := authz.Principal{Kind: authz.KindMachine, ID: "key_" + strings.TrimPrefix(token, "vgt_"), Tenant: one, Grants: authz.All()}
	if some, ok := strings.CutPrefix(token, "vgt_some:"); ok {
		p.Grants = nil
		for name := range strings.SplitSeq(some, ",") {
			p.Grants = append(p.Grants, authz.Permission(name))
		}
		return p, nil
	}
	if column, ok := strings.CutPrefix(token, "vgt_as:"); ok {
		if p, ok := principal(column); ok {
			return p, nil
		}
	}
	switch token {
	case "vgt_all":
	case "vgt_none":
		p.Grants = []authz.Permission{authz.NodeRead}
	case "vgt_two":
		p.Tenant = two
	case "vgt_bound":
		p.DocumentsOnly = true
	default:
		return authz.Principal{}, errs.New(errs.Unauthenticated, "the API key is unknown")
	}
	return p, nil
}

// auditLog is an audit log in memory, which can be broken.
type auditLog struct {
	mu     sync.Mutex
	rows   []audit.Row
	broken bool
}

func (l *auditLog) InsertAudit(_ context.Context, rows ...audit.Row) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return context.DeadlineExceeded
	}
	l.rows = append(l.rows, rows...)
	return nil
}

// entries returns the log as lines of tenant, action and outcome.
func (l *auditLog) entries() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := make([]string, len(l.rows))
	for i, r := range l.rows {
		lines[i] = string(r.Tenant) + " " + r.Action + " " + string(r.Outcome) + " " + r.Policy
	}
	return lines
}

// fixture is an API over HTTP, as it is served, with services of the test.
type fixture struct {
	*httptest.Server
	audit    *auditLog
	recorder *audit.Recorder
	log      *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newAPI(t *testing.T, services func(r *audit.Recorder) graph.Services, change ...func(*graph.Config)) *fixture {
	t.Helper()
	f := &fixture{audit: &auditLog{}, log: &buffer{}}
	log := slog.New(slog.NewJSONHandler(f.log, nil))
	f.recorder = audit.NewRecorder(f.audit, nil, time.Now)
	running, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := background(func() {
		if err := f.recorder.Run(running); err != nil {
			t.Error(err)
		}
	})
	auth, err := authn.New(authn.Config{Keys: keys{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := services(f.recorder)
	s.Authorizer = testenv.Authorizer(t)
	c := graph.Config{Services: s, Recorder: f.recorder, Log: log}
	for _, ch := range change {
		ch(&c)
	}
	h, err := server.New(server.Config{
		Log: log, Now: time.Now, Auth: auth, Routes: graph.New(c).Routes(),
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(h)
	t.Cleanup(func() {
		f.Close()
		stop()
		<-done
	})
	return f
}

// background runs fn and returns a channel that is closed when it has ended.
func background(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return done
}

func none(*audit.Recorder) graph.Services { return graph.Services{} }

// answer is a GraphQL response.
type answer struct {
	status int
	body   string
	Data   map[string]any `json:"data"`
	Errors []struct {
		Message    string         `json:"message"`
		Path       []any          `json:"path"`
		Extensions map[string]any `json:"extensions"`
	} `json:"errors"`
}

// code returns the code of the first error, "" when there is none.
func (a *answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

func (a *answer) field() string {
	if len(a.Errors) == 0 {
		return ""
	}
	field, _ := a.Errors[0].Extensions["field"].(string)
	return field
}

// send posts a body as it is.
func (f *fixture) send(t *testing.T, body io.Reader, headers ...string) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/graphql", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer vgt_all")
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Del(headers[i]); headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := f.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{status: res.StatusCode, body: string(b)}
	if err := json.Unmarshal(b, a); err != nil {
		t.Fatalf("answer is no JSON: %v: %s", err, b)
	}
	for _, e := range a.Errors {
		if id, _ := e.Extensions["requestId"].(string); id == "" || id != res.Header.Get(server.HeaderRequestID) {
			t.Errorf("request id %q, header %q", id, res.Header.Get(server.HeaderRequestID))
		}
	}
	return a
}

// ask posts a document with variables.
func (f *fixture) ask(t *testing.T, query string, variables map[string]any, headers ...string) *answer {
	t.Helper()
	b, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	return f.send(t, bytes.NewReader(b), headers...)
}

// grant makes every caller one who may do just this.
func grant(next http.Handler, do ...authz.Permission) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer vgt_some:"+join(do))
		next.ServeHTTP(w, r)
	})
}

func join(do []authz.Permission) string {
	names := make([]string, len(do))
	for i, d := range do {
		names[i] = string(d)
	}
	return strings.Join(names, ",")
}
