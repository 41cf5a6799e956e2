package mongo

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ processing.Store = (*ProcessingStore)(nil)

// ProcessingStore keeps the record of processing. The contacts of parties, and
// with them the content of registers, are sealed under the tenant's contact key.
type ProcessingStore struct {
	parties, systems, activities, revisions, registers *mongo.Collection

	names *names
	vault *vault.Vault
}

// NewProcessingStore returns the store of the record in d.
func NewProcessingStore(d *DB, v *vault.Vault) *ProcessingStore {
	return &ProcessingStore{
		parties: d.db.Collection(partiesColl), systems: d.db.Collection(systemsColl), activities: d.db.Collection(activitiesColl),
		revisions: d.db.Collection(revisionsColl), registers: d.db.Collection(registersColl), names: newNames(d), vault: v,
	}
}

// sealer returns a sealer of the tenant's contacts in a document.
func (s *ProcessingStore) sealer(ctx context.Context, collection, record string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	owner := tenancy.Contact(of)
	keys, err := s.vault.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: collection, Record: record}}, nil
}

type organisationDoc struct {
	ID            string                  `bson:"_id"`
	Tenant        tenant.ID               `bson:"tenant"`
	LegalName     string                  `bson:"legalName"`
	Country       string                  `bson:"country"`
	Registration  *registrationDoc        `bson:"registration,omitempty"`
	International bool                    `bson:"international,omitempty"`
	Own           bool                    `bson:"own,omitempty"`
	Roles         []processing.PartyRole  `bson:"roles,omitempty"`
	Contact       *organisationContactDoc `bson:"contact,omitempty"`
	State         processing.PartyState   `bson:"state"`
	Version       int64                   `bson:"version"`
	CreatedAt     time.Time               `bson:"createdAt"`
	UpdatedAt     time.Time               `bson:"updatedAt"`
}

type organisationContactDoc struct {
	Name    sealed `bson:"name,omitempty"`
	Email   sealed `bson:"email,omitempty"`
	Phone   sealed `bson:"phone,omitempty"`
	Address sealed `bson:"address,omitempty"`
}

