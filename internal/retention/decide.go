package retention

import (
	"slices"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/vault"
)

// Unit is what is decided on together: the id of a dataset, or Person.
type Unit = string

// Person stands for what identifies a person. It goes last: with the whole person.
const Person Unit = "identity"

// Proof stands for what shows that the law was obeyed with an erased person: of
// consents, of disclosures, and what the audit log says in detail. It is kept,
// restricted, for its own period from the erasure on: see Settings.ProofYears.
const Proof Unit = Unit(vault.Evidence)

// Dates are the stored dates that triggers read, in the tenant's zone.
type Dates struct {
	Relations map[subject.RelationKind]Span
	Collected *civil.Date // of the newest record
	Activity  *civil.Date // the last change of a record
	Withdrawn *civil.Date // of a consent on which the data rests
	Closed    *civil.Date // of a case
	Erased    *civil.Date // the person: of Proof only
}

// Span tells of all relations of one kind.
type Span struct {
	Open  bool // one hasn't ended
	Ended *civil.Date
}

// Datum is what a decision is on: what one person has in one unit.
type Datum struct {
	Subject    string
	Unit       Unit
	Dates      Dates
	Requested  bool // erasure is asked for, with a ground of Art. 17(1)
	Restricted bool // GDPR Art. 18: the person wants it kept, or a dispute is open
	Parts      bool // of Person: there is data in other units still
}

// Outcome is what happens to a datum.
type Outcome string

// The outcomes, DOMAIN §3.3.
const (
	EraseNow      Outcome = "ERASE_NOW"
	EraseAt       Outcome = "ERASE_AT"
	RestrictUntil Outcome = "RESTRICT_UNTIL" // kept for proof only, then erased
	Keep          Outcome = "KEEP"
)

// Reason is why.
type Reason string

// The reasons.
const (
	Due        Reason = "DUE"         // the last purpose's maximum is over
	Asked      Reason = "REQUESTED"   // and nothing keeps it
	Minimum    Reason = "MINIMUM"     // the law demands that it is kept
	Within     Reason = "WITHIN"      // its purpose's time isn't over
	Pending    Reason = "PENDING"     // the event from which the period counts hasn't happened
	Held       Reason = "HOLD"        // a legal hold
	InRestrict Reason = "RESTRICTED"  // GDPR Art. 18
	OtherParts Reason = "OTHER_PARTS" // other data of the person needs it
	NoMaximum  Reason = "NO_MAXIMUM"  // no rule demands that it goes
	NoRule     Reason = "NO_RULE"     // there is no rule at all
)

// Decision is what happens to a datum, and why.
type Decision struct {
	Outcome Outcome
	Reason  Reason
	// Date is the first day on which it is to be gone, of ERASE_AT and RESTRICT_UNTIL.
	Date *civil.Date
	// KeepUntil is the last day on which the law demands it.
	KeepUntil *civil.Date
	Rule      *Rule   // that decides
	Hold      *Hold   // that keeps it
	Article   *string // why it is kept, or goes
	// Ended are the activities whose own time is over while others keep it: nothing
	// may be done for their purposes any more.
	Ended []string
}

// The articles that aren't an Exception's.
const (
	articleStorage     = "GDPR Art. 5(1)(e)"
	articleErasure     = "GDPR Art. 17(1)"
	articleRestriction = "GDPR Art. 18"
)

// Decide resolves the rules and holds on a day, DOMAIN §3.1. Of the rules, those of
// the datum's unit count that are in force.
//
// Kept is what a hold covers, or what a minimum whose event hasn't happened keeps.
// Of a rule about relations the event hasn't happened while such a relation is
// open, or when the person has none of the kind; but then the rule doesn't count if
// another one about relations does: who had a single transaction needn't have had
// an account.
func Decide(d Datum, rules []*Rule, holds []*Hold, today civil.Date) Decision {
	for _, h := range holds {
		if h.Covers(d.Subject, d.Unit) {
			return Decision{Outcome: Keep, Reason: Held, Hold: h, Article: new(h.Exception.Article())}
		}
	}
	in := inForce(d, rules, today)
	out := d.minimum(in)
	switch {
	case out.Reason == Pending, out.Reason == Minimum && d.Requested && !today.After(*out.KeepUntil):
		return out
	case d.Requested:
		out.Outcome, out.Reason, out.Rule, out.Date, out.Article = EraseNow, Asked, nil, nil, new(articleErasure)
	default:
		out = d.maximum(in, out, today)
	}
	if out.Outcome == EraseNow && d.Restricted && !d.Requested {
		return Decision{Outcome: Keep, Reason: InRestrict, KeepUntil: out.KeepUntil, Rule: out.Rule, Article: new(articleRestriction)}
	}
	if out.Outcome == EraseNow && d.Parts {
		return Decision{Outcome: Keep, Reason: OtherParts, KeepUntil: out.KeepUntil, Rule: out.Rule}
	}
	return out
}

// dated is a rule with the last day of its period; nil while its event hasn't
// happened.
type dated struct {
	*Rule
	until *civil.Date
}

// inForce returns the rules that count, with their last days.
func inForce(d Datum, rules []*Rule, today civil.Date) []dated {
	var in []dated
	related := false
	for _, r := range rules {
		if !r.valid(today) || r.unit() != d.Unit {
			continue
		}
		in = append(in, dated{r, r.until(d.Dates)})
		if kind, ok := r.Trigger.relation(); ok {
			_, has := d.Dates.Relations[kind]
			related = related || has
		}
	}
	if !related {
		return in
	}
	return slices.DeleteFunc(in, func(r dated) bool {
		kind, ok := r.Trigger.relation()
		_, has := d.Dates.Relations[kind]
		return ok && !has
	})
}

