package graph_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gqlast "github.com/vektah/gqlparser/v2/ast"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

const home tenant.ID = "ten_pppppppppppppppp"

// callers are the columns of the table: one of each kind that policies tell
// apart. People have just signed in with two factors.
func callers() []string {
	return []string{
		"OWNER", "APPROVER", "CASE_HANDLER", "DPO", "AUDITOR", "DEVELOPER", "OPERATOR", "BREAK_GLASS", "MACHINE", "DATA_SUBJECT", "STRANGER",
	}
}

// principal returns the caller of a column. One that ends with "-" is a person
// whose sign-in was long ago and with one factor.
func principal(column string) (p authz.Principal, ok bool) {
	name, stale := strings.CutSuffix(column, "-")
	p = authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: one, Role: authz.Role(name), AAL: authz.AAL2, AuthenticatedAt: testenv.Now(),
	}
	if stale {
		p.AAL, p.AuthenticatedAt = authz.AAL1, testenv.Now().Add(-time.Hour)
	}
	switch name {
	case "OPERATOR":
		p.Kind, p.Tenant, p.Home = authz.KindOperator, home, home
	case "BREAK_GLASS":
		p.Kind, p.Role, p.Home = authz.KindOperator, authz.RoleOperator, home
	case "MACHINE":
		p = authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one, Grants: authz.All()}
	case "DATA_SUBJECT":
		p = authz.Principal{Kind: authz.KindSubject, ID: "ses_1", Tenant: one, Subject: "sub_1"}
	case "STRANGER": // of no role
		p.Role = ""
	}
	return p, slices.Contains(callers(), name)
}

// TestPermissionMatrix asks every root field of the schema as every kind of
// caller, over HTTP and through the real policies, and compares with
// testdata/permissions.csv. A cell says "yes"; "fresh", which asks a person for a
// sign-in of the last minutes with two factors; "public"; or nothing: refused.
// That tenants see nothing of each other is tested on real stores, end to end.
func TestPermissionMatrix(t *testing.T) {
	f := newAPI(t, none)
	want := readMatrix(t)
	s := load(t)
	for _, root := range []*gqlast.Definition{s.Query, s.Mutation, s.Subscription} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			name := root.Name + "." + field.Name
			got := []string{name}
			for _, column := range callers() {
				got = append(got, f.cell(t, s, root, field, column))
			}
			if field.Directives.ForName("public") == nil {
				for _, token := range []string{"", "Bearer vgt_some:"} {
					if passes, why := f.passes(t, s, root, field, token); passes {
						t.Errorf("%s: passes %q: %s", name, token, why)
					}
				}
			}
			row := strings.Join(got, ",")
			if want[name] != row {
				t.Errorf("who may ask for %s isn't as in testdata/permissions.csv.\nhave %q\nwith the policies of today it is the line below: put it there, if it is what you mean, or else change the policies\n%s",
					name, want[name], row)
			}
			delete(want, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		t.Errorf("testdata/permissions.csv has %s, which the schema hasn't: take the line out", name)
	}
}

func readMatrix(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("testdata/permissions.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if head := strings.Join(lines[0], ","); head != "field,"+strings.Join(callers(), ",") {
		t.Fatalf("testdata/permissions.csv begins with %s", head)
	}
	rows := map[string]string{}
	for _, line := range lines[1:] {
		if _, twice := rows[line[0]]; twice {
			t.Errorf("testdata/permissions.csv has %s twice", line[0])
		}
		rows[line[0]] = strings.Join(line, ",")
	}
	return rows
}

func (f *fixture) cell(t *testing.T, s *gqlast.Schema, root *gqlast.Definition, field *gqlast.FieldDefinition, column string) string {
	t.Helper()
	if field.Directives.ForName("public") != nil {
		return "public"
	}
	fresh, _ := f.passes(t, s, root, field, "Bearer vgt_as:"+column)
	stale, why := f.passes(t, s, root, field, "Bearer vgt_as:"+column+"-")
	switch {
	case fresh && stale:
		return "yes"
	case fresh && strings.Contains(why, `"rule":"stepUp.`):
		return "fresh"
	case fresh || stale:
		return "faulty: " + why
	default:
		return ""
	}
}

// passes reports whether a call gets past the guard: what comes then is none of
// the guard's, and there are no services.
func (f *fixture) passes(
	t *testing.T, s *gqlast.Schema, root *gqlast.Definition, field *gqlast.FieldDefinition, authorization string,
) (passes bool, answer string) {
	t.Helper()
	var params, args []string
	variables := map[string]any{}
	for _, a := range field.Arguments {
		params, args = append(params, "$"+a.Name+": "+a.Type.String()), append(args, a.Name+": $"+a.Name)
		variables[a.Name] = example(s, a.Type)
	}
	document := strings.ToLower(root.Name)
	if len(params) > 0 {
		document += "(" + strings.Join(params, ", ") + ") { " + field.Name + "(" + strings.Join(args, ", ") + ")"
	} else {
		document += " { " + field.Name
	}
	if kind := s.Types[field.Type.Name()].Kind; kind == gqlast.Object || kind == gqlast.Interface || kind == gqlast.Union {
		document += " { __typename }"
	}
	body, err := json.Marshal(map[string]any{"query": document + " }", "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/graphql", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "key-1")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if root.Name == "Subscription" {
		req.Header.Set("Accept", "text/event-stream")
	}
	res, err := f.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(bufio.NewReader(res.Body))
	if err != nil {
		t.Fatal(err)
	}
	answer = string(b)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s.%s: the test asks for it in a way that is refused before the guard: %s", root.Name, field.Name, answer)
	}
	return !strings.Contains(answer, `"code":"FORBIDDEN"`) && !strings.Contains(answer, `"code":"UNAUTHENTICATED"`), answer
}

// example returns a value that a variable of a type can have.
func example(s *gqlast.Schema, of *gqlast.Type) any {
	if of.Elem != nil {
		return []any{example(s, of.Elem)}
	}
	def := s.Types[of.NamedType]
	switch def.Kind {
	case gqlast.Enum:
		return def.EnumValues[0].Name
	case gqlast.InputObject:
		object := map[string]any{}
		for _, field := range def.Fields {
			if field.Type.NonNull && field.DefaultValue == nil {
				object[field.Name] = example(s, field.Type)
			}
		}
		return object
	default:
	}
	switch def.Name {
	case "Int", "Int64":
		return 1
	case "Boolean":
		return true
	case "Date":
		return "2026-03-02"
	case "Time":
		return "2026-03-02T12:00:00Z"
	default:
		return "x_" + of.NamedType
	}
}
