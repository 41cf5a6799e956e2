package graph

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/vogter/vogter/graph/generated"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/schema"
)

// Config is what the API is made of.
type Config struct {
	Services Services
	Recorder Recorder
	Log      *slog.Logger
	// Limiter bounds how often callers come, and what they ask for; nil: nothing does.
	Limiter *ratelimit.Limiter
	// Introspection lets callers ask for the schema; not for production.
	Introspection bool
	// Stop is closed when the process is about to stop: subscriptions end, so that
	// nothing waits for them. It may be nil.
	Stop <-chan struct{}
}

// API answers GraphQL over HTTP. Its transports are our own: gqlgen's repeat the
// body of a malformed request in the answer and write it to the standard log.
type API struct {
	exec      *executor.Executor
	recorder  Recorder
	documents Documents
	limiter   *ratelimit.Limiter
	log       *slog.Logger
	stop      <-chan struct{}
}

// New returns the API.
func New(c Config) *API {
	g := &guard{authorizer: c.Services.Authorizer, recorder: c.Recorder}
	a := &API{
		exec: executor.New(generated.NewExecutableSchema(generated.Config{
			Resolvers:  newResolver(c.Services, g),
			Directives: generated.DirectiveRoot{Can: g.can, Idempotent: idempotent},
			Complexity: costs(),
		})),
		recorder: c.Recorder, documents: c.Services.Documents, limiter: c.Limiter, log: c.Log, stop: c.Stop,
	}
	a.exec.SetErrorPresenter(presenter(c.Log))
	a.exec.SetRecoverFunc(recoverer(c.Log))
	a.exec.SetParserTokenLimit(maxTokens)
	a.exec.SetDisableSuggestion(true)
	a.exec.SetDefaultRulesFn(validationRules)
	known := documents{lru.New[*ast.QueryDocument](cachedDocuments)}
	a.exec.SetQueryCache(known)
	a.exec.Use(&limits{introspection: c.Introspection, known: known})
	a.exec.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		return next(withDecisions(ctx))
	})
	a.exec.AroundResponses(a.audited)
	return a
}

const (
	cachedDocuments = 1000
	cachedLength    = 16 << 10
)

// documents caches those that can hold no personal data: without any literal
// text and comment, and not too long.
type documents struct{ *lru.LRU[*ast.QueryDocument] }

// Add implements graphql.Cache.
func (d documents) Add(ctx context.Context, document string, parsed *ast.QueryDocument) {
	if len(document) <= cachedLength && !strings.ContainsAny(document, `"#`) {
		d.LRU.Add(ctx, document, parsed)
	}
}

// audited lets a response go only once the reads that it answers are in the
// audit log. If they can't be written, all of it is held back.
func (a *API) audited(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	ctx, reads := audit.Collect(ctx)
	res := next(ctx)
	if res == nil {
		return nil
	}
	if err := a.recorder.Flush(authz.WithPolicy(ctx, decisionsFrom(ctx).policies()), reads); err != nil {
		a.log.WarnContext(ctx, "reads could not be recorded", "request_id", audit.RequestFrom(ctx).ID, "err", err)
		return failure(ctx, audit.ErrNotRecorded)
	}
	return res
}

// Routes returns the addresses of the API.
func (a *API) Routes() []server.Route {
	return []server.Route{
		{Pattern: "POST /graphql", Handler: a, Counts: true, Fail: a.Fail},
		{Pattern: "GET /schema.graphql", Handler: http.HandlerFunc(a.schema)},
	}
}

// ServeHTTP implements http.Handler. A request that can't be read or carried out
// is answered with a 4xx status; one that was carried out with 200, whatever its
// errors.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	params, err := a.read(w, r)
	if err != nil {
		a.Fail(w, r, cmp.Or(a.count(r.Context(), nil), err))
		return
	}
	ctx := graphql.StartOperationTrace(r.Context())
	op, refused := a.exec.CreateOperationContext(ctx, params)
	if refused != nil {
		if err := a.count(ctx, nil); err != nil {
			a.Fail(w, r, err)
			return
		}
		a.write(ctx, w, http.StatusBadRequest, a.exec.DispatchError(graphql.WithOperationContext(ctx, op), refused))
		return
	}
	var asked []string
	for _, f := range rootFields(op) {
		asked = append(asked, f.Name)
	}
	reqlog.Operation(ctx, string(op.Operation.Operation), asked)
	if err := a.count(ctx, op); err != nil {
		a.Fail(w, r, err)
		return
	}
	stream := strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	switch {
	case stream:
		a.stream(ctx, w, op)
	case op.Operation.Operation == ast.Subscription:
		a.Fail(w, r, errStream)
	default:
		responses, ctx := a.exec.DispatchOperation(ctx, op)
		a.write(ctx, w, http.StatusOK, responses(ctx))
	}
}

// read reads a call, with the text of the registered document if it names one.
func (a *API) read(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, error) {
	c, err := readRequest(w, r)
	if err != nil {
		return nil, err
	}
	c.Headers = r.Header
	p := authz.FromContext(r.Context())
	switch {
	case c.document == "" && p.DocumentsOnly:
		return nil, document.ErrOnly
	case c.document == "":
		return &c.RawParams, nil
	case p.Tenant == "":
		return nil, authz.ErrUnauthenticated
	}
	c.Query, err = a.documents.Text(r.Context(), c.document)
	return &c.RawParams, errs.At(err, "documentId")
}