func (s *ProcessingStore) organisationDoc(ctx context.Context, p *processing.Party) (*organisationDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d := &organisationDoc{
		ID: p.ID, Tenant: of, LegalName: p.LegalName, Country: p.Country, Registration: (*registrationDoc)(p.Registration),
		International: p.International, Own: p.Own, Roles: p.Roles, State: p.State, Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
	if p.Contact == nil {
		return d, nil
	}
	seal, err := s.sealer(ctx, partiesColl, p.ID)
	if err != nil {
		return nil, err
	}
	d.Contact = &organisationContactDoc{
		Name: seal.text("contact.name", p.Contact.Name), Email: seal.text("contact.email", p.Contact.Email),
		Phone: seal.text("contact.phone", p.Contact.Phone), Address: seal.text("contact.address", p.Contact.Address),
	}
	return d, seal.err
}

func (s *ProcessingStore) party(ctx context.Context, d *organisationDoc) (*processing.Party, error) {
	p := &processing.Party{ID: d.ID, PartyFields: processing.PartyFields{
		LegalName: d.LegalName, Country: d.Country, Registration: (*tenancy.Registration)(d.Registration), International: d.International,
		Own: d.Own, Roles: d.Roles,
	}, State: d.State, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt}
	if d.Contact == nil {
		return p, nil
	}
	open, err := s.sealer(ctx, partiesColl, d.ID)
	if err != nil {
		return nil, err
	}
	p.Contact = &processing.Contact{
		Name: open.openText("contact.name", d.Contact.Name), Email: open.openText("contact.email", d.Contact.Email),
		Phone: open.openText("contact.phone", d.Contact.Phone), Address: open.openText("contact.address", d.Contact.Address),
	}
	if open.err != nil {
		return nil, fmt.Errorf("open contact of %s: %w", d.ID, open.err)
	}
	return p, nil
}

// Party implements processing.Store.
func (s *ProcessingStore) Party(ctx context.Context, partyID string) (*processing.Party, error) {
	d, err := one[organisationDoc](ctx, s.parties, "party", processing.ErrNoParty, bson.E{Key: "_id", Value: partyID})
	if err != nil {
		return nil, err
	}
	return s.party(ctx, &d)
}

// Parties implements processing.Store.
func (s *ProcessingStore) Parties(ctx context.Context, after *page.Position, limit int) ([]*processing.Party, error) {
	docs, err := keyset[organisationDoc](ctx, s.parties, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list parties: %w", err)
	}
	list := make([]*processing.Party, len(docs))
	for i := range docs {
		if list[i], err = s.party(ctx, &docs[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// InsertParty implements processing.Store.
func (s *ProcessingStore) InsertParty(ctx context.Context, p *processing.Party) error {
	d, err := s.organisationDoc(ctx, p)
	if err != nil {
		return err
	}
	if err := insert(ctx, s.parties, "party", d); err != nil {
		return err
	}
	return note(ctx, s.parties, p.ID)
}

func insert(ctx context.Context, c *mongo.Collection, what string, doc any) error {
	if _, err := c.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert %s: %w", what, translate(err))
	}
	return nil
}

// UpdateParty implements processing.Store.
func (s *ProcessingStore) UpdateParty(ctx context.Context, p *processing.Party) error {
	d, err := s.organisationDoc(ctx, p)
	if err != nil {
		return err
	}
	if err := replaceVersion(ctx, s.parties, p.ID, p.Version, d); err != nil {
		return err
	}
	return note(ctx, s.parties, p.ID)
}

type systemDoc struct {
	ID           string                `bson:"_id"`
	Tenant       tenant.ID             `bson:"tenant"`
	Name         wordsDoc              `bson:"name"`
	Kind         processing.SystemKind `bson:"kind"`
	Location     string                `bson:"location"`
	Owner        *string               `bson:"owner,omitempty"`
	SubProcessor *string               `bson:"subProcessor,omitempty"`
	State        processing.PartyState `bson:"state"`
	Version      int64                 `bson:"version"`
	CreatedAt    time.Time             `bson:"createdAt"`
	UpdatedAt    time.Time             `bson:"updatedAt"`
}

type wordsDoc struct {
	Da string `bson:"da,omitempty"`
	En string `bson:"en,omitempty"`
}

func newSystemDoc(ctx context.Context, y *processing.System) (*systemDoc, error) {
	of, err := tenant.FromContext(ctx)
	return &systemDoc{
		y.ID, of, wordsDoc(y.Name), y.Kind, y.Location, y.Owner, y.SubProcessor, y.State, y.Version, y.CreatedAt, y.UpdatedAt,
	}, err
}

func (d *systemDoc) system() *processing.System {
	return &processing.System{
		ID:           d.ID,
		SystemFields: processing.SystemFields{Name: processing.Words(d.Name), Kind: d.Kind, Location: d.Location, Owner: d.Owner, SubProcessor: d.SubProcessor},
		State:        d.State, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

// System implements processing.Store.
func (s *ProcessingStore) System(ctx context.Context, systemID string) (*processing.System, error) {
	d, err := one[systemDoc](ctx, s.systems, "system", processing.ErrNoSystem, bson.E{Key: "_id", Value: systemID})
	if err != nil {
		return nil, err
	}
	return d.system(), nil
}

// Systems implements processing.Store.
func (s *ProcessingStore) Systems(ctx context.Context, after *page.Position, limit int) ([]*processing.System, error) {
	docs, err := keyset[systemDoc](ctx, s.systems, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list systems: %w", err)
	}
	list := make([]*processing.System, len(docs))
	for i := range docs {
		list[i] = docs[i].system()
	}
	return list, nil
}

// CountSystems implements processing.Store.
func (s *ProcessingStore) CountSystems(ctx context.Context, limit int) (int, error) {
	return countOwn(ctx, s.systems, limit)
}

// countOwn counts the tenant's documents, up to a limit.
func countOwn(ctx context.Context, c *mongo.Collection, limit int) (int, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return 0, err
	}
	return count(ctx, c, filter, limit)
}

// InsertSystem implements processing.Store.
func (s *ProcessingStore) InsertSystem(ctx context.Context, y *processing.System) error {
	d, err := newSystemDoc(ctx, y)
	if err != nil {
		return err
	}
	return insert(ctx, s.systems, "system", d)
}

// UpdateSystem implements processing.Store.
func (s *ProcessingStore) UpdateSystem(ctx context.Context, y *processing.System) error {
	d, err := newSystemDoc(ctx, y)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.systems, y.ID, y.Version, d)
}

type activityDoc struct {
	ID             string           `bson:"_id"`
	Tenant         tenant.ID        `bson:"tenant"`
	Hat            processing.Hat   `bson:"hat"`
	State          processing.State `bson:"state"`
	LastReviewedOn string           `bson:"lastReviewedOn,omitempty"`
	NextReviewOn   string           `bson:"nextReviewOn,omitempty"`
	Draft          string           `bson:"draft,omitempty"`
	Spans          []spanDoc        `bson:"spans,omitempty"`
	Last           int64            `bson:"last"`
	Version        int64            `bson:"version"`
	CreatedAt      time.Time        `bson:"createdAt"`
	UpdatedAt      time.Time        `bson:"updatedAt"`
	RetiredAt      *time.Time       `bson:"retiredAt,omitempty"`
}

type spanDoc struct {
	Revision string    `bson:"revision"`
	From     time.Time `bson:"from"`
}

// storedDay is a day as it is stored, "" of none.
func storedDay(d *civil.Date) string {
	if d == nil {
		return ""
	}
	return d.String()
}

func readDay(s string) (*civil.Date, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no day is one of them
	}
	d, err := civil.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("read day: %w", err)
	}
	return &d, nil
}

func newActivityDoc(ctx context.Context, a *processing.Activity) (*activityDoc, error) {
	of, err := tenant.FromContext(ctx)
	d := &activityDoc{
		ID: a.ID, Tenant: of, Hat: a.Hat, State: a.State, LastReviewedOn: storedDay(a.LastReviewedOn), NextReviewOn: storedDay(a.NextReviewOn),
		Draft: a.DraftID, Last: a.Last, Version: a.Version, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, RetiredAt: a.RetiredAt,
	}
	for _, s := range a.Spans {
		d.Spans = append(d.Spans, spanDoc(s))
	}
	return d, err
}

func (d *activityDoc) activity() (*processing.Activity, error) {
	a := &processing.Activity{
		ID: d.ID, Hat: d.Hat, State: d.State, DraftID: d.Draft, Last: d.Last, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		RetiredAt: d.RetiredAt,
	}
	for _, s := range d.Spans {
		a.Spans = append(a.Spans, processing.Span(s))
	}
	var last, next error
	a.LastReviewedOn, last = readDay(d.LastReviewedOn)
	a.NextReviewOn, next = readDay(d.NextReviewOn)
	return a, errors.Join(last, next)
}

// Activity implements processing.Store.
func (s *ProcessingStore) Activity(ctx context.Context, activityID string) (*processing.Activity, error) {
	d, err := one[activityDoc](ctx, s.activities, "activity", processing.ErrNotFound, bson.E{Key: "_id", Value: activityID})
	if err != nil {
		return nil, err
	}
	return d.activity()
}

// Activities implements processing.Store.
func (s *ProcessingStore) Activities(ctx context.Context, f processing.Filter, after *page.Position, limit int) ([]*processing.Activity, error) {
	var equal bson.D
	if f.State != nil {
		equal = append(equal, bson.E{Key: "state", Value: *f.State})
	}
	if f.Hat != nil {
		equal = append(equal, bson.E{Key: "hat", Value: *f.Hat})
	}
	docs, err := keyset[activityDoc](ctx, s.activities, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list activities: %w", err)
	}
	list := make([]*processing.Activity, len(docs))
	for i := range docs {
		if list[i], err = docs[i].activity(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// CountActivities implements processing.Store.
func (s *ProcessingStore) CountActivities(ctx context.Context, limit int) (int, error) {
	return countOwn(ctx, s.activities, limit)
}

// InsertActivity implements processing.Store.
func (s *ProcessingStore) InsertActivity(ctx context.Context, a *processing.Activity) error {
	d, err := newActivityDoc(ctx, a)
	if err != nil {
		return err
	}
	return insert(ctx, s.activities, "activity", d)
}

// UpdateActivity implements processing.Store.
func (s *ProcessingStore) UpdateActivity(ctx context.Context, a *processing.Activity) error {
	d, err := newActivityDoc(ctx, a)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.activities, a.ID, a.Version, d)
}

// revisionDoc has the content, which nothing is looked for by, as JSON.
type revisionDoc struct {
	ID          string     `bson:"_id"`
	Tenant      tenant.ID  `bson:"tenant"`
	Activity    string     `bson:"activity"`
	Number      int64      `bson:"number"`
	Content     string     `bson:"content"`
	EditedBy    string     `bson:"editedBy"`
	EditedAt    time.Time  `bson:"editedAt"`
	ActivatedBy *string    `bson:"activatedBy,omitempty"`
	ActivatedAt *time.Time `bson:"activatedAt,omitempty"`
	ValidFrom   *time.Time `bson:"validFrom"` // null of a draft
	CreatedAt   time.Time  `bson:"createdAt"`
}

func newRevisionDoc(ctx context.Context, r *processing.Revision) (*revisionDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(r.Content)
	if err != nil {
		return nil, fmt.Errorf("encode revision %s: %w", r.ID, err)
	}
	return &revisionDoc{
		r.ID, of, r.Activity, r.Number, string(content), r.EditedBy, r.EditedAt, r.ActivatedBy, r.ActivatedAt, r.ValidFrom, r.CreatedAt,
	}, nil
}

func revisionsOf(docs []revisionDoc) ([]*processing.Revision, error) {
	list := make([]*processing.Revision, len(docs))
	for i := range docs {
		d := &docs[i]
		list[i] = &processing.Revision{
			ID: d.ID, Activity: d.Activity, Number: d.Number, EditedBy: d.EditedBy, EditedAt: d.EditedAt, ActivatedBy: d.ActivatedBy,
			ActivatedAt: d.ActivatedAt, ValidFrom: d.ValidFrom, CreatedAt: d.CreatedAt,
		}
		if err := json.Unmarshal([]byte(d.Content), &list[i].Content); err != nil {
			return nil, fmt.Errorf("decode revision %s: %w", d.ID, err)
		}
	}
	return list, nil
}

// Revisions implements processing.Store.
func (s *ProcessingStore) Revisions(ctx context.Context, ids []string) ([]*processing.Revision, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[revisionDoc](ctx, s.revisions, filter)
	if err != nil {
		return nil, fmt.Errorf("find revisions: %w", err)
	}
	return revisionsOf(docs)
}

// RevisionsOf implements processing.Store.
func (s *ProcessingStore) RevisionsOf(ctx context.Context, activityID string, after *page.Position, limit int) ([]*processing.Revision, error) {
	docs, err := keyset[revisionDoc](ctx, s.revisions, bson.D{{Key: "activity", Value: activityID}}, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	return revisionsOf(docs)
}

// InsertRevision implements processing.Store.
func (s *ProcessingStore) InsertRevision(ctx context.Context, r *processing.Revision) error {
	d, err := newRevisionDoc(ctx, r)
	if err != nil {
		return err
	}
	return insert(ctx, s.revisions, "revision", d)
}

// UpdateRevision implements processing.Store.
func (s *ProcessingStore) UpdateRevision(ctx context.Context, r *processing.Revision) error {
	d, err := newRevisionDoc(ctx, r)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID}, bson.E{Key: "validFrom", Value: nil})
	if err != nil {
		return err
	}
	res, err := s.revisions.ReplaceOne(ctx, filter, d)
	if err != nil {
		return fmt.Errorf("update revision %s: %w", r.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

type registerDoc struct {
	ID          string                   `bson:"_id"`
	Tenant      tenant.ID                `bson:"tenant"`
	State       processing.RegisterState `bson:"state"`
	Remark      wordsDoc                 `bson:"remark"`
	Activities  int                      `bson:"activities"`
	Hash        string                   `bson:"hash"`
	Content     sealed                   `bson:"content,omitempty"` // compressed; left out where it isn't asked for
	PreparedBy  string                   `bson:"preparedBy"`
	CreatedAt   time.Time                `bson:"createdAt"`
	Number      *int64                   `bson:"number,omitempty"`
	PublishedBy *string                  `bson:"publishedBy,omitempty"`
	PublishedAt *time.Time               `bson:"publishedAt,omitempty"`
	Previous    *string                  `bson:"previous,omitempty"`
	Statement   *string                  `bson:"statement,omitempty"`
}

func (d *registerDoc) register() *processing.Register {
	return &processing.Register{
		ID: d.ID, State: d.State, Remark: processing.Words(d.Remark), Activities: d.Activities, Hash: d.Hash, PreparedBy: d.PreparedBy, PreparedAt: d.CreatedAt,
		Number: d.Number, PublishedBy: d.PublishedBy, PublishedAt: d.PublishedAt, Previous: d.Previous, Statement: d.Statement,
	}
}

// withoutContent leaves the content of registers where it is.
func withoutContent() bson.D { return bson.D{{Key: "content", Value: 0}} }

func (s *ProcessingStore) registersBy(ctx context.Context, filter bson.D, opts ...options.Lister[options.FindOptions]) ([]*processing.Register, error) {
	docs, err := all[registerDoc](ctx, s.registers, filter, append(opts, options.Find().SetProjection(withoutContent()))...)
	if err != nil {
		return nil, fmt.Errorf("find registers: %w", err)
	}
	list := make([]*processing.Register, len(docs))
	for i := range docs {
		list[i] = docs[i].register()
	}
	return list, nil
}

// Register implements processing.Store.
func (s *ProcessingStore) Register(ctx context.Context, registerID string) (*processing.Register, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: registerID})
	if err != nil {
		return nil, err
	}
	found, err := s.registersBy(ctx, filter)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, processing.ErrNoRegister
	}
	return found[0], nil
}

// Registers implements processing.Store.
func (s *ProcessingStore) Registers(ctx context.Context, after *page.Position, limit int) ([]*processing.Register, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	return s.registersBy(ctx, behind(filter, after), newest(limit))
}

// Published implements processing.Store.
func (s *ProcessingStore) Published(ctx context.Context, at time.Time) (*processing.Register, error) {
	filter, err := scoped(ctx,
		bson.E{Key: "state", Value: processing.Published}, bson.E{Key: "publishedAt", Value: bson.D{{Key: "$lte", Value: at}}})
	if err != nil {
		return nil, err
	}
	found, err := s.registersBy(ctx, filter, options.Find().SetSort(bson.D{{Key: "publishedAt", Value: -1}}).SetLimit(1))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

const registerContent = "content"

// Content implements processing.Store.
func (s *ProcessingStore) Content(ctx context.Context, registerID string) ([]byte, error) {
	d, err := one[registerDoc](ctx, s.registers, "register", processing.ErrNoRegister, bson.E{Key: "_id", Value: registerID})
	if err != nil {
		return nil, err
	}
	open, err := s.sealer(ctx, registersColl, registerID)
	if err != nil {
		return nil, err
	}
	packed, ok := open.open(registerContent, d.Content).RevealBytes()
	if open.err != nil || !ok {
		return nil, fmt.Errorf("open content of %s: %w", registerID, errors.Join(open.err, errNoContent))
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("decompress content of %s: %w", registerID, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, processing.MaxContent))
	if err != nil {
		return nil, fmt.Errorf("decompress content of %s: %w", registerID, err)
	}
	return b, nil
}

var errNoContent = errors.New("no content that can be read")

// maxPacked bounds the content as it is stored: a document has at most 16 MiB.
const maxPacked = 12 << 20

// InsertRegister implements processing.Store.
func (s *ProcessingStore) InsertRegister(ctx context.Context, r *processing.Register, content []byte) error {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: processing.Prepared})
	if err != nil {
		return err
	}
	if _, err := s.registers.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("replace prepared register: %w", translate(err))
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("compress register: %w", err)
	}
	if packed.Len() > maxPacked {
		return processing.ErrTooLarge
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	seal, err := s.sealer(ctx, registersColl, r.ID)
	if err != nil {
		return err
	}
	d := registerDoc{
		ID: r.ID, Tenant: of, State: r.State, Remark: wordsDoc(r.Remark), Activities: r.Activities, Hash: r.Hash,
		Content: seal.seal(registerContent, personal.Bytes(packed.Bytes())), PreparedBy: r.PreparedBy, CreatedAt: r.PreparedAt,
	}
	if seal.err != nil {
		return fmt.Errorf("seal register: %w", seal.err)
	}
	return insert(ctx, s.registers, "register", d)
}

// PublishRegister implements processing.Store.
func (s *ProcessingStore) PublishRegister(ctx context.Context, r *processing.Register) error {
	taken, err := s.names.claim(ctx, "register", strconv.FormatInt(*r.Number, 10), r.ID)
	if err != nil {
		return err
	}
	if taken {
		return processing.ErrMoved
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID}, bson.E{Key: "state", Value: processing.Prepared})
	if err != nil {
		return err
	}
	res, err := s.registers.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: bson.D{
		{Key: "state", Value: r.State},
		{Key: "number", Value: r.Number},
		{Key: "publishedBy", Value: r.PublishedBy},
		{Key: "publishedAt", Value: r.PublishedAt},
		{Key: "previous", Value: r.Previous},
		{Key: "statement", Value: r.Statement},
	}}})
	if err != nil {
		return fmt.Errorf("publish register %s: %w", r.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return processing.ErrMoved
	}
	return nil
}
