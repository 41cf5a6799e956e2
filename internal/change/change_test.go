package change_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

type world struct {
	runner *change.Runner
	raw    *driver.Database
	woken  chan struct{}
	one    context.Context
}

func start(t *testing.T) *world {
	t.Helper()
	uri, v := testenv.MongoURI(t), testenv.Vault(t)
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	w := &world{raw: client.Database("vogter"), woken: make(chan struct{}, 100)}
	w.runner, _ = testenv.Changes(t, testenv.Data(t, uri), v, vault.Hasher{Vault: v}, func() { w.woken <- struct{}{} })
	ctx := authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: testenv.One, Role: authz.RoleOwner, Credential: "session_1",
	})
	ctx = audit.WithRequest(authz.WithPolicy(ctx, "role:OWNER"), audit.Request{ID: "req_1", Purpose: "dpv:LegalCompliance", Network: "192.0.2.0/24"})
	w.one = tenant.NewContext(ctx, testenv.One)
	return w
}

func (w *world) count(t *testing.T, coll string) int64 {
	t.Helper()
	n, err := w.raw.Collection(coll).CountDocuments(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAChangeItsEntryAndItsJobsCommitTogether(t *testing.T) {
	w := start(t)
	object := id.New(id.Record, testenv.One)
	subject := id.New(id.Subject, testenv.One)
	err := w.runner.Do(w.one, func(ctx context.Context) (change.Change, error) {
		return change.Change{
			Action: "thing.write", Object: object, Fields: []string{"a", "b"},
			Touches: []audit.Touch{{Subject: subject, Object: object, Version: 1, Digest: []byte("digest")}},
			Then:    []job.Spec{{Type: "thing:follow", Object: object}},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-w.woken
	var entry bson.M
	if err := w.raw.Collection("audit").FindOne(t.Context(), bson.D{}).Decode(&entry); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"tenant": string(testenv.One), "action": "thing.write", "object": object, "outcome": "OK", "policy": "role:OWNER",
		"purpose": "dpv:LegalCompliance", "requestId": "req_1", "network": "192.0.2.0/24", "unsealed": true,
	} {
		if entry[key] != want {
			t.Errorf("%s of the entry is %v", key, entry[key])
		}
	}
	if n := w.count(t, "jobs"); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

func TestNothingOfAFailedChangeStays(t *testing.T) {
	w := start(t)
	for name, fn := range map[string]func(ctx context.Context) (change.Change, error){
		"refused": func(context.Context) (change.Change, error) { return change.Change{}, io.EOF },
		"bad subject": func(context.Context) (change.Change, error) {
			return change.Change{Touches: []audit.Touch{{Subject: "a/b"}}}, nil
		},
	} {
		err := w.runner.Do(w.one, func(ctx context.Context) (change.Change, error) {
			c, err := fn(ctx)
			c.Action, c.Then = "thing.write", []job.Spec{{Type: "thing:follow"}}
			return c, err
		})
		if err == nil || name == "refused" && !errors.Is(err, io.EOF) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if a, j := w.count(t, "audit"), w.count(t, "jobs"); a != 0 || j != 0 {
		t.Errorf("%d entries, %d jobs", a, j)
	}
}

func TestWithoutATenantNothingIsDone(t *testing.T) {
	w := start(t)
	err := w.runner.Do(t.Context(), func(context.Context) (change.Change, error) {
		t.Error("the change runs")
		return change.Change{}, nil
	})
	if !errors.Is(err, tenant.ErrNone) {
		t.Errorf("got %v", err)
	}
}

func TestOneOfManyEqualCallsTakesEffect(t *testing.T) {
	w := start(t)
	ctx := change.WithIdempotency(w.one, change.Idempotency{Key: "k", Input: []byte("i")})
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		ids = map[string]int{}
	)
	for range 16 {
		wg.Go(func() {
			made := id.New(id.Record, testenv.One)
			got, err := w.runner.Create(ctx, func(context.Context) (change.Change, error) {
				return change.Change{Action: "thing.create", Object: made}, nil
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("an equal call gives %v", err)
			}
			ids[got]++
		})
	}
	wg.Wait()
	if n := w.count(t, "audit"); len(ids) != 1 || n != 1 {
		t.Errorf("%d objects, %d entries", len(ids), n)
	}
	other := change.WithIdempotency(w.one, change.Idempotency{Key: "k", Input: []byte("another")})
	_, err := w.runner.Create(other, func(context.Context) (change.Change, error) { return change.Change{Object: "x"}, nil })
	if !errors.Is(err, change.ErrOtherInput) {
		t.Errorf("another input gives %v", err)
	}
	// The key belongs to its caller.
	stranger := authz.NewContext(ctx, authz.Principal{Kind: authz.KindMember, ID: "mem_2", Tenant: testenv.One})
	got, err := w.runner.Create(stranger, func(context.Context) (change.Change, error) {
		return change.Change{Action: "thing.create", Object: "theirs"}, nil
	})
	if err != nil || got != "theirs" {
		t.Errorf("another caller gets %s, %v", got, err)
	}
}
