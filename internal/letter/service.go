package letter

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// State is where a tenant's text stands.
type State string

// The states.
const (
	Proposed  State = "PROPOSED" // waits for another person to approve it
	Active    State = "ACTIVE"   // letters are written by it
	Withdrawn State = "WITHDRAWN"
)

const (
	// Max is how many texts of a tenant are proposed or active at once: two for each form.
	Max       = 140
	maxSource = 32 << 10
)

// Template is a version of a text that a tenant puts in place of a form's.
type Template struct {
	ID          string
	Letter      string
	Language    string
	Version     int64 // of the tenant's texts for this letter and language
	FormVersion int64 // of the form whose fields it has
	Source      string
	State       State
	ProposedBy  string
	ProposedAt  time.Time
	ApprovedBy  *string
	ApprovedAt  *time.Time
	WithdrawnBy *string // by a person, or by a newer version
	WithdrawnAt *time.Time
}

// ProposeInput asks for a text of the tenant's own. It names no person.
type ProposeInput struct {
	Letter   string
	Language string
	Source   string
}

// ApproveInput has letters written by a proposed text.
type ApproveInput struct{ ID string }

// WithdrawInput has letters written by the platform's text again.
type WithdrawInput struct{ ID string }

// PreviewInput asks how a letter looks, with invented values.
type PreviewInput struct {
	Letter   string
	Language string
	Source   *string // in place of what the tenant has now
}

// Sentinels of the tenant's texts.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such template")
	ErrFourEyes = errs.New(errs.Forbidden, "the text of a letter is approved by another person than the one who proposed it").Under("letter.fourEyes")
	ErrState    = errs.New(errs.Precondition, "the text isn't waiting for this any more").Under("letter.state")
	ErrVersion  = errs.New(errs.Conflict, "another text of this letter was proposed at the same time: propose it again")
	ErrTooMany  = errs.New(errs.Limited, "a tenant has at most %d texts that are proposed or active: withdraw some", Max)
	ErrForm     = errs.New(errs.Precondition, "the letter has other fields than when this text was proposed: propose it again").Under("letter.form")
)

// Store keeps the tenants' texts. Insert and Move work in the transaction of a change.
type Store interface {
	Get(ctx context.Context, templateID string) (*Template, error)
	// List returns up to limit texts after a position, the newest first.
	List(ctx context.Context, after *page.Position, limit int) ([]*Template, error)
	// Living returns all that are proposed or active.
	Living(ctx context.Context) ([]*Template, error)
	// Active returns the one that a letter is written by, nil without an error when there is none.
	Active(ctx context.Context, letter, language string) (*Template, error)
	// Latest returns the highest version, 0 if there is none.
	Latest(ctx context.Context, letter, language string) (int64, error)
	// Insert fails with ErrVersion.
	Insert(ctx context.Context, t *Template) error
	// Move stores t, if it is in the state from, or fails with ErrState.
	Move(ctx context.Context, t *Template, from State) error
}

// Tenants tells of the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Library *Library
	Store   Store
	Tenants Tenants
	Changes *change.Runner
	Now     func() time.Time
}

// Service writes letters, and keeps the tenants' texts.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// Origin tells which text a letter was written by, for the file of the case.
type Origin struct {
	Letter   string
	Language string
	Version  int64   // of the form, or of the tenant's text
	Template *string // the id of the tenant's text, nil for the platform's
	Digest   string  // SHA-256 of the text, in hexadecimal
}

// Letter is a letter to a person, ready to be sent.
type Letter struct {
	Subject  string // nothing about a person
	Text     personal.Text
	HTML     personal.Text // a whole page
	Markdown personal.Text
	From     Origin

	document func() paper.Document // as personal.Text keeps what it holds
}

// Document returns the letter as it is put on paper.
func (l *Letter) Document() paper.Document { return l.document() }

// PDF writes the letter as PDF.
func (l *Letter) PDF(w io.Writer) error { return paper.Render(w, l.document()) }

// Render writes a letter in the language of a tag (see Language), by the tenant's
// text where it has one. It fails with ErrUnknown, with ErrMissing (PRECONDITION,
// at "fields.NAME") for a required field without a value, or with ErrField for a
// value that the letter doesn't declare or of another type.
func (s *Service) Render(ctx context.Context, letter, language string, fields Fields) (*Letter, error) {
	form, err := s.Library.Form(letter, language)
	if err != nil {
		return nil, err
	}
	own, err := s.Store.Active(ctx, form.Letter, form.Language)
	if err != nil {
		return nil, err
	}
	from := Origin{Letter: form.Letter, Language: form.Language, Version: form.Version, Digest: form.Digest}
	if own != nil {
		// A text that no longer fits is withdrawn by a person, never left out by us.
		if form, err = form.with(own.Source); err != nil {
			return nil, ErrForm.Because(err)
		}
		from.Version, from.Template, from.Digest = own.Version, &own.ID, form.Digest
	}
	return s.write(ctx, form, from, fields)
}

// Preview writes a letter with invented values.
func (s *Service) Preview(ctx context.Context, in PreviewInput) (*Letter, error) {
	form, err := s.form(in.Letter, in.Language)
	if err != nil {
		return nil, err
	}
	fields := form.sample(civil.Of(s.Now()))
	if in.Source == nil {
		return s.Render(ctx, in.Letter, in.Language, fields)
	}
	if form, err = sized(form, *in.Source); err != nil {
		return nil, err
	}
	return s.write(ctx, form, Origin{Letter: form.Letter, Language: form.Language, Digest: form.Digest}, fields)
}

