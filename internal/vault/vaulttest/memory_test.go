package vaulttest_test

import (
	"testing"

	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/vault/vaulttest"
)

func TestMemory(t *testing.T) {
	vaulttest.Run(t, func(*testing.T) vault.KeyStore { return vaulttest.NewMemory() })
}
