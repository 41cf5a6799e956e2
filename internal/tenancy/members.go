package tenancy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// JobInvite is the type of the job that lets an invited person sign in (see Prepare).
const JobInvite = "member:invite"

// TokenPrefix begins every invitation's token, so that a leaked one is recognised.
const TokenPrefix = "vgi_"

const (
	secretBytes     = 20 // 160 bits of chance
	invitationHash  = "member invitation"
	addressHash     = "member address"
	invitationsPath = "/invitation#"
)

// Member returns a member, or ErrNoMember.
func (s *Service) Member(ctx context.Context, memberID string) (*Member, error) {
	m, err := s.member(ctx, memberID)
	if err != nil {
		return nil, err
	}
	return m, s.Recorder.Read(ctx, "member.read", m.ID)
}

// member is Member for work that shows nobody the person.
func (s *Service) member(ctx context.Context, memberID string) (*Member, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Member, of, memberID) != nil {
		return nil, ErrNoMember
	}
	m, err := s.Store.GetMember(ctx, memberID)
	if err != nil {
		return nil, err
	}
	return m.at(s.Now()), nil
}

// Members returns a page of the tenant's members in every state, the newest first.
func (s *Service) Members(ctx context.Context, r page.Request) (*MemberConnection, error) {
	at := func(m *Member) page.Position { return page.Position{CreatedAt: m.CreatedAt, ID: m.ID} }
	c, err := page.Read(ctx, page.List{Of: id.Member}, r, at, s.Store.Members)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	for i, e := range c.Edges {
		c.Edges[i].Node = e.Node.at(now)
	}
	return c, s.Recorder.Read(ctx, "member.list", "")
}

// InviteMember mails an invitation to work for the tenant in ctx, once per
// Idempotency-Key. Whoever invites gives no clearance that they don't hold.
func (s *Service) InviteMember(ctx context.Context, in InviteInput) (*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	m, send, err := s.invite(ctx, t, in)
	if err != nil {
		return nil, err
	}
	if !gives(authz.FromContext(ctx), m.Clearances) {
		return nil, ErrClearance
	}
	memberID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		then, err := send(ctx)
		if err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "member.invite", Object: m.ID, Then: then}, s.Store.InsertMember(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return s.Member(ctx, memberID)
}

// sender queues what an invitation needs within a change, and returns the jobs.
type sender func(ctx context.Context) ([]job.Spec, error)

// invite makes a member of t who has yet to accept. ctx works for t.
func (s *Service) invite(ctx context.Context, t *Tenant, in InviteInput) (*Member, sender, error) {
	email, err := identifier.Email(in.Email)
	if err != nil {
		return nil, nil, errs.At(err, "email")
	}
	now := s.now()
	m := &Member{
		ID: id.New(id.Member, t.ID), Tenant: t.ID, Email: email.Value, Role: in.Role, Clearances: distinct(in.Clearances),
		Purposes: distinct(in.Purposes), State: Invited, Language: t.Languages[0], ExpiresAt: in.ExpiresAt, Version: 1,
		CreatedAt: now, UpdatedAt: now,
	}
	if in.Language != nil {
		m.Language = *in.Language
	}
	if err := m.check(t.Kind, now, true); err != nil {
		return nil, nil, err
	}
	if _, err := s.Vault.Ensure(ctx, MemberIdentity(t.ID, m.ID)); err != nil {
		return nil, nil, err
	}
	if m.Address, err = s.address(ctx, m.Email); err != nil {
		return nil, nil, err
	}
	send, err := s.invitation(ctx, t, m)
	return m, send, err
}

// address returns the keyed hash by which a member's address is found.
func (s *Service) address(ctx context.Context, email personal.Text) (string, error) {
	sum, err := s.Hasher.Hash(ctx, addressHash, []byte(email.Reveal()))
	return hex.EncodeToString(sum[:]), err
}

