package imports

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/tenant"
)

// Limits of mappings.
const (
	MaxMappings = 500
	maxName     = 200       // characters
	maxDocument = 256 << 10 // bytes
	maxRules    = 100       // records of a mapping
)

// Mapping tells how the lines of a file become subjects and records.
type Mapping struct {
	ID        string // made from the name, which is unique within the tenant
	Name      string
	Document  string // JSON, see docs/imports.md
	Version   int64
	UpdatedAt time.Time
}

// SaveMappingInput asks for the mapping of a name to be this document.
type SaveMappingInput struct {
	Name     string
	Document string
}

// Mappings returns the tenant's mappings by name.
func (s *Service) Mappings(ctx context.Context) ([]*Mapping, error) { return s.store.Mappings(ctx) }

// Mapping returns a mapping by its id.
func (s *Service) Mapping(ctx context.Context, mappingID string) (*Mapping, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Mapping, of, mappingID) != nil {
		return nil, ErrMappingNotFound
	}
	return s.store.Mapping(ctx, mappingID)
}

// SaveMapping makes the mapping of a name, or replaces it. One that is the same
// already stays as it is.
func (s *Service) SaveMapping(ctx context.Context, in SaveMappingInput) (*Mapping, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(in.Name)
	if name == "" || utf8.RuneCountInString(name) > maxName {
		return nil, errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("name")
	}
	if _, err := parseDocument(in.Document); err != nil {
		return nil, errs.At(err, "document")
	}
	at := s.at()
	var m *Mapping
	err = s.changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		m, err = s.store.Mapping(ctx, mappingID(of, name))
		switch {
		case errors.Is(err, ErrMappingNotFound):
			all, err := s.store.Mappings(ctx)
			if err != nil {
				return nil, err
			}
			if len(all) >= MaxMappings {
				return nil, errs.New(errs.Limited, "a tenant has at most %d import mappings", MaxMappings)
			}
			m = &Mapping{ID: mappingID(of, name)}
		case err != nil:
			return nil, err
		case m.Name == name && m.Document == in.Document:
			return nil, nil
		}
		m.Name, m.Document, m.UpdatedAt = name, in.Document, at
		m.Version++
		return []change.Change{{Action: "importMapping.save", Object: m.ID}}, s.store.SaveMapping(ctx, m)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// mappingID returns the id of the mapping of a name; names that differ by case
// only are the same.
func mappingID(of tenant.ID, name string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(name))))
	return id.Prefix(id.Mapping, of) + id.Encode(sum[:16])
}

// document is the JSON form of a mapping.
type document struct {
	Subject subjectRule  `json:"subject"`
	Records []recordRule `json:"records"`
}

type subjectRule struct {
	Reference   *source          `json:"reference"`
	Name        *nameRule        `json:"name"`
	BirthDate   *source          `json:"birthDate"`
	Emails      []source         `json:"emails"`
	Phones      []source         `json:"phones"`
	PhoneRegion string           `json:"phoneRegion"`
	NationalIDs []nationalIDRule `json:"nationalIds"`
}

type nameRule struct {
	Full   *source `json:"full"`
	Given  *source `json:"given"`
	Family *source `json:"family"`
}

type nationalIDRule struct {
	Country string `json:"country"`
	Number  source `json:"number"`
}

type recordRule struct {
	Dataset     string            `json:"dataset"`
	Each        *source           `json:"each"`
	Key         *template         `json:"key"`
	Origin      record.Origin     `json:"origin"`
	Source      *source           `json:"source"`
	CollectedAt *source           `json:"collectedAt"`
	Fields      map[string]source `json:"fields"`
}

// source is where a value comes from: a path, or a constant. In JSON it is the
// path as a string, {"path": …, "as": …} or {"const": …}.
type source struct {
	path     path
	as       form
	constant any
	isConst  bool
}

// form is how the value at a path is read.
type form string

const (
	asIs   form = ""
	asText form = "text" // a string, number or boolean as if it were a cell of a CSV
	asJSON form = "json" // anything, as its JSON
)

// UnmarshalJSON implements json.Unmarshaler.
func (s *source) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		var err error
		s.path, err = parsePath(text)
		return err
	}
	var long struct {
		Path  *string         `json:"path"`
		As    form            `json:"as"`
		Const json.RawMessage `json:"const"`
	}
	if err := strict(b, &long); err != nil {
		return err
	}
	switch {
	case (long.Path == nil) == (long.Const == nil):
		return errs.New(errs.Invalid, "a value has either a path or a const")
	case long.As != asIs && long.As != asText && long.As != asJSON:
		return errs.New(errs.Invalid, "as takes text or json")
	case long.Const != nil && long.As != asIs:
		return errs.New(errs.Invalid, "as goes with a path")
	case long.Const != nil:
		s.isConst = true
		return decode(long.Const, &s.constant)
	}
	s.as = long.As
	var err error
	s.path, err = parsePath(*long.Path)
	return err
}

