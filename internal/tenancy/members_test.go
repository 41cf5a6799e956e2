package tenancy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// signedIn is the context of a person with a verified address and no tenant.
func (p *platform) signedIn(ctx context.Context, identity, address string) context.Context {
	p.ids.verified[identity] = []personal.Text{personal.NewText(address)}
	return authz.NewContext(ctx, authz.Principal{Identity: identity, Credential: "session-of-" + identity})
}

// join has a person accept the last invitation to their address.
func (p *platform) join(t *testing.T, address, identity string) *tenancy.Membership {
	t.Helper()
	m, err := p.Accept(p.signedIn(t.Context(), identity, address), tenancy.AcceptInput{Token: p.post.token(t, address)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// as is the context of a member.
func as(t *testing.T, m *tenancy.Membership) context.Context {
	t.Helper()
	return tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindMember, ID: m.MemberID, Tenant: m.Tenant, Role: m.Role, Clearances: m.Clearances,
	}), m.Tenant)
}

// tenants makes the provider and two customers, whose owners have joined.
func (p *platform) tenants(t *testing.T) (operator, one, two *tenancy.Membership) {
	t.Helper()
	provider, err := p.Bootstrap(t.Context(), input("Provider", "provider"))
	if err != nil {
		t.Fatal(err)
	}
	operator = p.join(t, "owner@provider.example", "id-operator")
	for slug, of := range map[string]**tenancy.Membership{"one": &one, "two": &two} {
		if _, err := p.Create(tenant.NewContext(t.Context(), provider.ID), input(slug, slug)); err != nil {
			t.Fatal(err)
		}
		*of = p.join(t, "owner@"+slug+".example", "id-"+slug)
	}
	return operator, one, two
}

