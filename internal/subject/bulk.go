package subject

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
)

// ReferenceKey returns the lookup by which the subject with a reference is
// found; its Value is the reference in its stored form.
func ReferenceKey(reference personal.Text) (lookup.Key, error) {
	n, err := identifier.Reference(reference)
	return lookup.Key{
		Name: lookup.Reference, Unique: true, Normaliser: n.Version, Value: n.Value, Before: n.Before,
	}, errs.At(err, string(lookup.Reference))
}

// FindByKeys returns the subjects that unique lookups name, in the order of
// keys, nil where there is none. It notes no reading: it is for imports, which
// answer nothing of what they find.
func (s *Service) FindByKeys(ctx context.Context, keys []lookup.Key) ([]*Subject, error) {
	found, err := s.store.FindByKeys(ctx, keys)
	if err != nil {
		return nil, err
	}
	return found, s.ask(ctx, slices.DeleteFunc(slices.Clone(found), func(f *Subject) bool { return f == nil })...)
}

// Closed returns why the person keeps s from the use for which it was read, by
// FindByKeys; "" when they don't.
func (s *Subject) Closed() authz.Reason { return s.closed }

// Amended returns what s is with in, with its lookups, and whether that differs
// from what it is. Region is where phones without country code belong.
func (s *Subject) Amended(in UpsertInput, region string) (next New, differs bool, err error) {
	n := *s
	_, keys, err := n.applyKeys(in.update(s), region)
	return New{&n, keys}, !s.equal(&n), err
}

func (s *Subject) equal(o *Subject) bool {
	texts := func(a, b []personal.Text) bool { return slices.EqualFunc(a, b, personal.Text.Equal) }
	named := s.Name == nil && o.Name == nil || s.Name != nil && o.Name != nil &&
		s.Name.Full.Equal(o.Name.Full) && s.Name.Given.Equal(o.Name.Given) && s.Name.Family.Equal(o.Name.Family)
	return named && s.Reference.Equal(o.Reference) && s.BirthDate.Equal(o.BirthDate) &&
		texts(s.Emails, o.Emails) && texts(s.Phones, o.Phones) &&
		slices.EqualFunc(s.NationalIDs, o.NationalIDs, func(a, b NationalID) bool { return same(a, b) })
}

// Amend brings in into a stored subject within a change's transaction, and
// returns the change. Its keys (see Owners) must be there.
func (s *Service) Amend(
	ctx context.Context, subjectID string, in UpsertInput, region string, at time.Time,
) (change.Change, error) {
	c, _, err := s.mutate(ctx, s.store.Guard, "subject.update", subjectID, at, func(found *Subject) ([]string, error) {
		return found.apply(in.update(found), region)
	})
	return c, err
}

// LookupKeys returns the lookups that a subject is to have: to make them anew.
func (s *Subject) LookupKeys() ([]lookup.Key, error) { return s.keys() }
