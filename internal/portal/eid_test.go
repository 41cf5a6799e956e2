package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/portal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
)

// identity makes an identity at Kratos, as a provider's mapper does, and returns
// the context of a call with a session of it.
func identity(t *testing.T, kratos *orytest.Server, address string, metadata map[string]any) context.Context {
	t.Helper()
	const password = "correct horse battery"
	made := map[string]any{
		"schema_id": "person", "traits": map[string]any{"email": address},
		"credentials": map[string]any{"password": map[string]any{"config": map[string]any{"password": password}}},
	}
	maps.Copy(made, metadata)
	b, err := json.Marshal(made)
	ok(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, kratos.AdminURL+"/admin/identities", bytes.NewReader(b))
	ok(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	var is struct{ ID string }
	ok(t, errors.Join(json.NewDecoder(res.Body).Decode(&is), res.Body.Close()))
	if is.ID == "" {
		t.Fatalf("no identity: %d", res.StatusCode)
	}
	return authz.NewContext(from(t, office), authz.Principal{Identity: is.ID})
}

func TestSignInByEID(t *testing.T) {
	kratos, d := orytest.Start(t), start(t)
	number := func(n string) []subject.NationalID {
		return []subject.NationalID{{Country: "DK", Number: personal.NewText(n)}}
	}
	mine, err := d.Subjects.Create(d.one, subject.CreateInput{NationalIDs: number("010136-4003")})
	ok(t, err)
	theirs, err := d.Subjects.Create(d.two, subject.CreateInput{NationalIDs: number("0101364003")})
	ok(t, err)
	person := identity(t, kratos, "sigrid@example.test", map[string]any{"metadata_admin": map[string]any{"national_id": "010136-4003"}})
	in := portal.IdentityInput{TenantSlug: "one"}
	if _, err := d.SignInWithIdentity(person, in); !errors.Is(err, portal.ErrNoEID) {
		t.Errorf("off: %v", err)
	}
	d.EID = portal.EID{Identities: kratos.Client, Claim: "metadata_admin.national_id", Country: "DK"}
	for slug, want := range map[string]*subject.Subject{"one": mine, "two": theirs} {
		g, err := d.SignInWithIdentity(person, portal.IdentityInput{TenantSlug: slug})
		ok(t, err)
		p, err := d.Authenticate(t.Context(), g.Token)
		if err != nil || p.Subject != want.ID || !strings.HasPrefix(g.Token, portal.Prefix) {
			t.Errorf("%s: signed in as %+v, %v", slug, p, err)
		}
	}
	for name, metadata := range map[string]map[string]any{
		"no-number": nil, "elsewhere": {"metadata_public": map[string]any{"national_id": "010136-4003"}},
		"no-such": {"metadata_admin": map[string]any{"national_id": "x"}}, "another": {"metadata_admin": map[string]any{"national_id": 101364003}},
	} {
		if _, err := d.SignInWithIdentity(identity(t, kratos, name+"@example.test", metadata), in); !errors.Is(err, portal.ErrNobody) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.SignInWithIdentity(from(t, office), in); !errors.Is(err, portal.ErrNoIdentity) {
		t.Errorf("nobody: %v", err)
	}
	d.SetState(d.one, mine, subject.Erasing)
	if _, err := d.SignInWithIdentity(person, in); !errors.Is(err, portal.ErrNobody) {
		t.Errorf("while being erased: %v", err)
	}
	entries := d.Entries(t.Context(), "")
	if failed := len(entries); failed != 5 {
		t.Errorf("the log of %s has %v", testenv.One, entries)
	}
	kratos.Kill()
	if _, err := d.SignInWithIdentity(person, in); err == nil || errors.Is(err, portal.ErrNobody) {
		t.Errorf("without the identity server: %v", err)
	}
}
