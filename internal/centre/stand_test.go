package centre_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/calendar"
	"github.com/vogter/vogter/internal/centre"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/mail"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// stand has the privacy centres of two tenants, "one" and "two", on a server.
type stand struct {
	*world.World

	requests *request.Service
	consents *consent.Service
	purposes *purpose.Service
	log      *log
	sink     *mailsink.Sink
	base     string
	staff    context.Context // of the first tenant
	members  map[authz.Role]*tenancy.Member
	keys     int
}

// log collects what the server logs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// nothing is what is found, and done, for a right in these tests.
type nothing struct{}

func (nothing) Search(context.Context, *request.Request, *request.Item) ([]request.Answer, error) {
	return []request.Answer{{System: "store", Result: request.None}}, nil
}

func (nothing) Carry(_ context.Context, _ *request.Request, item *request.Item, _ *job.Run) (request.Done, error) {
	return request.Done{Outcome: item.Proposal.Outcome}, nil
}

func (nothing) Effect(context.Context, *request.Request, *request.Item) (request.Done, error) {
	return request.Done{Outcome: request.Fulfilled}, nil
}

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

func start(t *testing.T) *stand {
	t.Helper()
	s := &stand{World: world.Start(t), log: &log{}, members: map[authz.Role]*tenancy.Member{}}
	s.staff = s.As(testenv.One)
	quiet, hasher := slog.New(slog.NewTextHandler(s.log, nil)), vault.Hasher{Vault: s.Vault}
	notices, err := notify.NewService(notify.Config{
		Store: mongo.NewNotifyStore(s.DB, s.Vault), Sender: s.mails(t), Changes: s.Changes, Log: quiet, Now: s.Now,
	})
	ok(t, err)
	tenants := tenancy.NewService(tenancy.Config{
		Store: mongo.NewTenantStore(s.DB, s.Vault), Changes: s.Changes, Recorder: s.Recorder, Vault: s.Vault, Hasher: hasher, Mail: notices, Now: s.Now,
	})
	s.furnish(t, tenants)
	redis, err := jobs.OpenRedis(testenv.Redis(t))
	ok(t, err)
	t.Cleanup(func() { ok(t, redis.Close()) })
	table, err := ratelimit.Parse("code.network=10000/1h,code.identifier=10000/1h,request.network=10000/1h")
	ok(t, err)
	limiter, err := ratelimit.New(ratelimit.Config{Redis: redis, Table: table, Log: quiet, Now: s.Now, Key: func(ctx context.Context) ([32]byte, error) {
		return hasher.Hash(tenant.NewContext(ctx, testenv.One), "limits", []byte("counters"))
	}})
	ok(t, err)
	subjects := mongo.NewSubjectStore(s.DB, s.Vault, quiet)
	entry := portal.NewService(portal.Config{
		Store: mongo.NewPortalStore(s.DB, s.Vault), Tenants: tenants, Subjects: subjects, Changes: s.Changes, Recorder: s.Recorder,
		Vault: s.Vault, Hasher: hasher, Limits: limiter, Mail: notices, Now: s.Now,
	})
	letters := s.rights(t, tenants, notices, subjects, quiet)
	ring := testenv.Ring(t, s.DB, s.Vault, s.Changes)
	s.permissions(t, ring, subjects, quiet)
	accesses := trail.NewService(trail.Config{
		Store: mongo.NewTrailStore(s.DB), Vault: s.Vault, Keys: s.Keys, Objects: s.Bucket, Authorizer: testenv.Authorizer(t), Recorder: s.Recorder,
		Signer: ring, Jobs: s.Jobs, Changes: s.Changes, Log: quiet, Now: s.Now,
	})
	given := disclosure.NewService(disclosure.Config{
		Store: mongo.NewDisclosureStore(s.DB, s.Vault, quiet), Subjects: subjects, Datasets: s.Datasets, Vault: s.Vault,
		Authorizer: testenv.Authorizer(t), Changes: s.Changes, Recorder: s.Recorder, Now: s.Now,
	})
	s.Downloads.Letters = letters
	c, err := centre.New(centre.Config{
		Tenants: tenants, Portal: entry, Requests: s.requests, Letters: letters, Consents: s.consents, Purposes: s.purposes,
		Receipts: receipt.NewService(receipt.Config{Consents: s.consents, Purposes: s.purposes, Signer: ring}), Accesses: accesses, Recipients: given,
		Downloads: s.Downloads, Authorizer: testenv.Authorizer(t), Permits: s.Recorder, Limits: limiter, Key: limiter.Key, Log: quiet, Now: s.Now,
		Processor: func(context.Context) (string, error) { return "Vogter Drift A/S", nil },
	})
	ok(t, err)
	h, err := server.New(server.Config{Log: quiet, Now: testenv.Now, Routes: c.Routes(), Limiter: limiter, Fail: c.Fail})
	ok(t, err)
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	s.base = web.URL
	s.Handle(notify.JobSend, notices.Send)
	s.Handle(portal.JobCode, entry.Deliver)
	s.Handle(request.JobSearch, s.requests.Search)
	s.Handle(request.JobCarry, s.requests.Carry)
	s.Handle(consent.JobCheck, s.consents.RunCheck)
	return s
}

