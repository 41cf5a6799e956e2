package tenancy

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

const maxOrigins = 20

// checkOrigins reports what is wrong with the origins whose pages may call the
// API: each is written as browsers do, "https://portal.example" or with a port.
func checkOrigins(origins []string) error {
	if len(origins) > maxOrigins {
		return errs.New(errs.Invalid, "a tenant allows up to %d origins", maxOrigins).At("allowedOrigins")
	}
	for i, o := range origins {
		if slices.Contains(origins[:i], o) || !isOrigin(o) {
			return errs.New(errs.Invalid, "an origin is an https address of a host in small letters, as in https://portal.example or https://portal.example:8443, each once").At("allowedOrigins")
		}
	}
	return nil
}

func isOrigin(s string) bool {
	const longest = 300
	u, err := url.Parse(s)
	return err == nil && len(s) <= longest && u.Scheme == "https" && u.Hostname() != "" && s == "https://"+u.Host &&
		s == strings.ToLower(s) && u.Port() != "443" && !strings.HasSuffix(u.Host, ":") &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '*' || c == ',' })
}

// Allows reports whether the tenant in ctx allows pages of an origin, and in a
// system context whether any tenant does.
func (s *Service) Allows(ctx context.Context, origin string) (bool, error) {
	if tenant.RequireSystem(ctx) == nil {
		return s.Store.AllowsOrigin(ctx, origin)
	}
	t, err := s.Store.Get(ctx)
	if err != nil {
		return false, err
	}
	return slices.Contains(t.AllowedOrigins, origin), nil
}
