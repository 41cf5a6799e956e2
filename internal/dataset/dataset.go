// Package dataset describes what records hold: fields with a type, a data
// class, a term of the Data Privacy Vocabulary and a secrecy. A dataset is also
// a retention unit: every person's data in it has a key of its own.
package dataset

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// State is where a dataset stands.
type State string

// The states of a dataset.
const (
	Active  State = "ACTIVE"
	Retired State = "RETIRED"
)

// Class is how sensitive data is, DOMAIN §13.
type Class string

// The data classes.
const (
	Ordinary     Class = "ORDINARY"
	Art9         Class = "ART9"
	Art10        Class = "ART10"
	NationalID   Class = "NATIONAL_ID"
	Confidential Class = "CONFIDENTIAL"
)

// Secrecy is whether law keeps data secret from the person concerned.
type Secrecy string

// The secrecies. AML: reports and investigations under the Danish Anti-Money
// Laundering Act § 38(1); see DOMAIN §2.7.
const (
	NoSecrecy Secrecy = "NONE"
	AML       Secrecy = "AML"
)

func (s Secrecy) valid() bool { return s == NoSecrecy || s == AML }

var (
	errNoField = errs.New(errs.NotFound, "the dataset has no such field").At("field")
	errSecrecy = errs.New(errs.Invalid, "a secrecy is NONE or AML").At("secrecy")
)

// Lookup is whether records can be found by a field.
type Lookup string

// The lookups.
const (
	NoLookup Lookup = "NONE"
	Exact    Lookup = "EXACT"
)

// Normaliser is how a value is brought to one form before it is looked up.
type Normaliser string

// The normalisers.
const (
	NormaliseEmail      Normaliser = "EMAIL"
	NormalisePhone      Normaliser = "PHONE"
	NormaliseNationalID Normaliser = "NATIONAL_ID"
	NormaliseReference  Normaliser = "REFERENCE"
	NormaliseText       Normaliser = "TEXT"
)

// Limits of a tenant's datasets.
const (
	MaxDatasets = 500
	MaxFields   = 200
	MaxValues   = 500
	MaxPurposes = 20
	maxName     = 200
	maxText     = 2000
)

// Dataset describes records of one kind.
type Dataset struct {
	ID          string
	Name        string // unique within the tenant and secrecy, see ErrNameTaken
	Description string
	Secrecy     Secrecy
	Purposes    []string // for which its records may be used; any when empty
	State       State
	Fields      []Field
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time

	// hidden are the fields that the caller must not know of: to whoever works on
	// what they are given they aren't there, and what is stored in them stays.
	hidden []Field
}

// Field describes one value of a record. Its ID never changes.
type Field struct {
	ID         string
	Key        string
	Type       Type
	DataClass  Class
	Term       string
	Secrecy    Secrecy
	Required   bool
	Lookup     Lookup
	Normaliser *Normaliser // of a field with a lookup
	Values     []string    // of an ENUM
	Since      int64       // the dataset's version that brought it
}

// FieldInput asks for a field.
type FieldInput struct {
	Key        string
	Type       Type
	DataClass  Class
	Term       *string
	Secrecy    Secrecy
	Required   bool
	Lookup     Lookup
	Normaliser *Normaliser
	Values     []string
}

// CreateInput asks for a dataset.
type CreateInput struct {
	Name        string
	Description *string
	Secrecy     Secrecy
	Purposes    []string // any when empty
	Fields      []FieldInput
}

// AddFieldInput asks for one more field.
type AddFieldInput struct {
	Dataset         string
	ExpectedVersion int64
	Field           FieldInput
}

// RenameFieldInput asks for another key.
type RenameFieldInput struct {
	Dataset         string
	ExpectedVersion int64
	Field           string
	Key             string
}

// RetireInput asks for a dataset to take no more records.
type RetireInput struct {
	Dataset         string
	ExpectedVersion int64
}

// Sentinels.
var (
	ErrNotFound = errs.New(errs.NotFound, "no such dataset")
	// ErrNameTaken is about names that the caller may know of. Secret datasets have
	// a namespace of their own: an ordinary one can be made with the name of one
	// that its maker must not know of, or the refusal would tell that it exists. To
	// callers who know of both, the name is the secret one's, so that nothing meant
	// for that gets into the other.
	ErrNameTaken = errs.New(errs.Conflict, "another dataset has this name").At("name")
	ErrRetired   = errs.New(errs.Precondition, "the dataset is retired and takes no new records").Under("dataset.active")
	ErrTooMany   = errs.New(errs.Limited, "a tenant has at most %d datasets", MaxDatasets)
)

