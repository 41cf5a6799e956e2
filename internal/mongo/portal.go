package mongo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ portal.Store = (*PortalStore)(nil)

// PortalStore keeps the sign-ins of persons.
type PortalStore struct {
	challenges, sessions, subjects, audit *mongo.Collection
	vault                                 *vault.Vault
}

// NewPortalStore returns the store of sign-ins in d.
func NewPortalStore(d *DB, v *vault.Vault) *PortalStore {
	return &PortalStore{
		d.db.Collection(challengesColl), d.db.Collection(selfSessionsColl), d.db.Collection(subjectsColl), d.db.Collection(auditColl), v,
	}
}

type challengeDoc struct {
	ID        string       `bson:"_id"`
	Tenant    tenant.ID    `bson:"tenant"`
	State     portal.State `bson:"state"`
	Typed     sealed       `bson:"typed,omitempty"` // under the tenant's own key: it may be nobody's
	Language  string       `bson:"language,omitempty"`
	Network   string       `bson:"network,omitempty"`
	Subject   string       `bson:"subject,omitempty"`
	Code      []byte       `bson:"code,omitempty"`
	Attempts  int          `bson:"attempts"`
	CreatedAt time.Time    `bson:"createdAt"`
	ExpiresAt time.Time    `bson:"expiresAt"`
}

// typedJSON is the form of what was typed.
type typedJSON struct {
	Index      lookup.Name `json:"index"`
	Unique     bool        `json:"unique,omitempty"`
	Normaliser int         `json:"normaliser"`
	Value      string      `json:"value"`
	Before     []formJSON  `json:"before,omitempty"`
	BirthDate  string      `json:"birthDate,omitempty"`
}

type formJSON struct {
	Version int    `json:"version"`
	Value   string `json:"value"`
}

func typed(c *portal.Challenge) typedJSON {
	t := typedJSON{
		Index: c.By.Name, Unique: c.By.Unique, Normaliser: c.By.Normaliser, Value: c.By.Value.Reveal(), BirthDate: c.BirthDate.Reveal(),
	}
	for _, f := range c.By.Before {
		t.Before = append(t.Before, formJSON{f.Version, f.Value.Reveal()})
	}
	return t
}

func (d *challengeDoc) challenge() *portal.Challenge {
	c := &portal.Challenge{
		ID: d.ID, State: d.State, Language: d.Language, Network: d.Network, Subject: d.Subject, Attempts: d.Attempts,
		CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt,
	}
	copy(c.Code[:], d.Code)
	return c
}

func (s *PortalStore) sealer(ctx context.Context, of tenant.ID, challengeID string) (*sealer, error) {
	owner := tenancy.Contact(of)
	keys, err := s.vault.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: challengesColl, Record: challengeID}}, nil
}

// InsertChallenge implements portal.Store.
func (s *PortalStore) InsertChallenge(ctx context.Context, c *portal.Challenge) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	seal, err := s.sealer(ctx, of, c.ID)
	if err != nil {
		return err
	}
	doc := challengeDoc{
		ID: c.ID, Tenant: of, State: c.State, Language: c.Language, Network: c.Network, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt,
		Typed: seal.json("typed", typed(c), false),
	}
	if seal.err != nil {
		return fmt.Errorf("seal challenge: %w", seal.err)
	}
	if _, err := s.challenges.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert challenge: %w", translate(err))
	}
	return nil
}

// Challenge implements portal.Store.
func (s *PortalStore) Challenge(ctx context.Context, challengeID string) (*portal.Challenge, error) {
	d, err := one[challengeDoc](ctx, s.challenges, "challenge", portal.ErrChallenge, bson.E{Key: "_id", Value: challengeID})
	if err != nil {
		return nil, err
	}
	c := d.challenge()
	if d.Typed == nil {
		return c, nil
	}
	open, err := s.sealer(ctx, d.Tenant, d.ID)
	if err != nil {
		return nil, err
	}
	var typed typedJSON
	if open.openJSON("typed", d.Typed, &typed); open.err != nil {
		return nil, fmt.Errorf("open challenge: %w", open.err)
	}
	c.By = &lookup.Key{Name: typed.Index, Unique: typed.Unique, Normaliser: typed.Normaliser, Value: personal.NewText(typed.Value)}
	for _, f := range typed.Before {
		c.By.Before = append(c.By.Before, identifier.Form{Version: f.Version, Value: personal.NewText(f.Value)})
	}
	c.BirthDate = personal.NewText(typed.BirthDate)
	return c, nil
}

