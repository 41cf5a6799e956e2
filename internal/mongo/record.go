package mongo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ record.Store = (*RecordStore)(nil)

// RecordStore keeps records.
type RecordStore struct {
	coll, subjects *mongo.Collection
	lookups        *lookups
	dates          *retentionDates
	vault          *vault.Vault
	log            *slog.Logger
}

// NewRecordStore returns the store of records in d.
func NewRecordStore(d *DB, v *vault.Vault, log *slog.Logger) *RecordStore {
	return &RecordStore{
		coll: d.db.Collection(recordsColl), subjects: d.db.Collection(subjectsColl),
		lookups: newLookups(d, v), dates: newRetentionDates(d), vault: v, log: log,
	}
}

type recordDoc struct {
	ID             string        `bson:"_id"`
	Tenant         tenant.ID     `bson:"tenant"`
	Subject        string        `bson:"subject"`
	Subjects       []string      `bson:"subjects"` // the subject and the parties, for the index
	Dataset        string        `bson:"dataset"`
	DatasetVersion int64         `bson:"datasetVersion"`
	Key            sealed        `bson:"key,omitempty"`
	Origin         record.Origin `bson:"origin"`
	Source         sealed        `bson:"source,omitempty"`
	CollectedAt    *time.Time    `bson:"collectedAt,omitempty"`
	Parties        []partyDoc    `bson:"parties,omitempty"`
	Fields         []fieldDoc    `bson:"fields"`
	Statements     []stateDoc    `bson:"statements,omitempty"`
	Version        int64         `bson:"version"`
	CreatedAt      time.Time     `bson:"createdAt"`
	UpdatedAt      time.Time     `bson:"updatedAt"`
}

type partyDoc struct {
	Subject string `bson:"subject"`
	Role    sealed `bson:"role,omitempty"` // under the party's key
}

// stateDoc is what a person adds to what the record says of them.
type stateDoc struct {
	Item  string    `bson:"item"`
	Field string    `bson:"f,omitempty"`
	About string    `bson:"about"`
	At    time.Time `bson:"at"`
	Text  sealed    `bson:"statement"`
}

type fieldDoc struct {
	Field string `bson:"f"`
	Value sealed `bson:"v"`
	About string `bson:"about,omitempty"`
}

// about returns the person that a value is about.
func (d *recordDoc) about(f *fieldDoc) string {
	if f.About != "" {
		return f.About
	}
	return d.Subject
}

func recordSealer(keys *vault.Keys, of tenant.ID, person, dataset, id string) *sealer {
	return &sealer{
		keys: keys, owner: record.Unit(of, person, dataset),
		place: vault.Place{Collection: recordsColl, Record: id},
	}
}

