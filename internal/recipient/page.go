package recipient

import (
	"context"
	"crypto/subtle"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// Path is where a notice leads: its id and key follow.
	Path = "/recipients/"
	// Pattern is Path with both.
	Pattern = Path + "{notice}/{key}"

	// linkLife is for how long after an answer was asked for the link works.
	linkLife = 180 * 24 * time.Hour
	maxForm  = 32 << 10
)

var (
	//go:embed texts
	files embed.FS
	//go:embed page.html
	content string
)

// Open returns a notice to the recipient who has its key, with ctx of its tenant, or
// ErrKey.
func (s *Service) Open(ctx context.Context, noticeID, key string) (context.Context, *Notice, error) {
	of, ok := id.TenantOf(noticeID)
	if !ok || id.Check(id.Told, of, noticeID) != nil {
		return ctx, nil, ErrKey
	}
	ctx, _, err := platform(tenant.NewContext(ctx, of))
	if err != nil {
		return ctx, nil, err
	}
	n, err := s.Store.Get(ctx, noticeID)
	if errors.Is(err, ErrNotFound) {
		return ctx, nil, ErrKey
	}
	if err != nil {
		return ctx, nil, err
	}
	return ctx, n, s.holds(n, key)
}

// holds fails with ErrKey unless a key opens a notice.
func (s *Service) holds(n *Notice, key string) error {
	right := n.Key.Reveal()
	if right == "" || subtle.ConstantTimeCompare([]byte(right), []byte(key)) != 1 || n.AnswerBy == nil || s.now().After(n.AnswerBy.Add(linkLife)) {
		return ErrKey
	}
	return nil
}

// Reply notes what a recipient answers who has the key of a notice.
func (s *Service) Reply(ctx context.Context, noticeID, key string, result Result, answer string) (*Notice, error) {
	ctx, n, err := s.Open(ctx, noticeID, key)
	if err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if n, err = s.Store.Get(ctx, noticeID); err != nil {
			return c, err
		}
		if err := s.holds(n, key); err != nil {
			return c, err
		}
		if n.State == Sending { // it has been read, so it was sent
			now := s.now()
			n.State, n.SentAt = Sent, &now
		}
		if err := s.answered(n, result, &answer, nil); err != nil {
			return c, err
		}
		if _, err := s.Requests.Note(ctx, n.Request, request.NoteRecipient, n.ID, n.Recipient); err != nil {
			return c, err
		}
		n.Version++
		return change.Change{Action: "recipient.reply", Object: n.ID, Touches: []audit.Touch{n.touch()}}, s.Store.Update(ctx, n)
	})
	return n, err
}

// Page is where recipients answer.
type Page struct {
	service *Service
	log     *slog.Logger
	texts   pages.Texts
	page    *pages.Template
}

// NewPage returns the page of a Service.
func NewPage(s *Service, log *slog.Logger) (*Page, error) {
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
	return &Page{s, log, texts, page}, nil
}

// view is what the page shows.
type view struct {
	id      string // of the text that says how it is; "" for none
	Message string
	Good    bool
	Told    *told
}

// told is a notice as its recipient sees it.
type told struct {
	From, Number, What, When, Kinds, Until string
	References                             []string
	Open                                   bool
	Results                                []Result
}

// Show answers GET with the notice.
func (p *Page) Show(w http.ResponseWriter, r *http.Request) {
	ctx, n, err := p.service.Open(r.Context(), r.PathValue("notice"), r.PathValue("key"))
	if err != nil {
		p.Fail(w, r, err)
		return
	}
	if err := p.service.Recorder.Read(ctx, "recipient.open", n.ID, n.touch()); err != nil {
		p.Fail(w, r, err)
		return
	}
	p.write(w, r.WithContext(ctx), http.StatusOK, n, view{})
}

// Answer answers POST of the form.
func (p *Page) Answer(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	ctx, n, err := p.service.Open(r.Context(), r.PathValue("notice"), r.PathValue("key"))
	if err == nil && r.ParseForm() != nil {
		err = errs.New(errs.Invalid, "malformed form")
	}
	if err != nil {
		p.Fail(w, r, err)
		return
	}
	replied, err := p.service.Reply(r.Context(), n.ID, r.PathValue("key"), Result(r.PostForm.Get("result")), r.PostForm.Get("answer"))
	switch {
	case errs.KindOf(err) == errs.Invalid:
		p.write(w, r.WithContext(ctx), http.StatusBadRequest, n, view{id: "recipient.wrong"})
	case err != nil:
		p.Fail(w, r, err)
	default:
		p.write(w, r.WithContext(ctx), http.StatusOK, replied, view{id: "recipient.thanks", Good: true})
	}
}

// Fail answers a call that goes wrong.
func (p *Page) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		p.log.ErrorContext(r.Context(), "page failed", "request_id", audit.RequestFrom(r.Context()).ID, "err", err)
		e = errs.New(errs.Internal, "internal error")
	}
	reqlog.Code(r.Context(), e.Kind)
	text := "error.tryLater"
	if e.Kind == errs.NotFound {
		text = "recipient.gone"
	}
	p.write(w, r, httperr.Status(e), nil, view{id: text})
}

func (p *Page) write(w http.ResponseWriter, r *http.Request, status int, n *Notice, v view) {
	page := pages.Page{Language: pages.Language(r)}
	var err error
	if n != nil {
		page.Path = r.URL.Path
		v.Told, err = p.told(r.Context(), n, page.Language)
	}
	if err == nil && v.id != "" {
		v.Message, err = p.texts.Say(page.Language, v.id)
	}
	page.Content = v
	if err == nil {
		page.Title, err = p.texts.Say(page.Language, "recipient.title")
	}
	if err == nil {
		err = p.page.Write(w, status, page)
	}
	if err != nil {
		httperr.Write(w, r, err, p.log)
	}
}

func (p *Page) told(ctx context.Context, n *Notice, in string) (*told, error) {
	s := p.service
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, err
	}
	show := &told{
		From: t.LegalName, Number: n.ID, References: n.ReferenceTexts(), Open: n.State == Sending || n.State == Sent,
		Results: []Result{Done, Partly, NotDone, NotHeld},
	}
	if show.What, err = s.Library.Phrase(in, "notice."+string(n.Action)); err != nil {
		return nil, err
	}
	if show.Kinds, err = s.kinds(ctx, n, in); err != nil {
		return nil, err
	}
	if n.DoneAt != nil {
		show.When = civil.Of(n.DoneAt.In(zone)).String()
	}
	if show.Open && n.AnswerBy != nil {
		show.Until = civil.Of(n.AnswerBy.In(zone)).String()
	}
	return show, nil
}
