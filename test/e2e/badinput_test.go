package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/local"
)

// TestBadInput sends the API what it must refuse: each has its code, leaves
// nothing half-written, costs no memory and tells nothing.
func TestBadInput(t *testing.T) {
	p := running(t)
	p.indexed(t)
	b := newBad(t, p)
	before, logged := p.memory(t, local.PartAPI), logSizes(t, p)

	t.Run("GraphQL", func(t *testing.T) {
		calls := b.graphql(t)
		census := p.census(t)
		b.check(t, calls)
		b.unchanged(t, census)
	})
	t.Run("uploads", func(t *testing.T) {
		census := p.census(t)
		objects := len(p.objects(t, ""))
		b.check(t, b.uploads())
		b.cutUpload(t)
		b.hugeUpload(t)
		eventually(t, 30*time.Second, "nothing of the refused uploads is left", func() bool {
			return p.census(t)["vogter.files"] == census["vogter.files"] && len(p.objects(t, "")) == objects
		})
	})
	t.Run("downloads", func(t *testing.T) { b.check(t, b.downloads(t)) })
	t.Run("imports", func(t *testing.T) {
		census := p.census(t)
		b.check(t, b.imports())
		b.unchanged(t, census)
		b.badLines(t)
		b.cutImport(t)
	})
	t.Run("addresses", func(t *testing.T) { b.check(t, b.addresses()) })

	after := p.memory(t, local.PartAPI)
	t.Logf("memory of the API: %d MiB, then %d MiB", before, after)
	if after-before > 100 {
		t.Errorf("the API's memory grew from %d to %d MiB", before, after)
	}
	checkLogs(t, p, logged)
}

// bad is what bad input is made with.
type bad struct {
	*platform

	client client
	person person
	set    dataset
	record row
	secret string // a planted value that stands where values stand
}

func newBad(t *testing.T, p *platform) *bad {
	t.Helper()
	who := p.someone()
	b := &bad{platform: p, client: p.machine(t, first), secret: who.name}
	b.person, b.set = b.client.createPerson(t, who.input()), b.client.documents(t)
	b.record = b.client.write(t, b.person, b.set, vars{"title": who.name})
	return b
}

// badCall is a call that must be refused.
type badCall struct {
	name         string
	method, path string
	body         []byte
	headers      []string
	status       int
	code         string
	as           *client // b.client when nil
}

// check makes the calls. No answer may be a fault of ours, or tell of the
// program or of what was sent.
func (b *bad) check(t *testing.T, calls []badCall) {
	t.Helper()
	for _, tt := range calls {
		t.Run(tt.name, func(t *testing.T) {
			c := b.client
			if tt.as != nil {
				c = *tt.as
			}
			began := time.Now()
			a := c.call(t, tt.method, tt.path, bytes.NewReader(tt.body), tt.headers...)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			b.silent(t, string(a.body))
			var out struct {
				Code   string  `json:"code"`
				Errors []fault `json:"errors"`
			}
			if err := json.Unmarshal(a.body, &out); err != nil {
				t.Fatalf("%d %.300s", a.status, a.body)
			}
			code := out.Code
			for _, e := range out.Errors {
				code = e.Extensions.Code
			}
			if a.status != tt.status || code != tt.code {
				t.Errorf("got %d %s, want %d %s: %.500s", a.status, code, tt.status, tt.code, a.body)
			}
		})
	}
}

// silent fails the test if a text tells too much.
func (b *bad) silent(t *testing.T, text string) {
	t.Helper()
	for _, sign := range append(b.secrets(), "goroutine", ".go:", "panic", "runtime error", "vogter/internal", b.client.token) {
		if strings.Contains(text, sign) {
			t.Errorf("it tells %q: %.500s", sign, text)
		}
	}
}

