package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/webhook"
)

// platform is a World with webhooks and mail.
type platform struct {
	*world.World

	client   *webhook.Client
	webhooks *webhook.Service
	feed     *feed.Service
	sealer   *seal.Sealer
	sink     *mailsink.Sink
	endpoint *endpoint
}

// endpoint is a tenant's system behind TLS.
type endpoint struct {
	*httptest.Server

	mu        sync.Mutex
	calls     []received
	elsewhere int // calls of what a redirect points at
	answer    func(w http.ResponseWriter, r *http.Request, body []byte)
}

// received is a call as the endpoint took it.
type received struct {
	id, timestamp, signatures, body string

	Type string `json:"type"`
	Data struct {
		Tenant, Change, Object, Webhook, Challenge string
		Subjects, Fields                           []string
	} `json:"data"`
}

// echo answers as a well-behaved endpoint.
func echo(w http.ResponseWriter, _ *http.Request, body []byte) {
	var c received
	if json.Unmarshal(body, &c) == nil && c.Type == "webhook.verify" {
		fmt.Fprintf(w, `{"challenge":%q}`, c.Data.Challenge)
	}
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{answer: echo}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c := received{
			id: r.Header.Get("webhook-id"), timestamp: r.Header.Get("webhook-timestamp"),
			signatures: r.Header.Get("webhook-signature"), body: string(body),
		}
		if err := errors.Join(err, json.Unmarshal(body, &c)); err != nil {
			t.Errorf("a call with %q: %v", body, err)
		}
		e.mu.Lock()
		if r.URL.Path == "/elsewhere" {
			e.elsewhere++
		}
		e.calls = append(e.calls, c)
		answer := e.answer
		e.mu.Unlock()
		answer(w, r, body)
	}))
	e.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) answers(f func(w http.ResponseWriter, r *http.Request, body []byte)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// events returns the calls but verifications, and forgets all.
func (e *endpoint) events() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := slices.DeleteFunc(e.calls, func(c received) bool { return c.Type == "webhook.verify" })
	e.calls = nil
	return calls
}

// signedBy checks a call as the specification has it.
func (c *received) signedBy(secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) < 24 {
		return false
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(c.id + "." + c.timestamp + "." + c.body))
	return slices.Contains(strings.Fields(c.signatures), "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
}

// most is how many calls the client makes at once.
const most = 3

const ownerAddress = "ejer@kunde.example"

// owner is the owner of a tenant.
type owner struct{ *tenancy.Member }

func (o owner) Owners(context.Context) ([]*tenancy.Member, error) {
	return []*tenancy.Member{o.Member}, nil
}

func start(t *testing.T) *platform {
	t.Helper()
	p := &platform{World: world.Start(t), sink: mailsink.New(testenv.Logger(t), testenv.Now), endpoint: newEndpoint(t)}
	roots := x509.NewCertPool()
	roots.AddCert(p.endpoint.Certificate())
	p.client = webhook.NewClient(true, roots, most, p.Now)
	p.feed = feed.NewService(mongo.NewFeedStore(p.DB))
	p.sealer = seal.NewSealer(seal.Config{Store: mongo.NewAuditStore(p.DB), Now: testenv.Now, Log: testenv.Logger(t)})
	m := &tenancy.Member{ID: id.New(id.Member, testenv.One), Tenant: testenv.One, Email: personal.NewText(ownerAddress)}
	p.ok(p.Vault.Ensure(t.Context(), tenancy.MemberIdentity(testenv.One, m.ID)))
	notices, err := notify.NewService(notify.Config{
		Store: mongo.NewNotifyStore(p.DB, p.Vault), Sender: p.mail(), Changes: p.Changes, Log: testenv.Logger(t), Now: p.Now,
	})
	p.ok(nil, err)
	p.webhooks = webhook.NewService(webhook.Config{
		Store: mongo.NewWebhookStore(p.DB, p.Vault), Feed: p.feed, Client: p.client, Changes: p.Changes, Vault: p.Vault,
		Owners: owner{m}, Mailer: notices, Log: testenv.Logger(t), Now: p.Now,
	})
	p.Handle(notify.JobSend, notices.Send)
	p.Handle(webhook.JobVerify, p.webhooks.VerifyEndpoint)
	p.Handle(webhook.JobDeliver, p.webhooks.Deliver)
	return p
}

func (p *platform) mail() *mail.Sender {
	p.Helper()
	l, err := (&net.ListenConfig{}).Listen(p.Context(), "tcp", "127.0.0.1:0")
	p.ok(nil, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	served := make(chan error, 1)
	go func() { served <- p.sink.ServeSMTP(ctx, l) }()
	p.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			p.Errorf("serve mail: %v", err)
		}
	})
	sender, err := mail.New("smtp://"+l.Addr().String()+"/?disable_starttls=true", "vogter@vogter.example", nil)
	p.ok(nil, err)
	return sender
}

