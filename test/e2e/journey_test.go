package e2e_test

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/testdata/legislators"
)

// TestJourney follows a customer from the import of a real file to a person's
// export, and then looks at all of it as another tenant.
func TestJourney(t *testing.T) {
	p := running(t)
	p.indexed(t)
	c := p.machine(t, first)

	t.Run("the demo's persons are found", func(t *testing.T) { findLegislators(t, c) })
	t.Run("a person with records of three datasets", func(t *testing.T) { readLegislator(t, c) })

	who := p.someone()
	var somebody person
	t.Run("create, update, conflict", func(t *testing.T) { somebody = createAndUpdate(t, p, c, who) })
	if t.Failed() {
		return
	}
	set := c.documents(t)
	title, name := "Æstimat "+rand.Text(), "kontrakt "+rand.Text()+".pdf"
	p.plant(title, name)
	content := make([]byte, 16<<20)
	_, _ = rand.Read(content) // never fails
	began := time.Now()
	file := c.upload(t, somebody, set, name, bytes.NewReader(content))
	t.Logf("upload: %.0f MB/s", rate(len(content), began))
	written := c.write(t, somebody, set, vars{"title": title, "document": file})
	if got := c.record(t, written.ID); got.text(t, "title") != title || got.text(t, "document") != file {
		t.Errorf("the record reads %+v", got)
	}
	t.Run("the file comes back", func(t *testing.T) {
		if got := c.call(t, http.MethodGet, c.grant(t, file).URL, http.NoBody); !bytes.Equal(got.body, content) {
			t.Errorf("status %d, %d bytes of %d", got.status, len(got.body), len(content))
		}
	})

	var made export
	var link grant
	t.Run("export", func(t *testing.T) {
		began := time.Now()
		made = c.requestExport(t, somebody)
		told := c.finish(t, made.Job.ID, time.Minute)
		made = c.export(t, made.ID)
		if made.State != "READY" || made.Size < int64(len(content)) {
			t.Fatalf("the export is %+v after %+v", made, told)
		}
		t.Logf("export: %.0f MB/s, with its wait for the worker", rate(int(made.Size), began))
		path := filepath.Join(t.TempDir(), "package.zip")
		link = download(t, c, made, path)
		checkPackage(t, p, path, who, title, content)
	})
	if t.Failed() {
		return
	}
	imported := reimport(t, p, c)
	t.Run("members", func(t *testing.T) { tryMembers(t, p, somebody, set) })
	t.Run("a new tenant", func(t *testing.T) { createTenant(t, p) })

	relation := ask[struct {
		StartRelation struct {
			Relation struct {
				ID string `json:"id"`
			} `json:"relation"`
		} `json:"startRelation"`
	}](t, c, `mutation($input: StartRelationInput!) { startRelation(input: $input) { relation { id } } }`,
		vars{"input": vars{"subject": somebody.ID, "kind": "BUSINESS_RELATION", "startedOn": "2024-02-29"}}).StartRelation.Relation.ID
	t.Run("another tenant", func(t *testing.T) {
		walkAsStranger(t, p, belongings{
			person: c.person(t, somebody.ID), human: who, dataset: set, record: c.record(t, written.ID), title: title, file: file,
			export: made, link: link.URL, relation: relation, imported: imported,
		})
	})
	t.Run("delete", func(t *testing.T) { deleteRecord(t, p, c, set, written, title, file) })
}

// rate is in MB/s.
func rate(n int, began time.Time) float64 { return float64(n) / 1e6 / time.Since(began).Seconds() }

// legislator is a line of the demo's file.
type legislator struct {
	Reference string `json:"reference"`
	Name      struct {
		First string `json:"first"`
		Last  string `json:"last"`
		Full  string `json:"official_full"`
	} `json:"name"`
	Birthday string            `json:"birthday"`
	Phone    string            `json:"phone"`
	Party    string            `json:"party"`
	Terms    []json.RawMessage `json:"terms"`
	Offices  []json.RawMessage `json:"districtOffices"`
}

func readLegislators(t *testing.T) []legislator {
	t.Helper()
	var all []legislator
	for line := range bytes.Lines(legislators.Lines()) {
		var l legislator
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Name.Full == "" {
			l.Name.Full = l.Name.First + " " + l.Name.Last
		}
		all = append(all, l)
	}
	return all
}

