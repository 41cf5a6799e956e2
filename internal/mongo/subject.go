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

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ subject.Store = (*SubjectStore)(nil)

// SubjectStore keeps subjects.
type SubjectStore struct {
	coll    *mongo.Collection
	lookups *lookups
	dates   *retentionDates
	vault   *vault.Vault
	log     *slog.Logger
}

// NewSubjectStore returns the store of subjects in d.
func NewSubjectStore(d *DB, v *vault.Vault, log *slog.Logger) *SubjectStore {
	return &SubjectStore{
		coll:    d.db.Collection(subjectsColl),
		lookups: newLookups(d, v),
		dates:   newRetentionDates(d),
		vault:   v, log: log,
	}
}

type subjectDoc struct {
	ID        string        `bson:"_id"`
	Tenant    tenant.ID     `bson:"tenant"`
	State     subject.State `bson:"state"`
	Guard     int64         `bson:"guard"`
	Version   int64         `bson:"version"`
	Identity  identityDoc   `bson:"identity"`
	CreatedAt time.Time     `bson:"createdAt"`
	UpdatedAt time.Time     `bson:"updatedAt"`

	ErasedUnits []vault.Unit `bson:"erasedUnits,omitempty"` // on their own; nothing of them is read or written
	// Spared are datasets that outlive the person, kept in secret by law; Remains is who
	// the person was, for the sake of each, sealed under its key.
	Spared  []vault.Unit      `bson:"spared,omitempty"`
	Remains map[string]sealed `bson:"remains,omitempty"`
}

type identityDoc struct {
	Reference   sealed `bson:"reference,omitempty"`
	Name        sealed `bson:"name,omitempty"`
	BirthDate   sealed `bson:"birthDate,omitempty"`
	Emails      sealed `bson:"emails,omitempty"`
	Phones      sealed `bson:"phones,omitempty"`
	NationalIDs sealed `bson:"nationalIds,omitempty"`
	Relations   sealed `bson:"relations,omitempty"`
}

// The JSON forms of what is sealed as a whole.
type (
	nameJSON struct {
		Full   string `json:"full"`
		Given  string `json:"given,omitempty"`
		Family string `json:"family,omitempty"`
	}
	nationalIDJSON struct {
		Country string `json:"country"`
		Number  string `json:"number"`
	}
	relationJSON struct {
		ID        string               `json:"id"`
		Kind      subject.RelationKind `json:"kind"`
		StartedOn civil.Date           `json:"startedOn"`
		EndedOn   *civil.Date          `json:"endedOn,omitempty"`
	}
)

func (s *SubjectStore) sealer(keys *vault.Keys, of tenant.ID, id string) *sealer {
	return &sealer{keys: keys, owner: subject.Identity(of, id), place: vault.Place{Collection: subjectsColl, Record: id}}
}

func (s *SubjectStore) seal(keys *vault.Keys, of tenant.ID, sub *subject.Subject) (subjectDoc, []byte, error) {
	seal := s.sealer(keys, of, sub.ID)
	doc := subjectDoc{
		ID: sub.ID, Tenant: of, State: sub.State, Version: sub.Version, CreatedAt: sub.CreatedAt, UpdatedAt: sub.UpdatedAt,
	}
	var name nameJSON
	if n := sub.Name; n != nil {
		name = nameJSON{n.Full.Reveal(), n.Given.Reveal(), n.Family.Reveal()}
	}
	national := make([]nationalIDJSON, len(sub.NationalIDs))
	for i, n := range sub.NationalIDs {
		national[i] = nationalIDJSON{n.Country, n.Number.Reveal()}
	}
	relations := make([]relationJSON, len(sub.Relations))
	for i, r := range sub.Relations {
		relations[i] = relationJSON(r)
	}
	doc.Identity = identityDoc{
		Reference:   seal.text("reference", sub.Reference),
		Name:        seal.json("name", name, sub.Name == nil),
		BirthDate:   seal.text("birthDate", sub.BirthDate),
		Emails:      seal.json("emails", reveal(sub.Emails), len(sub.Emails) == 0),
		Phones:      seal.json("phones", reveal(sub.Phones), len(sub.Phones) == 0),
		NationalIDs: seal.json("nationalIds", national, len(national) == 0),
		Relations:   seal.json("relations", relations, len(relations) == 0),
	}
	if seal.err != nil {
		return doc, nil, fmt.Errorf("seal subject %s: %w", sub.ID, seal.err)
	}
	sum, err := doc.digest()
	return doc, sum, err
}

// digest returns the SHA-256 of what is stored of the person: not of the state,
// which is moved by itself.
func (d *subjectDoc) digest() ([]byte, error) {
	return digest(bson.D{
		{Key: "_id", Value: d.ID}, {Key: "tenant", Value: d.Tenant}, {Key: "version", Value: d.Version}, {Key: "identity", Value: d.Identity},
	})
}

