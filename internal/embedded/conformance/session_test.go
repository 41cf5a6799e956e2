package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// inSession runs fn with a session of its own.
func (f *fixture) inSession(ctx context.Context, fn func(context.Context, *mongo.Session) error, opts ...options.Lister[options.SessionOptions]) error {
	sess, err := f.client.StartSession(opts...)
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	defer sess.EndSession(ctx)
	return fn(mongo.NewSessionContext(ctx, sess), sess)
}

// numbered sends a write twice under one transaction number, as a driver does
// that has lost the reply.
type numbered struct {
	docs    string
	command string
	reply   string // both times
	want    string
}

func (n numbered) run(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, n.docs); err != nil {
		return err
	}
	sc, err := f.numberedSession(ctx)
	if err != nil {
		return err
	}
	for i := range 2 {
		raw, err := f.db.RunCommand(sc, append(doc(replaceColl(f, n.command)), bson.E{Key: "txnNumber", Value: firstNumber})).Raw()
		if err != nil {
			return fmt.Errorf("time %d: %w", i+1, err)
		}
		if err := contains(raw, doc(n.reply)); err != nil {
			return fmt.Errorf("time %d: %w", i+1, err)
		}
	}
	return f.holds(ctx, n.want)
}

// numberedRefusal sends a write that may not be numbered.
func numberedRefusal(text string) func(context.Context, *fixture) error {
	return func(ctx context.Context, f *fixture) error {
		if err := f.insert(ctx, `[{_id: 1}]`); err != nil {
			return err
		}
		sc, err := f.numberedSession(ctx)
		if err != nil {
			return err
		}
		err = f.db.RunCommand(sc, append(doc(replaceColl(f, text)), bson.E{Key: "txnNumber", Value: firstNumber})).Err()
		return errors.Join(codes{72}.check("write", err), f.holds(ctx, `[{_id: 1}]`))
	}
}

// firstNumber is above what the driver numbers in one run.
const firstNumber int64 = 1 << 40

// numberedSession returns a context with a session whose writes the case numbers
// itself. The session is never ended: the driver would use it again with its own,
// lower numbers.
func (f *fixture) numberedSession(ctx context.Context) (context.Context, error) {
	sess, err := f.client.StartSession()
	if err != nil {
		return nil, fmt.Errorf("start session: %w", err)
	}
	return mongo.NewSessionContext(ctx, sess), nil
}

