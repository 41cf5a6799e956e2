// Package centre has the pages of a tenant's privacy centre, where persons ask for
// their rights, show who they are by a code, follow what they asked for, fetch the
// answer, take back requests and consents, and see who read their data: GDPR
// Art. 12(2).
//
// Pages are made on the server and work without a script. What they show comes
// from the services that the API for data subjects uses, so that what is secret by
// law isn't there. No page says whether a person is known: one who doesn't sign in
// is answered the same whoever they are. Nothing about a person is in an address,
// a title or the log; what somebody writes passes from page to page in the forms
// and is kept when it has been sent.
//
// A session is that of package portal, in a cookie that no script reads and that
// other sites can't use. Forms have a token besides.
package centre

import (
	"context"
	"crypto/sha256"
	"embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/download"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/pages"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/post"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Path is where the privacy centres are: the public name of a tenant follows.
const Path = "/p/"

// Fresh is how long ago a person must have signed in at most to be given the answer
// to a request.
const Fresh = 5 * time.Minute

// Tenants knows the tenants.
type Tenants interface {
	BySlug(ctx context.Context, slug string) (tenant.ID, error)
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Portal signs persons in.
type Portal interface {
	RequestCode(ctx context.Context, in portal.CodeInput) (*portal.Receipt, error)
	SignIn(ctx context.Context, in portal.SignInInput) (*portal.Grant, error)
	SignOut(ctx context.Context, in portal.SignOutInput) (int, error)
	Authenticate(ctx context.Context, token string) (authz.Principal, error)
}

// Requests keeps what persons ask for.
type Requests interface {
	OpenMine(ctx context.Context, in request.MyInput) (*request.Request, error)
	OpenUnknown(ctx context.Context, in request.UnknownInput) (*request.Filed, error)
	Claim(ctx context.Context, requestID string) (*request.Request, error)
	Mine(ctx context.Context, r page.Request) (*request.Connection, error)
	Get(ctx context.Context, requestID string) (*request.Request, error)
	Events(ctx context.Context, of *request.Request, r page.Request) (*request.EventConnection, error)
	Withdraw(ctx context.Context, in request.WithdrawInput) (*request.Request, error)
}

// Letters has what was written to persons.
type Letters interface {
	Of(ctx context.Context, r *request.Request) ([]*post.Letter, error)
}

// Consents knows what persons have said yes and no to.
type Consents interface {
	Own(ctx context.Context) ([]*consent.Status, error)
	List(ctx context.Context, q consent.Query, r page.Request) (*consent.Connection, error)
	AnswerOwn(ctx context.Context, in consent.OwnAnswersInput) ([]*consent.Consent, error)
}

// Purposes knows what data is used for, and what persons were told of it.
type Purposes interface {
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
	ByKey(ctx context.Context, key string) (*purpose.Purpose, error)
	Notice(ctx context.Context, noticeID string) (*purpose.Notice, error)
}

// Receipts makes receipts of consents.
type Receipts interface {
	Issue(ctx context.Context, consentID string, at *time.Time) (*receipt.Issued, error)
}

// Accesses tells persons who saw their data.
type Accesses interface {
	Self(ctx context.Context, r page.Request) (*trail.AccessConnection, error)
}

// Recipients tells persons whom their data was given to.
type Recipients interface {
	Mine(ctx context.Context, r page.Request) (*disclosure.RecipientConnection, error)
}

// Downloads gives files out.
type Downloads interface {
	Grant(ctx context.Context, in download.GrantInput) (*download.Grant, error)
	Serve(w http.ResponseWriter, r *http.Request, fail func(http.ResponseWriter, *http.Request, error))
}

// Permits asks the policies, and notes refusals.
type Permits interface {
	Permit(ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string) (context.Context, error)
}

// Limits bounds how often something is done.
type Limits interface {
	Take(ctx context.Context, uses ...ratelimit.Use) error
}

// Config is what a Centre is made of. All of it is required.
type Config struct {
	Tenants    Tenants
	Portal     Portal
	Requests   Requests
	Letters    Letters
	Consents   Consents
	Purposes   Purposes
	Receipts   Receipts
	Accesses   Accesses
	Recipients Recipients
	Downloads  Downloads
	Authorizer authz.Authorizer
	Permits    Permits
	Limits     Limits
	// Processor returns the name of who runs the platform for the tenants.
	Processor func(ctx context.Context) (string, error)
	// Key returns the key of what browsers keep for us, the same on all servers.
	Key func(ctx context.Context) ([sha256.Size]byte, error)
	// Secure says that browsers reach us by HTTPS only.
	Secure bool
	Log    *slog.Logger
	Now    func() time.Time
}

// Centre serves the privacy centres of all tenants.
type Centre struct {
	Config

	texts pages.Texts
	views map[string]*pages.Template
}

var (
	//go:embed texts
	texts embed.FS
	//go:embed *.html
	templates embed.FS
)

// New returns a Centre.
func New(c Config) (*Centre, error) {
	all, err := pages.Default()
	if err == nil {
		all, err = all.With(texts)
	}
	if err != nil {
		return nil, err
	}
	made := &Centre{c, all, map[string]*pages.Template{}}
	files, err := templates.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := templates.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		if made.views[f.Name()], err = pages.NewTemplate(string(b), all); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// handler answers a call, or fails before it has written anything.
type handler func(ctx context.Context, v *visit) error

// Routes returns the pages.
func (c *Centre) Routes() []server.Route {
	open := func(h handler) handler { return h }
	var routes []server.Route
	for _, r := range []struct {
		pattern string
		of      func(handler) handler
		handler handler
	}{
		{"GET /p/{slug}", open, home},
		{"GET /p/{slug}/ask", open, ask},
		{"POST /p/{slug}/ask", open, answer},
		{"GET /p/{slug}/ask/sent", open, sent},
		{"GET /p/{slug}/prove", open, prove},
		{"POST /p/{slug}/prove", open, sendCode},
		{"GET /p/{slug}/prove/code", open, enterCode},
		{"POST /p/{slug}/prove/code", open, signIn},
		{"POST /p/{slug}/leave", open, leave},
		{"GET /p/{slug}/requests", sees, requests},
		{"GET /p/{slug}/requests/{id}", sees, showRequest},
		{"POST /p/{slug}/requests/{id}/withdraw", does, withdrawRequest},
		{"POST /p/{slug}/requests/{id}/download", sees, fetch},
		{"GET /p/{slug}/downloads/{token}", sees, deliver},
		{"GET /p/{slug}/consents", sees, consents},
		{"POST /p/{slug}/consents", does, answerConsent},
		{"GET /p/{slug}/consents/{id}/receipt", sees, consentReceipt},
		{"GET /p/{slug}/reads", sees, reads},
	} {
		h := r.of(r.handler)
		routes = append(routes, server.Route{Pattern: r.pattern, Public: true, Own: true, Fail: c.Fail, Handler: http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				if err := c.serve(w, r, h); err != nil {
					c.Fail(w, r, err)
				}
			})})
	}
	return routes
}

// sees is for pages that a person reads who has signed in, does for what they do.
func sees(h handler) handler { return signedIn(authz.SelfRead, h) }
func does(h handler) handler { return signedIn(authz.SelfWrite, h) }
