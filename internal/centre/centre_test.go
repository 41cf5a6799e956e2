package centre_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/centre"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

const secret = "my leg was broken in Odense"

// TestRequest: somebody asks before they say who they are, proves it by a code, and
// follows the request to its answer.
func TestRequest(t *testing.T) {
	s := start(t)
	const address = "aase@mail.example"
	me := s.person(t, testenv.One, address)
	b := s.browser("da")
	p := b.get(t, "/p/one")
	p.accessible()
	p.says("Første ApS", "Se dine oplysninger", "Opdigtet Vej 1", "Datatilsynet", "Vogter Drift A/S")

	p = b.get(t, "/p/one/ask?type=ACCESS")
	p.accessible()
	p = b.press(t, p, "Fortsæt", url.Values{"type": nil})
	if p.status != http.StatusUnprocessableEntity {
		t.Errorf("asking for nothing: %d", p.status)
	}
	p.accessible()
	p.says("Vælg mindst én ting.")
	if title := nodes(p.doc, tag("title"))[0].FirstChild.Data; !strings.HasPrefix(title, "Fejl: ") {
		t.Errorf("title of a page with faults: %s", title)
	}
	p = b.press(t, p, "Fortsæt", url.Values{"type": {"ACCESS", "ERASURE"}})
	p.accessible()
	p = b.press(t, p, "Fortsæt", url.Values{"words": {secret + ` <script>alert("x")</script>`}})
	p.accessible()
	p = b.press(t, p, "Fortsæt", url.Values{"contact": {" "}})
	p.accessible()
	p.says("Skriv, hvor vi kan nå dig")
	p = b.press(t, p, "Fortsæt", url.Values{"contact": {"somewhere@else.example"}})
	p.accessible()
	p.says("Se dine oplysninger", "Slet oplysninger", secret, `<script>alert("x")</script>`, "somewhere@else.example")
	back := b.press(t, p, "Ret: Med dine egne ord", nil)
	back.says("Med dine egne ord")
	if !strings.Contains(words(nodes(back.doc, tag("textarea"))[0]), secret) {
		t.Error("going back loses what was written")
	}
	action, filled := p.form("Send anmodningen", nil)
	p = b.call(t, http.MethodPost, action, filled)
	p.accessible()
	p.says("Vi har modtaget din anmodning", "Sagsnummer")
	if p.path != "/p/one/ask/sent" {
		t.Errorf("sent to %s", p.path)
	}
	if again := b.call(t, http.MethodPost, action, filled); again.text() != p.text() {
		t.Errorf("sent twice: %s\n%s", p.text(), again.text())
	}
	found, err := s.requests.List(s.staff, nil, page.Request{First: 10})
	ok(t, err)
	if n := found.Nodes(); len(n) != 1 || n[0].State != request.Received || n[0].Subject != "" || n[0].Channel != request.ByPortal || len(n[0].Items) != 2 {
		t.Fatalf("stored %+v", n)
	}

	// Who comes to sign in by another way, at the same browser, doesn't claim it.
	if p = b.get(t, "/p/one/prove"); strings.Contains(p.text(), "allerede modtaget") {
		t.Error("anybody at the browser is shown what was sent")
	}
	p = b.signIn(t, p, s.person(t, testenv.One, "carl@mail.example").Emails[0].Reveal())
	p.says("Her er ingen sager endnu.")
	b.press(t, p, "Log ud", nil)
	p = b.call(t, http.MethodPost, action, filled)
	p = b.get(t, attr(nodes(p.doc, func(n *html.Node) bool { return attr(n, "class") == "button" })[0], "href"))
	p.accessible()
	p.says("Din anmodning er allerede modtaget.")
	p = b.press(t, p, "Send en kode", url.Values{"who": {"not an address@"}})
	p.accessible()
	p.says("Skriv en hel e-mailadresse")
	p = b.signIn(t, p, address)
	p.accessible()
	r := found.Nodes()[0]
	if p.path != "/p/one/requests/"+r.ID {
		t.Fatalf("signed in to %s: %s", p.path, p.text())
	}
	p.says("Sagsnummer "+r.Number, "Vi arbejder på sagen.", "Du får svar senest", "Hvorfor den dato?", secret, "Log ud")
	if now := nodes(p.doc, func(n *html.Node) bool { return attr(n, "aria-current") == "step" }); len(now) != 1 || !strings.HasPrefix(words(now[0]), "Vi arbejder") {
		t.Error("the step isn't marked")
	}
	s.Work(tenant.System(t.Context(), "worker"))

	handler, approver := s.as(authz.RoleCaseHandler), s.as(authz.RoleApprover)
	r, err = s.requests.Get(handler, r.ID)
	ok(t, err)
	if r.Subject != me.ID || r.Identity.Method != request.ExistingCredential || !r.Contact.IsZero() {
		t.Errorf("claimed %+v", r)
	}
	for _, item := range r.Items {
		refusal := request.RefusedUnfounded
		r, err = s.requests.Propose(handler, request.ProposeInput{
			ID: r.ID, ExpectedVersion: r.Version, Item: item.ID, Outcome: request.Refused, Refusal: &refusal, Reason: new("it was answered last week"),
		})
		ok(t, err)
	}
	r, err = s.requests.Submit(handler, request.IDInput{ID: r.ID, ExpectedVersion: r.Version})
	ok(t, err)
	_, err = s.requests.Approve(approver, request.ApproveInput{ID: r.ID, ExpectedVersion: r.Version, Holds: true, Exceptions: true, RightsOfOthers: true, Secrecy: true})
	ok(t, err)
	s.Work(tenant.System(t.Context(), "worker"))
	p = b.get(t, "/p/one/requests/"+r.ID)
	p.accessible()
	p.says("Svaret er klar.", "Ikke imødekommet", "Svar og breve", "klag til Datatilsynet")

	// Its letter is given out to who has signed in just now, and to nobody else.
	letter := b.press(t, p, "Hent brevet", nil)
	if letter.status != http.StatusOK || !strings.HasPrefix(letter.body, "%PDF-") {
		t.Fatalf("the letter: %d %s", letter.status, letter.text())
	}
	other := s.browser("da")
	s.person(t, testenv.One, "bo@mail.example")
	q := other.signIn(t, other.get(t, "/p/one/prove"), "bo@mail.example")
	q.accessible()
	q.says("Her er ingen sager endnu.")
	for _, path := range []string{"/p/one/requests/" + r.ID, letter.path} {
		if q = other.get(t, path); q.status != http.StatusNotFound && q.status != http.StatusForbidden || strings.Contains(q.text(), r.Number) {
			t.Errorf("another person is shown %s: %d %s", path, q.status, q.text())
		}
	}
	_, stolen := p.form("Hent brevet", nil)
	_, own := other.get(t, "/p/one/prove").form("Send en kode", nil)
	stolen.Set("token", own.Get("token"))
	if q = other.call(t, http.MethodPost, "/p/one/requests/"+r.ID+"/download", stolen); q.status != http.StatusNotFound {
		t.Errorf("another person fetches the letter: %d", q.status)
	}
	s.Sleep(centre.Fresh + time.Second)
	p = b.press(t, b.get(t, "/p/one/requests/"+r.ID), "Hent brevet", nil)
	p.accessible()
	p.says("Vi beder om en ny kode")
	p = b.signIn(t, p, address)
	if p.path != "/p/one/requests/"+r.ID {
		t.Errorf("with a fresh code back to %s", p.path)
	}
	if p = b.press(t, p, "Hent brevet", nil); !strings.HasPrefix(p.body, "%PDF-") {
		t.Errorf("the letter with a fresh code: %d %s", p.status, p.text())
	}

	p = b.get(t, "/p/one/reads")
	p.accessible()
	p.says("Hvem har set mine oplysninger?", "Du loggede ind", "sagsbehandler")
	p = b.press(t, p, "Log ud", nil)
	p.says("Du er logget ud.")
	if p = b.get(t, "/p/one/requests"); p.path != "/p/one/prove?to=requests" {
		t.Errorf("after signing out: %s", p.path)
	}
	for _, value := range []string{"Odense", address, "somewhere", "Ødegård", "%40"} {
		if strings.Contains(strings.Join(b.seen, "\n"), value) {
			t.Errorf("%q is in an address: %v", value, b.seen)
		}
		if strings.Contains(s.log.String(), value) {
			t.Errorf("%q is in the log", value)
		}
	}
}

