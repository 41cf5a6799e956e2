package request

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

const lookBatch = 100

// policy is the house's, DOMAIN §2.3, §2.5 and §2.9.
func policy() deadline.Policy { return deadline.DefaultPolicy() }

// facts is what the deadline of a request follows from.
func (r *Request) facts(c *calendar.Calendar) (deadline.Facts, error) {
	zone, err := time.LoadLocation(r.Deadline.Zone)
	if err != nil {
		return deadline.Facts{}, fmt.Errorf("load time zone: %w", err)
	}
	f := deadline.Facts{ReceivedAt: r.ReceivedAt, Zone: zone, Calendar: c, Extended: r.Extension != nil}
	for _, p := range r.Pauses {
		f.Pauses = append(f.Pauses, deadline.Pause{From: p.From, To: p.Until, Idle: !p.Counts})
	}
	return f, nil
}

// calendar returns the calendar that the request keeps: of when it was opened.
func (s *Service) calendar(ctx context.Context, r *Request) (*calendar.Calendar, error) {
	if r.Deadline.Calendar != "" {
		return s.Calendars.Version(ctx, r.Deadline.Calendar)
	}
	zone, c, err := s.Calendars.Current(ctx)
	if err != nil {
		return nil, err
	}
	r.Deadline.Zone, r.Deadline.Calendar, r.Deadline.Rules = zone, c.Version(), deadline.RuleVersion
	return c, nil
}

// compute brings the deadline up to date with the request's times.
func (s *Service) compute(ctx context.Context, r *Request) error {
	cal, err := s.calendar(ctx, r)
	if err != nil {
		return err
	}
	f, err := r.facts(cal)
	if err != nil {
		return err
	}
	c, err := deadline.Compute(f)
	if err != nil {
		return fmt.Errorf("compute the deadline of request %s: %w", r.ID, err)
	}
	d := &r.Deadline
	d.Due, d.DueBefore, d.Base, d.BaseBefore, d.Target, d.Trace = c.DueDate, c.DueBefore, c.BaseDue, c.BaseBefore, c.Target, c.Trace
	d.Notice, d.NoticeBefore, d.AmberFrom, d.RedFrom = c.ExtensionNoticeDueDate, c.ExtensionNoticeBefore, nil, nil
	if amber, red, ok := c.Escalations(policy()); ok {
		d.AmberFrom, d.RedFrom = &amber, &red
	}
	d.Service = nil
	if slices.ContainsFunc(r.Items, func(i Item) bool { return i.Type.AtOnce() }) {
		service := deadline.ServiceTarget(f, policy())
		d.Service = &service
	}
	return nil
}

// inTime reports whether a question comes without undue delay after something.
func (s *Service) inTime(ctx context.Context, r *Request, since, asked time.Time) (bool, error) {
	cal, err := s.calendar(ctx, r)
	if err != nil {
		return false, err
	}
	f, err := r.facts(cal)
	f.ReceivedAt = since
	return err == nil && !deadline.AskedLate(f, asked, policy()), err
}

// UrgencyAt returns how the due date calls at a time. None closes or blocks anything.
func (r *Request) UrgencyAt(now time.Time) deadline.Urgency {
	d := &r.Deadline
	switch {
	case !r.State.Open():
		return deadline.Green
	case d.DueBefore == nil:
		return deadline.Paused
	case !now.Before(*d.DueBefore):
		return deadline.Overdue
	case !now.Before(*d.RedFrom):
		return deadline.Red
	case !now.Before(*d.AmberFrom):
		return deadline.Amber
	default:
		return deadline.Green
	}
}

// nextLook returns when the platform has to look at the request next; the zero
// time when it needn't.
func (r *Request) nextLook(now time.Time) (next time.Time) {
	soonest := func(at *time.Time) {
		if at != nil && at.After(now) && (next.IsZero() || at.Before(next)) {
			next = *at
		}
	}
	if !r.State.Open() {
		return next
	}
	for _, at := range []*time.Time{r.Deadline.AmberFrom, r.Deadline.RedFrom, r.Deadline.DueBefore} {
		soonest(at)
	}
	if p := r.pause(); p != nil && p.Reason == ForClarification {
		until := p.From.Add(clarifyWait)
		if soonest(&until); !until.After(now) {
			return now
		}
	}
	if r.calls(now) {
		return now
	}
	return next
}

