// Package receipt makes receipts of consent, which persons can keep and anybody can
// check: the whole consent record of ISO/IEC TS 27560:2023, in the profile of the
// Data Privacy Vocabulary, as JSON-LD in a JSON Web Signature.
//
// There is a receipt for each event of a consent: what the record was after it. A
// receipt holds the hash of the one before, so that nobody can make a withdrawal
// undone, or put an event between others, without showing. It says nothing of the
// person but an opaque id and what they chose. The same record makes the same
// receipt, at any time.
//
// FORMAT.md says how they are written.
package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
)

const (
	// Type is the typ of a receipt's header.
	Type = "consent-receipt+jws"
	// MediaType is that of a receipt, RFC 7515. One with all before it, a receipt in
	// each line, the oldest first, has it too.
	MediaType = "application/jose"

	schema        = "https://w3id.org/dpv/schema/dpv-27560#"
	schemaVersion = "ISO/IEC TS 27560:2023"
)

// Sentinels of what isn't a receipt or a chain of them.
var (
	// ErrForm reports what is signed and yet no receipt.
	ErrForm  = errors.New("not a receipt of the form that this vogter knows")
	ErrChain = errors.New("the receipts are no chain")
)

// Document is what a receipt says: dpv:ConsentReceipt.
type Document struct {
	Context    map[string]any `json:"@context"`
	ID         string         `json:"@id"`
	Kind       string         `json:"@type"`
	Identifier string         `json:"dct:identifier"`
	ConformsTo string         `json:"dct:conformsTo"`
	Created    time.Time      `json:"dct:created"` // of the last event
	Publisher  []string       `json:"dct:publisher"`
	Recipient  string         `json:"schema:recipient"`
	Sequence   int            `json:"vogter:sequence"`           // from 1
	Previous   string         `json:"vogter:previous,omitempty"` // hexadecimal SHA-256 of the payload before
	Record     Record         `json:"dpv:hasRecordOfActivity"`
}

// Record is the consent record: dpv:ConsentRecord.
type Record struct {
	ID            string   `json:"@id"`
	Kind          string   `json:"@type"`
	Identifier    string   `json:"dct:identifier"`
	ConformsTo    string   `json:"dct:conformsTo"`
	SchemaVersion string   `json:"dct:hasVersion"`
	Replaces      string   `json:"dct:replaces,omitempty"` // the record that this one supersedes
	Subject       Subject  `json:"dpv:hasDataSubject"`
	Status        string   `json:"dpv:hasConsentStatus"`
	Language      string   `json:"dct:language"`
	Notice        Notice   `json:"dpv:hasNotice"`
	Controllers   []Party  `json:"dpv:hasDataController"`
	Jurisdiction  string   `json:"dpv:hasJurisdiction"`
	LegalBasis    []string `json:"dpv:hasLegalBasis"`
	Process       Process  `json:"dpv:hasProcess"`
	Withdrawal    Control  `json:"dpv:hasConsentControl"`
	Rights        []string `json:"dpv:hasRight"`
	Authority     *Party   `json:"dpv:hasAuthority,omitempty"`
	Events        []Event  `json:"dct:hasPart"`
}

// Subject is the person, by the id that the tenant's system gave them.
type Subject struct {
	ID   string `json:"@id"`
	Kind string `json:"@type"`
}

// Notice is what was shown.
type Notice struct {
	ID        string    `json:"@id"`
	Kind      string    `json:"@type"`
	Title     string    `json:"dct:title"`
	Version   int64     `json:"dct:hasVersion"`
	Published time.Time `json:"dct:issued"`
	Hash      string    `json:"vogter:contentHash"`
}

// Party is an organisation.
type Party struct {
	Identifier string   `json:"dct:identifier"`
	Kind       []string `json:"@type"`
	Name       string   `json:"dpv:hasName"`
	Address    string   `json:"dpv:hasAddress"`
	Country    string   `json:"dpv:hasCountry"`
	Contact    []string `json:"dpv:hasContact"`
}

// Process is what the data is used for, and how.
type Process struct {
	Kind             string      `json:"@type"`
	Service          string      `json:"dpv:hasService,omitempty"`
	Purpose          Purpose     `json:"dpv:hasPurpose"`
	PersonalData     []Data      `json:"dpv:hasPersonalData"`
	Operations       []string    `json:"dpv:hasProcessing"`
	Source           string      `json:"dpv:hasDataSource"`
	Recipients       []Party     `json:"dpv:hasRecipient"`
	Storage          []Condition `json:"dpv:hasStorageCondition"`
	Locations        []string    `json:"dpv:hasLocation"`
	Restrictions     []Rule      `json:"dpv:hasRule"`
	CodesOfConduct   string      `json:"dpv:hasOrganisationalMeasure,omitempty"`
	ImpactAssessment string      `json:"dpv:hasImpactAssessment,omitempty"`
}

