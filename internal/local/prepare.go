package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const progressEvery = 10 * time.Second

// program is a part that is built from a nested module under deploy/local.
type program struct {
	name  string // of the folder and the binary
	title string
	pkg   string
	tags  string
	cgo   bool
	takes string // the first time, on two cores
}

func kratosProgram() program {
	return program{
		name: "kratos", title: "Kratos", pkg: ".", tags: "sqlite,json1,sqlite_omit_load_extension", cgo: true,
		takes: "about 4 minutes",
	}
}

func hydraProgram() program {
	return program{
		name: "hydra", title: "Hydra", pkg: ".", tags: "sqlite,json1,sqlite_omit_load_extension", cgo: true,
		takes: "about 3 minutes",
	}
}

func versitygwProgram() program {
	return program{
		name: "versitygw", title: "versitygw", pkg: "github.com/versity/versitygw/cmd/versitygw",
		takes: "about 2 minutes",
	}
}

// Prepare builds the programs that every stack needs, where they aren't built
// yet, and says so on out: what `make test` runs first. The folder source is
// the root of the repository, found from the working directory when it is empty.
func Prepare(ctx context.Context, source string, out io.Writer, now func() time.Time) error {
	c := &console{out: out, now: now}
	source, err := findSource(source)
	if err != nil {
		return err
	}
	if err := install(ctx, c, "redis-server", "redis-server"); err != nil {
		c.say("%v; an in-process stand-in takes its place", err)
	}
	for _, p := range []program{versitygwProgram(), kratosProgram(), hydraProgram()} {
		if _, err := p.build(ctx, c, source); err != nil {
			return err
		}
	}
	return nil
}

// ObjectServer returns the path of versitygw, building it first where it isn't
// built yet: for tests that need object storage and nothing else.
func ObjectServer(ctx context.Context, source string, out io.Writer, now func() time.Time) (string, error) {
	return versitygwProgram().build(ctx, &console{out: out, now: now}, source)
}

// IdentityServer is ObjectServer for Kratos.
func IdentityServer(ctx context.Context, source string, out io.Writer, now func() time.Time) (string, error) {
	return kratosProgram().build(ctx, &console{out: out, now: now}, source)
}

// AuthorizationServer is ObjectServer for Hydra.
func AuthorizationServer(ctx context.Context, source string, out io.Writer, now func() time.Time) (string, error) {
	return hydraProgram().build(ctx, &console{out: out, now: now}, source)
}

// findSource is the root of the repository: given, or the nearest folder above
// the working directory that has the nested modules.
func findSource(given string) (string, error) {
	dir, err := filepath.Abs(given)
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "local", "kratos", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if given != "" || parent == dir {
			return "", errors.New("the folder deploy/local was not found: run inside a checkout of Vogter or name it with --source")
		}
		dir = parent
	}
}

// build returns the path of the program, built on first use. The name in the
// cache holds a hash of all that goes into it, so a changed version is built anew.
func (p program) build(ctx context.Context, c *console, source string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder for %s: %w", p.title, err)
	}
	cache = filepath.Join(cache, "vogter", "bin")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("make the cache folder for %s: %w", p.title, err)
	}
	dir := filepath.Join(source, "deploy", "local", p.name)
	key, err := p.key(dir)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, p.name+"-"+key)
	// One builder at a time: others wait for it and then find the binary.
	unlock, err := lockFile(ctx, binary+".lock")
	if err != nil {
		return "", fmt.Errorf("lock the build of %s: %w", p.title, err)
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return binary, err
	}
	if p.cgo {
		if err := install(ctx, c, "gcc", "gcc", "libc6-dev"); err != nil {
			return "", fmt.Errorf("building %s needs a C compiler: %w", p.title, err)
		}
	}
	c.say("building %s: %s the first time", p.title, p.takes)
	return binary, c.timed("built "+p.title, func() error {
		unfinished := binary + ".unfinished"
		args := []string{"build", "-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=" + p.tags, "-o", unfinished, p.pkg}
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", fmt.Sprintf("CGO_ENABLED=%d", btoi(p.cgo)))
		if err := watched(cmd, c, "building "+p.title); err != nil {
			return err
		}
		if err := os.Rename(unfinished, binary); err != nil {
			return fmt.Errorf("keep %s: %w", p.title, err)
		}
		return nil
	})
}

// key is a hash of the module, the build's settings and the toolchain.
func (p program) key(dir string) (string, error) {
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", fmt.Errorf("list the sources of %s: %w", p.title, err)
	}
	h := sha256.New()
	_, _ = fmt.Fprintln(h, p.pkg, p.tags, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, path := range append(sources, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")) {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the module of %s: %w", p.title, err)
		}
		_, _ = fmt.Fprintln(h, len(content))
		_, _ = h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// install gets a program from Debian's packages when it is absent and this
// process may install it.
func install(ctx context.Context, c *console, program string, packages ...string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("%s is not installed: install the package %s", program, packages[0])
	}
	return c.timed("installed "+strings.Join(packages, ", "), func() error {
		for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, packages...)} {
			cmd := exec.CommandContext(ctx, "apt-get", args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			if err := watched(cmd, c, "apt-get "+args[0]); err != nil {
				return err
			}
		}
		return nil
	})
}

// watched runs a command that takes long, saying now and then how far it is:
// the lines that it has printed, which are packages for a compiler. Its output
// is shown only when it fails.
func watched(cmd *exec.Cmd, c *console, what string) error {
	if _, err := exec.LookPath(cmd.Args[0]); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // compilers too
	cmd.WaitDelay = progressEvery
	var output lineCounter
	cmd.Stdout, cmd.Stderr = &output, &output
	began := c.now()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-finished:
				return
			case <-tick.C:
				c.say("%s: %d steps, %.0f s", what, output.lines.Load(), c.now().Sub(began).Seconds())
			}
		}
	}()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w; its output ends:\n%s", what, err, output.end())
	}
	return nil
}

// lineCounter keeps a command's output and counts its lines.
type lineCounter struct {
	output bytes.Buffer
	lines  atomic.Int64
}

func (l *lineCounter) Write(b []byte) (int, error) {
	l.lines.Add(int64(bytes.Count(b, []byte{'\n'})))
	return l.output.Write(b)
}

// end is the last of the output, once the command has ended.
func (l *lineCounter) end() string {
	const size = 4096
	b := l.output.Bytes()
	return string(bytes.TrimSpace(b[max(0, len(b)-size):]))
}

// lockFile takes the lock of a file, waiting for other processes that hold it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, err := tryLock(path)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

var errLocked = errors.New("another process holds the lock")

// tryLock takes the lock of a file, or fails with errLocked. Closing the file, or dying, frees it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, errors.Join(err, f.Close()))
	}
	return f, nil
}