// seal makes the stored form of r. Values that r couldn't show stay as they are
// in before.
func (s *RecordStore) seal(keys *vault.Keys, of tenant.ID, r *record.Record, before *recordDoc) (recordDoc, []byte, error) {
	own := recordSealer(keys, of, r.SubjectID, r.DatasetID, r.ID)
	doc := recordDoc{
		ID: r.ID, Tenant: of, Subject: r.SubjectID, Subjects: r.Subjects(), Dataset: r.DatasetID,
		DatasetVersion: r.DatasetVersion, Key: own.text("key", r.Key), Origin: r.Origin,
		Source: own.text("source", r.Source), CollectedAt: r.CollectedAt, Fields: make([]fieldDoc, len(r.Fields)),
		Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if own.err != nil {
		return doc, nil, fmt.Errorf("seal record %s: %w", r.ID, own.err)
	}
	for _, p := range r.Parties {
		stored := partyDoc{Subject: p.Subject}
		if seal := recordSealer(keys, of, p.Subject, r.DatasetID, r.ID); p.Role != "" {
			if stored.Role = seal.text("role", personal.NewText(p.Role)); seal.err != nil {
				return doc, nil, fmt.Errorf("seal record %s: %w", r.ID, seal.err)
			}
		} else if before != nil { // it couldn't be shown
			for _, b := range before.Parties {
				if b.Subject == p.Subject {
					stored.Role = b.Role
				}
			}
		}
		doc.Parties = append(doc.Parties, stored)
	}
	for i, st := range r.Statements {
		stored := stateDoc{st.Item, st.FieldID, st.About, st.At, nil}
		seal := recordSealer(keys, of, st.About, r.DatasetID, r.ID)
		if st.Text.IsZero() && before != nil && i < len(before.Statements) { // it couldn't be shown
			stored.Text = before.Statements[i].Text
		} else if stored.Text = seal.text("statement", st.Text); seal.err != nil {
			return doc, nil, fmt.Errorf("seal record %s: %w", r.ID, seal.err)
		}
		doc.Statements = append(doc.Statements, stored)
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		stored := &doc.Fields[i]
		stored.Field = f.FieldID
		if f.About != nil {
			stored.About = *f.About
		}
		if f.State != personal.Clear {
			if before == nil {
				return doc, nil, fmt.Errorf("seal record %s: a value to insert isn't clear", r.ID)
			}
			at := slices.IndexFunc(before.Fields, func(b fieldDoc) bool { return b.Field == stored.Field && b.About == stored.About })
			if at < 0 {
				return doc, nil, fmt.Errorf("seal record %s: a value that isn't clear isn't stored", r.ID)
			}
			stored.Value = before.Fields[at].Value
			continue
		}
		seal := recordSealer(keys, of, doc.about(stored), r.DatasetID, r.ID)
		if stored.Value = seal.seal(f.FieldID, f.Value.Value); seal.err != nil {
			return doc, nil, fmt.Errorf("seal record %s: %w", r.ID, seal.err)
		}
	}
	sum, err := doc.digest()
	return doc, sum, err
}

// digest returns the SHA-256 of the record as it is stored.
func (d *recordDoc) digest() ([]byte, error) {
	c := *d
	if c.Fields == nil { // as it is read again
		c.Fields = []fieldDoc{}
	}
	return digest(c)
}

// open returns the records that docs hold, in their order.
func (s *RecordStore) open(ctx context.Context, docs []recordDoc) ([]*record.Record, error) {
	state, err := s.states(ctx, docs)
	if err != nil {
		return nil, err
	}
	var owners []vault.Owner
	for _, d := range docs {
		for _, person := range d.Subjects {
			if !state.of(person, d.Dataset).Gone() {
				owners = append(owners, record.Unit(d.Tenant, person, d.Dataset))
			}
		}
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	records := make([]*record.Record, len(docs))
	for i := range docs {
		if records[i], err = s.openOne(ctx, keys, state, &docs[i]); err != nil {
			return nil, fmt.Errorf("open record %s: %w", docs[i].ID, err)
		}
	}
	return records, nil
}

// standings tells where persons stand, by id.
type standings map[string]subjectDoc

// of returns the state of what a dataset holds on a person: erased when the
// person isn't there, or the dataset's part was erased on its own.
func (s standings) of(person, dataset string) subject.State {
	d, ok := s[person]
	if !ok || slices.Contains(d.ErasedUnits, vault.Unit(dataset)) {
		return subject.Erased
	}
	if d.State.Gone() && slices.Contains(d.Spared, vault.Unit(dataset)) {
		return subject.Active // to those who may know of the dataset
	}
	return d.State
}

// standing is what of a subjectDoc standings read.
func standing() bson.D {
	return bson.D{{Key: "state", Value: 1}, {Key: "erasedUnits", Value: 1}, {Key: "spared", Value: 1}}
}

// states tells where the persons in docs stand.
func (s *RecordStore) states(ctx context.Context, docs []recordDoc) (standings, error) {
	var ids []string
	for i := range docs {
		ids = append(ids, docs[i].Subjects...)
	}
	state := standings{}
	if len(ids) == 0 {
		return state, nil
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: present(ids)}}})
	if err != nil {
		return nil, err
	}
	found, err := all[subjectDoc](ctx, s.subjects, filter,
		options.Find().SetProjection(standing()))
	if err != nil {
		return nil, fmt.Errorf("find subjects' states: %w", err)
	}
	for _, d := range found {
		state[d.ID] = d
	}
	return state, nil
}

// writable fails with subject.ErrErased when a dataset's part on a person was erased
// on its own. In the transaction that guards the person, it and the erasure
// exclude each other.
func (s *RecordStore) writable(ctx context.Context, docs ...recordDoc) error {
	state, err := s.states(ctx, docs)
	if err != nil {
		return err
	}
	for _, d := range docs {
		for _, person := range d.Subjects {
			if state.of(person, d.Dataset).Gone() {
				return subject.ErrErased
			}
		}
	}
	return nil
}

