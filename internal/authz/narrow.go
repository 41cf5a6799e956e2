package authz

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Narrowing has the policies that tenants add.
type Narrowing interface {
	// Of returns those of a tenant, nil for none. An error refuses everything.
	Of(ctx context.Context, of tenant.ID) (*Set, error)
}

// Set is the policies of a tenant, ready to be asked.
type Set struct{ set *set }

// Source is a policy of a tenant in Cedar, with the name by which decisions are
// recorded.
type Source struct{ Name, Cedar string }

// MaxSource is the longest policy of a tenant, in bytes.
const MaxSource = 4096

const maxAdvice = 300

// NewSet reads the policies of a tenant. It fails with errs.Invalid for what is no
// single prohibition that speaks of what there is: a tenant narrows what the
// platform permits, and permits nothing.
func NewSet(sources ...Source) (*Set, error) {
	var all policies
	for _, s := range sources {
		if len(s.Cedar) > MaxSource {
			return nil, errs.New(errs.Limited, "a policy has at most %d bytes", MaxSource)
		}
		read, err := parse("", []byte(s.Cedar))
		switch {
		case err != nil:
			return nil, errs.New(errs.Invalid, "this isn't Cedar: %s", plain(err))
		case len(read) != 1:
			return nil, errs.New(errs.Invalid, "give one policy at a time")
		case (*ast.Policy)(read[0].cedar.AST()).Effect == ast.EffectPermit:
			return nil, errs.New(errs.Invalid, "a tenant's policy only forbids: what the platform doesn't permit, no tenant can").Under("policy.forbid")
		case len(read[0].advice) > maxAdvice:
			return nil, errs.New(errs.Limited, "an advice has at most %d bytes", maxAdvice)
		}
		p := read[0]
		p.name, p.rule, p.reason, p.tenant = s.Name, s.Name, ReasonPolicy, true
		all = append(all, p)
	}
	if err := check(all); err != nil {
		return nil, errs.New(errs.Invalid, "the policy speaks of what there isn't, or compares what can't be compared: %s", plain(err))
	}
	narrowed := newSet(all)
	for key := range narrowed.parts {
		if slices.Contains(beyond(), key.action) || key.kind == "System" || key.kind == "DataSubject" {
			delete(narrowed.parts, key)
		}
	}
	return &Set{narrowed}, nil
}

// beyond returns the actions that tenants' policies don't reach, or a tenant
// could lock itself out, and make things that are there look as if they weren't.
// The platform's own work and the rights of the persons concerned are beyond them
// too.
func beyond() []types.String {
	return []types.String{
		types.String(PolicyRead), types.String(PolicyPropose), types.String(PolicyApprove), types.String(SessionManage), actionKnow,
	}
}

// plain returns a fault of a policy without what its author wrote between quotes.
func plain(err error) string {
	const longest = 300
	text := regexp.MustCompile("\"[^\"]*\"").ReplaceAllString(fmt.Sprint(err), "…")
	return text[:min(len(text), longest)]
}
