package mongod

import (
	"sync"
	"time"
)

// snapshotLifetime is how long after its last use a snapshot can be read at,
// MongoDB's default history window.
const snapshotLifetime = 5 * time.Minute

const codeSnapshotTooOld = 239

// snapshotTable holds the snapshots that clients read at by their cluster time.
type snapshotTable struct {
	mu     sync.Mutex
	byTime map[uint64]*sharedSnapshot
}

// sharedSnapshot is closed when neither the table nor a view refers to it.
type sharedSnapshot struct {
	view *view
	at   uint64
	refs int
	used time.Time
}

// snapshotView returns a view at cluster time at, or of now (and its time) when
// at is 0.
func (s *Server) snapshotView(at uint64) (*view, uint64, error) {
	t := &s.snapshots
	t.mu.Lock()
	defer t.mu.Unlock()
	snap := t.byTime[at]
	switch {
	case at != 0 && snap == nil:
		return nil, 0, errorf(codeSnapshotTooOld, "read timestamp is too old or was never given out")
	case at == 0:
		snap = &sharedSnapshot{view: s.newView(), at: s.clusterTick(), refs: 1}
		t.byTime[snap.at] = snap
	}
	snap.refs++
	snap.used = s.now()
	return &view{base: snap.view.base, cat: snap.view.cat, done: func() error { return t.release(snap) }}, snap.at, nil
}

func (t *snapshotTable) release(snap *sharedSnapshot) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return snap.drop()
}

func (snap *sharedSnapshot) drop() error {
	if snap.refs--; snap.refs > 0 {
		return nil
	}
	return snap.view.close()
}

// expire forgets the snapshots that were last used before the given time.
func (t *snapshotTable) expire(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, snap := range t.byTime {
		if snap.used.Before(before) {
			delete(t.byTime, at)
			_ = snap.drop() // closing a snapshot cannot fail while the store is open
		}
	}
}
