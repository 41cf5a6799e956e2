package mongo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ retention.Store = (*RetentionStore)(nil)

// RetentionStore keeps rules, holds, runs, and the dates that rules read.
type RetentionStore struct {
	*retentionDates

	rules, holds, runs, settings, tenants *mongo.Collection
	vault                                 *vault.Vault
}

// NewRetentionStore returns the store in d.
func NewRetentionStore(d *DB, v *vault.Vault) *RetentionStore {
	return &RetentionStore{
		newRetentionDates(d), d.db.Collection(retentionRulesColl), d.db.Collection(holdsColl), d.db.Collection(retentionRunsColl),
		d.db.Collection(retentionSettingsColl), d.db.Collection(tenantsColl), v,
	}
}

// dateText is a date as it is stored, "" for none.
type dateText string

func textOf(d *civil.Date) dateText {
	if d == nil {
		return ""
	}
	return dateText(d.String())
}

func (t dateText) date() *civil.Date {
	d, err := civil.Parse(string(t))
	if err != nil {
		return nil
	}
	return &d
}

type ruleDoc struct {
	ID          string              `bson:"_id"`
	Tenant      tenant.ID           `bson:"tenant"`
	Unit        string              `bson:"unit"`
	Activity    *string             `bson:"activity,omitempty"`
	Template    *string             `bson:"template,omitempty"`
	Trigger     retention.Trigger   `bson:"trigger"`
	Period      string              `bson:"period"`
	Kind        retention.Kind      `bson:"kind"`
	YearEnd     *string             `bson:"yearEnd,omitempty"`
	LegalSource string              `bson:"legalSource"`
	Exception   retention.Exception `bson:"exception"`
	Restricted  bool                `bson:"restricted"`
	TextDa      string              `bson:"textDa"`
	TextEn      string              `bson:"textEn"`
	Assessment  *string             `bson:"assessment,omitempty"`
	ValidFrom   dateText            `bson:"validFrom"`
	ValidTo     dateText            `bson:"validTo"`
	State       retention.State     `bson:"state"`
	Version     int64               `bson:"version"`
	CreatedBy   string              `bson:"createdBy"`
	CreatedAt   time.Time           `bson:"createdAt"`
	UpdatedAt   time.Time           `bson:"updatedAt"`
}

func newRuleDoc(of tenant.ID, r *retention.Rule) ruleDoc {
	unit := retention.Person
	if r.Dataset != nil {
		unit = *r.Dataset
	}
	return ruleDoc{
		r.ID, of, unit, r.Activity, r.Template, r.Trigger, r.Period.String(), r.Kind, r.YearEnd, r.LegalSource, r.Exception, r.Restricted,
		r.TextDa, r.TextEn, r.Assessment, textOf(r.ValidFrom), textOf(r.ValidTo), r.State, r.Version, r.CreatedBy, r.CreatedAt, r.UpdatedAt,
	}
}

func (d *ruleDoc) rule() (*retention.Rule, error) {
	p, err := retention.ParsePeriod(d.Period)
	if err != nil {
		return nil, fmt.Errorf("read retention rule %s: %w", d.ID, err)
	}
	r := &retention.Rule{
		ID: d.ID, State: d.State, Version: d.Version, CreatedBy: d.CreatedBy, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		Content: retention.Content{
			Activity: d.Activity, Template: d.Template, Trigger: d.Trigger, Period: p, Kind: d.Kind, YearEnd: d.YearEnd,
			LegalSource: d.LegalSource, Exception: d.Exception, Restricted: d.Restricted, TextDa: d.TextDa, TextEn: d.TextEn,
			Assessment: d.Assessment, ValidFrom: d.ValidFrom.date(), ValidTo: d.ValidTo.date(),
		},
	}
	if d.Unit != retention.Person {
		r.Dataset = &d.Unit
	}
	return r, nil
}

func rulesOf(docs []ruleDoc) ([]*retention.Rule, error) {
	list := make([]*retention.Rule, len(docs))
	for i := range docs {
		var err error
		if list[i], err = docs[i].rule(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// GetRule implements retention.RuleStore.
func (s *RetentionStore) GetRule(ctx context.Context, ruleID string) (*retention.Rule, error) {
	d, err := one[ruleDoc](ctx, s.rules, "retention rule", retention.ErrNotFound, bson.E{Key: "_id", Value: ruleID})
	if err != nil {
		return nil, err
	}
	return d.rule()
}

// Rules implements retention.RuleStore.
func (s *RetentionStore) Rules(ctx context.Context, hidden []string, after *page.Position, limit int) ([]*retention.Rule, error) {
	docs, err := keyset[ruleDoc](ctx, s.rules, without(hidden), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list retention rules: %w", err)
	}
	return rulesOf(docs)
}

// without leaves out units.
func without(hidden []string) bson.D {
	if len(hidden) == 0 {
		return nil
	}
	return bson.D{{Key: "unit", Value: bson.D{{Key: "$nin", Value: hidden}}}}
}

// ActiveRules implements retention.RuleStore.
func (s *RetentionStore) ActiveRules(ctx context.Context) ([]*retention.Rule, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: retention.Active})
	if err != nil {
		return nil, err
	}
	docs, err := all[ruleDoc](ctx, s.rules, filter)
	if err != nil {
		return nil, fmt.Errorf("list active retention rules: %w", err)
	}
	return rulesOf(docs)
}

// InsertRule implements retention.RuleStore.
func (s *RetentionStore) InsertRule(ctx context.Context, r *retention.Rule) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.rules.InsertOne(ctx, newRuleDoc(of, r)); err != nil {
		return fmt.Errorf("insert retention rule: %w", translate(err))
	}
	return nil
}

// UpdateRule implements retention.RuleStore.
func (s *RetentionStore) UpdateRule(ctx context.Context, r *retention.Rule) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return replaceAt(ctx, s.rules, "retention rule", r.ID, r.Version-1, newRuleDoc(of, r))
}

// replaceAt replaces the tenant's document at a version, or fails with
// change.ErrVersion.
func replaceAt(ctx context.Context, coll *mongo.Collection, what, docID string, version int64, doc any) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: docID}, bson.E{Key: "version", Value: version})
	if err != nil {
		return err
	}
	res, err := coll.ReplaceOne(ctx, filter, doc)
	if err != nil {
		return fmt.Errorf("update %s %s: %w", what, docID, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// anybody stands for all persons in the scope of a hold, for the index.
const anybody = "*"

type holdDoc struct {
	ID          string              `bson:"_id"`
	Tenant      tenant.ID           `bson:"tenant"`
	Persons     []string            `bson:"persons"`
	Datasets    []string            `bson:"datasets"`
	Cases       []string            `bson:"cases"`
	Exception   retention.Exception `bson:"exception"`
	LegalSource string              `bson:"legalSource"`
	Reason      sealed              `bson:"reason,omitempty"`
	PlacedBy    string              `bson:"placedBy"`
	CreatedAt   time.Time           `bson:"createdAt"`
	ReviewOn    dateText            `bson:"reviewOn"`
	State       retention.HoldState `bson:"state"`
	ReleasedBy  *string             `bson:"releasedBy,omitempty"`
	ReleasedAt  *time.Time          `bson:"releasedAt,omitempty"`
}

func (s *RetentionStore) holdSealer(ctx context.Context, of tenant.ID, holds ...string) (*vault.Keys, error) {
	owners := make([]vault.Owner, len(holds))
	for i, h := range holds {
		owners[i] = retention.HoldOwner(of, h)
	}
	return s.vault.Load(ctx, owners...)
}

func newHoldDoc(of tenant.ID, h *retention.Hold) holdDoc {
	d := holdDoc{
		ID: h.ID, Tenant: of, Persons: slices.Clone(h.Scope.Persons), Datasets: h.Scope.Datasets, Cases: h.Scope.Cases, Exception: h.Exception,
		LegalSource: h.LegalSource, PlacedBy: h.PlacedBy, CreatedAt: h.PlacedAt, ReviewOn: textOf(&h.ReviewOn), State: h.State,
		ReleasedBy: h.ReleasedBy, ReleasedAt: h.ReleasedAt,
	}
	if len(d.Persons) == 0 {
		d.Persons = []string{anybody}
	}
	return d
}

// hold returns the hold without its reason.
func (d *holdDoc) hold() *retention.Hold {
	h := &retention.Hold{
		ID: d.ID, Scope: retention.Scope{Persons: d.Persons, Datasets: d.Datasets, Cases: d.Cases}, Exception: d.Exception,
		LegalSource: d.LegalSource, PlacedBy: d.PlacedBy, PlacedAt: d.CreatedAt, State: d.State, ReleasedBy: d.ReleasedBy, ReleasedAt: d.ReleasedAt,
	}
	if slices.Equal(d.Persons, []string{anybody}) {
		h.Scope.Persons = nil
	}
	if on := d.ReviewOn.date(); on != nil {
		h.ReviewOn = *on
	}
	return h
}

func holdSeal(keys *vault.Keys, of tenant.ID, holdID string) *sealer {
	return &sealer{keys: keys, owner: retention.HoldOwner(of, holdID), place: vault.Place{Collection: holdsColl, Record: holdID}}
}

// open returns the holds with their reasons.
func (s *RetentionStore) openHolds(ctx context.Context, docs []holdDoc) ([]*retention.Hold, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(docs))
	for i, d := range docs {
		ids[i] = d.ID
	}
	keys, err := s.holdSealer(ctx, of, ids...)
	if err != nil {
		return nil, err
	}
	holds := make([]*retention.Hold, len(docs))
	for i := range docs {
		open := holdSeal(keys, of, docs[i].ID)
		holds[i] = docs[i].hold()
		holds[i].Reason = open.openText("reason", docs[i].Reason)
		if _, is := unreadable(open.err); open.err != nil && !is {
			return nil, fmt.Errorf("open hold %s: %w", docs[i].ID, open.err)
		}
	}
	return holds, nil
}

// GetHold implements retention.HoldStore.
func (s *RetentionStore) GetHold(ctx context.Context, holdID string) (*retention.Hold, error) {
	d, err := one[holdDoc](ctx, s.holds, "hold", retention.ErrNoHold, bson.E{Key: "_id", Value: holdID})
	if err != nil {
		return nil, err
	}
	opened, err := s.openHolds(ctx, []holdDoc{d})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// Holds implements retention.HoldStore.
func (s *RetentionStore) Holds(ctx context.Context, state *retention.HoldState, after *page.Position, limit int) ([]*retention.Hold, error) {
	var match bson.D
	if state != nil {
		match = bson.D{{Key: "state", Value: *state}}
	}
	docs, err := keyset[holdDoc](ctx, s.holds, match, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	return s.openHolds(ctx, docs)
}

// HoldsOn implements retention.HoldStore.
func (s *RetentionStore) HoldsOn(ctx context.Context, persons ...string) ([]*retention.Hold, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: retention.Placed},
		bson.E{Key: "persons", Value: bson.D{{Key: "$in", Value: append(present(persons), anybody)}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[holdDoc](ctx, s.holds, filter)
	if err != nil {
		return nil, fmt.Errorf("find holds: %w", err)
	}
	holds := make([]*retention.Hold, len(docs))
	for i := range docs {
		holds[i] = docs[i].hold()
	}
	return holds, nil
}

// CountHolds implements retention.HoldStore.
func (s *RetentionStore) CountHolds(ctx context.Context, limit int) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: retention.Placed})
	if err != nil {
		return 0, err
	}
	return count(ctx, s.holds, filter, limit)
}

// InsertHold implements retention.HoldStore.
func (s *RetentionStore) InsertHold(ctx context.Context, h *retention.Hold) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if err := s.touch(ctx, h.Scope.Persons); err != nil {
		return err
	}
	keys, err := s.holdSealer(ctx, of, h.ID)
	if err != nil {
		return err
	}
	d, seal := newHoldDoc(of, h), holdSeal(keys, of, h.ID)
	if d.Reason = seal.text("reason", h.Reason); seal.err != nil {
		return fmt.Errorf("seal hold %s: %w", h.ID, seal.err)
	}
	if _, err := s.holds.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert hold: %w", translate(err))
	}
	return note(ctx, s.holds, h.ID)
}

