package centre

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/deadline"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// The cookies, all of one tenant's centre.
const (
	personCookie = "vogter_person" // the session of who has signed in
	visitCookie  = "vogter_visit"  // which browser it is, for the tokens of forms
	codeCookie   = "vogter_code"   // the challenge of the code that was asked for
	sentCookie   = "vogter_sent"   // what was sent without signing in, to be claimed
)

const (
	maxForm  = 64 << 10
	year     = 365 * 24 * time.Hour
	sentLife = time.Hour
)

// Sentinels.
var (
	errStale = errs.New(errs.Forbidden, "the form isn't one of ours, or too old: open the page again").Under("centre.token")
	errGone  = errs.New(errs.NotFound, "there is nothing at this address")
)

// visit is one call of a browser.
type visit struct {
	*Centre

	w      http.ResponseWriter
	r      *http.Request
	slug   string
	base   string // path of the tenant's centre
	lang   string
	of     tenant.ID
	tenant *tenancy.Tenant
	zone   *time.Location
	key    [sha256.Size]byte
	person authz.Principal // the zero one of who hasn't signed in
	token  string          // of forms
}

// serve prepares a visit, and has it answered.
func (c *Centre) serve(w http.ResponseWriter, r *http.Request, h handler) error {
	ctx, slug := r.Context(), r.PathValue("slug")
	v := &visit{Centre: c, w: w, r: r, slug: slug, base: Path + slug, lang: pages.Language(r)}
	var err error
	if v.of, err = c.Tenants.BySlug(ctx, slug); err != nil {
		return err
	}
	ctx = tenant.NewContext(ctx, v.of)
	if v.tenant, err = c.Tenants.Get(ctx); err != nil {
		return err
	}
	if v.zone, err = time.LoadLocation(v.tenant.TimeZone); err != nil {
		return fmt.Errorf("load the tenant's time zone: %w", err)
	}
	if v.key, err = c.Key(ctx); err != nil {
		return err
	}
	if r.URL.Query().Has("lang") {
		v.keep(pages.LanguageCookie, v.lang, year)
	}
	if ctx, err = v.recognise(ctx); err != nil {
		return err
	}
	if err := v.form(); err != nil {
		return err
	}
	return h(ctx, v)
}

// recognise puts the person who has signed in here into ctx, if there is one.
func (v *visit) recognise(ctx context.Context) (context.Context, error) {
	token := v.cookie(personCookie)
	if token == "" {
		return ctx, nil
	}
	p, err := v.Portal.Authenticate(tenant.System(ctx, "authenticate token"), token)
	if errs.KindOf(err) == errs.Unauthenticated || err == nil && p.Tenant != v.of {
		return ctx, nil // over, or another tenant's: nobody has signed in here
	}
	if err != nil {
		return nil, err
	}
	v.person = p
	reqlog.Principal(ctx, p.ID)
	return authz.NewContext(ctx, p), nil
}

// form makes the token of the page's forms, and checks that of a form that was sent.
func (v *visit) form() error {
	browser := v.cookie(visitCookie)
	if browser == "" && v.r.Method != http.MethodPost {
		browser = rand.Text()
		v.keep(visitCookie, browser, 0)
	}
	v.token = v.mac("form", browser)
	if v.r.Method != http.MethodPost {
		return nil
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return err
		}
		return errs.New(errs.Invalid, "the form can't be read").Because(err)
	}
	if browser == "" || !hmac.Equal([]byte(v.token), []byte(v.r.PostForm.Get("token"))) {
		return errStale
	}
	return nil
}

// mac vouches for something that a browser keeps, for one purpose and this centre.
func (v *visit) mac(purpose, value string) string {
	h := hmac.New(sha256.New, v.key[:])
	h.Write([]byte("centre\n" + purpose + "\n" + v.slug + "\n" + value))
	return hex.EncodeToString(h.Sum(nil))
}

func (v *visit) cookie(name string) string {
	c, err := v.r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// keep has the browser keep something for a time, 0 for as long as it is open; a
// negative time ends it.
func (v *visit) keep(name, value string, life time.Duration) {
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // G124: not Secure where the API itself isn't
		Name: name, Value: value, Path: v.base, MaxAge: int(life / time.Second), Secure: v.Secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // a link in a mail leads to one's own request
	})
}

// signedIn is a handler for persons who have signed in and may do something;
// others are asked to, and come back.
func signedIn(do authz.Permission, h handler) handler {
	return func(ctx context.Context, v *visit) error {
		if !v.person.SignedIn() {
			v.toProve()
			return nil
		}
		ctx, err := v.Permits.Permit(ctx, v.Authorizer, do, "centre", "")
		if err != nil {
			return err
		}
		return h(ctx, v)
	}
}

// toProve leads to the page where persons sign in, and from there back to the page
// that was called, or on which what was called is.
func (v *visit) toProve() {
	back := strings.TrimPrefix(v.r.URL.Path, v.base+"/")
	if v.r.Method == http.MethodPost || strings.HasPrefix(back, "downloads/") {
		back = "requests"
		if id := v.r.PathValue("id"); id != "" {
			back += "/" + id
		}
		if strings.HasPrefix(v.r.URL.Path, v.base+"/consents") {
			back = "consents"
		}
	}
	v.goTo("prove?to=" + url.QueryEscape(within(back)))
}

// within returns a place in the centre that a page may lead on to, "" for anything
// that is none.
func within(place string) string {
	if regexp.MustCompile(`^[a-z][a-z0-9_/]{0,80}$`).MatchString(place) {
		return place
	}
	return ""
}

