package e2e_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/retention"
)

// citizen is a person of the real file, whom the tenant learns a mail address of.
func (p *platform) citizen(t *testing.T, n int) (legislator, person) {
	t.Helper()
	c, l, h := p.machine(t, first), readLegislators(t)[n], p.someone()
	s := c.findOne(t, vars{"reference": l.Reference})
	return l, ask[struct{ UpdateSubject struct{ Subject person } }](t, c, updateSubject,
		vars{"input": vars{"id": s.ID, "expectedVersion": s.Version, "emails": []string{h.email}}}).UpdateSubject.Subject
}

// openMine has a person make a request themselves, which work begins on at once.
func openMine(t *testing.T, me, handler client, right string, more vars) *wish {
	t.Helper()
	item := vars{"type": right}
	maps.Copy(item, more)
	r := &wish{ID: ask[struct {
		OpenMyRequest struct{ Request struct{ ID string } }
	}](t, me,
		`mutation($input: OpenMyRequestInput!) { openMyRequest(input: $input) { request { id } } }`,
		vars{"input": vars{"language": "en", "items": []vars{item}}}).OpenMyRequest.Request.ID}
	r.read(t, handler)
	return r
}

// searched waits until every place has answered.
func (r *wish) searched(t *testing.T, handler client) {
	t.Helper()
	eventually(t, time.Minute, "every place has answered", func() bool {
		return len(ask[struct {
			Request struct{ Answers []struct{ System string } }
		}](t, handler, `query($id: ID!) { request(id: $id) { answers { system } } }`, vars{"id": r.ID}).Request.Answers) > 0
	})
	r.read(t, handler)
}

// mine is a request as the person sees it.
type mine struct {
	ID, State string
	Items     []struct {
		Outcome string
		Results []string
	}
	Letters []struct{ ID, Text string }
}

func (c client) mine(t *testing.T, r *wish) mine {
	t.Helper()
	all := ask[struct{ MyRequests struct{ Nodes []mine } }](t, c, `{ myRequests { nodes { id state items { outcome results } letters { id text } } } }`, nil).MyRequests.Nodes
	for _, m := range all {
		if m.ID == r.ID {
			return m
		}
	}
	t.Fatalf("the person sees %+v", all)
	return mine{}
}

// fetched is an answer as the person downloads it: its files by name.
func (p *platform) fetched(t *testing.T, me client, object string) map[string]string {
	t.Helper()
	url := me.grant(t, object).URL
	a := me.call(t, http.MethodGet, url[strings.Index(url, "/v1/"):], http.NoBody)
	if a.status != http.StatusOK {
		t.Fatalf("the package: %d", a.status)
	}
	if out, err := p.verify(t, a.body); err != nil || !strings.HasPrefix(out, "OK") {
		t.Errorf("verify: %v: %s", err, out)
	}
	if out, err := p.verify(t, bytes.Replace(slices.Clone(a.body), []byte("manifest"), []byte("menifest"), 1)); err == nil {
		t.Errorf("altered, it verifies: %s", out)
	}
	z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range z.File {
		files[f.Name] = string(unzip(t, f))
	}
	return files
}

const approve = `mutation($input: ApproveRequestInput!) { approveRequest(input: $input) { request { id } } }`

