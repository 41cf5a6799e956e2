package conformance

import (
	"fmt"
	"testing"
)

// fewest is how many cases there must be.
const fewest = 250

type subject struct {
	name  string
	cases []testCase
}

func subjects() []subject {
	return []subject{
		{"order", orderCases()},
		{"filter", filterCases()},
		{"projection", projectionCases()},
		{"sort", sortCases()},
		{"update", updateCases()},
		{"array", arrayCases()},
		{"upsert", upsertCases()},
		{"modify", modifyCases()},
		{"write", writeCases()},
		{"unique", uniqueCases()},
		{"session", sessionCases()},
		{"transaction", transactionCases()},
		{"cursor", cursorCases()},
		{"aggregate", aggregateCases()},
		{"admin", adminCases()},
		{"limit", limitCases()},
	}
}

// TestConformance runs every case on a fresh collection.
func TestConformance(t *testing.T) {
	met := map[string]bool{}
	for _, sub := range subjects() {
		for _, c := range sub.cases {
			name := sub.name + "/" + c.name
			if met[name] || c.page == "" {
				t.Errorf("case %q is there twice or names no page", name)
			}
			met[name] = true
		}
	}
	for name := range expectations {
		if !met[name] {
			t.Errorf("expectation %q belongs to no case", name)
		}
	}
	if len(met) < fewest {
		t.Errorf("%d cases, want at least %d", len(met), fewest)
	}
	t.Logf("%d cases, %d of them listed as refused", len(met), len(expectations))

	s := connect(t)
	number := 0
	for _, sub := range subjects() {
		t.Run(sub.name, func(t *testing.T) {
			for _, c := range sub.cases {
				number++
				f := s.fixture(fmt.Sprintf("c%d", number))
				t.Run(c.name, func(t *testing.T) { s.check(t, sub.name+"/"+c.name, c, f) })
				if err := f.coll.Drop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// check runs one case; on the embedded engine it must end as it is expected to.
func (s *server) check(t *testing.T, name string, c testCase, f *fixture) {
	t.Helper()
	if reason, ok := mongosSkips[name]; ok && s.mongos {
		t.Skip(reason)
	}
	err := c.run(t.Context(), f)
	exp, listed := expectations[name]
	switch {
	case !s.embedded || !listed:
		if err != nil {
			t.Errorf("%s: %v", c.page, err)
		}
	case err == nil:
		t.Errorf("passes now: take it out of the expectations (%s)", exp.reason)
	case !hasCode(err, exp.refusal):
		t.Errorf("want refusal %d (%s), got: %v", exp.refusal, exp.reason, err)
	default:
		t.Skipf("%s: %v", exp.reason, err)
	}
}
