package mongo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

var _ sign.Store = (*SignStore)(nil)

// SignStore keeps the signing keys.
type SignStore struct{ coll *mongo.Collection }

// NewSignStore returns the store of signing keys in d.
func NewSignStore(d *DB) *SignStore { return &SignStore{d.db.Collection(signingKeysColl)} }

type signingKeyDoc struct {
	ID      string       `bson:"_id"`
	Tenant  tenant.ID    `bson:"tenant"`
	Purpose sign.Purpose `bson:"purpose"`
	Number  int          `bson:"number"`
	Name    string       `bson:"name"`
	Public  []byte       `bson:"public"`
	From    time.Time    `bson:"from"`
	Retired time.Time    `bson:"retired"`
	Intro   []byte       `bson:"intro"`
	Private sealed       `bson:"private,omitempty"`
}

// signingKeyID makes sure that a number is given once.
func signingKeyID(of tenant.ID, k *sign.Key) string {
	return string(of) + "/" + string(k.Purpose) + "/" + strconv.Itoa(k.Number)
}

// SigningKeys implements sign.Store.
func (s *SignStore) SigningKeys(ctx context.Context) ([]sign.Stored, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[signingKeyDoc](ctx, s.coll, filter,
		options.Find().SetSort(bson.D{{Key: "purpose", Value: 1}, {Key: "number", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find signing keys: %w", err)
	}
	keys := make([]sign.Stored, len(docs))
	for i, d := range docs {
		keys[i] = sign.Stored{Key: sign.Key{
			Purpose: d.Purpose, Number: d.Number, Name: d.Name, Public: d.Public, From: d.From.UTC(), Retired: d.Retired.UTC(), Intro: d.Intro,
		}, Private: d.Private}
	}
	return keys, nil
}

// InsertSigningKey implements sign.Store.
func (s *SignStore) InsertSigningKey(ctx context.Context, k *sign.Stored) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, signingKeyDoc{
		ID: signingKeyID(of, &k.Key), Tenant: of, Purpose: k.Purpose, Number: k.Number, Name: k.Name, Public: k.Public,
		From: k.From, Intro: k.Intro, Private: k.Private,
	})
	if mongo.IsDuplicateKeyError(err) {
		return sign.ErrExists.Because(err)
	}
	if err != nil {
		return fmt.Errorf("insert signing key: %w", translate(err))
	}
	return nil
}

// RetireSigningKey implements sign.Store.
func (s *SignStore) RetireSigningKey(ctx context.Context, k *sign.Key, at time.Time) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: signingKeyID(of, k)}, bson.E{Key: "retired", Value: time.Time{}})
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateOne(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "retired", Value: at}}}, {Key: "$unset", Value: bson.D{{Key: "private", Value: ""}}},
	})
	if err != nil {
		return fmt.Errorf("retire signing key: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return sign.ErrExists // somebody else rotated it
	}
	return nil
}
