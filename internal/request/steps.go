package request

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenancy"
)

// The house's rules, DOMAIN §2.2 and §2.5.
const (
	identityWait = 30 * 24 * time.Hour // from the last question to giving up, with a reminder between
	clarifyWait  = 14 * 24 * time.Hour // without an answer everything is given
	largeCount   = 1000                // of records, from which on it may be asked what is wanted
)

// ForwardInput passes a request on.
type ForwardInput struct {
	ID              string
	ExpectedVersion int64
	To              string
	Contact         *string // how that controller is reached, as the person is told
}

// Forward passes a request on to the controller that it concerns, T2.
func (s *Service) Forward(ctx context.Context, in ForwardInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.forward", &in.ExpectedVersion, func(r *Request) (Event, error) {
		return r.Forward(s.act(ctx, ByHandler, nil), given(&in.To), given(in.Contact))
	})
}

// AskInput asks who the person is.
type AskInput struct {
	ID              string
	ExpectedVersion int64
	ReasonForDoubt  string
	Asked           string
	Proportionality string
	// Reason says, when asked again, why the answer wasn't enough.
	Reason *string
}

func (in *AskInput) question() Question {
	return Question{given(&in.ReasonForDoubt), given(&in.Asked), given(&in.Proportionality)}
}

// AskIdentity asks who the person is, T3 and T5: only when there is reasonable
// doubt, and no more than is needed.
func (s *Service) AskIdentity(ctx context.Context, in AskInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.askIdentity", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByHandler, in.Reason)
		since := r.ReceivedAt
		if r.State == AwaitingIdentity && r.Identity.AnsweredAt != nil {
			since = *r.Identity.AnsweredAt
		}
		inTime, err := s.inTime(ctx, r, since, a.At)
		if err != nil {
			return Event{}, err
		}
		if r.State == AwaitingIdentity {
			return r.AskAgain(a, in.question(), inTime)
		}
		return r.AskIdentity(a, in.question(), inTime)
	})
}

// IDInput names a request.
type IDInput struct {
	ID              string
	ExpectedVersion int64
}

// ReasonInput names a request and says why.
type ReasonInput struct {
	ID              string
	ExpectedVersion int64
	Reason          string
}

// Remind reminds the person of a question about who they are.
func (s *Service) Remind(ctx context.Context, in IDInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.remind", &in.ExpectedVersion, func(r *Request) (Event, error) {
		if r.State != AwaitingIdentity {
			return Event{}, refuse(NoteReminded, "nothing was asked, or it was answered")
		}
		a := s.act(ctx, ByHandler, nil)
		r.Identity.RemindedAt, r.UpdatedAt = &a.At, a.At
		return r.note(NoteReminded, a), nil
	})
}

// IdentifyInput settles who asks.
type IdentifyInput struct {
	ID              string
	ExpectedVersion int64
	Subject         string
	Method          IdentityMethod
	Assurance       *Assurance
	Document        *string
	AnsweredAt      *time.Time
	Reason          *string
	Evidence        []string
}

// Identify settles who asks, T4 and T7, and begins the work.
func (s *Service) Identify(ctx context.Context, in IdentifyInput) (*Request, error) {
	if err := s.known(ctx, in.Subject); err != nil {
		return nil, err
	}
	return s.one(ctx, in.ID, "request.identify", &in.ExpectedVersion, func(r *Request) (Event, error) {
		p := Proof{Method: in.Method, Subject: in.Subject, Document: given(in.Document), AnsweredAt: in.AnsweredAt}
		if in.Assurance != nil {
			p.Assurance = *in.Assurance
		}
		a := s.act(ctx, ByHandler, in.Reason, in.Evidence...)
		if r.State == AwaitingIdentity {
			return r.Identify(a, p)
		}
		return r.Begin(a, p)
	})
}

// ReplyInput is an answer that was made available.
type ReplyInput struct {
	ID              string
	ExpectedVersion int64
	Reason          *string
	Channel         Channel
	Hash            string // SHA-256 of its content, in hex
	At              time.Time
	Letter          *string
}

func (in *ReplyInput) reply() Reply {
	r := Reply{Channel: in.Channel, Hash: in.Hash, At: in.At.UTC()}
	if in.Letter != nil {
		r.Letter = *in.Letter
	}
	return r
}

