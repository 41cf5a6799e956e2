package policy_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/policy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// office is two servers of a platform on one database.
type office struct {
	here, there struct {
		policies *policy.Service
		engine   *authz.Engine
	}
	now time.Time
	key int
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{now: testenv.Now()}
	now := func() time.Time { return o.now }
	db := testenv.Mongo(t)
	v := testenv.Vault(t)
	changes, recorder := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	for _, server := range []*struct {
		policies *policy.Service
		engine   *authz.Engine
	}{&o.here, &o.there} {
		store := mongo.NewPolicyStore(db)
		loader := policy.NewLoader(store, now)
		var err error
		if server.engine, err = authz.New(authz.Config{Now: now, StepUp: authz.AAL2, Tenants: loader}); err != nil {
			t.Fatal(err)
		}
		server.policies = policy.NewService(policy.Config{
			Engine: server.engine, Recorder: recorder, Store: store, Loader: loader, Changes: changes, Now: now,
		})
	}
	return o
}

// as is a new request of a member.
func (o *office) as(t *testing.T, of tenant.ID, role authz.Role, member string) context.Context {
	t.Helper()
	ctx := authz.NewContext(tenant.NewContext(t.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: member, Tenant: of, Role: role, AAL: authz.AAL2, AuthenticatedAt: o.now,
	})
	o.key++
	return change.WithIdempotency(ctx, change.Idempotency{Key: strconv.Itoa(o.key), Input: []byte(strconv.Itoa(o.key))})
}

const noExports = `@advice("exports go through the head office")
forbid (principal in Role::"CASE_HANDLER", action == Action::"EXPORT_REQUEST", resource);`

func (o *office) propose(t *testing.T, source string) *policy.Policy {
	t.Helper()
	p, err := o.here.policies.Propose(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), policy.ProposeInput{Name: "no-exports", Description: "Exports are central", Source: source})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (o *office) approve(t *testing.T, p *policy.Policy) *policy.Policy {
	t.Helper()
	approved, err := o.here.policies.Approve(o.as(t, testenv.One, authz.RoleApprover, "mem_2"), policy.ApproveInput{ID: p.ID})
	if err != nil {
		t.Fatal(err)
	}
	return approved
}

func TestLifeOfAPolicy(t *testing.T) {
	o := open(t)
	export := func(e *authz.Engine, of tenant.ID) authz.Decision {
		return e.Can(o.as(t, of, authz.RoleCaseHandler, "mem_3"), authz.ExportRequest)
	}
	p := o.propose(t, noExports)
	if p.State != policy.Proposed || p.Version != 1 || p.ProposedBy != "mem_1" || !export(o.here.engine, testenv.One).Allowed {
		t.Errorf("proposed: %+v", p)
	}
	if !export(o.there.engine, testenv.One).Allowed {
		t.Error("the other server forbids what nobody has approved")
	}
	if _, err := o.here.policies.Approve(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), policy.ApproveInput{ID: p.ID}); rule(err) != "FORBIDDEN policy.fourEyes" {
		t.Errorf("approved by the proposer: %v", err)
	}
	if _, err := o.here.policies.Approve(o.as(t, testenv.Two, authz.RoleOwner, "mem_2"), policy.ApproveInput{ID: p.ID}); rule(err) != "NOT_FOUND" {
		t.Errorf("approved by another tenant: %v", err)
	}
	if p = o.approve(t, p); p.State != policy.Active || *p.ApprovedBy != "mem_2" {
		t.Errorf("approved: %+v", p)
	}
	d := export(o.here.engine, testenv.One)
	if d.Allowed || d.Policy != "tenant.no-exports.1" || !strings.Contains(d.Err(authz.ExportRequest).Error(), "head office") {
		t.Errorf("here at once: %+v", d)
	}
	if !export(o.here.engine, testenv.Two).Allowed {
		t.Error("another tenant is forbidden")
	}
	if d := o.here.engine.Can(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), authz.ExportRequest); !d.Allowed {
		t.Errorf("another role: %+v", d)
	}
	o.now = o.now.Add(policy.Fresh)
	if export(o.there.engine, testenv.One).Allowed {
		t.Error("the other server still permits it after 20 seconds")
	}
	// The next version takes the place of the first.
	next := o.approve(t, o.propose(t, strings.Replace(noExports, "EXPORT_REQUEST", "IMPORT_RUN", 1)))
	if next.Version != 2 || !export(o.here.engine, testenv.One).Allowed {
		t.Errorf("second version: %+v", next)
	}
	list, err := o.here.policies.List(o.as(t, testenv.One, authz.RoleDPO, "mem_4"), page.Request{First: 10})
	if err != nil || len(list.Edges) != 2 {
		t.Fatalf("list: %v", err)
	}
	for _, p := range list.Nodes() {
		if (p.Version == 1) != (p.State == policy.Retired) {
			t.Errorf("version %d is %s", p.Version, p.State)
		}
	}
	if _, err := o.here.policies.Retire(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), policy.RetireInput{ID: next.ID}); rule(err) != "FORBIDDEN policy.fourEyes" {
		t.Errorf("retired by the proposer: %v", err)
	}
	if _, err := o.here.policies.Retire(o.as(t, testenv.One, authz.RoleOwner, "mem_2"), policy.RetireInput{ID: next.ID}); err != nil {
		t.Fatal(err)
	}
	if d := o.here.engine.Can(o.as(t, testenv.One, authz.RoleCaseHandler, "mem_3"), authz.ImportRun); !d.Allowed {
		t.Errorf("retired: %+v", d)
	}
	if _, err := o.here.policies.Approve(o.as(t, testenv.One, authz.RoleOwner, "mem_2"), policy.ApproveInput{ID: next.ID}); rule(err) != "PRECONDITION policy.state" {
		t.Errorf("approved again: %v", err)
	}
	mine := o.propose(t, noExports)
	if _, err := o.here.policies.Retire(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), policy.RetireInput{ID: mine.ID}); err != nil {
		t.Errorf("a proposal taken back: %v", err)
	}
	if list, err := o.here.policies.List(o.as(t, testenv.Two, authz.RoleOwner, "mem_9"), page.Request{First: 10}); err != nil || len(list.Edges) != 0 {
		t.Errorf("the second tenant sees %v, %v", list.Edges, err)
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	o := open(t)
	for name, tt := range map[string]struct{ source, want string }{
		"permit":             {`permit (principal, action, resource);`, "INVALID policy.forbid"},
		"two":                {noExports + noExports, "INVALID"},
		"none":               {``, "INVALID"},
		"no Cedar":           {`forbid everything`, "INVALID"},
		"unknown action":     {`forbid (principal, action == Action::"FLY", resource);`, "INVALID"},
		"unknown type":       {`forbid (principal is Robot, action, resource);`, "INVALID"},
		"unknown attribute":  {`forbid (principal is Member, action, resource) when { principal.planted };`, "INVALID"},
		"unknown context":    {`forbid (principal, action, resource) when { context.weather == "planted" };`, "INVALID"},
		"nonsense":           {`forbid (principal, action, resource) when { context.purpose > 3 };`, "INVALID"},
		"too long":           {`forbid (principal, action, resource) when { context.purpose == "` + strings.Repeat("x", 5000) + `" };`, "LIMITED"},
		"too long an advice": {`@advice("` + strings.Repeat("x", 301) + `") forbid (principal, action, resource);`, "LIMITED"},
	} {
		_, err := o.here.policies.Propose(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), policy.ProposeInput{Name: "bad", Description: "Bad", Source: tt.source})
		if got := rule(err); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), `"planted"`) {
			t.Errorf("%s: the error tells what was written: %v", name, err)
		}
	}
	for _, in := range []policy.ProposeInput{{Name: "No Exports", Description: "x", Source: noExports}, {Name: "x", Source: noExports}} {
		if _, err := o.here.policies.Propose(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), in); rule(err) != "INVALID" {
			t.Errorf("%+v: %v", in, err)
		}
	}
	for i := range policy.Max {
		in := policy.ProposeInput{Name: fmt.Sprintf("p-%d", i), Description: "x", Source: noExports}
		if _, err := o.here.policies.Propose(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), in); err != nil {
			t.Fatal(err)
		}
	}
	in := policy.ProposeInput{Name: "one-more", Description: "x", Source: noExports}
	if _, err := o.here.policies.Propose(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), in); rule(err) != "LIMITED" {
		t.Errorf("one too many: %v", err)
	}
}

