package mongo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var (
	_ consent.Store     = (*ConsentStore)(nil)
	_ consent.Standings = (*ConsentStore)(nil)
)

// ConsentStore keeps consents, what happened to them, and where persons stand.
//
// Ids, states, times and channels are in clear, for searches and counters; what
// shows that a person said so is sealed under that person's evidence unit.
type ConsentStore struct {
	consents, events, standings, counts, checks, invalidations, subjects, stops *mongo.Collection

	dates *retentionDates
	vault *vault.Vault
	log   *slog.Logger
}

// NewConsentStore returns the store of consents in d.
func NewConsentStore(d *DB, v *vault.Vault, log *slog.Logger) *ConsentStore {
	return &ConsentStore{
		d.db.Collection(consentsColl), d.db.Collection(consentEventsColl), d.db.Collection(standingsColl),
		d.db.Collection(consentCountsColl), d.db.Collection(erasureChecksColl), d.db.Collection(invalidationsColl),
		d.db.Collection(subjectsColl), d.db.Collection(stopsColl), newRetentionDates(d), v, log,
	}
}

type refDoc struct {
	ID      string `bson:"id"`
	Version int64  `bson:"version"`
}

type consentDoc struct {
	ID         string          `bson:"_id"`
	Tenant     tenant.ID       `bson:"tenant"`
	Subject    string          `bson:"subject"`
	Purpose    string          `bson:"purpose"` // key
	Ref        refDoc          `bson:"ref"`
	Notice     string          `bson:"notice"`
	State      consent.State   `bson:"state"`
	ValidUntil *time.Time      `bson:"validUntil"`
	AskAfter   *time.Time      `bson:"askAfter"`
	Channel    consent.Channel `bson:"channel"`
	Supersedes *string         `bson:"supersedes"`
	Version    int64           `bson:"version"`
	CreatedAt  time.Time       `bson:"createdAt"`
	UpdatedAt  time.Time       `bson:"updatedAt"`
	Language   sealed          `bson:"language,omitempty"`
	// Slot is made of person, purpose and notice while the record isn't over: it is the
	// only one then.
	Slot string `bson:"slot,omitempty"`
}

func slotOf(person, purposeKey, noticeID string) string {
	return person + "/" + purposeKey + "/" + noticeID
}

type consentEventDoc struct {
	ID         string              `bson:"_id"`
	Tenant     tenant.ID           `bson:"tenant"`
	Consent    string              `bson:"consent"`
	Subject    string              `bson:"subject"`
	Purpose    string              `bson:"purpose"` // key
	Ref        refDoc              `bson:"ref"`
	Notice     string              `bson:"notice"`
	Seq        int64               `bson:"seq"`
	State      consent.State       `bson:"state"`
	Expression *consent.Expression `bson:"expression,omitempty"`
	Actor      consent.Actor       `bson:"actor"`
	By         string              `bson:"by"`
	Channel    consent.Channel     `bson:"channel"`
	Cause      *consent.Cause      `bson:"cause,omitempty"`
	At         time.Time           `bson:"at"`
	CreatedAt  time.Time           `bson:"createdAt"`
	ValidUntil *time.Time          `bson:"validUntil,omitempty"`
	AskAfter   *time.Time          `bson:"askAfter,omitempty"`
	Evidence   sealed              `bson:"evidence,omitempty"`
	Kept       int64               `bson:"kept,omitempty"`
}

// standingDoc has its _id made of tenant, person and purpose. ExpiresAt, AskDue and
// InForce are there only while they say something, for the indexes. However much
// happens, it stays as small as it is: what happened lies with the events.
type standingDoc struct {
	ID         string          `bson:"_id"`
	Tenant     tenant.ID       `bson:"tenant"`
	Subject    string          `bson:"subject"`
	Purpose    string          `bson:"purpose"` // key
	Ref        refDoc          `bson:"ref"`
	Consent    string          `bson:"consent"`
	Notice     string          `bson:"notice"`
	State      consent.State   `bson:"state"`
	Since      time.Time       `bson:"since"`
	ValidUntil *time.Time      `bson:"validUntil,omitempty"`
	AskAfter   *time.Time      `bson:"askAfter,omitempty"`
	ConflictAt *time.Time      `bson:"conflictAt,omitempty"`
	Channel    consent.Channel `bson:"channel"`
	Seq        int64           `bson:"seq"`
	LastAt     time.Time       `bson:"lastAt"`
	NotedAt    time.Time       `bson:"notedAt"`

	ExpiresAt *time.Time `bson:"expiresAt,omitempty"`
	AskDue    *time.Time `bson:"askDue,omitempty"`
	InForce   bool       `bson:"inForce,omitempty"`
	Erased    bool       `bson:"erased,omitempty"` // the person is: it says nothing any more
}

func standingID(of tenant.ID, p consent.Pair) string {
	return string(of) + "/" + p.SubjectID + "/" + p.PurposeKey
}

func (d *standingDoc) standing() *consent.Standing {
	return &consent.Standing{
		SubjectID: d.Subject, PurposeKey: d.Purpose, ConsentID: d.Consent, NoticeID: d.Notice,
		Purpose: purpose.Ref{ID: d.Ref.ID, Key: d.Purpose, Version: d.Ref.Version}, State: d.State, Since: d.Since,
		ValidUntil: d.ValidUntil, AskAfter: d.AskAfter, ConflictAt: d.ConflictAt, Channel: d.Channel, Seq: d.Seq,
		LastAt: d.LastAt, NotedAt: d.NotedAt,
	}
}

