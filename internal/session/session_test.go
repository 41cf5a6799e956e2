package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ory"
	"github.com/vogter/vogter/internal/ory/orytest"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/session"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
)

// forgotten are the identities that servers are told to forget.
type forgotten []string

func (f *forgotten) Forget(_ context.Context, identity string) { *f = append(*f, identity) }

// TestSessions runs against the real identity server.
func TestSessions(t *testing.T) {
	kratos := orytest.Start(t)
	uri := testenv.MongoURI(t)
	_, recorder := testenv.Changes(t, testenv.Data(t, uri), testenv.Vault(t), nil, nil)
	var told forgotten
	s := session.NewService(kratos.Client, recorder, &told)

	// signIn is the context of a new sign-in.
	signIn := func(address string) (context.Context, authn.Credential) {
		t.Helper()
		email, password := personal.NewText(address), personal.NewText("correct horse battery")
		if _, err := kratos.Client.FindOrCreate(t.Context(), email); err != nil {
			t.Fatal(err)
		}
		token, err := kratos.Client.Login(t.Context(), email, password)
		if errors.Is(err, ory.ErrLogin) {
			if _, err := kratos.Client.SetPassword(t.Context(), email, password); err != nil {
				t.Fatal(err)
			}
			token, err = kratos.Client.Login(t.Context(), email, password)
		}
		if err != nil {
			t.Fatal(err)
		}
		cred := authn.Credential{Token: token}
		who, err := kratos.Client.WhoAmI(t.Context(), cred)
		if err != nil {
			t.Fatal(err)
		}
		return tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
			Kind: authz.KindMember, ID: "mem_1", Tenant: testenv.One, Identity: who.Identity, Credential: who.ID,
		}), testenv.One), cred
	}
	over := func(cred authn.Credential) bool {
		_, err := kratos.Client.WhoAmI(t.Context(), cred)
		return errors.Is(err, ory.ErrSession)
	}

	first, one := signIn("member@example.test")
	_, two := signIn("member@example.test")
	_, three := signIn("member@example.test")
	stranger, other := signIn("stranger@example.test")
	list, err := s.List(first)
	if err != nil || len(list) != 3 || list[0].Current || !list[2].Current || list[0].AAL != authz.AAL1 || list[0].Device.IsZero() {
		t.Fatalf("listed %v, %v", list, err)
	}
	if _, err := s.Revoke(stranger, session.RevokeInput{ID: list[0].ID}); !errors.Is(err, session.ErrNotFound) || over(three) {
		t.Errorf("another person ends it: %v", err)
	}
	if _, err := s.RevokeOthers(stranger, session.RevokeOthersInput{Keep: &list[0].ID}); !errors.Is(err, session.ErrNotFound) || over(other) {
		t.Errorf("kept another person's: %v", err)
	}
	if _, err := s.Revoke(first, session.RevokeInput{ID: list[0].ID}); err != nil || !over(three) || over(two) {
		t.Errorf("ended one: %v", err)
	}
	if len(told) != 1 || told[0] != authz.FromContext(first).Identity {
		t.Errorf("servers were told %v", told)
	}
	if _, err := s.Revoke(first, session.RevokeInput{ID: list[0].ID}); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("ended twice: %v", err)
	}
	if n, err := s.RevokeOthers(first, session.RevokeOthersInput{}); err != nil || n != 1 || !over(two) || over(one) {
		t.Errorf("ended %d others, %v", n, err)
	}
	if n, err := s.SignOut(first, session.SignOutInput{}); err != nil || n != 1 || !over(one) || over(other) {
		t.Errorf("signed out of %d, %v", n, err)
	}
	_, four := signIn("member@example.test")
	again, five := signIn("member@example.test")
	if n, err := s.SignOut(again, session.SignOutInput{Everywhere: true}); err != nil || n != 2 || !over(four) || !over(five) {
		t.Errorf("signed out everywhere of %d, %v", n, err)
	}
	machine := tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: testenv.One}), testenv.One)
	if _, err := s.List(machine); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("a machine lists: %v", err)
	}

	kratos.Kill()
	if _, err := s.SignOut(stranger, session.SignOutInput{}); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("with the identity server down: %v", err)
	}
	entries := actions(t, uri)
	if want := []string{"session.list OK", "session.revoke OK", "session.revoke OK", "session.revoke OK", "session.revoke OK", "session.revoke OK"}; !slices.Equal(entries, want) {
		t.Errorf("in the log: %q", entries)
	}
}

// failing is an identity server that lists one session and ends none.
type failing struct{}

func (failing) Sessions(context.Context, string) ([]*session.Session, error) {
	return []*session.Session{{ID: "session_1"}}, nil
}

func (failing) End(context.Context, string) error { return ory.ErrUnavailable }

// TestAnEndThatFails: the log says so.
func TestAnEndThatFails(t *testing.T) {
	uri := testenv.MongoURI(t)
	_, recorder := testenv.Changes(t, testenv.Data(t, uri), testenv.Vault(t), nil, nil)
	s := session.NewService(failing{}, recorder, &forgotten{})
	ctx := tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: testenv.One, Identity: "identity_1", Credential: "session_1",
	}), testenv.One)
	if _, err := s.SignOut(ctx, session.SignOutInput{}); !errors.Is(err, ory.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if got := actions(t, uri); !slices.Equal(got, []string{"session.revoke FAILED", "session.revoke OK"}) {
		t.Errorf("in the log: %q", got)
	}
}

// actions are the actions and outcomes in the log, sorted.
func actions(t *testing.T, uri string) []string {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) }()
	cursor, err := client.Database("vogter").Collection("audit").Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct{ Action, Outcome string }
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(docs))
	for i, d := range docs {
		list[i] = d.Action + " " + d.Outcome
	}
	slices.Sort(list)
	return list
}
