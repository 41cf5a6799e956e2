package paper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/go-fonts/liberation/liberationmonoregular"
	"github.com/go-fonts/liberation/liberationsansbold"
	"github.com/go-fonts/liberation/liberationsansbolditalic"
	"github.com/go-fonts/liberation/liberationsansitalic"
	"github.com/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// pt is a length in thousandths of a point. Whole numbers make the layout the
// same on every processor.
type pt int

const point pt = 1000

func (p pt) String() string {
	sign := ""
	if p < 0 {
		sign, p = "-", -p
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%s%d.%03d", sign, p/point, p%point), "0"), ".")
}

// missing is drawn for a letter that the font doesn't have.
const missing = '\u25a1'

// glyph is how a letter is drawn. Each letter in use has a code of its own, so
// that text taken from the file is what was put in, also where two letters look
// the same or one is missing.
type glyph struct {
	code  uint16
	id    sfnt.GlyphIndex
	width int // in units of the face
}

// face is a font file and the letters used of it.
type face struct {
	name   string // of the resource: "F0"
	data   []byte
	font   *sfnt.Font
	buffer sfnt.Buffer
	units  int
	glyphs map[rune]glyph
}

// The faces of a document, by place in faces.
const (
	regular = iota
	bold
	italic
	boldItalic
	mono
)

type faces [5]*face

func newFaces() (*faces, error) {
	var all faces
	for i, data := range [...][]byte{
		regular: liberationsansregular.TTF, bold: liberationsansbold.TTF, italic: liberationsansitalic.TTF,
		boldItalic: liberationsansbolditalic.TTF, mono: liberationmonoregular.TTF,
	} {
		f, err := sfnt.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("parse font %d: %w", i, err)
		}
		all[i] = &face{name: fmt.Sprintf("F%d", i), data: data, font: f, units: int(f.UnitsPerEm()), glyphs: map[rune]glyph{}}
	}
	return &all, nil
}

// of returns the face of a span in a text that is bold itself or not.
func (a *faces) of(s *Span, strong bool) *face {
	strong = strong || s.Bold
	switch {
	case s.Code:
		return a[mono]
	case strong && s.Italic:
		return a[boldItalic]
	case strong:
		return a[bold]
	case s.Italic:
		return a[italic]
	default:
		return a[regular]
	}
}

// glyph returns how r is drawn.
func (f *face) glyph(r rune) glyph {
	if g, ok := f.glyphs[r]; ok {
		return g
	}
	index, err := f.font.GlyphIndex(&f.buffer, r)
	if err != nil || index == 0 {
		index, _ = f.font.GlyphIndex(&f.buffer, missing) // 0 where even that fails: the font's own box
	}
	advance, err := f.font.GlyphAdvance(&f.buffer, index, fixed.I(f.units), font.HintingNone)
	if err != nil {
		advance = fixed.I(f.units)
	}
	g := glyph{code: uint16(len(f.glyphs) + 1), id: index, width: advance.Round()} //nolint:gosec // fewer than 65,535 letters are told apart in one document
	f.glyphs[r] = g
	return g
}

// width returns how long text is at a size.
func (f *face) width(text string, size pt) pt {
	sum := 0
	for _, r := range text {
		sum += f.glyph(r).width
	}
	return pt(sum) * size / pt(f.units)
}

// show returns text as the operand of a Tj.
func (f *face) show(text string) string {
	var b strings.Builder
	b.WriteByte('<')
	for _, r := range text {
		fmt.Fprintf(&b, "%04X", f.glyph(r).code)
	}
	b.WriteByte('>')
	return b.String()
}

