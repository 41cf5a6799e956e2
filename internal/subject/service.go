package subject

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
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Vault makes the keys of new data before the transaction that writes it.
type Vault interface {
	Ensure(ctx context.Context, owners ...vault.Owner) (*vault.Keys, error)
}

// Regions knows the country of the tenant in ctx, ISO 3166-1 alpha-2.
type Regions interface {
	Country(ctx context.Context) (string, error)
}

// Consents tells of the persons whose data must not be used for the purpose that
// the caller states: it rests on consent, or they have objected to it.
type Consents interface {
	// Closed returns those of subjects. It is asked anew at each use.
	Closed(ctx context.Context, subjects ...string) (authz.Closed, error)
	// Asks reports whether consent is asked for at all.
	Asks(ctx context.Context) (bool, error)
}

// Gate says why the tenant may not put in data of some classes and categories: no
// agreement with the provider covers it. It isn't asked in a transaction.
type Gate interface {
	Take(ctx context.Context, classes []dataset.Class, categories []string) error
}

// Service keeps a tenant's subjects.
type Service struct {
	store    Store
	changes  *change.Runner
	recorder *audit.Recorder
	vault    Vault
	looker   authz.Looker
	regions  Regions
	now      func() time.Time
	consents Consents
	gate     Gate
}

// NewService returns a Service.
func NewService(
	store Store, changes *change.Runner, recorder *audit.Recorder, v Vault, looker authz.Looker, regions Regions,
	now func() time.Time,
) *Service {
	return &Service{store: store, changes: changes, recorder: recorder, vault: v, looker: looker, regions: regions, now: now}
}

// Ask has the service ask for consent at each use of data, where purposes are
// registered. It is called before the service is used.
func (s *Service) Ask(c Consents) { s.consents = c }

// Guard has the service ask a gate before it takes data in. It is called before the
// service is used.
func (s *Service) Guard(g Gate) { s.gate = g }

// takes fails where the gate does, for identifying data.
func (s *Service) takes(ctx context.Context, nationalIDs bool) error {
	if s.gate == nil {
		return nil
	}
	classes := []dataset.Class{dataset.Ordinary}
	if nationalIDs {
		classes = append(classes, dataset.NationalID)
	}
	return s.gate.Take(ctx, classes, nil)
}

// Get returns a subject, or ErrNotFound. A subject that is gone has its state
// and no identifying data.
func (s *Service) Get(ctx context.Context, subjectID string) (*Subject, error) {
	found, err := s.GetMany(ctx, []string{subjectID})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// GetMany returns the subjects in the order of ids, or ErrNotFound if one is unknown.
func (s *Service) GetMany(ctx context.Context, ids []string) ([]*Subject, error) {
	for _, subjectID := range ids {
		if _, err := checkID(ctx, subjectID); err != nil {
			return nil, err
		}
	}
	read, err := s.store.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*Subject, len(read))
	for _, found := range read {
		byID[found.ID] = found
	}
	found := make([]*Subject, len(ids))
	for i, subjectID := range ids {
		if found[i] = byID[subjectID]; found[i] == nil {
			return nil, ErrNotFound
		}
	}
	return found, s.audited(ctx, "subject.read", read)
}

// audited notes that the subjects are about to be answered, and takes from them
// what the caller may not see.
func (s *Service) audited(ctx context.Context, action string, read []*Subject) error {
	if err := s.ask(ctx, read...); err != nil {
		return err
	}
	touches := make([]audit.Touch, 0, len(read))
	for _, r := range read {
		s.show(ctx, r)
		if r.Identity == personal.Clear || r.Identity == personal.Masked {
			touches = append(touches, audit.Touch{Subject: r.ID, Object: r.ID, Version: r.Version})
		}
	}
	object := ""
	if len(read) == 1 {
		object = read[0].ID
	}
	return s.recorder.Read(ctx, action, object, touches...)
}

