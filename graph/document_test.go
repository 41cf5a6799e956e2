package graph_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/document"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// documents returns the service of registered documents over a real database.
func documents(t *testing.T) *document.Service {
	t.Helper()
	db := testenv.Mongo(t)
	v := testenv.Vault(t)
	changes, _ := testenv.Changes(t, db, v, nil, nil)
	return document.NewService(document.Config{
		Store: mongo.NewDocumentStore(db), Changes: changes, Check: graph.CheckDocument, Now: testenv.Now,
	})
}

func register(t *testing.T, s *document.Service, of tenant.ID, texts ...string) ([]*document.Document, error) {
	t.Helper()
	in := document.RegisterInput{}
	for i, text := range texts {
		in.Documents = append(in.Documents, document.Input{Name: "document " + strconv.Itoa(i), Text: text})
	}
	return s.Register(tenant.NewContext(t.Context(), of), in)
}

func TestRegister(t *testing.T) {
	s := documents(t)
	const viewer, tree = `{ viewer { id } }`, `query($id: ID!) { subject(id: $id) { id } }`
	first, err := register(t, s, testenv.One, viewer, tree, viewer)
	if err != nil || len(first) != 3 || first[0].ID != document.ID(viewer) || first[2].ID != first[0].ID {
		t.Fatal(first, err)
	}
	again, err := register(t, s, testenv.One, tree)
	if err != nil || again[0].Name != "document 1" {
		t.Errorf("again: %+v, %v", again, err)
	}
	one, two := tenant.NewContext(t.Context(), testenv.One), tenant.NewContext(t.Context(), testenv.Two)
	if text, err := s.Text(one, document.ID(tree)); err != nil || text != tree {
		t.Errorf("text %q, %v", text, err)
	}
	if list, err := s.List(one); err != nil || len(list) != 2 {
		t.Errorf("list %v, %v", list, err)
	}
	for name, err := range map[string]error{
		"text":       second(s.Text(two, document.ID(tree))),
		"unregister": second(s.Unregister(two, document.UnregisterInput{ID: document.ID(tree)})),
		"no id":      second(s.Text(one, "sha256:../x")),
	} {
		if !errors.Is(err, document.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := s.List(two); err != nil || len(list) != 0 {
		t.Errorf("another tenant has %v, %v", list, err)
	}
	if _, err := s.Unregister(one, document.UnregisterInput{ID: document.ID(tree)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Text(one, document.ID(tree)); !errors.Is(err, document.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRegisterRefuses(t *testing.T) {
	s := documents(t)
	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"nothing":       {"", document.ErrText},
		"too long":      {strings.Repeat(" ", 65_537), document.ErrText},
		"a string":      {`{ subject(id: "sub_1") { id } }`, document.ErrLiteral},
		"a comment":     {"{ viewer { id } # for Sørine\n}", document.ErrLiteral},
		"no GraphQL":    {`{ viewer`, graph.ErrDocument},
		"no such field": {`{ secrets }`, graph.ErrDocument},
		"no operation":  {`fragment F on Viewer { id }`, graph.ErrDocument},
		"introspection": {`{ __schema { types { name } } }`, graph.ErrIntrospection},
		"a cycle":       {`{ viewer { ...F } } fragment F on Viewer { ...F }`, graph.ErrDocument},
		"too many":      {`{ viewer { ` + strings.Repeat("id ", 500) + `} }`, graph.ErrFields},
		"aliases":       {`{ viewer { ` + repeated(101, func(i int) string { return "a" + strconv.Itoa(i) + ": id " }) + `} }`, graph.ErrAliases},
	} {
		_, err := register(t, s, testenv.One, `{ viewer { id } }`, tt.text)
		e, ok := errors.AsType[*errs.Error](err)
		if !errors.Is(err, tt.want) || !ok || e.Field != "documents.1.text" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := s.List(tenant.NewContext(t.Context(), testenv.One)); err != nil || len(list) != 0 {
		t.Errorf("beside what was refused, %v, %v", list, err)
	}
}

func repeated(n int, of func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(of(i))
	}
	return b.String()
}

func TestCallByDocument(t *testing.T) {
	s := documents(t)
	const text = `query A { viewer { id } } query B { viewer { kind } }`
	if _, err := register(t, s, one, text); err != nil {
		t.Fatal(err)
	}
	f := newAPI(t, func(*audit.Recorder) graph.Services { return graph.Services{Documents: s} })
	docID := document.ID(text)
	for _, tt := range []struct {
		name, token, body string
		status            int
		want              string
	}{
		{"by id", "vgt_all", `{"documentId":"` + docID + `","operationName":"A"}`, http.StatusOK, `"viewer":{"id":`},
		{"bound, by id", "vgt_bound", `{"documentId":"` + docID + `","operationName":"B"}`, http.StatusOK, `"viewer":{"kind":`},
		{"bound, by text", "vgt_bound", `{"query":"{ viewer { id } }"}`, http.StatusForbidden, `"rule":"documents.only"`},
		{"bound, the same text", "vgt_bound", `{"query":"` + text + `","operationName":"A"}`, http.StatusForbidden, `"rule":"documents.only"`},
		{"both", "vgt_all", `{"documentId":"` + docID + `","query":"{ viewer { id } }"}`, http.StatusBadRequest, "INVALID"},
		{"unknown", "vgt_all", `{"documentId":"` + document.ID("x") + `"}`, http.StatusNotFound, "NOT_FOUND"},
		{"of another tenant", "vgt_two", `{"documentId":"` + docID + `","operationName":"A"}`, http.StatusNotFound, "NOT_FOUND"},
		{"no id", "vgt_all", `{"documentId":7}`, http.StatusBadRequest, "INVALID"},
	} {
		a := f.send(t, strings.NewReader(tt.body), "Authorization", "Bearer "+tt.token)
		if a.status != tt.status || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		}
	}
}
