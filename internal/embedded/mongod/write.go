package mongod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// maxBatch is MongoDB's limit of writes in one command.
const maxBatch = 100_000

// writeResult is the outcome of a writing command so far.
type writeResult struct {
	Next     int        `bson:"next"` // statements that are done
	N        int        `bson:"n"`
	Modified int        `bson:"modified"`
	Upserted []document `bson:"upserted"` // as they stand in the reply
	Errors   []document `bson:"errors"`
}

func documentArray(docs []document) bsoncore.Array {
	b := bsoncore.NewArrayBuilder()
	for _, d := range docs {
		b.AppendDocument(d)
	}
	return b.Build()
}

func (res *writeResult) reply(update bool) document {
	b := bsoncore.NewDocumentBuilder().AppendInt32("n", int32(res.N)) //nolint:gosec // counts what one command wrote
	if update {
		b.AppendInt32("nModified", int32(res.Modified)) //nolint:gosec // as above
	}
	if len(res.Upserted) > 0 {
		b.AppendArray("upserted", documentArray(res.Upserted))
	}
	if len(res.Errors) > 0 {
		b.AppendArray("writeErrors", documentArray(res.Errors))
	}
	return b.Build()
}

func (res *writeResult) fail(index int, ce *commandError) {
	b := bsoncore.NewDocumentBuilder().AppendInt32("index", int32(index)).AppendInt32("code", ce.code) //nolint:gosec // below maxBatch
	if ce.keyPattern != nil {
		b.AppendDocument("keyPattern", ce.keyPattern).AppendDocument("keyValue", ce.keyValue)
	}
	res.Errors = append(res.Errors, b.AppendString("errmsg", ce.msg).Build())
}

func (res *writeResult) upsert(index int, id value) {
	res.Upserted = append(res.Upserted, bsoncore.NewDocumentBuilder().
		AppendInt32("index", int32(index)).AppendValue("_id", id).Build()) //nolint:gosec // below maxBatch
}

// duplicateKey names the index and, for the driver's caller, the value; the
// message itself holds no value.
func duplicateKey(c *collection, ix *index, doc document) *commandError {
	values := bsoncore.NewDocumentBuilder()
	for _, f := range ix.fields {
		v, _, _ := follow(doc, f.path)
		if v.Type == 0 {
			v.Type = bsoncore.TypeNull
		}
		values.AppendValue(f.path, v)
	}
	return &commandError{
		code:       codeDuplicateKey,
		msg:        fmt.Sprintf("E11000 duplicate key error collection: %s index: %s", c.ns, ix.name),
		keyPattern: ix.spec, keyValue: values.Build(),
	}
}

// statements returns the statements of a writing command.
func (r *request) statements(name string) ([]document, error) {
	docs := r.message.docs
	if r.message.sequence != name {
		v, ok := lookup(r.body, name)
		if !ok || v.Type != bsoncore.TypeArray {
			return nil, errorf(codeBadValue, "%s needs an array of %s", r.name, name)
		}
		for _, item := range elementsOf(v.Data) {
			if item.Type != bsoncore.TypeEmbeddedDocument {
				return nil, errorf(codeTypeMismatch, "%s must be objects", name)
			}
			docs = append(docs, item.Data)
		}
	}
	if len(docs) == 0 || len(docs) > maxBatch {
		return nil, errorf(codeInvalidLength, "write batch sizes must be between 1 and %d; got %d operations", maxBatch, len(docs))
	}
	return docs, nil
}

// write runs a writing command with the writer of its transaction, or with one of
// its own that it commits, and with what is known of an earlier try.
func (r *request) write(run func(*writer, *progress) error) (*progress, error) {
	p := &progress{Number: r.number}
	if r.txn != nil {
		return p, run(r.txn.writer, p)
	}
	w := r.s.newWriter()
	defer w.abort() // what is not committed by then
	if r.session != nil {
		if last := r.session.last; last != nil && last.Number == r.number {
			again := *last
			p = &again
		}
		w.session, w.progress = r.session, p
	}
	if err := run(w, p); err != nil {
		// A retry goes on after what has been committed.
		return nil, errors.Join(err, w.wait())
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	if r.session != nil {
		r.session.last = p
	}
	return p, nil
}

// writeMany runs the statements of insert, update and delete one after another.
func (r *request) writeMany(ctx context.Context, name string, one func(context.Context, *writer, *writeResult, document) error) (*writeResult, error) {
	docs, err := r.statements(name)
	if err != nil {
		return nil, err
	}
	p, err := r.write(func(w *writer, p *progress) error { return r.writeEach(ctx, w, &p.Result, docs, one) })
	if err != nil {
		return nil, err
	}
	return &p.Result, nil
}

func (r *request) writeEach(ctx context.Context, w *writer, res *writeResult, docs []document, one func(context.Context, *writer, *writeResult, document) error) error {
	ordered := r.flag("ordered", true)
	for res.Next < len(docs) && (!ordered || len(res.Errors) == 0) {
		if err := one(ctx, w, res, docs[res.Next]); err != nil {
			ce, ok := errors.AsType[*commandError](err)
			if !ok || len(ce.labels) > 0 || ce.code == codeMaxTimeMSExpired {
				return err
			}
			res.fail(res.Next, ce)
		}
		res.Next++
		if r.txn == nil && w.size > chunkSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// target returns the collection of the command with its lock held by w, or nil if it does
// not exist and is not to be made.
func (r *request) target(w *writer, create bool) (*collection, error) {
	if r.txn != nil {
		c := r.txn.view.cat.collections[r.ns]
		if c == nil {
			if !create {
				return nil, nil //nolint:nilnil // no collection is an ordinary answer
			}
			made, err := r.s.makeCollection(r.ns)
			if err != nil {
				return nil, err
			}
			w.made = append(w.made, made)
			r.txn.view.cat = r.txn.view.cat.with(made)
			c = made
		}
		return w.hold(c)
	}
	for {
		c := r.s.catalog.Load().collections[r.ns]
		if c == nil {
			if !create {
				return nil, nil //nolint:nilnil // no collection is an ordinary answer
			}
			var err error
			if c, err = r.s.collectionFor(r.ns); err != nil {
				return nil, err
			}
		}
		held, err := w.hold(c)
		if ce, ok := errors.AsType[*commandError](err); ok && ce.code == codeNamespaceNotFound {
			continue // dropped meanwhile
		}
		return held, err
	}
}

func (s *Server) insert(ctx context.Context, r *request) (document, error) {
	res, err := r.writeMany(ctx, "documents", func(ctx context.Context, w *writer, res *writeResult, doc document) error {
		doc, err := s.prepareInsert(doc)
		if err != nil {
			return err
		}
		if err := r.insertOne(ctx, w, doc); err != nil {
			return err
		}
		res.N++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res.reply(false), nil
}

// prepareInsert checks a new document and puts its _id first, making one if it
// has none.
func (s *Server) prepareInsert(doc document) (document, error) {
	if err := checkStored(doc); err != nil {
		return nil, err
	}
	it := begin(doc)
	first, v, ok := it.next()
	if ok && string(first) == "_id" {
		return doc, checkID(v)
	}
	id, ok := lookup(doc, "_id")
	if !ok {
		oid := primitive.NewObjectIDFromTimestamp(s.now())
		id = value{Type: bsoncore.TypeObjectID, Data: oid[:]}
	}
	return withID(id, doc), checkID(id)
}

// withID returns doc with id as its first field.
func withID(id value, doc document) document {
	start, dst := bsoncore.AppendDocumentStart(make([]byte, 0, len(doc)+32))
	dst = bsoncore.AppendValueElement(dst, "_id", id)
	for k, v := range elementsOf(doc) {
		if string(k) != "_id" {
			dst = bsoncore.AppendValueElement(dst, string(k), v)
		}
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst
}

func checkID(id value) error {
	switch id.Type {
	case bsoncore.TypeArray, bsoncore.TypeRegex:
		return errorf(53, "the '_id' value cannot be of type %s", id.Type)
	case bsoncore.TypeEmbeddedDocument:
		if isOperatorDocument(id) {
			return errorf(codeDollarPrefixedFieldName, "'_id' may not have fields that begin with '$'")
		}
	default:
	}
	return nil
}

// checkStored applies MongoDB's rules for a document that is to be stored.
func checkStored(doc document) error {
	if len(doc) > maxDocumentSize {
		return errorf(codeObjectTooLarge, "document of %d bytes is larger than %d", len(doc), maxDocumentSize)
	}
	if err := validate(doc, maxNesting); err != nil {
		return err
	}
	for k, v := range elementsOf(doc) {
		if bytes.HasPrefix(k, []byte("$")) {
			return errorf(codeDollarPrefixedFieldName, "a field name may not begin with '$'")
		}
		if t, i, ok := v.TimestampOK(); ok && t == 0 && i == 0 {
			return errorf(codeBadValue, "an empty timestamp, for the server to fill in, is not supported")
		}
	}
	return nil
}

func (r *request) insertOne(ctx context.Context, w *writer, doc document) error {
	id, _ := lookup(doc, "_id")
	return w.attempt(ctx, func() error {
		c, err := r.target(w, true)
		if err != nil {
			return err
		}
		key := c.recordKey(id)
		free, err := w.free(key)
		if err != nil {
			return err
		}
		if !free {
			return duplicateKey(c, c.id, doc)
		}
		return w.put(c, key, nil, doc)
	})
}

// modification changes the documents that a filter selects.
type modification struct {
	filter *filter
	sort   []keyField
	multi  bool
	// change returns the new document, or nil to delete it.
	change func(before document) (after document, err error)
	// visit is told of every match once it is settled.
	visit func(before, after document)
}

// modify applies m. Outside a transaction it reads a snapshot to find documents
// and the newest state to change them; a document that no longer matches then is
// passed over, and if that leaves nothing it looks again.
func (r *request) modify(ctx context.Context, w *writer, m *modification) (matched int, err error) {
	for {
		matched, stolen, err := r.modifyOnce(ctx, w, m)
		if err != nil || matched > 0 || m.multi || !stolen {
			return matched, err
		}
	}
}

func (r *request) modifyOnce(ctx context.Context, w *writer, m *modification) (matched int, stolen bool, err error) {
	v, err := r.modifyView(w, m)
	if err != nil {
		return 0, false, err
	}
	c := v.cat.collections[r.ns]
	if c == nil {
		return 0, false, v.close()
	}
	p := makePlan(c, m.filter, m.sort)
	if p.full() {
		r.s.fullScans.Add(1)
	}
	next, end, err := r.candidates(ctx, v, p, m)
	if err != nil {
		return 0, false, errors.Join(err, v.close())
	}
	defer func() { err = errors.Join(err, end()) }()
	for {
		key, _, err := next(ctx)
		if err != nil || key == nil {
			return matched, stolen, err
		}
		ok := false
		err = w.attempt(ctx, func() error {
			ok, err = r.modifyKey(w, m, key)
			return err
		})
		if err != nil {
			return matched, stolen, err
		}
		if !ok {
			stolen = true
			continue
		}
		if matched++; !m.multi {
			return matched, stolen, nil
		}
		if r.txn == nil && w.size > chunkSize {
			if err := w.flush(); err != nil {
				return matched, stolen, err
			}
		}
	}
}

// modifyView returns what candidates are looked for in. One _id needs no
// snapshot, and earlier statements of the same command must be seen.
func (r *request) modifyView(w *writer, m *modification) (*view, error) {
	if r.txn != nil {
		v, _, err := r.view()
		return v, err
	}
	v := &view{base: r.s.db, cat: r.s.catalog.Load()}
	if !m.filter.fixesID() {
		v = r.s.newestView()
	}
	if w.over.Len() > 0 {
		v.over = w.over.Copy()
	}
	return v, nil
}

// candidates returns the keys of the documents to change, in order.
func (r *request) candidates(ctx context.Context, v *view, p *plan, m *modification) (next func(context.Context) ([]byte, document, error), end func() error, err error) {
	sc := newScan(v, p, m.filter)
	end = func() error { return errors.Join(sc.close(), v.close()) }
	if p.sorted {
		return sc.next, end, nil
	}
	// The best one by an order that no index serves: sort, then take them in
	// turn, because the first may be gone when it is reached.
	src, err := sortStream(ctx, &found{scan: sc, view: &view{}}, m.sort, 0)
	if err != nil {
		return nil, nil, errors.Join(err, sc.close())
	}
	return func(ctx context.Context) ([]byte, document, error) {
		doc, err := src.next(ctx)
		if doc == nil || err != nil {
			return nil, nil, err
		}
		id, _ := lookup(doc, "_id")
		return p.coll.recordKey(id), doc, nil
	}, v.close, nil
}

// modifyKey changes one document if it still matches.
func (r *request) modifyKey(w *writer, m *modification, key []byte) (bool, error) {
	c, err := r.target(w, false)
	if c == nil || err != nil {
		return false, err
	}
	val, err := w.read(key)
	if val == nil || err != nil {
		return false, err
	}
	before := document(val[writeNumberLen:])
	if !m.filter.match(before) {
		return false, nil
	}
	after, err := m.change(before)
	if err != nil {
		return false, err
	}
	if after == nil || !bytes.Equal(before, after) {
		if err := w.put(c, key, before, after); err != nil {
			return false, err
		}
	}
	m.visit(before, after)
	return true, nil
}

func (s *Server) delete(ctx context.Context, r *request) (document, error) {
	res, err := r.writeMany(ctx, "deletes", func(ctx context.Context, w *writer, res *writeResult, st document) error {
		f, err := parseStatement(st, "deletes", "q limit")
		if err != nil {
			return err
		}
		limit, _ := lookup(st, "limit")
		n, ok := wholeNumber(limit)
		if !ok || n != 0 && n != 1 {
			return errorf(codeFailedToParse, "the limit field in delete objects must be 0 or 1")
		}
		if n == 0 && r.session != nil && r.txn == nil {
			return errorf(codeInvalidOptions, "cannot use retryable writes with limit=0")
		}
		_, err = r.modify(ctx, w, &modification{
			filter: f, multi: n == 0,
			change: func(document) (document, error) { return nil, nil },
			visit:  func(_, _ document) { res.N++ },
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return res.reply(false), nil
}

// parseStatement checks an update or a delete and returns its filter.
func parseStatement(st document, what, allowed string) (*filter, error) {
	if err := validate(st, maxCommandNesting); err != nil {
		return nil, err
	}
	if err := onlyFields(st, what, allowed); err != nil {
		return nil, err
	}
	q, err := documentIn(st, "q")
	if err != nil {
		return nil, err
	}
	if q == nil {
		return nil, errorf(codeFailedToParse, "the statement has no filter q")
	}
	return parseFilter(q)
}

// onlyFields checks the options of a statement.
func onlyFields(doc document, what, allowed string) error {
	fields := strings.Fields(allowed)
	for k, v := range elementsOf(doc) {
		if err := checkOption(what, fields, string(k), v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) update(ctx context.Context, r *request) (document, error) {
	res, err := r.writeMany(ctx, "updates", r.updateStatement)
	if err != nil {
		return nil, err
	}
	return res.reply(true), nil
}

func (r *request) updateStatement(ctx context.Context, w *writer, res *writeResult, st document) error {
	f, err := parseStatement(st, "updates", "q u upsert? multi? arrayFilters")
	if err != nil {
		return err
	}
	u, _ := lookup(st, "u")
	filters, _ := lookup(st, "arrayFilters")
	change, err := parseUpdate(u, filters)
	if err != nil {
		return err
	}
	multi := flagIn(st, "multi", false)
	if multi && change.replacement != nil {
		return errorf(codeFailedToParse, "multi update is not supported for replacement-style update")
	}
	if multi && r.session != nil && r.txn == nil {
		return errorf(codeInvalidOptions, "cannot use retryable writes with multi=true")
	}
	id, err := r.updateOrInsert(ctx, w, change, flagIn(st, "upsert", false), &modification{
		filter: f, multi: multi,
		visit: func(before, after document) {
			res.N++
			if !bytes.Equal(before, after) {
				res.Modified++
			}
		},
	})
	if err == nil && id.Type != 0 {
		res.N++
		res.upsert(res.Next, id)
	}
	return err
}

// updateOrInsert applies the update; if nothing matches and upsert is set it
// inserts a document and returns its _id. m.visit is not called for that one.
func (r *request) updateOrInsert(ctx context.Context, w *writer, u *update, upsert bool, m *modification) (value, error) {
	m.change = u.apply
	matched, err := r.modify(ctx, w, m)
	if err != nil || matched > 0 || !upsert {
		return value{}, err
	}
	doc, err := u.forInsert(m.filter)
	if err != nil {
		return value{}, err
	}
	if doc, err = r.s.prepareInsert(doc); err != nil {
		return value{}, err
	}
	err = r.insertOne(ctx, w, doc)
	if err == nil {
		id, _ := lookup(doc, "_id")
		u.inserted = doc
		return id, nil
	}
	// Another client may have inserted the same: then there is something to
	// update now.
	if ce, ok := errors.AsType[*commandError](err); !ok || ce.code != codeDuplicateKey || r.txn != nil {
		return value{}, err
	}
	if matched, again := r.modify(ctx, w, m); matched > 0 || again != nil {
		return value{}, again
	}
	return value{}, err
}

func (s *Server) findAndModify(ctx context.Context, r *request) (document, error) {
	q, err := parseQuery(r, "query")
	if err != nil {
		return nil, err
	}
	var project *projection
	spec, err := r.document("fields")
	if err != nil {
		return nil, err
	}
	if spec != nil {
		if project, err = parseProjection(spec); err != nil {
			return nil, err
		}
	}
	p, err := r.write(func(w *writer, p *progress) (err error) {
		if p.Reply == nil {
			p.Reply, err = r.findAndModifyOnce(ctx, w, q, project)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return p.Reply, nil
}

func (r *request) findAndModifyOnce(ctx context.Context, w *writer, q *query, project *projection) (document, error) {
	var before, after document
	m := &modification{
		filter: q.filter, sort: q.sort,
		visit: func(b, a document) { before, after = b, a },
	}
	updateSpec, hasUpdate := lookup(r.body, "update")
	upsert, returnNew := r.flag("upsert", false), r.flag("new", false)
	last := bsoncore.NewDocumentBuilder()
	if r.flag("remove", false) {
		if hasUpdate || upsert || returnNew {
			return nil, errorf(codeFailedToParse, "remove cannot be combined with update, upsert or new")
		}
		m.change = func(document) (document, error) { return nil, nil }
		n, err := r.modify(ctx, w, m)
		if err != nil {
			return nil, err
		}
		last.AppendInt32("n", int32(n)) //nolint:gosec // 0 or 1
	} else {
		filters, _ := lookup(r.body, "arrayFilters")
		u, err := parseUpdate(updateSpec, filters)
		if err != nil {
			return nil, err
		}
		id, err := r.updateOrInsert(ctx, w, u, upsert, m)
		if err != nil {
			return nil, err
		}
		if id.Type != 0 {
			after = u.inserted
			last.AppendInt32("n", 1).AppendBoolean("updatedExisting", false).AppendValue("upserted", id)
		} else {
			n := int32(0)
			if before != nil {
				n = 1
			}
			last.AppendInt32("n", n).AppendBoolean("updatedExisting", before != nil)
		}
	}
	result := before
	if returnNew {
		result = after
	}
	reply := bsoncore.NewDocumentBuilder().AppendDocument("lastErrorObject", last.Build())
	if result == nil {
		return reply.AppendNull("value").Build(), nil
	}
	if project != nil {
		var err error
		if result, err = project.apply(result); err != nil {
			return nil, err
		}
	}
	return reply.AppendDocument("value", result).Build(), nil
}
