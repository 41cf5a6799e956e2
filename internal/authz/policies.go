package authz

import (
	"embed"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed policies
var files embed.FS

// Entity types of the schema.
const (
	typeAction  types.EntityType = "Action"
	typeRole    types.EntityType = "Role"
	typeTenant  types.EntityType = "Tenant"
	typeSubject types.EntityType = "Subject"
	typeData    types.EntityType = "Data"
)

// The actions on data, beside the permissions.
const (
	actionKnow    = "data.know"
	actionGlimpse = "data.glimpse"
	actionSee     = "data.see"
)

// policy is a Cedar policy with its name.
type policy struct {
	name   string
	cedar  *cedar.Policy
	rule   string
	advice string
	reason Reason
	tenant bool   // of a tenant, not of the platform
	source string // in Cedar
}

// policies is a list of policies, in the order in which they are named as the
// reason of a decision.
type policies []*policy

// All implements cedar.PolicyIterator.
func (p policies) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, one := range p {
			if !yield(cedar.PolicyID(one.name), one.cedar) {
				return
			}
		}
	}
}

func (p policies) named(id cedar.PolicyID) *policy {
	i := slices.IndexFunc(p, func(one *policy) bool { return one.name == string(id) })
	return p[i]
}

// who is what the scope of a policy can tell principals apart by.
type who struct {
	kind types.EntityType
	role Role
}

// whoAll returns all there are.
func whoAll() []who {
	all := []who{{"Machine", ""}, {"DataSubject", ""}, {"System", ""}, {"Operator", RoleOperator}}
	for _, r := range []Role{RoleOwner, RoleCaseHandler, RoleDPO, RoleApprover, RoleAuditor, RoleDeveloper, RoleOperator} {
		all = append(all, who{"Member", r})
	}
	return all
}

// part is what can matter to one kind of principal and one action.
type part struct {
	permits, forbids policies
}

type partKey struct {
	who
	action types.String
}

// set is policies, those that can matter found by who asks for what.
type set struct {
	parts map[partKey]part
}

// loose returns p without what matches has looked at in its scope, which need
// not be asked again for each decision.
func (p *policy) loose() *policy {
	tree := *(*ast.Policy)(p.cedar.AST())
	tree.Action = ast.ScopeTypeAll{}
	switch s := tree.Principal.(type) {
	case ast.ScopeTypeIs:
		tree.Principal = ast.ScopeTypeAll{}
	case ast.ScopeTypeIn:
		if s.Entity.Type == typeRole {
			tree.Principal = ast.ScopeTypeAll{}
		}
	case ast.ScopeTypeIsIn:
		if s.Entity.Type == typeRole {
			tree.Principal = ast.ScopeTypeAll{}
		}
	default:
	}
	looser := *p
	looser.cedar = cedar.NewPolicyFromAST((*cedarast.Policy)(&tree))
	return &looser
}

func newSet(all policies) *set {
	s := &set{parts: map[partKey]part{}}
	loose := make(map[*policy]*policy, len(all))
	for _, p := range all {
		loose[p] = p.loose()
	}
	for _, w := range whoAll() {
		for _, action := range actions() {
			var matter part
			for _, p := range all {
				tree := (*ast.Policy)(p.cedar.AST())
				switch {
				case !matches(tree.Principal, w.in) || !matches(tree.Action, func(_ types.EntityType, e types.EntityUID) bool { return e.ID == action }):
				case tree.Effect == ast.EffectPermit:
					matter.permits = append(matter.permits, loose[p])
				default:
					matter.forbids = append(matter.forbids, loose[p])
				}
			}
			s.parts[partKey{w, action}] = matter
		}
	}
	return s
}

func actions() []types.String {
	names := []types.String{actionKnow, actionGlimpse, actionSee}
	for _, p := range All() {
		names = append(names, types.String(p))
	}
	return names
}

// in reports whether w is of a type, or is or has a parent; what isn't asked is zero.
func (w who) in(kind types.EntityType, parent types.EntityUID) bool {
	isKind := kind == "" || kind == w.kind
	isRole := parent.Type != typeRole || parent.ID == types.String(w.role)
	return isKind && isRole
}

// matches reports whether a scope can match at all. Of entities that can't be
// told here, such as one member, it can.
func matches(scope ast.IsScopeNode, in func(types.EntityType, types.EntityUID) bool) bool {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return in("", s.Entity)
	case ast.ScopeTypeIn:
		return in("", s.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(s.Entities, func(e types.EntityUID) bool { return in("", e) })
	case ast.ScopeTypeIs:
		return in(s.Type, types.EntityUID{})
	case ast.ScopeTypeIsIn:
		return in(s.Type, s.Entity)
	default:
		return true
	}
}

// parse reads policies. Each has a name by its annotation @id.
func parse(file string, document []byte) (policies, error) {
	list, err := cedar.NewPolicyListFromBytes(file, document)
	if err != nil {
		return nil, err
	}
	read := make(policies, len(list))
	for i, p := range list {
		notes := p.Annotations()
		read[i] = &policy{
			name: string(notes["id"]), cedar: p, source: string(p.MarshalCedar()), rule: string(notes["rule"]), advice: string(notes["advice"]), reason: Reason(notes["reason"]),
		}
	}
	return read, nil
}

// platform reads the policies of the platform, in the order of their files.
func platform() (policies, error) {
	names, err := fs.Glob(files, "policies/*.cedar")
	if err != nil {
		return nil, err
	}
	var all policies
	for _, name := range names {
		document, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		read, err := parse(name, document)
		if err != nil {
			return nil, fmt.Errorf("read policies %s: %w", name, err)
		}
		for _, p := range read {
			if p.name == "" || slices.ContainsFunc(all, func(o *policy) bool { return o.name == p.name }) {
				return nil, fmt.Errorf("read policies %s: a policy needs an @id of its own, unlike %q", name, p.name)
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// Language returns the Cedar schema of what policies can speak of.
func Language() (string, error) {
	document, err := files.ReadFile("policies/vogter.cedarschema")
	return string(document), err
}

func language() (*resolved.Schema, error) {
	document, err := Language()
	if err != nil {
		return nil, err
	}
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(document)); err != nil {
		return nil, fmt.Errorf("read policy schema: %w", err)
	}
	return s.Resolve()
}

// check says what is wrong with policies: an entity, action or attribute that
// there isn't, or a comparison of what can't be compared.
func check(all policies) error {
	s, err := language()
	if err != nil {
		return err
	}
	v := validate.New(s)
	for _, p := range all {
		if err := v.Policy(p.name, (*ast.Policy)(p.cedar.AST())); err != nil {
			return err
		}
	}
	return nil
}
