package mongod_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// Every benchmark measures its baseline in the same run and reports the ratio;
// client and server share the process and its cores. VOGTER_SCALE=full takes the
// sizes for which the goals are set.

// scaled returns n in full scale, else a twentieth.
func scaled(n int) int {
	if full() {
		return n
	}
	return n / 20
}

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

// doc is a document as the product stores them: a random id, and a sealed value of
// the given size that looks random.
func doc(i int, size int) bson.D {
	return bson.D{
		{Key: "_id", Value: docID(i)},
		{Key: "tenant", Value: "t1"},
		{Key: "createdAt", Value: bson.DateTime(i)},
		{Key: "sealed", Value: bson.Binary{Subtype: 0x80, Data: noise(i, size)}},
	}
}

func docID(i int) string {
	return fmt.Sprintf("%012x%08d", uint64(i)*0x9E3779B97F4A7C15>>16, i)
}

func noise(i, size int) []byte {
	out := make([]byte, 0, size+sha256.Size)
	for len(out) < size {
		var seed [16]byte
		binary.BigEndian.PutUint64(seed[:], uint64(i))
		binary.BigEndian.PutUint64(seed[8:], uint64(len(out)))
		sum := sha256.Sum256(seed[:])
		out = append(out, sum[:]...)
	}
	return out[:size]
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

// BenchmarkInsert: durable inserts by 32 writers against the same commits on bare
// Pebble (document, retry record, count), and against the most that any server
// could reach behind this driver: one that reads the document out of the message,
// commits the same to Pebble and replies.
func BenchmarkInsert(b *testing.B) {
	total, ctx := scaled(200_000), context.Background()
	e := start(b, b.TempDir())
	bare, behind := barePebble(b), barePebble(b)
	commit := func(db *pebble.DB, session, id, raw []byte) error {
		batch := db.NewBatch()
		if err := batch.Set(id, raw, nil); err != nil {
			return err
		}
		if err := batch.Set(session, make([]byte, 120), nil); err != nil {
			return err
		}
		if err := batch.Merge([]byte("count"), nil, nil); err != nil {
			return err
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return err
		}
		return batch.Close()
	}
	least := canned(b, map[string]bson.D{"insert": {{Key: "n", Value: 1}, {Key: "ok", Value: 1.0}}}, func(message []byte) error {
		var command bson.Raw = message[5:] // after the flags and the kind of the first section
		length, _, _ := bsoncore.ReadLength(message[5:])
		command = command[:length]
		_, sequence, _ := bytes.Cut(message[5+length+5:], []byte{0}) // after its kind, length and name
		document := bson.Raw(sequence)
		return commit(behind, command.Lookup("lsid", "id").Value, document.Lookup("_id").Value, document)
	})
	insert := func(c *mongo.Collection, base int) float64 {
		return rate(b, 32, total, func(i int) error {
			_, err := c.InsertOne(ctx, doc(base+i, 100))
			return err
		})
	}
	for round := 0; b.Loop(); round++ {
		base := round * total
		commits := rate(b, 32, total, func(i int) error {
			raw, err := bson.Marshal(doc(base+i, 100))
			if err != nil {
				return err
			}
			return commit(bare, fmt.Appendf(nil, "session %08d", i%32), []byte(docID(base+i)), raw)
		})
		most := insert(least.Database("test").Collection("c"), base)
		engine := insert(e.db.Collection("c"), base)
		b.ReportMetric(engine, "inserts/s")
		b.ReportMetric(engine/commits, "of-pebble")
		b.ReportMetric(engine/most, "of-any-server")
		b.ReportMetric(most/commits, "any-server-of-pebble")
	}
}

// BenchmarkFindByID: finds by _id by 8 readers against the same driver with a
// server that has one reply for all.
func BenchmarkFindByID(b *testing.B) {
	docs, total, ctx := scaled(200_000), scaled(400_000), context.Background()
	e := start(b, b.TempDir())
	c := e.db.Collection("c")
	fill(b, c, docs, 100)
	reply := bson.D{
		{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: bson.A{doc(1, 100)}}, {Key: "id", Value: int64(0)}, {Key: "ns", Value: "test.c"}}},
		{Key: "ok", Value: 1.0},
	}
	stored := canned(b, map[string]bson.D{"find": reply}, nil).Database("test").Collection("c")
	find := func(c *mongo.Collection) float64 {
		return rate(b, 8, total, func(i int) error {
			return c.FindOne(ctx, bson.D{{Key: "_id", Value: docID(i % docs)}, {Key: "tenant", Value: "t1"}}).Err()
		})
	}
	for b.Loop() {
		most, engine := find(stored), find(c)
		b.ReportMetric(engine, "finds/s")
		b.ReportMetric(engine/most, "of-canned")
	}
}

