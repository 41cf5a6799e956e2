package request_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// clerk carries out requests for access: it stands in for the capability that does.
type clerk struct {
	found   int
	fail    error
	untold  bool
	carried int
	effects int
}

func (c *clerk) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	if c.found == 0 {
		return []request.Answer{{System: "store", Result: request.None}}, nil
	}
	return []request.Answer{{System: "store", Result: request.Found, Count: c.found}}, nil
}

func (c *clerk) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	if c.fail != nil {
		return request.Done{}, c.fail
	}
	c.carried++
	return request.Done{Outcome: item.Proposal.Outcome, Results: []string{"exp_made"}}, nil
}

func (c *clerk) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	c.effects++
	return request.Done{Outcome: request.Fulfilled}, nil
}

func (c *clerk) Tell(context.Context, *request.Request, *request.Item) (letter.Fields, error) {
	if c.untold {
		return letter.Fields{}, nil
	}
	day := letter.Date(civil.Date{Year: 2031, Month: 1, Day: 31})
	return letter.Fields{"package.dataAsOfDate": day, "package.expiresDate": day}, nil
}

// office is a World with requests.
type office struct {
	*world.World

	s        *request.Service
	post     *post.Service
	tenants  *tenancy.Service
	clerk    *clerk
	staff    context.Context // of the first tenant
	handler  *tenancy.Member
	approver *tenancy.Member
	person   *subject.Subject
}

const mailAddress = "anna.ibsen@mail.example"

func open(t *testing.T) *office {
	t.Helper()
	o := &office{World: world.Start(t), clerk: &clerk{}}
	log := testenv.Logger(t)
	subjects := mongo.NewSubjectStore(o.DB, o.Vault, log)
	mail, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(o.DB, o.Vault), Changes: o.Changes, Log: log, Now: o.Now})
	o.ok(err)
	o.tenants = tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder, Vault: o.Vault,
		Hasher: vault.Hasher{Vault: o.Vault}, Mail: mail, Now: o.Now,
	})
	library, err := letter.NewLibrary()
	o.ok(err)
	letters := letter.NewService(letter.Config{
		Library: library, Store: mongo.NewLetterStore(o.DB), Tenants: o.tenants, Changes: o.Changes, Now: o.Now,
	})
	works := map[request.Type]request.Work{request.Access: o.clerk, request.ObjectionMarketing: o.clerk, request.Erasure: o.clerk}
	o.post = post.NewService(post.Config{
		Store: mongo.NewPostStore(o.DB, o.Vault), Library: library, Letters: letters, Tenants: o.tenants, Subjects: subjects, Works: works,
		Mail: mail, Changes: o.Changes, BaseURL: world.BaseURL, Now: o.Now,
	})
	o.s = request.NewService(request.Config{
		Store: mongo.NewRequestStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(o.DB), o.tenants, o.Changes), Subjects: subjects, Members: o.tenants,
		Works: works, Post: o.post, Vault: o.Vault, Log: log, Now: o.Now,
	})
	o.Handle(request.JobSearch, o.s.Search)
	o.Handle(request.JobCarry, o.s.Carry)
	o.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	o.staff = o.As(testenv.One)
	o.handler, o.approver = o.member(authz.RoleCaseHandler, "handler"), o.member(authz.RoleApprover, "approver")
	o.member(authz.RoleDPO, "dpo")
	email := personal.NewText(mailAddress)
	o.person, err = o.Subjects.Create(o.staff, subject.CreateInput{
		Name: &subject.NameInput{Full: new(personal.NewText("Anna Ibsen"))}, Emails: []personal.Text{email},
	})
	o.ok(err)
	o.letterhead()
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *office) letterhead() {
	o.Helper()
	now, err := o.tenants.Get(o.staff)
	o.ok(err)
	country := "DK"
	_, err = o.tenants.Update(o.staff, tenancy.UpdateInput{
		ID: string(testenv.One), ExpectedVersion: now.Version, HolidayCalendar: &country, Letterhead: &tenancy.Letterhead{
			Address: "Opdigtet Vej 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{
				Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example",
				Website: "https://authority.example",
			},
		},
	})
	o.ok(err)
}

