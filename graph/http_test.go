package graph_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/job"
)

// sets is a tenant's datasets: none.
type sets struct{ graph.Datasets }

func (sets) List(context.Context) ([]*dataset.Dataset, error) { return nil, nil }

func withSets(*audit.Recorder) graph.Services { return graph.Services{Datasets: sets{}} }

func quote(s string) string { return fmt.Sprintf(`{"query": %q}`, s) }

func repeat(n int, of func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(of(i))
	}
	return b.String()
}

// TestBadBodies sends what a careless or hostile client may.
func TestBadBodies(t *testing.T) {
	const good = `{ datasets { id } }`
	aliases := func(n int) string {
		return quote("{" + repeat(n, func(i int) string { return fmt.Sprintf("planted%d: datasets { id } ", i) }) + "}")
	}
	// Each fragment holds the next one twice: 2^20 fields in 21 fragments.
	bomb := quote("{ ...f0 } " + repeat(20, func(i int) string {
		return fmt.Sprintf("fragment f%d on Query { ...f%d ...f%d } ", i, i+1, i+1)
	}) + "fragment f20 on Query { datasets { id } }")
	deep := `{ subject(id: "s") { ` + strings.Repeat(`records { nodes { subject { `, 10) + `id` + strings.Repeat(` } } }`, 10) + ` } }`
	tests := []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
	}{
		{"good", quote(good), nil, 200, ""},
		{"good with all members", `{"query": "query a { datasets { id } } query b { x: datasets { id } }", "operationName": "b", "variables": null, "extensions": {}}`, nil, 200, ""},
		{"good with a pair of surrogates", `{"query": "query($v: ID!) { datasets { id } s: dataset(id: $v) @skip(if: true) { id } }", "variables": {"v": "\ud83d\ude00\\ud83d"}}`, nil, 200, ""},

		{"empty", "", nil, 400, "INVALID"},
		{"malformed JSON", `{"query": "planted`, nil, 400, "INVALID"},
		{"two bodies", quote(good) + quote(good), nil, 400, "INVALID"},
		{"more after the body", quote(good) + "planted", nil, 400, "INVALID"},
		{"list: no batches", "[" + quote(good) + "]", nil, 400, "INVALID"},
		{"text", `"planted"`, nil, 400, "INVALID"},
		{"null", `null`, nil, 400, "INVALID"},
		{"no query", `{"variables": {}}`, nil, 400, "INVALID"},
		{"query is null", `{"query": null}`, nil, 400, "INVALID"},
		{"query is a number", `{"query": 1}`, nil, 400, "INVALID"},
		{"query in another case", `{"Query": "{ datasets { id } }"}`, nil, 400, "INVALID"},
		{"variables are a list", `{"query": "{ datasets { id } }", "variables": []}`, nil, 400, "INVALID"},
		{"unknown member", `{"query": "{ datasets { id } }", "planted": 1}`, nil, 400, "INVALID"},
		{"repeated member", `{"query": "{ datasets { id } }", "query": "{ tenant { id } }"}`, nil, 400, "INVALID"},
		{"repeated name in variables", `{"query": "{ datasets { id } }", "variables": {"a": {"planted": 1, "planted": 2}}}`, nil, 400, "INVALID"},
		{"broken UTF-8", "{\"query\": \"{ datasets { id } }\", \"variables\": {\"a\": \"planted\xff\"}}", nil, 400, "INVALID"},
		{"UTF-16", "{\x00\"\x00q\x00", nil, 400, "INVALID"},
		{"half a surrogate pair", `{"query": "{ datasets { id } }", "variables": {"a": "planted\ud83d"}}`, nil, 400, "INVALID"},
		{"the other half", `{"query": "{ datasets { id } }", "variables": {"a": "planted\ude00"}}`, nil, 400, "INVALID"},
		{"halves that don't meet", `{"query": "{ datasets { id } }", "variables": {"a": "\ud83d planted \ude00"}}`, nil, 400, "INVALID"},
		{"nested JSON", `{"query": "{ datasets { id } }", "variables": ` + strings.Repeat(`{"a":`, 100_000) + `1` + strings.Repeat(`}`, 100_000) + `}`, nil, 400, "INVALID"},
		{"3 MiB", `{"query": "{ datasets { id } }", "variables": {"a": "` + strings.Repeat("planted", 3<<20/7) + `"}}`, nil, 413, "LIMITED"},

		{"no content type", quote(good), []string{"Content-Type", ""}, 415, "INVALID"},
		{"form", "query=planted", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "INVALID"},
		{"plain text, as a browser sends unasked", quote(good), []string{"Content-Type", "text/plain"}, 415, "INVALID"},
		{"another charset", quote(good), []string{"Content-Type", "application/json; charset=utf-16"}, 415, "INVALID"},
		{"bad credential", quote(good), []string{"Authorization", "Bearer vgt_planted"}, 401, "UNAUTHENTICATED"},
		{"another scheme", quote(good), []string{"Authorization", "Basic planted"}, 401, "UNAUTHENTICATED"},
		{"bad purpose", quote(good), []string{"Vogter-Purpose", "planted purpose"}, 400, "INVALID"},
		{"tenant of others", quote(good), []string{"Vogter-Tenant", string(two)}, 403, "FORBIDDEN"},

		{"no GraphQL", quote("planted planted"), nil, 400, "INVALID"},
		{"unfinished text", quote(`{ dataset(id: "planted`), nil, 400, "INVALID"},
		{"empty document", quote("   "), nil, 400, "INVALID"},
		{"only a fragment", quote("fragment f on Query { datasets { id } }"), nil, 400, "INVALID"},
		{"type definitions", quote("type Planted { id: ID }"), nil, 400, "INVALID"},
		{"unknown field", quote("{ datasets { id colour } }"), nil, 400, "INVALID"},
		{"unknown argument", quote(`{ datasets(id: "planted") { id } }`), nil, 400, "INVALID"},
		{"unknown fragment", quote("{ datasets { ...f } }"), nil, 400, "INVALID"},
		{"fragment that holds itself", quote("{ datasets { ...f } } fragment f on Dataset { ...f }"), nil, 400, "INVALID"},
		{"no selection", quote("{ datasets }"), nil, 400, "INVALID"},
		{"unknown operation", `{"query": "query a { datasets { id } }", "operationName": "planted"}`, nil, 400, "INVALID"},
		{"which operation", `{"query": "query a { datasets { id } } query b { datasets { id } }"}`, nil, 400, "INVALID"},
		{"missing variable", quote("query($id: ID!) { dataset(id: $id) { id } }"), nil, 400, "INVALID"},
		{"defer", quote("{ ... @defer { datasets { id } } }"), nil, 400, "INVALID"},
		{"introspection", quote("{ __schema { types { name } } }"), nil, 400, "INVALID"},
		{"introspection in a fragment", quote(`{ ...f } fragment f on Query { __type(name: "planted") { name } }`), nil, 400, "INVALID"},
		{"subscription without a stream", quote(`subscription { job(id: "job_1") { id } }`), nil, 400, "INVALID"},

		{"100 aliases", aliases(100), nil, 200, ""},
		{"101 aliases", aliases(101), nil, 400, "LIMITED"},
		{"10,000 aliases", aliases(10_000), nil, 400, "LIMITED"},
		{"250 times the same field", quote("{" + strings.Repeat("datasets { id } ", 250) + "}"), nil, 200, ""},
		{"many times the same field", quote("{" + strings.Repeat("datasets { id } ", 251) + "}"), nil, 400, "LIMITED"},
		{"many fragments", quote("{" + strings.Repeat("... { ... { ... { a } } }", 300) + "}"), nil, 400, "LIMITED"},
		{"fragment bomb", bomb, nil, 400, "LIMITED"},
		{"depth bomb", quote(deep), nil, 400, "LIMITED"},
		{"endless depth", quote(strings.Repeat("{ a ", 400_000)), nil, 400, "LIMITED"},
		{"endless list", quote("{ datasets(a: " + strings.Repeat("[", 400_000)), nil, 400, "LIMITED"},
		{"pages of pages", quote(`{ subjects(first: 100) { nodes { records(first: 100) { nodes { id version key } } } } }`), nil, 400, "LIMITED"},
		{"pages that cost nothing", quote(`{ subjects(first: -100000) { nodes { records(first: 100) { nodes { ` + repeat(60, func(i int) string { return fmt.Sprintf("a%d: id ", i) }) + ` } } } } a: subjects(first: 100) { nodes { records(first: 100) { nodes { id version } } } } }`), nil, 400, "LIMITED"},
	}
	f := newAPI(t, withSets)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			a := f.send(t, strings.NewReader(tt.body), tt.headers...)
			if a.status != tt.status || a.code() != tt.code {
				t.Errorf("got %d %s, want %d %s: %.300s", a.status, a.code(), tt.status, tt.code, a.body)
			}
			if tt.code != "" && strings.Contains(strings.ToLower(a.body), "planted") {
				t.Errorf("the answer repeats what was sent: %.300s", a.body)
			}
			if strings.Contains(a.body, "Did you mean") {
				t.Errorf("the answer suggests names: %s", a.body)
			}
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	f.Close()
	if log := f.log.String(); strings.Contains(strings.ToLower(log), "planted") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log has values or faults: %s", log)
	}
}

func TestUnknownNamesAreNotSuggested(t *testing.T) {
	f := newAPI(t, withSets)
	for _, q := range []string{
		`{ dataset(id: "d") { nam } }`, `{ dataset(idd: "d") { id } }`, `query($a: DatasetFieldInpu) { datasets { id } }`,
		`mutation { writeRecord(input: {origin: PROVIDE}) { record { id } } }`, `{ datasets }`, `{ datasets { ... on Datase { id } } }`,
	} {
		if a := f.ask(t, q, nil); a.code() != "INVALID" || strings.Contains(a.body, "mean") || strings.Contains(a.body, "PROVIDED") {
			t.Errorf("%s: %s", q, a.body)
		}
	}
}

func TestWrongMethods(t *testing.T) {
	f := newAPI(t, withSets)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, f.URL+"/graphql?query=%7Bdatasets%7Bid%7D%7D", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer vgt_all")
		res, err := f.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" {
			t.Errorf("%s: got %d, allowed %q", method, res.StatusCode, res.Header.Get("Allow"))
		}
	}
}

// TestCutOff sends a body that ends before its announced length.
func TestCutOff(t *testing.T) {
	f := newAPI(t, withSets)
	c, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"query\":"); err != nil {
		t.Fatal(err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatal("not a TCP connection")
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte(`"code":"INVALID"`)) {
		t.Errorf("got %d %s", res.StatusCode, b)
	}
}

