package mongod

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// filter is a parsed query. Its meaning is lungo's; what can be told from the
// stored bytes alone (comparisons with plain values, which is nearly every
// query) is decided without decoding the document.
type filter struct {
	root node
	raw  document
	doc  *bson.D // raw as lungo reads it, once it is needed
}

// node is a part of a filter.
type node struct {
	op       operator
	children []node // of and, or, nor
	path     string
	key      []byte   // encoded operand of a comparison
	keys     [][]byte // encoded operands of in, sorted
	operand  value
}

type operator byte

const (
	opAnd operator = iota
	opOr
	opNor
	opEq
	opNe
	opGt
	opGte
	opLt
	opLte
	opIn
	opNin
	opExists
	opLungo // only lungo can decide
)

// truth is the answer to a filter; unsure means that lungo must be asked.
type truth byte

const (
	no truth = iota
	yes
	unsure
)

// parseFilter checks a query and prepares it. Operators and operands outside of
// what is implemented exactly are refused.
func parseFilter(doc document) (*filter, error) {
	if len(doc) == 0 {
		return &filter{}, nil
	}
	children, err := parseConjunction(doc)
	if err != nil {
		return nil, err
	}
	return &filter{root: node{op: opAnd, children: children}, raw: doc}, nil
}

func parseConjunction(doc document) ([]node, error) {
	var nodes []node
	for k, v := range elementsOf(doc) {
		key := string(k)
		if key == "$comment" {
			return nil, errorf(codeBadValue, "$comment within a filter is not supported")
		}
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
	var nodes []node
	for k, operand := range elementsOf(v.Data) {
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
	asIs := node{op: opLungo, path: path}
	switch name {
	case "$eq":
		return comparison(opEq, path, v)
	case "$ne":
		return comparison(opNe, path, v)
	case "$gt":
		return comparison(opGt, path, v)
	case "$gte":
		return comparison(opGte, path, v)
	case "$lt":
		return comparison(opLt, path, v)
	case "$lte":
		return comparison(opLte, path, v)
	case "$in":
		return membership(opIn, path, v)
	case "$nin":
		return membership(opNin, path, v)
	case "$exists":
		return node{op: opExists, path: path, operand: v}, nil
	case "$not":
		if !isOperatorDocument(v) {
			return node{}, errorf(codeBadValue, "$not needs a document of operators; a regular expression is not supported")
		}
		_, err := parseField(path, v)
		return asIs, err
	case "$size":
		if n, ok := wholeNumber(v); !ok || n < 0 {
			return node{}, errorf(codeFailedToParse, "$size needs a whole number that is not negative")
		}
		return asIs, nil
	case "$all":
		if v.Type != bsoncore.TypeArray {
			return node{}, errorf(codeBadValue, "$all needs an array")
		}
		return asIs, plainOperands(v)
	case "$elemMatch":
		return asIs, checkElemMatch(v)
	default:
		return node{}, errorf(codeBadValue, "unknown operator: %s", name)
	}
}

// checkElemMatch allows what lungo evaluates as MongoDB does: operators on the
// element, or conditions on its fields.
func checkElemMatch(v value) error {
	if v.Type != bsoncore.TypeEmbeddedDocument {
		return errorf(codeBadValue, "$elemMatch needs an object")
	}
	if isOperatorDocument(v) {
		for k, operand := range elementsOf(v.Data) {
			if _, err := parseOperator("item", string(k), operand); err != nil {
				return err
			}
		}
		return nil
	}
	for k, operand := range elementsOf(v.Data) {
		if bytes.HasPrefix(k, []byte("$")) {
			return errorf(codeBadValue, "%s within $elemMatch is not supported", k)
		}
		if _, err := parseField(string(k), operand); err != nil {
			return err
		}
	}
	return nil
}

// plainOperands refuses operands that MongoDB reads as more than a value.
func plainOperands(array value) error {
	for _, v := range elementsOf(array.Data) {
		if v.Type == bsoncore.TypeRegex {
			return errorf(codeBadValue, "regular expressions are not supported in a filter")
		}
		if isOperatorDocument(v) {
			return errorf(codeBadValue, "operators within an array of operands are not supported")
		}
	}
	return nil
}

func isScalar(t bsoncore.Type) bool {
	return t != bsoncore.TypeEmbeddedDocument && t != bsoncore.TypeArray && t != bsoncore.TypeNull
}

func comparison(op operator, path string, v value) (node, error) {
	if v.Type == bsoncore.TypeRegex {
		return node{}, errorf(codeBadValue, "regular expressions are not supported in a filter")
	}
	if isScalar(v.Type) {
		if d, ok := v.DoubleOK(); ok && d != d {
			return node{}, errorf(codeBadValue, "comparison with NaN is not supported")
		}
		return node{op: op, path: path, key: appendKey(nil, v), operand: v}, nil
	}
	switch {
	case v.Type == bsoncore.TypeNull && (op == opEq || op == opNe):
		return node{op: op, path: path, key: []byte{classNull}, operand: v}, nil
	case v.Type != bsoncore.TypeNull && op != opEq && op != opNe:
		return node{}, errorf(codeBadValue, "ordering comparison with an object or array is not supported")
	}
	return node{op: opLungo, path: path, operand: v}, nil
}

func membership(op operator, path string, v value) (node, error) {
	if v.Type != bsoncore.TypeArray {
		return node{}, errorf(codeBadValue, "$in needs an array")
	}
	if err := plainOperands(v); err != nil {
		return node{}, err
	}
	n := node{op: op, path: path, operand: v}
	for _, item := range elementsOf(v.Data) {
		if !isScalar(item.Type) {
			return node{op: opLungo, path: path}, nil
		}
		n.keys = append(n.keys, appendKey(nil, item))
	}
	slices.SortFunc(n.keys, bytes.Compare)
	n.keys = slices.CompactFunc(n.keys, bytes.Equal)
	return n, nil
}

// match reports whether doc satisfies the filter.
func (f *filter) match(doc document) (bool, error) {
	switch f.root.eval(doc) {
	case yes:
		return true, nil
	case no:
		return false, nil
	default:
		return f.matchDecoded(decode(doc))
	}
}

// decoded returns the filter as lungo reads it.
func (f *filter) decoded() *bson.D {
	if f.doc == nil {
		f.doc = decode(f.raw)
	}
	return f.doc
}

func (f *filter) matchDecoded(doc *bson.D) (bool, error) {
	ok, err := mongokit.Match(doc, f.decoded())
	if err != nil {
		return false, &commandError{code: codeBadValue, msg: fmt.Sprintf("filter: %v", err)}
	}
	return ok, nil
}

func (n *node) eval(doc document) truth {
	switch n.op {
	case opAnd:
		result := yes
		for i := range n.children {
			switch n.children[i].eval(doc) {
			case no:
				return no
			case unsure:
				result = unsure
			case yes:
			}
		}
		return result
	case opOr, opNor:
		result := no
		for i := range n.children {
			switch n.children[i].eval(doc) {
			case yes:
				return negate(yes, n.op == opNor)
			case unsure:
				result = unsure
			case no:
			}
		}
		return negate(result, n.op == opNor)
	case opLungo:
		return unsure
	default:
		return n.evalLeaf(doc)
	}
}

func negate(t truth, really bool) truth {
	if !really || t == unsure {
		return t
	}
	return yes - t
}

func (n *node) evalLeaf(doc document) truth {
	v, rest, isArray := follow(doc, n.path)
	if isArray && rest != "" {
		return unsure
	}
	switch n.op {
	case opExists:
		// follow returns the zero value for a missing field only.
		return negate(asTruth(v.Type != 0), !isTrue(n.operand))
	case opNe, opNin:
		return negate(n.evalValue(v, isArray), true)
	default:
		return n.evalValue(v, isArray)
	}
}

func asTruth(b bool) truth {
	if b {
		return yes
	}
	return no
}

// evalValue tests the value, or any element of an array of plain values. A
// plain operand never equals an array as a whole.
func (n *node) evalValue(v value, isArray bool) truth {
	var buf [64]byte
	if !isArray {
		return asTruth(n.holds(v, buf[:0]))
	}
	for _, item := range elementsOf(v.Data) {
		if n.holds(item, buf[:0]) {
			return yes
		}
	}
	return no
}

func (n *node) holds(v value, buf []byte) bool {
	if n.op == opIn || n.op == opNin {
		if !isScalar(v.Type) || v.Type == 0 {
			return false
		}
		_, found := slices.BinarySearchFunc(n.keys, appendKey(buf, v), bytes.Compare)
		return found
	}
	if classOf(v.Type) != n.key[0] {
		return false // comparisons stay within a type; a missing field is null
	}
	c := bytes.Compare(appendKey(buf, v), n.key)
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

// isNaN: no ordering comparison with a number holds for NaN.
func isNaN(v value) bool {
	d, ok := v.DoubleOK()
	return ok && d != d
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
