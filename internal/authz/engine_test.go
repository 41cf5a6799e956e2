package authz_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	one      tenant.ID = "ten_aaaaaaaaaaaaaaaa"
	provider tenant.ID = "ten_pppppppppppppppp"
)

func now() time.Time { return time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) }

func engine(tb testing.TB, level authz.AAL) *authz.Engine {
	tb.Helper()
	e, err := authz.New(authz.Config{Now: now, StepUp: level})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// member is one who has just signed in with two factors.
func member(role authz.Role, clearances ...authz.Clearance) authz.Principal {
	return authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: one, Role: role, Clearances: clearances, AAL: authz.AAL2,
		AuthenticatedAt: now().Add(-time.Minute),
	}
}

func as(tb testing.TB, p authz.Principal) context.Context {
	tb.Helper()
	return authz.NewContext(tb.Context(), p)
}

func everything() []authz.Clearance {
	return []authz.Clearance{
		authz.ClearConfidential, authz.ClearNationalID, authz.ClearArt9, authz.ClearArt10, authz.ClearAML,
	}
}

// TestRoles looks at what tells the roles apart; the test of the API has all of it.
func TestRoles(t *testing.T) {
	e := engine(t, authz.AAL2)
	operator := authz.Principal{
		Kind: authz.KindOperator, ID: "mem_9", Tenant: provider, Home: provider, Role: authz.RoleOperator, AAL: authz.AAL2, AuthenticatedAt: now(),
	}
	entered := operator
	entered.Tenant = one
	homeless := operator
	homeless.Home = ""
	machine := authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one, Grants: []authz.Permission{authz.RecordRead, authz.MemberManage}}
	person := authz.Principal{Kind: authz.KindSubject, ID: "ses_1", Tenant: one, Subject: "sub_1"}
	tests := []struct {
		name   string
		p      authz.Principal
		do     authz.Permission
		policy string
		want   bool
	}{
		{"owner", member(authz.RoleOwner), authz.RecordDelete, "role.owner", true},
		{"owner and the platform", member(authz.RoleOwner), authz.TenantCreate, authz.NoPolicy, false},
		{"case handler", member(authz.RoleCaseHandler), authz.RecordWrite, "role.caseHandler", true},
		{"case handler and deletion", member(authz.RoleCaseHandler), authz.RecordDelete, authz.NoPolicy, false},
		{"approver", member(authz.RoleApprover), authz.PolicyApprove, "role.approver", true},
		{"DPO sees", member(authz.RoleDPO), authz.RecordRead, "role.dpo", true},
		{"DPO decides nothing", member(authz.RoleDPO), authz.PolicyApprove, authz.NoPolicy, false},
		{"auditor", member(authz.RoleAuditor), authz.AuditRead, "role.auditor", true},
		{"auditor and persons", member(authz.RoleAuditor), authz.SubjectRead, authz.NoPolicy, false},
		{"developer", member(authz.RoleDeveloper), authz.WebhookManage, "role.developer", true},
		{"member with the operator's role", member(authz.RoleOperator), authz.TenantCreate, authz.NoPolicy, false},
		{"member with no role", member(""), authz.NodeRead, authz.NoPolicy, false},
		{"operator at home", operator, authz.TenantCreate, "operator.platform", true},
		{"operator at home and persons", operator, authz.SubjectRead, authz.NoPolicy, false},
		{"operator elsewhere", entered, authz.SubjectRead, "operator.breakGlass", true},
		{"operator elsewhere and the platform", entered, authz.TenantCreate, authz.NoPolicy, false},
		{"operator of no known home", homeless, authz.TenantCreate, authz.NoPolicy, false},
		{"machine", machine, authz.RecordRead, "machine.grants", true},
		{"machine without the grant", machine, authz.RecordWrite, authz.NoPolicy, false},
		{"machine with what none may", machine, authz.MemberManage, "machine.never", false},
		{"data subject", person, authz.SelfRead, "person.self", true},
		{"data subject and others", person, authz.SubjectRead, authz.NoPolicy, false},
		{"system", authz.Principal{Kind: authz.KindSystem, ID: "job", Tenant: one}, authz.RecordDelete, "system", true},
		{"nobody", authz.Principal{}, authz.NodeRead, authz.Anonymous, false},
		{"no such kind", authz.Principal{Kind: "GOD", ID: "x", Tenant: one, Role: authz.RoleOwner}, authz.NodeRead, authz.NoPolicy, false},
	}
	for _, tt := range tests {
		if d := e.Can(as(t, tt.p), tt.do); d.Allowed != tt.want || d.Policy != tt.policy {
			t.Errorf("%s: got %+v, want %t by %s", tt.name, d, tt.want, tt.policy)
		}
	}
	if d := e.Can(t.Context(), authz.NodeRead); d.Allowed {
		t.Error("a context without a caller may do something")
	}
	for of, want := range map[string]bool{"sub_1": true, "sub_2": false} {
		if d := e.CanBelow(as(t, person), authz.RecordRead, of); d.Allowed != want {
			t.Errorf("below %s: got %+v", of, d)
		}
	}
	if d := e.CanBelow(as(t, member(authz.RoleDeveloper)), authz.RecordRead, "sub_1"); d.Allowed {
		t.Error("a developer may read below a person")
	}
}

