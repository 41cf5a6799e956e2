// Package pack has the form of the packages that the platform hands out, and
// checks them. It asks nothing of the platform, so that whoever holds a package
// can verify it offline, with `vogter verify`.
//
// A package is a ZIP file without encryption. Its manifest.json lists every
// member before it in order, with its size and SHA-256; its "type" says what
// kind of package it is. The last member, signature.json, has the platform's
// signature of the manifest and the public keys.
package pack

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/sign"
)

// The last two members.
const (
	ManifestPath  = "manifest.json"
	SignaturePath = "signature.json"
)

// NoteKind is the first line of what is signed: the type of the package and the
// SHA-256 of its manifest follow.
const NoteKind = "vogter/package/1"

// Signature is the content of SignaturePath.
type Signature struct {
	Note string          `json:"note"`
	Keys json.RawMessage `json:"keys"` // a JSON Web Key Set
}

// Signer signs for the platform, see sign.Ring.
type Signer interface {
	Sign(ctx context.Context, p sign.Purpose, text []byte) ([]byte, error)
	Keys(ctx context.Context) (*sign.KeySet, error)
}

// Version is the version of the form.
const Version = 2

// Categories of a package's files.
const (
	Overview  = "overview"  // for reading
	Identity  = "identity"  // who the person is
	Data      = "data"      // records
	Documents = "documents" // uploaded files
	Schemas   = "schema"    // what the data means
	Letters   = "letter"    // what is said of it: the cover, the statement of Art. 15
	Accesses  = "log"       // who looked at the data
)

// File is a member as the manifest lists it.
type File struct {
	Path        string `json:"path"`
	MediaType   string `json:"mediaType"`
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"` // hexadecimal
	Category    string `json:"category"`
	Description string `json:"description"`
}

// Header is how every manifest begins.
type Header struct {
	PackageVersion int    `json:"packageVersion"`
	Type           Type   `json:"type"`
	Files          []File `json:"files"`
}

// Type is a kind of package.
type Type string

// StaffCopyType is the type of a StaffCopy.
const StaffCopyType Type = "STAFF_COPY"

// StaffCopy is the manifest of a copy of a person's data that staff asked for.
type StaffCopy struct {
	Header

	NotAnArticle15Answer bool              `json:"notAnArticle15Answer"` // always true
	ExportID             string            `json:"exportId"`
	Controller           string            `json:"controller"`
	Processor            string            `json:"processor"`
	CreatedAt            string            `json:"createdAt"` // RFC 3339 with the controller's zone
	DataAsOf             string            `json:"dataAsOf"`  // likewise
	Language             string            `json:"language"`
	SubjectRef           string            `json:"subjectRef"` // opaque
	Datasets             []Searched        `json:"datasets"`
	SchemaVersions       map[string]string `json:"schemaVersions"` // path of a schema to its SHA-256
	Totals               Totals            `json:"totals"`
}

// The types of an Answer: GDPR Art. 15, and Art. 20.
const (
	AccessType      Type = "ACCESS"
	PortabilityType Type = "PORTABILITY"
)

// Answer is the manifest of a package that answers a person's request.
type Answer struct {
	Header

	CaseID         string            `json:"caseId"`
	CaseNumber     string            `json:"caseNumber"`
	ExportID       string            `json:"exportId"`
	Controller     string            `json:"controller"`
	Processor      string            `json:"processor"`
	CreatedAt      string            `json:"createdAt"` // RFC 3339 with the controller's zone
	DataAsOf       string            `json:"dataAsOf"`  // likewise
	Language       string            `json:"language"`
	SubjectRef     string            `json:"subjectRef"` // opaque
	Datasets       []Searched        `json:"datasets"`
	Lists          []Searched        `json:"lists"`      // what is kept beside datasets
	Redactions     []Redaction       `json:"redactions"` // out of regard for others
	SchemaVersions map[string]string `json:"schemaVersions"`
	Totals         Totals            `json:"totals"` // of files and of the datasets' records
}

// Redaction tells that values about other persons were left out of records that
// are in the package.
type Redaction struct {
	Dataset string `json:"dataset"`
	Values  int64  `json:"values"`
	Article string `json:"article"` // "GDPR Art. 15(4)"
}

// Searched is a dataset that was searched for the person's records, found or not.
type Searched struct {
	Name    string `json:"name"`
	Records int64  `json:"records"`
}

