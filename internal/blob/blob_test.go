package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/testenv/s3"
)

func TestProbe(t *testing.T) {
	server := s3.Start(t)
	b := server.Bucket(t)
	c, err := b.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !c.ObjectLock {
		t.Error("object lock was asked for and isn't reported")
	}
	if err := b.Ensure(t.Context()); err != nil {
		t.Errorf("ensure again: %v", err)
	}

	missing := server.Config
	missing.Bucket = "nosuch"
	tests := []struct {
		name   string
		change func(*blob.Config)
		want   string
	}{
		{"no bucket", func(*blob.Config) {}, "versioning"},
		{"wrong secret", func(c *blob.Config) { c.SecretKey = "wrong" }, "versioning"},
		{"unknown CA", func(c *blob.Config) { c.CAFile = "" }, "versioning"},
		{"plain HTTP", func(c *blob.Config) { c.Endpoint = strings.Replace(c.Endpoint, "https", "http", 1) }, "https"},
		{"nobody there", func(c *blob.Config) { c.Endpoint = "https://127.0.0.1:1" }, "versioning"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := missing
			tt.change(&c)
			b, err := blob.New(c)
			if err == nil {
				_, err = b.Probe(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %s", err, tt.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	b := s3.Start(t).Bucket(t)
	for _, size := range []int{0, 1, 256<<10 + 1, 17<<20 + 5} {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		key := "obj_" + rand.Text()
		if err := b.Put(t.Context(), key, iotest.OneByteReader(bytes.NewReader(content[:min(size, 10)]))); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), key, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		r := b.Open(t.Context(), key, int64(size))
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
		if size > 1000 {
			if _, err := r.Seek(-999, io.SeekEnd); err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(r); err != nil || !bytes.Equal(got, content[size-999:]) {
				t.Errorf("the last 999 bytes came back as %d: %v", len(got), err)
			}
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(b.Open(t.Context(), key, int64(size))); size > 0 && errs.KindOf(err) != errs.NotFound {
			t.Errorf("after delete: got %v, want NOT_FOUND", err)
		}
	}
}

// No bytes of an upload that failed may stay behind, not even in parts.
func TestPutFails(t *testing.T) {
	server := s3.Start(t)
	b := server.Bucket(t)
	marker := rand.Text()
	big := io.MultiReader(strings.NewReader(marker), io.LimitReader(rand.Reader, 20<<20))
	failed := errors.New("the source broke")
	for name, cause := range map[string]error{"error": failed, "truncated": io.ErrUnexpectedEOF} {
		t.Run(name, func(t *testing.T) {
			key := "obj_" + rand.Text()
			err := b.Put(t.Context(), key, io.MultiReader(big, iotest.ErrReader(cause)))
			if !errors.Is(err, cause) {
				t.Errorf("got %v, want %v", err, cause)
			}
			if found := server.Contains(t, marker); len(found) > 0 {
				t.Errorf("parts are left: %v", found)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stop := io.MultiReader(strings.NewReader(marker), io.LimitReader(rand.Reader, 20<<20), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, nil
		}), io.LimitReader(rand.Reader, 40<<20))
		if err := b.Put(ctx, "obj_"+rand.Text(), stop); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if found := server.Contains(t, marker); len(found) > 0 {
			t.Errorf("parts are left: %v", found)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) {
	if n, err := f(p); n > 0 || err != nil {
		return n, err
	}
	return 0, io.EOF
}

func TestDeletePrefix(t *testing.T) {
	server := s3.Start(t)
	b := server.Bucket(t)
	marker := rand.Text()
	for _, key := range []string{"exp_a.1", "exp_a.2", "exp_a.2", "exp_b.1"} {
		if err := b.Put(t.Context(), key, strings.NewReader(marker)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.DeletePrefix(t.Context(), ""); err == nil {
		t.Error("an empty prefix was taken")
	}
	if err := b.DeletePrefix(t.Context(), "exp_a"); err != nil {
		t.Fatal(err)
	}
	if found := server.Contains(t, marker); len(found) != 1 {
		t.Errorf("got %v, want exp_b.1 alone", found)
	}
}
