package imports_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/imports"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/testdata/legislators"
)

// persons writes n lines about invented persons, each with one record of ten
// fields.
func persons(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		for i := range n {
			_, err := fmt.Fprintf(w, `{"ref":"C-%07d","name":"Person Number%c %d","born":"19%02d-0%d-1%d","mail":"p%d@example.com",`+
				`"phone":"+120255501%02d","a":"first value","b":"second value %d","c":"third","d":%d,"e":"2026-01-0%d","f":"a somewhat longer text than the others",`+
				`"g":true,"h":"eighth","i":"ninth","j":"tenth"}`+"\n",
				i, 'A'+rune(i%26), i, 20+i%80, 1+i%9, i%10, i, i%100, i, i, 1+i%9)
			if err != nil {
				return // the reader has had enough
			}
		}
		_ = w.Close()
	}()
	return r
}

const personsMapping = `{"subject": {"reference": "ref", "name": {"full": "name"}, "birthDate": "born", "emails": ["mail"], "phones": ["phone"]},
 "records": [{"dataset": "Ten", "key": "ref", "origin": "PROVIDED",
  "fields": {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e", "f": "f", "g": "g", "h": "h", "i": "i", "j": "j"}}]}`

// ten makes the dataset and mapping of persons.
func (e *env) ten(tb testing.TB, ctx context.Context) { //nolint:revive // tb comes first in tests
	tb.Helper()
	in := dataset.CreateInput{Name: "Ten", Secrecy: dataset.NoSecrecy}
	types := map[rune]dataset.Type{'d': dataset.TypeInt, 'e': dataset.TypeDate, 'g': dataset.TypeBool}
	for key := 'a'; key <= 'j'; key++ {
		f := dataset.FieldInput{
			Key: string(key), Type: dataset.TypeString, DataClass: dataset.Ordinary, Secrecy: dataset.NoSecrecy,
			Lookup: dataset.NoLookup,
		}
		if t, ok := types[key]; ok {
			f.Type = t
		}
		in.Fields = append(in.Fields, f)
	}
	if _, err := e.datasets.Create(ctx, in); err != nil {
		tb.Fatal(err)
	}
	if _, err := e.imports.SaveMapping(ctx, imports.SaveMappingInput{Name: "persons", Document: personsMapping}); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkImport compares an import with bare inserts of all the documents that
// it writes, keys, lookups and audit included, into the same kind of database
// with the same indexes. vs-InsertMany is the inserts' time over the import's.
func BenchmarkImport(b *testing.B) {
	for _, bb := range []struct {
		name, mapping string
		prepare       func(*env, testing.TB, context.Context)
		file          func() io.Reader
	}{
		{"persons", "persons", (*env).ten, func() io.Reader { return persons(5000) }},
		{
			"legislators", legislators.MappingName, (*env).demo,
			func() io.Reader { return bytes.NewReader(legislators.Lines()) },
		},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var importing, inserting, importCPU, insertCPU time.Duration
			var documents, count int64
			for b.Loop() {
				b.StopTimer()
				e := newEnv(b)
				ctx := portal(b, testenv.One)
				bb.prepare(e, b, ctx)
				b.StartTimer()
				start, used := time.Now(), processor(b)
				sum, err := e.imports.Run(ctx, imports.Input{
					Key: "bench", Mapping: bb.mapping, Format: imports.NDJSON, Mode: imports.Write, Body: bb.file(),
				})
				if err != nil || sum.Counts.Rejected > 0 {
					b.Fatal(err, sum)
				}
				importing, importCPU = importing+time.Since(start), importCPU+processor(b)-used
				b.StopTimer()
				count += sum.Counts.Lines()
				n, took, used := e.insertAgain(b)
				documents, inserting, insertCPU = documents+n, inserting+took, insertCPU+used
				b.StartTimer()
			}
			b.ReportMetric(float64(inserting)/float64(importing), "vs-InsertMany")
			b.ReportMetric(float64(insertCPU)/float64(importCPU), "vs-InsertMany-CPU")
			b.ReportMetric(float64(documents)/importing.Seconds(), "docs/s")
			b.ReportMetric(float64(count)/importing.Seconds(), "lines/s")
			b.ReportMetric(float64(documents)/float64(count), "docs/line")
		})
	}
}

// insertAgain inserts what is in the databases of e into fresh ones.
func (e *env) insertAgain(b *testing.B) (documents int64, took, used time.Duration) {
	b.Helper()
	data, keys := testenv.MongoURI(b), testenv.MongoURI(b)
	testenv.Data(b, data)
	for _, move := range []struct {
		from, to    string
		collections []string
	}{
		{e.uri, data, []string{"subjects", "records", "lookups", "audit"}},
		{e.keys, keys, []string{"dataKeys"}},
	} {
		from, to := connect(b, move.from), connect(b, move.to)
		for _, name := range move.collections {
			cursor, err := from.Collection(name).Find(b.Context(), bson.D{})
			if err != nil {
				b.Fatal(err)
			}
			var docs []bson.Raw
			if err := cursor.All(b.Context(), &docs); err != nil {
				b.Fatal(err)
			}
			documents += int64(len(docs))
			start, before := time.Now(), processor(b)
			for len(docs) > 0 {
				n := min(1000, len(docs))
				if _, err := to.Collection(name).InsertMany(b.Context(), docs[:n]); err != nil {
					b.Fatal(err)
				}
				docs = docs[n:]
			}
			took, used = took+time.Since(start), used+processor(b)-before
		}
	}
	return documents, took, used
}

// processor returns the processor time that this process has used, the document
// engines in it included: unlike time on the clock it doesn't depend on what
// else the machine does.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func connect(tb testing.TB, uri string) *mongo.Database {
	tb.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Disconnect(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return client.Database("vogter")
}
