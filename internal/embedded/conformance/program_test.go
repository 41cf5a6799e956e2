package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// program is a generated history: clients that take turns on one collection.
type program struct {
	Indexes []bson.D // keys; an index on u is unique
	Steps   []step
}

// step is what one client does in its turn.
type step struct {
	Client int
	// Kind is a write (insert, update, updateMany, delete, deleteMany, modify), a
	// read (find, count, distinct, group) or begin, commit, abort.
	Kind   string
	Filter bson.D `bson:",omitempty"` // of all but insert
	Doc    bson.D `bson:",omitempty"` // an insert's document, else the update
	Upsert bool   `bson:",omitempty"`
	New    bool   `bson:",omitempty"` // modify: the document afterwards
	Remove bool   `bson:",omitempty"` // modify
	Sort   bson.D `bson:",omitempty"` // find, modify
	Skip   int64  `bson:",omitempty"`
	Limit  int64  `bson:",omitempty"`
	Field  string `bson:",omitempty"` // distinct
}

func (s step) writes() bool {
	return slices.Contains([]string{"insert", "update", "updateMany", "delete", "deleteMany", "modify"}, s.Kind)
}

// stream is a reproducible series of numbers.
type stream struct {
	seed, next uint64
}

func (s *stream) below(n int) int {
	var in [16]byte
	binary.BigEndian.PutUint64(in[:], s.seed)
	binary.BigEndian.PutUint64(in[8:], s.next)
	s.next++
	sum := sha256.Sum256(in[:])
	return int(binary.BigEndian.Uint32(sum[:]) % uint32(n))
}

func (s *stream) chance(percent int) bool { return s.below(100) < percent }

func pick[T any](s *stream, of ...T) T { return of[s.below(len(of))] }

const (
	clients     = 3
	identifiers = 6
)

// generate makes the program of a seed.
func generate(seed uint64) program {
	s := &stream{seed: seed}
	var p program
	keys := []bson.D{d("a", 1), d("b", 1), d("a", 1, "n", -1), d("l", 1, "b", 1), d("n", -1, "a", 1), d("s.x", 1), d("b", 1, "n", 1, "_id", 1), d("u", 1)}
	for _, key := range keys {
		if s.chance(25) {
			p.Indexes = append(p.Indexes, key)
		}
	}
	for range 15 + s.below(35) {
		p.Steps = append(p.Steps, s.step())
	}
	return p
}

func (s *stream) step() step {
	st := step{Client: s.below(clients)}
	switch n := s.below(100); {
	case n < 18:
		st.Kind, st.Doc = "insert", s.document()
	case n < 30:
		st.Kind, st.Filter, st.Doc = "update", s.one(), s.update()
		// The other fields keep their types: nothing of the filter may enter them.
		last := st.Filter[len(st.Filter)-1].Key
		st.Upsert = s.chance(40) && slices.Contains([]string{"_id", "a", "s.x"}, last)
	case n < 37:
		st.Kind, st.Filter, st.Doc = "updateMany", s.filter(1), s.safeUpdate()
	case n < 42:
		st.Kind, st.Filter = "delete", s.one()
	case n < 44:
		st.Kind, st.Filter = "deleteMany", s.filter(1)
	case n < 51:
		st.Kind, st.Filter, st.Sort, st.New = "modify", s.filter(1), s.sort(), s.chance(50)
		if st.Remove = s.chance(30); st.Remove {
			st.New = false
		} else {
			st.Doc = s.update()
		}
	case n < 63:
		st.Kind, st.Filter, st.Sort = "find", s.filter(2), s.sort()
		if s.chance(40) {
			st.Skip, st.Limit = int64(s.below(3)), int64(s.below(4))
		}
	case n < 67:
		st.Kind, st.Filter = "count", s.filter(2)
	case n < 70:
		st.Kind, st.Filter, st.Field = "distinct", s.filter(1), pick(s, "a", "b", "l", "s.x")
	case n < 73:
		st.Kind, st.Filter = "group", s.filter(1)
	case n < 84:
		st.Kind = "begin"
	case n < 96:
		st.Kind = "commit"
	default:
		st.Kind = "abort"
	}
	return st
}

