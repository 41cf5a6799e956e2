// Package opendsr takes requests of data subjects from other systems of a tenant,
// as the OpenDSR specification (https://github.com/opengdpr/OpenDSR) has it: its
// JSON in the forms of versions 2 and 3, signed answers, and a callback when the
// status has changed.
//
// A request is one right of one person, under a UUID of the sender's by which it
// is there once. Whom the identities name is looked up, and says nothing to the
// sender: a handler settles who asks. The time for the answer runs from when the
// person asked the controller, which is submitted_time (GDPR Art. 12(3)).
//
// Signatures are the platform's, as JSON Web Signatures without their payload
// (RFC 7515, appendix F): the specification's certificate is replaced by the key
// set at /.well-known/jwks.json.
package opendsr

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
)

// Version is that of the specification.
const Version = "3.0"

// JobCallback is the type of the job that tells of a request's status: its object
// is the request's id.
const JobCallback = "openDSR:callback"

const (
	maxIdentities = 10
	maxCallbacks  = 5
	maxBody       = 64 << 10
)

// Status is where a request stands, as the specification names it.
type Status string

// The statuses.
const (
	Pending    Status = "pending"
	InProgress Status = "in_progress"
	Completed  Status = "completed"
	Cancelled  Status = "cancelled"
)

// statusOf returns the status for a state.
func statusOf(s request.State) Status {
	switch s {
	case request.Received, request.AwaitingIdentity:
		return Pending
	case request.AwaitingClarification, request.InProgress, request.InReview, request.Approved, request.Executing:
		return InProgress
	case request.Withdrawn:
		return Cancelled
	case request.Responded, request.Closed, request.Forwarded:
	}
	return Completed
}

// The kinds and the format of identities that are looked up.
const (
	email    = "email"
	phone    = "phone"
	customer = "controller_customer_id" // the reference that the tenant knows a person by
	raw      = "raw"
)

// identity names a person.
type identity struct {
	Type   string        `json:"identity_type"`
	Format string        `json:"identity_format"`
	Value  personal.Text `json:"-"`
}

// message is a request as it is sent.
type message struct {
	ID        string
	Type      request.Type
	Submitted time.Time
	Persons   []identity
	Callbacks []string
}

// sent is the JSON of a request. What else is in it, as extensions of other
// processors are, isn't for us.
type sent struct {
	Regulation string          `json:"regulation"`
	ID         string          `json:"subject_request_id"`
	Type       string          `json:"subject_request_type"`
	Submitted  string          `json:"submitted_time"`
	Persons    json.RawMessage `json:"subject_identities"`
	Version    string          `json:"api_version"`
	Callbacks  []string        `json:"status_callback_urls"`
}

// typeName is how a right is called.
func typeName(t request.Type) string { return strings.ToLower(string(t)) }

func invalid(field, format string, args ...any) error {
	return errs.New(errs.Invalid, format, args...).At(field)
}

// validID reports whether s is a UUID of version 4, as the specification writes it.
func validID(s string) bool {
	return regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(s)
}

// read reads a request.
func read(body []byte, now time.Time, checkURL func(string) error) (*message, error) {
	var s sent
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, errs.New(errs.Invalid, "send a request of OpenDSR as JSON")
	}
	m := &message{ID: s.ID, Type: request.Type(strings.ToUpper(s.Type)), Callbacks: s.Callbacks}
	if !validID(m.ID) {
		return nil, invalid("subject_request_id", "a UUID of version 4 in lower case")
	}
	if s.Regulation != "" && s.Regulation != "gdpr" {
		return nil, invalid("regulation", "gdpr is the only regulation here")
	}
	if s.Type != strings.ToLower(s.Type) || !slices.Contains(request.Types(), m.Type) {
		return nil, invalid("subject_request_type", "one of those that discovery names")
	}
	var err error
	if m.Submitted, err = time.Parse(time.RFC3339, s.Submitted); err != nil || m.Submitted.After(now) {
		return nil, invalid("submitted_time", "a time as RFC 3339 has it, that has passed")
	}
	if s.Version != "" && !regexp.MustCompile(`^[23](\.\d+)?$`).MatchString(s.Version) {
		return nil, invalid("api_version", "2 or 3")
	}
	if m.Persons, err = persons(s.Persons); err != nil {
		return nil, err
	}
	if len(m.Callbacks) > maxCallbacks {
		return nil, invalid("status_callback_urls", "at most %d", maxCallbacks)
	}
	for _, to := range m.Callbacks {
		if err := checkURL(to); err != nil {
			return nil, errs.At(err, "status_callback_urls")
		}
	}
	return m, nil
}

// persons reads identities: a list of them as version 2 has it, or an object by
// their kinds as version 3.
func persons(from json.RawMessage) ([]identity, error) {
	var list []struct {
		Type   string `json:"identity_type"`
		Value  string `json:"identity_value"`
		Format string `json:"identity_format"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(from), []byte("{")) {
		var kinds map[string]struct{ Value, Encoding string }
		if err := json.Unmarshal(from, &kinds); err != nil {
			return nil, invalid("subject_identities", "each kind of identity has a value and an encoding")
		}
		for _, kind := range []string{email, phone, customer} {
			if of, ok := kinds[kind]; ok {
				list = append(list, struct {
					Type   string `json:"identity_type"`
					Value  string `json:"identity_value"`
					Format string `json:"identity_format"`
				}{kind, of.Value, of.Encoding})
				delete(kinds, kind)
			}
		}
		if len(kinds) > 0 {
			return nil, invalid("subject_identities", "identities are of the kinds that discovery names")
		}
	} else if err := json.Unmarshal(from, &list); err != nil {
		return nil, invalid("subject_identities", "a list of identities, or an object by their kinds")
	}
	if len(list) == 0 || len(list) > maxIdentities {
		return nil, invalid("subject_identities", "name the person by 1 to %d identities", maxIdentities)
	}
	all := make([]identity, len(list))
	for i, one := range list {
		if !slices.Contains([]string{email, phone, customer}, one.Type) || one.Format != raw || one.Value == "" {
			return nil, invalid("subject_identities", "identities are of the kinds and formats that discovery names, with a value")
		}
		all[i] = identity{one.Type, one.Format, personal.NewText(one.Value)}
	}
	return all, nil
}

// Row knows a request by the id of its sender.
type Row struct {
	ID        string // subject_request_id
	Request   string
	Hash      []byte // of the body, keyed
	Received  time.Time
	Callbacks []string
	Told      []Status // what each of them was told last, "" for nothing
}

// ErrNotFound reports an id under which the tenant has nothing.
var ErrNotFound = errs.New(errs.NotFound, "no such request")

// ErrOther reports an id under which something else was sent.
var ErrOther = errs.New(errs.Conflict, "another request was sent under this subject_request_id").At("subject_request_id")

// Store keeps rows, for the tenant in ctx.
type Store interface {
	// Get returns ErrNotFound, as ByRequest does for a request of another channel.
	Get(ctx context.Context, id string) (*Row, error)
	ByRequest(ctx context.Context, requestID string) (*Row, error)
	// Insert works in a change's transaction. It fails with ErrOther when the id is taken.
	Insert(ctx context.Context, r *Row) error
	// Tell notes what a callback was told.
	Tell(ctx context.Context, id string, callback int, s Status) error
}
