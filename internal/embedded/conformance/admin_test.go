package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// stages returns the names of all stages in a plan, however deep and whatever a
// server puts around it.
func stages(v any) []string {
	var out []string
	switch x := v.(type) {
	case bson.D:
		for _, e := range x {
			if name, ok := e.Value.(string); ok && e.Key == "stage" {
				out = append(out, name)
			}
			out = append(out, stages(e.Value)...)
		}
	case bson.A:
		for _, item := range x {
			out = append(out, stages(item)...)
		}
	}
	return out
}

// explained is a query and the plan that an index gives it.
type explained struct {
	index string
	query string // a command; 'C' stands for the collection
	stage string // must be in the plan
	not   string // must not be
	keys  int64  // most keys examined
	docs  int64  // most documents examined
}

func (e explained) run(ctx context.Context, f *fixture) error {
	if e.index != "" {
		if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: doc(e.index)}); err != nil {
			return fmt.Errorf("create index: %w", err)
		}
	}
	var all bson.A
	for i := range 200 {
		all = append(all, d("_id", i, "a", i%10, "b", i, "c", bson.A{i % 4, 10 + i%6}))
	}
	if _, err := f.coll.InsertMany(ctx, all); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	raw, err := f.db.RunCommand(ctx, d("explain", doc(replaceColl(f, e.query)), "verbosity", "executionStats")).Raw()
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	var plan struct {
		Planner struct {
			Winning bson.D `bson:"winningPlan"`
		} `bson:"queryPlanner"`
		Stats struct {
			Keys int64 `bson:"totalKeysExamined"`
			Docs int64 `bson:"totalDocsExamined"`
		} `bson:"executionStats"`
	}
	if err := bson.Unmarshal(raw, &plan); err != nil {
		return fmt.Errorf("decode plan: %w", err)
	}
	names := stages(plan.Planner.Winning)
	if !slices.Contains(names, e.stage) || e.not != "" && slices.Contains(names, e.not) {
		return fmt.Errorf("the plan is %s", show(plan.Planner.Winning))
	}
	if e.keys > 0 && (plan.Stats.Keys > e.keys || plan.Stats.Docs > e.docs) {
		return fmt.Errorf("examined %d keys and %d documents, want at most %d and %d", plan.Stats.Keys, plan.Stats.Docs, e.keys, e.docs)
	}
	return nil
}

