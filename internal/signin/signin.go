// Package signin stands in front of the identity server, which has no lockout of
// its own: members sign in, recover and change their passwords through it, under
// Path, and whoever guesses is slowed down. In production the public address of
// the identity server is reached from here only.
//
// An account can be tried a few times from one network, and more often from
// everywhere together (see ratelimit.Defaults). So that who locks an account
// for everybody doesn't lock its owner out, a browser or program in which they
// have signed in is given a cookie by which its attempts are counted for itself
// (OWASP's device cookies). It lets nobody in.
package signin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
)

// Path is where the identity server is, on our own origin.
const Path = "/auth/"

const (
	maxBody      = 64 << 10
	maxAnswer    = 1 << 20
	deviceCookie = "vogter_device"
	deviceLife   = 90 * 24 * time.Hour
	nonceSize    = 16
)

// Sentinels.
var (
	ErrNoRoute     = errs.New(errs.NotFound, "there is nothing at this address")
	ErrBody        = errs.New(errs.Invalid, "send a form, or a JSON object whose values are plain")
	ErrUnavailable = errs.New(errs.Unavailable, "sign-in doesn't answer just now; try again")
)

// Limiter bounds attempts.
type Limiter interface {
	Take(ctx context.Context, uses ...ratelimit.Use) error
	Check(ctx context.Context, uses ...ratelimit.Use) error
	Spend(ctx context.Context, uses ...ratelimit.Use) error
}

// Config is what a Proxy is made of.
type Config struct {
	Kratos string // the public address of the identity server
	Limits Limiter
	// Key returns the key of the cookies, the same on all servers.
	Key func(ctx context.Context) ([sha256.Size]byte, error)
	// Secure says that browsers reach us by HTTPS only.
	Secure bool
	Fail   func(http.ResponseWriter, *http.Request, error)
	// Failed is told of each attempt that failed, and mustn't block; may be nil.
	Failed func()
	// SignOut is told of each session that is about to end here, and what it returns
	// is called when it has; may be nil.
	SignOut func(ctx context.Context, c authn.Credential) (ended func(context.Context), err error)
	Log     *slog.Logger
	Now     func() time.Time
}

// Proxy passes on what people need of the identity server.
type Proxy struct {
	Config

	pass *httputil.ReverseProxy
	// busy has the attempts under way: one at a time of an account and network, so
	// that guesses side by side are counted before the next.
	busy sync.Map
}

// New returns a Proxy. It fails when Kratos is no address.
func New(c Config) (*Proxy, error) {
	to, err := url.Parse(c.Kratos)
	if err != nil || to.Host == "" {
		return nil, errs.New(errs.Invalid, "the address of the identity server is none")
	}
	p := &Proxy{Config: c}
	p.pass = &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 10 * time.Second},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Header = sanitized(r.In)
			r.Out.URL.Path = "/" + strings.TrimPrefix(r.In.URL.Path, Path)
			r.Out.URL.RawPath = ""
			r.SetURL(to)
		},
		ModifyResponse: p.answered,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if _, ours := errors.AsType[*errs.Error](err); !ours {
				err = ErrUnavailable.Because(err)
			}
			c.Fail(w, r, err)
		},
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	return p, nil
}

// open reports whether a call is one that people need: no flow of registration,
// for people are invited, and nothing of other people's.
func open(method, path string) bool {
	parts := strings.Split(path, "/")
	flow := func(s string) bool {
		return slices.Contains([]string{"login", "recovery", "verification", "settings"}, s)
	}
	switch {
	case path == "sessions/whoami":
		return method == http.MethodGet
	case len(parts) < 2 || parts[0] != "self-service":
		return false
	case path == "self-service/logout/api":
		return method == http.MethodDelete
	case path == "self-service/logout/browser" || path == "self-service/logout" || path == "self-service/errors":
		return method == http.MethodGet
	case len(parts) == 2 && flow(parts[1]):
		return method == http.MethodPost || method == http.MethodGet
	case len(parts) == 3 && flow(parts[1]):
		return method == http.MethodGet && slices.Contains([]string{"api", "browser", "flows"}, parts[2])
	case len(parts) == 5 && strings.HasPrefix(path, "self-service/methods/oidc/callback/"):
		return method == http.MethodGet
	default:
		return false
	}
}

