package rights_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// bureau is an office that answers requests from the first message to the letter.
type bureau struct {
	*office

	requests *request.Service
	post     *post.Service
	tenants  *tenancy.Service
	person   *subject.Subject
	handler  context.Context
	approver context.Context
}

func openBureau(t *testing.T) *bureau {
	t.Helper()
	o := open(t)
	b := &bureau{office: o}
	log := testenv.Logger(t)
	subjects := mongo.NewSubjectStore(o.DB, o.Vault, log)
	mail, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(o.DB, o.Vault), Changes: o.Changes, Log: log, Now: o.Now})
	o.ok(err)
	b.tenants = tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder, Vault: o.Vault,
		Hasher: vault.Hasher{Vault: o.Vault}, Mail: mail, Now: o.Now,
	})
	library, err := letter.NewLibrary()
	o.ok(err)
	letters := letter.NewService(letter.Config{
		Library: library, Store: mongo.NewLetterStore(o.DB), Tenants: b.tenants, Changes: o.Changes, Now: o.Now,
	})
	works := o.s.Works()
	b.post = post.NewService(post.Config{
		Store: mongo.NewPostStore(o.DB, o.Vault), Library: library, Letters: letters, Tenants: b.tenants, Subjects: subjects, Works: works,
		Mail: mail, Changes: o.Changes, BaseURL: "https://vogter.example", Now: o.Now,
	})
	b.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(o.DB), b.tenants, o.Changes), Subjects: subjects, Members: b.tenants,
		Works: works, Post: b.post, Vault: o.Vault, Log: log, Now: o.Now,
	})
	o.s.Requests, o.s.Post, o.s.Members = b.requests, b.post, b.tenants
	o.Handle(request.JobSearch, b.requests.Search)
	o.Handle(request.JobCarry, b.requests.Carry)
	o.Handle(request.JobFollow, b.requests.Follow)
	o.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	b.handler, b.approver = b.member(authz.RoleCaseHandler, "handler"), b.member(authz.RoleApprover, "approver")
	b.person, err = o.Subjects.Create(o.As(testenv.One), subject.CreateInput{
		Name: &subject.NameInput{Full: new(personal.NewText("Anna Ibsen"))}, Emails: []personal.Text{personal.NewText("anna@mail.example")},
	})
	o.ok(err)
	now, err := b.tenants.Get(o.As(testenv.One))
	o.ok(err)
	_, err = b.tenants.Update(o.As(testenv.One), tenancy.UpdateInput{
		ID: string(testenv.One), ExpectedVersion: now.Version, HolidayCalendar: new("DK"), Letterhead: &tenancy.Letterhead{
			Address: "Opdigtet Vej 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{
				Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example",
				Website: "https://authority.example",
			},
		},
	})
	o.ok(err)
	return b
}

// member is a call of a new member of the first tenant, of any day to come.
func (b *bureau) member(role authz.Role, name string) context.Context {
	b.Helper()
	m, err := b.tenants.AddMember(b.As(testenv.One), tenancy.AddMemberInput{
		Email: personal.NewText(name + "@one.example"), Role: role, Identity: "identity-of-" + name,
	})
	b.ok(err)
	return authz.NewContext(tenant.NewContext(b.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: role, AAL: authz.AAL2, AuthenticatedAt: b.Now(),
	})
}

// begun is a request of the person for one right, whose search is over.
func (b *bureau) begun(t request.Type, wish string) *request.Request {
	b.Helper()
	r, err := b.requests.Open(b.handler, request.OpenInput{
		Channel: request.ByPhone, ReceivedAt: b.Now().Add(-time.Minute), Language: new("en"), Items: []request.ItemInput{{Type: t, Wish: &wish}},
	})
	b.ok(err)
	_, err = b.requests.Identify(b.handler, request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: b.person.ID, Method: request.CallBack})
	b.ok(err)
	return b.worked(r)
}

// worked lets the worker do what follows.
func (b *bureau) worked(r *request.Request) *request.Request {
	b.Helper()
	b.Work(tenant.System(b.Context(), "worker"))
	return b.read(r)
}

func (b *bureau) read(r *request.Request) *request.Request {
	b.Helper()
	r, err := b.requests.Get(b.handler, r.ID)
	b.ok(err)
	return r
}

// decided has what is proposed approved by another, carried out and answered.
func (b *bureau) decided(r *request.Request, p request.ProposeInput) *request.Request {
	b.Helper()
	r = b.read(r)
	p.ID, p.ExpectedVersion, p.Item = r.ID, r.Version, r.Items[0].ID
	r, err := b.requests.Propose(b.handler, p)
	b.ok(err)
	return b.worked(b.approved(r))
}

