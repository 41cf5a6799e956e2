// Package export makes packages of all that a tenant keeps on a person: answers to
// requests under GDPR Art. 15 and 20, see Answer, and copies for staff, which are
// no such answers. They leave out what the law keeps secret from the person:
// nothing in them differs with or without it (DOMAIN §2.7).
//
// A package is sealed under a key of its own, which is destroyed with it after
// 14 days.
package export

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/archive"
	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// State is where an export stands.
type State string

// The states of an export.
const (
	Building State = "BUILDING"
	Ready    State = "READY"
	Expired  State = "EXPIRED"
	Failed   State = "FAILED" // its job is parked; retrying the job makes it BUILDING again
)

// Life is how long a package can be fetched before it is destroyed.
const Life = archive.Life

// JobBuild is the type of the job that builds a package: its object is the export's id.
const JobBuild = "export:build"

// Export is a package of a person's data.
type Export struct {
	ID        string
	SubjectID string
	JobID     string
	State     State
	Language  string // "da" or "en"
	Size      *int64 // of the package, in bytes, once READY
	CreatedAt time.Time
	ExpiresAt *time.Time // when the package is destroyed, once READY

	// Object and Fence say which object the package is: that of the job's claim
	// which finished it.
	Object file.Object
	Fence  int64

	Case *Case // that it answers; nil of a copy for staff
}

// Case is what a package answers: one right of a request.
type Case struct {
	Request string // id
	Item    string // id
	Number  string // of the request, as the person knows it
	Type    pack.Type
}

// Ref names an export of any tenant.
type Ref struct {
	Tenant  tenant.ID
	ID      string
	Subject string
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such export")
	ErrLanguage = errs.New(errs.Invalid, `the language of a package is "da" or "en"`).At("language")
	ErrNotReady = errs.New(errs.Precondition, "the package is not ready yet").Under("export.ready")
	ErrExpired  = errs.New(errs.Precondition, "the package is destroyed: ask for a new export").Under("export.alive")
	// ErrMoved reports that the person's data changed while it was being copied.
	ErrMoved = errs.New(errs.Unavailable, "the data changed while the package was built; it is built again")
)

// Store keeps exports. Insert, Finish and Expire work in the transaction of a change.
type Store interface {
	// Get returns the export as it is stored, or ErrNotFound.
	Get(ctx context.Context, id string) (*Export, error)
	// Insert stores an export that is due to be destroyed at the time given,
	// whatever becomes of it.
	Insert(ctx context.Context, e *Export, due time.Time) error
	// Finish makes a BUILDING export READY, or fails with ErrExpired.
	Finish(ctx context.Context, e *Export) error
	// Expire makes the export EXPIRED.
	Expire(ctx context.Context, id string) error
	// Due returns exports of any tenant, not yet EXPIRED, that are due to be
	// destroyed. It needs a system context.
	Due(ctx context.Context, now time.Time, limit int) ([]Ref, error)
}

// Subjects tells of persons.
type Subjects interface {
	GetMany(ctx context.Context, ids []string) ([]*subject.Subject, error)
	// GuardRead counts up the guards of the subjects like Guard, and lets pass
	// those whose processing is restricted: giving them a copy is no change.
	GuardRead(ctx context.Context, ids ...string) error
}

// Datasets tells of datasets.
type Datasets interface {
	List(ctx context.Context) ([]*dataset.Dataset, error)
}

// Records lists a person's records in a dataset, also those in which the person
// is a party only: up to limit after a position, the newest first.
type Records interface {
	Page(ctx context.Context, q record.Query, after *page.Position, limit int) ([]*record.Record, error)
}

// Files gives the documents that records name.
type Files interface {
	FindMany(ctx context.Context, ids []string) ([]*file.File, error)
	Open(ctx context.Context, id string) (*file.File, io.ReadSeekCloser, error)
}

// Tenants tells of the controller and the processor.
type Tenants interface {
	Get(ctx context.Context) (*tenancy.Tenant, error)
	// ProviderID needs a system context.
	ProviderID(ctx context.Context) (tenant.ID, error)
}

// Run is one attempt at building, see job.Run.
type Run interface {
	Object() string
	Fence() int64
	Guard(ctx context.Context) error
	Progress(ctx context.Context, done, total int64, unit string) error
	Step(ctx context.Context, name string) error
}

