package rights_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/rights"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// office is a World whose persons may have processing stopped.
type office struct {
	*world.World

	s        *rights.Service
	consents *consent.Service
	purposes *purpose.Service
	book     *book
}

// book keeps in mind what is entered in the ledger.
type book struct {
	*ledger.Ledger
	entries []ledger.Entry
}

func (b *book) Append(ctx context.Context, e ledger.Entry) (int64, error) {
	b.entries = append(b.entries, e)
	return b.Ledger.Append(ctx, e)
}

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

func open(t *testing.T) *office {
	t.Helper()
	w := world.Start(t)
	o := &office{World: w}
	log := testenv.Logger(t)
	subjects, store := mongo.NewSubjectStore(w.DB, w.Vault, log), mongo.NewConsentStore(w.DB, w.Vault, log)
	o.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(w.DB), Notices: mongo.NewNoticeStore(w.DB), Tenants: mongo.NewTenantStore(w.DB, w.Vault),
		Datasets: w.Datasets, Changes: w.Changes, Now: w.Now,
	})
	w.Subjects.Ask(consent.NewGate(o.purposes, store, w.Now))
	o.book = &book{Ledger: ledger.New(ledger.Config{
		Store: mongo.NewLedgerStore(w.DB), Objects: w.Bucket, Signer: testenv.Ring(t, w.DB, w.Vault, w.Changes), Now: w.Now, Keep: time.Hour,
	})}
	o.ok(o.book.Check(tenant.System(t.Context(), "test"), "db", nil))
	var err error
	o.consents, err = consent.NewService(consent.Config{
		Store: store, Purposes: o.purposes, Subjects: subjects, Datasets: w.Datasets, Records: mongo.NewRecordStore(w.DB, w.Vault, log),
		Files: w.Files, Vault: w.Vault, Ledger: o.book, Looker: testenv.Authorizer(t), Regions: denmark{}, Recorder: w.Recorder,
		Changes: w.Changes, Log: log, Now: w.Now,
	})
	o.ok(err)
	w.Handle(consent.JobCheck, o.consents.RunCheck)
	o.s = rights.NewService(rights.Config{
		Store: mongo.NewRightsStore(w.DB), Subjects: subjects, Standings: store, Consents: o.consents, Purposes: o.purposes,
		Ledger: o.book, Recorder: w.Recorder, Changes: w.Changes, Now: w.Now,
	})
	return o
}

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

// purpose makes a purpose and publishes it.
func (o *office) purpose(ctx context.Context, key, basis string, marketing bool) {
	o.Helper()
	c := purpose.Content{
		Term: "dpv:ServiceProvision", LegalBasis: basis, Marketing: marketing,
		Texts: []purpose.Text{
			{Language: "da", Name: "Formål", Description: "Det bruger vi dem til."}, {Language: "en", Name: "Purpose", Description: "That is what for."},
		},
		Data: []purpose.Data{{Term: "pd:EmailAddress", Class: dataset.Ordinary}},
	}
	if marketing {
		c.Term = "dpv:DirectMarketing"
	}
	if basis == purpose.Consent {
		c.ValidityMonths, c.CoolDownMonths = 24, 6
	}
	p, err := o.purposes.Create(ctx, purpose.CreateInput{Key: key, Content: c})
	o.ok(err)
	_, err = o.purposes.Publish(ctx, purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit})
	o.ok(err)
}

// notice makes a notice of purposes and publishes it.
func (o *office) notice(ctx context.Context, purposes ...string) *purpose.Notice {
	o.Helper()
	organisation := purpose.Party{
		ID: "CVR 12345674", Type: purpose.Organisation, Role: "dpv:DataController", Name: "Eksempel ApS", Address: "Vej 1, 1000 By",
		Country: "DK", Contact: "privatliv@eksempel.example",
	}
	authority := purpose.Party{
		ID: "DT", Type: purpose.Authority, Role: "dpv:DataProtectionAuthority", Name: "Datatilsynet", Address: "By", Country: "DK", Contact: "tlf.",
	}
	n, err := o.purposes.CreateNotice(ctx, purpose.CreateNoticeInput{Key: "signup", Content: purpose.NoticeContent{
		Purposes: purposes,
		Facts: purpose.Facts{
			Controllers: []purpose.Party{organisation}, Authority: &authority, StorageLocations: []string{"DK"},
			ProcessingLocations: []string{"DK"}, Jurisdiction: "DK", Rights: []string{"eu-gdpr:A7-3", "eu-gdpr:A77"}, Operations: []string{"dpv:Use"},
		},
		Texts: []purpose.NoticeText{
			{Language: "da", Title: "Nyt", Body: "Må vi?", Collection: "Du skriver.", Withdrawal: "Klik.", Retention: "To år."},
			{Language: "en", Title: "News", Body: "May we?", Collection: "You type.", Withdrawal: "Click.", Retention: "Two years."},
		},
	}})
	o.ok(err)
	n, err = o.purposes.PublishNotice(ctx, purpose.PublishInput{ID: n.ID, ExpectedEdit: n.Edit})
	o.ok(err)
	return n
}

func (o *office) give(ctx context.Context, s *subject.Subject, n *purpose.Notice, keys ...string) {
	o.Helper()
	for _, key := range keys {
		_, err := o.consents.Give(ctx, consent.Input{Subject: s.ID, Purpose: key, Notice: &n.ID, Context: &consent.Context{Channel: new(consent.Web), Language: new("da")}})
		o.ok(err)
	}
}

// sees reports whether who the person is can be read for a purpose.
func (o *office) sees(s *subject.Subject, key string) bool {
	o.Helper()
	p := authz.FromContext(o.As(testenv.One))
	p.Purpose = key
	got, err := o.Subjects.Get(authz.NewContext(tenant.NewContext(o.Context(), testenv.One), p), s.ID)
	o.ok(err)
	return got.Identity == personal.Clear
}

// asks is a request for a right, with what is proposed.
func (o *office) asks(s *subject.Subject, t request.Type, p request.Proposal) (*request.Request, *request.Item) {
	r := &request.Request{ID: id.New(id.Request, testenv.One), Subject: s.ID, ReceivedAt: o.Now(), Deadline: request.Deadline{Zone: "Europe/Copenhagen"}, Items: []request.Item{
		{ID: id.New(id.RequestItem, testenv.One), Type: t, Proposal: &p},
	}}
	return r, &r.Items[0]
}

// effect has what a person asks for take effect, twice, as after a crash.
func (o *office) effect(s *subject.Subject, t request.Type, wish string) request.Done {
	o.Helper()
	r, item := o.asks(s, t, request.Proposal{})
	item.Wish = personal.NewText(wish)
	done, err := o.s.Works()[t].Effect(o.As(testenv.One), r, item)
	o.ok(err)
	again, err := o.s.Works()[t].Effect(o.As(testenv.One), r, item)
	o.ok(err)
	if again.Outcome != done.Outcome || !slices.Equal(again.Results, done.Results) {
		o.Errorf("done %+v, again %+v", done, again)
	}
	return done
}

func (o *office) valid(s *subject.Subject, key string) bool {
	o.Helper()
	st, err := o.consents.State(o.As(testenv.One), s.ID, key, nil)
	o.ok(err)
	return st.Valid
}

// TestWithdrawal takes back the consents that are named, or all.
func TestWithdrawal(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	for _, key := range []string{"news", "survey", "events"} {
		o.purpose(one, key, purpose.Consent, false)
	}
	n := o.notice(one, "news", "survey", "events")
	anna, bo := o.Subject(one, "C-1"), o.Subject(one, "C-2")
	o.give(one, anna, n, "news", "survey", "events")
	o.give(one, bo, n, "news")
	o.Sleep(time.Minute)
	if done := o.effect(anna, request.ConsentWithdrawal, "news"); done.Outcome != request.Fulfilled || len(done.Results) != 1 {
		t.Errorf("%+v", done)
	}
	if o.valid(anna, "news") || !o.valid(anna, "survey") || !o.valid(bo, "news") {
		t.Error("not just the consent that was named has ended")
	}
	o.Sleep(time.Minute)
	if done := o.effect(anna, request.ConsentWithdrawal, "news and all the rest"); len(done.Results) != 2 {
		t.Errorf("%+v", done)
	}
	if o.valid(anna, "survey") || o.valid(anna, "events") {
		t.Error("a consent is in force")
	}
	o.Sleep(time.Minute)
	if done := o.effect(anna, request.ConsentWithdrawal, ""); done.Outcome != request.NoDataHeld {
		t.Errorf("%+v", done)
	}
}

