package mongo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

var (
	_ seal.Store       = (*AuditStore)(nil)
	_ seal.Checkpoints = (*AuditStore)(nil)
	_ seal.Archive     = (*AuditStore)(nil)
)

// AuditStore keeps the order of the audit log: heads, hashes and checkpoints.
type AuditStore struct {
	*DB

	entries, heads, tiles, checkpoints, headsAt, verifications *mongo.Collection
}

// NewAuditStore returns the store of the audit log's order in d.
func NewAuditStore(d *DB) *AuditStore {
	return &AuditStore{
		DB: d, entries: d.db.Collection(auditColl), heads: d.db.Collection(headsColl), tiles: d.db.Collection(tilesColl),
		checkpoints: d.db.Collection(checkpointsColl), headsAt: d.db.Collection(headsAtColl),
		verifications: d.db.Collection(verificationsColl),
	}
}

// entry returns the part of a stored entry that is its leaf.
func (d *auditDoc) entry() audit.Entry {
	e := audit.Entry{
		ID: d.ID, Tenant: d.Tenant, At: d.At.UTC(), Actor: audit.Actor(d.Actor), Action: d.Action, Object: d.Object,
		Purpose: d.Purpose, Outcome: d.Outcome, Policy: d.Policy, RequestID: d.RequestID, Network: d.Network, Fields: d.Fields,
	}
	for i := range d.Contents {
		e.Contents = append(e.Contents, d.Contents[i].content())
	}
	for _, s := range d.Subjects {
		ref := audit.SubjectRef{ID: s.ID}
		copy(ref.Commitment[:], s.Commitment)
		e.Subjects = append(e.Subjects, ref)
	}
	return e
}

// headDoc is where a tenant's log stands, and in whose hands. Its _id is the tenant.
type headDoc struct {
	ID     tenant.ID `bson:"_id"`
	Tenant tenant.ID `bson:"tenant"`
	Log    int64     `bson:"log"`
	Base   int64     `bson:"base"`
	Size   int64     `bson:"size"`
	Root   []byte    `bson:"root"`
	Edge   [][]byte  `bson:"edge"`
	Ended  []string  `bson:"ended"` // lines of the heads of earlier logs
	Fence  int64     `bson:"fence"`
	Holder string    `bson:"holder"`
	Until  time.Time `bson:"until"`
}

func (d *headDoc) head() proof.Head {
	return proof.Head{Tenant: d.Tenant, Log: d.Log, Base: d.Base, Size: d.Size, Root: d.Root}
}

// Waiting implements seal.Store.
func (s *AuditStore) Waiting(ctx context.Context, after tenant.ID) (tenant.ID, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return "", err
	}
	var d auditDoc
	err := s.entries.FindOne(ctx, bson.D{{Key: "unsealed", Value: true}, {Key: "tenant", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.FindOne().SetSort(bson.D{{Key: "tenant", Value: 1}}).SetProjection(bson.D{{Key: "tenant", Value: 1}})).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find tenant with entries to seal: %w", translate(err))
	}
	return d.Tenant, nil
}

// Lease implements seal.Store.
func (s *AuditStore) Lease(ctx context.Context, holder string, now, until time.Time) (*seal.State, bool, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, false, err
	}
	of := filter[0].Value
	filter = append(filter, bson.E{Key: "_id", Value: of}, bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "until", Value: bson.D{{Key: "$lte", Value: now}}}},
		bson.D{{Key: "holder", Value: holder}},
	}})
	empty, err := proof.Open(0, nil, nil)
	if err != nil {
		return nil, false, err
	}
	update := bson.D{
		{Key: "$set", Value: bson.D{{Key: "holder", Value: holder}, {Key: "until", Value: until}}},
		{Key: "$inc", Value: bson.D{{Key: "fence", Value: int64(1)}}},
		{Key: "$setOnInsert", Value: bson.D{
			{Key: "log", Value: int64(0)},
			{Key: "base", Value: int64(0)},
			{Key: "size", Value: int64(0)},
			{Key: "root", Value: empty.Root()},
			{Key: "edge", Value: bson.A{}},
			{Key: "ended", Value: bson.A{}},
		}},
	}
	var d headDoc
	err = s.heads.FindOneAndUpdate(ctx, filter, update,
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&d)
	if mongo.IsDuplicateKeyError(err) {
		return nil, false, nil // in other hands
	}
	if err != nil {
		return nil, false, fmt.Errorf("lease log: %w", translate(err))
	}
	return &seal.State{Head: d.head(), Edge: d.Edge, Fence: d.Fence}, true, nil
}

