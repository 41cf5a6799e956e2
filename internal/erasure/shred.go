// Package erasure destroys what is kept on a person: GDPR Art. 17.
//
// A Shredding destroys retention units of one person in a fixed order: nothing
// is readable from the moment it is begun, its intent is in the ledger before the
// first key goes, and its end is stated only when nothing is left. Each step can be
// repeated and is recorded when done.
package erasure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// JobShred is the type of the job that carries a shredding out: its object is the
// shredding's id.
const JobShred = "erasure:shred"

// Step is a part of a shredding.
type Step string

// The steps, in their order. What comes before them, the mark on the person or
// unit, commits with the shredding itself.
const (
	Intent  Step = "INTENT"  // in the ledger
	Keys    Step = "KEYS"    // tombstones in place of the data keys
	Caches  Step = "CACHES"  // of other processes are told
	Lookups Step = "LOOKUPS" // by which the person could be found
	Data    Step = "DATA"    // records, files, packages: rows, and objects in all versions
	Count   Step = "COUNT"   // nothing is left
	Ledger  Step = "LEDGER"  // says that it is done
)

// Steps returns all steps in their order.
func Steps() []Step { return []Step{Intent, Keys, Caches, Lookups, Data, Count, Ledger} }

// State is where a shredding stands.
type State string

// The states of a shredding.
const (
	Running State = "RUNNING"
	Done    State = "DONE"
)

// Plan says what to destroy.
type Plan struct {
	Subject string // or a request, of which the unit is vault.Case
	// Units are the retention units to destroy; none means the whole person: all
	// units but the proof (vault.Evidence), which outlives them for its own period.
	Units []vault.Unit
	// Spared are datasets that outlive the whole person, by their own rules: what the
	// law demands to be kept in secret, which nothing that others see may tell of.
	Spared []vault.Unit
	// With are the datasets that hold something on a whole person, which go with it: for
	// the certificate, nothing else reads them.
	With []vault.Unit
	// Cause is the id of what decided it, say a request.
	Cause string
}

// Target is what is destroyed.
type Target struct {
	Subject string
	Whole   bool
	Units   []vault.Unit // of a shredding that isn't whole
	Spared  []vault.Unit // of one that is
	With    []vault.Unit // of one that is, where it is known
}

// Spares reports whether a unit outlives the person.
func (t *Target) Spares(u vault.Unit) bool { return slices.Contains(t.Spared, u) }

// Case reports whether it is a request that is destroyed, whose id Subject is.
func (t *Target) Case() bool { return slices.Contains(t.Units, vault.Case) }

// copied reports whether a unit is a package made of the data, which goes with it.
func (t *Target) copied(u vault.Unit) bool {
	return id.TypeOf(string(u)) == id.Export && (t.Whole || t.Datasets() != nil)
}

// Datasets returns the datasets among the units.
func (t *Target) Datasets() []vault.Unit {
	var sets []vault.Unit
	for _, u := range t.Units {
		if u != vault.Evidence && u != vault.Case {
			sets = append(sets, u)
		}
	}
	return sets
}

// Shredding is one carrying out of a Plan.
type Shredding struct {
	ID        string
	Tenant    tenant.ID
	Target    Target
	Cause     string
	State     State
	Steps     []StepDone
	Epochs    []vault.Epoch // in which the destroyed keys were wrapped
	CreatedAt time.Time
	Version   int64
}

// StepDone is a step that is done.
type StepDone struct {
	Step Step
	At   time.Time
}

// Next returns the step to be done, "" when all are.
func (s *Shredding) Next() Step {
	if all := Steps(); len(s.Steps) < len(all) {
		return all[len(s.Steps)]
	}
	return ""
}

// At returns when a step was done; nil when it wasn't.
func (s *Shredding) At(step Step) *time.Time {
	for _, d := range s.Steps {
		if d.Step == step {
			return &d.At
		}
	}
	return nil
}

// KeysDestroyedAt returns since when the data can't be read; nil before.
func (s *Shredding) KeysDestroyedAt() *time.Time { return s.At(Keys) }

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such erasure")
	// ErrUnit refuses what is no retention unit to be destroyed on its own.
	ErrUnit = errs.New(errs.Invalid, "only a dataset or the proof can be erased on its own; the identity goes with the person").At("units")
	// ErrProof refuses to destroy the proof about somebody of whom there is other data:
	// nothing could be noted any more of what is done with it.
	ErrProof = errs.New(errs.Precondition, "the proof goes last, after everything else on the person").Under("erasure.proof").At("units")
	// ErrLeft reports that something came back, or wouldn't go.
	ErrLeft = errs.New(errs.Internal, "something is left of what was to be erased")
)

