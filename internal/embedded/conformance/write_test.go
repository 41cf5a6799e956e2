package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func writeCases() []testCase {
	const insert, del, upd = "reference/command/insert", "reference/command/delete", "reference/command/update"
	const bulk = "reference/method/db.collection.bulkWrite"
	const docs = `[{_id: 1, a: 1}, {_id: 2, a: 1}, {_id: 3, a: 2}]`
	answer := func(name, page, docs, cmd, reply, want string) testCase {
		return testCase{name, page, command{docs: docs, command: cmd, reply: reply, want: want}.run}
	}
	refuse := func(name, page, cmd string, code ...int) testCase {
		return testCase{name, page, command{docs: docs, command: cmd, codes: code, want: docs}.run}
	}
	return []testCase{
		answer("insert", insert, ``, `{insert: 'C', documents: [{_id: 1}, {_id: 2, a: {b: [1, {c: null}]}}]}`, `{n: 2}`, `[{_id: 1}, {_id: 2, a: {b: [1, {c: null}]}}]`),
		answer("insert moves _id to the front", insert, ``, `{insert: 'C', documents: [{a: 1, _id: 1}]}`, `{n: 1}`, `[{_id: 1, a: 1}]`),
		{"insert makes an _id", insert, insertWithoutID},
		answer("_id of any other type", insert, ``, `{insert: 'C', documents: [{_id: null}, {_id: 1.5}, {_id: 'x'}, {_id: {a: 1}}, {_id: {$binary: {base64: 'AA==', subType: '80'}}}, {_id: true}]}`, `{n: 6}`,
			`[{_id: null}, {_id: 1.5}, {_id: 'x'}, {_id: {a: 1}}, {_id: {$binary: {base64: 'AA==', subType: '80'}}}, {_id: true}]`),
		answer("equal numbers are one _id", insert, docs, `{insert: 'C', documents: [{_id: 9}]}`, `{n: 1}`, ``),
		{"an _id twice", insert, command{docs: docs, command: `{insert: 'C', documents: [{_id: 1.0}]}`, codes: codes{11000}, want: docs}.run},
		{"an _id that is a long and an int", insert, command{docs: docs, command: `{insert: 'C', documents: [{_id: {$numberLong: '1'}}]}`, codes: codes{11000}, want: docs}.run},
		refuse("an array as _id", insert, `{insert: 'C', documents: [{_id: [1]}]}`, 53, 2),
		refuse("a regular expression as _id", insert, `{insert: 'C', documents: [{_id: {$regularExpression: {pattern: 'a', options: ''}}}]}`, 53, 2),
		refuse("an _id with a $ field", insert, `{insert: 'C', documents: [{_id: {$a: 1}}]}`, 52, 2),
		refuse("no documents", insert, `{insert: 'C', documents: []}`, 16, 9),
		refuse("documents that are none", insert, `{insert: 'C', documents: [1]}`, 14, 2, 10065),
		refuse("no list of documents", insert, `{insert: 'C'}`, 40414, 2, 9),
		refuse("an unknown option", insert, `{insert: 'C', documents: [{_id: 9}], frob: 1}`, 40415),
		answer("delete one", del, docs, `{delete: 'C', deletes: [{q: {a: 2}, limit: 1}]}`, `{n: 1}`, `[{_id: 1, a: 1}, {_id: 2, a: 1}]`),
		answer("delete many", del, docs, `{delete: 'C', deletes: [{q: {a: 1}, limit: 0}]}`, `{n: 2}`, `[{_id: 3, a: 2}]`),
		answer("delete all", del, docs, `{delete: 'C', deletes: [{q: {}, limit: 0}]}`, `{n: 3}`, `[]`),
		answer("delete none", del, docs, `{delete: 'C', deletes: [{q: {a: 9}, limit: 0}]}`, `{n: 0}`, docs),
		answer("several deletes", del, docs, `{delete: 'C', deletes: [{q: {a: 1}, limit: 1}, {q: {a: 1}, limit: 1}, {q: {a: 1}, limit: 1}]}`, `{n: 2}`, `[{_id: 3, a: 2}]`),
		answer("delete from a collection that is not there", del, ``, `{delete: 'C', deletes: [{q: {}, limit: 0}]}`, `{n: 0}`, ``),
		refuse("delete of two", del, `{delete: 'C', deletes: [{q: {}, limit: 2}]}`, 9, 14),
		refuse("delete without a limit", del, `{delete: 'C', deletes: [{q: {}}]}`, 9, 40414),
		refuse("delete without a filter", del, `{delete: 'C', deletes: [{limit: 1}]}`, 9, 40414),
		refuse("an unknown option of a delete", del, `{delete: 'C', deletes: [{q: {}, limit: 0, frob: 1}]}`, 40415),
		answer("several updates", upd, docs, `{update: 'C', updates: [{q: {a: 1}, u: {$inc: {a: 1}}, multi: true}, {q: {a: 2}, u: {$inc: {b: 1}}, multi: true}]}`,
			`{n: 5, nModified: 5}`, `[{_id: 1, a: 2, b: 1}, {_id: 2, a: 2, b: 1}, {_id: 3, a: 2, b: 1}]`),
		refuse("an unknown option of an update", upd, `{update: 'C', updates: [{q: {}, u: {$set: {a: 9}}, frob: 1}]}`, 40415),
		refuse("an update without u", upd, `{update: 'C', updates: [{q: {}}]}`, 40414, 9),
		refuse("an unknown filter operator", upd, `{update: 'C', updates: [{q: {a: {$frob: 1}}, u: {$set: {a: 9}}}]}`, 2),
		answer("an update of a collection that is not there", upd, ``, `{update: 'C', updates: [{q: {}, u: {$set: {a: 9}}}]}`, `{n: 0, nModified: 0}`, ``),
		{"ordered stops at the first error", bulk, func(ctx context.Context, f *fixture) error { return manyErrors(ctx, f, true) }},
		{"unordered goes on after errors", bulk, func(ctx context.Context, f *fixture) error { return manyErrors(ctx, f, false) }},
		{"ordered updates stop at the first error", bulk, command{
			docs: docs, command: `{update: 'C', updates: [{q: {_id: 1}, u: {$set: {a: 5}}}, {q: {_id: 2}, u: {$set: {_id: 5}}}, {q: {_id: 3}, u: {$set: {a: 5}}}]}`, codes: codes{66},
			want: `[{_id: 1, a: 5}, {_id: 2, a: 1}, {_id: 3, a: 2}]`,
		}.run},
		{"unordered updates go on", bulk, command{
			docs: docs, command: `{update: 'C', ordered: false, updates: [{q: {_id: 1}, u: {$set: {_id: 5}}}, {q: {_id: 3}, u: {$set: {a: 5}}}]}`, codes: codes{66},
			want: `[{_id: 1, a: 1}, {_id: 2, a: 1}, {_id: 3, a: 5}]`,
		}.run},
		{"mixed writes in order", bulk, mixedWrites},
		{"counts and distinct values", "reference/command/count", countAndDistinct},
		answer("count with skip and limit", "reference/command/count", docs, `{count: 'C', query: {a: {$gte: 1}}, skip: 1, limit: 1}`, `{n: 1}`, ``),
		answer("count of a collection that is not there", "reference/command/count", ``, `{count: 'none'}`, `{n: 0}`, ``),
		answer("count without a query", "reference/command/count", docs, `{count: 'C'}`, `{n: 3}`, ``),
		answer("distinct values of arrays", "reference/command/distinct", `[{_id: 1, v: [1, 2, 1]}, {_id: 2, v: 3}, {_id: 3, v: [2, [3]]}, {_id: 4}, {_id: 5, v: []}]`, `{distinct: 'C', key: 'v', query: {_id: 1}}`, `{values: [1, 2]}`, ``),
		answer("distinct values with null", "reference/command/distinct", `[{_id: 1, v: null}, {_id: 2, v: null}, {_id: 3}]`, `{distinct: 'C', key: 'v'}`, `{values: [null]}`, ``),
		answer("distinct equal numbers", "reference/command/distinct", `[{_id: 1, v: 1}, {_id: 2, v: 1.0}, {_id: 3, v: {$numberLong: '1'}}]`, `{distinct: 'C', key: 'v'}`, `{values: [1]}`, ``),
		answer("distinct values through an array of documents", "reference/command/distinct", `[{_id: 1, v: [{x: 1}, {x: [2, 3]}, {y: 4}, 5]}]`, `{distinct: 'C', key: 'v.x'}`, `{values: [1, 2, 3]}`, ``),
		answer("distinct with a query", "reference/command/distinct", docs, `{distinct: 'C', key: '_id', query: {a: 2}}`, `{values: [3]}`, ``),
		answer("distinct in a collection that is not there", "reference/command/distinct", ``, `{distinct: 'none', key: 'v'}`, `{values: []}`, ``),
		refuse("distinct without a key", "reference/command/distinct", `{distinct: 'C'}`, 14, 40414),
	}
}

