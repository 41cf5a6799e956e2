package id_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/id"
)

func TestCheck(t *testing.T) {
	mine, theirs := id.NewTenant(), id.NewTenant()
	sub := id.New(id.Subject, mine)
	tests := []struct {
		name string
		id   string
		ok   bool
	}{
		{"own", sub, true},
		{"foreign", id.New(id.Subject, theirs), false},
		{"another type", id.New(id.Record, mine), false},
		{"empty", "", false},
		{"cut", sub[:len(sub)-1], false},
		{"upper case", strings.ToUpper(sub), false},
		{"not base32", sub[:len(sub)-1] + "!", false},
		{"trailing", sub + "a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := id.Check(id.Subject, mine, tt.id)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, id.ErrUnknown) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTenantOf(t *testing.T) {
	mine := id.NewTenant()
	if got, ok := id.TenantOf(id.New(id.APIKey, mine)); !ok || got != mine {
		t.Errorf("got %q, %v", got, ok)
	}
	if _, ok := id.TenantOf("key_short"); ok {
		t.Error("a malformed id has a tenant")
	}
	if id.TypeOf(string(mine)) != id.Tenant || id.TypeOf("nonsense") != "" {
		t.Error("wrong type")
	}
}

func FuzzCheck(f *testing.F) {
	mine := id.NewTenant()
	f.Add(id.New(id.Subject, mine))
	f.Add("sub_")
	f.Fuzz(func(t *testing.T, s string) {
		if id.Check(id.Subject, mine, s) == nil {
			if of, ok := id.TenantOf(s); !ok || of != mine || id.TypeOf(s) != id.Subject {
				t.Errorf("%q passes", s)
			}
		}
	})
}
