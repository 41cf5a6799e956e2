package receipt_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
)

// source is a consent that was asked for, given, confirmed and withdrawn.
func source() receipt.Source {
	at := func(days int) time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, days) }
	words := func(name string) []purpose.Text {
		return []purpose.Text{{Language: "da", Name: name, Description: "Vi skriver <b>&</b>"}, {Language: "en", Name: name, Description: "We write"}}
	}
	party := func(id, role string) purpose.Party {
		return purpose.Party{
			ID: id, Type: purpose.Organisation, Role: role, Name: "Eksempel ApS", Address: "Vej 1", Country: "DK", Contact: "tlf.",
			Email: new("privatliv@eksempel.example"),
		}
	}
	authority := party("DT", "dpv:DataProtectionAuthority")
	s := receipt.Source{
		Purpose: &purpose.Purpose{
			Edition: purpose.Edition{ID: "pur_1", Key: "letters", Version: 2}, Term: "dpv:DirectMarketing", VocabularyVersion: "2.3",
			Texts: words("Letters"), LegalBasis: purpose.Consent, Art9Basis: new(purpose.ExplicitConsent), ValidityMonths: 24,
			Data: []purpose.Data{{Term: "pd:EmailAddress", Class: "ORDINARY"}, {Term: "pd:Health", Class: "ART9", Optional: true}},
		},
		Notice: &purpose.Notice{
			Edition:  purpose.Edition{ID: "ntc_1", Key: "n", Version: 3, PublishedAt: new(at(-10))},
			Purposes: []purpose.Ref{{ID: "pur_1", Key: "letters", Version: 2}},
			Facts: purpose.Facts{
				Controllers: []purpose.Party{party("CVR 1", "dpv:DataController")}, Recipients: []purpose.Party{party("CVR 2", "dpv:Recipient")},
				Authority: &authority, StorageLocations: []string{"DK"}, ProcessingLocations: []string{"DK", "DE"},
				GeographicRestrictions: []string{"US"}, Jurisdiction: "DK", Rights: []string{"eu-gdpr:A7-3", "eu-gdpr:A77"},
				Operations: []string{"dpv:Use"}, Service: new("Shop"), CodesOfConduct: new("Code"), ImpactAssessment: new("DPIA 7"),
			},
			Texts: []purpose.NoticeText{
				{Language: "da", Title: "Nyt", Collection: "Du skriver dem.", Withdrawal: "Klik.", Retention: "To år.", ContentHash: "aa"},
				{Language: "en", Title: "News", Collection: "You type them.", Withdrawal: "Click.", Retention: "Two years.", ContentHash: "bb"},
			},
		},
		Consent: &consent.Consent{ID: "cns_1", SubjectID: "sub_1", NoticeID: "ntc_1", Supersedes: new("cns_0")},
	}
	s.Consent.Purpose = s.Notice.Purposes[0]
	shown := &consent.Evidence{Language: "da", TextHash: "aa", Name: personal.NewText("Somebody Else"), Session: personal.NewText("ses_9")}
	for i, e := range []consent.Event{
		{State: consent.Requested, Actor: consent.System, Channel: consent.Web},
		{State: consent.Given, Actor: consent.Self, Channel: consent.Web, Expression: new(consent.Explicit), ValidUntil: new(at(731))},
		{State: consent.Reconfirmed, Actor: consent.Parent, Channel: consent.Phone, Expression: new(consent.Expressed)},
		{State: consent.Withdrawn, Actor: consent.Staff, Channel: consent.Phone, Cause: new(consent.Restored)},
	} {
		e.ID, e.ConsentID, e.SubjectID, e.At, e.By = fmt.Sprintf("cne_%d", i), "cns_1", "sub_1", at(i), "mem_7"
		e.Evidence, e.EvidenceState = shown, personal.Clear
		s.Events = append(s.Events, &e)
	}
	return s
}

// known is what a Service reads, in place of the stores.
type known struct{ receipt.Source }

func (k known) Full(context.Context, string) (*consent.Consent, []*consent.Event, error) {
	return k.Consent, slices.Clone(k.Events), nil
}
func (k known) ByID(context.Context, string) (*purpose.Purpose, error)  { return k.Purpose, nil }
func (k known) Notice(context.Context, string) (*purpose.Notice, error) { return k.Source.Notice, nil }

func chain(t *testing.T, ring *sign.Ring) []string {
	t.Helper()
	s := receipt.NewService(receipt.Config{Consents: known{source()}, Purposes: known{source()}, Signer: ring})
	issued, err := s.Issue(t.Context(), "cns_1", nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Chain(t.Context(), issued)
	if err != nil {
		t.Fatal(err)
	}
	receipts := receipt.Split([]byte(all))
	if len(receipts) != 4 || receipts[3] != issued.Document || issued.Sequence != 4 || issued.State != consent.Withdrawn || issued.MediaType() != "application/jose" {
		t.Fatalf("issued %+v with %d", issued, len(receipts))
	}
	for n := range 4 {
		at := source().Events[n].At.Add(time.Hour)
		if then, err := s.Issue(t.Context(), "cns_1", &at); err != nil || then.Document != receipts[n] {
			t.Errorf("at %s: %+v, %v", at, then, err)
		}
	}
	return receipts
}

func keysOf(t *testing.T, ring *sign.Ring) *sign.KeySet {
	t.Helper()
	keys, err := ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func open(t *testing.T, keys *sign.KeySet, signed ...string) []*receipt.Receipt {
	t.Helper()
	var all []*receipt.Receipt
	for _, s := range signed {
		r, err := receipt.Open(keys, s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// Every receipt is of the notice in the language that it was shown in: a request too
// that came with its answer, and whatever language a withdrawal is in.
func TestLanguageIsThatShown(t *testing.T) {
	s := source()
	s.Events = []*consent.Event{s.Events[0], s.Events[1], s.Events[3]}
	s.Events[0].Evidence = nil
	s.Events[1].Evidence = &consent.Evidence{Language: "en", TextHash: "bb"}
	s.Events[2].Evidence = &consent.Evidence{Language: "da"}
	payloads, err := receipt.Documents(s)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range payloads {
		var d receipt.Document
		if err := json.Unmarshal(p, &d); err != nil {
			t.Fatal(err)
		}
		if d.Record.Language != "en" || d.Record.Notice.Hash != "bb" || d.Record.Withdrawal.Description != "Click." {
			t.Errorf("receipt %d is in %s, of notice %s", i+1, d.Record.Language, d.Record.Notice.Hash)
		}
	}
}

// Every field of the record that ISO/IEC TS 27560 demands, or the GDPR, is in the
// receipt, and of the person no more than an id.
func TestWhatAReceiptSays(t *testing.T) {
	ring := testenv.NewRing(t)
	receipts := chain(t, ring)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(receipts[3], ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/receipt.json")
	if err != nil {
		t.Fatal(err)
	}
	var said, expected any
	if err := errors.Join(json.Unmarshal(payload, &said), json.Unmarshal(want, &expected)); err != nil {
		t.Fatal(err)
	}
	if a, b := pretty(t, said), pretty(t, expected); a != b {
		t.Errorf("says\n%s", a)
	}
	for _, personal := range []string{"Somebody", "ses_9", "mem_7"} {
		if strings.Contains(string(payload), personal) {
			t.Errorf("it tells of %s", personal)
		}
	}
}

func pretty(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestChain(t *testing.T) {
	ring := testenv.NewRing(t)
	signed := chain(t, ring)
	all := open(t, keysOf(t, ring), signed...)
	// A key that was rotated in between breaks nothing.
	if err := ring.Rotate(t.Context(), sign.Receipt); err != nil {
		t.Fatal(err)
	}
	later := open(t, keysOf(t, ring), chain(t, ring)[2:]...)
	mixed := append(slices.Clone(all[:2]), later...)

	other := source()
	other.Events[1].At = other.Events[1].At.Add(time.Second)
	forged := service(t, ring, other)
	elsewhere := source()
	elsewhere.Consent.ID = "cns_2"
	foreign := service(t, ring, elsewhere)

	for name, tt := range map[string]struct {
		receipts []*receipt.Receipt
		want     string
	}{
		"all":               {all, ""},
		"out of order":      {[]*receipt.Receipt{all[3], all[1], all[0], all[2]}, ""},
		"from the middle":   {all[2:], ""},
		"one":               {all[1:2], ""},
		"two keys":          {mixed, ""},
		"one missing":       {[]*receipt.Receipt{all[0], all[3]}, "receipt 2 is missing"},
		"one twice":         {[]*receipt.Receipt{all[0], all[0]}, "receipt 1 is given twice"},
		"another history":   {[]*receipt.Receipt{all[0], forged[1], all[2]}, "receipt 3 doesn't follow from receipt 2"},
		"two of a number":   {[]*receipt.Receipt{all[0], forged[1], all[1]}, "two different receipts 2"},
		"different consent": {[]*receipt.Receipt{all[0], foreign[1]}, "different consents"},
	} {
		sorted, err := receipt.Chain(tt.receipts)
		if tt.want == "" {
			if err != nil || !slices.IsSortedFunc(sorted, func(a, b *receipt.Receipt) int { return a.Sequence - b.Sequence }) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, receipt.ErrChain) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func service(t *testing.T, ring *sign.Ring, s receipt.Source) []*receipt.Receipt {
	t.Helper()
	svc := receipt.NewService(receipt.Config{Consents: known{s}, Purposes: known{s}, Signer: ring})
	issued, err := svc.Issue(t.Context(), s.Consent.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := svc.Chain(t.Context(), issued)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, keysOf(t, ring), receipt.Split([]byte(all))...)
}

// altered returns v in all forms that differ in one place: a value, a member less,
// an item less or twice.
func altered(t *testing.T, v any) []any {
	t.Helper()
	var all []any
	switch v := v.(type) {
	case map[string]any:
		for k, member := range v {
			for _, m := range altered(t, member) {
				c := maps.Clone(v)
				c[k] = m
				all = append(all, c)
			}
			c := maps.Clone(v)
			delete(c, k)
			all = append(all, c)
		}
	case []any:
		for i, item := range v {
			for _, m := range altered(t, item) {
				c := slices.Clone(v)
				c[i] = m
				all = append(all, c)
			}
			all = append(all, slices.Delete(slices.Clone(v), i, i+1), slices.Insert(slices.Clone(v), i, item))
		}
	case string:
		all = append(all, v+"x", "")
	case float64:
		all = append(all, v+1)
	default:
		t.Fatalf("a value of type %T", v)
	}
	return all
}

// Whatever is altered in a receipt shows.
func TestAlterations(t *testing.T) {
	ring := testenv.NewRing(t)
	signed, keys := chain(t, ring)[3], keysOf(t, ring)
	parts := strings.Split(signed, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	forms := altered(t, doc)
	if len(forms) < 300 {
		t.Errorf("%d alterations", len(forms))
	}
	for _, form := range forms {
		b, err := json.Marshal(form)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Open(keys, parts[0]+"."+base64.RawURLEncoding.EncodeToString(b)+"."+parts[2]); !errors.Is(err, sign.ErrAltered) {
			t.Errorf("%v: %s", err, b)
		}
	}
	for i := range signed {
		if r, err := receipt.Open(keys, signed[:i]+string(signed[i]^1)+signed[i+1:]); err == nil {
			t.Fatalf("byte %d altered: says %+v", i, r)
		}
	}
}

// What the platform signed and yet isn't whole is no receipt.
func TestSignedNonsense(t *testing.T) {
	ring := testenv.NewRing(t)
	payloads, err := receipt.Documents(source())
	if err != nil {
		t.Fatal(err)
	}
	whole := string(payloads[1])
	for name, payload := range map[string]string{
		"another kind":         strings.Replace(whole, "dpv:ConsentReceipt", "dpv:Receipt", 1),
		"another schema":       strings.Replace(whole, "TS 27560:2023", "TS 27560:2033", 1),
		"another number":       strings.Replace(whole, `"vogter:sequence":2`, `"vogter:sequence":1`, 1),
		"no predecessor":       strings.Replace(whole, `"vogter:previous":"`, `"vogter:previous":"","dct:title":"`, 1),
		"another status":       strings.Replace(whole, `"dpv:hasConsentStatus":"dpv:ConsentGiven","dct:language"`, `"dpv:hasConsentStatus":"dpv:ConsentRefused","dct:language"`, 1),
		"an unknown member":    strings.Replace(whole, `"dct:publisher"`, `"more":1,"dct:publisher"`, 1),
		"no document":          `[]`,
		"nothing that is said": `{}`,
	} {
		if payload == whole {
			t.Fatalf("%s: nothing is different", name)
		}
		signed, err := ring.SignJWS(t.Context(), sign.Receipt, receipt.Type, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Open(keysOf(t, ring), signed); !errors.Is(err, receipt.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoReceipt(t *testing.T) {
	ring := testenv.NewRing(t)
	before := source().Events[0].At.Add(-time.Second)
	for name, tt := range map[string]struct {
		change func(s *receipt.Source)
		at     *time.Time
		want   error
	}{
		"before it began":   {func(*receipt.Source) {}, &before, receipt.ErrNone},
		"withheld":          {func(s *receipt.Source) { s.Events[1].EvidenceState = personal.Withheld }, nil, receipt.ErrProof},
		"erased":            {func(s *receipt.Source) { s.Events[1].EvidenceState = personal.Erased }, nil, receipt.ErrErased},
		"too much happened": {func(s *receipt.Source) { s.Events = slices.Repeat(s.Events, receipt.MaxEvents) }, nil, receipt.ErrEvents},
	} {
		s := source()
		tt.change(&s)
		issued, err := receipt.NewService(receipt.Config{Consents: known{s}, Purposes: known{s}, Signer: ring}).Issue(t.Context(), "cns_1", tt.at)
		if !errors.Is(err, tt.want) || errs.KindOf(err) == errs.Internal {
			t.Errorf("%s: %+v, %v", name, issued, err)
		}
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string]int{
		"eyJh.b.c": 1, "eyJh.b.c\n": 1, "eyJh.b.c\r\neyJh.b.c\n\n": 2, "": 0, "eyJh.b": 0, "eyJh.b.c\nmore": 0, "vogter/x/1\n": 0, `{"a":1}`: 0,
	} {
		if got := receipt.Split([]byte(text)); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
