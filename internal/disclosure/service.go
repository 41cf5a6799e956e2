package disclosure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/vocabulary"
)

// Subjects guards the persons whose disclosures are recorded, in the change's
// transaction; those whose processing is restricted pass (package subject).
type Subjects interface {
	GuardStored(ctx context.Context, ids ...string) error
}

// Datasets knows the datasets, as far as the caller may.
type Datasets interface {
	// Get fails with dataset.ErrNotFound.
	Get(ctx context.Context, datasetID string) (*dataset.Dataset, error)
}

// Parties knows the parties of the tenant in ctx.
type Parties interface {
	// Party fails with processing.ErrNoParty.
	Party(ctx context.Context, partyID string) (*processing.Party, error)
}

// Vault makes keys before the transaction that needs them.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Authorizer decides, and tells how much of data the caller may see.
type Authorizer interface {
	authz.Authorizer
	authz.Looker
}

// Config is what a Service needs.
type Config struct {
	Store      Store
	Subjects   Subjects
	Datasets   Datasets
	Parties    Parties
	Vault      Vault
	Authorizer Authorizer
	Changes    *change.Runner
	Recorder   *audit.Recorder
	Now        func() time.Time
}

// Service keeps the log of disclosures.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }

// secret is what policies look at before what is secret by AML law is shown.
func secret() authz.Data {
	return authz.Data{Class: string(dataset.Ordinary), Secrecy: string(dataset.AML)}
}

// Record adds disclosures to the log. It obeys the caller's Idempotency-Key.
func (s *Service) Record(ctx context.Context, in RecordInput) ([]*Disclosure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(in.Disclosures); n == 0 || n > MaxBatch {
		return nil, errs.New(errs.Invalid, "record 1 to %d disclosures in a call", MaxBatch).At("disclosures")
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	names := names{s: s, parties: map[string]*processing.Party{}, datasets: map[string]*dataset.Dataset{}}
	ds, owners := make([]*Disclosure, len(in.Disclosures)), make([]vault.Owner, len(in.Disclosures))
	persons := make([]string, len(ds))
	for i, one := range in.Disclosures {
		if ds[i], err = names.make(ctx, of, one, now); err != nil {
			return nil, errs.At(err, fmt.Sprintf("disclosures.%d", i))
		}
		ds[i].Batch = ds[0].ID
		owners[i], persons[i] = audit.Evidence(of, ds[i].SubjectID), ds[i].SubjectID
	}
	if err := checkBatch(ds); err != nil {
		return nil, err
	}
	aml := ds[0].Secrecy == dataset.AML
	if aml {
		if sight := s.Authorizer.Look(ctx, secret()); !sight.Clear() {
			return nil, sight.Err()
		}
	}
	if _, err := s.Vault.Ensure(ctx, owners...); err != nil {
		return nil, err
	}
	batch, err := s.Changes.CreateAll(ctx, func(ctx context.Context) (string, []change.Change, error) {
		if err := s.Subjects.GuardStored(ctx, persons...); err != nil {
			return "", nil, err
		}
		changes := make([]change.Change, len(ds))
		for i, d := range ds {
			changes[i] = change.Change{
				Action: "disclosure.record", Object: d.ID, Secret: aml,
				Touches: []audit.Touch{{Subject: d.SubjectID, Object: d.ID, Version: 1}},
			}
		}
		return ds[0].ID, changes, s.Store.Insert(ctx, ds)
	})
	if err != nil {
		return nil, err
	}
	if batch != ds[0].ID {
		if ds, err = s.Store.Batch(ctx, batch); err != nil {
			return nil, err
		}
	}
	return s.answer(ctx, batch, ds)
}

// Correct adds an entry to the log that corrects another one.
func (s *Service) Correct(ctx context.Context, in CorrectInput) (*Disclosure, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	wrong, err := s.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if wrong.Secrecy == dataset.AML {
		if sight := s.Authorizer.Look(ctx, secret()); !sight.Clear() {
			return nil, sight.Err()
		}
	}
	d, err := s.correction(ctx, of, wrong, in)
	if err != nil {
		return nil, err
	}
	if _, err := s.Vault.Ensure(ctx, audit.Evidence(of, d.SubjectID)); err != nil {
		return nil, err
	}
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		c := change.Change{Action: "disclosure.correct", Object: d.ID, Secret: d.Secrecy == dataset.AML, Touches: []audit.Touch{
			{Subject: d.SubjectID, Object: d.ID, Version: 1}, {Subject: d.SubjectID, Object: wrong.ID},
		}}
		if err := s.Subjects.GuardStored(ctx, d.SubjectID); err != nil {
			return c, err
		}
		if err := s.Store.Corrected(ctx, wrong.ID, d.ID); err != nil {
			return c, err
		}
		return c, s.Store.Insert(ctx, []*Disclosure{d})
	})
	if err != nil {
		return nil, err
	}
	_, err = s.answer(ctx, d.ID, []*Disclosure{d})
	return d, err
}

