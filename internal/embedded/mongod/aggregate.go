package mongod

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/256dpi/lungo/bsonkit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// maxGroupMemory bounds the groups of a $group, in bytes.
const maxGroupMemory = 64 << 20

// stage is one step of a pipeline: a query of which one part is set ($match, $sort,
// $skip, $limit), or open.
type stage struct {
	query *query
	rank  int // of that part, in the order in which a query applies its parts
	// open turns one stream into another. It owns src, also when it fails.
	open func(ctx context.Context, src stream) (stream, error)
	// count, beside open: the stage counts; the result for a number that is not 0.
	count func(n int64) document
}

// pipeline is a parsed aggregation: a query that indexes can serve, and stages.
type pipeline struct {
	query  query
	stages []*stage
}

func (s *Server) aggregate(ctx context.Context, r *request) (document, error) {
	p, err := parsePipeline(r)
	if err != nil {
		return nil, err
	}
	opts, err := r.document("cursor")
	if err != nil {
		return nil, err
	}
	if opts == nil {
		return nil, errorf(codeFailedToParse, "the 'cursor' option is required")
	}
	if err := onlyFields(opts, "cursor", "batchSize"); err != nil {
		return nil, err
	}
	batch, err := numberIn(opts, "batchSize", firstBatch)
	if err != nil {
		return nil, err
	}
	c, err := r.cursor(func(v *view) (stream, error) { return s.openPipeline(ctx, v, r.ns, p) })
	if err != nil {
		return nil, err
	}
	return s.firstReply(ctx, r, c, batch, false)
}

func (s *Server) openPipeline(ctx context.Context, v *view, ns string, p *pipeline) (stream, error) {
	stages := p.stages
	var src stream
	var err error
	if len(stages) > 0 && stages[0].count != nil {
		n, err := s.countQuery(ctx, v, ns, &p.query)
		if err != nil {
			return nil, err
		}
		src, stages = counted(n, stages[0].count), stages[1:]
	} else if src, err = s.openQuery(ctx, v, ns, &p.query); err != nil {
		return nil, err
	}
	for _, st := range stages {
		if st.query != nil {
			src, err = st.query.over(ctx, src)
		} else {
			src, err = st.open(ctx, src)
		}
		if err != nil {
			return nil, err
		}
	}
	return src, nil
}

// parsePipeline moves what it can of the first stages into the query: $match,
// $sort, $skip, $limit, in that order.
func parsePipeline(r *request) (*pipeline, error) {
	list, _ := lookup(r.body, "pipeline")
	if list.Type != bsoncore.TypeArray {
		return nil, errorf(codeTypeMismatch, "'pipeline' option must be specified as an array")
	}
	p := &pipeline{query: query{filter: &filter{}}}
	rank := 0
	for _, item := range elementsOf(list.Data) {
		if item.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(codeTypeMismatch, "each element of the 'pipeline' array must be an object")
		}
		name, v, ok := onlyElement(item.Data)
		if !ok {
			return nil, errorf(40323, "a pipeline stage specification object must contain exactly one field")
		}
		st, err := parseStage(name, v)
		if err != nil {
			return nil, err
		}
		if len(p.stages) > 0 || st.rank <= rank {
			p.stages = append(p.stages, st)
			continue
		}
		rank = st.rank
		switch name {
		case "$match":
			p.query.filter = st.query.filter
		case "$sort":
			p.query.sort = st.query.sort
		case "$skip":
			p.query.skip = st.query.skip
		default:
			p.query.limit = st.query.limit
		}
	}
	return p, nil
}

func parseStage(name string, v value) (*stage, error) {
	switch name {
	case "$match":
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(15959, "the match filter must be an expression in an object")
		}
		f, err := parseFilter(v.Data)
		return &stage{query: &query{filter: f}, rank: 1}, err
	case "$sort":
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(15973, "the $sort key specification must be an object")
		}
		fields, err := parseSort(v.Data)
		if err == nil && len(fields) == 0 {
			err = errorf(15976, "$sort stage must have at least one sort key")
		}
		return &stage{query: &query{sort: fields}, rank: 2}, err
	case "$skip", "$limit":
		n, ok := wholeNumber(v)
		switch {
		case !ok || n < 0 || n == 0 && name == "$limit":
			return nil, errorf(15958, "invalid argument to %s stage", name)
		case name == "$skip":
			return &stage{query: &query{skip: n}, rank: 3}, nil
		default:
			return &stage{query: &query{limit: n}, rank: 4}, nil
		}
	case "$project":
		if v.Type != bsoncore.TypeEmbeddedDocument || len(v.Data) == 5 {
			return nil, errorf(51272, "$project specification must be an object with at least one field")
		}
		p, err := parseProjection(v.Data)
		return &stage{open: func(_ context.Context, src stream) (stream, error) {
			return &mapped{stream: src, change: p.apply}, nil
		}}, err
	case "$count":
		field, ok := v.StringValueOK()
		if !ok || field == "" || field[0] == '$' || strings.ContainsAny(field, ".\x00") {
			return nil, errorf(40156, "the count field must be a non-empty string without '$' and '.'")
		}
		result := func(n int64) document { return encode(bson.D{{Key: field, Value: narrow(n)}}) }
		return &stage{count: result, open: func(ctx context.Context, src stream) (stream, error) {
			n, err := drain(ctx, src)
			return counted(n, result), err
		}}, nil
	case "$unwind":
		return parseUnwind(v)
	case "$group":
		return parseGroup(v)
	default:
		return nil, errorf(codeUnknownStage, "unrecognized pipeline stage name: '%s'", name)
	}
}