func reveal(texts []personal.Text) []string {
	plain := make([]string, len(texts))
	for i, t := range texts {
		plain[i] = t.Reveal()
	}
	return plain
}

func texts(plain []string) []personal.Text {
	t := make([]personal.Text, len(plain))
	for i, p := range plain {
		t[i] = personal.NewText(p)
	}
	return t
}

func (s *SubjectStore) open(ctx context.Context, docs []subjectDoc) ([]*subject.Subject, error) {
	owners := make([]vault.Owner, 0, len(docs))
	for _, d := range docs {
		if !d.State.Gone() {
			owners = append(owners, subject.Identity(d.Tenant, d.ID))
		}
	}
	keys, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	subjects := make([]*subject.Subject, len(docs))
	for i, d := range docs {
		if subjects[i], err = s.openOne(ctx, keys, &d); err != nil {
			return nil, fmt.Errorf("open subject %s: %w", d.ID, err)
		}
	}
	return subjects, nil
}

func (s *SubjectStore) openOne(ctx context.Context, keys *vault.Keys, d *subjectDoc) (*subject.Subject, error) {
	bare := subject.Subject{
		ID: d.ID, State: d.State, Identity: personal.Erased, IdentityReason: reason(personal.Erased), Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if d.State.Gone() {
		for _, u := range d.Spared {
			if !slices.Contains(d.ErasedUnits, u) {
				bare.Spared = append(bare.Spared, string(u))
			}
		}
		return &bare, nil
	}
	sub, open := bare, s.sealer(keys, d.Tenant, d.ID)
	sub.Identity, sub.IdentityReason = personal.Clear, nil
	sub.Reference = open.openText("reference", d.Identity.Reference)
	sub.BirthDate = open.openText("birthDate", d.Identity.BirthDate)
	if d.Identity.Name != nil {
		var n nameJSON
		open.openJSON("name", d.Identity.Name, &n)
		sub.Name = &subject.Name{
			Full: personal.NewText(n.Full), Given: personal.NewText(n.Given), Family: personal.NewText(n.Family),
		}
	}
	var emails, phones []string
	var national []nationalIDJSON
	var relations []relationJSON
	open.openJSON("emails", d.Identity.Emails, &emails)
	open.openJSON("phones", d.Identity.Phones, &phones)
	open.openJSON("nationalIds", d.Identity.NationalIDs, &national)
	open.openJSON("relations", d.Identity.Relations, &relations)
	for _, r := range relations {
		sub.Relations = append(sub.Relations, subject.Relation(r))
	}
	sub.Emails, sub.Phones = texts(emails), texts(phones)
	for _, n := range national {
		sub.NationalIDs = append(sub.NationalIDs, subject.NationalID{Country: n.Country, Number: personal.NewText(n.Number)})
	}
	if state, is := unreadable(open.err); is {
		if state == personal.Withheld {
			s.log.ErrorContext(ctx, "identity can't be opened", "subject", d.ID, "err", open.err)
		}
		bare.Identity, bare.IdentityReason = state, reason(state)
		return &bare, nil
	}
	return &sub, open.err
}

// GetMany implements subject.Store.
func (s *SubjectStore) GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[subjectDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find subjects: %w", err)
	}
	return s.open(ctx, docs)
}

// List implements subject.Store.
func (s *SubjectStore) List(ctx context.Context, after *page.Position, limit int) ([]*subject.Subject, error) {
	docs, err := keyset[subjectDoc](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list subjects: %w", err)
	}
	return s.open(ctx, docs)
}

// Find implements subject.Store.
func (s *SubjectStore) Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*subject.Subject, error) {
	from := ""
	if after != nil {
		from = after.ID
	}
	ids, err := s.lookups.owners(ctx, q, from, limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	found, err := s.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *subject.Subject) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	return found, nil
}

// FindByKeys implements subject.Store.
func (s *SubjectStore) FindByKeys(ctx context.Context, keys []lookup.Key) ([]*subject.Subject, error) {
	owners, err := s.lookups.ownersOf(ctx, keys)
	if err != nil {
		return nil, err
	}
	var found []*subject.Subject
	if ids := present(owners); len(ids) > 0 {
		if found, err = s.GetMany(ctx, ids); err != nil {
			return nil, err
		}
	}
	return inOrder(owners, found, func(f *subject.Subject) string { return f.ID }), nil
}

// Count implements subject.Store.
func (s *SubjectStore) Count(ctx context.Context, limit int) (int, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return 0, err
	}
	return count(ctx, s.coll, filter, limit)
}

// CountFound implements subject.Store.
func (s *SubjectStore) CountFound(ctx context.Context, q lookup.Search, limit int) (int, error) {
	return s.lookups.count(ctx, q, limit)
}