func TestIntrospectionInDevelopment(t *testing.T) {
	f := newAPI(t, withSets, func(c *graph.Config) { c.Introspection = true })
	if a := f.ask(t, `{ __schema { queryType { name fields { name type { ofType { ofType { ofType { name } } } } } } } }`, nil); a.code() != "" {
		t.Errorf("got %s", a.body)
	}
}

func TestSchema(t *testing.T) {
	f := newAPI(t, none)
	for _, tt := range []struct {
		token  string
		status int
		want   string
	}{
		{"vgt_none", 200, "createSubject(input: CreateSubjectInput!)"},
		{"", 401, `"code":"UNAUTHENTICATED"`},
		{"vgt_bad", 401, `"code":"UNAUTHENTICATED"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/schema.graphql", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		res, err := f.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != tt.status || !strings.Contains(string(b), tt.want) {
			t.Errorf("%q: got %d %.200s", tt.token, res.StatusCode, b)
		}
	}
}

// jobs is a job that moves, or stands still.
type jobs struct {
	graph.Jobs
	states []job.State
	open   bool // after the states, wait for the caller to leave
}

func (j jobs) Watch(ctx context.Context, jobID string) (<-chan *job.Job, error) {
	out := make(chan *job.Job)
	go func() {
		defer close(out)
		for _, s := range j.states {
			select {
			case out <- &job.Job{ID: jobID, State: s}:
			case <-ctx.Done():
				return
			}
		}
		if j.open {
			<-ctx.Done()
		}
	}()
	return out, nil
}

// events subscribes and returns all that comes until the stream ends.
func events(t *testing.T, f *fixture, body string, after func(string)) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/graphql", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer vgt_all")
	res, err := f.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var all strings.Builder
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		after(lines.Text())
	}
	return all.String()
}

func TestSubscription(t *testing.T) {
	const subscribe = `{"query": "subscription { job(id: \"job_1\") { id state } }"}`
	with := func(j jobs) func(*audit.Recorder) graph.Services {
		return func(*audit.Recorder) graph.Services { return graph.Services{Jobs: j, Datasets: sets{}} }
	}
	nothing := func(string) {}
	next := func(state string) string {
		return `event: next` + "\n" + `data: {"data":{"job":{"id":"job_1","state":"` + state + `"}}}` + "\n\n"
	}
	const complete = "event: complete\ndata:\n\n"

	t.Run("until the end", func(t *testing.T) {
		f := newAPI(t, with(jobs{states: []job.State{job.Queued, job.Running, job.Succeeded}}))
		if got, want := events(t, f, subscribe, nothing), next("QUEUED")+next("RUNNING")+next("SUCCEEDED")+complete; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("query as a stream", func(t *testing.T) {
		f := newAPI(t, with(jobs{}))
		want := "event: next\ndata: {\"data\":{\"datasets\":[]}}\n\n" + complete
		if got := events(t, f, quote(`{ datasets { id } }`), nothing); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		f := newAPI(t, with(jobs{}))
		if got := events(t, f, quote(`subscription { nothing }`), nothing); !strings.Contains(got, `"code":"INVALID"`) || strings.Contains(got, "event:") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("stop ends it without complete", func(t *testing.T) {
		stop := make(chan struct{})
		f := newAPI(t, with(jobs{states: []job.State{job.Running}, open: true}), func(c *graph.Config) { c.Stop = stop })
		got := events(t, f, subscribe, func(line string) {
			if strings.HasPrefix(line, "data:") {
				close(stop)
			}
		})
		if got != next("RUNNING") {
			t.Errorf("got %s", got)
		}
	})
}
