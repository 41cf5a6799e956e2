package authn_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

const (
	one tenant.ID = "ten_aaaaaaaaaaaaaaaa"
	two tenant.ID = "ten_bbbbbbbbbbbbbbbb"
)

// keys is one API key.
type keys struct{}

func (keys) Authenticate(ctx context.Context, token string) (authz.Principal, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return authz.Principal{}, err
	}
	if token != "vgt_good" {
		return authz.Principal{}, errs.New(errs.Unauthenticated, "the API key is unknown")
	}
	return authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one, Credential: "key_1"}, nil
}

// sessions answers for tokens named after identities, and counts.
type sessions struct {
	asked   atomic.Int64
	down    atomic.Bool
	aal     string
	wait    time.Duration
	expires time.Time
}

func (s *sessions) WhoAmI(ctx context.Context, c authn.Credential) (authn.Session, error) {
	s.asked.Add(1)
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return authn.Session{}, errs.New(errs.Unavailable, "too slow")
	}
	if s.down.Load() {
		return authn.Session{}, errs.New(errs.Unavailable, "down")
	}
	who := c.Token + c.Cookie
	if who == "unknown" {
		return authn.Session{}, errs.New(errs.Unauthenticated, "no such session")
	}
	return authn.Session{ID: "session-of-" + who, Identity: who, AAL: s.aal, ExpiresAt: s.expires}, nil
}

// grants let the operator into the first tenant.
type grants struct{}

func (grants) Access(ctx context.Context, operator string) (string, error) {
	of, err := tenant.FromContext(ctx)
	switch {
	case err != nil:
		return "", err
	case of == one && operator == "mem_operator":
		return "brk_1", nil
	case of == "ten_dddddddddddddddd":
		return "", errs.New(errs.Unavailable, "down")
	default:
		return "", errs.New(errs.NotFound, "no such access")
	}
}

type members map[string][]tenancy.Membership

func (m members) MembershipsOf(ctx context.Context, identity string) ([]tenancy.Membership, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	return m[identity], nil
}

func everybody() members {
	return members{
		"owner":    {{MemberID: "mem_owner", Tenant: one, LegalName: "One ApS", Role: authz.RoleOwner}},
		"operator": {{MemberID: "mem_operator", Tenant: two, LegalName: "Provider A/S", Role: authz.RoleOperator}},
		"former":   {{MemberID: "mem_former", Tenant: one, Role: authz.RoleAuditor, ExpiresAt: new(time.Now())}},
		"both": {
			{MemberID: "mem_1", Tenant: one, LegalName: "One ApS", Role: authz.RoleDPO},
			{MemberID: "mem_2", Tenant: two, LegalName: "Two ApS", Role: authz.RoleOwner},
		},
	}
}

// seen is what the handler behind the middleware finds.
type seen struct {
	principal   authz.Principal
	tenant      tenant.ID
	request     audit.Request
	memberships int
	err         error
	refused     error // of a person who got in and acts for no tenant
}

func call(t *testing.T, a *authn.Authenticator, r *http.Request) (got seen) {
	t.Helper()
	reached := false
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached = true
		ctx := r.Context()
		got.principal, got.request, got.memberships = authz.FromContext(ctx), audit.RequestFrom(ctx), len(authn.Memberships(ctx))
		got.tenant, _ = tenant.FromContext(ctx)
		if got.principal.Identity != "" && !got.principal.SignedIn() {
			got.refused, got.principal = authz.Refusal(ctx), authz.Principal{}
		}
	})
	fail := func(_ http.ResponseWriter, _ *http.Request, err error) { got.err = err }
	ctx := audit.WithRequest(r.Context(), audit.Request{ID: "request-1"})
	a.Middleware(next, fail).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	if reached == (got.err != nil) {
		t.Errorf("reached %t with error %v", reached, got.err)
	}
	return got
}