// unit returns what the rule is about.
func (r *Rule) unit() Unit {
	if r.Dataset == nil {
		return Person
	}
	return *r.Dataset
}

// relation returns the kind of relation whose end a trigger is.
func (t Trigger) relation() (subject.RelationKind, bool) {
	switch t {
	case BusinessRelationEnd:
		return subject.BusinessRelation, true
	case SingleTransactionDone:
		return subject.SingleTransaction, true
	case EmploymentEnd:
		return subject.Employment, true
	default:
		return "", false
	}
}

// until returns the last day of the rule's period, nil while its event hasn't
// happened.
func (r *Rule) until(d Dates) *civil.Date {
	var event *civil.Date
	if kind, ok := r.Trigger.relation(); ok {
		if span := d.Relations[kind]; !span.Open {
			event = span.Ended
		}
	}
	switch r.Trigger {
	case CollectedAt:
		event = d.Collected
	case LastActivity:
		event = d.Activity
	case ConsentWithdrawn:
		event = d.Withdrawn
	case CaseClosed:
		event = d.Closed
	case personErased:
		event = d.Erased
	case FinancialYearEnd:
		if d.Collected != nil {
			end := r.yearEnd(*d.Collected)
			event = &end
		}
	default: // about a relation
	}
	if event == nil {
		return nil
	}
	last := r.Period.after(*event)
	return &last
}

// yearEnd returns the last day of the financial year that a day is in.
func (r *Rule) yearEnd(d civil.Date) civil.Date {
	text := defaultYear
	if r.YearEnd != nil {
		text = *r.YearEnd
	}
	t, err := time.Parse("01-02", text)
	if err != nil { // check refuses it
		return d
	}
	end := civil.Date{Year: d.Year, Month: t.Month(), Day: 1}.AddMonths(1).AddDays(-1)
	end.Day = min(end.Day, t.Day())
	if end.Before(d) {
		return end.AddMonths(yearMonths)
	}
	return end
}

// minimum returns what the minimums demand: Pending when one is open, Minimum with
// the latest last day, or nothing.
func (d *Datum) minimum(in []dated) Decision {
	out := Decision{}
	for _, r := range in {
		switch {
		case !r.Kind.keeps():
			continue
		case r.until == nil:
			return Decision{Outcome: Keep, Reason: Pending, Rule: r.Rule, Article: new(r.Exception.Article())}
		case out.KeepUntil == nil || r.until.After(*out.KeepUntil):
			out = kept(r.Rule, Minimum, *r.until)
			out.KeepUntil = r.until
		}
	}
	return out
}

// kept is the decision to keep something until a day, included.
func kept(r *Rule, why Reason, until civil.Date) Decision {
	from := until.AddDays(1)
	out := Decision{Outcome: EraseAt, Reason: why, Date: &from, Rule: r, Article: new(articleStorage)}
	if why == Minimum {
		out.Article = new(r.Exception.Article())
	}
	if r.Restricted {
		out.Outcome = RestrictUntil
	}
	return out
}

// maximum returns when the last purpose's maximum is over, not before the minimum
// is: least is what the minimums demand.
func (d *Datum) maximum(in []dated, least Decision, today civil.Date) Decision {
	type limit struct {
		of    string
		rule  *Rule
		until *civil.Date
	}
	var limits []limit // one for each purpose: its earliest maximum
	for _, r := range in {
		if !r.Kind.erases() {
			continue
		}
		of := ""
		if r.Activity != nil {
			of = *r.Activity
		}
		i := slices.IndexFunc(limits, func(l limit) bool { return l.of == of })
		switch {
		case i < 0:
			limits = append(limits, limit{of, r.Rule, r.until})
		case limits[i].until == nil || r.until != nil && r.until.Before(*limits[i].until):
			limits[i] = limit{of, r.Rule, r.until}
		}
	}
	switch {
	case len(in) == 0:
		return Decision{Outcome: Keep, Reason: NoRule}
	case len(limits) == 0 && least.KeepUntil != nil && !today.After(*least.KeepUntil):
		return Decision{Outcome: Keep, Reason: Minimum, KeepUntil: least.KeepUntil, Rule: least.Rule, Article: least.Article}
	case len(limits) == 0:
		return Decision{Outcome: Keep, Reason: NoMaximum, KeepUntil: least.KeepUntil}
	}
	last := limits[0]
	for _, l := range limits {
		if l.until == nil {
			return Decision{Outcome: Keep, Reason: Pending, KeepUntil: least.KeepUntil, Rule: l.rule, Article: new(articleStorage)}
		}
		if l.until.After(*last.until) {
			last = l
		}
	}
	out := kept(last.rule, Within, *last.until)
	if least.KeepUntil != nil && !last.until.After(*least.KeepUntil) {
		out = least
	}
	out.KeepUntil = least.KeepUntil
	if !today.Before(*out.Date) {
		return Decision{Outcome: EraseNow, Reason: Due, Date: out.Date, KeepUntil: out.KeepUntil, Rule: out.Rule, Article: new(articleStorage)}
	}
	for _, l := range limits {
		if l.of != "" && today.After(*l.until) {
			out.Ended = append(out.Ended, l.of)
		}
	}
	return out
}
