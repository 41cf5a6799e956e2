// Package checkpage is the public page where anybody can check what the platform
// has signed: receipts, certificates, packages, whatever `vogter verify` knows. The
// file is checked in memory against the platform's own keys, and is neither kept
// nor logged. A certificate of erasure can also be asked for by its number, which
// the person has from a letter and nobody can guess: who is erased can't sign in.
package checkpage

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/verify"
)

// Path is where the page is.
const Path = "/check"

const (
	// MaxFile is the size of the largest file that is checked, in bytes.
	MaxFile = 1 << 20
	// maxForm bounds what is sent around the file.
	maxForm = 64 << 10
	// maxManifest bounds what a package unpacks to before it is known to be ours.
	maxManifest = 4 << 20
	// slots is how many files are checked at once: they come from anybody.
	slots = 2
)

var (
	//go:embed texts
	files embed.FS
	//go:embed check.html
	content string
)

// Keys has the platform's public keys.
type Keys interface {
	Keys(ctx context.Context) (*sign.KeySet, error)
}

// Certificates gives certificates of erasure to who knows their number.
type Certificates interface {
	Public(ctx context.Context, language, number string) (*certificate.File, error)
}

// Page serves the page.
type Page struct {
	keys  Keys
	certs Certificates
	log   *slog.Logger
	texts pages.Texts
	page  *pages.Template
	slots chan struct{}
}

// New returns the page that checks with the given keys, and finds certificates.
func New(keys Keys, certs Certificates, log *slog.Logger) (*Page, error) {
	texts, err := pages.Default()
	if err == nil {
		texts, err = texts.With(files)
	}
	if err != nil {
		return nil, err
	}
	page, err := pages.NewTemplate(content, texts)
	if err != nil {
		return nil, err
	}
	return &Page{keys, certs, log, texts, page, make(chan struct{}, slots)}, nil
}

// Show answers GET with the form.
func (p *Page) Show(w http.ResponseWriter, r *http.Request) { p.write(w, r, http.StatusOK, view{}) }

// Check answers POST of the form with what the file or text is, or with the
// certificate of a number as PDF.
func (p *Page) Check(w http.ResponseWriter, r *http.Request) {
	status, v := p.check(w, r)
	if v.pdf == nil {
		p.write(w, r, status, v)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `attachment; filename="`+v.pdf.Name+`"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(v.pdf.Content) // nobody is left to tell
}

// Fail answers a call that goes wrong before it is ours, or in it.
func (p *Page) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		p.log.ErrorContext(r.Context(), "page failed", "request_id", audit.RequestFrom(r.Context()).ID, "err", err)
		e = errs.New(errs.Internal, "internal error")
	}
	reqlog.Code(r.Context(), e.Kind)
	p.write(w, r, httperr.Status(e), view{id: "error.tryLater"})
}

// view is what the page shows of a file.
type view struct {
	id      string   // of the text that says how it is; "" without a file
	fields  []string // of that text
	Message string   // the text
	Good    bool

	Receipt *receipt.Document // of a receipt, the last of a chain
	Report  *verify.Report    // of whatever is good
	Erasure template.HTML     // what a certificate of erasure says
	Number  string            // of a certificate that was asked for by its number

	pdf *certificate.File // to be sent instead of the page
}

func (p *Page) write(w http.ResponseWriter, r *http.Request, status int, v view) {
	page := pages.Page{Language: pages.Language(r), Path: Path}
	var err error
	if v.id != "" {
		v.Message, err = p.texts.Say(page.Language, v.id, v.fields...)
	}
	page.Content = v
	if err == nil {
		page.Title, err = p.texts.Say(page.Language, "verify.title")
	}
	if err == nil {
		err = p.page.Write(w, status, page)
	}
	if err != nil {
		httperr.Write(w, r, err, p.log)
	}
}

func (p *Page) check(w http.ResponseWriter, r *http.Request) (int, view) {
	ctx := r.Context()
	in, err := read(w, r)
	switch {
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, view{id: "check.tooLarge"}
	case err != nil || len(in.content) == 0:
		return http.StatusBadRequest, view{id: "check.noFile"}
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return http.StatusServiceUnavailable, view{id: "error.tryLater"}
	}
	v := view{id: "check.ok", Good: true}
	if number := string(in.content); id.TypeOf(number) == id.Certificate {
		found, err := p.certs.Public(ctx, pages.Language(r), number)
		switch {
		case errs.KindOf(err) == errs.NotFound:
			return http.StatusNotFound, view{id: "check.noNumber"}
		case err != nil:
			return p.failed(ctx, "certificate", err)
		case in.pdf:
			return http.StatusOK, view{pdf: found}
		}
		v.Number, in.content = number, found.Content
	}
	keys, err := p.keys.Keys(ctx)
	if err != nil {
		return p.failed(ctx, "keys", err)
	}
	if v.Report, err = verify.Content(in.content, verify.Options{Trusted: keys, MaxManifest: maxManifest}); err != nil {
		return http.StatusOK, bad(err)
	}
	if n := len(v.Report.Receipts); n > 0 {
		v.Receipt = &v.Report.Receipts[n-1].Document
		if c := v.Receipt.Record.Controllers; len(c) > 0 {
			v.id, v.fields = signed(v.Receipt.Created, c[0].Name)
		}
	}
	if o := v.Report.Erasure; o != nil {
		if v.Erasure, err = told(o, pages.Language(r)); err != nil {
			return p.failed(ctx, "certificate", err)
		}
		if o.Certificate != nil {
			v.id, v.fields = signed(o.Certificate.IssuedAt, o.Certificate.Controller.Name)
		}
	}
	return http.StatusOK, v
}

// failed answers when something of ours isn't there.
func (p *Page) failed(ctx context.Context, what string, err error) (int, view) {
	p.log.ErrorContext(ctx, "check page failed", "reading", what, "request_id", audit.RequestFrom(ctx).ID, "err", err)
	return http.StatusServiceUnavailable, view{id: "error.tryLater"}
}

// signed says when a document was signed, and for whom: the text's id, and its fields.
func signed(at time.Time, controller string) (id string, fields []string) {
	return "verify.ok", []string{"verify.signedAt", at.UTC().Format("2006-01-02 15:04 MST"), "verify.controllerName", controller}
}

// told returns what a certificate says, as a part of the page.
func told(o *certificate.Opened, language string) (template.HTML, error) {
	d, err := o.Document(language)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := paper.Fragment(&b, d); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // G203: every text in it is escaped by package paper
}

// bad says what is wrong with a file.
func bad(err error) view {
	switch verify.ProblemOf(err) {
	case verify.Unknown:
		return view{id: "check.unknown"}
	case verify.Untrusted:
		return view{id: "verify.unknownKey"}
	default:
		return view{id: "verify.altered", fields: []string{"verify.firstProblem", err.Error()}}
	}
}

// Count is how a number is put into a text.
func (view) Count(n any) string { return fmt.Sprint(n) }

// State returns the id of the text of an event's state.
func (view) State(e receipt.Event) string {
	for _, s := range consent.States() {
		if s.Term() == e.Status {
			return "consent.state." + string(s)
		}
	}
	return "consent.state." + string(consent.Unknown)
}

// errTooLarge reports more than MaxFile.
var errTooLarge = errors.New("the file is too large")

// input is what the form has.
type input struct {
	content []byte
	pdf     bool // what is found is wanted as a file
}

// read returns the form's file, or else its text. Nothing of it touches a disk.
func read(w http.ResponseWriter, r *http.Request) (input, error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxFile+maxForm)
	form, err := r.MultipartReader()
	if err != nil {
		return input{}, err
	}
	fields := map[string][]byte{}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && fields[part.FormName()] == nil {
			fields[part.FormName()], err = io.ReadAll(io.LimitReader(part, MaxFile+1))
		}
		if _, large := errors.AsType[*http.MaxBytesError](err); large || err == nil && len(fields[part.FormName()]) > MaxFile {
			return input{}, errTooLarge
		}
		if err != nil {
			return input{}, err
		}
	}
	in := input{fields["file"], len(fields["pdf"]) > 0}
	if len(in.content) == 0 {
		in.content = bytes.TrimSpace(fields["text"])
		// A mail breaks the lines of what is copied from it.
		if whole := strings.Join(strings.Fields(string(in.content)), ""); certificate.Is(whole) {
			in.content = []byte(whole)
		}
	}
	return in, nil
}
