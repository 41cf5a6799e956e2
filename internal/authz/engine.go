package authz

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/vogter/vogter/internal/personal"
)

// Config is what an Engine is made of.
type Config struct {
	// Now is the clock by which the age of a sign-in is told.
	Now func() time.Time
	// StepUp is the level that sensitive actions ask people for: AAL2, or AAL1 where
	// nobody has a second factor. Their sign-in has to be a fresh one at any level.
	StepUp AAL
	// Tenants has the policies that tenants add; nil for none.
	Tenants Narrowing
}

// Engine is the Authorizer by policies.
type Engine struct {
	now      func() time.Time
	stepUp   AAL
	tenants  Narrowing
	platform *set
}

// New returns an Engine. It fails when the policies of the platform are at fault.
func New(c Config) (*Engine, error) {
	all, err := platform()
	if err != nil {
		return nil, err
	}
	if err := check(all); err != nil {
		return nil, fmt.Errorf("check policies: %w", err)
	}
	return &Engine{now: c.Now, stepUp: c.StepUp, tenants: c.Tenants, platform: newSet(all)}, nil
}

// decided remembers the decisions of one request.
type decided struct {
	mu   sync.Mutex
	made bool
	who  who
	self types.Entity
	own  *set  // the tenant's policies; nil for none
	lost error // why they can't be told

	call, granted types.Record // the context, and that of what a machine was granted
	can           map[canKey]Decision
	see           map[dataKey]Sight
}

type canKey struct {
	do      Permission
	subject string
}

// Can implements Authorizer.
func (e *Engine) Can(ctx context.Context, do Permission) Decision { return e.CanBelow(ctx, do, "") }

// CanBelow is Can for what hangs below a person, by id: a data subject may reach
// there what is refused elsewhere.
func (e *Engine) CanBelow(ctx context.Context, do Permission, subjectID string) Decision {
	c := callerFrom(ctx)
	if c == nil || !c.SignedIn() {
		return Decision{Policy: Anonymous}
	}
	c.decided.mu.Lock()
	defer c.decided.mu.Unlock()
	return e.can(ctx, c, do, subjectID)
}

func (e *Engine) can(ctx context.Context, c *caller, do Permission, subjectID string) Decision {
	if c.Kind != KindSubject {
		subjectID = ""
	}
	e.introduce(ctx, c)
	if c.decided.lost != nil {
		return Decision{Policy: Unavailable, lost: c.decided.lost}
	}
	key := canKey{do, subjectID}
	d, ok := c.decided.can[key]
	if !ok {
		d = decision(e.permission(c, do, subjectID))
		c.decided.can[key] = d
	}
	return d
}

// decision puts the policies that matched into one answer.
func decision(permits, forbids policies) Decision {
	switch {
	case len(permits) == 0 && len(forbids) == 0:
		return Decision{Policy: NoPolicy}
	case len(forbids) > 0:
		p := forbids[0]
		return Decision{Policy: p.name, Rule: p.rule, Advice: p.advice}
	default:
		return Decision{Allowed: true, Policy: permits[0].name}
	}
}

// Look returns how much of d the caller may see.
func (e *Engine) Look(ctx context.Context, d Data) Sight {
	c := callerFrom(ctx)
	if c == nil || !c.SignedIn() {
		return Sight{State: personal.Withheld, Reason: ReasonPolicy, Policy: Anonymous}
	}
	key := d.key(&c.Principal)
	c.decided.mu.Lock()
	defer c.decided.mu.Unlock()
	s, ok := c.decided.see[key]
	if !ok {
		if e.introduce(ctx, c); c.decided.lost != nil {
			return Sight{State: personal.Withheld, Reason: ReasonPolicy, Policy: Unavailable}
		}
		s = e.look(c, d, key.own)
		c.decided.see[key] = s
	}
	return s
}

func (e *Engine) look(c *caller, d Data, own bool) Sight {
	on := resource(d, own)
	ask := func(action types.String) (Decision, Reason) {
		permits, forbids := e.reasons(c, action, false, on)
		reason := ReasonPolicy
		if len(forbids) > 0 && forbids[0].reason != "" {
			reason = forbids[0].reason
		}
		return decision(permits, forbids), reason
	}
	see, reason := ask(actionSee)
	if see.Allowed {
		return Sight{Known: true, State: personal.Clear, Policy: see.Policy}
	}
	if know, why := ask(actionKnow); !know.Allowed {
		return Sight{State: personal.Withheld, Reason: why, Policy: know.Policy}
	}
	if glimpse, why := ask(actionGlimpse); !glimpse.Allowed {
		return Sight{Known: true, State: personal.Withheld, Reason: why, Policy: glimpse.Policy}
	}
	return Sight{Known: true, State: personal.Masked, Reason: reason, Policy: see.Policy}
}

// resource is d as policies see it.
func resource(d Data, own bool) types.Entity {
	return types.Entity{
		UID: types.NewEntityUID(typeData, ""),
		Attributes: types.NewRecord(types.RecordMap{
			"class": types.String(d.Class), "secrecy": types.String(d.Secrecy), "purposes": texts(d.Purposes),
			"restricted": types.Boolean(d.Restricted), "held": types.Boolean(d.Held), "assignees": texts(d.Assignees),
			"own": types.Boolean(own), "unconsented": types.Boolean(d.Closed == ReasonConsent), "objected": types.Boolean(d.Closed == ReasonObjection),
		}),
	}
}

