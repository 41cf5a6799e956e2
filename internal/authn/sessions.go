package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// sessionLife is how long a session is believed without asking again: a
	// sign-out or a change of role that nobody told us of takes effect within it.
	sessionLife = 30 * time.Second
	// sessionsKept bounds the cache.
	sessionsKept = 20_000
	// askTimeout bounds one question, which may serve several callers.
	askTimeout = 10 * time.Second
)

// ErrUnavailable reports that a session can't be looked up. API keys still work.
var ErrUnavailable = errs.New(errs.Unavailable, "sign-in can't be checked just now; try again")

// caller is what a session's credential proves.
type caller struct {
	session     Session
	memberships []tenancy.Membership
	asked       time.Time
	until       time.Time
}

// sessionCache remembers sessions under the SHA-256 of their credential. What
// isn't one is asked for anew each time.
type sessionCache struct {
	sessions Sessions
	members  Members
	now      func() time.Time

	known  *lru.Cache[[sha256.Size]byte, caller]
	flight singleflight.Group
	// evictions counts what evict was called for: an answer asked for before one
	// isn't kept after it, nor handed to who came later.
	mu        sync.Mutex
	evictions atomic.Uint64
}

func newSessionCache(sessions Sessions, members Members, now func() time.Time) (*sessionCache, error) {
	known, err := lru.New[[sha256.Size]byte, caller](sessionsKept)
	if err != nil {
		return nil, fmt.Errorf("make session cache: %w", err)
	}
	return &sessionCache{sessions: sessions, members: members, now: now, known: known}, nil
}

func (c *sessionCache) get(ctx context.Context, cred Credential) (caller, error) {
	key := credentialKey(cred)
	if who, ok := c.known.Get(key); ok && c.now().Before(who.until) {
		return who, nil
	}
	return c.fetch(ctx, key, cred)
}

// renew is get past what is known.
func (c *sessionCache) renew(ctx context.Context, cred Credential) (caller, error) {
	key, before := credentialKey(cred), c.evictions.Load()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	who, err := c.ask(ctx, cred)
	if err != nil {
		c.known.Remove(key)
		return caller{}, err
	}
	c.keep(key, who, before)
	return who, nil
}

func (c *sessionCache) fetch(ctx context.Context, key [sha256.Size]byte, cred Credential) (caller, error) {
	before := c.evictions.Load()
	// One question for all who wait, which no single one of them can call off.
	answer := c.flight.DoChan(fmt.Sprintf("%x %d", key, before), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		who, err := c.ask(ctx, cred)
		if err == nil {
			c.keep(key, who, before)
		}
		return who, err
	})
	select {
	case a := <-answer:
		who, ok := a.Val.(caller)
		if a.Err == nil && !ok {
			a.Err = errors.New("session cache holds something else")
		}
		return who, a.Err
	case <-ctx.Done():
		return caller{}, ErrUnavailable.Because(ctx.Err())
	}
}

// keep remembers an answer, unless there was an eviction since the question or
// another was asked later.
func (c *sessionCache) keep(key [sha256.Size]byte, who caller, evictions uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.known.Peek(key); c.evictions.Load() == evictions && (!ok || !have.asked.After(who.asked)) {
		c.known.Add(key, who)
	}
}

func (c *sessionCache) ask(ctx context.Context, cred Credential) (caller, error) {
	asked := c.now()
	session, err := c.sessions.WhoAmI(ctx, cred)
	if err != nil {
		return caller{}, fmt.Errorf("find session: %w", err)
	}
	memberships, err := c.members.MembershipsOf(tenant.System(ctx, "sign-in"), session.Identity)
	if err != nil {
		return caller{}, fmt.Errorf("find memberships of identity %s: %w", session.Identity, err)
	}
	who := caller{session: session, memberships: memberships, asked: asked, until: asked.Add(sessionLife)}
	if !session.ExpiresAt.IsZero() && session.ExpiresAt.Before(who.until) {
		who.until = session.ExpiresAt
	}
	return who, nil
}

func (c *sessionCache) evict(identity string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evictions.Add(1)
	for _, key := range c.known.Keys() {
		if who, ok := c.known.Peek(key); ok && who.session.Identity == identity {
			c.known.Remove(key)
		}
	}
}

// credentialKey is the SHA-256 of a credential. The two forms of one lie apart:
// a cookie's value is no token.
func credentialKey(cred Credential) [sha256.Size]byte {
	return sha256.Sum256([]byte(cred.Token + "\x00" + cred.Cookie))
}
