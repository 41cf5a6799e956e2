package pack_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

// member is a file of a package under test.
type member struct{ path, content string }

func members() []member {
	return []member{
		{"data/case.json", `[{"id":"rec_1"}]`},
		{"data/case.csv", "record.id\r\nrec_1\r\n"},
		{"documents/fil_1-letter.pdf", strings.Repeat("letter ", 100)},
		{"schema/case.schema.json", `{}`},
		{"index.html", "<!doctype html>"},
	}
}

func at() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }

// manifest lists what w has.
func manifest(w *pack.Writer) *pack.StaffCopy {
	m := &pack.StaffCopy{
		Header:               pack.Header{PackageVersion: pack.Version, Type: pack.StaffCopyType, Files: w.Files()},
		NotAnArticle15Answer: true, ExportID: "exp_1", DataAsOf: "2026-05-04T05:02:01+02:00",
		Datasets: []pack.Searched{{Name: "Case", Records: 1}, {Name: "Empty"}}, SchemaVersions: map[string]string{},
	}
	for _, f := range m.Files {
		m.Totals.Files++
		m.Totals.Bytes += f.Bytes
		if f.Category == pack.Schemas {
			m.SchemaVersions[f.Path] = f.SHA256
		}
	}
	m.Totals.Records = 1
	return m
}

// build writes a package through the Writer.
func build(t *testing.T, signer pack.Signer, change func(*pack.StaffCopy)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b, at())
	for _, m := range members() {
		f := pack.File{Path: m.path, MediaType: "text/plain", Category: pack.Data, Bytes: 99}
		if strings.HasPrefix(m.path, "schema/") {
			f.Category = pack.Schemas
		}
		dst, err := w.Create(f, m.path == "index.html")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(dst, m.content); err != nil {
			t.Fatal(err)
		}
	}
	m := manifest(w)
	if change != nil {
		change(m)
	}
	if err := w.Close(t.Context(), m, signer); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// forge writes a ZIP file with any members, as somebody else's program would.
func forge(t *testing.T, signer pack.Signer, list []member) []byte {
	t.Helper()
	return forgeUnsigned(t, append(slices.Clone(list), signature(t, signer, list)))
}