// invitation gives m a new invitation, which ends the one before.
func (s *Service) invitation(ctx context.Context, t *Tenant, m *Member) (sender, error) {
	random := make([]byte, secretBytes)
	rand.Read(random)
	token := TokenPrefix + strings.TrimPrefix(m.ID, string(id.Member)+"_") + "_" + id.Encode(random)
	hash, err := s.Hasher.Hash(ctx, invitationHash, []byte(token))
	if err != nil {
		return nil, err
	}
	m.Invitation = &Invitation{Hash: hash, ExpiresAt: s.now().Add(invitationLife)}
	return func(ctx context.Context) ([]job.Spec, error) {
		// The token stands behind the #, which no browser sends and no server logs.
		mail, err := s.Mail.Queue(tenant.NewContext(ctx, m.Tenant), notify.Message{
			Template: notify.TemplateInvitation, Language: m.Language, To: m.Email, Owner: MemberIdentity(m.Tenant, m.ID),
			Vars: map[string]personal.Text{
				"tenant": personal.NewText(t.LegalName), "url": personal.NewText(s.BaseURL + invitationsPath + token),
				"token": personal.NewText(token),
			},
		})
		return []job.Spec{mail, {Type: JobInvite, Object: m.ID, Tenant: m.Tenant}}, err
	}, nil
}

// Prepare gives an invited person an identity, so that they can ask for a code
// on the page for signing in, and choose a password with it. It is the work of
// JobInvite, and may be repeated.
func (s *Service) Prepare(ctx context.Context, memberID string) error {
	m, err := s.member(ctx, memberID)
	if err != nil || m.State != Invited {
		return err
	}
	_, err = s.Identities.FindOrCreate(ctx, m.Email)
	return err
}

// Resend mails another invitation to somebody who hasn't accepted yet; the one
// before is worth nothing any more.
func (s *Service) Resend(ctx context.Context, in ResendInput) (*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.member(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	send, err := s.invitation(ctx, t, m)
	if err != nil {
		return nil, err
	}
	invitation := m.Invitation
	return s.update(ctx, in.ID, nil, func(ctx context.Context, m *Member) (change.Change, error) {
		if m.State != Invited {
			return change.Change{}, ErrInvited
		}
		m.Invitation = invitation
		then, err := send(ctx)
		return change.Change{Action: "member.inviteAgain", Then: then}, err
	})
}

// Accept makes the signed-in person the member that an invitation is for. It
// must have been sent to an address that the identity server has verified as
// theirs.
func (s *Service) Accept(ctx context.Context, in AcceptInput) (*Membership, error) {
	p := authz.FromContext(ctx)
	if p.Identity == "" {
		return nil, authz.ErrUnauthenticated
	}
	m, err := s.invited(ctx, in.Token)
	if err != nil {
		return nil, err
	}
	theirs, err := s.Identities.Verified(ctx, p.Identity)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(theirs, func(a personal.Text) bool {
		email, err := identifier.Email(a)
		return err == nil && email.Value.Equal(m.Email)
	}) {
		return nil, ErrAddress
	}
	within := authz.NewContext(tenant.NewContext(ctx, m.Tenant), authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: m.Tenant, Role: m.Role, Credential: p.Credential, Identity: p.Identity,
	})
	hash := m.Invitation.Hash
	m, err = s.update(within, m.ID, nil, func(ctx context.Context, m *Member) (change.Change, error) {
		if m.State != Invited || m.Invitation.Hash != hash {
			return change.Change{}, ErrInvitation
		}
		have, err := s.Store.Memberships(tenant.System(ctx, "accept invitation"), p.Identity)
		if err != nil {
			return change.Change{}, err
		}
		if slices.ContainsFunc(have, func(o Membership) bool { return o.Tenant == m.Tenant }) {
			return change.Change{}, ErrTwice
		}
		m.State, m.Identity, m.Invitation = Joined, p.Identity, nil
		return change.Change{Action: "member.join"}, nil
	})
	if err != nil {
		return nil, err
	}
	t, err := s.Store.Get(within)
	if err != nil {
		return nil, err
	}
	return &Membership{
		MemberID: m.ID, Tenant: m.Tenant, LegalName: t.LegalName, Role: m.Role, Clearances: m.Clearances, Purposes: m.Purposes,
		ExpiresAt: m.ExpiresAt,
	}, nil
}

