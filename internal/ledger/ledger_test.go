package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/s3"
)

// rig is a ledger in a bucket, and databases that may be copies of each other.
type rig struct {
	testing.TB

	server *s3.Server
	bucket *blob.Bucket
	ring   *sign.Ring
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server := s3.Start(t)
	return &rig{t, server, server.Bucket(t), testenv.NewRing(t)}
}

func (r *rig) ledger(store ledger.Store) *ledger.Ledger {
	return ledger.New(ledger.Config{Store: store, Objects: r.bucket, Signer: r.ring, Now: testenv.Now, Keep: time.Hour})
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// store is the position in a database of its own.
func store(t *testing.T) *mongo.LedgerStore {
	t.Helper()
	return mongo.NewLedgerStore(testenv.Mongo(t))
}

func none(context.Context, ledger.Entry) error { return errors.New("nothing was to be replayed") }

func (r *rig) append(l *ledger.Ledger, object string) int64 {
	r.Helper()
	n, err := l.Append(r.Context(), ledger.Entry{Kind: ledger.EraseIntent, Tenant: testenv.One, Object: object, Subject: "sub_x"})
	r.ok(err)
	return n
}

func TestLedger(t *testing.T) {
	r := newRig(t)
	s := store(t)
	l := r.ledger(s)
	if _, err := l.Append(t.Context(), ledger.Entry{Kind: ledger.Hold}); !errors.Is(err, ledger.ErrBroken) {
		t.Errorf("append before the check: %v", err)
	}
	r.ok(l.Check(t.Context(), "db-1", none))
	r.ok(l.Check(t.Context(), "another start draws another id, which is not used", none))
	for i := range 3 {
		if n := r.append(l, fmt.Sprint("shr_", i)); n != int64(i+1) {
			t.Errorf("entry %d has number %d", i+1, n)
		}
	}
	var seen []string
	r.ok(l.Visit(t.Context(), func(e ledger.Entry) error {
		if e.Database != "db-1" || e.Number != int64(len(seen)) {
			t.Errorf("%+v", e)
		}
		seen = append(seen, string(e.Kind)+e.Object)
		return nil
	}))
	if got := strings.Join(seen, " "); got != "GENESIS ERASE_INTENTshr_0 ERASE_INTENTshr_1 ERASE_INTENTshr_2" {
		t.Errorf("entries: %s", got)
	}
	if err := r.bucket.PutLocked(t.Context(), "ledger_0000000000000002", []byte("x"), testenv.Now().Add(time.Hour)); !errors.Is(err, blob.ErrExists) {
		t.Errorf("an entry can be replaced: %v", err)
	}
	if err := r.bucket.Delete(t.Context(), "ledger_0000000000000002"); err == nil {
		t.Error("a locked entry can be deleted")
	}
}

// Several processes append at once: one chain, nothing lost.
func TestConcurrent(t *testing.T) {
	r := newRig(t)
	s := store(t)
	r.ok(r.ledger(s).Check(t.Context(), "db-1", none))
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		l := r.ledger(s)
		wg.Go(func() {
			for i := range each {
				if _, err := l.Append(t.Context(), ledger.Entry{Kind: ledger.Hold, Object: fmt.Sprintf("%d/%d", w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	objects := map[string]bool{}
	r.ok(r.ledger(s).Visit(t.Context(), func(e ledger.Entry) error {
		objects[e.Object] = true
		return nil
	}))
	if len(objects) != writers*each+1 {
		t.Errorf("%d entries", len(objects))
	}
}

// A database restored from a backup knows less than the ledger: what it lacks is
// carried out again, in order, and again when that failed half way.
func TestRestored(t *testing.T) {
	r := newRig(t)
	now, old := store(t), store(t)
	l := r.ledger(now)
	r.ok(l.Check(t.Context(), "db-1", none))
	r.append(l, "shr_1")
	backup, err := now.Position(t.Context(), ledger.Position{})
	r.ok(err)
	_, err = old.Position(t.Context(), backup) // the restored copy
	r.ok(err)
	for i := 2; i < 6; i++ {
		r.append(l, fmt.Sprint("shr_", i))
	}
	var replayed []string
	restored := r.ledger(old)
	broken := errors.New("broken")
	err = restored.Check(t.Context(), "db-1", func(_ context.Context, e ledger.Entry) error {
		if e.Object == "shr_4" {
			return broken
		}
		replayed = append(replayed, e.Object)
		return nil
	})
	if !errors.Is(err, broken) {
		t.Fatalf("the start isn't refused: %v", err)
	}
	r.ok(restored.Check(t.Context(), "db-1", func(_ context.Context, e ledger.Entry) error {
		replayed = append(replayed, e.Object)
		return nil
	}))
	if got := strings.Join(replayed, " "); got != "shr_2 shr_3 shr_4 shr_5" {
		t.Errorf("replayed %s", got)
	}
	if n := r.append(restored, "shr_6"); n != 6 {
		t.Errorf("the next has number %d", n)
	}
}

// signer signs as a ring does, and knows the keys of another moment.
type signer struct {
	*sign.Ring

	known *sign.KeySet
}

func (s signer) Keys(context.Context) (*sign.KeySet, error) { return s.known, nil }

// A restored database knows no keys that were made since: they lie beside the
// entries, and count as far as they follow from those it knows.
func TestRestoredWithOldKeys(t *testing.T) {
	r := newRig(t)
	s := store(t)
	l := r.ledger(s)
	r.ok(l.Check(t.Context(), "db-1", none))
	r.append(l, "shr_1")
	backup, err := s.Position(t.Context(), ledger.Position{})
	r.ok(err)
	old, err := r.ring.Keys(t.Context())
	r.ok(err)
	for i := range 3 {
		r.ok(r.ring.Rotate(t.Context(), sign.Root, sign.Ledger))
		r.append(l, fmt.Sprint("shr_", i))
	}
	restored := func(keys *sign.KeySet) error {
		s := store(t)
		_, err := s.Position(t.Context(), backup)
		r.ok(err)
		c := ledger.Config{Store: s, Objects: r.bucket, Signer: signer{r.ring, keys}, Now: testenv.Now, Keep: time.Hour}
		return ledger.New(c).Check(t.Context(), "db-1", func(context.Context, ledger.Entry) error { return nil })
	}
	if err := restored(sign.NewKeySet(old.Keys()...)); err != nil {
		t.Errorf("with the keys of the backup: %v", err)
	}
	stranger := testenv.NewRing(t)
	_, err = stranger.Sign(t.Context(), sign.Ledger, []byte("x\n"))
	r.ok(err)
	theirs, err := stranger.Keys(t.Context())
	r.ok(err)
	if err := restored(theirs); !errors.Is(err, ledger.ErrForged) {
		t.Errorf("with a stranger's keys: %v", err)
	}
}

// altered is a bucket that gives out another object of one key.
type altered struct {
	*blob.Bucket

	key  string
	with func([]byte) []byte
}

func (a altered) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := a.Bucket.Get(ctx, key, limit)
	if err == nil && key == a.key {
		b = a.with(b)
	}
	return b, err
}

// What the database knows already is read again too: the last of it at each
// start, all of it on demand.
func TestKnownEntriesAreCheckedAgain(t *testing.T) {
	r := newRig(t)
	s := store(t)
	l := r.ledger(s)
	r.ok(l.Check(t.Context(), "db-1", none))
	for i := range 120 {
		r.append(l, fmt.Sprint("shr_", i))
	}
	open := func(number int, with func([]byte) []byte) (atStart, onDemand error) {
		c := ledger.Config{
			Store: s, Objects: altered{r.bucket, fmt.Sprintf("ledger_%016d", number), with}, Signer: r.ring, Now: testenv.Now, Keep: time.Hour,
		}
		return ledger.New(c).Check(t.Context(), "db-1", none), ledger.New(c).Visit(t.Context(), func(ledger.Entry) error { return nil })
	}
	flip := func(b []byte) []byte { return []byte(strings.Replace(string(b), "shr_", "shr-", 1)) }
	for number, known := range map[int]bool{120: true, 90: true, 25: true, 5: false} {
		start, demand := open(number, flip)
		if known != errors.Is(start, ledger.ErrBroken) || !errors.Is(demand, ledger.ErrForged) {
			t.Errorf("entry %d altered: at the start %v, on demand %v", number, start, demand)
		}
	}
	if start, demand := open(3, func(b []byte) []byte { return b }); start != nil || demand != nil {
		t.Errorf("nothing altered: %v, %v", start, demand)
	}
}

func TestRefuses(t *testing.T) {
	entry := func(number int, previous, database string) []byte {
		line, err := json.Marshal(ledger.Entry{Number: int64(number), Previous: previous, Database: database, Kind: ledger.Hold})
		if err != nil {
			t.Fatal(err)
		}
		return sign.Text("vogter/ledger/1", string(line))
	}
	for name, tt := range map[string]struct {
		spoil func(r *rig, s *mongo.LedgerStore)
		want  error
	}{
		"another database": {func(*rig, *mongo.LedgerStore) {}, ledger.ErrOtherDatabase},
		"a chain that doesn't follow": {func(r *rig, s *mongo.LedgerStore) {
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", entry(1, "another", "db-1"), testenv.Now().Add(time.Hour)))
		}, ledger.ErrBroken},
		"an entry of another form": {func(r *rig, s *mongo.LedgerStore) {
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", []byte("nothing"), testenv.Now().Add(time.Hour)))
		}, ledger.ErrBroken},
		"an entry of another database": {func(r *rig, s *mongo.LedgerStore) {
			at, err := s.Position(r.Context(), ledger.Position{})
			r.ok(err)
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", entry(1, at.Hash, "db-2"), testenv.Now().Add(time.Hour)))
		}, ledger.ErrOtherDatabase},
		"an entry that nobody signed": {func(r *rig, s *mongo.LedgerStore) {
			at, err := s.Position(r.Context(), ledger.Position{})
			r.ok(err)
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", entry(1, at.Hash, "db-1"), testenv.Now().Add(time.Hour)))
		}, ledger.ErrForged},
		"an entry that a stranger signed": {func(r *rig, s *mongo.LedgerStore) {
			at, err := s.Position(r.Context(), ledger.Position{})
			r.ok(err)
			signed, err := testenv.NewRing(t).Sign(r.Context(), sign.Ledger, entry(1, at.Hash, "db-1"))
			r.ok(err)
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", signed, testenv.Now().Add(time.Hour)))
		}, ledger.ErrForged},
		"an entry that was signed for another purpose": {func(r *rig, s *mongo.LedgerStore) {
			at, err := s.Position(r.Context(), ledger.Position{})
			r.ok(err)
			signed, err := r.ring.Sign(r.Context(), sign.Receipt, entry(1, at.Hash, "db-1"))
			r.ok(err)
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", signed, testenv.Now().Add(time.Hour)))
		}, ledger.ErrForged},
		"a gap": {func(r *rig, s *mongo.LedgerStore) {
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000005", entry(5, "x", "db-1"), testenv.Now().Add(time.Hour)))
		}, ledger.ErrBroken},
		"an entry that is missing": {func(r *rig, s *mongo.LedgerStore) {
			r.ok(s.Advance(r.Context(), ledger.Position{Number: 7, Hash: "x"}))
		}, ledger.ErrBroken},
		"another entry than the one known": {func(r *rig, s *mongo.LedgerStore) {
			at, err := s.Position(r.Context(), ledger.Position{})
			r.ok(err)
			r.ok(r.bucket.PutLocked(r.Context(), "ledger_0000000000000001", entry(1, at.Hash, "db-1"), testenv.Now().Add(time.Hour)))
			r.ok(s.Advance(r.Context(), ledger.Position{Number: 1, Hash: "x"}))
		}, ledger.ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := store(t)
			r.ok(r.ledger(s).Check(t.Context(), "db-1", none))
			tt.spoil(r, s)
			if name == "another database" {
				s = store(t)
			}
			err := r.ledger(s).Check(t.Context(), "db-2", func(context.Context, ledger.Entry) error { return nil })
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("storage that doesn't answer", func(t *testing.T) {
		r := newRig(t)
		s := store(t)
		r.ok(r.ledger(s).Check(t.Context(), "db-1", none))
		c := r.server.Config
		c.Bucket, c.Endpoint = "nosuch", "https://127.0.0.1:1"
		away, err := blob.New(c)
		r.ok(err)
		err = ledger.New(ledger.Config{Store: s, Objects: away, Signer: r.ring, Now: testenv.Now, Keep: time.Hour}).Check(t.Context(), "db-1", none)
		if !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