func (o *office) member(role authz.Role, name string) *tenancy.Member {
	o.Helper()
	m, err := o.tenants.AddMember(o.staff, tenancy.AddMemberInput{
		Email: personal.NewText(name + "@one.example"), Role: role, Identity: "identity-of-" + name,
	})
	o.ok(err)
	return m
}

// as is a call of a member of the first tenant.
func (o *office) as(m *tenancy.Member) context.Context {
	return authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: m.Role, AAL: authz.AAL2, AuthenticatedAt: o.Now(),
	})
}

// self is a call of a person.
func (o *office) self(s *subject.Subject) context.Context {
	return authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{
		Kind: authz.KindSubject, ID: id.New(id.Session, testenv.One), Tenant: testenv.One, Subject: s.ID,
	})
}

func (o *office) opened(types ...request.Type) *request.Request {
	o.Helper()
	in := request.OpenInput{Channel: request.ByPhone, ReceivedAt: o.Now().Add(-time.Minute), Message: new("give me my things"), Contact: new(mailAddress)}
	for _, t := range types {
		in.Items = append(in.Items, request.ItemInput{Type: t})
	}
	r, err := o.s.Open(o.as(o.handler), in)
	o.ok(err)
	return r
}

// begun is a request of the person who is known.
func (o *office) begun(types ...request.Type) *request.Request {
	o.Helper()
	r := o.opened(types...)
	_, err := o.s.Identify(o.as(o.handler), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: o.person.ID, Method: request.CallBack})
	o.ok(err)
	return o.worked(r)
}

// worked lets the worker do what follows.
func (o *office) worked(r *request.Request) *request.Request {
	o.Helper()
	o.Work(tenant.System(o.Context(), "worker"))
	r, err := o.s.Get(o.staff, r.ID)
	o.ok(err)
	return r
}