// embed writes the letters in use as an embedded font: a TrueType file with the
// outlines of them only (ISO 32000-1, 9.7.4).
func (f *face) embed(w *file, to ref) error {
	subset, err := f.subset()
	if err != nil {
		return fmt.Errorf("subset font: %w", err)
	}
	postscript, err := f.font.Name(&f.buffer, sfnt.NameIDPostScript)
	if err != nil {
		return fmt.Errorf("name of font: %w", err)
	}
	name := tag(subset) + "+" + postscript
	letters := slices.SortedFunc(maps.Keys(f.glyphs), func(a, b rune) int { return int(f.glyphs[a].code) - int(f.glyphs[b].code) })

	var widths strings.Builder
	toGlyph := make([]byte, 2*(len(letters)+1))
	for _, r := range letters {
		g := f.glyphs[r]
		fmt.Fprintf(&widths, "%d ", f.scale(g.width))
		binary.BigEndian.PutUint16(toGlyph[2*int(g.code):], uint16(g.id))
	}
	file, codes, unicodes, descriptor, descendant := w.reserve(), w.reserve(), w.reserve(), w.reserve(), w.reserve()
	w.stream(file, fmt.Sprintf("/Length1 %d", len(subset)), subset)
	w.stream(codes, "", toGlyph)
	w.stream(unicodes, "", f.unicodes(letters))

	head, hhea, post := f.table("head"), f.table("hhea"), f.table("post")
	word := func(table []byte, at int) int { return f.scale(int(int16(binary.BigEndian.Uint16(table[at:])))) } //nolint:gosec // a signed number of the format
	flags := 4                                                                                                 // symbolic: its own codes
	if f.name == fmt.Sprintf("F%d", mono) {
		flags |= 1
	}
	angle := int16(binary.BigEndian.Uint16(post[4:])) //nolint:gosec // a signed number of the format
	if angle != 0 {
		flags |= 64
	}
	metrics, err := f.font.Metrics(&f.buffer, fixed.I(f.units), font.HintingNone)
	if err != nil {
		return fmt.Errorf("metrics of font: %w", err)
	}
	w.put(descriptor, fmt.Sprintf("<< /Type /FontDescriptor /FontName /%s /Flags %d /FontBBox [%d %d %d %d] /ItalicAngle %d /Ascent %d /Descent %d /CapHeight %d /StemV 80 /FontFile2 %s >>",
		name, flags, word(head, 36), word(head, 38), word(head, 40), word(head, 42), angle, word(hhea, 4), word(hhea, 6), f.scale(metrics.CapHeight.Round()), file))
	w.put(descendant, fmt.Sprintf("<< /Type /Font /Subtype /CIDFontType2 /BaseFont /%s /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /FontDescriptor %s /DW 1000 /W [1 [%s]] /CIDToGIDMap %s >>",
		name, descriptor, widths.String(), codes))
	w.put(to, fmt.Sprintf("<< /Type /Font /Subtype /Type0 /BaseFont /%s /Encoding /Identity-H /DescendantFonts [%s] /ToUnicode %s >>", name, descendant, unicodes))
	return nil
}

// scale turns units of the face into thousandths of its size.
func (f *face) scale(units int) int { return units * 1000 / f.units }

// unicodes returns the map from codes to letters (9.10.3).
func (f *face) unicodes(letters []rune) []byte {
	var b bytes.Buffer
	b.WriteString("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n" +
		"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n")
	for some := range slices.Chunk(letters, 100) {
		fmt.Fprintf(&b, "%d beginbfchar\n", len(some))
		for _, r := range some {
			fmt.Fprintf(&b, "<%04X> <", f.glyphs[r].code)
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, "%04X", u)
			}
			b.WriteString(">\n")
		}
		b.WriteString("endbfchar\n")
	}
	b.WriteString("endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n")
	return b.Bytes()
}

// table returns a table of the font file, nil when there is none.
func (f *face) table(name string) []byte {
	for i := range int(binary.BigEndian.Uint16(f.data[4:])) {
		entry := f.data[12+16*i:]
		if string(entry[:4]) == name {
			at, length := binary.BigEndian.Uint32(entry[8:]), binary.BigEndian.Uint32(entry[12:])
			return f.data[at : at+length]
		}
	}
	return nil
}

// errFont reports a font file that isn't as expected.
var errFont = errors.New("the font file has no TrueType outlines")