func newAuthenticator(t *testing.T, s authn.Sessions, m authn.Members, now func() time.Time) *authn.Authenticator {
	t.Helper()
	a, err := authn.New(authn.Config{
		Keys: keys{}, Sessions: s, Members: m, Grants: grants{}, Origin: "https://app.example.test", Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCallers(t *testing.T) {
	owner := authz.Principal{
		Kind: authz.KindMember, ID: "mem_owner", Tenant: one, Role: authz.RoleOwner, Credential: "session-of-owner", Identity: "owner",
	}
	machine := authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one, Credential: "key_1"}
	operator := authz.Principal{
		Kind: authz.KindOperator, ID: "mem_operator", Tenant: two, Role: authz.RoleOperator, Credential: "session-of-operator",
		Identity: "operator", Home: two,
	}
	entered := operator
	entered.Tenant, entered.BreakGlass = one, "brk_1"
	second := authz.Principal{
		Kind: authz.KindMember, ID: "mem_2", Tenant: two, Role: authz.RoleOwner, Credential: "session-of-both", Identity: "both",
	}
	stated := owner
	stated.Purpose = "kyc"
	tests := []struct {
		name    string
		headers []string // name, value …
		method  string   // POST when empty
		want    authz.Principal
		code    errs.Kind
	}{
		{name: "nobody"},
		{name: "API key", headers: []string{"Authorization", "Bearer vgt_good"}, want: machine},
		{name: "scheme in another case", headers: []string{"Authorization", "bearer vgt_good"}, want: machine},
		{name: "API key and its own tenant", headers: []string{"Authorization", "Bearer vgt_good", "Vogter-Tenant", string(one)}, want: machine},
		{name: "API key and another tenant", headers: []string{"Authorization", "Bearer vgt_good", "Vogter-Tenant", string(two)}, code: errs.Forbidden},
		{name: "bad API key", headers: []string{"Authorization", "Bearer vgt_bad"}, code: errs.Unauthenticated},
		{name: "bad API key beside a good session", headers: []string{"Authorization", "Bearer vgt_bad", "X-Session-Token", "owner"}, code: errs.Unauthenticated},
		{name: "API key as session token", headers: []string{"X-Session-Token", "vgt_good"}, code: errs.Unauthenticated},
		{name: "session token as bearer", headers: []string{"Authorization", "Bearer owner"}, want: owner},
		{name: "session token", headers: []string{"X-Session-Token", "owner"}, want: owner},
		{name: "unknown session", headers: []string{"X-Session-Token", "unknown"}, code: errs.Unauthenticated},
		{name: "empty session token", headers: []string{"X-Session-Token", ""}, code: errs.Unauthenticated},
		{name: "another scheme", headers: []string{"Authorization", "Basic b3duZXI6"}, code: errs.Unauthenticated},
		{name: "no token", headers: []string{"Authorization", "Bearer"}, code: errs.Unauthenticated},
		{name: "empty header", headers: []string{"Authorization", ""}, code: errs.Unauthenticated},
		{name: "two headers", headers: []string{"Authorization", "Bearer owner", "Authorization", "Bearer vgt_good"}, code: errs.Unauthenticated},
		{name: "control characters", headers: []string{"Authorization", "Bearer ow\x01ner"}, code: errs.Unauthenticated},
		{name: "endless token", headers: []string{"Authorization", "Bearer " + strings.Repeat("x", 5000)}, code: errs.Unauthenticated},
		{name: "operator", headers: []string{"Authorization", "Bearer operator"}, want: operator},
		{name: "operator in a tenant that they entered", headers: []string{"Authorization", "Bearer operator", "Vogter-Tenant", string(one)}, want: entered},
		{name: "operator in a tenant that they didn't enter", headers: []string{"Authorization", "Bearer operator", "Vogter-Tenant", "ten_cccccccccccccccc"}, code: errs.Forbidden},
		{name: "operator, when it can't be told", headers: []string{"Authorization", "Bearer operator", "Vogter-Tenant", "ten_dddddddddddddddd"}, code: errs.Unavailable},
		{name: "purpose", headers: []string{"Authorization", "Bearer owner", "Vogter-Purpose", "kyc"}, want: stated},
		{name: "membership that is over", headers: []string{"Authorization", "Bearer former"}, code: errs.Forbidden},
		{name: "tenant of a membership that is over", headers: []string{"Authorization", "Bearer former", "Vogter-Tenant", string(one)}, code: errs.Forbidden},
		{name: "member of none with a choice", headers: []string{"Authorization", "Bearer stranger", "Vogter-Tenant", string(one)}, code: errs.Forbidden},
		{name: "member of none", headers: []string{"Authorization", "Bearer stranger"}, code: errs.Forbidden},
		{name: "member of two without a choice", headers: []string{"Authorization", "Bearer both"}, code: errs.Invalid},
		{name: "member of two with a choice", headers: []string{"Authorization", "Bearer both", "Vogter-Tenant", string(two)}, want: second},
		{name: "tenant of others", headers: []string{"Authorization", "Bearer owner", "Vogter-Tenant", string(two)}, code: errs.Forbidden},
		{name: "tenant that isn't", headers: []string{"Authorization", "Bearer owner", "Vogter-Tenant", "x"}, code: errs.Forbidden},
		{name: "cookie", headers: []string{"Cookie", "ory_kratos_session=owner"}, want: owner},
		{name: "two cookies", headers: []string{"Cookie", "ory_kratos_session=owner; ory_kratos_session=both"}, code: errs.Unauthenticated},
		{name: "cookie of the same origin", headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "same-origin"}, want: owner},
		{name: "cookie from the application", headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example.test"}, want: owner},
		{name: "cookie from elsewhere", headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site"}, code: errs.Forbidden},
		{name: "cookie from elsewhere, old browser", headers: []string{"Cookie", "ory_kratos_session=owner", "Origin", "https://evil.example.test"}, code: errs.Forbidden},
		{name: "link from elsewhere", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, want: owner},
		{name: "frame from elsewhere", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, code: errs.Forbidden},
		{name: "form from elsewhere", headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, code: errs.Forbidden},
		{name: "script from elsewhere that reads", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, code: errs.Forbidden},
		{name: "script of a sister site that reads", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, code: errs.Forbidden},
		{name: "script of an old browser that reads", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Origin", "https://evil.example"}, code: errs.Forbidden},
		{name: "script from elsewhere that asks for a head", method: http.MethodHead, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "cross-site"}, code: errs.Forbidden},
		{name: "address typed in", method: http.MethodGet, headers: []string{"Cookie", "ory_kratos_session=owner", "Sec-Fetch-Site", "none"}, want: owner},
		{name: "token from elsewhere", headers: []string{"X-Session-Token", "owner", "Sec-Fetch-Site", "cross-site"}, want: owner},
		{name: "token from elsewhere", headers: []string{"Authorization", "Bearer owner", "Origin", "https://evil.example.test"}, want: owner},
		{name: "purpose as free text", headers: []string{"Vogter-Purpose", "because Ann asked"}, code: errs.Invalid},
		{name: "endless purpose", headers: []string{"Vogter-Purpose", strings.Repeat("x", 101)}, code: errs.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthenticator(t, &sessions{}, everybody(), time.Now)
			r := httptest.NewRequest(cmp.Or(tt.method, http.MethodPost), "/graphql", nil)
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Add(tt.headers[i], tt.headers[i+1])
			}
			got := call(t, a, r)
			if err := cmp.Or(got.err, got.refused); errs.KindOf(err) != tt.code {
				t.Fatalf("got %q (%v), want %q", errs.KindOf(err), err, tt.code)
			}
			if fmt.Sprintf("%+v", got.principal) != fmt.Sprintf("%+v", tt.want) || got.tenant != tt.want.Tenant {
				t.Errorf("got %+v of %s, want %+v", got.principal, got.tenant, tt.want)
			}
		})
	}
}

func TestParticulars(t *testing.T) {
	a := newAuthenticator(t, &sessions{}, everybody(), time.Now)
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	r.Header.Set("Authorization", "Bearer both")
	r.Header.Set("Vogter-Tenant", string(one))
	r.Header.Set("Vogter-Purpose", "kyc:review-2")
	got := call(t, a, r)
	if want := (audit.Request{ID: "request-1", Purpose: "kyc:review-2"}); got.request != want {
		t.Errorf("got %+v, want %+v", got.request, want)
	}
	if got.memberships != 2 {
		t.Errorf("got %d memberships, want 2", got.memberships)
	}
}

func TestChoiceIsNamed(t *testing.T) {
	a := newAuthenticator(t, &sessions{}, everybody(), time.Now)
	err := call(t, a, token("both")).refused
	if err == nil || !strings.Contains(err.Error(), string(one)) || !strings.Contains(err.Error(), string(two)) {
		t.Errorf("the error doesn't name the tenants: %v", err)
	}
}

func token(s string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	r.Header.Set("Authorization", "Bearer "+s)
	return r
}

// TestCache runs in a bubble, where time passes only when all wait.
func TestCache(t *testing.T) {
	t.Run("kept for 30 seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sessions{}
			a := newAuthenticator(t, s, everybody(), time.Now)
			call(t, a, token("owner"))
			time.Sleep(29 * time.Second)
			call(t, a, token("owner"))
			if n := s.asked.Load(); n != 1 {
				t.Errorf("asked %d times within 30 s, want 1", n)
			}
			time.Sleep(2 * time.Second)
			call(t, a, token("owner"))
			if n := s.asked.Load(); n != 2 {
				t.Errorf("asked %d times after 30 s, want 2", n)
			}
		})
	})
	t.Run("not beyond the session's end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sessions{expires: time.Now().Add(5 * time.Second)}
			a := newAuthenticator(t, s, everybody(), time.Now)
			call(t, a, token("owner"))
			time.Sleep(6 * time.Second)
			call(t, a, token("owner"))
			if n := s.asked.Load(); n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}
		})
	})
	t.Run("refusals are not kept", func(t *testing.T) {
		s := &sessions{}
		a := newAuthenticator(t, s, everybody(), time.Now)
		call(t, a, token("unknown"))
		call(t, a, token("unknown"))
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
	})
	t.Run("evicted", func(t *testing.T) {
		s, m := &sessions{}, everybody()
		a := newAuthenticator(t, s, m, time.Now)
		call(t, a, token("owner"))
		call(t, a, token("both"))
		m["owner"] = nil
		a.Evict("owner")
		if got := call(t, a, token("owner")); !errors.Is(got.refused, authn.ErrNoTenant) {
			t.Errorf("got %v, want %v", got.refused, authn.ErrNoTenant)
		}
		call(t, a, token("both"))
		if n := s.asked.Load(); n != 3 {
			t.Errorf("asked %d times, want 3", n)
		}
	})
	t.Run("eviction beats a question under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, m := &sessions{wait: time.Second}, everybody()
			a := newAuthenticator(t, s, m, time.Now)
			var wg sync.WaitGroup
			wg.Go(func() { call(t, a, token("owner")) })
			synctest.Wait()
			a.Evict("owner")
			wg.Go(func() { call(t, a, token("owner")) })
			wg.Wait()
			call(t, a, token("owner"))
			if n := s.asked.Load(); n != 2 {
				t.Errorf("asked %d times, want 2: once before, and once after for good", n)
			}
		})
	})
	t.Run("asked anew", func(t *testing.T) {
		s, m := &sessions{}, everybody()
		a := newAuthenticator(t, s, m, time.Now)
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s.aal = "aal2"
			ctx, err := authn.Anew(r.Context())
			if p := authz.FromContext(ctx); err != nil || p.AAL != authz.AAL2 || p.ID != "mem_owner" {
				t.Errorf("got %+v, %v", p, err)
			}
		})
		a.Middleware(next, nil).ServeHTTP(httptest.NewRecorder(), token("owner"))
		if got := call(t, a, token("owner")); got.principal.AAL != authz.AAL2 {
			t.Errorf("the next call has %+v", got.principal)
		}
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		if ctx, err := authn.Anew(t.Context()); ctx != t.Context() || err != nil {
			t.Error("of nobody, it is asked anew")
		}
	})
	t.Run("one question for many, which none of them can call off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &sessions{wait: time.Second}
			a := newAuthenticator(t, s, everybody(), time.Now)
			first, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if got := call(t, a, token("owner").WithContext(first)); errs.KindOf(got.err) != errs.Unavailable {
					t.Errorf("cancelled: got %v", got.err)
				}
			})
			synctest.Wait()
			for range 15 {
				wg.Go(func() {
					if got := call(t, a, token("owner")); got.err != nil || got.tenant != one {
						t.Errorf("got %+v", got)
					}
				})
			}
			synctest.Wait()
			cancel()
			wg.Wait()
			if n := s.asked.Load(); n != 1 {
				t.Errorf("asked %d times, want 1", n)
			}
		})
	})
	t.Run("kratos down", func(t *testing.T) {
		s := &sessions{}
		a := newAuthenticator(t, s, everybody(), time.Now)
		call(t, a, token("owner"))
		s.down.Store(true)
		if got := call(t, a, token("owner")); got.err != nil {
			t.Errorf("known session: %v", got.err)
		}
		if got := call(t, a, token("both")); errs.KindOf(got.err) != errs.Unavailable {
			t.Errorf("new session: got %v, want UNAVAILABLE", got.err)
		}
		if got := call(t, a, token("vgt_good")); got.err != nil {
			t.Errorf("API key: %v", got.err)
		}
	})
}

