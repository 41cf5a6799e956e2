package mongo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ tenancy.Store = (*TenantStore)(nil)

// TenantStore keeps tenants and their members.
type TenantStore struct {
	tenants, members *mongo.Collection
	names            *names
	vault            *vault.Vault
}

// NewTenantStore returns the store of tenants in d.
func NewTenantStore(d *DB, v *vault.Vault) *TenantStore {
	return &TenantStore{
		tenants: d.db.Collection(tenantsColl), members: d.db.Collection(membersColl), names: newNames(d), vault: v,
	}
}

// The kinds of names that are unique on the platform.
const (
	nameSlug     = "slug"
	nameProvider = "provider"
)

// nameMember is the kind of the addresses of a tenant's members, as keyed hashes.
const nameMember = "member"

type tenantDoc struct {
	ID                   tenant.ID        `bson:"_id"`
	Tenant               tenant.ID        `bson:"tenant"`
	Kind                 tenancy.Kind     `bson:"kind"`
	LegalName            string           `bson:"legalName"`
	Country              string           `bson:"country"`
	Registration         *registrationDoc `bson:"registration,omitempty"`
	TimeZone             string           `bson:"timeZone"`
	HolidayCalendar      string           `bson:"holidayCalendar"`
	SupervisoryAuthority *string          `bson:"supervisoryAuthority,omitempty"`
	DpoContact           *contactDoc      `bson:"dpoContact,omitempty"`
	Languages            []string         `bson:"languages"`
	Slug                 *string          `bson:"slug,omitempty"`
	AllowedOrigins       []string         `bson:"allowedOrigins,omitempty"`
	PublicAuthority      bool             `bson:"publicAuthority,omitempty"`
	Letterhead           *letterheadDoc   `bson:"letterhead,omitempty"`
	Version              int64            `bson:"version"`
	CreatedAt            time.Time        `bson:"createdAt"`
	UpdatedAt            time.Time        `bson:"updatedAt"`
}

type registrationDoc struct {
	Scheme string `bson:"scheme"`
	Number string `bson:"number"`
}

type letterheadDoc struct {
	Address   string       `bson:"address"`
	Email     string       `bson:"email"`
	Phone     string       `bson:"phone"`
	Website   string       `bson:"website"`
	Authority authorityDoc `bson:"authority"`
}

type authorityDoc struct {
	Name    string `bson:"name"`
	Address string `bson:"address"`
	Phone   string `bson:"phone"`
	Email   string `bson:"email"`
	Website string `bson:"website"`
}

type contactDoc struct {
	Name  sealed `bson:"name,omitempty"`
	Email sealed `bson:"email,omitempty"`
	Phone sealed `bson:"phone,omitempty"`
}

func (s *TenantStore) contact(keys *vault.Keys, of tenant.ID) *sealer {
	return &sealer{
		keys: keys, owner: tenancy.Contact(of), place: vault.Place{Collection: tenantsColl, Record: string(of)},
	}
}