func TestStepUp(t *testing.T) {
	owner := func(level authz.AAL, age time.Duration) authz.Principal {
		p := member(authz.RoleOwner)
		p.AAL, p.AuthenticatedAt = level, now().Add(-age)
		return p
	}
	never := owner(authz.AAL2, 0)
	never.AuthenticatedAt = time.Time{}
	auditor := member(authz.RoleAuditor)
	auditor.AAL = authz.AAL1
	tests := []struct {
		name   string
		demand authz.AAL
		p      authz.Principal
		do     authz.Permission
		rule   string
	}{
		{"two factors, just now", authz.AAL2, owner(authz.AAL2, 0), authz.MemberManage, ""},
		{"at the limit", authz.AAL2, owner(authz.AAL2, 15*time.Minute), authz.MemberManage, ""},
		{"too long ago", authz.AAL2, owner(authz.AAL2, 15*time.Minute+time.Second), authz.MemberManage, "stepUp.age"},
		{"one factor", authz.AAL2, owner(authz.AAL1, 0), authz.MemberManage, "stepUp.aal2"},
		{"one factor where that is enough", authz.AAL1, owner(authz.AAL1, 0), authz.MemberManage, ""},
		{"too long ago where one factor is enough", authz.AAL1, owner(authz.AAL1, time.Hour), authz.MemberManage, "stepUp.age"},
		{"no time of sign-in", authz.AAL2, never, authz.MemberManage, "stepUp.age"},
		{"no setting is the strict one", "", owner(authz.AAL1, 0), authz.MemberManage, "stepUp.aal2"},
		{"what isn't sensitive", authz.AAL2, owner(authz.AAL1, 24*time.Hour), authz.RecordWrite, ""},
		{"who may not at all isn't told to step up", authz.AAL2, auditor, authz.MemberManage, "MEMBER_MANAGE"},
	}
	for _, tt := range tests {
		d := engine(t, tt.demand).Can(as(t, tt.p), tt.do)
		if d.Allowed {
			if tt.rule != "" {
				t.Errorf("%s: allowed", tt.name)
			}
			continue
		}
		var e *errs.Error
		if err := d.Err(tt.do); !errors.Is(err, authz.ErrForbidden) || !errors.As(err, &e) || e.Rule != tt.rule || e.Message == "" {
			t.Errorf("%s: got %+v, want %s", tt.name, e, tt.rule)
		}
	}
}

