package mongod

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// maxPoints bounds how many index ranges one filter may be spread over.
const maxPoints = 200_000

// interval is a set of values of one field, by encoded bounds.
type interval struct {
	low, high         []byte
	openLow, openHigh bool // the bound itself is not included
	point             bool // low and high are the same value
}

func pointAt(key []byte) interval { return interval{low: key, high: key, point: true} }

// edges returns the interval as a range of key bytes: [lower, upper).
func (iv *interval) edges(desc bool) (lower, upper []byte) {
	low, high, openLow, openHigh := iv.low, iv.high, iv.openLow, iv.openHigh
	lower, upper = bytes.Clone(low), bytes.Clone(high)
	if desc {
		lower, upper = upper, lower
		invert(lower)
		invert(upper)
		openLow, openHigh = openHigh, openLow
	}
	if openLow {
		lower = append(lower, rangeEnd)
	}
	if !openHigh {
		upper = append(upper, rangeEnd)
	}
	return lower, upper
}

// keyRange is a range of the store's keys: [lower, upper).
type keyRange struct{ lower, upper []byte }

// plan is how a query reads a collection.
type plan struct {
	coll   *collection
	index  *index
	ranges []keyRange // ascending, disjoint
	// points: every range is one _id, to be read without an iterator.
	points  bool
	reverse bool
	sorted  bool // documents come in the order asked for
	dedup   bool // a document may be met more than once
	bounded int  // number of index fields that the filter bounds
	exact   bool // the ranges hold what the filter selects and nothing else
}

// full reports whether the plan reads every key of the collection or index.
func (p *plan) full() bool { return p.bounded == 0 }

// makePlan chooses the index that the filter bounds best and that, if possible,
// delivers the documents in the order of sort.
func makePlan(c *collection, f *filter, sort []keyField) *plan {
	conj, or := conjunction(nil, f.root.children)
	best, bestScore := (*plan)(nil), -1
	for _, ix := range append([]*index{c.id}, c.indexes...) {
		p, score := planIndex(c, ix, conj, or, sort)
		if score > bestScore {
			best, bestScore = p, score
		}
	}
	return best
}

// conjunction flattens nested $and and separates the first $or.
func conjunction(conj, nodes []node) ([]node, *node) {
	var or *node
	for i := range nodes {
		n := &nodes[i]
		switch n.op {
		case opAnd:
			var inner *node
			if conj, inner = conjunction(conj, n.children); or == nil {
				or = inner
			}
		case opOr:
			if or == nil {
				or = n
			}
		default:
			conj = append(conj, *n)
		}
	}
	return conj, or
}

// planIndex returns the plan over ix and how good it is.
func planIndex(c *collection, ix *index, conj []node, or *node, sort []keyField) (*plan, int) {
	b := boundsOf(ix, conj)
	p := &plan{coll: c, index: ix, ranges: b.ranges, bounded: b.bounded}
	score := 10*b.fixed + 6*(b.pointed-b.fixed) + 4*(b.bounded-b.pointed)
	if or != nil {
		if ranges, bounded := orBounds(ix, conj, or); bounded > b.bounded {
			p.ranges, p.bounded = ranges, bounded
			score += 4
		}
	}
	switch {
	case ix.isRecords(c) && b.pointed == 1:
		p.points = true
		score += 1000
	case ix.isRecords(c) && b.closed: // a slice of ids is narrower than what they share
		score += 20
	}
	multikey := ix.multikey.Load()
	p.exact = multikey == 0 && or == nil && decides(ix.fields[:b.bounded], conj)
	p.dedup = multikey>>b.fixed != 0
	p.sorted, p.reverse = inOrder(ix, multikey, b.fixed, sort)
	if p.sorted && len(sort) > 0 {
		score += 5
	}
	if ix.isRecords(c) && p.bounded == 0 && len(sort) == 0 {
		score++ // a plain scan of the documents beats one of an index
	}
	return p, score
}

// bounds is what a conjunction says about the leading fields of an index.
type bounds struct {
	ranges  []keyRange
	fixed   int  // leading fields with exactly one value
	pointed int  // leading fields with a list of values
	bounded int  // pointed, and one more if it has a range
	closed  bool // that range has both ends
}

func boundsOf(ix *index, conj []node) bounds {
	prefixes := [][]byte{ix.prefix()}
	multikey := ix.multikey.Load()
	var b bounds
	for i, field := range ix.fields {
		if bit := uint64(1) << i; multikey&bit != 0 && multikey&(bit-1) != 0 {
			break // two conditions on one array may be met by different elements
		}
		ivs := intervals(conj, field.path, multikey&(1<<i) != 0)
		if len(ivs) == 0 && ivs != nil {
			return bounds{fixed: i + 1, pointed: i + 1, bounded: i + 1} // nothing can match
		}
		if ivs == nil || len(prefixes)*len(ivs) > maxPoints {
			break
		}
		b.bounded++
		if !ivs[0].point {
			b.closed = len(ivs[0].low) > 1 && len(ivs[0].high) > 1 // not just the ends of a type
			lower, upper := ivs[0].edges(field.desc)
			for _, p := range prefixes {
				b.ranges = append(b.ranges, keyRange{lower: slices.Concat(p, lower), upper: slices.Concat(p, upper)})
			}
			return sortRanges(b)
		}
		b.pointed++
		if len(ivs) == 1 && b.fixed == i {
			b.fixed++
		}
		next := make([][]byte, 0, len(prefixes)*len(ivs))
		for _, p := range prefixes {
			for _, iv := range ivs {
				key := slices.Concat(p, iv.low)
				if field.desc {
					invert(key[len(p):])
				}
				next = append(next, key)
			}
		}
		prefixes = next
	}
	for _, p := range prefixes {
		b.ranges = append(b.ranges, keyRange{lower: p, upper: append(bytes.Clone(p), rangeEnd)})
	}
	return sortRanges(b)
}

func sortRanges(b bounds) bounds {
	b.ranges = mergeRanges(b.ranges)
	return b
}

// decides reports whether the bounds of the fields say all that the conjunction
// does, so that no document need be read to tell.
func decides(fields []keyField, conj []node) bool {
	for i := range conj {
		n := &conj[i]
		if !slices.ContainsFunc(fields, func(f keyField) bool { return f.path == n.path }) {
			return false
		}
		switch n.op {
		case opEq, opIn, opGt, opGte:
		case opLt, opLte:
			if n.key[0] == classNumber {
				return false // NaN sorts below, but is not less
			}
		default:
			return false
		}
		isRange := n.op != opEq && n.op != opIn
		for j := range conj[:i] {
			// A range counts with other ranges; a list of values alone.
			if other := &conj[j]; other.path == n.path && (!isRange || other.op == opEq || other.op == opIn) {
				return false
			}
		}
	}
	return true
}

// mergeRanges sorts ranges, drops empty ones and joins those that overlap.
func mergeRanges(ranges []keyRange) []keyRange {
	slices.SortFunc(ranges, func(a, b keyRange) int { return bytes.Compare(a.lower, b.lower) })
	out := ranges[:0]
	for _, r := range ranges {
		if bytes.Compare(r.lower, r.upper) >= 0 {
			continue
		}
		if last := len(out) - 1; last >= 0 && bytes.Compare(r.lower, out[last].upper) <= 0 {
			if bytes.Compare(r.upper, out[last].upper) > 0 {
				out[last].upper = r.upper
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// orBounds is the union of the bounds of the branches of an $or, each joined
// with the conjunction around it. A page after (createdAt, _id), written as
// createdAt < t or createdAt = t and _id < id, becomes one or two ranges.
func orBounds(ix *index, conj []node, or *node) (ranges []keyRange, bounded int) {
	bounded = len(ix.fields) + 1
	for i := range or.children {
		branch, _ := conjunction(slices.Clone(conj), or.children[i].children)
		b := boundsOf(ix, branch)
		bounded = min(bounded, b.bounded)
		ranges = append(ranges, b.ranges...)
		if len(ranges) > maxPoints {
			return nil, 0
		}
	}
	return mergeRanges(ranges), bounded
}

// intervals returns the values that the conjunction allows at path: nil if it
// says nothing, points, or one range. On a field that holds arrays only one
// condition counts: two may be met by different elements.
func intervals(conj []node, path string, multikey bool) []interval {
	var list *node
	var span *interval
	for i := range conj {
		n := &conj[i]
		if n.path != path || !n.inIndex(multikey) {
			continue
		}
		switch n.op {
		case opEq:
			return []interval{pointAt(n.key)}
		case opIn:
			list = n
		case opGt, opGte, opLt, opLte:
			iv := intervalOf(n)
			switch {
			case span == nil:
				span = &iv
			case !multikey:
				span.intersect(&iv)
			}
		default:
		}
	}
	if list != nil {
		points := make([]interval, len(list.keys))
		for i, key := range list.keys {
			points[i] = pointAt(key)
		}
		return points
	}
	if span != nil {
		return []interval{*span}
	}
	return nil
}

// inIndex reports whether an index finds all that the comparison does: it holds
// the elements of an array, not the array, and not what some of them lack.
func (n *node) inIndex(multikey bool) bool {
	unfit := func(key []byte) bool { return key[0] == classArray || key[0] == classNull && multikey }
	return !slices.ContainsFunc(n.keys, unfit) && (n.key == nil || !unfit(n.key))
}

// intervalOf returns the values of the operand's type that a comparison allows.
func intervalOf(n *node) interval {
	class := n.key[0]
	iv := interval{low: []byte{class - 1}, openLow: true, high: []byte{class + 1}, openHigh: true}
	if n.op == opGt || n.op == opGte {
		iv.low, iv.openLow = n.key, n.op == opGt
	} else {
		iv.high, iv.openHigh = n.key, n.op == opLt
	}
	return iv
}

func (iv *interval) intersect(other *interval) {
	if c := bytes.Compare(other.low, iv.low); c > 0 || c == 0 && other.openLow {
		iv.low, iv.openLow = other.low, other.openLow
	}
	if c := bytes.Compare(other.high, iv.high); c < 0 || c == 0 && other.openHigh {
		iv.high, iv.openHigh = other.high, other.openHigh
	}
}

// inOrder reports whether the entries of ix come in the order of sort, forwards
// or in reverse, when the first fixed fields have one value each.
func inOrder(ix *index, multikey uint64, fixed int, sort []keyField) (ok, reverse bool) {
	i, decided := 0, false
	for _, s := range sort {
		if j := slices.IndexFunc(ix.fields[:fixed], func(f keyField) bool { return f.path == s.path }); j >= 0 && multikey&(1<<j) == 0 {
			continue // constant
		}
		i = max(i, fixed)
		var desc bool
		switch {
		case i < len(ix.fields) && ix.fields[i].path == s.path && multikey&(1<<i) == 0:
			desc = ix.fields[i].desc
		case i == len(ix.fields) && s.path == "_id": // every entry ends in its _id
			desc = false
		default:
			return false, false
		}
		if decided && reverse != (desc != s.desc) {
			return false, false
		}
		reverse, decided = desc != s.desc, true
		i++
		if s.path == "_id" {
			break // unique: nothing after it matters
		}
	}
	return true, reverse
}

// scan delivers the documents of a plan that match the filter.
type scan struct {
	view   *view
	plan   *plan
	filter *filter

	it   *iterator
	seen map[string]struct{}
	at   int
	open bool // the iterator stands in the current range

	borrowed bool // key and document belong to the iterator

	keysExamined, docsExamined int64
}

func newScan(v *view, p *plan, f *filter) *scan {
	sc := &scan{view: v, plan: p, filter: f}
	if p.dedup {
		sc.seen = map[string]struct{}{}
	}
	return sc
}

// next returns the next document and its key; both are the caller's. The
// document is nil at the end.
func (sc *scan) next(ctx context.Context) (key []byte, doc document, err error) {
	for {
		if sc.keysExamined%128 == 0 && ctx.Err() != nil {
			return nil, nil, ctxError(ctx)
		}
		key, doc, err := sc.step()
		if err != nil || key == nil {
			return nil, nil, err
		}
		if doc == nil {
			continue
		}
		sc.docsExamined++
		if !sc.filter.match(doc) {
			continue
		}
		if sc.borrowed {
			return bytes.Clone(key), bytes.Clone(doc), nil
		}
		return key, doc, nil
	}
}

// step moves to the next entry. The key is nil at the end; the document is nil
// when the entry is to be passed over.
func (sc *scan) step() (key []byte, doc document, err error) {
	if sc.plan.points {
		return sc.stepPoint()
	}
	if ok, err := sc.advance(); !ok || err != nil {
		return nil, nil, err
	}
	sc.keysExamined++
	key = sc.it.key()
	val, err := sc.it.value()
	if err != nil {
		return nil, nil, err
	}
	if sc.plan.index.isRecords(sc.plan.coll) {
		sc.borrowed = true
		return key, val[writeNumberLen:], nil
	}
	offset, err := entryOffset(key, val)
	if err != nil {
		return nil, nil, err
	}
	record := append(sc.plan.coll.id.prefix(), key[offset:]...)
	if sc.seen != nil {
		if _, ok := sc.seen[string(record)]; ok {
			return record, nil, nil
		}
		sc.seen[string(record)] = struct{}{}
	}
	val, err = sc.view.get(record)
	if err != nil {
		return nil, nil, err
	}
	if val == nil {
		return nil, nil, errors.New("read index: entry without its document")
	}
	return record, val[writeNumberLen:], nil
}

func (sc *scan) stepPoint() (key []byte, doc document, err error) {
	if sc.at == len(sc.plan.ranges) {
		return nil, nil, nil
	}
	key = sc.currentRange().lower
	sc.at++
	sc.keysExamined++
	val, err := sc.view.get(key)
	if err != nil || val == nil {
		return key, nil, err
	}
	return key, val[writeNumberLen:], nil
}

func (sc *scan) currentRange() keyRange {
	if sc.plan.reverse {
		return sc.plan.ranges[len(sc.plan.ranges)-1-sc.at]
	}
	return sc.plan.ranges[sc.at]
}

// advance moves the iterator over the ranges.
func (sc *scan) advance() (bool, error) {
	if sc.it == nil {
		it, err := sc.view.newIterator(sc.plan.reverse)
		if err != nil {
			return false, err
		}
		sc.it = it
	}
	for sc.at < len(sc.plan.ranges) {
		if !sc.open {
			r := sc.currentRange()
			sc.it.seek(r.lower, r.upper)
			sc.open = true
		}
		if sc.it.next() {
			return true, nil
		}
		if err := sc.it.err(); err != nil {
			return false, err
		}
		sc.at++
		sc.open = false
	}
	return false, nil
}

// count counts the entries of an exact plan, at most limit of them (0: all),
// without reading documents.
func (sc *scan) count(ctx context.Context, limit int64) (n int64, err error) {
	for limit == 0 || n < limit {
		if n%1024 == 0 && ctx.Err() != nil {
			return n, ctxError(ctx)
		}
		if ok, err := sc.advance(); !ok || err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (sc *scan) close() error {
	if sc.it == nil {
		return nil
	}
	return sc.it.Close()
}