// TestAccess answers somebody of the real file: asked for by themselves, approved by
// another than who prepared it, fetched, checked offline, and read.
func TestAccess(t *testing.T) {
	p := running(t)
	l, s := p.citizen(t, 100)
	me, handler, owner := p.enter(t, first, s.Emails[0], "en"), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	r := openMine(t, me, handler, "ACCESS", nil)
	r.searched(t, handler)
	r.step(t, handler, "decideItem", vars{"item": r.Items[0].ID, "outcome": "FULFILLED"})
	r.step(t, handler, "submitRequest", nil)
	again := checked()
	again["id"], again["expectedVersion"] = r.ID, r.Version
	if code := refused(t, handler, approve, vars{"input": again}); code != "FORBIDDEN" {
		t.Errorf("who prepares it approves it: %s", code)
	}
	if code := refused(t, p.member(t, second, "OWNER"), approve, vars{"input": again}); code != "NOT_FOUND" {
		t.Errorf("another tenant approves it: %s", code)
	}
	r.step(t, owner, "approveRequest", checked())
	r.await(t, handler, "RESPONDED")

	seen := me.mine(t, r)
	if seen.Items[0].Outcome != "FULFILLED" || len(seen.Items[0].Results) != 1 || len(seen.Letters) != 2 {
		t.Fatalf("the person sees %+v", seen)
	}
	files := p.fetched(t, me, seen.Items[0].Results[0])
	for name, has := range map[string]string{
		"data/identity.json": l.Name.Full, "data/profile.json": `"` + l.Party + `"`, "statement.pdf": "%PDF-", "statement.html": "Datatilsynet",
	} {
		if !strings.Contains(files[name], has) {
			t.Errorf("%s of %v doesn't say %s", name, slices.Sorted(maps.Keys(files)), has)
		}
	}
	var terms []json.RawMessage
	if err := json.Unmarshal([]byte(files["data/terms-of-office.json"]), &terms); err != nil || len(terms) != len(l.Terms) {
		t.Errorf("the package has %d terms of %d, %v", len(terms), len(l.Terms), err)
	}
	for _, stranger := range []client{p.member(t, second, "OWNER"), p.machine(t, second)} {
		if code := refused(t, stranger, grantDocument, vars{"input": vars{"object": seen.Items[0].Results[0]}}); code != "NOT_FOUND" && code != "FORBIDDEN" {
			t.Errorf("another tenant downloads it: %s", code)
		}
	}
	r.closed(t, handler)

	// A complaint: it is taken up again, answered anew, and due when it was.
	due := r.Deadline.Due
	r.step(t, owner, "reopenRequest", vars{"reason": "The person misses a letter.", "items": []string{r.Items[0].ID}})
	if r.State != "IN_PROGRESS" || r.Clock != "RUNNING" || r.Deadline.Due != due || r.Items[0].Outcome != "" {
		t.Errorf("reopened %+v", r)
	}
	r.decided(t, handler, owner, vars{"outcome": "REFUSED", "refusal": "RIGHTS_OF_OTHERS", "reason": "The letter is another's.", "article": "GDPR Art. 15(4)"})
	r.await(t, handler, "RESPONDED")
	if len(r.Letters) != 3 || r.Reply.Hash != r.Letters[2].Hash {
		t.Errorf("answered again %+v", r)
	}
	r.closed(t, handler)
}

// TestPortability hands a person what they provided for a contract, and no more.
func TestPortability(t *testing.T) {
	p := running(t)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	_, s := p.citizen(t, 101)
	bought, noted := c.documents(t), c.documents(t)
	c.write(t, s, bought, vars{"title": "Ordered by themselves"})
	c.write(t, s, noted, vars{"title": "Of no contract"})
	me := ask[struct{ Viewer struct{ ID string } }](t, handler, `{ viewer { id } }`, nil).Viewer.ID
	p.contract(t, handler, c, me, bought)
	self := p.enter(t, first, s.Emails[0], "en")
	r := openMine(t, self, handler, "PORTABILITY", nil)
	r.searched(t, handler)
	r.decided(t, handler, owner, vars{"outcome": "FULFILLED"})
	r.await(t, handler, "RESPONDED")
	files := p.fetched(t, self, self.mine(t, r).Items[0].Results[0])
	all := strings.Join(slices.Collect(maps.Values(files)), "\n")
	if !strings.Contains(all, "Ordered by themselves") || strings.Contains(all, "Of no contract") || files["statement.pdf"] != "" || files["data/profile.json"] != "" {
		t.Errorf("the package has %v", slices.Sorted(maps.Keys(files)))
	}
}

