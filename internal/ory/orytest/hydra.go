package orytest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/oauth"
	"github.com/vogter/vogter/internal/ory"
)

// HydraServer is a running Hydra.
type HydraServer struct {
	PublicURL string
	AdminURL  string
	Client    *ory.Hydra

	process *os.Process
}

// StartHydra starts Ory Hydra, the authorization server, which is built first
// where it isn't yet, and stops it when the test ends.
func StartHydra(tb testing.TB) *HydraServer {
	tb.Helper()
	source := repository(tb)
	binary, err := local.AuthorizationServer(tb.Context(), source, tb.Output(), now)
	if err != nil {
		tb.Fatalf("build hydra: %v", err)
	}
	public, admin := freePort(tb), freePort(tb)
	s := &HydraServer{PublicURL: "http://127.0.0.1:" + strconv.Itoa(public), AdminURL: "http://127.0.0.1:" + strconv.Itoa(admin)}
	settings := filepath.Join(tb.TempDir(), "hydra.yml")
	fill(tb, filepath.Join(source, "deploy", "local", "hydra", "hydra.yml.tmpl"), settings, map[string]any{
		"DSN": "memory", "PublicURL": s.PublicURL, "PublicPort": public, "AdminURL": s.AdminURL, "AdminPort": admin,
		"SystemSecret": "system-secret-of-a-test-0123456789", "CookieSecret": "cookie-secret-of-a-test-0123456789",
	})
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), //nolint:gosec // a program that was built here
		binary, "serve", "all", "-c", settings, "--dev", "--sqa-opt-out")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start hydra: %v", err)
	}
	s.process = cmd.Process
	tb.Cleanup(func() {
		s.Kill()
		_ = cmd.Wait()
	})
	s.Client = ory.NewHydra(s.PublicURL, s.AdminURL)
	await(tb, "hydra", func(ctx context.Context) error {
		if err := s.Client.Ready(ctx); err != nil {
			return err
		}
		return local.SigningKeys(ctx, s.AdminURL)
	})
	return s
}

// Kill ends the server at once, as a crash does.
func (s *HydraServer) Kill() { _ = s.process.Kill() }

// Token gets an access token for the audience, as a client does; "" when it is refused.
func Token(tb testing.TB, c *oauth.Credentials, audience string) string {
	tb.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.ClientID, c.ClientSecret.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || (res.StatusCode == http.StatusOK) != (answer.Token != "") {
		tb.Fatalf("get token: status %d, %v", res.StatusCode, err)
	}
	return answer.Token
}

// await waits until a server is ready.
func await(tb testing.TB, name string, ready func(context.Context) error) {
	tb.Helper()
	for deadline := now().Add(readyTimeout); ; time.Sleep(50 * time.Millisecond) {
		err := ready(tb.Context())
		if err == nil {
			return
		}
		if now().After(deadline) {
			tb.Fatalf("%s isn't ready: %v", name, err)
		}
	}
}
