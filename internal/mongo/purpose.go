package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/tenant"
)

var (
	_ purpose.Purposes = (*PurposeStore)(nil)
	_ purpose.Notices  = (*NoticeStore)(nil)
)

// editions keeps the versions of purposes or of notices: T, stored as D.
type editions[T any, D any] struct {
	coll    *mongo.Collection
	names   *names
	what    string
	missing error
	read    func(d *D) *T
	write   func(of tenant.ID, v *T) D
	edition func(v *T) *purpose.Edition
}

// editionDoc is the part of both that tells which version it is.
type editionDoc struct {
	ID            string        `bson:"_id"`
	Tenant        tenant.ID     `bson:"tenant"`
	Key           string        `bson:"key"`
	Version       int64         `bson:"version"`
	Material      bool          `bson:"material"`
	Reason        *string       `bson:"reason,omitempty"`
	MaterialSince int64         `bson:"materialSince"`
	State         purpose.State `bson:"state"`
	Edit          int64         `bson:"edit"`
	CreatedAt     time.Time     `bson:"createdAt"`
	UpdatedAt     time.Time     `bson:"updatedAt"`
	PublishedAt   *time.Time    `bson:"publishedAt,omitempty"`
	EndedAt       *time.Time    `bson:"endedAt,omitempty"`
}

func newEditionDoc(of tenant.ID, e *purpose.Edition) editionDoc {
	return editionDoc{
		e.ID, of, e.Key, e.Version, e.Material, e.Reason, e.MaterialSince, e.State, e.Edit, e.CreatedAt, e.UpdatedAt, e.PublishedAt, e.EndedAt,
	}
}

func (d *editionDoc) edition() purpose.Edition {
	return purpose.Edition{
		ID: d.ID, Key: d.Key, Version: d.Version, Material: d.Material, Reason: d.Reason, MaterialSince: d.MaterialSince,
		State: d.State, Edit: d.Edit, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, PublishedAt: d.PublishedAt, EndedAt: d.EndedAt,
	}
}

func (s *editions[T, D]) all(docs []D) []*T {
	list := make([]*T, len(docs))
	for i := range docs {
		list[i] = s.read(&docs[i])
	}
	return list
}

// Get implements purpose.Store.
func (s *editions[T, D]) Get(ctx context.Context, versionID string) (*T, error) {
	d, err := one[D](ctx, s.coll, s.what, s.missing, bson.E{Key: "_id", Value: versionID})
	if err != nil {
		return nil, err
	}
	return s.read(&d), nil
}

// GetMany implements purpose.Store.
func (s *editions[T, D]) GetMany(ctx context.Context, ids []string) ([]*T, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[D](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("find %ss: %w", s.what, err)
	}
	return s.all(docs), nil
}

// List implements purpose.Store.
func (s *editions[T, D]) List(ctx context.Context, after *page.Position, limit int) ([]*T, error) {
	docs, err := keyset[D](ctx, s.coll, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", s.what, err)
	}
	return s.all(docs), nil
}

// Latest implements purpose.Store.
func (s *editions[T, D]) Latest(ctx context.Context, key string, published bool) (*T, error) {
	filter, err := scoped(ctx, bson.E{Key: "key", Value: key})
	if err != nil {
		return nil, err
	}
	if published {
		filter = append(filter, bson.E{Key: "publishedAt", Value: bson.D{{Key: "$exists", Value: true}}})
	}
	docs, err := all[D](ctx, s.coll, filter, options.Find().SetSort(bson.D{{Key: "version", Value: -1}}).SetLimit(1))
	if err != nil {
		return nil, fmt.Errorf("find latest %s: %w", s.what, err)
	}
	if len(docs) == 0 {
		return nil, nil //nolint:nilnil // as purpose.Store says
	}
	return s.read(&docs[0]), nil
}