// Attempt implements portal.Store.
func (s *PortalStore) Attempt(ctx context.Context, challengeID string, now time.Time) (*portal.Challenge, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: challengeID},
		bson.E{Key: "expiresAt", Value: bson.D{{Key: "$gt", Value: now}}})
	if err != nil {
		return nil, err
	}
	var d challengeDoc
	err = s.challenges.FindOneAndUpdate(ctx, filter, bson.D{{Key: "$inc", Value: bson.D{{Key: "attempts", Value: 1}}}},
		options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, portal.ErrChallenge
	}
	if err != nil {
		return nil, fmt.Errorf("count attempt: %w", translate(err))
	}
	return d.challenge(), nil
}

// Send implements portal.Store.
func (s *PortalStore) Send(ctx context.Context, c *portal.Challenge) error {
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: c.Subject}, bson.E{Key: "state", Value: portal.Sent})
	if err != nil {
		return err
	}
	if _, err := s.challenges.UpdateMany(ctx, filter, set(bson.E{Key: "state", Value: portal.Replaced})); err != nil {
		return fmt.Errorf("replace challenges: %w", translate(err))
	}
	return s.settle(ctx, c.ID, bson.E{Key: "state", Value: portal.Sent},
		bson.E{Key: "subject", Value: c.Subject}, bson.E{Key: "code", Value: c.Code[:]})
}

// Drop implements portal.Store.
func (s *PortalStore) Drop(ctx context.Context, challengeID string) error {
	return s.settle(ctx, challengeID, bson.E{Key: "state", Value: portal.Unsent})
}

// settle writes what came of an Asked challenge.
func (s *PortalStore) settle(ctx context.Context, challengeID string, fields ...bson.E) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: challengeID}, bson.E{Key: "state", Value: portal.Asked})
	if err != nil {
		return err
	}
	update := append(set(fields...), bson.E{Key: "$unset", Value: bson.D{{Key: "typed", Value: ""}}})
	if _, err := s.challenges.UpdateOne(ctx, filter, update); err != nil {
		return fmt.Errorf("settle challenge: %w", translate(err))
	}
	return nil
}

// Use implements portal.Store.
func (s *PortalStore) Use(ctx context.Context, challengeID string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: challengeID}, bson.E{Key: "state", Value: portal.Sent})
	if err != nil {
		return err
	}
	res, err := s.challenges.UpdateOne(ctx, filter, set(bson.E{Key: "state", Value: portal.Used}))
	if err != nil {
		return fmt.Errorf("use challenge: %w", translate(err))
	}
	if res.MatchedCount == 0 {
		return portal.ErrCode
	}
	return nil
}

// since matches what is of a person and was made since a time.
func since(ctx context.Context, subjectID, field string, at time.Time, more ...bson.E) (bson.D, error) {
	return scoped(ctx, append([]bson.E{
		{Key: "subject", Value: subjectID}, {Key: field, Value: bson.D{{Key: "$gte", Value: at}}},
	}, more...)...)
}

// Mails implements portal.Store.
func (s *PortalStore) Mails(ctx context.Context, subjectID string, at time.Time, limit int) (int, error) {
	filter, err := since(ctx, subjectID, "createdAt", at)
	if err != nil {
		return 0, err
	}
	return count(ctx, s.challenges, filter, limit)
}

// KnownNetwork implements portal.Store.
func (s *PortalStore) KnownNetwork(ctx context.Context, subjectID, network string, at time.Time) (bool, error) {
	filter, err := since(ctx, subjectID, "createdAt", at, bson.E{Key: "network", Value: network})
	if err != nil {
		return false, err
	}
	n, err := count(ctx, s.sessions, filter, 1)
	return n > 0, err
}

// Readdressed implements portal.Store.
func (s *PortalStore) Readdressed(ctx context.Context, subjectID string, at time.Time) (bool, error) {
	filter, err := scoped(ctx, bson.E{Key: "subjects.id", Value: subjectID}, bson.E{Key: "at", Value: bson.D{{Key: "$gte", Value: at}}},
		bson.E{Key: "action", Value: "subject.update"}, bson.E{Key: "fields", Value: "emails"},
		bson.E{Key: "actor.kind", Value: bson.D{{Key: "$in", Value: bson.A{authz.KindMember, authz.KindOperator}}}})
	if err != nil {
		return false, err
	}
	n, err := count(ctx, s.audit, filter, 1)
	return n > 0, err
}

