package apikey_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// env is a service with its clock and what it told of refusals.
type env struct {
	*apikey.Service
	changes  *change.Runner
	one, two context.Context
	clock    atomic.Int64 // nanoseconds

	mu     sync.Mutex
	denied []string
}

func (e *env) now() time.Time { return time.Unix(0, e.clock.Load()) }

func (e *env) set(at time.Time) { e.clock.Store(at.UnixNano()) }

func (e *env) tell(ctx context.Context, keyID string, reason machine.Reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	of, err := tenant.FromContext(ctx)
	if err != nil {
		panic(err)
	}
	e.denied = append(e.denied, string(of)+" "+keyID+" "+string(reason))
}

// told returns what was told since it was last asked.
func (e *env) told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	told := e.denied
	e.denied = nil
	return told
}

func start(t *testing.T) *env {
	t.Helper()
	db, v := testenv.Mongo(t), testenv.Vault(t)
	h := vault.Hasher{Vault: v}
	e := &env{one: authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{Kind: authz.KindSystem, ID: "test"}), two: tenant.NewContext(t.Context(), testenv.Two)}
	e.set(testenv.Now())
	e.changes, _ = testenv.Changes(t, db, v, h, nil)
	e.Service = apikey.NewService(apikey.Config{
		Store: mongo.NewAPIKeyStore(db), Changes: e.changes, Authorizer: testenv.Authorizer(t), Hasher: h, Denied: e.tell, Log: testenv.Logger(t),
		Now: e.now,
	})
	return e
}

func (e *env) create(t *testing.T, in apikey.CreateInput) (*apikey.APIKey, string) {
	t.Helper()
	k, secret, err := e.Create(e.one, in)
	if err != nil {
		t.Fatal(err)
	}
	return k, *secret
}

