package consent

import (
	"io"
	"net/http"
)

// Support tells browsers, at /.well-known/gpc.json, that Global Privacy Control is
// obeyed here: a request under it refuses new consents that aren't essential, and
// objects to direct marketing. The date is that since which it is so.
func Support(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, _ = io.WriteString(w, `{"gpc":true,"lastUpdate":"2026-11-22"}`+"\n") // an error is the caller's
}
