package processing_test

import (
	"slices"
	"testing"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/testenv"
)

// kinds returns the kinds of drift of an activity, sorted, after checking what
// else each says.
func (o *office) kinds(activityID *string) []processing.DriftKind {
	o.Helper()
	var kinds []processing.DriftKind
	for _, d := range must[[]*processing.Drift](o)(o.Drift(o.one(), activityID)) {
		if d.Article == "" || d.Advice == "" || activityID != nil && (d.Activity == nil || *d.Activity != *activityID) {
			o.Errorf("found %+v", d)
		}
		kinds = append(kinds, d.Kind)
	}
	slices.Sort(kinds)
	return kinds
}

func (o *office) party(country string) string {
	o.Helper()
	in := processing.PartyFields{LegalName: "Modtager", Country: country, Roles: []processing.PartyRole{processing.RoleRecipient}}
	return must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: in})).ID
}

func (o *office) system(country string) string {
	o.Helper()
	in := processing.SystemFields{Name: words("System"), Kind: processing.Database, Location: country}
	return must[*processing.System](o)(o.CreateSystem(o.one(), processing.CreateSystemInput{System: in})).ID
}

// rests adds a basis.
func rests(c *processing.Content, b processing.Basis) {
	c.Controller.LegalBases = append(c.Controller.LegalBases, processing.LegalBasis{Basis: b})
}

func TestDrift(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	field := func(class dataset.Class) dataset.FieldInput {
		return dataset.FieldInput{Key: "a", Type: dataset.TypeString, DataClass: class, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup}
	}
	health := o.Dataset(o.one(), "health", field(dataset.Art9)).ID
	crime := o.Dataset(o.one(), "crime", field(dataset.Art10)).ID
	number := o.Dataset(o.one(), "number", field(dataset.NationalID)).ID
	consent := o.purpose(o.one(), "news", "dpv:DirectMarketing", purpose.Consent, nil, words("News")).ID
	scc, adequacy := processing.SCC, processing.Adequacy
	american, british, danish := o.party("US"), o.party("GB"), o.party("DK")
	abroad, home := o.system("US"), o.system("DK")
	for name, tt := range map[string]struct {
		edit func(c *processing.Content)
		want []processing.DriftKind
	}{
		"nothing wrong":     {func(c *processing.Content) { c.Systems = []string{home}; c.Controller.Recipients = []string{danish} }, nil},
		"Art. 9":            {func(c *processing.Content) { c.Datasets = []string{health} }, []processing.DriftKind{processing.Art9WithoutBasis}},
		"Art. 9, founded":   {func(c *processing.Content) { c.Datasets = []string{health}; rests(c, "A9_2_B") }, nil},
		"Art. 10":           {func(c *processing.Content) { c.Datasets = []string{crime}; rests(c, "A9_2_B") }, []processing.DriftKind{processing.Art10WithoutBasis}},
		"Art. 10, founded":  {func(c *processing.Content) { c.Datasets = []string{crime}; rests(c, "DBL_8_3") }, nil},
		"a number":          {func(c *processing.Content) { c.Datasets = []string{number} }, []processing.DriftKind{processing.NationalIDNoBasis}},
		"a number, founded": {func(c *processing.Content) { c.Datasets = []string{number}; rests(c, "DBL_11_2_1") }, nil},
		"a category":        {func(c *processing.Content) { c.Controller.DataCategories[0].Class = dataset.Art9 }, []processing.DriftKind{processing.Art9WithoutBasis}},
		"no tool":           {func(c *processing.Content) { c.Transfers = []processing.Transfer{{Country: "US"}} }, []processing.DriftKind{processing.TransferWithoutTool}},
		"no assessment":     {func(c *processing.Content) { c.Transfers = []processing.Transfer{{Country: "US", Tool: &scc}} }, []processing.DriftKind{processing.TransferUnassessed}},
		"adequate": {func(c *processing.Content) {
			c.Transfers = []processing.Transfer{{Country: "GB", Tool: &adequacy}}
			c.Controller.Recipients = []string{british}
		}, nil},
		"unnamed recipient": {func(c *processing.Content) { c.Controller.Recipients = []string{american} }, []processing.DriftKind{processing.TransferWithoutTool}},
		"unnamed system":    {func(c *processing.Content) { c.Systems = []string{abroad} }, []processing.DriftKind{processing.TransferWithoutTool}},
		"another's transfer": {func(c *processing.Content) {
			c.Transfers = []processing.Transfer{{Country: "US", Party: &british, Tool: &adequacy}}
			c.Controller.Recipients = []string{american}
		}, []processing.DriftKind{processing.TransferWithoutTool}},
		"no notice":    {func(c *processing.Content) { c.Controller.Purposes = []string{consent} }, []processing.DriftKind{processing.ConsentWithoutNotice}},
		"not screened": {func(c *processing.Content) { c.Controller.ImpactNeed = processing.ImpactUnknown }, []processing.DriftKind{processing.ImpactUnassessed}},
		"not weighed":  {func(c *processing.Content) { rests(c, "A6_1_F") }, []processing.DriftKind{processing.InterestUnassessed}},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.controller(name)
			tt.edit(&c)
			a := f.activated(o.one(), processing.Controller, c)
			if got := o.kinds(&a.ID); !slices.Equal(got, tt.want) {
				t.Errorf("drift is %v, want %v", got, tt.want)
			}
			must[*processing.Activity](o)(o.Retire(o.one(), processing.RetireInput{ID: a.ID, ExpectedVersion: a.Version}))
		})
	}
	if got := o.kinds(nil); !slices.Equal(got, []processing.DriftKind{
		processing.ConsentNoDataset, processing.DatasetUnused, processing.DatasetUnused, processing.DatasetUnused,
		processing.DatasetNoPurposes, processing.DatasetNoPurposes, processing.DatasetNoPurposes,
	}) {
		t.Errorf("drift of nothing is %v", got)
	}
}

