// Package ratelimit bounds how often callers may do things, on all servers
// together: it counts in Redis, by a sliding window, in one round trip for all
// that a call uses. What is counted is under keyed hashes; no address and no id
// reaches Redis.
//
// Classes say what is bounded, and Defaults how far. While Redis doesn't answer,
// classes by which secrets could be guessed are refused with ErrUnavailable; the
// others are counted by each server for itself.
package ratelimit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/errs"
)

// Sentinels.
var (
	ErrLimited     = errs.New(errs.Limited, "too often: wait as long as header Retry-After says, and try again")
	ErrUnavailable = errs.New(errs.Unavailable, "attempts can't be counted just now; try again")
)

const (
	timeout = 250 * time.Millisecond // of a round trip
	rest    = time.Second            // of a Redis that didn't answer, before it is asked again
	rekey   = time.Hour              // between looks at the key of the hashes
	known   = 100_000                // counters and refusals that a server keeps itself
)

// wide is how many times the quota of a network all those of one site may use
// together: whoever rents a /48 of IPv6 has 65,536 networks of /64.
const wide = 16

// Use is one thing that a call uses up.
type Use struct {
	class Class
	of    string // who, unambiguously; hashed before it leaves the process
	times int64  // the quota, as for a whole site
	cost  int64
}

// By is one use of the class by whom the parts name: ids, or hashes of what a
// person typed.
func (c Class) By(parts ...string) Use {
	var of []byte
	for _, p := range parts {
		of = binary.AppendUvarint(of, uint64(len(p)))
		of = append(of, p...)
	}
	return Use{class: c, of: string(of), times: 1, cost: 1}
}

// From is one use of the class by the network of an address, and more parts if
// there are any: an IPv4 address, or the /64 of an IPv6 address and, for 16 times
// as much, its /48. All addresses that aren't known are one network.
func (c Class) From(a netip.Addr, parts ...string) []Use {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return []Use{c.By(append([]string{a.String()}, parts...)...)}
	}
	uses := make([]Use, 2)
	for i, bits := range []int{64, 48} {
		p, _ := a.Prefix(bits) // no address of IPv6 has fewer
		uses[i] = c.By(append([]string{p.String()}, parts...)...)
	}
	uses[1].times = wide
	return uses
}

// Costing returns u for n uses at once.
func (u Use) Costing(n int) Use {
	u.cost = int64(n)
	return u
}

// Config is what a Limiter is made of.
type Config struct {
	Redis redis.UniversalClient
	// Key returns the key of the hashes, the same on all servers. While it can't,
	// it is as if Redis didn't answer.
	Key func(ctx context.Context) ([sha256.Size]byte, error)
	// Table has the limits of all classes, as Defaults and Parse return it.
	Table Table
	Log   *slog.Logger
	Now   func() time.Time
}

// Limiter counts what callers use.
type Limiter struct {
	Config

	script  *redis.Script
	here    *lru.Cache[string, window] // while Redis doesn't answer
	refused *lru.Cache[string, window] // of which not even one use was left

	mu    sync.Mutex // of what follows, and of what is in here
	key   [sha256.Size]byte
	keyed time.Time // when key was looked at last; zero: never
	down  time.Time // when Redis didn't answer last
}

// New returns a Limiter.
func New(c Config) (*Limiter, error) {
	here, err := lru.New[string, window](known)
	if err != nil {
		return nil, err
	}
	refused, err := lru.New[string, window](known)
	if err != nil {
		return nil, err
	}
	return &Limiter{Config: c, script: redis.NewScript(lua), here: here, refused: refused}, nil
}

// Take uses things up, all or none: it fails with ErrLimited if one of them was
// used too often, and with ErrUnavailable if that can't be told and matters. The
// answer's headers say where the caller stands, see Announce.
func (l *Limiter) Take(ctx context.Context, uses ...Use) error { return l.run(ctx, take, uses) }

// Check is Take that uses nothing up: before an attempt of which only failures
// count.
func (l *Limiter) Check(ctx context.Context, uses ...Use) error { return l.run(ctx, check, uses) }

// Spend uses things up even if they were used too often already: for attempts
// that have failed. It fails like Take, which is for the caller to know.
func (l *Limiter) Spend(ctx context.Context, uses ...Use) error { return l.run(ctx, spend, uses) }

