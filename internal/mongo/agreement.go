package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ agreement.Store = (*AgreementStore)(nil)

// AgreementStore keeps agreements. What versions say, and instructions, are sealed
// under the tenant's contact key: they name signatories and contacts.
type AgreementStore struct {
	agreements, versions, events, standings, texts, instructions *mongo.Collection

	vault *vault.Vault
}

// NewAgreementStore returns the store of agreements in d.
func NewAgreementStore(d *DB, v *vault.Vault) *AgreementStore {
	return &AgreementStore{
		agreements: d.db.Collection(agreementsColl), versions: d.db.Collection(agreementVersionsColl), events: d.db.Collection(agreementEventsColl),
		standings: d.db.Collection(agreementStandingsColl), texts: d.db.Collection(agreementTextsColl), instructions: d.db.Collection(instructionsColl),
		vault: v,
	}
}

func (s *AgreementStore) sealer(ctx context.Context, collection, record string) (*sealer, error) {
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

type agreementDoc struct {
	ID        string             `bson:"_id"`
	Tenant    tenant.ID          `bson:"tenant"`
	Number    string             `bson:"number"`
	State     agreement.State    `bson:"state"`
	Template  string             `bson:"template"`
	Language  string             `bson:"language"`
	InForce   *int64             `bson:"inForce,omitempty"`
	Latest    int64              `bson:"latest"`
	ValidDays int64              `bson:"validDays"`
	Ending    *agreementEnding   `bson:"ending,omitempty"`
	Tasks     []agreementTaskDoc `bson:"tasks,omitempty"`
	Version   int64              `bson:"version"`
	CreatedAt time.Time          `bson:"createdAt"`
	UpdatedAt time.Time          `bson:"updatedAt"`
	ClosedAt  *time.Time         `bson:"closedAt,omitempty"`
	DueAt     *time.Time         `bson:"dueAt"` // null of what doesn't move by itself
}

type agreementEnding struct {
	By        agreement.Side   `bson:"by"`
	NoticedAt time.Time        `bson:"noticedAt"`
	EndsOn    string           `bson:"endsOn"`
	EndsAt    time.Time        `bson:"endsAt"`
	Choice    agreement.Choice `bson:"choice"`
	Deadline  string           `bson:"deadline"`
}

type agreementTaskDoc struct {
	Kind    agreement.TaskKind `bson:"kind"`
	DueOn   string             `bson:"dueOn"`
	DoneAt  *time.Time         `bson:"doneAt,omitempty"`
	DoneBy  *string            `bson:"doneBy,omitempty"`
	Receipt *string            `bson:"receipt,omitempty"`
}

func newAgreementDoc(a *agreement.Agreement) agreementDoc {
	d := agreementDoc{
		ID: a.ID, Tenant: a.Tenant, Number: a.Number, State: a.State, Template: a.Template, Language: a.Language, InForce: a.InForce, Latest: a.Latest,
		ValidDays: a.ValidDays, Version: a.Version, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, ClosedAt: a.ClosedAt, DueAt: a.DueAt,
	}
	if e := a.Ending; e != nil {
		d.Ending = &agreementEnding{e.By, e.NoticedAt, e.EndsOn.String(), e.EndsAt, e.Choice, e.Deadline.String()}
	}
	for _, t := range a.Tasks {
		d.Tasks = append(d.Tasks, agreementTaskDoc{t.Kind, t.DueOn.String(), t.DoneAt, t.DoneBy, t.Receipt})
	}
	return d
}

func (d *agreementDoc) agreement() (*agreement.Agreement, error) {
	a := &agreement.Agreement{
		ID: d.ID, Tenant: d.Tenant, Number: d.Number, State: d.State, Template: d.Template, Language: d.Language, InForce: d.InForce, Latest: d.Latest,
		ValidDays: d.ValidDays, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, ClosedAt: d.ClosedAt, DueAt: d.DueAt,
	}
	if e := d.Ending; e != nil {
		last, err := civil.Parse(e.EndsOn)
		deadline, err2 := civil.Parse(e.Deadline)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("read end of %s: %w", d.ID, err)
		}
		a.Ending = &agreement.Ending{By: e.By, NoticedAt: e.NoticedAt, EndsOn: last, EndsAt: e.EndsAt, Choice: e.Choice, Deadline: deadline}
	}
	for _, t := range d.Tasks {
		due, err := civil.Parse(t.DueOn)
		if err != nil {
			return nil, fmt.Errorf("read task of %s: %w", d.ID, err)
		}
		a.Tasks = append(a.Tasks, agreement.Task{Kind: t.Kind, DueOn: due, DoneAt: t.DoneAt, DoneBy: t.DoneBy, Receipt: t.Receipt})
	}
	return a, nil
}

