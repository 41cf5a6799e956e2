package authz

import (
	"slices"

	"github.com/vogter/vogter/internal/errs"
)

// Closed are persons whose data must not be used for the purpose that a caller states.
type Closed struct {
	Persons []string
	Reason  Reason // ReasonConsent or ReasonObjection
}

// To returns why a person's data must not be used, "" if it may.
func (c Closed) To(person string) Reason {
	if slices.Contains(c.Persons, person) {
		return c.Reason
	}
	return ""
}

// Refusals of data for a purpose that the person keeps it from.
var (
	ErrUnconsented = errs.New(errs.Precondition, "the purpose rests on consent, and the person's isn't in force: ask consentState before each use").Under(string(ReasonConsent))
	ErrObjected    = errs.New(errs.Precondition, "the person has objected to the purpose (GDPR Art. 21): end it for them").Under(string(ReasonObjection))
)

// Err is the error of a use that the reason refuses, nil for "".
func (r Reason) Err() error {
	switch r {
	case "":
		return nil
	case ReasonObjection:
		return ErrObjected
	default:
		return ErrUnconsented
	}
}
