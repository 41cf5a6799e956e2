package imports

import (
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/record"
)

// maxKey is the longest Idempotency-Key, in bytes.
const maxKey = 255

// Handler serves POST /v1/imports?mapping=NAME|dataset=NAME_OR_ID|kind=consents: the
// body is the file. It answers with a summary once the file is read: 200 when all of it
// was, also with rejected lines; when the import stopped within the file, the
// status of the error that stopped it. Principal, tenant and request must be in
// the request's context.
func Handler(s *Service, a authz.Authorizer, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.recorder.Permit(r.Context(), a, authz.ImportRun, "import.start", "")
		if err != nil {
			httperr.Write(w, r, err, log)
			return
		}
		in, err := parse(r)
		if err != nil {
			httperr.Write(w, r, err, log)
			return
		}
		if in.Kind == KindConsents {
			if ctx, err = s.recorder.Permit(ctx, a, authz.ConsentWrite, "import.start", ""); err != nil {
				httperr.Write(w, r, err, log)
				return
			}
		}
		in.Body = r.Body
		sum, err := s.Run(ctx, in)
		if sum == nil {
			httperr.Write(w, r, err, log)
			return
		}
		answer(w, r, sum, err, log)
	})
}

// Progress serves GET /v1/imports/{id}: the summary of an import so far. With
// ?after=LINE it lists rejections from there on.
func Progress(s *Service, a authz.Authorizer, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The id may be anything: it isn't written to the log.
		ctx, err := s.recorder.Permit(r.Context(), a, authz.ImportRun, "import.progress", "")
		if err != nil {
			httperr.Write(w, r, err, log)
			return
		}
		query, err := parameters(r, "after")
		if err != nil {
			httperr.Write(w, r, err, log)
			return
		}
		var after int64
		if text := query.Get("after"); text != "" {
			if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
				httperr.Write(w, r, errs.New(errs.Invalid, "after is the number of a line").At("after"), log)
				return
			}
		}
		sum, err := s.Get(ctx, r.PathValue("id"), after)
		if err != nil {
			httperr.Write(w, r, err, log)
			return
		}
		answer(w, r, sum, nil, log)
	})
}

// Answer is the JSON that tells of an import. Code and Message tell why it
// stopped within the file, and ResumeFrom from which line a repeated call with
// the same file and Idempotency-Key goes on.
type Answer struct {
	ID         string      `json:"id,omitempty"` // of what is no check
	Mode       Mode        `json:"mode"`
	State      State       `json:"state,omitempty"`
	Lines      int64       `json:"lines"`
	Created    int64       `json:"created"`
	Updated    int64       `json:"updated"`
	Unchanged  int64       `json:"unchanged"`
	Records    int64       `json:"records"`
	Rejected   int64       `json:"rejected"`
	Rejections []Rejection `json:"rejections"`
	ResumeFrom int64       `json:"resumeFrom,omitempty"`
	Code       errs.Kind   `json:"code,omitempty"`
	Message    string      `json:"message,omitempty"`
}

// answer writes the summary, with why it stopped if it did.
func answer(w http.ResponseWriter, r *http.Request, s *Summary, stopped error, log *slog.Logger) {
	j := Answer{
		Mode: s.Mode, Lines: s.Counts.Lines(), Created: s.Counts.Created, Updated: s.Counts.Updated,
		Unchanged: s.Counts.Unchanged, Records: s.Counts.Records, Rejected: s.Counts.Rejected, Rejections: s.Rejections,
	}
	if j.Rejections == nil {
		j.Rejections = []Rejection{}
	}
	if s.Import != nil {
		j.ID, j.State = s.Import.ID, s.Import.State
		if j.State != Done {
			j.ResumeFrom = s.Import.Line + 1
		}
	}
	status := http.StatusOK
	if stopped != nil {
		e, ok := errors.AsType[*errs.Error](stopped)
		if !ok || e.Kind == errs.Internal {
			log.ErrorContext(r.Context(), "import stopped", "import", j.ID, "err", stopped)
			e = errs.New(errs.Internal, "internal error")
		}
		j.Code, j.Message, status = e.Kind, e.Message, httperr.Status(e)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(j); err != nil {
		log.DebugContext(r.Context(), "answer not sent", "import", j.ID, "err", err)
	}
}

func parse(r *http.Request) (in Input, err error) {
	query, err := parameters(r, "mapping", "dataset", "kind", "mode", "origin")
	if err != nil {
		return in, err
	}
	in = Input{
		Key: r.Header.Get("Idempotency-Key"), Mapping: query.Get("mapping"), Dataset: query.Get("dataset"),
		Origin: record.Origin(query.Get("origin")), Mode: Mode(query.Get("mode")), Kind: Kind(query.Get("kind")),
	}
	if in.Kind != "" && in.Kind != KindConsents {
		return in, errs.New(errs.Invalid, "kind takes consents").At("kind")
	}
	switch in.Mode {
	case Check:
	case "":
		in.Mode = Write
		if in.Key == "" || len(in.Key) > maxKey || strings.Trim(in.Key, printable()) != "" {
			return in, errs.New(errs.Invalid, "an import needs the header Idempotency-Key: 1 to %d printable ASCII characters, chosen anew for every file", maxKey)
		}
	default:
		return in, errs.New(errs.Invalid, "mode takes check").At("mode")
	}
	switch in.Origin {
	case "":
		in.Origin = record.Provided
	case record.Provided, record.Observed, record.Derived, record.ThirdParty:
	default:
		return in, errs.New(errs.Invalid, "an origin is PROVIDED, OBSERVED, DERIVED or THIRD_PARTY").At("origin")
	}
	if in.Mapping != "" && query.Has("origin") {
		return in, errs.New(errs.Invalid, "the mapping says of what origin records are").At("origin")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return in, errs.New(errs.Invalid, "the body must not be compressed")
	}
	in.Format, err = format(r.Header.Get("Content-Type"))
	return in, err
}

func printable() string {
	b := make([]byte, 0, '~'-' ')
	for c := byte('!'); c <= '~'; c++ {
		b = append(b, c)
	}
	return string(b)
}

// parameters returns the query, whose names must be among known, each once.
func parameters(r *http.Request, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errs.New(errs.Invalid, "the query is malformed")
	}
	given := len(query)
	for _, name := range known {
		switch len(query[name]) {
		case 0:
		case 1:
			given--
		default:
			return nil, errs.New(errs.Invalid, "the parameter is given twice").At(name)
		}
	}
	if given > 0 {
		return nil, errs.New(errs.Invalid, "the query has %s only", strings.Join(known, ", "))
	}
	return query, nil
}

func format(contentType string) (Format, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if charset, ok := params["charset"]; err != nil || ok && !strings.EqualFold(charset, "utf-8") {
		media = ""
	}
	switch media {
	case "application/x-ndjson":
		return NDJSON, nil
	case "text/csv":
		return CSV, nil
	default:
		return "", errs.New(errs.Invalid, "the body is application/x-ndjson or text/csv, in UTF-8: say which in Content-Type")
	}
}
