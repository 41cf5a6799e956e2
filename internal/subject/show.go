package subject

import (
	"context"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/personal"
)

// data returns what policies look at before identifying data of a class is shown.
func data(class dataset.Class, of *Subject) authz.Data {
	d := authz.Data{Class: string(class), Secrecy: string(dataset.NoSecrecy)}
	if of != nil {
		d.Restricted, d.About, d.Closed = of.State == Restricted, of.ID, of.closed
	}
	return d
}

// show takes from a subject what the caller may not see, and returns it. It is
// the last thing done before it is answered: what it leaves must not be stored.
func (s *Service) show(ctx context.Context, of *Subject) *Subject {
	if of.Identity != personal.Clear {
		return of
	}
	if sight := s.looker.Look(ctx, data(dataset.Ordinary, of)); !sight.Clear() {
		*of = Subject{
			ID: of.ID, State: of.State, Identity: personal.Withheld, IdentityReason: &sight.Reason, Version: of.Version,
			CreatedAt: of.CreatedAt, UpdatedAt: of.UpdatedAt,
		}
		return of
	}
	if len(of.NationalIDs) == 0 {
		return of
	}
	sight := s.looker.Look(ctx, data(dataset.NationalID, of))
	if sight.Clear() {
		return of
	}
	of.Identity, of.IdentityReason = personal.Masked, &sight.Reason
	if sight.State != personal.Masked {
		of.NationalIDs = nil
	}
	for i := range of.NationalIDs {
		of.NationalIDs[i].Number = identifier.Mask(of.NationalIDs[i].Number)
	}
	return of
}

// Data returns what policies look at before a subject's identifying data is
// shown: names and the like, then its national ids. It fails with ErrNotFound or
// ErrErased.
func (s *Service) Data(ctx context.Context, subjectID string) ([]authz.Data, error) {
	if _, err := checkID(ctx, subjectID); err != nil {
		return nil, err
	}
	found, err := s.store.GetMany(ctx, []string{subjectID})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, ErrNotFound
	case found[0].State.Gone():
		return nil, ErrErased
	}
	if err := s.ask(ctx, found[0]); err != nil {
		return nil, err
	}
	return []authz.Data{data(dataset.Ordinary, found[0]), data(dataset.NationalID, found[0])}, nil
}

// handles fails unless the caller may handle identifying data, national ids too
// if asked: find by it and write it. Whoever could do either without seeing it
// could try what it is, for national ids are unique.
func (s *Service) handles(ctx context.Context, nationalIDs bool, field string) error {
	if sight := s.looker.Look(ctx, data(dataset.Ordinary, nil)); !sight.Clear() {
		return sight.Err()
	}
	if !nationalIDs {
		return nil
	}
	if sight := s.looker.Look(ctx, data(dataset.NationalID, nil)); !sight.Clear() {
		return errs.At(sight.Err(), field)
	}
	return nil
}
