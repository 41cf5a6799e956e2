package proof

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/transparency-dev/merkle/compact"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

// bundleMagic begins a bundle.
const bundleMagic = "vogter/audit-bundle/1\n"

// The records of a bundle: a type, a length of 4 bytes, big endian, and that many bytes.
const (
	recordLog        = 'L' // JSON of a BundleLog: the checkpoints and entries of one log follow
	recordCheckpoint = 'C' // JSON of a Covered: of the log as far as it was read
	recordEntry      = 'E' // the leaf, and behind it the leaf's hash
	recordEnd        = 'Z' // JSON of BundleTotals
)

// maxRecord bounds a record, in bytes: an entry is below the largest document.
const maxRecord = 17 << 20

// BundleLog says from where on a bundle has a log.
type BundleLog struct {
	Log   int64    `json:"log"`
	Base  int64    `json:"base"`
	Begin int64    `json:"begin"` // index of the first entry in the log
	Edge  [][]byte `json:"edge"`  // of the tree at Begin
}

// BundleTotals says what a bundle has.
type BundleTotals struct {
	Logs        int64 `json:"logs"`
	Entries     int64 `json:"entries"`
	Checkpoints int64 `json:"checkpoints"`
}

// BundleWriter writes a bundle to a stream: for each log its beginning, then
// entries and the checkpoints between them in their order. The last of each log
// is a checkpoint.
type BundleWriter struct {
	w      *bufio.Writer
	err    error
	totals BundleTotals
}

// NewBundleWriter begins a bundle.
func NewBundleWriter(w io.Writer) *BundleWriter {
	b := &BundleWriter{w: bufio.NewWriterSize(w, 1<<16)}
	_, b.err = b.w.WriteString(bundleMagic)
	return b
}

func (b *BundleWriter) record(kind byte, parts ...[]byte) {
	head := [5]byte{kind}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	binary.BigEndian.PutUint32(head[1:], uint32(n))
	for _, p := range append([][]byte{head[:]}, parts...) {
		if b.err == nil {
			_, b.err = b.w.Write(p)
		}
	}
}

func (b *BundleWriter) json(kind byte, v any) {
	encoded, err := json.Marshal(v)
	if b.err == nil {
		b.err = err
	}
	b.record(kind, encoded)
}

// Log begins a log.
func (b *BundleWriter) Log(l *BundleLog) error {
	b.totals.Logs++
	b.json(recordLog, l)
	return b.err
}

// Checkpoint adds a checkpoint of the log as far as it was written.
func (b *BundleWriter) Checkpoint(c *Covered) error {
	b.totals.Checkpoints++
	b.json(recordCheckpoint, c)
	return b.err
}

// Entry adds the next entry of the log.
func (b *BundleWriter) Entry(e *audit.Entry) error {
	b.totals.Entries++
	leaf := e.Leaf()
	hash := LeafHash(leaf)
	b.record(recordEntry, leaf, hash[:])
	return b.err
}

// Close ends the bundle and returns what it has. It leaves the destination open.
func (b *BundleWriter) Close() (BundleTotals, error) {
	b.json(recordEnd, b.totals)
	if b.err == nil {
		b.err = b.w.Flush()
	}
	if b.err != nil {
		return b.totals, fmt.Errorf("write bundle: %w", b.err)
	}
	return b.totals, nil
}

// Error is the first thing that is wrong with a log or a bundle of it.
type Error struct {
	Tenant tenant.ID
	Seq    int64  // of the first bad entry; -1 for none
	Entry  string // its id, as far as it can be told
	Object string // id of the stored value that isn't what the log told
	What   string
}

// Error implements error.
func (f *Error) Error() string {
	switch {
	case f.Seq < 0:
		return f.What
	case f.Entry == "":
		return fmt.Sprintf("entry %d: %s", f.Seq, f.What)
	default:
		return fmt.Sprintf("entry %d, %s: %s", f.Seq, f.Entry, f.What)
	}
}

