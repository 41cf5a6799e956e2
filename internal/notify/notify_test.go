package notify_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// post is a platform with a mail server that delivers nothing.
type post struct {
	*world.World

	sink    *mailsink.Sink
	notices *notify.Service
	owner   vault.Owner
	before  func(context.Context) error // sending
	after   func(context.Context) error
	skew    atomic.Int64
}

// Send implements notify.Sender.
func (p *post) send(next notify.Sender) sender {
	return func(ctx context.Context, m notify.Mail) error {
		if p.before != nil {
			if err := p.before(ctx); err != nil {
				return err
			}
		}
		if err := next.Send(ctx, m); err != nil || p.after == nil {
			return err
		}
		return p.after(ctx)
	}
}

type sender func(ctx context.Context, m notify.Mail) error

func (s sender) Send(ctx context.Context, m notify.Mail) error { return s(ctx, m) }

func start(t *testing.T) *post {
	t.Helper()
	p := &post{World: world.Start(t), sink: mailsink.New(testenv.Logger(t), testenv.Now)}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- p.sink.ServeSMTP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve mail: %v", err)
		}
	})
	server, err := mail.New("smtp://"+l.Addr().String()+"/?disable_starttls=true", "Vogter <vogter@vogter.example>", nil)
	if err != nil {
		t.Fatal(err)
	}
	p.notices, err = notify.NewService(notify.Config{
		Store: mongo.NewNotifyStore(p.DB, p.Vault), Sender: p.send(server), Changes: p.Changes, Log: testenv.Logger(t),
		Now: func() time.Time { return testenv.Now().Add(time.Duration(p.skew.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Handle(notify.JobSend, p.notices.Send)
	p.owner = vault.Owner{Tenant: testenv.One, Subject: id.New(id.Member, testenv.One), Unit: vault.Identity}
	if _, err := p.Vault.Ensure(t.Context(), p.owner); err != nil {
		t.Fatal(err)
	}
	return p
}

const address = "aase.oedegaard@kunde.example"

func vars(kv ...string) map[string]personal.Text {
	m := map[string]personal.Text{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = personal.NewText(kv[i+1])
	}
	return m
}

func (p *post) code() notify.Message {
	return notify.Message{
		Template: notify.TemplateSubjectCode, Language: "da", To: personal.NewText(address), Owner: p.owner,
		Vars: vars("tenant", "Første ApS", "code", "4711-0815", "minutes", "10"),
	}
}

// queue commits a message and returns its id and its job's.
func (p *post) queue(m notify.Message) (messageID, jobID string, err error) {
	err = p.Changes.Do(p.As(testenv.One), func(ctx context.Context) (change.Change, error) {
		spec, err := p.notices.Queue(ctx, m)
		spec.ID = id.New(id.Job, testenv.One)
		messageID, jobID = spec.Object, spec.ID
		return change.Change{Action: "test.tell", Then: []job.Spec{spec}}, err
	})
	return messageID, jobID, err
}

func (p *post) stored(messageID string) bson.M {
	p.Helper()
	var doc bson.M
	if err := p.Stored("messages").FindOne(p.Context(), bson.D{{Key: "_id", Value: messageID}}).Decode(&doc); err != nil {
		p.Fatal(err)
	}
	return doc
}

func TestAMailLeavesAndItsAddressWithIt(t *testing.T) {
	p := start(t)
	messageID, _, err := p.queue(p.code())
	if err != nil {
		t.Fatal(err)
	}
	before := p.stored(messageID)
	if before["to"] == nil || before["vars"] == nil || before["state"] != "QUEUED" {
		t.Errorf("queued as %v", before)
	}
	raw, err := bson.MarshalExtJSON(before, false, false)
	if err != nil || strings.Contains(string(raw), "oedegaard") || strings.Contains(string(raw), "4711") {
		t.Errorf("the row shows what it holds, %v", err)
	}
	p.Work(t.Context())
	got := p.sink.Messages()
	if len(got) != 1 {
		t.Fatalf("%d mails", len(got))
	}
	m := got[0]
	if !slices.Equal(m.To, []string{address}) || m.Subject != "Din kode til Første ApS" || m.MessageID != messageID+"@vogter.example" ||
		!strings.Contains(m.Text, "Din kode er 4711-0815") || !strings.Contains(m.HTML, "<p>Din kode er 4711-0815</p>") {
		t.Errorf("the mail is %+v", m)
	}
	after := p.stored(messageID)
	if after["to"] != nil || after["vars"] != nil || after["state"] != "SENT" || after["endedAt"] == nil || after["template"] != "subjectCode" {
		t.Errorf("sent as %v", after)
	}
	if got := p.Entries(t.Context(), messageID); !slices.Equal(got, []string{"message.send"}) {
		t.Errorf("entries %v", got)
	}
}

func TestWhatCantBeSentLaterFailsNow(t *testing.T) {
	p := start(t)
	for name, change := range map[string]func(*notify.Message){
		"a missing variable":        func(m *notify.Message) { delete(m.Vars, "code") },
		"a variable too many":       func(m *notify.Message) { m.Vars["name"] = personal.NewText("x") },
		"an empty variable":         func(m *notify.Message) { m.Vars["tenant"] = personal.Text{} },
		"a line more":               func(m *notify.Message) { m.Vars["tenant"] = personal.NewText("A\r\nBcc: b@b.example") },
		"a template that isn't":     func(m *notify.Message) { m.Template = "greeting" },
		"an address with a header":  func(m *notify.Message) { m.To = personal.NewText("a@a.example\r\nBcc: b@b.example") },
		"two addresses":             func(m *notify.Message) { m.To = personal.NewText("a@a.example, b@b.example") },
		"no address":                func(m *notify.Message) { m.To = personal.Text{} },
		"another tenant's key":      func(m *notify.Message) { m.Owner.Tenant = testenv.Two },
		"a key that was never made": func(m *notify.Message) { m.Owner.Subject = "mem_x" },
	} {
		t.Run(name, func(t *testing.T) {
			m := p.code()
			change(&m)
			_, _, err := p.queue(m)
			if err == nil {
				t.Fatal("queued")
			}
			if strings.Contains(err.Error(), ".example") || strings.Contains(err.Error(), "4711") {
				t.Errorf("the error quotes: %v", err)
			}
		})
	}
	if n := p.Count(t.Context(), "messages", bson.D{}); n != 0 {
		t.Errorf("%d messages are there", n)
	}
}

func TestEveryTemplateInEveryLanguage(t *testing.T) {
	p := start(t)
	all := map[string]map[string]personal.Text{
		notify.TemplateInvitation:      vars("tenant", "Den & Den <ApS>", "url", "https://vogter.example/i?a=1&b=2", "token", "abc"),
		notify.TemplateSubjectCode:     vars("tenant", "A", "code", "1", "minutes", "10"),
		notify.TemplateBreakGlass:      vars("reason", "Fejlsøgning, sag 7", "until", "kl. 14.00"),
		notify.TemplateSecurityEvent:   vars("event", "sev_x", "kind", "MASS_READ", "severity", "HIGH"),
		notify.TemplateWebhookDisabled: vars("webhook", "whk_x", "since", "2026-11-22"),
		notify.TemplateEpochApproval:   vars("epoch", "75", "url", "https://vogter.example/epochs"),
		notify.TemplateReviewDue:       vars("assessment", "asm_x", "kind", "DPIA", "reason", "TIME_OVER"),
	}
	for template, vars := range all {
		// Two that there is a text in, one that gives way to the tenant's first.
		for _, language := range []string{"da-DK", "en-GB", "fi"} {
			if _, _, err := p.queue(notify.Message{Template: template, Language: language, To: personal.NewText(address), Owner: p.owner, Vars: vars}); err != nil {
				t.Errorf("%s in %s: %v", template, language, err)
			}
		}
	}
	p.Work(t.Context())
	subjects := map[string]int{}
	for _, m := range p.sink.Messages() {
		subjects[m.Subject]++
		if m.Text == "" || !strings.HasPrefix(m.HTML, "<!doctype html>") || strings.Contains(m.Text, "no value") {
			t.Errorf("a mail: %+v", m)
		}
		if strings.Contains(m.HTML, "<ApS>") {
			t.Error("a variable is taken for HTML")
		}
		if strings.Contains(m.Text, "/i?") && !strings.Contains(m.HTML, `<a href="https://vogter.example/i?a=1&amp;b=2">`) {
			t.Errorf("no link in %s", m.HTML)
		}
	}
	if len(p.sink.Messages()) != 3*len(all) || len(subjects) != 2*len(all) {
		t.Errorf("%d mails with %d subjects", len(p.sink.Messages()), len(subjects))
	}
	for subject, n := range subjects {
		if n != 1 && n != 2 {
			t.Errorf("%q is in %d mails", subject, n)
		}
	}
}

// A worker that dies after the server took the mail, and before that is known,
// has it sent again: under the same id.
func TestARepeatIsRecognisable(t *testing.T) {
	p := start(t)
	_, jobID, err := p.queue(p.code())
	if err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	t.Cleanup(func() { close(dead) })
	sent := make(chan struct{})
	p.after = func(context.Context) error {
		close(sent)
		<-dead
		return errors.New("dead")
	}
	stuck := make(chan error, 1)
	ctx := tenant.NewContext(context.WithoutCancel(t.Context()), testenv.One)
	jobs := job.NewService(mongo.NewJobStore(p.DB), p.Changes, testenv.Now, testenv.Logger(t),
		job.Timing{Lease: time.Millisecond, Renew: time.Hour, Pause: time.Nanosecond})
	go func() { stuck <- jobs.Work(ctx, jobID, 1, p.Dispatch) }()
	<-sent
	time.Sleep(10 * time.Millisecond) // its lease runs out
	p.after = nil
	if n, err := jobs.RecoverDead(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("%d dead, %v", n, err)
	}
	p.Work(t.Context())
	got := p.sink.Messages()
	if len(got) != 2 || got[0].MessageID != got[1].MessageID || got[0].MessageID == "" {
		t.Errorf("mails %+v", got)
	}
}

func TestWhatIsUndeliverableWaitsVisibly(t *testing.T) {
	p := start(t)
	messageID, jobID, err := p.queue(p.code())
	if err != nil {
		t.Fatal(err)
	}
	p.before = func(context.Context) error { return job.Permanent(mail.ErrUndeliverable) }
	p.Work(t.Context())
	j, err := p.Jobs.Get(p.As(testenv.One), jobID)
	if err != nil || j.State != job.Parked || j.Error.Code != errs.Precondition {
		t.Fatalf("the job is %+v, %v", j, err)
	}
	if _, err := p.Jobs.Get(p.As(testenv.Two), jobID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the second tenant sees the job: %v", err)
	}
	p.before = nil
	if _, err := p.Jobs.Retry(p.As(testenv.One), job.RetryInput{ID: jobID}); err != nil {
		t.Fatal(err)
	}
	p.Work(t.Context())
	if got := p.stored(messageID); got["state"] != "SENT" || len(p.sink.Messages()) != 1 {
		t.Errorf("after a retry it is %v", got["state"])
	}
}

func TestWhatIsNeverSentIsDropped(t *testing.T) {
	p := start(t)
	erased, _, err := p.queue(p.code())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Keys.DestroyDataKey(t.Context(), p.owner, testenv.Now()); err != nil {
		t.Fatal(err)
	}
	p.Vault.Evict(p.owner)
	p.Work(t.Context())
	p.owner.Subject = id.New(id.Member, testenv.One)
	if _, err := p.Vault.Ensure(t.Context(), p.owner); err != nil {
		t.Fatal(err)
	}
	late, _, err := p.queue(p.code())
	if err != nil {
		t.Fatal(err)
	}
	system := tenant.System(t.Context(), "test")
	if err := p.notices.Sweep(system); err != nil {
		t.Fatal(err)
	}
	if got := p.stored(late)["state"]; got != "QUEUED" {
		t.Errorf("dropped before its time: %v", got)
	}
	p.skew.Store(int64(notify.Life + time.Minute))
	if err := p.notices.Sweep(system); err != nil {
		t.Fatal(err)
	}
	for _, messageID := range []string{erased, late} {
		if got := p.stored(messageID); got["state"] != "DROPPED" || got["to"] != nil || got["vars"] != nil {
			t.Errorf("%s is %v", messageID, got)
		}
	}
	p.Work(t.Context())
	if n := len(p.sink.Messages()); n != 0 {
		t.Errorf("%d mails", n)
	}
}