// touch excludes an erasure of the persons: restricted ones may be held, too, and
// the proof that is kept of erased ones.
func (s *RetentionStore) touch(ctx context.Context, persons []string) error {
	if len(persons) == 0 {
		return nil
	}
	in := bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: persons}}}
	filter, err := scoped(ctx, in, bson.E{Key: "state", Value: bson.D{{Key: "$ne", Value: subject.Erasing}}},
		bson.E{Key: "erasedUnits", Value: bson.D{{Key: "$ne", Value: vault.Evidence}}})
	if err != nil {
		return err
	}
	res, err := s.subjects.UpdateMany(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "guard", Value: int64(1)}}}})
	if err != nil {
		return fmt.Errorf("guard subjects: %w", translate(err))
	}
	if res.MatchedCount == int64(len(persons)) {
		return nil
	}
	if filter, err = scoped(ctx, in); err != nil {
		return err
	}
	n, err := count(ctx, s.subjects, filter, len(persons))
	if err == nil && n == len(persons) {
		return subject.ErrErased
	}
	return errors.Join(err, subject.ErrNotFound)
}

// ReleaseHold implements retention.HoldStore.
func (s *RetentionStore) ReleaseHold(ctx context.Context, h *retention.Hold) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: h.ID}, bson.E{Key: "state", Value: retention.Placed})
	if err != nil {
		return err
	}
	res, err := s.holds.UpdateOne(ctx, filter, set(
		bson.E{Key: "state", Value: h.State}, bson.E{Key: "releasedBy", Value: h.ReleasedBy}, bson.E{Key: "releasedAt", Value: h.ReleasedAt}))
	if err != nil {
		return fmt.Errorf("release hold %s: %w", h.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return retention.ErrReleased
	}
	return note(ctx, s.holds, h.ID)
}

