package vocabulary_test

import (
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/vocabulary"
)

func TestTerms(t *testing.T) {
	kinds := []vocabulary.Kind{
		vocabulary.Purpose, vocabulary.LegalBasis, vocabulary.Right, vocabulary.Notice, vocabulary.Role, vocabulary.Subject,
		vocabulary.PersonalData, vocabulary.Operation, vocabulary.TechnicalMeasure, vocabulary.OrganisationalMeasure, vocabulary.Storage,
		vocabulary.ConsentState, vocabulary.ConsentType, vocabulary.Transfer, vocabulary.Breach, vocabulary.Justification,
	}
	counted, seen := 0, map[string]bool{}
	for _, k := range kinds {
		of := vocabulary.Terms(k)
		if len(of) == 0 {
			t.Errorf("no terms of kind %s", k)
		}
		counted += len(of)
		for _, term := range of {
			prefix, name, _ := strings.Cut(term.ID, ":")
			if seen[term.ID] || term.IRI != vocabulary.Prefixes()[prefix]+name || term.IRI != vocabulary.IRI(term.ID) ||
				term.Danish == "" || term.English == "" {
				t.Errorf("term %+v", term)
			}
			seen[term.ID] = true
		}
	}
	if all := len(vocabulary.Terms("")); counted != all || all < 190 {
		t.Errorf("%d of %d terms are of a known kind", counted, all)
	}
	if vocabulary.Version() != "2.3" {
		t.Errorf("version %s", vocabulary.Version())
	}
}

func TestLookup(t *testing.T) {
	got, ok := vocabulary.Lookup("dpv:DirectMarketing")
	if !ok || got.IRI != "https://w3id.org/dpv#DirectMarketing" || got.Label("da-DK") != got.Danish || got.Label("sv") != got.English {
		t.Errorf("found %+v, %t", got, ok)
	}
	if _, ok := vocabulary.Lookup("pd:Employment"); ok {
		t.Error("found what isn't in the vocabulary")
	}
	if !vocabulary.Is(vocabulary.LegalBasis, "eu-gdpr:A6-1-a") || vocabulary.Is(vocabulary.Purpose, "eu-gdpr:A6-1-a") {
		t.Error("the kind of a legal basis")
	}
	if got := vocabulary.IRI("xx:Y"); got != "xx:Y" {
		t.Errorf("IRI %s", got)
	}
}
