package ratelimit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The headers of an answer, by draft-ietf-httpapi-ratelimit-headers-11 and
// RFC 9110 section 10.2.3.
const (
	HeaderPolicy = "RateLimit-Policy" // "requests";q=12000;w=60
	HeaderLimit  = "RateLimit"        // "requests";r=11999;t=42
	HeaderRetry  = "Retry-After"
)

type answerKey struct{}

// answer is where the headers of a call's answer are written.
type answer struct {
	mu     sync.Mutex
	header http.Header // nil: the call has ended
	told   map[Class]told
	retry  int64
}

type told struct {
	limit Limit
	left  int64
	reset time.Duration
}

// Announce returns ctx in which every use of a limiter is told in the headers of
// the call's answer, until done is called.
func Announce(ctx context.Context, h http.Header) (_ context.Context, done func()) {
	a := &answer{header: h, told: map[Class]told{}}
	return context.WithValue(ctx, answerKey{}, a), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.header = nil
	}
}

// announce tells how much of each class is left: of the narrower when it is
// counted twice, as for an address and its site.
func (l *Limiter) announce(ctx context.Context, now time.Time, uses []Use, states []state) {
	a, ok := ctx.Value(answerKey{}).(*answer)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, u := range uses {
		limit := l.limit(u)
		if limit.Silent {
			continue
		}
		left := states[i].left(limit, now)
		if was, ok := a.told[u.class]; ok && was.left <= left {
			continue
		}
		end := time.UnixMilli((states[i].number + 1) * limit.Window.Milliseconds())
		reset := cmp.Or(states[i].wait(limit, now, 1), max(0, end.Sub(now)))
		a.told[u.class] = told{limit, left, reset}
	}
	if a.header == nil || len(a.told) == 0 {
		return
	}
	var policies, limits []string
	for _, c := range slices.Sorted(maps.Keys(a.told)) {
		t := a.told[c]
		policies = append(policies, fmt.Sprintf(`"%s";q=%d;w=%s`, c, t.limit.Quota, seconds(t.limit.Window)))
		limits = append(limits, fmt.Sprintf(`"%s";r=%d;t=%s`, c, t.left, seconds(t.reset)))
	}
	a.header.Set(HeaderPolicy, strings.Join(policies, ", "))
	a.header.Set(HeaderLimit, strings.Join(limits, ", "))
}

// retryAfter tells how long a refused caller has to wait: the longest of all.
func retryAfter(ctx context.Context, wait time.Duration) {
	a, ok := ctx.Value(answerKey{}).(*answer)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retry = max(a.retry, int64(math.Ceil(wait.Seconds())))
	if a.header != nil {
		a.header.Set(HeaderRetry, strconv.FormatInt(a.retry, 10))
	}
}
