// Package epoch opens the periods of 14 days that share a master key, and closes
// them: every key that an old master protects is moved to the next epoch, it is
// proven that nothing needs the master any more, and it is destroyed. What was
// erased in the epoch is irrecoverable from then on, in every backup.
//
// A close is asked for by one operator and approved by another. The worker's
// sweep then carries it out step by step (see Step): each step can be repeated
// and is recorded when done, so that the work goes on after a crash wherever it was.
package epoch

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/vault"
)

// State is where a close stands.
type State string

// The states of a close.
const (
	Requested State = "REQUESTED" // waits for another operator
	Running   State = "RUNNING"   // the worker carries it out
	Halted    State = "HALTED"    // given up; the master is usable again
	Finishing State = "FINISHING" // the master is being destroyed: no way back
	Done      State = "DONE"
)

// Step is a part of closing an epoch.
type Step string

// The steps, in their order.
const (
	OpenNext Step = "OPEN_NEXT" // the next epoch's master is made
	Flip     Step = "FLIP"      // the epoch takes no more keys
	Drain    Step = "DRAIN"     // transactions that began before have ended
	Reindex  Step = "REINDEX"   // lookups are made anew, the old index keys destroyed
	Rewrap   Step = "REWRAP"    // every kind of wrapped thing is moved
	Prove    Step = "PROVE"     // none is left, and everything opens without the old master
	Restore  Step = "RESTORE"   // so it does from a restored copy of the key store
	Disable  Step = "DISABLE"   // the master is disabled
	Wait     Step = "WAIT"      // in which somebody would notice, and halt
	Destroy  Step = "DESTROY"   // the master is destroyed
	Forget   Step = "FORGET"    // its tenant keys are deleted
)

// Steps returns all steps in their order.
func Steps() []Step {
	return []Step{OpenNext, Flip, Drain, Reindex, Rewrap, Prove, Restore, Disable, Wait, Destroy, Forget}
}

// Close is one closing of an epoch.
type Close struct {
	ID          string
	Epoch       vault.Epoch
	State       State
	RequestedBy string
	RequestedAt time.Time
	ApprovedBy  *string
	ApprovedAt  *time.Time
	Steps       []StepDone
	Trouble     *string // why it doesn't go on, if it doesn't
	Version     int64
}

// StepDone is a step that is done.
type StepDone struct {
	Step Step
	At   time.Time
}

// Number returns the epoch's number.
func (c *Close) Number() int { return int(c.Epoch) }

// Next returns the step to be done, "" when all are.
func (c *Close) Next() Step {
	all := Steps()
	if len(c.Steps) == len(all) {
		return ""
	}
	return all[len(c.Steps)]
}

// doneAt returns when a step was done; zero when it wasn't.
func (c *Close) doneAt(s Step) time.Time {
	i := slices.IndexFunc(c.Steps, func(d StepDone) bool { return d.Step == s })
	if i < 0 {
		return time.Time{}
	}
	return c.Steps[i].At
}

// ended reports whether nothing more will happen.
func (c *Close) ended() bool { return c.State == Done || c.State == Halted }

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such closing of an epoch")
	// ErrRunning refuses a second close of an epoch.
	ErrRunning = errs.New(errs.Conflict, "the epoch is being closed already")
	// ErrEpoch refuses to close what isn't there, or was closed before.
	ErrEpoch = errs.New(errs.Precondition, "there is no such epoch, or it is closed and its master destroyed").At("epoch")
	// ErrOrder refuses to close an epoch before an older one.
	ErrOrder = errs.New(errs.Precondition, "an older epoch must be closed first").At("epoch")
	// ErrSamePerson demands two persons.
	ErrSamePerson = errs.New(errs.Forbidden, "another operator than the one who asked must approve").Under("epoch.two-persons")
	// ErrPerson refuses machines.
	ErrPerson = errs.New(errs.Forbidden, "closing an epoch takes persons").Under("epoch.two-persons")
	// ErrNotRequested refuses to approve what doesn't wait for it.
	ErrNotRequested = errs.New(errs.Precondition, "it doesn't wait for approval")
	// ErrNoLookups refuses to rebuild lookups where there are none.
	ErrNoLookups = errs.New(errs.NotFound, "no such tenant, or one without lookups").At("tenant")
	// ErrTooLate refuses to halt what is done.
	ErrTooLate = errs.New(errs.Precondition, "the master key is destroyed or about to be, or the closing has ended")
)

// Store keeps the closes and quarantines of the tenant in ctx, the provider.
type Store interface {
	// InsertClose fails with ErrRunning when the epoch has a close that hasn't ended.
	InsertClose(ctx context.Context, c *Close) error
	// UpdateClose stores c at the version after, or fails with change.ErrVersion.
	UpdateClose(ctx context.Context, c *Close) error
	// FindClose fails with ErrNotFound.
	FindClose(ctx context.Context, id string) (*Close, error)
	// Closes returns the latest closes, newest first.
	Closes(ctx context.Context, limit int) ([]*Close, error)

	InsertQuarantine(ctx context.Context, q *Quarantine) error
	// UpdateQuarantine stores q at the version after, or fails with change.ErrVersion.
	UpdateQuarantine(ctx context.Context, q *Quarantine) error
	// FindQuarantine fails with ErrNoQuarantine.
	FindQuarantine(ctx context.Context, id string) (*Quarantine, error)
	// Quarantines returns the latest quarantines, newest first.
	Quarantines(ctx context.Context, limit int) ([]*Quarantine, error)
}
