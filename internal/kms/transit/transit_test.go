package transit_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/kmstest"
	"github.com/vogter/vogter/internal/kms/transit"
)

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, c transit.Config) *transit.Engine {
	t.Helper()
	e, err := transit.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func byToken(t *testing.T, s *standIn) transit.Config {
	t.Helper()
	return transit.Config{Address: s.URL + "/transit", CAFile: s.caFile, TokenFile: tokenFile(t, "token")}
}

func byRole(s *standIn) transit.Config {
	return transit.Config{Address: s.URL + "/transit/", CAFile: s.caFile, RoleID: "role", SecretID: "secret"}
}

func TestContract(t *testing.T) {
	s := newStandIn(t)
	t.Run("token", func(t *testing.T) {
		kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, byToken(t, s)) })
	})
	t.Run("AppRole", func(t *testing.T) {
		kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, byRole(s)) })
	})
}

// TestVault is TestContract against a real server: VOGTER_TEST_TRANSIT is the
// address of its mount, _TOKEN and _CA_FILE what the names say. See
// deploy/local/transit for one to start.
func TestVault(t *testing.T) {
	address := os.Getenv("VOGTER_TEST_TRANSIT")
	if address == "" {
		t.Skip("VOGTER_TEST_TRANSIT names no server")
	}
	c := transit.Config{
		Address: address, CAFile: os.Getenv("VOGTER_TEST_TRANSIT_CA_FILE"),
		TokenFile: tokenFile(t, os.Getenv("VOGTER_TEST_TRANSIT_TOKEN")),
	}
	kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, c) })
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, code)
		return true
	}
}

// A server that is busy for a moment is asked again; one that stays away, or
// refuses us, is unavailable and nothing else.
func TestFaults(t *testing.T) {
	s := newStandIn(t)
	e := open(t, byToken(t, s))
	ref, err := e.Create(t.Context(), "epoch-1")
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := e.Wrap(t.Context(), ref, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusPreconditionFailed, http.StatusBadGateway} {
		var times atomic.Int32
		s.fault = func(w http.ResponseWriter, _ *http.Request) bool {
			if times.Add(1) > 2 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			refuse(w, code)
			return true
		}
		if got, err := e.Unwrap(t.Context(), ref, wrapped, nil); err != nil || string(got) != "secret" {
			t.Errorf("after two times %d: %v", code, err)
		}
	}
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"always busy": status(http.StatusTooManyRequests),
		"sealed":      status(http.StatusServiceUnavailable),
		"denied":      status(http.StatusForbidden),
		"redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
			return true
		},
		"hung up":  func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte("<html>")); return true },
		"too long": func(w http.ResponseWriter, r *http.Request) bool { _, _ = w.Write(make([]byte, 2<<20)); return true },
	} {
		s.fault = fault
		if _, err := e.Unwrap(t.Context(), ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.fault = nil
	wrong := byToken(t, s)
	wrong.TokenFile = tokenFile(t, "other")
	if _, err := open(t, wrong).Unwrap(t.Context(), ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("wrong token: %v", err)
	}
	wrong.TokenFile = filepath.Join(t.TempDir(), "none")
	if _, err := open(t, wrong).Unwrap(t.Context(), ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("no token: %v", err)
	}
	unknown := byToken(t, s)
	unknown.CAFile = ""
	if _, err := open(t, unknown).Unwrap(t.Context(), ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("unknown CA: %v", err)
	}
	s.Close()
	if _, err := e.Unwrap(t.Context(), ref, wrapped, nil); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestSlowServer(t *testing.T) {
	s := newStandIn(t)
	e := open(t, byToken(t, s))
	s.fault = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Create(ctx, "epoch-1"); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// A token that has ended is renewed without the caller noticing; the secret of
// a role is asked for once, not for every call.
func TestSignIn(t *testing.T) {
	s := newStandIn(t)
	e := open(t, byRole(s))
	for range 3 {
		if _, err := e.Create(t.Context(), "epoch-1"); err != nil {
			t.Fatal(err)
		}
	}
	if s.logins != 1 {
		t.Errorf("signed in %d times", s.logins)
	}
	s.mu.Lock()
	clear(s.tokens)
	s.mu.Unlock()
	if _, err := e.Wrap(t.Context(), "epoch-1", []byte("x"), nil); err != nil || s.logins != 2 {
		t.Errorf("after the token ended: %v, signed in %d times", err, s.logins)
	}
	wrong := byRole(s)
	wrong.SecretID = "other"
	_, err := open(t, wrong).Create(t.Context(), "epoch-1")
	if !errors.Is(err, kms.ErrUnavailable) || strings.Contains(err.Error(), "other") {
		t.Errorf("wrong secret: %v", err)
	}
}

func TestNamespace(t *testing.T) {
	s := newStandIn(t)
	c := byToken(t, s)
	c.Namespace = "team/a"
	if _, err := open(t, c).Create(t.Context(), "epoch-1"); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.seen {
		if r.Header.Get("X-Vault-Namespace") != "team/a" {
			t.Errorf("%s without the namespace", r.URL.Path)
		}
	}
}

func TestConfig(t *testing.T) {
	good := transit.Config{Address: "https://bao.example/transit", TokenFile: "/run/token"}
	open(t, good)
	for name, change := range map[string]func(*transit.Config){
		"plain HTTP":     func(c *transit.Config) { c.Address = "http://bao.example/transit" },
		"no mount":       func(c *transit.Config) { c.Address = "https://bao.example/" },
		"password":       func(c *transit.Config) { c.Address = "https://a:b@bao.example/transit" },
		"no sign-in":     func(c *transit.Config) { c.TokenFile = "" },
		"two sign-ins":   func(c *transit.Config) { c.RoleID, c.SecretID = "a", "b" },
		"half a role":    func(c *transit.Config) { c.TokenFile, c.RoleID = "", "a" },
		"CA that is not": func(c *transit.Config) { c.CAFile = os.DevNull },
	} {
		c := good
		change(&c)
		if _, err := transit.Open(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