func agreementsOf(docs []agreementDoc, err error) ([]*agreement.Agreement, error) {
	if err != nil {
		return nil, fmt.Errorf("list agreements: %w", err)
	}
	list := make([]*agreement.Agreement, len(docs))
	for i := range docs {
		if list[i], err = docs[i].agreement(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Get implements agreement.Store.
func (s *AgreementStore) Get(ctx context.Context, agreementID string) (*agreement.Agreement, error) {
	d, err := one[agreementDoc](ctx, s.agreements, "agreement", agreement.ErrNotFound, bson.E{Key: "_id", Value: agreementID})
	if err != nil {
		return nil, err
	}
	return d.agreement()
}

// List implements agreement.Store.
func (s *AgreementStore) List(ctx context.Context, after *page.Position, limit int) ([]*agreement.Agreement, error) {
	return agreementsOf(keyset[agreementDoc](ctx, s.agreements, nil, after, limit))
}

// ListAll implements agreement.Store.
func (s *AgreementStore) ListAll(ctx context.Context, after *page.Position, limit int) ([]*agreement.Agreement, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	filter := bson.D{}
	if after == nil { // a bound, so that the index serves it
		filter = bson.D{{Key: "createdAt", Value: bson.D{{Key: "$gt", Value: time.UnixMilli(0)}}}}
	}
	return agreementsOf(all[agreementDoc](ctx, s.agreements, behind(filter, after), newest(limit)))
}

// Due implements agreement.Store.
func (s *AgreementStore) Due(ctx context.Context, now time.Time, limit int) ([]*agreement.Agreement, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	return agreementsOf(all[agreementDoc](ctx, s.agreements, bson.D{{Key: "dueAt", Value: bson.D{{Key: "$lte", Value: now}}}},
		options.Find().SetSort(bson.D{{Key: "dueAt", Value: 1}}).SetLimit(int64(limit))))
}

// Making implements agreement.Store.
func (s *AgreementStore) Making(ctx context.Context) (*agreement.Agreement, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: bson.A{
		agreement.Draft, agreement.Offered, agreement.Negotiating, agreement.PartlySigned,
	}}}})
	if err != nil {
		return nil, err
	}
	list, err := agreementsOf(all[agreementDoc](ctx, s.agreements, filter, options.Find().SetLimit(1)))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// Insert implements agreement.Store.
func (s *AgreementStore) Insert(ctx context.Context, a *agreement.Agreement) error {
	return insert(ctx, s.agreements, "agreement", newAgreementDoc(a))
}

// Update implements agreement.Store.
func (s *AgreementStore) Update(ctx context.Context, a *agreement.Agreement) error {
	return replaceVersion(ctx, s.agreements, a.ID, a.Version, newAgreementDoc(a))
}

