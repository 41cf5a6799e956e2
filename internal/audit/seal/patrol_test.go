package seal_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// guard is a patrol with a clock of its own.
type guard struct {
	*world
	*seal.Patrol

	at       time.Time
	reported []tenant.ID
}

func (w *world) patrol() *guard {
	w.Helper()
	g := &guard{world: w, at: testenv.Now()}
	v := w.verifier()
	v.Values = mongo.Values(w.db)
	g.Patrol = seal.NewPatrol(seal.PatrolConfig{
		Verifier: *v, Store: w.store, Changes: w.changes, Now: func() time.Time { return g.at }, Log: testenv.Logger(w),
		Report: func(_ context.Context, of tenant.ID) error { g.reported = append(g.reported, of); return nil },
	})
	return g
}

// after sweeps when so much time has gone by, and returns what is known of a
// tenant's log, and who was reported.
func (g *guard) after(d time.Duration, of tenant.ID) (*seal.Verification, []tenant.ID) {
	g.Helper()
	g.at, g.reported = g.at.Add(d), nil
	g.ok(g.Sweep(g.Context()))
	v, err := g.store.Verification(g.as(of))
	g.ok(err)
	return v, g.reported
}

const day = 24 * time.Hour

func TestPatrol(t *testing.T) {
	w := start(t)
	p, g := w.publisher(), w.patrol()
	if v, _ := g.after(0, testenv.One); v != nil {
		t.Fatalf("got %+v before there is a log", v)
	}
	w.write(testenv.One, 700)
	w.write(testenv.Two, 10)
	w.publish(p)
	first, _ := g.after(0, testenv.One)
	if first == nil || !first.Sound() || first.Size != 700 || first.FullAt == nil {
		t.Fatalf("got %+v", first)
	}
	if v, _ := g.after(day-time.Second, testenv.One); !v.At.Equal(first.At) {
		t.Error("it is checked again before a day has gone by")
	}
	// Each day from where it stood: at any size, with the checks' own entries.
	size := first.Size
	for _, n := range []int{1, 60, 7, 256, 511} {
		w.write(testenv.One, n)
		w.publish(p)
		size += int64(n) + 1
		if v, reported := g.after(day, testenv.One); !v.Sound() || v.Size != size || len(reported) > 0 || !v.FullAt.Equal(*first.FullAt) {
			t.Fatalf("with %d more: %+v, reported %v", n, v, reported)
		}
	}
	if v, _ := g.after(2*day, testenv.Two); !v.Sound() || v.FullAt.Equal(*first.FullAt) {
		t.Errorf("after a week not all was read: %+v", v)
	}
	if v, err := w.store.Verification(w.as(provider)); err != nil || v.Checkpoint < 6 {
		t.Errorf("checkpoints were read up to %+v, %v", v, err)
	}
}

// TestPatrolFinds spoils one thing after the other.
func TestPatrolFinds(t *testing.T) {
	set := func(w *world, coll string, filter, to bson.D) {
		w.Helper()
		r, err := w.raw.Collection(coll).UpdateOne(w.Context(), filter, bson.D{{Key: "$set", Value: to}})
		w.ok(err)
		if r.ModifiedCount != 1 {
			w.Fatalf("%s: nothing was spoiled", coll)
		}
	}
	entry := func(seq int64) bson.D {
		return bson.D{{Key: "tenant", Value: testenv.One}, {Key: "seq", Value: seq}}
	}
	other := bson.D{{Key: "action", Value: "record.update"}}
	tests := []struct {
		name  string
		spoil func(w *world)
		new   bool // among what came since the check before: found the next day, else within the week
		seq   int64
		of    tenant.ID
		what  string
	}{
		{"a new entry", func(w *world) { set(w, "audit", entry(405), other) }, true, 405, testenv.One, "altered"},
		{"an old entry", func(w *world) { set(w, "audit", entry(5), other) }, false, 5, testenv.One, "altered"},
		{"a new entry that is gone", func(w *world) {
			_, err := w.raw.Collection("audit").DeleteOne(w.Context(), entry(404))
			w.ok(err)
		}, true, 404, testenv.One, "missing"},
		{"a log that was cut off", func(w *world) {
			set(w, "auditHeads", bson.D{{Key: "_id", Value: testenv.One}}, bson.D{{Key: "size", Value: int64(100)}})
		}, true, -1, testenv.One, "lost entries"}, // which the checkpoints tell, too
		{"a checkpoint that is another one", func(w *world) {
			set(w, "auditCheckpoints", bson.D{{Key: "number", Value: int64(4)}}, bson.D{{Key: "note", Value: []byte("another")}})
		}, true, -1, "", "checkpoint 4"},
		{"a tree that is another one", func(w *world) {
			set(w, "auditTiles", bson.D{{Key: "tenant", Value: testenv.One}, {Key: "level", Value: 1}}, bson.D{{Key: "hashes", Value: make([]byte, 32)}})
		}, true, -1, "", "is another one than was signed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t)
			p, g := w.publisher(), w.patrol()
			w.write(testenv.One, 400)
			w.write(testenv.Two, 3)
			w.publish(p)
			w.publish(p)
			g.after(0, testenv.One)
			w.publish(p)
			w.write(testenv.One, 20)
			w.publish(p)
			tt.spoil(w)
			v, reported := g.after(day, testenv.One)
			if !tt.new {
				if len(reported) > 0 {
					t.Errorf("what was read before is read again each day")
				}
				v, reported = g.after(6*day, testenv.One)
			}
			if tt.of == "" {
				var err error
				v, err = w.store.Verification(w.as(provider))
				w.ok(err)
			}
			if !slices.Contains(reported, tt.of) || v.Sound() || !strings.Contains(v.Fault.What, tt.what) {
				t.Fatalf("reported %q, found %+v", reported, v.Fault)
			}
			if tt.seq >= 0 && (v.Fault.Seq == nil || *v.Fault.Seq != tt.seq) {
				t.Errorf("found at %v, want %d", v.Fault.Seq, tt.seq)
			}
			if other, err := w.store.Verification(w.as(testenv.Two)); err != nil || !other.Sound() {
				t.Errorf("the other tenant's log: %+v, %v", other, err)
			}
			// It is told again each day, and not forgotten.
			again, reported := g.after(day, testenv.One)
			if tt.of == "" {
				again, _ = w.store.Verification(w.as(provider))
			}
			if !slices.Contains(reported, tt.of) || again.Sound() || !again.Fault.FoundAt.Equal(v.Fault.FoundAt) {
				t.Errorf("a day later: reported %q, %+v", reported, again.Fault)
			}
		})
	}
}

// TestPatrolAtWork checks logs that grow and are published meanwhile: nothing of
// that is a fault.
func TestPatrolAtWork(t *testing.T) {
	w := start(t)
	p, g := w.publisher(), w.patrol()
	w.write(testenv.One, 300)
	w.publish(p)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			w.write(testenv.One, 30)
			_, err = p.Publish(t.Context())
		}
		done <- err
	}()
	for i := range 8 {
		if v, reported := g.after(day, testenv.One); !v.Sound() || len(reported) > 0 {
			t.Errorf("round %d: reported %q, %+v", i, reported, v.Fault)
		}
		w.sound()
	}
	stop()
	w.ok(<-done)
}
