package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/testenv"
)

func TestVerify(t *testing.T) {
	var b bytes.Buffer
	w := pack.NewWriter(&b, time.Date(2026, 5, 4, 3, 2, 0, 0, time.UTC))
	dst, err := w.Create(pack.File{Path: "data/case.json", Category: pack.Data}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(dst, "[]\n"); err != nil {
		t.Fatal(err)
	}
	manifest := pack.StaffCopy{
		Header:               pack.Header{PackageVersion: pack.Version, Type: pack.StaffCopyType, Files: w.Files()},
		NotAnArticle15Answer: true, Totals: pack.Totals{Files: 1, Bytes: 3},
	}
	if err := w.Close(t.Context(), manifest, testenv.NewRing(t)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		content []byte
		want    string // in the error; "" for none
	}{
		{"whole", b.Bytes(), ""},
		{"altered", bytes.Replace(b.Bytes(), []byte("[]\n"), []byte("{}\n"), 1), `"data/case.json": altered`},
		{"no package", []byte("hello"), "neither a package"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "package.zip")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{"verify", path}, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := run(t.Context(), []string{"verify", filepath.Join(t.TempDir(), "nosuch")}, nil); err == nil {
		t.Error("a file that isn't there was verified")
	}
}