// Refused fails with ErrLimited if this server already knows that not even one
// use is left, without asking Redis: before any effort is made for a call.
func (l *Limiter) Refused(ctx context.Context, uses ...Use) error {
	now := l.Now()
	for _, u := range uses {
		w, ok := l.refused.Get(u.name())
		if !ok {
			continue
		}
		limit := l.limit(u)
		if w = w.at(limit.Window, now); w.wait(limit, now, 1) > 0 {
			return l.limited(ctx, u, w.wait(limit, now, u.cost))
		}
	}
	return nil
}

// mode is what becomes of what is counted.
type mode string

const (
	take  mode = "take"
	check mode = "check"
	spend mode = "spend"
)

func (l *Limiter) run(ctx context.Context, m mode, uses []Use) error {
	if len(uses) == 0 {
		return nil
	}
	if m != spend {
		if err := l.Refused(ctx, uses...); err != nil {
			return err
		}
	}
	now := l.Now()
	states, err := l.count(ctx, m, now, uses)
	if err != nil {
		for _, u := range uses {
			if l.Table[u.class].Closed {
				return ErrUnavailable.Because(err)
			}
		}
		states = l.countHere(m, now, uses)
	}
	var refused *Use
	var wait time.Duration
	for i, s := range states {
		u, limit := uses[i], l.limit(uses[i])
		if s.wait(limit, now, 1) > 0 {
			l.refused.Add(u.name(), s.window)
		}
		if s.refused && (refused == nil || s.needs(limit, now, u.cost) > wait) {
			refused, wait = &uses[i], s.needs(limit, now, u.cost)
		}
	}
	l.announce(ctx, now, uses, states)
	if refused != nil {
		return l.limited(ctx, *refused, wait)
	}
	return nil
}

// limited is the error of a refusal, which the answer's header says the time of.
func (l *Limiter) limited(ctx context.Context, u Use, wait time.Duration) error {
	retryAfter(ctx, wait)
	return ErrLimited.Under("limit." + string(u.class))
}

// limit is the limit of a use.
func (l *Limiter) limit(u Use) Limit {
	limit := l.Table[u.class]
	limit.Quota *= u.times
	return limit
}

// name tells uses apart within the process.
func (u Use) name() string { return string(u.class) + "\x00" + u.of }

// state is a counter after a use.
type state struct {
	window

	refused bool
}

