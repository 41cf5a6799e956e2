package download_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// portal is a world with a document to fetch and a server to fetch it from.
type portal struct {
	*world.World
	url      string
	caller   atomic.Value // the context of who calls
	one      context.Context
	person   *subject.Subject
	document *file.File
	content  string
}

func start(t *testing.T) *portal {
	t.Helper()
	p := &portal{World: world.Start(t), content: strings.Repeat("0123456789", 50_000)}
	p.one = p.As(testenv.One)
	handler := download.Handler(p.Downloads)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := p.caller.Load().(identity)
		handler.ServeHTTP(w, r.WithContext(authz.NewContext(tenant.NewContext(r.Context(), caller.Tenant), caller.Principal)))
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	set := p.Dataset(p.one, "Case", world.Field("letter", dataset.TypeFile))
	p.person = p.Subject(p.one, "A-1")
	p.document = p.Upload(p.one, p.person, set, `år "2036".txt`, p.content)
	return p
}

type identity struct{ authz.Principal }

// get fetches a link in the name of ctx's caller.
func (p *portal) get(ctx context.Context, method, link, ranges string) (status int, header http.Header, body string) {
	p.Helper()
	p.caller.Store(identity{authz.FromContext(ctx)})
	req, err := http.NewRequestWithContext(ctx, method, p.url+strings.TrimPrefix(link, world.BaseURL), http.NoBody)
	if err != nil {
		p.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("If-Range", `"another"`)
		req.Header.Set("Range", ranges)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil {
		p.Error(err)
	}
	if err := res.Body.Close(); err != nil {
		p.Error(err)
	}
	return res.StatusCode, res.Header, string(content)
}

// refused fetches a link that must not work.
func (p *portal) refused(ctx context.Context, link string, status int, code errs.Kind) {
	p.Helper()
	got, _, body := p.get(ctx, http.MethodGet, link, "")
	var answer struct{ Code errs.Kind }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || got != status || answer.Code != code {
		p.Errorf("got %d %s, want %d %s", got, body, status, code)
	}
}

func (p *portal) grant(ctx context.Context, object string) *download.Grant {
	p.Helper()
	g, err := p.Downloads.Grant(ctx, download.GrantInput{Object: object})
	if err != nil {
		p.Fatal(err)
	}
	return g
}

func TestDownload(t *testing.T) {
	p := start(t)
	g := p.grant(p.one, p.document.ID)
	if g.UsesLeft != download.Uses || g.ExpiresAt.Sub(p.Now()) > download.Life || !strings.HasPrefix(g.URL, world.BaseURL+download.Path) {
		t.Errorf("got %+v", g)
	}
	token := strings.TrimPrefix(g.URL, world.BaseURL+download.Path)
	if n := p.Count(p.one, "grants", bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: ""}}}}); n != 1 {
		t.Errorf("%d grants", n)
	}
	if n := p.Count(p.one, "grants", bson.D{{Key: "_id", Value: string(testenv.One) + "/" + token}}); n != 0 {
		t.Error("the token itself is stored")
	}
	status, header, body := p.get(p.one, http.MethodGet, g.URL, "")
	if status != http.StatusOK || body != p.content {
		t.Errorf("got %d with %d bytes", status, len(body))
	}
	disposition, params, err := mime.ParseMediaType(header.Get("Content-Disposition"))
	if err != nil || disposition != "attachment" || params["filename"] != "år _2036_.txt" {
		t.Errorf("got %q: %v", header.Get("Content-Disposition"), err)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "text/plain", "Accept-Ranges": "bytes",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := p.Entries(p.one, p.document.ID); fmt.Sprint(got[2:]) != "[download.grant download.open]" {
		t.Errorf("audit log has %v", got)
	}
}

func TestUses(t *testing.T) {
	p := start(t)
	g := p.grant(p.one, p.document.ID)
	left := func() int {
		t.Helper()
		for n := range download.Uses + 1 {
			if p.Count(p.one, "grants", bson.D{{Key: "usesLeft", Value: n}}) == 1 {
				return n
			}
		}
		t.Fatal("no grant")
		return 0
	}
	steps := []struct {
		name   string
		method string
		ranges string
		status int
		want   string
		left   int
	}{
		{"HEAD", http.MethodHead, "", 400, "", 3},
		{"range before any use", http.MethodGet, "bytes=499990-", 206, "0123456789", 2},
		{"resume", http.MethodGet, "bytes=499995-", 206, "56789", 2},
		{"resume of a part", http.MethodGet, "bytes=1-3", 206, "123", 2},
		{"from the start", http.MethodGet, "bytes=0-3", 206, "0123", 1},
		{"from the start, hidden", http.MethodGet, "bytes=00-3", 206, "0123", 0},
		{"resume after the last use", http.MethodGet, "bytes=499999-", 206, "9", 0},
		{"again", http.MethodGet, "", 410, "", 0},
		{"the end", http.MethodGet, "bytes=-5", 410, "", 0},
		{"two ranges", http.MethodGet, "bytes=5-6,0-1", 410, "", 0},
	}
	for _, s := range steps {
		status, _, body := p.get(p.one, s.method, g.URL, s.ranges)
		if status != s.status || (s.want != "" && body != s.want) || left() != s.left {
			t.Errorf("%s: got %d %.20q and %d uses left, want %d %q and %d", s.name, status, body, left(), s.status, s.want, s.left)
		}
	}
	p.refused(p.one, g.URL, http.StatusGone, errs.Precondition)
}

