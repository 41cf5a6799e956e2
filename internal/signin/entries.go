package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authn"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Forgetter is what servers have cached of who is signed in.
type Forgetter interface {
	Forget(ctx context.Context, identity string)
}

// Entries writes sign-ins and sign-outs to the audit logs of the tenants that
// people, and machines, work for.
type Entries struct {
	Redis    redis.UniversalClient
	Recorder *audit.Recorder
	Sessions authn.Sessions
	Members  authn.Members
	Cache    Forgetter
	Log      *slog.Logger
}

const (
	metPrefix = "vogter:met:"
	// metLife is how long the servers together remember a sign-in: no session is
	// as long. A machine client that goes on is an entry each time.
	metLife = 30 * 24 * time.Hour
)

// Entered writes that the caller in ctx has signed in, unless a server did so
// before. The sign tells sign-ins apart. If Redis can't tell, there are two
// entries rather than none.
func (e *Entries) Entered(ctx context.Context, sign string) error {
	sum := sha256.Sum256([]byte(sign))
	key := metPrefix + hex.EncodeToString(sum[:])
	first, err := e.Redis.SetNX(ctx, key, 1, metLife).Result()
	if err != nil {
		e.Log.WarnContext(ctx, "a sign-in may be in the audit log twice", "err", err)
	} else if !first {
		return nil
	}
	p := authz.FromContext(ctx)
	ev := audit.Event{Action: strings.ToLower(string(p.Kind)) + ".signIn", Object: p.Credential}
	if p.AAL != "" {
		ev.Fields = []string{string(p.AAL)}
	}
	if err := e.Recorder.Record(ctx, ev); err != nil {
		_ = e.Redis.Del(context.WithoutCancel(ctx), key).Err() // best effort: the caller tries again
		return err
	}
	return nil
}

// SignOut writes that a session is about to end, and returns what is to be done
// when it has. A session that isn't known is nobody's.
func (e *Entries) SignOut(ctx context.Context, c authn.Credential) (ended func(context.Context), err error) {
	ended = func(context.Context) {}
	s, err := e.Sessions.WhoAmI(ctx, c)
	if errs.KindOf(err) == errs.Unauthenticated {
		return ended, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := e.Members.MembershipsOf(tenant.System(ctx, "sign-out"), s.Identity)
	if err != nil {
		return nil, fmt.Errorf("find memberships: %w", err)
	}
	for _, m := range all {
		p := authz.Principal{Kind: authz.KindMember, ID: m.MemberID, Tenant: m.Tenant, Role: m.Role, Credential: s.ID, Identity: s.Identity}
		if m.Role == authz.RoleOperator {
			p.Kind, p.Home = authz.KindOperator, m.Tenant
		}
		of := authz.NewContext(tenant.NewContext(ctx, m.Tenant), p)
		if err := e.Recorder.Record(of, audit.Event{Action: strings.ToLower(string(p.Kind)) + ".signOut", Object: s.ID}); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) { e.Cache.Forget(ctx, s.Identity) }, nil
}
