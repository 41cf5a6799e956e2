package seal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/testenv"
)

// backup is all documents of the data database.
type backup map[string][]bson.Raw

var collections = []string{"audit", "auditHeads", "auditTiles", "auditCheckpoints", "auditHeadsAt", "signingKeys"}

func (w *world) backup() backup {
	w.Helper()
	b := backup{}
	for _, name := range collections {
		cursor, err := w.raw.Collection(name).Find(w.Context(), bson.D{})
		w.ok(err)
		var docs []bson.Raw
		w.ok(cursor.All(w.Context(), &docs))
		b[name] = docs
	}
	return b
}

func (w *world) restore(b backup) {
	w.Helper()
	for name, docs := range b {
		_, err := w.raw.Collection(name).DeleteMany(w.Context(), bson.D{})
		w.ok(err)
		if len(docs) > 0 {
			_, err = w.raw.Collection(name).InsertMany(w.Context(), docs)
			w.ok(err)
		}
	}
}

func pick(n int) int {
	i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails
	return int(i.Int64())
}

// tampering does something to the database, and says where a fault must be
// named at the latest: the seq of an entry, or -1 for no entry.
type tampering struct {
	name string
	do   func(h *hacker) (seq int64)
}

// hacker rules the database.
type hacker struct {
	*world

	entries []bson.M // sealed, of one tenant, in order
	undo    []func()
}

// replace writes a document over the one of its id and can take it back.
func (h *hacker) replace(coll string, before, after bson.M) {
	h.Helper()
	key := bson.D{{Key: "_id", Value: before["_id"]}}
	_, err := h.raw.Collection(coll).ReplaceOne(h.Context(), key, after)
	h.ok(err)
	h.undo = append(h.undo, func() {
		_, err := h.raw.Collection(coll).ReplaceOne(context.WithoutCancel(h.Context()), key, before)
		h.ok(err)
	})
}

func (h *hacker) remove(coll string, doc bson.M) {
	h.Helper()
	_, err := h.raw.Collection(coll).DeleteOne(h.Context(), bson.D{{Key: "_id", Value: doc["_id"]}})
	h.ok(err)
	h.undo = append(h.undo, func() {
		_, err := h.raw.Collection(coll).InsertOne(h.Context(), doc)
		h.ok(err)
	})
}

func (h *hacker) insert(coll string, doc bson.M) {
	h.Helper()
	_, err := h.raw.Collection(coll).InsertOne(h.Context(), doc)
	h.ok(err)
	h.undo = append(h.undo, func() {
		_, err := h.raw.Collection(coll).DeleteOne(h.Context(), bson.D{{Key: "_id", Value: doc["_id"]}})
		h.ok(err)
	})
}

func (h *hacker) any(coll string) bson.M {
	h.Helper()
	cursor, err := h.raw.Collection(coll).Find(h.Context(), bson.D{})
	h.ok(err)
	var docs []bson.M
	h.ok(cursor.All(h.Context(), &docs))
	return docs[pick(len(docs))]
}

func clone(m bson.M) bson.M {
	b, _ := bson.Marshal(m)
	var c bson.M
	_ = bson.Unmarshal(b, &c)
	return c
}

func flipped(b []byte) []byte {
	c := append([]byte(nil), b...)
	c[pick(len(c))] ^= 1 << pick(8)
	return c
}

func seqOf(e bson.M) int64 { return number(e, "seq") }

func number(d bson.M, field string) int64 {
	n, _ := d[field].(int64)
	return n
}

func binary(d bson.M, field string) []byte {
	b, _ := d[field].(bson.Binary)
	return b.Data
}

// withSubject returns an entry about a person, and its subjects.
func (h *hacker) withSubject() (bson.M, bson.A) {
	for {
		if e := h.entries[pick(len(h.entries))]; e["subjects"] != nil {
			subjects, _ := e["subjects"].(bson.A)
			return e, subjects
		}
	}
}

func subjectOf(e bson.M) bson.M {
	subjects, _ := e["subjects"].(bson.A)
	switch s := subjects[0].(type) {
	case bson.M:
		return s
	case bson.D:
		b, _ := bson.Marshal(s)
		var m bson.M
		_ = bson.Unmarshal(b, &m)
		subjects[0] = m
		return m
	}
	return nil
}

