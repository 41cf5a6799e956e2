package paper

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	rendered "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/vogter/vogter/internal/errs"
)

// ErrMarkdown reports Markdown that doesn't fit a Document; the message says why
// and is fit for whoever wrote it.
var ErrMarkdown = errs.New(errs.Invalid, "the Markdown can't be put on paper")

// FromMarkdown reads CommonMark, with tables, as a Document. The first heading,
// "# …", is its title; the caller sets the rest. Headings, paragraphs, lists,
// tables, emphasis, links, code and line breaks are read. HTML, images, quotations
// and horizontal lines are refused with ErrMarkdown.
func FromMarkdown(source string) (Document, error) {
	p := parser.NewParser(
		parser.WithBlockParsers(parser.DefaultBlockParsers()...),
		parser.WithInlineParsers(parser.DefaultInlineParsers()...),
		parser.WithParagraphTransformers(append(parser.DefaultParagraphTransformers(), util.Prioritized(extension.NewTableParagraphTransformer(), 200))...),
		parser.WithASTTransformers(util.Prioritized(extension.NewTableASTTransformer(), 0)),
	)
	r := reader{source: []byte(source)}
	root := p.Parse(text.NewReader(r.source))
	var d Document
	for n := root.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok && h.Level == 1 {
			if d.Title != "" || len(d.Body) > 0 {
				return Document{}, unfit("only the first heading may be of the first level")
			}
			spans, err := r.spans(n)
			if err != nil {
				return Document{}, err
			}
			for _, s := range spans {
				d.Title += s.Text
			}
			continue
		}
		b, err := r.block(n)
		if err != nil {
			return Document{}, err
		}
		if b != nil {
			d.Body = append(d.Body, b)
		}
	}
	return d, nil
}

func unfit(why string) error { return errs.New(errs.Invalid, "%s", why).Because(ErrMarkdown) }

// reader makes blocks of the nodes of a source.
type reader struct{ source []byte }

func (r *reader) block(n ast.Node) (Block, error) {
	switch n := n.(type) {
	case *ast.Heading:
		spans, err := r.spans(n)
		return Heading{Level: n.Level - 1, Text: spans}, err
	case *ast.Paragraph:
		spans, err := r.spans(n)
		return Paragraph{Text: spans}, err
	case *ast.List:
		l, err := r.list(n)
		if err != nil {
			return nil, err
		}
		return *l, nil
	case *extast.Table:
		return r.table(n)
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		var b strings.Builder
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			b.Write(line.Value(r.source))
		}
		return Code{Text: b.String()}, nil
	case *ast.LinkReferenceDefinition:
		return nil, nil //nolint:nilnil // it leaves no block
	case *ast.HTMLBlock:
		return nil, unfit("HTML isn't allowed")
	case *ast.Blockquote:
		return nil, unfit("a quotation isn't allowed")
	case *ast.ThematicBreak:
		return nil, unfit("a horizontal line isn't allowed")
	default:
		return nil, unfit("it has a block of an unknown kind")
	}
}

func (r *reader) list(n *ast.List) (*List, error) {
	l := &List{Ordered: n.IsOrdered()}
	for i := n.FirstChild(); i != nil; i = i.NextSibling() {
		var item Item
		for c := i.FirstChild(); c != nil; c = c.NextSibling() {
			var err error
			switch c := c.(type) {
			case *ast.TextBlock, *ast.Paragraph:
				if item.Text != nil || item.List != nil {
					return nil, unfit("an item of a list may only have one paragraph, and a list below it")
				}
				item.Text, err = r.spans(c)
			case *ast.List:
				if item.List != nil {
					return nil, unfit("an item of a list may only have one list below it")
				}
				item.List, err = r.list(c)
			default:
				err = unfit("an item of a list may only have text and a list below it")
			}
			if err != nil {
				return nil, err
			}
		}
		l.Items = append(l.Items, item)
	}
	return l, nil
}