func (s *RecordStore) openOne(
	ctx context.Context, keys *vault.Keys, state standings, d *recordDoc,
) (*record.Record, error) {
	r := &record.Record{
		ID: d.ID, SubjectID: d.Subject, DatasetID: d.Dataset, DatasetVersion: d.DatasetVersion, Origin: d.Origin,
		CollectedAt: d.CollectedAt, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		Fields: make([]record.Field, len(d.Fields)), Gone: state.of(d.Subject, d.Dataset).Gone(),
	}
	for _, person := range d.Subjects {
		if state.of(person, d.Dataset) == subject.Restricted {
			r.Restricted = append(r.Restricted, person)
		}
	}
	for _, p := range d.Parties {
		party := record.Party{Subject: p.Subject, Gone: state.of(p.Subject, d.Dataset).Gone()}
		if !party.Gone {
			open := recordSealer(keys, d.Tenant, p.Subject, d.Dataset, d.ID)
			party.Role = open.openText("role", p.Role).Reveal()
			shown, is := unreadable(open.err)
			if open.err != nil && !is {
				return nil, open.err
			}
			party.Gone = shown == personal.Erased
		}
		r.Parties = append(r.Parties, party)
	}
	if !r.Gone {
		own := recordSealer(keys, d.Tenant, d.Subject, d.Dataset, d.ID)
		r.Key, r.Source = own.openText("key", d.Key), own.openText("source", d.Source)
		if _, is := unreadable(own.err); own.err != nil && !is {
			return nil, own.err
		}
	}
	for _, st := range d.Statements {
		open := recordSealer(keys, d.Tenant, st.About, d.Dataset, d.ID)
		said := record.Statement{Item: st.Item, FieldID: st.Field, About: st.About, At: st.At.UTC()}
		if !state.of(st.About, d.Dataset).Gone() {
			said.Text = open.openText("statement", st.Text)
		}
		if _, is := unreadable(open.err); open.err != nil && !is {
			return nil, open.err
		}
		r.Statements = append(r.Statements, said)
	}
	for i := range d.Fields {
		stored := &d.Fields[i]
		f := record.Field{FieldID: stored.Field, State: personal.Clear}
		if stored.About != "" {
			f.About = &stored.About
		}
		if state.of(d.about(stored), d.Dataset).Gone() {
			f.State = personal.Erased
		} else {
			open := recordSealer(keys, d.Tenant, d.about(stored), d.Dataset, d.ID)
			f.Value.Value = open.open(stored.Field, stored.Value)
			if shown, is := unreadable(open.err); is {
				f.State = shown
			} else if open.err != nil {
				return nil, open.err
			}
			if f.State == personal.Withheld {
				s.log.ErrorContext(ctx, "value can't be opened", "record", d.ID, "field", stored.Field, "err", open.err)
			}
		}
		f.Reason = reason(f.State)
		r.Fields[i] = f
	}
	return r, nil
}

// reason says why a value isn't shown.
func reason(s personal.State) *authz.Reason {
	var why authz.Reason
	switch s {
	case personal.Erased:
		why = authz.ReasonErased
	case personal.Withheld:
		why = authz.ReasonUnreadable
	default:
		return nil
	}
	return &why
}

// Get implements record.Store.
func (s *RecordStore) Get(ctx context.Context, recordID string) (*record.Record, error) {
	d, err := s.doc(ctx, recordID)
	if err != nil {
		return nil, err
	}
	state, err := s.states(ctx, []recordDoc{*d})
	if err != nil {
		return nil, err
	}
	if state.of(d.Subject, d.Dataset).Gone() {
		return nil, subject.ErrErased
	}
	read, err := s.open(ctx, []recordDoc{*d})
	if err != nil {
		return nil, err
	}
	return read[0], nil
}

