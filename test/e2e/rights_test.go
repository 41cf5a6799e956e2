package e2e_test

import (
	"crypto/rand"
	"maps"
	"strings"
	"testing"
	"time"
)

// told is the text of the last letter, which must be of a form.
func (r *wish) told(t *testing.T, form string) string {
	t.Helper()
	last := r.Letters[len(r.Letters)-1]
	if last.Forms[0] != form {
		t.Fatalf("the last letter is %v, want %s", last.Forms, form)
	}
	return last.Text
}

// TestCorrectionByTwo: a handler plans a correction, another approves it, and the record,
// the person and the letter are as planned.
func TestCorrectionByTwo(t *testing.T) {
	p := running(t)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	h := p.someone()
	s := c.createPerson(t, h.input())
	set := c.documents(t)
	row := c.write(t, s, set, vars{"title": h.name})
	right, said := "title "+rand.Text(), "statement "+rand.Text()
	p.plant(right, said)
	r := begun(t, handler, s, "RECTIFICATION")
	r.step(t, handler, "planCorrection", vars{
		"item": r.Items[0].ID, "records": []vars{{"id": row.ID, "expectedVersion": row.Version, "fields": []vars{{"key": "title", "value": right}}}},
		"subject":    vars{"expectedVersion": s.Version, "phones": []string{}},
		"statements": []vars{{"record": row.ID, "expectedVersion": row.Version, "text": said}},
	})
	planned := correctionOf(t, handler, r)
	if len(planned.Records) != 1 || planned.Records[0].Stand != "READY" || planned.Records[0].Before.Fields[0].Value != h.name ||
		planned.Records[0].After.Fields[0].Value != right || planned.Subject.Fields[0] != "phones" {
		t.Fatalf("planned %+v", planned)
	}
	r.decided(t, handler, owner, vars{"outcome": "FULFILLED", "plan": planned.Hash})
	r.await(t, handler, "RESPONDED")
	if text := r.told(t, "rectification-answer"); !strings.Contains(text, set.Name+": title") || strings.Contains(text, right) || strings.Contains(text, said) {
		t.Errorf("the letter says %s", text)
	}
	now := ask[struct {
		Record struct {
			Fields     []struct{ Value string }
			Statements []struct{ Text, Item string }
		}
	}](t, handler, `query($id: ID!) { record(id: $id) { fields { value } statements { text item } } }`, vars{"id": row.ID}).Record
	if now.Fields[0].Value != right || len(now.Statements) != 1 || now.Statements[0].Text != said || now.Statements[0].Item != r.Items[0].ID {
		t.Errorf("the record is %+v", now)
	}
	if left := correctionOf(t, handler, r); len(left.Records) != 0 || len(left.Changed) != 2 {
		t.Errorf("left with the request: %+v", left)
	}
}

// correction is what is to be corrected, as the API shows it.
type correction struct {
	Hash    string
	Changed []string
	Subject *struct{ Fields []string }
	Records []struct {
		Stand         string
		Before, After struct{ Fields []struct{ Value string } }
	}
}

func correctionOf(t *testing.T, c client, r *wish) correction {
	t.Helper()
	return ask[struct {
		Request struct {
			Items []struct{ Correction correction }
		}
	}](t, c, `query($id: ID!) { request(id: $id) { items { correction {
		hash changed subject { fields } records { stand before { fields { value } } after { fields { value } } }
	} } } }`, vars{"id": r.ID}).Request.Items[0].Correction
}

