// Package checkpage is the public page where anybody can check what the platform
// has signed: receipts, certificates, packages, whatever `vogter verify` knows. The
// file is checked in memory against the platform's own keys, and is neither kept
// nor logged.
package checkpage

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/pages"
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

// Page serves the page.
type Page struct {
	keys  Keys
	log   *slog.Logger
	texts pages.Texts
	page  *pages.Template
	slots chan struct{}
}

// New returns the page that checks with the given keys.
func New(keys Keys, log *slog.Logger) (*Page, error) {
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
	return &Page{keys, log, texts, page, make(chan struct{}, slots)}, nil
}

// Show answers GET with the form.
func (p *Page) Show(w http.ResponseWriter, r *http.Request) { p.write(w, r, http.StatusOK, view{}) }

// Check answers POST of the form with what the file is.
func (p *Page) Check(w http.ResponseWriter, r *http.Request) {
	status, v := p.check(w, r)
	p.write(w, r, status, v)
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
	file, err := upload(w, r)
	switch {
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, view{id: "check.tooLarge"}
	case err != nil || len(file) == 0:
		return http.StatusBadRequest, view{id: "check.noFile"}
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return http.StatusServiceUnavailable, view{id: "error.tryLater"}
	}
	keys, err := p.keys.Keys(ctx)
	if err != nil {
		p.log.ErrorContext(ctx, "keys of the check page not read", "request_id", audit.RequestFrom(ctx).ID, "err", err)
		return http.StatusServiceUnavailable, view{id: "error.tryLater"}
	}
	report, err := verify.Content(file, verify.Options{Trusted: keys, MaxManifest: maxManifest})
	if err != nil {
		return http.StatusOK, bad(err)
	}
	v := view{id: "check.ok", Good: true, Report: report}
	if n := len(report.Receipts); n > 0 {
		v.Receipt = &report.Receipts[n-1].Document
		if c := v.Receipt.Record.Controllers; len(c) > 0 {
			v.id = "verify.ok"
			v.fields = []string{"verify.signedAt", v.Receipt.Created.Format("2006-01-02 15:04 MST"), "verify.controllerName", c[0].Name}
		}
	}
	return http.StatusOK, v
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

// Number is how a number is put into a text.
func (view) Number(n any) string { return fmt.Sprint(n) }

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

// upload returns the form's file. Nothing of it touches a disk.
func upload(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxFile+maxForm)
	form, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	for {
		part, err := form.NextPart()
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, errTooLarge
		}
		if err != nil {
			return nil, err
		}
		if part.FormName() == "file" {
			return read(part)
		}
	}
}

func read(part *multipart.Part) ([]byte, error) {
	file, err := io.ReadAll(io.LimitReader(part, MaxFile+1))
	if _, large := errors.AsType[*http.MaxBytesError](err); large || len(file) > MaxFile {
		return nil, errTooLarge
	}
	return file, err
}