// TestSignedIn: who has signed in isn't asked where to answer, and takes back what
// they asked for.
func TestSignedIn(t *testing.T) {
	s := start(t)
	s.person(t, testenv.One, "aase@mail.example")
	b := s.browser("en")
	p := b.get(t, "/p/one/requests")
	if p.path != "/p/one/prove?to=requests" {
		t.Fatalf("sent to %s", p.path)
	}
	p = b.signIn(t, p, "aase@mail.example")
	p.accessible()
	p = b.press(t, b.get(t, "/p/one/ask?type=ACCESS"), "Continue", nil)
	p = b.press(t, p, "Continue", url.Values{"words": {strings.Repeat("å", 2001)}})
	p.says("The text is too long.")
	p = b.press(t, p, "Continue", url.Values{"words": {"everything"}})
	p.accessible()
	if strings.Contains(p.text(), "Where shall we answer?") {
		t.Error("asked where to answer")
	}
	p = b.press(t, p, "Send the request", nil)
	p.accessible()
	p.says("We have received your request.", "You will have our answer by", "We are working on the case.")
	listed := b.get(t, "/p/one/requests")
	listed.accessible()
	listed.says("See your data", "We are working on the case.", "Answer by")
	p = b.press(t, p, "Withdraw the request", nil)
	p.accessible()
	p.says("The request has been withdrawn.", "You have withdrawn the request.", "Withdrawn")
	if p = b.get(t, "/p/one/requests?lang=da"); nodes(p.doc, tag("html"))[0].Attr[0].Val != "da" {
		t.Error("not in Danish")
	}
	if p = b.get(t, "/p/one"); nodes(p.doc, tag("html"))[0].Attr[0].Val != "da" {
		t.Error("the language isn't remembered")
	}
}

