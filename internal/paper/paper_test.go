package paper_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ledongthuc/pdf"
	"golang.org/x/net/html"

	"github.com/vogter/vogter/internal/paper"
)

// sample has one of each kind of block; its table runs over pages.
func sample(rows int) paper.Document {
	table := paper.Table{
		Caption: "Aktiviteter", RowHeader: true,
		Columns: []paper.Column{{Header: "Navn"}, {Header: "Beskrivelse"}, {Header: "Antal", Right: true}},
	}
	for i := range rows {
		table.Rows = append(table.Rows, []paper.Cell{
			paper.Plain(fmt.Sprintf("Række %d", i+1)),
			paper.Plain("Kundekendskab efter hvidvaskloven, herunder identitet og ejerforhold for selskaber og andre juridiske personer"),
			paper.Plain(strconv.Itoa(i * 7)),
		})
	}
	return paper.Document{
		Title: "Blåbærgrød på Ærø", Language: paper.Danish, Sender: "Nordlys A/S", Footer: "Version 3",
		Date: time.Date(2026, 3, 5, 9, 0, 0, 0, time.UTC),
		Body: []paper.Block{
			paper.Paragraph{Text: []paper.Span{
				{Text: "Vi behandler "},
				{Text: "kun", Bold: true},
				{Text: " de oplysninger, som er "},
				{Text: "nødvendige", Italic: true},
				{Text: ", se "},
				{Text: "log/access.csv", Code: true},
				{Text: " og "},
				{Text: "Datatilsynets hjemmeside, hvor der står meget mere", Link: "https://www.datatilsynet.dk/"},
				{Text: ". 日本 Łódź Ελλάδα Україна."},
			}},
			paper.Heading{Level: 1, Text: paper.Plain("Formål")},
			paper.List{Items: []paper.Item{
				{Text: paper.Plain("Et")},
				{Text: paper.Plain("To"), List: &paper.List{Ordered: true, Items: []paper.Item{{Text: paper.Plain("a")}}}},
			}},
			paper.Heading{Level: 2, Text: paper.Plain("Hvem")},
			paper.KeyValue{Pairs: []paper.Pair{{Key: "Dataansvarlig", Value: paper.Plain("Nordlys A/S")}}},
			paper.Code{Text: strings.Repeat("eyJhbGciOiJFZERTQSJ9.", 10) + "\n  slut"},
			paper.PageBreak{},
			paper.Heading{Level: 1, Text: paper.Plain("Tabel")},
			table,
			paper.Signature{Name: "Anna Jensen", Role: "Direktør"},
		},
	}
}

