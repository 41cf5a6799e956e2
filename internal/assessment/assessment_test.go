package assessment_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// office is two tenants with their people, on real stores.
type office struct {
	*testing.T
	*assessment.Service

	now      time.Time
	db       *mongo.DB
	tenants  *mongo.TenantStore
	people   map[string]*tenancy.Member // of the first tenant, by role
	measure  string
	activity string
	messages *mongo.NotifyStore
	jobs     *job.Service
	changes  *change.Runner
}

func start(t *testing.T) *office {
	t.Helper()
	o := &office{T: t, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), db: testenv.Mongo(t), people: map[string]*tenancy.Member{}}
	now := func() time.Time { return o.now }
	v := testenv.Vault(t)
	o.changes, _ = testenv.Changes(t, o.db, v, vault.Hasher{Vault: v}, nil)
	o.tenants, o.messages = mongo.NewTenantStore(o.db, v), mongo.NewNotifyStore(o.db, v)
	o.jobs = job.NewService(mongo.NewJobStore(o.db), o.changes, testenv.Now, testenv.Logger(t), job.Timing{})
	notices, err := notify.NewService(notify.Config{Store: o.messages, Changes: o.changes, Log: testenv.Logger(t), Now: now})
	o.ok(err)
	named := mongo.NewProcessingStore(o.db, v)
	measures := measure.NewService(measure.Config{Store: mongo.NewMeasureStore(o.db), Tenants: o.tenants, Systems: named, Changes: o.changes, Now: now})
	o.Service = assessment.NewService(assessment.Config{
		Store: mongo.NewAssessmentStore(o.db), Tenants: o.tenants, Owners: tenancy.NewService(tenancy.Config{Store: o.tenants, Now: now}),
		Mailer: notices, Measures: measures, Activities: named, Changes: o.changes, Now: now,
	})
	for _, of := range []tenant.ID{testenv.One, testenv.Two} {
		o.tx(of, func(ctx context.Context) error {
			return o.tenants.Insert(ctx, &tenancy.Tenant{
				ID: of, Kind: tenancy.Customer, LegalName: "Kunde ApS", Country: "DK", TimeZone: "Europe/Copenhagen", HolidayCalendar: "DK",
				Languages: []string{"da"}, Version: 1,
			})
		})
	}
	for name, role := range map[string]authz.Role{
		"owner": authz.RoleOwner, "handler": authz.RoleCaseHandler, "approver": authz.RoleApprover, "dpo": authz.RoleDPO,
	} {
		m := &tenancy.Member{
			ID: id.New(id.Member, testenv.One), Tenant: testenv.One, Email: personal.NewText(name + "@kunde.example"), Address: name, Role: role,
			State: tenancy.Joined, Language: "da", Version: 1,
		}
		_, err := v.Ensure(t.Context(), tenancy.MemberIdentity(m.Tenant, m.ID))
		o.ok(err)
		o.tx(testenv.One, func(ctx context.Context) error { return o.tenants.InsertMember(ctx, m) })
		o.people[name] = m
	}
	made, err := measures.Create(o.as("handler"), measure.CreateInput{
		Key: "masks", Kind: measure.Technical, Art32: []measure.Letter{measure.A}, Status: measure.InPlace,
		Texts: []measure.Text{{Language: "da", Description: "Billeder sløres."}},
	})
	o.ok(err)
	o.measure, o.activity = made.ID, id.New(id.Activity, testenv.One)
	o.tx(testenv.One, func(ctx context.Context) error {
		return named.InsertActivity(ctx, &processing.Activity{ID: o.activity, Hat: processing.Controller, State: processing.Draft, Version: 1})
	})
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *office) tx(of tenant.ID, fn func(ctx context.Context) error) {
	o.Helper()
	o.ok(o.db.InTransaction(tenant.NewContext(o.Context(), of), fn))
}

// as is a request of one of the people; "stranger" is the second tenant's owner.
func (o *office) as(name string) context.Context {
	p := authz.Principal{Kind: authz.KindMember, ID: id.New(id.Member, testenv.Two), Tenant: testenv.Two, Role: authz.RoleOwner}
	if m := o.people[name]; m != nil {
		p.ID, p.Tenant, p.Role = m.ID, m.Tenant, m.Role
	}
	return authz.NewContext(tenant.NewContext(o.Context(), p.Tenant), p)
}

func day(s string) civil.Date {
	d, err := civil.Parse(s)
	if err != nil {
		panic(err)
	}
	return d
}

