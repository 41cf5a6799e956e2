package portal

import (
	"context"
	"errors"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/network"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/ratelimit"
	"github.com/vogter/vogter/internal/subject"
)

// EID says how persons sign in by a national eID. The zero EID is off.
type EID struct {
	// Identities is the identity server.
	Identities interface {
		// NationalID returns the number that an identity carries at claim, "" for none.
		NationalID(ctx context.Context, identity, claim string) (personal.Text, error)
	}
	Claim   string // where it is
	Country string // whose number it is, ISO 3166-1 alpha-2
}

// Sentinels of a sign-in by eID.
var (
	ErrNoEID      = errs.New(errs.Precondition, "sign-in by eID isn't set up here").Under("portal.eid")
	ErrNoIdentity = errs.New(errs.Unauthenticated, "sign in by your eID first, and send the session's token or cookie")
	// ErrNobody tells a person who has shown who they are that the tenant doesn't know them.
	ErrNobody = errs.New(errs.NotFound, "nothing is kept here under the number of your eID")
)

// SignInWithIdentity begins a session of the person whose national identification
// number the calling session's identity carries.
func (s *Service) SignInWithIdentity(ctx context.Context, in IdentityInput) (*Grant, error) {
	if s.EID.Claim == "" {
		return nil, ErrNoEID
	}
	identity := authz.FromContext(ctx).Identity
	if identity == "" {
		return nil, ErrNoIdentity
	}
	if err := s.Limits.Take(ctx, ratelimit.CodeNetwork.From(network.AddrFrom(ctx))...); err != nil {
		return nil, err
	}
	ctx, _, err := s.bySlug(ctx, in.TenantSlug)
	if err != nil {
		return nil, err
	}
	found, err := s.byIdentity(ctx, identity)
	if err != nil {
		return nil, err
	}
	if found != nil {
		g, err := s.begin(ctx, ByEID, found.ID, func(context.Context) error { return nil })
		if !errors.Is(err, ErrCode) { // that of who is being erased
			return g, err
		}
	}
	if err := s.Recorder.Record(ctx, audit.Event{Action: "subject.signIn", Outcome: audit.Failed}); err != nil {
		return nil, err
	}
	return nil, ErrNobody
}

// byIdentity returns the person with the number that an identity carries, nil if
// there is none.
func (s *Service) byIdentity(ctx context.Context, identity string) (*subject.Subject, error) {
	number, err := s.EID.Identities.NationalID(ctx, identity, s.EID.Claim)
	if err != nil || number.IsZero() {
		return nil, err
	}
	n, err := identifier.NationalID(number, s.EID.Country, "")
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // what is no number is nobody's
	}
	key := lookup.Key{Name: lookup.NationalID, Unique: true, Normaliser: n.Version, Value: n.Value, Before: n.Before}
	found, err := s.Subjects.Find(ctx, lookup.Search{Key: key, Restricted: true}, nil, 1)
	if err != nil || len(found) == 0 || found[0].State.Gone() {
		return nil, err
	}
	return found[0], nil
}
