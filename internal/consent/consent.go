// Package consent keeps what persons have answered when they were asked for their
// consent, so that it can be demonstrated (GDPR Art. 7(1)) and holds where data is
// used: ISO/IEC TS 27560.
//
// A Consent is one record per person, purpose and version of a notice. What
// happened to it are its Events, which are only ever added; its state is derived
// from them. A consent that is over never comes back: who says yes again begins a
// new record, which names the one before.
//
// A Standing says where a person stands on a purpose, out of all records: it is
// what a Gate asks at each use of data for a purpose that rests on consent, and
// is found by its id alone.
package consent

import (
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
)

// State is where a consent stands, and what an event leads to.
type State string

// The states. Only Given and Reconfirmed let data be used.
const (
	Unknown     State = "UNKNOWN" // the person was never asked
	Requested   State = "REQUESTED"
	Deferred    State = "DEFERRED" // later, said the person
	Refused     State = "REFUSED"
	Given       State = "GIVEN"
	Reconfirmed State = "RECONFIRMED"
	Withdrawn   State = "WITHDRAWN" // by the person, Art. 7(3)
	Revoked     State = "REVOKED"   // by the controller or a third party
	Expired     State = "EXPIRED"
	Invalidated State = "INVALIDATED" // it didn't hold, or doesn't cover what is done now
)

// States returns all states.
func States() []State {
	return []State{Unknown, Requested, Deferred, Refused, Given, Reconfirmed, Withdrawn, Revoked, Expired, Invalidated}
}

// Valid reports whether data may be used in this state.
func (s State) Valid() bool { return s == Given || s == Reconfirmed }

// Over reports whether a record in this state never changes again.
func (s State) Over() bool {
	return s == Withdrawn || s == Revoked || s == Expired || s == Invalidated
}

// Term returns the state's term in the Data Privacy Vocabulary.
func (s State) Term() string {
	switch s {
	case Requested:
		return "dpv:ConsentRequested"
	case Deferred:
		return "dpv:ConsentRequestDeferred"
	case Refused:
		return "dpv:ConsentRefused"
	case Given:
		return "dpv:ConsentGiven"
	case Reconfirmed:
		return "dpv:RenewedConsentGiven"
	case Withdrawn:
		return "dpv:ConsentWithdrawn"
	case Revoked:
		return "dpv:ConsentRevoked"
	case Expired:
		return "dpv:ConsentExpired"
	case Invalidated:
		return "dpv:ConsentInvalidated"
	case Unknown:
	}
	return "dpv:ConsentUnknown"
}

// takes reports whether a record in state s takes an event that leads to next:
// DOMAIN §5.3. A reconfirmed consent may be reconfirmed again.
func (s State) takes(next State) bool {
	switch next {
	case Requested:
		return s == Unknown || s == Refused || s == Deferred
	case Given, Refused, Deferred:
		return s == Requested
	case Reconfirmed, Withdrawn, Revoked, Expired, Invalidated:
		return s.Valid()
	case Unknown:
	}
	return false
}

// Actor is who expressed what an event tells.
type Actor string

// The actors.
const (
	Self       Actor = "SELF"       // the person
	Parent     Actor = "PARENT"     // the holder of parental responsibility, Art. 8
	Staff      Actor = "STAFF"      // entering what the person said by phone or on paper
	Controller Actor = "CONTROLLER" // the tenant's own decision
	System     Actor = "SYSTEM"     // a rule: the request was shown, the time is over
)

// may reports whether what an actor expresses can lead to a state: DOMAIN §5.3.
func (a Actor) may(to State) bool {
	switch to {
	case Requested, Expired:
		return a == System
	case Given, Refused, Deferred, Reconfirmed, Withdrawn:
		return a == Self || a == Parent || a == Staff
	case Revoked, Invalidated:
		return a == Controller
	case Unknown:
	}
	return false
}

// Expression is how a yes was said.
type Expression string

// The expressions.
const (
	Expressed Expression = "EXPRESSED" // a clear affirmative act, Art. 4(11): dpv:ExpressedConsent
	Explicit  Expression = "EXPLICIT"  // a statement, Art. 9(2)(a): dpv:ExplicitlyExpressedConsent
)

// Channel is on which way an answer came.
type Channel string