// approved submits what is proposed and has it approved by another.
func (b *bureau) approved(r *request.Request) *request.Request {
	b.Helper()
	r = b.read(r)
	if r.Items[0].Outcome == "" || r.State == request.InProgress {
		var err error
		r, err = b.requests.Submit(b.handler, request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
		b.ok(err)
	}
	r, err := b.requests.Approve(b.approver, request.ApproveInput{
		ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true,
	})
	b.ok(err)
	return r
}

// answer is the text of the last letter to the person.
func (b *bureau) answer(r *request.Request, form string) string {
	b.Helper()
	letters, err := b.post.Of(b.handler, r)
	b.ok(err)
	last := letters[len(letters)-1]
	if !slices.Equal(last.Forms, []string{form}) {
		b.Fatalf("the last letter is %v, want %s; the request is %s", last.Forms, form, r.State)
	}
	return last.Text().Reveal()
}

func (b *bureau) says(text string, parts ...string) {
	b.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			b.Errorf("the letter doesn't say %q:\n%s", p, text)
		}
	}
}

// TestRestrictionCase goes from the wish to the letters that it is granted and that it
// will be lifted, and to the end of it.
func TestRestrictionCase(t *testing.T) {
	b := openBureau(t)
	r := b.begun(request.Restriction, "my address is wrong")
	plan, err := b.s.Plan(b.handler, b.person.ID, "18(1)(a)")
	b.ok(err)
	r = b.decided(r, request.ProposeInput{Outcome: request.Fulfilled, Ground: new("18(1)(a)"), Plan: &plan.Hash})
	if r.State != request.Responded || r.Items[0].Outcome != request.Fulfilled {
		t.Fatalf("%s, %+v", r.State, r.Items[0])
	}
	b.says(b.answer(r, "restriction-confirmed"), "All data that we hold on you", "until we have looked into whether the data are right", "Article 18(1)(a)")

	today := civil.Of(b.Now())
	in := rights.NoticeInput{Request: r.ID, Item: r.Items[0].ID, LiftOn: today, Reason: "The address was right.", Consequences: "We use the data again."}
	if _, err := b.s.Announce(b.handler, in); errs.KindOf(err) != errs.Invalid {
		t.Errorf("without time to answer: %v", err)
	}
	in.LiftOn = today.AddDays(14)
	if _, err := b.s.Announce(b.As(testenv.Two), in); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
	st, err := b.s.Announce(b.handler, in)
	b.ok(err)
	if n := st.Causes[0].Notice; n == nil || n.LetterID() == nil || n.LiftOn != in.LiftOn {
		t.Fatalf("noted %+v", st.Causes[0])
	}
	b.says(b.answer(r, "restriction-before-lifting"), "The address was right.", "We use the data again.", "All data that we hold on you")
	lift := rights.LiftInput{Subject: b.person.ID, Item: r.Items[0].ID}
	if _, err := b.s.Lift(b.handler, lift); !errors.Is(err, rights.ErrSame) {
		t.Errorf("by who told the person: %v", err)
	}
	if _, err := b.s.Lift(b.approver, lift); !errors.Is(err, rights.ErrEarly) {
		t.Errorf("before the day that the person was told: %v", err)
	}
	b.Sleep(15 * 24 * time.Hour)
	if st, err = b.s.Lift(b.approver, lift); err != nil || len(st.Causes) != 0 {
		t.Errorf("lifted: %+v, %v", st, err)
	}
	if got := b.Entries(b.Context(), r.Items[0].ID); !slices.Equal(got, []string{"rights.restriction", "rights.announceLifting", "rights.liftRestriction"}) {
		t.Errorf("the audit log has %q", got)
	}
}

