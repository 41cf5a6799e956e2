package agreement_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/verify"
)

type fixture struct {
	*testing.T
	*agreement.Service

	gate     *agreement.Gate
	datasets *dataset.Service
	ring     *sign.Ring
	skew     atomic.Int64
	mailed   []notify.Message

	one, two, operator context.Context
}

// The owners and what is mailed, the record of processing, which is empty, and the
// audit log, which has sealed everything.
func (f *fixture) Owners(ctx context.Context) ([]*tenancy.Member, error) {
	of, err := tenant.FromContext(ctx)
	return []*tenancy.Member{{ID: id.New(id.Member, of), Tenant: of, Email: personal.NewText("owner@work.example")}}, err
}

func (f *fixture) Queue(_ context.Context, m notify.Message) (job.Spec, error) {
	f.mailed = append(f.mailed, m)
	return job.Spec{Type: "test:mail", Object: "msg"}, nil
}

type nothing struct{}

func (nothing) List(context.Context, processing.Filter, page.Request) (*processing.Connection, error) {
	return &processing.Connection{}, nil
}

type sealed struct{}

func (sealed) Page(context.Context, *trail.Filter, page.Request) (*trail.Connection, error) {
	return page.Of(page.List{Of: id.Audit}, page.Request{First: 1}, []*trail.Entry{{ID: "aud_1", Action: "agreement.sign"}},
		func(e *trail.Entry) page.Position { return page.Position{ID: e.ID} }), nil
}

func (sealed) Proof(context.Context, string) (*trail.Proof, error) {
	return &trail.Proof{Seq: 7, Checkpoint: &trail.State{Number: 3, Root: "abcd"}}, nil
}

func person(ctx context.Context, of tenant.ID, kind authz.Kind) context.Context {
	p := authz.Principal{Kind: kind, ID: id.New(id.Member, of), Tenant: of, Role: authz.RoleOwner, Identity: "identity of " + string(kind)}
	if kind == authz.KindOperator {
		p.Home, p.Role = of, authz.RoleOperator
	}
	return authz.NewContext(tenant.NewContext(ctx, of), p)
}

func start(t *testing.T) *fixture {
	t.Helper()
	db, v := testenv.Mongo(t), testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	tenants := mongo.NewTenantStore(db, v)
	f := &fixture{T: t, ring: testenv.Ring(t, db, v, changes)}
	now := func() time.Time { return testenv.Now().Add(time.Duration(f.skew.Load())) }
	for of, kind := range map[tenant.ID]tenancy.Kind{testenv.One: tenancy.Customer, testenv.Two: tenancy.Customer, testenv.Provider: tenancy.Provider} {
		f.ok(db.InTransaction(tenant.NewContext(t.Context(), of), func(ctx context.Context) error {
			return tenants.Insert(ctx, &tenancy.Tenant{
				ID: of, Kind: kind, LegalName: "Åse & Ærø " + string(kind), Country: "DK", TimeZone: "Europe/Copenhagen", Languages: []string{"da"}, Version: 1,
				Registration: &tenancy.Registration{Scheme: "CVR", Number: "10008123"},
				Letterhead:   &tenancy.Letterhead{Address: "Opdigtet Vej 1, 0000 Eksempelby", Email: "privacy@" + strings.ToLower(string(kind)) + ".example"},
			})
		}))
	}
	store := mongo.NewAgreementStore(db, v)
	f.datasets = dataset.NewService(mongo.NewDatasetStore(db), changes, testenv.Authorizer(t), now)
	f.gate = agreement.NewGate(store, tenants, changes, testenv.Logger(t), now, agreement.Warn, []string{"DK"})
	terms := agreement.StandardTerms()
	terms.Countries, terms.BackupDays, terms.BreachContact = []string{"DK"}, 90, "brud@provider.example"
	var err error
	f.Service, err = agreement.NewService(agreement.Config{
		Store: store, Changes: changes, Vault: v, Tenants: tenants, Owners: f, Processing: nothing{}, Datasets: f.datasets, Mail: f, Signer: f.ring,
		Trail: sealed{}, Gate: f.gate, Terms: terms, Now: now,
	})
	f.ok(err)
	f.one, f.two, f.operator = person(t.Context(), testenv.One, authz.KindMember), person(t.Context(), testenv.Two, authz.KindMember), person(t.Context(), testenv.Provider, authz.KindOperator)
	return f
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// must returns an agreement in a state.
func (f *fixture) must(want agreement.State) func(a *agreement.Agreement, err error) *agreement.Agreement {
	return func(a *agreement.Agreement, err error) *agreement.Agreement {
		f.Helper()
		if err != nil || a.State != want {
			f.Fatalf("got %+v, %v; want %s", a, err, want)
		}
		return a
	}
}

func (f *fixture) refused(err error, kind errs.Kind, rule string) {
	f.Helper()
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind != kind || rule != "" && e.Rule != rule {
		f.Errorf("got %v, want %s under %q", err, kind, rule)
	}
}

func signing(a *agreement.Agreement) agreement.SignInput {
	return agreement.SignInput{
		ID: a.ID, ExpectedVersion: a.Version, SHA256: *a.LatestVersion.SHA256, Name: personal.NewText("Åse Ærlig"), Title: "Direktør",
		Authority: "Tegningsregel", Method: agreement.Simple,
	}
}

// active makes the first tenant an agreement that both have signed.
func (f *fixture) active() *agreement.Agreement {
	f.Helper()
	a := f.must(agreement.Draft)(f.Request(f.one, agreement.RequestInput{Template: agreement.ShortDPA}))
	a = f.must(agreement.Offered)(f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 30}))
	a = f.must(agreement.PartlySigned)(f.Sign(f.one, signing(a)))
	return f.must(agreement.Active)(f.Sign(f.operator, signing(a)))
}

