package mongod

import (
	"strconv"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// projection is a list of paths to keep or to leave out. It works on the stored
// bytes; values are not decoded, and arrays of documents are projected element by
// element, which lungo's projection does not do.
type projection struct {
	include bool
	paths   *pathTree
}

// pathTree is a set of dotted paths; a leaf has no children.
type pathTree struct{ children map[string]*pathTree }

func (t *pathTree) add(path string) error {
	head, rest := splitPath(path)
	child, ok := t.children[head]
	if ok && (rest == "" || len(child.children) == 0) {
		return errorf(codePathCollision, "path collision at %s", path)
	}
	if !ok {
		child = &pathTree{children: map[string]*pathTree{}}
		t.children[head] = child
	}
	if rest == "" {
		return nil
	}
	return child.add(rest)
}

// parseProjection reads a projection of plain inclusions or exclusions; every
// operator and expression is refused.
func parseProjection(spec document) (*projection, error) {
	p := &projection{paths: &pathTree{children: map[string]*pathTree{}}}
	decided, id, idGiven := false, true, false
	for k, v := range elementsOf(spec) {
		path := string(k)
		_, isNumber := v.AsFloat64OK()
		if _, isBool := v.BooleanOK(); !isNumber && !isBool {
			return nil, errorf(codeBadValue, "only 1, 0, true and false are supported in a projection")
		}
		if err := checkPath(path); err != nil {
			return nil, err
		}
		keep := isTrue(v)
		if path == "_id" {
			id, idGiven = keep, true
			continue
		}
		if decided && keep != p.include {
			return nil, errorf(codeMixedProjection, "cannot mix inclusion and exclusion in a projection")
		}
		p.include, decided = keep, true
		if err := p.paths.add(path); err != nil {
			return nil, err
		}
	}
	if !decided {
		if !idGiven {
			return nil, nil //nolint:nilnil // an empty projection is none
		}
		p.include = id
	}
	if _, nested := p.paths.children["_id"]; id == p.include && !nested {
		p.paths.children["_id"] = &pathTree{}
	}
	return p, nil
}

func (p *projection) apply(doc document) (document, error) {
	return p.project(make([]byte, 0, len(doc)), doc, p.paths), nil
}

func (p *projection) project(dst, doc []byte, tree *pathTree) []byte {
	start, dst := bsoncore.ReserveLength(dst)
	for k, v := range elementsOf(doc) {
		child, named := tree.children[string(k)]
		switch {
		case !named:
			if !p.include {
				dst = bsoncore.AppendValueElement(dst, string(k), v)
			}
		case len(child.children) == 0:
			if p.include {
				dst = bsoncore.AppendValueElement(dst, string(k), v)
			}
		case v.Type == bsoncore.TypeEmbeddedDocument:
			dst = p.project(bsoncore.AppendHeader(dst, v.Type, string(k)), v.Data, child)
		case v.Type == bsoncore.TypeArray:
			dst = p.projectArray(bsoncore.AppendHeader(dst, v.Type, string(k)), v.Data, child)
		case !p.include:
			dst = bsoncore.AppendValueElement(dst, string(k), v)
		}
	}
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start) //nolint:gosec // at most the size of doc
}

// projectArray projects the documents in an array; other elements stay out of an
// inclusion.
func (p *projection) projectArray(dst, array []byte, tree *pathTree) []byte {
	start, dst := bsoncore.ReserveLength(dst)
	n := 0
	for _, v := range elementsOf(array) {
		switch {
		case v.Type == bsoncore.TypeEmbeddedDocument:
			dst = p.project(bsoncore.AppendHeader(dst, v.Type, strconv.Itoa(n)), v.Data, tree)
		case v.Type == bsoncore.TypeArray:
			dst = p.projectArray(bsoncore.AppendHeader(dst, v.Type, strconv.Itoa(n)), v.Data, tree)
		case p.include:
			continue
		default:
			dst = bsoncore.AppendValueElement(dst, strconv.Itoa(n), v)
		}
		n++
	}
	dst = append(dst, 0)
	return bsoncore.UpdateLength(dst, start, int32(len(dst))-start) //nolint:gosec // at most the size of the array
}
