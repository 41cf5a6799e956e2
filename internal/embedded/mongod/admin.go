package mongod

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	// wireVersion is that of MongoDB 7.0. Later versions bring commands that
	// are not implemented here.
	wireVersion = 21
	version     = "7.0.0"
	replicaSet  = "vogter"
)

func (s *Server) hello(_ context.Context, r *request) (document, error) {
	me := r.conn.net.LocalAddr().String()
	hosts := bsoncore.NewArrayBuilder().AppendString(me).Build()
	return bsoncore.NewDocumentBuilder().
		AppendBoolean("helloOk", true).AppendBoolean("isWritablePrimary", true).AppendBoolean("ismaster", true).
		AppendString("setName", replicaSet).AppendInt32("setVersion", 1).
		AppendBoolean("secondary", false).AppendArray("hosts", hosts).AppendString("primary", me).AppendString("me", me).
		AppendInt32("maxBsonObjectSize", maxDocumentSize).AppendInt32("maxMessageSizeBytes", maxMessageSize).
		AppendInt32("maxWriteBatchSize", maxBatch).AppendDateTime("localTime", s.now().UnixMilli()).
		AppendInt32("logicalSessionTimeoutMinutes", int32(sessionLifetime.Minutes())).
		AppendInt64("connectionId", r.conn.id).
		AppendInt32("minWireVersion", 0).AppendInt32("maxWireVersion", wireVersion).AppendBoolean("readOnly", false).
		Build(), nil
}

func (s *Server) ping(context.Context, *request) (document, error) { return emptyReply(), nil }

func (s *Server) buildInfo(context.Context, *request) (document, error) {
	numbers := bsoncore.NewArrayBuilder().AppendInt32(7).AppendInt32(0).AppendInt32(0).AppendInt32(0).Build()
	return bsoncore.NewDocumentBuilder().AppendString("version", version).AppendArray("versionArray", numbers).
		AppendString("gitVersion", "vogter embedded engine").AppendInt32("bits", 64).
		AppendInt32("maxBsonObjectSize", maxDocumentSize).Build(), nil
}

// serverStatus tells how often queries have read a whole collection since the
// start, as MongoDB names it; reading a whole index counts here too. It has no
// other section.
func (s *Server) serverStatus(context.Context, *request) (document, error) {
	scans := bsoncore.NewDocumentBuilder().AppendInt64("total", s.FullScans()).Build()
	executor := bsoncore.NewDocumentBuilder().AppendDocument("collectionScans", scans).Build()
	metrics := bsoncore.NewDocumentBuilder().AppendDocument("queryExecutor", executor).Build()
	return bsoncore.NewDocumentBuilder().AppendString("version", version).AppendDateTime("localTime", s.now().UnixMilli()).
		AppendDocument("metrics", metrics).Build(), nil
}

func (s *Server) endSessions(_ context.Context, r *request) (document, error) {
	v, _ := lookup(r.body, "endSessions")
	if v.Type != bsoncore.TypeArray {
		return nil, errorf(codeTypeMismatch, "endSessions needs an array")
	}
	var ids []string
	for _, item := range elementsOf(v.Data) {
		id, err := parseSessionID(item)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return emptyReply(), s.forget(ids)
}

// nameFilter refuses filters of the listing commands that it cannot apply: the
// name is the only field they may ask for.
func nameFilter(r *request) (*filter, error) {
	doc, err := r.document("filter")
	if err != nil {
		return nil, err
	}
	for k := range elementsOf(doc) {
		if string(k) != "name" {
			return nil, errorf(codeBadValue, "%s filters by name only", r.name)
		}
	}
	return parseFilter(doc)
}

func (s *Server) listDatabases(_ context.Context, r *request) (document, error) {
	f, err := nameFilter(r)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for ns := range s.visibleCatalog().collections {
		db, _, _ := strings.Cut(ns, ".")
		names[db] = true
	}
	list := bsoncore.NewArrayBuilder()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		doc := bsoncore.NewDocumentBuilder().AppendString("name", name).AppendInt64("sizeOnDisk", 0).AppendBoolean("empty", false).Build()
		if f.match(doc) {
			list.AppendDocument(doc)
		}
	}
	return bsoncore.NewDocumentBuilder().AppendArray("databases", list.Build()).AppendInt64("totalSize", 0).Build(), nil
}

func (s *Server) listCollections(ctx context.Context, r *request) (document, error) {
	f, err := nameFilter(r)
	if err != nil {
		return nil, err
	}
	var docs []document
	collections := s.visibleCatalog().collections
	for _, ns := range slices.Sorted(maps.Keys(collections)) {
		db, name, _ := strings.Cut(ns, ".")
		if db != r.db {
			continue
		}
		b := bsoncore.NewDocumentBuilder().AppendString("name", name).AppendString("type", "collection")
		if !r.flag("nameOnly", false) {
			c := collections[ns]
			b.AppendDocument("options", emptyReply()).
				AppendDocument("info", bsoncore.NewDocumentBuilder().AppendBoolean("readOnly", false).AppendBinary("uuid", 4, c.uuid).Build()).
				AppendDocument("idIndex", indexDocument(c.id))
		}
		doc := b.Build()
		if f.match(doc) {
			docs = append(docs, doc)
		}
	}
	return s.listReply(ctx, r, r.db+".$cmd.listCollections", docs)
}

// listReply answers with a cursor over docs.
func (s *Server) listReply(ctx context.Context, r *request, ns string, docs []document) (document, error) {
	opts, err := r.document("cursor")
	if err != nil {
		return nil, err
	}
	batch, err := numberIn(opts, "batchSize", firstBatch)
	if err != nil {
		return nil, err
	}
	list := &sortedStream{}
	for _, d := range docs {
		list.docs = append(list.docs, sorted{doc: d})
	}
	return s.firstReply(ctx, r, &cursor{ns: ns, src: list}, batch, false)
}

