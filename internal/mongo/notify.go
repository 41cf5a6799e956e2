package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

var _ notify.Store = (*NotifyStore)(nil)

// NotifyStore keeps messages to people.
type NotifyStore struct {
	messages, tenants *mongo.Collection
	vault             *vault.Vault
}

// NewNotifyStore returns the store of messages in d.
func NewNotifyStore(d *DB, v *vault.Vault) *NotifyStore {
	return &NotifyStore{d.db.Collection(messagesColl), d.db.Collection(tenantsColl), v}
}

type messageDoc struct {
	ID        string       `bson:"_id"`
	Tenant    tenant.ID    `bson:"tenant"`
	Template  string       `bson:"template"`
	Language  string       `bson:"language"`
	State     notify.State `bson:"state"`
	Subject   string       `bson:"subject"` // of the owner of the key
	Unit      vault.Unit   `bson:"unit"`
	To        sealed       `bson:"to,omitempty"`
	Vars      sealed       `bson:"vars,omitempty"`
	CreatedAt time.Time    `bson:"createdAt"`
	EndedAt   time.Time    `bson:"endedAt,omitempty"`
}

func (s *NotifyStore) sealer(ctx context.Context, owner vault.Owner, messageID string) (*sealer, error) {
	keys, err := s.vault.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: messagesColl, Record: messageID}}, nil
}

// Insert implements notify.Store.
func (s *NotifyStore) Insert(ctx context.Context, m *notify.Row) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if m.Owner.Tenant != of {
		return fmt.Errorf("insert message: the key is of another tenant: %w", vault.ErrOwner)
	}
	seal, err := s.sealer(ctx, m.Owner, m.ID)
	if err != nil {
		return fmt.Errorf("insert message: %w", err)
	}
	vars := make(map[string]string, len(m.Vars))
	for name, v := range m.Vars {
		vars[name] = v.Reveal()
	}
	doc := messageDoc{
		ID: m.ID, Tenant: of, Template: m.Template, Language: m.Language, State: m.State, Subject: m.Owner.Subject,
		Unit: m.Owner.Unit, To: seal.text("to", m.To), Vars: seal.json("vars", vars, false), CreatedAt: m.CreatedAt,
	}
	if seal.err != nil {
		return fmt.Errorf("seal message: %w", seal.err)
	}
	if _, err := s.messages.InsertOne(ctx, doc); err != nil {
		return fmt.Errorf("insert message: %w", translate(err))
	}
	return nil
}

// Get implements notify.Store.
func (s *NotifyStore) Get(ctx context.Context, messageID string) (*notify.Row, error) {
	d, err := one[messageDoc](ctx, s.messages, "message", notify.ErrNotFound, bson.E{Key: "_id", Value: messageID})
	if err != nil {
		return nil, err
	}
	m := &notify.Row{
		ID: d.ID, Template: d.Template, Language: d.Language, State: d.State,
		Owner: vault.Owner{Tenant: d.Tenant, Subject: d.Subject, Unit: d.Unit}, CreatedAt: d.CreatedAt, EndedAt: d.EndedAt,
	}
	if d.State != notify.Queued {
		return m, nil
	}
	open, err := s.sealer(ctx, m.Owner, m.ID)
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", m.ID, err)
	}
	vars := map[string]string{}
	m.To = open.openText("to", d.To)
	open.openJSON("vars", d.Vars, &vars)
	if open.err != nil {
		return nil, fmt.Errorf("open message %s: %w", m.ID, open.err)
	}
	m.Vars = make(map[string]personal.Text, len(vars))
	for name, v := range vars {
		m.Vars[name] = personal.NewText(v)
	}
	return m, nil
}

// End implements notify.Store.
func (s *NotifyStore) End(ctx context.Context, messageID string, state notify.State, at time.Time) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: messageID}, bson.E{Key: "state", Value: notify.Queued})
	if err != nil {
		return err
	}
	_, err = s.messages.UpdateOne(ctx, filter, bson.D{
		{Key: "$set", Value: bson.D{{Key: "state", Value: state}, {Key: "endedAt", Value: at}}},
		{Key: "$unset", Value: bson.D{{Key: "to", Value: ""}, {Key: "vars", Value: ""}}},
	})
	if err != nil {
		return fmt.Errorf("end message %s: %w", messageID, translate(err))
	}
	return nil
}

// Languages implements notify.Store.
func (s *NotifyStore) Languages(ctx context.Context) ([]string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d, err := one[tenantDoc](ctx, s.tenants, "tenant", tenancy.ErrNotFound, bson.E{Key: "_id", Value: of})
	return d.Languages, err
}

// Old implements notify.Store.
func (s *NotifyStore) Old(ctx context.Context, before time.Time, limit int) ([]notify.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[messageDoc](ctx, s.messages, bson.D{
		{Key: "state", Value: notify.Queued}, {Key: "createdAt", Value: bson.D{{Key: "$lt", Value: before}}},
	}, options.Find().SetSort(bson.D{{Key: "createdAt", Value: 1}}).SetLimit(int64(limit)))
	if err != nil {
		return nil, err
	}
	refs := make([]notify.Ref, len(docs))
	for i, d := range docs {
		refs[i] = notify.Ref{Tenant: d.Tenant, ID: d.ID}
	}
	return refs, nil
}
