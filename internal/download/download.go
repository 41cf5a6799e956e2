// Package download gives files and exports out, over links that are made for
// one caller, work a few times for a short while, and are known only by their
// hash. Every grant and every opening is in the audit log before a byte leaves.
package download

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/vogter/vogter/internal/agreement"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// Uses is how often a link can be opened.
	Uses = 3
	// Life is how long a link works, unless it is of an export, which it lives as long as.
	Life = 15 * time.Minute
	// keep is for how long a link that is over is remembered, to be told from one
	// that never was.
	keep = 7 * 24 * time.Hour

	tokenBytes = 32

	// Path is where links lead; the token follows.
	Path = "/v1/downloads/"
)

// Grant is the right of one caller to fetch one object.
type Grant struct {
	URL       string // has the token, which isn't kept
	ExpiresAt time.Time
	UsesLeft  int
}

// Row is a grant as it is stored.
type Row struct {
	Hash      string // SHA-256 of the token, hexadecimal
	Object    string
	Form      *processing.Form // of a register
	Subject   string
	Principal string // id of the caller it was made for
	UsesLeft  int
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such download")
	ErrNoObject = errs.New(errs.NotFound, "nothing that can be downloaded has this id").At("object")
	ErrForm     = errs.New(errs.Invalid, "a register is downloaded in a form, and nothing else is").At("register")
	ErrForeign  = errs.New(errs.Forbidden, "the link was made for another caller: ask for one of your own")
	ErrExpired  = errs.New(errs.Precondition, "the link has expired: ask for a new link").Under(httperr.RuleGone)
	ErrSpent    = errs.New(errs.Precondition, "the link was opened %d times: ask for a new link", Uses).Under(httperr.RuleGone)
)

// Store keeps grants. Insert and Use work in the transaction of a change.
type Store interface {
	// Get returns ErrNotFound for a hash that the tenant doesn't have.
	Get(ctx context.Context, hash string) (*Row, error)
	Insert(ctx context.Context, r *Row) error
	// Use takes one use from a grant, or fails with ErrSpent.
	Use(ctx context.Context, hash string) error
	// DeleteExpired removes the grants of any tenant that expired before the time
	// given. It needs a system context.
	DeleteExpired(ctx context.Context, before time.Time) error
}

// Files gives files out.
type Files interface {
	Open(ctx context.Context, id string) (*file.File, io.ReadSeekCloser, error)
}

// Exports gives packages out.
type Exports interface {
	Open(ctx context.Context, id string) (*export.Export, io.ReadSeekCloser, error)
}

// Audits gives bundles of the audit log out.
type Audits interface {
	OpenExport(ctx context.Context, id string) (*trail.Export, io.ReadSeekCloser, error)
}

// Registers gives registers of processing out.
type Registers interface {
	Open(ctx context.Context, id string, f processing.Form) (*processing.File, error)
}

// Letters gives letters to persons out.
type Letters interface {
	Open(ctx context.Context, id string) (*post.Letter, error)
}

// Certificates gives certificates of erasure out.
type Certificates interface {
	Open(ctx context.Context, number string) (*certificate.File, error)
}

// Agreements gives data processing agreements out.
type Agreements interface {
	OpenFile(ctx context.Context, id string) (*agreement.File, error)
}

// Recorder records refusals.
type Recorder interface {
	Permit(ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string) (context.Context, error)
	Refuse(ctx context.Context, action, object string) error
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store        Store
	Files        Files
	Exports      Exports
	Audits       Audits
	Registers    Registers
	Letters      Letters
	Certificates Certificates
	Agreements   Agreements
	Authorizer   authz.Authorizer
	Recorder     Recorder
	Changes      *change.Runner
	Log          *slog.Logger
	Now          func() time.Time
	BaseURL      string // of the API, without a final slash
}

// Service makes links and serves them.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// content is an object that was opened.
type content struct {
	io.ReadSeekCloser
	subject string
	secret  bool // by AML law: the person isn't told
	name    personal.Text
	media   string
	expires time.Time // its own end; zero for none
}