func (p *platform) ok(_ any, err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// dispatch lets all webhooks of all tenants follow the feed.
func (p *platform) dispatch() {
	p.Helper()
	p.ok(p.sealer.Seal(p.Context()))
	p.ok(nil, p.webhooks.Dispatch(tenant.System(p.Context(), "test")))
}

// tell does everything that is due.
func (p *platform) tell() {
	p.Helper()
	p.dispatch()
	p.Work(p.Context())
}

// hook makes an ACTIVE webhook of the endpoint.
func (p *platform) hook(of tenant.ID, events ...string) (w *webhook.Webhook, secret string) {
	p.Helper()
	w, shown, err := p.webhooks.Create(p.As(of), webhook.CreateInput{URL: p.endpoint.URL + "/hook", Events: events})
	p.ok(nil, err)
	p.tell()
	if w = p.get(of, w.ID); w.State != webhook.Active || w.VerifiedAt == nil {
		p.Fatalf("the webhook is %+v", w)
	}
	p.endpoint.events()
	return w, *shown
}

func (p *platform) get(of tenant.ID, webhookID string) *webhook.Webhook {
	p.Helper()
	w, err := p.webhooks.Get(p.As(of), webhookID)
	p.ok(nil, err)
	return w
}

func (p *platform) deliveries(of tenant.ID, w *webhook.Webhook, state *webhook.DeliveryState) []*webhook.Delivery {
	p.Helper()
	c, err := p.webhooks.Deliveries(p.As(of), w.ID, state, page.Request{First: page.Max})
	p.ok(nil, err)
	return c.Nodes()
}

func TestEachChangeIsTold(t *testing.T) {
	p := start(t)
	w, secret := p.hook(testenv.One, "subject.*", "job.succeeded")
	var subjects []string
	for n := range 3 {
		subjects = append(subjects, p.Subject(p.As(testenv.One), "K-"+strconv.Itoa(n)).ID)
	}
	p.Subject(p.As(testenv.Two), "K-of-another")
	p.ok(p.Datasets.List(p.As(testenv.One)))
	p.dispatch()
	p.dispatch() // nothing new
	p.tell()
	p.tell() // nor do deliveries tell of themselves
	got := p.endpoint.events()
	ended := func(c received) bool { return c.Type == "job.succeeded" && c.signedBy(secret) }
	if n := len(got); n != len(subjects)+1 || !slices.ContainsFunc(got, ended) { // the job that verified the endpoint
		t.Fatalf("%d calls", n)
	}
	got = slices.DeleteFunc(got, ended)
	ids := map[string]bool{}
	for _, c := range got {
		ids[c.id] = true
		at, err := strconv.ParseInt(c.timestamp, 10, 64)
		if err != nil || testenv.Now().Sub(time.Unix(at, 0)).Abs() > time.Minute {
			t.Errorf("timestamp %s", c.timestamp)
		}
		if !c.signedBy(secret) || c.Type != "subject.create" || c.Data.Tenant != string(testenv.One) ||
			!slices.Contains(subjects, c.Data.Object) || !slices.Equal(c.Data.Subjects, []string{c.Data.Object}) {
			t.Errorf("called with %+v", c)
		}
		if strings.Contains(c.body, "K-") {
			t.Errorf("the body holds personal data: %s", c.body)
		}
	}
	ds := p.deliveries(testenv.One, w, nil)
	ds = slices.DeleteFunc(ds, func(d *webhook.Delivery) bool { return d.Event == "job.succeeded" })
	if len(ds) != len(subjects) || len(ids) != len(subjects) {
		t.Fatalf("%d deliveries, %d ids", len(ds), len(ids))
	}
	for _, d := range ds {
		if !ids[d.ID] || d.State != webhook.Succeeded || d.Attempts != 1 || *d.Status != http.StatusOK || d.Problem != nil || d.NextAttemptAt != nil {
			t.Errorf("the delivery is %+v", d)
		}
		if _, err := p.webhooks.GetDelivery(p.As(testenv.Two), d.ID); !errors.Is(err, webhook.ErrNoDelivery) {
			t.Errorf("the second tenant sees a delivery: %v", err)
		}
	}
}

func TestATenantSeesItsOwn(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "*")
	p.Subject(p.As(testenv.One), "K-1")
	p.tell()
	two := p.As(testenv.Two)
	if all, err := p.webhooks.List(two); err != nil || len(all) != 0 {
		t.Errorf("the second tenant lists %d, %v", len(all), err)
	}
	events := []string{"*"}
	for name, err := range map[string]error{
		"get":        second(p.webhooks.Get(two, w.ID)),
		"update":     second(p.webhooks.Update(two, webhook.UpdateInput{ID: w.ID, ExpectedVersion: w.Version, Events: events})),
		"delete":     p.webhooks.Delete(two, webhook.Input{ID: w.ID}),
		"deliveries": second(p.webhooks.Deliveries(two, w.ID, nil, page.Request{First: 1})),
	} {
		if !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := p.webhooks.Verify(two, webhook.Input{ID: w.ID}); !errors.Is(err, webhook.ErrNotFound) {
		t.Errorf("verify: %v", err)
	}
	if _, _, err := p.webhooks.Rotate(two, webhook.Input{ID: w.ID}); !errors.Is(err, webhook.ErrNotFound) {
		t.Errorf("rotate: %v", err)
	}
	d := p.deliveries(testenv.One, w, nil)[0]
	if _, err := p.webhooks.Redeliver(two, webhook.RedeliverInput{Delivery: d.ID}); !errors.Is(err, webhook.ErrNoDelivery) {
		t.Errorf("redeliver: %v", err)
	}
	// A cursor of the first tenant's is none of the second's.
	if _, err := p.feed.List(two, page.Request{First: 1, After: &d.Change}); !errors.Is(err, page.ErrCursor) {
		t.Errorf("changes: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAnEndpointProvesItself(t *testing.T) {
	plain := func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var c received
		_ = json.Unmarshal(body, &c)
		fmt.Fprintln(w, c.Data.Challenge)
	}
	say := func(status int, text string) func(w http.ResponseWriter, _ *http.Request, body []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
	}
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, body []byte)
		want   webhook.State
		says   string
	}{
		"as JSON":       {echo, webhook.Active, ""},
		"as text":       {plain, webhook.Active, ""},
		"says nothing":  {say(http.StatusOK, ""), webhook.Unverified, "ECHO, answered with 200"},
		"says anything": {say(http.StatusOK, `{"challenge":"x"}`), webhook.Unverified, "ECHO, answered with 200"},
		"isn't there":   {say(http.StatusNotFound, "no"), webhook.Unverified, "STATUS, answered with 404"},
		"echoes, but fails": {func(w http.ResponseWriter, r *http.Request, body []byte) {
			w.WriteHeader(http.StatusTeapot)
			echo(w, r, body)
		}, webhook.Unverified, "STATUS, answered with 418"},
		"is somewhere else": {func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, webhook.Unverified, "REDIRECT, answered with 307"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			p.endpoint.answers(tt.answer)
			w, _, err := p.webhooks.Create(p.As(testenv.One), webhook.CreateInput{URL: p.endpoint.URL, Events: []string{"*"}})
			if err != nil {
				t.Fatal(err)
			}
			_, jobID, err := p.webhooks.Verify(p.As(testenv.One), webhook.Input{ID: w.ID})
			if err != nil {
				t.Fatal(err)
			}
			for range 6 {
				p.tell()
				p.Sleep(time.Hour)
			}
			j, err := p.Jobs.Get(p.As(testenv.One), jobID)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.get(testenv.One, w.ID).State; got != tt.want || (j.State == job.Parked) != (tt.says != "") {
				t.Errorf("the webhook is %s, the job %s", got, j.State)
			}
			if tt.says != "" && (j.Error == nil || !strings.Contains(j.Error.Message, tt.says)) {
				t.Errorf("the job says %+v", j.Error)
			}
			p.Subject(p.As(testenv.One), "K-1")
			p.endpoint.answers(echo)
			p.tell()
			if got := len(p.endpoint.events()); (got > 0) != (tt.want == webhook.Active) {
				t.Errorf("it is told of %d changes", got)
			}
			if p.endpoint.elsewhere != 0 {
				t.Error("a redirect is followed")
			}
		})
	}
}

