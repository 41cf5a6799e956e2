package processing_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/assessment"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/measure"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
)

// office is a platform with the record of processing.
type office struct {
	*world.World
	*processing.Service

	purposes    *purpose.Service
	measures    *measure.Service
	assessments *assessment.Service
	tenants     *mongo.TenantStore
	ring        *sign.Ring
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{World: world.Start(t)}
	o.tenants = mongo.NewTenantStore(o.DB, o.Vault)
	o.ring = testenv.Ring(t, o.DB, o.Vault, o.Changes)
	store := mongo.NewProcessingStore(o.DB, o.Vault)
	o.purposes = purpose.NewService(purpose.Config{
		Purposes: mongo.NewPurposeStore(o.DB), Notices: mongo.NewNoticeStore(o.DB), Tenants: anySlug{o.tenants}, Datasets: o.Datasets, Changes: o.Changes, Now: o.Now,
	})
	o.measures = measure.NewService(measure.Config{Store: mongo.NewMeasureStore(o.DB), Tenants: o.tenants, Systems: store, Changes: o.Changes, Now: o.Now})
	o.assessments = assessment.NewService(assessment.Config{
		Store: mongo.NewAssessmentStore(o.DB), Tenants: o.tenants, Measures: o.measures, Activities: store, Changes: o.Changes, Now: o.Now,
	})
	o.Service = processing.NewService(processing.Config{
		Store: store, Changes: o.Changes, Vault: o.Vault, Datasets: o.Datasets, Purposes: o.purposes, Measures: o.measures,
		Assessments: o.assessments, Tenants: o.tenants, Signer: o.ring, Now: o.Now,
	})
	return o
}

// anySlug knows tenants, none of them by a slug.
type anySlug struct{ *mongo.TenantStore }

func (anySlug) BySlug(context.Context, string) (tenant.ID, error) { return "", tenancy.ErrNotFound }

// as is a member of a tenant who may do everything, some seconds later.
func (o *office) as(of tenant.ID, memberID string, clearances ...authz.Clearance) context.Context {
	o.Sleep(time.Second)
	return authz.NewContext(tenant.NewContext(o.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: memberID, Tenant: of, Role: authz.RoleOwner, Clearances: clearances, AAL: authz.AAL2, AuthenticatedAt: testenv.Now(),
	})
}

func (o *office) one() context.Context { return o.as(testenv.One, "mem_1", authz.Clearances()...) }

func must[T any](o *office) func(v T, err error) T {
	return func(v T, err error) T {
		o.Helper()
		if err != nil {
			o.Fatal(err)
		}
		return v
	}
}

// refused expects an error: a sentinel, or one of a kind at a field or under a rule.
func refused[T any](o *office, want error) func(v T, err error) {
	return func(v T, err error) {
		o.Helper()
		got, ok := errors.AsType[*errs.Error](err)
		expected, _ := errors.AsType[*errs.Error](want)
		if errors.Is(err, want) {
			return
		}
		if !ok || got.Kind != expected.Kind || got.Field != expected.Field || got.Rule != expected.Rule {
			o.Errorf("got %+v, %+v; want %+v", v, err, want)
		}
	}
}

func at(k errs.Kind, field string) error   { return errs.New(k, "").At(field) }
func under(k errs.Kind, rule string) error { return errs.New(k, "").Under(rule) }

// member makes a member of a tenant.
func (o *office) member(of tenant.ID) string {
	o.Helper()
	m := &tenancy.Member{
		ID: id.New(id.Member, of), Tenant: of, Email: personal.NewText("ansvarlig@example.test"), Role: authz.RoleOwner,
		State: tenancy.Joined, Language: "da", Version: 1, CreatedAt: o.Now(), UpdatedAt: o.Now(),
	}
	m.Address = m.ID
	if _, err := o.Vault.Ensure(o.one(), tenancy.MemberIdentity(of, m.ID)); err != nil {
		o.Fatal(err)
	}
	ctx := tenant.NewContext(o.one(), of)
	if err := o.DB.InTransaction(ctx, func(ctx context.Context) error { return o.tenants.InsertMember(ctx, m) }); err != nil {
		o.Fatal(err)
	}
	return m.ID
}