// unchanged checks that every collection holds as many documents as before, and that
// no entry of the audit log tells of a change, but for the data keys, which are made
// before the transaction that needs them and do no harm without data.
func (b *bad) unchanged(t *testing.T, before map[string]int) {
	t.Helper()
	after := b.census(t)
	delete(before, "vogter_keys.dataKeys")
	delete(after, "vogter_keys.dataKeys")
	if !maps.Equal(before, after) {
		maps.DeleteFunc(before, func(place string, n int) bool { return after[place] == n && n > 0 })
		t.Errorf("documents before %v, after %v", before, after)
	}
	if got := b.client.person(t, b.person.ID); got.Version != b.person.Version || got.Records.TotalCount != 1 {
		t.Errorf("the person is %+v", got)
	}
	if got := b.client.record(t, b.record.ID); got.Version != b.record.Version {
		t.Errorf("the record has version %d", got.Version)
	}
}

// request is the body of a GraphQL call.
func request(t *testing.T, document string, v vars) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": v})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (b *bad) graphql(t *testing.T) []badCall {
	t.Helper()
	type m = vars
	const (
		subjects = `query($after: String) { subjects(first: 1, after: $after) { pageInfo { endCursor } nodes { id } } }`
		records  = `query($id: ID!, $after: String) { subject(id: $id) { records(first: 1, after: $after) { nodes { id } } } }`
		create   = `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`
		read     = `query($id: ID!) { subject(id: $id) { id } }`
		writes   = `mutation($input: WriteRecordInput!) { writeRecord(input: $input) { record { id } } }`
	)
	cursor := ask[struct{ Subjects personPage }](t, b.client, subjects, nil).Subjects.PageInfo.EndCursor
	stranger, nobody, liar := b.machine(t, second), client{base: b.client.base}, client{base: b.client.base, token: "vgt_" + rand.Text()}
	person := func(more m) m {
		in := m{"reference": "bad/" + rand.Text(), "name": m{"full": b.secret}}
		maps.Copy(in, more)
		return m{"input": in}
	}
	values := func(fields ...m) m {
		return m{"input": m{"subject": b.person.ID, "dataset": b.set.ID, "origin": "PROVIDED", "fields": fields}}
	}
	used := rand.Text()
	a := b.client.call(t, http.MethodPost, "/graphql", bytes.NewReader(request(t, create, m{"input": m{"reference": "once/" + used}})),
		"Content-Type", "application/json", "Idempotency-Key", used)
	if a.status != http.StatusOK || bytes.Contains(a.body, []byte(`"errors"`)) {
		t.Fatalf("the first call of a key: %d %s", a.status, a.body)
	}

	var calls []badCall
	raw := func(name string, body []byte, status int, code string, headers ...string) {
		headers = append([]string{"Content-Type", "application/json", "Idempotency-Key", rand.Text()}, headers...)
		calls = append(calls, badCall{name, http.MethodPost, "/graphql", body, headers, status, code, nil})
	}
	text := func(name, body string, status int, code string, headers ...string) {
		raw(name, []byte(body), status, code, headers...)
	}
	ql := func(name, document string, v m, status int, code string, headers ...string) {
		raw(name, request(t, document, v), status, code, headers...)
	}
	as := func(c client) { calls[len(calls)-1].as = &c }

	text("malformed JSON", `{"query": "{ viewer { id } }", "x": "`+b.secret, 400, "INVALID")
	text("no JSON", b.secret, 400, "INVALID")
	text("no object", `["`+b.secret+`"]`, 400, "INVALID")
	text("two values", `{"query":"{ viewer { id } }"} {"query":"{ viewer { id } }"}`, 400, "INVALID")
	text("a name twice", `{"query":"{ viewer { id } }","query":"{ tenant { id } }"}`, 400, "INVALID")
	text("unknown member", `{"query":"{ viewer { id } }","`+b.secret+`":1}`, 400, "INVALID")
	text("variables of a wrong type", `{"query":"{ viewer { id } }","variables":"`+b.secret+`"}`, 400, "INVALID")
	text("empty body", ``, 400, "INVALID")
	text("broken UTF-8", `{"query":"{ viewer { id } }","variables":{"a":"`+"\xff\xfe"+`"}}`, 400, "INVALID")
	text("half a surrogate pair", `{"query":"{ viewer { id } }","variables":{"a":"\ud800"}}`, 400, "INVALID")
	text("JSON 100,000 deep", `{"query":"{ viewer { id } }","variables":{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}}`, 400, "INVALID")
	text("too large", `{"query":"{ viewer { id } }","variables":{"a":"`+strings.Repeat(b.secret, 3<<20/len(b.secret))+`"}}`, 413, "LIMITED")
	text("unknown content type", `{"query":"{ viewer { id } }"}`, 415, "INVALID", "Content-Type", "application/xml")
	text("a form", `query=%7Bviewer%7Bid%7D%7D`, 415, "INVALID", "Content-Type", "application/x-www-form-urlencoded")
	text("another charset", `{"query":"{ viewer { id } }"}`, 415, "INVALID", "Content-Type", "application/json; charset=latin1")
	text("header of a purpose", `{"query":"{ viewer { id } }"}`, 400, "INVALID", "Vogter-Purpose", strings.Repeat("x", 101))

	ql("no GraphQL", `{ viewer { `+b.secret, nil, 400, "INVALID")
	ql("unknown field", `{ viewer { passwords } }`, nil, 400, "INVALID")
	ql("unknown argument", `{ subjects(last: 1) { nodes { id } } }`, nil, 400, "INVALID")
	ql("value in the document", `{ subject(id: {a: "`+b.secret+`"}) { id } }`, nil, 400, "INVALID")
	ql("unknown field of an input", create, person(m{"salary": b.secret}), 400, "INVALID")
	ql("list for a text", create, person(m{"reference": []string{b.secret}}), 400, "INVALID")
	ql("number for a text", create, person(m{"birthDate": 19610405}), 200, "INVALID")
	ql("unknown value of an enum", writes, m{"input": m{"subject": b.person.ID, "dataset": b.set.ID, "origin": b.secret, "fields": []m{}}}, 400, "INVALID")
	ql("missing variable", read, nil, 400, "INVALID")
	ql("day that isn't", create, person(m{"birthDate": "2025-02-29"}), 200, "INVALID")
	ql("date of another form", create, person(m{"birthDate": "05.04.1961"}), 200, "INVALID")
	ql("control character", create, person(m{"reference": "bad\x00reference"}), 200, "INVALID")
	ql("e-mail address", create, person(m{"emails": []string{b.secret}}), 200, "INVALID")
	ql("phone number", create, person(m{"phones": []string{b.secret}}), 200, "INVALID")
	ql("Danish number that fails its check", create, person(m{"nationalIds": []m{{"number": "010136-0000x"}}}), 200, "INVALID")
	ql("two identifiers", `query($by: SubjectBy!) { findSubjects(by: $by) { nodes { id } } }`, m{"by": m{"reference": "a", "email": "a@b.example"}}, 200, "INVALID")
	ql("page of 0", `{ subjects(first: 0) { nodes { id } } }`, nil, 200, "INVALID")
	ql("page of 101", `{ subjects(first: 101) { nodes { id } } }`, nil, 200, "INVALID")
	ql("number out of range", `{ subjects(first: 99999999999999999999) { nodes { id } } }`, nil, 400, "INVALID")
	ql("record with an unknown field", writes, values(m{"key": "nosuch", "value": b.secret}), 200, "INVALID")
	ql("record with a value of another type", writes, values(m{"key": "title", "value": m{"a": b.secret}}), 200, "INVALID")
	ql("record with a field twice", writes, values(m{"key": "title", "value": b.secret}, m{"key": "title", "value": b.secret}), 200, "INVALID")
	ql("record with an id of another type", writes, values(m{"key": "document", "value": b.person.ID}), 200, "INVALID")
	ql("record with an unknown file", writes, values(m{"key": "document", "value": "fil" + b.person.ID[3:]}), 200, "NOT_FOUND")

	ql("10,000 aliases", "{ "+repeated(10_000, func(i int) string { return fmt.Sprintf("a%d: viewer { id } ", i) })+"}", nil, 400, "LIMITED")
	ql("800 aliases", "{ "+repeated(800, func(i int) string { return fmt.Sprintf("a%d: viewer { id } ", i) })+"}", nil, 400, "LIMITED")
	ql("huge list of tokens", "{ "+strings.Repeat("viewer ", 250_000)+"}", nil, 400, "LIMITED")
	ql("depth bomb", "{ subjects { nodes { "+strings.Repeat("records { nodes { subject { ", 300)+"id"+strings.Repeat(" } } }", 300)+" } } }", nil, 400, "LIMITED")
	ql("wide pages within pages", `{ subjects(first: 100) { nodes { records(first: 100) { nodes { subject { records(first: 100) { nodes { id } } } } } } } }`, nil, 400, "LIMITED")
	ql("fragments within fragments", "query { viewer { ...f0 } } "+repeated(20, func(i int) string {
		return fmt.Sprintf("fragment f%d on Viewer { ...f%d ...f%d } ", i, i+1, i+1)
	})+"fragment f20 on Viewer { id }", nil, 400, "LIMITED")
	ql("fragment within itself", "{ viewer { ...f } } fragment f on Viewer { ...f }", nil, 400, "INVALID")
	ql("50,000 addresses", create, person(m{"emails": slices.Repeat([]string{"a@b.example"}, 50_000)}), 200, "LIMITED")

	ql("cursor of another query", records, m{"id": b.person.ID, "after": cursor}, 200, "INVALID")
	ql("cursor of another tenant", subjects, m{"after": cursor}, 200, "INVALID")
	as(stranger)
	ql("cursor that is none", subjects, m{"after": b.secret}, 200, "INVALID")
	ql("id of another tenant", read, m{"id": b.person.ID}, 200, "NOT_FOUND")
	as(stranger)
	ql("id of another type", read, m{"id": b.record.ID}, 200, "NOT_FOUND")
	ql("id that is none", read, m{"id": b.secret}, 200, "NOT_FOUND")
	ql("huge id", read, m{"id": strings.Repeat("x", 1<<20)}, 200, "INVALID")
	ql("unknown id", `query($id: ID!) { node(id: $id) { id } }`, m{"id": b.person.ID[:len(b.person.ID)-8] + "aaaaaaaa"}, 200, "NOT_FOUND")

	ql("no idempotency key", create, person(nil), 200, "INVALID", "Idempotency-Key", "")
	ql("idempotency key of another input", create, person(nil), 200, "CONFLICT", "Idempotency-Key", used)
	ql("idempotency key too long", create, person(nil), 200, "INVALID", "Idempotency-Key", strings.Repeat("k", 256))
	ql("two creates at once", `mutation($input: CreateSubjectInput!) { a: createSubject(input: $input) { subject { id } } b: createSubject(input: $input) { subject { id } } }`,
		person(nil), 200, "INVALID")
	ql("subscription without a stream", `subscription($id: ID!) { job(id: $id) { id } }`, m{"id": b.person.ID}, 400, "INVALID")
	ql("nobody", read, m{"id": b.person.ID}, 200, "UNAUTHENTICATED")
	as(nobody)
	ql("unknown key", read, m{"id": b.person.ID}, 401, "UNAUTHENTICATED")
	as(liar)
	ql("malformed credential", read, m{"id": b.person.ID}, 401, "UNAUTHENTICATED", "Authorization", "Basic "+b.client.token)
	return calls
}

