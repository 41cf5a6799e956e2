package seal_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// full reports whether the stated sizes are asked for.
func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }

func (w *world) publish(p *seal.Publisher) *seal.Record {
	w.Helper()
	r, err := p.Publish(w.Context())
	w.ok(err)
	return r
}

func TestPublishing(t *testing.T) {
	w := start(t)
	p := w.publisher()
	w.write(testenv.One, 10)
	w.write(testenv.Two, 5)
	first := w.publish(p)
	// The key that signed it was made meanwhile, which is an entry of the provider's.
	second := w.publish(p)
	if again := w.publish(p); second.Number != 2 || again.Number != second.Number {
		t.Errorf("checkpoints %d, %d, %d: nothing has grown before the last", first.Number, second.Number, again.Number)
	}
	w.write(testenv.One, 1)
	third := w.publish(p)
	keys, err := w.ring.Keys(t.Context())
	w.ok(err)
	var before *proof.Checkpoint
	for _, r := range []*seal.Record{first, second, third} {
		for _, place := range w.places {
			object, err := place.Get(t.Context(), seal.Key(r.Number), 1<<20)
			w.ok(err)
			c, heads, note, err := proof.ParsePublished(keys, object)
			w.ok(err)
			if string(note) != string(r.Note) || len(heads) < 2 {
				t.Errorf("checkpoint %d is published as another with %d heads", r.Number, len(heads))
			}
			if before != nil && c.Number > before.Number {
				w.ok(c.Follows(before, map[int64]*seal.Record{2: first, 3: second}[c.Number].Note))
			}
			before = c
		}
	}
	kept, err := w.store.LogAt(w.as(testenv.Two), 0, third.Number)
	if err != nil || kept != nil {
		t.Errorf("a log that didn't grow is kept again: %v, %v", kept, err)
	}
}

// A checkpoint of which the process died half-way is published as it was made.
func TestPublishingGoesOn(t *testing.T) {
	w := start(t)
	p := w.publisher()
	w.write(testenv.One, 10)
	w.publish(p)
	w.publish(p)
	w.write(testenv.One, 10)
	p.Places[1] = broken{w.places[1]}
	if _, err := p.Publish(t.Context()); err == nil {
		t.Fatal("published in one place only")
	}
	w.write(testenv.One, 10)
	p.Places[1] = w.places[1]
	last := w.publish(p)
	if last.Number != 4 || !last.Published {
		t.Errorf("checkpoint %d", last.Number)
	}
	w.sound()
}

// broken is a place that takes nothing.
type broken struct{ *place }

func (broken) PutLocked(context.Context, string, []byte, time.Time) error {
	return blob.ErrUnavailable
}

// verifier returns what checks the world's log.
func (w *world) verifier() *seal.Verifier {
	return &seal.Verifier{Archive: w.store, Vault: w.vault, Publisher: w.publisher()}
}

func (w *world) sound() seal.Report {
	w.Helper()
	r, err := w.verifier().Verify(w.Context())
	w.ok(err)
	return r
}

func TestASoundLogIsSound(t *testing.T) {
	w := start(t)
	p := w.publisher()
	for _, n := range []int{3, 300, 1, 255, 600} {
		w.write(testenv.One, n)
		w.write(testenv.Two, n/3)
		w.publish(p)
	}
	r := w.sound()
	if r.Entries < 1159 || r.Checkpoints != 5 || r.Details == 0 || r.Erased != 0 {
		t.Errorf("got %+v", r)
	}
	// The person's evidence key goes: the log stays whole.
	owner := audit.Evidence(testenv.One, "sub_"+string(testenv.One[4:])+"0")
	w.ok(w.keys.DestroyDataKey(t.Context(), owner, testenv.Now()))
	w.vault.Evict(owner)
	after := w.sound()
	if after.Erased == 0 || after.Erased+after.Details != r.Details || after.Entries != r.Entries {
		t.Errorf("after an erasure: %+v, before: %+v", after, r)
	}
}

// TestRestore rolls the database back as a restore does, and goes on.
func TestRestore(t *testing.T) {
	w := start(t)
	p := w.publisher()
	w.write(testenv.One, 300)
	w.publish(p)
	w.publish(p)
	backup := w.backup()
	w.write(testenv.One, 40)
	w.write(testenv.Two, 7)
	last := w.publish(p)
	w.restore(backup)

	w.write(testenv.One, 2)
	if _, err := w.publisher().Publish(t.Context()); !errors.Is(err, seal.ErrForked) {
		t.Errorf("a database that was rolled back publishes: %v", err)
	}
	if _, err := w.verifier().Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("got %v", err)
	}
	p = w.publisher()
	p.Now = func() time.Time { return testenv.Now().Add(time.Hour) } // the leases of the dead are over
	for range 2 {                                                    // it can be repeated
		number, err := p.Restart(t.Context())
		if err != nil || number != last.Number {
			t.Fatalf("restarted from %d, %v", number, err)
		}
	}
	heads, err := w.store.Heads(tenant.System(t.Context(), "test"))
	w.ok(err)
	logs := map[tenant.ID]int64{}
	for _, h := range heads {
		logs[h.Tenant] = max(logs[h.Tenant], h.Log)
	}
	if logs[testenv.One] != 1 || logs[testenv.Two] != 1 {
		t.Errorf("the logs are %v", heads)
	}
	w.write(testenv.One, 20)
	w.write(testenv.Two, 20)
	if next := w.publish(p); next.Number != last.Number+1 {
		t.Errorf("checkpoint %d follows %d", next.Number, last.Number)
	}
	w.sound()
	var first struct {
		Action string `bson:"action"`
		Object string `bson:"object"`
	}
	for _, h := range heads {
		if h.Log == 1 {
			w.ok(w.raw.Collection("audit").FindOne(t.Context(), bson.D{{Key: "tenant", Value: h.Tenant}, {Key: "seq", Value: h.Base}}).Decode(&first))
			if first.Action != seal.ActionRestart || first.Object != seal.Key(last.Number)+"."+proof.Digest(last.Note) {
				t.Errorf("the log of %s begins with %+v", h.Tenant, first)
			}
		}
	}
}
