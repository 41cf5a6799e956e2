package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often the files of a certificate are looked at, at most.
const recheck = 5 * time.Second

// Certificate is a certificate with its key, in two PEM files that may be
// replaced while the server runs. When what replaces them is no good, the pair
// that is in use stays in use.
type Certificate struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	seen    [2]version
	checked time.Time
}

// version tells a file from what it is replaced by.
type version struct {
	size    int64
	changed time.Time
}

var errExpired = errors.New("the certificate has expired")

// LoadCertificate reads the files.
func LoadCertificate(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, now: now, log: log, checked: now()}
	var err error
	if c.seen, err = c.versions(); err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	if c.pair, err = c.load(); err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return c, nil
}

// Config returns the settings of a server that speaks TLS with the certificate:
// 1.2 with those who can't do 1.3.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current(hello.Context()), nil
		},
	}
}

// current returns the pair, renewed if the files are new.
func (c *Certificate) current(ctx context.Context) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.checked) < recheck {
		return c.pair
	}
	c.checked = now
	seen, err := c.versions()
	switch {
	case err == nil && seen == c.seen:
		return c.pair
	case err == nil:
		c.seen = seen
		var pair *tls.Certificate
		if pair, err = c.load(); err == nil {
			c.pair = pair
			c.log.InfoContext(ctx, "certificate renewed", "valid_until", pair.Leaf.NotAfter)
			return c.pair
		}
	}
	c.log.WarnContext(ctx, "new certificate is no good, the old one stays", "valid_until", c.pair.Leaf.NotAfter, "err", err)
	return c.pair
}

func (c *Certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, withoutPath(err)
	}
	if c.now().After(pair.Leaf.NotAfter) {
		return nil, errExpired
	}
	return &pair, nil
}

func (c *Certificate) versions() (v [2]version, err error) {
	for i, path := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return v, withoutPath(err)
		}
		v[i] = version{info.Size(), info.ModTime()}
	}
	return v, nil
}

// withoutPath leaves the path out, which is a setting's value.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