func (o *office) content(kind assessment.Kind) assessment.Content {
	c := assessment.Content{Title: "Ansigtsbillede mod pas", Owner: o.people["handler"].ID, ReviewOn: new(day("2027-03-01"))}
	switch kind {
	case assessment.KindDPIA:
		c.DPIA = &assessment.DPIA{
			Description: "Billeder sammenlignes med pas.", Purposes: "Kundekendskab.", Necessity: "Loven kræver det.",
			SubjectViews: "Ikke indhentet: loven kræver behandlingen.", Measures: []string{o.measure}, ResidualRisk: new(assessment.Medium),
			Risks: []assessment.Risk{{
				Threat: "Billeder lækkes", LikelihoodBefore: assessment.Significant, SeverityBefore: assessment.Maximum,
				LikelihoodAfter: assessment.Negligible, SeverityAfter: assessment.Maximum, Measures: []string{o.measure},
			}},
		}
	case assessment.KindLIA:
		c.LIA = &assessment.LIA{
			Holder: "Kunde ApS", Interest: "At forebygge svindel", Lawful: true, Specific: true, Necessity: "Ja", LessIntrusive: "Ingen",
			DataNature: "Almindelige", Expectations: "Ventet", Impact: "Lille", Safeguards: "Sletning", Children: "Ingen",
			Outcome: new(assessment.InterestPrevails), Conclusion: "Interessen vejer tungest", OptOut: "Link i hver mail",
		}
	case assessment.KindTIA:
		c.TIA = &assessment.TIA{
			Country: "US", Circumstances: "Drift", ImporterType: "Hosting", Data: "Krypteret JSON", LawAndPractice: "FISA 702",
			Problematic: "FISA 702", Technical: "Nøgler i EU", Outcome: new(assessment.EquivalentWithMeasures), Conclusion: "Kan ske",
		}
	}
	return c
}

func (o *office) create(kind assessment.Kind, edit ...func(*assessment.Content)) *assessment.Assessment {
	o.Helper()
	in := assessment.CreateInput{Kind: kind, Content: o.content(kind)}
	for _, e := range edit {
		e(&in.Content)
	}
	a, err := o.Create(o.as("handler"), in)
	o.ok(err)
	return a
}

// take takes a step of which only the outcome matters.
func (o *office) take(by, step string, a *assessment.Assessment) (*assessment.Assessment, error) {
	ctx, at, why := o.as(by), assessment.Input{ID: a.ID, ExpectedVersion: a.Version}, assessment.ReasonInput{ID: a.ID, ExpectedVersion: a.Version, Reason: "Fordi"}
	switch step {
	case "update":
		return o.Update(ctx, assessment.UpdateInput{ID: a.ID, ExpectedVersion: a.Version, Title: new("Ny titel")})
	case "screenOut":
		return o.ScreenOut(ctx, why)
	case "begin":
		return o.Begin(ctx, at)
	case "submit": // a while ago: the authority can't have received it before
		defer func(now time.Time) { o.now = now }(o.now)
		o.now = time.Date(2026, 2, 5, 9, 0, 0, 0, time.UTC)
		return o.Submit(ctx, at)
	case "advise":
		return o.Advise(ctx, assessment.AdviseInput{ID: a.ID, ExpectedVersion: a.Version, Opinion: assessment.Favourable, Text: "Godt nok."})
	case "consult":
		return o.Consult(ctx, assessment.ConsultInput{ID: a.ID, ExpectedVersion: a.Version, Authority: "Datatilsynet", ReceivedOn: day("2026-02-05")})
	case "note":
		return o.Note(ctx, assessment.NoteInput{ID: a.ID, ExpectedVersion: a.Version, Note: assessment.Extended, On: day("2026-03-01")})
	case "approve":
		return o.Approve(ctx, assessment.ApproveInput{ID: a.ID, ExpectedVersion: a.Version, Reason: "Fordi"})
	case "reject":
		return o.Reject(ctx, why)
	case "revise":
		return o.Revise(ctx, at)
	case "demand":
		return o.Demand(ctx, why)
	default:
		panic("no step " + step)
	}
}

// who takes each step where it is legal.
func who(step string) string {
	switch step {
	case "advise":
		return "dpo"
	case "approve", "reject", "consult", "note":
		return "approver"
	default:
		return "handler"
	}
}

// walk takes steps, each by who takes it.
func (o *office) walk(a *assessment.Assessment, steps ...string) *assessment.Assessment {
	o.Helper()
	for _, step := range steps {
		next, err := o.take(who(step), step, a)
		if err != nil {
			o.Fatalf("%s: %v", step, err)
		}
		a = next
	}
	return a
}

func rule(err error) string {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Rule
	}
	return fmt.Sprint(err)
}

func high(c *assessment.Content) { c.DPIA.ResidualRisk = new(assessment.High) }

