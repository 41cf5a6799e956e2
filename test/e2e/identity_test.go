package e2e_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/ory/orytest"
)

// What a mail has that a person needs.
const (
	invitationToken = `vgi_[a-z2-7]+_[a-z2-7]+`
	oneTimeCode     = `\b\d{6}\b`
)

// mailed waits for a mail to an address and returns what it has of a pattern, of
// its newest mail.
func (p *platform) mailed(t *testing.T, address, pattern string) (found string) {
	t.Helper()
	eventually(t, 30*time.Second, "the mail is there", func() bool {
		for _, m := range slices.Backward(mails(t, p)) {
			if slices.Contains(m.To, address) {
				if found = regexp.MustCompile(pattern).FindString(m.Text); found != "" {
					return true
				}
			}
		}
		return false
	})
	return found
}

// code is a one-time code that Kratos mails because of what do does.
func (p *platform) code(t *testing.T, address string, do func()) string {
	t.Helper()
	count := func() (n int, newest string) {
		for _, m := range mails(t, p) {
			if slices.Contains(m.To, address) && regexp.MustCompile(oneTimeCode).MatchString(m.Text) {
				n, newest = n+1, regexp.MustCompile(oneTimeCode).FindString(m.Text)
			}
		}
		return n, newest
	}
	before, _ := count()
	do()
	var code string
	eventually(t, 30*time.Second, "the code is there", func() bool {
		n, newest := count()
		code = newest
		return n > before
	})
	return code
}

// freeAddress is one on this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// beside starts another server of the same platform, which asks for a second
// factor where that is asked for, and returns its address.
func (p *platform) beside(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	conf := p.stack.Env().Config
	cmd := exec.CommandContext(uncancelled(t), p.binary, "serve")
	cmd.Env = append(append(os.Environ(), conf.Environ()...), "VOGTER_LISTEN="+address, "VOGTER_PUBLIC_URL=", "VOGTER_STEP_UP=aal2")
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	base := "http://" + address
	eventually(t, 30*time.Second, "the other server answers", func() bool {
		a, err := client{base: base}.send(t.Context(), http.MethodGet, "/readyz", http.NoBody)
		return err == nil && a.status == http.StatusOK
	})
	return base
}

