package conformance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// model is a naive document store: a map of documents, a full copy of it for each
// transaction, and a lock for each key that an open transaction has written.
type model struct {
	unique  bool // u is
	docs    map[int32]bson.D
	changed map[string]int // when a key was last committed
	locks   map[string]int // the client whose open transaction wrote a key
	now     int
	txns    [clients]*modelTxn
}

// modelTxn is an open transaction. Its snapshot is taken by its first step.
type modelTxn struct {
	docs  map[int32]bson.D
	since int
	wrote map[int32]bool
}

// missing is the value of a field that is not there.
type missing struct{}

func newModel(p program) *model {
	m := &model{docs: map[int32]bson.D{}, changed: map[string]int{}, locks: map[string]int{}}
	for _, key := range p.Indexes {
		m.unique = m.unique || key[0].Key == "u"
	}
	return m
}

// expected is what a step may give.
type expected struct {
	skip  bool  // the step has no meaning here, or would wait for a transaction
	value any   // if it succeeds
	codes []int // it may fail so; 0 stands for success
	apply func()
}

func (e expected) allows(got answer) bool {
	if !slices.Contains(e.codes, got.code) {
		return false
	}
	return got.code != 0 || same("", got.value, normal(e.value)) == nil
}

func succeeds(value any) expected { return expected{value: value, codes: []int{0}} }

func failsWith(codes ...int) expected { return expected{codes: codes} }

// expect says what the step gives; settle then makes it so.
func (m *model) expect(st step) expected {
	t := m.txns[st.Client]
	switch st.Kind {
	case "begin":
		return expected{skip: t != nil, codes: []int{0}, apply: func() { m.txns[st.Client] = &modelTxn{} }}
	case "commit", "abort":
		return expected{skip: t == nil || t.docs == nil, codes: []int{0}, apply: func() { m.end(st.Client, st.Kind == "commit") }}
	}
	docs := m.docs
	if t != nil {
		first := t.docs == nil
		if first {
			t.docs, t.since, t.wrote = maps.Clone(m.docs), m.now, map[int32]bool{}
		}
		docs = t.docs
		if st.writes() {
			e := m.write(st, docs)
			if first && e.skip {
				t.docs = nil // not begun
			}
			return e
		}
	}
	if st.writes() {
		return m.write(st, docs)
	}
	return succeeds(read(st, docs))
}

// settle follows what has happened.
func (m *model) settle(st step, e expected, got answer) {
	switch {
	case got.code != 0 && m.txns[st.Client] != nil:
		m.end(st.Client, false) // an error ends its transaction
	case got.code == 0 && e.apply != nil:
		e.apply()
	}
}

func (m *model) end(client int, commit bool) {
	t := m.txns[client]
	m.txns[client] = nil
	for key, owner := range m.locks {
		if owner == client {
			delete(m.locks, key)
			if commit {
				m.changed[key] = m.now + 1
			}
		}
	}
	m.now++
	if !commit || t.docs == nil {
		return
	}
	for id := range t.wrote {
		if item, ok := t.docs[id]; ok {
			m.docs[id] = item
		} else {
			delete(m.docs, id)
		}
	}
}

// change is one document that a write replaces, inserts or deletes.
type change struct {
	id            int32
	before, after bson.D // nil: not there
}

func (m *model) write(st step, docs map[int32]bson.D) expected {
	var changes []change
	value, code := evaluate(st, docs, &changes)
	if code == undecided {
		return expected{skip: true}
	}
	inTxn := m.txns[st.Client] != nil
	var codes []int
	held := maps.Clone(docs) // with the changes so far
	for _, c := range changes {
		if inTxn && same("", c.before, c.after) == nil {
			return expected{skip: true} // whether this is a conflict is left open
		}
		keys := []string{fmt.Sprint("id ", c.id)}
		if m.stale(st.Client, keys[0]) {
			codes = append(codes, 112)
			if c.before == nil || code == 11000 {
				codes = append(codes, 0, 11000)
			}
		}
		if m.unique {
			old, taken := uniqueKey(c.before), uniqueKey(c.after)
			if old != taken {
				keys = append(keys, old, taken)
				for id, other := range held {
					if id != c.id && c.after != nil && uniqueKey(other) == taken {
						code = cmp.Or(code, 11000)
					}
				}
				if m.stale(st.Client, taken) {
					codes = append(codes, 0, 112, 11000)
				}
			}
		}
		for _, key := range keys {
			if owner, locked := m.locks[key]; locked && owner != st.Client && key != "" {
				if !inTxn {
					return expected{skip: true} // it would wait
				}
				return failsWith(112, 11000)
			}
		}
		if c.after == nil {
			delete(held, c.id)
		} else {
			held[c.id] = c.after
		}
	}
	if code != 0 && len(codes) == 0 {
		if code == 11000 && st.Kind == "updateMany" {
			return expected{skip: true}
		}
		return failsWith(alike(code)...)
	}
	if len(codes) == 0 {
		codes = []int{0}
	}
	if code != 0 {
		codes = slices.DeleteFunc(append(codes, code), func(c int) bool { return c == 0 })
	}
	return expected{value: value, codes: codes, apply: func() { m.apply(st.Client, docs, changes) }}
}

