package mongo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/webhook"
)

var _ webhook.Store = (*WebhookStore)(nil)

// WebhookStore keeps webhooks and their deliveries.
type WebhookStore struct {
	webhooks, deliveries *mongo.Collection
	vault                *vault.Vault
}

// NewWebhookStore returns the store of webhooks in d.
func NewWebhookStore(d *DB, v *vault.Vault) *WebhookStore {
	return &WebhookStore{d.db.Collection(webhooksColl), d.db.Collection(deliveriesColl), v}
}

type webhookDoc struct {
	ID           string       `bson:"_id"`
	Tenant       tenant.ID    `bson:"tenant"`
	Set          settingsDoc  `bson:",inline"`
	CreatedAt    time.Time    `bson:"createdAt"`
	FailingSince *time.Time   `bson:"failingSince,omitempty"`
	Cursor       int64        `bson:"cursor"`
	Secrets      []signingDoc `bson:"secrets"`
}

// settingsDoc is what Update writes.
type settingsDoc struct {
	URL         string        `bson:"url"`
	Events      []string      `bson:"events"`
	Description *string       `bson:"description"`
	State       webhook.State `bson:"state"`
	Version     int64         `bson:"version"`
	UpdatedAt   time.Time     `bson:"updatedAt"`
	VerifiedAt  *time.Time    `bson:"verifiedAt"`
}

// signingDoc is a secret, sealed for its place among them.
type signingDoc struct {
	Value     sealed     `bson:"value"`
	ExpiresAt *time.Time `bson:"expiresAt,omitempty"`
}

func settings(w *webhook.Webhook) settingsDoc {
	return settingsDoc{w.URL, w.Events, w.Description, w.State, w.Version, w.UpdatedAt, w.VerifiedAt}
}

func (d *webhookDoc) webhook() *webhook.Webhook {
	return &webhook.Webhook{
		ID: d.ID, URL: d.Set.URL, Events: d.Set.Events, Description: d.Set.Description, State: d.Set.State,
		Version: d.Set.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.Set.UpdatedAt, VerifiedAt: d.Set.VerifiedAt,
		FailingSince: d.FailingSince, Cursor: d.Cursor,
	}
}

// sealer seals secrets of a webhook.
func (s *WebhookStore) sealer(ctx context.Context, webhookID string) (*sealer, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.vault.Load(ctx, vault.CredentialsOf(of))
	if err != nil {
		return nil, err
	}
	return &sealer{
		keys: keys, owner: vault.CredentialsOf(of), place: vault.Place{Collection: webhooksColl, Record: webhookID},
	}, nil
}

func secretField(place int) string { return "secret." + strconv.Itoa(place) }

func (s *WebhookStore) seal(ctx context.Context, webhookID string, secrets ...webhook.Secret) ([]signingDoc, error) {
	seal, err := s.sealer(ctx, webhookID)
	if err != nil {
		return nil, err
	}
	docs := make([]signingDoc, len(secrets))
	for i, secret := range secrets {
		docs[i] = signingDoc{seal.text(secretField(i), secret.Value), secret.ExpiresAt}
	}
	return docs, seal.err
}

// Get implements webhook.Store.
func (s *WebhookStore) Get(ctx context.Context, webhookID string) (*webhook.Webhook, error) {
	d, err := one[webhookDoc](ctx, s.webhooks, "webhook", webhook.ErrNotFound, bson.E{Key: "_id", Value: webhookID})
	if err != nil {
		return nil, err
	}
	return d.webhook(), nil
}

// List implements webhook.Store.
func (s *WebhookStore) List(ctx context.Context, limit int) ([]*webhook.Webhook, error) {
	docs, err := keyset[webhookDoc](ctx, s.webhooks, nil, nil, limit)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	webhooks := make([]*webhook.Webhook, len(docs))
	for i := range docs {
		webhooks[i] = docs[i].webhook()
	}
	return webhooks, nil
}

// Insert implements webhook.Store.
func (s *WebhookStore) Insert(ctx context.Context, w *webhook.Webhook, secret webhook.Secret) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	secrets, err := s.seal(ctx, w.ID, secret)
	if err != nil {
		return fmt.Errorf("seal webhook secret: %w", err)
	}
	_, err = s.webhooks.InsertOne(ctx, webhookDoc{
		ID: w.ID, Tenant: of, Set: settings(w), CreatedAt: w.CreatedAt, Cursor: w.Cursor, Secrets: secrets,
	})
	if err != nil {
		return fmt.Errorf("insert webhook: %w", translate(err))
	}
	return nil
}

// Update implements webhook.Store.
func (s *WebhookStore) Update(ctx context.Context, w *webhook.Webhook) error {
	return s.update(ctx, w.ID, change.ErrVersion, bson.D{{Key: "$set", Value: settings(w)}},
		bson.E{Key: "version", Value: w.Version - 1})
}

