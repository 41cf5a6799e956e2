package processing

import (
	"context"
	"slices"

	"golang.org/x/text/language"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/purpose"
)

// check reports the first thing that is wrong with a content, including names of
// what isn't there.
func (s *Service) check(ctx context.Context, hat Hat, c *Content) error {
	if err := c.check(hat); err != nil {
		return errs.At(err, "content")
	}
	return errs.At(s.exist(ctx, c), "content")
}

// exist reports the first thing that c names and the caller can't know of.
func (s *Service) exist(ctx context.Context, c *Content) error {
	if c.Owner != nil {
		if _, err := s.Tenants.GetMember(ctx, *c.Owner); err != nil {
			return errs.At(err, "owner")
		}
	}
	all, err := s.Datasets.List(ctx)
	if err != nil {
		return err
	}
	each := func(field string, names []string, look func(name string) error) {
		for i, n := range names {
			if err == nil {
				err = errs.At(look(n), element(field, i))
			}
		}
	}
	each("datasets", c.Datasets, func(n string) error {
		if !slices.ContainsFunc(all, func(d *dataset.Dataset) bool { return d.ID == n }) {
			return dataset.ErrNotFound
		}
		return nil
	})
	party := func(n string) error {
		_, err := s.Party(ctx, n)
		return err
	}
	assessed := func(kind AssessmentKind) func(string) error {
		return func(n string) error {
			is, err := s.Assessments.Kind(ctx, n)
			if err == nil && is != kind {
				err = errs.New(errs.Invalid, "this takes an assessment of kind %s", kind)
			}
			return err
		}
	}
	each("systems", c.Systems, func(n string) error {
		_, err := s.System(ctx, n)
		return err
	})
	each("measures", c.Measures, func(n string) error {
		_, err := s.Measures.Measures(ctx, n)
		return err
	})
	each("representatives", c.Representatives, party)
	for i, t := range c.Transfers {
		each(element("transfers", i)+".party", maybe(t.Party), party)
		each(element("transfers", i)+".assessment", maybe(t.Assessment), assessed(TIA))
	}
	if p := c.Controller; p != nil {
		each("controller.jointControllers", p.JointControllers, party)
		each("controller.recipients", p.Recipients, party)
		each("controller.purposes", p.Purposes, func(n string) error {
			_, err := s.Purposes.ByIDs(ctx, n)
			return err
		})
		each("controller.legitimateInterest", maybe(p.LegitimateInterest), assessed(LIA))
		each("controller.impactAssessment", maybe(p.ImpactAssessment), assessed(DPIA))
		for i, d := range p.DataCategories {
			each("controller."+element("dataCategories", i)+".retentionRule", maybe(d.RetentionRule), func(n string) error {
				return known(ctx, id.Retention, n, errs.New(errs.NotFound, "no such retention rule"))
			})
		}
	}
	if p := c.Processor; p != nil {
		each("processor.controllers", p.Controllers, party)
		each("processor.processors", p.Processors, party)
	}
	return err
}

func maybe(s *string) []string {
	if s == nil {
		return nil
	}
	return []string{*s}
}

// landscape is everything that activities name, as far as the caller may know of
// it: loaded once, in a handful of reads.
type landscape struct {
	activities []*Activity // that aren't retired, with what holds of them: see holding
	datasets   map[string]*dataset.Dataset
	parties    map[string]*Party
	systems    map[string]*System
	purposes   map[string]*purpose.Purpose
	measures   map[string]*Measure
	noticed    map[string]bool // by key of a purpose that rests on consent
}

// holding returns what holds of an activity now: its valid revision, or its draft
// while none has ever been activated.
func (a *Activity) holding() *Content {
	switch {
	case a.Valid != nil:
		return &a.Valid.Content
	case a.Draft != nil && a.State == Draft:
		return &a.Draft.Content
	default:
		return nil
	}
}

// look loads the landscape of some activities, of all when none is named.
func (s *Service) look(ctx context.Context, only ...string) (*landscape, error) {
	l := &landscape{
		datasets: map[string]*dataset.Dataset{}, parties: map[string]*Party{}, systems: map[string]*System{},
		noticed: map[string]bool{},
	}
	all, err := s.Store.Activities(ctx, Filter{}, nil, MaxActivities)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(a *Activity) bool {
		return a.State == Retired || len(only) > 0 && !slices.Contains(only, a.ID)
	})
	if err := s.fill(ctx, all...); err != nil {
		return nil, err
	}
	l.activities = slices.DeleteFunc(all, func(a *Activity) bool { return a.holding() == nil })
	slices.Reverse(l.activities) // the oldest first, as in the register
	sets, err := s.Datasets.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range sets {
		l.datasets[d.ID] = d
	}
	parties, err := s.Store.Parties(ctx, nil, MaxParties)
	if err != nil {
		return nil, err
	}
	for _, p := range parties {
		l.parties[p.ID] = p
	}
	systems, err := s.Store.Systems(ctx, nil, MaxSystems)
	if err != nil {
		return nil, err
	}
	for _, y := range systems {
		l.systems[y.ID] = y
	}
	contents := make([]*Content, len(l.activities))
	for i, a := range l.activities {
		contents[i] = a.holding()
	}
	return l, s.learn(ctx, l, contents...)
}

// learn adds the purposes and measures that contents name, however many, in a read of
// each.
func (s *Service) learn(ctx context.Context, l *landscape, contents ...*Content) (err error) {
	var purposes, measures, consented []string
	for _, c := range contents {
		purposes, measures = append(purposes, c.purposes()...), append(measures, c.Measures...)
	}
	if l.purposes, err = s.Purposes.ByIDs(ctx, once(purposes)...); err != nil {
		return err
	}
	if l.measures, err = s.Measures.Measures(ctx, once(measures)...); err != nil {
		return err
	}
	for _, p := range l.purposes {
		if p.ConsentBased() {
			consented = append(consented, p.Key)
		}
	}
	told, err := s.Purposes.Told(ctx, once(consented)...)
	for _, key := range told {
		l.noticed[key] = true
	}
	return err
}

// once returns the different ones of all.
func once(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}

// living fails if c names anything that is retired.
func (s *Service) living(ctx context.Context, c *Content) error {
	l, err := s.look(ctx, "none")
	if err != nil {
		return err
	}
	if err := s.learn(ctx, l, c); err != nil {
		return err
	}
	for _, f := range l.retired(c) {
		return errs.New(errs.Precondition, "the activity can't be activated: %s", f.Advice).Under(string(f.Kind))
	}
	return nil
}

// purposeName returns what a purpose is called in the languages of the register,
// as far as it is named in them.
func purposeName(p *purpose.Purpose) Words {
	var w Words
	for _, t := range p.Texts {
		switch base, _ := language.Make(t.Language).Base(); base.String() {
		case "da":
			w.Da = t.Name
		case "en":
			w.En = t.Name
		default:
		}
	}
	if w.Empty() {
		w.En = p.In("en").Name
	}
	return w
}
