package recipient

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/webhook"
)

// The types of the jobs of this package.
const (
	JobTell   = "recipient.tell"   // sends a notice, its object, and sees it arrive
	JobErased = "recipient.erased" // tells of a shredding, its object
)

// Limits.
const (
	maxText       = 2000
	maxReferences = 5
	batch         = 100
	idBytes       = 16
)

// Subjects knows the persons.
type Subjects interface {
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
}

// Holdings knows the datasets in which there is something on a person.
type Holdings interface {
	Units(ctx context.Context, subject string) ([]retention.Unit, error)
}

// Datasets knows the datasets.
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// Processing knows the parties, and the activities that name them.
type Processing interface {
	Party(ctx context.Context, partyID string) (*processing.Party, error)
	List(ctx context.Context, f processing.Filter, r page.Request) (*processing.Connection, error)
}

// Shreddings knows what was destroyed.
type Shreddings interface {
	Get(ctx context.Context, shreddingID string) (*erasure.Shredding, error)
}

// Requests are the requests that notices tell of.
type Requests interface {
	Find(ctx context.Context, requestID string) (*request.Request, error)
	Note(ctx context.Context, requestID string, rule request.Rule, evidence ...string) (*request.Request, error)
}

// Tasks has people tell a recipient. Both work in a change's transaction.
type Tasks interface {
	Ask(ctx context.Context, r *request.Request, n *Notice) error
	Settle(ctx context.Context, noticeID string) error
}

// Tenants knows the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Letters writes letters by the tenant's texts.
type Letters interface {
	Render(ctx context.Context, form, language string, fields letter.Fields) (*letter.Letter, error)
}

// Mail queues mail within a change, and knows what became of it.
type Mail interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
	State(ctx context.Context, messageID string) (notify.State, error)
}

// Webhooks sends an event to one webhook within a change, and knows what became
// of it.
type Webhooks interface {
	Get(ctx context.Context, webhookID string) (*webhook.Webhook, error)
	Queue(ctx context.Context, webhookID, event string, data any) (*webhook.Delivery, job.Spec, error)
	GetDelivery(ctx context.Context, deliveryID string) (*webhook.Delivery, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store      Store
	Subjects   Subjects
	Holdings   Holdings
	Datasets   Datasets
	Processing Processing
	Shreddings Shreddings
	Requests   Requests
	Tasks      Tasks
	Tenants    Tenants
	Library    *letter.Library
	Letters    Letters
	Mail       Mail
	Webhooks   Webhooks
	Changes    *change.Runner
	Recorder   *audit.Recorder
	BaseURL    string // of the pages that mail leads to, without a slash at its end
	Now        func() time.Time
}

// Service tells recipients.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

var _ request.Recipients = (*Service)(nil)

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// platform returns a context in which the platform acts for the tenant.
func platform(ctx context.Context) (context.Context, tenant.ID, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, "", err
	}
	return authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: "recipients", Tenant: of}), of, nil
}

// stableID returns the id of the notice that tells of something: the same each time.
func stableID(of tenant.ID, about ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(about, "/")))
	return id.Prefix(id.Told, of) + id.Encode(sum[:idBytes])
}

// round names the approval that an item is carried out by: what is done again after
// another one is told again.
func round(r *request.Request) string {
	if r.ApprovedAt == nil {
		return ""
	}
	return r.ApprovedAt.UTC().Format(time.RFC3339Nano)
}

// Prepare implements request.Recipients.
func (s *Service) Prepare(ctx context.Context, r *request.Request, item *request.Item) error {
	ctx, of, err := platform(ctx)
	if err != nil || r.Subject == "" {
		return err
	}
	have, err := s.Store.OfItem(ctx, item.ID)
	if err != nil {
		return err
	}
	var outdated []string
	for _, n := range have {
		if n.Round == round(r) {
			return nil // all were stored at once
		}
		if n.State == Prepared {
			outdated = append(outdated, n.ID)
		}
	}
	ns, err := s.derive(ctx, of, r, item)
	if err != nil || len(ns)+len(outdated) == 0 {
		return err
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "recipient.prepare", Object: r.ID, Quiet: true, Touches: []audit.Touch{{Subject: r.Subject, Object: r.ID}}}
		if err := s.Store.Forget(ctx, outdated...); err != nil {
			return c, err
		}
		return c, s.Store.Insert(ctx, ns...)
	})
}

