// Package notify tells people by mail: at least once, and never lost with the
// change that asked for it.
//
// A Message is written in the change's transaction, its address and variables
// sealed, together with the job that sends it. Once it is sent, address and
// variables are gone from the row. A repeat carries the same Message-ID, so that
// a mail server or reader recognises it. No message holds personal data beyond
// its address: not even a name is in one.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobSend is the type of the job that sends a message (see Send).
const JobSend = "notify:send"

// sendAttempts is how often sending is tried before the job is parked: with
// pauses of up to ten minutes, for some five hours.
const sendAttempts = 40

// Life is how long a message that can't be sent keeps its address and
// variables; Sweep takes them away then.
const Life = 14 * 24 * time.Hour

// Message is a mail to be sent.
type Message struct {
	Template string                   // see the constants: TemplateInvitation …
	Language string                   // BCP 47; the tenant's first, or English, when there is no text in it
	To       personal.Text            // the address
	Owner    vault.Owner              // whose key seals address and variables; the caller has made sure of it
	Vars     map[string]personal.Text // all that the template declares, and nothing else
}

// State is where a message stands.
type State string

// The states of a message. Only a QUEUED one has its address and variables.
const (
	Queued  State = "QUEUED"
	Sent    State = "SENT"
	Dropped State = "DROPPED" // never sent: its person was erased, or its Life was over
)

// Row is a message as it is kept.
type Row struct {
	ID        string
	Template  string
	Language  string // one that there is a text in
	State     State
	Owner     vault.Owner
	To        personal.Text
	Vars      map[string]personal.Text
	CreatedAt time.Time
	EndedAt   time.Time // when it was sent or dropped
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such message")
	// ErrTemplate reports a Message that its template doesn't fit. It is a fault of ours.
	ErrTemplate = errs.New(errs.Internal, "the message doesn't fit its template")
)

// Store keeps messages, for the tenant in ctx.
type Store interface {
	// Insert seals address and variables under the owner's key.
	Insert(ctx context.Context, m *Row) error
	// Get fails with ErrNotFound, or vault.ErrErased when the owner's key is gone.
	Get(ctx context.Context, messageID string) (*Row, error)
	// End writes state and time of a QUEUED message and removes address and
	// variables. Of another it changes nothing.
	End(ctx context.Context, messageID string, state State, at time.Time) error
	// Languages returns the tenant's languages, the default first.
	Languages(ctx context.Context) ([]string, error)
	// Old returns ids of messages QUEUED since before a time. It spans tenants.
	Old(ctx context.Context, before time.Time, limit int) ([]Ref, error)
}

// Ref names a message of a tenant.
type Ref struct {
	Tenant tenant.ID
	ID     string
}

// Mail is what is sent.
type Mail struct {
	MessageID string // stable: "msg_…"
	Date      time.Time
	To        personal.Text
	Subject   string
	Text      personal.Text
	HTML      personal.Text
}

// Sender hands mail to a server.
type Sender interface {
	// Send returns when the server has taken responsibility for the mail. An error
	// that another attempt can't mend is job.Permanent. No error quotes the mail.
	Send(ctx context.Context, m Mail) error
}

// Config is what a Service needs.
type Config struct {
	Store   Store
	Sender  Sender
	Changes *change.Runner
	Log     *slog.Logger
	Now     func() time.Time
}

// Service queues and sends messages.
type Service struct {
	Config

	templates templates
}

// NewService returns a Service.
func NewService(c Config) (*Service, error) {
	t, err := parseTemplates()
	if err != nil {
		return nil, fmt.Errorf("parse mail templates: %w", err)
	}
	return &Service{Config: c, templates: t}, nil
}

// Queue writes a message within a change's transaction, for the tenant in ctx,
// and returns the job that sends it, for the change's Then. A message that could
// not be sent later, for a variable is missing or the address is none, fails now.
func (s *Service) Queue(ctx context.Context, m Message) (job.Spec, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return job.Spec{}, err
	}
	to, err := identifier.Email(m.To)
	if err != nil {
		return job.Spec{}, fmt.Errorf("queue message: %w", err)
	}
	languages, err := s.Store.Languages(ctx)
	if err != nil {
		return job.Spec{}, fmt.Errorf("queue message: %w", err)
	}
	row := &Row{
		ID: id.New(id.Message, of), Template: m.Template, Language: s.templates.language(append([]string{m.Language}, languages...)...),
		State: Queued, Owner: m.Owner, To: to.Value, Vars: m.Vars, CreatedAt: s.Now().UTC().Truncate(time.Millisecond),
	}
	if _, err := s.templates.render(row); err != nil {
		return job.Spec{}, fmt.Errorf("queue message: %w", err)
	}
	if err := s.Store.Insert(ctx, row); err != nil {
		return job.Spec{}, fmt.Errorf("queue message: %w", err)
	}
	return job.Spec{Type: JobSend, Object: row.ID, Tenant: of, MaxAttempts: sendAttempts}, nil
}

// Send sends the message of a run. It is the work of JobSend. When the worker
// dies after the mail server took the mail, it is sent again under the same
// Message-ID.
func (s *Service) Send(ctx context.Context, r *job.Run) error {
	row, err := s.Store.Get(ctx, r.Object())
	if errors.Is(err, vault.ErrErased) {
		return s.end(ctx, r.Object(), Dropped, r.Guard)
	}
	if err != nil {
		return err
	}
	if row.State != Queued {
		return nil
	}
	m, err := s.templates.render(row)
	if err != nil {
		return err
	}
	if err := s.Sender.Send(ctx, m); err != nil {
		return fmt.Errorf("send message %s: %w", row.ID, err)
	}
	return s.end(ctx, row.ID, Sent, r.Guard)
}

// State returns where a message stands, or ErrNotFound.
func (s *Service) State(ctx context.Context, messageID string) (State, error) {
	row, err := s.Store.Get(ctx, messageID)
	if errors.Is(err, vault.ErrErased) {
		return Dropped, nil
	}
	if err != nil {
		return "", err
	}
	return row.State, nil
}

// end notes that nothing more will happen to a message.
func (s *Service) end(ctx context.Context, messageID string, state State, guard func(context.Context) error) error {
	action := "message.send"
	if state == Dropped {
		action = "message.drop"
	}
	at := s.Now().UTC().Truncate(time.Millisecond)
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if guard != nil {
			if err := guard(ctx); err != nil {
				return change.Change{}, err
			}
		}
		return change.Change{Action: action, Object: messageID, Quiet: true}, s.Store.End(ctx, messageID, state, at)
	})
}

// sweepBatch is how many messages are looked for at once.
const sweepBatch = 200

// Sweep drops messages, of all tenants, that couldn't be sent in their Life. ctx
// spans tenants.
func (s *Service) Sweep(ctx context.Context) error {
	for {
		old, err := s.Store.Old(ctx, s.Now().Add(-Life), sweepBatch)
		if err != nil {
			return fmt.Errorf("find old messages: %w", err)
		}
		for _, m := range old {
			if err := s.end(tenant.NewContext(ctx, m.Tenant), m.ID, Dropped, nil); err != nil {
				return fmt.Errorf("drop message %s: %w", m.ID, err)
			}
		}
		if len(old) < sweepBatch {
			return nil
		}
	}
}
