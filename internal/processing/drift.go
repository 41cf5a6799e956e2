package processing

import (
	"context"
	"slices"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/purpose"
)

// DriftKind is how the record and what is really there have come apart.
type DriftKind string

// The kinds of drift.
const (
	DatasetUnused        DriftKind = "DATASET_UNUSED"
	Art9WithoutBasis     DriftKind = "ART9_WITHOUT_BASIS"
	Art10WithoutBasis    DriftKind = "ART10_WITHOUT_BASIS"
	NationalIDNoBasis    DriftKind = "NATIONAL_ID_WITHOUT_BASIS"
	DatasetRetired       DriftKind = "DATASET_RETIRED"
	PurposeRetired       DriftKind = "PURPOSE_RETIRED"
	PurposeSuperseded    DriftKind = "PURPOSE_SUPERSEDED"
	PartyRetired         DriftKind = "PARTY_RETIRED"
	SystemRetired        DriftKind = "SYSTEM_RETIRED"
	MeasureRetired       DriftKind = "MEASURE_RETIRED"
	ReviewOverdue        DriftKind = "REVIEW_OVERDUE"
	ConsentWithoutNotice DriftKind = "CONSENT_WITHOUT_NOTICE"
	TransferWithoutTool  DriftKind = "TRANSFER_WITHOUT_TOOL"
	TransferUnassessed   DriftKind = "TRANSFER_UNASSESSED"
	ImpactUnassessed     DriftKind = "IMPACT_UNASSESSED"
	InterestUnassessed   DriftKind = "INTEREST_UNASSESSED"
	DatasetNoPurposes    DriftKind = "DATASET_WITHOUT_PURPOSES"
	ConsentNoDataset     DriftKind = "CONSENT_WITHOUT_DATASET"
)

// DriftKinds returns all kinds.
func DriftKinds() []DriftKind {
	return []DriftKind{
		DatasetUnused, Art9WithoutBasis, Art10WithoutBasis, NationalIDNoBasis, DatasetRetired, PurposeRetired, PurposeSuperseded,
		PartyRetired, SystemRetired, MeasureRetired, ReviewOverdue, ConsentWithoutNotice, TransferWithoutTool,
		TransferUnassessed, ImpactUnassessed, InterestUnassessed, DatasetNoPurposes, ConsentNoDataset,
	}
}

// Drift is something in the record that doesn't hold, or doesn't hold any more.
type Drift struct {
	Kind     DriftKind
	Activity *string // id; nil of what no activity names
	Object   *string // id of the dataset, purpose, party, system or measure that it is about
	Field    *string // id of the dataset's field that it is about
	Country  *string
	Article  string // what asks for it to be otherwise
	Advice   string // what is wrong, and what to do
}

// told says of each kind which law it is about, what is wrong and what to do.
func told(k DriftKind) (article, advice string) {
	switch k {
	case DatasetUnused:
		return "GDPR Art. 30(1)(c)", "a dataset is used by no activity: name it in the activity that uses it, or retire it"
	case Art9WithoutBasis:
		return "GDPR Art. 9(2)", "it uses data of special categories without a basis in Art. 9(2): add the basis, or stop using the dataset"
	case Art10WithoutBasis:
		return "GDPR Art. 10; Danish Data Protection Act § 8", "it uses data on criminal offences without a basis in national law: add the basis, or stop using the dataset"
	case NationalIDNoBasis:
		return "GDPR Art. 87; Danish Data Protection Act § 11", "it uses national identification numbers without a basis in national law: add the basis, or stop using the dataset"
	case DatasetRetired:
		return "GDPR Art. 30(1)(c)", "it names a dataset that is retired: take it out, once its data is gone"
	case PurposeRetired:
		return "GDPR Art. 5(1)(b), 30(1)(b)", "it names a purpose that is retired: take it out, or retire the activity"
	case PurposeSuperseded:
		return "GDPR Art. 5(1)(b), 30(1)(b)", "it names an older version of a purpose: revise it with the one that is published"
	case PartyRetired:
		return "GDPR Art. 30(1)(a), (d), 30(2)(a)", "it names a party that is retired: take it out, or name its successor"
	case SystemRetired:
		return "GDPR Art. 5(2), 24(1)", "it names a system that is retired: take it out, or name its successor"
	case MeasureRetired:
		return "GDPR Art. 32(1)", "it names a security measure that is retired: take it out, or name its successor"
	case ReviewOverdue:
		return "GDPR Art. 5(2), 24(1)", "its review is overdue: review it and say when the next is"
	case ConsentWithoutNotice:
		return "GDPR Art. 7, 13(1)(c)", "its purpose rests on consent and no published notice tells of it: publish one"
	case TransferWithoutTool:
		return "GDPR Art. 44", "data goes to a third country without a tool that permits it: add the transfer with its tool, or stop it"
	case TransferUnassessed:
		return "GDPR Art. 46; CJEU C-311/18", "a transfer rests on safeguards whose effect in that country wasn't assessed: link a transfer impact assessment"
	case ImpactUnassessed:
		return "GDPR Art. 35(1)", "an impact assessment is needed and none is linked, or nobody has said whether it is: screen the activity"
	case InterestUnassessed:
		return "GDPR Art. 6(1)(f)", "it rests on a legitimate interest that wasn't weighed: link an assessment of it"
	case DatasetNoPurposes:
		return "GDPR Art. 5(1)(b)", "a dataset is bound to no purpose, so whoever may read it uses it for any, and no consent is asked for where none is stated: name its purposes"
	case ConsentNoDataset:
		return "GDPR Art. 5(1)(b), 7(3)", "a purpose rests on consent and no dataset is used for it, so withdrawing the consent stops nothing: name it in the datasets that are used for it, or retire it"
	default:
		return "", ""
	}
}

