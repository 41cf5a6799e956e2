package processing_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/verify"
)

func (o *office) other(of tenant.ID) context.Context { return o.as(of, "mem_9", authz.Clearances()...) }

func (o *office) published(of tenant.ID) *processing.Register {
	o.Helper()
	r := must[*processing.Register](o)(o.Prepare(o.as(of, "mem_1"), processing.PrepareInput{Remark: words("Første udgave")}))
	return must[*processing.Register](o)(o.Publish(o.other(of), processing.PublishInput{ID: r.ID}))
}

func (o *office) file(ctx context.Context, r *processing.Register, f processing.Format, tag string, hat ...processing.Hat) []byte {
	o.Helper()
	form := processing.Form{Format: f}
	if tag != "" {
		form.Language = &tag
	}
	if len(hat) > 0 {
		form.Hat = &hat[0]
	}
	return must[*processing.File](o)(o.Open(ctx, r.ID, form)).Content
}

// pdfText returns the text of a PDF, as poppler reads it; nothing without poppler.
func pdfText(t *testing.T, pdf []byte) string {
	t.Helper()
	if _, err := exec.LookPath("pdftotext"); err != nil {
		t.Log("no pdftotext: what the PDF says isn't looked at")
		return ""
	}
	cmd := exec.CommandContext(t.Context(), "pdftotext", "-layout", "-", "-")
	cmd.Stdin = bytes.NewReader(pdf)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestRegisterRoundTrip keeps the record of a provider of due diligence and of a
// firm of accountants, 40 activities in all.
func TestRegisterRoundTrip(t *testing.T) {
	o := open(t)
	f := o.fixture()
	made := map[tenant.ID][]*processing.Activity{}
	for of, activities := range map[tenant.ID][]fixed{world.Provider: f.Provider, testenv.One: f.Accountant} {
		refs := o.base(o.as(of, "mem_1", authz.Clearances()...), f)
		for _, a := range activities {
			made[of] = append(made[of], o.activated(o.as(of, "mem_1", authz.Clearances()...), a.Hat, o.content(a.Content, refs), a.NextReviewOn))
		}
	}
	if n := len(made[world.Provider]) + len(made[testenv.One]); n != 40 {
		t.Fatalf("%d activities", n)
	}
	for of, activities := range made {
		me := func() context.Context { return o.as(of, "mem_1", authz.Clearances()...) }
		refused[*processing.Register](o, processing.ErrNoRegister)(o.RegisterAsOf(me(), o.Now()))
		r := must[*processing.Register](o)(o.Prepare(me(), processing.PrepareInput{Remark: words("Første udgave")}))
		if r.State != processing.Prepared || r.Activities != len(activities) || len(r.Hash) != 64 || r.Number != nil {
			t.Fatalf("prepared %+v", r)
		}
		refused[*processing.Register](o, processing.ErrFourEyes)(o.Publish(me(), processing.PublishInput{ID: r.ID}))
		refused[*processing.Register](o, processing.ErrNoPerson)(o.Prepare(o.As(of), processing.PrepareInput{})) // whose key would be its publisher's
		first := must[*processing.Register](o)(o.Publish(o.other(of), processing.PublishInput{ID: r.ID}))
		if first.State != processing.Published || *first.Number != 1 || *first.Previous != "" || first.Hash != r.Hash || *first.PublishedBy != "mem_9" {
			t.Errorf("published %+v", first)
		}
		refused[*processing.Register](o, under(errs.Precondition, "register.state"))(o.Publish(o.other(of), processing.PublishInput{ID: r.ID}))
		frozen := o.file(me(), first, processing.JSON, "")

		a := activities[0]
		c := a.Valid.Content
		c.Name = processing.Words{Da: "Ændret navn på åen", En: "=HYPERLINK(\"x\")"}
		a = must[*processing.Activity](o)(o.Revise(me(), processing.ReviseInput{ID: a.ID, ExpectedVersion: a.Version, Content: c}))
		same := must[*processing.Register](o)(o.Prepare(me(), processing.PrepareInput{})) // a draft is nothing yet
		must[*processing.Activity](o)(o.Activate(me(), processing.ActivateInput{ID: a.ID, ExpectedVersion: a.Version}))
		refused[*processing.Register](o, processing.ErrStale)(o.Publish(o.other(of), processing.PublishInput{ID: same.ID}))
		between := o.Now()
		second := o.published(of)
		refused[*processing.Register](o, processing.ErrNoRegister)(o.Register(me(), same.ID)) // it gave way
		if *second.Number != 2 || second.Hash == first.Hash {
			t.Errorf("published %+v", second)
		}
		if !bytes.Equal(o.file(me(), first, processing.JSON, ""), frozen) {
			t.Error("the first register has changed")
		}
		for when, want := range map[time.Time]string{*first.PublishedAt: first.ID, between: first.ID, *second.PublishedAt: second.ID, o.Now(): second.ID} {
			if got := must[*processing.Register](o)(o.RegisterAsOf(me(), when)); got.ID != want {
				t.Errorf("at %s it was %s, want %s", when, got.ID, want)
			}
		}
		all := must[*processing.RegisterConnection](o)(o.Registers(me(), page.Request{First: 5})).Nodes()
		if len(all) != 2 || all[0].ID != second.ID || *all[0].Previous != *second.Previous {
			t.Errorf("the registers are %+v", all)
		}
		o.looksRight(me(), t, second, len(activities))
		o.verifies(t, frozen, o.file(me(), second, processing.JSON, ""), *second.Previous)
		if got := o.Entries(me(), second.ID); !slices.Equal(got, []string{"register.prepare", "register.publish"}) {
			t.Errorf("audit log has %v", got)
		}
	}
}

// looksRight looks at a register in all forms.
func (o *office) looksRight(ctx context.Context, t *testing.T, r *processing.Register, activities int) {
	t.Helper()
	for tag, want := range map[string][]string{
		"da": {"Fortegnelse over behandlingsaktiviteter", "Ændret navn på åen", "Retsgrundlag", "side 1 af", "bogføringsloven", "Fortegnelse nr. 2"},
		"en": {"Record of processing activities", "HYPERLINK", "Legal bases", "page 1 of", "Art. 6(1)(b)", "Record no. 2"},
	} {
		pdf := o.file(ctx, r, processing.PDF, tag)
		if !bytes.Equal(pdf, o.file(ctx, r, processing.PDF, tag)) {
			t.Error("the PDF isn't the same each time")
		}
		if text := pdfText(t, pdf); text != "" {
			text = strings.Join(strings.Fields(text), " ")
			for _, w := range want {
				if !strings.Contains(text, w) {
					t.Errorf("the PDF in %s says nothing of %q", tag, w)
				}
			}
		}
		table := o.file(ctx, r, processing.CSV, tag)
		content, marked := bytes.CutPrefix(table, []byte("\ufeff"))
		reader := csv.NewReader(bytes.NewReader(content))
		if tag == "da" {
			reader.Comma = ';' // where the comma is decimal
		}
		rows, err := reader.ReadAll()
		if !marked || len(rows) == 0 || len(rows[0]) < 10 {
			t.Errorf("the table in %s has a byte order mark %t, and columns %d", tag, marked, len(rows[0]))
		}
		if err != nil || len(rows) != activities+1 {
			t.Fatalf("%d rows: %v", len(rows), err)
		}
		if tag == "en" && rows[1][2] != `'=HYPERLINK("x")` {
			t.Errorf("a formula is written as %q", rows[1][2])
		}
	}
	both := len(o.file(ctx, r, processing.CSV, "da", processing.Controller)) + len(o.file(ctx, r, processing.CSV, "da", processing.Processor))
	if whole := len(o.file(ctx, r, processing.CSV, "da")); both <= whole || both > 2*whole {
		t.Errorf("of both hats %d bytes, in all %d", both, whole)
	}
	tag, hat := "da", processing.Controller
	for _, f := range []processing.Form{
		{Format: processing.PDF}, {Format: processing.JSON, Language: &tag}, {Format: processing.JSON, Hat: &hat}, {Format: "DOC", Language: &tag},
	} {
		refused[*processing.File](o, processing.ErrForm)(o.Open(ctx, r.ID, f))
	}
}

// verifies checks two registers offline, and that they follow each other.
func (o *office) verifies(t *testing.T, first, second []byte, previous string) {
	t.Helper()
	keys, err := o.ring.Keys(o.one())
	if err != nil {
		t.Fatal(err)
	}
	trusted := verify.Options{Trusted: keys}
	report, err := verify.Text(first, trusted)
	if err != nil || report.What != "REGISTER" || !strings.HasSuffix(report.Notes[2], previous) {
		t.Errorf("the first is %+v, %v; the second names %s", report, err, previous)
	}
	var spread bytes.Buffer
	if err := json.Indent(&spread, second, "", "  "); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Text(spread.Bytes(), trusted); err != nil {
		t.Errorf("written with other white space: %v", err)
	}
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal(first, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(second, &b); err != nil {
		t.Fatal(err)
	}
	put := func(statement, register json.RawMessage) []byte {
		out, err := json.Marshal(map[string]any{"vogter": "register/1", "statement": statement, "register": register})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, file := range map[string][]byte{
		"another content":    put(a["statement"], b["register"]),
		"an altered content": put(a["statement"], bytes.Replace(a["register"], []byte("A6_1_B"), []byte("A6_1_C"), 1)),
		"an altered note":    put(bytes.Replace(a["statement"], []byte(`\n1\n`), []byte(`\n3\n`), 1), a["register"]),
		"no statement":       put(json.RawMessage(`""`), a["register"]),
	} {
		if _, err := verify.Text(file, trusted); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	stranger, err := testenv.NewRing(t).Keys(o.one())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Text(first, verify.Options{Trusted: stranger}); err == nil {
		t.Error("it passes under a stranger's keys")
	}
}

func TestARegisterIsSealedAndDownloaded(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	own := processing.PartyFields{
		LegalName: "Selv ApS", Country: "DK", Own: true, Contact: &processing.Contact{Name: personal.NewText("Planted Person"), Address: personal.NewText("Vej 1")},
	}
	must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: own}))
	f.activated(o.one(), processing.Controller, f.controller("Alt det, der er nyt"))
	r := o.published(testenv.One)
	raw, err := o.Stored("registers").FindOne(t.Context(), bson.D{{Key: "_id", Value: r.ID}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	if contains(raw, "Planted") || contains(raw, "Alt det") {
		t.Error("a register is stored as it is")
	}
	if got := o.file(o.one(), r, processing.JSON, ""); !contains(got, "Planted Person") {
		t.Error("a register says nothing of the contact")
	}
	downloads := download.NewService(download.Config{
		Store: mongo.NewDownloadStore(o.DB), Files: o.Files, Exports: o.Exports, Registers: o.Service, Authorizer: testenv.Authorizer(t),
		Recorder: o.Recorder, Changes: o.Changes, Log: testenv.Logger(t), Now: o.Now, BaseURL: world.BaseURL,
	})
	tag := "da"
	form := &processing.Form{Format: processing.PDF, Language: &tag}
	me := o.one()
	refused[*download.Grant](o, download.ErrForm)(downloads.Grant(me, download.GrantInput{Object: r.ID}))
	refused[*download.Grant](o, processing.ErrForm)(downloads.Grant(me, download.GrantInput{Object: r.ID, Register: &processing.Form{Format: processing.PDF}}))
	refused[*download.Grant](o, errs.New(errs.NotFound, "").At("object"))(downloads.Grant(o.other(testenv.Two), download.GrantInput{Object: r.ID, Register: form}))
	unable := authz.Principal{Kind: authz.KindMember, ID: "mem_5", Tenant: testenv.One}
	refused[*download.Grant](o, under(errs.Forbidden, "PROCESSING_READ"))(downloads.Grant(authz.NewContext(me, unable), download.GrantInput{Object: r.ID, Register: form}))
	g := must[*download.Grant](o)(downloads.Grant(me, download.GrantInput{Object: r.ID, Register: form}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		download.Handler(downloads).ServeHTTP(w, q.WithContext(me))
	}))
	defer server.Close()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+strings.TrimPrefix(g.URL, world.BaseURL), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/pdf" ||
		!strings.Contains(res.Header.Get("Content-Disposition"), "register-1-da.pdf") || !bytes.Equal(body, o.file(o.one(), r, processing.PDF, "da")) {
		t.Errorf("got %d %v, %d bytes: %v", res.StatusCode, res.Header, len(body), err)
	}
	if got := o.Entries(o.one(), r.ID); !slices.Contains(got, "download.open") {
		t.Errorf("audit log has %v", got)
	}
}

// Two registers that are prepared on one after another: only one can be the next.
func TestOneRegisterFollowsAnother(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	f.activated(o.one(), processing.Controller, f.controller("one"))
	r := must[*processing.Register](o)(o.Prepare(o.one(), processing.PrepareInput{}))
	const persons = 4
	results := make(chan error, persons)
	var callers []context.Context
	for range persons {
		callers = append(callers, o.other(testenv.One))
	}
	for _, ctx := range callers {
		go func() {
			_, err := o.Publish(ctx, processing.PublishInput{ID: r.ID})
			results <- err
		}()
	}
	published := 0
	for range persons {
		if err := <-results; err == nil {
			published++
		} else if k := errs.KindOf(err); k != errs.Conflict && k != errs.Precondition {
			t.Errorf("publishing at once gives %v", err)
		}
	}
	if published != 1 {
		t.Errorf("%d of %d published it", published, persons)
	}
}
