package ory_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ory"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
)

func text(s string) personal.Text { return personal.NewText(s) }

func TestSignIn(t *testing.T) {
	kratos := orytest.Start(t)
	c, ctx := kratos.Client, t.Context()
	email, password := text("member@example.test"), text("correct horse battery")

	identity, err := c.SetPassword(ctx, email, password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Login(ctx, email, password)
	if err != nil {
		t.Fatal(err)
	}
	session, err := c.WhoAmI(ctx, authn.Credential{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if session.Identity != identity || session.ID == "" || session.AAL != "aal1" || session.AuthenticatedAt.IsZero() ||
		!session.ExpiresAt.After(session.AuthenticatedAt) {
		t.Errorf("got %+v", session)
	}

	t.Run("identity is found, not made twice", func(t *testing.T) {
		again, err := c.FindOrCreate(ctx, email)
		if err != nil || again != identity {
			t.Errorf("got %s, %v, want %s", again, err, identity)
		}
		other, err := c.FindOrCreate(ctx, text("other@example.test"))
		if err != nil || other == identity {
			t.Errorf("got %s, %v, want another", other, err)
		}
	})
	t.Run("password is replaced", func(t *testing.T) {
		next := text("another long password")
		if again, err := c.SetPassword(ctx, email, next); err != nil || again != identity {
			t.Fatalf("got %s, %v, want %s", again, err, identity)
		}
		if _, err := c.Login(ctx, email, next); err != nil {
			t.Error(err)
		}
		if _, err := c.Login(ctx, email, password); !errors.Is(err, ory.ErrLogin) {
			t.Errorf("old password: got %v, want %v", err, ory.ErrLogin)
		}
	})
	t.Run("short password is refused", func(t *testing.T) {
		if _, err := c.SetPassword(ctx, email, text("short")); !errors.Is(err, ory.ErrPassword) {
			t.Errorf("got %v, want %v", err, ory.ErrPassword)
		}
	})
	t.Run("unknown address and wrong password look the same", func(t *testing.T) {
		_, unknown := c.Login(ctx, text("nobody@example.test"), password)
		_, wrong := c.Login(ctx, email, text("wrong password here"))
		if !errors.Is(unknown, ory.ErrLogin) || !errors.Is(wrong, ory.ErrLogin) {
			t.Errorf("got %v and %v, want %v", unknown, wrong, ory.ErrLogin)
		}
	})
	t.Run("revoked and unknown sessions", func(t *testing.T) {
		kratos.Revoke(ctx, t, session.ID)
		for _, cred := range []authn.Credential{{Token: token}, {Token: "ory_st_unknown"}, {Cookie: "unknown"}} {
			if _, err := c.WhoAmI(ctx, cred); !errors.Is(err, ory.ErrSession) {
				t.Errorf("got %v, want %v", err, ory.ErrSession)
			}
		}
	})
	t.Run("server down", func(t *testing.T) {
		kratos.Kill()
		unavailable(t, c)
		_, listed := c.Sessions(ctx, identity)
		for name, err := range map[string]error{"Sessions": listed, "End": c.End(ctx, session.ID)} {
			if errs.KindOf(err) != errs.Unavailable {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// TestFaultsAreOpaque runs against servers that answer nonsense, some of which
// repeats what was sent.
func TestFaultsAreOpaque(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"500 that repeats the input", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, `{"error":{"id":"x","message":"planted@example.test planted-password %s"}}`, r.URL)
		}},
		{"html", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>planted@example.test</html>"))
		}},
		{"conflict without the identity", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusConflict)
				return
			}
			_, _ = w.Write([]byte(`[]`))
		}},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.handler)
			defer srv.Close()
			unavailable(t, ory.New(srv.URL, srv.URL))
		})
	}
}

// unavailable checks that every call fails as UNAVAILABLE and tells nothing.
func unavailable(t *testing.T, c *ory.Client) {
	t.Helper()
	email, password := text("planted@example.test"), text("planted-password")
	calls := map[string]func(context.Context) error{
		"WhoAmI": func(ctx context.Context) error {
			_, err := c.WhoAmI(ctx, authn.Credential{Token: "planted-token"})
			return err
		},
		"FindOrCreate": func(ctx context.Context) error {
			_, err := c.FindOrCreate(ctx, email)
			return err
		},
		"SetPassword": func(ctx context.Context) error {
			_, err := c.SetPassword(ctx, email, password)
			return err
		},
		"Verified": func(ctx context.Context) error {
			_, err := c.Verified(ctx, "identity-1")
			return err
		},
		"Login": func(ctx context.Context) error {
			_, err := c.Login(ctx, email, password)
			return err
		},
	}
	for name, call := range calls {
		err := call(t.Context())
		if errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: got kind %s, want %s (%v)", name, errs.KindOf(err), errs.Unavailable, err)
		}
		if s := fmt.Sprintf("%+v", err); strings.Contains(s, "planted") || strings.Contains(s, "%40") {
			t.Errorf("%s: the error tells what was sent: %s", name, s)
		}
	}
}
