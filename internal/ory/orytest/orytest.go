// Package orytest starts Ory Kratos, the identity server, and Ory Hydra, the
// authorization server, for tests: the real ones, each in a process and with a
// database of its own, Kratos' mail caught by a sink.
package orytest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/vogter/vogter/internal/local"
	"github.com/vogter/vogter/internal/local/mailsink"
	"github.com/vogter/vogter/internal/ory"
)

const (
	readyTimeout = 60 * time.Second
	mailTimeout  = 30 * time.Second
)

// Server is a running Kratos.
type Server struct {
	PublicURL string
	AdminURL  string
	Client    *ory.Client
	Mail      *mailsink.Sink

	process *os.Process
}

// Start starts Kratos, which is built first where it isn't yet, with the
// configuration of one machine, and stops it when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{}
	smtp := s.catchMail(tb)
	public, admin := s.addresses(tb)
	folder := filepath.Join(repository(tb), "deploy", "local", "kratos")
	settings := filepath.Join(tb.TempDir(), "kratos.yml")
	fill(tb, filepath.Join(folder, "kratos.yml.tmpl"), settings, map[string]any{
		"DSN": "memory", "PublicURL": s.PublicURL + "/", "PublicPort": public, "AdminURL": s.AdminURL + "/", "AdminPort": admin,
		"AppURL": "http://127.0.0.1/", "CookieSecret": "cookie-secret-of-a-test-0123456789",
		"CipherSecret": "cipher-secret-of-a-test-01234567", "SchemaURL": "file://" + filepath.Join(folder, "identity.schema.json"),
		"SMTP": "smtp://" + smtp + "/?disable_starttls=true", "MailFrom": "no-reply@example.test",
	})
	s.run(tb, nil, "-c", settings, "--dev")
	return s
}

// StartProduction is Start with the reference configuration of production, and
// further settings in files and the environment.
func StartProduction(tb testing.TB, environ []string, files ...string) *Server {
	tb.Helper()
	s := &Server{}
	smtp := s.catchMail(tb)
	public, admin := s.addresses(tb)
	deploy := filepath.Join(repository(tb), "deploy")
	args := []string{"-c", filepath.Join(deploy, "kratos", "kratos.yml")}
	for _, f := range files {
		args = append(args, "-c", f)
	}
	s.run(tb, append([]string{
		"DSN=memory", "SERVE_PUBLIC_BASE_URL=" + s.PublicURL + "/", "SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_ADMIN_HOST=127.0.0.1",
		"SERVE_PUBLIC_PORT=" + strconv.Itoa(public), "SERVE_ADMIN_PORT=" + strconv.Itoa(admin),
		"SELFSERVICE_DEFAULT_BROWSER_RETURN_URL=https://vogter.example/", "SELFSERVICE_ALLOWED_RETURN_URLS_0=https://vogter.example/",
		"SECRETS_COOKIE_0=cookie-secret-of-a-test-0123456789", "SECRETS_CIPHER_0=cipher-secret-of-a-test-01234567",
		"IDENTITY_SCHEMAS_0_ID=person",
		"IDENTITY_SCHEMAS_0_URL=file://" + filepath.Join(deploy, "local", "kratos", "identity.schema.json"),
		"COURIER_SMTP_CONNECTION_URI=smtp://" + smtp + "/?disable_starttls=true", "COURIER_SMTP_FROM_ADDRESS=no-reply@example.test",
	}, environ...), args...)
	return s
}

// repository is the repository.
func repository(tb testing.TB) string {
	tb.Helper()
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("find the repository")
	}
	return filepath.Join(filepath.Dir(self), "..", "..", "..")
}

func (s *Server) addresses(tb testing.TB) (public, admin int) {
	tb.Helper()
	public, admin = freePort(tb), freePort(tb)
	s.PublicURL, s.AdminURL = "http://127.0.0.1:"+strconv.Itoa(public), "http://127.0.0.1:"+strconv.Itoa(admin)
	return public, admin
}

// run starts the program and waits until it answers.
func (s *Server) run(tb testing.TB, environ []string, args ...string) {
	tb.Helper()
	binary, err := local.IdentityServer(tb.Context(), repository(tb), tb.Output(), now)
	if err != nil {
		tb.Fatalf("build kratos: %v", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), binary, //nolint:gosec // a program that was built here
		append([]string{"serve", "--watch-courier", "--sqa-opt-out"}, args...)...)
	cmd.Env = append(append(os.Environ(), "GOGC=20"), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start kratos: %v", err)
	}
	s.process = cmd.Process
	tb.Cleanup(func() {
		s.Kill()
		_ = cmd.Wait()
	})
	s.Client = ory.New(s.PublicURL, s.AdminURL)
	for deadline := now().Add(readyTimeout); ; time.Sleep(50 * time.Millisecond) {
		err := s.Client.Ready(tb.Context())
		if err == nil {
			return
		}
		if now().After(deadline) || syscall.Kill(s.process.Pid, 0) != nil {
			s.Kill()
			_ = cmd.Wait()
			tb.Fatalf("kratos isn't ready: %v: %s", err, said.String())
		}
	}
}

// Code waits for a mail to an address that isn't among the first n, and returns
// the one-time code in it.
func (s *Server) Code(tb testing.TB, address string, n int) string {
	tb.Helper()
	for deadline := now().Add(mailTimeout); now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, m := range s.Mail.Messages()[n:] {
			if code := regexp.MustCompile(`\b\d{6}\b`).FindString(m.Text); code != "" && slices.Contains(m.To, address) {
				return code
			}
		}
	}
	tb.Fatal("no code came by mail")
	return ""
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
