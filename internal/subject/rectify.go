package subject

import (
	"context"
	"slices"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
)

// Compared is a subject before and after a correction of identifying data.
type Compared struct {
	Before, After *Subject
	Fields        []string // that it changes
	Moved         bool     // changed otherwise since the correction was prepared
	Done          bool     // as the correction wants it
}

// Compare tells what a correction would make of a subject, each as the caller may see
// it. A read that is noted.
func (s *Service) Compare(ctx context.Context, in UpdateInput) (*Compared, error) {
	c, err := s.compare(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := s.ask(ctx, c.Before, c.After); err != nil {
		return nil, err
	}
	s.show(ctx, c.Before)
	s.show(ctx, c.After)
	return c, s.recorder.Read(ctx, "subject.read", in.ID, audit.Touch{Subject: in.ID, Object: in.ID, Version: c.Before.Version})
}

// Check reports why a correction can't be prepared by the caller, and returns the
// names of what it changes.
func (s *Service) Check(ctx context.Context, in UpdateInput) ([]string, error) {
	if err := s.handles(ctx, in.NationalIDs != nil, "nationalIds"); err != nil {
		return nil, err
	}
	c, err := s.compare(ctx, in)
	switch {
	case err != nil:
		return nil, err
	case c.Moved:
		return nil, change.ErrVersion
	case c.Done:
		return nil, errs.New(errs.Invalid, "this is what is known of the person already")
	}
	return c.Fields, nil
}

// Stands tells where a subject stands to a correction, past what the caller may see.
func (s *Service) Stands(ctx context.Context, in UpdateInput) (moved, done bool, err error) {
	c, err := s.compare(ctx, in)
	if err != nil {
		return false, false, err
	}
	return c.Moved, c.Done, nil
}

func (s *Service) compare(ctx context.Context, in UpdateInput) (*Compared, error) {
	if _, err := checkID(ctx, in.ID); err != nil {
		return nil, err
	}
	region, err := s.region(ctx, in.PhoneRegion, pointers(in.Phones)...)
	if err != nil {
		return nil, err
	}
	read, err := s.store.GetMany(ctx, []string{in.ID})
	switch {
	case err != nil:
		return nil, err
	case len(read) == 0:
		return nil, ErrNotFound
	case read[0].State.Gone():
		return nil, ErrErased
	}
	before := read[0]
	after := *before
	fields, err := after.apply(in, region)
	if err != nil {
		return nil, err
	}
	slices.Sort(fields)
	done := before.equal(&after)
	return &Compared{before, &after, slices.Compact(fields), !done && before.Version != in.ExpectedVersion, done}, nil
}

// Rectify carries out a correction, in one change, at the version that it was prepared
// for: also of a person whose processing is restricted, who has asked for it.
func (s *Service) Rectify(ctx context.Context, in UpdateInput) error {
	region, err := s.region(ctx, in.PhoneRegion, pointers(in.Phones)...)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, s.store.GuardStored, "subject.update", in.ID, func(found *Subject) ([]string, error) {
		if found.Version != in.ExpectedVersion {
			return nil, change.ErrVersion
		}
		return found.apply(in, region)
	})
	return err
}
