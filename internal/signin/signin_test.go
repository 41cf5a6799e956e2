package signin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/signin"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/jobs"
)

// door is a server with nothing but sign-in, whose callers come from the address
// in X-Forwarded-For.
type door struct {
	*httptest.Server

	redis  *redis.Client
	skew   atomic.Int64
	failed atomic.Int64 // attempts that the door told of
}

// answer is a response that was read to its end.
type answer struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, kratos string, more ...func(*door, *signin.Config)) *door {
	t.Helper()
	d := &door{}
	var err error
	d.redis, err = jobs.OpenRedis(testenv.Redis(t))
	ok(t, err)
	t.Cleanup(func() { _ = d.redis.Close() })
	log := slog.New(slog.DiscardHandler)
	now := func() time.Time { return testenv.Now().Add(time.Duration(d.skew.Load())) }
	key := func(context.Context) ([32]byte, error) { return [32]byte{1}, nil }
	table, err := ratelimit.Parse("anonymous=1000000/1m")
	ok(t, err)
	l, err := ratelimit.New(ratelimit.Config{Redis: d.redis, Table: table, Log: log, Now: now, Key: key})
	ok(t, err)
	fail := func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) }
	c := signin.Config{Kratos: kratos, Limits: l, Key: key, Fail: fail, Failed: func() { d.failed.Add(1) }, Log: log, Now: now}
	for _, m := range more {
		m(d, &c)
	}
	proxy, err := signin.New(c)
	ok(t, err)
	auth, err := authn.New(authn.Config{Now: now})
	ok(t, err)
	proxies, err := network.ParseList([]string{"127.0.0.0/8"})
	ok(t, err)
	var routes []server.Route
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		routes = append(routes, server.Route{Pattern: method + " " + signin.Path, Own: true, Stream: true, Handler: proxy})
	}
	h, err := server.New(server.Config{Log: log, Now: now, Auth: auth, Limiter: l, Proxies: proxies, Fail: fail, Routes: routes})
	ok(t, err)
	d.Server = httptest.NewServer(h)
	t.Cleanup(d.Close)
	return d
}

func (d *door) send(t *testing.T, method, path, from string, input map[string]any, headers ...string) (answer, []byte) {
	t.Helper()
	var body io.Reader = http.NoBody
	if input != nil {
		b, err := json.Marshal(input)
		ok(t, err)
		body = bytes.NewReader(b)
	}
	if !strings.HasPrefix(path, "/") {
		path = signin.Path + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, d.URL+path, body)
	ok(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set(network.HeaderForwarded, from)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	b, err := io.ReadAll(res.Body)
	ok(t, errors.Join(err, res.Body.Close()))
	return answer{res.StatusCode, res.Header, res.Cookies()}, b
}

// flow starts a sign-in and returns its id.
func (d *door) flow(t *testing.T, from string) string {
	t.Helper()
	res, b := d.send(t, http.MethodGet, "self-service/login/api", from, nil)
	var f struct{ ID string }
	if err := json.Unmarshal(b, &f); err != nil || f.ID == "" {
		t.Fatalf("%d %s %v", res.status, b, err)
	}
	return f.ID
}

func (d *door) guess(t *testing.T, from, flow, account, password string, headers ...string) answer {
	t.Helper()
	res, _ := d.send(t, http.MethodPost, "self-service/login?flow="+flow, from, map[string]any{
		"method": "password", "identifier": account, "password": password,
	}, headers...)
	return res
}

const right = "correct horse battery"

// TestBruteForce tries 10,000 wrong passwords from many addresses, a few in the
// small size: they are throttled, and the member still gets in.
func TestBruteForce(t *testing.T) {
	kratos := orytest.Start(t)
	d := start(t, kratos.PublicURL)
	const account, other = "sigrid@example.test", "halldor@example.test"
	for _, a := range []string{account, other} {
		_, err := kratos.Client.SetPassword(t.Context(), personal.NewText(a), personal.NewText(right))
		ok(t, err)
	}
	const office = "192.0.2.7"
	res := d.guess(t, office, d.flow(t, office), account, right)
	var device string
	for _, c := range res.cookies {
		if c.Name == "vogter_device" {
			device = c.Name + "=" + c.Value
			if !c.HttpOnly || c.Path != signin.Path {
				t.Errorf("the cookie is %v", c)
			}
		}
	}
	if res.status != http.StatusOK || device == "" {
		t.Fatalf("the right password: %d", res.status)
	}

	tries, addresses := 120, 15
	if os.Getenv("VOGTER_SCALE") == "full" {
		tries, addresses = 10_000, 500
	}
	byStatus := map[int]int{}
	flows := make([]string, addresses)
	for i := range tries {
		n := i % addresses
		at := fmt.Sprintf("198.51.%d.%d", n/250, 1+n%250)
		if flows[n] == "" {
			flows[n] = d.flow(t, at)
		}
		res := d.guess(t, at, flows[n], strings.ToUpper(account[:1])+account[1:], fmt.Sprintf("guess number %d", i))
		byStatus[res.status]++
		if res.status == http.StatusTooManyRequests && res.header.Get("Retry-After") == "" {
			t.Error("a refusal doesn't say how long it holds")
		}
	}
	t.Logf("%d guesses from %d addresses by status: %v", tries, addresses, byStatus)
	if byStatus[http.StatusBadRequest] != 50 || byStatus[http.StatusBadRequest]+byStatus[http.StatusTooManyRequests] != tries {
		t.Errorf("want 50 that reach the identity server, and the rest refused")
	}
	if d.failed.Load() < 50 {
		t.Errorf("told of %d attempts that failed", d.failed.Load())
	}
	if res := d.guess(t, "203.0.113.1", d.flow(t, "203.0.113.1"), account, right); res.status != http.StatusTooManyRequests {
		t.Errorf("from nowhere known, the account locked: %d", res.status)
	}
	if res := d.guess(t, "203.0.113.1", d.flow(t, "203.0.113.1"), account, right, "Cookie", device); res.status != http.StatusOK {
		t.Errorf("the member, where they have signed in before: %d", res.status)
	}
	if res := d.guess(t, "198.51.0.1", d.flow(t, "198.51.0.1"), other, right); res.status != http.StatusOK {
		t.Errorf("another member in the guesser's network: %d", res.status)
	}
	forged := device[:len(device)-2] + map[bool]string{true: "BA", false: "AA"}[strings.HasSuffix(device, "AA")]
	if res := d.guess(t, "203.0.113.2", d.flow(t, "203.0.113.2"), account, right, "Cookie", forged); res.status != http.StatusTooManyRequests {
		t.Errorf("a forged cookie: %d", res.status)
	}
	// Who has stolen the cookie has five guesses, as anybody.
	f := d.flow(t, "203.0.113.3")
	for i := range 6 {
		want := http.StatusBadRequest
		if i == 5 {
			want = http.StatusTooManyRequests
		}
		if res := d.guess(t, "203.0.113.3", f, account, "wrong", "Cookie", device); res.status != want {
			t.Errorf("guess %d with the cookie: %d", i, res.status)
		}
	}
	for _, key := range d.redis.Keys(t.Context(), "*").Val() {
		if strings.Contains(key, "sigrid") || strings.Contains(key, "198.51") {
			t.Errorf("redis has %s", key)
		}
	}
	d.skew.Add(int64(31 * time.Minute))
	if res := d.guess(t, "203.0.113.1", d.flow(t, "203.0.113.1"), account, right); res.status != http.StatusOK {
		t.Errorf("after the lock: %d", res.status)
	}

	// Side by side no more get through than one after the other.
	var all sync.WaitGroup
	var through atomic.Int32
	f = d.flow(t, "203.0.113.9")
	for i := range 30 {
		all.Go(func() {
			if d.guess(t, "203.0.113.9", f, other, fmt.Sprint("guess ", i)).status != http.StatusTooManyRequests {
				through.Add(1)
			}
		})
	}
	all.Wait()
	if through.Load() > 5 {
		t.Errorf("%d guesses side by side reached the identity server", through.Load())
	}

	// The client library's whole journey works through the door.
	p := &orytest.Person{PublicURL: d.URL + strings.TrimSuffix(signin.Path, "/"), Address: other, Password: right}
	d.skew.Add(int64(31 * time.Minute))
	ok(t, p.SignIn(t.Context()))
	if res, b := d.send(t, http.MethodGet, "sessions/whoami", office, nil, "X-Session-Token", p.Token); res.status != http.StatusOK || !bytes.Contains(b, []byte(other)) {
		t.Errorf("whoami: %d", res.status)
	}
	ok(t, d.redis.Close())
	if res := d.guess(t, office, f, account, right); res.status != http.StatusServiceUnavailable {
		t.Errorf("without Redis: %d", res.status)
	}
	kratos.Kill()
	if res, _ := d.send(t, http.MethodGet, "self-service/login/api", office, nil); res.status != http.StatusServiceUnavailable {
		t.Errorf("without the identity server: %d", res.status)
	}
}

// TestOnlyWhatIsNeeded looks at what the identity server gets to see.
func TestOnlyWhatIsNeeded(t *testing.T) {
	var got *http.Request
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		for _, name := range []string{"Server", "Access-Control-Allow-Origin", "Content-Security-Policy"} {
			w.Header().Set(name, "theirs")
		}
		http.SetCookie(w, &http.Cookie{Name: "ory_kratos_session", Value: "theirs"})
		http.SetCookie(w, &http.Cookie{Name: "vogter_device", Value: "theirs"})
	}))
	t.Cleanup(behind.Close)
	d := start(t, behind.URL)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "self-service/login/browser", http.StatusOK},
		{http.MethodGet, "self-service/settings/flows?id=1", http.StatusOK},
		{http.MethodDelete, "self-service/logout/api", http.StatusOK},
		{http.MethodGet, "self-service/methods/oidc/callback/eid?code=1", http.StatusOK},
		{http.MethodGet, "self-service/registration/api", http.StatusNotFound},
		{http.MethodPost, "self-service/registration?flow=1", http.StatusNotFound},
		{http.MethodGet, "admin/identities", http.StatusNotFound},
		{http.MethodGet, "self-service/login/api/%2e%2e/%2e%2e/admin", http.StatusNotFound},
		{http.MethodGet, "self-service%2flogin/../../admin/identities", http.StatusNotFound},
		{http.MethodGet, "sessions", http.StatusNotFound},
		{http.MethodDelete, "sessions/1", http.StatusNotFound},
		{http.MethodGet, "health/ready", http.StatusNotFound},
		{http.MethodGet, "", http.StatusNotFound},
	} {
		got = nil
		var body map[string]any
		if tt.method == http.MethodDelete {
			body = map[string]any{"session_token": "ory_st_1"}
		}
		res, _ := d.send(t, tt.method, tt.path, "192.0.2.1", body)
		if res.status != tt.want || (got != nil) != (tt.want == http.StatusOK) {
			t.Errorf("%s %s: %d", tt.method, tt.path, res.status)
		}
	}
	res, _ := d.send(t, http.MethodPost, "self-service/login?flow=1", "192.0.2.1", map[string]any{"identifier": "a", "password": "b"},
		"Authorization", "Bearer vgt_x", "Cookie", "ory_kratos_session=a; other=b; csrf_token_1=c", "X-Real-Ip", "192.0.2.2", "Vogter-Tenant", "ten_x")
	if got == nil || got.URL.Path != "/self-service/login" || got.URL.RawQuery != "flow=1" {
		t.Fatalf("passed on %v", got)
	}
	for _, name := range []string{"Authorization", "X-Forwarded-For", "X-Real-Ip", "Vogter-Tenant", "Forwarded"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("passes on %s: %s", name, v)
		}
	}
	if c := strings.Join(got.Header.Values("Cookie"), "; "); c != "ory_kratos_session=a; csrf_token_1=c" {
		t.Errorf("passes on the cookies %q", c)
	}
	if res.header.Get("Server") != "" || res.header.Get("Access-Control-Allow-Origin") != "" || res.header.Get("Content-Security-Policy") == "theirs" {
		t.Errorf("answers %v", res.header)
	}
	for _, c := range res.cookies {
		if c.Name == "vogter_device" && c.Value == "theirs" {
			t.Error("passes back a cookie that is ours")
		}
	}
	large := map[string]any{"password": strings.Repeat("x", 70_000)}
	if res, _ := d.send(t, http.MethodPost, "self-service/login?flow=1", "192.0.2.1", large); res.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large: %d", res.status)
	}
}
