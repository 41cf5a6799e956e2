package mongo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/tenant"
)

var _ apikey.Store = (*APIKeyStore)(nil)

// APIKeyStore keeps API keys.
type APIKeyStore struct{ coll *mongo.Collection }

// NewAPIKeyStore returns the store of API keys in d.
func NewAPIKeyStore(d *DB) *APIKeyStore { return &APIKeyStore{d.db.Collection(apiKeysColl)} }

// machineDoc is what API keys and OAuth clients have in common.
type machineDoc struct {
	ID          string             `bson:"_id"`
	Tenant      tenant.ID          `bson:"tenant"`
	Permissions []authz.Permission `bson:"permissions"`
	CreatedAt   time.Time          `bson:"createdAt"`
	ExpiresAt   *time.Time         `bson:"expiresAt,omitempty"`
	LastUsedAt  *time.Time         `bson:"lastUsedAt,omitempty"` // written by Used alone
	Documents   bool               `bson:"documentsOnly,omitempty"`
	Life        machineLifeDoc     `bson:",inline"`
}

// machineLifeDoc is what can change of them.
type machineLifeDoc struct {
	Name       string            `bson:"name"`
	Clearances []authz.Clearance `bson:"clearances,omitempty"`
	Networks   []string          `bson:"networks"`
	RevokedAt  *time.Time        `bson:"revokedAt,omitempty"`
	Version    int64             `bson:"version"`
}

func newMachineDoc(of tenant.ID, c *machine.Client) machineDoc {
	return machineDoc{
		ID: c.ID, Tenant: of, Permissions: c.Permissions, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt,
		Documents: c.DocumentsOnly, Life: machineLifeDoc{c.Name, c.Clearances, c.Networks, c.RevokedAt, c.Version},
	}
}

func (d *machineDoc) client() machine.Client {
	return machine.Client{
		ID: d.ID, Name: d.Life.Name, Permissions: d.Permissions, Clearances: d.Life.Clearances, Networks: d.Life.Networks,
		CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt, RevokedAt: d.Life.RevokedAt, LastUsedAt: d.LastUsedAt, Version: d.Life.Version,
		DocumentsOnly: d.Documents,
	}
}

type apiKeyDoc struct {
	Machine machineDoc  `bson:",inline"`
	Secrets []secretDoc `bson:"secrets"`
}

type secretDoc struct {
	ID         string     `bson:"id"`
	Hash       []byte     `bson:"hash"`
	CreatedAt  time.Time  `bson:"createdAt"`
	ExpiresAt  *time.Time `bson:"expiresAt,omitempty"`
	LastUsedAt *time.Time `bson:"lastUsedAt,omitempty"`
}

func secretDocs(k *apikey.APIKey) []secretDoc {
	docs := make([]secretDoc, len(k.Secrets))
	for i, s := range k.Secrets {
		docs[i] = secretDoc{s.ID, s.Hash[:], s.CreatedAt, s.ExpiresAt, s.LastUsedAt}
	}
	return docs
}

func (d *apiKeyDoc) key() (*apikey.APIKey, error) {
	k := &apikey.APIKey{Client: d.Machine.client(), Secrets: make([]apikey.Secret, len(d.Secrets))}
	for i, s := range d.Secrets {
		if len(s.Hash) != sha256.Size {
			return nil, fmt.Errorf("API key %s: malformed hash", k.ID)
		}
		k.Secrets[i] = apikey.Secret{
			ID: s.ID, Hash: [sha256.Size]byte(s.Hash), CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, LastUsedAt: s.LastUsedAt,
		}
	}
	return k, nil
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
	if _, err = s.coll.InsertOne(ctx, apiKeyDoc{newMachineDoc(of, &k.Client), secretDocs(k)}); err != nil {
		return fmt.Errorf("insert API key: %w", translate(err))
	}
	return nil
}

// Update implements apikey.Store.
func (s *APIKeyStore) Update(ctx context.Context, k *apikey.APIKey) error {
	set := struct {
		Life    machineLifeDoc `bson:",inline"`
		Secrets []secretDoc    `bson:"secrets"`
	}{newMachineDoc("", &k.Client).Life, secretDocs(k)}
	return updateVersion(ctx, s.coll, "API key", k.ID, k.Version-1, set)
}

// updateVersion sets the fields of a document that still has the version before,
// or fails with change.ErrVersion.
func updateVersion(ctx context.Context, c *mongo.Collection, what, docID string, before int64, set any) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: docID}, bson.E{Key: "version", Value: before})
	if err != nil {
		return err
	}
	res, err := c.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}})
	if err != nil {
		return fmt.Errorf("update %s: %w", what, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// Used implements machine.UseStore.
func (s *APIKeyStore) Used(ctx context.Context, u machine.Use, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: u.Client})
	if err != nil {
		return err
	}
	_, err = s.coll.UpdateOne(ctx, filter,
		bson.D{{Key: "$max", Value: bson.D{{Key: "lastUsedAt", Value: at}, {Key: "secrets.$[used].lastUsedAt", Value: at}}}},
		options.UpdateOne().SetArrayFilters([]any{bson.D{{Key: "used.id", Value: u.Secret}}}))
	if err != nil {
		return fmt.Errorf("note use of API key: %w", translate(err))
	}
	return nil
}
