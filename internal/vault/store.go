package vault

import (
	"context"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/tenant"
)

// Unit is a retention unit: what is kept, and destroyed, together. It is one of
// the constants, or the id of a dataset, case or export.
type Unit string

// The units that every subject or tenant may have.
const (
	Identity    Unit = "identity"    // identifiers and contact of a subject
	Evidence    Unit = "evidence"    // proof of consent, audit details, certificates
	Case        Unit = "case"        // of a request: all that was written in it
	Contact     Unit = "contact"     // a tenant's own contacts, say its DPO
	Credentials Unit = "credentials" // a tenant's keyed hashes of API keys and inputs
)

// maxPart bounds each part of an owner or place, in bytes.
const maxPart = 200

// Owner names one data key: a retention unit of one subject of a tenant. What
// belongs to the tenant itself has the tenant's id as Subject. The parts are
// opaque ids, never personal data.
type Owner struct {
	Tenant  tenant.ID
	Subject string
	Unit    Unit
}

// ID returns the owner's canonical form, which is the _id of its key document:
// tenant, subject and unit joined by "/".
func (o Owner) ID() string { return string(o.Tenant) + "/" + o.Subject + "/" + string(o.Unit) }

func (o Owner) check() error {
	for _, part := range [...]string{string(o.Tenant), o.Subject, string(o.Unit)} {
		if part == "" || len(part) > maxPart || strings.ContainsAny(part, "/\n\x00") {
			return ErrOwner
		}
	}
	return nil
}

// Place is where a sealed value lives: the collection, the record's id and the
// field's id. A value opens only at the place for which it was sealed.
type Place struct {
	Collection, Record, Field string
}

func (p Place) check() error {
	for _, part := range [...]string{p.Collection, p.Record, p.Field} {
		if part == "" || len(part) > maxPart {
			return ErrOwner
		}
	}
	return nil
}

// Epoch numbers the periods of 14 days that share a master key.
type Epoch int32

// EpochLength is how long an epoch is meant to stay open.
const EpochLength = 14 * 24 * time.Hour

// EpochAt returns the epoch in which t lies. Epoch 0 began on Monday
// 1 January 2024, 00:00 UTC.
func EpochAt(t time.Time) Epoch {
	d := t.Sub(time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC))
	if d < 0 {
		d -= EpochLength - 1
	}
	return Epoch(d / EpochLength) //nolint:gosec // G115: a Duration has at most 7,600 epochs
}

// KeyID names one generation of a data key. It is random and not secret.
type KeyID [16]byte

// MasterState is where an epoch's master key stands.
type MasterState string

// The states of a master key.
const (
	MasterOpen      MasterState = "OPEN"      // new keys are wrapped under it
	MasterClosed    MasterState = "CLOSED"    // it only unwraps
	MasterDisabled  MasterState = "DISABLED"  // nothing needs it any more; it can still be enabled
	MasterDestroyed MasterState = "DESTROYED" // what it wrapped is irrecoverable
)

// Master is an epoch's master key as the key store knows it; the key is in the
// key management service. Its _id is the epoch.
type Master struct {
	Epoch     Epoch
	KeyRef    string // what the key management service calls it
	State     MasterState
	CreatedAt time.Time

	// When it came into the states after OPEN; zero before.
	ClosedAt, DisabledAt, DestroyedAt time.Time
}

// TenantKey is a tenant's key of one epoch. Its _id is tenant and epoch.
type TenantKey struct {
	Tenant    tenant.ID
	Epoch     Epoch
	Wrapped   []byte // under the epoch's master
	CreatedAt time.Time
}

// IndexKey is the key of a tenant's blind indexes made in one epoch. Its _id is
// tenant and epoch.
type IndexKey struct {
	Tenant    tenant.ID
	Epoch     Epoch  // its number, see MadeIn: the lookups that carry it were made with it
	WrappedIn Epoch  // of the tenant key that wraps it: moves on when an epoch closes
	Wrapped   []byte // under that tenant key; nil once it is destroyed
	CreatedAt time.Time
}

// DataKey is an owner's key document, in all its generations. Its _id is Owner.ID.
// A destroyed key stays as a tombstone without wrapped bytes.
type DataKey struct {
	Owner       Owner
	Current     int32 // number of the generation that seals; the others only open
	Generations []Generation
	CreatedAt   time.Time
	DestroyedAt time.Time // zero while the key lives
}

// Destroyed reports whether the key is a tombstone.
func (k *DataKey) Destroyed() bool { return !k.DestroyedAt.IsZero() }

// Generation is one generation of a data key.
type Generation struct {
	Number  int32 // from 1
	KeyID   KeyID
	Epoch   Epoch  // of the tenant key that wraps it
	Wrapped []byte // under that tenant key; nil once it is destroyed

	CreatedAt time.Time // zero of the first, which is as old as the document

	// Quarantined are wrapped bytes that don't open, and so stand in the way of
	// closing their epoch: set aside, to be put back should they be mended.
	Quarantined []byte
}

// KeyStore keeps the wrapped keys: a database of its own with its own
// credentials. Reads see every acknowledged write, writes are durable on a
// majority before they return. Whose keys they are is in the arguments, not in
// the context, which may carry a transaction of the data database: none of these
// takes part in it. The contract is tested by vaulttest.Run.
type KeyStore interface {
	// Masters returns all epochs' masters, in any order.
	Masters(ctx context.Context) ([]Master, error)
	// InsertMaster stores m unless its epoch has one, and returns the one stored.
	InsertMaster(ctx context.Context, m Master) (Master, error)

	// The inserts below take effect only while the epochs in which the keys are
	// wrapped are OPEN, which they read in the transaction that inserts; else they
	// fail with ErrEpochClosed. So closing an epoch can't lose a key: who waits
	// for the transactions that began before it has seen the last one.

	// FindTenantKey returns the tenant's key of an epoch.
	FindTenantKey(ctx context.Context, t tenant.ID, e Epoch) (k TenantKey, found bool, err error)
	// InsertTenantKey stores k unless its tenant and epoch have one, and returns the one stored.
	InsertTenantKey(ctx context.Context, k TenantKey) (TenantKey, error)

	// FindIndexKey returns the tenant's index key of an epoch.
	FindIndexKey(ctx context.Context, t tenant.ID, e Epoch) (k IndexKey, found bool, err error)
	// InsertIndexKey stores k unless its tenant and epoch have one, and returns the one stored.
	InsertIndexKey(ctx context.Context, k IndexKey) (IndexKey, error)

	// FindDataKeys returns the key documents of owners, tombstones included, in
	// any order and with one query. Owners without one are left out.
	FindDataKeys(ctx context.Context, owners []Owner) ([]DataKey, error)
	// InsertDataKeys stores those keys whose owner has none and returns what is
	// then stored for each of the owners, tombstones included, in any order. All
	// owners are distinct.
	InsertDataKeys(ctx context.Context, keys []DataKey) ([]DataKey, error)
	// DestroyDataKey removes the wrapped bytes of all generations of o's key and
	// leaves a tombstone with their key ids, dated at; without a key it leaves a
	// bare tombstone, so that none is ever made. Repeating it changes nothing.
	DestroyDataKey(ctx context.Context, o Owner, at time.Time) error
}