func forgeUnsigned(t *testing.T, list []member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range list {
		w, err := z.Create(m.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signature is the platform's signature of the manifest, as it is.
func signature(t *testing.T, signer pack.Signer, list []member) member {
	t.Helper()
	var manifest string
	for _, m := range list {
		if m.path == pack.ManifestPath {
			manifest = m.content
		}
	}
	var header pack.Header
	_ = json.Unmarshal([]byte(manifest), &header) // some are no JSON
	sum := sha256.Sum256([]byte(manifest))
	note, err := signer.Sign(t.Context(), sign.Package, sign.Text(pack.NoteKind, string(header.Type), hex.EncodeToString(sum[:])))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set, err := keys.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(pack.Signature{Note: string(note), Keys: set})
	if err != nil {
		t.Fatal(err)
	}
	return member{pack.SignaturePath, string(b)}
}

// listing is members with a manifest that lists them.
func listing(t *testing.T, list []member) []member {
	t.Helper()
	m := pack.StaffCopy{
		Header:               pack.Header{PackageVersion: pack.Version, Type: pack.StaffCopyType},
		NotAnArticle15Answer: true, SchemaVersions: map[string]string{},
	}
	for _, f := range list {
		sum := sha256.Sum256([]byte(f.content))
		m.Files = append(m.Files, pack.File{Path: f.path, Bytes: int64(len(f.content)), SHA256: hex.EncodeToString(sum[:])})
		m.Totals.Files++
		m.Totals.Bytes += int64(len(f.content))
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(list), member{pack.ManifestPath, string(b)})
}

func TestVerifyWhole(t *testing.T) {
	signer := testenv.NewRing(t)
	b := build(t, signer, nil)
	r, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Type != pack.StaffCopyType || r.Files != len(members()) || len(r.Notes) != 2 {
		t.Errorf("got %+v", r)
	}
	if again := build(t, signer, nil); !bytes.Equal(b, again) {
		t.Error("the same members gave other bytes")
	}
	path := filepath.Join(t.TempDir(), "p.zip")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.VerifyFile(path, pack.Options{}); err != nil {
		t.Errorf("as a file: %v", err)
	}
	if _, err := pack.VerifyFile(path+".nosuch", pack.Options{}); err == nil {
		t.Error("a file that isn't there was verified")
	}
}

func TestVerifyFaults(t *testing.T) {
	signer := testenv.NewRing(t)
	list := members()
	without := func(i int) []member { return slices.Delete(slices.Clone(list), i, i+1) }
	listed := listing(t, list)
	doubled := listing(t, append(slices.Clone(list), list[0]))
	swapped := slices.Clone(listed)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	altered := slices.Clone(listed)
	altered[1].content = strings.Replace(altered[1].content, "rec_1", "rec_2", 1)
	longer := slices.Clone(listed)
	longer[2].content += "x"
	shorter := slices.Clone(listed)
	shorter[2].content = shorter[2].content[1:]
	first := slices.Concat(listed[len(listed)-1:], listed[:len(listed)-1])
	tests := []struct {
		name    string
		members []member
		path    string
		what    string
	}{
		{"whole", listed, "", ""},
		{"altered", altered, "data/case.csv", "altered"},
		{"longer", longer, "documents/fil_1-letter.pdf", "altered"},
		{"shorter", shorter, "documents/fil_1-letter.pdf", "altered"},
		{"missing", append(without(3), listed[len(listed)-1]), "schema/case.schema.json", "missing"},
		{"unlisted", append([]member{{"data/more.json", "[]"}}, listed...), "data/more.json", "not listed"},
		{"behind the manifest", append(slices.Clone(listed), member{"zzz", ""}), pack.ManifestPath, "last"},
		{"order", swapped, "data/case.csv", "not where"},
		{"manifest first", first, pack.ManifestPath, "last"},
		{"no manifest", list, pack.ManifestPath, "missing"},
		{"empty", nil, pack.SignaturePath, "missing"},
		{"twice", append([]member{list[0]}, listed...), "data/case.json", "twice"},
		{"twice but for case", append([]member{{"DATA/case.json", ""}}, listed...), "data/case.json", "twice"},
		{"listed twice", append(slices.Clone(list), doubled[len(doubled)-1]), "data/case.json", "listed twice"},
		{"above the folder", listing(t, []member{{"../x", ""}}), "../x", "unsafe"},
		{"above through a folder", listing(t, []member{{"a/../../x", ""}}), "a/../../x", "unsafe"},
		{"absolute", listing(t, []member{{"/x", ""}}), "/x", "unsafe"},
		{"drive", listing(t, []member{{"C:x", ""}}), "C:x", "unsafe"},
		{"backslash", listing(t, []member{{`..\x`, ""}}), `..\x`, "unsafe"},
		{"folder", listing(t, []member{{"x/", ""}}), "x/", "unsafe"},
		{"no JSON", []member{{pack.ManifestPath, "{"}}, pack.ManifestPath, "malformed"},
		{"other version", []member{{pack.ManifestPath, `{"packageVersion":9}`}}, pack.ManifestPath, "form"},
		{"other type", []member{{pack.ManifestPath, `{"packageVersion":2,"type":"X"}`}}, pack.ManifestPath, "unknown type"},
		{"unknown claim", []member{{pack.ManifestPath, `{"packageVersion":2,"type":"STAFF_COPY","x":1}`}}, pack.ManifestPath, "malformed"},
		{"negative size", []member{
			{"a", ""}, {pack.ManifestPath, `{"packageVersion":2,"type":"STAFF_COPY","files":[{"path":"a","bytes":-1,"sha256":""}]}`},
		}, "a", "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := forge(t, signer, tt.members)
			_, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{})
			expect(t, err, tt.path, tt.what)
		})
	}
}

func expect(t *testing.T, err error, path, what string) {
	t.Helper()
	p, ok := errors.AsType[*pack.Error](err)
	switch {
	case what == "":
		if err != nil {
			t.Errorf("got %v, want no problem", err)
		}
	case !ok || p.Path != path || !strings.Contains(p.What, what):
		t.Errorf("got %v, want %q at %q", err, what, path)
	}
}

func TestVerifyClaims(t *testing.T) {
	signer := testenv.NewRing(t)
	tests := []struct {
		name   string
		change func(*pack.StaffCopy)
	}{
		{"answer under Art. 15", func(m *pack.StaffCopy) { m.NotAnArticle15Answer = false }},
		{"file count", func(m *pack.StaffCopy) { m.Totals.Files++ }},
		{"byte count", func(m *pack.StaffCopy) { m.Totals.Bytes++ }},
		{"record count", func(m *pack.StaffCopy) { m.Datasets[1].Records++ }},
		{"schema", func(m *pack.StaffCopy) { m.SchemaVersions["schema/case.schema.json"] = "00" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := build(t, signer, tt.change)
			_, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{})
			if p, ok := errors.AsType[*pack.Error](err); !ok || p.Path != pack.ManifestPath {
				t.Errorf("got %v, want a problem of the manifest", err)
			}
		})
	}
}

