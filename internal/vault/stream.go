package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vogter/vogter/internal/errs"
)

// A stream is sealed in chunks of 64 KiB under a key of its own. Each chunk is
// bound to the stream, the owner, the place, its number and whether it is the
// last, so that none can be left out, moved, repeated or taken from elsewhere.
const (
	chunkSize   = 64 << 10
	sealedChunk = nonceSize + chunkSize + tagSize
	saltSize    = 32
	prefixSize  = headerSize + saltSize
	maxChunks   = 1 << 32 // the bound of random nonces under one key (NIST SP 800-38D)
)

var (
	errStreamClosed = errors.New("the sealed stream is closed")
	errStreamSize   = errs.New(errs.Limited, "more than 256 TiB in one stream")
)

// SealedSize returns how long a stream of plain bytes is once it is sealed.
func SealedSize(plain int64) int64 {
	chunks := max(1, (plain+chunkSize-1)/chunkSize)
	return prefixSize + plain + chunks*(nonceSize+tagSize)
}

// PlainSize returns how many bytes a sealed stream of that length holds. A
// length that no stream has is ErrAuth.
func PlainSize(sealed int64) (int64, error) {
	body := sealed - prefixSize
	chunks := (body + sealedChunk - 1) / sealedChunk
	plain := body - chunks*(nonceSize+tagSize)
	if body <= 0 || plain < 0 || SealedSize(plain) != sealed {
		return 0, fmt.Errorf("size of sealed stream: %w", ErrAuth)
	}
	return plain, nil
}

// SealStream returns a writer that seals what is written to it, under o's
// current key for the place p, and writes it to w, chunk by chunk. Close writes
// the last chunk, without which the stream doesn't open, and leaves w open; a
// stream to be thrown away is not closed. Memory use doesn't grow with the stream.
func (k *Keys) SealStream(o Owner, p Place, w io.Writer) (io.WriteCloser, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("seal stream: %w", err)
	}
	e, err := k.entry(o)
	if err != nil {
		return nil, fmt.Errorf("seal stream: %w", err)
	}
	prefix := make([]byte, prefixSize)
	prefix[0], prefix[1] = versionStream, bsonBinary
	copy(prefix[2:], e.current.id[:])
	rand.Read(prefix[headerSize:]) // never fails
	c, err := newChunks(e.current, prefix, o, p)
	if err != nil {
		return nil, fmt.Errorf("seal stream: %w", err)
	}
	return &sealer{
		chunks: c, dst: w, out: append(make([]byte, 0, prefixSize+sealedChunk), prefix...), plain: make([]byte, 0, chunkSize),
	}, nil
}

// chunks is the cipher of one stream.
type chunks struct {
	aead cipher.AEAD
	aad  []byte // ends with the chunk's number and last flag
}

func newChunks(g *generation, prefix []byte, o Owner, p Place) (chunks, error) {
	key, err := g.root.derive(purposeStream, string(prefix[headerSize:]))
	if err != nil {
		return chunks{}, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return chunks{}, err
	}
	return chunks{aead, append(valueAAD(prefix, o, p), make([]byte, 8+1)...)}, nil
}

// bind returns the associated data of chunk number n.
func (c *chunks) bind(n int64, last bool) []byte {
	tail := c.aad[len(c.aad)-9:]
	binary.BigEndian.PutUint64(tail, uint64(n)) //nolint:gosec // G115: a count
	tail[8] = 0
	if last {
		tail[8] = 1
	}
	return c.aad
}

// sealer is the writer of a sealed stream.
type sealer struct {
	chunks
	dst   io.Writer
	plain []byte // of the chunk that is being filled
	out   []byte // what stands before the next chunk: the prefix, then nothing
	n     int64  // chunks written
	err   error  // the first failure; nothing can be written after it
}

// Write seals b. A chunk is written only when more follows, for the last one is
// sealed differently.
func (s *sealer) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		if s.err == nil && len(s.plain) == chunkSize {
			s.flush(false)
		}
		if s.err != nil {
			return written, s.err
		}
		n := min(len(b), chunkSize-len(s.plain))
		s.plain = append(s.plain, b[:n]...)
		b, written = b[n:], written+n
	}
	return written, nil
}

