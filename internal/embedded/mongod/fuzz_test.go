package mongod

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

func opMsg(body []byte) []byte {
	msg := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+21))
	msg = append(msg, 1, 0, 0, 0, 0, 0, 0, 0, 0xDD, 7, 0, 0, 0, 0, 0, 0, 0)
	return append(msg, body...)
}

func marshal(tb testing.TB, doc bson.D) []byte {
	tb.Helper()
	raw, err := bson.Marshal(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func seeds(f *testing.F) [][]byte {
	f.Helper()
	doc := func(pairs ...any) bson.D {
		out := bson.D{}
		for i := 0; i < len(pairs); i += 2 {
			key, _ := pairs[i].(string)
			out = append(out, bson.E{Key: key, Value: pairs[i+1]})
		}
		return out
	}
	return [][]byte{
		marshal(f, doc("find", "c", "filter", doc("a", doc("$in", bson.A{1, 2.5, "x", nil})))),
		marshal(f, doc("a", bson.A{doc("b", bson.A{1}), bson.Binary{Subtype: 2, Data: []byte{1}}}, "r", bson.Regex{Pattern: "p"})),
		marshal(f, doc("$or", bson.A{doc("a", doc("$not", doc("$gt", int64(1)<<62))), doc("b.c", doc("$elemMatch", doc("x", true)))})),
		marshal(f, doc("$set", doc("a.$[x]", 1), "$inc", doc("n", 1))),
		marshal(f, doc("$pull", doc("a", doc("b", bson.A{1})), "$mul", doc("a.$[].b.$[]", 2))),
		marshal(f, doc("a.b", doc("$in", bson.A{nil, bson.A{1}}), "a", doc("$all", bson.A{doc("$elemMatch", doc("b", doc("$ne", 2)))}))),
		{12, 0, 0, 0, byte(bsoncore.TypeString), 'a', 0, 0, 0, 0, 0, 0}, // without its closing zero
	}
}

// FuzzMessage: no bytes from a client may panic the reader, and a message that
// is accepted has a body within its limits.
func FuzzMessage(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(opMsg(s))
	}
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0xDD, 7, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bufio.NewReader(bytes.NewReader(data)))
		if err == nil && len(m.body) > len(data) {
			t.Errorf("body of %d bytes out of %d", len(m.body), len(data))
		}
	})
}

// FuzzDocument: a document that passes validation survives decoding, encoding,
// key generation, and parsing as a filter, an update and a projection.
func FuzzDocument(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	deep := []byte{5, 0, 0, 0, 0}
	for range 300 {
		deep = bsoncore.BuildDocument(nil, bsoncore.AppendDocumentElement(nil, "a", deep))
	}
	f.Add(deep)
	target := seeds(f)[1]
	f.Fuzz(func(t *testing.T, data []byte) {
		if validate(data, maxNesting) != nil {
			return
		}
		again := encode(*decode(data))
		if validate(again, maxNesting) != nil || !bytes.Equal(encode(*decode(again)), again) {
			t.Error("a document does not survive decoding")
		}
		v := value{Type: bsoncore.TypeEmbeddedDocument, Data: data}
		if !bytes.Equal(appendKey(nil, v), appendKey(nil, value{Type: v.Type, Data: again})) {
			t.Error("a document and its copy have different keys")
		}
		_, _, _ = keysOf(data, []keyField{{path: "a.b"}, {path: "a", desc: true}})
		_, _ = parseProjection(data)
		_, _ = parseSort(data)
		if flt, err := parseFilter(data); err == nil {
			for _, doc := range [][]byte{data, target} {
				checkPlan(t, flt, doc)
			}
		}
		if u, err := parseUpdate(v, value{}); err == nil {
			_, _ = u.apply(withID(value{Type: bsoncore.TypeInt32, Data: []byte{1, 0, 0, 0}}, target))
		}
	})
}

// checkPlan proves that the plans over a document's keys find the document if it
// matches, and, where they say that they decide, only then.
func checkPlan(t *testing.T, f *filter, doc []byte) {
	t.Helper()
	c := newCollection("db.c", 1, nil)
	for i, fields := range [][]keyField{{{path: "a"}, {path: "b.c", desc: true}}, {{path: "a.b"}}, {{path: "r"}, {path: "a"}}} {
		ix := newIndex("", uint32(i+2), fields, nil, false)
		entries, multikey, err := ix.entries(doc, []byte("id"))
		if err != nil {
			continue
		}
		ix.multikey.Store(multikey)
		conj, or := conjunction(nil, f.root.children)
		p, _ := planIndex(c, ix, conj, or, nil)
		found := slices.ContainsFunc(p.ranges, func(r keyRange) bool {
			return slices.ContainsFunc(entries, func(e entry) bool {
				return bytes.Compare(e.key, r.lower) >= 0 && bytes.Compare(e.key, r.upper) < 0
			})
		})
		if matches := f.match(doc); matches && !found || p.exact && !matches && found {
			t.Errorf("index %v: matches %v, found %v, exact %v", fields, matches, found, p.exact)
		}
	}
}
