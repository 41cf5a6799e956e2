package export

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// pageSize is how many records are in memory at once.
const pageSize = 20

// builder writes one package. It reads the records of each dataset three times
// over (JSON, CSV, overview), for nothing plain may be put aside.
type builder struct {
	ctx     context.Context //nolint:containedctx // it lives as long as one call of write
	s       *Service
	run     Run
	w       *pack.Writer
	export  *Export
	person  *subject.Subject
	asOf    time.Time // with the controller's zone
	text    text
	sets    []*set
	parties parties
	who     [][]string // the person's identity, in rows of name and value
	read    int64      // entries read so far, in all passes
	listed  []pack.Searched
}

// parties are the names on a package.
type parties struct {
	Controller, Processor string
}

// set is a dataset as the person may see it.
type set struct {
	Name, Description string
	id                string
	slug              string
	fields            []dataset.Field // none that is secret
	secret            bool            // whether the dataset has others

	entries   int64
	seen      []byte // digest of what the first pass read
	documents []document

	sources []string // where entries come from
	others  int64    // values about others that were left out
}

// document is a file that a record names.
type document struct {
	id, path string
	name     string
	media    string
	size     int64
}

// entry is what one record says about the person.
type entry struct {
	record *record.Record
	person string   // whom the package is about
	own    bool     // the record's subject; else a party in these roles
	roles  []string // sorted
	values []value  // in the order of the dataset's fields
}

type value struct {
	field *dataset.Field
	v     personal.Value
}

