package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/feed"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	dispatchBatch = 100  // changes looked at once
	maxPending    = 1000 // deliveries of a webhook; more changes wait in the feed
	activeBatch   = 200

	verifyAttempts = 5
	heldPause      = 15 * time.Minute
)

// pauses are those after the first try, the second …: some three days in all.
func pauses() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
		20 * time.Hour, 24 * time.Hour,
	}
}

// body is what a call holds.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// told is the data of an event: ids, and names of fields.
type told struct {
	Tenant   tenant.ID `json:"tenant"`
	Change   string    `json:"change"` // the cursor of changes(after:)
	Object   string    `json:"object,omitempty"`
	Subjects []string  `json:"subjects"`
	Fields   []string  `json:"fields"`
}

// challenge is the data of a verification.
type challenge struct {
	Tenant    tenant.ID `json:"tenant"`
	Webhook   string    `json:"webhook"`
	Challenge string    `json:"challenge"`
}

func encode(event string, at time.Time, data any) (string, error) {
	b, err := json.Marshal(body{event, at, data})
	if err != nil {
		return "", fmt.Errorf("encode event: %w", err)
	}
	return string(b), nil
}

// Dispatch makes the deliveries of all changes that webhooks of all tenants
// haven't been told of. A webhook for which that fails holds up no other. ctx
// spans tenants.
func (s *Service) Dispatch(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	followed := map[string]int64{} // anew, so that it forgets webhooks that are no longer active
	for after := ""; ; {
		active, err := s.Store.Active(ctx, after, activeBatch)
		if err != nil {
			return fmt.Errorf("find active webhooks: %w", err)
		}
		tenants := make([]tenant.ID, len(active))
		for i, w := range active {
			tenants[i] = w.Tenant
		}
		ends, err := s.Feed.Ends(ctx, tenants)
		if err != nil {
			return fmt.Errorf("find ends of feeds: %w", err)
		}
		for _, w := range active {
			after = w.ID
			told, end := s.followed[w.ID], ends[w.Tenant]
			if told != end {
				if told, err = s.follow(ctx, w, end); err != nil {
					failed = append(failed, fmt.Errorf("dispatch to webhook %s: %w", w.ID, err))
				}
			}
			followed[w.ID] = told
		}
		if len(active) < activeBatch {
			s.followed = followed
			return errors.Join(failed...)
		}
	}
}

// Sweep deletes deliveries, of all tenants, that were kept long enough. ctx
// spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	return s.Store.DeleteDeliveries(ctx, s.Now().Add(-Keep))
}

// follow makes the deliveries of one webhook, and returns end when it has been
// told of all there was then.
func (s *Service) follow(ctx context.Context, ref Ref, end int64) (told int64, err error) {
	ctx = authz.NewContext(tenant.NewContext(ctx, ref.Tenant),
		authz.Principal{Kind: authz.KindSystem, ID: "sweep:webhooks", Tenant: ref.Tenant})
	for {
		w, err := s.Store.Get(ctx, ref.ID)
		if errors.Is(err, ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		pending, err := s.Store.Pending(ctx, w.ID, maxPending)
		if err != nil || pending == maxPending {
			return 0, err
		}
		changes, err := s.Feed.Open(ctx, w.Cursor, min(dispatchBatch, maxPending-pending))
		if err != nil {
			return 0, err
		}
		if len(changes) == 0 {
			return end, nil
		}
		err = s.pass(ctx, ref.Tenant, w, changes)
		if errors.Is(err, ErrMoved) {
			return 0, nil // it was changed meanwhile: the next time
		}
		if err != nil {
			return 0, err
		}
	}
}

// pass moves the cursor past changes and makes the deliveries of those wanted.
func (s *Service) pass(ctx context.Context, of tenant.ID, w *Webhook, changes []*feed.Change) error {
	var ds []*Delivery
	var specs []job.Spec
	now, to := s.at(), changes[len(changes)-1].Seq
	for _, c := range changes {
		if !w.wants(c.Action) {
			continue
		}
		text, err := encode(c.Action, c.At, told{of, c.ID, c.Object, c.Subjects, append([]string{}, c.Fields...)})
		if err != nil {
			return err
		}
		d := &Delivery{
			ID: id.New(id.Delivery, of), WebhookID: w.ID, Event: c.Action, Change: c.ID, JobID: id.New(id.Job, of),
			State: Pending, NextAttemptAt: &now, CreatedAt: now, Body: text,
		}
		ds, specs = append(ds, d), append(specs, d.spec())
	}
	if len(ds) == 0 {
		return s.Store.Advance(ctx, w.ID, w.Cursor, to)
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.Store.Advance(ctx, w.ID, w.Cursor, to); err != nil {
			return change.Change{}, err
		}
		return change.Change{
			Action: "webhook.dispatch", Object: w.ID, Then: specs, Quiet: true,
		}, s.Store.InsertDeliveries(ctx, ds)
	})
}

