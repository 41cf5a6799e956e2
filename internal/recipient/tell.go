package recipient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vocabulary"
	"github.com/vogter/vogter/internal/webhook"
)

const (
	// form is the letter that a notice by mail is.
	form = "recipient-notice"
	// Event is what webhooks of recipients are told.
	Event = "recipient.notice"
	// answerWait is for how long an answer is waited for, by the house's rule.
	answerWait = 14 * 24 * time.Hour

	// How long it is waited between looks at a notice on its way.
	firstLook = 2 * time.Second
	longLook  = time.Hour
	lookShare = 4 // of its age
)

// way is how a recipient can be told.
type way struct {
	channel Channel
	party   *processing.Party
	mail    personal.Text
	webhook string
}

// way returns how a recipient is told: by its webhook, or by mail when it has an
// address and knows the record by a reference, or else by people.
func (s *Service) way(ctx context.Context, n *Notice) (way, error) {
	p, err := s.Processing.Party(ctx, n.Recipient)
	if err != nil {
		return way{}, fmt.Errorf("find recipient: %w", err)
	}
	w := way{channel: Manually, party: p}
	if w.webhook, err = s.Store.Endpoint(ctx, n.Recipient); err != nil {
		return w, err
	}
	if w.webhook != "" && len(n.Disclosures) > 0 {
		hook, err := s.Webhooks.Get(ctx, w.webhook)
		if err != nil && !errors.Is(err, webhook.ErrNotFound) {
			return w, err
		}
		if err == nil && hook.State == webhook.Active {
			w.channel = ByWebhook
			return w, nil
		}
	}
	if p.Contact == nil || len(n.References) == 0 {
		return w, nil
	}
	if to, err := identifier.Email(p.Contact.Email); err == nil {
		w.channel, w.mail = ByMail, to.Value
	}
	return w, nil
}

// Run is the work of JobTell. It sends a notice once, and sees it arrive.
func (s *Service) Run(ctx context.Context, run *job.Run) error {
	ctx, _, err := platform(ctx)
	if err != nil {
		return err
	}
	n, err := s.Store.Get(ctx, run.Object())
	if err != nil {
		return err
	}
	switch n.State {
	case Queued:
		return s.send(ctx, n, run)
	case Sending:
		return s.follow(ctx, n, run)
	default:
		return nil
	}
}

// send sets a notice on its way.
func (s *Service) send(ctx context.Context, n *Notice, run *job.Run) error {
	w, err := s.way(ctx, n)
	if err != nil {
		return err
	}
	of, now := run.Tenant(), s.now()
	key := personal.NewText(strings.ToLower(rand.Text()))
	var l *letter.Letter
	if w.channel == ByMail {
		l, err = s.letter(ctx, n, w, key, now)
		if errors.Is(err, letter.ErrMissing) {
			w.channel = Manually // as for want of a letterhead: the tenant's people see to it
		} else if err != nil {
			return err
		}
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if err := run.Guard(ctx); err != nil {
			return c, err
		}
		fresh, err := s.Store.Get(ctx, n.ID)
		if err != nil {
			return c, err
		}
		if fresh.State != Queued {
			return c, ErrVersion
		}
		until := now.Add(answerWait)
		fresh.Channel, fresh.State, fresh.AnswerBy = w.channel, Sending, &until
		fresh.Version++
		c = change.Change{Action: "recipient.tell", Object: n.ID, Touches: []audit.Touch{fresh.touch()}}
		var spec job.Spec
		switch w.channel {
		case ByMail:
			fresh.Key = key
			spec, err = s.mail(ctx, fresh, w, l)
			fresh.Post = spec.Object
		case ByWebhook:
			var d *webhook.Delivery
			if d, spec, err = s.Webhooks.Queue(ctx, w.webhook, Event, event(of, fresh)); err == nil {
				fresh.Post = d.ID
			}
		case Manually:
			return c, s.ask(ctx, fresh)
		}
		if err != nil {
			return c, err
		}
		c.Then = []job.Spec{spec}
		return c, s.Store.Update(ctx, fresh)
	})
	if err != nil || w.channel == Manually {
		return err
	}
	return job.Postpone(firstLook)
}

// ask has people tell a recipient.
func (s *Service) ask(ctx context.Context, n *Notice) error {
	n.State, n.Channel, n.AnswerBy = ByHand, Manually, nil
	r, err := s.Requests.Note(ctx, n.Request, request.NoteRecipient, n.ID, n.Recipient)
	if err != nil {
		return err
	}
	if err := s.Tasks.Ask(ctx, r, n); err != nil {
		return err
	}
	return s.Store.Update(ctx, n)
}

// data is what a webhook of a recipient is told: ids and terms only.
type data struct {
	Tenant      tenant.ID `json:"tenant"`
	Notice      string    `json:"notice"`
	Action      Action    `json:"action"`
	DoneAt      time.Time `json:"doneAt"`
	Disclosures []string  `json:"disclosures"` // the newest of which the recipient has data
	Categories  []string  `json:"categories"`
	AnswerBy    time.Time `json:"answerBy"`
}

func event(of tenant.ID, n *Notice) data {
	d := data{
		Tenant: of, Notice: n.ID, Action: n.Action, Disclosures: append([]string{}, n.Disclosures...), Categories: append([]string{}, n.Categories...),
		AnswerBy: *n.AnswerBy,
	}
	if n.DoneAt != nil {
		d.DoneAt = *n.DoneAt
	}
	return d
}

// language is what a recipient is written to in.
func language(p *processing.Party) string {
	if p.Country == "DK" {
		return paper.Danish
	}
	return paper.English
}