func found(k DriftKind, object string) Drift {
	d := Drift{Kind: k}
	if object != "" {
		d.Object = &object
	}
	d.Article, d.Advice = told(k)
	return d
}

// Drift tells where the record doesn't hold, of one activity or, with that of
// datasets that no activity names, of all: the first MaxDrift findings, those of
// the oldest activity first.
func (s *Service) Drift(ctx context.Context, activityID *string) ([]*Drift, error) {
	var only []string
	if activityID != nil {
		if err := known(ctx, id.Activity, *activityID, ErrNotFound); err != nil {
			return nil, err
		}
		if _, err := s.Store.Activity(ctx, *activityID); err != nil {
			return nil, err
		}
		only = []string{*activityID}
	}
	today, err := s.today(ctx)
	if err != nil {
		return nil, err
	}
	l, err := s.look(ctx, only...)
	if err != nil {
		return nil, err
	}
	all := []*Drift{}
	used := map[string]bool{}
	for _, a := range l.activities {
		c := a.holding()
		if a.Valid != nil {
			for _, d := range c.Datasets {
				used[d] = true
			}
		}
		for _, d := range slices.Concat(l.retired(c), l.unfounded(c), l.transfers(c), l.unassessed(a, c, today)) {
			d.Activity = &a.ID
			all = append(all, &d)
		}
	}
	if activityID == nil {
		loose, err := s.loose(ctx, l, used)
		if err != nil {
			return nil, err
		}
		for _, d := range loose {
			all = append(all, &d)
		}
	}
	return all[:min(len(all), MaxDrift)], nil
}

// loose tells of datasets that no activity uses or that are bound to no purpose, and
// of purposes that rest on consent and that no dataset is used for.
func (s *Service) loose(ctx context.Context, l *landscape, used map[string]bool) (all []Drift, err error) {
	served := map[string]bool{}
	for _, datasetID := range l.sorted() {
		d := l.datasets[datasetID]
		if d.State != dataset.Active {
			continue
		}
		for _, key := range d.Purposes {
			served[key] = true
		}
		if !used[d.ID] {
			all = append(all, found(DatasetUnused, d.ID))
		}
		if len(d.Purposes) == 0 {
			all = append(all, found(DatasetNoPurposes, d.ID))
		}
	}
	published, err := s.Purposes.Published(ctx)
	for _, p := range published {
		if p.ConsentBased() && !served[p.Key] {
			all = append(all, found(ConsentNoDataset, p.ID))
		}
	}
	return all, err
}

// sorted returns the ids of the datasets, those with lower names first.
func (l *landscape) sorted() []string {
	all := make([]*dataset.Dataset, 0, len(l.datasets))
	for _, d := range l.datasets {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *dataset.Dataset) int {
		if a.Name != b.Name && a.Name < b.Name || a.Name == b.Name && a.ID < b.ID {
			return -1
		}
		return 1
	})
	ids := make([]string, len(all))
	for i, d := range all {
		ids[i] = d.ID
	}
	return ids
}

