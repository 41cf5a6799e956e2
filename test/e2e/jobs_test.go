package e2e_test

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/local"
)

// finished is how often the audit log says that a job has finished, by job.
func (p *platform) finished(t *testing.T) map[string]int {
	t.Helper()
	times := map[string]int{}
	p.documents(t, local.PartData, func(place string, raw []byte) {
		if place != "vogter.audit" {
			return
		}
		entry := bson.Raw(raw)
		if action, ok := entry.Lookup("action").StringValueOK(); ok && action == "job.finish" {
			times[entry.Lookup("object").StringValue()]++
		}
	})
	return times
}

// onlyOnce checks that exports took effect exactly once: one package each in the
// object storage, one entry in the audit log.
func onlyOnce(t *testing.T, p *platform, c client, exports ...export) {
	t.Helper()
	finished := p.finished(t)
	for _, e := range exports {
		got := c.export(t, e.ID)
		if got.State != "READY" || got.Job.State != "SUCCEEDED" {
			t.Errorf("export %s is %s, its job %+v", e.ID, got.State, got.Job)
		}
		if n := finished[e.Job.ID]; n != 1 {
			t.Errorf("job %s has %d entries job.finish", e.Job.ID, n)
		}
		var packages []string
		for _, o := range p.objects(t, e.ID) {
			if !o.IsDeleteMarker {
				packages = append(packages, o.Key+"@"+o.VersionID)
			}
		}
		if len(packages) != 1 {
			t.Errorf("export %s has the objects %v", e.ID, packages)
		}
	}
}

// TestRedisWiped wipes the queue twice in the middle of 50 exports, once while
// half of them wait in it and once while the worker takes from it: each
// succeeds, none twice.
func TestRedisWiped(t *testing.T) {
	const half = 25
	p := running(t)
	p.indexed(t)
	c, queue := p.machine(t, first), p.redis(t)
	people := make([]person, 2*half)
	for i := range people {
		people[i] = c.createPerson(t, p.someone().input())
	}
	wipe := func() {
		if err := queue.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	began, exports := time.Now(), make([]export, 0, 2*half)
	worker := p.stack.PID(local.PartWorker)
	signal(t, worker, syscall.SIGSTOP)
	defer signal(t, worker, syscall.SIGCONT)
	for _, of := range people[:half] {
		exports = append(exports, c.requestExport(t, of))
	}
	eventually(t, 10*time.Second, "half of the exports wait in the queue", func() bool { return pending(t, queue) >= half })
	wipe()
	signal(t, worker, syscall.SIGCONT)
	for _, of := range people[half:] {
		exports = append(exports, c.requestExport(t, of))
	}
	waiting, open := pending(t, queue), 0
	wipe()
	for _, e := range exports {
		if c.job(t, e.Job.ID).State != "SUCCEEDED" {
			open++
		}
	}
	t.Logf("second wipe: %d jobs waited, %d were not done", waiting, open)
	if open <= half {
		t.Error("the second half was over before the wipe")
	}
	for _, e := range exports {
		if c.job(t, e.Job.ID).State != "SUCCEEDED" {
			c.finish(t, e.Job.ID, 2*time.Minute)
		}
	}
	t.Logf("%d exports: %.1f s", len(exports), time.Since(began).Seconds())
	onlyOnce(t, p, c, exports...)
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// pending is how many jobs wait in the queue.
func pending(t *testing.T, queue *redis.Client) int {
	t.Helper()
	lists, err := queue.Keys(t.Context(), "asynq:*:pending").Result()
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, list := range lists {
		length, err := queue.LLen(t.Context(), list).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += length
	}
	return int(n)
}

// TestWorkerKilled kills the worker in the middle of a large export: its
// successor finishes it.
func TestWorkerKilled(t *testing.T) {
	p := running(t)
	p.indexed(t)
	c := p.machine(t, first)
	somebody, set := c.createPerson(t, p.someone().input()), c.documents(t)
	content := make([]byte, 32<<20)
	_, _ = rand.Read(content) // never fails
	var written []row
	for range 4 {
		file := c.upload(t, somebody, set, "large.pdf", bytes.NewReader(content))
		written = append(written, c.write(t, somebody, set, vars{"document": file}))
	}
	made := c.requestExport(t, somebody)
	// It is in the middle when it runs and has told how far it is.
	c.watch(t, made.Job.ID, time.Minute, func(j job) bool { return j.State != "RUNNING" })
	pid := p.stack.PID(local.PartWorker)
	signal(t, pid, syscall.SIGKILL)
	killed := time.Now()
	if j := c.job(t, made.Job.ID); j.State != "RUNNING" {
		t.Fatalf("the job was over before the worker was: %+v", j)
	}
	c.finish(t, made.Job.ID, 3*time.Minute)
	t.Logf("the export was finished %.1f s after the worker's end", time.Since(killed).Seconds())
	if now := p.stack.PID(local.PartWorker); now == pid || now == 0 {
		t.Errorf("the worker's process is %d, was %d", now, pid)
	}
	onlyOnce(t, p, c, made)
	got := c.export(t, made.ID)
	if got.Job.Attempt < 2 {
		t.Errorf("it took %d attempts", got.Job.Attempt)
	}
	a := c.call(t, http.MethodGet, c.grant(t, made.ID).URL, http.NoBody)
	path := filepath.Join(t.TempDir(), "package.zip")
	write(t, path, a.body)
	if out, err := p.vogter(t, nil, "verify", path); err != nil || !strings.HasPrefix(out, "OK") {
		t.Errorf("verify: %v: %s", err, out)
	}
	if n := bytes.Count(a.body, content[:4096]); n != len(written) {
		t.Errorf("the package has %d documents", n)
	}
	for _, r := range written { // less for others to look through
		c.deleteRecord(t, r)
	}
}