func newStandingDoc(of tenant.ID, t *consent.Track) standingDoc {
	s := &t.Standing
	doc := standingDoc{
		ID: standingID(of, consent.Pair{SubjectID: t.SubjectID, PurposeKey: t.PurposeKey}), Tenant: of, Subject: t.SubjectID,
		Purpose: t.PurposeKey, Ref: refDoc{s.Purpose.ID, s.Purpose.Version}, Consent: s.ConsentID, Notice: s.NoticeID,
		State: s.State, Since: s.Since, ValidUntil: s.ValidUntil, AskAfter: s.AskAfter, ConflictAt: s.ConflictAt,
		Channel: s.Channel, Seq: s.Seq, LastAt: s.LastAt, NotedAt: s.NotedAt, AskDue: s.AskAfter, InForce: s.State.Valid(),
	}
	if doc.InForce {
		doc.ExpiresAt = s.ValidUntil
	}
	return doc
}

// evidenceJSON is the form of consent.Evidence that is sealed.
type evidenceJSON struct {
	Language   string  `json:"language,omitempty"`
	TextHash   string  `json:"textHash,omitempty"`
	Name       string  `json:"name,omitempty"`
	Component  string  `json:"component,omitempty"`
	ScreenHash string  `json:"screenHash,omitempty"`
	Locale     string  `json:"locale,omitempty"`
	AppVersion string  `json:"appVersion,omitempty"`
	Session    string  `json:"session,omitempty"`
	Proof      *string `json:"proof,omitempty"`
	Note       string  `json:"note,omitempty"`
	GPC        bool    `json:"gpc,omitempty"`
	Age        *int    `json:"age,omitempty"`
	Country    string  `json:"country,omitempty"`
}

func newEvidenceJSON(e *consent.Evidence) evidenceJSON {
	return evidenceJSON{
		e.Language, e.TextHash, e.Name.Reveal(), e.Component.Reveal(), e.ScreenHash.Reveal(), e.Locale.Reveal(), e.AppVersion.Reveal(),
		e.Session.Reveal(), e.Proof, e.Note.Reveal(), e.GPC, e.Age, e.Country,
	}
}

func (e *evidenceJSON) evidence() *consent.Evidence {
	return &consent.Evidence{
		Language: e.Language, TextHash: e.TextHash, Name: personal.NewText(e.Name), Component: personal.NewText(e.Component),
		ScreenHash: personal.NewText(e.ScreenHash), Locale: personal.NewText(e.Locale), AppVersion: personal.NewText(e.AppVersion),
		Session: personal.NewText(e.Session), Proof: e.Proof, Note: personal.NewText(e.Note), GPC: e.GPC, Age: e.Age, Country: e.Country,
	}
}

// proofSealer seals what is kept of a person as proof.
func proofSealer(keys *vault.Keys, of tenant.ID, person, collection, id string) *sealer {
	return &sealer{keys: keys, owner: audit.Evidence(of, person), place: vault.Place{Collection: collection, Record: id}}
}

// keys loads the evidence keys of persons.
func (s *ConsentStore) keys(ctx context.Context, of tenant.ID, persons []string) (*vault.Keys, error) {
	persons = present(persons)
	owners := make([]vault.Owner, len(persons))
	for i, p := range persons {
		owners[i] = audit.Evidence(of, p)
	}
	return s.vault.Load(ctx, owners...)
}

// Standing implements consent.Store.
func (s *ConsentStore) Standing(ctx context.Context, p consent.Pair) (*consent.Standing, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var doc standingDoc
	err = s.standings.FindOne(ctx, bson.D{{Key: "_id", Value: standingID(of, p)}, {Key: "tenant", Value: of}}).Decode(&doc)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return &consent.Standing{SubjectID: p.SubjectID, PurposeKey: p.PurposeKey, State: consent.Unknown}, s.there(ctx, p.SubjectID)
	case err != nil:
		return nil, fmt.Errorf("find standing: %w", translate(err))
	case doc.Erased:
		return nil, subject.ErrErased
	}
	return doc.standing(), nil
}

// there fails unless there is a person with an id who isn't erased.
func (s *ConsentStore) there(ctx context.Context, subjectID string) error {
	d, err := one[subjectDoc](ctx, s.subjects, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: subjectID})
	if err == nil && d.State.Gone() {
		return subject.ErrErased
	}
	return err
}

// Standings implements consent.Store.
func (s *ConsentStore) Standings(ctx context.Context, subjectID string) ([]*consent.Standing, error) {
	if err := s.there(ctx, subjectID); err != nil {
		return nil, err
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: subjectID})
	if err != nil {
		return nil, err
	}
	return s.find(ctx, filter, options.Find().SetSort(bson.D{{Key: "purpose", Value: 1}}))
}

