package paper

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf16"
)

// perStream is how many objects are packed in one object stream.
const perStream = 200

// ref is the number of an object of a PDF.
type ref int

func (r ref) String() string { return fmt.Sprintf("%d 0 R", int(r)) }

// place is where an object is: at an offset, or within an object stream.
type place struct {
	offset int64
	stream ref
	index  int
}

// file writes the objects of a PDF 1.7 (ISO 32000-1) as they come. The first
// error ends it; the other calls then do nothing.
type file struct {
	w       io.Writer
	sum     hash.Hash // of all that is written: the file's identifier
	offset  int64
	places  []place // by number
	packed  []ref   // waits to be written as one object stream
	bodies  bytes.Buffer
	offsets []int
	err     error
}

func newFile(w io.Writer) *file {
	f := &file{w: w, sum: sha256.New(), places: make([]place, 1)}
	f.write([]byte("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"))
	return f
}

func (f *file) write(b []byte) {
	if f.err != nil {
		return
	}
	f.sum.Write(b)
	var n int
	n, f.err = f.w.Write(b)
	f.offset += int64(n)
}

// reserve returns the number of an object to be written later.
func (f *file) reserve() ref {
	f.places = append(f.places, place{})
	return ref(len(f.places) - 1)
}

// put writes an object that isn't a stream.
func (f *file) put(r ref, body string) {
	f.packed = append(f.packed, r)
	f.offsets = append(f.offsets, f.bodies.Len())
	f.bodies.WriteString(body)
	f.bodies.WriteByte('\n')
	if len(f.packed) == perStream {
		f.pack()
	}
}

// pack writes the objects that wait.
func (f *file) pack() {
	if len(f.packed) == 0 {
		return
	}
	stream := f.reserve()
	var head strings.Builder
	for i, r := range f.packed {
		f.places[r] = place{stream: stream, index: i}
		fmt.Fprintf(&head, "%d %d ", int(r), f.offsets[i])
	}
	dict := fmt.Sprintf("/Type /ObjStm /N %d /First %d", len(f.packed), head.Len())
	f.stream(stream, dict, append([]byte(head.String()), f.bodies.Bytes()...))
	f.packed, f.offsets = f.packed[:0], f.offsets[:0]
	f.bodies.Reset()
}

// stream writes a stream, compressed, with the entries of its dictionary.
func (f *file) stream(r ref, dict string, data []byte) {
	f.plain(r, dict+" /Filter /FlateDecode", deflate(data))
}

func (f *file) plain(r ref, dict string, data []byte) {
	f.places[r] = place{offset: f.offset}
	f.write(fmt.Appendf(nil, "%d 0 obj\n<< %s /Length %d >>\nstream\n", int(r), dict, len(data)))
	f.write(data)
	f.write([]byte("\nendstream\nendobj\n"))
}

// close writes the cross-reference stream and the trailer.
func (f *file) close(catalog, info ref) error {
	f.pack()
	table := f.reserve()
	start := f.offset
	f.places[table] = place{offset: start}
	var rows bytes.Buffer
	for i, p := range f.places {
		row := [7]byte{1}
		at, index := uint32(p.offset), uint16(p.index) //nolint:gosec // a file of 4 GiB and a stream of perStream objects aren't made here
		switch {
		case i == 0:
			row[0], index = 0, 0xffff
		case p.stream != 0:
			row[0], at = 2, uint32(p.stream) //nolint:gosec // a number of an object
		}
		binary.BigEndian.PutUint32(row[1:], at)
		binary.BigEndian.PutUint16(row[5:], index)
		rows.Write(row[:])
	}
	identifier := f.sum.Sum(nil)[:16]
	f.stream(table, fmt.Sprintf("/Type /XRef /Size %d /W [1 4 2] /Root %s /Info %s /ID [<%x> <%x>]", len(f.places), catalog, info, identifier, identifier), rows.Bytes())
	f.write(fmt.Appendf(nil, "startxref\n%d\n%%%%EOF\n", start))
	return f.err
}

func deflate(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(data) // a Buffer doesn't fail
	_ = w.Close()
	return b.Bytes()
}

// unicodeString returns s as a text string of PDF.
func unicodeString(s string) string {
	var b strings.Builder
	b.WriteString("<FEFF")
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04X", u)
	}
	b.WriteByte('>')
	return b.String()
}

// literal returns s, of ASCII, as a string of PDF.
func literal(s string) string {
	return "(" + strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(s) + ")"
}
