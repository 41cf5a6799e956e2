package opendsr_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/opendsr"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/webhook"
)

// desk is a platform that takes requests over HTTP, and a sender with a callback.
type desk struct {
	*world.World

	requests *request.Service
	ring     *sign.Ring
	api      *httptest.Server
	callback *httptest.Server

	mu    sync.Mutex
	fails int // how many callbacks are still refused
	told  []called
}

// called is a callback that came.
type called struct {
	header http.Header
	body   []byte
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T) *desk {
	t.Helper()
	d := &desk{World: world.Start(t)}
	log, hasher := testenv.Logger(t), vault.Hasher{Vault: d.Vault}
	mails, err := notify.NewService(notify.Config{Store: mongo.NewNotifyStore(d.DB, d.Vault), Changes: d.Changes, Log: log, Now: d.Now})
	ok(t, err)
	tenants := tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(d.DB, d.Vault), Changes: d.Changes, Recorder: d.Recorder, Vault: d.Vault, Hasher: hasher, Mail: mails, Now: d.Now,
	})
	holidays := "DK"
	for _, of := range []tenant.ID{testenv.One, testenv.Two} {
		_, err := tenants.Update(d.As(of), tenancy.UpdateInput{ID: string(of), ExpectedVersion: 1, HolidayCalendar: &holidays})
		ok(t, err)
	}
	library, err := letter.NewLibrary()
	ok(t, err)
	subjects := mongo.NewSubjectStore(d.DB, d.Vault, log)
	letters := post.NewService(post.Config{
		Store: mongo.NewPostStore(d.DB, d.Vault), Library: library, Tenants: tenants, Subjects: subjects, Mail: mails, Changes: d.Changes,
		Letters: letter.NewService(letter.Config{Library: library, Store: mongo.NewLetterStore(d.DB), Tenants: tenants, Changes: d.Changes, Now: d.Now}),
		BaseURL: world.BaseURL, Now: d.Now,
	})
	d.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(d.DB, d.Vault), Changes: d.Changes, Recorder: d.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(d.DB), tenants, d.Changes), Subjects: subjects, Members: tenants,
		Post: opendsr.Post{Post: letters}, Vault: d.Vault, Log: log, Now: d.Now,
	})
	d.ring = testenv.Ring(t, d.DB, d.Vault, d.Changes)
	s := opendsr.NewService(opendsr.Config{
		Store: mongo.NewOpenDSRStore(d.DB), Requests: d.requests, Subjects: subjects, Tenants: tenants, Hasher: hasher, Signer: d.ring,
		Caller: webhook.NewClient(true, nil, 2, d.Now), Changes: d.Changes, Private: true, Domain: "vogter.example",
		KeySet: world.BaseURL + "/.well-known/jwks.json", Now: d.Now,
	})
	mux := http.NewServeMux()
	for _, r := range (&opendsr.API{Service: s, Authorizer: testenv.Authorizer(t), Permits: d.Recorder, Log: log}).Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	d.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(d.caller(r)))
	}))
	t.Cleanup(d.api.Close)
	d.callback = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.fails > 0 {
			d.fails--
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		body, _ := io.ReadAll(r.Body)
		d.told = append(d.told, called{r.Header, body})
	}))
	t.Cleanup(d.callback.Close)
	d.Handle(opendsr.JobCallback, s.Callback)
	d.Handle(request.JobSearch, func(context.Context, *job.Run) error { return nil })
	d.Handle(notify.JobSend, func(context.Context, *job.Run) error { return nil })
	return d
}

// caller is who is calling by the header Authorization: a system of the tenant that
// it names, or one without permissions.
func (d *desk) caller(r *http.Request) context.Context {
	ctx, of := r.Context(), tenant.ID(r.Header.Get("Authorization"))
	if of == "" {
		return ctx
	}
	p := authz.Principal{Kind: authz.KindMachine, ID: "key_" + string(of), Tenant: of}
	if r.Header.Get("Powerless") == "" {
		p.Grants = []authz.Permission{authz.RequestOpen, authz.RequestRead}
	}
	return authz.NewContext(tenant.NewContext(ctx, of), p)
}

// call makes a call of a tenant's system, and checks the signature of what comes.
func (d *desk) call(t *testing.T, of tenant.ID, method, path, body string) (status int, answer map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.api.URL+"/v1/opendsr/"+path, strings.NewReader(body))
	ok(t, err)
	r.Header.Set("Authorization", string(of))
	res, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer func() { ok(t, res.Body.Close()) }()
	got, err := io.ReadAll(res.Body)
	ok(t, err)
	if res.StatusCode < 300 {
		d.vouched(t, res.Header, got)
	}
	ok(t, json.Unmarshal(got, &answer))
	return res.StatusCode, answer
}

