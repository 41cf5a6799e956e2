// Package feed tells a tenant what has changed: each change once, in the order
// in which the sealer put it into the audit log, with opaque ids and the names
// of fields only. Nothing is seen before it is sealed, so that no later change
// can come to stand before one that was seen.
package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

// Change is one change as the feed tells it.
type Change struct {
	ID           string // of its entry in the audit log
	Seq          int64  // place in the tenant's order: it shows how much isn't told, so it stays inside
	At           time.Time
	Action       string // "record.update"
	Object       string // opaque id, "" when the change has no one object
	Subjects     []string
	Fields       []string // names of the fields changed, without the secret ones
	SecretFields []string // those that only callers with the clearance see
}

// Connection is a page of changes, the oldest first.
type Connection = page.Connection[*Change]

// Edge is a change in a page of them, with its own id as cursor.
type Edge = page.Edge[*Change]

// ErrNotFound reports an id that is no entry of the tenant's sealed log.
var ErrNotFound = errs.New(errs.NotFound, "no such change")

// Store reads the sealed log of the tenant in ctx.
type Store interface {
	// Changes returns changes after a place in the order, of the open feed and if
	// asked for of the secret one, in order.
	Changes(ctx context.Context, after int64, secret bool, limit int) ([]*Change, error)
	// SeqOf returns the place of a sealed entry, or fails with ErrNotFound.
	SeqOf(ctx context.Context, entryID string) (int64, error)
	// Head returns the place of the newest change of the open feed, Start if none.
	Head(ctx context.Context) (int64, error)
	// Ends returns the sizes of the sealed logs of tenants. It spans tenants.
	Ends(ctx context.Context, of []tenant.ID) (map[tenant.ID]int64, error)
}

// Service reads feeds.
type Service struct{ store Store }

// NewService returns a Service.
func NewService(store Store) *Service { return &Service{store} }

// Start is the place before every change.
const Start int64 = -1

// List returns a page of the changes that the caller in ctx may know of, after
// the one named by the cursor. Its endCursor, given as the next call's after,
// continues; at the end of the feed, too, where it is the cursor given.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	if r.First < 1 || r.First > page.Max {
		return nil, page.ErrFirst
	}
	after, err := s.after(ctx, r.After)
	if err != nil {
		return nil, err
	}
	secret := slices.Contains(authz.FromContext(ctx).Clearances, authz.ClearAML)
	read, err := s.store.Changes(ctx, after, secret, r.First+1)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	c := &Connection{PageInfo: page.Info{HasPreviousPage: r.After != nil, EndCursor: r.After}}
	if len(read) > r.First {
		read, c.PageInfo.HasNextPage = read[:r.First], true
	}
	c.Edges = make([]Edge, len(read))
	for i, change := range read {
		c.Edges[i] = Edge{Cursor: change.ID, Node: told(change, secret)}
	}
	if len(read) > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[len(read)-1].Cursor
	}
	return c, nil
}

func (s *Service) after(ctx context.Context, cursor *string) (int64, error) {
	if cursor == nil {
		return Start, nil
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return 0, err
	}
	if id.Check(id.Audit, of, *cursor) != nil {
		return 0, page.ErrCursor
	}
	seq, err := s.store.SeqOf(ctx, *cursor)
	if errors.Is(err, ErrNotFound) {
		return 0, page.ErrCursor
	}
	return seq, err
}

// Open returns up to limit changes after a place, without anything that is
// secret. It is for telling systems of them.
func (s *Service) Open(ctx context.Context, after int64, limit int) ([]*Change, error) {
	read, err := s.store.Changes(ctx, after, false, limit)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	for i, change := range read {
		read[i] = told(change, false)
	}
	return read, nil
}

// Head returns the place of the newest change, Start when there is none.
func (s *Service) Head(ctx context.Context) (int64, error) { return s.store.Head(ctx) }

// Ends returns numbers that have grown when one of the tenants' feeds may have
// been added to. ctx spans tenants.
func (s *Service) Ends(ctx context.Context, of []tenant.ID) (map[tenant.ID]int64, error) {
	return s.store.Ends(ctx, of)
}

// told returns c as it is told.
func told(c *Change, secret bool) *Change {
	t := *c
	if !secret {
		t.Fields = slices.DeleteFunc(slices.Clone(c.Fields), func(f string) bool { return slices.Contains(c.SecretFields, f) })
	}
	switch c.Action {
	case "job.finish":
		t.Action = "job.succeeded"
	case "job.park":
		t.Action = "job.parked"
	default:
	}
	return &t
}
