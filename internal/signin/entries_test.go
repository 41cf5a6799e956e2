package signin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/signin"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// works says who works for whom.
type works map[string][]tenancy.Membership

func (w works) MembershipsOf(_ context.Context, identity string) ([]tenancy.Membership, error) {
	return w[identity], nil
}

// forgotten counts what it is told to forget.
type forgotten struct{ atomic.Int64 }

func (f *forgotten) Forget(context.Context, string) { f.Add(1) }

// machines knows one API key.
type machines struct{}

func (machines) Authenticate(context.Context, string) (authz.Principal, error) {
	return authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: testenv.One, Credential: "key_1"}, nil
}

// TestEntries signs in and out by the door, and calls several servers: each sign-in
// is in the log of the tenant once, and each sign-out.
func TestEntries(t *testing.T) {
	kratos := orytest.Start(t)
	w := world.Start(t)
	const account = "sigrid@example.test"
	identity, err := kratos.Client.SetPassword(t.Context(), personal.NewText(account), personal.NewText(right))
	ok(t, err)
	member := id.New(id.Member, testenv.One)
	people := works{identity: {{MemberID: member, Tenant: testenv.One, Role: authz.RoleDPO}}}
	var cache forgotten
	entries := &signin.Entries{Recorder: w.Recorder, Sessions: kratos.Client, Members: people, Cache: &cache, Log: slog.New(slog.DiscardHandler)}
	d := start(t, kratos.PublicURL, func(d *door, c *signin.Config) {
		entries.Redis = d.redis
		c.SignOut = entries.SignOut
	})
	servers := make([]http.Handler, 2)
	for i := range servers {
		a, err := authn.New(authn.Config{Keys: machines{}, Sessions: kratos.Client, Members: people, Entered: entries.Entered, Now: testenv.Now})
		ok(t, err)
		servers[i] = a.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
			func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), http.StatusTeapot) })
	}
	call := func(token string) {
		t.Helper()
		for _, s := range servers {
			for range 3 {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				got := httptest.NewRecorder()
				if s.ServeHTTP(got, r); got.Code != http.StatusNoContent {
					t.Fatalf("%d %s", got.Code, got.Body)
				}
			}
		}
	}
	signIn := func() (session, token string) {
		t.Helper()
		const from = "192.0.2.7"
		res, b := d.send(t, http.MethodPost, "self-service/login?flow="+d.flow(t, from), from, map[string]any{
			"method": "password", "identifier": account, "password": right,
		})
		var in struct {
			Token   string `json:"session_token"`
			Session struct{ ID string }
		}
		if err := json.Unmarshal(b, &in); err != nil || res.status != http.StatusOK {
			t.Fatalf("%d %v", res.status, err)
		}
		return in.Session.ID, in.Token
	}
	see := func(object string, want ...string) {
		t.Helper()
		if got := w.Entries(t.Context(), object); !slices.Equal(got, want) {
			t.Errorf("the log has %v, want %v", got, want)
		}
	}
	session, token := signIn()
	see(session)
	call(token)
	see(session, "member.signIn")
	var entry struct {
		Tenant string
		Actor  struct{ ID, Role, Credential string }
		Fields []string
	}
	ok(t, w.Stored("audit").FindOne(t.Context(), bson.D{{Key: "action", Value: "member.signIn"}}).Decode(&entry))
	if entry.Tenant != string(testenv.One) || entry.Actor.ID != member || entry.Actor.Role != "DPO" || entry.Actor.Credential != session || !slices.Equal(entry.Fields, []string{"aal1"}) {
		t.Errorf("the entry is %+v", entry)
	}
	other, otherToken := signIn()
	call(otherToken)
	see(other, "member.signIn")

	if res, b := d.send(t, http.MethodDelete, "self-service/logout/api", "192.0.2.7", map[string]any{"session_token": token}); res.status != http.StatusNoContent {
		t.Fatalf("signed out: %d %s", res.status, b)
	}
	see(session, "member.signIn", "member.signOut")
	see(other, "member.signIn")
	if cache.Load() != 1 {
		t.Errorf("%d times forgotten", cache.Load())
	}
	before := w.Count(t.Context(), "audit", bson.D{})
	d.send(t, http.MethodDelete, "self-service/logout/api", "192.0.2.7", map[string]any{"session_token": "ory_st_nobody"})
	if after := w.Count(t.Context(), "audit", bson.D{}); after != before {
		t.Errorf("who isn't signed in left %d entries", after-before)
	}

	call("vgt_whatever")
	see("key_1", "machine.signIn")
	// Without Redis there are two entries rather than none.
	ok(t, d.redis.Close())
	of := authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{Kind: authz.KindMachine, ID: "key_2", Tenant: testenv.One, Credential: "key_2"})
	ok(t, entries.Entered(of, "sign"))
	ok(t, entries.Entered(of, "sign"))
	see("key_2", "machine.signIn", "machine.signIn")
}
