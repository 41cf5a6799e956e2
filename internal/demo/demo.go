// Package demo fills a local platform with something to look at: the provider,
// a customer with real public data on 537 persons, and a second customer that
// must see none of it. Every start calls it; what is there already stays.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/testdata/legislators"
)

// exported is the reference of the person whose data is exported.
const exported = "C000127"

// exportWait bounds the wait for the worker to build the demo's export.
const exportWait = 2 * time.Minute

// known keeps, from start to start, what is shown once or chosen by chance: the
// secrets of the demo's keys and the passwords of its members.
type known struct {
	path string

	Keys      map[string]string `json:"keys"`      // by tenant id
	Passwords map[string]string `json:"passwords"` // by e-mail address
	Exported  bool              `json:"exported"`
}

func load(path string) (*known, error) {
	k := &known{path: path, Keys: map[string]string{}, Passwords: map[string]string{}}
	b, err := os.ReadFile(path) //nolint:gosec // G304: the demo's own file
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read demo secrets: %w", err)
	}
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("read demo secrets in %s: %w", path, err)
	}
	return k, nil
}

func (k *known) save() error {
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("write demo secrets: %w", err)
	}
	const private = 0o600
	if err := os.WriteFile(k.path, b, private); err != nil {
		return fmt.Errorf("write demo secrets: %w", err)
	}
	return nil
}

type seed struct {
	*app.Platform
	*known
	now func() time.Time
}

// Seed implements local.SeedFunc.
func Seed(now func() time.Time, log *slog.Logger) local.SeedFunc {
	return func(ctx context.Context, env local.Env) (ready local.Ready, err error) {
		p, err := app.Open(ctx, env.Config, log, now, nil)
		if err != nil {
			return ready, err
		}
		defer func() { err = errors.Join(err, p.Close(context.WithoutCancel(ctx))) }()
		k, err := load(filepath.Join(env.Dir, "demo.json"))
		if err != nil {
			return ready, err
		}
		s := &seed{p, k, now}
		ready = local.Ready{GraphQL: env.API + "/graphql", API: env.API, Mail: env.Mail, S3: env.Config.S3.Endpoint}
		ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "demo"})
		err = p.Record(ctx, func(ctx context.Context) error {
			ready.Tenants, err = s.tenants(ctx)
			return err
		})
		return ready, err
	}
}

func (s *seed) tenants(ctx context.Context) ([]local.Tenant, error) {
	cvr := func(number string) *tenancy.Registration { return &tenancy.Registration{Scheme: "CVR", Number: number} }
	authority := "Datatilsynet"
	in := func(name, slug, number, owner string) tenancy.CreateInput {
		return tenancy.CreateInput{
			LegalName: name, Kind: tenancy.Customer, Country: "DK", Registration: cvr(number), TimeZone: "Europe/Copenhagen",
			SupervisoryAuthority: &authority, Languages: []string{"da", "en"}, Slug: &slug,
			Letterhead: &tenancy.Letterhead{
				Address: "Opdigtet Vej 1, 0000 Eksempelby", Email: "privacy@" + slug + ".example", Phone: "+45 00 00 00 00",
				Website: "https://" + slug + ".example",
				Authority: tenancy.Authority{
					Name: authority, Address: "Opdigtet Plads 2, 0000 Eksempelby", Phone: "+45 00 00 00 01", Email: "authority@authority.example",
					Website: "https://authority.example",
				},
			},
			Owner: tenancy.OwnerInput{Email: personal.NewText(owner)},
		}
	}
	provider, err := s.Tenants.Bootstrap(ctx, in("Demo Provider ApS", "provider", "13585628", "operator@provider.example"))
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	asProvider := tenant.NewContext(ctx, provider.ID)
	first, err := s.customer(asProvider, in("Demo Revision A/S", "demo", "10008123", "owner@demo.example"))
	if err != nil {
		return nil, err
	}
	second, err := s.customer(asProvider, in("Second Advokater ApS", "second", "35862056", "owner@second.example"))
	if err != nil {
		return nil, err
	}
	if err := s.data(tenant.NewContext(ctx, first)); err != nil {
		return nil, err
	}
	var list []local.Tenant
	for _, t := range []struct {
		of      tenant.ID
		members map[string]authz.Role
		order   []string
	}{
		{first, map[string]authz.Role{
			"owner@demo.example": authz.RoleOwner, "handler@demo.example": authz.RoleCaseHandler,
			"dpo@demo.example": authz.RoleDPO, "auditor@demo.example": authz.RoleAuditor,
		}, []string{"owner@demo.example", "handler@demo.example", "dpo@demo.example", "auditor@demo.example"}},
		{second, map[string]authz.Role{"owner@second.example": authz.RoleOwner}, []string{"owner@second.example"}},
		{provider.ID, map[string]authz.Role{"operator@provider.example": authz.RoleOperator}, []string{"operator@provider.example"}},
	} {
		shown, err := s.show(tenant.NewContext(ctx, t.of), t.of, t.order, t.members)
		if err != nil {
			return nil, err
		}
		list = append(list, shown)
	}
	return list, s.agree(ctx, first, provider.ID)
}

