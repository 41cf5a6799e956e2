package mongod

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// updateOperators are those whose meaning in lungo is MongoDB's, as run prepares
// them.
const updateOperators = "$set $setOnInsert $unset $inc $mul $min $max $rename $push $pop $pull $pullAll $addToSet"

// update is a parsed update: operators, or a replacement.
type update struct {
	operators   *bson.D // each with one field
	replacement document
	filters     map[string]*filter          // array filters by their identifiers
	pulls       map[string]func(value) bool // by path: what $pull removes
	inserted    document                    // set when an upsert has inserted
}

// parseUpdate checks the u of an update statement and its array filters.
func parseUpdate(u, arrayFilters value) (*update, error) {
	switch u.Type {
	case bsoncore.TypeEmbeddedDocument:
	case bsoncore.TypeArray:
		return nil, errorf(codeBadValue, "updates by aggregation pipeline are not supported")
	default:
		return nil, errorf(codeFailedToParse, "an update must be an object")
	}
	if !isOperatorDocument(u) {
		if arrayFilters.Type != 0 {
			return nil, errorf(codeFailedToParse, "arrayFilters may not be specified for replacement-style updates")
		}
		return &update{replacement: u.Data}, checkStored(u.Data)
	}
	out := &update{operators: inOrderOfNames(u.Data), pulls: map[string]func(value) bool{}}
	var paths []string
	for k, v := range elementsOf(u.Data) {
		op := string(k)
		if !hasWord(updateOperators, op) {
			return nil, errorf(codeFailedToParse, "unknown modifier: %s", op)
		}
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(codeFailedToParse, "modifiers operate on fields but %s has no object", op)
		}
		p, err := out.checkOperator(op, v.Data)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p...)
	}
	if err := checkConflicts(paths); err != nil {
		return nil, err
	}
	return out, out.parseArrayFilters(arrayFilters, paths)
}

