package consent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// office is a tenant's office with purposes, persons and consents.
type office struct {
	*world.World

	consents *consent.Service
	purposes *purpose.Service
	records  *record.Service // behind the gate, as the subjects are
	ledger   *ledger.Ledger
	erasures *erasure.Service
	keys     int
}

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

// quiet tells nobody else.
type quiet struct{ *vault.Vault }

func (q quiet) Evict(_ context.Context, owners ...vault.Owner) { q.Vault.Evict(owners...) }

// noEpochs knows of no epoch.
type noEpochs struct{}

func (noEpochs) Irrecoverable(context.Context, ...vault.Epoch) (time.Time, *time.Time, error) {
	return time.Time{}, nil, nil
}

func open(tb testing.TB) *office {
	tb.Helper()
	w := world.Start(tb)
	o := &office{World: w}
	log := testenv.Logger(tb)
	tenants, subjects := mongo.NewTenantStore(w.DB, w.Vault), mongo.NewSubjectStore(w.DB, w.Vault, log)
	o.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(w.DB), Notices: mongo.NewNoticeStore(w.DB), Tenants: tenants, Datasets: w.Datasets,
		Changes: w.Changes, Now: w.Now,
	})
	store := mongo.NewConsentStore(w.DB, w.Vault, log)
	gate := consent.NewGate(o.purposes, store, w.Now)
	recordStore := mongo.NewRecordStore(w.DB, w.Vault, log)
	o.records = record.NewService(record.Parts{
		Store: recordStore, Changes: w.Changes, Recorder: w.Recorder, Vault: w.Vault, Looker: testenv.Authorizer(tb),
		Datasets: w.Datasets, Subjects: subjects, Files: w.Files, Consents: gate, Regions: denmark{}, Now: w.Now,
	})
	w.Subjects.Ask(gate)
	w.Files.Consents, w.Exports.Consents = gate, gate
	o.ledger = ledger.New(ledger.Config{
		Store: mongo.NewLedgerStore(w.DB), Objects: w.Bucket, Signer: testenv.Ring(tb, w.DB, w.Vault, w.Changes), Now: w.Now, Keep: time.Hour,
	})
	if err := o.ledger.Check(tenant.System(tb.Context(), "test"), "db", nil); err != nil {
		tb.Fatal(err)
	}
	o.erasures = erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(w.DB), Keys: w.Keys, Caches: quiet{w.Vault}, Ledger: o.ledger, Lookups: mongo.LookupEraser(w.DB),
		Data: mongo.Erasers(w.DB, w.Bucket, w.Changes), Epochs: noEpochs{}, Changes: w.Changes, Log: log, Now: w.Now,
	})
	var err error
	o.consents, err = consent.NewService(consent.Config{
		Store: store, Purposes: o.purposes, Subjects: subjects, Datasets: w.Datasets, Records: recordStore, Files: w.Files, Vault: w.Vault,
		Ledger: o.ledger, Looker: testenv.Authorizer(tb), Regions: denmark{}, Recorder: w.Recorder, Changes: w.Changes, Log: log, Now: w.Now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	o.consents.Signals = rights.NewService(rights.Config{
		Store: mongo.NewRightsStore(w.DB), Subjects: subjects, Standings: store, Consents: o.consents, Purposes: o.purposes, Ledger: o.ledger,
		Recorder: w.Recorder, Changes: w.Changes, Now: w.Now,
	})
	w.Handle(consent.JobCheck, o.consents.RunCheck)
	w.Handle(consent.JobInvalidate, o.consents.RunInvalidation)
	w.Handle(erasure.JobShred, o.erasures.Run)
	return o
}

// keyed is ctx with an Idempotency-Key of its own.
func (o *office) keyed(ctx context.Context) context.Context {
	o.keys++
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(o.keys), Input: []byte(strconv.Itoa(o.keys))})
}

func must[T any](o *office) func(v T, err error) T {
	return func(v T, err error) T {
		o.Helper()
		if err != nil {
			o.Fatal(err)
		}
		return v
	}
}

// content is that of a purpose which rests on consent.
func content(edit func(*purpose.Content)) purpose.Content {
	c := purpose.Content{
		Term: "dpv:DirectMarketing", LegalBasis: purpose.Consent, ValidityMonths: 24, CoolDownMonths: 6,
		Texts: []purpose.Text{
			{Language: "da", Name: "Nyheder", Description: "Det bruger vi dem til."}, {Language: "en", Name: "News", Description: "That is what for."},
		},
		Data: []purpose.Data{{Term: "pd:EmailAddress", Class: dataset.Ordinary}},
	}
	if edit != nil {
		edit(&c)
	}
	return c
}

// purpose makes a purpose and publishes it.
func (o *office) purpose(ctx context.Context, key string, edit func(*purpose.Content)) *purpose.Purpose {
	o.Helper()
	p := must[*purpose.Purpose](o)(o.purposes.Create(o.keyed(ctx), purpose.CreateInput{Key: key, Content: content(edit)}))
	return must[*purpose.Purpose](o)(o.purposes.Publish(o.keyed(ctx), purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit}))
}

// revise publishes the next version of a purpose.
func (o *office) revise(ctx context.Context, p *purpose.Purpose, edit func(*purpose.Content)) *purpose.Purpose {
	o.Helper()
	d := must[*purpose.Purpose](o)(o.purposes.Revise(o.keyed(ctx), purpose.ReviseInput{ID: p.ID, Material: true, Reason: "More"}))
	d = must[*purpose.Purpose](o)(o.purposes.Update(ctx, purpose.UpdateInput{ID: d.ID, ExpectedEdit: d.Edit, Content: content(edit)}))
	return must[*purpose.Purpose](o)(o.purposes.Publish(ctx, purpose.PublishInput{ID: d.ID, ExpectedEdit: d.Edit}))
}

// notice makes a notice of purposes and publishes it.
func (o *office) notice(ctx context.Context, key string, purposes ...string) *purpose.Notice {
	o.Helper()
	organisation := purpose.Party{
		ID: "CVR 12345674", Type: purpose.Organisation, Role: "dpv:DataController", Name: "Eksempel ApS", Address: "Vej 1, 1000 By",
		Country: "DK", Contact: "privatliv@eksempel.example",
	}
	authority := purpose.Party{
		ID: "DT", Type: purpose.Authority, Role: "dpv:DataProtectionAuthority", Name: "Datatilsynet", Address: "By", Country: "DK", Contact: "tlf.",
	}
	n := must[*purpose.Notice](o)(o.purposes.CreateNotice(o.keyed(ctx), purpose.CreateNoticeInput{Key: key, Content: purpose.NoticeContent{
		Purposes: purposes,
		Facts: purpose.Facts{
			Controllers: []purpose.Party{organisation}, Authority: &authority, StorageLocations: []string{"DK"},
			ProcessingLocations: []string{"DK"}, Jurisdiction: "DK", Rights: []string{"eu-gdpr:A7-3", "eu-gdpr:A77"}, Operations: []string{"dpv:Use"},
		},
		Texts: []purpose.NoticeText{
			{Language: "da", Title: "Nyt", Body: "Må vi?", Collection: "Du skriver.", Withdrawal: "Klik.", Retention: "To år."},
			{Language: "en", Title: "News", Body: "May we?", Collection: "You type.", Withdrawal: "Click.", Retention: "Two years."},
		},
	}}))
	return must[*purpose.Notice](o)(o.purposes.PublishNotice(o.keyed(ctx), purpose.PublishInput{ID: n.ID, ExpectedEdit: n.Edit}))
}

func text(s string) *personal.Text { return new(personal.NewText(s)) }

// web is the context of an answer on the tenant's site.
func web(edit func(*consent.Context)) *consent.Context {
	c := &consent.Context{Channel: new(consent.Web), Language: new("da"), Component: text("signup form"), Session: text("s-1")}
	if edit != nil {
		edit(c)
	}
	return c
}

func input(s *subject.Subject, key string, n *purpose.Notice, edit func(*consent.Context)) consent.Input {
	in := consent.Input{Subject: s.ID, Purpose: key, Context: web(edit)}
	if n != nil {
		in.Notice = &n.ID
	}
	return in
}

func (o *office) state(ctx context.Context, s *subject.Subject, key string) *consent.Status {
	o.Helper()
	return must[*consent.Status](o)(o.consents.State(ctx, s.ID, key, nil))
}

// stands fails unless a person stands so on a purpose.
func (o *office) stands(ctx context.Context, s *subject.Subject, key string, want consent.State, valid bool) {
	o.Helper()
	if got := o.state(ctx, s, key); got.State != want || got.Valid != valid {
		o.Errorf("stands at %s, valid %v; want %s, %v", got.State, got.Valid, want, valid)
	}
}

func (o *office) history(ctx context.Context, s *subject.Subject) []*consent.Event {
	o.Helper()
	return must[*consent.EventConnection](o)(o.consents.History(ctx, s.ID, nil, page.Request{First: page.Max})).Nodes()
}

// told returns the states of a person's events, the oldest first.
func (o *office) told(ctx context.Context, s *subject.Subject) string {
	o.Helper()
	var states []string
	for _, e := range slices.Backward(o.history(ctx, s)) {
		states = append(states, string(e.State))
	}
	return strings.Join(states, " ")
}

// fails fails unless err is want, in the words of kind and rule.
func fails(tb testing.TB, err error, want string) {
	tb.Helper()
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || strings.TrimSpace(string(e.Kind)+" "+e.Rule) != want {
		tb.Errorf("got %v (%+v), want %s", err, e, want)
	}
}

func member(o *office, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(o.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: id.New(id.Member, of), Tenant: of, Role: authz.RoleOwner, AAL: authz.AAL2, AuthenticatedAt: o.Now(),
	})
}

func person(o *office, s *subject.Subject) context.Context {
	of, _ := id.TenantOf(s.ID)
	return authz.NewContext(tenant.NewContext(o.Context(), of), authz.Principal{
		Kind: authz.KindSubject, ID: id.New(id.Session, of), Tenant: of, Subject: s.ID,
	})
}

// TestLife follows a consent from request to withdrawal, and on to the next one.
func TestLife(t *testing.T) {
	o := open(t)
	one, two := o.As(testenv.One), o.As(testenv.Two)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	o.stands(one, s, "news", consent.Unknown, false)

	asked := must[*consent.Consent](o)(o.consents.Request(one, input(s, "news", n, nil)))
	o.stands(one, s, "news", consent.Requested, false)
	given := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	if given.ID != asked.ID || given.State != consent.Given || given.Supersedes != nil || given.Language != "da" || given.Version != 2 {
		t.Errorf("gave %+v", given)
	}
	o.stands(one, s, "news", consent.Given, true)
	if until := given.ValidUntil; until == nil || until.Before(o.Now().AddDate(2, 0, -2)) || until.After(o.Now().AddDate(2, 0, 2)) {
		t.Errorf("valid until %v", until)
	}
	// Again, by another call: nothing new.
	again := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	if again.ID != given.ID || again.Version != given.Version {
		t.Errorf("gave again %+v", again)
	}
	_, err := o.consents.Request(one, input(s, "news", n, nil))
	fails(t, err, "PRECONDITION consent.state")
	_, err = o.consents.Refuse(one, input(s, "news", n, nil))
	fails(t, err, "PRECONDITION consent.state")

	renewed := must[*consent.Consent](o)(o.consents.Renew(one, input(s, "news", nil, nil)))
	o.stands(one, s, "news", consent.Reconfirmed, true)
	if renewed.ID != given.ID {
		t.Error("renewed is another record")
	}
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
	o.stands(one, s, "news", consent.Withdrawn, false)
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
	_, err = o.consents.Renew(one, input(s, "news", nil, nil))
	fails(t, err, "PRECONDITION consent.state")
	if got, want := o.told(one, s), "REQUESTED GIVEN RECONFIRMED WITHDRAWN"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}

	// A new yes is a new record.
	next := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	if next.ID == given.ID || next.Supersedes == nil || *next.Supersedes != given.ID {
		t.Errorf("the next one is %+v", next)
	}
	if old := must[*consent.Consent](o)(o.consents.Get(one, given.ID)); old.State != consent.Withdrawn {
		t.Errorf("the old one is %s", old.State)
	}
	must[*consent.Consent](o)(o.consents.Revoke(one, input(s, "news", nil, nil)))
	o.stands(one, s, "news", consent.Revoked, false)
	if got, want := o.told(one, s), "REQUESTED GIVEN RECONFIRMED WITHDRAWN REQUESTED GIVEN REVOKED"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
	all := o.history(one, s)
	if e := all[len(all)-2].Evidence; e == nil || e.Component.Reveal() != "signup form" || e.Language != "da" || e.TextHash != n.In("da").ContentHash {
		t.Errorf("the evidence is %+v", e)
	}
	if got := o.Entries(one, given.ID); !slices.Contains(got, "consent.withdrawn") || !slices.Contains(got, "consent.given") {
		t.Errorf("the audit log has %v", got)
	}

	// Another tenant sees nothing.
	_, err = o.consents.State(two, s.ID, "news", nil)
	fails(t, err, "NOT_FOUND")
	_, err = o.consents.Get(two, given.ID)
	fails(t, err, "NOT_FOUND")
	_, err = o.consents.GetEvent(two, all[0].ID)
	fails(t, err, "NOT_FOUND")
	_, err = o.consents.History(two, s.ID, nil, page.Request{First: 1})
	fails(t, err, "NOT_FOUND")
	_, err = o.consents.Withdraw(two, input(s, "news", nil, nil))
	fails(t, err, "NOT_FOUND")
	if c := must[*consent.Connection](o)(o.consents.List(two, consent.Query{}, page.Request{First: 10})); len(c.Nodes()) != 0 {
		t.Error("the other tenant lists consents")
	}
	if r := must[*consent.Report](o)(o.consents.Report(two, consent.ReportInput{Purposes: []string{"news"}})); len(r.Standing)+len(r.Months) != 0 {
		t.Errorf("the other tenant counts %+v", r)
	}
}

// TestRules asks for what may not be.
func TestRules(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	o.purpose(one, "kyc", func(c *purpose.Content) {
		c.LegalBasis, c.Term = "eu-gdpr:A6-1-c", "dpv:LegalCompliance"
	})
	o.purpose(one, "health", func(c *purpose.Content) {
		c.Art9Basis = new(purpose.ExplicitConsent)
		c.Data = []purpose.Data{{Term: "pd:Health", Class: dataset.Art9}}
	})
	o.purpose(one, "games", func(c *purpose.Content) { c.OfferedToChildren = true })
	n, other := o.notice(one, "signup", "news", "health", "games"), o.notice(one, "other", "news")
	legal := o.notice(one, "legal", "kyc")
	s := o.Subject(one, "C-1")
	born := func(date string) *subject.Subject {
		return must[*subject.Subject](o)(o.Subjects.Create(one, subject.CreateInput{Reference: text(date), BirthDate: text(date)}))
	}
	year := o.Now().Year()
	twelve, twenty := born(fmt.Sprintf("%d-06-15", year-12)), born(fmt.Sprintf("%d-06-15", year-20))

	give := func(s *subject.Subject, key string, n *purpose.Notice, edit func(*consent.Input)) error {
		in := input(s, key, n, nil)
		if edit != nil {
			edit(&in)
		}
		_, err := o.consents.Give(one, in)
		return err
	}
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"no consent for what the law demands", "PRECONDITION art6.basis", give(s, "kyc", legal, nil)},
		{"unknown purpose", "NOT_FOUND", give(s, "none", n, nil)},
		{"a notice that doesn't tell of it", "PRECONDITION consent.notice", give(s, "games", other, nil)},
		{"no notice", "INVALID", give(s, "news", nil, nil)},
		{"no language", "INVALID", give(s, "news", n, func(in *consent.Input) { in.Context.Language = nil })},
		{"a language that wasn't there", "PRECONDITION consent.notice", give(s, "news", n, func(in *consent.Input) { in.Context.Language = new("fr") })},
		{"special categories by a click", "PRECONDITION art9.explicit", give(s, "health", n, nil)},
		{"of unknown age", "PRECONDITION art8.age", give(s, "games", n, nil)},
		{"a child, as stated", "PRECONDITION art8.parent", give(s, "games", n, func(in *consent.Input) { in.Context.Age = new(14) })},
		{"a child, by its birth date", "PRECONDITION art8.parent", give(twelve, "games", n, func(in *consent.Input) { in.Context.Age = new(40) })},
		{"a child elsewhere", "PRECONDITION art8.parent", give(s, "games", n, func(in *consent.Input) { in.Context.Age, in.Context.Country = new(15), new("DE") })},
		{"staff without proof", "PRECONDITION consent.proof", give(s, "news", n, func(in *consent.Input) { in.Context.Actor = new(consent.Staff) })},
		{"by the system", "INVALID", give(s, "news", n, func(in *consent.Input) { in.Context.Actor = new(consent.System) })},
	} {
		t.Run(tt.name, func(t *testing.T) { fails(t, tt.err, tt.want) })
	}
	for name, err := range map[string]error{
		"explicit":             give(s, "health", n, func(in *consent.Input) { in.Expression = new(consent.Explicit) }),
		"fifteen in Denmark":   give(s, "games", n, func(in *consent.Input) { in.Context.Age = new(15) }),
		"a parent":             give(twelve, "games", n, func(in *consent.Input) { in.Context.Actor, in.Context.ActorName = new(consent.Parent), text("Parent") }),
		"an adult":             give(twenty, "games", n, nil),
		"a child for the rest": give(twelve, "news", n, nil),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A child confirms alone no more than it gives.
	_, err := o.consents.Renew(one, input(twelve, "games", nil, nil))
	fails(t, err, "PRECONDITION art8.parent")
	must[*consent.Consent](o)(o.consents.Renew(one, input(twelve, "games", nil, func(c *consent.Context) { c.Actor = new(consent.Parent) })))

	// Staff bring proof, or for a no at least tell how it came.
	staff := member(o, testenv.One)
	_, err = o.consents.Give(staff, input(twenty, "news", n, nil))
	fails(t, err, "PRECONDITION consent.proof")
	_, err = o.consents.Withdraw(staff, input(s, "health", nil, func(c *consent.Context) { c.Channel, c.Note = new(consent.Phone), text("called on Monday") }))
	if err != nil {
		t.Error(err)
	}
	_, err = o.consents.Give(staff, input(s, "news", n, func(c *consent.Context) { c.Actor = new(consent.Self) }))
	fails(t, err, "INVALID")
	upload := func(of *subject.Subject) *file.File {
		return must[*file.File](o)(o.Files.Upload(one, file.UploadInput{Subject: of.ID, Name: personal.NewText("form.txt"), Size: 4}, strings.NewReader("yes!")))
	}
	with := func(f *file.File) func(c *consent.Context) {
		return func(c *consent.Context) { c.Channel, c.Proof = new(consent.Paper), &f.ID }
	}
	signed, others := upload(s), upload(twenty)
	_, err = o.consents.Give(staff, input(s, "news", n, with(others)))
	fails(t, err, "PRECONDITION file.owner")
	must[*consent.Consent](o)(o.consents.Give(staff, input(s, "news", n, with(signed))))
	if e := o.history(one, s)[0]; e.Actor != consent.Staff || *e.Evidence.Proof != signed.ID {
		t.Errorf("the event is %+v", e)
	}
	if f := must[*file.File](o)(o.Files.Get(one, signed.ID)); f.State != file.Attached || f.Name.Reveal() != "form.txt" {
		t.Errorf("the proof is %+v", f)
	}
	if _, err := o.Files.Get(o.As(testenv.Two), signed.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("the other tenant gets the proof: %v", err)
	}
	// A person answers for themselves.
	self := person(o, twenty)
	_, err = o.consents.AnswerOwn(self, consent.OwnAnswersInput{
		Answers: []consent.Answer{{Purpose: "news", Notice: &n.ID, Answer: consent.Give}}, Context: web(func(c *consent.Context) { c.Actor = new(consent.Parent) }),
	})
	fails(t, err, "INVALID")
	must[[]*consent.Consent](o)(o.consents.AnswerOwn(self, consent.OwnAnswersInput{
		Answers: []consent.Answer{{Purpose: "news", Notice: &n.ID, Answer: consent.Give}}, Context: web(nil),
	}))
	own := must[[]*consent.Status](o)(o.consents.Own(self))
	if len(own) != 2 || own[1].PurposeKey != "news" || !own[1].Valid {
		t.Errorf("own consents: %+v", own)
	}
	if events := must[*consent.EventConnection](o)(o.consents.OwnHistory(self, page.Request{First: 10})).Nodes(); len(events) != 4 || events[0].Evidence == nil {
		t.Errorf("own history: %+v", events)
	}
	_, err = o.consents.Get(person(o, s), o.state(one, twenty, "news").ConsentID)
	fails(t, err, "NOT_FOUND")

	// Several answers are noted together, or none of them.
	// Nor by naming a country where children are older.
	teen := born(fmt.Sprintf("%d-06-15", year-14))
	_, err = o.consents.AnswerOwn(person(o, teen), consent.OwnAnswersInput{
		Answers: []consent.Answer{{Purpose: "games", Notice: &n.ID, Answer: consent.Give}}, Context: web(func(c *consent.Context) { c.Country = new("BE") }),
	})
	fails(t, err, "PRECONDITION art8.parent")
	must[*consent.Consent](o)(o.consents.Give(one, input(teen, "games", n, func(c *consent.Context) { c.Country = new("BE") }))) // as the portal knows
	three := o.Subject(one, "C-3")
	_, err = o.consents.Answer(one, consent.AnswersInput{Subject: three.ID, Context: web(nil), Answers: []consent.Answer{
		{Purpose: "news", Notice: &n.ID, Answer: consent.Give}, {Purpose: "games", Notice: &n.ID, Answer: consent.Give},
	}})
	fails(t, err, "PRECONDITION art8.age")
	o.stands(one, three, "news", consent.Unknown, false)
	told := must[[]*consent.Consent](o)(o.consents.Answer(one, consent.AnswersInput{Subject: three.ID, Context: web(nil), Answers: []consent.Answer{
		{Purpose: "news", Notice: &n.ID, Answer: consent.Give}, {Purpose: "games", Notice: &n.ID, Answer: consent.Refuse},
	}}))
	if len(told) != 2 || told[0].State != consent.Given || told[1].State != consent.Refused {
		t.Errorf("answered %+v", told)
	}
	// A repeat under the same key is the same event.
	keyed := o.keyed(one)
	first := must[*consent.Consent](o)(o.consents.Renew(keyed, input(three, "news", nil, nil)))
	same := must[*consent.Consent](o)(o.consents.Renew(keyed, input(three, "news", nil, nil)))
	if first.ID != same.ID || first.Version != same.Version || len(o.history(one, three)) != 5 {
		t.Errorf("renewed %+v, then %+v: %s", first, same, o.told(one, three))
	}
}

