package mongod_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/embedded/mongod"
)

// TestCheck: what a fault of the engine could leave behind is found.
func TestCheck(t *testing.T) {
	tests := []struct {
		name    string
		records bool
		disturb func(key, val []byte, batch *pebble.Batch) error
		want    string
	}{
		{"nothing", false, func(_, _ []byte, _ *pebble.Batch) error { return nil }, ""},
		{"an index entry is lost", false, func(key, _ []byte, batch *pebble.Batch) error { return batch.Delete(key, nil) }, "misses a document"},
		{"an index entry without a document", false, func(key, val []byte, batch *pebble.Batch) error {
			return batch.Set(append(bytes.Clone(key), 1), val, nil)
		}, "entries without a document"},
		{"a document is lost", true, func(key, _ []byte, batch *pebble.Batch) error { return batch.Delete(key, nil) }, "without a document"},
		{"a document under another key", true, func(key, val []byte, batch *pebble.Batch) error {
			return batch.Set(append(bytes.Clone(key), 1), val, nil)
		}, "under another key"},
		{"a damaged document", true, func(key, val []byte, batch *pebble.Batch) error { return batch.Set(key, val[:len(val)-3], nil) }, "invalid BSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, t.TempDir())
			c := e.db.Collection("c")
			if _, err := c.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: d("n", 1)}); err != nil {
				t.Fatal(err)
			}
			must(c.InsertMany(t.Context(), []any{d("_id", 1, "n", 1), d("_id", 2, "n", 2)}))(t)
			if err := e.Disturb("test.c", tt.records, tt.disturb); err != nil {
				t.Fatal(err)
			}
			err := e.Check(t.Context())
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, mongod.ErrInconsistent) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
