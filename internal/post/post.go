// Package post writes to the persons who make requests, and tells those who work
// on them (DOMAIN §2): a letter for each step that the person must know of, one
// answer to all that was asked for, and mails within the tenant that hold no more
// than a request's number.
//
// Letters are kept as they were written, sealed under the case's own key, and are
// never written twice for one step. What a letter says is the same whether or not
// something is kept secret by law: nothing of that reaches this package.
package post

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Way is how a letter reaches its person.
type Way string

// The ways.
const (
	ByMail   Way = "MAIL"   // all of it is in a mail
	InPortal Way = "PORTAL" // a mail says that it is there
	OnPaper  Way = "PAPER"  // no address for mail is known: print it, and post it
)

// Letter is a letter as it was written.
type Letter struct {
	ID       string
	Request  string
	Subject  string   // whose request it is, "" while that isn't known
	Key      string   // what it tells of: a letter with the same key isn't written again
	Forms    []string // "acknowledgement": of each of its parts
	Texts    []string // the SHA-256 of the text that each part was written by, in hexadecimal
	Language string
	Title    personal.Text `json:"-"`
	Markdown personal.Text `json:"-"`
	Hash     string        // SHA-256 of Markdown, in hexadecimal
	Way      Way
	At       time.Time
}

// Text returns the letter as Markdown, which reads well as it is.
func (l *Letter) Text() personal.Text { return l.Markdown }

// PDF returns the letter on paper.
func (l *Letter) PDF() ([]byte, error) {
	d, err := paper.FromMarkdown(l.Markdown.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read letter %s: %w", l.ID, err)
	}
	d.Language, d.Date = l.Language, l.At
	var b bytes.Buffer
	if err := paper.Render(&b, d); err != nil {
		return nil, fmt.Errorf("print letter %s: %w", l.ID, err)
	}
	return b.Bytes(), nil
}

// idBytes is how much of a hash makes an id.
const idBytes = 16

// ErrNotFound reports that the tenant has no such letter.
var ErrNotFound = errs.New(errs.NotFound, "no such letter")

// Store keeps letters, for the tenant in ctx.
type Store interface {
	// Insert works in a change's transaction.
	Insert(ctx context.Context, l *Letter) error
	// Get returns ErrNotFound.
	Get(ctx context.Context, letterID string) (*Letter, error)
	// List returns all letters of a request, the oldest first.
	List(ctx context.Context, requestID string) ([]*Letter, error)
}

// Letters writes letters.
type Letters interface {
	Compose(ctx context.Context, language string, parts ...letter.Part) (*letter.Letter, []letter.Origin, error)
}

// Teller is what a request.Work also is when the letter about what it did says
// more than the request itself knows: it returns those fields of the form (see
// package letter) that it knows, by their names.
type Teller interface {
	Tell(ctx context.Context, r *request.Request, item *request.Item) (letter.Fields, error)
}

// Tenants knows the tenant in ctx, and who works for it.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
	Working(ctx context.Context, role authz.Role) ([]*tenancy.Member, error)
	Owners(ctx context.Context) ([]*tenancy.Member, error)
}

// Mailer queues mail within a change, and returns the job that sends it.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Requests finds the request that a letter is of, as the caller may see it.
type Requests interface {
	Get(ctx context.Context, requestID string) (*request.Request, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store    Store
	Library  *letter.Library
	Letters  Letters
	Tenants  Tenants
	Subjects request.Subjects
	Works    map[request.Type]request.Work // those that are a Teller tell more
	Mail     Mailer
	Changes  *change.Runner
	BaseURL  string // of the pages that mail leads to, without a slash at its end
	Now      func() time.Time

	Tasks Tasks // nil where there are none
}

// Tasks knows who does tasks of a request that aren't done.
type Tasks interface {
	Assignees(ctx context.Context, requestID string) ([]string, error)
}

// Service is the post.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

var _ request.Post = (*Service)(nil)

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Of returns all letters of a request that the caller may see, the oldest first.
func (s *Service) Of(ctx context.Context, r *request.Request) ([]*Letter, error) {
	return s.Store.List(ctx, r.ID)
}

// Open returns a letter to be downloaded as PDF: to a person, their own.
func (s *Service) Open(ctx context.Context, letterID string) (*Letter, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.SentLetter, of, letterID) != nil {
		return nil, ErrNotFound
	}
	l, err := s.Store.Get(ctx, letterID)
	if err != nil {
		return nil, err
	}
	if p := authz.FromContext(ctx); p.Kind == authz.KindSubject && (l.Subject == "" || l.Subject != p.Subject) {
		return nil, ErrNotFound
	}
	return l, nil
}

