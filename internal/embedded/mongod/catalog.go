package mongod

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// maxIndexes is MongoDB's limit of indexes on a collection.
const maxIndexes = 64

// catalog is an immutable list of the collections; a change makes a new one.
// The catalog of a snapshot describes exactly what that snapshot holds.
type catalog struct {
	collections map[string]*collection // by "database.collection"
}

// with returns the catalog with c added.
func (cat *catalog) with(c *collection) *catalog {
	next := &catalog{collections: maps.Clone(cat.collections)}
	next.collections[c.ns] = c
	return next
}

// collection is immutable but for its lock and the multikey marks of its indexes.
type collection struct {
	ns      string
	ident   uint32
	uuid    []byte
	indexes []*index // secondary ones
	id      *index   // of _id: the record store itself

	// lock is held shared by writers until they commit and exclusively while
	// indexes change, so no write misses an index. It lives as long as the
	// collection, over all versions of it.
	lock *sync.RWMutex
}

// index describes how a key space is ordered.
type index struct {
	name   string
	ident  uint32
	fields []keyField
	spec   document // key pattern as given
	unique bool

	// Fields that met an array, as bits: seen by any writer, and known to be
	// on disk. They never go back.
	multikey, marked *atomic.Uint64
}

func newIndex(name string, ident uint32, fields []keyField, spec document, unique bool) *index {
	return &index{
		name: name, ident: ident, fields: fields, spec: spec, unique: unique,
		multikey: new(atomic.Uint64), marked: new(atomic.Uint64),
	}
}

func (ix *index) prefix() []byte { return identPrefix(spaceData, ix.ident) }

// isRecords reports whether ix is the record store.
func (ix *index) isRecords(c *collection) bool { return ix.ident == c.ident }

// recordKey returns the key of the document whose _id is id.
func (c *collection) recordKey(id value) []byte {
	return appendKey(identPrefix(spaceData, c.ident), id)
}

func newCollection(ns string, ident uint32, uuid []byte) *collection {
	spec := bsoncore.NewDocumentBuilder().AppendInt32("_id", 1).Build()
	return &collection{
		ns: ns, ident: ident, uuid: uuid, lock: new(sync.RWMutex),
		id: newIndex("_id_", ident, []keyField{{path: "_id"}}, spec, true),
	}
}

func (c *collection) withIndexes(indexes []*index) *collection {
	clone := *c
	clone.indexes = indexes
	return &clone
}

// storedCollection is a collection as the catalog on disk has it.
type storedCollection struct {
	Ident   uint32        `bson:"ident"`
	UUID    bson.Binary   `bson:"uuid"`
	Indexes []storedIndex `bson:"indexes"`
}

type storedIndex struct {
	Name   string   `bson:"name"`
	Ident  uint32   `bson:"ident"`
	Key    document `bson:"key"`
	Unique bool     `bson:"unique"`
}

func (c *collection) encode() ([]byte, error) {
	stored := storedCollection{Ident: c.ident, UUID: bson.Binary{Subtype: 4, Data: c.uuid}}
	for _, ix := range c.indexes {
		stored.Indexes = append(stored.Indexes, storedIndex{Name: ix.name, Ident: ix.ident, Key: ix.spec, Unique: ix.unique})
	}
	record, err := bson.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("encode catalog entry: %w", err)
	}
	return record, nil
}

func decodeCollection(ns string, record []byte) (*collection, error) {
	var stored storedCollection
	if err := bson.Unmarshal(record, &stored); err != nil {
		return nil, fmt.Errorf("decode catalog entry: %w", err)
	}
	c := newCollection(ns, stored.Ident, stored.UUID.Data)
	for _, ix := range stored.Indexes {
		fields, err := parseKeyPattern(ix.Key)
		if err != nil {
			return nil, fmt.Errorf("decode catalog entry: %w", err)
		}
		c.indexes = append(c.indexes, newIndex(ix.Name, ix.Ident, fields, ix.Key, ix.Unique))
	}
	return c, nil
}

// loadCatalog reads the catalog and clears what interrupted index builds left.
func (s *Server) loadCatalog() error {
	cat := &catalog{collections: map[string]*collection{}}
	byIdent := map[uint32]*index{}
	known := map[uint32]bool{}
	last := uint32(0)
	err := s.each([]byte{spaceCollection}, func(key, val []byte) error {
		c, err := decodeCollection(string(key[1:]), val)
		if err != nil {
			return err
		}
		cat.collections[c.ns] = c
		known[c.ident] = true
		byIdent[c.ident] = c.id
		last = max(last, c.ident)
		for _, ix := range c.indexes {
			known[ix.ident] = true
			byIdent[ix.ident] = ix
			last = max(last, ix.ident)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.each([]byte{spaceMultikey}, func(key, _ []byte) error {
		if len(key) != identLen+1 {
			return errors.New("decode multikey mark: damaged")
		}
		if ix := byIdent[identOf(key)]; ix != nil {
			ix.multikey.Or(1 << key[identLen])
			ix.marked.Or(1 << key[identLen])
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.lastIdent.Store(last)
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	for ident := uint32(1); ident <= last; ident++ {
		if !known[ident] {
			if err := dropIdent(batch, ident); err != nil {
				return err
			}
		}
	}
	// An index build that was cut short had the next numbers.
	if err := batch.DeleteRange(identPrefix(spaceData, last+1), []byte{spaceData + 1}, nil); err != nil {
		return fmt.Errorf("clear unfinished index: %w", err)
	}
	return s.commit(batch, cat)
}

func identOf(key []byte) uint32 {
	return binary.BigEndian.Uint32(key[1:])
}

// dropIdent deletes a record store or index.
func dropIdent(batch *pebble.Batch, ident uint32) error {
	for _, space := range []byte{spaceData, spaceMultikey, spaceCount} {
		if err := batch.DeleteRange(identPrefix(space, ident), identPrefix(space, ident+1), nil); err != nil {
			return fmt.Errorf("drop index: %w", err)
		}
	}
	return nil
}

// changeCatalog applies batch and the new version of the given collections (nil
// removes one) as one step: views see both or neither.
func (s *Server) changeCatalog(batch *pebble.Batch, change map[string]*collection) error {
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	next, err := s.changedCatalog(batch, change)
	if err != nil {
		return err
	}
	return s.commit(batch, next)
}

// changedCatalog adds a change of the catalog to batch; catalogMu is held until
// the batch has been applied.
func (s *Server) changedCatalog(batch *pebble.Batch, change map[string]*collection) (*catalog, error) {
	next := &catalog{collections: maps.Clone(s.catalog.Load().collections)}
	for ns, c := range change {
		key := append([]byte{spaceCollection}, ns...)
		var err error
		if c == nil {
			delete(next.collections, ns)
			err = batch.Delete(key, nil)
		} else {
			next.collections[ns] = c
			var record []byte
			if record, err = c.encode(); err == nil {
				err = batch.Set(key, record, nil)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("change catalog: %w", err)
		}
	}
	return next, nil
}

// collectionFor returns the collection ns, making it if it does not exist.
func (s *Server) collectionFor(ns string) (*collection, error) {
	if c := s.catalog.Load().collections[ns]; c != nil {
		return c, nil
	}
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	if c := s.catalog.Load().collections[ns]; c != nil {
		return c, nil
	}
	c, err := s.makeCollection(ns)
	if err != nil {
		return nil, err
	}
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	cat, err := s.changedCatalog(batch, map[string]*collection{ns: c})
	if err != nil {
		return nil, err
	}
	return c, s.commit(batch, cat)
}

// makeCollection returns a new collection that is in no catalog yet.
func (s *Server) makeCollection(ns string) (*collection, error) {
	if err := checkNamespace(ns); err != nil {
		return nil, err
	}
	uuid := make([]byte, 16)
	_, _ = rand.Read(uuid) // never fails
	uuid[6], uuid[8] = uuid[6]&0x0F|0x40, uuid[8]&0x3F|0x80
	return newCollection(ns, s.lastIdent.Add(1), uuid), nil
}

// checkNamespace follows https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
func checkNamespace(ns string) error {
	db, coll, _ := strings.Cut(ns, ".")
	switch {
	case db == "" || len(db) > 63 || strings.ContainsAny(db, "/\\ \"$\x00"):
		return errorf(codeInvalidNamespace, "invalid database name")
	case coll == "" || len(ns) > 255 || strings.ContainsAny(coll, "$\x00") ||
		strings.HasPrefix(coll, "system.") || strings.HasPrefix(coll, "."):
		return errorf(codeInvalidNamespace, "invalid collection name")
	case db == "admin" || db == "config" || db == "local":
		return errorf(codeIllegalOperation, "the databases admin, config and local hold no collections here")
	}
	return nil
}

// parseKeyPattern reads the key of an index.
func parseKeyPattern(spec document) ([]keyField, error) {
	var fields []keyField
	for k, v := range elementsOf(spec) {
		path := string(k)
		dir, ok := wholeNumber(v)
		switch {
		case v.Type == bsoncore.TypeString:
			return nil, errorf(codeCannotCreateIndex, "indexes of type text, hashed, 2d and 2dsphere are not supported")
		case !ok || dir != 1 && dir != -1:
			return nil, errorf(codeCannotCreateIndex, "an index direction must be 1 or -1")
		case strings.Contains(path, "$"):
			return nil, errorf(codeCannotCreateIndex, "wildcard and $-prefixed index fields are not supported")
		case slices.ContainsFunc(fields, func(f keyField) bool { return f.path == path }):
			return nil, errorf(codeBadValue, "an index names a field twice")
		}
		for segment := range strings.SplitSeq(path, ".") {
			if segment == "" {
				return nil, errorf(codeCannotCreateIndex, "an index field has an empty name")
			}
		}
		fields = append(fields, keyField{path: path, desc: dir < 0})
	}
	if len(fields) == 0 || len(fields) > 32 {
		return nil, errorf(codeCannotCreateIndex, "an index must have between 1 and 32 fields")
	}
	return fields, nil
}

// createIndexes builds the given indexes on ns. Writers of the collection wait.
func (s *Server) createIndexes(ctx context.Context, ns string, want []*index) (before, after int, err error) {
	if _, err := s.collectionFor(ns); err != nil {
		return 0, 0, err
	}
	c, unlock, err := s.exclusive(ns)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	indexes := slices.Clone(c.indexes)
	for _, ix := range want {
		same, err := findSame(append(slices.Clone(indexes), c.id), ix)
		if err != nil {
			return 0, 0, err
		}
		if same {
			continue
		}
		if len(indexes)+1 >= maxIndexes {
			return 0, 0, errorf(codeCannotCreateIndex, "a collection has at most %d indexes", maxIndexes)
		}
		ix.ident = s.lastIdent.Add(1)
		if err := s.buildIndex(ctx, c, ix); err != nil {
			return 0, 0, errors.Join(err, s.discard(ix.ident))
		}
		indexes = append(indexes, ix)
	}
	if len(indexes) == len(c.indexes) {
		return len(indexes) + 1, len(indexes) + 1, nil
	}
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	return len(c.indexes) + 1, len(indexes) + 1, s.changeCatalog(batch, map[string]*collection{ns: c.withIndexes(indexes)})
}

// exclusive keeps every writer off the collection ns until unlock. It waits for
// transactions that have written to it.
func (s *Server) exclusive(ns string) (c *collection, unlock func(), err error) {
	for {
		c := s.catalog.Load().collections[ns]
		if c == nil {
			return nil, nil, errorf(codeNamespaceNotFound, "ns not found")
		}
		c.lock.Lock()
		current := s.catalog.Load().collections[ns]
		if current != nil && current.lock == c.lock {
			return current, c.lock.Unlock, nil
		}
		c.lock.Unlock() // dropped, perhaps made again, while this waited
	}
}

// findSame reports whether ix exists already; an index of the same name or key
// that differs otherwise is an error.
func findSame(have []*index, ix *index) (bool, error) {
	for _, h := range have {
		sameKey := slices.Equal(h.fields, ix.fields)
		switch {
		case sameKey && (h.unique == ix.unique || h.name == "_id_") && (h.name == ix.name || h.name == "_id_"):
			return true, nil
		case h.name == ix.name:
			return false, errorf(codeIndexKeySpecsConflict, "an index of the same name %q has another key or other options", ix.name)
		case sameKey:
			return false, errorf(codeIndexOptionsConflict, "the index exists under the name %q or with other options", h.name)
		}
	}
	return false, nil
}

func (s *Server) discard(ident uint32) error {
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	if err := dropIdent(batch, ident); err != nil {
		return err
	}
	return s.commit(batch, nil)
}

// buildIndex writes the entries of ix for every document.
func (s *Server) buildIndex(ctx context.Context, c *collection, ix *index) error {
	batch := s.db.NewBatch()
	defer func() { closeQuietly(batch) }()
	err := s.each(c.id.prefix(), func(key, val []byte) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("build index: %w", err)
		}
		entries, multikey, err := ix.entries(val[writeNumberLen:], key[identLen:])
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := batch.Set(e.key, e.val, nil); err != nil {
				return fmt.Errorf("build index: %w", err)
			}
		}
		if err := ix.mark(batch, multikey); err != nil {
			return err
		}
		ix.multikey.Or(multikey)
		ix.marked.Or(multikey)
		if batch.Len() <= chunkSize {
			return nil
		}
		if err := s.commit(batch, nil); err != nil {
			return err
		}
		closeQuietly(batch)
		batch = s.db.NewBatch()
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.commit(batch, nil); err != nil {
		return err
	}
	if ix.unique {
		return s.checkUnique(ix)
	}
	return nil
}

// mark adds to batch that the given fields of the index met an array.
func (ix *index) mark(batch *pebble.Batch, multikey uint64) error {
	for i := range ix.fields {
		if multikey&^ix.marked.Load()&(1<<i) == 0 {
			continue
		}
		key := append(identPrefix(spaceMultikey, ix.ident), byte(i))
		if err := batch.Set(key, nil, nil); err != nil {
			return fmt.Errorf("mark index as multikey: %w", err)
		}
	}
	return nil
}

// checkUnique refuses a new unique index in which two documents share a key.
func (s *Server) checkUnique(ix *index) error {
	var last []byte
	return s.each(ix.prefix(), func(key, val []byte) error {
		offset, err := entryOffset(key, val)
		if err != nil {
			return err
		}
		if bytes.Equal(last, key[:offset]) {
			return errorf(codeDuplicateKey, "E11000 duplicate key error: two documents share a key of index %s", ix.name)
		}
		last = append(last[:0], key[:offset]...)
		return nil
	})
}

// entry is a key of an index with its value.
type entry struct{ key, val []byte }

// reads reports whether a key of the index comes from one of the fields of the
// top level.
func (ix *index) reads(names []string) bool {
	return slices.ContainsFunc(ix.fields, func(f keyField) bool {
		head, _ := splitPath(f.path)
		return slices.Contains(names, head)
	})
}

// entries returns the index entries of doc, whose encoded _id is id.
func (ix *index) entries(doc, id []byte) ([]entry, uint64, error) {
	keys, multikey, err := keysOf(doc, ix.fields)
	if err != nil {
		return nil, 0, err
	}
	out := make([]entry, len(keys))
	for i, k := range keys {
		full := make([]byte, 0, identLen+len(k)+len(id))
		full = append(append(append(full, ix.prefix()...), k...), id...)
		out[i] = entry{key: full, val: encodeOffset(identLen + len(k))}
	}
	return out, multikey, nil
}

// encodeOffset encodes where key(_id) begins within an index entry.
func encodeOffset(n int) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // a key is shorter than a document
}

func entryOffset(key, val []byte) (int, error) {
	if len(val) != 4 {
		return 0, errors.New("read index: damaged entry")
	}
	n := int(binary.BigEndian.Uint32(val))
	if n < identLen || n > len(key) {
		return 0, errors.New("read index: damaged entry")
	}
	return n, nil
}

// dropIndexes removes the indexes that match.
func (s *Server) dropIndexes(ns string, match func(*index) bool) (before int, err error) {
	c, unlock, err := s.exclusive(ns)
	if err != nil {
		return 0, err
	}
	defer unlock()
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	keep := []*index{}
	for _, ix := range c.indexes {
		if !match(ix) {
			keep = append(keep, ix)
			continue
		}
		if err := dropIdent(batch, ix.ident); err != nil {
			return 0, err
		}
	}
	return len(c.indexes) + 1, s.changeCatalog(batch, map[string]*collection{ns: c.withIndexes(keep)})
}

// dropCollections removes the collections that match and reports how many.
func (s *Server) dropCollections(match func(ns string) bool) (int, error) {
	batch := s.db.NewBatch()
	defer closeQuietly(batch)
	change := map[string]*collection{}
	for _, ns := range slices.Sorted(maps.Keys(s.catalog.Load().collections)) {
		if !match(ns) {
			continue
		}
		c, unlock, err := s.exclusive(ns)
		if err != nil {
			continue // dropped by another client meanwhile
		}
		defer unlock()
		for _, ix := range append([]*index{c.id}, c.indexes...) {
			if err := dropIdent(batch, ix.ident); err != nil {
				return 0, err
			}
		}
		change[ns] = nil
	}
	if len(change) == 0 {
		return 0, nil
	}
	if err := s.changeCatalog(batch, change); err != nil {
		return 0, err
	}
	s.cursors.closeWhere(func(c *cursor) bool {
		_, dropped := change[c.ns]
		return dropped && c.txn == nil
	})
	return len(change), nil
}
