package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/ory/orytest"
)

const (
	codeDocument = `mutation($input: RequestSubjectCodeInput!) { requestSubjectCode(input: $input) { challenge expiresAt } }`
	selfDocument = `{ self { signedInBy subject { id emails name { full } records { totalCount nodes { id dataset { name } subject { id } fields { key value state } } } } } }`
)

// asked is a one-time code that was asked for.
type asked struct {
	RequestSubjectCode struct{ Challenge, ExpiresAt string }
}

// enter signs a person in by the code that is mailed to them.
func (p *platform) enter(t *testing.T, n int, address, language string) client {
	t.Helper()
	nobody := client{base: p.stack.Env().API}
	before := len(p.codes(t, address))
	challenge := ask[asked](t, nobody, codeDocument, vars{"input": vars{
		"tenantSlug": p.slug(t, n), "email": address, "language": language,
	}}).RequestSubjectCode.Challenge
	var codes []string
	eventually(t, 30*time.Second, "the code is there", func() bool {
		codes = p.codes(t, address)
		return len(codes) > before
	})
	token := ask[struct{ SignInSubject struct{ Token string } }](t, nobody,
		`mutation($input: SignInSubjectInput!) { signInSubject(input: $input) { token expiresAt } }`,
		vars{"input": vars{"challenge": challenge, "code": codes[len(codes)-1]}}).SignInSubject.Token
	p.plant(token)
	p.plantTold(codes[len(codes)-1]) // its mail says it
	return client{nobody.base, token}
}

// codes are those mailed to an address so far.
func (p *platform) codes(t *testing.T, address string) (codes []string) {
	t.Helper()
	for _, m := range mails(t, p) {
		for _, to := range m.To {
			if to != address {
				continue
			}
			for word := range strings.FieldsSeq(m.Text) {
				if word = strings.TrimRight(word, "."); len(word) == 8 && strings.Trim(word, "0123456789") == "" {
					codes = append(codes, word)
				}
			}
		}
	}
	return codes
}

func (p *platform) slug(t *testing.T, n int) string {
	t.Helper()
	return ask[struct{ Tenant struct{ Slug string } }](t, p.machine(t, n), `{ tenant { slug } }`, nil).Tenant.Slug
}

// TestDataSubjectsSignIn is the journey of somebody who is known to two tenants.
func TestDataSubjectsSignIn(t *testing.T) {
	p := running(t)
	h := p.someone()
	type made struct{ CreateSubject struct{ Subject person } }
	var persons [2]person
	for n := range persons {
		persons[n] = ask[made](t, p.machine(t, n), `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`,
			vars{"input": h.input()}).CreateSubject.Subject
	}
	type self struct {
		Self struct {
			SignedInBy string
			Subject    struct {
				ID     string
				Emails []string
				Name   struct{ Full string }
			}
		}
	}
	var tokens [2]client
	for n, language := range []string{"da", "en"} {
		tokens[n] = p.enter(t, n, h.email, language)
		me := ask[self](t, tokens[n], selfDocument, nil).Self
		if me.Subject.ID != persons[n].ID || me.Subject.Name.Full != h.name || me.SignedInBy != "CODE" || len(me.Subject.Emails) != 1 {
			t.Errorf("tenant %d: sees %+v", n, me)
		}
	}
	mine, theirs := tokens[0], persons[1].ID
	node := `query($id: ID!) { node(id: $id) { id } }`
	if got := ask[struct{ Node struct{ ID string } }](t, mine, node, vars{"id": persons[0].ID}).Node.ID; got != persons[0].ID {
		t.Errorf("the own node is %s", got)
	}
	for _, foreign := range []string{theirs, p.tenant(t, 0).ID, p.tenant(t, 1).ID, "sub_x"} {
		if data, faults := mine.graphql(t, node, vars{"id": foreign}); len(faults) != 1 || faults[0].Extensions.Code != "NOT_FOUND" {
			t.Errorf("node %s: %s %+v", foreign, data, faults)
		}
	}
	for _, document := range []string{
		`{ subjects { nodes { id } } }`, `{ tenant { legalName } }`, `{ datasets { id } }`, `{ members { nodes { id } } }`, `{ auditLog { nodes { id } } }`,
	} {
		if code := refused(t, mine, document, nil); code != "FORBIDDEN" {
			t.Errorf("%s: %s", document, code)
		}
	}
	if a := mine.call(t, http.MethodPost, "/graphql", strings.NewReader(`{"query":"{ viewer { id } }"}`),
		"Content-Type", "application/json", "Vogter-Tenant", p.tenant(t, 1).ID); a.status == http.StatusOK && !strings.Contains(string(a.body), "FORBIDDEN") {
		t.Errorf("the session works for the other tenant: %s", a.body)
	}

	// The answer about somebody unknown has the same form, status and headers.
	nobody := client{base: mine.base}
	form := func(email string) (string, http.Header) {
		t.Helper()
		b, err := json.Marshal(vars{"query": codeDocument, "variables": vars{"input": vars{"tenantSlug": p.slug(t, 0), "email": email}}})
		if err != nil {
			t.Fatal(err)
		}
		a := nobody.call(t, http.MethodPost, "/graphql", strings.NewReader(string(b)), "Content-Type", "application/json")
		var got struct{ Data asked }
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s %v", a.status, a.body, err)
		}
		a.header.Del("Vogter-Request-Id")
		a.header.Del("Date")
		a.header.Del("Content-Length") // an instant has as many digits as it needs
		a.header.Del("Ratelimit")
		is := got.Data.RequestSubjectCode
		return strings.NewReplacer(is.Challenge, "challenge", is.ExpiresAt, "expiry").Replace(string(a.body)), a.header
	}
	known, knownHeader := form(h.email)
	unknown, unknownHeader := form(p.someone().email)
	if known != unknown || len(knownHeader) != len(unknownHeader) {
		t.Errorf("known %s %v\nunknown %s %v", known, knownHeader, unknown, unknownHeader)
	}
	for name, v := range knownHeader {
		if strings.Join(v, "\n") != strings.Join(unknownHeader[name], "\n") {
			t.Errorf("header %s: known %v, unknown %v", name, v, unknownHeader[name])
		}
	}

	if n := ask[struct{ SignOutSubject struct{ Count int } }](t, mine,
		`mutation($input: SignOutSubjectInput!) { signOutSubject(input: $input) { count } }`, vars{"input": vars{}}).SignOutSubject.Count; n != 1 {
		t.Errorf("signing out ended %d", n)
	}
	if code := refused(t, mine, selfDocument, nil); code != "UNAUTHENTICATED" {
		t.Errorf("signed out: %s", code)
	}
	if me := ask[self](t, tokens[1], selfDocument, nil).Self; me.Subject.ID != theirs {
		t.Error("the session at the other tenant has ended too")
	}
}

// TestMembersSignInThroughTheDoor: the identity server is reached under our own origin.
func TestMembersSignInThroughTheDoor(t *testing.T) {
	p := running(t)
	m := p.tenant(t, first).Members[0]
	who := &orytest.Person{PublicURL: p.stack.Env().API + "/auth", Address: m.Email, Password: m.Password}
	if err := who.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask[struct{ Viewer struct{ Kind string } }](t, client{p.stack.Env().API, who.Token}, `{ viewer { kind } }`, nil).Viewer.Kind; got != "MEMBER" {
		t.Errorf("signed in as %s", got)
	}
	if a := (client{base: p.stack.Env().API}).call(t, http.MethodGet, "/auth/admin/identities", http.NoBody); a.status != http.StatusNotFound {
		t.Errorf("the admin API answers %d", a.status)
	}
}
