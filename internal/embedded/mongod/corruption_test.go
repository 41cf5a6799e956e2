package mongod_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// TestCorruption flips bytes and cuts files of a folder, as a bad disk does:
// either opening or checking finds it and names the file, or nothing is missing
// and nothing is wrong, because the byte had no meaning.
func TestCorruption(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	c := e.db.Collection("c")
	if _, err := c.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: d("n", 1)}); err != nil {
		t.Fatal(err)
	}
	const docs = 400
	for i := range docs {
		if i == docs/2 {
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		must(c.InsertOne(t.Context(), d("_id", i, "n", docs-i, "text", strings.Repeat("x", 50))))(t)
	}
	time.Sleep(1500 * time.Millisecond) // damage to the last second may pass for a torn write
	good := t.TempDir()
	if err := os.CopyFS(good, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if found, err := inspect(t, good, docs); err != nil || found != nil {
		t.Fatalf("the copy itself: %v, %v", found, err)
	}
	step := 1500
	if full() {
		step = 97
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	detected := map[string]int{}
	for _, path := range files {
		name := filepath.Base(path)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		used := len(strings.TrimRight(string(content), "\x00")) // a log is made longer beforehand
		kind := strings.TrimLeft(filepath.Ext(name), ".")
		if kind == "" {
			kind, _, _ = strings.Cut(name, "-")
		}
		for at := 0; at < used; at += min(step, max(used/8, 1)) {
			for damage, change := range map[string]func([]byte) []byte{
				"flipped": func(b []byte) []byte { b[at] ^= 0x10; return b },
				"cut":     func(b []byte) []byte { return b[:at] },
			} {
				bad := t.TempDir()
				if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(bad, name), change([]byte(string(content))), 0o600); err != nil {
					t.Fatal(err)
				}
				found, err := inspect(t, bad, docs)
				switch {
				case err != nil:
					t.Errorf("%s %s at %d of %d: %v", name, damage, at, used, err)
				case found != nil:
					detected[kind+" "+damage]++
				}
			}
		}
	}
	t.Log(detected)
	for _, kind := range []string{"sst", "log", "MANIFEST"} {
		if detected[kind+" flipped"] == 0 {
			t.Errorf("no flipped byte of a %s was detected", kind)
		}
	}
}

// inspect opens dir and reads everything. It returns what was found by the
// engine, or an error if the engine serves less or other than was acknowledged.
func inspect(t *testing.T, dir string, docs int) (found, err error) {
	t.Helper()
	srv, found := mongod.Open(mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if found == nil {
		found = errors.Join(srv.Check(t.Context()), srv.Close())
	}
	if found != nil {
		if !errors.Is(found, mongod.ErrDamaged) {
			return nil, fmt.Errorf("found, but not named as damage: %w", found)
		}
		return found, nil
	}
	t.Run("", func(t *testing.T) {
		e := start(t, dir)
		var all []struct {
			ID   int    `bson:"_id"`
			N    int    `bson:"n"`
			Text string `bson:"text"`
		}
		cur, ferr := e.db.Collection("c").Find(t.Context(), bson.D{})
		if ferr == nil {
			ferr = cur.All(t.Context(), &all)
		}
		if ferr != nil {
			err = ferr
			return
		}
		if len(all) != docs {
			err = fmt.Errorf("%d of %d documents are left and nothing was said", len(all), docs)
			return
		}
		for _, doc := range all {
			if doc.N != docs-doc.ID || doc.Text != strings.Repeat("x", 50) {
				err = fmt.Errorf("document %d is not what was written", doc.ID)
			}
		}
	})
	return nil, err
}

// TestFormat: an older folder is upgraded once, step by step; a newer one refused.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	opts := mongod.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Now: time.Now}
	reopen := func(open func(mongod.Options) (*mongod.Server, error), before func(*mongod.Server) error) error {
		srv, err := open(opts)
		if err != nil {
			return err
		}
		return errors.Join(before(srv), srv.Close())
	}
	nothing := func(*mongod.Server) error { return nil }
	if err := reopen(mongod.Open, func(s *mongod.Server) error { return s.SetFormat(1) }); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "durable")); err != nil { // version 1 had none
		t.Fatal(err)
	}
	if err := reopen(mongod.Open, nothing); err != nil {
		t.Errorf("upgrade from version 1: %v", err)
	}
	var steps int
	step := func(*mongod.Server) error { steps++; return nil }
	upgrading := func(opts mongod.Options) (*mongod.Server, error) { return mongod.OpenUpgrading(opts, step) }
	failing := func(opts mongod.Options) (*mongod.Server, error) {
		return mongod.OpenUpgrading(opts, func(*mongod.Server) error { return os.ErrInvalid })
	}
	if err := reopen(failing, nothing); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("failing upgrade: %v", err)
	}
	if err := reopen(mongod.Open, nothing); err != nil {
		t.Errorf("after a failed upgrade: %v", err)
	}
	for range 2 {
		if err := reopen(upgrading, nothing); err != nil || steps != 1 {
			t.Errorf("upgrade: %v, %d steps", err, steps)
		}
	}
	if err := reopen(mongod.Open, nothing); err == nil || !strings.Contains(err.Error(), "format version 3") {
		t.Errorf("newer format: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "durable")); err != nil {
		t.Fatal(err)
	}
	if err := reopen(upgrading, nothing); !errors.Is(err, mongod.ErrDamaged) {
		t.Errorf("without its mark: %v", err)
	}
}

func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }
