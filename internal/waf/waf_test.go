package waf_test

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
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/turns"
	"github.com/vogter/vogter/internal/waf"
	"github.com/vogter/vogter/testdata/legislators"
)

// benign are values that honest people send.
func benign() []string {
	return []string{
		"Åse Ødegård", "Søren Æbelø-Ågård", "Sinéad O'Brien", "D'Angelo d'Artagnan", "Jean-Luc \"JL\" Müller", "Nuñez y Cía.",
		"Select Wines from Denmark ApS", "select the best from the rest", "Union Street 5", "Drop Shop & Table Tennis A/S",
		"Delete from list, please", "Insert into folder", "Or & Son 1=1 ApS", "Null & Nichtig GmbH", "Cat & Dog ApS", "Where is it?",
		"A & B Holding A/S", "H&M", "50% off; 100% wool", "Tom's 'Corner' Shop", "He said: \"it's mine\"", "C/O Hansen, 3. tv.",
		"Vestergade 12, 3. th., 1456 København K", "Sankt Peders Stræde 12-14 (baghuset)", "#4 — flat 2", "P.O. Box 12", "c/o O'Leary",
		"010136-1234", "0101361234", "+45 33 12 34 56", "(+45) 3312-3456", "202-224-3441", "+1 (202) 555-0101", "2026-11-22", "1990-02-28T10:00:00+01:00",
		"aase@example.dk", "o'brien+news@example.com", "first.last-name@sub.example.co.uk",
		"DK50 0040 0440 1162 43", "10008123", "CVR-nr. 10 00 81 23", "3.14", "1,234.56 kr.", "-1", "1e9", "100 %", "EUR 1.000,00",
		"sub_abcdefghijklmnopqrstuvwxyz234567", "vgt_abcDEF0123456789-_~", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AbCd-_", "K-1001", "Europe/Copenhagen",
		"Line one\nline two\n\n- a point\n- another (really!)", "Kunden ringede d. 3/4 kl. 10; ønsker sletning. \"Snarest muligt\", sagde hun.", "Please call me back, thanks :-) <3",
		"{\"a\": [1, 2], \"b\": null}", "årsrapport 2025 (endelig).pdf", "Q&A: how / why?", "x < y and y > z", "1 or 2 persons", "the user's name is not known; ask them", "en, da; q=0.8", "", "  ", "🙂 Ærlighed",
		"<none>", "Mail sent from my iPhone", "like 'that'", "5' 11\"", "rock 'n' roll", "O'Neill & O'Hara", "AND Holding", "not null", "having fun", "case closed", "System.out", "Echo Park", "Curl & Co", "ID: 7; ref = 8", "@home", "Ping Identity", "Python Ltd.", "Bash Street Kids", "Exec. Director", "Kim Nano Vim",
	}
}

const document = `mutation Add($input: CreateSubjectInput!) {
  createSubject(input: $input) { subject { id reference name { full } emails phones birthDate } }
}`

func firewall(tb testing.TB, c waf.Config) *waf.Firewall {
	tb.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	f, err := waf.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func call(tb testing.TB, query string, variables any) *http.Request {
	tb.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		tb.Fatal(err)
	}
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "https://vogter.example/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Length", strconv.Itoa(len(body))) // as the server leaves it there
	r.Header.Set("User-Agent", "curl/8.5.0")
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Idempotency-Key", "2f6a1c52-7b1e-4b43-9a55-1c0c8f0f3f7a")
	return r
}

// ownCalls are those that honest people make, each with a value in a variable
// and in the document.
func ownCalls(t *testing.T, value string) map[string]*http.Request {
	t.Helper()
	literal, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*http.Request{
		"variable": call(t, document, map[string]any{"input": map[string]any{
			"reference": "K-1", "name": map[string]any{"full": value}, "emails": []string{"a@example.dk"}, "birthDate": "1990-02-28",
		}}),
		"literal": call(t, `mutation { createSubject(input: {name: {full: `+strings.ReplaceAll(string(literal), `\u0026`, "&")+`}}) { subject { id } } }`, nil),
	}
}

