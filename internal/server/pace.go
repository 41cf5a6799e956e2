package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/vogter/vogter/internal/httperr"
)

const (
	// patience is how long the server waits for its caller: for the whole body, or
	// for each paceBytes of a file; and for each paceBytes of an answer to leave.
	patience  = 30 * time.Second
	paceBytes = 64 << 10
	// grace is how long a file may come at any such pace. Then it has to have come
	// at paceRate on average, or an upload could hold its place for half a day.
	grace    = time.Minute
	paceRate = 64 << 10 // bytes a second
	// linger is how long the rest of a body that nobody read may take to arrive,
	// which net/http wants before it answers. Less than patience, within which the
	// answer has to leave.
	linger = 5 * time.Second
)

// pace ends calls whose bodies trickle in or whose answers nobody takes. Time
// that a handler needs doesn't count.
type pace struct {
	control *http.ResponseController
	now     func() time.Time
	limits  Limits
}

// body is a request's body at a pace.
type body struct {
	io.ReadCloser
	pace

	header http.Header // of the answer
	stream bool        // a file: the pace matters, and not the whole time
	left   time.Duration
	got    int
	waited time.Duration // in all
	total  int64         // bytes
	ended  bool
}

func (b *body) Read(p []byte) (int, error) {
	began := b.now()
	left := b.left
	if b.stream {
		earned := time.Duration(float64(b.total) / paceRate * float64(time.Second))
		left = min(left, max(b.limits.Grace, earned)-b.waited)
	}
	b.readUntil(began.Add(left))
	n, err := b.ReadCloser.Read(p)
	took := b.now().Sub(began)
	b.left -= took
	b.waited += took
	b.total += int64(n)
	if b.got += n; b.stream && b.got >= paceBytes {
		b.got, b.left = 0, b.limits.Patience
	}
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
		b.readUntil(time.Time{}) // or net/http would take a long answer for a broken connection
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.header.Set("Connection", "close")
		err = httperr.ErrSlow
	}
	return n, err
}

// leave bounds how long net/http waits for what nobody read.
func (b *body) leave() {
	if !b.ended {
		b.readUntil(b.now().Add(b.limits.Linger))
	}
}

func (p pace) readUntil(t time.Time) {
	_ = p.control.SetReadDeadline(t) // not supported: there is no connection to wait for
}

// writing gives an answer of n more bytes its time.
func (p pace) writing(n int) {
	_ = p.control.SetWriteDeadline(p.now().Add(p.limits.Patience * time.Duration(1+n/paceBytes)))
}