func (r *reader) table(n *extast.Table) (Block, error) {
	var t Table
	for row := n.FirstChild(); row != nil; row = row.NextSibling() {
		cells := make([]Cell, 0, len(n.Alignments))
		for c := row.FirstChild(); c != nil; c = c.NextSibling() {
			spans, err := r.spans(c)
			if err != nil {
				return nil, err
			}
			cells = append(cells, spans)
		}
		if _, ok := row.(*extast.TableHeader); !ok {
			for len(cells) < len(t.Columns) {
				cells = append(cells, nil)
			}
			t.Rows = append(t.Rows, cells[:len(t.Columns)])
			continue
		}
		for i, c := range cells {
			t.Columns = append(t.Columns, Column{Header: plain(c), Right: n.Alignments[i] == extast.AlignRight})
		}
	}
	return t, nil
}

// spans returns the text within a node.
func (r *reader) spans(n ast.Node) ([]Span, error) {
	var all []Span
	if err := r.walk(n, Span{}, &all); err != nil {
		return nil, err
	}
	return all, nil
}

// walk adds the text within a node, which is set as in is. Escapes and entities
// are resolved as goldmark does it for a page of HTML.
func (r *reader) walk(n ast.Node, in Span, all *[]Span) error {
	add := func(s string) {
		if k := len(*all); k > 0 {
			last := &(*all)[k-1]
			same := in
			same.Text = last.Text
			if *last == same {
				last.Text += s
				return
			}
		}
		in := in
		in.Text = s
		*all = append(*all, in)
	}
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			var text strings.Builder
			out := bufio.NewWriter(&text)
			rendered.DefaultWriter.Write(out, c.Segment.Value(r.source))
			_ = out.Flush() // a Builder doesn't fail
			add(html.UnescapeString(text.String()))
			switch {
			case c.HardLineBreak():
				add("\n")
			case c.SoftLineBreak():
				add(" ")
			}
		case *ast.String:
			add(string(c.Value))
		case *ast.CodeSpan:
			within := in
			within.Code = true
			var raw strings.Builder
			for t := c.FirstChild(); t != nil; t = t.NextSibling() {
				if t, ok := t.(*ast.Text); ok {
					raw.Write(t.Segment.Value(r.source))
				}
			}
			within.Text = strings.ReplaceAll(raw.String(), "\n", " ")
			*all = append(*all, within)
		case *ast.Emphasis:
			within := in
			within.Bold, within.Italic = in.Bold || c.Level == 2, in.Italic || c.Level == 1
			if err := r.walk(c, within, all); err != nil {
				return err
			}
		case *ast.Link:
			within := in
			within.Link = string(c.Destination)
			if !linkable(within.Link) {
				return unfit("a link may only lead to an http, https, mailto or tel address")
			}
			if err := r.walk(c, within, all); err != nil {
				return err
			}
		case *ast.AutoLink:
			within := in
			within.Link, within.Text = string(c.URL(r.source)), string(c.Label(r.source))
			if c.AutoLinkType == ast.AutoLinkEmail && !strings.HasPrefix(within.Link, "mailto:") {
				within.Link = "mailto:" + within.Link
			}
			if !linkable(within.Link) {
				return unfit("a link may only lead to an http, https, mailto or tel address")
			}
			*all = append(*all, within)
		case *ast.RawHTML:
			return unfit("HTML isn't allowed")
		case *ast.Image:
			return unfit("an image isn't allowed")
		default:
			return unfit("it has text of an unknown kind")
		}
	}
	return nil
}

// Markdown writes a Document as CommonMark with tables, which FromMarkdown reads
// back, all that is text escaped. It fails with ErrDocument, or as w does.
func Markdown(w io.Writer, d Document) error {
	if err := d.check(); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# " + escaped(oneLine(d.Title)) + "\n")
	for _, block := range d.Body {
		b.WriteString("\n" + markdown(block, d.words()))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write Markdown: %w", err)
	}
	return nil
}

