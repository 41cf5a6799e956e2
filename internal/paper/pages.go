package paper

import (
	"bytes"
	"fmt"
	"html"
	"strconv"
	"strings"
)

// The page: A4 with margins.
const (
	short  = 595276 // thousandths of a point
	long   = 841890
	margin = 62 * point
	foot   = 34 * point // from the bottom to the footer's line
)

// pages are the pages of a PDF as they are filled, from the top down.
type pages struct {
	file          *file
	faces         *faces
	doc           *Document
	width, height pt
	y             pt // the lowest line in use of the page; the next block stands below
	root          *node

	all     []ref // pages that have ended, and the one being filled
	footers []ref // their footers, written at the end for they tell how many pages there are
	tree    []ref // by key of the parent tree: the elements of a page, or of a link
	outline []bookmark

	// The page being filled.
	page        ref
	content     bytes.Buffer
	owners      []ref // by marked content: its element
	marked      *node // where what is drawn belongs
	annotations []ref

	// Objects that are referred to before they are written.
	tops, fonts, structure ref
}

// bookmark is a heading among the bookmarks.
type bookmark struct {
	level int
	title string
	page  ref
	y     pt
}

func (p *pages) left() pt   { return margin }
func (p *pages) inner() pt  { return p.width - 2*margin }
func (p *pages) bottom() pt { return margin }
func (p *pages) top() pt    { return p.height - margin }

// begin begins a page.
func (p *pages) begin() {
	p.page = p.file.reserve()
	p.all = append(p.all, p.page)
	p.footers = append(p.footers, p.file.reserve())
	p.y = p.top()
}

// end writes the page being filled.
func (p *pages) end() {
	p.unmark()
	content, owners := p.file.reserve(), p.file.reserve()
	p.file.stream(content, "", p.content.Bytes())
	p.content.Reset()
	p.file.put(owners, list(p.owners))
	key := len(p.tree)
	p.tree = append(p.tree, owners)
	p.file.put(p.page, fmt.Sprintf("<< /Type /Page /Parent %s /MediaBox [0 0 %s %s] /Resources << /Font %s >> /Contents [%s %s] /StructParents %d /Tabs /S /Annots %s >>",
		p.tops, p.width, p.height, p.fonts, content, p.footers[len(p.footers)-1], key, list(p.annotations)))
	p.owners, p.annotations = p.owners[:0], p.annotations[:0]
}

func list(refs []ref) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, r := range refs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.String())
	}
	b.WriteByte(']')
	return b.String()
}

// next ends the page and begins another.
func (p *pages) next() {
	p.end()
	p.begin()
}

// fresh reports whether nothing stands on the page yet.
func (p *pages) fresh() bool { return p.y == p.top() }

// need begins a new page unless there is room for height on this one.
func (p *pages) need(height pt) {
	if !p.fresh() && p.y-height < p.bottom() {
		p.next()
	}
}

// skip leaves room, except on top of a page.
func (p *pages) skip(height pt) {
	if !p.fresh() {
		p.y -= height
	}
}

// rule draws a thin line.
func (p *pages) rule(left, right, y pt) {
	p.artifact(func() { fmt.Fprintf(&p.content, "0.6 w 0.7 G %s %s m %s %s l S\n", left, y, right, y) })
}

// write draws text of one face with its base line at y.
func (p *pages) write(f *face, size, x, y pt, text string) {
	fmt.Fprintf(&p.content, "BT /%s %s Tf 1 0 0 1 %s %s Tm %s Tj ET\n", f.name, size, x, y, f.show(text))
}

// finish writes the footers, and all that belongs to the document as a whole.
func (p *pages) finish() error {
	p.close(p.root)
	p.end()
	p.writeFooters()

	catalog, info, metadata, parents := p.file.reserve(), p.file.reserve(), p.file.reserve(), p.file.reserve()
	var nums strings.Builder
	for key, at := range p.tree {
		fmt.Fprintf(&nums, "%d %s ", key, at)
	}
	p.file.put(parents, "<< /Nums ["+nums.String()+"] >>")
	p.file.put(p.structure, fmt.Sprintf("<< /Type /StructTreeRoot /K [%s] /ParentTree %s /ParentTreeNextKey %d >>", p.root.at, parents, len(p.tree)))
	p.file.put(p.tops, fmt.Sprintf("<< /Type /Pages /Count %d /Kids %s >>", len(p.all), list(p.all)))

	var fonts strings.Builder
	for _, f := range p.faces {
		if len(f.glyphs) == 0 {
			continue
		}
		at := p.file.reserve()
		if err := f.embed(p.file, at); err != nil {
			return err
		}
		fmt.Fprintf(&fonts, "/%s %s ", f.name, at)
	}
	p.file.put(p.fonts, "<< "+fonts.String()+">>")

	p.file.put(info, fmt.Sprintf("<< /Title %s /Author %s /Producer (Vogter) /CreationDate (D:%[3]s) /ModDate (D:%[3]s) >>",
		unicodeString(clean(p.doc.Title)), unicodeString(clean(p.doc.Sender)), p.doc.Date.UTC().Format("20060102150405Z")))
	p.file.plain(metadata, "/Type /Metadata /Subtype /XML", p.metadata())
	p.file.put(catalog, fmt.Sprintf("<< /Type /Catalog /Pages %s /StructTreeRoot %s /MarkInfo << /Marked true >> /Lang (%s) /Metadata %s /ViewerPreferences << /DisplayDocTitle true >> %s%s>>",
		p.tops, p.structure, p.doc.Language, metadata, p.writeOutline(), p.attach()))
	return p.file.close(catalog, info)
}