// mails is the server for mail.
func (s *stand) mails(t *testing.T) notify.Sender {
	t.Helper()
	s.sink = mailsink.New(testenv.Logger(t), testenv.Now)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.sink.ServeSMTP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		ok(t, <-served)
	})
	sender, err := mail.New("smtp://"+l.Addr().String()+"/?disable_starttls=true", "Vogter <vogter@vogter.example>", nil)
	ok(t, err)
	return sender
}

// furnish gives the tenants public names, letterheads and members.
func (s *stand) furnish(t *testing.T, tenants *tenancy.Service) {
	t.Helper()
	calendar := "DK"
	for slug, of := range map[string]tenant.ID{"one": testenv.One, "two": testenv.Two} {
		_, err := tenants.Update(s.As(of), tenancy.UpdateInput{
			ID: string(of), ExpectedVersion: 1, Slug: &slug, HolidayCalendar: &calendar, Letterhead: &tenancy.Letterhead{
				Address: "Opdigtet Vej 1", Email: "privacy@" + slug + ".example", Phone: "+45 00 00 00 00",
				Authority: tenancy.Authority{
					Name: "Datatilsynet", Address: "Opdigtet Plads 2", Phone: "+45 00 00 00 01", Email: "dt@authority.example",
					Website: "https://authority.example",
				},
			},
		})
		ok(t, err)
	}
	for _, role := range []authz.Role{authz.RoleCaseHandler, authz.RoleApprover} {
		name := strings.ToLower(string(role))
		m, err := tenants.AddMember(s.staff, tenancy.AddMemberInput{
			Email: personal.NewText(name + "@one.example"), Role: role, Identity: "identity-of-" + name,
		})
		ok(t, err)
		s.members[role] = m
	}
}

// rights makes the service of requests, and returns the post.
func (s *stand) rights(t *testing.T, tenants *tenancy.Service, notices *notify.Service, subjects *mongo.SubjectStore, quiet *slog.Logger) *post.Service {
	t.Helper()
	library, err := letter.NewLibrary()
	ok(t, err)
	works := map[request.Type]request.Work{}
	for _, of := range request.Types() {
		works[of] = nothing{}
	}
	letters := post.NewService(post.Config{
		Store: mongo.NewPostStore(s.DB, s.Vault), Library: library, Tenants: tenants, Subjects: subjects, Works: works, Mail: notices,
		Letters: letter.NewService(letter.Config{Library: library, Store: mongo.NewLetterStore(s.DB), Tenants: tenants, Changes: s.Changes, Now: s.Now}),
		Changes: s.Changes, BaseURL: world.BaseURL, Now: s.Now,
	})
	s.requests = request.NewService(request.Config{
		Store: mongo.NewRequestStore(s.DB, s.Vault), Changes: s.Changes, Recorder: s.Recorder,
		Calendars: calendar.NewService(mongo.NewCalendarStore(s.DB), tenants, s.Changes), Subjects: subjects, Members: tenants,
		Works: works, Post: letters, Vault: s.Vault, Log: quiet, Now: s.Now,
	})
	return letters
}