// Close seals and writes the last chunk.
func (s *sealer) Close() error {
	if s.err == nil {
		s.flush(true)
	}
	if s.err != nil {
		return s.err
	}
	s.err = errStreamClosed
	return nil
}

func (s *sealer) flush(last bool) {
	if s.n == maxChunks {
		s.err = errStreamSize
		return
	}
	s.out = seal(s.aead, s.out, s.plain, s.bind(s.n, last))
	if _, err := s.dst.Write(s.out); err != nil {
		s.err = fmt.Errorf("write sealed stream: %w", err)
		return
	}
	s.plain, s.out = s.plain[:0], s.out[:0]
	s.n++
}

// OpenStream returns a reader of the stream that SealStream made for the same
// owner and place. src holds sealedSize bytes; it is read forward as long as
// the caller does, and sought only when the caller seeks. An io.ReaderAt becomes
// a src by io.NewSectionReader. Only authentic bytes are ever returned, but that
// the stream is whole is known only once its last chunk was read.
func (k *Keys) OpenStream(o Owner, p Place, src io.ReadSeeker, sealedSize int64) (*Stream, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	e, err := k.entry(o)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	size, err := PlainSize(sealedSize)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	s := &Stream{src: src, size: size, at: -1, chunk: -1}
	prefix := make([]byte, prefixSize)
	if err := s.fetch(prefix, 0); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	if prefix[0] != versionStream || prefix[1] != bsonBinary {
		return nil, fmt.Errorf("open stream: %w", ErrAuth)
	}
	g, err := e.generation(KeyID(prefix[2:headerSize]))
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	if s.chunks, err = newChunks(g, prefix, o, p); err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return s, nil
}

// Stream reads a sealed stream from any place in it. It is an io.ReadSeeker and
// not for concurrent use.
type Stream struct {
	chunks
	src  io.ReadSeeker
	size int64 // of the plaintext
	pos  int64 // of the next byte to return
	at   int64 // where src stands; -1 when unknown

	sealed []byte
	plain  []byte // of chunk number chunk
	chunk  int64  // -1 when none is open
}

// Size returns how many bytes the stream holds, by the length of the sealed one.
func (s *Stream) Size() int64 { return s.size }

// Read reads from the current position. Altered bytes are ErrAuth.
func (s *Stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if s.pos >= s.size && s.size > 0 {
		return 0, io.EOF
	}
	n := min(s.pos, s.size) / chunkSize
	if s.chunk != n {
		if err := s.load(n); err != nil {
			return 0, fmt.Errorf("read sealed stream: %w", err)
		}
	}
	if s.size == 0 {
		return 0, io.EOF // only now: the one empty chunk is authentic
	}
	c := copy(b, s.plain[s.pos-n*chunkSize:])
	s.pos += int64(c)
	return c, nil
}

// Seek sets the position of the next Read. It reads nothing.
func (s *Stream) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	default:
		return 0, errors.New("seek sealed stream: unknown whence")
	}
	if offset < 0 {
		return 0, errors.New("seek sealed stream: position before the start")
	}
	s.pos = offset
	return offset, nil
}

// load opens chunk number n.
func (s *Stream) load(n int64) error {
	s.chunk = -1
	if s.sealed == nil {
		s.sealed, s.plain = make([]byte, sealedChunk), make([]byte, 0, chunkSize)
	}
	length := min(chunkSize, s.size-n*chunkSize)
	sealed := s.sealed[:nonceSize+length+tagSize]
	if err := s.fetch(sealed, prefixSize+n*sealedChunk); err != nil {
		return err
	}
	plain, err := s.aead.Open(s.plain[:0], nil, sealed, s.bind(n, (n+1)*chunkSize >= s.size))
	if err != nil {
		return fmt.Errorf("chunk %d: %w", n, ErrAuth)
	}
	s.plain, s.chunk = plain, n
	return nil
}

// fetch fills b from src at offset.
func (s *Stream) fetch(b []byte, offset int64) error {
	if s.at != offset {
		s.at = -1
		if _, err := s.src.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("seek source: %w", err)
		}
		s.at = offset
	}
	n, err := io.ReadFull(s.src, b)
	s.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("source ends early: %w", ErrAuth)
	}
	if err != nil {
		s.at = -1
		return fmt.Errorf("read source: %w", err)
	}
	return nil
}