// derive finds whom an item concerns: those whom the data was disclosed to, and
// those whom the activities name that use what is kept on the person.
func (s *Service) derive(ctx context.Context, of tenant.ID, r *request.Request, item *request.Item) ([]*Notice, error) {
	found, err := s.Subjects.GetMany(ctx, []string{r.Subject})
	if err != nil {
		return nil, err
	}
	var person *subject.Subject // nil when it can't be told what a reference tells
	if len(found) == 1 && !found[0].State.Gone() {
		person = found[0]
	}
	var ns []*Notice
	add := func(partyID string) (*Notice, error) {
		if i := slices.IndexFunc(ns, func(n *Notice) bool { return n.Recipient == partyID }); i >= 0 {
			return ns[i], nil
		}
		p, err := s.Processing.Party(ctx, partyID)
		if err != nil || p.Own {
			return nil, err
		}
		n := &Notice{
			ID: stableID(of, item.ID, round(r), partyID), Request: r.ID, Number: r.Number, Item: item.ID, Round: round(r), Subject: r.Subject,
			Recipient: partyID, Name: p.LegalName, Action: action(item.Type), State: Prepared, CreatedAt: s.now(), Version: 1,
		}
		ns = append(ns, n)
		return n, nil
	}
	for after := ""; ; {
		parties, err := s.Store.Recipients(ctx, r.Subject, after, batch)
		if err != nil {
			return nil, err
		}
		for _, partyID := range parties {
			n, err := add(partyID)
			if err != nil {
				return nil, fmt.Errorf("find recipient: %w", err)
			}
			if n == nil {
				continue
			}
			if err := s.disclosed(ctx, n, person); err != nil {
				return nil, err
			}
		}
		if len(parties) < batch {
			break
		}
		after = parties[len(parties)-1]
	}
	return ns, s.named(ctx, r.Subject, func(partyID string, datasets []string) error {
		n, err := add(partyID)
		if err == nil && n != nil && len(n.Disclosures) == 0 {
			n.Datasets = merged(n.Datasets, datasets)
		}
		return err
	})
}

// disclosed notes what a recipient was given, and what it knows the record by.
func (s *Service) disclosed(ctx context.Context, n *Notice, person *subject.Subject) error {
	ds, err := s.Store.Disclosed(ctx, n.Subject, n.Recipient, batch)
	if err != nil {
		return err
	}
	known := true
	var said []string
	for _, d := range ds {
		known = known && len(d.Datasets) > 0
		n.Datasets, n.Categories = merged(n.Datasets, d.Datasets), merged(n.Categories, d.Categories)
		ref := d.Reference.Reveal()
		if len(n.References) < maxReferences && ref != "" && !slices.Contains(said, ref) && person != nil && !tells(ref, person) {
			n.References, said = append(n.References, d.Reference), append(said, ref)
		}
		if len(n.Disclosures) < maxReferences {
			n.Disclosures = append(n.Disclosures, d.ID)
		}
	}
	if !known || len(ds) == batch {
		n.Datasets = nil // it may have been of any
	}
	return nil
}