// contract records that a dataset is processed for contracts.
func (p *platform) contract(t *testing.T, handler, c client, owner string, set dataset) {
	t.Helper()
	content := letters()
	content["term"], content["legalBasis"], content["marketing"], content["optional"] = "dpv:CustomerRelationshipManagement", "eu-gdpr:A6-1-b", false, false
	delete(content, "validityMonths")
	type made struct {
		ID      string
		Edit    int
		Version int64
	}
	purpose := ask[struct{ CreatePurpose struct{ Purpose made } }](t, c, `mutation($input: CreatePurposeInput!) { createPurpose(input: $input) { purpose { id edit } } }`,
		vars{"input": vars{"key": "sales", "content": content}}).CreatePurpose.Purpose
	ask[any](t, c, `mutation($input: PublishPurposeInput!) { publishPurpose(input: $input) { purpose { id } } }`, vars{"input": vars{"id": purpose.ID, "expectedEdit": purpose.Edit}})
	a := ask[struct{ CreateProcessingActivity struct{ Activity made } }](t, handler,
		`mutation($input: CreateProcessingActivityInput!) { createProcessingActivity(input: $input) { activity { id version } } }`,
		vars{"input": vars{"hat": "CONTROLLER", "nextReviewOn": "2031-01-01", "content": vars{
			"name": vars{"da": "Salg", "en": "Sales"}, "owner": owner, "datasets": []string{set.ID},
			"controller": vars{
				"purposes": []string{purpose.ID}, "legalBases": []vars{{"basis": "A6_1_B"}}, "subjectCategories": []vars{{"term": "dpv:Customer"}},
				"dataCategories": []vars{{"term": "pd:Name", "timeLimit": vars{"da": "3 år"}}}, "impactNeed": "NOT_NEEDED", "impactReason": vars{"da": "Lille."},
			},
		}}}).CreateProcessingActivity.Activity
	ask[any](t, handler, `mutation($input: ActivateProcessingActivityInput!) { activateProcessingActivity(input: $input) { activity { id } } }`,
		vars{"input": vars{"id": a.ID, "expectedVersion": a.Version}})
}

