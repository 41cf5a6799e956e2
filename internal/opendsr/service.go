package opendsr

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/webhook"
)

// signed is the type of what is signed.
const signed = "vogter-opendsr+json"

// The headers of an answer, and of a callback.
const (
	HeaderDomain    = "X-OpenDSR-Processor-Domain"
	HeaderSignature = "X-OpenDSR-Signature"
)

// Requests keeps requests.
type Requests interface {
	Open(ctx context.Context, in request.OpenInput) (*request.Request, error)
	Get(ctx context.Context, requestID string) (*request.Request, error)
	Withdraw(ctx context.Context, in request.WithdrawInput) (*request.Request, error)
}

// Subjects finds persons, past what the caller may see: see subject.Store.
type Subjects interface {
	Find(ctx context.Context, q lookup.Search, after *page.Position, limit int) ([]*subject.Subject, error)
}

// Tenants knows the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
}

// Hasher makes and checks keyed hashes under a key of the tenant in ctx.
type Hasher interface {
	Hash(ctx context.Context, purpose string, parts ...[]byte) ([sha256.Size]byte, error)
	Verify(ctx context.Context, hash [sha256.Size]byte, purpose string, parts ...[]byte) (bool, error)
}

// Signer signs for the platform.
type Signer interface {
	SignJWS(ctx context.Context, p sign.Purpose, typ string, payload []byte) (string, error)
}

// Caller calls other systems, and only where they may be called.
type Caller interface {
	Call(ctx context.Context, of tenant.ID, to string, h http.Header, body string) (problem *webhook.Problem, wait time.Duration, err error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store    Store
	Requests Requests
	Subjects Subjects
	Tenants  Tenants
	Hasher   Hasher
	Signer   Signer
	Caller   Caller
	Changes  *change.Runner
	Private  bool   // callbacks may go to private networks, and by http
	Domain   string // on which requests are taken
	KeySet   string // where its keys are
	Now      func() time.Time
}

// Service takes requests from other systems.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// Discovery tells what is taken.
type Discovery struct {
	Version     string     `json:"api_version"`
	Identities  []identity `json:"supported_identities"`
	Types       []string   `json:"supported_subject_request_types"`
	Certificate string     `json:"processor_certificate"` // the key set
}

// Discover returns what is taken.
func (s *Service) Discover() *Discovery {
	d := &Discovery{Version: Version, Certificate: s.KeySet}
	for _, kind := range []string{email, phone, customer} {
		d.Identities = append(d.Identities, identity{Type: kind, Format: raw})
	}
	for _, t := range request.Types() {
		d.Types = append(d.Types, typeName(t))
	}
	return d
}

// Taken answers a request that was taken.
type Taken struct {
	Controller string    `json:"controller_id"`
	Expected   time.Time `json:"expected_completion_time"`
	Received   time.Time `json:"received_time"`
	Encoded    string    `json:"encoded_request"`
	ID         string    `json:"subject_request_id"`
	Version    string    `json:"api_version"`
}

// Standing tells where a request stands.
type Standing struct {
	Controller string    `json:"controller_id"`
	Expected   time.Time `json:"expected_completion_time"`
	Callback   string    `json:"status_callback_url,omitempty"`
	ID         string    `json:"subject_request_id"`
	Status     Status    `json:"request_status"`
	Version    string    `json:"api_version"`
}

// Cancellation answers that a request is taken back.
type Cancellation struct {
	Controller string    `json:"controller_id"`
	Received   time.Time `json:"received_time"`
	ID         string    `json:"subject_request_id"`
	Version    string    `json:"api_version"`
}

const hashBody = "openDSR body"

// Take takes a request, once by its id. The answer is the same whether or not the
// tenant knows the person.
func (s *Service) Take(ctx context.Context, body []byte) (*Taken, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	m, err := read(body, s.Now(), func(to string) error { return webhook.CheckURL(to, s.Private) })
	if err != nil {
		return nil, err
	}
	row, err := s.Store.Get(ctx, m.ID)
	if errors.Is(err, ErrNotFound) {
		row, err = s.take(ctx, m, body)
	}
	if err != nil {
		return nil, err
	}
	same, err := s.Hasher.Verify(ctx, [sha256.Size]byte(row.Hash), hashBody, body)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, ErrOther
	}
	r, err := s.Requests.Get(ctx, row.Request)
	if err != nil {
		return nil, err
	}
	return &Taken{string(of), expected(r), row.Received, base64.StdEncoding.EncodeToString(body), row.ID, Version}, nil
}

