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

// Cut takes what was read for r, one object more than asked for if there are
// more, and returns the page's objects and its Info.
func Cut[T any](l List, r Request, read []T, at func(T) Position) ([]T, Info) {
	info := Info{HasPreviousPage: r.After != nil}
	if len(read) > r.First {
		read, info.HasNextPage = read[:r.First], true
	}
	if len(read) > 0 {
		first, last := l.Cursor(at(read[0])), l.Cursor(at(read[len(read)-1]))
		info.StartCursor, info.EndCursor = &first, &last
	}
	return read, info
}
