package opendsr

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/server"
)

// Path is where the API is.
const Path = "/v1/opendsr/"

// Permits asks the policies, and notes refusals.
type Permits interface {
	Permit(ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string) (context.Context, error)
}

// API is the Service over HTTP.
type API struct {
	Service    *Service
	Authorizer authz.Authorizer
	Permits    Permits
	Log        *slog.Logger
}

// Routes returns the addresses. Principal, tenant and request must be in the
// context of a call.
func (a *API) Routes() []server.Route {
	handle := func(pattern string, status int, do authz.Permission, answer func(ctx context.Context, r *http.Request) (any, error)) server.Route {
		return server.Route{Pattern: pattern, Fail: a.fail, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			if do != "" {
				var err error
				if ctx, err = a.Permits.Permit(ctx, a.Authorizer, do, "openDSR", ""); err != nil {
					a.fail(w, r, err)
					return
				}
			}
			got, err := answer(ctx, r)
			if err == nil {
				err = a.write(ctx, w, status, got)
			}
			if err != nil {
				a.fail(w, r, err)
			}
		})}
	}
	return []server.Route{
		handle("GET "+Path+"discovery", http.StatusOK, "", func(context.Context, *http.Request) (any, error) { return a.Service.Discover(), nil }),
		handle("POST "+Path+"requests", http.StatusCreated, authz.RequestOpen, func(ctx context.Context, r *http.Request) (any, error) {
			body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
			if err != nil {
				return nil, err
			}
			return a.Service.Take(ctx, body)
		}),
		handle("GET "+Path+"requests/{id}", http.StatusOK, authz.RequestRead, func(ctx context.Context, r *http.Request) (any, error) {
			return a.Service.Status(ctx, r.PathValue("id"))
		}),
		handle("DELETE "+Path+"requests/{id}", http.StatusAccepted, authz.RequestOpen, func(ctx context.Context, r *http.Request) (any, error) {
			return a.Service.Cancel(ctx, r.PathValue("id"))
		}),
	}
}

// write answers, signed.
func (a *API) write(ctx context.Context, w http.ResponseWriter, status int, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	signed, err := a.Service.headers(ctx, body)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set(HeaderDomain, signed.Get(HeaderDomain))
	h.Set(HeaderSignature, signed.Get(HeaderSignature))
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return nil
}

type detail struct {
	Domain  string `json:"domain"` // the code of the API
	Reason  string `json:"reason"` // the field or the rule
	Message string `json:"message"`
}

type failure struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Errors  []detail `json:"errors"`
}

// fail answers with the specification's error object.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		err = errs.New(errs.Limited, "the body is too large").Under(httperr.RuleSize)
	}
	ctx := r.Context()
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		a.Log.ErrorContext(ctx, "request failed", "request_id", audit.RequestFrom(ctx).ID, "err", err)
		e = errs.New(errs.Internal, "internal error")
	}
	reqlog.Code(ctx, e.Kind)
	reason := e.Field
	if reason == "" {
		reason = e.Rule
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(httperr.Status(e))
	_ = json.NewEncoder(w).Encode(struct {
		Error failure `json:"error"`
	}{failure{httperr.Status(e), e.Message, []detail{{string(e.Kind), reason, e.Message}}}})
}
