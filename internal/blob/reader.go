package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
)

// How much is asked for at once, in bytes: little after a seek, ever more while
// the reader goes on.
const (
	firstRange = 256 << 10
	maxRange   = 1 << 20
)

// Open returns a reader of the object of that key, which is size bytes long. It
// asks the storage for ranges of at most 1 MiB, ahead of what is read, so that
// neither memory nor a connection is tied to a slow reader. The context is that
// of all reads.
func (b *Bucket) Open(ctx context.Context, key string, size int64) io.ReadSeekCloser {
	return &reader{ctx: ctx, core: minio.Core{Client: b.client}, bucket: b.name, key: key, size: size, next: firstRange}
}

type reader struct {
	ctx    context.Context //nolint:containedctx // io.Reader has no context of its own
	core   minio.Core
	bucket string
	key    string
	size   int64

	pos  int64  // of the next byte to return
	at   int64  // where buf begins
	buf  []byte // what was fetched
	next int64  // how much to fetch next
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.pos >= r.size {
		return 0, io.EOF
	}
	if r.pos < r.at || r.pos >= r.at+int64(len(r.buf)) {
		if err := r.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.pos-r.at:])
	r.pos += int64(n)
	return n, nil
}

func (r *reader) fetch() error {
	if r.pos != r.at+int64(len(r.buf)) {
		r.next = firstRange // somebody jumped
	}
	n := min(r.next, r.size-r.pos)
	r.next = min(2*r.next, maxRange)
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	r.at, r.buf = r.pos, r.buf[:n]
	err := r.get(r.buf, r.pos)
	if err != nil {
		r.buf = r.buf[:0]
		return fmt.Errorf("read object %s: %w", r.key, err)
	}
	return nil
}

func (r *reader) get(b []byte, from int64) (err error) {
	var opts minio.GetObjectOptions
	if err := opts.SetRange(from, from+int64(len(b))-1); err != nil {
		return fmt.Errorf("set range: %w", err)
	}
	body, _, _, err := r.core.GetObject(r.ctx, r.bucket, r.key, opts)
	if err != nil {
		return translate(r.ctx, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if _, err := io.ReadFull(body, b); err != nil {
		return translate(r.ctx, err)
	}
	return nil
}

// Seek implements io.Seeker. It fetches nothing.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	default:
		return 0, errors.New("seek object: unknown whence")
	}
	if offset < 0 {
		return 0, errors.New("seek object: position before the start")
	}
	r.pos = offset
	return offset, nil
}

// Close implements io.Closer. It lets go of the memory.
func (r *reader) Close() error {
	r.buf, r.size = nil, 0
	return nil
}