// letter writes the mail. It fails with letter.ErrMissing when the tenant lacks
// what a letter must say.
func (s *Service) letter(ctx context.Context, n *Notice, w way, key personal.Text, now time.Time) (*letter.Letter, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("find tenant: %w", err)
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("load time zone: %w", err)
	}
	in := language(w.party)
	what, err := s.Library.Phrase(in, "notice."+string(n.Action))
	if err != nil {
		return nil, err
	}
	kinds, err := s.kinds(ctx, n, in)
	if err != nil {
		return nil, err
	}
	day := func(at time.Time) letter.Value { return letter.Date(civil.Of(at.In(zone))) }
	link := letter.URL(s.BaseURL + Path + n.ID + "/" + key.Reveal())
	fields := letter.Fields{
		"controller.name": letter.Text(t.LegalName), "letter.date": day(now), "notice.acknowledgeByDate": day(now.Add(answerWait)),
		"notice.acknowledgeUrl": link, "notice.secureUrl": link, "notice.action": letter.Text(what), "notice.actionDate": day(*n.DoneAt),
		"notice.dataCategories": letter.Text(kinds), "notice.id": letter.Text(n.ID),
		"notice.recipientReference": letter.Text(strings.Join(n.ReferenceTexts(), "; ")), "recipient.organisation": letter.Text(n.Name),
	}
	if l := t.Letterhead; l != nil {
		fields["controller.address"], fields["controller.contact"] = letter.Text(l.Address), letter.Text(contact(l))
	}
	written, err := s.Letters.Render(ctx, form, in, fields)
	if err != nil {
		return nil, fmt.Errorf("write notice: %w", err)
	}
	return written, nil
}

func contact(l *tenancy.Letterhead) string {
	return strings.Join(slices.DeleteFunc([]string{l.Email, l.Phone, l.Website}, func(s string) bool { return s == "" }), ", ")
}

// kinds names the kinds of data that a notice is about.
func (s *Service) kinds(ctx context.Context, n *Notice, in string) (string, error) {
	var names []string
	for _, c := range n.Categories {
		if term, ok := vocabulary.Lookup(c); ok {
			names = append(names, term.Label(in))
		}
	}
	if len(n.Datasets) > 0 {
		sets, err := s.Datasets.List(ctx)
		if err != nil {
			return "", err
		}
		for _, d := range sets {
			if slices.Contains(n.Datasets, d.ID) {
				names = append(names, d.Name)
			}
		}
	}
	if len(names) == 0 {
		return map[string]string{paper.Danish: "de oplysninger, I har fået", paper.English: "the data that you were given"}[in], nil
	}
	return strings.Join(names, ", "), nil
}

// mail queues the mail of a notice.
func (s *Service) mail(ctx context.Context, n *Notice, w way, l *letter.Letter) (job.Spec, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return job.Spec{}, err
	}
	return s.Mail.Queue(ctx, notify.Message{
		Template: notify.TemplateLetter, Language: language(w.party), To: w.mail, Owner: request.Unit(of, n.Request),
		Vars: map[string]personal.Text{"subject": personal.NewText(l.Subject), "text": l.Text, "html": l.HTML},
	})
}

// follow looks whether a notice has arrived. One that can't be delivered is for
// people to send.
func (s *Service) follow(ctx context.Context, n *Notice, run *job.Run) error {
	at, failed, acknowledged, err := s.arrived(ctx, n)
	if err != nil {
		return err
	}
	if at == nil && !failed {
		age := s.now().Sub(n.AnswerBy.Add(-answerWait))
		return job.Postpone(min(max(firstLook, age/lookShare), longLook))
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if err := run.Guard(ctx); err != nil {
			return c, err
		}
		fresh, err := s.Store.Get(ctx, n.ID)
		if err != nil {
			return c, err
		}
		if fresh.State != Sending {
			return c, ErrVersion
		}
		fresh.Version++
		c = change.Change{Action: "recipient.sent", Object: n.ID, Touches: []audit.Touch{fresh.touch()}}
		if failed {
			c.Action = "recipient.unsent"
			return c, s.ask(ctx, fresh)
		}
		if _, err := s.Requests.Note(ctx, n.Request, request.NoteRecipient, n.ID, n.Recipient); err != nil {
			return c, err
		}
		until := at.Add(answerWait)
		fresh.State, fresh.SentAt, fresh.AnswerBy = Sent, at, &until
		if acknowledged {
			fresh.State, fresh.AnsweredAt, fresh.Result = Acknowledged, at, Done
		}
		return c, s.Store.Update(ctx, fresh)
	})
}

// arrived tells when a notice on its way was taken, or that it never will be.
func (s *Service) arrived(ctx context.Context, n *Notice) (at *time.Time, failed, acknowledged bool, err error) {
	now := s.now()
	if n.Channel == ByMail {
		state, err := s.Mail.State(ctx, n.Post)
		switch {
		case errors.Is(err, notify.ErrNotFound) || state == notify.Dropped:
			return nil, true, false, nil
		case err != nil || state == notify.Queued:
			return nil, false, false, err
		}
		return &now, false, false, nil
	}
	d, err := s.Webhooks.GetDelivery(ctx, n.Post)
	switch {
	case errors.Is(err, webhook.ErrNoDelivery):
		return nil, true, false, nil
	case err != nil:
		return nil, false, false, err
	case d.State == webhook.Failed:
		return nil, true, false, nil
	case d.State == webhook.Pending:
		return nil, false, false, nil
	}
	return d.EndedAt, false, d.Acknowledged, nil
}
