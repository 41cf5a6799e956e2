package letter_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

var update = flag.Bool("update", false, "write the golden files")

// office is the letters of a platform.
type office struct {
	*letter.Service

	key int
}

// copenhagen has its tenants there.
type copenhagen struct{}

func (copenhagen) Get(context.Context) (*tenancy.Tenant, error) {
	return &tenancy.Tenant{TimeZone: "Europe/Copenhagen"}, nil
}

func library(tb testing.TB) *letter.Library {
	tb.Helper()
	l, err := letter.NewLibrary()
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func open(t *testing.T) *office {
	t.Helper()
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	return &office{Service: letter.NewService(letter.Config{
		Library: library(t), Store: mongo.NewLetterStore(db), Tenants: copenhagen{}, Changes: changes, Now: testenv.Now,
	})}
}

// as is a new request of a member.
func (o *office) as(t *testing.T, of tenant.ID, member string) context.Context {
	t.Helper()
	ctx := authz.NewContext(tenant.NewContext(t.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: member, Tenant: of, Role: authz.RoleApprover, AAL: authz.AAL2, AuthenticatedAt: testenv.Now(),
	})
	o.key++
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(o.key), Input: []byte(strconv.Itoa(o.key))})
}

// rule is the kind of an error with its rule and field.
func rule(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return strings.Join(strings.Fields(string(e.Kind)+" "+e.Rule+" "+e.Field), " ")
}

// common are the fields that nearly all letters have, with invented values.
func common(language string) letter.Fields {
	greeting := "Dear Anna Jensen,"
	if language == "da" {
		greeting = "Kære Anna Jensen,"
	}
	return letter.Fields{
		"authority.address": letter.Text("Myndighedsvej 1, 1234 Byen"), "authority.email": letter.Text("tilsyn@example.org"), "authority.name": letter.Text("Tilsynet"),
		"authority.phone": letter.Text("12 34 56 78"), "authority.website": letter.URL("https://tilsyn.example.org/"),
		"case.number": letter.Text("S-2026-17"), "case.receivedDate": letter.Date(civil.Date{Year: 2026, Month: 3, Day: 5}),
		"controller.address": letter.Text("Havnegade 2, 8000 Aarhus"), "controller.contact": letter.Text("privat@nordlys.example"),
		"controller.name": letter.Text("Nordlys Advokater A/S"), "letter.date": letter.Date(civil.Date{Year: 2026, Month: 4, Day: 7}),
		"recipient.salutation": letter.Text(greeting),
	}
}

func with(fields, more letter.Fields) letter.Fields {
	maps.Copy(fields, more)
	return fields
}

// examples are letters that together have every type of field, and every rule.
func examples() map[string]func(language string) letter.Fields {
	return map[string]func(string) letter.Fields{
		"acknowledgement": func(language string) letter.Fields {
			return with(common(language), letter.Fields{
				"case.channel": letter.Text("e-mail"), "case.itemList": letter.Items("indsigt", "sletning"),
				"clock.dueDate":   letter.Date(civil.Date{Year: 2026, Month: 4, Day: 7}),
				"clock.traceText": letter.Text("5. marts + 1 måned = 5. april, en søndag; 6. april er 2. påskedag → tirsdag 7. april"),
				"portal.caseUrl":  letter.URL("https://nordlys.example/p/nordlys/cases/1?a=1&b=2"),
			})
		},
		"erasure-answer-partial": func(language string) letter.Fields {
			return with(common(language), letter.Fields{
				"controller.dpoContact": letter.Text("dpo@nordlys.example"), "erasure.backupHorizonDays": letter.Integer(1035),
				"erasure.certificateNumber": letter.Text("C-2026-3"), "portal.certificateUrl": letter.URL("https://nordlys.example/p/nordlys/check"),
				"erasure.doneDate": letter.Date(civil.Date{Year: 2026, Month: 4, Day: 1}), "erasure.erasedList": letter.Items("kontaktoplysninger", "nyhedsbreve", "a | b *c* <d>"),
				"erasure.keptRows": letter.Rows(
					[]string{"Kundekendskab", "Loven mod hvidvask kræver det", "§ 30", "1. januar 2031"},
					[]string{"Bilag | kvitteringer", "Bogføringsloven kræver det", "§ 12", "31. december 2031"},
				),
			})
		},
		"consent-receipt": func(language string) letter.Fields {
			fields := common(language)
			delete(fields, "case.receivedDate")
			return with(fields, letter.Fields{
				"consent.dataCategories": letter.Text("e-mail"), "consent.givenAt": letter.Instant(time.Date(2026, 6, 12, 13, 20, 0, 0, time.UTC)),
				"consent.noticeTitle": letter.Text("Nyhedsbrev"), "consent.noticeUrl": letter.URL("https://nordlys.example/n/1"), "consent.noticeVersion": letter.Text("2"),
				"consent.purposeList": letter.Items("nyhedsbrev", "invitationer"), "consent.receiptId": letter.Text("R-1"),
				"portal.consentUrl": letter.URL("https://nordlys.example/c"), "portal.verifyUrl": letter.URL("https://nordlys.example/v"),
			})
		},
	}
}

