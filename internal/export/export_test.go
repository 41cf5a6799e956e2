package export_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// build requests an export, carries out its job and returns both.
func build(t *testing.T, w *world.World, ctx context.Context, s *subject.Subject, language string) (*export.Export, []byte) { //nolint:revive // t comes first
	t.Helper()
	e, err := w.Exports.Request(ctx, export.RequestInput{Subject: s.ID, Language: &language})
	if err != nil {
		t.Fatal(err)
	}
	w.Work(ctx)
	return e, read(t, w, ctx, e.ID)
}

func read(t *testing.T, w *world.World, ctx context.Context, exportID string) []byte { //nolint:revive // t comes first
	t.Helper()
	e, r, err := w.Exports.Open(ctx, exportID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if e.Size == nil || *e.Size != int64(len(b)) {
		t.Errorf("%d bytes of %+v", len(b), e)
	}
	if _, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{}); err != nil {
		t.Errorf("verify: %v", err)
	}
	return b
}

// unpack returns the members of a package.
func unpack(t *testing.T, b []byte) (names []string, content map[string]string) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	content = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		c, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, content[f.Name] = append(names, f.Name), string(c)
	}
	return names, content
}

func everyType() []dataset.FieldInput {
	enum := world.Field("status", dataset.TypeEnum)
	enum.Values = []string{"OPEN", "CLOSED"}
	return []dataset.FieldInput{
		world.Field("title", dataset.TypeString), world.Field("note", dataset.TypeText), world.Field("since", dataset.TypeDate),
		world.Field("at", dataset.TypeDateTime), world.Field("count", dataset.TypeInt), world.Field("amount", dataset.TypeDecimal),
		world.Field("flag", dataset.TypeBool), enum, world.Field("extra", dataset.TypeJSON), world.Field("letter", dataset.TypeFile),
	}
}

