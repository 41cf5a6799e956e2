package mongod_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// rate runs f from n goroutines until total calls are done, per second.
func rate(b *testing.B, n, total int, f func(i int) error) float64 {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range n {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > total {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(total) / time.Since(start).Seconds()
}

func barePebble(b *testing.B) *pebble.DB {
	b.Helper()
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}, MemTableSize: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

func doc(i int, size int) bson.D {
	return bson.D{
		{Key: "_id", Value: fmt.Sprintf("%012x%08d", uint64(i)*0x9E3779B97F4A7C15, i)},
		{Key: "tenant", Value: "t1"},
		{Key: "createdAt", Value: bson.DateTime(i)},
		{Key: "sealed", Value: bson.Binary{Subtype: 0x80, Data: make([]byte, size)}},
	}
}

// BenchmarkInsert32Writers compares durable single inserts with the same commits
// on bare Pebble.
func BenchmarkInsert32Writers(b *testing.B) {
	const total = 20_000
	e, ctx := start(b, b.TempDir()), context.Background()
	c := e.db.Collection("c")
	db := barePebble(b)
	for b.Loop() {
		base := int(time.Now().UnixNano() % 1e9)
		bare := rate(b, 32, total, func(i int) error {
			raw, err := bson.Marshal(doc(base+i, 100))
			if err != nil {
				return err
			}
			return db.Set(fmt.Appendf(nil, "k%020d", base+i), raw, pebble.Sync)
		})
		engine := rate(b, 32, total, func(i int) error {
			_, err := c.InsertOne(ctx, doc(base+i, 100))
			return err
		})
		b.ReportMetric(engine, "inserts/s")
		b.ReportMetric(engine/bare, "of_pebble")
	}
}

// BenchmarkFindByID compares reads by _id with the driver's own cost of a ping.
func BenchmarkFindByID(b *testing.B) {
	const docs, total = 10_000, 40_000
	e, ctx := start(b, b.TempDir()), context.Background()
	c := e.db.Collection("c")
	fill(b, c, docs, 100)
	for b.Loop() {
		ping := rate(b, 8, total, func(int) error { return e.client.Ping(ctx, nil) })
		find := rate(b, 8, total, func(i int) error {
			id := doc(i%docs, 0)[0].Value
			return c.FindOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "tenant", Value: "t1"}}).Err()
		})
		b.ReportMetric(find, "finds/s")
		b.ReportMetric(find/ping, "of_ping")
	}
}

func fill(b *testing.B, c *mongo.Collection, n, size int) {
	b.Helper()
	batch := []any{}
	for i := range n {
		batch = append(batch, doc(i, size))
		if len(batch) == 1000 || i == n-1 {
			if _, err := c.InsertMany(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}

// BenchmarkInsertMany compares bulk loading with batches on bare Pebble.
func BenchmarkInsertMany(b *testing.B) {
	for _, size := range []int{200, 1000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			const total = 100_000
			for b.Loop() {
				e := start(b, b.TempDir())
				db := barePebble(b)
				begin := time.Now()
				for i := 0; i < total; i += 1000 {
					batch := db.NewBatch()
					for j := range 1000 {
						d := doc(i+j, size)
						raw, err := bson.Marshal(d)
						if err == nil {
							id, _ := d[0].Value.(string)
							err = batch.Set([]byte(id), raw, nil)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
					if err := batch.Commit(pebble.Sync); err != nil {
						b.Fatal(err)
					}
				}
				bare := total / time.Since(begin).Seconds()
				begin = time.Now()
				fill(b, e.db.Collection("c"), total, size)
				engine := total / time.Since(begin).Seconds()
				b.ReportMetric(engine, "docs/s")
				b.ReportMetric(engine/bare, "of_pebble")
			}
		})
	}
}

// BenchmarkPage compares a keyset page of 50 in a large collection with a small.
func BenchmarkPage(b *testing.B) {
	e, ctx := start(b, b.TempDir()), context.Background()
	page := func(c *mongo.Collection, n int) time.Duration {
		begin := time.Now()
		const rounds = 500
		for i := range rounds {
			at := bson.DateTime((i*7919)%n + 60)
			cur, err := c.Find(ctx, bson.D{
				{Key: "tenant", Value: "t1"},
				{Key: "$or", Value: bson.A{bson.D{{Key: "createdAt", Value: bson.D{{Key: "$lt", Value: at}}}}, bson.D{{Key: "createdAt", Value: at}, {Key: "_id", Value: bson.D{{Key: "$lt", Value: "m"}}}}}},
			}, options.Find().SetSort(bson.D{{Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(50))
			if err != nil {
				b.Fatal(err)
			}
			var docs []bson.Raw
			if err := cur.All(ctx, &docs); err != nil || len(docs) != 50 {
				b.Fatal(err, len(docs))
			}
		}
		return time.Since(begin) / rounds
	}
	small, large := e.db.Collection("small"), e.db.Collection("large")
	for _, c := range []*mongo.Collection{small, large} {
		if _, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "tenant", Value: 1}, {Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}}); err != nil {
			b.Fatal(err)
		}
	}
	fill(b, small, 10_000, 200)
	fill(b, large, 300_000, 200)
	for b.Loop() {
		s, l := page(small, 10_000), page(large, 300_000)
		b.ReportMetric(float64(l.Microseconds()), "µs/page")
		b.ReportMetric(float64(l)/float64(s), "of_small")
	}
}
