package letter

import (
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/paper"
)

// filler puts values into a form.
type filler struct {
	form   *Form
	fields Fields
	zone   *time.Location
}

// fill returns the form with values in place of its placeholders.
func (f *Form) fill(fields Fields, zone *time.Location) (paper.Document, error) {
	if err := f.check(fields); err != nil {
		return paper.Document{}, err
	}
	w := &filler{form: f, fields: fields, zone: zone}
	d := f.text
	title, _ := w.spans(paper.Plain(f.text.Title))
	d.Title = ""
	for _, s := range title {
		d.Title += s.Text
	}
	d.Body = nil
	for _, b := range f.text.Body {
		d.Body = append(d.Body, w.block(b)...)
	}
	d.Body = prune(d.Body)
	return d, nil
}

// check sees that fields are what the form asks for.
func (f *Form) check(fields Fields) error {
	for name, v := range fields {
		field := f.field(name)
		if field == nil {
			return errs.New(errs.Invalid, "the letter %s has no field of this name", f.Letter).At("fields." + name).Because(ErrField)
		}
		if v.present {
			if err := v.fits(field, f.rows[name]); err != nil {
				return err
			}
		}
	}
	for _, field := range f.Fields {
		if v := fields[field.Name]; field.Required && !v.present {
			return errs.New(errs.Precondition, "the letter %s can't be written without %s: give it a value, and write the letter again", f.Letter, field.Name).
				Under("letter.field").At("fields." + field.Name).Because(ErrMissing)
		}
	}
	return nil
}

// spans returns a text with values; not ok when a value that it needs is missing,
// and the text goes.
func (w *filler) spans(in []paper.Span) (out []paper.Span, ok bool) {
	for _, s := range in {
		at := 0
		for _, m := range placeholder().FindAllStringSubmatchIndex(s.Text, -1) {
			v := w.fields[s.Text[m[2]:m[3]]]
			if !v.present {
				return nil, false
			}
			value := v.inline(w.form.Language, w.zone)
			value.Bold, value.Italic, value.Code = s.Bold, s.Italic, s.Code
			if value.Link == "" {
				value.Link = s.Link
			}
			out = append(out, styled(s, s.Text[at:m[0]])...)
			out = append(out, value)
			at = m[1]
		}
		out = append(out, styled(s, s.Text[at:])...)
	}
	return joined(out), true
}

// styled returns text in the style of s, nothing when there is none.
func styled(s paper.Span, text string) []paper.Span {
	if text == "" {
		return nil
	}
	s.Text = text
	return []paper.Span{s}
}

// joined returns spans with those of one style as one.
func joined(spans []paper.Span) []paper.Span {
	var all []paper.Span
	for _, s := range spans {
		if n := len(all); n > 0 {
			same := s
			same.Text = all[n-1].Text
			if same == all[n-1] {
				all[n-1].Text += s.Text
				continue
			}
		}
		all = append(all, s)
	}
	return all
}

// block returns what becomes of a block: nothing when it goes.
func (w *filler) block(b paper.Block) []paper.Block {
	switch b := b.(type) {
	case paper.Heading:
		if text, ok := w.spans(b.Text); ok {
			return []paper.Block{paper.Heading{Level: b.Level, Text: text}}
		}
	case paper.Paragraph:
		if field := w.form.field(alone(b.Text)); field != nil && field.Type == TypeBlock {
			if v := w.fields[field.Name]; v.present {
				return v.block()
			}
			return nil
		}
		if text, ok := w.spans(b.Text); ok {
			return []paper.Block{paper.Paragraph{Text: text}}
		}
	case paper.List:
		if l := w.list(&b); l != nil {
			return []paper.Block{*l}
		}
	case paper.Table:
		t := b
		t.Rows = nil
		for _, row := range b.Rows {
			t.Rows = append(t.Rows, w.row(row)...)
		}
		if len(t.Rows) > 0 {
			return []paper.Block{t}
		}
	default:
		return []paper.Block{b}
	}
	return nil
}

// list returns a list with values, nil when no item is left.
func (w *filler) list(l *paper.List) *paper.List {
	if l == nil {
		return nil
	}
	filled := paper.List{Ordered: l.Ordered}
	for _, item := range l.Items {
		if text, ok := w.spans(item.Text); ok {
			filled.Items = append(filled.Items, paper.Item{Text: text, List: w.list(item.List)})
		}
	}
	if len(filled.Items) == 0 {
		return nil
	}
	return &filled
}

// row returns the rows that a row becomes.
func (w *filler) row(row []paper.Cell) [][]paper.Cell {
	if name := rowsField(row); w.form.rows[name] > 0 {
		var all [][]paper.Cell
		for _, values := range w.fields[name].rows {
			cells := make([]paper.Cell, len(values))
			for i, s := range reveal(values) {
				cells[i] = paper.Plain(s)
			}
			all = append(all, cells)
		}
		return all
	}
	filled := make([]paper.Cell, len(row))
	for i, c := range row {
		var ok bool
		if filled[i], ok = w.spans(c); !ok {
			return nil
		}
	}
	return [][]paper.Cell{filled}
}

// prune takes away headings with nothing left under them.
func prune(body []paper.Block) []paper.Block {
	var kept []paper.Block
	for i, b := range body {
		if h, ok := b.(paper.Heading); ok && !under(body[i+1:], h.Level) {
			continue
		}
		kept = append(kept, b)
	}
	return kept
}

// under reports whether something but headings comes before the next heading of
// a level or above it.
func under(rest []paper.Block, level int) bool {
	for _, b := range rest {
		h, ok := b.(paper.Heading)
		if !ok {
			return true
		}
		if h.Level <= level {
			return false
		}
	}
	return false
}