func (s *TenantStore) seal(ctx context.Context, t *tenancy.Tenant) (tenantDoc, error) {
	d := tenantDoc{
		ID: t.ID, Tenant: t.ID, Kind: t.Kind, LegalName: t.LegalName, Country: t.Country, TimeZone: t.TimeZone,
		HolidayCalendar: t.HolidayCalendar, SupervisoryAuthority: t.SupervisoryAuthority, Languages: t.Languages,
		Slug: t.Slug, AllowedOrigins: t.AllowedOrigins, PublicAuthority: t.PublicAuthority, Version: t.Version, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
	if t.Registration != nil {
		r := registrationDoc(*t.Registration)
		d.Registration = &r
	}
	if l := t.Letterhead; l != nil {
		d.Letterhead = &letterheadDoc{l.Address, l.Email, l.Phone, l.Website, authorityDoc(l.Authority)}
	}
	if t.DpoContact == nil {
		return d, nil
	}
	keys, err := s.vault.Load(ctx, tenancy.Contact(t.ID))
	if err != nil {
		return d, err
	}
	seal := s.contact(keys, t.ID)
	d.DpoContact = &contactDoc{
		Name: seal.text("dpoContact.name", t.DpoContact.Name), Email: seal.text("dpoContact.email", t.DpoContact.Email),
		Phone: seal.text("dpoContact.phone", t.DpoContact.Phone),
	}
	return d, seal.err
}

// Get implements tenancy.Store.
func (s *TenantStore) Get(ctx context.Context) (*tenancy.Tenant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d, err := one[tenantDoc](ctx, s.tenants, "tenant", tenancy.ErrNotFound, bson.E{Key: "_id", Value: of})
	if err != nil {
		return nil, err
	}
	t := &tenancy.Tenant{
		ID: d.ID, Kind: d.Kind, LegalName: d.LegalName, Country: d.Country, TimeZone: d.TimeZone,
		HolidayCalendar: d.HolidayCalendar, SupervisoryAuthority: d.SupervisoryAuthority, Languages: d.Languages,
		Slug: d.Slug, AllowedOrigins: d.AllowedOrigins, PublicAuthority: d.PublicAuthority, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if d.Registration != nil {
		r := tenancy.Registration(*d.Registration)
		t.Registration = &r
	}
	if l := d.Letterhead; l != nil {
		t.Letterhead = &tenancy.Letterhead{
			Address: l.Address, Email: l.Email, Phone: l.Phone, Website: l.Website, Authority: tenancy.Authority(l.Authority),
		}
	}
	if d.DpoContact != nil {
		keys, err := s.vault.Load(ctx, tenancy.Contact(of))
		if err != nil {
			return nil, err
		}
		open := s.contact(keys, of)
		t.DpoContact = &tenancy.DpoContact{
			Name:  open.openText("dpoContact.name", d.DpoContact.Name),
			Email: open.openText("dpoContact.email", d.DpoContact.Email),
			Phone: open.openText("dpoContact.phone", d.DpoContact.Phone),
		}
		if open.err != nil {
			return nil, fmt.Errorf("open contact of %s: %w", of, open.err)
		}
	}
	return t, nil
}

// Insert implements tenancy.Store.
func (s *TenantStore) Insert(ctx context.Context, t *tenancy.Tenant) error {
	if t.Kind == tenancy.Provider {
		taken, err := s.names.claimIn(ctx, platform, nameProvider, nameProvider, string(t.ID))
		if err != nil {
			return err
		}
		if taken {
			return tenancy.ErrProviderExists
		}
	}
	if err := s.claimSlug(ctx, t); err != nil {
		return err
	}
	d, err := s.seal(ctx, t)
	if err != nil {
		return fmt.Errorf("seal tenant: %w", err)
	}
	if _, err := s.tenants.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert tenant: %w", translate(err))
	}
	return nil
}

func (s *TenantStore) claimSlug(ctx context.Context, t *tenancy.Tenant) error {
	if t.Slug == nil {
		return nil
	}
	taken, err := s.names.claimIn(ctx, platform, nameSlug, *t.Slug, string(t.ID))
	if err != nil {
		return err
	}
	if taken {
		return tenancy.ErrSlugTaken
	}
	return nil
}

// Update implements tenancy.Store.
func (s *TenantStore) Update(ctx context.Context, t *tenancy.Tenant) error {
	before, err := s.Get(ctx)
	if err != nil {
		return err
	}
	if old := before.Slug; old != nil && (t.Slug == nil || *t.Slug != *old) {
		if err := s.names.release(ctx, platform, nameSlug, *old, string(t.ID)); err != nil {
			return err
		}
	}
	if err := s.claimSlug(ctx, t); err != nil {
		return err
	}
	d, err := s.seal(ctx, t)
	if err != nil {
		return fmt.Errorf("seal tenant: %w", err)
	}
	return replaceVersion(ctx, s.tenants, string(t.ID), t.Version, d)
}

// ProviderID implements tenancy.Store.
func (s *TenantStore) ProviderID(ctx context.Context) (tenant.ID, error) {
	return s.named(ctx, nameProvider, nameProvider)
}

// BySlug implements tenancy.Store.
func (s *TenantStore) BySlug(ctx context.Context, slug string) (tenant.ID, error) {
	return s.named(ctx, nameSlug, slug)
}

// AllowsOrigin implements tenancy.Store.
func (s *TenantStore) AllowsOrigin(ctx context.Context, origin string) (bool, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return false, err
	}
	err := s.tenants.FindOne(ctx, bson.D{{Key: "allowedOrigins", Value: origin}},
		options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find tenants of origin: %w", translate(err))
	}
	return true, nil
}

