// Package breakglass lets operators of the platform into a tenant that isn't
// theirs: with a reason, for a time, and in sight of the tenant (DOMAIN §1.4).
// Without a grant there is no access.
package breakglass

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Grant lets one operator into one tenant.
type Grant struct {
	ID        string
	Tenant    tenant.ID
	Operator  string        // id of the operator, a member of the provider
	Reason    personal.Text // in the operator's words, which ought to name no person
	CreatedAt time.Time
	ExpiresAt time.Time
	EndedAt   *time.Time // when the operator left before
}

// Active reports whether the grant lets its operator in at a time.
func (g *Grant) Active(now time.Time) bool { return g.EndedAt == nil && now.Before(g.ExpiresAt) }

// EnterInput asks for a grant.
type EnterInput struct {
	Tenant  string
	Reason  string
	Minutes int
}

// LeaveInput ends the caller's grant for a tenant.
type LeaveInput struct{ Tenant string }

// Connection is a page of grants.
type Connection = page.Connection[*Grant]

// Edge is a grant in a page of them.
type Edge = page.Edge[*Grant]

// Limits.
const (
	MaxMinutes = 240
	minReason  = 10
	maxReason  = 300
)

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such access")
	ErrTenant   = errs.New(errs.NotFound, "no such tenant").At("tenant")
	ErrHome     = errs.New(errs.Forbidden, "an operator enters tenants from the provider's own: leave header Vogter-Tenant out").Under("breakGlass.home")
	ErrOwn      = errs.New(errs.Precondition, "the provider is no tenant to enter").At("tenant").Under("breakGlass.customer")
	ErrMinutes  = errs.New(errs.Invalid, "access lasts 1 to %d minutes", MaxMinutes).At("minutes")
	ErrReason   = errs.New(errs.Invalid, "a reason is a text of %d to %d characters on one line: name a ticket and no person", minReason, maxReason).At("reason")
)

// Store keeps grants, for the tenant in ctx: the one that is entered.
type Store interface {
	// Insert works in a change's transaction.
	Insert(ctx context.Context, g *Grant) error
	// Get returns a grant, or ErrNotFound.
	Get(ctx context.Context, grantID string) (*Grant, error)
	// End sets the end of a grant unless it has one.
	End(ctx context.Context, grantID string, at time.Time) error
	// Active returns the operator's grant that ends last, of those that let in at a
	// time, or ErrNotFound.
	Active(ctx context.Context, operator string, now time.Time) (*Grant, error)
	// List returns up to limit grants, the newest first, after a position.
	List(ctx context.Context, after *page.Position, limit int) ([]*Grant, error)
}

// Tenants knows the tenants and who answers for them, for the tenant in ctx.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	Owners(ctx context.Context) ([]*tenancy.Member, error)
}

// Mailer queues mail within a change, and returns the job that sends it.
type Mailer interface {
	Queue(ctx context.Context, m notify.Message) (job.Spec, error)
}

// Vault makes keys.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Config is what a Service is made of.
type Config struct {
	Store   Store
	Changes *change.Runner
	Tenants Tenants
	Mail    Mailer
	Vault   Vault
	Now     func() time.Time
}

// Service gives and ends grants.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// Enter gives the calling operator access to a tenant, writes it to that
// tenant's audit log, and tells its owners by mail.
func (s *Service) Enter(ctx context.Context, in EnterInput) (*Grant, error) {
	p := authz.FromContext(ctx)
	of := tenant.ID(in.Tenant)
	reason := strings.TrimSpace(in.Reason)
	switch n := utf8.RuneCountInString(reason); {
	case p.Kind != authz.KindOperator || p.Tenant != p.Home:
		return nil, ErrHome
	case of == p.Home:
		return nil, ErrOwn
	case !id.ValidTenant(of):
		return nil, ErrTenant
	case in.Minutes < 1 || in.Minutes > MaxMinutes:
		return nil, ErrMinutes
	case n < minReason || n > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unprintable):
		return nil, ErrReason
	}
	within := tenant.NewContext(ctx, of)
	t, err := s.Tenants.Get(within)
	if errs.KindOf(err) == errs.NotFound {
		return nil, ErrTenant
	}
	if err != nil {
		return nil, err
	}
	loc, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, err
	}
	owners, err := s.Tenants.Owners(within)
	if err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(within, tenancy.Contact(of)); err != nil {
		return nil, err
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	g := &Grant{
		ID: id.New(id.BreakGlass, of), Tenant: of, Operator: p.ID, Reason: personal.NewText(reason), CreatedAt: now,
		ExpiresAt: now.Add(time.Duration(in.Minutes) * time.Minute),
	}
	// The entry, the grant and the mail are the tenant's; the idempotency key is
	// that of the operator's call.
	grantID, err := s.Changes.Create(within, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "tenant.enter", Object: g.ID}
		for _, m := range owners {
			sent, err := s.Mail.Queue(ctx, notify.Message{
				Template: notify.TemplateBreakGlass, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(of, m.ID),
				Vars: map[string]personal.Text{
					"reason": g.Reason, "until": personal.NewText(g.ExpiresAt.In(loc).Format("2006-01-02 15:04 MST")),
				},
			})
			if err != nil {
				return c, err
			}
			c.Then = append(c.Then, sent)
		}
		return c, s.Store.Insert(ctx, g)
	})
	if err != nil {
		return nil, err
	}
	if grantID != g.ID { // the same call was carried out before
		return s.Store.Get(within, grantID)
	}
	return g, nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Leave ends the calling operator's access to a tenant, from the provider or
// from within.
func (s *Service) Leave(ctx context.Context, in LeaveInput) (*Grant, error) {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindOperator || !id.ValidTenant(tenant.ID(in.Tenant)) {
		return nil, ErrNotFound.At("tenant")
	}
	within := tenant.NewContext(ctx, tenant.ID(in.Tenant))
	var left *Grant
	now := s.Now().UTC().Truncate(time.Millisecond)
	for {
		// All that are running, should there be several.
		g, err := s.Store.Active(within, p.ID, s.Now())
		if errs.KindOf(err) == errs.NotFound && left != nil {
			return left, nil
		}
		if err != nil {
			return nil, errs.At(err, "tenant")
		}
		err = s.Changes.Do(within, func(ctx context.Context) (change.Change, error) {
			return change.Change{Action: "tenant.leave", Object: g.ID}, s.Store.End(ctx, g.ID, now)
		})
		if err != nil {
			return nil, err
		}
		g.EndedAt = &now
		left = g
	}
}

// Get returns a grant to the tenant in ctx, or ErrNotFound.
func (s *Service) Get(ctx context.Context, grantID string) (*Grant, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.BreakGlass, of, grantID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Get(ctx, grantID)
}

// Access implements authn.Grants.
func (s *Service) Access(ctx context.Context, operator string) (string, error) {
	g, err := s.Store.Active(ctx, operator, s.Now())
	if err != nil {
		return "", err
	}
	return g.ID, nil
}

// List returns a page of the grants to the tenant in ctx, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	at := func(g *Grant) page.Position { return page.Position{CreatedAt: g.CreatedAt, ID: g.ID} }
	return page.Read(ctx, page.List{Of: id.BreakGlass}, r, at, s.Store.List)
}
