package record

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Datasets knows what records hold, as far as the caller may.
type Datasets interface {
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
	// Hidden returns those that the caller must not know of.
	Hidden(ctx context.Context) ([]string, error)
}

// Subjects guards the persons whose data is written: within a change's
// transaction, see subject.Store.
type Subjects interface {
	Guard(ctx context.Context, ids ...string) error
	// GuardStored lets pass who is restricted.
	GuardStored(ctx context.Context, ids ...string) error
}

// Files takes part in a record's transaction: Attach makes stored uploads the
// record's, Detach gives them up and returns the jobs that remove them.
type Files interface {
	Attach(ctx context.Context, recordID string, files []Attachment) error
	Detach(ctx context.Context, recordID string, files []Attachment) ([]job.Spec, error)
}

// Gate says why the tenant may not put in data of some classes and categories: no
// agreement with the provider covers it. It isn't asked in a transaction.
type Gate interface {
	Take(ctx context.Context, classes []dataset.Class, categories []string) error
}

// Consents tells of the persons whose data must not be used for the purpose that
// the caller states: it rests on consent, or they have objected to it.
type Consents interface {
	// Closed returns those of subjects. It is asked anew at each use.
	Closed(ctx context.Context, subjects ...string) (authz.Closed, error)
	// Asks reports whether consent is asked for at all.
	Asks(ctx context.Context) (bool, error)
}

// Retention says which records must be kept.
type Retention interface {
	// MayDelete fails, naming rule and date, when a hold or a minimum of law keeps a
	// record of persons. It works within a transaction.
	MayDelete(ctx context.Context, datasetID string, collected, changed time.Time, persons ...string) error
}

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Service keeps a tenant's records.
type Service struct {
	store    Store
	changes  *change.Runner
	recorder *audit.Recorder
	vault    Vault
	looker   authz.Looker
	datasets Datasets
	subjects Subjects
	files    Files
	consents Consents
	gate     Gate
	kept     Retention
	regions  subject.Regions
	now      func() time.Time
}

// Parts is what a Service is made of.
type Parts struct {
	Store    Store
	Changes  *change.Runner
	Recorder *audit.Recorder
	Vault    Vault
	Looker   authz.Looker
	Datasets Datasets
	Subjects Subjects
	Files    Files
	Consents Consents  // nil where no purpose is registered
	Gate     Gate      // nil where data needs no agreement
	Kept     Retention // nil where there are no rules and holds
	Regions  subject.Regions
	Now      func() time.Time
}

// NewService returns a Service.
func NewService(p Parts) *Service {
	return &Service{p.Store, p.Changes, p.Recorder, p.Vault, p.Looker, p.Datasets, p.Subjects, p.Files, p.Consents, p.Gate, p.Kept, p.Regions, p.Now}
}

// Get returns a record. It fails with ErrNotFound, and with subject.ErrErased
// when its subject is gone.
func (s *Service) Get(ctx context.Context, recordID string) (*Record, error) {
	if _, err := checkID(ctx, recordID); err != nil {
		return nil, err
	}
	r, err := s.store.Get(ctx, recordID)
	if err != nil {
		return nil, err
	}
	if person := self(ctx); person != "" {
		if err := s.describe(ctx, r); err != nil {
			return nil, err
		}
		if !r.ordinary(person) {
			return nil, ErrNotFound
		}
	}
	return r, s.answer(ctx, "record.read", r)
}

// List returns a page of records, the newest first.
func (s *Service) List(ctx context.Context, q Query, r page.Request) (*Connection, error) {
	list := page.List{Of: id.Record, Scope: q.Subject + "/" + q.Dataset}
	after, err := list.After(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, &q); err != nil {
		return nil, err
	}
	read, err := s.list(ctx, q, after, r.First+1)
	if err != nil {
		return nil, err
	}
	return s.connection(ctx, "record.read", list, r, read, func(ctx context.Context) (int, error) {
		return s.count(ctx, q, page.CountMax)
	})
}

