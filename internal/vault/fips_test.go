package vault_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const fipsOnly = "fips140=only"

// TestUnderFIPSOnly runs all tests of this package again in a process where
// everything but FIPS 140-3 approved cryptography fails.
func TestUnderFIPSOnly(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), fipsOnly) {
		if !fips140.Enabled() {
			t.Fatal("FIPS mode is off")
		}
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cipher.NewGCM(block); err == nil {
			t.Fatal("a cipher with chosen nonces is allowed: the mode isn't enforced")
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^(Test|Fuzz)", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG="+fipsOnly)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, ran := range []string{"TestUnderFIPSOnly", "TestSealOpen", "TestStream", "TestVectors", "TestIndex", "TestMAC", "FuzzStream"} {
		if !strings.Contains(string(out), "--- PASS: "+ran) {
			t.Errorf("%s didn't run", ran)
		}
	}
}
