// Package vocabulary has the terms of the W3C Data Privacy Vocabulary (DPV) that
// the platform uses: as identifiers of purposes, legal bases, measures, kinds of
// personal data and so on, each with a plain label in Danish and English. The
// labels are the platform's own.
package vocabulary

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

//go:embed dpv-terms.json
var file []byte

// parse reads the embedded file once: it is the same for ever.
var parse = sync.OnceValue(func() (v struct {
	Version  string            `json:"vocabularyVersion"`
	Prefixes map[string]string `json:"prefixes"`
	Terms    []Term            `json:"terms"`
},
) {
	if err := json.Unmarshal(file, &v); err != nil {
		panic("internal/vocabulary: " + err.Error()) // the package's own test reads it
	}
	return v
})

// Kind is what a term is for.
type Kind string

// The kinds.
const (
	Purpose               Kind = "PURPOSE"
	LegalBasis            Kind = "LEGAL_BASIS"
	Right                 Kind = "RIGHT"
	Notice                Kind = "NOTICE"
	Role                  Kind = "ROLE"
	Subject               Kind = "SUBJECT"
	PersonalData          Kind = "PERSONAL_DATA"
	Operation             Kind = "OPERATION"
	TechnicalMeasure      Kind = "TECHNICAL_MEASURE"
	OrganisationalMeasure Kind = "ORGANISATIONAL_MEASURE"
	Storage               Kind = "STORAGE"
	ConsentState          Kind = "CONSENT_STATE"
	ConsentType           Kind = "CONSENT_TYPE"
	Transfer              Kind = "TRANSFER"
	Breach                Kind = "BREACH"
	Justification         Kind = "JUSTIFICATION"
)

// Term is a term of the vocabulary.
type Term struct {
	ID      string `json:"id"` // with its prefix, as in dpv:Consent
	IRI     string `json:"iri"`
	Kind    Kind   `json:"group"`
	Danish  string `json:"label_da"`
	English string `json:"label_en"`
}

// Label returns the term's label in the language of a BCP 47 tag: in Danish for
// Danish, else in English.
func (t Term) Label(tag string) string {
	base, _ := language.Make(tag).Base()
	if base.String() == "da" {
		return t.Danish
	}
	return t.English
}

// Version returns the version of the vocabulary, to be stored with each use of a term.
func Version() string { return parse().Version }

// Prefixes returns the namespaces of terms by prefix.
func Prefixes() map[string]string { return parse().Prefixes }

// Lookup returns the term with an id, as in dpv:Consent.
func Lookup(id string) (Term, bool) {
	for _, t := range parse().Terms {
		if t.ID == id {
			return t, true
		}
	}
	return Term{}, false
}

// Is reports whether there is a term with an id and of a kind.
func Is(kind Kind, id string) bool {
	t, ok := Lookup(id)
	return ok && t.Kind == kind
}

// Vocabulary is the terms of a version.
type Vocabulary struct {
	Version string
	Terms   []Term
}

// Read returns the terms of a kind, or all, with their version.
func Read(kind *Kind) *Vocabulary {
	if kind == nil {
		return &Vocabulary{Version(), Terms("")}
	}
	return &Vocabulary{Version(), Terms(*kind)}
}

// Terms returns the terms of a kind, all when it is "", in the vocabulary's order.
func Terms(kind Kind) []Term {
	var found []Term
	for _, t := range parse().Terms {
		if kind == "" || t.Kind == kind {
			found = append(found, t)
		}
	}
	return found
}

// IRI returns the full form of an id, the id itself if its prefix is unknown.
func IRI(id string) string {
	prefix, name, _ := strings.Cut(id, ":")
	if space, ok := parse().Prefixes[prefix]; ok {
		return space + name
	}
	return id
}