// StandingsOf implements consent.Store.
func (s *ConsentStore) StandingsOf(ctx context.Context, purposeKey string, subjects []string) ([]*consent.Standing, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(subjects))
	for i, person := range subjects {
		ids[i] = standingID(of, consent.Pair{SubjectID: person, PurposeKey: purposeKey})
	}
	return s.find(ctx, bson.D{{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
}

// find returns the standings that match, without those of erased persons.
func (s *ConsentStore) find(ctx context.Context, filter bson.D, opts ...options.Lister[options.FindOptions]) ([]*consent.Standing, error) {
	docs, err := all[standingDoc](ctx, s.standings, filter, opts...)
	if err != nil {
		return nil, fmt.Errorf("find standings: %w", err)
	}
	found := make([]*consent.Standing, 0, len(docs))
	for i := range docs {
		if !docs[i].Erased {
			found = append(found, docs[i].standing())
		}
	}
	return found, nil
}

// Tracks implements consent.Store.
func (s *ConsentStore) Tracks(ctx context.Context, wants ...consent.Want) ([]*consent.Track, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	tracks, byID, slots := make([]*consent.Track, len(wants)), map[string]*consent.Track{}, map[string]bool{}
	for i, w := range wants {
		id := standingID(of, w.Pair)
		if byID[id] == nil {
			byID[id] = &consent.Track{
				SubjectID: w.SubjectID, PurposeKey: w.PurposeKey,
				Standing: consent.Standing{SubjectID: w.SubjectID, PurposeKey: w.PurposeKey, State: consent.Unknown},
			}
		}
		if tracks[i] = byID[id]; w.NoticeID != "" {
			slots[slotOf(w.SubjectID, w.PurposeKey, w.NoticeID)] = true
		}
	}
	docs, err := all[standingDoc](ctx, s.standings, bson.D{
		{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$in", Value: slices.Sorted(maps.Keys(byID))}}},
	})
	if err != nil {
		return nil, fmt.Errorf("find standings: %w", err)
	}
	governing := make([]string, len(docs))
	for i := range docs {
		if docs[i].Erased {
			return nil, subject.ErrErased
		}
		byID[docs[i].ID].Standing, governing[i] = *docs[i].standing(), docs[i].Consent
	}
	if len(docs) == 0 { // nobody was ever asked
		return tracks, nil
	}
	consents, err := s.having(ctx, of, "_id", governing)
	if err != nil {
		return nil, err
	}
	open, err := s.having(ctx, of, "slot", slices.Sorted(maps.Keys(slots)))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, c := range append(consents, open...) {
		if !known[c.ID] {
			known[c.ID] = true
			t := byID[standingID(of, consent.Pair{SubjectID: c.SubjectID, PurposeKey: c.Purpose.Key})]
			t.Consents = append(t.Consents, c)
		}
	}
	for _, id := range governing {
		if !known[id] {
			return nil, fmt.Errorf("find consent %s: its standing has it", id)
		}
	}
	return tracks, nil
}

// having returns the consents that have one of values in a field.
func (s *ConsentStore) having(ctx context.Context, of tenant.ID, field string, values []string) ([]*consent.Consent, error) {
	if len(values) == 0 {
		return nil, nil
	}
	docs, err := all[consentDoc](ctx, s.consents, bson.D{{Key: "tenant", Value: of}, {Key: field, Value: bson.D{{Key: "$in", Value: values}}}})
	if err != nil {
		return nil, fmt.Errorf("find consents: %w", err)
	}
	return s.open(ctx, docs)
}

// open returns the consents that docs hold. The language of one whose proof is gone
// or can't be opened is empty.
func (s *ConsentStore) open(ctx context.Context, docs []consentDoc) ([]*consent.Consent, error) {
	if len(docs) == 0 {
		return nil, nil
	}
	persons := make([]string, len(docs))
	for i := range docs {
		persons[i] = docs[i].Subject
	}
	keys, err := s.keys(ctx, docs[0].Tenant, persons)
	if err != nil {
		return nil, err
	}
	consents := make([]*consent.Consent, len(docs))
	for i := range docs {
		d := &docs[i]
		open := proofSealer(keys, d.Tenant, d.Subject, consentsColl, d.ID)
		language := open.openText("language", d.Language).Reveal()
		if _, is := unreadable(open.err); open.err != nil && !is {
			return nil, open.err
		}
		consents[i] = &consent.Consent{
			ID: d.ID, SubjectID: d.Subject, Purpose: purpose.Ref{ID: d.Ref.ID, Key: d.Purpose, Version: d.Ref.Version}, NoticeID: d.Notice,
			State: d.State, ValidUntil: d.ValidUntil, AskAfter: d.AskAfter, Channel: d.Channel, Supersedes: d.Supersedes, Language: language,
			Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		}
	}
	return consents, nil
}

// openEvents returns the events that docs hold, in their order.
func (s *ConsentStore) openEvents(ctx context.Context, docs []consentEventDoc) ([]*consent.Event, error) {
	if len(docs) == 0 {
		return nil, nil
	}
	persons := make([]string, len(docs))
	for i := range docs {
		persons[i] = docs[i].Subject
	}
	keys, err := s.keys(ctx, docs[0].Tenant, persons)
	if err != nil {
		return nil, err
	}
	events := make([]*consent.Event, len(docs))
	for i := range docs {
		d := &docs[i]
		events[i] = &consent.Event{
			ID: d.ID, ConsentID: d.Consent, SubjectID: d.Subject, Purpose: purpose.Ref{ID: d.Ref.ID, Key: d.Purpose, Version: d.Ref.Version},
			NoticeID: d.Notice, Seq: d.Seq, State: d.State, Expression: d.Expression, Actor: d.Actor, By: d.By, Channel: d.Channel,
			Cause: d.Cause, At: d.At, CreatedAt: d.CreatedAt, ValidUntil: d.ValidUntil, AskAfter: d.AskAfter, EvidenceState: personal.Clear,
		}
		if d.Evidence == nil { // of what nobody answered
			continue
		}
		open := proofSealer(keys, d.Tenant, d.Subject, consentEventsColl, d.ID)
		var kept evidenceJSON
		open.openJSON("evidence", d.Evidence, &kept)
		state, is := unreadable(open.err)
		switch {
		case open.err == nil:
			events[i].Evidence = kept.evidence()
			continue
		case !is:
			return nil, open.err
		case state == personal.Withheld:
			s.log.ErrorContext(ctx, "evidence can't be opened", "event", d.ID, "err", open.err)
		}
		events[i].EvidenceState, events[i].EvidenceReason = state, reason(state)
	}
	return events, nil
}

// Write implements consent.Store.
func (s *ConsentStore) Write(ctx context.Context, tracks ...*consent.Track) ([][]byte, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	tracks = slices.DeleteFunc(slices.Clone(tracks), func(t *consent.Track) bool { return !t.Changed })
	if len(tracks) == 0 {
		return nil, nil
	}
	persons := make([]string, len(tracks))
	for i, t := range tracks {
		persons[i] = t.SubjectID
	}
	keys, err := s.keys(ctx, of, persons)
	if err != nil {
		return nil, err
	}
	var (
		events              []consentEventDoc
		digests             [][]byte
		consents, standings []mongo.WriteModel
		moves               []consent.Move
		told                []audit.Content
	)
	for _, t := range tracks {
		changed := map[string]int64{}
		for _, e := range t.Events {
			changed[e.ConsentID]++
			doc, sum, err := sealEvent(keys, of, e)
			if err != nil {
				return nil, err
			}
			events, digests = append(events, doc), append(digests, sum)
		}
		for _, c := range t.Consents {
			if changed[c.ID] == 0 {
				continue
			}
			w, made, err := consentWrite(keys, of, c, c.Version == changed[c.ID])
			if err != nil {
				return nil, err
			}
			consents, told = append(consents, w), append(told, steps(made, changed[c.ID])...)
		}
		doc := newStandingDoc(of, t)
		made, err := keptKind(standingsColl).made(doc)
		if err != nil {
			return nil, err
		}
		told = append(told, steps(made, int64(len(t.Events)))...)
		if t.Standing.Seq == int64(len(t.Events)) {
			standings = append(standings, mongo.NewInsertOneModel().SetDocument(doc))
		} else {
			standings = append(standings, mongo.NewReplaceOneModel().
				SetFilter(bson.D{{Key: "_id", Value: doc.ID}, {Key: "tenant", Value: of}}).SetReplacement(doc))
		}
		moves = append(moves, t.Moves...)
	}
	unordered := options.BulkWrite().SetOrdered(false) // inserts go together
	if len(events) > 0 {
		if _, err := s.events.InsertMany(ctx, events); err != nil {
			return nil, fmt.Errorf("insert events of consents: %w", translate(err))
		}
		if _, err := s.consents.BulkWrite(ctx, consents, unordered); err != nil {
			return nil, fmt.Errorf("write consents: %w", translate(err))
		}
	}
	if _, err := s.standings.BulkWrite(ctx, standings, unordered); err != nil {
		return nil, fmt.Errorf("write standings: %w", translate(err))
	}
	if err := tell(ctx, told...); err != nil {
		return nil, err
	}
	if len(moves) > 0 {
		return digests, s.count(ctx, of, moves, shardOf(events[0].ID))
	}
	return digests, nil
}

func sealEvent(keys *vault.Keys, of tenant.ID, e *consent.Event) (consentEventDoc, []byte, error) {
	doc := consentEventDoc{
		ID: e.ID, Tenant: of, Consent: e.ConsentID, Subject: e.SubjectID, Purpose: e.Purpose.Key, Ref: refDoc{e.Purpose.ID, e.Purpose.Version},
		Notice: e.NoticeID, Seq: e.Seq, State: e.State, Expression: e.Expression, Actor: e.Actor, By: e.By, Channel: e.Channel,
		Cause: e.Cause, At: e.At, CreatedAt: e.CreatedAt, ValidUntil: e.ValidUntil, AskAfter: e.AskAfter,
	}
	if e.Evidence != nil {
		seal := proofSealer(keys, of, e.SubjectID, consentEventsColl, e.ID)
		kept := newEvidenceJSON(e.Evidence)
		if doc.Evidence = seal.json("evidence", kept, kept == evidenceJSON{}); seal.err != nil {
			return doc, nil, fmt.Errorf("seal event %s: %w", e.ID, seal.err)
		}
	}
	made, err := keptKind(consentEventsColl).made(doc)
	doc.Kept = 1
	return doc, made.Digest, err
}

// consentWrite stores c, which is new or not. What its language is sealed as stays
// if it isn't known.
func consentWrite(
	keys *vault.Keys, of tenant.ID, c *consent.Consent, fresh bool,
) (w mongo.WriteModel, made audit.Content, err error) {
	doc := consentDoc{
		ID: c.ID, Tenant: of, Subject: c.SubjectID, Purpose: c.Purpose.Key, Ref: refDoc{c.Purpose.ID, c.Purpose.Version}, Notice: c.NoticeID,
		State: c.State, ValidUntil: c.ValidUntil, AskAfter: c.AskAfter, Channel: c.Channel, Supersedes: c.Supersedes, Version: c.Version,
		CreatedAt: c.CreatedAt,
		UpdatedAt: c.UpdatedAt,
	}
	seal := proofSealer(keys, of, c.SubjectID, consentsColl, c.ID)
	if doc.Language = seal.text("language", personal.NewText(c.Language)); seal.err != nil {
		return nil, made, fmt.Errorf("seal consent %s: %w", c.ID, seal.err)
	}
	update := bson.D{{Key: "$set", Value: &doc}}
	if c.State.Over() {
		update = append(update, bson.E{Key: "$unset", Value: bson.D{{Key: "slot", Value: ""}}})
	} else {
		doc.Slot = slotOf(c.SubjectID, c.Purpose.Key, c.NoticeID)
	}
	if made, err = keptKind(consentsColl).made(doc); fresh {
		return mongo.NewInsertOneModel().SetDocument(&doc), made, err
	}
	return mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: c.ID}, {Key: "tenant", Value: of}}).SetUpdate(update), made, err
}