// count counts a call, and what an operation costs unless op is nil: it will not
// be carried out.
func (a *API) count(ctx context.Context, op *graphql.OperationContext) error {
	if a.limiter == nil {
		return nil
	}
	uses := server.Uses(ctx)
	if op != nil {
		for _, u := range server.ByCaller(ratelimit.Points)(ctx) {
			uses = append(uses, u.Costing(points(op)))
		}
		for _, f := range rootFields(op) {
			if f.Name == "requestExport" || f.Name == "exportAudit" {
				uses = append(uses, server.ByTenant(ratelimit.Exports)(ctx)...)
			}
		}
	}
	return a.limiter.Take(ctx, uses...)
}

var errStream = errs.New(errs.Invalid, "a subscription is answered as a stream: send 'Accept: text/event-stream'")

// Fail answers a call with an error in the form of GraphQL.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	e := domainError(ctx, a.log, err)
	status := httperr.Status(e)
	if e == ErrMedia {
		status = http.StatusUnsupportedMediaType
	}
	a.write(ctx, w, status, failure(ctx, e))
}

func (a *API) write(ctx context.Context, w http.ResponseWriter, status int, res *graphql.Response) {
	body, ok := a.encode(ctx, res)
	if !ok {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// schema answers the schema to those who signed in.
func (a *API) schema(w http.ResponseWriter, r *http.Request) {
	if !authz.FromContext(r.Context()).SignedIn() {
		httperr.Write(w, r, authz.ErrUnauthenticated, a.log)
		return
	}
	sdl, err := schema.SDL()
	if err != nil {
		httperr.Write(w, r, fmt.Errorf("read schema: %w", err), a.log)
		return
	}
	w.Header().Set("Content-Type", "application/graphql; charset=utf-8")
	_, _ = io.WriteString(w, sdl)
}

const (
	pingEvery = 15 * time.Second
	// streamLife bounds a stream. A client that sees no "complete" connects anew.
	streamLife = 15 * time.Minute
)

// stream answers an operation as server-sent events, by the GraphQL over SSE
// protocol: an event "next" for each response, and "complete" when the operation
// has ended, but not when the connection has.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, op *graphql.OperationContext) {
	ctx, cancel := context.WithTimeout(ctx, streamLife)
	defer cancel()
	flush := http.NewResponseController(w).Flush
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // proxies hold small answers back
	w.WriteHeader(http.StatusOK)
	if flush() != nil {
		return
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for events := a.events(ctx, op); ; {
		var err error
		select {
		case body, more := <-events:
			if ctx.Err() != nil {
				return
			}
			if !more {
				_, _ = io.WriteString(w, "event: complete\ndata:\n\n")
				_ = flush()
				return
			}
			_, err = fmt.Fprintf(w, "event: next\ndata: %s\n\n", body)
		case <-ping.C:
			if !unchanged(ctx) {
				return
			}
			_, err = io.WriteString(w, ": ping\n\n")
		case <-ctx.Done():
			return
		case <-a.stop:
			return
		}
		if err != nil || flush() != nil {
			return
		}
	}
}

// unchanged reports whether the caller in ctx may still be answered as when the
// call began: their credential holds, and proves the same rights.
func unchanged(ctx context.Context) bool {
	was := authz.FromContext(ctx)
	is, err := authn.Again(ctx)
	is.AAL, is.AuthenticatedAt = was.AAL, was.AuthenticatedAt // who signs in again loses nothing
	return err == nil && reflect.DeepEqual(was, is)
}

// events carries an operation out and sends its responses, encoded, until it has
// ended or ctx has.
func (a *API) events(ctx context.Context, op *graphql.OperationContext) <-chan []byte {
	events := make(chan []byte)
	go func() {
		defer close(events)
		defer func() { // a panic here would end the process
			if p := recover(); p != nil {
				_ = recoverer(a.log)(ctx, p) // logs it
			}
		}()
		responses, ctx := a.exec.DispatchOperation(ctx, op)
		for {
			res := responses(ctx)
			if res == nil {
				return
			}
			// Encoded before the next one is made, which may lie in the same memory.
			body, _ := a.encode(ctx, res)
			select {
			case events <- body:
			case <-ctx.Done():
				return
			}
			if op.Operation.Operation != ast.Subscription {
				return // the handler of a query would answer it again
			}
		}
	}()
	return events
}

// encode returns the JSON of a response; ok is false when that isn't possible
// and it is of an error instead.
func (a *API) encode(ctx context.Context, res *graphql.Response) (body []byte, ok bool) {
	body, err := json.Marshal(res)
	if err != nil { // a scalar wrote what is no JSON
		a.log.ErrorContext(ctx, "graphql answer is malformed", "request_id", audit.RequestFrom(ctx).ID)
		return []byte(`{"errors":[{"message":"internal error","extensions":{"code":"INTERNAL"}}]}`), false
	}
	return body, true
}