// The last use is taken once, however many come for it.
func TestUsedAtOnce(t *testing.T) {
	p := start(t)
	g := p.grant(p.one, p.document.ID)
	p.caller.Store(identity{authz.FromContext(p.one)})
	const callers = 8
	statuses := make(chan int, callers)
	for range callers {
		go func() {
			req, err := http.NewRequestWithContext(p.Context(), http.MethodGet, p.url+strings.TrimPrefix(g.URL, world.BaseURL), http.NoBody)
			if err != nil {
				t.Error(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			statuses <- res.StatusCode
		}()
	}
	ok := 0
	for range callers {
		if <-statuses == http.StatusOK {
			ok++
		}
	}
	if ok != download.Uses {
		t.Errorf("%d of %d opened it, want %d", ok, callers, download.Uses)
	}
}

func TestRefused(t *testing.T) {
	p := start(t)
	two, another := p.As(testenv.Two), p.As(testenv.One)
	g := p.grant(p.one, p.document.ID)
	p.refused(another, g.URL, http.StatusForbidden, errs.Forbidden)
	p.refused(two, g.URL, http.StatusNotFound, errs.NotFound)
	p.refused(t.Context(), g.URL, http.StatusUnauthorized, errs.Unauthenticated)
	p.refused(p.one, download.Path+strings.Repeat("A", 43), http.StatusNotFound, errs.NotFound)
	p.refused(p.one, download.Path+"short", http.StatusNotFound, errs.NotFound)
	p.refused(p.one, download.Path+"%2e%2e", http.StatusNotFound, errs.NotFound)
	unable := authz.FromContext(p.one)
	unable.Grants = nil
	p.refused(authz.NewContext(p.one, unable), g.URL, http.StatusForbidden, errs.Forbidden)

	for name, object := range map[string]string{
		"another tenant's": p.Upload(two, p.Subject(two, "B-1"), p.Dataset(two, "Case", world.Field("letter", dataset.TypeFile)), "a", "b").ID,
		"unknown":          id.New(id.File, testenv.One),
		"unknown export":   id.New(id.Export, testenv.One),
		"a person":         p.person.ID,
		"nothing":          "",
	} {
		if _, err := p.Downloads.Grant(p.one, download.GrantInput{Object: object}); errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s: got %v, want NOT_FOUND", name, err)
		}
	}
	for _, grants := range [][]authz.Permission{nil, {authz.ExportRequest}} {
		reader := authz.FromContext(p.one)
		reader.Grants = grants
		_, err := p.Downloads.Grant(authz.NewContext(p.one, reader), download.GrantInput{Object: p.document.ID})
		if errs.KindOf(err) != errs.Forbidden {
			t.Errorf("with %v: got %v, want FORBIDDEN", grants, err)
		}
	}
	if got := p.Entries(p.one, p.document.ID); len(got) != 7 {
		t.Errorf("audit log has %v", got)
	}
	for action, want := range map[string]int{"download.open": 2, "download.grant": 2} {
		if n := p.Count(p.one, "audit", bson.D{
			{Key: "tenant", Value: testenv.One},
			{Key: "object", Value: p.document.ID},
			{Key: "action", Value: action},
			{Key: "outcome", Value: "REFUSED"},
		}); n != want {
			t.Errorf("%d refusals of %s in the audit log, want %d", n, action, want)
		}
	}
	p.Sleep(download.Life)
	p.refused(p.one, g.URL, http.StatusGone, errs.Precondition)

	fresh := p.grant(p.one, p.document.ID)
	p.SetState(p.one, p.person, subject.Erasing)
	p.refused(p.one, fresh.URL, http.StatusGone, errs.Erased)
}

func TestExport(t *testing.T) {
	p := start(t)
	e, err := p.Exports.Request(p.one, export.RequestInput{Subject: p.person.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Downloads.Grant(p.one, download.GrantInput{Object: e.ID}); errs.KindOf(err) != errs.Precondition {
		t.Errorf("got %v, want PRECONDITION", err)
	}
	p.Work(p.one)
	if e, err = p.Exports.Get(p.one, e.ID); err != nil {
		t.Fatal(err)
	}
	g := p.grant(p.one, e.ID)
	if !g.ExpiresAt.Equal(*e.ExpiresAt) {
		t.Errorf("the link lives until %s, the export until %s", g.ExpiresAt, e.ExpiresAt)
	}
	p.Sleep(export.Life - time.Hour)
	status, header, body := p.get(p.one, http.MethodGet, g.URL, "")
	if status != http.StatusOK || header.Get("Content-Type") != "application/zip" ||
		!strings.Contains(header.Get("Content-Disposition"), ".zip") {
		t.Errorf("got %d %v", status, header)
	}
	if _, err := pack.Verify(bytes.NewReader([]byte(body)), int64(len(body)), pack.Options{}); err != nil {
		t.Error(err)
	}
	reader := authz.FromContext(p.one)
	reader.Grants = []authz.Permission{authz.FileRead}
	if _, err := p.Downloads.Grant(authz.NewContext(p.one, reader), download.GrantInput{Object: e.ID}); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("got %v, want FORBIDDEN", err)
	}
	p.Sleep(2 * time.Hour)
	p.refused(p.one, g.URL, http.StatusGone, errs.Precondition)
}

func TestSweep(t *testing.T) {
	p := start(t)
	g := p.grant(p.one, p.document.ID)
	p.Sleep(24 * time.Hour)
	if err := p.Downloads.Sweep(tenant.System(p.one, "test")); err != nil {
		t.Fatal(err)
	}
	p.refused(p.one, g.URL, http.StatusGone, errs.Precondition) // still known
	p.Sleep(7 * 24 * time.Hour)
	if err := p.Downloads.Sweep(tenant.System(p.one, "test")); err != nil {
		t.Fatal(err)
	}
	p.refused(p.one, g.URL, http.StatusNotFound, errs.NotFound)
	if err := p.Downloads.Sweep(p.one); err == nil {
		t.Error("a tenant swept")
	}
}
