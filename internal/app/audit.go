package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/vogter/vogter/internal/archive"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/blob"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/config"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// auditLog is what orders, signs and shows the audit log.
type auditLog struct {
	second    *blob.Bucket // where checkpoints lie besides the first bucket
	store     *mongo.AuditStore
	ring      *sign.Ring
	sealer    *seal.Sealer
	publisher *seal.Publisher
	verifier  *seal.Verifier
	patrol    *seal.Patrol
	trail     *trail.Service
	anonymous *audit.Anonymous
}

// openSecond opens the second place of checkpoints. In development it may be
// another bucket of the same server, which is made.
func (p *Platform) openSecond(ctx context.Context) error {
	c := blob.Config{
		Endpoint: p.Config.S3Second.Endpoint, Region: p.Config.S3Second.Region, Bucket: p.Config.S3Second.Bucket,
		AccessKey: p.Config.S3Second.AccessKey.Reveal(), SecretKey: p.Config.S3Second.SecretKey.Reveal(), CAFile: p.Config.S3Second.CAFile,
	}
	same := c.Endpoint == ""
	if same {
		s3 := p.Config.S3
		c = blob.Config{
			Endpoint: s3.Endpoint, Region: s3.Region, Bucket: s3.Bucket + "-second",
			AccessKey: s3.AccessKey.Reveal(), SecretKey: s3.SecretKey.Reveal(), CAFile: s3.CAFile,
		}
		p.log.WarnContext(ctx, "audit checkpoints lie twice on one server: VOGTER_S3_SECOND_ENDPOINT is not set")
	}
	var err error
	if p.audit.second, err = blob.New(c); err != nil {
		return err
	}
	if same && p.Config.Mode == config.Development {
		if err := p.audit.second.Ensure(ctx); err != nil {
			return err
		}
	}
	can, err := p.audit.second.Probe(ctx)
	if err == nil && !can.ObjectLock {
		err = errors.New("the bucket can't lock objects: make it with object lock")
	}
	return err
}

// openAudit makes the services of the audit log.
func (p *Platform) openAudit(v *vault.Vault, keys archive.Keys, changes *change.Runner, provider sign.Provider) {
	a := &p.audit
	a.store = mongo.NewAuditStore(p.db)
	a.anonymous = audit.NewAnonymous(p.Recorder, provider.ProviderID, p.log)
	a.ring = sign.NewRing(sign.Config{Store: mongo.NewSignStore(p.db), Vault: v, Provider: provider, Changes: changes, Now: p.now})
	a.sealer = seal.NewSealer(seal.Config{Store: a.store, Now: p.now, Log: p.log})
	a.publisher = seal.NewPublisher(seal.PublisherConfig{
		Checkpoints: a.store, Logs: a.store, Rows: p.db, Recorder: p.Recorder, Sealer: a.sealer, Ring: a.ring, Provider: provider,
		Places: []seal.Objects{p.bucket, a.second}, Keep: p.Config.AuditRetention, Now: p.now, Log: p.log,
	})
	a.verifier = &seal.Verifier{Archive: a.store, Vault: v, Publisher: a.publisher, Values: mongo.Values(p.db)}
	a.patrol = seal.NewPatrol(seal.PatrolConfig{
		Verifier: *a.verifier, Store: a.store, Changes: changes, Now: p.now, Log: p.log,
		Report: func(ctx context.Context, of tenant.ID) error { return p.broken(ctx, cmp.Or(string(of), "audit"), nil) },
	})
	a.trail = trail.NewService(trail.Config{
		Store: mongo.NewTrailStore(p.db), Vault: v, Keys: keys, Objects: p.bucket, Authorizer: p.authorizer, Recorder: p.Recorder,
		Publisher: a.publisher, Provider: provider, Signer: a.ring, Jobs: p.Jobs, Changes: changes, Log: p.log, Now: p.now,
	})
}

// VerifyAudit checks the whole audit log against the published checkpoints. That
// it isn't whole is a security event.
func (p *Platform) VerifyAudit(ctx context.Context) (seal.Report, error) {
	report, err := p.audit.verifier.Verify(ctx)
	if _, found := errors.AsType[*proof.Error](err); found {
		return report, p.broken(ctx, "audit", err)
	}
	return report, err
}

// RestartAudit begins new logs after the database was restored from a backup.
func (p *Platform) RestartAudit(ctx context.Context) (checkpoint int64, err error) {
	return p.audit.publisher.Restart(ctx)
}

// SigningKeys is the ring of signing keys.
func (p *Platform) SigningKeys() *sign.Ring { return p.audit.ring }

// keySet answers the public keys of everything that the platform signs.
func (p *Platform) keySet(w http.ResponseWriter, r *http.Request) error {
	keys, err := p.audit.ring.Keys(r.Context())
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	b, err := keys.MarshalJSON()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(b)
	return nil
}