// countShards is over how many documents the counters of a purpose and month are
// spread, so that changes don't wait for each other.
const countShards = 16

func shardOf(eventID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(eventID)) // a hash takes all
	return int(h.Sum32() % countShards)
}

// countDoc counts how often persons came to, and left, a state by a channel, for
// the days of a month.
type countDoc struct {
	ID      string           `bson:"_id"`
	Tenant  tenant.ID        `bson:"tenant"`
	Purpose string           `bson:"purpose"`
	Month   string           `bson:"month"` // 2026-01, UTC
	N       map[string]int64 `bson:"n"`     // by cell
}

const (
	came = "c"
	left = "l"
)

// cell names a counter: "c/31/GIVEN/WEB".
func cell(what string, day time.Time, s consent.State, c consent.Channel) string {
	return what + "/" + day.UTC().Format("02") + "/" + string(s) + "/" + string(c)
}

// count counts moves, all in the same shard: which one doesn't matter, for reports
// add them up.
func (s *ConsentStore) count(ctx context.Context, of tenant.ID, moves []consent.Move, shard int) error {
	type bin struct{ purpose, month string }
	bins := map[bin]map[string]int64{}
	for _, m := range moves {
		b := bin{m.PurposeKey, m.At.UTC().Format("2006-01")}
		if bins[b] == nil {
			bins[b] = map[string]int64{}
		}
		bins[b][cell(came, m.At, m.To, m.ToChannel)]++
		if m.From != consent.Unknown {
			bins[b][cell(left, m.At, m.From, m.FromChannel)]++
		}
	}
	writes := make([]mongo.WriteModel, 0, len(bins))
	for b, cells := range bins {
		inc := bson.D{}
		for _, name := range slices.Sorted(maps.Keys(cells)) {
			inc = append(inc, bson.E{Key: "n." + name, Value: cells[name]})
		}
		id := string(of) + "/" + b.purpose + "/" + b.month + "/" + strconv.Itoa(shard)
		writes = append(writes, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "tenant", Value: of}}).
			SetUpdate(bson.D{
				{Key: "$inc", Value: inc},
				{Key: "$setOnInsert", Value: bson.D{{Key: "purpose", Value: b.purpose}, {Key: "month", Value: b.month}}},
			}).SetUpsert(true))
	}
	if _, err := s.counts.BulkWrite(ctx, writes); err != nil {
		return fmt.Errorf("count consents: %w", translate(err))
	}
	return nil
}

