package framework_test

import (
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/framework"
)

func TestControls(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range framework.Controls() {
		if seen[c.Code] || !strings.HasPrefix(c.Code, c.Objective+".") || c.Danish == "" || c.English == "" || len(c.Articles) == 0 {
			t.Errorf("control %+v", c)
		}
		seen[c.Code] = true
	}
	if len(seen) != 47 || framework.Version() != 1 {
		t.Errorf("%d controls of version %d", len(seen), framework.Version())
	}
	if c, ok := framework.Lookup("B.8"); !ok || c.Objective != "B" {
		t.Errorf("B.8 is %+v", c)
	}
	if _, ok := framework.Lookup("B.99"); ok {
		t.Error("there is a B.99")
	}
}
