package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var (
	_ erasure.Store    = (*ShredStore)(nil)
	_ erasure.KeyStore = (*KeyStore)(nil)
)

// ShredStore keeps shreddings, and marks persons.
type ShredStore struct {
	coll, subjects, standings, requests *mongo.Collection

	dates *retentionDates
}

// NewShredStore returns the store of shreddings in d.
func NewShredStore(d *DB) *ShredStore {
	return &ShredStore{
		d.db.Collection(shreddingsColl), d.db.Collection(subjectsColl), d.db.Collection(standingsColl), d.db.Collection(requestsColl), newRetentionDates(d),
	}
}

type shredDoc struct {
	ID        string         `bson:"_id"`
	Tenant    tenant.ID      `bson:"tenant"`
	Subject   string         `bson:"subject"`
	Whole     bool           `bson:"whole"`
	Units     []vault.Unit   `bson:"units"`
	Spared    []vault.Unit   `bson:"spared,omitempty"`
	With      []vault.Unit   `bson:"with,omitempty"`
	Cause     string         `bson:"cause"`
	State     erasure.State  `bson:"state"`
	Steps     []shredStepDoc `bson:"steps"`
	Epochs    []vault.Epoch  `bson:"epochs"`
	CreatedAt time.Time      `bson:"createdAt"`
	Version   int64          `bson:"version"`
}

type shredStepDoc struct {
	Step erasure.Step `bson:"step"`
	At   time.Time    `bson:"at"`
}

func newShredDoc(s *erasure.Shredding) shredDoc {
	doc := shredDoc{
		ID: s.ID, Tenant: s.Tenant, Subject: s.Target.Subject, Whole: s.Target.Whole, Units: s.Target.Units, Spared: s.Target.Spared, With: s.Target.With, Cause: s.Cause,
		State: s.State, Epochs: s.Epochs, CreatedAt: s.CreatedAt, Version: s.Version,
	}
	for _, d := range s.Steps {
		doc.Steps = append(doc.Steps, shredStepDoc(d))
	}
	return doc
}

func (d *shredDoc) shredding() *erasure.Shredding {
	s := &erasure.Shredding{
		ID: d.ID, Tenant: d.Tenant, Target: erasure.Target{Subject: d.Subject, Whole: d.Whole, Units: d.Units, Spared: d.Spared, With: d.With}, Cause: d.Cause,
		State: d.State, Epochs: d.Epochs, CreatedAt: d.CreatedAt, Version: d.Version,
	}
	for _, step := range d.Steps {
		s.Steps = append(s.Steps, erasure.StepDone(step))
	}
	return s
}

// Mark implements erasure.Store.
func (s *ShredStore) Mark(ctx context.Context, t erasure.Target) error {
	if t.Case() {
		return s.end(ctx, t.Subject)
	}
	d, err := one[subjectDoc](ctx, s.subjects, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: t.Subject})
	if err != nil {
		return err
	}
	set, proof := bson.D{{Key: "state", Value: subject.Erasing}}, slices.Contains(t.Units, vault.Evidence)
	switch {
	case d.State == subject.Erased && !proof && !d.spares(t.Units):
		return nil
	case d.State != subject.Erased && proof:
		return erasure.ErrProof
	case !t.Whole:
		units := slices.Concat(d.ErasedUnits, t.Units)
		slices.Sort(units)
		set = bson.D{{Key: "erasedUnits", Value: slices.Compact(units)}}
	case len(t.Spared) > 0:
		set = append(set, bson.E{Key: "spared", Value: t.Spared})
	}
	// Writing the guard is what makes this and a write of the person's data exclude each other.
	_, err = s.subjects.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: d.Tenant}},
		bson.D{{Key: "$set", Value: set}, {Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("mark subject %s: %w", t.Subject, translate(err))
	}
	if !t.Whole {
		return nil
	}
	return closeStandings(ctx, s.standings, t.Subject) // here, so that one look at a standing tells
}

