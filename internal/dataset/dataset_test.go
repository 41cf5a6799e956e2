package dataset_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

func start(t *testing.T) (s *dataset.Service, one, two context.Context) {
	t.Helper()
	db := testenv.Mongo(t)
	changes, _ := testenv.Changes(t, db, nil, nil, nil)
	return dataset.NewService(mongo.NewDatasetStore(db), changes, testenv.Authorizer(t), testenv.Now),
		as(t, testenv.One, authz.Clearances()...), as(t, testenv.Two, authz.Clearances()...)
}

// as is a portal of the tenant with some clearances.
func as(t *testing.T, of tenant.ID, clearances ...authz.Clearance) context.Context {
	t.Helper()
	return tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindMachine, ID: "key_1", Tenant: of, Clearances: clearances,
	}), of)
}

func field(key string, edit ...func(*dataset.FieldInput)) dataset.FieldInput {
	f := dataset.FieldInput{
		Key: key, Type: dataset.TypeString, DataClass: dataset.Ordinary, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup,
	}
	for _, e := range edit {
		e(&f)
	}
	return f
}

// Whether a name is taken doesn't tell that a secret dataset has it.
func TestNamesOfSecretDatasets(t *testing.T) {
	s, one, two := start(t)
	create := func(ctx context.Context, name string, secrecy dataset.Secrecy) (*dataset.Dataset, error) {
		return s.Create(ctx, dataset.CreateInput{Name: name, Secrecy: secrecy})
	}
	secret, err := create(one, "Reports", dataset.AML)
	if err != nil {
		t.Fatal(err)
	}
	uncleared := as(t, testenv.One)
	if _, err := create(one, "reports", dataset.NoSecrecy); !errors.Is(err, dataset.ErrNameTaken) {
		t.Errorf("who knows of it takes its name: %v", err)
	}
	plain, err := create(uncleared, "Reports", dataset.NoSecrecy)
	if err != nil {
		t.Fatalf("who must not know of it is told: %v", err)
	}
	if _, err := create(uncleared, "REPORTS", dataset.NoSecrecy); !errors.Is(err, dataset.ErrNameTaken) {
		t.Errorf("a name is given twice: %v", err)
	}
	if _, err := create(uncleared, "Cases", dataset.NoSecrecy); err != nil {
		t.Fatal(err)
	}
	for _, secrecy := range []dataset.Secrecy{dataset.NoSecrecy, dataset.AML} {
		for _, name := range []string{"Reports", "cases"} {
			if _, err := create(one, name, secrecy); !errors.Is(err, dataset.ErrNameTaken) {
				t.Errorf("%s, %s: %v", name, secrecy, err)
			}
		}
	}
	for want, ctx := range map[string]context.Context{secret.ID: one, plain.ID: uncleared} {
		if d, err := s.Find(ctx, "Reports"); err != nil || d.ID != want {
			t.Errorf("found %v, %v", d, err)
		}
	}
	if _, err := s.Find(two, "Reports"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("the second tenant finds it: %v", err)
	}
}

// Whether a key is taken doesn't tell that a secret field has it.
func TestKeysOfSecretFields(t *testing.T) {
	s, one, _ := start(t)
	secret := func(f *dataset.FieldInput) { f.Secrecy = dataset.AML }
	d, err := s.Create(one, dataset.CreateInput{Name: "Cases", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{
		field("first"), field("suspicion", secret), field("second"), field("report", secret),
	}})
	if err != nil {
		t.Fatal(err)
	}
	uncleared := as(t, testenv.One)
	add := func(ctx context.Context, version int64, in dataset.FieldInput) error {
		_, err := s.AddField(ctx, dataset.AddFieldInput{Dataset: d.ID, ExpectedVersion: version, Field: in})
		return err
	}
	rename := func(ctx context.Context, version int64, key string) error {
		_, err := s.RenameField(ctx, dataset.RenameFieldInput{Dataset: d.ID, ExpectedVersion: version, Field: d.Fields[0].ID, Key: key})
		return err
	}
	for name, err := range map[string]error{
		"added": add(one, 1, field("suspicion")), "renamed": rename(one, 1, "suspicion"),
		"added by who knows the other": add(uncleared, 1, field("second")), "renamed by who knows it": rename(uncleared, 1, "second"),
	} {
		if errs.KindOf(err) != errs.Conflict {
			t.Errorf("a key is given twice, %s: %v", name, err)
		}
	}
	if a, b := add(uncleared, 1, field("suspicion", secret)), add(uncleared, 1, field("other", secret)); errs.KindOf(a) != errs.Forbidden ||
		errs.KindOf(b) != errs.Forbidden {
		t.Errorf("a secret field added by who must not know of it: %v, %v", a, b)
	}
	if err := errors.Join(add(uncleared, 1, field("suspicion")), rename(uncleared, 2, "report")); err != nil {
		t.Fatalf("who must not know of the field is told: %v", err)
	}
	got, err := s.Get(one, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(got.Fields))
	for i, f := range got.Fields {
		keys[i] = f.Key
	}
	if want := "report suspicion second report suspicion"; strings.Join(keys, " ") != want {
		t.Errorf("fields %v, want %s", keys, want)
	}
	for _, key := range []string{"suspicion", "report"} {
		if f := got.Field(key); f.Secrecy != dataset.AML {
			t.Errorf("to who knows both, %s is the other", key)
		}
	}
	if got, err = s.Get(uncleared, d.ID); err != nil || len(got.Fields) != 3 || got.Field("suspicion").ID == d.Fields[1].ID {
		t.Errorf("to who knows one: %v, %v", got, err)
	}
}