// No byte of a member can be changed, and none added or taken away.
func TestVerifyBytes(t *testing.T) {
	signer := testenv.NewRing(t)
	whole := build(t, signer, nil)
	if _, err := pack.Verify(bytes.NewReader(whole), int64(len(whole)), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"prepended": append([]byte("PK\x03\x04evil"), whole...),
		"appended":  append(slices.Clone(whole), "more"...),
		"truncated": whole[:len(whole)-1],
		"nothing":   nil,
		"no ZIP":    []byte(strings.Repeat("x", 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{}); err == nil {
				t.Error("no problem was found")
			}
		})
	}
	z, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		if f.Method != zip.Store { // compression has several forms of one content
			continue
		}
		from, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < from+int64(f.CompressedSize64); i++ {
			b := slices.Clone(whole)
			b[i] ^= 0x10
			if _, err := pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{}); err == nil {
				t.Fatalf("byte %d of %s was changed unnoticed", i-from, f.Name)
			}
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	w := pack.NewWriter(io.Discard, at())
	for _, path := range []string{"", "/a", "../a", "a/../b", "a\\b", "a/", "manifest.json", "a\x00", "\xff"} {
		if _, err := w.Create(pack.File{Path: path}, true); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
}

// Only whom one trusts can sign, and keys that follow from theirs.
func TestVerifySignature(t *testing.T) {
	signer, stranger := testenv.NewRing(t), testenv.NewRing(t)
	b := build(t, signer, nil)
	pinned, err := signer.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.Rotate(t.Context(), sign.Root, sign.Package); err != nil {
		t.Fatal(err)
	}
	rotated := build(t, signer, nil)
	for name, content := range map[string][]byte{"before": b, "after": rotated} {
		r, err := pack.Verify(bytes.NewReader(content), int64(len(content)), pack.Options{Trusted: pinned})
		if err != nil || r.SignedBy.Purpose != sign.Package {
			t.Errorf("%s the keys were changed: %v", name, err)
		}
	}
	for name, list := range map[string][]member{
		"signed by a stranger": append(listing(t, members()), signature(t, stranger, listing(t, members()))),
		"signature of another": append(listing(t, members()), signature(t, signer, listing(t, members()[1:]))),
		"not signed":           listing(t, members()),
	} {
		forged := forgeUnsigned(t, list)
		_, err := pack.Verify(bytes.NewReader(forged), int64(len(forged)), pack.Options{Trusted: pinned})
		if _, ok := errors.AsType[*pack.Error](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	var b bytes.Buffer
	w := pack.NewWriter(&b, at())
	if err := w.Close(f.Context(), manifest(w), testenv.NewRing(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = pack.Verify(bytes.NewReader(b), int64(len(b)), pack.Options{}) // must not panic or run away
	})
}