func counted(n int64, result func(int64) document) stream {
	if n == 0 {
		return &sortedStream{}
	}
	return &sortedStream{docs: []sorted{{doc: result(n)}}}
}

// narrow returns a whole number as an int if it fits, as MongoDB's sums do.
func narrow(n int64) any {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return int32(n)
	}
	return n
}

// drain counts the documents of src and closes it.
func drain(ctx context.Context, src stream) (int64, error) {
	for n := int64(0); ; n++ {
		doc, err := src.next(ctx)
		if doc == nil || err != nil {
			return n, errors.Join(err, src.close())
		}
	}
}

// parseUnwind parses "$path" or {path, preserveNullAndEmptyArrays}.
func parseUnwind(v value) (*stage, error) {
	keep := false
	if v.Type == bsoncore.TypeEmbeddedDocument {
		if err := onlyFields(v.Data, "$unwind", "path preserveNullAndEmptyArrays"); err != nil {
			return nil, err
		}
		if flag, ok := lookup(v.Data, "preserveNullAndEmptyArrays"); ok {
			if keep, ok = flag.BooleanOK(); !ok {
				return nil, errorf(28809, "preserveNullAndEmptyArrays must be a boolean")
			}
		}
		v, _ = lookup(v.Data, "path")
	}
	path, err := fieldPath(v)
	if err != nil {
		return nil, err
	}
	return &stage{open: func(_ context.Context, src stream) (stream, error) {
		return &unwound{stream: src, path: path, keep: keep}, nil
	}}, nil
}

// fieldPath returns the path of a "$path" expression.
func fieldPath(v value) (string, error) {
	s, ok := v.StringValueOK()
	if !ok || len(s) < 2 || s[0] != '$' || s[1] == '$' {
		return "", errorf(codeBadValue, "expected a field path that begins with '$'")
	}
	return s[1:], checkPath(s[1:])
}

// unwound sends a copy of each document for every element of an array in it.
type unwound struct {
	stream

	path    string
	keep    bool
	current *bson.D // the document being unwound
	rest    bson.A
}

func (u *unwound) next(ctx context.Context) (document, error) {
	for {
		if len(u.rest) > 0 {
			item := u.rest[0]
			u.rest = u.rest[1:]
			return u.with(item)
		}
		doc, err := u.stream.next(ctx)
		if doc == nil || err != nil {
			return nil, err
		}
		v, rest, isArray := follow(doc, u.path)
		switch {
		case isArray && rest != "":
			return nil, errorf(codeBadValue, "$unwind of a path through an array is not supported")
		case isArray:
			u.current = decode(doc)
			u.rest, _ = decodeValue(v).(bson.A)
			if len(u.rest) == 0 && u.keep {
				bsonkit.Unset(u.current, u.path)
				return encode(*u.current), nil
			}
		case v.Type != 0 && v.Type != bsoncore.TypeNull || u.keep:
			return doc, nil // a single value counts as an array of it
		}
	}
}

func (u *unwound) with(item any) (document, error) {
	if _, err := bsonkit.Put(u.current, u.path, item, false); err != nil {
		return nil, lungoError(err)
	}
	return encode(*u.current), nil
}

// groupKey computes the _id of a group.
type groupKey struct {
	constant value
	path     string
	names    []string // of a compound key, each with its path
	paths    []string
}

// accumulator describes one computed field of a $group.
type accumulator struct {
	name, op string
	path     string // or
	constant value
}

func parseGroup(v value) (*stage, error) {
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return nil, errorf(15947, "a group's fields must be specified in an object")
	}
	var key *groupKey
	var accs []accumulator
	for k, item := range elementsOf(v.Data) {
		var err error
		if string(k) == "_id" {
			key, err = parseGroupKey(item)
		} else {
			var acc accumulator
			acc, err = parseAccumulator(string(k), item)
			accs = append(accs, acc)
		}
		if err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, errorf(15955, "a group specification must include an _id")
	}
	st := &stage{open: func(ctx context.Context, src stream) (stream, error) { return group(ctx, src, key, accs) }}
	if key.path != "" || key.names != nil || len(accs) != 1 || accs[0].op != "$sum" || accs[0].path != "" {
		return st, nil
	}
	if each := accs[0].constant; each.Type == bsoncore.TypeInt32 && each.Int32() == 1 {
		st.count = func(n int64) document {
			return encode(bson.D{{Key: "_id", Value: decodeValue(key.constant)}, {Key: accs[0].name, Value: narrow(n)}})
		}
	}
	return st, nil
}

