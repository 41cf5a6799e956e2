package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

// endpoint is a system of a tenant's that is told of changes.
type endpoint struct {
	*httptest.Server

	mu    sync.Mutex
	calls []event
	hold  chan struct{} // what events wait for, nil for nothing
}

// event is a call of an endpoint.
type event struct {
	id, timestamp, signatures, body string

	Type string
	Data struct {
		Tenant, Change, Object, Challenge string
		Subjects                          []string
	}
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c := event{
			id: r.Header.Get("webhook-id"), timestamp: r.Header.Get("webhook-timestamp"),
			signatures: r.Header.Get("webhook-signature"), body: string(body),
		}
		if err != nil || json.Unmarshal(body, &c) != nil {
			t.Errorf("called with %q, %v", body, err)
		}
		if c.Type == "webhook.verify" {
			fmt.Fprint(w, c.Data.Challenge)
			return
		}
		e.mu.Lock()
		e.calls = append(e.calls, c)
		hold := e.hold
		e.mu.Unlock()
		if hold != nil {
			<-hold
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// about returns the calls about an object.
func (e *endpoint) about(object string) []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.calls), func(c event) bool { return c.Data.Object != object })
}

// hook is a webhook as the API shows it.
type hook struct {
	ID      string
	State   string
	Version int64
}

// webhook makes a webhook of an endpoint and waits until it is active.
func (c client) webhook(t *testing.T, e *endpoint, events ...string) (made hook, secret string) {
	t.Helper()
	created := ask[struct {
		CreateWebhook struct {
			Webhook hook
			Secret  string
		}
	}](t, c, `mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { webhook { id state version } secret } }`,
		vars{"input": vars{"url": e.URL + "/vogter", "events": events}}).CreateWebhook
	eventually(t, 30*time.Second, "the webhook is active", func() bool {
		made = ask[struct{ Node hook }](t, c, `query($id: ID!) { node(id: $id) { ... on Webhook { id state version } } }`,
			vars{"id": created.Webhook.ID}).Node
		return made.State == "ACTIVE"
	})
	return made, created.Secret
}

// unhook deletes a webhook: what others do is not for an endpoint that is gone.
func (c client) unhook(t *testing.T, made hook) {
	t.Helper()
	ask[any](t, c, `mutation($input: DeleteWebhookInput!) { deleteWebhook(input: $input) { id } }`, vars{"input": vars{"id": made.ID}})
}

// delivery is a delivery as the API shows it.
type delivery struct {
	ID, Event, Change, State string
	Attempts                 int
}

func (c client) deliveries(t *testing.T, webhookID string) []delivery {
	t.Helper()
	return ask[struct{ Deliveries struct{ Nodes []delivery } }](t, c,
		`query($webhook: ID!) { deliveries(webhook: $webhook, first: 100) { nodes { id event change state attempts } } }`,
		vars{"webhook": webhookID}).Deliveries.Nodes
}

// delivered makes a webhook that was told of something.
func (c client) delivered(t *testing.T, p *platform) (made hook, told delivery) {
	t.Helper()
	made, _ = c.webhook(t, newEndpoint(t), "subject.create")
	c.createPerson(t, p.someone().input())
	eventually(t, 30*time.Second, "there is a delivery that succeeded", func() bool {
		ds := c.deliveries(t, made.ID)
		if len(ds) > 0 {
			told = ds[0]
		}
		return told.State == "SUCCEEDED"
	})
	return made, told
}

// changed is a change as the feed tells it.
type changed struct {
	ID, Action, Object string
	Subjects           []string
}

// changes reads the feed to its end, and returns the cursor there.
func (c client) changes(t *testing.T, after *string) ([]changed, *string) {
	t.Helper()
	var all []changed
	for {
		feed := ask[struct {
			Changes struct {
				Nodes    []changed
				PageInfo struct {
					HasNextPage bool
					EndCursor   *string
				}
			}
		}](t, c, `query($after: String) { changes(after: $after) { nodes { id action object subjects } pageInfo { hasNextPage endCursor } } }`,
			vars{"after": after}).Changes
		all, after = append(all, feed.Nodes...), feed.PageInfo.EndCursor
		if !feed.PageInfo.HasNextPage {
			return all, after
		}
	}
}

// TestSystemsAreTold makes a change and looks for it in the feed, and at an
// endpoint, once with a worker that is killed while the endpoint answers.
func TestSystemsAreTold(t *testing.T) {
	p := running(t)
	p.indexed(t)
	c, e := p.machine(t, first), newEndpoint(t)
	made, secret := c.webhook(t, e, "subject.*")
	defer c.unhook(t, made)
	_, end := c.changes(t, nil)

	began, told := time.Now(), []event(nil)
	somebody := c.createPerson(t, p.someone().input())
	eventually(t, 30*time.Second, "the endpoint is told", func() bool {
		told = e.about(somebody.ID)
		return len(told) > 0
	})
	t.Logf("the endpoint was told %.1f s after the change", time.Since(began).Seconds())
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(told[0].id + "." + told[0].timestamp + "." + told[0].body))
	if want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); told[0].signatures != want || told[0].Type != "subject.create" ||
		told[0].Data.Tenant != p.tenant(t, first).ID || !slices.Equal(told[0].Data.Subjects, []string{somebody.ID}) {
		t.Errorf("told with %+v", told[0])
	}

	fresh, _ := c.changes(t, end)
	n := slices.IndexFunc(fresh, func(c changed) bool { return c.Action == "subject.create" && c.Object == somebody.ID })
	if n < 0 || fresh[n].ID != told[0].Data.Change {
		t.Errorf("the feed has %+v", fresh)
	}
	stranger := p.machine(t, second)
	foreign, _ := stranger.changes(t, nil)
	for _, c := range foreign {
		if c.Object == somebody.ID || slices.Contains(c.Subjects, somebody.ID) {
			t.Errorf("the second tenant is told of %s", c.Action)
		}
	}
	if code := refused(t, stranger, `query($after: String) { changes(after: $after) { nodes { id } } }`, vars{"after": end}); code != "INVALID" {
		t.Errorf("a foreign cursor: %s", code)
	}

	// A worker that dies while the endpoint has the event, and nobody knows of it.
	hold := make(chan struct{})
	e.mu.Lock()
	e.hold = hold
	e.mu.Unlock()
	another := c.createPerson(t, p.someone().input())
	eventually(t, 30*time.Second, "the endpoint has the event", func() bool { return len(e.about(another.ID)) == 1 })
	signal(t, p.stack.PID(local.PartWorker), syscall.SIGKILL)
	e.mu.Lock()
	e.hold = nil
	e.mu.Unlock()
	close(hold)
	eventually(t, 2*time.Minute, "the endpoint has it again", func() bool { return len(e.about(another.ID)) == 2 })
	if again := e.about(another.ID); again[0].id != again[1].id || again[0].body != again[1].body {
		t.Errorf("told with %+v", again)
	}
	eventually(t, 30*time.Second, "the delivery succeeds", func() bool {
		ds := c.deliveries(t, made.ID)
		return len(ds) == 2 && !slices.ContainsFunc(ds, func(d delivery) bool { return d.State != "SUCCEEDED" || d.Attempts != 1 })
	})
}
