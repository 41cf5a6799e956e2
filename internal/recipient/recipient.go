// Package recipient tells those whom a person's data was disclosed to that it was
// rectified, erased or restricted: GDPR Art. 19, DOMAIN §2.8.
//
// Whom an item of a request concerns is noted before it is carried out, from the
// log of disclosures and from the processing activities that use the person's
// data: one Notice for each recipient. The change that notes what the item came to
// has them told. A notice goes by mail or webhook, or waits for people who tell the
// recipient in another way; it is sent, acknowledged, or excused for a stated
// reason.
//
// No notice has a value that was erased. It names the record by the reference that
// the recipient was given, and one that would itself tell who the person is stays
// at home. What is kept secret by AML law (DOMAIN §2.7) reaches nothing here.
package recipient

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
)

// Action is what was done with the data.
type Action string

// The actions.
const (
	Rectified  Action = "RECTIFIED"  // Art. 16
	Erased     Action = "ERASED"     // Art. 17
	Restricted Action = "RESTRICTED" // Art. 18
)

// State is where a notice stands.
type State string

// The states.
const (
	Prepared     State = "PREPARED"     // what it would tell of hasn't been done
	Queued       State = "QUEUED"       // the platform is about to send it
	Sending      State = "SENDING"      // a mail or a webhook is on its way
	ByHand       State = "BY_HAND"      // people have to send it
	Sent         State = "SENT"         // it has reached the recipient's server, or people sent it
	Acknowledged State = "ACKNOWLEDGED" // the recipient has answered
	Excused      State = "EXCUSED"      // Art. 19: impossible, or of disproportionate effort
)

// waiting are the states in which a recipient has still to be told.
func waiting() []State { return []State{Queued, Sending, ByHand} }

// Channel is how a recipient is told.
type Channel string

// The channels.
const (
	ByMail    Channel = "MAIL"
	ByWebhook Channel = "WEBHOOK"
	Manually  Channel = "MANUAL"
)

// Result is what a recipient answers to have done.
type Result string

// The results.
const (
	Done    Result = "DONE"
	Partly  Result = "PARTLY"
	NotDone Result = "NOT_DONE"
	NotHeld Result = "NOT_HELD" // the recipient has none of the data
)

// Exception is why a recipient isn't told.
type Exception string

// The exceptions, Art. 19.
const (
	Impossible       Exception = "IMPOSSIBLE"
	Disproportionate Exception = "DISPROPORTIONATE"
)

// Notice is what one recipient is told of one item of a request.
type Notice struct {
	ID        string // the same each time that it is told
	Request   string
	Number    string // of the request
	Item      string
	Round     string // the approval that it follows
	Subject   string
	Recipient string // id of the party
	Name      string // of the party, when it was prepared
	Action    Action
	Datasets  []string // ids of those that the recipient's data was of; none when that isn't known
	// Categories are terms of the kinds of data.
	Categories []string
	// References are what the recipient knows the record by, the newest first.
	References  []personal.Text `json:"-"`
	Disclosures []string        // ids of the newest
	Channel     Channel         // "" until it is chosen
	State       State
	DoneAt      *time.Time // when the item was carried out
	SentAt      *time.Time
	SentBy      string        // who sent it by hand
	How         personal.Text `json:"-"` // and how
	AnswerBy    *time.Time    // by when an answer is asked for
	AnsweredAt  *time.Time
	Result      Result
	Answer      personal.Text `json:"-"` // in the recipient's words
	Exception   Exception
	Why         personal.Text `json:"-"` // of the exception
	ExcusedBy   string
	Post        string        // id of the message or delivery that it is
	Key         personal.Text `json:"-"` // lets the recipient answer
	CreatedAt   time.Time
	Version     int64
}

// Texts returns every text that is personal data, by its place: what the store seals.
func (n *Notice) Texts() map[string]*personal.Text {
	texts := map[string]*personal.Text{"how": &n.How, "answer": &n.Answer, "why": &n.Why, "key": &n.Key}
	for i := range n.References {
		texts["reference."+strconv.Itoa(i)] = &n.References[i]
	}
	return texts
}

// covers reports whether what was done with datasets concerns the notice: all is
// meant by none.
func (n *Notice) covers(datasets []string) bool {
	return len(datasets) == 0 || len(n.Datasets) == 0 ||
		slices.ContainsFunc(n.Datasets, func(d string) bool { return slices.Contains(datasets, d) })
}

// The optional parts, as the API shows them.

func optional[T ~string](v T) *T {
	if v == "" {
		return nil
	}
	return &v
}

// Way returns the channel.
func (n *Notice) Way() *Channel { return optional(n.Channel) }

// Outcome returns the result.
func (n *Notice) Outcome() *Result { return optional(n.Result) }

// ExceptionReason returns the exception.
func (n *Notice) ExceptionReason() *Exception { return optional(n.Exception) }