// TestSteps tries every step in every state: DOMAIN §9.
func TestSteps(t *testing.T) {
	o := start(t)
	steps := []string{"update", "screenOut", "begin", "submit", "advise", "consult", "note", "approve", "reject", "revise", "demand"}
	for _, tt := range []struct {
		state assessment.State
		kind  assessment.Kind
		path  []string
		edit  func(*assessment.Content)
		legal map[string]assessment.State
	}{
		{assessment.Screening, assessment.KindDPIA, nil, func(c *assessment.Content) { c.Screening = &assessment.ScreeningAnswers{} }, map[string]assessment.State{
			"update": assessment.Screening, "screenOut": assessment.NotRequired, "begin": assessment.InProgress,
		}},
		{
			assessment.NotRequired, assessment.KindDPIA,
			[]string{"screenOut"},
			func(c *assessment.Content) { c.DPIA, c.Screening = nil, &assessment.ScreeningAnswers{} },
			map[string]assessment.State{"revise": assessment.Screening, "demand": assessment.ReviewDue},
		},
		{assessment.InProgress, assessment.KindDPIA, []string{"begin"}, nil, map[string]assessment.State{
			"update": assessment.InProgress, "submit": assessment.DPOReview,
		}},
		{assessment.DPOReview, assessment.KindDPIA, []string{"begin", "submit", "advise"}, nil, map[string]assessment.State{
			"advise": assessment.DPOReview, "approve": assessment.Approved, "reject": assessment.Rejected,
		}},
		{assessment.DPOReview, assessment.KindDPIA, []string{"begin", "submit", "advise"}, high, map[string]assessment.State{
			"advise": assessment.DPOReview, "consult": assessment.PriorConsultation, "reject": assessment.Rejected,
		}},
		{assessment.PriorConsultation, assessment.KindDPIA, []string{"begin", "submit", "advise", "consult"}, high, map[string]assessment.State{
			"note": assessment.PriorConsultation, "reject": assessment.Rejected,
		}},
		{assessment.Approved, assessment.KindDPIA, []string{"begin", "submit", "advise", "approve"}, nil, map[string]assessment.State{
			"revise": assessment.InProgress, "demand": assessment.ReviewDue,
		}},
		{assessment.Rejected, assessment.KindDPIA, []string{"begin", "submit", "advise", "reject"}, nil, map[string]assessment.State{
			"revise": assessment.InProgress, "demand": assessment.ReviewDue,
		}},
		{assessment.ReviewDue, assessment.KindDPIA, []string{"begin", "submit", "advise", "approve", "demand"}, nil, map[string]assessment.State{
			"revise": assessment.InProgress,
		}},
		{
			assessment.ReviewDue, assessment.KindDPIA,
			[]string{"screenOut", "demand"},
			func(c *assessment.Content) { c.DPIA, c.Screening = nil, &assessment.ScreeningAnswers{} },
			map[string]assessment.State{"revise": assessment.Screening},
		},
		{assessment.InProgress, assessment.KindLIA, nil, nil, map[string]assessment.State{"update": assessment.InProgress, "submit": assessment.DPOReview}},
		{assessment.DPOReview, assessment.KindLIA, []string{"submit"}, nil, map[string]assessment.State{
			"advise": assessment.DPOReview, "approve": assessment.Approved, "reject": assessment.Rejected,
		}},
		{assessment.DPOReview, assessment.KindTIA, []string{"submit"}, nil, map[string]assessment.State{
			"advise": assessment.DPOReview, "approve": assessment.Approved, "reject": assessment.Rejected,
		}},
	} {
		for _, step := range steps {
			a := o.create(tt.kind, func(c *assessment.Content) {
				if tt.edit != nil {
					tt.edit(c)
				}
			})
			if a = o.walk(a, tt.path...); a.State != tt.state {
				t.Fatalf("%v leads to %s, want %s", tt.path, a.State, tt.state)
			}
			next, err := o.take(who(step), step, a)
			want, legal := tt.legal[step]
			switch {
			case legal && (err != nil || next.State != want):
				t.Errorf("%s in %s %v: %+v, %v, want %s", step, tt.state, tt.path, next, err, want)
			case !legal && (errs.KindOf(err) != errs.Precondition || rule(err) == ""):
				t.Errorf("%s in %s %v: %v, want a PRECONDITION with its rule", step, tt.state, tt.path, err)
			}
			if !legal {
				if read, err := o.Get(o.as("handler"), a.ID); err != nil || read.Version != a.Version {
					t.Errorf("%s left a trace: %+v, %v", step, read, err)
				}
			}
		}
	}
}