func words(s string) processing.Words { return processing.Words{Da: s, En: s} }

// fixture is testdata/register.json: the record of a provider of due diligence
// and of a firm of accountants. Ids in it are references of its own.
type fixture struct {
	Purposes []struct {
		Key, Term, Basis string
		Art9             *string
		Name             processing.Words
	}
	Parties []struct {
		Ref, LegalName, Country, Scheme, Number string
		Roles                                   []processing.PartyRole
		Contact                                 *struct{ Name, Email, Phone, Address string }
	}
	Systems []struct {
		Ref          string
		Name         processing.Words
		Kind         processing.SystemKind
		Location     string
		SubProcessor *string
	}
	Measures []struct {
		Ref, Term string
		Text      processing.Words
	}
	Provider, Accountant []fixed
}

// fixed is an activity of the fixture.
type fixed struct {
	Hat          processing.Hat
	NextReviewOn civil.Date
	Content      json.RawMessage
}

func (o *office) fixture() *fixture {
	o.Helper()
	b, err := os.ReadFile("testdata/register.json")
	if err != nil {
		o.Fatal(err)
	}
	var f fixture
	if err := json.Unmarshal(b, &f); err != nil {
		o.Fatal(err)
	}
	return &f
}

// base makes the parties, systems, purposes and measures of the fixture, and a
// member who answers. It returns their ids by reference.
func (o *office) base(ctx context.Context, f *fixture) map[string]string {
	o.Helper()
	of, err := tenant.FromContext(ctx)
	if err != nil {
		o.Fatal(err)
	}
	refs := map[string]string{"owner": o.member(of)}
	for _, p := range f.Parties {
		in := processing.PartyFields{LegalName: p.LegalName, Country: p.Country, Roles: p.Roles, Own: p.Ref == "own"}
		if p.Scheme != "" {
			in.Registration = &tenancy.Registration{Scheme: p.Scheme, Number: p.Number}
		}
		if c := p.Contact; c != nil {
			in.Contact = &processing.Contact{
				Name: personal.NewText(c.Name), Email: personal.NewText(c.Email), Phone: personal.NewText(c.Phone), Address: personal.NewText(c.Address),
			}
		}
		refs["party "+p.Ref] = must[*processing.Party](o)(o.CreateParty(ctx, processing.CreatePartyInput{Party: in})).ID
	}
	for _, y := range f.Systems {
		in := processing.SystemFields{Name: y.Name, Kind: y.Kind, Location: y.Location}
		if y.SubProcessor != nil {
			party := refs["party "+*y.SubProcessor]
			in.SubProcessor = &party
		}
		refs["system "+y.Ref] = must[*processing.System](o)(o.CreateSystem(ctx, processing.CreateSystemInput{System: in})).ID
	}
	for _, p := range f.Purposes {
		refs["purpose "+p.Key] = o.purpose(ctx, p.Key, p.Term, p.Basis, p.Art9, p.Name).ID
	}
	for _, m := range f.Measures {
		made := must[*measure.Measure](o)(o.measures.Create(ctx, measure.CreateInput{
			Key: m.Ref, Term: &m.Term, Kind: measure.Technical, Art32: []measure.Letter{measure.B}, Status: measure.InPlace,
			Texts: []measure.Text{{Language: "da", Description: m.Text.Da}, {Language: "en", Description: m.Text.En}},
		}))
		refs["measure "+m.Ref] = made.ID
	}
	return refs
}