type agreementVersionDoc struct {
	ID              string         `bson:"_id"`
	Tenant          tenant.ID      `bson:"tenant"`
	Agreement       string         `bson:"agreement"`
	Number          int64          `bson:"number"`
	Template        string         `bson:"template"`
	TemplateVersion int64          `bson:"templateVersion"`
	TemplateDigest  string         `bson:"templateDigest"`
	Language        string         `bson:"language"`
	By              agreement.Side `bson:"by"`
	ProposedBy      string         `bson:"proposedBy"`
	CreatedAt       time.Time      `bson:"createdAt"`
	OfferedAt       *time.Time     `bson:"offeredAt,omitempty"`
	ValidUntil      *time.Time     `bson:"validUntil,omitempty"`
	ActivatedAt     *time.Time     `bson:"activatedAt,omitempty"`
	SHA256          *string        `bson:"sha256,omitempty"`
	Body            sealed         `bson:"body"`
}

func (s *AgreementStore) versionDoc(ctx context.Context, r *agreement.Revision) (*agreementVersionDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	seal, err := s.sealer(ctx, agreementVersionsColl, r.ID)
	if err != nil {
		return nil, err
	}
	d := &agreementVersionDoc{
		ID: r.ID, Tenant: of, Agreement: r.Agreement, Number: r.Number, Template: r.Template, TemplateVersion: r.TemplateVersion,
		TemplateDigest: r.TemplateDigest, Language: r.Language, By: r.By, ProposedBy: r.ProposedBy, CreatedAt: r.CreatedAt, OfferedAt: r.OfferedAt,
		ValidUntil: r.ValidUntil, ActivatedAt: r.ActivatedAt, SHA256: r.SHA256, Body: seal.json("body", r.Body, false),
	}
	if seal.err != nil {
		return nil, fmt.Errorf("seal version %s: %w", r.ID, seal.err)
	}
	return d, nil
}

func (s *AgreementStore) version(ctx context.Context, d *agreementVersionDoc) (*agreement.Revision, error) {
	open, err := s.sealer(ctx, agreementVersionsColl, d.ID)
	if err != nil {
		return nil, err
	}
	r := &agreement.Revision{
		ID: d.ID, Agreement: d.Agreement, Number: d.Number, Template: d.Template, TemplateVersion: d.TemplateVersion, TemplateDigest: d.TemplateDigest,
		Language: d.Language, By: d.By, ProposedBy: d.ProposedBy, CreatedAt: d.CreatedAt, OfferedAt: d.OfferedAt, ValidUntil: d.ValidUntil,
		ActivatedAt: d.ActivatedAt, SHA256: d.SHA256,
	}
	open.openJSON("body", d.Body, &r.Body)
	if open.err != nil {
		return nil, fmt.Errorf("open version %s: %w", d.ID, open.err)
	}
	return r, nil
}

// Revision implements agreement.Store.
func (s *AgreementStore) Revision(ctx context.Context, agreementID string, number int64) (*agreement.Revision, error) {
	d, err := one[agreementVersionDoc](ctx, s.versions, "version", agreement.ErrNoVersion,
		bson.E{Key: "agreement", Value: agreementID}, bson.E{Key: "number", Value: number})
	if err != nil {
		return nil, err
	}
	return s.version(ctx, &d)
}

