package processing

import (
	"regexp"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/vocabulary"
)

// check reports the first thing that is wrong with c whatever else there is, and
// trims its texts. Whether what it names exists is for the service to say.
func (c *Content) check(hat Hat) error {
	if (hat == Controller) != (c.Controller != nil) || (hat == Processor) != (c.Processor != nil) {
		return ErrHat
	}
	if err := name(&c.Name, "name"); err != nil {
		return err
	}
	for field, w := range map[string]*Words{"description": &c.Description, "measuresDescription": &c.MeasuresDescription} {
		if err := words(w, maxWords, field); err != nil {
			return err
		}
	}
	for field, l := range map[string][]string{
		"datasets": c.Datasets, "systems": c.Systems, "measures": c.Measures, "representatives": c.Representatives,
	} {
		if err := ids(l, field); err != nil {
			return err
		}
	}
	if err := list(c.Transfers, "transfers", func(a, b Transfer) bool { return a.Country == b.Country && value(a.Party) == value(b.Party) }); err != nil {
		return err
	}
	for i := range c.Transfers {
		if err := c.Transfers[i].check(); err != nil {
			return errs.At(err, element("transfers", i))
		}
	}
	if c.Controller != nil {
		return errs.At(c.Controller.check(), "controller")
	}
	return errs.At(c.Processor.check(), "processor")
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (t *Transfer) check() error {
	if err := country(t.Country, "country"); err != nil {
		return err
	}
	if EEA(t.Country) && t.Party == nil {
		return errs.New(errs.Invalid, "sending data within the European Economic Area is no transfer, unless to an international organisation, which is named then").At("country")
	}
	if t.Tool != nil && !slices.Contains(Tools(), *t.Tool) {
		return errs.New(errs.Invalid, "no such tool of a transfer").At("tool")
	}
	if err := words(&t.Safeguards, maxWords, "safeguards"); err != nil {
		return err
	}
	if t.Tool != nil && *t.Tool == Art49 && t.Safeguards.Empty() {
		return errs.New(errs.Invalid, "a transfer under Art. 49 has its ground and the suitable safeguards documented, GDPR Art. 30(1)(e), 49(6)").At("safeguards")
	}
	return nil
}

func (p *ControllerPart) check() error {
	for field, w := range map[string]*Words{
		"jointArrangement": &p.JointArrangement, "recipientCategories": &p.RecipientCategories, "impactReason": &p.ImpactReason,
		"sources": &p.Sources, "automatedDecisions": &p.AutomatedDecisions,
	} {
		if err := words(w, maxWords, field); err != nil {
			return err
		}
	}
	for field, l := range map[string][]string{"jointControllers": p.JointControllers, "purposes": p.Purposes, "recipients": p.Recipients} {
		if err := ids(l, field); err != nil {
			return err
		}
	}
	if err := categories(p.SubjectCategories, "subjectCategories"); err != nil {
		return err
	}
	if err := list(p.DataCategories, "dataCategories", func(a, b DataCategory) bool { return a.Term == b.Term && a.Note == b.Note }); err != nil {
		return err
	}
	for i := range p.DataCategories {
		if err := p.DataCategories[i].check(); err != nil {
			return errs.At(err, element("dataCategories", i))
		}
	}
	if err := list(p.LegalBases, "legalBases", func(a, b LegalBasis) bool { return a.Basis == b.Basis }); err != nil {
		return err
	}
	for i := range p.LegalBases {
		b := &p.LegalBases[i]
		if !slices.Contains(Bases(), b.Basis) {
			return errs.New(errs.Invalid, "no such legal basis").At(element("legalBases", i) + ".basis")
		}
		if err := words(&b.Law, maxName, element("legalBases", i)+".law"); err != nil {
			return err
		}
	}
	if !slices.Contains([]ImpactNeed{ImpactUnknown, ImpactNotNeeded, ImpactNeeded}, p.ImpactNeed) {
		return errs.New(errs.Invalid, "no such answer").At("impactNeed")
	}
	return nil
}

func (p *ProcessorPart) check() error {
	if err := words(&p.ControllerGroup, maxWords, "controllerGroup"); err != nil {
		return err
	}
	for field, l := range map[string][]string{"controllers": p.Controllers, "processors": p.Processors} {
		if err := ids(l, field); err != nil {
			return err
		}
	}
	return categories(p.Operations, "operations")
}

func categories(l []Category, field string) error {
	if err := list(l, field, func(a, b Category) bool { return a == b }); err != nil {
		return err
	}
	for i := range l {
		if err := category(l[i].Term, &l[i].Note); err != nil {
			return errs.At(err, element(field, i))
		}
	}
	return nil
}

// category checks what a category is called: by a term, in own words, or both. A
// term needn't be one that the platform has a label for, but then it needs words.
func category(term string, note *Words) error {
	if err := words(note, maxWords, "note"); err != nil {
		return err
	}
	if term != "" && !regexp.MustCompile(`^[a-z][a-z-]{0,30}:[A-Za-z0-9-]{1,100}$`).MatchString(term) {
		return errs.New(errs.Invalid, "a term is a prefix and a name, as in pd:BirthDate").At("term")
	}
	if _, ok := vocabulary.Lookup(term); !ok && note.Empty() {
		return errs.New(errs.Invalid, "a category is a term that the query vocabulary answers, or is said in words").At("note")
	}
	return nil
}

func (d *DataCategory) check() error {
	if err := category(d.Term, &d.Note); err != nil {
		return err
	}
	if !slices.Contains([]dataset.Class{dataset.Ordinary, dataset.Art9, dataset.Art10, dataset.NationalID, dataset.Confidential}, d.Class) {
		return errs.New(errs.Invalid, "no such data class").At("class")
	}
	return words(&d.TimeLimit, maxWords, "timeLimit")
}

// missing names what Art. 30 asks for and c hasn't got, for the person who
// activates it.
func (c *Content) missing() error {
	var absent []string
	need := func(there bool, what string) {
		if !there {
			absent = append(absent, what)
		}
	}
	need(c.Owner != nil, "an owner")
	if p := c.Controller; p != nil {
		need(len(p.Purposes) > 0, "a purpose (Art. 30(1)(b))")
		need(len(p.SubjectCategories) > 0, "a category of data subjects (Art. 30(1)(c))")
		need(len(p.DataCategories) > 0, "a category of personal data (Art. 30(1)(c))")
		need(slices.ContainsFunc(p.LegalBases, func(b LegalBasis) bool { return strings.HasPrefix(string(b.Basis), "A6_") }), "a legal basis of Art. 6")
		need(len(p.JointControllers) == 0 || !p.JointArrangement.Empty(), "the arrangement with the joint controllers (Art. 26)")
		need(p.ImpactNeed != ImpactNotNeeded || !p.ImpactReason.Empty(), "the reason why no impact assessment is needed (Art. 35)")
	}
	if p := c.Processor; p != nil {
		need(len(p.Controllers) > 0 || !p.ControllerGroup.Empty(), "the controllers on whose behalf it is (Art. 30(2)(a))")
		need(len(p.Operations) > 0, "a category of processing (Art. 30(2)(b))")
	}
	if len(absent) == 0 {
		return nil
	}
	err := errs.New(errs.Precondition, "the activity can't be activated yet: it lacks %s", strings.Join(absent, "; "))
	return err.Under(ErrIncomplete.Rule)
}

// parties returns the ids of all parties that c names.
func (c *Content) parties() []string {
	all := slices.Clone(c.Representatives)
	for _, t := range c.Transfers {
		if t.Party != nil {
			all = append(all, *t.Party)
		}
	}
	if p := c.Controller; p != nil {
		all = slices.Concat(all, p.JointControllers, p.Recipients)
	}
	if p := c.Processor; p != nil {
		all = slices.Concat(all, p.Controllers, p.Processors)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// receivers are the ids of the parties that get data: recipients, importers and
// those that take part as processors.
func (c *Content) receivers() []string {
	var all []string
	for _, t := range c.Transfers {
		if t.Party != nil {
			all = append(all, *t.Party)
		}
	}
	if c.Controller != nil {
		all = append(all, c.Controller.Recipients...)
		all = append(all, c.Controller.JointControllers...)
	}
	if c.Processor != nil {
		all = append(all, c.Processor.Processors...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// purposes are the ids of the purposes that c names.
func (c *Content) purposes() []string {
	if c.Controller == nil {
		return nil
	}
	return c.Controller.Purposes
}

// assessments are the ids of the assessments that c names.
func (c *Content) assessments() []string {
	var all []string
	for _, t := range c.Transfers {
		if t.Assessment != nil {
			all = append(all, *t.Assessment)
		}
	}
	if p := c.Controller; p != nil {
		for _, a := range []*string{p.LegitimateInterest, p.ImpactAssessment} {
			if a != nil {
				all = append(all, *a)
			}
		}
	}
	return all
}
