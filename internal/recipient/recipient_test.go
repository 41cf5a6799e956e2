package recipient_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/task"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/webhook"
)

// office is a World whose tenant has disclosed data.
type office struct {
	*world.World

	s        *recipient.Service
	tasks    *task.Service
	requests *request.Service
	log      *disclosure.Service
	register *register
	mail     *box
	hooks    *webhook.Service
	endpoint *httptest.Server
	clerk    *clerk
	post     *answerer
	shreds   map[string]*erasure.Shredding
	staff    context.Context
	person   *subject.Subject
	kyc, ads *dataset.Dataset
	report   *dataset.Dataset // secret by law

	mu    sync.Mutex
	calls []string
}

// clerk stands in for the capabilities that carry rights out.
type clerk struct {
	results []string
	fail    error // once
	carried int
}

func (*clerk) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	return []request.Answer{{System: "store", Result: request.None}}, nil
}

func (c *clerk) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	if err := c.fail; err != nil {
		c.fail = nil
		return request.Done{}, err
	}
	c.carried++
	return request.Done{Outcome: item.Proposal.Outcome, Results: c.results}, nil
}

func (*clerk) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{}, errors.New("nothing takes effect at once")
}

// answerer stands in for the post: it fails once when told to, as a worker that is killed.
type answerer struct{ fail error }

func (*answerer) Tell(context.Context, *request.Request, *request.Event) (request.Told, error) {
	return request.Told{}, nil
}

func (a *answerer) Answer(_ context.Context, r *request.Request) (request.Reply, error) {
	if err := a.fail; err != nil {
		a.fail = nil
		return request.Reply{}, err
	}
	return request.Reply{Channel: request.ByPortal, Hash: strings.Repeat("a", 64), At: r.UpdatedAt}, nil
}

// register is the record of processing, with one activity that names a recipient.
type register struct {
	*processing.Service
	activity *processing.Activity
}

func (r *register) List(_ context.Context, _ processing.Filter, p page.Request) (*processing.Connection, error) {
	var found []*processing.Activity
	if r.activity != nil {
		found = append(found, r.activity)
	}
	return page.Of(page.List{Of: id.Activity}, p, found, func(a *processing.Activity) page.Position {
		return page.Position{CreatedAt: a.CreatedAt, ID: a.ID}
	}), nil
}

// box sends mail to nobody, and keeps it; it fails once when told to.
type box struct {
	*notify.Service
	mu   sync.Mutex
	sent []notify.Mail
	fail error
}

func (b *box) Queue(ctx context.Context, m notify.Message) (job.Spec, error) {
	spec, err := b.Service.Queue(ctx, m)
	if b.fail != nil && err == nil {
		err, b.fail = b.fail, nil
	}
	return spec, err
}

func (b *box) Send(_ context.Context, m notify.Mail) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, m)
	return nil
}

type shreds map[string]*erasure.Shredding

