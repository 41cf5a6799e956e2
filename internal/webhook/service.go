package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Vault makes keys before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Owners are those who answer for the tenant in ctx.
type Owners interface {
	Owners(ctx context.Context) ([]*tenancy.Member, error)
}

// Mailer queues mail within a change (package notify).
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Config is what a Service needs.
type Config struct {
	Store   Store
	Feed    Feed
	Client  *Client
	Changes *change.Runner
	Vault   Vault
	Owners  Owners
	Mailer  Mailer
	Log     *slog.Logger
	Now     func() time.Time
}

// Service keeps webhooks and tells them of changes.
type Service struct {
	Config

	mu       sync.Mutex
	followed map[string]int64 // by webhook: the feed's end when it had been told of all
}

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{Config: c, followed: map[string]int64{}} }

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

func newSecret() Secret {
	b := make([]byte, secretBytes)
	rand.Read(b)
	return Secret{Value: personal.NewText(secretPrefix + base64.StdEncoding.EncodeToString(b))}
}

// Get returns a webhook, or ErrNotFound.
func (s *Service) Get(ctx context.Context, webhookID string) (*Webhook, error) {
	if err := check(ctx, id.Webhook, webhookID, ErrNotFound); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, webhookID)
}

// List returns all webhooks of the tenant, the newest first.
func (s *Service) List(ctx context.Context) ([]*Webhook, error) {
	return s.Store.List(ctx, MaxWebhooks)
}

// verification is the job that verifies a webhook's endpoint.
func verification(webhookID string) job.Spec {
	return job.Spec{Type: JobVerify, Object: webhookID, MaxAttempts: verifyAttempts}
}

// Create makes a webhook, which is told of changes once its endpoint has proven
// itself. The secret is returned this once; in a replay it is nil.
func (s *Service) Create(ctx context.Context, in CreateInput) (w *Webhook, secret *string, err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := s.at()
	w = &Webhook{
		ID: id.New(id.Webhook, of), URL: in.URL, Events: in.Events, Description: trimmed(in.Description), State: Unverified,
		Version: 1, CreatedAt: now, UpdatedAt: now, Cursor: unplaced,
	}
	if err := w.check(s.Client.private); err != nil {
		return nil, nil, err
	}
	if _, err := s.Vault.Ensure(ctx, vault.CredentialsOf(of)); err != nil {
		return nil, nil, err
	}
	first := newSecret()
	webhookID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		have, err := s.Store.List(ctx, MaxWebhooks)
		if err != nil {
			return change.Change{}, err
		}
		if len(have) >= MaxWebhooks {
			return change.Change{}, ErrTooMany
		}
		return change.Change{
			Action: "webhook.create", Object: w.ID, Then: []job.Spec{verification(w.ID)},
		}, s.Store.Insert(ctx, w, first)
	})
	if err != nil {
		return nil, nil, err
	}
	if webhookID != w.ID {
		w, err = s.Store.Get(ctx, webhookID)
		return w, nil, err
	}
	shown := first.Value.Reveal()
	return w, &shown, nil
}

// trimmed returns nil for a description that says nothing.
func trimmed(d *string) *string {
	if d == nil || strings.TrimSpace(*d) == "" {
		return nil
	}
	t := strings.TrimSpace(*d)
	return &t
}

// Update changes a webhook. One with a new URL must prove itself again; until
// then it keeps its place in the feed.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Webhook, error) {
	if err := check(ctx, id.Webhook, in.ID, ErrNotFound); err != nil {
		return nil, err
	}
	var w *Webhook
	now := s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if w, err = s.Store.Get(ctx, in.ID); err != nil {
			return c, err
		}
		if w.Version != in.ExpectedVersion {
			return c, change.ErrVersion
		}
		c = change.Change{Action: "webhook.update", Object: w.ID}
		if in.URL != nil && *in.URL != w.URL {
			w.URL, w.State, w.VerifiedAt = *in.URL, Unverified, nil
			c.Fields, c.Then = append(c.Fields, "url"), []job.Spec{verification(w.ID)}
		}
		if in.Events != nil {
			w.Events, c.Fields = in.Events, append(c.Fields, "events")
		}
		if in.Description != nil {
			w.Description, c.Fields = trimmed(in.Description), append(c.Fields, "description")
		}
		if err := w.check(s.Client.private); err != nil {
			return c, err
		}
		w.Version++
		w.UpdatedAt = now
		return c, s.Store.Update(ctx, w)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Delete removes a webhook with its secrets. Deliveries under way are given up.
