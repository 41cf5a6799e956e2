package record_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

// noFiles is for records without files, which have their own tests.
type noFiles struct{ t *testing.T }

func (n noFiles) Attach(context.Context, string, []record.Attachment) error {
	n.t.Error("a record without files attaches one")
	return nil
}

func (noFiles) Detach(context.Context, string, []record.Attachment) ([]job.Spec, error) {
	return nil, nil
}

type world struct {
	*testing.T
	keys     vault.KeyStore
	vault    *vault.Vault
	datasets *dataset.Service
	subjects *subject.Service
	records  *record.Service
}

func start(t *testing.T) (w *world, one, two context.Context) {
	t.Helper()
	db, keys := testenv.Mongo(t), testenv.KeyStore(t)
	v, err := vault.New(vault.Config{Store: keys, KMS: testenv.KMS(t), Now: testenv.Now})
	if err != nil {
		t.Fatal(err)
	}
	changes, recorder := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	log, permit := testenv.Logger(t), testenv.Authorizer(t)
	datasets := dataset.NewService(mongo.NewDatasetStore(db), changes, permit, testenv.Now)
	subjectStore := mongo.NewSubjectStore(db, v, log)
	w = &world{
		T: t, keys: keys, vault: v, datasets: datasets,
		subjects: subject.NewService(subjectStore, changes, recorder, v, permit, denmark{}, testenv.Now),
		records: record.NewService(record.Parts{
			Store: mongo.NewRecordStore(db, v, log), Changes: changes, Recorder: recorder, Vault: v, Looker: permit,
			Datasets: datasets, Subjects: subjectStore, Files: noFiles{t}, Regions: denmark{}, Now: testenv.Now,
		}),
	}
	as := func(of tenant.ID) context.Context {
		ctx := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMachine, ID: id.New(id.APIKey, of), Tenant: of, Clearances: authz.Clearances()})
		return tenant.NewContext(ctx, of)
	}
	return w, as(testenv.One), as(testenv.Two)
}

func text(s string) *personal.Text {
	t := personal.NewText(s)
	return &t
}

