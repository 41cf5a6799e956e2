package rights_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/bureau"
)

// desk is an office that answers requests.
type desk struct {
	*bureau.Bureau

	o *office
}

func openDesk(t *testing.T) *desk {
	t.Helper()
	o := open(t)
	b := &desk{bureau.Open(o.World, o.s.Works()), o}
	o.s.Requests, o.s.Post, o.s.Members = b.Requests, b.Post, b.Tenants
	return b
}

// TestRestrictionCase goes from the wish to the letters that it is granted and that it
// will be lifted, and to the end of it.
func TestRestrictionCase(t *testing.T) {
	b := openDesk(t)
	r := b.Begun(request.Restriction, "my address is wrong")
	plan, err := b.o.s.Plan(b.Handler(), b.Person.ID, "18(1)(a)")
	b.o.ok(err)
	r = b.Decided(r, request.ProposeInput{Outcome: request.Fulfilled, Ground: new("18(1)(a)"), Plan: &plan.Hash})
	if r.State != request.Responded || r.Items[0].Outcome != request.Fulfilled {
		t.Fatalf("%s, %+v", r.State, r.Items[0])
	}
	b.Says(b.Answer(r, "restriction-confirmed"), "All data that we hold on you", "until we have looked into whether the data are right", "Article 18(1)(a)")

	today := civil.Of(b.Now())
	in := rights.NoticeInput{Request: r.ID, Item: r.Items[0].ID, LiftOn: today, Reason: "The address was right.", Consequences: "We use the data again."}
	if _, err := b.o.s.Announce(b.Handler(), in); errs.KindOf(err) != errs.Invalid {
		t.Errorf("without time to answer: %v", err)
	}
	in.LiftOn = today.AddDays(14)
	if _, err := b.o.s.Announce(b.As(testenv.Two), in); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
	st, err := b.o.s.Announce(b.Handler(), in)
	b.o.ok(err)
	if n := st.Causes[0].Notice; n == nil || n.LetterID() == nil || n.LiftOn != in.LiftOn {
		t.Fatalf("noted %+v", st.Causes[0])
	}
	b.Says(b.Answer(r, "restriction-before-lifting"), "The address was right.", "We use the data again.", "All data that we hold on you")
	lift := rights.LiftInput{Subject: b.Person.ID, Item: r.Items[0].ID}
	if _, err := b.o.s.Lift(b.Handler(), lift); !errors.Is(err, rights.ErrSame) {
		t.Errorf("by who told the person: %v", err)
	}
	if _, err := b.o.s.Lift(b.Approver(), lift); !errors.Is(err, rights.ErrEarly) {
		t.Errorf("before the day that the person was told: %v", err)
	}
	b.Sleep(15 * 24 * time.Hour)
	if st, err = b.o.s.Lift(b.Approver(), lift); err != nil || len(st.Causes) != 0 {
		t.Errorf("lifted: %+v, %v", st, err)
	}
	if got := b.Entries(b.Context(), r.Items[0].ID); !slices.Equal(got, []string{"rights.restriction", "rights.announceLifting", "rights.liftRestriction"}) {
		t.Errorf("the audit log has %q", got)
	}
}

// TestEffectsAreTold: what takes effect at once is confirmed, too.
func TestEffectsAreTold(t *testing.T) {
	b := openDesk(t)
	one := b.As(testenv.One)
	b.o.purpose(one, "news", purpose.Consent, true)
	n := b.o.notice(one, "news")
	b.o.give(one, b.Person, n, "news")
	b.Sleep(time.Minute)
	r := b.Begun(request.ConsentWithdrawal, "news")
	r = b.Worked(b.Approved(r))
	b.Says(b.Answer(r, "consent-withdrawal-confirmed"), "- Purpose", "remains lawful", strings.TrimPrefix(r.Items[0].Results[0], "cns_"))
	r = b.Worked(b.Approved(b.Begun(request.ObjectionMarketing, "")))
	b.Says(b.Answer(r, "marketing-objection-confirmed"), "on its way before your no")
}

