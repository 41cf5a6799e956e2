package download

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
)

// idleTimeout is how long a download may take in nothing.
const idleTimeout = time.Minute

// Serve answers a call whose path ends in a token, and has fail answer it when it
// can't. Principal, tenant and request must be in the request's context.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, fail func(http.ResponseWriter, *http.Request, error)) {
	ctx := r.Context()
	if !authz.FromContext(ctx).SignedIn() {
		fail(w, r, authz.ErrUnauthenticated)
		return
	}
	if r.Method != http.MethodGet { // HEAD too: it would show the name and be no use
		w.Header().Set("Allow", http.MethodGet)
		fail(w, r, errs.New(errs.Invalid, "a download is fetched with GET"))
		return
	}
	row, c, err := s.use(ctx, path.Base(r.URL.Path), resumes(r.Header.Get("Range")))
	if err != nil {
		fail(w, r, err)
		return
	}
	defer func() {
		if err := c.Close(); err != nil {
			s.Log.WarnContext(ctx, "download not closed", "object", row.Object, "err", err)
		}
	}()
	h := w.Header()
	h.Set("Content-Type", c.media)
	h.Set("Content-Disposition", disposition(c.name.Reveal()))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	r.Header.Del("If-Range") // what a link leads to never changes, so a range is always one of the same
	body := &watched{ReadSeeker: c, control: http.NewResponseController(w), now: s.Now}
	http.ServeContent(w, r, "", time.Time{}, body)
	// The answer has begun: that it is shorter than announced tells the caller.
	if body.err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "download broke off", "object", row.Object, "err", body.err)
	}
}

// resumes reports whether a Range header asks for all that is behind a first
// part. Any other range is a download like any other.
func resumes(header string) bool {
	return regexp.MustCompile(`^bytes=0*[1-9][0-9]*-[0-9]*$`).MatchString(header)
}

// watched remembers the error of a reader, which http.ServeContent swallows, and
// gives the caller time for each piece whatever the server's own limit is.
type watched struct {
	io.ReadSeeker
	control *http.ResponseController
	now     func() time.Time
	err     error
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.control.SetWriteDeadline(w.now().Add(idleTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.err = err
		return 0, err
	}
	n, err := w.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// disposition returns the header that has a browser save the content under a
// name that every system takes (RFC 6266).
func disposition(name string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	clean = strings.Trim(clean, " .")
	if clean == "" {
		clean = "download"
	}
	if h := mime.FormatMediaType("attachment", map[string]string{"filename": clean}); h != "" {
		return h
	}
	return "attachment"
}
