package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/detect"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenant"
)

var _ detect.Store = (*DetectStore)(nil)

// DetectStore is what the detectors read, and how far they are.
type DetectStore struct {
	*DB

	entries, heads, cursors, rows, networks *mongo.Collection
}

// NewDetectStore returns the store of the detectors in d.
func NewDetectStore(d *DB) *DetectStore {
	return &DetectStore{
		d, d.db.Collection(auditColl), d.db.Collection(headsColl), d.db.Collection(securityCursorsColl),
		d.db.Collection(securitySignalsColl), d.db.Collection(securityNetworksColl),
	}
}

// Time returns the time by the database's clock.
func (d *DB) Time(ctx context.Context) (time.Time, error) {
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
	}
	if err := d.db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return time.Time{}, fmt.Errorf("ask for the time: %w", translate(err))
	}
	return hello.LocalTime, nil
}

// securityCursorDoc has the tenant as its _id.
type securityCursorDoc struct {
	ID     tenant.ID `bson:"_id"`
	Tenant tenant.ID `bson:"tenant"`
	Next   int64     `bson:"next"`
}

// Behind implements detect.Store.
func (s *DetectStore) Behind(ctx context.Context) ([]detect.Place, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	every := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: ""}}}}
	heads, err := all[headDoc](ctx, s.heads, every,
		options.Find().SetProjection(bson.D{{Key: "base", Value: 1}, {Key: "size", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find heads of logs: %w", err)
	}
	cursors, err := all[securityCursorDoc](ctx, s.cursors, every)
	if err != nil {
		return nil, fmt.Errorf("find cursors: %w", err)
	}
	next := make(map[tenant.ID]int64, len(cursors))
	for _, c := range cursors {
		next[c.ID] = c.Next
	}
	var behind []detect.Place
	for _, h := range heads {
		if end := h.Base + h.Size; next[h.ID] < end {
			behind = append(behind, detect.Place{Tenant: h.ID, End: end})
		}
	}
	return behind, nil
}

// Next implements detect.Store.
func (s *DetectStore) Next(ctx context.Context) (int64, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return 0, err
	}
	d, err := one[securityCursorDoc](ctx, s.cursors, "cursor", mongo.ErrNoDocuments, bson.E{Key: "_id", Value: of})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return 0, nil
	}
	return d.Next, err
}

// Entries implements detect.Store.
func (s *DetectStore) Entries(ctx context.Context, from int64, limit int) ([]detect.Entry, error) {
	filter, err := scoped(ctx, bson.E{Key: "seq", Value: bson.D{{Key: "$gte", Value: from}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[auditDoc](ctx, s.entries, filter, options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}).SetLimit(int64(limit)).
		SetProjection(bson.D{{Key: "subjects.sealed", Value: 0}, {Key: "subjects.commitment", Value: 0}, {Key: "fields", Value: 0}}))
	if err != nil {
		return nil, fmt.Errorf("find entries: %w", err)
	}
	entries := make([]detect.Entry, len(docs))
	for i := range docs {
		d := &docs[i]
		e := detect.Entry{
			Seq: *d.Seq, ID: d.ID, At: d.At.UTC(), Kind: authz.Kind(d.Actor.Kind), Actor: d.Actor.ID, Action: d.Action,
			Purpose: d.Purpose, Outcome: d.Outcome, Network: d.Network,
		}
		for _, subject := range d.Subjects {
			e.Subjects = append(e.Subjects, subject.ID)
		}
		entries[i] = e
	}
	return entries, nil
}

// SeqAt implements detect.Store.
func (s *DetectStore) SeqAt(ctx context.Context, at time.Time) (int64, error) {
	filter, err := scoped(ctx, bson.E{Key: "at", Value: bson.D{{Key: "$lt", Value: at}}})
	if err != nil {
		return 0, err
	}
	docs, err := all[auditDoc](ctx, s.entries, filter, options.Find().SetLimit(1).
		SetSort(bson.D{{Key: "at", Value: -1}, {Key: "_id", Value: -1}}).SetProjection(bson.D{{Key: "seq", Value: 1}}))
	if err != nil || len(docs) == 0 || docs[0].Seq == nil {
		return 0, err
	}
	return *docs[0].Seq, nil
}

// Advance implements detect.Store.
func (s *DetectStore) Advance(ctx context.Context, from, to int64) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	// Before the first entry there is no cursor yet.
	res, err := s.cursors.UpdateOne(ctx, bson.D{{Key: "_id", Value: of}, {Key: "tenant", Value: of}, {Key: "next", Value: from}},
		set(bson.E{Key: "next", Value: to}), options.UpdateOne().SetUpsert(from == 0))
	if mongo.IsDuplicateKeyError(err) || err == nil && res.MatchedCount+res.UpsertedCount == 0 {
		return detect.ErrMoved
	}
	if err != nil {
		return fmt.Errorf("move cursor: %w", translate(err))
	}
	return nil
}

type securitySignalDoc struct {
	ID       string            `bson:"_id"`
	Tenant   tenant.ID         `bson:"tenant"`
	Detector security.Detector `bson:"detector"`
	Group    string            `bson:"group"`
	Count    int               `bson:"count"`
	At       time.Time         `bson:"at"`
	Waiting  bool              `bson:"waiting"`
}

func rowsOf(docs []securitySignalDoc) []detect.Row {
	rows := make([]detect.Row, len(docs))
	for i, d := range docs {
		rows[i] = detect.Row{
			Signal: detect.Signal{Tenant: d.Tenant, Detector: d.Detector, Group: d.Group, Count: d.Count}, ID: d.ID, At: d.At.UTC(),
		}
	}
	return rows
}

// InsertSignals implements detect.SignalStore.
func (s *DetectStore) InsertSignals(ctx context.Context, rows []detect.Row) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	docs := make([]securitySignalDoc, len(rows))
	for i, r := range rows {
		docs[i] = securitySignalDoc{r.ID, r.Tenant, r.Detector, r.Group, r.Count, r.At, true}
	}
	if _, err := s.rows.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert signals: %w", translate(err))
	}
	return nil
}

// signalled is how many signals are looked at for tenants that have some.
const signalled = 1000

// Signalled implements detect.Store.
func (s *DetectStore) Signalled(ctx context.Context) ([]tenant.ID, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[securitySignalDoc](ctx, s.rows, bson.D{{Key: "waiting", Value: true}}, options.Find().SetLimit(signalled).
		SetSort(bson.D{{Key: "tenant", Value: 1}}).SetProjection(bson.D{{Key: "tenant", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find signals: %w", err)
	}
	var of []tenant.ID
	for _, d := range docs {
		if len(of) == 0 || of[len(of)-1] != d.Tenant {
			of = append(of, d.Tenant)
		}
	}
	return of, nil
}

// Signals implements detect.Store.
func (s *DetectStore) Signals(ctx context.Context, limit int) ([]detect.Row, error) {
	return s.find(ctx, limit, bson.E{Key: "waiting", Value: true})
}

// Read implements detect.Store.
func (s *DetectStore) Read(ctx context.Context, since time.Time) ([]detect.Row, error) {
	return s.find(ctx, 0, bson.E{Key: "at", Value: bson.D{{Key: "$gte", Value: since}}}, bson.E{Key: "waiting", Value: false})
}

func (s *DetectStore) find(ctx context.Context, limit int, match ...bson.E) ([]detect.Row, error) {
	filter, err := scoped(ctx, match...)
	if err != nil {
		return nil, err
	}
	docs, err := all[securitySignalDoc](ctx, s.rows, filter, options.Find().SetSort(bson.D{{Key: "at", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find signals: %w", err)
	}
	return rowsOf(docs), nil
}

// MarkRead implements detect.Store.
func (s *DetectStore) MarkRead(ctx context.Context, ids []string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, bson.E{Key: "waiting", Value: true})
	if err != nil {
		return err
	}
	res, err := s.rows.UpdateMany(ctx, filter, set(bson.E{Key: "waiting", Value: false}))
	if err != nil {
		return fmt.Errorf("mark signals: %w", translate(err))
	}
	if res.MatchedCount != int64(len(ids)) {
		return detect.ErrMoved
	}
	return nil
}

type securityNetworkDoc struct {
	ID      string    `bson:"_id"`
	Tenant  tenant.ID `bson:"tenant"`
	Member  string    `bson:"member"`
	Network string    `bson:"network"`
	LastAt  time.Time `bson:"lastAt"`
}

// Networks implements detect.Store.
func (s *DetectStore) Networks(ctx context.Context, member string) (map[string]time.Time, error) {
	filter, err := scoped(ctx, bson.E{Key: "member", Value: member})
	if err != nil {
		return nil, err
	}
	docs, err := all[securityNetworkDoc](ctx, s.networks, filter)
	if err != nil {
		return nil, fmt.Errorf("find networks: %w", err)
	}
	networks := make(map[string]time.Time, len(docs))
	for _, d := range docs {
		networks[d.Network] = d.LastAt.UTC()
	}
	return networks, nil
}

// PutNetwork implements detect.Store.
func (s *DetectStore) PutNetwork(ctx context.Context, member, network string, at time.Time) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := securityNetworkDoc{string(of) + "/" + member + "/" + network, of, member, network, at}
	return replace(ctx, s.networks, doc.ID, of, doc)
}

// Forget implements detect.Store.
func (s *DetectStore) Forget(ctx context.Context, signals, networks time.Time) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	if _, err := s.rows.DeleteMany(ctx, bson.D{
		{Key: "waiting", Value: false}, {Key: "at", Value: bson.D{{Key: "$lt", Value: signals}}},
	}); err != nil {
		return fmt.Errorf("delete signals: %w", translate(err))
	}
	if _, err := s.networks.DeleteMany(ctx, bson.D{{Key: "lastAt", Value: bson.D{{Key: "$lt", Value: networks}}}}); err != nil {
		return fmt.Errorf("delete networks: %w", translate(err))
	}
	return nil
}
