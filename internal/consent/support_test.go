package consent_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/consent"
)

// TestSupport reads what browsers look for.
func TestSupport(t *testing.T) {
	w := httptest.NewRecorder()
	consent.Support(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/gpc.json", http.NoBody))
	var said struct {
		GPC        bool   `json:"gpc"`
		LastUpdate string `json:"lastUpdate"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || !said.GPC {
		t.Errorf("it says %s, %v", w.Body, err)
	}
	if _, err := time.Parse(time.DateOnly, said.LastUpdate); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("as %s: %v", w.Header().Get("Content-Type"), err)
	}
}