func adminCases() []testCase {
	const create, listed, drop = "reference/command/createIndexes", "reference/command/listIndexes", "reference/command/dropIndexes"
	const explain, colls, dbs = "reference/command/explain", "reference/command/listCollections", "reference/command/listDatabases"
	const one = `[{_id: 1, a: 1}]`
	plan := func(name string, e explained) testCase { return testCase{name, explain, e.run} }
	run := func(name, page, docs, cmd, reply string, code ...int) testCase {
		return testCase{name, page, command{docs: docs, command: cmd, reply: reply, codes: code}.run}
	}
	// indexes runs commands one after another and compares the keys of the indexes.
	indexes := func(name, page, want string, commands ...string) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			for _, text := range commands {
				if _, err := f.command(ctx, text); err != nil {
					return err
				}
			}
			specs, err := drain(ctx)(f.coll.Indexes().List(ctx))
			if err != nil {
				return err
			}
			got := bson.A{}
			for _, spec := range specs {
				spec, ok := spec.(bson.D)
				if !ok {
					return fmt.Errorf("the index is %v", spec)
				}
				for _, e := range spec {
					if e.Key == "key" || e.Key == "unique" {
						got = append(got, e.Value)
					}
				}
			}
			return same("indexes", plain(got), plain(list(want)))
		}}
	}
	return []testCase{
		plan("a scan without an index", explained{query: `{find: 'C', filter: {b: 5}}`, stage: "COLLSCAN", not: "IXSCAN"}),
		plan("an index for an equality", explained{index: `{a: 1}`, query: `{find: 'C', filter: {a: 5}}`, stage: "IXSCAN", not: "COLLSCAN", keys: 20, docs: 20}),
		plan("an index for a range", explained{index: `{b: 1}`, query: `{find: 'C', filter: {b: {$gte: 10, $lt: 20}}}`, stage: "IXSCAN", keys: 11, docs: 10}),
		plan("an index for $in", explained{index: `{b: 1}`, query: `{find: 'C', filter: {b: {$in: [1, 5, 9]}}}`, stage: "IXSCAN", keys: 6, docs: 3}),
		plan("an index for an element", explained{index: `{c: 1}`, query: `{find: 'C', filter: {c: 2}}`, stage: "IXSCAN", keys: 50, docs: 50}),
		plan("a compound index for a prefix and a range", explained{index: `{a: 1, b: 1}`, query: `{find: 'C', filter: {a: 3, b: {$gt: 100}}}`, stage: "IXSCAN", keys: 11, docs: 10}),
		plan("an index for a sort", explained{index: `{a: 1, b: -1}`, query: `{find: 'C', filter: {a: 3}, sort: {b: -1}, limit: 5}`, stage: "IXSCAN", not: "SORT", keys: 5, docs: 5}),
		plan("an index backwards for a sort", explained{index: `{a: 1, b: -1}`, query: `{find: 'C', filter: {a: 3}, sort: {b: 1}, limit: 5}`, stage: "IXSCAN", not: "SORT", keys: 5, docs: 5}),
		plan("a sort that no index serves", explained{index: `{a: 1}`, query: `{find: 'C', filter: {a: 3}, sort: {b: 1}}`, stage: "SORT"}),
		plan("an index for an $or", explained{index: `{b: 1}`, query: `{find: 'C', filter: {$or: [{b: 1}, {b: 7}]}}`, stage: "IXSCAN", not: "COLLSCAN", keys: 4, docs: 2}),
		plan("a count", explained{index: `{a: 1}`, query: `{count: 'C', query: {b: 3}}`, stage: "COLLSCAN"}),
		plan("a distinct", explained{query: `{distinct: 'C', key: 'a', query: {b: 3}}`, stage: "COLLSCAN"}),
		run("explain of only the plan", explain, one, `{explain: {find: 'C'}, verbosity: 'queryPlanner'}`, `{ok: 1}`),
		run("explain with an unknown verbosity", explain, one, `{explain: {find: 'C'}, verbosity: 'frob'}`, ``, 2, 9),
		run("explain of an unknown command", explain, one, `{explain: {frob: 'C'}}`, ``, 59),
		run("explain of an unknown operator", explain, one, `{explain: {find: 'C', filter: {a: {$frob: 1}}}}`, ``, 2),

		indexes("there is always an index on _id", listed, `[{_id: 1}]`),
		indexes("a single index", create, `[{_id: 1}, {a: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`),
		indexes("a compound index, descending", create, `[{_id: 1}, {a: 1, b: -1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1, b: -1}, name: 'x'}]}`),
		indexes("two indexes at once", create, `[{_id: 1}, {a: 1}, {b: 1}, true]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}, {key: {b: 1}, name: 'y', unique: true}]}`),
		indexes("the same index again", create, `[{_id: 1}, {a: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`),
		indexes("the index on _id again", create, `[{_id: 1}]`, `{createIndexes: 'C', indexes: [{key: {_id: 1}, name: '_id_'}]}`),
		indexes("drop by name", drop, `[{_id: 1}, {b: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}, {key: {b: 1}, name: 'y'}]}`, `{dropIndexes: 'C', index: 'x'}`),
		indexes("drop by key", drop, `[{_id: 1}, {b: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}, {key: {b: 1}, name: 'y'}]}`, `{dropIndexes: 'C', index: {a: 1}}`),
		indexes("drop all", drop, `[{_id: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}, {key: {b: 1}, name: 'y'}]}`, `{dropIndexes: 'C', index: '*'}`),
		indexes("drop by names", drop, `[{_id: 1}]`, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}, {key: {b: 1}, name: 'y'}]}`, `{dropIndexes: 'C', index: ['x', 'y']}`),
		run("the reply counts the indexes", create, one, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`, `{numIndexesBefore: 1, numIndexesAfter: 2}`),
		run("an index makes its collection", create, ``, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`, `{createdCollectionAutomatically: true}`),
		{"the same key under another name", create, func(ctx context.Context, f *fixture) error {
			return secondIndex(ctx, f, `{key: {a: 1}, name: 'x'}`, `{key: {a: 1}, name: 'y'}`, 85)
		}},
		{"another key under the same name", create, func(ctx context.Context, f *fixture) error {
			return secondIndex(ctx, f, `{key: {a: 1}, name: 'x'}`, `{key: {b: 1}, name: 'x'}`, 86, 85)
		}},
		{"the same key, now unique", create, func(ctx context.Context, f *fixture) error {
			return secondIndex(ctx, f, `{key: {a: 1}, name: 'x'}`, `{key: {a: 1}, name: 'x', unique: true}`, 86, 85)
		}},
		run("an index without a name", create, one, `{createIndexes: 'C', indexes: [{key: {a: 1}}]}`, ``, 9, 67, 40414),
		run("an index without a key", create, one, `{createIndexes: 'C', indexes: [{name: 'x'}]}`, ``, 9, 67, 40414),
		run("an index with an empty key", create, one, `{createIndexes: 'C', indexes: [{key: {}, name: 'x'}]}`, ``, 67),
		run("an index with a direction of zero", create, one, `{createIndexes: 'C', indexes: [{key: {a: 0}, name: 'x'}]}`, ``, 67),
		run("an index with an unknown type", create, one, `{createIndexes: 'C', indexes: [{key: {a: 'frob'}, name: 'x'}]}`, ``, 67),
		run("an index with an unknown option", create, one, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x', frob: 1}]}`, ``, 197, 67),
		run("no indexes", create, one, `{createIndexes: 'C', indexes: []}`, ``, 2),
		run("drop of an index that is not there", drop, one, `{dropIndexes: 'C', index: 'x'}`, ``, 27),
		run("drop of the index on _id", drop, one, `{dropIndexes: 'C', index: '_id_'}`, ``, 72),
		run("drop of indexes of a collection that is not there", drop, ``, `{dropIndexes: 'none', index: '*'}`, ``, 26),
		run("list of a collection that is not there", listed, ``, `{listIndexes: 'none'}`, ``, 26),
		{"an index built over documents", create, func(ctx context.Context, f *fixture) error {
			if err := hundreds(ctx, f, 300); err != nil {
				return err
			}
			if _, err := f.command(ctx, `{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x'}]}`); err != nil {
				return err
			}
			n, err := f.coll.CountDocuments(ctx, d("a", 1))
			return errors.Join(err, same("count", n, int64(100)))
		}},
		{"queries after an index is dropped", drop, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, `[{_id: 1, a: 1}, {_id: 2, a: 2}]`); err != nil {
				return err
			}
			for _, text := range []string{`{createIndexes: 'C', indexes: [{key: {a: 1}, name: 'x', unique: true}]}`, `{dropIndexes: 'C', index: 'x'}`, `{insert: 'C', documents: [{_id: 3, a: 1}]}`} {
				if _, err := f.command(ctx, text); err != nil {
					return err
				}
			}
			n, err := f.coll.CountDocuments(ctx, d("a", 1))
			return errors.Join(err, same("count", n, int64(2)))
		}},

		{"create a collection", "reference/command/create", func(ctx context.Context, f *fixture) error {
			if _, err := f.command(ctx, `{create: 'C'}`); err != nil {
				return err
			}
			names, err := f.db.ListCollectionNames(ctx, d("name", f.coll.Name()))
			return errors.Join(err, same("collections", names, []string{f.coll.Name()}))
		}},
		run("create a collection that is there", "reference/command/create", one, `{create: 'C', capped: false}`, `{ok: 1}`),
		run("create a view over a collection that is there", "reference/command/create", one, `{create: 'C', viewOn: 'x', pipeline: []}`, ``, 48, 40415),
		run("an unknown option of create", "reference/command/create", ``, `{create: 'C', frob: 1}`, ``, 40415),
		run("a collection without a name", "reference/limits", ``, `{create: ''}`, ``, 73, 2),
		run("a collection name with $", "reference/limits", ``, `{create: 'a$b'}`, ``, 73, 2),
		run("a collection name that begins with a dot", "reference/limits", ``, `{create: '.a'}`, ``, 73),
		run("a collection name of the system", "reference/limits", ``, `{create: 'system.frob'}`, ``, 73, 20),
		{"drop", "reference/command/drop", func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			raw, err := f.command(ctx, `{drop: 'C'}`)
			if err != nil {
				return err
			}
			names, err := f.db.ListCollectionNames(ctx, d("name", f.coll.Name()))
			return errors.Join(err, same("collections", names, []string{}), f.holds(ctx, `[]`),
				contains(raw, d("nIndexesWas", 1, "ns", f.db.Name()+"."+f.coll.Name())))
		}},
		{"drop of a database", "reference/command/dropDatabase", func(ctx context.Context, f *fixture) error {
			other := f.client.Database(f.db.Name() + "b")
			if _, err := other.Collection("x").InsertOne(ctx, d("_id", 1)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			before, err := f.client.ListDatabaseNames(ctx, d("name", other.Name()))
			if err != nil {
				return fmt.Errorf("list: %w", err)
			}
			if err := errors.Join(same("before", before, []string{other.Name()}), other.Drop(ctx)); err != nil {
				return err
			}
			after, err := f.client.ListDatabaseNames(ctx, d("name", other.Name()))
			return errors.Join(err, same("after", after, []string{}))
		}},
		{"drop of a database that is not there", "reference/command/dropDatabase", func(ctx context.Context, f *fixture) error {
			return f.client.Database(f.db.Name()+"none").RunCommand(ctx, d("dropDatabase", 1)).Err()
		}},
		{"list collections", colls, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			specs, err := f.db.ListCollectionSpecifications(ctx, d("name", f.coll.Name()))
			if err != nil || len(specs) != 1 {
				return fmt.Errorf("%d collections: %w", len(specs), err)
			}
			s := specs[0]
			if s.Type != "collection" || s.ReadOnly || s.UUID == nil || s.IDIndex.Name != "_id_" {
				return fmt.Errorf("the collection is %+v", s)
			}
			return nil
		}},
		{"list collections by another field", colls, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			names, err := f.db.ListCollectionNames(ctx, d("type", "collection", "name", f.coll.Name()))
			return errors.Join(err, same("collections", names, []string{f.coll.Name()}))
		}},
		{"list databases", dbs, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			res, err := f.client.ListDatabases(ctx, d("name", f.db.Name()), options.ListDatabases().SetNameOnly(true))
			if err != nil || len(res.Databases) != 1 {
				return fmt.Errorf("%d databases: %w", len(res.Databases), err)
			}
			return nil
		}},
		{"another database sees nothing", dbs, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, one); err != nil {
				return err
			}
			other := f.client.Database(f.db.Name() + "c").Collection(f.coll.Name())
			n, err := other.CountDocuments(ctx, d())
			if err := errors.Join(err, same("count", n, int64(0))); err != nil {
				return err
			}
			_, err = other.DeleteMany(ctx, d())
			return errors.Join(err, f.holds(ctx, one))
		}},
		run("hello", "reference/command/hello", ``, `{hello: 1}`, `{isWritablePrimary: true, maxBsonObjectSize: 16777216, maxMessageSizeBytes: 48000000, maxWriteBatchSize: 100000, logicalSessionTimeoutMinutes: 30, readOnly: false}`),
		run("ping", "reference/command/ping", ``, `{ping: 1}`, `{ok: 1}`),
		run("buildInfo", "reference/command/buildInfo", ``, `{buildInfo: 1}`, `{ok: 1, bits: 64, maxBsonObjectSize: 16777216}`),
		run("an unknown command", "reference/command", ``, `{frob: 1}`, ``, 59),
		run("an unknown option of find", "reference/command/find", one, `{find: 'C', frob: 1}`, ``, 40415, 9),
		run("a comment", "reference/command/find", one, `{find: 'C', comment: 'x'}`, `{'cursor.firstBatch': [{_id: 1, a: 1}]}`),
	}
}

// secondIndex creates one index, then another that must be refused.
func secondIndex(ctx context.Context, f *fixture, first, second string, code ...int) error {
	if _, err := f.command(ctx, `{createIndexes: 'C', indexes: [`+first+`]}`); err != nil {
		return err
	}
	_, err := f.command(ctx, `{createIndexes: 'C', indexes: [`+second+`]}`)
	return codes(code).check("second index", err)
}
