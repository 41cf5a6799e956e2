package e2e_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const requestFields = ` id number state clock version subject contact items { id type outcome } deadline { due trace(language: "en") } reply { letter hash channel } letters { id forms text hash way } `

// wish is a request as the API shows it.
type wish struct {
	ID, Number, State, Clock string
	Version                  int64
	Items                    []struct{ ID, Type, Outcome string }
	Deadline                 struct {
		Due   string
		Trace []string
	}
	Reply   *struct{ Letter, Hash, Channel string }
	Letters []struct {
		ID, Text, Hash, Way string
		Forms               []string
	}
}

// step makes a step of a request.
func (r *wish) step(t *testing.T, c client, mutation string, more vars) {
	t.Helper()
	in := vars{"id": r.ID, "expectedVersion": r.Version}
	maps.Copy(in, more)
	document := fmt.Sprintf(`mutation($input: %s%sInput!) { %s(input: $input) { request {%s} } }`, strings.ToUpper(mutation[:1]), mutation[1:], mutation, requestFields)
	*r = ask[map[string]struct{ Request wish }](t, c, document, vars{"input": in})[mutation].Request
}

// openRequest has a handler enter a request that came by phone.
func openRequest(t *testing.T, c client, contact string, types ...string) *wish {
	t.Helper()
	items := make([]vars, len(types))
	for i, of := range types {
		items[i] = vars{"type": of}
	}
	r := ask[struct{ OpenRequest struct{ Request wish } }](t, c,
		`mutation($input: OpenRequestInput!) { openRequest(input: $input) { request {`+requestFields+`} } }`,
		vars{"input": vars{
			"channel": "PHONE", "receivedAt": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), "language": "en", "items": items,
			"contact": contact, "message": "Please tell me of " + contact,
		}}).OpenRequest.Request
	return &r
}

// TestRefusal goes from a call by phone to a refusal that the person reads: who
// prepares it can't approve it, and a person reads no more than their own.
func TestRefusal(t *testing.T) {
	p := running(t)
	h := p.someone()
	s := ask[struct{ CreateSubject struct{ Subject person } }](t, p.machine(t, first),
		`mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject {`+personFields+`} } }`, vars{"input": h.input()}).CreateSubject.Subject
	handler, owner := p.member(t, first, "CASE_HANDLER"), p.member(t, first, "OWNER")
	r := openRequest(t, handler, s.Emails[0], "ACCESS")
	if r.State != "RECEIVED" || r.Clock != "RUNNING" || r.Deadline.Due == "" || len(r.Deadline.Trace) == 0 || len(r.Letters) != 1 || r.Letters[0].Forms[0] != "acknowledgement" {
		t.Fatalf("opened %+v", r)
	}
	r.step(t, handler, "identifyRequester", vars{"subject": s.ID, "method": "CALL_BACK_KNOWN_NUMBER"})
	why := "The same was asked for and answered last week, on " + h.name
	p.plantTold(why, h.name, h.given, h.family) // the letter tells the person
	read := func() {
		*r = ask[struct{ Request wish }](t, handler, `query($id: ID!) { request(id: $id) {`+requestFields+`} }`, vars{"id": r.ID}).Request
	}
	eventually(t, 30*time.Second, "every place has answered", func() bool {
		found := ask[struct {
			Request struct{ Answers []struct{ System string } }
		}](t, handler, `query($id: ID!) { request(id: $id) { answers { system } } }`, vars{"id": r.ID})
		return len(found.Request.Answers) > 0
	})
	read()
	r.step(t, handler, "decideItem", vars{"item": r.Items[0].ID, "outcome": "REFUSED", "refusal": "EXCESSIVE", "reason": why})
	r.step(t, handler, "submitRequest", nil)
	checked := vars{"input": vars{"id": r.ID, "expectedVersion": r.Version, "holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true}}
	if code := refused(t, handler, `mutation($input: ApproveRequestInput!) { approveRequest(input: $input) { request { id } } }`, checked); code != "FORBIDDEN" {
		t.Errorf("who prepares it approves it: %s", code)
	}
	r.step(t, owner, "approveRequest", vars{"holds": true, "exceptions": true, "rightsOfOthers": true, "secrecy": true})
	eventually(t, 30*time.Second, "the request is answered", func() bool {
		read()
		return r.State == "RESPONDED"
	})
	if r.Clock != "STOPPED" || r.Items[0].Outcome != "REFUSED" || r.Reply == nil || len(r.Letters) != 2 || r.Letters[1].Hash != r.Reply.Hash || !strings.Contains(r.Letters[1].Text, why) {
		t.Fatalf("answered %+v", r)
	}
	eventually(t, 30*time.Second, "the receipt and word of the answer are mailed", func() bool {
		var subjects []string
		for _, m := range mails(t, p) {
			if slices.Contains(m.To, s.Emails[0]) && !strings.Contains(m.Text, why) {
				subjects = append(subjects, m.Text)
			}
		}
		return len(subjects) == 2
	})

	me := p.enter(t, first, s.Emails[0], "en")
	mine := ask[struct {
		MyRequests struct {
			Nodes []struct {
				ID, State string
				Letters   []struct{ ID, Text string }
				Events    struct{ Nodes []struct{ To string } }
			}
		}
	}](t, me, `{ myRequests { nodes { id state letters { id text } events { nodes { to } } } } }`, nil).MyRequests.Nodes
	if len(mine) != 1 || mine[0].ID != r.ID || mine[0].State != "RESPONDED" || len(mine[0].Letters) != 2 || len(mine[0].Events.Nodes) == 0 {
		t.Fatalf("the person sees %+v", mine)
	}
	url := ask[struct {
		GrantDownload struct{ Grant struct{ URL string } }
	}](t, me,
		`mutation($input: GrantDownloadInput!) { grantDownload(input: $input) { grant { url } } }`, vars{"input": vars{"object": r.Letters[1].ID}}).GrantDownload.Grant.URL
	if a := me.call(t, http.MethodGet, url[strings.Index(url, "/v1/"):], http.NoBody); a.status != http.StatusOK || !bytes.HasPrefix(a.body, []byte("%PDF-")) {
		t.Errorf("the letter on paper: %d", a.status)
	}
	for _, c := range []client{p.member(t, second, "OWNER")} {
		if code := refused(t, c, `mutation($input: GrantDownloadInput!) { grantDownload(input: $input) { grant { url } } }`, vars{"input": vars{"object": r.Letters[1].ID}}); code != "NOT_FOUND" {
			t.Errorf("another tenant downloads the letter: %s", code)
		}
	}
	r.step(t, handler, "confirmDelivery", nil)
	r.step(t, handler, "closeRequest", nil)
	if r.State != "CLOSED" {
		t.Errorf("at last %s", r.State)
	}
}