// Moves implements consent.Store.
func (s *ConsentStore) Moves(ctx context.Context, purposeKeys []string, to civil.Date) ([]consent.Count, error) {
	type key struct {
		purpose, month, rest string
	}
	sums := map[key]*consent.Count{}
	for _, p := range purposeKeys {
		filter, err := scoped(ctx, bson.E{Key: "purpose", Value: p}, bson.E{Key: "month", Value: bson.D{{Key: "$lte", Value: to.String()[:len("2006-01")]}}})
		if err != nil {
			return nil, err
		}
		docs, err := all[countDoc](ctx, s.counts, filter)
		if err != nil {
			return nil, fmt.Errorf("find counters: %w", err)
		}
		for _, d := range docs {
			for name, n := range d.N {
				what, rest, _ := strings.Cut(name, "/")
				parts := strings.Split(rest, "/")
				day, err := civil.Parse(d.Month + "-" + parts[0])
				if err != nil || len(parts) != 3 {
					return nil, fmt.Errorf("counter %s has no day, state and channel", d.ID)
				}
				if day.After(to) {
					continue
				}
				k := key{p, d.Month, rest}
				if sums[k] == nil {
					sums[k] = &consent.Count{PurposeKey: p, Day: day, State: consent.State(parts[1]), Channel: consent.Channel(parts[2])}
				}
				if what == came {
					sums[k].Came += n
				} else {
					sums[k].Left += n
				}
			}
		}
	}
	counts := make([]consent.Count, 0, len(sums))
	for _, c := range sums {
		counts = append(counts, *c)
	}
	return counts, nil
}