// stale reports whether somebody else has committed a key since the client's open
// transaction began.
func (m *model) stale(client int, key string) bool {
	t := m.txns[client]
	owner, locked := m.locks[key]
	return t != nil && m.changed[key] > t.since && (!locked || owner != client)
}

// alike returns the codes that stand for one kind of failure: MongoDB has 14 and 9
// for $pop where the engine has 2, which the cases list.
func alike(code int) []int {
	if code == 14 {
		return []int{14, 2}
	}
	return []int{code}
}

func (m *model) apply(client int, docs map[int32]bson.D, changes []change) {
	t := m.txns[client]
	m.now++
	for _, c := range changes {
		if c.after == nil {
			delete(docs, c.id)
		} else {
			docs[c.id] = c.after
		}
		keys := []string{fmt.Sprint("id ", c.id)}
		if old, taken := uniqueKey(c.before), uniqueKey(c.after); old != taken {
			keys = append(keys, old, taken)
		}
		for _, key := range keys {
			if key == "" || same("", c.before, c.after) == nil {
				continue
			}
			if t != nil {
				m.locks[key] = client
			} else {
				m.changed[key] = m.now
			}
		}
		if t != nil {
			t.wrote[c.id] = true
		}
	}
}

func uniqueKey(item bson.D) string {
	if item == nil {
		return ""
	}
	v, _ := get(item, "u")
	return "u " + fmt.Sprint(v)
}

// evaluate says what a write gives and which documents it changes.
func evaluate(st step, docs map[int32]bson.D, changes *[]change) (value any, code int) {
	if st.Kind == "insert" {
		id, _ := st.Doc[0].Value.(int32)
		if _, there := docs[id]; there {
			*changes = append(*changes, change{id: id, after: st.Doc})
			return nil, 11000
		}
		*changes = append(*changes, change{id: id, after: st.Doc})
		return nil, 0
	}
	matched := selected(st, docs)
	switch st.Kind {
	case "delete", "deleteMany":
		for _, item := range matched {
			*changes = append(*changes, change{id: idOf(item), before: item})
		}
		return int64(len(matched)), 0
	case "modify":
		return evaluateModify(st, matched, changes)
	}
	modified := int64(0)
	for _, item := range matched {
		after, code := applyUpdate(item, st.Doc)
		if code != 0 {
			*changes = append(*changes, change{id: idOf(item), before: item})
			return nil, code
		}
		if same("", item, after) != nil {
			modified++
		}
		*changes = append(*changes, change{id: idOf(item), before: item, after: after})
	}
	if len(matched) > 0 || !st.Upsert {
		return bson.A{int64(len(matched)), modified, int64(0)}, 0
	}
	return evaluateUpsert(st, docs, changes)
}

func evaluateModify(st step, matched []bson.D, changes *[]change) (any, int) {
	if len(matched) == 0 {
		return nil, 0
	}
	before := matched[0]
	if st.Remove {
		*changes = append(*changes, change{id: idOf(before), before: before})
		return before, 0
	}
	after, code := applyUpdate(before, st.Doc)
	*changes = append(*changes, change{id: idOf(before), before: before, after: after})
	if st.New {
		return after, code
	}
	return before, code
}

// undecided is the code of what the model does not decide.
const undecided = -1

