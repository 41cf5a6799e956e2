package letter

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
)

// Fields are the values of a letter by the names that its form declares.
type Fields map[string]Value

// Value is the value of a field. It may be personal data, and is never printed.
// The zero Value, an empty text and an empty list are no value.
type Value struct {
	of      Type
	text    personal.Text
	date    civil.Date
	at      time.Time
	number  int64
	items   []personal.Text   // a list
	rows    [][]personal.Text // rows of a table
	prose   bool              // items are paragraphs
	present bool
}

// Text is plain text; line breaks in it become spaces.
func Text(s string) Value {
	s = strings.Join(strings.Fields(s), " ")
	return Value{of: TypeText, text: personal.NewText(s), present: s != ""}
}

// Date is a day.
func Date(d civil.Date) Value { return Value{of: TypeDate, date: d, present: !d.IsZero()} }

// Instant is a time, written in the tenant's zone.
func Instant(t time.Time) Value { return Value{of: TypeInstant, at: t, present: !t.IsZero()} }

// Integer is a whole number.
func Integer(n int64) Value { return Value{of: TypeInteger, number: n, present: true} }

// URL is an address that is a link.
func URL(s string) Value {
	s = strings.TrimSpace(s)
	return Value{of: TypeURL, text: personal.NewText(s), present: s != ""}
}

// Items is a list.
func Items(items ...string) Value {
	v := Value{of: TypeBlock}
	for _, s := range items {
		if s = strings.Join(strings.Fields(s), " "); s != "" {
			v.items, v.present = append(v.items, personal.NewText(s)), true
		}
	}
	return v
}

// Prose is text in paragraphs, such as reasons.
func Prose(paragraphs ...string) Value {
	v := Items(paragraphs...)
	v.prose = true
	return v
}

// Rows are rows of a table, with as many cells as the form's table has columns.
func Rows(rows ...[]string) Value {
	v := Value{of: TypeBlock, rows: [][]personal.Text{}, present: len(rows) > 0}
	for _, row := range rows {
		cells := make([]personal.Text, len(row))
		for i, c := range row {
			cells[i] = personal.NewText(strings.Join(strings.Fields(c), " "))
		}
		v.rows = append(v.rows, cells)
	}
	return v
}

// fits reports whether a value is right for a field that is rows of a table of
// some columns, or isn't when that is 0.
func (v *Value) fits(f *Field, columns int) error {
	switch {
	case v.of != f.Type:
		return misfit(f, "is of type "+strings.ToLower(string(f.Type)))
	case f.Type == TypeURL:
		if u, err := url.Parse(v.text.Reveal()); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			return misfit(f, "is an http or https address")
		}
	case f.Type == TypeBlock && columns > 0:
		if v.rows == nil || slices.ContainsFunc(v.rows, func(row []personal.Text) bool { return len(row) != columns }) {
			return misfit(f, fmt.Sprintf("is rows of %d cells", columns))
		}
	case f.Type == TypeBlock && v.rows != nil:
		return misfit(f, "is a list or paragraphs, not rows")
	}
	return nil
}

func misfit(f *Field, rule string) error {
	return errs.New(errs.Invalid, "%s %s", f.Name, rule).At("fields." + f.Name).Because(ErrField)
}

// inline returns the value as it stands within a sentence.
func (v *Value) inline(in string, zone *time.Location) paper.Span {
	switch v.of {
	case TypeURL:
		return paper.Span{Text: v.text.Reveal(), Link: v.text.Reveal()}
	case TypeDate:
		return paper.Span{Text: v.date.In(in)}
	case TypeInstant:
		return paper.Span{Text: instant(v.at.In(zone), in)}
	case TypeInteger:
		return paper.Span{Text: message.NewPrinter(language.Make(in)).Sprint(number.Decimal(v.number))}
	case TypeBlock:
		separator := ", "
		if v.prose {
			separator = " "
		}
		return paper.Span{Text: strings.Join(reveal(v.items), separator)}
	case TypeText:
		return paper.Span{Text: v.text.Reveal()}
	default:
		return paper.Span{}
	}
}

// block returns the value as it stands alone on its line.
func (v *Value) block() []paper.Block {
	if v.prose {
		var all []paper.Block
		for _, s := range reveal(v.items) {
			all = append(all, paper.Paragraph{Text: paper.Plain(s)})
		}
		return all
	}
	var l paper.List
	for _, s := range reveal(v.items) {
		l.Items = append(l.Items, paper.Item{Text: paper.Plain(s)})
	}
	return []paper.Block{l}
}

func reveal(texts []personal.Text) []string {
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = t.Reveal()
	}
	return all
}

// instant writes a time: "12. juni 2026 kl. 15.20", "12 June 2026 at 15:20".
func instant(t time.Time, in string) string {
	if in == paper.Danish {
		return civil.Of(t).In(in) + t.Format(" kl. 15.04")
	}
	return civil.Of(t).In(in) + t.Format(" at 15:04")
}
