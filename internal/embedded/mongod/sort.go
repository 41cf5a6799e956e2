package mongod

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"strings"
)

// maxSortMemory bounds a sort that no index serves, in bytes.
const maxSortMemory = 32 << 20

// parseSort reads a sort document.
func parseSort(spec document) ([]keyField, error) {
	var fields []keyField
	if spec == nil {
		return nil, nil
	}
	for it := elementsOf(spec); ; {
		k, v, ok := it.next()
		if !ok {
			return fields, nil
		}
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

// topHeap holds the first documents so far, the last of them on top.
type topHeap struct{ docs []sorted }

func (h *topHeap) Len() int           { return len(h.docs) }
func (h *topHeap) Less(i, j int) bool { return compareSorted(h.docs[i], h.docs[j]) > 0 }
func (h *topHeap) Swap(i, j int)      { h.docs[i], h.docs[j] = h.docs[j], h.docs[i] }

// Push is for the heap package only.
func (h *topHeap) Push(x any) {
	if s, ok := x.(sorted); ok {
		h.docs = append(h.docs, s)
	}
}

// Pop is for the heap package only.
func (h *topHeap) Pop() any {
	last := len(h.docs) - 1
	s := h.docs[last]
	h.docs = h.docs[:last]
	return s
}

// sortStream reads all of src and delivers it in order. With a bound it keeps
// only the first keep documents; what it keeps must fit into maxSortMemory. A
// document sorts by its smallest key, as in an index.
func sortStream(ctx context.Context, src stream, fields []keyField, keep int64, bounded bool) (stream, error) {
	var top topHeap
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
		s := sorted{key: keys[0], order: order, doc: doc}
		if bounded && int64(len(top.docs)) == keep {
			if compareSorted(s, top.docs[0]) > 0 {
				continue
			}
			size -= len(top.docs[0].key) + len(top.docs[0].doc)
			top.docs[0] = s
			heap.Fix(&top, 0)
		} else if bounded {
			heap.Push(&top, s)
		} else {
			top.docs = append(top.docs, s)
		}
		if size += len(s.key) + len(s.doc); size > maxSortMemory {
			return nil, errorf(codeExceededMemoryLimit, "sort exceeded the memory limit of %d bytes; add an index", maxSortMemory)
		}
	}
	slices.SortFunc(top.docs, compareSorted)
	return &sortedStream{docs: top.docs}, src.close()
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
