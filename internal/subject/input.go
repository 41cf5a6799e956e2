package subject

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/personal"
)

// NameInput asks for a name; Full is made of the others when absent.
type NameInput struct {
	Full   *personal.Text
	Given  *personal.Text
	Family *personal.Text
}

// CreateInput asks for a subject.
type CreateInput struct {
	Reference   *personal.Text
	Name        *NameInput
	BirthDate   *personal.Text
	Emails      []personal.Text
	Phones      []personal.Text
	NationalIDs []NationalID
	PhoneRegion *string
}

// Field is what an update can clear by name.
type Field string

// The fields that are cleared by name; lists are cleared by an empty list.
const (
	FieldReference Field = "REFERENCE"
	FieldName      Field = "NAME"
	FieldBirthDate Field = "BIRTH_DATE"
)

// UpdateInput asks for changes; what is nil stays.
type UpdateInput struct {
	ID              string
	ExpectedVersion int64
	Reference       *personal.Text
	Name            *NameInput
	BirthDate       *personal.Text
	Emails          []personal.Text
	Phones          []personal.Text
	NationalIDs     []NationalID
	PhoneRegion     *string
	Clear           []Field
}

// UpsertInput asks for the subject with this reference.
type UpsertInput struct {
	Reference   personal.Text
	Name        *NameInput
	BirthDate   *personal.Text
	Emails      []personal.Text
	Phones      []personal.Text
	NationalIDs []NationalID
	PhoneRegion *string
}

// Create returns the input as that of a new subject.
func (in UpsertInput) Create() CreateInput {
	return CreateInput{
		&in.Reference, in.Name, in.BirthDate, in.Emails, in.Phones, in.NationalIDs, in.PhoneRegion,
	}
}

func (in UpsertInput) update(s *Subject) UpdateInput {
	return UpdateInput{
		s.ID, s.Version, nil, in.Name, in.BirthDate, in.Emails, in.Phones, in.NationalIDs, in.PhoneRegion, nil,
	}
}

// By names an identifier to find subjects by: exactly one of its fields.
type By struct {
	Reference        *personal.Text
	Email            *personal.Text
	Phone            *personal.Text
	PhoneRegion      *string
	NationalID       *NationalID
	NameAndBirthDate *NameAndBirthDate
}

// NameAndBirthDate identifies a person by both together.
type NameAndBirthDate struct {
	Name      personal.Text
	BirthDate personal.Text
}

// apply brings the identifying data of in into s, checked and in its stored
// form. Region is where phones without country code belong, "" if unknown. It
// returns the names of what it changed.
func (s *Subject) apply(in UpdateInput, region string) (changed []string, err error) {
	changed, _, err = s.applyKeys(in, region)
	return changed, err
}