// Deliver tries a delivery. It is the work of JobDeliver, and puts the job off
// until the delivery has succeeded or been given up.
func (s *Service) Deliver(ctx context.Context, r *job.Run) error {
	d, err := s.Store.GetDelivery(ctx, r.Object())
	if err != nil {
		return err
	}
	if d.State != Pending || d.JobID != r.ID() {
		return nil
	}
	now := s.at()
	w, err := s.Store.Get(ctx, d.WebhookID)
	switch {
	case errors.Is(err, ErrNotFound):
		return s.giveUp(ctx, r, d, ProblemDeleted)
	case err != nil:
		return err
	case w.State != Active && now.Sub(d.CreatedAt) > Expiry:
		return s.giveUp(ctx, r, d, ProblemExpired)
	case w.State != Active:
		return job.Postpone(heldPause)
	}
	if wait := d.NextAttemptAt.Sub(now); wait > 0 {
		return job.Postpone(wait)
	}
	secrets, err := s.Store.Secrets(ctx, w.ID)
	if err != nil {
		return err
	}
	done, wait := s.Client.acquire(r.Tenant(), w.URL)
	if done == nil {
		return job.Postpone(wait)
	}
	a, err := s.Client.send(ctx, call{w.URL, d.ID, d.Body, living(secrets, now), now})
	done(a.problem)
	if err != nil {
		return err
	}
	d.Attempts++
	d.Status, d.Problem = a.status, a.problem
	if a.problem == nil {
		d.Acknowledged = acknowledges(a.body)
		return s.took(ctx, r, w, d)
	}
	return s.refused(ctx, r, w, d)
}

// acknowledges reports whether an endpoint answers that it has done what it was told of.
func acknowledges(answer []byte) bool {
	var object struct {
		Acknowledged bool `json:"acknowledged"`
	}
	return json.Unmarshal(answer, &object) == nil && object.Acknowledged
}

// Queue makes the delivery of an event to one webhook that is active, within a
// change's transaction, and returns it with the job that sends it. The data has
// ids and terms, and no personal data: it is stored as it is.
func (s *Service) Queue(ctx context.Context, webhookID, event string, data any) (*Delivery, job.Spec, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, job.Spec{}, err
	}
	w, err := s.Get(ctx, webhookID)
	if err != nil {
		return nil, job.Spec{}, err
	}
	if w.State != Active {
		return nil, job.Spec{}, ErrInactive
	}
	now := s.at()
	text, err := encode(event, now, data)
	if err != nil {
		return nil, job.Spec{}, err
	}
	d := &Delivery{
		ID: id.New(id.Delivery, of), WebhookID: w.ID, Event: event, JobID: id.New(id.Job, of), State: Pending, NextAttemptAt: &now,
		CreatedAt: now, Body: text,
	}
	return d, d.spec(), s.Store.InsertDeliveries(ctx, []*Delivery{d})
}

// took ends a delivery that succeeded.
func (s *Service) took(ctx context.Context, r *job.Run, w *Webhook, d *Delivery) error {
	if w.FailingSince != nil {
		if err := s.Store.Failing(ctx, w.ID, nil); err != nil {
			return err
		}
	}
	return s.end(ctx, r, d, Succeeded)
}

// refused notes a try that failed, and says when there is another.
func (s *Service) refused(ctx context.Context, r *job.Run, w *Webhook, d *Delivery) error {
	now := s.at()
	since := now
	if w.FailingSince != nil {
		since = *w.FailingSince
	}
	if err := s.Store.Failing(ctx, w.ID, &now); err != nil {
		return err
	}
	if now.Sub(since) >= DisableAfter {
		if err := s.disable(ctx, w.ID, since); err != nil {
			return err
		}
	}
	waits := pauses()
	if d.Attempts > len(waits) {
		return s.end(ctx, r, d, Failed)
	}
	wait := waits[d.Attempts-1]
	next := now.Add(wait)
	d.NextAttemptAt = &next
	if err := r.Guard(ctx); err != nil {
		return err
	}
	if err := s.Store.SaveDelivery(ctx, d, Pending); err != nil {
		return err
	}
	return job.Postpone(wait)
}

func (s *Service) giveUp(ctx context.Context, r *job.Run, d *Delivery, why Problem) error {
	d.Problem = &why
	return s.end(ctx, r, d, Failed)
}