func markdown(block Block, w words) string {
	switch b := block.(type) {
	case Heading:
		return strings.Repeat("#", b.Level+1) + " " + oneLine(marked(b.Text)) + "\n"
	case Paragraph:
		return start(marked(b.Text)) + "\n"
	case List:
		return markedList(&b, "")
	case Table:
		var t strings.Builder
		if b.Caption != "" {
			t.WriteString("**" + escaped(oneLine(b.Caption)) + "**\n\n")
		}
		row := func(cells []string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
		headers, rules := make([]string, len(b.Columns)), make([]string, len(b.Columns))
		for i, c := range b.Columns {
			headers[i], rules[i] = escaped(oneLine(c.Header)), "---"
			if c.Right {
				rules[i] = "--:"
			}
		}
		row(headers)
		row(rules)
		for _, r := range b.Rows {
			cells := make([]string, len(r))
			for i, c := range r {
				cells[i] = oneLine(marked(c))
			}
			row(cells)
		}
		return t.String()
	case KeyValue:
		t := Table{Columns: make([]Column, 2)}
		for _, p := range b.Pairs {
			t.Rows = append(t.Rows, []Cell{Plain(p.Key), p.Value})
		}
		return markdown(t, w)
	case Code:
		fence := "```"
		for strings.Contains(b.Text, fence) {
			fence += "`"
		}
		return fence + "\n" + strings.TrimRight(clean(b.Text), "\n") + "\n" + fence + "\n"
	case Signature:
		return start(escaped(strings.TrimSpace(w.date+":\n"+w.signature+":\n"+clean(b.Name)+"\n"+clean(b.Role)))) + "\n"
	default:
		return ""
	}
}

func markedList(l *List, before string) string {
	var t strings.Builder
	for i, item := range l.Items {
		mark := "- "
		if l.Ordered {
			mark = fmt.Sprintf("%d. ", i+1)
		}
		t.WriteString(before + mark + start(oneLine(marked(item.Text))) + "\n")
		if item.List != nil {
			t.WriteString(markedList(item.List, before+strings.Repeat(" ", len(mark))))
		}
	}
	return t.String()
}

// oneLine returns text without line breaks.
func oneLine(s string) string {
	return strings.TrimSpace(strings.NewReplacer("  \n", " ", "\n", " ").Replace(s))
}

// start escapes what at the start of a line would begin something else.
func start(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range lines {
		lines[i] = startLine(l)
	}
	return strings.Join(lines, "\n")
}

func startLine(s string) string {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	switch {
	case s == "":
		return s
	case digits > 0 && digits < len(s) && (s[digits] == '.' || s[digits] == ')'):
		return s[:digits] + `\` + s[digits:]
	case strings.ContainsRune("-+=", rune(s[0])):
		return `\` + s
	}
	return s
}

// escaped returns text that Markdown reads as itself.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range clean(s) {
		switch {
		case r == '\n':
			b.WriteString("  \n") // a line break
			continue
		case strings.ContainsRune("\\`*_[]<>&|~#", r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func marked(spans []Span) string {
	var b strings.Builder
	for _, s := range spans {
		t := escaped(s.Text)
		inner := strings.TrimSpace(t)
		if inner == "" {
			b.WriteString(t)
			continue
		}
		lead, tail := t[:strings.Index(t, inner)], t[strings.Index(t, inner)+len(inner):]
		if s.Code {
			fence := "`"
			for strings.Contains(s.Text, fence) {
				fence += "`"
			}
			inner = fence + strings.ReplaceAll(strings.TrimSpace(clean(s.Text)), "|", `\|`) + fence
		}
		marks := ""
		if s.Bold {
			marks += "**"
		}
		if s.Italic {
			marks += "*"
		}
		switch {
		case s.Link == "":
		case s.Link == s.Text && strings.Contains(s.Link, "://") && !strings.ContainsAny(s.Link, "<>| \\"):
			inner = "<" + s.Link + ">"
		default:
			inner = "[" + inner + "](<" + strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "", `\`, "%5C", "|", "%7C").Replace(s.Link) + ">)"
		}
		runes := []byte(marks)
		slices.Reverse(runes)
		b.WriteString(lead + marks + inner + string(runes) + tail)
	}
	return b.String()
}
