// Package subject keeps the persons whose data a tenant processes: who they
// are, under which identifiers they are found, and since when and until when
// the tenant had dealings with them.
package subject

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// State is where a subject stands.
type State string

// The states of a subject. Every read loads the state with the data, and every
// write counts up the subject's guard, so that a write and an erasure can't
// both win.
const (
	Active     State = "ACTIVE"
	Restricted State = "RESTRICTED" // GDPR Art. 18
	Erasing    State = "ERASING"
	Erased     State = "ERASED"
)

// Gone reports whether nothing of the subject may be read any more.
func (s State) Gone() bool { return s == Erasing || s == Erased }

// Subject is a person within one tenant; the same person is another subject of
// another tenant (DOMAIN §1.2).
type Subject struct {
	ID    string
	State State
	// Identity tells whether the identifying data can be shown: MASKED when only
	// the national ids are.
	Identity       personal.State
	IdentityReason *authz.Reason // why it isn't CLEAR
	Reference      personal.Text
	Name           *Name
	BirthDate      personal.Text // YYYY-MM-DD
	Emails         []personal.Text
	Phones         []personal.Text // E.164
	NationalIDs    []NationalID
	Relations      []Relation
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time

	// Spared are datasets that outlive the person's erasure, kept in secret by law: of
	// the API nothing shows them.
	Spared []string

	closed authz.Reason // why the person keeps it from the use that is being made of it
}

// Name is a person's name.
type Name struct {
	Full   personal.Text
	Given  personal.Text
	Family personal.Text
}

// NationalID is a number that a state gave a person.
type NationalID struct {
	Country string // ISO 3166-1 alpha-2
	Number  personal.Text
}

// RelationKind is what a tenant's dealings with a person are.
type RelationKind string

// The kinds of relations: the triggers of retention, DOMAIN §3.1.
const (
	BusinessRelation  RelationKind = "BUSINESS_RELATION"
	SingleTransaction RelationKind = "SINGLE_TRANSACTION"
	Employment        RelationKind = "EMPLOYMENT"
	Membership        RelationKind = "MEMBERSHIP"
	OtherRelation     RelationKind = "OTHER"
)

// Relation is a time of dealings with a person. Retention counts from its end.
type Relation struct {
	ID        string
	Kind      RelationKind
	StartedOn civil.Date
	EndedOn   *civil.Date
}

// Limits of one subject.
const (
	MaxIdentifiers = 20 // e-mail addresses, phones, national ids: of each
	MaxRelations   = 500
	maxName        = 500
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such subject")
	ErrErased   = errs.New(errs.Erased, "the person's data is erased")
	// ErrRestricted refuses a change under GDPR Art. 18.
	ErrRestricted = errs.New(errs.Precondition, "processing of this person's data is restricted: nothing may be changed").Under("art18.restriction")
	// ErrUnreadable refuses a change of identifying data that can't be opened: it
	// would replace all that is stored by what is known of it, nothing.
	ErrUnreadable = errs.New(errs.Precondition, "the person's identifying data can't be read, and so not changed; the operator has been told").Under("subject.readable")
	// ErrDuplicate is decorated with the kind of identifier, never its value.
	ErrDuplicate = errs.New(errs.Conflict, "another subject of the tenant has this identifier")
)

// Connection is a page of subjects.
type Connection struct {
	page.Connection[*Subject]
	count func(context.Context) (int, error)
}

// Edge is a subject on a page.
type Edge = page.Edge[*Subject]

// TotalCount counts all subjects of the list, up to page.CountMax.
func (c *Connection) TotalCount(ctx context.Context) (int, error) { return c.count(ctx) }

func position(s *Subject) page.Position { return page.Position{CreatedAt: s.CreatedAt, ID: s.ID} }

// Identity returns the owner of the key of a subject's identifying data.
func Identity(of tenant.ID, subjectID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: subjectID, Unit: vault.Identity}
}

// Owners returns the owners of the keys that a new subject needs.
func Owners(of tenant.ID, subjectID string) []vault.Owner {
	return []vault.Owner{Identity(of, subjectID), audit.Evidence(of, subjectID)}
}

// Store keeps subjects with their lookups. Reads return subjects whose data is
// gone with their state and nothing else.
type Store interface {
	// GetMany returns the subjects in any order, leaving out unknown ids.
	GetMany(ctx context.Context, ids []string) ([]*Subject, error)
	// List returns up to limit subjects after a position, newest first.
	List(ctx context.Context, after *page.Position, limit int) ([]*Subject, error)
	// Find returns those that a search finds after a position, by id.
	Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*Subject, error)
	// FindByKeys returns those that unique lookups name, in the order of keys, nil
	// where there is none.
	FindByKeys(ctx context.Context, keys []lookup.Key) ([]*Subject, error)
	// Count counts all subjects, CountFound those that a search finds, up to limit.
	Count(ctx context.Context, limit int) (int, error)
	CountFound(ctx context.Context, q lookup.Search, limit int) (int, error)

	// Insert and Update write subjects and their lookups in the change's
	// transaction, and return the digests of the content as stored. They fail with
	// ErrDuplicate; Update, at the version before, with change.ErrVersion.
	Insert(ctx context.Context, made ...New) (digests [][]byte, err error)
	Update(ctx context.Context, s *Subject, keys []lookup.Key) (digest []byte, err error)
	// Guard counts up the guards of the subjects in the change's transaction, so
	// that it and an erasure exclude each other. It fails with ErrNotFound,
	// ErrErased or ErrRestricted.
	Guard(ctx context.Context, ids ...string) error
	// GuardStored lets pass who is restricted.
	GuardStored(ctx context.Context, ids ...string) error
}

func checkID(ctx context.Context, subjectID string) (tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if id.Check(id.Subject, of, subjectID) != nil {
		return "", ErrNotFound
	}
	return of, nil
}
