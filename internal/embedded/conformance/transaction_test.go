package conformance

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const transientLabel = "TransientTransactionError"

func hasLabel(err error, label string) bool {
	var le mongo.LabeledError
	return errors.As(err, &le) && le.HasErrorLabel(label)
}

// transaction runs fn within a transaction of its own session, over the
// documents accounts, and leaves it open.
func (f *fixture) transaction(ctx context.Context, fn func(context.Context, *mongo.Session) error) error {
	return f.inSession(ctx, func(sc context.Context, sess *mongo.Session) error {
		if err := sess.StartTransaction(); err != nil {
			return fmt.Errorf("start transaction: %w", err)
		}
		return fn(sc, sess)
	})
}

func (f *fixture) add(ctx context.Context, id, n int) error {
	if _, err := f.coll.UpdateOne(ctx, d("_id", id), d("$inc", d("a", n))); err != nil {
		return fmt.Errorf("update %d: %w", id, err)
	}
	return nil
}

func commit(sc context.Context, sess *mongo.Session) error {
	if err := sess.CommitTransaction(sc); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func abort(sc context.Context, sess *mongo.Session) error {
	if err := sess.AbortTransaction(sc); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// conflict checks for a write conflict that makes the driver try again.
func conflict(err error) error {
	if err := (codes{112}).check("conflicting write", err); err != nil {
		return err
	}
	if !hasLabel(err, transientLabel) {
		return fmt.Errorf("the conflict has no label: %w", err)
	}
	return nil
}

func transactionCases() []testCase {
	const page, production = "core/transactions", "core/transactions-production-consideration"
	const accounts = `[{_id: 1, a: 10}, {_id: 2, a: 20}]`
	in := func(name, page string, fn func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			if err := f.insert(ctx, accounts); err != nil {
				return err
			}
			return f.transaction(ctx, func(sc context.Context, sess *mongo.Session) error { return fn(ctx, sc, f, sess) })
		}}
	}
	// A statement that fails ends its transaction.
	fails := func(name string, statement func(sc context.Context, f *fixture) error, code ...int) testCase {
		return in(name, page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			if err := codes(code).check("statement", statement(sc, f)); err != nil {
				return err
			}
			if err := (codes{251}).check("the next statement", f.add(sc, 1, 5)); err != nil {
				return err
			}
			return errors.Join(codes{251}.check("commit", sess.CommitTransaction(sc)), f.holds(ctx, accounts))
		})
	}
	return []testCase{
		in("reads its own writes", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			if _, err := f.coll.InsertOne(sc, doc(`{_id: 3, a: 30}`)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if _, err := f.coll.DeleteOne(sc, d("_id", 2)); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			if err := f.holds(sc, `[{_id: 1, a: 15}, {_id: 3, a: 30}]`); err != nil {
				return err
			}
			n, err := f.coll.CountDocuments(sc, d("a", d("$gte", 15)))
			if err != nil || n != 2 {
				return fmt.Errorf("count %d: %w", n, err)
			}
			return errors.Join(f.holds(ctx, accounts), commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 15}, {_id: 3, a: 30}]`))
		}),
		in("an abort leaves nothing", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			if _, err := f.coll.DeleteMany(sc, d()); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			return errors.Join(abort(sc, sess), f.holds(ctx, accounts))
		}),
		in("sees the state of its beginning", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			if err := f.add(ctx, 2, 7); err != nil {
				return err
			}
			if _, err := f.coll.InsertOne(ctx, doc(`{_id: 3}`)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			return errors.Join(commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 10}, {_id: 2, a: 27}, {_id: 3}]`))
		}),
		in("begins with its first command", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(ctx, 1, 1); err != nil {
				return err
			}
			return errors.Join(f.holds(sc, `[{_id: 1, a: 11}, {_id: 2, a: 20}]`), commit(sc, sess))
		}),
		in("a document changed since the beginning is a conflict", production, func(ctx, sc context.Context, f *fixture, _ *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			if err := f.add(ctx, 1, 1); err != nil {
				return err
			}
			return errors.Join(conflict(f.add(sc, 1, 5)), f.holds(ctx, `[{_id: 1, a: 11}, {_id: 2, a: 20}]`))
		}),
		in("a document deleted since the beginning is a conflict", production, func(ctx, sc context.Context, f *fixture, _ *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			if _, err := f.coll.DeleteOne(ctx, d("_id", 1)); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			return conflict(f.add(sc, 1, 5))
		}),
		in("a delete of a changed document is a conflict", production, func(ctx, sc context.Context, f *fixture, _ *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			if err := f.add(ctx, 1, 1); err != nil {
				return err
			}
			_, err := f.coll.DeleteOne(sc, d("_id", 1))
			return conflict(err)
		}),
		in("two open transactions, one document", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			err := f.transaction(ctx, func(other context.Context, _ *mongo.Session) error { return conflict(f.add(other, 1, 7)) })
			return errors.Join(err, commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 15}, {_id: 2, a: 20}]`))
		}),
		in("two open transactions, two documents", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			err := f.transaction(ctx, func(other context.Context, sess *mongo.Session) error {
				return errors.Join(f.add(other, 2, 7), commit(other, sess))
			})
			return errors.Join(err, commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 15}, {_id: 2, a: 27}]`))
		}),
		in("two open transactions insert one _id", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if _, err := f.coll.InsertOne(sc, d("_id", 3)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			err := f.transaction(ctx, func(other context.Context, _ *mongo.Session) error {
				_, err := f.coll.InsertOne(other, d("_id", 3))
				return conflict(err)
			})
			return errors.Join(err, commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 10}, {_id: 2, a: 20}, {_id: 3}]`))
		}),
		in("a write outside waits for the transaction", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			done := make(chan error, 1)
			go func() { done <- f.add(ctx, 1, 7) }()
			if err := f.holds(ctx, accounts); err != nil {
				return err
			}
			return errors.Join(commit(sc, sess), <-done, f.holds(ctx, `[{_id: 1, a: 22}, {_id: 2, a: 20}]`))
		}),
		in("a write that matches nothing locks nothing", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if _, err := f.coll.UpdateOne(sc, d("_id", 1, "a", 99), d("$set", d("b", 1))); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			return errors.Join(f.add(ctx, 1, 1), commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 11}, {_id: 2, a: 20}]`))
		}),
		in("a change that changes nothing is no conflict", production, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			if err := f.add(ctx, 1, 1); err != nil {
				return err
			}
			if _, err := f.coll.UpdateOne(sc, d("_id", 1), d("$set", d("a", 10))); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			return errors.Join(commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 11}, {_id: 2, a: 20}]`))
		}),
		fails("a duplicate key ends it", func(sc context.Context, f *fixture) error {
			_, err := f.coll.InsertOne(sc, d("_id", 2))
			return err
		}, 11000),
		fails("an update error ends it", func(sc context.Context, f *fixture) error {
			_, err := f.coll.UpdateOne(sc, d("_id", 2), d("$inc", d("_id", 1)))
			return err
		}, 66),
		fails("a filter error ends it", func(sc context.Context, f *fixture) error {
			return f.coll.FindOne(sc, d("a", d("$frob", 1))).Err()
		}, 2),
		in("an abort after an error", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			_, err := f.coll.InsertOne(sc, d("_id", 2))
			return errors.Join(codes{11000}.check("insert", err), abort(sc, sess), f.holds(ctx, accounts), f.add(ctx, 1, 1))
		}),
		in("a second commit succeeds", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			return errors.Join(f.add(sc, 1, 5), commit(sc, sess), commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 15}, {_id: 2, a: 20}]`))
		}),
		in("an upsert", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if _, err := f.coll.UpdateOne(sc, d("_id", 3), d("$set", d("a", 1)), options.UpdateOne().SetUpsert(true)); err != nil {
				return fmt.Errorf("upsert: %w", err)
			}
			if _, err := f.coll.UpdateOne(sc, d("_id", 3), d("$inc", d("a", 1)), options.UpdateOne().SetUpsert(true)); err != nil {
				return fmt.Errorf("second upsert: %w", err)
			}
			return errors.Join(commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 10}, {_id: 2, a: 20}, {_id: 3, a: 2}]`))
		}),
		in("many documents and a findAndModify", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			if _, err := f.coll.UpdateMany(sc, d(), d("$inc", d("a", 1))); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			var got bson.D
			if err := f.coll.FindOneAndUpdate(sc, d("a", 21), d("$set", d("b", 1))).Decode(&got); err != nil {
				return fmt.Errorf("find and update: %w", err)
			}
			return errors.Join(same("before", got, doc(`{_id: 2, a: 21}`)), commit(sc, sess), f.holds(ctx, `[{_id: 1, a: 11}, {_id: 2, a: 21, b: 1}]`))
		}),
		in("a cursor within it", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			docs := bson.A{}
			for i := range 250 {
				docs = append(docs, d("_id", 100+i, "a", 1))
			}
			if _, err := f.coll.InsertMany(sc, docs); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			got, err := drain(sc)(f.coll.Find(sc, d("a", 1), options.Find().SetBatchSize(20)))
			if err != nil {
				return err
			}
			return errors.Join(same("documents", len(got), 250), abort(sc, sess), f.holds(ctx, accounts))
		}),
		in("an aggregation within it", page, func(_, sc context.Context, f *fixture, sess *mongo.Session) error {
			if err := f.add(sc, 1, 5); err != nil {
				return err
			}
			got, err := drain(sc)(f.coll.Aggregate(sc, list(`[{$group: {_id: null, sum: {$sum: '$a'}}}]`)))
			if err != nil {
				return err
			}
			return errors.Join(same("sum", got, list(`[{_id: null, sum: 35}]`)), abort(sc, sess))
		}),
		in("two collections become visible together", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			other := f.db.Collection(f.coll.Name() + "b")
			if err := f.db.CreateCollection(ctx, other.Name()); err != nil {
				return fmt.Errorf("create: %w", err)
			}
			if _, err := other.InsertOne(sc, d("_id", 1)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if err := errors.Join(f.add(sc, 1, 5), commit(sc, sess)); err != nil {
				return err
			}
			n, err := other.CountDocuments(ctx, d())
			return errors.Join(err, same("other collection", n, int64(1)), f.holds(ctx, `[{_id: 1, a: 15}, {_id: 2, a: 20}]`), other.Drop(ctx))
		}),
		in("makes a collection", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			other := f.db.Collection(f.coll.Name() + "b")
			if _, err := other.InsertOne(sc, d("_id", 1)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if err := commit(sc, sess); err != nil {
				return err
			}
			n, err := other.CountDocuments(ctx, d())
			return errors.Join(err, same("other collection", n, int64(1)), other.Drop(ctx))
		}),
		in("an abort unmakes a collection", page, func(ctx, sc context.Context, f *fixture, sess *mongo.Session) error {
			other := f.db.Collection(f.coll.Name() + "b")
			if _, err := other.InsertOne(sc, d("_id", 1)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			if err := abort(sc, sess); err != nil {
				return err
			}
			names, err := f.db.ListCollectionNames(ctx, d("name", other.Name()))
			return errors.Join(err, same("collections", names, []string{}), other.Drop(ctx))
		}),
		in("a command that no transaction has", "core/transactions-operations", func(_, sc context.Context, f *fixture, _ *mongo.Session) error {
			if err := f.holds(sc, accounts); err != nil {
				return err
			}
			return codes{263, 20}.check("count", f.db.RunCommand(sc, d("count", f.coll.Name())).Err())
		}),
		{"the driver's WithTransaction", "core/transactions-in-applications", withTransaction},
		{"WithTransaction tries again after a conflict", "core/transactions-in-applications", withTransactionAgain},
	}
}

func withTransaction(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, `[{_id: 1, a: 10}]`); err != nil {
		return err
	}
	failure := errors.New("changed my mind")
	for _, want := range []error{nil, failure} {
		err := f.inSession(ctx, func(ctx context.Context, sess *mongo.Session) error {
			_, err := sess.WithTransaction(ctx, func(ctx context.Context) (any, error) { return nil, errors.Join(f.add(ctx, 1, 5), want) })
			return err
		})
		if !errors.Is(err, want) {
			return fmt.Errorf("transaction: %w", err)
		}
	}
	return f.holds(ctx, `[{_id: 1, a: 15}]`)
}

func withTransactionAgain(ctx context.Context, f *fixture) error {
	if err := f.insert(ctx, `[{_id: 1, a: 10}]`); err != nil {
		return err
	}
	tries := 0
	err := f.inSession(ctx, func(sc context.Context, sess *mongo.Session) error {
		_, err := sess.WithTransaction(sc, func(sc context.Context) (any, error) {
			tries++
			if _, err := f.all(sc); err != nil {
				return nil, err
			}
			if tries == 1 {
				if err := f.add(ctx, 1, 100); err != nil { // somebody else
					return nil, err
				}
			}
			_, err := f.coll.UpdateOne(sc, d("_id", 1), d("$inc", d("a", 5)))
			return nil, err
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("transaction: %w", err)
	}
	return errors.Join(same("tries", tries, 2), f.holds(ctx, `[{_id: 1, a: 115}]`))
}