// Get implements consent.Store.
func (s *ConsentStore) Get(ctx context.Context, consentID string) (*consent.Consent, error) {
	d, err := one[consentDoc](ctx, s.consents, "consent", consent.ErrNotFound, bson.E{Key: "_id", Value: consentID})
	if err != nil {
		return nil, err
	}
	found, err := s.open(ctx, []consentDoc{d})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// GetEvent implements consent.Store.
func (s *ConsentStore) GetEvent(ctx context.Context, eventID string) (*consent.Event, error) {
	d, err := one[consentEventDoc](ctx, s.events, "event of consent", consent.ErrNoEvent, bson.E{Key: "_id", Value: eventID})
	if err != nil {
		return nil, err
	}
	found, err := s.openEvents(ctx, []consentEventDoc{d})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// List implements consent.Store.
func (s *ConsentStore) List(ctx context.Context, q consent.Query, after *page.Position, limit int) ([]*consent.Consent, error) {
	equal := bson.D{}
	for _, e := range []struct{ name, value string }{{"subject", q.Subject}, {"purpose", q.Purpose}, {"state", string(q.State)}} {
		if e.value != "" {
			equal = append(equal, bson.E{Key: e.name, Value: e.value})
		}
	}
	docs, err := keyset[consentDoc](ctx, s.consents, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list consents: %w", err)
	}
	return s.open(ctx, docs)
}

// Events implements consent.Store.
func (s *ConsentStore) Events(ctx context.Context, q consent.EventQuery, after *page.Position, limit int) ([]*consent.Event, error) {
	equal := bson.D{{Key: "subject", Value: q.Subject}}
	switch {
	case q.Consent != "":
		equal = bson.D{{Key: "consent", Value: q.Consent}}
	case q.Purpose != "":
		equal = append(equal, bson.E{Key: "purpose", Value: q.Purpose})
	}
	docs, err := keyset[consentEventDoc](ctx, s.events, equal, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list events of consents: %w", err)
	}
	return s.openEvents(ctx, docs)
}

// History implements consent.Store.
func (s *ConsentStore) History(ctx context.Context, p consent.Pair, consentID string) ([]consent.Event, error) {
	equal := bson.D{{Key: "subject", Value: p.SubjectID}, {Key: "purpose", Value: p.PurposeKey}}
	if consentID != "" {
		equal = bson.D{{Key: "consent", Value: consentID}}
	}
	filter, err := scoped(ctx, equal...)
	if err != nil {
		return nil, err
	}
	docs, err := all[consentEventDoc](ctx, s.events, filter)
	if err != nil {
		return nil, fmt.Errorf("find events of consents: %w", err)
	}
	found, err := s.openEvents(ctx, docs)
	if err != nil {
		return nil, err
	}
	events := make([]consent.Event, len(found))
	for i, e := range found {
		events[i] = *e
	}
	slices.SortFunc(events, func(a, b consent.Event) int { return int(a.Seq - b.Seq) })
	return events, nil
}

// Due implements consent.Store.
func (s *ConsentStore) Due(ctx context.Context, at time.Time, limit int) ([]consent.Ref, error) {
	return s.due(ctx, "expiresAt", at, limit)
}

// Askable implements consent.Store.
func (s *ConsentStore) Askable(ctx context.Context, at time.Time, limit int) ([]consent.Ref, error) {
	return s.due(ctx, "askDue", at, limit)
}

func (s *ConsentStore) due(ctx context.Context, field string, at time.Time, limit int) ([]consent.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[standingDoc](ctx, s.standings, bson.D{{Key: field, Value: bson.D{{Key: "$lte", Value: at}}}},
		options.Find().SetSort(bson.D{{Key: field, Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("find standings that are due: %w", err)
	}
	refs := make([]consent.Ref, len(docs))
	for i, d := range docs {
		refs[i] = consent.Ref{Tenant: d.Tenant, Pair: consent.Pair{SubjectID: d.Subject, PurposeKey: d.Purpose}}
	}
	return refs, nil
}

// Asked implements consent.Store.
func (s *ConsentStore) Asked(ctx context.Context, standings ...*consent.Standing) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	ids := make([]string, len(standings))
	for i, st := range standings {
		ids[i] = standingID(of, consent.Pair{SubjectID: st.SubjectID, PurposeKey: st.PurposeKey})
	}
	_, err = s.standings.UpdateMany(ctx, bson.D{{Key: "tenant", Value: of}, {Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "askDue", Value: ""}}}})
	if err != nil {
		return fmt.Errorf("update standings: %w", translate(err))
	}
	return nil
}

// InForce implements consent.Store.
func (s *ConsentStore) InForce(
	ctx context.Context, scope consent.Scope, before time.Time, after *consent.Standing, limit int,
) ([]*consent.Standing, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	which := bson.E{Key: "purpose", Value: scope.Purpose}
	if scope.Notice != "" {
		which = bson.E{Key: "notice", Value: scope.Notice}
	}
	since := bson.D{{Key: "$lt", Value: before}}
	filter := bson.D{{Key: "tenant", Value: of}, which, {Key: "inForce", Value: true}}
	if after != nil {
		since = append(since, bson.E{Key: "$gte", Value: after.Since})
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "since", Value: bson.D{{Key: "$gt", Value: after.Since}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: standingID(of, consent.Pair{SubjectID: after.SubjectID, PurposeKey: after.PurposeKey})}}}},
		}})
	}
	return s.find(ctx, append(filter, bson.E{Key: "since", Value: since}),
		options.Find().SetSort(bson.D{{Key: "since", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

// Answers implements consent.Store.
func (s *ConsentStore) Answers(ctx context.Context, consents ...string) (map[string][]*consent.Event, error) {
	filter, err := scoped(ctx, bson.E{Key: "consent", Value: bson.D{{Key: "$in", Value: consents}}},
		bson.E{Key: "state", Value: bson.D{{Key: "$in", Value: []consent.State{consent.Given, consent.Reconfirmed}}}})
	if err != nil {
		return nil, err
	}
	docs, err := all[consentEventDoc](ctx, s.events, filter)
	if err != nil {
		return nil, fmt.Errorf("find answers: %w", err)
	}
	events, err := s.openEvents(ctx, docs)
	if err != nil {
		return nil, err
	}
	byConsent := make(map[string][]*consent.Event, len(consents))
	for _, e := range events {
		byConsent[e.ConsentID] = append(byConsent[e.ConsentID], e)
	}
	return byConsent, nil
}

// Baseless implements consent.Store.
func (s *ConsentStore) Baseless(ctx context.Context, subjectID string, datasets []string, since time.Time) error {
	for _, d := range datasets {
		if err := s.dates.update(ctx, subjectID, d, bson.D{{Key: "$max", Value: bson.D{{Key: "withdrawnAt", Value: since}}}}); err != nil {
			return err
		}
	}
	return nil
}

// Based implements consent.Store.
func (s *ConsentStore) Based(ctx context.Context, subjectID string, datasets []string) error {
	if len(datasets) == 0 {
		return nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	ids := make([]string, len(datasets))
	for i, d := range datasets {
		ids[i] = itemID(of, subjectID, d)
	}
	in := bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}
	if _, err := s.dates.dates.UpdateMany(ctx, bson.D{in, {Key: "tenant", Value: of}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "withdrawnAt", Value: ""}}}}); err != nil {
		return fmt.Errorf("note for retention: %w", translate(err))
	}
	return s.dates.outdate(ctx, in)
}

type erasureCheckDoc struct {
	ID        string             `bson:"_id"`
	Tenant    tenant.ID          `bson:"tenant"`
	Subject   string             `bson:"subject"`
	Consent   string             `bson:"consent"`
	Purpose   string             `bson:"purpose"`
	Ended     consent.State      `bson:"ended"`
	Ground    consent.Ground     `bson:"ground"`
	State     consent.CheckState `bson:"state"`
	Datasets  []string           `bson:"datasets,omitempty"`
	Batch     string             `bson:"batch,omitempty"`
	CreatedAt time.Time          `bson:"createdAt"`
	CheckedAt *time.Time         `bson:"checkedAt,omitempty"`
}

func newErasureCheckDoc(of tenant.ID, c *consent.Check) erasureCheckDoc {
	return erasureCheckDoc{
		c.ID, of, c.SubjectID, c.ConsentID, c.PurposeKey, c.Ended, c.Ground, c.State, c.Datasets, c.Batch, c.CreatedAt, c.CheckedAt,
	}
}

func (d *erasureCheckDoc) check() *consent.Check {
	return &consent.Check{
		ID: d.ID, SubjectID: d.Subject, ConsentID: d.Consent, PurposeKey: d.Purpose, Ended: d.Ended, Ground: d.Ground, State: d.State,
		Datasets: d.Datasets, Batch: d.Batch, CreatedAt: d.CreatedAt, CheckedAt: d.CheckedAt,
	}
}

// InsertChecks implements consent.Store.
func (s *ConsentStore) InsertChecks(ctx context.Context, checks ...*consent.Check) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	docs := make([]erasureCheckDoc, len(checks))
	for i, c := range checks {
		docs[i] = newErasureCheckDoc(of, c)
	}
	if _, err := s.checks.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert checks: %w", translate(err))
	}
	return nil
}

