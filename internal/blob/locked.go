package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/vogter/vogter/internal/errs"
)

// ErrExists reports an object that is there already, under a key that is written once.
var ErrExists = errs.New(errs.Conflict, "there is an object under this key already")

// PutLocked stores a small object under a key that has none, and locks it until
// a date: nobody, not even the account's owner, can remove or replace that
// version before (object lock in mode COMPLIANCE). It fails with ErrExists when
// the key is taken, and then has changed nothing.
func (b *Bucket) PutLocked(ctx context.Context, key string, content []byte, until time.Time) error {
	sum := sha256.Sum256(content)
	opts := minio.PutObjectOptions{
		ContentType: "application/octet-stream", Mode: minio.Compliance, RetainUntilDate: until.UTC().Truncate(time.Second),
		// Storages demand a checksum of what they lock. The client sends it as it is
		// when it stands here under the canonical name of the header.
		UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])},
	}
	opts.SetMatchETagExcept("*")
	_, err := b.client.PutObject(ctx, b.name, key, bytes.NewReader(content), int64(len(content)), opts)
	if err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
		return ErrExists.Because(err)
	}
	if err != nil {
		return fmt.Errorf("put locked object %s: %w", key, translate(ctx, err))
	}
	return nil
}

// Get returns a small object whole: at most limit bytes. It fails with
// ErrNotFound when there is none.
func (b *Bucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	o, err := b.client.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("get object %s: %w", key, translate(ctx, err))
	}
	defer o.Close() // it was read whole or failed already
	content, err := io.ReadAll(io.LimitReader(o, limit+1))
	if err != nil {
		return nil, fmt.Errorf("get object %s: %w", key, translate(ctx, err))
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("get object %s: larger than %d bytes", key, limit)
	}
	return content, nil
}

// Keys visits the keys that begin with prefix and come behind after, in order.
func (b *Bucket) Keys(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		list := minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, Recursive: true}
		for o := range b.client.ListObjectsIter(ctx, b.name, list) {
			if o.Err != nil {
				yield("", fmt.Errorf("list objects %s: %w", prefix, translate(ctx, o.Err)))
				return
			}
			if !yield(o.Key, nil) {
				return
			}
		}
	}
}
