package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ security.Store = (*SecurityStore)(nil)

// SecurityStore keeps the register of security events and the settings of detectors.
type SecurityStore struct {
	events, notes, groups, settings *mongo.Collection
	vault                           *vault.Vault
}

// NewSecurityStore returns the store of security events in d.
func NewSecurityStore(d *DB, v *vault.Vault) *SecurityStore {
	return &SecurityStore{
		d.db.Collection(securityEventsColl), d.db.Collection(securityNotesColl), d.db.Collection(securityGroupsColl),
		d.db.Collection(detectorsColl), v,
	}
}

// factsDoc has what may name persons sealed.
type factsDoc struct {
	OccurredAt  time.Time         `bson:"occurredAt"`
	DetectedAt  time.Time         `bson:"detectedAt"`
	Source      security.Source   `bson:"source"`
	Category    security.Category `bson:"category"`
	Severity    security.Severity `bson:"severity"`
	Description sealed            `bson:"description"`
	Systems     sealed            `bson:"systems,omitempty"`
	Tenants     []tenant.ID       `bson:"tenants"`
}

type securityEventDoc struct {
	ID             string             `bson:"_id"`
	Tenant         tenant.ID          `bson:"tenant"`
	CreatedAt      time.Time          `bson:"createdAt"` // recorded
	Reporter       string             `bson:"reporter"`
	Detector       *security.Detector `bson:"detector,omitempty"`
	Group          *string            `bson:"group,omitempty"`
	Occurrences    int64              `bson:"occurrences"`
	LastOccurredAt time.Time          `bson:"lastOccurredAt"`
	Set            decidedDoc         `bson:",inline"`
}

// decidedDoc is what Update writes.
type decidedDoc struct {
	Facts          factsDoc             `bson:",inline"`
	Disposition    security.Disposition `bson:"disposition"`
	Reason         sealed               `bson:"reason,omitempty"`
	By             *string              `bson:"by"`
	At             *time.Time           `bson:"at"`
	LinkedIncident *string              `bson:"linkedIncident"`
	Version        int64                `bson:"version"`
	Notes          int                  `bson:"notes"`
}

func (s *SecurityStore) sealer(ctx context.Context, collection string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.vault.Load(ctx, security.Owner(of))
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: security.Owner(of), place: vault.Place{Collection: collection}}, nil
}

func (s *sealer) facts(f *security.Facts) factsDoc {
	return factsDoc{
		f.OccurredAt, f.DetectedAt, f.Source, f.Category, f.Severity, s.text("description", f.Description),
		s.json("systems", f.AffectedSystems, len(f.AffectedSystems) == 0), f.AffectedTenants,
	}
}

func (s *sealer) openFacts(d *factsDoc) security.Facts {
	f := security.Facts{
		OccurredAt: d.OccurredAt.UTC(), DetectedAt: d.DetectedAt.UTC(), Source: d.Source, Category: d.Category, Severity: d.Severity,
		Description: s.openText("description", d.Description), AffectedSystems: []string{}, AffectedTenants: d.Tenants,
	}
	s.openJSON("systems", d.Systems, &f.AffectedSystems)
	return f
}

func (s *SecurityStore) seal(ctx context.Context, e *security.Event) (decidedDoc, error) {
	seal, err := s.sealer(ctx, securityEventsColl)
	if err != nil {
		return decidedDoc{}, err
	}
	seal.place.Record = e.ID
	d := decidedDoc{
		seal.facts(&e.Facts), e.Disposition, seal.text("reason", e.DispositionReason), e.DispositionBy, e.DispositionAt,
		e.LinkedIncident, e.Version, e.Notes,
	}
	return d, seal.err
}

// Insert implements security.Store.
func (s *SecurityStore) Insert(ctx context.Context, e *security.Event) error {
	set, err := s.seal(ctx, e)
	if err != nil {
		return fmt.Errorf("seal security event: %w", err)
	}
	_, err = s.events.InsertOne(ctx, securityEventDoc{
		e.ID, e.Tenant, e.RecordedAt, e.Reporter, e.Detector, e.Group, e.Occurrences, e.LastOccurredAt, set,
	})
	if err != nil {
		return fmt.Errorf("insert security event: %w", translate(err))
	}
	return nil
}

