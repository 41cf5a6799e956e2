package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ breakglass.Store = (*BreakGlassStore)(nil)

// BreakGlassStore keeps the grants by which operators enter tenants.
type BreakGlassStore struct {
	coll  *mongo.Collection
	vault *vault.Vault
}

// NewBreakGlassStore returns the store of grants in d.
func NewBreakGlassStore(d *DB, v *vault.Vault) *BreakGlassStore {
	return &BreakGlassStore{d.db.Collection(breakGlassColl), v}
}

type breakGlassDoc struct {
	ID        string     `bson:"_id"`
	Tenant    tenant.ID  `bson:"tenant"`
	Operator  string     `bson:"operator"`
	Reason    sealed     `bson:"reason"` // free text: it may name a person, though it ought not to
	CreatedAt time.Time  `bson:"createdAt"`
	ExpiresAt time.Time  `bson:"expiresAt"`
	EndedAt   *time.Time `bson:"endedAt,omitempty"`
}

func (s *BreakGlassStore) sealer(ctx context.Context, of tenant.ID) (*sealer, error) {
	keys, err := s.vault.Load(ctx, tenancy.Contact(of))
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: tenancy.Contact(of), place: vault.Place{Collection: breakGlassColl}}, nil
}

// Insert implements breakglass.Store.
func (s *BreakGlassStore) Insert(ctx context.Context, g *breakglass.Grant) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	seal, err := s.sealer(ctx, of)
	if err != nil {
		return err
	}
	seal.place.Record = g.ID
	d := breakGlassDoc{g.ID, of, g.Operator, seal.text("reason", g.Reason), g.CreatedAt, g.ExpiresAt, g.EndedAt}
	if seal.err != nil {
		return fmt.Errorf("seal access: %w", seal.err)
	}
	if _, err := s.coll.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert access: %w", translate(err))
	}
	return nil
}

// Get implements breakglass.Store.
func (s *BreakGlassStore) Get(ctx context.Context, grantID string) (*breakglass.Grant, error) {
	d, err := one[breakGlassDoc](ctx, s.coll, "access", breakglass.ErrNotFound, bson.E{Key: "_id", Value: grantID})
	if err != nil {
		return nil, err
	}
	found, err := s.open(ctx, []breakGlassDoc{d})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// End implements breakglass.Store.
func (s *BreakGlassStore) End(ctx context.Context, grantID string, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: grantID},
		bson.E{Key: "endedAt", Value: bson.D{{Key: "$exists", Value: false}}})
	if err != nil {
		return err
	}
	_, err = s.coll.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{{Key: "endedAt", Value: at}}}})
	if err != nil {
		return fmt.Errorf("end access: %w", translate(err))
	}
	return nil
}

// Active implements breakglass.Store.
func (s *BreakGlassStore) Active(ctx context.Context, operator string, now time.Time) (*breakglass.Grant, error) {
	filter, err := scoped(ctx, bson.E{Key: "operator", Value: operator},
		bson.E{Key: "expiresAt", Value: bson.D{{Key: "$gt", Value: now}}},
		bson.E{Key: "endedAt", Value: bson.D{{Key: "$exists", Value: false}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[breakGlassDoc](ctx, s.coll, filter,
		options.Find().SetSort(bson.D{{Key: "expiresAt", Value: -1}}).SetLimit(1))
	if err != nil {
		return nil, fmt.Errorf("find access: %w", err)
	}
	if len(docs) == 0 {
		return nil, breakglass.ErrNotFound
	}
	found, err := s.open(ctx, docs)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// List implements breakglass.Store.
func (s *BreakGlassStore) List(ctx context.Context, after *page.Position, limit int) ([]*breakglass.Grant, error) {
	docs, err := keyset[breakGlassDoc](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list access: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil
	}
	return s.open(ctx, docs)
}

// open opens documents of one tenant.
func (s *BreakGlassStore) open(ctx context.Context, docs []breakGlassDoc) ([]*breakglass.Grant, error) {
	open, err := s.sealer(ctx, docs[0].Tenant)
	if err != nil {
		return nil, err
	}
	grants := make([]*breakglass.Grant, len(docs))
	for i, d := range docs {
		open.place.Record = d.ID
		grants[i] = &breakglass.Grant{
			ID: d.ID, Tenant: d.Tenant, Operator: d.Operator, Reason: open.openText("reason", d.Reason),
			CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt, EndedAt: d.EndedAt,
		}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open access: %w", open.err)
	}
	return grants, nil
}
