package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/httperr"
)

// Sentinels of a body that is no GraphQL request.
var (
	ErrMedia    = errs.New(errs.Invalid, "send the request as application/json, in UTF-8")
	ErrTooLarge = errs.New(errs.Limited, "the body is larger than %d bytes", maxBody).Under(httperr.RuleSize)
	ErrUTF8     = errs.New(errs.Invalid, "the body is not UTF-8, or has half of a surrogate pair")
	ErrJSON     = errs.New(errs.Invalid, "the body is not JSON")
	ErrRepeated = errs.New(errs.Invalid, "an object in the body has the same name twice")
	ErrNested   = errs.New(errs.Invalid, "the body is nested more than %d deep", maxNesting)
	ErrRequest  = errs.New(errs.Invalid, "the body is one object with either query or documentId, and optionally variables, operationName and extensions")
)

const maxNesting = 64

// call is a GraphQL request: a text, or the id of a registered document.
type call struct {
	graphql.RawParams

	document string
}

// readRequest reads and checks the body of a call.
func readRequest(w http.ResponseWriter, r *http.Request) (*call, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, ok := params["charset"]; err != nil || media != "application/json" || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, ErrMedia
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return decode(body)
}

// readBody reads the body, which has to come in a bounded size; the server bounds
// its time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, ErrTooLarge
	}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return nil, e
	}
	return nil, httperr.ErrCut
}

// decode reads a GraphQL request. It is stricter than encoding/json: what two
// readers could understand in two ways is refused.
func decode(body []byte) (*call, error) {
	if !utf8.Valid(body) || loneSurrogate(body) {
		return nil, ErrUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrJSON
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, ErrRequest
	}
	p := &call{}
	for name, v := range members {
		fits := v == nil
		switch name {
		case "query":
			p.Query, fits = v.(string)
		case "documentId":
			p.document, fits = v.(string)
		case "operationName":
			if v != nil {
				p.OperationName, fits = v.(string)
			}
		case "variables":
			if v != nil {
				p.Variables, fits = v.(map[string]any)
			}
		case "extensions":
			if v != nil {
				p.Extensions, fits = v.(map[string]any)
			}
		default:
			fits = false
		}
		if !fits {
			return nil, ErrRequest
		}
	}
	if (p.Query == "") == (p.document == "") {
		return nil, ErrRequest
	}
	return p, nil
}

// value reads one JSON value.
func value(dec *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, ErrNested
	}
	t, err := dec.Token()
	if err != nil {
		return nil, ErrJSON
	}
	switch t {
	case json.Delim('{'):
		return object(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, end(dec)
	default:
		return t, nil
	}
}

func object(dec *json.Decoder, depth int) (map[string]any, error) {
	members := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, ErrJSON
		}
		name, ok := t.(string)
		if !ok {
			return nil, ErrJSON
		}
		if _, again := members[name]; again {
			return nil, ErrRepeated
		}
		if members[name], err = value(dec, depth+1); err != nil {
			return nil, err
		}
	}
	return members, end(dec)
}

// end reads the delimiter that closes a list or an object.
func end(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return ErrJSON
	}
	return nil
}

// loneSurrogate reports whether JSON text escapes half of a surrogate pair,
// which encoding/json would replace and so alter the value.
func loneSurrogate(text []byte) bool {
	const none = -1
	high := none // where the low half of a pair has to begin
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i+6 > len(text) || text[i+1] != 'u' {
			i++
			continue
		}
		r, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
		switch {
		case err != nil: // no JSON at all
		case 0xDC00 <= r && r <= 0xDFFF:
			if high != i {
				return true
			}
			high = none
		case high != none:
			return true
		case 0xD800 <= r && r <= 0xDBFF:
			high = i + 6
			if high >= len(text) || text[high] != '\\' {
				return true
			}
		}
		i += 5
	}
	return high != none
}
