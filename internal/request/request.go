// Package request carries the requests of data subjects from the first message
// to the answer: GDPR Art. 12 and 15 to 22, DOMAIN §2.
//
// A Request is one message with an Item for each right that is asked for. Where
// it stands (State), whether its time runs (Clock) and what each item came to
// (Outcome) are three separate things; being late or extended is no state.
// Every step is a Move of the table in machine.go, and leaves an Event that
// nobody can change.
package request

import (
	"slices"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Type is a right that is asked for.
type Type string

// The rights.
const (
	Access             Type = "ACCESS"              // Art. 15
	Portability        Type = "PORTABILITY"         // Art. 20
	Rectification      Type = "RECTIFICATION"       // Art. 16
	Erasure            Type = "ERASURE"             // Art. 17
	Restriction        Type = "RESTRICTION"         // Art. 18
	Objection          Type = "OBJECTION"           // Art. 21(1)
	ObjectionMarketing Type = "OBJECTION_MARKETING" // Art. 21(2) and (3)
	AutomatedDecision  Type = "AUTOMATED_DECISION"  // Art. 22
	ConsentWithdrawal  Type = "CONSENT_WITHDRAWAL"  // Art. 7(3)
)

// Types returns all there are.
func Types() []Type {
	return []Type{
		Access, Portability, Rectification, Erasure, Restriction, Objection, ObjectionMarketing, AutomatedDecision,
		ConsentWithdrawal,
	}
}

// AtOnce reports whether a right takes effect without anybody's decision: the
// month is only the outer limit for telling so.
func (t Type) AtOnce() bool { return t == ObjectionMarketing || t == ConsentWithdrawal }

// State is where a request stands.
type State string

// The states, DOMAIN §2.9.
const (
	Received              State = "RECEIVED"
	AwaitingIdentity      State = "AWAITING_IDENTITY"
	AwaitingClarification State = "AWAITING_CLARIFICATION"
	InProgress            State = "IN_PROGRESS"
	InReview              State = "IN_REVIEW"
	Approved              State = "APPROVED"
	Executing             State = "EXECUTING"
	Responded             State = "RESPONDED"
	Closed                State = "CLOSED"
	Withdrawn             State = "WITHDRAWN"
	Forwarded             State = "FORWARDED"
)

// Open reports whether an answer is still owed.
func (s State) Open() bool {
	return !slices.Contains([]State{Responded, Closed, Withdrawn, Forwarded}, s)
}

// Clock is whether the time for the answer runs.
type Clock string

// The states of the clock.
const (
	Running Clock = "RUNNING"
	Paused  Clock = "PAUSED"
	Stopped Clock = "STOPPED"
)

// Outcome is what an item came to.
type Outcome string

// The outcomes.
const (
	Fulfilled          Outcome = "FULFILLED"
	PartiallyFulfilled Outcome = "PARTIALLY_FULFILLED"
	Refused            Outcome = "REFUSED"
	NoDataHeld         Outcome = "NO_DATA_HELD" // a valid answer, no refusal
	RestrictedInstead  Outcome = "RESTRICTED_INSTEAD"
	WasWithdrawn       Outcome = "WITHDRAWN"
	NotIdentified      Outcome = "NOT_IDENTIFIED"
	WasForwarded       Outcome = "FORWARDED"
)

// Refusal is why something isn't done, DOMAIN §2.6.
type Refusal string

// The codes of refusals. What is kept back for the secrecy of money laundering
// reports has none: it is as if it weren't there.
const (
	RefusedNotIdentified       Refusal = "NOT_IDENTIFIED"       // Art. 11(2), 12(2)
	RefusedUnfounded           Refusal = "UNFOUNDED"            // Art. 12(5)
	RefusedExcessive           Refusal = "EXCESSIVE"            // Art. 12(5)
	RefusedNotController       Refusal = "NOT_CONTROLLER"       // forwarded
	RefusedRightNotApplicable  Refusal = "RIGHT_NOT_APPLICABLE" // with the article
	RefusedRightsOfOthers      Refusal = "RIGHTS_OF_OTHERS"     // Art. 15(4), 20(4)
	RefusedTradeSecret         Refusal = "TRADE_SECRET"         // Art. 15(4), recital 63: in part only
	RefusedExpression          Refusal = "E17_3_A"
	RefusedObligation          Refusal = "E17_3_B"
	RefusedPublicHealth        Refusal = "E17_3_C"
	RefusedArchiving           Refusal = "E17_3_D"
	RefusedClaims              Refusal = "E17_3_E"
	RefusedCompellingGrounds   Refusal = "COMPELLING_GROUNDS" // Art. 21(1)
	RefusedLegalClaims         Refusal = "LEGAL_CLAIMS"
	RefusedNationalRestriction Refusal = "NATIONAL_RESTRICTION" // Art. 23 with the national provision
)

// Refusals returns all codes.
func Refusals() []Refusal {
	return []Refusal{
		RefusedNotIdentified, RefusedUnfounded, RefusedExcessive, RefusedNotController, RefusedRightNotApplicable,
		RefusedRightsOfOthers, RefusedTradeSecret, RefusedExpression, RefusedObligation, RefusedPublicHealth,
		RefusedArchiving, RefusedClaims, RefusedCompellingGrounds, RefusedLegalClaims, RefusedNationalRestriction,
	}
}

// Channel is how a request came in.
type Channel string

// The channels.
const (
	ByPortal   Channel = "PORTAL" // the privacy centre, or the person's own session
	ByAPI      Channel = "API"    // the tenant's own site
	ByOpenDSR  Channel = "OPENDSR"
	ByEmail    Channel = "EMAIL"
	ByLetter   Channel = "LETTER"
	ByPhone    Channel = "PHONE"
	InPerson   Channel = "IN_PERSON"
	ByEmployee Channel = "EMPLOYEE" // somebody of the tenant's staff passed it on
)

// IdentityMethod is how a person proved who they are, Art. 12(6).
type IdentityMethod string

// The methods.
const (
	EIDSession         IdentityMethod = "EID_SESSION"
	ExistingCredential IdentityMethod = "EXISTING_CREDENTIAL" //nolint:gosec // G101: the name of a method. Signed in, or a code to an address on file
	KnownFacts         IdentityMethod = "KNOWN_FACTS"
	CallBack           IdentityMethod = "CALL_BACK_KNOWN_NUMBER"
	DocumentCheck      IdentityMethod = "DOCUMENT_CHECK"
	IdentityInPerson   IdentityMethod = "IN_PERSON"
	NotNeeded          IdentityMethod = "NOT_NEEDED"
)

// Assurance is the eIDAS level of a proof of identity.
type Assurance string

// The levels.
const (
	Low         Assurance = "LOW"
	Substantial Assurance = "SUBSTANTIAL"
	High        Assurance = "HIGH"
)

// Identity is how the person was identified. No copy of a document is kept:
// Document says what was checked and its last characters.
type Identity struct {
	Method          IdentityMethod
	Assurance       Assurance
	ReasonForDoubt  personal.Text `json:"-"` // required when something was asked
	Asked           personal.Text `json:"-"` // what was asked
	Proportionality personal.Text `json:"-"` // why no less would do
	Document        personal.Text `json:"-"`
	AskedAt         *time.Time
	RemindedAt      *time.Time
	AnsweredAt      *time.Time
	VerifiedAt      *time.Time
	VerifiedBy      string
	Attempts        int // answers that weren't enough
}

// Verified reports whether it is settled who asks.
func (i *Identity) Verified() bool { return i.VerifiedAt != nil }

// MaxAttempts is how many answers to a question about identity may fall short.
const MaxAttempts = 5

// Representative is who acts for the person.
type Representative struct {
	Name      personal.Text `json:"-"`
	Contact   personal.Text `json:"-"` // where the answer goes, if the mandate says so
	Authority Authority
	Scope     personal.Text `json:"-"`
	Since     time.Time
	Deliver   bool // to the representative, by the mandate; else to the person
}

// Authority is what a representative acts by.
type Authority string

// The authorities.
const (
	PowerOfAttorney   Authority = "POWER_OF_ATTORNEY"
	Guardianship      Authority = "GUARDIANSHIP"
	ParentalAuthority Authority = "PARENTAL_AUTHORITY"
	Estate            Authority = "ESTATE"
)

// Item is one right of a request.
type Item struct {
	ID      string
	Type    Type
	Wish    personal.Text `json:"-"` // what the person wants, in their words
	Outcome Outcome       // "" until it is decided and done
	// Proposal is what the preparer wants to be approved.
	Proposal *Proposal
	Prepared *Prepared // what the proposal rests on, of rights that need it
	// What came of it: ids of an export, a shredding, a certificate, a letter.
	Results []string
	DoneAt  *time.Time // when it had come to that
}

// Proposal is the preparer's decision on an item, for another to approve.
type Proposal struct {
	Outcome Outcome
	Refusal Refusal       // when it isn't fulfilled, or not all of it
	Article string        // "Art. 17(3)(b)"
	Reason  personal.Text `json:"-"` // as the person is told it
	Ground  string        // in favour: "17(1)(b)", "18(1)(a)" …
	// Plan is the hash of what erasing, correcting or restricting will do: approved
	// is that, and nothing else.
	Plan string
}

// Refuses reports whether a proposal needs a reason and a remedy.
func (p *Proposal) Refuses() bool {
	return p.Outcome == Refused || p.Outcome == PartiallyFulfilled || p.Outcome == RestrictedInstead
}

// idle reports whether nothing has to be done for it.
func (p *Proposal) idle() bool { return p.Outcome == Refused || p.Outcome == NoDataHeld }

// Pause is a time in which the clock stood still, DOMAIN §2.5.
type Pause struct {
	Reason PauseReason
	From   time.Time
	Until  *time.Time // nil while it lasts
	// Counts is false for one that was asked for too late: it is noted and moves no
	// date, unless an approver decides otherwise and says why.
	Counts      bool
	OverruledBy string
	Overruled   personal.Text `json:"-"`
}

// PauseReason is why the clock may stand still; there are no others.
type PauseReason string

// The reasons for a pause.
const (
	ForIdentity      PauseReason = "IDENTITY"      // Art. 12(6)
	ForClarification PauseReason = "CLARIFICATION" // recital 63
)

// Extension is the two further months, Art. 12(3).
type Extension struct {
	Reason     personal.Text `json:"-"` // complexity or number of the requests, as the person is told
	NoticeSent time.Time
	By         string
}

// Deadline is when the answer is due, and how that was computed. It is made anew
// from the request's own times, the zone and the version of the calendar, and
// comes out the same each time: see package deadline.
type Deadline struct {
	Due          *civil.Date // last day, in the tenant's zone; nil while paused
	DueBefore    *time.Time  // the answer must be made available before this instant
	Base         civil.Date  // last day without pauses: beyond it an approver notes why
	BaseBefore   time.Time
	Notice       *civil.Date // last day for the notice of an extension
	NoticeBefore *time.Time  // from this instant on there is no extension any more
	Target       *civil.Date // the stricter reading of an extension, an aim of the house
	Service      *civil.Date // the day by which what takes effect at once ought to
	AmberFrom    *time.Time  // from when on it escalates
	RedFrom      *time.Time
	Trace        deadline.Trace
	Zone         string // IANA
	Calendar     string // and its version
	Rules        int    // version of the rules
}

// Answer tells what a place that may hold the person's data answered.
type Answer struct {
	System string // a dataset or a system
	Result Result
	Count  int
	Reason string // of a failure
	At     time.Time
}

// Result is what a search of one place came to.
type Result string

// The results.
const (
	Found     Result = "FOUND"
	None      Result = "NONE"
	Failed    Result = "FAILED"
	Waiting   Result = "WAITING"
	Exempted  Result = "EXEMPTED" // formally, with a reason
	Cancelled Result = "CANCELLED"
)

// Settled reports whether the place has answered, or needn't.
func (a *Answer) Settled() bool { return a.Result != Waiting && (a.Result != Failed || a.Reason != "") }

// Check is what an approver confirms to have looked at, T13.
type Check struct {
	Holds, Exceptions, Others, Secrecy bool
}

// Complete reports whether nothing was left out.
func (c Check) Complete() bool { return c.Holds && c.Exceptions && c.Others && c.Secrecy }

// Reply is the answer as it was made available.
type Reply struct {
	Channel   Channel
	Letter    string // id
	Hash      string // SHA-256 of its content
	At        time.Time
	Delivered *time.Time // proof that it arrived, or that its time is over
	Bounced   bool
}

// Request is one message of a person, or for one.
type Request struct {
	ID         string
	Number     string // "2026-000017": of the tenant, by year
	Subject    string // "" until it is known
	Items      []Item
	State      State
	Clock      Clock
	Channel    Channel
	Language   string // da or en
	ReceivedAt time.Time
	ReceivedBy string
	OpenedBy   string // a member, a machine client, or the person
	// ForwardedAt is when it came from a processor that isn't an official channel.
	ProcessorReceivedAt *time.Time
	Message             personal.Text `json:"-"` // as it came
	Contact             personal.Text `json:"-"` // where the answer goes
	Identity            Identity
	Representative      *Representative
	Pauses              []Pause
	Extension           *Extension
	Deadline            Deadline
	Answers             []Answer
	AssignedTo          string
	PreparedBy          string // who sent it to review
	ApprovedBy          string
	ApprovedAt          *time.Time
	Reply               *Reply
	LegalHold           bool
	FeeRequested        bool
	Duplicates          []string // requests that ask the same
	ReopenedFrom        State
	ForwardedTo         personal.Text `json:"-"`
	ForwardedContact    personal.Text `json:"-"` // how that controller is reached
	CreatedAt           time.Time
	UpdatedAt           time.Time
	Version             int64
	// Look is when the platform has next to look at it by itself: to escalate, to
	// go on without an answer, to close.
	Look      time.Time
	Escalated deadline.Urgency // how far it was escalated since the date last moved
	Urgency   deadline.Urgency `json:"-"` // when it was read
	Gone      bool             // its own time is over: no more is left than that it was
}

// Texts returns every text of the request that is personal data, by its place:
// what the store seals.
func (r *Request) Texts() map[string]*personal.Text {
	texts := map[string]*personal.Text{
		"message": &r.Message, "contact": &r.Contact, "forwardedTo": &r.ForwardedTo,
		"forwardedContact": &r.ForwardedContact, "doubt": &r.Identity.ReasonForDoubt,
		"asked": &r.Identity.Asked, "proportionate": &r.Identity.Proportionality, "document": &r.Identity.Document,
	}
	if r.Representative != nil {
		texts["representative.name"], texts["representative.contact"] = &r.Representative.Name, &r.Representative.Contact
		texts["representative.scope"] = &r.Representative.Scope
	}
	for i := range r.Items {
		at := "item." + r.Items[i].ID + "."
		texts[at+"wish"] = &r.Items[i].Wish
		if p := r.Items[i].Proposal; p != nil {
			texts[at+"reason"] = &p.Reason
		}
		if p := r.Items[i].Prepared; p != nil {
			texts[at+"prepared"] = &p.Body
		}
	}
	for i := range r.Pauses {
		texts["pause."+strconv.Itoa(i)+".overrule"] = &r.Pauses[i].Overruled
	}
	if r.Extension != nil {
		texts["extension"] = &r.Extension.Reason
	}
	return texts
}

// Unit returns the owner of the key that a request is sealed under. It is the
// case's own: what proves the answer outlives the person's data, for its own time.
func Unit(of tenant.ID, requestID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: requestID, Unit: vault.Case}
}