func parseGroupKey(v value) (*groupKey, error) {
	if s, ok := v.StringValueOK(); ok && strings.HasPrefix(s, "$") {
		path, err := fieldPath(v)
		return &groupKey{path: path}, err
	}
	if v.Type == bsoncore.TypeArray {
		return nil, errorf(codeBadValue, "an array as group _id is not supported")
	}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return &groupKey{constant: v}, nil
	}
	if isOperatorDocument(v) {
		return nil, errorf(168, "expressions are not supported as group _id")
	}
	key := &groupKey{names: []string{}}
	for k, item := range elementsOf(v.Data) {
		path, err := fieldPath(item)
		if err != nil {
			return nil, err
		}
		key.names, key.paths = append(key.names, string(k)), append(key.paths, path)
	}
	return key, nil
}

func parseAccumulator(name string, v value) (accumulator, error) {
	acc := accumulator{name: name}
	if strings.ContainsAny(name, ".$") {
		return acc, errorf(40235, "a field name of a group may not contain '.' or '$'")
	}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return acc, errorf(40234, "the field '%s' must be an accumulator object", name)
	}
	op, operand, ok := onlyElement(v.Data)
	if !ok {
		return acc, errorf(40238, "the field '%s' must specify one accumulator", name)
	}
	acc.op = op
	if !hasWord("$sum $min $max $first $last", acc.op) {
		return acc, errorf(15952, "unknown group operator '%s'", acc.op)
	}
	if s, ok := operand.StringValueOK(); ok && strings.HasPrefix(s, "$") {
		var err error
		acc.path, err = fieldPath(operand)
		return acc, err
	}
	if !isScalar(operand.Type) {
		return acc, errorf(codeBadValue, "expressions are not supported in accumulators")
	}
	acc.constant = operand
	return acc, nil
}

// field returns the value at path of a "$path" expression.
func field(doc document, path string) (value, error) {
	v, rest, isArray := follow(doc, path)
	if isArray && rest != "" {
		return value{}, errorf(codeBadValue, "a field path through an array is not supported in an expression")
	}
	return v, nil
}

func (key *groupKey) of(doc document) (value, error) {
	switch {
	case key.path != "":
		v, err := field(doc, key.path)
		if v.Type == 0 {
			v.Type = bsoncore.TypeNull
		}
		return v, err
	case key.names == nil:
		return key.constant, nil
	}
	b := bsoncore.NewDocumentBuilder()
	for i, name := range key.names {
		v, err := field(doc, key.paths[i])
		if err != nil {
			return value{}, err
		}
		if v.Type != 0 {
			b.AppendValue(name, v)
		}
	}
	return value{Type: bsoncore.TypeEmbeddedDocument, Data: b.Build()}, nil
}

// state is one accumulator of one group.
type state struct {
	val   value
	seen  bool
	whole int64
	parts float64 // what is no whole number, with the error of its additions
	lost  float64
	kind  bsoncore.Type // widest type of number so far
}

func (st *state) add(op string, v value) {
	switch op {
	case "$sum":
		st.sum(v)
	case "$first":
		if !st.seen {
			st.val = clone(v)
		}
	case "$last":
		st.val = clone(v)
	default:
		if v.Type == 0 || v.Type == bsoncore.TypeNull {
			return
		}
		c := 0
		if st.seen {
			c = bytes.Compare(appendKey(nil, v), appendKey(nil, st.val))
		}
		if !st.seen || op == "$min" && c < 0 || op == "$max" && c > 0 {
			st.val = clone(v)
		}
	}
	st.seen = true
}

func clone(v value) value { return value{Type: v.Type, Data: bytes.Clone(v.Data)} }

func (st *state) sum(v value) {
	switch v.Type {
	case bsoncore.TypeInt32, bsoncore.TypeInt64:
		n, _ := wholeNumber(v)
		if sum := st.whole + n; (sum > st.whole) == (n > 0) || n == 0 {
			st.whole = sum
		} else {
			st.addFloat(float64(st.whole))
			st.addFloat(float64(n))
			st.whole, st.kind = 0, bsoncore.TypeDouble
		}
		if st.kind != bsoncore.TypeDouble && v.Type == bsoncore.TypeInt64 {
			st.kind = bsoncore.TypeInt64
		}
	case bsoncore.TypeDouble:
		st.kind = bsoncore.TypeDouble
		st.addFloat(v.Double())
	default: // other types do not count
	}
}