// applyKeys is apply that returns the lookups of s too.
func (s *Subject) applyKeys(in UpdateInput, region string) (changed []string, keys []lookup.Key, err error) {
	if in.PhoneRegion != nil {
		region = *in.PhoneRegion
	}
	note := func(name string) { changed = append(changed, name) }
	for _, f := range in.Clear {
		switch f {
		case FieldReference:
			s.Reference = personal.Text{}
			note("reference")
		case FieldName:
			s.Name = nil
			note("name")
		case FieldBirthDate:
			s.BirthDate = personal.Text{}
			note("birthDate")
		default:
			return nil, nil, errs.New(errs.Invalid, "clear takes REFERENCE, NAME or BIRTH_DATE").At("clear")
		}
	}
	if in.Reference != nil {
		n, err := identifier.Reference(*in.Reference)
		if err != nil {
			return nil, nil, errs.At(err, "reference")
		}
		s.Reference = n.Value
		note("reference")
	}
	if in.Name != nil {
		if s.Name, err = in.Name.name(); err != nil {
			return nil, nil, errs.At(err, "name")
		}
		note("name")
	}
	if in.BirthDate != nil {
		if _, err := birthDate(*in.BirthDate); err != nil {
			return nil, nil, errs.At(err, "birthDate")
		}
		s.BirthDate = *in.BirthDate
		note("birthDate")
	}
	if in.Emails != nil {
		s.Emails, err = list("emails", in.Emails, func(v personal.Text) (personal.Text, error) {
			n, err := identifier.Email(v)
			return n.Value, err
		})
		if err != nil {
			return nil, nil, err
		}
		note("emails")
	}
	if in.Phones != nil {
		s.Phones, err = list("phones", in.Phones, func(v personal.Text) (personal.Text, error) {
			n, err := identifier.Phone(v, region)
			return n.Value, err
		})
		if err != nil {
			return nil, nil, err
		}
		note("phones")
	}
	if in.NationalIDs != nil {
		s.NationalIDs, err = list("nationalIds", in.NationalIDs, func(v NationalID) (NationalID, error) {
			n, err := identifier.NationalID(v.Number, v.Country, "")
			if err != nil {
				return NationalID{}, err
			}
			_, number, _ := strings.Cut(n.Value.Reveal(), ":")
			_, number, _ = strings.Cut(number, ":")
			return NationalID{v.Country, personal.NewText(number)}, nil
		})
		if err != nil {
			return nil, nil, err
		}
		note("nationalIds")
	}
	// A name or date that can't be looked up is refused now, not when it is stored.
	keys, err = s.keys()
	return changed, keys, err
}

func (in *NameInput) name() (*Name, error) {
	n := &Name{}
	for _, part := range []struct {
		to   *personal.Text
		from *personal.Text
	}{{&n.Full, in.Full}, {&n.Given, in.Given}, {&n.Family, in.Family}} {
		if part.from == nil {
			continue
		}
		v := part.from.Reveal()
		if !utf8.ValidString(v) || utf8.RuneCountInString(v) > maxName || strings.ContainsFunc(v, unicode.IsControl) {
			return nil, errs.New(errs.Invalid, "a name is a text of up to %d characters on one line", maxName)
		}
		*part.to = personal.NewText(strings.TrimSpace(v))
	}
	if n.Full.IsZero() {
		n.Full = personal.NewText(strings.TrimSpace(n.Given.Reveal() + " " + n.Family.Reveal()))
	}
	if n.Full.IsZero() {
		return nil, errs.New(errs.Invalid, "a name needs its full form, or a given or family name")
	}
	return n, nil
}

func birthDate(v personal.Text) (civil.Date, error) {
	d, err := civil.Parse(v.Reveal())
	if err != nil || d.Year < 1850 {
		return civil.Date{}, identifier.ErrBirthDate
	}
	return d, nil
}