// Consents tells of the persons whose data must not be used for the purpose that
// the caller states.
type Consents interface {
	Closed(ctx context.Context, subjects ...string) (authz.Closed, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Store    Store
	Objects  archive.Objects
	Subjects Subjects
	Datasets Datasets
	Looker   authz.Looker
	Records  Records
	Files    Files
	Tenants  Tenants
	Jobs     archive.Jobs
	Vault    archive.Vault
	Keys     archive.Keys
	Signer   pack.Signer
	Changes  *change.Runner
	Log      *slog.Logger
	Now      func() time.Time

	Consents Consents // nil where no purpose is registered
	Contents Contents // nil where no requests are answered
	// Count returns how many records there are on a person in each dataset that has
	// any, without reading them; nil has Search read them.
	Count func(ctx context.Context, subjectID string) (map[string]int64, error)
}

// Service makes packages and gives them out.
type Service struct {
	Config

	archives archive.Keeper
}

// NewService returns a Service.
func NewService(c Config) *Service {
	return &Service{c, archive.Keeper{
		Objects: c.Objects, Vault: c.Vault, Keys: c.Keys, Jobs: c.Jobs, Now: c.Now, Collection: Collection, Field: "package",
	}}
}

// Owner returns the owner of the key that a package is sealed under: a unit of
// its own, so that it can be destroyed alone.
func Owner(of tenant.ID, subjectID, exportID string) vault.Owner {
	return vault.Owner{Tenant: of, Subject: subjectID, Unit: vault.Unit(exportID)}
}

// Collection is the collection that sealed packages are bound to.
const Collection = "exports"

// RequestInput asks for an export.
type RequestInput struct {
	Subject  string
	Language *string // the tenant's first that there is when nil
}

// Request asks for a package of a person's data and queues the job that builds
// it. It obeys the caller's Idempotency-Key.
func (s *Service) Request(ctx context.Context, in RequestInput) (*Export, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Subject, of, in.Subject) != nil {
		return nil, subject.ErrNotFound.At("subject")
	}
	e := &Export{
		ID: id.New(id.Export, of), SubjectID: in.Subject, JobID: id.New(id.Job, of), State: Building,
		CreatedAt: s.Now().UTC().Truncate(time.Millisecond),
	}
	if e.Language, err = s.language(ctx, in.Language); err != nil {
		return nil, err
	}
	person, err := s.alive(ctx, in.Subject)
	if err != nil {
		return nil, errs.At(err, "subject")
	}
	if err := s.permitted(ctx, person); err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, in.Subject)); err != nil {
		return nil, fmt.Errorf("request export: %w", err)
	}
	exportID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.Subjects.GuardRead(ctx, e.SubjectID); err != nil {
			return change.Change{}, err
		}
		c := changed("export.request", e)
		c.Then = []job.Spec{{ID: e.JobID, Type: JobBuild, Object: e.ID}}
		return c, s.Store.Insert(ctx, e, e.CreatedAt.Add(Life))
	})
	if err != nil {
		return nil, fmt.Errorf("request export: %w", err)
	}
	return s.Get(ctx, exportID)
}

// language chooses the language of a package.
func (s *Service) language(ctx context.Context, asked *string) (string, error) {
	if asked != nil {
		if _, ok := languages()[*asked]; !ok {
			return "", ErrLanguage
		}
		return *asked, nil
	}
	t, err := s.Tenants.Get(ctx)
	if err != nil {
		return "", fmt.Errorf("find tenant: %w", err)
	}
	for _, tag := range t.Languages {
		base, _ := language.Make(tag).Base()
		if _, ok := languages()[base.String()]; ok {
			return base.String(), nil
		}
	}
	return english, nil
}

// Get returns an export, or ErrNotFound.
func (s *Service) Get(ctx context.Context, exportID string) (*Export, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Export, of, exportID) != nil {
		return nil, ErrNotFound
	}
	e, err := s.Store.Get(ctx, exportID)
	if err != nil {
		return nil, fmt.Errorf("find export %s: %w", exportID, err)
	}
	if p := authz.FromContext(ctx); p.Kind == authz.KindSubject && (e.Case == nil || e.SubjectID != p.Subject) {
		return nil, ErrNotFound
	}
	switch {
	case e.State == Ready && s.archives.Over(*e.ExpiresAt):
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

// Open returns a READY export with a reader of its package, which the caller
// closes and whose reads ctx bounds. The caller records the read.
func (s *Service) Open(ctx context.Context, exportID string) (*Export, io.ReadSeekCloser, error) {
	e, err := s.Get(ctx, exportID)
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
	person, err := s.alive(ctx, e.SubjectID)
	if err != nil {
		return nil, nil, err
	}
	// What answers the person was approved for them, and is theirs.
	if authz.FromContext(ctx).Kind != authz.KindSubject {
		if err := s.permitted(ctx, person); err != nil {
			return nil, nil, err
		}
	}
	content, err := s.archives.Open(ctx, archive.Archive{ID: e.ID, Owner: Owner(of, e.SubjectID, e.ID), Fence: e.Fence}, e.Object)
	return e, content, err
}

// Build builds the package that a job is about. It can be repeated, also by two
// workers at once: only the holder of the job's claim finishes.
func (s *Service) Build(ctx context.Context, run Run) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if id.Check(id.Export, of, run.Object()) != nil {
		return ErrNotFound
	}
	e, err := s.Store.Get(ctx, run.Object())
	if err != nil {
		return fmt.Errorf("build export %s: %w", run.Object(), err)
	}
	switch e.State {
	case Ready: // finished by an attempt that couldn't say so
		return nil
	case Expired:
		return ErrExpired
	case Building, Failed:
	}
	if err := s.build(ctx, of, e, run); err != nil {
		return fmt.Errorf("build export %s: %w", e.ID, err)
	}
	return nil
}