func TestWhatIsRetiredDrifts(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	d := o.Dataset(o.one(), "old")
	party, system := o.party("DK"), o.system("DK")
	c := f.controller("one")
	c.Datasets, c.Systems, c.Controller.Recipients = []string{d.ID}, []string{system}, []string{party}
	due := civil.Date{Year: 2020, Month: 1, Day: 1}
	a := must[*processing.Activity](o)(o.Create(o.one(), processing.CreateInput{Hat: processing.Controller, NextReviewOn: &due, Content: c}))
	a = must[*processing.Activity](o)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: a.Version}))
	if got := o.kinds(nil); !slices.Equal(got, []processing.DriftKind{processing.DatasetNoPurposes, processing.ReviewOverdue}) {
		t.Errorf("drift is %v", got)
	}
	if _, err := o.Datasets.Retire(o.one(), dataset.RetireInput{Dataset: d.ID, ExpectedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	must[*processing.Party](o)(o.RetireParty(o.one(), processing.RetireInput{ID: party, ExpectedVersion: 1}))
	must[*processing.System](o)(o.RetireSystem(o.one(), processing.RetireInput{ID: system, ExpectedVersion: 1}))
	must[*purpose.Purpose](o)(o.purposes.Retire(o.one(), purpose.EndInput{ID: f.refs["purpose"]}))
	want := []processing.DriftKind{processing.DatasetRetired, processing.PartyRetired, processing.PurposeRetired, processing.ReviewOverdue, processing.SystemRetired}
	if got := o.kinds(&a.ID); !slices.Equal(got, want) {
		t.Errorf("drift is %v, want %v", got, want)
	}
	a = must[*processing.Activity](o)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: a.Version, Content: c}))
	refused[*processing.Activity](o, under(errs.Precondition, "DATASET_RETIRED"))(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: a.Version}))
}