// List returns a page of all subjects, the newest first.
func (s *Service) List(ctx context.Context, r page.Request) (*Connection, error) {
	list := page.List{Of: id.Subject}
	after, err := list.After(ctx, r)
	if err != nil {
		return nil, err
	}
	read, err := s.store.List(ctx, after, r.First+1)
	if err != nil {
		return nil, err
	}
	return s.connection(ctx, "subject.read", list, r, read, func(ctx context.Context) (int, error) {
		return s.store.Count(ctx, page.CountMax)
	})
}

// Find returns a page of the subjects with an identifier, without those whose
// data restriction (GDPR Art. 18) or a consent that isn't in force keeps from the
// caller. A search is written to the audit log even if it finds nobody.
func (s *Service) Find(ctx context.Context, by By, r page.Request) (*Connection, error) {
	region, err := s.region(ctx, by.PhoneRegion, by.Phone)
	if err != nil {
		return nil, err
	}
	key, err := by.key(region)
	if err != nil {
		return nil, err
	}
	if err := s.handles(ctx, by.NationalID != nil, "by.nationalId"); err != nil {
		return nil, err
	}
	class := dataset.Ordinary
	if by.NationalID != nil {
		class = dataset.NationalID
	}
	restricted := data(class, nil)
	restricted.Restricted = true
	q := lookup.Search{Key: key, Restricted: s.looker.Look(ctx, restricted).Clear()}
	list := page.List{Of: id.Subject, Scope: string(key.Name)}
	after, err := list.After(ctx, r)
	if err != nil {
		return nil, err
	}
	read, err := s.store.Find(ctx, q, after, r.First+1)
	if err != nil {
		return nil, err
	}
	c := &Connection{*page.Of(list, r, read, position), func(ctx context.Context) (int, error) { return s.countFound(ctx, q) }}
	if err := s.ask(ctx, c.Nodes()...); err != nil {
		return nil, err
	}
	c.Edges = slices.DeleteFunc(c.Edges, func(e Edge) bool { return e.Node.closed != "" })
	return c, s.audited(ctx, "subject.find", c.Nodes())
}

func (s *Service) connection(
	ctx context.Context, action string, list page.List, r page.Request, read []*Subject,
	count func(context.Context) (int, error),
) (*Connection, error) {
	c := &Connection{*page.Of(list, r, read, position), count}
	return c, s.audited(ctx, action, c.Nodes())
}

// region returns where phones without country code belong: as asked for, else
// the tenant's country if one of the phones needs it.
func (s *Service) region(ctx context.Context, asked *string, phones ...*personal.Text) (string, error) {
	if asked != nil {
		return *asked, nil
	}
	for _, p := range phones {
		if p != nil && !p.IsZero() && p.Reveal()[0] != '+' {
			return s.regions.Country(ctx)
		}
	}
	return "", nil
}

func pointers(texts []personal.Text) []*personal.Text {
	p := make([]*personal.Text, len(texts))
	for i := range texts {
		p[i] = &texts[i]
	}
	return p
}

// Create makes a subject. It fails with ErrDuplicate, naming the kind of
// identifier, if another one has its reference or national id.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Subject, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.handles(ctx, in.NationalIDs != nil, "nationalIds"); err != nil {
		return nil, err
	}
	if err := s.takes(ctx, in.NationalIDs != nil); err != nil {
		return nil, err
	}
	region, err := s.region(ctx, in.PhoneRegion, pointers(in.Phones)...)
	if err != nil {
		return nil, err
	}
	made, err := Make(id.New(id.Subject, of), in, region, s.at())
	if err != nil {
		return nil, err
	}
	if _, err := s.vault.Ensure(ctx, Owners(of, made.Subject.ID)...); err != nil {
		return nil, err
	}
	subjectID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		changes, err := s.Insert(ctx, made)
		if err != nil {
			return change.Change{}, err
		}
		return changes[0], nil
	})
	if err != nil {
		return nil, err
	}
	if subjectID != made.Subject.ID {
		return s.Get(ctx, subjectID)
	}
	return s.show(ctx, made.Subject), nil
}