// Purpose is what for.
type Purpose struct {
	ID          string `json:"@id"`
	Kind        string `json:"@type"` // a term of the vocabulary
	Vocabulary  string `json:"vogter:vocabularyVersion"`
	Key         string `json:"dct:identifier"`
	Version     int64  `json:"dct:hasVersion"`
	Title       string `json:"dct:title"`
	Description string `json:"dct:description"`
}

// Data is a kind of personal data.
type Data struct {
	Kind      []string `json:"@type"`
	Necessity string   `json:"dpv:hasNecessity"`
}

// Condition is where, or how long, data is stored.
type Condition struct {
	Kind      string   `json:"@type"`
	Locations []string `json:"dpv:hasLocation,omitempty"`
	Duration  string   `json:"dct:description,omitempty"`
}

// Rule is where data must not go.
type Rule struct {
	Kind     string `json:"@type"`
	Location string `json:"dpv:hasLocation"`
}

// Control is how a consent is withdrawn.
type Control struct {
	Kind        string `json:"@type"`
	Description string `json:"dct:description"`
}

// Event is something that happened to the consent.
type Event struct {
	Identifier string     `json:"dct:identifier"`
	Kind       []string   `json:"@type,omitempty"` // how it was expressed, if it was a yes
	Status     string     `json:"dpv:hasConsentStatus"`
	Date       time.Time  `json:"dct:date"`
	Duration   string     `json:"dpv:hasDuration"`        // validity: ISO 8601, "P0D" of what isn't a consent
	ValidUntil *time.Time `json:"dct:valid,omitempty"`    // when the consent ends by itself
	Entity     string     `json:"dpv:hasEntity"`          // who expressed it
	Actor      string     `json:"vogter:actor"`           // as package consent has it
	Channel    string     `json:"vogter:channel"`         // likewise
	Cause      string     `json:"vogter:cause,omitempty"` // likewise
	TextHash   string     `json:"vogter:shownHash,omitempty"`
}

// linked is the context of JSON-LD: the prefixes, and what values of properties are.
func linked() map[string]any {
	c := map[string]any{
		"dct": "http://purl.org/dc/terms/", "dpv": "https://w3id.org/dpv#", "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
		"legal-dk": "https://w3id.org/dpv/legal/dk#", "loc": "https://w3id.org/dpv/loc#", "pd": "https://w3id.org/dpv/pd#",
		"schema": "https://schema.org/", "vogter": "urn:vogter:receipt:1#", "xsd": "http://www.w3.org/2001/XMLSchema#",
	}
	for _, term := range []string{
		"dct:conformsTo", "dct:replaces", "schema:recipient", "dpv:hasConsentStatus", "dpv:hasJurisdiction", "dpv:hasLegalBasis",
		"dpv:hasRight", "dpv:hasProcessing", "dpv:hasLocation", "dpv:hasCountry", "dpv:hasNecessity",
	} {
		c[term] = map[string]string{"@id": term, "@type": "@id"}
	}
	for _, term := range []string{"dct:created", "dct:issued", "dct:date", "dct:valid"} {
		c[term] = map[string]string{"@id": term, "@type": "xsd:dateTime"}
	}
	return c
}

// Source is what receipts are made from. Events are all of the consent, in their
// order, with their evidence.
type Source struct {
	Consent *consent.Consent
	Purpose *purpose.Purpose // in the version that was consented to
	Notice  *purpose.Notice  // as shown
	Events  []*consent.Event
}

// Documents returns what the receipts of s say, one for each event, as the
// payloads that are signed.
func Documents(s Source) ([][]byte, error) {
	payloads := make([][]byte, len(s.Events))
	previous := ""
	for i := range s.Events {
		d := s.document(s.Events[:i+1])
		d.Previous = previous
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(d); err != nil {
			return nil, fmt.Errorf("encode receipt: %w", err)
		}
		payloads[i] = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		previous = hash(payloads[i])
	}
	return payloads, nil
}