func (s *TenantStore) named(ctx context.Context, kind, name string) (tenant.ID, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return "", err
	}
	owner, err := s.names.owner(ctx, platform, kind, name)
	if err != nil {
		return "", err
	}
	if owner == "" {
		return "", tenancy.ErrNotFound
	}
	return tenant.ID(owner), nil
}

type memberDoc struct {
	ID         string              `bson:"_id"`
	Tenant     tenant.ID           `bson:"tenant"`
	Role       authz.Role          `bson:"role"`
	Clearances []authz.Clearance   `bson:"clearances,omitempty"`
	Purposes   []string            `bson:"purposes,omitempty"`
	State      tenancy.MemberState `bson:"state"`
	Identity   string              `bson:"identity,omitempty"`
	Email      sealed              `bson:"email"`
	Address    string              `bson:"address"` // keyed hash of the e-mail address
	Language   string              `bson:"language"`
	Invitation *invitationDoc      `bson:"invitation,omitempty"`
	ExpiresAt  *time.Time          `bson:"expiresAt,omitempty"`
	Version    int64               `bson:"version"`
	CreatedAt  time.Time           `bson:"createdAt"`
	UpdatedAt  time.Time           `bson:"updatedAt"`
}

type invitationDoc struct {
	Hash      []byte    `bson:"hash"`
	ExpiresAt time.Time `bson:"expiresAt"`
}

func memberSealer(keys *vault.Keys, of tenant.ID, id string) *sealer {
	return &sealer{
		keys: keys, owner: tenancy.MemberIdentity(of, id), place: vault.Place{Collection: membersColl, Record: id},
	}
}

func (s *TenantStore) memberDoc(ctx context.Context, m *tenancy.Member) (memberDoc, error) {
	d := memberDoc{
		ID: m.ID, Tenant: m.Tenant, Role: m.Role, Clearances: m.Clearances, Purposes: m.Purposes, State: m.State,
		Identity: m.Identity, Address: m.Address, Language: m.Language, ExpiresAt: m.ExpiresAt, Version: m.Version,
		CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
	}
	if m.Invitation != nil {
		d.Invitation = &invitationDoc{m.Invitation.Hash[:], m.Invitation.ExpiresAt}
	}
	keys, err := s.vault.Load(ctx, tenancy.MemberIdentity(m.Tenant, m.ID))
	if err != nil {
		return d, err
	}
	seal := memberSealer(keys, m.Tenant, m.ID)
	d.Email = seal.seal("email", personal.String(m.Email.Reveal()))
	return d, seal.err
}

func (s *TenantStore) openMembers(ctx context.Context, docs []memberDoc) ([]*tenancy.Member, error) {
	owners := make([]vault.Owner, len(docs))
	for i, d := range docs {
		owners[i] = tenancy.MemberIdentity(d.Tenant, d.ID)
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	members := make([]*tenancy.Member, len(docs))
	for i, d := range docs {
		open := memberSealer(keys, d.Tenant, d.ID)
		m := &tenancy.Member{
			ID: d.ID, Tenant: d.Tenant, Email: open.openText("email", d.Email), Address: d.Address, Role: d.Role,
			Clearances: d.Clearances, Purposes: d.Purposes, State: d.State, Identity: d.Identity, Language: d.Language,
			ExpiresAt: d.ExpiresAt, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		}
		if open.err != nil {
			return nil, fmt.Errorf("open member %s: %w", d.ID, open.err)
		}
		if d.Invitation != nil {
			if len(d.Invitation.Hash) != sha256.Size {
				return nil, fmt.Errorf("open member %s: malformed hash", d.ID)
			}
			m.Invitation = &tenancy.Invitation{Hash: [sha256.Size]byte(d.Invitation.Hash), ExpiresAt: d.Invitation.ExpiresAt}
		}
		members[i] = m
	}
	return members, nil
}

// LockMembers implements tenancy.Store: two transactions that write the same
// document don't both commit.
func (s *TenantStore) LockMembers(ctx context.Context) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: of})
	if err != nil {
		return err
	}
	_, err = s.tenants.UpdateOne(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "memberChanges", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("lock members: %w", translate(err))
	}
	return nil
}