// TestCoolDown asks again too early, and is told when it may.
func TestCoolDown(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	p := o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	refused := must[*consent.Consent](o)(o.consents.Refuse(one, input(s, "news", n, nil)))
	_, err := o.consents.Request(one, input(s, "news", n, nil))
	fails(t, err, "PRECONDITION consent.coolDown")
	sweep := func() {
		if err := o.consents.Sweep(tenant.System(o.Context(), "test")); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if slices.Contains(o.Entries(one, refused.ID), "consent.askable") {
		t.Error("told at once that the person may be asked again")
	}
	o.Sleep(180 * 24 * time.Hour)
	_, err = o.consents.Request(one, input(s, "news", n, nil))
	fails(t, err, "PRECONDITION consent.coolDown")
	o.Sleep(8 * 24 * time.Hour)
	sweep()
	sweep()
	told := 0
	for _, e := range o.Entries(one, refused.ID) {
		if e == "consent.askable" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times that the person may be asked again", told)
	}
	must[*consent.Consent](o)(o.consents.Request(one, input(s, "news", n, nil)))
	must[*consent.Consent](o)(o.consents.Defer(one, input(s, "news", n, nil)))
	// Who comes of their own accord isn't asked too early.
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	o.stands(one, s, "news", consent.Given, true)
	if got, want := o.told(one, s), "REQUESTED REFUSED REQUESTED DEFERRED REQUESTED GIVEN"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
	// And who said no to the purpose as it was may be asked about what is new.
	other := o.Subject(one, "C-2")
	must[*consent.Consent](o)(o.consents.Refuse(one, input(other, "news", n, nil)))
	o.revise(one, p, func(c *purpose.Content) {
		c.Data = append(c.Data, purpose.Data{Term: "pd:TelephoneNumber", Class: dataset.Ordinary})
	})
	_, err = o.consents.Request(one, input(other, "news", n, nil))
	fails(t, err, "PRECONDITION consent.notice")
	n2 := o.notice(one, "signup2", "news")
	must[*consent.Consent](o)(o.consents.Request(one, input(other, "news", n2, nil)))
	// What was given to the purpose as it was doesn't cover what it is now.
	o.stands(one, s, "news", consent.Given, false)
	_, err = o.consents.Renew(one, input(s, "news", nil, nil))
	fails(t, err, "PRECONDITION consent.notice")
	before := o.state(one, s, "news").ConsentID
	must[*consent.Consent](o)(o.consents.Request(one, input(s, "news", n2, nil)))
	o.stands(one, s, "news", consent.Given, false) // the old scope stands
	next := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n2, nil)))
	o.stands(one, s, "news", consent.Given, true)
	if old := must[*consent.Consent](o)(o.consents.Get(one, before)); old.State != consent.Expired || *next.Supersedes != before {
		t.Errorf("the replaced one is %s, the next one replaces %v", old.State, *next.Supersedes)
	}
}