// inOrderOfNames decodes operators so that each changes one field and new fields
// are added by name, numbers by their value:
// https://www.mongodb.com/docs/manual/reference/operator/update/#behavior
func inOrderOfNames(operators document) *bson.D {
	changes := bson.D{}
	for op, fields := range elementsOf(operators) {
		for _, field := range decodeDocument(fields.Data) {
			changes = append(changes, bson.E{Key: string(op), Value: bson.D{field}})
		}
	}
	name := func(change bson.E) []string {
		field, _ := change.Value.(bson.D)
		return strings.Split(field[0].Key, ".")
	}
	slices.SortStableFunc(changes, func(a, b bson.E) int {
		return slices.CompareFunc(name(a), name(b), func(a, b string) int {
			if isIndex(a) && isIndex(b) && len(a) != len(b) {
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
	})
	return &changes
}

// checkOperator checks the fields of one operator and returns their paths.
func (u *update) checkOperator(op string, fields document) ([]string, error) {
	var paths []string
	for k, v := range elementsOf(fields) {
		path := string(k)
		if err := checkUpdatePath(path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
		switch op {
		case "$inc", "$mul":
			if classOf(v.Type) != classNumber {
				return nil, errorf(codeTypeMismatch, "cannot apply %s with a non-numeric argument", op)
			}
		case "$rename":
			to, ok := v.StringValueOK()
			if !ok {
				return nil, errorf(codeBadValue, "the 'to' field of $rename must be a string")
			}
			if err := checkUpdatePath(to); err != nil {
				return nil, err
			}
			if strings.Contains(path+to, "$[") {
				return nil, errorf(codeBadValue, "$rename of array elements is not possible")
			}
			paths = append(paths, to)
		case "$pop":
			if n, ok := wholeNumber(v); !ok || n != 1 && n != -1 {
				return nil, errorf(codeFailedToParse, "$pop expects 1 or -1")
			}
		case "$pull":
			matches, err := parsePull(v)
			if err != nil {
				return nil, err
			}
			u.pulls[path] = matches
		default:
		}
	}
	return paths, nil
}

// parsePull returns which elements $pull removes: operators are asked of an
// element, a document is a filter of documents, and any other value is equal.
func parsePull(v value) (func(item value) bool, error) {
	switch {
	case isOperatorDocument(v):
		children, err := parseOperators("item", v.Data)
		n := node{op: opAnd, children: children}
		return func(item value) bool { return n.match(wrap("item", item)) }, err
	case v.Type == bsoncore.TypeEmbeddedDocument:
		f, err := parseFilter(v.Data)
		return func(item value) bool { return item.Type == bsoncore.TypeEmbeddedDocument && f.match(item.Data) }, err
	default:
		n, err := comparison(opEq, itself, v)
		return n.match, err
	}
}

// wrap returns a document with one field.
func wrap(name string, v value) value {
	return value{Type: bsoncore.TypeEmbeddedDocument, Data: bsoncore.NewDocumentBuilder().AppendValue(name, v).Build()}
}

// checkUpdatePath allows dotted fields, array positions, $[] and $[name].
func checkUpdatePath(path string) error {
	for i, segment := range strings.Split(path, ".") {
		switch {
		case segment == "":
			return errorf(codeEmptyFieldName, "an update path has an empty field name")
		case segment == "$":
			return errorf(codeBadValue, "the positional operator $ is not supported")
		case segment[0] == '$' && (i == 0 || !strings.HasPrefix(segment, "$[") || !strings.HasSuffix(segment, "]")):
			return errorf(codeDollarPrefixedFieldName, "a dollar-prefixed field in an update path is not valid for storage")
		case isIndex(segment):
			if n, err := strconv.Atoi(segment); err != nil || n > maxBackfill {
				return errorf(codeCannotBackfillArray, "an array position above %d is not supported", maxBackfill)
			}
		}
	}
	return nil
}

// checkConflicts refuses two changes of the same field, or of a field and a part
// of it.
func checkConflicts(paths []string) error {
	paths = slices.Sorted(slices.Values(paths))
	for i := 1; i < len(paths); i++ {
		for j := range i {
			if paths[i] == paths[j] || strings.HasPrefix(paths[i], paths[j]+".") {
				return errorf(codeConflictingUpdate, "updating the path '%s' would create a conflict at '%s'", paths[i], paths[j])
			}
		}
	}
	return nil
}

// parseArrayFilters reads the filters that the paths name as $[identifier].
func (u *update) parseArrayFilters(v value, paths []string) error {
	u.filters = map[string]*filter{}
	if v.Type != 0 && v.Type != bsoncore.TypeArray {
		return errorf(codeTypeMismatch, "arrayFilters must be an array")
	}
	for _, item := range elementsOf(v.Data) {
		if item.Type != bsoncore.TypeEmbeddedDocument {
			return errorf(codeTypeMismatch, "an array filter must be an object")
		}
		f, err := parseFilter(item.Data)
		if err != nil {
			return err
		}
		name := ""
		for k := range elementsOf(item.Data) {
			head, _ := splitPath(string(k))
			if head == "" || head[0] == '$' || name != "" && head != name {
				return errorf(codeFailedToParse, "an array filter must name one identifier")
			}
			name = head
		}
		used := slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p+".", ".$["+name+"].") })
		if name == "" || !used || u.filters[name] != nil {
			return errorf(codeFailedToParse, "an array filter must be used in the update, and be the only one of its identifier")
		}
		u.filters[name] = f
	}
	for _, path := range paths {
		for segment := range strings.SplitSeq(path, ".") {
			if name, isFilter := filterName(segment); isFilter && name != "" && u.filters[name] == nil {
				return errorf(codeBadValue, "no array filter found for identifier '%s' in path '%s'", name, path)
			}
		}
	}
	return nil
}

// filterName returns the identifier within $[identifier]; that of $[] is empty.
func filterName(segment string) (name string, ok bool) {
	name, ok = strings.CutPrefix(segment, "$[")
	return strings.TrimSuffix(name, "]"), ok
}

// positions returns the paths that a path with $[] or $[identifier] stands for in
// v, which is what the path done leads to.
func (u *update) positions(v value, done string, segments []string) ([]string, error) {
	for i, segment := range segments {
		name, isFilter := filterName(segment)
		if !isFilter {
			v, _ = lookup(v.Data, segment)
			done += "." + segment
			continue
		}
		if v.Type != bsoncore.TypeArray {
			return nil, errorf(codeBadValue, "the path '%s' must hold an array to apply array updates", done[1:])
		}
		var paths []string
		for position, item := range elementsOf(v.Data) {
			if name != "" && !u.filters[name].match(wrap(name, item).Data) {
				continue
			}
			more, err := u.positions(item, done+"."+string(position), segments[i+1:])
			if err != nil {
				return nil, err
			}
			paths = append(paths, more...)
		}
		return paths, nil
	}
	return []string{done[1:]}, nil
}

// apply returns before with the update applied; before stays as it is.
func (u *update) apply(before document) (document, error) {
	id, _ := lookup(before, "_id")
	if u.replacement != nil {
		after := withID(id, u.replacement)
		if given, ok := lookup(u.replacement, "_id"); ok && !sameValue(given, id) {
			return nil, immutableID()
		}
		return after, checkStored(after)
	}
	doc := decode(before)
	if err := u.run(doc, false); err != nil {
		return nil, err
	}
	after := encode(*doc)
	if now, ok := lookup(after, "_id"); !ok || !sameValue(now, id) {
		return nil, immutableID()
	}
	return after, checkStored(after)
}

func sameValue(a, b value) bool { return string(appendKey(nil, a)) == string(appendKey(nil, b)) }

func immutableID() error {
	return errorf(codeImmutableField, "performing an update on the path '_id' would modify the immutable field '_id'")
}

// forInsert returns the document that an upsert inserts: the filter's equalities
// and the update on top.
func (u *update) forInsert(f *filter) (document, error) {
	base, err := equalities(f)
	if err != nil {
		return nil, err
	}
	id := bsonkit.Get(base, "_id")
	if u.replacement != nil {
		doc := u.replacement
		given, ok := lookup(doc, "_id")
		if id == bsonkit.Missing {
			return doc, nil
		}
		fromFilter, _ := lookup(encode(bson.D{{Key: "_id", Value: id}}), "_id")
		if ok && !sameValue(given, fromFilter) {
			return nil, immutableID()
		}
		return withID(fromFilter, doc), nil
	}
	if err := u.run(base, true); err != nil {
		return nil, err
	}
	doc := encode(*base)
	if id != bsonkit.Missing {
		now, ok := lookup(doc, "_id")
		fromFilter, _ := lookup(encode(bson.D{{Key: "_id", Value: id}}), "_id")
		if !ok || !sameValue(now, fromFilter) {
			return nil, immutableID()
		}
	}
	return doc, nil
}

// equalities returns the document of the values that the filter says fields are
// equal to. One that gives a field two values, or a value to a field and to a part
// of it, is refused.
func equalities(f *filter) (*bson.D, error) {
	doc := &bson.D{}
	var paths []string
	var collect func(nodes []node) error
	collect = func(nodes []node) error {
		for i := range nodes {
			n := &nodes[i]
			switch {
			case n.op == opAnd || n.op == opOr && len(n.children) == 1:
				if err := collect(n.children); err != nil {
					return err
				}
			case n.op == opEq || n.op == opIn && len(n.keys) == 1:
				paths = append(paths, n.path)
				if _, err := bsonkit.Put(doc, n.path, decodeValue(n.operand), false); err != nil {
					return lungoError(err)
				}
			}
		}
		return nil
	}
	err := collect(f.root.children)
	if checkConflicts(paths) != nil {
		return nil, errorf(codeNotSingleValueField, "cannot infer query fields to set: the filter gives one of them two values")
	}
	return doc, err
}

// run applies the operators to doc. After an error doc is half changed.
func (u *update) run(doc *bson.D, upsert bool) error {
	ops := bson.D{}
	for _, change := range *u.operators {
		field, _ := change.Value.(bson.D)
		paths := []string{field[0].Key}
		if strings.Contains(field[0].Key, "$[") {
			var err error
			paths, err = u.positions(value{Type: bsoncore.TypeEmbeddedDocument, Data: encode(*doc)}, "", strings.Split(field[0].Key, "."))
			if err != nil {
				return err
			}
		}
		for _, path := range paths {
			op, operand, err := u.prepare(change.Key, field[0].Key, bsonkit.Get(doc, path), field[0].Value)
			if err != nil {
				return err
			}
			ops = append(ops, bson.E{Key: op, Value: bson.D{{Key: path, Value: operand}}})
		}
	}
	if len(ops) == 0 {
		return nil // operators without fields, or for no element
	}
	if _, err := mongokit.Apply(doc, nil, &ops, upsert, nil); err != nil {
		return lungoError(err)
	}
	return nil
}

// prepare returns the operator and operand that make lungo do what MongoDB does
// to the current value. lungo wraps around when it calculates, and matches
// elements by rules of its own.
func (u *update) prepare(op, path string, current, operand any) (string, any, error) {
	array, isArray := current.(bson.A)
	switch op {
	case "$inc", "$mul":
		if current == nil {
			return "", nil, errorf(codeTypeMismatch, "cannot apply %s to a value of non-numeric type null", op)
		}
		operand, err := widen(op, current, operand)
		return op, operand, err
	case "$pop":
		if !isArray && current != bsonkit.Missing {
			return "", nil, errorf(codeTypeMismatch, "$pop of a value that is no array")
		}
	case "$pull":
		matching := bson.A{}
		for _, item := range array {
			encoded, _ := lookup(encode(bson.D{{Key: "v", Value: item}}), "v")
			if u.pulls[path](encoded) {
				matching = append(matching, item)
			}
		}
		return "$pullAll", matching, nil
	default:
	}
	return op, operand, nil
}

// widen returns the operand, as a long if the result leaves the range of an int.
func widen(op string, current, operand any) (any, error) {
	a, aLong, ok := integer(current)
	b, bLong, ok2 := integer(operand)
	if !ok || !ok2 {
		return operand, nil
	}
	var result int64
	var overflow bool
	if op == "$inc" {
		result = a + b
		overflow = (result > a) != (b > 0) && b != 0
	} else {
		result = a * b
		overflow = a != 0 && (result/a != b || a == -1 && b == math.MinInt64)
	}
	if overflow {
		return nil, errorf(codeBadValue, "failed to apply %s: the result is out of the range of a long", op)
	}
	if !aLong && !bLong && (result > math.MaxInt32 || result < math.MinInt32) {
		return b, nil
	}
	return operand, nil
}

func integer(v any) (n int64, long, ok bool) {
	switch x := v.(type) {
	case int32:
		return int64(x), false, true
	case int64:
		return x, true, true
	default:
		return 0, false, false
	}
}

// lungoError gives an error of lungo MongoDB's code. lungo's messages name paths
// and operators, not values.
func lungoError(err error) error {
	code := int32(codeBadValue)
	switch msg := err.Error(); {
	case strings.Contains(msg, "conflicting key"):
		code = codeConflictingUpdate
	case strings.Contains(msg, "cannot put value"):
		code = codePathNotViable
	case strings.Contains(msg, "is not a number"):
		code = codeTypeMismatch
	}
	return &commandError{code: code, msg: fmt.Sprintf("update: %v", err)}
}
