// Package rotation gives the data keys of a tenant, or of one person, a new
// generation and destroys the old one, without anybody noticing.
//
// From the first step on whatever is written is sealed by the new generation. The
// worker's sweep then walks through everything that the database holds sealed and
// seals it anew; an old generation is destroyed when nothing is left under it, neither
// in the database nor in object storage nor in a backup that can still be restored.
// Files and packages aren't sealed anew: the generation that sealed them lives as
// long as they do, and counts them. Blind indexes and keyed hashes have other keys.
//
// Each part of the work can be repeated, and goes on after a crash where it was.
package rotation

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// State is where a rotation stands.
type State string

// The states of a rotation.
const (
	Renewing  State = "RENEWING"  // new generations are made
	Resealing State = "RESEALING" // what is sealed by older ones is sealed anew
	Waiting   State = "WAITING"   // for files of before, and for backups, to be gone
	Done      State = "DONE"      // the older generations are destroyed
	Halted    State = "HALTED"    // given up: all generations stay
)

// Rotation is one renewal of data keys.
type Rotation struct {
	ID          string
	Tenant      tenant.ID // whose keys
	Subject     *string   // of one person; nil for all of the tenant
	State       State
	RequestedBy string
	RequestedAt time.Time // generations made before retire
	NextAt      time.Time // when it is looked at again

	Keys   int // new generations made
	Values int // values sealed anew

	// What was found under retired generations when LookedAt, at the end of the
	// last look through everything.
	LeftValues  int
	LeftObjects int // files and packages
	Unreadable  int // of LeftValues, those that no key opens
	LookedAt    *time.Time

	// CleanAt is since when nothing was found; DestroyAt when the last backup of
	// before is gone, by plan.
	CleanAt   *time.Time
	DestroyAt *time.Time
	Destroyed int // keys whose retired generations are destroyed
	EndedAt   *time.Time

	At      Cursor // up to where everything was looked through
	Version int64
}

// ended reports whether nothing more will happen.
func (r *Rotation) ended() bool { return r.State == Done || r.State == Halted }

// covers reports whether a key is among those to be rotated.
func (r *Rotation) covers(o vault.Owner) bool {
	return o.Tenant == r.Tenant && (r.Subject == nil || o.Subject == *r.Subject)
}

type (
	// Connection is a page of rotations.
	Connection = page.Connection[*Rotation]
	// Edge is a rotation in a Connection.
	Edge = page.Edge[*Rotation]
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such rotation of keys")
	// ErrOwner refuses a tenant or person without a key.
	ErrOwner = errs.New(errs.NotFound, "no such tenant or person, or without data keys").At("tenant")
	// ErrRunning refuses a second rotation of a tenant's keys before the first has sealed everything anew.
	ErrRunning = errs.New(errs.Conflict, "keys of this tenant are being rotated already")
	// ErrPerson refuses machines.
	ErrPerson = errs.New(errs.Forbidden, "rotating keys takes a person")
	// ErrEnded refuses to halt what has ended.
	ErrEnded = errs.New(errs.Precondition, "the rotation has ended")
)

// Store keeps the rotations of the tenant in ctx, the provider.
type Store interface {
	// Insert fails with ErrRunning when another rotation of the tenant's keys is
	// RENEWING or RESEALING.
	Insert(ctx context.Context, r *Rotation) error
	// Update stores r at the version after, or fails with change.ErrVersion.
	Update(ctx context.Context, r *Rotation) error
	// Find fails with ErrNotFound.
	Find(ctx context.Context, id string) (*Rotation, error)
	// List returns rotations, the newest first.
	List(ctx context.Context, after *page.Position, limit int) ([]*Rotation, error)
	// Due returns up to limit rotations that haven't ended and whose time has come.
	Due(ctx context.Context, now time.Time, limit int) ([]*Rotation, error)
}

// Cursor is a place in everything that the database holds of a tenant.
type Cursor struct{ Collection, After string }

// Found is what a look at some documents found.
type Found struct {
	Collection string
	Stale      []string // ids of the documents that hold a value under a retired generation
	Values     int      // so sealed
	Objects    int      // in object storage, so sealed
	Looked     int      // documents
	Next       Cursor
	End        bool // nothing comes after
}

// Resealed is what was sealed anew.
type Resealed struct {
	Values     int
	Unreadable int // values that no key opens
	Contents   []audit.Content
}

// Which reports whether a key is among those whose older generations are looked for.
type Which func(k *vault.DataKey) (retired []vault.KeyID)

// Values is what the database holds sealed, in every collection there is, of the
// tenant in ctx.
type Values interface {
	// Look looks at up to limit documents from a place on.
	Look(ctx context.Context, at Cursor, which Which, limit int) (*Found, error)
	// Reseal seals anew, by the current generations, what documents hold under
	// retired ones. It works in the transaction of a change.
	Reseal(ctx context.Context, collection string, ids []string, which Which) (*Resealed, error)
}

// Keys is the key store.
type Keys interface {
	vault.EpochStore
}

// Backups tells how long backups are kept that may hold what was sealed by a key.
type Backups interface {
	// Until returns from when no backup of the tenant's data made before a time can
	// be restored any more.
	Until(ctx context.Context, of tenant.ID, before time.Time) (time.Time, error)
}

// Fixed is a bound on the life of all backups, for who doesn't know them.
type Fixed time.Duration

// Until implements Backups.
func (f Fixed) Until(_ context.Context, _ tenant.ID, before time.Time) (time.Time, error) {
	return before.Add(time.Duration(f)), nil
}