func tamperings() []tampering {
	return []tampering{
		{"flip a field", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			c := clone(e)
			field := []string{"action", "object", "purpose", "outcome", "policy", "requestId", "network"}[pick(7)]
			c[field] = fmt.Sprint(c[field], "x")
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"move the time", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			c := clone(e)
			at, _ := e["at"].(bson.DateTime)
			c["at"] = at + 1
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"another actor", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			c := clone(e)
			c["actor"] = bson.M{"kind": "MACHINE", "id": "key_other", "credential": "", "onBehalfOf": ""}
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"delete an entry", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			h.remove("audit", e)
			return seqOf(e)
		}},
		{"insert an entry in another's place", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			c := clone(e)
			c["_id"] = id.New(id.Audit, testenv.One)
			h.insert("audit", c)
			return seqOf(e)
		}},
		{"insert an entry behind the last", func(h *hacker) int64 {
			c := clone(h.entries[0])
			c["_id"], c["seq"] = id.New(id.Audit, testenv.One), seqOf(h.entries[len(h.entries)-1])+1
			h.insert("audit", c)
			return -1
		}},
		{"insert an entry into no log", func(h *hacker) int64 {
			c := clone(h.entries[0])
			c["_id"] = id.New(id.Audit, testenv.One)
			delete(c, "seq")
			h.insert("audit", c)
			return -1
		}},
		{"swap two entries", func(h *hacker) int64 {
			i := pick(len(h.entries) - 1)
			a, b := h.entries[i], h.entries[i+1+pick(len(h.entries)-1-i)]
			ca, cb := clone(a), clone(b)
			ca["seq"], cb["seq"] = b["seq"], a["seq"]
			h.replace("audit", a, ca)
			h.replace("audit", b, cb)
			return seqOf(a)
		}},
		{"take an entry out of the order", func(h *hacker) int64 {
			e := h.entries[pick(len(h.entries))]
			c := clone(e)
			delete(c, "seq")
			c["unsealed"] = true
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"flip details", func(h *hacker) int64 {
			e, _ := h.withSubject()
			c := clone(e)
			s := subjectOf(c)
			s["sealed"] = bson.Binary{Data: flipped(binary(s, "sealed"))}
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"delete details", func(h *hacker) int64 {
			e, _ := h.withSubject()
			c := clone(e)
			subjectOf(c)["sealed"] = bson.Binary{}
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"swap details", func(h *hacker) int64 {
			a, _ := h.withSubject()
			b, _ := h.withSubject()
			for a["_id"] == b["_id"] {
				b, _ = h.withSubject()
			}
			ca, cb := clone(a), clone(b)
			sa, sb := subjectOf(ca), subjectOf(cb)
			sa["sealed"], sb["sealed"] = sb["sealed"], sa["sealed"]
			h.replace("audit", a, ca)
			h.replace("audit", b, cb)
			return min(seqOf(a), seqOf(b))
		}},
		{"flip a commitment", func(h *hacker) int64 {
			e, _ := h.withSubject()
			c := clone(e)
			s := subjectOf(c)
			s["commitment"] = bson.Binary{Data: flipped(binary(s, "commitment"))}
			h.replace("audit", e, c)
			return seqOf(e)
		}},
		{"flip a hash of the tree", func(h *hacker) int64 {
			d := h.any("auditTiles")
			c := clone(d)
			c["hashes"] = bson.Binary{Data: flipped(binary(d, "hashes"))}
			h.replace("auditTiles", d, c)
			return 1 << 40
		}},
		{"delete hashes of the tree", func(h *hacker) int64 {
			h.remove("auditTiles", h.any("auditTiles"))
			return 1 << 40
		}},
		{"roll a head back", func(h *hacker) int64 {
			var d bson.M
			for d = h.any("auditHeads"); number(d, "size") < 5; d = h.any("auditHeads") {
			}
			c := clone(d)
			c["size"] = number(d, "size") - 1 - int64(pick(4))
			h.replace("auditHeads", d, c)
			return 1 << 40
		}},
		{"flip a checkpoint in the database", func(h *hacker) int64 {
			d := h.any("auditCheckpoints")
			c := clone(d)
			c["note"] = bson.Binary{Data: flipped(binary(d, "note"))}
			h.replace("auditCheckpoints", d, c)
			return -1
		}},
		{"delete a checkpoint from the database", func(h *hacker) int64 {
			h.remove("auditCheckpoints", h.any("auditCheckpoints"))
			return -1
		}},
		{"flip a log's state at a checkpoint", func(h *hacker) int64 {
			d := h.any("auditHeadsAt")
			c := clone(d)
			c["root"] = bson.Binary{Data: flipped(binary(d, "root"))}
			h.replace("auditHeadsAt", d, c)
			return -1
		}},
		{"delete a log's state at a checkpoint", func(h *hacker) int64 {
			h.remove("auditHeadsAt", h.any("auditHeadsAt"))
			return -1
		}},
		{"flip a published checkpoint", func(h *hacker) int64 {
			n := 1 + pick(4)
			h.lie(pick(2), func(key string, object []byte) []byte {
				if strings.HasSuffix(key, string(rune('0'+n))) {
					return flipped(object)
				}
				return object
			})
			return -1
		}},
		{"swap published checkpoints", func(h *hacker) int64 {
			h.lie(2, func(key string, object []byte) []byte {
				other := map[byte]string{'2': "3", '3': "2"}[key[len(key)-1]]
				if other == "" {
					return object
				}
				b, err := h.places[0].Bucket.Get(h.Context(), key[:len(key)-1]+other, 1<<20)
				h.ok(err)
				return b
			})
			return -1
		}},
		{"delete published checkpoints", func(h *hacker) int64 {
			n := 1 + pick(4)
			h.lie(pick(3), func(key string, object []byte) []byte {
				if strings.HasSuffix(key, string(rune('0'+n))) {
					return nil
				}
				return object
			})
			return -1
		}},
	}
}

// lie lets one place (0, 1) or both (2) answer otherwise.
func (h *hacker) lie(which int, lie func(key string, object []byte) []byte) {
	for i, p := range h.places {
		if which == i || which == 2 {
			p.lie = lie
		}
	}
	h.undo = append(h.undo, func() { h.places[0].lie, h.places[1].lie = nil, nil })
}

// TestTampering alters what is stored at random places: each time it is found,
// and the first bad place is named.
func TestTampering(t *testing.T) {
	w := start(t)
	p := w.publisher()
	for _, n := range []int{40, 230, 30, 300} {
		w.write(testenv.One, n)
		w.write(testenv.Two, 3)
		w.publish(p)
	}
	old := w.backupOfAll()
	w.sound()
	h := &hacker{world: w, entries: old}
	rounds := 4 // of each kind
	if full() {
		rounds = 44
	}
	done := 0
	for range rounds {
		for _, kind := range tamperings() {
			at := kind.do(h)
			_, err := w.verifier().Verify(t.Context())
			fault, ok := errors.AsType[*proof.Error](err)
			switch {
			case !ok:
				t.Errorf("%s: found nothing, %v", kind.name, err)
			case at >= 0 && at < 1<<40 && fault.Seq != at:
				t.Errorf("%s: at %d, but named was %v", kind.name, at, err)
			case at < 0 && fault.Error() == "":
				t.Errorf("%s: nothing is named", kind.name)
			}
			for _, undo := range slices.Backward(h.undo) {
				undo()
			}
			h.undo = nil
			done++
		}
	}
	w.sound()
	t.Logf("altered %d times, in %d ways", done, len(tamperings()))
}

func (w *world) backupOfAll() []bson.M {
	w.Helper()
	cursor, err := w.raw.Collection("audit").Find(w.Context(), bson.D{{Key: "tenant", Value: testenv.One}})
	w.ok(err)
	var docs []bson.M
	w.ok(cursor.All(w.Context(), &docs))
	sorted := make([]bson.M, len(docs))
	for _, d := range docs {
		sorted[seqOf(d)] = d
	}
	return sorted
}
