package mongod_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// disk is the real one, with faults that a test turns on.
type disk struct {
	vfs.FS

	full  atomic.Bool  // reports no free space
	fails atomic.Bool  // writing a log fails for want of space
	slow  atomic.Int64 // nanoseconds that a sync of a log takes longer
}

func newDisk() *disk {
	d := &disk{}
	d.FS = failing(".log", d.fails.Load)
	d.FS = errorfs.Wrap(d.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && op.Kind != errorfs.OpFileWrite {
			time.Sleep(time.Duration(d.slow.Load()))
		}
		return nil
	}))
	return d
}

// failing is the real disk, without space for files whose names hold kind while
// now says so.
func failing(kind string, now func() bool) vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.Contains(filepath.Base(op.Path), kind) && now() {
				return syscall.ENOSPC
			}
		default:
		}
		return nil
	}))
}

// GetDiskUsage implements vfs.FS.
func (d *disk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	usage, err := d.FS.GetDiskUsage(path)
	if d.full.Load() {
		usage.AvailBytes = 1 << 20
	}
	return usage, err
}

// TestDiskFull: without space a client gets an error, what was acknowledged is
// kept and read, and what was not is never seen.
func TestDiskFull(t *testing.T) {
	t.Run("refused while little is left", func(t *testing.T) {
		fs, ctx := newDisk(), t.Context()
		e := startOn(t, t.TempDir(), fs)
		c := e.db.Collection("c")
		must(c.InsertOne(ctx, d("_id", 1)))(t)
		fs.full.Store(true)
		_, err := c.InsertOne(ctx, d("_id", 2, "b", make([]byte, 2<<20)))
		if !isCode(err, 14031) {
			t.Errorf("insert: %v", err)
		}
		if _, err := c.DeleteOne(ctx, d("_id", 1)); !isCode(err, 14031) {
			t.Errorf("delete: %v", err)
		}
		if got := ids(ctx, t, c, d(), nil, 0); len(got) != 1 {
			t.Errorf("read %v", got)
		}
		fs.full.Store(false)
		for deadline := time.Now().Add(10 * time.Second); ; {
			if _, err = c.InsertOne(ctx, d("_id", 3)); err == nil || time.Now().After(deadline) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if got := ids(ctx, t, c, d(), nil, 0); err != nil || len(got) != 2 {
			t.Errorf("after there was space again: %v, read %v", err, got)
		}
	})
	t.Run("the log cannot be written", func(t *testing.T) {
		fs, ctx, dir := newDisk(), t.Context(), t.TempDir()
		var acked sync.Map
		t.Run("", func(t *testing.T) {
			e := startOn(t, dir, fs)
			c := e.db.Collection("c")
			must(c.InsertOne(ctx, d("_id", "first")))(t)
			acked.Store("first", true)
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := range 1000 {
						id := string(rune('a'+w)) + string(rune('0'+i))
						if _, err := c.InsertOne(ctx, d("_id", id)); err != nil {
							if !isCode(err, 14031) {
								t.Errorf("insert: %v", err)
							}
							return
						}
						acked.Store(id, true)
						if i == 20 {
							fs.fails.Store(true)
						}
					}
					t.Error("all was acknowledged")
				})
			}
			wg.Wait()
			fs.fails.Store(false) // the engine does not trust the log again
			if _, err := c.InsertOne(ctx, d("_id", "later")); !isCode(err, 14031) {
				t.Errorf("insert after the failure: %v", err)
			}
			if _, err := c.UpdateOne(ctx, d("_id", "none"), d("$set", d("a", 1))); !isCode(err, 14031) {
				t.Errorf("update of nothing after the failure: %v", err)
			}
			sess := must(e.client.StartSession())(t)
			defer sess.EndSession(ctx)
			_, err := sess.WithTransaction(ctx, func(tx context.Context) (any, error) {
				return c.InsertOne(tx, d("_id", "in a transaction"))
			})
			if !isCode(err, 14031) {
				t.Errorf("transaction after the failure: %v", err)
			}
			for _, id := range ids(ctx, t, c, d(), nil, 0) {
				if _, ok := acked.Load(id); !ok {
					t.Errorf("%v was refused and is read", id)
				}
			}
		})
		e := start(t, dir)
		have := map[any]bool{}
		for _, id := range ids(ctx, t, e.db.Collection("c"), d(), nil, 0) {
			have[id] = true
		}
		acked.Range(func(id, _ any) bool {
			if !have[id] {
				t.Errorf("acknowledged write %v is lost", id)
			}
			return true
		})
		if err := e.Check(ctx); err != nil {
			t.Error(err)
		}
	})
}

