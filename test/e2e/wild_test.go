package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/vogter/vogter/schema"
)

// dice are reproducible chance: SplitMix64.
type dice struct{ state uint64 }

// n is one of 0 to n-1.
func (d *dice) n(n int) int {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) >> 33 % uint64(n))
}

func (d *dice) one(in int) bool { return d.n(in) == 0 }

func pick[T any](d *dice, from []T) T { return from[d.n(len(from))] }

// wilderness is what wild calls are made of.
type wilderness struct {
	schema  *ast.Schema
	ids     [2][]string // of what each tenant has, without credentials and members
	values  [2][]string // that the other tenant must not see
	actors  [2][]string // tokens
	tenants [2]string
}

// wildCalls is how many calls TestWildCalls makes.
func wildCalls() int {
	if os.Getenv("VOGTER_SCALE") == "full" {
		return 100_000
	}
	return 1_000
}

// TestWildCalls sends what nobody would: documents for every root field with
// values at random, then cut, flipped and multiplied; tokens and headers too. No
// answer is a fault of ours, and none has anything of another tenant. It is the
// last of the tests, because it changes what it finds.
func TestWildCalls(t *testing.T) {
	p := running(t)
	w := &wilderness{schema: gqlparser.MustLoadSchema(&ast.Source{Input: mustSDL(t)})}
	for n := range 2 {
		w.settle(t, p, n)
	}
	logged := logSizes(t, p)
	seed, total := uint64(20360101), wildCalls()
	const workers = 4
	var mu sync.Mutex
	outcomes, faults := map[string]int{}, map[string]int{}
	var wg sync.WaitGroup
	began := time.Now()
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < total; i += workers {
				outcome, fault := w.call(t, p.stack.Env().API, seed+uint64(i)<<20)
				mu.Lock()
				outcomes[outcome]++
				if fault != "" {
					kind, _, _ := strings.Cut(fault, ":")
					if faults[kind]++; faults[kind] <= 3 {
						t.Errorf("call %d: %s", i, fault)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d calls in %.0f s, faults: %v", total, time.Since(began).Seconds(), faults)
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%7d %s", outcomes[o], o)
	}
	if outcomes["200"] < total/50 {
		t.Errorf("only %d of %d calls had an answer without any error: the test tries nothing", outcomes["200"], total)
	}
	checkLogs(t, p, logged)
}

func mustSDL(t *testing.T) string {
	t.Helper()
	sdl, err := schema.SDL()
	if err != nil {
		t.Fatal(err)
	}
	return sdl
}

// settle makes and finds what tenant n has.
func (w *wilderness) settle(t *testing.T, p *platform, n int) {
	t.Helper()
	machine, owner, of := p.machine(t, n), p.member(t, n, "OWNER"), p.tenant(t, n)
	h := p.someone()
	made := machine.createPerson(t, h.input())
	type node struct{ ID string }
	seen := ask[struct {
		Subjects struct {
			Nodes []struct {
				ID      string
				Records struct{ Nodes []node }
			}
		}
		Datasets []struct {
			ID     string
			Fields []node
		}
	}](t, machine, `{ subjects(first: 20) { nodes { id records(first: 5) { nodes { id } } } } datasets { id fields { id } } }`, nil)
	w.tenants[n] = of.ID
	w.ids[n] = []string{made.ID, of.ID}
	for _, s := range seen.Subjects.Nodes {
		w.ids[n] = append(w.ids[n], s.ID)
		for _, r := range s.Records.Nodes {
			w.ids[n] = append(w.ids[n], r.ID)
		}
	}
	for _, d := range seen.Datasets {
		w.ids[n] = append(w.ids[n], d.ID, d.Fields[0].ID)
	}
	w.values[n] = []string{h.given, h.family, h.phone, h.email, h.reference, strings.TrimPrefix(of.ID, "ten_")}
	jwt := owner.createOAuthClient(t, vars{
		"name": "wild", "permissions": []string{"TENANT_READ", "SUBJECT_READ", "DATASET_READ"}, "tokenFormat": "JWT",
	}, "Idempotency-Key", "wild")
	w.actors[n] = []string{machine.token, machine.token, owner.token, owner.token, jwt.accessToken(t)}
}

// call makes the call of a seed, and returns its status and first code, and what
// is wrong with it.
func (w *wilderness) call(t *testing.T, base string, seed uint64) (outcome, fault string) {
	t.Helper()
	d := &dice{seed}
	own := d.n(2)
	document, variables, field := w.document(d, own)
	if d.one(3) {
		document = w.twist(d, document)
	}
	request := vars{"query": document, "variables": variables}
	if d.one(20) {
		request["extensions"] = vars{"persistedQuery": vars{"version": 1, "sha256Hash": "00"}}
	}
	body, err := json.Marshal(request)
	if err != nil {
		return "", err.Error()
	}
	if d.one(4) {
		body = []byte(w.twist(d, string(body)))
	}
	if d.one(30) {
		body = slices.Concat([]byte("["), body, []byte(","), body, []byte("]"))
	}
	sees := own // whose values the answer may have
	token := pick(d, w.actors[own])
	switch d.n(8) {
	case 0:
		if spoiled := twistToken(d, token); spoiled != token { // chance may put back what was there
			token, sees = spoiled, -1
		}
	case 1:
		token, sees = "", -1
	}
	headers := []string{"Content-Type", "application/json", "Idempotency-Key", fmt.Sprint("wild ", seed)}
	if d.one(4) {
		name := pick(d, []string{
			"Vogter-Tenant", "Vogter-Purpose", "X-Session-Token", "Cookie", "Accept", "Content-Type", "Sec-GPC", "Origin",
			"Idempotency-Key", "X-Forwarded-For", "Accept-Encoding", "X-HTTP-Method-Override", "Sec-Fetch-Site",
		})
		other := w.tenants[1-own]
		if name == "Vogter-Purpose" {
			other = w.tenants[own] // what a caller states is in its own log
		}
		headers = append(headers, name, pick(d, []string{
			other, w.tenants[own], "", "x", "text/event-stream", "ory_kratos_session=x", "null", strings.Repeat("a", 5000),
			"multipart/form-data; boundary=x", "application/json; charset=utf-16", "Art. 9 '\"<>", "*/*;q=0", "1",
		}))
	}
	method := http.MethodPost
	if d.one(40) {
		method = pick(d, []string{http.MethodGet, http.MethodPut, http.MethodHead, http.MethodDelete, "BREW"})
	}
	a, err := client{base, token}.send(t.Context(), method, "/graphql", bytes.NewReader(body), headers...)
	if err != nil {
		return "", fmt.Sprintf("no answer: %v", err)
	}
	seen := string(a.body)
	describe := func(what string) string {
		return fmt.Sprintf("%s of "+field+": %d %.400s to %.600s", what, a.status, seen, body)
	}
	switch {
	case a.status >= 500:
		fault = describe("a fault of ours")
	case strings.Contains(seen, `"code":"INTERNAL"`) || strings.Contains(seen, `"code":"UNAVAILABLE"`):
		fault = describe("a fault of ours inside")
	}
	for n, values := range w.values {
		for _, v := range values {
			if n != sees && strings.Contains(seen, v) {
				fault = describe("something foreign (" + v + ")")
			}
		}
	}
	outcome = strconv.Itoa(a.status)
	if _, after, found := strings.Cut(seen, `"code":"`); found {
		outcome += " " + after[:strings.IndexByte(after, '"')]
	}
	return outcome, fault
}

// spared are root fields that would end the sessions which the rest needs.
func spared() []string {
	return []string{"signOut", "revokeOtherSessions", "revokeSession"}
}

// document returns a valid document for a root field at random, with variables.
func (w *wilderness) document(d *dice, own int) (text string, variables vars, field string) {
	kind, root := "query", w.schema.Query
	if d.one(2) {
		kind, root = "mutation", w.schema.Mutation
	}
	if d.one(50) {
		kind, root = "subscription", w.schema.Subscription
	}
	f := pick(d, root.Fields)
	if strings.HasPrefix(f.Name, "__") || slices.Contains(spared(), f.Name) {
		f = root.Fields[0]
	}
	variables = vars{}
	var declared, passed []string
	for _, a := range f.Arguments {
		if !a.Type.NonNull && d.one(2) {
			continue
		}
		declared = append(declared, "$"+a.Name+": "+a.Type.String())
		passed = append(passed, a.Name+": $"+a.Name)
		variables[a.Name] = w.value(d, a.Type, own, 0, kind == "query")
	}
	list := func(in []string) string {
		if len(in) == 0 {
			return ""
		}
		return "(" + strings.Join(in, ", ") + ")"
	}
	return kind + " W" + list(declared) + " { " + f.Name + list(passed) + w.selection(d, f.Type.Name(), 0) + " }", variables, f.Name
}

// value returns a value of a type. Only queries get what the other tenant must
// not lose: a mutation would make it the caller's own.
func (w *wilderness) value(d *dice, typ *ast.Type, own, depth int, query bool) any {
	if !typ.NonNull && d.one(4) {
		return nil
	}
	if typ.Elem != nil {
		list := []any{}
		for range d.n(3) {
			list = append(list, w.value(d, typ.Elem, own, depth, query))
		}
		return list
	}
	def := w.schema.Types[typ.NamedType]
	switch def.Kind {
	case ast.Enum:
		return pick(d, def.EnumValues).Name
	case ast.InputObject:
		in := vars{}
		only := -1
		if def.Directives.ForName("oneOf") != nil {
			only = d.n(len(def.Fields))
		}
		for i, f := range def.Fields {
			if only >= 0 && i != only || only < 0 && !f.Type.NonNull && (depth > 3 || d.one(2)) {
				continue
			}
			ft := *f.Type
			ft.NonNull = ft.NonNull || i == only
			in[f.Name] = w.value(d, &ft, own, depth+1, query)
		}
		return in
	default:
		return w.scalar(d, typ.NamedType, own, query)
	}
}

func (w *wilderness) scalar(d *dice, name string, own int, query bool) any {
	if d.one(15) { // of the wrong type, at times
		return pick(d, []any{nil, true, -1, 1e300, "", []any{}, vars{"a": vars{"b": 1}}, "\u0000", strings.Repeat("æ", 300), json.Number("9223372036854775808")})
	}
	switch name {
	case "ID":
		return pick(d, w.ids[pick(d, []int{own, 1 - own})])
	case "Int", "Int64":
		return pick(d, []int64{0, 1, 2, 3, 10, 100, 101, -1, 1 << 31, 1<<53 + 1})
	case "Float":
		return pick(d, []float64{0, 0.5, -1, 1e308})
	case "Boolean":
		return d.one(2)
	case "Time":
		return pick(d, []string{"2024-01-01T00:00:00Z", "2036-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "now"})
	case "Date":
		return pick(d, []string{"2024-02-29", "2023-02-29", "0001-01-01", "9999-12-31", "1961-04-05"})
	}
	texts := []string{
		"x", "da", "DK", "name", "Sørine", "a@persons.example", "+4526000000", "https://hooks.example/in", "1", "%", "$where", "{\"$ne\":null}",
		"../../x", "010136-1234", "WyJhIl0", "AAAA", "2024-01-01", "permit (principal, action, resource);", "\u202etxt", "ﬀ", "Europe/Copenhagen",
	}
	if query {
		texts = append(append(texts, w.values[0]...), w.values[1]...)
	}
	return pick(d, texts)
}

// selection asks for fields of a type, a few levels deep.
func (w *wilderness) selection(d *dice, name string, depth int) string {
	def := w.schema.Types[name]
	if def.IsLeafType() {
		return ""
	}
	var b strings.Builder
	b.WriteString(" { __typename")
	if def.IsAbstractType() {
		for _, of := range w.schema.GetPossibleTypes(def) {
			if d.one(3) {
				b.WriteString(" ... on " + of.Name + w.selection(d, of.Name, depth+1))
			}
		}
	}
	for _, f := range def.Fields {
		leaf := w.schema.Types[f.Type.Name()].IsLeafType()
		needs := slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Type.NonNull && a.DefaultValue == nil })
		if strings.HasPrefix(f.Name, "__") || needs || def.IsAbstractType() || !leaf && (depth > 2 || d.one(2)) {
			continue
		}
		b.WriteString(" " + f.Name)
		b.WriteString(w.selection(d, f.Type.Name(), depth+1))
	}
	return b.String() + " }"
}

// twist spoils a text in one to three places.
func (w *wilderness) twist(d *dice, s string) string {
	pieces := []string{
		"{", "}", "(", ")", "[", "]", "\"", "\\", "...", "@skip(if: true)", "@include(if: false) @include(if: true)", " @a @b @c ", "...F",
		" fragment F on Query { ...F } ", " fragment F on Subject { records { nodes { subject { ...F } } } } ", "__schema { types { name } }",
		"__typename", "$", "$input: Int", "null", "true", "-0", "1e999", "99999999999999999999", "\\u0000", "\\ud800", "\u00ff", "\uFEFF", "#", "\"\"\"", ",", ":",
		" a: id", "@defer", " query Q { viewer { id } } ", " mutation M { __typename }", "id: 1", "\"query\":\"{viewer{id}}\",", "\"id\":null,",
		strings.Repeat(" a:id", 200), strings.Repeat("{ node ", 30), strings.Repeat("[", 200), strings.Repeat("@include(if: true) ", 300),
	}
	for range 1 + d.n(3) {
		if s == "" {
			return s
		}
		from := d.n(len(s))
		to := min(len(s), from+d.n(12))
		switch d.n(6) {
		case 0:
			s = s[:from] + s[to:]
		case 1:
			s = s[:to] + s[from:]
		case 2:
			s = s[:from] + pick(d, pieces) + s[from:]
		case 3:
			b := []byte(s)
			b[from] ^= 1 << d.n(8)
			s = string(b)
		case 4:
			s = s[:from]
		default:
			names := slices.Sorted(maps.Keys(w.schema.Types))
			s = s[:from] + pick(d, names) + s[to:]
		}
	}
	return s
}

// twistToken returns a token that nobody gave out.
func twistToken(d *dice, token string) string {
	encode := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(token, ".")
	at := d.n(len(token) - 1)
	switch d.n(7) {
	case 0:
		return token[:at+1]
	case 1:
		return token + pick(d, []string{"x", ".", "..", "=", "%00", "'"})
	case 2:
		return token[:at] + pick(d, []string{"_", "A!", "-."}) + token[at+1:]
	case 3:
		return strings.ToUpper(token) + "x"
	case 4:
		if len(parts) == 3 {
			return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
		}
		return "vgt_" + strings.Repeat("a", 40)
	case 5:
		if len(parts) == 3 {
			key := pick(d, []string{`{"alg":"HS256","kid":"../../etc/passwd"}`, `{"alg":"RS256","jku":"https://keys.example/k"}`, `{"alg":"RS256","jwk":{"kty":"oct","k":"AA"}}`, `{"alg":"RS256","crit":["x"]}`})
			return encode([]byte(key)) + "." + parts[1] + "." + parts[2]
		}
		return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"sub":"x"}`)) + "."
	default:
		if len(parts) == 3 {
			return parts[0] + "." + encode([]byte(`{"iss":"x","client_id":"x","exp":9999999999}`)) + "." + parts[2]
		}
		return strings.Repeat("a", pick(d, []int{1, 64, 4096, 4097}))
	}
}