func (s *RecordStore) doc(ctx context.Context, recordID string) (*recordDoc, error) {
	d, err := one[recordDoc](ctx, s.coll, "record", record.ErrNotFound, bson.E{Key: "_id", Value: recordID})
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// equal returns the equalities that a query asks for.
func equal(q record.Query) bson.D {
	filter := bson.D{}
	if q.Subject != "" {
		filter = append(filter, bson.E{Key: "subjects", Value: q.Subject})
	}
	if q.Dataset != "" {
		filter = append(filter, bson.E{Key: "dataset", Value: q.Dataset})
	}
	if len(q.Without) > 0 {
		filter = append(filter, bson.E{Key: "dataset", Value: bson.D{{Key: "$nin", Value: q.Without}}})
	}
	return filter
}

// List implements record.Store.
func (s *RecordStore) List(ctx context.Context, q record.Query, after *page.Position, limit int) ([]*record.Record, error) {
	if q.Subject != "" {
		state, err := s.states(ctx, []recordDoc{{Subjects: []string{q.Subject}}})
		if err != nil {
			return nil, err
		}
		if state.of(q.Subject, q.Dataset).Gone() {
			return nil, subject.ErrErased
		}
	}
	docs, err := keyset[recordDoc](ctx, s.coll, equal(q), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	return s.open(ctx, docs)
}

// Find implements record.Store.
func (s *RecordStore) Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*record.Record, error) {
	from := ""
	if after != nil {
		from = after.ID
	}
	ids, err := s.lookups.owners(ctx, q, from, limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	docs, err := s.byID(ctx, ids)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(docs, func(a, b recordDoc) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return s.open(ctx, docs)
}

// FindByKeys implements record.Store.
func (s *RecordStore) FindByKeys(ctx context.Context, keys []lookup.Key) ([]*record.Record, error) {
	owners, err := s.lookups.ownersOf(ctx, keys)
	if err != nil {
		return nil, err
	}
	var found []*record.Record
	if ids := present(owners); len(ids) > 0 {
		docs, err := s.byID(ctx, ids)
		if err != nil {
			return nil, err
		}
		if found, err = s.open(ctx, docs); err != nil {
			return nil, err
		}
	}
	return inOrder(owners, found, func(f *record.Record) string { return f.ID }), nil
}

func (s *RecordStore) byID(ctx context.Context, ids []string) ([]recordDoc, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[recordDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find records: %w", err)
	}
	return docs, nil
}

// Count implements record.Store.
func (s *RecordStore) Count(ctx context.Context, q record.Query, limit int) (int, error) {
	filter, err := scoped(ctx, equal(q)...)
	if err != nil {
		return 0, err
	}
	return count(ctx, s.coll, filter, limit)
}

// CountFound implements record.Store.
func (s *RecordStore) CountFound(ctx context.Context, q lookup.Search, limit int) (int, error) {
	return s.lookups.count(ctx, q, limit)
}

// Insert implements record.Store.
func (s *RecordStore) Insert(ctx context.Context, made ...record.New) ([][]byte, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var (
		owners  []vault.Owner
		docs    = make([]recordDoc, len(made))
		digests = make([][]byte, len(made))
		keys    = make([]owned, len(made))
	)
	for i, m := range made {
		for _, person := range m.Record.Subjects() {
			owners = append(owners, record.Unit(of, person, m.Record.DatasetID))
		}
		keys[i] = owned{m.Record.ID, m.Keys}
	}
	opened, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	for i, m := range made {
		if docs[i], digests[i], err = s.seal(opened, of, m.Record, nil); err != nil {
			return nil, err
		}
	}
	if taken, err := s.lookups.add(ctx, keys...); err != nil {
		return nil, err
	} else if taken != "" {
		return nil, record.ErrDuplicate
	}
	if err := s.writable(ctx, docs...); err != nil {
		return nil, err
	}
	if _, err := s.coll.InsertMany(ctx, docs); err != nil {
		return nil, fmt.Errorf("insert records: %w", translate(err))
	}
	return digests, s.dates.written(ctx, of, docs...)
}

// Update implements record.Store.
func (s *RecordStore) Update(ctx context.Context, r *record.Record, keys []lookup.Key) ([]byte, error) {
	before, err := s.doc(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if before.Version != r.Version-1 {
		return nil, change.ErrVersion
	}
	var owners []vault.Owner
	for _, person := range r.Subjects() {
		owners = append(owners, record.Unit(before.Tenant, person, r.DatasetID))
	}
	opened, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	// A key or source that couldn't be shown would be taken for removed.
	own := recordSealer(opened, before.Tenant, before.Subject, before.Dataset, before.ID)
	own.openText("key", before.Key)
	own.openText("source", before.Source)
	if _, is := unreadable(own.err); is {
		return nil, record.ErrUnreadable
	}
	doc, sum, err := s.seal(opened, before.Tenant, r, before)
	if err != nil {
		return nil, err
	}
	if err := s.writable(ctx, doc); err != nil {
		return nil, err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID}, bson.E{Key: "version", Value: before.Version})
	if err != nil {
		return nil, err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, doc)
	if err != nil {
		return nil, fmt.Errorf("update record %s: %w", r.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return nil, change.ErrVersion
	}
	if taken, err := s.lookups.replace(ctx, owned{r.ID, keys}); err != nil {
		return nil, err
	} else if taken != "" {
		return nil, record.ErrDuplicate
	}
	return sum, s.dates.written(ctx, before.Tenant, doc)
}

// Delete implements record.Store.
func (s *RecordStore) Delete(ctx context.Context, r *record.Record) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID}, bson.E{Key: "version", Value: r.Version})
	if err != nil {
		return err
	}
	res, err := s.coll.DeleteOne(ctx, filter)
	if err != nil {
		return fmt.Errorf("delete record %s: %w", r.ID, translate(err))
	}
	if res.DeletedCount == 0 {
		return change.ErrVersion
	}
	return s.lookups.remove(ctx, r.ID)
}
