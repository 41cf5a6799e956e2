package graph_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
)

// failing fails each call with its error, or panics.
type failing struct {
	graph.Datasets
	err error
}

func (f failing) Get(context.Context, string) (*dataset.Dataset, error) {
	if f.err == nil {
		panic("planted-panic")
	}
	return nil, f.err
}

func (f failing) AddField(context.Context, dataset.AddFieldInput) (*dataset.Dataset, error) {
	return nil, f.err
}

func TestErrors(t *testing.T) {
	invalid := errs.New(errs.Invalid, "a key is a letter").At("field.key").Under("key.form")
	tests := []struct {
		name                       string
		err                        error
		code, message, field, rule string
		logged                     bool
	}{
		{"invalid", invalid, "INVALID", "a key is a letter", "field.key", "key.form", false},
		{"wrapped", fmt.Errorf("planted-wrap: %w", invalid), "INVALID", "a key is a letter", "field.key", "key.form", false},
		{"not found", dataset.ErrNotFound, "NOT_FOUND", "no such dataset", "", "", false},
		{"conflict", dataset.ErrNameTaken, "CONFLICT", "another dataset has this name", "name", "", false},
		{"precondition", dataset.ErrRetired, "PRECONDITION", "the dataset is retired", "", "dataset.active", false},
		{"forbidden", errs.New(errs.Forbidden, "no"), "FORBIDDEN", "no", "", "", false},
		{"erased", errs.New(errs.Erased, "gone"), "ERASED", "gone", "", "", false},
		{"limited", dataset.ErrTooMany, "LIMITED", "a tenant has at most", "", "", false},
		{"unavailable", errs.New(errs.Unavailable, "later").Because(errors.New("cause")), "UNAVAILABLE", "later", "", "", true},
		{"internal", errs.New(errs.Internal, "planted-internal"), "INTERNAL", "internal error", "", "", true},
		{"internal within a field", errs.At(errs.New(errs.Internal, "planted-internal"), "key"), "INTERNAL", "internal error", "", "", true},
		{"any other", errors.New("planted-other"), "INTERNAL", "internal error", "", "", true},
		{"panic", nil, "INTERNAL", "internal error", "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newAPI(t, func(*audit.Recorder) graph.Services { return graph.Services{Datasets: failing{err: tt.err}} })
			a := f.ask(t, `{ dataset(id: "dst_1") { id } }`, nil)
			if len(a.Errors) != 1 || a.status != 200 || a.code() != tt.code || !strings.HasPrefix(a.Errors[0].Message, tt.message) ||
				a.field() != tt.field {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if rule, _ := a.Errors[0].Extensions["rule"].(string); rule != tt.rule {
				t.Errorf("got rule %q, want %q", rule, tt.rule)
			}
			if fmt.Sprint(a.Errors[0].Path) != "[dataset]" {
				t.Errorf("got path %v", a.Errors[0].Path)
			}
			if strings.Contains(a.body, "planted") || strings.Contains(a.body, "cause") {
				t.Errorf("the answer tells internals: %s", a.body)
			}
			f.Close()
			if logged := strings.Contains(f.log.String(), `"field":"Query.dataset"`) || strings.Contains(f.log.String(), "unavailable"); logged != tt.logged {
				t.Errorf("logged %t: %s", logged, f.log)
			}
			if strings.Contains(f.log.String(), "planted-panic") {
				t.Errorf("the log has the panic's value: %s", f.log)
			}
		})
	}
}