// Revisions implements agreement.Store.
func (s *AgreementStore) Revisions(ctx context.Context, agreementID string) ([]*agreement.Revision, error) {
	filter, err := scoped(ctx, bson.E{Key: "agreement", Value: agreementID})
	if err != nil {
		return nil, err
	}
	docs, err := all[agreementVersionDoc](ctx, s.versions, filter,
		options.Find().SetSort(bson.D{{Key: "number", Value: -1}}).SetLimit(agreement.MaxVersions))
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	list := make([]*agreement.Revision, len(docs))
	for i := range docs {
		if list[i], err = s.version(ctx, &docs[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// InsertRevision implements agreement.Store.
func (s *AgreementStore) InsertRevision(ctx context.Context, r *agreement.Revision) error {
	d, err := s.versionDoc(ctx, r)
	if err != nil {
		return err
	}
	return insert(ctx, s.versions, "version", d)
}

// UpdateRevision implements agreement.Store.
func (s *AgreementStore) UpdateRevision(ctx context.Context, r *agreement.Revision) error {
	d, err := s.versionDoc(ctx, r)
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: r.ID})
	if err != nil {
		return err
	}
	res, err := s.versions.ReplaceOne(ctx, filter, d)
	if err != nil {
		return fmt.Errorf("update version: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return agreement.ErrNoVersion
	}
	return nil
}

type agreementEventDoc struct {
	ID        string          `bson:"_id"`
	Tenant    tenant.ID       `bson:"tenant"`
	Agreement string          `bson:"agreement"`
	Move      agreement.Move  `bson:"move"`
	From      agreement.State `bson:"from,omitempty"`
	To        agreement.State `bson:"to"`
	Side      agreement.Side  `bson:"side"`
	By        string          `bson:"by"`
	Version   *int64          `bson:"version,omitempty"`
	At        time.Time       `bson:"at"`
}

// maxAgreementEvents bounds what became of one agreement.
const maxAgreementEvents = 1000

// Events implements agreement.Store.
func (s *AgreementStore) Events(ctx context.Context, agreementID string) ([]*agreement.Event, error) {
	filter, err := scoped(ctx, bson.E{Key: "agreement", Value: agreementID})
	if err != nil {
		return nil, err
	}
	docs, err := all[agreementEventDoc](ctx, s.events, filter, options.Find().SetSort(bson.D{{Key: "at", Value: 1}}).SetLimit(maxAgreementEvents))
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	list := make([]*agreement.Event, len(docs))
	for i, d := range docs {
		list[i] = &agreement.Event{
			ID: d.ID, Agreement: d.Agreement, Move: d.Move, From: d.From, To: d.To, Side: d.Side, By: d.By, Version: d.Version, At: d.At,
		}
	}
	return list, nil
}

// InsertEvent implements agreement.Store.
func (s *AgreementStore) InsertEvent(ctx context.Context, e *agreement.Event) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return insert(ctx, s.events, "event", agreementEventDoc{e.ID, of, e.Agreement, e.Move, e.From, e.To, e.Side, e.By, e.Version, e.At})
}

type agreementStandingDoc struct {
	ID         string          `bson:"_id"`
	Tenant     tenant.ID       `bson:"tenant"`
	Agreement  string          `bson:"agreement,omitempty"`
	Classes    []dataset.Class `bson:"classes,omitempty"`
	Categories []string        `bson:"categories,omitempty"`
	Countries  []string        `bson:"countries,omitempty"`
	Until      *time.Time      `bson:"until,omitempty"`
	Mode       *agreement.Mode `bson:"mode,omitempty"`
	Version    int64           `bson:"version"`
}

// agreementStandingID is that of a tenant's only standing.
func agreementStandingID(of tenant.ID) string { return string(of) + "/agreement" }

// Standing implements agreement.Store.
func (s *AgreementStore) Standing(ctx context.Context) (*agreement.Standing, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	missing := errors.New("no standing")
	d, err := one[agreementStandingDoc](ctx, s.standings, "standing", missing, bson.E{Key: "_id", Value: agreementStandingID(of)})
	if errors.Is(err, missing) {
		return &agreement.Standing{Tenant: of}, nil
	}
	if err != nil {
		return nil, err
	}
	return &agreement.Standing{
		Tenant: of, Agreement: d.Agreement, Scope: agreement.Scope{Classes: d.Classes, Categories: d.Categories, Countries: d.Countries}, Until: d.Until,
		Mode: d.Mode, Version: d.Version,
	}, nil
}

// SetStanding implements agreement.Store.
func (s *AgreementStore) SetStanding(ctx context.Context, n *agreement.Standing) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d := agreementStandingDoc{
		agreementStandingID(of), of, n.Agreement, n.Scope.Classes, n.Scope.Categories, n.Scope.Countries, n.Until, n.Mode, n.Version,
	}
	if n.Version > 1 {
		return replaceVersion(ctx, s.standings, d.ID, n.Version, d)
	}
	err = insert(ctx, s.standings, "standing", d)
	if mongo.IsDuplicateKeyError(err) {
		return change.ErrVersion
	}
	return err
}

// NoteOn implements agreement.Store.
func (s *AgreementStore) NoteOn(ctx context.Context, day civil.Date, what string) (bool, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return false, err
	}
	noted := bson.E{Key: "_id", Value: agreementStandingID(of) + "/" + what}
	var d struct {
		Day string `bson:"day"`
	}
	err = s.standings.FindOne(ctx, bson.D{{Key: "tenant", Value: of}, noted}).Decode(&d)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return false, fmt.Errorf("find note: %w", translate(err))
	}
	if d.Day >= day.String() {
		return false, nil
	}
	_, err = s.standings.ReplaceOne(ctx, bson.D{{Key: "tenant", Value: of}, noted},
		bson.D{noted, {Key: "tenant", Value: of}, {Key: "day", Value: day.String()}}, options.Replace().SetUpsert(true))
	if err != nil {
		return false, fmt.Errorf("note: %w", translate(err))
	}
	return true, nil
}

type agreementTextDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Template  string    `bson:"template"`
	Language  string    `bson:"language"`
	Version   int64     `bson:"version"`
	Source    string    `bson:"source"`
	CreatedAt time.Time `bson:"createdAt"`
	LoadedBy  string    `bson:"loadedBy"`
}

func (d *agreementTextDoc) text() *agreement.Text {
	return &agreement.Text{
		ID: d.ID, Template: d.Template, Language: d.Language, Version: d.Version, Source: d.Source, CreatedAt: d.CreatedAt, LoadedBy: d.LoadedBy,
	}
}

// Text implements agreement.Store.
func (s *AgreementStore) Text(ctx context.Context, template, language string) (*agreement.Text, error) {
	filter, err := scoped(ctx, bson.E{Key: "template", Value: template}, bson.E{Key: "language", Value: language})
	if err != nil {
		return nil, err
	}
	docs, err := all[agreementTextDoc](ctx, s.texts, filter, options.Find().SetSort(bson.D{{Key: "version", Value: -1}}).SetLimit(1))
	if err != nil {
		return nil, fmt.Errorf("find text: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil //nolint:nilnil // none was loaded
	}
	return docs[0].text(), nil
}

// maxAgreementTexts bounds what was loaded of all official texts.
const maxAgreementTexts = 500

// Texts implements agreement.Store.
func (s *AgreementStore) Texts(ctx context.Context) ([]*agreement.Text, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[agreementTextDoc](ctx, s.texts, filter, options.Find().SetLimit(maxAgreementTexts))
	if err != nil {
		return nil, fmt.Errorf("list texts: %w", err)
	}
	list := make([]*agreement.Text, len(docs))
	for i := range docs {
		list[i] = docs[i].text()
	}
	return list, nil
}

// InsertText implements agreement.Store.
func (s *AgreementStore) InsertText(ctx context.Context, t *agreement.Text) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return insert(ctx, s.texts, "text", agreementTextDoc{t.ID, of, t.Template, t.Language, t.Version, t.Source, t.CreatedAt, t.LoadedBy})
}

type instructionDoc struct {
	ID         string                     `bson:"_id"`
	Tenant     tenant.ID                  `bson:"tenant"`
	Agreement  string                     `bson:"agreement"`
	Channel    agreement.Channel          `bson:"channel"`
	GivenAt    time.Time                  `bson:"givenAt"`
	RecordedBy string                     `bson:"recordedBy"`
	State      agreement.InstructionState `bson:"state"`
	AssessedBy *string                    `bson:"assessedBy,omitempty"`
	AssessedAt *time.Time                 `bson:"assessedAt,omitempty"`
	AnsweredBy *string                    `bson:"answeredBy,omitempty"`
	AnsweredAt *time.Time                 `bson:"answeredAt,omitempty"`
	Version    int64                      `bson:"version"`
	CreatedAt  time.Time                  `bson:"createdAt"`
	Text       sealed                     `bson:"text"`
	GivenBy    sealed                     `bson:"givenBy"`
	Objection  sealed                     `bson:"objection,omitempty"`
	Answer     sealed                     `bson:"answer,omitempty"`
}

