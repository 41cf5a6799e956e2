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

// updateOperators are those whose meaning in lungo is MongoDB's.
const updateOperators = "$set $setOnInsert $unset $inc $mul $min $max $rename $push $pop $pull $pullAll $addToSet"

// update is a parsed update: operators, or a replacement.
type update struct {
	operators    *bson.D
	replacement  document
	arrayFilters bsonkit.List
	inserted     document // set when an upsert has inserted
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
	var paths []string
	for k, v := range elementsOf(u.Data) {
		op := string(k)
		if !hasWord(updateOperators, op) {
			return nil, errorf(codeFailedToParse, "unknown modifier: %s", op)
		}
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return nil, errorf(codeFailedToParse, "modifiers operate on fields but %s has no object", op)
		}
		p, err := checkOperator(op, v.Data)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p...)
	}
	if err := checkConflicts(paths); err != nil {
		return nil, err
	}
	filters, err := parseArrayFilters(arrayFilters, paths)
	return &update{operators: inOrderOfNames(u.Data), arrayFilters: filters}, err
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
func checkOperator(op string, fields document) ([]string, error) {
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
			if strings.Contains(path, "$[") {
				return nil, errorf(codeBadValue, "%s on array elements is not supported", op)
			}
		case "$rename":
			to, ok := v.StringValueOK()
			if !ok {
				return nil, errorf(codeBadValue, "the 'to' field of $rename must be a string")
			}
			if err := checkUpdatePath(to); err != nil {
				return nil, err
			}
			paths = append(paths, to)
		case "$pop":
			if n, ok := wholeNumber(v); !ok || n != 1 && n != -1 {
				return nil, errorf(codeFailedToParse, "$pop expects 1 or -1")
			}
		case "$pull":
			if err := checkPull(v); err != nil {
				return nil, err
			}
		default:
		}
	}
	return paths, nil
}

func checkPull(v value) error {
	switch {
	case v.Type == bsoncore.TypeRegex:
		return errorf(codeBadValue, "regular expressions are not supported in $pull")
	case isOperatorDocument(v):
		_, err := parseField("item", v)
		return err
	case v.Type == bsoncore.TypeEmbeddedDocument:
		_, err := parseConjunction(v.Data)
		return err
	default:
		return nil
	}
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

// parseArrayFilters allows one filter: how several belong to their identifiers,
// lungo does not tell apart.
func parseArrayFilters(v value, paths []string) (bsonkit.List, error) {
	if v.Type == 0 {
		return nil, nil
	}
	if v.Type != bsoncore.TypeArray {
		return nil, errorf(codeTypeMismatch, "arrayFilters must be an array")
	}
	it := begin(v.Data)
	_, item, ok := it.next()
	if !ok {
		return nil, nil
	}
	if _, _, more := it.next(); more {
		return nil, errorf(codeBadValue, "more than one array filter is not supported")
	}
	if item.Type != bsoncore.TypeEmbeddedDocument {
		return nil, errorf(codeTypeMismatch, "an array filter must be an object")
	}
	if _, err := parseConjunction(item.Data); err != nil {
		return nil, err
	}
	name := ""
	for k := range elementsOf(item.Data) {
		head, _ := splitPath(string(k))
		if head == "" || head[0] == '$' || name != "" && head != name {
			return nil, errorf(codeFailedToParse, "an array filter must name one identifier")
		}
		name = head
	}
	used := slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p+".", ".$["+name+"].") })
	if name == "" || !used {
		return nil, errorf(codeFailedToParse, "the array filter was not used in the update")
	}
	return bsonkit.List{decode(item.Data)}, nil
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
	if err := checkSingleValued(f); err != nil {
		return nil, err
	}
	base, err := mongokit.Extract(f.decoded())
	if err != nil {
		return nil, lungoError(err)
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

// checkSingleValued refuses a filter that gives one field two values, or a value
// to a field and to a part of it.
func checkSingleValued(f *filter) error {
	conj, _ := conjunction(nil, f.root.children)
	var paths []string
	for i := range conj {
		n := &conj[i]
		if n.op == opEq || n.op == opLungo && n.operand.Type != 0 || n.op == opIn && len(n.keys) == 1 {
			paths = append(paths, n.path)
		}
	}
	if checkConflicts(paths) != nil {
		return errorf(codeNotSingleValueField, "cannot infer query fields to set: the filter gives one of them two values")
	}
	return nil
}

// run applies the operators to doc. After an error doc is half changed.
func (u *update) run(doc *bson.D, upsert bool) error {
	if len(*u.operators) == 0 {
		return nil // operators without fields
	}
	for _, change := range *u.operators {
		fields, _ := change.Value.(bson.D)
		if change.Key != "$pop" {
			continue
		}
		switch bsonkit.Get(doc, fields[0].Key).(type) {
		case bson.A, bsonkit.MissingType:
		default:
			return errorf(codeTypeMismatch, "$pop of a value that is no array")
		}
	}
	ops, err := exactArithmetic(doc, u.operators)
	if err != nil {
		return err
	}
	if _, err := mongokit.Apply(doc, nil, ops, upsert, u.arrayFilters); err != nil {
		return lungoError(err)
	}
	return nil
}

// exactArithmetic prepares $inc and $mul for lungo, which wraps around on
// overflow: MongoDB widens an int to a long, and refuses to go beyond a long.
func exactArithmetic(doc, ops *bson.D) (*bson.D, error) {
	i := slices.IndexFunc(*ops, func(e bson.E) bool { return e.Key == "$inc" || e.Key == "$mul" })
	if i < 0 {
		return ops, nil
	}
	out := slices.Clone(*ops)
	for ; i < len(out); i++ {
		fields, ok := out[i].Value.(bson.D)
		if !ok || out[i].Key != "$inc" && out[i].Key != "$mul" {
			continue
		}
		fields = slices.Clone(fields)
		for j, f := range fields {
			current := bsonkit.Get(doc, f.Key)
			if current == nil {
				return nil, errorf(codeTypeMismatch, "cannot apply %s to a value of non-numeric type null", out[i].Key)
			}
			operand, err := widen(out[i].Key, current, f.Value)
			if err != nil {
				return nil, err
			}
			fields[j].Value = operand
		}
		out[i].Value = fields
	}
	return &out, nil
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
