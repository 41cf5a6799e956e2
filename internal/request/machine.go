package request

import (
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// Actor is in what part somebody makes a move.
type Actor string

// The parts, DOMAIN §1.4.
const (
	BySubject  Actor = "DATA_SUBJECT" // or who represents them
	ByHandler  Actor = "CASE_HANDLER"
	ByApprover Actor = "APPROVER"
	ByDPO      Actor = "DPO" // who advises, and moves nothing
	BySystem   Actor = "SYSTEM"
)

// Rule is a move of DOMAIN §2.9, or what else is noted of a request.
type Rule string

// The moves, and the notes.
const (
	Open            Rule = "T1"
	Forward         Rule = "T2"
	AskIdentity     Rule = "T3"
	Identify        Rule = "T4"
	AskAgain        Rule = "T5"
	GiveUpIdentity  Rule = "T6"
	Begin           Rule = "T7"
	AskToClarify    Rule = "T8"
	Clarify         Rule = "T9"
	Extend          Rule = "T10"
	Submit          Rule = "T11"
	SendBack        Rule = "T12"
	Approve         Rule = "T13"
	Execute         Rule = "T14"
	StopExecution   Rule = "T15"
	Respond         Rule = "T16"
	Close           Rule = "T17"
	Reopen          Rule = "T18"
	Withdraw        Rule = "T19"
	NoteComment     Rule = "COMMENT"
	NoteAssigned    Rule = "ASSIGNED"
	NoteProposed    Rule = "PROPOSED"
	NotePrepared    Rule = "PREPARED" // what a decision rests on
	NoteAnswered    Rule = "ANSWERED" // a place that may hold data
	NoteReminded    Rule = "REMINDED"
	NoteLinked      Rule = "LINKED"
	NoteEscalated   Rule = "ESCALATED"
	NoteCorrected   Rule = "CORRECTED" // the time of receipt
	NoteFee         Rule = "FEE"
	NoteOverruled   Rule = "OVERRULED" // a pause asked for late counts after all
	NoteTask        Rule = "TASK"
	NoteDelivered   Rule = "DELIVERED"
	NoteEffective   Rule = "EFFECTIVE" // what takes effect at once did
	NoteRecipient   Rule = "RECIPIENT" // was told, Art. 19
	NoteSent        Rule = "SENT"      // a letter
	NoteUnsent      Rule = "UNSENT"    // a letter that couldn't be written, for those who work on it
	NoteBeyondFirst Rule = "BEYOND_BASE"
)

// step is a row of the table of moves.
type step struct {
	rule  Rule
	from  []State
	to    State
	by    []Actor
	clock Clock // "" leaves it
}

// steps is the table of DOMAIN §2.9. What isn't in it is illegal: to answer
// without having settled who asks, to execute without approval, to delete.
func steps() []step {
	handler := []Actor{ByHandler, ByApprover}
	beforeAnswer := []State{
		Received, AwaitingIdentity, AwaitingClarification, InProgress, InReview, Approved, Executing,
	}
	return []step{
		{Open, []State{""}, Received, []Actor{BySubject, ByHandler, ByApprover, BySystem}, Running},
		{Forward, []State{Received}, Forwarded, handler, Stopped},
		{AskIdentity, []State{Received}, AwaitingIdentity, handler, Paused},
		{Identify, []State{AwaitingIdentity}, InProgress, []Actor{ByHandler, ByApprover, BySubject}, Running},
		{AskAgain, []State{AwaitingIdentity}, AwaitingIdentity, handler, ""},
		{GiveUpIdentity, []State{AwaitingIdentity}, Responded, []Actor{ByApprover}, Stopped},
		{Begin, []State{Received}, InProgress, []Actor{ByHandler, ByApprover, BySubject, BySystem}, Running},
		{AskToClarify, []State{InProgress}, AwaitingClarification, handler, Paused},
		{Clarify, []State{AwaitingClarification}, InProgress, []Actor{ByHandler, ByApprover, BySubject, BySystem}, Running},
		{Extend, []State{InProgress}, InProgress, []Actor{ByApprover}, Running},
		{Submit, []State{InProgress}, InReview, handler, Running},
		{SendBack, []State{InReview}, InProgress, []Actor{ByApprover}, Running},
		{Approve, []State{InReview}, Approved, []Actor{ByApprover}, Running},
		{Execute, []State{Approved}, Executing, []Actor{BySystem}, Running},
		{StopExecution, []State{Executing}, InReview, []Actor{BySystem}, Running},
		{Respond, []State{Approved, Executing}, Responded, []Actor{ByHandler, ByApprover, BySystem}, Stopped},
		{Close, []State{Responded}, Closed, []Actor{ByHandler, ByApprover, BySystem}, Stopped},
		{Reopen, []State{Responded, Closed}, InProgress, []Actor{ByApprover}, Running},
		{Withdraw, beforeAnswer, Withdrawn, []Actor{BySubject}, Stopped},
	}
}

// Act is who makes a move, when and why.
type Act struct {
	ID       string // of the event
	By       string
	As       Actor
	At       time.Time
	Reason   personal.Text
	Evidence []string
}

// refuse is the error for a move that the rules don't allow.
func refuse(rule Rule, format string, args ...any) error {
	return errs.New(errs.Precondition, format, args...).Under("request." + string(rule))
}

// allowed returns the row of a move, or why it can't be made now.
func (r *Request) allowed(rule Rule, a Act) (step, error) {
	i := slices.IndexFunc(steps(), func(s step) bool { return s.rule == rule })
	if i < 0 {
		return step{}, errs.New(errs.Internal, "no move %s", rule)
	}
	s := steps()[i]
	switch {
	case !slices.Contains(s.from, r.State):
		return s, refuse(rule, "a request that is %s can't become %s by this: it would have to be %s", r.State, s.to, list(s.from))
	case !slices.Contains(s.by, a.As):
		return s, refuse(rule, "this is for %s to do", actors(s.by))
	default:
		return s, nil
	}
}

func list(states []State) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return strings.Join(names, " or ")
}