func hash(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// language returns that in which the notice was shown by the nth event: the
// last time, or else, of a request without evidence of its own, as it was answered
// there and then. In which language a consent is taken back says nothing of it.
func (s *Source) language(n int) string {
	shown := func(e *consent.Event) bool { return e.Evidence != nil && e.Evidence.TextHash != "" }
	for _, e := range slices.Backward(s.Events[:n]) {
		if shown(e) {
			return e.Evidence.Language
		}
	}
	if i := slices.IndexFunc(s.Events, shown); i >= 0 {
		return s.Events[i].Evidence.Language
	}
	return ""
}

// document returns what the record was after some of its events.
func (s *Source) document(events []*consent.Event) *Document {
	last, n := events[len(events)-1], s.Notice
	text := n.In(s.language(len(events)))
	words := s.Purpose.In(text.Language)
	d := &Document{
		Context: linked(), Kind: "dpv:ConsentReceipt", Identifier: s.Consent.ID + "." + strconv.Itoa(len(events)),
		ConformsTo: schema + "receipt", Created: last.At.UTC(), Publisher: each(n.Controllers, func(p purpose.Party) string { return p.ID }),
		Recipient: "dpv:DataSubject", Sequence: len(events),
		Record: Record{
			ID: urn(s.Consent.ID), Kind: "dpv:ConsentRecord", Identifier: s.Consent.ID, ConformsTo: schema + "record",
			SchemaVersion: schemaVersion, Subject: Subject{urn(s.Consent.SubjectID), "dpv:DataSubject"}, Status: last.State.Term(),
			Language: text.Language, Notice: Notice{
				ID: urn(n.ID), Kind: "dpv:ConsentNotice", Title: text.Title, Version: n.Version, Hash: text.ContentHash,
			},
			Controllers: each(n.Controllers, party), Jurisdiction: "loc:" + n.Jurisdiction, LegalBasis: []string{s.Purpose.LegalBasis},
			Withdrawal: Control{"dpv:WithdrawConsent", text.Withdrawal}, Rights: list(n.Rights),
			Process: Process{
				Kind: "dpv:Process", Service: value(n.Service),
				Purpose: Purpose{
					ID: urn(s.Purpose.ID), Kind: s.Purpose.Term, Vocabulary: s.Purpose.VocabularyVersion, Key: s.Purpose.Key,
					Version: s.Purpose.Version, Title: words.Name, Description: words.Description,
				},
				PersonalData: each(s.Purpose.Data, data), Operations: list(n.Operations), Source: text.Collection,
				Recipients: each(n.Recipients, party), Locations: each(n.ProcessingLocations, location),
				Storage: []Condition{
					{Kind: "dpv:StorageLocation", Locations: each(n.StorageLocations, location)},
					{Kind: "dpv:StorageDuration", Duration: text.Retention},
				},
				Restrictions:   each(n.GeographicRestrictions, func(c string) Rule { return Rule{"dpv:Prohibition", location(c)} }),
				CodesOfConduct: value(n.CodesOfConduct), ImpactAssessment: value(n.ImpactAssessment),
			},
			Events: each(events, s.event),
		},
	}
	d.ID = urn("receipt:" + d.Identifier)
	if s.Consent.Supersedes != nil {
		d.Record.Replaces = urn(*s.Consent.Supersedes)
	}
	if n.PublishedAt != nil {
		d.Record.Notice.Published = n.PublishedAt.UTC()
	}
	if n.Authority != nil {
		a := party(*n.Authority)
		d.Record.Authority = &a
	}
	if s.Purpose.Art9Basis != nil {
		d.Record.LegalBasis = append(d.Record.LegalBasis, *s.Purpose.Art9Basis)
	}
	return d
}

func urn(id string) string { return "urn:vogter:" + id }

func location(country string) string { return "loc:" + country }

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func list(ids []string) []string { return append([]string{}, ids...) }

func each[T, U any](from []T, of func(T) U) []U {
	out := make([]U, len(from))
	for i, v := range from {
		out[i] = of(v)
	}
	return out
}

func party(p purpose.Party) Party {
	out := Party{Identifier: p.ID, Kind: []string{p.Role}, Name: p.Name, Address: p.Address, Contact: []string{}}
	if p.Type == purpose.Organisation {
		out.Kind = append([]string{"dpv:LegalEntity"}, out.Kind...)
	}
	if p.Country != "" {
		out.Country = location(p.Country)
	}
	for _, c := range []string{p.Contact, value(p.Email), value(p.Phone), value(p.URL)} {
		if c != "" {
			out.Contact = append(out.Contact, c)
		}
	}
	return out
}

func data(d purpose.Data) Data {
	out := Data{Kind: []string{d.Term}, Necessity: "dpv:Required"}
	switch d.Class {
	case "ART9":
		out.Kind = append(out.Kind, "dpv:SpecialCategoryPersonalData")
	case "ART10", "NATIONAL_ID", "CONFIDENTIAL":
		out.Kind = append(out.Kind, "dpv:SensitivePersonalData")
	default:
	}
	if d.Optional {
		out.Necessity = "dpv:Optional"
	}
	return out
}

func (s *Source) event(e *consent.Event) Event {
	out := Event{
		Identifier: e.ID, Status: e.State.Term(), Date: e.At.UTC(), Duration: "P0D", Actor: string(e.Actor), Channel: string(e.Channel),
	}
	if e.State.Valid() {
		out.Duration = "dpv:UntilEventDuration" // until it is withdrawn
		if e.ValidUntil != nil {
			until := e.ValidUntil.UTC()
			out.ValidUntil, out.Duration = &until, "P"+strconv.Itoa(s.Purpose.ValidityMonths)+"M"
		}
	}
	if e.Expression != nil {
		out.Kind = []string{"dpv:ExpressedConsent"}
		if *e.Expression == consent.Explicit {
			out.Kind = []string{"dpv:ExplicitlyExpressedConsent"}
		}
	}
	switch e.Actor {
	case consent.Self, consent.Staff: // who entered it for the person expressed nothing
		out.Entity = urn(s.Consent.SubjectID)
	case consent.Parent:
		out.Entity = "the holder of parental responsibility for " + urn(s.Consent.SubjectID)
	case consent.Controller, consent.System:
		if len(s.Notice.Controllers) > 0 {
			out.Entity = s.Notice.Controllers[0].ID
		}
	}
	if e.Cause != nil {
		out.Cause = string(*e.Cause)
	}
	if e.Evidence != nil {
		out.TextHash = e.Evidence.TextHash
	}
	return out
}

// Receipt is a receipt that was checked.
type Receipt struct {
	Document

	SignedBy *sign.Key
	payload  []byte
}

// Open returns what a receipt says, signed by one of the keys. It fails with
// ErrForm and those of sign.KeySet.OpenJWS.
func Open(keys *sign.KeySet, signed string) (*Receipt, error) {
	payload, by, err := keys.OpenJWS(sign.Receipt, Type, signed)
	if err != nil {
		return nil, err
	}
	r := &Receipt{SignedBy: by, payload: payload}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&r.Document); err != nil {
		return nil, ErrForm
	}
	events := r.Record.Events
	if r.Kind != "dpv:ConsentReceipt" || r.Record.SchemaVersion != schemaVersion || r.Sequence < 1 || r.Sequence != len(events) ||
		(r.Previous == "") != (r.Sequence == 1) || r.Identifier != r.Record.Identifier+"."+strconv.Itoa(r.Sequence) ||
		r.Record.Status != events[len(events)-1].Status {
		return nil, ErrForm
	}
	return r, nil
}