// person is who a letter goes to.
type person struct {
	name personal.Text // zero as long as it isn't settled who asks
	mail personal.Text // zero when no address for mail is known
}

// person returns who a letter about r goes to: the representative by whose
// mandate it does, or the person; by the address that they gave, or else the one
// on file.
func (s *Service) person(ctx context.Context, r *request.Request) (person, error) {
	var to person
	contact := r.Contact
	if rep := r.Representative; rep != nil && rep.Deliver {
		to.name, contact = rep.Name, rep.Contact
	}
	if n, err := identifier.Email(contact); err == nil {
		to.mail = n.Value
	}
	if r.Subject == "" {
		return to, nil
	}
	found, err := s.Subjects.GetMany(ctx, []string{r.Subject})
	if err != nil || len(found) == 0 {
		return to, err
	}
	known := found[0]
	if to.mail.IsZero() && len(known.Emails) > 0 && (r.Representative == nil || !r.Representative.Deliver) {
		to.mail = known.Emails[0]
	}
	// A name would tell somebody who hasn't shown who they are that it is on file.
	if to.name.IsZero() && r.Identity.Verified() && known.Name != nil {
		to.name = known.Name.Full
	}
	return to, nil
}

// write stores a letter and queues its mail, within a change's transaction. It
// returns the jobs that follow.
func (s *Service) write(ctx context.Context, r *request.Request, d *draft) (*Letter, []job.Spec, error) {
	written, origins, err := s.Letters.Compose(ctx, r.Language, d.parts...)
	if err != nil {
		return nil, nil, err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	l := &Letter{
		ID: stableID(of, r.ID, d.key), Request: r.ID, Subject: r.Subject, Key: d.key, Language: letter.Language(r.Language),
		Title: personal.NewText(written.Subject), Markdown: written.Markdown, Hash: digest(written.Markdown), Way: d.way, At: s.now(),
	}
	for _, o := range origins {
		l.Forms, l.Texts = append(l.Forms, o.Letter), append(l.Texts, o.Digest)
	}
	if d.to.mail.IsZero() {
		l.Way = OnPaper
	}
	if err := s.Store.Insert(ctx, l); err != nil {
		return nil, nil, err
	}
	m := notify.Message{Language: r.Language, To: d.to.mail, Owner: request.Unit(of, r.ID)}
	switch l.Way {
	case ByMail:
		m.Template = notify.TemplateLetter
		m.Vars = map[string]personal.Text{"subject": l.Title, "text": written.Text, "html": written.HTML}
	case InPortal:
		m.Template = notify.TemplateRequestAnswered
		m.Vars = map[string]personal.Text{
			"tenant": personal.NewText(d.tenant.LegalName), "number": personal.NewText(r.Number), "url": personal.NewText(s.page(d.tenant, "requests")),
		}
	case OnPaper:
		return l, nil, nil
	}
	spec, err := s.Mail.Queue(ctx, m)
	return l, []job.Spec{spec}, err
}

// stableID returns the id of the letter that tells of something: the same each time.
func stableID(of tenant.ID, requestID, key string) string {
	sum := sha256.Sum256([]byte(requestID + "/" + key))
	return id.Prefix(id.SentLetter, of) + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:idBytes]))
}

func digest(content personal.Text) string {
	sum := sha256.Sum256([]byte(content.Reveal()))
	return hex.EncodeToString(sum[:])
}

// page returns the address of a place in the privacy centre: it names no person and
// no request. A tenant without one has its own website, or else what anybody may see
// of the platform.
func (s *Service) page(t *tenancy.Tenant, place string) string {
	switch {
	case t.Slug != nil:
		return s.BaseURL + "/p/" + *t.Slug + "/" + place
	case t.Letterhead != nil && t.Letterhead.Website != "":
		return t.Letterhead.Website
	default:
		return s.BaseURL + "/check"
	}
}