func actors(as []Actor) string {
	names := make([]string, len(as))
	for i, a := range as {
		names[i] = string(a)
	}
	return strings.Join(names, " or ")
}

// move makes a move whose guards have been met.
func (r *Request) move(rule Rule, a Act) (Event, error) {
	s, err := r.allowed(rule, a)
	if err != nil {
		return Event{}, err
	}
	e := r.note(rule, a)
	e.To = s.to
	r.State = s.to
	if s.clock != "" {
		r.Clock = s.clock
	}
	if p := r.pause(); p != nil && r.Clock != Paused {
		p.Until = &a.At
	}
	e.ClockAfter = r.Clock
	r.UpdatedAt = a.At
	return e, nil
}

// note is an event that moves nothing.
func (r *Request) note(rule Rule, a Act) Event {
	return Event{
		ID: a.ID, Request: r.ID, Rule: rule, By: a.By, As: a.As, At: a.At, From: r.State, To: r.State, ClockBefore: r.Clock,
		ClockAfter: r.Clock, Reason: a.Reason, Evidence: a.Evidence,
	}
}

// reason demands one.
func (a Act) reason(rule Rule, what string) error {
	if strings.TrimSpace(a.Reason.Reveal()) == "" {
		return refuse(rule, "say %s", what)
	}
	return nil
}

// first is the error of the first guard that isn't met.
func first(guards ...error) error {
	for _, err := range guards {
		if err != nil {
			return err
		}
	}
	return nil
}

// unless is err if the condition isn't met.
func unless(met bool, err error) error {
	if met {
		return nil
	}
	return err
}