// calls reports whether the due date calls louder than it was told.
func (r *Request) calls(now time.Time) bool {
	u := r.UrgencyAt(now)
	return u != r.Escalated && slices.Contains([]deadline.Urgency{deadline.Amber, deadline.Red, deadline.Overdue}, u)
}

// Sweep escalates what falls due, and goes on with requests that wait for an
// answer in vain. ctx spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		waiting, err := s.Store.Waiting(ctx, s.now(), lookBatch)
		if err != nil {
			return fmt.Errorf("find requests to look at: %w", err)
		}
		for _, ref := range waiting {
			if err := s.look(tenant.NewContext(ctx, ref.Tenant), ref.ID); err != nil {
				return fmt.Errorf("look at request %s: %w", ref.ID, err)
			}
		}
		if len(waiting) < lookBatch {
			return nil
		}
	}
}

// look does what is due on a request.
func (s *Service) look(ctx context.Context, requestID string) error {
	_, err := s.step(ctx, requestID, "request.escalate", nil, func(r *Request) (events []Event, err error) {
		a := s.act(ctx, BySystem, nil)
		if p := r.pause(); p != nil && p.Reason == ForClarification && !a.At.Before(p.From.Add(clarifyWait)) {
			silent := s.act(ctx, BySystem, new("no answer: everything is given"))
			e, err := r.Clarify(silent)
			if err != nil {
				return nil, err
			}
			events = append(events, e)
		}
		if r.calls(a.At) {
			r.Escalated = r.UrgencyAt(a.At)
			e := r.note(NoteEscalated, s.act(ctx, BySystem, new(string(r.Escalated))))
			e.Private = true
			events = append(events, e)
		}
		return events, nil
	})
	return err
}

// Search is the work of JobSearch: it does what takes effect at once, and asks
// every place that may hold data.
func (s *Service) Search(ctx context.Context, run *job.Run) error {
	r, err := s.find(ctx, run.Object())
	if err != nil {
		return err
	}
	if !r.State.Open() {
		return nil
	}
	for i := range r.Items {
		item := &r.Items[i]
		work, ok := s.Works[item.Type]
		if !ok {
			continue // people do it: see ErrNoWork
		}
		if item.Type.AtOnce() && item.Outcome == "" {
			if err := s.effect(ctx, r, item, work); err != nil {
				return err
			}
		}
		answers, err := work.Search(ctx, r, item)
		if err != nil {
			return fmt.Errorf("search for %s: %w", item.Type, err)
		}
		if err := s.found(ctx, r.ID, item.ID, answers); err != nil {
			return err
		}
	}
	return nil
}

// effect does what takes effect at once.
func (s *Service) effect(ctx context.Context, r *Request, item *Item, work Work) error {
	done, err := work.Effect(ctx, r, item)
	if err != nil {
		return fmt.Errorf("give effect to %s: %w", item.Type, err)
	}
	_, err = s.one(ctx, r.ID, "request.effect", nil, func(r *Request) (Event, error) {
		now := r.Item(item.ID)
		a := s.act(ctx, BySystem, nil, append(slices.Clone(done.Results), item.ID)...)
		now.Outcome, now.Results, now.DoneAt, r.UpdatedAt = done.Outcome, done.Results, &a.At, a.At
		return r.note(NoteEffective, a), nil
	})
	return err
}

// found notes the answers of a search. What people have answered meanwhile stays.
func (s *Service) found(ctx context.Context, requestID, itemID string, answers []Answer) error {
	if len(answers) == 0 {
		return nil
	}
	_, err := s.one(ctx, requestID, "request.search", nil, func(r *Request) (Event, error) {
		a := s.act(ctx, BySystem, nil, itemID)
		for _, answer := range answers {
			answer.At = a.At
			i := slices.IndexFunc(r.Answers, func(x Answer) bool { return x.System == answer.System })
			switch {
			case i < 0:
				r.Answers = append(r.Answers, answer)
			case answer.Result != Waiting:
				r.Answers[i] = answer
			}
		}
		r.UpdatedAt = a.At
		return r.note(NoteAnswered, a), nil
	})
	return err
}