// RestoreHold implements retention.HoldStore.
func (s *RetentionStore) RestoreHold(ctx context.Context, h *retention.Hold) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d, err := one[holdDoc](ctx, s.holds, "hold", retention.ErrNoHold, bson.E{Key: "_id", Value: h.ID})
	if errors.Is(err, retention.ErrNoHold) {
		if _, err := s.holds.InsertOne(ctx, newHoldDoc(of, h)); err != nil {
			return fmt.Errorf("restore hold: %w", translate(err))
		}
		return note(ctx, s.holds, h.ID)
	}
	if err != nil {
		return err
	}
	d.State, d.ReleasedBy, d.ReleasedAt = h.State, h.ReleasedBy, h.ReleasedAt
	for _, p := range h.Scope.Persons {
		if !slices.Contains(d.Persons, p) {
			d.Persons = append(d.Persons, p)
		}
	}
	if _, err = s.holds.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: of}}, bson.D{{Key: "$set", Value: d}}); err != nil {
		return fmt.Errorf("restore hold %s: %w", h.ID, translate(err))
	}
	return note(ctx, s.holds, h.ID)
}

type runDoc struct {
	ID        string             `bson:"_id"`
	Tenant    tenant.ID          `bson:"tenant"`
	AsOf      dateText           `bson:"asOf"`
	State     retention.RunState `bson:"state"`
	Items     []plannedDoc       `bson:"items"`
	More      bool               `bson:"more"`
	Next      int                `bson:"next"`
	Erased    int                `bson:"erased"`
	Kept      int                `bson:"kept"`
	CreatedAt time.Time          `bson:"createdAt"`
	DecidedBy *string            `bson:"decidedBy,omitempty"`
	DecidedAt *time.Time         `bson:"decidedAt,omitempty"`
	DoneAt    *time.Time         `bson:"doneAt,omitempty"`
	Version   int64              `bson:"version"`
}

type plannedDoc struct {
	Subject string `bson:"s"`
	Unit    string `bson:"u"`
}

func newRunDoc(of tenant.ID, r *retention.Run) runDoc {
	d := runDoc{
		ID: r.ID, Tenant: of, AsOf: textOf(&r.AsOf), State: r.State, More: r.More, Next: r.Next, Erased: r.Erased, Kept: r.Kept,
		CreatedAt: r.ProposedAt, DecidedBy: r.DecidedBy, DecidedAt: r.DecidedAt, DoneAt: r.DoneAt, Version: r.Version,
	}
	for _, i := range r.Items {
		d.Items = append(d.Items, plannedDoc(i))
	}
	return d
}

func (d *runDoc) run() *retention.Run {
	r := &retention.Run{
		ID: d.ID, State: d.State, More: d.More, Next: d.Next, Erased: d.Erased, Kept: d.Kept, ProposedAt: d.CreatedAt,
		DecidedBy: d.DecidedBy, DecidedAt: d.DecidedAt, DoneAt: d.DoneAt, Version: d.Version,
	}
	if on := d.AsOf.date(); on != nil {
		r.AsOf = *on
	}
	for _, i := range d.Items {
		r.Items = append(r.Items, retention.Planned(i))
	}
	return r
}

// GetRun implements retention.RunStore.
func (s *RetentionStore) GetRun(ctx context.Context, runID string) (*retention.Run, error) {
	d, err := one[runDoc](ctx, s.runs, "retention run", retention.ErrNoRun, bson.E{Key: "_id", Value: runID})
	if err != nil {
		return nil, err
	}
	return d.run(), nil
}

// Runs implements retention.RunStore.
func (s *RetentionStore) Runs(ctx context.Context, after *page.Position, limit int) ([]*retention.Run, error) {
	docs, err := keyset[runDoc](ctx, s.runs, nil, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list retention runs: %w", err)
	}
	runs := make([]*retention.Run, len(docs))
	for i := range docs {
		runs[i] = docs[i].run()
	}
	return runs, nil
}

// OpenRun implements retention.RunStore.
func (s *RetentionStore) OpenRun(ctx context.Context) (bool, error) {
	filter, err := scoped(ctx, bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: []retention.RunState{retention.Proposed, retention.Running}}}})
	if err != nil {
		return false, err
	}
	n, err := count(ctx, s.runs, filter, 1)
	return n > 0, err
}

// InsertRun implements retention.RunStore.
func (s *RetentionStore) InsertRun(ctx context.Context, r *retention.Run) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if _, err := s.runs.InsertOne(ctx, newRunDoc(of, r)); err != nil {
		return fmt.Errorf("insert retention run: %w", translate(err))
	}
	return nil
}

// UpdateRun implements retention.RunStore.
func (s *RetentionStore) UpdateRun(ctx context.Context, r *retention.Run) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	return replaceAt(ctx, s.runs, "retention run", r.ID, r.Version-1, newRunDoc(of, r))
}

