package subject

import (
	"context"

	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/page"
)

// ask notes in subjects why they keep their data from the purpose that the caller
// states: one question for all of them.
func (s *Service) ask(ctx context.Context, read ...*Subject) error {
	if s.consents == nil {
		return nil
	}
	ids := make([]string, len(read))
	for i, r := range read {
		ids[i] = r.ID
	}
	closed, err := s.consents.Closed(ctx, ids...)
	if err != nil {
		return err
	}
	for _, r := range read {
		r.closed = closed.To(r.ID)
	}
	return nil
}

// consented fails unless data on a person may be written for the purpose that the
// caller states. In the transaction that guards the person, it and a withdrawal
// exclude each other.
func (s *Service) consented(ctx context.Context, subjectID string) error {
	if s.consents == nil {
		return nil
	}
	closed, err := s.consents.Closed(ctx, subjectID)
	if err != nil {
		return err
	}
	return closed.To(subjectID).Err()
}

// countFound counts what Find finds, up to page.CountMax.
func (s *Service) countFound(ctx context.Context, q lookup.Search) (int, error) {
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
		if err == nil {
			err = s.ask(ctx, found...)
		}
		if err != nil {
			return 0, err
		}
		for _, f := range found {
			if f.closed == "" {
				n++
			}
		}
		if n >= page.CountMax || len(found) < page.Max {
			return min(n, page.CountMax), nil
		}
		last := position(found[len(found)-1])
		after = &last
	}
}