// approved proposes an outcome for each item, and has it approved and carried out.
func (o *office) approved(r *request.Request, p request.ProposeInput) *request.Request {
	o.Helper()
	for _, item := range r.Items {
		if item.Outcome != "" {
			continue
		}
		p.ID, p.ExpectedVersion, p.Item = r.ID, r.Version, item.ID
		var err error
		r, err = o.s.Propose(o.as(o.handler), p)
		o.ok(err)
	}
	r, err := o.s.Submit(o.as(o.handler), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	r, err = o.s.Approve(o.as(o.approver), request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
	o.ok(err)
	return o.worked(r)
}

// forms are the letters that were written about a request.
func (o *office) forms(r *request.Request) []string {
	o.Helper()
	letters, err := o.post.Of(o.staff, r)
	o.ok(err)
	var forms []string
	for _, l := range letters {
		forms = append(forms, strings.Join(l.Forms, "+"))
	}
	return forms
}

func (o *office) mails(template string) int {
	return o.Count(o.Context(), "messages", bson.D{{Key: "template", Value: template}})
}

func (o *office) rules(ctx context.Context, r *request.Request) []request.Rule {
	o.Helper()
	c, err := o.s.Events(ctx, r, page.Request{First: page.Max})
	o.ok(err)
	var rules []request.Rule
	for _, e := range c.Nodes() {
		rules = append(rules, e.Rule)
	}
	slices.Sort(rules)
	return rules
}

// TestAccess goes from the message to the answer and the end.
func TestAccess(t *testing.T) {
	o := open(t)
	r := o.begun(request.Access)
	if r.State != request.InProgress || len(r.Answers) != 1 || r.Answers[0].Result != request.None {
		t.Fatalf("after the search: %s, answers %v", r.State, r.Answers)
	}
	r = o.approved(r, request.ProposeInput{Outcome: request.Fulfilled})
	if r.State != request.Responded || r.Clock != request.Stopped || r.Items[0].Outcome != request.Fulfilled || r.Reply == nil || r.Reply.Channel != request.ByPortal {
		t.Fatalf("after approval: %s, %s, %+v, %+v", r.State, r.Clock, r.Items[0], r.Reply)
	}
	if got := o.forms(r); !slices.Equal(got, []string{"acknowledgement", "access-answer"}) {
		t.Errorf("letters %q", got)
	}
	letters, err := o.post.Of(o.staff, r)
	o.ok(err)
	if answer := letters[1].Text().Reveal(); letters[1].Hash != r.Reply.Hash || !strings.Contains(answer, "Kære Anna Ibsen,") || !strings.Contains(answer, "Datatilsynet") {
		t.Errorf("the answer is %s", answer)
	}
	if ack := letters[0].Text().Reveal(); strings.Contains(ack, "Anna") || !strings.Contains(ack, r.Number) {
		t.Errorf("the receipt to somebody who isn't known yet is %s", ack)
	}
	if pdf, err := letters[1].PDF(); err != nil || !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Errorf("no PDF: %v", err)
	}
	if got := [2]int{o.mails(notify.TemplateLetter), o.mails(notify.TemplateRequestAnswered)}; got != [2]int{1, 1} {
		t.Errorf("mails %v: the receipt, and that there is an answer", got)
	}
	// Once more, as after a crash before the clock stopped: one answer.
	again, err := o.post.Answer(o.staff, r)
	if err != nil || again.Letter != r.Reply.Letter || o.mails(notify.TemplateRequestAnswered) != 1 {
		t.Errorf("answered again: %+v, %v", again, err)
	}
	if _, err := o.s.Close(o.as(o.handler), request.IDInput{ID: r.ID, ExpectedVersion: r.Version}); errs.KindOf(err) != errs.Precondition {
		t.Errorf("closed before the answer arrived: %v", err)
	}
	r, err = o.s.Delivered(o.as(o.handler), request.DeliveredInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	r, err = o.s.Close(o.as(o.handler), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	if r.State != request.Closed {
		t.Errorf("at last %s", r.State)
	}
	// A complaint is upheld: it goes on, with another answer.
	due := *r.Deadline.DueBefore
	r, err = o.s.Reopen(o.as(o.approver), request.ReopenInput{ID: r.ID, ExpectedVersion: r.Version, Reason: "a store was forgotten", Items: []string{r.Items[0].ID}})
	o.ok(err)
	o.Sleep(time.Minute)
	r = o.approved(r, request.ProposeInput{Outcome: request.Fulfilled})
	if got := o.forms(r); len(got) != 3 || r.State != request.Responded || !r.Deadline.DueBefore.Equal(due) {
		t.Errorf("reopened: %s, letters %q, due %s, was %s", r.State, got, r.Deadline.DueBefore, due)
	}
}

// TestOneAnswer: what several items came to is one letter with one closing section.
func TestOneAnswer(t *testing.T) {
	o := open(t)
	r := o.begun(request.Erasure, request.ObjectionMarketing)
	if o.clerk.effects != 1 || r.Items[1].Outcome != request.Fulfilled || r.Items[1].DoneAt == nil {
		t.Fatalf("an objection to marketing takes effect at once: %+v", r.Items[1])
	}
	refused := request.RefusedObligation
	r = o.approved(r, request.ProposeInput{Outcome: request.Refused, Refusal: &refused, Reason: new("The books have to be kept.")})
	if got := o.forms(r); !slices.Equal(got, []string{"acknowledgement", "refusal-exception+marketing-objection-confirmed"}) {
		t.Fatalf("letters %q", got)
	}
	letters, err := o.post.Of(o.staff, r)
	o.ok(err)
	text := letters[1].Text().Reveal()
	if strings.Count(text, "Kære Anna Ibsen,") != 1 || strings.Count(text, "artikel 79") != 1 || !strings.Contains(text, "The books have to be kept.") {
		t.Errorf("the answer is %s", text)
	}
	if o.clerk.carried != 0 {
		t.Errorf("carried out what was refused")
	}
}

// TestAnotherApproves: who prepared it doesn't approve it.
func TestAnotherApproves(t *testing.T) {
	o := open(t)
	r := o.begun(request.Access)
	r, err := o.s.Propose(o.as(o.approver), request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled})
	o.ok(err)
	r, err = o.s.Submit(o.as(o.approver), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	approve := request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true}
	if _, err := o.s.Approve(o.as(o.approver), approve); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("approved by who prepared it: %v", err)
	}
	approve.ExpectedVersion--
	if _, err := o.s.Approve(o.as(o.handler), approve); !errors.Is(err, request.ErrVersion) {
		t.Errorf("approved an older version: %v", err)
	}
}

// TestReturnsToReview: what fails for a reason, or can't be told as it must be, is
// for people to look at, and nothing was sent.
func TestReturnsToReview(t *testing.T) {
	for name, spoil := range map[string]func(*clerk){
		"another plan": func(c *clerk) { c.fail = request.ErrPlan },
		"a hold":       func(c *clerk) { c.fail = request.ErrHeld },
		"no fields":    func(c *clerk) { c.untold = true },
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t)
			r := o.begun(request.Access)
			spoil(o.clerk)
			r = o.approved(r, request.ProposeInput{Outcome: request.Fulfilled})
			if r.State != request.InReview || r.Reply != nil || r.ApprovedBy != "" || o.mails(notify.TemplateRequestAnswered) != 0 {
				t.Fatalf("%s, reply %v", r.State, r.Reply)
			}
			if !slices.Contains(o.rules(o.staff, r), request.StopExecution) {
				t.Errorf("events %v", o.rules(o.staff, r))
			}
			*o.clerk = clerk{}
			r, err := o.s.Approve(o.as(o.approver), request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
			o.ok(err)
			if r = o.worked(r); r.State != request.Responded {
				t.Errorf("once it is put right: %s", r.State)
			}
		})
	}
}