// Store keeps the shreddings of the tenant in ctx, and marks persons.
type Store interface {
	// Mark makes the person ERASING, or one or some of the person's units unreadable and
	// unwritable, in the change's transaction, so that it and every write exclude
	// each other. Repeating it changes nothing. It fails with subject.ErrNotFound, or
	// with ErrProof.
	Mark(ctx context.Context, t Target) error
	// Finish makes the ERASING person of a shredding that is done ERASED, in the
	// change's transaction: from then on the period of the proof counts.
	Finish(ctx context.Context, s *Shredding) error

	Insert(ctx context.Context, s *Shredding) error
	// Update stores s at the version after, or fails with change.ErrVersion.
	Update(ctx context.Context, s *Shredding) error
	// Find fails with ErrNotFound.
	Find(ctx context.Context, id string) (*Shredding, error)
	// FindFor returns the shredding with a cause and target, or ErrNotFound.
	FindFor(ctx context.Context, cause string, t Target) (*Shredding, error)
	// List returns shreddings of all tenants, newest first. It needs a system context.
	List(ctx context.Context, after *page.Position, limit int) ([]*Shredding, error)
}

// Eraser destroys one kind of what is kept on a person. Its methods can be
// repeated.
type Eraser interface {
	Name() string
	Erase(ctx context.Context, t Target) error
	// Left counts what there is of the target still.
	Left(ctx context.Context, t Target) (int, error)
}

// KeyStore is the key store as shredding works on it.
type KeyStore interface {
	// SubjectKeys returns the key documents of a subject, tombstones included.
	SubjectKeys(ctx context.Context, of tenant.ID, subjectID string) ([]vault.DataKey, error)
	DestroyDataKey(ctx context.Context, o vault.Owner, at time.Time) error
}

// Evictor drops keys from the caches of this process and tells the others, as
// far as they listen: what they miss ends within five minutes, and the person's
// state keeps it from being used.
type Evictor interface {
	Evict(ctx context.Context, owners ...vault.Owner)
}

// Appender is the ledger.
type Appender interface {
	Append(ctx context.Context, e ledger.Entry) (int64, error)
}

// Epochs tells when keys of epochs are gone for good.
type Epochs interface {
	Irrecoverable(ctx context.Context, epochs ...vault.Epoch) (planned time.Time, actual *time.Time, err error)
}

// Config is what a Service needs. All but Done and Trace is required.
type Config struct {
	Store   Store
	Keys    KeyStore
	Caches  Evictor
	Ledger  Appender
	Lookups Eraser
	Data    []Eraser
	Epochs  Epochs
	Changes *change.Runner
	Log     *slog.Logger
	Now     func() time.Time

	// Done returns the work that follows a shredding that is done; nil means none.
	Done func(sh *Shredding) []job.Spec
	// Trace is called at each point at which a crash would leave the work half
	// done: tests end the process there.
	Trace func(point string)
}

// Service carries out shreddings.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service {
	if c.Trace == nil {
		c.Trace = func(string) {}
	}
	return &Service{c}
}

// target checks a plan.
func (p *Plan) target(of tenant.ID) (Target, error) {
	if id.Check(id.Request, of, p.Subject) == nil && slices.Equal(p.Units, []vault.Unit{vault.Case}) {
		return Target{Subject: p.Subject, Units: p.Units}, nil
	}
	if id.Check(id.Subject, of, p.Subject) != nil {
		return Target{}, subject.ErrNotFound
	}
	units := slices.Compact(slices.Sorted(slices.Values(p.Units)))
	for _, u := range units {
		if u != vault.Evidence && id.Check(id.Dataset, of, string(u)) != nil {
			return Target{}, ErrUnit
		}
	}
	spared := slices.Compact(slices.Sorted(slices.Values(p.Spared)))
	for _, u := range spared {
		if len(units) > 0 || id.Check(id.Dataset, of, string(u)) != nil {
			return Target{}, ErrUnit
		}
	}
	return Target{Subject: p.Subject, Whole: len(units) == 0, Units: units, Spared: spared, With: p.With}, nil
}

// Begin marks what is to be destroyed, which nobody can read or write from then
// on, and has the rest done by a job.
func (s *Service) Begin(ctx context.Context, p Plan) (sh *Shredding, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		var then []job.Spec
		if sh, then, err = s.BeginIn(ctx, p); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "erasure.begin", Object: sh.ID, Then: then}, nil
	})
	return sh, err
}

// BeginIn is Begin within the transaction of a change that has more to say. The
// caller adds the jobs to its own.
func (s *Service) BeginIn(ctx context.Context, p Plan) (*Shredding, []job.Spec, error) {
	return s.insert(ctx, p, s.Store.Mark)
}