func merged(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// named visits the parties that valid activities name as recipients of datasets in
// which there is something on a person, without those that are secret.
func (s *Service) named(ctx context.Context, subjectID string, visit func(partyID string, datasets []string) error) error {
	units, err := s.Holdings.Units(ctx, subjectID)
	if err != nil || len(units) == 0 {
		return err
	}
	sets, err := s.Datasets.List(ctx)
	if err != nil {
		return err
	}
	for _, d := range sets {
		if d.Secrecy != dataset.NoSecrecy {
			units = slices.DeleteFunc(units, func(u retention.Unit) bool { return u == d.ID })
		}
	}
	hat, r := processing.Controller, page.Request{First: batch}
	for {
		found, err := s.Processing.List(ctx, processing.Filter{Hat: &hat}, r)
		if err != nil {
			return fmt.Errorf("list activities: %w", err)
		}
		for _, a := range found.Nodes() {
			if a.Valid == nil || a.Valid.Content.Controller == nil {
				continue
			}
			held := slices.DeleteFunc(slices.Clone(a.Valid.Content.Datasets), func(d string) bool { return !slices.Contains(units, d) })
			for _, partyID := range a.Valid.Content.Controller.Recipients {
				if len(held) == 0 {
					break
				}
				if err := visit(partyID, held); err != nil {
					return err
				}
			}
		}
		if !found.PageInfo.HasNextPage {
			return nil
		}
		r.After = found.PageInfo.EndCursor
	}
}

// Tell implements request.Recipients.
func (s *Service) Tell(ctx context.Context, r *request.Request, item *request.Item) ([]job.Spec, error) {
	if item.Type != request.Erasure {
		return s.queue(ctx, item.ID, "", nil)
	}
	if len(item.Results) == 0 || id.TypeOf(item.Results[0]) != id.Shredding {
		return nil, nil // nothing was erased yet: what comes later is told then
	}
	return s.erased(ctx, item.ID, item.Results[0])
}

// erased has those told whom a shredding concerns.
func (s *Service) erased(ctx context.Context, itemID, shreddingID string) ([]job.Spec, error) {
	sh, err := s.Shreddings.Get(ctx, shreddingID)
	if err != nil {
		return nil, fmt.Errorf("find what was erased: %w", err)
	}
	if sh.Target.Whole {
		return s.queue(ctx, itemID, sh.ID, nil)
	}
	var datasets []string
	for _, u := range sh.Target.Datasets() {
		datasets = append(datasets, string(u))
	}
	if len(datasets) == 0 {
		return nil, nil
	}
	return s.queue(ctx, itemID, sh.ID, datasets)
}

// queue has the prepared notices of an item sent that datasets concern: all, when
// none are given. Of what goes later another notice tells.
func (s *Service) queue(ctx context.Context, itemID, cause string, datasets []string) ([]job.Spec, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	ns, err := s.Store.OfItem(ctx, itemID)
	if err != nil {
		return nil, err
	}
	now := s.now()
	var then []job.Spec
	var rest []*Notice
	for _, n := range ns {
		if n.State != Prepared || !n.covers(datasets) {
			continue
		}
		if later := slices.DeleteFunc(slices.Clone(n.Datasets), func(d string) bool { return slices.Contains(datasets, d) }); len(datasets) > 0 && len(later) > 0 {
			next := *n
			next.ID, next.Datasets, next.CreatedAt, next.Version = stableID(of, n.ID, cause), later, now, 1
			rest = append(rest, &next)
			n.Datasets = slices.DeleteFunc(slices.Clone(n.Datasets), func(d string) bool { return slices.Contains(later, d) })
		}
		n.State, n.DoneAt = Queued, &now
		n.Version++
		if err := s.Store.Update(ctx, n); err != nil {
			return nil, err
		}
		then = append(then, job.Spec{Type: JobTell, Object: n.ID})
	}
	return then, s.Store.Insert(ctx, rest...)
}

// Told implements request.Recipients.
func (s *Service) Told(ctx context.Context, requestID string) (bool, error) {
	n, err := s.Store.Count(ctx, requestID, waiting()...)
	return n == 0, err
}

// Jobs returns the work that follows a shredding that is done: those are told of it
// whom it concerns, also years after the request that asked for it.
func Jobs(sh *erasure.Shredding) []job.Spec {
	if id.TypeOf(sh.Cause) != id.RequestItem {
		return nil
	}
	return []job.Spec{{Type: JobErased, Object: sh.ID}}
}

// Erased is the work of JobErased.
func (s *Service) Erased(ctx context.Context, run *job.Run) error {
	ctx, _, err := platform(ctx)
	if err != nil {
		return err
	}
	sh, err := s.Shreddings.Get(ctx, run.Object())
	if err != nil {
		return fmt.Errorf("find what was erased: %w", err)
	}
	found, err := s.Store.OfItem(ctx, sh.Cause)
	if err != nil || len(found) == 0 {
		return err
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		then, err := s.erased(ctx, sh.Cause, sh.ID)
		return change.Change{Action: "recipient.erased", Object: sh.ID, Then: then, Quiet: true}, err
	})
}

// List returns a page of the notices of a request, the newest first.
func (s *Service) List(ctx context.Context, requestID string, r page.Request) (*Connection, error) {
	found, err := s.Requests.Find(ctx, requestID)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, Filter{Request: found.ID}, found.ID, r)
}