// TestExpiry lets a consent run out: at once where it is used, and in its history
// when the sweep has come by.
func TestExpiry(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", func(c *purpose.Content) { c.ValidityMonths = 1 })
	n, s, quick := o.notice(one, "signup", "news"), o.Subject(one, "C-1"), o.Subject(one, "C-2")
	given := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	must[*consent.Consent](o)(o.consents.Give(one, input(quick, "news", n, nil)))
	o.Sleep(32 * 24 * time.Hour)
	o.stands(one, s, "news", consent.Expired, false)
	if c := must[*consent.Consent](o)(o.consents.Get(one, given.ID)); c.State != consent.Expired {
		t.Errorf("before the sweep it is %s", c.State)
	}
	// Whoever changes it first notes that it had expired.
	_, err := o.consents.Withdraw(one, input(quick, "news", nil, nil))
	fails(t, err, "PRECONDITION consent.state")
	must[*consent.Consent](o)(o.consents.Give(one, input(quick, "news", n, nil)))
	if got, want := o.told(one, quick), "REQUESTED GIVEN EXPIRED REQUESTED GIVEN"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
	for range 2 {
		if err := o.consents.Sweep(tenant.System(o.Context(), "test")); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := o.told(one, s), "REQUESTED GIVEN EXPIRED"; got != want {
		t.Errorf("history is %s, want %s", got, want)
	}
	if e := o.history(one, s)[0]; !e.At.Equal(*given.ValidUntil) || e.Actor != consent.System || *e.Cause != consent.Validity {
		t.Errorf("expired at %v by %s for %s", e.At, e.Actor, *e.Cause)
	}
}

// TestSignal sends Global Privacy Control.
func TestSignal(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "ads", func(c *purpose.Content) { c.Marketing, c.Optional = true, true })
	o.purpose(one, "account", nil)
	n, s, given := o.notice(one, "signup", "ads", "account"), o.Subject(one, "C-1"), o.Subject(one, "C-2")
	gpc := func(c *consent.Context) { c.GPC = true }
	// It is a no to what is asked anew, and nothing to what the service needs.
	if c := must[*consent.Consent](o)(o.consents.Request(one, input(s, "ads", n, gpc))); c.State != consent.Refused {
		t.Errorf("asked, it is %s", c.State)
	}
	if e := o.history(one, s)[0]; *e.Cause != consent.Signal || e.Actor != consent.Self || !e.Evidence.GPC {
		t.Errorf("refused by %+v", e)
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "account", n, gpc)))
	o.stands(one, s, "account", consent.Given, true)
	// It withdraws nothing: the conflict is noted, once.
	must[*consent.Consent](o)(o.consents.Give(one, input(given, "ads", n, nil)))
	for range 2 {
		must[*consent.Consent](o)(o.consents.Give(one, input(given, "ads", n, gpc)))
	}
	st := o.state(one, given, "ads")
	if st.ConflictAt == nil || !st.Valid || o.told(one, given) != "REQUESTED GIVEN" {
		t.Errorf("the conflict is noted at %v, valid %v: %s", st.ConflictAt, st.Valid, o.told(one, given))
	}
	conflicts := 0
	for _, a := range o.Entries(one, st.ConsentID) {
		if a == "consent.conflict" {
			conflicts++
		}
	}
	if conflicts != 1 {
		t.Errorf("the conflict is told of %d times", conflicts)
	}
	// The person's own browser sends it, whatever the page makes of it.
	own := o.Subject(one, "C-3")
	signal := audit.WithRequest(person(o, own), audit.Request{ID: "REQUEST", GPC: true})
	answers := consent.OwnAnswersInput{Answers: []consent.Answer{{Purpose: "ads", Notice: &n.ID, Answer: consent.Give}}, Context: web(nil)}
	if told := must[[]*consent.Consent](o)(o.consents.AnswerOwn(signal, answers)); told[0].State != consent.Refused {
		t.Errorf("answered under the signal, it is %s", told[0].State)
	}
	// And it is an objection to direct marketing, noted once: whoever asks, and if it
	// only looks.
	looks, quiet := o.Subject(one, "C-4"), o.Subject(one, "C-5")
	for range 2 {
		must[[]*consent.Status](o)(o.consents.Own(audit.WithRequest(person(o, looks), audit.Request{ID: "REQUEST", GPC: true})))
	}
	must[[]*consent.Status](o)(o.consents.Own(person(o, quiet)))
	for who, want := range map[*subject.Subject]int{s: 1, given: 1, own: 1, looks: 1, quiet: 0} {
		if n := o.Count(one, "stops", bson.D{{Key: "subject", Value: who.ID}, {Key: "kind", Value: "MARKETING"}}); n != want {
			t.Errorf("%d objections of %s", n, who.ID)
		}
	}
	objected := 0
	if err := o.ledger.Visit(o.Context(), func(e ledger.Entry) error {
		if e.Kind == ledger.Objection {
			objected++
		}
		return nil
	}); err != nil || objected != 4 {
		t.Errorf("the ledger has %d objections, %v", objected, err)
	}
	// Asked which they mean, they mean this.
	sure := func(c *consent.Context) { c.GPC, c.GPCConfirmed = true, true }
	must[*consent.Consent](o)(o.consents.Renew(one, input(given, "ads", nil, sure)))
	if st := o.state(one, given, "ads"); st.ConflictAt != nil || st.State != consent.Reconfirmed {
		t.Errorf("then it is %s, conflict %v", st.State, st.ConflictAt)
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "ads", n, sure)))
	o.stands(one, s, "ads", consent.Given, true)
}