// Insert writes subjects made by Make within a change's transaction, and returns
// the changes. Their keys (see Owners) must be there.
func (s *Service) Insert(ctx context.Context, made ...New) ([]change.Change, error) {
	digests, err := s.store.Insert(ctx, made...)
	if err != nil {
		return nil, err
	}
	changes := make([]change.Change, len(made))
	for i, m := range made {
		changes[i] = change.Change{
			Action: "subject.create", Object: m.Subject.ID,
			Touches: []audit.Touch{{
				Subject: m.Subject.ID, Object: m.Subject.ID, Version: m.Subject.Version, Digest: digests[i],
			}},
		}
	}
	return changes, nil
}

// at is the present instant as it is stored.
func (s *Service) at() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// Update changes identifying data.
func (s *Service) Update(ctx context.Context, in UpdateInput) (*Subject, error) {
	if err := s.handles(ctx, in.NationalIDs != nil, "nationalIds"); err != nil {
		return nil, err
	}
	if err := s.takes(ctx, in.NationalIDs != nil); err != nil {
		return nil, err
	}
	region, err := s.region(ctx, in.PhoneRegion, pointers(in.Phones)...)
	if err != nil {
		return nil, err
	}
	return s.update(ctx, s.store.Guard, "subject.update", in.ID, func(found *Subject) ([]string, error) {
		if found.Version != in.ExpectedVersion {
			return nil, change.ErrVersion
		}
		return found.apply(in, region)
	})
}

// Upsert creates the subject with the reference, or updates the one that has it.
func (s *Service) Upsert(ctx context.Context, in UpsertInput) (found *Subject, created bool, err error) {
	if err := s.handles(ctx, in.NationalIDs != nil, "nationalIds"); err != nil {
		return nil, false, err
	}
	if err := s.takes(ctx, in.NationalIDs != nil); err != nil {
		return nil, false, err
	}
	// A subject created by another call in between is found in the second round.
	for range 2 {
		one, err := s.byReference(ctx, in.Reference)
		if err != nil {
			return nil, false, err
		}
		if one != nil {
			region, err := s.region(ctx, in.PhoneRegion, pointers(in.Phones)...)
			if err != nil {
				return nil, false, err
			}
			updated, err := s.update(ctx, s.store.Guard, "subject.update", one.ID, func(found *Subject) ([]string, error) {
				return found.apply(in.update(found), region)
			})
			return updated, false, err
		}
		made, err := s.Create(ctx, in.Create())
		if errs.KindOf(err) != errs.Conflict {
			return made, err == nil, err
		}
	}
	return nil, false, ErrDuplicate.At(string(lookup.Reference))
}

// byReference returns the subject with a reference, nil if there is none.
func (s *Service) byReference(ctx context.Context, reference personal.Text) (*Subject, error) {
	key, err := By{Reference: &reference}.key("")
	if err != nil {
		return nil, err
	}
	found, err := s.store.Find(ctx, lookup.Search{Key: key, Restricted: true}, nil, 1)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// StartRelation notes the beginning of dealings with a person.
func (s *Service) StartRelation(ctx context.Context, in StartRelationInput) (*Subject, *Relation, error) {
	of, err := checkID(ctx, in.Subject)
	if err != nil {
		return nil, nil, err
	}
	relation := Relation{ID: id.New(id.Relation, of), Kind: in.Kind, StartedOn: in.StartedOn}
	var updated *Subject
	at := s.at()
	relationID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		c, found, err := s.mutate(ctx, s.store.Guard, "subject.startRelation", in.Subject, at, func(found *Subject) ([]string, error) {
			if len(found.Relations) >= MaxRelations {
				return nil, errs.New(errs.Limited, "a subject has at most %d relations", MaxRelations)
			}
			found.Relations = append(found.Relations, relation)
			return []string{"relations"}, nil
		})
		updated, c.Object = found, relation.ID
		return c, err
	})
	if err != nil {
		return nil, nil, err
	}
	if relationID != relation.ID {
		if updated, err = s.Get(ctx, in.Subject); err != nil {
			return nil, nil, err
		}
	}
	return s.show(ctx, updated), updated.relation(relationID), nil
}

