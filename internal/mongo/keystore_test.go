package mongo_test

import (
	"testing"

	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/vault/vaulttest"
)

func TestKeyStore(t *testing.T) {
	vaulttest.Run(t, func(t *testing.T) vault.KeyStore {
		t.Helper()
		return testenv.KeyStore(t)
	})
}
