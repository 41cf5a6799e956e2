package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/tenant"
)

var _ feed.Store = (*FeedStore)(nil)

// FeedStore reads the sealed audit log as change feeds.
type FeedStore struct{ entries, logs *mongo.Collection }

// NewFeedStore returns the store of change feeds in d.
func NewFeedStore(d *DB) *FeedStore {
	return &FeedStore{d.db.Collection(auditColl), d.db.Collection(headsColl)}
}

// Changes implements feed.Store.
func (s *FeedStore) Changes(ctx context.Context, after int64, secret bool, limit int) ([]*feed.Change, error) {
	feeds := []audit.Feed{audit.FeedOpen}
	if secret {
		feeds = append(feeds, audit.FeedAML)
	}
	var docs []auditDoc
	for _, f := range feeds { // an index gives each in order, but not both
		found, err := s.find(ctx, f, after, 1, limit)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	slices.SortFunc(docs, func(a, b auditDoc) int { return cmp.Compare(*a.Seq, *b.Seq) })
	docs = docs[:min(limit, len(docs))]
	changes := make([]*feed.Change, len(docs))
	for i, d := range docs {
		c := &feed.Change{
			ID: d.ID, Seq: *d.Seq, At: d.At, Action: d.Action, Object: d.Object, Subjects: make([]string, len(d.Subjects)),
			Fields: d.Fields, SecretFields: d.SecretFields,
		}
		for n, subject := range d.Subjects {
			c.Subjects[n] = subject.ID
		}
		changes[i] = c
	}
	return changes, nil
}

// find returns entries of a feed beyond a place, in order (1) or backwards (-1).
func (s *FeedStore) find(ctx context.Context, f audit.Feed, after int64, direction, limit int) ([]auditDoc, error) {
	filter, err := scoped(ctx, bson.E{Key: "change", Value: f}, bson.E{Key: "seq", Value: bson.D{{Key: "$gt", Value: after}}})
	if err != nil {
		return nil, err
	}
	return all[auditDoc](ctx, s.entries, filter, options.Find().SetLimit(int64(limit)).
		SetSort(bson.D{{Key: "seq", Value: direction}}).
		SetProjection(bson.D{{Key: "subjects.sealed", Value: 0}, {Key: "subjects.commitment", Value: 0}}))
}

// SeqOf implements feed.Store.
func (s *FeedStore) SeqOf(ctx context.Context, entryID string) (int64, error) {
	d, err := one[auditDoc](ctx, s.entries, "change", feed.ErrNotFound, bson.E{Key: "_id", Value: entryID})
	if err != nil {
		return 0, err
	}
	if d.Seq == nil {
		return 0, feed.ErrNotFound
	}
	return *d.Seq, nil
}

// Head implements feed.Store.
func (s *FeedStore) Head(ctx context.Context) (int64, error) {
	docs, err := s.find(ctx, audit.FeedOpen, feed.Start, -1, 1)
	if err != nil || len(docs) == 0 {
		return feed.Start, err
	}
	return *docs[0].Seq, nil
}

// Ends implements feed.Store. It spans tenants.
func (s *FeedStore) Ends(ctx context.Context, of []tenant.ID) (map[tenant.ID]int64, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	in := bson.D{{Key: "$in", Value: of}}
	docs, err := all[headDoc](ctx, s.logs, bson.D{{Key: "_id", Value: in}, {Key: "tenant", Value: in}},
		options.Find().SetProjection(bson.D{{Key: "base", Value: 1}, {Key: "size", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find ends of logs: %w", err)
	}
	ends := make(map[tenant.ID]int64, len(docs))
	for _, d := range docs {
		ends[d.ID] = d.Base + d.Size
	}
	return ends, nil
}
