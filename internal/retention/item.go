package retention

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Item is what is kept, beside the sealed data, on what a person has in a unit:
// the dates that triggers read, and when it falls due. It holds opaque ids and
// dates only, and goes with the data.
type Item struct {
	ID          string
	Tenant      tenant.ID
	Subject     string
	Unit        Unit
	Relations   map[subject.RelationKind]Span // of Person, and of what outlives it
	CollectedAt *time.Time
	ActivityAt  *time.Time
	WithdrawnAt *time.Time
	ClosedAt    *time.Time
	ErasedAt    *time.Time // the person: of Proof only
	// Requested is what granted an erasure that waits for a minimum to end, "" for nothing.
	Requested string
	// DueOn is from when it is to be gone, by the rules alone; nil while no rule demands it.
	DueOn *civil.Date

	Revision int64         // counts what changes the decision
	State    subject.State // of the person
}

// datum returns what is decided on; person is the item of Person.
func (i *Item) datum(person *Item, zone *time.Location) Datum {
	on := func(t *time.Time) *civil.Date {
		if t == nil {
			return nil
		}
		d := civil.Of(t.In(zone))
		return &d
	}
	d := Datum{
		Subject: i.Subject, Unit: i.Unit, Requested: i.Requested != "", Restricted: i.State == subject.Restricted,
		Dates: Dates{Collected: on(i.CollectedAt), Activity: on(i.ActivityAt), Withdrawn: on(i.WithdrawnAt), Closed: on(i.ClosedAt), Erased: on(i.ErasedAt)},
	}
	d.Dates.Relations = i.Relations
	if person != nil {
		d.Dates.Relations = person.Relations
		if d.Dates.Closed == nil { // a case is about the person, whatever else there is
			d.Dates.Closed = on(person.ClosedAt)
		}
	}
	return d
}

// DateStore keeps items. The stores of persons and records keep the dates
// themselves, in the transactions that change them.
type DateStore interface {
	// Items returns all items of persons, with the persons' states.
	Items(ctx context.Context, persons ...string) ([]*Item, error)
	// Note stores the instant of an event, CONSENT_WITHDRAWN or CASE_CLOSED, on
	// what a person has in a unit, unless a later one is stored, in the change's
	// transaction.
	Note(ctx context.Context, person string, u Unit, t Trigger, at time.Time) error
	// Spare keeps who a person is for the sake of datasets that are to outlive the
	// person, each under its own key, in the change's transaction.
	Spare(ctx context.Context, person string, datasets ...Unit) error
	// Request notes that erasure is granted, in the change's transaction.
	Request(ctx context.Context, person string, u Unit, cause string) error
	// DueItems returns up to limit items that are due on a day or before, in the order
	// of days and ids, after a position; without those of hidden datasets.
	DueItems(ctx context.Context, hidden []string, by civil.Date, after *page.Position, limit int) ([]*Item, error)
	// Outdate has up to limit items of a unit, by id after one, decided on anew, and
	// returns the last one's id, "" when there are no more.
	Outdate(ctx context.Context, u Unit, after string, limit int) (last string, err error)

	// Outdated returns up to limit items of all tenants that are to be decided on
	// anew. It needs a system context.
	Outdated(ctx context.Context, limit int) ([]*Item, error)
	// SetDue stores DueOn of items whose Revision is still that, and that they are
	// decided on. It needs a system context.
	SetDue(ctx context.Context, items []*Item) error
	// Tenants returns up to limit ids of tenants after one. It needs a system context.
	Tenants(ctx context.Context, after tenant.ID, limit int) ([]tenant.ID, error)
}

// RunState is where a run stands.
type RunState string

// The states of a run.
const (
	Proposed  RunState = "PROPOSED" // waits for approval
	Running   RunState = "RUNNING"
	Done      RunState = "DONE"
	Dismissed RunState = "DISMISSED" // what is due is proposed again
)

// Run is one carrying out of what fell due: a short list, fixed before it is
// approved.
type Run struct {
	ID         string
	AsOf       civil.Date // in the tenant's zone
	State      RunState
	Items      []Planned
	More       bool // more is due than the cap lets into one run
	Next       int  // how many items are decided on
	Erased     int  // erasures begun
	Kept       int  // a hold, a rule or a restriction came in between
	ProposedAt time.Time
	DecidedBy  *string
	DecidedAt  *time.Time
	DoneAt     *time.Time
	Version    int64
}

// Found returns how many items the run has.
func (r *Run) Found() int { return len(r.Items) }

// Planned is an item of a run.
type Planned struct {
	Subject string
	Unit    Unit
}

// Pages of runs.
type (
	// RunConnection is a page of them.
	RunConnection = page.Connection[*Run]
	// RunEdge is one of them, on a page.
	RunEdge = page.Edge[*Run]
)

// Settings is what a tenant sets for its runs.
type Settings struct {
	// Approval is whether a run waits until somebody approves it.
	Approval bool
	// Cap is how many items a run has at most.
	Cap int
	// ProofYears is for how long Proof is kept from a person's erasure on.
	ProofYears int
	SweptOn    *civil.Date // the last day on which was looked for what is due
	Version    int64
}

// The bounds of Settings.Cap.
const (
	defaultCap = 500
	maxCap     = 1000
)

// The bounds of Settings.ProofYears: those of the Limitation Act, for claims in
// general and at the longest. The default is the limitation of offences against data
// protection law (databeskyttelsesloven § 41): DOMAIN §3.2.
const (
	minProof     = 3
	defaultProof = 5
	maxProof     = 10
)

// proof is the rule about Proof that the settings make. It is none of the tenant's
// rules, and can't be retired.
func (s *Settings) proof() *Rule {
	unit := Proof
	return &Rule{State: Active, Content: Content{
		Dataset: &unit, Trigger: personErased, Period: Period{Years: s.ProofYears}, Kind: Max, Exception: LegalClaims, Restricted: true,
	}}
}

// DefaultSettings are those of a tenant that has set nothing: nothing is erased
// unseen.
func DefaultSettings() Settings {
	return Settings{Approval: true, Cap: defaultCap, ProofYears: defaultProof}
}

// RunStore keeps runs and settings. All but Settings and Swept work in the
// transaction of a change.
type RunStore interface {
	// GetRun fails with ErrNoRun.
	GetRun(ctx context.Context, runID string) (*Run, error)
	// Runs returns up to limit runs after a position, the newest first.
	Runs(ctx context.Context, after *page.Position, limit int) ([]*Run, error)
	// OpenRun reports whether a run is proposed or running.
	OpenRun(ctx context.Context) (bool, error)
	InsertRun(ctx context.Context, r *Run) error
	// UpdateRun stores r at the version before, or fails with change.ErrVersion.
	UpdateRun(ctx context.Context, r *Run) error

	// Settings returns those of the tenant, DefaultSettings when it has none.
	Settings(ctx context.Context) (Settings, error)
	// SaveSettings stores what a tenant sets at the version before, or fails with
	// change.ErrVersion.
	SaveSettings(ctx context.Context, s Settings) error
	// Swept notes the day on which was looked for what is due.
	Swept(ctx context.Context, on civil.Date) error
}