// goTo sends the browser to a place in the centre.
func (v *visit) goTo(place string) {
	if !strings.HasPrefix(place, "?") {
		place = "/" + place
	}
	v.w.Header().Set("Location", v.base+place)
	v.w.WriteHeader(http.StatusSeeOther)
}

// fault is what is wrong with something that was sent.
type fault struct{ Field, Text string }

// view is what a template is given.
type view struct {
	*visit

	Faults []fault
	Told   string // the text of what was done just now
	V      any
}

// The parts of a view that templates use.

// Base returns the path of the centre.
func (v *visit) Base() string { return v.base }

// Token returns that of forms.
func (v *visit) Token() string { return v.token }

// In reports whether a person has signed in.
func (v *visit) In() bool { return v.person.SignedIn() }

// Fault returns what is wrong with a field, "" for nothing.
func (v *view) Fault(field string) string {
	for _, f := range v.Faults {
		if f.Field == field {
			return f.Text
		}
	}
	return ""
}

// Day writes a day with its weekday.
func (v *visit) Day(d civil.Date) string { return deadline.Long(d, deadline.Language(v.lang)) }

// Date writes the day of an instant.
func (v *visit) Date(at time.Time) string {
	return deadline.Short(civil.Of(at.In(v.zone)), deadline.Language(v.lang))
}

// say returns a text in the language of the visit.
func (v *visit) say(id string, fields ...string) (string, error) {
	return v.texts.Say(v.lang, id, fields...)
}

// Instant writes an instant.
func (v *visit) Instant(at time.Time) string {
	if v.lang == pages.Danish {
		return v.Date(at) + " kl. " + at.In(v.zone).Format("15.04")
	}
	return v.Date(at) + ", " + at.In(v.zone).Format("15:04")
}

// Stamp writes an instant for machines.
func (*visit) Stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// show answers with a page, whose title is a text.
func (v *visit) show(status int, name, title string, x view) error {
	x.visit = v
	p, err := v.frame(title)
	if err != nil {
		return err
	}
	if len(x.Faults) > 0 {
		wrong, err := v.say("centre.fault")
		if err != nil {
			return err
		}
		p.Title = wrong + ": " + p.Title
	}
	p.Content = &x
	return v.views[name].Write(v.w, status, p)
}

// frame returns what is around a page.
func (v *visit) frame(title string) (pages.Page, error) {
	p := pages.Page{Language: v.lang, Path: v.base, Name: "Vogter"}
	if v.r.Method != http.MethodPost {
		p.Path = v.r.URL.Path
	}
	if v.tenant != nil {
		p.Name = v.tenant.LegalName
	}
	var err error
	if p.Title, err = v.say(title); err != nil {
		return p, err
	}
	for _, l := range []pages.Link{{Path: v.base, Text: "centre.start"}, {Path: v.base + "#contact", Text: "centre.contact"}, {Path: "/check", Text: "start.verify"}} {
		if l.Text, err = v.say(l.Text); err != nil {
			return p, err
		}
		if v.tenant != nil || l.Path == "/check" {
			p.Footer = append(p.Footer, l)
		}
	}
	if v.In() {
		p.SignOut = &pages.Form{Path: v.base + "/leave", Token: v.token}
	}
	return p, nil
}

// Fail answers a call that goes wrong, before it is ours or in it.
func (c *Centre) Fail(w http.ResponseWriter, r *http.Request, err error) {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		err = errs.New(errs.Limited, "the form is too large").Under(httperr.RuleSize)
	}
	ctx := r.Context()
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		c.Log.ErrorContext(ctx, "page failed", "request_id", audit.RequestFrom(ctx).ID, "err", err)
		e = errs.New(errs.Internal, "internal error")
	}
	reqlog.Code(ctx, e.Kind)
	v := &visit{Centre: c, w: w, r: r, slug: r.PathValue("slug"), lang: pages.Language(r)}
	v.base = Path + v.slug
	if of, err := c.Tenants.BySlug(ctx, v.slug); err == nil {
		if found, err := c.Tenants.Get(tenant.NewContext(ctx, of)); err == nil {
			v.tenant = found
		}
	}
	if err := v.show(httperr.Status(e), "message.html", said(e), view{V: audit.RequestFrom(ctx).ID}); err != nil {
		httperr.Write(w, r, err, c.Log)
	}
}

// said is the text for an error.
func said(e *errs.Error) string {
	switch e.Kind {
	case errs.NotFound, errs.Erased:
		return "error.notFound"
	case errs.Limited:
		return "code.tooMany"
	case errs.Precondition, errs.Conflict:
		return "centre.precondition"
	case errs.Forbidden:
		if errors.Is(e, errStale) {
			return "centre.stale"
		}
		return "centre.refused"
	case errs.Unauthenticated:
		return "centre.signedOut"
	case errs.Invalid:
		return "centre.invalid"
	case errs.Unavailable, errs.Internal:
	}
	return "error.tryLater"
}

// leave signs the person out.
func leave(ctx context.Context, v *visit) error {
	if v.In() {
		if _, err := v.Portal.SignOut(ctx, portal.SignOutInput{}); err != nil {
			return err
		}
	}
	v.keep(personCookie, "", -time.Second)
	v.keep(sentCookie, "", -time.Second)
	v.goTo("?done=left")
	return nil
}

// done returns the text about what ?done says was done just now, "" for nothing.
func (v *visit) done() (string, error) {
	id, ok := map[string]string{
		"left": "centre.left", "sent": "centre.taken", "withdrawn": "centre.withdrawn", "consent": "centre.consentWithdrawn", "kept": "centre.consentKept",
	}[v.r.URL.Query().Get("done")]
	if !ok {
		return "", nil
	}
	return v.say(id)
}
