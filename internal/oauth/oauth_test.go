package oauth_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

const audience = "https://api.example.test"

// breakable is a server that can break off before or after it has done its work.
type breakable struct {
	oauth.Server
	before, after error
}

func (b *breakable) PutClient(ctx context.Context, clientID string, secret personal.Text, format oauth.TokenFormat, audience string) error {
	if b.before != nil {
		return b.before
	}
	return errors.Join(b.Server.PutClient(ctx, clientID, secret, format, audience), b.after)
}

type env struct {
	*oauth.Service
	hydra    *orytest.HydraServer
	server   *breakable
	store    *mongo.OAuthStore
	changes  *change.Runner
	one, two context.Context

	mu     sync.Mutex
	clock  time.Time
	denied []machine.Reason
}

func (e *env) now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock
}

func (e *env) later(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock = e.clock.Add(d)
}

func start(t *testing.T) *env {
	t.Helper()
	db, h := testenv.Mongo(t), orytest.StartHydra(t)
	e := &env{
		hydra: h, server: &breakable{Server: h.Client}, store: mongo.NewOAuthStore(db), clock: testenv.Now(),
		one: authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{Kind: authz.KindSystem, ID: "test"}), two: tenant.NewContext(t.Context(), testenv.Two),
	}
	v := testenv.Vault(t)
	e.changes, _ = testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	e.Service = oauth.NewService(oauth.Config{
		Store: e.store, Server: e.server, Changes: e.changes, Authorizer: testenv.Authorizer(t), Log: testenv.Logger(t), Now: e.now,
		Denied:   func(_ context.Context, _ string, r machine.Reason) { e.denied = append(e.denied, r) },
		Audience: audience, TokenURL: h.Client.TokenURL(),
	})
	return e
}

func input(name string) oauth.CreateInput {
	return oauth.CreateInput{
		CreateInput: machine.CreateInput{Name: name, Permissions: []authz.Permission{authz.SubjectRead}}, TokenFormat: oauth.Opaque,
	}
}

// once is a context in which a create is carried out once.
func (e *env) once(key string) context.Context {
	return change.WithIdempotency(e.one, change.Idempotency{Key: key, Input: []byte(key)})
}