func (s *AgreementStore) instructionDoc(ctx context.Context, i *agreement.Instruction) (*instructionDoc, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	seal, err := s.sealer(ctx, instructionsColl, i.ID)
	if err != nil {
		return nil, err
	}
	d := &instructionDoc{
		ID: i.ID, Tenant: of, Agreement: i.Agreement, Channel: i.Channel, GivenAt: i.GivenAt, RecordedBy: i.RecordedBy, State: i.State,
		AssessedBy: i.AssessedBy, AssessedAt: i.AssessedAt, AnsweredBy: i.AnsweredBy, AnsweredAt: i.AnsweredAt, Version: i.Version, CreatedAt: i.CreatedAt,
		Text: seal.text("text", i.Text), GivenBy: seal.text("givenBy", i.GivenBy), Objection: seal.text("objection", i.Objection),
		Answer: seal.text("answer", i.Answer),
	}
	return d, seal.err
}

// Instruction implements agreement.Store.
func (s *AgreementStore) Instruction(ctx context.Context, instructionID string) (*agreement.Instruction, error) {
	d, err := one[instructionDoc](ctx, s.instructions, "instruction", agreement.ErrNoInstruction, bson.E{Key: "_id", Value: instructionID})
	if err != nil {
		return nil, err
	}
	list, err := s.openInstructions(ctx, []instructionDoc{d})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func (s *AgreementStore) openInstructions(ctx context.Context, docs []instructionDoc) ([]*agreement.Instruction, error) {
	list := make([]*agreement.Instruction, len(docs))
	if len(docs) == 0 {
		return list, nil
	}
	open, err := s.sealer(ctx, instructionsColl, "")
	if err != nil {
		return nil, err
	}
	for n := range docs {
		d := &docs[n]
		open.place.Record = d.ID
		list[n] = &agreement.Instruction{
			ID: d.ID, Agreement: d.Agreement, Channel: d.Channel, GivenAt: d.GivenAt, RecordedBy: d.RecordedBy, State: d.State,
			AssessedBy: d.AssessedBy, AssessedAt: d.AssessedAt, AnsweredBy: d.AnsweredBy, AnsweredAt: d.AnsweredAt, Version: d.Version,
			CreatedAt: d.CreatedAt, Text: open.openText("text", d.Text), GivenBy: open.openText("givenBy", d.GivenBy),
			Objection: open.openText("objection", d.Objection), Answer: open.openText("answer", d.Answer),
		}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open instructions: %w", open.err)
	}
	return list, nil
}

// Instructions implements agreement.Store.
func (s *AgreementStore) Instructions(ctx context.Context, after *page.Position, limit int) ([]*agreement.Instruction, error) {
	docs, err := keyset[instructionDoc](ctx, s.instructions, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list instructions: %w", err)
	}
	return s.openInstructions(ctx, docs)
}

// InsertInstruction implements agreement.Store.
func (s *AgreementStore) InsertInstruction(ctx context.Context, i *agreement.Instruction) error {
	d, err := s.instructionDoc(ctx, i)
	if err != nil {
		return err
	}
	return insert(ctx, s.instructions, "instruction", d)
}

// UpdateInstruction implements agreement.Store.
func (s *AgreementStore) UpdateInstruction(ctx context.Context, i *agreement.Instruction) error {
	d, err := s.instructionDoc(ctx, i)
	if err != nil {
		return err
	}
	return replaceVersion(ctx, s.instructions, i.ID, i.Version, d)
}
