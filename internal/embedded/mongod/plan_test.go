package mongod_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// explained is what a test reads of an explain.
type explained struct {
	QueryPlanner struct {
		WinningPlan bson.M `bson:"winningPlan"`
	} `bson:"queryPlanner"`
	Stats struct {
		Returned int64 `bson:"nReturned"`
		Keys     int64 `bson:"totalKeysExamined"`
		Docs     int64 `bson:"totalDocsExamined"`
	} `bson:"executionStats"`
}

func explain(ctx context.Context, t *testing.T, c *mongo.Collection, filter, sort any, limit int) explained {
	t.Helper()
	find := bson.D{{Key: "find", Value: c.Name()}, {Key: "filter", Value: filter}}
	if sort != nil {
		find = append(find, bson.E{Key: "sort", Value: sort})
	}
	if limit > 0 {
		find = append(find, bson.E{Key: "limit", Value: limit})
	}
	var ex explained
	if err := c.Database().RunCommand(ctx, bson.D{{Key: "explain", Value: find}}).Decode(&ex); err != nil {
		t.Fatal(err)
	}
	return ex
}

func ids(ctx context.Context, t *testing.T, c *mongo.Collection, filter, sort any, limit int64) []any {
	t.Helper()
	o := options.Find().SetLimit(limit)
	if sort != nil {
		o.SetSort(sort)
	}
	cur, err := c.Find(ctx, filter, o)
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.M
	if err := cur.All(ctx, &docs); err != nil {
		t.Fatal(err)
	}
	out := make([]any, len(docs))
	for i, d := range docs {
		out[i] = d["_id"]
	}
	return out
}

// d makes a document of alternating keys and values.
func d(pairs ...any) bson.D {
	doc := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		doc = append(doc, bson.E{Key: fmt.Sprint(pairs[i]), Value: pairs[i+1]})
	}
	return doc
}

func TestPlans(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c, plain := e.db.Collection("c"), e.db.Collection("plain")
	must(c.Indexes().CreateMany(ctx, []mongo.IndexModel{
		{Keys: d("tenant", 1, "createdAt", -1, "_id", -1)},
		{Keys: d("tenant", 1, "subjects", 1, "createdAt", -1, "_id", -1)},
		{Keys: d("state", 1, "runAfter", 1)},
	}))(t)
	var docs []any
	for i := range 2000 {
		docs = append(docs, d(
			"_id", fmt.Sprintf("id%04d", (i*7919)%2000),
			"tenant", fmt.Sprintf("t%d", i%2),
			"createdAt", bson.DateTime(i/5*1000),
			"subjects", bson.A{fmt.Sprintf("s%d", i%10), fmt.Sprintf("s%d", i%7+20)},
			"state", []string{"QUEUED", "DONE", "FAILED"}[i%3],
			"runAfter", bson.DateTime(i%97),
			"n", i,
		))
	}
	must(c.InsertMany(ctx, docs))(t)
	must(plain.InsertMany(ctx, docs))(t)
	at := bson.DateTime(200_000)
	keyset := bson.A{d("createdAt", d("$lt", at)), d("createdAt", at, "_id", d("$lt", "id1000"))}
	newest := d("createdAt", -1, "_id", -1)
	tests := []struct {
		name   string
		filter bson.D
		sort   any
		limit  int64
		index  string
		keys   int64 // most that may be examined
	}{
		{"one by _id and tenant", d("_id", "id0003", "tenant", "t1"), nil, 0, "_id_", 1},
		{"_id in list", d("_id", d("$in", bson.A{"id0001", "id0002", "none"}), "tenant", "t0"), nil, 0, "_id_", 3},
		{"_id range", d("_id", d("$gte", "id0100", "$lt", "id0110"), "tenant", "t0"), d("_id", 1), 0, "_id_", 10},
		{"first page", d("tenant", "t1"), newest, 50, "tenant_1_createdAt_-1__id_-1", 50},
		{"deep page by $or", d("tenant", "t1", "$or", keyset), newest, 50, "tenant_1_createdAt_-1__id_-1", 50},
		{"deep page by $and of $or", d("$and", bson.A{d("tenant", "t1"), d("$or", keyset)}), newest, 50, "tenant_1_createdAt_-1__id_-1", 50},
		{"deep page by bound", d("tenant", "t1", "createdAt", d("$lte", at)), newest, 50, "tenant_1_createdAt_-1__id_-1", 50},
		{"backwards", d("tenant", "t1", "createdAt", d("$gt", at)), d("createdAt", 1, "_id", 1), 50, "tenant_1_createdAt_-1__id_-1", 50},
		{"deep page of a subject", d("tenant", "t1", "subjects", "s3", "$or", keyset), newest, 20, "tenant_1_subjects_1_createdAt_-1__id_-1", 20},
		{"subjects in list", d("tenant", "t1", "subjects", d("$in", bson.A{"s3", "s21", "s22"})), newest, 20, "", 2000},
		{"due jobs", d("state", "QUEUED", "runAfter", d("$lte", bson.DateTime(50))), d("runAfter", 1), 10, "state_1_runAfter_1", 10},
		{"states", d("state", d("$in", bson.A{"QUEUED", "DONE"}), "runAfter", d("$lt", bson.DateTime(3))), nil, 0, "state_1_runAfter_1", 70},
		{"range both sides", d("tenant", "t0", "createdAt", d("$gte", bson.DateTime(1000), "$lt", bson.DateTime(3000))), newest, 0, "tenant_1_createdAt_-1__id_-1", 6},
		{"nothing can match", d("tenant", d("$in", bson.A{})), nil, 0, "", 0},
		{"other operators", d("tenant", "t0", "n", d("$not", d("$gt", 30)), "subjects", d("$all", bson.A{"s2"})), newest, 0, "tenant_1_subjects_1_createdAt_-1__id_-1", 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := e.FullScans()
			got := ids(ctx, t, c, tt.filter, tt.sort, tt.limit)
			if n := e.FullScans() - before; n != 0 {
				t.Errorf("%d full scans", n)
			}
			want := ids(ctx, t, plain, tt.filter, tt.sort, tt.limit)
			sameSet := map[any]bool{}
			for _, id := range want {
				sameSet[id] = true
			}
			if len(got) != len(want) {
				t.Fatalf("got %d documents, want %d", len(got), len(want))
			}
			for i := range got {
				if tt.name != "due jobs" && (tt.sort != nil && got[i] != want[i] || !sameSet[got[i]]) {
					t.Fatalf("document %d is %v, want %v", i, got[i], want[i])
				}
			}
			if n := must(c.CountDocuments(ctx, tt.filter))(t); tt.limit == 0 && n != int64(len(want)) {
				t.Errorf("counted %d, want %d", n, len(want))
			}
			if n := must(c.CountDocuments(ctx, tt.filter, options.Count().SetSkip(1).SetLimit(5)))(t); n != int64(min(max(len(want)-1, 0), 5)) {
				t.Errorf("counted %d up to 5 of %d after the first", n, len(want))
			}
			ex := explain(ctx, t, c, tt.filter, tt.sort, int(tt.limit))
			if tt.index != "" && !strings.Contains(fmt.Sprint(ex.QueryPlanner.WinningPlan), tt.index) {
				t.Errorf("plan %v", ex.QueryPlanner.WinningPlan)
			}
			if ex.Stats.Keys > tt.keys || ex.Stats.Docs > tt.keys {
				t.Errorf("examined %d keys and %d documents, want at most %d", ex.Stats.Keys, ex.Stats.Docs, tt.keys)
			}
		})
	}
	t.Run("scan is counted and shown", func(t *testing.T) {
		before := e.FullScans()
		ids(ctx, t, c, d("n", 5), nil, 0)
		if e.FullScans() != before+1 {
			t.Error("scan not counted")
		}
		var status struct {
			Metrics struct {
				QueryExecutor struct{ CollectionScans struct{ Total int64 } }
			}
		}
		err := c.Database().Client().Database("admin").RunCommand(ctx, d("serverStatus", 1)).Decode(&status)
		if total := status.Metrics.QueryExecutor.CollectionScans.Total; err != nil || total != before+1 {
			t.Errorf("serverStatus tells of %d scans, want %d (%v)", total, before+1, err)
		}
		if ex := explain(ctx, t, c, d("n", 5), nil, 0); ex.QueryPlanner.WinningPlan["stage"] != "COLLSCAN" {
			t.Errorf("plan %v", ex.QueryPlanner.WinningPlan)
		}
	})
	t.Run("large sort without an index is refused", func(t *testing.T) {
		big := e.db.Collection("big")
		var docs []any
		for i := range 40 {
			docs = append(docs, d("_id", i, "pad", strings.Repeat("x", 1<<20), "n", -i))
		}
		for _, doc := range docs {
			must(big.InsertOne(ctx, doc))(t)
		}
		_, err := big.Find(ctx, d(), options.Find().SetSort(d("n", 1)))
		if !isCode(err, 292) {
			t.Errorf("got %v", err)
		}
		if got := ids(ctx, t, big, d(), d("n", 1), 2); got[0] != int32(39) {
			t.Errorf("bounded sort: %v", got)
		}
	})
}

// TestOrder checks that an index, a sort in memory and a filter agree with
// MongoDB's order of values.
func TestOrder(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	ordered := []any{
		nil, -1.5e300, int64(-1 << 63), int32(-7), -0.5, 0, 0.25, int32(3), int64(1 << 53), int64(1<<53 + 1), int64(1<<63 - 1), 1e300,
		"", "a", "a\x00", "a\x00b", "aa", "b", d(), d("a", 1), d("a", 2), d("b", 1),
		bson.Binary{Data: []byte{9}},
		bson.Binary{Data: []byte{1, 1}},
		bson.Binary{Subtype: 0x80, Data: []byte{0, 0}},
		bson.ObjectID{1},
		bson.ObjectID{2},
		false, true, bson.DateTime(-5), bson.DateTime(5),
		bson.Timestamp{T: 1, I: 2},
		bson.Timestamp{T: 2, I: 1},
		bson.Regex{Pattern: "a"},
	}
	for _, dir := range []int{1, -1} {
		for _, indexed := range []bool{false, true} {
			t.Run(fmt.Sprint(dir, indexed), func(t *testing.T) {
				c := e.db.Collection(fmt.Sprint("c", dir+1, indexed))
				if indexed {
					must(c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("v", dir)}))(t)
				}
				for i := range ordered {
					must(c.InsertOne(ctx, d("_id", i, "v", ordered[i*5%len(ordered)], "at", i*5%len(ordered))))(t)
				}
				cur := must(c.Find(ctx, d(), options.Find().SetSort(d("v", 1))))(t)
				var docs []struct{ At int }
				if err := cur.All(ctx, &docs); err != nil {
					t.Fatal(err)
				}
				for i := range docs {
					if docs[i].At != i {
						t.Fatalf("position %d holds value %d (%v)", i, docs[i].At, ordered[docs[i].At])
					}
				}
				for i, v := range ordered {
					switch v.(type) {
					case nil, bson.D, bson.Regex:
						continue
					}
					n := must(c.CountDocuments(ctx, d("v", v)))(t)
					if n != 1 {
						t.Errorf("value %d is found %d times", i, n)
					}
					lt := must(c.CountDocuments(ctx, d("v", d("$lt", v))))(t)
					gte := must(c.CountDocuments(ctx, d("v", d("$gte", v))))(t)
					class := must(c.CountDocuments(ctx, d("v", d("$not", d("$ne", v)))))(t)
					if class != 1 || lt+gte == 0 || lt > int64(i) {
						t.Errorf("value %d: %d below, %d not below, %d equal", i, lt, gte, class)
					}
				}
			})
		}
	}
}

