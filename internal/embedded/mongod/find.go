package mongod

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	firstBatch = 101              // documents, as MongoDB
	batchBytes = 4 << 20          // a larger batch is cut short, to save memory
	cursorIdle = 10 * time.Minute // then a forgotten cursor is closed
)

// stream delivers documents one by one; nil is the end.
type stream interface {
	next(ctx context.Context) (document, error)
	close() error
}

// query is the common part of the reading commands.
type query struct {
	filter      *filter
	sort        []keyField
	skip, limit int64 // limit 0: none
}

// most is how many documents the query needs to look at, 0 for all.
func (q *query) most() int64 {
	if q.limit == 0 || q.limit > math.MaxInt64-q.skip {
		return 0
	}
	return q.skip + q.limit
}

// openQuery starts q on the collection ns of v. The stream owns v.
func (s *Server) openQuery(ctx context.Context, v *view, ns string, q *query) (stream, error) {
	c := v.cat.collections[ns]
	if c == nil {
		return &sortedStream{}, v.close()
	}
	p := makePlan(c, q.filter, q.sort)
	if p.full() {
		s.fullScans.Add(1)
	}
	var src stream = &found{scan: newScan(v, p, q.filter), view: v}
	return q.beyond(p).over(ctx, src)
}

// beyond is the part of the query that its plan leaves undone.
func (q *query) beyond(p *plan) *query {
	rest := &query{skip: q.skip, limit: q.limit}
	if !p.sorted {
		rest.sort = q.sort
	}
	return rest
}

// over filters, sorts and limits the documents of src. It owns src.
func (q *query) over(ctx context.Context, src stream) (stream, error) {
	if q.filter != nil {
		src = &filtered{stream: src, filter: q.filter}
	}
	if len(q.sort) > 0 {
		sorted, err := sortStream(ctx, src, q.sort, q.most())
		if err != nil {
			return nil, errors.Join(err, src.close())
		}
		src = sorted
	}
	if q.skip > 0 || q.limit > 0 {
		src = &window{stream: src, skip: q.skip, limit: q.limit}
	}
	return src, nil
}

// filtered passes on the documents that match.
type filtered struct {
	stream

	filter *filter
}

func (f *filtered) next(ctx context.Context) (document, error) {
	for {
		doc, err := f.stream.next(ctx)
		if doc == nil || err != nil {
			return nil, err
		}
		if f.filter.match(doc) {
			return doc, nil
		}
	}
}

// found is a scan as a stream.
type found struct {
	scan *scan
	view *view
}

func (f *found) next(ctx context.Context) (document, error) {
	_, doc, err := f.scan.next(ctx)
	return doc, err
}

func (f *found) close() error { return errors.Join(f.scan.close(), f.view.close()) }

// window passes over skip documents and ends after limit.
type window struct {
	stream

	skip, limit int64
	sent        int64
}

func (w *window) next(ctx context.Context) (document, error) {
	for ; w.skip > 0; w.skip-- {
		if doc, err := w.stream.next(ctx); doc == nil || err != nil {
			return nil, err
		}
	}
	if w.limit > 0 && w.sent == w.limit {
		return nil, nil
	}
	w.sent++
	return w.stream.next(ctx)
}

// mapped changes every document on its way.
type mapped struct {
	stream

	change func(document) (document, error)
}

func (m *mapped) next(ctx context.Context) (document, error) {
	doc, err := m.stream.next(ctx)
	if doc == nil || err != nil {
		return nil, err
	}
	return m.change(doc)
}

func (s *Server) find(ctx context.Context, r *request) (document, error) {
	q, project, err := parseFind(r)
	if err != nil {
		return nil, err
	}
	batch, err := r.number64("batchSize", firstBatch)
	if err != nil {
		return nil, err
	}
	c, err := r.cursor(func(v *view) (stream, error) { return s.openQuery(ctx, v, r.ns, q) })
	if err != nil {
		return nil, err
	}
	if project != nil {
		c.src = &mapped{stream: c.src, change: project.apply}
	}
	c.left = q.limit
	return s.firstReply(ctx, r, c, batch, r.flag("singleBatch", false))
}

// cursor opens a stream on what the command sees.
func (r *request) cursor(open func(*view) (stream, error)) (*cursor, error) {
	v, at, err := r.view()
	if err != nil {
		return nil, err
	}
	src, err := open(v)
	return &cursor{ns: r.ns, src: src, at: at}, err
}

