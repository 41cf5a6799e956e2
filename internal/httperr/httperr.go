// Package httperr answers an HTTP request that failed, outside GraphQL, with
// the same closed set of codes as JSON: {"code", "message", "field", "rule",
// "requestId"}. Faults of ours are logged and answered without detail.
package httperr

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/reqlog"
)

// The rules that choose between two statuses of one code.
const (
	// RuleSize is of a LIMITED body that is too large: 413 and not 429.
	RuleSize = "size.max"
	// RuleGone is of a PRECONDITION that no later call can meet: 410 and not 422.
	RuleGone = "link.alive"
	// RuleSlow is of an INVALID body that came too slowly: 408 and not 400.
	RuleSlow = "body.slow"
)

// Sentinels of a body that couldn't be read.
var (
	ErrSlow = errs.New(errs.Invalid, "the body didn't arrive in time").Under(RuleSlow)
	ErrCut  = errs.New(errs.Invalid, "the body ended early")
)

type body struct {
	Code      errs.Kind `json:"code"`
	Message   string    `json:"message"`
	Field     string    `json:"field,omitempty"`
	Rule      string    `json:"rule,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
}

// Write answers err. It must be called before anything else was written.
func Write(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	e, ok := errors.AsType[*errs.Error](err)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		e, ok = errs.New(errs.Limited, "the body is too large").Under(RuleSize), true
	}
	ctx := r.Context()
	if !ok || e.Kind == errs.Internal {
		if ctx.Err() == nil { // else the caller has hung up, which is no fault of ours
			log.ErrorContext(ctx, "request failed", "request_id", audit.RequestFrom(ctx).ID, "err", err)
		}
		e = errs.New(errs.Internal, "internal error")
	}
	reqlog.Code(ctx, e.Kind)
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(Status(e))
	b := body{Code: e.Kind, Message: e.Message, Field: e.Field, Rule: e.Rule, RequestID: audit.RequestFrom(ctx).ID}
	if err := json.NewEncoder(w).Encode(b); err != nil {
		log.DebugContext(ctx, "error answer not sent", "err", err)
	}
}

// Status returns the HTTP status of e.
func Status(e *errs.Error) int {
	switch e.Kind {
	case errs.Invalid:
		if e.Rule == RuleSlow {
			return http.StatusRequestTimeout
		}
		return http.StatusBadRequest
	case errs.Unauthenticated:
		return http.StatusUnauthorized
	case errs.Forbidden:
		return http.StatusForbidden
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Conflict:
		return http.StatusConflict
	case errs.Precondition:
		if e.Rule == RuleGone {
			return http.StatusGone
		}
		return http.StatusUnprocessableEntity
	case errs.Erased:
		return http.StatusGone
	case errs.Limited:
		if e.Rule == RuleSize {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusTooManyRequests
	case errs.Unavailable:
		return http.StatusServiceUnavailable
	case errs.Internal:
	}
	return http.StatusInternalServerError
}
