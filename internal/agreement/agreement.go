// Package agreement keeps the data processing agreements between the tenants and the
// provider of the platform, GDPR Art. 28 and DOMAIN §6: from the first request to the
// receipts for what was returned or erased at the end.
//
// An Agreement belongs to the controller's tenant. Its states and who may move it are
// a table (see Moves). What the parties agree on is a Version: fields of a template,
// and the Scope that the platform enforces. Once a version lacks nothing its text is
// written out and never changes again; the parties sign its SHA-256, each by a person
// of its own. A version in force stays so until another takes its place.
//
// The provider's people act on an agreement from the provider's tenant, as
// operators; they need not enter the customer's, whose personal data they don't get
// to see by it. Every move is in the customer's audit log.
package agreement

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

// Side is a party of an agreement.
type Side string

// The sides.
const (
	Controller Side = "CONTROLLER" // the tenant
	Processor  Side = "PROCESSOR"  // the provider of the platform
	Platform   Side = "PLATFORM"   // neither: the passing of time
)

// Agreement is an agreement of the tenant with the provider.
type Agreement struct {
	ID        string
	Tenant    tenant.ID
	Number    string
	State     State
	Template  string // key
	Language  string // "da" or "en"
	InForce   *int64 // number of the version in force
	Latest    int64  // number of the newest version
	ValidDays int64  // for how long what is offered can be signed
	Ending    *Ending
	Tasks     []Task // of the winding-down
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	ClosedAt  *time.Time
	DueAt     *time.Time // when it moves on by itself

	// Of those versions, unless the agreement was only listed for a move.
	LatestVersion *Revision
	ForceVersion  *Revision
}

// Choice is what becomes of the data at the end, Art. 28(3)(g).
type Choice string

// The choices.
const (
	Return Choice = "RETURN" // handed back, and then deleted
	Delete Choice = "DELETE"
)

// Ending is the end of an agreement for which notice was given.
type Ending struct {
	By        Side
	NoticedAt time.Time
	EndsOn    civil.Date // the last day, in the tenant's time zone
	EndsAt    time.Time  // from when on no data is taken in
	Choice    Choice     // the controller's; it may change until the end
	Deadline  civil.Date // by when the data is returned or deleted, C.4
}

// TaskKind is what has to be done when an agreement ends.
type TaskKind string

// The tasks.
const (
	TaskReturn        TaskKind = "RETURN_DATA"
	TaskDelete        TaskKind = "DELETE_DATA"
	TaskSubProcessors TaskKind = "SUB_PROCESSORS" // return or deletion there
)

// Task is a task of the winding-down.
type Task struct {
	Kind    TaskKind
	DueOn   civil.Date
	DoneAt  *time.Time
	DoneBy  *string // id of the provider's member
	Receipt *string // id or number of the return receipt, certificate or confirmation
}

// Scope is what the controller has instructed the processor to process, and where.
type Scope struct {
	Classes    []dataset.Class `json:"classes"`    // of data
	Categories []string        `json:"categories"` // terms of the data privacy vocabulary; any when empty
	Countries  []string        `json:"countries"`  // ISO 3166-1 alpha-2
}