// invite invites somebody new, and returns them with their invitation's token
// and a session, in which they have chosen a password.
func (p *platform) invite(t *testing.T, by client, input vars) (memberID, token string, who *orytest.Person) {
	t.Helper()
	who = &orytest.Person{PublicURL: p.stack.Env().Config.Kratos.PublicURL, Address: strings.ToLower(rand.Text()) + "@members.example"}
	p.plant(who.Address)
	input["email"] = who.Address
	memberID = ask[struct {
		InviteMember struct{ Member struct{ ID, State string } }
	}](t, by, `mutation($input: InviteMemberInput!) { inviteMember(input: $input) { member { id state } } }`, vars{"input": input}).InviteMember.Member.ID
	token = p.mailed(t, who.Address, invitationToken)
	// The identity is made by a job; a code for an unknown address is never mailed.
	var f *orytest.Flow
	code := ""
	eventually(t, 30*time.Second, "the person has an identity", func() bool {
		if a := (client{}).call(t, http.MethodGet, p.stack.Env().Config.Kratos.AdminURL+"/admin/identities?credentials_identifier="+who.Address, http.NoBody); string(a.body) == "[]" {
			return false
		}
		code = p.code(t, who.Address, func() {
			var err error
			if f, err = who.AskForCode(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		return true
	})
	if err := who.UseCode(t.Context(), f, code); err != nil {
		t.Fatal(err)
	}
	for _, refused := range []string{"short", strings.Split(who.Address, "@")[0]} {
		if err := who.Choose(t.Context(), refused); !orytest.Says(err, orytest.MsgPasswordRefused, orytest.MsgPasswordShort, orytest.MsgPasswordSimilar) {
			t.Errorf("a bad password: %v", err)
		}
	}
	if err := who.Choose(t.Context(), rand.Text()); err != nil {
		t.Fatal(err)
	}
	return memberID, token, who
}

const acceptDocument = `mutation($input: AcceptInvitationInput!) { acceptInvitation(input: $input) { membership { tenant role } } }`

func accept(t *testing.T, c client, token string) {
	t.Helper()
	ask[any](t, c, acceptDocument, vars{"input": vars{"token": token}})
}

type viewer struct {
	Viewer *struct {
		ID, Role, AAL string
		Tenant        *struct{ ID string }
		Memberships   []struct{ Tenant, Role string }
	}
}

func (c client) viewer(t *testing.T) viewer {
	t.Helper()
	return ask[viewer](t, c, `{ viewer { id role aal tenant { id } memberships { tenant role } } }`, nil)
}

// member is a Member.
type member struct {
	ID, Role, State string
	Version         int64
}

const memberDocument = `query($id: ID!) { member(id: $id) { id role state version } }`

func TestMembership(t *testing.T) {
	p := running(t)
	owner, stranger := p.member(t, first, "OWNER"), p.member(t, second, "OWNER")
	here, there := p.stack.Env().API, p.beside(t)
	memberID, token, who := p.invite(t, owner, vars{"role": "CASE_HANDLER", "clearances": []string{"CONFIDENTIAL"}})
	c, far := client{base: here, token: who.Token}, client{base: there, token: who.Token}

	t.Run("before it is accepted", func(t *testing.T) {
		if v := c.viewer(t).Viewer; v == nil || v.Tenant != nil || len(v.Memberships) != 0 {
			t.Errorf("the person is %+v", v)
		}
		if code := refused(t, c, `{ members { nodes { id } } }`, nil); code != "FORBIDDEN" {
			t.Errorf("lists members: %s", code)
		}
		if code := refused(t, stranger, acceptDocument, vars{"input": vars{"token": token}}); code != "FORBIDDEN" {
			t.Errorf("somebody else accepts: %s", code)
		}
		for _, by := range []client{{base: here}, p.machine(t, first)} {
			if code := refused(t, by, acceptDocument, vars{"input": vars{"token": token}}); code != "UNAUTHENTICATED" {
				t.Errorf("no person accepts: %s", code)
			}
		}
		if code := refused(t, c, acceptDocument, vars{"input": vars{"token": token + "a"}}); code != "NOT_FOUND" {
			t.Errorf("an altered token: %s", code)
		}
	})
	accept(t, c, token)
	if v := c.viewer(t).Viewer; v.Tenant == nil || v.Tenant.ID != p.tenant(t, first).ID || v.Role != "CASE_HANDLER" || v.ID != memberID {
		t.Errorf("right after: %+v", v)
	}
	if code := refused(t, c, acceptDocument, vars{"input": vars{"token": token}}); code != "NOT_FOUND" {
		t.Errorf("used again: %s", code)
	}
	t.Run("a second tenant", func(t *testing.T) {
		if code := refused(t, stranger, memberDocument, vars{"id": memberID}); code != "NOT_FOUND" {
			t.Errorf("reads a member: %s", code)
		}
		list := ask[struct{ Members struct{ Nodes []member } }](t, stranger, `{ members(first: 100) { nodes { id } } }`, nil).Members.Nodes
		if slices.ContainsFunc(list, func(m member) bool { return m.ID == memberID }) {
			t.Error("lists a member of the first")
		}
		if code := refused(t, c, `{ tenant { id } }`, nil, "Vogter-Tenant", p.tenant(t, second).ID); code != "FORBIDDEN" {
			t.Errorf("the member works for it: %s", code)
		}
	})

	// Both servers know the session now, and hear of what changes.
	if v := far.viewer(t).Viewer; v.Role != "CASE_HANDLER" {
		t.Fatalf("on the other server: %+v", v)
	}
	within := func(what string, done func() bool) {
		t.Helper()
		began := time.Now()
		eventually(t, 30*time.Second, what, done)
		t.Logf("%s on the other server after %s", what, time.Since(began).Round(time.Millisecond))
	}
	m := ask[struct{ Member member }](t, owner, memberDocument, vars{"id": memberID}).Member
	ask[any](t, owner, `mutation($input: ChangeMemberInput!) { changeMember(input: $input) { member { id } } }`,
		vars{"input": vars{"id": memberID, "expectedVersion": m.Version, "role": "DPO"}})
	if v := c.viewer(t).Viewer; v.Role != "DPO" {
		t.Errorf("right after the change: %+v", v)
	}
	within("the new role", func() bool { return far.viewer(t).Viewer.Role == "DPO" })
	ask[any](t, owner, `mutation($input: RemoveMemberInput!) { removeMember(input: $input) { member { id } } }`,
		vars{"input": vars{"id": memberID, "expectedVersion": m.Version + 1}})
	if code := refused(t, c, `{ tenant { id } }`, nil); code != "FORBIDDEN" {
		t.Errorf("right after the removal: %s", code)
	}
	within("the removal", func() bool { return far.viewer(t).Viewer.Tenant == nil })
	if m := ask[struct{ Member member }](t, owner, memberDocument, vars{"id": memberID}).Member; m.State != "REMOVED" {
		t.Errorf("kept as %+v", m)
	}
}

func TestStepUp(t *testing.T) {
	p := running(t)
	there := p.beside(t)
	_, token, who := p.invite(t, p.member(t, first, "OWNER"), vars{"role": "OWNER"})
	c := client{base: there, token: who.Token}
	accept(t, c, token)
	invite := func() (code, message string) {
		_, faults := c.graphql(t, `mutation($input: InviteMemberInput!) { inviteMember(input: $input) { member { id } } }`,
			vars{"input": vars{"email": strings.ToLower(rand.Text()) + "@members.example", "role": "DEVELOPER"}})
		if len(faults) == 0 {
			return "", ""
		}
		return faults[0].Extensions.Code, faults[0].Message
	}
	if code, message := invite(); code != "FORBIDDEN" || !strings.Contains(message, "second factor") {
		t.Errorf("with one factor: %s %s", code, message)
	}
	if code := codeOf(t, c, `{ members { nodes { id } } }`, nil); code != "" {
		t.Errorf("reading needs no second factor: %s", code)
	}
	secret, err := who.Enrol(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	codes, err := who.Codes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if code, message := invite(); code != "" {
		t.Errorf("right after setting up a second factor: %s %s", code, message)
	}
	if v := c.viewer(t).Viewer; v.AAL != "aal2" {
		t.Errorf("the viewer is %+v", v)
	}
	for name, second := range map[string]func(context.Context) error{
		"an app":          func(ctx context.Context) error { return who.SecondFactor(ctx, secret, time.Now()) },
		"a recovery code": func(ctx context.Context) error { return who.SecondFactorByCode(ctx, codes[0]) },
	} {
		who.Token = ""
		if err := who.SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.token = who.Token
		if code, _ := c.refusal(t); code != "UNAUTHENTICATED" {
			t.Errorf("a session without the second factor that its owner has: %s", code)
		}
		if err := second(t.Context()); err != nil {
			t.Fatalf("by %s: %v", name, err)
		}
		if code, message := invite(); code != "" {
			t.Errorf("by %s: %s %s", name, code, message)
		}
	}
}

func TestSessionsAndRecovery(t *testing.T) {
	p := running(t)
	here, there := p.stack.Env().API, p.beside(t)
	_, token, who := p.invite(t, p.member(t, first, "OWNER"), vars{"role": "DEVELOPER"})
	accept(t, client{base: here, token: who.Token}, token)
	tokens := []string{who.Token}
	for range 3 {
		who.Token = ""
		if err := who.SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, who.Token)
	}
	at := func(n int) client { return client{base: here, token: tokens[n]} }
	type list struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	sessions := func(n int) (current string, count int) {
		t.Helper()
		all := ask[list](t, at(n), `{ sessions { id current aal authenticatedAt issuedAt expiresAt device address } }`, nil).Sessions
		for _, s := range all {
			if s.Current {
				current = s.ID
			}
		}
		return current, len(all)
	}
	victim, n := sessions(1)
	if current, m := sessions(0); n != 4 || m != 4 || current == victim || victim == "" {
		t.Fatalf("%d and %d sessions", n, m)
	}
	const revoke = `mutation($input: RevokeSessionInput!) { revokeSession(input: $input) { id } }`
	if code := refused(t, p.member(t, first, "OWNER"), revoke, vars{"input": vars{"id": victim}}); code != "NOT_FOUND" {
		t.Errorf("another person ends it: %s", code)
	}
	if code := refused(t, p.machine(t, first), revoke, vars{"input": vars{"id": victim}}); code != "FORBIDDEN" {
		t.Errorf("a key ends it: %s", code)
	}
	far := client{base: there, token: tokens[1]}
	far.viewer(t)
	ask[any](t, at(0), revoke, vars{"input": vars{"id": victim}})
	if code, _ := at(1).refusal(t); code != "UNAUTHENTICATED" {
		t.Errorf("right after it ended: %s", code)
	}
	began := time.Now()
	eventually(t, 30*time.Second, "the session ends on the other server", func() bool {
		code, _ := far.refusal(t)
		return code == "UNAUTHENTICATED"
	})
	t.Logf("a session ends on the other server after %s", time.Since(began).Round(time.Millisecond))

	ended := ask[struct{ RevokeOtherSessions struct{ Count int } }](t, at(0),
		`mutation { revokeOtherSessions(input: {}) { count } }`, nil).RevokeOtherSessions.Count
	if code, _ := at(2).refusal(t); ended != 2 || code != "UNAUTHENTICATED" {
		t.Errorf("%d others ended: %s", ended, code)
	}
	ask[any](t, at(0), `mutation { signOut(input: {}) { count } }`, nil)
	if code, _ := at(0).refusal(t); code != "UNAUTHENTICATED" {
		t.Errorf("after signing out: %s", code)
	}

	// Forgotten, and chosen anew by a mailed code.
	old := who.Password
	*who = orytest.Person{PublicURL: who.PublicURL, Address: who.Address}
	var f *orytest.Flow
	code := p.code(t, who.Address, func() {
		var err error
		if f, err = who.AskForCode(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if err := who.UseCode(t.Context(), f, code); err != nil {
		t.Fatal(err)
	}
	if err := who.Choose(t.Context(), rand.Text()); err != nil {
		t.Fatal(err)
	}
	who.Token = ""
	if err := who.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := (client{base: here, token: who.Token}).viewer(t).Viewer; v.Role != "DEVELOPER" {
		t.Errorf("after recovery: %+v", v)
	}
	who.Password, who.Token = old, ""
	if err := who.SignIn(t.Context()); !orytest.Says(err, orytest.MsgWrongLogin) {
		t.Errorf("by the forgotten password: %v", err)
	}
}

func TestBreakGlass(t *testing.T) {
	p := running(t)
	operator, owner, stranger := p.member(t, provider, "OPERATOR"), p.member(t, first, "OWNER"), p.member(t, second, "OWNER")
	within := []string{"Vogter-Tenant", p.tenant(t, first).ID}
	const enter = `mutation($input: EnterTenantInput!) { enterTenant(input: $input) { access { id expiresAt } } }`
	reason := "ticket " + rand.Text()
	in := vars{"input": vars{"tenant": p.tenant(t, first).ID, "reason": reason, "minutes": 5}}
	if code := refused(t, operator, `{ tenant { id } }`, nil, within...); code != "FORBIDDEN" {
		t.Errorf("without a grant: %s", code)
	}
	if code := refused(t, owner, enter, in); code != "FORBIDDEN" {
		t.Errorf("an owner enters: %s", code)
	}
	grant := ask[struct {
		EnterTenant struct{ Access struct{ ID string } }
	}](t, operator, enter, in).EnterTenant.Access.ID
	if got := ask[struct{ Tenant struct{ ID string } }](t, operator, `{ tenant { id } }`, nil, within...); got.Tenant.ID != p.tenant(t, first).ID {
		t.Errorf("works for %s", got.Tenant.ID)
	}
	if code := refused(t, operator, `{ tenant { id } }`, nil, "Vogter-Tenant", p.tenant(t, second).ID); code != "FORBIDDEN" {
		t.Errorf("the second tenant is open: %s", code)
	}
	if code := refused(t, operator, `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`,
		vars{"input": vars{"reference": rand.Text()}}, within...); code != "FORBIDDEN" {
		t.Errorf("writes: %s", code)
	}
	type list struct {
		OperatorAccess struct {
			Nodes []struct{ ID, Reason, EndedAt string }
		}
	}
	const listDocument = `{ operatorAccess { nodes { id reason endedAt } } }`
	if got := ask[list](t, owner, listDocument, nil).OperatorAccess.Nodes; len(got) == 0 || got[0].ID != grant || got[0].Reason != reason {
		t.Errorf("the tenant sees %+v", got)
	}
	if got := ask[list](t, stranger, listDocument, nil).OperatorAccess.Nodes; len(got) != 0 {
		t.Errorf("the second tenant sees %+v", got)
	}
	if told := p.mailed(t, p.tenant(t, first).Members[0].Email, reason); told != reason {
		t.Errorf("the owner was told %q", told)
	}
	ask[any](t, operator, `mutation($input: LeaveTenantInput!) { leaveTenant(input: $input) { access { id } } }`,
		vars{"input": vars{"tenant": p.tenant(t, first).ID}})
	if code := refused(t, operator, `{ tenant { id } }`, nil, within...); code != "FORBIDDEN" {
		t.Errorf("after leaving: %s", code)
	}
	if got := ask[list](t, owner, listDocument, nil).OperatorAccess.Nodes; got[0].EndedAt == "" {
		t.Error("the tenant doesn't see that the operator left")
	}
}

func TestIdentityServerDown(t *testing.T) {
	p := running(t)
	known, fresh := p.member(t, first, "OWNER"), p.member(t, first, "DPO")
	known.viewer(t)
	asked := time.Now()
	pid := p.stack.PID(local.PartKratos)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	defer resume()
	if code, _ := known.refusal(t); code != "" {
		t.Errorf("a session that is known: %s", code)
	}
	if code, _ := fresh.refusal(t); code != "UNAVAILABLE" {
		t.Errorf("a session that isn't: %s", code)
	}
	if code, _ := p.machine(t, first).refusal(t); code != "" {
		t.Errorf("an API key: %s", code)
	}
	eventually(t, 45*time.Second, "the known session is asked about again", func() bool {
		code, _ := known.refusal(t)
		return code == "UNAVAILABLE"
	})
	t.Logf("a session outlived the identity server by %s", time.Since(asked).Round(time.Second))
	resume()
	eventually(t, 30*time.Second, "sessions work again", func() bool {
		a, _ := known.refusal(t)
		b, _ := fresh.refusal(t)
		return a == "" && b == ""
	})
}