// Keys implements purpose.Store.
func (s *editions[T, D]) Keys(ctx context.Context) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "version", Value: 1})
	if err != nil {
		return 0, err
	}
	docs, err := all[struct{}](ctx, s.coll, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}).SetLimit(purpose.MaxKeys))
	if err != nil {
		return 0, fmt.Errorf("count %ss: %w", s.what, err)
	}
	return len(docs), nil
}

// Insert implements purpose.Store.
func (s *editions[T, D]) Insert(ctx context.Context, v *T) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	e := s.edition(v)
	taken, err := s.names.claim(ctx, s.what, fmt.Sprintf("%s/%d", e.Key, e.Version), e.ID)
	if err != nil {
		return err
	}
	if taken {
		return purpose.ErrKeyTaken
	}
	if _, err := s.coll.InsertOne(ctx, s.write(of, v)); err != nil {
		return fmt.Errorf("insert %s: %w", s.what, translate(err))
	}
	return nil
}

// Update implements purpose.Store.
func (s *editions[T, D]) Update(ctx context.Context, v *T) error {
	e := s.edition(v)
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: e.ID}, bson.E{Key: "edit", Value: e.Edit - 1})
	if err != nil {
		return err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	res, err := s.coll.ReplaceOne(ctx, filter, s.write(of, v))
	if err != nil {
		return fmt.Errorf("update %s %s: %w", s.what, e.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return purpose.ErrEdited
	}
	return nil
}

// PurposeStore keeps purposes.
type PurposeStore struct {
	editions[purpose.Purpose, purposeDoc]
}

// NewPurposeStore returns the store of purposes in d.
func NewPurposeStore(d *DB) *PurposeStore {
	return &PurposeStore{editions[purpose.Purpose, purposeDoc]{
		d.db.Collection(purposesColl), newNames(d), "purpose", purpose.ErrNotFound, (*purposeDoc).purpose, newPurposeDoc,
		func(p *purpose.Purpose) *purpose.Edition { return &p.Edition },
	}}
}

type purposeDoc struct {
	Edition           editionDoc       `bson:",inline"`
	Vocabulary        string           `bson:"vocabulary"`
	Term              string           `bson:"term"`
	Texts             []purposeTextDoc `bson:"texts"`
	LegalBasis        string           `bson:"legalBasis"`
	Art9Basis         *string          `bson:"art9Basis,omitempty"`
	Data              []purposeDataDoc `bson:"data"`
	ValidityMonths    int              `bson:"validityMonths"`
	CoolDownMonths    int              `bson:"coolDownMonths"`
	OfferedToChildren bool             `bson:"offeredToChildren"`
	Marketing         bool             `bson:"marketing"`
	Optional          bool             `bson:"optional"`
}

type purposeTextDoc struct {
	Language    string `bson:"language"`
	Name        string `bson:"name"`
	Description string `bson:"description"`
}

type purposeDataDoc struct {
	Term     string        `bson:"term"`
	Class    dataset.Class `bson:"class"`
	Optional bool          `bson:"optional"`
}

func newPurposeDoc(of tenant.ID, p *purpose.Purpose) purposeDoc {
	d := purposeDoc{
		newEditionDoc(of, &p.Edition), p.VocabularyVersion, p.Term, make([]purposeTextDoc, len(p.Texts)), p.LegalBasis, p.Art9Basis,
		make([]purposeDataDoc, len(p.Data)), p.ValidityMonths, p.CoolDownMonths, p.OfferedToChildren, p.Marketing, p.Optional,
	}
	for i, t := range p.Texts {
		d.Texts[i] = purposeTextDoc(t)
	}
	for i, x := range p.Data {
		d.Data[i] = purposeDataDoc(x)
	}
	return d
}

func (d *purposeDoc) purpose() *purpose.Purpose {
	p := &purpose.Purpose{
		Edition: d.Edition.edition(), VocabularyVersion: d.Vocabulary, Term: d.Term, Texts: make([]purpose.Text, len(d.Texts)),
		LegalBasis: d.LegalBasis, Art9Basis: d.Art9Basis, Data: make([]purpose.Data, len(d.Data)), ValidityMonths: d.ValidityMonths,
		CoolDownMonths: d.CoolDownMonths, OfferedToChildren: d.OfferedToChildren, Marketing: d.Marketing, Optional: d.Optional,
	}
	for i, t := range d.Texts {
		p.Texts[i] = purpose.Text(t)
	}
	for i, x := range d.Data {
		p.Data[i] = purpose.Data(x)
	}
	return p
}

// Current implements purpose.Purposes.
func (s *PurposeStore) Current(ctx context.Context) ([]*purpose.Purpose, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: []purpose.State{purpose.Published, purpose.Retired}}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[purposeDoc](ctx, s.coll, filter)
	if err != nil {
		return nil, fmt.Errorf("list current purposes: %w", err)
	}
	latest := map[string]*purpose.Purpose{}
	for i := range docs {
		e := &docs[i].Edition
		if have := latest[e.Key]; e.PublishedAt != nil && (have == nil || have.Version < e.Version) {
			latest[e.Key] = docs[i].purpose()
		}
	}
	current := make([]*purpose.Purpose, 0, len(latest))
	for _, p := range latest {
		current = append(current, p)
	}
	return current, nil
}

