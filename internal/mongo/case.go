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

// caseEraser destroys what tasks and recipients were told of a request, whose id is
// the target's subject: documents with their objects, and all that is sealed. That
// there was a task or a notice stays, with its ids.
type caseEraser struct {
	changes *change.Runner
	files   *mongo.Collection
	bodies  []*mongo.Collection // of documents that have all in their field body
	remove  func(ctx context.Context, key string) error
}

func newCaseEraser(d *DB, objects Blobs, changes *change.Runner) *caseEraser {
	return &caseEraser{
		changes, d.db.Collection(filesColl), []*mongo.Collection{d.db.Collection(tasksColl), d.db.Collection(noticesToldColl)}, objects.Delete,
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
	for _, coll := range e.bodies {
		sealed := append(slices.Clone(of), bson.E{Key: "body", Value: bson.D{{Key: "$exists", Value: true}}})
		err := eraseIn(ctx, e.changes, coll, sealed, bson.D{{Key: "$unset", Value: bson.D{{Key: "body", Value: ""}}}}, "erasure.case", t.Subject)
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
	for _, coll := range e.bodies {
		if err != nil {
			break
		}
		var n int
		n, err = count(ctx, coll, append(slices.Clone(of), bson.E{Key: "body", Value: bson.D{{Key: "$exists", Value: true}}}), eraseBatch)
		left += n
	}
	return left, err
}
