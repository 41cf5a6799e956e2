package request_test

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
)

func day(n int) time.Time { return time.Date(2026, 3, 5, 8, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func text(s string) personal.Text { return personal.NewText(s) }

// fresh is a request of an item of each type given, before it is opened.
func fresh(types ...request.Type) *request.Request {
	r := &request.Request{ID: "req", Channel: request.ByLetter, ReceivedAt: day(0)}
	for _, t := range types {
		r.Items = append(r.Items, request.Item{ID: "item-" + string(t), Type: t})
	}
	until := day(33)
	r.Deadline.NoticeBefore = &until
	return r
}

func act(as request.Actor, by string, on int, reason ...string) request.Act {
	a := request.Act{ID: "ev", By: by, As: as, At: day(on)}
	if len(reason) > 0 {
		a.Reason = text(reason[0])
	}
	return a
}

var (
	question = request.Question{Doubt: text("another address"), Asked: text("a code"), Proportionality: text("bank data")}
	proof    = request.Proof{Method: request.CallBack, Subject: "sub"}
	reply    = request.Reply{Channel: request.ByPortal, Hash: "ab", At: day(20)}
	checked  = request.Check{Holds: true, Exceptions: true, Others: true, Secrecy: true}
)

// moves makes each move with all that its guard asks for.
func moves() map[request.Rule]func(*request.Request, request.Act) (request.Event, error) {
	return map[request.Rule]func(*request.Request, request.Act) (request.Event, error){
		request.Open: (*request.Request).Open,
		request.Forward: func(r *request.Request, a request.Act) (request.Event, error) {
			return r.Forward(a, text("the bank"), text("post@bank.example"))
		},
		request.AskIdentity: func(r *request.Request, a request.Act) (request.Event, error) {
			return r.AskIdentity(a, question, true)
		},
		request.Identify:       func(r *request.Request, a request.Act) (request.Event, error) { return r.Identify(a, proof) },
		request.AskAgain:       func(r *request.Request, a request.Act) (request.Event, error) { return r.AskAgain(a, question, true) },
		request.GiveUpIdentity: func(r *request.Request, a request.Act) (request.Event, error) { return r.GiveUpIdentity(a, 0, &reply) },
		request.Begin:          func(r *request.Request, a request.Act) (request.Event, error) { return r.Begin(a, proof) },
		request.AskToClarify:   func(r *request.Request, a request.Act) (request.Event, error) { return r.AskToClarify(a, true, true) },
		request.Clarify:        (*request.Request).Clarify,
		request.Extend:         func(r *request.Request, a request.Act) (request.Event, error) { return r.Extend(a, a.At) },
		request.Submit:         (*request.Request).Submit,
		request.SendBack:       (*request.Request).SendBack,
		request.Approve:        func(r *request.Request, a request.Act) (request.Event, error) { return r.Approve(a, checked) },
		request.Execute:        func(r *request.Request, a request.Act) (request.Event, error) { return r.Execute(a, false) },
		request.StopExecution:  (*request.Request).StopExecution,
		request.Respond:        func(r *request.Request, a request.Act) (request.Event, error) { return r.Respond(a, reply) },
		request.Close:          func(r *request.Request, a request.Act) (request.Event, error) { return r.Close(a, true) },
		request.Reopen:         func(r *request.Request, a request.Act) (request.Event, error) { return r.Reopen(a, "item-ACCESS") },
		request.Withdraw:       (*request.Request).Withdraw,
	}
}

// legal is the table of DOMAIN §2.9 once more, written from the text.
func legal() map[request.Rule]struct {
	from, to, actors string
} {
	const (
		handler = "CASE_HANDLER APPROVER"
		all     = "DATA_SUBJECT CASE_HANDLER APPROVER SYSTEM"
		before  = "RECEIVED AWAITING_IDENTITY AWAITING_CLARIFICATION IN_PROGRESS IN_REVIEW APPROVED EXECUTING"
	)
	return map[request.Rule]struct{ from, to, actors string }{
		request.Open:           {"", "RECEIVED", all},
		request.Forward:        {"RECEIVED", "FORWARDED", handler},
		request.AskIdentity:    {"RECEIVED", "AWAITING_IDENTITY", handler},
		request.Identify:       {"AWAITING_IDENTITY", "IN_PROGRESS", "DATA_SUBJECT " + handler},
		request.AskAgain:       {"AWAITING_IDENTITY", "AWAITING_IDENTITY", handler},
		request.GiveUpIdentity: {"AWAITING_IDENTITY", "RESPONDED", "APPROVER"},
		request.Begin:          {"RECEIVED", "IN_PROGRESS", all},
		request.AskToClarify:   {"IN_PROGRESS", "AWAITING_CLARIFICATION", handler},
		request.Clarify:        {"AWAITING_CLARIFICATION", "IN_PROGRESS", all},
		request.Extend:         {"IN_PROGRESS", "IN_PROGRESS", "APPROVER"},
		request.Submit:         {"IN_PROGRESS", "IN_REVIEW", handler},
		request.SendBack:       {"IN_REVIEW", "IN_PROGRESS", "APPROVER"},
		request.Approve:        {"IN_REVIEW", "APPROVED", "APPROVER"},
		request.Execute:        {"APPROVED", "EXECUTING", "SYSTEM"},
		request.StopExecution:  {"EXECUTING", "IN_REVIEW", "SYSTEM"},
		request.Respond:        {"APPROVED EXECUTING", "RESPONDED", "SYSTEM " + handler},
		request.Close:          {"RESPONDED", "CLOSED", "SYSTEM " + handler},
		request.Reopen:         {"RESPONDED CLOSED", "IN_PROGRESS", "APPROVER"},
		request.Withdraw:       {before, "WITHDRAWN", "DATA_SUBJECT"},
	}
}

// ready is a request in a state with all that any guard could ask for.
func ready(s request.State) *request.Request {
	r := fresh(request.Access)
	delivered, done := day(21), day(1)
	r.State, r.Clock, r.PreparedBy = s, request.Running, "somebody"
	r.Items[0].Outcome = request.Fulfilled
	r.Identity.VerifiedAt, r.Identity.AskedAt, r.Identity.RemindedAt = &done, &done, &done
	r.Reply = &request.Reply{Channel: request.ByPortal, Hash: "ab", At: day(20), Delivered: &delivered}
	return r
}

// TestOnlyTheTable tries every move from every state by everybody.
func TestOnlyTheTable(t *testing.T) {
	states := append([]request.State{"", request.Closed, request.Withdrawn, request.Forwarded}, opens()...)
	for rule, move := range moves() {
		want, ok := legal()[rule]
		if !ok {
			t.Fatalf("%s isn't in the law", rule)
		}
		for _, from := range states {
			for _, as := range []request.Actor{request.BySubject, request.ByHandler, request.ByApprover, request.BySystem} {
				r := ready(from)
				before := *r
				e, err := move(r, act(as, "me", 22, "because"))
				may := in(want.from, string(from)) && in(want.actors, string(as))
				switch {
				case may && err != nil:
					t.Errorf("%s from %q by %s: %v", rule, from, as, err)
				case may && (string(r.State) != want.to || e.Rule != rule || e.From != from || e.To != r.State || e.ClockAfter != r.Clock):
					t.Errorf("%s from %q by %s: %s, %+v", rule, from, as, r.State, e)
				case !may && errs.KindOf(err) != errs.Precondition:
					t.Errorf("%s from %q by %s is possible, or refused as %v", rule, from, as, err)
				case !may && (r.State != before.State || r.Clock != before.Clock || len(r.Pauses) != 0):
					t.Errorf("%s from %q by %s was refused, and changed the request", rule, from, as)
				}
			}
		}
	}
}

func opens() []request.State {
	return []request.State{
		request.Received, request.AwaitingIdentity, request.AwaitingClarification, request.InProgress, request.InReview,
		request.Approved, request.Executing, request.Responded,
	}
}

func in(list, word string) bool {
	if list == "" || word == "" {
		return list == word
	}
	for len(list) > 0 {
		next := list
		if i := slices.Index([]byte(list), ' '); i >= 0 {
			next, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		if next == word {
			return true
		}
	}
	return false
}

// TestGuards: what each guard refuses, with everything else in place.
func TestGuards(t *testing.T) {
	tests := []struct {
		name string
		in   request.State
		do   func(r *request.Request) error
	}{
		{"no channel", "", func(r *request.Request) error { r.Channel = ""; return second(r.Open(act(request.ByHandler, "a", 1))) }},
		{"received tomorrow", "", func(r *request.Request) error {
			r.ReceivedAt = day(2)
			return second(r.Open(act(request.ByHandler, "a", 1)))
		}},
		{"no right", "", func(r *request.Request) error { r.Items = nil; return second(r.Open(act(request.ByHandler, "a", 1))) }},
		{"forwarded to nobody", request.Received, func(r *request.Request) error {
			return second(r.Forward(act(request.ByHandler, "a", 1), text(""), text("")))
		}},
		{"asked without doubt", request.Received, func(r *request.Request) error {
			return second(r.AskIdentity(act(request.ByHandler, "a", 1), request.Question{Asked: text("passport"), Proportionality: text("x")}, true))
		}},
		{"asked out of proportion", request.Received, func(r *request.Request) error {
			return second(r.AskIdentity(act(request.ByHandler, "a", 1), request.Question{Asked: text("passport"), Doubt: text("x")}, true))
		}},
		{"nothing to prove, and no reason", request.Received, func(r *request.Request) error {
			return second(r.Begin(act(request.ByHandler, "a", 1), request.Proof{Method: request.NotNeeded, Subject: "sub"}))
		}},
		{"nobody", request.Received, func(r *request.Request) error {
			return second(r.Begin(act(request.ByHandler, "a", 1), request.Proof{Method: request.EIDSession}))
		}},
		{"not reminded", request.AwaitingIdentity, func(r *request.Request) error {
			r.Identity.RemindedAt = nil
			return second(r.GiveUpIdentity(act(request.ByApprover, "a", 40, "silence"), 0, &reply))
		}},
		{"given up too early", request.AwaitingIdentity, func(r *request.Request) error {
			return second(r.GiveUpIdentity(act(request.ByApprover, "a", 30, "silence"), 30*24*time.Hour, &reply))
		}},
		{"asked for ever", request.AwaitingIdentity, func(r *request.Request) error {
			r.Identity.Attempts = request.MaxAttempts
			return second(r.AskAgain(act(request.ByHandler, "a", 3, "unreadable"), question, true))
		}},
		{"clarifying an erasure", request.InProgress, func(r *request.Request) error {
			r.Items[0].Type = request.Erasure
			return second(r.AskToClarify(act(request.ByHandler, "a", 3, "what?"), true, true))
		}},
		{"clarifying a little", request.InProgress, func(r *request.Request) error {
			return second(r.AskToClarify(act(request.ByHandler, "a", 3, "what?"), false, true))
		}},
		{"extended without reason", request.InProgress, func(r *request.Request) error {
			return second(r.Extend(act(request.ByApprover, "a", 3), day(3)))
		}},
		{"extended when the month is over", request.InProgress, func(r *request.Request) error {
			return second(r.Extend(act(request.ByApprover, "a", 33, "complex"), day(33)))
		}},
		{"extended by a notice to come", request.InProgress, func(r *request.Request) error {
			return second(r.Extend(act(request.ByApprover, "a", 3, "complex"), day(4)))
		}},
		{"extended twice", request.InProgress, func(r *request.Request) error {
			r.Extension = &request.Extension{}
			return second(r.Extend(act(request.ByApprover, "a", 3, "complex"), day(3)))
		}},
		{"a place hasn't answered", request.InProgress, func(r *request.Request) error {
			r.Answers = []request.Answer{{System: "crm", Result: request.Waiting}}
			return second(r.Submit(act(request.ByHandler, "a", 3)))
		}},
		{"a place failed without reason", request.InProgress, func(r *request.Request) error {
			r.Answers = []request.Answer{{System: "crm", Result: request.Failed}}
			return second(r.Submit(act(request.ByHandler, "a", 3)))
		}},
		{"no place has answered at all", request.InProgress, func(r *request.Request) error {
			r.Answers, r.Items[0].Outcome, r.Items[0].Proposal = nil, "", &request.Proposal{Outcome: request.NoDataHeld}
			return second(r.Submit(act(request.ByHandler, "a", 3)))
		}},
		{"an item undecided", request.InProgress, func(r *request.Request) error {
			r.Items[0].Outcome = ""
			return second(r.Submit(act(request.ByHandler, "a", 3)))
		}},
		{"secrecy not looked at", request.InReview, func(r *request.Request) error {
			return second(r.Approve(act(request.ByApprover, "a", 3), request.Check{Holds: true, Exceptions: true, Others: true}))
		}},
		{"a hold since", request.Approved, func(r *request.Request) error {
			return second(r.Execute(act(request.BySystem, "", 3), true))
		}},
		{"who asks isn't settled", request.Approved, func(r *request.Request) error {
			r.Identity.VerifiedAt = nil
			return second(r.Respond(act(request.ByHandler, "a", 3), reply))
		}},
		{"an item without outcome", request.Executing, func(r *request.Request) error {
			r.Items[0].Outcome = ""
			return second(r.Respond(act(request.ByHandler, "a", 3), reply))
		}},
		{"an answer nobody has seen", request.Executing, func(r *request.Request) error {
			return second(r.Respond(act(request.ByHandler, "a", 3), request.Reply{Channel: request.ByPortal}))
		}},
		{"a notice that bounced", request.Responded, func(r *request.Request) error {
			r.Reply.Bounced = true
			return second(r.Close(act(request.ByHandler, "a", 30), true))
		}},
		{"recipients not told", request.Responded, func(r *request.Request) error {
			return second(r.Close(act(request.ByHandler, "a", 30), false))
		}},
		{"reopened without reason", request.Closed, func(r *request.Request) error {
			return second(r.Reopen(act(request.ByApprover, "a", 40), "item-ACCESS"))
		}},
		{"a refusal without reason", request.InProgress, func(r *request.Request) error {
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Refused, Refusal: request.RefusedExcessive}))
		}},
		{"a refusal without code", request.InProgress, func(r *request.Request) error {
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Refused, Reason: text("no")}))
		}},
		{"a code that doesn't exist", request.InProgress, func(r *request.Request) error {
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Refused, Reason: text("no"), Refusal: "CONFIDENTIAL_RESTRICTION"}))
		}},
		{"marketing weighed", request.InProgress, func(r *request.Request) error {
			r.Items[0].Type = request.ObjectionMarketing
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Refused, Reason: text("no"), Refusal: request.RefusedCompellingGrounds}))
		}},
		{"a trade secret for all", request.InProgress, func(r *request.Request) error {
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Refused, Reason: text("no"), Refusal: request.RefusedTradeSecret}))
		}},
		{"erased without a plan", request.InProgress, func(r *request.Request) error {
			r.Items[0].Type = request.Erasure
			return second(r.Propose(act(request.ByHandler, "a", 3), "item-ACCESS", request.Proposal{Outcome: request.Fulfilled}))
		}},
		{"receipt corrected by a handler", request.InProgress, func(r *request.Request) error {
			return second(r.CorrectReceipt(act(request.ByHandler, "a", 3, "typo"), day(1)))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ready(tt.in)
			err := tt.do(r)
			if errs.KindOf(err) != errs.Precondition {
				t.Fatalf("got %v", err)
			}
			if r.State != tt.in {
				t.Errorf("it moved to %s", r.State)
			}
		})
	}
}

