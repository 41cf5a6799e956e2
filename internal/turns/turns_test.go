package turns_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/turns"
)

func as(ctx context.Context, of tenant.ID, by string) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{ID: by, Tenant: of})
}

func TestShares(t *testing.T) {
	shares := turns.Shares{Process: 8, Tenant: 3, Caller: 2, Wait: 10 * time.Millisecond}
	tests := []struct {
		name  string
		taken []string // tenant and caller, each with one letter
		next  string
		busy  bool
	}{
		{"the first", nil, "Aa", false},
		{"a caller's second", []string{"Aa"}, "Aa", false},
		{"a caller's third", []string{"Aa", "Aa"}, "Aa", true},
		{"another caller's", []string{"Aa", "Aa"}, "Ab", false},
		{"a tenant's fourth", []string{"Aa", "Aa", "Ab"}, "Ab", true},
		{"another tenant's", []string{"Aa", "Aa", "Ab"}, "Bc", false},
		{"the last", []string{"Aa", "Aa", "Ab", "Bc", "Bc", "Bd", "Ce"}, "Ce", false},
		{"one more than there are", []string{"Aa", "Aa", "Ab", "Bc", "Bc", "Bd", "Ce", "Ce"}, "Cf", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := turns.New(shares)
			var ends []func()
			for _, who := range tt.taken {
				end, err := all.Take(as(t.Context(), tenant.ID(who[:1]), who[1:]))
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, end)
			}
			next := as(t.Context(), tenant.ID(tt.next[:1]), tt.next[1:])
			end, err := all.Take(next)
			if errors.Is(err, turns.ErrBusy) != tt.busy || err == nil == tt.busy {
				t.Fatalf("got %v", err)
			}
			if !tt.busy {
				end()
			}
			for _, end := range ends {
				end()
				end() // twice is once
			}
			if _, err := all.Take(next); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("no tenant", func(t *testing.T) {
		if _, err := turns.New(shares).Take(t.Context()); err == nil {
			t.Error("took a turn for nobody")
		}
	})
	t.Run("called off", func(t *testing.T) {
		all := turns.New(turns.Shares{Process: 1, Tenant: 1, Caller: 1, Wait: time.Hour})
		if _, err := all.Take(as(t.Context(), "A", "a")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(as(t.Context(), "A", "b"))
		cancel()
		if _, err := all.Take(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, turns.ErrBusy) {
			t.Errorf("got %v", err)
		}
	})
}

// TestNobodyStarves has one tenant ask for all it can get while others come by.
func TestNobodyStarves(t *testing.T) {
	all := turns.New(turns.Shares{Process: 4, Tenant: 2, Caller: 2, Wait: time.Minute})
	var running, most atomic.Int32
	work := func(of tenant.ID) {
		end, err := all.Take(as(t.Context(), of, string(of)))
		if err != nil {
			t.Error(err)
			return
		}
		defer end()
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		running.Add(-1)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { work("greedy") })
	}
	for _, of := range []tenant.ID{"A", "B", "C"} {
		for range 20 {
			wg.Go(func() { work(of) })
		}
	}
	wg.Wait()
	if most.Load() > 4 {
		t.Errorf("%d at once", most.Load())
	}
}