// TestClockOfRequest pauses a request for a question, goes on with the answer,
// extends it with notice, and ends it when the person takes it back.
func TestClockOfRequest(t *testing.T) {
	p := running(t)
	_, s := p.citizen(t, 102)
	handler, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	r := openRequest(t, handler, s.Emails[0], "ACCESS")
	due := r.Deadline.Due
	r.step(t, handler, "askIdentity", vars{
		"reasonForDoubt": "The address isn't the one on file.", "asked": "The date of your last letter.", "proportionality": "Only you and we know it.",
	})
	if r.State != "AWAITING_IDENTITY" || r.Clock != "PAUSED" || r.Deadline.Due != "" {
		t.Errorf("asked %+v", r)
	}
	r.step(t, handler, "remindRequester", nil)
	if code := refused(t, owner, `mutation($input: GiveUpIdentityInput!) { giveUpIdentity(input: $input) { request { id } } }`,
		vars{"input": vars{"id": r.ID, "expectedVersion": r.Version, "reason": "No answer."}}); code != "PRECONDITION" {
		t.Errorf("given up too early: %s", code)
	}
	r.step(t, handler, "identifyRequester", vars{"subject": s.ID, "method": "KNOWN_FACTS"})
	if r.State != "IN_PROGRESS" || r.Clock != "RUNNING" || r.Deadline.Due < due {
		t.Errorf("identified %+v, was due on %s", r, due)
	}
	r.searched(t, handler)
	if code := refused(t, handler, `mutation($input: ExtendRequestInput!) { extendRequest(input: $input) { request { id } } }`,
		vars{"input": vars{"id": r.ID, "expectedVersion": r.Version, "reason": "Many letters."}}); code != "FORBIDDEN" {
		t.Errorf("extended by a handler: %s", code)
	}
	due = r.Deadline.Due
	r.step(t, owner, "extendRequest", vars{"reason": "There are many letters to look through."})
	from, err := time.Parse(time.DateOnly, due)
	if err != nil {
		t.Fatal(err)
	}
	to, err := time.Parse(time.DateOnly, r.Deadline.Due)
	if err != nil {
		t.Fatal(err)
	}
	if days := int(to.Sub(from).Hours() / 24); days < 54 || days > 70 {
		t.Errorf("extended by %d days, from %s to %s", days, due, r.Deadline.Due)
	}
	if code := refused(t, owner, `mutation($input: ExtendRequestInput!) { extendRequest(input: $input) { request { id } } }`,
		vars{"input": vars{"id": r.ID, "expectedVersion": r.Version, "reason": "Still more."}}); code != "PRECONDITION" {
		t.Errorf("extended twice: %s", code)
	}
	me := p.enter(t, first, s.Emails[0], "en")
	ask[any](t, me, `mutation($input: WithdrawMyRequestInput!) { withdrawMyRequest(input: $input) { request { id } } }`, vars{"input": vars{"id": r.ID}})
	r.read(t, handler)
	var forms []string
	for _, l := range r.Letters {
		forms = append(forms, l.Forms...)
	}
	if want := "acknowledgement identity-request identity-reminder extension-notice request-withdrawal-confirmed"; r.State != "WITHDRAWN" ||
		r.Clock != "STOPPED" || r.Items[0].Outcome != "WITHDRAWN" || strings.Join(forms, " ") != want {
		t.Errorf("withdrawn as %s %s, with the letters %v", r.State, r.Clock, forms)
	}
	if code := refused(t, handler, `mutation($input: SubmitRequestInput!) { submitRequest(input: $input) { request { id } } }`,
		vars{"input": vars{"id": r.ID, "expectedVersion": r.Version}}); code != "PRECONDITION" {
		t.Errorf("submitted after that: %s", code)
	}
}

// TestEffectAtOnce: a consent that is taken back and an objection to marketing take
// effect before anybody decides, and are answered after.
func TestEffectAtOnce(t *testing.T) {
	p := running(t)
	const key = "effect.letters"
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	_, notice := purposeAndNotice(t, c, key)
	_, s := p.citizen(t, 103)
	me := p.enter(t, first, s.Emails[0], "en")
	state := func() string {
		t.Helper()
		return ask[struct{ ConsentState struct{ State string } }](t, c, `query($id: ID!, $purpose: String!) { consentState(subject: $id, purpose: $purpose) { state } }`,
			vars{"id": s.ID, "purpose": key}).ConsentState.State
	}
	for _, right := range []string{"CONSENT_WITHDRAWAL", "OBJECTION_MARKETING"} {
		if right == "CONSENT_WITHDRAWAL" {
			ask[any](t, c, `mutation($input: GiveConsentInput!) { giveConsent(input: $input) { consent { id } } }`, vars{"input": vars{
				"subject": s.ID, "purpose": key, "notice": notice, "context": vars{"language": "da", "channel": "WEB", "component": "form"},
			}})
			if got := state(); got != "GIVEN" {
				t.Fatalf("the consent is %s", got)
			}
		}
		r := openMine(t, me, handler, right, nil)
		eventually(t, time.Minute, right+" has taken effect", func() bool {
			r.read(t, handler)
			return r.Items[0].Outcome == "FULFILLED"
		})
		if got := state(); got != "WITHDRAWN" || r.State != "IN_PROGRESS" {
			t.Errorf("%s: the consent is %s, the request %s", right, got, r.State)
		}
		r.step(t, handler, "submitRequest", nil)
		r.step(t, owner, "approveRequest", checked())
		r.await(t, handler, "RESPONDED")
		if r.Items[0].Outcome != "FULFILLED" || len(r.Letters) != 2 {
			t.Errorf("%s answered %+v", right, r)
		}
		r.closed(t, handler)
	}
}

// TestHeldErasure: a hold that is placed before the approval stops the erasure,
// which goes back to review, and is carried out when the hold is released.
func TestHeldErasure(t *testing.T) {
	p := running(t)
	_, s := p.citizen(t, 104)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	r := begun(t, handler, s, "ERASURE")
	decision := vars{"item": r.Items[0].ID, "outcome": "FULFILLED", "ground": "17(1)(b)", "plan": handler.previewErasure(t, s).Hash}
	r.step(t, handler, "decideItem", decision)
	r.step(t, handler, "submitRequest", nil)
	hold := ask[struct {
		PlaceHold struct{ Hold struct{ ID string } }
	}](t, handler, `mutation($input: PlaceHoldInput!) { placeHold(input: $input) { hold { id } } }`, vars{"input": vars{
		"scope": vars{"persons": []string{s.ID}}, "exception": "E17_3_E", "legalSource": "Retsplejeloven", "reason": "A dispute.", "reviewOn": "2040-01-01",
	}}).PlaceHold.Hold.ID
	r.step(t, owner, "approveRequest", checked())
	eventually(t, time.Minute, "the request is back in review", func() bool {
		r.read(t, handler)
		return r.State == "IN_REVIEW"
	})
	if got := c.identityOf(t, s); got != "CLEAR" || len(handler.certificates(t, r.Items[0].ID)) != 0 {
		t.Errorf("under a hold the person is %s", got)
	}
	ask[any](t, owner, `mutation($input: ReleaseHoldInput!) { releaseHold(input: $input) { hold { id } } }`, vars{"input": vars{"id": hold}})
	r.step(t, owner, "approveRequest", checked())
	r.await(t, handler, "RESPONDED")
	if got := c.identityOf(t, s); got != "ERASED" || r.Items[0].Outcome != "FULFILLED" || len(handler.certificates(t, r.Items[0].ID)) != 1 {
		t.Errorf("the person is %s, the item %+v", got, r.Items[0])
	}
	r.closed(t, handler)
}