// correction returns the entry that corrects a wrong one.
func (s *Service) correction(ctx context.Context, of tenant.ID, wrong *Disclosure, in CorrectInput) (d *Disclosure, err error) {
	switch {
	case wrong.CorrectedBy != nil:
		return nil, ErrCorrected
	case wrong.Void:
		return nil, ErrVoid
	}
	reason := strings.TrimSpace(in.Reason.Reveal())
	if n := utf8.RuneCountInString(reason); n == 0 || n > maxReference || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return nil, errs.New(errs.Invalid, "say why, in up to %d characters on one line", maxReference).At("reason")
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	if in.Instead != nil {
		names := names{s: s, parties: map[string]*processing.Party{}, datasets: map[string]*dataset.Dataset{}}
		if d, err = names.make(ctx, of, *in.Instead, now); err != nil {
			return nil, errs.At(err, "instead")
		}
	} else {
		void := *wrong
		d = &void
		d.ID, d.Void, d.RecordedBy, d.CreatedAt = id.New(id.Disclosure, of), true, authz.FromContext(ctx).ID, now
		d.Reference, d.ReferenceState = personal.Text{}, personal.Clear
	}
	switch {
	case d.SubjectID != wrong.SubjectID:
		return nil, errSubject
	case d.Secrecy != wrong.Secrecy:
		return nil, ErrApart.At("instead")
	}
	d.Batch, d.Corrects, d.Reason = d.ID, &wrong.ID, personal.NewText(reason)
	return d, nil
}

// names looks up what disclosures name, each once.
type names struct {
	s        *Service
	parties  map[string]*processing.Party
	datasets map[string]*dataset.Dataset
}

func (n *names) party(ctx context.Context, partyID string) (*processing.Party, error) {
	if err := checkID(ctx, id.Party, partyID, processing.ErrNoParty); err != nil {
		return nil, err
	}
	if p := n.parties[partyID]; p != nil {
		return p, nil
	}
	p, err := n.s.Parties.Party(ctx, partyID)
	if err == nil {
		n.parties[partyID] = p
	}
	return p, err
}

func (n *names) dataset(ctx context.Context, datasetID string) (*dataset.Dataset, error) {
	if d := n.datasets[datasetID]; d != nil {
		return d, nil
	}
	d, err := n.s.Datasets.Get(ctx, datasetID)
	if err == nil {
		n.datasets[datasetID] = d
	}
	return d, err
}

// make returns the disclosure that is asked for.
func (n *names) make(ctx context.Context, of tenant.ID, in Input, now time.Time) (*Disclosure, error) {
	d := &Disclosure{
		ID: id.New(id.Disclosure, of), SubjectID: in.Subject, Recipient: in.Recipient, Datasets: in.Datasets, Categories: in.Categories,
		LegalBasis: in.LegalBasis, Purpose: in.Purpose, Secrecy: in.Secrecy, At: in.At.UTC().Truncate(time.Millisecond),
		ReferenceState: personal.Clear, RecordedBy: authz.FromContext(ctx).ID, CreatedAt: now,
	}
	if in.Reference != nil {
		d.Reference = personal.NewText(strings.TrimSpace(in.Reference.Reveal()))
	}
	if err := d.check(of); err != nil {
		return nil, err
	}
	p, err := n.party(ctx, in.Recipient)
	if err != nil {
		return nil, errs.At(err, "recipient")
	}
	if p.Own {
		return nil, errOwn
	}
	if d.At.After(now) {
		return nil, errs.New(errs.Invalid, "what hasn't happened yet isn't recorded").At("at")
	}
	return d, n.classify(ctx, d)
}

