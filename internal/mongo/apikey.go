package mongo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenant"
)

var _ apikey.Store = (*APIKeyStore)(nil)

// APIKeyStore keeps API keys.
type APIKeyStore struct{ coll *mongo.Collection }

// NewAPIKeyStore returns the store of API keys in d.
func NewAPIKeyStore(d *DB) *APIKeyStore { return &APIKeyStore{d.db.Collection(apiKeysColl)} }

type apiKeyDoc struct {
	ID          string             `bson:"_id"`
	Tenant      tenant.ID          `bson:"tenant"`
	Name        string             `bson:"name"`
	Permissions []authz.Permission `bson:"permissions"`
	Hash        []byte             `bson:"hash"`
	CreatedAt   time.Time          `bson:"createdAt"`
	ExpiresAt   *time.Time         `bson:"expiresAt,omitempty"`
	RevokedAt   *time.Time         `bson:"revokedAt,omitempty"`
}

func (d *apiKeyDoc) key() (*apikey.APIKey, error) {
	if len(d.Hash) != sha256.Size {
		return nil, fmt.Errorf("API key %s: malformed hash", d.ID)
	}
	return &apikey.APIKey{
		ID: d.ID, Name: d.Name, Permissions: d.Permissions, Hash: [sha256.Size]byte(d.Hash), CreatedAt: d.CreatedAt,
		ExpiresAt: d.ExpiresAt, RevokedAt: d.RevokedAt,
	}, nil
}

// Get implements apikey.Store.
func (s *APIKeyStore) Get(ctx context.Context, keyID string) (*apikey.APIKey, error) {
	d, err := one[apiKeyDoc](ctx, s.coll, "API key", apikey.ErrNotFound, bson.E{Key: "_id", Value: keyID})
	if err != nil {
		return nil, err
	}
	return d.key()
}

// List implements apikey.Store.
func (s *APIKeyStore) List(ctx context.Context, limit int) ([]*apikey.APIKey, error) {
	docs, err := keyset[apiKeyDoc](ctx, s.coll, nil, nil, limit)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	keys := make([]*apikey.APIKey, len(docs))
	for i := range docs {
		if keys[i], err = docs[i].key(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Insert implements apikey.Store.
func (s *APIKeyStore) Insert(ctx context.Context, k *apikey.APIKey) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.coll.InsertOne(ctx, apiKeyDoc{
		ID: k.ID, Tenant: of, Name: k.Name, Permissions: k.Permissions, Hash: k.Hash[:], CreatedAt: k.CreatedAt,
		ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt,
	})
	if err != nil {
		return fmt.Errorf("insert API key: %w", translate(err))
	}
	return nil
}

// Revoke implements apikey.Store.
func (s *APIKeyStore) Revoke(ctx context.Context, keyID string, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: keyID},
		bson.E{Key: "revokedAt", Value: bson.D{{Key: "$exists", Value: false}}})
	if err != nil {
		return err
	}
	_, err = s.coll.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: "revokedAt", Value: at}}}})
	if err != nil {
		return fmt.Errorf("revoke API key: %w", translate(err))
	}
	return nil
}