// end makes a request one that no step is made of any more.
func (s *ShredStore) end(ctx context.Context, requestID string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: requestID})
	if err != nil {
		return err
	}
	_, err = s.requests.UpdateOne(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "ended", Value: true}}},
		{Key: "$unset", Value: bson.D{{Key: "endsAt", Value: ""}}},
		{Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}},
	})
	if err != nil {
		return fmt.Errorf("end request %s: %w", requestID, translate(err))
	}
	return note(ctx, s.requests, requestID)
}

// spares reports whether all units of some outlived the person.
func (d *subjectDoc) spares(units []vault.Unit) bool {
	return len(units) > 0 && !slices.ContainsFunc(units, func(u vault.Unit) bool { return !slices.Contains(d.Spared, u) })
}

// Finish implements erasure.Store.
func (s *ShredStore) Finish(ctx context.Context, sh *erasure.Shredding) error {
	if !sh.Target.Whole {
		return nil
	}
	person := sh.Target.Subject
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: person}, bson.E{Key: "state", Value: subject.Erasing})
	if err != nil {
		return err
	}
	res, err := s.subjects.UpdateOne(ctx, filter, set(bson.E{Key: "state", Value: subject.Erased}))
	if err != nil {
		return fmt.Errorf("finish subject %s: %w", person, translate(err))
	}
	if at := sh.At(erasure.Ledger); res.MatchedCount > 0 && at != nil {
		return s.dates.update(ctx, person, retention.Proof, set(bson.E{Key: "erasedAt", Value: *at}))
	}
	return nil
}

// Insert implements erasure.Store.
func (s *ShredStore) Insert(ctx context.Context, sh *erasure.Shredding) error {
	if _, err := s.coll.InsertOne(ctx, newShredDoc(sh)); err != nil {
		return fmt.Errorf("insert shredding: %w", translate(err))
	}
	return nil
}

// Update implements erasure.Store.
func (s *ShredStore) Update(ctx context.Context, sh *erasure.Shredding) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: sh.ID}, bson.E{Key: "version", Value: sh.Version - 1})
	if err != nil {
		return err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, newShredDoc(sh))
	if err != nil {
		return fmt.Errorf("update shredding %s: %w", sh.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// Find implements erasure.Store.
func (s *ShredStore) Find(ctx context.Context, shreddingID string) (*erasure.Shredding, error) {
	return s.one(ctx, bson.E{Key: "_id", Value: shreddingID})
}

// FindFor implements erasure.Store.
func (s *ShredStore) FindFor(ctx context.Context, cause string, t erasure.Target) (*erasure.Shredding, error) {
	return s.one(ctx, bson.E{Key: "subject", Value: t.Subject}, bson.E{Key: "cause", Value: cause}, bson.E{Key: "units", Value: t.Units})
}

func (s *ShredStore) one(ctx context.Context, match ...bson.E) (*erasure.Shredding, error) {
	doc, err := one[shredDoc](ctx, s.coll, "shredding", erasure.ErrNotFound, match...)
	if err != nil {
		return nil, err
	}
	return doc.shredding(), nil
}

// List implements erasure.Store.
func (s *ShredStore) List(ctx context.Context, after *page.Position, limit int) ([]*erasure.Shredding, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[shredDoc](ctx, s.coll, behind(bson.D{}, after), newest(limit))
	if err != nil {
		return nil, fmt.Errorf("list shreddings: %w", err)
	}
	list := make([]*erasure.Shredding, len(docs))
	for i, d := range docs {
		list[i] = d.shredding()
	}
	return list, nil
}

// SubjectKeys implements erasure.KeyStore.
func (s *KeyStore) SubjectKeys(ctx context.Context, of tenant.ID, subjectID string) ([]vault.DataKey, error) {
	prefix := string(of) + "/" + subjectID
	docs, err := all[dataKeyDoc](outside(ctx), s.dataKeys,
		bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: prefix + "/"}, {Key: "$lt", Value: prefix + "0"}}}}) // "0" follows "/"
	if err != nil {
		return nil, fmt.Errorf("find keys of subject: %w", err)
	}
	return dataKeys(docs)
}

// Blobs removes objects: every version, and what unfinished uploads left.
type Blobs interface {
	Delete(ctx context.Context, key string) error
	DeletePrefix(ctx context.Context, prefix string) error
}