// classify sets the secrecy of a disclosure by its datasets.
func (n *names) classify(ctx context.Context, d *Disclosure) error {
	hidden := 0
	for i, datasetID := range d.Datasets {
		set, err := n.dataset(ctx, datasetID)
		if err != nil {
			return errs.At(err, fmt.Sprintf("datasets.%d", i))
		}
		if set.Secrecy == dataset.AML {
			hidden++
		}
	}
	if hidden > 0 && hidden < len(d.Datasets) {
		return ErrApart.At("datasets")
	}
	if hidden > 0 {
		d.Secrecy = dataset.AML
	}
	return nil
}

// check reports the first thing that is wrong with d in itself.
func (d *Disclosure) check(of tenant.ID) error {
	switch {
	case id.Check(id.Subject, of, d.SubjectID) != nil:
		return subject.ErrNotFound.At("subject")
	case len(d.Datasets)+len(d.Categories) == 0:
		return errEmpty
	case len(d.Datasets) > maxDatasets:
		return errs.New(errs.Invalid, "at most %d datasets", maxDatasets).At("datasets")
	case len(d.Categories) > maxCategories:
		return errs.New(errs.Invalid, "at most %d categories", maxCategories).At("categories")
	case d.Secrecy != dataset.NoSecrecy && d.Secrecy != dataset.AML:
		return errs.New(errs.Invalid, "a secrecy is NONE or AML").At("secrecy")
	case !vocabulary.Is(vocabulary.LegalBasis, d.LegalBasis):
		return errs.New(errs.Invalid, "a legal basis is a term of the vocabulary, as in eu-gdpr:A6-1-c").At("legalBasis")
	case d.Purpose == "" || len(d.Purpose) > maxPurpose ||
		strings.Trim(d.Purpose, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") != "":
		return errs.New(errs.Invalid, "a purpose has 1 to %d letters, digits and . _ : -", maxPurpose).At("purpose")
	}
	for i, c := range d.Categories {
		if !vocabulary.Is(vocabulary.PersonalData, c) || slices.Contains(d.Categories[:i], c) {
			return errs.New(errs.Invalid, "a category is a term of the vocabulary for personal data, as in pd:Name, each once").At(fmt.Sprintf("categories.%d", i))
		}
	}
	for i, set := range d.Datasets {
		if slices.Contains(d.Datasets[:i], set) {
			return errs.New(errs.Invalid, "name each dataset once").At(fmt.Sprintf("datasets.%d", i))
		}
	}
	if r := d.Reference.Reveal(); utf8.RuneCountInString(r) > maxReference || !utf8.ValidString(r) || strings.ContainsFunc(r, unicode.IsControl) {
		return errs.New(errs.Invalid, "a reference has up to %d characters on one line", maxReference).At("reference")
	}
	return nil
}

// Get returns a disclosure, or ErrNotFound; subject.ErrErased when its person's
// data is gone and the caller may not read the proof that is kept.
func (s *Service) Get(ctx context.Context, disclosureID string) (*Disclosure, error) {
	if err := checkID(ctx, id.Disclosure, disclosureID, ErrNotFound); err != nil {
		return nil, err
	}
	d, err := s.Store.Get(ctx, disclosureID)
	if err != nil {
		return nil, err
	}
	if d.Secrecy == dataset.AML && !s.Authorizer.Look(ctx, secret()).Known {
		return nil, ErrNotFound
	}
	if err := s.open(ctx, d.SubjectID); err != nil {
		return nil, err
	}
	_, err = s.answer(ctx, d.ID, []*Disclosure{d})
	return d, err
}

// open fails unless the caller may read what was disclosed about a person, who may
// be gone.
func (s *Service) open(ctx context.Context, subjectID string) error {
	state, err := s.Store.State(ctx, subjectID)
	if err == nil && state.Gone() && !s.Authorizer.Can(ctx, authz.AuditRead).Allowed {
		err = subject.ErrErased
	}
	return err
}

// List returns a page of the disclosures of a person's data, the newest first.
func (s *Service) List(ctx context.Context, subjectID string, r page.Request) (*Connection, error) {
	if err := checkID(ctx, id.Subject, subjectID, subject.ErrNotFound); err != nil {
		return nil, err
	}
	if err := s.open(ctx, subjectID); err != nil {
		return nil, err
	}
	secrecy := dataset.NoSecrecy
	if s.Authorizer.Look(ctx, secret()).Known {
		secrecy = ""
	}
	at := func(d *Disclosure) page.Position { return page.Position{CreatedAt: d.CreatedAt, ID: d.ID} }
	c, err := page.Read(ctx, page.List{Of: id.Disclosure, Scope: subjectID}, r, at,
		func(ctx context.Context, after *page.Position, limit int) ([]*Disclosure, error) {
			return s.Store.List(ctx, subjectID, secrecy, after, limit)
		})
	if err != nil {
		return nil, err
	}
	_, err = s.answer(ctx, subjectID, c.Nodes())
	return c, err
}

// answer notes that disclosures are about to be answered, and takes from them the
// reference that the caller may not see while a person's processing is restricted.
func (s *Service) answer(ctx context.Context, object string, ds []*Disclosure) ([]*Disclosure, error) {
	touches := make([]audit.Touch, len(ds))
	states := map[string]subject.State{}
	for i, d := range ds {
		touches[i] = audit.Touch{Subject: d.SubjectID, Object: d.ID, Version: 1, Secret: d.Secrecy == dataset.AML}
		state, known := states[d.SubjectID]
		if !known {
			var err error
			if state, err = s.Store.State(ctx, d.SubjectID); err != nil {
				return nil, err
			}
			states[d.SubjectID] = state
		}
		sight := s.Authorizer.Look(ctx, authz.Data{
			Class: string(dataset.Ordinary), Secrecy: string(d.Secrecy), Restricted: state == subject.Restricted, About: d.SubjectID,
		})
		if !sight.Clear() && (!d.Reference.IsZero() || !d.Reason.IsZero()) {
			d.Reference, d.Reason, d.ReferenceState = personal.Text{}, personal.Text{}, personal.Withheld
		}
	}
	return ds, s.Recorder.Read(ctx, "disclosure.read", object, touches...)
}

// Mine returns a page of those whom the data of the person who is calling was
// disclosed to, by name: Art. 15(1)(c), CJEU C-154/21.
func (s *Service) Mine(ctx context.Context, r page.Request) (*RecipientConnection, error) {
	who := authz.FromContext(ctx)
	if who.Kind != authz.KindSubject || who.Subject == "" {
		return nil, ErrNoSubject
	}
	state, err := s.Store.State(ctx, who.Subject)
	if err != nil {
		return nil, err
	}
	if state.Gone() {
		return nil, subject.ErrErased
	}
	names := names{s: s, parties: map[string]*processing.Party{}, datasets: map[string]*dataset.Dataset{}}
	at := func(x *Recipient) page.Position { return page.Position{CreatedAt: time.Unix(0, 0), ID: x.ID} }
	c, err := page.Read(ctx, page.List{Of: id.Party, Scope: "self:" + who.Subject}, r, at,
		func(ctx context.Context, after *page.Position, limit int) ([]*Recipient, error) {
			from := ""
			if after != nil {
				from = after.ID
			}
			ids, err := s.Store.Recipients(ctx, who.Subject, from, limit)
			if err != nil {
				return nil, err
			}
			list := make([]*Recipient, len(ids))
			for i, partyID := range ids {
				if list[i], err = names.recipient(ctx, who.Subject, partyID); err != nil {
					return nil, err
				}
			}
			return list, nil
		})
	if err != nil {
		return nil, err
	}
	return c, s.Recorder.Read(ctx, "recipient.read", who.Subject, audit.Touch{Subject: who.Subject, Object: who.Subject})
}

// recipient tells of a party what a person is told.
func (n *names) recipient(ctx context.Context, subjectID, partyID string) (*Recipient, error) {
	p, err := n.party(ctx, partyID)
	if err != nil {
		return nil, err
	}
	ds, err := n.s.Store.To(ctx, subjectID, partyID, told)
	if err != nil {
		return nil, err
	}
	r := &Recipient{ID: p.ID, Name: p.LegalName, Country: p.Country, Categories: []string{}, Datasets: []string{}}
	for _, d := range ds {
		if d.At.After(r.DisclosedAt) {
			r.DisclosedAt = d.At
		}
		for _, datasetID := range d.Datasets {
			set, err := n.dataset(ctx, datasetID)
			if errors.Is(err, dataset.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			r.Datasets = append(r.Datasets, set.Name)
		}
		r.Categories = append(r.Categories, d.Categories...)
		r.Purposes, r.LegalBases = append(r.Purposes, d.Purpose), append(r.LegalBases, d.LegalBasis)
	}
	for _, list := range []*[]string{&r.Categories, &r.Datasets, &r.Purposes, &r.LegalBases} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return r, nil
}