// Field returns the field with this key or id, or nil. Keys of secret fields have
// a namespace of their own, as names of secret datasets have (see ErrNameTaken):
// to callers who know of both fields, a key is the secret one's.
func (d *Dataset) Field(keyOrID string) *Field {
	var found *Field
	for i := range d.Fields {
		if f := &d.Fields[i]; f.Key == keyOrID || f.ID == keyOrID {
			if found == nil || f.Secrecy == AML {
				found = f
			}
		}
	}
	return found
}

// Stored is Field by id for what is stored, whether the caller may know of it or not.
func (d *Dataset) Stored(fieldID string) *Field {
	if f := d.Field(fieldID); f != nil {
		return f
	}
	for i := range d.hidden {
		if f := &d.hidden[i]; f.ID == fieldID {
			return f
		}
	}
	return nil
}

// Data returns what policies look at before the dataset's existence is shown,
// and before whatever of its records is no field.
func (d *Dataset) Data() authz.Data {
	return authz.Data{Class: string(Ordinary), Secrecy: string(d.Secrecy), Purposes: d.Purposes}
}

// FieldData is Data for a value of f.
func (d *Dataset) FieldData(f *Field) authz.Data {
	return authz.Data{Class: string(f.DataClass), Secrecy: string(d.SecrecyOf(f)), Purposes: d.Purposes}
}

// Index returns the position of the field with an id, -1 if there is none.
func (d *Dataset) Index(fieldID string) int {
	return slices.IndexFunc(d.Fields, func(f Field) bool { return f.ID == fieldID })
}

// SecrecyOf returns the secrecy of f: its own, or else that of the dataset.
func (d *Dataset) SecrecyOf(f *Field) Secrecy {
	if f.Secrecy != NoSecrecy {
		return f.Secrecy
	}
	return d.Secrecy
}

