package record

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// ErrOtherSubject reports a key whose record is about another subject.
var ErrOtherSubject = errs.New(errs.Conflict, "the record with this key is about another subject").At("subject")

// KeyOf returns the lookup by which a dataset's record with a key is found; its
// Value is the key in its stored form.
func KeyOf(key personal.Text, datasetID string) (lookup.Key, error) { return keyOf(key, datasetID) }

// FindByKeys returns the records that unique lookups name, in the order of keys,
// nil where there is none. It notes no reading: it is for imports, which answer
// nothing of what they find.
func (s *Service) FindByKeys(ctx context.Context, keys []lookup.Key) ([]*Record, error) {
	found, err := s.store.FindByKeys(ctx, keys)
	if err != nil {
		return nil, err
	}
	there := slices.DeleteFunc(slices.Clone(found), func(r *Record) bool { return r == nil })
	if err := s.ask(ctx, there...); err != nil {
		return nil, err
	}
	return found, s.describe(ctx, there...)
}

// Amended returns what r is with in, with its lookups, and whether that differs
// from what it is. It fails with ErrOtherSubject.
func (r *Record) Amended(
	in UpsertInput, d *dataset.Dataset, of tenant.ID, region string,
) (next New, differs bool, err error) {
	if r.SubjectID != in.Subject {
		return New{}, false, ErrOtherSubject
	}
	n := *r
	n.Fields = slices.Clone(r.Fields)
	if err := n.apply(in.update(r), d, of); err != nil {
		return New{}, false, err
	}
	keys, err := n.keys(d, region)
	return New{&n, keys, d.Secrecy == dataset.AML}, !r.equal(&n), err
}

func (r *Record) equal(o *Record) bool {
	collected := r.CollectedAt == nil && o.CollectedAt == nil ||
		r.CollectedAt != nil && o.CollectedAt != nil && r.CollectedAt.Equal(*o.CollectedAt)
	return collected && r.Origin == o.Origin && r.Source.Equal(o.Source) && slices.Equal(r.Parties, o.Parties) &&
		slices.EqualFunc(r.Fields, o.Fields, func(a, b Field) bool {
			return a.FieldID == b.FieldID && r.about(&a) == o.about(&b) && a.State == b.State && a.Value.Equal(b.Value.Value)
		})
}

// Amend brings in into a stored record of d within a change's transaction, and
// returns the change. The keys of the record's persons (see Owners) must be there.
func (s *Service) Amend(
	ctx context.Context, recordID string, in UpsertInput, d *dataset.Dataset, region string, at time.Time,
) (change.Change, error) {
	c, _, err := s.amend(ctx, s.subjects.Guard, recordID, d, region, at, func(r *Record) (UpdateInput, error) {
		if r.SubjectID != in.Subject {
			return UpdateInput{}, ErrOtherSubject
		}
		return in.update(r), nil
	})
	return c, err
}

// LookupKeys returns the lookups that a record of the tenant in ctx is to have: to
// make them anew. Values that can't be shown have none.
func (s *Service) LookupKeys(ctx context.Context, r *Record) ([]lookup.Key, error) {
	d, err := s.datasets.Get(ctx, r.DatasetID)
	if err != nil {
		return nil, err
	}
	region, err := s.regions.Country(ctx)
	if err != nil {
		return nil, err
	}
	return r.keys(d, region)
}
