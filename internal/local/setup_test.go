package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func newTestSetup(t *testing.T, out *bytes.Buffer) *setup {
	t.Helper()
	opts, err := Options{Dir: t.TempDir(), Out: out, Now: time.Now}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{console: &console{out: out, now: time.Now}, spawn: newSpawner(), children: map[string]*process{}}
	b, err := newSetup(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestRedisStandIn(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // neither redis-server nor apt-get
	var out bytes.Buffer
	b := newTestSetup(t, &out)
	b.secrets.Redis = "a password"
	if err := b.planRedis(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "redis-server is not installed: install the package redis-server; an in-process stand-in") {
		t.Errorf("no notice: %q", out.String())
	}
	options, err := redis.ParseURL(b.cfg.Redis.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Set(t.Context(), "k", "v", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := client.Get(t.Context(), "k").Err(); errors.Is(err, redis.Nil) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the key does not expire")
		}
	}
	stranger := redis.NewClient(&redis.Options{Addr: options.Addr})
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil {
		t.Error("it answers without a password")
	}
}

func TestSocketsOfALongFolder(t *testing.T) {
	var out bytes.Buffer
	for _, tt := range []struct {
		name   string
		length int
		inside bool
	}{{"short", 20, true}, {"long", 120, false}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newTestSetup(t, &out)
			base, err := os.MkdirTemp("", "v") //nolint:usetesting // t.TempDir holds the name of the test
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(base) })
			b.opts.Dir = filepath.Join(base, strings.Repeat("d", tt.length))
			if err := b.takeFolder(); err != nil {
				t.Fatal(err)
			}
			if inside := strings.HasPrefix(b.sockets, b.opts.Dir); inside != tt.inside {
				t.Errorf("sockets are in %s", b.sockets)
			}
			info, err := os.Stat(b.sockets)
			if err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			l, err := net.Listen("unix", filepath.Join(b.sockets, "redis.sock"))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			sockets := b.sockets
			if err := b.stack.stop(); err != nil {
				t.Fatal(err)
			}
			b.stack.stops, b.stack.spawn = nil, newSpawner()
			if _, err := os.Stat(sockets); !tt.inside && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder of sockets stays: %v", err)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	first, err := loadCertificates(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(first.CA)
	if err != nil {
		t.Fatal(err)
	}
	second, err := loadCertificates(dir, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(second.CA)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ca, again) {
		t.Error("the second start made another CA")
	}
	if _, err := loadCertificates(dir, now.Add(caLife)); err == nil || !strings.Contains(err.Error(), "the local CA expires on") {
		t.Errorf("an old CA: %v", err)
	}

	pair, err := tls.LoadX509KeyPair(second.Cert, second.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.Serve(l) //nolint:errcheck // ends with the test
	defer server.Close()
	pool, err := certPool(second.CA)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host string
		ok   bool
	}{{"127.0.0.1", true}, {"localhost", true}, {"s3.example", false}} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: tt.host}}).DialContext(t.Context(), "tcp", l.Addr().String())
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.host, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	first, err := loadSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.KratosCipher) != 32 || len(first.S3AccessKey) != 20 || len(first.KratosCookie) < 32 {
		t.Error("a secret has the wrong length")
	}
	second, err := loadSecrets(path)
	if err != nil || second != first {
		t.Errorf("the second start has other secrets, %v", err)
	}
	other, err := loadSecrets(filepath.Join(t.TempDir(), "secrets.json"))
	if err != nil || other.S3SecretKey == first.S3SecretKey {
		t.Errorf("two folders share a secret, %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(path); err == nil {
		t.Error("a torn file is taken")
	}
}

func TestProgramKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func(p program) string {
		t.Helper()
		k, err := p.key(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if _, err := kratosProgram().key(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a module: %v", err)
	}
	write("go.mod", "module a\n")
	write("go.sum", "")
	write("main.go", "package main\n")
	p := kratosProgram()
	base := key(p)
	if key(p) != base {
		t.Error("the same sources have two keys")
	}
	p.tags = ""
	if key(p) == base {
		t.Error("tags don't count")
	}
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		before := key(kratosProgram())
		write(name, "// changed\n")
		if key(kratosProgram()) == before {
			t.Errorf("%s doesn't count", name)
		}
	}
}

func TestFindSource(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "deploy", "local", "kratos"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "deploy", "local", "kratos", "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(root, "deploy", "local"))
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"": filepath.Dir(filepath.Dir(here)), root: root, here: "", "/": ""} {
		got, err := findSource(given)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("findSource(%q) = %q, %v; want %q", given, got, err, want)
		}
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock: %v", err)
	}
	unlock()
	again, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