type settingsOfRetentionDoc struct {
	ID         tenant.ID `bson:"_id"`
	Tenant     tenant.ID `bson:"tenant"`
	Approval   *bool     `bson:"approval,omitempty"`
	Cap        *int      `bson:"cap,omitempty"`
	ProofYears *int      `bson:"proofYears,omitempty"`
	SweptOn    dateText  `bson:"sweptOn,omitempty"`
	Version    int64     `bson:"version"`
}

// Settings implements retention.RunStore.
func (s *RetentionStore) Settings(ctx context.Context) (retention.Settings, error) {
	st := retention.DefaultSettings()
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return st, err
	}
	d, err := one[settingsOfRetentionDoc](ctx, s.settings, "retention settings", retention.ErrNotFound, bson.E{Key: "_id", Value: of})
	if errors.Is(err, retention.ErrNotFound) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if d.Approval != nil {
		st.Approval = *d.Approval
	}
	if d.Cap != nil {
		st.Cap = *d.Cap
	}
	if d.ProofYears != nil {
		st.ProofYears = *d.ProofYears
	}
	st.SweptOn, st.Version = d.SweptOn.date(), d.Version
	return st, nil
}

// SaveSettings implements retention.RunStore.
func (s *RetentionStore) SaveSettings(ctx context.Context, st retention.Settings) error {
	return s.saveSettings(ctx, bson.D{
		{Key: "approval", Value: st.Approval},
		{Key: "cap", Value: st.Cap},
		{Key: "proofYears", Value: st.ProofYears},
		{Key: "version", Value: st.Version},
	}, bson.E{Key: "version", Value: st.Version - 1})
}

// Swept implements retention.RunStore.
func (s *RetentionStore) Swept(ctx context.Context, on civil.Date) error {
	return s.saveSettings(ctx, bson.D{{Key: "sweptOn", Value: textOf(&on)}})
}

func (s *RetentionStore) saveSettings(ctx context.Context, fields bson.D, match ...bson.E) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	self := bson.D{{Key: "_id", Value: of}, {Key: "tenant", Value: of}}
	n, err := count(ctx, s.settings, self, 1)
	if err == nil && n == 0 {
		_, err = s.settings.InsertOne(ctx, settingsOfRetentionDoc{ID: of, Tenant: of})
	}
	if err != nil {
		return fmt.Errorf("make retention settings: %w", translate(err))
	}
	res, err := s.settings.UpdateOne(ctx, append(self, match...), bson.D{{Key: "$set", Value: fields}})
	if err != nil {
		return fmt.Errorf("save retention settings: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// retentionDates keeps the dates that rules read, for the stores of persons and
// records: opaque ids and dates only, in the transactions that change the data.
type retentionDates struct{ dates, subjects *mongo.Collection }

func newRetentionDates(d *DB) *retentionDates {
	return &retentionDates{d.db.Collection(retentionDatesColl), d.db.Collection(subjectsColl)}
}

type retentionDoc struct {
	ID          string                                `bson:"_id"`
	Tenant      tenant.ID                             `bson:"tenant"`
	Subject     string                                `bson:"subject"`
	Unit        string                                `bson:"unit"`
	Relations   map[subject.RelationKind]relationsDoc `bson:"relations,omitempty"`
	CollectedAt *time.Time                            `bson:"collectedAt,omitempty"`
	ActivityAt  *time.Time                            `bson:"activityAt,omitempty"`
	WithdrawnAt *time.Time                            `bson:"withdrawnAt,omitempty"`
	ClosedAt    *time.Time                            `bson:"closedAt,omitempty"`
	ErasedAt    *time.Time                            `bson:"erasedAt,omitempty"` // the person, whose proof is kept
	Requested   string                                `bson:"requested,omitempty"`
	Due         *time.Time                            `bson:"due,omitempty"` // midnight of the day, UTC
	Outdated    bool                                  `bson:"outdated,omitempty"`
	Revision    int64                                 `bson:"revision"`
}

type relationsDoc struct {
	Open  bool     `bson:"open"`
	Ended dateText `bson:"ended"`
}

// itemID returns the id of what a person has in a unit: the same each time, so that
// there is one.
func itemID(of tenant.ID, person, unit string) string {
	sum := sha256.Sum256([]byte(person + "/" + unit))
	return id.Prefix(id.RetentionItem, of) + id.Encode(sum[:16])
}

func spans(relations []subject.Relation) map[subject.RelationKind]relationsDoc {
	kinds := map[subject.RelationKind]relationsDoc{}
	for _, r := range relations {
		s := kinds[r.Kind]
		if ended := textOf(r.EndedOn); ended == "" {
			s.Open = true
		} else {
			s.Ended = max(s.Ended, ended)
		}
		kinds[r.Kind] = s
	}
	return kinds
}

// persons notes new persons.
func (s *retentionDates) persons(ctx context.Context, of tenant.ID, made []subject.New) error {
	docs := make([]retentionDoc, len(made))
	for i, m := range made {
		docs[i] = retentionDoc{
			ID: itemID(of, m.Subject.ID, retention.Person), Tenant: of, Subject: m.Subject.ID, Unit: retention.Person,
			Relations: spans(m.Subject.Relations), CollectedAt: &m.Subject.CreatedAt, ActivityAt: &m.Subject.UpdatedAt, Outdated: true,
		}
	}
	if _, err := s.dates.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert retention dates: %w", translate(err))
	}
	return nil
}

// relate notes a person's relations as they are now. All that the person has is to
// be decided on anew when they changed.
func (s *retentionDates) relate(ctx context.Context, of tenant.ID, p *subject.Subject) error {
	person := itemID(of, p.ID, retention.Person)
	d, err := one[retentionDoc](ctx, s.dates, "retention dates", retention.ErrNotFound, bson.E{Key: "_id", Value: person})
	if errors.Is(err, retention.ErrNotFound) { // a person of before there were dates
		return s.persons(ctx, of, []subject.New{{Subject: p}})
	}
	if err != nil {
		return err
	}
	now := spans(p.Relations)
	match := bson.E{Key: "_id", Value: person}
	if !maps.Equal(d.Relations, now) {
		match = bson.E{Key: "subject", Value: p.ID}
	}
	if _, err := s.dates.UpdateOne(ctx, bson.D{{Key: "_id", Value: person}, {Key: "tenant", Value: of}},
		set(bson.E{Key: "relations", Value: now}, bson.E{Key: "activityAt", Value: p.UpdatedAt})); err != nil {
		return fmt.Errorf("note relations: %w", translate(err))
	}
	return s.outdate(ctx, match)
}

// outdate has items decided on anew.
func (s *retentionDates) outdate(ctx context.Context, match ...bson.E) error {
	filter, err := scoped(ctx, match...)
	if err != nil {
		return err
	}
	_, err = s.dates.UpdateMany(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "outdated", Value: true}}}, {Key: "$inc", Value: bson.D{{Key: "revision", Value: int64(1)}}},
	})
	if err != nil {
		return fmt.Errorf("outdate retention: %w", translate(err))
	}
	return nil
}

