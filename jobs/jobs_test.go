package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/jobs"
)

const (
	work    = "test:work"
	patient = 60 * time.Second // a test that waits longer has failed
)

// platform is everything that moves jobs, over one database and one Redis.
type platform struct {
	mongo, url string
	redis      *redis.Client
	changes    *change.Runner
	jobs       *job.Service
	queue      *jobs.AsynqQueue
	bell       jobs.Bell
	log        *slog.Logger
	timing     jobs.Timing
}

// impatient is the timing of a platform under test.
func impatient() (job.Timing, jobs.Timing) {
	return job.Timing{Lease: 4 * time.Second, Renew: 300 * time.Millisecond, Pause: 20 * time.Millisecond},
		jobs.Timing{
			Poll: 50 * time.Millisecond, Reconcile: 100 * time.Millisecond, LostAfter: 300 * time.Millisecond,
			Check: 20 * time.Millisecond, Lease: time.Second, Renew: 200 * time.Millisecond,
		}
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	return connect(t, testenv.MongoURI(t), testenv.Redis(t))
}

func connect(t *testing.T, mongoURI, redisURL string) *platform {
	t.Helper()
	db := testenv.Data(t, mongoURI)
	client, err := jobs.OpenRedis(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close redis: %v", err)
		}
	})
	own, timing := impatient()
	p := &platform{
		mongo: mongoURI, url: redisURL, redis: client, queue: jobs.NewAsynqQueue(client),
		bell: jobs.NewBell(), log: testenv.Logger(t), timing: timing,
	}
	p.changes, _ = testenv.Changes(t, db, nil, nil, p.bell.Ring)
	p.jobs = job.NewService(mongo.NewJobStore(db), p.changes, testenv.Now, p.log, own)
	return p
}

