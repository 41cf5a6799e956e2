package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// Told implements seal.Archive.
func (s *AuditStore) Told(ctx context.Context, of []audit.Content) ([]seal.Told, error) {
	if len(of) == 0 {
		return nil, nil
	}
	keys := make([]string, len(of))
	for i, c := range of {
		keys[i] = contentKey(c.Object, c.Version)
	}
	slices.Sort(keys)
	filter, err := scoped(ctx, bson.E{Key: "contents.k", Value: bson.D{{Key: "$in", Value: slices.Compact(keys)}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[auditDoc](ctx, s.entries, filter,
		options.Find().SetProjection(bson.D{{Key: "contents", Value: 1}, {Key: "seq", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find entries of contents: %w", err)
	}
	var told []seal.Told
	for _, d := range docs {
		for i := range d.Contents {
			told = append(told, seal.Told{Content: d.Contents[i].content(), Entry: d.ID, Seq: d.Seq})
		}
	}
	return told, nil
}

// Values returns the kinds of values whose changes the audit log tells, one by one.
func Values(d *DB) []seal.Values {
	kinds := []seal.Values{
		&values[subjectDoc]{d.db.Collection(subjectsColl), id.Subject, (*subjectDoc).kept},
		&values[recordDoc]{d.db.Collection(recordsColl), id.Record, (*recordDoc).kept},
	}
	for _, k := range keptKinds() {
		kinds = append(kinds, &keptValues{k, d.db.Collection(k.coll)})
	}
	return kinds
}

// values implements seal.Values for the documents of a collection.
type values[T any] struct {
	coll *mongo.Collection
	kind id.Type
	kept func(*T) (seal.Kept, error)
}

// Prefix implements seal.Values.
func (v *values[T]) Prefix(of tenant.ID) string { return id.Prefix(v.kind, of) }

// Behind implements seal.Values.
func (v *values[T]) Behind(ctx context.Context, after string, limit int) ([]seal.Kept, error) {
	docs, err := behindID[T](ctx, v.coll, v.Prefix, after, limit)
	if err != nil {
		return nil, err
	}
	kept := make([]seal.Kept, len(docs))
	for i := range docs {
		if kept[i], err = v.kept(&docs[i]); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// Missing implements seal.Values.
func (v *values[T]) Missing(ctx context.Context, ids []string) ([]string, error) {
	return missing(ctx, v.coll, ids)
}

// behindID returns the tenant's documents behind an id, by id.
func behindID[T any](
	ctx context.Context, coll *mongo.Collection, prefix func(tenant.ID) string, after string, limit int,
) ([]T, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	end := prefix(of) + "~" // which follows every character of an id
	filter := bson.D{{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}, {Key: "$lt", Value: end}}}}
	docs, err := all[T](ctx, coll, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	return docs, nil
}

// missing returns those of the ids that no document of the tenant has.
func missing(ctx context.Context, coll *mongo.Collection, ids []string) ([]string, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[idDoc](ctx, coll, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("look for values: %w", err)
	}
	there := make(map[string]bool, len(docs))
	for _, d := range docs {
		there[d.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(s string) bool { return there[s] }), nil
}

func (d *recordDoc) kept() (seal.Kept, error) {
	sum, err := d.digest()
	return seal.Kept{Content: audit.Content{Object: d.ID, Version: d.Version, Digest: sum}}, err
}

func (d *subjectDoc) kept() (seal.Kept, error) {
	sum, err := d.digest()
	empty := d.Identity.values() == 0
	return seal.Kept{
		Content: audit.Content{Object: d.ID, Version: d.Version, Digest: sum},
		Gone:    d.State == subject.Erased && empty, Moving: d.State == subject.Erasing && empty,
	}, err
}

// values counts what is stored of who the person is.
func (i *identityDoc) values() (n int) {
	for _, v := range []sealed{i.Reference, i.Name, i.BirthDate, i.Emails, i.Phones, i.NationalIDs, i.Relations} {
		if v != nil {
			n++
		}
	}
	return n
}
