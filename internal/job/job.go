// Package job keeps the platform's long work: a row per job, written in the
// transaction that asked for it, which owns its state, attempts and progress.
// The queue (package jobs) only delivers ids: should it lose them, the row is
// found again and delivered anew.
package job

import (
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
	ID          string // optional: so that the object can name its job
	Type        string // "export:build"
	Object      string // opaque id of what to work on
	MaxAttempts int    // MaxAttempts when 0
	NotBefore   time.Time
}

// Job is one piece of long work.
type Job struct {
	ID          string
	Tenant      tenant.ID
	Type        string
	Object      string
	State       State
	Attempt     int // the attempt under way or queued, from 1
	MaxAttempts int
	Fence       int64 // grows with each claim; later writes of an older claim are refused
	Progress    Progress
	Steps       []Step
	Error       *Failure
	RunAfter    time.Time // not before
	EnqueuedAt  time.Time // when the relay gave this attempt to the queue; zero if not yet
	LeaseUntil  time.Time // the claim's end unless renewed
	CreatedAt   time.Time
	StartedAt   time.Time // of the first attempt
	EndedAt     time.Time
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

// Failure is the error of a job's last attempt, fit for the tenant's eyes.
type Failure struct {
	Code    errs.Kind
	Message string
}

// New returns the row of a job asked for at now.
func New(s Spec, of tenant.ID, id string, now time.Time) *Job {
	j := &Job{
		ID: id, Tenant: of, Type: s.Type, Object: s.Object, State: Queued,
		Attempt: 1, MaxAttempts: s.MaxAttempts, RunAfter: s.NotBefore, CreatedAt: now,
	}
	if j.MaxAttempts == 0 {
		j.MaxAttempts = MaxAttempts
	}
	if j.RunAfter.IsZero() {
		j.RunAfter = now
	}
	return j
}