// evaluateUpsert inserts what the filter says for certain, with the update on top.
func evaluateUpsert(st step, docs map[int32]bson.D, changes *[]change) (any, int) {
	base := bson.D{}
	for _, e := range st.Filter {
		v := e.Value
		if ops, ok := v.(bson.D); ok {
			values, _ := ops[0].Value.(bson.A)
			if ops[0].Key == "$all" && len(values) > 1 {
				return nil, 54
			}
			if (ops[0].Key != "$in" && ops[0].Key != "$all") || len(values) != 1 {
				continue
			}
			v = values[0]
		}
		if e.Key == "_id" && len(base) > 0 {
			return nil, undecided // a second condition on _id
		}
		var code int
		if base, code = setPath(base, e.Key, v); code != 0 {
			return nil, code
		}
	}
	after, code := applyUpdate(base, st.Doc)
	if code != 0 {
		return nil, code
	}
	id := idOf(after)
	*changes = append(*changes, change{id: id, after: after})
	if _, there := docs[id]; there {
		return nil, 11000
	}
	return bson.A{int64(0), int64(0), int64(1)}, 0
}

// selected returns the documents that a step works on, in its order.
func selected(st step, docs map[int32]bson.D) []bson.D {
	var out []bson.D
	for _, id := range slices.Sorted(maps.Keys(docs)) {
		if matches(docs[id], st.Filter) {
			out = append(out, docs[id])
		}
	}
	slices.SortStableFunc(out, func(x, y bson.D) int {
		for _, by := range st.Sort {
			direction, _ := by.Value.(int32)
			if c := compareValues(sortValue(x, by.Key, direction), sortValue(y, by.Key, direction)); c != 0 {
				return c * int(direction)
			}
		}
		return 0
	})
	out = out[min(int(st.Skip), len(out)):]
	if st.Limit > 0 {
		out = out[:min(int(st.Limit), len(out))]
	}
	return out
}

func read(st step, docs map[int32]bson.D) any {
	found := selected(st, docs)
	switch st.Kind {
	case "count":
		return int64(len(found))
	case "distinct":
		return distinct(found, st.Field)
	case "group":
		return group(found)
	default:
		out := bson.A{}
		for _, item := range found {
			out = append(out, item)
		}
		return out
	}
}

func distinct(found []bson.D, path string) bson.A {
	seen := map[string]any{}
	for _, item := range found {
		for _, leaf := range leaves(item, strings.Split(path, ".")) {
			values, isArray := leaf.(bson.A)
			if !isArray {
				values = bson.A{leaf}
			}
			for _, v := range values {
				if _, none := v.(missing); !none {
					seen[show(number(v))] = number(v)
				}
			}
		}
	}
	out := bson.A{}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, seen[key])
	}
	return out
}

func group(found []bson.D) bson.A {
	if len(found) == 0 {
		return bson.A{}
	}
	var sum any = int32(0)
	var lo, hi any
	for _, item := range found {
		if n, ok := get(item, "n"); ok {
			sum = arithmetic(sum, n, false)
		}
		b, _ := get(item, "b")
		if b == nil {
			continue
		}
		if lo == nil || compareValues(b, lo) < 0 {
			lo = b
		}
		if hi == nil || compareValues(b, hi) > 0 {
			hi = b
		}
	}
	// Of equal numbers of several types any may be the least: none of the
	// documents' values are, but for 2.
	return bson.A{d("_id", nil, "count", int32(len(found)), "sum", sum, "lo", lo, "hi", hi)}
}

func idOf(item bson.D) int32 {
	v, _ := get(item, "_id")
	id, _ := v.(int32)
	return id
}

func get(item bson.D, key string) (any, bool) {
	for _, e := range item {
		if e.Key == key {
			return e.Value, true
		}
	}
	return nil, false
}

// leaves returns what a path leads to; arrays of documents lead to one value for
// each of them.
func leaves(v any, path []string) bson.A {
	if len(path) == 0 {
		return bson.A{v}
	}
	switch x := v.(type) {
	case bson.D:
		inner, ok := get(x, path[0])
		if !ok {
			return bson.A{missing{}}
		}
		return leaves(inner, path[1:])
	case bson.A:
		out := bson.A{}
		for _, item := range x {
			if inner, ok := item.(bson.D); ok {
				out = append(out, leaves(inner, path)...)
			}
		}
		return out
	default:
		return bson.A{missing{}}
	}
}

