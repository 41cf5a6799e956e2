package tenancy

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// MemberState is where a membership stands.
type MemberState string

// The states of a membership.
const (
	Invited MemberState = "INVITED" // hasn't accepted the invitation yet
	Joined  MemberState = "ACTIVE"
	Expired MemberState = "EXPIRED" // its time is over
	Removed MemberState = "REMOVED" // and kept, so that the audit log's ids have a name
)

// Member is a person who may act for a tenant.
type Member struct {
	ID         string
	Tenant     tenant.ID
	Email      personal.Text
	Address    string // keyed hash of the e-mail address
	Role       authz.Role
	Clearances []authz.Clearance
	Purposes   []string // that the member may state; any when empty
	State      MemberState
	Identity   string // id of the identity at Ory Kratos, "" unless joined
	Language   string // of mail, BCP 47
	Invitation *Invitation
	ExpiresAt  *time.Time // when the membership ends by itself
	Version    int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Invitation waits to be accepted.
type Invitation struct {
	Hash      [sha256.Size]byte // keyed, of the token that was mailed
	ExpiresAt time.Time
}

// InvitedUntil returns until when the invitation can be accepted, nil if there
// is none.
func (m *Member) InvitedUntil() *time.Time {
	if m.Invitation == nil {
		return nil
	}
	return &m.Invitation.ExpiresAt
}

// ended reports whether the membership's time is over.
func (m *Member) ended(now time.Time) bool { return m.ExpiresAt != nil && !now.Before(*m.ExpiresAt) }

// at returns m as it is at a time: what has ended by itself is Expired.
func (m *Member) at(now time.Time) *Member {
	if m.State == Joined && m.ended(now) {
		m.State = Expired
	}
	return m
}

// Membership is what a signed-in person can choose from.
type Membership struct {
	MemberID   string
	Tenant     tenant.ID
	LegalName  string
	Role       authz.Role
	Clearances []authz.Clearance
	Purposes   []string
	ExpiresAt  *time.Time
}

// InviteInput asks for a member.
type InviteInput struct {
	Email      personal.Text
	Role       authz.Role
	Clearances []authz.Clearance
	Purposes   []string
	ExpiresAt  *time.Time
	Language   *string // the tenant's first when nil
}

// ResendInput asks for another mail to somebody invited.
type ResendInput struct{ ID string }

// AcceptInput takes an invitation.
type AcceptInput struct{ Token string }

// MemberField is what a change can clear.
type MemberField string

// The fields that can be cleared.
const (
	MemberExpiresAt MemberField = "EXPIRES_AT"
	MemberPurposes  MemberField = "PURPOSES"
)

// ChangeInput asks for changes of a membership; what is nil stays.
type ChangeInput struct {
	ID              string
	ExpectedVersion int64
	Role            *authz.Role
	Clearances      []authz.Clearance
	Purposes        []string
	ExpiresAt       *time.Time
	Clear           []MemberField
}

// RemoveInput asks for the end of a membership.
type RemoveInput struct {
	ID              string
	ExpectedVersion int64
}

// MemberConnection is a page of members.
type MemberConnection = page.Connection[*Member]

// MemberEdge is a member in a page of them.
type MemberEdge = page.Edge[*Member]

// Sentinels of members.
var (
	ErrNoMember     = errs.New(errs.NotFound, "no such member")
	ErrMemberExists = errs.New(errs.Conflict, "somebody with this address is a member or invited already").At("email")
	// ErrInvitation says nothing of why: unknown, altered, used, replaced or expired.
	ErrInvitation = errs.New(errs.NotFound, "this invitation isn't valid: it may have been used, replaced by a newer one, or have expired. Ask for another").At("token")
	// ErrAddress reports an invitation that is for somebody else.
	ErrAddress = errs.New(errs.Forbidden, "this invitation is for another person: sign in with the address that it was sent to, and verify that address").Under("member.address")
	// ErrTwice reports a person who is a member under another address.
	ErrTwice     = errs.New(errs.Conflict, "you are a member of this tenant already, by another address").Under("member.once")
	ErrLastOwner = errs.New(errs.Precondition, "a tenant keeps at least one owner, the provider one operator, without an end: appoint another first").Under("member.lastOwner")
	ErrSelf      = errs.New(errs.Forbidden, "nobody changes their own role, clearances, purposes or time: ask another owner").Under("member.self")
	ErrClearance = errs.New(errs.Forbidden, "you can't give a clearance that you don't hold; an owner can").At("clearances").Under("member.clearances")
	ErrOperator  = errs.New(errs.Precondition, "operators belong to the provider, and owners to its customers").At("role").Under("member.operator")
	ErrAuditor   = errs.New(errs.Precondition, "an auditor's membership ends: say when, within %d days", maxAuditDays).At("expiresAt").Under("member.auditorEnds")
	ErrSpecial   = errs.New(errs.Precondition, "an auditor gets no clearance for special categories").At("clearances").Under("member.auditorClearances")
	ErrInvited   = errs.New(errs.Precondition, "only somebody who hasn't accepted yet can be invited again").Under("member.invited")
	ErrGone      = errs.New(errs.Precondition, "the member was removed: invite the person anew").Under("member.removed")
)

const (
	maxAuditDays   = 366
	maxPurposes    = 50
	maxPurpose     = 100 // as in header Vogter-Purpose
	invitationLife = 7 * 24 * time.Hour
)

// FirstClearances are those of a tenant's first owner, unless the operator names
// others: all but AML, which keeps secrets from the persons they are about.
func FirstClearances() []authz.Clearance {
	return []authz.Clearance{authz.ClearConfidential, authz.ClearNationalID, authz.ClearArt9, authz.ClearArt10}
}

// check reports the first thing that is wrong with m in a tenant of a kind. An
// end must lie ahead when it is new.
func (m *Member) check(of Kind, now time.Time, newEnd bool) error {
	operator := m.Role == authz.RoleOperator
	switch {
	case operator && of != Provider, m.Role == authz.RoleOwner && of == Provider:
		return ErrOperator
	case newEnd && m.ExpiresAt != nil && !m.ExpiresAt.After(now):
		return errs.New(errs.Invalid, "a membership ends in the future").At("expiresAt")
	case m.Role == authz.RoleAuditor && (m.ExpiresAt == nil || newEnd && m.ExpiresAt.After(now.AddDate(0, 0, maxAuditDays))):
		return ErrAuditor
	case m.Role == authz.RoleAuditor && (slices.Contains(m.Clearances, authz.ClearArt9) || slices.Contains(m.Clearances, authz.ClearArt10)):
		return ErrSpecial
	case len(m.Purposes) > maxPurposes:
		return errs.New(errs.Invalid, "a member has at most %d purposes", maxPurposes).At("purposes")
	}
	for _, p := range m.Purposes {
		if p == "" || len(p) > maxPurpose || strings.Trim(p, purposeLetters) != "" {
			return errs.New(errs.Invalid, "a purpose has 1 to %d letters, digits and . _ : -", maxPurpose).At("purposes")
		}
	}
	if tag, err := language.Parse(m.Language); err != nil || tag.String() != m.Language {
		return errs.New(errs.Invalid, "a language is a BCP 47 tag, as in da or en-GB").At("language")
	}
	return nil
}

const purposeLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"

// gives reports whether the caller may give all of these clearances: those that
// it has. The platform's own work (seeding, bootstrap) gives any, and so does an
// owner, who answers for the tenant and can't give anything to themselves:
// nobody else could ever clear a first person for what is secret by law.
func gives(p authz.Principal, clearances []authz.Clearance) bool {
	if p.Kind == authz.KindSystem || p.Kind == authz.KindMember && p.Role == authz.RoleOwner {
		return true
	}
	return !slices.ContainsFunc(clearances, func(c authz.Clearance) bool { return !slices.Contains(p.Clearances, c) })
}

// distinct returns the values once each, in the order of their first appearance.
func distinct[T comparable](values []T) []T {
	out := make([]T, 0, len(values))
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// apply makes the changes asked for and returns the names of the fields changed.
func (m *Member) apply(in ChangeInput) (fields []string, err error) {
	for _, f := range in.Clear {
		switch f {
		case MemberExpiresAt:
			m.ExpiresAt, fields = nil, append(fields, "expiresAt")
		case MemberPurposes:
			m.Purposes, fields = nil, append(fields, "purposes")
		default:
			return nil, errs.New(errs.Invalid, "not a field that can be cleared").At("clear")
		}
	}
	if in.Role != nil {
		m.Role, fields = *in.Role, append(fields, "role")
	}
	if in.Clearances != nil {
		m.Clearances, fields = distinct(in.Clearances), append(fields, "clearances")
	}
	if in.Purposes != nil {
		m.Purposes, fields = distinct(in.Purposes), append(fields, "purposes")
	}
	if in.ExpiresAt != nil {
		m.ExpiresAt, fields = in.ExpiresAt, append(fields, "expiresAt")
	}
	return fields, nil
}
