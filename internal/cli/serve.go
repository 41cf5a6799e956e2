package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/kms"
)

// serveCmd answers the API.
type serveCmd struct{}

// Run serves until it is told to stop, and then finishes what is under way.
func (c *serveCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, log *slog.Logger) error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.Config.Listen)
		if err != nil {
			return fmt.Errorf("listen at VOGTER_LISTEN: %w", err)
		}
		log.InfoContext(ctx, "serving", "address", l.Addr().String())
		return p.Serve(ctx, l)
	})
}

// workerCmd does the jobs.
type workerCmd struct{}

// Run works until it is told to stop, and then finishes the jobs under way.
func (c *workerCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, log *slog.Logger) error {
		log.InfoContext(ctx, "working", "concurrency", p.Config.WorkerConcurrency)
		return p.Work(ctx)
	})
}

// withPlatform reads the settings, connects to everything and runs fn.
func withPlatform(ctx context.Context, adapters kms.Adapters, fn func(context.Context, *app.Platform, *slog.Logger) error) (err error) {
	c, err := config.Parse(os.Environ())
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	p, err := app.Open(ctx, c, log, time.Now, adapters)
	if err != nil {
		return err
	}
	defer func() {
		if closed := p.Close(context.WithoutCancel(ctx)); err == nil {
			err = closed
		}
	}()
	return fn(ctx, p, log)
}