func (s *Service) write(ctx context.Context, form *Form, from Origin, fields Fields) (*Letter, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	d, err := form.fill(fields, zone)
	if err != nil {
		return nil, err
	}
	d.Date = s.at()
	return published(d, from)
}

// sample returns invented values for all fields of the form.
func (f *Form) sample(today civil.Date) Fields {
	fields := Fields{}
	for _, field := range f.Fields {
		words := "[" + field.Name + "]"
		switch field.Type {
		case TypeText:
			fields[field.Name] = Text(words)
		case TypeDate:
			fields[field.Name] = Date(today)
		case TypeInstant:
			fields[field.Name] = Instant(time.Date(today.Year, today.Month, today.Day, 12, 0, 0, 0, time.UTC))
		case TypeInteger:
			fields[field.Name] = Integer(30)
		case TypeURL:
			fields[field.Name] = URL("https://example.org/" + field.Name)
		case TypeBlock:
			if columns := f.rows[field.Name]; columns > 0 {
				row := make([]string, columns)
				for i := range row {
					row[i] = fmt.Sprintf("[%s %d]", field.Name, i+1)
				}
				fields[field.Name] = Rows(row)
			} else {
				fields[field.Name] = Items(words)
			}
		}
	}
	return fields
}

// Forms returns all letters of the platform, by name and then language.
func (s *Service) Forms() []*Form { return s.Library.Forms() }

// Connection is a page of templates.
type Connection = page.Connection[*Template]

// Edge is a template in a Connection.
type Edge = page.Edge[*Template]

// List returns a page of the tenant's texts in all versions, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	at := func(t *Template) page.Position { return page.Position{CreatedAt: t.ProposedAt, ID: t.ID} }
	return page.Read(ctx, page.List{Of: id.Letter}, r, at, s.Store.List)
}

// Get returns a text, or ErrNotFound.
func (s *Service) Get(ctx context.Context, templateID string) (*Template, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Letter, of, templateID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, templateID)
}

// form returns a letter in one of Languages, which an input names exactly.
func (s *Service) form(letter, language string) (*Form, error) {
	form, ok := s.Library.forms[letter+"/"+language]
	if !ok {
		return nil, errs.New(errs.Invalid, "there is no such letter in this language: standardLetters has them").At("letter")
	}
	return form, nil
}

func sized(form *Form, source string) (*Form, error) {
	if len(source) > maxSource {
		return nil, errs.New(errs.Invalid, "a text has at most %d bytes", maxSource).At("source")
	}
	return form.with(source)
}

// Propose notes a text that letters are written by once another person approves
// it. It obeys the caller's Idempotency-Key.
func (s *Service) Propose(ctx context.Context, in ProposeInput) (*Template, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	form, err := s.form(in.Letter, in.Language)
	if err != nil {
		return nil, err
	}
	text, err := sized(form, in.Source)
	if err != nil {
		return nil, err
	}
	t := &Template{
		ID: id.New(id.Letter, of), Letter: form.Letter, Language: form.Language, FormVersion: form.Version, Source: text.Source,
		State: Proposed, ProposedBy: authz.FromContext(ctx).ID, ProposedAt: s.at(),
	}
	templateID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		living, err := s.Store.Living(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if len(living) >= Max {
			return change.Change{}, ErrTooMany
		}
		latest, err := s.Store.Latest(ctx, t.Letter, t.Language)
		if err != nil {
			return change.Change{}, err
		}
		t.Version = latest + 1
		return change.Change{Action: "letter.propose", Object: t.ID}, s.Store.Insert(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, templateID)
}

// Approve has letters written by a proposed text, in place of an earlier one.
func (s *Service) Approve(ctx context.Context, in ApproveInput) (*Template, error) {
	return s.move(ctx, in.ID, "letter.approve", func(ctx context.Context, t *Template, by string, at time.Time) (State, error) {
		if t.State != Proposed {
			return "", ErrState
		}
		if t.ProposedBy == by {
			return "", ErrFourEyes
		}
		form, err := s.form(t.Letter, t.Language)
		if err != nil {
			return "", ErrForm.Because(err)
		}
		if _, err := form.with(t.Source); err != nil {
			return "", ErrForm.Because(err)
		}
		before, err := s.Store.Active(ctx, t.Letter, t.Language)
		if err != nil {
			return "", err
		}
		if before != nil {
			before.State, before.WithdrawnBy, before.WithdrawnAt = Withdrawn, &by, &at
			if err := s.Store.Move(ctx, before, Active); err != nil {
				return "", err
			}
		}
		t.State, t.ApprovedBy, t.ApprovedAt = Active, &by, &at
		return Proposed, nil
	})
}

// Withdraw ends a text that is proposed or active. Letters are written by the
// platform's again.
func (s *Service) Withdraw(ctx context.Context, in WithdrawInput) (*Template, error) {
	return s.move(ctx, in.ID, "letter.withdraw", func(_ context.Context, t *Template, by string, at time.Time) (State, error) {
		from := t.State
		if from == Withdrawn {
			return "", ErrState
		}
		t.State, t.WithdrawnBy, t.WithdrawnAt = Withdrawn, &by, &at
		return from, nil
	})
}

func (s *Service) move(
	ctx context.Context, templateID, action string,
	decide func(ctx context.Context, t *Template, by string, at time.Time) (from State, err error),
) (*Template, error) {
	if _, err := s.Get(ctx, templateID); err != nil {
		return nil, err
	}
	var t *Template
	by, at := authz.FromContext(ctx).ID, s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if t, err = s.Store.Get(ctx, templateID); err != nil {
			return c, err
		}
		from, err := decide(ctx, t, by, at)
		if err != nil {
			return c, err
		}
		return change.Change{Action: action, Object: t.ID}, s.Store.Move(ctx, t, from)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }
