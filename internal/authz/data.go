package authz

import (
	"context"
	"strings"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/personal"
)

// Data is what the policies look at before a value, a person's identifying data
// or a dataset as a whole is shown.
type Data struct {
	Class      string   // data class, DOMAIN §13
	Secrecy    string   // NONE or AML
	Purposes   []string // for which the dataset may be used; any when empty
	Restricted bool     // processing is restricted, GDPR Art. 18
	Held       bool     // a legal hold keeps it
	Assignees  []string // ids of the members whom its case is assigned to; anybody when empty
	About      string   // id of the person whom it is about
	// Unconsented: it is asked for, for a purpose that the person has objected to (GDPR
	// Art. 21), or that rests on consent, and the person's
	// isn't in force.
	Unconsented bool
}

// dataKey is Data as far as it makes a difference to a caller.
type dataKey struct {
	class, secrecy, purposes, assignees string
	restricted, held, own, unconsented  bool
}

func (d *Data) key(p *Principal) dataKey {
	return dataKey{
		d.Class, d.Secrecy, strings.Join(d.Purposes, "\n"), strings.Join(d.Assignees, "\n"), d.Restricted, d.Held,
		p.Kind == KindSubject && d.About != "" && d.About == p.Subject, d.Unconsented,
	}
}

// Reason is why a value isn't shown as it is.
type Reason string

// The reasons.
const (
	ReasonConfidential Reason = "CLEARANCE_CONFIDENTIAL"
	ReasonNationalID   Reason = "CLEARANCE_NATIONAL_ID"
	ReasonArt9         Reason = "CLEARANCE_ART9"
	ReasonArt10        Reason = "CLEARANCE_ART10"
	ReasonAML          Reason = "CLEARANCE_AML"
	ReasonRestricted   Reason = "RESTRICTED" // GDPR Art. 18
	ReasonPurpose      Reason = "PURPOSE"
	ReasonConsent      Reason = "CONSENT" // none is in force for the purpose that was stated, or the person objected to it
	ReasonAssignment   Reason = "ASSIGNMENT"
	ReasonPolicy       Reason = "POLICY" // of the tenant, or none that permits it
	ReasonErased       Reason = "ERASED"
	ReasonUnreadable   Reason = "UNREADABLE" // what is stored can't be opened
)

// Sight is how much of some data a caller may see.
type Sight struct {
	// Known: when false, it must be to the caller as if it weren't there.
	Known bool
	// State is Clear, Masked or Withheld.
	State  personal.State
	Reason Reason // why it isn't Clear
	Policy string // that decided
}

// Looker tells how much of some data the caller in ctx may see.
type Looker interface {
	Look(ctx context.Context, d Data) Sight
}

// Clear reports whether all may be seen: only then may the caller find by it,
// write it or fetch it.
func (s Sight) Clear() bool { return s.Known && s.State == personal.Clear }

// ErrUnconsented refuses data for a purpose that the person keeps it from.
var ErrUnconsented = errs.New(errs.Precondition, "the purpose rests on consent, and the person's isn't in force, or the person has objected to it: ask consentState before each use, and end what was objected to").Under(string(ReasonConsent))

// Err returns the error of a caller who wants to find by, write or fetch what
// isn't Clear. What isn't Known has its own, that of what isn't there.
func (s Sight) Err() error {
	if s.Reason == ReasonRestricted {
		return errs.New(errs.Precondition, "processing of this person's data is restricted (GDPR Art. 18)").Under(string(s.Reason))
	}
	if s.Reason == ReasonConsent {
		return ErrUnconsented
	}
	err := ErrForbidden.Under(string(s.Reason))
	switch s.Reason {
	case ReasonPurpose:
		err.Message = "this data may be used for certain purposes only: state one of yours in the header Vogter-Purpose"
	case ReasonConfidential, ReasonNationalID, ReasonArt9, ReasonArt10, ReasonAML:
		err.Message = "this needs a clearance that you don't have: data that you may not see, you can neither find by, write nor fetch"
	default:
		err.Message = "a policy keeps this data from you: ask explainDecision which"
	}
	return err
}
