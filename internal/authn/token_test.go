package authn_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
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

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	issuer   = "https://tokens.example.test"
	audience = "https://api.example.test"
)

// clients knows two clients, until they are revoked.
type clients struct{ revoked atomic.Bool }

func (c *clients) Authenticate(ctx context.Context, clientID string) (authz.Principal, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return authz.Principal{}, err
	}
	if clientID != "oac_1" && clientID != "oac_signed" || c.revoked.Load() {
		return authz.Principal{}, oauth.ErrRefused
	}
	return authz.Principal{Kind: authz.KindMachine, ID: clientID, Tenant: one, Credential: clientID}, nil
}

func newTokens(t *testing.T, s authn.TokenServer, c authn.Clients, issuer string) *authn.Tokens {
	t.Helper()
	tokens, err := authn.NewTokens(authn.TokensConfig{Server: s, Clients: c, Issuer: issuer, Audience: audience, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// TestTokensOfHydra runs on the real authorization server.
func TestTokensOfHydra(t *testing.T) {
	s := orytest.StartHydra(t)
	known := &clients{}
	tokens := newTokens(t, s.Client, known, s.Client.Issuer())
	put := func(id string, format oauth.TokenFormat) string {
		t.Helper()
		secret := personal.NewText("a-secret-of-a-test")
		if err := s.Client.PutClient(t.Context(), id, secret, format, audience); err != nil {
			t.Fatal(err)
		}
		return orytest.Token(t, &oauth.Credentials{ClientID: id, ClientSecret: secret, TokenURL: s.Client.TokenURL()}, audience)
	}
	opaque, signed := put("oac_1", oauth.Opaque), put("oac_signed", oauth.JWT)
	if strings.Contains(opaque, "eyJ") || strings.Count(signed, ".") != 2 {
		t.Fatal("tokens of the wrong format")
	}
	for name, token := range map[string]string{"opaque": opaque, "signed": signed} {
		if p, err := tokens.Authenticate(t.Context(), token); err != nil || !strings.HasPrefix(p.ID, "oac_") || p.Tenant != one {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
	refused := func(t *testing.T, tokens *authn.Tokens, token string) {
		t.Helper()
		if _, err := tokens.Authenticate(t.Context(), token); !errors.Is(err, oauth.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	t.Run("tampered", func(t *testing.T) {
		keys, err := s.Client.SigningKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		part := strings.Split(signed, ".")
		encode := base64.RawURLEncoding.EncodeToString
		none := encode([]byte(`{"alg":"none","typ":"JWT"}`))
		for name, token := range map[string]string{
			"claims":          part[0] + "." + encode([]byte(strings.Replace(decode(t, part[1]), "oac_signed", "oac_1", 1))) + "." + part[2],
			"no algorithm":    none + "." + part[1] + ".",
			"none, signed":    none + "." + part[1] + "." + part[2],
			"cut":             part[0] + "." + part[1] + "." + part[2][:len(part[2])-4],
			"no signature":    part[0] + "." + part[1] + ".",
			"empty":           "eyJ..",
			"opaque, altered": opaque + "x",
		} {
			t.Run(name, func(t *testing.T) { refused(t, tokens, token) })
		}
		for i, key := range keys.Keys { // the public key taken for a shared secret
			public, err := x509.MarshalPKIXPublicKey(key.Key)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := json.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			for form, secret := range map[string][]byte{
				"DER": public, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "JWK": plain,
			} {
				t.Run(fmt.Sprintf("HS256 with public key %d as %s", i, form), func(t *testing.T) {
					signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: key.KeyID}}, nil)
					if err != nil {
						t.Fatal(err)
					}
					signature, err := signer.Sign([]byte(decode(t, part[1])))
					if err != nil {
						t.Fatal(err)
					}
					token, err := signature.CompactSerialize()
					if err != nil {
						t.Fatal(err)
					}
					refused(t, tokens, token)
				})
			}
		}
	})
	t.Run("issued for another service", func(t *testing.T) {
		other, err := authn.NewTokens(authn.TokensConfig{
			Server: s.Client, Clients: known, Issuer: s.Client.Issuer(), Audience: "https://other.example.test", Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, other, opaque)
		refused(t, other, signed)
	})
	t.Run("of a client that has no row", func(t *testing.T) {
		refused(t, tokens, put("oac_2", oauth.Opaque))
		refused(t, tokens, put("oac_3", oauth.JWT))
	})
	t.Run("of a revoked client", func(t *testing.T) {
		known.revoked.Store(true)
		defer known.revoked.Store(false)
		refused(t, tokens, opaque)
		refused(t, tokens, signed)
	})
	t.Run("server down", func(t *testing.T) {
		fresh := put("oac_1", oauth.Opaque)
		s.Kill()
		if _, err := tokens.Authenticate(t.Context(), signed); err != nil {
			t.Errorf("signed: %v", err)
		}
		if _, err := tokens.Authenticate(t.Context(), opaque); err != nil {
			t.Errorf("opaque, known for less than 30 s: %v", err)
		}
		if _, err := tokens.Authenticate(t.Context(), fresh); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("opaque: got %v", err)
		}
		if _, err := newTokens(t, s.Client, known, s.Client.Issuer()).Authenticate(t.Context(), signed); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("signed, by a server that has no keys yet: got %v", err)
		}
	})
}

func decode(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// server is an authorization server with keys of the test's own.
type server struct {
	mu           sync.Mutex
	keys         map[string]*rsa.PrivateKey
	down         bool
	askedKeys    int
	askedTokens  int
	introspected authn.Token
}

func (s *server) Introspect(context.Context, string) (authn.Token, error) {
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askedTokens++
	if s.down {
		return authn.Token{}, errs.New(errs.Unavailable, "down")
	}
	return s.introspected, nil
}

func (s *server) SigningKeys(context.Context) (set jose.JSONWebKeySet, err error) {
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askedKeys++
	if s.down {
		return set, errs.New(errs.Unavailable, "down")
	}
	for id, key := range s.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	return set, nil
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type claims struct {
	jwt.Claims
	Client string `json:"client_id,omitempty"`
}

// good are the claims of a token that is valid for an hour.
func good() claims {
	now := time.Now()
	return claims{jwt.Claims{
		Issuer: issuer, Subject: "oac_1", Audience: jwt.Audience{"https://x.example.test", audience},
		Expiry: jwt.NewNumericDate(now.Add(time.Hour)), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now),
	}, "oac_1"}
}

func sign(t *testing.T, key *rsa.PrivateKey, keyID string, alg jose.SignatureAlgorithm, c claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestClaims(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	with := func(change func(*claims)) claims {
		c := good()
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name  string
		key   *rsa.PrivateKey
		alg   jose.SignatureAlgorithm
		c     claims
		valid bool
	}{
		{"good", key, jose.RS256, good(), true},
		{"issuer with a slash", key, jose.RS256, with(func(c *claims) { c.Issuer += "/" }), true},
		{"not yet, within the clocks' difference", key, jose.RS256, with(func(c *claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(3 * time.Second)) }), true},
		{"another's key", stranger, jose.RS256, good(), false},
		{"another algorithm", key, jose.PS256, good(), false},
		{"RS512", key, jose.RS512, good(), false},
		{"other issuer", key, jose.RS256, with(func(c *claims) { c.Issuer = "https://evil.example.test" }), false},
		{"no issuer", key, jose.RS256, with(func(c *claims) { c.Issuer = "" }), false},
		{"other audience", key, jose.RS256, with(func(c *claims) { c.Audience = jwt.Audience{audience + "/x"} }), false},
		{"no audience", key, jose.RS256, with(func(c *claims) { c.Audience = nil }), false},
		{"expired", key, jose.RS256, with(func(c *claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Second)) }), false},
		{"never expires", key, jose.RS256, with(func(c *claims) { c.Expiry = nil }), false},
		{"not yet", key, jose.RS256, with(func(c *claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Minute)) }), false},
		{"of no client", key, jose.RS256, with(func(c *claims) { c.Client = "" }), false},
		{"of an unknown client", key, jose.RS256, with(func(c *claims) { c.Client, c.Subject = "oac_2", "oac_2" }), false},
		{"for somebody else", key, jose.RS256, with(func(c *claims) { c.Subject = "person" }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := newTokens(t, &server{keys: map[string]*rsa.PrivateKey{"k": key}}, &clients{}, issuer)
			_, err := tokens.Authenticate(t.Context(), sign(t, tt.key, "k", tt.alg, tt.c))
			if tt.valid && err != nil || !tt.valid && !errors.Is(err, oauth.ErrRefused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSigningKeys(t *testing.T) {
	first, second := newKey(t), newKey(t)
	synctest.Test(t, func(t *testing.T) {
		s := &server{keys: map[string]*rsa.PrivateKey{"1": first}}
		tokens := newTokens(t, s, &clients{}, issuer)
		token := func(id string, key *rsa.PrivateKey) string {
			c := good()
			c.Expiry = jwt.NewNumericDate(time.Now().Add(24 * time.Hour))
			return sign(t, key, id, jose.RS256, c)
		}
		one, two, unknown := token("1", first), token("2", second), token("3", second)
		asked := func(want int) {
			t.Helper()
			synctest.Wait()
			s.set(func() {
				if s.askedKeys != want {
					t.Errorf("asked for keys %d times, want %d", s.askedKeys, want)
				}
			})
		}
		check := func(token string, want error) {
			t.Helper()
			if _, err := tokens.Authenticate(t.Context(), token); !errors.Is(err, want) && errs.KindOf(err) != errs.KindOf(want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		unavailable := errs.New(errs.Unavailable, "down")

		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { check(one, nil) })
		}
		wg.Wait()
		asked(1) // for all of them

		s.set(func() { s.keys["2"] = second })
		for range 20 {
			check(two, oauth.ErrRefused) // asked a moment ago
		}
		asked(1)
		time.Sleep(10 * time.Second)
		check(two, nil)
		asked(2)
		for range 50 {
			check(unknown, oauth.ErrRefused)
		}
		asked(2)

		s.set(func() { s.down = true })
		time.Sleep(10 * time.Minute)
		check(one, nil) // stale, and asked for behind the call's back
		time.Sleep(2 * time.Second)
		asked(3)
		check(two, nil)
		check(unknown, unavailable)
		time.Sleep(24*time.Hour - 12*time.Minute)
		check(one, nil)
		time.Sleep(2 * time.Second)

		s.set(func() { s.down = false; delete(s.keys, "1") })
		time.Sleep(11 * time.Second)
		check(one, nil)
		time.Sleep(2 * time.Second)
		check(one, oauth.ErrRefused) // its key was withdrawn
		check(two, nil)
	})
}

func TestOpaqueTokensAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		s := &server{introspected: authn.Token{
			Client: "oac_1", Subject: "oac_1", Issuer: issuer, Audience: []string{audience}, ExpiresAt: now.Add(70 * time.Second),
		}}
		known := &clients{}
		tokens := newTokens(t, s, known, issuer)
		check := func(want errs.Kind, asked int) {
			t.Helper()
			_, err := tokens.Authenticate(t.Context(), "ory_at_a")
			if errs.KindOf(err) != want || s.askedTokens != asked {
				t.Errorf("got %v after %d questions, want %s after %d", err, s.askedTokens, want, asked)
			}
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := tokens.Authenticate(t.Context(), "ory_at_a"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		check("", 1)
		known.revoked.Store(true)
		check(errs.Unauthenticated, 1) // whose row is read each time
		known.revoked.Store(false)
		time.Sleep(28 * time.Second)
		check("", 1)
		time.Sleep(time.Second)
		check("", 2)
		s.down = true
		time.Sleep(28 * time.Second)
		check("", 2)
		time.Sleep(time.Second)
		check(errs.Unavailable, 3)
		s.down = false
		check("", 4)
		time.Sleep(10 * time.Second)
		check(errs.Unauthenticated, 4) // expired, though it was asked for a moment ago
	})
}

func TestAccessTokensAtTheDoor(t *testing.T) {
	s := &server{introspected: authn.Token{
		Client: "oac_1", Subject: "oac_1", Issuer: issuer, Audience: []string{audience}, ExpiresAt: time.Now().Add(time.Hour),
	}}
	a, err := authn.New(authn.Config{
		Keys: keys{}, Tokens: newTokens(t, s, &clients{}, issuer), Sessions: &sessions{}, Members: everybody(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, a, token("ory_at_a")); got.err != nil || got.principal.ID != "oac_1" || got.tenant != one || got.memberships != 0 {
		t.Errorf("got %+v", got)
	}
	foreign := token("ory_at_a")
	foreign.Header.Set(authn.HeaderTenant, string(two))
	if got := call(t, a, foreign); !errors.Is(got.err, authn.ErrNotMember) {
		t.Errorf("another tenant: got %v", got.err)
	}
	elsewhere := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	elsewhere.Header.Set(authn.HeaderSession, "ory_at_a")
	if got := call(t, a, elsewhere); !errors.Is(got.err, authn.ErrCredential) {
		t.Errorf("as a session's token: got %v", got.err)
	}
	off := newAuthenticator(t, &sessions{}, everybody(), time.Now)
	for _, text := range []string{"ory_at_a", "eyJh.eyJh.x"} {
		if got := call(t, off, token(text)); !errors.Is(got.err, oauth.ErrRefused) {
			t.Errorf("with OAuth off: got %v", got.err)
		}
	}
}