// TestEffectsAreTold: what takes effect at once is confirmed, too.
func TestEffectsAreTold(t *testing.T) {
	b := openBureau(t)
	one := b.As(testenv.One)
	b.purpose(one, "news", purpose.Consent, true)
	n := b.notice(one, "news")
	b.give(one, b.person, n, "news")
	b.Sleep(time.Minute)
	r := b.begun(request.ConsentWithdrawal, "news")
	r = b.worked(b.approved(r))
	b.says(b.answer(r, "consent-withdrawal-confirmed"), "- Purpose", "remains lawful", strings.TrimPrefix(r.Items[0].Results[0], "cns_"))
	r = b.worked(b.approved(b.begun(request.ObjectionMarketing, "")))
	b.says(b.answer(r, "marketing-objection-confirmed"), "on its way before your no")
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
	b := openBureau(t)
	b.purpose(b.As(testenv.One), "fraud", "eu-gdpr:A6-1-f", false)
	r := b.begun(request.Objection, "stop that")
	if b.sees(b.person, "fraud") {
		t.Error("the processing goes on while the objection is weighed")
	}
	refusal := request.ProposeInput{
		ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Refused, Refusal: new(request.RefusedCompellingGrounds), Reason: new("See above."),
	}
	if _, err := b.requests.Propose(b.handler, refusal); errs.KindOf(err) != errs.Precondition {
		t.Errorf("rejected without weighing: %v", err)
	}
	without := weigh(r, rights.Rejected)
	without.Compelling = nil
	if _, err := b.s.Weigh(b.handler, without); errs.KindOf(err) != errs.Invalid {
		t.Errorf("rejected without compelling grounds: %v", err)
	}
	if _, err := b.s.Weigh(b.As(testenv.Two), weigh(r, rights.Rejected)); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
	r, err := b.s.Weigh(b.approver, weigh(r, rights.Rejected))
	b.ok(err)
	refusal.ExpectedVersion, refusal.Plan = r.Version, &r.Items[0].Prepared.Hash
	r, err = b.requests.Propose(b.handler, refusal)
	b.ok(err)
	r, err = b.requests.Submit(b.handler, request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	b.ok(err)
	approve := request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true}
	if _, err := b.requests.Approve(b.approver, approve); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("approved by who weighed it: %v", err)
	}
	if _, err := b.s.Weigh(b.handler, weigh(r, rights.Rejected)); errs.KindOf(err) != errs.Precondition {
		t.Errorf("weighed again while it is reviewed: %v", err)
	}
	r, err = b.requests.SendBack(b.approver, request.ReasonInput{ID: r.ID, ExpectedVersion: r.Version, Reason: "another has to weigh it"})
	b.ok(err)
	r, err = b.s.Weigh(b.handler, weigh(r, rights.Rejected))
	b.ok(err)
	refusal.ExpectedVersion = r.Version
	if _, err := b.requests.Propose(b.handler, refusal); !errors.Is(err, request.ErrPlan) {
		t.Errorf("rests on what was weighed before: %v", err)
	}
	refusal.Plan = &r.Items[0].Prepared.Hash
	r = b.decided(r, refusal)
	b.says(b.answer(r, "objection-rejected"), "looking for fraud", "Frauds were stopped by it.", "The error is in the register of another.", "We have marked it.")
	if !b.sees(b.person, "fraud") {
		t.Error("the processing is stopped although the objection was rejected")
	}

	withdrawn := b.begun(request.Objection, "")
	if b.sees(b.person, "fraud") {
		t.Error("the processing goes on while another objection is weighed")
	}
	_, err = b.requests.Withdraw(b.handler, request.WithdrawInput{ID: withdrawn.ID, Statement: new("by phone")})
	b.ok(err)
	b.worked(withdrawn)
	if !b.sees(b.person, "fraud") {
		t.Error("the processing is stopped although the objection was withdrawn")
	}

	upheld := b.begun(request.Objection, "")
	upheld, err = b.s.Weigh(b.handler, weigh(upheld, rights.Upheld))
	b.ok(err)
	refusal.ID, refusal.Item, refusal.Plan = upheld.ID, upheld.Items[0].ID, &upheld.Items[0].Prepared.Hash
	refusal.ExpectedVersion = upheld.Version
	if _, err := b.requests.Propose(b.handler, refusal); errs.KindOf(err) != errs.Precondition {
		t.Errorf("rejected although it was upheld: %v", err)
	}
	upheld = b.decided(upheld, request.ProposeInput{Outcome: request.Fulfilled, Plan: &upheld.Items[0].Prepared.Hash})
	b.says(b.answer(upheld, "objection-upheld"), "looking for fraud")
	if b.sees(b.person, "fraud") {
		t.Error("the processing goes on although the objection was upheld")
	}
	b.replay()
	if b.sees(b.person, "fraud") {
		t.Error("a restore undoes an objection")
	}
}

// TestReviewCase: a person looks at an automated decision, and another approves.
func TestReviewCase(t *testing.T) {
	b := openBureau(t)
	r := b.begun(request.AutomatedDecision, "a machine refused me")
	propose := request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled}
	if _, err := b.requests.Propose(b.handler, propose); errs.KindOf(err) != errs.Precondition {
		t.Errorf("without a review: %v", err)
	}
	in := rights.ReviewInput{
		ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, MayChange: true, View: "My income is higher.", Explanation: "A score of income and age.",
		Reasons: "The income was out of date.", Result: "The application is granted.", Finding: rights.Changed,
	}
	machine, powerless, own := in, in, in
	powerless.MayChange, own.DecidedBy = false, new(authz.FromContext(b.handler).ID)
	for name, try := range map[string]struct {
		ctx context.Context
		in  rights.ReviewInput
	}{"a machine": {b.As(testenv.One), machine}, "without authority": {b.handler, powerless}, "one's own decision": {b.handler, own}} {
		if _, err := b.s.Review(try.ctx, try.in); !errors.Is(err, rights.ErrReviewer) {
			t.Errorf("by %s: %v", name, err)
		}
	}
	in.DecidedBy = new(authz.FromContext(b.approver).ID)
	r, err := b.s.Review(b.handler, in)
	b.ok(err)
	if v, err := b.s.ReviewOf(&r.Items[0]); err != nil || v.Reviewer != authz.FromContext(b.handler).ID || v.View.Reveal() != in.View || *v.Decider() != *in.DecidedBy {
		t.Errorf("%+v, %v", v, err)
	}
	stored, err := b.Stored("requests").FindOne(b.Context(), map[string]any{"_id": r.ID}).Raw()
	b.ok(err)
	if strings.Contains(string(stored), "income") {
		t.Error("the review is stored in clear")
	}
	r = b.decided(r, request.ProposeInput{Outcome: request.Fulfilled, Plan: &r.Items[0].Prepared.Hash})
	b.says(b.answer(r, "automated-decision-review"), "The application is granted.", "The income was out of date.", "A score of income and age.")
}