// GetMember implements tenancy.Store.
func (s *TenantStore) GetMember(ctx context.Context, memberID string) (*tenancy.Member, error) {
	d, err := one[memberDoc](ctx, s.members, "member", tenancy.ErrNoMember, bson.E{Key: "_id", Value: memberID})
	if err != nil {
		return nil, err
	}
	members, err := s.openMembers(ctx, []memberDoc{d})
	if err != nil {
		return nil, err
	}
	return members[0], nil
}

// Members implements tenancy.Store.
func (s *TenantStore) Members(ctx context.Context, after *page.Position, limit int) ([]*tenancy.Member, error) {
	docs, err := keyset[memberDoc](ctx, s.members, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	return s.openMembers(ctx, docs)
}

// ActiveMembers implements tenancy.Store.
func (s *TenantStore) ActiveMembers(ctx context.Context, role authz.Role, now time.Time) ([]*tenancy.Member, error) {
	filter, err := scoped(ctx, bson.E{Key: "role", Value: role}, bson.E{Key: "state", Value: tenancy.Joined})
	if err != nil {
		return nil, err
	}
	docs, err := all[memberDoc](ctx, s.members, filter)
	if err != nil {
		return nil, fmt.Errorf("list members of a role: %w", err)
	}
	docs = slices.DeleteFunc(docs, func(d memberDoc) bool { return d.ExpiresAt != nil && !now.Before(*d.ExpiresAt) })
	return s.openMembers(ctx, docs)
}

// FindMember implements tenancy.Store.
func (s *TenantStore) FindMember(ctx context.Context, address string) (*tenancy.Member, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owner, err := s.names.owner(ctx, of, nameMember, address)
	if err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, tenancy.ErrNoMember
	}
	return s.GetMember(ctx, owner)
}

// InsertMember implements tenancy.Store.
func (s *TenantStore) InsertMember(ctx context.Context, m *tenancy.Member) error {
	taken, err := s.names.claim(ctx, nameMember, m.Address, m.ID)
	if err != nil {
		return err
	}
	if taken {
		return tenancy.ErrMemberExists
	}
	d, err := s.memberDoc(ctx, m)
	if err != nil {
		return fmt.Errorf("seal member: %w", err)
	}
	if _, err := s.members.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert member: %w", translate(err))
	}
	return nil
}

// UpdateMember implements tenancy.Store.
func (s *TenantStore) UpdateMember(ctx context.Context, m *tenancy.Member) error {
	if m.State == tenancy.Removed {
		if err := s.names.release(ctx, m.Tenant, nameMember, m.Address, m.ID); err != nil {
			return err
		}
	}
	d, err := s.memberDoc(ctx, m)
	if err != nil {
		return fmt.Errorf("seal member: %w", err)
	}
	return replaceVersion(ctx, s.members, m.ID, m.Version, d)
}

// maxMemberships bounds how many tenants one person works for.
const maxMemberships = 1000

// Memberships implements tenancy.Store.
func (s *TenantStore) Memberships(ctx context.Context, identity string) ([]tenancy.Membership, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[memberDoc](ctx, s.members, bson.D{{Key: "identity", Value: identity}, {Key: "state", Value: tenancy.Joined}},
		options.Find().SetLimit(maxMemberships))
	if err != nil {
		return nil, fmt.Errorf("find memberships: %w", err)
	}
	ids := make([]tenant.ID, len(docs))
	for i, d := range docs {
		ids[i] = d.Tenant
	}
	tenants, err := all[tenantDoc](ctx, s.tenants, bson.D{
		{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "tenant", Value: bson.D{{Key: "$in", Value: ids}}},
	})
	if err != nil {
		return nil, fmt.Errorf("find tenants: %w", err)
	}
	legal := make(map[tenant.ID]string, len(tenants))
	for _, t := range tenants {
		legal[t.ID] = t.LegalName
	}
	memberships := make([]tenancy.Membership, len(docs))
	for i, d := range docs {
		memberships[i] = tenancy.Membership{
			MemberID: d.ID, Tenant: d.Tenant, LegalName: legal[d.Tenant], Role: d.Role, Clearances: d.Clearances,
			Purposes: d.Purposes, ExpiresAt: d.ExpiresAt,
		}
	}
	return memberships, nil
}