// TestSame: nothing tells whether somebody is known.
func TestSame(t *testing.T) {
	s := start(t)
	s.person(t, testenv.One, "aase@mail.example")
	type seen struct{ code, wrong, sent string }
	try := func(address string) (all seen, header http.Header) {
		b := s.browser("en")
		p := b.get(t, "/p/one/prove")
		token := attr(nodes(p.doc, func(n *html.Node) bool { return attr(n, "name") == "token" })[0], "value")
		plain := func(p *shown) string {
			return p.path + "\n" + strings.NewReplacer(token, "token", address, "address").Replace(p.body)
		}
		p = b.press(t, p, "Send", url.Values{"who": {address}})
		all.code, header = plain(p), p.header
		s.Work(t.Context())
		p = b.press(t, p, "Continue", url.Values{"code": {"00000000"}})
		p.says("The code does not match.")
		all.wrong = plain(p)
		p = b.press(t, b.get(t, "/p/one/ask?type=ERASURE"), "Continue", nil)
		p = b.press(t, b.press(t, p, "Continue", nil), "Continue", url.Values{"contact": {address}})
		p = b.press(t, p, "Send", nil)
		all.sent = string(numbers(plain(p)))
		return all, header
	}
	known, a := try("aase@mail.example")
	unknown, b := try("nobody@mail.example")
	if known != unknown {
		t.Errorf("known %+v\nunknown %+v", known, unknown)
	}
	for name := range a {
		if name != "Vogter-Request-Id" && name != "Date" && name != "Ratelimit" && a.Get(name) != b.Get(name) {
			t.Errorf("%s: %q and %q", name, a.Get(name), b.Get(name))
		}
	}
	for n := range 6 {
		b := s.browser("en")
		p := b.press(t, b.get(t, "/p/one/ask?type=ERASURE"), "Continue", nil)
		p = b.press(t, b.press(t, p, "Continue", nil), "Continue", url.Values{"contact": {"Flood@mail.example"}})
		if p = b.press(t, p, "Send", nil); (p.status == http.StatusTooManyRequests) != (n == 5) {
			t.Errorf("request %d for one address: %d", n, p.status)
		}
		if n == 5 {
			p.accessible()
			p.says("Too many attempts", "Flood@mail.example")
		}
	}
}

