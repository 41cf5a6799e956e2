package policy_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// handler is a context of a case handler with some clearances, who states one of
// the purposes given if there are any.
func handler(t *testing.T, of tenant.ID, purpose string, clearances ...authz.Clearance) context.Context {
	t.Helper()
	p := authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: of, Role: authz.RoleCaseHandler, Clearances: clearances, Purpose: purpose,
		AAL: authz.AAL2, AuthenticatedAt: testenv.Now(),
	}
	if purpose != "" {
		p.Purposes = []string{purpose}
	}
	return authz.NewContext(tenant.NewContext(t.Context(), of), p)
}

func field(key string, of dataset.Type, class dataset.Class, secrecy dataset.Secrecy) dataset.FieldInput {
	f := world.Field(key, of)
	f.DataClass, f.Secrecy = class, secrecy
	if of == dataset.TypeString {
		f.Lookup = dataset.Exact
	}
	return f
}

// kept is what the tenant keeps on a person.
type kept struct {
	*world.World
	all     context.Context // of who may see everything
	person  *subject.Subject
	set     *dataset.Dataset // of all classes
	record  *record.Record
	reports *dataset.Dataset // secret by AML law
	report  *record.Record
	scan    *file.File // named by a confidential field
}

func keep(t *testing.T) *kept {
	t.Helper()
	w := world.Start(t)
	k := &kept{World: w, all: w.As(testenv.One)}
	reference := personal.NewText("C-1")
	var err error
	k.person, err = w.Subjects.Create(k.all, subject.CreateInput{
		Reference:   &reference,
		NationalIDs: []subject.NationalID{{Country: "DK", Number: personal.NewText("010136-4003")}, {Country: "SE", Number: personal.NewText("360101-1234")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.set = w.Dataset(k.all, "Cases",
		field("title", dataset.TypeString, dataset.Ordinary, dataset.NoSecrecy),
		field("cpr", dataset.TypeString, dataset.NationalID, dataset.NoSecrecy),
		field("number", dataset.TypeInt, dataset.NationalID, dataset.NoSecrecy),
		field("illness", dataset.TypeString, dataset.Art9, dataset.NoSecrecy),
		field("sentence", dataset.TypeString, dataset.Art10, dataset.NoSecrecy),
		field("scan", dataset.TypeFile, dataset.Confidential, dataset.NoSecrecy),
		field("suspicion", dataset.TypeString, dataset.Ordinary, dataset.AML),
	)
	k.scan = w.Upload(k.all, k.person, k.set, "scan.txt", "the document")
	key, source := personal.NewText("K-1"), personal.NewText("the form")
	k.record, err = w.Records.Write(k.all, record.WriteInput{
		Subject: k.person.ID, Dataset: k.set.ID, Origin: record.Provided, Key: &key, Source: &source, Fields: []record.FieldInput{
			world.Value("title", "A case"), world.Value("cpr", "0101364003"), world.Value("number", int64(36)),
			world.Value("illness", "asthma"), world.Value("sentence", "a fine"), world.Value("scan", k.scan.ID),
			world.Value("suspicion", "smurfing"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.reports, err = w.Datasets.Create(k.all, dataset.CreateInput{
		Name: "Reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{field("text", dataset.TypeString, dataset.Ordinary, dataset.NoSecrecy)},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.report = w.Record(k.all, k.person, k.reports, world.Value("text", "reported"))
	return k
}

// shown returns how a record's fields look: key, state, reason and value.
func shown(r *record.Record) map[string]string {
	fields := map[string]string{}
	for _, f := range r.Fields {
		look := string(f.State)
		if f.Reason != nil {
			look += " " + string(*f.Reason)
		}
		if text, ok := f.Value.RevealString(); ok {
			look += " " + text
		} else if !f.Value.IsZero() {
			look += " some"
		}
		fields[f.Key] = look
	}
	return fields
}

func TestRecordOfManyClasses(t *testing.T) {
	k := keep(t)
	withheld := func(reason authz.Reason) string { return "WITHHELD " + string(reason) }
	none := map[string]string{
		"title": "CLEAR A case", "cpr": "MASKED CLEARANCE_NATIONAL_ID 010136-****", "number": withheld(authz.ReasonNationalID),
		"illness": withheld(authz.ReasonArt9), "sentence": withheld(authz.ReasonArt10), "scan": withheld(authz.ReasonConfidential),
	}
	with := func(key, look string) map[string]string {
		some := maps.Clone(none)
		some[key] = look
		return some
	}
	tests := []struct {
		name       string
		clearances []authz.Clearance
		want       map[string]string
	}{
		{"no clearance", nil, none},
		{"ART9", []authz.Clearance{authz.ClearArt9}, with("illness", "CLEAR asthma")},
		{"ART10", []authz.Clearance{authz.ClearArt10}, with("sentence", "CLEAR a fine")},
		{"CONFIDENTIAL", []authz.Clearance{authz.ClearConfidential}, with("scan", "CLEAR "+k.scan.ID)},
		{"AML", []authz.Clearance{authz.ClearAML}, with("suspicion", "CLEAR smurfing")},
		{"all", authz.Clearances(), map[string]string{
			"title": "CLEAR A case", "cpr": "CLEAR 0101364003", "number": "CLEAR some", "illness": "CLEAR asthma",
			"sentence": "CLEAR a fine", "scan": "CLEAR " + k.scan.ID, "suspicion": "CLEAR smurfing",
		}},
	}
	for _, tt := range tests {
		ctx := handler(t, testenv.One, "", tt.clearances...)
		got, err := k.Records.Get(ctx, k.record.ID)
		if err != nil {
			t.Fatal(err)
		}
		listed, err := k.Records.List(ctx, record.Query{Dataset: k.set.ID}, page.Request{First: 10})
		if err != nil || len(listed.Edges) != 1 {
			t.Fatalf("%s: %v", tt.name, err)
		}
		updated, err := k.Records.Update(ctx, record.UpdateInput{ID: got.ID, ExpectedVersion: got.Version, Fields: []record.FieldInput{world.Value("title", "A case")}})
		if err != nil {
			t.Fatal(err)
		}
		for how, r := range map[string]*record.Record{"read": got, "listed": listed.Nodes()[0], "updated": updated} {
			fields := shown(r)
			for key, want := range tt.want {
				if fields[key] != want {
					t.Errorf("%s, %s: %s is %q, want %q", tt.name, how, key, fields[key], want)
				}
			}
			if len(fields) != len(tt.want) {
				t.Errorf("%s, %s: %d fields, want %d", tt.name, how, len(fields), len(tt.want))
			}
		}
	}
	// The updates of callers who saw little have lost nothing, not even what they don't know of.
	got, err := k.Records.Get(k.all, k.record.ID)
	if err != nil {
		t.Fatal(err)
	}
	if fields := shown(got); len(fields) != 7 || fields["suspicion"] != "CLEAR smurfing" || fields["illness"] != "CLEAR asthma" {
		t.Errorf("after the updates: %v", fields)
	}
	found, err := k.Records.Find(k.all, record.By{Dataset: k.set.ID, Field: new(string("suspicion")), Value: personal.NewText("smurfing")}, page.Request{First: 5})
	if err != nil || len(found.Edges) != 1 {
		t.Errorf("the lookup of a hidden field is lost: %v", err)
	}
	if _, err := k.Records.Get(handler(t, testenv.Two, "", authz.Clearances()...), k.record.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("the second tenant gets %v", err)
	}
}

// rule returns the kind and rule of an error.
func rule(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return err.Error()
	}
	return strings.TrimSpace(string(e.Kind) + " " + e.Rule)
}

// TestNothingCanBeTried: what a caller may not see can't be found by, written or
// fetched, and so not be guessed.
func TestNothingCanBeTried(t *testing.T) {
	k := keep(t)
	none := handler(t, testenv.One, "")
	find := func(ctx context.Context, key string) error {
		_, err := k.Records.Find(ctx, record.By{Dataset: k.set.ID, Field: &key, Value: personal.NewText("asthma")}, page.Request{First: 5})
		return err
	}
	write := func(ctx context.Context, key string, v any) error {
		_, err := k.Records.Update(ctx, record.UpdateInput{ID: k.record.ID, ExpectedVersion: 1, Fields: []record.FieldInput{world.Value(key, v)}})
		return err
	}
	national := []subject.NationalID{{Country: "DK", Number: personal.NewText("010136-4003")}}
	reference := personal.NewText("C-2")
	tests := []struct {
		name string
		try  func() error
		want string
	}{
		{"find by a withheld field", func() error { return find(none, "illness") }, "FORBIDDEN CLEARANCE_ART9"},
		{"find by a masked field", func() error { return find(none, "cpr") }, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
		{"find by a field nobody knows of", func() error { return find(none, "suspicion") }, "INVALID"},
		{"find by a field that isn't there", func() error { return find(none, "nothing") }, "INVALID"},
		{"find with the clearance", func() error { return find(handler(t, testenv.One, "", authz.ClearArt9), "illness") }, ""},
		{"write a withheld field", func() error { return write(none, "illness", "asthma") }, "FORBIDDEN CLEARANCE_ART9"},
		{"remove a withheld field", func() error { return write(none, "illness", nil) }, "FORBIDDEN CLEARANCE_ART9"},
		{"write a field nobody knows of", func() error { return write(none, "suspicion", "x") }, "INVALID"},
		{"find by national id", func() error {
			_, err := k.Subjects.Find(none, subject.By{NationalID: &national[0]}, page.Request{First: 5})
			return err
		}, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
		{"create with a national id", func() error {
			_, err := k.Subjects.Create(none, subject.CreateInput{NationalIDs: national})
			return err
		}, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
		{"upsert with a national id", func() error {
			_, _, err := k.Subjects.Upsert(none, subject.UpsertInput{Reference: reference, NationalIDs: national})
			return err
		}, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
		{"clear national ids", func() error {
			_, err := k.Subjects.Update(none, subject.UpdateInput{ID: k.person.ID, ExpectedVersion: 1, NationalIDs: []subject.NationalID{}})
			return err
		}, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
		{"create with the national id of another, with the clearance", func() error {
			_, err := k.Subjects.Create(handler(t, testenv.One, "", authz.ClearNationalID), subject.CreateInput{NationalIDs: national})
			return err
		}, "CONFLICT"},
		{"fetch a withheld file", func() error { _, err := k.Files.Get(none, k.scan.ID); return err }, "FORBIDDEN CLEARANCE_CONFIDENTIAL"},
		{"link to a withheld file", func() error {
			_, err := k.Downloads.Grant(none, download.GrantInput{Object: k.scan.ID})
			return err
		}, "FORBIDDEN CLEARANCE_CONFIDENTIAL"},
		{"link to a file with the clearance", func() error {
			_, err := k.Downloads.Grant(handler(t, testenv.One, "", authz.ClearConfidential), download.GrantInput{Object: k.scan.ID})
			return err
		}, ""},
		{"export all of it", func() error {
			_, err := k.Exports.Request(none, export.RequestInput{Subject: k.person.ID})
			return err
		}, "FORBIDDEN CLEARANCE_NATIONAL_ID"},
	}
	for _, tt := range tests {
		if got := rule(tt.try()); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	k := keep(t)
	s, err := k.Subjects.Get(handler(t, testenv.One, ""), k.person.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s.Identity != personal.Masked || s.IdentityReason == nil || *s.IdentityReason != authz.ReasonNationalID || s.Reference.Reveal() != "C-1" ||
		len(s.NationalIDs) != 2 || s.NationalIDs[0].Number.Reveal() != "010136-****" || s.NationalIDs[1].Number.Reveal() != "****" {
		t.Errorf("masked: %s %v", s.Identity, s.IdentityReason)
	}
	s, err = k.Subjects.Get(handler(t, testenv.One, "", authz.ClearNationalID), k.person.ID)
	if err != nil || s.Identity != personal.Clear || s.IdentityReason != nil || s.NationalIDs[0].Number.Reveal() != "0101364003" {
		t.Errorf("with the clearance: %v %v", s, err)
	}
	// What was masked for an answer was not stored.
	if _, _, err := k.Subjects.Upsert(handler(t, testenv.One, ""), subject.UpsertInput{Reference: personal.NewText("C-1"), Emails: []personal.Text{personal.NewText("a@example.test")}}); err != nil {
		t.Fatal(err)
	}
	s, err = k.Subjects.Get(k.all, k.person.ID)
	if err != nil || s.NationalIDs[0].Number.Reveal() != "0101364003" || len(s.Emails) != 1 {
		t.Errorf("after an update by who sees less: %v", err)
	}
}

// TestSecretDataIsNotThere compares what somebody without the clearance for it
// sees with what there is.
func TestSecretDataIsNotThere(t *testing.T) {
	k := keep(t)
	none := handler(t, testenv.One, "", authz.ClearArt9, authz.ClearArt10, authz.ClearConfidential, authz.ClearNationalID)
	sets, err := k.Datasets.List(none)
	if err != nil || len(sets) != 1 || sets[0].ID != k.set.ID || len(sets[0].Fields) != 6 {
		t.Errorf("datasets: %v %v", sets, err)
	}
	list, err := k.Records.List(none, record.Query{Subject: k.person.ID}, page.Request{First: 1})
	if err != nil {
		t.Fatal(err)
	}
	n, err := list.TotalCount(none)
	if err != nil || n != 1 || len(list.Edges) != 1 || list.Edges[0].Node.ID != k.record.ID || list.PageInfo.HasNextPage {
		t.Errorf("records: %d %v %v", n, list.Edges, err)
	}
	if list, err = k.Records.List(k.all, record.Query{Subject: k.person.ID}, page.Request{First: 5}); err != nil || len(list.Edges) != 2 {
		t.Errorf("with the clearance: %v", err)
	}
	same := func(name string, unknown, secret error) {
		t.Helper()
		a, _ := errors.AsType[*errs.Error](unknown)
		b, ok := errors.AsType[*errs.Error](secret)
		if !ok || a == nil || a.Kind != b.Kind || a.Message != b.Message || a.Field != b.Field || a.Rule != b.Rule {
			t.Errorf("%s: %v for what is secret, %v for what isn't there", name, secret, unknown)
		}
	}
	absent := func(id string) string { return id[:len(id)-4] + "aaaa" }
	for name, ask := range map[string]func(set, rec string) error{
		"dataset": func(set, _ string) error { _, err := k.Datasets.Get(none, set); return err },
		"record":  func(_, rec string) error { _, err := k.Records.Get(none, rec); return err },
		"records": func(set, _ string) error {
			_, err := k.Records.List(none, record.Query{Dataset: set}, page.Request{First: 1})
			return err
		},
		"find": func(set, _ string) error {
			_, err := k.Records.Find(none, record.By{Dataset: set, Field: new(string("text")), Value: personal.NewText("reported")}, page.Request{First: 1})
			return err
		},
		"write": func(set, _ string) error {
			_, err := k.Records.Write(none, record.WriteInput{Subject: k.person.ID, Dataset: set, Origin: record.Provided})
			return err
		},
		"update": func(_, rec string) error {
			_, err := k.Records.Update(none, record.UpdateInput{ID: rec, ExpectedVersion: 1})
			return err
		},
		"delete": func(_, rec string) error { return k.Records.Delete(none, record.DeleteInput{ID: rec}) },
		"retire": func(set, _ string) error {
			_, err := k.Datasets.Retire(none, dataset.RetireInput{Dataset: set, ExpectedVersion: 1})
			return err
		},
		"upload": func(set, _ string) error {
			_, err := k.Files.Upload(none, file.UploadInput{Subject: k.person.ID, Dataset: set, Name: personal.NewText("x")}, strings.NewReader("x"))
			return err
		},
	} {
		same(name, ask(absent(k.reports.ID), absent(k.report.ID)), ask(k.reports.ID, k.report.ID))
	}
	for name, in := range map[string]dataset.CreateInput{
		"dataset": {Name: "More reports", Secrecy: dataset.AML},
		"field":   {Name: "More", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{field("text", dataset.TypeString, dataset.Ordinary, dataset.AML)}},
	} {
		if _, err := k.Datasets.Create(none, in); rule(err) != "FORBIDDEN CLEARANCE_AML" {
			t.Errorf("a secret %s made by who could not see it: %v", name, err)
		}
	}
}

func TestRestriction(t *testing.T) {
	k := keep(t)
	k.SetState(k.all, k.person, subject.Restricted)
	ctx := handler(t, testenv.One, "", authz.Clearances()...)
	s, err := k.Subjects.Get(ctx, k.person.ID)
	if err != nil || s.Identity != personal.Withheld || s.IdentityReason == nil || *s.IdentityReason != authz.ReasonRestricted ||
		!s.Reference.IsZero() || s.NationalIDs != nil || s.State != subject.Restricted {
		t.Errorf("identity: %v %v", s, err)
	}
	r, err := k.Records.Get(ctx, k.record.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Key.IsZero() || !r.Source.IsZero() {
		t.Error("key or source is shown")
	}
	for key, look := range shown(r) {
		if look != "WITHHELD RESTRICTED" {
			t.Errorf("%s is %s", key, look)
		}
	}
	for name, err := range map[string]error{
		"update": func() error {
			_, err := k.Records.Update(ctx, record.UpdateInput{ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{world.Value("title", "x")}})
			return err
		}(),
		"fetch":  func() error { _, err := k.Files.Get(ctx, k.scan.ID); return err }(),
		"export": func() error { _, err := k.Exports.Request(ctx, export.RequestInput{Subject: k.person.ID}); return err }(),
	} {
		if errs.KindOf(err) != errs.Precondition {
			t.Errorf("%s: got %v", name, err)
		}
	}
	claims := handler(t, testenv.One, "art18.claims", authz.Clearances()...)
	if r, err := k.Records.Get(claims, k.record.ID); err != nil || shown(r)["title"] != "CLEAR A case" {
		t.Errorf("for claims: %v", err)
	}
	if _, err := k.Exports.Request(claims, export.RequestInput{Subject: k.person.ID}); err != nil {
		t.Errorf("export for claims: %v", err)
	}
}

// A hit would confirm the value, so there is none; pages and counts know of none.
func TestRestrictedIsNotFound(t *testing.T) {
	w := world.Start(t)
	all := w.As(testenv.One)
	set := w.Dataset(all, "Cases", field("title", dataset.TypeString, dataset.Ordinary, dataset.NoSecrecy))
	email, title := personal.NewText("same@kunde.example"), personal.NewText("same")
	var people []*subject.Subject
	for range 5 {
		s, err := w.Subjects.Create(all, subject.CreateInput{Emails: []personal.Text{email}})
		if err != nil {
			t.Fatal(err)
		}
		people = append(people, s)
	}
	for i, s := range people {
		key := personal.NewText("K-" + string(rune('0'+i)))
		party := people[(i+1)%len(people)]
		_, err := w.Records.Write(all, record.WriteInput{
			Subject: s.ID, Dataset: set.ID, Origin: record.Provided, Key: &key, Parties: []record.Party{{Subject: party.ID, Role: "payer"}},
			Fields: []record.FieldInput{world.About(party.ID, "title", "same")},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.SetState(all, people[1], subject.Restricted)
	w.SetState(all, people[2], subject.Restricted)
	subjects := func(ctx context.Context) (found, count int) {
		request := page.Request{First: 1}
		for {
			c, err := w.Subjects.Find(ctx, subject.By{Email: &email}, request)
			if err != nil {
				t.Fatal(err)
			}
			if found += len(c.Edges); !c.PageInfo.HasNextPage {
				count, err = c.TotalCount(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return found, count
			}
			request.After = c.PageInfo.EndCursor
		}
	}
	records := func(ctx context.Context, by record.By) (found, count int) {
		request := page.Request{First: 1}
		for {
			c, err := w.Records.Find(ctx, by, request)
			if err != nil {
				t.Fatal(err)
			}
			if found += len(c.Edges); !c.PageInfo.HasNextPage {
				count, err = c.TotalCount(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return found, count
			}
			request.After = c.PageInfo.EndCursor
		}
	}
	for purpose, want := range map[string]int{"": 3, "art18.claims": 5} {
		ctx := handler(t, testenv.One, purpose, authz.Clearances()...)
		if found, count := subjects(ctx); found != want || count != want {
			t.Errorf("for %q: %d subjects, counted %d, want %d", purpose, found, count, want)
		}
		by := record.By{Dataset: set.ID, Field: &set.Fields[0].Key, Value: title}
		if found, count := records(ctx, by); found != want || count != want {
			t.Errorf("for %q: %d records, counted %d, want %d", purpose, found, count, want)
		}
		for i, want := range []int{1, min(1, want-3), min(1, want-3), 1, 1} {
			by := record.By{Dataset: set.ID, Value: personal.NewText("K-" + string(rune('0'+i)))}
			if found, count := records(ctx, by); found != want || count != want {
				t.Errorf("for %q: %d records by the key of person %d, counted %d, want %d", purpose, found, i, count, want)
			}
		}
	}
}

func TestPurposes(t *testing.T) {
	w := world.Start(t)
	all := w.As(testenv.One)
	d, err := w.Datasets.Create(all, dataset.CreateInput{
		Name: "Newsletter", Secrecy: dataset.NoSecrecy, Purposes: []string{"dpv:DirectMarketing"},
		Fields: []dataset.FieldInput{field("topic", dataset.TypeString, dataset.Ordinary, dataset.NoSecrecy)},
	})
	if err != nil {
		t.Fatal(err)
	}
	marketing := handler(t, testenv.One, "dpv:DirectMarketing")
	r, err := w.Records.Write(marketing, record.WriteInput{
		Subject: w.Subject(all, "C-1").ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("topic", "tax")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for purpose, want := range map[string]string{
		"": "WITHHELD PURPOSE", "dpv:ServiceProvision": "WITHHELD PURPOSE", "dpv:DirectMarketing": "CLEAR tax",
	} {
		got, err := w.Records.Get(handler(t, testenv.One, purpose), r.ID)
		if err != nil || shown(got)["topic"] != want {
			t.Errorf("for %q: %v %v", purpose, shown(got), err)
		}
	}
	// Nor does anything else tell what is withheld, such as the record's key.
	none, key := handler(t, testenv.One, ""), personal.NewText("K-1")
	if _, err := w.Records.Find(none, record.By{Dataset: d.ID, Value: key}, page.Request{First: 1}); rule(err) != "FORBIDDEN PURPOSE" {
		t.Errorf("found by its key: %v", err)
	}
	_, err = w.Records.Write(none, record.WriteInput{Subject: r.SubjectID, Dataset: d.ID, Origin: record.Provided, Key: &key})
	if rule(err) != "FORBIDDEN PURPOSE" {
		t.Errorf("written with a key: %v", err)
	}
	bad := dataset.CreateInput{Name: "Other", Secrecy: dataset.NoSecrecy, Purposes: []string{"two words"}}
	if _, err := w.Datasets.Create(all, bad); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a purpose that nobody can state: %v", err)
	}
}

func TestCanAndExplain(t *testing.T) {
	k := keep(t)
	s := policy.NewService(policy.Config{
		Engine: testenv.Authorizer(t), Subjects: k.Subjects, Records: k.Records, Files: k.Files, Datasets: k.Datasets,
		Recorder: k.Recorder, Now: k.Now,
	})
	none, claims := handler(t, testenv.One, ""), handler(t, testenv.One, "art18.claims", authz.Clearances()...)
	can := func(ctx context.Context, do authz.Permission, on string) string {
		t.Helper()
		var object *string
		if on != "" {
			object = &on
		}
		a, err := s.Can(ctx, do, object)
		if err != nil {
			return rule(err)
		}
		if a.Reason == "" {
			t.Errorf("%s on %s: no reason", do, on)
		}
		if a.Allowed {
			return "yes by " + a.Policy
		}
		if a.Rule == nil {
			return "no by " + a.Policy
		}
		return "no by " + a.Policy + ": " + *a.Rule
	}
	tests := []struct {
		name string
		ctx  context.Context
		do   authz.Permission
		on   string
		want string
	}{
		{"permitted", none, authz.RecordRead, "", "yes by role.caseHandler"},
		{"not permitted", none, authz.RecordDelete, "", "no by none: RECORD_DELETE"},
		{"an object", none, authz.RecordRead, k.record.ID, "yes by role.caseHandler"},
		{"a person", none, authz.SubjectWrite, k.person.ID, "yes by role.caseHandler"},
		{"a dataset", none, authz.DatasetRead, k.set.ID, "yes by role.caseHandler"},
		{"a file", none, authz.FileRead, k.scan.ID, "no by clearance.confidential: CLEARANCE_CONFIDENTIAL"},
		{"what is secret", none, authz.RecordRead, k.report.ID, "NOT_FOUND"},
		{"a secret dataset", none, authz.DatasetRead, k.reports.ID, "NOT_FOUND"},
		{"of another tenant", handler(t, testenv.Two, "", authz.Clearances()...), authz.RecordRead, k.record.ID, "NOT_FOUND"},
		{"no object", none, authz.RecordRead, "nothing", "NOT_FOUND"},
		{"nobody", t.Context(), authz.RecordRead, k.record.ID, "no by anonymous"},
	}
	for _, tt := range tests {
		if got := can(tt.ctx, tt.do, tt.on); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	k.SetState(k.all, k.person, subject.Restricted)
	if got := can(none, authz.RecordRead, k.record.ID); got != "no by art18.restriction: RESTRICTED" {
		t.Errorf("restricted: %s", got)
	}
	if got := can(claims, authz.RecordRead, k.record.ID); got != "yes by role.caseHandler" {
		t.Errorf("restricted, for claims: %s", got)
	}
	if got := can(claims, authz.RecordWrite, k.record.ID); got != "no by art18.restriction: art18.restriction" {
		t.Errorf("writing what is restricted, for claims: %s", got)
	}
	may, err := s.Permissions(claims, &k.record.ID)
	if err != nil || !slices.Contains(may, authz.RecordRead) || slices.Contains(may, authz.RecordWrite) {
		t.Errorf("permissions on what is restricted: %v %v", may, err)
	}
	x, err := s.Explain(none, policy.ExplainInput{Action: authz.RecordRead, On: &k.record.ID})
	if err != nil || x.Allowed {
		t.Fatalf("explained: %+v %v", x, err)
	}
	var names []string
	for _, p := range x.Policies {
		names = append(names, p.Name)
		if p.Source == "" || p.Tenant || (p.Effect == authz.EffectForbid) == strings.Contains(p.Source, "permit (") {
			t.Errorf("%+v", p)
		}
	}
	for _, want := range []string{"role.caseHandler", "data.reader", "art18.restriction", "clearance.art9", "clearance.nationalId"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s isn't named: %v", want, names)
		}
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "secrecy") }) {
		t.Errorf("the explanation tells of what is secret: %v", names)
	}

	// Whoever may not ask about others can't have the log keep a text of theirs.
	for _, text := range []string{"Ann Larsen, 010136-4003", "mem_" + strings.TrimPrefix(string(testenv.Two), "ten_") + "x"} {
		if _, err := s.Explain(none, policy.ExplainInput{Action: authz.RecordRead, Member: &text}); errs.KindOf(err) != errs.Forbidden {
			t.Errorf("asking about %q gives %v", text, err)
		}
		if got := k.Entries(none, text); len(got) > 0 {
			t.Errorf("the log keeps %q: %v", text, got)
		}
	}
	if got := k.Entries(none, ""); !slices.Contains(got, "explainDecision") {
		t.Errorf("the refusal is not in the log: %v", got)
	}
}
