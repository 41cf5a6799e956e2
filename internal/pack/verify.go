package pack

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vogter/vogter/internal/sign"
)

// maxManifest bounds a manifest, in bytes: some hundred thousand files.
const maxManifest = 128 << 20

// Error is the first thing that is wrong with a package.
type Error struct {
	Path string // the member at fault; "" for the package as a whole
	What string // "altered", "missing", "not listed in the manifest" …
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.What
	}
	return fmt.Sprintf("%q: %s", e.Path, e.What)
}

func problem(path, format string, args ...any) error {
	return &Error{Path: path, What: fmt.Sprintf(format, args...)}
}

// Result sums up a package that is whole.
type Result struct {
	Type  Type
	Files int
	Bytes int64
	Notes []string // what the kind of package has to say, in English

	SignedBy *sign.Key
	Keys     *sign.KeySet // with those of the package that are trusted

	visit func(seq int64, leaf []byte) error
}

// Options are what Verify may be told.
type Options struct {
	Trusted *sign.KeySet                       // nil: the package's own keys are taken at their word
	Visit   func(seq int64, leaf []byte) error // sees the entries of an audit bundle

	// MaxManifest bounds the manifest, in bytes, for packages of strangers: it is read
	// before anything is known of who signed it. 0 is as much as the platform writes.
	MaxManifest int64
}

// VerifyFile is Verify for a file.
func VerifyFile(name string, o Options) (r *Result, err error) {
	f, err := os.Open(name) //nolint:gosec // G304: the file that the caller asks about
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open package: %w", err)
	}
	return Verify(f, info.Size(), o)
}

// Verify checks the package of size bytes in r: that every member is listed,
// every listed one is there and unaltered, nothing else is in the file, and that
// the platform signed the list. The first fault is returned, as an *Error or as
// what the kind of package calls its own. The keys must be trusted, or follow
// from such; without any, those in the package are taken at their word.
func Verify(r io.ReaderAt, size int64, o Options) (*Result, error) {
	z, err := zip.NewReader(r, size)
	switch {
	case errors.Is(err, zip.ErrInsecurePath): // checkPath names the member
	case errors.Is(err, zip.ErrFormat):
		return nil, problem("", "not a package: no ZIP file, or its end is missing")
	case err != nil:
		return nil, fmt.Errorf("read package: %w", err)
	}
	if err := checkMembers(z.File); err != nil {
		return nil, err
	}
	if err := checkLayout(r, size, z); err != nil {
		return nil, err
	}
	members := len(z.File) - 2
	if members < 0 || z.File[members+1].Name != SignaturePath {
		return nil, problem(SignaturePath, "missing: it must be the last file of the package")
	}
	if z.File[members].Name != ManifestPath {
		return nil, problem(ManifestPath, "missing: it must be the last file of the package but the signature")
	}
	most := cmp.Or(o.MaxManifest, maxManifest)
	raw, err := readManifest(z.File[members], most)
	if err != nil {
		return nil, err
	}
	header, err := decodeHeader(raw)
	if err != nil {
		return nil, err
	}
	kind, known := kinds()[header.Type]
	if !known {
		return nil, problem(ManifestPath, "unknown type of package: a newer vogter may know it")
	}
	result := &Result{Type: header.Type, Files: len(header.Files), visit: o.Visit}
	if err := result.signed(z.File[members+1], raw, o.Trusted, most); err != nil {
		return nil, err
	}
	if err := checkFiles(z.File[:members], header.Files, func(path string, r io.Reader) error {
		if kind.content == nil {
			return nil
		}
		return kind.content(raw, path, r, result)
	}); err != nil {
		return nil, err
	}
	for _, f := range header.Files {
		result.Bytes += f.Bytes
	}
	if result.Notes, err = kind.check(raw, result); err != nil {
		return nil, err
	}
	return result, nil
}

// signed checks the signature of the manifest.
func (r *Result) signed(f *zip.File, manifest []byte, trusted *sign.KeySet, most int64) error {
	raw, err := readManifest(f, most)
	if err != nil {
		return problem(SignaturePath, "altered")
	}
	var s Signature
	if strict(raw, &s) != nil {
		return problem(SignaturePath, "malformed")
	}
	own, err := sign.ParseKeySet(s.Keys)
	if err == nil && trusted == nil {
		err = own.Consistent()
	}
	if err != nil {
		return problem(SignaturePath, "%v", err)
	}
	if r.Keys = own; trusted != nil {
		r.Keys = sign.NewKeySet(trusted.Keys()...)
		r.Keys.Extend(own)
	}
	text, by, err := r.Keys.Open(sign.Package, []byte(s.Note))
	switch {
	case err != nil:
		return problem(SignaturePath, "%v", err)
	case text != string(noteText(r.Type, manifest)):
		return problem(ManifestPath, "altered: it is not what was signed")
	}
	r.SignedBy = by
	return nil
}

