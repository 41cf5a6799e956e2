package request

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
)

// JobFollow is the type of the job that brings what holds while a request is open up
// to date with where it stands; its object is the request.
const JobFollow = "request.follow"

// Prepared is what a decision on an item rests on, beside its proposal: what will be
// corrected, how an objection was weighed, what a person who looked at an automated
// decision found.
type Prepared struct {
	By     string // another approves
	At     time.Time
	Salt   string
	Hash   string        // stands for it in a proposal; of Salt and Body
	Allows []Outcome     // those that it speaks for
	Body   personal.Text `json:"-"` // in a form of the capability that carries the right out
}

// PrepareInput names an item that something is prepared for.
type PrepareInput struct {
	ID              string
	ExpectedVersion int64
	Item            string
}

// Prepare keeps what a decision on an item of a type is to rest on, in place of what
// was prepared before: while items are decided, so that what was approved stays.
func (s *Service) Prepare(ctx context.Context, in PrepareInput, t Type, body personal.Text, allows ...Outcome) (*Request, error) {
	salt := rand.Text()
	sum := sha256.Sum256([]byte("vogter/prepared/1\n" + salt + "\n" + body.Reveal()))
	return s.one(ctx, in.ID, "request.prepare", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByHandler, nil, in.Item)
		return r.Prepare(a, in.Item, t, Prepared{a.By, a.At, salt, hex.EncodeToString(sum[:]), allows, body})
	})
}

// Prepare keeps what a decision on an item is to rest on.
func (r *Request) Prepare(a Act, itemID string, t Type, p Prepared) (Event, error) {
	item := r.Item(itemID)
	switch {
	case item == nil || item.Type != t:
		return Event{}, errs.New(errs.NotFound, "no such item of %s", t).At("item")
	case r.State != InProgress || item.Outcome != "":
		return Event{}, refuse(NotePrepared, "decisions are prepared while the request is %s; it is %s", InProgress, r.State)
	}
	item.Prepared = &p
	r.UpdatedAt = a.At
	e := r.note(NotePrepared, a)
	e.Private = true
	return e, nil
}

// rests reports why a proposal for an item can't stand: what it has to rest on isn't
// there, or isn't what was seen.
func (p *Proposal) rests(on *Item) error {
	needed, what := false, ""
	switch on.Type {
	case Rectification:
		needed, what = !p.idle(), "prepare what will be corrected first"
	case AutomatedDecision:
		needed, what = !p.idle(), "a person has to look at the decision first (Art. 22(3))"
	case Objection:
		// Without a condition of the right there is nothing to weigh.
		formal := []Refusal{RefusedNotIdentified, RefusedUnfounded, RefusedExcessive, RefusedNotController, RefusedRightNotApplicable}
		weighed := p.Outcome == Refused && !slices.Contains(formal, p.Refusal)
		needed, what = weighed || p.Outcome == Fulfilled && on.Prepared != nil, "weigh the grounds first: only compelling ones outweigh the person's (Art. 21(1))"
	default:
	}
	switch {
	case !needed:
		return nil
	case on.Prepared == nil:
		return refuse(NoteProposed, "%s", what)
	case !slices.Contains(on.Prepared.Allows, p.Outcome):
		return refuse(NoteProposed, "what was prepared doesn't come to %s", p.Outcome)
	case p.Plan != on.Prepared.Hash:
		return ErrPlan
	default:
		return nil
	}
}

// sound reports why what was prepared for the items can't be approved by somebody.
func (r *Request) sound(approver string) error {
	for i := range r.Items {
		item := &r.Items[i]
		if item.Outcome != "" || item.Proposal == nil {
			continue
		}
		if err := item.Proposal.rests(item); err != nil {
			return err
		}
		if item.Prepared != nil && item.Prepared.By == approver {
			return errs.New(errs.Forbidden, "a decision is approved by another person than the one who prepared it").Under("request.fourEyes")
		}
	}
	return nil
}

// Follower is what a Work also is that does something while its item is undecided, as
// restricting what was objected to.
type Follower interface {
	// Follow brings that up to date with where the request stands: it began or was
	// taken up again, or was answered or withdrawn. It can be repeated.
	Follow(ctx context.Context, r *Request, item *Item) error
}

// followed returns the job for those of the request's items that need it after a step.
func (s *Service) followed(r *Request, e *Event) []job.Spec {
	if !slices.Contains([]Rule{Begin, Identify, Respond, Withdraw, Reopen}, e.Rule) {
		return nil
	}
	for _, item := range r.Items {
		if _, ok := s.Works[item.Type].(Follower); ok {
			return []job.Spec{{Type: JobFollow, Object: r.ID}}
		}
	}
	return nil
}

// Follow is the work of JobFollow.
func (s *Service) Follow(ctx context.Context, run *job.Run) error {
	r, err := s.find(ctx, run.Object())
	if err != nil {
		return err
	}
	for i := range r.Items {
		item := &r.Items[i]
		work, ok := s.Works[item.Type].(Follower)
		if !ok {
			continue
		}
		if err := work.Follow(ctx, r, item); err != nil {
			return fmt.Errorf("follow item %s: %w", item.ID, err)
		}
	}
	return nil
}
