package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/reqlog"
	"github.com/vogter/vogter/internal/server"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/waf"
)

// buffer is a log that may be written to and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// patience is how long the servers of these tests wait.
const patience = 300 * time.Millisecond

// handler returns an API with routes that take and give a lot.
func handler(t *testing.T, out io.Writer, change func(*server.Config)) http.Handler {
	t.Helper()
	log := slog.New(slog.NewJSONHandler(out, nil))
	auth, err := authn.New(authn.Config{Keys: keys{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	fail := func(w http.ResponseWriter, r *http.Request, err error) { httperr.Write(w, r, err, log) }
	take := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			fail(w, r, err)
			return
		}
		fmt.Fprint(w, n)
	})
	c := server.Config{
		Log: log, Now: time.Now, Auth: auth, Fail: fail, Limits: server.Limits{Patience: patience, Linger: patience / 3},
		Routes: []server.Route{
			{Pattern: "POST /take", Handler: take},
			{Pattern: "PUT /file", Handler: take, Stream: true},
			{Pattern: "POST /leave", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "left") })},
			{Pattern: "POST /long", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				select {
				case <-time.After(3 * patience):
					fmt.Fprint(w, "done")
				case <-r.Context().Done():
				}
			})},
			{Pattern: "GET /give", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				piece := bytes.Repeat([]byte("x"), 1<<20)
				for range 200 {
					if _, err := w.Write(piece); err != nil {
						reqlog.Code(r.Context(), errs.Unavailable)
						return
					}
				}
			})},
			{Pattern: "GET /stream", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 5 {
					fmt.Fprint(w, ".")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(patience / 2)
				}
			})},
			{Pattern: "GET /gpc", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, audit.RequestFrom(r.Context()).GPC)
			})},
		},
	}
	if change != nil {
		change(&c)
	}
	h, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve runs a server until the test ends and returns its address.
func serve(t *testing.T, h http.Handler, c server.Listening) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if c.Connections == 0 {
		c.Connections = 100
	}
	c.Grace = 5 * time.Second
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l, h, c) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// reply is the head of an answer.
type reply struct {
	StatusCode int
	Header     http.Header
}

// talk sends the pieces of a call, with a pause between, and returns the answer;
// nil when the connection just ends.
func talk(t *testing.T, addr string, pause time.Duration, pieces ...string) (res *reply, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, p := range pieces {
			if _, err := io.WriteString(conn, p); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}()
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server never ended the call")
		}
		return nil, ""
	}
	defer got.Body.Close()
	b, _ := io.ReadAll(got.Body) // what was sent may be cut off by the end of the connection
	return &reply{got.StatusCode, got.Header}, string(b)
}

// head is the head of a call with a body of n bytes.
func head(method, path string, n int) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, path, n)
}

// A file has to come at some pace on average, once its first time is over.
func TestSlowFiles(t *testing.T) {
	t.Parallel()
	addr := serve(t, handler(t, io.Discard, func(c *server.Config) {
		c.Limits.Patience, c.Limits.Grace = 30*time.Second, patience
	}), server.Listening{Header: patience})
	trickle := func(piece string) []string {
		return append([]string{head("PUT", "/file", 16*len(piece))}, slices.Repeat([]string{piece}, 16)...)
	}
	for _, tt := range []struct {
		name   string
		pieces []string
		status int
		body   string
	}{
		{"too slow", trickle("x"), 408, `"rule":"body.slow"`},
		{"fast enough", trickle(strings.Repeat("x", 65536)), 200, "1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, body := talk(t, addr, patience/4, tt.pieces...)
			if res == nil || res.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("got %v %s, want %d %s", res, body, tt.status, tt.body)
			}
		})
	}
}

