package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// scaled returns the size for the everyday run, or the full one.
func scaled(small, large int) int {
	if full() {
		return large
	}
	return small
}

// parallel runs n functions at once and fails the test with their errors.
func parallel(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	done := make(chan error, n)
	for i := range n {
		go func() { done <- fn(i) }()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// inTransaction runs fn by the driver's WithTransaction.
func (f *fixture) inTransaction(ctx context.Context, fn func(context.Context) error) error {
	return f.inSession(ctx, func(sc context.Context, sess *mongo.Session) error {
		_, err := sess.WithTransaction(sc, func(sc context.Context) (any, error) { return nil, fn(sc) })
		return err
	})
}

// TestIncrements adds one to a number from 16 clients: nothing is lost.
func TestIncrements(t *testing.T) {
	const writers = 16
	s, ctx, each := connect(t), t.Context(), scaled(60, 1000)
	inc := d("$inc", d("n", 1))
	update := func(ctx context.Context, f *fixture) error {
		_, err := f.coll.UpdateOne(ctx, d("_id", 1), inc)
		return err
	}
	for name, one := range map[string]func(context.Context, *fixture) error{
		"update": update,
		"findAndModify": func(ctx context.Context, f *fixture) error {
			return f.coll.FindOneAndUpdate(ctx, d("_id", 1), inc).Err()
		},
		"transaction": func(ctx context.Context, f *fixture) error {
			return f.inTransaction(ctx, func(sc context.Context) error { return update(sc, f) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := s.fixture("increments_" + name)
			if err := f.insert(ctx, `[{_id: 1, n: 0}]`); err != nil {
				t.Fatal(err)
			}
			parallel(t, writers, func(int) error {
				for range each {
					if err := one(ctx, f); err != nil {
						return err
					}
				}
				return nil
			})
			if err := f.holds(ctx, fmt.Sprintf(`[{_id: 1, n: %d}]`, writers*each)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCompareAndSet changes a document by its version: as many win as there are
// versions.
func TestCompareAndSet(t *testing.T) {
	const writers = 16
	s, ctx, tries := connect(t), t.Context(), scaled(60, 1000)
	f := s.fixture("versions")
	if err := f.insert(ctx, `[{_id: 1, version: 0}]`); err != nil {
		t.Fatal(err)
	}
	wins := make([]int, writers)
	parallel(t, writers, func(i int) error {
		for range tries {
			var now struct{ Version int }
			if err := f.coll.FindOne(ctx, d("_id", 1)).Decode(&now); err != nil {
				return err
			}
			res, err := f.coll.UpdateOne(ctx, d("_id", 1, "version", now.Version), d("$inc", d("version", 1), "$push", d("by", d("$each", bson.A{i}, "$slice", -3))))
			if err != nil {
				return err
			}
			wins[i] += int(res.ModifiedCount)
		}
		return nil
	})
	var last struct{ Version int }
	if err := f.coll.FindOne(ctx, d("_id", 1)).Decode(&last); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range wins {
		total += n
	}
	if total != last.Version || total == 0 {
		t.Errorf("%d wins, version %d", total, last.Version)
	}
}

// TestOneWinner has 64 writers insert each key: one succeeds, the others are told
// of the duplicate.
func TestOneWinner(t *testing.T) {
	const writers = 64
	s, ctx, keys := connect(t), t.Context(), scaled(10, 100)
	f := s.fixture("winners")
	if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("key", 1), Options: options.Index().SetUnique(true)}); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		won := make([]bool, writers)
		parallel(t, writers, func(i int) error {
			var err error
			switch i % 3 {
			case 0:
				_, err = f.coll.InsertOne(ctx, d("_id", fmt.Sprint(key, " ", i), "key", key))
			case 1:
				err = f.coll.FindOneAndUpdate(ctx, d("_id", fmt.Sprint(key, " ", i)), d("$set", d("key", key)), options.FindOneAndUpdate().SetUpsert(true)).Err()
				if errors.Is(err, mongo.ErrNoDocuments) {
					err = nil // inserted: there was none before
				}
			default:
				err = f.inTransaction(ctx, func(sc context.Context) error {
					_, err := f.coll.InsertOne(sc, d("_id", fmt.Sprint(key, " ", i), "key", key))
					return err
				})
			}
			won[i] = err == nil
			if err != nil && !mongo.IsDuplicateKeyError(err) {
				return fmt.Errorf("writer %d: %w", i, err)
			}
			return nil
		})
		n, err := f.coll.CountDocuments(ctx, d("key", key))
		if err != nil {
			t.Fatal(err)
		}
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 || n != 1 {
			t.Fatalf("key %d has %d winners and %d documents", key, winners, n)
		}
	}
}

// accounts is how many accounts there are to transfer between.
const accounts = 100

// TestTransfers moves money between accounts from 32 clients, while readers
// add them all up: the sum never moves, in no snapshot.
func TestTransfers(t *testing.T) {
	const start, readers = 1000, 4
	s, ctx := connect(t), t.Context()
	writers, each := scaled(8, 32), scaled(25, 250)
	f := s.fixture("accounts")
	docs := bson.A{}
	for i := range accounts {
		docs = append(docs, d("_id", i, "balance", start))
	}
	if _, err := f.coll.InsertMany(ctx, docs); err != nil {
		t.Fatal(err)
	}
	sums := []func(context.Context) (int64, error){
		func(ctx context.Context) (int64, error) { return total(ctx, f) },
		func(ctx context.Context) (sum int64, err error) {
			err = f.inTransaction(ctx, func(sc context.Context) error {
				sum, err = total(sc, f)
				return err
			})
			return sum, err
		},
	}
	done := make(chan struct{})
	checked := make(chan error, readers)
	for i := range readers {
		go func() { checked <- watch(ctx, f, sums[i%2], i%2 == 0, done) }()
	}
	parallel(t, writers, func(i int) error {
		random := &stream{seed: uint64(i)}
		for range each {
			from, to := random.below(accounts), random.below(accounts)
			if from == to {
				continue
			}
			if err := transfer(ctx, f, from, to, 1+random.below(50)); err != nil {
				return err
			}
		}
		return nil
	})
	close(done)
	for range readers {
		if err := <-checked; err != nil {
			t.Error(err)
		}
	}
	if sum, err := total(ctx, f); err != nil || sum != accounts*start {
		t.Errorf("sum %d at the end: %v", sum, err)
	}
}

func transfer(ctx context.Context, f *fixture, from, to, amount int) error {
	return f.inTransaction(ctx, func(sc context.Context) error {
		for _, change := range []struct{ id, by int }{{from, -amount}, {to, amount}} {
			res, err := f.coll.UpdateOne(sc, d("_id", change.id), d("$inc", d("balance", change.by)))
			if err != nil {
				return err
			}
			if res.ModifiedCount != 1 {
				return fmt.Errorf("account %d was not there", change.id)
			}
		}
		return nil
	})
}

// watch adds up the accounts again and again, in a session that sees snapshots or
// in transactions.
func watch(ctx context.Context, f *fixture, sum func(context.Context) (int64, error), snapshots bool, done chan struct{}) error {
	var first int64
	for n := 0; ; n++ {
		var got int64
		read := func(sc context.Context, _ *mongo.Session) (err error) {
			got, err = sum(sc)
			return err
		}
		var err error
		if snapshots {
			err = f.inSession(ctx, read, options.Session().SetSnapshot(true))
		} else {
			err = read(ctx, nil)
		}
		if err != nil {
			return fmt.Errorf("read %d: %w", n, err)
		}
		if n == 0 {
			first = got
		}
		if got != first {
			return fmt.Errorf("read %d found %d, the first %d", n, got, first)
		}
		select {
		case <-done:
			return nil
		default:
		}
	}
}

// total adds up the balances, read in several batches.
func total(ctx context.Context, f *fixture) (int64, error) {
	cur, err := f.coll.Find(ctx, d(), options.Find().SetBatchSize(17))
	if err != nil {
		return 0, fmt.Errorf("find: %w", err)
	}
	var docs []struct{ ID, Balance int64 }
	if err := cur.All(ctx, &docs); err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	sum := int64(0)
	for _, item := range docs {
		sum += item.Balance
	}
	if len(docs) != accounts {
		return 0, fmt.Errorf("found %d accounts, want %d", len(docs), accounts)
	}
	return sum, nil
}
