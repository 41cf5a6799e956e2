package request

import (
	"context"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
)

// Work does what one right asks for: the capability that knows how implements
// it, and a table of the wiring names it for its type. Its methods run as the
// platform, for the tenant in ctx, and can be repeated: after a crash they go on
// where they were.
type Work interface {
	// Search asks every place that may hold data that the item is about; zero hits
	// are an answer, too. What only people can ask stays WAITING. No answer tells
	// of what is kept secret by law.
	Search(ctx context.Context, r *Request, item *Item) ([]Answer, error)
	// Carry does what was approved, and returns what it came to. It fails with
	// ErrPlan when that isn't what would be done now, and with ErrHeld when a legal
	// hold stands in the way; then nothing has been done.
	Carry(ctx context.Context, r *Request, item *Item, run *job.Run) (Done, error)
	// Effect does what takes effect at once, without anybody's decision, of types
	// that are AtOnce.
	Effect(ctx context.Context, r *Request, item *Item) (Done, error)
}

// Done is what carrying out an item came to.
type Done struct {
	Outcome Outcome
	Results []string // ids of what was made: export, certificate, shredding
	// Later says that the rest follows by itself, as of parts that are erased when
	// the time to keep them is over.
	Later bool
	// Left is what is left of what was prepared, when its values aren't needed any
	// more; nil leaves all of it.
	Left *personal.Text
}

// Sentinels of work.
var (
	ErrPlan = errs.New(errs.Precondition, "what would be done isn't what was approved: preview it again").Under("request.plan")
	// ErrNoWork refuses to promise what no Work could then do.
	ErrNoWork = errs.New(errs.Precondition, "the platform can't carry out this right by itself yet: leave the item undecided until it can").Under("request.work")
	ErrHeld   = errs.New(errs.Precondition, "a legal hold keeps the data: release it, or refuse").Under("request.hold")
)