// run runs until the test ends or stop is called, which waits.
func run(t *testing.T, parts ...func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("background part: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (p *platform) server(concurrency int, grace time.Duration, h jobs.Handler) *jobs.Server {
	mux := jobs.NewMux()
	mux.Handle(work, h)
	return jobs.NewServer(jobs.ServerConfig{
		Jobs: p.jobs, Redis: p.redis, Mux: mux, Log: p.log, Concurrency: concurrency, Grace: grace, Timing: p.timing,
	})
}

func (p *platform) relay() *jobs.Relay {
	return jobs.NewRelay(p.jobs, p.queue, p.bell, p.log, p.timing)
}

func (p *platform) reconciler() *jobs.Reconciler {
	return jobs.NewReconciler(p.jobs, p.queue, p.bell, p.log, p.timing)
}

// ask commits n jobs of a tenant and returns their ids.
func (p *platform) ask(t *testing.T, of tenant.ID, n int, spec job.Spec) []string {
	t.Helper()
	ids := make([]string, n)
	err := p.changes.Do(tenant.NewContext(t.Context(), of), func(context.Context) (change.Change, error) {
		c := change.Change{Action: "test.ask"}
		for i := range n {
			ids[i] = id.New(id.Job, of)
			spec.ID, spec.Object = ids[i], "obj_"+ids[i]
			if spec.Type == "" {
				spec.Type = work
			}
			c.Then = append(c.Then, spec)
		}
		return c, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func (p *platform) get(t *testing.T, of tenant.ID, jobID string) *job.Job {
	t.Helper()
	j, err := p.jobs.Get(tenant.NewContext(t.Context(), of), jobID)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// until waits for the jobs of a tenant to be in a state.
func (p *platform) until(t *testing.T, of tenant.ID, want job.State, ids ...string) {
	t.Helper()
	waitFor(t, string(want), func() bool {
		for _, jobID := range ids {
			if p.get(t, of, jobID).State != want {
				return false
			}
		}
		return true
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// entries counts the audit entries by action and object.
func (p *platform) entries(t *testing.T, of tenant.ID) map[string]int {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(p.mongo))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Disconnect(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	cursor, err := client.Database("vogter").Collection("audit").Find(t.Context(), bson.D{{Key: "tenant", Value: of}})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct{ Action, Object string }
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, d := range docs {
		n[d.Action+" "+d.Object]++
	}
	return n
}

// effect commits an effect under the run's claim.
func (p *platform) effect(ctx context.Context, r *job.Run) error {
	return p.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "test.effect", Object: r.Object()}, r.Guard(ctx)
	})
}

func TestWipedRedis(t *testing.T) {
	const n = 50
	p := newPlatform(t)
	var started atomic.Int64
	handler := func(ctx context.Context, r *job.Run) error {
		started.Add(1)
		time.Sleep(50 * time.Millisecond)
		return p.effect(ctx, r)
	}
	run(t, p.relay().Run, p.reconciler().Run, p.server(3, time.Second, handler).Run, p.server(3, time.Second, handler).Run)
	ids := p.ask(t, testenv.One, n, job.Spec{})
	for _, after := range []int64{5, 15, 30} {
		waitFor(t, "some jobs to start", func() bool { return started.Load() >= after })
		if err := p.redis.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p.until(t, testenv.One, job.Succeeded, ids...)
	redelivered, entries := 0, p.entries(t, testenv.One)
	for _, jobID := range ids {
		j := p.get(t, testenv.One, jobID)
		if j.Delivery > 1 {
			redelivered++
		}
		if j.Attempt != 1 {
			t.Errorf("job %s took %d attempts: a lost delivery is none", jobID, j.Attempt)
		}
		for _, want := range []string{"test.effect obj_" + jobID, "job.start " + jobID, "job.finish " + jobID} {
			if entries[want] != 1 {
				t.Errorf("%s: %d times", want, entries[want])
			}
		}
	}
	if redelivered == 0 {
		t.Error("the queue was wiped and lost nothing")
	}
	t.Logf("%d of %d jobs were delivered anew, %d starts", redelivered, n, started.Load())
	if started.Load() != n {
		t.Errorf("%d starts of %d jobs", started.Load(), n)
	}
}

// A backlog waits in the queue for longer than a lost delivery would: it must
// not be taken for lost.
func TestBacklogIsDeliveredOnce(t *testing.T) {
	const n = 30
	p := newPlatform(t)
	run(t, p.relay().Run, p.reconciler().Run, p.server(1, time.Second, func(context.Context, *job.Run) error {
		time.Sleep(50 * time.Millisecond)
		return nil
	}).Run)
	ids := p.ask(t, testenv.One, n, job.Spec{})
	p.until(t, testenv.One, job.Succeeded, ids...)
	for _, jobID := range ids {
		if j := p.get(t, testenv.One, jobID); j.Delivery != 1 {
			t.Errorf("job %s was delivered %d times", jobID, j.Delivery)
		}
	}
}

// The queue may repeat itself: what it repeats changes nothing.
func TestRepeatedDelivery(t *testing.T) {
	p := newPlatform(t)
	ids := p.ask(t, testenv.One, 1, job.Spec{})
	var started, foreign atomic.Int64
	payload := func(of tenant.ID) []byte {
		return fmt.Appendf(nil, `{"tenant":%q,"job":%q,"delivery":1}`, of, ids[0])
	}
	client := asynq.NewClientFromRedisClient(p.redis)
	enqueue := func(payload []byte) {
		if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("job", payload), asynq.Queue("jobs"), asynq.MaxRetry(0)); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(payload(testenv.Two)) // another tenant's name on it
	enqueue([]byte("no job"))
	for range 20 {
		enqueue(payload(testenv.One))
	}
	run(t, p.server(4, time.Second, func(ctx context.Context, r *job.Run) error {
		started.Add(1)
		if of, err := tenant.FromContext(ctx); err != nil || of != testenv.One || r.Tenant() != testenv.One {
			foreign.Add(1)
		}
		return p.effect(ctx, r)
	}).Run)
	p.until(t, testenv.One, job.Succeeded, ids...)
	waitFor(t, "the queue to empty", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(p.redis).GetQueueInfo("jobs")
		return err == nil && info.Size == 0
	})
	if started.Load() != 1 || foreign.Load() != 0 || p.entries(t, testenv.One)["test.effect obj_"+ids[0]] != 1 {
		t.Errorf("%d starts, %d for another tenant", started.Load(), foreign.Load())
	}
}

const workerEnv = "VOGTER_TEST_WORKER"

// TestDoomedWorker is the process that TestKilledWorker kills.
func TestDoomedWorker(t *testing.T) {
	mongoURI, redisURL, ok := strings.Cut(os.Getenv(workerEnv), "|")
	if !ok {
		t.Skip("it is no test of its own")
	}
	p := connect(t, mongoURI, redisURL)
	run(t, p.server(1, time.Second, func(ctx context.Context, r *job.Run) error {
		if err := r.Step(ctx, "begun"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}).Run)
	time.Sleep(2 * patient)
}

func TestKilledWorker(t *testing.T) {
	p := newPlatform(t)
	run(t, p.relay().Run)
	ids := p.ask(t, testenv.One, 1, job.Spec{})

	doomed := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoomedWorker$")
	doomed.Env = append(os.Environ(), workerEnv+"="+p.mongo+"|"+p.url)
	var out bytes.Buffer
	doomed.Stdout, doomed.Stderr = &out, &out
	if err := doomed.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the doomed worker", func() bool { return len(p.get(t, testenv.One, ids[0]).Steps) == 1 })
	if err := doomed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := doomed.Wait(); err == nil {
		t.Fatalf("the doomed worker ended by itself:\n%s", out.String())
	}

	killed := time.Now()
	run(t, p.reconciler().Run, p.server(1, time.Second, func(ctx context.Context, r *job.Run) error {
		if !r.Done("begun") || r.Attempt() != 2 || r.Fence() != 2 {
			t.Errorf("attempt %d under fence %d, begun: %t", r.Attempt(), r.Fence(), r.Done("begun"))
		}
		return p.effect(ctx, r)
	}).Run)
	p.until(t, testenv.One, job.Succeeded, ids...)
	t.Logf("finished %s after the kill, with a lease of 4 s", time.Since(killed).Round(10*time.Millisecond))
}

func TestPoisonIsParkedAndRetried(t *testing.T) {
	p := newPlatform(t)
	var mended atomic.Bool
	var attempts atomic.Int64
	run(t, p.relay().Run, p.reconciler().Run, p.server(2, time.Second, func(context.Context, *job.Run) error {
		attempts.Add(1)
		if !mended.Load() {
			return errors.New("poison")
		}
		return nil
	}).Run)
	ids := p.ask(t, testenv.One, 1, job.Spec{MaxAttempts: 3})
	unknown := p.ask(t, testenv.One, 1, job.Spec{Type: "test:unknown", MaxAttempts: 2})
	p.until(t, testenv.One, job.Parked, ids[0], unknown[0])
	if j := p.get(t, testenv.One, ids[0]); attempts.Load() != 3 || j.Error == nil || j.Error.Message != "internal error" {
		t.Errorf("parked after %d attempts with %+v", attempts.Load(), j.Error)
	}
	if n := p.entries(t, testenv.One)["job.park "+ids[0]]; n != 1 {
		t.Errorf("%d entries of parking", n)
	}
	if e := p.entries(t, testenv.One); e["job.start "+ids[0]] != 3 || e["job.fail "+ids[0]] != 2 {
		t.Errorf("the attempts left the entries %v", e)
	}
	mended.Store(true)
	if _, err := p.jobs.Retry(tenant.NewContext(t.Context(), testenv.One), job.RetryInput{ID: ids[0]}); err != nil {
		t.Fatal(err)
	}
	p.until(t, testenv.One, job.Succeeded, ids[0])
	if n := p.entries(t, testenv.One)["job.retry "+ids[0]]; n != 1 {
		t.Errorf("%d entries of the retry", n)
	}
}

func TestTenantsAreApart(t *testing.T) {
	p := newPlatform(t)
	var mu sync.Mutex
	worked := map[string]tenant.ID{}
	run(t, p.relay().Run, p.server(4, time.Second, func(ctx context.Context, r *job.Run) error {
		of, err := tenant.FromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		worked[r.ID()] = of
		return err
	}).Run)
	one, two := p.ask(t, testenv.One, 5, job.Spec{}), p.ask(t, testenv.Two, 5, job.Spec{})
	p.until(t, testenv.One, job.Succeeded, one...)
	p.until(t, testenv.Two, job.Succeeded, two...)
	for of, ids := range map[tenant.ID][]string{testenv.One: one, testenv.Two: two} {
		for _, jobID := range ids {
			if worked[jobID] != of {
				t.Errorf("job %s of %s was carried out for %q", jobID, of, worked[jobID])
			}
		}
	}
	for _, jobID := range one {
		if _, err := p.jobs.Get(tenant.NewContext(t.Context(), testenv.Two), jobID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("the second tenant sees %s: %v", jobID, err)
		}
	}
}

func TestShutdown(t *testing.T) {
	for _, tt := range []struct {
		name    string
		takes   time.Duration
		grace   time.Duration
		want    job.State
		attempt int
	}{
		{"drains what ends in time", 400 * time.Millisecond, 10 * time.Second, job.Succeeded, 1},
		{"interrupts what doesn't", time.Hour, 200 * time.Millisecond, job.Queued, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlatform(t)
			started := make(chan struct{}, 2)
			run(t, p.relay().Run)
			stop := run(t, p.server(1, tt.grace, func(ctx context.Context, _ *job.Run) error {
				started <- struct{}{}
				select {
				case <-time.After(tt.takes):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}).Run)
			ids := p.ask(t, testenv.One, 2, job.Spec{})
			<-started
			stop()
			var ended, waiting int
			for _, jobID := range ids {
				switch j := p.get(t, testenv.One, jobID); {
				case j.Attempt != tt.attempt || j.Error != nil:
					t.Errorf("left as %+v", j)
				case j.State == job.Queued && j.Fence == 0:
					waiting++
				case j.State == tt.want:
					ended++
				default:
					t.Errorf("left as %+v", j)
				}
			}
			if ended != 1 || waiting != 1 {
				t.Errorf("%d jobs ended as wished, %d were not begun", ended, waiting)
			}
			// Another worker carries on.
			run(t, p.reconciler().Run, p.server(1, time.Second, func(context.Context, *job.Run) error { return nil }).Run)
			p.until(t, testenv.One, job.Succeeded, ids...)
		})
	}
}

// brokenQueue is a queue that is down until it is mended.
type brokenQueue struct {
	jobs.Queue
	mended atomic.Bool
	calls  atomic.Int64
}

// Enqueue implements jobs.Queue.
func (q *brokenQueue) Enqueue(ctx context.Context, d jobs.Delivery) error {
	if q.calls.Add(1); !q.mended.Load() {
		return jobs.ErrQueue
	}
	return q.Queue.Enqueue(ctx, d)
}

func TestOutageOfTheQueue(t *testing.T) {
	p := newPlatform(t)
	var out syncBuffer
	p.log = slog.New(slog.NewTextHandler(&out, nil))
	q := &brokenQueue{Queue: p.queue}
	run(t, jobs.NewRelay(p.jobs, q, p.bell, p.log, p.timing).Run, p.server(1, time.Second, func(context.Context, *job.Run) error { return nil }).Run)
	ids := p.ask(t, testenv.One, 3, job.Spec{})
	waitFor(t, "some tries", func() bool { return q.calls.Load() > 5 })
	for range 100 { // nobody's ringing makes it try harder
		p.bell.Ring()
	}
	q.mended.Store(true)
	p.until(t, testenv.One, job.Succeeded, ids...)
	if began, ended := strings.Count(out.String(), "is held up"), strings.Count(out.String(), "goes on"); began != 1 || ended != 1 {
		t.Errorf("the outage's beginning is logged %d times, its end %d times", began, ended)
	}
	for j := range 3 {
		if d := p.get(t, testenv.One, ids[j]).Delivery; d != 1 {
			t.Errorf("delivery %d", d)
		}
	}
}

// syncBuffer is a buffer that may be written concurrently.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestQueue(t *testing.T) {
	p := newPlatform(t)
	d := jobs.Delivery{Tenant: testenv.One, Job: id.New(id.Job, testenv.One), Number: 1}
	holds := func(d jobs.Delivery, want bool) {
		t.Helper()
		if got, err := p.queue.Holds(t.Context(), d); err != nil || got != want {
			t.Errorf("holds %d: %t, %v", d.Number, got, err)
		}
	}
	holds(d, false)
	for range 2 { // the second time it is there already
		if err := p.queue.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		holds(d, true)
	}
	if info, err := asynq.NewInspectorFromRedisClient(p.redis).GetQueueInfo("jobs"); err != nil || info.Pending != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	holds(jobs.Delivery{Tenant: d.Tenant, Job: d.Job, Number: 2}, false)
	if err := p.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	holds(d, false)
	if err := p.queue.Enqueue(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	holds(d, true)
}

func TestRedisURL(t *testing.T) {
	for _, url := range []string{"", "http://localhost", "redis://:secret-word@localhost:notaport", "redis-socket:///x"} {
		_, err := jobs.OpenRedis(url)
		if err == nil || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
