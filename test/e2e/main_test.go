// Package e2e_test tests the whole platform as `vogter local` starts it, through
// its public interfaces only: HTTP, GraphQL, S3, and the bytes on disk.
//
// All tests share one stack with the demo's data, which the first one starts.
// Each makes what it needs, so that any can run alone; in the order of the files
// the scan for plaintext comes after most others, and sees what they left.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/demo"
	"github.com/vogter/vogter/internal/local"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vogter-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p := &thePlatform
	p.dir = dir
	code := m.Run()
	if p.stack != nil {
		err = p.stack.Stop()
	}
	if err == nil && code == 0 {
		err = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "data and logs are kept in", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// platform is the stack of this test program, and the program that it is made of.
type platform struct {
	dir    string
	binary string
	stack  *local.Stack
	out    bytes.Buffer // what the supervisor says
	failed error

	mu      sync.Mutex
	told    []string         // of planted: what letters tell the person
	planted []string         // values that must not be found anywhere
	scans   map[string]int64 // full scans that the tests themselves have made, by part
}

var thePlatform platform

// running returns the platform, started by the first test that asks.
func running(t *testing.T) *platform {
	t.Helper()
	p := &thePlatform
	if p.stack == nil && p.failed == nil {
		p.failed = p.build(t.Context())
		if p.failed == nil {
			p.failed = p.start(t)
		}
	}
	if p.failed != nil {
		t.Fatal(p.failed)
	}
	return p
}

func (p *platform) build(ctx context.Context) error {
	p.binary = filepath.Join(p.dir, "vogter")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", p.binary, "github.com/vogter/vogter/cmd/vogter").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build vogter: %w: %s", err, out)
	}
	return nil
}

func (p *platform) start(t *testing.T) (err error) {
	t.Helper()
	began := time.Now()
	p.out.Reset()
	p.stack, err = local.Start(t.Context(), local.Options{
		Dir: filepath.Join(p.dir, "local"), Binary: p.binary, Out: &p.out, Now: time.Now,
		Seed: demo.Seed(time.Now, slog.New(slog.DiscardHandler)),
		// With VOGTER_WAF_SCOPE=all in the environment of the tests every call is
		// inspected in full: then only TestBadInput may be refused, whose values are
		// meant to be taken for an attack.
		// The tests are one network, and call more often than any.
		Environ: []string{
			"VOGTER_WAF=block", "VOGTER_WAF_SCOPE=" + cmp.Or(os.Getenv("VOGTER_WAF_SCOPE"), "public"),
			"VOGTER_LIMITS=network=1000000000/1m,anonymous=1000000/1m,requests=1000000/1m,points=1000000000/1m,exports=100000/1m",
		},
	})
	t.Logf("start: %.1f s\n%s", time.Since(began).Seconds(), strings.TrimSpace(strings.Split(p.out.String(), "\n\n")[0]))
	p.scans = map[string]int64{}
	return err
}

// The demo's tenants, in the order of ready.json.
const (
	first = iota
	second
	provider
)

// tenant is what ready.json, the file, says of a tenant.
func (p *platform) tenant(t *testing.T, n int) local.Tenant {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.stack.Env().Dir, "ready.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ready local.Ready
	if err := json.Unmarshal(b, &ready); err != nil {
		t.Fatal(err)
	}
	if len(ready.Tenants) != 3 {
		t.Fatalf("the demo has %d tenants", len(ready.Tenants))
	}
	return ready.Tenants[n]
}

// machine is a client with the tenant's API key.
func (p *platform) machine(t *testing.T, n int) client {
	t.Helper()
	return client{base: p.stack.Env().API, token: p.tenant(t, n).APIKey}
}

// member signs the member with this role in and is a client with the session.
func (p *platform) member(t *testing.T, n int, role string) client {
	t.Helper()
	of := p.tenant(t, n)
	for _, m := range of.Members {
		if m.Role != role {
			continue
		}
		token := signIn(t, p.stack.Env().Config.Kratos.PublicURL, m.Email, m.Password)
		return client{base: p.stack.Env().API, token: token}
	}
	t.Fatalf("%s has no %s", of.Name, role)
	return client{}
}

// plant notes values that are personal data and must not be found anywhere.
func (p *platform) plant(values ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planted = append(p.planted, values...)
}

// plantTold plants values that a letter tells the person whose they are: they are
// in that person's mail, and nowhere else.
func (p *platform) plantTold(values ...string) {
	p.plant(values...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, values...)
}

// vogter runs the program as a customer would.
func (p *platform) vogter(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, environ...)
	out, err := cmd.CombinedOutput()
	if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err
}

// uncancelled is a context that outlives the test, for its cleanup.
func uncancelled(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}

// eventually waits until done holds.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s still not: %s", within, what)
		}
	}
}

// write writes a file.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
