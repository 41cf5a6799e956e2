// Package purpose keeps what personal data is used for, and the notices that tell
// persons of it: GDPR Art. 5(1)(b), 7, 12 to 14; ISO/IEC TS 27560.
//
// A purpose, and a notice, is known by its key, and has versions: each with an id
// of its own. A version begins as a draft that can change. Once it is published
// it never changes: what a person was shown, or said yes to, stays what it was.
// The next version says whether what changed is material. If it isn't, consents
// to the version before stand.
//
// Neither holds personal data. The contacts that notices name are those of
// organisations.
package purpose

import (
	"slices"
	"time"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
)

// State is where a version of a purpose or of a notice stands.
type State string

// The states. Draft → Published → Superseded, Retired or Withdrawn; a draft that
// was given up is Retired or Withdrawn, too, and has no PublishedAt.
const (
	Draft      State = "DRAFT"
	Published  State = "PUBLISHED"
	Superseded State = "SUPERSEDED" // by a later version
	Retired    State = "RETIRED"    // of a purpose: for nothing any more
	Withdrawn  State = "WITHDRAWN"  // of a notice: shown to nobody any more
)

// The legal bases that rest on consent.
const (
	Consent         = "eu-gdpr:A6-1-a"
	ExplicitConsent = "eu-gdpr:A9-2-a"
)

// Limits.
const (
	MaxKeys         = 500 // of a tenant's purposes, and of its notices
	MaxPerNotice    = 20  // purposes of a notice
	MaxParties      = 50
	MaxTerms        = 100
	MaxMonths       = 120
	DefaultCoolDown = 6 // months, DOMAIN §5.3

	maxLanguages = 20
	maxName      = 200
	maxText      = 2000
	maxBody      = 50_000
)

// Edition is which version of a purpose or of a notice it is, and where it stands.
type Edition struct {
	ID      string // of this version
	Key     string // in all versions
	Version int64  // of those with this key, from 1

	Material bool    // whether it differs from the one before in more than words, as a first one does
	Reason   *string // what has changed and why, of all but the first
	// MaterialSince is the first version that this one differs from in words only:
	// consents to it and to those since cover this one.
	MaterialSince int64

	State       State
	Edit        int64 // counts the changes of this version
	CreatedAt   time.Time
	UpdatedAt   time.Time
	PublishedAt *time.Time
	EndedAt     *time.Time // when it was superseded, retired or withdrawn
}

// Covers reports whether a consent to a version of the same key covers e.
func (e *Edition) Covers(version int64) bool {
	return version >= e.MaterialSince && version <= e.Version
}

// Purpose is a version of what data is used for.
//
// Its Key is what the header Vogter-Purpose and dataset.Dataset.Purposes call it.
type Purpose struct {
	Edition

	VocabularyVersion string // of all terms
	Term              string // dpv:DirectMarketing
	Texts             []Text
	LegalBasis        string  // eu-gdpr:A6-1-a … eu-gdpr:A6-1-f
	Art9Basis         *string // eu-gdpr:A9-2-…, of a purpose with data of class ART9
	Data              []Data  // what is used

	ValidityMonths    int  // how long a consent lasts, 0 until it is withdrawn
	CoolDownMonths    int  // how long after a no, or a later, nobody asks again
	OfferedToChildren bool // an information society service offered directly to a child, Art. 8
	Marketing         bool // direct marketing, Art. 21(2)
	Optional          bool // the service works without it: Global Privacy Control says no to it
}

// Text is what a purpose is called in a language.
type Text struct {
	Language    string // BCP 47
	Name        string
	Description string
}

// Data is a kind of personal data.
type Data struct {
	Term     string // pd:EmailAddress
	Class    dataset.Class
	Optional bool // the purpose can do without: pii_optional of ISO/IEC TS 27560
}

// ConsentBased reports whether data may be used for p with the person's consent
// only: Art. 6(1)(a) or 9(2)(a).
func (p *Purpose) ConsentBased() bool { return p.LegalBasis == Consent || p.Explicit() }

// Explicit reports whether the consent must be explicit: Art. 9(2)(a).
func (p *Purpose) Explicit() bool { return p.Art9Basis != nil && *p.Art9Basis == ExplicitConsent }

// Sensitive reports whether p uses data of Art. 9 or 10.
func (p *Purpose) Sensitive() bool {
	return slices.ContainsFunc(p.Data, func(d Data) bool { return d.Class == dataset.Art9 || d.Class == dataset.Art10 })
}

// In returns the text in the language of a BCP 47 tag, or that in the first
// language if there is none.
func (p *Purpose) In(tag string) Text {
	at := choose(p.Texts, func(t Text) string { return t.Language }, tag)
	if at < 0 {
		return Text{}
	}
	return p.Texts[at]
}

// Notice is a version of what persons are told before they answer.
type Notice struct {
	Edition
	Facts

	Purposes []Ref // those of a draft as they are now; a published one names published ones
	Texts    []NoticeText
}

// Ref names a version of a purpose.
type Ref struct {
	ID      string
	Key     string
	Version int64
}

