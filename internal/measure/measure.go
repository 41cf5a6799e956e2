// Package measure keeps the technical and organisational measures by which a
// tenant secures its processing: GDPR Art. 32, DOMAIN §4.4. The record of
// processing (Art. 30(1)(g)) and impact assessments name them.
//
// A measure holds no personal data.
package measure

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/framework"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vocabulary"
)

// Kind is what a measure works by.
type Kind string

// The kinds.
const (
	Technical      Kind = "TECHNICAL"
	Organisational Kind = "ORGANISATIONAL"
)

// Letter is a letter of Art. 32(1).
type Letter string

// The letters.
const (
	A Letter = "A" // pseudonymisation and encryption
	B Letter = "B" // lasting confidentiality, integrity, availability and resilience
	C Letter = "C" // availability and access restored in time
	D Letter = "D" // regular testing, assessing and evaluating
)

// Status is where a measure stands.
type Status string

// The statuses.
const (
	Planned Status = "PLANNED"
	InPlace Status = "IN_PLACE"
	Retired Status = "RETIRED"
)

// Limits.
const (
	Max = 500 // of a tenant, retired ones too

	maxKey       = 64
	maxText      = 2000
	maxLanguages = 20
	maxSystems   = 100
	maxControls  = 47
)

// Measure is a technical or organisational measure.
type Measure struct {
	ID                string
	Key               string // unique within the tenant
	Term              *string
	VocabularyVersion *string // of the term
	Texts             []Text
	Kind              Kind
	Art32             []Letter
	Systems           []string // ids of the systems that it secures; all when empty
	Status            Status
	Owner             *string  // id of the member who answers for it
	Controls          []string // codes of the controls that give evidence of it, as in B.8
	Version           int64
	CreatedAt         time.Time
	UpdatedAt         time.Time
	RetiredAt         *time.Time
}

// Text describes a measure in a language.
type Text struct {
	Language    string // BCP 47
	Description string
}

// Inputs.
type (
	// CreateInput asks for a measure.
	CreateInput struct {
		Key      string
		Term     *string
		Texts    []Text
		Kind     Kind
		Art32    []Letter
		Systems  []string
		Status   Status // PLANNED or IN_PLACE
		Owner    *string
		Controls []string
	}
	// UpdateInput asks for changes; what is nil stays.
	UpdateInput struct {
		ID              string
		ExpectedVersion int64
		Term            *string
		Texts           []Text
		Kind            *Kind
		Art32           []Letter
		Systems         []string
		Status          *Status
		Owner           *string
		Controls        []string
		Clear           []Field
	}
	// RetireInput names a measure that is taken for nothing any more.
	RetireInput struct {
		ID              string
		ExpectedVersion int64
	}
	// AdoptInput names measures of the default set.
	AdoptInput struct{ Keys []string }
)

// Field is what an update can clear.
type Field string

// The fields that can be cleared.
const (
	FieldTerm  Field = "TERM"
	FieldOwner Field = "OWNER"
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such security measure")
	ErrKeyTaken = errs.New(errs.Conflict, "another security measure of the tenant has this key").At("key")
	ErrRetired  = errs.New(errs.Precondition, "the security measure is retired: create another one").Under("measure.retired")
	ErrTooMany  = errs.New(errs.Limited, "a tenant has at most %d security measures", Max)
	ErrProvider = errs.New(errs.Precondition, "the default set are the commitments of the platform's provider: others create their own").Under("measure.provider")
)

// Connection is a page of measures, the newest first.
type Connection = page.Connection[*Measure]

// Edge is a measure on a page.
type Edge = page.Edge[*Measure]

// Store keeps measures, for the tenant in ctx and within a transaction that it
// carries.
type Store interface {
	// Get fails with ErrNotFound.
	Get(ctx context.Context, measureID string) (*Measure, error)
	// GetMany returns those with ids, in any order, leaving out unknown ids.
	GetMany(ctx context.Context, ids []string) ([]*Measure, error)
	// List returns up to limit measures after a position, in any status when it is
	// nil, the newest first.
	List(ctx context.Context, status *Status, after *page.Position, limit int) ([]*Measure, error)
	// Count counts those of ids that there are; all when there are no ids.
	Count(ctx context.Context, ids ...string) (int, error)
	// Taken reports whether a measure has the key.
	Taken(ctx context.Context, key string) (bool, error)
	// Insert fails with ErrKeyTaken.
	Insert(ctx context.Context, m *Measure) error
	// Update writes m at the version before, or fails with change.ErrVersion.
	Update(ctx context.Context, m *Measure) error
}

