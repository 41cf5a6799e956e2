package mongod

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// diskReserve is the free space, in bytes, below which writes are refused:
	// what the store needs to put the writes that it has taken in order.
	diskReserve = 64 << 20
	// spaceCheck is how much is written before the free space is looked at again.
	spaceCheck = 1 << 20
	// retryPause is between two attempts of the store to write a table.
	retryPause = 100 * time.Millisecond
)

// commits lets batches into the store one after another and shows each to
// readers once it is on disk. Writers see it at once: what they base on it comes
// later in the same log, so it is not acknowledged before it either.
type commits struct {
	applying  sync.Mutex // held while one batch enters the store
	applied   uint64     // number after the newest batch
	unchecked int        // bytes since the free space was looked at
	stuck     bool       // the store panicked while it held its own locks

	mu      sync.Mutex
	visible *snapshot // of the newest batch on disk

	full   atomic.Bool                  // the disk is nearly full
	failed atomic.Pointer[commandError] // the store cannot write any more
}

// snapshot is the store after one batch, with the catalog that describes it.
type snapshot struct {
	number uint64 // of the store's next write
	base   *pebble.Snapshot
	cat    *catalog
	refs   int // guarded by commits.mu; the snapshot is closed with the last
}

// pending is a batch that writers see and that may not yet be on disk.
type pending struct {
	batch *pebble.Batch
	snap  *snapshot
}

// newView opens a view of all that is on disk.
func (s *Server) newView() *view { return s.viewAt(nil) }

// viewAt opens a view of st, which is held open, or of the visible state.
func (s *Server) viewAt(snap *snapshot) *view {
	s.commits.mu.Lock()
	defer s.commits.mu.Unlock()
	if snap == nil {
		snap = s.commits.visible
	}
	snap.refs++
	return &view{base: snap.base, cat: snap.cat, snap: snap, server: s}
}

// newestView opens a view for a writer, which sees commits that are still on
// their way to the disk.
func (s *Server) newestView() *view {
	s.commits.applying.Lock()
	defer s.commits.applying.Unlock()
	snap := &snapshot{base: s.db.NewSnapshot(), cat: s.catalog.Load(), refs: 1}
	return &view{base: snap.base, cat: snap.cat, snap: snap, server: s}
}

// visibleCatalog returns the catalog as it is on disk.
func (s *Server) visibleCatalog() *catalog {
	s.commits.mu.Lock()
	defer s.commits.mu.Unlock()
	return s.commits.visible.cat
}

func (s *Server) release(snap *snapshot) error {
	s.commits.mu.Lock()
	snap.refs--
	last := snap.refs == 0
	s.commits.mu.Unlock()
	if !last {
		return nil
	}
	if err := snap.base.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// commit applies batch, with a new catalog unless cat is nil, and returns when it
// is on disk and visible. The caller closes the batch.
func (s *Server) commit(batch *pebble.Batch, cat *catalog) error {
	p, err := s.apply(batch, cat)
	if err != nil {
		return err
	}
	return s.wait(p)
}

// apply lets batch into the store; wait must follow. The store panics when it
// cannot write its log. What it has half done is then not built upon: writes are
// refused until the folder is opened again, and reads go on with what is visible.
func (s *Server) apply(batch *pebble.Batch, cat *catalog) (p *pending, err error) {
	c := &s.commits
	if err := s.writable(); err != nil {
		return nil, err // without waiting for one that waits for space
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	if c.unchecked += batch.Len(); c.unchecked > spaceCheck {
		s.checkSpace()
		c.unchecked = 0
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if !ok {
				cause = fmt.Errorf("%v", r) //nolint:err113 // a panic of the store
			}
			c.stuck = true
			p, err = nil, s.fail(cause)
		}
	}()
	count := uint64(batch.Count()) // the store numbers each change
	if err := s.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return nil, s.fail(err)
	}
	if cat != nil {
		s.catalog.Store(cat)
	}
	c.applied += count
	return &pending{batch: batch, snap: &snapshot{
		number: c.applied, base: s.db.NewSnapshot(), cat: s.catalog.Load(), refs: 1,
	}}, nil
}

// wait returns when p is on disk and visible. Batches reach the disk in their
// order, so all before it are, too.
func (s *Server) wait(p *pending) error {
	if err := p.batch.SyncWait(); err != nil {
		return errors.Join(s.fail(err), s.release(p.snap))
	}
	c := &s.commits
	c.mu.Lock()
	old := p.snap // superseded, if a later one has been faster
	if c.visible == nil || p.snap.number >= c.visible.number {
		old, c.visible = c.visible, p.snap
	}
	c.mu.Unlock()
	if old == nil {
		return nil
	}
	return s.release(old)
}

// settle returns when all that writers see is on disk and visible.
func (s *Server) settle() error {
	c := &s.commits
	c.applying.Lock()
	applied := c.applied
	c.applying.Unlock()
	c.mu.Lock()
	settled := c.visible != nil && c.visible.number >= applied
	c.mu.Unlock()
	if settled {
		return s.writable()
	}
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	if err := batch.LogData(nil, nil); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return s.commit(batch, nil)
}

// writable reports why nothing can be written, if so.
func (s *Server) writable() error {
	if e := s.commits.failed.Load(); e != nil {
		return e
	}
	if s.commits.full.Load() {
		return errorf(codeOutOfDiskSpace, "the disk of the data folder is nearly full: nothing is written until there is space")
	}
	return nil
}

// fail ends writing for good.
func (s *Server) fail(cause error) error {
	e := errorf(codeInternal, "the store cannot write any more: restart the engine once the cause is removed")
	if errors.Is(cause, syscall.ENOSPC) {
		e = errorf(codeOutOfDiskSpace, "the disk of the data folder is full: restart the engine once there is space")
	}
	if s.commits.failed.CompareAndSwap(nil, e) {
		s.logger.Error("document store takes no more writes", "err", cause)
	}
	return e
}

// checkSpace looks how much of the disk is free.
func (s *Server) checkSpace() {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		s.logger.Error("free disk space is unknown", "err", err)
		return
	}
	s.setFull(usage.AvailBytes < diskReserve)
}

func (s *Server) setFull(full bool) {
	if s.commits.full.Swap(full) != full {
		s.logger.Warn("free disk space of the document store", "full", full)
	}
}

// backgroundError is told why the store could not bring its tables in order. It
// tries again as soon as this returns, so it is held up.
func (s *Server) backgroundError(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		s.setFull(true)
	} else {
		s.logger.Error("document store cannot write tables", "err", err)
	}
	time.Sleep(retryPause)
}

// checkRoom refuses to open a store whose log does not fit onto the disk a second
// time, as tables: the store would try for ever.
func (s *Server) checkRoom() error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return fmt.Errorf("look at free disk space: %w", err)
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("list data folder: %w", err)
	}
	need := uint64(spaceCheck)
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			info, err := s.fs.Stat(s.fs.PathJoin(s.dir, name))
			if err != nil {
				return fmt.Errorf("look at log: %w", err)
			}
			need += uint64(info.Size()) //nolint:gosec // not negative
		}
	}
	if usage.AvailBytes < need {
		return fmt.Errorf("open store: %d bytes of disk space are free, %d are needed: %w", usage.AvailBytes, need, syscall.ENOSPC)
	}
	return nil
}
