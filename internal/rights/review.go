package rights

import (
	"context"
	"errors"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
)

// Finding is what a person found who looked at an automated decision.
type Finding string

// The findings.
const (
	Confirmed Finding = "CONFIRMED"
	Changed   Finding = "CHANGED"
)

// Review is how a person looked at a decision that was made by automated means alone,
// Art. 22(3).
type Review struct {
	Hash        string // stands for it in a proposal
	Reviewer    string // id of the member
	At          time.Time
	DecidedBy   string        // id of the member who answers for the automated decision, where known
	View        personal.Text // of the person whom it is about
	Explanation personal.Text // how it was made: the procedure actually applied (CJEU C-203/22)
	Reasons     personal.Text // of what was found
	Result      personal.Text // as the person is told it
	Finding     Finding
}

// Decider returns who answers for the automated decision, nil where that isn't known.
func (r *Review) Decider() *string {
	if r.DecidedBy == "" {
		return nil
	}
	return &r.DecidedBy
}

// ReviewInput is what the caller found, who looked at an automated decision.
type ReviewInput struct {
	ID              string // of the request
	ExpectedVersion int64
	Item            string
	DecidedBy       *string
	MayChange       bool // the caller has the authority and the competence to change the decision
	View            string
	Explanation     string
	Reasons         string
	Result          string
	Finding         Finding
}

// reviewed is a Review as the request keeps it, sealed.
type reviewed struct {
	DecidedBy   string  `json:"decidedBy"`
	View        string  `json:"view"`
	Explanation string  `json:"explanation"`
	Reasons     string  `json:"reasons"`
	Result      string  `json:"result"`
	Finding     Finding `json:"finding"`
}

// ErrReviewer reports somebody who can't review a decision.
var ErrReviewer = errs.New(errs.Forbidden, "a decision is reviewed by a person, who has the authority to change it and didn't make it (GDPR Art. 22(3))").Under("art22.review")

// Review keeps what a person found who looked at an automated decision.
func (s *Service) Review(ctx context.Context, in ReviewInput) (*request.Request, error) {
	v := reviewed{text(in.DecidedBy), text(&in.View), text(&in.Explanation), text(&in.Reasons), text(&in.Result), in.Finding}
	p := authz.FromContext(ctx)
	switch {
	case p.Kind != authz.KindMember || !in.MayChange || v.DecidedBy == p.ID:
		return nil, ErrReviewer
	case v.View == "":
		return nil, missing("view", "say what the person's point of view is, or that they gave none")
	case v.Explanation == "":
		return nil, missing("explanation", "say how the decision was made")
	case v.Reasons == "":
		return nil, missing("reasons", "give the reasons for the result")
	case v.Result == "":
		return nil, missing("result", "say what the review came to")
	}
	if err := short(v.View, v.Explanation, v.Reasons, v.Result); err != nil {
		return nil, err
	}
	if v.DecidedBy != "" {
		if _, err := s.Members.Member(ctx, v.DecidedBy); err != nil {
			return nil, errs.At(err, "decidedBy")
		}
	}
	return s.prepare(ctx, request.PrepareInput{ID: in.ID, ExpectedVersion: in.ExpectedVersion, Item: in.Item}, request.AutomatedDecision, v, request.Fulfilled)
}

// ReviewOf returns how an automated decision was reviewed, nil if it wasn't.
func (*Service) ReviewOf(item *request.Item) (*Review, error) {
	var v reviewed
	ok, err := prepared(item, request.AutomatedDecision, &v)
	if err != nil || !ok {
		return nil, err
	}
	p := item.Prepared
	return &Review{
		p.Hash, p.By, p.At, v.DecidedBy, personal.NewText(v.View), personal.NewText(v.Explanation), personal.NewText(v.Reasons),
		personal.NewText(v.Result), v.Finding,
	}, nil
}

// review answers who asked for a person to look at an automated decision, Art. 22(3):
// what was found and approved is told.
type review struct{ work }

var _ post.Teller = review{}

// Carry implements request.Work.
func (w review) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	v, err := w.ReviewOf(item)
	switch {
	case err != nil:
		return request.Done{}, err
	case v == nil:
		return request.Done{}, request.ErrPlan.Because(errors.New("nobody has looked at the decision"))
	}
	return request.Done{Outcome: request.Fulfilled}, nil
}

// Tell implements post.Teller.
func (w review) Tell(_ context.Context, _ *request.Request, item *request.Item) (letter.Fields, error) {
	v, err := w.ReviewOf(item)
	if err != nil || v == nil {
		return nil, err
	}
	return letter.Fields{
		"decision.result": letter.Text(v.Result.Reveal()), "decision.reasons": letter.Prose(v.Reasons.Reveal()),
		"decision.explanation": letter.Prose(v.Explanation.Reveal()),
	}, nil
}