// update updates the webhook that matches, or fails with the error missing.
func (s *WebhookStore) update(ctx context.Context, webhookID string, missing error, update bson.D, match ...bson.E) error {
	filter, err := scoped(ctx, append([]bson.E{{Key: "_id", Value: webhookID}}, match...)...)
	if err != nil {
		return err
	}
	res, err := s.webhooks.UpdateOne(ctx, filter, update)
	if err != nil {
		return fmt.Errorf("update webhook %s: %w", webhookID, translate(err))
	}
	if res.MatchedCount == 0 {
		return missing
	}
	return nil
}

// Delete implements webhook.Store.
func (s *WebhookStore) Delete(ctx context.Context, webhookID string) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: webhookID})
	if err != nil {
		return err
	}
	res, err := s.webhooks.DeleteOne(ctx, filter)
	if err != nil {
		return fmt.Errorf("delete webhook %s: %w", webhookID, translate(err))
	}
	if res.DeletedCount == 0 {
		return webhook.ErrNotFound
	}
	return nil
}

// Secrets implements webhook.Store.
func (s *WebhookStore) Secrets(ctx context.Context, webhookID string) ([]webhook.Secret, error) {
	d, err := one[webhookDoc](ctx, s.webhooks, "webhook", webhook.ErrNotFound, bson.E{Key: "_id", Value: webhookID})
	if err != nil {
		return nil, err
	}
	open, err := s.sealer(ctx, webhookID)
	if err != nil {
		return nil, fmt.Errorf("open webhook secrets: %w", err)
	}
	secrets := make([]webhook.Secret, len(d.Secrets))
	for i, secret := range d.Secrets {
		secrets[i] = webhook.Secret{Value: open.openText(secretField(i), secret.Value), ExpiresAt: secret.ExpiresAt}
	}
	if open.err != nil {
		return nil, fmt.Errorf("open webhook secrets: %w", open.err)
	}
	return secrets, nil
}

// Rotate implements webhook.Store.
func (s *WebhookStore) Rotate(ctx context.Context, w *webhook.Webhook, secrets []webhook.Secret) error {
	docs, err := s.seal(ctx, w.ID, secrets...)
	if err != nil {
		return fmt.Errorf("seal webhook secrets: %w", err)
	}
	return s.update(ctx, w.ID, change.ErrVersion, set(
		bson.E{Key: "secrets", Value: docs}, bson.E{Key: "version", Value: w.Version}, bson.E{Key: "updatedAt", Value: w.UpdatedAt},
	), bson.E{Key: "version", Value: w.Version - 1})
}

// Failing implements webhook.Store.
func (s *WebhookStore) Failing(ctx context.Context, webhookID string, since *time.Time) error {
	update, match := bson.D{{Key: "$unset", Value: bson.D{{Key: "failingSince", Value: ""}}}}, []bson.E(nil)
	if since != nil {
		update = set(bson.E{Key: "failingSince", Value: *since})
		match = []bson.E{{Key: "failingSince", Value: bson.D{{Key: "$exists", Value: false}}}}
	}
	if err := s.update(ctx, webhookID, webhook.ErrMoved, update, match...); !errors.Is(err, webhook.ErrMoved) {
		return err
	}
	return nil // it is failing already, or gone
}

// Advance implements webhook.Store.
func (s *WebhookStore) Advance(ctx context.Context, webhookID string, from, to int64) error {
	return s.update(ctx, webhookID, webhook.ErrMoved, set(bson.E{Key: "cursor", Value: to}),
		bson.E{Key: "cursor", Value: from}, bson.E{Key: "state", Value: webhook.Active})
}

// Active implements webhook.Store. It spans tenants.
func (s *WebhookStore) Active(ctx context.Context, after string, limit int) ([]webhook.Ref, error) {
	if err := tenant.RequireSystem(ctx); err != nil {
		return nil, err
	}
	docs, err := all[webhookDoc](ctx, s.webhooks, bson.D{
		{Key: "state", Value: webhook.Active}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
	}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "tenant", Value: 1}}))
	if err != nil {
		return nil, err
	}
	refs := make([]webhook.Ref, len(docs))
	for i, d := range docs {
		refs[i] = webhook.Ref{Tenant: d.Tenant, ID: d.ID}
	}
	return refs, nil
}

type deliveryDoc struct {
	ID        string    `bson:"_id"`
	Tenant    tenant.ID `bson:"tenant"`
	Webhook   string    `bson:"webhook"`
	Event     string    `bson:"event"`
	Change    string    `bson:"change"`
	Body      string    `bson:"body"`
	CreatedAt time.Time `bson:"createdAt"`
	Try       tryDoc    `bson:",inline"`
}

// tryDoc is what SaveDelivery writes.
type tryDoc struct {
	Job           string                `bson:"job"`
	State         webhook.DeliveryState `bson:"state"`
	Attempts      int                   `bson:"attempts"`
	Status        *int                  `bson:"status"`
	Problem       *webhook.Problem      `bson:"problem"`
	NextAttemptAt *time.Time            `bson:"nextAttemptAt"`
	EndedAt       *time.Time            `bson:"endedAt"`
	Acknowledged  bool                  `bson:"acknowledged,omitempty"`
}

