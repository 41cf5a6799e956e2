// Package imports turns the lines of a file into subjects and records, or into what
// happened to consents.
//
// A file is NDJSON or CSV of any size. Its lines are read, checked, sealed and
// committed batch by batch while the rest still arrives: nothing plain is ever
// staged, and memory does not grow with the file. Each line takes effect as a
// whole or not at all; a bad one is rejected with its number and reason and
// stops nothing else. The row of the import moves on in the transaction of each
// batch, so that an import that broke off goes on after the last line it
// committed, and no line is ever lost or takes effect twice.
package imports

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/vogter/vogter/internal/errs"
)

// MaxRejections is how many rejected lines a run bears, and how many an answer
// lists. A file with more of them was meant for another mapping.
const MaxRejections = 10_000

// maxLine is the longest line, in bytes.
const maxLine = 16 << 20

// maxMarks is how many commas and opening brackets a line has at most, those of
// its texts included: a value takes some forty times the memory of its mark.
const maxMarks = 500_000

// Sentinels.
var (
	ErrNotFound        = errs.New(errs.NotFound, "no such import")
	ErrMappingNotFound = errs.New(errs.NotFound, "there is no import mapping of this name").At("mapping")
	// ErrRunning reports another call with the same Idempotency-Key.
	ErrRunning = errs.New(errs.Conflict, "this import is being run by another call: wait until it ends")
	// ErrOtherInput reports an Idempotency-Key used with other parameters.
	ErrOtherInput = errs.New(errs.Conflict, "this Idempotency-Key was used for an import with other parameters or another version of the mapping: choose a new key")
	// ErrOtherBytes reports a file that is not the one which the import began with.
	ErrOtherBytes = errs.New(errs.Conflict, "this Idempotency-Key was used for another file: send the same bytes from the beginning, or choose a new key")
	// ErrTruncated reports a body that broke off.
	ErrTruncated = errs.New(errs.Invalid, "the body broke off: send the whole file again under the same Idempotency-Key to go on")
	// ErrTooMany reports more than MaxRejections rejected lines.
	ErrTooMany = errs.New(errs.Limited, "more than %d lines are rejected: mend the mapping or the file; the same file under the same Idempotency-Key goes on after the last line read", MaxRejections)
	// errTooManyValues rejects a line whose values would fill the memory.
	errTooManyValues = errs.New(errs.Limited, "the line has more than %d commas and opening brackets", maxMarks)
	// errLineTooLong rejects a line that is not even held.
	errLineTooLong = errs.New(errs.Limited, "the line is longer than %d bytes", maxLine)
)

// State is where an import stands.
type State string

// The states of an import. One that is RUNNING without a live lease was cut off
// by a crash and can be resumed like one that is STOPPED.
const (
	Running State = "RUNNING"
	Stopped State = "STOPPED"
	Done    State = "DONE"
)

// Kind is what the lines of a file are that makes no records.
type Kind string

// KindConsents is of events of consents.
const KindConsents Kind = "consents"

// Mode tells whether lines take effect.
type Mode string

// The modes.
const (
	Write Mode = "write"
	Check Mode = "check" // reports what would happen and writes nothing
)

// Counts is what became of the lines of a file, blank ones and a CSV's header
// not counted: each line is created, updated, unchanged or rejected, by what
// became of its subject and records.
type Counts struct {
	Created   int64 // the subject is new
	Updated   int64 // something of the subject or its records was added or changed
	Unchanged int64 // everything was there already
	Rejected  int64
	Records   int64 // records written: new and changed ones
}

// Lines returns the number of lines that were read.
func (c Counts) Lines() int64 { return c.Created + c.Updated + c.Unchanged + c.Rejected }

func (c Counts) plus(d Counts) Counts {
	return Counts{
		c.Created + d.Created, c.Updated + d.Updated, c.Unchanged + d.Unchanged, c.Rejected + d.Rejected, c.Records + d.Records,
	}
}

// Import is the progress of one import. It holds keyed hashes and opaque ids
// only.
type Import struct {
	ID         string // made from the caller and its Idempotency-Key
	Params     string // what the import does: mapping and version or dataset, format
	State      State
	Line       int64             // the last line of the file that is done with, from 1
	Chain      [sha256.Size]byte // keyed hash over all lines to Line
	Counts     Counts
	Fence      int64     // counts the runs; only the last may write
	LeaseUntil time.Time // until when no other run may begin
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Rejection is why a line had no effect. It names the place in the mapping and
// never a value.
type Rejection struct {
	Line    int64     `json:"line"`
	Field   string    `json:"field,omitempty"`
	Code    errs.Kind `json:"code"`
	Message string    `json:"message"`
}

// Summary tells what an import did.
type Summary struct {
	Import     *Import // nil of a check
	Mode       Mode
	Counts     Counts
	Rejections []Rejection // the first MaxRejections
}

// Store keeps mappings, imports and their rejections. The writing methods work
// in the change's transaction.
type Store interface {
	// Mappings returns all mappings by name.
	Mappings(ctx context.Context) ([]*Mapping, error)
	// Mapping returns ErrMappingNotFound when there is none with the id.
	Mapping(ctx context.Context, id string) (*Mapping, error)
	// SaveMapping inserts a mapping of version 1 and replaces one of the version
	// before, or fails with change.ErrVersion.
	SaveMapping(ctx context.Context, m *Mapping) error

	// Get returns ErrNotFound when there is none with the id.
	Get(ctx context.Context, id string) (*Import, error)
	// Insert fails with ErrRunning when there is one with the id.
	Insert(ctx context.Context, i *Import) error
	// Update replaces the import that has the fence, or fails with ErrRunning.
	Update(ctx context.Context, i *Import, fence int64) error
	InsertRejections(ctx context.Context, importID string, rejections []Rejection) error
	// Rejections returns up to limit rejections of lines after one, by line.
	Rejections(ctx context.Context, importID string, after int64, limit int) ([]Rejection, error)
	DeleteRejections(ctx context.Context, importID string) error
}
