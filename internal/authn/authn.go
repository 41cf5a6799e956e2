// Package authn finds out who is calling: a machine client by its API key or
// OAuth access token, a member by a session of the identity server, or a data
// subject by one of package portal. What they may do is for authz.
//
// A call without any credential goes on without a caller. A credential that is
// malformed, unknown or over ends the call: it is never taken for none.
package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// The headers and the cookie that are read.
const (
	HeaderTenant  = "Vogter-Tenant"  // the tenant that a member with several works for
	HeaderPurpose = "Vogter-Purpose" // why data is read or written, for the audit log
	HeaderSession = "X-Session-Token"
	SessionCookie = "ory_kratos_session"
)

const maxPurpose = 100

// Sentinels.
var (
	ErrCredential = errs.New(errs.Unauthenticated, "the credential is malformed: send 'Authorization: Bearer' and an API key or session token")
	ErrCrossSite  = errs.New(errs.Forbidden, "a call with a session cookie must come from the application's own pages")
	ErrNoTenant   = errs.New(errs.Forbidden, "you work for no tenant: ask an owner to invite you, or accept the invitation that you have").Under("authn.noTenant")
	ErrNotMember  = errs.New(errs.Forbidden, "you can't work for the tenant in header "+HeaderTenant)
	ErrWhich      = errs.New(errs.Invalid, "you work for several tenants: choose one by header "+HeaderTenant).Under("authn.whichTenant")
	ErrPurpose    = errs.New(errs.Invalid, "header %s takes up to %d letters, digits and . _ : -", HeaderPurpose, maxPurpose)
)

// Credential is what proves a session: a token or the value of the cookie. It
// redacts itself.
type Credential struct {
	Token  string
	Cookie string
}

// String redacts.
func (Credential) String() string { return personal.Redacted }

// GoString redacts.
func (Credential) GoString() string { return personal.Redacted }

// Session is a member's sign-in.
type Session struct {
	ID              string
	Identity        string // id of the person at the identity server
	AAL             string // authenticator assurance level: aal1, aal2
	AuthenticatedAt time.Time
	ExpiresAt       time.Time
}

// Keys knows the API keys, or other tokens that are of one tenant.
type Keys interface {
	// Authenticate returns the principal of a key. It fails with
	// errs.Unauthenticated for an unknown, revoked or expired one.
	Authenticate(ctx context.Context, token string) (authz.Principal, error)
}

// Sessions knows the sessions.
type Sessions interface {
	// WhoAmI fails with errs.Unauthenticated for an unknown or ended session, and
	// with errs.Unavailable when it can't be told.
	WhoAmI(ctx context.Context, c Credential) (Session, error)
}

// Members knows who works for whom.
type Members interface {
	// MembershipsOf returns the memberships of a person in all tenants; ctx is a
	// tenant.System context.
	MembershipsOf(ctx context.Context, identity string) ([]tenancy.Membership, error)
}

// Grants knows which operators have access to tenants that aren't the provider.
type Grants interface {
	// Access returns the id of the grant by which an operator is in the tenant in
	// ctx at this moment, or fails with errs.NotFound.
	Access(ctx context.Context, operator string) (grantID string, err error)
}

// Config is what an Authenticator is made of.
type Config struct {
	Keys   Keys
	Tokens *Tokens // nil: OAuth is off
	// Subjects knows the sessions of persons who see what is kept on them; may be nil.
	Subjects Keys
	Sessions Sessions
	Members  Members
	// Grants may be nil: no operator then enters a tenant of others.
	Grants Grants
	// Evictions tells of sessions and memberships that have changed; may be nil.
	Evictions *Evictions
	// Entered is told of each sign-in of a member or machine client that this server
	// hasn't met yet, with the caller in ctx; sign is the same for the same sign-in.
	// The call goes on when it returns without an error. It may be nil.
	Entered func(ctx context.Context, sign string) error
	// Origin is the address of the application's pages, from which calls with a
	// session cookie are taken besides those of the same origin; may be empty.
	Origin string
	Now    func() time.Time
}