// permissions makes the services of purposes and consents.
func (s *stand) permissions(t *testing.T, ring ledger.Signer, subjects *mongo.SubjectStore, quiet *slog.Logger) {
	t.Helper()
	s.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(s.DB), Notices: mongo.NewNoticeStore(s.DB), Tenants: mongo.NewTenantStore(s.DB, s.Vault),
		Datasets: s.Datasets, Changes: s.Changes, Now: s.Now,
	})
	withdrawals := ledger.New(ledger.Config{Store: mongo.NewLedgerStore(s.DB), Objects: s.Bucket, Signer: ring, Now: s.Now, Keep: time.Hour})
	ok(t, withdrawals.Check(tenant.System(t.Context(), "test"), "db", nil))
	var err error
	s.consents, err = consent.NewService(consent.Config{
		Store: mongo.NewConsentStore(s.DB, s.Vault, quiet), Purposes: s.purposes, Subjects: subjects, Datasets: s.Datasets,
		Records: mongo.NewRecordStore(s.DB, s.Vault, quiet), Files: s.Files, Vault: s.Vault, Ledger: withdrawals, Looker: testenv.Authorizer(t),
		Regions: denmark{}, Recorder: s.Recorder, Changes: s.Changes, Log: quiet, Now: s.Now,
	})
	ok(t, err)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(s string) *personal.Text {
	return new(personal.NewText(s))
}

// person makes a person with an address of a tenant.
func (s *stand) person(t *testing.T, of tenant.ID, email string) *subject.Subject {
	t.Helper()
	made, err := s.Subjects.Create(s.As(of), subject.CreateInput{
		Name: &subject.NameInput{Full: text("Åse Ødegård")}, BirthDate: text("1961-04-05"), Emails: []personal.Text{personal.NewText(email)},
	})
	ok(t, err)
	return made
}

// as is a call of a member of the first tenant.
func (s *stand) as(role authz.Role) context.Context {
	m := s.members[role]
	return authz.NewContext(tenant.NewContext(s.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: testenv.One, Role: m.Role, AAL: authz.AAL2, AuthenticatedAt: s.Now(),
	})
}

// once is ctx with an Idempotency-Key of its own.
func (s *stand) once(ctx context.Context) context.Context {
	s.keys++
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(s.keys), Input: []byte(strconv.Itoa(s.keys))})
}

// newsletter publishes a purpose that rests on consent, with its notice.
func (s *stand) newsletter(t *testing.T) *purpose.Notice {
	t.Helper()
	party := func(name, role string) purpose.Party {
		return purpose.Party{ID: "CVR 1", Type: purpose.Organisation, Role: role, Name: name, Address: "Vej 1", Country: "DK", Contact: "tlf.", Email: new("a@b.example")}
	}
	authority := party("Datatilsynet", "dpv:DataProtectionAuthority")
	p, err := s.purposes.Create(s.once(s.staff), purpose.CreateInput{Key: "letters", Content: purpose.Content{
		Term: "dpv:DirectMarketing", LegalBasis: purpose.Consent, ValidityMonths: 24,
		Texts: []purpose.Text{{Language: "da", Name: "Nyhedsbrev", Description: "Vi skriver"}, {Language: "en", Name: "Newsletter", Description: "We write"}},
		Data:  []purpose.Data{{Term: "pd:EmailAddress", Class: dataset.Ordinary}},
	}})
	ok(t, err)
	_, err = s.purposes.Publish(s.staff, purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit})
	ok(t, err)
	n, err := s.purposes.CreateNotice(s.once(s.staff), purpose.CreateNoticeInput{Key: "n", Content: purpose.NoticeContent{
		Purposes: []string{"letters"}, Facts: purpose.Facts{
			Controllers: []purpose.Party{party("Første ApS", "dpv:DataController")}, Recipients: []purpose.Party{party("Postbud ApS", "dpv:Recipient")},
			Authority: &authority, StorageLocations: []string{"DK"}, ProcessingLocations: []string{"DK"}, Jurisdiction: "DK",
			Rights: []string{"eu-gdpr:A7-3", "eu-gdpr:A77"}, Operations: []string{"dpv:Use"},
		},
		Texts: []purpose.NoticeText{
			{Language: "da", Title: "Nyt fra os", Body: "Må vi skrive?", Collection: "Du skriver dem.", Withdrawal: "Klik.", Retention: "To år."},
			{Language: "en", Title: "News", Body: "May we write?", Collection: "You type them.", Withdrawal: "Click.", Retention: "Two years."},
		},
	}})
	ok(t, err)
	n, err = s.purposes.PublishNotice(s.staff, purpose.PublishInput{ID: n.ID, ExpectedEdit: n.Edit})
	ok(t, err)
	return n
}