// Value is a field of the template and what it says. A block has an item on each
// line; in rows, cells are parted by "|".
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Difference is a field that differs between two versions. The scope's fields are
// scope.classes, scope.categories and scope.countries, with commas between.
type Difference struct {
	Field  string `json:"field"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Revision is a version of an agreement.
type Revision struct {
	ID              string
	Agreement       string
	Number          int64
	Template        string
	TemplateVersion int64
	TemplateDigest  string // SHA-256 of the template's text, "" without one
	Language        string
	By              Side
	ProposedBy      string // id of the member
	CreatedAt       time.Time
	OfferedAt       *time.Time
	ValidUntil      *time.Time
	ActivatedAt     *time.Time
	SHA256          *string // of Text, in hexadecimal; nil while something is missing
	Body
}

// Body is what of a version may name persons, and is sealed.
type Body struct {
	Values     []Value      `json:"values"`
	Scope      Scope        `json:"scope"`
	Reason     string       `json:"reason,omitempty"`
	Changes    []Difference `json:"changes,omitempty"` // against the version before
	Missing    []string     `json:"missing,omitempty"` // names of fields that it lacks
	Text       string       `json:"text,omitempty"`    // in Markdown
	Signatures []Signature  `json:"signatures,omitempty"`
	Document   string       `json:"document,omitempty"` // signed by the platform, in compact form
}

// Method is how somebody signed, by Regulation (EU) 910/2014.
type Method string

// The methods.
const (
	Simple    Method = "SIMPLE"    // on the platform, by a fresh sign-in with a second factor
	Advanced  Method = "ADVANCED"  // at a trust service, which Reference names
	Qualified Method = "QUALIFIED" // likewise
	EID       Method = "EID"       // by a national eID, of which Reference names the transaction
)

// Signature is that of one side.
type Signature struct {
	Side      Side      `json:"side"`
	Name      string    `json:"name"`
	Title     string    `json:"title"`
	Authority string    `json:"authority"` // what lets them sign: "CEO", "power of attorney of …"
	Method    Method    `json:"method"`
	Reference string    `json:"reference,omitempty"`
	At        time.Time `json:"at"`
	Member    string    `json:"member"` // id
	SHA256    string    `json:"sha256"` // of the text that was signed
	// Identity is the person at the identity server, who signs for one side only. It
	// isn't part of the signed document.
	Identity string `json:"identity,omitempty"`
}

// Event is a move of an agreement. Events are never changed.
type Event struct {
	ID        string
	Agreement string
	Move      Move
	From, To  State
	Side      Side
	By        string // id of the member, or of the platform's work
	Version   *int64 // number of the version it is of
	At        time.Time
}

// Standing is what holds of a tenant now: one for each, which the gate looks at.
type Standing struct {
	Tenant    tenant.ID
	Agreement string // id of the one in force, "" when none is
	Scope     Scope
	Until     *time.Time // when it ends
	Mode      *Mode      // of the gate; nil is the platform's
	Version   int64
}

// Before returns the state that it moved from, nil of the first.
func (e *Event) Before() *State {
	if e.From == "" {
		return nil
	}
	return &e.From
}

// InForce returns the id of the agreement in force, nil when none is.
func (s *Standing) InForce() *string {
	if s.Agreement == "" {
		return nil
	}
	return &s.Agreement
}

type (
	// Connection is a page of agreements.
	Connection = page.Connection[*Agreement]
	// Edge is an agreement in a page of them.
	Edge = page.Edge[*Agreement]
	// InstructionConnection is a page of instructions.
	InstructionConnection = page.Connection[*Instruction]
	// InstructionEdge is an instruction in a page of them.
	InstructionEdge = page.Edge[*Instruction]
)

// Limits.
const (
	MaxVersions = 100
	// Validity is for how many days what is offered can be signed when nobody says.
	Validity    = 30
	maxValidity = 365
	maxLine     = 200
	maxValue    = 4000
	maxText     = 512 << 10
)

// Sentinels.
var (
	ErrNotFound   = errs.New(errs.NotFound, "no such agreement")
	ErrNoVersion  = errs.New(errs.NotFound, "no such version of the agreement")
	ErrNoTemplate = errs.New(errs.NotFound, "no such template").At("template")
	// ErrNoText reports an official template whose text the provider hasn't loaded.
	ErrNoText     = errs.New(errs.Precondition, "the template has no text yet: the provider loads the official one (loadTemplateText)").Under("agreement.text")
	ErrIncomplete = errs.New(errs.Precondition, "the agreement lacks what it must say").Under("agreement.complete")
	ErrProvider   = errs.New(errs.Forbidden, "this is for the provider's people, from the provider's own tenant").Under("agreement.provider")
	ErrOwn        = errs.New(errs.Precondition, "the provider has no agreement with itself").Under("agreement.customer")
	ErrTenant     = errs.New(errs.NotFound, "no such tenant").At("tenant")
	ErrSHA256     = errs.New(errs.Conflict, "this isn't the text to be signed: read the agreement again, and sign the SHA-256 of its latest version").At("sha256")
	ErrBothSides  = errs.New(errs.Forbidden, "nobody signs for both sides: another person signs for this one").Under("agreement.fourEyes")
	ErrPerson     = errs.New(errs.Forbidden, "an agreement is signed by a person").Under("agreement.person")
	ErrSigned     = errs.New(errs.Precondition, "this side has signed").Under("agreement.signed")
	ErrLapsed     = errs.New(errs.Precondition, "the time to sign is over: have it offered again").Under("agreement.lapsed")
	ErrTooMany    = errs.New(errs.Limited, "an agreement has at most %d versions: request another agreement", MaxVersions)
	ErrTasks      = errs.New(errs.Precondition, "a task of the winding-down is open: it is closed with the receipts for all of them").Under("agreement.tasks")
	ErrNoTask     = errs.New(errs.NotFound, "no such open task").At("task")
	ErrOpen       = errs.New(errs.Precondition, "an agreement is being made: go on with that one").Under("agreement.one")
	ErrDocument   = errs.New(errs.Precondition, "the document is made when both have signed and the audit log has sealed it, which takes some minutes").Under("agreement.document")
)

// Store keeps agreements, for the tenant in ctx. What writes works in the transaction
// of a change.
type Store interface {
	// Get fails with ErrNotFound. It leaves the versions nil.
	Get(ctx context.Context, agreementID string) (*Agreement, error)
	List(ctx context.Context, after *page.Position, limit int) ([]*Agreement, error)
	// ListAll lists those of all tenants, and needs a system context.
	ListAll(ctx context.Context, after *page.Position, limit int) ([]*Agreement, error)
	// Due returns up to limit agreements of all tenants whose DueAt has come. It needs
	// a system context.
	Due(ctx context.Context, now time.Time, limit int) ([]*Agreement, error)
	// Making returns the agreement that isn't in force yet nor over, nil when there is none.
	Making(ctx context.Context) (*Agreement, error)
	Insert(ctx context.Context, a *Agreement) error
	// Update replaces the agreement at the version before, or fails with change.ErrVersion.
	Update(ctx context.Context, a *Agreement) error

	// Revision fails with ErrNoVersion.
	Revision(ctx context.Context, agreementID string, number int64) (*Revision, error)
	// Revisions returns those of agreements, the newest first.
	Revisions(ctx context.Context, agreementID string) ([]*Revision, error)
	InsertRevision(ctx context.Context, r *Revision) error
	// UpdateRevision writes what signing adds; identities are as they were stored.
	UpdateRevision(ctx context.Context, r *Revision) error

	Events(ctx context.Context, agreementID string) ([]*Event, error)
	InsertEvent(ctx context.Context, e *Event) error

	// Standing is that of a tenant without any until one was stored.
	Standing(ctx context.Context) (*Standing, error)
	// SetStanding replaces the standing at the version before, or fails with change.ErrVersion.
	SetStanding(ctx context.Context, s *Standing) error
	// NoteOn reports whether the day hasn't been noted before, and notes it.
	NoteOn(ctx context.Context, day civil.Date, what string) (bool, error)

	Text(ctx context.Context, template, language string) (*Text, error)
	Texts(ctx context.Context) ([]*Text, error)
	InsertText(ctx context.Context, t *Text) error

	Instruction(ctx context.Context, instructionID string) (*Instruction, error)
	Instructions(ctx context.Context, after *page.Position, limit int) ([]*Instruction, error)
	InsertInstruction(ctx context.Context, i *Instruction) error
	UpdateInstruction(ctx context.Context, i *Instruction) error
}