// Open begins a request, T1: the clock starts at the receipt.
func (r *Request) Open(a Act) (Event, error) {
	err := first(
		unless(r.Channel != "", refuse(Open, "say by which channel the request came")),
		unless(!r.ReceivedAt.IsZero() && !r.ReceivedAt.After(a.At), refuse(Open, "say when the request was received: a time that has passed")),
		unless(len(r.Items) > 0, refuse(Open, "name at least one right that is asked for")),
	)
	if err != nil {
		return Event{}, err
	}
	return r.move(Open, a)
}

// Forward passes a request on to whom it concerns, T2; the person has been told.
func (r *Request) Forward(a Act, to, contact personal.Text) (Event, error) {
	if _, err := r.allowed(Forward, a); err != nil {
		return Event{}, err
	}
	if err := unless(to.Reveal() != "", refuse(Forward, "say to whom the request is forwarded")); err != nil {
		return Event{}, err
	}
	r.ForwardedTo, r.ForwardedContact = to, contact
	r.settle(WasForwarded)
	return r.move(Forward, a)
}

// settle gives every item without an outcome this one.
func (r *Request) settle(o Outcome) {
	for i := range r.Items {
		if r.Items[i].Outcome == "" {
			r.Items[i].Outcome = o
		}
	}
}

// Question is what a person is asked to prove who they are: only on reasonable
// doubt, and no more than fits the data at stake (Art. 12(6)).
type Question struct {
	Doubt, Asked, Proportionality personal.Text
}

func (q *Question) complete(rule Rule) error {
	return first(
		unless(q.Doubt.Reveal() != "", refuse(rule, "say why there is reasonable doubt about who asks: without doubt nothing more may be asked (Art. 12(6))")),
		unless(q.Asked.Reveal() != "", refuse(rule, "say what the person is asked for")),
		unless(q.Proportionality.Reveal() != "", refuse(rule, "say why nothing less would do")),
	)
}

// AskIdentity asks who the person is, T3. inTime says whether it was asked
// without undue delay: else the pause moves no date.
func (r *Request) AskIdentity(a Act, q Question, inTime bool) (Event, error) {
	if _, err := r.allowed(AskIdentity, a); err != nil {
		return Event{}, err
	}
	if err := q.complete(AskIdentity); err != nil {
		return Event{}, err
	}
	r.ask(a, q)
	r.Pauses = append(r.Pauses, Pause{Reason: ForIdentity, From: a.At, Counts: inTime})
	return r.move(AskIdentity, a)
}

func (r *Request) ask(a Act, q Question) {
	r.Identity.ReasonForDoubt, r.Identity.Asked, r.Identity.Proportionality = q.Doubt, q.Asked, q.Proportionality
	r.Identity.AskedAt = &a.At
}

// Proof is how it was settled who asks.
type Proof struct {
	Method    IdentityMethod
	Assurance Assurance
	Document  personal.Text // what was checked, never a copy
	Subject   string        // who it is
	// AnsweredAt is when the information came that was enough; the moment of the
	// move when nil.
	AnsweredAt *time.Time
}

func (r *Request) prove(rule Rule, a Act, p Proof) error {
	answered := a.At
	if p.AnsweredAt != nil {
		answered = *p.AnsweredAt
	}
	err := first(
		unless(p.Method != "", refuse(rule, "say how it was settled who asks, or NOT_NEEDED with the reason")),
		unless(p.Subject != "", refuse(rule, "say which person it is")),
		unless(p.Method != NotNeeded || a.Reason.Reveal() != "", refuse(rule, "say why nothing had to be proven")),
		unless(!answered.After(a.At) && !answered.Before(r.ReceivedAt), refuse(rule, "the answer can't have come before the request or after now")),
	)
	if err != nil {
		return err
	}
	r.Subject = p.Subject
	r.Identity.Method, r.Identity.Assurance, r.Identity.Document = p.Method, p.Assurance, p.Document
	r.Identity.VerifiedAt, r.Identity.VerifiedBy, r.Identity.AnsweredAt = &a.At, a.By, &answered
	return nil
}