func TestLifeOfADataset(t *testing.T) {
	s, one, two := start(t)
	d, err := s.Create(one, dataset.CreateInput{Name: "KYC case", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{field("caseNo")}})
	if err != nil || d.Version != 1 || d.State != dataset.Active {
		t.Fatal(d, err)
	}
	first := d.Fields[0].ID
	if d, err = s.AddField(one, dataset.AddFieldInput{Dataset: d.ID, ExpectedVersion: 1, Field: field("risk")}); err != nil || d.Version != 2 || d.Fields[1].Since != 2 {
		t.Fatal(d, err)
	}
	d, err = s.RenameField(one, dataset.RenameFieldInput{Dataset: d.ID, ExpectedVersion: 2, Field: first, Key: "number"})
	if err != nil || d.Fields[0].ID != first || d.Fields[0].Key != "number" {
		t.Fatal(d, err)
	}
	if _, err := s.Retire(one, dataset.RetireInput{Dataset: d.ID, ExpectedVersion: 2}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version gives %v", err)
	}
	if d, err = s.Retire(one, dataset.RetireInput{Dataset: d.ID, ExpectedVersion: 3}); err != nil || d.State != dataset.Retired {
		t.Fatal(d, err)
	}
	if _, err := s.AddField(one, dataset.AddFieldInput{Dataset: d.ID, ExpectedVersion: 4, Field: field("more")}); !errors.Is(err, dataset.ErrRetired) {
		t.Errorf("a retired dataset takes a field: %v", err)
	}
	for name, find := range map[string]func() error{
		"id":   func() error { _, err := s.Get(two, d.ID); return err },
		"name": func() error { _, err := s.Find(two, "KYC case"); return err },
		"retire": func() error {
			_, err := s.Retire(two, dataset.RetireInput{Dataset: d.ID, ExpectedVersion: 4})
			return err
		},
	} {
		if err := find(); !errors.Is(err, dataset.ErrNotFound) {
			t.Errorf("the second tenant gets by %s: %v", name, err)
		}
	}
	if list, err := s.List(two); err != nil || len(list) != 0 {
		t.Errorf("the second tenant lists %v, %v", list, err)
	}
	if _, err := s.Create(one, dataset.CreateInput{Name: "kyc CASE", Secrecy: dataset.NoSecrecy}); !errors.Is(err, dataset.ErrNameTaken) {
		t.Errorf("the same name gives %v", err)
	}
	if _, err := s.Create(two, dataset.CreateInput{Name: "KYC case", Secrecy: dataset.NoSecrecy}); err != nil {
		t.Errorf("another tenant's name gives %v", err)
	}
}