func render(t *testing.T, d paper.Document) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := paper.Render(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t *testing.T, file []byte) *pdf.Reader {
	t.Helper()
	r, err := pdf.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kinds returns the kinds of elements below v, as an S-expression without rows beyond the first two of a table.
func kinds(v pdf.Value) string {
	var b strings.Builder
	b.WriteString(v.Key("S").Name())
	inside := []string{}
	kids := v.Key("K")
	for i := range kids.Len() {
		if k := kids.Index(i); k.Key("S").Name() != "" && (v.Key("S").Name() != "TBody" || i < 1) {
			inside = append(inside, kinds(k))
		}
	}
	if scope := v.Key("A").Key("Scope").Name(); scope != "" {
		b.WriteString("/" + scope)
	}
	if len(inside) > 0 {
		b.WriteString("(" + strings.Join(inside, " ") + ")")
	}
	return b.String()
}

func TestTags(t *testing.T) {
	t.Parallel()
	r := open(t, render(t, sample(40)))
	root := r.Trailer().Key("Root")
	want := "Document(P H1 P(Link) H2 L(LI(Lbl LBody) LI(Lbl LBody(L(LI(Lbl LBody))))) H3 Table(TBody(TR(TH/Row TD))) P H2 " +
		"Table(Caption THead(TR(TH/Column TH/Column TH/Column)) TBody(TR(TH/Row TD TD))) P P P P)"
	if have := kinds(root.Key("StructTreeRoot").Key("K").Index(0)); have != want {
		t.Errorf("structure\nhave %s\nwant %s", have, want)
	}
	if lang := root.Key("Lang").RawString(); lang != "da" {
		t.Errorf("language %q", lang)
	}
	if !root.Key("MarkInfo").Key("Marked").Bool() || !root.Key("ViewerPreferences").Key("DisplayDocTitle").Bool() {
		t.Error("the file doesn't say that it is tagged and to be shown by its title")
	}
	if title := r.Trailer().Key("Info").Key("Title").Text(); title != "Blåbærgrød på Ærø" {
		t.Errorf("title %q", title)
	}
	xmp, err := io.ReadAll(root.Key("Metadata").Reader())
	if err != nil || !strings.Contains(string(xmp), "<pdfuaid:part>1</pdfuaid:part>") || !strings.Contains(string(xmp), "Blåbærgrød på Ærø") {
		t.Errorf("metadata %s, %v", xmp, err)
	}
	var bookmarks []string
	var walk func(o pdf.Outline, depth string)
	walk = func(o pdf.Outline, depth string) {
		for _, c := range o.Child {
			bookmarks = append(bookmarks, depth+c.Title)
			walk(c, depth+">")
		}
	}
	walk(r.Outline(), "")
	if d := cmp.Diff([]string{"Formål", ">Hvem", "Tabel"}, bookmarks); d != "" {
		t.Errorf("bookmarks: %s", d)
	}
}

// TestMarked sees that all that is drawn is either content of an element of the
// structure or an artifact, and that the parent tree leads from each content to it.
func TestMarked(t *testing.T) {
	t.Parallel()
	r := open(t, render(t, sample(40)))
	nums := r.Trailer().Key("Root").Key("StructTreeRoot").Key("ParentTree").Key("Nums")
	if r.NumPage() < 3 {
		t.Fatalf("%d pages", r.NumPage())
	}
	for n := 1; n <= r.NumPage(); n++ {
		page := r.Page(n).V
		key := int(page.Key("StructParents").Int64())
		if nums.Index(2*key).Int64() != int64(key) {
			t.Fatalf("page %d: the parent tree isn't in order", n)
		}
		owners := nums.Index(2*key + 1)
		marked, depth := 0, 0
		for i := range page.Key("Contents").Len() {
			content, err := io.ReadAll(page.Key("Contents").Index(i).Reader())
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range regexp.MustCompile(`MCID (\d+)|B[DM]C|EMC|Tj|\bS\n|\bf\b`).FindAllSubmatch(content, -1) {
				switch name := string(op[0]); {
				case strings.HasPrefix(name, "MCID"):
					if string(op[1]) != strconv.Itoa(marked) {
						t.Fatalf("page %d: content %s comes as number %d", n, op[1], marked)
					}
					marked++
				case name == "BDC" || name == "BMC":
					depth++
				case name == "EMC":
					depth--
				case depth != 1:
					t.Fatalf("page %d: %s at depth %d", n, name, depth)
				}
			}
			if depth != 0 {
				t.Fatalf("page %d: marked content isn't closed", n)
			}
		}
		if owners.Len() != marked || marked == 0 {
			t.Errorf("page %d: %d contents, the parent tree knows %d", n, marked, owners.Len())
		}
		links := page.Key("Annots")
		for i := range links.Len() {
			a := links.Index(i)
			owner := nums.Index(2*int(a.Key("StructParent").Int64()) + 1)
			if owner.Key("S").Name() != "Link" || a.Key("Contents").Text() == "" || a.Key("A").Key("URI").RawString() != "https://www.datatilsynet.dk/" {
				t.Errorf("page %d: a link without its element, words or address", n)
			}
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	r := open(t, render(t, sample(40)))
	pages := r.NumPage()
	var whole strings.Builder
	for n := 1; n <= pages; n++ {
		text, err := r.Page(n).GetPlainText(nil)
		if err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, "\n", "")
		whole.WriteString(text)
		if want := fmt.Sprintf("side %d af %d", n, pages); !strings.Contains(text, want) || !strings.Contains(text, "Version 3") {
			t.Errorf("page %d lacks its footer %q", n, want)
		}
		if n > 2 && n < pages && !strings.Contains(text, "NavnBeskrivelseAntal") {
			t.Errorf("page %d lacks the header of the table", n)
		}
	}
	for _, want := range []string{
		"Nordlys A/S", "Blåbærgrød på Ærø", "Vi behandler kun de oplysninger, som er nødvendige, se log/access.csv", "日本 Łódź Ελλάδα Україна.",
		"•", "Række 40", "273", "DatoUnderskriftAnna JensenDirektør",
	} {
		if !strings.Contains(whole.String(), want) {
			t.Errorf("no %q in %s", want, whole.String())
		}
	}
}

// TestPoppler reads a file as a widely used viewer does.
func TestPoppler(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("pdfinfo")
	if err != nil {
		t.Skip("pdfinfo, of poppler-utils, isn't installed")
	}
	path := filepath.Join(t.TempDir(), "sample.pdf")
	if err := os.WriteFile(path, render(t, sample(60)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "-struct-text", path).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("rror")) {
		t.Fatalf("%v: %s", err, out[:min(len(out), 2000)])
	}
	for _, want := range []string{"H1 (block)\n    \"Blåbærgrød på Ærø\"", "/Scope /Column", "\"Række 60\"", "\"Direktør\""} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
}

func TestSameBytes(t *testing.T) {
	t.Parallel()
	first, again := render(t, sample(40)), render(t, sample(40))
	if !bytes.Equal(first, again) {
		t.Error("the same document gave other bytes")
	}
	later := sample(40)
	later.Date = later.Date.AddDate(0, 0, 1)
	if bytes.Equal(first, render(t, later)) {
		t.Error("another date gave the same bytes")
	}
}

// TestLongRow sees a row that no page has room for broken over pages, and a word
// that no line has room for broken over lines.
func TestLongRow(t *testing.T) {
	t.Parallel()
	d := paper.Document{Title: "T", Language: paper.English, Landscape: true, Body: []paper.Block{paper.Table{
		Columns: []paper.Column{{Header: "a"}, {Header: "b"}},
		Rows:    [][]paper.Cell{{paper.Plain(strings.Repeat("word ", 5000)), paper.Plain(strings.Repeat("x", 3000) + "end")}},
	}}}
	r := open(t, render(t, d))
	var whole strings.Builder
	for n := 1; n <= r.NumPage(); n++ {
		text, err := r.Page(n).GetPlainText(nil)
		if err != nil {
			t.Fatal(err)
		}
		whole.WriteString(strings.ReplaceAll(text, "\n", ""))
	}
	if have := strings.Count(whole.String(), "word"); have != 5000 || r.NumPage() < 3 {
		t.Errorf("%d of 5000 words on %d pages", have, r.NumPage())
	}
	if have := strings.Count(whole.String(), "x"); have != 3000 {
		t.Errorf("%d of 3000 letters of a long word", have)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*paper.Document){
		"title":    func(d *paper.Document) { d.Title = " " },
		"language": func(d *paper.Document) { d.Language = "de" },
		"level":    func(d *paper.Document) { d.Body = []paper.Block{paper.Heading{Level: 2}} },
		"columns":  func(d *paper.Document) { d.Body = []paper.Block{paper.Table{}} },
		"cells": func(d *paper.Document) {
			d.Body = []paper.Block{paper.Table{Columns: make([]paper.Column, 2), Rows: [][]paper.Cell{{nil}}}}
		},
		"script": func(d *paper.Document) {
			d.Body = []paper.Block{paper.Paragraph{Text: []paper.Span{{Text: "x", Link: "javascript:alert(1)"}}}}
		},
		"relative": func(d *paper.Document) {
			d.Body = []paper.Block{paper.List{Items: []paper.Item{{List: &paper.List{Items: []paper.Item{{Text: []paper.Span{{Link: "/x"}}}}}}}}}
		},
	} {
		d := sample(1)
		change(&d)
		for kind, write := range map[string]func(io.Writer, paper.Document) error{"pdf": paper.Render, "html": paper.HTML, "text": paper.Text, "markdown": paper.Markdown} {
			if err := write(io.Discard, d); !errors.Is(err, paper.ErrDocument) {
				t.Errorf("%s as %s: %v", name, kind, err)
			}
		}
	}
	if err := paper.Render(full{}, sample(40)); err == nil || errors.Is(err, paper.ErrDocument) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestHTML(t *testing.T) {
	t.Parallel()
	d := sample(3)
	d.Body = append(d.Body, paper.Paragraph{Text: paper.Plain("<script>alert(1)</script> & \u202eevil")})
	var b bytes.Buffer
	if err := paper.HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	counts, text := map[string]int{}, ""
	for n := range root.Descendants() {
		switch n.Type { //nolint:exhaustive // the rest has neither
		case html.ElementNode:
			counts[n.Data]++
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" {
					t.Errorf("%s has %s", n.Data, a.Key)
				}
				if n.Data == "html" && (a.Key != "lang" || a.Val != "da") {
					t.Errorf("html has %s=%s", a.Key, a.Val)
				}
			}
		case html.TextNode:
			text += n.Data
		}
	}
	want := map[string]int{
		"html": 1, "head": 1, "meta": 3, "title": 1, "style": 1, "body": 1, "header": 1, "main": 1, "footer": 1, "h1": 1, "h2": 2, "h3": 1,
		"p": 6, "strong": 1, "em": 1, "code": 2, "pre": 1, "a": 1, "ul": 1, "ol": 1, "li": 3, "table": 2, "caption": 1, "thead": 1, "tbody": 2,
		"tr": 5, "th": 7, "td": 7, "div": 3, "br": 2,
	}
	if d := cmp.Diff(want, counts); d != "" {
		t.Error(d)
	}
	if !strings.Contains(text, "<script>alert(1)</script> & evil") {
		t.Error("text isn't as written, without what turns its direction")
	}
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := paper.Text(&b, sample(1)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"mere <https://www.datatilsynet.dk/>.", "\n\nFormål\n\n- Et\n- To\n  1. a\n", "\nDataansvarlig: Nordlys A/S\n", "\nNavn: Række 1\nBeskrivelse: ", "Antal: 0\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %s", want, b.String())
		}
	}
}

func TestMarkdownRefused(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"<b>x</b>", "x <b>y</b>", "![x](https://example.org/x.png)", "> x", "***\n\nx", "[x](javascript:alert(1))", "[x](/relative)", "<javascript:x>", "x\n\n# late", "# a\n\n# b", "- a\n\n  b",
	} {
		if d, err := paper.FromMarkdown(source); !errors.Is(err, paper.ErrMarkdown) {
			t.Errorf("%q: %v, %v", source, d, err)
		}
	}
}
