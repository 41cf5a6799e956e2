package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// errNoHandler is the failure of a job of unknown type, as one queued by a newer
// release is until the workers are renewed.
var errNoHandler = errs.New(errs.Internal, "no handler for this type of job")

// Handler carries out one attempt at a job. It can be repeated at any point.
// Its context carries the job's tenant, and the job as principal; it ends when
// the claim is lost, the attempt's time is up or the server must stop.
type Handler func(ctx context.Context, r *job.Run) error

// Mux finds the handler of a job by its type.
type Mux map[string]Handler

// NewMux returns a Mux without handlers.
func NewMux() Mux { return Mux{} }

// Handle registers the handler of a type. A second one for a type is a mistake
// in the program and panics.
func (m Mux) Handle(jobType string, h Handler) {
	if _, ok := m[jobType]; ok {
		panic("jobs: two handlers for " + jobType)
	}
	m[jobType] = h
}

func (m Mux) dispatch(ctx context.Context, r *job.Run) error {
	h, ok := m[r.Type()]
	if !ok {
		return errNoHandler
	}
	return h(ctx, r)
}

// ServerConfig is what a Server needs; all but Timing is required.
type ServerConfig struct {
	Jobs        *job.Service
	Redis       redis.UniversalClient
	Mux         Mux
	Log         *slog.Logger
	Concurrency int           // jobs at once
	Grace       time.Duration // how long running jobs may go on when the server is told to stop
	Timing      Timing
}

// Server carries out what the queue delivers.
type Server struct {
	ServerConfig

	// Asynq gives up a task when Redis is away for half a minute; the job goes
	// on. So who runs is counted here.
	slots   chan struct{}
	running sync.WaitGroup
}

// stopTime is for an interrupted job to record that it was.
const stopTime = 15 * time.Second

// NewServer returns a server, which Run starts.
func NewServer(c ServerConfig) *Server {
	c.Timing = c.Timing.withDefaults()
	return &Server{ServerConfig: c, slots: make(chan struct{}, c.Concurrency)}
}

// Run carries out jobs until ctx ends. Then it takes no more, lets the running
// ones end and, after Grace, interrupts those that haven't: they are queued
// again, and no attempt is counted.
func (s *Server) Run(ctx context.Context) error {
	working, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	defer interrupt()
	server := asynq.NewServerFromRedisClient(s.Redis, asynq.Config{
		Concurrency:       s.Concurrency,
		Queues:            map[string]int{queueName: 1},
		TaskCheckInterval: s.Timing.Check,
		ShutdownTimeout:   s.Grace + stopTime,
		Logger:            asynqLogger{s.Log},
		LogLevel:          asynq.DebugLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		// The work lives by the job's own lease, not by Asynq's: so not by its context.
		s.deliver(working, t)
		return nil
	}))
	if err != nil {
		return fmt.Errorf("start job server: %w", err)
	}
	<-ctx.Done()
	s.Log.InfoContext(ctx, "job server is draining")
	grace := time.AfterFunc(s.Grace, interrupt)
	defer grace.Stop()
	server.Shutdown()
	s.drain(ctx)
	return nil
}

// drain waits for the jobs that Asynq no longer knows of.
func (s *Server) drain(ctx context.Context) {
	drained := make(chan struct{})
	go func() {
		s.running.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(s.Grace + stopTime):
		// Their leases will run out.
		s.Log.ErrorContext(ctx, "jobs didn't stop when they were told to")
	}
}

// deliver carries out one delivery. Whatever comes of it, the queue is done with
// it: the job's row knows the rest, and the reconciler finds what was missed.
func (s *Server) deliver(ctx context.Context, t *asynq.Task) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.running.Add(1)
	defer func() {
		s.running.Done()
		<-s.slots
	}()
	var d Delivery
	if err := json.Unmarshal(t.Payload(), &d); err != nil {
		s.Log.ErrorContext(ctx, "queue delivered what is no job", "err", err)
		return
	}
	err := s.Jobs.Work(tenant.NewContext(ctx, d.Tenant), d.Job, d.Number, s.Mux.dispatch)
	switch {
	case errors.Is(err, job.ErrFenced):
		s.Log.DebugContext(ctx, "delivery was overtaken", "job", d.Job, "delivery", d.Number)
	case err != nil:
		s.Log.ErrorContext(ctx, "job is left to the reconciler", "job", d.Job, "delivery", d.Number, "err", err)
	}
}

// asynqLogger passes on what Asynq says of itself, as details.
type asynqLogger struct{ log *slog.Logger }

func (l asynqLogger) write(level string, args []any) {
	l.log.Debug("asynq", "asynq_level", level, "text", fmt.Sprint(args...))
}

// Debug implements asynq.Logger.
func (l asynqLogger) Debug(args ...any) { l.write("debug", args) }

// Info implements asynq.Logger.
func (l asynqLogger) Info(args ...any) { l.write("info", args) }

// Warn implements asynq.Logger.
func (l asynqLogger) Warn(args ...any) { l.write("warn", args) }

// Error implements asynq.Logger.
func (l asynqLogger) Error(args ...any) { l.write("error", args) }

// Fatal implements asynq.Logger. Asynq calls it nowhere but in its Run, which is
// not used; a library doesn't end the process.
func (l asynqLogger) Fatal(args ...any) { l.write("fatal", args) }
