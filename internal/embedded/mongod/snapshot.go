package mongod

import (
	"sync"
	"time"
)

// snapshotLifetime is how long after its last use a snapshot can be read at,
// MongoDB's default history window.
const snapshotLifetime = 5 * time.Minute

// snapshotTable keeps the snapshots that clients read at by their cluster time.
type snapshotTable struct {
	mu     sync.Mutex
	byTime map[uint64]*heldSnapshot
}

type heldSnapshot struct {
	view *view // keeps the snapshot open
	used time.Time
}

// snapshotView returns a view at cluster time at, or of now (and its time) when
// at is 0.
func (s *Server) snapshotView(at uint64) (*view, uint64, error) {
	t := &s.snapshots
	t.mu.Lock()
	defer t.mu.Unlock()
	held := t.byTime[at]
	switch {
	case at != 0 && held == nil:
		return nil, 0, errorf(codeSnapshotTooOld, "read timestamp is too old or was never given out")
	case at == 0:
		held, at = &heldSnapshot{view: s.newView()}, s.clusterTick()
		t.byTime[at] = held
	}
	held.used = s.now()
	return s.viewAt(held.view.snap), at, nil
}

// expire forgets the snapshots that were last used before the given time.
func (t *snapshotTable) expire(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, held := range t.byTime {
		if held.used.Before(before) {
			delete(t.byTime, at)
			_ = held.view.close() // closing a snapshot cannot fail while the store is open
		}
	}
}
