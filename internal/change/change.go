// Package change carries every change of state in one transaction: the writes,
// their audit entries and the jobs that follow commit together or not at all.
package change

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// Change describes what a transaction did: the audit entry's content, and the
// jobs to follow.
type Change struct {
	Action  string        // "record.update"
	Object  string        // id of the object changed
	Outcome audit.Outcome // OK when empty
	Fields  []string      // names of the fields changed
	Touches []audit.Touch // the persons' data touched
	// Contents are of objects that the touches don't tell of: of nobody, or gone.
	Contents []audit.Content
	Then     []job.Spec

	Quiet        bool     // bookkeeping that is news to nobody: the change feed leaves it out
	Secret       bool     // all of it is about data secret by AML law: told to those with the clearance only
	SecretFields []string // those of Fields that are
}

// feed returns the change feed that tells of c.
func (c *Change) feed() audit.Feed {
	switch {
	case c.Quiet:
		return audit.FeedNone
	case c.Secret:
		return audit.FeedAML
	default:
		return audit.FeedOpen
	}
}

// Store is the database as a Runner needs it.
type Store interface {
	// InTransaction runs fn in one transaction of snapshot isolation and commits
	// it with majority. It may run fn again.
	InTransaction(ctx context.Context, fn func(ctx context.Context) error) error
	InsertAudit(ctx context.Context, rows ...audit.Row) error
	InsertJobs(ctx context.Context, jobs ...*job.Job) error
	// InsertReceipt fails with ErrReceiptExists if there is one for its key.
	InsertReceipt(ctx context.Context, r Receipt) error
	// FindReceipt returns nil without an error when there is none.
	FindReceipt(ctx context.Context, key string) (*Receipt, error)
}

// Receipt remembers the result of a create under its idempotency key. It holds
// keyed hashes and an opaque id.
type Receipt struct {
	Key       string // keyed hash of caller and Idempotency-Key
	Input     []byte // keyed hash of the input
	Object    string // id of what was created
	CreatedAt time.Time
}

// ReceiptLife is how long a Receipt answers replays.
const ReceiptLife = 24 * time.Hour

// ErrReceiptExists reports a receipt under the same key.
var ErrReceiptExists = errs.New(errs.Conflict, "this Idempotency-Key is being used by another call; send it again")

// ErrOtherInput reports an Idempotency-Key used for another input.
var ErrOtherInput = errs.New(errs.Conflict, "this Idempotency-Key was used with another input: choose a new key for a new input")

// Hasher makes keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
}

// Runner runs changes.
type Runner struct {
	store    Store
	recorder *audit.Recorder
	hasher   Hasher
	now      func() time.Time
	wake     func()
}

// NewRunner returns a Runner. After a commit that asks for jobs it calls wake,
// which must not block.
func NewRunner(store Store, recorder *audit.Recorder, hasher Hasher, now func() time.Time, wake func()) *Runner {
	return &Runner{store: store, recorder: recorder, hasher: hasher, now: now, wake: wake}
}

// Do runs fn in a transaction together with the audit entry and the jobs of the
// Change that it returns. fn may run again: it must not send mail, touch S3 or
// Redis, create keys or read a clock, and must set what it hands out anew each
// time.
func (r *Runner) Do(ctx context.Context, fn func(ctx context.Context) (Change, error)) error {
	return r.DoAll(ctx, func(ctx context.Context) ([]Change, error) {
		c, err := fn(ctx)
		return []Change{c}, err
	})
}

// touches returns what is sealed of the touches: those of a secret change are
// secret each.
func (c *Change) touches() []audit.Touch {
	if !c.Secret {
		return c.Touches
	}
	touches := slices.Clone(c.Touches)
	for i := range touches {
		touches[i].Secret = true
	}
	return touches
}

// DoPlain is Do for a change of which no more than action and object is told. It
// names no type of this package, so that package job, which this one imports,
// can ask for it by an interface of its own.
func (r *Runner) DoPlain(ctx context.Context, action, object string, fn func(ctx context.Context) error) error {
	return r.Do(ctx, func(ctx context.Context) (Change, error) { return Change{Action: action, Object: object}, fn(ctx) })
}

// DoQuiet is DoPlain for a change that is news to nobody.
func (r *Runner) DoQuiet(ctx context.Context, action, object string, fn func(ctx context.Context) error) error {
	return r.Do(ctx, func(ctx context.Context) (Change, error) {
		return Change{Action: action, Object: object, Quiet: true}, fn(ctx)
	})
}

// DoFailed is DoPlain, or DoQuiet, for the end of what failed.
func (r *Runner) DoFailed(ctx context.Context, action, object string, quiet bool, fn func(ctx context.Context) error) error {
	return r.Do(ctx, func(ctx context.Context) (Change, error) {
		return Change{Action: action, Object: object, Outcome: audit.Failed, Quiet: quiet}, fn(ctx)
	})
}