func (o *office) purpose(ctx context.Context, key, term, basis string, art9 *string, name processing.Words) *purpose.Purpose {
	o.Helper()
	data := []purpose.Data{{Term: "pd:Name", Class: dataset.Ordinary}}
	if art9 != nil {
		data = append(data, purpose.Data{Term: "pd:Health", Class: dataset.Art9})
	}
	p := must[*purpose.Purpose](o)(o.purposes.Create(ctx, purpose.CreateInput{Key: key, Content: purpose.Content{
		Term: term, LegalBasis: basis, Art9Basis: art9,
		Texts: []purpose.Text{{Language: "da", Name: name.Da, Description: name.Da}, {Language: "en", Name: name.En, Description: name.En}},
		Data:  data,
	}}))
	return must[*purpose.Purpose](o)(o.purposes.Publish(ctx, purpose.PublishInput{ID: p.ID, ExpectedEdit: p.Edit}))
}

// content reads a content of the fixture.
func (o *office) content(raw json.RawMessage, refs map[string]string) processing.Content {
	o.Helper()
	var c processing.Content
	if err := json.Unmarshal(raw, &c); err != nil {
		o.Fatal(err)
	}
	find := func(kind string, list []string) {
		for i, ref := range list {
			if refs[kind+" "+ref] == "" {
				o.Fatalf("the fixture names no %s %s", kind, ref)
			}
			list[i] = refs[kind+" "+ref]
		}
	}
	owner := refs["owner"]
	c.Owner = &owner
	find("system", c.Systems)
	find("measure", c.Measures)
	for i := range c.Transfers {
		party := refs["party "+*c.Transfers[i].Party]
		c.Transfers[i].Party = &party
	}
	if p := c.Controller; p != nil {
		find("party", p.JointControllers)
		find("party", p.Recipients)
		find("purpose", p.Purposes)
	}
	if p := c.Processor; p != nil {
		find("party", p.Controllers)
		find("party", p.Processors)
	}
	return c
}

// activated makes an activity and activates it.
func (o *office) activated(ctx context.Context, hat processing.Hat, c processing.Content, reviews ...civil.Date) *processing.Activity {
	o.Helper()
	in := processing.CreateInput{Hat: hat, Content: c}
	if len(reviews) > 0 {
		in.NextReviewOn = &reviews[0]
	}
	a := must[*processing.Activity](o)(o.Create(ctx, in))
	return must[*processing.Activity](o)(o.Activate(ctx, processing.ActivateInput{ID: a.ID, ExpectedVersion: a.Version}))
}

// firm is a tenant with what the smallest activity names.
type firm struct {
	*office
	refs map[string]string
}

func (o *office) firm(ctx context.Context) *firm {
	o.Helper()
	refs := map[string]string{"owner": o.member(testenv.One)}
	refs["purpose"] = o.purpose(ctx, "care", "dpv:CustomerRelationshipManagement", "eu-gdpr:A6-1-b", nil, words("Care")).ID
	return &firm{o, refs}
}

// controller is a complete content of an activity as controller.
func (f *firm) controller(name string) processing.Content {
	owner := f.refs["owner"]
	return processing.Content{Name: words(name), Owner: &owner, Controller: &processing.ControllerPart{
		Purposes: []string{f.refs["purpose"]}, SubjectCategories: []processing.Category{{Term: "dpv:Customer"}},
		DataCategories: []processing.DataCategory{{Term: "pd:Name", Class: dataset.Ordinary, TimeLimit: words("3")}},
		LegalBases:     []processing.LegalBasis{{Basis: "A6_1_B"}}, ImpactNeed: processing.ImpactNotNeeded, ImpactReason: words("small"),
	}}
}

// processor is the same as processor.
func (f *firm) processor(name string) processing.Content {
	owner := f.refs["owner"]
	return processing.Content{Name: words(name), Owner: &owner, Processor: &processing.ProcessorPart{
		ControllerGroup: words("Customers"), Operations: []processing.Category{{Term: "dpv:Store"}},
	}}
}

func TestAnActivitySaysWhatItsHatAsksFor(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	edit := func(c processing.Content, change func(c *processing.Content)) processing.Content {
		change(&c)
		return c
	}
	unknown := id.New(id.Party, testenv.One)
	day := civil.Date{Year: 2024, Month: 1, Day: 1}
	scc := processing.SCC
	art49 := processing.Art49
	for name, tt := range map[string]struct {
		hat  processing.Hat
		c    processing.Content
		want error
	}{
		"a processor with purposes": {processing.Processor, edit(f.processor("x"), func(c *processing.Content) {
			c.Controller = f.controller("x").Controller
		}), processing.ErrHat},
		"a processor as controller":       {processing.Controller, f.processor("x"), processing.ErrHat},
		"a controller with no part":       {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller = nil }), processing.ErrHat},
		"no hat":                          {"OTHER", f.controller("x"), at(errs.Invalid, "hat")},
		"no name":                         {processing.Controller, f.controller(" "), at(errs.Invalid, "content.name")},
		"a name of two lines":             {processing.Controller, f.controller("a\nb"), at(errs.Invalid, "content.name")},
		"an unknown party":                {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.Recipients = []string{unknown} }), at(errs.NotFound, "content.controller.recipients.0")},
		"a party named twice":             {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Representatives = []string{unknown, unknown} }), at(errs.Invalid, "content.representatives.1")},
		"an unknown owner":                {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Owner = &unknown }), at(errs.NotFound, "content.owner")},
		"an unknown dataset":              {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Datasets = []string{id.New(id.Dataset, testenv.One)} }), at(errs.NotFound, "content.datasets.0")},
		"a dataset of another tenant":     {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Datasets = []string{o.Dataset(o.As(testenv.Two), "x").ID} }), at(errs.NotFound, "content.datasets.0")},
		"an unknown measure":              {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Measures = []string{id.New(id.Measure, testenv.One)} }), at(errs.NotFound, "content.measures.0")},
		"an unknown purpose":              {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.Purposes = []string{id.New(id.Purpose, testenv.One)} }), at(errs.NotFound, "content.controller.purposes.0")},
		"an unknown assessment":           {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.ImpactAssessment = &unknown }), at(errs.NotFound, "content.controller.impactAssessment.0")},
		"a basis that there isn't":        {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.LegalBases[0].Basis = "A6_1_G" }), at(errs.Invalid, "content.controller.legalBases.0.basis")},
		"a category that says nothing":    {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.SubjectCategories[0].Term = "dpv:Nobody" }), at(errs.Invalid, "content.controller.subjectCategories.0.note")},
		"a transfer within the EEA":       {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Transfers = []processing.Transfer{{Country: "NO", Tool: &scc}} }), at(errs.Invalid, "content.transfers.0.country")},
		"a derogation without safeguards": {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Transfers = []processing.Transfer{{Country: "US", Tool: &art49}} }), at(errs.Invalid, "content.transfers.0.safeguards")},
	} {
		t.Run(name, func(*testing.T) {
			refused[*processing.Activity](o, tt.want)(o.Create(o.one(), processing.CreateInput{Hat: tt.hat, NextReviewOn: &day, Content: tt.c}))
		})
	}
	for name, tt := range map[string]struct {
		hat processing.Hat
		c   processing.Content
	}{
		"no owner":      {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Owner = nil })},
		"no purpose":    {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.Purposes = nil })},
		"no basis":      {processing.Controller, edit(f.controller("x"), func(c *processing.Content) { c.Controller.LegalBases[0].Basis = "DBL_7" })},
		"no controller": {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Processor.ControllerGroup = words("") })},
		"no operation":  {processing.Processor, edit(f.processor("x"), func(c *processing.Content) { c.Processor.Operations = nil })},
	} {
		t.Run(name, func(*testing.T) {
			a := must[*processing.Activity](o)(o.Create(o.one(), processing.CreateInput{Hat: tt.hat, Content: tt.c}))
			refused[*processing.Activity](o, under(errs.Precondition, "art30.complete"))(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 1}))
		})
	}
}

