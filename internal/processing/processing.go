// Package processing keeps the record of processing activities, GDPR Art. 30: the
// activities of a tenant under its two hats, as controller (Art. 30(1)) and as
// processor (Art. 30(2)), with the parties and systems that they name.
//
// An activity has revisions. A draft can change; activating it makes it the valid
// one from a time, and what was valid never changes: what held at any time can be
// told, and an answer to a data subject cites the revision of its day. The
// register is the whole record at one moment, frozen, approved by another person
// than the one who prepared it, signed, and chained to the register before it.
//
// The record is about processing and holds no personal data, but for the contacts
// of parties and of the data protection officer: those are sealed under the key of
// the tenant's own contacts, in a register, too.
package processing

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
)

// Limits of a tenant's record.
const (
	MaxActivities = 1000 // retired ones included, as of the next two
	MaxParties    = 2000
	MaxSystems    = 1000
	MaxRevisions  = 1000 // of an activity
	MaxDrift      = 1000 // findings told at once
	MaxMap        = 5000 // nodes of a data map

	maxName  = 200
	maxWords = 4000
	maxList  = 100
	// maxAhead bounds how long before it holds a revision is activated.
	maxAhead = 366 * 24 * time.Hour
)

// Words is a text in the languages of the register, Danish and English. What isn't
// translated is empty, and the other language is shown.
type Words struct {
	Da string `json:"da,omitempty"`
	En string `json:"en,omitempty"`
}

// In returns the text in the language of a BCP 47 tag, or in the other one.
func (w Words) In(tag string) string {
	first, second := w.En, w.Da
	if danish(tag) {
		first, second = w.Da, w.En
	}
	if first == "" {
		return second
	}
	return first
}

// Empty reports whether there is no text at all.
func (w Words) Empty() bool { return w.Da == "" && w.En == "" }

func danish(tag string) bool {
	base, _ := language.Make(tag).Base()
	return base.String() == "da"
}

// Hat is in which role a tenant processes.
type Hat string

// The hats, DOMAIN §1.2.
const (
	Controller Hat = "CONTROLLER"
	Processor  Hat = "PROCESSOR"
)

// State is where an activity stands.
type State string

// The states, DOMAIN §4.3. Draft → Active → Retired.
const (
	Draft   State = "DRAFT"
	Active  State = "ACTIVE"
	Retired State = "RETIRED"
)

// PartyState is where a party or a system stands.
type PartyState string

// The states of parties and systems.
const (
	Current PartyState = "ACTIVE"
	Former  PartyState = "RETIRED" // what names it goes on doing so, which is drift
)

// Activity is a processing activity.
type Activity struct {
	ID             string
	Hat            Hat
	State          State
	LastReviewedOn *civil.Date
	NextReviewOn   *civil.Date
	Valid          *Revision // now; nil when none is
	Draft          *Revision // nil when none is being written
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
	RetiredAt      *time.Time

	DraftID string
	Spans   []Span // of all activated revisions, by time
	Last    int64  // number of the newest revision
}

// Span is since when a revision is the valid one: until the next.
type Span struct {
	Revision string // its id
	From     time.Time
}

// at returns the id of the revision that is valid at a time, "" if none is.
func (a *Activity) at(t time.Time) string {
	if a.RetiredAt != nil && !t.Before(*a.RetiredAt) {
		return ""
	}
	valid := ""
	for _, s := range a.Spans {
		if !t.Before(s.From) {
			valid = s.Revision
		}
	}
	return valid
}

// Revision is a version of what an activity is. Once activated it never changes.
type Revision struct {
	ID          string
	Activity    string
	Number      int64 // from 1
	Content     Content
	EditedBy    string // id of a member or machine client
	EditedAt    time.Time
	ActivatedBy *string
	ActivatedAt *time.Time
	ValidFrom   *time.Time // nil of a draft
	CreatedAt   time.Time
}

// Content is what the record says of an activity. Of the last two it has the one
// of its hat.
type Content struct {
	Name                Words      `json:"name"`
	Description         Words      `json:"description"`
	Owner               *string    `json:"owner,omitempty"`           // id of a member
	Datasets            []string   `json:"datasets,omitempty"`        // ids
	Systems             []string   `json:"systems,omitempty"`         // ids
	Measures            []string   `json:"measures,omitempty"`        // ids of security measures, Art. 32(1)
	MeasuresDescription Words      `json:"measuresText"`              // their general description, Art. 30(1)(g), 30(2)(d)
	Representatives     []string   `json:"representatives,omitempty"` // ids of parties, Art. 27
	Transfers           []Transfer `json:"transfers,omitempty"`       // Art. 30(1)(e), 30(2)(c)

	Controller *ControllerPart `json:"controller,omitempty"`
	Processor  *ProcessorPart  `json:"processor,omitempty"`
}

