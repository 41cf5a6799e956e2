package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/vault"
)

// caseEraser destroys a request, whose id is the target's subject, with its events
// and letters, and with what tasks and recipients were told: documents with their
// objects, and all that is sealed. That there was a request, a letter, a task or a
// notice stays, with its ids.
type caseEraser struct {
	changes *change.Runner
	files   *mongo.Collection
	sealed  []sealedPart
	remove  func(ctx context.Context, key string) error
}

// sealedPart is a kind of documents of a request, and what is sealed of each.
type sealedPart struct {
	coll   *mongo.Collection
	by     string // the field that names the request
	fields []string
}

// of matches those of a request that have something sealed.
func (p *sealedPart) of(ctx context.Context, requestID string) (bson.D, error) {
	some := make(bson.A, len(p.fields))
	for i, f := range p.fields {
		some[i] = bson.D{{Key: f, Value: bson.D{{Key: "$exists", Value: true}}}}
	}
	return scoped(ctx, bson.E{Key: p.by, Value: requestID}, bson.E{Key: "$or", Value: some})
}

// gone takes away what is sealed.
func (p *sealedPart) gone() bson.D {
	fields := make(bson.D, len(p.fields))
	for i, f := range p.fields {
		fields[i] = bson.E{Key: f, Value: ""}
	}
	return bson.D{{Key: "$unset", Value: fields}}
}

func newCaseEraser(d *DB, objects Blobs, changes *change.Runner) *caseEraser {
	return &caseEraser{
		changes, d.db.Collection(filesColl), []sealedPart{
			{d.db.Collection(requestsColl), "_id", []string{"body"}},
			{d.db.Collection(requestEventsColl), "request", []string{"reason"}},
			{d.db.Collection(sentLettersColl), "request", []string{"title", "markdown"}},
			{d.db.Collection(tasksColl), "request", []string{"body"}},
			{d.db.Collection(noticesToldColl), "request", []string{"body"}},
		}, objects.Delete,
	}
}

// Name implements erasure.Eraser.
func (*caseEraser) Name() string { return "case" }

// Erase implements erasure.Eraser.
func (e *caseEraser) Erase(ctx context.Context, t erasure.Target) error {
	if !slices.Contains(t.Units, vault.Case) {
		return nil
	}
	of, err := scoped(ctx, bson.E{Key: "request", Value: t.Subject})
	if err != nil {
		return err
	}
	docs, err := all[idDoc](ctx, e.files, of, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return fmt.Errorf("find documents of a case: %w", err)
	}
	for _, d := range docs {
		if err := e.remove(ctx, d.ID); err != nil {
			return err
		}
	}
	if err := eraseIn(ctx, e.changes, e.files, of, nil, "erasure.files", t.Subject); err != nil {
		return err
	}
	for _, p := range e.sealed {
		filter, err := p.of(ctx, t.Subject)
		if err == nil {
			err = eraseIn(ctx, e.changes, p.coll, filter, p.gone(), "erasure.case", t.Subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *caseEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	if !slices.Contains(t.Units, vault.Case) {
		return 0, nil
	}
	of, err := scoped(ctx, bson.E{Key: "request", Value: t.Subject})
	if err != nil {
		return 0, err
	}
	left, err := count(ctx, e.files, of, eraseBatch)
	for _, p := range e.sealed {
		if err != nil {
			break
		}
		var filter bson.D
		if filter, err = p.of(ctx, t.Subject); err == nil {
			var n int
			n, err = count(ctx, p.coll, filter, eraseBatch)
			left += n
		}
	}
	return left, err
}