func (s *stream) scalar() any {
	return pick[any](s, int32(0), int32(1), int32(2), int32(3), 1.5, int64(2), "x", "y", nil, true)
}

func (s *stream) scalars() bson.A {
	out := bson.A{}
	for range s.below(4) {
		out = append(out, s.scalar())
	}
	return out
}

// document fills some of the fields: a holds anything, b a scalar, n an int, l an
// array, s documents, u a number that may be unique.
func (s *stream) document() bson.D {
	out := d("_id", int32(s.below(identifiers)))
	add := func(percent int, key string, value func() any) {
		if s.chance(percent) {
			out = append(out, bson.E{Key: key, Value: value()})
		}
	}
	add(80, "a", func() any {
		if s.chance(30) {
			return s.scalars()
		}
		return s.scalar()
	})
	add(70, "b", s.scalar)
	add(100, "n", func() any { return int32(s.below(4)) })
	add(60, "l", func() any { return s.scalars() })
	add(60, "s", func() any {
		switch s.below(4) {
		case 0:
			// Every document has x: null and missing within arrays are a fault that
			// the cases list.
			return bson.A{d("x", s.scalar()), d("x", s.scalar(), "y", int32(1)), d("x", s.scalar())}[:s.below(4)]
		case 1:
			return d("y", int32(1))
		case 2:
			return s.scalar()
		default:
			return d("x", s.scalar())
		}
	})
	add(85, "u", func() any { return int32(s.below(identifiers)) })
	return out
}

// one is a filter for at most one document.
func (s *stream) one() bson.D {
	f := d("_id", int32(s.below(identifiers)))
	if s.chance(40) {
		f = append(f, s.condition())
	}
	return f
}

func (s *stream) filter(depth int) bson.D {
	if depth > 0 && s.chance(30) {
		branches := bson.A{s.filter(depth - 1), s.filter(depth - 1)}
		return d(pick(s, "$and", "$or", "$or", "$nor"), branches)
	}
	if s.chance(15) {
		return bson.D{}
	}
	f := bson.D{s.condition()}
	if second := s.condition(); s.chance(30) && second.Key != f[0].Key {
		f = append(f, second)
	}
	return f
}

func (s *stream) condition() bson.E {
	path := pick(s, "a", "a", "b", "b", "n", "l", "s.x", "_id", "u")
	kinds := 14
	if path == "s.x" {
		kinds = 13 // no $elemMatch: a fault that the cases list
	}
	var value any
	switch s.below(kinds) {
	case 0, 1, 2:
		value = s.scalar()
	case 3:
		value = d("$exists", s.chance(50))
	case 4:
		value = d(pick(s, "$in", "$nin"), s.scalars())
	case 5:
		value = d("$ne", s.scalar())
	case 6:
		value = d("$not", d(pick(s, "$gt", "$lte"), pick[any](s, int32(1), "x")))
	case 7:
		value = d("$size", int32(s.below(4)))
	case 8:
		value = d("$all", s.scalars())
	case 9:
		value = d("$gt", int32(s.below(3)), "$lt", int32(1+s.below(3)))
	case 10:
		value = s.scalars()
	case 13:
		value = d("$elemMatch", d("$gte", int32(1), "$lt", int32(3)))
	default:
		value = d(pick(s, "$gt", "$gte", "$lt", "$lte"), pick[any](s, int32(s.below(4)), "x", 1.5, true))
	}
	return bson.E{Key: path, Value: value}
}

func (s *stream) sort() bson.D {
	direction := func() int32 { return pick(s, int32(1), int32(-1)) }
	if s.chance(20) {
		return d("_id", direction())
	}
	return d(pick(s, "a", "b", "n", "l", "s.x"), direction(), "_id", direction())
}

// safeUpdate fails on no document, whatever it holds.
func (s *stream) safeUpdate() bson.D {
	u := d("$inc", d("n", int32(1+s.below(3))))
	switch s.below(4) {
	case 0:
		u = append(u, bson.E{Key: "$set", Value: d("b", s.scalar())})
	case 1:
		u = append(u, bson.E{Key: "$unset", Value: d(pick(s, "a", "b"), "")})
	case 2:
		u = append(u, bson.E{Key: pick(s, "$min", "$max"), Value: d("b", s.scalar())})
	default:
	}
	return u
}

func (s *stream) update() bson.D {
	if s.chance(40) {
		return s.safeUpdate()
	}
	switch s.below(9) {
	case 0:
		return d("$set", d("a", s.scalar()))
	case 1:
		return d("$set", d("s.x", s.scalar()))
	case 2:
		return d("$set", d("u", int32(s.below(identifiers))))
	case 3:
		return d(pick(s, "$inc", "$mul"), d(pick(s, "a", "n"), pick[any](s, int32(2), int64(-1), 0.5)))
	case 4:
		return d(pick(s, "$push", "$addToSet"), d(pick(s, "l", "a"), s.scalar()))
	case 5:
		return d("$pull", d(pick(s, "l", "a"), s.scalar()))
	case 6:
		return d("$pop", d(pick(s, "l", "a"), pick(s, int32(1), int32(-1))))
	case 7:
		return d("$unset", d(pick(s, "a", "u", "s.x"), ""))
	default:
		return d("$push", d("l", d("$each", s.scalars(), "$slice", int32(-3))))
	}
}

// runner runs a program on a server.
type runner struct {
	coll     *mongo.Collection
	sessions [clients]*mongo.Session
	contexts [clients]context.Context
}

func newRunner(ctx context.Context, s *server, name string, p program) (*runner, error) {
	r := &runner{coll: s.db.Collection(name)}
	if err := s.db.CreateCollection(ctx, name); err != nil {
		return nil, fmt.Errorf("create collection: %w", err)
	}
	for _, key := range p.Indexes {
		model := mongo.IndexModel{Keys: key, Options: options.Index().SetUnique(key[0].Key == "u")}
		if _, err := r.coll.Indexes().CreateOne(ctx, model); err != nil {
			return nil, fmt.Errorf("create index: %w", err)
		}
	}
	for i := range r.sessions {
		sess, err := s.client.StartSession()
		if err != nil {
			return nil, fmt.Errorf("start session: %w", err)
		}
		r.sessions[i], r.contexts[i] = sess, mongo.NewSessionContext(ctx, sess)
	}
	return r, nil
}

// close ends open transactions and drops the collection.
func (r *runner) close(ctx context.Context) error {
	for i, sess := range r.sessions {
		sess.EndSession(r.contexts[i])
	}
	return r.coll.Drop(ctx)
}

// answer is what a step has given: a value in plain form, or an error's code.
type answer struct {
	value any
	code  int
}

func (a answer) String() string {
	if a.code != 0 {
		return fmt.Sprintf("error %d", a.code)
	}
	return show(a.value)
}

// run takes one step. Errors that are not the server's own end the program.
func (r *runner) run(st step) (answer, error) {
	value, err := r.do(r.contexts[st.Client], r.sessions[st.Client], st)
	if err == nil {
		return answer{value: normal(value)}, nil
	}
	var we mongo.WriteException
	var ce mongo.CommandError
	switch {
	case errors.As(err, &we) && len(we.WriteErrors) == 1:
		return answer{code: we.WriteErrors[0].Code}, nil
	case errors.As(err, &ce):
		return answer{code: int(ce.Code)}, nil
	default:
		return answer{}, err
	}
}

func (r *runner) do(ctx context.Context, sess *mongo.Session, st step) (any, error) {
	switch st.Kind {
	case "begin":
		return nil, sess.StartTransaction()
	case "commit":
		return nil, sess.CommitTransaction(ctx)
	case "abort":
		return nil, sess.AbortTransaction(ctx)
	case "insert":
		_, err := r.coll.InsertOne(ctx, st.Doc)
		return nil, err
	case "update":
		res, err := r.coll.UpdateOne(ctx, st.Filter, st.Doc, options.UpdateOne().SetUpsert(st.Upsert))
		if err != nil {
			return nil, err
		}
		return bson.A{res.MatchedCount, res.ModifiedCount, res.UpsertedCount}, nil
	case "updateMany":
		res, err := r.coll.UpdateMany(ctx, st.Filter, st.Doc)
		if err != nil {
			return nil, err
		}
		return bson.A{res.MatchedCount, res.ModifiedCount, res.UpsertedCount}, nil
	case "delete":
		res, err := r.coll.DeleteOne(ctx, st.Filter)
		if err != nil {
			return nil, err
		}
		return res.DeletedCount, nil
	case "deleteMany":
		res, err := r.coll.DeleteMany(ctx, st.Filter)
		if err != nil {
			return nil, err
		}
		return res.DeletedCount, nil
	case "modify":
		return r.modify(ctx, st)
	default:
		return r.read(ctx, st)
	}
}

func (r *runner) modify(ctx context.Context, st step) (any, error) {
	var got bson.D
	var err error
	if st.Remove {
		err = r.coll.FindOneAndDelete(ctx, st.Filter, options.FindOneAndDelete().SetSort(st.Sort)).Decode(&got)
	} else {
		o := options.FindOneAndUpdate().SetSort(st.Sort)
		if st.New {
			o.SetReturnDocument(options.After)
		}
		err = r.coll.FindOneAndUpdate(ctx, st.Filter, st.Doc, o).Decode(&got)
	}
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // no document is an ordinary answer
	}
	return got, err
}

func (r *runner) read(ctx context.Context, st step) (any, error) {
	switch st.Kind {
	case "find":
		return drain(ctx)(r.coll.Find(ctx, st.Filter, options.Find().SetSort(st.Sort).SetSkip(st.Skip).SetLimit(st.Limit)))
	case "count":
		return r.coll.CountDocuments(ctx, st.Filter)
	case "distinct":
		got := bson.A{}
		err := r.coll.Distinct(ctx, st.Field, st.Filter).Decode(&got)
		slices.SortFunc(got, func(x, y any) int { return strings.Compare(show(normal(number(x))), show(normal(number(y)))) })
		return number(got), err
	case "group":
		return drain(ctx)(r.coll.Aggregate(ctx, groupPipeline(st.Filter)))
	default:
		return nil, fmt.Errorf("unknown step %q", st.Kind)
	}
}

func groupPipeline(filter bson.D) bson.A {
	return bson.A{d("$match", filter), d("$group", d(
		"_id", nil, "count", d("$sum", 1), "sum", d("$sum", "$n"), "lo", d("$min", "$b"), "hi", d("$max", "$b"),
	))}
}

// normal orders the fields of documents by name: a server may add new fields in
// its own order. Counters become longs.
func normal(v any) any {
	switch x := v.(type) {
	case int:
		return int64(x)
	case bson.D:
		out := make(bson.D, len(x))
		for i, e := range x {
			out[i] = bson.E{Key: e.Key, Value: normal(e.Value)}
		}
		slices.SortStableFunc(out, func(a, b bson.E) int { return strings.Compare(a.Key, b.Key) })
		return out
	case bson.A:
		out := make(bson.A, len(x))
		for i := range x {
			out[i] = normal(x[i])
		}
		return out
	default:
		return v
	}
}

// number makes equal numbers the same.
func number(v any) any {
	switch x := v.(type) {
	case int32:
		return float64(x)
	case int64:
		return float64(x)
	case bson.A:
		out := make(bson.A, len(x))
		for i := range x {
			out[i] = number(x[i])
		}
		return out
	default:
		return v
	}
}