func findLegislators(t *testing.T, c client) {
	t.Helper()
	all, phones := readLegislators(t), 0
	began := time.Now()
	for i, l := range all {
		found := c.findOne(t, vars{"reference": l.Reference})
		if found.Reference != l.Reference || found.Name.Full != l.Name.Full || found.BirthDate != l.Birthday {
			t.Fatalf("line %d is another person", i+1)
		}
		same := func(p person) bool { return p.ID == found.ID }
		if l.Phone != "" {
			phones++
			if !slices.ContainsFunc(c.find(t, vars{"phone": l.Phone, "phoneRegion": "US"}), same) {
				t.Fatalf("line %d isn't found by phone", i+1)
			}
		}
		if i%50 != 0 {
			continue
		}
		by := vars{"name": strings.ToUpper(l.Name.Full), "birthDate": l.Birthday}
		if !slices.ContainsFunc(c.find(t, vars{"nameAndBirthDate": by}), same) {
			t.Errorf("line %d isn't found by name and birth date", i+1)
		}
	}
	if len(all) != legislators.Count || phones != 536 {
		t.Errorf("the file has %d persons, %d with a phone", len(all), phones)
	}
	t.Logf("lookup: %.1f ms each", time.Since(began).Seconds()*1e3/float64(len(all)+phones))
}

func readLegislator(t *testing.T, c client) {
	t.Helper()
	l := readLegislators(t)[0]
	got := c.person(t, c.findOne(t, vars{"reference": l.Reference}).ID)
	sets := map[string]int{}
	for _, r := range got.Records.Nodes {
		sets[r.Dataset.Name]++
		if r.Subject.ID != got.ID {
			t.Errorf("record %s is about another person", r.ID)
		}
		if r.Dataset.Name == "Profile" && r.text(t, "party") != l.Party {
			t.Error("the profile names another party")
		}
	}
	if len(sets) != 3 || sets["Profile"] != 1 || sets["Terms of office"] != len(l.Terms) || sets["Offices"] != 1+len(l.Offices) {
		t.Errorf("records by dataset: %v", sets)
	}
	if n := 2 + len(l.Terms) + len(l.Offices); got.Records.TotalCount != n {
		t.Errorf("%d records are counted, want %d", got.Records.TotalCount, n)
	}
}

const updateSubject = `mutation($input: UpdateSubjectInput!) { updateSubject(input: $input) { subject {` + personFields + `} } }`

func createAndUpdate(t *testing.T, p *platform, c client, who human) person {
	t.Helper()
	made := c.createPerson(t, who.input())
	next := p.someone()
	change := vars{"input": vars{"id": made.ID, "expectedVersion": made.Version, "emails": []string{next.email}}}
	updated := ask[struct {
		UpdateSubject struct {
			Subject person `json:"subject"`
		} `json:"updateSubject"`
	}](t, c, updateSubject, change).UpdateSubject.Subject
	if updated.Version != made.Version+1 || !slices.Equal(updated.Emails, []string{next.email}) || updated.Reference != who.reference {
		t.Errorf("updated to %+v", updated)
	}
	if code := refused(t, c, updateSubject, change); code != "CONFLICT" {
		t.Errorf("an update of an old version is %s", code)
	}
	if found := c.findOne(t, vars{"email": next.email}); found.ID != made.ID {
		t.Error("the new address finds another person")
	}
	if found := c.find(t, vars{"email": who.email}); len(found) != 0 {
		t.Error("the old address still finds somebody")
	}
	again := who.input()
	again["emails"] = []string{}
	code := refused(t, c, `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`, vars{"input": again})
	if code != "CONFLICT" {
		t.Errorf("a second person of the reference is %s", code)
	}
	return updated
}

// download fetches a package over one link: broken off and resumed, then twice
// more, and not a fourth time.
func download(t *testing.T, c client, made export, path string) grant {
	t.Helper()
	link := c.grant(t, made.ID)
	if link.UsesLeft != 3 {
		t.Errorf("a link has %d uses", link.UsesLeft)
	}
	res, err := c.open(t.Context(), http.MethodGet, link.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err := res.Body.Close(); err != nil { // breaks it off
		t.Fatal(err)
	}
	if err != nil || res.ContentLength != made.Size {
		t.Fatalf("%d, %d bytes of %d: %v", res.StatusCode, res.ContentLength, made.Size, err)
	}
	for range 2 { // as often as it takes
		rest := c.call(t, http.MethodGet, link.URL, http.NoBody, "Range", fmt.Sprintf("bytes=%d-", len(whole)))
		if rest.status != http.StatusPartialContent {
			t.Fatalf("resuming: %d %s", rest.status, rest.body)
		}
		write(t, path, append(slices.Clone(whole), rest.body...))
	}
	resumed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again := c.call(t, http.MethodGet, link.URL, http.NoBody); again.status != http.StatusOK || !bytes.Equal(again.body, resumed) {
			t.Errorf("opening it again: %d, %d bytes", again.status, len(again.body))
		}
	}
	if spent := c.call(t, http.MethodGet, link.URL, http.NoBody); spent.status != http.StatusGone || spent.code() != "PRECONDITION" {
		t.Errorf("the fourth use: %d %s", spent.status, spent.body)
	}
	return c.grant(t, made.ID)
}

