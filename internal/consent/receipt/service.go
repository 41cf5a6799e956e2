package receipt

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
)

// MaxEvents is after how many events a consent has no more receipts: each holds
// all events before it.
const MaxEvents = 200

// Sentinels of consents without a receipt.
var (
	ErrNone   = errs.New(errs.NotFound, "nothing had happened to this consent by then").At("at")
	ErrProof  = errs.New(errs.Precondition, "a receipt shows the proof of a consent, and that can't be shown to you").Under("consent.receipt")
	ErrErased = errs.New(errs.Erased, "the proof of this consent is erased, and there is no receipt without it")
	ErrEvents = errs.New(errs.Limited, "a receipt holds at most %d events: ask for an earlier one with at", MaxEvents)
)

// Consents shows consents, and notes that it does.
type Consents interface {
	// Full returns a consent with all its events, in their order, as far as the
	// caller may see them.
	Full(ctx context.Context, consentID string) (*consent.Consent, []*consent.Event, error)
}

// Purposes knows what was consented to.
type Purposes interface {
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
	Notice(ctx context.Context, noticeID string) (*purpose.Notice, error)
}

// Signer signs in the platform's name: see sign.Ring.
type Signer interface {
	SignJWS(ctx context.Context, p sign.Purpose, typ string, payload []byte) (string, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Consents Consents
	Purposes Purposes
	Signer   Signer
}

// Service makes receipts.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// Issued is a receipt that was made.
type Issued struct {
	Document  string // the receipt itself
	Sequence  int    // from 1, of the receipts of its consent
	State     consent.State
	CreatedAt time.Time

	payloads [][]byte // of all up to it
}

// MediaType returns that of the document, and of the chain.
func (*Issued) MediaType() string { return MediaType }

// Issue returns the receipt of a consent after its last event, or after the last
// one up to an instant.
func (s *Service) Issue(ctx context.Context, consentID string, at *time.Time) (*Issued, error) {
	c, events, err := s.Consents.Full(ctx, consentID)
	if err != nil {
		return nil, err
	}
	if at != nil {
		events = slices.DeleteFunc(events, func(e *consent.Event) bool { return e.At.After(*at) })
	}
	if len(events) == 0 {
		return nil, ErrNone
	}
	if len(events) > MaxEvents {
		return nil, ErrEvents
	}
	for _, e := range events {
		switch e.EvidenceState {
		case personal.Clear:
		case personal.Erased:
			return nil, ErrErased
		default:
			return nil, ErrProof
		}
	}
	source := Source{Consent: c, Events: events}
	if source.Purpose, err = s.Purposes.ByID(ctx, c.Purpose.ID); err != nil {
		return nil, err
	}
	if source.Notice, err = s.Purposes.Notice(ctx, c.NoticeID); err != nil {
		return nil, err
	}
	last := events[len(events)-1]
	issued := &Issued{Sequence: len(events), State: last.State, CreatedAt: last.At}
	if issued.payloads, err = Documents(source); err != nil {
		return nil, err
	}
	issued.Document, err = s.Signer.SignJWS(ctx, sign.Receipt, Type, issued.payloads[len(events)-1])
	return issued, err
}

// Chain returns a receipt with all before it, one in each line, the oldest first.
func (s *Service) Chain(ctx context.Context, issued *Issued) (string, error) {
	var b strings.Builder
	for _, p := range issued.payloads {
		signed, err := s.Signer.SignJWS(ctx, sign.Receipt, Type, p)
		if err != nil {
			return "", err
		}
		b.WriteString(signed + "\n")
	}
	return b.String(), nil
}
