package vault_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vogter/vogter/internal/vault"
)

const (
	chunk       = 64 << 10
	sealedChunk = chunk + 28
	prefix      = 50
)

var file = vault.Place{Collection: "files", Record: "fil_1", Field: "content"}

// text returns n bytes of which no two chunks are alike.
func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return b
}

func sealStream(tb testing.TB, k *vault.Keys, o vault.Owner, p vault.Place, plain []byte, piece int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := k.SealStream(o, p, &b)
	if err != nil {
		tb.Fatal(err)
	}
	for rest := plain; len(rest) > 0; {
		n := min(piece, len(rest))
		if _, err := w.Write(rest[:n]); err != nil {
			tb.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func openStream(k *vault.Keys, o vault.Owner, p vault.Place, sealed []byte) ([]byte, error) {
	s, err := k.OpenStream(o, p, bytes.NewReader(sealed), int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(s)
}

func TestStream(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	for _, size := range []int{0, 1, 1000, chunk - 1, chunk, chunk + 1, 2 * chunk, 3*chunk + 5} {
		plain := text(size)
		for _, piece := range []int{chunk * 4, chunk, 1009} {
			sealed := sealStream(t, keys, anna, file, plain, piece)
			if want := vault.SealedSize(int64(size)); int64(len(sealed)) != want {
				t.Fatalf("%d bytes are sealed to %d, SealedSize says %d", size, len(sealed), want)
			}
			if n, err := vault.PlainSize(int64(len(sealed))); err != nil || n != int64(size) {
				t.Fatalf("PlainSize of %d says %d, %v", size, n, err)
			}
			s, err := keys.OpenStream(anna, file, bytes.NewReader(sealed), int64(len(sealed)))
			if err != nil {
				t.Fatal(err)
			}
			if s.Size() != int64(size) {
				t.Errorf("Size %d of %d", s.Size(), size)
			}
			if err := iotest.TestReader(s, plain); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
}

func TestPlainSizeRefuses(t *testing.T) {
	for _, n := range []int64{-1, 0, prefix, prefix + 27, prefix + sealedChunk + 1, prefix + sealedChunk + 28, -1 << 62} {
		_, err := vault.PlainSize(n)
		wantErr(t, err, vault.ErrAuth, "size")
	}
}

func TestStreamIsServedInRanges(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	plain := text(3*chunk + 5)
	sealed := sealStream(t, keys, anna, file, plain, chunk)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := keys.OpenStream(anna, file, bytes.NewReader(sealed), int64(len(sealed)))
		if err != nil {
			t.Error(err)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, s)
	}))
	defer srv.Close()
	for ranges, want := range map[string][]byte{
		"bytes=0-9": plain[:10], "bytes=65530-65545": plain[65530:65546], "bytes=-7": plain[len(plain)-7:],
		"bytes=131072-": plain[131072:], "": plain,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %d bytes, %v", ranges, len(got), err)
		}
	}
}

// countingSeeker counts what is asked of a source.
type countingSeeker struct {
	*bytes.Reader
	seeks int
	bytes int
}

func (c *countingSeeker) Seek(offset int64, whence int) (int64, error) {
	c.seeks++
	return c.Reader.Seek(offset, whence)
}

func (c *countingSeeker) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.bytes += n
	return n, err
}

func TestStreamReadsForward(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	sealed := sealStream(t, keys, anna, file, text(20*chunk), chunk)
	src := &countingSeeker{Reader: bytes.NewReader(sealed)}
	s, err := keys.OpenStream(anna, file, src, int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Fatal(err)
	}
	if src.seeks > 1 || src.bytes != len(sealed) {
		t.Errorf("reading through took %d seeks and %d of %d bytes", src.seeks, src.bytes, len(sealed))
	}
	src.seeks, src.bytes = 0, 0
	if _, err := s.Seek(10*chunk+10, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if src.seeks != 1 || src.bytes != sealedChunk {
		t.Errorf("ten bytes from the middle took %d seeks and %d bytes", src.seeks, src.bytes)
	}
}

func TestStreamAltered(t *testing.T) {
	r := newRig(t)
	foreign := vault.Owner{Tenant: two, Subject: anna.Subject, Unit: anna.Unit}
	dataset := vault.Owner{Tenant: one, Subject: anna.Subject, Unit: "dst_kyc"}
	keys := r.ensure(t, anna, foreign, dataset)
	plain := text(3 * chunk)
	sealed := sealStream(t, keys, anna, file, plain, chunk)
	other := sealStream(t, keys, anna, file, plain, chunk)
	part := func(b []byte, i int) []byte { return b[prefix+i*sealedChunk : prefix+(i+1)*sealedChunk] }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	head := sealed[:prefix]
	for name, altered := range map[string][]byte{
		"empty":              {},
		"header alone":       head,
		"last chunk gone":    join(head, part(sealed, 0), part(sealed, 1)),
		"first chunk gone":   join(head, part(sealed, 1), part(sealed, 2)),
		"middle chunk gone":  join(head, part(sealed, 0), part(sealed, 2)),
		"chunks swapped":     join(head, part(sealed, 1), part(sealed, 0), part(sealed, 2)),
		"chunk repeated":     join(head, part(sealed, 0), part(sealed, 0), part(sealed, 2)),
		"last chunk twice":   join(sealed, part(sealed, 2)),
		"another's chunk":    join(head, part(sealed, 0), part(other, 1), part(sealed, 2)),
		"another's header":   join(other[:prefix], sealed[prefix:]),
		"cut in a chunk":     sealed[:len(sealed)-100],
		"cut by one":         sealed[:len(sealed)-1],
		"one byte more":      join(sealed, []byte{0}),
		"empty chunk at end": join(sealed, make([]byte, 28)),
	} {
		_, err := openStream(keys, anna, file, altered)
		wantErr(t, err, vault.ErrAuth, name)
	}
	for i := 0; i < len(sealed); i += 1 + i/prefix*769 { // all of the header, every 769th byte after it
		altered := bytes.Clone(sealed)
		altered[i] ^= 0x10
		if _, err := openStream(keys, anna, file, altered); !errors.Is(err, vault.ErrAuth) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for name, o := range map[string]vault.Owner{"tenant": foreign, "unit": dataset} {
		_, err := openStream(keys, o, file, sealed)
		wantErr(t, err, vault.ErrAuth, "another "+name)
	}
	for name, p := range map[string]vault.Place{
		"collection": {Collection: "exports", Record: file.Record, Field: file.Field},
		"record":     {Collection: file.Collection, Record: "fil_2", Field: file.Field},
		"field":      {Collection: file.Collection, Record: file.Record, Field: "thumbnail"},
	} {
		_, err := openStream(keys, anna, p, sealed)
		wantErr(t, err, vault.ErrAuth, "another "+name)
	}

	// The source is shorter than the row says.
	s, err := keys.OpenStream(anna, file, bytes.NewReader(sealed[:len(sealed)-5]), int64(len(sealed)))
	if err == nil {
		_, err = io.ReadAll(s)
	}
	wantErr(t, err, vault.ErrAuth, "short source")

	// What comes before the damage is good, what is damaged isn't returned.
	altered := bytes.Clone(sealed)
	altered[prefix+sealedChunk+20] ^= 1
	got, err := openStream(keys, anna, file, altered)
	wantErr(t, err, vault.ErrAuth, "second chunk")
	if !bytes.Equal(got, plain[:chunk]) {
		t.Errorf("%d bytes were returned before the damage was found", len(got))
	}

	// A sealed value is no stream and the other way round.
	_, err = keys.Open(anna, file, sealed)
	wantErr(t, err, vault.ErrAuth, "stream opened as a value")
}

func TestStreamFailures(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	full := errors.New("disk full")
	w, err := keys.SealStream(anna, file, writerFunc(func([]byte) (int, error) { return 0, full }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(text(2 * chunk))
	wantErr(t, err, full, "write")
	wantErr(t, w.Close(), full, "close")

	w, err = keys.SealStream(anna, file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("written after Close")
	}
	if err := w.Close(); err == nil {
		t.Error("closed twice")
	}

	sealed := sealStream(t, keys, anna, file, text(2*chunk), chunk)
	down := errors.New("connection reset")
	src := &failingSeeker{Reader: bytes.NewReader(sealed), after: 2, err: down}
	s, err := keys.OpenStream(anna, file, src, int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(s)
	wantErr(t, err, down, "read")
	if errors.Is(err, vault.ErrAuth) {
		t.Error("a lost connection passes for an alteration")
	}
	src.after = 1 << 20 // the connection is back
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, text(2*chunk)) {
		t.Errorf("%d bytes after the connection is back, %v", len(got), err)
	}
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the start")
	}
	if _, err := s.Seek(0, 9); err == nil {
		t.Error("sought from nowhere")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// failingSeeker fails every Read after a number of them.
type failingSeeker struct {
	*bytes.Reader
	after int
	err   error
}

func (f *failingSeeker) Read(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return f.Reader.Read(b)
}

func TestStreamMemoryIsFlat(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	w, err := keys.SealStream(anna, file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	block := text(chunk)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations per chunk", n)
	}
}