// take makes a request that isn't there yet.
func (s *Service) take(ctx context.Context, m *message, body []byte) (*Row, error) {
	in, err := s.input(ctx, m)
	if err != nil {
		return nil, err
	}
	// Sent again after a crash, it is the same request still.
	opening := change.WithIdempotency(ctx, change.Idempotency{Key: "openDSR " + m.ID, Input: body})
	r, err := s.Requests.Open(opening, in)
	if errors.Is(err, change.ErrOtherInput) {
		return nil, ErrOther
	}
	if err != nil {
		return nil, err
	}
	hash, err := s.Hasher.Hash(ctx, hashBody, body)
	if err != nil {
		return nil, err
	}
	row := &Row{
		ID: m.ID, Request: r.ID, Hash: hash[:], Received: s.now(), Callbacks: m.Callbacks, Told: make([]Status, len(m.Callbacks)),
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "openDSR.take", Object: r.ID, Quiet: true}, s.Store.Insert(ctx, row)
	})
	if errors.Is(err, ErrOther) { // the same call, side by side
		return s.Store.Get(ctx, m.ID)
	}
	return row, err
}

// input is a message as a request: who is meant, and all that was said of them, for
// handlers to read.
func (s *Service) input(ctx context.Context, m *message) (request.OpenInput, error) {
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return request.OpenInput{}, err
	}
	in := request.OpenInput{Channel: request.ByOpenDSR, ReceivedAt: m.Submitted, Items: []request.ItemInput{{Type: m.Type}}}
	if len(t.Languages) > 0 {
		if base, _ := language.Make(t.Languages[0]).Base(); base.String() == "en" {
			in.Language = new("en")
		}
	}
	if in.Subject, err = s.meant(ctx, m, t.Country); err != nil {
		return in, err
	}
	lines := make([]string, len(m.Persons))
	for i, p := range m.Persons {
		lines[i] = p.Type + ": " + p.Value.Reveal()
		if p.Type == email && in.Contact == nil {
			in.Contact = new(p.Value.Reveal())
		}
	}
	in.Message = new(strings.Join(lines, "\n"))
	return in, nil
}

