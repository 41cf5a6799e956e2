package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/tenant"
)

// names keeps who has a name that must be unique: the name is the _id, so that
// uniqueness holds on a sharded cluster too. Names are no personal data.
type names struct{ coll *mongo.Collection }

type nameDoc struct {
	ID     string    `bson:"_id"`
	Tenant tenant.ID `bson:"tenant"`
	Owner  string    `bson:"owner"`
}

// platform stands for a tenant in names that are unique on the platform.
const platform tenant.ID = "platform"

func newNames(d *DB) *names { return &names{d.db.Collection(namesColl)} }

// claim gives a name of a kind to owner within the change's transaction, and
// reports whether somebody else has it. Names that differ by case only are the same.
func (n *names) claim(ctx context.Context, kind, name, owner string) (taken bool, err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return false, err
	}
	return n.claimIn(ctx, of, kind, name, owner)
}

func (n *names) claimIn(ctx context.Context, of tenant.ID, kind, name, owner string) (taken bool, err error) {
	doc := nameDoc{nameID(of, kind, name), of, owner}
	have, err := n.owner(ctx, of, kind, name)
	if err != nil {
		return false, err
	}
	if have != "" {
		return have != owner, nil
	}
	if _, err := n.coll.InsertOne(ctx, doc); err != nil {
		return false, fmt.Errorf("claim name: %w", translate(err))
	}
	return false, nil
}

// release gives a name up within the change's transaction.
func (n *names) release(ctx context.Context, of tenant.ID, kind, name, owner string) error {
	_, err := n.coll.DeleteOne(ctx, bson.D{
		{Key: "_id", Value: nameID(of, kind, name)}, {Key: "tenant", Value: of}, {Key: "owner", Value: owner},
	})
	if err != nil {
		return fmt.Errorf("release name: %w", translate(err))
	}
	return nil
}

// owner returns who has a name, "" if nobody has.
func (n *names) owner(ctx context.Context, of tenant.ID, kind, name string) (string, error) {
	var d nameDoc
	err := n.coll.FindOne(ctx, bson.D{{Key: "_id", Value: nameID(of, kind, name)}, {Key: "tenant", Value: of}}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find name: %w", translate(err))
	}
	return d.Owner, nil
}

func nameID(of tenant.ID, kind, name string) string {
	return string(of) + "/" + kind + "/" + strings.ToLower(name)
}
