// Package secrets_test keeps secrets out of the repository.
package secrets_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// marks are what secrets look like that somebody may leave in a file. gosec looks
// for more in Go code.
func marks() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"private key":         regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE ` + `KEY-----\s+[A-Za-z0-9+/]{40}`),
		"key of age":          regexp.MustCompile(`AGE-SECRET-` + `KEY-1[0-9A-Z]{50}`),
		"key of AWS":          regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`),
		"token of a forge":    regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20})\b`),
		"token of a vault":    regexp.MustCompile(`\bhv[sb]\.[A-Za-z0-9_-]{24,}\b`),
		"API key of Vogter":   regexp.MustCompile(`\bvgt_[a-z0-9]+_[A-Za-z0-9_-]{26,}\b`),
		"password in address": regexp.MustCompile(`\b(mongodb(\+srv)?|rediss?|smtps?)://[^:/@\s"'` + "`" + `{}$]+:[^@/\s"'` + "`" + `{}$…]{12,}@`),
	}
}

func TestNoSecrets(t *testing.T) {
	root := filepath.Join("..", "..")
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("this is no checkout: %v", err)
	}
	files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(files) < 100 {
		t.Fatalf("only %d files", len(files))
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // removed, and not committed yet
		}
		if base := filepath.Base(name); base == ".env" || strings.HasSuffix(base, ".pem") || strings.HasSuffix(base, ".p12") {
			t.Errorf("%s is a file for secrets", name)
		}
		for what, mark := range marks() {
			if at := mark.FindIndex(content); at != nil {
				t.Errorf("%s:%d: %s", name, 1+bytes.Count(content[:at[0]], []byte("\n")), what)
			}
		}
	}
}

// TestMarks shows that each mark finds what it is for.
func TestMarks(t *testing.T) {
	long := strings.Repeat("A1b2", 20)
	for what, secret := range map[string]string{
		"private key":         "-----BEGIN EC PRIVATE " + "KEY-----\n" + long,
		"key of age":          "AGE-SECRET-" + "KEY-1" + strings.Repeat("Q", 58),
		"key of AWS":          "AKI" + "A" + strings.Repeat("Z", 16),
		"token of a forge":    "gh" + "p_" + long[:36],
		"token of a vault":    "hv" + "s." + long,
		"API key of Vogter":   "vg" + "t_abc_" + long,
		"password in address": "mongodb" + "://app:" + long + "@db.example/",
	} {
		if mark := marks()[what]; mark == nil || !mark.MatchString(secret) {
			t.Errorf("%s isn't found", what)
		}
	}
}