func TestLook(t *testing.T) {
	e := engine(t, authz.AAL2)
	handler := func(clearances ...authz.Clearance) authz.Principal {
		return member(authz.RoleCaseHandler, clearances...)
	}
	purposes := func(p authz.Principal, stated string, may ...string) authz.Principal {
		p.Purposes, p.Purpose = may, stated
		return p
	}
	class := func(c string) authz.Data { return authz.Data{Class: c, Secrecy: "NONE", About: "sub_1"} }
	aml := authz.Data{Class: "ORDINARY", Secrecy: "AML", About: "sub_1"}
	restricted, held, assigned, marketing := class("ORDINARY"), class("ORDINARY"), class("ORDINARY"), class("ORDINARY")
	restricted.Restricted = true
	held.Restricted, held.Held = true, true
	assigned.Assignees = []string{"mem_7"}
	marketing.Purposes = []string{"dpv:DirectMarketing"}
	assignee := handler()
	assignee.ID = "mem_7"
	machine := authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one}
	operator := authz.Principal{Kind: authz.KindOperator, ID: "mem_9", Tenant: one, Home: provider, Role: authz.RoleOperator, Clearances: everything()}
	person := authz.Principal{Kind: authz.KindSubject, ID: "ses_1", Tenant: one, Subject: "sub_1"}
	system := authz.Principal{Kind: authz.KindSystem, ID: "job", Tenant: one}
	const unknown personal.State = "UNKNOWN"
	tests := []struct {
		name   string
		p      authz.Principal
		d      authz.Data
		want   personal.State
		reason authz.Reason
	}{
		{"ordinary", handler(), class("ORDINARY"), personal.Clear, ""},
		{"number", handler(), class("NATIONAL_ID"), personal.Masked, authz.ReasonNationalID},
		{"number with clearance", handler(authz.ClearNationalID), class("NATIONAL_ID"), personal.Clear, ""},
		{"health", handler(), class("ART9"), personal.Withheld, authz.ReasonArt9},
		{"health with another clearance", handler(authz.ClearArt10), class("ART9"), personal.Withheld, authz.ReasonArt9},
		{"health with clearance", handler(authz.ClearArt9), class("ART9"), personal.Clear, ""},
		{"offences", handler(), class("ART10"), personal.Withheld, authz.ReasonArt10},
		{"confidential", handler(), class("CONFIDENTIAL"), personal.Withheld, authz.ReasonConfidential},
		{"machine without clearances", machine, class("CONFIDENTIAL"), personal.Withheld, authz.ReasonConfidential},
		{"report", handler(), aml, unknown, authz.ReasonAML},
		{"report with clearance", handler(authz.ClearAML), aml, personal.Clear, ""},
		{"report and the provider", operator, aml, unknown, authz.ReasonAML},
		{"report and an auditor", member(authz.RoleAuditor, everything()...), aml, unknown, authz.ReasonAML},
		{"report and the person", person, aml, unknown, authz.ReasonAML},
		{"health and the provider", operator, class("ART9"), personal.Withheld, authz.ReasonArt9},
		{"number and the provider", operator, class("NATIONAL_ID"), personal.Masked, authz.ReasonNationalID},
		{"health and an auditor", member(authz.RoleAuditor, everything()...), class("ART9"), personal.Withheld, authz.ReasonArt9},
		{"health and the person", person, class("ART9"), personal.Clear, ""},
		{"data of another and the person", person, authz.Data{Class: "ORDINARY", About: "sub_2"}, personal.Withheld, authz.ReasonPolicy},
		{"restricted", handler(everything()...), restricted, personal.Withheld, authz.ReasonRestricted},
		{"without consent", handler(everything()...), authz.Data{Class: "ORDINARY", Closed: authz.ReasonConsent}, personal.Withheld, authz.ReasonConsent},
		{"objected to", handler(everything()...), authz.Data{Class: "ORDINARY", Closed: authz.ReasonObjection}, personal.Withheld, authz.ReasonObjection},
		{"objected to, and the person", person, authz.Data{Class: "ORDINARY", About: person.Subject, Closed: authz.ReasonObjection}, personal.Clear, ""},
		{"restricted, for claims", purposes(handler(), "art18.claims", "art18.claims"), restricted, personal.Clear, ""},
		{"restricted, for claims nobody granted", purposes(handler(), "art18.claims"), restricted, personal.Withheld, authz.ReasonRestricted},
		{"restricted, on a hold", purposes(handler(), "hold", "hold"), held, personal.Clear, ""},
		{"restricted, on no hold", purposes(handler(), "hold", "hold"), restricted, personal.Withheld, authz.ReasonRestricted},
		{"restricted and the person", person, restricted, personal.Clear, ""},
		{"restricted and a job", system, restricted, personal.Clear, ""},
		{"purpose not stated", purposes(handler(), "", "dpv:ServiceProvision"), class("ORDINARY"), personal.Withheld, authz.ReasonPurpose},
		{"purpose stated", purposes(handler(), "dpv:ServiceProvision", "dpv:ServiceProvision"), class("ORDINARY"), personal.Clear, ""},
		{"not the dataset's purpose", purposes(handler(), "dpv:ServiceProvision"), marketing, personal.Withheld, authz.ReasonPurpose},
		{"the dataset's purpose", purposes(handler(), "dpv:DirectMarketing"), marketing, personal.Clear, ""},
		{"another's case", handler(everything()...), assigned, personal.Withheld, authz.ReasonAssignment},
		{"one's own case", assignee, assigned, personal.Clear, ""},
		{"a case and the DPO", member(authz.RoleDPO), assigned, personal.Clear, ""},
		{"all of it and a job", system, authz.Data{Class: "ART9", Secrecy: "AML", Purposes: []string{"x"}, Assignees: []string{"x"}}, personal.Clear, ""},
		{"nobody", authz.Principal{}, class("ORDINARY"), unknown, authz.ReasonPolicy},
	}
	for _, tt := range tests {
		s := e.Look(as(t, tt.p), tt.d)
		state := s.State
		if !s.Known {
			state = unknown
		}
		if state != tt.want || s.Reason != tt.reason || s.Clear() != (tt.want == personal.Clear) || s.Policy == "" {
			t.Errorf("%s: got %+v, want %s %s", tt.name, s, tt.want, tt.reason)
		}
	}
}