// The channels.
const (
	Web      Channel = "WEB"
	App      Channel = "APP"
	Email    Channel = "EMAIL"
	Phone    Channel = "PHONE"
	Paper    Channel = "PAPER"
	InPerson Channel = "IN_PERSON"
	Other    Channel = "OTHER"
	Internal Channel = "INTERNAL" // of what nobody answered: sweepers, decisions of the controller
)

// Cause is why a consent ended without the person's doing.
type Cause string

// The causes.
const (
	Validity       Cause = "VALIDITY"        // its time is over
	Replaced       Cause = "REPLACED"        // by a consent under another notice
	MaterialChange Cause = "MATERIAL_CHANGE" // of purpose, controller, recipients or notice
	Defective      Cause = "DEFECTIVE"       // bundled, wrong notice …
	UnderAge       Cause = "UNDER_AGE"       // Art. 8
	Stopped        Cause = "STOPPED"         // the controller uses the data no more
	Signal         Cause = "SIGNAL"          // of a refusal: by Global Privacy Control
	Restored       Cause = "RESTORED"        // of a withdrawal: a restored database didn't know it
)

// Consent is the record of one person, purpose and version of a notice.
type Consent struct {
	ID        string
	SubjectID string
	Purpose   purpose.Ref // in the version that the notice names
	NoticeID  string      // of the version that was shown
	State     State       // as of its last event, see At; as it is now in an answer
	// ValidUntil is when a given consent ends by itself, nil until it is withdrawn.
	ValidUntil *time.Time
	AskAfter   *time.Time // of a no, or later: until when nobody asks again
	Channel    Channel    // of the last event that a person expressed, or Internal
	Supersedes *string    // the record before, of the same person and purpose
	// Language is that of the notice as shown, BCP 47; "" when the proof is gone or withheld.
	Language  string
	Version   int64 // counts its events
	CreatedAt time.Time
	UpdatedAt time.Time
}

// At returns the state at an instant after the last event: a consent whose time is
// over has expired, whether or not that has been noted.
func (c *Consent) At(now time.Time) State { return at(c.State, c.ValidUntil, now) }

func at(s State, until *time.Time, now time.Time) State {
	if s.Valid() && until != nil && !now.Before(*until) {
		return Expired
	}
	return s
}

// Event is something that happened to a consent. It never changes.
type Event struct {
	ID        string
	ConsentID string
	SubjectID string
	Purpose   purpose.Ref
	NoticeID  string
	Seq       int64 // its place among all events of the person and purpose, from 1
	State     State // that it leads to: event_state of ISO/IEC TS 27560
	// Expression is of a yes: event_type of ISO/IEC TS 27560.
	Expression *Expression
	Actor      Actor
	By         string // id of the member, client, session or job that told of it
	Channel    Channel
	Cause      *Cause
	At         time.Time  // when it happened
	CreatedAt  time.Time  // when it was noted, later for imported history; in the order of Seq
	ValidUntil *time.Time // of a yes
	AskAfter   *time.Time // of a no, or later: until when nobody asks again

	// Evidence is nil unless EvidenceState is CLEAR.
	Evidence       *Evidence
	EvidenceState  personal.State
	EvidenceReason *authz.Reason // why it isn't CLEAR
}

// Evidence is what shows that an event happened as it is told: GDPR Art. 7(1).
// It is sealed under the person's evidence unit, and so outlives the erasure of
// everything else on the person, for its own period.
type Evidence struct {
	Language   string        // of the notice as shown, BCP 47
	TextHash   string        // hexadecimal SHA-256 of the notice's text as shown
	Name       personal.Text // of who expressed it, when not the person
	Component  personal.Text // of the user interface: "signup form 3"
	ScreenHash personal.Text // hexadecimal SHA-256 of what the component showed
	Locale     personal.Text
	AppVersion personal.Text
	Session    personal.Text // id of a session or request
	Proof      *string       // id of an uploaded file: a recording, a signed form
	Note       personal.Text
	GPC        bool // the request carried Global Privacy Control
	Age        *int // in years, as stated
	Country    string
}

// Standing is where a person stands on a purpose: the record that governs, and
// its state. It is derived from all events of person and purpose.
type Standing struct {
	SubjectID  string
	PurposeKey string
	ConsentID  string // "" when the person was never asked
	Purpose    purpose.Ref
	NoticeID   string
	State      State // as of the last event; see StateAt
	Since      time.Time
	ValidUntil *time.Time
	// AskAfter is until when nobody asks again: of a refusal or deferral.
	AskAfter *time.Time
	// ConflictAt is when a request carried Global Privacy Control although the consent
	// is given: the person is to be asked once which of the two they mean.
	ConflictAt *time.Time

	// Of the last event that governs.
	Channel Channel
	// Of the last event of all.
	Seq     int64
	LastAt  time.Time
	NotedAt time.Time
}

