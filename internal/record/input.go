package record

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
)

// FieldInput is a value to set; a null value removes it.
type FieldInput struct {
	Key   string // the field's key or id
	Value dataset.Raw
	About *string
}

// WriteInput asks for a record.
type WriteInput struct {
	Subject     string
	Dataset     string
	Key         *personal.Text
	Origin      Origin
	Source      *personal.Text
	CollectedAt *time.Time
	Parties     []Party
	Fields      []FieldInput
}

// UpsertInput asks for the record with this key.
type UpsertInput struct {
	Subject     string
	Dataset     string
	Key         personal.Text
	Origin      Origin
	Source      *personal.Text
	CollectedAt *time.Time
	Parties     []Party
	Fields      []FieldInput
}

// UpdateInput asks for changes; what is nil stays.
type UpdateInput struct {
	ID              string
	ExpectedVersion int64
	Origin          *Origin
	Source          *personal.Text // empty removes it
	CollectedAt     *time.Time
	Parties         []Party
	Fields          []FieldInput
}

// DeleteInput asks for a record to be removed.
type DeleteInput struct {
	ID              string
	ExpectedVersion *int64
}

// By names records to find.
type By struct {
	Dataset string
	Field   *string // key or id; the record's own key when nil
	Value   personal.Text
}

// Write returns the input as that of a new record.
func (in UpsertInput) Write() WriteInput {
	return WriteInput{in.Subject, in.Dataset, &in.Key, in.Origin, in.Source, in.CollectedAt, in.Parties, in.Fields}
}

func (in UpsertInput) update(r *Record) UpdateInput {
	return UpdateInput{r.ID, r.Version, &in.Origin, in.Source, in.CollectedAt, in.Parties, in.Fields}
}

// New is a record to be inserted, with its lookups.
type New struct {
	Record *Record
	Keys   []lookup.Key

	secret bool // all of the dataset is, by AML law
}