func (w *world) subject(ctx context.Context, reference string) *subject.Subject {
	w.Helper()
	s, err := w.subjects.Create(ctx, subject.CreateInput{Reference: text(reference)})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) dataset(ctx context.Context) *dataset.Dataset {
	w.Helper()
	plain := dataset.FieldInput{DataClass: dataset.Ordinary, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup}
	field := func(key string, t dataset.Type, edit func(*dataset.FieldInput)) dataset.FieldInput {
		f := plain
		f.Key, f.Type = key, t
		if edit != nil {
			edit(&f)
		}
		return f
	}
	d, err := w.datasets.Create(ctx, dataset.CreateInput{
		Name: "KYC case", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{
			field("caseNo", dataset.TypeString, func(f *dataset.FieldInput) { f.Required, f.Lookup = true, dataset.Exact }),
			field("risk", dataset.TypeEnum, func(f *dataset.FieldInput) { f.Values = []string{"LOW", "HIGH"} }),
			field("share", dataset.TypeDecimal, nil),
			field("opened", dataset.TypeDate, nil),
			field("seen", dataset.TypeDateTime, nil),
			field("count", dataset.TypeInt, nil),
			field("closed", dataset.TypeBool, nil),
			field("extra", dataset.TypeJSON, nil),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func in(key string, v any) record.FieldInput {
	return record.FieldInput{Key: key, Value: dataset.RawJSON(v)}
}

// values returns what a record shows, by key.
func values(r *record.Record) map[string]any {
	shown := map[string]any{}
	for _, f := range r.Fields {
		shown[f.Key] = f.Value.Reveal()
	}
	return shown
}

func TestWriteReadUpdateDelete(t *testing.T) {
	w, one, two := start(t)
	d, s := w.dataset(one), w.subject(one, "C-1")
	r, err := w.records.Write(one, record.WriteInput{
		Subject: s.ID, Dataset: d.ID, Key: text("K-1"), Origin: record.Provided, Source: text("the form"),
		Fields: []record.FieldInput{
			in("caseNo", "2026-77"), in("risk", "LOW"), in("share", "25.50"), in("opened", "2026-02-28"),
			in("seen", "2026-02-28T10:00:00+01:00"), in("count", int64(3)), in("closed", false), in("extra", map[string]any{"a": []any{"b"}}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.records.Get(one, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	shown := values(got)
	want := map[string]any{
		"caseNo": "2026-77", "risk": "LOW", "share": "25.50", "opened": "2026-02-28", "count": int64(3), "closed": false,
		"extra": `{"a":["b"]}`, "seen": time.Date(2026, 2, 28, 9, 0, 0, 0, time.UTC),
	}
	for key, v := range want {
		if shown[key] != v {
			t.Errorf("%s is wrong", key)
		}
	}
	if got.Source.Reveal() != "the form" || got.Key.Reveal() != "K-1" {
		t.Error("source or key is wrong")
	}

	updated, err := w.records.Update(one, record.UpdateInput{
		ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{in("risk", "HIGH"), in("share", nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if shown := values(updated); shown["risk"] != "HIGH" || shown["caseNo"] != "2026-77" || shown["share"] != nil || updated.Version != 2 {
		t.Error("the update isn't what was asked for")
	}
	if _, err := w.records.Update(one, record.UpdateInput{ID: r.ID, ExpectedVersion: 1}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version is updated: %v", err)
	}

	found, err := w.records.Find(one, record.By{Dataset: d.ID, Field: new(string("caseNo")), Value: personal.NewText("2026-77")}, page.Request{First: 10})
	if err != nil || len(found.Edges) != 1 || found.Edges[0].Node.ID != r.ID {
		t.Errorf("found %v, %v", found, err)
	}

	for _, read := range []func() error{
		func() error { _, err := w.records.Get(two, r.ID); return err },
		func() error { return w.records.Delete(two, record.DeleteInput{ID: r.ID}) },
		func() error {
			_, err := w.records.Update(two, record.UpdateInput{ID: r.ID, ExpectedVersion: 2})
			return err
		},
		func() error {
			_, err := w.records.List(two, record.Query{Subject: s.ID}, page.Request{First: 1})
			return err
		},
		func() error {
			_, err := w.records.List(two, record.Query{Dataset: d.ID}, page.Request{First: 1})
			return err
		},
	} {
		if err := read(); errs.KindOf(err) != errs.NotFound {
			t.Errorf("the second tenant gets %v", err)
		}
	}

	if err := w.records.Delete(one, record.DeleteInput{ID: r.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.records.Get(one, r.ID); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("a deleted record gives %v", err)
	}
	if _, err := w.records.Write(one, record.WriteInput{
		Subject: s.ID, Dataset: d.ID, Key: text("K-1"), Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", "2026-77")},
	}); err != nil {
		t.Errorf("the key of a deleted record is taken: %v", err)
	}
}

func TestWriteRefusals(t *testing.T) {
	w, one, two := start(t)
	d, s, foreign := w.dataset(one), w.subject(one, "C-1"), w.subject(two, "C-1")
	const planted = "planted-value"
	tests := []struct {
		name  string
		edit  func(*record.WriteInput)
		kind  errs.Kind
		field string
	}{
		{"required is missing", func(in *record.WriteInput) { in.Fields = nil }, errs.Invalid, "fields.caseNo"},
		{"unknown field", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("nope", planted)) }, errs.Invalid, "fields.1.key"},
		{"field given twice", func(r *record.WriteInput) {
			r.Fields = append(r.Fields, in(d.Field("caseNo").ID, planted))
		}, errs.Invalid, "fields.1.key"},
		{"not an enum's value", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("risk", planted)) }, errs.Invalid, "fields.1.value"},
		{"no such day", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("opened", "2026-02-29")) }, errs.Invalid, "fields.1.value"},
		{"no number", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("count", planted)) }, errs.Invalid, "fields.1.value"},
		{"half a number", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("count", 1.5)) }, errs.Invalid, "fields.1.value"},
		{"a decimal float", func(r *record.WriteInput) { r.Fields = append(r.Fields, in("share", 0.1)) }, errs.Invalid, "fields.1.value"},
		{"broken UTF-8", func(r *record.WriteInput) { r.Fields[0] = in("caseNo", "a\xff") }, errs.Invalid, "fields.0.value"},
		{"about a stranger", func(r *record.WriteInput) { r.Fields[0].About = &foreign.ID }, errs.Invalid, "fields.0.about"},
		{"foreign subject", func(r *record.WriteInput) { r.Subject = foreign.ID }, errs.NotFound, "subject"},
		{"foreign party", func(r *record.WriteInput) { r.Parties = []record.Party{{Subject: foreign.ID, Role: "owner"}} }, errs.NotFound, "parties.0.subject"},
		{"unknown subject", func(r *record.WriteInput) { r.Subject = id.New(id.Subject, testenv.One) }, errs.NotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			input := record.WriteInput{Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", "1")}}
			tt.edit(&input)
			_, err := w.records.Write(one, input)
			e, ok := errors.AsType[*errs.Error](err)
			if !ok || e.Kind != tt.kind || e.Field != tt.field {
				t.Errorf("got %v at %q", err, e.Field)
			}
			if err != nil && strings.Contains(err.Error(), planted) {
				t.Error("the error shows the value")
			}
		})
	}
	list, err := w.records.List(one, record.Query{Dataset: d.ID}, page.Request{First: 10})
	if err != nil || len(list.Edges) != 0 {
		t.Errorf("a refused record is there: %v, %v", list, err)
	}
}

func TestEachPartyHasItsOwnKey(t *testing.T) {
	w, one, _ := start(t)
	d, firm, owner := w.dataset(one), w.subject(one, "firm"), w.subject(one, "owner")
	r, err := w.records.Write(one, record.WriteInput{
		Subject: firm.ID, Dataset: d.ID, Origin: record.ThirdParty, Parties: []record.Party{{Subject: owner.ID, Role: "owner"}},
		Fields: []record.FieldInput{in("caseNo", "1"), {Key: "share", Value: dataset.RawJSON("50"), About: &owner.ID}},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.records.List(one, record.Query{Subject: owner.ID, Dataset: d.ID}, page.Request{First: 10})
	if err != nil || len(list.Edges) != 1 || list.Edges[0].Node.ID != r.ID {
		t.Fatalf("the party's records are %v, %v", list, err)
	}
	if n, err := list.TotalCount(one); n != 1 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	unit := record.Unit(testenv.One, owner.ID, d.ID)
	if err := w.keys.DestroyDataKey(t.Context(), unit, testenv.Now()); err != nil {
		t.Fatal(err)
	}
	w.vault.Evict(unit)
	got, err := w.records.Get(one, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Fields {
		switch f.Key {
		case "share":
			if f.State != personal.Erased || !f.Value.IsZero() || f.Reason == nil {
				t.Errorf("the destroyed value is %s", f.State)
			}
		case "caseNo":
			if f.State != personal.Clear {
				t.Errorf("the other value is %s", f.State)
			}
		}
	}
	// What can't be read stays as it is when the rest changes, and goes when the
	// party does.
	updated, err := w.records.Update(one, record.UpdateInput{ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{in("caseNo", "2")}})
	if err != nil || len(updated.Fields) != 2 {
		t.Fatalf("got %v, %v", updated, err)
	}
	_, err = w.records.Update(one, record.UpdateInput{
		ID: r.ID, ExpectedVersion: 2, Fields: []record.FieldInput{{Key: "share", Value: dataset.RawJSON("60"), About: &owner.ID}},
	})
	if errs.KindOf(err) != errs.Erased {
		t.Errorf("a value about an erased party gives %v", err)
	}
	updated, err = w.records.Update(one, record.UpdateInput{ID: r.ID, ExpectedVersion: 2, Parties: []record.Party{}})
	if err != nil || len(updated.Fields) != 1 || len(updated.Parties) != 0 {
		t.Errorf("without the party: %v, %v", updated, err)
	}
}

func TestUpsertByKey(t *testing.T) {
	w, one, _ := start(t)
	d, s, other := w.dataset(one), w.subject(one, "C-1"), w.subject(one, "C-2")
	upsert := func(of, no string) (*record.Record, bool, error) {
		return w.records.Upsert(one, record.UpsertInput{
			Subject: of, Dataset: d.ID, Key: personal.NewText("K"), Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", no)},
		})
	}
	first, created, err := upsert(s.ID, "1")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	second, created, err := upsert(s.ID, "2")
	if err != nil || created || second.ID != first.ID || values(second)["caseNo"] != "2" {
		t.Errorf("got %v, %v", created, err)
	}
	if _, _, err := upsert(other.ID, "3"); errs.KindOf(err) != errs.Conflict {
		t.Errorf("another person's key gives %v", err)
	}
}

func TestPagesCoverEveryRecordOnce(t *testing.T) {
	w, one, _ := start(t)
	d, s := w.dataset(one), w.subject(one, "C-1")
	for range 7 {
		if _, err := w.records.Write(one, record.WriteInput{
			Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", "1")},
		}); err != nil {
			t.Fatal(err)
		}
	}
	seen, request := map[string]bool{}, page.Request{First: 3}
	for pages := 0; ; pages++ {
		c, err := w.records.List(one, record.Query{Subject: s.ID}, request)
		if err != nil || pages > 3 {
			t.Fatal(err, pages)
		}
		for _, r := range c.Nodes() {
			if seen[r.ID] {
				t.Errorf("%s is on two pages", r.ID)
			}
			seen[r.ID] = true
		}
		if !c.PageInfo.HasNextPage {
			break
		}
		request.After = c.PageInfo.EndCursor
	}
	if len(seen) != 7 {
		t.Errorf("%d records on all pages", len(seen))
	}
}

func TestIdempotentWrite(t *testing.T) {
	w, one, _ := start(t)
	d, s := w.dataset(one), w.subject(one, "C-1")
	write := func(key, input string) (*record.Record, error) {
		ctx := change.WithIdempotency(one, change.Idempotency{Key: key, Input: []byte(input)})
		return w.records.Write(ctx, record.WriteInput{
			Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", input)},
		})
	}
	first, err := write("a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := write("a", "1"); err != nil || again.ID != first.ID {
		t.Errorf("a replay gives %v, %v", again, err)
	}
	if _, err := write("a", "2"); !errors.Is(err, change.ErrOtherInput) {
		t.Errorf("another input gives %v", err)
	}
	if other, err := write("b", "1"); err != nil || other.ID == first.ID {
		t.Errorf("another key gives %v, %v", other, err)
	}
}

func TestReadsOfARequestAreOneEntry(t *testing.T) {
	w, one, _ := start(t)
	d, s := w.dataset(one), w.subject(one, "C-1")
	r, err := w.records.Write(one, record.WriteInput{
		Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{in("caseNo", "1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, reads := audit.Collect(one)
	for range 3 {
		if _, err := w.records.Get(ctx, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := reads.Len(); n != 1 {
		t.Errorf("%d entries", n)
	}
}
