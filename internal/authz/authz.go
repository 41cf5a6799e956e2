// Package authz knows who is calling and decides what they may do.
//
// Policies decide, written in Cedar (https://www.cedarpolicy.com): those of the
// platform are in the folder policies, to be read by a data protection officer;
// a tenant adds its own, which narrow and never widen. Everybody asks an
// Authorizer and records the policy that decided.
package authz

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Kind is the kind of caller.
type Kind string

// The kinds of caller.
const (
	KindMember   Kind = "MEMBER"       // a person with a membership of the tenant
	KindMachine  Kind = "MACHINE"      // a portal with an API key
	KindOperator Kind = "OPERATOR"     // a member of the provider running the platform
	KindSubject  Kind = "DATA_SUBJECT" // a person who sees what is kept on them
	KindSystem   Kind = "SYSTEM"       // a job or sweeper
)

// Role is what a member was appointed to.
type Role string

// The roles of members, DOMAIN §1.4.
const (
	RoleOwner       Role = "OWNER"        // runs the tenant's use of the platform
	RoleCaseHandler Role = "CASE_HANDLER" // works on persons and records
	RoleDPO         Role = "DPO"          // advises and oversees; decides nothing, Art. 38(6)
	RoleApprover    Role = "APPROVER"     // decides what others have prepared
	RoleAuditor     Role = "AUDITOR"      // reads what is no personal data, for a time
	RoleDeveloper   Role = "DEVELOPER"    // connects the tenant's own systems
	RoleOperator    Role = "OPERATOR"     // of the provider tenant only
)

// Principal is the caller of one request.
type Principal struct {
	Kind       Kind
	ID         string    // opaque: a member, key or job id
	Tenant     tenant.ID // the tenant that the call is for
	Role       Role      // of a member
	Credential string    // id of the session or key that proved it
	OnBehalfOf string    // id of whom the caller acts for, if another
	Grants     []Permission
	Clearances []Clearance // of a member or machine client
	Purposes   []string    // that a member may state; any when empty
	Subject    string      // id of the data subject who is calling
	Purpose    string      // as stated for this call, "" when none was
	Identity   string      // id of the person at the identity server, of who signed in by a session
	Home       tenant.ID   // of an operator: the provider; in any other tenant only break-glass holds
	// DocumentsOnly is of a machine client that is bound to registered documents.
	DocumentsOnly bool
	BreakGlass    string // id of the grant by which an operator is in a tenant that isn't the provider

	// AAL and AuthenticatedAt are of a person's sign-in.
	AAL             AAL
	AuthenticatedAt time.Time
}

// AAL is an authenticator assurance level (NIST SP 800-63B).
type AAL string

// The levels that are told apart.
const (
	AAL1 AAL = "aal1" // one factor
	AAL2 AAL = "aal2" // two
)

// Clearance lets a caller see data of one class, or secret by one law, in full.
type Clearance string

// The clearances. Data of class ORDINARY needs none.
const (
	ClearConfidential Clearance = "CONFIDENTIAL"
	ClearNationalID   Clearance = "NATIONAL_ID"
	ClearArt9         Clearance = "ART9"
	ClearArt10        Clearance = "ART10"
	ClearAML          Clearance = "AML"
)

// Clearances returns every clearance.
func Clearances() []Clearance {
	return []Clearance{ClearConfidential, ClearNationalID, ClearArt9, ClearArt10, ClearAML}
}

type principalKey struct{}

// caller is a principal with what was decided for it in this request.
type caller struct {
	Principal
	decided *decided
}

// NewContext returns ctx with p as its caller. What is decided for p is
// remembered with it: a request has a context of its own.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, &caller{p, &decided{}})
}

// FromContext returns the caller; the zero Principal when nobody signed in.
func FromContext(ctx context.Context) Principal {
	if c := callerFrom(ctx); c != nil {
		return c.Principal
	}
	return Principal{}
}

func callerFrom(ctx context.Context) *caller {
	c, _ := ctx.Value(principalKey{}).(*caller)
	return c
}

// SignedIn reports whether there is a caller at all.
func (p Principal) SignedIn() bool { return p.ID != "" }

// Decision is the answer to one question, with the policy that gave it.
type Decision struct {
	Allowed bool
	Policy  string // name of the policy that decided; NoPolicy when none permits
	Rule    string // of a refusal: the rule that isn't met, "" for the permission itself
	Advice  string // of a refusal: what to do about it, "" when only others can do something

	lost error // why the tenant's policies can't be told
}

// The names in place of a policy's.
const (
	NoPolicy  = "none"      // no policy permits it
	Anonymous = "anonymous" // nobody signed in

	// Unavailable: the tenant's policies can't be told just now, so that nothing is
	// permitted.
	Unavailable = "unavailable"
)

// Err returns the error of a refusal to do something, which is ErrForbidden in
// the words of the policy, or ErrPolicies.
func (d Decision) Err(do Permission) error {
	if d.lost != nil {
		return ErrPolicies.Because(d.lost)
	}
	rule := d.Rule
	if rule == "" {
		rule = string(do)
	}
	err := ErrForbidden.Under(rule)
	if d.Advice != "" {
		err.Message = d.Advice
	}
	return err
}

// Authorizer decides whether the caller in ctx may do something.
type Authorizer interface {
	Can(ctx context.Context, do Permission) Decision
}

// Sentinels of a refused call.
var (
	ErrUnauthenticated = errs.New(errs.Unauthenticated, "sign in: send an API key or session token as 'Authorization: Bearer …'")
	ErrPolicies        = errs.New(errs.Unavailable, "the tenant's policies can't be read just now; try again")
	ErrForbidden       = errs.New(errs.Forbidden, "you don't have the permission this needs")
)

type policyKey struct{}

// WithPolicy returns ctx that remembers the policy which let the call pass.
func WithPolicy(ctx context.Context, policy string) context.Context {
	return context.WithValue(ctx, policyKey{}, policy)
}

// PolicyFrom returns the policy which let the call pass, "" if none was asked.
func PolicyFrom(ctx context.Context) string {
	policy, _ := ctx.Value(policyKey{}).(string)
	return policy
}
