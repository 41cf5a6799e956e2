package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAgreement has a tenant ask for a data processing agreement, both sides sign it,
// and the gate before personal data open.
func TestAgreement(t *testing.T) {
	p := running(t)
	portal, owner, operator := p.machine(t, second), p.member(t, second, "OWNER"), p.member(t, provider, "OPERATOR")
	of := p.tenant(t, second).ID
	enter := func() answer {
		return raw(t, portal, `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`,
			vars{"input": vars{"reference": rand.Text()}})
	}
	const header = "Vogter-Warning"
	if a := enter(); a.header.Get(header) != "agreement.inForce" || strings.Contains(string(a.body), "errors") {
		t.Fatalf("without an agreement: %q, %s", a.header.Get(header), a.body)
	}
	gate := func(mode any) {
		ask[struct {
			SetAgreementGate struct{ Standing struct{ Mode *string } }
		}](t, operator,
			`mutation($input: SetAgreementGateInput!) { setAgreementGate(input: $input) { standing { mode } } }`, vars{"input": vars{"tenant": of, "mode": mode}})
	}
	gate("ENFORCE")
	defer gate(nil)
	if a := enter(); !strings.Contains(string(a.body), "PRECONDITION") {
		t.Errorf("without an agreement, enforced: %s", a.body)
	}

	type made struct {
		ID, State string
		Version   int64
		Latest    struct {
			Sha256  string
			Missing []string
			Text    string
		}
	}
	const fields = `agreement { id state version latest { sha256 missing text } } }`
	do := func(c client, verb string, input vars) made {
		t.Helper()
		upper := strings.ToUpper(verb[:1]) + verb[1:]
		got := ask[map[string]struct{ Agreement made }](t, c, `mutation($input: `+upper+`Input!) { `+verb+`(input: $input) { `+fields+` }`, vars{"input": input})
		return got[verb].Agreement
	}
	a := do(owner, "requestAgreement", vars{"language": "da"})
	if a.State != "DRAFT" || len(a.Latest.Missing) > 0 || !strings.Contains(a.Latest.Text, "Second Advokater ApS") {
		t.Fatalf("requested %+v", a)
	}
	a = do(owner, "negotiateAgreement", vars{"id": a.ID, "expectedVersion": a.Version, "values": []vars{{"name": "breachNotice.hours", "value": "12"}}})
	a = do(operator, "offerAgreement", vars{"id": a.ID, "expectedVersion": a.Version})
	signature := func() vars {
		return vars{"id": a.ID, "expectedVersion": a.Version, "sha256": a.Latest.Sha256, "name": "Ørnulf Åkjær", "title": "Partner", "authority": "Tegningsregel"}
	}
	p.plant("Ørnulf Åkjær")
	const sign = `mutation($input: SignAgreementInput!) { signAgreement(input: $input) { agreement { id } } }`
	if code := refused(t, operator, sign, vars{"input": signature()}); code != "FORBIDDEN" {
		t.Errorf("the provider signs for the tenant: %s", code)
	}
	if code := refused(t, p.member(t, first, "OWNER"), sign, vars{"input": signature()}); code != "NOT_FOUND" {
		t.Errorf("another tenant signs: %s", code)
	}
	a = do(owner, "signAgreement", signature())
	if a = do(operator, "countersignAgreement", signature()); a.State != "ACTIVE" {
		t.Fatalf("signed %+v", a)
	}
	deadline := time.Now().Add(time.Minute)
	for got := enter(); got.header.Get(header) != "" || strings.Contains(string(got.body), "errors"); got = enter() {
		if time.Now().After(deadline) { // the platform's other servers may remember for some seconds
			t.Fatalf("the gate stays closed: %s", got.body)
		}
		time.Sleep(time.Second)
	}

	grant := func() (string, bool) {
		got := raw(t, owner, `mutation($input: GrantDownloadInput!) { grantDownload(input: $input) { grant { url } } }`, vars{"input": vars{"object": a.ID}})
		_, rest, ok := strings.Cut(string(got.body), `"url":"`)
		url, _, _ := strings.Cut(rest, `"`)
		return url, ok
	}
	url, ok := grant()
	for deadline := time.Now().Add(4 * time.Minute); !ok; url, ok = grant() { // the audit log is sealed each minute
		if time.Now().After(deadline) {
			t.Fatal("there is no document")
		}
		time.Sleep(2 * time.Second)
	}
	got := owner.call(t, http.MethodGet, strings.TrimPrefix(url, owner.base), http.NoBody)
	if !strings.HasPrefix(string(got.body), "%PDF-") {
		t.Fatalf("download: %d %s", got.status, got.header.Get("Content-Type"))
	}
	if got := operator.call(t, http.MethodGet, strings.TrimPrefix(url, owner.base), http.NoBody); got.status == http.StatusOK {
		t.Error("another caller's link works")
	}
	name, keys := filepath.Join(t.TempDir(), "agreement.pdf"), filepath.Join(t.TempDir(), "jwks.json")
	for path, content := range map[string][]byte{name: got.body, keys: owner.call(t, http.MethodGet, "/.well-known/jwks.json", http.NoBody).body} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.vogter(t, nil, "verify", "--keys", keys, name); err != nil || !strings.Contains(out, "PROCESSOR_AGREEMENT") || !strings.Contains(out, a.Latest.Sha256) {
		t.Errorf("verify says %s: %v", out, err)
	}
}

// raw carries a document out and returns the whole answer.
func raw(t *testing.T, c client, document string, v vars) answer {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": document, "variables": v})
	if err != nil {
		t.Fatal(err)
	}
	return c.call(t, http.MethodPost, "/graphql", bytes.NewReader(body), "Content-Type", "application/json", "Idempotency-Key", rand.Text())
}