// GiveUpIdentity answers that the person can't be identified, T6: by hand, or
// else by a letter of the platform's.
func (s *Service) GiveUpIdentity(ctx context.Context, in ReplyInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.notIdentified", &in.ExpectedVersion, func(r *Request) (Event, error) {
		var reply *Reply
		if in.Hash != "" || in.Channel != "" || !in.At.IsZero() {
			byHand := in.reply()
			reply = &byHand
		}
		return r.GiveUpIdentity(s.act(ctx, ByApprover, in.Reason), identityWait, reply)
	})
}

// AskToClarify asks what exactly is wanted, T8.
func (s *Service) AskToClarify(ctx context.Context, in ReasonInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.askToClarify", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByHandler, &in.Reason)
		inTime, err := s.inTime(ctx, r, r.ReceivedAt, a.At)
		if err != nil {
			return Event{}, err
		}
		held := 0
		for _, x := range r.Answers {
			held += x.Count
		}
		return r.AskToClarify(a, held >= largeCount, inTime)
	})
}

// Clarify goes on with what the person wants, T9.
func (s *Service) Clarify(ctx context.Context, in ReasonInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.clarify", &in.ExpectedVersion, func(r *Request) (Event, error) {
		return r.Clarify(s.act(ctx, ByHandler, &in.Reason))
	})
}

// ExtendInput gives two further months.
type ExtendInput struct {
	ID              string
	ExpectedVersion int64
	Reason          string
	NoticeSent      *time.Time // when it went out by hand
}

// Extend gives two further months, T10: the person was told by hand, or is told
// by a letter of this step.
func (s *Service) Extend(ctx context.Context, in ExtendInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.extend", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByApprover, &in.Reason)
		if in.NoticeSent == nil {
			return r.Extend(a, a.At)
		}
		e, err := r.Extend(a, in.NoticeSent.UTC())
		e.ByHand = true
		return e, err
	})
}

// ProposeInput decides an item, for another to approve.
type ProposeInput struct {
	ID              string
	ExpectedVersion int64
	Item            string
	Outcome         Outcome
	Refusal         *Refusal
	Article         *string
	Reason          *string
	Ground          *string
	Plan            *string
}

// Propose decides an item, for another to approve.
func (s *Service) Propose(ctx context.Context, in ProposeInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.propose", &in.ExpectedVersion, func(r *Request) (Event, error) {
		p := Proposal{Outcome: in.Outcome, Reason: given(in.Reason)}
		if in.Refusal != nil {
			p.Refusal = *in.Refusal
		}
		for into, from := range map[*string]*string{&p.Article: in.Article, &p.Ground: in.Ground, &p.Plan: in.Plan} {
			if from != nil {
				*into = *from
			}
		}
		if item := r.Item(in.Item); item != nil && !p.idle() && s.Works[item.Type] == nil {
			return Event{}, ErrNoWork
		}
		return r.Propose(s.act(ctx, ByHandler, nil, in.Item), in.Item, p)
	})
}

// AnswerInput is what a place outside the platform answered.
type AnswerInput struct {
	ID              string
	ExpectedVersion int64
	System          string
	Result          Result
	Count           *int
	Reason          *string
	Evidence        []string
}

// Answer notes what a place that the platform can't ask itself has answered.
func (s *Service) Answer(ctx context.Context, in AnswerInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.answer", &in.ExpectedVersion, func(r *Request) (Event, error) {
		i := slices.IndexFunc(r.Answers, func(a Answer) bool { return a.System == in.System })
		switch {
		case !r.State.Open():
			return Event{}, refuse(NoteAnswered, "the request has been answered")
		case in.Result == Waiting:
			return Event{}, errs.New(errs.Invalid, "say what was found: FOUND, NONE, FAILED or EXEMPTED").At("result")
		case (in.Result == Failed || in.Result == Exempted) && given(in.Reason).IsZero():
			return Event{}, errs.New(errs.Invalid, "say why").At("reason")
		case in.Result == Found && (in.Count == nil || *in.Count < 1):
			return Event{}, errs.New(errs.Invalid, "say how much was found").At("count")
		case i < 0:
			r.Answers = append(r.Answers, Answer{System: in.System})
			i = len(r.Answers) - 1
		}
		a := s.act(ctx, ByHandler, in.Reason, append(in.Evidence, in.System)...)
		r.Answers[i].Result, r.Answers[i].At, r.UpdatedAt = in.Result, a.At, a.At
		r.Answers[i].Reason, r.Answers[i].Count = "", 0
		if in.Result == Failed || in.Result == Exempted {
			r.Answers[i].Reason = string(in.Result) // why is in the event, sealed
		}
		if in.Count != nil && in.Result == Found {
			r.Answers[i].Count = *in.Count
		}
		return r.note(NoteAnswered, a), nil
	})
}

