package breakglass_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/breakglass"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

const home tenant.ID = "ten_pppppppppppppppp"

// tenants are the first and second, each with one owner.
type tenants struct{}

func (tenants) Get(ctx context.Context) (*tenancy.Tenant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil || of != testenv.One && of != testenv.Two {
		return nil, tenancy.ErrNotFound
	}
	return &tenancy.Tenant{ID: of, TimeZone: "Europe/Copenhagen"}, nil
}

func (tenants) Owners(ctx context.Context) ([]*tenancy.Member, error) {
	of, err := tenant.FromContext(ctx)
	return []*tenancy.Member{{ID: id.New(id.Member, of), Tenant: of, Email: personal.NewText("owner@work.example")}}, err
}

// post keeps the mail that is queued.
type post []notify.Message

func (p *post) Queue(_ context.Context, m notify.Message) (job.Spec, error) {
	*p = append(*p, m)
	return job.Spec{Type: "test:mail", Object: "msg"}, nil
}

type world struct {
	*breakglass.Service
	post     post
	skew     time.Duration
	operator context.Context
	one, two context.Context
}

func start(t *testing.T) *world {
	t.Helper()
	db, v, w := testenv.Mongo(t), testenv.Vault(t), &world{}
	changes, _ := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	w.Service = breakglass.NewService(breakglass.Config{
		Store: mongo.NewBreakGlassStore(db, v), Changes: changes, Tenants: tenants{}, Mail: &w.post, Vault: v,
		Now: func() time.Time { return testenv.Now().Add(w.skew) },
	})
	w.operator = operator(t, "mem_operator", home)
	w.one, w.two = tenant.NewContext(t.Context(), testenv.One), tenant.NewContext(t.Context(), testenv.Two)
	return w
}

func operator(t *testing.T, operatorID string, of tenant.ID) context.Context {
	t.Helper()
	return tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindOperator, ID: operatorID, Tenant: of, Home: home, Role: authz.RoleOperator,
	}), of)
}

func enter(of tenant.ID) breakglass.EnterInput {
	return breakglass.EnterInput{Tenant: string(of), Reason: "ticket 4711: the import stands still", Minutes: 30}
}

func TestAccess(t *testing.T) {
	w := start(t)
	if _, err := w.Access(w.one, "mem_operator"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("without a grant: %v", err)
	}
	g, err := w.Enter(w.operator, enter(testenv.One))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Access(w.one, "mem_operator"); err != nil || got != g.ID {
		t.Errorf("got %s, %v", got, err)
	}
	for name, err := range map[string]error{
		"in another tenant": second(w.Access(w.two, "mem_operator")), "of another operator": second(w.Access(w.one, "mem_other")),
	} {
		if errs.KindOf(err) != errs.NotFound {
			t.Errorf("access %s: %v", name, err)
		}
	}
	if len(w.post) != 1 || w.post[0].Template != notify.TemplateBreakGlass || w.post[0].Vars["reason"].Reveal() != g.Reason.Reveal() {
		t.Errorf("mailed %v", w.post)
	}
	c, err := w.List(w.one, page.Request{First: 10})
	if err != nil || len(c.Edges) != 1 || c.Nodes()[0].Reason.Reveal() != g.Reason.Reveal() || c.Nodes()[0].Operator != "mem_operator" {
		t.Errorf("the tenant sees %v, %v", c, err)
	}
	if c, err := w.List(w.two, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
		t.Errorf("the second tenant sees %v, %v", c, err)
	}
	if _, err := w.Get(w.two, g.ID); !errors.Is(err, breakglass.ErrNotFound) {
		t.Errorf("the second tenant reads it: %v", err)
	}

	w.skew = 29 * time.Minute
	if _, err := w.Access(w.one, "mem_operator"); err != nil {
		t.Errorf("before its end: %v", err)
	}
	w.skew = 30*time.Minute + time.Second
	if _, err := w.Access(w.one, "mem_operator"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("after its end: %v", err)
	}
	if _, err := w.Leave(w.operator, breakglass.LeaveInput{Tenant: string(testenv.One)}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("leaving afterwards: %v", err)
	}
}

func second(_ string, err error) error { return err }

func TestLeaving(t *testing.T) {
	w := start(t)
	for range 2 { // two grants at once
		if _, err := w.Enter(w.operator, enter(testenv.One)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Leave(operator(t, "mem_other", home), breakglass.LeaveInput{Tenant: string(testenv.One)}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another operator: %v", err)
	}
	g, err := w.Leave(operator(t, "mem_operator", testenv.One), breakglass.LeaveInput{Tenant: string(testenv.One)})
	if err != nil || g.EndedAt == nil || g.Active(testenv.Now()) {
		t.Fatalf("left: %v, %v", g, err)
	}
	if _, err := w.Access(w.one, "mem_operator"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("afterwards: %v", err)
	}
}

func TestEnteringIsIdempotent(t *testing.T) {
	w := start(t)
	ctx := change.WithIdempotency(w.operator, change.Idempotency{Key: "k", Input: []byte("i")})
	first, err := w.Enter(ctx, enter(testenv.One))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.Enter(ctx, enter(testenv.One)); err != nil || again.ID != first.ID || len(w.post) != 1 {
		t.Errorf("a replay gives %v, %v and %d mails", again, err, len(w.post))
	}
}

func TestRefusals(t *testing.T) {
	w := start(t)
	owner := tenant.NewContext(authz.NewContext(t.Context(), authz.Principal{
		Kind: authz.KindMember, ID: "mem_1", Tenant: testenv.Two, Role: authz.RoleOwner,
	}), testenv.Two)
	for name, tt := range map[string]struct {
		ctx  context.Context
		edit func(*breakglass.EnterInput)
		want error
	}{
		"an owner":              {owner, func(*breakglass.EnterInput) {}, breakglass.ErrHome},
		"from within another":   {operator(t, "mem_operator", testenv.Two), func(*breakglass.EnterInput) {}, breakglass.ErrHome},
		"the provider":          {w.operator, func(in *breakglass.EnterInput) { in.Tenant = string(home) }, breakglass.ErrOwn},
		"an unknown tenant":     {w.operator, func(in *breakglass.EnterInput) { in.Tenant = "ten_cccccccccccccccc" }, breakglass.ErrTenant},
		"no tenant":             {w.operator, func(in *breakglass.EnterInput) { in.Tenant = "x" }, breakglass.ErrTenant},
		"no time":               {w.operator, func(in *breakglass.EnterInput) { in.Minutes = 0 }, breakglass.ErrMinutes},
		"too long":              {w.operator, func(in *breakglass.EnterInput) { in.Minutes = 241 }, breakglass.ErrMinutes},
		"no reason":             {w.operator, func(in *breakglass.EnterInput) { in.Reason = "   because   " }, breakglass.ErrReason},
		"a story":               {w.operator, func(in *breakglass.EnterInput) { in.Reason = strings.Repeat("x", 301) }, breakglass.ErrReason},
		"a reason of two lines": {w.operator, func(in *breakglass.EnterInput) { in.Reason = "ticket 4711\nfor the import" }, breakglass.ErrReason},
	} {
		in := enter(testenv.One)
		tt.edit(&in)
		if _, err := w.Enter(tt.ctx, in); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if c, err := w.List(w.one, page.Request{First: 10}); err != nil || len(c.Edges) != 0 || len(w.post) != 0 {
		t.Errorf("something was left: %v, %v, %v", c, err, w.post)
	}
}
