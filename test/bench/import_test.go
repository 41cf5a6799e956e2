package bench_test

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/vogter/vogter/internal/local"
)

// BenchmarkImportOverHTTP streams persons with one record of ten fields each to
// `vogter serve`, 100,000 in full scale, and tells the most memory that process
// has had. Then all documents that the import wrote, keys, lookups and audit
// included, are inserted as they are into the engines of another platform, which
// have the same indexes: vs-InsertMany is the import's speed over that.
func BenchmarkImportOverHTTP(b *testing.B) {
	program, n := build(b), scaled(5000, 100_000)
	var lines, documents int
	var importing, inserting, serving, storing time.Duration
	var peak float64
	for b.Loop() {
		p := start(b, program)
		cpu := func(parts ...string) (sum time.Duration) {
			for _, part := range parts {
				sum += p.cpu(p.stack.PID(part))
			}
			return sum
		}
		served, stored := cpu(local.PartAPI), cpu(local.PartData, local.PartKeys)
		importing += p.load("I", n)
		serving += cpu(local.PartAPI) - served
		storing += cpu(local.PartData, local.PartKeys) - stored
		lines += n
		peak = max(peak, p.peak(local.PartAPI))

		inserted, took := p.insertInto(b, start(b, program))
		documents, inserting = documents+inserted, inserting+took
	}
	b.ReportMetric(float64(inserting)/float64(importing), "vs-InsertMany")
	b.ReportMetric(float64(lines)/importing.Seconds(), "lines/s")
	b.ReportMetric(float64(documents)/float64(lines), "docs/line")
	b.ReportMetric(float64(serving.Microseconds())/float64(lines), "serve-cpu-µs/line")
	b.ReportMetric(float64(storing.Microseconds())/float64(lines), "engines-cpu-µs/line")
	b.ReportMetric(peak, "peak-MiB")
}

// insertInto inserts what an import has written into the stores of q, and
// returns how many documents that are and how long the inserting took.
func (p *platform) insertInto(b *testing.B, q *platform) (documents int, took time.Duration) {
	b.Helper()
	const batch = 1000
	from, to := p.stack.Env().Config, q.stack.Env().Config
	for _, store := range []struct {
		database, from, to string
		collections        []string
	}{
		{"vogter", from.MongoDB.Reveal(), to.MongoDB.Reveal(), []string{"subjects", "records", "lookups", "audit"}},
		{"vogter_keys", from.KeyStore.Reveal(), to.KeyStore.Reveal(), []string{"dataKeys"}},
	} {
		source, target := connect(b, store.from).Database(store.database), connect(b, store.to).Database(store.database)
		for _, name := range store.collections {
			cursor, err := source.Collection(name).Find(b.Context(), bson.D{}, options.Find().SetBatchSize(batch))
			if err != nil {
				b.Fatal(err)
			}
			for docs := []bson.Raw(nil); ; docs = docs[:0] {
				for len(docs) < batch && cursor.Next(b.Context()) {
					docs = append(docs, append(bson.Raw(nil), cursor.Current...))
				}
				if err := cursor.Err(); err != nil {
					b.Fatal(err)
				}
				if len(docs) == 0 {
					break
				}
				began := time.Now()
				if _, err := target.Collection(name).InsertMany(b.Context(), docs); err != nil {
					b.Fatal(err)
				}
				took += time.Since(began)
				documents += len(docs)
			}
		}
	}
	return documents, took
}

// connect opens a store as the platform does: writes are acknowledged by a majority.
func connect(b *testing.B, uri string) *mongo.Client {
	b.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := client.Disconnect(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	return client
}