// Sender returns who sent it by hand.
func (n *Notice) Sender() *string { return optional(n.SentBy) }

// Excuser returns who excused it.
func (n *Notice) Excuser() *string { return optional(n.ExcusedBy) }

// ReferenceTexts returns the references.
func (n *Notice) ReferenceTexts() []string {
	list := make([]string, len(n.References))
	for i, r := range n.References {
		list[i] = r.Reveal()
	}
	return list
}

// Endpoint is the webhook by which a party is told.
type Endpoint struct {
	Party   string
	Webhook string
}

// Connection is a page of notices, the newest first.
type Connection = page.Connection[*Notice]

// Edge is a notice on a page.
type Edge = page.Edge[*Notice]

// Filter chooses notices to which all of it applies.
type Filter struct {
	Request string // of one request
	Subject string // of one person's requests
	Told    bool   // those only that tell of something that was done
}

// Inputs.
type (
	// SendInput sends a notice that waits for people.
	SendInput struct {
		ID              string
		ExpectedVersion int64
		SentAt          *time.Time // when it was sent by hand; the platform sends it when nil
		How             *string
	}
	// AcknowledgeInput notes what a recipient answered.
	AcknowledgeInput struct {
		ID              string
		ExpectedVersion int64
		Result          Result
		Answer          *string
		At              *time.Time // now when nil
	}
	// ExcuseInput says why a recipient isn't told.
	ExcuseInput struct {
		ID              string
		ExpectedVersion int64
		Exception       Exception
		Reason          string
	}
	// EndpointInput has a party told by a webhook, or no longer.
	EndpointInput struct {
		Party   string
		Webhook *string
	}
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such notice")
	ErrVersion  = errs.New(errs.Conflict, "the notice was changed meanwhile: read it again").At("expectedVersion")
	ErrState    = errs.New(errs.Precondition, "the notice doesn't wait for this").Under("recipient.state")
	ErrWay      = errs.New(errs.Precondition, "the party has no address for mail and no working webhook, or no reference that it knows the record by: tell it in another way, and say when").Under("recipient.way")
	ErrKey      = errs.New(errs.NotFound, "there is nothing here, or its time is over")
)

// Store keeps notices, for the tenant in ctx. What writes works in a change's
// transaction.
type Store interface {
	// Get fails with ErrNotFound.
	Get(ctx context.Context, noticeID string) (*Notice, error)
	// Insert seals what is personal under the request's key.
	Insert(ctx context.Context, ns ...*Notice) error
	// Update fails with ErrVersion unless the stored version is the one before.
	Update(ctx context.Context, n *Notice) error
	// OfItem returns all notices of an item.
	OfItem(ctx context.Context, itemID string) ([]*Notice, error)
	// Forget removes notices that are Prepared.
	Forget(ctx context.Context, noticeIDs ...string) error
	// Count counts the notices of a request in states.
	Count(ctx context.Context, requestID string, states ...State) (int, error)
	// List returns up to limit notices after a position, the newest first.
	List(ctx context.Context, f Filter, after *page.Position, limit int) ([]*Notice, error)
	// Endpoint returns the webhook of a party, "" for none.
	Endpoint(ctx context.Context, partyID string) (string, error)
	// Endpoints returns all.
	Endpoints(ctx context.Context) ([]*Endpoint, error)
	SetEndpoint(ctx context.Context, e Endpoint) error

	// Disclosed returns the newest disclosures of a person's data to a party that
	// aren't secret, with their references.
	Disclosed(ctx context.Context, subjectID, partyID string, limit int) ([]*disclosure.Disclosure, error)
	// Recipients returns up to limit ids of parties that a person's data was disclosed
	// to, without secrecy, after one, in their order.
	Recipients(ctx context.Context, subjectID, after string, limit int) ([]string, error)
}

// action is what carrying out a right does with the data.
func action(t request.Type) Action {
	switch t {
	case request.Erasure:
		return Erased
	case request.Restriction:
		return Restricted
	default:
		return Rectified
	}
}

// tells reports whether a reference would tell who a person is: it has a part of
// their name, an address, or a number of theirs.
func tells(reference string, s *subject.Subject) bool {
	said := strings.ToLower(reference)
	var parts []personal.Text
	if s.Name != nil {
		parts = append(parts, s.Name.Full, s.Name.Given, s.Name.Family)
	}
	parts = append(append(append(parts, s.Emails...), s.Phones...), s.Reference, s.BirthDate)
	for _, n := range s.NationalIDs {
		parts = append(parts, n.Number)
	}
	for _, p := range parts {
		whole := strings.ToLower(p.Reveal())
		for _, word := range append(strings.Fields(whole), whole) {
			if len([]rune(word)) > 2 && (strings.Contains(said, word) || strings.Contains(digits(said), digits(word)) && len(digits(word)) > 5) {
				return true
			}
		}
	}
	return false
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