func repeated(n int, of func(int) string) string {
	var s strings.Builder
	for i := range n {
		s.WriteString(of(i))
	}
	return s.String()
}

func (b *bad) uploads() []badCall {
	named := []string{"Vogter-File-Name", "a.pdf"}
	put := func(name, path string, headers []string, status int, code string) badCall {
		return badCall{name, http.MethodPut, path, []byte("content"), headers, status, code, nil}
	}
	whole := uploadPath(b.person, b.set)
	return []badCall{
		put("no name", whole, nil, 400, "INVALID"),
		put("name with a folder", whole, []string{"Vogter-File-Name", "..%2Fa.pdf"}, 400, "INVALID"),
		put("name that isn't UTF-8", whole, []string{"Vogter-File-Name", "%ff.pdf"}, 400, "INVALID"),
		put("name that isn't encoded", whole, []string{"Vogter-File-Name", "%zz"}, 400, "INVALID"),
		put("unknown content type", whole, append(named, "Content-Type", "nonsense"), 400, "INVALID"),
		put("unknown parameter", whole+"&name=a", named, 400, "INVALID"),
		put("no person", "/v1/uploads?dataset="+b.set.ID, named, 404, "NOT_FOUND"),
		put("person of another type", "/v1/uploads?subject="+b.set.ID+"&dataset="+b.set.ID, named, 404, "NOT_FOUND"),
		put("dataset that isn't", "/v1/uploads?subject="+b.person.ID+"&dataset="+b.set.ID[:len(b.set.ID)-8]+"aaaaaaaa", named, 404, "NOT_FOUND"),
	}
}