func (s *Service) Delete(ctx context.Context, in Input) error {
	if err := check(ctx, id.Webhook, in.ID, ErrNotFound); err != nil {
		return err
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "webhook.delete", Object: in.ID}, s.Store.Delete(ctx, in.ID)
	})
}

// Verify has the endpoint asked to prove itself again, by a job of that id. A
// webhook that was disabled goes on where it stopped once that succeeds.
func (s *Service) Verify(ctx context.Context, in Input) (w *Webhook, jobID string, err error) {
	if w, err = s.Get(ctx, in.ID); err != nil {
		return nil, "", err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, "", err
	}
	spec := verification(w.ID)
	spec.ID = id.New(id.Job, of)
	err = s.Changes.Do(ctx, func(context.Context) (change.Change, error) {
		return change.Change{Action: "webhook.challenge", Object: w.ID, Then: []job.Spec{spec}}, nil
	})
	return w, spec.ID, err
}

// Rotate gives a webhook a new secret, which is returned this once. For Overlap
// the old ones sign too.
func (s *Service) Rotate(ctx context.Context, in Input) (w *Webhook, secret string, err error) {
	if err := check(ctx, id.Webhook, in.ID, ErrNotFound); err != nil {
		return nil, "", err
	}
	now, next := s.at(), newSecret()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if w, err = s.Store.Get(ctx, in.ID); err != nil {
			return c, err
		}
		have, err := s.Store.Secrets(ctx, in.ID)
		if err != nil {
			return c, err
		}
		secrets, until := []Secret{next}, now.Add(Overlap)
		for _, old := range living(have, now) {
			if old.ExpiresAt == nil {
				old.ExpiresAt = &until
			}
			secrets = append(secrets, old)
		}
		if len(secrets) > maxSecrets {
			return c, ErrSecrets
		}
		w.Version++
		w.UpdatedAt = now
		return change.Change{Action: "webhook.rotate", Object: w.ID}, s.Store.Rotate(ctx, w, secrets)
	})
	if err != nil {
		return nil, "", err
	}
	return w, next.Value.Reveal(), nil
}

// living returns the secrets that sign.
func living(secrets []Secret, now time.Time) []Secret {
	var alive []Secret
	for _, s := range secrets {
		if s.ExpiresAt == nil || now.Before(*s.ExpiresAt) {
			alive = append(alive, s)
		}
	}
	return alive
}

// GetDelivery returns a delivery, or ErrNoDelivery.
func (s *Service) GetDelivery(ctx context.Context, deliveryID string) (*Delivery, error) {
	if err := check(ctx, id.Delivery, deliveryID, ErrNoDelivery); err != nil {
		return nil, err
	}
	return s.Store.GetDelivery(ctx, deliveryID)
}

// Deliveries returns a page of a webhook's deliveries, the newest first, all of
// them or those in a state.
func (s *Service) Deliveries(ctx context.Context, webhookID string, state *DeliveryState, r page.Request) (*Connection, error) {
	if _, err := s.Get(ctx, webhookID); err != nil {
		return nil, err
	}
	list := page.List{Of: id.Delivery, Scope: webhookID}
	if state != nil {
		list.Scope += "/" + string(*state)
	}
	at := func(d *Delivery) page.Position { return page.Position{CreatedAt: d.CreatedAt, ID: d.ID} }
	return page.Read(ctx, list, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Delivery, error) {
		return s.Store.Deliveries(ctx, webhookID, state, after, limit)
	})
}

// Redeliver sends a delivery that has ended again, under its id of before.
func (s *Service) Redeliver(ctx context.Context, in RedeliverInput) (*Delivery, error) {
	if err := check(ctx, id.Delivery, in.Delivery, ErrNoDelivery); err != nil {
		return nil, err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var d *Delivery
	now := s.at()
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if d, err = s.Store.GetDelivery(ctx, in.Delivery); err != nil {
			return c, err
		}
		if d.State == Pending {
			return c, ErrPending
		}
		w, err := s.Store.Get(ctx, d.WebhookID)
		if err != nil {
			return c, err
		}
		if w.State != Active {
			return c, ErrInactive
		}
		from := d.State
		d.State, d.Attempts, d.EndedAt, d.NextAttemptAt, d.JobID = Pending, 0, nil, &now, id.New(id.Job, of)
		return change.Change{
			Action: "webhook.redeliver", Object: d.ID, Then: []job.Spec{d.spec()},
		}, s.Store.SaveDelivery(ctx, d, from)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// spec is the job that sends d. The delivery counts its own tries, and says when
// there have been enough.
func (d *Delivery) spec() job.Spec {
	return job.Spec{ID: d.JobID, Type: JobDeliver, Object: d.ID, Quiet: true}
}
