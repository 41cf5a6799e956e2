package mongod

import (
	"bytes"
	"context"
	"slices"
	"strings"
)

// maxSortMemory bounds a sort that no index serves, in bytes.
const maxSortMemory = 32 << 20

// sortSlack is how many more documents than needed are at least collected before
// the surplus is dropped.
const sortSlack = 1000

// parseSort reads a sort document.
func parseSort(spec document) ([]keyField, error) {
	var fields []keyField
	if spec == nil {
		return nil, nil
	}
	for k, v := range elementsOf(spec) {
		path := string(k)
		dir, ok := wholeNumber(v)
		if !ok || dir != 1 && dir != -1 {
			return nil, errorf(codeBadValue, "a sort direction must be 1 or -1")
		}
		if err := checkPath(path); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(fields, func(f keyField) bool { return f.path == path }) {
			return nil, errorf(codeBadValue, "a sort names a field twice")
		}
		fields = append(fields, keyField{path: path, desc: dir < 0})
	}
	return fields, nil
}

// checkPath refuses paths with empty or $-prefixed segments.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(path, ".") {
		if segment == "" {
			return errorf(codeEmptyFieldName, "a field path has an empty segment")
		}
		if segment[0] == '$' {
			return errorf(codeBadValue, "a field path has a segment that begins with '$'")
		}
	}
	return nil
}

// sorted is a document with the key it sorts by.
type sorted struct {
	key   []byte
	order int // keeps equal keys in the order they came
	doc   document
}

func compareSorted(a, b sorted) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	return a.order - b.order
}

// sortStream reads all of src and delivers it in order. It keeps
// only the first keep documents, unless keep is 0; what it keeps must fit into
// maxSortMemory. A
// document sorts by its smallest key, as in an index.
func sortStream(ctx context.Context, src stream, fields []keyField, keep int64) (stream, error) {
	var docs []sorted
	size := 0
	for order := 0; ; order++ {
		doc, err := src.next(ctx)
		if err != nil {
			return nil, err
		}
		if doc == nil {
			break
		}
		keys, _, err := keysOf(doc, fields)
		if err != nil {
			return nil, err
		}
		docs = append(docs, sorted{key: keys[0], order: order, doc: doc})
		size += len(keys[0]) + len(doc)
		if n := int64(len(docs)); keep > 0 && n > keep && (n-keep > keep+sortSlack || size > maxSortMemory) {
			slices.SortFunc(docs, compareSorted)
			for _, surplus := range docs[keep:] {
				size -= len(surplus.key) + len(surplus.doc)
			}
			clear(docs[keep:])
			docs = docs[:keep]
		}
		if size > maxSortMemory {
			return nil, errorf(codeExceededMemoryLimit, "sort exceeded the memory limit of %d bytes; add an index", maxSortMemory)
		}
	}
	slices.SortFunc(docs, compareSorted)
	if keep > 0 && int64(len(docs)) > keep {
		docs = docs[:keep]
	}
	return &sortedStream{docs: docs}, src.close()
}

type sortedStream struct{ docs []sorted }

func (s *sortedStream) next(context.Context) (document, error) {
	if len(s.docs) == 0 {
		return nil, nil
	}
	doc := s.docs[0].doc
	s.docs = s.docs[1:]
	return doc, nil
}

func (*sortedStream) close() error { return nil }
