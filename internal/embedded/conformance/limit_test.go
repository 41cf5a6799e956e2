package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

const maxDocument = 16 << 20

// sized returns a document of n bytes.
func sized(id, n int) bson.D {
	small, err := bson.Marshal(d("_id", id, "pad", ""))
	if err != nil {
		panic(err)
	}
	return d("_id", id, "pad", strings.Repeat("x", n-len(small)))
}

// nested returns a document that is levels deep.
func nested(levels int) bson.D {
	inner := d("x", 1)
	for range levels - 1 {
		inner = d("x", inner)
	}
	return inner
}

func limitCases() []testCase {
	const page = "reference/limits"
	inserts := func(name string, doc func() bson.D, code ...int) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			_, err := f.coll.InsertOne(ctx, doc())
			if err := codes(code).check("insert", err); err != nil || len(code) > 0 {
				return err
			}
			n, err := f.coll.CountDocuments(ctx, d())
			return errors.Join(err, same("count", n, int64(1)))
		}}
	}
	stores := func(name, page, docs string) testCase {
		return testCase{name, page, func(ctx context.Context, f *fixture) error {
			return errors.Join(f.insert(ctx, docs), f.holds(ctx, docs))
		}}
	}
	return []testCase{
		inserts("a document of 16 MiB", func() bson.D { return sized(1, maxDocument) }),
		inserts("a document above 16 MiB", func() bson.D { return sized(1, maxDocument+1) }, 10334, 2, 17419, 17420),
		{"an update above 16 MiB", page, func(ctx context.Context, f *fixture) error {
			if _, err := f.coll.InsertOne(ctx, sized(1, maxDocument-100)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			_, err := f.coll.UpdateOne(ctx, d("_id", 1), d("$set", d("more", strings.Repeat("y", 200))))
			return codes{10334, 17419, 17420, 2}.check("update", err)
		}},
		inserts("a document 100 levels deep", func() bson.D { return append(d("_id", 1), nested(100)...) }),
		inserts("a document more than 100 levels deep", func() bson.D { return append(d("_id", 1), nested(300)...) }, 2, 15, 22, 17279),
		{"100,000 writes at once", page, func(ctx context.Context, f *fixture) error {
			docs := make(bson.A, 100_000)
			for i := range docs {
				docs[i] = d("_id", i)
			}
			raw, err := f.db.RunCommand(ctx, d("insert", f.coll.Name(), "documents", docs)).Raw()
			if err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			return contains(raw, d("n", 100_000))
		}},
		{"more than 100,000 writes at once", page, func(ctx context.Context, f *fixture) error {
			docs := make(bson.A, 100_001)
			for i := range docs {
				docs[i] = d("_id", i)
			}
			err := f.db.RunCommand(ctx, d("insert", f.coll.Name(), "documents", docs)).Err()
			return errors.Join(codes{16}.check("insert", err), f.holds(ctx, `[]`))
		}},
		{"the driver splits a larger batch", page, func(ctx context.Context, f *fixture) error {
			docs := make([]any, 100_500)
			for i := range docs {
				docs[i] = d("_id", i)
			}
			if _, err := f.coll.InsertMany(ctx, docs); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			n, err := f.coll.EstimatedDocumentCount(ctx)
			return errors.Join(err, same("count", n, int64(100_500)))
		}},
		{"messages of several documents of 16 MiB", page, func(ctx context.Context, f *fixture) error {
			docs := bson.A{}
			for i := range 5 {
				docs = append(docs, sized(i, 12<<20))
			}
			if _, err := f.coll.InsertMany(ctx, docs); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			got, err := f.all(ctx)
			return errors.Join(err, same("documents", len(got), 5))
		}},
		stores("field names with dots", "core/document", `[{_id: 1, 'a.b': 1, c: {'d.e': 2}}]`),
		stores("a field name with a $ inside", "core/document", `[{_id: 1, a$b: 1}]`),
		stores("an empty field name", "core/document", `[{_id: 1, '': 1}]`),
		stores("numbers as field names", "core/document", `[{_id: 1, '0': 1, '10': 2}]`),
		stores("field names beyond ASCII", "core/document", `[{_id: 1, 'blåbærgrød': 'æøå €'}]`),
		stores("a field that begins with $ within a document", "core/dot-dollar-considerations", `[{_id: 1, a: {$b: 1}}]`),
		{"a field that begins with $", "core/dot-dollar-considerations", func(ctx context.Context, f *fixture) error {
			_, err := f.coll.InsertOne(ctx, d("_id", 1, "$a", 1))
			if err == nil {
				return f.holds(ctx, `[{_id: 1, $a: 1}]`) // since MongoDB 5.0
			}
			return codes{52}.check("insert", err)
		}},
		stores("values of every type come back as they went", "reference/bson-types", `[{_id: 1, a: 1, b: {$numberLong: '1'}, c: 1.0, d: 'x', e: {}, f: [], g: {$binary: {base64: 'AQID', subType: '80'}},
			h: {$oid: '0123456789abcdef01234567'}, i: true, j: {$date: {$numberLong: '-1'}}, k: null, l: {$timestamp: {t: 1, i: 2}}, m: {$regularExpression: {pattern: 'a', options: 'i'}}}]`),
		stores("values of the other types come back as they went", "reference/bson-types", `[{_id: 1, a: {$numberDecimal: '1.10'}, b: {$minKey: 1}, c: {$maxKey: 1}, d: {$code: 'x'}}]`),
		stores("UUIDs", "reference/bson-types", `[{_id: {$binary: {base64: 'AAECAwQFBgcICQoLDA0ODw==', subType: '04'}}}]`),
		stores("numbers at their ends", "reference/bson-types", `[{_id: 1, a: {$numberLong: '9223372036854775807'}, b: -2147483648, c: {$numberDouble: 'NaN'}, d: {$numberDouble: '-Infinity'}, e: -0.0, f: 5e-324}]`),
		{"many indexes", page, func(ctx context.Context, f *fixture) error {
			var models []mongo.IndexModel
			for i := range 64 {
				models = append(models, mongo.IndexModel{Keys: d(fmt.Sprintf("f%d", i), 1)})
			}
			if _, err := f.coll.Indexes().CreateMany(ctx, models[:63]); err != nil {
				return fmt.Errorf("63 indexes: %w", err)
			}
			_, err := f.coll.Indexes().CreateMany(ctx, models[63:])
			return codes{67}.check("one more", err)
		}},
		{"an index key of many fields", page, func(ctx context.Context, f *fixture) error {
			key := bson.D{}
			for i := range 33 {
				key = append(key, bson.E{Key: fmt.Sprintf("f%d", i), Value: 1})
			}
			if _, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: key[:32]}); err != nil {
				return fmt.Errorf("32 fields: %w", err)
			}
			_, err := f.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: key})
			return codes{67, 13103}.check("33 fields", err)
		}},
		{"a sort without an index beyond memory", page, func(ctx context.Context, f *fixture) error {
			for i := range 4 {
				if _, err := f.coll.InsertOne(ctx, sized(i, 15<<20)); err != nil {
					return fmt.Errorf("insert: %w", err)
				}
			}
			raw := f.db.RunCommand(ctx, d("find", f.coll.Name(), "sort", d("pad", 1), "projection", d("_id", 1), "allowDiskUse", false))
			if err := raw.Err(); err != nil {
				return codes{292}.check("sort", err)
			}
			return nil // a server with more memory for sorting
		}},
		{"a time that is not yet known", "reference/bson-types", func(ctx context.Context, f *fixture) error {
			if _, err := f.coll.InsertOne(ctx, d("_id", 1, "t", bson.Timestamp{})); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
			var got struct{ T bson.Timestamp }
			if err := f.coll.FindOne(ctx, d()).Decode(&got); err != nil || got.T.T == 0 {
				return fmt.Errorf("the time is %v: %w", got.T, err)
			}
			return nil
		}},
	}
}
