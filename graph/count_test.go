package graph_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/graph"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/testenv"
)

// Every kind of export counts as one.
func TestExportsAreCounted(t *testing.T) {
	for _, mutation := range []string{
		`requestExport(input: {subject: "sub_1"}) { job { id } }`,
		`exportAudit(input: {from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z"}) { job { id } }`,
	} {
		name, _, _ := strings.Cut(mutation, "(")
		t.Run(name, func(t *testing.T) {
			table, err := ratelimit.Parse("exports=1/1h")
			if err != nil {
				t.Fatal(err)
			}
			at, err := redis.ParseURL(testenv.Redis(t))
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(at)
			defer client.Close()
			limiter, err := ratelimit.New(ratelimit.Config{
				Redis: client, Table: table, Log: slog.New(slog.DiscardHandler), Now: time.Now,
				Key: func(context.Context) ([sha256.Size]byte, error) { return sha256.Sum256(nil), nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			f := newAPI(t, withSets, func(c *graph.Config) { c.Limiter = limiter })
			for _, want := range []string{"INVALID", "LIMITED"} { // the first lacks its Idempotency-Key
				if a := f.send(t, strings.NewReader(quote("mutation { "+mutation+" }"))); a.code() != want {
					t.Errorf("got %s, want %s: %s", a.code(), want, a.body)
				}
			}
		})
	}
}
