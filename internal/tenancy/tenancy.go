// Package tenancy keeps the tenants of the platform, and who may act for them.
package tenancy

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Kind is whether a tenant provides the platform or uses it.
type Kind string

// The kinds, DOMAIN §1.2: the provider is a tenant of its own, for the data of
// which it is itself the controller.
const (
	Provider Kind = "PROVIDER"
	Customer Kind = "CUSTOMER"
)

// Tenant is an organisation that uses the platform.
type Tenant struct {
	ID                   tenant.ID
	Kind                 Kind
	LegalName            string
	Country              string // ISO 3166-1 alpha-2
	Registration         *Registration
	TimeZone             string // IANA
	HolidayCalendar      string
	SupervisoryAuthority *string
	DpoContact           *DpoContact
	Languages            []string // BCP 47, the default first
	Slug                 *string
	AllowedOrigins       []string // see checkOrigins
	Letterhead           *Letterhead
	PublicAuthority      bool // its tasks don't rest on legitimate interests, GDPR Art. 6(1)
	Version              int64
	CreatedAt            time.Time
	UpdatedAt            time.Time
}

// Letterhead is what letters to data subjects say of their sender, and of the
// authority that they can complain to. It names no person.
type Letterhead struct {
	Address   string // postal, on one line
	Email     string
	Phone     string
	Website   string // optional
	Authority Authority
}

// Authority is a supervisory authority, GDPR Art. 77.
type Authority struct {
	Name    string
	Address string
	Phone   string
	Email   string
	Website string
}

// check reports what is missing, or isn't what it says.
func (l *Letterhead) check() error {
	for _, f := range []struct {
		at, value string
		fits      func(string) bool
	}{
		{"address", l.Address, name},
		{"email", l.Email, address},
		{"phone", l.Phone, name},
		{"authority.name", l.Authority.Name, name},
		{"authority.address", l.Authority.Address, name},
		{"authority.phone", l.Authority.Phone, name},
		{"authority.email", l.Authority.Email, address},
		{"authority.website", l.Authority.Website, site},
	} {
		if !f.fits(f.value) {
			return errs.New(errs.Invalid, "a letterhead has on one line each the postal address, e-mail and phone of the tenant, and name, address, phone, e-mail and website of its authority").At("letterhead." + f.at)
		}
	}
	if l.Website != "" && !site(l.Website) {
		return errs.New(errs.Invalid, "a website is an https or http address").At("letterhead.website")
	}
	return nil
}

func address(s string) bool {
	_, err := identifier.Email(personal.NewText(s))
	return err == nil
}

func site(s string) bool {
	u, err := url.Parse(s)
	return err == nil && name(s) && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// Registration is the number under which a public register knows an organisation.
type Registration struct {
	Scheme string // "CVR", "SE" …
	Number string
}

// DpoContact is how the data protection officer is reached, GDPR Art. 38(4).
type DpoContact struct {
	Name  personal.Text
	Email personal.Text
	Phone personal.Text
}

// CreateInput asks for a tenant.
type CreateInput struct {
	LegalName            string
	Kind                 Kind
	Country              string
	Registration         *Registration
	TimeZone             string
	HolidayCalendar      *string
	SupervisoryAuthority *string
	DpoContact           *DpoContactInput
	Languages            []string
	Slug                 *string
	Letterhead           *Letterhead
	Owner                OwnerInput
}

// DpoContactInput asks for a contact.
type DpoContactInput struct {
	Name  personal.Text
	Email *personal.Text
	Phone *personal.Text
}

// OwnerInput names a first owner.
type OwnerInput struct {
	Email      personal.Text
	Clearances []authz.Clearance // all but AML when nil
}

// Field is what an update can clear.
type Field string

// The fields that can be cleared.
const (
	FieldRegistration         Field = "REGISTRATION"
	FieldSupervisoryAuthority Field = "SUPERVISORY_AUTHORITY"
	FieldDpoContact           Field = "DPO_CONTACT"
	FieldSlug                 Field = "SLUG"
)

// UpdateInput asks for changes; what is nil stays.
type UpdateInput struct {
	ID                   string
	ExpectedVersion      int64
	LegalName            *string
	Country              *string
	Registration         *Registration
	TimeZone             *string
	HolidayCalendar      *string
	SupervisoryAuthority *string
	DpoContact           *DpoContactInput
	Languages            []string
	Slug                 *string
	AllowedOrigins       []string
	PublicAuthority      *bool
	Letterhead           *Letterhead
	Clear                []Field
}

// Sentinels.
var (
	ErrNotFound  = errs.New(errs.NotFound, "no such tenant")
	ErrSlugTaken = errs.New(errs.Conflict, "another tenant has this slug").At("slug")
	// ErrProviderExists reports a second provider.
	ErrProviderExists = errs.New(errs.Precondition, "the platform has its provider already").Under("tenant.oneProvider")
)

// Limits.
const (
	maxName      = 200
	maxLanguages = 20
	minSlug      = 3
	maxSlug      = 63
)

// Contact returns the owner of the key of a tenant's own contacts.
func Contact(of tenant.ID) vault.Owner {
	return vault.Owner{Tenant: of, Subject: string(of), Unit: vault.Contact}
}

// MemberIdentity returns the owner of the key of a member's address.
func MemberIdentity(of tenant.ID, memberID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: memberID, Unit: vault.Identity}
}