func (s shreds) Get(_ context.Context, shreddingID string) (*erasure.Shredding, error) {
	if sh, ok := s[shreddingID]; ok {
		return sh, nil
	}
	return nil, erasure.ErrNotFound
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{World: world.Start(t), clerk: &clerk{}, mail: &box{}, post: &answerer{}, shreds: map[string]*erasure.Shredding{}}
	log := testenv.Logger(t)
	subjects := mongo.NewSubjectStore(o.DB, o.Vault, log)
	var err error
	o.mail.Service, err = notify.NewService(notify.Config{Store: mongo.NewNotifyStore(o.DB, o.Vault), Sender: o.mail, Changes: o.Changes, Log: log, Now: o.Now})
	o.ok(err)
	tenants := tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder, Vault: o.Vault, Hasher: vault.Hasher{Vault: o.Vault},
		Mail: o.mail, Now: o.Now,
	})
	library, err := letter.NewLibrary()
	o.ok(err)
	o.register = &register{Service: processing.NewService(processing.Config{
		Store: mongo.NewProcessingStore(o.DB, o.Vault), Changes: o.Changes, Vault: o.Vault, Datasets: o.Datasets, Now: o.Now,
	})}
	o.listen()
	roots := x509.NewCertPool()
	roots.AddCert(o.endpoint.Certificate())
	o.hooks = webhook.NewService(webhook.Config{
		Store: mongo.NewWebhookStore(o.DB, o.Vault), Feed: feed.NewService(mongo.NewFeedStore(o.DB)),
		Client: webhook.NewClient(true, roots, 3, o.Now), Changes: o.Changes, Vault: o.Vault, Mailer: o.mail, Log: log, Now: o.Now,
	})
	o.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(o.DB, o.Vault), Changes: o.Changes, Recorder: o.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(o.DB), tenants, o.Changes), Subjects: subjects, Members: tenants,
		Works: map[request.Type]request.Work{request.Restriction: o.clerk, request.Erasure: o.clerk, request.Access: o.clerk}, Post: o.post,
		Vault: o.Vault, Log: log, Now: o.Now,
	})
	o.tasks = task.NewService(task.Config{
		Store: mongo.NewTaskStore(o.DB, o.Vault), Requests: o.requests, Members: tenants, Files: o.Files, Changes: o.Changes,
		Recorder: o.Recorder, Now: o.Now,
	})
	o.s = recipient.NewService(recipient.Config{
		Store: mongo.NewRecipientStore(o.DB, o.Vault, log), Subjects: subjects, Holdings: mongo.NewHoldingsStore(o.DB, o.Vault), Datasets: o.Datasets,
		Processing: o.register, Shreddings: shreds(o.shreds), Requests: o.requests, Tasks: o.tasks, Tenants: tenants, Library: library,
		Letters: letter.NewService(letter.Config{Library: library, Store: mongo.NewLetterStore(o.DB), Tenants: tenants, Changes: o.Changes, Now: o.Now}),
		Mail:    o.mail, Webhooks: o.hooks, Changes: o.Changes, Recorder: o.Recorder, BaseURL: world.BaseURL, Now: o.Now,
	})
	o.requests.Recipients, o.requests.Tasks = o.s, o.tasks
	o.log = disclosure.NewService(disclosure.Config{
		Store: mongo.NewDisclosureStore(o.DB, o.Vault, log), Subjects: subjects, Datasets: o.Datasets, Parties: o.register, Vault: o.Vault,
		Authorizer: testenv.Authorizer(t), Changes: o.Changes, Recorder: o.Recorder, Now: o.Now,
	})
	o.Handle(request.JobSearch, o.requests.Search)
	o.Handle(request.JobCarry, o.requests.Carry)
	o.Handle(recipient.JobTell, o.s.Run)
	o.Handle(recipient.JobErased, o.s.Erased)
	o.Handle(notify.JobSend, o.mail.Service.Send)
	o.Handle(webhook.JobVerify, o.hooks.VerifyEndpoint)
	o.Handle(webhook.JobDeliver, o.hooks.Deliver)
	o.staff = o.As(testenv.One)
	now, err := tenants.Get(o.staff)
	o.ok(err)
	country := "DK"
	_, err = tenants.Update(o.staff, tenancy.UpdateInput{
		ID: string(testenv.One), ExpectedVersion: now.Version, HolidayCalendar: &country, Letterhead: &tenancy.Letterhead{
			Address: "Opdigtet Vej 1", Email: "privacy@one.example", Phone: "+45 00 00 00 00",
			Authority: tenancy.Authority{
				Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example",
				Website: "https://authority.example",
			},
		},
	})
	o.ok(err)
	o.person, err = o.Subjects.Create(o.staff, subject.CreateInput{
		Name: &subject.NameInput{Full: new(personal.NewText(name))}, Emails: []personal.Text{personal.NewText("karen.ibsen@mail.example")},
	})
	o.ok(err)
	o.kyc = o.Dataset(o.staff, "Kundekendskab", world.Field("title", dataset.TypeString))
	o.ads = o.Dataset(o.staff, "Markedsføring", world.Field("title", dataset.TypeString))
	o.report, err = o.Datasets.Create(o.staff, dataset.CreateInput{
		Name: "Underretninger", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("text", dataset.TypeString)},
	})
	o.ok(err)
	return o
}

const name = "Karen Ibsen"

