package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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
}

func newSessionCache(sessions Sessions, members Members, now func() time.Time) (*sessionCache, error) {
	known, err := lru.New[[sha256.Size]byte, caller](sessionsKept)
	if err != nil {
		return nil, fmt.Errorf("make session cache: %w", err)
	}
	return &sessionCache{sessions: sessions, members: members, now: now, known: known}, nil
}

func (c *sessionCache) get(ctx context.Context, cred Credential) (caller, error) {
	// The two forms of a credential lie apart: a cookie's value is no token.
	key := sha256.Sum256([]byte(cred.Token + "\x00" + cred.Cookie))
	if who, ok := c.known.Get(key); ok && c.now().Before(who.until) {
		return who, nil
	}
	// One question for all who wait, which no single one of them can call off.
	answer := c.flight.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		who, err := c.ask(ctx, cred)
		if err == nil {
			c.known.Add(key, who)
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
	who := caller{session: session, memberships: memberships, until: asked.Add(sessionLife)}
	if !session.ExpiresAt.IsZero() && session.ExpiresAt.Before(who.until) {
		who.until = session.ExpiresAt
	}
	return who, nil
}

func (c *sessionCache) evict(identity string) {
	for _, key := range c.known.Keys() {
		if who, ok := c.known.Peek(key); ok && who.session.Identity == identity {
			c.known.Remove(key)
		}
	}
}