// Authenticator finds out who is calling.
type Authenticator struct {
	keys    Keys
	tokens  *Tokens
	persons Keys
	grants  Grants
	entered func(ctx context.Context, sign string) error
	met     *lru.Cache[string, struct{}] // signs of sign-ins
	cache   *sessionCache
	origins *http.CrossOriginProtection
	now     func() time.Time
}

// New returns an Authenticator. It fails when the Origin is none.
func New(c Config) (*Authenticator, error) {
	origins := http.NewCrossOriginProtection()
	if c.Origin != "" {
		if err := origins.AddTrustedOrigin(c.Origin); err != nil {
			return nil, err
		}
	}
	cache, err := newSessionCache(c.Sessions, c.Members, c.Now)
	if err != nil {
		return nil, err
	}
	met, err := lru.New[string, struct{}](sessionsKept)
	if err != nil {
		return nil, fmt.Errorf("make cache of sign-ins: %w", err)
	}
	if c.Evictions != nil {
		c.Evictions.tell(cache.evict)
	}
	return &Authenticator{
		keys: c.Keys, tokens: c.Tokens, persons: c.Subjects, grants: c.Grants, entered: c.Entered, met: met, cache: cache, origins: origins, now: c.Now,
	}, nil
}

// Evict forgets the cached sessions of a person: after a sign-out, or when a
// membership was changed. See Evictions for those of other servers.
func (a *Authenticator) Evict(identity string) { a.cache.evict(identity) }