func TestDecisionsTakeTwo(t *testing.T) {
	o := start(t)
	a := o.walk(o.create(assessment.KindDPIA), "begin", "submit")
	for name, tt := range map[string]struct {
		by, step, rule string
	}{
		"approval without advice": {"approver", "approve", "art35.2.advice"},
		"advice of an approver":   {"approver", "advise", "art35.2.advice"},
		"rejection by the author": {"handler", "reject", "assessment.fourEyes"},
	} {
		if _, err := o.take(tt.by, tt.step, a); rule(err) != tt.rule {
			t.Errorf("%s: %v, want %s", name, err, tt.rule)
		}
	}
	a = o.walk(a, "advise")
	if got := a.Advice; len(got) != 1 || got[0].By != o.people["dpo"].ID || got[0].Text != "Godt nok." {
		t.Errorf("advice %+v", got)
	}
	if _, err := o.take("handler", "approve", a); !errors.Is(err, assessment.ErrFourEyes) {
		t.Errorf("approved by its author: %v", err)
	}
	// A program, which may be of who decides, writes and goes no further.
	program := authz.NewContext(o.as("handler"), authz.Principal{
		Kind: authz.KindMachine, ID: id.New(id.APIKey, testenv.One), Tenant: testenv.One, Grants: authz.ForKeys(),
	})
	written, err := o.Create(program, assessment.CreateInput{Kind: assessment.KindLIA, Content: o.content(assessment.KindLIA)})
	o.ok(err)
	if _, err := o.Submit(program, assessment.Input{ID: written.ID, ExpectedVersion: written.Version}); !errors.Is(err, assessment.ErrNoPerson) {
		t.Errorf("submitted by a program: %v", err)
	}
	screened, err := o.Create(program, assessment.CreateInput{Kind: assessment.KindDPIA, Content: assessment.Content{
		Title: "Nyt", Owner: o.people["handler"].ID, Screening: &assessment.ScreeningAnswers{},
	}})
	o.ok(err)
	no := assessment.ReasonInput{ID: screened.ID, ExpectedVersion: screened.Version, Reason: "Nej"}
	if _, err := o.ScreenOut(program, no); !errors.Is(err, assessment.ErrNoPerson) {
		t.Errorf("screened out by a program: %v", err)
	}
	// Who changed a word is an author, too.
	b := o.walk(o.create(assessment.KindLIA))
	b, err = o.take("approver", "update", b)
	o.ok(err)
	b = o.walk(b, "submit")
	if _, err := o.take("approver", "approve", b); !errors.Is(err, assessment.ErrFourEyes) {
		t.Errorf("approved by who changed it: %v", err)
	}
	if b, err = o.take("owner", "approve", b); err != nil || b.Decision.By != o.people["owner"].ID {
		t.Errorf("approved %+v, %v", b, err)
	}
}

func TestVersionsNeverChange(t *testing.T) {
	o := start(t)
	a := o.walk(o.create(assessment.KindDPIA), "begin", "submit", "advise", "approve")
	a = o.walk(a, "revise")
	if a.Number != 2 || a.Decision != nil || len(a.Advice) != 0 || !slices.Equal(a.Authors, []string{o.people["handler"].ID}) {
		t.Errorf("revised %+v", a)
	}
	a, err := o.Update(o.as("handler"), assessment.UpdateInput{
		ID: a.ID, ExpectedVersion: a.Version, DPIA: &assessment.DPIA{Description: "Noget andet"}, Title: new("Anden titel"),
	})
	o.ok(err)
	was, err := o.Editions(o.as("handler"), a.ID)
	o.ok(err)
	if len(was) != 1 || was[0].Number != 1 || was[0].Title != "Ansigtsbillede mod pas" || was[0].State != assessment.Approved ||
		was[0].DPIA.Description != "Billeder sammenlignes med pas." || len(was[0].DPIA.Risks) != 1 || was[0].DPIA.Risks[0].After() != assessment.Medium ||
		was[0].Decision.By != o.people["approver"].ID || len(was[0].Advice) != 1 {
		t.Errorf("the first version is %+v", was)
	}
	if _, err := o.take("handler", "submit", a); errs.KindOf(err) != errs.Precondition || rule(err) != "assessment.complete" {
		t.Errorf("submitted what isn't complete: %v", err)
	}
	if _, err := o.Update(o.as("handler"), assessment.UpdateInput{ID: a.ID, ExpectedVersion: 1}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("changed an old version: %v", err)
	}
}