// Carry is the work of JobCarry: it does what was approved, item by item, and
// notes what each came to. What fails for a reason returns the request to review.
func (s *Service) Carry(ctx context.Context, run *job.Run) error {
	r, err := s.find(ctx, run.Object())
	if err != nil {
		return err
	}
	if r.State == Approved {
		r, err = s.one(ctx, r.ID, "request.execute", nil, func(r *Request) (Event, error) {
			return r.Execute(s.act(ctx, BySystem, nil), false)
		})
		if err != nil {
			return err
		}
	}
	if r.State != Executing {
		return nil // withdrawn, or answered by an attempt before
	}
	for i := range r.Items {
		item := &r.Items[i]
		if item.Outcome != "" {
			continue
		}
		done, err := s.carry(ctx, r, item, run)
		if errors.Is(err, ErrPlan) || errors.Is(err, ErrHeld) {
			_, err := s.one(ctx, r.ID, "request.stop", nil, func(r *Request) (Event, error) {
				return r.StopExecution(s.act(ctx, BySystem, new(err.Error()), item.ID))
			})
			return err
		}
		if err != nil {
			return fmt.Errorf("carry out item %s: %w", item.ID, err)
		}
		if err := s.carried(ctx, r.ID, item.ID, done); err != nil {
			return err
		}
	}
	return s.answer(ctx, r.ID)
}

// carry does what was approved of an item; what was refused needs nothing done.
func (s *Service) carry(ctx context.Context, r *Request, item *Item, run *job.Run) (Done, error) {
	if item.Proposal.idle() {
		return Done{Outcome: item.Proposal.Outcome}, nil
	}
	work, ok := s.Works[item.Type]
	if !ok {
		return Done{}, job.Permanent(ErrNoWork)
	}
	if s.Recipients != nil && item.Type.concerns() {
		if err := s.Recipients.Prepare(ctx, r, item); err != nil {
			return Done{}, fmt.Errorf("find the recipients: %w", err)
		}
	}
	return work.Carry(ctx, r, item, run)
}

// carried notes what an item came to, and has the recipients told in the same change.
func (s *Service) carried(ctx context.Context, requestID, itemID string, done Done) error {
	_, err := s.stepIn(ctx, requestID, "request.carry", nil, func(ctx context.Context, r *Request) (events []Event, then []job.Spec, err error) {
		item := r.Item(itemID)
		if item.Outcome != "" {
			return nil, nil, nil // by another run of the job
		}
		a := s.act(ctx, BySystem, nil, append(slices.Clone(done.Results), itemID)...)
		item.Outcome, item.Results, item.DoneAt, r.UpdatedAt = done.Outcome, done.Results, &a.At, a.At
		if done.Left != nil && item.Prepared != nil {
			item.Prepared.Body = *done.Left
		}
		if s.Recipients != nil && item.Type.concerns() && !item.Proposal.idle() {
			then, err = s.Recipients.Tell(ctx, r, item)
		}
		return []Event{r.note(NoteEffective, a)}, then, err
	})
	return err
}

// answer makes the answer available, T16: the post writes it, and the clock
// stops. One that can't be written as it must be returns the request to review.
func (s *Service) answer(ctx context.Context, requestID string) error {
	r, err := s.find(ctx, requestID)
	if err != nil || r.State != Executing { // answered by another run of the job
		return err
	}
	if err := s.tasked(ctx, requestID, After); err != nil {
		if errors.Is(err, ErrTasks) {
			return nil // completing the last one has the job run again
		}
		return err
	}
	reply, err := s.Post.Answer(ctx, r)
	if errs.KindOf(err) == errs.Precondition {
		why := new("the answer can't be written: " + err.Error())
		_, err := s.one(ctx, requestID, "request.stop", nil, func(r *Request) (Event, error) {
			return r.StopExecution(s.act(ctx, BySystem, why))
		})
		return err
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	_, err = s.one(ctx, requestID, "request.respond", nil, func(r *Request) (Event, error) {
		reply.At = s.now()
		return r.Respond(s.act(ctx, BySystem, nil), reply)
	})
	return err
}
