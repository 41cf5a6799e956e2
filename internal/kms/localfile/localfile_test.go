package localfile_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/kmstest"
	"github.com/vogter/vogter/internal/kms/localfile"
)

func now() time.Time { return time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC) }

func open(t *testing.T, path string) *localfile.File {
	t.Helper()
	f, err := localfile.Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func create(t *testing.T, f *localfile.File, name string) string {
	t.Helper()
	ref, err := f.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestContract(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masters.json")
	kmstest.Run(t, func(t *testing.T) kms.Wrapper { t.Helper(); return open(t, path) })
}

func TestWrap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masters.json")
	f := open(t, path)
	a, b := create(t, f, "epoch-1"), create(t, f, "epoch-2")
	secret := []byte("thirty-two bytes of secret stuff")
	wrapped, err := f.Wrap(t.Context(), a, secret, []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if again := create(t, open(t, path), "epoch-1"); again != a {
		t.Errorf("created again as %s", again)
	}
	got, err := open(t, path).Unwrap(t.Context(), a, wrapped, []byte("aad")) // another process
	if err != nil || !bytes.Equal(got, secret) {
		t.Errorf("unwrap: %v", err)
	}
	for name, tt := range map[string]struct {
		ref          string
		wrapped, aad []byte
		want         error
	}{
		"another key":  {b, wrapped, []byte("aad"), kms.ErrAuth},
		"another aad":  {a, wrapped, []byte("aae"), kms.ErrAuth},
		"cut":          {a, wrapped[:len(wrapped)-1], []byte("aad"), kms.ErrAuth},
		"altered":      {a, append([]byte{wrapped[0] ^ 1}, wrapped[1:]...), []byte("aad"), kms.ErrAuth},
		"empty":        {a, nil, []byte("aad"), kms.ErrAuth},
		"unknown key":  {"epoch-3", wrapped, []byte("aad"), kms.ErrNoKey},
		"no reference": {"", wrapped, []byte("aad"), kms.ErrNoKey},
	} {
		if _, err := f.Unwrap(t.Context(), tt.ref, tt.wrapped, tt.aad); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := f.Wrap(t.Context(), "epoch-3", secret, nil); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("wrap under an unknown key: %v", err)
	}
	if _, err := f.Wrap(t.Context(), a, make([]byte, 4<<10+1), nil); err == nil {
		t.Error("more than 4 KiB wrapped")
	}
	if !f.Development() {
		t.Error("passes for fit for production")
	}
}

func TestDestroy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masters.json")
	f := open(t, path)
	a, b := create(t, f, "epoch-1"), create(t, f, "epoch-2")
	wrapped, err := f.Wrap(t.Context(), a, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := open(t, path).Destroy(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Unwrap(t.Context(), a, wrapped, nil); !errors.Is(err, kms.ErrDestroyed) {
		t.Errorf("unwrap: %v", err)
	}
	if _, err := f.Wrap(t.Context(), a, []byte("x"), nil); !errors.Is(err, kms.ErrDestroyed) {
		t.Errorf("wrap: %v", err)
	}
	if _, err := f.Create(t.Context(), "epoch-1"); !errors.Is(err, kms.ErrDestroyed) {
		t.Errorf("create anew: %v", err)
	}
	if _, err := f.Wrap(t.Context(), b, []byte("x"), nil); err != nil {
		t.Errorf("the other key is lost: %v", err)
	}
	if err := f.Destroy(t.Context(), "epoch-9"); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("destroy an unknown key: %v", err)
	}
}

func TestNames(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "masters.json"))
	for _, name := range []string{"", "Epoch", "a/b", "a b", "æ", "../x"} {
		if _, err := f.Create(t.Context(), name); err == nil {
			t.Errorf("%q accepted", name)
		}
	}
}

func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masters.json")
	f := open(t, path)
	ref := create(t, f, "epoch-1")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Wrap(t.Context(), ref, []byte("x"), nil); !errors.Is(err, localfile.ErrMode) {
			t.Errorf("mode %o: wrap: %v", mode, err)
		}
		if _, err := f.Create(t.Context(), "epoch-2"); !errors.Is(err, localfile.ErrMode) {
			t.Errorf("mode %o: create: %v", mode, err)
		}
		if _, err := localfile.Open(path, now); !errors.Is(err, localfile.ErrMode) {
			t.Errorf("mode %o: open: %v", mode, err)
		}
	}
}

func TestUnusableFile(t *testing.T) {
	dir := t.TempDir()
	secret := rand.Text()
	for name, content := range map[string]string{
		"empty": "", "not JSON": secret, "another format": `{"format":"vogter-kms-2","keys":{}}`,
		"no keys": `{"format":"vogter-kms-1","keys":null}`, "short key": `{"format":"vogter-kms-1","keys":{"a":{"key":"AAAA"}}}`,
		"null key": `{"format":"vogter-kms-1","keys":{"a":null}}`, "bad base64": `{"format":"vogter-kms-1","keys":{"a":{"key":"` + secret + `!"}}}`,
		"unknown member": `{"format":"vogter-kms-1","keys":{},"x":1}`,
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := localfile.Open(path, now)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the file's content", name)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := localfile.Open(filepath.Join(dir, "link"), now); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("a link: %v", err)
	}
	if _, err := localfile.Open(dir, now); err == nil {
		t.Error("a folder is accepted")
	}
	f := open(t, filepath.Join(dir, "no-such-folder", "masters.json"))
	_, err := f.Create(t.Context(), "epoch-1")
	if errs.KindOf(err) != errs.Unavailable {
		t.Errorf("create in a folder that isn't there: %v", err)
	}
}

func TestConcurrentProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "masters.json")
	names := []string{"epoch-1", "epoch-2", "epoch-3", "epoch-4"}
	var (
		wg      sync.WaitGroup
		wrapped [32][]byte
	)
	for i := range wrapped {
		f := open(t, path)
		wg.Go(func() {
			ref, err := f.Create(t.Context(), names[i%len(names)])
			if err == nil {
				wrapped[i], err = f.Wrap(t.Context(), ref, []byte{byte(i)}, nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f := open(t, path)
	for i := range wrapped {
		if got, err := f.Unwrap(t.Context(), names[i%len(names)], wrapped[i], nil); err != nil || got[0] != byte(i) {
			t.Errorf("what %d wrapped is lost: %v", i, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 2 { // the file and its lock
		t.Errorf("%d files are left, %v", len(left), err)
	}
}