func try(d *webhook.Delivery) tryDoc {
	return tryDoc{d.JobID, d.State, d.Attempts, d.Status, d.Problem, d.NextAttemptAt, d.EndedAt, d.Acknowledged}
}

func (d *deliveryDoc) delivery() *webhook.Delivery {
	return &webhook.Delivery{
		ID: d.ID, WebhookID: d.Webhook, Event: d.Event, Change: d.Change, JobID: d.Try.Job, State: d.Try.State,
		Attempts: d.Try.Attempts, Status: d.Try.Status, Problem: d.Try.Problem, NextAttemptAt: d.Try.NextAttemptAt,
		EndedAt: d.Try.EndedAt, CreatedAt: d.CreatedAt, Body: d.Body, Acknowledged: d.Try.Acknowledged,
	}
}

// InsertDeliveries implements webhook.Store.
func (s *WebhookStore) InsertDeliveries(ctx context.Context, ds []*webhook.Delivery) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	docs := make([]deliveryDoc, len(ds))
	for i, d := range ds {
		docs[i] = deliveryDoc{
			ID: d.ID, Tenant: of, Webhook: d.WebhookID, Event: d.Event, Change: d.Change, Body: d.Body, CreatedAt: d.CreatedAt,
			Try: try(d),
		}
	}
	if _, err := s.deliveries.InsertMany(ctx, docs); err != nil {
		return fmt.Errorf("insert deliveries: %w", translate(err))
	}
	return nil
}

// GetDelivery implements webhook.Store.
func (s *WebhookStore) GetDelivery(ctx context.Context, deliveryID string) (*webhook.Delivery, error) {
	d, err := one[deliveryDoc](ctx, s.deliveries, "delivery", webhook.ErrNoDelivery, bson.E{Key: "_id", Value: deliveryID})
	if err != nil {
		return nil, err
	}
	return d.delivery(), nil
}

// Deliveries implements webhook.Store.
func (s *WebhookStore) Deliveries(
	ctx context.Context, webhookID string, state *webhook.DeliveryState, after *page.Position, limit int,
) ([]*webhook.Delivery, error) {
	match := bson.D{{Key: "webhook", Value: webhookID}}
	if state != nil {
		match = append(match, bson.E{Key: "state", Value: *state})
	}
	docs, err := keyset[deliveryDoc](ctx, s.deliveries, match, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	ds := make([]*webhook.Delivery, len(docs))
	for i := range docs {
		ds[i] = docs[i].delivery()
	}
	return ds, nil
}

// SaveDelivery implements webhook.Store.
func (s *WebhookStore) SaveDelivery(ctx context.Context, d *webhook.Delivery, from webhook.DeliveryState) error {
	filter, err := scoped(ctx, bson.E{Key: "_id", Value: d.ID}, bson.E{Key: "state", Value: from})
	if err != nil {
		return err
	}
	res, err := s.deliveries.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: try(d)}})
	if err != nil {
		return fmt.Errorf("save delivery %s: %w", d.ID, translate(err))
	}
	if res.MatchedCount == 0 {
		return webhook.ErrNoDelivery
	}
	return nil
}

// Pending implements webhook.Store.
func (s *WebhookStore) Pending(ctx context.Context, webhookID string, limit int) (int, error) {
	filter, err := scoped(ctx, bson.E{Key: "webhook", Value: webhookID}, bson.E{Key: "state", Value: webhook.Pending})
	if err != nil {
		return 0, err
	}
	n, err := s.deliveries.CountDocuments(ctx, filter, options.Count().SetLimit(int64(limit)))
	if err != nil {
		return 0, fmt.Errorf("count deliveries: %w", translate(err))
	}
	return int(n), nil
}

// deliveryBatch is how many deliveries are deleted at once.
const deliveryBatch = 1000

// DeleteDeliveries implements webhook.Store. It spans tenants.
func (s *WebhookStore) DeleteDeliveries(ctx context.Context, before time.Time) error {
	if err := tenant.RequireSystem(ctx); err != nil {
		return err
	}
	for _, state := range []webhook.DeliveryState{webhook.Succeeded, webhook.Failed} {
		old := bson.D{{Key: "state", Value: state}, {Key: "createdAt", Value: bson.D{{Key: "$lt", Value: before}}}}
		for {
			docs, err := all[deliveryDoc](ctx, s.deliveries, old, options.Find().SetLimit(deliveryBatch).
				SetSort(bson.D{{Key: "createdAt", Value: 1}}).SetProjection(bson.D{{Key: "_id", Value: 1}}))
			if err != nil {
				return fmt.Errorf("find old deliveries: %w", err)
			}
			ids := make([]string, len(docs))
			for i, d := range docs {
				ids[i] = d.ID
			}
			if len(ids) > 0 { // one that was asked for again meanwhile stays
				_, err = s.deliveries.DeleteMany(ctx, append(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, old...))
			}
			if err != nil {
				return fmt.Errorf("delete old deliveries: %w", translate(err))
			}
			if len(ids) < deliveryBatch {
				break
			}
		}
	}
	return nil
}
