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
	// Closed is why the person keeps it from the purpose that it is asked for, "" when
	// they don't: see the type.
	Closed Reason
}

// dataKey is Data as far as it makes a difference to a caller.
type dataKey struct {
	class, secrecy, purposes, assignees string
	restricted, held, own               bool
	closed                              Reason
}

func (d *Data) key(p *Principal) dataKey {
	return dataKey{
		d.Class, d.Secrecy, strings.Join(d.Purposes, "\n"), strings.Join(d.Assignees, "\n"), d.Restricted, d.Held,
		p.Kind == KindSubject && d.About != "" && d.About == p.Subject, d.Closed,
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
	ReasonConsent      Reason = "CONSENT"   // none is in force for the purpose that was stated
	ReasonObjection    Reason = "OBJECTION" // to the purpose that was stated, GDPR Art. 21
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

// Err returns the error of a caller who wants to find by, write or fetch what
// isn't Clear. What isn't Known has its own, that of what isn't there.
func (s Sight) Err() error {
	if s.Reason == ReasonRestricted {
		return errs.New(errs.Precondition, "processing of this person's data is restricted (GDPR Art. 18)").Under(string(s.Reason))
	}
	if s.Reason == ReasonConsent || s.Reason == ReasonObjection {
		return s.Reason.Err()
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
