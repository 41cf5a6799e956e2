package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

var _ letter.Store = (*LetterStore)(nil)

// LetterStore keeps the tenants' texts of letters.
type LetterStore struct {
	coll  *mongo.Collection
	names *names
}

// NewLetterStore returns the store of texts in d.
func NewLetterStore(d *DB) *LetterStore {
	return &LetterStore{coll: d.db.Collection(lettersColl), names: newNames(d)}
}

type letterDoc struct {
	ID          string       `bson:"_id"`
	Tenant      tenant.ID    `bson:"tenant"`
	Letter      string       `bson:"letter"`
	Language    string       `bson:"language"`
	Version     int64        `bson:"version"`
	FormVersion int64        `bson:"formVersion"`
	Source      string       `bson:"source"`
	State       letter.State `bson:"state"`
	ProposedBy  string       `bson:"proposedBy"`
	CreatedAt   time.Time    `bson:"createdAt"`
	ApprovedBy  *string      `bson:"approvedBy,omitempty"`
	ApprovedAt  *time.Time   `bson:"approvedAt,omitempty"`
	WithdrawnBy *string      `bson:"withdrawnBy,omitempty"`
	WithdrawnAt *time.Time   `bson:"withdrawnAt,omitempty"`
}

func (d *letterDoc) template() *letter.Template {
	return &letter.Template{
		ID: d.ID, Letter: d.Letter, Language: d.Language, Version: d.Version, FormVersion: d.FormVersion, Source: d.Source, State: d.State,
		ProposedBy: d.ProposedBy, ProposedAt: d.CreatedAt, ApprovedBy: d.ApprovedBy, ApprovedAt: d.ApprovedAt,
		WithdrawnBy: d.WithdrawnBy, WithdrawnAt: d.WithdrawnAt,
	}
}

func newLetterDoc(of tenant.ID, t *letter.Template) letterDoc {
	return letterDoc{
		t.ID, of, t.Letter, t.Language, t.Version, t.FormVersion, t.Source, t.State, t.ProposedBy, t.ProposedAt,
		t.ApprovedBy, t.ApprovedAt, t.WithdrawnBy, t.WithdrawnAt,
	}
}

func templatesOf(docs []letterDoc) []*letter.Template {
	list := make([]*letter.Template, len(docs))
	for i := range docs {
		list[i] = docs[i].template()
	}
	return list
}

// Get implements letter.Store.
func (s *LetterStore) Get(ctx context.Context, templateID string) (*letter.Template, error) {
	return s.one(ctx, bson.E{Key: "_id", Value: templateID})
}

// Active implements letter.Store.
func (s *LetterStore) Active(ctx context.Context, name, language string) (*letter.Template, error) {
	t, err := s.one(ctx, bson.E{Key: "letter", Value: name}, bson.E{Key: "language", Value: language}, bson.E{Key: "state", Value: letter.Active})
	if errors.Is(err, letter.ErrNotFound) {
		return nil, nil //nolint:nilnil // as letter.Store says
	}
	return t, err
}

func (s *LetterStore) one(ctx context.Context, by ...bson.E) (*letter.Template, error) {
	d, err := one[letterDoc](ctx, s.coll, "letter template", letter.ErrNotFound, by...)
	if err != nil {
		return nil, err
	}
	return d.template(), nil
}

// List implements letter.Store.
func (s *LetterStore) List(ctx context.Context, after *page.Position, limit int) ([]*letter.Template, error) {
	docs, err := keyset[letterDoc](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list letter templates: %w", err)
	}
	return templatesOf(docs), nil
}

// Living implements letter.Store.
func (s *LetterStore) Living(ctx context.Context) ([]*letter.Template, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: []letter.State{letter.Proposed, letter.Active}}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[letterDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("list living letter templates: %w", err)
	}
	return templatesOf(docs), nil
}

// Latest implements letter.Store.
func (s *LetterStore) Latest(ctx context.Context, name, language string) (int64, error) {
	filter, err := scoped(ctx, bson.E{Key: "letter", Value: name}, bson.E{Key: "language", Value: language})
	if err != nil {
		return 0, err
	}
	docs, err := all[letterDoc](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: "version", Value: -1}}).SetLimit(1))
	if err != nil {
		return 0, fmt.Errorf("find latest letter template: %w", err)
	}
	if len(docs) == 0 {
		return 0, nil
	}
	return docs[0].Version, nil
}

// Insert implements letter.Store.
func (s *LetterStore) Insert(ctx context.Context, t *letter.Template) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	taken, err := s.names.claim(ctx, "letter", fmt.Sprintf("%s.%s.%d", t.Letter, t.Language, t.Version), t.ID)
	if err != nil {
		return err
	}
	if taken {
		return letter.ErrVersion
	}
	if _, err := s.coll.InsertOne(ctx, newLetterDoc(of, t)); err != nil {
		return fmt.Errorf("insert letter template: %w", translate(err))
	}
	return nil
}

// Move implements letter.Store.
func (s *LetterStore) Move(ctx context.Context, t *letter.Template, from letter.State) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: t.ID}, bson.E{Key: "state", Value: from})
	if err != nil {
		return err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, newLetterDoc(of, t))
	if err != nil {
		return fmt.Errorf("update letter template %s: %w", t.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return letter.ErrState
	}
	return nil
}