// check reports the first thing that is wrong with m.
func (m *Measure) check(of tenant.ID) error {
	switch {
	case len(m.Key) > maxKey || !regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`).MatchString(m.Key):
		return errs.New(errs.Invalid, "a key is up to %d small letters, digits and single hyphens, beginning with a letter", maxKey).At("key")
	case m.Kind != Technical && m.Kind != Organisational:
		return errs.New(errs.Invalid, "a kind is TECHNICAL or ORGANISATIONAL").At("kind")
	case len(m.Art32) == 0 || repeats(m.Art32) || slices.ContainsFunc(m.Art32, func(l Letter) bool { return !slices.Contains([]Letter{A, B, C, D}, l) }):
		return errs.New(errs.Invalid, "name at least one letter of Art. 32(1), each once").At("art32")
	case m.Status != Planned && m.Status != InPlace && m.Status != Retired:
		return errs.New(errs.Invalid, "not a status").At("status")
	case m.Owner != nil && id.Check(id.Member, of, *m.Owner) != nil:
		return errs.New(errs.NotFound, "no such member").At("owner")
	}
	if err := m.checkTerm(); err != nil {
		return err
	}
	if err := m.checkTexts(); err != nil {
		return err
	}
	if len(m.Systems) > maxSystems || repeats(m.Systems) {
		return errs.New(errs.Invalid, "name up to %d systems, each once", maxSystems).At("systems")
	}
	for i, s := range m.Systems {
		if id.Check(id.System, of, s) != nil {
			return errs.New(errs.NotFound, "no such system").At(fmt.Sprintf("systems.%d", i))
		}
	}
	if len(m.Controls) > maxControls || repeats(m.Controls) {
		return errs.New(errs.Invalid, "name each control once").At("controls")
	}
	for i, c := range m.Controls {
		if _, ok := framework.Lookup(c); !ok {
			return errs.New(errs.Invalid, "not a control of the framework: they are named as in B.8").At(fmt.Sprintf("controls.%d", i))
		}
	}
	return nil
}

// checkTerm checks the term, and notes the vocabulary that it is of.
func (m *Measure) checkTerm() error {
	m.VocabularyVersion = nil
	if m.Term == nil {
		return nil
	}
	of := vocabulary.TechnicalMeasure
	if m.Kind == Organisational {
		of = vocabulary.OrganisationalMeasure
	}
	if !vocabulary.Is(of, *m.Term) {
		return errs.New(errs.Invalid, "not a term of the vocabulary for a measure of this kind: ask vocabulary for them").At("term")
	}
	version := vocabulary.Version()
	m.VocabularyVersion = &version
	return nil
}

func (m *Measure) checkTexts() error {
	if len(m.Texts) == 0 || len(m.Texts) > maxLanguages {
		return errs.New(errs.Invalid, "describe it in 1 to %d languages", maxLanguages).At("texts")
	}
	var seen []string
	for i, t := range m.Texts {
		at := fmt.Sprintf("texts.%d", i)
		if tag, err := language.Parse(t.Language); err != nil || tag.String() != t.Language || slices.Contains(seen, t.Language) {
			return errs.New(errs.Invalid, "a language is a BCP 47 tag, as in da or en-GB, each once").At(at + ".language")
		}
		seen = append(seen, t.Language)
		if n := utf8.RuneCountInString(t.Description); n == 0 || n > maxText || !utf8.ValidString(t.Description) ||
			strings.ContainsFunc(t.Description, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			return errs.New(errs.Invalid, "a description has 1 to %d characters", maxText).At(at + ".description")
		}
	}
	return nil
}

func repeats[T comparable](list []T) bool {
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			return true
		}
	}
	return false
}

func trimmed(texts []Text) []Text {
	out := make([]Text, len(texts))
	for i, t := range texts {
		out[i] = Text{t.Language, strings.TrimSpace(t.Description)}
	}
	return out
}

// apply makes the changes, and returns the names of what it changed.
func (m *Measure) apply(in UpdateInput) ([]string, error) {
	var changed []string
	set := func(name string, is bool, to func()) {
		if is {
			to()
			changed = append(changed, name)
		}
	}
	for _, f := range in.Clear {
		switch f {
		case FieldTerm:
			set("term", true, func() { m.Term = nil })
		case FieldOwner:
			set("owner", true, func() { m.Owner = nil })
		default:
			return nil, errs.New(errs.Invalid, "not a field that can be cleared").At("clear")
		}
	}
	if in.Status != nil && *in.Status == Retired {
		return nil, errs.New(errs.Invalid, "to retire it, ask retireSecurityMeasure").At("status")
	}
	set("term", in.Term != nil, func() { m.Term = in.Term })
	set("texts", in.Texts != nil, func() { m.Texts = trimmed(in.Texts) })
	set("kind", in.Kind != nil, func() { m.Kind = *in.Kind })
	set("art32", in.Art32 != nil, func() { m.Art32 = in.Art32 })
	set("systems", in.Systems != nil, func() { m.Systems = in.Systems })
	set("status", in.Status != nil, func() { m.Status = *in.Status })
	set("owner", in.Owner != nil, func() { m.Owner = in.Owner })
	set("controls", in.Controls != nil, func() { m.Controls = in.Controls })
	return changed, nil
}

//go:embed defaults.json
var defaults []byte

// Defaults returns the default set: the commitments of the platform's provider,
// each with its term and controls (DOMAIN §4.4).
func Defaults() ([]CreateInput, error) {
	var read []struct {
		Key      string   `json:"key"`
		Term     *string  `json:"term"`
		Kind     Kind     `json:"kind"`
		Art32    []Letter `json:"art32"`
		Controls []string `json:"controls"`
		Danish   string   `json:"da"`
		English  string   `json:"en"`
	}
	if err := json.Unmarshal(defaults, &read); err != nil {
		return nil, fmt.Errorf("read default measures: %w", err)
	}
	set := make([]CreateInput, len(read))
	for i, d := range read {
		set[i] = CreateInput{
			Key: d.Key, Term: d.Term, Kind: d.Kind, Art32: d.Art32, Controls: d.Controls, Status: InPlace,
			Texts: []Text{{"da", d.Danish}, {"en", d.English}},
		}
	}
	return set, nil
}