// agree has a tenant and the provider sign their data processing agreement.
func (s *seed) agree(ctx context.Context, customer, provider tenant.ID) error {
	owner, err := s.signatory(ctx, customer, authz.KindMember)
	if err != nil {
		return err
	}
	operator, err := s.signatory(ctx, provider, authz.KindOperator)
	if err != nil {
		return err
	}
	a, err := s.Agreements.Current(owner)
	if err == nil && a == nil {
		a, err = s.agreement(owner)
	}
	for err == nil && !a.State.InForce() {
		switch a.State {
		case agreement.Draft, agreement.Negotiating:
			a, err = s.Agreements.Offer(operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: agreement.Validity})
		case agreement.Offered:
			a, err = s.Agreements.Sign(owner, signs(a, "Olivia Owner"))
		case agreement.PartlySigned:
			a, err = s.Agreements.Sign(operator, signs(a, "Otto Operator"))
		default:
			return nil // somebody has ended it
		}
	}
	if err != nil {
		return fmt.Errorf("sign the demo's agreement: %w", err)
	}
	return nil
}

// agreement returns the newest that a tenant has, or else a new one.
func (s *seed) agreement(ctx context.Context) (*agreement.Agreement, error) {
	have, err := s.Agreements.List(ctx, page.Request{First: 1})
	if err != nil {
		return nil, err
	}
	if len(have.Edges) > 0 {
		return s.Agreements.Get(ctx, have.Nodes()[0].ID)
	}
	return s.Agreements.Request(ctx, agreement.RequestInput{Template: agreement.ShortDPA})
}

// signatory returns ctx for who leads a tenant.
func (s *seed) signatory(ctx context.Context, of tenant.ID, kind authz.Kind) (context.Context, error) {
	ctx = tenant.NewContext(ctx, of)
	leads, err := s.Tenants.Owners(ctx)
	if err != nil || len(leads) == 0 {
		return nil, fmt.Errorf("find who leads the demo tenant: %w", errors.Join(err, tenancy.ErrNoMember))
	}
	m := leads[0]
	p := authz.Principal{Kind: kind, ID: m.ID, Tenant: of, Role: m.Role, Clearances: m.Clearances, Identity: m.Identity}
	if kind == authz.KindOperator {
		p.Home = of
	}
	return authz.NewContext(ctx, p), nil
}

// signs is the demo's signature of an agreement's newest version.
func signs(a *agreement.Agreement, name string) agreement.SignInput {
	return agreement.SignInput{
		ID: a.ID, ExpectedVersion: a.Version, SHA256: *a.LatestVersion.SHA256, Name: personal.NewText(name), Title: "Demo", Authority: "Demo",
		Method: agreement.Simple,
	}
}

// customer returns the customer tenant with a slug, made if it isn't there.
func (s *seed) customer(asProvider context.Context, in tenancy.CreateInput) (tenant.ID, error) {
	of, err := s.Tenants.BySlug(asProvider, *in.Slug)
	if err == nil {
		return of, nil
	}
	if !errors.Is(err, tenancy.ErrNotFound) {
		return "", fmt.Errorf("find demo tenant: %w", err)
	}
	t, err := s.Tenants.Create(asProvider, in)
	if err != nil {
		return "", fmt.Errorf("create demo tenant: %w", err)
	}
	return t.ID, nil
}

// show returns what ready.json says of a tenant: with a key that works, and
// members who can sign in.
func (s *seed) show(ctx context.Context, of tenant.ID, order []string, roles map[string]authz.Role) (local.Tenant, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return local.Tenant{}, fmt.Errorf("find demo tenant: %w", err)
	}
	shown := local.Tenant{ID: string(of), Name: t.LegalName}
	if shown.APIKey, err = s.key(ctx, of); err != nil {
		return local.Tenant{}, err
	}
	for _, email := range order {
		password, err := s.member(ctx, personal.NewText(email), roles[email])
		if err != nil {
			return local.Tenant{}, err
		}
		shown.Members = append(shown.Members, local.Member{Email: email, Password: password, Role: string(roles[email])})
	}
	return shown, nil
}