// invite invites a case handler.
func (p *platform) invite(t *testing.T, by *tenancy.Membership, address string) *tenancy.Member {
	t.Helper()
	m, err := p.InviteMember(as(t, by), tenancy.InviteInput{Email: personal.NewText(address), Role: authz.RoleCaseHandler})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInvitation(t *testing.T) {
	p := start(t)
	_, one, two := p.tenants(t)
	m := p.invite(t, one, "Handler@Work.example")
	if m.State != tenancy.Invited || m.Email.Reveal() != "handler@work.example" || m.InvitedUntil() == nil {
		t.Fatalf("invited as %+v", m)
	}
	sent := p.post.sent[len(p.post.sent)-1]
	token := sent.Vars["token"].Reveal()
	if sent.Vars["url"].Reveal() != "https://vogter.example/invitation#"+token || sent.Vars["tenant"].Reveal() != "one" || sent.Language != "da" {
		t.Errorf("mailed %s", sent.Vars["url"].Reveal())
	}
	theirs := p.signedIn(t.Context(), "id-handler", "handler@work.example")

	t.Run("altered, foreign and unknown tokens", func(t *testing.T) {
		foreign := strings.Replace(token, strings.TrimPrefix(string(one.Tenant), "ten_"), strings.TrimPrefix(string(two.Tenant), "ten_"), 1)
		for _, bad := range []string{"", "vgi_", token + "a", token[:len(token)-1], "x" + token, foreign, strings.ToUpper(token), strings.Replace(token, "vgi_", "vgt_", 1)} {
			if _, err := p.Accept(theirs, tenancy.AcceptInput{Token: bad}); !errors.Is(err, tenancy.ErrInvitation) {
				t.Errorf("gives %v", err)
			}
		}
	})
	t.Run("somebody else, and nobody", func(t *testing.T) {
		other := p.signedIn(t.Context(), "id-other", "other@work.example")
		if _, err := p.Accept(other, tenancy.AcceptInput{Token: token}); !errors.Is(err, tenancy.ErrAddress) {
			t.Errorf("another person: %v", err)
		}
		p.ids.verified["id-unverified"] = nil
		unverified := authz.NewContext(t.Context(), authz.Principal{Identity: "id-unverified"})
		if _, err := p.Accept(unverified, tenancy.AcceptInput{Token: token}); !errors.Is(err, tenancy.ErrAddress) {
			t.Errorf("an address that isn't verified: %v", err)
		}
		if _, err := p.Accept(t.Context(), tenancy.AcceptInput{Token: token}); !errors.Is(err, authz.ErrUnauthenticated) {
			t.Errorf("nobody: %v", err)
		}
		machine := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one.Tenant})
		if _, err := p.Accept(machine, tenancy.AcceptInput{Token: token}); !errors.Is(err, authz.ErrUnauthenticated) {
			t.Errorf("a machine: %v", err)
		}
	})
	t.Run("expires", func(t *testing.T) {
		p.skew = 7*24*time.Hour + time.Second
		defer func() { p.skew = 0 }()
		if _, err := p.Accept(theirs, tenancy.AcceptInput{Token: token}); !errors.Is(err, tenancy.ErrInvitation) {
			t.Errorf("gives %v", err)
		}
	})
	t.Run("a newer one replaces it", func(t *testing.T) {
		if _, err := p.Resend(as(t, two), tenancy.ResendInput{ID: m.ID}); !errors.Is(err, tenancy.ErrNoMember) {
			t.Errorf("another tenant resends: %v", err)
		}
		if _, err := p.Resend(as(t, one), tenancy.ResendInput{ID: m.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Accept(theirs, tenancy.AcceptInput{Token: token}); !errors.Is(err, tenancy.ErrInvitation) {
			t.Errorf("the old one gives %v", err)
		}
	})
	t.Run("accepted once", func(t *testing.T) {
		got := p.join(t, "handler@work.example", "id-handler")
		if got.MemberID != m.ID || got.Tenant != one.Tenant || got.Role != authz.RoleCaseHandler || got.LegalName != "one" {
			t.Errorf("joined as %+v", got)
		}
		if (*p.forgotten)[len(*p.forgotten)-1] != "id-handler" {
			t.Error("servers aren't told")
		}
		if _, err := p.Accept(theirs, tenancy.AcceptInput{Token: p.post.token(t, "handler@work.example")}); !errors.Is(err, tenancy.ErrInvitation) {
			t.Errorf("used again: %v", err)
		}
		if _, err := p.Resend(as(t, one), tenancy.ResendInput{ID: m.ID}); !errors.Is(err, tenancy.ErrInvited) {
			t.Errorf("resent: %v", err)
		}
	})
	t.Run("once per person and address", func(t *testing.T) {
		again := tenancy.InviteInput{Email: personal.NewText("HANDLER@work.example"), Role: authz.RoleDPO}
		if _, err := p.InviteMember(as(t, one), again); !errors.Is(err, tenancy.ErrMemberExists) {
			t.Errorf("the same address: %v", err)
		}
		p.invite(t, two, "handler@work.example") // another tenant knows nothing of it
		p.invite(t, one, "handler.private@work.example")
		ctx := p.signedIn(t.Context(), "id-handler", "handler.private@work.example")
		token := p.post.token(t, "handler.private@work.example")
		if _, err := p.Accept(ctx, tenancy.AcceptInput{Token: token}); !errors.Is(err, tenancy.ErrTwice) {
			t.Errorf("the same person under another address: %v", err)
		}
	})
}

func TestInvitationIsIdempotent(t *testing.T) {
	p := start(t)
	_, one, _ := p.tenants(t)
	ctx := change.WithIdempotency(as(t, one), change.Idempotency{Key: "k", Input: []byte("i")})
	in := tenancy.InviteInput{Email: personal.NewText("a@work.example"), Role: authz.RoleDPO}
	first, err := p.InviteMember(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	before := len(p.post.sent)
	again, err := p.InviteMember(ctx, in)
	if err != nil || again.ID != first.ID || len(p.post.sent) != before {
		t.Errorf("a replay gives %v, %v", again, err)
	}
}

func TestWhoMayBeWhat(t *testing.T) {
	p := start(t)
	operator, one, _ := p.tenants(t)
	soon, past, far := p.Now().Add(time.Hour), p.Now().Add(-time.Hour), p.Now().AddDate(2, 0, 0)
	email := personal.NewText("new@work.example")
	for name, tt := range map[string]struct {
		by   *tenancy.Membership
		in   tenancy.InviteInput
		want error // nil: errs.Invalid at field
		at   string
	}{
		"an operator of a customer":           {one, tenancy.InviteInput{Role: authz.RoleOperator}, tenancy.ErrOperator, "role"},
		"an owner of the provider":            {operator, tenancy.InviteInput{Role: authz.RoleOwner}, tenancy.ErrOperator, "role"},
		"a clearance that an operator lacks":  {operator, tenancy.InviteInput{Role: authz.RoleDPO, Clearances: []authz.Clearance{authz.ClearAML}}, tenancy.ErrClearance, "clearances"},
		"an auditor for ever":                 {one, tenancy.InviteInput{Role: authz.RoleAuditor}, tenancy.ErrAuditor, "expiresAt"},
		"an auditor for years":                {one, tenancy.InviteInput{Role: authz.RoleAuditor, ExpiresAt: &far}, tenancy.ErrAuditor, "expiresAt"},
		"an auditor with special categories":  {one, tenancy.InviteInput{Role: authz.RoleAuditor, ExpiresAt: &soon, Clearances: []authz.Clearance{authz.ClearArt9}}, tenancy.ErrSpecial, "clearances"},
		"a membership that has ended already": {one, tenancy.InviteInput{Role: authz.RoleDPO, ExpiresAt: &past}, nil, "expiresAt"},
		"a purpose in words":                  {one, tenancy.InviteInput{Role: authz.RoleDPO, Purposes: []string{"because I can"}}, nil, "purposes"},
		"a language that isn't":               {one, tenancy.InviteInput{Role: authz.RoleDPO, Language: new("dänisch!")}, nil, "language"},
	} {
		tt.in.Email = email
		_, err := p.InviteMember(as(t, tt.by), tt.in)
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || e.Field != tt.at || tt.want != nil && !errors.Is(err, tt.want) || tt.want == nil && e.Kind != errs.Invalid {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if _, err := p.InviteMember(as(t, one), tenancy.InviteInput{Email: personal.NewText("nobody"), Role: authz.RoleDPO}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("no address gives %v", err)
	}
	m, err := p.InviteMember(as(t, one), tenancy.InviteInput{
		Email: email, Role: authz.RoleAuditor, ExpiresAt: &soon, Clearances: []authz.Clearance{authz.ClearConfidential, authz.ClearConfidential},
		Purposes: []string{"dpv:LegalCompliance"}, Language: new("en"),
	})
	if err != nil || len(m.Clearances) != 1 || m.Language != "en" || !m.ExpiresAt.Equal(soon.Truncate(time.Millisecond)) {
		t.Fatalf("got %+v, %v", m, err)
	}
	p.join(t, "new@work.example", "id-auditor")
	p.skew = 2 * time.Hour
	if m, err = p.Member(as(t, one), m.ID); err != nil || m.State != tenancy.Expired {
		t.Errorf("after its time: %v, %v", m, err)
	}
	later := soon.Add(24 * time.Hour)
	m, err = p.ChangeMember(as(t, one), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: m.Version, ExpiresAt: &later})
	if err != nil || m.State != tenancy.Joined {
		t.Errorf("with a new end: %+v, %v", m, err)
	}
	if all, err := p.MembershipsOf(tenant.System(t.Context(), "test"), "id-auditor"); err != nil || len(all) != 1 {
		t.Errorf("with a new end the person works for %d tenants, %v", len(all), err)
	}
	in := input("three", "three")
	in.Owner.Clearances = []authz.Clearance{authz.ClearAML}
	if _, err := p.Create(as(t, operator), in); err != nil {
		t.Fatal(err)
	}
	if three := p.join(t, "owner@three.example", "id-three"); !slices.Equal(three.Clearances, in.Owner.Clearances) {
		t.Errorf("the first owner holds %v", three.Clearances)
	}
}

func TestChangesOfMembers(t *testing.T) {
	p := start(t)
	_, one, two := p.tenants(t)
	m := p.invite(t, one, "handler@work.example")
	p.join(t, "handler@work.example", "id-handler")
	dpo := authz.RoleDPO
	if _, err := p.ChangeMember(as(t, two), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: 2, Role: &dpo}); !errors.Is(err, tenancy.ErrNoMember) {
		t.Errorf("another tenant changes: %v", err)
	}
	if _, err := p.ChangeMember(as(t, one), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: 1, Role: &dpo}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version gives %v", err)
	}
	*p.forgotten = nil
	art9 := []authz.Clearance{authz.ClearArt9, authz.ClearAML} // an owner clears others for what they lack
	got, err := p.ChangeMember(as(t, one), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: 2, Role: &dpo, Clearances: art9, Purposes: []string{"kyc"}})
	if err != nil || got.Role != dpo || got.Version != 3 || !slices.Equal(*p.forgotten, forgotten{"id-handler"}) {
		t.Fatalf("got %+v, %v, forgotten %v", got, err, *p.forgotten)
	}
	if got, err = p.ChangeMember(as(t, one), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: 3, Clear: []tenancy.MemberField{tenancy.MemberPurposes}}); err != nil || got.Purposes != nil {
		t.Errorf("cleared: %v, %v", got, err)
	}
	of, err := p.MembershipsOf(tenant.System(t.Context(), "test"), "id-handler")
	if err != nil || len(of) != 1 || of[0].Role != dpo || !slices.Equal(of[0].Clearances, art9) {
		t.Errorf("memberships %v, %v", of, err)
	}
	owner := authz.RoleOwner
	if _, err := p.ChangeMember(as(t, &of[0]), tenancy.ChangeInput{ID: m.ID, ExpectedVersion: 4, Role: &owner}); !errors.Is(err, tenancy.ErrSelf) {
		t.Errorf("their own: %v", err)
	}
	if got, err = p.RemoveMember(as(t, one), tenancy.RemoveInput{ID: m.ID, ExpectedVersion: 4}); err != nil || got.State != tenancy.Removed {
		t.Fatalf("removed: %v, %v", got, err)
	}
	if of, err := p.MembershipsOf(tenant.System(t.Context(), "test"), "id-handler"); err != nil || len(of) != 0 {
		t.Errorf("removed and has %v, %v", of, err)
	}
	if _, err := p.RemoveMember(as(t, one), tenancy.RemoveInput{ID: m.ID, ExpectedVersion: 5}); !errors.Is(err, tenancy.ErrGone) {
		t.Errorf("removed twice: %v", err)
	}
	p.invite(t, one, "handler@work.example") // the address is free again
	if again := p.join(t, "handler@work.example", "id-handler"); again.MemberID == m.ID {
		t.Error("the old membership came back")
	}
}