func indexDocument(ix *index) document {
	b := bsoncore.NewDocumentBuilder().AppendInt32("v", 2).AppendDocument("key", ix.spec).AppendString("name", ix.name)
	if ix.unique && ix.name != "_id_" {
		b.AppendBoolean("unique", true)
	}
	return b.Build()
}

func (s *Server) create(_ context.Context, r *request) (document, error) {
	if s.catalog.Load().collections[r.ns] != nil {
		return nil, errorf(codeNamespaceExists, "collection %s already exists", r.ns)
	}
	_, err := s.collectionFor(r.ns)
	return emptyReply(), err
}

func (s *Server) drop(_ context.Context, r *request) (document, error) {
	c := s.catalog.Load().collections[r.ns]
	n, err := s.dropCollections(func(have string) bool { return have == r.ns })
	if err == nil && (n == 0 || c == nil) {
		err = errorf(codeNamespaceNotFound, "ns not found")
	}
	if err != nil {
		return nil, err
	}
	return bsoncore.NewDocumentBuilder().AppendInt32("nIndexesWas", int32(len(c.indexes)+1)). //nolint:gosec // at most maxIndexes
													AppendString("ns", r.ns).Build(), nil
}

func (s *Server) dropDatabase(_ context.Context, r *request) (document, error) {
	_, err := s.dropCollections(func(ns string) bool { return strings.HasPrefix(ns, r.db+".") })
	return bsoncore.NewDocumentBuilder().AppendString("dropped", r.db).Build(), err
}

func (s *Server) createIndexesCommand(ctx context.Context, r *request) (document, error) {
	list, _ := lookup(r.body, "indexes")
	if list.Type != bsoncore.TypeArray {
		return nil, errorf(codeTypeMismatch, "createIndexes needs an array of indexes")
	}
	var want []*index
	for _, item := range elementsOf(list.Data) {
		if item.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(codeTypeMismatch, "an index must be an object")
		}
		ix, err := parseIndex(item.Data)
		if err != nil {
			return nil, err
		}
		want = append(want, ix)
	}
	if len(want) == 0 {
		return nil, errorf(codeBadValue, "must specify at least one index to create")
	}
	made := s.catalog.Load().collections[r.ns] == nil
	before, after, err := s.createIndexes(ctx, r.ns, want)
	if err != nil {
		return nil, err
	}
	return bsoncore.NewDocumentBuilder().AppendBoolean("createdCollectionAutomatically", made).AppendInt32("numIndexesBefore", int32(before)). //nolint:gosec // at most maxIndexes
																			AppendInt32("numIndexesAfter", int32(after)).Build(), nil //nolint:gosec // at most maxIndexes
}

func parseIndex(doc document) (*index, error) {
	if err := onlyFields(doc, "indexes", "key name unique? background? sparse? hidden? v"); err != nil {
		if ce := asCommandError(err); ce.code == codeUnknownField {
			ce.code = codeCannotCreateIndex
		}
		return nil, err
	}
	if flagIn(doc, "sparse", false) || flagIn(doc, "hidden", false) {
		return nil, errorf(codeCannotCreateIndex, "sparse and hidden indexes are not supported")
	}
	if v, ok := lookup(doc, "v"); ok {
		if n, ok := wholeNumber(v); !ok || n != 2 {
			return nil, errorf(codeCannotCreateIndex, "an index has version 2")
		}
	}
	spec, err := documentIn(doc, "key")
	if err != nil {
		return nil, err
	}
	fields, err := parseKeyPattern(spec)
	if err != nil {
		return nil, err
	}
	nameValue, _ := lookup(doc, "name")
	name, _ := nameValue.StringValueOK()
	if name == "" || name == "*" {
		return nil, errorf(codeCannotCreateIndex, "an index needs a name")
	}
	return newIndex(name, 0, fields, slices.Clone(spec), flagIn(doc, "unique", false)), nil
}

func (s *Server) listIndexes(ctx context.Context, r *request) (document, error) {
	c := s.visibleCatalog().collections[r.ns]
	if c == nil {
		return nil, errorf(codeNamespaceNotFound, "ns does not exist: %s", r.ns)
	}
	docs := []document{indexDocument(c.id)}
	for _, ix := range c.indexes {
		docs = append(docs, indexDocument(ix))
	}
	return s.listReply(ctx, r, r.ns, docs)
}

func (s *Server) dropIndexesCommand(_ context.Context, r *request) (document, error) {
	v, _ := lookup(r.body, "index")
	var match func(*index) bool
	if name, ok := v.StringValueOK(); ok {
		if name == "_id_" {
			return nil, errorf(codeInvalidOptions, "cannot drop _id index")
		}
		match = func(ix *index) bool { return name == "*" || ix.name == name }
	} else if v.Type == bsoncore.TypeEmbeddedDocument {
		fields, err := parseKeyPattern(v.Data)
		if err != nil {
			return nil, err
		}
		match = func(ix *index) bool { return slices.Equal(ix.fields, fields) }
	} else {
		return nil, errorf(codeTypeMismatch, "dropIndexes needs the name or the key of an index")
	}
	dropped := false
	before, err := s.dropIndexes(r.ns, func(ix *index) bool {
		ok := match(ix)
		dropped = dropped || ok
		return ok
	})
	if name, _ := v.StringValueOK(); err == nil && !dropped && name != "*" {
		err = errorf(codeIndexNotFound, "index not found")
	}
	return bsoncore.NewDocumentBuilder().AppendInt32("nIndexesWas", int32(before)).Build(), errors.Join(err) //nolint:gosec // at most maxIndexes
}