func sessionCases() []testCase {
	const retry, snapshot, sessions = "core/retryable-writes", "reference/read-concern-snapshot", "core/read-isolation-consistency-recency"
	twice := func(name string, n numbered) testCase { return testCase{name, retry, n.run} }
	return []testCase{
		twice("an insert", numbered{command: `{insert: 'C', documents: [{_id: 1}, {_id: 2}]}`, reply: `{n: 2}`, want: `[{_id: 1}, {_id: 2}]`}),
		twice("an update", numbered{docs: `[{_id: 1, a: 1}]`, command: `{update: 'C', updates: [{q: {_id: 1}, u: {$inc: {a: 1}}}]}`, reply: `{n: 1, nModified: 1}`, want: `[{_id: 1, a: 2}]`}),
		twice("an upsert", numbered{command: `{update: 'C', updates: [{q: {_id: 1}, u: {$inc: {a: 1}}, upsert: true}]}`, reply: `{n: 1, nModified: 0, upserted: [{index: 0, _id: 1}]}`, want: `[{_id: 1, a: 1}]`}),
		twice("a delete", numbered{docs: `[{_id: 1, a: 1}, {_id: 2, a: 1}]`, command: `{delete: 'C', deletes: [{q: {a: 1, _id: 1}, limit: 1}]}`, reply: `{n: 1}`, want: `[{_id: 2, a: 1}]`}),
		twice("a findAndModify, before", numbered{docs: `[{_id: 1, a: 1}]`, command: `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}}`, reply: `{value: {_id: 1, a: 1}}`, want: `[{_id: 1, a: 2}]`}),
		twice("a findAndModify, after", numbered{docs: `[{_id: 1, a: 1}]`, command: `{findAndModify: 'C', query: {_id: 1}, update: {$inc: {a: 1}}, new: true}`, reply: `{value: {_id: 1, a: 2}}`, want: `[{_id: 1, a: 2}]`}),
		twice("a findAndModify, remove", numbered{docs: `[{_id: 1, a: 1}, {_id: 2, a: 1}]`, command: `{findAndModify: 'C', query: {a: 1}, sort: {_id: 1}, remove: true}`, reply: `{value: {_id: 1, a: 1}}`, want: `[{_id: 2, a: 1}]`}),
		twice("statements one by one", numbered{
			docs:    `[{_id: 1, a: 1}, {_id: 2, a: 1}]`,
			command: `{update: 'C', updates: [{q: {_id: 1}, u: {$inc: {a: 1}}}, {q: {_id: 2}, u: {$inc: {a: 1}}}]}`, reply: `{n: 2}`, want: `[{_id: 1, a: 2}, {_id: 2, a: 2}]`,
		}),
		{"an update of many is no retryable write", retry, numberedRefusal(`{update: 'C', updates: [{q: {}, u: {$set: {a: 1}}, multi: true}]}`)},
		{"a delete of many is no retryable write", retry, numberedRefusal(`{delete: 'C', deletes: [{q: {}, limit: 0}]}`)},
		{"a lower number is too old", retry, func(ctx context.Context, f *fixture) error {
			sc, err := f.numberedSession(ctx)
			if err != nil {
				return err
			}
			insert := func(id int, number int64) error {
				return f.db.RunCommand(sc, d("insert", f.coll.Name(), "documents", bson.A{d("_id", id)}, "txnNumber", number)).Err()
			}
			if err := insert(1, firstNumber+1); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			return errors.Join(codes{225}.check("older", insert(2, firstNumber)), f.holds(ctx, `[{_id: 1}]`))
		}},
		{"the time of operations goes forward", sessions, func(ctx context.Context, f *fixture) error {
			return f.inSession(ctx, func(ctx context.Context, sess *mongo.Session) error {
				var before bson.Timestamp
				for i := range 3 {
					if _, err := f.coll.InsertOne(ctx, d("_id", i)); err != nil {
						return fmt.Errorf("insert: %w", err)
					}
					now := sess.OperationTime()
					if now == nil || !now.After(before) {
						return fmt.Errorf("operation time %v after %v", now, before)
					}
					before = *now
				}
				return nil
			})
		}},
		{"a session reads its own writes", sessions, func(ctx context.Context, f *fixture) error {
			return f.inSession(ctx, func(ctx context.Context, _ *mongo.Session) error {
				for i := range 20 {
					if _, err := f.coll.InsertOne(ctx, d("_id", i)); err != nil {
						return fmt.Errorf("insert: %w", err)
					}
					if err := f.coll.FindOne(ctx, d("_id", i)).Err(); err != nil {
						return fmt.Errorf("find %d: %w", i, err)
					}
				}
				return nil
			}, options.Session().SetCausalConsistency(true))
		}},
		{"a snapshot session sees one time", snapshot, snapshotReads},
		{"a write at a snapshot", snapshot, command{docs: `[{_id: 1}]`, command: `{insert: 'C', documents: [{_id: 2}], readConcern: {level: 'snapshot'}}`, codes: codes{72}, want: `[{_id: 1}]`}.run},
		{"a cursor of a snapshot", snapshot, snapshotCursor},
		{"snapshot reads of a command that has none", snapshot, command{docs: `[{_id: 1}]`, command: `{count: 'C', readConcern: {level: 'snapshot'}}`, codes: codes{72, 2}}.run},
		{"an unknown read concern", "reference/read-concern", command{command: `{find: 'C', readConcern: {level: 'frob'}}`, codes: codes{9, 72, 2}}.run},
		{"majority and local read concern", "reference/read-concern", command{docs: `[{_id: 1}]`, command: `{find: 'C', readConcern: {level: 'majority'}}`, reply: `{'cursor.firstBatch': [{_id: 1}]}`}.run},
		{"majority write concern", "reference/write-concern", command{command: `{insert: 'C', documents: [{_id: 1}], writeConcern: {w: 'majority', j: true}}`, reply: `{n: 1}`, want: `[{_id: 1}]`}.run},
		{"an unknown write concern", "reference/write-concern", command{command: `{insert: 'C', documents: [{_id: 1}], writeConcern: {frob: 1}}`, codes: codes{9, 40415}}.run},
	}
}

func snapshotReads(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, `[{_id: 1, a: 1}, {_id: 2, a: 1}]`); err != nil {
		return err
	}
	return f.inSession(ctx, func(sc context.Context, _ *mongo.Session) error {
		for i := range 4 {
			docs, err := drain(sc)(f.coll.Find(sc, d(), options.Find().SetSort(d("_id", 1))))
			if err != nil {
				return err
			}
			if err := same("find", docs, list(`[{_id: 1, a: 1}, {_id: 2, a: 1}]`)); err != nil {
				return err
			}
			n, err := f.coll.CountDocuments(sc, d("a", 1))
			if err != nil || n != 2 {
				return fmt.Errorf("count %d: %w", n, err)
			}
			var values []int
			if err := f.coll.Distinct(sc, "a", d()).Decode(&values); err != nil || len(values) != 1 {
				return fmt.Errorf("distinct %v: %w", values, err)
			}
			if _, err := f.coll.UpdateOne(ctx, d("_id", 1), d("$inc", d("a", 1))); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			if _, err := f.coll.InsertOne(ctx, d("_id", 10+i, "a", 7)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if _, err := f.coll.DeleteOne(ctx, d("_id", 2)); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
		}
		return nil
	}, options.Session().SetSnapshot(true))
}

func snapshotCursor(ctx context.Context, f *fixture) error {
	docs := bson.A{}
	for i := range 300 {
		docs = append(docs, d("_id", i))
	}
	if _, err := f.coll.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	return f.inSession(ctx, func(sc context.Context, _ *mongo.Session) error {
		cur, err := f.coll.Find(sc, d(), options.Find().SetBatchSize(10).SetSort(d("_id", 1)))
		if err != nil {
			return fmt.Errorf("find: %w", err)
		}
		if _, err := f.coll.DeleteMany(ctx, d("_id", d("$gte", 5))); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		got, err := drain(sc)(cur, nil)
		if err != nil {
			return err
		}
		return same("documents", len(got), 300)
	}, options.Session().SetSnapshot(true))
}
