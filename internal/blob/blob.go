// Package blob keeps objects in a bucket that speaks S3, always over TLS. What
// it is given is sealed already; keys are flat and made of opaque ids.
//
// The bucket keeps versions, so that nothing is lost by an overwrite, and so
// removing an object here means removing every version of it, and looking again.
package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/vogter/vogter/internal/errs"
)

// Sentinels.
var (
	// ErrUnavailable: the object storage doesn't answer or refuses; the same call may succeed later.
	ErrUnavailable = errs.New(errs.Unavailable, "the object storage doesn't answer just now; try again")
	// ErrNotFound: there is no object under the key.
	ErrNotFound = errs.New(errs.NotFound, "no such object in storage")
)

const (
	// partSize is how much of a stream is held in memory while it is sent, in bytes.
	partSize = 16 << 20
	// smallSize is up to where a stream is sent in one request.
	smallSize = 1 << 20
	// attempts is how often a request to the storage is made before it has failed.
	attempts = 4
	// cleanupTimeout bounds removing what a failed or cancelled Put left behind.
	cleanupTimeout = 30 * time.Second
)

// Config says where the bucket is.
type Config struct {
	Endpoint  string // https://host[:port]
	Region    string
	Bucket    string
	AccessKey string
	SecretKey string
	CAFile    string // PEM of a private CA; empty: the system's
}

// Bucket is a bucket of an S3 server. It may be used concurrently.
type Bucket struct {
	client *minio.Client
	name   string
	region string
}

// New returns the bucket that c names. It sends nothing: see Probe.
func New(c Config) (*Bucket, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" || strings.Trim(endpoint.Path, "/") != "" {
		return nil, errors.New("open bucket: the endpoint must be https://host[:port]")
	}
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		return nil, fmt.Errorf("open bucket: prepare TLS: %w", err)
	}
	transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	if c.CAFile != "" {
		if transport.TLSClientConfig.RootCAs, err = certPool(c.CAFile); err != nil {
			return nil, fmt.Errorf("open bucket: %w", err)
		}
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""),
		Secure: true, Region: c.Region, Transport: transport, MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return &Bucket{client: client, name: c.Bucket, region: c.Region}, nil
}

func certPool(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path) //nolint:gosec // G304: the path is a setting of the operator
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("read the CA: no certificate in the file")
	}
	return pool, nil
}

// Put streams r, of unknown length, into the object of that key. It is stored
// whole or not at all: when r fails or ctx ends, nothing of it stays behind, and
// r's own error is returned. At most 16 MiB are held in memory.
func (b *Bucket) Put(ctx context.Context, key string, r io.Reader) error {
	src := &source{Reader: r}
	err := b.put(ctx, key, src)
	if err == nil && src.err == nil {
		return nil
	}
	// The client aborts on its own errors, but not with a context that has ended.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	cleanup := b.Delete(clean, key)
	if src.err != nil {
		return errors.Join(src.err, cleanup)
	}
	return errors.Join(fmt.Errorf("put object %s: %w", key, translate(ctx, err)), cleanup)
}

func (b *Bucket) put(ctx context.Context, key string, src io.Reader) error {
	opts := minio.PutObjectOptions{PartSize: partSize, ContentType: "application/octet-stream"}
	head := make([]byte, smallSize)
	n, err := io.ReadFull(src, head)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		_, err = b.client.PutObject(ctx, b.name, key, bytes.NewReader(head[:n]), int64(n), opts)
	case err == nil:
		_, err = b.client.PutObject(ctx, b.name, key, io.MultiReader(bytes.NewReader(head), src), -1, opts)
	}
	return err
}

// errSource stands in for any error of a source: the client takes an
// io.ErrUnexpectedEOF for the end of the stream, and would store a torn object.
var errSource = errors.New("the source of the object failed")

// source remembers the error of a reader.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return n, errSource
	}
	return n, err
}

// Delete removes every version of the object of that key, and what unfinished
// uploads left of it, and returns nil only when a new listing shows none.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.remove(ctx, key, func(k string) bool { return k == key })
}

// DeletePrefix is Delete for all objects whose key begins with prefix.
func (b *Bucket) DeletePrefix(ctx context.Context, prefix string) error {
	if prefix == "" {
		return errors.New("delete objects: no prefix")
	}
	return b.remove(ctx, prefix, func(string) bool { return true })
}

func (b *Bucket) remove(ctx context.Context, prefix string, match func(key string) bool) error {
	core := minio.Core{Client: b.client}
	for upload := range b.client.ListIncompleteUploads(ctx, b.name, prefix, true) {
		if upload.Err != nil {
			return fmt.Errorf("list uploads of %s: %w", prefix, translate(ctx, upload.Err))
		}
		if !match(upload.Key) {
			continue
		}
		err := core.AbortMultipartUpload(ctx, b.name, upload.Key, upload.UploadID)
		if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return fmt.Errorf("abort upload of %s: %w", upload.Key, translate(ctx, err))
		}
	}
	if _, err := b.versions(ctx, prefix, match, func(o minio.ObjectInfo) error {
		err := b.client.RemoveObject(ctx, b.name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID})
		if err != nil {
			return fmt.Errorf("delete object %s: %w", o.Key, translate(ctx, err))
		}
		return nil
	}); err != nil {
		return err
	}
	left, err := b.versions(ctx, prefix, match, func(minio.ObjectInfo) error { return nil })
	if err != nil {
		return err
	}
	if left > 0 {
		return ErrUnavailable.Because(fmt.Errorf("delete objects %s: %d versions are still there", prefix, left))
	}
	return nil
}

// versions visits all versions and delete markers of the matching keys, and
// counts them.
func (b *Bucket) versions(
	ctx context.Context, prefix string, match func(string) bool, visit func(minio.ObjectInfo) error,
) (int, error) {
	n := 0
	list := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: true}
	for o := range b.client.ListObjectsIter(ctx, b.name, list) {
		if o.Err != nil {
			return n, fmt.Errorf("list versions of %s: %w", prefix, translate(ctx, o.Err))
		}
		if !match(o.Key) {
			continue
		}
		n++
		if err := visit(o); err != nil {
			return n, err
		}
	}
	return n, nil
}

// translate gives an error of the storage a kind. What the storage refuses is
// UNAVAILABLE too: the caller did nothing wrong.
func translate(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	res := minio.ToErrorResponse(err)
	if res.Code == minio.NoSuchKey || (res.StatusCode == http.StatusNotFound && res.Code != minio.NoSuchBucket) {
		return ErrNotFound.Because(err)
	}
	return ErrUnavailable.Because(err)
}