func TestComplete(t *testing.T) {
	o := start(t)
	for _, tt := range []struct {
		name  string
		kind  assessment.Kind
		edit  func(*assessment.Content)
		field string
		rule  string
	}{
		{"DPIA missing", assessment.KindDPIA, func(c *assessment.Content) { c.DPIA = nil }, "dpia", "assessment.complete"},
		{"views", assessment.KindDPIA, func(c *assessment.Content) { c.DPIA.SubjectViews = " " }, "dpia.subjectViews", "assessment.complete"},
		{"risks", assessment.KindDPIA, func(c *assessment.Content) { c.DPIA.Risks = nil }, "dpia.risks", "assessment.complete"},
		{"residual", assessment.KindDPIA, func(c *assessment.Content) { c.DPIA.ResidualRisk = nil }, "dpia.residualRisk", "assessment.complete"},
		{"residual too low", assessment.KindDPIA, func(c *assessment.Content) { c.DPIA.ResidualRisk = new(assessment.Low) }, "dpia.residualRisk", "art35.7.residualRisk"},
		{"opt-out", assessment.KindLIA, func(c *assessment.Content) { c.LIA.OptOut = "" }, "lia.optOut", "assessment.complete"},
		{"children", assessment.KindLIA, func(c *assessment.Content) { c.LIA.Children = "" }, "lia.children", "assessment.complete"},
		{"LIA outcome", assessment.KindLIA, func(c *assessment.Content) { c.LIA.Outcome = nil }, "lia.outcome", "assessment.complete"},
		{"country", assessment.KindTIA, func(c *assessment.Content) { c.TIA.Country = "" }, "tia.country", "assessment.complete"},
		{"measures", assessment.KindTIA, func(c *assessment.Content) { c.TIA.Technical = "" }, "tia", "art46.supplementaryMeasures"},
		{"problem without measures", assessment.KindTIA, func(c *assessment.Content) {
			c.TIA.Technical, c.TIA.Outcome = "", new(assessment.Equivalent)
		}, "tia", "art46.supplementaryMeasures"},
	} {
		a := o.create(tt.kind, tt.edit)
		if tt.kind == assessment.KindDPIA {
			a = o.walk(a, "begin")
		}
		_, err := o.take("handler", "submit", a)
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || e.Field != tt.field || e.Rule != tt.rule || e.Kind != errs.Precondition {
			t.Errorf("%s: %+v, want %s at %s", tt.name, err, tt.rule, tt.field)
		}
	}
}

func TestOutcomes(t *testing.T) {
	o := start(t)
	for _, tt := range []struct {
		name string
		kind assessment.Kind
		edit func(*assessment.Content)
		rule string
	}{
		{"overridden", assessment.KindLIA, func(c *assessment.Content) { c.LIA.Outcome = new(assessment.InterestOverridden) }, "art6.1.f.balance"},
		{"not lawful", assessment.KindLIA, func(c *assessment.Content) { c.LIA.Lawful = false }, "art6.1.f.balance"},
		{"not equivalent", assessment.KindTIA, func(c *assessment.Content) { c.TIA.Outcome = new(assessment.NotEquivalent) }, "art46.equivalence"},
		{"no review", assessment.KindLIA, func(c *assessment.Content) { c.ReviewOn = nil }, "art35.11.reviewDate"},
		{"review today", assessment.KindTIA, func(c *assessment.Content) { c.ReviewOn = new(day("2026-03-02")) }, "art35.11.reviewDate"},
	} {
		a := o.walk(o.create(tt.kind, tt.edit), "submit")
		if _, err := o.take("approver", "approve", a); rule(err) != tt.rule {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.rule)
		}
		if a, err := o.take("approver", "reject", a); err != nil || a.State != assessment.Rejected {
			t.Errorf("%s: rejected %+v, %v", tt.name, a, err)
		}
	}
	a := o.create(assessment.KindDPIA, func(c *assessment.Content) {
		c.Screening = &assessment.ScreeningAnswers{Criteria: []assessment.Criterion{assessment.LargeScaleSpecial}}
	})
	if _, err := o.take("handler", "screenOut", a); !errors.Is(err, assessment.ErrRequired) {
		t.Errorf("screened out although a criterion is met: %v", err)
	}
}

func TestTasksOfPublicAuthorities(t *testing.T) {
	o := start(t)
	task := func(c *assessment.Content) { c.LIA.PublicTask = true }
	a := o.walk(o.create(assessment.KindLIA, task), "submit")
	o.tx(testenv.One, func(ctx context.Context) error {
		of, err := o.tenants.Get(ctx)
		if err != nil {
			return err
		}
		of.PublicAuthority = true
		of.Version++
		return o.tenants.Update(ctx, of)
	})
	if _, err := o.take("approver", "approve", a); !errors.Is(err, assessment.ErrPublicTask) {
		t.Errorf("approved: %v", err)
	}
	in := assessment.CreateInput{Kind: assessment.KindLIA, Content: o.content(assessment.KindLIA)}
	task(&in.Content)
	if _, err := o.Create(o.as("handler"), in); !errors.Is(err, assessment.ErrPublicTask) {
		t.Errorf("made: %v", err)
	}
	in.LIA.PublicTask = false
	if _, err := o.Create(o.as("handler"), in); err != nil {
		t.Errorf("for what is no task of its: %v", err)
	}
}

