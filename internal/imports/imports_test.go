package imports_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/testdata/legislators"
)

// The real file: everybody is imported and found, a second import changes
// nothing, and another tenant sees nobody.
func TestLegislators(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.demo(t, ctx)
	base := e.serve(t, ctx)

	query := "mapping=" + legislators.MappingName
	got := send(t, base, upload{query: query + "&mode=check", body: bytes.NewReader(legislators.Lines())})
	if got.Status != 200 || got.Mode != "check" || got.Created != legislators.Count || got.Rejected != 0 {
		t.Fatalf("check: %+v", got)
	}
	got = send(t, base, upload{query: query, key: "first", body: bytes.NewReader(legislators.Lines())})
	const records = 537 + 2792 + 536 + 1312
	if got.Status != 200 || got.Mode != "write" || got.Lines != legislators.Count ||
		got.counts() != [5]int64{legislators.Count, 0, 0, records, 0} || got.State != "DONE" {
		t.Fatalf("first import: %+v", got)
	}

	other := portal(t, testenv.Two)
	phones := 0
	for line := range bytes.Lines(legislators.Lines()) {
		var person struct {
			Reference, Phone, Birthday string
			Name                       map[string]string
		}
		if err := json.Unmarshal(line, &person); err != nil {
			t.Fatal(err)
		}
		byReference := subject.By{Reference: text(person.Reference)}
		found := e.find(t, ctx, byReference)
		if found == nil {
			t.Fatalf("%s isn't found by reference", person.Reference)
		}
		if found.BirthDate.Reveal() != person.Birthday {
			t.Errorf("%s: wrong birth date", person.Reference)
		}
		name := person.Name["official_full"]
		if name == "" {
			name = person.Name["first"] + " " + person.Name["last"]
		}
		by := subject.By{NameAndBirthDate: &subject.NameAndBirthDate{
			Name: personal.NewText(name), BirthDate: personal.NewText(person.Birthday),
		}}
		if one := e.find(t, ctx, by); one == nil || one.ID != found.ID {
			t.Errorf("%s isn't found by name and birth date", person.Reference)
		}
		if person.Phone != "" {
			phones++
			us := "US"
			if one := e.find(t, ctx, subject.By{Phone: text(person.Phone), PhoneRegion: &us}); one == nil || one.ID != found.ID {
				t.Errorf("%s isn't found by phone", person.Reference)
			}
		}
		if e.find(t, other, byReference) != nil {
			t.Fatal("another tenant finds a person")
		}
	}
	if phones != 536 {
		t.Errorf("%d phones", phones)
	}
	d, err := e.datasets.Find(ctx, "Offices")
	if err != nil {
		t.Fatal(err)
	}
	phone := "phone"
	c, err := e.records.Find(ctx, record.By{
		Dataset: d.ID, Field: &phone, Value: personal.NewText("+14253030114"),
	}, page.Request{First: 5})
	if err != nil || len(c.Edges) != 1 {
		t.Fatalf("office by phone: %v", err)
	}

	got = send(t, base, upload{query: query, key: "second", body: bytes.NewReader(legislators.Lines())})
	if got.Status != 200 || got.counts() != [5]int64{0, 0, legislators.Count, 0, 0} {
		t.Fatalf("second import: %+v", got)
	}

	// One person moves: only that line is updated, only that record written.
	moved := bytes.Replace(legislators.Lines(), []byte("2930 Wetmore Ave."), []byte("2931 Wetmore Ave."), 1)
	got = send(t, base, upload{query: query, key: "third", body: bytes.NewReader(moved)})
	if got.Status != 200 || got.counts() != [5]int64{0, 1, legislators.Count - 1, 1, 0} {
		t.Fatalf("third import: %+v", got)
	}
}