// numbers masks the number of a case.
func numbers(s string) []byte {
	b := []byte(s)
	if at := strings.Index(s, "-0000"); at >= 0 {
		b[at+6] = 'x'
	}
	return b
}

// TestForms: a form counts only with the token of the browser that it was shown to.
func TestForms(t *testing.T) {
	s := start(t)
	s.person(t, testenv.One, "aase@mail.example")
	b, stranger := s.browser("en"), s.browser("en")
	b.signIn(t, b.get(t, "/p/one/prove"), "aase@mail.example")
	p := b.press(t, b.press(t, b.get(t, "/p/one/ask?type=ACCESS"), "Continue", nil), "Continue", nil)
	action, filled := p.form("Send the request", nil)
	_, foreign := stranger.get(t, "/p/one/prove").form("Send", nil)
	_, elsewhere := b.get(t, "/p/two/prove").form("Send", nil)
	for name, token := range map[string]string{
		"none": "", "another browser's": foreign.Get("token"), "another tenant's": elsewhere.Get("token"), "a made-up one": strings.Repeat("a", 64),
	} {
		filled := url.Values{"token": {token}, "type": filled["type"], "step": filled["step"], "key": {"k"}}
		if p := b.call(t, http.MethodPost, action, filled); p.status != http.StatusForbidden {
			t.Errorf("with %s token: %d", name, p.status)
		} else {
			p.accessible()
		}
	}
	if p := s.browser("en").call(t, http.MethodPost, action, filled); p.status != http.StatusForbidden {
		t.Errorf("without cookies: %d", p.status)
	}
	if p := b.call(t, http.MethodPost, action, url.Values{"token": filled["token"], "words": {strings.Repeat("a", 70_000)}}); p.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge form: %d", p.status)
	}
	if c, err := s.requests.List(s.staff, nil, page.Request{First: 1}); err != nil || len(c.Nodes()) != 0 {
		t.Errorf("something was sent: %v", err)
	}
	for _, set := range b.kept {
		if !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") || !strings.Contains(set, "Path=/p/") {
			t.Errorf("cookie %s", strings.SplitN(set, "=", 2)[0])
		}
	}
	if len(b.kept) < 4 {
		t.Errorf("%d cookies", len(b.kept))
	}
	for place, want := range map[string]string{"//evil.example": "", "https://evil.example": "", "../two": "", "consents": "consents"} {
		p := b.get(t, "/p/one/prove?to="+url.QueryEscape(place))
		if got := attr(nodes(p.doc, func(n *html.Node) bool { return attr(n, "name") == "to" })[0], "value"); got != want {
			t.Errorf("leads on to %q", got)
		}
	}
}

func at(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	ok(t, err)
	return u
}