// TestConsultation: eight weeks and six more, suspended, ended on a working day.
func TestConsultation(t *testing.T) {
	o := start(t)
	due := func(a *assessment.Assessment) string {
		if a.Consultation.DueOn == nil {
			return "stands still"
		}
		return a.Consultation.DueOn.String()
	}
	a := o.walk(o.create(assessment.KindDPIA, high), "begin", "submit", "advise")
	if _, err := o.take("approver", "approve", a); !errors.Is(err, assessment.ErrConsult) {
		t.Errorf("approved with a high risk: %v", err)
	}
	early := assessment.ConsultInput{ID: a.ID, ExpectedVersion: a.Version, Authority: "Datatilsynet", ReceivedOn: day("2026-02-04")}
	if _, err := o.Consult(o.as("approver"), early); errs.KindOf(err) != errs.Invalid {
		t.Errorf("received before it was submitted: %v", err)
	}
	a = o.walk(a, "consult")
	// Received on 5 February: eight weeks end on Maundy Thursday, and Easter is over on 7 April.
	if got := due(a); got != "2026-04-07" {
		t.Errorf("due on %s", got)
	}
	if _, err := o.take("approver", "approve", a); !errors.Is(err, assessment.ErrWaiting) {
		t.Errorf("approved while the authority has time: %v", err)
	}
	tell := func(note assessment.Note, on string, outcome *assessment.Answer) error {
		next, err := o.Note(o.as("approver"), assessment.NoteInput{ID: a.ID, ExpectedVersion: a.Version, Note: note, On: day(on), Outcome: outcome, Text: "Brev " + on})
		if err == nil {
			a = next
		}
		return err
	}
	for _, tt := range []struct {
		note  assessment.Note
		on    string
		field string
		due   string
	}{
		{assessment.Resumed, "2026-02-20", "", "2026-04-07"}, // refused: it isn't suspended
		{assessment.Extended, "2026-02-04", "on", "2026-04-07"},
		{assessment.Extended, "2026-03-03", "on", "2026-04-07"}, // tomorrow
		{assessment.Extended, "2026-02-27", "-", "2026-05-15"},  // 14 May is Ascension Day
		{assessment.Extended, "2026-02-27", "", "2026-05-15"},
		{assessment.Suspended, "2026-02-20", "-", "stands still"},
		{assessment.Suspended, "2026-02-21", "", "stands still"},
		{assessment.Resumed, "2026-02-19", "", "stands still"},
		{assessment.Resumed, "2026-03-02", "-", "2026-05-26"}, // nine days later is the Saturday before Whit Monday
		{assessment.Suspended, "2026-03-01", "", "2026-05-26"},
	} {
		err := tell(tt.note, tt.on, nil)
		e, _ := errors.AsType[*errs.Error](err)
		switch {
		case tt.field == "-" && err != nil, tt.field != "-" && (e == nil || e.Field != tt.field):
			t.Errorf("%s on %s: %v", tt.note, tt.on, err)
		}
		if got := due(a); got != tt.due {
			t.Errorf("after %s on %s due on %s, want %s", tt.note, tt.on, got, tt.due)
		}
	}
	if err := tell(assessment.Answered, "2026-03-02", nil); errs.KindOf(err) != errs.Invalid {
		t.Errorf("an answer without outcome: %v", err)
	}
	silent := a
	o.now = time.Date(2026, 5, 26, 20, 0, 0, 0, time.UTC)
	if _, err := o.take("approver", "approve", silent); !errors.Is(err, assessment.ErrWaiting) {
		t.Errorf("approved on the last day: %v", err)
	}
	o.now = o.now.Add(3 * time.Hour) // the 27th in Denmark
	o.ok(tell(assessment.Answered, "2026-05-20", new(assessment.Prohibited)))
	if _, err := o.take("approver", "approve", a); !errors.Is(err, assessment.ErrProhibited) {
		t.Errorf("approved what was prohibited: %v", err)
	}
	if err := tell(assessment.Answered, "2026-05-21", new(assessment.NoObjection)); rule(err) != "art36.2.clock" {
		t.Errorf("answered twice: %v", err)
	}
	a = o.walk(a, "reject")
	if !strings.Contains(a.Consultation.Text, "Brev 2026-05-20") || a.Consultation.AnsweredOn.String() != "2026-05-20" {
		t.Errorf("kept %+v", a.Consultation)
	}

	// Silence: the time is over.
	o.now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	b := o.walk(o.create(assessment.KindDPIA, high), "begin", "submit", "advise", "consult")
	o.now = time.Date(2026, 4, 8, 9, 0, 0, 0, time.UTC)
	if b = o.walk(b, "approve"); b.State != assessment.Approved {
		t.Errorf("it is %s", b.State)
	}
}

// mails returns the mails queued so far, as "address: assessment reason", and
// forgets the jobs.
func (o *office) mails() []string {
	o.Helper()
	due, err := o.jobs.Due(tenant.System(o.Context(), "test"), 100)
	o.ok(err)
	var mails []string
	for _, j := range due {
		ctx := tenant.NewContext(o.Context(), j.Tenant)
		row, err := o.messages.Get(ctx, j.Object)
		o.ok(err)
		if row.State == notify.Queued {
			mails = append(mails, row.To.Reveal()+": "+row.Vars["assessment"].Reveal()+" "+row.Vars["reason"].Reveal())
		}
		o.tx(j.Tenant, func(ctx context.Context) error { return o.messages.End(ctx, j.Object, notify.Sent, o.now) })
	}
	slices.Sort(mails)
	return mails
}

// activated tells that a version of an activity became valid, as the record of
// processing does.
func (o *office) activated(activityID string, editedAt time.Time, named ...string) {
	o.Helper()
	o.ok(o.changes.DoAll(o.as("handler"), func(ctx context.Context) ([]change.Change, error) {
		others, err := o.Activated(ctx, activityID, editedAt, named)
		return append(others, change.Change{Action: "activity.activate", Object: activityID}), err
	}))
}

func (o *office) state(a *assessment.Assessment) assessment.State {
	o.Helper()
	read, err := o.Get(o.as("handler"), a.ID)
	o.ok(err)
	return read.State
}

func TestReviewWhenAnActivityChanges(t *testing.T) {
	o := start(t)
	about := func(c *assessment.Content) { c.Activities = []string{o.activity} }
	approved := o.walk(o.create(assessment.KindDPIA, about), "begin", "submit", "advise", "approve")
	screened := o.walk(o.create(assessment.KindDPIA, about, func(c *assessment.Content) {
		c.DPIA, c.Screening = nil, &assessment.ScreeningAnswers{}
	}), "screenOut")
	named := o.walk(o.create(assessment.KindTIA), "submit", "approve")
	writing, other := o.create(assessment.KindLIA, about), o.walk(o.create(assessment.KindLIA), "submit", "approve")

	o.activated(o.activity, o.now, named.ID) // edited before they were decided
	if got := []assessment.State{o.state(approved), o.state(screened), o.state(named)}; got[0] != assessment.Approved || got[1] != assessment.NotRequired ||
		got[2] != assessment.Approved || len(o.mails()) > 0 {
		t.Errorf("due although they look at it: %v", got)
	}
	edited := o.now.Add(time.Hour)
	o.now = o.now.Add(2 * time.Hour)
	o.activated(o.activity, edited, named.ID)
	for _, a := range []*assessment.Assessment{approved, screened, named} {
		read, err := o.Get(o.as("handler"), a.ID)
		if err != nil || read.State != assessment.ReviewDue || read.Review.Reason != assessment.ActivityChanged || *read.Review.Activity != o.activity {
			t.Errorf("%s is %+v, %v", a.Kind, read, err)
		}
	}
	if o.state(writing) != assessment.InProgress || o.state(other) != assessment.Approved {
		t.Error("others are due")
	}
	if got := o.mails(); len(got) != 3 || !strings.HasPrefix(got[0], "handler@kunde.example: asm_") || !strings.HasSuffix(got[0], "ACTIVITY_CHANGED") {
		t.Errorf("mails %q", got)
	}
	o.activated(o.activity, edited.Add(time.Hour), named.ID)
	if got := o.mails(); len(got) > 0 {
		t.Errorf("told again: %q", got)
	}
	was, err := o.Editions(o.as("handler"), approved.ID)
	if err != nil || len(was) != 1 || was[0].State != assessment.Approved {
		t.Errorf("what was decided is %+v, %v", was, err)
	}
}

func TestReviewWhenTimeIsOver(t *testing.T) {
	o := start(t)
	on := func(s string) func(*assessment.Content) {
		return func(c *assessment.Content) { c.ReviewOn = new(day(s)) }
	}
	soon := o.walk(o.create(assessment.KindLIA, on("2026-06-01")), "submit", "approve")
	later := o.walk(o.create(assessment.KindLIA, on("2026-06-02")), "submit", "approve")
	writing := o.create(assessment.KindLIA, on("2026-06-01"))
	sweep := func() { o.Helper(); o.ok(o.Sweep(tenant.System(o.Context(), "test"))) }

	o.now = time.Date(2026, 5, 31, 21, 59, 0, 0, time.UTC)
	if sweep(); o.state(soon) != assessment.Approved {
		t.Error("due a minute before the day, where the tenant is")
	}
	o.now = o.now.Add(time.Minute)
	o.people["handler"].State, o.people["handler"].Version = tenancy.Removed, 2
	o.tx(testenv.One, func(ctx context.Context) error { return o.tenants.UpdateMember(ctx, o.people["handler"]) })
	sweep()
	sweep()
	if o.state(soon) != assessment.ReviewDue || o.state(later) != assessment.Approved || o.state(writing) != assessment.InProgress {
		t.Errorf("they are %s, %s and %s", o.state(soon), o.state(later), o.state(writing))
	}
	if got := o.mails(); !slices.Equal(got, []string{"owner@kunde.example: " + soon.ID + " TIME_OVER"}) {
		t.Errorf("mails %q", got)
	}
	if err := o.Sweep(o.as("owner")); err == nil {
		t.Error("a tenant sweeps all")
	}
}

