package tenancy

import (
	"context"
	"errors"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Identities are the sign-in identities of persons, at Ory Kratos.
type Identities interface {
	// FindOrCreate returns the id of the identity with an e-mail address, made
	// without a password if there is none.
	FindOrCreate(ctx context.Context, email personal.Text) (identity string, err error)
	// Verified returns the addresses that an identity has shown to be its own.
	Verified(ctx context.Context, identity string) ([]personal.Text, error)
}

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Mailer queues mail within a change, and returns the job that sends it.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Sessions are what servers have cached of who is signed in.
type Sessions interface {
	// Forget has all servers look anew at what a person may do.
	Forget(ctx context.Context, identity string)
}

// Config is what a Service is made of.
type Config struct {
	Store      Store
	Changes    *change.Runner
	Recorder   *audit.Recorder
	Vault      Vault
	Hasher     Hasher
	Identities Identities
	Mail       Mailer
	Sessions   Sessions
	BaseURL    string // of the pages that mail leads to, without a slash at its end
	Now        func() time.Time
}

// Service keeps tenants and their members.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// Get returns the tenant in ctx.
func (s *Service) Get(ctx context.Context) (*Tenant, error) { return s.Store.Get(ctx) }

// Country returns the tenant's country, ISO 3166-1 alpha-2.
func (s *Service) Country(ctx context.Context) (string, error) {
	t, err := s.Store.Get(ctx)
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
	return s.create(ctx, in, id.NewTenant())
}

// Bootstrap makes the provider tenant with its first operator, once: afterwards
// it returns the provider that there is.
func (s *Service) Bootstrap(ctx context.Context, in CreateInput) (*Tenant, error) {
	system := tenant.System(ctx, "bootstrap")
	of, err := s.Store.ProviderID(system)
	if err == nil {
		return s.Store.Get(tenant.NewContext(ctx, of))
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	in.Kind = Provider
	of = id.NewTenant()
	return s.create(tenant.NewContext(ctx, of), in, of)
}

// create makes a tenant and its first member. The entry goes to the log of the
// tenant in ctx: the provider's.
func (s *Service) create(ctx context.Context, in CreateInput, of tenant.ID) (*Tenant, error) {
	now := s.now()
	t := &Tenant{ID: of, Kind: in.Kind, Version: 1, CreatedAt: now, UpdatedAt: now}
	_, err := t.apply(UpdateInput{
		LegalName: &in.LegalName, Country: &in.Country, Registration: in.Registration, TimeZone: &in.TimeZone,
		HolidayCalendar: in.HolidayCalendar, SupervisoryAuthority: in.SupervisoryAuthority, DpoContact: in.DpoContact,
		Languages: in.Languages, Slug: in.Slug, Letterhead: in.Letterhead,
	})
	if err != nil {
		return nil, err
	}
	first := InviteInput{Email: in.Owner.Email, Role: lead(t.Kind), Clearances: in.Owner.Clearances}
	if first.Clearances == nil && first.Role == authz.RoleOwner {
		first.Clearances = FirstClearances()
	}
	within := tenant.NewContext(ctx, of)
	m, send, err := s.invite(within, t, first)
	if err != nil {
		return nil, errs.At(err, "owner")
	}
	if _, err := s.Vault.Ensure(ctx, Contact(of)); err != nil {
		return nil, err
	}
	created, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		within := tenant.NewContext(ctx, of)
		if err := s.Store.Insert(within, t); err != nil {
			return change.Change{}, err
		}
		then, err := send(within)
		if err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "tenant.create", Object: string(of), Then: then}, s.Store.InsertMember(within, m)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Get(tenant.NewContext(ctx, tenant.ID(created)))
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
	if _, err := s.Vault.Ensure(ctx, Contact(of)); err != nil {
		return nil, err
	}
	var updated *Tenant
	now := s.now()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if updated, err = s.Store.Get(ctx); err != nil {
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
		return change.Change{Action: "tenant.update", Object: in.ID, Fields: fields}, s.Store.Update(ctx, updated)
	})
	if err != nil {
		return nil, err
	}
	return updated, nil
}

// BySlug returns the id of the tenant with a public slug.
func (s *Service) BySlug(ctx context.Context, slug string) (tenant.ID, error) {
	return s.Store.BySlug(tenant.System(ctx, "public slug"), slug)
}