// written notes records that are written.
func (s *retentionDates) written(ctx context.Context, of tenant.ID, docs ...recordDoc) error {
	fresh := map[string]retentionDoc{}
	for _, d := range docs {
		collected := d.CreatedAt
		if d.CollectedAt != nil {
			collected = *d.CollectedAt
		}
		for _, person := range d.Subjects {
			key := itemID(of, person, d.Dataset)
			f, ok := fresh[key]
			if !ok {
				f = retentionDoc{ID: key, Tenant: of, Subject: person, Unit: d.Dataset, Outdated: true}
			}
			f.CollectedAt, f.ActivityAt = later(f.CollectedAt, collected), later(f.ActivityAt, d.UpdatedAt)
			fresh[key] = f
		}
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: slices.Sorted(maps.Keys(fresh))}}})
	if err != nil {
		return err
	}
	have, err := all[retentionDoc](ctx, s.dates, filter)
	if err != nil {
		return fmt.Errorf("find retention dates: %w", err)
	}
	for _, h := range have {
		f := fresh[h.ID]
		delete(fresh, h.ID)
		_, err := s.dates.UpdateOne(ctx, bson.D{{Key: "_id", Value: h.ID}, {Key: "tenant", Value: of}}, bson.D{
			{Key: "$max", Value: bson.D{{Key: "collectedAt", Value: f.CollectedAt}, {Key: "activityAt", Value: f.ActivityAt}}},
			{Key: "$set", Value: bson.D{{Key: "outdated", Value: true}}},
			{Key: "$inc", Value: bson.D{{Key: "revision", Value: int64(1)}}},
		})
		if err != nil {
			return fmt.Errorf("note dates of records: %w", translate(err))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if _, err := s.dates.InsertMany(ctx, slices.Collect(maps.Values(fresh))); err != nil {
		return fmt.Errorf("insert retention dates: %w", translate(err))
	}
	return nil
}

func later(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.After(b) {
		return a
	}
	return &b
}

func (d *retentionDoc) item() *retention.Item {
	i := &retention.Item{
		ID: d.ID, Tenant: d.Tenant, Subject: d.Subject, Unit: d.Unit, CollectedAt: d.CollectedAt, ActivityAt: d.ActivityAt,
		WithdrawnAt: d.WithdrawnAt, ClosedAt: d.ClosedAt, ErasedAt: d.ErasedAt, Requested: d.Requested, Revision: d.Revision,
	}
	if d.Unit == retention.Person || len(d.Relations) > 0 { // of one that outlives the person
		i.Relations = make(map[subject.RelationKind]retention.Span, len(d.Relations))
		for kind, s := range d.Relations {
			i.Relations[kind] = retention.Span{Open: s.Open, Ended: s.Ended.date()}
		}
	}
	if d.Due != nil {
		on := civil.Of(d.Due.UTC())
		i.DueOn = &on
	}
	return i
}

func itemsOf(docs []retentionDoc) []*retention.Item {
	items := make([]*retention.Item, len(docs))
	for i := range docs {
		items[i] = docs[i].item()
	}
	return items
}

// Items implements retention.DateStore.
func (s *RetentionStore) Items(ctx context.Context, persons ...string) ([]*retention.Item, error) {
	in := bson.D{{Key: "$in", Value: present(persons)}}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: in})
	if err != nil {
		return nil, err
	}
	docs, err := all[retentionDoc](ctx, s.dates, filter, options.Find().SetSort(bson.D{{Key: "subject", Value: 1}, {Key: "unit", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find retention dates: %w", err)
	}
	if filter, err = scoped(ctx, bson.E{Key: "_id", Value: in}); err != nil {
		return nil, err
	}
	found, err := all[subjectDoc](ctx, s.subjects, filter, options.Find().SetProjection(standing()))
	if err != nil {
		return nil, fmt.Errorf("find subjects' states: %w", err)
	}
	state := standings{}
	for _, d := range found {
		state[d.ID] = d
	}
	items := itemsOf(docs)
	for _, i := range items {
		i.State = state.of(i.Subject, i.Unit)
	}
	return items, nil
}

// Note implements retention.DateStore.
func (s *RetentionStore) Note(ctx context.Context, person string, u retention.Unit, t retention.Trigger, at time.Time) error {
	field := "withdrawnAt"
	if t == retention.CaseClosed {
		field = "closedAt"
	}
	if err := s.update(ctx, person, u, bson.D{{Key: "$max", Value: bson.D{{Key: field, Value: at}}}}); err != nil || u != retention.Person {
		return err
	}
	return s.outdate(ctx, bson.E{Key: "subject", Value: person}) // all that the person has counts from it
}

// Request implements retention.DateStore.
func (s *RetentionStore) Request(ctx context.Context, person string, u retention.Unit, cause string) error {
	return s.update(ctx, person, u, set(bson.E{Key: "requested", Value: cause}))
}

// update changes what a person has in a unit, which may be nothing so far, and has
// it decided on anew.
func (s *retentionDates) update(ctx context.Context, person string, u retention.Unit, update bson.D) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	self := bson.D{{Key: "_id", Value: itemID(of, person, u)}, {Key: "tenant", Value: of}}
	n, err := count(ctx, s.dates, self, 1)
	if err == nil && n == 0 {
		_, err = s.dates.InsertOne(ctx, retentionDoc{ID: itemID(of, person, u), Tenant: of, Subject: person, Unit: u})
	}
	if err == nil {
		_, err = s.dates.UpdateOne(ctx, self, update)
	}
	if err != nil {
		return fmt.Errorf("note for retention: %w", translate(err))
	}
	return s.outdate(ctx, self[0])
}

// DueItems implements retention.DateStore.
func (s *RetentionStore) DueItems(
	ctx context.Context, hidden []string, by civil.Date, after *page.Position, limit int,
) ([]*retention.Item, error) {
	bounds := bson.D{{Key: "$lte", Value: by.Start(time.UTC)}}
	if after != nil {
		bounds = append(bounds, bson.E{Key: "$gte", Value: after.CreatedAt})
	}
	filter, err := scoped(ctx, append(without(hidden), bson.E{Key: "due", Value: bounds})...)
	if err != nil {
		return nil, err
	}
	if after != nil {
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "due", Value: bson.D{{Key: "$gt", Value: after.CreatedAt}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after.ID}}}},
		}})
	}
	docs, err := all[retentionDoc](ctx, s.dates, filter,
		options.Find().SetSort(bson.D{{Key: "due", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find what is due: %w", err)
	}
	return itemsOf(docs), nil
}

// Outdate implements retention.DateStore.
func (s *RetentionStore) Outdate(ctx context.Context, u retention.Unit, after string, limit int) (string, error) {
	filter, err := scoped(ctx, bson.E{Key: "unit", Value: u}, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}})
	if err != nil {
		return "", err
	}
	docs, err := all[retentionDoc](ctx, s.dates, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return "", fmt.Errorf("find what a rule is about: %w", err)
	}
	if len(docs) == 0 {
		return "", nil
	}
	ids := make([]string, len(docs))
	for i, d := range docs {
		ids[i] = d.ID
	}
	return ids[len(ids)-1], s.outdate(ctx, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}})
}

