package ratelimit_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/jobs"
)

// clock stands at the begin of a window of any length up to a day.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func secret(context.Context) ([sha256.Size]byte, error) { return [sha256.Size]byte{1}, nil }

func table(tb testing.TB, setting string) ratelimit.Table {
	tb.Helper()
	t, err := ratelimit.Parse(setting)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func limiter(tb testing.TB, r redis.UniversalClient, c *clock, setting string) *ratelimit.Limiter {
	tb.Helper()
	l, err := ratelimit.New(ratelimit.Config{Redis: r, Key: secret, Table: table(tb, setting), Log: slog.New(slog.DiscardHandler), Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func server(tb testing.TB) *redis.Client {
	tb.Helper()
	r, err := jobs.OpenRedis(testenv.Redis(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// nowhere is a Redis that doesn't answer.
func nowhere(tb testing.TB) *redis.Client {
	tb.Helper()
	return redis.NewClient(&redis.Options{Network: "unix", Addr: tb.TempDir() + "/none", MaxRetries: -1})
}

// both runs a test with a Redis and without.
func both(t *testing.T, test func(t *testing.T, r redis.UniversalClient)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { test(t, server(t)) })
	t.Run("alone", func(t *testing.T) { test(t, nowhere(t)) })
}

func times(t *testing.T, l *ratelimit.Limiter, n int, uses ...ratelimit.Use) (passed int) {
	t.Helper()
	for range n {
		switch err := l.Take(t.Context(), uses...); {
		case err == nil:
			passed++
		case !errors.Is(err, ratelimit.ErrLimited):
			t.Fatal(err)
		}
	}
	return passed
}

func TestSlides(t *testing.T) {
	both(t, func(t *testing.T, r redis.UniversalClient) {
		t.Helper()
		c := newClock()
		l, u := limiter(t, r, c, "requests=10/1m"), ratelimit.Requests.By("a")
		for _, step := range []struct {
			after time.Duration
			want  int
		}{
			{0, 10},
			{59 * time.Second, 0},
			{time.Second, 0},      // the next window: all ten still weigh
			{30 * time.Second, 5}, // half of them does
			{30 * time.Second, 5}, // the five
			{time.Hour, 10},
		} {
			c.pass(step.after)
			if got := times(t, l, 20, u); got != step.want {
				t.Errorf("after %s more: %d passed, want %d", step.after, got, step.want)
			}
		}
	})
}

func TestRetryAfterIsEnough(t *testing.T) {
	both(t, func(t *testing.T, r redis.UniversalClient) {
		t.Helper()
		c := newClock()
		l := limiter(t, r, c, "points=100/1m")
		for i, cost := range []int{60, 40, 7, 100, 33, 1, 99} {
			c.pass(time.Duration(7*i) * time.Second)
			h := http.Header{}
			ctx, done := ratelimit.Announce(t.Context(), h)
			u := ratelimit.Points.By("a").Costing(cost)
			err := l.Take(ctx, u)
			done()
			if err == nil {
				continue
			}
			wait, perr := time.ParseDuration(h.Get("Retry-After") + "s")
			if perr != nil || wait <= 0 || wait > 2*time.Minute {
				t.Fatalf("cost %d: %v, wait %q", cost, err, h.Get("Retry-After"))
			}
			c.pass(wait)
			if err := l.Take(t.Context(), u); err != nil {
				t.Errorf("cost %d: after the wait of %s: %v", cost, wait, err)
			}
		}
	})
}

func TestAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, r redis.UniversalClient) {
		t.Helper()
		l := limiter(t, r, newClock(), "requests=3/1m,points=10/1m")
		wide, narrow := ratelimit.Points.By("a"), ratelimit.Requests.By("a")
		if got := times(t, l, 5, wide, narrow); got != 3 {
			t.Errorf("%d passed", got)
		}
		if got := times(t, l, 20, wide); got != 7 {
			t.Errorf("%d were left: what was refused was used up", got)
		}
		if err := l.Take(t.Context(), ratelimit.Points.By("b").Costing(11)); !errors.Is(err, ratelimit.ErrLimited) {
			t.Errorf("more than the quota at once: %v", err)
		}
		if err := l.Take(t.Context(), ratelimit.Points.By("b").Costing(10)); err != nil {
			t.Errorf("the quota at once: %v", err)
		}
	})
}

// Two tenants, accounts or addresses never use up each other's.
func TestApart(t *testing.T) {
	both(t, func(t *testing.T, r redis.UniversalClient) {
		t.Helper()
		l := limiter(t, r, newClock(), "uploads=2/1m,requests=2/1m,anonymous=2/1m")
		at := func(s string) []ratelimit.Use { return ratelimit.Anonymous.From(netip.MustParseAddr(s)) }
		for _, uses := range [][]ratelimit.Use{
			{ratelimit.Uploads.By(string(testenv.One))},
			{ratelimit.Uploads.By(string(testenv.Two))},
			{ratelimit.Requests.By(string(testenv.One))}, // of another class
			{ratelimit.Requests.By("a", "bc")},
			{ratelimit.Requests.By("ab", "c")},
			at("192.0.2.1"), at("192.0.2.2"), at("2001:db8:1:1::1"), at("2001:db8:1:2::1"), at("2001:db8:2::1"),
		} {
			if got := times(t, l, 5, uses...); got != 2 {
				t.Errorf("%v: %d passed", uses, got)
			}
		}
		for _, same := range []string{"::ffff:192.0.2.1", "2001:db8:1:1:ffff::7"} {
			if got := times(t, l, 1, at(same)...); got != 0 {
				t.Errorf("%s isn't taken for its network", same)
			}
		}
	})
}

func TestSiteOfIPv6(t *testing.T) {
	both(t, func(t *testing.T, r redis.UniversalClient) {
		t.Helper()
		l := limiter(t, r, newClock(), "anonymous=2/1m")
		passed := 0
		for i := range 100 {
			passed += times(t, l, 2, ratelimit.Anonymous.From(netip.MustParseAddr(fmt.Sprintf("2001:db8:7:%x::1", i)))...)
		}
		if passed != 32 {
			t.Errorf("%d calls of one site passed", passed)
		}
	})
}

func TestOnlyFailuresCount(t *testing.T) {
	l := limiter(t, server(t), newClock(), "signin.pair=3/1m")
	office := netip.MustParseAddr("192.0.2.1")
	tried, other := ratelimit.SignInPair.From(office, "account-1"), ratelimit.SignInPair.From(office, "account-2")
	for range 10 {
		if err := l.Check(t.Context(), tried...); err != nil {
			t.Fatalf("nothing has failed: %v", err)
		}
	}
	for i := range 5 {
		if err := l.Spend(t.Context(), tried...); (err != nil) != (i >= 3) {
			t.Errorf("failure %d: %v", i+1, err)
		}
	}
	if err := l.Check(t.Context(), tried...); !errors.Is(err, ratelimit.ErrLimited) {
		t.Errorf("after five failures: %v", err)
	}
	if err := l.Check(t.Context(), other...); err != nil {
		t.Errorf("somebody else of the same office: %v", err)
	}
}

func TestServersCountTogether(t *testing.T) {
	r, c := server(t), newClock()
	passed := make([]int, 4)
	var wg sync.WaitGroup
	for i := range passed {
		l := limiter(t, r, c, "requests=100/1m")
		wg.Go(func() { passed[i] = times(t, l, 60, ratelimit.Requests.By("a")) })
	}
	wg.Wait()
	sum := 0
	for _, n := range passed {
		sum += n
	}
	if sum != 100 {
		t.Errorf("%d passed of 100", sum)
	}
}

func TestWithoutRedis(t *testing.T) {
	l := limiter(t, nowhere(t), newClock(), "")
	for _, class := range ratelimit.Defaults().Classes() {
		err := l.Take(t.Context(), class.By("a"))
		closed := strings.HasPrefix(string(class), "signin.") || strings.HasPrefix(string(class), "code.")
		if closed != errors.Is(err, ratelimit.ErrUnavailable) || !closed && err != nil {
			t.Errorf("%s: %v", class, err)
		}
	}
}

func TestComesBack(t *testing.T) {
	c, r := newClock(), server(t)
	keyless := true
	l, err := ratelimit.New(ratelimit.Config{
		Redis: r, Table: table(t, "requests=2/1m"), Log: slog.New(slog.DiscardHandler), Now: c.now,
		Key: func(ctx context.Context) ([sha256.Size]byte, error) {
			if keyless {
				return [sha256.Size]byte{}, errors.New("key store is down")
			}
			return secret(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Take(t.Context(), ratelimit.CodeAttempt.By("a")); !errors.Is(err, ratelimit.ErrUnavailable) {
		t.Errorf("without a key: %v", err)
	}
	if got := times(t, l, 5, ratelimit.Requests.By("a")); got != 2 {
		t.Errorf("without a key %d passed", got)
	}
	keyless = false
	c.pass(time.Second)
	if err := l.Take(t.Context(), ratelimit.CodeAttempt.By("a")); err != nil {
		t.Errorf("with the key: %v", err)
	}
}

func TestRedisLearnsNothing(t *testing.T) {
	r := server(t)
	l := limiter(t, r, newClock(), "")
	uses := append(ratelimit.SignInPair.From(netip.MustParseAddr("192.0.2.7"), "account-7"), ratelimit.Requests.By("mem_7"))
	if err := l.Take(t.Context(), uses...); err != nil {
		t.Fatal(err)
	}
	keys, err := r.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != len(uses) {
		t.Fatal(keys, err)
	}
	for _, k := range keys {
		value, err := r.HGetAll(t.Context(), k).Result()
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(k, value); strings.Contains(text, "192.0.2.7") || strings.Contains(text, "account-7") || strings.Contains(text, "mem_7") {
			t.Errorf("redis has %s", text)
		}
		if ttl, err := r.PTTL(t.Context(), k).Result(); err != nil || ttl <= 0 {
			t.Errorf("%s never expires: %v, %v", k, ttl, err)
		}
	}
}

func TestHeaders(t *testing.T) {
	c := newClock()
	l := limiter(t, server(t), c, "requests=2/1m,points=50/1m")
	c.pass(20 * time.Second)
	h := http.Header{}
	call := func() error {
		ctx, done := ratelimit.Announce(t.Context(), h)
		defer done()
		return l.Take(ctx, ratelimit.Requests.By("a"), ratelimit.Points.By("a").Costing(10), ratelimit.CodeAttempt.By("c"))
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if got, want := h.Get("RateLimit-Policy"), `"points";q=50;w=60, "requests";q=2;w=60`; got != want {
		t.Errorf("policy %s", got)
	}
	if got, want := h.Get("RateLimit"), `"points";r=40;t=40, "requests";r=1;t=40`; got != want {
		t.Errorf("limit %s", got)
	}
	_, err := call(), call()
	if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Limited || e.Rule != "limit.requests" {
		t.Errorf("got %v", err)
	}
	// Two uses at 0 s of a window leave room for one when half of the next is over.
	if h.Get("Retry-After") != "70" || !strings.Contains(h.Get("RateLimit"), `"requests";r=0;t=70`) {
		t.Errorf("refused with %v", h)
	}
	asked := h.Get("RateLimit")
	if err := l.Refused(t.Context(), ratelimit.Requests.By("a")); !errors.Is(err, ratelimit.ErrLimited) {
		t.Errorf("not known any more: %v", err)
	}
	if err := l.Refused(t.Context(), ratelimit.Requests.By("b")); err != nil || h.Get("RateLimit") != asked {
		t.Errorf("somebody else: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{
		"requests", "requests=", "requests=1", "requests=0/1m", "requests=-1/1m", "requests=1/1", "requests=1/1ms",
		"requests=1/25h", "others=1/1m", "requests=1/1m,", "requests=99999999999/1m",
	} {
		if _, err := ratelimit.Parse(bad); !errors.Is(err, ratelimit.ErrTable) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	got := table(t, "code.attempt=3/10m, requests=7/1s")
	if want := (ratelimit.Limit{Quota: 3, Window: 10 * time.Minute, Closed: true, Silent: true}); got[ratelimit.CodeAttempt] != want {
		t.Errorf("got %+v", got[ratelimit.CodeAttempt])
	}
	if got[ratelimit.Points] != ratelimit.Defaults()[ratelimit.Points] {
		t.Error("another class has changed")
	}
}

// BenchmarkTake prints what the limits of a call cost, and as a multiple of the
// least that Redis can be asked.
func BenchmarkTake(b *testing.B) {
	r, c := server(b), newClock()
	l := limiter(b, r, c, "requests=1000000000/1m,points=1000000000/1m,network=1000000000/1m")
	uses := append(ratelimit.Network.From(netip.MustParseAddr("2001:db8::1")), ratelimit.Requests.By("a"), ratelimit.Points.By("a").Costing(100))
	start := time.Now()
	const pings = 2000
	for range pings {
		if err := r.Ping(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
	}
	ping := time.Since(start) / pings
	for b.Loop() {
		if err := l.Take(b.Context(), uses...); err != nil {
			b.Fatal(err)
		}
	}
	each := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(float64(each.Microseconds()), "µs/call")
	b.ReportMetric(float64(each)/float64(ping), "x-ping")
}
