// Package disclosure keeps to whom persons' data was disclosed: GDPR Art. 15(1)(c)
// and 19, DOMAIN §2.7 and §2.8. A person learns the actual recipients by name, and
// the recipients learn when what they were given is rectified, erased or restricted.
//
// The log is added to, and never changed: what is wrong is corrected by another
// entry, and the one that it corrects stays, and doesn't count any more. An entry
// says what kind of data went to which party, when and why; it doesn't hold the data.
// It is proof, and outlives the erasure of the person for its own period: then those
// only read it who may read the audit log, until the person's evidence is erased,
// too.
//
// What is secret by AML law (DOMAIN §2.7) is an entry of its own, and isn't there
// to the person concerned and to whoever lacks the clearance: no list, number or
// page differs with or without it.
package disclosure

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Limits.
const (
	MaxBatch      = 200 // disclosures recorded in one call
	maxDatasets   = 50
	maxCategories = 50
	maxReference  = 500
	maxPurpose    = 100

	// told is how many of the newest disclosures to a recipient its summary is made of.
	told = 100
)

// Disclosure is one disclosure of a person's data to a party.
type Disclosure struct {
	ID             string
	SubjectID      string
	Recipient      string   // id of the party
	Datasets       []string // ids of the datasets that the data was of
	Categories     []string // terms of the kinds of data, as in pd:Name
	LegalBasis     string   // a term: eu-gdpr:A6-1-c
	Purpose        string   // as header Vogter-Purpose has it
	Secrecy        dataset.Secrecy
	At             time.Time
	Reference      personal.Text // of the tenant's: a letter, a case
	ReferenceState personal.State
	RecordedBy     string
	CreatedAt      time.Time

	Batch string // id of the first one recorded in the same call

	Corrects    *string       // id of the entry that this one corrects
	CorrectedBy *string       // id of the entry that corrects this one
	Void        bool          // of a correction: there was no such disclosure
	Reason      personal.Text // of a correction: why; withheld as the reference is
}

// Counts reports whether the entry holds: it wasn't corrected, and isn't void.
func (d *Disclosure) Counts() bool { return d.CorrectedBy == nil && !d.Void }

// Recipient is a party that a person's data was disclosed to, as the person is told.
type Recipient struct {
	ID          string // of the party
	Name        string
	Country     string // ISO 3166-1 alpha-2
	Categories  []string
	Datasets    []string // their names
	Purposes    []string
	LegalBases  []string
	DisclosedAt time.Time // the last time
}

// Inputs.
type (
	// RecordInput records disclosures: all of them or none, either secret by AML law
	// or not.
	RecordInput struct{ Disclosures []Input }
	// CorrectInput corrects an entry. Instead is what is right, of the same person and
	// secrecy; nil when there was no such disclosure.
	CorrectInput struct {
		ID      string
		Reason  personal.Text
		Instead *Input
	}
	// Input is one disclosure.
	Input struct {
		Subject    string
		Recipient  string
		Datasets   []string
		Categories []string
		LegalBasis string
		Purpose    string
		Secrecy    dataset.Secrecy // AML of itself when a dataset is
		At         time.Time
		Reference  *personal.Text
	}
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such disclosure")
	// ErrApart keeps what the person is told of apart from what is secret by law.
	ErrApart = errs.New(errs.Invalid, "what is secret by law is recorded apart from what isn't: in a call of its own, with no dataset that isn't").Under("aml.apart")
	// ErrCorrected refuses to correct an entry twice: its correction may be corrected.
	ErrCorrected = errs.New(errs.Precondition, "the entry was corrected already: correct its correction").Under("disclosure.corrected")
	ErrVoid      = errs.New(errs.Precondition, "the entry says that nothing was disclosed: record what was").Under("disclosure.void")
	errSubject   = errs.New(errs.Invalid, "a correction is of the same person: say that this wasn't disclosed, and record the other anew").At("instead.subject")
	ErrNoSubject = errs.New(errs.Forbidden, "this is for data subjects, on themselves").Under("self")
	errEmpty     = errs.New(errs.Invalid, "name at least one dataset or category of data").At("datasets")
	errOwn       = errs.New(errs.Invalid, "the recipient is the tenant itself").At("recipient")
)

// Connection is a page of disclosures, the newest first.
type Connection = page.Connection[*Disclosure]

// Edge is a disclosure on a page.
type Edge = page.Edge[*Disclosure]

// RecipientConnection is a page of recipients, by their ids.
type RecipientConnection = page.Connection[*Recipient]

// RecipientEdge is a recipient on a page.
type RecipientEdge = page.Edge[*Recipient]

// Store keeps disclosures, for the tenant in ctx and within a transaction that it
// carries.
type Store interface {
	// State returns where a person stands, or subject.ErrNotFound.
	State(ctx context.Context, subjectID string) (subject.State, error)
	// Get fails with ErrNotFound.
	Get(ctx context.Context, disclosureID string) (*Disclosure, error)
	// List returns up to limit disclosures of a person's data after a position, the
	// newest first: those of a secrecy, or all when it is "".
	List(ctx context.Context, subjectID string, secrecy dataset.Secrecy, after *page.Position, limit int) ([]*Disclosure, error)
	// Batch returns those that were recorded in one call, in the order given then.
	Batch(ctx context.Context, batch string) ([]*Disclosure, error)
	// Recipients and To leave out what was corrected, and what says that nothing was.
	// Recipients returns up to limit ids of parties that a person's data was disclosed
	// to, without secrecy, after one, in their order.
	Recipients(ctx context.Context, subjectID, after string, limit int) ([]string, error)
	// To returns up to limit disclosures of a person's data to a party, without
	// secrecy and references, the newest first.
	To(ctx context.Context, subjectID, recipient string, limit int) ([]*Disclosure, error)
	// Corrected notes of an entry, in the change's transaction, by which one it is
	// corrected, or fails with ErrCorrected.
	Corrected(ctx context.Context, disclosureID, by string) error
	// Insert seals the references under the persons' evidence keys, which the caller
	// has made sure of.
	Insert(ctx context.Context, ds []*Disclosure) error
}

// checkBatch refuses what mixes what is told with what is secret.
func checkBatch(ds []*Disclosure) error {
	for _, d := range ds {
		if d.Secrecy != ds[0].Secrecy {
			return ErrApart.At("disclosures")
		}
	}
	return nil
}

func checkID(ctx context.Context, t id.Type, s string, missing error) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(t, of, s) != nil {
		return missing
	}
	return nil
}