// Submit gives a request to review, T11.
func (s *Service) Submit(ctx context.Context, in IDInput) (*Request, error) {
	return s.once(ctx, in.ID, "request.submit", &in.ExpectedVersion, func(ctx context.Context, r *Request) (Event, error) {
		e, err := r.Submit(s.act(ctx, ByHandler, nil))
		if err == nil {
			err = s.tasked(ctx, r.ID, Before)
		}
		return e, err
	})
}

// SendBack returns a request to who prepared it, T12.
func (s *Service) SendBack(ctx context.Context, in ReasonInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.sendBack", &in.ExpectedVersion, func(r *Request) (Event, error) {
		return r.SendBack(s.act(ctx, ByApprover, &in.Reason))
	})
}

// ApproveInput decides a request, confirming what was looked at.
type ApproveInput struct {
	ID              string
	ExpectedVersion int64
	Holds           bool // no hold stands in the way
	Exceptions      bool // Art. 17(3) and the like
	RightsOfOthers  bool // Art. 15(4)
	Secrecy         bool // what is secret by law stays so
	// Late says why an answer comes after the date that pauses moved.
	Late *string
}

// Approve decides a request, T13: another person than who prepared it. What was
// approved is then carried out.
func (s *Service) Approve(ctx context.Context, in ApproveInput) (*Request, error) {
	return s.stepIn(ctx, in.ID, "request.approve", &in.ExpectedVersion, func(ctx context.Context, r *Request) (events []Event, _ []job.Spec, err error) {
		a := s.act(ctx, ByApprover, in.Late)
		if len(r.Pauses) > 0 && r.Extension == nil && !a.At.Before(r.Deadline.BaseBefore) {
			if err := a.reason(NoteBeyondFirst, "why the answer comes after the month, not counting pauses"); err != nil {
				return nil, nil, err
			}
			events = append(events, r.note(NoteBeyondFirst, a))
			a = s.act(ctx, ByApprover, nil)
		}
		e, err := r.Approve(a, Check{in.Holds, in.Exceptions, in.RightsOfOthers, in.Secrecy})
		if err == nil {
			err = s.tasked(ctx, r.ID, Before)
		}
		return append(events, e), nil, err
	})
}

// Respond notes an answer that was made available by hand, T16.
func (s *Service) Respond(ctx context.Context, in ReplyInput) (*Request, error) {
	return s.once(ctx, in.ID, "request.respond", &in.ExpectedVersion, func(ctx context.Context, r *Request) (Event, error) {
		e, err := r.Respond(s.act(ctx, ByHandler, in.Reason), in.reply())
		if err == nil {
			err = s.tasked(ctx, r.ID, After)
		}
		return e, err
	})
}

// DeliveredInput is the proof that an answer arrived, or that it bounced.
type DeliveredInput struct {
	ID              string
	ExpectedVersion int64
	Bounced         bool
	Evidence        []string
}

// Delivered notes whether the answer arrived.
func (s *Service) Delivered(ctx context.Context, in DeliveredInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.delivered", &in.ExpectedVersion, func(r *Request) (Event, error) {
		if r.Reply == nil {
			return Event{}, refuse(NoteDelivered, "there is no answer yet")
		}
		a := s.act(ctx, ByHandler, nil, in.Evidence...)
		r.Reply.Bounced, r.Reply.Delivered, r.UpdatedAt = in.Bounced, &a.At, a.At
		return r.note(NoteDelivered, a), nil
	})
}

// Close ends a request, T17: once all recipients have been told.
func (s *Service) Close(ctx context.Context, in IDInput) (*Request, error) {
	return s.once(ctx, in.ID, "request.close", &in.ExpectedVersion, func(ctx context.Context, r *Request) (Event, error) {
		told := true
		if s.Recipients != nil {
			var err error
			if told, err = s.Recipients.Told(ctx, r.ID); err != nil {
				return Event{}, err
			}
		}
		return r.Close(s.act(ctx, ByHandler, nil), told)
	})
}

// ReopenInput takes a request up again.
type ReopenInput struct {
	ID              string
	ExpectedVersion int64
	Reason          string
	Items           []string
}

// Reopen takes a request up again, T18.
func (s *Service) Reopen(ctx context.Context, in ReopenInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.reopen", &in.ExpectedVersion, func(r *Request) (Event, error) {
		return r.Reopen(s.act(ctx, ByApprover, &in.Reason), in.Items...)
	})
}