// TestRestrictionByTwo: what is restricted is read by nobody until the person was told,
// and the day has come.
func TestRestrictionByTwo(t *testing.T) {
	p := running(t)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	s := c.createPerson(t, p.someone().input())
	r := begun(t, handler, s, "RESTRICTION")
	preview := ask[struct{ PreviewRestriction struct{ Hash, State string } }](t, handler,
		`query($id: ID!) { previewRestriction(subject: $id, ground: "18(1)(a)") { hash state } }`, vars{"id": s.ID}).PreviewRestriction
	r.decided(t, handler, owner, vars{"outcome": "FULFILLED", "ground": "18(1)(a)", "plan": preview.Hash})
	r.await(t, handler, "RESPONDED")
	r.told(t, "restriction-confirmed")
	who := ask[struct {
		Subject struct{ Identity, IdentityReason string }
	}](t, handler, `query($id: ID!) { subject(id: $id) { identity identityReason } }`, vars{"id": s.ID}).Subject
	if who.Identity != "WITHHELD" || who.IdentityReason != "RESTRICTED" {
		t.Errorf("who it is, is %+v", who)
	}
	in := vars{
		"request": r.ID, "item": r.Items[0].ID, "liftOn": time.Now().AddDate(0, 0, 14).Format(time.DateOnly),
		"reason": "It was right.", "consequences": "It is used again.",
	}
	cause := ask[struct {
		AnnounceLifting struct {
			Restriction struct {
				Causes []struct {
					Ground string
					Notice struct{ LiftOn, Letter string }
				}
			}
		}
	}](t, handler, `mutation($input: AnnounceLiftingInput!) { announceLifting(input: $input) { restriction { causes { ground notice { liftOn letter } } } } }`,
		vars{"input": in}).AnnounceLifting.Restriction.Causes[0]
	r.read(t, handler)
	if cause.Notice.Letter != r.Letters[len(r.Letters)-1].ID || !strings.Contains(r.told(t, "restriction-before-lifting"), "It was right.") {
		t.Errorf("told by %+v", cause)
	}
	lift := `mutation($input: LiftRestrictionInput!) { liftRestriction(input: $input) { restriction { subject } } }`
	for want, by := range map[string]client{"FORBIDDEN": handler, "PRECONDITION": owner} {
		if code := refused(t, by, lift, vars{"input": vars{"subject": s.ID, "item": r.Items[0].ID}}); code != want {
			t.Errorf("lifted before the day: %s, want %s", code, want)
		}
	}
}

// TestObjectionAndReview: an objection is rejected on grounds that were weighed, and a
// person looks at an automated decision; machines can't.
func TestObjectionAndReview(t *testing.T) {
	p := running(t)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	s := c.createPerson(t, p.someone().input())
	r := begun(t, handler, s, "OBJECTION")
	refusal := vars{"item": r.Items[0].ID, "outcome": "REFUSED", "refusal": "COMPELLING_GROUNDS", "reason": "See below."}
	in := vars{"id": r.ID, "expectedVersion": r.Version}
	maps.Copy(in, refusal)
	if code := refused(t, handler, `mutation($input: DecideItemInput!) { decideItem(input: $input) { request { id } } }`, vars{"input": in}); code != "PRECONDITION" {
		t.Errorf("rejected without weighing: %s", code)
	}
	r.step(t, handler, "weighObjection", vars{
		"item": r.Items[0].ID, "processing": "looking for fraud", "grounds": "I was named in error.", "compelling": "Frauds were stopped by it.",
		"balance": "The error is another's.", "verdict": "REJECTED",
	})
	refusal["plan"] = ask[struct {
		Request struct {
			Items []struct{ Weighing struct{ Hash string } }
		}
	}](t, handler, `query($id: ID!) { request(id: $id) { items { weighing { hash verdict grounds } } } }`, vars{"id": r.ID}).Request.Items[0].Weighing.Hash
	r.decided(t, handler, owner, refusal)
	r.await(t, handler, "RESPONDED")
	if text := r.told(t, "objection-rejected"); !strings.Contains(text, "Frauds were stopped by it.") {
		t.Errorf("the letter says %s", text)
	}

	r = begun(t, handler, s, "AUTOMATED_DECISION")
	review := vars{
		"item": r.Items[0].ID, "mayChange": true, "view": "My income is higher.", "explanation": "A score of income and age.",
		"reasons": "It was out of date.", "result": "It is granted.", "finding": "CHANGED",
	}
	in = vars{"id": r.ID, "expectedVersion": r.Version}
	maps.Copy(in, review)
	if code := refused(t, c, `mutation($input: ReviewDecisionInput!) { reviewDecision(input: $input) { request { id } } }`, vars{"input": in}); code != "FORBIDDEN" {
		t.Errorf("reviewed by a machine: %s", code)
	}
	r.step(t, handler, "reviewDecision", review)
	hash := ask[struct {
		Request struct {
			Items []struct{ Review struct{ Hash string } }
		}
	}](t, owner, `query($id: ID!) { request(id: $id) { items { review { hash reviewer finding } } } }`, vars{"id": r.ID}).Request.Items[0].Review.Hash
	r.decided(t, handler, owner, vars{"outcome": "FULFILLED", "plan": hash})
	r.await(t, handler, "RESPONDED")
	if text := r.told(t, "automated-decision-review"); !strings.Contains(text, "It is granted.") {
		t.Errorf("the letter says %s", text)
	}
}