func TestRefusals(t *testing.T) {
	o := start(t)
	for _, tt := range []struct {
		name, field string
		edit        func(*assessment.CreateInput)
	}{
		{"no kind", "kind", func(in *assessment.CreateInput) { in.Kind = "" }},
		{"part of another kind", "", func(in *assessment.CreateInput) { in.LIA = &assessment.LIA{} }},
		{"no title", "title", func(in *assessment.CreateInput) { in.Title = " " }},
		{"title of two lines", "title", func(in *assessment.CreateInput) { in.Title = "a\nb" }},
		{"foreign owner", "owner", func(in *assessment.CreateInput) { in.Owner = id.New(id.Member, testenv.Two) }},
		{"unknown owner", "owner", func(in *assessment.CreateInput) { in.Owner = id.New(id.Member, testenv.One) }},
		{"foreign activity", "activities.0", func(in *assessment.CreateInput) { in.Activities = []string{id.New(id.Activity, testenv.Two)} }},
		{"unknown activity", "activities.0", func(in *assessment.CreateInput) { in.Activities = []string{id.New(id.Activity, testenv.One)} }},
		{"unknown measure", "dpia.measures", func(in *assessment.CreateInput) { in.DPIA.Measures = []string{id.New(id.Measure, testenv.One)} }},
		{"foreign measure", "dpia.risks.0.measures.0", func(in *assessment.CreateInput) {
			in.DPIA.Risks[0].Measures = []string{id.New(id.Measure, testenv.Two)}
		}},
		{"criterion twice", "screening.criteria.1", func(in *assessment.CreateInput) {
			in.Screening = &assessment.ScreeningAnswers{Criteria: []assessment.Criterion{assessment.NationalList, assessment.NationalList}}
		}},
		{"level", "dpia.risks.0", func(in *assessment.CreateInput) { in.DPIA.Risks[0].SeverityAfter = "BAD" }},
		{"long text", "dpia.necessity", func(in *assessment.CreateInput) { in.DPIA.Necessity = strings.Repeat("å", 20_001) }},
	} {
		in := assessment.CreateInput{Kind: assessment.KindDPIA, Content: o.content(assessment.KindDPIA)}
		tt.edit(&in)
		_, err := o.Create(o.as("handler"), in)
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || e.Field != tt.field || !slices.Contains([]errs.Kind{errs.Invalid, errs.NotFound, errs.Limited}, e.Kind) {
			t.Errorf("%s: %v, want it at %q", tt.name, err, tt.field)
		}
	}
	if c, err := o.List(o.as("handler"), assessment.Filter{}, page.Request{First: 10}); err != nil || len(c.Edges) > 0 {
		t.Errorf("something was made: %+v, %v", c, err)
	}
}

func TestListsAndStrangers(t *testing.T) {
	o := start(t)
	a := o.create(assessment.KindDPIA, func(c *assessment.Content) { c.Activities = []string{o.activity} })
	o.walk(o.create(assessment.KindLIA), "submit")
	o.create(assessment.KindTIA)
	for _, tt := range []struct {
		name   string
		filter assessment.Filter
		want   int
	}{
		{"all", assessment.Filter{}, 3},
		{"kind", assessment.Filter{Kind: new(assessment.KindTIA)}, 1},
		{"state", assessment.Filter{State: new(assessment.DPOReview)}, 1},
		{"kind and state", assessment.Filter{Kind: new(assessment.KindDPIA), State: new(assessment.DPOReview)}, 0},
		{"activity", assessment.Filter{Activity: &o.activity}, 1},
		{"activity and state", assessment.Filter{Activity: &o.activity, State: new(assessment.Approved)}, 0},
	} {
		if c, err := o.List(o.as("dpo"), tt.filter, page.Request{First: 10}); err != nil || len(c.Edges) != tt.want {
			t.Errorf("%s: %d, %v, want %d", tt.name, len(c.Edges), err, tt.want)
		}
		if c, err := o.List(o.as("stranger"), tt.filter, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
			t.Errorf("%s: another tenant sees %d, %v", tt.name, len(c.Edges), err)
		}
	}
	if kind, err := o.Kind(o.as("handler"), a.ID); err != nil || kind != processing.DPIA {
		t.Errorf("its kind is %s, %v", kind, err)
	}
	for _, step := range []string{"update", "screenOut", "begin", "submit", "advise", "consult", "note", "approve", "reject", "revise", "demand"} {
		if _, err := o.take("stranger", step, a); !errors.Is(err, assessment.ErrNotFound) {
			t.Errorf("%s by another tenant: %v", step, err)
		}
	}
	for name, read := range map[string]func() error{
		"get":      func() error { _, err := o.Get(o.as("stranger"), a.ID); return err },
		"kind":     func() error { _, err := o.Kind(o.as("stranger"), a.ID); return err },
		"editions": func() error { _, err := o.Editions(o.as("stranger"), a.ID); return err },
	} {
		if err := read(); !errors.Is(err, assessment.ErrNotFound) {
			t.Errorf("%s by another tenant: %v", name, err)
		}
	}
	if o.state(a) != assessment.Screening {
		t.Error("the stranger left a trace")
	}
}