// meant returns the one person whom all identities that anybody has name, nil when
// it is nobody or not clear who.
func (s *Service) meant(ctx context.Context, m *message, country string) (*string, error) {
	var found []string
	for _, p := range m.Persons {
		key := lookup.Key{Name: lookup.Email}
		n, err := identifier.Email(p.Value)
		switch p.Type {
		case phone:
			key.Name = lookup.Phone
			n, err = identifier.Phone(p.Value, country)
		case customer:
			key.Name, key.Unique = lookup.Reference, true
			n, err = identifier.Reference(p.Value)
		}
		if err != nil {
			return nil, invalid("subject_identities", "an identity isn't what its kind says")
		}
		key.Normaliser, key.Value, key.Before = n.Version, n.Value, n.Before
		all, err := s.Subjects.Find(ctx, lookup.Search{Key: key, Restricted: true}, nil, 2)
		if err != nil {
			return nil, fmt.Errorf("look up who is meant: %w", err)
		}
		for _, x := range all {
			if x.Identity == personal.Clear && !slices.Contains(found, x.ID) {
				found = append(found, x.ID)
			}
		}
	}
	if len(found) != 1 {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	return &found[0], nil
}

// expected is when the answer is due; while the clock stands still, when it would
// be if it didn't.
func expected(r *request.Request) time.Time {
	if due := r.Deadline.DueBefore; due != nil {
		return due.UTC()
	}
	return r.Deadline.BaseBefore.UTC()
}

// find returns what was sent under an id.
func (s *Service) find(ctx context.Context, id string) (*Row, error) {
	if !validID(id) {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, id)
}

// Status tells where a request stands.
func (s *Service) Status(ctx context.Context, id string) (*Standing, error) {
	row, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.standing(ctx, row)
}

func (s *Service) standing(ctx context.Context, row *Row) (*Standing, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.Requests.Get(ctx, row.Request)
	if err != nil {
		return nil, err
	}
	return &Standing{Controller: string(of), Expected: expected(r), ID: row.ID, Status: statusOf(r.State), Version: Version}, nil
}

// Cancel takes a request back, as the sender says that the person has.
func (s *Service) Cancel(ctx context.Context, id string) (*Cancellation, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	statement := "cancelled by OpenDSR"
	if _, err := s.Requests.Withdraw(ctx, request.WithdrawInput{ID: row.Request, Statement: &statement}); err != nil {
		return nil, err
	}
	return &Cancellation{string(of), s.now(), row.ID, Version}, nil
}

// headers returns those that vouch for a body.
func (s *Service) headers(ctx context.Context, body []byte) (http.Header, error) {
	jws, err := s.Signer.SignJWS(ctx, sign.Evidence, signed, body)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(jws, ".")
	h := http.Header{}
	h.Set(HeaderDomain, s.Domain)
	h.Set(HeaderSignature, parts[0]+".."+parts[2])
	return h, nil
}

// Verify reports whether a signature is the platform's, of a body.
func Verify(keys *sign.KeySet, signature string, body []byte) error {
	head, tail, ok := strings.Cut(signature, "..")
	if !ok {
		return sign.ErrForm
	}
	payload, _, err := keys.OpenJWS(sign.Evidence, signed, head+"."+base64.RawURLEncoding.EncodeToString(body)+"."+tail)
	if err == nil && !hmac.Equal(payload, body) {
		err = sign.ErrAltered
	}
	return err
}

// Post is a request.Post by which the senders of requests are told, too.
type Post struct{ request.Post }

// Tell implements request.Post.
func (p Post) Tell(ctx context.Context, r *request.Request, e *request.Event) (request.Told, error) {
	told, err := p.Post.Tell(ctx, r, e)
	if err == nil && r.Channel == request.ByOpenDSR && e.From != "" && statusOf(e.From) != statusOf(e.To) {
		told.Then = append(told.Then, job.Spec{Type: JobCallback, Object: r.ID, MaxAttempts: callbackAttempts, Quiet: true})
	}
	return told, err
}

// callbackAttempts is how often it is tried to tell of a status.
const callbackAttempts = 12

// errUntold reports callbacks that weren't taken: they are tried again.
var errUntold = errs.New(errs.Unavailable, "a callback of OpenDSR wasn't taken")

// Callback tells each address that the sender named where the request stands by
// now, if it doesn't know. It is the work of JobCallback.
func (s *Service) Callback(ctx context.Context, run *job.Run) error {
	row, err := s.Store.ByRequest(ctx, run.Object())
	if errors.Is(err, ErrNotFound) {
		return nil // staff entered it
	}
	if err != nil {
		return err
	}
	now, err := s.standing(ctx, row)
	if err != nil {
		return err
	}
	var failed error
	for i, to := range row.Callbacks {
		if row.Told[i] == now.Status {
			continue
		}
		now.Callback = to
		body, err := json.Marshal(now)
		if err != nil {
			return err
		}
		h, err := s.headers(ctx, body)
		if err != nil {
			return err
		}
		problem, wait, err := s.Caller.Call(ctx, run.Tenant(), to, h, string(body))
		switch {
		case err != nil:
			return err
		case wait > 0:
			return job.Postpone(wait)
		case problem != nil:
			failed = errUntold.Under(string(*problem))
			continue
		}
		if err := s.Store.Tell(ctx, row.ID, i, now.Status); err != nil {
			return err
		}
	}
	return failed
}