// weigh is how an objection was weighed.
func weigh(r *request.Request, v rights.Verdict) rights.WeighInput {
	in := rights.WeighInput{
		ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Processing: "looking for fraud", Grounds: "I was named in error.",
		Balance: "The error is in the register of another.", Safeguards: new("We have marked it."), Verdict: v,
	}
	if v == rights.Rejected {
		in.Compelling = new("Frauds were stopped by it.")
	}
	return in
}

// TestObjectionCase: what is objected to stops while it is weighed, and for good
// unless compelling grounds are shown.
func TestObjectionCase(t *testing.T) {
	b := openDesk(t)
	b.o.purpose(b.As(testenv.One), "fraud", "eu-gdpr:A6-1-f", false)
	r := b.Begun(request.Objection, "stop that")
	if b.o.sees(b.Person, "fraud") {
		t.Error("the processing goes on while the objection is weighed")
	}
	caller := authz.FromContext(b.Handler())
	caller.Purpose = "fraud"
	stating := authz.NewContext(b.Handler(), caller)
	if got, err := b.Subjects.Get(stating, b.Person.ID); err != nil || got.IdentityReason == nil || *got.IdentityReason != authz.ReasonObjection {
		t.Errorf("kept from the purpose for %v, %v", got.IdentityReason, err)
	}
	change := subject.UpdateInput{ID: b.Person.ID, ExpectedVersion: 1, Phones: []personal.Text{}}
	if _, err := b.Subjects.Update(stating, change); !errors.Is(err, authz.ErrObjected) {
		t.Errorf("changed for the purpose: %v", err)
	}
	refusal := request.ProposeInput{
		ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Refused, Refusal: new(request.RefusedCompellingGrounds), Reason: new("See above."),
	}
	if _, err := b.Requests.Propose(b.Handler(), refusal); errs.KindOf(err) != errs.Precondition {
		t.Errorf("rejected without weighing: %v", err)
	}
	without := weigh(r, rights.Rejected)
	without.Compelling = nil
	if _, err := b.o.s.Weigh(b.Handler(), without); errs.KindOf(err) != errs.Invalid {
		t.Errorf("rejected without compelling grounds: %v", err)
	}
	if _, err := b.o.s.Weigh(b.As(testenv.Two), weigh(r, rights.Rejected)); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
	r, err := b.o.s.Weigh(b.Approver(), weigh(r, rights.Rejected))
	b.o.ok(err)
	refusal.ExpectedVersion, refusal.Plan = r.Version, &r.Items[0].Prepared.Hash
	r, err = b.Requests.Propose(b.Handler(), refusal)
	b.o.ok(err)
	r, err = b.Requests.Submit(b.Handler(), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	b.o.ok(err)
	approve := request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true}
	if _, err := b.Requests.Approve(b.Approver(), approve); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("approved by who weighed it: %v", err)
	}
	if _, err := b.o.s.Weigh(b.Handler(), weigh(r, rights.Rejected)); errs.KindOf(err) != errs.Precondition {
		t.Errorf("weighed again while it is reviewed: %v", err)
	}
	r, err = b.Requests.SendBack(b.Approver(), request.ReasonInput{ID: r.ID, ExpectedVersion: r.Version, Reason: "another has to weigh it"})
	b.o.ok(err)
	r, err = b.o.s.Weigh(b.Handler(), weigh(r, rights.Rejected))
	b.o.ok(err)
	refusal.ExpectedVersion = r.Version
	if _, err := b.Requests.Propose(b.Handler(), refusal); !errors.Is(err, request.ErrPlan) {
		t.Errorf("rests on what was weighed before: %v", err)
	}
	refusal.Plan = &r.Items[0].Prepared.Hash
	r = b.Decided(r, refusal)
	b.Says(b.Answer(r, "objection-rejected"), "looking for fraud", "Frauds were stopped by it.", "The error is in the register of another.", "We have marked it.")
	if !b.o.sees(b.Person, "fraud") {
		t.Error("the processing is stopped although the objection was rejected")
	}

	withdrawn := b.Begun(request.Objection, "")
	if b.o.sees(b.Person, "fraud") {
		t.Error("the processing goes on while another objection is weighed")
	}
	_, err = b.Requests.Withdraw(b.Handler(), request.WithdrawInput{ID: withdrawn.ID, Statement: new("by phone")})
	b.o.ok(err)
	b.Worked(withdrawn)
	if !b.o.sees(b.Person, "fraud") {
		t.Error("the processing is stopped although the objection was withdrawn")
	}

	upheld := b.Begun(request.Objection, "")
	upheld, err = b.o.s.Weigh(b.Handler(), weigh(upheld, rights.Upheld))
	b.o.ok(err)
	refusal.ID, refusal.Item, refusal.Plan = upheld.ID, upheld.Items[0].ID, &upheld.Items[0].Prepared.Hash
	refusal.ExpectedVersion = upheld.Version
	if _, err := b.Requests.Propose(b.Handler(), refusal); errs.KindOf(err) != errs.Precondition {
		t.Errorf("rejected although it was upheld: %v", err)
	}
	upheld = b.Decided(upheld, request.ProposeInput{Outcome: request.Fulfilled, Plan: &upheld.Items[0].Prepared.Hash})
	b.Says(b.Answer(upheld, "objection-upheld"), "looking for fraud")
	if b.o.sees(b.Person, "fraud") {
		t.Error("the processing goes on although the objection was upheld")
	}
	b.o.replay()
	if b.o.sees(b.Person, "fraud") {
		t.Error("a restore undoes an objection")
	}
}