func TestAgreementIsMade(t *testing.T) {
	f := start(t)
	_, err := f.datasets.Create(f.one, dataset.CreateInput{Name: "KYC", Secrecy: dataset.NoSecrecy, Fields: []dataset.FieldInput{{
		Key: "faith", Type: dataset.TypeText, DataClass: dataset.Art9, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup,
	}}})
	f.ok(err)
	a := f.must(agreement.Draft)(f.Request(f.one, agreement.RequestInput{Template: agreement.ShortDPA}))
	v := a.LatestVersion
	if len(v.Missing) > 0 || v.SHA256 == nil || !strings.Contains(v.Text, "Åse & Ærø CUSTOMER") && !strings.Contains(v.Text, `Åse \& Ærø CUSTOMER`) {
		t.Fatalf("missing %q of %s", v.Missing, v.Text)
	}
	if !slices.Contains(v.Scope.Classes, dataset.Art9) || !strings.Contains(v.Text, "artikel 9") || strings.Contains(v.Text, "{{") || strings.Contains(v.Text, "when") {
		t.Errorf("the scope %+v isn't in the text:\n%s", v.Scope, v.Text)
	}
	if _, err := f.Request(f.one, agreement.RequestInput{Template: agreement.ShortDPA}); !errors.Is(err, agreement.ErrOpen) {
		t.Errorf("a second one: %v", err)
	}

	// The tenant wants other terms, and sees what differs.
	a = f.must(agreement.Draft)(f.Propose(f.one, agreement.ProposeInput{
		ID: a.ID, ExpectedVersion: a.Version, Values: []agreement.Value{{Name: "breachNotice.hours", Value: "12"}, {Name: "ending.choice", Value: "RETURN"}},
	}))
	if d := a.LatestVersion.Changes; len(d) != 2 || d[0] != (agreement.Difference{Field: "breachNotice.hours", Before: "24", After: "12"}) {
		t.Errorf("differs by %+v", d)
	}
	offer := func() (*agreement.Agreement, error) {
		return f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 30})
	}
	_, err = offer()
	f.refused(err, errs.Precondition, "agreement.complete") // RETURN in which format?
	a = f.must(agreement.Draft)(f.Propose(f.operator, agreement.ProposeInput{
		ID: a.ID, ExpectedVersion: a.Version, Values: []agreement.Value{{Name: "ending.returnFormat", Value: "JSON og CSV"}},
	}))
	_, err = f.Offer(f.one, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 30})
	f.refused(err, errs.Forbidden, "agreement.side")
	a = f.must(agreement.Offered)(offer())
	if len(f.mailed) != 1 || f.mailed[0].Template != notify.TemplateAgreement {
		t.Errorf("mailed %d", len(f.mailed))
	}

	// Nobody signs another text, twice, or for both sides.
	other := signing(a)
	other.SHA256 = strings.Repeat("0", 64)
	_, err = f.Sign(f.one, other)
	f.refused(err, errs.Conflict, "")
	_, err = f.Sign(authz.NewContext(f.one, authz.Principal{Kind: authz.KindMachine, ID: "key", Tenant: testenv.One}), signing(a))
	f.refused(err, errs.Forbidden, "agreement.person")
	a = f.must(agreement.PartlySigned)(f.Sign(f.one, signing(a)))
	_, err = f.Sign(f.one, signing(a))
	f.refused(err, errs.Precondition, "agreement.signed")
	p := authz.FromContext(f.operator)
	p.Identity = authz.FromContext(f.one).Identity
	_, err = f.Sign(authz.NewContext(f.operator, p), signing(a))
	f.refused(err, errs.Forbidden, "agreement.fourEyes")
	if _, err := f.OpenFile(f.one, a.ID); !errors.Is(err, agreement.ErrDocument) {
		t.Errorf("the document of what one has signed: %v", err)
	}
	a = f.must(agreement.Active)(f.Sign(f.operator, signing(a)))
	if *a.InForce != 3 || len(a.ForceVersion.Signatures) != 2 {
		t.Errorf("in force %+v", a)
	}

	// Its document is verified offline.
	f.ok(f.WriteDocument(f.one, a.ID))
	file, err := f.OpenFile(f.one, a.ID)
	f.ok(err)
	again, err := f.OpenFile(f.one, a.ID)
	f.ok(err)
	if string(file.Content) != string(again.Content) {
		t.Error("two files of one agreement")
	}
	keys, err := f.ring.Keys(f.operator)
	f.ok(err)
	report, err := verify.Content(file.Content, verify.Options{Trusted: keys})
	f.ok(err)
	if c := report.Agreement; report.What != "PROCESSOR_AGREEMENT" || c.SHA256 != *a.ForceVersion.SHA256 || len(c.Signatures) != 2 || c.Audit.Number != 7 {
		t.Errorf("verified %+v", report)
	}
	if strings.Contains(string(file.Content), "identity of") {
		t.Error("the document has an identity")
	}

	events, err := f.Events(f.one, a.ID)
	f.ok(err)
	moves := make([]agreement.Move, len(events))
	for i, e := range events {
		moves[i] = e.Move
	}
	want := []agreement.Move{
		agreement.MoveRequest, agreement.MovePropose, agreement.MovePropose, agreement.MoveOffer, agreement.MoveSign, agreement.MoveComplete,
	}
	slices.Sort(moves)
	slices.Sort(want)
	if !slices.Equal(moves, want) {
		t.Errorf("events %v", moves)
	}
}

