package imports_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
)

func TestSaveMapping(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	const plain = `{"subject": {"reference": "r"}}`
	for version, name := range []string{"CRM", "crm", "crm"} {
		m, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: name, Document: plain})
		if err != nil || m.Version != min(2, int64(version+1)) || m.Name != name {
			t.Errorf("save %d: %+v, %v", version, m, err)
		}
	}
	if list, err := e.imports.Mappings(ctx); err != nil || len(list) != 1 || list[0].Document != plain {
		t.Errorf("%v, %v", list, err)
	}
	fields := func(rest string) string {
		return `{"subject": {"reference": "r"}, "records": [{"dataset": "D", "origin": "PROVIDED", "fields": {"a": "b"}` + rest + `}]}`
	}
	if _, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "full", Document: fields(
		`, "each": "a[*].b", "key": "{reference}-{index}-{$.c[0]}-{@}", "source": {"const": "s"}, "collectedAt": "$.at"`)}); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct{ document, field string }{
		"no JSON":             {`{`, "document"},
		"two values":          {plain + plain, "document"},
		"broken UTF-8":        {"{\"\xff\": 1}", "document"},
		"unknown key":         {`{"subject": {"reference": "r"}, "persons": 1}`, "document"},
		"unknown key within":  {`{"subject": {"reference": {"path": "r", "is": "x"}}}`, "document"},
		"no reference":        {`{"subject": {}}`, "document.subject.reference"},
		"path and const":      {`{"subject": {"reference": {"path": "r", "const": "x"}}}`, "document"},
		"neither":             {`{"subject": {"reference": {"as": "text"}}}`, "document"},
		"unknown form":        {`{"subject": {"reference": {"path": "r", "as": "xml"}}}`, "document"},
		"malformed path":      {`{"subject": {"reference": "a..b"}}`, "document"},
		"empty path":          {`{"subject": {"reference": ""}}`, "document"},
		"many for one":        {`{"subject": {"reference": "r[*]"}}`, "document.subject.reference"},
		"region":              {`{"subject": {"reference": "r", "phoneRegion": "us"}}`, "document.subject.phoneRegion"},
		"origin":              {strings.Replace(fields(""), "PROVIDED", "GUESSED", 1), "document.records.0.origin"},
		"no dataset":          {strings.Replace(fields(""), `"D"`, `""`, 1), "document.records.0.dataset"},
		"constants only":      {strings.Replace(fields(""), `"b"`, `{"const": 1}`, 1), "document.records.0.fields"},
		"no fields":           {strings.Replace(fields(""), `{"a": "b"}`, `{}`, 1), "document.records.0.fields"},
		"many in a field":     {strings.Replace(fields(""), `"b"`, `"b[*]"`, 1), "document.records.0.fields.a"},
		"constant each":       {fields(`, "each": {"const": []}`), "document.records.0.each"},
		"open brace":          {fields(`, "key": "{a"`), "document"},
		"many in a key":       {fields(`, "key": "{a[*]}"`), "document"},
		"too long":            {plain + strings.Repeat(" ", 300<<10), "document"},
		"key is no text":      {fields(`, "key": 7`), "document"},
		"too deep and no end": {strings.Repeat("[", 100_000), "document"},
	} {
		_, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "bad", Document: tt.document})
		got, ok := errors.AsType[*errs.Error](err)
		if !ok || got.Field != tt.field || got.Kind != errs.Invalid && got.Kind != errs.Limited {
			t.Errorf("%s: %v", name, err)
		} else if got.Field != tt.field {
			t.Errorf("%s: field %s", name, got.Field)
		}
	}
	if _, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: " ", Document: plain}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("no name: %v", err)
	}
}

