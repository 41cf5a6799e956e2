package trail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vogter/vogter/internal/archive"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobBuild is the type of the job that builds a bundle: its object is the
// export's id.
const JobBuild = "audit:export"

// ExportState is where an export stands.
type ExportState string

// The states of an export.
const (
	Building ExportState = "BUILDING"
	Ready    ExportState = "READY"
	Expired  ExportState = "EXPIRED"
	Failed   ExportState = "FAILED" // its job is parked; retrying the job makes it BUILDING again
)

// Life is how long a bundle can be fetched before it is destroyed.
const Life = archive.Life

// Export is a bundle of a part of the log.
type Export struct {
	ID        string
	JobID     string
	State     ExportState
	From, To  time.Time
	Size      *int64 // of the bundle, in bytes, once READY
	CreatedAt time.Time
	ExpiresAt time.Time // when the bundle is destroyed

	Object file.Object
	Fence  int64
}

// ExportRef names an export of any tenant.
type ExportRef struct {
	Tenant tenant.ID
	ID     string
}

// Sentinels of exports.
var (
	ErrNoExport = errs.New(errs.NotFound, "no such export of the audit log")
	ErrNotReady = errs.New(errs.Precondition, "the bundle is not ready yet").Under("export.ready")
	ErrExpired  = errs.New(errs.Precondition, "the bundle is destroyed: ask for a new one").Under("export.alive")
)

// ExportStore keeps exports. All but Export and DueExports work in the
// transaction of a change.
type ExportStore interface {
	// Export fails with ErrNoExport.
	Export(ctx context.Context, id string) (*Export, error)
	InsertExport(ctx context.Context, e *Export) error
	// FinishExport makes a BUILDING export READY, or fails with ErrExpired.
	FinishExport(ctx context.Context, e *Export) error
	ExpireExport(ctx context.Context, id string) error
	// DueExports spans tenants and needs a system context.
	DueExports(ctx context.Context, now time.Time, limit int) ([]ExportRef, error)
}

// Run is one attempt at building, see job.Run.
type Run interface {
	Object() string
	Fence() int64
	Guard(ctx context.Context) error
	Progress(ctx context.Context, done, total int64, unit string) error
}

// Collection is the collection that sealed bundles are bound to.
const Collection = "auditExports"

func owner(of tenant.ID, exportID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: string(of), Unit: vault.Unit(exportID)}
}

// ExportAuditInput asks for a bundle of what happened from a time to another.
type ExportAuditInput struct {
	From time.Time
	To   time.Time
}

// Request asks for a bundle and queues the job that builds it. It obeys the
// caller's Idempotency-Key.
func (s *Service) Request(ctx context.Context, in ExportAuditInput) (*Export, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if !in.From.Before(in.To) {
		return nil, ErrRange
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	e := &Export{
		ID: id.New(id.AuditExport, of), JobID: id.New(id.Job, of), State: Building, From: in.From.UTC(), To: in.To.UTC(),
		CreatedAt: now, ExpiresAt: now.Add(Life),
	}
	exportID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{
			Action: "audit.export", Object: e.ID, Then: []job.Spec{{ID: e.JobID, Type: JobBuild, Object: e.ID}},
		}, s.Store.InsertExport(ctx, e)
	})
	if err != nil {
		return nil, fmt.Errorf("export audit log: %w", err)
	}
	return s.GetExport(ctx, exportID)
}

// GetExport returns an export, or ErrNoExport.
func (s *Service) GetExport(ctx context.Context, exportID string) (*Export, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.AuditExport, of, exportID) != nil {
		return nil, ErrNoExport
	}
	e, err := s.Store.Export(ctx, exportID)
	if err != nil {
		return nil, err
	}
	switch {
	case e.State == Ready && s.archives.Over(e.ExpiresAt):
		e.State, e.Size = Expired, nil
	case e.State == Building:
		givenUp, err := s.archives.GivenUp(ctx, e.JobID)
		if err != nil {
			return nil, err
		}
		if givenUp {
			e.State = Failed
		}
	}
	return e, nil
}

// OpenExport returns a READY export with a reader of its bundle, which the
// caller closes and whose reads ctx bounds. The caller records the read.
func (s *Service) OpenExport(ctx context.Context, exportID string) (*Export, io.ReadSeekCloser, error) {
	e, err := s.GetExport(ctx, exportID)
	if err != nil {
		return nil, nil, err
	}
	switch e.State {
	case Ready:
	case Expired:
		return nil, nil, ErrExpired
	case Building, Failed:
		return nil, nil, ErrNotReady
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	content, err := s.archives.Open(ctx, archive.Archive{ID: e.ID, Owner: owner(of, e.ID), Fence: e.Fence}, e.Object)
	return e, content, err
}

// Build builds the bundle that a job is about. It can be repeated.
func (s *Service) Build(ctx context.Context, run Run) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	e, err := s.Store.Export(ctx, run.Object())
	if err != nil {
		return err
	}
	switch e.State {
	case Ready: // finished by an attempt that couldn't say so
		return nil
	case Expired:
		return ErrExpired
	case Building, Failed:
	}
	// What happened until now is under a checkpoint then.
	if _, err := s.Publisher.Publish(ctx); err != nil && !errors.Is(err, seal.ErrExists) {
		return fmt.Errorf("publish checkpoint: %w", err)
	}
	keys, err := s.Vault.Ensure(ctx, owner(of, e.ID))
	if err != nil {
		return err
	}
	made := archive.Archive{ID: e.ID, Owner: owner(of, e.ID), Fence: run.Fence()}
	object, size, err := s.archives.Build(ctx, keys, made, func(w io.Writer) error { return s.write(ctx, of, e, run, w) })
	if err != nil {
		return fmt.Errorf("build bundle: %w", err)
	}
	e.State, e.Object, e.Fence, e.Size = Ready, object, run.Fence(), &size
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := run.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "audit.export.ready", Object: e.ID}, s.Store.FinishExport(ctx, e)
	})
}

