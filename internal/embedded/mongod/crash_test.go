package mongod_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// Set, this process is a server of the folder, to be killed; and one that cannot
// write files of this kind once there is a file "fail" beside the folder.
const (
	childDir   = "VOGTER_TEST_MONGOD_DIR"
	childFails = "VOGTER_TEST_MONGOD_FAILS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := serveChild(dir); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveChild serves dir until the process is killed; it prints its URI when ready.
func serveChild(dir string) error {
	opts := mongod.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: time.Now}
	if kind := os.Getenv(childFails); kind != "" {
		opts.FS = failing(kind, func() bool { _, err := os.Stat(dir + ".fail"); return err == nil })
	}
	srv, err := mongod.Open(opts)
	if err != nil {
		return err
	}
	l, err := mongod.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(os.Stdout, mongod.URI(l)+"\n"); err != nil {
		return err
	}
	return srv.Serve(context.Background(), l)
}

// child is a server in a process of its own.
type child struct {
	cmd    *exec.Cmd
	client *mongo.Client
}

func startChild(t *testing.T, dir string, env ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	uri, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	// The engine answers as soon as it has told its address, so this is no wait for it:
	// it is how long a call goes on looking for one that was killed, and a heartbeat
	// that a busy machine delays mustn't make a living one look dead.
	client, err := mongo.Connect(options.Client().ApplyURI(strings.TrimSpace(uri)).SetServerSelectionTimeout(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, client: client}
}

// kill ends the process at once.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = c.cmd.Wait() // it was killed
	if err := c.client.Disconnect(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestKill kills the server under load, again and again: every acknowledged
// write is there afterwards, no transaction is half there, and every index entry
// has its document and the reverse.
func TestKill(t *testing.T) {
	rounds := 5
	if full() {
		rounds = 100
	}
	dir := t.TempDir()
	acked := map[string]bool{}
	var mu sync.Mutex
	for round := range rounds {
		c := startChild(t, dir)
		db := c.client.Database("test")
		if _, err := db.Collection("w").Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: d("worker", 1, "tags", 1)}); err != nil {
			t.Fatal(err)
		}
		verify(t, db, acked)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					id := fmt.Sprintf("%d-%d-%d", round, worker, i)
					if err := write(ctx, c.client, worker, id); err != nil {
						return // the server is gone
					}
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(200+50*(round%10)) * time.Millisecond)
		if err := c.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		c.kill(t)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was written")
	}
	t.Logf("%d acknowledged writes over %d kills", len(acked), rounds)
	c := startChild(t, dir)
	verify(t, c.client.Database("test"), acked)
	c.kill(t)
	srv, err := mongod.Open(mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(srv.Check(t.Context()), srv.Close()); err != nil {
		t.Error(err)
	}
}

// write writes id into two collections, in a transaction or as two batches.
func write(ctx context.Context, client *mongo.Client, worker int, id string) error {
	w, x := client.Database("test").Collection("w"), client.Database("test").Collection("x")
	one := d("_id", id, "worker", worker, "tags", bson.A{"a", id})
	if worker%2 == 0 {
		_, err := w.InsertMany(ctx, []any{one, d("_id", id+"+", "worker", worker)})
		return err
	}
	sess, err := client.StartSession()
	if err != nil {
		return err
	}
	defer sess.EndSession(context.WithoutCancel(ctx))
	if err := sess.StartTransaction(); err != nil {
		return err
	}
	tx := mongo.NewSessionContext(ctx, sess)
	if _, err := w.InsertOne(tx, one); err != nil {
		return err
	}
	if _, err := x.InsertOne(tx, d("_id", id)); err != nil {
		return err
	}
	return sess.CommitTransaction(tx)
}

func verify(t *testing.T, db *mongo.Database, acked map[string]bool) {
	t.Helper()
	have := map[string]map[any]bool{}
	for _, name := range []string{"w", "x"} {
		have[name] = map[any]bool{}
		for _, id := range ids(t.Context(), t, db.Collection(name), d(), nil, 0) {
			have[name][id] = true
		}
	}
	for id := range acked {
		if !have["w"][id] {
			t.Errorf("acknowledged write %s is lost", id)
		}
	}
	var docs []struct {
		ID     string `bson:"_id"`
		Worker int    `bson:"worker"`
	}
	cur, err := db.Collection("w").Find(t.Context(), d("worker", d("$in", bson.A{1, 3, 5, 7})))
	if err == nil {
		err = cur.All(t.Context(), &docs)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		if !have["x"][doc.ID] {
			t.Errorf("transaction %s is half there", doc.ID)
		}
	}
	if len(docs) != len(have["x"]) {
		t.Errorf("%d documents of transactions in one collection, %d in the other", len(docs), len(have["x"]))
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	opts := mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now}
	c := startChild(t, dir)
	if _, err := mongod.Open(opts); !errors.Is(err, mongod.ErrInUse) {
		t.Errorf("second process: %v", err)
	}
	c.kill(t)
	srv, err := mongod.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mongod.Open(opts); !errors.Is(err, mongod.ErrInUse) {
		t.Errorf("second server: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:0", "localhost", "unix:" + filepath.Join(t.TempDir(), "noend")} {
		if l, err := mongod.Listen(addr); err == nil {
			t.Errorf("%s was accepted", addr)
			_ = l.Close()
		}
	}
	path := filepath.Join(t.TempDir(), "s", "m.sock")
	l, err := mongod.Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v %v", info.Mode(), err)
	}
	if _, err := mongod.Listen("unix:" + path); !errors.Is(err, mongod.ErrInUse) {
		t.Errorf("second listener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
