package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/config"
)

// maxSocketDir keeps the path of a Unix socket under the 107 bytes that the kernel takes.
const maxSocketDir = 90

// setup is the plan of one start: the settings of all parts are fixed before
// the first one starts.
type setup struct {
	stack   *Stack
	opts    Options
	cfg     config.Config
	secrets secrets
	source  string // root of the repository, once something needs it
	sockets string // folder of the Unix sockets
	held    []net.Listener

	smtp, mailPage net.Listener
	kratosPorts    [2]int // public, admin
	hydraPorts     [2]int
	s3Port         int

	dependencies []part
}

// part is something to start; starting it gives the function that stops it.
type part struct {
	title string
	start func(ctx context.Context) (stop func() error, err error)
}

func newSetup(s *Stack, opts Options) (*setup, error) {
	cfg, err := config.Parse(opts.Environ)
	if err != nil {
		return nil, err
	}
	stepUp := authz.AAL1 // the demo's members have no authenticator app
	for _, setting := range opts.Environ {
		switch name, value, _ := strings.Cut(setting, "="); {
		case name == "VOGTER_STEP_UP":
			stepUp = cfg.StepUp
		case name == "VOGTER_LISTEN":
			return nil, errors.New("VOGTER_LISTEN is for `vogter serve`: here the API listens on 127.0.0.1, set VOGTER_LOCAL_PORT_API")
		case name == "VOGTER_MODE" && value == string(config.Production):
			return nil, errors.New("VOGTER_MODE is production: the parts of one machine are for development, use `vogter serve` and `vogter worker`")
		}
	}
	cfg.Mode, cfg.StepUp = config.Development, stepUp
	cfg.WebhookAllowPrivate = true // an endpoint under development is on this machine
	return &setup{stack: s, opts: opts, cfg: cfg}, nil
}

// plan takes the folder and the ports, builds what is missing and settles how
// every part is reached.
func (b *setup) plan(ctx context.Context) error {
	if err := b.takeFolder(); err != nil {
		return err
	}
	var err error
	if b.secrets, err = loadSecrets(b.path("secrets.json")); err != nil {
		return err
	}
	if err := b.ports(); err != nil {
		return err
	}
	for _, plan := range []func(context.Context) error{b.planStore, b.planRedis, b.planS3, b.planMail, b.planKratos, b.planHydra} {
		if err := plan(ctx); err != nil {
			return err
		}
	}
	for _, l := range b.held {
		if err := l.Close(); err != nil {
			return fmt.Errorf("free a port for its part: %w", err)
		}
	}
	if err := b.cfg.Validate(); err != nil {
		return err
	}
	e := &b.stack.env
	e.Config, e.API, e.Source = b.cfg, "http://"+b.cfg.Listen, b.source
	return nil
}