// load inserts documents of 50 KB from eight writers until each has got an error,
// and returns what was acknowledged. It calls at after 100 documents.
func load(t *testing.T, c *child, at func()) (acked map[any]bool, errs []error) {
	t.Helper()
	ctx, coll := t.Context(), c.client.Database("test").Collection("c")
	acked = map[any]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10_000 {
				id := int64(w*10_000 + i)
				_, err := coll.InsertOne(ctx, d("_id", id, "b", noise(i, 50_000)))
				mu.Lock()
				if err == nil {
					acked[id] = true
				} else {
					errs = append(errs, err)
				}
				if len(acked) == 100 && err == nil {
					at()
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if len(errs) != 8 || len(acked) < 100 {
		t.Fatalf("%d writers ended after %d documents", len(errs), len(acked))
	}
	return acked, errs
}

// keeps reopens a folder that a child has served and proves that it holds what was
// acknowledged.
func keeps(t *testing.T, dir string, acked map[any]bool) {
	t.Helper()
	e := start(t, dir)
	have := map[any]bool{}
	for _, id := range ids(t.Context(), t, e.db.Collection("c"), d(), nil, 0) {
		have[id] = true
	}
	for id := range acked {
		if !have[id] {
			t.Errorf("acknowledged document %v is lost", id)
		}
	}
	if err := e.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := e.db.Collection("c").InsertOne(t.Context(), d("_id", "later")); err != nil {
		t.Errorf("insert once there is space: %v", err)
	}
}

// TestManifest: an engine that cannot note which tables it has ends; one that
// cannot write a table refuses writes. Both find everything that they have
// acknowledged when they start again.
func TestManifest(t *testing.T) {
	for _, kind := range []string{"MANIFEST", ".sst"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			c := startChild(t, dir, childFails+"="+kind)
			fail := func() {
				if err := os.WriteFile(dir+".fail", nil, 0o600); err != nil {
					t.Error(err)
				}
			}
			acked, errs := load(t, c, fail)
			for _, err := range errs {
				if kind == ".sst" && !isCode(err, 14031) {
					t.Errorf("insert: %v", err)
				}
			}
			c.kill(t)
			keeps(t, dir, acked)
		})
	}
}