// SaveCheck implements consent.Store.
func (s *ConsentStore) SaveCheck(ctx context.Context, c *consent.Check) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.checks.ReplaceOne(ctx, bson.D{{Key: "_id", Value: c.ID}, {Key: "tenant", Value: of}}, newErasureCheckDoc(of, c))
	if err != nil {
		return fmt.Errorf("update check %s: %w", c.ID, translate(err))
	}
	return nil
}

// GetCheck implements consent.Store.
func (s *ConsentStore) GetCheck(ctx context.Context, checkID string) (*consent.Check, error) {
	d, err := one[erasureCheckDoc](ctx, s.checks, "check", consent.ErrNoCheck, bson.E{Key: "_id", Value: checkID})
	if err != nil {
		return nil, err
	}
	return d.check(), nil
}

// Checks implements consent.Store.
func (s *ConsentStore) Checks(ctx context.Context, state consent.CheckState, after *page.Position, limit int) ([]*consent.Check, error) {
	docs, err := keyset[erasureCheckDoc](ctx, s.checks, bson.D{{Key: "state", Value: state}}, after, limit)
	return checksOf(docs), err
}

// PendingChecks implements consent.Store.
func (s *ConsentStore) PendingChecks(ctx context.Context, batch string, limit int) ([]*consent.Check, error) {
	filter, err := scoped(ctx, bson.E{Key: "batch", Value: batch}, bson.E{Key: "state", Value: consent.CheckPending})
	if err != nil {
		return nil, err
	}
	docs, err := all[erasureCheckDoc](ctx, s.checks, filter, options.Find().SetLimit(int64(limit)))
	return checksOf(docs), err
}

