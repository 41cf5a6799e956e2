package e2e_test

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// logged is an AuditEntry without what it says of persons.
type logged struct {
	Action  string   `json:"action"`
	Object  string   `json:"object"`
	Outcome string   `json:"outcome"`
	Fields  []string `json:"fields"`
	Actor   struct {
		ID   string `json:"id"`
		Role string `json:"role"`
	} `json:"actor"`
	Subjects []struct {
		ID string `json:"id"`
	} `json:"subjects"`
}

// entries returns the newest entries of an action in the log of c's tenant.
func (c client) entries(t *testing.T, action string, since time.Time) []logged {
	t.Helper()
	return ask[struct {
		AuditLog struct {
			Nodes []logged `json:"nodes"`
		} `json:"auditLog"`
	}](t, c, `query($a: String, $from: Time) { auditLog(first: 100, filter: {action: $a, from: $from}) {
		nodes { action object outcome fields actor { id role } subjects { id } } } }`,
		vars{"a": action, "from": since.UTC().Format(time.RFC3339Nano)}).AuditLog.Nodes
}

// TestEveryEventLeavesItsEntry does each kind of thing that the audit log has to
// tell, by the doors that callers have, and finds it in the log of the tenant, and
// in no other.
func TestEveryEventLeavesItsEntry(t *testing.T) {
	p := running(t)
	began := time.Now().Add(-time.Second)
	portal, stranger := p.machine(t, first), p.machine(t, second)
	owner, operator := p.member(t, first, "OWNER"), p.member(t, provider, "OPERATOR")
	h, checked := p.someone(), p.someone()
	somebody := portal.createPerson(t, h.input())
	portal.person(t, somebody.ID)
	set := portal.documents(t)
	file := portal.upload(t, somebody, set, "a.pdf", strings.NewReader("%PDF-1.7"))
	record := portal.write(t, somebody, set, vars{"title": rand.Text(), "document": file})
	portal.record(t, record.ID)

	viewerID := func(c client) string {
		t.Helper()
		return c.viewer(t).Viewer.ID
	}
	gate := client{base: p.stack.Env().API}
	post := func(method, path, body string) answer {
		t.Helper()
		return gate.call(t, method, path, strings.NewReader(body), "Content-Type", "application/json", "Accept", "application/json")
	}

	dpo := p.member(t, first, "DPO")
	dpoID := viewerID(dpo)
	if a := post(http.MethodDelete, "/auth/self-service/logout/api", `{"session_token": "`+dpo.token+`"}`); a.status != http.StatusNoContent {
		t.Fatalf("sign-out at the door: %d %s", a.status, a.body)
	}
	leaving := p.member(t, first, "DPO")
	viewerID(leaving)
	ask[any](t, leaving, `mutation($input: SignOutInput!) { signOut(input: $input) { count } }`, vars{"input": vars{}})

	flow := post(http.MethodGet, "/auth/self-service/login/api", "")
	_, id, _ := strings.Cut(string(flow.body), `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	if a := post(http.MethodPost, "/auth/self-service/login?flow="+id, `{"method": "password", "identifier": "nobody-`+strings.ToLower(rand.Text())+`@members.example", "password": "wrong"}`); a.status != http.StatusBadRequest {
		t.Fatalf("a wrong password: %d", a.status)
	}

	key := owner.createKey(t, vars{"name": "entries", "permissions": []string{"SUBJECT_READ"}})
	fresh := client{base: portal.base, token: key.Secret}
	ask[any](t, fresh, `query($id: ID!) { subject(id: $id) { id } }`, vars{"id": somebody.ID})
	if code, _ := (client{base: portal.base, token: key.Secret[:len(key.Secret)-4] + "aaaa"}).refusal(t); code != "UNAUTHENTICATED" {
		t.Errorf("a wrong secret: %s", code)
	}
	if code, _ := (client{base: portal.base, token: "vgt_nobody_nothing"}).refusal(t); code != "UNAUTHENTICATED" {
		t.Errorf("an unknown key: %s", code)
	}
	if code := refused(t, fresh, `{ members { nodes { id } } }`, nil); code != "FORBIDDEN" {
		t.Errorf("what the key may not do: %s", code)
	}

	self := p.enter(t, first, h.email, "en")
	ask[any](t, self, `mutation($input: SignOutSubjectInput!) { signOutSubject(input: $input) { count } }`, vars{"input": vars{}})

	made := portal.requestExport(t, somebody)
	portal.finish(t, made.Job.ID, time.Minute)
	if a := portal.call(t, http.MethodGet, portal.grant(t, made.ID).URL, http.NoBody); a.status != http.StatusOK {
		t.Fatalf("download: %d", a.status)
	}

	imported := portal.importLines(t, "mapping=legislators", rand.Text(), strings.NewReader(legislatorLine(checked)))
	portal.importLines(t, "mapping=legislators&mode=check", rand.Text(), strings.NewReader(legislatorLine(checked)))
	found := portal.findOne(t, vars{"reference": checked.reference})

	policy := ask[struct {
		ProposeTenantPolicy struct{ Policy struct{ ID string } }
	}](t, owner, `mutation($input: ProposeTenantPolicyInput!) { proposeTenantPolicy(input: $input) { policy { id } } }`,
		vars{"input": vars{"name": "entries-" + strings.ToLower(rand.Text()), "description": "x", "source": `forbid (principal, action == Action::"EXPORT_REQUEST", resource);`}}).ProposeTenantPolicy.Policy.ID
	member := ask[struct {
		InviteMember struct{ Member struct{ ID string } }
	}](t, owner, `mutation($input: InviteMemberInput!) { inviteMember(input: $input) { member { id } } }`,
		vars{"input": vars{"email": strings.ToLower(rand.Text()) + "@members.example", "role": "DEVELOPER"}}).InviteMember.Member.ID
	config := p.stack.Env().Config
	if out, err := p.vogter(t, config.Environ(), "admin", "sign", "rotate", "package"); err != nil {
		t.Errorf("new keys: %s", out)
	}
	portal.deleteRecord(t, record)

	for _, tt := range []struct {
		event   string
		action  string
		log     client // whose
		object  string // "" for any
		subject string // likewise
		actor   string // likewise
		outcome string // OK when empty
		field   string // that the fields must have
	}{
		{event: "a change", action: "subject.create", log: owner, object: somebody.ID, subject: somebody.ID},
		{event: "another change", action: "record.write", log: owner, object: record.ID, subject: somebody.ID},
		{event: "a deletion", action: "record.delete", log: owner, object: record.ID, subject: somebody.ID},
		{event: "an upload", action: "file.upload", log: owner, object: file, subject: somebody.ID},
		{event: "an upload that ended", action: "file.store", log: owner, object: file, subject: somebody.ID},
		{event: "a read", action: "subject.read", log: owner, object: somebody.ID, subject: somebody.ID, actor: key.APIKey.ID},
		{event: "a read of a record", action: "record.read", log: owner, object: record.ID, subject: somebody.ID},
		{event: "a search", action: "subject.find", log: owner, subject: found.ID},
		{event: "a read of the log", action: "audit.read", log: owner},
		{event: "a refusal", action: "members", log: owner, actor: key.APIKey.ID, outcome: "REFUSED"},
		{event: "a sign-in", action: "member.signIn", log: owner, actor: dpoID, field: "aal1"},
		{event: "an operator's sign-in", action: "operator.signIn", log: operator},
		{event: "a sign-out at the door", action: "member.signOut", log: owner, actor: dpoID},
		{event: "a sign-out by the API", action: "session.revoke", log: owner, actor: dpoID},
		{event: "a sign-in that failed", action: "anonymous.refused", log: operator, outcome: "REFUSED", field: "POST /auth/self-service/login"},
		{event: "an unknown key", action: "anonymous.refused", log: operator, outcome: "REFUSED", field: "UNAUTHENTICATED"},
		{event: "a machine client's first use", action: "machine.signIn", log: owner, actor: key.APIKey.ID},
		{event: "a machine client that was refused", action: "machine.refused", log: owner, object: key.APIKey.ID, outcome: "REFUSED", field: "SECRET"},
		{event: "a person's sign-in", action: "subject.signIn", log: owner, subject: somebody.ID},
		{event: "a person's sign-out", action: "subject.signOut", log: owner, subject: somebody.ID},
		{event: "a job that began", action: "job.start", log: owner, object: made.Job.ID},
		{event: "a job's step on a person", action: "export.build", log: owner, object: made.ID, subject: somebody.ID},
		{event: "the job's result", action: "export.ready", log: owner, object: made.ID, subject: somebody.ID},
		{event: "a job that ended", action: "job.finish", log: owner, object: made.Job.ID},
		{event: "a download asked for", action: "download.grant", log: owner, object: made.ID, subject: somebody.ID},
		{event: "a download", action: "download.open", log: owner, object: made.ID, subject: somebody.ID},
		{event: "an import", action: "import.finish", log: owner, object: imported.ID},
		{event: "a check of an import", action: "import.check", log: owner, subject: found.ID},
		{event: "a policy", action: "policy.propose", log: owner, object: policy},
		{event: "an invitation", action: "member.invite", log: owner, object: member},
		{event: "a key", action: "apiKey.create", log: owner, object: key.APIKey.ID},
		{event: "a new signing key", action: "sign.key.rotate", log: operator},
	} {
		t.Run(tt.event, func(t *testing.T) {
			if tt.outcome == "" {
				tt.outcome = "OK"
			}
			is := func(e logged) bool {
				return e.Outcome == tt.outcome && (tt.object == "" || e.Object == tt.object) && (tt.actor == "" || e.Actor.ID == tt.actor) &&
					(tt.field == "" || slices.Contains(e.Fields, tt.field)) &&
					(tt.subject == "" || len(e.Subjects) == 1 && e.Subjects[0].ID == tt.subject)
			}
			// Refused calls are written by the minute.
			eventually(t, 90*time.Second, "the log has "+tt.action, func() bool { return slices.ContainsFunc(tt.log.entries(t, tt.action, began), is) })
			if tt.object+tt.subject+tt.actor != "" && slices.ContainsFunc(stranger.entries(t, tt.action, began), is) {
				t.Error("another tenant's log has it")
			}
		})
	}
	for _, e := range owner.entries(t, "member.signIn", began) {
		if e.Actor.ID == dpoID && e.Actor.Role != "DPO" {
			t.Errorf("the role of who signed in is %s", e.Actor.Role)
		}
	}
}
