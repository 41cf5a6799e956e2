package mongod_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

func TestUpdates(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	tests := []struct {
		name          string
		before        bson.D
		update        bson.D
		filters       []any
		want          bson.D // nil: as before
		code          int
		filter        bson.D // default: _id 1
		upsert, multi bool
	}{
		{name: "set nested", before: d("a", 1), update: d("$set", d("b.c", 2)), want: d("a", 1, "b", d("c", 2))},
		{name: "no change", before: d("a", 1), update: d("$set", d("a", 1))},
		{name: "empty set", before: d("a", 1), update: d("$set", d())},
		{name: "inc widens to a long", before: d("a", int32(1<<31-1)), update: d("$inc", d("a", int32(1))), want: d("a", int64(1<<31))},
		{name: "inc beyond a long", before: d("a", int64(1<<63-1)), update: d("$inc", d("a", 1)), code: 2},
		{name: "mul beyond a long", before: d("a", int64(1<<62)), update: d("$mul", d("a", 4)), code: 2},
		{name: "inc of a string", before: d("a", "x"), update: d("$inc", d("a", 1)), code: 14},
		{name: "inc of null", before: d("a", nil), update: d("$inc", d("a", 1)), code: 14},
		{name: "inc by a string", before: d("a", 1), update: d("$inc", d("a", "x")), code: 14},
		{name: "unset missing", before: d("a", 1), update: d("$unset", d("b", ""))},
		{name: "push each slice", before: d("a", bson.A{1, 2}), update: d("$push", d("a", d("$each", bson.A{3, 4}, "$slice", -3))), want: d("a", bson.A{2, 3, 4})},
		{name: "push to a scalar", before: d("a", 1), update: d("$push", d("a", 1)), code: 2},
		{name: "pull", before: d("a", bson.A{1, 2, 3}), update: d("$pull", d("a", d("$in", bson.A{1, 3}))), want: d("a", bson.A{2})},
		{name: "add to set", before: d("a", bson.A{1}), update: d("$addToSet", d("a", d("$each", bson.A{1, 2}))), want: d("a", bson.A{1, 2})},
		{name: "array filter", before: d("a", bson.A{d("k", 1), d("k", 2)}), update: d("$set", d("a.$[x].v", true)), filters: []any{d("x.k", 2)}, want: d("a", bson.A{d("k", 1), d("k", 2, "v", true)})},
		{name: "unused array filter", before: d("a", bson.A{1}), update: d("$set", d("b", 1)), filters: []any{d("x", 2)}, code: 9},
		{name: "all elements", before: d("a", bson.A{1, 2}), update: d("$set", d("a.$[]", 0)), want: d("a", bson.A{0, 0})},
		{name: "positional", before: d("a", bson.A{1, 2}), update: d("$set", d("a.$", 0)), code: 2},
		{name: "conflict", before: d("a", 1), update: d("$set", d("a", 1), "$unset", d("a", "")), code: 40},
		{name: "conflict with a part", before: d("a", d()), update: d("$set", d("a.b", 1, "a", 2)), code: 40},
		{name: "through a scalar", before: d("a", 1), update: d("$set", d("a.b", 1)), code: 28},
		{name: "_id is immutable", before: d("a", 1), update: d("$set", d("_id", 2)), code: 66},
		{name: "unset of _id", before: d("a", 1), update: d("$unset", d("_id", "")), code: 66},
		{name: "unknown operator", before: d("a", 1), update: d("$frob", d("a", 1)), code: 9},
		{name: "currentDate", before: d("a", 1), update: d("$currentDate", d("a", true)), code: 9},
		{name: "far array position", before: d("a", bson.A{}), update: d("$set", d("a.99999999999", 1)), code: 165},
		{name: "empty segment", before: d("a", 1), update: d("$set", d("a..b", 1)), code: 56},
		{name: "min and max", before: d("a", 5, "b", 5), update: d("$min", d("a", 3), "$max", d("b", 4)), want: d("a", 3, "b", 5)},
		{name: "rename", before: d("a", 1), update: d("$rename", d("a", "b")), want: d("b", 1)},
		{name: "setOnInsert on a match", before: d("a", 1), update: d("$setOnInsert", d("a", 2))},
		{name: "upsert takes equalities", filter: d("_id", 2, "a", 1, "b", d("$gt", 3), "$and", bson.A{d("c", d("$eq", 4))}), update: d("$setOnInsert", d("z", 1)), upsert: true, want: d("_id", 2, "a", 1, "c", 4, "z", 1)},
		{name: "upsert with two values", filter: d("_id", 2, "a", 1, "$and", bson.A{d("a", 2)}), update: d("$set", d("z", 1)), upsert: true, code: 54},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := e.db.Collection(fmt.Sprint("c", i))
			before := append(d("_id", 1), tt.before...)
			must(c.InsertOne(ctx, before))(t)
			filter := tt.filter
			if filter == nil {
				filter = d("_id", 1)
			}
			o := options.UpdateOne().SetUpsert(tt.upsert)
			if tt.filters != nil {
				o.SetArrayFilters(tt.filters)
			}
			res, err := c.UpdateOne(ctx, filter, tt.update, o)
			if tt.code != 0 {
				if !isCode(err, tt.code) {
					t.Errorf("got %v, want code %d", err, tt.code)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if changed := tt.want != nil; (res.ModifiedCount+res.UpsertedCount == 1) != changed {
				t.Errorf("result %+v", res)
			}
			want := before
			id := any(1)
			if tt.want != nil {
				want = append(d("_id", 1), tt.want...)
				if tt.upsert {
					want, id = tt.want, 2
				}
			}
			got := must(c.FindOne(ctx, d("_id", id)).Raw())(t)
			if w := must(bson.Marshal(want))(t); !bytes.Equal(got, w) {
				t.Errorf("got %s, want %s", got, bson.Raw(w))
			}
		})
	}
}