// Middleware puts the caller, the tenant and the particulars of the call, whose
// id must be in the context already, into the context of next. A call that it
// doesn't let pass is answered by fail.
func (a *Authenticator) Middleware(next http.Handler, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := a.authenticate(r.Context(), r)
		if err != nil {
			fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (a *Authenticator) authenticate(ctx context.Context, r *http.Request) (context.Context, error) {
	req := audit.RequestFrom(ctx)
	if req.Purpose = r.Header.Get(HeaderPurpose); !validPurpose(req.Purpose) {
		return nil, ErrPurpose
	}
	ctx = audit.WithRequest(ctx, req)

	cred, err := credential(r)
	switch {
	case err != nil:
		return nil, err
	case cred == (Credential{}):
		return ctx, nil
	}
	prove := func(ctx context.Context) (context.Context, error) { return a.prove(ctx, r, cred) }
	return prove(context.WithValue(ctx, againKey{}, prove))
}

type againKey struct{}

// Again returns the caller of the call in ctx as their credential proves them by
// now, for answers that take long: it fails as the call would.
func Again(ctx context.Context) (authz.Principal, error) {
	prove, ok := ctx.Value(againKey{}).(func(context.Context) (context.Context, error))
	if !ok {
		return authz.FromContext(ctx), nil
	}
	ctx, err := prove(ctx)
	if err != nil {
		return authz.Principal{}, err
	}
	return authz.FromContext(ctx), nil
}

func (a *Authenticator) prove(ctx context.Context, r *http.Request, cred Credential) (context.Context, error) {
	wanted := tenant.ID(r.Header.Get(HeaderTenant))
	switch {
	case strings.HasPrefix(cred.Token, apikey.Prefix):
		return a.byToken(ctx, a.keys, cred.Token, wanted)
	case strings.HasPrefix(cred.Token, portal.Prefix):
		if a.persons == nil {
			return nil, portal.ErrSession
		}
		return a.byToken(ctx, a.persons, cred.Token, wanted)
	case isAccessToken(cred.Token):
		if a.tokens == nil {
			return nil, oauth.ErrRefused
		}
		return a.byToken(ctx, a.tokens, cred.Token, wanted)
	default:
		return a.bySession(ctx, r, cred, wanted)
	}
}

// byToken lets in a machine client by its API key or access token, or a data
// subject by the token of their session: each is of one tenant.
func (a *Authenticator) byToken(ctx context.Context, known Keys, token string, wanted tenant.ID) (context.Context, error) {
	p, err := known.Authenticate(tenant.System(ctx, "authenticate token"), token)
	if err != nil {
		return nil, err
	}
	if wanted != "" && wanted != p.Tenant {
		return nil, ErrNotMember
	}
	return a.enter(ctx, p, nil)
}

// bySession lets a person in by a session of the identity server.
func (a *Authenticator) bySession(ctx context.Context, r *http.Request, cred Credential, wanted tenant.ID) (context.Context, error) {
	if cred.Cookie != "" {
		if err := a.checkOrigin(r); err != nil {
			return nil, err
		}
	}
	who, err := a.cache.get(ctx, cred)
	if err != nil {
		return nil, err
	}
	anew := func(ctx context.Context) (context.Context, error) {
		who, err := a.cache.renew(ctx, cred)
		if err != nil {
			return nil, err
		}
		return a.act(ctx, who, wanted)
	}
	return a.act(context.WithValue(ctx, anewKey{}, anew), who, wanted)
}

// act makes a person the caller, for the tenant wanted. Who works for none, or
// hasn't chosen one, goes on to what is public and is refused the rest.
func (a *Authenticator) act(ctx context.Context, who caller, wanted tenant.ID) (context.Context, error) {
	p := authz.Principal{
		Identity: who.session.Identity, Credential: who.session.ID, AAL: authz.AAL(who.session.AAL),
		AuthenticatedAt: who.session.AuthenticatedAt,
	}
	all := current(who.memberships, a.now())
	m, err := choose(all, wanted)
	switch {
	case errors.Is(err, ErrNotMember):
		if p, err = a.breakGlass(ctx, p, all, wanted); err != nil {
			return nil, err
		}
		return a.enter(ctx, p, all)
	case err != nil:
		ctx = authz.WithRefusal(authz.NewContext(ctx, p), err)
		return context.WithValue(ctx, membershipsKey{}, all), nil
	}
	p.Kind, p.ID, p.Tenant, p.Role = authz.KindMember, m.MemberID, m.Tenant, m.Role
	p.Clearances, p.Purposes = m.Clearances, m.Purposes
	if m.Role == authz.RoleOperator {
		p.Kind, p.Home = authz.KindOperator, m.Tenant
	}
	return a.enter(ctx, p, all)
}

// breakGlass makes p an operator in a tenant that isn't the provider, if a grant
// lets them in at this moment.
func (a *Authenticator) breakGlass(
	ctx context.Context, p authz.Principal, all []tenancy.Membership, wanted tenant.ID,
) (authz.Principal, error) {
	at := slices.IndexFunc(all, func(m tenancy.Membership) bool { return m.Role == authz.RoleOperator })
	if at < 0 || a.grants == nil {
		return p, ErrNotMember
	}
	operator := all[at].MemberID
	grant, err := a.grants.Access(tenant.NewContext(ctx, wanted), operator)
	if errs.KindOf(err) == errs.NotFound {
		return p, ErrNotMember
	}
	if err != nil {
		return p, fmt.Errorf("find access of operator %s: %w", operator, err)
	}
	p.Kind, p.ID, p.Role, p.Home = authz.KindOperator, operator, authz.RoleOperator, all[at].Tenant
	p.Tenant, p.BreakGlass = wanted, grant
	return p, nil
}

type anewKey struct{}

// Anew returns ctx with the caller as the identity server knows the session this
// moment, past the cache: a person who has just signed in again, or with a
// second factor, is believed at once. Of other callers ctx comes back as it is.
func Anew(ctx context.Context) (context.Context, error) {
	anew, ok := ctx.Value(anewKey{}).(func(context.Context) (context.Context, error))
	if !ok {
		return ctx, nil
	}
	return anew(ctx)
}

// enter returns ctx with the caller, whose sign-in is known of by then.
func (a *Authenticator) enter(ctx context.Context, p authz.Principal, all []tenancy.Membership) (context.Context, error) {
	p.Purpose = audit.RequestFrom(ctx).Purpose
	ctx = context.WithValue(ctx, membershipsKey{}, all)
	ctx = tenant.NewContext(authz.NewContext(ctx, p), p.Tenant)
	if a.entered == nil || p.Kind == authz.KindSubject { // whose sign-in was an entry of its own
		return ctx, nil
	}
	sign := strings.Join([]string{string(p.Tenant), p.ID, p.Credential, string(p.AAL), strconv.FormatInt(p.AuthenticatedAt.Unix(), 10)}, "/")
	if a.met.Contains(sign) {
		return ctx, nil
	}
	if err := a.entered(ctx, sign); err != nil {
		return nil, err
	}
	a.met.Add(sign, struct{}{})
	return ctx, nil
}

type membershipsKey struct{}

// Memberships returns all memberships of the member who is calling; none of an
// API key.
func Memberships(ctx context.Context) []tenancy.Membership {
	all, _ := ctx.Value(membershipsKey{}).([]tenancy.Membership)
	return all
}

// credential returns what the call proves itself with; the zero Credential when
// it doesn't try. An Authorization header goes before a token, and that before
// the cookie, which a browser adds unasked.
func credential(r *http.Request) (Credential, error) {
	if headers := r.Header.Values("Authorization"); len(headers) > 0 {
		scheme, token, _ := strings.Cut(headers[0], " ")
		token = strings.TrimSpace(token)
		if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || !validToken(token) {
			return Credential{}, ErrCredential
		}
		return Credential{Token: token}, nil
	}
	if tokens := r.Header.Values(HeaderSession); len(tokens) > 0 {
		if len(tokens) > 1 || !validToken(tokens[0]) || strings.HasPrefix(tokens[0], apikey.Prefix) || strings.HasPrefix(tokens[0], portal.Prefix) || isAccessToken(tokens[0]) {
			return Credential{}, ErrCredential
		}
		return Credential{Token: tokens[0]}, nil
	}
	switch cookies := r.CookiesNamed(SessionCookie); len(cookies) {
	case 0:
		return Credential{}, nil
	case 1:
		if !validToken(cookies[0].Value) {
			return Credential{}, ErrCredential
		}
		return Credential{Cookie: cookies[0].Value}, nil
	default:
		return Credential{}, ErrCredential
	}
}

// validToken reports whether t is of a length and an alphabet that a token can have.
func validToken(t string) bool {
	const longest = 4096
	return t != "" && len(t) <= longest &&
		!strings.ContainsFunc(t, func(c rune) bool { return c <= ' ' || c > '~' })
}

// current returns the memberships whose time isn't over.
func current(all []tenancy.Membership, now time.Time) []tenancy.Membership {
	return slices.DeleteFunc(slices.Clone(all), func(m tenancy.Membership) bool {
		return m.ExpiresAt != nil && !now.Before(*m.ExpiresAt)
	})
}

// choose returns the membership of the tenant wanted, or the only one.
func choose(all []tenancy.Membership, wanted tenant.ID) (tenancy.Membership, error) {
	if wanted == "" {
		if len(all) == 0 {
			return tenancy.Membership{}, ErrNoTenant
		}
		if len(all) == 1 {
			return all[0], nil
		}
		ids := make([]string, len(all))
		for i, m := range all {
			ids[i] = string(m.Tenant)
		}
		return tenancy.Membership{}, errs.New(ErrWhich.Kind, "%s: %s", ErrWhich.Message, strings.Join(ids, ", ")).Under(ErrWhich.Rule)
	}
	for _, m := range all {
		if m.Tenant == wanted {
			return m, nil
		}
	}
	return tenancy.Membership{}, ErrNotMember
}

// validPurpose reports whether p is one term: free text could name a person.
func validPurpose(p string) bool {
	return len(p) <= maxPurpose && strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") == ""
}
