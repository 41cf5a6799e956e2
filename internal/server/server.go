// Package server puts the parts of the API behind one HTTP handler, gives each
// call an id, a line in the log and a clean answer when something breaks, and
// lets calls finish when the process stops.
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/waf"
)

// HeaderRequestID tells the caller the id under which the call is found in the
// logs and the audit trail. An id that the caller sends is not taken over: it
// could be anything.
const HeaderRequestID = "Vogter-Request-Id"

// Sentinels of calls that reach no route.
var (
	ErrNoRoute  = errs.New(errs.NotFound, "there is nothing at this address")
	ErrNoMethod = errs.New(errs.Invalid, "the address doesn't take this method: see header Allow")
	errPanic    = errs.New(errs.Internal, "internal error")
)

// Fail answers a call with an error, in the form of the route it belongs to.
type Fail func(http.ResponseWriter, *http.Request, error)

// Route is one address of the API.
type Route struct {
	// Pattern is a method and a path as http.ServeMux has them: "PUT /v1/uploads".
	Pattern string
	// Handler finds caller, tenant and audit.Request in the context.
	Handler http.Handler
	// Public says that browsers come here from anywhere: by a link in a mail, say.
	Public bool
	// Stream says that the body is a file: it may take as long as it keeps coming,
	// and be anything.
	Stream bool
	// Uses are what a call uses up besides Uses, such as ByTenant of a class; nil: nothing.
	Uses func(ctx context.Context) []ratelimit.Use
	// Counts says that Handler counts the call itself, when it knows what it costs.
	Counts bool
	// Own says that Handler finds out itself who is calling: to us it is nobody.
	Own bool
	// Fail is for what goes wrong before and in Handler; Config.Fail when nil.
	Fail Fail
}

// Config is what the handler is made of.
type Config struct {
	Log  *slog.Logger
	Now  func() time.Time
	Auth *authn.Authenticator
	// Proxies are the networks of the proxies in front of the API, whose
	// X-Forwarded-For is believed. Handlers find the caller's address by
	// network.AddrFrom.
	Proxies network.List
	Routes  []Route
	// Limiter bounds how often callers come; nil: nothing does.
	Limiter *ratelimit.Limiter
	// Firewall looks at calls once it is known who makes them; nil: nothing does.
	Firewall *waf.Firewall
	// Origins are the pages of others that browsers may call from; nil: none.
	Origins Origins
	// Checks are what /readyz asks.
	Checks []Check
	// Fail answers calls that reach no route, and those of routes without their own.
	Fail Fail
	// Refused is told of calls of unknown callers that were refused. It may be nil.
	Refused func(route string, code errs.Kind)
	// Stop is closed when the process is about to stop: /readyz says so, while
	// calls still find answers. It may be nil.
	Stop <-chan struct{}
	// Limits are how long callers are waited for; zero values stand for the usual.
	Limits Limits
}

// Limits are how long callers are waited for. They are settings for tests, which
// can't wait.
type Limits struct {
	// Patience is how long a body may take to arrive, or 64 KiB of a file, and 64
	// KiB of an answer to leave.
	Patience time.Duration
	// Grace is how long a file may take to arrive before its average pace matters.
	Grace time.Duration
	// Linger is how long a body that nobody wants may take to arrive.
	Linger time.Duration
}

// New returns the handler of the whole API.
func New(c Config) (http.Handler, error) {
	c.Limits.Patience = cmp.Or(c.Limits.Patience, patience)
	c.Limits.Grace = cmp.Or(c.Limits.Grace, grace)
	c.Limits.Linger = cmp.Or(c.Limits.Linger, linger)
	shared, err := newCORS(c.Origins, c.Now)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", health())
	mux.Handle("GET /readyz", ready(c))
	allowed := map[string][]string{"/healthz": {http.MethodGet}, "/readyz": {http.MethodGet}}
	for _, r := range c.Routes {
		fail := r.Fail
		if fail == nil {
			fail = c.Fail
		}
		h := noted(shared.middleware(inspected(c, r, fail)))
		mux.Handle(r.Pattern, recovered(c.Log, paced(r.Stream, limited(c.Limiter, c.Auth, r, h, fail)), fail))
		if method, path, ok := strings.Cut(r.Pattern, " "); ok {
			allowed[path] = append(allowed[path], method)
		}
	}
	for path, methods := range allowed {
		mux.Handle(path, counted(c.Limiter, wrongMethod(methods, shared, c.Fail), c.Fail))
	}
	if _, taken := allowed["/"]; !taken {
		none := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.Fail(w, r, ErrNoRoute) })
		mux.Handle("/", counted(c.Limiter, none, c.Fail))
	}
	return logged(c, mux), nil
}