// count counts in Redis.
func (l *Limiter) count(ctx context.Context, m mode, now time.Time, uses []Use) ([]state, error) {
	key, err := l.hashKey(ctx, now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys := make([]string, len(uses))
	args := make([]any, 1, 1+4*len(uses))
	args[0] = string(m)
	for i, u := range uses {
		limit := l.limit(u)
		h := hmac.New(sha256.New, key[:])
		h.Write([]byte(u.name()))
		keys[i] = "vogter:limit:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
		args = append(args, limit.Quota, limit.Window.Milliseconds(), now.UnixMilli(), u.cost)
	}
	answer, err := l.script.Run(ctx, l.Redis, keys, args...).Int64Slice()
	if err == nil && len(answer) != 4*len(uses) {
		err = fmt.Errorf("the counter answered %d numbers", len(answer))
	}
	if err != nil {
		l.fail(ctx, now, err)
		return nil, fmt.Errorf("count in redis: %w", err)
	}
	states := make([]state, len(uses))
	for i := range states {
		a := answer[4*i:]
		states[i] = state{window{a[0], a[1], a[2]}, a[3] != 0}
	}
	return states, nil
}

// hashKey returns the key of the hashes, and an error at once while Redis rests.
func (l *Limiter) hashKey(ctx context.Context, now time.Time) ([sha256.Size]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down.IsZero() && now.Sub(l.down).Abs() < rest {
		return l.key, errResting
	}
	if !l.keyed.IsZero() && now.Sub(l.keyed).Abs() < rekey {
		return l.key, nil
	}
	key, err := l.Key(ctx)
	if err != nil && l.keyed.IsZero() {
		l.down = now
		l.Log.WarnContext(ctx, "limits are counted by this server alone: they have no key", "err", err)
		return l.key, fmt.Errorf("find key of counters: %w", err)
	}
	if err == nil {
		l.key = key
	}
	l.keyed = now
	return l.key, nil
}

var errResting = errs.New(errs.Unavailable, "redis didn't answer a moment ago")

// fail remembers that Redis didn't answer; a caller who hung up is no sign of it.
func (l *Limiter) fail(ctx context.Context, now time.Time, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	l.mu.Lock()
	l.down = now
	l.mu.Unlock()
	l.Log.WarnContext(ctx, "limits are counted by this server alone", "err", err)
}

// countHere counts in this process.
func (l *Limiter) countHere(m mode, now time.Time, uses []Use) []state {
	l.mu.Lock()
	defer l.mu.Unlock()
	states, all := make([]state, len(uses)), true
	for i, u := range uses {
		w, _ := l.here.Get(u.name())
		limit := l.limit(u)
		w = w.at(limit.Window, now)
		states[i] = state{w, w.used(limit.Window, now)+float64(u.cost) > float64(limit.Quota)}
		all = all && !states[i].refused
	}
	if m == check || m == take && !all {
		return states
	}
	for i, u := range uses {
		states[i].now += u.cost
		l.here.Add(u.name(), states[i].window)
	}
	return states
}

// window is a counter: the uses in the present window of fixed length, and
// those of the one before, which weigh as much as of it is less than one length
// ago.
type window struct {
	number, now, before int64
}

// at is the counter as it is at a time. A time in the window before, of a server
// whose clock is a little behind, counts as the begin of the counter's.
func (w window) at(length time.Duration, t time.Time) window {
	switch n := t.UnixMilli() / length.Milliseconds(); n {
	case w.number, w.number - 1:
		return w
	case w.number + 1:
		return window{n, 0, w.now}
	default:
		return window{number: n}
	}
}

// passed is the share of the window that is over, from 0 to 1.
func (w window) passed(length time.Duration, t time.Time) float64 {
	ms := length.Milliseconds()
	return max(0, float64(t.UnixMilli()-w.number*ms)/float64(ms))
}

func (w window) used(length time.Duration, t time.Time) float64 {
	return float64(w.now) + float64(w.before)*(1-w.passed(length, t))
}

// wait is how long until n more uses are possible, 0 when they are.
func (w window) wait(limit Limit, t time.Time, n int64) time.Duration {
	free, passed := float64(limit.Quota-n), w.passed(limit.Window, t)
	if free < 0 {
		return limit.Window // never, in fact
	}
	share := 0.0 // of the present window, and of the next, that has to be over
	switch {
	case float64(w.now) > free:
		share = 2 - free/float64(w.now)
	case w.before > 0:
		share = 1 - (free-float64(w.now))/float64(w.before)
	}
	return time.Duration(math.Ceil(max(0, share-passed) * float64(limit.Window)))
}

// needs is wait of who was refused: never nothing.
func (w window) needs(limit Limit, t time.Time, n int64) time.Duration {
	return max(time.Millisecond, w.wait(limit, t, n))
}

// left is how many uses remain.
func (w window) left(limit Limit, t time.Time) int64 {
	return max(0, limit.Quota-int64(math.Ceil(w.used(limit.Window, t))))
}

// lua counts in Redis as countHere does: take, check or spend; then quota, length
// of the window, time and cost of each key, in milliseconds. It answers number,
// now, before and 1 if refused, for each.
const lua = `
local states, all = {}, true
for i, key in ipairs(KEYS) do
  local a = 2 + (i - 1) * 4
  local quota, length, time, cost = tonumber(ARGV[a]), tonumber(ARGV[a+1]), tonumber(ARGV[a+2]), tonumber(ARGV[a+3])
  local n = math.floor(time / length)
  local h = redis.call('HMGET', key, 'n', 'c', 'p')
  local number, now, before = tonumber(h[1]) or 0, tonumber(h[2]) or 0, tonumber(h[3]) or 0
  if n == number + 1 then
    number, now, before = n, 0, now
  elseif n > number or n < number - 1 then
    number, now, before = n, 0, 0
  end
  local passed = math.max(0, (time - number * length) / length)
  local refused = 0
  if now + before * (1 - passed) + cost > quota then
    refused, all = 1, false
  end
  states[i] = {number, now, before, refused, cost, length}
end
local answer = {}
for i, key in ipairs(KEYS) do
  local s = states[i]
  if ARGV[1] == 'spend' or (ARGV[1] == 'take' and all) then
    s[2] = s[2] + s[5]
    redis.call('HSET', key, 'n', s[1], 'c', s[2], 'p', s[3])
    redis.call('PEXPIRE', key, 2 * s[6])
  end
  for f = 1, 4 do answer[#answer + 1] = s[f] end
end
return answer
`

// seconds is d in whole seconds, upwards.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}
