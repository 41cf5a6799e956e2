package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// unique is a unique index, documents, and a write that it allows or not.
type unique struct {
	key   string
	docs  string
	write string // a command; 'C' stands for the collection
	dup   bool
	want  string
}

func (u unique) run(ctx context.Context, f *fixture) error {
	key := doc(u.key)
	if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: key, Options: options.Index().SetUnique(true)}); err != nil {
		return fmt.Errorf("create index: %w", err)
	}
	if err := f.insert(ctx, u.docs); err != nil {
		return err
	}
	_, err := f.command(ctx, u.write)
	if !u.dup {
		if err != nil {
			return err
		}
		return f.holds(ctx, u.want)
	}
	if err := (codes{11000}).check("write", err); err != nil {
		return err
	}
	return errors.Join(samePattern(err, key), f.holds(ctx, u.want))
}

// samePattern checks which index a duplicate key error names.
func samePattern(err error, key bson.D) error {
	var raw bson.Raw
	var we mongo.WriteException
	var ce mongo.CommandError
	switch {
	case errors.As(err, &we) && len(we.WriteErrors) > 0:
		raw = we.WriteErrors[0].Raw
	case errors.As(err, &ce):
		raw = ce.Raw
	}
	if raw == nil {
		return nil // a raw command keeps no error document
	}
	var got struct {
		KeyPattern bson.D `bson:"keyPattern"`
		KeyValue   bson.D `bson:"keyValue"`
	}
	if err := bson.Unmarshal(raw, &got); err != nil {
		return fmt.Errorf("decode error: %w", err)
	}
	if len(got.KeyValue) != len(key) {
		return fmt.Errorf("the error names the values %s", show(got.KeyValue))
	}
	return same("keyPattern", got.KeyPattern, key)
}