// introduce makes the caller's entity and context, with the tenant's policies,
// once per request. The lock of
// c.decided is held.
func (e *Engine) introduce(ctx context.Context, c *caller) {
	if c.decided.made {
		return
	}
	if e.tenants != nil && c.Kind != KindSystem {
		own, err := e.tenants.Of(ctx, c.Tenant)
		if c.decided.lost = err; err != nil {
			return // asked again by the next question
		}
		if own != nil {
			c.decided.own = own.set
		}
	}
	e.prepare(c)
}

func (e *Engine) prepare(c *caller) {
	c.decided.made = true
	c.decided.can, c.decided.see = map[canKey]Decision{}, map[dataKey]Sight{}
	c.decided.who, c.decided.self = entity(&c.Principal)
	call := types.RecordMap{
		"granted": types.False, "purpose": types.String(c.Purpose),
		"secondFactor": types.Boolean(c.AAL == AAL2), "secondFactorDemanded": types.Boolean(e.stepUp != AAL1),
		"signInAge": types.NewDuration(e.now().Sub(c.AuthenticatedAt)),
	}
	c.decided.call = types.NewRecord(call)
	if c.Kind == KindMachine {
		call["granted"] = types.True
		c.decided.granted = types.NewRecord(call)
	}
}

// entity returns p as policies see it. A kind or role that no policy can know is
// none of a policy's.
func entity(p *Principal) (who, types.Entity) {
	attributes := types.RecordMap{
		"id": types.String(p.ID), "clearances": texts(p.Clearances), "purposes": texts(p.Purposes),
	}
	w := who{role: p.Role}
	switch p.Kind {
	case KindMember:
		w.kind = "Member"
	case KindMachine:
		w = who{kind: "Machine"}
	case KindOperator:
		w.kind = "Operator"
		attributes["entered"] = types.Boolean(p.Home != p.Tenant)
	case KindSubject:
		w = who{kind: "DataSubject"}
		attributes["subject"] = types.NewEntityUID(typeSubject, types.String(p.Subject))
	case KindSystem:
		w = who{kind: "System"}
		attributes["clearances"] = texts(Clearances())
	}
	self := types.Entity{UID: types.NewEntityUID(w.kind, types.String(p.ID)), Attributes: types.NewRecord(attributes)}
	if w.role != "" {
		self.Parents = types.NewEntityUIDSet(types.NewEntityUID(typeRole, types.String(w.role)))
	}
	return w, self
}

func texts[T ~string](list []T) types.Set {
	values := make([]types.Value, len(list))
	for i, t := range list {
		values[i] = types.String(t)
	}
	return types.NewSet(values...)
}

// entities are those of one question.
type entities [2]*types.Entity

// Get implements types.EntityGetter.
func (e entities) Get(uid types.EntityUID) (types.Entity, bool) {
	for _, one := range e {
		if one.UID == uid {
			return *one, true
		}
	}
	return types.Entity{}, false
}

// reasons returns the policies that permit an action, and those that forbid what
// is permitted. A policy that can't be evaluated counts as one that forbids: a
// prohibition that is passed over would let pass what it was written for.
func (e *Engine) reasons(c *caller, action types.String, granted bool, resource types.Entity) (permits, forbids policies) {
	req := cedar.Request{
		Principal: c.decided.self.UID, Action: types.NewEntityUID(typeAction, action), Resource: resource.UID, Context: c.decided.call,
	}
	if granted {
		req.Context = c.decided.granted
	}
	involved := entities{&c.decided.self, &resource}
	matter := e.platform.parts[partKey{c.decided.who, action}]
	permits, _ = ask(matter.permits, involved, req)
	if len(permits) == 0 {
		return nil, nil
	}
	forbids, failed := ask(matter.forbids, involved, req)
	if own := c.decided.own; own != nil {
		more, lost := ask(own.parts[partKey{c.decided.who, action}].forbids, involved, req)
		forbids, failed = append(forbids, more...), append(failed, lost...)
	}
	return permits, append(forbids, failed...)
}

// ask returns the policies that match a request, and those that fail.
func ask(of policies, involved entities, req cedar.Request) (match, failed policies) {
	if len(of) == 0 {
		return nil, nil
	}
	_, why := cedar.Authorize(of, involved, req)
	for _, r := range why.Reasons {
		match = append(match, of.named(r.PolicyID))
	}
	for _, f := range why.Errors {
		failed = append(failed, of.named(f.PolicyID))
	}
	return match, failed
}

// ForKeys returns the permissions that a machine client may hold: all but those
// that the policies never let one use.
func ForKeys() []Permission {
	e, err := New(Config{Now: func() time.Time { return time.Time{} }})
	if err != nil {
		panic(err) // the policies are compiled in, and tested
	}
	c := &caller{Principal{Kind: KindMachine, ID: "any", Grants: All()}, &decided{}}
	e.prepare(c)
	return slices.DeleteFunc(All(), func(do Permission) bool { return !decision(e.permission(c, do, "")).Allowed })
}
