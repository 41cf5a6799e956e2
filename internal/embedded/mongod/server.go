// Package mongod is a small document server that speaks MongoDB's wire protocol
// over Pebble. It stands in for MongoDB on one machine: evaluation, tests, small
// installs. To a driver it looks like a replica set of one member, with sessions,
// retryable writes, transactions and snapshot reads.
//
// It implements what Vogter's stores use, by MongoDB's rules, and refuses every
// other command, operator and option with MongoDB's error code. Filters are
// evaluated here, on the stored bytes; what an update operator does is the library
// lungo's, where that is MongoDB's.
//
// A message passes wire.go (protocol), command.go (sessions and transactions
// around a command), then find.go, write.go, aggregate.go or admin.go. Reads go
// through plan.go (choice of index) over a view of store.go; writes are
// collected by writer.go, which commits them atomically.
package mongod

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// memTableSize is the memory of one memtable of the store, in bytes; there are up
// to four.
const memTableSize = 12 << 20

// Bounds of the memory for blocks of the store, unless it is set, in bytes.
const (
	minCache = 32 << 20
	maxCache = 256 << 20
)

// janitorPeriod is how often idle cursors, sessions and transactions are ended.
const (
	janitorPeriod = time.Second
	sessionSweep  = time.Minute // and records of sessions are cleared
)

// ErrInUse reports that another process has the data folder open.
var ErrInUse = errors.New("the data folder is in use by another process")

// ErrDamaged reports a file of the data folder that is not as it was written.
var ErrDamaged = errors.New("the data folder is damaged")

// ErrNotLocal reports a listener that other machines could reach.
var ErrNotLocal = errors.New("the document engine serves this machine only: use a Unix socket or a loopback address")

// Options are the settings of a Server; all but Cache and FS are required.
type Options struct {
	Dir    string           // data folder, made if it does not exist
	Logger *slog.Logger     // for events of the store; never document values
	Now    func() time.Time // the clock
	FS     vfs.FS           // nil: the disk; tests give one that fails

	// Cache is the memory that blocks of the store may take, in bytes. 0: a
	// sixteenth of what the machine or the container has, within 32 and 256 MiB.
	Cache int64
}

// Server is an open data folder that serves connections.
type Server struct {
	db     *pebble.DB
	dir    string
	fs     vfs.FS
	mark   vfs.File     // see markName
	marked uint64       // what it says
	lock   *pebble.Lock // keeps other processes out
	logger *slog.Logger
	now    func() time.Time

	commands  map[string]command
	locks     lockTable
	sessions  sessionTable
	cursors   cursorTable
	snapshots snapshotTable
	commits   commits

	catalog   atomic.Pointer[catalog] // as writers see it
	catalogMu sync.Mutex              // one change of the catalog at a time
	lastIdent atomic.Uint32

	writeNumber atomic.Uint64 // differs on every write of a document
	clusterTime atomic.Uint64
	fullScans   atomic.Int64

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	stop   chan struct{}
	wg     sync.WaitGroup
}

// Open opens or creates the data folder. A folder that another process has open
// is ErrInUse; one of a newer format is refused.
func Open(opts Options) (*Server, error) { return open(opts, formatUpgrades()) }

func open(opts Options, upgrades []func(*Server) error) (*Server, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	fs := opts.FS
	if fs == nil {
		fs = vfs.Default
	}
	lock, err := pebble.LockDirectory(opts.Dir, fs)
	if err != nil {
		return nil, fmt.Errorf("open data folder: %w: %w", ErrInUse, err)
	}
	s := &Server{
		dir: opts.Dir, fs: fs, lock: lock, logger: opts.Logger, now: opts.Now,
		locks: lockTable{locks: map[string]*keyLock{}},
		conns: map[net.Conn]struct{}{}, stop: make(chan struct{}),
	}
	s.commands = s.commandTable()
	s.sessions.byID = map[string]*session{}
	s.cursors.byID = map[int64]*cursor{}
	s.snapshots.byTime = map[uint64]*heldSnapshot{}
	if opts.Cache <= 0 {
		opts.Cache = machineCache()
	}
	if err := s.open(opts.Cache, upgrades); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.wg.Go(s.janitor)
	return s, nil
}

// machineCache is the default of Options.Cache.
func machineCache() int64 {
	size := int64(maxCache)
	for _, f := range []struct {
		path, format string
		unit         int64
	}{{"/proc/meminfo", "MemTotal: %d", 1 << 10}, {"/sys/fs/cgroup/memory.max", "%d", 1}} {
		content, err := os.ReadFile(f.path)
		var n int64
		if _, bad := fmt.Sscanf(string(content), f.format, &n); err == nil && bad == nil {
			size = min(size, n*f.unit/16)
		}
	}
	return max(size, minCache)
}

func (s *Server) open(cacheSize int64, upgrades []func(*Server) error) error {
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	opts := &pebble.Options{
		FS: s.fs, Lock: s.lock, Cache: cache, Merger: sumMerger(), Logger: pebbleLogger{s.logger},
		MemTableSize: memTableSize, MemTableStopWritesThreshold: 4,
		FormatMajorVersion: pebble.FormatValueSeparation,
	}
	for i := range opts.Levels {
		// An insert asks for a key that does not exist: answered from memory.
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	opts.EventListener = &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.logger.Error("document store is damaged", "file", filepath.Base(info.Path))
		},
		BackgroundError: s.backgroundError,
	}
	if err := s.checkRoom(); err != nil {
		return err
	}
	db, err := pebble.Open(s.dir, opts)
	if err != nil {
		return openError(err)
	}
	s.db = db
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	s.writeNumber.Store(binary.BigEndian.Uint64(seed[:]))
	err = s.checkFormat(upgrades)
	if err == nil {
		err = s.loadCatalog()
	}
	if err == nil {
		err = s.dropStaleSessions()
	}
	if err != nil {
		return errors.Join(err, s.closeStore())
	}
	return nil
}

// Close ends all connections and transactions and closes the folder.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	for c := range s.conns {
		closeQuietly(c)
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.sessions.closeAll()
	s.cursors.closeWhere(func(*cursor) bool { return true })
	s.snapshots.expire(s.now().Add(snapshotLifetime))
	return errors.Join(s.renewMark(), s.closeStore(), s.lock.Close())
}

func (s *Server) closeStore() error {
	if s.commits.stuck {
		return s.writable() // closing would wait for ever; the log is as it was when writing failed
	}
	var errs []error
	if s.commits.visible != nil {
		errs = append(errs, s.release(s.commits.visible))
	}
	if s.mark != nil {
		errs = append(errs, s.mark.Close())
	}
	if err := errors.Join(append(errs, s.db.Close())...); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// FullScans returns how many queries have read a whole collection or index.
func (s *Server) FullScans() int64 { return s.fullScans.Load() }

// Listen opens "unix:/path/to/file.sock" (the folder and the socket for this user
// only) or a loopback address such as "127.0.0.1:27017".
func Listen(addr string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(addr, "unix:")
	if !isUnix {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("listen on %s: %w", addr, ErrNotLocal)
		}
		l, err := net.Listen("tcp", addr) //nolint:noctx // opening a loopback listener does not block
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		return l, nil
	}
	switch {
	case !strings.HasSuffix(path, ".sock"):
		return nil, fmt.Errorf("listen on %s: the name must end in .sock, drivers tell sockets by that", path)
	case len(path) > 107:
		return nil, fmt.Errorf("listen on %s: a socket path has at most 107 bytes", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path) //nolint:noctx // opening a socket does not block
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a socket is entered by its execute bit nowhere; owner only
		return nil, errors.Join(fmt.Errorf("protect socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStaleSocket removes a socket that nothing answers on, as a killed
// process leaves it behind.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket: %w", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: a file of that name exists", path)
	}
	if c, err := net.Dial("unix", path); err == nil { //nolint:noctx // a local socket answers at once
		closeQuietly(c)
		return fmt.Errorf("listen on %s: %w", path, ErrInUse)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// URI returns the connection string for a driver. The direct connection keeps
// sessions, retryable writes, transactions and snapshot reads: the driver takes
// them from the server's hello.
func URI(l net.Listener) string {
	host := l.Addr().String()
	if l.Addr().Network() == "unix" {
		host = url.PathEscape(host)
	}
	return "mongodb://" + host + "/?directConnection=true"
}

// Serve accepts connections until ctx ends or the server is closed, and returns
// nil then. A listener that other machines could reach is ErrNotLocal.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if !isLocal(l.Addr()) {
		return ErrNotLocal
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-s.stop:
			cancel()
		}
		closeQuietly(l)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil // closed on purpose
			}
			return fmt.Errorf("accept: %w", err)
		}
		if !s.track(c) {
			closeQuietly(c)
			return nil
		}
		go func() {
			defer s.wg.Done()
			s.serveConn(ctx, c)
		}()
	}
}

