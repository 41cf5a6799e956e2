package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// remainsJSON is who a person was, as it is sealed for the sake of a dataset.
type remainsJSON struct {
	Reference   string           `json:"reference,omitempty"`
	Name        *nameJSON        `json:"name,omitempty"`
	BirthDate   string           `json:"birthDate,omitempty"`
	Emails      []string         `json:"emails,omitempty"`
	Phones      []string         `json:"phones,omitempty"`
	NationalIDs []nationalIDJSON `json:"nationalIds,omitempty"`
}

func newRemains(p *subject.Subject) remainsJSON {
	r := remainsJSON{Reference: p.Reference.Reveal(), BirthDate: p.BirthDate.Reveal(), Emails: reveal(p.Emails), Phones: reveal(p.Phones)}
	if n := p.Name; n != nil {
		r.Name = &nameJSON{n.Full.Reveal(), n.Given.Reveal(), n.Family.Reveal()}
	}
	for _, n := range p.NationalIDs {
		r.NationalIDs = append(r.NationalIDs, nationalIDJSON{n.Country, n.Number.Reveal()})
	}
	return r
}

// remainsSealer seals or opens what a dataset keeps of who a person was.
func remainsSealer(ctx context.Context, v *vault.Vault, of tenant.ID, person, dataset string) (*sealer, error) {
	owner := vault.Owner{Tenant: of, Subject: person, Unit: vault.Unit(dataset)}
	keys, err := v.Load(ctx, owner)
	if err != nil {
		return nil, err
	}
	return &sealer{keys: keys, owner: owner, place: vault.Place{Collection: subjectsColl, Record: person}}, nil
}

// Spare implements retention.DateStore.
func (s *RetentionStore) Spare(ctx context.Context, person string, datasets ...retention.Unit) error {
	d, err := one[subjectDoc](ctx, s.subjects, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: person})
	if err != nil {
		return err
	}
	found, err := (&SubjectStore{vault: s.vault}).open(ctx, []subjectDoc{d})
	if err != nil {
		return err
	}
	var remains []bson.E
	for _, u := range datasets {
		seal, err := remainsSealer(ctx, s.vault, d.Tenant, person, u)
		if err != nil {
			return err
		}
		remains = append(remains, bson.E{Key: "remains." + u, Value: seal.json(u, newRemains(found[0]), false)})
		if seal.err != nil {
			return fmt.Errorf("seal who a person is for dataset %s: %w", u, seal.err)
		}
	}
	if _, err := s.subjects.UpdateOne(ctx, bson.D{{Key: "_id", Value: d.ID}, {Key: "tenant", Value: d.Tenant}}, set(remains...)); err != nil {
		return fmt.Errorf("spare who a person is: %w", translate(err))
	}
	return nil
}

// Remains implements erase.Store.
func (s *HoldingsStore) Remains(ctx context.Context, person, dataset string) (*erase.Remains, error) {
	d, err := one[subjectDoc](ctx, s.subjects, "subject", subject.ErrNotFound, bson.E{Key: "_id", Value: person})
	if err != nil {
		return nil, err
	}
	stored, ok := d.Remains[dataset]
	if !ok {
		return nil, subject.ErrNotFound
	}
	open, err := remainsSealer(ctx, s.vault, d.Tenant, person, dataset)
	if err != nil {
		return nil, err
	}
	var r remainsJSON
	if open.openJSON(dataset, stored, &r); open.err != nil {
		if _, gone := unreadable(open.err); gone {
			return nil, subject.ErrErased
		}
		return nil, fmt.Errorf("open who a person was for dataset %s: %w", dataset, open.err)
	}
	was := &erase.Remains{
		Subject: person, Dataset: dataset, Reference: personal.NewText(r.Reference), BirthDate: personal.NewText(r.BirthDate),
		Emails: texts(r.Emails), Phones: texts(r.Phones),
	}
	if n := r.Name; n != nil {
		was.Name = &subject.Name{Full: personal.NewText(n.Full), Given: personal.NewText(n.Given), Family: personal.NewText(n.Family)}
	}
	for _, n := range r.NationalIDs {
		was.NationalIDs = append(was.NationalIDs, subject.NationalID{Country: n.Country, Number: personal.NewText(n.Number)})
	}
	return was, nil
}
