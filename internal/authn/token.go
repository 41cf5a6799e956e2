package authn

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// opaquePrefix begins Hydra's opaque access tokens.
	opaquePrefix = "ory_at_"
	// tokenLife is how long an opaque token is believed without asking again.
	tokenLife = 30 * time.Second
	// tokensKept bounds the cache of opaque tokens.
	tokensKept = 20_000
	// keysLife is how long signing keys are believed while new ones can be had.
	keysLife = 5 * time.Minute
	// keysPause is the least time from one question for signing keys to the next.
	keysPause = 10 * time.Second
	// clockLeeway is how far the authorization server's clock may run ahead.
	clockLeeway = 5 * time.Second
)

// Token is what an access token says, once its source is beyond doubt. The zero
// Token is one that isn't valid.
type Token struct {
	Client    string // client_id
	Subject   string // the client itself when it acts for nobody else
	Issuer    string
	Audience  []string
	ExpiresAt time.Time
	NotBefore time.Time
}

// TokenServer is the authorization server.
type TokenServer interface {
	// Introspect returns what an opaque access token says, the zero Token for one
	// that isn't valid. It fails with errs.Unavailable when that can't be told.
	Introspect(ctx context.Context, token string) (Token, error)
	// SigningKeys returns the public keys that signed tokens are checked with.
	SigningKeys(ctx context.Context) (jose.JSONWebKeySet, error)
}

// Clients knows whose the OAuth clients are.
type Clients interface {
	// Authenticate returns the principal of a client for which a valid token was
	// issued. It fails with oauth.ErrRefused for an unknown or revoked one.
	Authenticate(ctx context.Context, clientID string) (authz.Principal, error)
}

// TokensConfig is what Tokens are made of.
type TokensConfig struct {
	Server   TokenServer
	Clients  Clients
	Issuer   string // without a slash at its end
	Audience string // that tokens must be issued for
	Now      func() time.Time
}

// Tokens knows the access tokens of OAuth clients. Whatever is wrong with one,
// the answer is oauth.ErrRefused.
type Tokens struct {
	TokensConfig
	known  *lru.Cache[[sha256.Size]byte, knownToken]
	flight singleflight.Group
	keys   signingKeys
}

type knownToken struct {
	Token
	until time.Time
}

// NewTokens returns Tokens.
func NewTokens(c TokensConfig) (*Tokens, error) {
	known, err := lru.New[[sha256.Size]byte, knownToken](tokensKept)
	if err != nil {
		return nil, fmt.Errorf("make token cache: %w", err)
	}
	return &Tokens{TokensConfig: c, known: known, keys: signingKeys{server: c.Server, now: c.Now}}, nil
}

// isAccessToken tells an access token from a session's token by its form.
func isAccessToken(token string) bool {
	return strings.HasPrefix(token, opaquePrefix) || isJWT(token)
}

func isJWT(token string) bool {
	return strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2
}

// Authenticate returns the machine client that a token proves.
func (t *Tokens) Authenticate(ctx context.Context, token string) (authz.Principal, error) {
	read := t.introspect
	if isJWT(token) {
		read = t.verify
	}
	said, err := read(ctx, token)
	if err != nil {
		return authz.Principal{}, err
	}
	now := t.Now()
	switch {
	case said.Client == "", said.Subject != said.Client, // it acts for somebody else
		strings.TrimSuffix(said.Issuer, "/") != t.Issuer, !slices.Contains(said.Audience, t.Audience),
		!now.Before(said.ExpiresAt), now.Add(clockLeeway).Before(said.NotBefore):
		return authz.Principal{}, oauth.ErrRefused
	}
	return t.Clients.Authenticate(tenant.System(ctx, "authenticate access token"), said.Client)
}

// introspect asks the authorization server about an opaque token.
func (t *Tokens) introspect(ctx context.Context, token string) (Token, error) {
	key := sha256.Sum256([]byte(token))
	if k, ok := t.known.Get(key); ok && t.Now().Before(k.until) {
		return k.Token, nil
	}
	// One question for all who wait, which no single one of them can call off.
	answer := t.flight.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		until := t.Now().Add(tokenLife)
		said, err := t.Server.Introspect(ctx, token)
		if err == nil && said.Client != "" {
			t.known.Add(key, knownToken{said, until})
		}
		return said, err
	})
	select {
	case a := <-answer:
		said, ok := a.Val.(Token)
		if a.Err == nil && !ok {
			a.Err = errors.New("token cache holds something else")
		}
		return said, a.Err
	case <-ctx.Done():
		return Token{}, ErrUnavailable.Because(ctx.Err())
	}
}

// verify checks a signed token.
func (t *Tokens) verify(ctx context.Context, token string) (Token, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return Token{}, oauth.ErrRefused
	}
	key, err := t.keys.find(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return Token{}, err
	}
	var claims struct {
		jwt.Claims
		Client string `json:"client_id"`
	}
	if parsed.Claims(key, &claims) != nil || claims.Expiry == nil {
		return Token{}, oauth.ErrRefused
	}
	return Token{
		Client: claims.Client, Subject: claims.Subject, Issuer: claims.Issuer, Audience: claims.Audience,
		ExpiresAt: claims.Expiry.Time(), NotBefore: claims.NotBefore.Time(),
	}, nil
}

// signingKeys keeps the public keys of the authorization server. They outlive its
// being down: what they have signed goes on being believed.
type signingKeys struct {
	server TokenServer
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	keys    map[string]*rsa.PublicKey // by key id
	fetched time.Time
	asked   time.Time
	err     error // of the last question
}

// find returns a key. It asks for the keys anew when it doesn't know the one, and
// waits; and when they are old, without waiting.
func (k *signingKeys) find(ctx context.Context, keyID string) (*rsa.PublicKey, error) {
	key, fresh := k.have(keyID)
	if key != nil && fresh {
		return key, nil
	}
	answer := k.flight.DoChan("", func() (any, error) {
		return nil, k.ask(context.WithoutCancel(ctx))
	})
	if key != nil {
		return key, nil
	}
	select {
	case a := <-answer:
		if key, _ := k.have(keyID); key != nil {
			return key, nil
		}
		if a.Err != nil {
			return nil, a.Err
		}
		return nil, oauth.ErrRefused
	case <-ctx.Done():
		return nil, ErrUnavailable.Because(ctx.Err())
	}
}

func (k *signingKeys) have(keyID string) (key *rsa.PublicKey, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[keyID], k.now().Before(k.fetched.Add(keysLife))
}

// ask gets the keys, unless they were asked for a moment ago: then it repeats
// what came of that.
func (k *signingKeys) ask(ctx context.Context) error {
	k.mu.Lock()
	asked, last := k.asked, k.err
	k.mu.Unlock()
	if !asked.IsZero() && k.now().Before(asked.Add(keysPause)) {
		return last
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	set, err := k.server.SigningKeys(ctx)
	keys := make(map[string]*rsa.PublicKey, len(set.Keys))
	for _, key := range set.Keys {
		public, ok := key.Key.(*rsa.PublicKey)
		if ok && key.Use != "enc" && (key.Algorithm == "" || key.Algorithm == string(jose.RS256)) {
			keys[key.KeyID] = public
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.err = k.now(), err
	if err == nil {
		k.keys, k.fetched = keys, k.asked
	}
	return err
}
