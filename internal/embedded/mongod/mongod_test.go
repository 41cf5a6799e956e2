package mongod_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// engine is a server on a socket with a driver connected to it.
type engine struct {
	*mongod.Server

	client *mongo.Client
	db     *mongo.Database
	uri    string
	ahead  atomic.Int64 // how far the server's clock is ahead
}

// start opens a server on dir and connects to it; both end with the test.
func start(tb testing.TB, dir string) *engine {
	tb.Helper()
	return startWith(tb, mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
}

func startWith(tb testing.TB, opts mongod.Options) *engine {
	tb.Helper()
	e := &engine{}
	clock := opts.Now
	opts.Now = func() time.Time { return clock().Add(time.Duration(e.ahead.Load())) }
	srv, err := mongod.Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := mongod.Listen("unix:" + filepath.Join(tb.TempDir(), "m.sock"))
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	client, err := mongo.Connect(options.Client().ApplyURI(mongod.URI(l)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			tb.Error(err)
		}
		if err := srv.Close(); err != nil && opts.FS == nil { // other disks fail
			tb.Error(err)
		}
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	e.Server, e.client, e.db, e.uri = srv, client, client.Database("test"), mongod.URI(l)
	return e
}

func isCode(err error, code int) bool {
	var se mongo.ServerError
	return errors.As(err, &se) && se.HasErrorCode(code)
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func TestCRUD(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("things")
	now := bson.NewDateTimeFromTime(time.UnixMilli(1_700_000_000_000))
	docs := []any{}
	for i := range 300 {
		docs = append(docs, bson.D{
			{Key: "_id", Value: fmt.Sprintf("id%03d", i)},
			{Key: "tenant", Value: fmt.Sprintf("t%d", i%2)},
			{Key: "n", Value: int64(i)},
			{Key: "at", Value: now + bson.DateTime(i/10)},
			{Key: "sealed", Value: bson.Binary{Subtype: 0x80, Data: []byte{1, 2, byte(i)}}},
			{Key: "tags", Value: bson.A{"a", fmt.Sprintf("tag%d", i%7)}},
			{Key: "sub", Value: bson.A{bson.D{{Key: "x", Value: i}}}},
		})
	}
	res := must(c.InsertMany(ctx, docs))(t)
	if len(res.InsertedIDs) != 300 {
		t.Fatalf("inserted %d", len(res.InsertedIDs))
	}
	if n := must(c.EstimatedDocumentCount(ctx))(t); n != 300 {
		t.Errorf("estimated count %d, want 300", n)
	}

	var got bson.D
	if err := c.FindOne(ctx, bson.D{{Key: "_id", Value: "id007"}, {Key: "tenant", Value: "t1"}}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if b, ok := got[4].Value.(bson.Binary); !ok || b.Subtype != 0x80 {
		t.Errorf("binary came back as %v", got[4])
	}
	err := c.FindOne(ctx, bson.D{{Key: "_id", Value: "id007"}, {Key: "tenant", Value: "t0"}}).Err()
	if !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("another tenant got %v", err)
	}

	var all []bson.D
	cur := must(c.Find(ctx, bson.D{{Key: "tenant", Value: "t0"}}, options.Find().SetSort(bson.D{{Key: "n", Value: -1}}).SetBatchSize(7).SetProjection(bson.D{{Key: "n", Value: 1}})))(t)
	if err := cur.All(ctx, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 150 || all[0][1].Value != int64(298) || len(all[0]) != 2 {
		t.Fatalf("got %d, first %v", len(all), all[0])
	}

	up := must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: "id001"}, {Key: "n", Value: bson.D{{Key: "$in", Value: bson.A{1, 2}}}}},
		bson.D{
			{Key: "$set", Value: bson.D{{Key: "state", Value: "DONE"}}},
			{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}},
			{Key: "$unset", Value: bson.D{{Key: "sub", Value: ""}}},
			{Key: "$push", Value: bson.D{{Key: "tags", Value: "pushed"}}},
		}))(t)
	if up.MatchedCount != 1 || up.ModifiedCount != 1 {
		t.Errorf("update: %+v", up)
	}
	up = must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: "new"}, {Key: "tenant", Value: "t9"}},
		bson.D{{Key: "$setOnInsert", Value: bson.D{{Key: "made", Value: true}}}}, options.UpdateOne().SetUpsert(true)))(t)
	if up.UpsertedCount != 1 || up.UpsertedID != "new" {
		t.Errorf("upsert: %+v", up)
	}
	up = must(c.UpdateMany(ctx, bson.D{{Key: "tags", Value: "tag3"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "third", Value: true}}}}))(t)
	if up.ModifiedCount != 43 {
		t.Errorf("update many: %+v", up)
	}
	var after bson.M
	err = c.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: "id002"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 5}}}},
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&after)
	if err != nil || after["n"] != int64(7) {
		t.Errorf("find and update: %v %v", after["n"], err)
	}
	del := must(c.DeleteMany(ctx, bson.D{{Key: "tenant", Value: "t1"}}))(t)
	if del.DeletedCount != 150 {
		t.Errorf("deleted %d", del.DeletedCount)
	}
	_, err = c.InsertOne(ctx, bson.D{{Key: "_id", Value: "id000"}})
	if !mongo.IsDuplicateKeyError(err) {
		t.Errorf("duplicate: %v", err)
	}
	_, err = c.UpdateOne(ctx, bson.D{}, bson.A{bson.D{{Key: "$set", Value: bson.D{}}}})
	if !isCode(err, 2) {
		t.Errorf("pipeline update: %v", err)
	}
	if err := e.db.RunCommand(ctx, bson.D{{Key: "mapReduce", Value: "x"}}).Err(); !isCode(err, 59) {
		t.Errorf("unknown command: %v", err)
	}
	if n := must(e.db.ListCollectionNames(ctx, bson.D{}))(t); len(n) != 1 {
		t.Errorf("collections: %v", n)
	}
}

