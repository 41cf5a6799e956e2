package audit_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// However many strangers are refused, the provider's log has one entry for each
// kind of refusal; what can't be written now is written later.
func TestAnonymousRefusals(t *testing.T) {
	s := &store{}
	r, _, _ := start(t, s)
	known := false
	a := audit.NewAnonymous(r, func(context.Context) (tenant.ID, error) {
		if !known {
			known = true
			return "", errors.New("down")
		}
		return testenv.Two, nil
	}, testenv.Logger(t))
	for range 500 {
		a.Refused("POST /graphql", errs.Unauthenticated)
	}
	end := func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	end() // the provider isn't known
	if len(s.rows) != 0 {
		t.Fatalf("%d entries", len(s.rows))
	}
	a.Refused("PUT /v1/uploads", errs.Forbidden)
	for range 3 {
		a.Denied(testenv.One, "key_x", "SECRET")
	}
	end()
	if len(s.rows) != 3 {
		t.Fatalf("%d entries", len(s.rows))
	}
	i := slices.IndexFunc(s.rows, func(r audit.Row) bool { return r.Action == audit.ActionMachine })
	if i < 0 || s.rows[i].Tenant != testenv.One || s.rows[i].Object != "key_x" || !slices.Equal(s.rows[i].Fields, []string{"SECRET", "3"}) {
		t.Fatalf("got %+v", s.rows)
	}
	s.rows = slices.Delete(s.rows, i, i+1)
	slices.SortFunc(s.rows, func(a, b audit.Row) int { return len(b.Fields[2]) - len(a.Fields[2]) })
	if row := s.rows[0]; row.Tenant != testenv.Two || row.Outcome != audit.Refused || !slices.Equal(row.Fields, []string{"POST /graphql", "UNAUTHENTICATED", "500"}) {
		t.Errorf("got %+v", row.Entry)
	}
}
