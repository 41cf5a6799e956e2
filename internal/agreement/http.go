package agreement

import "net/http"

// Header names what an answer warns of: rules with commas between.
const Header = "Vogter-Warning"

// Warned has a handler's answers carry the warnings that it came to before it began to
// answer.
func Warned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, warnings := WithWarnings(r.Context())
		next.ServeHTTP(&warned{ResponseWriter: w, warnings: warnings}, r.WithContext(ctx))
	})
}

type warned struct {
	http.ResponseWriter

	warnings *Warnings
	begun    bool
}

func (w *warned) begin() {
	if h := w.warnings.Header(); h != "" && !w.begun {
		w.ResponseWriter.Header().Set(Header, h)
	}
	w.begun = true
}

// WriteHeader implements http.ResponseWriter.
func (w *warned) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *warned) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // it is the writer's own
}

// Flush implements http.Flusher, which streams ask for.
func (w *warned) Flush() {
	w.begin()
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *warned) Unwrap() http.ResponseWriter { return w.ResponseWriter }