func TestRevisionsAreImmutable(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	a := must[*processing.Activity](o)(o.Create(o.one(), processing.CreateInput{Hat: processing.Controller, Content: f.controller("one")}))
	if a.State != processing.Draft || a.Valid != nil || a.Draft == nil || a.Draft.Number != 1 {
		t.Fatalf("made %+v", a)
	}
	refused[*processing.Activity](o, change.ErrVersion)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 7, Content: f.controller("x")}))
	a = must[*processing.Activity](o)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 1, Content: f.controller("two")}))
	if a.Draft.Number != 1 || a.Draft.Content.Name != words("two") {
		t.Errorf("a draft became %+v", a.Draft)
	}
	refused[*processing.Activity](o, change.ErrVersion)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 1}))
	a = must[*processing.Activity](o)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 2}))
	first := a.Valid
	if a.State != processing.Active || first == nil || a.Draft != nil || first.ActivatedBy == nil {
		t.Fatalf("activated %+v", a)
	}
	refused[*processing.Activity](o, processing.ErrNoDraft)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 3}))

	a = must[*processing.Activity](o)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 3, Content: f.controller("three")}))
	if a.Valid.ID != first.ID || a.Valid.Content.Name != words("two") || a.Draft.Number != 2 {
		t.Errorf("revised %+v", a)
	}
	for _, from := range []time.Time{o.Now().Add(-time.Hour), o.Now().Add(2 * 366 * 24 * time.Hour)} {
		refused[*processing.Activity](o, processing.ErrValidFrom)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 4, ValidFrom: &from}))
	}
	from := o.Now().Add(24 * time.Hour).UTC().Truncate(time.Millisecond)
	a = must[*processing.Activity](o)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 4, ValidFrom: &from}))
	if a.Valid.ID != first.ID {
		t.Error("what is to come is valid already")
	}
	for when, want := range map[time.Time]string{first.ValidFrom.Add(0): "two", from.Add(-time.Millisecond): "two", from: "three", from.Add(time.Hour): "three"} {
		if r := must[*processing.Revision](o)(o.AsOf(o.one(), a.ID, when)); r.Content.Name != words(want) {
			t.Errorf("at %s it is %s, want %s", when, r.Content.Name.En, want)
		}
	}
	refused[*processing.Revision](o, processing.ErrNoRevision)(o.AsOf(o.one(), a.ID, first.ValidFrom.Add(-time.Millisecond)))
	a = must[*processing.Activity](o)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 5, Content: f.controller("four")}))
	refused[*processing.Activity](o, processing.ErrValidFrom)(o.Activate(o.one(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 6})) // before the one to come
	o.Sleep(25 * time.Hour)
	if a = must[*processing.Activity](o)(o.Get(o.one(), a.ID)); a.Valid.Content.Name != words("three") {
		t.Errorf("a day later it is %+v", a.Valid)
	}
	all := must[*processing.RevisionConnection](o)(o.Revisions(o.one(), a.ID, page.Request{First: 2}))
	if got := all.Nodes(); len(got) != 2 || got[0].Number != 3 || got[1].Number != 2 || !all.PageInfo.HasNextPage {
		t.Errorf("the revisions are %+v", got)
	}

	today := must[*processing.Activity](o)(o.Review(o.one(), processing.ReviewInput{ID: a.ID, ExpectedVersion: 6, NextReviewOn: civil.Of(o.Now().AddDate(1, 0, 0))}))
	if today.LastReviewedOn == nil || today.Valid.Number != 2 {
		t.Errorf("reviewed %+v", today)
	}
	refused[*processing.Activity](o, at(errs.Invalid, "nextReviewOn"))(o.Review(o.one(), processing.ReviewInput{ID: a.ID, ExpectedVersion: 7, NextReviewOn: *today.LastReviewedOn}))
	a = must[*processing.Activity](o)(o.Retire(o.one(), processing.RetireInput{ID: a.ID, ExpectedVersion: 7}))
	if a.State != processing.Retired || a.Valid != nil {
		t.Errorf("retired %+v", a)
	}
	if r := must[*processing.Revision](o)(o.AsOf(o.one(), a.ID, a.RetiredAt.Add(-time.Millisecond))); r.Content.Name != words("three") {
		t.Error("its past is gone")
	}
	refused[*processing.Activity](o, processing.ErrRetired)(o.Revise(o.one(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 8, Content: f.controller("x")}))
	want := []string{"activity.create", "activity.revise", "activity.activate", "activity.revise", "activity.activate", "activity.revise", "activity.review", "activity.retire"}
	if got := o.Entries(o.one(), a.ID); !slices.Equal(got, want) {
		t.Errorf("audit log has %v", got)
	}
}