// sanitized returns the headers that the identity server is told: no address of
// the caller, and of the cookies only its own.
func sanitized(r *http.Request) http.Header {
	h := http.Header{}
	for _, name := range []string{"Accept", "Accept-Language", "Content-Type", authn.HeaderSession, "X-Csrf-Token", "User-Agent"} {
		if v := r.Header.Values(name); len(v) > 0 {
			h[http.CanonicalHeaderKey(name)] = v
		}
	}
	if h.Get("User-Agent") == "" {
		h["User-Agent"] = nil // none is none
	}
	if r.Method == http.MethodPost {
		h.Set("Accept", "application/json") // so that the status tells how an attempt ended
	}
	for _, c := range r.Cookies() {
		if own(c.Name) {
			h.Add("Cookie", c.Name+"="+c.Value)
		}
	}
	return h
}

// own reports whether a cookie is the identity server's.
func own(cookie string) bool {
	return strings.HasPrefix(cookie, "ory_kratos_") || strings.HasPrefix(cookie, "csrf_token")
}

// attempt is a call that may be a guess.
type attempt struct {
	account string      // hash of whom it is about
	from    string      // account with device or address
	device  http.Cookie // to be set when it succeeds
	cost    []ratelimit.Use
}

type attemptKey struct{}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, Path)
	if !open(r.Method, path) {
		p.Fail(w, r, ErrNoRoute)
		return
	}
	r, err := p.count(w, r, path)
	if err != nil {
		p.Fail(w, r, err)
		return
	}
	if a, ok := r.Context().Value(attemptKey{}).(*attempt); ok {
		if _, busy := p.busy.LoadOrStore(a.from, nil); busy {
			p.Fail(w, r, ratelimit.ErrLimited.Under("limit."+string(ratelimit.SignInPair)))
			return
		}
		defer p.busy.Delete(a.from)
		// Only now, for the attempt before may have used it up.
		if err := p.Limits.Check(r.Context(), a.cost...); err != nil { //nolint:contextcheck // r is the call, with its attempt
			p.Fail(w, r, err)
			return
		}
	}
	ended, err := p.signOut(w, r, path)
	if err != nil {
		p.Fail(w, r, err)
		return
	}
	p.pass.ServeHTTP(w, r)
	ended(r.Context()) //nolint:contextcheck // likewise
}

// signOut tells of a session that the call ends, and returns what is to be done
// afterwards.
func (p *Proxy) signOut(w http.ResponseWriter, r *http.Request, path string) (ended func(context.Context), err error) {
	var c authn.Credential
	switch path {
	case "self-service/logout/api":
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return nil, err
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		said, err := read(r.Header.Get("Content-Type"), b)
		if err != nil {
			return nil, err
		}
		c.Token = said("session_token")
	case "self-service/logout":
		if cookie, err := r.Cookie(authn.SessionCookie); err == nil {
			c.Cookie = cookie.Value
		}
	}
	if p.SignOut == nil || c == (authn.Credential{}) {
		return func(context.Context) {}, nil
	}
	return p.SignOut(r.Context(), c)
}

// count refuses what comes too often, and returns r with its body read and what
// a failure of it costs.
func (p *Proxy) count(w http.ResponseWriter, r *http.Request, path string) (*http.Request, error) {
	if r.Method != http.MethodPost {
		return r, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return r, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	said, err := read(r.Header.Get("Content-Type"), b)
	if err != nil {
		return r, err
	}
	ctx, from := r.Context(), network.AddrFrom(r.Context())
	switch path {
	case "self-service/login":
		a, err := p.login(r, said)
		if err != nil {
			return r, err
		}
		return r.WithContext(context.WithValue(r.Context(), attemptKey{}, a)), nil
	case "self-service/recovery", "self-service/verification":
		if said("code") != "" {
			return r, p.Limits.Take(ctx, ratelimit.CodeGuess.From(from)...)
		}
		return r, p.Limits.Take(ctx, append(ratelimit.CodeNetwork.From(from), ratelimit.CodeIdentifier.From(from, "member", hash(said("email")))...)...)
	default: // settings are for who has a session
		return r, nil
	}
}

// read returns what a body says by name: "" for what it doesn't.
func read(contentType string, b []byte) (func(string) string, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, ErrBody
	}
	switch kind {
	case "application/json":
		var said map[string]any
		if json.Unmarshal(b, &said) != nil {
			return nil, ErrBody
		}
		return func(name string) string {
			s, _ := said[name].(string)
			return s
		}, nil
	case "application/x-www-form-urlencoded":
		said, err := url.ParseQuery(string(b))
		if err != nil {
			return nil, ErrBody
		}
		return said.Get, nil
	default:
		return nil, ErrBody
	}
}