// Release implements seal.Store.
func (s *AuditStore) Release(ctx context.Context, fence int64) error {
	filter, err := scoped(ctx)
	if err != nil {
		return err
	}
	filter = append(filter, bson.E{Key: "_id", Value: filter[0].Value}, bson.E{Key: "fence", Value: fence})
	_, err = s.heads.UpdateOne(ctx, filter, set(bson.E{Key: "until", Value: time.Time{}}, bson.E{Key: "holder", Value: ""}))
	if err != nil {
		return fmt.Errorf("release log: %w", translate(err))
	}
	return nil
}

// Unsealed implements seal.Store.
func (s *AuditStore) Unsealed(ctx context.Context, limit int) ([]audit.Entry, error) {
	filter, err := scoped(ctx, bson.E{Key: "unsealed", Value: true})
	if err != nil {
		return nil, err
	}
	docs, err := all[auditDoc](ctx, s.entries, filter, options.Find().SetLimit(int64(limit)).
		SetSort(bson.D{{Key: "at", Value: 1}, {Key: "_id", Value: 1}}).SetProjection(leafOnly()))
	if err != nil {
		return nil, fmt.Errorf("find entries to seal: %w", err)
	}
	entries := make([]audit.Entry, len(docs))
	for i := range docs {
		entries[i] = docs[i].entry()
	}
	return entries, nil
}

// leafOnly leaves out what is no part of an entry's leaf, and large.
func leafOnly() bson.D { return bson.D{{Key: "subjects.sealed", Value: 0}} }

// Order implements seal.Store.
func (s *AuditStore) Order(ctx context.Context, first int64, ids []string) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	writes := make([]mongo.WriteModel, len(ids))
	for i, id := range ids {
		writes[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "tenant", Value: of}, {Key: "unsealed", Value: true}}).
			SetUpdate(bson.D{
				{Key: "$set", Value: bson.D{{Key: "seq", Value: first + int64(i)}}},
				{Key: "$unset", Value: bson.D{{Key: "unsealed", Value: ""}}},
			})
	}
	res, err := s.entries.BulkWrite(ctx, writes)
	if err != nil {
		return fmt.Errorf("order entries: %w", translate(err))
	}
	if res.MatchedCount != int64(len(ids)) {
		return job.ErrFenced
	}
	return nil
}

// tileDoc is a tile of a tenant's tree.
type tileDoc struct {
	ID     string    `bson:"_id"`
	Tenant tenant.ID `bson:"tenant"`
	Level  int       `bson:"level"`
	Index  int64     `bson:"index"`
	Hashes []byte    `bson:"hashes"`
}

func tileID(of tenant.ID, log int64, id proof.TileID) string {
	return fmt.Sprintf("%s/%d/%d/%d", of, log, id.Level, id.Index)
}

// PutTiles implements seal.Store.
func (s *AuditStore) PutTiles(ctx context.Context, log int64, tiles []proof.Tile) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	writes := make([]mongo.WriteModel, len(tiles))
	for i, t := range tiles {
		d := tileDoc{tileID(of, log, t.ID), of, t.ID.Level, t.ID.Index, t.Hashes}
		writes[i] = mongo.NewReplaceOneModel().SetUpsert(true).SetReplacement(d).
			SetFilter(bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: of}})
	}
	if _, err := s.tiles.BulkWrite(ctx, writes); err != nil {
		return fmt.Errorf("put tiles: %w", translate(err))
	}
	return nil
}

