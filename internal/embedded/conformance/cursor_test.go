package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// hundreds inserts n documents.
func hundreds(ctx context.Context, f *fixture, n int) error {
	docs := make(bson.A, n)
	for i := range docs {
		docs[i] = d("_id", i, "a", i%3)
	}
	if _, err := f.coll.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	return nil
}

// batch is a cursor in a reply.
type batch struct {
	Cursor struct {
		ID    int64    `bson:"id"`
		NS    string   `bson:"ns"`
		First []bson.D `bson:"firstBatch"`
		Next  []bson.D `bson:"nextBatch"`
	}
}

func (f *fixture) batch(ctx context.Context, command bson.D) (batch, error) {
	var b batch
	if err := f.db.RunCommand(ctx, command).Decode(&b); err != nil {
		return b, fmt.Errorf("run command: %w", err)
	}
	return b, nil
}

// batches walks a cursor by hand and returns the sizes of its batches.
func (f *fixture) batches(ctx context.Context, command bson.D, more ...any) ([]int, error) {
	var sizes []int
	err := f.inSession(ctx, func(ctx context.Context, _ *mongo.Session) error {
		b, err := f.batch(ctx, command)
		if err != nil {
			return err
		}
		sizes = append(sizes, len(b.Cursor.First))
		for b.Cursor.ID != 0 && len(sizes) < 50 {
			if b, err = f.batch(ctx, append(d("getMore", b.Cursor.ID, "collection", f.coll.Name()), d(more...)...)); err != nil {
				return err
			}
			sizes = append(sizes, len(b.Cursor.Next))
		}
		return nil
	})
	return sizes, err
}

