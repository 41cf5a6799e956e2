package mongod

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/btree"
)

// Key spaces of the store. An ident is the number of a record store or index.
//
// A change of what is stored is a step in formatUpgrades.
//
//	0x00                     format version
//	0x01 ns                  collection (BSON: ident, uuid, indexes)
//	0x02 ident field         marks a field of an index as multikey
//	0x03 ident               number of documents (a merged sum)
//	0x04 lsid                last retryable write or commit of a session
//	0x10 ident key(_id)      document: 8-byte write number, BSON
//	0x10 ident key… key(_id) index entry: offset of key(_id)
const (
	spaceFormat     = 0x00
	spaceCollection = 0x01
	spaceMultikey   = 0x02
	spaceCount      = 0x03
	spaceSession    = 0x04
	spaceData       = 0x10

	identLen       = 5 // space and number
	writeNumberLen = 8
)

func identPrefix(space byte, ident uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{space}, ident)
}

// overlay holds the uncommitted writes of one writer; a nil value is a deletion.
type overlay = btree.Map[string, []byte]

// view is what an operation sees: the store, or a snapshot of it, under its own
// uncommitted writes.
type view struct {
	base pebble.Reader
	over *overlay // nil: no writes
	cat  *catalog
	// snap is released when the view is closed, if it has one.
	snap   *snapshot
	server *Server
}

func (v *view) close() error {
	if v.snap == nil {
		return nil
	}
	return v.server.release(v.snap)
}

// get returns the value at key, or nil.
func (v *view) get(key []byte) ([]byte, error) {
	if v.over != nil {
		if val, ok := v.over.Get(string(key)); ok {
			return val, nil
		}
	}
	return readKey(v.base, key)
}

// storeError names the file if err comes from a damaged one. The store's own words
// may hold keys, so they are left out then.
func storeError(doing string, err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%s: file %s: %w", doing, filepath.Base(info.Path), ErrDamaged)
	}
	if errors.Is(err, pebble.ErrCorruption) {
		return fmt.Errorf("%s: %w: %w", doing, ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// readKey returns a copy of the value at key, or nil.
func readKey(r pebble.Reader, key []byte) ([]byte, error) {
	val, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil // no value is an ordinary answer
	}
	if err != nil {
		return nil, storeError("read store", err)
	}
	val = bytes.Clone(val)
	if val == nil {
		val = []byte{}
	}
	if err := closer.Close(); err != nil {
		return nil, storeError("read store", err)
	}
	return val, nil
}

// hasKey looks for a key that is probably not there: unlike a get it asks the
// Bloom filters of the lowest level, too, where most of a large store is.
func hasKey(r pebble.Reader, key []byte) (bool, error) {
	it, err := r.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return false, storeError("open iterator", err)
	}
	found := it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key)
	if err := it.Close(); err != nil {
		return false, storeError("read store", err)
	}
	return found, nil
}

// iterator walks the keys of a view in either direction within bounds.
type iterator struct {
	base    *pebble.Iterator
	over    *btree.MapIter[string, []byte]
	reverse bool

	lower, upper   []byte
	baseOK, overOK bool
	onBase, onOver bool // which of the two stand on the current key
}

// newIterator returns an iterator that stands nowhere until seek.
func (v *view) newIterator(reverse bool) (*iterator, error) {
	base, err := v.base.NewIter(nil)
	if err != nil {
		return nil, storeError("open iterator", err)
	}
	it := &iterator{base: base, reverse: reverse}
	if v.over != nil && v.over.Len() > 0 {
		over := v.over.Iter()
		it.over = &over
	}
	return it, nil
}