func TestParties(t *testing.T) {
	o := open(t)
	in := processing.PartyFields{
		LegalName: "Ørsted & Søn", Country: "DK", Roles: []processing.PartyRole{processing.RoleRecipient},
		Contact: &processing.Contact{Name: personal.NewText("Planted Person"), Email: personal.NewText("planted@example.test"), Address: personal.NewText("Vej 1\n1000 By")},
	}
	p := must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: in}))
	if p.Contact.Name.Reveal() != "Planted Person" || p.Contact.Address.Reveal() != "Vej 1\n1000 By" {
		t.Error("the contact isn't as it was given")
	}
	raw, err := o.Stored("parties").FindOne(t.Context(), map[string]string{"_id": p.ID}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc([]string{"Planted", "planted@", "Vej 1"}, func(s string) bool { return contains(raw, s) }) {
		t.Error("a contact is stored as it is")
	}
	for name, edit := range map[string]func(p *processing.PartyFields){
		"party.legalName":     func(p *processing.PartyFields) { p.LegalName = "" },
		"party.country":       func(p *processing.PartyFields) { p.Country = "Danmark" },
		"party.roles":         func(p *processing.PartyFields) { p.Roles = nil },
		"party.registration":  func(p *processing.PartyFields) { p.Registration = &tenancy.Registration{Scheme: "CVR"} },
		"party.contact.email": func(p *processing.PartyFields) { p.Contact = &processing.Contact{Email: personal.NewText("a\nb")} },
	} {
		bad := in
		edit(&bad)
		refused[*processing.Party](o, at(errs.Invalid, name))(o.CreateParty(o.one(), processing.CreatePartyInput{Party: bad}))
	}
	own := processing.PartyFields{LegalName: "Os selv", Country: "DK", Own: true}
	must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: own}))
	refused[*processing.Party](o, at(errs.Conflict, "party.own"))(o.CreateParty(o.one(), processing.CreatePartyInput{Party: own}))
	in.Own = true
	refused[*processing.Party](o, at(errs.Conflict, "party.own"))(o.UpdateParty(o.one(), processing.UpdatePartyInput{ID: p.ID, ExpectedVersion: 1, Party: in}))
	in.Own, in.LegalName = false, "Ørsted & Datter"
	p = must[*processing.Party](o)(o.UpdateParty(o.one(), processing.UpdatePartyInput{ID: p.ID, ExpectedVersion: 1, Party: in}))
	refused[*processing.Party](o, change.ErrVersion)(o.RetireParty(o.one(), processing.RetireInput{ID: p.ID, ExpectedVersion: 1}))
	p = must[*processing.Party](o)(o.RetireParty(o.one(), processing.RetireInput{ID: p.ID, ExpectedVersion: 2}))
	refused[*processing.Party](o, processing.ErrRetired)(o.UpdateParty(o.one(), processing.UpdatePartyInput{ID: p.ID, ExpectedVersion: 3, Party: in}))

	y := must[*processing.System](o)(o.CreateSystem(o.one(), processing.CreateSystemInput{System: processing.SystemFields{Name: words("Arkiv"), Kind: processing.Paper, Location: "DK", Owner: &p.ID}}))
	refused[*processing.System](o, change.ErrVersion)(o.RetireSystem(o.one(), processing.RetireInput{ID: y.ID, ExpectedVersion: 2}))
	unknown := id.New(id.Party, testenv.One)
	refused[*processing.System](o, at(errs.NotFound, "system.owner"))(o.UpdateSystem(o.one(), processing.UpdateSystemInput{ID: y.ID, ExpectedVersion: 1, System: processing.SystemFields{Name: words("x"), Kind: processing.Paper, Location: "DK", Owner: &unknown}}))
	for range 3 {
		must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: in}))
	}
	first := must[*processing.PartyConnection](o)(o.Parties(o.one(), page.Request{First: 3}))
	rest := must[*processing.PartyConnection](o)(o.Parties(o.one(), page.Request{First: 3, After: first.PageInfo.EndCursor}))
	if len(first.Edges) != 3 || len(rest.Edges) != 2 || rest.Edges[1].Node.ID != p.ID {
		t.Errorf("pages of %d and %d parties", len(first.Edges), len(rest.Edges))
	}
}