func parseFind(r *request) (*query, *projection, error) {
	q, err := parseQuery(r, "filter")
	if err != nil {
		return nil, nil, err
	}
	spec, err := r.document("projection")
	if err != nil || spec == nil {
		return q, nil, err
	}
	project, err := parseProjection(spec)
	return q, project, err
}

// parseQuery reads the filter called name and what else the command has of a query.
func parseQuery(r *request, name string) (*query, error) {
	doc, err := r.document(name)
	if err != nil {
		return nil, err
	}
	q := &query{}
	if q.limit, err = r.number64("limit", 0); err != nil {
		return nil, err
	}
	if q.skip, err = r.number64("skip", 0); err != nil {
		return nil, err
	}
	if q.filter, err = parseFilter(doc); err != nil {
		return nil, err
	}
	spec, err := r.document("sort")
	if err != nil {
		return nil, err
	}
	q.sort, err = parseSort(spec)
	return q, err
}

// cursor is a stream between two batches.
type cursor struct {
	mu      sync.Mutex
	id      int64
	ns      string
	src     stream
	pending document // did not fit into the last batch
	left    int64    // documents until the limit, if there is one
	lsid    string
	txn     *transaction
	at      uint64
	closed  bool

	used time.Time // guarded by the table
}

type cursorTable struct {
	mu   sync.Mutex
	byID map[int64]*cursor
}

func (t *cursorTable) add(c *cursor, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c.id == 0 || t.byID[c.id] != nil {
		var b [8]byte
		_, _ = rand.Read(b[:])                                    // never fails
		c.id = int64(binary.BigEndian.Uint64(b[:]) & (1<<63 - 1)) // the sign bit is cleared
	}
	c.used = now
	t.byID[c.id] = c
}

// take returns the cursor id, marked as used.
func (t *cursorTable) take(id int64, now time.Time) *cursor {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.byID[id]
	if c != nil {
		c.used = now
	}
	return c
}

func (t *cursorTable) closeWhere(match func(*cursor) bool) int {
	t.mu.Lock()
	var victims []*cursor
	for id, c := range t.byID {
		if match(c) {
			victims = append(victims, c)
			delete(t.byID, id)
		}
	}
	t.mu.Unlock()
	for _, c := range victims {
		c.mu.Lock()
		c.end()
		c.mu.Unlock()
	}
	return len(victims)
}

// end closes the stream once; the cursor is locked.
func (c *cursor) end() {
	if !c.closed {
		c.closed = true
		_ = c.src.close() // an error of the walk has been returned by next
	}
}

// firstReply answers with the first batch and keeps a cursor for the rest.
func (s *Server) firstReply(ctx context.Context, r *request, c *cursor, batch int64, single bool) (document, error) {
	c.lsid, c.txn = r.lsid, r.txn
	reply, more, err := c.batch(ctx, "firstBatch", batch, func() int64 {
		if single {
			return 0
		}
		s.cursors.add(c, s.now())
		return c.id
	})
	if err != nil || !more || single {
		c.end()
	}
	return reply, err
}

// batch builds the reply with up to n documents. register gives the cursor its
// number; it is called only if documents remain.
func (c *cursor) batch(ctx context.Context, name string, n int64, register func() int64) (reply document, more bool, err error) {
	top, dst := bsoncore.AppendDocumentStart(make([]byte, 0, 1024))
	inner, dst := bsoncore.AppendDocumentElementStart(dst, "cursor")
	arr, dst := bsoncore.AppendArrayElementStart(dst, name)
	more = true
	var key [20]byte
	for i := int64(0); ; i++ {
		doc := c.pending
		c.pending = nil
		if doc == nil && i < n {
			if doc, err = c.src.next(ctx); err != nil {
				return nil, false, err
			}
			if doc == nil {
				more = false
				break
			}
		}
		if doc == nil {
			break // the batch is full
		}
		if i >= n || i > 0 && len(dst)+len(doc) > batchBytes {
			c.pending = doc
			break
		}
		dst = append(dst, byte(bsoncore.TypeEmbeddedDocument))
		dst = append(append(dst, strconv.AppendInt(key[:0], i, 10)...), 0)
		dst = append(dst, doc...)
		if c.left--; c.left == 0 {
			more = false
			break
		}
	}
	if dst, err = bsoncore.AppendArrayEnd(dst, arr); err != nil {
		return nil, false, errorf(codeInternal, "build reply: %v", err)
	}
	id := int64(0)
	if more {
		id = register()
	}
	dst = bsoncore.AppendInt64Element(dst, "id", id)
	dst = bsoncore.AppendStringElement(dst, "ns", c.ns)
	if c.at != 0 {
		dst = bsoncore.AppendTimestampElement(dst, "atClusterTime", uint32(c.at>>32), uint32(c.at)) //nolint:gosec // the two halves
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, inner)
	dst, _ = bsoncore.AppendDocumentEnd(dst, top)
	return dst, more, nil
}

