package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ post.Store = (*PostStore)(nil)

// PostStore keeps the letters of requests.
type PostStore struct {
	letters *mongo.Collection
	vault   *vault.Vault
}

// NewPostStore returns the store of letters in d.
func NewPostStore(d *DB, v *vault.Vault) *PostStore {
	return &PostStore{d.db.Collection(sentLettersColl), v}
}

type sentLetterDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Request   string    `bson:"request"`
	Subject   string    `bson:"subject"`
	Key       string    `bson:"key"`
	Forms     []string  `bson:"forms"`
	Texts     []string  `bson:"texts"`
	Language  string    `bson:"language"`
	Title     sealed    `bson:"title"`
	Markdown  sealed    `bson:"markdown"`
	Hash      string    `bson:"hash"`
	Way       post.Way  `bson:"way"`
	CreatedAt time.Time `bson:"createdAt"`
}

func (s *PostStore) sealer(ctx context.Context, requestID string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owner := request.Unit(of, requestID)
	keys, err := s.vault.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: sentLettersColl}}, nil
}

// Insert implements post.Store.
func (s *PostStore) Insert(ctx context.Context, l *post.Letter) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	seal, err := s.sealer(ctx, l.Request)
	if err != nil {
		return err
	}
	seal.place.Record = l.ID
	d := sentLetterDoc{
		l.ID, of, l.Request, l.Subject, l.Key, l.Forms, l.Texts, l.Language, seal.text("title", l.Title), seal.text("markdown", l.Markdown),
		l.Hash, l.Way, l.At,
	}
	if seal.err != nil {
		return fmt.Errorf("seal letter of request %s: %w", l.Request, seal.err)
	}
	if _, err := s.letters.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert letter: %w", translate(err))
	}
	return note(ctx, s.letters, l.ID)
}

func (s *PostStore) open(ctx context.Context, docs ...sentLetterDoc) ([]*post.Letter, error) {
	letters := make([]*post.Letter, len(docs))
	for i, d := range docs {
		open, err := s.sealer(ctx, d.Request)
		if err != nil {
			return nil, err
		}
		open.place.Record = d.ID
		letters[i] = &post.Letter{
			ID: d.ID, Request: d.Request, Subject: d.Subject, Key: d.Key, Forms: d.Forms, Texts: d.Texts, Language: d.Language,
			Title: open.openText("title", d.Title), Markdown: open.openText("markdown", d.Markdown), Hash: d.Hash, Way: d.Way,
			At: d.CreatedAt.UTC(),
		}
		if _, gone := unreadable(open.err); open.err != nil && !gone {
			return nil, fmt.Errorf("open letter %s: %w", d.ID, open.err)
		}
	}
	return letters, nil
}

// Get implements post.Store.
func (s *PostStore) Get(ctx context.Context, letterID string) (*post.Letter, error) {
	d, err := one[sentLetterDoc](ctx, s.letters, "letter", post.ErrNotFound, bson.E{Key: "_id", Value: letterID})
	if err != nil {
		return nil, err
	}
	letters, err := s.open(ctx, d)
	if err != nil {
		return nil, err
	}
	return letters[0], nil
}

// List implements post.Store.
func (s *PostStore) List(ctx context.Context, requestID string) ([]*post.Letter, error) {
	filter, err := scoped(ctx, bson.E{Key: "request", Value: requestID})
	if err != nil {
		return nil, err
	}
	docs, err := all[sentLetterDoc](ctx, s.letters, filter, options.Find().SetSort(bson.D{{Key: "createdAt", Value: 1}, {Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list letters of request %s: %w", requestID, err)
	}
	return s.open(ctx, docs...)
}