// invited returns who a token invites, or ErrInvitation.
func (s *Service) invited(ctx context.Context, token string) (*Member, error) {
	rest, ok := strings.CutPrefix(token, TokenPrefix)
	named, _, found := strings.Cut(rest, "_")
	memberID := string(id.Member) + "_" + named
	of, valid := id.TenantOf(memberID)
	if !ok || !found || !valid {
		return nil, ErrInvitation
	}
	ctx = tenant.NewContext(ctx, of)
	m, err := s.member(ctx, memberID)
	if errors.Is(err, ErrNoMember) {
		return nil, ErrInvitation
	}
	if err != nil {
		return nil, err
	}
	now := s.Now()
	if m.State != Invited || m.Invitation == nil || !now.Before(m.Invitation.ExpiresAt) || m.ended(now) {
		return nil, ErrInvitation
	}
	same, err := s.Hasher.Verify(ctx, m.Invitation.Hash, invitationHash, []byte(token))
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, ErrInvitation
	}
	return m, nil
}

// ChangeMember changes what a member may do, within 30 s on every server. Nobody
// changes their own, or gives a clearance that they don't hold.
func (s *Service) ChangeMember(ctx context.Context, in ChangeInput) (*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	p, now := authz.FromContext(ctx), s.Now()
	return s.update(ctx, in.ID, &in.ExpectedVersion, func(ctx context.Context, m *Member) (change.Change, error) {
		if m.ID == p.ID {
			return change.Change{}, ErrSelf
		}
		before := *m
		fields, err := m.apply(in)
		if err != nil {
			return change.Change{}, err
		}
		if err := m.check(t.Kind, now, in.ExpiresAt != nil || in.Role != nil); err != nil {
			return change.Change{}, err
		}
		added := slices.DeleteFunc(slices.Clone(m.Clearances), func(c authz.Clearance) bool {
			return slices.Contains(before.Clearances, c)
		})
		if !gives(p, added) {
			return change.Change{}, ErrClearance
		}
		if leads(m, t.Kind) != leads(&before, t.Kind) {
			err = s.notLast(ctx, &before, t.Kind)
		}
		return change.Change{Action: "member.change", Fields: fields}, err
	})
}

// RemoveMember ends a membership, or an invitation, within 30 s on every server.
// Members may remove themselves.
func (s *Service) RemoveMember(ctx context.Context, in RemoveInput) (*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s.update(ctx, in.ID, &in.ExpectedVersion, func(ctx context.Context, m *Member) (change.Change, error) {
		if err := s.notLast(ctx, m, t.Kind); err != nil {
			return change.Change{}, err
		}
		m.State, m.Invitation = Removed, nil
		return change.Change{Action: "member.remove"}, nil
	})
}

// leads reports whether m is one of those of whom a tenant keeps at least one.
func leads(m *Member, of Kind) bool {
	return m.State == Joined && m.ExpiresAt == nil && m.Role == lead(of)
}

func lead(of Kind) authz.Role {
	if of == Provider {
		return authz.RoleOperator
	}
	return authz.RoleOwner
}

// notLast fails with ErrLastOwner if m leads and nobody else does.
func (s *Service) notLast(ctx context.Context, m *Member, of Kind) error {
	if !leads(m, of) {
		return nil
	}
	all, err := s.Store.ActiveMembers(ctx, lead(of), s.Now())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(o *Member) bool { return o.ID != m.ID && leads(o, of) }) {
		return ErrLastOwner
	}
	return nil
}