// each calls f for every key that begins with prefix.
func (v *view) each(prefix []byte, f func(key, val []byte) error) error {
	it, err := v.newIterator(false)
	if err != nil {
		return err
	}
	it.seek(prefix, append(bytes.Clone(prefix), rangeEnd, rangeEnd, rangeEnd, rangeEnd, rangeEnd, rangeEnd))
	for it.next() {
		val, err := it.value()
		if err == nil {
			err = f(it.key(), val)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.err(), it.Close())
}

// each calls f for every key of the store that begins with prefix.
func (s *Server) each(prefix []byte, f func(key, val []byte) error) error {
	return (&view{base: s.db}).each(prefix, f)
}

// seek stands before the first key of [lower, upper) in the direction of travel.
func (it *iterator) seek(lower, upper []byte) {
	it.lower, it.upper = lower, upper
	it.onBase, it.onOver = false, false
	it.base.SetBounds(lower, upper)
	if it.reverse {
		it.baseOK = it.base.Last()
	} else {
		it.baseOK = it.base.First()
	}
	if it.over == nil {
		return
	}
	if !it.reverse {
		it.overOK = it.over.Seek(string(lower))
	} else if it.over.Seek(string(upper)) {
		it.overOK = it.over.Prev()
	} else {
		it.overOK = it.over.Last()
	}
	it.boundOver()
}

func (it *iterator) boundOver() {
	if it.overOK {
		k := it.over.Key()
		it.overOK = k >= string(it.lower) && k < string(it.upper)
	}
}

// next moves to the next key; false at the end or on an error (see close).
func (it *iterator) next() bool {
	for {
		if it.onBase {
			if it.reverse {
				it.baseOK = it.base.Prev()
			} else {
				it.baseOK = it.base.Next()
			}
		}
		if it.onOver {
			if it.reverse {
				it.overOK = it.over.Prev()
			} else {
				it.overOK = it.over.Next()
			}
			it.boundOver()
		}
		switch {
		case !it.baseOK && !it.overOK:
			it.onBase, it.onOver = false, false
			return false
		case !it.overOK:
			it.onBase, it.onOver = true, false
		case !it.baseOK:
			it.onBase, it.onOver = false, true
		default:
			c := bytes.Compare(it.base.Key(), []byte(it.over.Key()))
			if it.reverse {
				c = -c
			}
			it.onBase, it.onOver = c <= 0, c >= 0
		}
		if it.onOver && it.over.Value() == nil {
			continue // deleted by this writer
		}
		return true
	}
}

// key returns the current key, valid until the next move.
func (it *iterator) key() []byte {
	if it.onOver {
		return []byte(it.over.Key())
	}
	return it.base.Key()
}

// value returns the current value, valid until the next move.
func (it *iterator) value() ([]byte, error) {
	if it.onOver {
		return it.over.Value(), nil
	}
	val, err := it.base.ValueAndErr()
	if err != nil {
		return nil, storeError("read store", err)
	}
	return val, nil
}

// err reports what ended the walk early.
func (it *iterator) err() error {
	if err := it.base.Error(); err != nil {
		return storeError("walk store", err)
	}
	return nil
}

// Close implements io.Closer.
func (it *iterator) Close() error {
	if err := it.base.Close(); err != nil {
		return storeError("walk store", err)
	}
	return nil
}

// sum adds up 8-byte numbers: document counts need no lock that way.
type sum struct{ n int64 }

// sumMerger is the merge operator of the store. Its name is part of the format.
func sumMerger() *pebble.Merger {
	return &pebble.Merger{
		Name: "vogter.sum.1",
		Merge: func(_, val []byte) (pebble.ValueMerger, error) {
			s := &sum{}
			return s, s.MergeNewer(val)
		},
	}
}

// MergeNewer adds an operand.
func (s *sum) MergeNewer(val []byte) error {
	if len(val) != 8 {
		return fmt.Errorf("merge count: operand of %d bytes", len(val))
	}
	s.n += decodeCount(val)
	return nil
}

// MergeOlder adds an operand; the order is of no consequence.
func (s *sum) MergeOlder(val []byte) error { return s.MergeNewer(val) }

// Finish returns the sum.
func (s *sum) Finish(bool) ([]byte, io.Closer, error) { return encodeCount(s.n), nil, nil }

func encodeCount(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // two's complement is meant
}

func decodeCount(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // two's complement is meant
}