func TestFieldRefusals(t *testing.T) {
	s, one, _ := start(t)
	email := dataset.NormaliseEmail
	tests := []struct {
		name  string
		field dataset.FieldInput
		at    string
	}{
		{"key", field("1st"), "fields.1.key"},
		{"type", field("a", func(f *dataset.FieldInput) { f.Type = "" }), "fields.1.type"},
		{"data class", field("a", func(f *dataset.FieldInput) { f.DataClass = "" }), "fields.1.dataClass"},
		{"secrecy", field("a", func(f *dataset.FieldInput) { f.Secrecy = "" }), "fields.1.secrecy"},
		{"lookup", field("a", func(f *dataset.FieldInput) { f.Lookup = "" }), "fields.1.lookup"},
		{"empty key", field(""), "fields.1.key"},
		{"repeated key", field("caseNo"), "fields.1.key"},
		{"enum without values", field("a", func(f *dataset.FieldInput) { f.Type = dataset.TypeEnum }), "fields.1.values"},
		{"repeated value", field("a", func(f *dataset.FieldInput) { f.Type, f.Values = dataset.TypeEnum, []string{"A", "A"} }), "fields.1.values"},
		{"values of a string", field("a", func(f *dataset.FieldInput) { f.Values = []string{"A"} }), "fields.1.values"},
		{"lookup of a bool", field("a", func(f *dataset.FieldInput) { f.Type, f.Lookup = dataset.TypeBool, dataset.Exact }), "fields.1.lookup"},
		{"normaliser without lookup", field("a", func(f *dataset.FieldInput) { f.Normaliser = &email }), "fields.1.normaliser"},
		{"term", field("a", func(f *dataset.FieldInput) { f.Term = new("no term") }), "fields.1.term"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Create(one, dataset.CreateInput{Name: tt.name, Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{field("caseNo"), tt.field}})
			if e, ok := errors.AsType[*errs.Error](err); !ok || e.Field != tt.at {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	file := id.New(id.File, testenv.One)
	tests := []struct {
		typ  dataset.Type
		good []dataset.Raw
		bad  []dataset.Raw
	}{
		{
			dataset.TypeString,
			[]dataset.Raw{dataset.RawJSON("æ"), dataset.RawJSON(strings.Repeat("x", dataset.MaxString))},
			[]dataset.Raw{dataset.RawJSON("a\nb"), dataset.RawJSON(1.0), dataset.RawJSON(strings.Repeat("x", dataset.MaxString+1)), dataset.RawJSON("\xff")},
		},
		{dataset.TypeText, []dataset.Raw{dataset.RawJSON("a\nb")}, []dataset.Raw{dataset.RawJSON("a\x00b"), dataset.RawJSON(true)}},
		{dataset.TypeDate, []dataset.Raw{dataset.RawJSON("2028-02-29")}, []dataset.Raw{dataset.RawJSON("2026-02-29"), dataset.RawJSON("29.02.2028")}},
		{dataset.TypeDateTime, []dataset.Raw{dataset.RawJSON("2026-01-01T00:00:00Z")}, []dataset.Raw{dataset.RawJSON("2026-01-01T00:00:00"), dataset.RawJSON("2026-01-01")}},
		{
			dataset.TypeInt,
			[]dataset.Raw{dataset.RawJSON(int64(-1)), dataset.RawJSON(json.Number("9223372036854775807")), dataset.RawJSON(2.0), dataset.RawText("12")},
			[]dataset.Raw{dataset.RawJSON("12"), dataset.RawJSON(1.5), dataset.RawJSON(json.Number("9223372036854775808")), dataset.RawText("x"), dataset.RawJSON(1e300)},
		},
		{
			dataset.TypeDecimal,
			[]dataset.Raw{dataset.RawJSON("-0.10"), dataset.RawJSON(json.Number("12.5")), dataset.RawText("3")},
			[]dataset.Raw{dataset.RawJSON(0.1), dataset.RawJSON("1e5"), dataset.RawJSON("1,5"), dataset.RawJSON("1."), dataset.RawJSON(".5"), dataset.RawJSON("--1"), dataset.RawJSON("1.2.3"), dataset.RawJSON(""), dataset.RawJSON(strings.Repeat("1", 35))},
		},
		{dataset.TypeBool, []dataset.Raw{dataset.RawJSON(true), dataset.RawText("TRUE")}, []dataset.Raw{dataset.RawJSON("true"), dataset.RawText("yes"), dataset.RawJSON(int64(1))}},
		{dataset.TypeEnum, []dataset.Raw{dataset.RawJSON("LOW")}, []dataset.Raw{dataset.RawJSON("low"), dataset.RawJSON("")}},
		{
			dataset.TypeJSON,
			[]dataset.Raw{dataset.RawJSON(map[string]any{"a": nil}), dataset.RawText(`[1,2]`)},
			[]dataset.Raw{dataset.RawText(`[1,2`), dataset.RawText(`1 2`), dataset.RawJSON(strings.Repeat("x", dataset.MaxJSON))},
		},
		{dataset.TypeFile, []dataset.Raw{dataset.RawJSON(file)}, []dataset.Raw{dataset.RawJSON(id.New(id.File, testenv.Two)), dataset.RawJSON(id.New(id.Record, testenv.One))}},
	}
	for _, tt := range tests {
		f := dataset.Field{Key: "field", Type: tt.typ, Values: []string{"LOW", "HIGH"}}
		for i, raw := range tt.good {
			if v, err := f.Parse(raw, testenv.One); err != nil || v.IsZero() {
				t.Errorf("%s: good value %d gives %v", tt.typ, i, err)
			}
		}
		for i, raw := range tt.bad {
			if _, err := f.Parse(raw, testenv.One); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%s: bad value %d gives %v", tt.typ, i, err)
			}
		}
	}
}

func TestRawRedacts(t *testing.T) {
	r := dataset.RawJSON("planted")
	if s := fmt.Sprintf("%v %+v %#v %s %q", r, r, r, r, []dataset.Raw{r}); strings.Contains(s, "planted") {
		t.Error("a raw value is printed")
	}
}
