package local_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/embedded/mongod"
	"github.com/vogter/vogter/internal/local"
)

// TestMain lets the test binary stand in for the vogter program that the
// supervisor starts: the engine is the real one, the API and the worker are the
// least that a supervisor can see of them.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Args[1] {
	case "engine": // engine --dir DIR --listen ADDR
		err = engine(ctx, os.Args[3], os.Args[5])
	case "serve":
		err = serve(ctx)
	case "worker":
		<-ctx.Done()
	case "supervise": // supervise DIR
		err = local.Run(ctx, local.Options{Dir: os.Args[2], Now: time.Now})
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func engine(ctx context.Context, dir, listen string) error {
	server, err := mongod.Open(mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return err
	}
	defer server.Close()
	l, err := mongod.Listen(listen)
	if err != nil {
		return err
	}
	return server.Serve(ctx, l)
}

// serve is ready when its settings are complete.
func serve(ctx context.Context) error {
	cfg, err := config.Parse(os.Environ())
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	server := &http.Server{Addr: cfg.Listen, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	defer context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })()
	if err := server.ListenAndServe(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