// Page is List for a job that notes its reading itself: up to limit records
// after a position, nil for the first.
func (s *Service) Page(ctx context.Context, q Query, after *page.Position, limit int) ([]*Record, error) {
	if err := s.check(ctx, &q); err != nil {
		return nil, err
	}
	read, err := s.store.List(ctx, q, after, limit)
	if err != nil {
		return nil, err
	}
	return read, s.describe(ctx, read...)
}

// check refuses a query for what isn't there, and leaves out what the caller
// must not know of.
func (s *Service) check(ctx context.Context, q *Query) error {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return err
	}
	if q.Subject != "" && id.Check(id.Subject, of, q.Subject) != nil {
		return subject.ErrNotFound
	}
	if q.Dataset != "" {
		_, err = s.datasets.Get(ctx, q.Dataset)
		return err
	}
	q.Without, err = s.datasets.Hidden(ctx)
	return err
}

// Find returns a page of the records with a value, without those where it is
// about a person whose data restriction (GDPR Art. 18) or a consent that isn't in
// force keeps from the caller. A search is written to the audit log even if it
// finds nothing.
func (s *Service) Find(ctx context.Context, by By, r page.Request) (*Connection, error) {
	q, err := s.search(ctx, by)
	if err != nil {
		return nil, err
	}
	list := page.List{Of: id.Record, Scope: string(q.Name)}
	after, err := list.After(ctx, r)
	if err != nil {
		return nil, err
	}
	read, err := s.store.Find(ctx, q, after, r.First+1)
	if err != nil {
		return nil, err
	}
	c := &Connection{*page.Of(list, r, read, position), func(ctx context.Context) (int, error) { return s.countFound(ctx, q, by) }}
	left, err := s.usable(ctx, by, c.Nodes())
	if err != nil {
		return nil, err
	}
	c.Edges = slices.DeleteFunc(c.Edges, func(e Edge) bool { return !slices.Contains(left, e.Node) })
	return c, s.answer(ctx, "record.find", left...)
}

func (s *Service) search(ctx context.Context, by By) (lookup.Search, error) {
	d, err := s.datasets.Get(ctx, by.Dataset)
	if err != nil {
		return lookup.Search{}, errs.At(err, "by.dataset")
	}
	if by.Field == nil {
		if sight := s.looker.Look(ctx, d.Data()); !sight.Clear() {
			return lookup.Search{}, sight.Err()
		}
		k, err := keyOf(by.Value, d.ID)
		return lookup.Search{Key: k, Restricted: s.restricted(ctx, d.Data())}, errs.At(err, "by.value")
	}
	f := d.Field(*by.Field)
	if f == nil || f.Lookup != dataset.Exact {
		return lookup.Search{}, errs.New(errs.Invalid, "the dataset has no such field with a lookup").At("by.field")
	}
	if sight := s.looker.Look(ctx, d.FieldData(f)); !sight.Clear() {
		return lookup.Search{}, errs.At(sight.Err(), "by.field")
	}
	region, err := s.region(ctx, d)
	if err != nil {
		return lookup.Search{}, err
	}
	k, err := fieldKey(f, by.Value, region)
	return lookup.Search{Key: k, Restricted: s.restricted(ctx, d.FieldData(f))}, errs.At(err, "by.value")
}

// restricted reports whether the caller may see data even of persons whose
// processing is restricted.
func (s *Service) restricted(ctx context.Context, data authz.Data) bool {
	data.Restricted = true
	return s.looker.Look(ctx, data).Clear()
}

func (s *Service) connection(
	ctx context.Context, action string, list page.List, r page.Request, read []*Record,
	count func(context.Context) (int, error),
) (*Connection, error) {
	c := &Connection{*page.Of(list, r, read, position), count}
	return c, s.answer(ctx, action, c.Nodes()...)
}

// answer makes records ready to be answered, and notes that they are.
func (s *Service) answer(ctx context.Context, action string, read ...*Record) error {
	if err := s.describe(ctx, read...); err != nil {
		return err
	}
	var touches []audit.Touch
	for _, r := range read {
		for _, t := range r.touches(nil, nil) {
			t.Secret = !r.ordinary(t.Subject)
			touches = append(touches, t)
		}
	}
	object := ""
	if len(read) == 1 {
		object = read[0].ID
	}
	if err := s.show(ctx, read...); err != nil {
		return err
	}
	if person := self(ctx); person != "" {
		for _, r := range read {
			r.narrow(person)
		}
	}
	return s.recorder.Read(ctx, action, object, touches...)
}