// bundleReader checks a bundle as it reads it.
type bundleReader struct {
	r     *bufio.Reader
	keys  *sign.KeySet
	of    tenant.ID
	visit func(seq int64, leaf []byte) error

	log     *BundleLog
	edge    *compact.Range
	covered int64 // index up to which a checkpoint speaks for the log
	logs    int64 // number of the log before, for order
	last    *Checkpoint
	count   BundleTotals
	buffer  []byte
}

// CheckBundle reads a bundle of the tenant's log to its end, in memory that
// doesn't grow with it, and fails with a *Error at the first entry or checkpoint
// that is not as it was when the checkpoints were signed. visit sees each entry
// that matches its own hash, before a checkpoint vouches for it; it may be nil.
func CheckBundle(r io.Reader, keys *sign.KeySet, of tenant.ID, visit func(seq int64, leaf []byte) error) (BundleTotals, error) {
	b := &bundleReader{r: bufio.NewReaderSize(r, 1<<16), keys: keys, of: of, visit: visit, logs: -1}
	magic := make([]byte, len(bundleMagic))
	if _, err := io.ReadFull(b.r, magic); err != nil || string(magic) != bundleMagic {
		return b.count, b.fault(-1, "", "not a bundle of a form that this vogter knows")
	}
	for {
		done, err := b.next()
		if err != nil || done {
			return b.count, err
		}
	}
}

func (b *bundleReader) fault(seq int64, entry, format string, args ...any) error {
	return &Error{Tenant: b.of, Seq: seq, Entry: entry, What: fmt.Sprintf(format, args...)}
}

// at is the seq of the entry that comes next.
func (b *bundleReader) at() int64 {
	if b.log == nil {
		return -1
	}
	return b.log.Base + b.index()
}

func (b *bundleReader) index() int64 { return int64(b.edge.End()) } //nolint:gosec // G115: far below 2^63