func (s *Server) getMore(ctx context.Context, r *request) (document, error) {
	v, _ := lookup(r.body, "getMore")
	id, ok := v.Int64OK()
	if !ok {
		return nil, errorf(codeTypeMismatch, "getMore must be a long")
	}
	coll, _ := lookup(r.body, "collection")
	name, _ := coll.StringValueOK()
	n, err := r.number64("batchSize", math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = math.MaxInt64
	}
	c := s.cursors.take(id, s.now())
	if c == nil || c.ns != r.db+"."+name || c.lsid != r.lsid || c.txn != r.txn {
		return nil, errorf(codeCursorNotFound, "cursor id %d not found", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errorf(codeCursorNotFound, "cursor id %d not found", id)
	}
	reply, more, err := c.batch(ctx, "nextBatch", n, func() int64 { return id })
	if err != nil || !more {
		s.cursors.mu.Lock()
		delete(s.cursors.byID, id)
		s.cursors.mu.Unlock()
		c.end()
	}
	return reply, err
}

func (s *Server) killCursors(_ context.Context, r *request) (document, error) {
	list, _ := lookup(r.body, "cursors")
	if list.Type != bsoncore.TypeArray {
		return nil, errorf(codeTypeMismatch, "killCursors needs an array of cursors")
	}
	killed, missing := bsoncore.NewArrayBuilder(), bsoncore.NewArrayBuilder()
	for _, v := range elementsOf(list.Data) {
		id, ok := v.Int64OK()
		if !ok {
			return nil, errorf(codeTypeMismatch, "a cursor id must be a long")
		}
		if s.cursors.closeWhere(func(c *cursor) bool { return c.id == id && c.lsid == r.lsid }) > 0 {
			killed.AppendInt64(id)
		} else {
			missing.AppendInt64(id)
		}
	}
	none := bsoncore.NewArrayBuilder().Build()
	return bsoncore.NewDocumentBuilder().AppendArray("cursorsKilled", killed.Build()).
		AppendArray("cursorsNotFound", missing.Build()).
		AppendArray("cursorsAlive", none).AppendArray("cursorsUnknown", none).Build(), nil
}

func (s *Server) count(ctx context.Context, r *request) (document, error) {
	q, err := parseQuery(r, "query")
	if err != nil {
		return nil, err
	}
	v, _, err := r.view()
	if err != nil {
		return nil, err
	}
	n, err := s.countQuery(ctx, v, r.ns, q)
	if err != nil {
		return nil, err
	}
	return bsoncore.NewDocumentBuilder().AppendInt64("n", n).Build(), nil
}

// countQuery counts what q selects: by the store's own count without a filter, in
// the index if that decides the filter, else document by document.
func (s *Server) countQuery(ctx context.Context, v *view, ns string, q *query) (int64, error) {
	c := v.cat.collections[ns]
	if c == nil {
		return 0, v.close()
	}
	if len(q.filter.root.children) == 0 && v.over == nil {
		val, err := v.get(identPrefix(spaceCount, c.ident))
		if err = errors.Join(err, v.close()); err != nil || val == nil {
			return 0, err
		}
		return q.clip(decodeCount(val)), nil
	}
	p := makePlan(c, q.filter, nil)
	if !p.exact || p.points {
		src, err := s.openQuery(ctx, v, ns, q)
		if err != nil {
			return 0, err
		}
		return drain(ctx, src)
	}
	if p.full() {
		s.fullScans.Add(1)
	}
	sc := newScan(v, p, q.filter)
	n, err := sc.count(ctx, q.most())
	return q.clip(n), errors.Join(err, sc.close(), v.close())
}

// clip applies skip and limit to a number of documents.
func (q *query) clip(n int64) int64 {
	n = max(n-q.skip, 0)
	if q.limit > 0 {
		n = min(n, q.limit)
	}
	return n
}