func contains(b []byte, s string) bool {
	return slices.ContainsFunc(slices.Collect(windows(b, len(s))), func(w string) bool { return w == s })
}

func windows(b []byte, n int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 0; i+n <= len(b); i++ {
			if !yield(string(b[i : i+n])) {
				return
			}
		}
	}
}

func TestAnotherTenantSeesNothing(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	a := f.activated(o.one(), processing.Controller, f.controller("one"))
	p := must[*processing.Party](o)(o.CreateParty(o.one(), processing.CreatePartyInput{Party: processing.PartyFields{LegalName: "x", Country: "DK", Roles: []processing.PartyRole{processing.RoleRecipient}}}))
	y := must[*processing.System](o)(o.CreateSystem(o.one(), processing.CreateSystemInput{System: processing.SystemFields{Name: words("x"), Kind: processing.Paper, Location: "DK"}}))
	r := must[*processing.Register](o)(o.Prepare(o.one(), processing.PrepareInput{}))
	two := func() context.Context { return o.as(testenv.Two, "mem_2", authz.Clearances()...) }
	tag := "da"
	refused[*processing.Party](o, processing.ErrNoParty)(o.Party(two(), p.ID))
	refused[*processing.Party](o, processing.ErrNoParty)(o.UpdateParty(two(), processing.UpdatePartyInput{ID: p.ID, ExpectedVersion: 1, Party: p.PartyFields}))
	refused[*processing.Party](o, processing.ErrNoParty)(o.RetireParty(two(), processing.RetireInput{ID: p.ID, ExpectedVersion: 1}))
	refused[*processing.System](o, processing.ErrNoSystem)(o.System(two(), y.ID))
	refused[*processing.System](o, processing.ErrNoSystem)(o.RetireSystem(two(), processing.RetireInput{ID: y.ID, ExpectedVersion: 1}))
	refused[*processing.Activity](o, processing.ErrNotFound)(o.Get(two(), a.ID))
	refused[*processing.Activity](o, processing.ErrNotFound)(o.Revise(two(), processing.ReviseInput{ID: a.ID, ExpectedVersion: 2, Content: f.controller("x")}))
	refused[*processing.Activity](o, processing.ErrNotFound)(o.Activate(two(), processing.ActivateInput{ID: a.ID, ExpectedVersion: 2}))
	refused[*processing.Activity](o, processing.ErrNotFound)(o.Review(two(), processing.ReviewInput{ID: a.ID, ExpectedVersion: 2, NextReviewOn: civil.Date{Year: 2099, Month: 1, Day: 1}}))
	refused[*processing.Activity](o, processing.ErrNotFound)(o.Retire(two(), processing.RetireInput{ID: a.ID, ExpectedVersion: 2}))
	refused[*processing.Revision](o, processing.ErrNotFound)(o.AsOf(two(), a.ID, o.Now()))
	refused[*processing.RevisionConnection](o, processing.ErrNotFound)(o.Revisions(two(), a.ID, page.Request{First: 1}))
	refused[[]*processing.Drift](o, processing.ErrNotFound)(o.Drift(two(), &a.ID))
	refused[*processing.Register](o, processing.ErrNoRegister)(o.Register(two(), r.ID))
	refused[*processing.Register](o, processing.ErrNoRegister)(o.Publish(two(), processing.PublishInput{ID: r.ID}))
	refused[*processing.Register](o, processing.ErrNoRegister)(o.RegisterAsOf(two(), o.Now()))
	refused[*processing.File](o, processing.ErrNoRegister)(o.Open(two(), r.ID, processing.Form{Format: processing.PDF, Language: &tag}))
	refused[*processing.Register](o, processing.ErrNothing)(o.Prepare(two(), processing.PrepareInput{}))
	m := must[*processing.Map](o)(o.DataMap(two(), processing.MapFilter{Around: &a.ID, Fields: true}))
	n := len(must[*processing.Connection](o)(o.List(two(), processing.Filter{}, page.Request{First: 1})).Edges) +
		len(must[*processing.PartyConnection](o)(o.Parties(two(), page.Request{First: 1})).Edges) +
		len(must[*processing.SystemConnection](o)(o.Systems(two(), page.Request{First: 1})).Edges) +
		len(must[*processing.RegisterConnection](o)(o.Registers(two(), page.Request{First: 1})).Edges) +
		len(must[[]*processing.Drift](o)(o.Drift(two(), nil))) + len(m.Nodes)
	if n != 0 {
		t.Errorf("another tenant sees %d things", n)
	}
	if again := must[*processing.Activity](o)(o.Get(o.one(), a.ID)); again.Version != a.Version {
		t.Error("another tenant changed it")
	}
}