func TestTransactions(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	a, b := e.db.Collection("a"), e.db.Collection("b")
	must(a.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 0}}))(t)

	t.Run("commit is atomic and isolated", func(t *testing.T) {
		sess := must(e.client.StartSession())(t)
		defer sess.EndSession(ctx)
		_, err := sess.WithTransaction(ctx, func(tx context.Context) (any, error) {
			must(a.UpdateOne(tx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}))(t)
			must(b.InsertOne(tx, bson.D{{Key: "_id", Value: "x"}}))(t)
			if n := must(b.CountDocuments(ctx, bson.D{}))(t); n != 0 {
				t.Errorf("uncommitted write seen from outside")
			}
			var doc bson.M
			return nil, b.FindOne(tx, bson.D{{Key: "_id", Value: "x"}}).Decode(&doc)
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := must(b.CountDocuments(ctx, bson.D{}))(t); n != 1 {
			t.Errorf("committed write not seen")
		}
	})
	t.Run("abort leaves nothing", func(t *testing.T) {
		sess := must(e.client.StartSession())(t)
		defer sess.EndSession(ctx)
		want := errors.New("no")
		_, err := sess.WithTransaction(ctx, func(tx context.Context) (any, error) {
			must(b.InsertOne(tx, bson.D{{Key: "_id", Value: "y"}}))(t)
			return nil, want
		})
		if !errors.Is(err, want) {
			t.Fatal(err)
		}
		if n := must(b.CountDocuments(ctx, bson.D{{Key: "_id", Value: "y"}}))(t); n != 0 {
			t.Errorf("aborted write seen")
		}
	})
	t.Run("a collection begins to exist with the commit", func(t *testing.T) {
		names := func() string {
			return fmt.Sprint(must(e.db.ListCollectionNames(ctx, d("name", d("$in", bson.A{"made", "unmade"}))))(t))
		}
		for i, name := range []string{"unmade", "made", "made"} {
			s1, s2 := must(e.client.StartSession())(t), must(e.client.StartSession())(t)
			defer s1.EndSession(ctx)
			defer s2.EndSession(ctx)
			for j, s := range []*mongo.Session{s1, s2} {
				if err := s.StartTransaction(); err != nil {
					t.Fatal(err)
				}
				must(e.db.Collection(name).InsertOne(mongo.NewSessionContext(ctx, s), d("_id", 10*i+j)))(t)
			}
			if i == 0 {
				if err := errors.Join(s1.AbortTransaction(ctx), s2.AbortTransaction(ctx)); err != nil || names() != "[]" {
					t.Errorf("after the abort: %v %s", err, names())
				}
				continue
			}
			err1, err2 := s1.CommitTransaction(ctx), s2.CommitTransaction(ctx)
			if err1 != nil || i == 1 && !isCode(err2, 112) || i == 2 && err2 != nil {
				t.Errorf("commits of round %d: %v, %v", i, err1, err2)
			}
		}
		if n := must(e.db.Collection("made").CountDocuments(ctx, d()))(t); n != 3 || names() != "[made]" {
			t.Errorf("%d documents in %s", n, names())
		}
	})
	t.Run("second writer gets a write conflict", func(t *testing.T) {
		s1, s2 := must(e.client.StartSession())(t), must(e.client.StartSession())(t)
		defer s1.EndSession(ctx)
		defer s2.EndSession(ctx)
		inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
		for _, s := range []*mongo.Session{s1, s2} {
			if err := s.StartTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := a.FindOne(mongo.NewSessionContext(ctx, s), bson.D{{Key: "_id", Value: 1}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		must(a.UpdateByID(mongo.NewSessionContext(ctx, s1), 1, inc))(t)
		_, err := a.UpdateByID(mongo.NewSessionContext(ctx, s2), 1, inc)
		var se mongo.ServerError
		if !errors.As(err, &se) || !se.HasErrorCode(112) || !se.HasErrorLabel("TransientTransactionError") {
			t.Errorf("got %v", err)
		}
		if err := s1.CommitTransaction(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestConcurrentIncrements(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 0}}))(t)
	inc := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}
	const workers, rounds = 16, 100
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range rounds {
				var err error
				switch i % 3 {
				case 0:
					_, err = c.UpdateByID(ctx, 1, inc)
				case 1:
					err = c.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: 1}}, inc).Err()
				default:
					err = e.client.UseSession(ctx, func(sc context.Context) error {
						_, err := mongo.SessionFromContext(sc).WithTransaction(sc, func(tx context.Context) (any, error) {
							return c.UpdateByID(tx, 1, inc)
						})
						return err
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var doc bson.M
	if err := c.FindOne(ctx, bson.D{{Key: "_id", Value: 1}}).Decode(&doc); err != nil || doc["n"] != int32(workers*rounds) {
		t.Errorf("n = %v (%v), want %d", doc["n"], err, workers*rounds)
	}
}

func TestAdmin(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	if _, err := c.InsertMany(ctx, []any{d("_id", 1, "u", 1), d("_id", 2, "u", 1)}); err != nil {
		t.Fatal(err)
	}
	unique := mongo.IndexModel{Keys: d("u", 1), Options: options.Index().SetUnique(true)}
	if _, err := c.Indexes().CreateOne(ctx, unique); !isCode(err, 11000) {
		t.Errorf("unique index over duplicates: %v", err)
	}
	if _, err := c.DeleteOne(ctx, d("_id", 2)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same index again is no error
		if _, err := c.Indexes().CreateOne(ctx, unique); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("u", 1)}); !isCode(err, 86) {
		t.Errorf("same name, other options: %v", err)
	}
	specs, err := c.Indexes().ListSpecifications(ctx)
	if err != nil || len(specs) != 2 || specs[1].Name != "u_1" || !*specs[1].Unique {
		t.Errorf("indexes: %v %v", specs, err)
	}
	if err := c.Indexes().DropOne(ctx, "u_1"); err != nil {
		t.Error(err)
	}
	if err := c.Indexes().DropOne(ctx, "u_1"); !isCode(err, 27) {
		t.Errorf("second drop: %v", err)
	}
	if err := c.FindOneAndReplace(ctx, d("_id", 1), d("r", 1)).Err(); err != nil {
		t.Error(err)
	}
	if err := c.FindOneAndDelete(ctx, d("r", 1)).Err(); err != nil {
		t.Error(err)
	}
	if _, err := e.client.Database("other").Collection("c").InsertOne(ctx, d("_id", 1)); err != nil {
		t.Fatal(err)
	}
	if err := e.db.Drop(ctx); err != nil {
		t.Error(err)
	}
	names, err := e.client.ListDatabaseNames(ctx, d())
	if err != nil || fmt.Sprint(names) != "[other]" {
		t.Errorf("databases: %v %v", names, err)
	}
	if _, err := c.InsertOne(ctx, d("_id", 1)); err != nil {
		t.Error(err)
	}
	if n, err := c.CountDocuments(ctx, d()); n != 1 || err != nil {
		t.Errorf("count after drop: %d %v", n, err)
	}
}

// TestExpiry: a transaction ends after a minute, or with its connection.
func TestExpiry(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	must(c.InsertOne(ctx, d("_id", 0)))(t)
	sess := must(e.client.StartSession())(t)
	defer sess.EndSession(ctx)
	if err := sess.StartTransaction(); err != nil {
		t.Fatal(err)
	}
	must(c.InsertOne(mongo.NewSessionContext(ctx, sess), d("_id", 1)))(t)
	e.ahead.Store(int64(61 * time.Second))
	// A write to the same key waits until the transaction is gone.
	must(c.InsertOne(ctx, d("_id", 1, "by", "other")))(t)
	err := sess.CommitTransaction(ctx)
	if !isCode(err, 251) {
		t.Errorf("commit of an expired transaction: %v", err)
	}

	other := must(mongo.Connect(options.Client().ApplyURI(e.uri)))(t)
	sess = must(other.StartSession())(t)
	if err := sess.StartTransaction(); err != nil {
		t.Fatal(err)
	}
	must(other.Database("test").Collection("c").InsertOne(mongo.NewSessionContext(ctx, sess), d("_id", 2)))(t)
	if err := other.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	must(c.InsertOne(ctx, d("_id", 2)))(t)
}