// permit returns ctx with the policy that lets the caller read an object of that
// kind, or fails; a refusal of the action is in the audit log then.
func (s *Service) permit(ctx context.Context, action, object string) (context.Context, error) {
	var do authz.Permission
	switch id.TypeOf(object) {
	case id.File:
		do = authz.FileRead
	case id.Export:
		do = authz.ExportRequest
		if authz.FromContext(ctx).Kind == authz.KindSubject {
			do = authz.SelfRead // of the package that answers them, see export.Answer
		}
	case id.AuditExport:
		do = authz.AuditExport
	case id.Register:
		do = authz.ProcessingRead
	case id.SentLetter, id.Certificate:
		do = authz.RequestRead
		if authz.FromContext(ctx).Kind == authz.KindSubject {
			do = authz.SelfRead
		}
	case id.Agreement:
		do = authz.AgreementRead
	default:
		return nil, ErrNoObject
	}
	return s.Recorder.Permit(ctx, s.Authorizer, do, action, object)
}

// open opens an object that the caller may read.
func (s *Service) open(ctx context.Context, object string, form *processing.Form) (*content, error) {
	if (id.TypeOf(object) == id.Register) != (form != nil) {
		return nil, ErrForm
	}
	if form != nil {
		f, err := s.Registers.Open(ctx, object, *form)
		if err != nil {
			return nil, err
		}
		return &content{ReadSeekCloser: inMemory{bytes.NewReader(f.Content)}, name: personal.NewText(f.Name), media: f.Media}, nil
	}
	if id.TypeOf(object) == id.SentLetter {
		return s.letter(ctx, object)
	}
	if id.TypeOf(object) == id.Certificate {
		f, err := s.Certificates.Open(ctx, object)
		if err != nil {
			return nil, err
		}
		return &content{ReadSeekCloser: inMemory{bytes.NewReader(f.Content)}, subject: f.Subject, name: personal.NewText(f.Name), media: "application/pdf"}, nil
	}
	if id.TypeOf(object) == id.Agreement {
		f, err := s.Agreements.OpenFile(ctx, object)
		if err != nil {
			return nil, err
		}
		return &content{ReadSeekCloser: inMemory{bytes.NewReader(f.Content)}, name: personal.NewText(f.Name), media: "application/pdf"}, nil
	}
	if id.TypeOf(object) == id.File {
		f, r, err := s.Files.Open(ctx, object)
		if err != nil {
			return nil, err
		}
		return &content{ReadSeekCloser: r, subject: f.Subject, secret: f.Secret(), name: f.Name, media: f.MediaType}, nil
	}
	if id.TypeOf(object) == id.AuditExport {
		e, r, err := s.Audits.OpenExport(ctx, object)
		if err != nil {
			return nil, err
		}
		name := "audit-" + e.From.Format("20060102") + "-" + e.To.Format("20060102") + ".zip"
		return &content{ReadSeekCloser: r, name: personal.NewText(name), media: "application/zip", expires: e.ExpiresAt}, nil
	}
	e, r, err := s.Exports.Open(ctx, object)
	if err != nil {
		return nil, err
	}
	name := "export-" + e.ExpiresAt.Add(-export.Life).Format("20060102") + "-" + e.ID[len(e.ID)-8:] + ".zip"
	return &content{
		ReadSeekCloser: r, subject: e.SubjectID, name: personal.NewText(name), media: "application/zip", expires: *e.ExpiresAt,
	}, nil
}

// letter opens a letter as PDF.
func (s *Service) letter(ctx context.Context, object string) (*content, error) {
	l, err := s.Letters.Open(ctx, object)
	if err != nil {
		return nil, err
	}
	b, err := l.PDF()
	if err != nil {
		return nil, err
	}
	name := "letter-" + l.At.Format("20060102") + "-" + l.ID[len(l.ID)-8:] + ".pdf"
	return &content{ReadSeekCloser: inMemory{bytes.NewReader(b)}, subject: l.Subject, name: personal.NewText(name), media: "application/pdf"}, nil
}

// inMemory is content that was made for the caller.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// GrantInput asks for a link.
type GrantInput struct {
	Object   string           // id of what is to be downloaded
	Register *processing.Form // of a register, and of nothing else
}

// Grant makes a link to an object for the caller. Opening the object shows that
// it can be opened.
func (s *Service) Grant(ctx context.Context, in GrantInput) (*Grant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.TypeOf(in.Object), of, in.Object) != nil {
		return nil, ErrNoObject
	}
	if ctx, err = s.permit(ctx, "download.grant", in.Object); err != nil {
		return nil, err
	}
	c, err := s.open(ctx, in.Object, in.Register)
	if err != nil {
		return nil, fmt.Errorf("grant download: %w", err)
	}
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("grant download: %w", err)
	}
	raw := make([]byte, tokenBytes)
	rand.Read(raw) // never fails
	token := base64.RawURLEncoding.EncodeToString(raw)
	now := s.Now().UTC().Truncate(time.Millisecond)
	row := &Row{
		Hash: hash(token), Object: in.Object, Form: in.Register, Subject: c.subject, Principal: authz.FromContext(ctx).ID,
		UsesLeft: Uses, CreatedAt: now, ExpiresAt: now.Add(Life),
	}
	if !c.expires.IsZero() {
		row.ExpiresAt = c.expires
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return changed("download.grant", row, c.secret), s.Store.Insert(ctx, row)
	})
	if err != nil {
		return nil, fmt.Errorf("grant download: %w", err)
	}
	return &Grant{URL: s.BaseURL + Path + token, ExpiresAt: row.ExpiresAt, UsesLeft: row.UsesLeft}, nil
}

// Sweep forgets the grants, of all tenants, that expired a week ago. It needs a
// system context.
func (s *Service) Sweep(ctx context.Context) error {
	if err := s.Store.DeleteExpired(ctx, s.Now().Add(-keep)); err != nil {
		return fmt.Errorf("sweep downloads: %w", err)
	}
	return nil
}

// use opens the object behind a token for the caller. Resuming takes no use from
// a grant that was opened before. The entry is durable when use returns.
func (s *Service) use(ctx context.Context, token string, resume bool) (*Row, *content, error) {
	if b, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(b) != tokenBytes {
		return nil, nil, ErrNotFound
	}
	row, err := s.Store.Get(ctx, hash(token))
	if err != nil {
		return nil, nil, err
	}
	resume = resume && row.UsesLeft < Uses
	switch {
	case row.Principal != authz.FromContext(ctx).ID:
		if err := s.Recorder.Refuse(ctx, "download.open", row.Object); err != nil {
			return nil, nil, err
		}
		return nil, nil, ErrForeign
	case !s.Now().Before(row.ExpiresAt):
		return nil, nil, ErrExpired
	case row.UsesLeft <= 0 && !resume:
		return nil, nil, ErrSpent
	}
	if ctx, err = s.permit(ctx, "download.open", row.Object); err != nil {
		return nil, nil, err
	}
	c, err := s.open(ctx, row.Object, row.Form)
	if err != nil {
		return nil, nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if resume {
			return changed("download.resume", row, c.secret), nil
		}
		return changed("download.open", row, c.secret), s.Store.Use(ctx, row.Hash)
	})
	if err != nil {
		_ = c.Close() // nothing was read
		return nil, nil, err
	}
	return row, c, nil
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func changed(action string, r *Row, secret bool) change.Change {
	return change.Change{
		Action: action, Object: r.Object, Touches: touches(r, secret),
		Quiet: true, // it is a read, and of what may be secret
	}
}

// touches returns the person's data that a grant is of; a bundle of the audit
// log is of nobody's.
func touches(r *Row, secret bool) []audit.Touch {
	if r.Subject == "" {
		return nil
	}
	return []audit.Touch{{Subject: r.Subject, Object: r.Object, Secret: secret}}
}

// Handler serves GET /v1/downloads/{token}, see Service.Serve.
func Handler(s *Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Serve(w, r, func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, s.Log) })
	})
}