func TestSecondTenantSeesNothing(t *testing.T) {
	f := start(t)
	a := f.active()
	i, err := f.Instruct(f.one, agreement.InstructInput{Text: personal.NewText("Slet."), Channel: agreement.ByMail, GivenBy: personal.NewText("Bo Borg")})
	f.ok(err)
	for name, err := range map[string]error{
		"get":         second(f.Get(f.two, a.ID)),
		"versions":    second(f.Revisions(f.two, a.ID)),
		"events":      second(f.Events(f.two, a.ID)),
		"differences": second(f.Differences(f.two, a.ID, 1, 1)),
		"file":        second(f.OpenFile(f.two, a.ID)),
		"propose":     second(f.Propose(f.two, agreement.ProposeInput{ID: a.ID, ExpectedVersion: a.Version})),
		"sign":        second(f.Sign(f.two, signing(a))),
		"terminate":   second(f.Terminate(f.two, agreement.TerminateInput{ID: a.ID, ExpectedVersion: a.Version})),
		"instruction": second(f.Instruction(f.two, i.ID)),
		"answer":      second(f.Answer(f.two, agreement.AnswerInput{ID: i.ID, ExpectedVersion: 1, Answer: personal.NewText("x")})),
	} {
		if errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := f.List(f.two, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
		t.Errorf("lists %v, %v", c, err)
	}
	if c, err := f.Current(f.two); err != nil || c != nil {
		t.Errorf("in force: %v, %v", c, err)
	}
	_, err = f.Standing(f.two, new(string(testenv.One)))
	f.refused(err, errs.Forbidden, "agreement.provider")
	if c, err := f.List(f.operator, page.Request{First: 10}); err != nil || len(c.Edges) != 1 {
		t.Errorf("the provider lists %v, %v", c, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAmendment(t *testing.T) {
	f := start(t)
	a := f.active()
	amend := func(ctx context.Context, hours, reason string) (*agreement.Agreement, error) {
		return f.Propose(ctx, agreement.ProposeInput{
			ID: a.ID, ExpectedVersion: a.Version, Reason: reason, Values: []agreement.Value{{Name: "breachNotice.hours", Value: hours}},
			Scope: &agreement.Scope{Classes: []dataset.Class{dataset.Ordinary, dataset.Art10}, Countries: []string{"DK", "SE"}},
		})
	}
	_, err := amend(f.one, "6", "")
	f.refused(err, errs.Invalid, "")
	a = f.must(agreement.AmendmentPending)(amend(f.one, "6", "strengere krav"))
	if *a.InForce != 1 || a.Latest != 2 || a.LatestVersion.Reason != "strengere krav" {
		t.Errorf("pending %+v", a)
	}
	old := f.gate.Take(f.one, []dataset.Class{dataset.Art10}, nil)
	a = f.must(agreement.Active)(f.Decline(f.operator, agreement.DeclineInput{ID: a.ID, ExpectedVersion: a.Version}))
	a = f.must(agreement.AmendmentPending)(amend(f.operator, "8", "lovkrav"))
	a = f.must(agreement.AmendmentPending)(f.Sign(f.operator, signing(a)))
	_, err = amend(f.one, "7", "nej")
	f.refused(err, errs.Precondition, "agreement.signed")
	a = f.must(agreement.Active)(f.Sign(f.one, signing(a)))
	if *a.InForce != 3 || a.ForceVersion.Scope.Countries[1] != "SE" {
		t.Errorf("amended %+v", a.ForceVersion.Scope)
	}
	if err := f.gate.Take(f.one, []dataset.Class{dataset.Art10}, nil); old != nil || err != nil {
		t.Errorf("before %v, after %v", old, err)
	}

	// One that isn't signed in time lapses, and what is in force stays so.
	a = f.must(agreement.AmendmentPending)(amend(f.one, "5", "igen"))
	f.skew.Store(int64(31 * 24 * time.Hour))
	_, err = f.Sign(f.one, signing(a))
	f.refused(err, errs.Precondition, "agreement.lapsed")
	f.ok(f.Sweep(tenant.System(t.Context(), "test")))
	f.must(agreement.Active)(f.Get(f.one, a.ID))
}

func TestEnd(t *testing.T) {
	f := start(t)
	a := f.active()
	today := civil.Of(testenv.Now())
	_, err := f.Terminate(f.operator, agreement.TerminateInput{ID: a.ID, ExpectedVersion: a.Version, EndsOn: today.AddDays(5), Choice: new(agreement.Return)})
	f.refused(err, errs.Forbidden, "agreement.side")
	a = f.must(agreement.TerminationNotice)(f.Terminate(f.operator, agreement.TerminateInput{ID: a.ID, ExpectedVersion: a.Version, EndsOn: today.AddDays(5)}))
	a = f.must(agreement.TerminationNotice)(f.Choose(f.one, agreement.ChooseInput{ID: a.ID, ExpectedVersion: a.Version, Choice: agreement.Return}))
	if a.Ending.Choice != agreement.Return || a.Ending.Deadline != today.AddDays(35) {
		t.Errorf("ends %+v", a.Ending)
	}
	f.ok(f.Sweep(tenant.System(t.Context(), "test")))
	f.must(agreement.TerminationNotice)(f.Get(f.one, a.ID)) // its last day hasn't come
	f.skew.Store(int64(7 * 24 * time.Hour))
	f.ok(f.Sweep(tenant.System(t.Context(), "test")))
	a = f.must(agreement.WindingDown)(f.Get(f.one, a.ID))
	if c, err := f.Current(f.one); err != nil || c != nil {
		t.Errorf("in force: %v, %v", c, err)
	}
	done := func(task agreement.TaskKind) (*agreement.Agreement, error) {
		return f.CompleteTask(f.operator, agreement.TaskInput{ID: a.ID, ExpectedVersion: a.Version, Task: task, Receipt: "crt-1"})
	}
	_, err = done(agreement.TaskDelete)
	f.refused(err, errs.Precondition, "agreement.tasks")
	for _, task := range []agreement.TaskKind{agreement.TaskReturn, agreement.TaskDelete, agreement.TaskSubProcessors} {
		_, err := f.Close(f.operator, agreement.CloseInput{ID: a.ID, ExpectedVersion: a.Version})
		f.refused(err, errs.Precondition, "agreement.tasks")
		a = f.must(agreement.WindingDown)(done(task))
	}
	_, err = f.Close(f.one, agreement.CloseInput{ID: a.ID, ExpectedVersion: a.Version})
	f.refused(err, errs.Forbidden, "agreement.side")
	f.must(agreement.Closed)(f.Close(f.operator, agreement.CloseInput{ID: a.ID, ExpectedVersion: a.Version}))
	if a := f.active(); a.State != agreement.Active { // and another may follow
		t.Error(a.State)
	}
}

func TestOfferEnds(t *testing.T) {
	f := start(t)
	a := f.must(agreement.Draft)(f.Request(f.operator, agreement.RequestInput{Tenant: new(string(testenv.One)), Template: agreement.ShortDPA, Language: new("en")}))
	a = f.must(agreement.Offered)(f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 1}))
	a = f.must(agreement.Negotiating)(f.Propose(f.one, agreement.ProposeInput{
		ID: a.ID, ExpectedVersion: a.Version, Values: []agreement.Value{{Name: "agreement.venue", Value: "Copenhagen"}},
	}))
	_, err := f.Sign(f.one, signing(a))
	f.refused(err, errs.Precondition, "agreement.state")
	a = f.must(agreement.Offered)(f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 1}))
	f.must(agreement.Declined)(f.Decline(f.one, agreement.DeclineInput{ID: a.ID, ExpectedVersion: a.Version}))
	a = f.must(agreement.Draft)(f.Request(f.one, agreement.RequestInput{Template: agreement.ShortDPA}))
	a = f.must(agreement.Offered)(f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 1}))
	f.skew.Store(int64(25 * time.Hour))
	f.ok(f.Sweep(tenant.System(t.Context(), "test")))
	f.must(agreement.Lapsed)(f.Get(f.one, a.ID))
}

