package record

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// Statement is what a person adds to an assessment of them, which can't be made right
// or wrong by writing it anew: GDPR Art. 16. It stays with the record.
type Statement struct {
	Item    string        // of the request that it came with
	FieldID string        // that it is about, "" for the record as a whole
	About   string        // id of the person whose it is
	Text    personal.Text // zero for those who may not see it
	At      time.Time
}

// Field returns the field that it is about, nil for the record as a whole.
func (s *Statement) Field() *string {
	if s.FieldID == "" {
		return nil
	}
	return &s.FieldID
}

// maxStatements bounds the statements of a record.
const maxStatements = 100

// Correction is what a person has corrected in a record that is about them, and what
// they add to it.
type Correction struct {
	About      string // id of the person
	Update     UpdateInput
	Statements []Statement // their fields by key or id
}

// Stand is where a record stands to a correction.
type Stand string

// The stands.
const (
	Ready Stand = "READY" // it is as it was when the correction was prepared
	Done  Stand = "DONE"  // it is as the correction wants it
	Moved Stand = "MOVED" // it, or its dataset, has been changed otherwise
)

// Compared is a record before and after a correction.
type Compared struct {
	Before, After *Record
	Stand         Stand
}

// ErrSecret refuses to correct on a person's request what they must not be told of.
var ErrSecret = errs.New(errs.Precondition, "what is secret by law is no part of a request: correct it by updateRecord").Under("secrecy.aml")

// Compare tells what a correction would make of a record, each as the caller may see
// it. Whoever prepares one must see in full what it changes.
func (s *Service) Compare(ctx context.Context, c *Correction) (*Compared, error) {
	before, err := s.Get(ctx, c.Update.ID)
	if err != nil {
		return nil, err
	}
	compared, err := s.compare(ctx, c)
	if err != nil {
		return nil, err
	}
	compared.Before = before
	return compared, s.show(ctx, compared.After)
}

// Check reports why a correction can't be prepared by the caller. It makes the
// fields' keys and ids their ids.
func (s *Service) Check(ctx context.Context, c *Correction) (*dataset.Dataset, error) {
	if _, err := checkID(ctx, c.Update.ID); err != nil {
		return nil, err
	}
	before, err := s.store.Get(ctx, c.Update.ID)
	if err != nil {
		return nil, err
	}
	d, err := s.dataset(ctx, before)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(before.living(), c.About) {
		return nil, ErrNotFound
	}
	if d.Secrecy == dataset.AML {
		return nil, ErrSecret
	}
	for i := range c.Update.Fields {
		f := &c.Update.Fields[i]
		at := "fields." + strconv.Itoa(i)
		of := d.Field(f.Key)
		switch {
		case of == nil:
			return nil, errs.New(errs.Invalid, "the dataset has no field with this key").At(at)
		case d.SecrecyOf(of) == dataset.AML:
			return nil, errs.At(ErrSecret, at)
		case before.about(&Field{About: f.About}) != c.About:
			return nil, errs.New(errs.Invalid, "a person has corrected what is about themselves").At(at + ".about")
		}
		f.Key = of.ID
	}
	for i := range c.Statements {
		st := &c.Statements[i]
		if st.FieldID == "" {
			continue
		}
		of := d.Field(st.FieldID)
		if of == nil {
			return nil, errs.New(errs.Invalid, "the dataset has no field with this key").At("statements." + strconv.Itoa(i))
		}
		if d.SecrecyOf(of) == dataset.AML {
			return nil, errs.At(ErrSecret, "statements."+strconv.Itoa(i))
		}
		st.FieldID = of.ID
	}
	if err := s.writable(ctx, c.Update.Fields, d); err != nil {
		return nil, err
	}
	compared, err := s.compare(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case compared.Stand == Moved:
		return nil, change.ErrVersion
	case compared.Stand == Done:
		return nil, errs.New(errs.Invalid, "this is what the record says already")
	}
	return d, nil
}

// compare is Compare past what the caller may see.
func (s *Service) compare(ctx context.Context, c *Correction) (*Compared, error) {
	of, err := checkID(ctx, c.Update.ID)
	if err != nil {
		return nil, err
	}
	before, err := s.store.Get(ctx, c.Update.ID)
	if err != nil {
		return nil, err
	}
	d, err := s.dataset(ctx, before)
	if err != nil {
		return nil, err
	}
	if err := s.describe(ctx, before); err != nil {
		return nil, err
	}
	after := *before
	after.Fields, after.Statements = slices.Clone(before.Fields), slices.Clone(before.Statements)
	compared := &Compared{Before: before, After: &after, Stand: Moved}
	if err := after.apply(c.Update, d, of); err != nil {
		if before.Version == c.Update.ExpectedVersion {
			return nil, err
		}
		return compared, nil
	}
	after.state(c, s.at())
	switch {
	case before.equal(&after) && len(before.Statements) == len(after.Statements):
		compared.Stand = Done
	case before.Version == c.Update.ExpectedVersion && len(after.Statements) <= maxStatements:
		compared.Stand = Ready
	}
	return compared, nil
}

// state adds the statements of a correction that r hasn't got.
func (r *Record) state(c *Correction, at time.Time) {
	for _, st := range c.Statements {
		st.About, st.At = c.About, at
		if !slices.ContainsFunc(r.Statements, func(x Statement) bool {
			return x.Item == st.Item && x.FieldID == st.FieldID && x.About == st.About
		}) {
			r.Statements = append(r.Statements, st)
		}
	}
}

// Stands tells where a record stands to a correction.
func (s *Service) Stands(ctx context.Context, c *Correction) (Stand, error) {
	compared, err := s.compare(ctx, c)
	if err != nil {
		return "", err
	}
	return compared.Stand, nil
}

// Rectify carries out a correction, in one change, for a record that stands ready for
// it: also of a person whose processing is restricted, who has asked for it.
func (s *Service) Rectify(ctx context.Context, c *Correction) error {
	at := s.at()
	_, err := s.update(ctx, s.subjects.GuardStored, c.Update.ID, func(r *Record) (UpdateInput, error) {
		if r.Version != c.Update.ExpectedVersion {
			return c.Update, change.ErrVersion
		}
		r.state(c, at)
		return c.Update, nil
	})
	return err
}

// showStatements leaves of the statements those texts that the caller may see, as the
// fields that they are about.
func (r *Record) showStatements(d *dataset.Dataset, aside func(person string) bool, seen func(f *dataset.Field, person string) bool) {
	r.Statements = slices.Clone(r.Statements)
	for i := range r.Statements {
		st := &r.Statements[i]
		if f := d.Field(st.FieldID); st.FieldID != "" && (f == nil || !seen(f, st.About)) || !aside(st.About) {
			st.Text = personal.Text{}
		}
	}
}