// TestNothingIsPromised: a right that nobody knows how to carry out is taken up,
// and can be refused, but not granted.
func TestNothingIsPromised(t *testing.T) {
	o := open(t)
	r := o.begun(request.Rectification)
	in := request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled, Plan: new("ab")}
	if _, err := o.s.Propose(o.as(o.handler), in); !errors.Is(err, request.ErrNoWork) {
		t.Errorf("granted: %v", err)
	}
	refusal, article := request.RefusedRightNotApplicable, "Art. 16"
	in.Outcome, in.Plan, in.Refusal, in.Article, in.Reason = request.Refused, nil, &refusal, &article, new("the data is accurate")
	r, err := o.s.Propose(o.as(o.handler), in)
	o.ok(err)
	if r.Items[0].Proposal == nil {
		t.Error("it can't be refused")
	}
}

// TestIdentity asks, reminds and gives up; the clock stands still meanwhile.
func TestIdentity(t *testing.T) {
	o := open(t)
	r := o.opened(request.Access)
	ask := request.AskInput{ID: r.ID, ExpectedVersion: r.Version, ReasonForDoubt: "another address", Asked: "a code", Proportionality: "no less would do"}
	r, err := o.s.AskIdentity(o.as(o.handler), ask)
	o.ok(err)
	if r.Clock != request.Paused || r.Deadline.DueBefore != nil || r.Urgency != deadline.Paused {
		t.Fatalf("asked: %s, due %v", r.Clock, r.Deadline.DueBefore)
	}
	giveUp := request.ReplyInput{ID: r.ID, ExpectedVersion: r.Version, Reason: new("no answer")}
	if _, err := o.s.GiveUpIdentity(o.as(o.approver), giveUp); errs.KindOf(err) != errs.Precondition {
		t.Errorf("gave up without a reminder: %v", err)
	}
	o.Sleep(15 * 24 * time.Hour)
	r, err = o.s.Remind(o.as(o.handler), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	o.Sleep(16 * 24 * time.Hour)
	giveUp.ExpectedVersion = r.Version
	r, err = o.s.GiveUpIdentity(o.as(o.approver), giveUp)
	o.ok(err)
	if got := o.forms(r); !slices.Equal(got, []string{"acknowledgement", "identity-request", "identity-reminder", "refusal-not-identified"}) {
		t.Errorf("letters %q", got)
	}
	if r.State != request.Responded || r.Reply == nil || r.Reply.Hash == "" || r.Items[0].Outcome != request.NotIdentified {
		t.Errorf("gave up: %s, %+v", r.State, r.Reply)
	}

	// Another answers in time: the date moves by as long as the clock stood still.
	r = o.opened(request.Access)
	due := *r.Deadline.DueBefore
	ask.ID, ask.ExpectedVersion = r.ID, r.Version
	r, err = o.s.AskIdentity(o.as(o.handler), ask)
	o.ok(err)
	o.Sleep(10 * 24 * time.Hour)
	r, err = o.s.Identify(o.as(o.handler), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: o.person.ID, Method: request.KnownFacts})
	o.ok(err)
	if r.Clock != request.Running || r.Deadline.DueBefore == nil || !r.Deadline.DueBefore.After(due.Add(5*24*time.Hour)) {
		t.Errorf("due %v, was %v", r.Deadline.DueBefore, due)
	}
}

