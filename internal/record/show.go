package record

import (
	"context"
	"slices"
	"strconv"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/personal"
)

// show takes from described records what the caller may not see: values are
// masked or withheld, and what it must not know of is left out. It is the last
// thing done before a record is answered: what it leaves must not be stored.
func (s *Service) show(ctx context.Context, read ...*Record) error {
	if err := s.ask(ctx, read...); err != nil {
		return err
	}
	known := map[string]*dataset.Dataset{}
	for _, r := range read {
		d := known[r.DatasetID]
		if d == nil {
			var err error
			if d, err = s.dataset(ctx, r); err != nil {
				return err
			}
			known[r.DatasetID] = d
		}
		// What is about a person and in no field: as the dataset's ordinary data.
		aside := func(person string) bool {
			return s.looker.Look(ctx, r.of(d.Data(), person)).Clear()
		}
		if !aside(r.SubjectID) {
			r.Key, r.Source = personal.Text{}, personal.Text{}
		}
		for i := range r.Parties {
			if p := &r.Parties[i]; p.Role != "" && !aside(p.Subject) {
				p.Role = ""
			}
		}
		r.showStatements(d, aside, func(f *dataset.Field, person string) bool {
			return s.looker.Look(ctx, r.of(d.FieldData(f), person)).Clear()
		})
		r.Fields = slices.DeleteFunc(r.Fields, func(f Field) bool { return d.Stored(f.FieldID) != nil && d.Field(f.FieldID) == nil })
		for i := range r.Fields {
			f := &r.Fields[i]
			f.show(s.looker.Look(ctx, r.data(d, f)))
		}
	}
	return nil
}

// data returns what policies look at before a described value is shown.
func (r *Record) data(d *dataset.Dataset, f *Field) authz.Data {
	return r.of(authz.Data{Class: string(f.Class), Secrecy: string(f.Secrecy), Purposes: d.Purposes}, r.about(f))
}

// of returns data as that of one of the record's persons.
func (r *Record) of(data authz.Data, person string) authz.Data {
	data.Restricted, data.About = slices.Contains(r.Restricted, person), person
	data.Closed = r.Closed.To(person)
	return data
}

// Data returns what policies look at before a record is shown: the record as a
// whole, then its values. It fails as Get does.
func (s *Service) Data(ctx context.Context, recordID string) ([]authz.Data, error) {
	if _, err := checkID(ctx, recordID); err != nil {
		return nil, err
	}
	r, err := s.store.Get(ctx, recordID)
	if err != nil {
		return nil, err
	}
	if err := s.describe(ctx, r); err != nil {
		return nil, err
	}
	if err := s.ask(ctx, r); err != nil {
		return nil, err
	}
	d, err := s.dataset(ctx, r)
	if err != nil {
		return nil, err
	}
	data := []authz.Data{r.of(d.Data(), r.SubjectID)}
	for i := range r.Fields {
		if f := &r.Fields[i]; d.Field(f.FieldID) != nil {
			data = append(data, r.data(d, f))
		}
	}
	return data, nil
}

// show leaves of a value that can be read what sight allows.
func (f *Field) show(sight authz.Sight) {
	if f.State != personal.Clear || sight.Clear() {
		return
	}
	f.State, f.Reason = sight.State, &sight.Reason
	text, isText := f.Value.RevealString()
	switch {
	case f.State != personal.Masked:
		f.Value.Value = personal.Value{}
	case isText:
		f.Value.Value = personal.String(identifier.Mask(personal.NewText(text)).Reveal())
	default: // no part of a number or a date is harmless
		f.State, f.Value.Value = personal.Withheld, personal.Value{}
	}
}

// writable refuses values that the caller may not see, and a record's key, source
// and roles, which are as the dataset's ordinary data: whoever could write them
// could try what they are. It refuses what the gate does, too.
func (s *Service) writable(ctx context.Context, in []FieldInput, d *dataset.Dataset) error {
	if sight := s.looker.Look(ctx, d.Data()); !sight.Clear() {
		return sight.Err()
	}
	classes, categories := []dataset.Class{dataset.Ordinary}, []string(nil)
	for i := range in {
		f := d.Field(in[i].Key)
		if f == nil {
			continue // there is no such field, as will be said
		}
		classes, categories = append(classes, f.DataClass), append(categories, f.Term)
		if sight := s.looker.Look(ctx, d.FieldData(f)); !sight.Clear() {
			return errs.At(sight.Err(), "fields."+strconv.Itoa(i))
		}
	}
	if s.gate == nil {
		return nil
	}
	return s.gate.Take(ctx, classes, categories)
}