// What is secret by AML law isn't there to who has no clearance, and stays where
// it is when they write.
func TestSecretDatasets(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	secret, err := o.Datasets.Create(o.one(), dataset.CreateInput{Name: "reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{
		{Key: "text", Type: dataset.TypeText, DataClass: dataset.Art10, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup},
	}})
	if err != nil {
		t.Fatal(err)
	}
	plain := o.Dataset(o.one(), "plain")
	c := f.controller("one")
	c.Datasets = []string{secret.ID, plain.ID}
	a := f.activated(o.one(), processing.Controller, c)
	uncleared := o.as(testenv.One, "mem_3", authz.ClearConfidential)
	seen := must[*processing.Activity](o)(o.Get(uncleared, a.ID))
	m := must[*processing.Map](o)(o.DataMap(uncleared, processing.MapFilter{Fields: true}))
	around := must[*processing.Map](o)(o.DataMap(uncleared, processing.MapFilter{Around: &secret.ID, Fields: true}))
	drift := must[[]*processing.Drift](o)(o.Drift(uncleared, nil))
	if !slices.Equal(seen.Valid.Content.Datasets, []string{plain.ID}) || len(drift) != 1 || *drift[0].Object != plain.ID || len(around.Nodes) != 0 ||
		slices.ContainsFunc(m.Nodes, func(n processing.MapNode) bool { return n.ID == secret.ID || n.ID == secret.Fields[0].ID }) {
		t.Errorf("without clearance: %+v, %+v, %+v, %+v", seen.Valid.Content.Datasets, drift, around, m)
	}
	if got := o.kinds(nil); !slices.Equal(got, []processing.DriftKind{processing.Art10WithoutBasis, processing.DatasetNoPurposes, processing.DatasetNoPurposes}) {
		t.Errorf("with clearance: %v", got)
	}
	refused[*processing.Activity](o, at(errs.NotFound, "content.datasets.0"))(o.Revise(uncleared, processing.ReviseInput{ID: a.ID, ExpectedVersion: a.Version, Content: c}))
	c.Datasets = nil
	seen = must[*processing.Activity](o)(o.Revise(uncleared, processing.ReviseInput{ID: a.ID, ExpectedVersion: a.Version, Content: c}))
	kept := must[*processing.Activity](o)(o.Get(o.one(), a.ID))
	if len(seen.Draft.Content.Datasets) != 0 || !slices.Equal(kept.Draft.Content.Datasets, []string{secret.ID}) {
		t.Errorf("written without clearance: %v, %v", seen.Draft.Content.Datasets, kept.Draft.Content.Datasets)
	}
	first := must[*processing.Register](o)(o.Prepare(o.one(), processing.PrepareInput{}))
	if again := must[*processing.Register](o)(o.Prepare(uncleared, processing.PrepareInput{})); again.Hash != first.Hash {
		t.Error("a register differs by who prepares it")
	}
}

func TestDataMap(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	term := "pd:BirthDate"
	d := o.Dataset(o.one(), "kyc", dataset.FieldInput{Key: "born", Type: dataset.TypeDate, DataClass: dataset.Confidential, Term: &term, Secrecy: dataset.NoSecrecy, Lookup: dataset.NoLookup})
	lonely := o.Dataset(o.one(), "lonely")
	party, system := o.party("US"), o.system("FI")
	c := f.controller("one")
	c.Datasets, c.Systems, c.Controller.Recipients = []string{d.ID}, []string{system}, []string{party}
	a := f.activated(o.one(), processing.Controller, c)
	other := f.activated(o.one(), processing.Processor, f.processor("two"))
	all := must[*processing.Map](o)(o.DataMap(o.one(), processing.MapFilter{Fields: true}))
	for _, want := range []processing.MapEdge{
		{From: d.Fields[0].ID, To: d.ID},
		{From: d.ID, To: a.ID},
		{From: a.ID, To: f.refs["purpose"]},
		{From: a.ID, To: system},
		{From: system, To: "FI"},
		{From: a.ID, To: party},
		{From: party, To: "US"},
	} {
		if !slices.Contains(all.Edges, want) {
			t.Errorf("no edge %+v", want)
		}
	}
	node := func(m *processing.Map, id string) *processing.MapNode {
		for i := range m.Nodes {
			if m.Nodes[i].ID == id {
				return &m.Nodes[i]
			}
		}
		return nil
	}
	if n := node(all, d.Fields[0].ID); n == nil || *n.Class != dataset.Confidential || *n.Term != term {
		t.Errorf("the field is %+v", n)
	}
	if n := node(all, "US"); n == nil || n.Label.Da != "USA" || n.Kind != processing.NodeCountry {
		t.Errorf("the country is %+v", n)
	}
	if node(all, lonely.ID) == nil || node(all, other.ID) == nil {
		t.Error("something isn't on the map")
	}
	for _, around := range []string{d.ID, d.Fields[0].ID, a.ID, f.refs["purpose"], system, party, "FI", "US"} {
		m := must[*processing.Map](o)(o.DataMap(o.one(), processing.MapFilter{Around: &around}))
		if node(m, a.ID) == nil || node(m, d.ID) == nil || node(m, lonely.ID) != nil || node(m, other.ID) != nil || node(m, d.Fields[0].ID) != nil {
			t.Errorf("around %s there is %+v", around, m.Nodes)
		}
	}
}
