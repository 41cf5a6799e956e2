package cli

import (
	"strings"
	"testing"
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