func (o *office) ok(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

// listen has an endpoint that says at once that it has done what it was told of.
func (o *office) listen() {
	o.endpoint = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var c struct {
			Type string
			Data struct{ Challenge string }
		}
		if err := json.Unmarshal(body, &c); err != nil {
			o.Errorf("a call with %q", body)
		}
		if c.Type == "webhook.verify" {
			fmt.Fprintf(w, `{"challenge":%q}`, c.Data.Challenge)
			return
		}
		o.mu.Lock()
		o.calls = append(o.calls, string(body))
		o.mu.Unlock()
		fmt.Fprint(w, `{"acknowledged": true}`)
	}))
	o.Cleanup(o.endpoint.Close)
}

func (o *office) party(legal, mail string) string {
	o.Helper()
	f := processing.PartyFields{LegalName: legal, Country: "DK", Roles: []processing.PartyRole{processing.RoleRecipient}}
	if mail != "" {
		f.Contact = &processing.Contact{Name: personal.NewText("Kontakt"), Email: personal.NewText(mail)}
	}
	p, err := o.register.CreateParty(o.staff, processing.CreatePartyInput{Party: f})
	o.ok(err)
	return p.ID
}

func (o *office) disclose(party, reference string, sets ...*dataset.Dataset) {
	o.Helper()
	in := disclosure.Input{
		Subject: o.person.ID, Recipient: party, LegalBasis: "eu-gdpr:A6-1-c", Purpose: "kyc", Secrecy: dataset.NoSecrecy,
		At: o.Now().Add(-time.Hour), Reference: new(personal.NewText(reference)),
	}
	for _, d := range sets {
		in.Datasets = append(in.Datasets, d.ID)
	}
	_, err := o.log.Record(o.staff, disclosure.RecordInput{Disclosures: []disclosure.Input{in}})
	o.ok(err)
}

// work has the worker do all there is, for a while.
func (o *office) work() {
	o.Helper()
	for range 4 {
		o.Work(tenant.System(o.Context(), "worker"))
		o.Sleep(time.Minute)
	}
}

// asked is a request that is approved.
func (o *office) asked(of request.Type) *request.Request {
	o.Helper()
	r, err := o.requests.Open(o.As(testenv.One), request.OpenInput{
		Channel: request.ByPhone, ReceivedAt: o.Now().Add(-time.Minute), Items: []request.ItemInput{{Type: of}},
	})
	o.ok(err)
	r, err = o.requests.Identify(o.As(testenv.One), request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: o.person.ID, Method: request.CallBack})
	o.ok(err)
	o.Work(tenant.System(o.Context(), "worker"))
	return o.approved(r)
}

