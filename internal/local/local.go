// Package local runs the whole platform on one machine: the document engine
// twice (data and keys), Redis, an S3 server over TLS, Kratos, Hydra, a mail
// sink, the API and a worker. `vogter local` is its command; end-to-end tests start the
// same stack with Start.
//
// Everything lies in one folder and listens on loopback or on Unix sockets in a
// folder of mode 0700. Each part can be replaced by its settings in the
// environment and is then not started. On Linux no child outlives the
// supervisor, however that dies.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/vogter/vogter/internal/config"
)

// Ports are the TCP ports on 127.0.0.1; 0 takes any free one.
type Ports struct {
	API          int // HTTP
	Mail         int // page of the captured mail, HTTP
	SMTP         int
	S3           int // HTTPS
	KratosPublic int
	KratosAdmin  int
	HydraPublic  int
	HydraAdmin   int
}

// Options say what to start. The zero value of a field is its default.
type Options struct {
	Dir     string       // data, keys, logs and sockets; .local by default
	Source  string       // root of the repository; found from the working directory by default
	Binary  string       // the vogter program; this program by default
	Ports   Ports        // free ones by default
	Environ []string     // as os.Environ: settings that replace parts or tune the API and worker
	Out     io.Writer    // for the person at the terminal; nothing by default
	Seed    SeedFunc     // fills the started platform; nothing by default
	Logger  *slog.Logger // of the mail sink; discarded by default
	Now     func() time.Time
}

// SeedFunc fills the platform once the API answers. It must be safe to repeat:
// every start calls it.
type SeedFunc func(ctx context.Context, env Env) (Ready, error)

// Env is what a SeedFunc and a test know of the running parts.
type Env struct {
	Config config.Config // complete: the API and the worker run with it
	API    string        // base address, without a slash at its end
	Mail   string        // address of the mail page, "" when mail goes elsewhere
	Dir    string        // absolute
	Source string        // root of the repository, "" when nothing needed it
}

// Ready is the content of ready.json, its field names are a promise.
type Ready struct {
	GraphQL string   `json:"graphql"`
	API     string   `json:"api"`
	Mail    string   `json:"mail"`
	S3      string   `json:"s3"`
	OAuth   string   `json:"oauth"` // issuer of access tokens
	Tenants []Tenant `json:"tenants"`
}

// Tenant is one seeded tenant.
type Tenant struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	APIKey  string   `json:"apiKey"`
	Members []Member `json:"members"`
}

// Member is a person who can sign in.
type Member struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Role     string `json:"role"`
}

// The names of the parts, as PID takes them and as their logs are called.
const (
	PartData   = "data"
	PartKeys   = "keys"
	PartRedis  = "redis"
	PartS3     = "s3"
	PartKratos = "kratos"
	PartHydra  = "hydra"
	PartAPI    = "api"
	PartWorker = "worker"
)

const readyFile = "ready.json"

// Stack is a running platform.
type Stack struct {
	env   Env
	ready Ready

	console  *console
	spawn    *spawner
	children map[string]*process
	stops    []func() error // in the order of starting
	stopped  func() error   // once
}

// Run starts the platform, says where everything is, and stops it when ctx ends.
func Run(ctx context.Context, opts Options) error {
	s, err := Start(ctx, opts)
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.console.text("\nStopping.")
	return s.Stop()
}

// Start starts the platform and returns when it is ready and seeded. When that
// fails, or ctx ends before, what was started is stopped again.
func Start(ctx context.Context, opts Options) (_ *Stack, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Stack{
		console:  &console{out: opts.Out, now: opts.Now},
		spawn:    newSpawner(),
		children: make(map[string]*process),
		env:      Env{Dir: opts.Dir},
	}
	s.stopped = sync.OnceValue(s.stop)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	began := opts.Now()
	if err := s.start(ctx, opts); err != nil {
		return nil, fmt.Errorf("start the platform: %w", err)
	}
	s.console.text(s.table(opts.Now().Sub(began)))
	return s, nil
}

// Ready is what ready.json says.
func (s *Stack) Ready() Ready { return s.ready }

// Env is how to reach the parts.
func (s *Stack) Env() Env { return s.env }

// PID is the process id of a part, or 0 when it isn't running or not ours.
func (s *Stack) PID(part string) int {
	if p, ok := s.children[part]; ok {
		return p.current()
	}
	return 0
}

// Stop stops the parts in the reverse order of their start and waits for them.
// It can be called again.
func (s *Stack) Stop() error { return s.stopped() }

func (s *Stack) stop() error {
	var faults []error
	for _, stop := range slices.Backward(s.stops) {
		if err := stop(); err != nil {
			faults = append(faults, err)
		}
	}
	s.spawn.close()
	return errors.Join(faults...)
}

// start brings the parts up in their order.
func (s *Stack) start(ctx context.Context, opts Options) error {
	b, err := newSetup(s, opts)
	if err != nil {
		return err
	}
	if err := b.plan(ctx); err != nil {
		return err
	}
	s.console.text("Starting Vogter in " + opts.Dir)
	if err := b.start(ctx, b.dependencies); err != nil {
		return err
	}
	product, err := b.product()
	if err != nil {
		return err
	}
	if err := b.start(ctx, product); err != nil {
		return err
	}
	if opts.Seed != nil {
		err := s.console.timed("demo data", func() (err error) {
			s.ready, err = opts.Seed(ctx, s.env)
			return err
		})
		if err != nil {
			return fmt.Errorf("fill in the demo data: %w", err)
		}
	}
	s.ready.API, s.ready.GraphQL = s.env.API, s.env.API+"/graphql"
	s.ready.Mail, s.ready.S3 = s.env.Mail, s.env.Config.S3.Endpoint
	s.ready.OAuth = s.env.Config.Hydra.PublicURL
	if s.ready.Tenants == nil {
		s.ready.Tenants = []Tenant{}
	}
	path := filepath.Join(opts.Dir, readyFile)
	s.stops = append(s.stops, func() error { return os.Remove(path) })
	return writeJSON(path, s.ready)
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = ".local"
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, fmt.Errorf("find the folder: %w", err)
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return o, fmt.Errorf("find this program: %w", err)
		}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		return o, errors.New("local: a clock is needed")
	}
	return o, nil
}

// table says where everything is and what to try.
func (s *Stack) table(took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nVogter is ready after %.1f s.\n\n", took.Seconds())
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) }
	row("GraphQL", s.ready.GraphQL)
	if s.ready.Mail != "" {
		row("Captured mail", s.ready.Mail)
	}
	row("Object storage", s.ready.S3, "CA "+s.env.Config.S3.CAFile)
	row("OAuth tokens", s.ready.OAuth+"/oauth2/token")
	row("Data, keys, logs", s.env.Dir)
	for _, t := range s.ready.Tenants {
		_, _ = fmt.Fprintln(w)
		row("Tenant", t.Name, t.ID)
		row("", "API key", t.APIKey)
		for _, m := range t.Members {
			row("", m.Role, m.Email, m.Password)
		}
	}
	_ = w.Flush()
	key := "$API_KEY"
	if len(s.ready.Tenants) > 0 {
		key = s.ready.Tenants[0].APIKey
	}
	fmt.Fprintf(&b, `
Try:
  curl %s -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"query":"{ viewer { id } }"}'
  cat %s

Ctrl-C stops everything.
`, s.ready.GraphQL, key, filepath.Join(s.env.Dir, readyFile))
	return b.String()
}
