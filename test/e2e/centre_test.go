package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// guest is somebody at a browser in the privacy centre of a tenant.
type guest struct {
	client http.Client
	base   string
	page   string // the page before them
	path   string // where it is
	status int
}

func (p *platform) guest(t *testing.T, n int) *guest {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &guest{client: http.Client{Jar: jar}, base: p.stack.Env().API + "/p/" + p.slug(t, n)}
}

// open opens a page, or sends a form with the token of the page before.
func (g *guest) open(t *testing.T, place string, form url.Values) {
	t.Helper()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if form != nil {
		if found := regexp.MustCompile(`name="token" value="([0-9a-f]+)"`).FindStringSubmatch(g.page); found != nil {
			form.Set("token", found[1])
		}
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, g.base+place, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Language", "en")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	g.page, g.path, g.status = string(b), res.Request.URL.Path, res.StatusCode
}

// prove shows by a code who the guest is.
func (g *guest) prove(t *testing.T, p *platform, address string) {
	t.Helper()
	before := len(p.codes(t, address))
	const to = "ask/sent" // to claim what was sent
	g.open(t, "/prove?to="+to, nil)
	g.open(t, "/prove", url.Values{"who": {address}, "to": {to}})
	var codes []string
	eventually(t, 30*time.Second, "the code is there", func() bool {
		codes = p.codes(t, address)
		return len(codes) > before
	})
	p.plantTold(codes[len(codes)-1]) // its mail says it
	g.open(t, "/prove/code", url.Values{"code": {codes[len(codes)-1]}, "to": {to}})
	at, err := url.Parse(g.base)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.client.Jar.Cookies(at) {
		if c.Name == "vogter_person" {
			p.plant(c.Value)
		}
	}
}

// TestPrivacyCentre: somebody asks for their data on the tenant's page, shows who
// they are, and fetches the answer there.
func TestPrivacyCentre(t *testing.T) {
	p := running(t)
	h := p.someone()
	s := ask[struct{ CreateSubject struct{ Subject person } }](t, p.machine(t, first),
		`mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`, vars{"input": h.input()}).CreateSubject.Subject
	wish := "everything since the spring in which " + h.name + " moved"
	p.plant(wish)
	p.plantTold(h.name, h.given, h.family) // letters address the person
	g := p.guest(t, first)
	g.open(t, "/ask", nil)
	g.open(t, "/ask", url.Values{
		"step": {"reach"}, "type": {"ACCESS"}, "words": {wish}, "contact": {s.Emails[0]},
	})
	key := regexp.MustCompile(`name="key" value="([^"]+)"`).FindStringSubmatch(g.page)
	if g.status != http.StatusOK || key == nil || !strings.Contains(g.page, wish) {
		t.Fatalf("%d %s", g.status, g.page)
	}
	g.open(t, "/ask", url.Values{"step": {"check"}, "type": {"ACCESS"}, "words": {wish}, "contact": {s.Emails[0]}, "key": {key[1]}})
	if g.status != http.StatusOK || !strings.HasSuffix(g.path, "/ask/sent") {
		t.Fatalf("sent: %d %s %s", g.status, g.path, g.page)
	}
	g.prove(t, p, s.Emails[0])
	if g.status != http.StatusOK || !strings.Contains(g.path, "/requests/req_") || !strings.Contains(g.page, "We are working on the case.") {
		t.Fatalf("proven: %d %s %s", g.status, g.path, g.page)
	}
	place := g.path[strings.Index(g.path, "/requests/"):]

	handler, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	r := answered(t, strings.TrimPrefix(place, "/requests/"), handler, owner)
	g.open(t, place, nil)
	object := regexp.MustCompile(`name="object" value="(exp_[a-z2-7]+)"`).FindStringSubmatch(g.page)
	if object == nil || !strings.Contains(g.page, "The answer is ready.") {
		t.Fatalf("%s: %s", r.State, g.page)
	}
	page := g.page
	g.open(t, place+"/download", url.Values{"object": {object[1]}})
	if g.status != http.StatusOK || !strings.HasPrefix(g.page, "PK") {
		t.Errorf("the answer: %d, %.80s", g.status, g.page)
	}

	stranger := p.guest(t, second)
	stranger.open(t, place, nil)
	if !strings.HasSuffix(stranger.path, "/prove") || strings.Contains(stranger.page, r.Number) {
		t.Errorf("the other tenant shows %s", stranger.page)
	}
	stranger.page = page // with the token of another
	if stranger.open(t, place+"/withdraw", url.Values{}); stranger.status != http.StatusForbidden {
		t.Errorf("a form of another tenant: %d", stranger.status)
	}
}

// answered has a request for access carried out, and returns it.
func answered(t *testing.T, requestID string, handler, owner client) *wish {
	t.Helper()
	r := &wish{}
	read := func() {
		*r = ask[struct{ Request wish }](t, handler, `query($id: ID!) { request(id: $id) {`+requestFields+`} }`, vars{"id": requestID}).Request
	}
	eventually(t, 30*time.Second, "every place has answered", func() bool {
		found := ask[struct {
			Request struct{ Answers []struct{ System string } }
		}](t, handler, `query($id: ID!) { request(id: $id) { answers { system } } }`, vars{"id": requestID})
		return len(found.Request.Answers) > 0
	})
	read()
	r.step(t, handler, "decideItem", vars{"item": r.Items[0].ID, "outcome": "FULFILLED"})
	r.step(t, handler, "submitRequest", nil)
	r.step(t, owner, "approveRequest", vars{"holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true})
	eventually(t, 60*time.Second, "the request is answered", func() bool {
		read()
		return r.State == "RESPONDED"
	})
	return r
}

// TestOpenDSR: a tenant's own system sends a request and asks how it goes.
func TestOpenDSR(t *testing.T) {
	p := running(t)
	h := p.someone()
	mine, theirs := p.machine(t, first), p.machine(t, second)
	const sent = "/v1/opendsr/requests/0a551968-d5d6-44b2-9831-815ac9017798"
	body := fmt.Sprintf(`{"regulation":"gdpr","subject_request_id":%q,"subject_request_type":"access","submitted_time":%q,
		"subject_identities":{"email":{"value":%q,"encoding":"raw"}},"api_version":"3.0"}`,
		sent[strings.LastIndex(sent, "/")+1:], time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), h.email)
	a := mine.call(t, http.MethodPost, "/v1/opendsr/requests", strings.NewReader(body), "Content-Type", "application/json")
	if a.status != http.StatusCreated || a.header.Get("X-OpenDSR-Signature") == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var standing struct {
		Status string `json:"request_status"`
	}
	if a = mine.call(t, http.MethodGet, sent, http.NoBody); a.status != http.StatusOK || json.Unmarshal(a.body, &standing) != nil || standing.Status != "pending" {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if a = theirs.call(t, method, sent, http.NoBody); a.status != http.StatusNotFound {
			t.Errorf("another tenant: %s %d %s", method, a.status, a.body)
		}
	}
	if a = (client{base: mine.base}).call(t, http.MethodGet, sent, http.NoBody); a.status != http.StatusUnauthorized {
		t.Errorf("nobody: %d", a.status)
	}
	if a = mine.call(t, http.MethodDelete, sent, http.NoBody); a.status != http.StatusAccepted {
		t.Errorf("cancelled: %d %s", a.status, a.body)
	}
}