// Identify settles who asks after a question, T4: the clock runs from when the
// information came that was enough.
func (r *Request) Identify(a Act, p Proof) (Event, error) {
	if _, err := r.allowed(Identify, a); err != nil {
		return Event{}, err
	}
	if last := r.pause(); last != nil && p.AnsweredAt != nil && p.AnsweredAt.Before(last.From) {
		return Event{}, refuse(Identify, "the answer can't have come before the question")
	}
	if err := r.prove(Identify, a, p); err != nil {
		return Event{}, err
	}
	if last := r.pause(); last != nil {
		last.Until = r.Identity.AnsweredAt
	}
	return r.move(Identify, a)
}

// AskAgain asks once more after an answer that wasn't enough, T5. Asked with
// undue delay, the clock runs meanwhile.
func (r *Request) AskAgain(a Act, q Question, inTime bool) (Event, error) {
	if _, err := r.allowed(AskAgain, a); err != nil {
		return Event{}, err
	}
	err := first(
		a.reason(AskAgain, "why the answer wasn't enough"), q.complete(AskAgain),
		unless(r.Identity.Attempts < MaxAttempts, refuse(AskAgain, "the person was asked %d times: decide whether they can be identified", MaxAttempts+1)),
	)
	if err != nil {
		return Event{}, err
	}
	r.ask(a, q)
	r.Identity.Attempts++
	e, err := r.move(AskAgain, a)
	if err != nil {
		return e, err
	}
	last := r.pause()
	switch {
	case inTime && last == nil:
		r.Pauses = append(r.Pauses, Pause{Reason: ForIdentity, From: a.At, Counts: true})
	case !inTime && last != nil:
		last.Until = &a.At
	}
	r.Clock = Running
	if inTime {
		r.Clock = Paused
	}
	e.ClockAfter = r.Clock
	return e, nil
}

// GiveUpIdentity answers that the person can't be identified, T6, Art. 11(2): no
// sooner than after a reminder and the time that the house gives. The reply is nil
// when the platform writes the answer.
func (r *Request) GiveUpIdentity(a Act, wait time.Duration, reply *Reply) (Event, error) {
	if _, err := r.allowed(GiveUpIdentity, a); err != nil {
		return Event{}, err
	}
	err := first(
		unless(r.Identity.RemindedAt != nil, refuse(GiveUpIdentity, "remind the person first")),
		unless(r.Identity.AskedAt != nil && !a.At.Before(r.Identity.AskedAt.Add(wait)),
			refuse(GiveUpIdentity, "wait %d days from the last question", int(wait.Hours()/24))),
		a.reason(GiveUpIdentity, "why the person can't be identified, as they are told"),
	)
	if err == nil && reply != nil {
		err = reply.complete(GiveUpIdentity)
	}
	if err != nil {
		return Event{}, err
	}
	r.settle(NotIdentified)
	r.Reply = reply
	return r.move(GiveUpIdentity, a)
}

func (p *Reply) complete(rule Rule) error {
	return unless(p.Hash != "" && p.Channel != "" && !p.At.IsZero(), refuse(rule, "the answer must have been made available: say by which channel, and the hash of its content"))
}

// Begin takes up a request from somebody who is known, T7.
func (r *Request) Begin(a Act, p Proof) (Event, error) {
	if _, err := r.allowed(Begin, a); err != nil {
		return Event{}, err
	}
	if err := r.prove(Begin, a, p); err != nil {
		return Event{}, err
	}
	return r.move(Begin, a)
}

// AskToClarify asks what exactly is wanted, T8: of access to a great deal only
// (recital 63).
func (r *Request) AskToClarify(a Act, large, inTime bool) (Event, error) {
	if _, err := r.allowed(AskToClarify, a); err != nil {
		return Event{}, err
	}
	err := first(
		unless(r.Asks(Access), refuse(AskToClarify, "only for access may the clock stand still for a question of what is wanted (recital 63)")),
		unless(large, refuse(AskToClarify, "little data is kept on the person: give all of it")),
		a.reason(AskToClarify, "what the person is asked"),
	)
	if err != nil {
		return Event{}, err
	}
	r.Pauses = append(r.Pauses, Pause{Reason: ForClarification, From: a.At, Counts: inTime})
	return r.move(AskToClarify, a)
}

// Clarify goes on with what the person answered, T9: a part, or all. The
// platform goes on with all when no answer comes.
func (r *Request) Clarify(a Act) (Event, error) {
	if _, err := r.allowed(Clarify, a); err != nil {
		return Event{}, err
	}
	if err := a.reason(Clarify, "what is wanted, or that it is everything"); err != nil {
		return Event{}, err
	}
	return r.move(Clarify, a)
}

// Extend gives two further months, T10: once, and only if the person was told
// with the reasons before the first month was over.
func (r *Request) Extend(a Act, sent time.Time) (Event, error) {
	if _, err := r.allowed(Extend, a); err != nil {
		return Event{}, err
	}
	until, last := r.Deadline.NoticeBefore, "the end of the first month"
	if day := r.Deadline.Notice; day != nil {
		last = day.String()
	}
	err := first(
		unless(r.Extension == nil, refuse(Extend, "a request is extended once only")),
		a.reason(Extend, "which complexity or number of requests makes it necessary, as the person is told"),
		unless(!sent.IsZero() && !sent.After(a.At), refuse(Extend, "the notice must have been sent")),
		unless(until != nil && a.At.Before(*until) && sent.Before(*until), refuse(Extend, "the notice had to be sent by %s: without it in time there is no extension (Art. 12(3))", last)),
	)
	if err != nil {
		return Event{}, err
	}
	r.Extension = &Extension{Reason: a.Reason, NoticeSent: sent, By: a.By}
	return r.move(Extend, a)
}

// Propose decides an item, for another to approve.
func (r *Request) Propose(a Act, itemID string, p Proposal) (Event, error) {
	item := r.Item(itemID)
	switch {
	case r.State != InProgress:
		return Event{}, refuse(NoteProposed, "items are decided while the request is %s; it is %s", InProgress, r.State)
	case item == nil:
		return Event{}, errs.New(errs.NotFound, "no such item").At("item")
	}
	if err := first(p.complete(item.Type), p.rests(item)); err != nil {
		return Event{}, err
	}
	item.Proposal = &p
	r.UpdatedAt = a.At
	return r.note(NoteProposed, a), nil
}

func (p *Proposal) complete(t Type) error {
	mine := map[Outcome][]Type{
		Fulfilled: Types(), PartiallyFulfilled: Types(), Refused: Types(), NoDataHeld: Types(), RestrictedInstead: {Erasure},
	}
	return first(
		unless(slices.Contains(mine[p.Outcome], t), refuse(NoteProposed, "%s can't come to %q", t, p.Outcome)),
		unless(!p.Refuses() || slices.Contains(Refusals(), p.Refusal), refuse(NoteProposed, "give the code of the refusal")),
		unless(!p.Refuses() || p.Reason.Reveal() != "", refuse(NoteProposed, "give the reason as the person is told it (Art. 12(4))")),
		unless(p.Refusal != RefusedTradeSecret || p.Outcome == PartiallyFulfilled, refuse(NoteProposed, "trade secrets keep back a part, never all (recital 63)")),
		unless(p.Refusal != RefusedRightNotApplicable || p.Article != "", refuse(NoteProposed, "give the article whose condition isn't met")),
		unless(t != ObjectionMarketing || p.Outcome == Fulfilled, refuse(NoteProposed, "an objection to marketing is absolute: there is nothing to weigh (Art. 21(3))")),
		unless(t != ConsentWithdrawal || p.Outcome == Fulfilled || p.Outcome == NoDataHeld, refuse(NoteProposed, "a withdrawal of consent can't be refused (Art. 7(3))")),
		unless(!p.plans(t) || p.Plan != "", refuse(NoteProposed, "preview what will be done, and give its hash: that is what is approved")),
	)
}

