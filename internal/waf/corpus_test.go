package waf_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"
	"go.yaml.in/yaml/v3"

	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/waf"
)

// sample is a request of the rule set's regression tests.
type sample struct {
	family, id string
	Input      struct {
		Method  string
		URI     string
		Version string
		Headers map[string]string
		Data    string
		Encoded string `yaml:"encoded_request"`
	}
	Output struct {
		Status int
		Log    struct {
			Expect []int `yaml:"expect_ids"`
		}
	}
}

// families are those of attacks, by the first digits of their rules, with the
// share of their samples that must be blocked.
var families = []struct {
	prefix, name string
	share        float64
}{
	{"920", "protocol", 0.95},
	{"921", "protocol attack", 0.95},
	{"930", "traversal", 0.95},
	{"931", "remote inclusion (SSRF)", 0.95},
	{"932", "command", 0.95},
	{"933", "PHP", 0},
	{"934", "generic (SSRF)", 0.95},
	{"941", "XSS", 0.95},
	{"942", "SQL", 0.95},
	{"943", "session fixation", 0},
	{"944", "Java", 0},
}

// corpus returns the samples of attacks: those of what must pass are left out.
func corpus(t *testing.T) []sample {
	t.Helper()
	var list []sample
	err := fs.WalkDir(tests.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tests.FS, path)
		if err != nil {
			return err
		}
		var file struct {
			Rule  int `yaml:"rule_id"`
			Tests []struct {
				ID     int `yaml:"test_id"`
				Stages []sample
			}
		}
		if err := yaml.Unmarshal(b, &file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, test := range file.Tests {
			for _, s := range test.Stages {
				s.family, s.id = strconv.Itoa(file.Rule)[:3], fmt.Sprintf("%d-%d", file.Rule, test.ID)
				if len(s.Output.Log.Expect) > 0 || s.Output.Status == http.StatusBadRequest || s.Output.Status == http.StatusForbidden {
					list = append(list, s)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// request writes the sample as a call of this API: what it has in a form, names
// and values, comes as variables of GraphQL. Samples of the protocol itself stay
// as they are. A reason says why a sample doesn't apply.
func (s *sample) request() (raw []byte, reason string) {
	in := s.Input
	switch rule, _, _ := strings.Cut(s.id, "-"); rule {
	case "920300", "920320", "920330":
		return nil, "a header that programs may leave out: a mere hint to the rule set"
	case "920350":
		return nil, "a number as host: how a server without a name is reached"
	}
	if in.Encoded != "" {
		b, err := base64.StdEncoding.DecodeString(in.Encoded)
		if err != nil {
			return nil, "malformed sample"
		}
		return b, ""
	}
	headers := http.Header{}
	var contentType string
	for name, value := range in.Headers {
		if strings.EqualFold(name, "Content-Type") {
			contentType = strings.ToLower(value)
		}
		headers[name] = []string{value}
	}
	body := []byte(in.Data)
	if in.Data != "" && !strings.HasPrefix(s.family, "92") {
		switch {
		case strings.HasPrefix(contentType, "application/json"):
			if !json.Valid(body) {
				return nil, "a body that is no JSON: refused with 400"
			}
		case contentType == "", strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
			var values []string
			for pair := range strings.SplitSeq(in.Data, "&") {
				for _, part := range strings.SplitN(pair, "=", 2) {
					values = append(values, unescape(part))
				}
			}
			body, _ = json.Marshal(map[string]any{"query": "query($v: [String!]) { viewer { id } }", "variables": map[string]any{"v": values}})
			for name := range headers {
				if strings.EqualFold(name, "Content-Type") {
					delete(headers, name)
				}
			}
			headers["Content-Type"] = []string{"application/json"}
		default:
			return nil, "a body of another type than JSON: refused with 415"
		}
	}
	method, uri, version := in.Method, in.URI, in.Version
	if method == "" {
		method = "GET"
	}
	if uri == "" {
		uri = "/"
	}
	if version == "" {
		version = "HTTP/1.1"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", method, uri, version)
	for name, values := range headers {
		if strings.EqualFold(name, "Content-Length") && in.Data != "" {
			continue
		}
		fmt.Fprintf(&b, "%s: %s\r\n", name, values[0])
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("Connection: close\r\n\r\n")
	b.Write(body)
	return b.Bytes(), ""
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// TestCorpus sends the rule set's own samples over a connection of their own each,
// byte by byte: what net/http refuses never gets to the rules.
func TestCorpus(t *testing.T) {
	f := firewall(t, waf.Config{Mode: waf.Block, Scope: waf.Public})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f.Inspect(r, waf.Route{}); err != nil {
			httperr.Write(w, r, err, slog.New(slog.DiscardHandler))
			return
		}
		// As the GraphQL handler has it.
		media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		charset, ok := params["charset"]
		if r.ContentLength != 0 && (err != nil || media != "application/json" || ok && !strings.EqualFold(charset, "utf-8")) {
			w.WriteHeader(http.StatusUnsupportedMediaType)
		}
	}))
	defer srv.Close()

	type count struct {
		samples, rules, others int
		outside                map[string]int // samples that don't apply, by reason
		missed                 []string
	}
	counts := map[string]*count{}
	for _, s := range corpus(t) {
		c := counts[s.family]
		if c == nil {
			c = &count{outside: map[string]int{}}
			counts[s.family] = c
		}
		raw, reason := s.request()
		if reason != "" {
			c.outside[reason]++
			continue
		}
		c.samples++
		switch status := send(t, srv.Listener.Addr().String(), raw); {
		case status == http.StatusForbidden:
			c.rules++
		case status == 0 || status >= 400:
			c.others++
		default:
			c.missed = append(c.missed, s.id)
		}
	}
	for _, f := range families {
		c := counts[f.prefix]
		share := float64(c.rules+c.others) / float64(c.samples)
		t.Logf("%s %-18s %4d samples: %4d refused by the rules, %3d by the server: %5.1f %%; not applicable: %v",
			f.prefix, f.name, c.samples, c.rules, c.others, 100*share, c.outside)
		if share < f.share {
			t.Errorf("%s: less than %.0f %% blocked, missed %v", f.name, 100*f.share, c.missed)
		}
	}
}

// send returns the status that a raw request is answered with.
func send(t *testing.T, addr string, raw []byte) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(raw); err != nil {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}
