package request

import (
	"context"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
)

// Recipients tells those whom the data was disclosed to what was done with it,
// GDPR Art. 19.
type Recipients interface {
	// Prepare notes whom an item concerns before it is carried out: afterwards nothing
	// may be left that says so. It can be repeated.
	Prepare(ctx context.Context, r *Request, item *Item) error
	// Tell has those told whom an item concerned that came to something. It works in
	// the transaction that notes what it came to, and returns the jobs that follow.
	Tell(ctx context.Context, r *Request, item *Item) ([]job.Spec, error)
	// Told reports whether nobody is left to be told. It works within a transaction.
	Told(ctx context.Context, requestID string) (bool, error)
}

// Stage is when people do a task, by what the platform does.
type Stage string

// The stages.
const (
	Before Stage = "PRE"      // nothing is approved before it is done
	Beside Stage = "PARALLEL" // it holds up nothing
	After  Stage = "POST"     // nothing is answered before it is done
)

// Tasks are what people do in systems outside the platform. All of it works in a
// change's transaction.
type Tasks interface {
	// Begin makes the tasks of items that are to be carried out.
	Begin(ctx context.Context, r *Request, items []Item) error
	// Waiting returns how many tasks of a stage aren't done.
	Waiting(ctx context.Context, requestID string, stage Stage) (int, error)
	// Cancel ends all tasks of a request that goes no further.
	Cancel(ctx context.Context, requestID string) error
}

// Sentinels of what others have to do first.
var (
	ErrTasks  = errs.New(errs.Precondition, "tasks have to be done first, in systems outside: complete them").Under("request.tasks")
	ErrUntold = errs.New(errs.Precondition, "recipients have still to be told: send what waits, or say why that is impossible (Art. 19)").Under("art19")
)

// tasked fails with ErrTasks while a task of a stage isn't done.
func (s *Service) tasked(ctx context.Context, requestID string, stage Stage) error {
	if s.Tasks == nil {
		return nil
	}
	n, err := s.Tasks.Waiting(ctx, requestID, stage)
	if err == nil && n > 0 {
		return ErrTasks
	}
	return err
}

// plan has the tasks of a step made, or ended.
func (s *Service) plan(ctx context.Context, r *Request, e *Event) error {
	if s.Tasks == nil {
		return nil
	}
	switch e.Rule {
	case Begin, Identify, Reopen:
		var items []Item
		for _, item := range r.Items {
			if item.Outcome == "" {
				items = append(items, item)
			}
		}
		return s.Tasks.Begin(ctx, r, items)
	case Withdraw, Forward, GiveUpIdentity:
		return s.Tasks.Cancel(ctx, r.ID)
	default:
		return nil
	}
}

// concerns reports whether recipients are to be told of what was done about an item.
func (t Type) concerns() bool { return t == Rectification || t == Erasure || t == Restriction }

// Note adds an event to a request within a change's transaction: of what others do
// for it, for those who work on it. It returns the request as it stands, which no
// other step changes before that transaction has ended.
func (s *Service) Note(ctx context.Context, requestID string, rule Rule, evidence ...string) (*Request, error) {
	if err := s.Store.Touch(ctx, requestID); err != nil {
		return nil, err
	}
	r, err := s.Store.Get(ctx, requestID)
	if err != nil {
		return nil, err
	}
	as := ByHandler
	if authz.FromContext(ctx).Kind == authz.KindSystem {
		as = BySystem
	}
	e := r.note(rule, s.act(ctx, as, nil, evidence...))
	e.Private = true
	return r, s.Store.InsertEvents(ctx, e)
}

// Find returns a request for another capability, which records what is read of it:
// to a person, their own.
func (s *Service) Find(ctx context.Context, requestID string) (*Request, error) {
	return s.find(ctx, requestID)
}

// Done reports whether every item came to something.
func (r *Request) Done() bool {
	for i := range r.Items {
		if r.Items[i].Outcome == "" {
			return false
		}
	}
	return true
}
