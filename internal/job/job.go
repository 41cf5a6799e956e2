// Package job keeps the platform's long work: a row per job, written in the
// transaction that asked for it, which owns its state, attempts and progress.
// The queue (package jobs) only delivers ids: should it lose them, the row is
// found again and delivered anew.
package job

import (
	"errors"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// State is where a job stands.
type State string

// The states. PARKED is for a job that used up its attempts: it waits, visibly,
// for a person to retry it.
const (
	Queued    State = "QUEUED"
	Running   State = "RUNNING"
	Succeeded State = "SUCCEEDED"
	Parked    State = "PARKED"
	Cancelled State = "CANCELLED"
)

// Terminal reports whether nothing more will happen by itself.
func (s State) Terminal() bool { return s == Succeeded || s == Parked || s == Cancelled }

// MaxAttempts is how often a job is tried before it is parked, unless its Spec
// says otherwise.
const MaxAttempts = 10

// Spec asks for a job. It holds ids only.
type Spec struct {
	ID          string    // optional: so that the object can name its job
	Type        string    // "export:build"
	Object      string    // opaque id of what to work on
	Tenant      tenant.ID // whose job it is; that of the change when empty
	MaxAttempts int       // MaxAttempts when 0
	NotBefore   time.Time
	Quiet       bool // its end is news to nobody: the change feed leaves it out
}

// Job is one piece of long work.
type Job struct {
	ID          string
	Tenant      tenant.ID
	Type        string
	Object      string
	State       State
	Attempt     int   // the attempt under way or queued, from 1; it never falls
	LastAttempt int   // when this one fails the job is parked
	MaxAttempts int   // attempts until it is parked; a person's retry gives as many again
	Delivery    int   // number of the hand-over to the queue, from 1: it grows each time the job is queued anew
	Fence       int64 // grows with each claim; later writes of an older claim are refused
	Progress    Progress
	Steps       []Step
	Error       *Failure  // of the last attempt that failed
	RunAfter    time.Time // not before
	EnqueuedAt  time.Time // when the queue was last known to hold this delivery; zero before
	LeaseUntil  time.Time // the claim's end unless renewed
	CreatedAt   time.Time
	StartedAt   time.Time // of the first attempt
	EndedAt     time.Time
	Quiet       bool
}

// Progress tells how far a job is. Total is 0 while unknown.
type Progress struct {
	Done  int64
	Total int64
	Unit  string // "records", "bytes"
}

// Step is a finished part of a job, which another attempt may skip.
type Step struct {
	Name    string
	EndedAt time.Time
}

// Failure is the error of an attempt, fit for the tenant's eyes.
type Failure struct {
	Code    errs.Kind
	Message string
}

// ErrNotFound reports that the tenant has no such job.
var ErrNotFound = errs.New(errs.NotFound, "no such job")

// ErrNotParked reports a retry of a job that isn't waiting for one.
var ErrNotParked = errs.New(errs.Precondition, "only a parked job can be retried")

// ErrFenced reports work under a claim or lease that was lost: it was given to
// another worker, or ended. Nothing was written.
var ErrFenced = errs.New(errs.Conflict, "the work is no longer this worker's")

// New returns the row of a job asked for at now.
func New(s Spec, id string, now time.Time) *Job {
	j := &Job{
		ID: id, Tenant: s.Tenant, Type: s.Type, Object: s.Object, State: Queued,
		Attempt: 1, MaxAttempts: s.MaxAttempts, Delivery: 1, RunAfter: s.NotBefore, CreatedAt: now, Quiet: s.Quiet,
	}
	if j.MaxAttempts == 0 {
		j.MaxAttempts = MaxAttempts
	}
	j.LastAttempt = j.MaxAttempts
	if j.RunAfter.IsZero() {
		j.RunAfter = now
	}
	return j
}

// succeed ends a running job.
func (j *Job) succeed(at time.Time) {
	j.State, j.Error, j.EndedAt = Succeeded, nil, at
}

// fail ends an attempt of a running job: it is queued again after a pause, or
// parked when no attempt is left or another could only end the same way.
func (j *Job) fail(err error, at time.Time, first time.Duration) {
	j.Error = failure(err)
	if permanent(err) || j.Attempt >= j.LastAttempt {
		j.State, j.EndedAt = Parked, at
		return
	}
	failed := j.MaxAttempts - (j.LastAttempt - j.Attempt)
	j.Attempt++
	j.queue(at.Add(pause(first, failed)))
}

// retry gives a parked job its attempts again.
func (j *Job) retry(at time.Time) error {
	if j.State != Parked {
		return ErrNotParked
	}
	j.Attempt++
	j.LastAttempt = j.Attempt + j.MaxAttempts - 1
	j.EndedAt = time.Time{}
	j.queue(at)
	return nil
}

// queue makes the job's next delivery due.
func (j *Job) queue(at time.Time) {
	j.State, j.RunAfter, j.EnqueuedAt = Queued, at, time.Time{}
	j.Delivery++
}

// maxPause bounds the pause after a failed attempt.
const maxPause = 10 * time.Minute

// pause returns how long a job waits after its n-th attempt in a row failed:
// first, doubled each time, at most ten minutes.
func pause(first time.Duration, n int) time.Duration {
	p := first
	for range n - 1 {
		if p *= 2; p >= maxPause {
			return maxPause
		}
	}
	return p
}

// permanentError marks an error that another attempt can't mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that another attempt can't mend: the job is parked
// at once.
func Permanent(err error) error { return permanentError{err} }

func permanent(err error) bool {
	if _, ok := errors.AsType[permanentError](err); ok {
		return true
	}
	switch errs.KindOf(err) {
	case errs.Invalid, errs.NotFound, errs.Precondition, errs.Erased:
		return true
	default:
		return false
	}
}

// postponedError asks for another time.
type postponedError struct{ pause time.Duration }

func (e postponedError) Error() string { return "postponed by " + e.pause.String() }

// Postpone returns the error by which a handler has its job queued again after a
// pause of its own choice. It is no failure and no attempt is counted: the
// handler must see to it that this ends.
func Postpone(pause time.Duration) error { return postponedError{pause} }

// failure tells the tenant of an error: the message that was written for
// callers, or no more than that the fault is ours.
func failure(err error) *Failure {
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind != errs.Internal {
		return &Failure{Code: e.Kind, Message: e.Message}
	}
	return &Failure{Code: errs.Internal, Message: "internal error"}
}
