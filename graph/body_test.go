package graph

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzDecode: what is taken for a request is JSON that every reader reads alike.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"query": "{ a }", "variables": {"a": [1, 2.5, "\ud83d\ude00", null, {"b": true}]}, "operationName": null}`,
		`{"query": "a", "query": "b"}`, `{"query": "\ud83d"}`, `{"query": "\\ud83d"}`, `{"query": "a"}{}`, `[{"query": "a"}]`,
		`{"query": "a", "variables": [[[[`, `{"query"`, `{"query": "\u00"}`, "{\"query\": \"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(body)
		if err != nil {
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) || p.Query == "" {
			t.Errorf("took %q", body)
		}
		var again struct {
			Query     string
			Variables map[string]any
		}
		if err := json.Unmarshal(body, &again); err != nil || again.Query != p.Query || len(again.Variables) != len(p.Variables) {
			t.Errorf("read %q in another way than encoding/json: %v", body, err)
		}
	})
}
