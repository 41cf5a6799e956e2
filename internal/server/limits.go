package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
)

// refusedCost is what a call with a refused credential counts as among those of
// its network: guessing is slow, and an office with one misconfigured client works on.
const refusedCost = 20

// Uses returns what every call uses up: one of its network's and one of the
// caller's, who without a credential is the network.
func Uses(ctx context.Context) []ratelimit.Use {
	from := network.AddrFrom(ctx)
	return append(ratelimit.Network.From(from), ByCaller(ratelimit.Requests)(ctx)...)
}

// ByCaller counts by who is calling; calls of nobody are ratelimit.Anonymous
// where they are counted as ratelimit.Requests, and counted by network elsewhere.
func ByCaller(c ratelimit.Class) func(ctx context.Context) []ratelimit.Use {
	return func(ctx context.Context) []ratelimit.Use {
		p := authz.FromContext(ctx)
		switch id := cmp.Or(p.ID, p.Identity); {
		case id != "":
			return []ratelimit.Use{c.By(string(p.Tenant), id)}
		case c == ratelimit.Requests:
			c = ratelimit.Anonymous
		}
		return c.From(network.AddrFrom(ctx))
	}
}

// ByTenant counts by the tenant that the caller works for. Calls for none are
// refused by who handles them.
func ByTenant(c ratelimit.Class) func(ctx context.Context) []ratelimit.Use {
	return func(ctx context.Context) []ratelimit.Use {
		p := authz.FromContext(ctx)
		if p.Tenant == "" {
			return nil
		}
		return []ratelimit.Use{c.By(string(p.Tenant))}
	}
}

// counted calls next, for callers whom nobody needs to know, within the limits of
// the network.
func counted(l *ratelimit.Limiter, next http.Handler, fail Fail) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := ratelimit.Announce(r.Context(), w.Header())
		defer done()
		if err := l.Take(ctx, ratelimit.Network.From(network.AddrFrom(ctx))...); err != nil {
			fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// limited finds out who is calling and calls next, within the limits: those of
// the network hold before any effort is made.
func limited(l *ratelimit.Limiter, auth *authn.Authenticator, to Route, next http.Handler, fail Fail) http.Handler {
	identify := auth.Middleware
	if to.Own {
		identify = func(next http.Handler, _ func(http.ResponseWriter, *http.Request, error)) http.Handler { return next }
	}
	if l == nil {
		return identify(next, fail)
	}
	within := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		uses, count := Uses(ctx), l.Take
		if to.Uses != nil {
			uses = append(uses, to.Uses(ctx)...)
		}
		if to.Counts {
			count = l.Refused
		}
		if err := count(ctx, uses...); err != nil {
			fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
	known := identify(within, func(w http.ResponseWriter, r *http.Request, err error) {
		cost := 1
		if errs.KindOf(err) == errs.Unauthenticated {
			cost = refusedCost
		}
		uses := ratelimit.Network.From(network.AddrFrom(r.Context()))
		for i, u := range uses {
			uses[i] = u.Costing(cost)
		}
		if over := l.Spend(r.Context(), uses...); errors.Is(over, ratelimit.ErrLimited) {
			err = over
		}
		fail(w, r, err)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := ratelimit.Announce(r.Context(), w.Header())
		defer done()
		if err := l.Refused(ctx, ratelimit.Network.From(network.AddrFrom(ctx))...); err != nil {
			fail(w, r, err)
			return
		}
		known.ServeHTTP(w, r.WithContext(ctx))
	})
}