// TestObjections closes the purposes that were objected to, and no others, also
// after a restore.
func TestObjections(t *testing.T) {
	o := open(t)
	one := o.As(testenv.One)
	o.purpose(one, "news", purpose.Consent, true)
	o.purpose(one, "ads", "eu-gdpr:A6-1-f", true)
	o.purpose(one, "fraud", "eu-gdpr:A6-1-f", false)
	o.purpose(one, "contract", "eu-gdpr:A6-1-b", false)
	n := o.notice(one, "news")
	anna, bo := o.Subject(one, "C-1"), o.Subject(one, "C-2")
	o.give(one, anna, n, "news")
	o.Sleep(time.Minute)
	open := func(want ...string) {
		t.Helper()
		var got []string
		for _, key := range []string{"news", "ads", "fraud", "contract"} {
			if o.sees(anna, key) {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("open for %v, want %v", got, want)
		}
		if !o.sees(bo, "ads") || !o.sees(bo, "fraud") {
			t.Error("closed for another, who hasn't objected")
		}
	}
	open("news", "ads", "fraud", "contract")
	if done := o.effect(anna, request.ObjectionMarketing, ""); done.Outcome != request.Fulfilled || len(done.Results) != 1 {
		t.Errorf("%+v", done)
	}
	open("fraud", "contract")

	work := o.s.Works()[request.Objection]
	r, item := o.asks(anna, request.Objection, request.Proposal{Outcome: request.PartiallyFulfilled})
	if _, err := work.Carry(one, r, item, nil); !errors.Is(err, request.ErrPlan) {
		t.Errorf("in part: %v", err)
	}
	open("fraud", "contract")
	item.Proposal.Outcome = request.Fulfilled
	for range 2 {
		done, err := work.Carry(one, r, item, nil)
		if err != nil || done.Outcome != request.Fulfilled {
			t.Errorf("%+v, %v", done, err)
		}
	}
	open("contract")

	// The database is restored from before; the ledger isn't.
	_, err := o.Stored("stops").DeleteMany(t.Context(), map[string]any{})
	o.ok(err)
	open("ads", "fraud", "contract")
	o.replay()
	open("contract")
}

// replay carries out again what the ledger has of this package.
func (o *office) replay() {
	o.Helper()
	for _, e := range o.book.entries {
		handled, err := o.s.Replay(tenant.System(o.Context(), "ledger"), e)
		o.ok(err)
		if want := e.Kind == ledger.Objection || e.Kind == ledger.Restriction; handled != want {
			o.Errorf("%s is handled: %v", e.Kind, handled)
		}
	}
}

// TestRestriction restricts as approved, and lifts it after a notice, by another.
func TestRestriction(t *testing.T) {
	o := open(t)
	one, other := o.As(testenv.One), o.As(testenv.One)
	s := o.Subject(one, "C-1")
	state := func(want subject.State) {
		t.Helper()
		if got, err := o.Subjects.Get(one, s.ID); err != nil || got.State != want {
			t.Errorf("the person is %s, %v; want %s", got.State, err, want)
		}
	}
	if _, err := o.s.Plan(one, s.ID, "18(2)"); !errors.Is(err, rights.ErrGround) {
		t.Errorf("on no ground: %v", err)
	}
	if _, err := o.s.Plan(o.As(testenv.Two), s.ID, "18(1)(a)"); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	plan, err := o.s.Plan(one, s.ID, "18(1)(a)")
	o.ok(err)
	work := o.s.Works()[request.Restriction]
	r, item := o.asks(s, request.Restriction, request.Proposal{Outcome: request.Fulfilled, Ground: "18(1)(b)", Plan: plan.Hash})
	if _, err := work.Carry(one, r, item, nil); !errors.Is(err, request.ErrPlan) {
		t.Errorf("on another ground than approved: %v", err)
	}
	state(subject.Active)
	item.Proposal.Ground = "18(1)(a)"
	for range 2 {
		done, err := work.Carry(one, r, item, nil)
		if err != nil || done.Outcome != request.Fulfilled {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	state(subject.Restricted)
	if st, err := o.s.Restriction(one, s.ID); err != nil || len(st.Causes) != 1 || st.Causes[0].Ground != "18(1)(a)" {
		t.Errorf("%+v, %v", st, err)
	}

	// The database is restored from before; the ledger isn't.
	_, err = o.Stored("stops").DeleteMany(t.Context(), map[string]any{})
	o.ok(err)
	o.SetState(one, s, subject.Active)
	o.replay()
	state(subject.Restricted)

	o.s.Requests = only{r}
	lift := rights.LiftInput{Subject: s.ID, Item: item.ID}
	if _, err := o.s.Lift(other, lift); !errors.Is(err, rights.ErrNotice) {
		t.Errorf("without notice: %v", err)
	}
	notice := rights.NoticeInput{Request: r.ID, Item: item.ID, LiftOn: civil.Of(o.Now()).AddDays(2), SentAt: new(o.Now().Add(time.Hour))}
	o.Sleep(time.Minute)
	if _, err := o.s.Announce(one, notice); err == nil {
		t.Error("a notice that isn't sent yet was noted")
	}
	notice.SentAt = new(o.Now())
	if _, err := o.s.Announce(o.As(testenv.Two), notice); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	_, err = o.s.Announce(one, notice)
	o.ok(err)
	o.Sleep(72 * time.Hour)
	if _, err := o.s.Lift(one, lift); !errors.Is(err, rights.ErrSame) {
		t.Errorf("by who gave notice: %v", err)
	}
	state(subject.Restricted)
	_, err = o.s.Lift(other, lift)
	o.ok(err)
	state(subject.Active)
	if _, err := o.s.Lift(other, lift); !errors.Is(err, rights.ErrNone) {
		t.Errorf("again: %v", err)
	}
}

// only is the one request that there is.
type only struct{ r *request.Request }

func (o only) Get(context.Context, string) (*request.Request, error) { return o.r, nil }

func (o only) Prepare(context.Context, request.PrepareInput, request.Type, personal.Text, ...request.Outcome) (*request.Request, error) {
	return o.r, nil
}