// TestBenign sends what honest people do; none of it may look like an attack.
func TestBenign(t *testing.T) {
	signedIn := authz.Principal{Kind: authz.KindMachine, ID: "key_1"}
	// What only those write who have signed in.
	more := []string{"SGVsbG8sIFdvcmxkIQ==", "https://example.dk/path?a=b&c=d#top", "http://example.com:8080/", "http://127.0.0.1:4040/hooks", "https://10.1.2.3/in"}
	for _, tt := range []struct {
		name   string
		by     authz.Principal
		values []string
	}{
		{"nobody", authz.Principal{}, benign()},
		{"signed in", signedIn, append(benign(), more...)},
		{"public data", signedIn, legislatorTexts(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var met []int
			f := firewall(t, waf.Config{Mode: waf.Block, Scope: waf.All, Blocked: func(_ context.Context, rules []int) { met = rules }})
			for _, v := range tt.values {
				for how, r := range ownCalls(t, v) {
					if err := f.Inspect(r.WithContext(authz.NewContext(r.Context(), tt.by)), waf.Route{}); err != nil {
						t.Errorf("%s %q: %v %v", how, v, err, met)
					}
				}
			}
		})
	}
}

// TestForms: what people write into a form is looked at as what programs send.
func TestForms(t *testing.T) {
	var met []int
	f := firewall(t, waf.Config{Mode: waf.Block, Scope: waf.Public, Blocked: func(_ context.Context, rules []int) { met = rules }})
	send := func(name, value string) error {
		body := strings.NewReader(url.Values{name: {value}}.Encode())
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://vogter.example/p/one/ask", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		r.Header.Set("Content-Length", strconv.Itoa(body.Len()))
		r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		return f.Inspect(r, waf.Route{Public: true})
	}
	for _, v := range benign() {
		if err := send("words", v); err != nil {
			t.Errorf("%q: %v %v", v, err, met)
		}
	}
	const attack = "<script>alert(document.cookie)</script>"
	if err := send("words", attack); !errors.Is(err, waf.ErrBlocked) {
		t.Errorf("an attack in a value: %v", err)
	}
	if err := send(attack, ""); !errors.Is(err, waf.ErrBlocked) {
		t.Errorf("an attack in a name: %v", err)
	}
	if err := send("words", strings.Repeat("a", 17<<10)); !errors.Is(err, waf.ErrTooLarge) {
		t.Errorf("too much: %v", err)
	}
}

// TestBenignHeaders sends what programs of callers do beside a body.
func TestBenignHeaders(t *testing.T) {
	var met []int
	f := firewall(t, waf.Config{Mode: waf.Block, Scope: waf.Public, Blocked: func(_ context.Context, rules []int) { met = rules }})
	for _, h := range [][2]string{
		{"Range", "bytes=1000-"},
		{"Range", "bytes=0-99"},
		{"Range", "bytes=-5"},
		{"Vogter-File-Name", "a%2Fb%20c.pdf"},
		{"Vogter-File-Name", "%C3%85rsrapport%20%282025%29.pdf"},
		{"Vogter-File-Name", "UTF-8''%C3%85rsrapport%202025%20O%27Brien.pdf"},
		{"Authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AbCd-_"},
		{"Accept", "text/event-stream"},
		{"Accept-Encoding", "gzip, br"},
		{"Cookie", "ory_kratos_session=MTcwMDAwMDAwMHxEdi1CQkFFQ180SUFBUkFCRUFBQVJfLUNBQUVHYzNSeWFXNW5EQT8abc==; lang=da"},
		{"Accept-Language", "da,en-GB;q=0.8,en;q=0.5"},
		{"Origin", "https://portal.example"},
		{"Referer", "https://portal.example/a?b=c&d=%C3%A5"},
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{"User-Agent", "Go-http-client/2.0"},
		{"Content-Type", "application/pdf"},
		{"Content-Type", "text/csv; charset=utf-8"},
		{"Content-Type", "application/x-ndjson"},
		{"Vogter-Purpose", "kyc:onboarding"},
		{"Sec-Fetch-Site", "cross-site"},
		{"X-Forwarded-For", "203.0.113.9, 192.0.2.77"},
		{"Sec-GPC", "1"},
	} {
		r := call(t, "{ viewer { id } }", nil)
		r.Header.Set(h[0], h[1])
		if err := f.Inspect(r, waf.Route{}); err != nil {
			t.Errorf("%s: %s: %v %v", h[0], h[1], err, met)
		}
	}
	for _, address := range []string{
		"/schema.graphql", "/v1/downloads/dl_abcdefghijklmnopqrstuvwxyz234567-_", "/v1/imports/imp_abcdefghijklmnopqrstuvwxyz234567?after=100",
		"/v1/uploads?subject=sub_abcdefghijklmnop234567&dataset=dst_abcdefghijklmnop234567", "/v1/imports?mapping=legislators", "/v1/imports?dataset=Members%20of%20Congress&mode=check&origin=THIRD_PARTY",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:8080"+address, http.NoBody)
		if err := f.Inspect(r, waf.Route{}); err != nil {
			t.Errorf("%s: %v %v", address, err, met)
		}
	}
}

// legislatorTexts returns some of the texts of the demo's public data.
func legislatorTexts(t *testing.T) []string {
	t.Helper()
	var list []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			list = append(list, v)
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	n := 0
	for line := range bytes.Lines(legislators.Lines()) {
		if n++; n%50 != 0 {
			continue
		}
		var v any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		walk(v)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// texts returns n different ones.
func texts(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "text " + strconv.Itoa(i)
	}
	return list
}

// TestInspect shows whose calls are inspected, where, and what becomes of them.
func TestInspect(t *testing.T) {
	const attack = "1' UNION SELECT password FROM users; DROP TABLE users--"
	nobody := authz.Principal{}
	machine := authz.Principal{Kind: authz.KindMachine, ID: "key_1"}
	member := authz.Principal{Kind: authz.KindMember, ID: "mem_1"}
	person := authz.Principal{Kind: authz.KindSubject, ID: "sub_1"}
	inBody := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document, map[string]any{"input": map[string]any{"reference": attack}})
	}
	inName := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document, map[string]any{"input": map[string]any{attack: "x"}})
	}
	inLiteral := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, `{ subject(id: "`+attack+`") { id } }`, nil)
	}
	inComment := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, "{ viewer { id } } # "+attack, nil)
	}
	inAddress := func(t *testing.T) *http.Request {
		t.Helper()
		return httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://vogter.example/d/..%2f..%2fetc%2fpasswd?x="+url.QueryEscape(attack), http.NoBody)
	}
	inHeader := func(t *testing.T) *http.Request {
		t.Helper()
		r := call(t, document, nil)
		r.Header.Set("Referer", "https://evil.example/<script>alert(1)</script>")
		return r
	}
	large := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document, strings.Repeat("a ", 10<<10))
	}
	many := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document, texts(201))
	}
	huge := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document+strings.Repeat(" ", 256<<10), nil)
	}
	once := func(t *testing.T) *http.Request {
		t.Helper()
		return call(t, document, slices.Repeat([]string{"an ordinary text"}, 2000))
	}
	noJSON := func(t *testing.T) *http.Request {
		t.Helper()
		r := call(t, "", nil)
		r.Body = io.NopCloser(strings.NewReader("a=" + attack))
		return r
	}
	tests := []struct {
		name  string
		mode  waf.Mode
		scope waf.Scope
		by    authz.Principal
		to    waf.Route
		send  func(*testing.T) *http.Request
		want  error
		told  bool
	}{
		{"nobody's body", waf.Block, waf.Public, nobody, waf.Route{}, inBody, waf.ErrBlocked, true},
		{"nobody's name of a variable", waf.Block, waf.Public, nobody, waf.Route{}, inName, waf.ErrBlocked, true},
		{"nobody's document", waf.Block, waf.Public, nobody, waf.Route{}, inLiteral, waf.ErrBlocked, true},
		{"nobody's comment", waf.Block, waf.Public, nobody, waf.Route{}, inComment, waf.ErrBlocked, true},
		{"nobody's address", waf.Block, waf.Public, nobody, waf.Route{}, inAddress, waf.ErrBlocked, true},
		{"nobody's header", waf.Block, waf.Public, nobody, waf.Route{}, inHeader, waf.ErrBlocked, true},
		{"nobody's body that is no JSON: its handler refuses it", waf.Block, waf.Public, nobody, waf.Route{}, noJSON, nil, false},
		{"nobody's file", waf.Block, waf.Public, nobody, waf.Route{Stream: true}, inBody, nil, false},
		{"nobody's large body", waf.Block, waf.Public, nobody, waf.Route{}, large, waf.ErrTooLarge, false},
		{"nobody's many texts", waf.Block, waf.Public, nobody, waf.Route{}, many, waf.ErrTooLarge, false},
		{"nobody's body of many times one text", waf.Block, waf.Public, nobody, waf.Route{}, once, nil, false},
		{"nobody's huge document", waf.Block, waf.Public, nobody, waf.Route{}, huge, waf.ErrTooLarge, false},
		{"only detected", waf.Detect, waf.Public, nobody, waf.Route{}, inBody, nil, true},
		{"a person's body", waf.Block, waf.Public, person, waf.Route{}, inBody, waf.ErrBlocked, true},
		{"a machine's body", waf.Block, waf.Public, machine, waf.Route{}, inBody, nil, false},
		{"a machine's address", waf.Block, waf.Public, machine, waf.Route{}, inAddress, nil, false},
		{"a machine's large body", waf.Block, waf.Public, machine, waf.Route{}, large, nil, false},
		{"a machine's address at a public route", waf.Block, waf.Public, machine, waf.Route{Public: true}, inAddress, waf.ErrBlocked, true},
		{"a machine's body in scope browser", waf.Block, waf.Browser, machine, waf.Route{}, inBody, nil, false},
		{"a machine's body in scope all", waf.Block, waf.All, machine, waf.Route{}, inBody, waf.ErrBlocked, true},
		{"a member's body", waf.Block, waf.Public, member, waf.Route{}, inBody, nil, false},
		{"a member's header", waf.Block, waf.Public, member, waf.Route{}, inHeader, waf.ErrBlocked, true},
		{"a member's body in scope browser", waf.Block, waf.Browser, member, waf.Route{}, inBody, waf.ErrBlocked, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			var told []int
			f := firewall(t, waf.Config{
				Mode: tt.mode, Scope: tt.scope, Log: slog.New(slog.NewJSONHandler(&log, nil)),
				Blocked: func(_ context.Context, rules []int) { told = rules },
			})
			r := tt.send(t)
			want, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(want))
			ctx := audit.WithRequest(authz.NewContext(r.Context(), tt.by), audit.Request{ID: "req-1"})
			r = r.WithContext(ctx)
			if err := f.Inspect(r, tt.to); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, want) {
					t.Errorf("the handler would read %q, %v", got, err)
				}
			}
			if (len(told) > 0) != tt.told || strings.Contains(log.String(), `"request_id":"req-1"`) != tt.told {
				t.Errorf("told %v, logged %s", told, &log)
			}
			for _, value := range []string{"UNION", "passwd", "script", "evil"} {
				if strings.Contains(log.String(), value) {
					t.Errorf("the log has what was sent: %s", &log)
				}
			}
		})
	}
}

func TestOff(t *testing.T) {
	if f := firewall(t, waf.Config{Mode: waf.Off}); f != nil {
		t.Error("there is a firewall")
	}
}

// BenchmarkInspect shows what texts of a size cost.
func BenchmarkInspect(b *testing.B) {
	f := firewall(b, waf.Config{Mode: waf.Block, Scope: waf.Public})
	b.Run("200 texts", func(b *testing.B) {
		for b.Loop() {
			_ = f.Inspect(call(b, document, texts(200)), waf.Route{})
		}
	})
	for _, kib := range []int{0, 1, 4, 15} {
		for name, word := range map[string]string{"words": "ordinary words of a person, ", "signs": "(a'b\";--"} {
			value := strings.Repeat(word, (kib<<10)/len(word))
			b.Run(fmt.Sprintf("%s/%dKiB", name, kib), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = f.Inspect(call(b, document, map[string]any{"v": value}), waf.Route{})
				}
			})
		}
	}
}

// Calls that come while all turns are taken don't wait for ever, and those of
// others are inspected meanwhile.
func TestNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold, held := make(chan struct{}), 0
		f := firewall(t, waf.Config{
			Mode: waf.Block, Scope: waf.Public, Log: slog.New(slog.DiscardHandler),
			Blocked: func(context.Context, []int) { held++; <-hold },
		})
		attack := func() error {
			return f.Inspect(call(t, "{ a }", map[string]any{"v": "1' UNION SELECT password FROM users--"}), waf.Route{})
		}
		var waiting sync.WaitGroup
		for range max(1, runtime.GOMAXPROCS(0)/2) {
			waiting.Go(func() { _ = attack() })
			synctest.Wait()
		}
		if held == 0 {
			t.Fatal("nothing takes a turn")
		}
		began := time.Now()
		if err := attack(); !errors.Is(err, turns.ErrBusy) {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		r := call(t, "{ a }", nil)
		member := authz.Principal{Kind: authz.KindMember, ID: "mem_1"}
		if err := f.Inspect(r.WithContext(authz.NewContext(r.Context(), member)), waf.Route{}); err != nil {
			t.Errorf("a member's call: %v", err)
		}
		close(hold)
		waiting.Wait()
	})
}