// dial sends the head of a call and the first part of its body, which was
// announced to be longer, and returns the connection.
func (b *bad) dial(t *testing.T, method, path string, announced int, sent []byte, headers ...string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.client.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var call bytes.Buffer
	fmt.Fprintf(&call, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n",
		method, path, b.client.token, announced)
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&call, "%s: %s\r\n", headers[i], headers[i+1])
	}
	call.WriteString("\r\n")
	call.Write(sent)
	if _, err := conn.Write(call.Bytes()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// end closes a connection for writing and reads the answer.
func end(t *testing.T, conn net.Conn) answer {
	t.Helper()
	half, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T can't be closed by halves", conn)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return read(t, conn)
}

func read(t *testing.T, conn net.Conn) answer {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, body}
}

// cutUpload breaks uploads off: one tells that it will send no more, one just ends.
func (b *bad) cutUpload(t *testing.T) {
	t.Helper()
	part := make([]byte, 20<<20) // more than a part of the object
	_, _ = rand.Read(part)       // never fails
	conn := b.dial(t, http.MethodPut, uploadPath(b.person, b.set), 2*len(part), part, "Vogter-File-Name", "cut.pdf")
	if a := end(t, conn); a.status != http.StatusBadRequest || a.code() != "INVALID" {
		t.Errorf("an upload that ends early: %d %s", a.status, a.body)
	}
	conn = b.dial(t, http.MethodPut, uploadPath(b.person, b.set), 2*len(part), part, "Vogter-File-Name", "cut.pdf")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// hugeUpload announces more than a file may have, and sends nothing.
func (b *bad) hugeUpload(t *testing.T) {
	t.Helper()
	began := time.Now()
	a := read(t, b.dial(t, http.MethodPut, uploadPath(b.person, b.set), 1<<30+1, nil, "Vogter-File-Name", "huge.pdf"))
	if a.status != http.StatusRequestEntityTooLarge || a.code() != "LIMITED" || time.Since(began) > 2*time.Second {
		t.Errorf("an upload of more than 1 GiB: %d %s after %s", a.status, a.body, time.Since(began))
	}
}

func (b *bad) downloads(t *testing.T) []badCall {
	t.Helper()
	file := b.client.upload(t, b.person, b.set, "small.pdf", strings.NewReader("content"))
	link, spent, expired := b.client.grant(t, file).URL, b.client.grant(t, file).URL, b.client.grant(t, file).URL
	for range 3 {
		if a := b.client.call(t, http.MethodGet, spent, http.NoBody); a.status != http.StatusOK {
			t.Fatalf("a fresh link: %d %s", a.status, a.body)
		}
	}
	// Time can't be turned forward from outside: the end of the link is put back.
	of, sum := b.tenant(t, first).ID, sha256.Sum256([]byte(path.Base(expired)))
	done, err := b.engine(t, local.PartData).Database("vogter").Collection("grants").UpdateOne(t.Context(),
		bson.D{{Key: "_id", Value: of + "/" + hex.EncodeToString(sum[:])}, {Key: "tenant", Value: of}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "expiresAt", Value: time.Now().Add(-time.Second)}}}})
	if err != nil || done.ModifiedCount != 1 {
		t.Fatalf("put back the end of a link: %+v %v", done, err)
	}
	colleague, stranger, nobody := b.member(t, first, "OWNER"), b.machine(t, second), client{base: b.client.base}
	get := func(name, link string, as *client, status int, code string) badCall {
		return badCall{name, http.MethodGet, link, nil, nil, status, code, as}
	}
	const links = "/v1/downloads/"
	return []badCall{
		get("spent link", spent, nil, 410, "PRECONDITION"),
		get("expired link", expired, nil, 410, "PRECONDITION"),
		get("link of a colleague", link, &colleague, 403, "FORBIDDEN"),
		get("link of another tenant", link, &stranger, 404, "NOT_FOUND"),
		get("link without a credential", link, &nobody, 401, "UNAUTHENTICATED"),
		get("unknown link", links+path.Base(link)[:40]+"AAA", nil, 404, "NOT_FOUND"),
		get("malformed link, for the firewall", links+"%20%00%ff", nil, 403, "FORBIDDEN"),
		get("very long link", links+strings.Repeat("A", 10_000), nil, 404, "NOT_FOUND"),
	}
}

