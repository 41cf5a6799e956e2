// Package orytest starts Ory Kratos, the identity server, and Ory Hydra, the
// authorization server, for tests: the real ones, each in a process and with a
// database of its own, Kratos' mail caught by a sink.
package orytest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/ory"
)

const readyTimeout = 60 * time.Second

// Server is a running Kratos.
type Server struct {
	PublicURL string
	AdminURL  string
	Client    *ory.Client
	Mail      *mailsink.Sink

	process *os.Process
}

// Start starts Kratos, which is built first where it isn't yet, and stops it
// when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	source := repository(tb)
	binary, err := local.IdentityServer(tb.Context(), source, tb.Output(), now)
	if err != nil {
		tb.Fatalf("build kratos: %v", err)
	}
	s := &Server{}
	smtp := s.catchMail(tb)
	public, admin := freePort(tb), freePort(tb)
	s.PublicURL, s.AdminURL = "http://127.0.0.1:"+strconv.Itoa(public), "http://127.0.0.1:"+strconv.Itoa(admin)
	folder := filepath.Join(source, "deploy", "local", "kratos")
	settings := filepath.Join(tb.TempDir(), "kratos.yml")
	fill(tb, filepath.Join(folder, "kratos.yml.tmpl"), settings, map[string]any{
		"DSN": "memory", "PublicURL": s.PublicURL + "/", "PublicPort": public, "AdminURL": s.AdminURL + "/", "AdminPort": admin,
		"AppURL": "http://127.0.0.1/", "CookieSecret": "cookie-secret-of-a-test-0123456789",
		"CipherSecret": "cipher-secret-of-a-test-01234567", "SchemaURL": "file://" + filepath.Join(folder, "identity.schema.json"),
		"SMTP": "smtp://" + smtp + "/?disable_starttls=true", "MailFrom": "no-reply@example.test",
	})
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), //nolint:gosec // a program that was built here
		binary, "serve", "-c", settings, "--dev", "--watch-courier", "--sqa-opt-out")
	cmd.Env = append(os.Environ(), "GOGC=20")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start kratos: %v", err)
	}
	s.process = cmd.Process
	tb.Cleanup(func() {
		s.Kill()
		_ = cmd.Wait()
	})
	s.Client = ory.New(s.PublicURL, s.AdminURL)
	await(tb, "kratos", s.Client.Ready)
	return s
}

// repository is the root of the sources.
func repository(tb testing.TB) string {
	tb.Helper()
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("find the repository")
	}
	return filepath.Join(filepath.Dir(self), "..", "..", "..")
}

// Kill ends the server at once, as a crash does.
func (s *Server) Kill() { _ = s.process.Kill() }

// Revoke ends a session on the server, as an administrator does.
func (s *Server) Revoke(ctx context.Context, tb testing.TB, session string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.AdminURL+"/admin/sessions/"+session, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		tb.Fatal(err)
	}
	if res.StatusCode != http.StatusNoContent {
		tb.Fatalf("revoke session: status %d", res.StatusCode)
	}
}

func (s *Server) catchMail(tb testing.TB) (address string) {
	tb.Helper()
	l := listen(tb)
	s.Mail = mailsink.New(slog.New(slog.DiscardHandler), now)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Mail.ServeSMTP(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("catch mail: %v", err)
		}
	})
	return l.Addr().String()
}

func fill(tb testing.TB, from, to string, values map[string]any) {
	tb.Helper()
	t, err := template.New(filepath.Base(from)).Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		},
	}).ParseFiles(from)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // in the test's own folder
	if err != nil {
		tb.Fatal(err)
	}
	if err := t.Execute(f, values); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// now is the real clock, on which tests with real parts run.
func now() time.Time { return time.Now() } //nolint:forbidigo // nobody injects one into a test

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l := listen(tb)
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		tb.Fatal("not a TCP address")
	}
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	return address.Port
}