// Mine returns a page of what recipients were told of the data of the person who is
// calling: Art. 19, second sentence.
func (s *Service) Mine(ctx context.Context, r page.Request) (*Connection, error) {
	person := authz.FromContext(ctx).Subject
	if person == "" {
		return nil, ErrNotFound
	}
	return s.list(ctx, Filter{Subject: person, Told: true}, person, r)
}

func (s *Service) list(ctx context.Context, f Filter, object string, r page.Request) (*Connection, error) {
	at := func(n *Notice) page.Position { return page.Position{CreatedAt: n.CreatedAt, ID: n.ID} }
	c, err := page.Read(ctx, page.List{Of: id.Told, Scope: object}, r, at, func(ctx context.Context, after *page.Position, limit int) ([]*Notice, error) {
		return s.Store.List(ctx, f, after, limit)
	})
	if err != nil {
		return nil, err
	}
	return c, s.read(ctx, object, c.Nodes()...)
}

// Of returns up to limit notices of a person after a position, the newest first,
// for the answer to a request for access: the caller records the read.
func (s *Service) Of(ctx context.Context, subjectID string, after *page.Position, limit int) ([]*Notice, error) {
	return s.Store.List(ctx, Filter{Subject: subjectID, Told: true}, after, limit)
}

func (s *Service) read(ctx context.Context, object string, ns ...*Notice) error {
	touches := make([]audit.Touch, len(ns))
	for i, n := range ns {
		touches[i] = n.touch()
	}
	return s.Recorder.Read(ctx, "recipient.read", object, touches...)
}

func (n *Notice) touch() audit.Touch {
	return audit.Touch{Subject: n.Subject, Object: n.ID, Version: n.Version}
}

// Get returns a notice, or ErrNotFound.
func (s *Service) Get(ctx context.Context, noticeID string) (*Notice, error) {
	n, err := s.find(ctx, noticeID)
	if err != nil {
		return nil, err
	}
	return n, s.read(ctx, n.ID, n)
}

func (s *Service) find(ctx context.Context, noticeID string) (*Notice, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Told, of, noticeID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, noticeID)
}

// step changes a notice, with an event of its request.
func (s *Service) step(
	ctx context.Context, noticeID, do string, expected *int64, move func(ctx context.Context, n *Notice, r *request.Request) ([]job.Spec, error),
) (*Notice, error) {
	if _, err := s.find(ctx, noticeID); err != nil {
		return nil, err
	}
	var n *Notice
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if n, err = s.Store.Get(ctx, noticeID); err != nil {
			return c, err
		}
		if expected != nil && *expected != n.Version {
			return c, ErrVersion
		}
		r, err := s.Requests.Note(ctx, n.Request, request.NoteRecipient, n.ID, n.Recipient)
		if err != nil {
			return c, err
		}
		then, err := move(ctx, n, r)
		if err != nil {
			return c, err
		}
		n.Version++
		return change.Change{Action: do, Object: n.ID, Touches: []audit.Touch{n.touch()}, Then: then}, s.Store.Update(ctx, n)
	})
	return n, err
}

// Send sends a notice that waits for people: by the platform, or as they say that
// they have.
func (s *Service) Send(ctx context.Context, in SendInput) (*Notice, error) {
	return s.step(ctx, in.ID, "recipient.send", &in.ExpectedVersion, func(ctx context.Context, n *Notice, _ *request.Request) ([]job.Spec, error) {
		if n.State != ByHand {
			return nil, ErrState
		}
		if in.SentAt == nil {
			way, err := s.way(ctx, n)
			if err != nil {
				return nil, err
			}
			if way.channel == Manually {
				return nil, ErrWay
			}
			n.State, n.Channel = Queued, ""
			return []job.Spec{{Type: JobTell, Object: n.ID}}, s.Tasks.Settle(ctx, n.ID)
		}
		at := in.SentAt.UTC().Truncate(time.Millisecond)
		how, err := text(in.How, "how")
		switch {
		case err != nil:
			return nil, err
		case how.IsZero():
			return nil, errs.New(errs.Invalid, "say how the recipient was told").At("how")
		case at.After(s.now()) || n.DoneAt != nil && at.Before(n.DoneAt.Truncate(time.Minute)):
			return nil, errs.New(errs.Invalid, "a notice is sent after what it tells of was done, and not in the future").At("sentAt")
		}
		until := at.Add(answerWait)
		n.State, n.Channel, n.SentAt, n.AnswerBy, n.SentBy, n.How = Sent, Manually, &at, &until, authz.FromContext(ctx).ID, how
		return nil, s.Tasks.Settle(ctx, n.ID)
	})
}

