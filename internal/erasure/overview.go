package erasure

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

// Overview is what an operator sees of an erasure: no more than that there was
// one, and how far it is.
type Overview struct {
	ID     string
	Tenant tenant.ID
	State  State
	// KeysDestroyedAt is since when nobody can read the data; nil before.
	KeysDestroyedAt *time.Time
	// PlannedAt is from when nobody is to be able to bring it back, from any
	// backup, by plan; IrrecoverableAt is when that came true.
	PlannedAt       *time.Time
	IrrecoverableAt *time.Time
	CreatedAt       time.Time
}

// Connection is a page of erasures.
type Connection struct {
	Edges    []Edge
	PageInfo page.Info
}

// Edge is an erasure on a page.
type Edge struct {
	Cursor string
	Node   *Overview
}

// Nodes returns the page's erasures.
func (c *Connection) Nodes() []*Overview {
	nodes := make([]*Overview, len(c.Edges))
	for i, e := range c.Edges {
		nodes[i] = e.Node
	}
	return nodes
}

// Overview returns a page of the erasures of all tenants, the newest first: for
// operators.
func (s *Service) Overview(ctx context.Context, r page.Request) (*Connection, error) {
	list := page.List{Of: id.Shredding, All: true}
	after, err := list.After(ctx, r)
	if err != nil {
		return nil, err
	}
	read, err := s.Store.List(tenant.System(ctx, "overview of erasures"), after, r.First+1)
	if err != nil {
		return nil, err
	}
	at := func(sh *Shredding) page.Position { return page.Position{CreatedAt: sh.CreatedAt, ID: sh.ID} }
	read, info := page.Cut(list, r, read, at)
	c := &Connection{PageInfo: info, Edges: make([]Edge, len(read))}
	for i, sh := range read {
		o := &Overview{ID: sh.ID, Tenant: sh.Tenant, State: sh.State, KeysDestroyedAt: sh.KeysDestroyedAt(), CreatedAt: sh.CreatedAt}
		planned, actual, err := s.Epochs.Irrecoverable(ctx, sh.Epochs...)
		if err != nil {
			return nil, err
		}
		if len(sh.Epochs) > 0 {
			o.PlannedAt, o.IrrecoverableAt = &planned, actual
		}
		c.Edges[i] = Edge{list.Cursor(at(sh)), o}
	}
	return c, nil
}
