package mongod

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// chunkSize bounds what one batch of a large write holds in memory, in bytes.
const chunkSize = 4 << 20

// lockTable gives every key that is being written to one writer at a time.
type lockTable struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	owner *writer
	free  chan struct{} // made by the first waiter
}

// busyError reports that a key is being written by another writer; free closes
// when that one is done.
type busyError struct{ free chan struct{} }

func (*busyError) Error() string { return "key is being written" }

// acquire locks key for w or reports who is in the way.
func (t *lockTable) acquire(w *writer, key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.locks[key]
	if l == nil {
		t.locks[key] = &keyLock{owner: w}
		w.locks = append(w.locks, key)
		return nil
	}
	if l.owner == w {
		return nil
	}
	if l.free == nil {
		l.free = make(chan struct{})
	}
	return &busyError{free: l.free}
}

func (t *lockTable) release(w *writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range w.locks {
		if l := t.locks[key]; l.free != nil {
			close(l.free)
		}
		delete(t.locks, key)
	}
	w.locks = w.locks[:0]
}

// writer collects writes and commits them atomically. The writer of a
// transaction reads from a snapshot, and a key that changed since, or that
// another writer holds, ends it with a write conflict. The writer of a single
// statement has no snapshot: it reads the newest state and waits for keys.
type writer struct {
	s     *Server
	snap  *pebble.Snapshot // nil without a transaction
	over  *overlay
	size  int
	locks []string
	held  []*collection    // whose lock is held shared
	count map[uint32]int64 // change in the number of documents
	marks map[*index]uint64
	// session and progress, if set: what each batch saves for a retry.
	session  *session
	progress *progress
	made     []*collection // by this transaction: they begin to exist when it commits
	pending  []*pending    // not yet known to be on disk
}

func (s *Server) newWriter() *writer {
	return &writer{s: s, over: new(overlay), count: map[uint32]int64{}, marks: map[*index]uint64{}}
}

// hold takes the lock of a collection and returns its current version.
func (w *writer) hold(c *collection) (*collection, error) {
	if slices.Contains(w.made, c) {
		return c, nil
	}
	if i := slices.IndexFunc(w.held, func(h *collection) bool { return h.lock == c.lock }); i >= 0 {
		return w.held[i], nil
	}
	if w.snap == nil {
		c.lock.RLock()
	} else if !c.lock.TryRLock() {
		// Waiting here could close a circle with an index build.
		return nil, writeConflict()
	}
	current := w.s.catalog.Load().collections[c.ns]
	if current != nil && current.lock == c.lock && (w.snap == nil || current == c) {
		w.held = append(w.held, current)
		return current, nil
	}
	c.lock.RUnlock()
	if w.snap != nil {
		return nil, transient(errorf(codeSnapshotUnavailable, "the collection's indexes changed since the transaction began"))
	}
	return nil, errorf(codeNamespaceNotFound, "collection dropped while it was written")
}

// attempt runs one step that locks, reads and then writes; when a key is busy it
// commits what came before, waits and runs the step again.
func (w *writer) attempt(ctx context.Context, step func() error) error {
	for {
		err := step()
		busy, ok := errors.AsType[*busyError](err)
		if !ok {
			return err
		}
		if w.snap != nil {
			return writeConflict()
		}
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-busy.free:
		case <-ctx.Done():
			return ctxError(ctx)
		}
	}
}

func (w *writer) lock(key []byte) error { return w.s.locks.acquire(w, string(key)) }

// read locks key and returns its value, or nil.
func (w *writer) read(key []byte) ([]byte, error) {
	if err := w.lock(key); err != nil {
		return nil, err
	}
	if val, ok := w.over.Get(string(key)); ok {
		return val, nil
	}
	val, err := readKey(w.s.db, key)
	if err != nil || w.snap == nil {
		return val, err
	}
	old, err := readKey(w.snap, key)
	if err != nil {
		return nil, err
	}
	if (old == nil) != (val == nil) || val != nil && !bytes.Equal(old[:writeNumberLen], val[:writeNumberLen]) {
		return nil, w.conflict()
	}
	return val, nil
}

// free locks key and reports whether no document has it.
func (w *writer) free(key []byte) (bool, error) {
	if err := w.lock(key); err != nil {
		return false, err
	}
	if val, ok := w.over.Get(string(key)); ok {
		return val == nil, nil
	}
	latest, err := hasKey(w.s.db, key)
	if err != nil || w.snap == nil {
		return !latest, err
	}
	before, err := hasKey(w.snap, key)
	if err != nil {
		return false, err
	}
	if latest != before {
		return false, w.conflict()
	}
	return !latest, nil
}