// ControllerPart is what Art. 30(1) asks for beyond what both hats have, and
// DOMAIN §4.3.
type ControllerPart struct {
	JointControllers    []string       `json:"jointControllers,omitempty"` // ids of parties, Art. 26
	JointArrangement    Words          `json:"jointArrangement"`
	Purposes            []string       `json:"purposes,omitempty"` // ids of purposes in one version
	SubjectCategories   []Category     `json:"subjectCategories,omitempty"`
	DataCategories      []DataCategory `json:"dataCategories,omitempty"`
	Recipients          []string       `json:"recipients,omitempty"` // ids of parties
	RecipientCategories Words          `json:"recipientCategories"`
	LegalBases          []LegalBasis   `json:"legalBases,omitempty"`
	LegitimateInterest  *string        `json:"legitimateInterest,omitempty"` // id of its assessment, Art. 6(1)(f)
	ImpactNeed          ImpactNeed     `json:"impactNeed"`
	ImpactReason        Words          `json:"impactReason"`
	ImpactAssessment    *string        `json:"impactAssessment,omitempty"` // id, Art. 35
	Sources             Words          `json:"sources"`
	AutomatedDecisions  Words          `json:"automatedDecisions"` // Art. 22; none when empty
}

// ProcessorPart is what Art. 30(2) asks for beyond what both hats have. Purposes
// and time limits are the controllers' to say.
type ProcessorPart struct {
	Controllers     []string   `json:"controllers,omitempty"` // ids of parties
	ControllerGroup Words      `json:"controllerGroup"`       // of those that are alike: "customers with a contract on …"
	Processors      []string   `json:"processors,omitempty"`  // ids of parties that take part: sub-processors
	Operations      []Category `json:"operations,omitempty"`  // categories of processing
}

// Category is a kind of person, of data or of processing: a term of the Data
// Privacy Vocabulary, own words, or both.
type Category struct {
	Term string `json:"term,omitempty"`
	Note Words  `json:"note"`
}

// DataCategory is a category of personal data.
type DataCategory struct {
	Term      string        `json:"term,omitempty"`
	Note      Words         `json:"note"`
	Class     dataset.Class `json:"class"`
	TimeLimit Words         `json:"timeLimit"` // envisaged for erasure, Art. 30(1)(f)
	// RetentionRule is the id of the rule that carries the limit out.
	RetentionRule *string `json:"retentionRule,omitempty"`
}

// ImpactNeed is whether an impact assessment is needed, Art. 35(1).
type ImpactNeed string

// The answers.
const (
	ImpactUnknown   ImpactNeed = "NOT_SCREENED"
	ImpactNotNeeded ImpactNeed = "NOT_NEEDED"
	ImpactNeeded    ImpactNeed = "NEEDED"
)

// LegalBasis is on what the processing rests.
type LegalBasis struct {
	Basis Basis `json:"basis"`
	Law   Words `json:"law"` // the provision of other law behind it: "HVL § 11"
}

// Basis is a provision that permits processing. DBL is the Danish Data Protection Act.
type Basis string

// The bases, and those that other member states' law has in place of the Danish.
const (
	Art6a     Basis = "A6_1_A"
	Art6b     Basis = "A6_1_B"
	Art6c     Basis = "A6_1_C"
	Art6d     Basis = "A6_1_D"
	Art6e     Basis = "A6_1_E"
	Art6f     Basis = "A6_1_F"
	Art9a     Basis = "A9_2_A"
	Art9b     Basis = "A9_2_B"
	Art9c     Basis = "A9_2_C"
	Art9d     Basis = "A9_2_D"
	Art9e     Basis = "A9_2_E"
	Art9f     Basis = "A9_2_F"
	Art9g     Basis = "A9_2_G"
	Art9h     Basis = "A9_2_H"
	Art9i     Basis = "A9_2_I"
	Art9j     Basis = "A9_2_J"
	Art10     Basis = "A10_NATIONAL_LAW"
	Art87     Basis = "A87_NATIONAL_LAW"
	Dbl7      Basis = "DBL_7"
	Dbl8x1    Basis = "DBL_8_1"
	Dbl8x3    Basis = "DBL_8_3"
	Dbl8x4    Basis = "DBL_8_4"
	Dbl8x5    Basis = "DBL_8_5"
	Dbl11x1   Basis = "DBL_11_1"
	Dbl11x2x1 Basis = "DBL_11_2_1"
	Dbl11x2x2 Basis = "DBL_11_2_2"
	Dbl11x2x3 Basis = "DBL_11_2_3"
	Dbl11x2x4 Basis = "DBL_11_2_4"
	Dbl12     Basis = "DBL_12"
)