func TestANewURLProvesItself(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.*")
	p.endpoint.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNotFound) })
	url := p.endpoint.URL + "/other"
	in := webhook.UpdateInput{ID: w.ID, ExpectedVersion: w.Version, URL: &url}
	moved, err := p.webhooks.Update(p.As(testenv.One), in)
	if err != nil || moved.State != webhook.Unverified || moved.URL != url {
		t.Fatalf("moved to %+v, %v", moved, err)
	}
	if _, err := p.webhooks.Update(p.As(testenv.One), in); !errors.Is(err, change.ErrVersion) {
		t.Errorf("updated twice: %v", err)
	}
	p.Subject(p.As(testenv.One), "K-1")
	p.tell()
	if got := p.endpoint.events(); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
	p.endpoint.answers(echo)
	p.ok(nil, third(p.webhooks.Verify(p.As(testenv.One), webhook.Input{ID: w.ID})))
	p.tell()
	p.tell() // what happened meanwhile isn't lost
	if got := p.endpoint.events(); len(got) != 1 || p.get(testenv.One, w.ID).State != webhook.Active {
		t.Errorf("told %+v", got)
	}
}

func TestTriesOfADelivery(t *testing.T) {
	status := func(code int) func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(code) }
	}
	for name, tt := range map[string]struct {
		answer  func(w http.ResponseWriter, r *http.Request, body []byte)
		problem webhook.Problem
		status  int
	}{
		"fails":   {status(http.StatusInternalServerError), webhook.ProblemStatus, 500},
		"is gone": {status(http.StatusGone), webhook.ProblemStatus, 410},
		"redirects": {func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, webhook.ProblemRedirect, 302},
		"stalls":     {func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() }, webhook.ProblemTimeout, 0},
		"breaks off": {func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }, webhook.ProblemConnect, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			p.client.SetTimeout(300 * time.Millisecond)
			w, secret := p.hook(testenv.One, "subject.*")
			p.Subject(p.As(testenv.One), "K-1")
			p.endpoint.answers(tt.answer)
			p.tell()
			ds := p.deliveries(testenv.One, w, nil)
			if len(ds) != 1 {
				t.Fatalf("%d deliveries", len(ds))
			}
			d := ds[0]
			if d.State != webhook.Pending || d.Attempts != 1 || *d.Problem != tt.problem || d.NextAttemptAt == nil ||
				(d.Status == nil) != (tt.status == 0) || d.Status != nil && *d.Status != tt.status {
				t.Errorf("after a try it is %+v", d)
			}
			if p.get(testenv.One, w.ID).FailingSince == nil {
				t.Error("the webhook isn't failing")
			}
			p.tell() // it is not the time yet
			p.endpoint.answers(echo)
			p.Sleep(time.Minute)
			p.tell()
			calls := p.endpoint.events()
			if len(calls) != 2 || calls[0].id != calls[1].id || calls[0].body != calls[1].body || calls[0].id != d.ID || !calls[1].signedBy(secret) {
				t.Errorf("called with %+v", calls)
			}
			if got := p.deliveries(testenv.One, w, nil)[0]; got.State != webhook.Succeeded || got.Attempts != 2 || got.Problem != nil {
				t.Errorf("in the end it is %+v", got)
			}
			if p.get(testenv.One, w.ID).FailingSince != nil {
				t.Error("the webhook is failing")
			}
			if p.endpoint.elsewhere != 0 {
				t.Error("a redirect is followed")
			}
		})
	}
}

