package assessment

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
)

// step is what is done to an assessment.
type step string

const (
	edit      step = "update"
	screenOut step = "screenOut"
	begin     step = "begin"
	submit    step = "submit"
	advise    step = "advise"
	consult   step = "consult"
	note      step = "note"
	approve   step = "approve"
	reject    step = "reject"
	fallDue   step = "fallDue"
	revise    step = "revise"
)

// transition is a legal step: from a state, to a state, under what guards demand.
// Who may take it at all is for the permissions: writing is PROCESSING_WRITE,
// advice ASSESSMENT_ADVISE, and what decides ASSESSMENT_APPROVE.
type transition struct {
	do       step
	from, to State
	only     func(*Assessment) bool // of which assessments; all when nil
	guards   []guard
}

// guard refuses a step unless something holds.
type guard func(a *Assessment, w situation) error

// situation is what guards look at beside the assessment.
type situation struct {
	by              authz.Principal
	zone            *time.Location
	today           civil.Date
	officer         bool // the tenant has a data protection officer
	publicAuthority bool // the tenant is one
}

// transitions is the state machine: DOMAIN §9.
func transitions() []transition {
	return []transition{
		{do: edit, from: Screening, to: Screening, guards: []guard{notPublicTask}},
		{do: edit, from: InProgress, to: InProgress, guards: []guard{notPublicTask}},
		{do: screenOut, from: Screening, to: NotRequired, guards: []guard{byPerson, noCriterion}},
		{do: begin, from: Screening, to: InProgress},
		{do: submit, from: InProgress, to: DPOReview, guards: []guard{byPerson, notPublicTask, complete}},
		{do: advise, from: DPOReview, to: DPOReview, guards: []guard{byOfficer}},
		{do: consult, from: DPOReview, to: PriorConsultation, guards: []guard{otherEyes, advised, residualHigh}},
		{do: note, from: PriorConsultation, to: PriorConsultation},
		{do: approve, from: DPOReview, to: Approved, guards: []guard{
			otherEyes, notPublicTask, advised, residualBearable, favourable, reviewAhead,
		}},
		{do: approve, from: PriorConsultation, to: Approved, guards: []guard{otherEyes, answered, reviewAhead}},
		{do: reject, from: DPOReview, to: Rejected, guards: []guard{otherEyes}},
		{do: reject, from: PriorConsultation, to: Rejected, guards: []guard{otherEyes}},
		{do: fallDue, from: NotRequired, to: ReviewDue},
		{do: fallDue, from: Approved, to: ReviewDue},
		{do: fallDue, from: Rejected, to: ReviewDue},
		{do: revise, from: NotRequired, to: Screening},
		{do: revise, from: ReviewDue, to: Screening, only: screenedOut},
		{do: revise, from: ReviewDue, to: InProgress},
		{do: revise, from: Approved, to: InProgress},
		{do: revise, from: Rejected, to: InProgress},
	}
}

// legal returns the transition that a step is, or says that there is none.
func (a *Assessment) legal(do step) (transition, error) {
	var from []string
	for _, t := range transitions() {
		if t.do != do {
			continue
		}
		if t.from == a.State && (t.only == nil || t.only(a)) {
			return t, nil
		}
		if !slices.Contains(from, string(t.from)) {
			from = append(from, string(t.from))
		}
	}
	if do == edit {
		return transition{}, ErrImmutable
	}
	err := ErrState.Under("assessment." + string(do))
	err.Message = fmt.Sprintf("this is done to an assessment that is %s; this one is %s", strings.Join(from, " or "), a.State)
	return transition{}, err
}

// take takes the step, or says which guard refuses it.
func (t *transition) take(a *Assessment, w situation) error {
	for _, holds := range t.guards {
		if err := holds(a, w); err != nil {
			return err
		}
	}
	a.State = t.to
	return nil
}

// screenedOut reports whether a DPIA was never made.
func screenedOut(a *Assessment) bool { return a.Kind == KindDPIA && a.DPIA == nil }