// TestInputErrors checks that what is wrong with an input is named by its place
// and never by its value, however it was sent.
func TestInputErrors(t *testing.T) {
	const create = `mutation($input: CreateSubjectInput!) { createSubject(input: $input) { subject { id } } }`
	const write = `mutation($input: WriteRecordInput!) { writeRecord(input: $input) { record { id } } }`
	subject := func(name string, v any) map[string]any {
		return map[string]any{"input": map[string]any{name: v}}
	}
	record := func(name string, v any) map[string]any {
		in := map[string]any{"subject": "sub_1", "dataset": "dst_1", "origin": "PROVIDED", "fields": []any{}}
		if v == nil {
			delete(in, name)
		} else {
			in[name] = v
		}
		return map[string]any{"input": in}
	}
	tests := []struct {
		name      string
		query     string
		variables map[string]any
		field     string
	}{
		{"date", create, subject("birthDate", "planted"), "birthDate"},
		{"date that doesn't exist", create, subject("birthDate", "2026-02-30"), "birthDate"},
		{"date as number", create, subject("birthDate", 20260228), "birthDate"},
		{"text as number", create, subject("reference", 4711), "reference"},
		{"text as object", create, subject("reference", map[string]any{"planted": "planted"}), "reference"},
		{"within a list", create, subject("emails", []any{"a@example.test", 4711}), "emails.1"},
		{"within an object", create, subject("name", map[string]any{"given": 4711}), "name.given"},
		{"object as text", create, subject("name", "planted"), "name"},
		{"unknown field", create, subject("colour", "planted"), "colour"},
		{"unknown field with a strange name", create, subject("planted value!", "x"), ""},
		{"unknown field in an object", create, subject("name", map[string]any{"nick": "planted"}), "name.nick"},
		{"null for a list's item", create, subject("emails", []any{nil}), "emails.0"},
		{"no input", create, nil, ""},
		{"input is null", create, map[string]any{"input": nil}, ""},
		{"input is a text", create, map[string]any{"input": "planted"}, ""},
		{"required field is missing", write, record("subject", nil), "subject"},
		{"enum", write, record("origin", "planted"), "origin"},
		{"enum in another case", write, record("origin", "provided"), "origin"},
		{"enum as number", write, record("origin", 1), "origin"},
		{"id as number", write, record("subject", 4711), "subject"},
		{"endless id", write, record("subject", strings.Repeat("planted", 50)), "subject"},
		{"time", write, record("collectedAt", "planted"), "collectedAt"},
		{"time without zone", write, record("collectedAt", "2026-02-28T12:00:00"), "collectedAt"},
		{"time as number", write, record("collectedAt", 1772280000), "collectedAt"},
		{"object for a list", write, record("fields", "planted"), "fields.0"},
		{
			"64-bit number as text", `mutation($input: RetireDatasetInput!) { retireDataset(input: $input) { dataset { id } } }`,
			map[string]any{"input": map[string]any{"dataset": "dst_1", "expectedVersion": "4711"}},
			"expectedVersion",
		},
		{
			"64-bit number with fraction", `mutation($input: RetireDatasetInput!) { retireDataset(input: $input) { dataset { id } } }`,
			map[string]any{"input": map[string]any{"dataset": "dst_1", "expectedVersion": 47.11}},
			"expectedVersion",
		},
		{
			"enum in a list", `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }`,
			map[string]any{"input": map[string]any{"name": "n", "permissions": []any{"NODE_READ", "node_read"}}},
			"permissions.1",
		},
		{"first as text", `query($n: Int!) { subjects(first: $n) { nodes { id } } }`, map[string]any{"n": "planted"}, "n"},
		{"first too large", `query($n: Int!) { subjects(first: $n) { nodes { id } } }`, map[string]any{"n": 3000000000}, "first"},
		{"literal of another type", `{ subjects(first: "planted") { nodes { id } } }`, nil, ""},
		{"literal that is no enum", `mutation { writeRecord(input: {subject: "sub_1", dataset: "dst_1", origin: planted, fields: []}) { record { id } } }`, nil, ""},
		{"literal with an unknown field", `mutation { createSubject(input: {reference: "planted", colour: "planted"}) { subject { id } } }`, nil, ""},
		{"literal number out of range", `{ subjects(first: 47114711471147114711) { nodes { id } } }`, nil, ""},
		{"literal date", `mutation { createSubject(input: {birthDate: "planted"}) { subject { id } } }`, nil, "birthDate"},
		{"literal within a list", `mutation { createSubject(input: {nationalIds: [{number: "x"}, {number: 4711}]}) { subject { id } } }`, nil, ""},
	}
	f := newAPI(t, none)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.ask(t, tt.query, tt.variables, "Idempotency-Key", "k")
			if a.code() != "INVALID" || a.field() != tt.field {
				t.Errorf("got %s at %q, want INVALID at %q: %s", a.code(), a.field(), tt.field, a.body)
			}
			if strings.Contains(a.body, "planted") || strings.Contains(a.body, "4711") {
				t.Errorf("the answer repeats the value: %s", a.body)
			}
		})
	}
	f.Close()
	if log := f.log.String(); strings.Contains(log, "planted") || strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log has values or faults: %s", log)
	}
}