func (s *Service) build(ctx context.Context, of tenant.ID, e *Export, run Run) error {
	owner := Owner(of, e.SubjectID, e.ID)
	keys, err := s.Vault.Ensure(ctx, owner, audit.Evidence(of, e.SubjectID))
	if err != nil {
		return err
	}
	// The data is read in the name of this entry.
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := run.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		return changed("export.build", e), s.Subjects.GuardRead(ctx, e.SubjectID)
	})
	if err != nil {
		return err
	}
	made := archive.Archive{ID: e.ID, Owner: owner, Fence: run.Fence()}
	object, size, err := s.archives.Build(ctx, keys, made, func(w io.Writer) error { return s.write(ctx, e, run, w) })
	if err != nil {
		return err
	}
	if err := run.Step(ctx, "package"); err != nil {
		return err
	}
	expires := s.Now().UTC().Truncate(time.Millisecond).Add(Life)
	e.State, e.Object, e.Fence, e.Size, e.ExpiresAt = Ready, object, run.Fence(), &size, &expires
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if err := run.Guard(ctx); err != nil {
			return change.Change{}, err
		}
		if err := s.Subjects.GuardRead(ctx, e.SubjectID); err != nil {
			return change.Change{}, err
		}
		return changed("export.ready", e), s.Store.Finish(ctx, e)
	})
}

// Sweep destroys packages, of all tenants, whose time is over. It needs a system
// context.
func (s *Service) Sweep(ctx context.Context) error {
	due := func(ctx context.Context, limit int) ([]Ref, error) { return s.Store.Due(ctx, s.Now(), limit) }
	return archive.Sweep(ctx, "exports", due, func(e Ref) tenant.ID { return e.Tenant }, s.expire)
}

func (s *Service) expire(ctx context.Context, e Ref) error {
	if err := s.archives.Destroy(ctx, archive.Archive{ID: e.ID, Owner: Owner(e.Tenant, e.Subject, e.ID)}); err != nil {
		return fmt.Errorf("destroy export %s: %w", e.ID, err)
	}
	return s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		// The person's evidence key may be gone by now, so the entry names the export only.
		return change.Change{Action: "export.expire", Object: e.ID}, s.Store.Expire(ctx, e.ID)
	})
}

// permitted fails unless the caller may see, in full, all that a package on the
// person may hold: of a package nothing can be masked for one who fetches it.
func (s *Service) permitted(ctx context.Context, person *subject.Subject) error {
	sets, err := s.Datasets.List(ctx)
	if err != nil {
		return fmt.Errorf("list datasets: %w", err)
	}
	holds := []authz.Data{{Class: string(dataset.NationalID), Secrecy: string(dataset.NoSecrecy)}}
	for _, d := range sets {
		for i := range d.Fields {
			if data := d.FieldData(&d.Fields[i]); data.Secrecy == string(dataset.NoSecrecy) {
				holds = append(holds, data)
			}
		}
	}
	var closed authz.Closed
	if s.Consents != nil {
		if closed, err = s.Consents.Closed(ctx, person.ID); err != nil {
			return err
		}
	}
	for _, data := range holds {
		data.Restricted, data.About, data.Closed = person.State == subject.Restricted, person.ID, closed.To(person.ID)
		if sight := s.Looker.Look(ctx, data); !sight.Clear() {
			return sight.Err()
		}
	}
	return nil
}

// alive returns the person unless it isn't there or is erased.
func (s *Service) alive(ctx context.Context, subjectID string) (*subject.Subject, error) {
	found, err := s.Subjects.GetMany(ctx, []string{subjectID})
	if err != nil {
		return nil, fmt.Errorf("find subject: %w", err)
	}
	switch {
	case len(found) == 0:
		return nil, subject.ErrNotFound
	case found[0].State.Gone():
		return nil, subject.ErrErased
	}
	return found[0], nil
}

func changed(action string, e *Export) change.Change {
	return change.Change{
		Action: action, Object: e.ID,
		Touches: []audit.Touch{{Subject: e.SubjectID, Object: e.ID, Digest: e.Object.SHA256}},
	}
}
