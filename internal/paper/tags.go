package paper

import (
	"fmt"
	"strings"
)

// node is an element of the structure tree (ISO 32000-1, 14.7). It is written
// when it is closed, after all that is in it.
type node struct {
	at     ref
	kind   string // "P", "H1", "TH" …
	attrs  string // further entries of its dictionary
	parent ref
	page   ref // of its first marked content
	kids   strings.Builder
}

// open begins an element in parent.
func (p *pages) open(parent *node, kind, attrs string) *node {
	n := &node{at: p.file.reserve(), kind: kind, attrs: attrs, parent: parent.at}
	fmt.Fprintf(&parent.kids, "%s ", n.at)
	return n
}

// close writes an element.
func (p *pages) close(n *node) {
	p.unmark()
	on := ""
	if n.page != 0 {
		on = " /Pg " + n.page.String()
	}
	p.file.put(n.at, fmt.Sprintf("<< /Type /StructElem /S /%s /P %s%s%s /K [%s] >>", n.kind, n.parent, on, n.attrs, strings.TrimSpace(n.kids.String())))
}

// mark makes what is drawn from now on content of n.
func (p *pages) mark(n *node) {
	if p.marked == n {
		return
	}
	p.unmark()
	p.marked = n
	mcid := len(p.owners)
	p.owners = append(p.owners, n.at)
	fmt.Fprintf(&p.content, "/%s << /MCID %d >> BDC\n", n.kind, mcid)
	switch n.page {
	case 0:
		n.page = p.page
		fallthrough
	case p.page:
		fmt.Fprintf(&n.kids, "%d ", mcid)
	default:
		fmt.Fprintf(&n.kids, "<< /Type /MCR /Pg %s /MCID %d >> ", p.page, mcid)
	}
}

func (p *pages) unmark() {
	if p.marked != nil {
		p.content.WriteString("EMC\n")
		p.marked = nil
	}
}

// artifact draws what isn't part of the text: lines, and what stands on a page
// once more.
func (p *pages) artifact(draw func()) {
	p.unmark()
	p.content.WriteString("/Artifact BMC\n")
	draw()
	p.content.WriteString("EMC\n")
}

// annotate makes a rectangle of the page lead to an address, as part of n.
func (p *pages) annotate(n *node, address, label string, left, bottom, right, top pt) {
	at := p.file.reserve()
	key := len(p.tree)
	p.tree = append(p.tree, n.at)
	p.annotations = append(p.annotations, at)
	fmt.Fprintf(&n.kids, "<< /Type /OBJR /Pg %s /Obj %s >> ", p.page, at)
	p.file.put(at, fmt.Sprintf("<< /Type /Annot /Subtype /Link /Rect [%s %s %s %s] /Border [0 0 0] /F 4 /StructParent %d /Contents %s /A << /S /URI /URI %s >> >>",
		left, bottom, right, top, key, unicodeString(label), literal(address)))
}
