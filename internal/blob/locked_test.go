package blob_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/testenv/s3"
)

func TestPutLocked(t *testing.T) {
	b := s3.Start(t).Bucket(t)
	first, content := "lock_"+rand.Text(), []byte("what was published")
	until := time.Now().Add(time.Hour)
	if err := b.PutLocked(t.Context(), first, content, until); err != nil {
		t.Fatal(err)
	}
	if err := b.PutLocked(t.Context(), first, []byte("another"), until); !errors.Is(err, blob.ErrExists) {
		t.Errorf("written twice: %v", err)
	}
	if err := b.Delete(t.Context(), first); err == nil {
		t.Error("a locked object was removed")
	}
	second := "lock_" + rand.Text()
	if err := b.PutLocked(t.Context(), second, content, until); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for key, err := range b.Keys(t.Context(), "lock_", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	if len(keys) != 2 || !keys[second] {
		t.Errorf("listed %v", keys)
	}
	for key, err := range b.Keys(t.Context(), "lock_", max(first, second)) {
		t.Errorf("behind the last key: %s, %v", key, err)
	}
	got, err := b.Get(t.Context(), second, 1<<10)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.Get(t.Context(), second, 3); err == nil {
		t.Error("more than the limit was read")
	}
	if _, err := b.Get(t.Context(), "lock_nosuch", 1<<10); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a missing object: %v", err)
	}
}
