package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/detect"
	"github.com/vogter/vogter/internal/machine"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/security"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// watch is what sees to security: the register, and what raises events in it.
type watch struct {
	register *security.Service
	store    *mongo.DetectStore
	inbox    *detect.Inbox
	follower *detect.Follower
}

// openInbox makes what others signal to. It comes before them.
func (p *Platform) openInbox(tenants *mongo.TenantStore) {
	p.watch.store = mongo.NewDetectStore(p.db)
	p.watch.inbox = detect.NewInbox(p.watch.store, tenants, p.now, p.log)
}

// openSecurity makes the register and the detectors.
func (p *Platform) openSecurity(v *vault.Vault, changes *change.Runner, tenants *mongo.TenantStore) {
	w := &p.watch
	w.register = security.NewService(security.Config{
		Store: mongo.NewSecurityStore(p.db, v), Changes: changes, Recorder: p.Recorder, Tenants: tenants, Mail: p.notices, Vault: v, Now: p.now,
	})
	w.follower = detect.NewFollower(detect.Config{Store: w.store, Register: w.register, Members: tenants, Now: p.now, Log: p.log})
}

// workSecurity has the worker follow the logs.
func (p *Platform) workSecurity(sweeper *jobs.Sweeper) {
	sweeper.Sweep("security detectors", time.Second, p.watch.follower.Run)
	sweeper.Sweep("security signals", time.Hour, p.watch.follower.Sweep)
}

// watchClocks watches the clock of this process.
func (p *Platform) watchClocks(ctx context.Context) error {
	start := p.now()
	c := &detect.Clock{
		Wall: p.now, Mono: func() time.Duration { return p.now().Sub(start) }, Inbox: p.watch.inbox, Log: p.log,
		Peers: map[string]func(context.Context) (time.Time, error){
			"documents": p.db.Time, "keys": p.keysDB.Time,
			"queue": func(ctx context.Context) (time.Time, error) { return p.redis.Time(ctx).Result() },
		},
	}
	return c.Run(ctx)
}

// denied is told of machine clients that were refused.
func (p *Platform) denied(ctx context.Context, clientID string, why machine.Reason) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return // it belongs to nobody
	}
	p.audit.anonymous.Denied(of, clientID, string(why))
	switch why {
	case machine.Secret:
		p.watch.inbox.Tell(detect.Signal{Tenant: of, Detector: security.CodesGuessed})
	case machine.Network:
		p.watch.inbox.Tell(detect.Signal{Tenant: of, Detector: security.KeyNetwork, Group: clientID})
	default: // it ended, and is used on
		p.watch.inbox.Tell(detect.Signal{Tenant: of, Detector: security.Refusals, Group: clientID})
	}
}

// blocked is told of calls that looked like attacks.
func (p *Platform) blocked(ctx context.Context, _ []int) {
	who := authz.FromContext(ctx)
	p.watch.inbox.Tell(detect.Signal{Tenant: who.Tenant, Detector: security.Firewall, Group: who.ID})
}

// alarm is told of what an operator must look at about keys.
func (p *Platform) alarm(ctx context.Context, _, object string) {
	if err := p.watch.inbox.Report(ctx, detect.Signal{Detector: security.LateEpoch, Group: object}); err != nil {
		p.log.ErrorContext(ctx, "an alarm about keys wasn't kept", "err", err)
	}
}

// broken reports that a log of the platform isn't whole, and returns why.
func (p *Platform) broken(ctx context.Context, log string, why error) error {
	err := p.watch.inbox.Report(ctx, detect.Signal{Detector: security.LogIntegrity, Group: log})
	if err != nil {
		return errors.Join(why, fmt.Errorf("report it as a security event: %w", err))
	}
	return why
}
