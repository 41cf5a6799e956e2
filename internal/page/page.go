// Package page cuts long lists into pages by the Relay cursor connections
// specification, newest first, by keyset: a page starts right after the last
// object of the one before, however deep it lies.
package page

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// Max is the most objects on a page.
const Max = 100

// CountMax is as far as a connection counts: more is answered with it.
const CountMax = 10_000

// Sentinels of a bad page.
var (
	ErrFirst  = errs.New(errs.Invalid, "first is 1 to %d", Max).At("first")
	ErrCursor = errs.New(errs.Invalid, "not a cursor of this list: take endCursor of its page before").At("after")
)

// Request asks for a page.
type Request struct {
	First int
	After *string
}

// Position is the place of an object in a list sorted by creation and id, both
// descending.
type Position struct {
	CreatedAt time.Time
	ID        string
}

// List is a kind of list that cursors belong to: what it lists, and of what.
type List struct {
	Of    id.Type // the type of the objects listed
	Scope string  // what tells this list from others of the same type: an id, or ""
	All   bool    // it lists objects of all tenants
}

const scopeBytes = 6

func (l List) scope() []byte {
	sum := sha256.Sum256([]byte(string(l.Of) + "\x00" + l.Scope))
	return sum[:scopeBytes]
}

// Cursor returns the opaque cursor of the object at p.
func (l List) Cursor(p Position) string {
	b := binary.BigEndian.AppendUint64(l.scope(), uint64(p.CreatedAt.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(b, p.ID...))
}

// After checks r and returns where its page starts, nil for the first page.
func (l List) After(ctx context.Context, r Request) (*Position, error) {
	if r.First < 1 || r.First > Max {
		return nil, ErrFirst
	}
	if r.After == nil {
		return nil, nil //nolint:nilnil // the first page has no position
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	const head = scopeBytes + 8
	b, err := base64.RawURLEncoding.DecodeString(*r.After)
	if err != nil || len(b) < head || !slices.Equal(b[:scopeBytes], l.scope()) {
		return nil, ErrCursor
	}
	if l.All {
		of, _ = id.TenantOf(string(b[head:]))
	}
	if id.Check(l.Of, of, string(b[head:])) != nil {
		return nil, ErrCursor
	}
	ms := binary.BigEndian.Uint64(b[scopeBytes:head])
	return &Position{CreatedAt: time.UnixMilli(int64(ms)).UTC(), ID: string(b[head:])}, nil //nolint:gosec // as it was encoded
}

// Info is the Relay PageInfo.
type Info struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// Connection is a page of a list, as the Relay specification has it.
type Connection[T any] struct {
	Edges    []Edge[T]
	PageInfo Info
}

// Edge is an object in its list.
type Edge[T any] struct {
	Cursor string
	Node   T
}

// Nodes returns the objects of the page.
func (c *Connection[T]) Nodes() []T {
	nodes := make([]T, len(c.Edges))
	for i, e := range c.Edges {
		nodes[i] = e.Node
	}
	return nodes
}

// Of returns the page of l that r asks for, out of what was read: the objects
// after its start, one more than asked for if there are more. at tells an
// object's place.
func Of[T any](l List, r Request, read []T, at func(T) Position) *Connection[T] {
	c := &Connection[T]{PageInfo: Info{HasPreviousPage: r.After != nil}}
	if len(read) > r.First {
		read, c.PageInfo.HasNextPage = read[:r.First], true
	}
	c.Edges = make([]Edge[T], len(read))
	for i, obj := range read {
		c.Edges[i] = Edge[T]{l.Cursor(at(obj)), obj}
	}
	if n := len(read); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	return c
}

// Read reads the page of l that r asks for. read returns up to limit objects
// after a position.
func Read[T any](
	ctx context.Context, l List, r Request, at func(T) Position,
	read func(ctx context.Context, after *Position, limit int) ([]T, error),
) (*Connection[T], error) {
	after, err := l.After(ctx, r)
	if err != nil {
		return nil, err
	}
	found, err := read(ctx, after, r.First+1)
	if err != nil {
		return nil, err
	}
	return Of(l, r, found, at), nil
}