// embedded begins the dictionary of the file that a PDF holds.
const embedded = "/Type /EmbeddedFile"

// attach writes the file that lies in the PDF, as it is, and returns the catalog's
// entries for it.
func (p *pages) attach() string {
	a := p.doc.Attached
	if a == nil {
		return ""
	}
	content, spec, name := p.file.reserve(), p.file.reserve(), literal(a.Name)
	p.file.plain(content, fmt.Sprintf("%s /Subtype /%s /Params << /Size %d >>", embedded, strings.ReplaceAll(a.MediaType, "/", "#2F"), len(a.Content)), a.Content)
	p.file.put(spec, fmt.Sprintf("<< /Type /Filespec /F %[1]s /UF %[1]s /AFRelationship /Source /EF << /F %s >> >>", name, content))
	return fmt.Sprintf("/Names << /EmbeddedFiles << /Names [%s %s] >> >> /AF [%[2]s] ", name, spec)
}

// Attached returns the content of the file that lies in a PDF of this package, nil
// if there is none.
func Attached(pdf []byte) []byte {
	_, rest, _ := bytes.Cut(pdf, []byte(embedded))
	dict, rest, ok := bytes.Cut(rest, []byte(" >>\nstream\n"))
	at := bytes.LastIndexByte(dict, ' ')
	if !ok || at < 0 {
		return nil
	}
	n, err := strconv.Atoi(string(dict[at+1:]))
	if err != nil || n < 0 || n > len(rest) {
		return nil
	}
	return rest[:n]
}

// writeFooters writes the footer of each page: it isn't part of the text.
func (p *pages) writeFooters() {
	w, face := p.doc.words(), p.faces[regular]
	const size = 8 * point
	for i, at := range p.footers {
		number := fmt.Sprintf("%s %d %s %d", w.page, i+1, w.of, len(p.footers))
		room := p.inner() - face.width(number, size) - 2*size
		p.content.WriteString("/Artifact << /Type /Pagination /Subtype /Footer >> BDC\n0.35 g\n")
		p.write(face, size, p.left(), foot, face.shorten(drawn(p.doc.Footer), size, room))
		p.write(face, size, p.width-margin-face.width(number, size), foot, number)
		p.content.WriteString("EMC\n")
		p.file.stream(at, "", p.content.Bytes())
		p.content.Reset()
	}
}

// writeOutline writes the bookmarks and returns the catalog's entries for them.
func (p *pages) writeOutline() string {
	if len(p.outline) == 0 {
		return ""
	}
	type entry struct {
		at, parent, prev, next, first ref
		last                          *entry
		children, level               int
	}
	top := entry{at: p.file.reserve(), level: -1}
	all := make([]entry, len(p.outline))
	chain := []*entry{&top} // the ancestors
	for i, b := range p.outline {
		e := &all[i]
		*e = entry{at: p.file.reserve(), level: b.level}
		for chain[len(chain)-1].level >= b.level {
			chain = chain[:len(chain)-1]
		}
		above := chain[len(chain)-1]
		e.parent = above.at
		if above.last == nil {
			above.first = e.at
		} else {
			e.prev, above.last.next = above.last.at, e.at
		}
		above.last = e
		above.children++
		chain = append(chain, e)
	}
	for i, b := range p.outline {
		e := &all[i]
		var links strings.Builder
		if e.last != nil {
			fmt.Fprintf(&links, " /First %s /Last %s /Count %d", e.first, e.last.at, -e.children) // closed
		}
		if e.prev != 0 {
			fmt.Fprintf(&links, " /Prev %s", e.prev)
		}
		if e.next != 0 {
			fmt.Fprintf(&links, " /Next %s", e.next)
		}
		p.file.put(e.at, fmt.Sprintf("<< /Title %s /Parent %s /Dest [%s /XYZ %s %s 0]%s >>", unicodeString(b.title), e.parent, b.page, p.left(), b.y, links.String()))
	}
	p.file.put(top.at, fmt.Sprintf("<< /Type /Outlines /First %s /Last %s /Count %d >>", top.first, top.last.at, top.children))
	return "/Outlines " + top.at.String() + " "
}

// metadata returns the document's properties as XMP, with the statement that it
// follows PDF/UA-1 (ISO 14289-1, 5).
func (p *pages) metadata() []byte {
	date := p.doc.Date.UTC().Format("2006-01-02T15:04:05Z")
	return fmt.Appendf(nil, `<?xpacket begin="%s" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:title>
<dc:creator><rdf:Seq><rdf:li>%s</rdf:li></rdf:Seq></dc:creator>
<dc:language><rdf:Bag><rdf:li>%s</rdf:li></rdf:Bag></dc:language>
<xmp:CreateDate>%[5]s</xmp:CreateDate><xmp:ModifyDate>%[5]s</xmp:ModifyDate>
<pdf:Producer>Vogter</pdf:Producer>
<pdfuaid:part>1</pdfuaid:part>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>`, "\ufeff", html.EscapeString(clean(p.doc.Title)), html.EscapeString(clean(p.doc.Sender)), p.doc.Language, date)
}
