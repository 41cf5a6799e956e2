// Package record keeps what a tenant's datasets say about persons. A record has
// a subject and may be about others, its parties: each value is sealed under the
// key of the person that it is about, so that exporting or erasing one of them
// redacts and never deletes the others.
package record

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Origin is how data came to be here. GDPR Art. 20 covers PROVIDED and OBSERVED.
type Origin string

// The origins.
const (
	Provided   Origin = "PROVIDED"
	Observed   Origin = "OBSERVED"
	Derived    Origin = "DERIVED"
	ThirdParty Origin = "THIRD_PARTY"
)

// Limits of one record.
const (
	MaxParties = 100
	MaxValues  = 1000
	maxRole    = 100
	maxSource  = 1000
)

// Record is what a dataset says about a subject, and perhaps others.
type Record struct {
	ID             string
	SubjectID      string
	DatasetID      string
	DatasetVersion int64 // that it was checked against
	Key            personal.Text
	Origin         Origin
	Source         personal.Text
	CollectedAt    *time.Time
	Parties        []Party
	Fields         []Field
	Statements     []Statement  // of the persons it is about, the oldest first
	Gone           bool         // the subject's data is erased: so in lists of a dataset only
	Restricted     []string     // those of its persons whose data is stored and not used, GDPR Art. 18
	Closed         authz.Closed // those who keep their data from the use that is being made of it
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// Party is another person whom a record is about.
type Party struct {
	Subject string
	Role    string
	Gone    bool // the person's data is erased, here at least; the role is too
}

// Field is one value of a record.
type Field struct {
	FieldID string
	Key     string
	Class   dataset.Class
	Secrecy dataset.Secrecy // of the field or its dataset
	Value   Value
	State   personal.State
	Reason  *authz.Reason // why it isn't CLEAR
	About   *string       // the party it is about, nil for the record's subject
}

// Value is a value with the type that tells how it is shown.
type Value struct {
	Type dataset.Type
	personal.Value
}

// about returns the id of the person that f is about.
func (r *Record) about(f *Field) string {
	if f.About != nil {
		return *f.About
	}
	return r.SubjectID
}

// Subjects returns the ids of all persons that the record is about.
func (r *Record) Subjects() []string {
	ids := make([]string, 1, 1+len(r.Parties))
	ids[0] = r.SubjectID
	for _, p := range r.Parties {
		ids = append(ids, p.Subject)
	}
	return ids
}

// living returns those of Subjects whose data is there: who can be read, written
// and, for that, audited.
func (r *Record) living() []string {
	ids := make([]string, 0, 1+len(r.Parties))
	if !r.Gone {
		ids = append(ids, r.SubjectID)
	}
	for _, p := range r.Parties {
		if !p.Gone {
			ids = append(ids, p.Subject)
		}
	}
	return ids
}

// Unit returns the owner of the key of a person's data in a dataset.
func Unit(of tenant.ID, subjectID, datasetID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: subjectID, Unit: vault.Unit(datasetID)}
}

// owners returns the owners of the keys that the record's values need.
func (r *Record) owners(of tenant.ID) []vault.Owner {
	owners := make([]vault.Owner, 0, 2*(1+len(r.Parties)))
	for _, s := range r.living() {
		owners = append(owners, Unit(of, s, r.DatasetID), audit.Evidence(of, s))
	}
	return owners
}

// touches returns what reading or writing r does to whom.
func (r *Record) touches(digest []byte, fields []string) []audit.Touch {
	touches := make([]audit.Touch, 0, 1+len(r.Parties))
	for _, s := range r.living() {
		touches = append(touches, audit.Touch{Subject: s, Object: r.ID, Version: r.Version, Digest: digest, Fields: fields})
	}
	return touches
}

// ordinary reports whether r, described, has a value about the person that is
// not secret by AML law. One that has none may be there for the sake of a secret
// one, and the person isn't told of it.
func (r *Record) ordinary(person string) bool {
	return slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Secrecy != dataset.AML && r.about(&f) == person })
}

// files returns the ids of the files that r names.
func (r *Record) files() []Attachment {
	var files []Attachment
	for i := range r.Fields {
		f := &r.Fields[i]
		if name, ok := f.Value.RevealString(); ok && f.Value.Type == dataset.TypeFile {
			files = append(files, Attachment{File: name, Subject: r.about(f), Dataset: r.DatasetID, Field: f.FieldID})
		}
	}
	return files
}

// Attachment is a file named by a field of a record, with whose and which unit
// it must be.
type Attachment struct {
	File    string
	Subject string
	Dataset string
	Field   string
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such record")
	// ErrUnreadable refuses a change by which what is stored, and can't be opened,
	// would be lost.
	ErrUnreadable = errs.New(errs.Precondition, "a part of the record can't be read, and so the record not changed; the operator has been told").Under("record.readable")
	// ErrDuplicate reports a key that another record of the dataset has.
	ErrDuplicate = errs.New(errs.Conflict, "another record of the dataset has this key").At("key")
)

// Connection is a page of records.
type Connection struct {
	page.Connection[*Record]
	count func(context.Context) (int, error)
}

// Edge is a record on a page.
type Edge = page.Edge[*Record]

// TotalCount counts all records of the list, up to page.CountMax.
func (c *Connection) TotalCount(ctx context.Context) (int, error) { return c.count(ctx) }

func position(r *Record) page.Position { return page.Position{CreatedAt: r.CreatedAt, ID: r.ID} }

// Query selects records: of a subject (also those it is a party of), of a
// dataset, or both.
type Query struct {
	Subject string
	Dataset string
	Without []string // datasets left out
}

// Store keeps records with their lookups. What it reads has the fields' ids,
// values and states only; values of persons whose data is gone have state
// ERASED. Records are checked against their subject's state: Get fails with
// subject.ErrErased when it is gone.
type Store interface {
	Get(ctx context.Context, recordID string) (*Record, error)
	// List returns up to limit records after a position, newest first.
	List(ctx context.Context, q Query, after *page.Position, limit int) ([]*Record, error)
	// Find returns those that a search finds after a position, by id.
	Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*Record, error)
	// FindByKeys returns those that unique lookups name, in the order of keys, nil
	// where there is none.
	FindByKeys(ctx context.Context, keys []lookup.Key) ([]*Record, error)
	// Count counts the records of a list, CountFound those that a search finds, up to limit.
	Count(ctx context.Context, q Query, limit int) (int, error)
	CountFound(ctx context.Context, q lookup.Search, limit int) (int, error)

	// Insert, Update and Delete work in the change's transaction. They fail with
	// ErrDuplicate, and with change.ErrVersion when the record isn't at the version
	// before (Update) or at its version (Delete).
	Insert(ctx context.Context, made ...New) (digests [][]byte, err error)
	Update(ctx context.Context, r *Record, keys []lookup.Key) (digest []byte, err error)
	Delete(ctx context.Context, r *Record) error
}

func checkID(ctx context.Context, recordID string) (tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if id.Check(id.Record, of, recordID) != nil {
		return "", ErrNotFound
	}
	return of, nil
}