func (t *Tenant) apply(in UpdateInput) ([]string, error) {
	var changed []string
	set := func(name string, is bool, to func()) {
		if is {
			to()
			changed = append(changed, name)
		}
	}
	for _, f := range in.Clear {
		switch f {
		case FieldRegistration:
			set("registration", true, func() { t.Registration = nil })
		case FieldSupervisoryAuthority:
			set("supervisoryAuthority", true, func() { t.SupervisoryAuthority = nil })
		case FieldDpoContact:
			set("dpoContact", true, func() { t.DpoContact = nil })
		case FieldSlug:
			set("slug", true, func() { t.Slug = nil })
		default:
			return nil, errs.New(errs.Invalid, "not a field that can be cleared").At("clear")
		}
	}
	set("legalName", in.LegalName != nil, func() { t.LegalName = strings.TrimSpace(*in.LegalName) })
	set("country", in.Country != nil, func() { t.Country = *in.Country })
	set("registration", in.Registration != nil, func() { r := *in.Registration; t.Registration = &r })
	set("timeZone", in.TimeZone != nil, func() { t.TimeZone = *in.TimeZone })
	set("holidayCalendar", in.HolidayCalendar != nil, func() { t.HolidayCalendar = *in.HolidayCalendar })
	set("supervisoryAuthority", in.SupervisoryAuthority != nil, func() { t.SupervisoryAuthority = in.SupervisoryAuthority })
	set("languages", in.Languages != nil, func() { t.Languages = in.Languages })
	set("slug", in.Slug != nil, func() { t.Slug = in.Slug })
	set("publicAuthority", in.PublicAuthority != nil, func() { t.PublicAuthority = *in.PublicAuthority })
	set("allowedOrigins", in.AllowedOrigins != nil, func() { t.AllowedOrigins = in.AllowedOrigins })
	set("letterhead", in.Letterhead != nil, func() { l := *in.Letterhead; t.Letterhead = &l })
	if err := t.check(); err != nil || in.DpoContact == nil {
		return changed, err
	}
	c, err := in.DpoContact.contact(t.Country)
	set("dpoContact", err == nil, func() { t.DpoContact = c })
	return changed, err
}

func (in *DpoContactInput) contact(country string) (*DpoContact, error) {
	c := &DpoContact{Name: in.Name}
	if !name(in.Name.Reveal()) {
		return nil, errs.New(errs.Invalid, "a name is a text of 1 to %d characters on one line", maxName).At("dpoContact.name")
	}
	if in.Email != nil {
		n, err := identifier.Email(*in.Email)
		if err != nil {
			return nil, errs.At(err, "dpoContact.email")
		}
		c.Email = n.Value
	}
	if in.Phone != nil {
		n, err := identifier.Phone(*in.Phone, country)
		if err != nil {
			return nil, errs.At(err, "dpoContact.phone")
		}
		c.Phone = n.Value
	}
	return c, nil
}

