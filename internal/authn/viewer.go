package authn

import (
	"context"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenancy"
)

// Viewer is what a caller is told of itself.
type Viewer struct {
	ID          string
	Kind        authz.Kind
	Role        *authz.Role // of a member
	Permissions []authz.Permission
	Memberships []tenancy.Membership
}

// ViewerOf returns the caller in ctx with all that a lets it do, nil when nobody
// signed in.
func ViewerOf(ctx context.Context, a authz.Authorizer) *Viewer {
	p := authz.FromContext(ctx)
	if !p.SignedIn() {
		return nil
	}
	v := &Viewer{ID: p.ID, Kind: p.Kind, Memberships: Memberships(ctx)}
	if p.Role != "" {
		v.Role = &p.Role
	}
	for _, do := range authz.All() {
		if a.Can(ctx, do).Allowed {
			v.Permissions = append(v.Permissions, do)
		}
	}
	return v
}