// Tiles implements seal.Store.
func (s *AuditStore) Tiles(ctx context.Context, log int64, ids []proof.TileID) ([]proof.Tile, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	wanted := make([]string, len(ids))
	for i, id := range ids {
		wanted[i] = tileID(of, log, id)
	}
	docs, err := all[tileDoc](ctx, s.tiles, bson.D{{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$in", Value: wanted}}}})
	if err != nil {
		return nil, fmt.Errorf("find tiles: %w", err)
	}
	tiles := make([]proof.Tile, len(docs))
	for i, d := range docs {
		tiles[i] = proof.Tile{ID: proof.TileID{Level: d.Level, Index: d.Index}, Hashes: d.Hashes}
	}
	return tiles, nil
}

// Move implements seal.Store.
func (s *AuditStore) Move(ctx context.Context, from int64, next *seal.State, until time.Time) error {
	return s.move(ctx, next, bson.E{Key: "size", Value: from}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "size", Value: next.Size}, {Key: "root", Value: next.Root}, {Key: "edge", Value: next.Edge}, {Key: "until", Value: until},
	}}})
}

// Restart implements seal.Checkpoints.
func (s *AuditStore) Restart(ctx context.Context, from, next *seal.State) error {
	update := bson.D{{Key: "$set", Value: bson.D{
		{Key: "log", Value: next.Log},
		{Key: "base", Value: next.Base},
		{Key: "size", Value: next.Size},
		{Key: "root", Value: next.Root},
		{Key: "edge", Value: next.Edge},
		{Key: "until", Value: time.Time{}},
		{Key: "holder", Value: ""},
	}}}
	if from.Size > 0 {
		update = append(update, bson.E{Key: "$push", Value: bson.D{{Key: "ended", Value: from.Line()}}})
	}
	return s.move(ctx, next, bson.E{Key: "log", Value: from.Log}, update)
}

func (s *AuditStore) move(ctx context.Context, next *seal.State, from bson.E, update bson.D) error {
	filter, err := scoped(ctx)
	if err != nil {
		return err
	}
	filter = append(filter, bson.E{Key: "_id", Value: filter[0].Value}, bson.E{Key: "fence", Value: next.Fence}, from)
	res, err := s.heads.UpdateOne(ctx, filter, update)
	if err != nil {
		return fmt.Errorf("move head of log: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return job.ErrFenced
	}
	return nil
}

// Heads implements seal.Checkpoints.
func (s *AuditStore) Heads(ctx context.Context) ([]proof.Head, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[headDoc](ctx, s.heads, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: ""}}}})
	if err != nil {
		return nil, fmt.Errorf("find heads of logs: %w", err)
	}
	return allHeads(docs)
}

// Logs implements seal.Archive.
func (s *AuditStore) Logs(ctx context.Context) ([]proof.Head, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[headDoc](ctx, s.heads, append(filter, bson.E{Key: "_id", Value: filter[0].Value}))
	if err != nil {
		return nil, fmt.Errorf("find heads of logs: %w", err)
	}
	return allHeads(docs)
}

// allHeads returns the heads that are in docs, those that have ended included.
func allHeads(docs []headDoc) ([]proof.Head, error) {
	heads := make([]proof.Head, 0, len(docs))
	for i := range docs {
		for _, line := range docs[i].Ended {
			h, err := proof.ParseHead(line)
			if err != nil {
				return nil, fmt.Errorf("read ended log of %s: %w", docs[i].Tenant, err)
			}
			heads = append(heads, h)
		}
		if docs[i].Size > 0 {
			heads = append(heads, docs[i].head())
		}
	}
	seal.SortHeads(heads)
	return heads, nil
}

// checkpointDoc belongs to the provider.
type checkpointDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Number    int64     `bson:"number"`
	At        time.Time `bson:"at"`
	Note      []byte    `bson:"note"`
	Object    []byte    `bson:"object,omitempty"`
	Published bool      `bson:"published"`
}