// Insert implements subject.Store.
func (s *SubjectStore) Insert(ctx context.Context, made ...subject.New) ([][]byte, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var (
		owners  = make([]vault.Owner, len(made))
		docs    = make([]subjectDoc, len(made))
		digests = make([][]byte, len(made))
		keys    = make([]owned, len(made))
	)
	for i, m := range made {
		owners[i] = subject.Identity(of, m.Subject.ID)
		keys[i] = owned{m.Subject.ID, m.Keys}
	}
	opened, err := s.vault.Load(ctx, owners...)
	if err != nil {
		return nil, err
	}
	for i, m := range made {
		if docs[i], digests[i], err = s.seal(opened, of, m.Subject); err != nil {
			return nil, err
		}
	}
	if taken, err := s.lookups.add(ctx, keys...); err != nil {
		return nil, err
	} else if taken != "" {
		return nil, subject.ErrDuplicate.At(string(taken))
	}
	if _, err := s.coll.InsertMany(ctx, docs); err != nil {
		return nil, fmt.Errorf("insert subjects: %w", translate(err))
	}
	return digests, s.dates.persons(ctx, of, made)
}

// Update implements subject.Store.
func (s *SubjectStore) Update(ctx context.Context, sub *subject.Subject, keys []lookup.Key) ([]byte, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	opened, err := s.vault.Load(ctx, subject.Identity(of, sub.ID))
	if err != nil {
		return nil, err
	}
	doc, sum, err := s.seal(opened, of, sub)
	if err != nil {
		return nil, err
	}
	res, err := s.coll.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: sub.ID}, {Key: "tenant", Value: of}, {Key: "version", Value: sub.Version - 1}},
		bson.D{{Key: "$set", Value: bson.D{
			{Key: "version", Value: doc.Version},
			{Key: "identity", Value: doc.Identity},
			{Key: "updatedAt", Value: doc.UpdatedAt},
		}}})
	if err != nil {
		return nil, fmt.Errorf("update subject %s: %w", sub.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return nil, change.ErrVersion
	}
	if taken, err := s.lookups.replace(ctx, owned{sub.ID, keys}); err != nil {
		return nil, err
	} else if taken != "" {
		return nil, subject.ErrDuplicate.At(string(taken))
	}
	return sum, s.dates.relate(ctx, of, sub)
}

// Guard implements subject.Store.
func (s *SubjectStore) Guard(ctx context.Context, ids ...string) error {
	return s.guard(ctx, bson.A{subject.Active}, ids)
}

// GuardStored is Guard for what may be written of persons whose processing is
// restricted, too, as their own withdrawal of consent may.
func (s *SubjectStore) GuardStored(ctx context.Context, ids ...string) error {
	return s.guard(ctx, bson.A{subject.Active, subject.Restricted}, ids)
}

func (s *SubjectStore) guard(ctx context.Context, states bson.A, ids []string) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	in := bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}
	filter, err := scoped(ctx, in, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: states}}})
	if err != nil {
		return err
	}
	res, err := s.coll.UpdateMany(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("guard subjects: %w", translate(err))
	}
	if res.MatchedCount == int64(len(ids)) {
		return nil
	}
	filter, err = scoped(ctx, in)
	if err != nil {
		return err
	}
	docs, err := all[subjectDoc](ctx, s.coll, filter, options.Find().SetProjection(bson.D{{Key: "state", Value: 1}}))
	if err != nil {
		return fmt.Errorf("find subjects: %w", err)
	}
	for _, d := range docs {
		switch {
		case d.State.Gone():
			return subject.ErrErased
		case d.State == subject.Restricted:
			return subject.ErrRestricted
		}
	}
	return subject.ErrNotFound
}

// keyset returns up to limit documents that match, after a position in the order
// of creation and id, both descending. Equal are the filter's equalities, which
// with the tenant are the beginning of an index.
func keyset[T any](ctx context.Context, c *mongo.Collection, equal bson.D, after *page.Position, limit int) ([]T, error) {
	filter, err := scoped(ctx, equal...)
	if err != nil {
		return nil, err
	}
	return all[T](ctx, c, behind(filter, after), newest(limit))
}

// behind returns a filter with the bound of a position in the order of creation
// and id, both descending.
func behind(filter bson.D, after *page.Position) bson.D {
	if after == nil {
		return filter
	}
	return append(filter,
		bson.E{Key: "createdAt", Value: bson.D{{Key: "$lte", Value: after.CreatedAt}}},
		bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "createdAt", Value: bson.D{{Key: "$lt", Value: after.CreatedAt}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: "$lt", Value: after.ID}}}},
		}})
}

// newest asks for up to limit documents in that order.
func newest(limit int) options.Lister[options.FindOptions] {
	return options.Find().SetSort(bson.D{{Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(int64(limit))
}