func text(s *string, field string) (personal.Text, error) {
	if s == nil || strings.TrimSpace(*s) == "" {
		return personal.Text{}, nil
	}
	if utf8.RuneCountInString(*s) > maxText {
		return personal.Text{}, errs.New(errs.Invalid, "a text has at most %d characters", maxText).At(field)
	}
	return personal.NewText(strings.TrimSpace(*s)), nil
}

// Acknowledge notes what a recipient answered to staff.
func (s *Service) Acknowledge(ctx context.Context, in AcknowledgeInput) (*Notice, error) {
	return s.step(ctx, in.ID, "recipient.acknowledge", &in.ExpectedVersion, func(_ context.Context, n *Notice, _ *request.Request) ([]job.Spec, error) {
		return nil, s.answered(n, in.Result, in.Answer, in.At)
	})
}

// answered notes a recipient's answer.
func (s *Service) answered(n *Notice, result Result, answer *string, when *time.Time) error {
	at := s.now()
	if when != nil {
		at = when.UTC().Truncate(time.Millisecond)
	}
	said, err := text(answer, "answer")
	switch {
	case err != nil:
		return err
	case n.State != Sent && n.State != Acknowledged:
		return ErrState
	case !slices.Contains([]Result{Done, Partly, NotDone, NotHeld}, result):
		return errs.New(errs.Invalid, "no such result").At("result")
	case (result == Partly || result == NotDone) && said.IsZero():
		return errs.New(errs.Invalid, "say what wasn't done, and why").At("answer")
	case at.After(s.now()) || at.Before(n.SentAt.Truncate(time.Minute)):
		return errs.New(errs.Invalid, "an answer comes after the notice, and not in the future").At("at")
	}
	n.State, n.AnsweredAt, n.Result, n.Answer = Acknowledged, &at, result, said
	return nil
}

// Excuse notes why a recipient isn't told.
func (s *Service) Excuse(ctx context.Context, in ExcuseInput) (*Notice, error) {
	return s.step(ctx, in.ID, "recipient.excuse", &in.ExpectedVersion, func(ctx context.Context, n *Notice, _ *request.Request) ([]job.Spec, error) {
		why, err := text(&in.Reason, "reason")
		switch {
		case err != nil:
			return nil, err
		case n.State != ByHand:
			return nil, ErrState
		case in.Exception != Impossible && in.Exception != Disproportionate:
			return nil, errs.New(errs.Invalid, "a recipient is told unless that is impossible or of disproportionate effort (Art. 19)").At("exception")
		case why.IsZero():
			return nil, errs.New(errs.Invalid, "say why").At("reason")
		}
		n.State, n.Exception, n.Why, n.ExcusedBy = Excused, in.Exception, why, authz.FromContext(ctx).ID
		return nil, s.Tasks.Settle(ctx, n.ID)
	})
}

// Endpoints returns the parties that are told by webhook.
func (s *Service) Endpoints(ctx context.Context) ([]*Endpoint, error) { return s.Store.Endpoints(ctx) }

// SetEndpoint has a party told by a webhook, or no longer: then it returns nil.
func (s *Service) SetEndpoint(ctx context.Context, in EndpointInput) (*Endpoint, error) {
	if _, err := s.Processing.Party(ctx, in.Party); err != nil {
		return nil, errs.At(err, "party")
	}
	e := &Endpoint{Party: in.Party}
	if in.Webhook != nil {
		w, err := s.Webhooks.Get(ctx, *in.Webhook)
		if err != nil {
			return nil, errs.At(err, "webhook")
		}
		e.Webhook = w.ID
	}
	err := s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "recipient.endpoint", Object: in.Party}, s.Store.SetEndpoint(ctx, *e)
	})
	if err != nil || e.Webhook == "" {
		return nil, err
	}
	return e, nil
}