// TestGate uses data for a purpose that rests on consent.
func TestGate(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	p := o.purpose(one, "news", func(c *purpose.Content) { c.ValidityMonths = 1 })
	o.purpose(one, "contract", func(c *purpose.Content) { c.LegalBasis, c.Term = "eu-gdpr:A6-1-b", "dpv:ServiceProvision" })
	n := o.notice(one, "signup", "news")
	email := world.Field("email", dataset.TypeString)
	email.Lookup = dataset.Exact
	d := o.Dataset(one, "Profile", email)
	s := must[*subject.Subject](o)(o.Subjects.Create(one, subject.CreateInput{Reference: text("C-1"), Emails: []personal.Text{personal.NewText("a@b.example")}}))
	r := must[*record.Record](o)(o.records.Write(one, record.WriteInput{
		Subject: s.ID, Dataset: d.ID, Key: text("K"), Origin: record.Provided, Fields: []record.FieldInput{world.Value("email", "a@b.example")},
	}))
	stating := func(key string) context.Context {
		p := authz.FromContext(one)
		p.Purpose = key
		return authz.NewContext(tenant.NewContext(o.Context(), testenv.One), p)
	}
	by := record.By{Dataset: d.ID, Field: new("email"), Value: personal.NewText("a@b.example")}
	// use tries everything that uses the person's data, and returns what passes.
	use := func(key string) string {
		var passes []string
		note := func(name string, ok bool) {
			if ok {
				passes = append(passes, name)
			}
		}
		ctx := stating(key)
		got := must[*record.Record](o)(o.records.Get(ctx, r.ID))
		note("read", got.Fields[0].State == personal.Clear && !got.Key.IsZero())
		if f := got.Fields[0]; f.State != personal.Clear && (f.State != personal.Withheld || *f.Reason != authz.ReasonConsent || !f.Value.IsZero()) {
			t.Errorf("the field is %s, %v", f.State, f.Reason)
		}
		c := must[*record.Connection](o)(o.records.Find(ctx, by, page.Request{First: 1}))
		note("find", len(c.Edges) == 1)
		if n := must[int](o)(c.TotalCount(ctx)); n != len(c.Edges) {
			t.Errorf("found %d, counts %d", len(c.Edges), n)
		}
		_, err := o.records.Update(ctx, record.UpdateInput{ID: r.ID, ExpectedVersion: got.Version, Fields: []record.FieldInput{world.Value("email", "a@b.example")}})
		note("update", err == nil)
		if err != nil {
			fails(t, err, "PRECONDITION CONSENT")
		}
		_, err = o.records.Write(ctx, record.WriteInput{Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("email", "c@d.example")}})
		note("write", err == nil)
		who := must[*subject.Subject](o)(o.Subjects.Get(ctx, s.ID))
		note("identity", who.Identity == personal.Clear && len(who.Emails) == 1)
		found := must[*subject.Connection](o)(o.Subjects.Find(ctx, subject.By{Email: text("a@b.example")}, page.Request{First: 1}))
		note("findPerson", len(found.Edges) == 1)
		if n := must[int](o)(found.TotalCount(ctx)); n != len(found.Edges) {
			t.Errorf("found %d persons, counts %d", len(found.Edges), n)
		}
		_, err = o.Subjects.Update(ctx, subject.UpdateInput{ID: s.ID, ExpectedVersion: who.Version, BirthDate: text("1980-01-01")})
		note("updatePerson", err == nil)
		_, err = o.Exports.Request(ctx, export.RequestInput{Subject: s.ID})
		note("export", err == nil)
		return strings.Join(passes, " ")
	}
	const all = "read find update write identity findPerson updatePerson export"
	if got := use("contract"); got != all {
		t.Errorf("for a contract passes %q", got)
	}
	if got := use("unregistered"); got != all {
		t.Errorf("for what isn't registered passes %q", got)
	}
	if got := use("news"); got != "" {
		t.Errorf("without consent passes %q", got)
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	if got := use("news"); got != all {
		t.Errorf("with consent passes %q", got)
	}
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
	if got := use("news"); got != "" {
		t.Errorf("after the withdrawal passes %q", got)
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	o.Sleep(40 * 24 * time.Hour) // no sweep has come by
	if got := use("news"); got != "" {
		t.Errorf("after its time passes %q", got)
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	if own := must[*record.Record](o)(o.records.Get(person(o, s), r.ID)); own.Fields[0].State != personal.Clear {
		t.Error("the person doesn't see it")
	}
	o.revise(one, p, func(c *purpose.Content) {
		c.ValidityMonths = 1
		c.Data = append(c.Data, purpose.Data{Term: "pd:Name", Class: dataset.Ordinary})
	})
	if got := use("news"); got != "" {
		t.Errorf("for the purpose as it wasn't consented to passes %q", got)
	}
	must[*purpose.Purpose](o)(o.purposes.Retire(one, purpose.EndInput{ID: must[*purpose.Purpose](o)(o.purposes.ByKey(one, "news")).ID}))
	if _, err := o.records.Get(stating("news"), r.ID); errs.KindOf(err) != errs.Precondition {
		t.Errorf("for a retired purpose: %v", err)
	}
}

// TestWithdrawal starts what follows from it by itself.
func TestWithdrawal(t *testing.T) {
	o := open(t)
	one, two := o.As(testenv.One), o.As(testenv.Two)
	o.purpose(one, "news", nil)
	o.purpose(one, "prizes", nil)
	o.purpose(one, "contract", func(c *purpose.Content) { c.LegalBasis, c.Term = "eu-gdpr:A6-1-b", "dpv:ServiceProvision" })
	n, s := o.notice(one, "signup", "news", "prizes"), o.Subject(one, "C-1")
	with := func(name string, purposes ...string) *dataset.Dataset {
		d := must[*dataset.Dataset](o)(o.Datasets.Create(one, dataset.CreateInput{
			Name: name, Secrecy: dataset.NoSecrecy, Purposes: purposes, Fields: []dataset.FieldInput{world.Field("a", dataset.TypeString)},
		}))
		p := authz.FromContext(one)
		if len(purposes) > 0 {
			p.Purpose = purposes[0]
		}
		ctx := authz.NewContext(tenant.NewContext(o.Context(), testenv.One), p)
		must[*record.Record](o)(o.records.Write(ctx, record.WriteInput{
			Subject: s.ID, Dataset: d.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("a", "x")},
		}))
		return d
	}
	for _, key := range []string{"news", "prizes"} {
		must[*consent.Consent](o)(o.consents.Give(one, input(s, key, n, nil)))
	}
	only := with("Only", "news")
	with("Contract", "contract", "news")
	both := with("Both", "prizes", "news")
	with("Any")
	unknown := with("Unknown", "news", "unregistered")

	checks := func(ctx context.Context, state consent.CheckState) []*consent.Check {
		return must[*consent.CheckConnection](o)(o.consents.Checks(ctx, state, page.Request{First: 10})).Nodes()
	}
	withdrawn := must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
	if c := checks(one, consent.CheckPending); len(c) != 1 {
		t.Fatalf("there are %d checks", len(c))
	}
	o.Work(one)
	due := checks(one, consent.CheckDue)
	noted := func(d *dataset.Dataset) bool {
		t.Helper()
		return o.Count(one, "retentionDates", bson.D{
			{Key: "subject", Value: s.ID}, {Key: "unit", Value: d.ID}, {Key: "withdrawnAt", Value: bson.D{{Key: "$gt", Value: time.Time{}}}},
		}) > 0
	}
	if !noted(only) || !noted(unknown) || noted(both) {
		t.Errorf("the withdrawal is noted for retention of %t %t %t", noted(only), noted(unknown), noted(both))
	}
	again := o.Subject(one, "C-again")
	must[*consent.Consent](o)(o.consents.Give(one, input(again, "news", n, nil)))
	if !noted(only) {
		t.Error("another person's consent gives a basis")
	}
	if got := o.Entries(one, due[0].ID); !slices.Contains(got, "consent.checks") {
		t.Errorf("reading the check left %v", got)
	}
	if len(due) != 1 {
		t.Fatalf("%d checks are due", len(due))
	}
	want := []string{only.ID, unknown.ID}
	slices.Sort(want)
	slices.Sort(due[0].Datasets)
	if c := due[0]; c.ConsentID != withdrawn.ID || c.Ground != consent.ConsentWithdrawn || !slices.Equal(c.Datasets, want) || c.CheckedAt == nil {
		t.Errorf("the check is %+v, want datasets %v", c, want)
	}
	if len(checks(two, consent.CheckDue)) != 0 {
		t.Error("the other tenant sees the check")
	}
	// With the other consent gone too, nothing carries what both had.
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "prizes", nil, nil)))
	o.Work(one)
	if c := checks(one, consent.CheckDue); len(c) != 2 || !slices.Equal(c[0].Datasets, []string{both.ID}) {
		t.Errorf("then the check is %+v", c[0])
	}
	if !noted(both) {
		t.Error("the second withdrawal isn't noted for retention")
	}
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "prizes", n, nil))) // they may change their mind
	if noted(both) || !noted(only) {
		t.Errorf("with a new consent it is noted of %t %t", noted(both), noted(only))
	}
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "prizes", nil, nil)))
	o.Work(one)
	var told []ledger.Entry
	err := o.ledger.Visit(tenant.System(o.Context(), "test"), func(e ledger.Entry) error {
		if e.Kind == ledger.Withdrawal {
			told = append(told, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 3 || told[0].Object != withdrawn.ID || told[0].Subject != s.ID || told[0].State != "WITHDRAWN" {
		t.Errorf("the ledger has %+v", told)
	}

	// A database that was restored to before the withdrawal learns of it again.
	restored := o.Subject(one, "C-2")
	c := must[*consent.Consent](o)(o.consents.Give(one, input(restored, "news", n, nil)))
	e := ledger.Entry{Kind: ledger.Withdrawal, Tenant: testenv.One, Object: c.ID, Subject: restored.ID, State: "WITHDRAWN", At: o.Now()}
	for range 2 {
		if handled, err := o.consents.Replay(tenant.System(o.Context(), "ledger"), e); err != nil || !handled {
			t.Fatalf("replayed %v, %v", handled, err)
		}
	}
	o.stands(one, restored, "news", consent.Withdrawn, false)
	if got := o.told(one, restored); got != "REQUESTED GIVEN WITHDRAWN" {
		t.Errorf("then its history is %s", got)
	}
	if handled, err := o.consents.Replay(tenant.System(o.Context(), "ledger"), ledger.Entry{Kind: ledger.Hold}); handled || err != nil {
		t.Errorf("another kind: %v, %v", handled, err)
	}
	all := must[*consent.Consent](o)(o.consents.Give(one, input(restored, "news", n, nil)))
	e = ledger.Entry{Kind: ledger.Withdrawal, Tenant: testenv.One, Object: id.New(id.Invalidation, testenv.One), Units: []string{n.ID}, At: o.Now().Add(time.Minute)}
	if handled, err := o.consents.Replay(tenant.System(o.Context(), "ledger"), e); err != nil || !handled {
		t.Fatalf("replayed %v, %v", handled, err)
	}
	if got := must[*consent.Consent](o)(o.consents.Get(one, all.ID)); got.State != consent.Invalidated {
		t.Errorf("after the invalidation it is %s", got.State)
	}
}

// TestInvalidate ends many at once, and takes up where a job was stopped.
func TestInvalidate(t *testing.T) {
	o := open(t)
	one, two := o.As(testenv.One), o.As(testenv.Two)
	var subjects []*subject.Subject
	o.purpose(one, "news", nil)
	o.purpose(two, "news", nil)
	n, other, theirs := o.notice(one, "signup", "news"), o.notice(one, "other", "news"), o.notice(two, "signup", "news")
	for i := range 130 {
		s := o.Subject(one, "C-"+strconv.Itoa(i))
		must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
		subjects = append(subjects, s)
	}
	kept, foreign := o.Subject(one, "K"), o.Subject(two, "F")
	must[*consent.Consent](o)(o.consents.Give(one, input(kept, "news", other, nil)))
	must[*consent.Consent](o)(o.consents.Give(two, input(foreign, "news", theirs, nil)))
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(subjects[0], "news", nil, nil)))
	if _, err := o.erasures.Begin(one, erasure.Plan{Subject: subjects[1].ID, Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	o.Sleep(time.Second)

	owner := member(o, testenv.One)
	for _, in := range []consent.InvalidateInput{
		{Cause: consent.Defective, Reason: "bundled"},
		{Notice: &n.ID, Purpose: new("news"), Cause: consent.Defective, Reason: "bundled"},
		{Notice: &n.ID, Cause: consent.Validity, Reason: "bundled"},
		{Notice: &n.ID, Cause: consent.Defective, Reason: " "},
	} {
		_, err := o.consents.Invalidate(owner, in)
		fails(t, err, "INVALID")
	}
	_, err := o.consents.Invalidate(owner, consent.InvalidateInput{Notice: &theirs.ID, Cause: consent.Defective, Reason: "bundled"})
	fails(t, err, "NOT_FOUND")
	keyed := o.keyed(owner)
	in := consent.InvalidateInput{Notice: &n.ID, Cause: consent.Defective, Reason: "bundled with the contract"}
	made := must[*consent.Invalidation](o)(o.consents.Invalidate(keyed, in))
	if again := must[*consent.Invalidation](o)(o.consents.Invalidate(keyed, in)); again.ID != made.ID || again.JobID != made.JobID {
		t.Errorf("made %+v, then %+v", made, again)
	}
	o.Work(one)
	j, err := o.Jobs.Get(one, made.JobID)
	if err != nil || j.Progress.Done != 128 {
		t.Errorf("the job did %+v, %v", j, err)
	}
	o.stands(one, subjects[0], "news", consent.Withdrawn, false)
	for _, s := range subjects[2:] {
		o.stands(one, s, "news", consent.Invalidated, false)
	}
	e := o.history(one, subjects[7])[0]
	if *e.Cause != consent.Defective || e.Actor != consent.Controller || e.By != authz.FromContext(owner).ID {
		t.Errorf("the event is %+v", e)
	}
	o.stands(one, kept, "news", consent.Given, true)
	o.stands(two, foreign, "news", consent.Given, true)
	report := must[*consent.Report](o)(o.consents.Report(one, consent.ReportInput{Purposes: []string{"news"}}))
	counts := map[consent.State]int64{}
	for _, c := range report.Standing {
		counts[c.State] += c.Count
	}
	// The erased person is counted as they stood.
	if counts[consent.Invalidated] != 128 || counts[consent.Withdrawn] != 1 || counts[consent.Given] != 2 || len(counts) != 3 {
		t.Errorf("the report counts %v", counts)
	}
	if last := report.Months[len(report.Months)-1]; last.Month != civil.Of(o.Now().UTC()).String()[:7] {
		t.Errorf("the report's last month is %+v", last)
	}
}

// TestUnderAge ends the consents of those who were children, or became ones when the
// law changed: of nobody else, wherever they stand among the others.
func TestUnderAge(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "games", func(c *purpose.Content) { c.OfferedToChildren, c.ValidityMonths = true, 0 })
	n := o.notice(one, "signup", "games")
	var lines []line
	told := func(reference, at string, more line) {
		l := line{"reference": reference, "purpose": "games", "notice": n.ID, "language": "da", "state": "GIVEN", "at": at, "channel": "WEB"}
		maps.Copy(l, more)
		lines = append(lines, l)
	}
	people := o.persons(one, 0, 130)
	for i := range people {
		told(fmt.Sprintf("C-%d", i), fmt.Sprintf("2023-06-01T10:%02d:%02dZ", i/60, i%60), line{"age": "20"})
	}
	born := func(reference, date string) string {
		return must[*subject.Subject](o)(o.Subjects.Create(one, subject.CreateInput{Reference: text(reference), BirthDate: text(date)})).ID
	}
	want := map[string]consent.State{
		born("fourteen", "2009-06-01"):  consent.Invalidated, // old enough when it was given, and not on 1 January 2024
		born("fifteen", "2009-01-01"):   consent.Given,       // on that day
		born("parent", "2013-01-01"):    consent.Given,       // gave it
		born("elsewhere", "2009-06-01"): consent.Given,       // the law of that country didn't change
		people[0]:                       consent.Given,
		people[129]:                     consent.Given,
	}
	told("fourteen", "2023-07-01T10:00:00Z", nil)
	told("fifteen", "2023-07-01T10:00:00Z", nil)
	told("parent", "2023-07-01T10:00:00Z", line{"actor": "PARENT"})
	told("elsewhere", "2023-07-01T10:00:00Z", line{"country": "BE"})
	sum, err := importer(o).Run(one, imports.Input{
		Key: "ages", Kind: imports.KindConsents, Format: imports.NDJSON, Mode: imports.Write, Body: bytes.NewReader(ndjson(t, lines...)),
	})
	if err != nil || sum.Counts.Created != int64(len(lines)) {
		t.Fatalf("imported %+v, %v", sum, err)
	}
	must[*consent.Invalidation](o)(o.consents.Invalidate(one, consent.InvalidateInput{Purpose: new("games"), Cause: consent.UnderAge, Reason: "the law of 2024"}))
	o.Work(one)
	for person, state := range want {
		if st := must[*consent.Status](o)(o.consents.State(one, person, "games", nil)); st.State != state {
			t.Errorf("the consent of %s is %s, not %s", person, st.State, state)
		}
	}
	if got := o.Count(one, "consentEvents", bson.D{{Key: "state", Value: consent.Invalidated}}); got != 1 {
		t.Errorf("%d are invalidated", got)
	}
}

// TestReads: where a person stands is a read like others, and one question of a
// portal isn't (ADR 12).
func TestReads(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	must[*consent.Status](o)(o.consents.State(one, s.ID, "news", nil))
	if got := o.Entries(one, s.ID); slices.ContainsFunc(got, func(a string) bool { return strings.HasPrefix(a, "consent.state") }) {
		t.Errorf("one question left %v", got)
	}
	if all := must[[]*consent.Status](o)(o.consents.States(one, s.ID)); len(all) != 1 {
		t.Errorf("%d purposes", len(all))
	}
	if got := o.Entries(one, s.ID); !slices.Contains(got, "consent.states") {
		t.Errorf("all of them left %v", got)
	}
	if _, err := o.consents.States(o.As(testenv.Two), s.ID); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant: %v", err)
	}
}

// TestOften says yes and no many times: what a gate looks at stays as small as it
// was, and nothing is forgotten.
func TestOften(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	size := func() int {
		t.Helper()
		raw, err := o.Stored("consentStandings").FindOne(o.Context(), bson.D{{Key: "subject", Value: s.ID}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return len(raw)
	}
	give := func() *consent.Consent {
		t.Helper()
		return must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	}
	last, first, times := give(), size(), scaled(20, 3_333)
	for range times {
		must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
		next := give()
		if next.ID == last.ID || next.Supersedes == nil || *next.Supersedes != last.ID {
			t.Fatalf("after %s comes %+v", last.ID, next)
		}
		last = next
	}
	if now := size(); now != first {
		t.Errorf("the standing grew from %d to %d bytes", first, now)
	}
	if got := o.Count(one, "consentEvents", bson.D{{Key: "subject", Value: s.ID}}); got != 2+3*times {
		t.Errorf("%d events", got)
	}
	if got := o.Count(one, "consents", bson.D{{Key: "slot", Value: bson.D{{Key: "$gt", Value: ""}}}}); got != 1 {
		t.Errorf("%d records aren't over", got)
	}
}

// TestErasure keeps the proof, and opens no gate.
func TestErasure(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	proof := must[*file.File](o)(o.Files.Upload(one, file.UploadInput{Subject: s.ID, Name: personal.NewText("form.txt"), Size: 4}, strings.NewReader("yes!")))
	given := must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, func(c *consent.Context) { c.Proof = &proof.ID })))
	if _, err := o.erasures.Begin(one, erasure.Plan{Subject: s.ID, Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	closed := func() {
		t.Helper()
		_, err := o.consents.State(one, s.ID, "news", nil)
		fails(t, err, "ERASED")
		_, err = o.consents.States(one, s.ID)
		fails(t, err, "ERASED")
		_, err = o.consents.Give(one, input(s, "news", n, nil))
		fails(t, err, "ERASED")
		_, err = o.consents.State(one, s.ID, "other", nil)
		fails(t, err, "ERASED")
	}
	closed() // from the moment it began
	o.Work(one)
	closed()
	if _, err := o.Files.Get(one, proof.ID); errs.KindOf(err) != errs.Precondition {
		t.Errorf("after the erasure the file of the proof: %v", err)
	}
	events := o.history(one, s)
	if len(events) != 2 || events[0].EvidenceState != personal.Withheld || *events[0].EvidenceReason != authz.ReasonRestricted || events[0].Evidence != nil {
		t.Errorf("after the erasure the history is %+v", events[0])
	}
	if c := must[*consent.Consent](o)(o.consents.Get(one, given.ID)); c.Language != "" || c.State != consent.Given {
		t.Errorf("after the erasure the consent is %+v", c)
	}
	p := authz.FromContext(one)
	p.Purposes, p.Purpose = []string{"art18.claims"}, "art18.claims"
	claims := authz.NewContext(tenant.NewContext(o.Context(), testenv.One), p)
	if e := o.history(claims, s)[0]; e.EvidenceState != personal.Clear || e.Evidence.Component.Reveal() != "signup form" {
		t.Errorf("for a legal claim the proof is %s", e.EvidenceState)
	}
	if _, content, err := o.Files.Open(claims, proof.ID); err != nil {
		t.Error(err)
	} else if b, err := io.ReadAll(content); string(b) != "yes!" || err != nil || content.Close() != nil {
		t.Errorf("the file of the proof holds %q, %v", b, err)
	}
	// The proof goes when its own time is over.
	if _, err := o.erasures.Begin(one, erasure.Plan{Subject: s.ID, Units: []vault.Unit{vault.Evidence}, Cause: "later"}); err != nil {
		t.Fatal(err)
	}
	o.Work(one)
	if left := o.history(claims, s); len(left) != 0 {
		t.Errorf("then %d events are left", len(left))
	}
	if _, err := o.consents.Get(claims, given.ID); !errors.Is(err, consent.ErrNotFound) {
		t.Errorf("the consent: %v", err)
	}
	for _, of := range []string{"consents", "consentEvents", "consentStandings", "erasureChecks"} {
		if left := o.Count(one, of, bson.D{{Key: "subject", Value: s.ID}}); left != 0 {
			t.Errorf("%d documents of %s are left", left, of)
		}
	}
	if left := o.Count(one, "files", bson.D{}); left != 0 {
		t.Errorf("%d files are there still", left)
	}
}

// TestRestricted takes a withdrawal while processing is restricted, and no yes.
func TestRestricted(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, nil)))
	o.SetState(one, s, subject.Restricted)
	e := o.history(one, s)[0]
	if e.EvidenceState != personal.Withheld {
		t.Errorf("the evidence is %s", e.EvidenceState)
	}
	// That it was read is noted all the same.
	must[*consent.Event](o)(o.consents.GetEvent(one, e.ID))
	if got := o.Entries(one, e.ID); !slices.Contains(got, "consent.history") {
		t.Errorf("reading the history left %v", got)
	}
	must[*consent.Consent](o)(o.consents.Get(one, e.ConsentID))
	if got := o.Entries(one, e.ConsentID); !slices.Contains(got, "consent.read") {
		t.Errorf("reading the consent left %v", got)
	}
	_, err := o.consents.Renew(one, input(s, "news", nil, nil))
	fails(t, err, "PRECONDITION art18.restriction")
	must[*consent.Consent](o)(o.consents.Withdraw(one, input(s, "news", nil, nil)))
	o.stands(one, s, "news", consent.Withdrawn, false)
}

// TestSealed looks at what is stored.
func TestSealed(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", nil)
	n, s := o.notice(one, "signup", "news"), o.Subject(one, "C-1")
	must[*consent.Consent](o)(o.consents.Give(one, input(s, "news", n, func(c *consent.Context) {
		c.Actor, c.ActorName, c.Note, c.Component, c.Session = new(consent.Parent), text("planted name"), text("planted note"), text("planted component"), text("planted session")
	})))
	for _, coll := range []string{"consents", "consentEvents", "consentStandings", "consentCounts", "audit"} {
		cursor, err := o.Stored(coll).Find(one, bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for cursor.Next(one) {
			n++
			if raw := cursor.Current.String(); strings.Contains(raw, "planted") || strings.Contains(string(cursor.Current), "planted") {
				t.Errorf("%s has it in clear", coll)
			}
		}
		if n == 0 {
			t.Errorf("%s is empty", coll)
		}
	}
	if e := o.history(one, s)[0]; e.Evidence.Name.Reveal() != "planted name" || e.Evidence.Note.Reveal() != "planted note" {
		t.Error("the evidence isn't what was told")
	}
}
