package graph

import (
	"context"

	"github.com/vogter/vogter/graph/node"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/id"
)

// own returns what the data subject p reaches by an id: themselves, and the
// records about them. Nothing else is there to them.
func (r *Resolver) own(ctx context.Context, p authz.Principal, nodeID string) (node.Node, error) {
	do, get := authz.SubjectRead, func(ctx context.Context) (node.Node, error) { return r.subjects.Get(ctx, nodeID) }
	switch {
	case p.Subject != "" && nodeID == p.Subject:
	case id.TypeOf(nodeID) == id.Record:
		do, get = authz.RecordRead, func(ctx context.Context) (node.Node, error) { return r.records.Get(ctx, nodeID) }
	case id.TypeOf(nodeID) == id.Consent:
		do, get = authz.SelfRead, func(ctx context.Context) (node.Node, error) { return r.consents.Get(ctx, nodeID) }
	case id.TypeOf(nodeID) == id.ConsentNote:
		do, get = authz.SelfRead, func(ctx context.Context) (node.Node, error) { return r.consents.GetEvent(ctx, nodeID) }
	default:
		return nil, id.ErrUnknown
	}
	ctx, err := r.guard.require(ctx, do, "node", p.Subject)
	if err != nil {
		return nil, err
	}
	found, err := get(ctx)
	if err != nil {
		return nil, err // and no typed nil within the interface
	}
	return found, nil
}