func (e *env) refused(ctx context.Context, t *testing.T, secret string, reason machine.Reason, k *apikey.APIKey) {
	t.Helper()
	if _, err := e.Authenticate(ctx, secret); !errors.Is(err, apikey.ErrRefused) {
		t.Errorf("%s: got %v, want %v", reason, err, apikey.ErrRefused)
	}
	if want, got := []string{string(testenv.One) + " " + k.ID + " " + string(reason)}, e.told(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestAKeySignsInUntilItEnds(t *testing.T) {
	e := start(t)
	expires := e.now().Add(time.Hour)
	k, secret := e.create(t, apikey.CreateInput{
		Name: "portal", Permissions: []authz.Permission{authz.SubjectRead}, ExpiresAt: &expires,
	})
	if !strings.HasPrefix(secret, apikey.Prefix) {
		t.Error("a leaked key would not be recognised")
	}
	p, err := e.Authenticate(t.Context(), secret)
	if err != nil || p.Kind != authz.KindMachine || p.Tenant != testenv.One || p.ID != k.ID || len(p.Clearances) != 0 ||
		!slices.Equal(p.Grants, []authz.Permission{authz.SubjectRead}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	e.set(expires)
	e.refused(t.Context(), t, secret, machine.Expired, k)
	e.set(expires.Add(-time.Minute))
	for range 2 {
		if k, err = e.Revoke(e.one, apikey.RevokeInput{ID: k.ID}); err != nil || k.RevokedAt == nil {
			t.Fatal(err)
		}
	}
	e.refused(t.Context(), t, secret, machine.Revoked, k)
	if _, _, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID}); !errors.Is(err, apikey.ErrRevoked) {
		t.Errorf("rotating a revoked key gives %v", err)
	}
}

func TestAlteredKeysAreRefused(t *testing.T) {
	e := start(t)
	k, secret := e.create(t, apikey.CreateInput{Name: "portal"})
	foreign := strings.Replace(secret, strings.TrimPrefix(string(testenv.One), "ten_"), strings.TrimPrefix(string(testenv.Two), "ten_"), 1)
	for _, token := range []string{"", apikey.Prefix, "x" + secret, foreign, strings.ToUpper(secret)} {
		if _, err := e.Authenticate(t.Context(), token); !errors.Is(err, apikey.ErrRefused) {
			t.Errorf("an altered key gives %v", err)
		}
	}
	if told := e.told(); len(told) != 0 {
		t.Errorf("told %v of keys that there aren't", told)
	}
	for _, token := range []string{secret[:len(secret)-1], secret + "a"} {
		e.refused(t.Context(), t, token, machine.Secret, k)
	}
	for i := range secret {
		b := []byte(secret)
		b[i] ^= 1
		if _, err := e.Authenticate(t.Context(), string(b)); !errors.Is(err, apikey.ErrRefused) {
			t.Fatalf("a key altered at %d gives %v", i, err)
		}
	}
}

func TestTheSecretIsShownOnce(t *testing.T) {
	e := start(t)
	ctx := change.WithIdempotency(e.one, change.Idempotency{Key: "k", Input: []byte("i")})
	first, secret, err := e.Create(ctx, apikey.CreateInput{Name: "portal"})
	if err != nil || secret == nil {
		t.Fatal(err)
	}
	again, secret, err := e.Create(ctx, apikey.CreateInput{Name: "portal"})
	if err != nil || again.ID != first.ID || secret != nil {
		t.Errorf("a replay gives %v, %v", again.ID, err)
	}
}

func TestAnotherTenantSeesNothing(t *testing.T) {
	e := start(t)
	k, _ := e.create(t, apikey.CreateInput{Name: "portal"})
	if list, err := e.List(e.two); err != nil || len(list) != 0 {
		t.Errorf("lists %v, %v", list, err)
	}
	name := "theirs"
	for what, try := range map[string]func() error{
		"get":    func() error { _, err := e.Get(e.two, k.ID); return err },
		"revoke": func() error { _, err := e.Revoke(e.two, apikey.RevokeInput{ID: k.ID}); return err },
		"rotate": func() error { _, _, err := e.Rotate(e.two, apikey.RotateInput{ID: k.ID}); return err },
		"update": func() error {
			_, err := e.Update(e.two, apikey.UpdateInput{ID: k.ID, ExpectedVersion: 1, Name: &name})
			return err
		},
	} {
		if err := try(); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestCreateRefusals(t *testing.T) {
	e := start(t)
	owner := func(clearances ...authz.Clearance) context.Context {
		return authz.NewContext(e.one, authz.Principal{
			Kind: authz.KindMember, Role: authz.RoleOwner, ID: "mem_1", Tenant: testenv.One, Clearances: clearances,
			AAL: authz.AAL2, AuthenticatedAt: testenv.Now(),
		})
	}
	past := e.now()
	cleared := apikey.CreateInput{Name: "a", Clearances: []authz.Clearance{authz.ClearArt9}}
	for _, tt := range []struct {
		name, field string
		ctx         context.Context
		in          apikey.CreateInput
		kind        errs.Kind // "" when it is made
	}{
		{"no name", "name", owner(), apikey.CreateInput{Name: " "}, errs.Invalid},
		{"in the past", "expiresAt", owner(), apikey.CreateInput{Name: "a", ExpiresAt: &past}, errs.Invalid},
		{"permission", "permissions", owner(), apikey.CreateInput{Name: "a", Permissions: []authz.Permission{authz.TenantCreate}}, errs.Invalid},
		{"network", "networks", owner(), apikey.CreateInput{Name: "a", Networks: []string{"office"}}, errs.Invalid},
		{"clearance that nobody has", "clearances", owner(), cleared, errs.Forbidden},
		{
			"permission that the creator lacks", "permissions",
			authz.NewContext(e.one, authz.Principal{Kind: authz.KindOperator, Role: authz.RoleOperator, ID: "mem_2"}),
			apikey.CreateInput{Name: "a", Permissions: []authz.Permission{authz.RecordRead}},
			errs.Forbidden,
		},
		{"clearance that the creator lacks", "clearances", owner(authz.ClearAML), cleared, errs.Forbidden},
		{"clearance of the creator", "", owner(authz.ClearAML, authz.ClearArt9), cleared, ""},
		{"by the operator", "", authz.NewContext(e.one, authz.Principal{Kind: authz.KindOperator, ID: "mem_2"}), cleared, ""},
		{"by the operator in a foreign tenant", "clearances", authz.NewContext(e.one,
			authz.Principal{Kind: authz.KindOperator, ID: "mem_2", BreakGlass: "brk_1"}), cleared, errs.Forbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, _, err := e.Create(tt.ctx, tt.in)
			if tt.kind == "" {
				if err != nil || !slices.Equal(k.Clearances, tt.in.Clearances) {
					t.Errorf("got %v", err)
				}
				return
			}
			if f, ok := errors.AsType[*errs.Error](err); !ok || f.Kind != tt.kind || f.Field != tt.field {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	e := start(t)
	from := func(a string) context.Context { return network.NewContext(t.Context(), netip.MustParseAddr(a)) }
	k, secret := e.create(t, apikey.CreateInput{Name: "portal", Networks: []string{"192.0.2.77/24", "2001:db8::/32"}})
	if want := []string{"192.0.2.0/24", "2001:db8::/32"}; !slices.Equal(k.Networks, want) {
		t.Errorf("got %v, want %v", k.Networks, want)
	}
	for _, a := range []string{"192.0.2.1", "2001:db8:1::1"} {
		if _, err := e.Authenticate(from(a), secret); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	e.refused(from("198.51.100.1"), t, secret, machine.Network, k)
	e.refused(t.Context(), t, secret, machine.Network, k) // nobody knows from where

	name := "portal of the shop"
	k, err := e.Update(e.one, apikey.UpdateInput{ID: k.ID, ExpectedVersion: 1, Name: &name, Networks: []string{"198.51.100.1"}})
	if err != nil || k.Name != name || k.Version != 2 {
		t.Fatalf("got %+v, %v", k, err)
	}
	if _, err := e.Authenticate(from("198.51.100.1"), secret); err != nil {
		t.Error(err)
	}
	e.refused(from("192.0.2.1"), t, secret, machine.Network, k)
	if _, err := e.Update(e.one, apikey.UpdateInput{ID: k.ID, ExpectedVersion: 1, Networks: []string{}}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version gives %v", err)
	}
	k, err = e.Update(e.one, apikey.UpdateInput{ID: k.ID, ExpectedVersion: 2, Networks: []string{}})
	if err != nil || len(k.Networks) != 0 || k.Name != name {
		t.Fatalf("got %+v, %v", k, err)
	}
	if _, err := e.Authenticate(from("203.0.113.1"), secret); err != nil {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	e := start(t)
	k, first := e.create(t, apikey.CreateInput{Name: "portal"})
	works := func(secrets ...string) {
		t.Helper()
		for i, s := range secrets {
			if p, err := e.Authenticate(t.Context(), s); err != nil || p.ID != k.ID {
				t.Errorf("secret %d: got %+v, %v", i, p, err)
			}
		}
	}
	for _, hours := range []int{-1, apikey.MaxOverlap + 1} {
		if _, _, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: hours}); !errors.Is(err, apikey.ErrOverlap) {
			t.Errorf("%d hours give %v", hours, err)
		}
	}
	k, second, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: 24})
	if err != nil || len(k.Secrets) != 2 || k.Secrets[0].ExpiresAt != nil || k.Secrets[1].ExpiresAt == nil {
		t.Fatalf("got %+v, %v", k, err)
	}
	works(first, second)
	if _, _, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: 1}); !errors.Is(err, apikey.ErrOverlapping) {
		t.Errorf("a third secret gives %v", err)
	}
	e.set(*k.Secrets[1].ExpiresAt)
	works(second)
	e.refused(t.Context(), t, first, machine.Expired, k)

	k, third, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: 24})
	if err != nil || len(k.Secrets) != 2 {
		t.Fatalf("got %+v, %v", k, err)
	}
	works(second, third)
	k, fourth, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID})
	if err != nil || len(k.Secrets) != 1 {
		t.Fatalf("got %+v, %v", k, err)
	}
	works(fourth)
	for _, old := range []string{first, second, third} {
		e.refused(t.Context(), t, old, machine.Secret, k)
	}
}