// plans reports whether carrying it out changes data, and so follows a plan.
func (p *Proposal) plans(t Type) bool {
	changes := []Type{Rectification, Erasure, Restriction}
	return slices.Contains(changes, t) && slices.Contains([]Outcome{Fulfilled, PartiallyFulfilled, RestrictedInstead}, p.Outcome)
}

// Submit gives a request to review, T11: every place that may hold data has
// answered, and every item is decided.
func (r *Request) Submit(a Act) (Event, error) {
	if _, err := r.allowed(Submit, a); err != nil {
		return Event{}, err
	}
	if i := slices.IndexFunc(r.Answers, func(x Answer) bool { return !x.Settled() }); i >= 0 {
		return Event{}, refuse(Submit, "%s hasn't answered yet: note what it found, none, or why it failed", r.Answers[i].System)
	}
	for _, item := range r.Items {
		if item.Proposal == nil && item.Outcome == "" {
			return Event{}, refuse(Submit, "item %s (%s) isn't decided", item.ID, item.Type)
		}
		if len(r.Answers) == 0 && item.rests() {
			return Event{}, refuse(Submit, "no place has answered yet what it holds: wait for the search that item %s (%s) rests on", item.ID, item.Type)
		}
	}
	e, err := r.move(Submit, a)
	if err == nil {
		r.PreparedBy = a.By
	}
	return e, err
}

// rests reports whether what was decided rests on a search for the person's data.
func (i *Item) rests() bool {
	return slices.Contains([]Type{Access, Portability, Erasure}, i.Type) && i.Outcome == "" && i.Proposal.Outcome != Refused
}

// SendBack returns a request to who prepared it, T12.
func (r *Request) SendBack(a Act) (Event, error) {
	if _, err := r.allowed(SendBack, a); err != nil {
		return Event{}, err
	}
	if err := a.reason(SendBack, "what has to be done again"); err != nil {
		return Event{}, err
	}
	return r.move(SendBack, a)
}

// Approve decides a request, T13: another person than who prepared it, having
// looked at all that the law asks.
func (r *Request) Approve(a Act, c Check) (Event, error) {
	if _, err := r.allowed(Approve, a); err != nil {
		return Event{}, err
	}
	err := first(
		unless(a.By != r.PreparedBy, errs.New(errs.Forbidden, "a request is approved by another person than the one who prepared it").Under("request.fourEyes")),
		r.sound(a.By),
		unless(c.Complete(), refuse(Approve, "confirm that holds, exceptions, the rights of others and secrecy were looked at")),
	)
	if err != nil {
		return Event{}, err
	}
	e, err := r.move(Approve, a)
	if err == nil {
		r.ApprovedBy, r.ApprovedAt = a.By, &a.At
	}
	return e, err
}

// Execute begins to carry out what was approved, T14: held says whether a hold
// stands in the way at this instant.
func (r *Request) Execute(a Act, held bool) (Event, error) {
	if _, err := r.allowed(Execute, a); err != nil {
		return Event{}, err
	}
	if held {
		return Event{}, refuse(Execute, "a legal hold was placed since the approval")
	}
	return r.move(Execute, a)
}

// StopExecution returns a request to review, T15: something failed, or a hold
// was found.
func (r *Request) StopExecution(a Act) (Event, error) {
	if _, err := r.allowed(StopExecution, a); err != nil {
		return Event{}, err
	}
	if err := a.reason(StopExecution, "what failed"); err != nil {
		return Event{}, err
	}
	r.ApprovedBy, r.ApprovedAt = "", nil
	return r.move(StopExecution, a)
}

