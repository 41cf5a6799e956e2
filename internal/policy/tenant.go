package policy

import (
	"context"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

// State is where a tenant's policy stands.
type State string

// The states.
const (
	Proposed State = "PROPOSED" // waits for another person to approve it
	Active   State = "ACTIVE"
	Retired  State = "RETIRED" // by a person, or by a newer version
)

const (
	// Max is how many policies of a tenant are proposed or active at once.
	Max            = 50
	maxDescription = 1000
)

// Policy is a version of a policy that a tenant adds to the platform's. It
// forbids something.
type Policy struct {
	ID          string
	Name        string // the same in all versions
	Version     int64  // of the policy with this name
	Description string
	Source      string // in Cedar
	State       State
	ProposedBy  string
	ProposedAt  time.Time
	ApprovedBy  *string
	ApprovedAt  *time.Time
	RetiredBy   *string
	RetiredAt   *time.Time
}

// ProposeInput asks for a policy, or for the next version of the one with the name.
type ProposeInput struct {
	Name        string
	Description string
	Source      string
}

// ApproveInput lets a proposed policy take effect.
type ApproveInput struct{ ID string }

// RetireInput ends a policy.
type RetireInput struct{ ID string }

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such policy")
	ErrFourEyes = errs.New(errs.Forbidden, "a policy is approved, and one that is active retired, by another person than the one who proposed it").Under("policy.fourEyes")
	ErrState    = errs.New(errs.Precondition, "the policy isn't waiting for this any more").Under("policy.state")
	ErrVersion  = errs.New(errs.Conflict, "another version of this policy was proposed at the same time: propose it again")
	ErrTooMany  = errs.New(errs.Limited, "a tenant has at most %d policies that are proposed or active", Max)
)

// Store keeps the policies. Insert and Move work in the transaction of a change.
type Store interface {
	Get(ctx context.Context, policyID string) (*Policy, error)
	// List returns up to limit policies after a position, the newest first.
	List(ctx context.Context, after *page.Position, limit int) ([]*Policy, error)
	// Living returns all that are proposed or active.
	Living(ctx context.Context) ([]*Policy, error)
	// Latest returns the highest version of a name, 0 if there is none.
	Latest(ctx context.Context, name string) (int64, error)
	// Insert fails with ErrVersion.
	Insert(ctx context.Context, p *Policy) error
	// Move stores p, if it is in the state from, or fails with ErrState.
	Move(ctx context.Context, p *Policy, from State) error
}

// Connection is a page of policies.
type Connection = page.Connection[*Policy]

// Edge is a policy in a page of them.
type Edge = page.Edge[*Policy]

// List returns a page of the tenant's policies in all versions, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	at := func(p *Policy) page.Position { return page.Position{CreatedAt: p.ProposedAt, ID: p.ID} }
	return page.Read(ctx, page.List{Of: id.Policy}, r, at, s.Store.List)
}

// Get returns a policy, or ErrNotFound.
func (s *Service) Get(ctx context.Context, policyID string) (*Policy, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Policy, of, policyID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, policyID)
}

// Propose notes a policy that takes effect once another person approves it. It
// obeys the caller's Idempotency-Key.
func (s *Service) Propose(ctx context.Context, in ProposeInput) (*Policy, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	p := &Policy{
		ID: id.New(id.Policy, of), Name: in.Name, Description: strings.TrimSpace(in.Description), Source: in.Source, State: Proposed,
		ProposedBy: authz.FromContext(ctx).ID, ProposedAt: s.at(),
	}
	switch {
	case !regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`).MatchString(p.Name):
		return nil, errs.New(errs.Invalid, "a name is a small letter and up to 39 small letters, digits or hyphens").At("name")
	case p.Description == "" || utf8.RuneCountInString(p.Description) > maxDescription:
		return nil, errs.New(errs.Invalid, "a description has 1 to %d characters", maxDescription).At("description")
	}
	if _, err := authz.NewSet(p.source()); err != nil {
		return nil, errs.At(err, "source")
	}
	policyID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		living, err := s.Store.Living(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if len(living) >= Max {
			return change.Change{}, ErrTooMany
		}
		latest, err := s.Store.Latest(ctx, p.Name)
		if err != nil {
			return change.Change{}, err
		}
		p.Version = latest + 1
		return change.Change{Action: "policy.propose", Object: p.ID}, s.Store.Insert(ctx, p)
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, policyID)
}

// source is the policy as the engine reads it, under the name that decisions are
// recorded by: "tenant.no-exports.2".
func (p *Policy) source() authz.Source {
	return authz.Source{Name: "tenant." + p.Name + "." + number(p.Version), Cedar: p.Source}
}

// Approve lets a proposed policy take effect, in place of an earlier version of
// it: at once here, within Fresh on every other server.
func (s *Service) Approve(ctx context.Context, in ApproveInput) (*Policy, error) {
	return s.move(ctx, in.ID, "policy.approve", func(ctx context.Context, p *Policy, by string, at time.Time) (State, error) {
		if p.State != Proposed {
			return "", ErrState
		}
		// What could be said when it was proposed may be gone since.
		if _, err := authz.NewSet(p.source()); err != nil {
			return "", err
		}
		living, err := s.Store.Living(ctx)
		if err != nil {
			return "", err
		}
		for _, other := range living {
			if other.Name == p.Name && other.State == Active {
				other.State, other.RetiredBy, other.RetiredAt = Retired, &by, &at
				if err := s.Store.Move(ctx, other, Active); err != nil {
					return "", err
				}
			}
		}
		p.State, p.ApprovedBy, p.ApprovedAt = Active, &by, &at
		return Proposed, nil
	})
}

// Retire ends a policy that is proposed or active; its proposer may take a
// proposal back.
func (s *Service) Retire(ctx context.Context, in RetireInput) (*Policy, error) {
	return s.move(ctx, in.ID, "policy.retire", func(_ context.Context, p *Policy, by string, at time.Time) (State, error) {
		from := p.State
		if from == Retired {
			return "", ErrState
		}
		p.State, p.RetiredBy, p.RetiredAt = Retired, &by, &at
		return from, nil
	})
}

func (s *Service) move(
	ctx context.Context, policyID, action string,
	decide func(ctx context.Context, p *Policy, by string, at time.Time) (from State, err error),
) (*Policy, error) {
	if _, err := s.Get(ctx, policyID); err != nil {
		return nil, err
	}
	var p *Policy
	by, at := authz.FromContext(ctx).ID, s.at()
	err := s.Changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if p, err = s.Store.Get(ctx, policyID); err != nil {
			return c, err
		}
		was := p.State
		from, err := decide(ctx, p, by, at)
		if err != nil {
			return c, err
		}
		if p.ProposedBy == by && (was != Proposed || p.State != Retired) {
			return c, ErrFourEyes
		}
		return change.Change{Action: action, Object: p.ID}, s.Store.Move(ctx, p, from)
	})
	if err != nil {
		return nil, err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	s.Loader.forget(of)
	return p, nil
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }
