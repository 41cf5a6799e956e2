// Package certificate states, signed, what was erased: DOMAIN §3.5. Each shredding
// that is done gets one Certificate, whether a person asked for it or its time was
// over. It restates nothing of what was erased: it has opaque ids, names of
// datasets, times and reasons.
//
// From the moment of the shredding nobody can read the data; that nobody can bring
// it back from any backup comes true later, when the master key of the epoch is
// destroyed. The certificate says when that is planned, and by which number the
// second Statement goes that is signed once it has happened.
//
// What is kept secret by AML law is in no certificate; a shredding of nothing else
// gets none.
package certificate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

// The types of what is signed, which the headers of the signatures name.
const (
	Type          = "vogter-erasure-certificate+jws"
	StatementType = "vogter-irrecoverability+jws"
)

// Version is the version of the form of certificates and statements.
const Version = 1

// State is where a certificate stands.
type State string

// The states.
const (
	Draft  State = "DRAFT"  // the erasure is under way
	Issued State = "ISSUED" // signed
	Stated State = "STATED" // and the second statement is signed, too
)

// Certificate is a certificate and, later, its second statement.
type Certificate struct {
	ID        string // its number
	Tenant    tenant.ID
	Subject   string
	Shredding string // each has one
	Cause     string // id of the item of a request, or of what else decided it
	State     State
	Content   Content
	Signed    string // in compact form: "" of a draft
	Statement string // signed, in compact form: "" until it is
	Language  string // of its paper: "da", or else "en"; "" is the tenant's first
	CreatedAt time.Time
	IssuedAt  *time.Time
	StatedAt  *time.Time
}

// Content is what a certificate says.
type Content struct {
	Version      int       `json:"version"`
	Number       string    `json:"number"`
	Controller   Party     `json:"controller"`
	Processor    Party     `json:"processor"`
	Request      string    `json:"request,omitempty"`
	Item         string    `json:"item,omitempty"`
	Subject      string    `json:"subject"` // an opaque id
	Ground       string    `json:"ground"`  // "GDPR Art. 17(1)(b)"
	Plan         string    `json:"plan,omitempty"`
	PreparedBy   string    `json:"preparedBy,omitempty"`
	ApprovedBy   string    `json:"approvedBy,omitempty"`
	Erasure      string    `json:"erasure"`
	Scope        []Scope   `json:"scope"`
	StartedAt    time.Time `json:"startedAt"`
	UnreadableAt time.Time `json:"unreadableSince"`
	EndedAt      time.Time `json:"endedAt"`
	Steps        []Step    `json:"steps"`
	Verification string    `json:"verification"` // "COUNT_ZERO": nothing was left
	Exceptions   []Kept    `json:"exceptions"`
	Recipients   []Notice  `json:"recipients"`
	Backups      Backups   `json:"backups"`
	Ledger       Ledger    `json:"ledger"`
	Software     string    `json:"software"`
	IssuedAt     time.Time `json:"issuedAt"`
	Rules        string    `json:"rules"` // what decided: the form of the plan, or the rules alone
	WholePerson  bool      `json:"wholePerson"`
}

// Party is who is responsible, or works for them.
type Party struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Registration string `json:"registration,omitempty"`
}

// Scope is what was erased.
type Scope struct {
	Unit       string   `json:"unit"` // id of a dataset, or "identity"
	Name       string   `json:"name,omitempty"`
	Categories []string `json:"categories"` // classes of data
	Systems    []string `json:"systems"`
	Methods    []string `json:"methods"`
}

// The systems that a unit is erased in, and the ways.
const (
	systemKeys    = "key store"
	systemData    = "document store"
	systemObjects = "object storage, all versions"
	cryptoShred   = "CRYPTO_SHRED"
	deletion      = "DELETE"
)

// erased returns the scope of a unit.
func erased(unit, name string, categories []string) Scope {
	return Scope{
		Unit: unit, Name: name, Categories: categories, Systems: []string{systemKeys, systemData, systemObjects},
		Methods: []string{cryptoShred, deletion},
	}
}

// Step is a step of the erasure, and when it was done.
type Step struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"`
}

// Kept is what wasn't erased, why, and from when on it is to be gone.
type Kept struct {
	Unit    string            `json:"unit"`
	Name    string            `json:"name,omitempty"`
	Outcome retention.Outcome `json:"outcome"`
	Reason  retention.Reason  `json:"reason"`
	Article string            `json:"article,omitempty"`
	Law     string            `json:"law,omitempty"`
	Date    *civil.Date       `json:"plannedDate,omitempty"`
}

// Notice is what a recipient was told, Art. 19.
type Notice struct {
	Recipient string `json:"recipient"`
	Name      string `json:"name"`
	Result    string `json:"result"`
}

// Backups says what becomes of copies in backups.
type Backups struct {
	// IrrecoverableOn is when, by plan, nobody can bring the data back any more.
	IrrecoverableOn time.Time `json:"irrecoverablePlanned"`
	Statement       string    `json:"secondStatement"` // its number
	Horizon         string    `json:"horizon"`
	Restored        string    `json:"restored"`
}

// Ledger is where the ledger of erasures stood when it had the erasure.
type Ledger struct {
	Number int64  `json:"number"`
	SHA256 string `json:"sha256"`
}

// Irrecoverable is what the second statement says.
type Irrecoverable struct {
	Version     int       `json:"version"`
	Number      string    `json:"number"`
	Certificate string    `json:"certificate"`
	SHA256      string    `json:"certificateSha256"` // of what the certificate says
	Subject     string    `json:"subject"`
	Erasure     string    `json:"erasure"`
	Epochs      []string  `json:"epochsDestroyed"`
	Since       time.Time `json:"irrecoverableSince"`
	IssuedAt    time.Time `json:"issuedAt"`
}

// SignedText returns the signed certificate, nil of a draft.
func (c *Certificate) SignedText() *string { return present(c.Signed) }

// StatementText returns the signed second statement, nil before there is one.
func (c *Certificate) StatementText() *string { return present(c.Statement) }

func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such certificate")
	// ErrExists reports that the shredding has one.
	ErrExists = errs.New(errs.Conflict, "the erasure has a certificate")
	// ErrForm reports what isn't a certificate, or is of a form yet unknown.
	ErrForm = errors.New("neither a certificate of erasure nor a statement on one that this program knows")
)

// Store keeps certificates, for the tenant in ctx. Insert and Update work in the
// transaction of a change.
type Store interface {
	// Get returns the certificate with a number, or whose statement has it. It fails
	// with ErrNotFound.
	Get(ctx context.Context, number string) (*Certificate, error)
	// Of returns the certificate of a shredding, or ErrNotFound.
	Of(ctx context.Context, shreddingID string) (*Certificate, error)
	// For returns the certificates that have a cause.
	For(ctx context.Context, cause string) ([]*Certificate, error)
	// Insert fails with ErrExists.
	Insert(ctx context.Context, c *Certificate) error
	// Update stores c, which is in state From so far, or fails with change.ErrVersion.
	Update(ctx context.Context, c *Certificate, from State) error
	// Delete works in the transaction of a change.
	Delete(ctx context.Context, c *Certificate) error
	// IssuedBefore returns up to limit certificates of all tenants that are Stated and
	// were issued before an instant, the oldest first. It needs a system context.
	IssuedBefore(ctx context.Context, at time.Time, limit int) ([]*Certificate, error)
	// Unstated returns up to limit certificates of all tenants that are Issued, by
	// tenant and id after one. It needs a system context.
	Unstated(ctx context.Context, after string, limit int) ([]*Certificate, error)
}

// Opened is a certificate or a statement whose signature was checked.
type Opened struct {
	Certificate *Content
	Statement   *Irrecoverable
	Signed      string
	SignedBy    *sign.Key
}

// Is reports whether a text claims to be a certificate or a statement: what Open reads.
func Is(text string) bool {
	head, _, ok := strings.Cut(strings.TrimSpace(text), ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Type string `json:"typ"`
	}
	return ok && err == nil && json.Unmarshal(raw, &header) == nil && (header.Type == Type || header.Type == StatementType)
}

// Open checks a certificate or a statement in compact form. It fails with ErrForm,
// or as sign.KeySet.OpenJWS does.
func Open(keys *sign.KeySet, compact string) (*Opened, error) {
	compact = strings.TrimSpace(compact)
	if signed, by, err := keys.OpenJWS(sign.Certificate, Type, compact); !errors.Is(err, sign.ErrForm) {
		if err != nil {
			return nil, err
		}
		o := &Opened{Certificate: &Content{}, Signed: compact, SignedBy: by}
		return o, read(signed, o.Certificate, &o.Certificate.Version)
	}
	signed, by, err := keys.OpenJWS(sign.Certificate, StatementType, compact)
	if err != nil {
		return nil, err
	}
	o := &Opened{Statement: &Irrecoverable{}, Signed: compact, SignedBy: by}
	return o, read(signed, o.Statement, &o.Statement.Version)
}

func read(content []byte, into any, version *int) error {
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	if *version != Version {
		return ErrForm
	}
	return nil
}
