package apikey_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/apikey"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func start(t *testing.T) (s *apikey.Service, c *clock, one, two context.Context) {
	t.Helper()
	db, v, c := testenv.Mongo(t), testenv.Vault(t), &clock{testenv.Now()}
	h := vault.Hasher{Vault: v}
	changes, _ := testenv.Changes(t, db, v, h, nil)
	return apikey.NewService(mongo.NewAPIKeyStore(db), changes, h, c.now), c,
		tenant.NewContext(t.Context(), testenv.One), tenant.NewContext(t.Context(), testenv.Two)
}

func TestAKeySignsInUntilItEnds(t *testing.T) {
	s, c, one, _ := start(t)
	expires := c.Add(time.Hour)
	k, secret, err := s.Create(one, apikey.CreateInput{
		Name: "portal", Permissions: []authz.Permission{authz.SubjectRead}, ExpiresAt: &expires,
	})
	if err != nil || !strings.HasPrefix(*secret, apikey.Prefix) {
		t.Fatal(err)
	}
	p, err := s.Authenticate(t.Context(), *secret)
	if err != nil || p.Tenant != testenv.One || p.ID != k.ID || !slices.Equal(p.Grants, []authz.Permission{authz.SubjectRead}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	c.Time = expires
	if _, err := s.Authenticate(t.Context(), *secret); !errors.Is(err, apikey.ErrRefused) {
		t.Errorf("an expired key gives %v", err)
	}
	c.Time = expires.Add(-time.Minute)
	for range 2 {
		if k, err = s.Revoke(one, apikey.RevokeInput{ID: k.ID}); err != nil || k.RevokedAt == nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Authenticate(t.Context(), *secret); !errors.Is(err, apikey.ErrRefused) {
		t.Errorf("a revoked key gives %v", err)
	}
}

func TestAlteredKeysAreRefused(t *testing.T) {
	s, _, one, _ := start(t)
	_, secret, err := s.Create(one, apikey.CreateInput{Name: "portal"})
	if err != nil {
		t.Fatal(err)
	}
	foreign := strings.Replace(*secret, strings.TrimPrefix(string(testenv.One), "ten_"), strings.TrimPrefix(string(testenv.Two), "ten_"), 1)
	for _, token := range []string{"", apikey.Prefix, (*secret)[:len(*secret)-1], *secret + "a", "x" + *secret, foreign, strings.ToUpper(*secret)} {
		if _, err := s.Authenticate(t.Context(), token); !errors.Is(err, apikey.ErrRefused) {
			t.Errorf("an altered key gives %v", err)
		}
	}
	for i := range *secret {
		b := []byte(*secret)
		b[i] ^= 1
		if _, err := s.Authenticate(t.Context(), string(b)); !errors.Is(err, apikey.ErrRefused) {
			t.Fatalf("a key altered at %d gives %v", i, err)
		}
	}
}

func TestTheSecretIsShownOnce(t *testing.T) {
	s, _, one, two := start(t)
	ctx := change.WithIdempotency(one, change.Idempotency{Key: "k", Input: []byte("i")})
	first, secret, err := s.Create(ctx, apikey.CreateInput{Name: "portal"})
	if err != nil || secret == nil {
		t.Fatal(err)
	}
	again, secret, err := s.Create(ctx, apikey.CreateInput{Name: "portal"})
	if err != nil || again.ID != first.ID || secret != nil {
		t.Errorf("a replay gives %v, %v", again.ID, err)
	}
	if list, err := s.List(two); err != nil || len(list) != 0 {
		t.Errorf("the second tenant lists %v, %v", list, err)
	}
	if _, err := s.Revoke(two, apikey.RevokeInput{ID: first.ID}); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("the second tenant revokes: %v", err)
	}
}

func TestCreateRefusals(t *testing.T) {
	s, c, one, _ := start(t)
	for field, in := range map[string]apikey.CreateInput{
		"name":        {Name: " "},
		"expiresAt":   {Name: "a", ExpiresAt: &c.Time},
		"permissions": {Name: "a", Permissions: []authz.Permission{authz.TenantCreate}},
	} {
		_, _, err := s.Create(one, in)
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Invalid || e.Field != field {
			t.Errorf("%s gives %v", field, err)
		}
	}
}