func insertWithoutID(ctx context.Context, f *fixture) error {
	if _, err := f.command(ctx, `{insert: 'C', documents: [{a: 1}, {a: 2}]}`); err != nil {
		return err
	}
	docs, err := drain(ctx)(f.coll.Find(ctx, d(), options.Find().SetSort(d("a", 1))))
	if err != nil {
		return err
	}
	made := map[bson.ObjectID]bool{}
	for _, item := range docs {
		if item, ok := item.(bson.D); ok && item[0].Key == "_id" {
			if id, ok := item[0].Value.(bson.ObjectID); ok {
				made[id] = true
			}
		}
	}
	if len(made) != 2 {
		return fmt.Errorf("the documents are %s", show(docs))
	}
	return nil
}

// manyErrors inserts documents of which some cannot be.
func manyErrors(ctx context.Context, f *fixture, ordered bool) error {
	if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("u", 1), Options: options.Index().SetUnique(true)}); err != nil {
		return fmt.Errorf("create index: %w", err)
	}
	docs := list(`[{_id: 1, u: 1}, {_id: 1, u: 2}, {_id: 3, u: 1}, {_id: 4, u: 4}, {_id: [5], u: 5}, {_id: 6, u: 6}]`)
	_, err := f.coll.InsertMany(ctx, docs, options.InsertMany().SetOrdered(ordered))
	var failed mongo.BulkWriteException
	if !errors.As(err, &failed) {
		return fmt.Errorf("insert: %w", err)
	}
	got := bson.A{}
	for _, we := range failed.WriteErrors {
		pattern, ok := we.Raw.Lookup("keyPattern").DocumentOK()
		if ok != (we.Code == 11000) {
			return fmt.Errorf("error %d: %w", we.Code, err)
		}
		if !ok {
			pattern = bson.Raw("\x05\x00\x00\x00\x00")
		}
		got = append(got, fmt.Sprintf("%d %s", we.Index, pattern))
	}
	want, holds := bson.A{`1 {"_id": {"$numberInt":"1"}}`}, `[{_id: 1, u: 1}]`
	if !ordered {
		want = append(want, `2 {"u": {"$numberInt":"1"}}`, "4 {}")
		holds = `[{_id: 1, u: 1}, {_id: 4, u: 4}, {_id: 6, u: 6}]`
	}
	return errors.Join(same("errors", got, want), f.holds(ctx, holds))
}