// However many hosts hang, only some calls are under way, of a tenant and of all.
// The deliveries that wait for room have used up no try.
func TestCallsAtOnce(t *testing.T) {
	p := start(t)
	hooks := map[tenant.ID][]*webhook.Webhook{}
	for of, n := range map[tenant.ID]int{testenv.One: 3, testenv.Two: 2} {
		for range n {
			host := httptest.NewServer(p.endpoint.Config.Handler)
			t.Cleanup(host.Close)
			w, _, err := p.webhooks.Create(p.As(of), webhook.CreateInput{URL: host.URL, Events: []string{"subject.*"}})
			p.ok(nil, err)
			hooks[of] = append(hooks[of], w)
		}
	}
	p.tell()
	arrived, left, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	p.endpoint.answers(func(http.ResponseWriter, *http.Request, []byte) {
		arrived <- struct{}{}
		<-release
	})
	var jobs int
	for _, tt := range []struct {
		of   tenant.ID
		want int
	}{{testenv.One, 2}, {testenv.Two, most - 2}} {
		p.Subject(p.As(tt.of), "K-1")
		p.dispatch()
		due, err := p.Jobs.Due(t.Context(), 100)
		p.ok(nil, err)
		var calls, jobsOf int
		for _, j := range due {
			if j.Tenant != tt.of {
				continue
			}
			jobsOf++
			go func() {
				if err := p.Jobs.Work(tenant.NewContext(t.Context(), j.Tenant), j.ID, j.Delivery, p.Dispatch); err != nil {
					t.Error(err)
				}
				left <- struct{}{}
			}()
		}
		for range jobsOf {
			select {
			case <-arrived:
				calls++
			case <-left:
				jobs--
			}
		}
		jobs += jobsOf
		if jobsOf != len(hooks[tt.of]) || calls != tt.want {
			t.Errorf("%d calls of %d deliveries, want %d", calls, jobsOf, tt.want)
		}
	}
	close(release)
	for range jobs {
		<-left
	}
	for of, want := range map[tenant.ID]int{testenv.One: 2, testenv.Two: most - 2} {
		var tries int
		for _, w := range hooks[of] {
			for _, d := range p.deliveries(of, w, nil) {
				tries += d.Attempts
			}
		}
		if tries != want {
			t.Errorf("%d tries of %s, want %d", tries, of, want)
		}
	}
	p.endpoint.answers(echo)
	p.Sleep(time.Minute)
	p.tell()
	for of, ws := range hooks {
		for _, w := range ws {
			if ds := p.deliveries(of, w, nil); len(ds) != 1 || ds[0].State != webhook.Succeeded {
				t.Errorf("in the end they are %+v", ds)
			}
		}
	}
}