// addFloat adds with Neumaier's compensation.
func (st *state) addFloat(f float64) {
	sum := st.parts + f
	switch {
	case math.IsInf(sum, 0) || math.IsNaN(sum):
	case math.Abs(st.parts) >= math.Abs(f):
		st.lost += (st.parts - sum) + f
	default:
		st.lost += (f - sum) + st.parts
	}
	st.parts = sum
}

func (st *state) result(op string) any {
	if op != "$sum" {
		return decodeValue(st.val)
	}
	switch st.kind {
	case bsoncore.TypeDouble:
		return st.parts + (st.lost + float64(st.whole))
	case bsoncore.TypeInt64:
		return st.whole
	default:
		return narrow(st.whole)
	}
}

// group reads all of src; groups come in the order of their first document.
func group(ctx context.Context, src stream, key *groupKey, accs []accumulator) (stream, error) {
	type bucket struct {
		id     value
		states []state
	}
	var order []*bucket
	byKey := map[string]*bucket{}
	size := 0
	for {
		doc, err := src.next(ctx)
		if err == nil && doc == nil {
			break
		}
		var id value
		if err == nil {
			id, err = key.of(doc)
		}
		if err == nil && size > maxGroupMemory {
			err = errorf(codeExceededMemoryLimit, "$group exceeded the memory limit of %d bytes", maxGroupMemory)
		}
		if err != nil {
			return nil, errors.Join(err, src.close())
		}
		encoded := appendKey(nil, id)
		b := byKey[string(encoded)]
		if b == nil {
			b = &bucket{id: clone(id), states: make([]state, len(accs))}
			byKey[string(encoded)] = b
			order = append(order, b)
			size += 2*len(encoded) + 128*(1+len(accs))
		}
		for i, acc := range accs {
			v := acc.constant
			if acc.path != "" {
				if v, err = field(doc, acc.path); err != nil {
					return nil, errors.Join(err, src.close())
				}
			}
			before := len(b.states[i].val.Data)
			b.states[i].add(acc.op, v)
			size += len(b.states[i].val.Data) - before
		}
	}
	out := &sortedStream{}
	for _, b := range order {
		doc := bson.D{{Key: "_id", Value: decodeValue(b.id)}}
		for i, acc := range accs {
			doc = append(doc, bson.E{Key: acc.name, Value: b.states[i].result(acc.op)})
		}
		out.docs = append(out.docs, sorted{doc: encode(doc)})
	}
	return out, src.close()
}

func (s *Server) distinct(ctx context.Context, r *request) (document, error) {
	keyValue, _ := lookup(r.body, "key")
	path, ok := keyValue.StringValueOK()
	if !ok {
		return nil, errorf(codeTypeMismatch, "distinct needs a key")
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(strings.Split(path, "."), isIndex) {
		return nil, errorf(codeBadValue, "distinct by the position in an array is not supported")
	}
	q, err := parseQuery(r, "query")
	if err != nil {
		return nil, err
	}
	c, err := r.cursor(func(v *view) (stream, error) { return s.openQuery(ctx, v, r.ns, q) })
	if err != nil {
		return nil, err
	}
	values, err := distinctValues(ctx, c.src, path)
	if err = errors.Join(err, c.src.close()); err != nil {
		return nil, err
	}
	b := bsoncore.NewDocumentBuilder().AppendArray("values", values)
	if c.at != 0 {
		b.AppendTimestamp("atClusterTime", uint32(c.at>>32), uint32(c.at)) //nolint:gosec // the two halves
	}
	return b.Build(), nil
}

// distinctValues collects the values at path, elements of arrays one by one.
func distinctValues(ctx context.Context, src stream, path string) (bsoncore.Array, error) {
	values, size := bsoncore.NewArrayBuilder(), 0
	seen := map[string]struct{}{}
	// add reports whether the values have become too many.
	add := func(v value) bool {
		key := string(appendKey(nil, v))
		if _, ok := seen[key]; ok || v.Type == 0 {
			return false
		}
		seen[key] = struct{}{}
		size += len(v.Data) + 16
		values.AppendValue(v)
		return size > maxDocumentSize
	}
	for {
		doc, err := src.next(ctx)
		if err != nil {
			return nil, err
		}
		if doc == nil {
			return values.Build(), nil
		}
		tooBig := along(doc, path, false, func(v value) bool {
			if v.Type != bsoncore.TypeArray {
				return add(v)
			}
			for _, item := range elementsOf(v.Data) {
				if add(item) {
					return true
				}
			}
			return false
		})
		if tooBig {
			return nil, errorf(17217, "distinct too big, 16mb cap")
		}
	}
}