func TestPackage(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	ref, born := personal.NewText("=REF-1"), personal.NewText("2036-02-03")
	full := personal.NewText("Ægir Åskov")
	person, err := w.Subjects.Create(one, subject.CreateInput{
		Reference: &ref, BirthDate: &born, Name: &subject.NameInput{Full: &full},
		Emails: []personal.Text{personal.NewText("aegir@example.org")}, Phones: []personal.Text{personal.NewText("+4561234567")},
	})
	if err != nil {
		t.Fatal(err)
	}
	set := w.Dataset(one, "Kundesag: æ/ø", everyType()...)
	w.Dataset(one, "Kundesag æ ø", everyType()...) // the same file name, and nothing in it
	marker := rand.Text()
	letter := w.Upload(one, person, set, "..bréf <1>.txt", marker+" content of the letter")
	w.Record(one, person, set, world.Value("title", "=1+1"), world.Value("note", "<script>alert(1)</script>\n"+marker),
		world.Value("since", "2024-02-29"), world.Value("at", "2024-02-29T12:00:00+01:00"), world.Value("count", json.Number("-5")),
		world.Value("amount", "10.50"), world.Value("flag", true), world.Value("status", "OPEN"),
		world.Value("extra", map[string]any{"a": []any{1.0}}), world.Value("letter", letter.ID))
	w.Record(one, person, set, world.Value("title", "the newer"))
	w.Record(one, w.Subject(one, "REF-2"), set, world.Value("title", "somebody else's"))

	e, err := w.Exports.Request(one, export.RequestInput{Subject: person.ID})
	if err != nil {
		t.Fatal(err)
	}
	if e.State != export.Building || e.Language != "da" || e.ExpiresAt != nil {
		t.Errorf("got %+v", e)
	}
	if _, _, err := w.Exports.Open(one, e.ID); !errors.Is(err, export.ErrNotReady) {
		t.Errorf("got %v, want PRECONDITION", err)
	}
	w.Work(one)
	if j, err := w.Jobs.Get(one, e.JobID); err != nil || j.State != job.Succeeded || len(j.Steps) != 3 || j.Progress.Done == 0 {
		t.Errorf("got %+v, %v", j, err)
	}
	if e, err = w.Exports.Get(one, e.ID); err != nil || e.State != export.Ready || e.ExpiresAt.Sub(e.CreatedAt) < export.Life {
		t.Errorf("got %+v, %v", e, err)
	}
	if got := w.Entries(one, e.ID); fmt.Sprint(got) != "[export.request export.build export.ready]" {
		t.Errorf("audit log has %v", got)
	}
	if found := w.Storage.Contains(t, marker); len(found) > 0 {
		t.Errorf("plaintext in %v", found)
	}
	for what, err := range map[string]error{
		"get":     second(w.Exports.Get(two, e.ID)),
		"request": second(w.Exports.Request(two, export.RequestInput{Subject: person.ID})),
		"open":    third(w.Exports.Open(two, e.ID)),
	} {
		if errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s by another tenant: got %v, want NOT_FOUND", what, err)
		}
	}

	names, content := unpack(t, read(t, w, one, e.ID))
	want := []string{
		"data/identity.json", "data/identity.csv", "data/kundesag.json", "data/kundesag.csv", "data/kundesag-2.json", "data/kundesag-2.csv",
		"documents/0001-br", "schema/identity.schema.json", "schema/kundesag.schema.json", "schema/kundesag-2.schema.json",
		"index.html", "manifest.json", "signature.json",
	}
	if len(names) != len(want) {
		t.Fatalf("got %q", names)
	}
	for i := range names {
		if !strings.HasPrefix(names[i], want[i]) {
			t.Errorf("member %d is %q, want %q", i, names[i], want[i])
		}
	}
	document := names[6]
	if document != "documents/0001-bréf _1_.txt" || content[document] != marker+" content of the letter" {
		t.Errorf("the document is %q", document)
	}

	var m pack.StaffCopy
	if err := json.Unmarshal([]byte(content["manifest.json"]), &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != "STAFF_COPY" || !m.NotAnArticle15Answer || m.Controller != "Første ApS" || m.Processor != "Vogter Drift A/S" ||
		m.SubjectRef != person.ID || m.ExportID != e.ID || m.Totals.Records != 2 || len(m.SchemaVersions) != 3 ||
		!slices.Equal(m.Datasets, []pack.Searched{{Name: "Kundesag æ ø"}, {Name: "Kundesag: æ/ø", Records: 2}}) &&
			!slices.Equal(m.Datasets, []pack.Searched{{Name: "Kundesag: æ/ø", Records: 2}, {Name: "Kundesag æ ø"}}) {
		t.Errorf("got %+v", m)
	}
	if at, err := time.Parse(time.RFC3339, m.DataAsOf); err != nil || strings.HasSuffix(m.DataAsOf, "Z") || at.Before(e.CreatedAt.Add(-time.Second)) {
		t.Errorf("data as of %s: %v", m.DataAsOf, err)
	}

	// Whichever of the two slugs the dataset with records got.
	slug := "kundesag"
	if content["data/kundesag.json"] == "[]\n" {
		slug = "kundesag-2"
	}
	var entries []struct {
		ID     string
		Values map[string]any
	}
	if err := json.Unmarshal([]byte(content["data/"+slug+".json"]), &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[0].Values["title"] != "the newer" {
		t.Fatalf("got %+v", entries)
	}
	values := entries[1].Values
	for key, want := range map[string]string{
		"title": "=1+1", "since": "2024-02-29", "at": "2024-02-29T11:00:00Z", "count": "-5", "amount": "10.50", "flag": "true",
		"status": "OPEN", "extra": "map[a:[1]]",
	} {
		if got := fmt.Sprint(values[key]); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if d, ok := values["letter"].(map[string]any); !ok || d["path"] != document || d["name"] != nil && fmt.Sprint(d["name"]) == "" {
		t.Errorf("letter is %v", values["letter"])
	}
	rows, err := csv.NewReader(strings.NewReader(content["data/"+slug+".csv"])).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("got %q, %v", rows, err)
	}
	cells := map[string]string{}
	for i, name := range rows[0] {
		cells[name] = rows[2][i]
	}
	if cells["title"] != "'=1+1" || cells["count"] != "'-5" || cells["letter"] != document || cells["extra"] != `{"a":[1]}` {
		t.Errorf("got %q", cells)
	}
	if !strings.Contains(content["data/identity.csv"], "reference,'=REF-1\r\n") || !strings.Contains(content["data/identity.csv"], "phone,'+4561234567\r\n") ||
		!strings.Contains(content["data/identity.json"], `"reference":"=REF-1"`) {
		t.Errorf("identity is %q and %q", content["data/identity.csv"], content["data/identity.json"])
	}
	html := content["index.html"]
	for _, want := range []string{"Ægir Åskov", "the newer", "&lt;script&gt;", "ikke svar", "Gennemsøgt; intet fundet.", "<html lang=\"da\">"} {
		if !strings.Contains(html, want) {
			t.Errorf("the overview lacks %s", want)
		}
	}
	for _, bad := range []string{"<script", "http://", "https://", "src=", "url("} {
		if strings.Contains(html, bad) {
			t.Errorf("the overview has %s", bad)
		}
	}
	for name, c := range content {
		if strings.Contains(c, "somebody else's") {
			t.Errorf("%s has another person's data", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// Nothing differs with and without what the law keeps secret.
func TestSecret(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person := w.Subject(one, "A-1")
	plain := w.Dataset(one, "B plain", world.Field("title", dataset.TypeString), world.Field("letter", dataset.TypeFile))
	first := w.Upload(one, person, plain, "a.txt", "one")
	r := w.Record(one, person, plain, world.Value("title", "seen"), world.Value("letter", first.ID))
	e, err := w.Exports.Request(one, export.RequestInput{Subject: person.ID})
	if err != nil {
		t.Fatal(err)
	}
	asOf := w.Now().Add(time.Hour) // the same for all
	without := export.Write(t, one, w.Exports, e, asOf)

	secret := world.Field("suspicion", dataset.TypeString)
	secret.Secrecy = dataset.AML
	secretFile := world.Field("report", dataset.TypeFile)
	secretFile.Secrecy = dataset.AML
	for i, f := range []dataset.FieldInput{secret, secretFile} {
		if _, err := w.Datasets.AddField(one, dataset.AddFieldInput{Dataset: plain.ID, ExpectedVersion: int64(i + 1), Field: f}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Records.Update(one, record.UpdateInput{
		ID: r.ID, ExpectedVersion: r.Version, Fields: []record.FieldInput{world.Value("suspicion", "hidden")},
	}); err != nil {
		t.Fatal(err)
	}
	report := w.Upload(one, person, plain, "report.txt", "hidden too")
	w.Record(one, person, plain, world.Value("report", report.ID)) // there for the sake of the secret
	aml, err := w.Datasets.Create(one, dataset.CreateInput{
		Name: "A report", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("title", dataset.TypeString)},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Record(one, person, aml, world.Value("title", "hidden"))
	another := w.Subject(one, "A-2")
	for _, values := range [][]record.FieldInput{
		{world.Value("suspicion", "hidden")},
		{world.Value("title", "of another person"), world.About(person.ID, "suspicion", "hidden")},
	} {
		if _, err := w.Records.Write(one, record.WriteInput{
			Subject: another.ID, Dataset: plain.ID, Origin: record.Derived, Fields: values,
			Parties: []record.Party{{Subject: person.ID, Role: "associate"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	with := export.Write(t, one, w.Exports, e, asOf)
	if err := different(t, without, with); err != nil {
		t.Error(err)
	}
	again := export.Write(t, one, w.Exports, e, asOf)
	if err := different(t, with, again); err != nil {
		t.Errorf("the same data: %v", err)
	}
	if _, c := unpack(t, without); !strings.Contains(c["data/b-plain.json"], "seen") || len(c) != 10 {
		t.Errorf("got %q", c)
	}
}

// different compares packages byte by byte and names the members that differ.
func different(t *testing.T, a, b []byte) error {
	t.Helper()
	if bytes.Equal(a, b) {
		return nil
	}
	namesA, contentA := unpack(t, a)
	namesB, contentB := unpack(t, b)
	if !slices.Equal(namesA, namesB) {
		return fmt.Errorf("members are %q and %q", namesA, namesB)
	}
	for _, name := range slices.Sorted(maps.Keys(contentA)) {
		if contentA[name] != contentB[name] {
			return fmt.Errorf("%s is %q and %q", name, contentA[name], contentB[name])
		}
	}
	return errors.New("the containers differ")
}

// Of a record about several persons, each gets what is about them alone.
func TestParties(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	company, owner, other := w.Subject(one, "C-1"), w.Subject(one, "P-1"), w.Subject(one, "P-2")
	set := w.Dataset(one, "Owners", world.Field("name", dataset.TypeString), world.Field("share", dataset.TypeString))
	key, source := personal.NewText("KEY-1"), personal.NewText("the register")
	if _, err := w.Records.Write(one, record.WriteInput{
		Subject: company.ID, Dataset: set.ID, Origin: record.ThirdParty, Key: &key, Source: &source,
		Parties: []record.Party{{Subject: owner.ID, Role: "owner"}, {Subject: other.ID, Role: "director"}},
		Fields: []record.FieldInput{
			world.Value("name", "the company"), world.About(owner.ID, "share", "of the owner"), world.About(other.ID, "share", "of the other"),
		},
	}); err != nil {
		t.Fatal(err)
	}
	silent := w.Subject(one, "P-3") // of whom there is the role alone
	if _, err := w.Records.Write(one, record.WriteInput{
		Subject: company.ID, Dataset: set.ID, Origin: record.ThirdParty, Parties: []record.Party{{Subject: silent.ID, Role: "witness"}},
	}); err != nil {
		t.Fatal(err)
	}
	texts := []string{"KEY-1", "the register", "the company", "of the owner", "of the other", `"owner"`, `"director"`, `"witness"`, owner.ID, other.ID, company.ID}
	tests := []struct {
		name string
		s    *subject.Subject
		has  []string
	}{
		{"subject", company, []string{"KEY-1", "the register", "the company"}},
		{"party", owner, []string{"of the owner", `"owner"`}},
		{"party by role alone", silent, []string{`"witness"`}},
		{"another party", other, []string{"of the other", `"director"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, b := build(t, w, one, tt.s, "en")
			_, content := unpack(t, b)
			data := content["data/owners.json"]
			for _, s := range texts {
				if has := strings.Contains(data, s); has != slices.Contains(tt.has, s) {
					t.Errorf("%s is in the data: %t", s, has)
				}
			}
			for name, c := range content {
				for _, s := range texts[:5] {
					if strings.Contains(c, s) && !slices.Contains(tt.has, s) {
						t.Errorf("%s has %s", name, s)
					}
				}
			}
		})
	}
}

func TestRequestRefused(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person, erased, restricted := w.Subject(one, "A-1"), w.Subject(one, "A-2"), w.Subject(one, "A-3")
	w.SetState(one, erased, subject.Erased)
	w.SetState(one, restricted, subject.Restricted)
	klingon := "tlh"
	tests := []struct {
		name string
		in   export.RequestInput
		want errs.Kind
	}{
		{"active", export.RequestInput{Subject: person.ID}, ""},
		{"restricted", export.RequestInput{Subject: restricted.ID}, errs.Precondition},
		{"erased", export.RequestInput{Subject: erased.ID}, errs.Erased},
		{"unknown", export.RequestInput{Subject: id.New(id.Subject, testenv.One)}, errs.NotFound},
		{"no person", export.RequestInput{Subject: "x"}, errs.NotFound},
		{"language", export.RequestInput{Subject: person.ID, Language: &klingon}, errs.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := w.Exports.Request(one, tt.in)
			if errs.KindOf(err) != tt.want {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			w.Work(one)
			if err == nil {
				read(t, w, one, e.ID)
			}
		})
	}
}

func TestIdempotent(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	if _, err := w.Vault.Ensure(one, vault.CredentialsOf(testenv.One)); err != nil {
		t.Fatal(err)
	}
	person := w.Subject(one, "A-1")
	ctx := change.WithIdempotency(one, change.Idempotency{Key: "k", Input: []byte("i")})
	a, err := w.Exports.Request(ctx, export.RequestInput{Subject: person.ID})
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Exports.Request(ctx, export.RequestInput{Subject: person.ID})
	if err != nil || a.ID != b.ID {
		t.Errorf("got %+v and %+v: %v", a, b, err)
	}
	if n := w.Count(one, "exports", bson.D{}); n != 1 {
		t.Errorf("%d exports", n)
	}
}

func TestErasedMeanwhile(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person := w.Subject(one, "A-1")
	e, err := w.Exports.Request(one, export.RequestInput{Subject: person.ID})
	if err != nil {
		t.Fatal(err)
	}
	w.SetState(one, person, subject.Erasing)
	w.Work(one)
	if e, err = w.Exports.Get(one, e.ID); err != nil || e.State != export.Failed {
		t.Errorf("got %+v, %v", e, err)
	}
	j, err := w.Jobs.Get(one, e.JobID)
	if err != nil || j.State != job.Parked || j.Error.Code != errs.Erased || j.Attempt != 1 {
		t.Errorf("got %+v, %v", j, err)
	}
	// A retry builds it after all, once the person is back.
	w.SetState(one, person, subject.Active)
	if _, err := w.Jobs.Retry(one, job.RetryInput{ID: j.ID}); err != nil {
		t.Fatal(err)
	}
	w.Work(one)
	read(t, w, one, e.ID)
	w.SetState(one, person, subject.Erased)
	if _, _, err := w.Exports.Open(one, e.ID); errs.KindOf(err) != errs.Erased {
		t.Errorf("got %v, want ERASED", err)
	}
}

func TestSweep(t *testing.T) {
	w := world.Start(t)
	one, two := w.As(testenv.One), w.As(testenv.Two)
	e, _ := build(t, w, one, w.Subject(one, "A-1"), "da")
	f, _ := build(t, w, two, w.Subject(two, "B-1"), "en")
	sweep := func() {
		t.Helper()
		if err := w.Exports.Sweep(tenant.System(one, "test")); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	read(t, w, one, e.ID)
	w.Sleep(export.Life + time.Minute)
	if _, _, err := w.Exports.Open(one, e.ID); !errors.Is(err, export.ErrExpired) {
		t.Errorf("got %v before the sweep, want expired", err)
	}
	pending, err := w.Exports.Request(one, export.RequestInput{Subject: w.Subject(one, "A-2").ID})
	if err != nil {
		t.Fatal(err)
	}
	sweep()
	sweep()
	for _, x := range []struct {
		e   *export.Export
		of  tenant.ID
		ctx context.Context
	}{{e, testenv.One, one}, {f, testenv.Two, two}} {
		if got, err := w.Exports.Get(x.ctx, x.e.ID); err != nil || got.State != export.Expired || got.Size != nil {
			t.Errorf("got %+v, %v", got, err)
		}
		if found := w.Storage.Contains(t, x.e.ID); len(found) > 0 {
			t.Errorf("the package is still in %v", found)
		}
		if _, err := w.Vault.Ensure(x.ctx, export.Owner(x.of, x.e.SubjectID, x.e.ID)); errs.KindOf(err) != errs.Erased {
			t.Errorf("the key is not destroyed: %v", err)
		}
		if got := w.Entries(one, x.e.ID); got[len(got)-1] != "export.expire" || len(got) != 4 {
			t.Errorf("audit log has %v", got)
		}
	}
	if got, err := w.Exports.Get(one, pending.ID); err != nil || got.State != export.Building {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := w.Exports.Sweep(one); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("a tenant swept: %v", err)
	}
}

// run is an attempt whose claim can be lost.
type run struct {
	object string
	fence  int64
	lost   bool
}

func (r *run) Object() string { return r.object }
func (r *run) Fence() int64   { return r.fence }
func (r *run) Guard(context.Context) error {
	if r.lost {
		return job.ErrFenced
	}
	return nil
}
func (r *run) Progress(context.Context, int64, int64, string) error { return nil }
func (r *run) Step(_ context.Context, name string) error {
	r.lost = r.lost || (name == "package" && r.fence == 1)
	return nil
}

// A worker that lost its claim finishes nothing and overwrites nothing.
func TestFenced(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	e, err := w.Exports.Request(one, export.RequestInput{Subject: w.Subject(one, "A-1").ID})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Exports.Build(one, &run{object: e.ID, fence: 1}); !errors.Is(err, job.ErrFenced) {
		t.Errorf("got %v, want fenced", err)
	}
	if got, err := w.Exports.Get(one, e.ID); err != nil || got.State != export.Building {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := w.Exports.Build(one, &run{object: e.ID, fence: 2}); err != nil {
		t.Fatal(err)
	}
	before := read(t, w, one, e.ID)
	if err := w.Exports.Build(one, &run{object: e.ID, fence: 1}); err != nil {
		t.Errorf("build again: %v", err)
	}
	if after := read(t, w, one, e.ID); !bytes.Equal(before, after) {
		t.Error("the package changed")
	}
}

// Data that moves while it is read makes no package that contradicts itself.
func TestMoved(t *testing.T) {
	w := world.Start(t)
	one := w.As(testenv.One)
	person, set := w.Subject(one, "A-1"), w.Dataset(one, "Case", world.Field("title", dataset.TypeString))
	r := w.Record(one, person, set, world.Value("title", "first"))
	e, err := w.Exports.Request(one, export.RequestInput{Subject: person.ID})
	if err != nil {
		t.Fatal(err)
	}
	moving := &mover{run: run{object: e.ID, fence: 2}, move: func() {
		if err := w.Records.Delete(one, record.DeleteInput{ID: r.ID}); err != nil {
			t.Error(err)
		}
	}}
	if err := w.Exports.Build(one, moving); !errors.Is(err, export.ErrMoved) {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if found := w.Storage.Contains(t, e.ID); len(found) > 0 {
		t.Errorf("half a package is in %v", found)
	}
	w.Work(one)
	if _, c := unpack(t, read(t, w, one, e.ID)); c["data/case.json"] != "[]\n" {
		t.Errorf("got %q", c["data/case.json"])
	}
}

// mover changes the data at the first report of progress.
type mover struct {
	run
	move func()
}

func (m *mover) Progress(context.Context, int64, int64, string) error {
	if m.move != nil {
		m.move()
	}
	m.move = nil
	return nil
}