// Create is Do for a change that makes a new object. When the caller sent an
// Idempotency-Key (see WithIdempotency) and the same call was carried out
// before, fn doesn't run and the id of what it created then is returned. The
// caller reads the object anew, with the permission of now.
func (r *Runner) Create(ctx context.Context, fn func(ctx context.Context) (Change, error)) (string, error) {
	return r.CreateAll(ctx, func(ctx context.Context) (string, []Change, error) {
		c, err := fn(ctx)
		return c.Object, []Change{c}, err
	})
}

// CreateAll is Create for several changes, or none, each with its own entry. fn
// also returns the id of what a replay is answered with.
func (r *Runner) CreateAll(ctx context.Context, fn func(ctx context.Context) (object string, changes []Change, err error)) (string, error) {
	idem, ok := ctx.Value(idempotencyKey{}).(Idempotency)
	var receipt Receipt
	if ok {
		var err error
		if receipt, err = r.receipt(ctx, idem); err != nil {
			return "", err
		}
		if object, err := r.replay(ctx, receipt); object != "" || err != nil {
			return object, err
		}
	}
	var object string
	err := r.DoAll(ctx, func(ctx context.Context) (changes []Change, err error) {
		if object, changes, err = fn(ctx); err != nil {
			return nil, err
		}
		if ok {
			receipt.Object = object
			if err := r.store.InsertReceipt(ctx, receipt); err != nil {
				return nil, err
			}
		}
		return changes, nil
	})
	if ok && err != nil {
		// The same call may have won the race, and may be what made this one fail.
		if object, rerr := r.replay(ctx, receipt); object != "" || errors.Is(rerr, ErrOtherInput) {
			return object, rerr
		}
	}
	if err != nil {
		return "", err
	}
	return object, nil
}

func (r *Runner) replay(ctx context.Context, want Receipt) (string, error) {
	have, err := r.store.FindReceipt(ctx, want.Key)
	if err != nil || have == nil || want.CreatedAt.Sub(have.CreatedAt) > ReceiptLife {
		return "", err
	}
	if string(have.Input) != string(want.Input) {
		return "", ErrOtherInput
	}
	return have.Object, nil
}

// DoAll is Do for several changes in one transaction, each with its own entry.
func (r *Runner) DoAll(ctx context.Context, fn func(ctx context.Context) ([]Change, error)) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	at, jobs := r.now(), false
	err = r.store.InTransaction(ctx, func(ctx context.Context) error {
		changes, err := fn(ctx)
		if err != nil {
			return err
		}
		rows, queued := make([]audit.Row, len(changes)), []*job.Job(nil)
		for i, c := range changes {
			rows[i], err = r.recorder.Row(ctx, at, audit.Event{
				Action: c.Action, Object: c.Object, Outcome: c.Outcome, Fields: c.Fields, Touches: c.touches(), Contents: c.Contents,
			})
			if err != nil {
				return err
			}
			rows[i].Feed, rows[i].SecretFields = c.feed(), c.SecretFields
			for _, spec := range c.Then {
				jobID := spec.ID
				if spec.Tenant == "" {
					spec.Tenant = of
				}
				if jobID == "" {
					jobID = id.New(id.Job, spec.Tenant)
				}
				queued = append(queued, job.New(spec, jobID, at))
			}
		}
		if err := r.store.InsertAudit(ctx, rows...); err != nil {
			return err
		}
		jobs = len(queued) > 0
		if !jobs {
			return nil
		}
		return r.store.InsertJobs(ctx, queued...)
	})
	if err != nil {
		return fmt.Errorf("commit change: %w", err)
	}
	if jobs {
		r.wake()
	}
	return nil
}

// Idempotency is a caller's key for one create, with the canonical bytes of its
// input.
type Idempotency struct {
	Key   string // header Idempotency-Key, at most 255 bytes
	Input []byte
}

type idempotencyKey struct{}

// WithIdempotency returns ctx in which a create is carried out once per key.
func WithIdempotency(ctx context.Context, i Idempotency) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, i)
}

func (r *Runner) receipt(ctx context.Context, i Idempotency) (Receipt, error) {
	caller := authz.FromContext(ctx).ID
	key, err := r.hasher.Hash(ctx, "idempotency key", []byte(caller), []byte(i.Key))
	if err != nil {
		return Receipt{}, err
	}
	input, err := r.hasher.Hash(ctx, "idempotency input", i.Input)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Key: hex.EncodeToString(key[:16]), Input: input[:], CreatedAt: r.now().UTC()}, nil
}

// ErrVersion reports an expectedVersion that is no longer the object's.
var ErrVersion = errs.New(errs.Conflict, "it was changed in the meantime: read it again and repeat with its present version").At("expectedVersion")