// TestGolden compares whole letters in both languages. Run with -update to write
// them anew, and read what changed.
func TestGolden(t *testing.T) {
	t.Parallel()
	o := open(t)
	for name, fields := range examples() {
		for _, language := range letter.Languages() {
			l, err := o.Render(o.as(t, testenv.One, "mem_1"), name, language, fields(language))
			if err != nil {
				t.Errorf("%s in %s: %v", name, language, err)
				continue
			}
			for kind, have := range map[string]string{"md": l.Markdown.Reveal(), "txt": "Subject: " + l.Subject + "\n\n" + l.Text.Reveal(), "html": l.HTML.Reveal()} {
				path := filepath.Join("testdata", name+"."+language+"."+kind)
				if *update {
					if err := os.WriteFile(path, []byte(have), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil || string(want) != have {
					t.Errorf("%s isn't as it was (%v):\n%s", path, err, have)
				}
			}
			var pdf bytes.Buffer
			if err := l.PDF(&pdf); err != nil || !bytes.HasPrefix(pdf.Bytes(), []byte("%PDF-1.7")) {
				t.Errorf("%s in %s as PDF: %v", name, language, err)
			}
			if l.From.Version != 1 || l.From.Template != nil || len(l.From.Digest) != 64 || l.From.Language != language {
				t.Errorf("%s in %s is from %+v", name, language, l.From)
			}
			if printed := fmt.Sprintf("%v %+v %#v", l, *l, *l); strings.Contains(printed, "Anna") {
				t.Errorf("a letter prints what it says: %s", printed)
			}
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	o := open(t)
	for name, tt := range map[string]struct {
		letter string
		change func(letter.Fields)
		want   string
	}{
		"missing": {"acknowledgement", func(f letter.Fields) { delete(f, "clock.dueDate") }, "PRECONDITION letter.field fields.clock.dueDate"},
		"empty text": {
			"acknowledgement", func(f letter.Fields) { f["case.channel"] = letter.Text(" \n") }, "PRECONDITION letter.field fields.case.channel",
		},
		"empty list":   {"acknowledgement", func(f letter.Fields) { f["case.itemList"] = letter.Items("") }, "PRECONDITION letter.field fields.case.itemList"},
		"no date":      {"acknowledgement", func(f letter.Fields) { f["letter.date"] = letter.Date(civil.Date{}) }, "PRECONDITION letter.field fields.letter.date"},
		"no rows":      {"erasure-answer-partial", func(f letter.Fields) { f["erasure.keptRows"] = letter.Rows() }, "PRECONDITION letter.field fields.erasure.keptRows"},
		"unknown":      {"acknowledgement", func(f letter.Fields) { f["case.secret"] = letter.Text("x") }, "INVALID fields.case.secret"},
		"another type": {"acknowledgement", func(f letter.Fields) { f["clock.dueDate"] = letter.Text("7. april") }, "INVALID fields.clock.dueDate"},
		"narrow rows": {
			"erasure-answer-partial", func(f letter.Fields) { f["erasure.keptRows"] = letter.Rows([]string{"a"}) }, "INVALID fields.erasure.keptRows",
		},
		"list for rows": {
			"erasure-answer-partial", func(f letter.Fields) { f["erasure.keptRows"] = letter.Items("a") }, "INVALID fields.erasure.keptRows",
		},
		"rows for list": {"acknowledgement", func(f letter.Fields) { f["case.itemList"] = letter.Rows([]string{"a"}) }, "INVALID fields.case.itemList"},
		"script":        {"acknowledgement", func(f letter.Fields) { f["portal.caseUrl"] = letter.URL("javascript:alert(1)") }, "INVALID fields.portal.caseUrl"},
	} {
		fields := examples()[tt.letter]("da")
		tt.change(fields)
		if _, err := o.Render(o.as(t, testenv.One, "mem_1"), tt.letter, "da", fields); rule(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if _, err := o.Render(o.as(t, testenv.One, "mem_1"), "nothing", "da", nil); rule(err) != "NOT_FOUND" {
		t.Errorf("a letter that there isn't: %v", err)
	}
}

// TestOptional sees that what an optional field stands in goes with it.
func TestOptional(t *testing.T) {
	t.Parallel()
	o := open(t)
	write := func(name string, without ...string) string {
		fields := examples()[name]("da")
		for _, f := range without {
			delete(fields, f)
		}
		l, err := o.Render(o.as(t, testenv.One, "mem_1"), name, "da-DK", fields)
		if err != nil {
			t.Fatal(err)
		}
		return l.Text.Reveal()
	}
	whole := write("erasure-answer-partial")
	rest := write("erasure-answer-partial", "erasure.doneDate", "controller.dpoContact", "erasure.certificateNumber")
	for _, gone := range []string{"Det har vi slettet", "Disse oplysninger blev slettet", "Databeskyttelsesrådgiver", "Sletteattest"} {
		if !strings.Contains(whole, gone) || strings.Contains(rest, gone) {
			t.Errorf("%q: there before %v, after %v", gone, strings.Contains(whole, gone), strings.Contains(rest, gone))
		}
	}
	if !strings.Contains(rest, "Derfor har vi stadig disse oplysninger") {
		t.Error("a heading with something under it is gone")
	}
	// An item of a list.
	if receipt := write("consent-receipt"); strings.Contains(receipt, "Hvem der") && strings.Contains(receipt, "{{") || strings.Contains(receipt, "Gælder til") {
		t.Errorf("an item without its value stays: %s", receipt)
	}
	for name := range examples() {
		if text := write(name); strings.Contains(text, "{{") || strings.Contains(text, "}}") {
			t.Errorf("%s has a placeholder left: %s", name, text)
		}
	}
}

// TestEveryLetter writes each letter with invented values, and reads the words of
// each in what was written.
func TestEveryLetter(t *testing.T) {
	t.Parallel()
	o := open(t)
	forms := o.Forms()
	if len(forms) != 68 {
		t.Errorf("%d forms", len(forms))
	}
	for _, f := range forms {
		l, err := o.Preview(o.as(t, testenv.One, "mem_1"), letter.PreviewInput{Letter: f.Letter, Language: f.Language})
		if err != nil {
			t.Errorf("%s in %s: %v", f.Letter, f.Language, err)
			continue
		}
		text := l.Subject + "\n" + l.Text.Reveal()
		for _, field := range f.Fields {
			want := "[" + field.Name
			switch field.Type {
			case letter.TypeURL:
				want = "https://example.org/" + field.Name
			case letter.TypeDate, letter.TypeInstant:
				want = strconv.Itoa(testenv.Now().Year())
			case letter.TypeInteger:
				want = "30"
			case letter.TypeText, letter.TypeBlock:
			}
			if !strings.Contains(text, want) {
				t.Errorf("%s in %s doesn't say %s: %s", f.Letter, f.Language, field.Name, text)
			}
		}
		if err := l.PDF(&bytes.Buffer{}); err != nil {
			t.Errorf("%s in %s: %v", f.Letter, f.Language, err)
		}
	}
}

const shortText = `# Tak, {{case.number}}

{{recipient.salutation}}

Vi modtog den {{case.receivedDate}} ({{case.channel}}) og svarer senest {{clock.dueDate}}: {{clock.traceText}}

{{case.itemList}}

Se {{portal.caseUrl}}. Klag til {{authority.name}}, {{authority.address}}, {{authority.phone}}, {{authority.email}}, {{authority.website}} eller gå til domstolene (artikel 79).

{{controller.name}}, {{controller.address}}, {{controller.contact}}, {{letter.date}}
`

func TestLifeOfATemplate(t *testing.T) {
	t.Parallel()
	o := open(t)
	propose := func(source string) *letter.Template {
		p, err := o.Propose(o.as(t, testenv.One, "mem_1"), letter.ProposeInput{Letter: "acknowledgement", Language: "da", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	subject := func(of tenant.ID) string {
		l, err := o.Render(o.as(t, of, "mem_3"), "acknowledgement", "da", examples()["acknowledgement"]("da"))
		if err != nil {
			t.Fatal(err)
		}
		if (l.From.Template != nil) != (l.From.Version > 0 && strings.HasPrefix(l.Subject, "Tak")) {
			t.Errorf("%q is from %+v", l.Subject, l.From)
		}
		return l.Subject
	}
	const platforms, own = "Vi har modtaget din henvendelse", "Tak, S-2026-17"
	first := propose(shortText)
	if first.State != letter.Proposed || first.Version != 1 || subject(testenv.One) != platforms {
		t.Errorf("proposed: %+v", first)
	}
	if _, err := o.Approve(o.as(t, testenv.One, "mem_1"), letter.ApproveInput{ID: first.ID}); rule(err) != "FORBIDDEN letter.fourEyes" {
		t.Errorf("approved by the proposer: %v", err)
	}
	for name, act := range map[string]func() error{
		"approved": func() error {
			_, err := o.Approve(o.as(t, testenv.Two, "mem_2"), letter.ApproveInput{ID: first.ID})
			return err
		},
		"withdrawn": func() error {
			_, err := o.Withdraw(o.as(t, testenv.Two, "mem_2"), letter.WithdrawInput{ID: first.ID})
			return err
		},
		"read": func() error { _, err := o.Get(o.as(t, testenv.Two, "mem_2"), first.ID); return err },
	} {
		if err := act(); rule(err) != "NOT_FOUND" {
			t.Errorf("%s by another tenant: %v", name, err)
		}
	}
	approved, err := o.Approve(o.as(t, testenv.One, "mem_2"), letter.ApproveInput{ID: first.ID})
	if err != nil || approved.State != letter.Active || *approved.ApprovedBy != "mem_2" || subject(testenv.One) != own {
		t.Errorf("approved: %+v, %v", approved, err)
	}
	if subject(testenv.Two) != platforms {
		t.Error("another tenant's letter is changed")
	}
	if _, err := o.Approve(o.as(t, testenv.One, "mem_2"), letter.ApproveInput{ID: first.ID}); rule(err) != "PRECONDITION letter.state" {
		t.Errorf("approved twice: %v", err)
	}
	second := propose(strings.Replace(shortText, "# Tak", "# Tak igen", 1))
	if _, err := o.Approve(o.as(t, testenv.One, "mem_2"), letter.ApproveInput{ID: second.ID}); err != nil || second.Version != 2 || subject(testenv.One) != "Tak igen, S-2026-17" {
		t.Errorf("the second: %+v, %v", second, err)
	}
	if before, err := o.Get(o.as(t, testenv.One, "mem_1"), first.ID); err != nil || before.State != letter.Withdrawn {
		t.Errorf("the first, after the second: %+v, %v", before, err)
	}
	if _, err := o.Withdraw(o.as(t, testenv.One, "mem_1"), letter.WithdrawInput{ID: second.ID}); err != nil || subject(testenv.One) != platforms {
		t.Errorf("withdrawn: %v", err)
	}
	if _, err := o.Withdraw(o.as(t, testenv.One, "mem_1"), letter.WithdrawInput{ID: second.ID}); rule(err) != "PRECONDITION letter.state" {
		t.Errorf("withdrawn twice: %v", err)
	}
	listed, err := o.List(o.as(t, testenv.One, "mem_1"), page.Request{First: 10})
	if err != nil || len(listed.Edges) != 2 {
		t.Errorf("listed: %+v, %v", listed, err)
	}
	others, err := o.List(o.as(t, testenv.Two, "mem_1"), page.Request{First: 10})
	if err != nil || len(others.Edges) != 0 {
		t.Errorf("listed by another tenant: %+v, %v", others, err)
	}
}

func TestUnfitText(t *testing.T) {
	t.Parallel()
	o := open(t)
	for name, source := range map[string]string{
		"undeclared":         shortText + "\n{{erasure.doneDate}}\n",
		"required gone":      strings.ReplaceAll(shortText, "{{authority.phone}}, ", ""),
		"no remedy":          strings.ReplaceAll(shortText, " (artikel 79)", ""),
		"no subject":         strings.Replace(shortText, "# Tak, {{case.number}}", "Tak {{case.number}}", 1),
		"block in subject":   strings.Replace(shortText, "# Tak", "# Tak {{case.itemList}}", 1),
		"optional subject":   strings.Replace(shortText, "# Tak", "# Tak {{controller.dpoContact}}", 1),
		"malformed":          shortText + "\n{{case number}}\n",
		"hidden":             shortText + "\n&#123;{case.immediateEffect}\n",
		"html":               shortText + "\n<img src=x onerror=alert(1)>\n",
		"script":             shortText + "\n[x](javascript:alert(1))\n",
		"link by value":      shortText + "\n[x]({{portal.caseUrl}})\n",
		"code":               shortText + "\n```\n{{case.number}}\n```\n",
		"header":             shortText + "\n| {{case.number}} |\n|---|\n| x |\n",
		"rows of its own":    shortText + "\n| a |\n|---|\n| {{case.itemList}} |\n",
		"second first level": shortText + "\n# To\n",
		"long":               shortText + strings.Repeat("x", 40<<10),
	} {
		_, err := o.Propose(o.as(t, testenv.One, "mem_1"), letter.ProposeInput{Letter: "acknowledgement", Language: "da", Source: source})
		if rule(err) != "INVALID source" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := o.Preview(o.as(t, testenv.One, "mem_1"), letter.PreviewInput{Letter: "acknowledgement", Language: "da", Source: &source}); rule(err) != "INVALID source" {
			t.Errorf("%s, previewed: %v", name, err)
		}
	}
	for _, in := range []letter.ProposeInput{{Letter: "nothing", Language: "da", Source: shortText}, {Letter: "acknowledgement", Language: "da-DK", Source: shortText}, {Letter: "phrases", Language: "da", Source: shortText}} {
		if _, err := o.Propose(o.as(t, testenv.One, "mem_1"), in); rule(err) != "INVALID letter" {
			t.Errorf("%s in %s: %v", in.Letter, in.Language, err)
		}
	}
}

// FuzzInjection sees that a value stays text, whatever it says.
func FuzzInjection(f *testing.F) {
	for _, s := range []string{
		"Anna", "<script>alert(1)</script>", "[x](javascript:alert(1))", "**fed**", "# Overskrift", "| a | b |", "{{controller.name}}", "\n\n# ny", "<!-- when a = B -->",
		"&lt;b&gt;", "](https://evil.example)", "`", "\\", "- a\n- b", "\u202etxet", "--- \n", "![x](https://evil.example/x.png)", "https://evil.example/",
	} {
		f.Add(s)
	}
	l := letter.NewService(letter.Config{Library: library(f), Store: none{}, Tenants: copenhagen{}, Now: testenv.Now})
	plain, err := l.Render(f.Context(), "erasure-answer-partial", "da", examples()["erasure-answer-partial"]("da"))
	if err != nil {
		f.Fatal(err)
	}
	want := outline(f, plain)
	f.Fuzz(func(t *testing.T, s string) {
		if strings.TrimSpace(s) == "" {
			t.Skip("no value")
		}
		fields := examples()["erasure-answer-partial"]("da")
		fields["recipient.salutation"] = letter.Text(s)
		fields["erasure.erasedList"] = letter.Items(s, s)
		fields["erasure.keptRows"] = letter.Rows([]string{s, s, s, s}, []string{s, "b", "c", "d"})
		have, err := l.Render(t.Context(), "erasure-answer-partial", "da", fields)
		if err != nil {
			if rule(err) != "PRECONDITION letter.field fields.recipient.salutation" && rule(err) != "PRECONDITION letter.field fields.erasure.erasedList" {
				t.Fatal(err)
			}
			return
		}
		if got := outline(t, have); got != want {
			t.Fatalf("%q changed the letter:\n%s\nwas\n%s", s, got, want)
		}
	})
}

// outline returns the elements of a letter's page, with all but text.
func outline(tb testing.TB, l *letter.Letter) string {
	tb.Helper()
	root, err := html.Parse(strings.NewReader(l.HTML.Reveal()))
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			fmt.Fprintln(&b, n.Data, n.Attr)
		}
	}
	return b.String()
}

// none is a store without texts.
type none struct{ letter.Store }

func (none) Active(context.Context, string, string) (*letter.Template, error) {
	return nil, nil //nolint:nilnil // as letter.Store says
}

func TestPhrases(t *testing.T) {
	t.Parallel()
	l := library(t)
	codes := []string{
		"NOT_IDENTIFIED", "UNFOUNDED", "EXCESSIVE", "RIGHT_NOT_APPLICABLE", "RIGHTS_OF_OTHERS", "TRADE_SECRET",
		"E17_3_A", "E17_3_B", "E17_3_C", "E17_3_D", "E17_3_E", "COMPELLING_GROUNDS", "LEGAL_CLAIMS", "NATIONAL_RESTRICTION",
	}
	for _, language := range letter.Languages() {
		refusals := 0
		for phrase := range l.Phrases(language) {
			if strings.HasPrefix(phrase, "refusal.") {
				refusals++
			}
		}
		if refusals != len(codes) {
			t.Errorf("%d refusals in %s", refusals, language)
		}
		for _, c := range codes {
			if _, err := l.Phrase(language, "refusal."+c); err != nil {
				t.Errorf("%s in %s: %v", c, language, err)
			}
		}
		if _, err := l.Phrase(language, "refusal.CONFIDENTIAL_RESTRICTION"); !errors.Is(err, letter.ErrPhrase) {
			t.Errorf("a phrase for what is secret: %v", err)
		}
	}
	if p, _ := l.Phrase("da-DK", "item.ACCESS"); p != "indsigt" {
		t.Errorf("got %q", p)
	}
	if p, _ := l.Phrase("de", "item.ERASURE"); p != "erasure" {
		t.Errorf("got %q", p)
	}
	texts, err := l.PrivacyCentre("en", letter.Fields{"controller.name": letter.Text("Nordlys A/S")}, time.UTC)
	if err != nil || !strings.Contains(texts["start.intro"], "Nordlys A/S") || texts["start.dpo"] != "" || texts["start.title"] == "" {
		t.Errorf("pages: %v, %v", texts["start.intro"], err)
	}
	if _, err := l.PrivacyCentre("en", letter.Fields{"x": letter.Text("y")}, time.UTC); rule(err) != "INVALID fields.x" {
		t.Errorf("a field that there isn't: %v", err)
	}
}

// TestContent checks the platform's own texts: declared and used fields agree,
// both languages are parallel, letters name the remedies, and nothing speaks of
// what AML secrecy covers.
func TestContent(t *testing.T) {
	t.Parallel()
	l := library(t)
	field := regexp.MustCompile(`\{\{\s*([A-Za-z][\w.]*)\s*\}\}`)
	noRemedy := []string{"access-statement", "download-ready", "download-used", "one-time-code", "recipient-notice"}
	for _, f := range l.Forms() {
		name := f.Letter + " in " + f.Language
		used := map[string]bool{}
		for _, m := range field.FindAllStringSubmatch(f.Source, -1) {
			used[m[1]] = true
		}
		declared := map[string]bool{}
		for _, d := range f.Fields {
			if declared[d.Name] || !used[d.Name] {
				t.Errorf("%s: %s is declared twice or not used", name, d.Name)
			}
			declared[d.Name] = true
		}
		if len(used) != len(declared) {
			t.Errorf("%s: uses %d fields and declares %d", name, len(used), len(declared))
		}
		if f.Audience != letter.DataSubject && f.Audience != letter.Recipient || len(f.LegalBasis) == 0 || len(f.Requires) == 0 || f.Version < 1 {
			t.Errorf("%s: head %+v", name, f)
		}
		if !slices.Contains(noRemedy, f.Letter) {
			for _, need := range []string{"name", "address", "phone", "email", "website"} {
				if !used["authority."+need] {
					t.Errorf("%s lacks authority.%s", name, need)
				}
			}
			if !regexp.MustCompile(`artikel 79|Article 79`).MatchString(f.Source) {
				t.Errorf("%s tells of no court", name)
			}
		}
		other, err := l.Form(f.Letter, map[string]string{"da": "en", "en": "da"}[f.Language])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if have, want := parallel(f), parallel(other); have != want {
			t.Errorf("%s and the other language differ:\n%s\n%s", name, have, want)
		}
	}
	files, err := filepath.Glob("content/*/*.md")
	if err != nil || len(files) != 72 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(b[4:]), "\n---\n")
		if m := regexp.MustCompile(`AML_(INVESTIGATION|REPORT)|§ 26|§ 25|§ 38|@@|\bTODO\b|lorem`).FindString(body); m != "" {
			t.Errorf("%s says %q", path, m)
		}
		if head := string(b[:bytes.Index(b, []byte("version"))]); head != "---\nid: "+strings.TrimSuffix(filepath.Base(path), ".md")+"\n" ||
			!bytes.Contains(b, []byte("\nlanguage: "+filepath.Base(filepath.Dir(path))+"\n")) {
			t.Errorf("%s: id or language doesn't match the path", path)
		}
	}
	for _, lines := range []func(string) map[string]string{l.Phrases, func(language string) map[string]string {
		texts, err := l.PrivacyCentre(language, nil, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}} {
		da, en := lines("da"), lines("en")
		for key := range da {
			if en[key] == "" {
				t.Errorf("line %s is missing in English", key)
			}
		}
		if len(da) != len(en) || len(da) < 40 {
			t.Errorf("%d lines in Danish, %d in English", len(da), len(en))
		}
	}
}

// parallel returns what must be the same in both languages.
func parallel(f *letter.Form) string {
	placeholders := regexp.MustCompile(`\{\{\s*([A-Za-z][\w.]*)\s*\}\}`).FindAllString(f.Source, -1)
	count := map[string]int{}
	for _, p := range placeholders {
		count[p]++
	}
	headings := len(regexp.MustCompile(`(?m)^#+ `).FindAllString(f.Source, -1))
	return fmt.Sprint(f.Version, f.Audience, f.LegalBasis, f.Fields, f.Requires, count, headings)
}
