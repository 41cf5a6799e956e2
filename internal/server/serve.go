package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// Listening is how Serve takes calls.
type Listening struct {
	// TLS is the certificate; nil: plain HTTP.
	TLS *tls.Config
	// Connections is how many there may be at once; more wait until one ends.
	Connections int
	// Grace is how long calls under way may take to finish at the end.
	Grace time.Duration
	// Header is how long the head of a call may take to arrive; zero: the usual.
	Header time.Duration
}

// Serve answers calls on l until ctx ends. Then it takes no new ones and lets
// those under way finish for as long as c.Grace, after which it cuts them off and
// returns an error.
func Serve(ctx context.Context, l net.Listener, h http.Handler, c Listening) error {
	base := context.WithoutCancel(ctx) // a stop must not break off what is under way
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cmp.Or(c.Header, readHeaderTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 100, // of one connection
			SendPingTimeout:      patience,
			PingTimeout:          linger,
			WriteByteTimeout:     patience,
		},
		BaseContext: func(net.Listener) context.Context { return base },
		// What net/http logs are callers' addresses and broken connections.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	l = netutil.LimitListener(l, c.Connections)
	serve := srv.Serve
	if c.TLS != nil {
		srv.TLSConfig = c.TLS
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	failed := make(chan error, 1)
	go func() { failed <- serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(base, c.Grace)
	defer cancel()
	if err := srv.Shutdown(draining); err != nil {
		return fmt.Errorf("finish the calls under way: %w", errors.Join(err, srv.Close()))
	}
	return nil
}
