package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/recipient"
	"github.com/vogter/vogter/internal/rotation"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/jobs"
)

// lifeOfKeys is what ends keys: epochs, and erasures with their ledger.
type lifeOfKeys struct {
	epochs    *epoch.Service
	rotations *rotation.Service
	lookups   *mongo.LookupRenewal
	erasures  *erasure.Service
	evictions *erasure.Evictions
	ledger    *ledger.Ledger
}

// openKeys makes the services that end keys. Those of subjects and records must be there.
func (p *Platform) openKeys(
	v *vault.Vault, keys *mongo.KeyStore, wrapper kms.Wrapper, changes *change.Runner, tenants tenancy.Store, subjects *mongo.SubjectStore,
) {
	k := &p.keys
	k.lookups = mongo.NewLookupRenewal(mongo.RenewalConfig{
		DB: p.db, Keys: keys, Vault: v, Subjects: subjects, Records: mongo.NewRecordStore(p.db, v, p.log),
		RecordKeys: p.Records.LookupKeys, Log: p.log, Now: p.now,
	})
	k.epochs = epoch.NewService(epoch.Config{
		Store: mongo.NewEpochStore(p.db), Keys: keys, KMS: wrapper, Vault: v, Provider: tenants, Changes: changes, Log: p.log, Now: p.now,
		Alarm: p.alarm, Lookups: k.lookups,
	})
	k.ledger = ledger.New(ledger.Config{
		Store: mongo.NewLedgerStore(p.db), Objects: p.bucket, Signer: p.audit.ring, Now: p.now, Keep: p.Config.LedgerRetention,
	})
	k.evictions = erasure.NewEvictions(p.redis, v, p.log)
	// The ledger is kept for longer than any backup: see config.Config.LedgerRetention.
	k.rotations = rotation.NewService(rotation.Config{
		Store: mongo.NewRotationStore(p.db), Values: mongo.NewSealedValues(p.db, keys, v), Keys: keys, Vault: v, Caches: k.evictions,
		Backups: rotation.Fixed(p.Config.LedgerRetention), Provider: tenants, Changes: changes, Log: p.log, Now: p.now, Alarm: p.alarm,
	})
	k.erasures = erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(p.db), Keys: keys, Caches: k.evictions, Ledger: k.ledger, Lookups: mongo.LookupEraser(p.db),
		Data: mongo.Erasers(p.db, p.bucket, changes), Epochs: k.epochs, Changes: changes, Log: p.log, Now: p.now,
		Done: func(sh *erasure.Shredding) []job.Spec { return append(certificate.Jobs(sh), recipient.Jobs(sh)...) },
	})
}

// checkLedger brings a restored database up to the ledger, before anything is
// served or worked on.
func (p *Platform) checkLedger(ctx context.Context) error {
	err := p.keys.ledger.Check(tenant.System(ctx, "ledger"), strings.ToLower(rand.Text()), func(ctx context.Context, e ledger.Entry) error {
		handled, err := p.keys.erasures.Replay(ctx, e)
		if err == nil && !handled {
			handled, err = p.consents.Replay(ctx, e)
		}
		if err == nil && !handled {
			handled, err = p.retention.Replay(ctx, e)
		}
		if err == nil && !handled {
			handled, err = p.rights.Replay(ctx, e)
		}
		if err == nil && !handled {
			err = fmt.Errorf("%s: %w", e.Kind, ledger.ErrNoReplay)
		}
		return err
	})
	return p.ledgerBroken(ctx, err)
}

// ledgerBroken makes of an error that the ledger isn't what it was a security event.
func (p *Platform) ledgerBroken(ctx context.Context, err error) error {
	for _, broken := range []error{ledger.ErrBroken, ledger.ErrForged, ledger.ErrOtherDatabase} {
		if errors.Is(err, broken) {
			return p.broken(ctx, "ledger", err)
		}
	}
	return err
}

// VerifyLedger reads the whole ledger, its chain and signatures, and returns how
// many entries it has.
func (p *Platform) VerifyLedger(ctx context.Context) (entries int64, err error) {
	err = p.keys.ledger.Visit(tenant.System(ctx, "verify ledger"), func(ledger.Entry) error {
		entries++
		return nil
	})
	return entries, p.ledgerBroken(ctx, err)
}

// workKeys has the worker end keys.
func (p *Platform) workKeys(mux jobs.Mux, sweeper *jobs.Sweeper) {
	mux.Handle(erasure.JobShred, func(ctx context.Context, r *job.Run) error { return p.keys.erasures.Run(ctx, r) })
	sweeper.Sweep("epochs", time.Minute, p.keys.epochs.Sweep)
	sweeper.Sweep("lookups", time.Minute, p.keys.lookups.Advance)
	sweeper.Sweep("key rotations", 10*time.Second, p.keys.rotations.Sweep)
	sweeper.Sweep("late epochs", 6*time.Hour, p.keys.epochs.Watch)
}

// KeyStatus tells how the keys are, and of the latest rotations of data keys.
func (p *Platform) KeyStatus(ctx context.Context) (*epoch.Status, []*rotation.Rotation, error) {
	of, err := p.keys.epochs.Provider.ProviderID(tenant.System(ctx, "key status"))
	if err != nil {
		return nil, nil, fmt.Errorf("find the provider: %w", err)
	}
	ctx = tenant.NewContext(ctx, of)
	status, err := p.keys.epochs.Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	rotations, err := p.keys.rotations.List(ctx, page.Request{First: page.Max})
	if err != nil {
		return nil, nil, err
	}
	return status, rotations.Nodes(), nil
}

// InspectKey looks at a data key by its id, and tries to open it.
func (p *Platform) InspectKey(ctx context.Context, key string) (*epoch.Inspection, error) {
	return p.keys.epochs.Inspect(ctx, key)
}

// InspectKeys calls visit for each data key that doesn't open, and returns how many
// keys there are.
func (p *Platform) InspectKeys(ctx context.Context, visit func(*epoch.Inspection) error) (int, error) {
	return p.keys.epochs.InspectAll(ctx, visit)
}
