package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenant"
)

// Origins knows from which pages of others browsers may call (CORS).
type Origins interface {
	// Allows reports whether the tenant in ctx allows pages of an origin, and in a
	// tenant.System context whether any tenant does.
	Allows(ctx context.Context, origin string) (bool, error)
}

const (
	originsKept = 10_000
	originsLife = 30 * time.Second // how long a change of an allow-list may go unnoticed
	maxOrigin   = 300              // bytes
	preflight   = "600"            // seconds that a browser may remember an answer
)

// allowedHeaders are what pages may send. No cookie goes with them: a call from
// another origin proves itself by a token.
const allowedHeaders = "Authorization, Content-Type, Idempotency-Key, Range, " +
	authn.HeaderPurpose + ", " + authn.HeaderTenant + ", " + authn.HeaderSession + ", Vogter-File-Name"

// exposedHeaders are what pages may read.
const exposedHeaders = "Content-Disposition, Content-Range, RateLimit, RateLimit-Policy, Retry-After, " + HeaderRequestID

// cors tells browsers which answers they may show to pages of other origins.
type cors struct {
	origins Origins
	now     func() time.Time
	known   *lru.Cache[originKey, originAnswer]
}

type originKey struct {
	tenant tenant.ID // "" for any
	origin string
}

type originAnswer struct {
	allowed bool
	until   time.Time
}

func newCORS(origins Origins, now func() time.Time) (*cors, error) {
	known, err := lru.New[originKey, originAnswer](originsKept)
	if err != nil {
		return nil, fmt.Errorf("make cache of origins: %w", err)
	}
	return &cors{origins, now, known}, nil
}

// preflight answers what a browser asks before it lets a page call; ok is false
// when it doesn't ask that, or nobody allows the page.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request, methods string) (ok bool, err error) {
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false, nil
	}
	w.Header().Add("Vary", "Origin")
	ok, err = c.allows(tenant.System(r.Context(), "cross-origin preflight"), "", origin)
	if !ok || err != nil {
		return false, err
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", allowedHeaders)
	h.Set("Access-Control-Max-Age", preflight)
	w.WriteHeader(http.StatusNoContent)
	return true, nil
}

// middleware lets pages read the answer which the caller's own tenant allows. A
// caller who came by cookie gets no such answer, nor does one without a tenant.
func (c *cors) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, by := r.Header.Get("Origin"), authz.FromContext(r.Context())
		if origin != "" {
			w.Header().Add("Vary", "Origin")
		}
		if origin != "" && by.Tenant != "" && !authn.ByCookie(r) {
			// An allow-list that can't be read lets nobody in; the call itself goes on.
			if ok, err := c.allows(r.Context(), by.Tenant, origin); ok && err == nil {
				w.Header().Set("Access-Control-Allow-Origin", origin)
				w.Header().Set("Access-Control-Expose-Headers", exposedHeaders)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (c *cors) allows(ctx context.Context, of tenant.ID, origin string) (bool, error) {
	if c.origins == nil || len(origin) > maxOrigin || !strings.HasPrefix(origin, "https://") {
		return false, nil
	}
	key := originKey{of, origin}
	if a, ok := c.known.Get(key); ok && c.now().Before(a.until) {
		return a.allowed, nil
	}
	allowed, err := c.origins.Allows(ctx, origin)
	if err != nil {
		return false, fmt.Errorf("look up allowed origin: %w", err)
	}
	c.known.Add(key, originAnswer{allowed, c.now().Add(originsLife)})
	return allowed, nil
}
