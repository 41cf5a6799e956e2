package mongod

import (
	"bytes"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// filter is a parsed query. It is evaluated on the stored bytes, by the rules of
// https://www.mongodb.com/docs/manual/reference/operator/query/
type filter struct{ root node }

// node is a part of a filter.
type node struct {
	op       operator
	children []node   // of and, or, nor; of elemMatch: what an element must meet
	path     string   // or itself
	key      []byte   // encoded operand of a comparison
	keys     [][]byte // encoded operands of in, sorted
	operand  value    // of a comparison; of in: the first
	size     int64
	whole    bool // elemMatch is about elements, not about their fields
}

// itself is the path of a condition on a value as a whole, within $elemMatch. No
// field has this name.
const itself = "\x00"

// operator is what a node asks. The negations $ne, $nin and $not are a nor.
type operator byte

const (
	opAnd operator = iota
	opOr
	opNor
	opEq
	opGt
	opGte
	opLt
	opLte
	opIn
	opExists
	opSize
	opElemMatch
)

// parseFilter checks a query and prepares it. Operators and operands outside of
// what is implemented exactly are refused.
func parseFilter(doc document) (*filter, error) {
	children, err := parseConjunction(doc)
	return &filter{root: node{op: opAnd, children: children}}, err
}

func parseConjunction(doc document) ([]node, error) {
	var nodes []node
	for k, v := range elementsOf(doc) {
		key := string(k)
		if !strings.HasPrefix(key, "$") {
			n, err := parseField(key, v)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n...)
			continue
		}
		var op operator
		switch key {
		case "$and":
			op = opAnd
		case "$or":
			op = opOr
		case "$nor":
			op = opNor
		default:
			return nil, errorf(codeBadValue, "unknown top level operator: %s", key)
		}
		if v.Type != bsoncore.TypeArray {
			return nil, errorf(codeBadValue, "%s must be an array", key)
		}
		n := node{op: op}
		for _, item := range elementsOf(v.Data) {
			if item.Type != bsoncore.TypeEmbeddedDocument {
				return nil, errorf(codeBadValue, "%s argument's entries must be objects", key)
			}
			children, err := parseConjunction(item.Data)
			if err != nil {
				return nil, err
			}
			n.children = append(n.children, node{op: opAnd, children: children})
		}
		if len(n.children) == 0 {
			return nil, errorf(codeBadValue, "%s argument must be a non-empty array", key)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// parseField parses the condition on one path.
func parseField(path string, v value) ([]node, error) {
	if !isOperatorDocument(v) {
		n, err := comparison(opEq, path, v)
		return []node{n}, err
	}
	return parseOperators(path, v.Data)
}

func parseOperators(path string, operators document) ([]node, error) {
	var nodes []node
	for k, operand := range elementsOf(operators) {
		n, err := parseOperator(path, string(k), operand)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// isOperatorDocument reports whether v is a document of $-operators.
func isOperatorDocument(v value) bool {
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return false
	}
	it := begin(v.Data)
	k, _, ok := it.next()
	return ok && bytes.HasPrefix(k, []byte("$"))
}

func parseOperator(path, name string, v value) (node, error) {
	switch name {
	case "$eq":
		return comparison(opEq, path, v)
	case "$ne":
		return negated(comparison(opEq, path, v))
	case "$gt":
		return comparison(opGt, path, v)
	case "$gte":
		return comparison(opGte, path, v)
	case "$lt":
		return comparison(opLt, path, v)
	case "$lte":
		return comparison(opLte, path, v)
	case "$in":
		return membership(path, v)
	case "$nin":
		return negated(membership(path, v))
	case "$exists":
		n := node{op: opExists, path: path}
		if !isTrue(v) {
			return negated(n, nil)
		}
		return n, nil
	case "$not":
		if !isOperatorDocument(v) {
			return node{}, errorf(codeBadValue, "$not needs a document of operators; a regular expression is not supported")
		}
		children, err := parseOperators(path, v.Data)
		return negated(node{op: opAnd, children: children}, err)
	case "$size":
		n, ok := wholeNumber(v)
		if !ok || n < 0 {
			return node{}, errorf(codeFailedToParse, "$size needs a whole number that is not negative")
		}
		return node{op: opSize, path: path, size: n}, nil
	case "$all":
		return allOf(path, v)
	case "$elemMatch":
		return elemMatch(path, v)
	default:
		return node{}, errorf(codeBadValue, "unknown operator: %s", name)
	}
}

func negated(n node, err error) (node, error) {
	return node{op: opNor, children: []node{n}}, err
}

// elemMatch parses conditions on the fields of an element, or operators on the
// element itself.
func elemMatch(path string, v value) (n node, err error) {
	n = node{op: opElemMatch, path: path}
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return n, errorf(codeBadValue, "$elemMatch needs an object")
	}
	it := begin(v.Data)
	first, _, _ := it.next()
	if n.whole = isOperatorDocument(v) && !hasWord("$and $or $nor", string(first)); n.whole {
		n.children, err = parseOperators(itself, v.Data)
	} else {
		n.children, err = parseConjunction(v.Data)
	}
	return n, err
}

// allOf parses $all: a conjunction of values, or of $elemMatch; of none it finds
// nothing.
func allOf(path string, v value) (node, error) {
	if v.Type != bsoncore.TypeArray {
		return node{}, errorf(codeBadValue, "$all needs an array")
	}
	n := node{op: opAnd}
	elements := 0
	for _, item := range elementsOf(v.Data) {
		var child node
		err := plainOperand(item)
		if err == nil {
			child, err = comparison(opEq, path, item)
		} else if name, inner, ok := onlyElement(item.Data); ok && name == "$elemMatch" {
			elements++
			child, err = elemMatch(path, inner)
		}
		if err != nil {
			return n, err
		}
		n.children = append(n.children, child)
	}
	switch {
	case len(n.children) == 0:
		return node{op: opIn, path: path}, nil
	case elements > 0 && elements < len(n.children):
		return n, errorf(codeBadValue, "$all takes values or $elemMatch, not both")
	default:
		return n, nil
	}
}

// plainOperand refuses an operand that MongoDB reads as more than a value.
func plainOperand(v value) error {
	if v.Type == bsoncore.TypeRegex {
		return errorf(codeBadValue, "regular expressions are not supported in a filter")
	}
	if isOperatorDocument(v) {
		return errorf(codeBadValue, "operators within an array of operands are not supported")
	}
	return nil
}

func isScalar(t bsoncore.Type) bool {
	return t != bsoncore.TypeEmbeddedDocument && t != bsoncore.TypeArray
}

func comparison(op operator, path string, v value) (node, error) {
	n := node{op: op, path: path, operand: v}
	switch {
	case v.Type == bsoncore.TypeRegex:
		return n, errorf(codeBadValue, "regular expressions are not supported in a filter")
	case isNaN(v):
		return n, errorf(codeBadValue, "comparison with NaN is not supported")
	case op != opEq && !isScalar(v.Type):
		return n, errorf(codeBadValue, "ordering comparison with an object or array is not supported")
	}
	n.key = appendKey(nil, v)
	return n, nil
}

func membership(path string, v value) (node, error) {
	if v.Type != bsoncore.TypeArray {
		return node{}, errorf(codeBadValue, "$in needs an array")
	}
	n := node{op: opIn, path: path}
	for _, item := range elementsOf(v.Data) {
		if err := plainOperand(item); err != nil {
			return n, err
		}
		if len(n.keys) == 0 {
			n.operand = item
		}
		n.keys = append(n.keys, appendKey(nil, item))
	}
	slices.SortFunc(n.keys, bytes.Compare)
	n.keys = slices.CompactFunc(n.keys, bytes.Equal)
	return n, nil
}

// match reports whether doc satisfies the filter.
func (f *filter) match(doc document) bool {
	return f.root.match(value{Type: bsoncore.TypeEmbeddedDocument, Data: doc})
}

// match reports whether the node holds for v: a document, or an element that
// $elemMatch looks at.
func (n *node) match(v value) bool {
	switch n.op {
	case opAnd:
		return !n.anyChild(v, false)
	case opOr:
		return n.anyChild(v, true)
	case opNor:
		return !n.anyChild(v, true)
	default:
		if n.path == itself {
			return n.holds(v)
		}
		// Only values are compared with the elements of an array, too.
		return along(v.Data, n.path, n.op != opSize && n.op != opElemMatch, n.holds)
	}
}

// anyChild reports whether any child's answer is the given one.
func (n *node) anyChild(v value, answer bool) bool {
	for i := range n.children {
		if n.children[i].match(v) == answer {
			return true
		}
	}
	return false
}

// holds reports whether one value meets the condition; the zero value stands for
// a missing field.
func (n *node) holds(v value) bool {
	var buf [64]byte
	switch n.op {
	case opExists:
		return v.Type != 0
	case opSize:
		return v.Type == bsoncore.TypeArray && count(v.Data) == n.size
	case opElemMatch:
		return v.Type == bsoncore.TypeArray && n.matchElement(v.Data)
	case opIn:
		_, found := slices.BinarySearchFunc(n.keys, appendKey(buf[:0], v), bytes.Compare)
		return found
	default:
	}
	if classOf(v.Type) != n.key[0] {
		return false // comparisons stay within a type; a missing field is null
	}
	c := bytes.Compare(appendKey(buf[:0], v), n.key)
	switch n.op {
	case opGt:
		return c > 0 && !isNaN(v)
	case opGte:
		return c >= 0 && !isNaN(v)
	case opLt:
		return c < 0 && !isNaN(v)
	case opLte:
		return c <= 0 && !isNaN(v)
	default:
		return c == 0
	}
}

// matchElement reports whether one element of an array meets all conditions.
func (n *node) matchElement(array []byte) bool {
	for _, item := range elementsOf(array) {
		// A scalar has no fields to meet conditions.
		if (n.whole || !isScalar(item.Type)) && !n.anyChild(item, false) {
			return true
		}
	}
	return false
}

func count(array []byte) (n int64) {
	for range elementsOf(array) {
		n++
	}
	return n
}

// isNaN: no ordering comparison with a number holds for NaN.
func isNaN(v value) bool {
	d, ok := v.DoubleOK()
	return ok && d != d
}

// along calls f with the values that path leads to, until f returns true. A path
// that meets an array goes on in each document in it, and in the element whose
// position it names. With expand, an array at its end is taken element by
// element, and then as a whole. A missing field is the zero value; what has no
// fields lacks none.
func along(doc []byte, path string, expand bool, f func(value) bool) bool {
	v, rest, isArray := follow(doc, path)
	if isArray && rest != "" {
		return alongArray(v.Data, rest, expand, f)
	}
	if isArray && expand {
		for _, item := range elementsOf(v.Data) {
			if f(item) {
				return true
			}
		}
	}
	return f(v)
}

func alongArray(array []byte, path string, expand bool, f func(value) bool) bool {
	head, tail := splitPath(path)
	for position, item := range elementsOf(array) {
		isDocument := item.Type == bsoncore.TypeEmbeddedDocument
		found := isDocument && along(item.Data, path, expand, f)
		if !found && string(position) == head {
			switch {
			case tail == "":
				found = f(item)
			case isDocument:
				found = along(item.Data, tail, expand, f)
			case item.Type == bsoncore.TypeArray:
				found = alongArray(item.Data, tail, expand, f)
			}
		}
		if found {
			return true
		}
	}
	return false
}

// fixesID reports whether the filter's conjunction gives _id one value.
func (f *filter) fixesID() bool {
	for i := range f.root.children {
		if n := &f.root.children[i]; n.op == opEq && n.path == "_id" {
			return true
		}
	}
	return false
}
