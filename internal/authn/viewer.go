package authn

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Viewer is what a caller is told of itself.
type Viewer struct {
	ID          string // of the member or key; of the person who acts for no tenant yet
	Kind        authz.Kind
	Role        *authz.Role // of a member
	Tenant      tenant.ID   // "" of a person who acts for none yet
	AAL         *authz.AAL  // of a session
	SignedInAt  *time.Time  // of a session
	Permissions []authz.Permission
	Clearances  []authz.Clearance
	Memberships []tenancy.Membership
}

// ViewerOf returns the caller in ctx with all that a lets it do, nil when nobody
// signed in.
func ViewerOf(ctx context.Context, a authz.Authorizer) *Viewer {
	p := authz.FromContext(ctx)
	v := &Viewer{ID: p.ID, Kind: p.Kind, Tenant: p.Tenant, Clearances: p.Clearances, Memberships: Memberships(ctx)}
	if p.Identity != "" {
		v.AAL, v.SignedInAt = &p.AAL, &p.AuthenticatedAt
	}
	switch {
	case p.SignedIn():
	case p.Identity != "":
		v.ID, v.Kind = p.Identity, authz.KindMember
		return v
	default:
		return nil
	}
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
