package graph_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestLogLine shows what the log's line of a call says: names of the schema, and
// nothing that the caller made up.
func TestLogLine(t *testing.T) {
	for _, tt := range []struct{ name, document, operation, code string }{
		{"query", `query Planted { plantedAlias: datasets { id } }`, "query datasets", ""},
		{"two fields", `{ datasets { id } planted: viewer { id } __typename }`, "query datasets,viewer", ""},
		{"fields of a fragment", `{ ...planted } fragment planted on Query { datasets { id } }`, "query datasets", ""},
		{"unknown field", `{ planted }`, "", "INVALID"},
		{"no GraphQL", `planted`, "", "INVALID"},
		{"refused field", `mutation { createDataset(input: {name: "planted", fields: []}) { dataset { id } } }`, "mutation createDataset", "INVALID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newAPI(t, withSets)
			f.ask(t, tt.document, nil)
			f.Close()
			var found bool
			for line := range strings.Lines(f.log.String()) {
				var entry struct{ Msg, Operation, Code string }
				if err := json.Unmarshal([]byte(line), &entry); err != nil {
					t.Fatal(err)
				}
				if entry.Msg != "request" {
					continue
				}
				found = true
				if entry.Operation != tt.operation || entry.Code != tt.code {
					t.Errorf("got %q %q, want %q %q", entry.Operation, entry.Code, tt.operation, tt.code)
				}
			}
			if !found || strings.Contains(strings.ToLower(f.log.String()), "planted") {
				t.Errorf("the log has %s", f.log.String())
			}
		})
	}
}