func validKey(key string) bool {
	return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`).MatchString(key)
}

// add appends a field for in, as of the dataset's present version.
func (d *Dataset) add(in FieldInput, fieldID string) error {
	f := Field{
		ID: fieldID, Key: in.Key, Type: in.Type, DataClass: in.DataClass, Secrecy: in.Secrecy,
		Required: in.Required, Lookup: in.Lookup, Normaliser: in.Normaliser, Values: in.Values, Since: d.Version,
	}
	if in.Term != nil {
		f.Term = *in.Term
	}
	switch {
	case !slices.Contains(types(), f.Type):
		return errs.New(errs.Invalid, "no such type of field").At("type")
	case !slices.Contains([]Class{Ordinary, Art9, Art10, NationalID, Confidential}, f.DataClass):
		return errs.New(errs.Invalid, "no such data class").At("dataClass")
	case !f.Secrecy.valid():
		return errSecrecy
	case !validKey(f.Key):
		return errs.New(errs.Invalid, "a key is a letter and up to 63 letters, digits or underscores").At("key")
	case d.Field(f.Key) != nil:
		return errs.New(errs.Conflict, "the dataset has a field with this key").At("key")
	case len(d.Fields) >= MaxFields:
		return errs.New(errs.Limited, "a dataset has at most %d fields", MaxFields)
	case f.Type == TypeEnum && (len(f.Values) == 0 || len(f.Values) > MaxValues):
		return errs.New(errs.Invalid, "an ENUM needs 1 to %d values", MaxValues).At("values")
	case f.Type != TypeEnum && len(f.Values) > 0:
		return errs.New(errs.Invalid, "only an ENUM has values").At("values")
	case f.Term != "" && !regexp.MustCompile(`^[a-z][a-z-]{0,30}:[A-Za-z0-9]{1,100}$`).MatchString(f.Term):
		return errs.New(errs.Invalid, "a term is a prefix and a name, as in pd:PassportNumber").At("term")
	}
	for i, v := range f.Values {
		if v == "" || utf8.RuneCountInString(v) > maxName || slices.Contains(f.Values[:i], v) {
			return errs.New(errs.Invalid, "an ENUM's values are different texts of 1 to %d characters", maxName).At("values")
		}
	}
	if err := f.settleLookup(); err != nil {
		return err
	}
	d.Fields = append(d.Fields, f)
	return nil
}

// settleLookup checks the field's lookup and chooses a normaliser if none was.
func (f *Field) settleLookup() error {
	if f.Lookup != NoLookup && f.Lookup != Exact {
		return errs.New(errs.Invalid, "no such lookup").At("lookup")
	}
	if f.Lookup == NoLookup {
		if f.Normaliser != nil {
			return errs.New(errs.Invalid, "only a field with a lookup has a normaliser").At("normaliser")
		}
		return nil
	}
	if f.Type != TypeString {
		// Few possible values would make a blind index guessable.
		return errs.New(errs.Invalid, "only a STRING can have a lookup").At("lookup")
	}
	if f.Normaliser == nil {
		n := NormaliseReference
		f.Normaliser = &n
	}
	return nil
}

func (d *Dataset) rename(fieldID, key string) error {
	f := d.Field(fieldID)
	switch {
	case f == nil || f.ID != fieldID:
		return errNoField
	case !validKey(key):
		return errs.New(errs.Invalid, "a key is a letter and up to 63 letters, digits or underscores").At("key")
	case d.Field(key) != nil && f.Key != key:
		return errs.New(errs.Conflict, "the dataset has a field with this key").At("key")
	}
	f.Key = key
	return nil
}

// Store keeps datasets. Insert and Update work in the change's transaction.
type Store interface {
	Get(ctx context.Context, id string) (*Dataset, error)
	// ByName returns ErrNotFound when no dataset of the secrecy has the name.
	ByName(ctx context.Context, name string, secrecy Secrecy) (*Dataset, error)
	// List returns all datasets by name.
	List(ctx context.Context) ([]*Dataset, error)
	// Secret returns the ids of all datasets with a secrecy.
	Secret(ctx context.Context) ([]string, error)
	// Insert fails with ErrNameTaken if one of the same secrecy has the name.
	Insert(ctx context.Context, d *Dataset) error
	// Update replaces the dataset at the version before, or fails with change.ErrVersion.
	Update(ctx context.Context, d *Dataset) error
}

// Service describes a tenant's data. To a caller who must not know of a dataset
// or a field, it isn't there.
type Service struct {
	store   Store
	changes *change.Runner
	looker  authz.Looker
	now     func() time.Time
}

// NewService returns a Service.
func NewService(store Store, changes *change.Runner, looker authz.Looker, now func() time.Time) *Service {
	return &Service{store: store, changes: changes, looker: looker, now: now}
}

// List returns the tenant's datasets by name.
func (s *Service) List(ctx context.Context) ([]*Dataset, error) {
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d *Dataset) bool { return !s.show(ctx, d) }), nil
}

// Hidden returns the ids of the datasets that the caller must not know of.
func (s *Service) Hidden(ctx context.Context) ([]string, error) {
	if s.looker.Look(ctx, authz.Data{Class: string(Ordinary), Secrecy: string(AML)}).Known {
		return nil, nil
	}
	return s.store.Secret(ctx)
}

// Secret returns those that are secret by AML law, whoever is calling: for what the
// platform decides by itself.
func (s *Service) Secret(ctx context.Context) ([]string, error) { return s.store.Secret(ctx) }

// show takes from d what the caller must not know of, and reports whether that
// isn't all of it.
func (s *Service) show(ctx context.Context, d *Dataset) bool {
	shown := make([]Field, 0, len(d.Fields))
	for i := range d.Fields {
		f := d.Fields[i]
		if s.looker.Look(ctx, d.FieldData(&f)).Known {
			shown = append(shown, f)
		} else {
			d.hidden = append(d.hidden, f)
		}
	}
	d.Fields = shown
	return s.looker.Look(ctx, d.Data()).Known
}

func (s *Service) shown(ctx context.Context, d *Dataset, err error) (*Dataset, error) {
	if err != nil {
		return nil, err
	}
	if !s.show(ctx, d) {
		return nil, ErrNotFound
	}
	return d, nil
}

// Get returns a dataset, or ErrNotFound.
func (s *Service) Get(ctx context.Context, datasetID string) (*Dataset, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Dataset, of, datasetID) != nil {
		return nil, ErrNotFound
	}
	d, err := s.store.Get(ctx, datasetID)
	return s.shown(ctx, d, err)
}

// Find returns the dataset with this id or name.
func (s *Service) Find(ctx context.Context, idOrName string) (*Dataset, error) {
	if d, err := s.Get(ctx, idOrName); err == nil {
		return d, nil
	}
	d, err := s.store.ByName(ctx, idOrName, AML)
	if d, err = s.shown(ctx, d, err); errs.KindOf(err) != errs.NotFound {
		return d, err
	}
	d, err = s.store.ByName(ctx, idOrName, NoSecrecy)
	return s.shown(ctx, d, err)
}

// Create makes a dataset.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Dataset, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now().UTC()
	d := &Dataset{
		ID: id.New(id.Dataset, of), Name: strings.TrimSpace(in.Name), Secrecy: in.Secrecy, Purposes: in.Purposes,
		State: Active, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if in.Description != nil {
		d.Description = *in.Description
	}
	if !d.Secrecy.valid() {
		return nil, errSecrecy
	}
	if d.Name == "" || utf8.RuneCountInString(d.Name) > maxName {
		return nil, errs.New(errs.Invalid, "a name has 1 to %d characters", maxName).At("name")
	}
	if utf8.RuneCountInString(d.Description) > maxText {
		return nil, errs.New(errs.Invalid, "a description has at most %d characters", maxText).At("description")
	}
	for i, p := range d.Purposes {
		if i >= MaxPurposes || !regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`).MatchString(p) || slices.Contains(d.Purposes[:i], p) {
			return nil, errs.New(errs.Invalid, "purposes are up to %d different terms as the header Vogter-Purpose takes them", MaxPurposes).At("purposes")
		}
	}
	if sight := s.looker.Look(ctx, d.Data()); !sight.Known {
		return nil, sight.Err()
	}
	for i, f := range in.Fields {
		if err := d.add(f, id.New(id.Field, of)); err != nil {
			return nil, atIndex(err, "fields", i)
		}
		if sight := s.looker.Look(ctx, d.FieldData(&d.Fields[i])); !sight.Known {
			return nil, atIndex(sight.Err(), "fields", i)
		}
	}
	datasetID, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		all, err := s.store.List(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if len(all) >= MaxDatasets {
			return change.Change{}, ErrTooMany
		}
		for _, o := range all {
			if strings.EqualFold(o.Name, d.Name) && s.looker.Look(ctx, o.Data()).Known {
				return change.Change{}, ErrNameTaken
			}
		}
		return change.Change{Action: "dataset.create", Object: d.ID, Secret: d.Secrecy == AML}, s.store.Insert(ctx, d)
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, datasetID)
}

