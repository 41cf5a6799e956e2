// Package paper makes documents for people: a Document is a title and a body of
// blocks, and the same Document becomes
//
//   - a PDF (Render): A4, its fonts embedded, tagged for assistive technology
//     (headings, lists, tables with header cells, links, language), with title,
//     bookmarks and page numbers;
//   - a page of HTML without scripts (HTML);
//   - plain text for a mail (Text).
//
// A Document is built from blocks or read from Markdown (FromMarkdown):
//
//	d := paper.Document{
//		Title: "Register over behandlingsaktiviteter", Language: paper.Danish, Date: now,
//		Sender: "Nordlys A/S", Footer: "Version 3",
//		Body: []paper.Block{
//			paper.Heading{Level: 1, Text: paper.Plain("Formål")},
//			paper.Paragraph{Text: []paper.Span{{Text: "Vi gør "}, {Text: "kun", Bold: true}, {Text: " dette."}}},
//			paper.Table{Columns: []paper.Column{{Header: "Navn"}, {Header: "Antal", Right: true}},
//				Rows: [][]paper.Cell{{paper.Plain("Kunder"), paper.Plain("3")}}},
//		},
//	}
//	err := paper.Render(w, d)
//
// All of it is computed here, without another program and without the network:
// the same Document gives the same bytes from the same build of the platform.
// A PDF is written as it is laid out; what is kept is the fonts and, for each
// page, a few numbers.
//
// The font covers the languages written in Latin, Greek and Cyrillic letters.
// Another letter is drawn as a box in the PDF; text taken from the file, and
// what a screen reader speaks, is still right, as is the HTML.
package paper

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/vogter/vogter/internal/errs"
)

// The languages of a Document.
const (
	Danish  = "da"
	English = "en"
)

// maxLevel is the deepest Heading. The title stands above level 1, and PDF and
// HTML know six levels in all.
const maxLevel = 5

// ErrDocument reports a Document that can't be put on paper; the message says why.
var ErrDocument = errs.New(errs.Internal, "the document can't be put on paper")

// Document is what is put on paper.
type Document struct {
	Title     string // stands on top as the main heading; not empty
	Language  string // Danish or English: of the text, and of the words that the platform adds
	Sender    string // whose document it is; stands above the title, may be empty
	Footer    string // stands on each page beside its number, may be empty
	Date      time.Time
	Landscape bool
	Body      []Block
	Attached  *Attachment // lies in the PDF, and in no other form; may be nil
}

// Attachment is a file within a PDF, such as what is signed of what it tells.
type Attachment struct {
	Name      string // letters of ASCII
	MediaType string
	Content   []byte
}

// Block is a part of a Document's body: Heading, Paragraph, List, Table,
// KeyValue, Code, Signature or PageBreak.
type Block interface{ block() }

// Span is a piece of text in one style.
type Span struct {
	Text   string
	Bold   bool
	Italic bool
	Code   bool   // in letters of equal width
	Link   string // where it leads: an http, https, mailto or tel address
}

// Heading is a heading of level 1 (below the title) to 5. It is a bookmark of
// the PDF. No level may be left out on the way down.
type Heading struct {
	Level int
	Text  []Span
}

// Paragraph is running text. A line break in a Span's text breaks the line.
type Paragraph struct{ Text []Span }

// List is a list with bullets, or numbers when Ordered.
type List struct {
	Ordered bool
	Items   []Item
}

// Item is an item of a List, with a list of its own below it or nil.
type Item struct {
	Text []Span
	List *List
}

// Column is a column of a Table. Widths follow from what the columns hold.
type Column struct {
	Header string
	Right  bool // the text stands to the right, as numbers do
}

// Cell is what a cell of a Table holds.
type Cell = []Span

// Table is a table; its header is repeated on each page that it runs over. Each
// row has as many cells as there are columns.
type Table struct {
	Caption   string // stands above it, may be empty
	Columns   []Column
	Rows      [][]Cell
	RowHeader bool // the first cell of each row names the row
}

// Pair is a name and its value.
type Pair struct {
	Key   string
	Value []Span
}

// KeyValue is a table of names and values, without a header.
type KeyValue struct{ Pairs []Pair }

// Code is text of which every character and line break counts, such as a
// signature or a hash, in letters of equal width.
type Code struct{ Text string }

// Signature is a box to sign on paper: date, place for the signature, and the
// name and role of who signs.
type Signature struct {
	Name string
	Role string
}

// PageBreak begins a new page of the PDF.
type PageBreak struct{}

func (Heading) block()   {}
func (Paragraph) block() {}
func (List) block()      {}
func (Table) block()     {}
func (KeyValue) block()  {}
func (Code) block()      {}
func (Signature) block() {}
func (PageBreak) block() {}

// Plain returns text in one Span without a style.
func Plain(text string) []Span { return []Span{{Text: text}} }

// words are what the platform itself says in a Document.
type words struct{ page, of, date, signature string }

func (d *Document) words() words {
	if d.Language == Danish {
		return words{page: "side", of: "af", date: "Dato", signature: "Underskrift"}
	}
	return words{page: "page", of: "of", date: "Date", signature: "Signature"}
}

// check returns ErrDocument, with the reason, for a Document that can't be put on paper.
func (d *Document) check() error {
	switch {
	case strings.TrimSpace(d.Title) == "":
		return fault("it has no title")
	case d.Language != Danish && d.Language != English:
		return fault(`its language is neither "da" nor "en"`)
	}
	level := 0
	for _, b := range d.Body {
		var err error
		switch b := b.(type) {
		case Heading:
			if b.Level < 1 || b.Level > maxLevel || b.Level > level+1 {
				return fault("the levels of its headings leave one out")
			}
			level = b.Level
			err = checkSpans(b.Text)
		case Paragraph:
			err = checkSpans(b.Text)
		case List:
			err = checkList(&b)
		case Table:
			err = checkTable(&b)
		case KeyValue:
			for _, p := range b.Pairs {
				if err == nil {
					err = checkSpans(p.Value)
				}
			}
		case Code, Signature, PageBreak:
		default:
			return fault("it has a block of an unknown kind")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkList(l *List) error {
	for _, i := range l.Items {
		if err := checkSpans(i.Text); err != nil {
			return err
		}
		if i.List != nil {
			if err := checkList(i.List); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTable(t *Table) error {
	if len(t.Columns) == 0 {
		return fault("a table has no columns")
	}
	for _, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return fault("a row of a table has another number of cells than the table has columns")
		}
		for _, c := range row {
			if err := checkSpans(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSpans(spans []Span) error {
	for _, s := range spans {
		if s.Link != "" && !linkable(s.Link) {
			return fault("a link leads elsewhere than to an http, https, mailto or tel address")
		}
	}
	return nil
}

// linkable reports whether a link may lead to address.
func linkable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.Contains([]string{"http", "https", "mailto", "tel"}, u.Scheme) && (u.Host != "" || u.Opaque != "")
}

func fault(why string) error { return errs.New(errs.Internal, "%s", why).Because(ErrDocument) }

// clean returns text in composed form, without control characters (a line break
// stays), and without those that change the direction of what follows, for they
// make a text read as another.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
	return norm.NFC.String(text)
}