func (b *bundleReader) next() (done bool, err error) {
	var head [5]byte
	if _, err := io.ReadFull(b.r, head[:]); err != nil {
		return false, b.fault(b.at(), "", "missing: the bundle is cut off")
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > maxRecord {
		return false, b.fault(b.at(), "", "malformed record")
	}
	if cap(b.buffer) < n {
		b.buffer = make([]byte, n)
	}
	record := b.buffer[:n]
	if _, err := io.ReadFull(b.r, record); err != nil {
		return false, b.fault(b.at(), "", "missing: the bundle is cut off")
	}
	switch head[0] {
	case recordLog:
		return false, b.begin(record)
	case recordEntry:
		return false, b.entry(record)
	case recordCheckpoint:
		return false, b.checkpoint(record)
	case recordEnd:
		return true, b.end(record)
	default:
		return false, b.fault(b.at(), "", "malformed record")
	}
}

// uncovered fails if there are entries that no checkpoint speaks for.
func (b *bundleReader) uncovered() error {
	if b.log != nil && b.covered != b.index() {
		return b.fault(b.log.Base+max(b.covered, b.log.Begin), "", "no checkpoint speaks for it and what follows")
	}
	return nil
}

func (b *bundleReader) begin(record []byte) error {
	if err := b.uncovered(); err != nil {
		return err
	}
	var l BundleLog
	if err := strict(record, &l); err != nil || l.Log <= b.logs || l.Base < 0 || l.Begin < 0 {
		return b.fault(-1, "", "malformed beginning of a log")
	}
	edge, err := factory().NewRange(0, uint64(l.Begin), l.Edge)
	if err != nil {
		return b.fault(-1, "", "malformed beginning of a log")
	}
	b.log, b.edge, b.covered, b.logs = &l, edge, -1, l.Log
	if l.Begin == 0 {
		b.covered = 0
	}
	b.count.Logs++
	return nil
}

func (b *bundleReader) entry(record []byte) error {
	if b.log == nil || len(record) < HashSize {
		return b.fault(b.at(), "", "malformed record")
	}
	if b.covered < 0 {
		return b.fault(b.at(), "", "no checkpoint speaks for what lies before it")
	}
	leaf, want := record[:len(record)-HashSize], record[len(record)-HashSize:]
	id, of, err := audit.LeafOf(leaf)
	if err != nil {
		return b.fault(b.at(), "", "altered: malformed")
	}
	hash := LeafHash(leaf)
	if !bytes.Equal(hash[:], want) {
		return b.fault(b.at(), string(id), "altered")
	}
	if string(of) != string(b.of) {
		return b.fault(b.at(), string(id), "of another tenant")
	}
	if b.visit != nil {
		if err := b.visit(b.at(), leaf); err != nil {
			return err
		}
	}
	if err := b.edge.Append(hash[:], nil); err != nil {
		return b.fault(b.at(), string(id), "doesn't fit the tree")
	}
	b.count.Entries++
	return nil
}

func (b *bundleReader) checkpoint(record []byte) error {
	var c Covered
	if b.log == nil || strict(record, &c) != nil {
		return b.fault(b.at(), "", "malformed checkpoint")
	}
	cp, err := c.Check(b.keys)
	if err != nil {
		return b.fault(-1, "", "checkpoint after entry %d: %v", b.at()-1, err)
	}
	h := &c.Head
	switch {
	case b.last != nil && (cp.Number <= b.last.Number || cp.At.Before(b.last.At) || cp.Platform != b.last.Platform):
		return b.fault(-1, "", "checkpoint %d is out of order", cp.Number)
	case h.Tenant != b.of || h.Log != b.log.Log || h.Base != b.log.Base:
		return b.fault(-1, "", "checkpoint %d is of another log", cp.Number)
	case h.Size != b.index():
		return b.fault(b.log.Base+min(h.Size, b.index()), "", "missing or too much: checkpoint %d has %d entries of the log here, not %d", cp.Number, h.Size, b.index())
	case !bytes.Equal(h.Root, root(b.edge)):
		return b.fault(b.log.Base+max(b.covered, 0), "", "altered, or one of those up to entry %d: together they are not what checkpoint %d was signed over", b.at()-1, cp.Number)
	}
	b.covered, b.last = b.index(), cp
	b.count.Checkpoints++
	return nil
}

func (b *bundleReader) end(record []byte) error {
	if err := b.uncovered(); err != nil {
		return err
	}
	var totals BundleTotals
	if err := strict(record, &totals); err != nil || totals != b.count {
		return b.fault(-1, "", "the totals are not those of the bundle")
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return b.fault(-1, "", "there is more behind the end of the bundle")
	}
	return nil
}

// strict decodes JSON that has known fields only and is written as we write it.
func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if again, err := json.Marshal(into); err != nil || !bytes.Equal(again, b) {
		return errors.New("decode: not in the form that was written")
	}
	return nil
}

// Entry is an entry's proof, self-contained: that it is in its tenant's log, and
// that a checkpoint speaks for that log. Kind is ProofKind.
type Entry struct {
	Kind    string   `json:"vogter"`
	Leaf    []byte   `json:"leaf"`
	Seq     int64    `json:"seq"`
	Path    [][]byte `json:"path"` // inclusion proof of the leaf
	Covered Covered  `json:"covered"`
}

// ProofKind tells an entry's proof from other JSON.
const ProofKind = "audit-proof/1"

// Check fails unless the proof holds, and returns the entry and the checkpoint.
func (p *Entry) Check(keys *sign.KeySet) (*audit.Entry, *Checkpoint, error) {
	cp, err := p.Covered.Check(keys)
	if err != nil {
		return nil, nil, err
	}
	e, err := audit.ParseLeaf(p.Leaf)
	if err != nil {
		return nil, nil, &Error{Seq: p.Seq, What: "altered: malformed"}
	}
	h := &p.Covered.Head
	if e.Tenant != h.Tenant || !CheckInclusion(LeafHash(p.Leaf), p.Seq-h.Base, h.Size, p.Path, h.Root) {
		return nil, nil, &Error{Tenant: h.Tenant, Seq: p.Seq, Entry: e.ID, What: "not in the log that the checkpoint speaks for"}
	}
	return e, cp, nil
}
