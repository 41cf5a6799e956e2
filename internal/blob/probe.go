package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// Capabilities are what the bucket can do beyond what Probe demands.
type Capabilities struct {
	ObjectLock bool // objects can be locked until a date
}

// Ensure makes the bucket, with versions and object lock, unless it exists: for
// a server of one's own machine. Elsewhere the operator makes it.
func (b *Bucket) Ensure(ctx context.Context) error {
	exists, err := b.client.BucketExists(ctx, b.name)
	if err != nil {
		return fmt.Errorf("look for bucket: %w", translate(ctx, err))
	}
	if !exists {
		// Object lock brings versions.
		err = b.client.MakeBucket(ctx, b.name, minio.MakeBucketOptions{Region: b.region, ObjectLocking: true})
		if err != nil && minio.ToErrorResponse(err).Code != minio.BucketAlreadyOwnedByYou {
			return fmt.Errorf("make bucket: %w", translate(ctx, err))
		}
	}
	return nil
}

// Ping returns nil when the bucket can be reached.
func (b *Bucket) Ping(ctx context.Context) error {
	exists, err := b.client.BucketExists(ctx, b.name)
	if err != nil {
		return fmt.Errorf("look for bucket: %w", translate(ctx, err))
	}
	if !exists {
		return errors.New("look for bucket: there is none of this name")
	}
	return nil
}

// Probe tries what the platform relies on: versions are kept, If-None-Match is
// obeyed, ranges are exact, unfinished uploads are listed and aborted, and every
// version can be removed. The start fails when it does.
func (b *Bucket) Probe(ctx context.Context) (c Capabilities, err error) {
	versioning, err := b.client.GetBucketVersioning(ctx, b.name)
	if err != nil {
		return c, fmt.Errorf("probe object storage: ask for versioning: %w", translate(ctx, err))
	}
	if !versioning.Enabled() {
		return c, errors.New("probe object storage: the bucket keeps no versions: enable versioning on it")
	}
	lock, _, _, _, err := b.client.GetObjectLockConfig(ctx, b.name)
	switch {
	case err == nil:
		c.ObjectLock = lock == "Enabled"
	case minio.ToErrorResponse(err).Code != "ObjectLockConfigurationNotFoundError":
		return c, fmt.Errorf("probe object storage: ask for object lock: %w", translate(ctx, err))
	}
	key := "probe_" + rand.Text()
	defer func() {
		if derr := b.Delete(ctx, key); derr != nil {
			err = errors.Join(err, fmt.Errorf("probe object storage: remove every version: %w", derr))
		}
	}()
	return c, b.probe(ctx, key)
}

func (b *Bucket) probe(ctx context.Context, key string) error {
	content := []byte(rand.Text())
	put := func(once bool) error {
		var opts minio.PutObjectOptions
		if once {
			opts.SetMatchETagExcept("*")
		}
		_, err := b.client.PutObject(ctx, b.name, key, bytes.NewReader(content), int64(len(content)), opts)
		return err
	}
	if err := put(true); err != nil {
		return fmt.Errorf("probe object storage: write: %w", translate(ctx, err))
	}
	switch err := put(true); {
	case err == nil:
		return errors.New("probe object storage: the server ignores If-None-Match")
	case minio.ToErrorResponse(err).StatusCode != http.StatusPreconditionFailed:
		return fmt.Errorf("probe object storage: write with If-None-Match: %w", translate(ctx, err))
	}
	if err := put(false); err != nil {
		return fmt.Errorf("probe object storage: write again: %w", translate(ctx, err))
	}
	n, err := b.versions(ctx, key, func(k string) bool { return k == key }, func(minio.ObjectInfo) error { return nil })
	if err != nil {
		return fmt.Errorf("probe object storage: %w", err)
	}
	if n != 2 { // as many as were written
		return fmt.Errorf("probe object storage: the server lists %d versions of an object written twice", n)
	}
	r := b.Open(ctx, key, int64(len(content)))
	defer r.Close()
	if _, err := r.Seek(3, io.SeekStart); err != nil {
		return fmt.Errorf("probe object storage: %w", err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("probe object storage: read a range: %w", err)
	}
	if !bytes.Equal(got, content[3:]) {
		return errors.New("probe object storage: the server answers a range with other bytes")
	}
	core := minio.Core{Client: b.client}
	if _, err := core.NewMultipartUpload(ctx, b.name, key, minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("probe object storage: begin an upload: %w", translate(ctx, err))
	}
	if err := b.Delete(ctx, key); err != nil {
		return fmt.Errorf("probe object storage: remove every version: %w", err)
	}
	left := 0
	for upload := range b.client.ListIncompleteUploads(ctx, b.name, key, true) {
		if upload.Err != nil {
			return fmt.Errorf("probe object storage: list uploads: %w", translate(ctx, upload.Err))
		}
		left++
	}
	if left > 0 {
		return errors.New("probe object storage: an aborted upload is still listed")
	}
	return nil
}
