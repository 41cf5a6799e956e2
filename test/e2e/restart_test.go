package e2e_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

// TestSecondStart stops the platform and starts it again in the same folder.
func TestSecondStart(t *testing.T) {
	p := running(t)
	c, who, ready := p.machine(t, first), p.someone(), filepath.Join(p.stack.Env().Dir, "ready.json")
	somebody, set := c.createPerson(t, who.input()), c.documents(t)
	file := c.upload(t, somebody, set, "kept.txt", strings.NewReader("kept"))
	written := c.write(t, somebody, set, vars{"title": who.name, "document": file})
	made := c.requestExport(t, somebody) // done before the stop or after the start

	if err := p.stack.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ready); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ready.json after the stop: %v", err)
	}
	for _, part := range []string{local.PartData, local.PartKeys, local.PartRedis, local.PartS3, local.PartKratos, local.PartAPI, local.PartWorker} {
		if pid := p.stack.PID(part); pid != 0 {
			t.Errorf("%s still runs", part)
		}
	}

	began := time.Now()
	p.stack = nil
	if p.failed = p.start(t); p.failed != nil {
		t.Fatal(p.failed)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the second start took %s", took)
	}
	again := p.machine(t, first)
	if again.token != c.token {
		t.Error("the demo has another key")
	}
	p.indexed(t)
	c.base = again.base // ports are free ones
	if found := c.findOne(t, vars{"reference": who.reference}); found.ID != somebody.ID || found.Name.Full != who.name {
		t.Error("the person is another")
	}
	if got := c.record(t, written.ID); got.text(t, "title") != who.name {
		t.Errorf("the record reads %+v", got)
	}
	if a := c.call(t, http.MethodGet, c.grant(t, file).URL, http.NoBody); string(a.body) != "kept" {
		t.Errorf("the file reads %d %s", a.status, a.body)
	}
	c.finish(t, made.Job.ID, time.Minute)
	onlyOnce(t, p, c, made)
	p.member(t, first, "OWNER") // signs in by the password of the first start
}