func TestOfficialText(t *testing.T) {
	f := start(t)
	a := f.must(agreement.Draft)(f.Request(f.one, agreement.RequestInput{Template: agreement.EUClause, Language: new("en")}))
	_, err := f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 30})
	f.refused(err, errs.Precondition, "agreement.text")
	templates, err := f.Templates(f.one)
	f.ok(err)
	var b strings.Builder
	b.WriteString("# Clauses\n\n## Clause 7\n\n")
	for _, x := range templates {
		if x.Key != agreement.EUClause || x.Language != "en" {
			continue
		}
		if x.HasText() || len(x.Outline) < 10 {
			t.Errorf("before: %+v", x)
		}
		for _, field := range x.Fields {
			if field.Required && strings.HasSuffix(field.Name, "Rows") {
				b.WriteString("| a | b | c | d | e |\n|---|---|---|---|---|\n| {{" + field.Name + "}} |\n\n")
			} else if field.Required && !slices.Contains([]string{"ending.choice", "subProcessing.authorisation"}, field.Name) {
				b.WriteString("{{" + field.Name + "}}\n\n")
			}
		}
	}
	text := b.String() + "<!-- when ending.choice = DELETE -->\nIt is deleted.\n<!-- endwhen -->\n<!-- when subProcessing.authorisation = GENERAL -->\nIn general.\n<!-- endwhen -->\n"
	load := func(ctx context.Context, text string) (*agreement.Template, error) {
		return f.Load(ctx, agreement.LoadInput{Template: agreement.EUClause, Language: "en", Text: text})
	}
	_, err = load(f.one, text)
	f.refused(err, errs.Forbidden, "agreement.provider")
	_, err = load(f.operator, "# Clauses\n\nNothing of what it must say.\n")
	f.refused(err, errs.Invalid, "")
	for want := int64(1); want < 3; want++ {
		x, err := load(f.operator, text)
		f.ok(err)
		if x.Version != want || !x.HasText() {
			t.Errorf("loaded %+v", x)
		}
	}
	a = f.must(agreement.Offered)(f.Offer(f.operator, agreement.OfferInput{ID: a.ID, ExpectedVersion: a.Version, ValidDays: 30}))
	if v := a.LatestVersion; !strings.Contains(v.Text, "It is deleted.") || v.TemplateVersion != 2 {
		t.Errorf("offered %d:\n%s", v.TemplateVersion, v.Text)
	}
}

func TestInstructions(t *testing.T) {
	f := start(t)
	in := agreement.InstructInput{Text: personal.NewText("Udlever alt til Bo."), Channel: agreement.ByMail, GivenBy: personal.NewText("Bo Borg")}
	_, err := f.Instruct(f.one, in)
	f.refused(err, errs.Precondition, "agreement.inForce")
	f.active()
	i, err := f.Instruct(f.one, in)
	f.ok(err)
	f.mailed = nil
	_, err = f.Assess(f.one, agreement.AssessInput{ID: i.ID, ExpectedVersion: 1, Lawful: true})
	f.refused(err, errs.Forbidden, "agreement.provider")
	i, err = f.Assess(f.operator, agreement.AssessInput{ID: i.ID, ExpectedVersion: 1, Objection: new(personal.NewText("Artikel 6 mangler."))})
	f.ok(err)
	if i.State != agreement.Objected || len(f.mailed) != 1 || f.mailed[0].Template != notify.TemplateInstruction {
		t.Errorf("objected %+v, mailed %d", i, len(f.mailed))
	}
	i, err = f.Answer(f.one, agreement.AnswerInput{ID: i.ID, ExpectedVersion: 2, Withdraw: true, Answer: personal.NewText("Enig.")})
	f.ok(err)
	if i.State != agreement.Withdrawn || i.Objection.Reveal() != "Artikel 6 mangler." {
		t.Errorf("withdrawn %+v", i)
	}
	_, err = f.Answer(f.one, agreement.AnswerInput{ID: i.ID, ExpectedVersion: 3, Answer: personal.NewText("Igen.")})
	f.refused(err, errs.Precondition, "instruction.state")
}

func TestGate(t *testing.T) {
	f := start(t)
	take := func(ctx context.Context, classes ...dataset.Class) ([]agreement.Warning, error) {
		ctx, w := agreement.WithWarnings(ctx)
		err := f.gate.Take(ctx, classes, nil)
		return w.All(), err
	}
	mode := func(m *agreement.Mode) {
		_, err := f.SetMode(f.operator, agreement.GateInput{Tenant: string(testenv.One), Mode: m})
		f.ok(err)
	}
	for range 2 { // it warns each time, and notes it once
		if w, err := take(f.one, dataset.Ordinary); err != nil || len(w) != 1 || w[0].Rule != agreement.ErrGate.Rule {
			t.Errorf("warned %v, %v", w, err)
		}
	}
	if w, err := take(person(t.Context(), testenv.Provider, authz.KindMember), dataset.Ordinary); err != nil || len(w) > 0 {
		t.Errorf("the provider: %v, %v", w, err)
	}
	mode(new(agreement.Enforce))
	_, err := take(f.one, dataset.Ordinary)
	f.refused(err, errs.Precondition, "agreement.inForce")
	if w, err := take(f.two, dataset.Ordinary); err != nil || len(w) != 1 {
		t.Errorf("the second tenant: %v, %v", w, err)
	}
	a := f.active() // at once, though the gate remembers
	if w, err := take(f.one, dataset.Ordinary); err != nil || len(w) > 0 {
		t.Errorf("covered: %v, %v", w, err)
	}
	_, err = take(f.one, dataset.Ordinary, dataset.Art9)
	f.refused(err, errs.Precondition, "agreement.categories")
	mode(new(agreement.Off))
	if w, err := take(f.one, dataset.Art9); err != nil || len(w) > 0 {
		t.Errorf("off: %v, %v", w, err)
	}
	mode(new(agreement.Enforce))
	a = f.must(agreement.AmendmentPending)(f.Propose(f.one, agreement.ProposeInput{
		ID: a.ID, ExpectedVersion: a.Version, Reason: "andet sted", Scope: &agreement.Scope{Classes: []dataset.Class{dataset.Ordinary}, Countries: []string{"SE"}},
	}))
	a = f.must(agreement.AmendmentPending)(f.Sign(f.one, signing(a)))
	a = f.must(agreement.Active)(f.Sign(f.operator, signing(a)))
	_, err = take(f.one, dataset.Ordinary)
	f.refused(err, errs.Precondition, "agreement.locations")
	f.must(agreement.TerminationNotice)(f.Terminate(f.one, agreement.TerminateInput{ID: a.ID, ExpectedVersion: a.Version, EndsOn: civil.Of(testenv.Now())}))
	f.skew.Store(int64(48 * time.Hour)) // before any sweep
	_, err = take(f.one, dataset.Ordinary)
	f.refused(err, errs.Precondition, "agreement.inForce")
	if _, err := f.SetMode(f.one, agreement.GateInput{Tenant: string(testenv.One)}); !errors.Is(err, agreement.ErrProvider) {
		t.Errorf("the tenant opens it itself: %v", err)
	}
}

func TestStaleVersion(t *testing.T) {
	f := start(t)
	a := f.active()
	if _, err := f.Terminate(f.one, agreement.TerminateInput{ID: a.ID, ExpectedVersion: a.Version - 1, EndsOn: civil.Of(testenv.Now())}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("got %v", err)
	}
}