// TestAsOfEqualsAReplay does things at random, from seeds, and compares what was
// valid at each time with what a naive model remembers.
func TestAsOfEqualsAReplay(t *testing.T) {
	o := open(t)
	f := o.firm(o.one())
	type event struct {
		from time.Time
		name string // "" from when on none is valid
	}
	state := uint64(20240607) // a linear congruential generator: the same each time
	roll := func(n int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % n
	}
	for round := range 3 {
		a := must[*processing.Activity](o)(o.Create(o.one(), processing.CreateInput{Hat: processing.Processor, Content: f.processor("0")}))
		var log []event
		written := "0"
		for step := range 14 {
			ctx := o.one()
			switch roll(3) {
			case 0:
				written = strconv.Itoa(round*100 + step)
				a = must[*processing.Activity](o)(o.Revise(ctx, processing.ReviseInput{ID: a.ID, ExpectedVersion: a.Version, Content: f.processor(written)}))
			case 1:
				from := o.Now().Add(time.Duration(roll(5)) * time.Hour).UTC().Truncate(time.Millisecond)
				next, err := o.Activate(ctx, processing.ActivateInput{ID: a.ID, ExpectedVersion: a.Version, ValidFrom: &from})
				if a.Draft == nil || len(log) > 0 && !from.After(log[len(log)-1].from) {
					if err == nil {
						t.Fatal("activated what can't be")
					}
					continue
				}
				a = must[*processing.Activity](o)(next, err)
				log = append(log, event{from, written})
			default:
				o.Sleep(time.Duration(roll(180)) * time.Minute)
			}
		}
		if round == 2 {
			a = must[*processing.Activity](o)(o.Retire(o.one(), processing.RetireInput{ID: a.ID, ExpectedVersion: a.Version}))
		}
		if len(log) == 0 {
			t.Fatal("the walk did nothing")
		}
		for _, e := range log {
			for _, when := range []time.Time{e.from.Add(-time.Millisecond), e.from, e.from.Add(90 * time.Minute)} {
				want := ""
				for _, past := range log {
					if !past.from.After(when) {
						want = past.name
					}
				}
				if a.RetiredAt != nil && !when.Before(*a.RetiredAt) {
					want = ""
				}
				got := ""
				if r, err := o.AsOf(o.one(), a.ID, when); err == nil {
					got = r.Content.Name.En
				} else if !errors.Is(err, processing.ErrNoRevision) {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("at %s %q was valid, want %q", when, got, want)
				}
			}
		}
	}
}