// hash stands for what a person typed. What reaches Redis is a keyed hash of it.
func hash(typed string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(typed))))
	return hex.EncodeToString(sum[:])
}

// login returns the attempt that a sign-in is: at the account that is named or,
// of a second factor, at that of the session.
func (p *Proxy) login(r *http.Request, said func(string) string) (*attempt, error) {
	ctx, from := r.Context(), network.AddrFrom(r.Context())
	a := &attempt{}
	whose := said("identifier")
	if whose == "" {
		if whose = r.Header.Get(authn.HeaderSession); whose == "" {
			if c, err := r.Cookie(authn.SessionCookie); err == nil {
				whose = c.Value
			}
		}
		whose = "session\n" + whose
	}
	a.account = hash(whose)
	key, err := p.Key(ctx)
	if err != nil {
		return nil, fmt.Errorf("find key of device cookies: %w", err)
	}
	a.device = p.device(key, a.account)
	for _, c := range r.CookiesNamed(deviceCookie) {
		if nonce, ok := p.known(key, a.account, c.Value); ok {
			a.from = a.account + nonce
			a.cost = append(ratelimit.SignInNetwork.From(from), ratelimit.SignInPair.By("device", a.account, nonce))
			return a, nil
		}
	}
	a.from = a.account + from.String()
	a.cost = append(ratelimit.SignInNetwork.From(from), ratelimit.SignInPair.From(from, a.account)...)
	a.cost = append(a.cost, ratelimit.SignInAccount.By(a.account))
	return a, nil
}

// device returns the cookie of where somebody has signed in to an account: its
// end and a nonce, under a keyed hash with the account.
func (p *Proxy) device(key [sha256.Size]byte, account string) http.Cookie {
	ends := p.Now().Add(deviceLife)
	b := binary.BigEndian.AppendUint64(nil, uint64(ends.Unix())) //nolint:gosec // after 1970
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	b = append(b, nonce...)
	b = append(b, mac(key, account, b)...)
	return http.Cookie{ //nolint:gosec // G124: not Secure where the API itself isn't
		Name: deviceCookie, Value: base64.RawURLEncoding.EncodeToString(b), Path: Path, MaxAge: int(deviceLife / time.Second),
		Secure: p.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// known returns the nonce of a cookie that belongs to an account and holds.
func (p *Proxy) known(key [sha256.Size]byte, account, value string) (nonce string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) != 8+nonceSize+sha256.Size {
		return "", false
	}
	said, sum := b[:8+nonceSize], b[8+nonceSize:]
	if !hmac.Equal(sum, mac(key, account, said)) {
		return "", false
	}
	ends := time.Unix(int64(binary.BigEndian.Uint64(said)), 0) //nolint:gosec // our own
	return hex.EncodeToString(said[8:]), p.Now().Before(ends)
}

func mac(key [sha256.Size]byte, account string, said []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("device\n" + account + "\n"))
	h.Write(said)
	return h.Sum(nil)
}

// answered leaves of an answer what people need, and counts an attempt that failed.
func (p *Proxy) answered(res *http.Response) error {
	kept := http.Header{}
	for _, name := range []string{"Content-Type", "Content-Length", "Location"} {
		if v := res.Header.Values(name); len(v) > 0 {
			kept[name] = v
		}
	}
	for _, c := range res.Cookies() {
		if own(c.Name) {
			kept.Add("Set-Cookie", c.Raw)
		}
	}
	res.Header = kept
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	a, ok := res.Request.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return nil
	}
	switch res.StatusCode {
	case http.StatusOK:
		res.Header.Add("Set-Cookie", a.device.String())
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if p.Failed != nil {
			p.Failed()
		}
		if err := p.Limits.Spend(res.Request.Context(), a.cost...); errs.KindOf(err) == errs.Unavailable {
			return err
		}
	}
	return nil
}