// Facts are what a notice says in every language alike: the fields of ISO/IEC TS
// 27560, DOMAIN §5.2. Countries are ISO 3166-1 alpha-2.
type Facts struct {
	VocabularyVersion      string // of all terms
	Controllers            []Party
	Recipients             []Party // third parties; none if there are none
	Authority              *Party  // where to complain, Art. 77
	StorageLocations       []string
	ProcessingLocations    []string
	GeographicRestrictions []string // where data must not go
	Jurisdiction           string   // whose law governs
	Rights                 []string // eu-gdpr:A15
	Operations             []string // dpv:Collect
	Service                *string
	CodesOfConduct         *string
	ImpactAssessment       *string // its id or address
}

// PartyType is what a party is.
type PartyType string

// The types of parties.
const (
	Organisation PartyType = "ORGANISATION"
	Authority    PartyType = "AUTHORITY"
	Category     PartyType = "CATEGORY" // of recipients, Art. 13(1)(e): without address and contact
)

// Party is an organisation that a notice names.
type Party struct {
	ID      string // as a register or the tenant has it: "CVR 12345678"
	Type    PartyType
	Role    string // dpv:DataController
	Name    string
	Address string
	Country string
	Contact string // how persons reach it
	Email   *string
	Phone   *string
	URL     *string
}

// NoticeText is a notice in a language.
type NoticeText struct {
	Language   string // BCP 47
	Title      string
	Body       string // Markdown
	Collection string // how the data is come by
	Withdrawal string // how a consent is withdrawn, Art. 7(3)
	Retention  string // how long the data is kept, Art. 13(2)(a)
	// ContentHash is the hexadecimal SHA-256 of what is shown, see Canonical; "" of a draft.
	ContentHash string
}

// In is Purpose.In for the texts of notices.
func (n *Notice) In(tag string) NoticeText {
	at := choose(n.Texts, func(t NoticeText) string { return t.Language }, tag)
	if at < 0 {
		return NoticeText{}
	}
	return n.Texts[at]
}

// Names reports whether the notice tells of the purpose with a key, and of which version.
func (n *Notice) Names(key string) (version int64, ok bool) {
	for _, r := range n.Purposes {
		if r.Key == key {
			return r.Version, true
		}
	}
	return 0, false
}

// Shown is what a person is shown: the current notice of a purpose, with its
// purposes, in a language.
type Shown struct {
	Notice   *Notice
	Purposes []*Purpose // as of the versions that the notice names
	Text     NoticeText
}

type (
	// Connection is a page of purposes.
	Connection = page.Connection[*Purpose]
	// Edge is a purpose in its list.
	Edge = page.Edge[*Purpose]
	// NoticeConnection is a page of notices.
	NoticeConnection = page.Connection[*Notice]
	// NoticeEdge is a notice in its list.
	NoticeEdge = page.Edge[*Notice]
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such purpose")
	// ErrRetired is not ErrNotFound: what rests on consent to a purpose that was
	// retired must not be done as if the purpose had never been registered.
	ErrRetired    = errs.New(errs.Precondition, "the purpose is retired: data is used for it no more").Under("purpose.published")
	ErrNoNotice   = errs.New(errs.NotFound, "no such notice")
	ErrNotShown   = errs.New(errs.NotFound, "the tenant has no published purpose of this key with a published notice").At("purpose")
	ErrKeyTaken   = errs.New(errs.Conflict, "there is one of this key: revise it instead").At("key")
	ErrEdited     = errs.New(errs.Conflict, "it was changed in the meantime: read it again and repeat with its present edit").At("expectedEdit")
	ErrImmutable  = errs.New(errs.Precondition, "what isn't a draft never changes: revise it, which makes the next version").Under("purpose.immutable")
	ErrOver       = errs.New(errs.Precondition, "this version is over already").Under("purpose.state")
	ErrDraft      = errs.New(errs.Precondition, "the next version is a draft already: change that, or give it up").Under("purpose.oneDraft")
	ErrIncomplete = errs.New(errs.Precondition, "it can't be published before it has").Under("purpose.complete")
	ErrMaterial   = errs.New(errs.Precondition, "more than words has changed: give the draft up, and revise with material").Under("purpose.material")
	ErrTooMany    = errs.New(errs.Limited, "a tenant has at most %d purposes, and as many notices", MaxKeys)
)

// choose returns the index of the text for the language of a tag: the tag itself,
// else one of the same language, else the first; -1 if there is none.
func choose[T any](texts []T, of func(T) string, tag string) int {
	if len(texts) == 0 {
		return -1
	}
	if at := speaks(texts, of, tag); at >= 0 {
		return at
	}
	return 0
}

// speaks is choose without a first resort to another language.
func speaks[T any](texts []T, of func(T) string, tag string) int {
	if at := slices.IndexFunc(texts, func(t T) bool { return of(t) == tag }); at >= 0 {
		return at
	}
	want, sure := language.Make(tag).Base()
	if sure < language.High {
		return -1 // of no language, which is guessed to be English
	}
	return slices.IndexFunc(texts, func(t T) bool {
		have, _ := language.Make(of(t)).Base()
		return have == want
	})
}