func (b *bad) imports() []badCall {
	post := func(name, query, body string, status int, code string, headers ...string) badCall {
		headers = append([]string{"Content-Type", "application/x-ndjson", "Idempotency-Key", rand.Text()}, headers...)
		return badCall{name, http.MethodPost, "/v1/imports" + query, []byte(body), headers, status, code, nil}
	}
	return []badCall{
		post("neither mapping nor dataset", "", "{}", 400, "INVALID"),
		post("mapping and dataset", "?mapping=legislators&dataset="+b.set.ID, "{}", 400, "INVALID"),
		post("unknown mapping", "?mapping=nosuch", "{}", 404, "NOT_FOUND"),
		post("unknown dataset", "?dataset=nosuch", "{}", 404, "NOT_FOUND"),
		post("unknown parameter", "?mapping=legislators&name="+b.person.ID, "{}", 400, "INVALID"),
		post("unknown mode", "?mapping=legislators&mode=try", "{}", 400, "INVALID"),
		post("no idempotency key", "?mapping=legislators", "{}", 400, "INVALID", "Idempotency-Key", ""),
		post("unknown content type", "?mapping=legislators", "{}", 400, "INVALID", "Content-Type", "application/json"),
		post("compressed", "?mapping=legislators", "{}", 400, "INVALID", "Content-Encoding", "gzip"),
		post("CSV without the mapping's columns", "?mapping=legislators", "a,b\n1,2\n", 400, "INVALID", "Content-Type", "text/csv"),
	}
}