// check reports the first thing that is wrong with t.
func (t *Tenant) check() error {
	if !name(t.LegalName) {
		return errs.New(errs.Invalid, "a legal name is a text of 1 to %d characters on one line", maxName).At("legalName")
	}
	if r, err := language.ParseRegion(t.Country); err != nil || r.String() != t.Country || !r.IsCountry() {
		return errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code in capitals, as in DK").At("country")
	}
	if loc, err := time.LoadLocation(t.TimeZone); err != nil || loc == time.Local || t.TimeZone == "" {
		return errs.New(errs.Invalid, "a time zone is an IANA name, as in Europe/Copenhagen").At("timeZone")
	}
	if t.HolidayCalendar == "" {
		t.HolidayCalendar = t.Country
	}
	if !regexp.MustCompile(`^[A-Z]{2}(-[A-Z0-9]{1,8})?$`).MatchString(t.HolidayCalendar) {
		return errs.New(errs.Invalid, "a holiday calendar is a country's code, as in DK").At("holidayCalendar")
	}
	if a := t.SupervisoryAuthority; a != nil && !name(*a) {
		return errs.New(errs.Invalid, "an authority is a text of 1 to %d characters on one line", maxName).At("supervisoryAuthority")
	}
	if len(t.Languages) == 0 || len(t.Languages) > maxLanguages {
		return errs.New(errs.Invalid, "a tenant has 1 to %d languages", maxLanguages).At("languages")
	}
	for _, l := range t.Languages {
		if tag, err := language.Parse(l); err != nil || tag.String() != l {
			return errs.New(errs.Invalid, "a language is a BCP 47 tag, as in da or en-GB").At("languages")
		}
	}
	if l := t.Letterhead; l != nil {
		if err := l.check(); err != nil {
			return err
		}
	}
	if r := t.Registration; r != nil {
		if !name(r.Number) || !regexp.MustCompile(`^[A-Z0-9]{1,20}$`).MatchString(r.Scheme) {
			return errs.New(errs.Invalid, "a registration has a scheme in capitals, as in CVR, and a number").At("registration")
		}
		if r.Scheme == "CVR" {
			n, err := identifier.CVR(personal.NewText(r.Number))
			if err != nil {
				return errs.At(err, "registration.number")
			}
			r.Number = n.Value.Reveal()
		}
	}
	if s := t.Slug; s != nil &&
		(len(*s) < minSlug || len(*s) > maxSlug || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(*s)) {
		return errs.New(errs.Invalid, "a slug has %d to %d small letters, digits and single hyphens", minSlug, maxSlug).At("slug")
	}
	return checkOrigins(t.AllowedOrigins)
}

func name(s string) bool {
	return strings.TrimSpace(s) != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxName &&
		!strings.ContainsFunc(s, unicode.IsControl)
}

// Store keeps tenants and members. Methods named for all tenants need a system
// context (package tenant); the others work for the tenant in it.
type Store interface {
	Get(ctx context.Context) (*Tenant, error)
	// Insert and Update work in the change's transaction and fail with
	// ErrSlugTaken; Insert of a second provider with ErrProviderExists; Update, at
	// the version before, with change.ErrVersion.
	Insert(ctx context.Context, t *Tenant) error
	Update(ctx context.Context, t *Tenant) error
	// ProviderID returns the provider's id, ErrNotFound before bootstrap. All tenants.
	ProviderID(ctx context.Context) (tenant.ID, error)
	// BySlug returns the id of the tenant with a slug, or ErrNotFound. All tenants.
	BySlug(ctx context.Context, slug string) (tenant.ID, error)
	// AllowsOrigin reports whether a tenant allows pages of an origin. All tenants.
	AllowsOrigin(ctx context.Context, origin string) (bool, error)

	// LockMembers makes changes of the tenant's members exclude each other: it is
	// called first in a transaction that depends on more than one of them.
	LockMembers(ctx context.Context) error
	GetMember(ctx context.Context, memberID string) (*Member, error)
	// Members returns up to limit members, the newest first, after a position.
	Members(ctx context.Context, after *page.Position, limit int) ([]*Member, error)
	// ActiveMembers returns those with a role who have joined and whose time hasn't ended.
	ActiveMembers(ctx context.Context, role authz.Role, now time.Time) ([]*Member, error)
	// FindMember returns the member with an address by its keyed hash, who isn't
	// removed, or ErrNoMember.
	FindMember(ctx context.Context, address string) (*Member, error)
	// InsertMember fails with ErrMemberExists if the address is another member's.
	InsertMember(ctx context.Context, m *Member) error
	// UpdateMember writes m, at the version before; that of a removed one gives its
	// address up.
	UpdateMember(ctx context.Context, m *Member) error
	// Memberships returns those of an identity, of all tenants.
	Memberships(ctx context.Context, identity string) ([]Membership, error)
}
