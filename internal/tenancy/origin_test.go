package tenancy_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

func TestAllowedOrigins(t *testing.T) {
	s := start(t)
	provider, err := s.Bootstrap(t.Context(), input("Provider", "provider"))
	if err != nil {
		t.Fatal(err)
	}
	asProvider := tenant.NewContext(t.Context(), provider.ID)
	one, err := s.Create(asProvider, input("One", "one"))
	if err != nil {
		t.Fatal(err)
	}
	asOne := tenant.NewContext(t.Context(), one.ID)
	version := int64(1)
	allow := func(origins ...string) error {
		updated, err := s.Update(asOne, tenancy.UpdateInput{ID: string(one.ID), ExpectedVersion: version, AllowedOrigins: origins})
		if err == nil {
			version = updated.Version
		}
		return err
	}
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("https://portal%d.example", i)
	}
	for _, wrong := range [][]string{
		{"*"},
		{"null"},
		{""},
		{"https://"},
		{"https://*.example"},
		{"http://portal.example"},
		{"https://portal.example/"},
		{"https://Portal.example"},
		{"https://portal.example:443"},
		{"https://portal.example:"},
		{"https://user@portal.example"},
		{"https://portal.example?x"},
		{"https://portal.example", "https://portal.example"},
		many,
	} {
		var e *errs.Error
		if err := allow(wrong...); !errors.As(err, &e) || e.Kind != errs.Invalid || e.Field != "allowedOrigins" {
			t.Errorf("%q: got %v", wrong, err)
		}
	}
	const portal = "https://portal.example:8443"
	steps := []struct {
		origins []string
		allowed bool
	}{{nil, false}, {[]string{portal, "https://other.example"}, true}, {many[:20], false}, {[]string{portal}, true}, {[]string{}, false}}
	for _, step := range steps {
		if err := allow(step.origins...); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(asOne); err != nil || step.origins != nil && !slices.Equal(got.AllowedOrigins, step.origins) {
			t.Errorf("got %v, %v, want %v", got.AllowedOrigins, err, step.origins)
		}
		mine, err := s.Allows(asOne, portal)
		if err != nil || mine != step.allowed {
			t.Errorf("%q: the tenant's own: %v, %v", step.origins, mine, err)
		}
		if theirs, err := s.Allows(asProvider, portal); err != nil || theirs {
			t.Errorf("%q: another tenant's: %v, %v", step.origins, theirs, err)
		}
		if anybodys, err := s.Allows(tenant.System(t.Context(), "test"), portal); err != nil || anybodys != step.allowed {
			t.Errorf("%q: anybody's: %v, %v", step.origins, anybodys, err)
		}
	}
	if _, err := s.Allows(t.Context(), portal); err == nil {
		t.Error("allowed without a tenant")
	}
}
