package imports

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/turns"
	"github.com/vogter/vogter/internal/vault"
)

// Subjects writes and finds the persons of an import.
type Subjects interface {
	FindByKeys(ctx context.Context, keys []lookup.Key) ([]*subject.Subject, error)
	Insert(ctx context.Context, made ...subject.New) ([]change.Change, error)
	Amend(ctx context.Context, subjectID string, in subject.UpsertInput, region string, at time.Time) (change.Change, error)
}

// Records writes and finds the records of an import.
type Records interface {
	FindByKeys(ctx context.Context, keys []lookup.Key) ([]*record.Record, error)
	Insert(ctx context.Context, made ...record.New) ([]change.Change, error)
	Amend(
		ctx context.Context, recordID string, in record.UpsertInput, d *dataset.Dataset, region string, at time.Time,
	) (change.Change, error)
}

// Gate says why the tenant may not put in data of some classes and categories: no
// agreement with the provider covers it.
type Gate interface {
	Take(ctx context.Context, classes []dataset.Class, categories []string) error
}

// Consents brings in what other systems have kept of consents.
type Consents interface {
	Importer(importID string) *consent.Importer
}

// Datasets knows what records hold.
type Datasets interface {
	Find(ctx context.Context, idOrName string) (*dataset.Dataset, error)
}

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Parts is what a Service is made of.
type Parts struct {
	Store    Store
	Changes  *change.Runner
	Recorder *audit.Recorder
	Vault    Vault
	Hasher   change.Hasher
	Datasets Datasets
	Looker   authz.Looker
	Subjects Subjects
	Guards   record.Subjects // guards the persons whose data is written
	Records  Records
	Consents Consents
	Gate     Gate // nil where data needs no agreement
	Regions  subject.Regions
	Now      func() time.Time
}

// Service runs a tenant's imports.
type Service struct {
	store    Store
	changes  *change.Runner
	recorder *audit.Recorder
	vault    Vault
	hasher   change.Hasher
	datasets Datasets
	looker   authz.Looker
	subjects Subjects
	guards   record.Subjects
	records  Records
	consents Consents
	gate     Gate
	regions  subject.Regions
	now      func() time.Time

	turns *turns.Turns
}

// NewService returns a Service.
func NewService(p Parts) *Service {
	return &Service{
		p.Store, p.Changes, p.Recorder, p.Vault, p.Hasher, p.Datasets, p.Looker, p.Subjects, p.Guards, p.Records, p.Consents, p.Gate, p.Regions, p.Now,
		// Each import holds some batches in memory.
		turns.New(turns.Shares{Process: 8, Tenant: 3, Caller: 2, Wait: 10 * time.Second}),
	}
}

// Input asks for an import.
type Input struct {
	Key     string // Idempotency-Key; a check needs none
	Mapping string // name of a mapping, or
	Dataset string // name or id of a dataset that every line is a record of,
	Origin  record.Origin
	Kind    Kind // or what every line is
	Format  Format
	Mode    Mode
	Body    io.Reader
}

// lease is how long an import that shows no progress keeps others from going on
// with it. Losing it to another run is harmless: see Import.Fence.
const lease = 30 * time.Second

// endTimeout bounds the last words of a run whose caller has gone.
const endTimeout = 10 * time.Second

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// Get returns what an import did so far, with up to MaxRejections rejections of
// lines after one.
func (s *Service) Get(ctx context.Context, importID string, after int64) (*Summary, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Import, of, importID) != nil {
		return nil, ErrNotFound
	}
	i, err := s.store.Get(ctx, importID)
	if err != nil {
		return nil, err
	}
	return s.summary(ctx, i, after)
}

func (s *Service) summary(ctx context.Context, i *Import, after int64) (*Summary, error) {
	rejections, err := s.store.Rejections(ctx, i.ID, after, MaxRejections)
	if err != nil {
		return nil, err
	}
	return &Summary{Import: i, Mode: Write, Counts: i.Counts, Rejections: rejections}, nil
}

// Run imports a file. The same file under the same key takes effect once: after
// an import that broke off it goes on where that ended, after one that is done
// it only tells again what that did. With a Summary, an error tells why the rest
// of the file was not imported.
func (s *Service) Run(ctx context.Context, in Input) (*Summary, error) {
	done, err := s.turns.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	p, err := s.plan(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := s.takes(ctx, p); err != nil {
		return nil, err
	}
	r := &run{Service: s, plan: p, mode: in.Mode, scan: newScanner(in.Body, in.Format)}
	if p.consents {
		p.importer = s.consents.Importer("")
	}
	if in.Format == CSV {
		head, err := r.scan.readHeader()
		if err != nil {
			return nil, bodyFault(err)
		}
		if err := p.checkHeader(r.scan.header); err != nil {
			return nil, err
		}
		r.head = &head
	}
	if in.Mode == Check {
		if err := s.recorder.Record(ctx, audit.Event{Action: "import.check"}); err != nil {
			return nil, err
		}
		err := r.work(ctx)
		return &Summary{Mode: Check, Counts: r.row.Counts, Rejections: r.rejections}, err
	}
	if err := r.open(ctx, in.Key); err != nil {
		return nil, err
	}
	if p.consents {
		p.importer = s.consents.Importer(r.row.ID)
	}
	if err = r.work(ctx); err != nil && ctx.Err() != nil {
		err = ErrTruncated.Because(err) // the caller has gone, and the rest of the file with it
	}
	if errors.Is(err, ErrOtherBytes) || errors.Is(err, ErrRunning) {
		return nil, errors.Join(err, r.end(ctx, err))
	}
	// The caller may be gone; what was done is noted all the same.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer stop()
	if err = errors.Join(err, r.end(ctx, err)); err != nil && errs.KindOf(err) == errs.Internal {
		return nil, err
	}
	sum, serr := s.summary(ctx, &r.row, 0)
	if serr != nil {
		return nil, errors.Join(err, serr)
	}
	return sum, err
}

// takes fails where the gate does, for all that a file may have by its plan.
func (s *Service) takes(ctx context.Context, p *plan) error {
	if s.gate == nil {
		return nil
	}
	classes, categories := []dataset.Class{dataset.Ordinary}, []string(nil)
	if p.subject != nil && len(p.subject.NationalIDs) > 0 {
		classes = append(classes, dataset.NationalID)
	}
	of := func(f *dataset.Field) { classes, categories = append(classes, f.DataClass), append(categories, f.Term) }
	if p.dataset != nil {
		for i := range p.dataset.Fields {
			of(&p.dataset.Fields[i])
		}
	}
	for _, rule := range p.records {
		for _, f := range rule.fields {
			of(f.Field)
		}
	}
	return s.gate.Take(ctx, classes, categories)
}

// bodyFault gives an error of the body a kind.
func bodyFault(err error) error {
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	return ErrTruncated.Because(err)
}

// open finds or makes the import of a key, and takes its lease unless it is done.
func (r *run) open(ctx context.Context, key string) error {
	sum, err := r.hasher.Hash(ctx, "import", []byte(authz.FromContext(ctx).ID), []byte(key))
	if err != nil {
		return err
	}
	importID := id.Prefix(id.Import, r.plan.of) + id.Encode(sum[:16])
	secret, err := r.hasher.Hash(ctx, "import input", []byte(importID))
	if err != nil {
		return err
	}
	r.secret = secret[:]
	at := r.at()
	return r.changes.DoAll(ctx, func(ctx context.Context) ([]change.Change, error) {
		found, err := r.store.Get(ctx, importID)
		if errors.Is(err, ErrNotFound) {
			r.row = Import{
				ID: importID, Params: r.plan.params, State: Running, Fence: 1, LeaseUntil: at.Add(lease), CreatedAt: at, UpdatedAt: at,
			}
			return []change.Change{{Action: "import.start", Object: importID}}, r.store.Insert(ctx, &r.row)
		}
		if err != nil {
			return nil, err
		}
		over := found.State == Done && at.Sub(found.UpdatedAt) > change.ReceiptLife
		r.row = *found
		switch {
		case over: // the key is free again
			r.row = Import{ID: importID, Params: r.plan.params, CreatedAt: at, Fence: found.Fence}
			if err := r.store.DeleteRejections(ctx, importID); err != nil {
				return nil, err
			}
		case found.Params != r.plan.params:
			return nil, ErrOtherInput
		case found.State == Done:
			return nil, nil
		case at.Before(found.LeaseUntil):
			return nil, ErrRunning
		}
		r.row.State, r.row.Fence, r.row.LeaseUntil, r.row.UpdatedAt = Running, found.Fence+1, at.Add(lease), at
		action := "import.resume"
		if over {
			action = "import.start"
		}
		return []change.Change{{Action: action, Object: importID}}, r.store.Update(ctx, &r.row, found.Fence)
	})
}

// end notes how the run ended, and gives the lease back.
func (r *run) end(ctx context.Context, failed error) error {
	if r.row.State == Done || errors.Is(failed, ErrRunning) {
		return nil
	}
	at, row := r.at(), r.row
	row.LeaseUntil, row.UpdatedAt = at, at
	action := "import.stop"
	row.State = Stopped
	if failed == nil {
		action = "import.finish"
		row.State, row.Line, row.Chain = Done, r.seen.line, r.seen.chain
	}
	err := r.changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: action, Object: row.ID}, r.store.Update(ctx, &row, row.Fence)
	})
	if err == nil {
		r.row = row
	}
	return err
}

// position is how far a file was read.
type position struct {
	line  int64
	chain [sha256.Size]byte
}