// TestExtension: once, with a letter before the month is over.
func TestExtension(t *testing.T) {
	o := open(t)
	r := o.begun(request.Access)
	due := *r.Deadline.DueBefore
	r, err := o.s.Extend(o.as(o.approver), request.ExtendInput{ID: r.ID, ExpectedVersion: r.Version, Reason: "Many stores have to be searched."})
	o.ok(err)
	if !r.Deadline.DueBefore.After(due.Add(50*24*time.Hour)) || !slices.Contains(o.forms(r), "extension-notice") {
		t.Errorf("due %s, was %s; letters %q", r.Deadline.DueBefore, due, o.forms(r))
	}
	if _, err := o.s.Extend(o.as(o.approver), request.ExtendInput{ID: r.ID, ExpectedVersion: r.Version, Reason: "again"}); errs.KindOf(err) != errs.Precondition {
		t.Errorf("extended twice: %v", err)
	}
	late := o.begun(request.Access)
	o.Sleep(35 * 24 * time.Hour)
	if _, err := o.s.Extend(o.as(o.approver), request.ExtendInput{ID: late.ID, ExpectedVersion: late.Version, Reason: "late"}); errs.KindOf(err) != errs.Precondition {
		t.Errorf("extended after the month: %v", err)
	}
}

// TestEscalation: the sweep tells more people the nearer the date, each once.
func TestEscalation(t *testing.T) {
	o := open(t)
	r := o.begun(request.Access)
	sweep := func() *request.Request {
		t.Helper()
		o.ok(o.s.Sweep(tenant.System(o.Context(), "requests")))
		r, err := o.s.Get(o.staff, r.ID)
		o.ok(err)
		return r
	}
	for _, step := range []struct {
		at      time.Time
		urgency deadline.Urgency
		mails   int // all that were sent up to then
	}{
		{r.Deadline.AmberFrom.Add(time.Second), deadline.Amber, 1}, // the handler
		{r.Deadline.RedFrom.Add(time.Second), deadline.Red, 3},     // and the data protection officer
		{r.Deadline.DueBefore.Add(time.Second), deadline.Overdue, 6},
	} {
		o.Sleep(step.at.Sub(o.Now()))
		for range 2 {
			if got := sweep(); got.Escalated != step.urgency || got.Urgency != step.urgency || o.mails(notify.TemplateRequestDue) != step.mails {
				t.Errorf("at %s: escalated %s, urgency %s, %d mails, want %s and %d", step.at, got.Escalated, got.Urgency, o.mails(notify.TemplateRequestDue), step.urgency, step.mails)
			}
		}
	}
	if r := sweep(); r.State != request.InProgress {
		t.Errorf("a late request is %s: the answer is still owed", r.State)
	}
}

// TestDuplicates: only what is settled to be of the same person is linked, and
// nothing that isn't stands in its way.
func TestDuplicates(t *testing.T) {
	o := open(t)
	stranger := o.opened(request.Access)
	first, second := o.begun(request.Access), o.begun(request.Access, request.Erasure)
	if !slices.Equal(second.Duplicates, []string{first.ID}) || len(first.Duplicates) != 0 {
		t.Errorf("linked %v and %v", first.Duplicates, second.Duplicates)
	}
	stranger, err := o.s.Get(o.staff, stranger.ID)
	o.ok(err)
	if stranger.State != request.Received || slices.Contains(second.Duplicates, stranger.ID) {
		t.Errorf("a request of nobody knows whom is %s", stranger.State)
	}
	if r := o.approved(first, request.ProposeInput{Outcome: request.Fulfilled}); r.State != request.Responded {
		t.Errorf("beside another it came to %s", r.State)
	}
}

