package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// auditEntry is an AuditEntry.
type auditEntry struct {
	ID       string `json:"id"`
	Seq      *int64 `json:"seq"`
	Action   string `json:"action"`
	Object   string `json:"object"`
	Outcome  string `json:"outcome"`
	Subjects []struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Details []struct {
			Object string `json:"object"`
		} `json:"details"`
	} `json:"subjects"`
}

const auditFields = ` id seq action object outcome subjects { id state details { object } } `

// TestAuditLog reads the log of a person's data, proves an entry, takes a bundle
// away and checks it with the program, and lets the platform check itself.
func TestAuditLog(t *testing.T) {
	p := running(t)
	p.indexed(t)
	c, other := p.machine(t, first), p.machine(t, second)
	somebody := c.createPerson(t, p.someone().input())
	c.person(t, somebody.ID)

	log := ask[struct {
		AuditLog struct {
			Nodes []auditEntry `json:"nodes"`
		} `json:"auditLog"`
	}](t, c, `query($s: ID) { auditLog(filter: {subject: $s}) { nodes {`+auditFields+`} } }`, vars{"s": somebody.ID}).AuditLog.Nodes
	if len(log) < 2 || log[len(log)-1].Action != "subject.create" || log[0].Subjects[0].State != "WITHHELD" {
		t.Fatalf("the log of a person: %+v", log)
	}
	if got := ask[struct {
		AuditLog struct {
			Nodes []auditEntry `json:"nodes"`
		} `json:"auditLog"`
	}](t, other, `query($s: ID) { auditLog(filter: {subject: $s}) { nodes {`+auditFields+`} } }`, vars{"s": somebody.ID}); len(got.AuditLog.Nodes) != 0 {
		t.Errorf("another tenant sees %+v", got)
	}
	created := log[len(log)-1]
	var proof struct {
		AuditProof struct {
			Document string `json:"document"`
		} `json:"auditProof"`
	}
	eventually(t, time.Minute, "the entry is under a checkpoint", func() bool {
		_, faults := c.graphql(t, `mutation($e: ID!) { sealAudit(input: {entry: $e}) { state { number } } }`, vars{"e": created.ID})
		return len(faults) == 0
	})
	proof = ask[struct {
		AuditProof struct {
			Document string `json:"document"`
		} `json:"auditProof"`
	}](t, c, `query($e: ID!) { auditProof(entry: $e) { document } }`, vars{"e": created.ID})
	if code := refused(t, other, `query($e: ID!) { auditProof(entry: $e) { document } }`, vars{"e": created.ID}); code != "NOT_FOUND" {
		t.Errorf("another tenant gets %s", code)
	}

	dir := t.TempDir()
	save := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := c.call(t, http.MethodGet, "/.well-known/jwks.json", nil)
	if keys.status != http.StatusOK {
		t.Fatalf("the keys: %d %s", keys.status, keys.body)
	}
	pinned := save("keys.json", string(keys.body))
	opened := ask[struct {
		AuditEntry auditEntry `json:"auditEntry"`
	}](t, c, `query($e: ID!) { auditEntry(id: $e) {`+auditFields+`} }`, vars{"e": created.ID}).AuditEntry
	if opened.Subjects[0].State != "CLEAR" || opened.Subjects[0].Details[0].Object != somebody.ID {
		t.Errorf("the entry opened: %+v", opened)
	}

	e := ask[struct {
		ExportAudit struct {
			Export struct {
				ID string `json:"id"`
			} `json:"export"`
			Job job `json:"job"`
		} `json:"exportAudit"`
	}](t, c, `mutation($i: ExportAuditInput!) { exportAudit(input: $i) { export { id } job { id state } } }`,
		vars{"i": vars{"from": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "to": time.Now().UTC().Format(time.RFC3339)}}).ExportAudit
	c.finish(t, e.Job.ID, time.Minute)
	bundle := save("bundle.zip", string(c.call(t, http.MethodGet, c.grant(t, e.Export.ID).URL, nil).body))
	for name, path := range map[string]string{
		"AUDIT_BUNDLE": bundle, "AUDIT_PROOF": save("proof.json", proof.AuditProof.Document), "KEY_SET": pinned,
	} {
		if out, err := p.vogter(t, nil, "verify", path, "--keys", pinned); err != nil || !strings.HasPrefix(out, "OK: "+name) {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out, err := p.vogter(t, nil, "verify", bundle, "--entries"); err != nil || !strings.Contains(out, created.ID) {
		t.Errorf("the bundle lacks %s: %.200s", created.ID, out)
	}

	config := p.stack.Env().Config
	out, err := p.vogter(t, config.Environ(), "admin", "audit", "verify")
	if err != nil || !strings.Contains(out, "The audit log is whole") {
		t.Errorf("the platform's own check: %s", out)
	}
	t.Log(out)
	if out, err = p.vogter(t, config.Environ(), "admin", "ledger", "verify"); err != nil || !strings.Contains(out, "The ledger is whole") {
		t.Errorf("the check of the ledger: %s", out)
	}
	if out, err = p.vogter(t, config.Environ(), "admin", "sign", "rotate"); err != nil {
		t.Errorf("new keys: %s", out)
	}
	if out, err = p.vogter(t, config.Environ(), "admin", "sign", "keys"); err != nil {
		t.Fatalf("the keys: %s", out)
	}
	var rotated string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{\"keys\"") {
			rotated = save("rotated.json", line)
		}
	}
	if out, err := p.vogter(t, nil, "verify", rotated, "--keys", pinned); err != nil || !strings.Contains(out, "retired") {
		t.Errorf("new keys under the old ones: %s", out)
	}
}