// Overdue reports whether the answer is late. A late answer is still owed.
func (r *Request) Overdue(now time.Time) bool {
	return r.State.Open() && r.Deadline.DueBefore != nil && !now.Before(*r.Deadline.DueBefore)
}

// Item returns an item, or nil.
func (r *Request) Item(itemID string) *Item {
	for i := range r.Items {
		if r.Items[i].ID == itemID {
			return &r.Items[i]
		}
	}
	return nil
}

// Asks reports whether the request asks for a right.
func (r *Request) Asks(t Type) bool {
	return slices.ContainsFunc(r.Items, func(i Item) bool { return i.Type == t })
}

// pause returns the pause that lasts, or nil.
func (r *Request) pause() *Pause {
	if n := len(r.Pauses); n > 0 && r.Pauses[n-1].Until == nil {
		return &r.Pauses[n-1]
	}
	return nil
}

// Event is one step of a request, for ever.
type Event struct {
	ID          string
	Request     string
	Rule        Rule // the move, or the note that it is
	By          string
	As          Actor
	At          time.Time
	From, To    State
	ClockBefore Clock
	ClockAfter  Clock
	Reason      personal.Text `json:"-"`
	Evidence    []string      // ids
	Private     bool          // not for the person's eyes
	ByHand      bool          // the person was told without the platform: true while the step is made
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such request")
	ErrVersion  = errs.New(errs.Conflict, "the request was changed meanwhile: read it again")
)
