package mongod

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/bson"
)

// TestDiffering compares all pairs of small documents with what their maps say.
func TestDiffering(t *testing.T) {
	var docs []bson.D
	for _, names := range [][]string{{}, {"a"}, {"a", "b"}, {"b", "a"}, {"a", "b", "c"}, {"c", "a", "b"}, {"b", "c"}, {"a", "c"}, {"d", "a", "b", "c"}} {
		for values := range 1 << len(names) {
			d := bson.D{}
			for i, name := range names {
				d = append(d, bson.E{Key: name, Value: int64(values >> i & 1)})
			}
			docs = append(docs, d)
		}
	}
	docs = append(docs, bson.D{{Key: "a", Value: int32(1)}}, bson.D{{Key: "a", Value: bson.A{int64(1)}}, {Key: "b", Value: nil}})
	for _, before := range docs {
		for _, after := range docs {
			got := differing(encode(before), encode(after))
			slices.Sort(got)
			if want := differ(before, after); !slices.Equal(got, want) {
				t.Errorf("%v to %v: got %v, want %v", before, after, got, want)
			}
		}
	}
}

func differ(before, after bson.D) []string {
	text := func(d bson.D) map[string]string {
		m := map[string]string{}
		for _, e := range d {
			m[e.Key] = fmt.Sprintf("%T %v", e.Value, e.Value)
		}
		return m
	}
	a, b := text(before), text(after)
	names := map[string]bool{}
	for name, v := range a {
		if w, ok := b[name]; !ok || v != w {
			names[name] = true
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