// WithdrawInput ends a request by the person's own statement.
type WithdrawInput struct {
	ID              string
	ExpectedVersion *int64
	// Statement is how the person said so, when staff note it.
	Statement *string
	Evidence  []string
}

// Withdraw notes that the person takes the request back, T19: in their own
// session, or by a statement that staff have received.
func (s *Service) Withdraw(ctx context.Context, in WithdrawInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.withdraw", in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, BySubject, in.Statement, in.Evidence...)
		if authz.FromContext(ctx).Kind != authz.KindSubject {
			if err := a.reason(Withdraw, "how the person said so: it is theirs alone to take back"); err != nil {
				return Event{}, err
			}
		}
		return r.Withdraw(a)
	})
}

// AssignInput gives a request to somebody, or to nobody.
type AssignInput struct {
	ID              string
	ExpectedVersion int64
	Member          *string
}

// Assign gives a request to a member.
func (s *Service) Assign(ctx context.Context, in AssignInput) (*Request, error) {
	if in.Member != nil {
		m, err := s.Members.Member(ctx, *in.Member)
		if err == nil && m.State != tenancy.Joined {
			err = errs.New(errs.Precondition, "this member doesn't work for the tenant now")
		}
		if err != nil {
			return nil, errs.At(err, "member")
		}
	}
	return s.one(ctx, in.ID, "request.assign", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByHandler, nil)
		r.AssignedTo, r.UpdatedAt = "", a.At
		if in.Member != nil {
			r.AssignedTo = *in.Member
			a.Evidence = []string{*in.Member}
		}
		e := r.note(NoteAssigned, a)
		e.Private = true
		return e, nil
	})
}

// CommentInput is what somebody has to say.
type CommentInput struct {
	ID   string
	Text string
}

// Comment notes something for those who work on the request; so does a data
// protection officer who advises.
func (s *Service) Comment(ctx context.Context, in CommentInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.comment", nil, func(r *Request) (Event, error) {
		as := ByHandler
		if authz.FromContext(ctx).Role == authz.RoleDPO {
			as = ByDPO
		}
		return r.Comment(s.act(ctx, as, &in.Text))
	})
}

// CorrectInput corrects the time of receipt.
type CorrectInput struct {
	ID              string
	ExpectedVersion int64
	ReceivedAt      time.Time
	Reason          string
}

// CorrectReceipt corrects when the request was received.
func (s *Service) CorrectReceipt(ctx context.Context, in CorrectInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.correctReceipt", &in.ExpectedVersion, func(r *Request) (Event, error) {
		return r.CorrectReceipt(s.act(ctx, ByApprover, &in.Reason), in.ReceivedAt.UTC())
	})
}

// OverruleInput lets a pause count that was asked for late.
type OverruleInput struct {
	ID              string
	ExpectedVersion int64
	Pause           int // from 0
	Reason          string
}

// OverrulePause lets a pause count although it was asked for late, by an
// approver who says why (DOMAIN §2.5).
func (s *Service) OverrulePause(ctx context.Context, in OverruleInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.overrulePause", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByApprover, &in.Reason)
		if in.Pause < 0 || in.Pause >= len(r.Pauses) || r.Pauses[in.Pause].Counts {
			return Event{}, errs.New(errs.Invalid, "no such pause that doesn't count").At("pause")
		}
		if err := a.reason(NoteOverruled, "why it counts after all"); err != nil {
			return Event{}, err
		}
		p := &r.Pauses[in.Pause]
		p.Counts, p.OverruledBy, p.Overruled, r.UpdatedAt = true, a.By, a.Reason, a.At
		return r.note(NoteOverruled, a), nil
	})
}

// FeeInput notes that a fee was announced.
type FeeInput = ReasonInput

// AnnounceFee notes that the person was told of a fee before anything is charged
// (Art. 12(5), 15(3)), so that they can withdraw.
func (s *Service) AnnounceFee(ctx context.Context, in FeeInput) (*Request, error) {
	return s.one(ctx, in.ID, "request.announceFee", &in.ExpectedVersion, func(r *Request) (Event, error) {
		a := s.act(ctx, ByApprover, &in.Reason)
		if err := first(a.reason(NoteFee, "which costs it covers"), unless(r.State.Open(), refuse(NoteFee, "the request has been answered"))); err != nil {
			return Event{}, err
		}
		r.FeeRequested, r.UpdatedAt = true, a.At
		return r.note(NoteFee, a), nil
	})
}