// TestReviewCase: a person looks at an automated decision, and another approves.
func TestReviewCase(t *testing.T) {
	b := openDesk(t)
	r := b.Begun(request.AutomatedDecision, "a machine refused me")
	propose := request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled}
	if _, err := b.Requests.Propose(b.Handler(), propose); errs.KindOf(err) != errs.Precondition {
		t.Errorf("without a review: %v", err)
	}
	in := rights.ReviewInput{
		ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, MayChange: true, View: "My income is higher.", Explanation: "A score of income and age.",
		Reasons: "The income was out of date.", Result: "The application is granted.", Finding: rights.Changed,
	}
	machine, powerless, own := in, in, in
	powerless.MayChange, own.DecidedBy = false, new(authz.FromContext(b.Handler()).ID)
	for name, try := range map[string]struct {
		ctx context.Context
		in  rights.ReviewInput
	}{"a machine": {b.As(testenv.One), machine}, "without authority": {b.Handler(), powerless}, "one's own decision": {b.Handler(), own}} {
		if _, err := b.o.s.Review(try.ctx, try.in); !errors.Is(err, rights.ErrReviewer) {
			t.Errorf("by %s: %v", name, err)
		}
	}
	in.DecidedBy = new(authz.FromContext(b.Approver()).ID)
	r, err := b.o.s.Review(b.Handler(), in)
	b.o.ok(err)
	if v, err := b.o.s.ReviewOf(&r.Items[0]); err != nil || v.Reviewer != authz.FromContext(b.Handler()).ID || v.View.Reveal() != in.View || *v.Decider() != *in.DecidedBy {
		t.Errorf("%+v, %v", v, err)
	}
	stored, err := b.Stored("requests").FindOne(b.Context(), map[string]any{"_id": r.ID}).Raw()
	b.o.ok(err)
	if strings.Contains(string(stored), "income") {
		t.Error("the review is stored in clear")
	}
	r = b.Decided(r, request.ProposeInput{Outcome: request.Fulfilled, Plan: &r.Items[0].Prepared.Hash})
	b.Says(b.Answer(r, "automated-decision-review"), "The application is granted.", "The income was out of date.", "A score of income and age.")
}
