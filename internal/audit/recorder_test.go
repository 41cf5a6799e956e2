package audit_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// store counts what it is asked to write, and can be down or slow; the real one
// is tested with package change.
type store struct {
	mu      sync.Mutex
	rows    []audit.Row
	commits int
	err     error
	gate    chan struct{}
}

func (s *store) InsertAudit(_ context.Context, rows ...audit.Row) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if s.err == nil {
		s.rows = append(s.rows, rows...)
	}
	return s.err
}

func start(t *testing.T, s *store) (*audit.Recorder, *vault.Vault, context.Context) {
	t.Helper()
	v := testenv.Vault(t)
	r := audit.NewRecorder(s, v, testenv.Now)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("write reads: %v", err)
		}
	})
	return r, v, tenant.NewContext(t.Context(), testenv.One)
}

func TestAPageIsOneEntryAndItsDetailsProve(t *testing.T) {
	s := &store{}
	r, v, ctx := start(t, s)
	collecting, reads := audit.Collect(ctx)
	for _, subject := range []string{"sub_a", "sub_b", "sub_a"} {
		if err := r.Read(collecting, "record.read", "rec_1", audit.Touch{Subject: subject, Object: "rec_1", Version: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.rows) != 0 {
		t.Error("a collected read is written before the answer")
	}
	if err := r.Flush(ctx, reads); err != nil {
		t.Fatal(err)
	}
	if len(s.rows) != 1 || len(s.rows[0].Subjects) != 2 {
		t.Fatalf("%d entries", len(s.rows))
	}
	row := s.rows[0]
	for i, subject := range row.Subjects {
		owner := audit.Evidence(testenv.One, subject.ID)
		keys, err := v.Load(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := keys.Open(owner, vault.Place{Collection: audit.Collection, Record: row.ID, Field: subject.ID}, row.Sealed[i])
		if err != nil {
			t.Fatal(err)
		}
		b, _ := opened.RevealBytes()
		if len(b) < 16 || audit.Commit(b[:16], b[16:]) != subject.Commitment {
			t.Error("the sealed details don't prove the commitment")
		}
	}
	if err := r.Flush(ctx, reads); err != nil || len(s.rows) != 1 {
		t.Errorf("a second flush writes again, %v", err)
	}
}

// A read of very many persons is several entries, each of which can be stored.
func TestALargeReadIsSeveralEntries(t *testing.T) {
	s := &store{}
	r, _, ctx := start(t, s)
	collecting, reads := audit.Collect(ctx)
	const touches = 4100
	for n := range touches {
		touch := audit.Touch{Subject: "sub_" + strconv.Itoa(n%3), Object: "rec_" + strconv.Itoa(n)}
		if err := r.Read(collecting, "record.read", "", touch); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(ctx, reads); err != nil {
		t.Fatal(err)
	}
	if len(s.rows) != 3 {
		t.Errorf("%d entries", len(s.rows))
	}
	for _, row := range s.rows {
		size := 0
		for _, b := range row.Sealed {
			size += len(b)
		}
		if row.Action != "record.read" || len(row.Subjects) != 3 || size == 0 || size > 1<<20 {
			t.Errorf("an entry of %s on %d subjects has %d bytes", row.Action, len(row.Subjects), size)
		}
	}
}

func TestWaitingReadsShareACommit(t *testing.T) {
	s := &store{gate: make(chan struct{})}
	r, _, ctx := start(t, s)
	var wg sync.WaitGroup
	const readers = 50
	for range readers {
		wg.Go(func() {
			if err := r.Record(ctx, audit.Event{Action: "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // the first is at the gate, the others queue
	close(s.gate)
	wg.Wait()
	if len(s.rows) != readers || s.commits > 5 {
		t.Errorf("%d entries in %d commits", len(s.rows), s.commits)
	}
}

func TestWithoutItsEntryNothingIsAnswered(t *testing.T) {
	r, _, ctx := start(t, &store{err: errors.New("down")})
	if err := r.Read(ctx, "record.read", "rec_1"); !errors.Is(err, audit.ErrNotRecorded) {
		t.Errorf("got %v", err)
	}
	if err := r.Read(t.Context(), "record.read", "rec_1"); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("without a tenant: %v", err)
	}
}
