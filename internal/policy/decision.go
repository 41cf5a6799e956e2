// Package policy tells what policies decide and why, so that nobody has to
// guess, and keeps the policies that tenants add.
package policy

import (
	"context"
	"errors"
	"slices"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Engine decides.
type Engine interface {
	authz.Authorizer
	authz.Looker
	Explain(ctx context.Context, as *authz.Principal, do authz.Permission, below string, data []authz.Data) authz.Explanation
}

// Objects tells what policies look at before an object of a kind is shown: the
// object first, then its parts. It fails as reading the object does.
type Objects interface {
	Data(ctx context.Context, objectID string) ([]authz.Data, error)
}

// Datasets tells of datasets.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
}

// Members tells of the people who work for the tenant.
type Members interface {
	Member(ctx context.Context, memberID string) (*tenancy.Member, error)
}

// Answer tells whether somebody may do something, and what to do if not.
type Answer struct {
	Allowed bool
	Policy  string
	Rule    *string // of a refusal
	Reason  string  // in words
}

// Explanation is an Answer with the policies that took part in it.
type Explanation struct {
	Answer

	Action   authz.Permission
	Policies []authz.Applied
}

// ExplainInput asks about a decision.
type ExplainInput struct {
	Action authz.Permission
	On     *string // an object; the tenant when nil
	Member *string // the caller when nil
}

// Permissions returns what the caller may do, to an object if one is named.
func (s *Service) Permissions(ctx context.Context, on *string) ([]authz.Permission, error) {
	if !authz.FromContext(ctx).SignedIn() {
		return nil, nil
	}
	data, err := s.data(ctx, on)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(authz.All(), func(do authz.Permission) bool { return !s.answer(ctx, do, data).Allowed }), nil
}

// Can tells whether the caller may do something, to an object if one is named.
func (s *Service) Can(ctx context.Context, do authz.Permission, on *string) (*Answer, error) {
	var data []authz.Data
	if authz.FromContext(ctx).SignedIn() {
		var err error
		if data, err = s.data(ctx, on); err != nil {
			return nil, err
		}
	}
	a := s.answer(ctx, do, data)
	return &a, nil
}

func (s *Service) answer(ctx context.Context, do authz.Permission, data []authz.Data) Answer {
	d := s.Engine.Can(ctx, do)
	if len(data) == 0 || !d.Allowed {
		return answer(do, d, nil, nil)
	}
	sight := s.Engine.Look(ctx, data[0])
	return answer(do, d, &data[0], &sight)
}

// answer puts a decision about a permission, and one about the object if there is
// one, into words.
func answer(do authz.Permission, d authz.Decision, on *authz.Data, sight *authz.Sight) Answer {
	if !d.Allowed {
		err := d.Err(do)
		if d.Policy == authz.Anonymous {
			err = authz.ErrUnauthenticated
		}
		return refusal(d.Policy, err)
	}
	if on != nil && on.Restricted && changes(do) {
		return refusal("art18.restriction", subject.ErrRestricted)
	}
	if sight != nil && !sight.Clear() {
		return refusal(sight.Policy, sight.Err())
	}
	return Answer{Allowed: true, Policy: d.Policy, Reason: "permitted by policy " + d.Policy}
}

func refusal(policy string, why error) Answer {
	a := Answer{Policy: policy, Reason: why.Error()}
	if e, ok := errors.AsType[*errs.Error](why); ok && e.Rule != "" {
		a.Rule = &e.Rule
	}
	return a
}

// changes reports whether a permission is to change a person's data, which
// nobody may while its processing is restricted.
func changes(do authz.Permission) bool {
	return slices.Contains([]authz.Permission{authz.SubjectWrite, authz.RecordWrite, authz.RecordDelete, authz.FileWrite}, do)
}

// Explain tells how a decision about the caller, or with DECISION_EXPLAIN about
// a member, comes out and by which policies. A member is taken to have just
// signed in with two factors, and to state no purpose.
func (s *Service) Explain(ctx context.Context, in ExplainInput) (*Explanation, error) {
	caller := authz.FromContext(ctx)
	if !caller.SignedIn() {
		return nil, authz.Refusal(ctx)
	}
	var as *authz.Principal
	if in.Member != nil && *in.Member != caller.ID {
		asked := *in.Member
		if id.Check(id.Member, caller.Tenant, asked) != nil {
			asked = "" // any text may come in, and the log keeps ids only
		}
		permitted, err := s.Recorder.Permit(ctx, s.Engine, authz.DecisionExplain, "explainDecision", asked)
		if err != nil {
			return nil, err
		}
		ctx = permitted
		if as, err = s.principal(ctx, *in.Member); err != nil {
			return nil, err
		}
	}
	// What the caller must not know of isn't explained either.
	data, err := s.data(ctx, in.On)
	if err != nil {
		return nil, err
	}
	x := s.Engine.Explain(ctx, as, in.Action, "", data)
	a := answer(in.Action, x.Decision, nil, nil)
	if len(data) > 0 {
		a = answer(in.Action, x.Decision, &data[0], &x.Sights[0])
	}
	return &Explanation{Answer: a, Action: in.Action, Policies: x.Policies}, nil
}

func (s *Service) principal(ctx context.Context, memberID string) (*authz.Principal, error) {
	m, err := s.Members.Member(ctx, memberID)
	if err != nil {
		return nil, errs.At(err, "member")
	}
	if m.State != tenancy.Joined {
		return nil, errs.New(errs.Precondition, "this person isn't a member now, and may do nothing").Under("member.active").At("member")
	}
	p := &authz.Principal{
		Kind: authz.KindMember, ID: m.ID, Tenant: m.Tenant, Role: m.Role, Clearances: m.Clearances, Purposes: m.Purposes,
		AAL: authz.AAL2, AuthenticatedAt: s.Now(),
	}
	if m.Role == authz.RoleOperator {
		p.Kind, p.Home = authz.KindOperator, m.Tenant
	}
	return p, nil
}

// data returns what policies look at of an object. Those that are no person's
// data have nothing: their permission decides alone.
func (s *Service) data(ctx context.Context, on *string) ([]authz.Data, error) {
	if on == nil {
		return nil, nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	switch kind := id.TypeOf(*on); kind {
	case id.Subject:
		return s.Subjects.Data(ctx, *on)
	case id.Record:
		return s.Records.Data(ctx, *on)
	case id.File:
		return s.Files.Data(ctx, *on)
	case id.Dataset:
		d, err := s.Datasets.Get(ctx, *on)
		if err != nil {
			return nil, err
		}
		data := []authz.Data{d.Data()}
		for i := range d.Fields {
			data = append(data, d.FieldData(&d.Fields[i]))
		}
		return data, nil
	default:
		return nil, id.Check(kind, of, *on)
	}
}