// write writes the bundle of e to w.
func (s *Service) write(ctx context.Context, of tenant.ID, e *Export, run Run, w io.Writer) error {
	now := s.Now().UTC().Truncate(time.Millisecond)
	p := pack.NewWriter(w, now)
	dst, err := p.Create(pack.File{
		Path: pack.AuditPath, MediaType: "application/octet-stream", Category: pack.Data,
		Description: "entries of the audit log with the checkpoints that vouch for them",
	}, false)
	if err != nil {
		return err
	}
	totals, err := s.Bundle(ctx, e.From, e.To, dst, func(done int64) error { return run.Progress(ctx, done, 0, "entries") })
	if err != nil {
		return err
	}
	return p.Close(ctx, pack.AuditBundle{
		Header: pack.Header{PackageVersion: pack.Version, Type: pack.AuditBundleType, Files: p.Files()},
		Tenant: string(of), ExportID: e.ID, CreatedAt: now.Format(time.RFC3339Nano), From: e.From.Format(time.RFC3339Nano),
		To: e.To.Format(time.RFC3339Nano), Log: totals,
	}, s.Signer)
}

// late is how long after it happened an entry may be sealed: longer than a
// transaction lives.
const late = 2 * time.Minute

// statesAtOnce is how many states of the log are in memory at once.
const statesAtOnce = 200

// Bundle writes what happened from one time to another, in the form of
// proof.CheckBundle: from the last checkpoint before to the first behind, so that
// some entries before and behind are in it too.
func (s *Service) Bundle(ctx context.Context, from, to time.Time, w io.Writer, progress func(done int64) error) (proof.BundleTotals, error) {
	b := &bundler{s: s, w: proof.NewBundleWriter(w), log: -1, progress: progress}
	start, err := s.Store.StateBefore(ctx, from)
	if err != nil {
		return proof.BundleTotals{}, fmt.Errorf("find first checkpoint: %w", err)
	}
	number := int64(0)
	if start != nil {
		number = start.Number
		if err := b.state(ctx, start, true); err != nil {
			return proof.BundleTotals{}, err
		}
	}
	for more := true; more; {
		states, err := s.Store.States(ctx, number, statesAtOnce)
		if err != nil {
			return proof.BundleTotals{}, fmt.Errorf("find checkpoints: %w", err)
		}
		more = len(states) == statesAtOnce
		for i := range states {
			number = states[i].Number
			err := b.state(ctx, &states[i], false)
			if errors.Is(err, ErrUncovered) { // made, and not published yet
				more = false
				break
			}
			if err != nil {
				return proof.BundleTotals{}, err
			}
			if states[i].Time.After(to.Add(late)) && (i+1 == len(states) || states[i+1].Number != number) {
				more = false
				break
			}
		}
	}
	return b.w.Close()
}

// bundler writes a bundle.
type bundler struct {
	s        *Service
	w        *proof.BundleWriter
	log      int64 // under way; -1 for none
	covered  int64 // entries of the log that are written, or lie before
	done     int64
	progress func(done int64) error
}

// state writes the entries up to a state of the log, and its checkpoint. The
// first state of a bundle is where it begins.
func (b *bundler) state(ctx context.Context, at *seal.At, first bool) error {
	_, covered, err := b.s.covered(ctx, at)
	if err != nil {
		return err
	}
	if at.Log != b.log {
		l := &proof.BundleLog{Log: at.Log, Base: at.Base}
		if first {
			l.Begin = at.Size
			if l.Edge, err = proof.Edge(ctx, b.s.tiles(at.Log), at.Size); err != nil {
				return fmt.Errorf("begin bundle: %w", err)
			}
		}
		if err := b.w.Log(l); err != nil {
			return err
		}
		b.log, b.covered = at.Log, l.Begin
	}
	if at.Size < b.covered {
		return nil // a log that a restore cut short: what it had is written
	}
	err = b.s.Store.Sealed(ctx, at.Base+b.covered, at.Base+at.Size, func(e *seal.Sealed) error {
		b.done++
		if b.done%1000 == 0 {
			if err := b.progress(b.done); err != nil {
				return err
			}
		}
		return b.w.Entry(&e.Entry)
	})
	if err != nil {
		return fmt.Errorf("write entries: %w", err)
	}
	b.covered = at.Size
	return b.w.Checkpoint(covered)
}

// Sweep destroys bundles, of all tenants, whose time is over. It needs a system
// context.
func (s *Service) Sweep(ctx context.Context) error {
	due := func(ctx context.Context, limit int) ([]ExportRef, error) {
		return s.Store.DueExports(ctx, s.Now(), limit)
	}
	return archive.Sweep(ctx, "audit-exports", due, func(e ExportRef) tenant.ID { return e.Tenant }, s.expire)
}

func (s *Service) expire(ctx context.Context, e ExportRef) error {
	if err := s.archives.Destroy(ctx, archive.Archive{ID: e.ID, Owner: owner(e.Tenant, e.ID)}); err != nil {
		return fmt.Errorf("destroy export %s: %w", e.ID, err)
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "audit.export.expire", Object: e.ID}, s.Store.ExpireExport(ctx, e.ID)
	})
}
