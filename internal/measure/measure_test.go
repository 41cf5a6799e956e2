package measure_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/framework"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

type fixture struct {
	*measure.Service
	one, two, provider context.Context
	system             string
}

func start(t *testing.T) *fixture {
	t.Helper()
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	tenants := mongo.NewTenantStore(db, v)
	as := func(of tenant.ID, kind tenancy.Kind) context.Context {
		ctx := authz.NewContext(tenant.NewContext(t.Context(), of), authz.Principal{Kind: authz.KindMember, ID: id.New(id.Member, of), Tenant: of})
		err := db.InTransaction(ctx, func(ctx context.Context) error {
			return tenants.Insert(ctx, &tenancy.Tenant{
				ID: of, Kind: kind, LegalName: "Kunde ApS", Country: "DK", TimeZone: "Europe/Copenhagen", Languages: []string{"da"}, Version: 1,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return ctx
	}
	f := &fixture{
		one: as(testenv.One, tenancy.Customer), two: as(testenv.Two, tenancy.Customer), provider: as(testenv.Provider, tenancy.Provider),
		system: id.New(id.System, testenv.One),
	}
	records := mongo.NewProcessingStore(db, v)
	err := db.InTransaction(f.one, func(ctx context.Context) error {
		return records.InsertSystem(ctx, &processing.System{
			ID: f.system, State: processing.Current, Version: 1,
			SystemFields: processing.SystemFields{Name: processing.Words{Da: "Arkiv"}, Kind: processing.Database, Location: "DK"},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Service = measure.NewService(measure.Config{
		Store: mongo.NewMeasureStore(db), Tenants: tenants, Systems: records, Changes: changes, Now: testenv.Now,
	})
	return f
}

func input(edit ...func(*measure.CreateInput)) measure.CreateInput {
	in := measure.CreateInput{
		Key: "disk-encryption", Term: new("dpv:EncryptionAtRest"), Kind: measure.Technical, Art32: []measure.Letter{measure.A},
		Status: measure.Planned, Controls: []string{"B.8"},
		Texts: []measure.Text{{Language: "da", Description: " Bærbare computere er krypteret. "}, {Language: "en", Description: "Laptops are encrypted."}},
	}
	for _, e := range edit {
		e(&in)
	}
	return in
}

func TestLifeOfAMeasure(t *testing.T) {
	f := start(t)
	m, err := f.Create(f.one, input(func(in *measure.CreateInput) { in.Systems = []string{f.system} }))
	if err != nil {
		t.Fatal(err)
	}
	if m.Texts[0].Description != "Bærbare computere er krypteret." || m.VocabularyVersion == nil || *m.VocabularyVersion != "2.3" {
		t.Errorf("made %+v", m)
	}
	if _, err := f.Create(f.one, input()); !errors.Is(err, measure.ErrKeyTaken) {
		t.Errorf("the key again: %v", err)
	}
	if _, err := f.Create(f.two, input()); err != nil {
		t.Errorf("the key of another tenant: %v", err)
	}
	m, err = f.Update(f.one, measure.UpdateInput{
		ID: m.ID, ExpectedVersion: 1, Status: new(measure.InPlace), Controls: []string{"B.8", "B.1"}, Clear: []measure.Field{measure.FieldTerm},
	})
	if err != nil || m.Version != 2 || m.Term != nil || m.VocabularyVersion != nil || m.Status != measure.InPlace || len(m.Systems) != 1 {
		t.Errorf("updated %+v, %v", m, err)
	}
	if _, err := f.Retire(f.one, measure.RetireInput{ID: m.ID, ExpectedVersion: 1}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("retired an old version: %v", err)
	}
	if m, err = f.Retire(f.one, measure.RetireInput{ID: m.ID, ExpectedVersion: 2}); err != nil || m.Status != measure.Retired || m.RetiredAt == nil {
		t.Errorf("retired %+v, %v", m, err)
	}
	if _, err := f.Update(f.one, measure.UpdateInput{ID: m.ID, ExpectedVersion: 3, Kind: new(measure.Organisational)}); !errors.Is(err, measure.ErrRetired) {
		t.Errorf("updated a retired one: %v", err)
	}
	if read, err := f.Get(f.one, m.ID); err != nil || read.Version != 3 || !slices.Equal(read.Controls, m.Controls) || !slices.Equal(read.Texts, m.Texts) {
		t.Errorf("read %+v, %v", read, err)
	}
	for _, tt := range []struct {
		status *measure.Status
		want   int
	}{{nil, 1}, {new(measure.Retired), 1}, {new(measure.InPlace), 0}} {
		if c, err := f.List(f.one, tt.status, page.Request{First: 10}); err != nil || len(c.Edges) != tt.want {
			t.Errorf("listed %d, %v, want %d", len(c.Edges), err, tt.want)
		}
	}
	all, err := f.Measures(f.one, m.ID)
	if named := all[m.ID]; err != nil || !named.Retired || named.Text.Da != m.Texts[0].Description || named.Text.En != "Laptops are encrypted." {
		t.Errorf("named %+v, %v", named, err)
	}
	if err := f.Check(f.one, m.ID, m.ID); err != nil {
		t.Errorf("it isn't there: %v", err)
	}
	for name, err := range map[string]error{
		"get":    errOf(f.Get(f.two, m.ID)),
		"update": errOf(f.Update(f.two, measure.UpdateInput{ID: m.ID, ExpectedVersion: 3})),
		"retire": errOf(f.Retire(f.two, measure.RetireInput{ID: m.ID, ExpectedVersion: 3})),
		"check":  f.Check(f.two, m.ID),
	} {
		if !errors.Is(err, measure.ErrNotFound) {
			t.Errorf("%s by another tenant: %v", name, err)
		}
	}
}

func errOf(_ any, err error) error { return err }

func TestRefusals(t *testing.T) {
	f := start(t)
	for _, tt := range []struct {
		name, field string
		edit        func(*measure.CreateInput)
	}{
		{"key", "key", func(in *measure.CreateInput) { in.Key = "Disk Encryption" }},
		{"no kind", "kind", func(in *measure.CreateInput) { in.Kind = "" }},
		{"no letter", "art32", func(in *measure.CreateInput) { in.Art32 = nil }},
		{"letter twice", "art32", func(in *measure.CreateInput) { in.Art32 = []measure.Letter{"A", "A"} }},
		{"letter E", "art32", func(in *measure.CreateInput) { in.Art32 = []measure.Letter{"E"} }},
		{"retired at once", "status", func(in *measure.CreateInput) { in.Status = measure.Retired }},
		{"term of another kind", "term", func(in *measure.CreateInput) { in.Kind = measure.Organisational }},
		{"term that isn't one", "term", func(in *measure.CreateInput) { in.Term = new("dpv:Hope") }},
		{"no text", "texts", func(in *measure.CreateInput) { in.Texts = nil }},
		{"empty text", "texts.0.description", func(in *measure.CreateInput) { in.Texts = []measure.Text{{Language: "da", Description: " "}} }},
		{"long text", "texts.0.description", func(in *measure.CreateInput) {
			in.Texts = []measure.Text{{Language: "da", Description: strings.Repeat("å", 2001)}}
		}},
		{"no language", "texts.0.language", func(in *measure.CreateInput) { in.Texts[0].Language = "dansk sprog" }},
		{"language twice", "texts.1.language", func(in *measure.CreateInput) { in.Texts[1].Language = "da" }},
		{"control", "controls.1", func(in *measure.CreateInput) { in.Controls = []string{"B.8", "Z.1"} }},
		{"unknown system", "systems.0", func(in *measure.CreateInput) { in.Systems = []string{id.New(id.System, testenv.One)} }},
		{"foreign system", "systems.0", func(in *measure.CreateInput) { in.Systems = []string{id.New(id.System, testenv.Two)} }},
		{"foreign owner", "owner", func(in *measure.CreateInput) { in.Owner = new(id.New(id.Member, testenv.Two)) }},
		{"unknown owner", "owner", func(in *measure.CreateInput) { in.Owner = new(id.New(id.Member, testenv.One)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.Create(f.one, input(tt.edit))
			e, ok := errors.AsType[*errs.Error](err)
			if !ok || e.Field != tt.field || (e.Kind != errs.Invalid && e.Kind != errs.NotFound) {
				t.Errorf("got %v at %q, want it at %q", err, e.Field, tt.field)
			}
		})
	}
	if c, err := f.List(f.one, nil, page.Request{First: 10}); err != nil || len(c.Edges) > 0 {
		t.Errorf("something was made: %+v, %v", c, err)
	}
}

// TestDefaults: each commitment of DOMAIN §4.4 has a measure with a control.
func TestDefaults(t *testing.T) {
	f := start(t)
	set, err := measure.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"password-policy", "attribute-based-authorisation", "api-keys-and-oauth", "web-application-firewall", "static-analysis", "https",
		"encryption-at-rest", "logging", "alerts", "availability", "backups", "replication",
	} {
		if !slices.ContainsFunc(set, func(d measure.CreateInput) bool { return d.Key == key && len(d.Controls) > 0 }) {
			t.Errorf("no default measure %s with a control", key)
		}
	}
	some, err := f.Adopt(f.provider, measure.AdoptInput{Keys: []string{"https", "backups"}})
	if err != nil || len(some) != 2 {
		t.Fatalf("adopted %d, %v", len(some), err)
	}
	rest, err := f.Adopt(f.provider, measure.AdoptInput{})
	if err != nil || len(rest) != len(set)-2 {
		t.Fatalf("adopted %d more, %v", len(rest), err)
	}
	if again, err := f.Adopt(f.provider, measure.AdoptInput{}); err != nil || len(again) != 0 {
		t.Errorf("adopted %d again, %v", len(again), err)
	}
	for _, m := range append(some, rest...) {
		for _, c := range m.Controls {
			if _, ok := framework.Lookup(c); !ok {
				t.Errorf("%s names the control %s", m.Key, c)
			}
		}
	}
	if _, err := f.Adopt(f.one, measure.AdoptInput{}); !errors.Is(err, measure.ErrProvider) {
		t.Errorf("a customer adopted them: %v", err)
	}
	if _, err := f.Adopt(f.provider, measure.AdoptInput{Keys: []string{"hope"}}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("adopted what there isn't: %v", err)
	}
}
