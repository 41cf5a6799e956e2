package gcp_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/gcp"
	"github.com/vogter/vogter/internal/kms/kmstest"
)

func noon() time.Time { return time.Date(2036, 6, 1, 12, 0, 0, 0, time.UTC) }

func (s *standIn) config() gcp.Config {
	return gcp.Config{
		KeyRing: ring, CAFile: s.caFile, Recovery: 24 * time.Hour, Now: noon, Endpoint: s.URL, Metadata: s.metadata.URL,
	}
}

func open(t *testing.T, c gcp.Config) *gcp.Ring {
	t.Helper()
	r, err := gcp.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContract(t *testing.T) {
	s := newStandIn(t)
	t.Run("metadata server", func(t *testing.T) {
		kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, s.config()) })
	})
	t.Run("token file", func(t *testing.T) {
		c := s.config()
		c.TokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(c.TokenFile, []byte("token\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		given := s.given
		kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, c) })
		if s.given != given {
			t.Error("the metadata server was asked")
		}
	})
}

// TestFaults asks a service that fails, at first or always.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		code  int
		times int32
		want  error // nil: it is asked again, and answers
	}{
		"busy at first":     {http.StatusTooManyRequests, 2, nil},
		"broken at first":   {http.StatusServiceUnavailable, 1, nil},
		"token ended early": {http.StatusUnauthorized, 1, nil},
		"busy":              {http.StatusTooManyRequests, 100, kms.ErrUnavailable},
		"denied":            {http.StatusForbidden, 100, kms.ErrUnavailable},
		"moved":             {http.StatusFound, 100, kms.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			r := open(t, s.config())
			ref, err := r.Create(t.Context(), "epoch-1")
			if err != nil {
				t.Fatal(err)
			}
			var n atomic.Int32
			s.fault = func(w http.ResponseWriter, _ *http.Request) bool {
				if n.Add(1) > tt.times {
					return false
				}
				w.Header().Set("Location", "https://elsewhere.example")
				refuse(w, tt.code)
				return true
			}
			if _, err = r.Wrap(t.Context(), ref, []byte("secret"), nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.code == http.StatusUnauthorized && s.given != 2 {
				t.Errorf("%d tokens were asked for", s.given)
			}
		})
	}
}

// A token is used until shortly before it ends.
func TestTokens(t *testing.T) {
	s, now := newStandIn(t), noon()
	c := s.config()
	c.Now = func() time.Time { return now }
	r := open(t, c)
	for _, after := range []time.Duration{0, time.Minute, 50 * time.Minute, 59 * time.Minute} {
		now = noon().Add(after)
		if _, err := r.Create(t.Context(), "epoch-1"); err != nil {
			t.Fatal(err)
		}
	}
	if s.given != 2 {
		t.Errorf("%d tokens were asked for", s.given)
	}
}

// A key that somebody else made, in a way that Destroy couldn't end, is refused.
func TestOtherKeys(t *testing.T) {
	for name, alter := range map[string]func(doc map[string]any){
		"another purpose":    func(d map[string]any) { d["purpose"] = "ASYMMETRIC_SIGN" },
		"rotating":           func(d map[string]any) { d["nextRotationTime"] = "2036-01-01T00:00:00Z" },
		"waiting for longer": func(d map[string]any) { d["destroyScheduledDuration"] = "2592000s" },
	} {
		s := newStandIn(t)
		r := open(t, s.config())
		if _, err := r.Create(t.Context(), "epoch-1"); err != nil {
			t.Fatal(err)
		}
		alter(s.keys["epoch-1"].doc)
		if _, err := r.Create(t.Context(), "epoch-1"); err == nil {
			t.Errorf("%s: it is used", name)
		}
	}
}

func TestConfig(t *testing.T) {
	s := newStandIn(t)
	for name, alter := range map[string]func(c *gcp.Config){
		"no ring":        func(c *gcp.Config) { c.KeyRing = "projects/p" },
		"another host":   func(c *gcp.Config) { c.KeyRing = "../" + ring },
		"plain endpoint": func(c *gcp.Config) { c.Endpoint = "http://kms.example" },
		"too short":      func(c *gcp.Config) { c.Recovery = time.Hour },
		"too long":       func(c *gcp.Config) { c.Recovery = 121 * 24 * time.Hour },
	} {
		c := s.config()
		alter(&c)
		if _, err := gcp.Open(c); !errors.Is(err, gcp.ErrConfig) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