// TestKratos signs in to the genuine identity server.
func TestKratos(t *testing.T) {
	kratos := orytest.Start(t)
	email, password := personal.NewText("member@example.test"), personal.NewText("correct horse battery")
	identity, err := kratos.Client.SetPassword(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	session, err := kratos.Client.Login(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	m := members{identity: {{MemberID: "mem_owner", Tenant: one, Role: authz.RoleOwner}}}
	a := newAuthenticator(t, kratos.Client, m, time.Now)
	got := call(t, a, token(session))
	if got.err != nil || got.principal.ID != "mem_owner" || got.tenant != one {
		t.Fatalf("got %+v", got)
	}
	kratos.Revoke(t.Context(), t, got.principal.Credential)
	a.Evict(identity)
	if got := call(t, a, token(session)); errs.KindOf(got.err) != errs.Unauthenticated {
		t.Errorf("revoked: got %v, want UNAUTHENTICATED", got.err)
	}
}

// TestServersTellEachOther: what one server learns, the others know soon.
func TestServersTellEachOther(t *testing.T) {
	opts, err := redis.ParseURL(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	m := everybody()
	server := func() (*authn.Evictions, *authn.Authenticator) {
		client := redis.NewClient(opts)
		t.Cleanup(func() { _ = client.Close() })
		e := authn.NewEvictions(client, testenv.Logger(t))
		a, err := authn.New(authn.Config{Keys: keys{}, Sessions: &sessions{}, Members: m, Evictions: e, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		return e, a
	}
	word, here := server()
	_, there := server()
	listening := redis.NewClient(opts)
	t.Cleanup(func() { _ = listening.Close() })
	for n := int64(0); n < 2; time.Sleep(5 * time.Millisecond) {
		heard, err := listening.PubSubNumSub(t.Context(), "vogter:evictions").Result()
		if err != nil {
			t.Fatal(err)
		}
		n = heard["vogter:evictions"]
	}
	call(t, here, token("owner"))
	call(t, there, token("owner"))
	delete(m, "owner")
	changed := time.Now()
	word.Forget(t.Context(), "owner")
	if got := call(t, here, token("owner")); !errors.Is(got.refused, authn.ErrNoTenant) {
		t.Errorf("here: %+v", got)
	}
	for call(t, there, token("owner")).refused == nil {
		if time.Since(changed) > 20*time.Second {
			t.Fatal("the other server doesn't hear of it")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("known on the other server after %s", time.Since(changed).Round(100*time.Microsecond))

	// Without Redis this server knows at once all the same.
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = nowhere.Close() })
	alone := authn.NewEvictions(nowhere, testenv.Logger(t))
	a, err := authn.New(authn.Config{Keys: keys{}, Sessions: &sessions{}, Members: m, Evictions: alone, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	call(t, a, token("operator"))
	delete(m, "operator")
	alone.Forget(t.Context(), "operator")
	if got := call(t, a, token("operator")); !errors.Is(got.refused, authn.ErrNoTenant) {
		t.Errorf("without Redis: %+v", got)
	}
}

// TestViewer: what a person without a tenant, or without a choice, is told.
func TestViewer(t *testing.T) {
	a := newAuthenticator(t, &sessions{aal: "aal1"}, everybody(), time.Now)
	view := func(who string) (v *authn.Viewer) {
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { v = authn.ViewerOf(r.Context(), nothing{}) })
		a.Middleware(next, nil).ServeHTTP(httptest.NewRecorder(), token(who))
		return v
	}
	if v := view("both"); v == nil || v.ID != "both" || v.Tenant != "" || len(v.Memberships) != 2 || len(v.Permissions) != 0 || *v.AAL != authz.AAL1 {
		t.Errorf("without a choice: %+v", v)
	}
	if v := view("stranger"); v == nil || v.ID != "stranger" || len(v.Memberships) != 0 {
		t.Errorf("without a tenant: %+v", v)
	}
	if v := view("owner"); v == nil || v.ID != "mem_owner" || v.Tenant != one {
		t.Errorf("a member: %+v", v)
	}
	if v := authn.ViewerOf(t.Context(), nothing{}); v != nil {
		t.Errorf("nobody: %+v", v)
	}
}

// nothing is an Authorizer that lets nobody do anything.
type nothing struct{}

func (nothing) Can(context.Context, authz.Permission) authz.Decision { return authz.Decision{} }
