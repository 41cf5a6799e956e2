package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/tenant"
)

var _ oauth.Store = (*OAuthStore)(nil)

// OAuthStore keeps OAuth clients.
type OAuthStore struct{ coll *mongo.Collection }

// NewOAuthStore returns the store of OAuth clients in d.
func NewOAuthStore(d *DB) *OAuthStore { return &OAuthStore{d.db.Collection(oauthClientsColl)} }

type oauthClientDoc struct {
	Machine     machineDoc        `bson:",inline"`
	TokenFormat oauth.TokenFormat `bson:"tokenFormat"`
	Issue       oauthIssueDoc     `bson:",inline"`
}

// oauthIssueDoc is how far the authorization server knows a client.
type oauthIssueDoc struct {
	ReadyAt   *time.Time `bson:"readyAt,omitempty"`
	BusyUntil time.Time  `bson:"busyUntil"`
}

func (d *oauthClientDoc) client() *oauth.Client {
	return &oauth.Client{
		Client: d.Machine.client(), TokenFormat: d.TokenFormat, ReadyAt: d.Issue.ReadyAt, BusyUntil: d.Issue.BusyUntil,
	}
}

// Get implements oauth.Store.
func (s *OAuthStore) Get(ctx context.Context, clientID string) (*oauth.Client, error) {
	d, err := one[oauthClientDoc](ctx, s.coll, "OAuth client", oauth.ErrNotFound, bson.E{Key: "_id", Value: clientID})
	if err != nil {
		return nil, err
	}
	return d.client(), nil
}

// List implements oauth.Store.
func (s *OAuthStore) List(ctx context.Context, limit int) ([]*oauth.Client, error) {
	docs, err := keyset[oauthClientDoc](ctx, s.coll, nil, nil, limit)
	if err != nil {
		return nil, fmt.Errorf("list OAuth clients: %w", err)
	}
	clients := make([]*oauth.Client, len(docs))
	for i := range docs {
		clients[i] = docs[i].client()
	}
	return clients, nil
}

// Insert implements oauth.Store.
func (s *OAuthStore) Insert(ctx context.Context, c *oauth.Client) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := oauthClientDoc{newMachineDoc(of, &c.Client), c.TokenFormat, oauthIssueDoc{c.ReadyAt, c.BusyUntil}}
	if _, err := s.coll.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert OAuth client: %w", translate(err))
	}
	return nil
}

// Update implements oauth.Store.
func (s *OAuthStore) Update(ctx context.Context, c *oauth.Client) error {
	set := struct {
		Life  machineLifeDoc `bson:",inline"`
		Issue oauthIssueDoc  `bson:",inline"`
	}{newMachineDoc("", &c.Client).Life, oauthIssueDoc{c.ReadyAt, c.BusyUntil}}
	return updateVersion(ctx, s.coll, "OAuth client", c.ID, c.Version-1, set)
}

// Used implements machine.UseStore.
func (s *OAuthStore) Used(ctx context.Context, u machine.Use, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: u.Client})
	if err != nil {
		return err
	}
	_, err = s.coll.UpdateOne(ctx, filter, bson.D{{Key: "$max", Value: bson.D{{Key: "lastUsedAt", Value: at}}}})
	if err != nil {
		return fmt.Errorf("note use of OAuth client: %w", translate(err))
	}
	return nil
}