// kind is what is checked of a type of package beyond what holds for all.
type kind struct {
	check func(manifest []byte, r *Result) (notes []string, err error)
	// content reads a member to its end; nil for nothing to see in them.
	content func(manifest []byte, path string, content io.Reader, r *Result) error
}

func kinds() map[Type]kind {
	return map[Type]kind{
		StaffCopyType: {check: checkStaffCopy}, AccessType: {check: checkAnswer}, PortabilityType: {check: checkAnswer},
		AuditBundleType: {checkAuditBundle, auditLog},
	}
}

func checkStaffCopy(manifest []byte, r *Result) ([]string, error) {
	var m StaffCopy
	if err := strict(manifest, &m); err != nil {
		return nil, problem(ManifestPath, "malformed")
	}
	records, err := r.sums(&m.Header, m.Datasets, m.SchemaVersions, m.Totals)
	switch {
	case err != nil:
		return nil, err
	case !m.NotAnArticle15Answer:
		return nil, problem(ManifestPath, "a staff copy must say that it is no answer under GDPR Art. 15")
	}
	return []string{
		fmt.Sprintf("copy for staff, no answer under GDPR Art. 15: export %s, data as of %s", m.ExportID, m.DataAsOf),
		fmt.Sprintf("%d datasets searched, %d records", len(m.Datasets), records),
	}, nil
}

func checkAnswer(manifest []byte, r *Result) ([]string, error) {
	var m Answer
	if err := strict(manifest, &m); err != nil {
		return nil, problem(ManifestPath, "malformed")
	}
	records, err := r.sums(&m.Header, m.Datasets, m.SchemaVersions, m.Totals)
	if err != nil {
		return nil, err
	}
	article := "15"
	if r.Type == PortabilityType {
		article = "20"
	}
	return []string{
		fmt.Sprintf("answer under GDPR Art. %s: case %s, export %s, data as of %s", article, m.CaseNumber, m.ExportID, m.DataAsOf),
		fmt.Sprintf("%d datasets and %d lists searched, %d records", len(m.Datasets), len(m.Lists), records),
	}, nil
}

// sums returns how many records a copy of a person's data has, if its manifest
// agrees with the files.
func (r *Result) sums(h *Header, searched []Searched, schemas map[string]string, totals Totals) (records int64, err error) {
	for _, d := range searched {
		records += d.Records
	}
	digests := make(map[string]string, len(h.Files))
	for _, f := range h.Files {
		digests[f.Path] = f.SHA256
	}
	for path, sum := range schemas {
		if digests[path] != sum {
			return 0, problem(ManifestPath, "names a schema that is not the one in the package")
		}
	}
	if totals != (Totals{Files: int64(r.Files), Bytes: r.Bytes, Records: records}) {
		return 0, problem(ManifestPath, "the totals are not those of the files and datasets")
	}
	return records, nil
}

// checkMembers refuses names that are unsafe or occur twice, also where letters
// differ only in case, and members that are no plain files.
func checkMembers(files []*zip.File) error {
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		fold := strings.ToLower(f.Name)
		switch {
		case checkPath(f.Name) != nil:
			return problem(f.Name, "unsafe path")
		case seen[fold]:
			return problem(f.Name, "in the package twice")
		case f.Flags&0x1 != 0 || (f.Method != zip.Store && f.Method != zip.Deflate) || !f.Mode().IsRegular():
			return problem(f.Name, "encrypted, of an unknown compression or no plain file")
		}
		seen[fold] = true
	}
	return nil
}

// The signatures and fixed lengths of ZIP's structures (APPNOTE 6.3).
const (
	localSignature = 0x04034b50
	localLen       = 30
	descriptorLen  = 16
	descriptor64   = 24
	directoryLen   = 46
	endLen         = 22
	end64Len       = 56 + 20
)

