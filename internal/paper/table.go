package paper

import (
	"fmt"
	"strings"
)

// table draws a table, its header again on each page.
func (p *pages) table(t *Table) {
	p.skip(gap)
	s := cell()
	widths := p.columns(t)
	headed := false
	header := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = Plain(c.Header)
		headed = headed || c.Header != ""
	}
	g := &grid{pages: p, table: t, widths: widths, node: p.open(p.root, "Table", "")}
	if headed {
		g.header = g.set(header, true)
	}
	p.need(g.height(g.header) + 4*s.leading)
	if t.Caption != "" {
		n := p.open(g.node, "Caption", "")
		p.text(n, Plain(t.Caption), style{size: s.size, leading: 15 * point, strong: true}, p.left(), p.inner())
		p.close(n)
	}
	if headed {
		head := p.open(g.node, "THead", "")
		row := p.open(head, "TR", "")
		g.drawHeader(row)
		p.close(row)
		p.close(head)
	}
	rows := p.open(g.node, "TBody", "")
	for _, r := range t.Rows {
		g.row(rows, g.set(r, false))
	}
	p.close(rows)
	p.close(g.node)
}

// columns returns the widths of a table's columns: as wide as what they hold,
// where there is room, else shared by how much they hold, no column narrower
// than its longest word unless there's no room even for that.
func (p *pages) columns(t *Table) []pt {
	n := pt(len(t.Columns))
	room := p.inner() - 2*n*padding
	least, most := make([]pt, n), make([]pt, n)
	measure := func(i int, spans []Span, strong bool) {
		var whole, word pt
		for j := range spans {
			face := p.faces.of(&spans[j], strong)
			for row := range strings.SplitSeq(drawn(spans[j].Text), "\n") {
				for w := range strings.SplitAfterSeq(row, " ") {
					width := face.width(w, cell().size)
					whole += width
					word = max(word, width)
				}
			}
		}
		least[i], most[i] = max(least[i], word), max(most[i], whole)
	}
	for i, c := range t.Columns {
		measure(i, Plain(c.Header), true)
	}
	for _, row := range t.Rows {
		for i, c := range row {
			measure(i, c, i == 0 && t.RowHeader)
		}
	}
	var leasts, mosts pt
	for i := range least {
		most[i] = min(most[i], room)
		least[i] = min(least[i], room/2)
		most[i] = max(most[i], least[i], point)
		leasts, mosts = leasts+least[i], mosts+most[i]
	}
	widths := make([]pt, n)
	for i := range widths {
		switch {
		case mosts <= room && t.RowHeader && n > 1: // a name needs no more room than it takes
			widths[i] = most[i]
			if i > 0 {
				widths[i] += (room - mosts) * most[i] / (mosts - most[0])
			}
		case mosts <= room:
			widths[i] = most[i] + (room-mosts)*most[i]/mosts
		case leasts <= room:
			widths[i] = least[i] + (room-leasts)*(most[i]-least[i])/max(mosts-leasts, 1)
		default:
			widths[i] = room * least[i] / leasts
		}
	}
	return widths
}

// grid draws the rows of a table.
type grid struct {
	pages  *pages
	table  *Table
	widths []pt
	header [][]line
	node   *node
}

// set breaks the cells of a row into lines.
func (g *grid) set(row []Cell, strong bool) [][]line {
	set := make([][]line, len(row))
	for i, c := range row {
		s := cell()
		s.strong = strong || i == 0 && g.table.RowHeader
		set[i] = g.pages.faces.breakLines(c, s, g.widths[i])
	}
	return set
}

// height returns the height of a row, 0 of none.
func (g *grid) height(row [][]line) pt {
	if row == nil {
		return 0
	}
	most := 0
	for _, c := range row {
		most = max(most, len(c))
	}
	return pt(most)*cell().leading + 2*padding
}

// drawHeader draws the header, in row or, when that is nil, as what isn't part
// of the text for it was there before.
func (g *grid) drawHeader(row *node) {
	p := g.pages
	height := g.height(g.header)
	p.artifact(func() {
		fmt.Fprintf(&p.content, "0.93 g %s %s %s %s re f 0 g\n", p.left(), p.y-height, p.inner(), height)
	})
	if row == nil {
		p.artifact(func() { g.cells(nil, g.header, 0, -1) })
	} else {
		nodes := make([]*node, len(g.header))
		for i := range nodes {
			nodes[i] = p.open(row, "TH", " /A << /O /Table /Scope /Column >>")
		}
		g.cells(nodes, g.header, 0, -1)
		for _, n := range nodes {
			p.close(n)
		}
	}
	p.y -= height
}

// row draws a row: on a page of its own rather than over two, unless no page has
// room for it.
func (g *grid) row(in *node, set [][]line) {
	p := g.pages
	s := cell()
	whole := p.top() - p.bottom() - g.height(g.header)
	if p.y-g.height(set) < p.bottom() && (g.height(set) <= whole || p.y-p.bottom() < 6*s.leading) {
		g.turn()
	}
	tr := p.open(in, "TR", "")
	nodes := make([]*node, len(set))
	for i := range nodes {
		kind, attrs := "TD", ""
		if i == 0 && g.table.RowHeader {
			kind, attrs = "TH", " /A << /O /Table /Scope /Row >>"
		}
		nodes[i] = p.open(tr, kind, attrs)
	}
	most := 0
	for _, c := range set {
		most = max(most, len(c))
	}
	for from := 0; from < most; {
		room := max(1, int((p.y-p.bottom()-2*padding)/s.leading))
		to := min(most, from+room)
		g.cells(nodes, set, from, to)
		p.y -= pt(to-from)*s.leading + 2*padding
		p.rule(p.left(), p.width-margin, p.y)
		if from = to; from < most {
			g.turn()
		}
	}
	for _, n := range nodes {
		p.close(n)
	}
	p.close(tr)
}

// turn goes on on the next page.
func (g *grid) turn() {
	g.pages.next()
	if g.header != nil {
		g.drawHeader(nil)
	}
}

// cells draws the lines of a row from one to before another (all when to is
// negative), in nodes, or as no part of the text when that is nil.
func (g *grid) cells(nodes []*node, set [][]line, from, to int) {
	p, s := g.pages, cell()
	x := p.left() + padding
	for i, c := range set {
		end := to
		if to < 0 || to > len(c) {
			end = len(c)
		}
		var l *links
		if nodes != nil {
			l = &links{pages: p, in: nodes[i]}
		}
		y := p.y - padding
		for k := min(from, end); k < end; k++ {
			y -= s.leading
			left := x
			if g.table.Columns[i].Right {
				left += g.widths[i] - c[k].width
			}
			if l != nil {
				p.draw(l, &c[k], s, left, y+s.leading/4)
				continue
			}
			for _, q := range c[k].pieces {
				p.write(q.face, s.size, left, y+s.leading/4, q.text)
				left += q.width
			}
		}
		if l != nil {
			l.end()
		}
		x += g.widths[i] + 2*padding
	}
}
