package request

import (
	"context"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

const maxContact = 200 // characters

// UnknownInput is a request of somebody who hasn't shown who they are.
type UnknownInput struct {
	Language *string
	Items    []ItemInput
	Message  *string
	Contact  string // where an answer reaches them: an address for mail, a phone number, a postal address
}

// Filed is what somebody is told of a request of theirs that nobody has looked at:
// the same of everybody, whether or not the tenant knows them.
type Filed struct {
	ID       string
	Number   string
	Deadline Deadline
}

// OpenUnknown makes a request in the privacy centre of somebody who hasn't signed
// in, once per Idempotency-Key. The time for an answer runs, as GDPR Art. 12(3)
// demands; who asks is for a handler to settle, or for the person themselves by
// Claim. Nobody is looked up, so that nothing tells who is known. The caller
// bounds how often it is called.
func (s *Service) OpenUnknown(ctx context.Context, in UnknownInput) (*Filed, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	contact := given(&in.Contact)
	if n := utf8.RuneCountInString(contact.Reveal()); n == 0 || n > maxContact {
		return nil, errs.New(errs.Invalid, "say where an answer reaches you, in up to %d characters", maxContact).At("contact")
	}
	// In nobody's name, whatever other credential the caller holds.
	ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSubject, Tenant: of})
	r := &Request{Channel: ByPortal, ReceivedAt: s.now(), Message: given(in.Message), Contact: contact}
	requestID, err := s.insert(ctx, r, in.Language, in.Items, nil)
	if err != nil {
		return nil, err
	}
	stored, err := s.Store.Get(ctx, requestID)
	if err != nil {
		return nil, err
	}
	return &Filed{stored.ID, stored.Number, stored.Deadline}, nil
}

// Claim settles that a request made by OpenUnknown is that of the person who has
// signed in: they have shown to the caller that it was them who made it. Work on
// it begins. The answer goes to the address on file, and not to one that was
// given before it was known who asks.
func (s *Service) Claim(ctx context.Context, requestID string) (*Request, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindSubject || p.Subject == "" || id.Check(id.Request, p.Tenant, requestID) != nil {
		return nil, ErrNotFound
	}
	return s.moveIn(ctx, requestID, "request.claim", nil, func(ctx context.Context, r *Request) ([]Event, []job.Spec, error) {
		if r.Channel != ByPortal || r.Subject != "" || r.OpenedBy != "" {
			return nil, nil, ErrNotFound
		}
		a, proof := s.act(ctx, BySubject, nil), ownProof(p)
		r.Contact = personal.Text{}
		settle := r.Begin
		if r.State == AwaitingIdentity {
			settle = r.Identify
		}
		e, err := settle(a, proof)
		return []Event{e}, nil, err
	})
}

// ownProof is that of a person who has signed in.
func ownProof(p authz.Principal) Proof {
	if p.Identity != "" {
		return Proof{Method: EIDSession, Assurance: Substantial, Subject: p.Subject}
	}
	return Proof{Method: ExistingCredential, Assurance: Low, Subject: p.Subject}
}