// TestErasureInParts keeps what the law against money laundering demands, tells the
// person when it goes, and erases it when that day has come.
func TestErasureInParts(t *testing.T) {
	p := running(t)
	_, s := p.citizen(t, 105)
	c, handler, owner := p.machine(t, first), p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	known := c.createDataset(t, "Know your customer", vars{"key": "title", "type": "STRING"})
	c.write(t, s, known, vars{"title": "Passport seen"})
	ask[any](t, owner, `mutation($input: CreateRetentionRuleInput!) { createRetentionRule(input: $input) { rule { id } } }`,
		vars{"input": vars{"dataset": known.ID, "template": "dk-hvl-30-relation"}})
	relation := ask[struct {
		StartRelation struct{ Relation struct{ ID string } }
	}](t, c, `mutation($input: StartRelationInput!) { startRelation(input: $input) { relation { id } } }`,
		vars{"input": vars{"subject": s.ID, "kind": "BUSINESS_RELATION", "startedOn": "2020-01-01"}}).StartRelation.Relation.ID
	ended := time.Now().AddDate(-1, 0, 0)
	ask[any](t, c, `mutation($input: EndRelationInput!) { endRelation(input: $input) { relation { id } } }`,
		vars{"input": vars{"subject": s.ID, "relation": relation, "endedOn": ended.Format(time.DateOnly)}})

	r := begun(t, handler, s, "ERASURE")
	plan := handler.previewErasure(t, s)
	kept := ""
	for _, part := range plan.Parts {
		if part.Dataset != nil && *part.Dataset == known.ID {
			kept = part.Outcome
			if part.Article == nil || *part.Article != "GDPR Art. 17(3)(b)" || part.Date == nil || part.Rule == nil {
				t.Errorf("kept as %+v", part)
			}
		}
	}
	if kept != "ERASE_AT" && kept != "RESTRICT_UNTIL" {
		t.Fatalf("previewed %+v", plan)
	}
	r.decided(t, handler, owner, vars{"outcome": "PARTIALLY_FULFILLED", "ground": "17(1)(b)", "plan": plan.Hash, "refusal": "E17_3_B", "reason": "The law demands it."})
	r.await(t, handler, "RESPONDED")
	certs := handler.certificates(t, r.Items[0].ID)
	if r.Items[0].Outcome != "PARTIALLY_FULFILLED" || len(certs) != 1 || !strings.Contains(r.Letters[len(r.Letters)-1].Text, "Know your customer") {
		t.Fatalf("the item came to %+v with %+v: %s", r.Items[0], certs, r.Letters[len(r.Letters)-1].Text)
	}
	if left := c.person(t, s.ID).Records.Nodes; len(left) != 1 || left[0].Dataset.ID != known.ID {
		t.Errorf("%d records are left", len(left))
	}
	r.closed(t, handler)

	// The relation ended six years ago: what the sweep reads of it is set back.
	p.passYears(t, s.ID, ended.AddDate(-5, 0, 0))
	type run struct{ ID, State string }
	var due run
	eventually(t, 2*time.Minute, "the sweep proposes what is due", func() bool {
		for _, n := range ask[struct{ RetentionRuns struct{ Nodes []run } }](t, owner, `{ retentionRuns { nodes { id state } } }`, nil).RetentionRuns.Nodes {
			if n.State == "PROPOSED" {
				due = n
			}
		}
		return due.ID != ""
	})
	ask[any](t, owner, `mutation($input: ApproveRetentionRunInput!) { approveRetentionRun(input: $input) { run { id } } }`, vars{"input": vars{"id": due.ID}})
	eventually(t, time.Minute, "the rest is erased, and certified", func() bool {
		certs = handler.certificates(t, r.Items[0].ID)
		return len(certs) >= 2 && !slices.ContainsFunc(certs, func(c certified) bool { return c.Signed == nil })
	})
	for _, c := range certs {
		if out, err := p.verify(t, []byte(*c.Signed)); err != nil || !strings.HasPrefix(out, "OK") {
			t.Errorf("verify: %v: %s", err, out)
		}
	}
	if got := c.identityOf(t, s); got != "ERASED" {
		t.Errorf("at last the person is %s", got)
	}
}

// passYears has the dates that retention reads of a person's relations lie in the
// past, as if time had passed, and the worker look for what is due today.
func (p *platform) passYears(t *testing.T, subject string, ended time.Time) {
	t.Helper()
	of := bson.E{Key: "tenant", Value: p.tenant(t, first).ID}
	data := p.engine(t, local.PartData).Database("vogter")
	update := func(coll string, filter, set bson.D) {
		res, err := data.Collection(coll).UpdateMany(t.Context(), filter, set)
		if err != nil || res.MatchedCount == 0 {
			t.Fatalf("%s: %+v, %v", coll, res, err)
		}
	}
	update("retentionDates", bson.D{of, {Key: "subject", Value: subject}, {Key: "unit", Value: retention.Person}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "relations.BUSINESS_RELATION.ended", Value: ended.Format(time.DateOnly)},
	}}})
	update("retentionDates", bson.D{of, {Key: "subject", Value: subject}}, bson.D{{Key: "$set", Value: bson.D{{Key: "outdated", Value: true}}}})
	if _, err := data.Collection("retentionSettings").UpdateMany(t.Context(), bson.D{{Key: "_id", Value: of.Value}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "sweptOn", Value: ""}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := data.Collection("leases").DeleteMany(t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{"retention", "retention dates"}}}}}); err != nil {
		t.Fatal(err)
	}
	signal(t, p.stack.PID(local.PartWorker), syscall.SIGKILL) // its successor looks at once
}
