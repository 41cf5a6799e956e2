package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/vogter/vogter/internal/vault"
)

// limited reads up to MaxSize bytes and fails with ErrTooLarge on one more.
type limited struct {
	r io.Reader
	n int64
}

func (l *limited) Read(p []byte) (int, error) {
	if most := MaxSize + 1 - l.n; int64(len(p)) > most {
		p = p[:most]
	}
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.n > MaxSize {
		return 0, ErrTooLarge
	}
	return n, err
}

// Seal stores what write writes, sealed for the owner and place, as the object
// of that key. The object is stored whole or not at all: an error of write is
// returned, with nothing left behind.
func Seal(
	ctx context.Context, keys *vault.Keys, owner vault.Owner, at vault.Place, objects Objects, key string,
	write func(io.Writer) error,
) (Object, error) {
	by, err := keys.StreamKey(owner)
	if err != nil {
		return Object{}, fmt.Errorf("seal: %w", err)
	}
	r, w := io.Pipe()
	counted := &counter{w: w, hash: sha256.New()}
	stored := make(chan error, 1)
	go func() {
		err := objects.Put(ctx, key, r)
		_ = r.CloseWithError(errors.Join(errStopped, err)) // lets the writer go
		stored <- err
	}()
	err = seal(keys, owner, at, counted, write)
	_ = w.CloseWithError(err) // nil ends the object
	if perr := <-stored; err == nil || errors.Is(err, errStopped) {
		err = perr
	}
	if err != nil {
		return Object{}, err
	}
	return Object{Size: counted.n, SHA256: counted.hash.Sum(nil), KeyID: by[:]}, nil
}

// errStopped reports that object storage took no more.
var errStopped = errors.New("the object storage stopped taking bytes")

func seal(keys *vault.Keys, owner vault.Owner, at vault.Place, dst io.Writer, write func(io.Writer) error) error {
	sealed, err := keys.SealStream(owner, at, dst)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := write(sealed); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// Unseal returns a reader of what Seal stored.
func Unseal(
	ctx context.Context, v Vault, owner vault.Owner, at vault.Place, objects Objects, key string, o Object,
) (io.ReadSeekCloser, error) {
	keys, err := v.Load(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	src := objects.Open(ctx, key, o.Size)
	stream, err := keys.OpenStream(owner, at, src, o.Size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unseal: %w", err), src.Close())
	}
	return content{stream, src}, nil
}

type content struct {
	*vault.Stream
	io.Closer
}

// counter counts and hashes what passes.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	return n, err
}