// StateAt returns the state at an instant after the last event.
func (s *Standing) StateAt(now time.Time) State { return at(s.State, s.ValidUntil, now) }

// Valid reports whether data may be used for the purpose at an instant.
func (s *Standing) Valid(now time.Time) bool { return s.StateAt(now).Valid() }

// take moves the standing on by the next event of person and purpose, and reports
// whether that event governs. A record governs until it no longer lets data be
// used and another one is begun, or until another one is given: while a consent is
// in force, a request or refusal under another notice changes nothing of it.
func (s *Standing) take(e *Event) bool {
	s.Seq, s.LastAt, s.NotedAt = e.Seq, e.At, e.CreatedAt
	if e.ConsentID != s.ConsentID && s.State.Valid() && !e.State.Valid() {
		return false
	}
	s.ConsentID, s.Purpose, s.NoticeID, s.State, s.Since = e.ConsentID, e.Purpose, e.NoticeID, e.State, e.At
	s.ValidUntil, s.AskAfter, s.Channel, s.ConflictAt = e.ValidUntil, e.AskAfter, e.Channel, nil
	return true
}

// Derive returns the state to which a record's events lead, in their order. Events
// that a record doesn't take change nothing.
func Derive(events []Event) State {
	s := Unknown
	for i := range events {
		if e := &events[i]; s.takes(e.State) && e.Actor.may(e.State) {
			s = e.State
		}
	}
	return s
}

// Stand returns where all events of a person and purpose lead, in their order.
func Stand(events []Event) Standing {
	s := Standing{State: Unknown}
	for i := range events {
		s.take(&events[i])
	}
	return s
}

// addMonths returns the instant months later, on the last day of a month without
// such a day.
func addMonths(t time.Time, months int) time.Time {
	d := civil.Of(t).AddMonths(months)
	h, m, s := t.Clock()
	return time.Date(d.Year, d.Month, d.Day, h, m, s, t.Nanosecond(), t.Location())
}

// Connection is a page of consents.
type Connection = page.Connection[*Consent]

// Edge is a consent on a page.
type Edge = page.Edge[*Consent]

// EventConnection is a page of events.
type EventConnection = page.Connection[*Event]

// EventEdge is an event on a page.
type EventEdge = page.Edge[*Event]

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such consent")
	ErrNoEvent  = errs.New(errs.NotFound, "no such event of a consent")
	// ErrBasis refuses a consent where it would mislead: DOMAIN §5.1.
	ErrBasis = errs.New(errs.Precondition, "the purpose doesn't rest on consent, so none is asked for: saying no would have no effect").Under("art6.basis")
	// ErrExplicit refuses a yes that was no statement, where special categories are used.
	ErrExplicit = errs.New(errs.Precondition, "the purpose uses special categories of data: the consent must be EXPLICIT (GDPR Art. 9(2)(a))").Under("art9.explicit")
	ErrNotice   = errs.New(errs.Precondition, "the notice doesn't tell of this purpose, or isn't shown any more: show the current one").Under("consent.notice").At("notice")
	ErrGiven    = errs.New(errs.Precondition, "the consent is given: withdraw or renew it").Under("consent.state")
	ErrNone     = errs.New(errs.Precondition, "no consent is in force").Under("consent.state")
	ErrCoolDown = errs.New(errs.Precondition, "the person said no, or later: it is too early to ask again").Under("consent.coolDown")
	ErrOrder    = errs.New(errs.Precondition, "a later event of this person and purpose is noted: events are told in the order of time").Under("consent.order").At("at")
	ErrProof    = errs.New(errs.Precondition, "what staff enter for a person needs its proof: upload the form or recording").Under("consent.proof").At("proof")
	ErrActor    = errs.New(errs.Invalid, "SELF and PARENT answer in the tenant's portal; what staff enter is STAFF's, or PARENT's with its proof").At("actor")
	ErrParent   = errs.New(errs.Precondition, "the person is a child: the holder of parental responsibility gives this consent (GDPR Art. 8)").Under("art8.parent")
	ErrAge      = errs.New(errs.Precondition, "the service is offered to children, and no birth date is on file: state the person's age").Under("art8.age").At("age")
)
