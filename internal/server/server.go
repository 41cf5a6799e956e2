// Package server puts the parts of the API behind one HTTP handler, gives each
// call an id, a line in the log and a clean answer when something breaks, and
// lets calls finish when the process stops.
package server

import (
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
	// Checks are what /readyz asks.
	Checks []Check
	// Fail answers calls that reach no route, and those of routes without their own.
	Fail Fail
	// Stop is closed when the process is about to stop: /readyz says so, while
	// calls still find answers. It may be nil.
	Stop <-chan struct{}
}

// New returns the handler of the whole API.
func New(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", health())
	mux.Handle("GET /readyz", ready(c))
	allowed := map[string][]string{"/healthz": {http.MethodGet}, "/readyz": {http.MethodGet}}
	for _, r := range c.Routes {
		fail := r.Fail
		if fail == nil {
			fail = c.Fail
		}
		mux.Handle(r.Pattern, recovered(c.Log, c.Auth.Middleware(noted(r.Handler), fail), fail))
		if method, path, ok := strings.Cut(r.Pattern, " "); ok {
			allowed[path] = append(allowed[path], method)
		}
	}
	for path, methods := range allowed {
		mux.Handle(path, wrongMethod(methods, c.Fail))
	}
	if _, taken := allowed["/"]; !taken {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { c.Fail(w, r, ErrNoRoute) })
	}
	return logged(c, mux)
}

func wrongMethod(allowed []string, fail Fail) http.Handler {
	slices.Sort(allowed)
	header := strings.Join(slices.Compact(allowed), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// call is what the log's line needs to know from within.
type call struct{ principal string }

type callKey struct{}

// logged gives each call its id and the headers that every answer has, and logs
// it: the route and never the address, which is the caller's to fill.
func logged(conf Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, id, c := conf.Now(), rand.Text(), &call{}
		h := w.Header()
		h.Set(HeaderRequestID, id)
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=63072000")
		h.Set("X-Content-Type-Options", "nosniff")

		from := conf.Proxies.Client(r)
		ctx := audit.WithRequest(network.NewContext(r.Context(), from), audit.Request{ID: id, Network: audit.NetworkOf(from)})
		r = r.WithContext(withCall(ctx, c))
		rec := &recorder{ResponseWriter: w}
		// In a defer, so that a call whose connection is cut on purpose has its line too.
		defer func() {
			conf.Log.InfoContext(ctx, "request", "request_id", id, "method", method(r), "route", r.Pattern,
				"status", rec.written(), "ms", conf.Now().Sub(start).Milliseconds(), "principal", c.principal)
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
		if c := callFrom(r.Context()); c != nil {
			c.principal = authz.FromContext(r.Context()).ID
		}
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

// recorder remembers the status that was written.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Flush implements http.Flusher, which streamed answers need.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) written() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}
