package file

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
	"github.com/vogter/vogter/internal/personal"
)

// NameHeader holds the document's name as percent-encoded UTF-8, with or without
// the charset in front that RFC 8187 has. It is personal data, which a URL must
// not hold.
const NameHeader = "Vogter-File-Name"

// Handler serves PUT /v1/uploads?subject=…&dataset=…, or &proof=true instead of a
// dataset for the proof of what staff enter, or ?request=… alone for a document that
// a task of a request is completed with: the body is the document.
// It answers 201 with {"id", "size"}. Principal, tenant and request must be in
// the request's context.
func Handler(s *Service, a authz.Authorizer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := s.serve(r, a)
		if err != nil {
			httperr.Write(w, r, err, s.Log)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusCreated)
		answer := struct {
			ID   string `json:"id"`
			Size int64  `json:"size"`
		}{f.ID, f.Size}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			s.Log.DebugContext(r.Context(), "answer not sent", "file", f.ID, "err", err)
		}
	})
}

func (s *Service) serve(r *http.Request, a authz.Authorizer) (*File, error) {
	ctx, err := s.Recorder.Permit(r.Context(), a, authz.FileWrite, "file.upload", "")
	if err != nil {
		return nil, err
	}
	in, err := parse(r)
	if err != nil {
		return nil, err
	}
	return s.Upload(ctx, in, r.Body)
}

func parse(r *http.Request) (UploadInput, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return UploadInput{}, errs.New(errs.Invalid, "the query is malformed")
	}
	for name := range query {
		if name != "subject" && name != "dataset" && name != "proof" && name != "request" {
			return UploadInput{}, errs.New(errs.Invalid, "the query has subject and dataset, or proof, or request, only; the file's name goes in the header %s", NameHeader)
		}
	}
	if query.Has("request") {
		if len(query) > 1 {
			return UploadInput{}, errs.New(errs.Invalid, "a document of a request is of nothing else")
		}
	} else if query.Has("dataset") == query.Has("proof") || query.Has("dataset") && query.Get("dataset") == "" || query.Has("proof") && query.Get("proof") != "true" {
		return UploadInput{}, errs.New(errs.Invalid, "say of which dataset the file is, or proof=true")
	}
	encoded := r.Header.Get(NameHeader)
	if charset, rest, ok := strings.Cut(encoded, "'"); ok && strings.EqualFold(charset, "UTF-8") {
		_, encoded, _ = strings.Cut(rest, "'") // what is between is a language
	}
	name, err := url.PathUnescape(encoded)
	if err != nil {
		return UploadInput{}, errs.New(errs.Invalid, "the header %s is not percent-encoded UTF-8", NameHeader).At("name")
	}
	return UploadInput{
		Subject: query.Get("subject"), Dataset: query.Get("dataset"), Request: query.Get("request"), Name: personal.NewText(name),
		MediaType: r.Header.Get("Content-Type"), Size: r.ContentLength,
	}, nil
}
