package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
)

// Retention decides on how long a person's data is kept.
type Retention interface {
	Of(ctx context.Context, person string, requested bool) ([]*retention.Decided, error)
}

// Purposes finds purposes.
type Purposes interface {
	ByID(ctx context.Context, purposeID string) (*purpose.Purpose, error)
}

// Letters writes letters by the tenant's texts.
type Letters interface {
	Render(ctx context.Context, form, language string, fields letter.Fields) (*letter.Letter, error)
}

// Statement writes what Art. 15(1)(a) to (h) and (2) ask for, on one person: from
// the processing activities that use datasets in which there is something on them,
// the disclosures of their data, and the rules by which it is kept.
type Statement struct {
	Tenants   Tenants
	Purposes  Purposes
	Retention Retention
	Letters   Letters
}

// statement is one that is being written.
type statement struct {
	*Statement

	c    *Contents
	f    export.Facts
	said text
	lang string

	sets                             map[string]export.Set // those with something in them, by id
	activities                       []*processing.Content
	purposes, categories, recipients [][]string
	storage, sources                 [][]string
	decisions, transfers             []string
	named                            map[string]bool // recipients by party
}

// form is the letter that a statement is.
const form = "access-statement"

// write writes the statement.
func (s *Statement) write(ctx context.Context, c *Contents, f export.Facts) ([]export.Paper, error) {
	w := &statement{
		Statement: s, c: c, f: f, lang: f.Export.Language, said: words(f.Export.Language), sets: map[string]export.Set{}, named: map[string]bool{},
	}
	for _, set := range f.Sets {
		if set.Records > 0 {
			w.sets[set.ID] = set
		}
	}
	if err := c.eachActivity(ctx, func(a *processing.Content) error {
		if slices.ContainsFunc(a.Datasets, func(id string) bool { _, ok := w.sets[id]; return ok }) {
			w.activities = append(w.activities, a)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	w.describe()
	for _, part := range []func(ctx context.Context) error{w.uses, w.disclosed, w.kept} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	fields, err := w.fields(ctx)
	if err != nil {
		return nil, err
	}
	l, err := s.Letters.Render(ctx, form, w.lang, fields)
	if err != nil {
		return nil, fmt.Errorf("write statement: %w", err)
	}
	return []export.Paper{{Name: "statement", Document: l.Document(), Printed: true}}, nil
}

// shown returns the datasets with something on the person, in the package's order.
func (w *statement) shown(visit func(export.Set)) {
	for _, set := range w.f.Sets {
		if set.Records > 0 {
			visit(set)
		}
	}
}

// describe tells the categories and sources: (b), (g).
func (w *statement) describe() {
	w.categories = append(w.categories, []string{w.said.Identity, "", "data/identity"})
	w.sources = append(w.sources, []string{w.said.Identity, w.said.Controller})
	w.shown(func(set export.Set) {
		w.categories = append(w.categories, []string{set.Name, listed(append(slices.Clone(set.Terms), set.Classes...)), set.File})
		var from []string
		for _, source := range set.Sources {
			origin, name, named := strings.Cut(source, ": ")
			if named {
				name = " (" + name + ")"
			}
			from = append(from, w.said.Origins[origin]+name)
		}
		w.sources = append(w.sources, []string{set.Name, listed(from)})
	})
}

// uses tells purposes, recipients to come, transfers and decisions: (a), (c), (h), (2).
func (w *statement) uses(ctx context.Context) error {
	for _, a := range w.activities {
		var bases []string
		for _, b := range a.Controller.LegalBases {
			basis := b.Basis.In(w.lang)
			if law := b.Law.In(w.lang); law != "" {
				basis += " (" + law + ")"
			}
			bases = append(bases, basis)
		}
		var over []string
		w.shown(func(set export.Set) {
			if slices.Contains(a.Datasets, set.ID) {
				over = append(over, set.Name)
			}
		})
		names := []string{}
		for _, purposeID := range a.Controller.Purposes {
			p, err := w.Purposes.ByID(ctx, purposeID)
			if err != nil {
				return fmt.Errorf("name a purpose: %w", err)
			}
			names = append(names, p.In(w.lang).Name)
		}
		if len(names) == 0 {
			names = []string{a.Name.In(w.lang)}
		}
		for _, name := range names {
			w.purposes = append(w.purposes, []string{name, listed(bases), listed(over)})
		}
		for _, partyID := range a.Controller.Recipients {
			if err := w.recipient(ctx, partyID); err != nil {
				return err
			}
		}
		if to := a.Controller.RecipientCategories.In(w.lang); to != "" {
			w.recipients = append(w.recipients, []string{to, w.said.Recipient, "", w.said.Category})
		}
		if how := a.Controller.AutomatedDecisions.In(w.lang); how != "" {
			w.decisions = append(w.decisions, a.Name.In(w.lang)+": "+how)
		}
		for _, t := range a.Transfers {
			w.transfers = append(w.transfers, w.transfer(t))
		}
	}
	return nil
}

func (w *statement) transfer(t processing.Transfer) string {
	said := t.Country
	if t.Tool != nil {
		said += ": " + w.said.Tools[*t.Tool]
	}
	if more := t.Safeguards.In(w.lang); more != "" {
		said += ". " + more
	}
	return said
}

// recipient names a party that data of this kind goes to.
func (w *statement) recipient(ctx context.Context, partyID string) error {
	if w.named[partyID] {
		return nil
	}
	w.named[partyID] = true
	p, err := w.c.Parties.Party(ctx, partyID)
	if err != nil {
		return fmt.Errorf("name a recipient: %w", err)
	}
	w.recipients = append(w.recipients, []string{p.LegalName, w.said.Recipient, p.Country, w.said.Regular})
	return nil
}

// maxDisclosures is how many disclosures a statement tells one by one: all of them
// are in data/disclosures.
const maxDisclosures = 500

// disclosed tells whom this person's data went to: (c).
func (w *statement) disclosed(ctx context.Context) error {
	n := 0
	return w.c.eachDisclosure(ctx, w.f.Export.SubjectID, w.f.AsOf, func(d *disclosure.Disclosure, to *processing.Party) error {
		if n++; n <= maxDisclosures {
			w.recipients = append(w.recipients, []string{
				to.LegalName, w.said.Recipient, to.Country, civil.Of(d.At.In(w.f.AsOf.Location())).String() + " " + listed(d.Categories),
			})
		}
		return nil
	})
}

// kept tells until when data is kept, and by which rule: (d). When the person's
// identity goes follows from the rest, which may be more than is told here.
func (w *statement) kept(ctx context.Context) error {
	decided, err := w.Retention.Of(ctx, w.f.Export.SubjectID, false)
	if err != nil && !errors.Is(err, subject.ErrNotFound) {
		return fmt.Errorf("tell how long data is kept: %w", err)
	}
	w.shown(func(set export.Set) {
		until, rule := w.said.NoDate, w.said.NoRule
		for _, d := range decided {
			if d.Unit != set.ID {
				continue
			}
			if d.Date != nil {
				until = d.Date.String()
			}
			if d.Rule != nil {
				rule = d.Rule.TextDa
				if w.lang == "en" {
					rule = d.Rule.TextEn
				}
				rule += " (" + d.Rule.LegalSource + ", " + d.Rule.PeriodText() + ")"
			}
		}
		w.storage = append(w.storage, []string{set.Name, until, rule})
	})
	w.storage = append(w.storage, []string{w.said.Identity, w.said.AsLong, ""})
	return nil
}

// fields returns what the form declares.
func (w *statement) fields(ctx context.Context) (letter.Fields, error) {
	t, err := w.Tenants.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("find tenant: %w", err)
	}
	if t.Letterhead == nil {
		return nil, errs.New(errs.Precondition, "the statement names the controller's contact and the authority: give the tenant a letterhead").Under("letter.letterhead")
	}
	l := t.Letterhead
	none := func(rows [][]string, columns int) letter.Value {
		if len(rows) == 0 {
			row := make([]string, columns)
			row[0] = w.said.None
			rows = [][]string{row}
		}
		return letter.Rows(rows...)
	}
	prose := func(list []string) letter.Value {
		if len(list) == 0 {
			list = []string{w.said.None}
		}
		return letter.Items(list...)
	}
	fields := letter.Fields{
		"controller.name": letter.Text(t.LegalName), "controller.address": letter.Text(l.Address),
		"controller.contact": letter.Text(listed([]string{l.Email, l.Phone, l.Website})),
		"authority.name":     letter.Text(l.Authority.Name), "authority.address": letter.Text(l.Authority.Address),
		"authority.phone": letter.Text(l.Authority.Phone), "authority.email": letter.Text(l.Authority.Email),
		"authority.website": letter.URL(l.Authority.Website), "case.number": letter.Text(w.f.Export.Case.Number),
		"package.dataAsOfDate":         letter.Date(civil.Of(w.f.AsOf)),
		"statement.purposeRows":        none(w.purposes, 3),
		"statement.categoryRows":       none(w.categories, 3),
		"statement.recipientRows":      none(w.recipients, 4),
		"statement.storageRows":        none(w.storage, 3),
		"statement.sourceRows":         none(w.sources, 2),
		"statement.automatedDecisions": prose(w.decisions),
		"statement.transfers":          prose(w.transfers),
	}
	if c := t.DpoContact; c != nil {
		fields["controller.dpoContact"] = letter.Text(listed([]string{c.Name.Reveal(), c.Email.Reveal(), c.Phone.Reveal()}))
	}
	return fields, nil
}

// listed writes a list on one line, and each thing once.
func listed(list []string) string {
	var said []string
	for _, s := range list {
		if s != "" && !slices.Contains(said, s) {
			said = append(said, s)
		}
	}
	return strings.Join(said, ", ")
}