func (d *checkpointDoc) record() *seal.Record {
	return &seal.Record{Number: d.Number, At: d.At.UTC(), Note: d.Note, Object: d.Object, Published: d.Published}
}

func checkpointID(of tenant.ID, number int64) string {
	return string(of) + "/" + strconv.FormatInt(number, 10)
}

// Newest implements seal.Checkpoints.
func (s *AuditStore) Newest(ctx context.Context) (*seal.Record, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	var d checkpointDoc
	err = s.checkpoints.FindOne(ctx, filter, options.FindOne().SetSort(bson.D{{Key: "number", Value: -1}})).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // as seal.Checkpoints has it
	}
	if err != nil {
		return nil, fmt.Errorf("find newest checkpoint: %w", translate(err))
	}
	return d.record(), nil
}

// headAtDoc is where a tenant's log stood at a checkpoint.
type headAtDoc struct {
	ID     string    `bson:"_id"`
	Tenant tenant.ID `bson:"tenant"`
	Number int64     `bson:"number"`
	At     time.Time `bson:"at"`
	Log    int64     `bson:"log"`
	Base   int64     `bson:"base"`
	Size   int64     `bson:"size"`
	Root   []byte    `bson:"root"`
	Index  int64     `bson:"index"`
	Path   [][]byte  `bson:"path"`
}

// InsertCheckpoint implements seal.Checkpoints.
func (s *AuditStore) InsertCheckpoint(ctx context.Context, r *seal.Record, logs []seal.At) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.checkpoints.UpdateOne(ctx, bson.D{{Key: "_id", Value: checkpointID(of, r.Number-1)}, {Key: "tenant", Value: of}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "object", Value: ""}}}})
	if err != nil {
		return fmt.Errorf("drop object of checkpoint: %w", translate(err))
	}
	d := checkpointDoc{checkpointID(of, r.Number), of, r.Number, r.At, r.Note, r.Object, r.Published}
	if _, err = s.checkpoints.InsertOne(ctx, d); mongo.IsDuplicateKeyError(err) {
		return seal.ErrExists.Because(err)
	}
	if err != nil {
		return fmt.Errorf("insert checkpoint: %w", translate(err))
	}
	docs := make([]headAtDoc, len(logs))
	for i := range logs {
		l := &logs[i]
		docs[i] = headAtDoc{
			fmt.Sprintf("%s/%d/%d", l.Tenant, l.Number, l.Log), l.Tenant, l.Number, l.Time, l.Log, l.Base, l.Size, l.Root, l.Index, l.Path,
		}
	}
	if _, err := s.headsAt.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert heads at checkpoint: %w", translate(err))
	}
	return nil
}

// Publish implements seal.Checkpoints.
func (s *AuditStore) Publish(ctx context.Context, number int64) error {
	filter, err := scoped(ctx, bson.E{Key: "number", Value: number})
	if err != nil {
		return err
	}
	if _, err := s.checkpoints.UpdateOne(ctx, filter, set(bson.E{Key: "published", Value: true})); err != nil {
		return fmt.Errorf("note checkpoint as published: %w", translate(err))
	}
	return nil
}

// Adopt implements seal.Checkpoints.
func (s *AuditStore) Adopt(ctx context.Context, r *seal.Record) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d := checkpointDoc{checkpointID(of, r.Number), of, r.Number, r.At, r.Note, r.Object, true}
	filter := bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: of}}
	if _, err := s.checkpoints.ReplaceOne(ctx, filter, d, options.Replace().SetUpsert(true)); err != nil {
		return fmt.Errorf("adopt checkpoint: %w", translate(err))
	}
	return nil
}

// row returns a stored entry with its sealed details.
func (d *auditDoc) row() audit.Row {
	r := audit.Row{Entry: d.entry()}
	for _, s := range d.Subjects {
		r.Sealed = append(r.Sealed, s.Sealed)
	}
	return r
}