// keys returns the lookups of s.
func (s *Subject) keys() ([]lookup.Key, error) {
	var keys []lookup.Key
	add := func(name lookup.Name, unique bool, n identifier.Normal, err error) error {
		if err != nil {
			return errs.At(err, string(name))
		}
		keys = append(keys, lookup.Key{Name: name, Unique: unique, Normaliser: n.Version, Value: n.Value, Before: n.Before})
		return nil
	}
	if !s.Reference.IsZero() {
		n, err := identifier.Reference(s.Reference)
		if err := add(lookup.Reference, true, n, err); err != nil {
			return nil, err
		}
	}
	for _, v := range s.NationalIDs {
		n, err := identifier.NationalID(v.Number, v.Country, "")
		if err := add(lookup.NationalID, true, n, err); err != nil {
			return nil, err
		}
	}
	for _, v := range s.Emails {
		n, err := identifier.Email(v)
		if err := add(lookup.Email, false, n, err); err != nil {
			return nil, err
		}
	}
	for _, v := range s.Phones {
		n, err := identifier.Phone(v, "")
		if err := add(lookup.Phone, false, n, err); err != nil {
			return nil, err
		}
	}
	if s.Name != nil && !s.BirthDate.IsZero() {
		k, err := nameKey(s.Name.Full, s.BirthDate)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func nameKey(name, born personal.Text) (lookup.Key, error) {
	d, err := birthDate(born)
	if err != nil {
		return lookup.Key{}, errs.At(err, "birthDate")
	}
	n, err := identifier.NameAndBirthDate(name, d)
	if err != nil {
		return lookup.Key{}, errs.At(err, "name")
	}
	return lookup.Key{Name: lookup.NameAndBirthDate, Normaliser: n.Version, Value: n.Value, Before: n.Before}, nil
}

// key returns the lookup that by asks for.
func (by By) key(region string) (lookup.Key, error) {
	given := 0
	for _, is := range []bool{
		by.Reference != nil, by.Email != nil, by.Phone != nil, by.NationalID != nil, by.NameAndBirthDate != nil,
	} {
		if is {
			given++
		}
	}
	if given != 1 {
		return lookup.Key{}, errs.New(errs.Invalid, "give exactly one identifier to find subjects by").At("by")
	}
	if by.NameAndBirthDate != nil {
		k, err := nameKey(by.NameAndBirthDate.Name, by.NameAndBirthDate.BirthDate)
		return k, errs.At(err, "by.nameAndBirthDate")
	}
	if by.PhoneRegion != nil {
		region = *by.PhoneRegion
	}
	var (
		n    identifier.Normal
		err  error
		name lookup.Name
	)
	switch {
	case by.Reference != nil:
		name = lookup.Reference
		n, err = identifier.Reference(*by.Reference)
	case by.Email != nil:
		name = lookup.Email
		n, err = identifier.Email(*by.Email)
	case by.Phone != nil:
		name = lookup.Phone
		n, err = identifier.Phone(*by.Phone, region)
	default:
		name = lookup.NationalID
		n, err = identifier.NationalID(by.NationalID.Number, by.NationalID.Country, "")
	}
	unique := name == lookup.Reference || name == lookup.NationalID
	return lookup.Key{Name: name, Unique: unique, Normaliser: n.Version, Value: n.Value, Before: n.Before}, errs.At(err, "by."+string(name))
}

// list checks and normalises each of a list of identifiers, dropping repeats.
func list[T any](field string, in []T, normalise func(T) (T, error)) ([]T, error) {
	if len(in) > MaxIdentifiers {
		return nil, errs.New(errs.Limited, "at most %d", MaxIdentifiers).At(field)
	}
	out := make([]T, 0, len(in))
	for i, v := range in {
		n, err := normalise(v)
		if err != nil {
			return nil, errs.At(err, field+"."+strconv.Itoa(i))
		}
		if !slices.ContainsFunc(out, func(have T) bool { return same(have, n) }) {
			out = append(out, n)
		}
	}
	return out, nil
}

func same(a, b any) bool {
	switch a := a.(type) {
	case personal.Text:
		b, ok := b.(personal.Text)
		return ok && a.Equal(b)
	case NationalID:
		b, ok := b.(NationalID)
		return ok && a.Country == b.Country && a.Number.Equal(b.Number)
	default:
		return false
	}
}

// StartRelationInput asks for a new relation.
type StartRelationInput struct {
	Subject   string
	Kind      RelationKind
	StartedOn civil.Date
}

// EndRelationInput asks for the end of a relation.
type EndRelationInput struct {
	Subject  string
	Relation string
	EndedOn  civil.Date
}

// New is a subject to be inserted, with its lookups.
type New struct {
	Subject *Subject
	Keys    []lookup.Key
}

// Make returns the subject that in describes, checked. Region is where phones
// without country code belong, "" if unknown.
func Make(subjectID string, in CreateInput, region string, now time.Time) (New, error) {
	s := &Subject{
		ID: subjectID, State: Active, Identity: personal.Clear, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	_, keys, err := s.applyKeys(UpdateInput{
		Reference: in.Reference, Name: in.Name, BirthDate: in.BirthDate, Emails: in.Emails, Phones: in.Phones,
		NationalIDs: in.NationalIDs, PhoneRegion: in.PhoneRegion,
	}, region)
	return New{s, keys}, err
}