// legislatorLine is a line for the demo's mapping.
func legislatorLine(h human) string {
	return fmt.Sprintf(`{"reference": %q, "name": {"official_full": %q}, "birthday": %q, "phone": %q, "party": "Independent", "terms": []}`+"\n",
		h.reference, h.name, h.birthDate, h.phone)
}

// badLines imports good lines between bad ones: those are in, these are told
// with their numbers, and both are exact.
func (b *bad) badLines(t *testing.T) {
	t.Helper()
	one, two := b.someone(), b.someone()
	lines := []struct{ text, code string }{
		{legislatorLine(one), ""},
		{`{"reference": "` + b.secret + "\n", "INVALID"},
		{b.secret + "\n", "INVALID"},
		{`["` + b.secret + `"]` + "\n", "INVALID"},
		{"{\"reference\": \"\xff\"}\n", "INVALID"},
		{`{"reference": {"a": "` + b.secret + `"}}` + "\n", "INVALID"},
		{strings.Replace(legislatorLine(b.someone()), "1961-04-05", "1961-04-31", 1), "INVALID"},
		{strings.Replace(legislatorLine(b.someone()), "+4526", "+4599999926", 1), "INVALID"},
		{strings.Replace(legislatorLine(b.someone()), "Independent", b.secret, 1), "INVALID"},
		{`{"reference": "` + strings.Repeat("x", 17<<20) + `"}` + "\n", "LIMITED"},
		{legislatorLine(two), ""},
		{legislatorLine(two), ""},
	}
	var body strings.Builder
	want := map[int64]string{}
	for i, line := range lines {
		body.WriteString(line.text)
		if line.code != "" {
			want[int64(i+1)] = line.code
		}
	}
	people := b.census(t)["vogter.subjects"]
	sum := b.client.importLines(t, "mapping=legislators", rand.Text(), strings.NewReader(body.String()))
	got := map[int64]string{}
	for _, r := range sum.Rejections {
		got[r.Line] = r.Code
		b.silent(t, r.Message)
	}
	if !maps.Equal(got, want) || sum.Created != 2 || sum.Lines != int64(len(lines)) {
		t.Errorf("rejections %v, want %v; %+v", got, want, sum)
	}
	if now := b.census(t)["vogter.subjects"]; now != people+2 {
		t.Errorf("%d persons, were %d", now, people)
	}
	b.client.findOne(t, vars{"reference": one.reference})
	b.client.findOne(t, vars{"phone": two.phone})
}