func TestRejectedLines(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	d := e.members(t, ctx)
	base := e.serve(t, ctx)
	const secret = "Aagaard-7731"
	bad := []struct {
		name, line, field, code string
	}{
		{"malformed", `{"reference": "` + secret, "", "INVALID"},
		{"two values", `{"reference": "a"} {"reference": "` + secret + `"}`, "", "INVALID"},
		{"no object", `["` + secret + `"]`, "", "INVALID"},
		{"broken UTF-8", "{\"reference\": \"" + secret + "\xff\"}", "", "INVALID"},
		{"no reference", `{"level": "GOLD", "note": "` + secret + `"}`, "reference", "INVALID"},
		{"reference of another type", `{"reference": {"x": "` + secret + `"}}`, "reference", "INVALID"},
		{"wrong type", `{"reference": "r1", "points": "` + secret + `"}`, "fields.points", "INVALID"},
		{"not of the list", `{"reference": "r2", "level": "` + secret + `"}`, "fields.level", "INVALID"},
		{"no such day", `{"reference": "r3", "since": "2026-02-30", "note": "` + secret + `"}`, "fields.since", "INVALID"},
		{"unknown field", `{"reference": "r4", "` + secret + `": 1}`, "fields", "INVALID"},
		{"unknown name beside fields", `{"reference": "r5", "fields": {}, "` + secret + `": 1}`, "", "INVALID"},
		{"deep", `{"reference": "r6", "note": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "", "INVALID"},
		{"too long", `{"reference": "r7", "note": "` + strings.Repeat("x", 17<<20) + `"}`, "", "LIMITED"},
	}
	file := []string{`{"reference": "first", "level": "GOLD"}`, "", "   "}
	for _, b := range bad {
		file = append(file, b.line)
	}
	file = append(file, `{"reference": "last", "level": "SILVER"}`)
	for _, query := range []string{"dataset=Members&mode=check", "dataset=" + d.ID} {
		got := send(t, base, upload{query: query, key: "bad", body: lines(file...)})
		if got.Status != http.StatusOK || got.counts() != [5]int64{2, 0, 0, 2, int64(len(bad))} || len(got.Rejections) != len(bad) {
			t.Fatalf("%s: %+v", query, got)
		}
		for i, b := range bad {
			r := got.Rejections[i]
			if r.Line != int64(4+i) || r.Field != b.field || string(r.Code) != b.code || r.Message == "" {
				t.Errorf("%s: %+v", b.name, r)
			}
			if strings.Contains(r.Message+r.Field, secret) {
				t.Errorf("%s: the value is told", b.name)
			}
		}
	}
	if e.find(t, ctx, subject.By{Reference: text("r1")}) != nil {
		t.Error("a rejected line took effect")
	}
	if e.find(t, ctx, subject.By{Reference: text("last")}) == nil {
		t.Error("a good line didn't take effect")
	}
}

// What an insert refuses is found line by line, and the rest of the batch stays.
func TestConflicts(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	_, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "People", Document: `{
		"subject": {"reference": "ref", "nationalIds": [{"country": "DK", "number": "cpr"}]},
		"records": [{"dataset": "Members", "key": "key", "origin": "PROVIDED", "fields": {"level": "level"}}]}`})
	if err != nil {
		t.Fatal(err)
	}
	base := e.serve(t, ctx)
	file := make([]string, 100)
	for i := range file {
		file[i] = fmt.Sprintf(`{"ref": "p%d", "key": "k%d", "level": "GOLD"}`, i, i)
	}
	file[10] = `{"ref": "p10", "key": "k10", "level": "GOLD", "cpr": "010136-4003"}`
	file[40] = `{"ref": "p40", "key": "k40", "level": "GOLD", "cpr": "0101364003"}`  // another's CPR number
	file[60] = `{"ref": "p60", "key": "k3", "level": "GOLD"}`                        // another's record
	file[80] = `{"ref": "p3", "key": "k3", "level": "SILVER"}`                       // sees what line 4 wrote
	file[90] = `{"ref": "p90", "key": "k90", "level": "GOLD", "cpr": "310236-4001"}` // no such day
	got := send(t, base, upload{query: "mapping=people", key: "conflicts", body: lines(file...)})
	if got.Status != http.StatusOK || got.counts() != [5]int64{96, 1, 0, 97, 3} {
		t.Fatalf("%+v", got)
	}
	want := []imports.Rejection{
		{Line: 41, Field: "subject.nationalId", Code: errs.Conflict},
		{Line: 61, Field: "records.0.subject", Code: errs.Conflict},
		{Line: 91, Field: "subject.nationalIds.0", Code: errs.Invalid},
	}
	for i, r := range got.Rejections {
		r.Message = ""
		if r != want[i] {
			t.Errorf("%+v, want %+v", r, want[i])
		}
	}
	if e.find(t, ctx, subject.By{Reference: text("p40")}) != nil {
		t.Error("a rejected line left its subject")
	}
	// A check tells the same of the same file, now that it is imported.
	got = send(t, base, upload{query: "mapping=people&mode=check", body: lines(file...)})
	if got.counts()[4] != 3 || got.Rejections[0].Line != 41 || got.Rejections[1].Line != 61 {
		t.Errorf("check: %+v", got)
	}
}

func TestCSV(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	d := e.members(t, ctx)
	base := e.serve(t, ctx)
	file := "\ufeffreference,key,level,points,note\r\n" +
		"a,ka,GOLD,17,\"two\r\nlines, and \"\"quotes\"\"\"\r\n" +
		"\r\n" +
		"b,,SILVER,,\r\n" +
		"c,kc,GOLD,many,\r\n" +
		"d,kd,GOLD\r\n" +
		"e,ke,GO\"LD,1,\r\n" +
		"f,kf,GOLD,1,last without an end"
	got := send(t, base, upload{key: "csv", mime: "text/csv; charset=UTF-8", body: strings.NewReader(file)})
	if got.Status != http.StatusOK || got.Lines != 6 || got.counts() != [5]int64{3, 0, 0, 3, 3} {
		t.Fatalf("%+v", got)
	}
	for i, line := range []int64{6, 7, 8} { // the first row takes two lines
		if got.Rejections[i].Line != line {
			t.Errorf("rejected %+v, want line %d", got.Rejections[i], line)
		}
	}
	a := e.find(t, ctx, subject.By{Reference: text("a")})
	if a == nil {
		t.Fatal("not found")
	}
	if v := e.value(t, ctx, a.ID, d.ID, "points"); v != int64(17) {
		t.Errorf("points %v", v)
	}
	if v := e.value(t, ctx, a.ID, d.ID, "note"); v != "two\nlines, and \"quotes\"" {
		t.Error("wrong note")
	}
	// An empty cell removes the value; a column that is missing leaves it.
	got = send(t, base, upload{key: "csv2", mime: "text/csv", body: strings.NewReader("reference,key,points\na,ka,\n")})
	if got.counts() != [5]int64{0, 0, 1, 0, 0} {
		t.Errorf("a row of no value: %+v", got)
	}
	got = send(t, base, upload{key: "csv3", mime: "text/csv", body: strings.NewReader("reference,key,points,level\na,ka,,SILVER\n")})
	if got.counts() != [5]int64{0, 1, 0, 1, 0} {
		t.Errorf("%+v", got)
	}
	if e.value(t, ctx, a.ID, d.ID, "points") != nil || e.value(t, ctx, a.ID, d.ID, "note") == nil {
		t.Error("the wrong value was removed")
	}
	for name, header := range map[string]string{
		"none": "", "unknown column": "reference,colour\n", "a column twice": "reference,level,level\n",
		"no reference": "level\n", "no name": "reference,,level\n", "broken UTF-8": "reference,\xff\n", "quote": "reference,\"a\n",
	} {
		got := send(t, base, upload{key: "header", mime: "text/csv", body: strings.NewReader(header + "x,GOLD\n")})
		if got.Status != http.StatusBadRequest || got.Code != "INVALID" || !strings.HasPrefix(got.Field, "header") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What is stored of a restricted person can't be tried by importing guesses:
// that nothing would change isn't told either.
func TestRestrictedTellsNothing(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	row := func(points string) io.Reader { return strings.NewReader("reference,key,points\na,ka," + points + "\n") }
	if got := send(t, base, upload{key: "first", mime: "text/csv", body: row("17")}); got.Created != 1 {
		t.Fatalf("%+v", got)
	}
	res, err := connect(t, e.uri).Collection("subjects").UpdateByID(ctx, e.find(t, ctx, subject.By{Reference: text("a")}).ID,
		bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: subject.Restricted}}}})
	if err != nil || res.MatchedCount != 1 {
		t.Fatal(res, err)
	}
	for name, guess := range map[string]string{"right": "17", "wrong": "18"} {
		for mode, u := range map[string]upload{
			"check": {query: "dataset=Members&mode=check"}, "write": {key: name},
		} {
			u.mime, u.body = "text/csv", row(guess)
			got := send(t, base, u)
			if got.counts() != [5]int64{0, 0, 0, 0, 1} || len(got.Rejections) != 1 || got.Rejections[0].Code != errs.Precondition {
				t.Errorf("%s, %s: %+v", name, mode, got)
			}
		}
	}
}

// withdrawn is a gate that is closed to everybody.
type withdrawn struct{}

func (withdrawn) Closed(_ context.Context, subjects ...string) (authz.Closed, error) {
	return authz.Closed{Persons: subjects, Reason: authz.ReasonConsent}, nil
}
func (withdrawn) Asks(context.Context) (bool, error) { return true, nil }

// Nor can what is stored of a person be tried whose consent isn't in force.
func TestUnconsentedTellsNothing(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	row := func(points string) io.Reader { return strings.NewReader("reference,key,points\na,ka," + points + "\n") }
	if got := send(t, base, upload{key: "first", mime: "text/csv", body: row("17")}); got.Created != 1 {
		t.Fatalf("%+v", got)
	}
	e.subjects.Ask(withdrawn{})
	for name, guess := range map[string]string{"right": "17", "wrong": "18"} {
		for mode, u := range map[string]upload{
			"check": {query: "dataset=Members&mode=check"}, "write": {key: name},
		} {
			u.mime, u.body = "text/csv", row(guess)
			got := send(t, base, u)
			if got.counts() != [5]int64{0, 0, 0, 0, 1} || len(got.Rejections) != 1 || got.Rejections[0].Code != errs.Precondition {
				t.Errorf("%s, %s: %+v", name, mode, got)
			}
		}
	}
}

func TestRefusedAsAWhole(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	tests := []struct {
		name   string
		u      upload
		status int
		code   string
	}{
		{"no key", upload{}, 400, "INVALID"},
		{"key with a space", upload{key: "a b"}, 400, "INVALID"},
		{"long key", upload{key: strings.Repeat("k", 256)}, 400, "INVALID"},
		{"no mapping", upload{query: "mode=check"}, 400, "INVALID"},
		{"both", upload{query: "mode=check&mapping=a&dataset=b"}, 400, "INVALID"},
		{"unknown mapping", upload{query: "mapping=none", key: "k"}, 404, "NOT_FOUND"},
		{"unknown dataset", upload{query: "dataset=none", key: "k"}, 404, "NOT_FOUND"},
		{"unknown parameter", upload{query: "dataset=Members&dry=1", key: "k"}, 400, "INVALID"},
		{"twice", upload{query: "dataset=Members&dataset=Members", key: "k"}, 400, "INVALID"},
		{"unknown mode", upload{query: "dataset=Members&mode=dry", key: "k"}, 400, "INVALID"},
		{"unknown origin", upload{query: "dataset=Members&origin=GUESSED", key: "k"}, 400, "INVALID"},
		{"JSON", upload{key: "k", mime: "application/json"}, 400, "INVALID"},
		{"Latin-1", upload{key: "k", mime: "text/csv; charset=iso-8859-1"}, 400, "INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.u.body = lines(`{"reference": "x"}`)
			if got := send(t, base, tt.u); got.Status != tt.status || got.Code != tt.code || got.Message == "" {
				t.Errorf("%+v", got)
			}
		})
	}
	for name, who := range map[string]context.Context{
		"nobody":        tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{}), testenv.One),
		"no permission": as(t, testenv.One, authz.SubjectWrite, authz.RecordWrite),
	} {
		got := send(t, e.serve(t, who), upload{key: "k", body: lines(`{"reference": "x"}`)})
		if got.Status != 401 && got.Status != 403 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// Whether a line changed something would tell what was there.
	silent := authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, Role: authz.RoleCaseHandler, ID: "mem_1", Tenant: testenv.One, Purposes: []string{"dpv:ServiceProvision"},
	})
	for _, query := range []string{"dataset=Members&mode=check", "mapping=" + legislators.MappingName + "&mode=check"} {
		if got := send(t, e.serve(t, silent), upload{query: query, body: lines(`{"reference": "x"}`)}); got.Status != 403 {
			t.Errorf("%s by who states no purpose: %+v", query, got)
		}
	}
	if e.find(t, ctx, subject.By{Reference: text("x")}) != nil {
		t.Error("a refused import took effect")
	}
	base = e.serve(t, as(t, testenv.One, authz.SubjectWrite))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/imports/any", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if got := do(t, r); got.Status != http.StatusForbidden {
		t.Errorf("progress without permission: %+v", got)
	}
	for _, action := range []string{"import.start", "import.progress"} {
		n, err := connect(t, e.uri).Collection("audit").CountDocuments(t.Context(), bson.D{
			{Key: "tenant", Value: testenv.One}, {Key: "action", Value: action}, {Key: "outcome", Value: "REFUSED"},
		})
		if err != nil || n != 1 {
			t.Errorf("%d refusals of %s in the audit log, %v", n, action, err)
		}
	}
}

func TestCheckWritesNothing(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	send(t, base, upload{key: "one", body: lines(`{"reference": "a", "key": "k", "level": "GOLD"}`)})
	before := e.contents(t)
	got := send(t, base, upload{query: "dataset=Members&mode=check", body: lines(
		`{"reference": "a", "key": "k", "level": "GOLD"}`, `{"reference": "a", "key": "k", "level": "SILVER"}`,
		`{"reference": "b", "key": "k", "level": "GOLD"}`, `{"reference": "c", "level": "GOLD"}`)})
	if got.Status != http.StatusOK || got.ID != "" || got.counts() != [5]int64{1, 1, 1, 2, 1} {
		t.Errorf("%+v", got)
	}
	if after := e.contents(t); !maps.Equal(before, after) {
		t.Errorf("contents changed: %v, %v", before, after)
	}
	// Whose data it read is in the log: that of the one person who was there.
	var person, entry bson.M
	db := connect(t, e.uri)
	if err := db.Collection("subjects").FindOne(t.Context(), bson.D{}).Decode(&person); err != nil {
		t.Fatal(err)
	}
	about := bson.D{{Key: "action", Value: "import.check"}, {Key: "subjects.id", Value: person["_id"]}}
	if err := db.Collection("audit").FindOne(t.Context(), about).Decode(&entry); err != nil {
		t.Errorf("no entry about the person: %v", err)
	}
}

// contents counts what is stored, but for the audit log.
func (e *env) contents(t *testing.T) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for uri, names := range map[string][]string{
		e.uri:  {"subjects", "records", "lookups", "imports", "importRejections", "jobs", "receipts"},
		e.keys: {"dataKeys"},
	} {
		db := connect(t, uri)
		for _, name := range names {
			n, err := db.Collection(name).CountDocuments(t.Context(), bson.D{})
			if err != nil {
				t.Fatal(err)
			}
			found[name] = n
		}
	}
	return found
}

// Every change has its entry, and the import has its own.
func TestAudit(t *testing.T) {
	e := newEnv(t)
	ctx := portal(t, testenv.One)
	e.members(t, ctx)
	base := e.serve(t, ctx)
	file := []string{`{"reference": "a", "key": "k", "level": "GOLD"}`, `{"reference": "b", "key": "l", "level": "GOLD"}`}
	got := send(t, base, upload{key: "one", body: lines(file...)})
	file[0] = `{"reference": "a", "key": "k", "level": "SILVER"}`
	send(t, base, upload{key: "two", body: lines(file...)})
	coll := connect(t, e.uri).Collection("audit")
	for action, want := range map[string]int64{
		"import.start": 2, "import.finish": 2, "subject.create": 2, "record.write": 2, "record.update": 1, "subject.update": 0,
	} {
		if n, err := coll.CountDocuments(t.Context(), bson.D{{Key: "action", Value: action}}); err != nil || n != want {
			t.Errorf("%d entries of %s, %v", n, action, err)
		}
	}
	var entry struct {
		Tenant, Object, Policy string
		Actor                  struct{ ID string }
	}
	if err := coll.FindOne(t.Context(), bson.D{{Key: "action", Value: "import.finish"}, {Key: "object", Value: got.ID}}).Decode(&entry); err != nil {
		t.Fatal(err)
	}
	if entry.Tenant != string(testenv.One) || entry.Policy != "machine.grants" || entry.Actor.ID != "key_"+string(testenv.One) {
		t.Errorf("%+v", entry)
	}
}

// Another tenant has neither the mapping nor the import, and its imports under
// the same key and references are its own.
func TestTenants(t *testing.T) {
	e := newEnv(t)
	one, two := portal(t, testenv.One), portal(t, testenv.Two)
	e.members(t, one)
	const document = `{"subject": {"reference": "r"}, "records": []}`
	m, err := e.imports.SaveMapping(one, imports.SaveMappingInput{Name: "Plain", Document: document})
	if err != nil {
		t.Fatal(err)
	}
	first := send(t, e.serve(t, one), upload{query: "mapping=plain", key: "k", body: lines(`{"r": "a"}`, `{}`)})
	if first.counts() != [5]int64{1, 0, 0, 0, 1} {
		t.Fatalf("%+v", first)
	}
	other := e.serve(t, two)
	for _, query := range []string{"mapping=plain", "dataset=Members"} {
		if got := send(t, other, upload{query: query, key: "k", body: lines(`{"r": "a"}`)}); got.Status != http.StatusNotFound {
			t.Errorf("%s: %+v", query, got)
		}
	}
	for base, status := range map[string]int{e.serve(t, one): 200, other: 404} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/imports/"+first.ID, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		got := do(t, r)
		if got.Status != status || status == 200 && (got.counts() != first.counts() || len(got.Rejections) != 1) {
			t.Errorf("progress: %+v", got)
		}
	}
	if list, err := e.imports.Mappings(two); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := e.imports.Mapping(two, m.ID); !errors.Is(err, imports.ErrMappingNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := e.imports.SaveMapping(two, imports.SaveMappingInput{Name: "Plain", Document: document}); err != nil {
		t.Fatal(err)
	}
	second := send(t, other, upload{query: "mapping=plain", key: "k", body: lines(`{"r": "a"}`)})
	if second.counts() != [5]int64{1, 0, 0, 0, 0} || second.ID == first.ID {
		t.Errorf("%+v", second)
	}
}