// code is that of an error outside GraphQL.
func (a answer) code() string {
	var e struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(a.body, &e) != nil {
		return ""
	}
	return e.Code
}

func checkPackage(t *testing.T, p *platform, path string, who human, title string, content []byte) {
	t.Helper()
	if out, err := p.vogter(t, nil, "verify", path); err != nil || !strings.HasPrefix(out, "OK") {
		t.Errorf("verify: %v: %s", err, out)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var all bytes.Buffer // but documents
	var names []string
	var document *zip.File
	for _, f := range z.File {
		names = append(names, f.Name)
		b := unzip(t, f)
		if strings.HasPrefix(f.Name, "documents/") {
			document = f
			if !bytes.Equal(b, content) {
				t.Errorf("%s differs from the upload", f.Name)
			}
			continue
		}
		all.Write(b)
	}
	for _, want := range []string{"index.html", "manifest.json"} {
		if !slices.Contains(names, want) {
			t.Errorf("the package lacks %s: %v", want, names)
		}
	}
	for _, value := range []string{who.name, who.phone, who.reference, title} {
		if !strings.Contains(all.String(), value) {
			t.Error("the package lacks a value")
		}
	}
	if document == nil {
		t.Fatalf("the package lacks the document: %v", names)
	}
	at, err := document.DataOffset()
	if err != nil {
		t.Fatal(err)
	}
	altered, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	altered[at+int64(document.CompressedSize64)/2] ^= 1
	write(t, path, altered)
	if out, err := p.vogter(t, nil, "verify", path); err == nil || !strings.Contains(out, document.Name) {
		t.Errorf("an altered byte of %s: %v: %s", document.Name, err, out)
	}
}

func unzip(t *testing.T, f *zip.File) []byte {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reimport sends the demo's file again by the command that customers use, and
// over HTTP; the answer to the latter is returned.
func reimport(t *testing.T, p *platform, c client) imported {
	t.Helper()
	t.Run("vogter import", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "legislators.ndjson")
		write(t, path, legislators.Lines())
		out, err := p.vogter(t, []string{"VOGTER_API_KEY=" + c.token}, "import", path, "--mapping", legislators.MappingName, "--url", c.base)
		if err != nil || !regexp.MustCompile(`(?i)unchanged\D*537|537\D*unchanged`).MatchString(out) {
			t.Errorf("%v: %s", err, out)
		}
	})
	began, key := time.Now(), rand.Text()
	sum := c.importLines(t, "mapping="+legislators.MappingName, key, bytes.NewReader(legislators.Lines()))
	t.Logf("import of what is there: %.0f persons/s", legislators.Count/time.Since(began).Seconds())
	if sum.Unchanged != legislators.Count || sum.Created+sum.Updated+sum.Records+sum.Rejected != 0 || sum.State != "DONE" {
		t.Errorf("importing again: %+v", sum)
	}
	again := c.importLines(t, "mapping="+legislators.MappingName, key, bytes.NewReader(legislators.Lines()))
	if again.ID != sum.ID || again.Unchanged != sum.Unchanged {
		t.Errorf("the same call again: %+v", again)
	}
	var told imported
	if a := c.call(t, http.MethodGet, "/v1/imports/"+sum.ID, http.NoBody); json.Unmarshal(a.body, &told) != nil || told.Lines != sum.Lines {
		t.Errorf("its progress: %d %s", a.status, a.body)
	}
	return sum
}

