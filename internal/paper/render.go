package paper

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// body is how running text is set, cell that of tables.
func body() style { return style{size: 10500, leading: 15 * point} }
func cell() style { return style{size: 9 * point, leading: 12 * point} }

// heading is how a heading is set; level 0 is the title.
func heading(level int) style {
	sizes := [...]pt{20 * point, 14 * point, 12 * point, 10500, 10500, 10500}
	return style{size: sizes[level], leading: sizes[level] * 5 / 4, strong: true}
}

const (
	gap     = 8 * point  // between blocks
	indent  = 18 * point // of a list
	padding = 4 * point  // in a cell
)

// Render writes a Document as PDF. It fails with ErrDocument, or as w does.
func Render(w io.Writer, d Document) error {
	if err := d.check(); err != nil {
		return err
	}
	all, err := newFaces()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	p := &pages{file: newFile(out), faces: all, doc: &d, width: short, height: long}
	if d.Landscape {
		p.width, p.height = p.height, p.width
	}
	p.tops, p.fonts, p.structure = p.file.reserve(), p.file.reserve(), p.file.reserve()
	p.root = &node{at: p.file.reserve(), kind: "Document", parent: p.structure}
	p.begin()
	p.sender()
	p.heading(0, Plain(d.Title))
	for _, b := range d.Body {
		p.block(b)
		if p.file.err != nil {
			break
		}
	}
	if err := p.finish(); err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write PDF: %w", err)
	}
	return nil
}

func (p *pages) block(b Block) {
	switch b := b.(type) {
	case Heading:
		p.heading(b.Level, b.Text)
	case Paragraph:
		p.skip(gap)
		n := p.open(p.root, "P", "")
		p.text(n, b.Text, body(), p.left(), p.inner())
		p.close(n)
	case List:
		p.skip(gap)
		p.list(p.root, &b, p.left())
	case Table:
		p.table(&b)
	case KeyValue:
		rows := make([][]Cell, len(b.Pairs))
		for i, pair := range b.Pairs {
			rows[i] = []Cell{Plain(pair.Key), pair.Value}
		}
		p.table(&Table{Columns: make([]Column, 2), Rows: rows, RowHeader: true})
	case Code:
		p.skip(gap)
		n := p.open(p.root, "P", "")
		// A space that can't break keeps each character in its place.
		text := strings.ReplaceAll(strings.TrimRight(b.Text, "\n"), " ", "\u00a0")
		p.text(n, []Span{{Text: text, Code: true}}, style{size: 8 * point, leading: 10 * point}, p.left(), p.inner())
		p.close(n)
	case Signature:
		p.signature(&b)
	case PageBreak:
		if !p.fresh() {
			p.next()
		}
	}
}

// sender stands above the title.
func (p *pages) sender() {
	if p.doc.Sender == "" {
		return
	}
	n := p.open(p.root, "P", "")
	p.text(n, Plain(p.doc.Sender), cell(), p.left(), p.inner())
	p.close(n)
}

// heading draws a heading that stays with what follows, and is a bookmark.
func (p *pages) heading(level int, spans []Span) {
	s := heading(level)
	lines := p.faces.breakLines(spans, s, p.inner())
	p.skip(s.size)
	p.need(s.leading*pt(len(lines)) + 4*body().leading)
	if level > 0 {
		var title strings.Builder
		for i := range spans {
			title.WriteString(spans[i].Text)
		}
		p.outline = append(p.outline, bookmark{level: level, title: clean(title.String()), page: p.page, y: p.y})
	}
	n := p.open(p.root, fmt.Sprintf("H%d", level+1), "")
	p.lines(n, lines, s, p.left())
	p.close(n)
}

// text draws text in n.
func (p *pages) text(n *node, spans []Span, s style, left, width pt) {
	p.lines(n, p.faces.breakLines(spans, s, width), s, left)
}

// lines draws lines from where the page stands, on as many pages as they take.
// None is left alone at the foot of a page or on top of the next.
func (p *pages) lines(n *node, lines []line, s style, left pt) {
	l := &links{pages: p, in: n}
	for len(lines) > 0 {
		room := int((p.y - p.bottom()) / s.leading)
		fits := min(room, len(lines))
		if fits < len(lines) && len(lines)-fits == 1 {
			fits--
		}
		if fits < len(lines) && fits < 2 && !p.fresh() {
			fits = 0
		} else {
			fits = max(fits, 1)
		}
		for i := range fits {
			p.y -= s.leading
			p.draw(l, &lines[i], s, left, p.y+s.leading/4)
		}
		lines = lines[fits:]
		if len(lines) > 0 {
			p.next()
		}
	}
	l.end()
}

func (p *pages) list(in *node, b *List, left pt) {
	numbering := "Disc"
	if b.Ordered {
		numbering = "Decimal"
	}
	list := p.open(in, "L", " /A << /O /List /ListNumbering /"+numbering+" >>")
	s := body()
	for i := range b.Items {
		p.need(2 * s.leading)
		item := p.open(list, "LI", "")
		label := p.open(item, "Lbl", "")
		mark := "•"
		if b.Ordered {
			mark = fmt.Sprintf("%d.", i+1)
		}
		p.mark(label)
		p.write(p.faces[regular], s.size, left, p.y-s.leading*3/4, mark)
		p.close(label)
		content := p.open(item, "LBody", "")
		p.text(content, b.Items[i].Text, s, left+indent, p.width-margin-left-indent)
		if b.Items[i].List != nil {
			p.list(content, b.Items[i].List, left+indent)
		}
		p.close(content)
		p.close(item)
		if i < len(b.Items)-1 {
			p.skip(2 * point)
		}
	}
	p.close(list)
}

// signature draws a box to sign in.
func (p *pages) signature(b *Signature) {
	s, w := cell(), p.doc.words()
	p.skip(2 * gap)
	p.need(9 * s.leading)
	p.y -= 3 * s.leading
	middle := p.left() + p.inner()/3
	p.rule(p.left(), middle-2*indent, p.y)
	p.rule(middle, p.width-margin, p.y)
	p.y -= s.leading
	for _, label := range []struct {
		text string
		left pt
	}{{w.date, p.left()}, {w.signature, middle}} {
		n := p.open(p.root, "P", "")
		p.mark(n)
		p.write(p.faces[regular], s.size, label.left, p.y+s.leading/4, label.text)
		p.close(n)
	}
	for _, who := range []string{b.Name, b.Role} {
		if who != "" {
			n := p.open(p.root, "P", "")
			p.text(n, Plain(who), s, middle, p.width-margin-middle)
			p.close(n)
		}
	}
}