// EndRelation notes the end of dealings, from which retention counts.
func (s *Service) EndRelation(ctx context.Context, in EndRelationInput) (*Subject, *Relation, error) {
	updated, err := s.update(ctx, s.store.Guard, "subject.endRelation", in.Subject, func(found *Subject) ([]string, error) {
		r := found.relation(in.Relation)
		switch {
		case r == nil:
			return nil, errs.New(errs.NotFound, "the subject has no such relation").At("relation")
		case r.EndedOn != nil && *r.EndedOn != in.EndedOn:
			return nil, errs.New(errs.Precondition, "the relation has ended on another day").Under("relation.ended")
		case in.EndedOn.Before(r.StartedOn):
			return nil, errs.New(errs.Invalid, "a relation doesn't end before it starts").At("endedOn")
		}
		r.EndedOn = &in.EndedOn
		return []string{"relations"}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return updated, updated.relation(in.Relation), nil
}

func (s *Subject) relation(relationID string) *Relation {
	i := slices.IndexFunc(s.Relations, func(r Relation) bool { return r.ID == relationID })
	if i < 0 {
		return nil
	}
	return &s.Relations[i]
}

// guard guards persons within a transaction.
type guard = func(ctx context.Context, ids ...string) error

func (s *Service) update(
	ctx context.Context, g guard, action, subjectID string, apply func(*Subject) ([]string, error),
) (*Subject, error) {
	of, err := checkID(ctx, subjectID)
	if err != nil {
		return nil, err
	}
	// A subject that was made has both keys; loading them here keeps the
	// transaction short.
	if _, err := s.vault.Ensure(ctx, audit.Evidence(of, subjectID)); err != nil {
		return nil, err
	}
	var updated *Subject
	at := s.at()
	err = s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		c, updated, err = s.mutate(ctx, g, action, subjectID, at, apply)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	return s.show(ctx, updated), nil
}

// mutate reads, changes and writes a subject within a change's transaction.
func (s *Service) mutate(
	ctx context.Context, g guard, action, subjectID string, at time.Time, apply func(*Subject) ([]string, error),
) (change.Change, *Subject, error) {
	if err := g(ctx, subjectID); err != nil {
		return change.Change{}, nil, err
	}
	if err := s.consented(ctx, subjectID); err != nil {
		return change.Change{}, nil, err
	}
	read, err := s.store.GetMany(ctx, []string{subjectID})
	if err != nil {
		return change.Change{}, nil, err
	}
	if len(read) == 0 {
		return change.Change{}, nil, ErrNotFound
	}
	found := read[0]
	switch found.Identity {
	case personal.Clear:
	case personal.Erased:
		return change.Change{}, nil, ErrErased
	default:
		return change.Change{}, nil, ErrUnreadable
	}
	fields, err := apply(found)
	if err != nil {
		return change.Change{}, nil, err
	}
	keys, err := found.keys()
	if err != nil {
		return change.Change{}, nil, err
	}
	found.Version++
	found.UpdatedAt = at
	digest, err := s.store.Update(ctx, found, keys)
	if err != nil {
		return change.Change{}, nil, err
	}
	return change.Change{
		Action: action, Object: subjectID, Fields: fields,
		Touches: []audit.Touch{{
			Subject: subjectID, Object: subjectID, Version: found.Version, Digest: digest, Fields: fields,
		}},
	}, found, nil
}
