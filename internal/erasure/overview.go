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
type Connection = page.Connection[*Overview]

// Edge is an erasure in a page of them.
type Edge = page.Edge[*Overview]

// Overview returns a page of the erasures of all tenants, the newest first: for
// operators.
func (s *Service) Overview(ctx context.Context, r page.Request) (*Connection, error) {
	at := func(sh *Shredding) page.Position { return page.Position{CreatedAt: sh.CreatedAt, ID: sh.ID} }
	read, err := page.Read(tenant.System(ctx, "overview of erasures"), page.List{Of: id.Shredding, All: true}, r, at, s.Store.List)
	if err != nil {
		return nil, err
	}
	c := &Connection{PageInfo: read.PageInfo, Edges: make([]Edge, len(read.Edges))}
	for i, e := range read.Edges {
		sh := e.Node
		o := &Overview{ID: sh.ID, Tenant: sh.Tenant, State: sh.State, KeysDestroyedAt: sh.KeysDestroyedAt(), CreatedAt: sh.CreatedAt}
		planned, actual, err := s.Epochs.Irrecoverable(ctx, sh.Epochs...)
		if err != nil {
			return nil, err
		}
		if len(sh.Epochs) > 0 {
			o.PlannedAt, o.IrrecoverableAt = &planned, actual
		}
		c.Edges[i] = Edge{Cursor: e.Cursor, Node: o}
	}
	return c, nil
}