func TestAnInvitationIsWithdrawn(t *testing.T) {
	p := start(t)
	_, one, _ := p.tenants(t)
	m := p.invite(t, one, "handler@work.example")
	if _, err := p.RemoveMember(as(t, one), tenancy.RemoveInput{ID: m.ID, ExpectedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	ctx := p.signedIn(t.Context(), "id-handler", "handler@work.example")
	if _, err := p.Accept(ctx, tenancy.AcceptInput{Token: p.post.token(t, "handler@work.example")}); !errors.Is(err, tenancy.ErrInvitation) {
		t.Errorf("gives %v", err)
	}
	before := len(p.ids.invited)
	if err := p.Prepare(as(t, one), m.ID); err != nil || len(p.ids.invited) != before {
		t.Errorf("a late job writes to a person who isn't invited any more: %v", err)
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	p := start(t)
	operator, one, _ := p.tenants(t)
	owner, handler, soon := authz.RoleOwner, authz.RoleCaseHandler, p.Now().Add(time.Hour)
	for name, last := range map[string]*tenancy.Membership{"owner": one, "operator": operator} {
		if _, err := p.RemoveMember(as(t, last), tenancy.RemoveInput{ID: last.MemberID, ExpectedVersion: 2}); !errors.Is(err, tenancy.ErrLastOwner) {
			t.Errorf("the last %s leaves: %v", name, err)
		}
	}
	second, err := p.InviteMember(as(t, one), tenancy.InviteInput{
		Email: personal.NewText("second@one.example"), Role: owner, Clearances: one.Clearances, ExpiresAt: &soon,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.RemoveMember(as(t, one), tenancy.RemoveInput{ID: one.MemberID, ExpectedVersion: 2}); !errors.Is(err, tenancy.ErrLastOwner) {
		t.Errorf("beside one who hasn't accepted: %v", err)
	}
	other := p.join(t, "second@one.example", "id-second")
	for name, in := range map[string]tenancy.ChangeInput{"demoted": {Role: &handler}, "given an end": {ExpiresAt: &soon}} {
		in.ID, in.ExpectedVersion = one.MemberID, 2
		if _, err := p.ChangeMember(as(t, other), in); !errors.Is(err, tenancy.ErrLastOwner) {
			t.Errorf("%s by one whose time will end: %v", name, err)
		}
	}
	in := tenancy.ChangeInput{ID: second.ID, ExpectedVersion: 2, Clear: []tenancy.MemberField{tenancy.MemberExpiresAt}}
	if _, err := p.ChangeMember(as(t, one), in); err != nil {
		t.Fatal(err)
	}
	// Two owners who demote each other at the same time: one of them stays.
	for round := range 5 {
		var wg sync.WaitGroup
		failed := make([]error, 2)
		a, err := p.Member(as(t, one), one.MemberID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.Member(as(t, one), second.ID)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			_, failed[0] = p.ChangeMember(as(t, one), tenancy.ChangeInput{ID: b.ID, ExpectedVersion: b.Version, Role: &handler})
		})
		wg.Go(func() {
			_, failed[1] = p.ChangeMember(as(t, other), tenancy.ChangeInput{ID: a.ID, ExpectedVersion: a.Version, Role: &handler})
		})
		wg.Wait()
		if (failed[0] == nil) == (failed[1] == nil) {
			t.Fatalf("round %d: %v and %v", round, failed[0], failed[1])
		}
		demoted := b.ID
		if failed[0] != nil {
			demoted = a.ID
		}
		m, err := p.Member(as(t, one), demoted)
		if err != nil {
			t.Fatal(err)
		}
		by := one
		if demoted == one.MemberID {
			by = other
		}
		if _, err := p.ChangeMember(as(t, by), tenancy.ChangeInput{ID: demoted, ExpectedVersion: m.Version, Role: &owner}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListOfMembers(t *testing.T) {
	p := start(t)
	_, one, two := p.tenants(t)
	for _, name := range []string{"a", "b", "c"} {
		p.invite(t, one, name+"@work.example")
	}
	var seen []string
	r := page.Request{First: 2}
	for {
		c, err := p.Members(as(t, one), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Nodes() {
			seen = append(seen, m.Email.Reveal())
		}
		if !c.PageInfo.HasNextPage {
			break
		}
		r.After = c.PageInfo.EndCursor
	}
	slices.Sort(seen)
	if want := []string{"a@work.example", "b@work.example", "c@work.example", "owner@one.example"}; !slices.Equal(seen, want) {
		t.Errorf("listed %v", seen)
	}
	if c, err := p.Members(as(t, two), page.Request{First: 10}); err != nil || len(c.Edges) != 1 {
		t.Errorf("the second tenant lists %v, %v", c, err)
	}
	if _, err := p.Member(as(t, two), one.MemberID); !errors.Is(err, tenancy.ErrNoMember) {
		t.Errorf("the second tenant reads a member: %v", err)
	}
}