// vouched checks a signature, and that it is of nothing else.
func (d *desk) vouched(t *testing.T, h http.Header, body []byte) {
	t.Helper()
	keys, err := d.ring.Keys(tenant.System(t.Context(), "test"))
	ok(t, err)
	if err := opendsr.Verify(keys, h.Get(opendsr.HeaderSignature), body); err != nil || h.Get(opendsr.HeaderDomain) != "vogter.example" {
		t.Errorf("%s isn't vouched for: %v %v", body, err, h)
	}
	if opendsr.Verify(keys, h.Get(opendsr.HeaderSignature), append(body, ' ')) == nil || opendsr.Verify(keys, "x", body) == nil {
		t.Error("anything is vouched for")
	}
}

const sentID = "a7551968-d5d6-44b2-9831-815ac9017798"

func (d *desk) body(id, kind, identities string) string {
	return fmt.Sprintf(`{"regulation":"gdpr","subject_request_id":%q,"subject_request_type":%q,"submitted_time":%q,"subject_identities":%s,
		"api_version":"3.0","status_callback_urls":[%q]}`, id, kind, d.Now().Add(-time.Hour).UTC().Format(time.RFC3339), identities, d.callback.URL+"/status")
}

const known = `{"email":{"value":"aase@mail.example","encoding":"raw"}}`

// TestTake: a request is there once by its sender's id, says nothing of whether the
// person is known, and tells the sender how it goes on.
func TestTake(t *testing.T) {
	d := start(t)
	staff := d.As(testenv.One)
	me, err := d.Subjects.Create(staff, subject.CreateInput{Emails: []personal.Text{personal.NewText("aase@mail.example")}})
	ok(t, err)
	status, found := d.call(t, testenv.One, http.MethodGet, "discovery", "")
	types, _ := found["supported_subject_request_types"].([]any)
	if status != http.StatusOK || len(types) != len(request.Types()) || found["api_version"] != opendsr.Version {
		t.Errorf("discovery: %d %v", status, found)
	}
	body := d.body(sentID, "erasure", known)
	status, taken := d.call(t, testenv.One, http.MethodPost, "requests", body)
	if status != http.StatusCreated || taken["subject_request_id"] != sentID || taken["controller_id"] != string(testenv.One) ||
		taken["encoded_request"] != base64.StdEncoding.EncodeToString([]byte(body)) {
		t.Fatalf("taken %d %v", status, taken)
	}
	if status, again := d.call(t, testenv.One, http.MethodPost, "requests", body); status != http.StatusCreated || again["received_time"] != taken["received_time"] {
		t.Errorf("sent again: %d %v", status, again)
	}
	all, err := d.requests.List(staff, nil, page.Request{First: 10})
	ok(t, err)
	if len(all.Nodes()) != 1 {
		t.Fatalf("%d requests", len(all.Nodes()))
	}
	r := all.Nodes()[0]
	if r.Channel != request.ByOpenDSR || r.Subject != me.ID || r.State != request.Received || r.Identity.Verified() || r.Items[0].Type != request.Erasure ||
		!strings.Contains(r.Message.Reveal(), "aase@mail.example") || r.ReceivedAt.After(d.Now().Add(-time.Hour)) {
		t.Errorf("stored %+v", r)
	}
	other := "b7551968-d5d6-44b2-9831-815ac9017798"
	status, unknown := d.call(t, testenv.One, http.MethodPost, "requests",
		d.body(other, "erasure", `[{"identity_type":"email","identity_value":"nobody@mail.example","identity_format":"raw"}]`))
	if status != http.StatusCreated || len(unknown) != len(taken) || unknown["expected_completion_time"] != taken["expected_completion_time"] {
		t.Errorf("of somebody unknown: %d %v", status, unknown)
	}
	if status, e := d.call(t, testenv.One, http.MethodPost, "requests", d.body(sentID, "access", known)); status != http.StatusConflict {
		t.Errorf("something else under the id: %d %v", status, e)
	}

	// Another tenant has nothing under the id, and may use it for its own.
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if status, e := d.call(t, testenv.Two, method, "requests/"+sentID, ""); status != http.StatusNotFound {
			t.Errorf("another tenant: %s %d %v", method, status, e)
		}
	}
	if status, e := d.call(t, testenv.Two, http.MethodPost, "requests", body); status != http.StatusCreated || e["controller_id"] != string(testenv.Two) {
		t.Errorf("another tenant takes the id: %d %v", status, e)
	}

	if status, e := d.call(t, testenv.One, http.MethodGet, "requests/"+sentID, ""); status != http.StatusOK || e["request_status"] != "pending" {
		t.Errorf("status: %d %v", status, e)
	}
	d.fails = 1
	_, err = d.requests.Identify(staff, request.IdentifyInput{ID: r.ID, ExpectedVersion: r.Version, Subject: me.ID, Method: request.CallBack})
	ok(t, err)
	worker := tenant.System(t.Context(), "worker")
	d.Work(worker)
	for range 3 {
		d.Sleep(time.Hour)
		d.Work(worker)
	}
	if len(d.told) != 1 {
		t.Fatalf("told %d times", len(d.told))
	}
	d.vouched(t, d.told[0].header, d.told[0].body)
	var told map[string]any
	ok(t, json.Unmarshal(d.told[0].body, &told))
	if told["request_status"] != "in_progress" || told["status_callback_url"] != d.callback.URL+"/status" || told["subject_request_id"] != sentID {
		t.Errorf("told %v", told)
	}

	if status, e := d.call(t, testenv.One, http.MethodDelete, "requests/"+sentID, ""); status != http.StatusAccepted || e["subject_request_id"] != sentID {
		t.Errorf("cancelled: %d %v", status, e)
	}
	d.Work(worker)
	if status, e := d.call(t, testenv.One, http.MethodGet, "requests/"+sentID, ""); e["request_status"] != "cancelled" || len(d.told) != 2 {
		t.Errorf("after cancelling: %d %v, told %d times", status, e, len(d.told))
	}
	if status, e := d.call(t, testenv.One, http.MethodDelete, "requests/"+sentID, ""); status != http.StatusUnprocessableEntity {
		t.Errorf("cancelled twice: %d %v", status, e)
	}
}

