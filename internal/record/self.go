package record

import (
	"context"
	"slices"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/page"
)

// self returns the id of the person who is calling, "" when it is anybody else.
func self(ctx context.Context) string {
	p := authz.FromContext(ctx)
	if p.Kind != authz.KindSubject {
		return ""
	}
	return p.Subject
}

// list returns up to limit records after a position. The person who is calling is
// told of those only that have a value about them which isn't secret by AML law:
// another may be there for the sake of a secret one.
func (s *Service) list(ctx context.Context, q Query, after *page.Position, limit int) ([]*Record, error) {
	person := self(ctx)
	if person == "" {
		return s.store.List(ctx, q, after, limit)
	}
	var told []*Record
	for {
		read, err := s.store.List(ctx, q, after, page.Max)
		if err != nil {
			return nil, err
		}
		if err := s.describe(ctx, read...); err != nil {
			return nil, err
		}
		for _, r := range read {
			if !r.ordinary(person) {
				continue
			}
			if told = append(told, r); len(told) == limit {
				return told, nil
			}
		}
		if len(read) < page.Max {
			return told, nil
		}
		last := position(read[len(read)-1])
		after = &last
	}
}

// count counts what list would return, up to limit.
func (s *Service) count(ctx context.Context, q Query, limit int) (int, error) {
	if self(ctx) == "" {
		return s.store.Count(ctx, q, limit)
	}
	told, err := s.list(ctx, q, nil, limit)
	return len(told), err
}

// narrow leaves of a record what the person who is calling is told: what is about
// them, and nothing by which a change of a secret value could be noticed.
func (r *Record) narrow(person string) {
	r.Fields = slices.DeleteFunc(r.Fields, func(f Field) bool { return r.about(&f) != person })
	r.Parties = slices.DeleteFunc(r.Parties, func(p Party) bool { return p.Subject != person })
	r.Statements = slices.DeleteFunc(r.Statements, func(s Statement) bool { return s.About != person })
	r.Version, r.UpdatedAt = 1, r.CreatedAt
}