func TestForKeys(t *testing.T) {
	never := []authz.Permission{
		authz.TenantCreate, authz.TenantEnter, authz.VaultRead, authz.VaultManage, authz.APIKeyManage, authz.OAuthClientManage,
		authz.MemberManage, authz.SelfRead, authz.SessionManage, authz.PolicyPropose, authz.PolicyApprove, authz.SecurityEventDispose,
		authz.SelfWrite, authz.ConsentInvalidate, authz.ProcessingPublish, authz.AssessmentAdvise, authz.AssessmentApprove,
		authz.HoldRelease, authz.RetentionWrite, authz.RequestApprove, authz.LetterWrite,
		authz.AgreementSign, authz.AgreementProvide, authz.BreachApprove, authz.BreachReport, authz.EvidenceReview,
		authz.EvidenceTest, authz.DossierExport, authz.BackupRead, authz.BackupManage, authz.TenantClose,
	}
	for _, p := range never {
		if slices.Contains(authz.ForKeys(), p) {
			t.Errorf("a key may hold %s", p)
		}
	}
	if got, want := len(authz.ForKeys()), len(authz.All())-len(never); got != want {
		t.Errorf("%d permissions for keys, want %d", got, want)
	}
}

// TestLanguage: policies can speak of every permission.
func TestLanguage(t *testing.T) {
	for _, do := range authz.All() {
		source := `forbid (principal, action == Action::"` + string(do) + `", resource);`
		if _, err := authz.NewSet(authz.Source{Name: "one", Cedar: source}); err != nil {
			t.Errorf("policies/vogter.cedarschema doesn't know %s: %v", do, err)
		}
	}
}

// TestRemembered: what was decided in a request isn't decided again.
func TestRemembered(t *testing.T) {
	e := engine(t, authz.AAL2)
	ctx := as(t, member(authz.RoleCaseHandler))
	again := func() {
		e.Can(ctx, authz.RecordRead)
		for _, person := range []string{"sub_1", "sub_2"} {
			e.Look(ctx, authz.Data{Class: "ART9", Secrecy: "NONE", About: person})
		}
	}
	again()
	if n := testing.AllocsPerRun(100, again); n > 0 {
		t.Errorf("asked again: %.0f allocations", n)
	}
}

func BenchmarkDecision(b *testing.B) {
	e := engine(b, authz.AAL2)
	machine := authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: one, Grants: authz.ForKeys(), Clearances: everything()}
	b.Run("member, first of a request", func(b *testing.B) {
		for b.Loop() {
			e.Can(authz.NewContext(b.Context(), member(authz.RoleOwner)), authz.MemberManage)
		}
	})
	b.Run("machine, first of a request", func(b *testing.B) {
		for b.Loop() {
			e.Can(authz.NewContext(b.Context(), machine), authz.RecordRead)
		}
	})
	b.Run("again", func(b *testing.B) {
		ctx := authz.NewContext(b.Context(), machine)
		for b.Loop() {
			e.Can(ctx, authz.RecordRead)
		}
	})
	b.Run("page of 100 records with 20 fields", func(b *testing.B) {
		classes := []string{"ORDINARY", "NATIONAL_ID", "ART9", "ART10", "CONFIDENTIAL"}
		for b.Loop() {
			ctx := authz.NewContext(b.Context(), member(authz.RoleCaseHandler))
			for range 100 {
				for f := range 20 {
					e.Look(ctx, authz.Data{Class: classes[f%len(classes)], Secrecy: "NONE", About: "sub_1"})
				}
			}
		}
	})
	b.Run("data, first of a request", func(b *testing.B) {
		for b.Loop() {
			e.Look(authz.NewContext(b.Context(), member(authz.RoleOwner, everything()...)), authz.Data{Class: "ART9", Secrecy: "NONE"})
		}
	})
	b.Run("data, again", func(b *testing.B) {
		ctx := authz.NewContext(b.Context(), member(authz.RoleOwner, everything()...))
		for b.Loop() {
			e.Look(ctx, authz.Data{Class: "ART9", Secrecy: "NONE", About: "sub_1"})
		}
	})
}