// Totals sums a package up.
type Totals struct {
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	Records int64 `json:"records"`
}

// Writer writes a package to a stream. The same members at the same time give
// the same bytes.
type Writer struct {
	zip      *zip.Writer
	modified time.Time
	files    []File
	open     *member
}

type member struct {
	hash hash.Hash
	w    io.Writer
	file *File
}

func (m *member) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.file.Bytes += int64(n)
	m.hash.Write(b[:n])
	return n, err
}

// NewWriter returns a Writer to w. All members carry the time modified, cut to
// two seconds.
func NewWriter(w io.Writer, modified time.Time) *Writer {
	return &Writer{zip: zip.NewWriter(w), modified: modified.UTC().Truncate(2 * time.Second)}
}

// Create begins the member f, of which the path, media type, category and
// description are taken, and ends the one before. What is compressed already is
// better stored.
func (w *Writer) Create(f File, compress bool) (io.Writer, error) {
	w.end()
	if checkPath(f.Path) != nil || f.Path == ManifestPath || f.Path == SignaturePath {
		return nil, fmt.Errorf("create member: %w", errPath)
	}
	dst, err := w.create(f.Path, compress)
	if err != nil {
		return nil, err
	}
	f.Bytes, f.SHA256 = 0, ""
	w.files = append(w.files, f)
	w.open = &member{hash: sha256.New(), w: dst, file: &w.files[len(w.files)-1]}
	return w.open, nil
}

func (w *Writer) create(name string, compress bool) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: w.modified}
	if compress {
		h.Method = zip.Deflate
	}
	dst, err := w.zip.CreateHeader(h)
	if err != nil {
		return nil, fmt.Errorf("create member: %w", err)
	}
	return dst, nil
}

func (w *Writer) end() {
	if w.open != nil {
		w.open.file.SHA256 = hex.EncodeToString(w.open.hash.Sum(nil))
		w.open = nil
	}
}

// Files ends the member that is open and returns all there are.
func (w *Writer) Files() []File {
	w.end()
	return w.files
}

// Close writes the manifest, which must embed a Header with Files, and its
// signature, and ends the package. It leaves the destination open.
func (w *Writer) Close(ctx context.Context, manifest any, signer Signer) error {
	w.end()
	raw, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	raw = append(raw, '\n')
	if err := w.member(ManifestPath, raw); err != nil {
		return err
	}
	header, err := decodeHeader(raw)
	if err != nil {
		return err
	}
	var signature Signature
	note, err := signer.Sign(ctx, sign.Package, noteText(header.Type, raw))
	if err != nil {
		return fmt.Errorf("sign package: %w", err)
	}
	keys, err := signer.Keys(ctx)
	if err != nil {
		return fmt.Errorf("sign package: %w", err)
	}
	signature.Note = string(note)
	if signature.Keys, err = keys.MarshalJSON(); err != nil {
		return fmt.Errorf("sign package: %w", err)
	}
	if raw, err = json.MarshalIndent(signature, "", "  "); err != nil {
		return fmt.Errorf("encode signature: %w", err)
	}
	if err := w.member(SignaturePath, append(raw, '\n')); err != nil {
		return err
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("end package: %w", err)
	}
	return nil
}

// member writes a whole member that no list names.
func (w *Writer) member(name string, content []byte) error {
	dst, err := w.create(name, true)
	if err != nil {
		return err
	}
	if _, err := dst.Write(content); err != nil {
		return fmt.Errorf("write member: %w", err)
	}
	return nil
}

// noteText is what is signed of a package.
func noteText(t Type, manifest []byte) []byte {
	sum := sha256.Sum256(manifest)
	return sign.Text(NoteKind, string(t), hex.EncodeToString(sum[:]))
}

var errPath = errors.New("not a path that a package can have")

// checkPath refuses every path that could be written elsewhere than below the
// folder where the package is unpacked, on any system.
func checkPath(p string) error {
	if p == "" || len(p) > 1000 || !utf8.ValidString(p) || path.IsAbs(p) || path.Clean(p) != p ||
		p == ".." || strings.HasPrefix(p, "../") || strings.ContainsAny(p, "\\:\x00") || strings.HasSuffix(p, "/") {
		return errPath
	}
	return nil
}