// cutImport breaks an import off and sends it whole under the same key: each
// line takes effect once. Another file under that key is refused.
func (b *bad) cutImport(t *testing.T) {
	t.Helper()
	const count = 1000
	var file strings.Builder
	who := b.someone()
	last := who
	for i := range count {
		last.reference = fmt.Sprintf("%s/%d", who.reference, i)
		file.WriteString(legislatorLine(last))
	}
	people, key := b.census(t)["vogter.subjects"], rand.Text()
	const path = "/v1/imports?mapping=legislators"
	headers := []string{"Content-Type", "application/x-ndjson", "Idempotency-Key", key}
	conn := b.dial(t, http.MethodPost, path, file.Len(), []byte(file.String()[:file.Len()*3/4]), headers...)
	eventually(t, 20*time.Second, "some lines took effect", func() bool { return b.census(t)["vogter.subjects"] > people })
	a := end(t, conn)
	if a.status != http.StatusBadRequest || a.code() != "INVALID" {
		t.Errorf("an import that ends early: %d %.300s", a.status, a.body)
	}
	b.silent(t, string(a.body))
	other := strings.Replace(file.String(), who.birthDate, "1962-04-05", 1)
	if a := b.client.call(t, http.MethodPost, path, strings.NewReader(other), headers...); a.status != http.StatusConflict || a.code() != "CONFLICT" {
		t.Errorf("another file under the key: %d %.300s", a.status, a.body)
	}
	sum := b.client.importLines(t, "mapping=legislators", key, strings.NewReader(file.String()))
	if sum.State != "DONE" || sum.Created != count || sum.Lines != count {
		t.Errorf("sent again: %+v", sum)
	}
	if now := b.census(t)["vogter.subjects"]; now != people+count {
		t.Errorf("%d persons, were %d", now, people)
	}
	b.client.findOne(t, vars{"reference": last.reference})
}

func (b *bad) addresses() []badCall {
	call := func(method, path string, status int, code string) badCall {
		return badCall{method + " " + path, method, path, nil, nil, status, code, nil}
	}
	nobody := client{base: b.client.base}
	return []badCall{
		call(http.MethodGet, "/graphql", 405, "INVALID"),
		call(http.MethodGet, "/nothing/here", 404, "NOT_FOUND"),
		call(http.MethodPost, "/v1/uploads", 405, "INVALID"),
		call(http.MethodDelete, "/v1/imports", 405, "INVALID"),
		call(http.MethodGet, "/v1/imports/"+b.person.ID, 404, "NOT_FOUND"),
		{"schema for nobody", http.MethodGet, "/schema.graphql", nil, nil, 401, "UNAUTHENTICATED", &nobody},
	}
}

// logSizes is how long the logs of our own programs are.
func logSizes(t *testing.T, p *platform) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	for _, part := range []string{local.PartAPI, local.PartWorker, local.PartData, local.PartKeys} {
		name := filepath.Join(p.stack.Env().Dir, "logs", part+".log")
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = info.Size()
	}
	return sizes
}

// checkLogs looks at what was logged since: no fault of ours, no value.
func checkLogs(t *testing.T, p *platform, since map[string]int64) {
	t.Helper()
	secrets := p.secrets()
	for name, from := range since {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(content[from:]) {
			for _, sign := range []string{`"level":"ERROR"`, `"status":5`, "panicked", "goroutine "} {
				if bytes.Contains(line, []byte(sign)) {
					t.Errorf("%s: %s", filepath.Base(name), line)
				}
			}
			for _, secret := range secrets {
				if bytes.Contains(line, []byte(secret)) {
					t.Errorf("%s has a planted value: %s", filepath.Base(name), line)
				}
			}
		}
	}
}