func TestLife(t *testing.T) {
	e := start(t)
	c, credentials, err := e.Create(e.once("a"), input("portal"))
	if err != nil || c.ReadyAt == nil || credentials.ClientID != c.ID {
		t.Fatalf("got %+v, %v", c, err)
	}
	p, err := e.Authenticate(t.Context(), c.ID)
	if err != nil || p.Kind != authz.KindMachine || p.ID != c.ID || p.Tenant != testenv.One ||
		!slices.Equal(p.Grants, []authz.Permission{authz.SubjectRead}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	first := orytest.Token(t, credentials, audience)
	if first == "" {
		t.Fatal("no token")
	}

	again, shown, err := e.Create(e.once("a"), input("portal"))
	if err != nil || again.ID != c.ID || shown != nil {
		t.Errorf("a replay gives %+v, %v", again, err)
	}

	old := *credentials
	c, credentials, err = e.RotateSecret(e.one, oauth.RotateSecretInput{ID: c.ID})
	if err != nil {
		t.Fatal(err)
	}
	if orytest.Token(t, &old, audience) != "" || orytest.Token(t, credentials, audience) == "" {
		t.Error("the old secret works, or the new one doesn't")
	}
	if said, err := e.hydra.Client.Introspect(t.Context(), first); err != nil || said.Client != c.ID {
		t.Errorf("a token from before the rotation says %+v, %v", said, err)
	}

	for range 2 {
		if c, err = e.Revoke(e.one, oauth.RevokeInput{ID: c.ID}); err != nil || c.RevokedAt == nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Authenticate(t.Context(), c.ID); !errors.Is(err, oauth.ErrRefused) {
		t.Errorf("a revoked client gives %v", err)
	}
	if _, _, err := e.RotateSecret(e.one, oauth.RotateSecretInput{ID: c.ID}); !errors.Is(err, oauth.ErrRevoked) {
		t.Errorf("rotating a revoked client gives %v", err)
	}
	for range 2 {
		if err := e.Remove(e.one, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if orytest.Token(t, credentials, audience) != "" {
		t.Error("a removed client still gets tokens")
	}
	if want := []machine.Reason{machine.Revoked}; !slices.Equal(e.denied, want) {
		t.Errorf("told %v, want %v", e.denied, want)
	}
}

// TestBrokenOff: whatever breaks off, nothing works without its row, and the
// same call again gives a secret.
func TestBrokenOff(t *testing.T) {
	down := errs.New(errs.Unavailable, "down")
	for name, breakOff := range map[string]func(*breakable){
		"before the server heard":      func(b *breakable) { b.before = down },
		"after the server had done it": func(b *breakable) { b.after = down },
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t)
			breakOff(e.server)
			if _, _, err := e.Create(e.once("a"), input("portal")); !errors.Is(err, down) {
				t.Fatalf("got %v", err)
			}
			list, err := e.List(e.one)
			if err != nil || len(list) != 1 || list[0].ReadyAt != nil {
				t.Fatalf("got %v, %v", list, err)
			}
			if _, err := e.Authenticate(t.Context(), list[0].ID); !errors.Is(err, oauth.ErrRefused) {
				t.Errorf("a client that was never ready gives %v", err)
			}
			*e.server = breakable{Server: e.hydra.Client}
			if _, _, err := e.Create(e.once("a"), input("portal")); !errors.Is(err, oauth.ErrBusy) {
				t.Errorf("at once again gives %v", err)
			}
			e.later(time.Minute)
			c, credentials, err := e.Create(e.once("a"), input("portal"))
			if err != nil || c.ID != list[0].ID || credentials == nil {
				t.Fatalf("got %+v, %v", c, err)
			}
			if orytest.Token(t, credentials, audience) == "" {
				t.Error("no token")
			}
		})
	}
}

// TestOneSecretAtATime: of the secrets of rotations at once, the last one works.
func TestOneSecretAtATime(t *testing.T) {
	e := start(t)
	c, _, err := e.Create(e.one, input("portal"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []*oauth.Credentials
	for range 4 {
		wg.Go(func() {
			_, credentials, err := e.RotateSecret(e.one, oauth.RotateSecretInput{ID: c.ID})
			if err != nil && !errors.Is(err, oauth.ErrBusy) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if credentials != nil {
				got = append(got, credentials)
			}
		})
	}
	wg.Wait()
	working := slices.DeleteFunc(slices.Clone(got), func(c *oauth.Credentials) bool { return orytest.Token(t, c, audience) == "" })
	if len(working) != 1 {
		t.Errorf("of %d secrets that were returned %d work, want 1", len(got), len(working))
	}
}

func TestRefusals(t *testing.T) {
	e := start(t)
	ends := e.now().Add(time.Hour)
	in := input("portal")
	in.Networks, in.ExpiresAt = []string{"192.0.2.0/24"}, &ends
	c, _, err := e.Create(e.one, in)
	if err != nil {
		t.Fatal(err)
	}
	from := func(a string) context.Context { return network.NewContext(t.Context(), netip.MustParseAddr(a)) }
	if _, err := e.Authenticate(from("192.0.2.1"), c.ID); err != nil {
		t.Error(err)
	}
	try := func(ctx context.Context, clientID string) {
		t.Helper()
		if _, err := e.Authenticate(ctx, clientID); !errors.Is(err, oauth.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	try(from("198.51.100.1"), c.ID)
	for _, unknown := range []string{"", "x", "oac_", c.ID + "a", id.New(id.OAuthClient, testenv.One), "key" + c.ID[3:]} {
		try(from("192.0.2.1"), unknown)
	}
	e.later(time.Hour)
	try(from("192.0.2.1"), c.ID)
	if want := []machine.Reason{machine.Network, machine.Expired}; !slices.Equal(e.denied, want) {
		t.Errorf("told %v, want %v", e.denied, want)
	}

	bad := input("portal")
	bad.Clearances = []authz.Clearance{authz.ClearArt9}
	owner := authz.NewContext(e.one, authz.Principal{Kind: authz.KindMember, Role: authz.RoleOwner, ID: "mem_1", Tenant: testenv.One})
	if _, _, err := e.Create(owner, bad); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("a clearance that the creator lacks gives %v", err)
	}

	t.Run("another tenant sees nothing", func(t *testing.T) {
		if list, err := e.List(e.two); err != nil || len(list) != 0 {
			t.Errorf("lists %v, %v", list, err)
		}
		_, getting := e.Get(e.two, c.ID)
		_, _, rotating := e.RotateSecret(e.two, oauth.RotateSecretInput{ID: c.ID})
		_, revoking := e.Revoke(e.two, oauth.RevokeInput{ID: c.ID})
		for _, err := range []error{getting, rotating, revoking} {
			if !errors.Is(err, oauth.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("last use", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := e.Get(e.one, c.ID); err != nil || got.LastUsedAt == nil || !got.LastUsedAt.Equal(ends.Add(-time.Hour).UTC().Truncate(time.Millisecond)) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("off", func(t *testing.T) {
		off := oauth.NewService(oauth.Config{Store: e.store, Changes: e.changes, Authorizer: testenv.Authorizer(t), Log: testenv.Logger(t), Now: e.now})
		_, _, creating := off.Create(e.one, input("a"))
		_, _, rotating := off.RotateSecret(e.one, oauth.RotateSecretInput{ID: c.ID})
		for _, err := range []error{creating, rotating, off.Remove(e.one, c.ID)} {
			if !errors.Is(err, oauth.ErrOff) {
				t.Errorf("got %v", err)
			}
		}
		if list, err := off.List(e.one); err != nil || len(list) != 1 {
			t.Errorf("lists %v, %v", list, err)
		}
	})
}

// Whoever gets the secret of a client is the client: nobody does who couldn't
// give all that it holds.
func TestRotationOfWhatOneCouldNotGive(t *testing.T) {
	e := start(t)
	in := input("portal")
	in.Clearances = []authz.Clearance{authz.ClearArt9}
	c, _, err := e.Create(e.one, in)
	if err != nil {
		t.Fatal(err)
	}
	owner := authz.NewContext(e.one, authz.Principal{Kind: authz.KindMember, Role: authz.RoleOwner, ID: "mem_1", Tenant: testenv.One})
	if _, secret, err := e.RotateSecret(owner, oauth.RotateSecretInput{ID: c.ID}); !errors.Is(err, machine.ErrBeyond) || secret != nil {
		t.Errorf("got %v", err)
	}
}