// template is a text with paths in braces; without any it is a path itself.
type template struct {
	literals []string // one more than parts
	parts    []part
}

type part struct {
	kind partKind
	path path
}

type partKind byte

const (
	partPath partKind = iota
	partReference
	partIndex
)

// UnmarshalJSON implements json.Unmarshaler.
func (t *template) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errs.New(errs.Invalid, "a key is a text: a path, or paths in braces")
	}
	if !strings.Contains(text, "{") {
		text = "{" + text + "}"
	}
	for {
		literal, rest, more := strings.Cut(text, "{")
		t.literals = append(t.literals, literal)
		if !more {
			return nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return errs.New(errs.Invalid, "a brace of a key isn't closed")
		}
		p := part{}
		switch inner {
		case "reference":
			p.kind = partReference
		case "index":
			p.kind = partIndex
		default:
			var err error
			if p.path, err = parsePath(inner); err != nil {
				return err
			}
			if p.path.many {
				return errs.New(errs.Invalid, "a key takes single values: no [*]")
			}
		}
		t.parts = append(t.parts, p)
		text = after
	}
}

// parseDocument reads and checks a mapping.
func parseDocument(text string) (*document, error) {
	if len(text) > maxDocument {
		return nil, errs.New(errs.Limited, "a mapping has at most %d bytes", maxDocument)
	}
	var d document
	if err := strict([]byte(text), &d); err != nil {
		return nil, err
	}
	if d.Subject.Reference == nil {
		return nil, errs.New(errs.Invalid, "a mapping says where the subject's reference is").At("subject.reference")
	}
	if r := d.Subject.PhoneRegion; r != "" && !regexp.MustCompile(`^[A-Z]{2}$`).MatchString(r) {
		return nil, errs.New(errs.Invalid, "a region is an ISO 3166-1 alpha-2 code").At("subject.phoneRegion")
	}
	single := map[string]*source{"subject.reference": d.Subject.Reference, "subject.birthDate": d.Subject.BirthDate}
	if n := d.Subject.Name; n != nil {
		single["subject.name.full"], single["subject.name.given"], single["subject.name.family"] = n.Full, n.Given, n.Family
	}
	if len(d.Records) > maxRules {
		return nil, errs.New(errs.Limited, "a mapping has at most %d kinds of records", maxRules).At("records")
	}
	for i := range d.Records {
		r, at := &d.Records[i], "records."+strconv.Itoa(i)
		switch r.Origin {
		case record.Provided, record.Observed, record.Derived, record.ThirdParty:
		default:
			return nil, errs.New(errs.Invalid, "an origin is PROVIDED, OBSERVED, DERIVED or THIRD_PARTY").At(at + ".origin")
		}
		if r.Dataset == "" {
			return nil, errs.New(errs.Invalid, "a record needs its dataset, by name or id").At(at + ".dataset")
		}
		if r.Each != nil && (r.Each.isConst || r.Each.as != asIs) {
			return nil, errs.New(errs.Invalid, "each takes a path").At(at + ".each")
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(r.Fields)), func(s source) bool { return !s.isConst }) {
			return nil, errs.New(errs.Invalid, "a record needs a field whose value comes from the line").At(at + ".fields")
		}
		single[at+".source"], single[at+".collectedAt"] = r.Source, r.CollectedAt
		for key, s := range r.Fields {
			single[at+".fields."+key] = &s
		}
	}
	for at, s := range single {
		if s != nil && s.path.many {
			return nil, errs.New(errs.Invalid, "a single value is asked for: no [*]").At(at)
		}
	}
	return &d, nil
}

// strict decodes one JSON value whose every key is known.
func strict(b []byte, into any) error {
	if !utf8.Valid(b) {
		return errs.New(errs.Invalid, "not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	err := dec.Decode(into)
	if _, end := dec.Token(); err == nil && !errors.Is(end, io.EOF) {
		err = errors.New("something follows the JSON")
	}
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	return errs.New(errs.Invalid, "not an import mapping: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// decode reads one JSON value with its numbers as they are written.
func decode(b []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON")
	}
	return nil
}