// checkLayout walks the members as a program would that doesn't look at the
// directory: they must be the same ones, and every byte of the file must be
// accounted for, so that nothing hides between, before or behind them.
func checkLayout(r io.ReaderAt, size int64, z *zip.Reader) error {
	var at, directory int64
	for _, f := range z.File {
		b := make([]byte, localLen+len(f.Name))
		if _, err := r.ReadAt(b, at); err != nil {
			return problem(f.Name, "altered: its header is cut off")
		}
		extra := int64(binary.LittleEndian.Uint16(b[28:]))
		data, err := f.DataOffset()
		if err != nil || binary.LittleEndian.Uint32(b) != localSignature || string(b[localLen:]) != f.Name ||
			int(binary.LittleEndian.Uint16(b[26:])) != len(f.Name) || binary.LittleEndian.Uint16(b[6:]) != f.Flags ||
			binary.LittleEndian.Uint16(b[8:]) != f.Method || data != at+int64(len(b))+extra {
			return problem(f.Name, "altered: the package's directory and its content differ")
		}
		at = data + int64(f.CompressedSize64) //nolint:gosec // G115: beyond int64 it lies outside the file, which is refused below
		if f.Flags&0x8 != 0 {
			if f.CompressedSize64 >= 1<<32-1 || f.UncompressedSize64 >= 1<<32-1 {
				at += descriptor64
			} else {
				at += descriptorLen
			}
		}
		if at < data || at > size {
			return problem(f.Name, "altered: larger than the package")
		}
		directory += int64(directoryLen + len(f.Name) + len(f.Extra) + len(f.Comment))
	}
	end := at + directory + endLen + int64(len(z.Comment))
	if size != end && size != end+end64Len {
		return problem("", "altered: %d bytes belong to no file of the package", max(size-end, end-size))
	}
	return nil
}

func readManifest(f *zip.File, most int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, problem(ManifestPath, "altered")
	}
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil || r.Close() != nil {
		return nil, problem(ManifestPath, "altered")
	}
	if int64(len(raw)) > most {
		return nil, problem(ManifestPath, "larger than %d bytes", most)
	}
	return raw, nil
}

func decodeHeader(raw []byte) (*Header, error) {
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, problem(ManifestPath, "malformed")
	}
	if h.PackageVersion != Version {
		return nil, problem(ManifestPath, "of a form that this vogter doesn't know")
	}
	return &h, nil
}

// checkFiles compares the members with the list, which has the same order, and
// lets see each content as it is read.
func checkFiles(members []*zip.File, listed []File, see func(path string, r io.Reader) error) error {
	wanted := make(map[string]bool, len(listed))
	for _, f := range listed {
		if wanted[f.Path] {
			return problem(f.Path, "listed twice in the manifest")
		}
		wanted[f.Path] = true
	}
	present := make(map[string]bool, len(members))
	for _, m := range members {
		if !wanted[m.Name] {
			return problem(m.Name, "not listed in the manifest")
		}
		present[m.Name] = true
	}
	for _, f := range listed {
		if !present[f.Path] {
			return problem(f.Path, "missing")
		}
	}
	for i, f := range listed {
		if members[i].Name != f.Path {
			return problem(members[i].Name, "not where the manifest has it")
		}
		if err := checkContent(members[i], f, see); err != nil {
			return err
		}
	}
	return nil
}

// checkContent reads no more than is listed, whatever the member unpacks to.
func checkContent(m *zip.File, f File, see func(path string, r io.Reader) error) error {
	want, err := hex.DecodeString(f.SHA256)
	if err != nil || f.Bytes < 0 {
		return problem(f.Path, "listed with a malformed digest or size")
	}
	r, err := m.Open()
	if err != nil {
		return problem(f.Path, "altered")
	}
	h := &member{hash: sha256.New(), w: io.Discard, file: &File{}}
	content := io.TeeReader(io.LimitReader(r, f.Bytes), h)
	if err := see(f.Path, content); err != nil {
		return errors.Join(err, r.Close())
	}
	_, err = io.Copy(io.Discard, content)
	n := h.file.Bytes
	if err == nil && n == f.Bytes {
		var more [1]byte
		if _, err := io.ReadFull(r, more[:]); !errors.Is(err, io.EOF) { // also checks the CRC
			return problem(f.Path, "altered")
		}
	}
	if cerr := r.Close(); err != nil || cerr != nil || n != f.Bytes || !bytes.Equal(h.hash.Sum(nil), want) {
		return problem(f.Path, "altered")
	}
	return nil
}

// strict decodes JSON that has known fields only.
func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