// end notes how a delivery ended.
func (s *Service) end(ctx context.Context, r *job.Run, d *Delivery, state DeliveryState) error {
	now := s.at()
	d.State, d.EndedAt, d.NextAttemptAt = state, &now, nil
	action := "webhook.deliver"
	if state == Failed {
		action = "webhook.fail"
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := r.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		// To tell of it would make another delivery, and so on.
		return change.Change{Action: action, Object: d.ID, Quiet: true}, s.Store.SaveDelivery(ctx, d, Pending)
	})
}

// disable switches a webhook off whose endpoint has taken nothing since a time,
// and tells the owners.
func (s *Service) disable(ctx context.Context, webhookID string, since time.Time) error {
	owners, err := s.Owners.Owners(ctx)
	if err != nil {
		return fmt.Errorf("find owners: %w", err)
	}
	now := s.at()
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "webhook.disable", Object: webhookID}
		w, err := s.Store.Get(ctx, webhookID)
		if err != nil || w.State != Active {
			return c, err
		}
		for _, m := range owners {
			spec, err := s.Mailer.Queue(ctx, notify.Message{
				Template: notify.TemplateWebhookDisabled, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(m.Tenant, m.ID),
				Vars: map[string]personal.Text{
					"webhook": personal.NewText(webhookID), "since": personal.NewText(since.Format("2006-01-02 15:04 MST")),
				},
			})
			if err != nil {
				return c, err
			}
			c.Then = append(c.Then, spec)
		}
		w.State = Disabled
		w.Version++
		w.UpdatedAt = now
		return c, s.Store.Update(ctx, w)
	})
}

// VerifyEndpoint asks an endpoint to prove that it is the webhook's: it must
// answer 2xx with the challenge that it was sent, as its whole body or as the
// member "challenge" of a JSON object. It is the work of JobVerify.
func (s *Service) VerifyEndpoint(ctx context.Context, r *job.Run) error {
	w, err := s.Store.Get(ctx, r.Object())
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	secrets, err := s.Store.Secrets(ctx, w.ID)
	if err != nil {
		return err
	}
	now, random := s.at(), rand.Text()
	text, err := encode("webhook.verify", now, challenge{r.Tenant(), w.ID, random})
	if err != nil {
		return err
	}
	done, wait := s.Client.acquire(r.Tenant(), w.URL)
	if done == nil {
		return job.Postpone(wait)
	}
	a, err := s.Client.send(ctx, call{w.URL, r.ID(), text, living(secrets, now), now})
	done(a.problem)
	if err != nil {
		return err
	}
	if a.problem == nil && !echoes(a.body, random) {
		p := ProblemEcho
		a.problem = &p
	}
	if a.problem != nil {
		return unproven(a)
	}
	head, err := s.Feed.Head(ctx)
	if err != nil {
		return err
	}
	return s.activate(ctx, r, w, head)
}

// unproven is the error of an endpoint that didn't prove itself.
func unproven(a answer) error {
	if a.status != nil {
		return errs.New(errs.Unavailable, "the endpoint didn't prove itself: %s, answered with %d", *a.problem, *a.status)
	}
	return errs.New(errs.Unavailable, "the endpoint didn't prove itself: %s", *a.problem)
}

func echoes(answer []byte, random string) bool {
	var object struct {
		Challenge string `json:"challenge"`
	}
	return strings.TrimSpace(string(answer)) == random ||
		json.Unmarshal(answer, &object) == nil && object.Challenge == random
}

// activate makes a webhook ACTIVE whose endpoint proved itself at the URL that
// it had. The first time it starts at the feed's head.
func (s *Service) activate(ctx context.Context, r *job.Run, proven *Webhook, head int64) error {
	now := s.at()
	return s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if err := r.Guard(ctx); err != nil {
			return c, err
		}
		w, err := s.Store.Get(ctx, proven.ID)
		if err != nil {
			return c, err
		}
		if w.URL != proven.URL {
			return c, ErrMoved // it is asked again at the new one
		}
		if w.FailingSince != nil {
			if err := s.Store.Failing(ctx, w.ID, nil); err != nil {
				return c, err
			}
		}
		w.State, w.VerifiedAt, w.UpdatedAt = Active, &now, now
		w.Version++
		if err := s.Store.Update(ctx, w); err != nil {
			return c, err
		}
		if w.Cursor == unplaced {
			err = s.Store.Advance(ctx, w.ID, unplaced, head)
		}
		return change.Change{Action: "webhook.verify", Object: w.ID}, err
	})
}