func TestFilters(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	for i, v := range []bson.D{
		d("v", nil), d(), d("v", 1), d("v", bson.A{1, 2}), d("v", bson.A{}), d("v", bson.A{nil}),
		d("v", d("x", 1)), d("v", bson.A{d("x", 1), d("x", 5)}), d("v", "1"), d("v", bson.A{bson.A{1}}),
	} {
		must(c.InsertOne(ctx, append(d("_id", i), v...)))(t)
	}
	tests := []struct {
		name   string
		filter bson.D
		want   []any
		code   int
	}{
		{name: "null and missing", filter: d("v", nil), want: []any{0, 1, 5}},
		{name: "not null", filter: d("v", d("$ne", nil)), want: []any{2, 3, 4, 6, 7, 8, 9}},
		{name: "exists", filter: d("v", d("$exists", true)), want: []any{0, 2, 3, 4, 5, 6, 7, 8, 9}},
		{name: "exists not", filter: d("v", d("$exists", false)), want: []any{1}},
		{name: "equal to an element", filter: d("v", 1), want: []any{2, 3}},
		{name: "equal to an array", filter: d("v", bson.A{1, 2}), want: []any{3}},
		{name: "range within a type", filter: d("v", d("$gt", 0)), want: []any{2, 3}},
		{name: "two elements for two bounds", filter: d("v", d("$gt", 1, "$lt", 2)), want: []any{3}},
		{name: "dotted through array", filter: d("v.x", d("$gt", 3)), want: []any{7}},
		{name: "elemMatch", filter: d("v", d("$elemMatch", d("x", d("$gt", 3)))), want: []any{7}},
		{name: "elemMatch with operators", filter: d("v", d("$elemMatch", d("$gt", 1, "$lt", 3))), want: []any{3}},
		{name: "size", filter: d("v", d("$size", 2)), want: []any{3, 7}},
		{name: "all", filter: d("v", d("$all", bson.A{1, 2})), want: []any{3}},
		{name: "in with null", filter: d("v", d("$in", bson.A{nil, "1"})), want: []any{0, 1, 5, 8}},
		{name: "nin", filter: d("v", d("$nin", bson.A{1, "1"})), want: []any{0, 1, 4, 5, 6, 7, 9}},
		{name: "not", filter: d("v", d("$not", d("$gt", 0))), want: []any{0, 1, 4, 5, 6, 7, 8, 9}},
		{name: "nor", filter: d("$nor", bson.A{d("v", 1), d("v", nil)}), want: []any{4, 6, 7, 8, 9}},
		{name: "or", filter: d("$or", bson.A{d("v", "1"), d("v", d("x", 1))}), want: []any{6, 7, 8}},
		{name: "regex", filter: d("v", d("$regex", "a")), code: 2},
		{name: "regex value", filter: d("v", bson.Regex{Pattern: "a"}), code: 2},
		{name: "expr", filter: d("$expr", true), code: 2},
		{name: "where", filter: d("$where", "1"), code: 2},
		{name: "text", filter: d("$text", d("$search", "a")), code: 2},
		{name: "type", filter: d("v", d("$type", "null")), code: 2},
		{name: "empty or", filter: d("$or", bson.A{}), code: 2},
		{name: "order of objects", filter: d("v", d("$gt", d("x", 0))), code: 2},
		{name: "decimal", filter: d("v", bson.NewDecimal128(0, 1)), code: 2},
	}
	check := func(t *testing.T) {
		t.Helper()
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				if tt.code != 0 {
					if err := c.FindOne(ctx, tt.filter).Err(); !isCode(err, tt.code) {
						t.Errorf("got %v, want code %d", err, tt.code)
					}
					return
				}
				got := ids(ctx, t, c, tt.filter, d("_id", 1), 0)
				if fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		}
	}
	t.Run("scan", check)
	must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("v", 1)}))(t)
	must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("v.x", -1)}))(t)
	t.Run("index", check)
}

func TestRefused(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	must(e.db.Collection("c").InsertOne(ctx, d("_id", 1)))(t)
	tests := []struct {
		cmd  bson.D
		code int
	}{
		{d("frob", 1), 59},
		{d("find", "c", "frob", 1), 40415},
		{d("find", "c", "collation", d("locale", "da")), 40415},
		{d("find", "c", "hint", "x"), 40415},
		{d("find", "c", "projection", d("a", d("$slice", 1))), 2},
		{d("find", "c", "projection", d("a", 1, "b", 0)), 31254},
		{d("find", "c", "projection", d("a", 1, "a.b", 1)), 31249},
		{d("find", "c", "limit", -1), 2},
		{d("find", "c", "sort", d("a", d("$meta", "textScore"))), 2},
		{d("insert", "c", "documents", bson.A{d("_id", 2)}, "writeConcern", d("w", 3)), 100},
		{d("find", "c", "readConcern", d("level", "linearizable")), 72},
		{d("createIndexes", "c", "indexes", bson.A{d("key", d("a", 1), "name", "a", "expireAfterSeconds", 5)}), 67},
		{d("createIndexes", "c", "indexes", bson.A{d("key", d("a", "text"), "name", "a")}), 67},
		{d("createIndexes", "c", "indexes", bson.A{d("key", d("a", 1), "name", "a", "sparse", true)}), 67},
		{d("create", "c"), 48},
		{d("create", "n", "capped", true), 40415},
		{d("drop", "none"), 26},
		{d("insert", "$x", "documents", bson.A{d("_id", 2)}), 73},
		{d("aggregate", "c", "pipeline", bson.A{}), 9},
		{d("findAndModify", "c", "remove", true, "new", true), 9},
		{d("explain", d("frob", 1)), 59},
	}
	for _, tt := range tests {
		if err := e.db.RunCommand(ctx, tt.cmd).Err(); !isCode(err, tt.code) {
			t.Errorf("%v: got %v, want code %d", tt.cmd, err, tt.code)
		}
	}
}

func TestBulk(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("u", 1), Options: options.Index().SetUnique(true)}))(t)
	docs := []any{d("_id", 1, "u", 1), d("_id", 1, "u", 2), d("_id", 3, "u", 1), d("_id", 4, "u", 4), d("_id", 5, "$u", 4)}
	for _, ordered := range []bool{true, false} {
		_, err := c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(ordered))
		var bulk mongo.BulkWriteException
		if !errors.As(err, &bulk) {
			t.Fatalf("got %v", err)
		}
		want := map[bool]string{true: "[1:11000]", false: "[1:11000 2:11000 4:52]"}[ordered]
		got := []string{}
		for _, we := range bulk.WriteErrors {
			got = append(got, fmt.Sprintf("%d:%d", we.Index, we.Code))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("ordered %v: got %v, want %s", ordered, got, want)
		}
		must(c.DeleteMany(ctx, d()))(t)
	}
	must(c.InsertMany(ctx, []any{d("_id", 1, "u", 1), d("_id", 2, "u", 2)}))(t)
	_, err := c.UpdateByID(ctx, 2, d("$set", d("u", 1)))
	var we mongo.WriteException
	if !errors.As(err, &we) || we.WriteErrors[0].Code != 11000 || we.WriteErrors[0].Raw.Lookup("keyPattern", "u").AsInt64() != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := c.UpdateByID(ctx, 1, d("$set", d("x", 1))); err != nil {
		t.Errorf("own unique key: %v", err)
	}
}

func TestUniqueWinner(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("u", 1), Options: options.Index().SetUnique(true)}))(t)
	for round := range 10 {
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				_, err := c.InsertOne(ctx, d("u", round, "by", i))
				switch {
				case err == nil:
					won.Add(1)
				case mongo.IsDuplicateKeyError(err):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 63 {
			t.Errorf("%d won, %d lost", won.Load(), lost.Load())
		}
	}
	var upserted atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			res, err := c.UpdateOne(ctx, d("_id", "x"), d("$inc", d("n", 1), "$setOnInsert", d("u", "x")), options.UpdateOne().SetUpsert(true))
			if err != nil {
				t.Error(err)
				return
			}
			upserted.Add(res.UpsertedCount)
		})
	}
	wg.Wait()
	var doc bson.M
	if err := c.FindOne(ctx, d("_id", "x")).Decode(&doc); err != nil || doc["n"] != int32(64) || upserted.Load() != 1 {
		t.Errorf("%v upserts, %v, %v", upserted.Load(), doc, err)
	}
}