func TestALongAnswerIsNotRead(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.*")
	var written int
	p.endpoint.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for chunk := make([]byte, 1<<20); written < 10<<20; {
			n, err := w.Write(chunk)
			if written += n; err != nil {
				return
			}
		}
	})
	p.Subject(p.As(testenv.One), "K-1")
	p.tell()
	if got := p.deliveries(testenv.One, w, nil); len(got) != 1 || got[0].State != webhook.Succeeded {
		t.Errorf("deliveries %+v", got)
	}
	p.endpoint.CloseClientConnections()
	p.endpoint.Close() // waits for the handler
	if written >= 10<<20 {
		t.Error("all of it was taken")
	}
}

func TestADeliveryIsGivenUpAndSentAgain(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.create")
	p.endpoint.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) {
		if !strings.Contains(string(body), `"subject.create"`) {
			return
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	p.Subject(p.As(testenv.One), "K-1")
	began := p.Now()
	failed, pending := webhook.Failed, webhook.Pending
	p.tell()
	d := p.deliveries(testenv.One, w, &pending)[0]
	if _, err := p.webhooks.Redeliver(p.As(testenv.One), webhook.RedeliverInput{Delivery: d.ID}); !errors.Is(err, webhook.ErrPending) {
		t.Errorf("sent again while it is tried: %v", err)
	}
	for d.State == webhook.Pending {
		p.Sleep(d.NextAttemptAt.Sub(p.Now()) + time.Second)
		p.tell()
		d = p.deliveries(testenv.One, w, nil)[0]
	}
	took := p.Now().Sub(began)
	if d.State != webhook.Failed || d.Attempts != 10 || d.EndedAt == nil || took < 70*time.Hour || took > 90*time.Hour {
		t.Errorf("after %s it is %+v", took, d)
	}
	if len(p.deliveries(testenv.One, w, &failed)) != 1 || len(p.deliveries(testenv.One, w, &pending)) != 0 {
		t.Error("it isn't listed as failed")
	}
	// All that time nothing succeeded, so the webhook is off.
	if _, err := p.webhooks.Redeliver(p.As(testenv.One), webhook.RedeliverInput{Delivery: d.ID}); !errors.Is(err, webhook.ErrInactive) {
		t.Errorf("sent to a disabled webhook: %v", err)
	}
	p.endpoint.answers(echo)
	p.ok(nil, third(p.webhooks.Verify(p.As(testenv.One), webhook.Input{ID: w.ID})))
	p.tell()
	p.endpoint.events()
	again, err := p.webhooks.Redeliver(p.As(testenv.One), webhook.RedeliverInput{Delivery: d.ID})
	if err != nil || again.State != webhook.Pending || again.Attempts != 0 {
		t.Fatalf("sent again as %+v, %v", again, err)
	}
	p.tell()
	if got := p.endpoint.events(); len(got) != 1 || got[0].id != d.ID || got[0].body != d.Body {
		t.Errorf("called with %+v", got)
	}
	if got := p.Entries(t.Context(), d.ID); !slices.Equal(got, []string{"webhook.fail", "webhook.redeliver", "webhook.deliver"}) {
		t.Errorf("entries %v", got)
	}
}

func third[T, U any](_ T, _ U, err error) error { return err }

func TestAnEndpointThatFailsForLongIsDisabled(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.create")
	p.endpoint.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadGateway) })
	for n := range 5 { // one a day
		p.Subject(p.As(testenv.One), "K-"+strconv.Itoa(n))
		p.tell()
		p.Sleep(24 * time.Hour)
		p.tell()
	}
	if got := p.get(testenv.One, w.ID); got.State != webhook.Disabled || got.FailingSince == nil {
		t.Fatalf("the webhook is %+v", got)
	}
	mails := p.sink.Messages()
	if len(mails) != 1 || !slices.Equal(mails[0].To, []string{ownerAddress}) || !strings.Contains(mails[0].Text, w.ID) {
		t.Errorf("mails %+v", mails)
	}
	p.endpoint.events()
	p.Subject(p.As(testenv.One), "K-last")
	p.tell()
	if got := p.endpoint.events(); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
	// Mended and verified, it goes on where it stopped.
	p.endpoint.answers(echo)
	p.ok(nil, third(p.webhooks.Verify(p.As(testenv.One), webhook.Input{ID: w.ID})))
	told := map[string]bool{}
	for range 3 {
		p.tell()
		p.Sleep(24 * time.Hour)
		for _, c := range p.endpoint.events() {
			told[c.Data.Object] = true
		}
	}
	failed := webhook.Failed
	if given := len(p.deliveries(testenv.One, w, &failed)); len(told)+given != 6 || len(told) < 5 {
		t.Errorf("told of %d of 6 changes, gave up %d", len(told), given)
	}
	if got := p.get(testenv.One, w.ID); got.State != webhook.Active || got.FailingSince != nil {
		t.Errorf("the webhook is %+v", got)
	}
}

