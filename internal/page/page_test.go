package page_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

func TestAfter(t *testing.T) {
	mine, theirs := id.NewTenant(), id.NewTenant()
	ctx := tenant.NewContext(t.Context(), mine)
	list := page.List{Of: id.Record, Scope: "a"}
	at := page.Position{CreatedAt: time.UnixMilli(1_700_000_000_123).UTC(), ID: id.New(id.Record, mine)}
	cursor := func(l page.List, p page.Position) *string { s := l.Cursor(p); return &s }
	bad := "%%%"
	tests := []struct {
		name string
		in   page.Request
		want error
	}{
		{"own", page.Request{First: 10, After: cursor(list, at)}, nil},
		{"of another scope", page.Request{First: 10, After: cursor(page.List{Of: id.Record, Scope: "b"}, at)}, page.ErrCursor},
		{"of another type", page.Request{First: 10, After: cursor(page.List{Of: id.Subject, Scope: "a"}, at)}, page.ErrCursor},
		{"of another tenant", page.Request{First: 10, After: cursor(list, page.Position{ID: id.New(id.Record, theirs)})}, page.ErrCursor},
		{"garbage", page.Request{First: 10, After: &bad}, page.ErrCursor},
		{"too many", page.Request{First: 101}, page.ErrFirst},
		{"none", page.Request{First: 0}, page.ErrFirst},
		{"negative", page.Request{First: -1}, page.ErrFirst},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := list.After(ctx, tt.in)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want == nil && *got != at {
				t.Errorf("got %v, want %v", *got, at)
			}
		})
	}
}

func TestOf(t *testing.T) {
	list := page.List{Of: id.Record}
	at := func(n int) page.Position { return page.Position{CreatedAt: time.UnixMilli(int64(n)), ID: "rec"} }
	got := page.Of(list, page.Request{First: 2}, []int{9, 8, 7}, at)
	info := got.PageInfo
	if !slices.Equal(got.Nodes(), []int{9, 8}) || !info.HasNextPage || info.HasPreviousPage ||
		*info.StartCursor != list.Cursor(at(9)) || *info.EndCursor != list.Cursor(at(8)) || got.Edges[1].Cursor != *info.EndCursor {
		t.Errorf("got %+v", got)
	}
	got = page.Of(list, page.Request{First: 2}, []int{}, at)
	if info := got.PageInfo; len(got.Edges) != 0 || info.HasNextPage || info.EndCursor != nil {
		t.Errorf("got %+v", got)
	}
}