// describe gives the fields of stored records their present keys, classes and types.
func (s *Service) describe(ctx context.Context, read ...*Record) error {
	known := map[string]*dataset.Dataset{}
	for _, r := range read {
		d := known[r.DatasetID]
		if d == nil {
			var err error
			if d, err = s.dataset(ctx, r); err != nil {
				return err
			}
			known[r.DatasetID] = d
		}
		for i := range r.Fields {
			f := &r.Fields[i]
			if of := d.Stored(f.FieldID); of != nil {
				f.Key, f.Class, f.Secrecy, f.Value.Type = of.Key, of.DataClass, d.SecrecyOf(of), of.Type
			}
		}
		// In the dataset's order, the subject's own values before those of parties.
		slices.SortStableFunc(r.Fields, func(a, b Field) int { return d.Index(a.FieldID) - d.Index(b.FieldID) })
	}
	return nil
}

// dataset returns that of a stored record; a record of one that the caller must
// not know of isn't there.
func (s *Service) dataset(ctx context.Context, r *Record) (*dataset.Dataset, error) {
	d, err := s.datasets.Get(ctx, r.DatasetID)
	if errs.KindOf(err) == errs.NotFound {
		return nil, ErrNotFound
	}
	return d, err
}

// Write makes a record.
func (s *Service) Write(ctx context.Context, in WriteInput) (*Record, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	d, err := s.datasets.Get(ctx, in.Dataset)
	if err != nil {
		return nil, errs.At(err, "dataset")
	}
	region, err := s.region(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := s.writable(ctx, in.Fields, d); err != nil {
		return nil, err
	}
	made, err := Make(id.New(id.Record, of), in, d, of, region, s.at())
	if err != nil {
		return nil, err
	}
	if _, err := s.vault.Ensure(ctx, Owners(of, made)...); err != nil {
		return nil, err
	}
	recordID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		if err := s.subjects.Guard(ctx, made.Record.Subjects()...); err != nil {
			return change.Change{}, err
		}
		changes, err := s.Insert(ctx, made)
		if err != nil {
			return change.Change{}, err
		}
		return changes[0], nil
	})
	if err != nil {
		return nil, err
	}
	if recordID != made.Record.ID {
		return s.Get(ctx, recordID)
	}
	return made.Record, s.show(ctx, made.Record)
}

// region returns the tenant's country if a lookup of d's fields depends on it.
func (s *Service) region(ctx context.Context, d *dataset.Dataset) (string, error) {
	for _, f := range d.Fields {
		if n := f.Normaliser; n != nil && (*n == dataset.NormalisePhone || *n == dataset.NormaliseNationalID) {
			return s.regions.Country(ctx)
		}
	}
	return "", nil
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// Owners returns the owners of the keys that new records need.
func Owners(of tenant.ID, made ...New) []vault.Owner {
	var owners []vault.Owner
	for _, m := range made {
		owners = append(owners, m.Record.owners(of)...)
	}
	return owners
}

// Insert writes records made by Make within a change's transaction, and returns
// the changes. Their keys (see Owners) must be there, and their subjects guarded.
func (s *Service) Insert(ctx context.Context, made ...New) ([]change.Change, error) {
	for _, m := range made {
		if err := s.consented(ctx, m.Record.Subjects()...); err != nil {
			return nil, err
		}
	}
	digests, err := s.store.Insert(ctx, made...)
	if err != nil {
		return nil, err
	}
	changes := make([]change.Change, len(made))
	for i, m := range made {
		if files := m.Record.files(); len(files) > 0 {
			if err := s.files.Attach(ctx, m.Record.ID, files); err != nil {
				return nil, err
			}
		}
		changes[i] = change.Change{
			Action: "record.write", Object: m.Record.ID, Touches: m.Record.touches(digests[i], nil), Secret: m.secret,
		}
	}
	return changes, nil
}

// Update changes a record.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Record, error) {
	return s.update(ctx, s.subjects.Guard, in.ID, func(r *Record) (UpdateInput, error) {
		if r.Version != in.ExpectedVersion {
			return in, change.ErrVersion
		}
		return in, nil
	})
}

// Upsert makes the record with a key, or updates the one that has it.
func (s *Service) Upsert(ctx context.Context, in UpsertInput) (r *Record, created bool, err error) {
	// A record made by another call in between is found in the second round.
	for range 2 {
		q, err := s.search(ctx, By{Dataset: in.Dataset, Value: in.Key})
		if err != nil {
			return nil, false, err
		}
		q.Restricted = true // its update is refused
		found, err := s.store.Find(ctx, q, nil, 1)
		if err != nil {
			return nil, false, err
		}
		if len(found) == 1 {
			updated, err := s.update(ctx, s.subjects.Guard, found[0].ID, func(r *Record) (UpdateInput, error) {
				if r.SubjectID != in.Subject {
					return UpdateInput{}, ErrOtherSubject
				}
				return in.update(r), nil
			})
			return updated, false, err
		}
		made, err := s.Write(ctx, in.Write())
		if errs.KindOf(err) != errs.Conflict {
			return made, err == nil, err
		}
	}
	return nil, false, ErrDuplicate
}

// guard guards persons within a transaction.
type guard = func(ctx context.Context, ids ...string) error

func (s *Service) update(ctx context.Context, g guard, recordID string, next func(*Record) (UpdateInput, error)) (*Record, error) {
	of, err := checkID(ctx, recordID)
	if err != nil {
		return nil, err
	}
	before, err := s.store.Get(ctx, recordID)
	if err != nil {
		return nil, err
	}
	d, err := s.dataset(ctx, before)
	if err != nil {
		return nil, err
	}
	region, err := s.region(ctx, d)
	if err != nil {
		return nil, err
	}
	// The keys of parties to come are made before the transaction.
	in, err := next(before)
	if err != nil {
		return nil, err
	}
	if err := s.writable(ctx, in.Fields, d); err != nil {
		return nil, err
	}
	owners := before.owners(of)
	for _, p := range in.Parties {
		owners = append(owners, Unit(of, p.Subject, d.ID), audit.Evidence(of, p.Subject))
	}
	if _, err := s.vault.Ensure(ctx, owners...); err != nil {
		return nil, err
	}
	var updated *Record
	at := s.at()
	err = s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		c, updated, err = s.amend(ctx, g, recordID, d, region, at, next)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	if err := s.describe(ctx, updated); err != nil {
		return nil, err
	}
	return updated, s.show(ctx, updated)
}

// amend reads, changes and writes a record of d within a change's transaction.
func (s *Service) amend(
	ctx context.Context, g guard, recordID string, d *dataset.Dataset, region string, at time.Time,
	next func(*Record) (UpdateInput, error),
) (c change.Change, r *Record, err error) {
	of, err := checkID(ctx, recordID)
	if err != nil {
		return c, nil, err
	}
	if r, err = s.store.Get(ctx, recordID); err != nil {
		return c, nil, err
	}
	if err := s.describe(ctx, r); err != nil {
		return c, nil, err
	}
	was, had, open := r.living(), r.files(), r.open()
	in, err := next(r)
	if err != nil {
		return c, nil, err
	}
	if err := r.apply(in, d, of); err != nil {
		return c, nil, err
	}
	for i := range r.Fields {
		// Its lookup, which can't be made anew, would be taken for stale.
		if f := d.Stored(r.Fields[i].FieldID); r.Fields[i].State == personal.Withheld && f != nil && f.Lookup == dataset.Exact {
			if d.Field(f.ID) == nil {
				return c, nil, ErrUnreadable // the caller must not know of the field
			}
			return c, nil, ErrUnreadable.At("fields." + f.Key)
		}
	}
	persons := append(was, r.living()...)
	if err := g(ctx, persons...); err != nil {
		return c, nil, err
	}
	if err := s.consented(ctx, persons...); err != nil {
		return c, nil, err
	}
	keys, err := r.keys(d, region)
	if err != nil {
		return c, nil, err
	}
	jobs, err := s.moveFiles(ctx, r, had)
	if err != nil {
		return c, nil, err
	}
	r.Version++
	r.UpdatedAt = at
	digest, err := s.store.Update(ctx, r, keys)
	if err != nil {
		return c, nil, err
	}
	fields := in.names(d)
	c = change.Change{
		Action: "record.update", Object: r.ID, Fields: fields, Touches: r.touches(digest, fields), Then: jobs,
		SecretFields: slices.DeleteFunc(slices.Clone(fields), func(key string) bool { return d.SecrecyOf(d.Field(key)) != dataset.AML }),
	}
	c.Secret = d.Secrecy == dataset.AML || len(c.SecretFields) > 0 && open.equal(r.open())
	return c, r, nil
}