func TestSecretsOverlap(t *testing.T) {
	p := start(t)
	w, first := p.hook(testenv.One, "subject.create")
	next, latest, err := p.webhooks.Rotate(p.As(testenv.One), webhook.Input{ID: w.ID})
	if err != nil || latest == first || next.Version != w.Version+1 {
		t.Fatalf("rotated to %+v, %v", next, err)
	}
	for n, both := range []bool{true, false} {
		p.Subject(p.As(testenv.One), "K-"+strconv.Itoa(n))
		p.tell()
		got := p.endpoint.events()
		if len(got) != 1 || !got[0].signedBy(latest) || got[0].signedBy(first) != both {
			t.Errorf("both sign: %t, called with %+v", both, got)
		}
		p.Sleep(webhook.Overlap)
	}
	for range 4 {
		if _, _, err := p.webhooks.Rotate(p.As(testenv.One), webhook.Input{ID: w.ID}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := p.webhooks.Rotate(p.As(testenv.One), webhook.Input{ID: w.ID}); !errors.Is(err, webhook.ErrSecrets) {
		t.Errorf("rotated without end: %v", err)
	}
	var stored bson.Raw
	p.ok(nil, p.Stored("webhooks").FindOne(t.Context(), bson.D{{Key: "_id", Value: w.ID}}).Decode(&stored))
	for _, secret := range []string{first, latest} {
		if strings.Contains(string(stored), strings.TrimPrefix(secret, "whsec_")) {
			t.Error("a secret is stored in the clear")
		}
	}
}

// A worker that dies after the endpoint answered, and before that is known, has
// it called again: under the same id.
func TestARepeatIsRecognisable(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.create")
	p.Subject(p.As(testenv.One), "K-1")
	p.dispatch()
	d := p.deliveries(testenv.One, w, nil)[0]
	answered, dead := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(dead) })
	jobs := job.NewService(mongo.NewJobStore(p.DB), p.Changes, p.Now, testenv.Logger(t),
		job.Timing{Lease: time.Millisecond, Renew: time.Hour, Pause: time.Nanosecond})
	go func() {
		ctx := tenant.NewContext(context.WithoutCancel(t.Context()), testenv.One)
		_ = jobs.Work(ctx, d.JobID, 1, func(ctx context.Context, r *job.Run) error {
			p.endpoint.answers(func(w http.ResponseWriter, r *http.Request, body []byte) {
				echo(w, r, body)
				close(answered)
				<-dead
			})
			return p.webhooks.Deliver(ctx, r)
		})
	}()
	<-answered
	p.endpoint.answers(echo)
	p.Sleep(time.Second)
	if n, err := jobs.RecoverDead(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("%d dead, %v", n, err)
	}
	p.Sleep(time.Second)
	p.Work(t.Context())
	got := p.endpoint.events()
	if len(got) != 2 || got[0].id != got[1].id || got[0].body != got[1].body {
		t.Errorf("called with %+v", got)
	}
	if d := p.deliveries(testenv.One, w, nil)[0]; d.State != webhook.Succeeded {
		t.Errorf("the delivery is %+v", d)
	}
}