func (s *Service) insert(
	ctx context.Context, p Plan, mark func(context.Context, Target) error,
) (*Shredding, []job.Spec, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := p.target(of)
	if err != nil {
		return nil, nil, err
	}
	if err := mark(ctx, t); err != nil {
		return nil, nil, err
	}
	sh := &Shredding{
		ID: id.New(id.Shredding, of), Tenant: of, Target: t, Cause: p.Cause, State: Running, CreatedAt: s.Now().UTC(), Version: 1,
	}
	return sh, []job.Spec{{Type: JobShred, Object: sh.ID}}, s.Store.Insert(ctx, sh)
}

// Get returns a shredding.
func (s *Service) Get(ctx context.Context, shreddingID string) (*Shredding, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Shredding, of, shreddingID) != nil {
		return nil, ErrNotFound
	}
	return s.Store.Find(ctx, shreddingID)
}

// Run is the work of JobShred.
func (s *Service) Run(ctx context.Context, r *job.Run) error { return s.Shred(ctx, r.Object()) }

// Shred carries a shredding on until it is done. It can be repeated, also by
// several workers at once.
func (s *Service) Shred(ctx context.Context, shreddingID string) error {
	return s.shred(ctx, shreddingID, s.append)
}

func (s *Service) shred(ctx context.Context, shreddingID string, note func(context.Context, *Shredding, ledger.Kind) error) error {
	sh, err := s.Get(ctx, shreddingID)
	if err != nil {
		return err
	}
	for step := sh.Next(); step != ""; step = sh.Next() {
		if err := s.do(ctx, sh, step, note); err != nil {
			return fmt.Errorf("shred %s: %s: %w", sh.ID, step, err)
		}
		s.Trace("did " + string(step))
		if sh, err = s.record(ctx, sh, step); err != nil {
			return err
		}
		s.Trace("recorded " + string(step))
	}
	return nil
}

// record notes that a step is done, and with the last one the shredding.
func (s *Service) record(ctx context.Context, done *Shredding, step Step) (sh *Shredding, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if sh, err = s.Store.Find(ctx, done.ID); err != nil {
			return change.Change{}, err
		}
		c := change.Change{Action: "erasure.step", Object: sh.ID, Fields: []string{string(step)}}
		if sh.Next() != step {
			return c, nil // another worker was faster
		}
		sh.Steps, sh.Epochs = append(sh.Steps, StepDone{step, s.Now().UTC()}), done.Epochs
		sh.Version++
		if sh.Next() == "" {
			sh.State, c.Action = Done, "erasure.done"
			if sh.Target.Whole {
				c.Contents = []audit.Content{{Object: sh.Target.Subject}}
			}
			if s.Done != nil {
				c.Then = s.Done(sh)
			}
			if err := s.Store.Finish(ctx, sh); err != nil {
				return c, err
			}
		}
		return c, s.Store.Update(ctx, sh)
	})
	if err != nil {
		return nil, fmt.Errorf("record step %s of %s: %w", step, done.ID, err)
	}
	return sh, nil
}

func (s *Service) do(
	ctx context.Context, sh *Shredding, step Step, note func(context.Context, *Shredding, ledger.Kind) error,
) error {
	switch step {
	case Intent:
		return note(ctx, sh, ledger.EraseIntent)
	case Keys:
		return s.destroyKeys(ctx, sh)
	case Caches:
		owners, _, err := s.owners(ctx, sh)
		if err == nil {
			s.Caches.Evict(ctx, owners...)
		}
		return err
	case Lookups:
		return s.Lookups.Erase(ctx, sh.Target)
	case Data:
		for _, e := range s.Data {
			if err := e.Erase(ctx, sh.Target); err != nil {
				return fmt.Errorf("erase %s: %w", e.Name(), err)
			}
			s.Trace("erased " + e.Name())
		}
		return nil
	case Count:
		return s.count(ctx, sh)
	case Ledger:
		return note(ctx, sh, ledger.EraseDone)
	default:
		return fmt.Errorf("unknown step %s", step)
	}
}

func (s *Service) append(ctx context.Context, sh *Shredding, kind ledger.Kind) error {
	e := ledger.Entry{Kind: kind, Tenant: sh.Tenant, Object: sh.ID, Subject: sh.Target.Subject}
	for _, u := range sh.Target.Units {
		e.Units = append(e.Units, string(u))
	}
	for _, u := range sh.Target.Spared {
		e.Spared = append(e.Spared, string(u))
	}
	_, err := s.Ledger.Append(ctx, e)
	return err
}