// update changes a member by edit, in a transaction that no other change of the
// tenant's members is within, and has all servers forget the person's sessions.
func (s *Service) update(
	ctx context.Context, memberID string, version *int64, edit func(ctx context.Context, m *Member) (change.Change, error),
) (*Member, error) {
	var m *Member
	var identity string
	at := s.now()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if err := s.Store.LockMembers(ctx); err != nil {
			return c, err
		}
		if m, err = s.member(ctx, memberID); err != nil {
			return c, err
		}
		if m.State == Expired { // as it is shown; stored it is Joined, or a new end would come too late
			m.State = Joined
		}
		switch {
		case m.State == Removed:
			return c, ErrGone
		case version != nil && *version != m.Version:
			return c, change.ErrVersion
		}
		if c, err = edit(ctx, m); err != nil {
			return c, err
		}
		if identity = m.Identity; m.State == Removed {
			m.Identity = ""
		}
		m.Version++
		m.UpdatedAt, c.Object = at, m.ID
		return c, s.Store.UpdateMember(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	s.Sessions.Forget(ctx, identity)
	return m.at(s.Now()), nil
}

// Owners returns the members who answer for the tenant in ctx: its owners, or
// the operators of the provider.
func (s *Service) Owners(ctx context.Context) ([]*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s.Store.ActiveMembers(ctx, lead(t.Kind), s.Now())
}

// Working returns the members of a role who work for the tenant in ctx now.
func (s *Service) Working(ctx context.Context, role authz.Role) ([]*Member, error) {
	return s.Store.ActiveMembers(ctx, role, s.Now())
}

// AddMemberInput asks for a member with an identity that is there already.
type AddMemberInput struct {
	Email      personal.Text
	Role       authz.Role
	Clearances []authz.Clearance
	Identity   string
	ExpiresAt  *time.Time
}

// AddMember makes a membership of the tenant in ctx for an identity, or joins
// the one there is under the address. It is for seeding; people are invited.
func (s *Service) AddMember(ctx context.Context, in AddMemberInput) (*Member, error) {
	t, err := s.Store.Get(ctx)
	if err != nil {
		return nil, err
	}
	email, err := identifier.Email(in.Email)
	if err != nil {
		return nil, errs.At(err, "email")
	}
	address, err := s.address(ctx, email.Value)
	if err != nil {
		return nil, err
	}
	join := func(m *Member) {
		m.State, m.Identity, m.Invitation = Joined, in.Identity, nil
		m.Role, m.Clearances, m.ExpiresAt = in.Role, distinct(in.Clearances), in.ExpiresAt
	}
	m, err := s.Store.FindMember(ctx, address)
	if err == nil {
		return s.update(ctx, m.ID, nil, func(_ context.Context, m *Member) (change.Change, error) {
			join(m)
			return change.Change{Action: "member.add"}, m.check(t.Kind, s.Now(), false)
		})
	}
	if !errors.Is(err, ErrNoMember) {
		return nil, err
	}
	now := s.now()
	m = &Member{
		ID: id.New(id.Member, t.ID), Tenant: t.ID, Email: email.Value, Address: address, Language: t.Languages[0], Version: 1,
		CreatedAt: now, UpdatedAt: now,
	}
	join(m)
	if err := m.check(t.Kind, now, true); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, MemberIdentity(t.ID, m.ID)); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "member.add", Object: m.ID}, s.Store.InsertMember(ctx, m)
	})
	return m, err
}

// MembershipsOf returns all memberships of an identity. ctx must be a system
// context: this is asked before a tenant is known.
func (s *Service) MembershipsOf(ctx context.Context, identity string) ([]Membership, error) {
	return s.Store.Memberships(ctx, identity)
}

// now is the time to be stored: in UTC and whole milliseconds.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Hasher makes and checks keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
	Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error)
}