// TestSmallDisk: on a disk that is really full, with the engine's reserve and
// without, what was acknowledged is kept.
func TestSmallDisk(t *testing.T) {
	mounted := func(t *testing.T) string {
		t.Helper()
		disk := t.TempDir()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", disk).CombinedOutput(); err != nil {
			t.Skipf("no small disk can be mounted here: %v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
				t.Errorf("unmount: %v: %s", err, out)
			}
		})
		return disk
	}
	t.Run("that the engine sees filling", func(t *testing.T) {
		disk := mounted(t)
		c := startChild(t, filepath.Join(disk, "data"))
		acked, errs := load(t, c, func() {})
		for _, err := range errs {
			if !isCode(err, 14031) {
				t.Errorf("insert: %v", err)
			}
		}
		if n, err := c.client.Database("test").Collection("c").CountDocuments(t.Context(), d("b", d("$exists", true))); err != nil || n != int64(len(acked)) {
			t.Errorf("reads %d of %d documents: %v", n, len(acked), err)
		}
		c.kill(t)
		if out, err := exec.Command("mount", "-o", "remount,size=400m", disk).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		keeps(t, filepath.Join(disk, "data"), acked)
	})
	t.Run("that others fill at once", func(t *testing.T) {
		disk := mounted(t)
		filler := filepath.Join(disk, "filler")
		c := startChild(t, filepath.Join(disk, "data"))
		acked, _ := load(t, c, func() {
			if err := os.WriteFile(filler, make([]byte, 200<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("the disk is not full: %v", err)
			}
		})
		c.kill(t)
		_, err := mongod.Open(mongod.Options{Dir: filepath.Join(disk, "data"), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, mongod.ErrDamaged) {
			t.Errorf("opened on a full disk: %v", err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		keeps(t, filepath.Join(disk, "data"), acked)
	})
}

// TestDurableBeforeVisible: while a commit is on its way to the disk no reader
// sees it, and writers that build upon it end after it.
func TestDurableBeforeVisible(t *testing.T) {
	fs, ctx := newDisk(), t.Context()
	e := startOn(t, t.TempDir(), fs)
	c := e.db.Collection("c")
	must(c.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	fs.slow.Store(int64(300 * time.Millisecond))
	var acked atomic.Bool
	var wg sync.WaitGroup
	began := time.Now()
	for range 4 { // upon each other, within one sync or two
		wg.Go(func() {
			if _, err := c.UpdateByID(ctx, 1, d("$inc", d("n", 1))); err != nil {
				t.Error(err)
			}
			acked.Store(true)
		})
	}
	var n any
	for polls := 0; ; polls++ {
		before := acked.Load()
		var doc bson.M
		if err := c.FindOne(ctx, d("_id", 1)).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if n = doc["n"]; n != int32(0) {
			if took := time.Since(began); took < 300*time.Millisecond {
				t.Errorf("seen after %v, before it was on disk", took)
			}
			if polls == 0 {
				t.Error("never looked while the commit was under way")
			}
			break
		}
		if before {
			t.Fatal("acknowledged and not seen")
		}
	}
	wg.Wait()
	if took := time.Since(began); took > 1100*time.Millisecond {
		t.Errorf("four updates of one document took %v: each waited for the disk alone", took)
	}
	fs.slow.Store(0)
	var doc bson.M
	if err := c.FindOne(ctx, d("_id", 1)).Decode(&doc); err != nil || doc["n"] != int32(4) {
		t.Errorf("n = %v (%v), want 4", doc["n"], err)
	}
}

// TestFault: a fault of the engine ends one connection and holds nobody up.
func TestFault(t *testing.T) {
	var log bytes.Buffer
	e := startWith(t, mongod.Options{
		Dir: t.TempDir(), Now: time.Now, Logger: slog.New(slog.NewTextHandler(&syncWriter{w: &log}, nil)),
	})
	ctx := t.Context()
	c := e.db.Collection("c")
	must(c.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	e.FaultOn("fault")
	if err := e.db.RunCommand(ctx, d("fault", "c")).Err(); err == nil {
		t.Fatal("the fault was answered")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.UpdateByID(ctx, 1, d("$inc", d("n", 1))); err != nil {
		t.Errorf("a key that the fault had locked: %v", err)
	}
	if out := log.String(); !strings.Contains(out, "fault of the engine") || strings.Contains(out, "secret") {
		t.Errorf("log: %s", out)
	}
}

type syncWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// TestSessionRecords: what is kept of a session for retries goes when the session
// has expired, while the engine runs.
func TestSessionRecords(t *testing.T) {
	e, ctx := start(t, t.TempDir()), t.Context()
	must(e.db.Collection("c").InsertOne(ctx, d("_id", 1)))(t)
	if n := must(e.SessionRecords())(t); n != 1 {
		t.Fatalf("%d session records", n)
	}
	e.ahead.Store(int64(31 * time.Minute))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		n := must(e.SessionRecords())(t)
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d session records of expired sessions", n)
		}
	}
}

func startOn(t *testing.T, dir string, fs vfs.FS) *engine {
	t.Helper()
	return startWith(t, mongod.Options{Dir: dir, FS: fs, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
}