func TestSlowCallers(t *testing.T) {
	t.Parallel()
	trickle := slices.Repeat([]string{"x"}, 100)
	tests := []struct {
		name   string
		pause  time.Duration
		pieces []string
		status int // 0: the connection ends
		body   string
	}{
		{"a head that never ends", patience / 4, append([]string{"POST /take HTTP/1.1\r\nHost: x\r\n"}, slices.Repeat([]string{"X-A: b\r\n"}, 100)...), 0, ""},
		{"a body that trickles in", patience / 8, append([]string{head("POST", "/take", 100)}, trickle...), 408, `"rule":"body.slow"`},
		{"a file that trickles in", patience / 8, append([]string{head("PUT", "/file", 100)}, trickle...), 408, `"rule":"body.slow"`},
		{"a body that stops", 0, []string{head("POST", "/take", 100), "x"}, 408, `"rule":"body.slow"`},
		{
			"a file that keeps coming for longer than a body may", patience / 2,
			append([]string{head("PUT", "/file", 8*65536)}, slices.Repeat([]string{strings.Repeat("x", 65536)}, 8)...), 200, "524288",
		},
		{
			"a body that keeps coming for too long", patience / 2,
			append([]string{head("POST", "/take", 8*65536)}, slices.Repeat([]string{strings.Repeat("x", 65536)}, 8)...), 408, `"rule":"body.slow"`,
		},
		{"a body that nobody reads", patience / 8, append([]string{head("POST", "/leave", 100)}, trickle...), 200, "left"},
		{"a body for no route", patience / 8, append([]string{head("POST", "/nowhere", 100)}, trickle...), 404, "NOT_FOUND"},
		{"a handler that takes its time", 0, []string{head("POST", "/long", 3), "abc"}, 200, "done"},
		{"a call in one piece", 0, []string{head("POST", "/take", 3) + "abc"}, 200, "3"},
	}
	addr := serve(t, handler(t, io.Discard, nil), server.Listening{Header: patience})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, body := talk(t, addr, tt.pause, tt.pieces...)
			switch {
			case tt.status == 0 && res != nil:
				t.Errorf("answered %d %s", res.StatusCode, body)
			case tt.status != 0 && (res == nil || res.StatusCode != tt.status || !strings.Contains(body, tt.body)):
				t.Errorf("got %v %s, want %d %s", res, body, tt.status, tt.body)
			}
		})
	}
}

// TestSlowReaders asks for answers and takes them slowly, or not at all.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	t.Run("nobody takes it", func(t *testing.T) {
		t.Parallel()
		var out buffer
		addr := serve(t, handler(t, &out, nil), server.Listening{})
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /give HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), `"code":"UNAVAILABLE"`); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the server still waits")
			}
		}
	})
	t.Run("a stream goes on for longer than a piece may take", func(t *testing.T) {
		t.Parallel()
		addr := serve(t, handler(t, io.Discard, nil), server.Listening{})
		res, body := talk(t, addr, 0, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
		if res == nil || body != "....." {
			t.Errorf("got %q", body)
		}
	})
}

func TestLargeHeaders(t *testing.T) {
	addr := serve(t, handler(t, io.Discard, nil), server.Listening{})
	for n, want := range map[int]int{20 << 10: 200, 60 << 10: 431} {
		res, _ := talk(t, addr, 0, "POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-Large: "+strings.Repeat("x", n)+"\r\n\r\n")
		if res == nil || res.StatusCode != want {
			t.Errorf("%d bytes: got %v, want %d", n, res, want)
		}
	}
}

// TestConnections holds all connections that there may be: the next call waits
// until one ends.
func TestConnections(t *testing.T) {
	addr := serve(t, handler(t, io.Discard, nil), server.Listening{Connections: 2, Header: time.Minute})
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	answered := make(chan int, 1)
	go func() {
		res, _ := talk(t, addr, 0, head("POST", "/take", 0))
		if res == nil {
			answered <- 0
			return
		}
		answered <- res.StatusCode
	}()
	select {
	case status := <-answered:
		t.Errorf("answered %d beside the connections that there may be", status)
	case <-time.After(patience):
	}
	for _, conn := range held {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if status := <-answered; status != http.StatusOK {
		t.Errorf("got %d once there was room", status)
	}
}

func TestGPC(t *testing.T) {
	addr := serve(t, handler(t, io.Discard, nil), server.Listening{})
	for header, want := range map[string]string{"Sec-GPC: 1\r\n": "true", "Sec-GPC: 0\r\n": "false", "": "false"} {
		if _, got := talk(t, addr, 0, "GET /gpc HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"); got != want {
			t.Errorf("%q: got %s", header, got)
		}
	}
}

// TestFirewall shows that calls go through it once it is known who makes them.
func TestFirewall(t *testing.T) {
	var out buffer
	var told atomic.Int32
	f, err := waf.New(waf.Config{
		Mode: waf.Block, Scope: waf.Public, Log: slog.New(slog.NewJSONHandler(&out, nil)),
		Blocked: func(context.Context, []int) { told.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, handler(t, &out, func(c *server.Config) { c.Firewall = f }), server.Listening{})
	attack := `{"query": "{ viewer { id } }", "variables": {"a": "<script>alert(1)</script>"}}`
	call := func(auth, body string) string {
		return "POST /take HTTP/1.1\r\nHost: x\r\nUser-Agent: test\r\nAccept: */*\r\n" + auth +
			fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	res, body := talk(t, addr, 0, call("", attack))
	if res == nil || res.StatusCode != http.StatusForbidden || !strings.Contains(body, `"rule":"waf"`) || told.Load() != 1 ||
		!strings.Contains(body, res.Header.Get(server.HeaderRequestID)) {
		t.Errorf("nobody: got %s, told %d times", body, told.Load())
	}
	if strings.Contains(body, "941") {
		t.Errorf("the caller is told which rule it met: %s", body)
	}
	if _, body = talk(t, addr, 0, call("Authorization: Bearer vgt_good\r\n", attack)); body != strconv.Itoa(len(attack)) {
		t.Errorf("a machine: got %s", body)
	}
	if _, body = talk(t, addr, 0, call("", `{"query": "{ viewer { id } }"}`)); body != "30" {
		t.Errorf("an honest call: got %s", body)
	}
	if strings.Contains(out.String(), "script") {
		t.Errorf("the log has what was sent: %s", out.String())
	}
}

// allowed is the origins that tenants allow.
type allowed map[tenant.ID][]string

func (a allowed) Allows(ctx context.Context, origin string) (bool, error) {
	if tenant.RequireSystem(ctx) == nil {
		for _, origins := range a {
			if slices.Contains(origins, origin) {
				return true, nil
			}
		}
		return false, nil
	}
	of, err := tenant.FromContext(ctx)
	return slices.Contains(a[of], origin), err
}

func TestCORS(t *testing.T) {
	const mine, theirs = "https://portal.example", "https://other.example"
	addr := serve(t, handler(t, io.Discard, func(c *server.Config) {
		c.Origins = allowed{one: {mine}, "ten_bbbbbbbbbbbbbbbb": {theirs}}
	}), server.Listening{})
	const key = "Authorization: Bearer vgt_good\r\n"
	tests := []struct {
		name, line, origin, headers string
		status                      int
		want                        string // the origin that may read the answer
	}{
		{"own page", "POST /take", mine, key, 200, mine},
		{"page of another tenant", "POST /take", theirs, key, 200, ""},
		{"page of nobody", "POST /take", "https://evil.example", key, 200, ""},
		{"own page without encryption", "POST /take", "http://portal.example", key, 200, ""},
		{"no page", "POST /take", "null", key, 200, ""},
		{"own page without a key", "POST /take", mine, "", 200, ""},
		{"own page with a wrong key", "POST /take", mine, "Authorization: Bearer vgt_bad\r\n", 401, ""},
		{"question of own page", "OPTIONS /take", mine, "Access-Control-Request-Method: POST\r\n", 204, mine},
		{"question of a page of another tenant", "OPTIONS /take", theirs, "Access-Control-Request-Method: POST\r\n", 204, theirs},
		{"question of a page of nobody", "OPTIONS /take", "https://evil.example", "Access-Control-Request-Method: POST\r\n", 405, ""},
		{"question for no route", "OPTIONS /nowhere", mine, "Access-Control-Request-Method: POST\r\n", 404, ""},
		{"no question", "OPTIONS /take", mine, "", 405, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, body := talk(t, addr, 0, tt.line+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nOrigin: "+tt.origin+"\r\n"+tt.headers+"\r\n")
			if res == nil || res.StatusCode != tt.status {
				t.Fatalf("got %v %s", res, body)
			}
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("%q may read the answer, want %q", got, tt.want)
			}
			if res.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("cookies may go along")
			}
			if tt.want != "" && res.Header.Get("Vary") != "Origin" {
				t.Error("a cache could mix the answers up")
			}
			if tt.status == http.StatusNoContent && (res.Header.Get("Access-Control-Allow-Methods") != "POST" ||
				!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization")) {
				t.Errorf("the page may not do what it needs: %v", res.Header)
			}
		})
	}
}

// issue writes a certificate for loopback that is valid for as long as it says.
func issue(t *testing.T, dir string, serial int64, valid time.Duration) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	put(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(c)
	return certFile, keyFile, pool
}

// put replaces a file as programs that renew certificates do.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, _ := issue(t, dir, 1, time.Hour)
	var ahead atomic.Int64 // how far the clock is
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var out buffer
	cert, err := server.LoadCertificate(certFile, keyFile, now, slog.New(slog.NewJSONHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, handler(t, io.Discard, nil), server.Listening{TLS: cert.Config()})
	// look connects anew and returns what it sees.
	look := func(c *tls.Config) (serial int64, state tls.ConnectionState, err error) {
		c.InsecureSkipVerify = true // the serial tells them apart
		conn, err := tls.Dial("tcp", addr, c)
		if err != nil {
			return 0, state, err
		}
		state = conn.ConnectionState()
		return state.PeerCertificates[0].SerialNumber.Int64(), state, conn.Close()
	}

	t.Run("versions", func(t *testing.T) {
		for newest, want := range map[uint16]uint16{0: tls.VersionTLS13, tls.VersionTLS12: tls.VersionTLS12, tls.VersionTLS11: 0} {
			_, state, err := look(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: newest, NextProtos: []string{"h2"}})
			if state.Version != want || (err == nil) != (want != 0) || want != 0 && state.NegotiatedProtocol != "h2" {
				t.Errorf("up to %x: got %x %q, %v", newest, state.Version, state.NegotiatedProtocol, err)
			}
		}
	})

	// Each step replaces the files; afterwards the clock goes past the next look.
	steps := []struct {
		name    string
		replace func()
		serial  int64
		warned  bool
	}{
		{"nothing new", func() {}, 1, false},
		{"a new pair", func() { issue(t, dir, 2, time.Hour) }, 2, false},
		{"no certificate", func() { put(t, certFile, []byte("no PEM")) }, 2, true},
		{"a new pair after that", func() { issue(t, dir, 3, time.Hour) }, 3, false},
		{"the key of another", func() {
			old, err := os.ReadFile(certFile)
			if err != nil {
				t.Fatal(err)
			}
			issue(t, dir, 4, time.Hour)
			put(t, certFile, old)
		}, 3, true},
		{"one that has expired", func() { issue(t, dir, 5, -24*time.Hour) }, 3, true},
		{"no file", func() {
			if err := os.Remove(keyFile); err != nil {
				t.Fatal(err)
			}
		}, 3, true},
		{"a new pair at last", func() { issue(t, dir, 6, time.Hour) }, 6, false},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			before := strings.Count(out.String(), `"level":"WARN"`)
			s.replace()
			ahead.Add(int64(6 * time.Second))
			serial, _, err := look(&tls.Config{})
			if err != nil || serial != s.serial {
				t.Errorf("got certificate %d, %v, want %d", serial, err, s.serial)
			}
			if warned := strings.Count(out.String(), `"level":"WARN"`) > before; warned != s.warned {
				t.Errorf("warned: %v: %s", warned, out.String())
			}
			if strings.Contains(out.String(), dir) {
				t.Errorf("the log has a path: %s", out.String())
			}
		})
	}

	t.Run("under load", func(t *testing.T) {
		var calls, failed atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					c := &http.Client{Transport: &http.Transport{
						TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: calls.Load()%2 == 0,
					}}
					for range 5 {
						calls.Add(1)
						res, err := c.Post("https://"+addr+"/take", "text/plain", strings.NewReader("abc"))
						if err != nil {
							failed.Add(1)
							continue
						}
						if b, err := io.ReadAll(res.Body); err != nil || string(b) != "3" {
							failed.Add(1)
						}
						_ = res.Body.Close()
					}
					c.CloseIdleConnections()
				}
			})
		}
		for serial := range int64(20) {
			issue(t, dir, 100+serial, time.Hour)
			ahead.Add(int64(6 * time.Second))
			time.Sleep(10 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		ahead.Add(int64(6 * time.Second))
		serial, _, err := look(&tls.Config{})
		if err != nil || serial != 119 || failed.Load() > 0 || calls.Load() == 0 {
			t.Errorf("%d of %d calls failed; certificate %d, %v", failed.Load(), calls.Load(), serial, err)
		}
		t.Logf("%d calls while the certificate changed 20 times", calls.Load())
	})
}

func TestLoadCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, _ := issue(t, dir, 1, -time.Hour)
	for name, files := range map[string][2]string{
		"expired": {certFile, keyFile}, "swapped": {keyFile, certFile}, "missing": {certFile, filepath.Join(dir, "none")},
	} {
		if _, err := server.LoadCertificate(files[0], files[1], time.Now, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
