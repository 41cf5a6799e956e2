package seal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// envPublish is the order to a process that publishes and kills itself.
const envPublish = "PUBLISH_TEST"

// order is what envPublish holds.
type order struct {
	URI, KeysURI, Masters string
	Buckets               []blob.Config
	KillAt                int64
	Later                 time.Duration // by which its clock is ahead
}

// TestPublisherKilledAtEveryStep kills a publisher before and after everything
// that it does, and its successor at the same step. The next one goes on: no
// checkpoint is another one than was seen before, none is left out, the two places
// agree, and no entry is sealed twice or left behind.
func TestPublisherKilledAtEveryStep(t *testing.T) {
	w := start(t)
	w.publisher() // makes the places
	var rows []audit.Row
	clock := time.Duration(0)
	next := func() time.Duration { clock += time.Minute; return clock } // the leases of the dead are over
	const most = 200
	for at := int64(1); ; at++ {
		ended := false
		for range 2 {
			rows = append(rows, w.write(testenv.One, 3)...)
			ended = w.publishAndDie(order{w.uri, w.keysURI, w.masters, w.buckets, at, next()})
		}
		seen := w.published()
		rows = append(rows, w.write(testenv.One, 3)...)
		later := next()
		p := w.publisher()
		p.Now = func() time.Time { return testenv.Now().Add(later) }
		p.Sealer.Now = p.Now
		last, err := p.Publish(t.Context())
		if err != nil {
			t.Fatalf("after step %d: %v", at, err)
		}
		now := w.published()
		if int64(len(now[0])) != last.Number || len(now[0]) != len(now[1]) {
			t.Fatalf("after step %d: %d and %d checkpoints are published, the newest is %d", at, len(now[0]), len(now[1]), last.Number)
		}
		for i := range seen {
			for n, object := range seen[i] {
				if !bytes.Equal(object, now[i][n]) || !bytes.Equal(object, now[1-i][n]) {
					t.Fatalf("after step %d: checkpoint %d is another one than was seen", at, n+1)
				}
			}
		}
		w.whole(testenv.One, rows)
		w.sound()
		if got := w.sizeAt(last.Object); got != int64(len(rows)) {
			t.Fatalf("after step %d: the newest checkpoint speaks for %d entries, want %d", at, got, len(rows))
		}
		if ended {
			t.Logf("killed at %d steps, %d checkpoints", at-1, last.Number)
			return
		}
		if at > most {
			t.Fatal("it never ends")
		}
	}
}

// publishAndDie has another process publish, and reports whether it ended before
// it was to kill itself.
func (w *world) publishAndDie(o order) (ended bool) {
	w.Helper()
	in, err := json.Marshal(o)
	w.ok(err)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), envPublish+"="+string(in))
	out, err := child.CombinedOutput()
	if err != nil && child.ProcessState.ExitCode() != -1 {
		w.Fatalf("step %d: %v %s", o.KillAt, err, out)
	}
	return err == nil
}

// published returns the checkpoints of each place, in order, up to the first gap.
func (w *world) published() (objects [2][][]byte) {
	w.Helper()
	for i, place := range w.places {
		for number := int64(1); ; number++ {
			object, err := place.Get(w.Context(), seal.Key(number), 1<<20)
			if errs.KindOf(err) == errs.NotFound {
				break
			}
			w.ok(err)
			objects[i] = append(objects[i], object)
		}
	}
	return objects
}

// sizeAt returns how many entries of the first tenant a checkpoint speaks for.
func (w *world) sizeAt(object []byte) int64 {
	w.Helper()
	keys, err := w.ring.Keys(w.Context())
	w.ok(err)
	_, heads, _, err := proof.ParsePublished(keys, object)
	w.ok(err)
	for _, h := range heads {
		if h.Tenant == testenv.One {
			return h.Size
		}
	}
	return 0
}

// publishChild publishes and kills itself at a step.
func publishChild(in []byte) error {
	var o order
	if err := json.Unmarshal(in, &o); err != nil {
		return err
	}
	ctx := context.Background()
	db, err := mongo.Open(ctx, o.URI, "vogter")
	if err != nil {
		return err
	}
	keys, err := mongo.Open(ctx, o.KeysURI, "vogter")
	if err != nil {
		return err
	}
	masters, err := localfile.Open(o.Masters, testenv.Now)
	if err != nil {
		return err
	}
	v, err := vault.New(vault.Config{Store: mongo.NewKeyStore(keys), KMS: masters, Now: testenv.Now})
	if err != nil {
		return err
	}
	now := func() time.Time { return testenv.Now().Add(o.Later) }
	recorder := audit.NewRecorder(db, v, now)
	ring := sign.NewRing(sign.Config{
		Store: mongo.NewSignStore(db), Vault: v, Provider: fixed(provider), Now: testenv.Now,
		Changes: change.NewRunner(db, recorder, vault.Hasher{Vault: v}, now, func() {}),
	})
	store, log, step := mongo.NewAuditStore(db), slog.New(slog.DiscardHandler), killAt(o.KillAt)
	var places []seal.Objects
	for _, c := range o.Buckets {
		b, err := blob.New(c)
		if err != nil {
			return err
		}
		places = append(places, &placeSteps{b, step})
	}
	p := seal.NewPublisher(seal.PublisherConfig{
		Checkpoints: &checkpointSteps{store, step}, Logs: store, Rows: db, Recorder: recorder, Ring: &ringSteps{ring, step},
		Sealer:   seal.NewSealer(seal.Config{Store: &steps{Store: store, step: step}, Now: now, Log: log}),
		Provider: fixed(provider), Places: places, Keep: time.Hour, Now: now, Log: log,
	})
	_, err = p.Publish(ctx)
	return err
}

// checkpointSteps calls step before and after each thing that is done with checkpoints.
type checkpointSteps struct {
	seal.Checkpoints

	step func()
}

func (s *checkpointSteps) InTransaction(ctx context.Context, fn func(ctx context.Context) error) error {
	s.step()
	defer s.step()
	return s.Checkpoints.InTransaction(ctx, fn)
}

func (s *checkpointSteps) Newest(ctx context.Context) (*seal.Record, error) {
	s.step()
	defer s.step()
	return s.Checkpoints.Newest(ctx)
}

func (s *checkpointSteps) InsertCheckpoint(ctx context.Context, r *seal.Record, logs []seal.At) error {
	s.step()
	defer s.step()
	return s.Checkpoints.InsertCheckpoint(ctx, r, logs)
}

func (s *checkpointSteps) Publish(ctx context.Context, number int64) error {
	s.step()
	defer s.step()
	return s.Checkpoints.Publish(ctx, number)
}

// placeSteps does so with the objects of a place.
type placeSteps struct {
	seal.Objects

	step func()
}

func (s *placeSteps) PutLocked(ctx context.Context, key string, content []byte, until time.Time) error {
	s.step()
	defer s.step()
	return s.Objects.PutLocked(ctx, key, content, until)
}

func (s *placeSteps) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	s.step()
	defer s.step()
	return s.Objects.Get(ctx, key, limit)
}

// ringSteps does so with signing.
type ringSteps struct {
	seal.Ring

	step func()
}

func (s *ringSteps) Sign(ctx context.Context, p sign.Purpose, text []byte) ([]byte, error) {
	s.step()
	defer s.step()
	return s.Ring.Sign(ctx, p, text)
}