// LookupEraser returns what destroys the lookups of a person.
func LookupEraser(d *DB) erasure.Eraser {
	return &lookupEraser{newLookups(d, nil), d.db.Collection(recordsColl)}
}

// Erasers returns what destroys records, files, packages, sign-ins and the
// person's own document, in that order, and closes consents.
func Erasers(d *DB, objects Blobs, changes *change.Runner) []erasure.Eraser {
	return []erasure.Eraser{
		&recordEraser{changes, d.db.Collection(recordsColl), newLookups(d, nil)},
		&objectEraser{changes, "files", d.db.Collection(filesColl), objects.Delete, "dataset"},
		&objectEraser{changes, "packages", d.db.Collection(exportsColl), objects.DeletePrefix, ""},
		newConsentEraser(d, changes),
		&signInEraser{[]*mongo.Collection{d.db.Collection(challengesColl), d.db.Collection(selfSessionsColl)}},
		&disclosureEraser{changes, d.db.Collection(disclosuresColl)},
		&retentionEraser{newRetentionDates(d), changes, d.db.Collection(holdsColl)},
		newCaseEraser(d, objects, changes),
		&subjectEraser{d.db.Collection(subjectsColl)},
	}
}

// eraseBatch is how many documents are destroyed at once.
const eraseBatch = 200

