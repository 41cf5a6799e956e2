// Package document keeps the GraphQL documents that a tenant has registered: its
// portals call with the hash of a document instead of its text, and a machine
// client can be bound to them, so that a stolen key asks for nothing else.
package document

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Limits of a tenant's documents.
const (
	Max     = 1000
	maxCall = 100      // that are registered at once
	maxText = 64 << 10 // bytes of one
	maxName = 200
)

// A process remembers up to remembered texts, each for at most believed: a
// document that another one has unregistered works there for as long.
const (
	remembered = 1000
	believed   = 30 * time.Second
)

const idPrefix = "sha256:"

// Document is a registered document without its text.
type Document struct {
	ID        string // "sha256:" and the hash of its text, in lower-case hex
	Name      string
	CreatedAt time.Time
	CreatedBy string // id of who registered it
}

// Input is a document to register.
type Input struct {
	Name string
	Text string
}

// RegisterInput asks for documents to be registered.
type RegisterInput struct{ Documents []Input }

// UnregisterInput asks for the end of a document.
type UnregisterInput struct{ ID string }

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such registered document")
	ErrMany     = errs.New(errs.Invalid, "1 to %d documents are registered at once", maxCall).At("documents")
	ErrName     = errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("name")
	ErrText     = errs.New(errs.Invalid, "a document has 1 to %d bytes", maxText).At("text")
	// ErrLiteral: what a caller writes into a text could be personal data, which is
	// kept encrypted only.
	ErrLiteral = errs.New(errs.Invalid, "a registered document has no strings and no comments: pass values as variables").At("text")
	ErrFull    = errs.New(errs.Limited, "a tenant has at most %d registered documents: unregister those that no portal uses", Max)
	// ErrOnly reports a client that sent a text although it is bound.
	ErrOnly = errs.New(errs.Forbidden, "this client calls by registered documents only: send documentId instead of query").Under("documents.only")
)

// Store keeps documents.
type Store interface {
	// Text returns the text of a document, or fails with ErrNotFound.
	Text(ctx context.Context, docID string) (string, error)
	// List returns up to limit documents, the newest first.
	List(ctx context.Context, limit int) ([]*Document, error)
	Insert(ctx context.Context, d *Document, text string) error
	// Delete fails with ErrNotFound when there is none.
	Delete(ctx context.Context, docID string) error
}

// Config is what a Service is made of.
type Config struct {
	Store   Store
	Changes *change.Runner
	// Check fails if a text isn't a document that the API would carry out.
	Check func(text string) error
	Now   func() time.Time
}

// Service keeps a tenant's documents.
type Service struct {
	Config

	texts *expirable.LRU[key, string]
}

type key struct {
	of tenant.ID
	id string
}

// NewService returns a Service.
func NewService(c Config) *Service {
	return &Service{c, expirable.NewLRU[key, string](remembered, nil, believed)}
}

// ID returns the id of a document with a text.
func ID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return idPrefix + hex.EncodeToString(sum[:])
}

// Register registers documents that the tenant doesn't have yet; those that it
// has stay as they are, so that a call can be repeated. None is registered if one
// of them can't be.
func (s *Service) Register(ctx context.Context, in RegisterInput) ([]*Document, error) {
	if len(in.Documents) == 0 || len(in.Documents) > maxCall {
		return nil, ErrMany
	}
	for i, d := range in.Documents {
		if err := s.check(d); err != nil {
			return nil, errs.At(errs.At(err, strconv.Itoa(i)), "documents")
		}
	}
	documents := make([]*Document, len(in.Documents))
	var fresh []int
	have := map[string]*Document{}
	listed, err := s.Store.List(ctx, Max)
	if err != nil {
		return nil, err
	}
	for _, d := range listed {
		have[d.ID] = d
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	for i, d := range in.Documents {
		docID := ID(d.Text)
		if have[docID] == nil {
			have[docID] = &Document{ID: docID, Name: strings.TrimSpace(d.Name), CreatedAt: now, CreatedBy: authz.FromContext(ctx).ID}
			fresh = append(fresh, i)
		}
		documents[i] = have[docID]
	}
	if len(have) > Max {
		return nil, ErrFull
	}
	for _, i := range fresh {
		if err := s.insert(ctx, documents[i], in.Documents[i].Text); err != nil {
			return nil, err
		}
	}
	return documents, nil
}

func (s *Service) insert(ctx context.Context, d *Document, text string) error {
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "document.register", Object: d.ID}, s.Store.Insert(ctx, d, text)
	})
}

func (s *Service) check(d Input) error {
	switch name := strings.TrimSpace(d.Name); {
	case name == "" || utf8.RuneCountInString(name) > maxName:
		return ErrName
	case d.Text == "" || len(d.Text) > maxText:
		return ErrText
	case strings.ContainsAny(d.Text, `"#`):
		return ErrLiteral
	}
	return errs.At(s.Check(d.Text), "text")
}

// List returns the tenant's documents, the newest first.
func (s *Service) List(ctx context.Context) ([]*Document, error) { return s.Store.List(ctx, Max) }

// Unregister ends a document, for all calls within 30 s, or fails with ErrNotFound.
func (s *Service) Unregister(ctx context.Context, in UnregisterInput) (string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if !valid(in.ID) {
		return "", ErrNotFound
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "document.unregister", Object: in.ID}, s.Store.Delete(ctx, in.ID)
	})
	if err != nil {
		return "", err
	}
	s.texts.Remove(key{of, in.ID})
	return in.ID, nil
}

// Text returns the text of a document that the tenant in ctx has registered, or
// ErrNotFound.
func (s *Service) Text(ctx context.Context, docID string) (string, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return "", err
	}
	if !valid(docID) {
		return "", ErrNotFound
	}
	if text, ok := s.texts.Get(key{of, docID}); ok {
		return text, nil
	}
	text, err := s.Store.Text(ctx, docID)
	if err != nil {
		return "", err
	}
	s.texts.Add(key{of, docID}, text)
	return text, nil
}

func valid(docID string) bool {
	sum, ok := strings.CutPrefix(docID, idPrefix)
	return ok && len(sum) == 2*sha256.Size && strings.Trim(sum, "0123456789abcdef") == ""
}
