package httperr_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
)

func TestWrite(t *testing.T) {
	tooLarge := func() error {
		_, err := io.ReadAll(http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("long")), 1))
		return err
	}
	tests := []struct {
		name   string
		err    error
		status int
		code   errs.Kind
		logged bool
	}{
		{"invalid", errs.New(errs.Invalid, "said").At("name"), 400, errs.Invalid, false},
		{"unauthenticated", errs.New(errs.Unauthenticated, "said"), 401, errs.Unauthenticated, false},
		{"forbidden", errs.New(errs.Forbidden, "said"), 403, errs.Forbidden, false},
		{"not found", errs.New(errs.NotFound, "said"), 404, errs.NotFound, false},
		{"conflict", errs.New(errs.Conflict, "said"), 409, errs.Conflict, false},
		{"precondition", errs.New(errs.Precondition, "said"), 422, errs.Precondition, false},
		{"gone", errs.New(errs.Precondition, "said").Under(httperr.RuleGone), 410, errs.Precondition, false},
		{"erased", errs.New(errs.Erased, "said"), 410, errs.Erased, false},
		{"limited", errs.New(errs.Limited, "said"), 429, errs.Limited, false},
		{"too large", errs.New(errs.Limited, "said").Under(httperr.RuleSize), 413, errs.Limited, false},
		{"body too large", fmt.Errorf("read: %w", tooLarge()), 413, errs.Limited, false},
		{"unavailable", fmt.Errorf("secret: %w", errs.New(errs.Unavailable, "said").Because(errors.New("secret"))), 503, errs.Unavailable, false},
		{"internal", errs.New(errs.Internal, "secret"), 500, errs.Internal, true},
		{"unknown", errors.New("secret"), 500, errs.Internal, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			w := httptest.NewRecorder()
			ctx := audit.WithRequest(t.Context(), audit.Request{ID: "req-1"})
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
			httperr.Write(w, r, tt.err, slog.New(slog.NewTextHandler(&log, nil)))
			var body struct {
				Code                            errs.Kind
				Message, Field, Rule, RequestID string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || body.Code != tt.code || body.RequestID != "req-1" || body.Message == "" {
				t.Errorf("got %d %+v", w.Code, body)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer says too much: %s", w.Body)
			}
			if (log.Len() > 0) != tt.logged {
				t.Errorf("the log has %q", log.String())
			}
		})
	}
	t.Run("hung up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var log bytes.Buffer
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
		httperr.Write(httptest.NewRecorder(), r, context.Canceled, slog.New(slog.NewTextHandler(&log, nil)))
		if log.Len() > 0 {
			t.Errorf("the log has %q", log.String())
		}
	})
}