func sortValue(item bson.D, path string, direction int32) any {
	var best any = missing{}
	first := true
	for _, leaf := range leaves(item, strings.Split(path, ".")) {
		values, isArray := leaf.(bson.A)
		if !isArray {
			values = bson.A{leaf}
		} else if len(values) == 0 {
			values = bson.A{bson.A{}}
		}
		for _, v := range values {
			if first || compareValues(v, best)*int(direction) < 0 {
				best, first = v, false
			}
		}
	}
	return best
}

// rank is the place of a value's type in MongoDB's order. An empty array stands
// for nothing and comes first.
func rank(v any) int {
	switch v.(type) {
	case bson.A:
		return 0
	case nil, missing:
		return 1
	case int32, int64, float64:
		return 2
	case string:
		return 3
	case bson.D:
		return 4
	default:
		return 5 // a boolean
	}
}

func compareValues(x, y any) int {
	if c := cmp.Compare(rank(x), rank(y)); c != 0 {
		return c
	}
	switch a := number(x).(type) {
	case float64:
		b, _ := number(y).(float64)
		return cmp.Compare(a, b)
	case string:
		b, _ := y.(string)
		return cmp.Compare(a, b)
	case bson.D:
		return strings.Compare(show(a), show(y))
	default:
		return 0 // null, true: the only ones of their types
	}
}

func equal(x, y any) bool {
	a, isArray := x.(bson.A)
	b, isArray2 := y.(bson.A)
	if isArray || isArray2 {
		return isArray && isArray2 && slices.EqualFunc(a, b, equal)
	}
	return compareValues(x, y) == 0
}

func matches(item, filter bson.D) bool {
	for _, e := range filter {
		branches, _ := e.Value.(bson.A)
		some := slices.ContainsFunc(branches, func(b any) bool {
			inner, _ := b.(bson.D)
			return matches(item, inner)
		})
		every := !slices.ContainsFunc(branches, func(b any) bool {
			inner, _ := b.(bson.D)
			return !matches(item, inner)
		})
		var ok bool
		switch e.Key {
		case "$and":
			ok = every
		case "$or":
			ok = some
		case "$nor":
			ok = !some
		default:
			ok = holds(leaves(item, strings.Split(e.Key, ".")), e.Value)
		}
		if !ok {
			return false
		}
	}
	return true
}

// holds tells whether the values at a path meet a condition.
func holds(at bson.A, condition any) bool {
	ops, isOps := condition.(bson.D)
	if !isOps {
		return anyEqual(at, condition)
	}
	for _, op := range ops {
		if !holdsOp(at, op.Key, op.Value) {
			return false
		}
	}
	return true
}

func holdsOp(at bson.A, op string, operand any) bool {
	list, _ := operand.(bson.A)
	among := func() bool { return slices.ContainsFunc(list, func(v any) bool { return anyEqual(at, v) }) }
	switch op {
	case "$ne":
		return !anyEqual(at, operand)
	case "$in":
		return among()
	case "$nin":
		return !among()
	case "$not":
		return !holds(at, operand)
	case "$all":
		return len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool { return !anyEqual(at, v) })
	case "$exists":
		want, _ := operand.(bool)
		return want == slices.ContainsFunc(at, func(v any) bool { return v != missing{} })
	case "$size":
		n, _ := operand.(int32)
		return slices.ContainsFunc(at, func(v any) bool {
			array, ok := v.(bson.A)
			return ok && len(array) == int(n)
		})
	case "$elemMatch":
		return slices.ContainsFunc(at, func(v any) bool {
			array, _ := v.(bson.A)
			return slices.ContainsFunc(array, func(item any) bool { return holds(bson.A{item}, operand) })
		})
	default:
		return anyOrdered(at, op, operand)
	}
}

// anyEqual looks at values, whole arrays, and their elements.
func anyEqual(at bson.A, operand any) bool {
	return slices.ContainsFunc(at, func(v any) bool {
		array, _ := v.(bson.A)
		return equal(v, operand) || slices.ContainsFunc(array, func(item any) bool { return equal(item, operand) })
	})
}