// conflict ends the transaction because of another's commit, once that can be
// seen: the client begins again at once.
func (w *writer) conflict() error {
	if err := w.s.settle(); err != nil {
		return err
	}
	return writeConflict()
}

// taken reports whether a document other than id holds the unique key prefix.
func (w *writer) taken(prefix, id []byte) (bool, error) {
	if err := w.lock(prefix); err != nil {
		return false, err
	}
	latest, err := w.otherHolds(&view{base: w.s.db, over: w.over}, prefix, id)
	if err != nil || w.snap == nil {
		return latest, err
	}
	before, err := w.otherHolds(&view{base: w.snap, over: w.over}, prefix, id)
	if err != nil {
		return false, err
	}
	if latest != before {
		return false, w.conflict()
	}
	return latest, nil
}

func (w *writer) otherHolds(v *view, prefix, id []byte) (bool, error) {
	it, err := v.newIterator(false)
	if err != nil {
		return false, err
	}
	it.seek(prefix, append(bytes.Clone(prefix), rangeEnd))
	found := false
	for !found && it.next() {
		found = !bytes.Equal(it.key()[len(prefix):], id)
	}
	return found, errors.Join(it.err(), it.Close())
}

// put replaces before (nil: an insert) by after (nil: a delete) and keeps the
// indexes. The key has been read before, so it is locked.
func (w *writer) put(c *collection, key []byte, before, after document) error {
	id := key[identLen:]
	type change struct{ remove, add []entry }
	changes := make([]change, len(c.indexes))
	var changed []string
	if before != nil && after != nil {
		changed = differing(before, after)
	}
	for i, ix := range c.indexes {
		if before != nil && after != nil && !ix.reads(changed) {
			continue
		}
		var ch change
		var err error
		if before != nil {
			if ch.remove, _, err = ix.entries(before, id); err != nil {
				return err
			}
		}
		if after != nil {
			var multikey uint64
			if ch.add, multikey, err = ix.entries(after, id); err != nil {
				return err
			}
			if multikey&^ix.marked.Load() != 0 {
				ix.multikey.Or(multikey)
				w.marks[ix] |= multikey
			}
		}
		ch.remove, ch.add = difference(ch.remove, ch.add)
		if ix.unique {
			if err := w.claim(c, ix, id, ch.remove, ch.add, after); err != nil {
				return err
			}
		}
		changes[i] = ch
	}
	// Nothing below can fail, so a refused document leaves no trace.
	for _, ch := range changes {
		for _, e := range ch.remove {
			w.set(e.key, nil)
		}
		for _, e := range ch.add {
			w.set(e.key, e.val)
		}
	}
	switch {
	case after == nil:
		w.set(key, nil)
		w.count[c.ident]--
		return nil
	case before == nil:
		w.count[c.ident]++
	}
	val := make([]byte, 0, writeNumberLen+len(after))
	val = binary.BigEndian.AppendUint64(val, w.s.writeNumber.Add(1))
	w.set(key, append(val, after...))
	return nil
}

// differing returns the fields of the top level that aren't the same in both.
// Most are, and at the same place.
func differing(before, after document) (names []string) {
	was := begin(before)
	name, v, more := was.next()
	for at, w := range elementsOf(after) {
		for more && !bytes.Equal(name, at) {
			if _, still := lookup(after, string(name)); still {
				break
			}
			names = append(names, string(name))
			name, v, more = was.next()
		}
		old, ok := v, more
		if ok && bytes.Equal(name, at) {
			name, v, more = was.next()
		} else {
			old, ok = lookup(before, string(at))
		}
		if !ok || old.Type != w.Type || !bytes.Equal(old.Data, w.Data) {
			names = append(names, string(at))
		}
	}
	for ; more; name, _, more = was.next() {
		if _, still := lookup(after, string(name)); !still {
			names = append(names, string(name))
		}
	}
	return names
}

// claim locks the keys of a unique index that a document gives up and takes, and
// refuses those that another document holds.
func (w *writer) claim(c *collection, ix *index, id []byte, remove, add []entry, after document) error {
	for _, e := range remove {
		if err := w.lock(e.key[:len(e.key)-len(id)]); err != nil {
			return err
		}
	}
	for _, e := range add {
		taken, err := w.taken(e.key[:len(e.key)-len(id)], id)
		if err != nil {
			return err
		}
		if taken {
			return duplicateKey(c, ix, after)
		}
	}
	return nil
}