// Make returns the record of dataset d that in describes, checked.
func Make(recordID string, in WriteInput, d *dataset.Dataset, of tenant.ID, region string, now time.Time) (New, error) {
	if d.State != dataset.Active {
		return New{}, dataset.ErrRetired
	}
	if id.Check(id.Subject, of, in.Subject) != nil {
		return New{}, subject.ErrNotFound.At("subject")
	}
	r := &Record{
		ID: recordID, SubjectID: in.Subject, DatasetID: d.ID, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if in.Key != nil {
		n, err := identifier.Reference(*in.Key)
		if err != nil {
			return New{}, errs.At(err, "key")
		}
		r.Key = n.Value
	}
	err := r.apply(UpdateInput{
		Origin: &in.Origin, Source: in.Source, CollectedAt: in.CollectedAt, Parties: in.Parties, Fields: in.Fields,
	}, d, of)
	if err != nil {
		return New{}, err
	}
	keys, err := r.keys(d, region)
	return New{r, keys, d.Secrecy == dataset.AML}, err
}

// apply brings in into r, checked against d.
func (r *Record) apply(in UpdateInput, d *dataset.Dataset, of tenant.ID) error {
	r.DatasetVersion = d.Version
	if in.Origin != nil {
		r.Origin = *in.Origin
	}
	if in.Source != nil {
		s := in.Source.Reveal()
		if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxSource || strings.ContainsFunc(s, unicode.IsControl) {
			return errs.New(errs.Invalid, "a source is a text of up to %d characters on one line", maxSource).At("source")
		}
		r.Source = *in.Source
	}
	if in.CollectedAt != nil {
		t := in.CollectedAt.UTC().Truncate(time.Millisecond)
		r.CollectedAt = &t
	}
	if in.Parties != nil {
		if err := r.setParties(in.Parties, of); err != nil {
			return err
		}
	}
	type place struct{ field, about string }
	given := map[place]bool{}
	for i, f := range in.Fields {
		if err := r.set(f, d, of); err != nil {
			return errs.At(err, "fields."+strconv.Itoa(i))
		}
		at := place{d.Field(f.Key).ID, r.about(&Field{About: f.About})}
		if given[at] { // one of the values would be lost
			return errs.New(errs.Invalid, "the field is given twice").At("fields." + strconv.Itoa(i) + ".key")
		}
		given[at] = true
	}
	if len(r.Fields) > MaxValues {
		return errs.New(errs.Limited, "a record has at most %d values", MaxValues).At("fields")
	}
	for i := range d.Fields {
		f := &d.Fields[i]
		if f.Required && !slices.ContainsFunc(r.Fields, func(have Field) bool { return have.FieldID == f.ID }) {
			return errs.New(errs.Invalid, "%s is required", f.Key).At("fields." + f.Key)
		}
	}
	return nil
}

func (r *Record) setParties(parties []Party, of tenant.ID) error {
	if len(parties) > MaxParties {
		return errs.New(errs.Limited, "a record has at most %d parties", MaxParties).At("parties")
	}
	known := map[string]bool{}
	for i, p := range parties {
		field := "parties." + strconv.Itoa(i)
		switch {
		case id.Check(id.Subject, of, p.Subject) != nil:
			return subject.ErrNotFound.At(field + ".subject")
		case p.Subject == r.SubjectID || known[p.Subject]:
			return errs.New(errs.Invalid, "a party is another person than the record's subject and the other parties").At(field + ".subject")
		case p.Role == "" || utf8.RuneCountInString(p.Role) > maxRole || strings.ContainsFunc(p.Role, unicode.IsControl):
			return errs.New(errs.Invalid, "a role is a text of 1 to %d characters on one line", maxRole).At(field + ".role")
		}
		known[p.Subject] = true
	}
	r.Parties = slices.Clone(parties)
	r.Fields = slices.DeleteFunc(r.Fields, func(f Field) bool { return f.About != nil && !known[*f.About] })
	return nil
}

func (r *Record) set(in FieldInput, d *dataset.Dataset, of tenant.ID) error {
	f := d.Field(in.Key)
	if f == nil {
		return errs.New(errs.Invalid, "the dataset has no field with this key").At("key")
	}
	about := in.About
	if about != nil && *about == r.SubjectID {
		about = nil
	}
	if about != nil && !slices.ContainsFunc(r.Parties, func(p Party) bool { return p.Subject == *about }) {
		return errs.New(errs.Invalid, "about takes one of the record's parties").At("about")
	}
	i := slices.IndexFunc(r.Fields, func(have Field) bool {
		return have.FieldID == f.ID && r.about(&have) == r.about(&Field{About: about})
	})
	if in.Value.IsNull() {
		if i >= 0 {
			r.Fields = slices.Delete(r.Fields, i, i+1)
		}
		return nil
	}
	v, err := f.Parse(in.Value, of)
	if err != nil {
		return errs.At(err, "value")
	}
	value := Field{
		FieldID: f.ID, Key: f.Key, Class: f.DataClass, Secrecy: d.SecrecyOf(f), Value: Value{f.Type, v},
		State: personal.Clear, About: about,
	}
	if i >= 0 {
		r.Fields[i] = value
	} else {
		r.Fields = append(r.Fields, value)
	}
	return nil
}

// keys returns the record's lookups.
func (r *Record) keys(d *dataset.Dataset, region string) ([]lookup.Key, error) {
	var keys []lookup.Key
	if !r.Key.IsZero() {
		k, err := keyOf(r.Key, d.ID)
		if err != nil {
			return nil, err
		}
		k.About = r.SubjectID
		keys = append(keys, k)
	}
	for i := range r.Fields {
		v := &r.Fields[i]
		f := d.Stored(v.FieldID)
		if f == nil || f.Lookup != dataset.Exact || v.State != personal.Clear {
			continue
		}
		text, ok := v.Value.RevealString()
		if !ok {
			continue
		}
		k, err := fieldKey(f, personal.NewText(text), region)
		if err != nil {
			return nil, errs.At(err, "fields."+f.Key)
		}
		k.About = r.about(v)
		keys = append(keys, k)
	}
	return keys, nil
}

func keyOf(v personal.Text, datasetID string) (lookup.Key, error) {
	n, err := identifier.Reference(v)
	if err != nil {
		return lookup.Key{}, errs.At(err, "key")
	}
	return lookup.Key{Name: lookup.RecordKey(datasetID), Unique: true, Normaliser: n.Version, Value: n.Value, Before: n.Before}, nil
}

func fieldKey(f *dataset.Field, v personal.Text, region string) (lookup.Key, error) {
	n, err := identifier.Of(identifier.Kind(*f.Normaliser), v, region)
	if err != nil {
		return lookup.Key{}, err
	}
	return lookup.Key{Name: lookup.Field(f.ID), Normaliser: n.Version, Value: n.Value, Before: n.Before}, nil
}
