package ory_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/ory"
	"github.com/vogter/vogter/internal/ory/orytest"
)

func TestHydra(t *testing.T) {
	const audience = "https://api.example.test"
	s, ctx := orytest.StartHydra(t), t.Context()
	h := s.Client
	credentials := func(id, secret string) *oauth.Credentials {
		return &oauth.Credentials{ClientID: id, ClientSecret: text(secret), TokenURL: h.TokenURL()}
	}
	put := func(id, secret string, format oauth.TokenFormat) {
		t.Helper()
		if err := h.PutClient(ctx, id, text(secret), format, audience); err != nil {
			t.Fatal(err)
		}
	}
	put("opaque", "the-first-secret", oauth.Opaque)
	first := orytest.Token(t, credentials("opaque", "the-first-secret"), audience)
	said, err := h.Introspect(ctx, first)
	if err != nil || said.Client != "opaque" || said.Subject != "opaque" || said.Issuer != h.Issuer() ||
		!slices.Equal(said.Audience, []string{audience}) || !said.ExpiresAt.After(time.Now()) {
		t.Errorf("got %+v, %v", said, err)
	}
	if orytest.Token(t, credentials("opaque", "the-first-secret"), "https://other.example.test") != "" {
		t.Error("got a token for another audience")
	}
	for _, unknown := range []string{"", "x", "ory_at_unknown", first + "x"} {
		if said, err := h.Introspect(ctx, unknown); err != nil || said.Client != "" {
			t.Errorf("an unknown token says %+v, %v", said, err)
		}
	}

	t.Run("another secret", func(t *testing.T) {
		put("opaque", "the-second-secret", oauth.Opaque)
		if orytest.Token(t, credentials("opaque", "the-first-secret"), audience) != "" {
			t.Error("the old secret still works")
		}
		if orytest.Token(t, credentials("opaque", "the-second-secret"), audience) == "" {
			t.Error("the new secret doesn't work")
		}
	})
	t.Run("signed", func(t *testing.T) {
		put("signed", "the-first-secret", oauth.JWT)
		if token := orytest.Token(t, credentials("signed", "the-first-secret"), audience); strings.Count(token, ".") != 2 {
			t.Error("no signed token")
		}
		keys, err := h.SigningKeys(ctx)
		if err != nil || len(keys.Keys) == 0 || !keys.Keys[0].IsPublic() {
			t.Errorf("got %d keys, %v", len(keys.Keys), err)
		}
	})
	t.Run("deleted, with its tokens", func(t *testing.T) {
		for range 2 {
			if err := h.DeleteClient(ctx, "opaque"); err != nil {
				t.Fatal(err)
			}
		}
		if said, err := h.Introspect(ctx, first); err != nil || said.Client != "" {
			t.Errorf("its token says %+v, %v", said, err)
		}
	})
	t.Run("server down", func(t *testing.T) {
		s.Kill()
		hydraUnavailable(t, h)
	})
}

func TestFaultsOfHydraAreOpaque(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"500 that repeats the input": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, `{"error":{"id":"x","message":"planted-secret %s"}}`, r.URL)
		},
		"html": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusBadGateway)
			}
			_, _ = w.Write([]byte("<html>planted-token</html>"))
		},
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler)
			defer srv.Close()
			hydraUnavailable(t, ory.NewHydra(srv.URL, srv.URL))
		})
	}
}

// hydraUnavailable checks that every call fails as UNAVAILABLE and tells nothing.
func hydraUnavailable(t *testing.T, h *ory.Hydra) {
	t.Helper()
	for name, call := range map[string]func(context.Context) error{
		"PutClient": func(ctx context.Context) error {
			return h.PutClient(ctx, "a", text("planted-secret"), oauth.JWT, "https://a.example.test")
		},
		"DeleteClient": func(ctx context.Context) error { return h.DeleteClient(ctx, "a") },
		"Introspect": func(ctx context.Context) error {
			_, err := h.Introspect(ctx, "planted-token")
			return err
		},
		"SigningKeys": func(ctx context.Context) error {
			_, err := h.SigningKeys(ctx)
			return err
		},
	} {
		err := call(t.Context())
		if errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: got kind %s, want %s (%v)", name, errs.KindOf(err), errs.Unavailable, err)
		}
		if s := fmt.Sprintf("%+v", err); strings.Contains(s, "planted") {
			t.Errorf("%s: the error tells what was sent: %s", name, s)
		}
	}
}
