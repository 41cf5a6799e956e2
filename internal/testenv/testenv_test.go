package testenv_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// Each part must answer: who builds on it shouldn't have to wonder.
func TestPartsAnswer(t *testing.T) {
	if err := testenv.Mongo(t).Ping(t.Context()); err != nil {
		t.Errorf("database: %v", err)
	}
	options, err := redis.ParseURL(testenv.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("redis: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	owner := vault.Owner{Tenant: testenv.One, Subject: "sub_a", Unit: vault.Identity}
	if _, err := testenv.Vault(t).Ensure(t.Context(), owner); err != nil {
		t.Errorf("vault: %v", err)
	}
}
