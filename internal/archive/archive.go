// Package archive keeps what a job built for somebody to fetch: an object sealed
// under a key of its own, both of which are destroyed when its time is over.
package archive

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Life is how long an archive can be fetched before it is destroyed.
const Life = 14 * 24 * time.Hour

// Objects is the object storage.
type Objects interface {
	file.Objects
	// DeletePrefix removes every version and part of all objects whose key begins so.
	DeletePrefix(ctx context.Context, prefix string) error
}

// Vault has the keys.
type Vault interface {
	file.Vault
	Evict(owners ...vault.Owner)
}

// Keys destroys keys.
type Keys interface {
	DestroyDataKey(ctx context.Context, o vault.Owner, at time.Time) error
}

// Jobs tells how the work stands.
type Jobs interface {
	Get(ctx context.Context, id string) (*job.Job, error)
}

// Keeper keeps archives of one kind.
type Keeper struct {
	Objects Objects
	Vault   Vault
	Keys    Keys
	Jobs    Jobs
	Now     func() time.Time

	Collection string // that they are bound to, with Field
	Field      string
}

// Archive is one of them, as the job's claim with this fence made it: two claims
// never write the same object.
type Archive struct {
	ID    string
	Owner vault.Owner // of the key, of a unit of its own
	Fence int64
}

func (a *Archive) key() string { return a.ID + "." + strconv.FormatInt(a.Fence, 10) }

func (k *Keeper) place(a Archive) vault.Place {
	return vault.Place{Collection: k.Collection, Record: a.ID, Field: k.Field}
}

// Build seals what write writes, and returns the object and the plain size in
// bytes. The keys are those of the owner.
func (k *Keeper) Build(ctx context.Context, keys *vault.Keys, a Archive, write func(w io.Writer) error) (file.Object, int64, error) {
	object, err := file.Seal(ctx, keys, a.Owner, k.place(a), k.Objects, a.key(), write)
	if err != nil {
		return object, 0, err
	}
	size, err := vault.PlainSize(object.Size)
	return object, size, err
}

// Open returns a reader of the content, which the caller closes and whose reads
// ctx bounds.
func (k *Keeper) Open(ctx context.Context, a Archive, object file.Object) (io.ReadSeekCloser, error) {
	content, err := file.Unseal(ctx, k.Vault, a.Owner, k.place(a), k.Objects, a.key(), object)
	if err != nil {
		return nil, fmt.Errorf("open archive %s: %w", a.ID, err)
	}
	return content, nil
}

// Over reports whether an archive's time is over, though the sweeper may still be
// on its way.
func (k *Keeper) Over(expiresAt time.Time) bool { return !k.Now().Before(expiresAt) }

// GivenUp reports whether the job that builds an archive will do nothing more
// unless somebody retries it.
func (k *Keeper) GivenUp(ctx context.Context, jobID string) (bool, error) {
	j, err := k.Jobs.Get(ctx, jobID)
	if err != nil {
		return false, fmt.Errorf("find job %s: %w", jobID, err)
	}
	return j.State == job.Parked || j.State == job.Cancelled, nil
}

// Destroy destroys an archive: first the key, then the objects of all claims in
// all their versions. It can be repeated.
func (k *Keeper) Destroy(ctx context.Context, a Archive) error {
	if err := k.Keys.DestroyDataKey(ctx, a.Owner, k.Now().UTC()); err != nil {
		return err
	}
	k.Vault.Evict(a.Owner)
	return k.Objects.DeletePrefix(ctx, a.ID)
}

// sweepBatch is how many archives are destroyed at once.
const sweepBatch = 500

// Sweep has what is due ended, of all tenants and some at a time, each in its
// tenant and in the name of the sweeper. It may run anywhere, also twice.
func Sweep[T any](
	ctx context.Context, sweeper string, due func(ctx context.Context, limit int) ([]T, error), of func(T) tenant.ID,
	end func(ctx context.Context, t T) error,
) error {
	for {
		list, err := due(ctx, sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep %s: %w", sweeper, err)
		}
		for _, t := range list {
			who := authz.Principal{Kind: authz.KindSystem, ID: "sweep:" + sweeper, Tenant: of(t)}
			if err := end(authz.NewContext(tenant.NewContext(ctx, of(t)), who), t); err != nil {
				return fmt.Errorf("sweep %s: %w", sweeper, err)
			}
		}
		if len(list) < sweepBatch {
			return nil
		}
	}
}