func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	default:
		return false
	}
}

// track registers a connection unless the server is closed.
func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// conn is one connection, served by one goroutine.
type conn struct {
	net net.Conn
	id  int64
}

func (s *Server) serveConn(ctx context.Context, nc net.Conn) {
	stop := context.AfterFunc(ctx, func() { closeQuietly(nc) })
	c := &conn{net: nc, id: int64(s.clusterTick())} //nolint:gosec // any distinct number serves
	defer func() {
		if fault := recover(); fault != nil {
			s.reportFault(ctx, c, fault)
		}
		stop()
		closeQuietly(nc)
		s.sessions.disconnected(c)
		s.mu.Lock()
		delete(s.conns, nc)
		s.mu.Unlock()
	}()
	r, w := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriterSize(nc, 64<<10)
	for {
		m, err := readMessage(r)
		if err != nil {
			if errors.Is(err, errProtocol) {
				s.logger.WarnContext(ctx, "connection ended by protocol error", "conn", c.id, "err", err)
			}
			return
		}
		reply, tail := s.handle(ctx, c, m)
		if m.moreToCome {
			continue
		}
		if err := writeReply(w, m, reply, tail); err != nil {
			return
		}
	}
}

// reportFault logs a panic that ended a connection. Nothing of the command is in
// the store: its writes are collected first, and apply looks after itself. The
// value of the panic is left out unless it is the runtime's: it could be data.
func (s *Server) reportFault(ctx context.Context, c *conn, fault any) {
	what := fmt.Sprintf("%T", fault)
	if e, ok := fault.(runtime.Error); ok {
		what = e.Error()
	}
	s.logger.ErrorContext(ctx, "connection ended by a fault of the engine", "conn", c.id, "fault", what, "stack", string(debug.Stack()))
}

// janitor ends what its clients have forgotten.
func (s *Server) janitor() {
	tick := time.NewTicker(janitorPeriod)
	defer tick.Stop()
	swept := s.now()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			now := s.now()
			s.sessions.expire(now)
			s.cursors.closeWhere(func(c *cursor) bool { return now.Sub(c.used) > cursorIdle })
			s.snapshots.expire(now.Add(-snapshotLifetime))
			s.checkSpace()
			if err := s.renewMark(); err != nil {
				s.logger.Error("mark was not renewed", "err", err)
			}
			if now.Sub(swept) > sessionSweep {
				swept = now
				if err := s.dropStaleSessions(); err != nil {
					s.logger.Error("session records were not cleared", "err", err)
				}
			}
		}
	}
}

// clusterTick advances the logical clock: seconds in the upper half, a counter in
// the lower. It never goes back.
func (s *Server) clusterTick() uint64 {
	now := uint64(s.now().Unix()) << 32 //nolint:gosec // not before 1970
	for {
		old := s.clusterTime.Load()
		next := max(old+1, now+1)
		if s.clusterTime.CompareAndSwap(old, next) {
			return next
		}
	}
}

// pebbleLogger passes the store's errors on and drops its chatter.
type pebbleLogger struct{ logger *slog.Logger }

// Infof drops routine messages.
func (pebbleLogger) Infof(string, ...any) {}

// Errorf logs an error of the store.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error("document store error", "detail", fmt.Sprintf(format, args...))
}

// Fatalf is called when the store cannot go on. In a commit the panic ends all
// writing, see apply; in the store's own work it ends the process, which finds
// everything acknowledged when it starts again.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	panic(fmt.Sprintf(format, args...))
}

var _ io.Closer = (*Server)(nil)