// browser is somebody at a browser.
type browser struct {
	*stand

	client *http.Client
	lang   string
	gpc    bool
	seen   []string // the addresses that were called
	kept   []string // the cookies that were set
}

func (s *stand) browser(lang string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	b := &browser{stand: s, lang: lang}
	b.client = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, r.URL.String())
		b.kept = append(b.kept, r.Response.Header.Values("Set-Cookie")...)
		return nil
	}}
	return b
}

// shown is a page that came back.
type shown struct {
	t      *testing.T
	path   string // where the browser is now
	status int
	header http.Header
	body   string
	doc    *html.Node
}

func (b *browser) call(t *testing.T, method, path string, form url.Values) *shown {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	b.seen = append(b.seen, path)
	r, err := http.NewRequestWithContext(t.Context(), method, b.base+path, body)
	ok(t, err)
	r.Header.Set("Accept-Language", b.lang)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.gpc {
		r.Header.Set("Sec-GPC", "1")
	}
	res, err := b.client.Do(r)
	ok(t, err)
	defer func() { ok(t, res.Body.Close()) }()
	b.kept = append(b.kept, res.Header.Values("Set-Cookie")...)
	raw, err := io.ReadAll(res.Body)
	ok(t, err)
	doc, err := html.Parse(bytes.NewReader(raw))
	ok(t, err)
	return &shown{t, res.Request.URL.RequestURI(), res.StatusCode, res.Header, string(raw), doc}
}

func (b *browser) get(t *testing.T, path string) *shown {
	t.Helper()
	return b.call(t, http.MethodGet, path, nil)
}

// nodes returns the elements for which is holds, in their order.
func nodes(n *html.Node, is func(*html.Node) bool) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && is(d) {
			found = append(found, d)
		}
	}
	return found
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func tag(names ...string) func(*html.Node) bool {
	return func(n *html.Node) bool { return slices.Contains(names, n.Data) }
}

// words is the visible text of an element.
func words(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "title" {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (p *shown) text() string { return words(p.doc) }

func (p *shown) says(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if !strings.Contains(p.text(), w) {
			p.t.Errorf("%s (%d) doesn't say %q: %s", p.path, p.status, w, p.text())
		}
	}
}

// form fills in the form in which the button is, as a browser would, and with
// values on top.
func (p *shown) form(button string, values url.Values) (action string, filled url.Values) {
	p.t.Helper()
	for _, f := range nodes(p.doc, tag("form")) {
		pressed := slices.IndexFunc(nodes(f, tag("button")), func(n *html.Node) bool { return strings.HasPrefix(words(n), button) })
		if pressed < 0 {
			continue
		}
		filled = url.Values{}
		for _, n := range nodes(f, tag("input", "textarea")) {
			name, value := attr(n, "name"), attr(n, "value")
			if n.Data == "textarea" {
				value = words(n)
			}
			if attr(n, "type") != "checkbox" || has(n, "checked") {
				filled.Add(name, value)
			}
		}
		if n := nodes(f, tag("button"))[pressed]; has(n, "name") {
			filled.Set(attr(n, "name"), attr(n, "value"))
		}
		maps.Copy(filled, values)
		return attr(f, "action"), filled
	}
	p.t.Fatalf("%s (%d) has no button %q: %s", p.path, p.status, button, p.text())
	return "", nil
}

// press presses a button of a page.
func (b *browser) press(t *testing.T, p *shown, button string, values url.Values) *shown {
	t.Helper()
	action, filled := p.form(button, values)
	return b.call(t, http.MethodPost, action, filled)
}

// codes are those mailed to an address so far.
func (s *stand) codes(address string) (codes []string) {
	for _, m := range s.sink.Messages() {
		if code := regexp.MustCompile(`\b\d{8}\b`).FindString(m.Text); slices.Contains(m.To, address) && code != "" {
			codes = append(codes, code)
		}
	}
	return codes
}

// signIn shows who somebody is, from a page that asks for it, and returns the page
// that follows.
func (b *browser) signIn(t *testing.T, p *shown, address string) *shown {
	t.Helper()
	p = b.press(t, p, "Send", url.Values{"who": {address}})
	b.Work(t.Context())
	codes := b.codes(address)
	if len(codes) == 0 {
		t.Fatalf("no code came to %s: %s", address, p.text())
	}
	return b.press(t, p, map[string]string{"da": "Fortsæt", "en": "Continue"}[b.lang], url.Values{"code": {codes[len(codes)-1]}})
}

// accessible checks what can be told from the markup.
func (p *shown) accessible() {
	p.t.Helper()
	ids := map[string]bool{}
	for _, n := range nodes(p.doc, func(n *html.Node) bool { return has(n, "id") }) {
		if ids[attr(n, "id")] {
			p.t.Errorf("%s: id %s is there twice", p.path, attr(n, "id"))
		}
		ids[attr(n, "id")] = true
	}
	labels := map[string]bool{}
	for _, n := range nodes(p.doc, tag("label")) {
		labels[attr(n, "for")] = true
	}
	for _, n := range nodes(p.doc, tag("input", "textarea", "select")) {
		if attr(n, "type") != "hidden" && !labels[attr(n, "id")] {
			p.t.Errorf("%s: field %s has no label", p.path, attr(n, "name"))
		}
	}
	for _, n := range nodes(p.doc, func(n *html.Node) bool { return has(n, "aria-describedby") }) {
		for id := range strings.FieldsSeq(attr(n, "aria-describedby")) {
			if !ids[id] {
				p.t.Errorf("%s: described by %s, which isn't there", p.path, id)
			}
		}
	}
	for _, n := range nodes(p.doc, tag("a")) {
		if to, inside := strings.CutPrefix(attr(n, "href"), "#"); inside && !ids[to] {
			p.t.Errorf("%s: link to %s, which isn't there", p.path, to)
		}
	}
	for what, n := range map[string]int{"h1": 1, "main": 1, "header": 1, "footer": 1, "title": 1} {
		if got := len(nodes(p.doc, tag(what))); got != n {
			p.t.Errorf("%s: %d × %s", p.path, got, what)
		}
	}
	level := 1
	for _, n := range nodes(p.doc, tag("h1", "h2", "h3", "h4")) {
		now := int(n.Data[1] - '0')
		if now > level+1 {
			p.t.Errorf("%s: heading %q skips a level", p.path, words(n))
		}
		level = now
	}
	for _, n := range nodes(p.doc, func(*html.Node) bool { return true }) {
		if n.Data == "script" || has(n, "style") || has(n, "tabindex") && attr(n, "tabindex") != "-1" || has(n, "autofocus") {
			p.t.Errorf("%s: %s", p.path, fmt.Sprint(n.Data, n.Attr))
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				p.t.Errorf("%s: a script in %s", p.path, a.Key)
			}
		}
	}
	first := nodes(p.doc, tag("a", "button", "input", "textarea", "summary"))[0]
	if attr(first, "class") != "skip" {
		p.t.Errorf("%s: the first stop isn't the skip link", p.path)
	}
	h := p.header
	if h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Referrer-Policy") != "no-referrer" {
		p.t.Errorf("%s: headers %v", p.path, h)
	}
}