func (o *office) approved(r *request.Request) *request.Request {
	o.Helper()
	r, err := o.requests.Get(o.staff, r.ID)
	o.ok(err)
	plan := "plan"
	r, err = o.requests.Propose(o.As(testenv.One), request.ProposeInput{ID: r.ID, ExpectedVersion: r.Version, Item: r.Items[0].ID, Outcome: request.Fulfilled, Plan: &plan})
	o.ok(err)
	r, err = o.requests.Submit(o.As(testenv.One), request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
	r, err = o.requests.Approve(o.As(testenv.One), request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
	o.ok(err)
	return r
}

// notices returns what recipients are told of a request, by their names.
func (o *office) notices(r *request.Request) map[string]*recipient.Notice {
	o.Helper()
	c, err := o.s.List(o.staff, r.ID, page.Request{First: page.Max})
	o.ok(err)
	by := map[string]*recipient.Notice{}
	for _, n := range c.Nodes() {
		by[n.Name] = n
	}
	if len(by) != len(c.Nodes()) {
		o.Errorf("%d notices to %d recipients", len(c.Nodes()), len(by))
	}
	return by
}

// close tries to close a request that was delivered.
func (o *office) close(r *request.Request) error {
	o.Helper()
	r, err := o.requests.Get(o.staff, r.ID)
	o.ok(err)
	_, err = o.requests.Close(o.staff, request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	return err
}

func (o *office) delivered(r *request.Request) {
	o.Helper()
	r, err := o.requests.Get(o.staff, r.ID)
	o.ok(err)
	_, err = o.requests.Delivered(o.staff, request.DeliveredInput{ID: r.ID, ExpectedVersion: r.Version})
	o.ok(err)
}

func rule(err error) string {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Rule
	}
	return ""
}

// TestTold: each recipient is told once, in the way that it can be, and nobody closes
// the request before.
func TestTold(t *testing.T) {
	o := open(t)
	o.Record(o.staff, o.person, o.kyc, world.Value("title", "hemmelig titel"))
	bank, agency, shop, police := o.party("Banken A/S", "art19@bank.example"), o.party("Bureauet", "art19@bureau.example"), o.party("Butikken", ""), o.party("Sekretariatet", "s@sekretariat.example")
	printer := o.party("Trykkeriet", "art19@tryk.example")
	o.disclose(bank, "sag 4711-B", o.kyc)
	o.disclose(agency, "brev om Karen Ibsen", o.kyc)
	o.disclose(shop, "ordre 12", o.ads)
	_, err := o.log.Record(o.staff, disclosure.RecordInput{Disclosures: []disclosure.Input{{
		Subject: o.person.ID, Recipient: police, Datasets: []string{o.report.ID}, LegalBasis: "eu-gdpr:A6-1-c", Purpose: "aml", Secrecy: dataset.AML, At: o.Now(),
	}}})
	o.ok(err)
	o.register.activity = &processing.Activity{ID: id.New(id.Activity, testenv.One), Valid: &processing.Revision{Content: processing.Content{
		Datasets: []string{o.kyc.ID}, Controller: &processing.ControllerPart{Recipients: []string{bank, printer}},
	}}}
	hook, _, err := o.hooks.Create(o.staff, webhook.CreateInput{URL: o.endpoint.URL, Events: []string{recipient.Event}})
	o.ok(err)
	o.Work(tenant.System(o.Context(), "worker"))
	_, err = o.s.SetEndpoint(o.staff, recipient.EndpointInput{Party: shop, Webhook: &hook.ID})
	o.ok(err)

	r := o.asked(request.Restriction)
	o.work()
	ns := o.notices(r)
	want := map[string]recipient.State{
		"Banken A/S": recipient.Sent, "Bureauet": recipient.ByHand, "Butikken": recipient.Acknowledged, "Trykkeriet": recipient.ByHand,
	}
	for who, state := range want {
		if ns[who] == nil || ns[who].State != state || ns[who].Action != recipient.Restricted {
			t.Errorf("%s: %+v, want %s", who, ns[who], state)
		}
	}
	if len(ns) != len(want) {
		t.Fatalf("told %d", len(ns))
	}
	if len(o.mail.sent) != 1 || !strings.Contains(o.mail.sent[0].Text.Reveal(), "sag 4711-B") || !strings.Contains(o.mail.sent[0].Text.Reveal(), ns["Banken A/S"].ID) {
		t.Fatalf("mails: %d", len(o.mail.sent))
	}
	for _, value := range []string{"Karen", "Ibsen", "hemmelig", "Underretninger"} {
		if strings.Contains(o.mail.sent[0].Text.Reveal()+o.mail.sent[0].HTML.Reveal(), value) || slices.ContainsFunc(o.calls, func(c string) bool { return strings.Contains(c, value) }) {
			t.Errorf("a notice says %s", value)
		}
	}
	if len(o.calls) != 1 || !strings.Contains(o.calls[0], ns["Butikken"].ID) || strings.Contains(o.calls[0], "ordre 12") {
		t.Errorf("the webhook was told %q", o.calls)
	}
	// Once more, as after a crash: nobody is told twice.
	for _, again := range []job.Spec{{Type: request.JobCarry, Object: r.ID}, {Type: recipient.JobTell, Object: ns["Banken A/S"].ID}, {Type: recipient.JobTell, Object: ns["Butikken"].ID}} {
		o.again(again)
	}
	if len(o.mail.sent) != 1 || len(o.calls) != 1 || o.clerk.carried != 1 || len(o.notices(r)) != len(want) {
		t.Errorf("told again: %d mails, %d calls, carried out %d times", len(o.mail.sent), len(o.calls), o.clerk.carried)
	}

	o.delivered(r)
	if err := o.close(r); rule(err) != "art19" {
		t.Errorf("closed while recipients had to be told: %v", err)
	}
	tasks, err := o.tasks.Of(o.staff, r.ID, nil, page.Request{First: page.Max})
	o.ok(err)
	if len(tasks.Nodes()) != 2 {
		t.Fatalf("%d tasks", len(tasks.Nodes()))
	}
	if _, err := o.tasks.Complete(o.staff, task.CompleteInput{ID: tasks.Nodes()[0].ID, ExpectedVersion: 1}); rule(err) != "task.notice" {
		t.Errorf("a notice that nobody sent is done: %v", err)
	}
	byHand, printing := ns["Bureauet"], ns["Trykkeriet"]
	if _, err := o.s.Send(o.staff, recipient.SendInput{ID: byHand.ID, ExpectedVersion: byHand.Version}); rule(err) != "recipient.way" {
		t.Errorf("sent what would name the person: %v", err)
	}
	if _, err := o.s.Send(o.staff, recipient.SendInput{ID: byHand.ID, ExpectedVersion: byHand.Version, SentAt: new(o.Now())}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("told, and nobody knows how: %v", err)
	}
	byHand, err = o.s.Send(o.staff, recipient.SendInput{ID: byHand.ID, ExpectedVersion: byHand.Version, SentAt: new(o.Now()), How: new("by phone")})
	o.ok(err)
	if _, err := o.s.Excuse(o.staff, recipient.ExcuseInput{ID: printing.ID, ExpectedVersion: printing.Version, Exception: recipient.Impossible, Reason: " "}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("excused without a reason: %v", err)
	}
	if _, err := o.s.Excuse(o.staff, recipient.ExcuseInput{ID: printing.ID, ExpectedVersion: 1, Exception: recipient.Impossible, Reason: "x"}); !errors.Is(err, recipient.ErrVersion) {
		t.Errorf("excused by an old version: %v", err)
	}
	_, err = o.s.Excuse(o.staff, recipient.ExcuseInput{ID: printing.ID, ExpectedVersion: printing.Version, Exception: recipient.Impossible, Reason: "closed in 2020"})
	o.ok(err)
	if _, err := o.s.Acknowledge(o.staff, recipient.AcknowledgeInput{ID: byHand.ID, ExpectedVersion: byHand.Version, Result: recipient.Partly}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("partly, without a word: %v", err)
	}
	_, err = o.s.Acknowledge(o.staff, recipient.AcknowledgeInput{ID: byHand.ID, ExpectedVersion: byHand.Version, Result: recipient.NotHeld})
	o.ok(err)
	waiting := task.Open
	if left, err := o.tasks.Of(o.staff, r.ID, &waiting, page.Request{First: page.Max}); err != nil || len(left.Nodes()) != 0 {
		t.Errorf("tasks left: %v, %v", left, err)
	}
	o.ok(o.close(r))
	for _, n := range o.notices(r) {
		if actions := o.Entries(o.Context(), n.ID); len(actions) == 0 {
			t.Errorf("nothing in the log of %s", n.Name)
		}
	}

	mine, err := o.s.Mine(o.self(o.person), page.Request{First: page.Max})
	o.ok(err)
	if len(mine.Nodes()) != len(want) {
		t.Errorf("the person sees %d", len(mine.Nodes()))
	}
	o.stranger(r, byHand)
}

// stranger is another tenant, and another person: to both none of it is there.
func (o *office) stranger(r *request.Request, n *recipient.Notice) {
	o.Helper()
	two := o.As(testenv.Two)
	if _, err := o.s.List(two, r.ID, page.Request{First: 10}); errs.KindOf(err) != errs.NotFound {
		o.Errorf("another tenant lists: %v", err)
	}
	if _, err := o.s.Get(two, n.ID); errs.KindOf(err) != errs.NotFound {
		o.Errorf("another tenant reads: %v", err)
	}
	if _, err := o.s.Excuse(two, recipient.ExcuseInput{ID: n.ID, ExpectedVersion: n.Version, Exception: recipient.Impossible, Reason: "x"}); errs.KindOf(err) != errs.NotFound {
		o.Errorf("another tenant excuses: %v", err)
	}
	if found, err := o.s.Endpoints(two); err != nil || len(found) != 0 {
		o.Errorf("another tenant sees endpoints: %v, %v", found, err)
	}
	other := o.Subject(o.staff, "kunde-2")
	if found, err := o.s.Mine(o.self(other), page.Request{First: 10}); err != nil || len(found.Nodes()) != 0 {
		o.Errorf("another person sees: %v, %v", found, err)
	}
}

func (o *office) self(s *subject.Subject) context.Context {
	return authz.NewContext(tenant.NewContext(o.Context(), testenv.One), authz.Principal{
		Kind: authz.KindSubject, ID: id.New(id.Session, testenv.One), Tenant: testenv.One, Subject: s.ID,
	})
}

// again has a job done once more.
func (o *office) again(spec job.Spec) {
	o.Helper()
	o.ok(o.DB.InTransaction(o.staff, func(ctx context.Context) error {
		return o.DB.InsertJobs(ctx, job.New(job.Spec{Type: spec.Type, Object: spec.Object, Tenant: testenv.One}, id.New(id.Job, testenv.One), o.Now()))
	}))
	o.work()
}

// TestKilled: a worker that is killed between any two steps leaves nobody untold, and
// tells nobody twice.
func TestKilled(t *testing.T) {
	for at, kill := range map[string]func(o *office){
		"before the item":   func(o *office) { o.clerk.fail = errors.New("killed") },
		"before the answer": func(o *office) { o.post.fail = errors.New("killed") },
		"with the mail":     func(o *office) { o.mail.fail = errors.New("killed") },
	} {
		t.Run(at, func(t *testing.T) {
			o := open(t)
			o.disclose(o.party("Banken A/S", "art19@bank.example"), "sag 4711-B", o.kyc)
			kill(o)
			r := o.asked(request.Restriction)
			o.work()
			if n := o.notices(r)["Banken A/S"]; n == nil || n.State != recipient.Sent || len(o.mail.sent) != 1 || o.clerk.carried != 1 {
				t.Errorf("notice %+v, %d mails, carried out %d times", n, len(o.mail.sent), o.clerk.carried)
			}
			if n := o.Count(o.Context(), "messages", bson.D{{Key: "template", Value: notify.TemplateLetter}}); n != 1 {
				t.Errorf("%d messages", n)
			}
			if r, err := o.requests.Get(o.staff, r.ID); err != nil || r.State != request.Responded {
				t.Errorf("the request is %s, %v", r.State, err)
			}
		})
	}
}

// TestErasedLater: recipients are told of what is erased when it is, and of the rest
// when its time is over.
func TestErasedLater(t *testing.T) {
	o := open(t)
	bank, shop := o.party("Banken A/S", "art19@bank.example"), o.party("Butikken", "art19@butik.example")
	o.disclose(bank, "sag 4711-B", o.kyc)
	o.disclose(shop, "ordre 12", o.ads, o.kyc)
	now, later := id.New(id.Shredding, testenv.One), id.New(id.Shredding, testenv.One)
	o.clerk.results = []string{now}
	o.shreds[now] = &erasure.Shredding{ID: now, Tenant: testenv.One, Target: erasure.Target{Subject: o.person.ID, Units: []vault.Unit{vault.Unit(o.ads.ID)}}}
	r := o.asked(request.Erasure)
	o.work()
	states := func() map[string]int {
		c, err := o.s.List(o.staff, r.ID, page.Request{First: page.Max})
		o.ok(err)
		count := map[string]int{}
		for _, n := range c.Nodes() {
			count[n.Name+" "+string(n.State)]++
		}
		return count
	}
	if got := fmt.Sprint(states()); got != "map[Banken A/S PREPARED:1 Butikken PREPARED:1 Butikken SENT:1]" || len(o.mail.sent) != 1 {
		t.Fatalf("after the first part: %s, %d mails", got, len(o.mail.sent))
	}
	if strings.Contains(o.mail.sent[0].Text.Reveal(), "Kundekendskab") {
		t.Error("told of what wasn't erased")
	}
	o.delivered(r)
	o.ok(o.close(r)) // what goes later holds up nothing
	o.Sleep(5 * 365 * 24 * time.Hour)
	sh := &erasure.Shredding{ID: later, Tenant: testenv.One, Cause: r.Items[0].ID, Target: erasure.Target{Subject: o.person.ID, Whole: true}}
	o.shreds[later] = sh
	for range 2 {
		for _, spec := range recipient.Jobs(sh) {
			o.again(spec)
		}
	}
	if got := fmt.Sprint(states()); got != "map[Banken A/S SENT:1 Butikken SENT:2]" || len(o.mail.sent) != 3 {
		t.Errorf("after the rest: %s, %d mails", got, len(o.mail.sent))
	}
}

// TestPage: a recipient answers by the link in its mail, and nobody does without.
func TestPage(t *testing.T) {
	o := open(t)
	o.disclose(o.party("Banken A/S", "art19@bank.example"), "sag 4711-B", o.kyc)
	r := o.asked(request.Restriction)
	o.work()
	n := o.notices(r)["Banken A/S"]
	p, err := recipient.NewPage(o.s, testenv.Logger(t))
	o.ok(err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+recipient.Pattern, p.Show)
	mux.HandleFunc("POST "+recipient.Pattern, p.Answer)
	call := func(method, path, form string) (int, string) {
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
	_, rest, _ := strings.Cut(o.mail.sent[0].Text.Reveal(), world.BaseURL)
	link, _, _ := strings.Cut(rest, "\n")
	link = strings.TrimRight(strings.Fields(link)[0], ".>)")
	if status, body := call(http.MethodGet, link+"?lang=da", ""); status != http.StatusOK || !strings.Contains(body, "sag 4711-B") || !strings.Contains(body, n.ID) || strings.Contains(body, "Ibsen") {
		t.Fatalf("GET %s: %d %s", link, status, body)
	}
	unknown := recipient.Path + id.New(id.Told, testenv.One) + "/" + strings.Repeat("a", 26)
	status, nothing := call(http.MethodGet, unknown, "")
	for name, path := range map[string]string{
		"another key":    recipient.Path + n.ID + "/" + strings.Repeat("b", 26),
		"another tenant": strings.Replace(link, n.ID, id.New(id.Told, testenv.Two), 1),
		"no notice":      recipient.Path + "x/y",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if got, body := call(method, path, "result=DONE"); got != http.StatusNotFound || got != status || body != nothing {
				t.Errorf("%s %s: %d", method, name, got)
			}
		}
	}
	for _, form := range []string{"", "result=ALL", "result=PARTLY", "result=NOT_DONE&answer=+"} {
		if status, body := call(http.MethodPost, link+"?lang=en", form); status != http.StatusBadRequest || !strings.Contains(body, "Choose an answer") {
			t.Errorf("%q: %d", form, status)
		}
	}
	if status, body := call(http.MethodPost, link+"?lang=en", "result=PARTLY&answer=%3Cb%3Ebackups%3C%2Fb%3E"); status != http.StatusOK || !strings.Contains(body, "has been received") || strings.Contains(body, "<form") {
		t.Errorf("answered: %d %s", status, body)
	}
	if n = o.notices(r)["Banken A/S"]; n.State != recipient.Acknowledged || n.Result != recipient.Partly || n.Answer.Reveal() != "<b>backups</b>" {
		t.Errorf("noted: %+v", n)
	}
	o.Sleep(400 * 24 * time.Hour)
	if status, _ := call(http.MethodGet, link, ""); status != http.StatusNotFound {
		t.Errorf("after its time: %d", status)
	}
}

// TestSealed: what a notice says isn't stored in clear, and goes with the request's key.
func TestSealed(t *testing.T) {
	o := open(t)
	o.disclose(o.party("Banken A/S", "art19@bank.example"), "sag 4711-B", o.kyc)
	r := o.asked(request.Restriction)
	o.work()
	raw, err := o.Stored("recipientNotices").FindOne(o.Context(), bson.D{}).Raw()
	o.ok(err)
	if bytes.Contains(raw, []byte("4711")) || bytes.Contains(raw, []byte("Banken")) {
		t.Error("stored in clear")
	}
	erase := erasure.Target{Subject: r.ID, Units: []vault.Unit{vault.Case}}
	for _, e := range mongo.Erasers(o.DB, o.Bucket, o.Changes) {
		o.ok(e.Erase(o.staff, erase))
		if left, err := e.Left(o.staff, erase); err != nil || left != 0 {
			t.Errorf("%s: %d left, %v", e.Name(), left, err)
		}
	}
	c, err := o.s.List(o.staff, r.ID, page.Request{First: page.Max})
	if err != nil || len(c.Nodes()) != 1 || c.Nodes()[0].Name != "" || len(c.Nodes()[0].References) != 0 || c.Nodes()[0].State != recipient.Sent {
		t.Errorf("afterwards: %+v, %v", c, err)
	}
}
