package cli

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/vogter/vogter/internal/app"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/sign"
)

// adminSignCmd has the tools of the signing keys.
type adminSignCmd struct {
	Keys   signKeysCmd   `cmd:"" help:"Print the public keys, as /.well-known/jwks.json has them."`
	Rotate signRotateCmd `cmd:"" help:"Give purposes new keys, introduced by the old ones. What the old ones signed stays good."`
}

// asAdmin runs fn on the platform, in the name of who runs it.
func asAdmin(ctx context.Context, adapters kms.Adapters, id string, fn func(ctx context.Context, p *app.Platform) error) error {
	return withPlatform(ctx, adapters, func(ctx context.Context, p *app.Platform, _ *slog.Logger) error {
		ctx = authz.NewContext(ctx, authz.Principal{Kind: authz.KindSystem, ID: id})
		return p.Record(ctx, func(ctx context.Context) error { return fn(ctx, p) })
	})
}

type signKeysCmd struct{}

// Run prints the key set.
func (c *signKeysCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return asAdmin(ctx, adapters, "admin:sign", func(ctx context.Context, p *app.Platform) error {
		keys, err := p.SigningKeys().Keys(ctx)
		if err != nil {
			return fmt.Errorf("read signing keys: %w", err)
		}
		b, err := keys.MarshalJSON()
		if err != nil {
			return err
		}
		fmt.Println(string(b))
		return nil
	})
}

type signRotateCmd struct {
	Purpose []string `arg:"" optional:"" help:"root, checkpoint, package, ledger, receipt, certificate, evidence; all that have a key when absent."`
}

// Run rotates the keys.
func (c *signRotateCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return asAdmin(ctx, adapters, "admin:sign", func(ctx context.Context, p *app.Platform) error {
		keys, err := p.SigningKeys().Keys(ctx)
		if err != nil {
			return fmt.Errorf("read signing keys: %w", err)
		}
		var purposes []sign.Purpose
		for _, purpose := range sign.Purposes() {
			has := slices.ContainsFunc(keys.Keys(), func(k sign.Key) bool { return k.Purpose == purpose })
			if len(c.Purpose) == 0 && has {
				purposes = append(purposes, purpose)
			}
		}
		for _, purpose := range c.Purpose {
			purposes = append(purposes, sign.Purpose(purpose))
		}
		if err := p.SigningKeys().Rotate(ctx, purposes...); err != nil {
			return err
		}
		fmt.Printf("New keys for %v. Publish them where the old ones were pinned.\n", purposes)
		return nil
	})
}

// adminAuditCmd has the tools of the audit log.
type adminAuditCmd struct {
	Verify  auditVerifyCmd  `cmd:"" help:"Check every entry in the database against the published checkpoints, in both places, and persons and records against the entries."`
	Restart auditRestartCmd `cmd:"" help:"After a restore of the database, with all servers and workers stopped: begin new logs that name the last published checkpoint."`
}

type auditVerifyCmd struct{}

// Run says what was checked, or returns the first bad place.
func (c *auditVerifyCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return asAdmin(ctx, adapters, "admin:audit", func(ctx context.Context, p *app.Platform) error {
		r, err := p.VerifyAudit(ctx)
		if err != nil {
			return fmt.Errorf("verify the audit log: %w", err)
		}
		fmt.Printf("The audit log is whole: %d entries in %d logs, %d checkpoints.\n", r.Entries, r.Logs, r.Checkpoints)
		fmt.Printf("%d details prove their commitments, %d are erased; %d entries wait for the next checkpoint.\n", r.Details, r.Erased, r.Waiting)
		fmt.Printf("%d persons and records are what their last entries made of them.\n", r.Values)
		return nil
	})
}

type auditRestartCmd struct{}

// Run begins the new logs.
func (c *auditRestartCmd) Run(ctx context.Context, adapters kms.Adapters) error {
	return asAdmin(ctx, adapters, "admin:audit", func(ctx context.Context, p *app.Platform) error {
		number, err := p.RestartAudit(ctx)
		if err != nil {
			return fmt.Errorf("restart the audit log: %w", err)
		}
		fmt.Printf("Every log begins anew with checkpoint %d.\n", number)
		return nil
	})
}