func second(_ request.Event, err error) error { return err }

func TestFourEyes(t *testing.T) {
	r := ready(request.InProgress)
	if _, err := r.Submit(act(request.ByApprover, "anna", 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Approve(act(request.ByApprover, "anna", 4), checked); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("the preparer approves: %v", err)
	}
	if _, err := r.Approve(act(request.ByApprover, "bo", 4), checked); err != nil {
		t.Error(err)
	}
}

// TestPauses: the clock stands still from the question to the answer that was
// enough, and runs meanwhile when it was asked again too late.
func TestPauses(t *testing.T) {
	r := fresh(request.Access)
	must := func(_ request.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Open(act(request.ByHandler, "a", 0)))
	must(r.AskIdentity(act(request.ByHandler, "a", 1), question, true))
	if r.Clock != request.Paused || r.Pauses[0].Until != nil || !r.Pauses[0].Counts {
		t.Fatalf("asked: %s %+v", r.Clock, r.Pauses)
	}
	must(r.AskAgain(act(request.ByHandler, "a", 9, "unreadable"), question, false))
	if r.Clock != request.Running || r.Pauses[0].Until == nil {
		t.Fatalf("asked again, late: %s %+v", r.Clock, r.Pauses)
	}
	answered := day(10)
	p := proof
	p.AnsweredAt = &answered
	must(r.Identify(act(request.ByHandler, "a", 12), p))
	if r.Clock != request.Running || !r.Pauses[0].Until.Equal(day(9)) || r.Subject != "sub" || r.Identity.Attempts != 1 {
		t.Errorf("identified: %s %+v", r.Clock, r.Pauses)
	}
	must(r.AskToClarify(act(request.ByHandler, "a", 13, "which years?"), true, false))
	must(r.Clarify(act(request.BySystem, "", 20, "no answer: everything")))
	if len(r.Pauses) != 2 || r.Pauses[1].Counts || !r.Pauses[1].Until.Equal(day(20)) {
		t.Errorf("clarified: %+v", r.Pauses)
	}

	early, again := day(1), fresh(request.Access)
	p.AnsweredAt = &early
	must(again.Open(act(request.ByHandler, "a", 0)))
	must(again.AskIdentity(act(request.ByHandler, "a", 2), question, true))
	if _, err := again.Identify(act(request.ByHandler, "a", 3), p); errs.KindOf(err) != errs.Precondition {
		t.Errorf("answered before it was asked: %v", err)
	}
}

// dice gives the same numbers again for a seed.
type dice struct{ seed, rolls uint64 }

func (d *dice) roll(n int) int {
	d.rolls++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, d.seed), d.rolls))
	return int(binary.BigEndian.Uint32(sum[:4])) % n
}

