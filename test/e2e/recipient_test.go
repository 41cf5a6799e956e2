package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// chores are a task of a request, what it could be made by, and an id as that of a
// notice to a recipient.
type chores struct{ template, task, notice string }

// chores makes a template that makes no task, and a task of a request.
func (p *platform) chores(t *testing.T, r *wish) chores {
	t.Helper()
	template := p.taskTemplate(t, "AUTOMATED_DECISION", "PARALLEL")
	made := ask[struct {
		CreateTask struct{ Task struct{ ID string } }
	}](t, p.member(t, first, "CASE_HANDLER"), `mutation($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }`,
		vars{"input": vars{"request": r.ID, "item": r.Items[0].ID, "form": vars{"name": "walk", "stage": "PARALLEL"}}}).CreateTask.Task.ID
	return chores{template, made, "rcn_" + strings.TrimPrefix(r.ID, "req_")}
}

func (p *platform) taskTemplate(t *testing.T, right, stage string) string {
	t.Helper()
	return ask[struct {
		CreateTaskTemplate struct{ Template struct{ ID string } }
	}](t, p.member(t, first, "OWNER"), `mutation($input: CreateTaskTemplateInput!) { createTaskTemplate(input: $input) { template { id } } }`,
		vars{"input": vars{"right": right, "form": vars{
			"name": "Old archive", "stage": stage, "attachment": true, "fields": []vars{{"key": "found", "label": "Found", "type": "YES_NO", "required": true}},
		}}}).CreateTaskTemplate.Template.ID
}

// TestRecipients restricts a person's data: after people have done their part in a
// system outside, the recipient is told, and answers by the link in its mail.
func TestRecipients(t *testing.T) {
	p := running(t)
	owner, handler := p.member(t, first, "OWNER"), p.member(t, first, "CASE_HANDLER")
	h := p.someone()
	s := ask[struct{ CreateSubject struct{ Subject person } }](t, p.machine(t, first),
		`mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`, vars{"input": h.input()}).CreateSubject.Subject
	const address = "art19@recipient.example"
	bank := ask[struct {
		CreateParty struct{ Party struct{ ID string } }
	}](t, owner, `mutation($input: CreatePartyInput!) { createParty(input: $input) { party { id } } }`, vars{"input": vars{"party": vars{
		"legalName": "Told Bank", "country": "SE", "roles": []string{"RECIPIENT"}, "contact": vars{"name": "Office", "email": address},
	}}}).CreateParty.Party.ID
	ask[any](t, handler, `mutation($input: RecordDisclosuresInput!) { recordDisclosures(input: $input) { disclosures { id } } }`, vars{"input": vars{"disclosures": []vars{{
		"subject": s.ID, "recipient": bank, "categories": []string{"pd:Name"}, "legalBasis": "eu-gdpr:A6-1-c", "purpose": "kyc",
		"at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "reference": "matter 4711-B",
	}}}})
	template := p.taskTemplate(t, "RESTRICTION", "PRE")
	defer ask[any](t, owner, `mutation($input: RetireTaskTemplateInput!) { retireTaskTemplate(input: $input) { template { id } } }`,
		vars{"input": vars{"id": template, "expectedVersion": 1}})

	r := openRequest(t, handler, s.Emails[0], "RESTRICTION")
	r.step(t, handler, "identifyRequester", vars{"subject": s.ID, "method": "CALL_BACK_KNOWN_NUMBER"})
	preview := ask[struct{ PreviewRestriction struct{ Hash string } }](t, handler,
		`query($subject: ID!) { previewRestriction(subject: $subject, ground: "18(1)(a)") { hash } }`, vars{"subject": s.ID}).PreviewRestriction.Hash
	read := func() {
		*r = ask[struct{ Request wish }](t, handler, `query($id: ID!) { request(id: $id) {`+requestFields+`} }`, vars{"id": r.ID}).Request
	}
	read()
	r.step(t, handler, "decideItem", vars{"item": r.Items[0].ID, "outcome": "FULFILLED", "ground": "18(1)(a)", "plan": preview})
	if code := refused(t, handler, `mutation($input: SubmitRequestInput!) { submitRequest(input: $input) { request { id } } }`, vars{"input": vars{"id": r.ID, "expectedVersion": r.Version}}); code != "PRECONDITION" {
		t.Errorf("given to review before the task: %s", code)
	}
	type chore struct {
		ID, Name, State string
		Version         int64
		Files           []string
	}
	tasks := func() []chore {
		return ask[struct{ Tasks struct{ Nodes []chore } }](t, handler,
			`query($id: ID!) { tasks(request: $id) { nodes { id name state version files } } }`, vars{"id": r.ID}).Tasks.Nodes
	}
	todo := tasks()
	if len(todo) != 1 || todo[0].Name != "Old archive" {
		t.Fatalf("tasks %+v", todo)
	}
	p.plant("a page on " + h.name)
	up := handler.call(t, http.MethodPut, "/v1/uploads?request="+r.ID, strings.NewReader("a page on "+h.name), "Vogter-File-Name", "page.txt", "Content-Type", "text/plain")
	var page struct{ ID string }
	if err := json.Unmarshal(up.body, &page); err != nil || up.status != http.StatusCreated {
		t.Fatalf("upload: %d %s", up.status, up.body)
	}
	ask[any](t, handler, `mutation($input: CompleteTaskInput!) { completeTask(input: $input) { task { id } } }`, vars{"input": vars{
		"id": todo[0].ID, "expectedVersion": todo[0].Version, "answers": []vars{{"key": "found", "value": "true"}}, "files": []string{page.ID},
	}})
	read()
	r.step(t, handler, "submitRequest", nil)
	r.step(t, owner, "approveRequest", vars{"holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true})
	type notice struct {
		ID, State, Channel, Result string
		References                 []string
		Version                    int64
	}
	told := func() notice {
		found := ask[struct{ RecipientNotices struct{ Nodes []notice } }](t, handler,
			`query($id: ID!) { recipientNotices(request: $id) { nodes { id state channel result references version } } }`, vars{"id": r.ID}).RecipientNotices.Nodes
		if len(found) != 1 {
			return notice{}
		}
		return found[0]
	}
	eventually(t, 60*time.Second, "the recipient is told", func() bool { return told().State == "SENT" })
	n := told()
	if n.Channel != "MAIL" || len(n.References) != 1 || n.References[0] != "matter 4711-B" {
		t.Errorf("told %+v", n)
	}
	var link string
	for _, m := range mails(t, p) {
		if slices.Contains(m.To, address) && strings.Contains(m.Text, n.ID) {
			if strings.Contains(m.Text, h.name) || !strings.Contains(m.Text, "matter 4711-B") {
				t.Errorf("the notice says %s", m.Text)
			}
			_, rest, _ := strings.Cut(m.Text, "/recipients/")
			link = "/recipients/" + strings.Fields(rest)[0]
		}
	}
	if link == "" {
		t.Fatal("no mail")
	}
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	anybody := client{base: handler.base}
	a := anybody.call(t, http.MethodGet, u.Path, http.NoBody)
	if a.status != http.StatusOK || !strings.Contains(string(a.body), "matter 4711-B") || strings.Contains(string(a.body), h.name) {
		t.Errorf("the page: %d %s", a.status, a.body)
	}
	a = anybody.call(t, http.MethodPost, u.Path, strings.NewReader("result=DONE"), "Content-Type", "application/x-www-form-urlencoded")
	if a.status != http.StatusOK || told().State != "ACKNOWLEDGED" {
		t.Errorf("answered: %d, %+v", a.status, told())
	}
	eventually(t, 60*time.Second, "the request is answered", func() bool {
		read()
		return r.State == "RESPONDED"
	})
	r.step(t, handler, "confirmDelivery", nil)
	r.step(t, handler, "closeRequest", nil)
	if r.State != "CLOSED" {
		t.Errorf("at last %s", r.State)
	}
}