// eraseIn deletes all that match, or updates it so that it matches no more, in
// changes whose entries tell what became of each.
func eraseIn(
	ctx context.Context, changes *change.Runner, coll *mongo.Collection, filter, update bson.D, action, person string,
) error {
	for found := eraseBatch; found == eraseBatch; {
		err := changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
			docs, err := all[idDoc](ctx, coll, filter, options.Find().SetLimit(eraseBatch).SetProjection(bson.D{{Key: "_id", Value: 1}}))
			if err != nil {
				return nil, fmt.Errorf("find in %s: %w", coll.Name(), err)
			}
			if found = len(docs); found == 0 {
				return nil, nil
			}
			ids := make([]string, len(docs))
			for i, d := range docs {
				ids[i] = d.ID
			}
			these, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
			if err != nil {
				return nil, err
			}
			if update != nil {
				_, err = coll.UpdateMany(ctx, these, update)
			} else {
				_, err = coll.DeleteMany(ctx, these)
			}
			if err != nil {
				return nil, fmt.Errorf("erase in %s: %w", coll.Name(), translate(err))
			}
			if keptKind(coll.Name()) != nil {
				err = note(ctx, coll, ids...)
			}
			return []change.Change{{Action: action, Object: person, Quiet: true}}, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type lookupEraser struct {
	lookups *lookups
	records *mongo.Collection
}

// Name implements erasure.Eraser.
func (*lookupEraser) Name() string { return "lookups" }

// filters returns what matches all lookups of the target.
func (e *lookupEraser) filters(ctx context.Context, t erasure.Target) ([]bson.D, error) {
	if t.Whole {
		about, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
		if err != nil {
			return nil, err
		}
		own, err := scoped(ctx, bson.E{Key: "owner", Value: t.Subject})
		return []bson.D{about, own}, err
	}
	if len(t.Datasets()) == 0 {
		return nil, nil
	}
	filter, err := recordsOf(ctx, t)
	if err != nil {
		return nil, err
	}
	docs, err := all[recordDoc](ctx, e.records, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find records: %w", err)
	}
	var filters []bson.D
	for part := range slices.Chunk(docs, eraseBatch) {
		ids := make([]string, len(part))
		for i, d := range part {
			ids[i] = d.ID
		}
		f, err := scoped(ctx, bson.E{Key: "owner", Value: bson.D{{Key: "$in", Value: ids}}}, bson.E{Key: "subject", Value: t.Subject})
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// Erase implements erasure.Eraser.
func (e *lookupEraser) Erase(ctx context.Context, t erasure.Target) error {
	filters, err := e.filters(ctx, t)
	for _, f := range filters {
		_, derr := e.lookups.coll.DeleteMany(ctx, f)
		err = errors.Join(err, translate(derr))
	}
	return err
}

// Left implements erasure.Eraser.
func (e *lookupEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	filters, err := e.filters(ctx, t)
	left := 0
	for _, f := range filters {
		n, cerr := count(ctx, e.lookups.coll, f, eraseBatch)
		left, err = left+n, errors.Join(err, cerr)
	}
	return left, err
}

// recordsOf matches the records in which the target has a part.
func recordsOf(ctx context.Context, t erasure.Target) (bson.D, error) {
	filter, err := scoped(ctx, bson.E{Key: "subjects", Value: t.Subject})
	if err == nil && !t.Whole {
		filter = append(filter, bson.E{Key: "dataset", Value: bson.D{{Key: "$in", Value: t.Datasets()}}})
	}
	if err == nil && len(t.Spared) > 0 {
		filter = append(filter, bson.E{Key: "dataset", Value: bson.D{{Key: "$nin", Value: t.Spared}}})
	}
	return filter, err
}

type recordEraser struct {
	changes *change.Runner
	coll    *mongo.Collection
	lookups *lookups
}

// Name implements erasure.Eraser.
func (*recordEraser) Name() string { return "records" }

// recordBatch is how many records are destroyed in one transaction, which reads no
// values of those that are deleted.
const recordBatch = 1000

// Erase implements erasure.Eraser. Records of the person are deleted; out of those
// of others the person's part is taken.
func (e *recordEraser) Erase(ctx context.Context, t erasure.Target) error {
	if !t.Whole && len(t.Datasets()) == 0 {
		return nil
	}
	whose := options.Find().SetLimit(recordBatch).SetProjection(bson.D{{Key: "subject", Value: 1}, {Key: "subjects", Value: 1}})
	for {
		found := 0
		err := e.changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
			filter, err := recordsOf(ctx, t)
			if err != nil {
				return nil, err
			}
			docs, err := all[recordDoc](ctx, e.coll, filter, whose)
			if err != nil {
				return nil, fmt.Errorf("find records: %w", err)
			}
			if found = len(docs); found == 0 {
				return nil, nil
			}
			left, err := e.erase(ctx, t.Subject, docs)
			return []change.Change{{Action: "erasure.records", Object: t.Subject, Contents: left, Quiet: true}}, err
		})
		if err != nil || found < recordBatch {
			return err
		}
	}
}

// erase takes a person out of records, of which docs say whose they are, and
// returns what is left of each.
func (e *recordEraser) erase(ctx context.Context, person string, docs []recordDoc) (left []audit.Content, err error) {
	var gone, shared, others []string
	for _, d := range docs {
		if d.Subject != person {
			others = append(others, d.ID)
			continue
		}
		gone, left = append(gone, d.ID), append(left, audit.Content{Object: d.ID})
		if len(d.Subjects) > 1 {
			shared = append(shared, d.ID)
		}
	}
	for part := range slices.Chunk(others, eraseBatch) {
		redacted, err := e.redact(ctx, person, part)
		if err != nil {
			return nil, err
		}
		left = append(left, redacted...)
	}
	if len(gone) == 0 {
		return left, nil
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: gone}}})
	if err != nil {
		return nil, err
	}
	if _, err := e.coll.DeleteMany(ctx, filter); err != nil {
		return nil, fmt.Errorf("delete records: %w", translate(err))
	}
	if len(shared) == 0 {
		return left, nil
	}
	return left, e.lookups.remove(ctx, shared...) // those about other persons in them: the person's own are gone
}

// redact takes a person out of others' records, and returns what they are then.
func (e *recordEraser) redact(ctx context.Context, person string, ids []string) (left []audit.Content, err error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[recordDoc](ctx, e.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find records: %w", err)
	}
	for _, d := range docs {
		d.Fields = slices.DeleteFunc(d.Fields, func(f fieldDoc) bool { return f.About == person })
		d.Parties = slices.DeleteFunc(d.Parties, func(p partyDoc) bool { return p.Subject == person })
		d.Statements = slices.DeleteFunc(d.Statements, func(s stateDoc) bool { return s.About == person })
		d.Subjects = slices.DeleteFunc(d.Subjects, func(s string) bool { return s == person })
		d.Version++
		sum, err := d.digest()
		if err != nil {
			return nil, err
		}
		left = append(left, audit.Content{Object: d.ID, Version: d.Version, Digest: sum})
		if _, err := e.coll.ReplaceOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: d.Tenant}}, d); err != nil {
			return nil, fmt.Errorf("update record %s: %w", d.ID, translate(err))
		}
	}
	return left, nil
}

