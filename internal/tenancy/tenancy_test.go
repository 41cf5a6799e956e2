package tenancy_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// identities remembers whom it was asked to write to; the real one has its own tests.
type identities struct{ mailed []string }

func (i *identities) FindOrCreate(_ context.Context, email personal.Text) (string, error) {
	return "identity of " + email.Reveal(), nil
}

func (i *identities) SendCode(_ context.Context, email personal.Text) error {
	i.mailed = append(i.mailed, email.Reveal())
	return nil
}

func start(t *testing.T) (*tenancy.Service, *mongo.TenantStore, *identities) {
	t.Helper()
	db, v, ids := testenv.Mongo(t), testenv.Vault(t), &identities{}
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	store := mongo.NewTenantStore(db, v)
	return tenancy.NewService(store, changes, v, ids, testenv.Now), store, ids
}

func input(name, slug string) tenancy.CreateInput {
	return tenancy.CreateInput{
		LegalName: name, Kind: tenancy.Customer, Country: "DK", TimeZone: "Europe/Copenhagen", Languages: []string{"da"}, Slug: &slug,
		Registration: &tenancy.Registration{Scheme: "CVR", Number: "10008123"},
		DpoContact:   &tenancy.DpoContactInput{Name: personal.NewText("Dorte Dpo"), Phone: new(personal.NewText("33123456"))},
		Owner:        tenancy.OwnerInput{Email: personal.NewText("owner@" + slug + ".example")},
	}
}

func TestTenantsOfAPlatform(t *testing.T) {
	s, store, ids := start(t)
	provider, err := s.Bootstrap(t.Context(), input("Provider", "provider"))
	if err != nil || provider.Kind != tenancy.Provider {
		t.Fatal(err)
	}
	if again, err := s.Bootstrap(t.Context(), input("Another", "another")); err != nil || again.ID != provider.ID {
		t.Errorf("a second bootstrap gives %v", err)
	}
	asProvider := tenant.NewContext(t.Context(), provider.ID)
	one, err := s.Create(asProvider, input("One", "one"))
	if err != nil || one.HolidayCalendar != "DK" || one.DpoContact.Phone.Reveal() != "+4533123456" {
		t.Fatal(err)
	}
	if _, err := s.Create(asProvider, input("Two", "one")); !errors.Is(err, tenancy.ErrSlugTaken) {
		t.Errorf("a taken slug gives %v", err)
	}
	wrong := input("Three", "three")
	wrong.Kind = tenancy.Provider
	if _, err := s.Create(asProvider, wrong); errs.KindOf(err) != errs.Precondition {
		t.Errorf("a second provider gives %v", err)
	}

	asOne := tenant.NewContext(t.Context(), one.ID)
	if got, err := s.Get(asOne); err != nil || got.LegalName != "One" || got.DpoContact.Name.Reveal() != "Dorte Dpo" {
		t.Errorf("got %v", err)
	}
	if _, err := s.Update(asProvider, tenancy.UpdateInput{ID: string(one.ID), ExpectedVersion: 1}); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("another tenant updates: %v", err)
	}
	slug := "uno"
	updated, err := s.Update(asOne, tenancy.UpdateInput{
		ID: string(one.ID), ExpectedVersion: 1, Slug: &slug, Clear: []tenancy.Field{tenancy.FieldDpoContact, tenancy.FieldRegistration},
	})
	if err != nil || updated.DpoContact != nil || updated.Registration != nil || updated.LegalName != "One" {
		t.Fatal(err)
	}
	if _, err := s.Update(asOne, tenancy.UpdateInput{ID: string(one.ID), ExpectedVersion: 1}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version gives %v", err)
	}
	if of, err := s.BySlug(t.Context(), "uno"); err != nil || of != one.ID {
		t.Errorf("by slug: %v, %v", of, err)
	}
	if _, err := s.BySlug(t.Context(), "one"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("the old slug gives %v", err)
	}

	members, err := store.Members(asOne)
	if err != nil || len(members) != 1 || members[0].Role != authz.RoleOwner || members[0].State != tenancy.Invited {
		t.Fatal(members, err)
	}
	for range 2 { // the job may be repeated
		if err := s.Invite(asOne, members[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids.mailed) != 2 || ids.mailed[0] != "owner@one.example" {
		t.Errorf("%d mails", len(ids.mailed))
	}
	if err := s.Invite(asProvider, members[0].ID); !errors.Is(err, tenancy.ErrNoMember) {
		t.Errorf("another tenant invites: %v", err)
	}
	of, err := s.MembershipsOf(tenant.System(t.Context(), "test"), "identity of owner@one.example")
	if err != nil || len(of) != 1 || of[0].Tenant != one.ID || of[0].LegalName != "One" || of[0].Role != authz.RoleOwner {
		t.Errorf("memberships %v, %v", of, err)
	}
	if _, err := s.MembershipsOf(asOne, "x"); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("without a system context: %v", err)
	}
}

func TestCreateRefusals(t *testing.T) {
	s, _, _ := start(t)
	provider, err := s.Bootstrap(t.Context(), input("Provider", "provider"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenant.NewContext(t.Context(), provider.ID)
	for field, edit := range map[string]func(*tenancy.CreateInput){
		"legalName":       func(in *tenancy.CreateInput) { in.LegalName = " " },
		"country":         func(in *tenancy.CreateInput) { in.Country = "Denmark" },
		"timeZone":        func(in *tenancy.CreateInput) { in.TimeZone = "Copenhagen" },
		"holidayCalendar": func(in *tenancy.CreateInput) { in.HolidayCalendar = new("danish") },
		"languages":       func(in *tenancy.CreateInput) { in.Languages = []string{"danish!"} },
		"registration.number": func(in *tenancy.CreateInput) {
			in.Registration = &tenancy.Registration{Scheme: "CVR", Number: "12345678"}
		},
		"slug":             func(in *tenancy.CreateInput) { in.Slug = new("Not A Slug") },
		"owner.email":      func(in *tenancy.CreateInput) { in.Owner.Email = personal.NewText("nobody") },
		"dpoContact.phone": func(in *tenancy.CreateInput) { in.DpoContact.Phone = new(personal.NewText("1")) },
	} {
		in := input("One", "one")
		edit(&in)
		_, err := s.Create(ctx, in)
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Invalid || e.Field != field {
			t.Errorf("%s gives %v", field, err)
		}
	}
}