func mixedWrites(ctx context.Context, f *fixture) error {
	res, err := f.coll.BulkWrite(ctx, []mongo.WriteModel{
		mongo.NewInsertOneModel().SetDocument(doc(`{_id: 1, a: 1}`)),
		mongo.NewInsertOneModel().SetDocument(doc(`{_id: 2, a: 1}`)),
		mongo.NewUpdateManyModel().SetFilter(d("a", 1)).SetUpdate(doc(`{$inc: {a: 1}}`)),
		mongo.NewUpdateOneModel().SetFilter(d("_id", 3)).SetUpdate(doc(`{$set: {a: 9}}`)).SetUpsert(true),
		mongo.NewReplaceOneModel().SetFilter(d("_id", 1)).SetReplacement(doc(`{b: 1}`)),
		mongo.NewDeleteOneModel().SetFilter(d("a", 2)),
	})
	if err != nil {
		return fmt.Errorf("bulk write: %w", err)
	}
	got := bson.A{res.InsertedCount, res.MatchedCount, res.ModifiedCount, res.UpsertedCount, res.DeletedCount, len(res.UpsertedIDs)}
	return errors.Join(same("counts", plain(got), plain(list(`[2, 3, 3, 1, 1, 1]`))), f.holds(ctx, `[{_id: 1, b: 1}, {_id: 3, a: 9}]`))
}

func countAndDistinct(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, `[{_id: 1, a: 'x'}, {_id: 2, a: 'y'}, {_id: 3, a: 'x'}]`); err != nil {
		return err
	}
	estimate, err := f.coll.EstimatedDocumentCount(ctx)
	if err != nil {
		return fmt.Errorf("estimate: %w", err)
	}
	count, err := f.coll.CountDocuments(ctx, d("a", "x"))
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	none, err := f.coll.CountDocuments(ctx, d("a", "z"))
	if err != nil {
		return fmt.Errorf("count none: %w", err)
	}
	values := []string{}
	if err := f.coll.Distinct(ctx, "a", d("_id", d("$lt", 3))).Decode(&values); err != nil {
		return fmt.Errorf("distinct: %w", err)
	}
	return same("answers", bson.A{estimate, count, none, values}, bson.A{int64(3), int64(2), int64(0), []string{"x", "y"}})
}
