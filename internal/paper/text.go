package paper

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Text writes a Document's body as plain text, for a mail of which the title is
// the subject: a blank line between blocks, lines unbroken. A row of a table is a
// line for each cell, with its header. It fails with ErrDocument, or as w does.
func Text(w io.Writer, d Document) error {
	if err := d.check(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for i, b := range d.Body {
		t := plainBlock(b, d.words())
		if t == "" {
			continue
		}
		if i > 0 {
			t = "\n" + t
		}
		_, _ = out.WriteString(t) // an error stays until Flush
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write text: %w", err)
	}
	return nil
}

func plainBlock(b Block, w words) string {
	switch b := b.(type) {
	case Heading:
		return plain(b.Text) + "\n"
	case Paragraph:
		return plain(b.Text) + "\n"
	case List:
		return plainList(&b, "")
	case Table:
		var t strings.Builder
		if b.Caption != "" {
			t.WriteString(clean(b.Caption) + "\n\n")
		}
		for i, row := range b.Rows {
			if i > 0 {
				t.WriteByte('\n')
			}
			for j, c := range row {
				if b.Columns[j].Header != "" {
					t.WriteString(clean(b.Columns[j].Header) + ": ")
				}
				t.WriteString(plain(c) + "\n")
			}
		}
		return t.String()
	case KeyValue:
		var t strings.Builder
		for _, p := range b.Pairs {
			t.WriteString(clean(p.Key) + ": " + plain(p.Value) + "\n")
		}
		return t.String()
	case Code:
		return strings.TrimRight(clean(b.Text), "\n") + "\n"
	case Signature:
		return strings.TrimRight(fmt.Sprintf("%s:\n%s:\n%s\n%s", w.date, w.signature, clean(b.Name), clean(b.Role)), "\n") + "\n"
	default:
		return ""
	}
}

func plainList(l *List, before string) string {
	var t strings.Builder
	for i, item := range l.Items {
		mark := "- "
		if l.Ordered {
			mark = fmt.Sprintf("%d. ", i+1)
		}
		t.WriteString(before + mark + plain(item.Text) + "\n")
		if item.List != nil {
			t.WriteString(plainList(item.List, before+"  "))
		}
	}
	return t.String()
}

// plain returns the text of spans, and where a link leads unless the text says it.
func plain(spans []Span) string {
	var t strings.Builder
	for _, s := range spans {
		text := clean(s.Text)
		t.WriteString(text)
		if s.Link != "" && s.Link != text && strings.TrimPrefix(s.Link, "mailto:") != text {
			t.WriteString(" <" + s.Link + ">")
		}
	}
	return t.String()
}
