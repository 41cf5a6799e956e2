package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/kms"
)

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ string // of one variable
		args    []string
		want    string
	}{
		{"no command", "", nil, "expected"},
		{"unknown command", "", []string{"fly"}, "unexpected argument fly"},
		{"engine without a folder", "", []string{"engine", "--listen", "127.0.0.1:0"}, "missing flags: --dir"},
		{"engine on every interface", "", []string{"engine", "--dir", t.TempDir(), "--listen", "0.0.0.0:0"}, "listen"},
		{"misspelt setting of local", "VOGTER_LOCAL_PROT_API", []string{"local"}, "VOGTER_LOCAL_PROT_API is not a setting of `vogter local`"},
		{"misspelt setting", "VOGTER_MOD", []string{"local", "--dir", t.TempDir()}, "VOGTER_MOD is not a setting of Vogter"},
		{"port that is no number", "VOGTER_LOCAL_PORT_API", []string{"local", "--dir", t.TempDir()}, "port-api"},
		{"file to verify is missing", "", []string{"verify", "/nonexistent"}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.environ != "" {
				t.Setenv(tt.environ, "x")
			}
			if err := run(t.Context(), tt.args, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Keys of a cloud need a program that has the cloud's adapter: the core names it,
// and a program that has it opens the address. Nothing else is reached before.
func TestKeyAdapters(t *testing.T) {
	for name, value := range map[string]string{
		"VOGTER_MODE": "development", "VOGTER_KMS": "aws:eu-central-1/prod",
		"MONGODB_URI": "mongodb://127.0.0.1:1/", "VOGTER_KEYSTORE_URI": "mongodb://127.0.0.1:1/", "REDIS_URL": "redis://127.0.0.1:1",
		"VOGTER_S3_ENDPOINT": "https://127.0.0.1:1", "VOGTER_S3_BUCKET": "b", "VOGTER_S3_ACCESS_KEY": "a", "VOGTER_S3_SECRET_KEY": "s",
		"VOGTER_KRATOS_PUBLIC_URL": "http://127.0.0.1:1", "VOGTER_KRATOS_ADMIN_URL": "http://127.0.0.1:1",
		"VOGTER_SMTP_URL": "smtp://127.0.0.1:1", "VOGTER_MAIL_FROM": "vogter@vogter.example",
	} {
		t.Setenv(name, value)
	}
	errOpened := errors.New("opened")
	var opened []string
	adapters := kms.Adapters{"aws": func(_ context.Context, address string) (kms.Wrapper, error) {
		opened = append(opened, address)
		return nil, errOpened
	}}
	for _, command := range [][]string{
		{"serve"},
		{"worker"},
		{"admin", "keys", "status"},
		{"admin", "sign", "keys"},
		{"admin", "bootstrap", "--legal-name", "A", "--country", "DK", "--time-zone", "UTC", "--operator", "a@vogter.example"},
	} {
		if err := run(t.Context(), command, nil); err == nil || !strings.Contains(err.Error(), "bin/vogter-aws") {
			t.Errorf("%s without the adapter: %v", command, err)
		}
		if err := run(t.Context(), command, adapters); !errors.Is(err, errOpened) {
			t.Errorf("%s: %v", command, err)
		}
	}
	if len(opened) != 5 || slices.ContainsFunc(opened, func(a string) bool { return a != "eu-central-1/prod" }) {
		t.Errorf("opened %v", opened)
	}
}
