package paper

import (
	"fmt"
	"strings"
	"unicode"
)

// piece is text of one style within a line.
type piece struct {
	face  *face
	text  string
	width pt
	link  string
	from  int // the number of its span: two links side by side are two links
}

// line is what stands beside each other.
type line struct {
	pieces []piece
	width  pt
}

// style is how a text is set.
type style struct {
	size, leading pt
	strong        bool
}

// drawn returns what of a text is drawn: not the characters that only steer.
func drawn(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u00a0', r == '\u202f':
			return '\u00a0'
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, clean(s))
}

// breakLines breaks text into lines of a width. A word that is longer than a
// line is broken where it must be.
func (a *faces) breakLines(spans []Span, s style, width pt) []line {
	b := breaker{size: s.size, width: width}
	for i := range spans {
		span := &spans[i]
		face := a.of(span, s.strong)
		for n, row := range strings.Split(drawn(span.Text), "\n") {
			if n > 0 {
				b.word()
				b.feed()
			}
			for len(row) > 0 {
				end := strings.IndexByte(row, ' ')
				switch end {
				case 0:
					b.word()
					b.space(piece{face: face, text: " ", link: span.Link, from: i})
					row = row[1:]
					continue
				case -1:
					end = len(row)
				}
				b.pending = append(b.pending, piece{face: face, text: row[:end], link: span.Link, from: i})
				row = row[end:]
			}
		}
	}
	b.word()
	b.feed()
	return b.lines
}

// breaker fills lines word by word. A word may have pieces of several styles.
type breaker struct {
	size, width pt
	lines       []line
	now         line
	pending     []piece // of the word being read
	blank       *piece  // the space before it
}

func (b *breaker) space(p piece) {
	p.width = p.face.width(p.text, b.size)
	b.blank = &p
}

// feed ends the line.
func (b *breaker) feed() {
	b.lines = append(b.lines, b.now)
	b.now, b.blank = line{}, nil
}

// word puts the word that was read on the line, or on the next.
func (b *breaker) word() {
	if len(b.pending) == 0 {
		return
	}
	var length pt
	for i := range b.pending {
		p := &b.pending[i]
		p.width = p.face.width(p.text, b.size)
		length += p.width
	}
	if b.blank != nil && len(b.now.pieces) > 0 {
		b.add(*b.blank) // also at the end of a line: text taken from the file has its spaces
		if b.now.width+length > b.width {
			b.feed()
		}
	}
	b.blank = nil
	for _, p := range b.pending {
		b.force(p)
	}
	b.pending = b.pending[:0]
}

// force adds a piece of a word, broken where the line ends.
func (b *breaker) force(p piece) {
	for b.now.width+p.width > b.width {
		var fits pt
		cut := 0
		for i, r := range p.text {
			w := p.face.width(string(r), b.size)
			if b.now.width+fits+w > b.width && (i > 0 || len(b.now.pieces) > 0) {
				break
			}
			fits += w
			cut = i + len(string(r))
		}
		if cut == len(p.text) {
			break
		}
		if cut > 0 {
			head := p
			head.text, head.width = p.text[:cut], fits
			b.add(head)
			p.text, p.width = p.text[cut:], p.face.width(p.text[cut:], b.size)
		}
		b.feed()
	}
	b.add(p)
}

// add appends a piece to the line, to the last one when the style is the same.
func (b *breaker) add(p piece) {
	b.now.width += p.width
	if n := len(b.now.pieces); n > 0 {
		if last := &b.now.pieces[n-1]; last.face == p.face && last.from == p.from {
			last.text += p.text
			last.width += p.width
			return
		}
	}
	b.now.pieces = append(b.now.pieces, p)
}

// links are the elements of the links of a text, which may run over lines.
type links struct {
	pages *pages
	in    *node
	open  *node
	from  int
}

// of returns the element that a piece belongs to.
func (l *links) of(p *piece) *node {
	if l.open != nil && (p.link == "" || l.from != p.from) {
		l.end()
	}
	if p.link == "" {
		return l.in
	}
	if l.open == nil {
		l.open, l.from = l.pages.open(l.in, "Link", ""), p.from
	}
	return l.open
}

func (l *links) end() {
	if l.open != nil {
		l.pages.close(l.open)
		l.open = nil
	}
}

// draw draws a line whose base line is at y.
func (p *pages) draw(l *links, what *line, s style, x, y pt) {
	for i := range what.pieces {
		q := &what.pieces[i]
		in := l.of(q)
		p.mark(in)
		if q.link == "" {
			p.write(q.face, s.size, x, y, q.text)
		} else {
			p.content.WriteString("0.04 0.25 0.55 rg\n")
			p.write(q.face, s.size, x, y, q.text)
			p.content.WriteString("0 g\n")
			p.artifact(func() {
				fmt.Fprintf(&p.content, "0.5 w 0.04 0.25 0.55 RG %s %s m %s %s l S\n", x, y-s.size/8, x+q.width, y-s.size/8)
			})
			p.annotate(in, q.link, q.text, x, y-s.size/4, x+q.width, y+s.size*3/4)
		}
		x += q.width
	}
}

// shorten returns as much of text as there is room for.
func (f *face) shorten(text string, size, room pt) string {
	if f.width(text, size) <= room {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && f.width(string(runes)+"…", size) > room {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}