// TestMine: a person sees their own requests, and nothing of the staff.
func TestMine(t *testing.T) {
	o := open(t)
	me := o.self(o.person)
	r, err := o.s.OpenMine(me, request.MyInput{Items: []request.ItemInput{{Type: request.Access}}})
	o.ok(err)
	if r.State != request.InProgress || !r.Identity.Verified() {
		t.Errorf("who asks is settled: %s", r.State)
	}
	r = o.worked(r)
	_, err = o.s.Comment(o.as(o.handler), request.CommentInput{ID: r.ID, Text: "between us"})
	o.ok(err)
	if got := o.rules(me, r); !slices.Equal(got, []request.Rule{request.Open, request.Begin}) {
		t.Errorf("the person sees %v", got)
	}
	c, err := o.s.Events(me, r, page.Request{First: 20})
	o.ok(err)
	for _, e := range c.Nodes() {
		if e.By != "" || !e.Reason.IsZero() || len(e.Evidence) > 0 {
			t.Errorf("the person sees %+v", e)
		}
	}
	other := o.Subject(o.staff, "another")
	if _, err := o.s.Get(o.self(other), r.ID); !errors.Is(err, request.ErrNotFound) {
		t.Errorf("another person reads it: %v", err)
	}
	if list, err := o.s.Mine(o.self(other), page.Request{First: 10}); err != nil || len(list.Edges) != 0 {
		t.Errorf("another person lists %v, %v", list, err)
	}
	letters, err := o.post.Of(me, r)
	o.ok(err)
	if _, err := o.post.Open(o.self(other), letters[0].ID); !errors.Is(err, post.ErrNotFound) {
		t.Errorf("another person opens the letter: %v", err)
	}
	if _, err := o.post.Open(me, letters[0].ID); err != nil {
		t.Errorf("the person opens the letter: %v", err)
	}
	r, err = o.s.Withdraw(me, request.WithdrawInput{ID: r.ID})
	o.ok(err)
	if r.State != request.Withdrawn || !slices.Equal(o.forms(r), []string{"acknowledgement", "request-withdrawal-confirmed"}) {
		t.Errorf("withdrawn: %s, %q", r.State, o.forms(r))
	}
}

// TestOtherTenant: the second tenant sees, and can do, nothing.
func TestOtherTenant(t *testing.T) {
	o := open(t)
	r, two := o.begun(request.Access), o.As(testenv.Two)
	if _, err := o.s.Get(two, r.ID); !errors.Is(err, request.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	if list, err := o.s.List(two, nil, page.Request{First: 10}); err != nil || len(list.Edges) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if _, err := o.s.Submit(two, request.IDInput{ID: r.ID, ExpectedVersion: r.Version}); !errors.Is(err, request.ErrNotFound) {
		t.Errorf("submitted: %v", err)
	}
	if _, err := o.s.Open(two, request.OpenInput{Subject: &o.person.ID, Channel: request.ByPhone, ReceivedAt: o.Now(), Items: []request.ItemInput{{Type: request.Access}}}); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("opened one about another tenant's person: %v", err)
	}
	letters, err := o.post.Of(o.staff, r)
	o.ok(err)
	if _, err := o.post.Open(two, letters[0].ID); !errors.Is(err, post.ErrNotFound) {
		t.Errorf("opened a letter: %v", err)
	}
	if there, err := o.post.Of(two, r); err != nil || len(there) != 0 {
		t.Errorf("listed letters %v, %v", there, err)
	}
}

// TestWithoutLetterhead: a request is taken in all the same, for its clock runs by
// law; a step that the person must be told of waits for the letterhead.
func TestWithoutLetterhead(t *testing.T) {
	o := open(t)
	two := authz.NewContext(o.As(testenv.Two), authz.Principal{Kind: authz.KindMember, ID: id.New(id.Member, testenv.Two), Tenant: testenv.Two, Role: authz.RoleApprover})
	r, err := o.s.Open(two, request.OpenInput{Channel: request.ByEmail, ReceivedAt: o.Now(), Contact: new(mailAddress), Items: []request.ItemInput{{Type: request.Access}}})
	o.ok(err)
	c, err := o.s.Events(two, r, page.Request{First: 20})
	o.ok(err)
	if !slices.ContainsFunc(c.Nodes(), func(e *request.Event) bool { return e.Rule == request.NoteUnsent && e.Private }) {
		t.Errorf("nothing says that the receipt couldn't be written: %v", c.Nodes())
	}
	_, err = o.s.AskIdentity(two, request.AskInput{ID: r.ID, ExpectedVersion: r.Version, ReasonForDoubt: "x", Asked: "y", Proportionality: "z"})
	if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Precondition || e.Rule != "tenant.letterhead" {
		t.Errorf("asked without a letterhead: %v", err)
	}
	if now, err := o.s.Get(two, r.ID); err != nil || now.State != request.Received {
		t.Errorf("the request is %s, %v", now.State, err)
	}
}