// Every part of a mapping, on one line and on its next version.
func TestMapping(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	phone := dataset.NormalisePhone
	in := dataset.CreateInput{Name: "Visits", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{
		{Key: "where", Type: dataset.TypeString, Required: true},
		{Key: "desk", Type: dataset.TypeString, Lookup: dataset.Exact, Normaliser: &phone},
		{Key: "room", Type: dataset.TypeString},
		{Key: "guests", Type: dataset.TypeInt},
		{Key: "paid", Type: dataset.TypeBool},
		{Key: "all", Type: dataset.TypeJSON},
		{Key: "raw", Type: dataset.TypeText},
		{Key: "price", Type: dataset.TypeDecimal},
		{Key: "kind", Type: dataset.TypeString},
	}}
	for i := range in.Fields {
		f := &in.Fields[i]
		f.DataClass, f.Secrecy = dataset.Ordinary, dataset.NoSecrecy
		if f.Lookup == "" {
			f.Lookup = dataset.NoLookup
		}
	}
	d, err := e.datasets.Create(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "hotel", Document: `{
		"subject": {
			"reference": "id", "name": {"given": "n.g", "family": "n.f"}, "birthDate": "born",
			"emails": ["mail", "more[*].mail"], "phones": ["tel", "more[0].tel"], "phoneRegion": "US",
			"nationalIds": [{"country": "SE", "number": "se"}]
		},
		"records": [{
			"dataset": "Visits", "each": "visits[*]", "key": "{reference}/{no}", "origin": "OBSERVED",
			"source": "$.system", "collectedAt": "at",
			"fields": {
				"where": "place.city", "desk": "desk", "room": {"path": "room", "as": "text"}, "guests": {"path": "guests", "as": "text"},
				"paid": "paid", "all": "@", "raw": {"path": "extra", "as": "json"}, "price": "price", "kind": {"const": "STAY"}
			}
		}]}`}); err != nil {
		t.Fatal(err)
	}
	run := func(key, line string) *imports.Summary {
		t.Helper()
		sum, err := e.imports.Run(ctx, imports.Input{
			Key: key, Mapping: "Hotel", Format: imports.NDJSON, Mode: imports.Write, Body: strings.NewReader(line),
		})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	const first = `{"id": 4711, "n": {"g": "Ada", "f": "Example"}, "born": "1980-02-29", "mail": "ada@example.com",
		"more": [{"mail": "ADA@example.org", "tel": "+4532121212"}, {}, {"mail": ""}], "tel": "202-555-0123", "se": "19800229-1234",
		"system": "desk 1", "visits": [
			{"no": 1, "place": {"city": "Aarhus"}, "desk": "(202) 555-0142", "room": 12, "guests": "3", "paid": false,
			 "extra": [1, {"b": 2}], "price": 99.90, "at": "2026-02-03"},
			{"no": 2, "at": "2026-02-04T10:00:00+01:00"},
			{"no": 3, "place": {"city": "Odense"}}, null]}`
	sum := run("1", strings.ReplaceAll(first, "\n", " "))
	if sum.Counts != (imports.Counts{Rejected: 1}) || sum.Rejections[0].Field != "records.0.fields.where" {
		t.Fatalf("a required field is missing: %+v", sum) // of visit 2, which has but itself
	}
	whole := strings.ReplaceAll(strings.Replace(first, `{"no": 2, "at": "2026-02-04T10:00:00+01:00"},`, "", 1), "\n", " ")
	if sum = run("2", whole); sum.Counts != (imports.Counts{Created: 1, Records: 2}) {
		t.Fatalf("%+v", sum)
	}
	s := e.find(t, ctx, subject.By{Reference: text("4711")})
	if s == nil || s.Name.Full.Reveal() != "Ada Example" || len(s.Emails) != 2 || len(s.Phones) != 2 ||
		s.Phones[0].Reveal() != "+12025550123" || s.NationalIDs[0].Number.Reveal() != "198002291234" {
		t.Fatal("the subject isn't what the line says")
	}
	byKey := func() *record.Record {
		t.Helper()
		c, err := e.records.Find(ctx, record.By{Dataset: d.ID, Value: *text("4711/1")}, page.Request{First: 1})
		if err != nil || len(c.Edges) != 1 {
			t.Fatalf("%d records, %v", len(c.Edges), err)
		}
		return c.Edges[0].Node
	}
	r := byKey()
	got := map[string]any{}
	for _, f := range r.Fields {
		got[f.Key] = f.Value.Reveal()
	}
	for key, want := range map[string]any{
		"where": "Aarhus", "desk": "+12025550142", "room": "12", "guests": int64(3), "paid": false,
		"raw": `[1,{"b":2}]`, "price": "99.90", "kind": "STAY",
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if all, ok := got["all"].(string); !ok || !strings.HasPrefix(all, `{"at":"2026-02-03","desk"`) {
		t.Errorf("all is %v", got["all"])
	}
	if r.Origin != record.Observed || r.Source.Reveal() != "desk 1" || !r.CollectedAt.Equal(time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("origin %s, collected at %v", r.Origin, r.CollectedAt)
	}

	// What is missing stays, null removes, an empty list empties.
	sum = run("3", `{"id": "4711", "mail": null, "more": [], "visits": [{"no": 1, "place": {"city": "Aarhus"}, "room": null}]}`)
	if sum.Counts != (imports.Counts{Updated: 1, Records: 1}) {
		t.Fatalf("%+v", sum)
	}
	r = byKey()
	got = map[string]any{}
	for _, f := range r.Fields {
		got[f.Key] = f.Value.Reveal()
	}
	if got["room"] != nil || got["guests"] != int64(3) || r.Version != 2 {
		t.Errorf("room %v, guests %v, version %d", got["room"], got["guests"], r.Version)
	}
	if s = e.find(t, ctx, subject.By{Reference: text("4711")}); len(s.Emails) != 0 || len(s.Phones) != 2 || s.Name == nil {
		t.Errorf("%d emails, %d phones", len(s.Emails), len(s.Phones))
	}

	for name, tt := range map[string]struct{ line, field string }{
		"part of a key":  {`{"id": "x", "visits": [{"place": {"city": "A"}}]}`, "records.0.key"},
		"same key twice": {`{"id": "x", "visits": [{"no": 1, "place": {"city": "A"}}, {"no": 1, "place": {"city": "B"}}]}`, "records.0.key"},
		"source":         {`{"id": "x", "system": [], "visits": [{"no": 1, "place": {"city": "A"}}]}`, "records.0.source"},
		"collected at":   {`{"id": "x", "visits": [{"no": 1, "at": "today", "place": {"city": "A"}}]}`, "records.0.collectedAt"},
		"text":           {`{"id": "x", "visits": [{"no": 1, "room": [], "place": {"city": "A"}}]}`, "records.0.fields.room"},
		"phone":          {`{"id": "x", "tel": "12"}`, "subject.phones.0"},
		"e-mail":         {`{"id": "x", "mail": {}}`, "subject.emails.0"},
		"name":           {`{"id": "x", "n": {"g": 7, "f": []}}`, "subject.name.family"},
		"desk":           {`{"id": "x", "visits": [{"no": 1, "desk": "12", "place": {"city": "A"}}]}`, "records.0.fields.desk"},
		"too many":       {`{"id": "x", "visits": [` + strings.Repeat(`{"no": 1},`, 3000) + `1]}`, "records.0"},
	} {
		sum := run(name, tt.line)
		if sum.Counts.Rejected != 1 || !strings.HasPrefix(sum.Rejections[0].Field, tt.field) {
			t.Errorf("%s: %+v", name, sum)
		}
	}
	if e.find(t, ctx, subject.By{Reference: text("x")}) != nil {
		t.Error("a rejected line took effect")
	}
}