// Left implements erasure.Eraser.
func (e *recordEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	if !t.Whole && len(t.Datasets()) == 0 {
		return 0, nil
	}
	filter, err := recordsOf(ctx, t)
	if err != nil {
		return 0, err
	}
	return count(ctx, e.coll, filter, eraseBatch)
}

// objectEraser destroys what lies in the object storage, with its rows: the
// objects first, for the rows name them.
type objectEraser struct {
	changes *change.Runner
	name    string
	coll    *mongo.Collection
	remove  func(ctx context.Context, key string) error
	dataset string // the field that names the dataset; "" when they are copies of several
}

// Name implements erasure.Eraser.
func (e *objectEraser) Name() string { return e.name }

func (e *objectEraser) filter(ctx context.Context, t erasure.Target) (filter bson.D, some bool, err error) {
	filter, err = scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if e.dataset == "" || err != nil {
		return filter, t.Whole || len(t.Datasets()) > 0, err
	}
	if t.Whole { // but for proofs, which are of no dataset
		of := bson.D{{Key: "$gt", Value: ""}}
		if len(t.Spared) > 0 {
			of = append(of, bson.E{Key: "$nin", Value: t.Spared})
		}
		return append(filter, bson.E{Key: e.dataset, Value: of}), true, nil
	}
	of := t.Datasets()
	if slices.Contains(t.Units, vault.Evidence) {
		of = append(of, "")
	}
	return append(filter, bson.E{Key: e.dataset, Value: bson.D{{Key: "$in", Value: of}}}), len(of) > 0, nil
}

// Erase implements erasure.Eraser.
func (e *objectEraser) Erase(ctx context.Context, t erasure.Target) error {
	filter, some, err := e.filter(ctx, t)
	if err != nil || !some {
		return err
	}
	docs, err := all[idDoc](ctx, e.coll, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return fmt.Errorf("find %s: %w", e.name, err)
	}
	for part := range slices.Chunk(docs, eraseBatch) {
		ids := make([]string, len(part))
		for i, d := range part {
			if err := e.remove(ctx, d.ID); err != nil {
				return err
			}
			ids[i] = d.ID
		}
		rows, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
		if err != nil {
			return err
		}
		if err := eraseIn(ctx, e.changes, e.coll, rows, nil, "erasure."+e.name, t.Subject); err != nil {
			return err
		}
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *objectEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	filter, some, err := e.filter(ctx, t)
	if err != nil || !some {
		return 0, err
	}
	return count(ctx, e.coll, filter, eraseBatch)
}

type subjectEraser struct{ coll *mongo.Collection }

// Name implements erasure.Eraser.
func (*subjectEraser) Name() string { return "persons" }

// Erase implements erasure.Eraser. The document stays, with its state and without
// what it said of the person.
func (e *subjectEraser) Erase(ctx context.Context, t erasure.Target) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: t.Subject})
	if err != nil {
		return err
	}
	gone := bson.D{}
	for _, u := range t.Datasets() { // with what was copied for its sake
		gone = append(gone, bson.E{Key: "remains." + string(u), Value: ""})
	}
	update := bson.D{{Key: "$unset", Value: gone}}
	switch {
	case t.Whole:
		update = set(bson.E{Key: "identity", Value: bson.D{}})
	case len(gone) == 0:
		return nil
	}
	if _, err := e.coll.UpdateOne(ctx, filter, update); err != nil {
		return fmt.Errorf("erase subject %s: %w", t.Subject, translate(err))
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *subjectEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	d, err := one[subjectDoc](ctx, e.coll, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: t.Subject})
	switch {
	case errors.Is(err, subject.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	left := 0
	for _, u := range t.Datasets() {
		if d.Remains[string(u)] != nil {
			left++
		}
	}
	if t.Whole {
		left += d.Identity.values()
	}
	return left, nil
}