// AddField adds a field to a dataset.
func (s *Service) AddField(ctx context.Context, in AddFieldInput) (*Dataset, error) {
	return s.update(ctx, "dataset.addField", in.Dataset, in.ExpectedVersion, []string{in.Field.Key}, func(d *Dataset) error {
		of, err := tenant.FromContext(ctx)
		if err != nil {
			return err
		}
		if d.State != Active {
			return ErrRetired
		}
		if err := d.add(in.Field, id.New(id.Field, of)); err != nil {
			return errs.At(err, "field")
		}
		if sight := s.looker.Look(ctx, d.FieldData(&d.Fields[len(d.Fields)-1])); !sight.Known {
			return sight.Err()
		}
		return nil
	})
}

// RenameField gives a field another key. No record is touched.
func (s *Service) RenameField(ctx context.Context, in RenameFieldInput) (*Dataset, error) {
	return s.update(ctx, "dataset.renameField", in.Dataset, in.ExpectedVersion, []string{in.Field}, func(d *Dataset) error {
		return d.rename(in.Field, in.Key)
	})
}

// Retire closes a dataset for new records.
func (s *Service) Retire(ctx context.Context, in RetireInput) (*Dataset, error) {
	return s.update(ctx, "dataset.retire", in.Dataset, in.ExpectedVersion, nil, func(d *Dataset) error {
		d.State = Retired
		return nil
	})
}

func (s *Service) update(
	ctx context.Context, action, datasetID string, expected int64, fields []string, mutate func(*Dataset) error,
) (*Dataset, error) {
	if _, err := s.Get(ctx, datasetID); err != nil {
		return nil, err
	}
	var d *Dataset
	now := s.now().UTC()
	err := s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if d, err = s.store.Get(ctx, datasetID); err != nil {
			return c, err
		}
		if d.Version != expected {
			return c, change.ErrVersion
		}
		d.Version++
		d.UpdatedAt = now
		// Fields that the caller must not know of stand in no change's way.
		stored := slices.Clone(d.Fields)
		s.show(ctx, d)
		was := secret(d, fields)
		if err := mutate(d); err != nil {
			return c, err
		}
		c = change.Change{Action: action, Object: d.ID, Fields: fields, Secret: was || secret(d, fields)}
		d.unhide(stored)
		return c, s.store.Update(ctx, d)
	})
	return s.shown(ctx, d, err)
}

// unhide puts the hidden fields back where they are among those stored.
func (d *Dataset) unhide(stored []Field) {
	for _, f := range d.hidden {
		at := slices.IndexFunc(stored, func(s Field) bool { return s.ID == f.ID })
		d.Fields = slices.Insert(d.Fields, at, f)
	}
	d.hidden = nil
}

// secret reports whether d is secret by AML law, or one of the fields with these
// keys is.
func secret(d *Dataset, keys []string) bool {
	return d.Secrecy == AML || slices.ContainsFunc(keys, func(key string) bool {
		f := d.Field(key)
		return f != nil && f.Secrecy == AML
	})
}