func (w *writer) set(key, val []byte) {
	w.over.Set(string(key), val)
	w.size += len(key) + len(val)
}

// difference drops the entries that are in both sorted lists.
func difference(remove, add []entry) (onlyRemove, onlyAdd []entry) {
	for len(remove) > 0 && len(add) > 0 {
		switch c := bytes.Compare(remove[0].key, add[0].key); {
		case c < 0:
			onlyRemove, remove = append(onlyRemove, remove[0]), remove[1:]
		case c > 0:
			onlyAdd, add = append(onlyAdd, add[0]), add[1:]
		default:
			remove, add = remove[1:], add[1:]
		}
	}
	return append(onlyRemove, remove...), append(onlyAdd, add...)
}

// flush shows the collected writes to other writers, all at once, and releases
// the locks. They are on disk, and visible to readers, only after finish.
func (w *writer) flush() error {
	defer w.release()
	if w.over.Len() == 0 {
		return nil
	}
	batch := w.s.db.NewBatchWithSize(w.size + w.size/4 + 1024)
	if err := w.fill(batch); err != nil {
		closeQuietly(batch)
		return err
	}
	cat, unlock, err := w.catalogWithMade(batch)
	defer unlock()
	var p *pending
	if err == nil {
		p, err = w.s.apply(batch, cat)
	}
	if err != nil {
		closeQuietly(batch)
		return err
	}
	w.pending = append(w.pending, p)
	for ix, multikey := range w.marks {
		ix.marked.Or(multikey)
	}
	if w.session != nil {
		saved := *w.progress
		w.session.last = &saved
	}
	w.reset()
	return nil
}

// catalogWithMade adds the collections that a transaction has made to batch and
// returns the catalog that has them. The catalog cannot change until unlock.
func (w *writer) catalogWithMade(batch *pebble.Batch) (cat *catalog, unlock func(), err error) {
	if len(w.made) == 0 {
		return nil, func() {}, nil
	}
	w.s.catalogMu.Lock()
	change := map[string]*collection{}
	for _, c := range w.made {
		if w.s.catalog.Load().collections[c.ns] != nil {
			return nil, w.s.catalogMu.Unlock, writeConflict() // another client was faster
		}
		change[c.ns] = c
	}
	cat, err = w.s.changedCatalog(batch, change)
	return cat, w.s.catalogMu.Unlock, err
}

func (w *writer) reset() {
	w.over, w.size = new(overlay), 0
	clear(w.count)
	clear(w.marks)
}

func (w *writer) fill(batch *pebble.Batch) error {
	var err error
	w.over.Scan(func(key string, val []byte) bool {
		if val == nil {
			err = batch.Delete([]byte(key), nil)
		} else {
			err = batch.Set([]byte(key), val, nil)
		}
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for ident, n := range w.count {
		if n == 0 {
			continue
		}
		if err := batch.Merge(identPrefix(spaceCount, ident), encodeCount(n), nil); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	for ix, multikey := range w.marks {
		if err := ix.mark(batch, multikey); err != nil {
			return err
		}
	}
	if w.session != nil {
		w.progress.At = w.s.now()
		record, err := bson.Marshal(w.progress)
		if err == nil {
			err = batch.Set(sessionKey(w.session.id), record, nil)
		}
		if err != nil {
			return fmt.Errorf("save session record: %w", err)
		}
	}
	return nil
}

// finish commits what is left and waits until everything is on disk: also what
// others wrote, if that is why there was nothing to write.
func (w *writer) finish() error {
	err := w.flush()
	if err == nil && len(w.pending) == 0 {
		return w.s.settle()
	}
	return errors.Join(err, w.wait())
}

// wait waits until all that has been flushed is on disk.
func (w *writer) wait() (err error) {
	for _, p := range w.pending {
		err = errors.Join(err, w.s.wait(p), p.batch.Close())
	}
	w.pending = nil
	return err
}

// release gives up locks without committing.
func (w *writer) release() {
	w.s.locks.release(w)
	for _, c := range w.held {
		c.lock.RUnlock()
	}
	w.held = w.held[:0]
}

// abort forgets the writes that are not yet visible.
func (w *writer) abort() {
	w.reset()
	w.release()
}

// closeQuietly closes what has nothing left to lose.
func closeQuietly(c io.Closer) { _ = c.Close() }