func otherEyes(a *Assessment, w situation) error {
	if slices.Contains(a.Authors, w.by.ID) {
		return ErrFourEyes
	}
	return nil
}

// byPerson: who answers for it is no program, which whoever made it could decide on.
func byPerson(_ *Assessment, w situation) error {
	if w.by.Kind != authz.KindMember && w.by.Kind != authz.KindOperator {
		return ErrNoPerson
	}
	return nil
}

func byOfficer(_ *Assessment, w situation) error {
	if w.by.Kind != authz.KindMember || w.by.Role != authz.RoleDPO {
		return ErrNotDPO
	}
	return nil
}

// advised: the advice is sought where an officer is designated, Art. 35(2).
func advised(a *Assessment, w situation) error {
	if a.Kind == KindDPIA && w.officer && len(a.Advice) == 0 {
		return ErrNoAdvice
	}
	return nil
}

func noCriterion(a *Assessment, _ situation) error {
	if a.Screening == nil {
		return ErrIncomplete.At("screening")
	}
	if len(a.Screening.Criteria) > 0 {
		return ErrRequired
	}
	return nil
}

func residualHigh(a *Assessment, _ situation) error {
	if a.DPIA == nil || *a.DPIA.ResidualRisk != High {
		return ErrNoConsult
	}
	return nil
}

func residualBearable(a *Assessment, _ situation) error {
	if a.DPIA != nil && *a.DPIA.ResidualRisk == High {
		return ErrConsult
	}
	return nil
}

func answered(a *Assessment, w situation) error {
	c := a.Consultation
	switch {
	case c.open(w.today):
		return ErrWaiting
	case c.Outcome != nil && *c.Outcome == Prohibited:
		return ErrProhibited
	}
	return nil
}

// favourable: a LIA or TIA is approved when its own outcome bears it.
func favourable(a *Assessment, _ situation) error {
	switch {
	case a.LIA != nil && (*a.LIA.Outcome != InterestPrevails || !a.LIA.Lawful || !a.LIA.Specific):
		return ErrOverridden
	case a.TIA != nil && *a.TIA.Outcome == NotEquivalent:
		return ErrInequality
	}
	return nil
}

func notPublicTask(a *Assessment, w situation) error {
	if a.LIA != nil && a.LIA.PublicTask && w.publicAuthority {
		return ErrPublicTask
	}
	return nil
}

func reviewAhead(a *Assessment, w situation) error {
	if a.ReviewOn == nil || !a.ReviewOn.After(w.today) {
		return ErrReviewDate
	}
	return nil
}

// field is a text by the name that it has in the input.
type field struct{ name, text string }