type selfSessionDoc struct {
	ID        string        `bson:"_id"`
	Tenant    tenant.ID     `bson:"tenant"`
	Subject   string        `bson:"subject"`
	Method    portal.Method `bson:"method"`
	Hash      []byte        `bson:"hash"`
	Network   string        `bson:"network,omitempty"`
	CreatedAt time.Time     `bson:"createdAt"`
	ExpiresAt time.Time     `bson:"expiresAt"`
	EndedAt   *time.Time    `bson:"endedAt,omitempty"`
}

// InsertSession implements portal.Store.
func (s *PortalStore) InsertSession(ctx context.Context, n *portal.Session) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	_, err = s.sessions.InsertOne(ctx, selfSessionDoc{
		n.ID, of, n.Subject, n.Method, n.Hash[:], n.Network, n.CreatedAt, n.ExpiresAt, n.EndedAt,
	})
	if err != nil {
		return fmt.Errorf("insert session: %w", translate(err))
	}
	return nil
}

// Session implements portal.Store.
func (s *PortalStore) Session(ctx context.Context, sessionID string) (*portal.Session, error) {
	d, err := one[selfSessionDoc](ctx, s.sessions, "session", portal.ErrSession, bson.E{Key: "_id", Value: sessionID})
	if err != nil {
		return nil, err
	}
	if len(d.Hash) != sha256.Size {
		return nil, fmt.Errorf("session %s has a malformed hash", d.ID)
	}
	return &portal.Session{
		ID: d.ID, Subject: d.Subject, Method: d.Method, Hash: [sha256.Size]byte(d.Hash), Network: d.Network,
		CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt, EndedAt: d.EndedAt,
	}, nil
}

// EndSessions implements portal.Store.
func (s *PortalStore) EndSessions(ctx context.Context, subjectID, sessionID string, at time.Time) (int, error) {
	match := []bson.E{
		{Key: "subject", Value: subjectID},
		{Key: "expiresAt", Value: bson.D{{Key: "$gt", Value: at}}},
		{Key: "endedAt", Value: bson.D{{Key: "$exists", Value: false}}},
	}
	if sessionID != "" {
		match = append(match, bson.E{Key: "_id", Value: sessionID})
	}
	filter, err := scoped(ctx, match...)
	if err != nil {
		return 0, err
	}
	res, err := s.sessions.UpdateMany(ctx, filter, set(bson.E{Key: "endedAt", Value: at}))
	if err != nil {
		return 0, fmt.Errorf("end sessions: %w", translate(err))
	}
	return int(res.ModifiedCount), nil
}

// State implements portal.Store.
func (s *PortalStore) State(ctx context.Context, subjectID string) (subject.State, error) {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: subjectID})
	if err != nil {
		return "", err
	}
	var d struct {
		State subject.State `bson:"state"`
	}
	err = s.subjects.FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "state", Value: 1}})).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return "", subject.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("find state of subject: %w", translate(err))
	}
	return d.State, nil
}

// Sweep implements portal.Store.
func (s *PortalStore) Sweep(ctx context.Context, expired, began time.Time) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	for field, of := range map[string]struct {
		coll   *mongo.Collection
		before time.Time
	}{"expiresAt": {s.challenges, expired}, "createdAt": {s.sessions, began}} {
		if _, err := of.coll.DeleteMany(ctx, bson.D{{Key: field, Value: bson.D{{Key: "$lt", Value: of.before}}}}); err != nil {
			return fmt.Errorf("delete old sign-ins: %w", translate(err))
		}
	}
	return nil
}

// signInEraser destroys what is kept of a person's sign-ins.
type signInEraser struct{ colls []*mongo.Collection }

// Name implements erasure.Eraser.
func (*signInEraser) Name() string { return "sign-ins" }

// Erase implements erasure.Eraser.
func (e *signInEraser) Erase(ctx context.Context, t erasure.Target) error {
	if !t.Whole {
		return nil
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return err
	}
	for _, coll := range e.colls {
		if _, err := coll.DeleteMany(ctx, filter); err != nil {
			return fmt.Errorf("erase sign-ins: %w", translate(err))
		}
	}
	return nil
}

// Left implements erasure.Eraser.
func (e *signInEraser) Left(ctx context.Context, t erasure.Target) (left int, err error) {
	if !t.Whole {
		return 0, nil
	}
	filter, err := scoped(ctx, bson.E{Key: "subject", Value: t.Subject})
	if err != nil {
		return 0, err
	}
	for _, coll := range e.colls {
		n, err := count(ctx, coll, filter, eraseBatch)
		if err != nil {
			return 0, err
		}
		left += n
	}
	return left, nil
}