func TestAggregate(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	for i := range 10 {
		must(c.InsertOne(ctx, d("_id", i, "k", i%3, "n", i, "f", float64(i)/2, "tags", bson.A{"x", i % 2})))(t)
	}
	tests := []struct {
		name     string
		pipeline bson.A
		want     string
		code     int
	}{
		{"count of all", bson.A{d("$match", d()), d("$group", d("_id", 1, "n", d("$sum", 1)))}, `[{"_id":1,"n":10}]`, 0},
		{"count of none", bson.A{d("$match", d("n", 99)), d("$count", "n")}, `null`, 0},
		{"count with limit", bson.A{d("$match", d("n", d("$gt", 1))), d("$limit", 4), d("$count", "n")}, `[{"n":4}]`, 0},
		{
			"several accumulators",
			bson.A{d("$sort", d("n", 1)), d("$group", d(
				"_id", "$k", "n", d("$sum", 1), "sum", d("$sum", "$f"), "min", d("$min", "$n"),
				"max", d("$max", "$n"), "first", d("$first", "$_id"), "last", d("$last", "$_id"),
			)), d("$match", d("_id", d("$ne", 1))), d("$sort", d("_id", 1))},
			`[{"_id":0,"n":4,"sum":9.0,"min":0,"max":9,"first":0,"last":9},{"_id":2,"n":3,"sum":7.5,"min":2,"max":8,"first":2,"last":8}]`, 0,
		},
		{"unwind", bson.A{d("$match", d("_id", 3)), d("$unwind", "$tags"), d("$project", d("tags", 1, "_id", 0))}, `[{"tags":"x"},{"tags":1}]`, 0},
		{"compound group", bson.A{d("$match", d("n", d("$lt", 2))), d("$group", d("_id", d("a", "$k", "b", "$none"))), d("$sort", d("_id", 1))}, `[{"_id":{"a":0}},{"_id":{"a":1}}]`, 0},
		{"unknown stage", bson.A{d("$lookup", d())}, "", 40324},
		{"unknown accumulator", bson.A{d("$group", d("_id", nil, "x", d("$avg", "$n")))}, "", 15952},
		{"expression", bson.A{d("$project", d("x", "$n"))}, "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cur, err := c.Aggregate(ctx, tt.pipeline)
			if tt.code != 0 {
				if !isCode(err, tt.code) {
					t.Errorf("got %v, want code %d", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var docs []bson.D
			if err := cur.All(ctx, &docs); err != nil {
				t.Fatal(err)
			}
			got := must(bson.MarshalExtJSON(d("v", docs), false, false))(t)
			if string(got) != `{"v":`+tt.want+`}` && (tt.want != "null" || len(docs) != 0) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	vals := c.Distinct(ctx, "tags", d())
	var got []any
	if err := vals.Decode(&got); err != nil || len(got) != 3 {
		t.Errorf("distinct: %v %v", got, err)
	}
}

func TestSnapshotReads(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	c := e.db.Collection("c")
	must(c.InsertOne(ctx, d("_id", 1)))(t)
	sess := must(e.client.StartSession(options.Session().SetSnapshot(true)))(t)
	defer sess.EndSession(ctx)
	sc := mongo.NewSessionContext(context.WithoutCancel(ctx), sess)
	for range 3 {
		cur := must(c.Find(sc, d(), options.Find().SetBatchSize(1)))(t)
		must(c.InsertOne(ctx, d()))(t)
		var docs []bson.M
		if err := cur.All(sc, &docs); err != nil || len(docs) != 1 {
			t.Fatalf("snapshot holds %d documents (%v), want 1", len(docs), err)
		}
	}
}