// TestTransfers moves money between accounts: no snapshot may see it change.
func TestTransfers(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	const accounts, each, writers = 20, 100, 8
	for i := range accounts {
		must(c.InsertOne(ctx, d("_id", i, "n", each)))(t)
	}
	stop, done := context.WithTimeout(ctx, time.Second)
	defer done()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; stop.Err() == nil; i++ {
				err := e.client.UseSession(ctx, func(sc context.Context) error {
					_, err := mongo.SessionFromContext(sc).WithTransaction(sc, func(tx context.Context) (any, error) {
						if _, err := c.UpdateByID(tx, i%accounts, d("$inc", d("n", -1))); err != nil {
							return nil, err
						}
						return c.UpdateByID(tx, (i*7+1)%accounts, d("$inc", d("n", 1)))
					})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	checks := 0
	for ; stop.Err() == nil; checks++ {
		cur := must(c.Aggregate(ctx, bson.A{d("$group", d("_id", nil, "sum", d("$sum", "$n")))}))(t)
		var sums []struct{ Sum int }
		if err := cur.All(ctx, &sums); err != nil || sums[0].Sum != accounts*each {
			t.Fatalf("sum %v, %v", sums, err)
		}
	}
	wg.Wait()
	if err := e.Check(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%d checks", checks)
}

// rawConn speaks the protocol itself, to repeat commands as a driver would after
// a lost connection.
type rawConn struct{ net.Conn }

func (c *rawConn) run(t *testing.T, cmd bson.D) bson.Raw {
	t.Helper()
	body := must(bson.Marshal(cmd))(t)
	msg := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+21))
	msg = append(msg, 1, 0, 0, 0, 0, 0, 0, 0, 0xDD, 7, 0, 0, 0, 0, 0, 0, 0)
	if _, err := c.Write(append(msg, body...)); err != nil {
		t.Fatal(err)
	}
	var head [21]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, binary.LittleEndian.Uint32(head[:])-21)
	if _, err := io.ReadFull(c, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestRetriedWrites(t *testing.T) {
	dir := t.TempDir()
	session := d("id", bson.Binary{Subtype: 4, Data: bytes.Repeat([]byte{7}, 16)})
	numbered := func(n int64, cmd bson.D) bson.D {
		return append(cmd, d("$db", "test", "lsid", session, "txnNumber", n)...)
	}
	commands := []bson.D{
		numbered(1, d("insert", "c", "documents", bson.A{d("_id", 1, "n", 0), d("_id", 2, "n", 0)})),
		numbered(2, d("update", "c", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1))), d("q", d("_id", 3), "u", d("$inc", d("n", 1)), "upsert", true)})),
		numbered(3, d("findAndModify", "c", "query", d("_id", 1), "update", d("$inc", d("n", 1)), "new", true)),
		numbered(4, d("delete", "c", "deletes", bson.A{d("q", d("_id", 2), "limit", 1)})),
		numbered(5, d("insert", "c", "documents", bson.A{d("_id", 9)}, "startTransaction", true, "autocommit", false)),
		numbered(5, d("commitTransaction", 1, "autocommit", false)),
	}
	for i, cmd := range commands {
		// Each is sent, sent again, and sent once more after a restart.
		var first bson.Raw
		for life := range 2 {
			srv, err := mongod.Open(mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			l := must(mongod.Listen("unix:" + filepath.Join(t.TempDir(), "m.sock")))(t)
			go func() { _ = srv.Serve(context.Background(), l) }()
			c := &rawConn{must(net.Dial("unix", l.Addr().String()))(t)}
			if cmd[0].Key == "commitTransaction" && life == 0 {
				c.run(t, commands[i-1])
			}
			for try := range 2 {
				if i == 4 && life+try > 0 {
					break // a transaction's statement is not repeated
				}
				reply := c.run(t, cmd)
				for _, f := range []string{"n", "nModified", "value", "upserted", "ok"} {
					if first != nil && !reply.Lookup(f).Equal(first.Lookup(f)) {
						t.Errorf("%s, try %d of life %d: %s, at first %s", cmd[0].Key, try, life, reply, first)
					}
				}
				if reply.Lookup("ok").AsInt64() != 1 {
					t.Errorf("%s: %s", cmd[0].Key, reply)
				}
				if first == nil {
					first = reply
				}
			}
			if err := errors.Join(srv.Check(t.Context()), srv.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := start(t, dir)
	var docs []bson.D
	if err := must(e.db.Collection("c").Find(t.Context(), d(), options.Find().SetSort(d("_id", 1))))(t).All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	want := []bson.D{d("_id", int32(1), "n", int32(2)), d("_id", int32(3), "n", int32(1)), d("_id", int32(9))}
	if fmt.Sprint(docs) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", docs, want)
	}
}