// complete: every field of DOMAIN §9 and §6.5 is there.
func complete(a *Assessment, _ situation) error {
	missing := func(fields ...field) error {
		for _, f := range fields {
			if f.text == "" {
				return ErrIncomplete.At(f.name)
			}
		}
		return nil
	}
	switch {
	case a.Kind == KindDPIA && a.DPIA == nil:
		return ErrIncomplete.At("dpia")
	case a.Kind == KindLIA && a.LIA == nil:
		return ErrIncomplete.At("lia")
	case a.Kind == KindTIA && a.TIA == nil:
		return ErrIncomplete.At("tia")
	}
	if d := a.DPIA; d != nil {
		if err := missing(
			field{"dpia.description", d.Description}, field{"dpia.purposes", d.Purposes}, field{"dpia.necessity", d.Necessity},
			field{"dpia.subjectViews", d.SubjectViews},
		); err != nil {
			return err
		}
		switch {
		case len(d.Risks) == 0:
			return ErrIncomplete.At("dpia.risks")
		case d.ResidualRisk == nil:
			return ErrIncomplete.At("dpia.residualRisk")
		}
		for _, r := range d.Risks {
			if slices.Index(bands(), r.After()) > slices.Index(bands(), *d.ResidualRisk) {
				return ErrTooLow
			}
		}
	}
	if l := a.LIA; l != nil {
		if err := missing(
			field{"lia.holder", l.Holder}, field{"lia.interest", l.Interest}, field{"lia.necessity", l.Necessity},
			field{"lia.lessIntrusive", l.LessIntrusive}, field{"lia.dataNature", l.DataNature}, field{"lia.expectations", l.Expectations},
			field{"lia.impact", l.Impact}, field{"lia.safeguards", l.Safeguards}, field{"lia.children", l.Children},
			field{"lia.conclusion", l.Conclusion}, field{"lia.optOut", l.OptOut},
		); err != nil {
			return err
		}
		if l.Outcome == nil {
			return ErrIncomplete.At("lia.outcome")
		}
	}
	if t := a.TIA; t != nil {
		if err := missing(
			field{"tia.country", t.Country}, field{"tia.circumstances", t.Circumstances}, field{"tia.importerType", t.ImporterType},
			field{"tia.data", t.Data}, field{"tia.lawAndPractice", t.LawAndPractice}, field{"tia.conclusion", t.Conclusion},
		); err != nil {
			return err
		}
		if t.Outcome == nil {
			return ErrIncomplete.At("tia.outcome")
		}
		if !t.supplementary() && (*t.Outcome == EquivalentWithMeasures || *t.Outcome == Equivalent && t.Problematic != "") {
			return ErrSupplement.At("tia")
		}
	}
	return nil
}

// check reports the first thing that is wrong with what was written, complete or not.
func (a *Assessment) check(of tenant.ID) error {
	switch {
	case !slices.Contains([]Kind{KindDPIA, KindLIA, KindTIA}, a.Kind):
		return errs.New(errs.Invalid, "a kind is DPIA, LIA or TIA").At("kind")
	case a.Kind != KindDPIA && (a.DPIA != nil || a.Screening != nil), a.Kind != KindLIA && a.LIA != nil, a.Kind != KindTIA && a.TIA != nil:
		return errPart
	case a.Title == "" || strings.Contains(a.Title, "\n"):
		return errs.New(errs.Invalid, "a title has 1 to %d characters on one line", maxTitle).At("title")
	case id.Check(id.Member, of, a.Owner) != nil:
		return ErrNoOwner
	}
	if err := checkText("title", a.Title, maxTitle); err != nil {
		return err
	}
	if err := checkIDs("activities", id.Activity, of, a.Activities, MaxActivities); err != nil {
		return err
	}
	if s := a.Screening; s != nil {
		if err := each("screening.criteria", s.Criteria, SystematicEvaluation, LargeScaleSpecial, LargeScaleMonitoring, NationalList, OtherHighRisk); err != nil {
			return err
		}
		if err := checkText("screening.note", s.Note, maxText); err != nil {
			return err
		}
	}
	if err := a.DPIA.check(of); err != nil {
		return err
	}
	if err := a.LIA.check(); err != nil {
		return err
	}
	return a.TIA.check()
}

func (d *DPIA) check(of tenant.ID) error {
	if d == nil {
		return nil
	}
	for field, text := range map[string]string{
		"description": d.Description, "purposes": d.Purposes, "legitimateInterest": d.LegitimateInterest, "necessity": d.Necessity,
		"subjectViews": d.SubjectViews,
	} {
		if err := checkText("dpia."+field, text, maxText); err != nil {
			return err
		}
	}
	if d.ResidualRisk != nil && !slices.Contains(bands(), *d.ResidualRisk) {
		return errs.New(errs.Invalid, "a risk is LOW, MEDIUM or HIGH").At("dpia.residualRisk")
	}
	if len(d.Risks) > maxRisks {
		return errs.New(errs.Limited, "at most %d risks", maxRisks).At("dpia.risks")
	}
	for i, r := range d.Risks {
		at := fmt.Sprintf("dpia.risks.%d.", i)
		if r.Threat == "" {
			return errs.New(errs.Invalid, "a risk names its threat").At(at + "threat")
		}
		if err := checkText(at+"threat", r.Threat, maxText); err != nil {
			return err
		}
		for _, l := range []Level{r.LikelihoodBefore, r.SeverityBefore, r.LikelihoodAfter, r.SeverityAfter} {
			if !slices.Contains(levels(), l) {
				return errs.New(errs.Invalid, "likelihoods and severities are NEGLIGIBLE, LIMITED, SIGNIFICANT or MAXIMUM").At(strings.TrimSuffix(at, "."))
			}
		}
		if err := checkIDs(at+"measures", id.Measure, of, r.Measures, maxMeasures); err != nil {
			return err
		}
	}
	return checkIDs("dpia.measures", id.Measure, of, d.Measures, maxMeasures)
}

