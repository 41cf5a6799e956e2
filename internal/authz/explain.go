package authz

import (
	"context"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
)

// Applied is a policy that took part in a decision.
type Applied struct {
	Name   string
	Effect Effect
	Tenant bool   // of the tenant, not of the platform
	Source string // in Cedar
}

// Effect is what a policy does to what it matches.
type Effect string

// The effects.
const (
	EffectPermit Effect = "PERMIT"
	EffectForbid Effect = "FORBID"
)

// Explanation is a decision with all policies that took part in it: those that
// permit, and those that forbid what is permitted.
type Explanation struct {
	Decision

	Policies []Applied
	Sights   []Sight // of the data asked about, in its order
}

// Explain decides anew whether a principal, the caller in ctx when nil, may do
// something, and how much of some data it may see.
func (e *Engine) Explain(ctx context.Context, as *Principal, do Permission, below string, data []Data) Explanation {
	var c *caller
	if as != nil {
		c = &caller{*as, &decided{}}
	} else if c = callerFrom(ctx); c != nil {
		c = &caller{c.Principal, &decided{}}
	}
	if c == nil || !c.SignedIn() {
		return Explanation{Decision: Decision{Policy: Anonymous}}
	}
	if e.introduce(ctx, c); c.decided.lost != nil {
		return Explanation{Decision: Decision{Policy: Unavailable, lost: c.decided.lost}}
	}
	permits, forbids := e.permission(c, do, below)
	x := Explanation{Decision: decision(permits, forbids)}
	seen := map[string]bool{}
	note := func(took policies, effect Effect) {
		for _, p := range took {
			if !seen[p.name] {
				seen[p.name] = true
				x.Policies = append(x.Policies, Applied{p.name, effect, p.tenant, p.source})
			}
		}
	}
	note(permits, EffectPermit)
	note(forbids, EffectForbid)
	for _, d := range data {
		own := d.key(&c.Principal).own
		x.Sights = append(x.Sights, e.look(c, d, own))
		permits, forbids := e.reasons(c, actionSee, false, resource(d, own))
		note(permits, EffectPermit)
		note(forbids, EffectForbid)
	}
	return x
}

// permission returns what decides about a permission, below a person unless that is "".
func (e *Engine) permission(c *caller, do Permission, below string) (permits, forbids policies) {
	on := types.NewEntityUID(typeTenant, types.String(c.Tenant))
	if below != "" && c.Kind == KindSubject {
		on = types.NewEntityUID(typeSubject, types.String(below))
	}
	return e.reasons(c, types.String(do), slices.Contains(c.Grants, do), types.Entity{UID: on})
}