// TestRefused: what isn't as it must be is refused without a word of what it was.
func TestRefused(t *testing.T) {
	d := start(t)
	good := d.body(sentID, "access", known)
	for name, tt := range map[string]struct{ body, field string }{
		"no JSON":         {"x", ""},
		"no id":           {strings.Replace(good, sentID, "1", 1), "subject_request_id"},
		"upper case":      {strings.Replace(good, sentID, strings.ToUpper(sentID), 1), "subject_request_id"},
		"another law":     {strings.Replace(good, "gdpr", "ccpa", 1), "regulation"},
		"no such right":   {strings.Replace(good, "access", "everything", 1), "subject_request_type"},
		"no time":         {strings.Replace(good, "submitted_time", "time", 1), "submitted_time"},
		"a hash":          {strings.Replace(good, "raw", "sha256", 1), "subject_identities"},
		"no such kind":    {strings.Replace(good, `"email"`, `"android_id"`, 1), "subject_identities"},
		"no address":      {strings.Replace(good, "aase@mail.example", "aase", 1), "subject_identities"},
		"nobody":          {d.body(sentID, "access", "[]"), "subject_identities"},
		"a future time":   {strings.Replace(good, d.Now().UTC().Format("2006"), "2999", 1), "submitted_time"},
		"a bad callback":  {strings.Replace(good, d.callback.URL, "ftp://x", 1), "status_callback_urls.url"},
		"another version": {strings.Replace(good, "3.0", "9.0", 1), "api_version"},
	} {
		status, e := d.call(t, testenv.One, http.MethodPost, "requests", tt.body)
		told, _ := json.Marshal(e)
		var failed struct {
			Error struct {
				Code   int
				Errors []struct{ Reason string }
			}
		}
		ok(t, json.Unmarshal(told, &failed))
		if status != http.StatusBadRequest || failed.Error.Code != status || failed.Error.Errors[0].Reason != tt.field || strings.Contains(string(told), "aase") {
			t.Errorf("%s: %d %s", name, status, told)
		}
	}
	if status, _ := d.call(t, testenv.One, http.MethodPost, "requests", strings.Repeat(" ", 70_000)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge body: %d", status)
	}
	if status, _ := d.call(t, "", http.MethodPost, "requests", good); status != http.StatusUnauthorized {
		t.Errorf("nobody: %d", status)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.api.URL+"/v1/opendsr/requests", strings.NewReader(good))
	ok(t, err)
	r.Header.Set("Authorization", string(testenv.One))
	r.Header.Set("Powerless", "1")
	res, err := http.DefaultClient.Do(r)
	ok(t, err)
	ok(t, res.Body.Close())
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("without the permission: %d", res.StatusCode)
	}
	if c, err := d.requests.List(d.As(testenv.One), nil, page.Request{First: 1}); err != nil || len(c.Nodes()) != 0 {
		t.Errorf("something was taken: %v", err)
	}
	if _, err := d.requests.Get(d.As(testenv.One), id.New(id.Request, testenv.One)); err == nil {
		t.Error("a request is there that isn't")
	}
}