func (l *LIA) check() error {
	if l == nil {
		return nil
	}
	for field, text := range map[string]string{
		"holder": l.Holder, "interest": l.Interest, "necessity": l.Necessity, "lessIntrusive": l.LessIntrusive, "dataNature": l.DataNature,
		"expectations": l.Expectations, "impact": l.Impact, "safeguards": l.Safeguards, "children": l.Children, "conclusion": l.Conclusion,
		"optOut": l.OptOut,
	} {
		if err := checkText("lia."+field, text, maxText); err != nil {
			return err
		}
	}
	if l.Outcome != nil && *l.Outcome != InterestPrevails && *l.Outcome != InterestOverridden {
		return errs.New(errs.Invalid, "not an outcome").At("lia.outcome")
	}
	return nil
}

func (t *TIA) check() error {
	if t == nil {
		return nil
	}
	for field, text := range map[string]string{
		"circumstances": t.Circumstances, "importerType": t.ImporterType, "data": t.Data, "lawAndPractice": t.LawAndPractice,
		"problematic": t.Problematic, "technical": t.Technical, "contractual": t.Contractual, "organisational": t.Organisational,
		"conclusion": t.Conclusion,
	} {
		if err := checkText("tia."+field, text, maxText); err != nil {
			return err
		}
	}
	if t.Country != "" {
		if r, err := language.ParseRegion(t.Country); err != nil || r.String() != t.Country || !r.IsCountry() {
			return errs.New(errs.Invalid, "a country is an ISO 3166-1 alpha-2 code in capitals, as in US").At("tia.country")
		}
	}
	if t.Outcome != nil && !slices.Contains([]Equivalence{Equivalent, EquivalentWithMeasures, NotEquivalent}, *t.Outcome) {
		return errs.New(errs.Invalid, "not an outcome").At("tia.outcome")
	}
	return nil
}

// checkText refuses a text that is too long, or holds what no text does.
func checkText(field, text string, most int) error {
	if utf8.RuneCountInString(text) > most || !utf8.ValidString(text) ||
		strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errs.New(errs.Invalid, "a text has up to %d characters, and no control characters", most).At(field)
	}
	return nil
}

// checkReason refuses a reason that says nothing.
func checkReason(field, text string) error {
	if text == "" {
		return errs.New(errs.Invalid, "say why").At(field)
	}
	return checkText(field, text, maxText)
}

// checkIDs refuses ids of another type or tenant, or that are there twice.
func checkIDs(field string, t id.Type, of tenant.ID, ids []string, most int) error {
	if len(ids) > most {
		return errs.New(errs.Limited, "at most %d", most).At(field)
	}
	for i, one := range ids {
		if id.Check(t, of, one) != nil || slices.Contains(ids[:i], one) {
			return errs.New(errs.NotFound, "there is no such thing, or it is named twice").At(fmt.Sprintf("%s.%d", field, i))
		}
	}
	return nil
}

// each refuses a value that isn't one of those there are, or is there twice.
func each[T comparable](field string, values []T, are ...T) error {
	for i, v := range values {
		if !slices.Contains(are, v) || slices.Contains(values[:i], v) {
			return errs.New(errs.Invalid, "name what there is, each once").At(fmt.Sprintf("%s.%d", field, i))
		}
	}
	return nil
}