// Get implements security.Store.
func (s *SecurityStore) Get(ctx context.Context, eventID string) (*security.Event, error) {
	d, err := one[securityEventDoc](ctx, s.events, "security event", security.ErrNotFound, bson.E{Key: "_id", Value: eventID})
	if err != nil {
		return nil, err
	}
	found, err := s.open(ctx, []securityEventDoc{d})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// open opens documents of the tenant in ctx.
func (s *SecurityStore) open(ctx context.Context, docs []securityEventDoc) ([]*security.Event, error) {
	open, err := s.sealer(ctx, securityEventsColl)
	if err != nil {
		return nil, err
	}
	events := make([]*security.Event, len(docs))
	for i := range docs {
		d := &docs[i]
		open.place.Record = d.ID
		events[i] = &security.Event{
			Facts: open.openFacts(&d.Set.Facts), ID: d.ID, Tenant: d.Tenant, RecordedAt: d.CreatedAt.UTC(), Reporter: d.Reporter,
			Disposition: d.Set.Disposition, DispositionReason: open.openText("reason", d.Set.Reason), DispositionBy: d.Set.By,
			DispositionAt: d.Set.At, LinkedIncident: d.Set.LinkedIncident, Version: d.Set.Version, Notes: d.Set.Notes,
			Detector: d.Detector, Group: d.Group, Occurrences: d.Occurrences, LastOccurredAt: d.LastOccurredAt.UTC(),
		}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open security event: %w", open.err)
	}
	return events, nil
}

// Update implements security.Store.
func (s *SecurityStore) Update(ctx context.Context, e *security.Event) error {
	set, err := s.seal(ctx, e)
	if err != nil {
		return fmt.Errorf("seal security event: %w", err)
	}
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: e.ID}, bson.E{Key: "version", Value: e.Version - 1})
	if err != nil {
		return err
	}
	res, err := s.events.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}})
	if err != nil {
		return fmt.Errorf("update security event %s: %w", e.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return change.ErrVersion
	}
	return nil
}

// Recur implements security.Store.
func (s *SecurityStore) Recur(ctx context.Context, eventID string, more int64, last time.Time) (bool, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: eventID}, bson.E{Key: "disposition", Value: security.Open})
	if err != nil {
		return false, err
	}
	res, err := s.events.UpdateOne(ctx, filter, bson.D{
		{Key: "$inc", Value: bson.D{{Key: "occurrences", Value: more}}}, {Key: "$max", Value: bson.D{{Key: "lastOccurredAt", Value: last}}},
	})
	if err != nil {
		return false, fmt.Errorf("count security event %s: %w", eventID, translate(err))
	}
	return res.MatchedCount == 1, nil
}

// List implements security.Store.
func (s *SecurityStore) List(ctx context.Context, f security.Filter, after *page.Position, limit int) ([]*security.Event, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	filter = ifSet(filter, "disposition", f.Disposition)
	filter = ifSet(filter, "severity", f.Severity)
	filter = ifSet(filter, "category", f.Category)
	filter = ifSet(filter, "source", f.Source)
	within := bson.D{}
	if f.From != nil {
		within = append(within, bson.E{Key: "$gte", Value: f.From.UTC()})
	}
	if f.To != nil && (after == nil || f.To.Before(after.CreatedAt)) {
		within = append(within, bson.E{Key: "$lt", Value: f.To.UTC()})
	}
	if after != nil {
		bound := behind(bson.D{}, after) // a bound of createdAt, and what follows from it
		within = append(within, bson.E{Key: "$lte", Value: after.CreatedAt})
		filter = append(filter, bound[1:]...)
	}
	if len(within) > 0 {
		filter = append(filter, bson.E{Key: "createdAt", Value: within})
	}
	docs, err := all[securityEventDoc](ctx, s.events, filter, newest(limit))
	if err != nil {
		return nil, fmt.Errorf("list security events: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil
	}
	return s.open(ctx, docs)
}

// ifSet returns the filter with an equality more, unless there is no value.
func ifSet[T any](filter bson.D, field string, v *T) bson.D {
	if v == nil {
		return filter
	}
	return append(filter, bson.E{Key: field, Value: *v})
}

type securityNoteDoc struct {
	ID             string                `bson:"_id"`
	Tenant         tenant.ID             `bson:"tenant"`
	Event          string                `bson:"event"`
	Kind           security.Kind         `bson:"kind"`
	At             time.Time             `bson:"at"`
	CreatedAt      time.Time             `bson:"createdAt"`
	By             string                `bson:"by"`
	Text           sealed                `bson:"text,omitempty"`
	Facts          *factsDoc             `bson:"facts,omitempty"`
	Disposition    *security.Disposition `bson:"disposition,omitempty"`
	LinkedIncident *string               `bson:"linkedIncident,omitempty"`
}

// InsertNote implements security.Store.
func (s *SecurityStore) InsertNote(ctx context.Context, eventID string, n *security.Note) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	seal, err := s.sealer(ctx, securityNotesColl)
	if err != nil {
		return err
	}
	seal.place.Record = n.ID
	d := securityNoteDoc{
		ID: n.ID, Tenant: of, Event: eventID, Kind: n.Kind, At: n.At, CreatedAt: n.RecordedAt, By: n.By, Text: seal.text("text", n.Text),
		Disposition: n.Disposition, LinkedIncident: n.LinkedIncident,
	}
	if n.Facts != nil {
		facts := seal.facts(n.Facts)
		d.Facts = &facts
	}
	if seal.err != nil {
		return fmt.Errorf("seal note: %w", seal.err)
	}
	if _, err := s.notes.InsertOne(ctx, d); err != nil {
		return fmt.Errorf("insert note: %w", translate(err))
	}
	return nil
}

// Notes implements security.Store.
func (s *SecurityStore) Notes(ctx context.Context, eventID string) ([]*security.Note, error) {
	filter, err := scoped(ctx, bson.E{Key: "event", Value: eventID})
	if err != nil {
		return nil, err
	}
	docs, err := all[securityNoteDoc](ctx, s.notes, filter, options.Find().SetSort(bson.D{{Key: "createdAt", Value: 1}, {Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find notes: %w", err)
	}
	open, err := s.sealer(ctx, securityNotesColl)
	if err != nil {
		return nil, err
	}
	notes := make([]*security.Note, len(docs))
	for i := range docs {
		d := &docs[i]
		open.place.Record = d.ID
		notes[i] = &security.Note{
			ID: d.ID, Kind: d.Kind, At: d.At.UTC(), RecordedAt: d.CreatedAt.UTC(), By: d.By, Text: open.openText("text", d.Text),
			Disposition: d.Disposition, LinkedIncident: d.LinkedIncident,
		}
		if d.Facts != nil {
			facts := open.openFacts(d.Facts)
			notes[i].Facts = &facts
		}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open notes: %w", open.err)
	}
	return notes, nil
}

type securityGroupDoc struct {
	ID       string    `bson:"_id"`
	Tenant   tenant.ID `bson:"tenant"`
	Event    string    `bson:"event"`
	MailedAt time.Time `bson:"mailedAt"`
}

func securityGroupID(of tenant.ID, d security.Detector, group string) string {
	return string(of) + "/" + string(d) + "/" + group
}

// Group implements security.Store.
func (s *SecurityStore) Group(ctx context.Context, d security.Detector, group string) (*security.Group, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := one[securityGroupDoc](ctx, s.groups, "group", security.ErrNotFound, bson.E{Key: "_id", Value: securityGroupID(of, d, group)})
	if errors.Is(err, security.ErrNotFound) {
		return nil, nil //nolint:nilnil // as security.Store has it
	}
	if err != nil {
		return nil, err
	}
	return &security.Group{Event: doc.Event, MailedAt: doc.MailedAt.UTC()}, nil
}

// PutGroup implements security.Store.
func (s *SecurityStore) PutGroup(ctx context.Context, d security.Detector, group string, g security.Group) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := securityGroupDoc{securityGroupID(of, d, group), of, g.Event, g.MailedAt}
	return replace(ctx, s.groups, doc.ID, of, doc)
}

// replace writes a document over the one with its id, if there is one.
func replace(ctx context.Context, c *mongo.Collection, docID string, of tenant.ID, doc any) error {
	filter := bson.D{{Key: "_id", Value: docID}, {Key: "tenant", Value: of}}
	if _, err := c.ReplaceOne(ctx, filter, doc, options.Replace().SetUpsert(true)); err != nil {
		return fmt.Errorf("write %s: %w", c.Name(), translate(err))
	}
	return nil
}

type detectorDoc struct {
	ID        string            `bson:"_id"`
	Tenant    tenant.ID         `bson:"tenant"`
	Detector  security.Detector `bson:"detector"`
	Threshold int               `bson:"threshold"`
	Window    int               `bson:"windowMinutes"`
	Enabled   bool              `bson:"enabled"`
	UpdatedAt time.Time         `bson:"updatedAt"`
}

// Settings implements security.Store.
func (s *SecurityStore) Settings(ctx context.Context) ([]security.Setting, error) {
	filter, err := scoped(ctx)
	if err != nil {
		return nil, err
	}
	docs, err := all[detectorDoc](ctx, s.settings, filter)
	if err != nil {
		return nil, fmt.Errorf("find detectors: %w", err)
	}
	settings := make([]security.Setting, len(docs))
	for i, d := range docs {
		at := d.UpdatedAt.UTC()
		settings[i] = security.Setting{
			Detector: d.Detector, Threshold: d.Threshold, WindowMinutes: d.Window, Enabled: d.Enabled, UpdatedAt: &at,
		}
	}
	return settings, nil
}

// PutSetting implements security.Store.
func (s *SecurityStore) PutSetting(ctx context.Context, set security.Setting) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	doc := detectorDoc{
		securityGroupID(of, set.Detector, "setting"), of, set.Detector, set.Threshold, set.WindowMinutes, set.Enabled, *set.UpdatedAt,
	}
	return replace(ctx, s.settings, doc.ID, of, doc)
}