func tryMembers(t *testing.T, p *platform, somebody person, set dataset) {
	t.Helper()
	const write = `mutation($input: WriteRecordInput!) { writeRecord(input: $input) { record { id } } }`
	input := vars{"input": vars{
		"subject": somebody.ID, "dataset": set.ID, "origin": "OBSERVED", "fields": []vars{{"key": "title", "value": "by a member"}},
	}}
	for _, tt := range []struct{ role, read, write string }{
		{"CASE_HANDLER", "", ""}, {"DPO", "", "FORBIDDEN"}, {"AUDITOR", "FORBIDDEN", "FORBIDDEN"}, {"OWNER", "", ""},
	} {
		member := p.member(t, first, tt.role)
		role := ask[struct {
			Viewer struct {
				Kind, Role string
				Tenant     struct{ ID string }
			}
		}](t, member, `{ viewer { kind role tenant { id } } }`, nil).Viewer
		if role.Role != tt.role || role.Kind != "MEMBER" || role.Tenant.ID != p.tenant(t, first).ID {
			t.Errorf("%s is %+v", tt.role, role)
		}
		if code := codeOf(t, member, `query($id: ID!) { subject(id: $id) { reference } }`, vars{"id": somebody.ID}); code != tt.read {
			t.Errorf("%s reads a person: %q, want %q", tt.role, code, tt.read)
		}
		if code := codeOf(t, member, write, input); code != tt.write {
			t.Errorf("%s writes a record: %q, want %q", tt.role, code, tt.write)
		}
	}
	nobody := client{base: p.stack.Env().API}
	if code := refused(t, nobody, write, input); code != "UNAUTHENTICATED" {
		t.Errorf("nobody writes a record: %s", code)
	}
}

// codeOf is the code of the error that a document ends with, "" if it succeeds.
func codeOf(t *testing.T, c client, document string, v vars) string {
	t.Helper()
	_, faults := c.graphql(t, document, v)
	if len(faults) == 0 {
		return ""
	}
	return faults[0].Extensions.Code
}

const createTenantDocument = `mutation($input: CreateTenantInput!) { createTenant(input: $input) { tenant { id kind } } }`

func newTenant(owner string) vars {
	return vars{"input": vars{
		"legalName": "Third ApS", "country": "DK", "timeZone": "Europe/Copenhagen", "languages": []string{"da"},
		"owner": vars{"email": owner},
	}}
}

func createTenant(t *testing.T, p *platform) {
	t.Helper()
	owner := strings.ToLower(rand.Text()) + "@third.example"
	if code := refused(t, p.member(t, first, "OWNER"), createTenantDocument, newTenant(owner)); code != "FORBIDDEN" {
		t.Errorf("an owner makes a tenant: %s", code)
	}
	made := ask[struct {
		CreateTenant struct {
			Tenant struct{ ID, Kind string }
		}
	}](t, p.member(t, provider, "OPERATOR"), createTenantDocument, newTenant(owner)).CreateTenant.Tenant
	if made.ID == "" || made.Kind != "CUSTOMER" {
		t.Errorf("made %+v", made)
	}
	p.mailed(t, owner, invitationToken)
}

// mail is a message in the sink.
type mail struct {
	To      []string `json:"to"`
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	HTML    string   `json:"html"`
}

func mails(t *testing.T, p *platform) []mail {
	t.Helper()
	a := client{}.call(t, http.MethodGet, p.stack.Env().Mail+"/messages", http.NoBody)
	var all []mail
	if err := json.Unmarshal(a.body, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func deleteRecord(t *testing.T, p *platform, c client, set dataset, r row, title, file string) {
	t.Helper()
	const find = `query($by: RecordBy!) { findRecords(by: $by) { nodes { id } } }`
	by := vars{"by": vars{"dataset": set.ID, "field": "title", "value": title}}
	type found struct {
		FindRecords recordPage `json:"findRecords"`
	}
	if n := ask[found](t, c, find, by).FindRecords.Nodes; len(n) != 1 || n[0].ID != r.ID {
		t.Fatalf("found %+v before", n)
	}
	c.deleteRecord(t, r)
	if code := refused(t, c, `query($id: ID!) { record(id: $id) { id } }`, vars{"id": r.ID}); code != "NOT_FOUND" {
		t.Errorf("the record is %s", code)
	}
	if n := ask[found](t, c, find, by).FindRecords.Nodes; len(n) != 0 {
		t.Errorf("found %+v after", n)
	}
	if code := refused(t, c, grantDocument, vars{"input": vars{"object": file}}); code != "NOT_FOUND" {
		t.Errorf("its file is %s", code)
	}
	eventually(t, 30*time.Second, "no version of the file is in the object storage", func() bool {
		return len(p.objects(t, file)) == 0
	})
}