// Many dispatchers make one delivery for each change.
func TestDispatchersExcludeEachOther(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.create")
	const subjects = 20
	for n := range subjects {
		p.Subject(p.As(testenv.One), "K-"+strconv.Itoa(n))
	}
	p.ok(p.sealer.Seal(t.Context()))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := p.webhooks.Dispatch(tenant.System(t.Context(), "test")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	changes := map[string]int{}
	for _, d := range p.deliveries(testenv.One, w, nil) {
		changes[d.Change]++
	}
	if len(changes) != subjects {
		t.Errorf("deliveries of %d changes", len(changes))
	}
	for c, n := range changes {
		if n != 1 {
			t.Errorf("%d deliveries of %s", n, c)
		}
	}
}

// lame is a store that can't read one webhook.
type lame struct {
	webhook.Store
	lost string
}

func (l lame) Get(ctx context.Context, webhookID string) (*webhook.Webhook, error) {
	if webhookID == l.lost {
		return nil, errors.New("this one can't be read")
	}
	return l.Store.Get(ctx, webhookID)
}

// A webhook that can't be worked on holds up no other, of whichever tenant.
func TestAWebhookThatFailsHoldsUpNoOther(t *testing.T) {
	p := start(t)
	one, _ := p.hook(testenv.One, "subject.create")
	two, _ := p.hook(testenv.Two, "subject.create")
	whole := p.webhooks.Store
	for n, lost := range []string{one.ID, two.ID} {
		p.Subject(p.As(testenv.One), "K-"+strconv.Itoa(n))
		p.Subject(p.As(testenv.Two), "K-"+strconv.Itoa(n))
		p.ok(p.sealer.Seal(t.Context()))
		p.webhooks.Store = lame{whole, lost}
		if err := p.webhooks.Dispatch(tenant.System(t.Context(), "test")); err == nil || !strings.Contains(err.Error(), lost) {
			t.Errorf("the fault is told as %v", err)
		}
		p.webhooks.Store = whole
	}
	if a, b := len(p.deliveries(testenv.One, one, nil)), len(p.deliveries(testenv.Two, two, nil)); a != 2 || b != 1 {
		t.Errorf("%d and %d deliveries", a, b)
	}
}

// Changes beyond what an endpoint takes wait in the feed.
func TestABacklogWaitsInTheFeed(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "test.*")
	rows := make([]any, webhook.MaxPending+150)
	for i := range rows {
		rows[i] = bson.D{
			{Key: "_id", Value: id.New(id.Audit, testenv.One)},
			{Key: "tenant", Value: testenv.One},
			{Key: "at", Value: p.Now()},
			{Key: "action", Value: "test.many"},
			{Key: "change", Value: "OPEN"},
			{Key: "unsealed", Value: true},
		}
	}
	p.ok(p.Stored("audit").InsertMany(t.Context(), rows))
	count := func() int { return p.Count(t.Context(), "deliveries", bson.D{{Key: "webhook", Value: w.ID}}) }
	p.dispatch()
	p.dispatch()
	if n := count(); n != webhook.MaxPending {
		t.Errorf("%d deliveries wait", n)
	}
	_, err := p.Stored("deliveries").UpdateMany(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: "SUCCEEDED"}}}})
	p.ok(nil, err)
	p.dispatch()
	if n := count(); n != len(rows) {
		t.Errorf("%d deliveries in the end", n)
	}
	p.Sleep(webhook.Keep - time.Hour)
	p.ok(nil, p.webhooks.Sweep(tenant.System(t.Context(), "test")))
	if n := count(); n != len(rows) {
		t.Errorf("%d deliveries are kept", n)
	}
	p.Sleep(2 * time.Hour)
	p.ok(nil, p.webhooks.Sweep(tenant.System(t.Context(), "test")))
	if n := count(); n != 150 { // those that are pending
		t.Errorf("%d deliveries are left", n)
	}
}

func TestDeleted(t *testing.T) {
	p := start(t)
	w, _ := p.hook(testenv.One, "subject.create")
	p.Subject(p.As(testenv.One), "K-1")
	p.dispatch()
	d := p.deliveries(testenv.One, w, nil)[0]
	p.ok(nil, p.webhooks.Delete(p.As(testenv.One), webhook.Input{ID: w.ID}))
	p.Work(t.Context())
	if got := p.endpoint.events(); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
	got, err := p.webhooks.GetDelivery(p.As(testenv.One), d.ID)
	if err != nil || got.State != webhook.Failed || *got.Problem != webhook.ProblemDeleted {
		t.Errorf("the delivery is %+v, %v", got, err)
	}
	if err := p.webhooks.Delete(p.As(testenv.One), webhook.Input{ID: w.ID}); !errors.Is(err, webhook.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestWhatAWebhookMayBe(t *testing.T) {
	p := start(t)
	public := webhook.NewService(webhook.Config{
		Store: mongo.NewWebhookStore(p.DB, p.Vault), Feed: p.feed, Client: webhook.NewClient(false, nil, most, p.Now),
		Changes: p.Changes, Vault: p.Vault, Log: testenv.Logger(t), Now: p.Now,
	})
	good := []string{"*"}
	for _, tt := range []struct {
		url    string
		events []string
		want   error
	}{
		{"https://hooks.kunde.example/vogter?a=1", []string{"record.update", "job.*", "*"}, nil},
		{"http://hooks.kunde.example/", good, webhook.ErrURL},
		{"ftp://hooks.kunde.example/", good, webhook.ErrURL},
		{"https://user:pw@hooks.kunde.example/", good, webhook.ErrURL},
		{"https://hooks.kunde.example/#x", good, webhook.ErrURL},
		{"https:///path", good, webhook.ErrURL},
		{"hooks.kunde.example", good, webhook.ErrURL},
		{"https://hooks.kunde.example/" + strings.Repeat("a", 2000), good, webhook.ErrURL},
		{"https://127.0.0.1/", good, webhook.ErrAddress},
		{"https://[::ffff:10.0.0.1]/", good, webhook.ErrAddress},
		{"https://169.254.169.254/latest", good, webhook.ErrAddress},
		{"https://a.example/", nil, webhook.ErrEvents},
		{"https://a.example/", []string{"record"}, webhook.ErrEvents},
		{"https://a.example/", []string{"rec*"}, webhook.ErrEvents},
		{"https://a.example/", []string{"record.update.*"}, webhook.ErrEvents},
		{"https://a.example/", []string{""}, webhook.ErrEvents},
	} {
		_, _, err := public.Create(p.As(testenv.One), webhook.CreateInput{URL: tt.url, Events: tt.events})
		if !errors.Is(err, tt.want) {
			t.Errorf("%.60s for %q: %v", tt.url, tt.events, err)
		}
	}
	for range webhook.MaxWebhooks - 1 {
		p.ok(nil, third(public.Create(p.As(testenv.One), webhook.CreateInput{URL: "https://a.example/", Events: good})))
	}
	if _, _, err := public.Create(p.As(testenv.One), webhook.CreateInput{URL: "https://a.example/", Events: good}); !errors.Is(err, webhook.ErrTooMany) {
		t.Errorf("webhooks without end: %v", err)
	}
}

// A name that leads to this machine, and a certificate of nobody known.
func TestWhatIsNotCalled(t *testing.T) {
	for name, tt := range map[string]struct {
		private bool
		url     func(*endpoint) string
		want    string
	}{
		"a private address":      {false, func(e *endpoint) string { return "https://localhost:" + e.URL[strings.LastIndex(e.URL, ":")+1:] }, "ADDRESS"},
		"an unknown certificate": {true, func(e *endpoint) string { return e.URL }, "TLS"},
		"no TLS at all":          {true, func(*endpoint) string { return "http-only" }, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			url := tt.url(p.endpoint)
			if url == "http-only" {
				plain := httptest.NewServer(http.NotFoundHandler())
				t.Cleanup(plain.Close)
				url = strings.Replace(plain.URL, "http:", "https:", 1)
			}
			s := webhook.NewService(webhook.Config{
				Store: mongo.NewWebhookStore(p.DB, p.Vault), Feed: p.feed, Client: webhook.NewClient(tt.private, nil, most, p.Now),
				Changes: p.Changes, Vault: p.Vault, Log: testenv.Logger(t), Now: p.Now,
			})
			p.Handle(webhook.JobVerify, s.VerifyEndpoint)
			w, _, err := s.Create(p.As(testenv.One), webhook.CreateInput{URL: url, Events: []string{"*"}})
			p.ok(nil, err)
			_, jobID, err := s.Verify(p.As(testenv.One), webhook.Input{ID: w.ID})
			p.ok(nil, err)
			for range 6 {
				p.Work(t.Context())
				p.Sleep(time.Hour)
			}
			j, err := p.Jobs.Get(p.As(testenv.One), jobID)
			if err != nil || j.State != job.Parked || !strings.HasSuffix(j.Error.Message, tt.want) {
				t.Errorf("the job is %+v with %+v, %v", j.State, j.Error, err)
			}
			if len(p.endpoint.calls) != 0 {
				t.Error("it was called")
			}
		})
	}
}

func TestReachable(t *testing.T) {
	for ip, want := range map[string][2]bool{ // by default, and with private networks allowed
		"93.184.216.34": {true, true}, "2606:2800:220:1::1": {true, true}, "::ffff:93.184.216.34": {true, true},
		"127.0.0.1": {false, true}, "10.1.2.3": {false, true}, "172.16.0.1": {false, true}, "172.31.255.255": {false, true},
		"192.168.1.1": {false, true}, "100.64.0.1": {false, true}, "198.18.0.1": {false, true}, "::1": {false, true}, "fc00::1": {false, true},
		"fd12::1": {false, true}, "::ffff:10.0.0.1": {false, true}, "::ffff:127.0.0.1": {false, true},
		"172.32.0.1": {true, true}, "100.128.0.1": {true, true},
		"0.0.0.0": {}, "0.1.2.3": {}, "169.254.169.254": {}, "::ffff:169.254.169.254": {}, "fd00:ec2::254": {}, "100.100.100.200": {},
		"168.63.129.16": {}, "224.0.0.1": {}, "239.1.1.1": {}, "240.0.0.1": {}, "255.255.255.255": {}, "192.0.0.192": {}, "192.0.2.1": {},
		"198.51.100.1": {}, "203.0.113.1": {}, "::": {}, "::a00:1": {}, "64:ff9b::a00:1": {}, "64:ff9b:1::1": {}, "100::1": {},
		"2001::1": {}, "2001:db8::1": {}, "2002:a00:1::": {}, "fe80::1": {}, "fe80::1%eth0": {}, "fec0::1": {}, "ff02::1": {}, "4000::1": {},
	} {
		if got := [2]bool{webhook.Reachable(ip, false), webhook.Reachable(ip, true)}; got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
}
