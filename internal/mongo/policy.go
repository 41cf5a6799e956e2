package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/tenant"
)

var _ policy.Store = (*PolicyStore)(nil)

// PolicyStore keeps the policies of tenants.
type PolicyStore struct {
	coll  *mongo.Collection
	names *names
}

// NewPolicyStore returns the store of policies in d.
func NewPolicyStore(d *DB) *PolicyStore {
	return &PolicyStore{coll: d.db.Collection(policiesColl), names: newNames(d)}
}

type policyDoc struct {
	ID          string       `bson:"_id"`
	Tenant      tenant.ID    `bson:"tenant"`
	Name        string       `bson:"name"`
	Version     int64        `bson:"version"`
	Description string       `bson:"description"`
	Source      string       `bson:"source"`
	State       policy.State `bson:"state"`
	ProposedBy  string       `bson:"proposedBy"`
	CreatedAt   time.Time    `bson:"createdAt"`
	ApprovedBy  *string      `bson:"approvedBy,omitempty"`
	ApprovedAt  *time.Time   `bson:"approvedAt,omitempty"`
	RetiredBy   *string      `bson:"retiredBy,omitempty"`
	RetiredAt   *time.Time   `bson:"retiredAt,omitempty"`
}

func (d *policyDoc) policy() *policy.Policy {
	return &policy.Policy{
		ID: d.ID, Name: d.Name, Version: d.Version, Description: d.Description, Source: d.Source, State: d.State,
		ProposedBy: d.ProposedBy, ProposedAt: d.CreatedAt, ApprovedBy: d.ApprovedBy, ApprovedAt: d.ApprovedAt,
		RetiredBy: d.RetiredBy, RetiredAt: d.RetiredAt,
	}
}

func newPolicyDoc(of tenant.ID, p *policy.Policy) policyDoc {
	return policyDoc{
		p.ID, of, p.Name, p.Version, p.Description, p.Source, p.State, p.ProposedBy, p.ProposedAt, p.ApprovedBy, p.ApprovedAt,
		p.RetiredBy, p.RetiredAt,
	}
}

func policiesOf(docs []policyDoc) []*policy.Policy {
	list := make([]*policy.Policy, len(docs))
	for i := range docs {
		list[i] = docs[i].policy()
	}
	return list
}

// Get implements policy.Store.
func (s *PolicyStore) Get(ctx context.Context, policyID string) (*policy.Policy, error) {
	d, err := one[policyDoc](ctx, s.coll, "policy", policy.ErrNotFound, bson.E{Key: "_id", Value: policyID})
	if err != nil {
		return nil, err
	}
	return d.policy(), nil
}

// List implements policy.Store.
func (s *PolicyStore) List(ctx context.Context, after *page.Position, limit int) ([]*policy.Policy, error) {
	docs, err := keyset[policyDoc](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	return policiesOf(docs), nil
}

// Living implements policy.Store.
func (s *PolicyStore) Living(ctx context.Context) ([]*policy.Policy, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: []policy.State{policy.Proposed, policy.Active}}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[policyDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("list living policies: %w", err)
	}
	return policiesOf(docs), nil
}

// Latest implements policy.Store.
func (s *PolicyStore) Latest(ctx context.Context, name string) (int64, error) {
	filter, err := scoped(ctx, bson.E{Key: "name", Value: name})
	if err != nil {
		return 0, err
	}
	docs, err := all[policyDoc](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: "version", Value: -1}}).SetLimit(1))
	if err != nil || len(docs) == 0 {
		return 0, err
	}
	return docs[0].Version, nil
}

// Insert implements policy.Store.
func (s *PolicyStore) Insert(ctx context.Context, p *policy.Policy) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	taken, err := s.names.claim(ctx, "policy", fmt.Sprintf("%s.%d", p.Name, p.Version), p.ID)
	if err != nil {
		return err
	}
	if taken {
		return policy.ErrVersion
	}
	if _, err := s.coll.InsertOne(ctx, newPolicyDoc(of, p)); err != nil {
		return fmt.Errorf("insert policy: %w", translate(err))
	}
	return nil
}

// Move implements policy.Store.
func (s *PolicyStore) Move(ctx context.Context, p *policy.Policy, from policy.State) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: p.ID}, bson.E{Key: "state", Value: from})
	if err != nil {
		return err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, newPolicyDoc(of, p))
	if err != nil {
		return fmt.Errorf("update policy %s: %w", p.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return policy.ErrState
	}
	return nil
}