// Split returns the receipts of a text that has one in each line, nil if it is
// anything else. It looks at their form only.
func Split(text []byte) []string {
	var receipts []string
	for line := range strings.FieldsSeq(string(text)) {
		if strings.Count(line, ".") != 2 || !strings.HasPrefix(line, "eyJ") { // base64 of {"
			return nil
		}
		receipts = append(receipts, line)
	}
	return receipts
}

// Chain checks that receipts, in any order and named as they are to be spoken of,
// are of one consent and follow each other, and returns them in their order. It
// fails with ErrChain. Those before the first may be missing: nothing says what
// they were but the hash.
func Chain(receipts []*Receipt) ([]*Receipt, error) {
	sorted := slices.SortedStableFunc(slices.Values(receipts), func(a, b *Receipt) int { return a.Sequence - b.Sequence })
	for i := 1; i < len(sorted); i++ {
		r, before := sorted[i], sorted[i-1]
		switch {
		case r.Record.Identifier != before.Record.Identifier:
			return nil, fmt.Errorf("%w: they are of different consents, %s and %s", ErrChain, before.Record.Identifier, r.Record.Identifier)
		case r.Sequence == before.Sequence && bytes.Equal(r.payload, before.payload):
			return nil, fmt.Errorf("%w: receipt %d is given twice", ErrChain, r.Sequence)
		case r.Sequence == before.Sequence:
			return nil, fmt.Errorf("%w: there are two different receipts %d", ErrChain, r.Sequence)
		case r.Sequence != before.Sequence+1:
			return nil, fmt.Errorf("%w: receipt %d is missing", ErrChain, before.Sequence+1)
		case r.Previous != hash(before.payload):
			return nil, fmt.Errorf("%w: receipt %d doesn't follow from receipt %d", ErrChain, r.Sequence, before.Sequence)
		}
	}
	return sorted, nil
}