func checksOf(docs []erasureCheckDoc) []*consent.Check {
	checks := make([]*consent.Check, len(docs))
	for i := range docs {
		checks[i] = docs[i].check()
	}
	return checks
}

type invalidationDoc struct {
	ID        string        `bson:"_id"`
	Tenant    tenant.ID     `bson:"tenant"`
	Purpose   string        `bson:"purpose"`
	Notice    string        `bson:"notice"`
	Cause     consent.Cause `bson:"cause"`
	Reason    string        `bson:"reason"`
	Job       string        `bson:"job"`
	Before    time.Time     `bson:"before"`
	By        string        `bson:"by"`
	CreatedAt time.Time     `bson:"createdAt"`
}

// InsertInvalidation implements consent.Store.
func (s *ConsentStore) InsertInvalidation(ctx context.Context, i *consent.Invalidation) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.invalidations.InsertOne(ctx, invalidationDoc{
		i.ID, of, i.Scope.Purpose, i.Scope.Notice, i.Cause, i.Reason, i.JobID, i.Before, i.By, i.CreatedAt,
	})
	if err != nil {
		return fmt.Errorf("insert invalidation: %w", translate(err))
	}
	return nil
}

// GetInvalidation implements consent.Store.
func (s *ConsentStore) GetInvalidation(ctx context.Context, invalidationID string) (*consent.Invalidation, error) {
	d, err := one[invalidationDoc](ctx, s.invalidations, "invalidation", consent.ErrNoInvalidation, bson.E{Key: "_id", Value: invalidationID})
	if err != nil {
		return nil, err
	}
	return &consent.Invalidation{
		ID: d.ID, Scope: consent.Scope{Purpose: d.Purpose, Notice: d.Notice}, Cause: d.Cause, Reason: d.Reason, JobID: d.Job, Before: d.Before,
		By: d.By, CreatedAt: d.CreatedAt,
	}, nil
}

// closeStandings makes what a person's consents say unusable, with the person.
func closeStandings(ctx context.Context, c *mongo.Collection, person string) error {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: person})
	if err != nil {
		return err
	}
	_, err = c.UpdateMany(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "erased", Value: true}}},
		{Key: "$unset", Value: bson.D{{Key: "expiresAt", Value: ""}, {Key: "askDue", Value: ""}, {Key: "inForce", Value: ""}}},
	})
	if err != nil {
		return fmt.Errorf("close standings of %s: %w", person, translate(err))
	}
	return nil
}

// consentEraser closes the standings of an erased person, whose consents and events
// stay as proof. When the time of the proof is over they go: what the audit log has
// are opaque ids, and commitments to what nobody can open.
type consentEraser struct {
	changes   *change.Runner
	standings *mongo.Collection
	proof     []*mongo.Collection
}

func newConsentEraser(d *DB, changes *change.Runner) *consentEraser {
	return &consentEraser{changes, d.db.Collection(standingsColl), []*mongo.Collection{
		d.db.Collection(consentEventsColl), d.db.Collection(consentsColl), d.db.Collection(standingsColl), d.db.Collection(erasureChecksColl),
	}}
}

// Name implements erasure.Eraser.
func (*consentEraser) Name() string { return "consents" }

// Erase implements erasure.Eraser.
func (e *consentEraser) Erase(ctx context.Context, t erasure.Target) error {
	if t.Whole {
		return closeStandings(ctx, e.standings, t.Subject)
	}
	if !slices.Contains(t.Units, vault.Evidence) {
		return nil
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return err
	}
	for _, c := range e.proof {
		if err := eraseIn(ctx, e.changes, c, filter, nil, "erasure.consents", t.Subject); err != nil {
			return fmt.Errorf("erase proof of consent: %w", err)
		}
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *consentEraser) Left(ctx context.Context, t erasure.Target) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return 0, err
	}
	if t.Whole {
		return count(ctx, e.standings, append(filter, bson.E{Key: "erased", Value: bson.D{{Key: "$ne", Value: true}}}), eraseBatch)
	}
	if !slices.Contains(t.Units, vault.Evidence) {
		return 0, nil
	}
	left := 0
	for _, c := range e.proof {
		n, cerr := count(ctx, c, filter, eraseBatch)
		left, err = left+n, errors.Join(err, cerr)
	}
	return left, err
}