// BenchmarkInsertMany: bulk loading against batches of as many on bare Pebble.
func BenchmarkInsertMany(b *testing.B) {
	for _, size := range []int{200, 1000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			total := scaled(1_000_000)
			for b.Loop() {
				e, db := start(b, b.TempDir()), barePebble(b)
				begin := time.Now()
				for i := 0; i < total; i += 1000 {
					batch := db.NewBatch()
					for j := i; j < i+1000; j++ {
						raw, err := bson.Marshal(doc(j, size))
						if err == nil {
							err = batch.Set([]byte(docID(j)), raw, nil)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
					if err := batch.Commit(pebble.Sync); err != nil {
						b.Fatal(err)
					}
				}
				bare := float64(total) / time.Since(begin).Seconds()
				begin = time.Now()
				fill(b, e.db.Collection("c"), total, size)
				engine := float64(total) / time.Since(begin).Seconds()
				b.ReportMetric(engine, "docs/s")
				b.ReportMetric(engine/bare, "of-pebble")
			}
		})
	}
}

// BenchmarkPage: a keyset page of 50 in a large collection against a small one,
// taken in turns, when both are at rest in tables and have been read before. It
// compares the medians, which a busy machine disturbs least.
func BenchmarkPage(b *testing.B) {
	e, ctx := start(b, b.TempDir()), context.Background()
	page := func(c *mongo.Collection, n, i int) time.Duration {
		begin := time.Now()
		at := bson.DateTime((i*7919)%(n-100) + 60)
		cur, err := c.Find(ctx, bson.D{
			{Key: "tenant", Value: "t1"},
			{Key: "$or", Value: bson.A{
				bson.D{{Key: "createdAt", Value: bson.D{{Key: "$lt", Value: at}}}},
				bson.D{{Key: "createdAt", Value: at}, {Key: "_id", Value: bson.D{{Key: "$lt", Value: "m"}}}},
			}},
		}, options.Find().SetSort(bson.D{{Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(50))
		if err != nil {
			b.Fatal(err)
		}
		var docs []bson.Raw
		if err := cur.All(ctx, &docs); err != nil || len(docs) != 50 {
			b.Fatal(err, len(docs))
		}
		return time.Since(begin)
	}
	small, large := e.db.Collection("small"), e.db.Collection("large")
	for _, c := range []*mongo.Collection{small, large} {
		if _, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "tenant", Value: 1}, {Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}}); err != nil {
			b.Fatal(err)
		}
	}
	few, many := 10_000, scaled(1_000_000)
	fill(b, large, many, 200)
	fill(b, small, few, 200)
	if err := e.Flush(); err != nil {
		b.Fatal(err)
	}
	for i := range scaled(5000) { // what is read again and again is in the cache
		page(small, few, i)
		page(large, many, i)
	}
	for b.Loop() {
		const rounds = 1000
		var s, l []time.Duration
		for i := range rounds {
			s = append(s, page(small, few, i))
			l = append(l, page(large, many, i))
		}
		slices.Sort(s)
		slices.Sort(l)
		b.ReportMetric(float64(l[rounds/2].Microseconds()), "µs/page")
		b.ReportMetric(float64(l[rounds/2])/float64(s[rounds/2]), "of-small")
	}
}

// BenchmarkCursor: the memory that reading a large collection through a cursor
// takes, on both sides of the connection, beside what the process had before.
func BenchmarkCursor(b *testing.B) {
	// What the cache may take is set, and nothing that a cursor adds.
	e, ctx := startWith(b, mongod.Options{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler), Now: time.Now, Cache: 32 << 20}), context.Background()
	total := scaled(1_000_000)
	fill(b, e.db.Collection("c"), total, 1000)
	for b.Loop() {
		debug.FreeOSMemory()
		before := resident(b)
		peak := before
		begin := time.Now()
		cur, err := e.db.Collection("c").Find(ctx, bson.D{})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for ; cur.Next(ctx); n++ {
			if n%2000 == 0 {
				peak = max(peak, resident(b))
			}
		}
		if err := cur.Err(); err != nil || n != total {
			b.Fatal(err, n)
		}
		b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "docs/s")
		b.ReportMetric(float64(peak-before)/(1<<20), "extra-MiB")
	}
}

// resident returns the memory of this process, in bytes.
func resident(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("memory is read from /proc")
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	kib, err := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib << 10
}