// owners returns whose keys are destroyed, with the key documents there are.
func (s *Service) owners(ctx context.Context, sh *Shredding) ([]vault.Owner, []vault.DataKey, error) {
	docs, err := s.Keys.SubjectKeys(ctx, sh.Tenant, sh.Target.Subject)
	if err != nil {
		return nil, nil, err
	}
	if sh.Target.Whole {
		docs = slices.DeleteFunc(docs, func(d vault.DataKey) bool {
			return d.Owner.Unit == vault.Evidence || sh.Target.Spares(d.Owner.Unit)
		})
	} else {
		docs = slices.DeleteFunc(docs, func(d vault.DataKey) bool {
			return !slices.Contains(sh.Target.Units, d.Owner.Unit) && !sh.Target.copied(d.Owner.Unit)
		})
	}
	units := slices.Clone(sh.Target.Units) // those without a key get a tombstone too
	if sh.Target.Whole {
		units = []vault.Unit{vault.Identity}
	}
	owners := make([]vault.Owner, 0, len(docs)+len(units))
	for _, d := range docs {
		owners = append(owners, d.Owner)
	}
	for _, u := range units {
		if o := (vault.Owner{Tenant: sh.Tenant, Subject: sh.Target.Subject, Unit: u}); !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	return owners, docs, nil
}

// destroyKeys puts tombstones in place of the keys and notes in which epochs
// their wrapped copies lie, in backups too.
func (s *Service) destroyKeys(ctx context.Context, sh *Shredding) error {
	owners, docs, err := s.owners(ctx, sh)
	if err != nil {
		return err
	}
	at := s.Now().UTC()
	for _, o := range owners {
		if err := s.Keys.DestroyDataKey(ctx, o, at); err != nil {
			return err
		}
		s.Trace("destroyed a key")
	}
	// After a crash in between, the tombstones tell: they keep the epochs.
	for _, d := range docs {
		for _, g := range d.Generations {
			if !slices.Contains(sh.Epochs, g.Epoch) {
				sh.Epochs = append(sh.Epochs, g.Epoch)
			}
		}
	}
	return nil
}

// count fails with ErrLeft unless nothing is left.
func (s *Service) count(ctx context.Context, sh *Shredding) error {
	for _, e := range append([]Eraser{s.Lookups}, s.Data...) {
		n, err := e.Left(ctx, sh.Target)
		if err != nil {
			return fmt.Errorf("count %s: %w", e.Name(), err)
		}
		if n > 0 {
			return ErrLeft.Because(fmt.Errorf("%d of %s", n, e.Name()))
		}
	}
	owners, docs, err := s.owners(ctx, sh)
	if err != nil {
		return err
	}
	if len(docs) != len(owners) || slices.ContainsFunc(docs, func(d vault.DataKey) bool { return !d.Destroyed() }) {
		return ErrLeft.Because(errors.New("a key"))
	}
	return nil
}

// Replay carries out an entry of the ledger that the database doesn't know, as
// after a restore: to the end, at once. Entries of other kinds are left to others:
// handled is false.
func (s *Service) Replay(ctx context.Context, e ledger.Entry) (handled bool, err error) {
	switch e.Kind {
	case ledger.EraseDone:
		return true, nil // its intent came before, and was carried out to the end
	case ledger.EraseIntent:
	default:
		return false, nil
	}
	ctx = authz.NewContext(tenant.NewContext(ctx, e.Tenant), authz.Principal{Kind: authz.KindSystem, ID: "ledger", Tenant: e.Tenant})
	p := Plan{Subject: e.Subject, Cause: e.Object}
	for _, u := range e.Units {
		p.Units = append(p.Units, vault.Unit(u))
	}
	for _, u := range e.Spared {
		p.Spared = append(p.Spared, vault.Unit(u))
	}
	t, err := p.target(e.Tenant)
	if err != nil {
		return true, fmt.Errorf("replay erasure %s: %w", e.Object, err)
	}
	sh, err := s.Store.Find(ctx, e.Object)
	if errors.Is(err, ErrNotFound) {
		sh, err = s.Store.FindFor(ctx, e.Object, t) // of an earlier replay
	}
	if errors.Is(err, ErrNotFound) {
		sh, err = s.beginAgain(ctx, p)
	}
	if err == nil {
		// The ledger has it: an entry appended now would go behind those that aren't replayed yet.
		err = s.shred(ctx, sh.ID, func(context.Context, *Shredding, ledger.Kind) error { return nil })
	}
	if err != nil {
		return true, fmt.Errorf("replay erasure %s: %w", e.Object, err)
	}
	s.Log.WarnContext(ctx, "erasure carried out again: the database was older than the ledger", "erasure", e.Object, "shredding", sh.ID)
	return true, nil
}

// beginAgain is Begin for a person whom the restored database may not know.
func (s *Service) beginAgain(ctx context.Context, p Plan) (sh *Shredding, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if sh, _, err = s.insert(ctx, p, func(ctx context.Context, t Target) error {
			if err := s.Store.Mark(ctx, t); !errors.Is(err, subject.ErrNotFound) {
				return err
			}
			return nil
		}); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: "erasure.replay", Object: sh.ID}, nil
	})
	return sh, err
}