func (s *seed) key(ctx context.Context, of tenant.ID) (string, error) {
	have := s.Keys[string(of)]
	_, err := s.APIKeys.Authenticate(ctx, have)
	if err == nil {
		return have, nil
	}
	if errs.KindOf(err) != errs.Unauthenticated {
		return "", fmt.Errorf("try demo key: %w", err)
	}
	_, secret, err := s.APIKeys.Create(ctx, apikey.CreateInput{Name: "demo", Clearances: []authz.Clearance{
		authz.ClearConfidential, authz.ClearNationalID, authz.ClearArt9, authz.ClearArt10, authz.ClearAML,
	}})
	if err != nil {
		return "", fmt.Errorf("create demo key: %w", err)
	}
	s.Keys[string(of)] = *secret
	return *secret, s.save()
}

func (s *seed) member(ctx context.Context, email personal.Text, role authz.Role) (string, error) {
	password := s.Passwords[email.Reveal()]
	if password != "" {
		return password, nil
	}
	password = rand.Text()
	identity, err := s.Identity.SetPassword(ctx, email, personal.NewText(password))
	if err != nil {
		return "", fmt.Errorf("make demo member: %w", err)
	}
	in := tenancy.AddMemberInput{Email: email, Role: role, Identity: identity, Clearances: clearances(role)}
	if role == authz.RoleAuditor { // whose membership ends
		in.ExpiresAt = new(s.now().AddDate(1, 0, 0))
	}
	if _, err := s.Tenants.AddMember(ctx, in); err != nil {
		return "", fmt.Errorf("make demo member: %w", err)
	}
	s.Passwords[email.Reveal()] = password
	return password, s.save()
}

// clearances returns what the demo's members of a role may see.
func clearances(r authz.Role) []authz.Clearance {
	switch r {
	case authz.RoleOwner, authz.RoleDPO:
		return tenancy.FirstClearances()
	case authz.RoleCaseHandler, authz.RoleApprover:
		return []authz.Clearance{authz.ClearConfidential, authz.ClearNationalID}
	default:
		return nil
	}
}

// data imports the legislators and exports one of them.
func (s *seed) data(ctx context.Context) error {
	if s.Exported {
		return nil
	}
	have, err := s.Datasets.List(ctx)
	if err != nil {
		return fmt.Errorf("list demo datasets: %w", err)
	}
	if len(have) == 0 {
		var inputs []dataset.CreateInput
		if err := json.Unmarshal(legislators.Datasets(), &inputs); err != nil {
			return fmt.Errorf("read demo datasets: %w", err)
		}
		for _, in := range inputs {
			if _, err := s.Datasets.Create(ctx, in); err != nil {
				return fmt.Errorf("create demo dataset: %w", err)
			}
		}
	}
	if _, err := s.Imports.SaveMapping(ctx, imports.SaveMappingInput{Name: legislators.MappingName, Document: legislators.Mapping()}); err != nil {
		return fmt.Errorf("save demo mapping: %w", err)
	}
	done, err := s.Imports.Run(ctx, imports.Input{
		Key: "demo", Mapping: legislators.MappingName, Format: imports.NDJSON, Mode: imports.Write,
		Body: bytes.NewReader(legislators.Lines()),
	})
	if err != nil {
		return fmt.Errorf("import demo file: %w", err)
	}
	if n := len(done.Rejections); n > 0 {
		return fmt.Errorf("import demo file: %d lines are rejected", n)
	}
	return s.export(ctx)
}

func (s *seed) export(ctx context.Context) error {
	reference := personal.NewText(exported)
	found, err := s.Subjects.Find(ctx, subject.By{Reference: &reference}, page.Request{First: 1})
	if err != nil || len(found.Edges) == 0 {
		return fmt.Errorf("find the demo's person: %w", errors.Join(err, subject.ErrNotFound))
	}
	ctx = change.WithIdempotency(ctx, change.Idempotency{Key: "demo-export"})
	e, err := s.Exports.Request(ctx, export.RequestInput{Subject: found.Edges[0].Node.ID})
	if err != nil {
		return fmt.Errorf("export the demo's person: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, exportWait)
	defer cancel()
	states, err := s.Jobs.Watch(ctx, e.JobID)
	if err != nil {
		return fmt.Errorf("export the demo's person: %w", err)
	}
	for range states {
	}
	if e, err = s.Exports.Get(ctx, e.ID); err != nil || e.State != export.Ready {
		return fmt.Errorf("export the demo's person: it is %s: %w", e.State, errors.Join(err, ctx.Err()))
	}
	s.Exported = true
	return s.save()
}