// Respond ends the clock, T16: the answer is made available and the person told.
func (r *Request) Respond(a Act, reply Reply) (Event, error) {
	if _, err := r.allowed(Respond, a); err != nil {
		return Event{}, err
	}
	err := first(
		unless(r.Identity.Verified(), refuse(Respond, "it isn't settled who asks")),
		unless(!slices.ContainsFunc(r.Items, func(i Item) bool { return i.Outcome == "" }), refuse(Respond, "every item needs its outcome")),
		reply.complete(Respond),
	)
	if err != nil {
		return Event{}, err
	}
	r.Reply = &reply
	return r.move(Respond, a)
}

// Close ends a request, T17: the answer arrived or its time is over, and the
// recipients have been told.
func (r *Request) Close(a Act, told bool) (Event, error) {
	if _, err := r.allowed(Close, a); err != nil {
		return Event{}, err
	}
	err := first(
		unless(r.Reply != nil && r.Reply.Delivered != nil && !r.Reply.Bounced, refuse(Close, "note that the answer arrived; one that bounced is no answer")),
		unless(told, ErrUntold),
	)
	if err != nil {
		return Event{}, err
	}
	return r.move(Close, a)
}

// Reopen takes a request up again, T18: the answer was incomplete, or a
// complaint upheld. The due date stays as it was.
func (r *Request) Reopen(a Act, items ...string) (Event, error) {
	if _, err := r.allowed(Reopen, a); err != nil {
		return Event{}, err
	}
	err := first(
		a.reason(Reopen, "what was incomplete, or which complaint was upheld"),
		unless(r.Identity.Verified(), refuse(Reopen, "it was never settled who asks: open a new request")),
		unless(len(items) > 0, refuse(Reopen, "name the items to be done again")),
	)
	if err != nil {
		return Event{}, err
	}
	for _, itemID := range items {
		item := r.Item(itemID)
		if item == nil {
			return Event{}, errs.New(errs.NotFound, "no such item").At("items")
		}
		item.Outcome, item.Proposal, item.Prepared = "", nil, nil
	}
	r.ReopenedFrom = r.State
	r.Reply, r.ApprovedBy, r.ApprovedAt = nil, "", nil
	return r.move(Reopen, a)
}

// Withdraw ends a request by the person's own statement, T19. What has taken
// effect stays.
func (r *Request) Withdraw(a Act) (Event, error) {
	if _, err := r.allowed(Withdraw, a); err != nil {
		return Event{}, err
	}
	r.settle(WasWithdrawn)
	return r.move(Withdraw, a)
}

// Comment notes what somebody has to say; the data protection officer advises so.
func (r *Request) Comment(a Act) (Event, error) {
	if err := a.reason(NoteComment, "something"); err != nil {
		return Event{}, err
	}
	e := r.note(NoteComment, a)
	e.Private = true
	return e, nil
}

// CorrectReceipt changes when the request was received, which an approver does
// with a reason: the old time stays in the event.
func (r *Request) CorrectReceipt(a Act, at time.Time) (Event, error) {
	err := first(
		unless(a.As == ByApprover, refuse(NoteCorrected, "the time of receipt is for an approver to correct")),
		unless(r.State.Open(), refuse(NoteCorrected, "the request has been answered")),
		a.reason(NoteCorrected, "why the time was wrong"),
		unless(!at.IsZero() && !at.After(a.At), refuse(NoteCorrected, "a time of receipt has passed")),
	)
	if err != nil {
		return Event{}, err
	}
	e := r.note(NoteCorrected, a)
	e.Reason = personal.NewText(r.ReceivedAt.UTC().Format(time.RFC3339) + " -> " + at.UTC().Format(time.RFC3339) + ": " + a.Reason.Reveal())
	r.ReceivedAt, r.UpdatedAt = at, a.At
	return e, nil
}
