package tenancy

import (
	"context"
	"errors"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobInvite is the type of the job that invites a member (see Invite).
const JobInvite = "member:invite"

// Identities are the sign-in identities of persons, at Ory Kratos.
type Identities interface {
	// FindOrCreate returns the id of the identity with an e-mail address.
	FindOrCreate(ctx context.Context, email personal.Text) (identity string, err error)
	// SendCode mails a code with which the person signs in and sets a password.
	SendCode(ctx context.Context, email personal.Text) error
}

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Service keeps tenants and their members.
type Service struct {
	store      Store
	changes    *change.Runner
	vault      Vault
	identities Identities
	now        func() time.Time
}

// NewService returns a Service.
func NewService(store Store, changes *change.Runner, v Vault, identities Identities, now func() time.Time) *Service {
	return &Service{store, changes, v, identities, now}
}

// Get returns the tenant in ctx.
func (s *Service) Get(ctx context.Context) (*Tenant, error) { return s.store.Get(ctx) }

// Country returns the tenant's country, ISO 3166-1 alpha-2.
func (s *Service) Country(ctx context.Context) (string, error) {
	t, err := s.store.Get(ctx)
	if err != nil {
		return "", err
	}
	return t.Country, nil
}

// Create makes a customer tenant, for the operator in ctx, and invites its first
// owner.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Tenant, error) {
	if in.Kind != Customer {
		return nil, ErrProviderExists.At("kind")
	}
	return s.create(ctx, in, id.NewTenant(), authz.RoleOwner)
}

// Bootstrap makes the provider tenant with its first operator, once: afterwards
// it returns the provider that there is.
func (s *Service) Bootstrap(ctx context.Context, in CreateInput) (*Tenant, error) {
	system := tenant.System(ctx, "bootstrap")
	of, err := s.store.ProviderID(system)
	if err == nil {
		return s.store.Get(tenant.NewContext(ctx, of))
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	in.Kind = Provider
	of = id.NewTenant()
	return s.create(tenant.NewContext(ctx, of), in, of, authz.RoleOperator)
}

// create makes a tenant and its first member. The entry goes to the log of the
// tenant in ctx: the provider's.
func (s *Service) create(ctx context.Context, in CreateInput, of tenant.ID, role authz.Role) (*Tenant, error) {
	now := s.now().UTC().Truncate(time.Millisecond)
	t := &Tenant{ID: of, Kind: in.Kind, Version: 1, CreatedAt: now, UpdatedAt: now}
	_, err := t.apply(UpdateInput{
		LegalName: &in.LegalName, Country: &in.Country, Registration: in.Registration, TimeZone: &in.TimeZone,
		HolidayCalendar: in.HolidayCalendar, SupervisoryAuthority: in.SupervisoryAuthority, DpoContact: in.DpoContact,
		Languages: in.Languages, Slug: in.Slug,
	})
	if err != nil {
		return nil, err
	}
	email, err := identifier.Email(in.Owner.Email)
	if err != nil {
		return nil, errs.At(err, "owner.email")
	}
	m := &Member{ID: id.New(id.Member, of), Tenant: of, Role: role, State: Invited, Email: email.Value, CreatedAt: now}
	if _, err := s.vault.Ensure(ctx, Contact(of), MemberIdentity(of, m.ID)); err != nil {
		return nil, err
	}
	created, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		within := tenant.NewContext(ctx, of)
		if err := s.store.Insert(within, t); err != nil {
			return change.Change{}, err
		}
		return change.Change{
			Action: "tenant.create", Object: string(of),
			Then: []job.Spec{{Type: JobInvite, Object: m.ID, Tenant: of}},
		}, s.store.InsertMember(within, m)
	})
	if err != nil {
		return nil, err
	}
	return s.store.Get(tenant.NewContext(ctx, tenant.ID(created)))
}

// Update changes the tenant in ctx.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Tenant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if in.ID != string(of) {
		return nil, ErrNotFound
	}
	if _, err := s.vault.Ensure(ctx, Contact(of)); err != nil {
		return nil, err
	}
	var updated *Tenant
	now := s.now().UTC().Truncate(time.Millisecond)
	err = s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if updated, err = s.store.Get(ctx); err != nil {
			return c, err
		}
		if updated.Version != in.ExpectedVersion {
			return c, change.ErrVersion
		}
		fields, err := updated.apply(in)
		if err != nil {
			return c, err
		}
		updated.Version++
		updated.UpdatedAt = now
		return change.Change{Action: "tenant.update", Object: in.ID, Fields: fields}, s.store.Update(ctx, updated)
	})
	if err != nil {
		return nil, err
	}
	return updated, nil
}

// Invite gives a member an identity to sign in with and mails a code. It is the
// work of JobInvite, and may be repeated.
func (s *Service) Invite(ctx context.Context, memberID string) error {
	m, err := s.store.GetMember(ctx, memberID)
	if err != nil {
		return err
	}
	identity, err := s.identities.FindOrCreate(ctx, m.Email)
	if err != nil {
		return err
	}
	if err := s.join(ctx, m, identity); err != nil {
		return err
	}
	return s.identities.SendCode(ctx, m.Email)
}

// join binds a member to an identity.
func (s *Service) join(ctx context.Context, m *Member, identity string) error {
	if m.Identity == identity {
		return nil
	}
	return s.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		m.Identity, m.State = identity, Joined
		return change.Change{Action: "member.join", Object: m.ID}, s.store.UpdateMember(ctx, m)
	})
}

// AddMemberInput asks for a member with an identity that is there already.
type AddMemberInput struct {
	Email    personal.Text
	Role     authz.Role
	Identity string
}

// AddMember makes a membership of the tenant in ctx for an identity, or returns
// the one there is. It is for seeding; people are invited.
func (s *Service) AddMember(ctx context.Context, in AddMemberInput) (*Member, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	members, err := s.store.Members(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Identity == in.Identity || m.Email.Equal(in.Email) {
			return m, s.join(ctx, m, in.Identity)
		}
	}
	m := &Member{
		ID: id.New(id.Member, of), Tenant: of, Role: in.Role, State: Joined, Identity: in.Identity, Email: in.Email,
		CreatedAt: s.now().UTC().Truncate(time.Millisecond),
	}
	if _, err := s.vault.Ensure(ctx, MemberIdentity(of, m.ID)); err != nil {
		return nil, err
	}
	err = s.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "member.add", Object: m.ID}, s.store.InsertMember(ctx, m)
	})
	return m, err
}

// MembershipsOf returns all memberships of an identity. ctx must be a system
// context: this is asked before a tenant is known.
func (s *Service) MembershipsOf(ctx context.Context, identity string) ([]Membership, error) {
	return s.store.Memberships(ctx, identity)
}

// BySlug returns the id of the tenant with a public slug.
func (s *Service) BySlug(ctx context.Context, slug string) (tenant.ID, error) {
	return s.store.BySlug(tenant.System(ctx, "public slug"), slug)
}
