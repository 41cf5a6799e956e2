package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/local"
)

// kind is what a request of the crowd asks for, and comes to.
type kind struct {
	right    string
	decision vars   // without the plan
	plans    string // the query that previews, by person
	atOnce   bool
	outcome  string
	taken    bool // back by the person
}

func kinds() []kind {
	const why = "Asked for and answered last week."
	return []kind{
		{right: "ACCESS", decision: vars{"outcome": "FULFILLED"}, outcome: "FULFILLED"},
		{right: "ERASURE", decision: vars{"outcome": "FULFILLED", "ground": "17(1)(b)"}, plans: `previewErasure(subject: $id)`, outcome: "FULFILLED"},
		{right: "PORTABILITY", decision: vars{"outcome": "FULFILLED"}, outcome: "FULFILLED"},
		{right: "OBJECTION_MARKETING", atOnce: true, outcome: "FULFILLED"},
		{right: "RESTRICTION", decision: vars{"outcome": "FULFILLED", "ground": "18(1)(a)"}, plans: `previewRestriction(subject: $id, ground: "18(1)(a)")`, outcome: "FULFILLED"},
		{right: "ACCESS", decision: vars{"outcome": "REFUSED", "refusal": "EXCESSIVE", "reason": why}, outcome: "REFUSED"},
		{right: "CONSENT_WITHDRAWAL", atOnce: true, outcome: "NO_DATA_HELD"},
		{right: "OBJECTION", decision: vars{"outcome": "FULFILLED"}, outcome: "FULFILLED"},
		{right: "ACCESS", taken: true, outcome: "WITHDRAWN"},
	}
}

// one is a request of the crowd.
type one struct {
	kind

	person  person
	wish    wish
	results []string
	steps   int
	done    bool
}

// crowd are many requests that are worked on at once.
type crowd struct {
	handler, owner client

	finished atomic.Int64
}

// TestRequestsOutlastCrashes has requests of all kinds worked on at once, 1,000 in
// full scale, while the worker is killed again and again, at random, and Redis is
// wiped twice. Each comes to its end, with one answer, one certificate, one set of
// letters, mails and events: what is told twice has the same id each time.
func TestRequestsOutlastCrashes(t *testing.T) {
	size, kills := 27, 2
	if full() {
		size, kills = 1000, 40
	}
	p := running(t)
	machine := p.machine(t, first)
	c := &crowd{handler: p.member(t, first, "CASE_HANDLER"), owner: p.member(t, first, "OWNER")}
	e := newEndpoint(t)
	made, _ := machine.webhook(t, e, "request.respond", "request.withdraw")
	defer machine.unhook(t, made)
	set := machine.documents(t)
	all := make([]*one, size)
	for i := range all {
		h := p.someone()
		p.plantTold(h.name, h.given, h.family)
		o := &one{kind: kinds()[i%len(kinds())], person: machine.createPerson(t, h.input())}
		machine.write(t, o.person, set, vars{"title": h.name})
		all[i] = o
	}

	began := time.Now()
	posted := p.gatherMail(t)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Minute)
	defer stop()
	const drivers = 8
	var working sync.WaitGroup
	for d := range drivers {
		working.Go(func() {
			for open := true; open && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
				open = false
				for i := d; i < len(all); i += drivers {
					if o := all[i]; !o.done {
						open = true
						if err := c.advance(ctx, o); err != nil && ctx.Err() == nil {
							t.Errorf("%s of %s, %s: %v", o.right, o.person.ID, o.wish.State, err)
							o.done = true
						}
						if o.done {
							c.finished.Add(1)
						}
					}
				}
			}
		})
	}
	killed, wiped := 0, 0
	for ctx.Err() == nil && int(c.finished.Load()) < size {
		time.Sleep(moment(t, 500, 3000))
		if killed < kills {
			pid := p.stack.PID(local.PartWorker)
			if pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		if wiped < 2 && killed*2 > kills*wiped {
			if err := p.redis(t).FlushAll(ctx).Err(); err != nil {
				t.Error(err)
			}
			wiped++
		}
	}
	working.Wait()
	t.Logf("%d requests in %.1f s; the worker was killed %d times, Redis wiped %d times", size, time.Since(began).Seconds(), killed, wiped)
	if wiped != 2 || killed < kills {
		t.Errorf("killed %d times, wiped %d times", killed, wiped)
	}
	c.check(t, p, e, all, posted)
}

// moment returns a random time between two, in milliseconds.
func moment(t *testing.T, least, most int64) time.Duration {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(most-least))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(least+n.Int64()) * time.Millisecond
}

// try carries a document out, and returns the code of its error.
func (c client) try(ctx context.Context, document string, v vars, key string, into any) (code string, err error) {
	body, err := json.Marshal(map[string]any{"query": document, "variables": v})
	if err != nil {
		return "", err
	}
	a, err := c.send(ctx, http.MethodPost, "/graphql", bytes.NewReader(body), "Content-Type", "application/json", "Idempotency-Key", key)
	if err != nil {
		return "", err
	}
	var out struct {
		Data   json.RawMessage
		Errors []fault
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		return "", fmt.Errorf("%d %s: %w", a.status, a.body, err)
	}
	if len(out.Errors) > 0 {
		return out.Errors[0].Extensions.Code, fmt.Errorf("%s: %s", out.Errors[0].Extensions.Code, out.Errors[0].Message)
	}
	return "", json.Unmarshal(out.Data, into)
}

const crowdFields = ` id number state clock version subject items { id type outcome results proposal { outcome } } reply { letter hash channel } letters { id forms text hash way } answers { system } `

// advance takes the next step of a request, if it is time for one.
func (c *crowd) advance(ctx context.Context, o *one) error {
	if o.wish.ID == "" {
		return c.open(ctx, o)
	}
	var got struct {
		Request struct {
			wish

			Items []struct {
				ID, Type, Outcome string
				Results           []string
				Proposal          *struct{ Outcome string }
			}
			Answers []struct{ System string }
		}
	}
	if _, err := c.handler.try(ctx, `query($id: ID!) { request(id: $id) {`+crowdFields+`} }`, vars{"id": o.wish.ID}, "", &got); err != nil {
		return err
	}
	o.wish = got.Request.wish
	item := got.Request.Items[0]
	o.wish.Items = []struct{ ID, Type, Outcome string }{{item.ID, item.Type, item.Outcome}}
	o.results = item.Results
	switch o.wish.State {
	case "RECEIVED":
		return c.step(ctx, o, c.handler, "identifyRequester", vars{"subject": o.person.ID, "method": "CALL_BACK_KNOWN_NUMBER"})
	case "IN_PROGRESS":
		switch {
		case o.taken:
			return c.step(ctx, o, c.handler, "withdrawRequest", vars{"statement": "Said so by phone."})
		case o.atOnce && item.Outcome == "", len(got.Request.Answers) == 0 && slices.Contains([]string{"ACCESS", "PORTABILITY", "ERASURE"}, o.right):
			return nil // the worker's turn
		case o.atOnce, item.Proposal != nil:
			return c.step(ctx, o, c.handler, "submitRequest", nil)
		}
		decision := vars{"item": item.ID}
		maps.Copy(decision, o.decision)
		if o.plans != "" {
			var plan struct{ Preview struct{ Hash string } }
			if _, err := c.handler.try(ctx, `query($id: ID!) { preview: `+o.plans+` { hash } }`, vars{"id": o.person.ID}, "", &plan); err != nil {
				return err
			}
			decision["plan"] = plan.Preview.Hash
		}
		return c.step(ctx, o, c.handler, "decideItem", decision)
	case "IN_REVIEW":
		return c.step(ctx, o, c.owner, "approveRequest", checked())
	case "RESPONDED", "WITHDRAWN":
		o.done = true
	}
	return nil
}

func (c *crowd) open(ctx context.Context, o *one) error {
	var got struct {
		OpenRequest struct{ Request struct{ ID string } }
	}
	_, err := c.handler.try(ctx, `mutation($input: OpenRequestInput!) { openRequest(input: $input) { request { id } } }`, vars{"input": vars{
		"channel": "PHONE", "receivedAt": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), "language": "en",
		"items": []vars{{"type": o.right}}, "contact": o.person.Emails[0],
	}}, o.person.ID, &got)
	o.wish.ID = got.OpenRequest.Request.ID
	return err
}

// step makes a step; another one may have been faster, which the next look shows.
func (c *crowd) step(ctx context.Context, o *one, by client, mutation string, more vars) error {
	in := vars{"id": o.wish.ID, "expectedVersion": o.wish.Version}
	maps.Copy(in, more)
	var got any
	document := fmt.Sprintf(`mutation($input: %s%sInput!) { %s(input: $input) { request { id } } }`, strings.ToUpper(mutation[:1]), mutation[1:], mutation)
	o.steps++
	code, err := by.try(ctx, document, vars{"input": in}, "", &got)
	if code == "CONFLICT" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", mutation, err)
	}
	return nil
}

// mailbox has the mails by address, and how often each came.
type mailbox struct {
	mu    sync.Mutex
	mails map[string]map[string]int // by address and id of the message
	seen  map[string]bool
}

// gatherMail notes the mails that come, until the test ends: the sink keeps the
// last ones only.
func (p *platform) gatherMail(t *testing.T) *mailbox {
	t.Helper()
	b := &mailbox{mails: map[string]map[string]int{}, seen: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var gathering sync.WaitGroup
	t.Cleanup(func() {
		stop()
		gathering.Wait()
	})
	gathering.Go(func() {
		for ctx.Err() == nil {
			a, err := client{}.send(ctx, http.MethodGet, p.stack.Env().Mail+"/messages", http.NoBody)
			var all []struct {
				ID, MessageID string
				To            []string
			}
			if err == nil && json.Unmarshal(a.body, &all) == nil {
				b.mu.Lock()
				for _, m := range all {
					if b.seen[m.ID] {
						continue
					}
					b.seen[m.ID] = true
					for _, to := range m.To {
						if b.mails[to] == nil {
							b.mails[to] = map[string]int{}
						}
						b.mails[to][m.MessageID]++
					}
				}
				b.mu.Unlock()
			}
			time.Sleep(250 * time.Millisecond)
		}
	})
	return b
}

// to returns how often each mail to an address came.
func (b *mailbox) to(address string) (times []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.mails[address] {
		times = append(times, n)
	}
	return times
}

// check checks what has come of the requests.
func (c *crowd) check(t *testing.T, p *platform, e *endpoint, all []*one, posted *mailbox) {
	t.Helper()
	const answered, taken = "request.respond", "request.withdraw"
	entries := map[string]int{}
	p.documents(t, local.PartData, func(place string, raw []byte) {
		if place != "vogter.audit" {
			return
		}
		action, _ := bson.Raw(raw).Lookup("action").StringValueOK()
		if action == answered || action == taken {
			entries[action+" "+bson.Raw(raw).Lookup("object").StringValue()]++
		}
	})
	repeatedMails, repeatedEvents := 0, 0
	for _, o := range all {
		about := o.right + " " + o.wish.ID
		end, action := "RESPONDED", answered
		if o.taken {
			end, action = "WITHDRAWN", taken
		}
		if len(o.wish.Items) != 1 || o.wish.State != end || o.wish.Clock != "STOPPED" || o.wish.Items[0].Outcome != o.outcome {
			t.Errorf("%s ended as %s, %s: %+v", about, o.wish.State, o.wish.Clock, o.wish.Items)
			continue
		}
		if n := entries[action+" "+o.wish.ID]; n != 1 || entries[answered+" "+o.wish.ID]+entries[taken+" "+o.wish.ID] != 1 {
			t.Errorf("%s has %d entries %s", about, n, action)
		}
		keys := map[string]bool{}
		for _, l := range o.wish.Letters {
			keys[l.ID] = true
		}
		if len(o.wish.Letters) != 2 || len(keys) != 2 || !o.taken && (o.wish.Reply == nil || o.wish.Reply.Hash != o.wish.Letters[1].Hash) {
			t.Errorf("%s has the letters %+v", about, o.wish.Letters)
		}
		eventually(t, 2*time.Minute, about+": two mails", func() bool { return len(posted.to(o.person.Emails[0])) >= 2 })
		mails := posted.to(o.person.Emails[0])
		if len(mails) != 2 {
			t.Errorf("%s sent %d mails", about, len(mails))
		}
		for _, n := range mails {
			repeatedMails += n - 1
		}
		eventually(t, 2*time.Minute, about+": its end is told", func() bool { return len(e.about(o.wish.ID)) > 0 })
		ids := map[string]bool{}
		for _, told := range e.about(o.wish.ID) {
			if ids[told.id] {
				repeatedEvents++
			}
			if ids[told.id] = true; told.Type != action {
				t.Errorf("%s is told as %s", about, told.Type)
			}
		}
		if len(ids) != 1 {
			t.Errorf("%s is told in %d events", about, len(ids))
		}
		c.results(t, p, o, about)
	}
	t.Logf("mails sent again: %d, events: %d, each with the id it had", repeatedMails, repeatedEvents)
}

// results checks what was made for a request: one certificate, one package.
func (c *crowd) results(t *testing.T, p *platform, o *one, about string) {
	t.Helper()
	identity := "CLEAR"
	switch {
	case o.right == "ERASURE":
		identity = "ERASED"
		if certs := c.handler.certificates(t, o.wish.Items[0].ID); len(certs) != 1 || certs[0].Signed == nil || certs[0].Subject != o.person.ID {
			t.Errorf("%s has the certificates %+v", about, certs)
		}
	case o.right == "RESTRICTION":
		identity = "WITHHELD"
	case o.outcome == "FULFILLED" && (o.right == "ACCESS" || o.right == "PORTABILITY"):
		if len(o.results) != 1 {
			t.Fatalf("%s came to %v", about, o.results)
		}
		if objects := p.objects(t, o.results[0]); len(objects) != 1 {
			t.Errorf("%s has %d packages", about, len(objects))
		}
	}
	if got := p.machine(t, first).identityOf(t, o.person); got != identity {
		t.Errorf("%s: the person is %s", about, got)
	}
}