func cursorCases() []testCase {
	const find, more, kill = "reference/command/find", "reference/command/getMore", "reference/command/killCursors"
	sizes := func(name, page string, n int, command string, more []any, want ...int) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			if err := hundreds(ctx, f, n); err != nil {
				return err
			}
			got, err := f.batches(ctx, doc(replaceColl(f, command)), more...)
			if err != nil {
				return err
			}
			return same("batches", got, want)
		}}
	}
	// open has a cursor with documents left and passes its id on.
	open := func(name, page string, fn func(ctx context.Context, f *fixture, id int64) error) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			if err := hundreds(ctx, f, 10); err != nil {
				return err
			}
			return f.inSession(ctx, func(ctx context.Context, _ *mongo.Session) error {
				b, err := f.batch(ctx, d("find", f.coll.Name(), "batchSize", 2))
				if err != nil {
					return err
				}
				if b.Cursor.ID == 0 || b.Cursor.NS != f.db.Name()+"."+f.coll.Name() {
					return fmt.Errorf("the cursor is %+v", b.Cursor)
				}
				return fn(ctx, f, b.Cursor.ID)
			})
		}}
	}
	return []testCase{
		sizes("the first batch has 101 documents", find, 250, `{find: 'C'}`, nil, 101, 149),
		sizes("batches of the size asked for", find, 10, `{find: 'C', batchSize: 4}`, []any{"batchSize", 4}, 4, 4, 2),
		sizes("an empty first batch", find, 3, `{find: 'C', batchSize: 0}`, nil, 0, 3),
		sizes("a later batch without a size has all", more, 10, `{find: 'C', batchSize: 2}`, nil, 2, 8),
		sizes("one batch only", find, 10, `{find: 'C', batchSize: 4, singleBatch: true}`, nil, 4),
		sizes("a limit ends the cursor", find, 10, `{find: 'C', limit: 5, batchSize: 4}`, []any{"batchSize", 4}, 4, 1),
		sizes("a limit of the size of the batch", find, 10, `{find: 'C', limit: 4, batchSize: 4}`, nil, 4),
		sizes("no documents", find, 1, `{find: 'C', filter: {_id: 9}}`, nil, 0),
		sizes("a collection that is not there", find, 1, `{find: 'none'}`, nil, 0),
		sizes("an aggregation in batches", "reference/command/aggregate", 10, `{aggregate: 'C', pipeline: [], cursor: {batchSize: 4}}`, []any{"batchSize", 4}, 4, 4, 2),
		sizes("an empty first batch of an aggregation", "reference/command/aggregate", 3, `{aggregate: 'C', pipeline: [], cursor: {batchSize: 0}}`, nil, 0, 3),
		open("a killed cursor is gone", kill, func(ctx context.Context, f *fixture, id int64) error {
			raw, err := f.db.RunCommand(ctx, d("killCursors", f.coll.Name(), "cursors", bson.A{id, int64(42)})).Raw()
			if err != nil {
				return fmt.Errorf("kill: %w", err)
			}
			want := d("cursorsKilled", bson.A{id}, "cursorsNotFound", bson.A{int64(42)}, "cursorsAlive", bson.A{})
			if err := contains(raw, want); err != nil {
				return err
			}
			_, err = f.batch(ctx, d("getMore", id, "collection", f.coll.Name()))
			return codes{43}.check("getMore", err)
		}),
		open("a cursor of another collection", more, func(ctx context.Context, f *fixture, id int64) error {
			_, err := f.batch(ctx, d("getMore", id, "collection", "other"))
			return codes{43, 13}.check("getMore", err)
		}),
		open("a cursor of another session", more, func(ctx context.Context, f *fixture, id int64) error {
			return f.inSession(context.WithoutCancel(ctx), func(other context.Context, _ *mongo.Session) error {
				_, err := f.batch(other, d("getMore", id, "collection", f.coll.Name()))
				return codes{43, 13, 50737, 50738, 50800}.check("getMore", err)
			})
		}),
		open("a cursor as an int", more, func(ctx context.Context, f *fixture, _ int64) error {
			_, err := f.batch(ctx, d("getMore", 5, "collection", f.coll.Name()))
			return codes{14}.check("getMore", err)
		}),
		open("a cursor that is not there", more, func(ctx context.Context, f *fixture, id int64) error {
			_, err := f.batch(ctx, d("getMore", id^1, "collection", f.coll.Name()))
			return codes{43}.check("getMore", err)
		}),
		open("a cursor goes on after writes", "core/read-isolation-consistency-recency", func(ctx context.Context, f *fixture, id int64) error {
			if _, err := f.coll.DeleteMany(ctx, d("_id", d("$gt", 100))); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			b, err := f.batch(ctx, d("getMore", id, "collection", f.coll.Name()))
			if err != nil {
				return err
			}
			return same("rest", len(b.Cursor.Next), 8)
		}),
		{"a cursor of a dropped collection ends", "reference/command/drop", func(ctx context.Context, f *fixture) error {
			if err := hundreds(ctx, f, 10); err != nil {
				return err
			}
			return f.inSession(ctx, func(ctx context.Context, _ *mongo.Session) error {
				b, err := f.batch(ctx, d("find", f.coll.Name(), "batchSize", 2))
				if err != nil {
					return err
				}
				if err := f.coll.Drop(ctx); err != nil {
					return fmt.Errorf("drop: %w", err)
				}
				_, err = f.batch(ctx, d("getMore", b.Cursor.ID, "collection", f.coll.Name()))
				return codes{43, 175}.check("getMore", err)
			})
		}},
		{"the driver reads a cursor to its end", "reference/method/cursor.batchSize", func(ctx context.Context, f *fixture) error {
			if err := hundreds(ctx, f, 333); err != nil {
				return err
			}
			got, err := drain(ctx)(f.coll.Find(ctx, d(), options.Find().SetBatchSize(7).SetSort(d("_id", -1))))
			if err != nil {
				return err
			}
			for i, item := range got {
				if item, ok := item.(bson.D); !ok || item[0].Value != int32(332-i) {
					return fmt.Errorf("document %d is %v", i, item)
				}
			}
			return same("documents", len(got), 333)
		}},
		{"a batch stays within 16 MiB", "reference/method/cursor.batchSize", func(ctx context.Context, f *fixture) error {
			pad := bson.Binary{Data: make([]byte, 3<<20)}
			for i := range 8 {
				if _, err := f.coll.InsertOne(ctx, d("_id", i, "pad", pad)); err != nil {
					return fmt.Errorf("insert: %w", err)
				}
			}
			got, err := drain(ctx)(f.coll.Find(ctx, d(), options.Find().SetBatchSize(100)))
			return errors.Join(err, same("documents", len(got), 8))
		}},
		{"a batch size below zero", find, command{command: `{find: 'C', batchSize: -1}`, codes: codes{2, 51024}}.run},
		{"killCursors without cursors", kill, command{command: `{killCursors: 'C'}`, codes: codes{40414, 14, 2}}.run},
		{"a time limit", "reference/method/cursor.maxTimeMS", command{docs: `[{_id: 1}]`, command: `{find: 'C', maxTimeMS: 10000}`, reply: `{'cursor.firstBatch': [{_id: 1}]}`}.run},
		{"a time limit below zero", "reference/method/cursor.maxTimeMS", command{command: `{find: 'C', maxTimeMS: -1}`, codes: codes{2, 9, 51024}}.run},
	}
}