// TestWalks makes random moves: whatever happens, the clock and the pauses agree,
// nothing is answered without a search and an identity, and an event tells of each move.
func TestWalks(t *testing.T) {
	rules := make([]request.Rule, 0, len(moves()))
	for rule := range moves() {
		rules = append(rules, rule)
	}
	slices.Sort(rules)
	answered := 0
	for seed := range uint64(1000) {
		rnd := &dice{seed: seed}
		r, state := fresh(request.Access), request.State("")
		for on := range 200 {
			rule := rules[rnd.roll(len(rules))]
			if (rule == request.Withdraw || rule == request.Forward) && rnd.roll(20) > 0 {
				continue // they end most walks too soon
			}
			as := []request.Actor{request.BySubject, request.ByHandler, request.ByApprover, request.BySystem}[rnd.roll(4)]
			if r.State == request.InProgress && r.Items[0].Proposal == nil {
				if _, err := r.Propose(act(request.ByHandler, "a", on), "item-ACCESS", request.Proposal{Outcome: request.Fulfilled}); err != nil {
					t.Fatal(err)
				}
			}
			if r.State == request.InProgress && rnd.roll(4) == 0 {
				r.Answers = []request.Answer{{System: "crm", Result: request.None}}
			}
			if r.State == request.Executing {
				r.Items[0].Outcome = request.Fulfilled
			}
			e, err := moves()[rule](r, act(as, []string{"a", "b"}[rnd.roll(2)], on, "because"))
			if err != nil {
				if r.State != state {
					t.Fatalf("seed %d: refused %s moved it to %s", seed, rule, r.State)
				}
				continue
			}
			if e.From != state || e.To != r.State {
				t.Fatalf("seed %d: %+v", seed, e)
			}
			state = r.State
			open := len(r.Pauses) > 0 && r.Pauses[len(r.Pauses)-1].Until == nil
			if open != (r.Clock == request.Paused) {
				t.Fatalf("seed %d: after %s the clock is %s, pauses %+v", seed, rule, r.Clock, r.Pauses)
			}
			if r.State == request.Responded && rule == request.Respond {
				answered++
				if len(r.Answers) == 0 || !r.Identity.Verified() || r.ApprovedBy == "" || r.ApprovedBy == r.PreparedBy {
					t.Fatalf("seed %d: answered without search, identity or approval: %+v", seed, r)
				}
			}
			if !state.Open() && r.Clock != request.Stopped {
				t.Fatalf("seed %d: %s with a clock %s", seed, state, r.Clock)
			}
		}
	}
	if answered < 50 {
		t.Errorf("only %d walks came to an answer", answered)
	}
}