// write writes the package of e to w.
func (s *Service) write(ctx context.Context, e *Export, run Run, w io.Writer) error {
	person, err := s.alive(ctx, e.SubjectID)
	if err != nil {
		return err
	}
	if person.Identity != personal.Clear {
		return errs.New(errs.Internal, "the person's identity can't be read")
	}
	controller, err := s.Tenants.Get(ctx)
	if err != nil {
		return fmt.Errorf("find controller: %w", err)
	}
	providerID, err := s.Tenants.ProviderID(tenant.System(ctx, "name the processor in an export"))
	if err != nil {
		return fmt.Errorf("find processor: %w", err)
	}
	provider, err := s.Tenants.Get(tenant.NewContext(ctx, providerID))
	if err != nil {
		return fmt.Errorf("find processor: %w", err)
	}
	zone, err := time.LoadLocation(controller.TimeZone)
	if err != nil {
		return fmt.Errorf("load time zone: %w", err)
	}
	asOf := s.Now().In(zone).Truncate(time.Millisecond)
	if e.Case != nil {
		asOf = e.CreatedAt.In(zone) // however often its building begins
	}
	b := &builder{
		ctx: ctx, s: s, run: run, w: pack.NewWriter(w, asOf), export: e, person: person, asOf: asOf,
		text: languages()[e.Language].of(e.Case), parties: parties{controller.LegalName, provider.LegalName},
	}
	if b.sets, err = b.visible(); err != nil {
		return err
	}
	for _, step := range []func() error{b.identity, b.data, b.lists, b.documents, b.schemas, b.papers, b.overview, b.manifest} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// visible returns the tenant's datasets, and the fields of each, that are not
// secret by law. The rest is as if it weren't there: it counts in no number and
// takes no name.
func (b *builder) visible() ([]*set, error) {
	all, err := b.s.Datasets.List(b.ctx)
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	var portable map[string]bool
	if b.kind() == pack.PortabilityType {
		if portable, err = b.s.Contents.Portable(b.ctx); err != nil {
			return nil, err
		}
	}
	var sets []*set
	taken := map[string]bool{identityName: true}
	for _, l := range b.contents() {
		taken[l.Name] = true
	}
	slices.SortFunc(all, func(a, b *dataset.Dataset) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range all {
		if d.Secrecy != dataset.NoSecrecy || portable != nil && !portable[d.ID] {
			continue
		}
		set := &set{id: d.ID, Name: d.Name, Description: d.Description, slug: slug(d.Name, taken)}
		for i := range d.Fields {
			if d.SecrecyOf(&d.Fields[i]) == dataset.NoSecrecy {
				set.fields = append(set.fields, d.Fields[i])
			} else {
				set.secret = true
			}
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// passes is how often each dataset is read: for JSON, CSV and the overview.
const passes = 3

// each visits the entries of a dataset. What it reads must be the same each
// time, or else it fails with ErrMoved: the files of a package must agree.
func (b *builder) each(set *set, visit func(*entry) error) error {
	h := sha256.New()
	var n int64
	var after *page.Position
	for {
		records, err := b.s.Records.Page(b.ctx, record.Query{Subject: b.export.SubjectID, Dataset: set.id}, after, pageSize)
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		for _, r := range records {
			if r.CreatedAt.After(b.asOf) || !b.covers(r) {
				continue
			}
			for _, e := range b.entries(set, r) {
				n++
				b.read++
				set.notice(e, b.export.SubjectID)
				_, _ = fmt.Fprintln(h, r.ID, r.Version, e.own, len(e.values)) // a hash takes all
				if err := visit(e); err != nil {
					return err
				}
			}
		}
		if err := b.run.Progress(b.ctx, b.read/passes, 0, "records"); err != nil {
			return err
		}
		if len(records) < pageSize {
			break
		}
		last := records[len(records)-1]
		after = &page.Position{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	sum := h.Sum(nil)
	if set.seen == nil {
		set.entries, set.seen = n, sum
	}
	if !slices.Equal(set.seen, sum) {
		return ErrMoved
	}
	return nil
}

// entries returns what r says about the person: as its subject, as a party, or
// both. A record that has nothing to show of its subject is left out, for it may
// be there for the sake of a secret value; so may a party, where its dataset can
// hold any.
func (b *builder) entries(set *set, r *record.Record) []*entry {
	var found []*entry
	if r.SubjectID == b.export.SubjectID {
		own := &entry{record: r, person: b.export.SubjectID, own: true, values: values(set, r, nil)}
		if len(own.values) > 0 {
			found = append(found, own)
		}
	}
	var roles []string
	for _, p := range r.Parties {
		if p.Subject == b.export.SubjectID {
			roles = append(roles, p.Role)
		}
	}
	if len(roles) > 0 {
		slices.Sort(roles)
		party := &entry{record: r, person: b.export.SubjectID, roles: roles, values: values(set, r, &b.export.SubjectID)}
		if len(party.values) > 0 || !set.secret {
			found = append(found, party)
		}
	}
	return found
}

// values returns the values of r about one person that are neither secret nor gone.
func values(set *set, r *record.Record, about *string) []value {
	var found []value
	for i := range set.fields {
		for j := range r.Fields {
			f := &r.Fields[j]
			same := (f.About == nil) == (about == nil) && (about == nil || *f.About == *about)
			if f.FieldID == set.fields[i].ID && same && f.State == personal.Clear {
				found = append(found, value{&set.fields[i], f.Value.Value})
			}
		}
	}
	return found
}

// data writes the JSON and CSV of each dataset.
func (b *builder) data() error {
	for _, set := range b.sets {
		if err := b.json(set); err != nil {
			return fmt.Errorf("write JSON of %s: %w", set.id, err)
		}
		if err := b.csv(set); err != nil {
			return fmt.Errorf("write CSV of %s: %w", set.id, err)
		}
	}
	return b.run.Step(b.ctx, "data")
}

// documents copies the files that the records name.
func (b *builder) documents() error {
	var done, total int64
	for _, set := range b.sets {
		for _, d := range set.documents {
			total += d.size
		}
	}
	for _, set := range b.sets {
		for _, d := range set.documents {
			if err := b.document(set, d, func(n int64) error {
				done += n
				return b.run.Progress(b.ctx, done, total, "bytes")
			}); err != nil {
				return fmt.Errorf("copy document %s: %w", d.id, err)
			}
		}
	}
	return b.run.Step(b.ctx, "documents")
}

// copyBuffer is how much of a document is copied at once, in bytes.
const copyBuffer = 256 << 10

func (b *builder) document(set *set, d document, progress func(n int64) error) (err error) {
	f, content, err := b.s.Files.Open(b.ctx, d.id)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := content.Close(); err == nil {
			err = cerr
		}
	}()
	if f.Size != d.size {
		return ErrMoved
	}
	w, err := b.w.Create(pack.File{
		Path: d.path, MediaType: d.media, Category: pack.Documents, Description: fmt.Sprintf(b.text.Document, set.Name),
	}, false)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{w}, &counted{content, progress}, make([]byte, copyBuffer))
	return err
}

// counted reports what is read.
type counted struct {
	io.Reader
	progress func(n int64) error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if perr := c.progress(int64(n)); perr != nil {
		return n, perr
	}
	return n, err
}

// onlyWriter hides what else a writer can do, so that the buffer is used.
type onlyWriter struct{ io.Writer }

// lookUp returns how the package names a file that a value names, and notes it
// at its first mention.
func (b *builder) lookUp(set *set, v personal.Value) (*document, error) {
	fileID, _ := v.RevealString()
	for i := range set.documents {
		if set.documents[i].id == fileID {
			return &set.documents[i], nil
		}
	}
	if set.seen != nil { // a later pass meets nothing new
		return nil, ErrMoved
	}
	found, err := b.s.Files.FindMany(b.ctx, []string{fileID})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[0].State != file.Attached {
		return nil, ErrMoved
	}
	f := found[0]
	number := 1
	for _, s := range b.sets {
		number += len(s.documents)
	}
	name := f.Name.Reveal()
	set.documents = append(set.documents, document{
		id: fileID, name: name, media: f.MediaType, size: f.Size,
		path: fmt.Sprintf("documents/%04d-%s", number, sanitise(name)),
	})
	return &set.documents[len(set.documents)-1], nil
}

// manifest ends the package.
func (b *builder) manifest() error {
	m := pack.StaffCopy{
		Header:               pack.Header{PackageVersion: pack.Version, Type: pack.StaffCopyType, Files: b.w.Files()},
		NotAnArticle15Answer: true, ExportID: b.export.ID, Controller: b.parties.Controller, Processor: b.parties.Processor,
		CreatedAt: b.asOf.Format(time.RFC3339Nano), DataAsOf: b.asOf.Format(time.RFC3339Nano), Language: b.export.Language,
		SubjectRef: b.export.SubjectID, Datasets: make([]pack.Searched, len(b.sets)), SchemaVersions: map[string]string{},
	}
	for i, s := range b.sets {
		m.Datasets[i] = pack.Searched{Name: s.Name, Records: s.entries}
		m.Totals.Records += s.entries
	}
	for _, f := range m.Files {
		m.Totals.Files++
		m.Totals.Bytes += f.Bytes
		if f.Category == pack.Schemas {
			m.SchemaVersions[f.Path] = f.SHA256
		}
	}
	if b.export.Case != nil {
		return b.w.Close(b.ctx, b.answered(&m), b.s.Signer)
	}
	return b.w.Close(b.ctx, m, b.s.Signer)
}

// shown returns a value as JSON has it.
func (b *builder) shown(set *set, v value) (any, error) {
	if t, ok := v.v.RevealTime(); ok {
		return t.Format(time.RFC3339Nano), nil
	}
	switch v.field.Type {
	case dataset.TypeJSON:
		s, _ := v.v.RevealString()
		return json.RawMessage(s), nil
	case dataset.TypeFile:
		d, err := b.lookUp(set, v.v)
		if err != nil {
			return nil, err
		}
		return documentRef{Path: d.path, Name: d.name, MediaType: d.media, Bytes: d.size}, nil
	default:
		return v.v.Reveal(), nil
	}
}

// documentRef is the value of a FILE in JSON.
type documentRef struct {
	Path      string `json:"path"`
	Name      string `json:"name"`
	MediaType string `json:"mediaType"`
	Bytes     int64  `json:"bytes"`
}

// plain returns a value as text, for a cell or a page.
func (b *builder) plain(set *set, v value) (string, error) {
	shown, err := b.shown(set, v)
	if err != nil {
		return "", err
	}
	switch x := shown.(type) {
	case string:
		return x, nil
	case int64:
		return strconv.FormatInt(x, 10), nil
	case bool:
		return strconv.FormatBool(x), nil
	case json.RawMessage:
		return string(x), nil
	case documentRef:
		return x.Path, nil
	default:
		return "", fmt.Errorf("show field %s: unexpected kind %s", v.field.ID, v.v.Kind())
	}
}

const (
	identityName = "identity"
	dataFolder   = "data"
	maxSlug      = 60
	maxDocument  = 120 // bytes of a document's name
)

// slug returns a file name for a dataset's name that isn't taken, and takes it.
func slug(name string, taken map[string]bool) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-") && b.Len() > 0:
			b.WriteByte('-')
		}
	}
	base := b.String()
	base = strings.Trim(base[:min(len(base), maxSlug)], "-")
	if base == "" {
		base = "dataset"
	}
	s := base
	for n := 2; taken[s]; n++ {
		s = base + "-" + strconv.Itoa(n)
	}
	taken[s] = true
	return s
}

// sanitise returns a document's name as every system takes it: letters, digits
// and a few signs, at most 120 bytes, the ending kept.
func sanitise(name string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) || strings.ContainsRune(" ._-()", r) {
			return r
		}
		return '_'
	}, name)
	clean = strings.Trim(clean, " .")
	ext := path.Ext(clean)
	if len(ext) > 20 {
		ext = ""
	}
	stem := strings.TrimSuffix(clean, ext)
	for len(stem)+len(ext) > maxDocument {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	if stem = strings.Trim(stem, " ."); stem == "" {
		stem = "document"
	}
	return stem + ext
}