// open returns a copy of r without the values that are secret by AML law.
func (r *Record) open() *Record {
	c := *r
	c.Fields = slices.DeleteFunc(slices.Clone(r.Fields), func(f Field) bool { return f.Secrecy == dataset.AML })
	return &c
}

// names returns the keys of the fields that in changes.
func (in UpdateInput) names(d *dataset.Dataset) []string {
	names := make([]string, 0, len(in.Fields))
	for _, f := range in.Fields {
		if of := d.Field(f.Key); of != nil {
			names = append(names, of.Key)
		}
	}
	return names
}

// moveFiles attaches the files that r has now and hadn't, and detaches those it
// had and hasn't any more.
func (s *Service) moveFiles(ctx context.Context, r *Record, had []Attachment) ([]job.Spec, error) {
	have := r.files()
	fresh := slices.DeleteFunc(slices.Clone(have), func(a Attachment) bool { return slices.Contains(had, a) })
	gone := slices.DeleteFunc(slices.Clone(had), func(a Attachment) bool {
		return slices.ContainsFunc(have, func(b Attachment) bool { return a.File == b.File })
	})
	if len(fresh) > 0 {
		if err := s.files.Attach(ctx, r.ID, fresh); err != nil {
			return nil, err
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return s.files.Detach(ctx, r.ID, gone)
}

// Delete removes a record for good, with its lookups and files.
func (s *Service) Delete(ctx context.Context, in DeleteInput) error {
	of, err := checkID(ctx, in.ID)
	if err != nil {
		return err
	}
	before, err := s.store.Get(ctx, in.ID)
	if err != nil {
		return err
	}
	d, err := s.dataset(ctx, before)
	if err != nil {
		return err
	}
	if _, err := s.vault.Ensure(ctx, before.owners(of)...); err != nil {
		return err
	}
	return s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		r, err := s.store.Get(ctx, in.ID)
		if err != nil {
			return c, err
		}
		if in.ExpectedVersion != nil && *in.ExpectedVersion != r.Version {
			return c, change.ErrVersion
		}
		if err := s.describe(ctx, r); err != nil {
			return c, err
		}
		if err := s.subjects.Guard(ctx, r.living()...); err != nil {
			return c, err
		}
		if err := s.mayDelete(ctx, r); err != nil {
			return c, err
		}
		var jobs []job.Spec
		if files := r.files(); len(files) > 0 {
			if jobs, err = s.files.Detach(ctx, r.ID, files); err != nil {
				return c, err
			}
		}
		if err := s.store.Delete(ctx, r); err != nil {
			return c, err
		}
		return change.Change{
			Action: "record.delete", Object: r.ID, Touches: r.touches(nil, nil), Contents: []audit.Content{{Object: r.ID}}, Then: jobs,
			Secret: d.Secrecy == dataset.AML,
		}, nil
	})
}

// mayDelete refuses to delete what must be kept of any of the record's persons.
func (s *Service) mayDelete(ctx context.Context, r *Record) error {
	if s.kept == nil {
		return nil
	}
	collected := r.CreatedAt
	if r.CollectedAt != nil {
		collected = *r.CollectedAt
	}
	return s.kept.MayDelete(ctx, r.DatasetID, collected, r.UpdatedAt, r.living()...)
}