// Outdated implements retention.DateStore. It spans tenants.
func (s *RetentionStore) Outdated(ctx context.Context, limit int) ([]*retention.Item, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[retentionDoc](ctx, s.dates, bson.D{{Key: "outdated", Value: true}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find what is to be decided on: %w", err)
	}
	return itemsOf(docs), nil
}

// SetDue implements retention.DateStore. It spans tenants.
func (s *RetentionStore) SetDue(ctx context.Context, items []*retention.Item) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	for _, i := range items {
		self := bson.D{{Key: "_id", Value: i.ID}, {Key: "tenant", Value: i.Tenant}, {Key: "revision", Value: i.Revision}}
		update := bson.D{{Key: "$unset", Value: bson.D{{Key: "outdated", Value: ""}, {Key: "due", Value: ""}}}}
		if i.DueOn != nil {
			update = bson.D{
				{Key: "$unset", Value: bson.D{{Key: "outdated", Value: ""}}}, {Key: "$set", Value: bson.D{{Key: "due", Value: i.DueOn.Start(time.UTC)}}},
			}
		}
		if _, err := s.dates.UpdateOne(ctx, self, update); err != nil {
			return fmt.Errorf("note what is due: %w", translate(err))
		}
		if i.Unit == retention.Person {
			continue
		}
		// The person goes with the last of what the person has.
		if err := s.outdate(tenant.NewContext(ctx, i.Tenant), bson.E{Key: "_id", Value: itemID(i.Tenant, i.Subject, retention.Person)}); err != nil {
			return err
		}
	}
	return nil
}