// retired tells of what c names and is over.
func (l *landscape) retired(c *Content) (all []Drift) {
	for _, n := range c.Datasets {
		if d := l.datasets[n]; d != nil && d.State == dataset.Retired {
			all = append(all, found(DatasetRetired, n))
		}
	}
	for _, n := range c.purposes() {
		if p := l.purposes[n]; p.State == purpose.Retired {
			all = append(all, found(PurposeRetired, n))
		} else if p.State == purpose.Superseded {
			all = append(all, found(PurposeSuperseded, n))
		}
	}
	for _, n := range c.parties() {
		if p := l.parties[n]; p != nil && p.State == Former {
			all = append(all, found(PartyRetired, n))
		}
	}
	for _, n := range c.Systems {
		if y := l.systems[n]; y != nil && y.State == Former {
			all = append(all, found(SystemRetired, n))
		}
	}
	for _, n := range c.Measures {
		if l.measures[n].Retired {
			all = append(all, found(MeasureRetired, n))
		}
	}
	return all
}

// unfounded tells of what c uses without the basis that its class asks for. A
// processor's bases are those of its controllers.
func (l *landscape) unfounded(c *Content) (all []Drift) {
	if c.Controller == nil {
		return nil
	}
	kinds := []struct {
		class dataset.Class
		kind  DriftKind
	}{{dataset.Art9, Art9WithoutBasis}, {dataset.Art10, Art10WithoutBasis}, {dataset.NationalID, NationalIDNoBasis}}
	for _, k := range kinds {
		if slices.ContainsFunc(c.Controller.LegalBases, func(b LegalBasis) bool { return b.Basis.satisfies(k.class) }) {
			continue
		}
		for _, n := range c.Datasets {
			d := l.datasets[n]
			if d == nil {
				continue
			}
			for i := range d.Fields {
				if d.Fields[i].DataClass == k.class {
					f := found(k.kind, n)
					f.Field = &d.Fields[i].ID
					all = append(all, f)
					break // one field of a class is enough to say so
				}
			}
		}
		if slices.ContainsFunc(c.Controller.DataCategories, func(d DataCategory) bool { return d.Class == k.class }) && !slices.ContainsFunc(all, func(d Drift) bool { return d.Kind == k.kind }) {
			all = append(all, found(k.kind, ""))
		}
	}
	return all
}

// transfers tells of data that goes to third countries without what permits it:
// by transfers that are named, to parties and to systems.
func (l *landscape) transfers(c *Content) (all []Drift) {
	tell := func(k DriftKind, object, country string) {
		d := found(k, object)
		d.Country = &country
		all = append(all, d)
	}
	for _, t := range c.Transfers {
		switch {
		case t.Tool == nil:
			tell(TransferWithoutTool, value(t.Party), t.Country)
		case t.Tool.assessed() && t.Assessment == nil:
			tell(TransferUnassessed, value(t.Party), t.Country)
		}
	}
	named := func(party, country string) bool {
		return slices.ContainsFunc(c.Transfers, func(t Transfer) bool {
			return t.Party != nil && *t.Party == party || t.Country == country && (t.Party == nil || party == "")
		})
	}
	for _, n := range c.receivers() {
		if p := l.parties[n]; p != nil && (p.International || !EEA(p.Country)) && !named(n, p.Country) {
			tell(TransferWithoutTool, n, p.Country)
		}
	}
	for _, n := range c.Systems {
		if y := l.systems[n]; y != nil && !EEA(y.Location) && !named("", y.Location) {
			tell(TransferWithoutTool, n, y.Location)
		}
	}
	return all
}

// unassessed tells of what ought to be looked at.
func (l *landscape) unassessed(a *Activity, c *Content, today civil.Date) (all []Drift) {
	if a.NextReviewOn != nil && a.NextReviewOn.Before(today) {
		all = append(all, found(ReviewOverdue, ""))
	}
	p := c.Controller
	if p == nil {
		return all
	}
	for _, n := range p.Purposes {
		if pur := l.purposes[n]; pur.ConsentBased() && !l.noticed[pur.Key] {
			all = append(all, found(ConsentWithoutNotice, n))
		}
	}
	if p.ImpactNeed == ImpactUnknown || p.ImpactNeed == ImpactNeeded && p.ImpactAssessment == nil {
		all = append(all, found(ImpactUnassessed, ""))
	}
	if p.LegitimateInterest == nil && slices.ContainsFunc(p.LegalBases, func(b LegalBasis) bool { return b.Basis == Art6f }) {
		all = append(all, found(InterestUnassessed, ""))
	}
	return all
}