// Bases returns all bases, in their order.
func Bases() []Basis {
	return []Basis{
		Art6a, Art6b, Art6c, Art6d, Art6e, Art6f, Art9a, Art9b, Art9c, Art9d, Art9e, Art9f, Art9g, Art9h, Art9i, Art9j,
		Art10, Art87, Dbl7, Dbl8x1, Dbl8x3, Dbl8x4, Dbl8x5, Dbl11x1, Dbl11x2x1, Dbl11x2x2, Dbl11x2x3, Dbl11x2x4, Dbl12,
	}
}

// In returns the provision as it is cited in the language of a tag.
func (b Basis) In(tag string) string {
	da := danish(tag)
	parts := strings.Split(string(b), "_")
	switch {
	case b == Art10 && da:
		return "art. 10 og national ret"
	case b == Art10:
		return "Art. 10 and national law"
	case b == Art87 && da:
		return "art. 87 og national ret"
	case b == Art87:
		return "Art. 87 and national law"
	case parts[0] == "DBL":
		return dbl(parts[1:], da)
	case da:
		return "art. " + parts[0][1:] + ", stk. " + parts[1] + ", litra " + strings.ToLower(parts[2])
	default:
		return "Art. " + parts[0][1:] + "(" + parts[1] + ")(" + strings.ToLower(parts[2]) + ")"
	}
}

func dbl(parts []string, da bool) string {
	if !da {
		s := "Danish Data Protection Act § " + parts[0]
		if len(parts) > 1 {
			s += "(" + strings.Join(parts[1:], ")(") + ")"
		}
		return s
	}
	s := "databeskyttelseslovens § " + parts[0]
	for i, p := range parts[1:] {
		parts[i+1] = []string{"stk.", "nr."}[i] + " " + p
	}
	return strings.Join(append([]string{s}, parts[1:]...), ", ")
}

// satisfies reports whether the basis permits processing data of a class, beyond
// what Art. 6 asks for.
func (b Basis) satisfies(c dataset.Class) bool {
	s := string(b)
	switch c {
	case dataset.Art9:
		return strings.HasPrefix(s, "A9_") || s == "DBL_7" || s == "DBL_12"
	case dataset.Art10:
		return b == Art10 || strings.HasPrefix(s, "DBL_8")
	case dataset.NationalID:
		return b == Art87 || strings.HasPrefix(s, "DBL_11")
	case dataset.Ordinary, dataset.Confidential:
		return true
	default:
		return false
	}
}

// TransferTool is what permits a transfer to a third country, DOMAIN §6.5.
type TransferTool string

// The tools, DOMAIN §13.
const (
	Adequacy TransferTool = "ADEQUACY" // Art. 45
	SCC      TransferTool = "SCC"      // Art. 46(2)(c)
	BCR      TransferTool = "BCR"      // Art. 47
	DPF      TransferTool = "DPF"      // EU-US Data Privacy Framework: Art. 45
	Art49    TransferTool = "ART49"
	Other46  TransferTool = "OTHER46"
)

// Tools returns all tools.
func Tools() []TransferTool { return []TransferTool{Adequacy, SCC, BCR, DPF, Art49, Other46} }

// assessed reports whether a transfer by the tool asks for an assessment of the
// law of the country: CJEU C-311/18.
func (t TransferTool) assessed() bool { return t == SCC || t == BCR || t == Other46 }

// Transfer is a transfer to a third country or to an international organisation.
type Transfer struct {
	Country    string        `json:"country"`              // ISO 3166-1 alpha-2, outside the EEA
	Party      *string       `json:"party,omitempty"`      // id of the importer
	Tool       *TransferTool `json:"tool,omitempty"`       // none yet when nil, which is drift
	Assessment *string       `json:"assessment,omitempty"` // id of the transfer impact assessment
	Safeguards Words         `json:"safeguards"`           // and where they are documented, Art. 30(1)(e)
}