// takeFolder makes the folder and keeps other supervisors out of it.
func (b *setup) takeFolder() error {
	if err := os.MkdirAll(b.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	lock, err := tryLock(b.path("lock"))
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another `vogter local` runs in %s: stop it, or choose another folder with --dir", b.opts.Dir)
	}
	if err != nil {
		return err
	}
	b.onStop(lock.Close)
	if err := os.Remove(b.path(readyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the last ready.json: %w", err)
	}
	for _, dir := range []string{"logs", "kms", "run"} {
		if err := os.MkdirAll(b.path(dir), 0o700); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	if b.sockets = b.path("run"); len(b.sockets) > maxSocketDir {
		// MkdirTemp makes it accessible to its owner only.
		if b.sockets, err = os.MkdirTemp("", "vogter-"); err != nil {
			return fmt.Errorf("make a folder for sockets: %w", err)
		}
		b.onStop(func() error { return os.RemoveAll(b.sockets) })
	}
	if b.cfg.KMS == "" {
		b.cfg.KMS = "file:" + b.path("kms", "masters.json")
	}
	return nil
}

// ports takes the ports of the parts that are ours to start. They are held
// until all are chosen, so that no two get the same.
func (b *setup) ports() error {
	api, err := b.hold("API", b.opts.Ports.API)
	if err != nil {
		return err
	}
	b.cfg.Listen = api.Addr().String()
	if !b.cfg.Mail.SMTP.IsSet() {
		if b.smtp, err = listen("SMTP", b.opts.Ports.SMTP); err != nil {
			return err
		}
		b.onStop(closed(b.smtp))
		if b.mailPage, err = listen("MAIL", b.opts.Ports.Mail); err != nil {
			return err
		}
		b.onStop(closed(b.mailPage))
	}
	if b.cfg.S3.Endpoint == "" {
		l, err := b.hold("S3", b.opts.Ports.S3)
		if err != nil {
			return err
		}
		b.s3Port = port(l)
	}
	if b.cfg.Kratos.PublicURL == "" {
		if b.kratosPorts, err = b.holdPair("KRATOS", b.opts.Ports.KratosPublic, b.opts.Ports.KratosAdmin); err != nil {
			return err
		}
	}
	if b.cfg.Hydra.PublicURL == "" {
		b.hydraPorts, err = b.holdPair("HYDRA", b.opts.Ports.HydraPublic, b.opts.Ports.HydraAdmin)
	}
	return err
}

// holdPair takes the public and the admin port of a server of Ory's.
func (b *setup) holdPair(setting string, public, admin int) (ports [2]int, err error) {
	p, err := b.hold(setting+"_PUBLIC", public)
	if err != nil {
		return ports, err
	}
	a, err := b.hold(setting+"_ADMIN", admin)
	if err != nil {
		return ports, err
	}
	return [2]int{port(p), port(a)}, nil
}

// hold takes a port for a child, which binds it itself once it is let go.
func (b *setup) hold(setting string, port int) (l net.Listener, err error) {
	if port == 0 {
		l, err = listenBelowEphemeral(setting)
	} else {
		l, err = listen(setting, port)
	}
	if err != nil {
		return nil, err
	}
	b.held = append(b.held, l)
	b.onStop(closed(l)) // when the plan fails
	return l, nil
}

// listenBelowEphemeral takes a free port that the kernel hands to nobody else
// before the child has bound it: one outside the range of outgoing connections.
func listenBelowEphemeral(setting string) (net.Listener, error) {
	const first, count, attempts = 20000, 12000, 100
	for range attempts {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			return nil, fmt.Errorf("choose a port: %w", err)
		}
		if l, err := listen(setting, first+int(n.Int64())); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no free port was found: choose one with %sPORT_%s", config.LocalPrefix, setting)
}

// listen takes a port on loopback; a taken one is an error that names its setting.
func listen(setting string, port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // loopback, immediate
	if err != nil {
		flag := "--port-" + strings.ToLower(strings.ReplaceAll(setting, "_", "-"))
		fault := "can't be used"
		if errors.Is(err, syscall.EADDRINUSE) {
			fault = "is taken"
		}
		return nil, fmt.Errorf("port %d %s: choose another with %sPORT_%s or %s (%w)",
			port, fault, config.LocalPrefix, setting, flag, err)
	}
	return l, nil
}

func port(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// closed stops a listener that its server may have closed already.
func closed(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// start starts parts side by side; they stop in the reverse of their order in the list.
func (b *setup) start(ctx context.Context, parts []part) error {
	stops := make([]func() error, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range parts {
		g.Go(func() error {
			return b.stack.console.timed(p.title, func() (err error) {
				stops[i], err = p.start(ctx)
				return err
			})
		})
	}
	err := g.Wait()
	for _, stop := range stops {
		if stop != nil {
			b.onStop(stop)
		}
	}
	return err
}

// child is a process with its log, not yet started.
func (b *setup) child(name string, p *process) (*process, error) {
	path := b.path("logs", name+".log")
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("put the last log of %s aside: %w", name, err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	b.onStop(log.Close)
	p.name, p.log = name, log
	p.spawn, p.say, p.now = b.stack.spawn, b.stack.console.say, b.opts.Now
	b.stack.children[name] = p
	return p, nil
}

func (b *setup) onStop(f func() error) { b.stack.stops = append(b.stack.stops, f) }

func (b *setup) path(elements ...string) string {
	return filepath.Join(slices.Insert(elements, 0, b.opts.Dir)...)
}

// root is the repository, found when the first part needs it.
func (b *setup) root() (string, error) {
	if b.source != "" {
		return b.source, nil
	}
	var err error
	b.source, err = findSource(b.opts.Source)
	return b.source, err
}

// ownEnviron is what our own programs inherit: all but our settings.
func (b *setup) ownEnviron() []string {
	return append(foreignEnviron(), slices.DeleteFunc(slices.Clone(b.opts.Environ), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return config.Owns(name)
	})...)
}

// foreignEnviron is what other people's programs inherit: they would take
// variables of ours or of the user's, such as DSN or LOG_LEVEL, for their own settings.
func foreignEnviron() []string {
	var list []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			list = append(list, name+"="+value)
		}
	}
	return list
}