// wrongMethod answers calls with a method that an address doesn't take, among
// them what browsers ask before they let a page of others call.
func wrongMethod(allowed []string, shared *cors, fail Fail) http.Handler {
	slices.Sort(allowed)
	header := strings.Join(slices.Compact(allowed), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if done, err := shared.preflight(w, r, header); err != nil {
			fail(w, r, err)
			return
		} else if done {
			return
		}
		w.Header().Set("Allow", header)
		fail(statusWriter{ResponseWriter: w, status: http.StatusMethodNotAllowed}, r, ErrNoMethod)
	})
}

// statusWriter answers with its own status instead of the one it is told.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w statusWriter) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }

// inspected calls the handler of a route if the firewall has no objection.
func inspected(c Config, to Route, fail Fail) http.Handler {
	if c.Firewall == nil {
		return to.Handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.Firewall.Inspect(r, waf.Route{Public: to.Public, Stream: to.Stream}); err != nil {
			if to.Counts && c.Limiter != nil { // or attacks, which cost us the most, would be free
				err = cmp.Or(c.Limiter.Take(r.Context(), Uses(r.Context())...), err)
			}
			fail(w, r, err)
			return
		}
		to.Handler.ServeHTTP(w, r)
	})
}

// paced lets the body of a file take its time.
func paced(stream bool, next http.Handler) http.Handler {
	if !stream {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := r.Body.(*body); ok {
			b.stream = true
		}
		next.ServeHTTP(w, r)
	})
}

// logged gives each call its id and the headers that every answer has, and logs
// it: the route and never the address, which is the caller's to fill.
func logged(conf Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, id := conf.Now(), rand.Text()
		h := w.Header()
		h.Set(HeaderRequestID, id)
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=63072000")
		h.Set("X-Content-Type-Options", "nosniff")

		from := conf.Proxies.Client(r)
		ctx, line := reqlog.NewContext(network.NewContext(r.Context(), from))
		ctx = audit.WithRequest(ctx, audit.Request{ID: id, Network: audit.NetworkOf(from), GPC: r.Header.Get("Sec-GPC") == "1"})
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w, pace: pace{http.NewResponseController(w), conf.Now, conf.Limits}}
		rec.writing(0)
		if r.Body != nil && r.Body != http.NoBody {
			rec.body = &body{ReadCloser: r.Body, pace: rec.pace, header: h, left: conf.Limits.Patience}
			r.Body = rec.body
		}
		// In a defer, so that a call whose connection is cut on purpose has its line too.
		defer func() {
			rec.leave()
			conf.Log.InfoContext(ctx, "request", append([]any{
				"request_id", id, "method", method(r), "route", r.Pattern,
				"status", rec.written(), "ms", conf.Now().Sub(start).Milliseconds(),
			}, line.Attrs()...)...)
			if code, refused := line.Refused(); refused && conf.Refused != nil {
				conf.Refused(r.Pattern, code)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// method returns the call's method if it is a known one: any word can be sent.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	default:
		return "OTHER"
	}
}

// noted tells the log who is calling.
func noted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reqlog.Principal(r.Context(), authz.FromContext(r.Context()).ID)
		next.ServeHTTP(w, r)
	})
}

// recovered answers a call whose handler panicked. The panic's value may be
// anything and isn't logged; the stack holds code only.
func recovered(log *slog.Logger, next http.Handler, fail Fail) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			log.ErrorContext(ctx, "handler panicked", "request_id", audit.RequestFrom(ctx).ID,
				"type", fmt.Sprintf("%T", p), "stack", Stack())
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			fail(w, r, errPanic)
		}()
		next.ServeHTTP(w, r)
	})
}

// Stack returns where the panicking goroutine was, without the arguments of the
// calls, which are addresses at best.
func Stack() string {
	var places []string
	for line := range strings.Lines(string(debug.Stack())) {
		if strings.HasPrefix(line, "\t") {
			place, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			places = append(places, place)
		}
	}
	return strings.Join(places, " ")
}

// recorder remembers the status that was written, and keeps the pace of a call.
type recorder struct {
	http.ResponseWriter
	pace

	body   *body // nil: there is none
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		r.leave()
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.writing(len(b))
	return r.ResponseWriter.Write(b)
}

// leave bounds how long a body that nobody reads is waited for.
func (r *recorder) leave() {
	if r.body != nil {
		r.body.leave()
	}
}

// Flush implements http.Flusher, which streamed answers need.
func (r *recorder) Flush() {
	r.writing(0)
	_ = http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) written() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