func uniqueCases() []testCase {
	const page, multikey, compound = "core/index-unique", "core/index-multikey", "core/index-unique"
	const ab = `{a: 1, b: 1}`
	index := func(name, page string, u unique) testCase { return testCase{name, page, u.run} }
	return []testCase{
		index("a value twice", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 1}]}`, true, `[{_id: 1, a: 1}]`}),
		index("an equal number twice", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 1.0}]}`, true, `[{_id: 1, a: 1}]`}),
		index("values of two types", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{insert: 'C', documents: [{_id: 2, a: '1'}]}`, false, `[{_id: 1, a: 1}, {_id: 2, a: '1'}]`}),
		index("null twice", page, unique{`{a: 1}`, `[{_id: 1, a: null}]`, `{insert: 'C', documents: [{_id: 2, a: null}]}`, true, `[{_id: 1, a: null}]`}),
		index("null and missing", page, unique{`{a: 1}`, `[{_id: 1, a: null}]`, `{insert: 'C', documents: [{_id: 2}]}`, true, `[{_id: 1, a: null}]`}),
		index("missing twice", page, unique{`{a: 1}`, `[{_id: 1}]`, `{insert: 'C', documents: [{_id: 2}]}`, true, `[{_id: 1}]`}),
		index("missing once", page, unique{`{a: 1}`, `[{_id: 1, a: 5}]`, `{insert: 'C', documents: [{_id: 2}]}`, false, `[{_id: 1, a: 5}, {_id: 2}]`}),
		index("compound, one value differs", compound, unique{ab, `[{_id: 1, a: 1, b: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 1, b: 2}]}`, false, `[{_id: 1, a: 1, b: 1}, {_id: 2, a: 1, b: 2}]`}),
		index("compound, all values equal", compound, unique{ab, `[{_id: 1, a: 1, b: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 1, b: 1}]}`, true, `[{_id: 1, a: 1, b: 1}]`}),
		index("compound, one missing twice", compound, unique{ab, `[{_id: 1, a: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 1, b: null}]}`, true, `[{_id: 1, a: 1}]`}),
		index("descending", compound, unique{`{a: -1, b: 1}`, `[{_id: 1, a: 1, b: 'x'}]`, `{insert: 'C', documents: [{_id: 2, a: 1, b: 'x'}]}`, true, `[{_id: 1, a: 1, b: 'x'}]`}),
		index("nested field", page, unique{`{'a.b': 1}`, `[{_id: 1, a: {b: 1}}]`, `{insert: 'C', documents: [{_id: 2, a: {b: 1, c: 2}}]}`, true, `[{_id: 1, a: {b: 1}}]`}),
		index("whole documents", page, unique{`{a: 1}`, `[{_id: 1, a: {b: 1, c: 2}}]`, `{insert: 'C', documents: [{_id: 2, a: {c: 2, b: 1}}]}`, false, `[{_id: 1, a: {b: 1, c: 2}}, {_id: 2, a: {c: 2, b: 1}}]`}),
		index("an element of an array", multikey, unique{`{a: 1}`, `[{_id: 1, a: [1, 2]}]`, `{insert: 'C', documents: [{_id: 2, a: [2, 3]}]}`, true, `[{_id: 1, a: [1, 2]}]`}),
		index("an element and a value", multikey, unique{`{a: 1}`, `[{_id: 1, a: [1, 2]}]`, `{insert: 'C', documents: [{_id: 2, a: 2}]}`, true, `[{_id: 1, a: [1, 2]}]`}),
		index("an element twice in one document", multikey, unique{`{a: 1}`, `[]`, `{insert: 'C', documents: [{_id: 1, a: [1, 1]}]}`, false, `[{_id: 1, a: [1, 1]}]`}),
		index("empty arrays twice", multikey, unique{`{a: 1}`, `[{_id: 1, a: []}]`, `{insert: 'C', documents: [{_id: 2, a: []}]}`, true, `[{_id: 1, a: []}]`}),
		index("an empty array and null", multikey, unique{`{a: 1}`, `[{_id: 1, a: []}]`, `{insert: 'C', documents: [{_id: 2, a: null}]}`, false, `[{_id: 1, a: []}, {_id: 2, a: null}]`}),
		index("documents in an array", multikey, unique{`{'a.x': 1}`, `[{_id: 1, a: [{x: 1}, {x: 2}]}]`, `{insert: 'C', documents: [{_id: 2, a: [{x: 3}, {x: 2}]}]}`, true, `[{_id: 1, a: [{x: 1}, {x: 2}]}]`}),
		index("pairs within one array", multikey, unique{`{'a.x': 1, 'a.y': 1}`, `[{_id: 1, a: [{x: 1, y: 1}, {x: 2, y: 2}]}]`, `{insert: 'C', documents: [{_id: 2, a: [{x: 1, y: 2}]}]}`, false, `[{_id: 1, a: [{x: 1, y: 1}, {x: 2, y: 2}]}, {_id: 2, a: [{x: 1, y: 2}]}]`}),
		index("two arrays in one document", multikey, unique{ab, `[{_id: 1, a: [1], b: 1}]`, `{insert: 'C', documents: [{_id: 2, a: 5, b: [1]}]}`, false, `[{_id: 1, a: [1], b: 1}, {_id: 2, a: 5, b: [1]}]`}),
		index("an update to a value that is taken", page, unique{`{a: 1}`, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`, `{update: 'C', updates: [{q: {_id: 2}, u: {$set: {a: 1}}}]}`, true, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`}),
		index("an update to its own value", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{update: 'C', updates: [{q: {_id: 1}, u: {$set: {a: 1, b: 1}}}]}`, false, `[{_id: 1, a: 1, b: 1}]`}),
		index("an unset of a second one", page, unique{`{a: 1}`, `[{_id: 1}, {_id: 2, a: 2}]`, `{update: 'C', updates: [{q: {_id: 2}, u: {$unset: {a: ''}}}]}`, true, `[{_id: 1}, {_id: 2, a: 2}]`}),
		index("an upsert of a value that is taken", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{update: 'C', updates: [{q: {_id: 2}, u: {$set: {a: 1}}, upsert: true}]}`, true, `[{_id: 1, a: 1}]`}),
		index("a push of an element that is taken", multikey, unique{`{a: 1}`, `[{_id: 1, a: [1, 2]}, {_id: 2, a: [3]}]`, `{update: 'C', updates: [{q: {_id: 2}, u: {$push: {a: 1}}}]}`, true, `[{_id: 1, a: [1, 2]}, {_id: 2, a: [3]}]`}),
		index("a findAndModify to a value that is taken", page, unique{`{a: 1}`, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`, `{findAndModify: 'C', query: {_id: 2}, update: {$set: {a: 1}}}`, true, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`}),
		index("a value free again after a delete", page, unique{`{a: 1}`, `[{_id: 1, a: 1}]`, `{findAndModify: 'C', query: {_id: 1}, update: {$set: {a: 2}}}`, false, `[{_id: 1, a: 2}]`}),
		{"parallel arrays", multikey, func(ctx context.Context, f *fixture) error {
			if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: doc(ab)}); err != nil {
				return fmt.Errorf("create index: %w", err)
			}
			_, err := f.coll.InsertOne(ctx, doc(`{_id: 1, a: [1], b: [1]}`))
			return errors.Join(codes{171}.check("insert", err), f.holds(ctx, `[]`))
		}},
		{"an index over duplicates", page, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, `[{_id: 1, a: 1}, {_id: 2, a: 1}]`); err != nil {
				return err
			}
			_, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("a", 1), Options: options.Index().SetUnique(true)})
			return codes{11000}.check("create index", err)
		}},
		{"a value free again", page, func(ctx context.Context, f *fixture) error {
			if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("a", 1), Options: options.Index().SetUnique(true)}); err != nil {
				return fmt.Errorf("create index: %w", err)
			}
			for range 3 {
				if _, err := f.coll.InsertOne(ctx, doc(`{_id: 1, a: 1}`)); err != nil {
					return fmt.Errorf("insert: %w", err)
				}
				if _, err := f.coll.DeleteOne(ctx, d("_id", 1)); err != nil {
					return fmt.Errorf("delete: %w", err)
				}
			}
			return f.holds(ctx, `[]`)
		}},
		{"a sparse index lets missing repeat", "core/index-sparse", func(ctx context.Context, f *fixture) error {
			_, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("a", 1), Options: options.Index().SetUnique(true).SetSparse(true)})
			if err != nil {
				return fmt.Errorf("create index: %w", err)
			}
			return f.insert(ctx, `[{_id: 1}, {_id: 2}]`)
		}},
		{"a partial index binds what it holds", "core/index-partial", func(ctx context.Context, f *fixture) error {
			_, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("a", 1), Options: options.Index().SetUnique(true).SetPartialFilterExpression(d("b", 1))})
			if err != nil {
				return fmt.Errorf("create index: %w", err)
			}
			return f.insert(ctx, `[{_id: 1, a: 1}, {_id: 2, a: 1}]`)
		}},
	}
}
