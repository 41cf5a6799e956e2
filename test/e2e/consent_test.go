package e2e_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConsentIsAGate is the journey of data that is used with consent: given to a
// portal, used, withdrawn by the person themselves, and refused at once.
func TestConsentIsAGate(t *testing.T) {
	p := running(t)
	p.indexed(t)
	c, stranger := p.machine(t, first), p.machine(t, second)
	const key = "gate.letters"
	_, notice := purposeAndNotice(t, c, key)
	h := p.someone()
	someone := ask[struct{ CreateSubject struct{ Subject person } }](t, c,
		`mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`, vars{"input": h.input()}).CreateSubject.Subject
	r := c.write(t, someone, c.documents(t), vars{"title": "A letter"})
	type shown struct {
		Record struct {
			Fields []struct{ State, Reason, Value string }
		}
	}
	use := func() string {
		t.Helper()
		f := ask[shown](t, c, `query($id: ID!) { record(id: $id) { fields { state reason value } } }`, vars{"id": r.ID}, "Vogter-Purpose", key).Record.Fields[0]
		return strings.TrimSpace(f.State + " " + f.Reason + " " + f.Value)
	}
	type standing struct {
		ConsentState struct {
			State string
			Valid bool
		}
	}
	state := func() string {
		t.Helper()
		s := ask[standing](t, c, `query($id: ID!, $purpose: String!) { consentState(subject: $id, purpose: $purpose) { state valid } }`,
			vars{"id": someone.ID, "purpose": key}).ConsentState
		if s.Valid {
			return s.State + " valid"
		}
		return s.State
	}
	if got := use() + ", " + state(); got != "WITHHELD CONSENT, UNKNOWN" {
		t.Errorf("before: %s", got)
	}
	give := vars{"input": vars{
		"subject": someone.ID, "purpose": key, "notice": notice, "context": vars{"language": "da", "channel": "WEB", "component": "planted component"},
	}}
	p.plant("planted component")
	ask[any](t, c, `mutation($input: GiveConsentInput!) { giveConsent(input: $input) { consent { id } } }`, give)
	if got := use() + ", " + state(); got != "CLEAR  A letter, GIVEN valid" {
		t.Errorf("with consent: %s", got)
	}

	self := p.enter(t, first, someone.Emails[0], "da")
	type mine struct {
		MyConsents []struct {
			Purpose, State, Consent string
			Valid                   bool
		}
	}
	own := ask[mine](t, self, `{ myConsents { purpose state valid consent } }`, nil).MyConsents
	if len(own) != 1 || own[0].Purpose != key || !own[0].Valid {
		t.Fatalf("the person sees %+v", own)
	}
	if got := ask[struct{ Node struct{ State string } }](t, self, `query($id: ID!) { node(id: $id) { ... on Consent { state } } }`,
		vars{"id": own[0].Consent}).Node.State; got != "GIVEN" {
		t.Errorf("the person's record is %s", got)
	}
	ask[any](t, self, `mutation($input: AnswerMyConsentsInput!) { answerMyConsents(input: $input) { consents { id } } }`,
		vars{"input": vars{"answers": []vars{{"purpose": key, "answer": "WITHDRAW"}}}})
	if got := use() + ", " + state(); got != "WITHHELD CONSENT, WITHDRAWN" {
		t.Errorf("after the withdrawal: %s", got)
	}
	if code := refused(t, c, `mutation($input: UpdateRecordInput!) { updateRecord(input: $input) { record { id } } }`,
		vars{"input": vars{"id": r.ID, "expectedVersion": r.Version, "fields": []vars{{"key": "title", "value": "x"}}}}, "Vogter-Purpose", key); code != "PRECONDITION" {
		t.Errorf("a change for the purpose: %s", code)
	}
	type events struct {
		ConsentHistory struct {
			Nodes []struct {
				State, Actor string
				Evidence     *struct{ Component *string }
			}
		}
	}
	history := ask[events](t, c, `query($id: ID!) { consentHistory(subject: $id) { nodes { state actor evidence { component } } } }`, vars{"id": someone.ID}).ConsentHistory.Nodes
	if len(history) != 3 || history[0].State != "WITHDRAWN" || history[0].Actor != "SELF" || *history[1].Evidence.Component != "planted component" {
		t.Errorf("the history is %+v", history)
	}
	type counts struct {
		ConsentReport struct {
			Standing []struct {
				State, Channel string
				Count          int
			}
		}
	}
	report := ask[counts](t, c, `query($key: String!) { consentReport(purposes: [$key]) { standing { state channel count } months { month } } }`, vars{"key": key})
	if s := report.ConsentReport.Standing; len(s) != 1 || s[0].State != "WITHDRAWN" || s[0].Count != 1 {
		t.Errorf("the report counts %+v", s)
	}
	eventually(t, 30*time.Second, "the check is done", func() bool {
		var checks struct {
			ErasureChecks struct {
				Nodes []struct{ Subject, Ground string }
			}
		}
		data, _ := c.graphql(t, `{ erasureChecks(state: NONE) { nodes { subject ground } } }`, nil)
		if err := json.Unmarshal(data, &checks); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(checks.ErasureChecks.Nodes, func(n struct{ Subject, Ground string }) bool {
			return n.Subject == someone.ID && n.Ground == "CONSENT_WITHDRAWN"
		})
	})

	// History from elsewhere comes in as a file.
	lines := []byte(`{"reference":"` + h.reference + `","purpose":"` + key + `","notice":"` + notice + `","language":"da","state":"GIVEN","at":"2020-01-01T00:00:00Z"}` + "\n")
	if got := c.importLines(t, "kind=consents", "gate", bytes.NewReader(lines)); got.Rejected != 1 { // before what is noted
		t.Errorf("the import tells %+v", got)
	}
	if code := refused(t, stranger, `query($id: ID!) { consentState(subject: $id, purpose: "gate.letters") { state } }`, vars{"id": someone.ID}); code != "NOT_FOUND" {
		t.Errorf("another tenant: %s", code)
	}

	// The proof outlives the person's data, as restricted as can be.
	handler, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	wish := begun(t, handler, someone, "ERASURE")
	wish.decided(t, handler, owner, vars{"outcome": "FULFILLED", "ground": "17(1)(b)", "plan": handler.previewErasure(t, someone).Hash})
	eventually(t, time.Minute, "nobody can read the person", func() bool { return c.identityOf(t, someone) == "ERASED" })
	wish.await(t, handler, "RESPONDED")
	if code := refused(t, c, `query($id: ID!, $purpose: String!) { consentState(subject: $id, purpose: $purpose) { state } }`,
		vars{"id": someone.ID, "purpose": key}); code != "ERASED" {
		t.Errorf("where the erased person stands: %s", code)
	}
	kept := ask[events](t, c, `query($id: ID!) { consentHistory(subject: $id) { nodes { state actor evidence { component } } } }`, vars{"id": someone.ID}).ConsentHistory.Nodes
	if len(kept) != len(history) {
		t.Fatalf("of %d events %d are kept", len(history), len(kept))
	}
	for i, e := range kept {
		if e.State != history[i].State || e.Actor != history[i].Actor || e.Evidence != nil {
			t.Errorf("after the erasure event %d is %+v, it was %+v", i, e, history[i])
		}
	}
}
