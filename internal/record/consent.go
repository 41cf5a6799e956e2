package record

import (
	"context"
	"slices"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
)

// ask notes in records who keeps their data from the purpose that the caller states:
// one question for all of them.
func (s *Service) ask(ctx context.Context, read ...*Record) error {
	if s.consents == nil {
		return nil
	}
	var persons []string
	for _, r := range read {
		persons = append(persons, r.living()...)
	}
	closed, err := s.consents.Closed(ctx, persons...)
	if err != nil {
		return err
	}
	for _, r := range read {
		r.Closed = closed
	}
	return nil
}

// consented fails unless data on all of persons may be written for the purpose that
// the caller states. In the transaction that guards them, it and a withdrawal exclude
// each other.
func (s *Service) consented(ctx context.Context, persons ...string) error {
	if s.consents == nil {
		return nil
	}
	closed, err := s.consents.Closed(ctx, persons...)
	if err != nil {
		return err
	}
	if len(closed.Persons) > 0 {
		return closed.Reason.Err()
	}
	return nil
}

// usable returns those of records that were found by a value which may be used: it is
// about nobody whose consent isn't in force.
func (s *Service) usable(ctx context.Context, by By, found []*Record) ([]*Record, error) {
	if err := s.ask(ctx, found...); err != nil {
		return nil, err
	}
	d, err := s.datasets.Get(ctx, by.Dataset)
	if err != nil {
		return nil, errs.At(err, "by.dataset")
	}
	var field *dataset.Field
	if by.Field != nil {
		field = d.Field(*by.Field)
	}
	return slices.DeleteFunc(slices.Clone(found), func(r *Record) bool {
		if field == nil {
			return r.Closed.To(r.SubjectID) != ""
		}
		return slices.ContainsFunc(r.Fields, func(f Field) bool {
			return f.FieldID == field.ID && r.Closed.To(r.about(&f)) != ""
		})
	}), nil
}

// countFound counts what Find finds, up to page.CountMax.
func (s *Service) countFound(ctx context.Context, q lookup.Search, by By) (int, error) {
	asks := false
	if s.consents != nil {
		var err error
		if asks, err = s.consents.Asks(ctx); err != nil {
			return 0, err
		}
	}
	if !asks {
		return s.store.CountFound(ctx, q, page.CountMax)
	}
	var after *page.Position
	for n := 0; ; {
		found, err := s.store.Find(ctx, q, after, page.Max)
		if err != nil {
			return 0, err
		}
		left, err := s.usable(ctx, by, found)
		if err != nil {
			return 0, err
		}
		if n += len(left); n >= page.CountMax || len(found) < page.Max {
			return min(n, page.CountMax), nil
		}
		last := position(found[len(found)-1])
		after = &last
	}
}