// TestRotationUnderLoad: the clients take each new secret up while they call,
// and no call is refused.
// Whoever gets the secret of a key is the key: nobody does who couldn't give all
// that it holds.
func TestRotationOfWhatOneCouldNotGive(t *testing.T) {
	e := start(t)
	cleared, _ := e.create(t, apikey.CreateInput{Name: "a", Clearances: []authz.Clearance{authz.ClearAML}})
	wide, _ := e.create(t, apikey.CreateInput{Name: "b", Permissions: []authz.Permission{authz.RecordRead}})
	as := func(role authz.Role, clearances ...authz.Clearance) context.Context {
		return authz.NewContext(e.one, authz.Principal{
			Kind: authz.KindMember, Role: role, ID: "mem_1", Tenant: testenv.One, Clearances: clearances, AAL: authz.AAL2, AuthenticatedAt: e.now(),
		})
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		key  *apikey.APIKey
		want error
	}{
		{"without its clearance", as(authz.RoleOwner, authz.ClearArt9), cleared, machine.ErrBeyond},
		{"with its clearance", as(authz.RoleOwner, authz.ClearAML), cleared, nil},
		{"without its permission", as(authz.RoleDeveloper), wide, machine.ErrBeyond},
		{"with its permission", as(authz.RoleOwner), wide, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, secret, err := e.Rotate(tt.ctx, apikey.RotateInput{ID: tt.key.ID})
			if !errors.Is(err, tt.want) || (secret != "") != (tt.want == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRotationUnderLoad(t *testing.T) {
	const clients, rotations = 8, 5
	e := start(t)
	k, secret := e.create(t, apikey.CreateInput{Name: "portal"})
	var current atomic.Pointer[string]
	current.Store(&secret)
	var calls [clients]atomic.Int64
	var refused atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range clients {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := e.Authenticate(t.Context(), *current.Load()); err != nil {
					refused.Add(1)
				}
				calls[i].Add(1)
			}
		})
	}
	// more waits until each client has begun and ended n calls.
	more := func(n int64) {
		for i := range calls {
			for want := calls[i].Load() + 1 + n; calls[i].Load() < want; {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for range rotations {
		_, next, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: 1})
		if err != nil {
			t.Error(err)
			break
		}
		more(10) // with the old one
		current.Store(&next)
		more(1) // none with the old one is under way any more
		e.clock.Add(int64(time.Hour))
	}
	close(stop)
	wg.Wait()
	var sum int64
	for i := range calls {
		sum += calls[i].Load()
	}
	t.Logf("%d calls over %d rotations", sum, rotations)
	if n := refused.Load(); n > 0 {
		t.Errorf("%d calls were refused", n)
	}
}

func TestLastUse(t *testing.T) {
	e := start(t)
	k, first := e.create(t, apikey.CreateInput{Name: "portal"})
	_, second, err := e.Rotate(e.one, apikey.RotateInput{ID: k.ID, OverlapHours: 1})
	if err != nil {
		t.Fatal(err)
	}
	// flush runs the writer until it has written all.
	flush := func() *apikey.APIKey {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Run(ctx); err != nil {
			t.Fatal(err)
		}
		k, err := e.Get(e.one, k.ID)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if k := flush(); k.LastUsedAt != nil {
		t.Errorf("used at %s before anybody called", k.LastUsedAt)
	}
	at := e.now().UTC().Truncate(time.Millisecond)
	for _, s := range []string{second, second, first} {
		if _, err := e.Authenticate(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		e.set(e.now().Add(time.Second))
	}
	k = flush()
	if k.LastUsedAt == nil || !k.LastUsedAt.Equal(at.Add(2*time.Second)) || k.Secrets[1].LastUsedAt == nil ||
		!k.Secrets[1].LastUsedAt.Equal(at.Add(2*time.Second)) || !k.Secrets[0].LastUsedAt.Equal(at.Add(time.Second)) {
		t.Errorf("got %v, %+v", k.LastUsedAt, k.Secrets)
	}
	if k.Version != 2 {
		t.Errorf("a use made version %d", k.Version)
	}
}
