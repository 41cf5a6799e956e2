// Package lookup names the blind indexes by which persons and records are found
// without their identifiers lying open: a lookup holds a keyed digest only.
package lookup

import (
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/personal"
)

// Name is the name of a blind index; a field of a dataset has one of its own.
type Name string

// The blind indexes of subjects.
const (
	Reference        Name = "reference"
	NationalID       Name = "nationalId"
	Email            Name = "email"
	Phone            Name = "phone"
	NameAndBirthDate Name = "nameAndBirthDate"
)

// RecordKey returns the index of the tenant's own keys of a dataset's records.
func RecordKey(dataset string) Name { return Name("recordKey." + dataset) }

// Field returns the index of a dataset's field.
func Field(field string) Name { return Name("field." + field) }

// Key is one value under which something can be found.
type Key struct {
	Name       Name
	Unique     bool // within the tenant
	Normaliser int  // version of the rule that made Value
	Value      personal.Text
	About      string // the subject it is about; "" when that is what is found

	// Before has the forms that earlier versions of the rule gave the value. They are
	// kept, and looked for, beside the present one, until lookups were rebuilt and a
	// later release knows the earlier version no more.
	Before []identifier.Form
}

// Forms returns the keys of all forms, the present one first.
func (k Key) Forms() []Key {
	forms := make([]Key, 0, 1+len(k.Before))
	for _, f := range append([]identifier.Form{{Version: k.Normaliser, Value: k.Value}}, k.Before...) {
		k.Normaliser, k.Value = f.Version, f.Value
		forms = append(forms, k)
	}
	return forms
}

// Search asks for what is found under a key.
type Search struct {
	Key

	// Restricted: what is about persons whose processing is restricted (GDPR
	// Art. 18) too. For others it isn't found, for a hit would confirm the value.
	Restricted bool
}