// NoticeStore keeps notices.
type NoticeStore struct {
	editions[purpose.Notice, noticeDoc]
}

// NewNoticeStore returns the store of notices in d.
func NewNoticeStore(d *DB) *NoticeStore {
	return &NoticeStore{editions[purpose.Notice, noticeDoc]{
		d.db.Collection(noticesColl), newNames(d), "notice", purpose.ErrNoNotice, (*noticeDoc).notice, newNoticeDoc,
		func(n *purpose.Notice) *purpose.Edition { return &n.Edition },
	}}
}

// Naming implements purpose.Notices.
func (s *NoticeStore) Naming(ctx context.Context, keys []string) ([]purpose.Ref, error) {
	filter, err := scoped(ctx, bson.E{Key: "purposes.key", Value: bson.D{{Key: "$in", Value: keys}}}, bson.E{Key: "state", Value: purpose.Published})
	if err != nil {
		return nil, err
	}
	docs, err := all[noticeDoc](ctx, s.coll, filter, options.Find().SetProjection(bson.D{{Key: "purposes", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find notices that name purposes: %w", err)
	}
	var named []purpose.Ref
	for _, d := range docs {
		for _, r := range d.Purposes {
			named = append(named, purpose.Ref(r))
		}
	}
	return named, nil
}

type noticeDoc struct {
	Edition                editionDoc       `bson:",inline"`
	Purposes               []purposeRefDoc  `bson:"purposes"`
	Texts                  []noticeTextDoc  `bson:"texts"`
	Vocabulary             string           `bson:"vocabulary"`
	Controllers            []noticePartyDoc `bson:"controllers"`
	Recipients             []noticePartyDoc `bson:"recipients"`
	Authority              *noticePartyDoc  `bson:"authority,omitempty"`
	StorageLocations       []string         `bson:"storageLocations"`
	ProcessingLocations    []string         `bson:"processingLocations"`
	GeographicRestrictions []string         `bson:"geographicRestrictions"`
	Jurisdiction           string           `bson:"jurisdiction"`
	Rights                 []string         `bson:"rights"`
	Operations             []string         `bson:"operations"`
	Service                *string          `bson:"service,omitempty"`
	CodesOfConduct         *string          `bson:"codesOfConduct,omitempty"`
	ImpactAssessment       *string          `bson:"impactAssessment,omitempty"`
}

type purposeRefDoc struct {
	ID      string `bson:"id"`
	Key     string `bson:"key"`
	Version int64  `bson:"version"`
}

type noticeTextDoc struct {
	Language    string `bson:"language"`
	Title       string `bson:"title"`
	Body        string `bson:"body"`
	Collection  string `bson:"collection"`
	Withdrawal  string `bson:"withdrawal"`
	Retention   string `bson:"retention"`
	ContentHash string `bson:"contentHash"`
}

type noticePartyDoc struct {
	ID      string            `bson:"id"`
	Type    purpose.PartyType `bson:"type"`
	Role    string            `bson:"role"`
	Name    string            `bson:"name"`
	Address string            `bson:"address"`
	Country string            `bson:"country"`
	Contact string            `bson:"contact"`
	Email   *string           `bson:"email,omitempty"`
	Phone   *string           `bson:"phone,omitempty"`
	URL     *string           `bson:"url,omitempty"`
}

func newNoticeDoc(of tenant.ID, n *purpose.Notice) noticeDoc {
	d := noticeDoc{
		Edition: newEditionDoc(of, &n.Edition), Purposes: make([]purposeRefDoc, len(n.Purposes)), Texts: make([]noticeTextDoc, len(n.Texts)),
		Vocabulary: n.VocabularyVersion, Controllers: make([]noticePartyDoc, len(n.Controllers)), Recipients: make([]noticePartyDoc, len(n.Recipients)),
		StorageLocations: n.StorageLocations, ProcessingLocations: n.ProcessingLocations, GeographicRestrictions: n.GeographicRestrictions,
		Jurisdiction: n.Jurisdiction, Rights: n.Rights, Operations: n.Operations, Service: n.Service, CodesOfConduct: n.CodesOfConduct,
		ImpactAssessment: n.ImpactAssessment,
	}
	for i, r := range n.Purposes {
		d.Purposes[i] = purposeRefDoc(r)
	}
	for i, t := range n.Texts {
		d.Texts[i] = noticeTextDoc(t)
	}
	for i, p := range n.Controllers {
		d.Controllers[i] = noticePartyDoc(p)
	}
	for i, p := range n.Recipients {
		d.Recipients[i] = noticePartyDoc(p)
	}
	if n.Authority != nil {
		a := noticePartyDoc(*n.Authority)
		d.Authority = &a
	}
	return d
}

func (d *noticeDoc) notice() *purpose.Notice {
	n := &purpose.Notice{
		Edition: d.Edition.edition(), Purposes: make([]purpose.Ref, len(d.Purposes)), Texts: make([]purpose.NoticeText, len(d.Texts)),
		Facts: purpose.Facts{
			VocabularyVersion: d.Vocabulary, Controllers: make([]purpose.Party, len(d.Controllers)),
			Recipients: make([]purpose.Party, len(d.Recipients)), StorageLocations: d.StorageLocations,
			ProcessingLocations: d.ProcessingLocations, GeographicRestrictions: d.GeographicRestrictions, Jurisdiction: d.Jurisdiction,
			Rights: d.Rights, Operations: d.Operations, Service: d.Service, CodesOfConduct: d.CodesOfConduct,
			ImpactAssessment: d.ImpactAssessment,
		},
	}
	for i, r := range d.Purposes {
		n.Purposes[i] = purpose.Ref(r)
	}
	for i, t := range d.Texts {
		n.Texts[i] = purpose.NoticeText(t)
	}
	for i, p := range d.Controllers {
		n.Controllers[i] = purpose.Party(p)
	}
	for i, p := range d.Recipients {
		n.Recipients[i] = purpose.Party(p)
	}
	if d.Authority != nil {
		a := purpose.Party(*d.Authority)
		n.Authority = &a
	}
	return n
}

// Of implements purpose.Notices.
func (s *NoticeStore) Of(
	ctx context.Context, purposeKey string, in purpose.State, after *page.Position, limit int,
) ([]*purpose.Notice, error) {
	equal := bson.D{{Key: "purposes.key", Value: purposeKey}}
	if in != "" {
		equal = append(equal, bson.E{Key: "state", Value: in})
	}
	docs, err := keyset[noticeDoc](ctx, s.coll, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list notices of purpose: %w", err)
	}
	return s.all(docs), nil
}