// TestTenants: who is known to two tenants is nobody with one who signed in with
// the other.
func TestTenants(t *testing.T) {
	s := start(t)
	const address = "aase@mail.example"
	s.person(t, testenv.One, address)
	s.person(t, testenv.Two, address)
	b := s.browser("en")
	b.signIn(t, b.get(t, "/p/one/prove"), address)
	p := b.press(t, b.press(t, b.get(t, "/p/one/ask?type=ACCESS"), "Continue", nil), "Continue", nil)
	p = b.press(t, p, "Send the request", nil)
	mine := strings.TrimPrefix(strings.Split(p.path, "?")[0], "/p/one/")
	session := ""
	for _, c := range b.client.Jar.Cookies(at(t, b.base+"/p/one")) {
		if c.Name == "vogter_person" {
			session = c.Value
		}
	}
	if p = b.get(t, "/p/two/"+mine); !strings.HasPrefix(p.path, "/p/two/prove") {
		t.Errorf("without a session of the tenant: %s", p.path)
	}
	b.client.Jar.SetCookies(at(t, b.base+"/p/two/"), []*http.Cookie{{Name: "vogter_person", Value: session, Path: "/p/two"}})
	if p = b.get(t, "/p/two/"+mine); !strings.HasPrefix(p.path, "/p/two/prove") {
		t.Errorf("with the other tenant's session: %s", p.path)
	}
	p = b.signIn(t, p, address)
	if p.status != http.StatusNotFound {
		t.Errorf("the other tenant shows the request: %d %s", p.status, p.text())
	}
	p.accessible()
	b.get(t, "/p/two/requests").says("There are no cases yet.")
	if p = b.get(t, "/p/three"); p.status != http.StatusNotFound {
		t.Errorf("no such tenant: %d", p.status)
	}
	p.accessible()

	// A code of one tenant signs nobody in at the other.
	c := s.browser("en")
	c.press(t, c.get(t, "/p/one/prove"), "Send", url.Values{"who": {address}})
	s.Work(t.Context())
	challenge := c.client.Jar.Cookies(at(t, c.base+"/p/one/prove/code"))
	for _, k := range challenge {
		if k.Name == "vogter_code" {
			c.client.Jar.SetCookies(at(t, c.base+"/p/two/"), []*http.Cookie{{Name: k.Name, Value: k.Value, Path: "/p/two"}})
		}
	}
	codes := s.codes(address)
	p = c.press(t, c.get(t, "/p/two/prove/code"), "Continue", url.Values{"code": {codes[len(codes)-1]}})
	if p.status != http.StatusUnauthorized {
		t.Errorf("a code of another tenant: %d", p.status)
	}
}

// TestConsents: what was said yes to is shown as it was, and taken back by one
// button.
func TestConsents(t *testing.T) {
	s := start(t)
	const address = "aase@mail.example"
	me, n := s.person(t, testenv.One, address), s.newsletter(t)
	web := consent.Web
	_, err := s.consents.Give(s.once(s.staff), consent.Input{
		Subject: me.ID, Purpose: "letters", Notice: &n.ID, Context: &consent.Context{Language: new("da"), Channel: &web},
	})
	ok(t, err)
	b := s.browser("en")
	p := b.signIn(t, b.get(t, "/p/one/consents"), address)
	p.accessible()
	p.says("Newsletter", "You said yes", "Postbud ApS", "Må vi skrive?", "Valid up to and including")
	var href string
	for _, l := range nodes(p.doc, tag("a")) {
		if words(l) == "Get the receipt" {
			href = attr(l, "href")
		}
	}
	if r := b.get(t, href); r.status != http.StatusOK || r.header.Get("Content-Type") != "application/jose" || strings.Count(r.body, ".") != 2 {
		t.Errorf("the receipt: %d %s", r.status, r.header.Get("Content-Type"))
	}
	s.person(t, testenv.One, "bo@mail.example")
	other := s.browser("en")
	q := other.signIn(t, other.get(t, "/p/one/consents"), "bo@mail.example")
	q.accessible()
	q.says("There are no consents to show.")
	if q = other.get(t, href); q.status != http.StatusNotFound {
		t.Errorf("somebody else's receipt: %d", q.status)
	}
	s.Sleep(time.Second)
	p = b.press(t, p, "Withdraw", nil)
	p.accessible()
	p.says("Your consent has been withdrawn.", "You withdrew it")
	status, err := s.consents.State(s.staff, me.ID, "letters", nil)
	ok(t, err)
	if status.State != consent.Withdrawn || status.Channel != consent.Web {
		t.Errorf("now %s by %s", status.State, status.Channel)
	}
}