// subset returns the font file with the outlines of the letters in use only.
// Glyphs keep their numbers.
func (f *face) subset() ([]byte, error) {
	head, loca, outlines := f.table("head"), f.table("loca"), f.table("glyf")
	if head == nil || loca == nil || outlines == nil {
		return nil, errFont
	}
	long := binary.BigEndian.Uint16(head[50:]) == 1
	offset := func(i int) uint32 {
		if long {
			return binary.BigEndian.Uint32(loca[4*i:])
		}
		return 2 * uint32(binary.BigEndian.Uint16(loca[2*i:]))
	}
	outline := func(i int) []byte { return outlines[offset(i):offset(i+1)] }

	used := map[int]bool{}
	var use func(i int)
	use = func(i int) {
		if used[i] {
			return
		}
		used[i] = true
		for _, part := range parts(outline(i)) {
			use(part)
		}
	}
	use(0)
	for _, g := range f.glyphs {
		use(int(g.id))
	}

	total := f.font.NumGlyphs()
	newLoca, newGlyf := make([]byte, 4*(total+1)), []byte(nil)
	for i := range total {
		if used[i] {
			newGlyf = append(newGlyf, outline(i)...)
			newGlyf = append(newGlyf, make([]byte, -len(newGlyf)&3)...)
		}
		binary.BigEndian.PutUint32(newLoca[4*(i+1):], uint32(len(newGlyf))) //nolint:gosec // smaller than the font file
	}
	newHead := slices.Clone(head)
	binary.BigEndian.PutUint32(newHead[8:], 0) // the sum of the whole file, not asked for in a PDF
	binary.BigEndian.PutUint16(newHead[50:], 1)

	tables := map[string][]byte{"head": newHead, "loca": newLoca, "glyf": newGlyf}
	for _, name := range []string{"cvt ", "fpgm", "hhea", "hmtx", "maxp", "prep"} {
		if t := f.table(name); t != nil {
			tables[name] = t
		}
	}
	return assemble(tables), nil
}

// parts returns the glyphs that a composite outline is made of.
func parts(outline []byte) []int {
	if len(outline) < 10 || outline[0] < 0x80 {
		return nil
	}
	var all []int
	for at := 10; ; {
		flags := binary.BigEndian.Uint16(outline[at:])
		all = append(all, int(binary.BigEndian.Uint16(outline[at+2:])))
		at += 6
		if flags&0x01 != 0 { // its place is two words, else two bytes
			at += 2
		}
		switch {
		case flags&0x08 != 0: // one scale
			at += 2
		case flags&0x40 != 0: // two
			at += 4
		case flags&0x80 != 0: // a matrix
			at += 8
		}
		if flags&0x20 == 0 { // the last
			return all
		}
	}
}

// assemble returns a font file of tables.
func assemble(tables map[string][]byte) []byte {
	names := slices.Sorted(maps.Keys(tables))
	n := len(names)
	power, log := 1, 0
	for power*2 <= n {
		power, log = power*2, log+1
	}
	out := binary.BigEndian.AppendUint32(nil, 0x00010000)
	for _, v := range []int{n, 16 * power, log, 16 * (n - power)} {
		out = binary.BigEndian.AppendUint16(out, uint16(v)) //nolint:gosec // a dozen tables
	}
	at := 12 + 16*n
	var body []byte
	for _, name := range names {
		t := tables[name]
		padded := append(slices.Clone(t), make([]byte, -len(t)&3)...)
		var sum uint32
		for i := 0; i < len(padded); i += 4 {
			sum += binary.BigEndian.Uint32(padded[i:])
		}
		out = append(out, name...)
		for _, v := range []uint32{sum, uint32(at + len(body)), uint32(len(t))} { //nolint:gosec // smaller than the font file
			out = binary.BigEndian.AppendUint32(out, v)
		}
		body = append(body, padded...)
	}
	return append(out, body...)
}

// tag returns the six capitals that tell a subset from others.
func tag(subset []byte) string {
	sum := crc32.ChecksumIEEE(subset)
	var b [6]byte
	for i := range b {
		b[i] = 'A' + byte(sum%26)
		sum /= 26
	}
	return string(b[:])
}
