package agreement

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// maxNotice is how many days ahead an end can lie.
const maxNotice = 3 * 366

// Terminate gives notice: the agreement ends with a day in the tenant's time zone. What
// becomes of the data is the controller's to say, or else as agreed.
func (s *Service) Terminate(ctx context.Context, in TerminateInput) (*Agreement, error) {
	before, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if before.ForceVersion == nil {
		_, err := next(MoveTerminate, before.State, Controller)
		return nil, err
	}
	t, err := s.Tenants.Get(tenant.NewContext(ctx, before.Tenant))
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, errs.New(errs.Internal, "the tenant's time zone is unknown").Because(err)
	}
	now := s.at()
	if today := civil.Of(now.In(zone)); in.EndsOn.Before(today) || in.EndsOn.After(today.AddDays(maxNotice)) {
		return nil, errs.New(errs.Invalid, "an agreement ends today or later, within three years").At("endsOn")
	}
	terms := &before.ForceVersion.Body
	e := &Ending{
		By: Controller, NoticedAt: now, EndsOn: in.EndsOn, EndsAt: in.EndsOn.AddDays(1).Start(zone).UTC(), Choice: Choice(terms.get(fieldChoice)),
		Deadline: in.EndsOn.AddDays(terms.number(fieldDeadline, Validity)),
	}
	switch {
	case operator(ctx) && in.Choice != nil:
		return nil, errs.New(errs.Forbidden, "whether data is returned or deleted is for the controller to choose (Art. 28(3)(g))").At("choice").Under("agreement.side")
	case operator(ctx):
		e.By = Processor
	case in.Choice != nil:
		e.Choice = *in.Choice
	}
	if err := e.Choice.check(); err != nil {
		return nil, err
	}
	return s.move(ctx, MoveTerminate, in.ID, &in.ExpectedVersion, func(ctx context.Context, a *moved) error {
		a.Ending, a.DueAt = e, &e.EndsAt
		standing, err := s.Store.Standing(ctx)
		if err != nil {
			return err
		}
		standing.Until = &e.EndsAt
		standing.Version++
		return s.Store.SetStanding(ctx, standing)
	})
}

func (c Choice) check() error {
	if c != Return && c != Delete {
		return errs.New(errs.Invalid, "data is to RETURN or to DELETE at the end (Art. 28(3)(g))").At("choice")
	}
	return nil
}

// Choose changes what becomes of the data, until the end.
func (s *Service) Choose(ctx context.Context, in ChooseInput) (*Agreement, error) {
	if err := in.Choice.check(); err != nil {
		return nil, err
	}
	return s.move(ctx, MoveChoose, in.ID, &in.ExpectedVersion, func(_ context.Context, a *moved) error {
		a.Ending.Choice = in.Choice
		return nil
	})
}

// tasks are those of a winding-down.
func (e *Ending) tasks() []Task {
	var all []Task
	if e.Choice == Return {
		all = append(all, Task{Kind: TaskReturn, DueOn: e.Deadline})
	}
	return append(all, Task{Kind: TaskDelete, DueOn: e.Deadline}, Task{Kind: TaskSubProcessors, DueOn: e.Deadline})
}

// CompleteTask notes that a task of the winding-down is done, with its receipt. The
// data is returned before it is deleted.
func (s *Service) CompleteTask(ctx context.Context, in TaskInput) (*Agreement, error) {
	receipt := strings.TrimSpace(in.Receipt)
	if !line(receipt) {
		return nil, errs.New(errs.Invalid, "a receipt is the id or number of what shows that it is done, of at most %d characters", maxLine).At("receipt")
	}
	by := authz.FromContext(ctx).ID
	return s.move(ctx, MoveTask, in.ID, &in.ExpectedVersion, func(_ context.Context, a *moved) error {
		for i := range a.Tasks {
			t := &a.Tasks[i]
			switch {
			case t.DoneAt != nil:
			case t.Kind == in.Task:
				t.DoneAt, t.DoneBy, t.Receipt = &a.UpdatedAt, &by, &receipt
				return nil
			case t.Kind == TaskReturn:
				return errs.New(errs.Precondition, "the data is returned before it is deleted").Under("agreement.tasks")
			}
		}
		return ErrNoTask
	})
}

// Close closes what is wound down: the agreement applies no more.
func (s *Service) Close(ctx context.Context, in CloseInput) (*Agreement, error) {
	return s.move(ctx, MoveClose, in.ID, &in.ExpectedVersion, func(_ context.Context, a *moved) error {
		for _, t := range a.Tasks {
			if t.DoneAt == nil {
				return ErrTasks
			}
		}
		a.ClosedAt = &a.UpdatedAt
		return nil
	})
}

// batch is how many agreements a sweep takes at once.
const batch = 100

// platform returns ctx for the tenant's own work of the platform.
func platform(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{Kind: authz.KindSystem, ID: worker, Tenant: of})
}

// Sweep moves on, of all tenants, what time has moved on: offers that nobody signed,
// and agreements that have ended. It needs a system context.
func (s *Service) Sweep(ctx context.Context) error {
	due, err := s.Store.Due(ctx, s.at(), batch)
	if err != nil {
		return err
	}
	var failed []error
	for _, a := range due {
		of := platform(ctx, a.Tenant)
		var err error
		switch a.State {
		case TerminationNotice:
			_, err = s.move(of, MoveEnd, a.ID, &a.Version, s.end)
		case Offered, AmendmentPending:
			_, err = s.move(of, MoveLapse, a.ID, &a.Version, func(_ context.Context, a *moved) error {
				a.DueAt = nil
				return nil
			})
		default:
			_, err = s.move(of, MoveLapse, a.ID, &a.Version, nil) // which the table refuses: a fault of ours
		}
		if err != nil && !errors.Is(err, change.ErrVersion) { // somebody was first
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// end begins the winding-down, within the transaction.
func (s *Service) end(ctx context.Context, a *moved) error {
	a.DueAt, a.InForce, a.Tasks = nil, nil, a.Ending.tasks()
	standing, err := s.Store.Standing(ctx)
	if err != nil || standing.Agreement != a.ID {
		return err
	}
	standing.Agreement, standing.Scope, standing.Until = "", Scope{}, nil
	standing.Version++
	return s.Store.SetStanding(ctx, standing)
}