// Tenants implements retention.DateStore. It spans tenants.
func (s *RetentionStore) Tenants(ctx context.Context, after tenant.ID, limit int) ([]tenant.ID, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[nameDoc](ctx, s.tenants, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	ids := make([]tenant.ID, len(docs))
	for i, d := range docs {
		ids[i] = tenant.ID(d.ID)
	}
	return ids, nil
}

// retentionEraser destroys the dates of what is erased, and with the person or the
// proof the person's place in holds that are released.
type retentionEraser struct {
	*retentionDates

	changes *change.Runner
	holds   *mongo.Collection
}

// Name implements erasure.Eraser.
func (*retentionEraser) Name() string { return "retention dates" }

func (e *retentionEraser) filter(ctx context.Context, t erasure.Target) (filter bson.D, some bool, err error) {
	filter, err = scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	of := bson.E{Key: "unit", Value: bson.D{{Key: "$in", Value: t.Units}}}
	if t.Whole {
		of.Value = bson.D{{Key: "$nin", Value: append([]vault.Unit{vault.Evidence}, t.Spared...)}}
	}
	return append(filter, of), t.Whole || len(t.Units) > 0, err
}

// Erase implements erasure.Eraser.
func (e *retentionEraser) Erase(ctx context.Context, t erasure.Target) error {
	filter, some, err := e.filter(ctx, t)
	if err != nil || !some {
		return err
	}
	if err := e.inherit(ctx, t); err != nil {
		return err
	}
	if _, err := e.dates.DeleteMany(ctx, filter); err != nil {
		return fmt.Errorf("erase retention dates: %w", translate(err))
	}
	if len(t.Datasets()) > 0 {
		return e.outdate(ctx, bson.E{Key: "subject", Value: t.Subject})
	}
	if filter, err = scoped(ctx, bson.E{Key: "state", Value: retention.Released}, bson.E{Key: "persons", Value: t.Subject}); err != nil {
		return err
	}
	return eraseIn(ctx, e.changes, e.holds, filter, bson.D{
		{Key: "$pull", Value: bson.D{{Key: "persons", Value: t.Subject}}}, {Key: "$unset", Value: bson.D{{Key: "reason", Value: ""}}},
	}, "erasure.holds", t.Subject)
}

// inherit notes the person's relations with what outlives the person: its rules read
// them.
func (e *retentionEraser) inherit(ctx context.Context, t erasure.Target) error {
	if len(t.Spared) == 0 {
		return nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	d, err := one[retentionDoc](ctx, e.dates, "retention dates", retention.ErrNotFound, bson.E{Key: "_id", Value: itemID(of, t.Subject, retention.Person)})
	if errors.Is(err, retention.ErrNotFound) {
		return nil // done before
	}
	if err != nil {
		return err
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject}, bson.E{Key: "unit", Value: bson.D{{Key: "$in", Value: t.Spared}}})
	if err != nil {
		return err
	}
	if _, err := e.dates.UpdateMany(ctx, filter, set(
		bson.E{Key: "relations", Value: d.Relations}, bson.E{Key: "closedAt", Value: d.ClosedAt})); err != nil {
		return fmt.Errorf("note relations: %w", translate(err))
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *retentionEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	filter, some, err := e.filter(ctx, t)
	if err != nil || !some {
		return 0, err
	}
	return count(ctx, e.dates, filter, eraseBatch)
}
