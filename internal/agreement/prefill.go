package agreement

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/vocabulary"
)

// Terms are the provider's own, for first drafts.
type Terms struct {
	Countries      []string // where the platform processes: ISO 3166-1 alpha-2
	BreachHours    int
	ForwardHours   int
	NoticeDays     int // before a change of sub-processors
	AuditDays      int // before an inspection
	DeletionDays   int // after the end
	BackupDays     int // for which backups are kept
	BreachContact  string
	ServiceContact string
}

// StandardTerms are those that a provider begins with. What it must add is where it
// processes, for how long it keeps backups, and its contacts.
func StandardTerms() Terms {
	return Terms{BreachHours: 24, ForwardHours: 48, NoticeDays: Validity, AuditDays: 14, DeletionDays: 30}
}

// draft returns the terms that a first draft for the tenant in ctx has: from the
// tenants, the record of processing, the datasets, the sub-processors and the
// platform's own settings.
func (s *Service) draft(ctx context.Context, t *Template, controller, processor *tenancy.Tenant) (Body, error) {
	words := s.library.words[t.Language]
	activities, err := s.activities(ctx)
	if err != nil {
		return Body{}, err
	}
	subs, err := s.subProcessors(ctx, words)
	if err != nil {
		return Body{}, err
	}
	service := words["service.name"]
	fill := func(key string) string { return strings.ReplaceAll(words[key], "{service}", service) }
	purpose := fill("appendixA.purpose")
	if names := activityNames(activities, t.Language); names != "" {
		purpose = strings.ReplaceAll(fill("appendixA.purposeOf"), "{activities}", names)
	}
	subjects := subjectCategories(activities, t.Language)
	if subjects == "" {
		subjects = words["appendixA.subjectCategoryList"]
	}
	values := map[string]string{
		"service.name": service, "agreement.governingLaw": words["agreement.governingLaw"], "agreement.venue": words["agreement.venue"],
		"appendixA.purpose": purpose, "appendixA.nature": words["appendixA.nature"], "appendixA.duration": words["appendixA.duration"],
		"appendixA.subjectCategoryList": subjects, fieldRows: subs, "appendixC.instruction": fill("appendixC.instruction"),
		"appendixC.riskSummary": words["appendixC.riskSummary"], "appendixC.securityLevel": words["appendixC.securityLevel"],
		"appendixC.assistance": words["appendixC.assistance"], "appendixC.retention": words["appendixC.retention"],
		"appendixC.transfers": words["appendixC.transfers"], "audit.reportType": words["audit.reportType"], "audit.frequency": words["audit.frequency"],
		"audit.costs": words["audit.costs"], "audit.subProcessors": words["audit.subProcessors"], "audit.noticeDays": strconv.Itoa(s.Terms.AuditDays),
		"assistance.forwardHours": strconv.Itoa(s.Terms.ForwardHours), "breachNotice.hours": strconv.Itoa(s.Terms.BreachHours),
		fieldAuthorisation: "GENERAL", fieldNotice: strconv.Itoa(s.Terms.NoticeDays), fieldChoice: string(Delete),
		fieldDeadline: strconv.Itoa(s.Terms.DeletionDays), "ending.backupHorizonDays": strconv.Itoa(s.Terms.BackupDays),
		"processor.breachContact": s.Terms.BreachContact,
	}
	party(values, "controller", controller)
	party(values, "processor", processor)
	if values["processor.contact"] == "" {
		values["processor.contact"] = s.Terms.ServiceContact
	}
	values["subProcessing.noticeAddress"] = values["controller.contact"]
	b := Body{}
	scope, err := s.scope(ctx, activities)
	if err != nil {
		return Body{}, err
	}
	b.Scope = scope
	for _, f := range t.Fields {
		if v, err := checked(f, values[f.Name]); err != nil {
			return Body{}, err
		} else if v != "" {
			b.Values = append(b.Values, Value{f.Name, v})
		}
	}
	return b, b.Scope.check()
}

// party fills in what is known of one side.
func party(values map[string]string, side string, t *tenancy.Tenant) {
	values[side+".name"] = t.LegalName
	if t.Registration != nil {
		values[side+".registrationNumber"] = t.Registration.Scheme + " " + t.Registration.Number
	}
	if t.Letterhead != nil {
		values[side+".address"], values[side+".contact"] = t.Letterhead.Address, t.Letterhead.Email
	}
	if c := t.DpoContact; c != nil {
		parts := slices.DeleteFunc([]string{c.Name.Reveal(), c.Email.Reveal(), c.Phone.Reveal()}, func(s string) bool { return s == "" })
		values[side+".dpoContact"] = strings.Join(parts, ", ")
	}
}

// activities returns what the tenant's record of processing says now.
func (s *Service) activities(ctx context.Context) ([]*processing.Content, error) {
	state := processing.Active
	c, err := s.Processing.List(ctx, processing.Filter{State: &state}, page.Request{First: page.Max})
	if err != nil {
		return nil, err
	}
	var all []*processing.Content
	for _, a := range c.Nodes() {
		if a.Valid != nil && a.Valid.Content.Controller != nil {
			all = append(all, &a.Valid.Content)
		}
	}
	return all, nil
}

func activityNames(activities []*processing.Content, tag string) string {
	var names []string
	for _, a := range activities {
		names = append(names, a.Name.In(tag))
	}
	return strings.Join(ordered(names), "; ")
}

func subjectCategories(activities []*processing.Content, tag string) string {
	var names []string
	for _, a := range activities {
		for _, c := range a.Controller.SubjectCategories {
			name := c.Note.In(tag)
			if term, ok := vocabulary.Lookup(c.Term); ok && name == "" {
				name = term.Label(tag)
			}
			names = append(names, name)
		}
	}
	return strings.Join(ordered(names), "\n")
}

// scope returns the classes of data that the tenant's datasets and record have, and
// the places where the platform processes. What everybody has is in it.
func (s *Service) scope(ctx context.Context, activities []*processing.Content) (Scope, error) {
	sets, err := s.Datasets.List(ctx)
	if err != nil {
		return Scope{}, err
	}
	scope := Scope{Classes: []dataset.Class{dataset.Ordinary}, Countries: s.Terms.Countries}
	for _, d := range sets {
		for _, f := range d.Fields {
			scope.Classes = append(scope.Classes, f.DataClass)
		}
	}
	for _, a := range activities {
		for _, c := range a.Controller.DataCategories {
			scope.Classes = append(scope.Classes, c.Class)
		}
	}
	return scope, nil
}

// subProcessors returns the rows of Appendix B.1.
func (s *Service) subProcessors(ctx context.Context, words map[string]string) (string, error) {
	if s.SubProcessors == nil {
		return words["appendixB.none"], nil
	}
	subs, err := s.SubProcessors.InUse(ctx)
	if err != nil {
		return "", err
	}
	var rows []string
	for _, p := range subs {
		cells := []string{p.Name, p.Registration, p.Address, p.Service, p.Locations}
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", "/")
		}
		rows = append(rows, strings.Join(cells, " | "))
	}
	if len(rows) == 0 {
		return words["appendixB.none"], nil
	}
	return strings.Join(rows, "\n"), nil
}

// SubProcessor is a row of Appendix B.1.
type SubProcessor struct{ Name, Registration, Address, Service, Locations string }

// language returns the language of an agreement: as asked for, else the tenant's first.
func languageOf(asked *string, t *tenancy.Tenant) string {
	if asked != nil {
		return letter.Language(*asked)
	}
	return letter.Language(t.Languages[0])
}
