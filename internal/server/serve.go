package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// Serve answers calls on l until ctx ends. Then it takes no new ones and lets
// those under way finish for as long as grace, after which it cuts them off and
// returns an error.
func Serve(ctx context.Context, l net.Listener, h http.Handler, grace time.Duration) error {
	base := context.WithoutCancel(ctx) // a stop must not break off what is under way
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		// What net/http logs are callers' addresses and broken connections.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(base, grace)
	defer cancel()
	if err := srv.Shutdown(draining); err != nil {
		return fmt.Errorf("finish the calls under way: %w", errors.Join(err, srv.Close()))
	}
	return nil
}