// EEA reports whether a country is in the European Economic Area, to where sending
// data is no transfer in the sense of GDPR Chapter V.
func EEA(country string) bool {
	return slices.Contains([]string{
		"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS", "IT", "LI", "LT",
		"LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
	}, country)
}

// Pages, the newest first.
type (
	// Connection is a page of activities.
	Connection = page.Connection[*Activity]
	// Edge is an activity in its list.
	Edge = page.Edge[*Activity]
	// RevisionConnection is a page of revisions.
	RevisionConnection = page.Connection[*Revision]
	// RevisionEdge is a revision in its list.
	RevisionEdge = page.Edge[*Revision]
	// PartyConnection is a page of parties.
	PartyConnection = page.Connection[*Party]
	// PartyEdge is a party in its list.
	PartyEdge = page.Edge[*Party]
	// SystemConnection is a page of systems.
	SystemConnection = page.Connection[*System]
	// SystemEdge is a system in its list.
	SystemEdge = page.Edge[*System]
	// RegisterConnection is a page of registers.
	RegisterConnection = page.Connection[*Register]
	// RegisterEdge is a register in its list.
	RegisterEdge = page.Edge[*Register]
)

// Sentinels.
var (
	ErrNotFound   = errs.New(errs.NotFound, "no such processing activity")
	ErrNoRevision = errs.New(errs.NotFound, "the activity has no revision that was valid then")
	ErrNoParty    = errs.New(errs.NotFound, "no such party")
	ErrNoSystem   = errs.New(errs.NotFound, "no such system")
	ErrNoRegister = errs.New(errs.NotFound, "no such register")

	ErrRetired    = errs.New(errs.Precondition, "it is retired and changes no more").Under("processing.living")
	ErrNoDraft    = errs.New(errs.Precondition, "there is no draft to activate: revise the activity first").Under("processing.draft")
	ErrValidFrom  = errs.New(errs.Invalid, "a revision is valid from now or from a time within a year, after that of the revision before").At("validFrom")
	ErrIncomplete = errs.New(errs.Precondition, "the activity can't be activated yet").Under("art30.complete")
	ErrHat        = errs.New(errs.Invalid, "purposes, time limits and what else is a controller's to decide are no fields of a processor's activity, GDPR Art. 30(2), nor the other way around: send the part of the activity's own hat only").Under("art30.hat")
	ErrTooMany    = errs.New(errs.Limited, "the record is full: a tenant has at most %d activities, %d parties and %d systems", MaxActivities, MaxParties, MaxSystems)
	ErrRevisions  = errs.New(errs.Limited, "an activity has at most %d revisions: retire it and make another", MaxRevisions)
)

// words checks a text of up to limit characters, which may have several lines.
func words(w *Words, limit int, field string) error {
	for _, s := range []*string{&w.Da, &w.En} {
		*s = strings.TrimSpace(*s)
		if utf8.RuneCountInString(*s) > limit || strings.ContainsFunc(*s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			return errs.New(errs.Invalid, "a text has at most %d characters, and no control characters but line ends", limit).At(field)
		}
	}
	return nil
}

// name checks a text of one line that must be there in a language at least.
func name(w *Words, field string) error {
	if err := words(w, maxName, field); err != nil {
		return err
	}
	if w.Empty() || strings.Contains(w.Da+w.En, "\n") {
		return errs.New(errs.Invalid, "a name has 1 to %d characters on one line, in Danish, English or both", maxName).At(field)
	}
	return nil
}

// country checks a country's code.
func country(code, field string) error {
	if r, err := language.ParseRegion(code); err != nil || r.String() != code || !r.IsCountry() {
		return errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code in capitals, as in DK").At(field)
	}
	return nil
}

// list checks that there are not too many, and none twice.
func list[T any](items []T, field string, same func(a, b T) bool) error {
	if len(items) > maxList {
		return errs.New(errs.Invalid, "at most %d of these", maxList).At(field)
	}
	for i := range items {
		if slices.ContainsFunc(items[:i], func(o T) bool { return same(o, items[i]) }) {
			return errs.New(errs.Invalid, "it is named twice").At(element(field, i))
		}
	}
	return nil
}

func ids(items []string, field string) error {
	return list(items, field, func(a, b string) bool { return a == b })
}

func element(field string, i int) string { return field + "." + strconv.Itoa(i) }