func anyOrdered(at bson.A, op string, operand any) bool {
	test := func(v any) bool {
		if rank(v) != rank(operand) {
			return false
		}
		c := compareValues(v, operand)
		switch op {
		case "$gt":
			return c > 0
		case "$gte":
			return c >= 0
		case "$lt":
			return c < 0
		default:
			return c <= 0
		}
	}
	return slices.ContainsFunc(at, func(v any) bool {
		if array, ok := v.(bson.A); ok {
			return slices.ContainsFunc(array, test)
		}
		return test(v)
	})
}

func setPath(item bson.D, path string, v any) (bson.D, int) {
	head, rest, nested := strings.Cut(path, ".")
	out := slices.Clone(item)
	i := slices.IndexFunc(out, func(e bson.E) bool { return e.Key == head })
	if nested {
		inner := bson.D{}
		if i >= 0 {
			var ok bool
			if inner, ok = out[i].Value.(bson.D); !ok {
				return nil, 28
			}
		}
		changed, code := setPath(inner, rest, v)
		if code != 0 {
			return nil, code
		}
		v = changed
	}
	if i < 0 {
		return append(out, bson.E{Key: head, Value: v}), 0
	}
	out[i].Value = v
	return out, 0
}

func unsetPath(item bson.D, path string) bson.D {
	head, rest, nested := strings.Cut(path, ".")
	out := slices.Clone(item)
	i := slices.IndexFunc(out, func(e bson.E) bool { return e.Key == head })
	if i < 0 {
		return out
	}
	if !nested {
		return slices.Delete(out, i, i+1)
	}
	if inner, ok := out[i].Value.(bson.D); ok {
		out[i].Value = unsetPath(inner, rest)
	}
	return out
}

// applyUpdate returns the document with the update's operators applied.
func applyUpdate(item, update bson.D) (bson.D, int) {
	out := item
	for _, op := range update {
		fields, _ := op.Value.(bson.D)
		for _, f := range fields {
			var code int
			if out, code = applyOperator(out, op.Key, f.Key, f.Value); code != 0 {
				return nil, code
			}
		}
	}
	return out, 0
}

func applyOperator(item bson.D, op, path string, operand any) (bson.D, int) {
	current, there := get(item, path)
	switch op {
	case "$set":
		return setPath(item, path, operand)
	case "$unset":
		return unsetPath(item, path), 0
	case "$min", "$max":
		c := compareValues(operand, current)
		if there && (op == "$min" && c >= 0 || op == "$max" && c <= 0) {
			return item, 0
		}
		return setPath(item, path, operand)
	case "$inc", "$mul":
		if !there {
			current = int32(0)
		}
		if rank(current) != 2 {
			return nil, 14
		}
		return setPath(item, path, arithmetic(current, operand, op == "$mul"))
	}
	array, isArray := current.(bson.A)
	if there && !isArray {
		if op == "$pop" {
			return nil, 14
		}
		return nil, 2
	}
	if !there && (op == "$pull" || op == "$pop") {
		return item, 0
	}
	return setPath(item, path, applyArray(array, op, operand))
}

func applyArray(array bson.A, op string, operand any) bson.A {
	out := append(bson.A{}, array...)
	switch op {
	case "$pop":
		if direction, _ := operand.(int32); len(out) == 0 {
			return out
		} else if direction < 0 {
			return out[1:]
		}
		return out[:len(out)-1]
	case "$pull":
		return slices.DeleteFunc(out, func(v any) bool { return equal(v, operand) })
	case "$addToSet":
		if slices.ContainsFunc(out, func(v any) bool { return equal(v, operand) }) {
			return out
		}
		return append(out, operand)
	default:
		modifiers, ok := operand.(bson.D)
		if !ok {
			return append(out, operand)
		}
		each, _ := modifiers[0].Value.(bson.A)
		out = append(out, each...)
		return out[max(0, len(out)-3):]
	}
}

func arithmetic(x, y any, times bool) any {
	a, aInt := whole(x)
	b, bInt := whole(y)
	if !aInt || !bInt {
		f, _ := number(x).(float64)
		g, _ := number(y).(float64)
		if times {
			return f * g
		}
		return f + g
	}
	result := a + b
	if times {
		result = a * b
	}
	_, aLong := x.(int64)
	_, bLong := y.(int64)
	if !aLong && !bLong && result == int64(int32(result)) {
		return int32(result)
	}
	return result
}

func whole(v any) (int64, bool) {
	switch x := v.(type) {
	case int32:
		return int64(x), true
	case int64:
		return x, true
	default:
		return 0, false
	}
}