// Sealed implements seal.Archive.
func (s *AuditStore) Sealed(ctx context.Context, first, end int64, visit func(*seal.Sealed) error) error {
	return s.sealed(ctx, first, end, bson.D{}, visit)
}

func (s *AuditStore) sealed(ctx context.Context, first, end int64, project bson.D, visit func(*seal.Sealed) error) error {
	filter, err := scoped(ctx, bson.E{Key: "seq", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lt", Value: end}}})
	if err != nil {
		return err
	}
	cursor, err := s.entries.Find(ctx, filter,
		options.Find().SetSort(bson.D{{Key: "seq", Value: 1}}).SetProjection(project).SetBatchSize(sealedBatch))
	if err != nil {
		return fmt.Errorf("find sealed entries: %w", translate(err))
	}
	defer cursor.Close(ctx)
	for cursor.Next(ctx) {
		var d auditDoc
		if err := cursor.Decode(&d); err != nil {
			return fmt.Errorf("decode sealed entry: %w", err)
		}
		if err := visit(&seal.Sealed{Row: d.row(), Seq: *d.Seq}); err != nil {
			return err
		}
	}
	if err := cursor.Err(); err != nil {
		return fmt.Errorf("read sealed entries: %w", translate(err))
	}
	return nil
}

// sealedBatch is how many entries are in memory at once.
const sealedBatch = 1000

// Stray implements seal.Archive.
func (s *AuditStore) Stray(ctx context.Context, logs []proof.Head) (string, error) {
	outside := bson.A{bson.D{{Key: "seq", Value: nil}, {Key: "unsealed", Value: nil}}}
	from := int64(0)
	for _, h := range logs { // in order
		outside = append(outside, bson.D{{Key: "seq", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: h.Base}}}})
		from = h.Base + h.Size
	}
	outside = append(outside, bson.D{{Key: "seq", Value: bson.D{{Key: "$gte", Value: from}}}}, bson.D{{Key: "seq", Value: bson.D{{Key: "$lt", Value: int64(0)}}}})
	for _, where := range outside {
		each, ok := where.(bson.D)
		if !ok {
			continue
		}
		filter, err := scoped(ctx, each...)
		if err != nil {
			return "", err
		}
		var d auditDoc
		err = s.entries.FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Decode(&d)
		if err == nil {
			return d.ID, nil
		}
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return "", fmt.Errorf("look for stray entries: %w", translate(err))
		}
	}
	return "", nil
}

// Checkpoint implements seal.Archive.
func (s *AuditStore) Checkpoint(ctx context.Context, number int64) (*seal.Record, error) {
	d, err := one[checkpointDoc](ctx, s.checkpoints, "checkpoint", mongo.ErrNoDocuments, bson.E{Key: "number", Value: number})
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // as seal.Archive has it
	}
	if err != nil {
		return nil, err
	}
	return d.record(), nil
}

// LogAt implements seal.Archive.
func (s *AuditStore) LogAt(ctx context.Context, log, number int64) (*seal.At, error) {
	return s.headAt(ctx, bson.D{}, bson.E{Key: "number", Value: number}, bson.E{Key: "log", Value: log})
}

// headAt returns the first row that matches, in that order; nil for none.
func (s *AuditStore) headAt(ctx context.Context, sort bson.D, match ...bson.E) (*seal.At, error) {
	filter, err := scoped(ctx, match...)
	if err != nil {
		return nil, err
	}
	var d headAtDoc
	err = s.headsAt.FindOne(ctx, filter, options.FindOne().SetSort(sort)).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // as the callers have it
	}
	if err != nil {
		return nil, fmt.Errorf("find head at checkpoint: %w", translate(err))
	}
	return d.at(), nil
}

func (d *headAtDoc) at() *seal.At {
	return &seal.At{
		Head:   proof.Head{Tenant: d.Tenant, Log: d.Log, Base: d.Base, Size: d.Size, Root: d.Root},
		Number: d.Number, Time: d.At.UTC(), Index: d.Index, Path: d.Path,
	}
}