// TestNobodyIsLockedOut: a policy that forbids everything can be taken back, and
// reaches neither the platform's work nor the persons concerned.
func TestNobodyIsLockedOut(t *testing.T) {
	o := open(t)
	o.approve(t, o.propose(t, `forbid (principal, action, resource);`))
	e := o.here.engine
	for do, want := range map[authz.Permission]bool{
		authz.RecordRead: false, authz.TenantUpdate: false, authz.PolicyRead: true, authz.PolicyApprove: true, authz.SessionManage: true,
	} {
		if d := e.Can(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), do); d.Allowed != want {
			t.Errorf("%s: %+v", do, d)
		}
	}
	data := authz.Data{Class: "ORDINARY", Secrecy: "NONE", About: "sub_1"}
	if s := e.Look(o.as(t, testenv.One, authz.RoleOwner, "mem_1"), data); !s.Known || s.Reason != authz.ReasonPolicy || s.Policy != "tenant.no-exports.1" {
		t.Errorf("data: %+v", s)
	}
	person := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindSubject, ID: "ses_1", Tenant: testenv.One, Subject: "sub_1"})
	system := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindSystem, ID: "job", Tenant: testenv.One})
	if !e.Can(person, authz.SelfRead).Allowed || !e.Look(person, data).Clear() || !e.Can(system, authz.RecordDelete).Allowed {
		t.Error("the person or the platform is forbidden its own")
	}
	operator := authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindOperator, ID: "mem_9", Tenant: testenv.One, Home: testenv.Two, Role: authz.RoleOperator, AAL: authz.AAL2, AuthenticatedAt: o.now,
	})
	if e.Can(operator, authz.SubjectRead).Allowed {
		t.Error("a tenant can't keep operators out")
	}
}

// broken is a store that can't be read.
type broken struct{ policy.Store }

func (broken) Living(context.Context) ([]*policy.Policy, error) { return nil, context.DeadlineExceeded }

// flaky is a store that can break.
type flaky struct {
	policy.Store
	down bool
}

func (f *flaky) Living(ctx context.Context) ([]*policy.Policy, error) {
	if f.down {
		return broken{}.Living(ctx)
	}
	return nil, nil
}

func TestPoliciesThatCannotBeRead(t *testing.T) {
	now := testenv.Now()
	store := &flaky{}
	e, err := authz.New(authz.Config{Now: testenv.Now, StepUp: authz.AAL2, Tenants: policy.NewLoader(store, func() time.Time { return now })})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		ctx := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: testenv.One, Grants: authz.ForKeys()})
		d := e.Can(ctx, authz.RecordRead)
		if d.Allowed {
			return "yes"
		}
		if s := e.Look(ctx, authz.Data{Class: "ORDINARY"}); s.Clear() {
			t.Error("data is shown")
		}
		return rule(d.Err(authz.RecordRead))
	}
	for _, step := range []struct {
		down  bool
		after time.Duration
		want  string
	}{
		{true, 0, "UNAVAILABLE"},
		{false, 0, "yes"},
		{true, policy.Fresh, "yes"}, // as they were known
		{true, 10 * time.Second, "UNAVAILABLE"},
		{false, 0, "yes"},
	} {
		now, store.down = now.Add(step.after), step.down
		if got := ask(); got != step.want {
			t.Errorf("%+v: got %s", step, got)
		}
	}
}

// slow is a store whose first answer is on its way for long.
type slow struct {
	policy.Store
	first          sync.Once
	asked, arrives chan struct{}
}

func (s *slow) Living(ctx context.Context) ([]*policy.Policy, error) {
	living, err := s.Store.Living(ctx)
	s.first.Do(func() {
		close(s.asked)
		<-s.arrives
	})
	return living, err
}

// What was read before a change isn't taken for what holds after it.
func TestChangeWhilePoliciesAreRead(t *testing.T) {
	o := open(t)
	p := o.propose(t, noExports)
	s := &slow{Store: o.here.policies.Store, asked: make(chan struct{}), arrives: make(chan struct{})}
	now := func() time.Time { return o.now }
	loader := policy.NewLoader(s, now)
	engine, err := authz.New(authz.Config{Now: now, StepUp: authz.AAL2, Tenants: loader})
	if err != nil {
		t.Fatal(err)
	}
	o.here.policies.Loader = loader
	exports := func() bool {
		return engine.Can(o.as(t, testenv.One, authz.RoleCaseHandler, "mem_3"), authz.ExportRequest).Allowed
	}
	early := o.as(t, testenv.One, authz.RoleCaseHandler, "mem_3")
	var reading sync.WaitGroup
	reading.Go(func() { engine.Can(early, authz.ExportRequest) })
	<-s.asked
	o.approve(t, p)
	close(s.arrives)
	reading.Wait()
	if exports() {
		t.Error("the policy isn't followed though it was approved here")
	}
}
