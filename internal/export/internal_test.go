package export

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// Write returns the package of e as of a fixed time, unsealed.
func Write(t *testing.T, ctx context.Context, s *Service, e *Export, asOf time.Time) []byte { //nolint:revive // t comes first
	t.Helper()
	fixed := *s
	fixed.Now = func() time.Time { return asOf }
	var b bytes.Buffer
	if err := fixed.write(ctx, e, silent{}, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type silent struct{}

func (silent) Object() string                                       { return "" }
func (silent) Fence() int64                                         { return 0 }
func (silent) Guard(context.Context) error                          { return nil }
func (silent) Progress(context.Context, int64, int64, string) error { return nil }
func (silent) Step(context.Context, string) error                   { return nil }

func TestNeutralise(t *testing.T) {
	for _, s := range []string{
		"=1+1", "+45", "-5", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "=HYPERLINK(\"x\")", "＝1", "＋1", "－1", "＠A",
	} {
		if got := neutralise(s); got != "'"+s {
			t.Errorf("%q became %q", s, got)
		}
	}
	for _, s := range []string{"", "a", "1", " =1", "'=1", "a=1", "0-5", "å", "€"} {
		if got := neutralise(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"letter.pdf":         "letter.pdf",
		"Årsopgørelse 1.pdf": "Årsopgørelse 1.pdf",
		"../../etc/passwd":   "_._etc_passwd",
		`C:\x.exe`:           "C__x.exe",
		"...":                "document",
		".":                  "document",
		"":                   "document",
		"a\u202egpj.exe":     "a_gpj.exe",
		"a\x00b":             "a_b",
		"CON":                "CON", // a number stands before it
		" x . ":              "x",
	} {
		if got := sanitise(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	long := sanitise(strings.Repeat("æ", 300) + ".pdf")
	if len(long) > maxDocument || !strings.HasSuffix(long, "æ.pdf") {
		t.Errorf("got %q", long)
	}
}

func TestSlug(t *testing.T) {
	taken := map[string]bool{identityName: true}
	for _, tt := range []struct{ in, want string }{
		{"KYC case", "kyc-case"},
		{"KYC/Case", "kyc-case-2"},
		{"Identity", "identity-2"},
		{"æøå", "dataset"},
		{"日本", "dataset-2"},
		{"--x--", "x"},
		{strings.Repeat("a", 200), strings.Repeat("a", maxSlug)},
	} {
		if got := slug(tt.in, taken); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, got, tt.want)
		}
	}
}
