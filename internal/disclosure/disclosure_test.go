package disclosure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/disclosure"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// archive is a World with a log of disclosures.
type archive struct {
	*world.World

	log               *disclosure.Service
	named             *mongo.ProcessingStore
	staff, two        context.Context // portals of both tenants
	person            *subject.Subject
	kyc, report       *dataset.Dataset // the second is secret by law
	bank, police, own string
}

func start(t *testing.T) *archive {
	t.Helper()
	a := &archive{World: world.Start(t)}
	a.named = mongo.NewProcessingStore(a.DB, a.Vault)
	a.log = disclosure.NewService(disclosure.Config{
		Store: mongo.NewDisclosureStore(a.DB, a.Vault, testenv.Logger(t)), Subjects: mongo.NewSubjectStore(a.DB, a.Vault, testenv.Logger(t)),
		Datasets: a.Datasets, Parties: a.named, Vault: a.Vault, Authorizer: testenv.Authorizer(t), Changes: a.Changes, Recorder: a.Recorder,
		Now: a.Now,
	})
	a.staff, a.two = a.As(testenv.One), a.As(testenv.Two)
	a.person = a.Subject(a.staff, "kunde-1")
	a.kyc = a.Dataset(a.staff, "KYC", world.Field("title", dataset.TypeString))
	var err error
	a.report, err = a.Datasets.Create(a.staff, dataset.CreateInput{
		Name: "Underretninger", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("text", dataset.TypeString)},
	})
	a.ok(err)
	a.bank, a.police, a.own = a.party("Banken A/S", false), a.party("Sekretariatet", false), a.party("Første ApS", true)
	return a
}

func (a *archive) ok(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *archive) party(name string, own bool) string {
	a.Helper()
	p := &processing.Party{
		ID: id.New(id.Party, testenv.One), State: processing.Current, Version: 1,
		PartyFields: processing.PartyFields{LegalName: name, Country: "DK", Own: own, Roles: []processing.PartyRole{processing.RoleRecipient}},
	}
	a.ok(a.Changes.DoPlain(a.staff, "party.create", p.ID, func(ctx context.Context) error { return a.named.InsertParty(ctx, p) }))
	return p.ID
}

// as is a request of a member of the first tenant.
func (a *archive) as(role authz.Role, clearances ...authz.Clearance) context.Context {
	return authz.NewContext(tenant.NewContext(a.Context(), testenv.One), authz.Principal{
		Kind: authz.KindMember, ID: id.New(id.Member, testenv.One), Tenant: testenv.One, Role: role, Clearances: clearances,
		AAL: authz.AAL2, AuthenticatedAt: a.Now(),
	})
}

// self is a request of a person.
func (a *archive) self(s *subject.Subject) context.Context {
	return authz.NewContext(tenant.NewContext(a.Context(), testenv.One), authz.Principal{
		Kind: authz.KindSubject, ID: id.New(id.Session, testenv.One), Tenant: testenv.One, Subject: s.ID,
	})
}

const reference = "brev til Banken om Karen Ibsen"

func (a *archive) input(edit ...func(*disclosure.Input)) disclosure.Input {
	in := disclosure.Input{
		Subject: a.person.ID, Recipient: a.bank, Datasets: []string{a.kyc.ID}, Categories: []string{"pd:Name"}, LegalBasis: "eu-gdpr:A6-1-c",
		Purpose: "kyc", Secrecy: dataset.NoSecrecy, At: a.Now().Add(-time.Hour), Reference: new(personal.NewText(reference)),
	}
	for _, e := range edit {
		e(&in)
	}
	return in
}

// secretly is a disclosure of what is secret by law.
func (a *archive) secretly(in *disclosure.Input) {
	in.Recipient, in.Datasets, in.Categories = a.police, []string{a.report.ID}, nil
}

// raw is the log as it is stored.
func (a *archive) raw() (stored []byte) {
	a.Helper()
	cursor, err := a.Stored("disclosures").Find(a.Context(), bson.D{})
	a.ok(err)
	for cursor.Next(a.Context()) {
		stored = append(stored, cursor.Current...)
	}
	return stored
}

func (a *archive) record(in ...disclosure.Input) []*disclosure.Disclosure {
	a.Helper()
	ds, err := a.log.Record(a.staff, disclosure.RecordInput{Disclosures: in})
	a.ok(err)
	return ds
}

func (a *archive) list(ctx context.Context, first int) ([]string, error) {
	var ids []string
	var after *string
	for {
		c, err := a.log.List(ctx, a.person.ID, page.Request{First: first, After: after})
		if err != nil {
			return nil, err
		}
		for _, d := range c.Nodes() {
			ids = append(ids, d.ID)
		}
		if !c.PageInfo.HasNextPage {
			return ids, nil
		}
		after = c.PageInfo.EndCursor
	}
}

func TestRecord(t *testing.T) {
	a := start(t)
	other := a.Subject(a.staff, "kunde-2")
	keyed := change.WithIdempotency(a.staff, change.Idempotency{Key: "key-1", Input: []byte("one")})
	in := disclosure.RecordInput{Disclosures: []disclosure.Input{a.input(), a.input(func(in *disclosure.Input) {
		in.Subject, in.Reference, in.Datasets = other.ID, nil, nil
	})}}
	ds, err := a.log.Record(keyed, in)
	a.ok(err)
	again, err := a.log.Record(keyed, in)
	a.ok(err)
	if len(ds) != 2 || len(again) != 2 || ds[0].ID != again[0].ID || ds[1].ID != again[1].ID || again[0].Reference.Reveal() != reference {
		t.Errorf("recorded %d, then %d", len(ds), len(again))
	}
	if got := a.Count(t.Context(), "disclosures", bson.D{}); got != 2 {
		t.Errorf("%d are stored", got)
	}
	read, err := a.log.Get(a.staff, ds[0].ID)
	a.ok(err)
	if read.Reference.Reveal() != reference || read.Recipient != a.bank || !slices.Equal(read.Categories, []string{"pd:Name"}) ||
		!slices.Equal(read.Datasets, []string{a.kyc.ID}) || !read.At.Equal(ds[0].At) || read.Secrecy != dataset.NoSecrecy {
		t.Errorf("read %+v", read)
	}
	if got := a.Entries(t.Context(), ds[1].ID); !slices.Equal(got, []string{"disclosure.record"}) {
		t.Errorf("audited %q", got)
	}
	if bytes.Contains(a.raw(), []byte("Karen")) {
		t.Error("the reference is stored in clear")
	}
	for range 3 {
		a.record(a.input())
	}
	all, err := a.list(a.staff, 10)
	a.ok(err)
	paged, err := a.list(a.staff, 2)
	if err != nil || len(all) != 4 || !slices.Equal(all, paged) {
		t.Errorf("listed %d, in pages %d, %v", len(all), len(paged), err)
	}
}

func TestRefusals(t *testing.T) {
	a := start(t)
	twice := func(in *disclosure.Input) { in.Categories = []string{"pd:Name", "pd:Name"} }
	for _, tt := range []struct {
		name, field string
		kind        errs.Kind
		edit        func(*disclosure.Input)
	}{
		{"unknown person", "", errs.NotFound, func(in *disclosure.Input) { in.Subject = id.New(id.Subject, testenv.One) }},
		{"foreign person", "disclosures.0.subject", errs.NotFound, func(in *disclosure.Input) { in.Subject = a.Subject(a.two, "fremmed").ID }},
		{"unknown party", "disclosures.0.recipient", errs.NotFound, func(in *disclosure.Input) { in.Recipient = id.New(id.Party, testenv.One) }},
		{"foreign party", "disclosures.0.recipient", errs.NotFound, func(in *disclosure.Input) { in.Recipient = id.New(id.Party, testenv.Two) }},
		{"the tenant itself", "disclosures.0.recipient", errs.Invalid, func(in *disclosure.Input) { in.Recipient = a.own }},
		{"nothing", "disclosures.0.datasets", errs.Invalid, func(in *disclosure.Input) { in.Datasets, in.Categories = nil, nil }},
		{"unknown dataset", "disclosures.0.datasets.0", errs.NotFound, func(in *disclosure.Input) { in.Datasets = []string{id.New(id.Dataset, testenv.One)} }},
		{"dataset twice", "disclosures.0.datasets.1", errs.Invalid, func(in *disclosure.Input) { in.Datasets = []string{a.kyc.ID, a.kyc.ID} }},
		{"category", "disclosures.0.categories.0", errs.Invalid, func(in *disclosure.Input) { in.Categories = []string{"pd:Shoes"} }},
		{"category twice", "disclosures.0.categories.1", errs.Invalid, twice},
		{"legal basis", "disclosures.0.legalBasis", errs.Invalid, func(in *disclosure.Input) { in.LegalBasis = "pd:Name" }},
		{"purpose", "disclosures.0.purpose", errs.Invalid, func(in *disclosure.Input) { in.Purpose = "at hjælpe" }},
		{"ahead", "disclosures.0.at", errs.Invalid, func(in *disclosure.Input) { in.At = a.Now().Add(time.Hour) }},
		{"secrecy", "disclosures.0.secrecy", errs.Invalid, func(in *disclosure.Input) { in.Secrecy = "TOP" }},
		{"long reference", "disclosures.0.reference", errs.Invalid, func(in *disclosure.Input) { in.Reference = new(personal.NewText(strings.Repeat("å", 501))) }},
		{"secret with ordinary", "disclosures.0.datasets", errs.Invalid, func(in *disclosure.Input) { in.Datasets = []string{a.kyc.ID, a.report.ID} }},
	} {
		_, err := a.log.Record(a.staff, disclosure.RecordInput{Disclosures: []disclosure.Input{a.input(tt.edit)}})
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || e.Kind != tt.kind || e.Field != tt.field {
			t.Errorf("%s: %+v, want %s at %s", tt.name, err, tt.kind, tt.field)
		}
		if strings.Contains(fmt.Sprint(err), "Karen") {
			t.Errorf("%s: the error tells the reference", tt.name)
		}
	}
	for name, in := range map[string]disclosure.RecordInput{
		"none":     {},
		"too many": {Disclosures: make([]disclosure.Input, disclosure.MaxBatch+1)},
		"apart":    {Disclosures: []disclosure.Input{a.input(), a.input(a.secretly)}},
	} {
		if _, err := a.log.Record(a.staff, in); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := a.Count(t.Context(), "disclosures", bson.D{}); got != 0 {
		t.Errorf("%d are stored", got)
	}
}

// TestSecrecy: what is secret by law isn't there, to the person and to whoever
// lacks the clearance, in no list, page or number.
func TestSecrecy(t *testing.T) {
	a := start(t)
	told := a.record(a.input(), a.input(func(in *disclosure.Input) { in.Categories = []string{"pd:Passport"} }))
	look := func() string {
		t.Helper()
		mine, err := a.log.Mine(a.self(a.person), page.Request{First: 1})
		a.ok(err)
		var shown strings.Builder
		fmt.Fprint(&shown, mine.PageInfo.HasNextPage, *mine.PageInfo.EndCursor, len(mine.Edges))
		for _, r := range mine.Nodes() {
			fmt.Fprintf(&shown, " %+v", *r)
		}
		for _, role := range []authz.Role{authz.RoleCaseHandler, authz.RoleOwner, authz.RoleDPO} {
			ids, err := a.list(a.as(role, authz.ClearConfidential, authz.ClearArt9), 1)
			a.ok(err)
			fmt.Fprint(&shown, ids)
		}
		return shown.String()
	}
	before := look()
	hidden := a.record(a.input(a.secretly), a.input(a.secretly, func(in *disclosure.Input) { in.Recipient = a.bank }))
	stated := a.record(a.input(func(in *disclosure.Input) { in.Recipient, in.Secrecy = a.police, dataset.AML }))
	if after := look(); after != before {
		t.Errorf("it shows that something is secret:\n%s\n%s", before, after)
	}
	for _, d := range append(hidden, stated...) {
		if d.Secrecy != dataset.AML {
			t.Errorf("%+v isn't secret", d)
		}
		if _, err := a.log.Get(a.as(authz.RoleOwner), d.ID); !errors.Is(err, disclosure.ErrNotFound) {
			t.Errorf("read without the clearance: %v", err)
		}
		if _, err := a.log.Get(a.as(authz.RoleOwner, authz.ClearAML), d.ID); err != nil {
			t.Errorf("read with the clearance: %v", err)
		}
	}
	if ids, err := a.list(a.as(authz.RoleOwner, authz.ClearAML), 2); err != nil || len(ids) != len(told)+3 {
		t.Errorf("with the clearance: %d, %v", len(ids), err)
	}
	if _, err := a.log.Record(a.as(authz.RoleCaseHandler), disclosure.RecordInput{Disclosures: []disclosure.Input{a.input(a.secretly)}}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("named a secret dataset without the clearance: %v", err)
	}
	_, err := a.log.Record(a.as(authz.RoleCaseHandler), disclosure.RecordInput{Disclosures: []disclosure.Input{
		a.input(func(in *disclosure.Input) { in.Secrecy = dataset.AML }),
	}})
	if errs.KindOf(err) != errs.Forbidden {
		t.Errorf("recorded something secret without the clearance: %v", err)
	}
	var feed []struct {
		Change string `bson:"change"`
	}
	cursor, err := a.Stored("audit").Find(t.Context(), bson.D{{Key: "object", Value: hidden[0].ID}, {Key: "action", Value: "disclosure.record"}})
	a.ok(err)
	if a.ok(cursor.All(t.Context(), &feed)); len(feed) != 1 || feed[0].Change != "AML" {
		t.Errorf("the change feed tells %+v", feed)
	}
}

func TestMyRecipients(t *testing.T) {
	a := start(t)
	other := a.Subject(a.staff, "kunde-2")
	for range 3 {
		a.record(a.input())
	}
	a.record(a.input(func(in *disclosure.Input) {
		in.At, in.Categories, in.Datasets, in.Purpose = a.Now().Add(-time.Minute), []string{"pd:Income"}, nil, "kredit"
	}))
	a.record(a.input(func(in *disclosure.Input) { in.Recipient = a.police }))
	a.record(a.input(func(in *disclosure.Input) { in.Subject, in.Recipient = other.ID, a.party("Andres ApS", false) }))

	var names []string
	var after *string
	for {
		c, err := a.log.Mine(a.self(a.person), page.Request{First: 1, After: after})
		a.ok(err)
		for _, r := range c.Nodes() {
			names = append(names, r.Name)
			if r.ID == a.bank && (!slices.Equal(r.Categories, []string{"pd:Income", "pd:Name"}) || !slices.Equal(r.Datasets, []string{"KYC"}) ||
				!slices.Equal(r.Purposes, []string{"kredit", "kyc"}) || r.DisclosedAt.Before(a.Now().Add(-2*time.Minute)) || r.Country != "DK") {
				t.Errorf("the bank is %+v", r)
			}
		}
		if !c.PageInfo.HasNextPage {
			break
		}
		after = c.PageInfo.EndCursor
	}
	if slices.Sort(names); !slices.Equal(names, []string{"Banken A/S", "Sekretariatet"}) {
		t.Errorf("recipients %q", names)
	}
	if _, err := a.log.Mine(a.staff, page.Request{First: 1}); !errors.Is(err, disclosure.ErrNoSubject) {
		t.Errorf("staff ask for their own: %v", err)
	}
	if _, err := a.log.Mine(a.self(other), page.Request{First: 1, After: after}); !errors.Is(err, page.ErrCursor) {
		t.Errorf("another person's cursor: %v", err)
	}
}

// TestErasure: the log is proof, and goes with the proof.
func TestErasure(t *testing.T) {
	a := start(t)
	d := a.record(a.input())[0]
	a.SetState(a.staff, a.person, subject.Restricted)
	a.record(a.input())
	read, err := a.log.Get(a.as(authz.RoleCaseHandler), d.ID)
	if err != nil || !read.Reference.IsZero() || read.ReferenceState != personal.Withheld {
		t.Errorf("while processing is restricted: %+v, %v", read, err)
	}
	a.SetState(a.staff, a.person, subject.Erased)
	if _, err := a.log.Record(a.staff, disclosure.RecordInput{Disclosures: []disclosure.Input{a.input()}}); !errors.Is(err, subject.ErrErased) {
		t.Errorf("recorded of who is gone: %v", err)
	}
	for name, err := range map[string]error{
		"list": errOf(a.list(a.as(authz.RoleCaseHandler), 10)),
		"get":  errOf(a.log.Get(a.as(authz.RoleCaseHandler), d.ID)),
		"mine": errOf(a.log.Mine(a.self(a.person), page.Request{First: 1})),
	} {
		if !errors.Is(err, subject.ErrErased) {
			t.Errorf("%s of who is gone: %v", name, err)
		}
	}
	if ids, err := a.list(a.as(authz.RoleDPO), 10); err != nil || len(ids) != 2 {
		t.Errorf("the proof is %d, %v", len(ids), err)
	}
	var eraser erasure.Eraser
	for _, e := range mongo.Erasers(a.DB, a.Bucket, a.Changes) {
		if e.Name() == "disclosures" {
			eraser = e
		}
	}
	if eraser == nil {
		t.Fatal("nothing erases disclosures")
	}
	for _, tt := range []struct {
		name   string
		of     context.Context
		target erasure.Target
		left   int
	}{
		{"the person", a.staff, erasure.Target{Subject: a.person.ID, Whole: true}, 2},
		{"a dataset", a.staff, erasure.Target{Subject: a.person.ID, Units: []vault.Unit{vault.Unit(a.kyc.ID)}}, 2},
		{"the proof, by another tenant", a.two, erasure.Target{Subject: a.person.ID, Units: []vault.Unit{vault.Evidence}}, 2},
		{"the proof", a.staff, erasure.Target{Subject: a.person.ID, Units: []vault.Unit{vault.Evidence}}, 0},
	} {
		a.ok(eraser.Erase(tt.of, tt.target))
		if n, err := eraser.Left(tt.of, tt.target); err != nil || n != 0 {
			t.Errorf("%s: %d are left, %v", tt.name, n, err)
		}
		if got := a.Count(t.Context(), "disclosures", bson.D{}); got != tt.left {
			t.Errorf("after erasing %s there are %d, want %d", tt.name, got, tt.left)
		}
	}
}

func errOf(_ any, err error) error { return err }

func TestStrangers(t *testing.T) {
	a := start(t)
	d := a.record(a.input())[0]
	if _, err := a.log.Get(a.two, d.ID); !errors.Is(err, disclosure.ErrNotFound) {
		t.Errorf("get by another tenant: %v", err)
	}
	if _, err := a.log.List(a.two, a.person.ID, page.Request{First: 10}); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("list by another tenant: %v", err)
	}
	if _, err := a.log.Record(a.two, disclosure.RecordInput{Disclosures: []disclosure.Input{a.input()}}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("record by another tenant: %v", err)
	}
}

// What is wrong is corrected by an entry of its own; both stay, and one counts.
func TestCorrect(t *testing.T) {
	a := start(t)
	bank := a.record(a.input())[0]
	right := a.input(func(in *disclosure.Input) { in.Categories = []string{"pd:EmailAddress"} })
	in := disclosure.CorrectInput{ID: bank.ID, Reason: personal.NewText("the wrong categories"), Instead: &right}
	other := a.Subject(a.staff, "kunde-2")
	for name, tt := range map[string]struct {
		ctx  context.Context
		edit func(*disclosure.CorrectInput)
		want errs.Kind
	}{
		"another tenant": {a.two, func(*disclosure.CorrectInput) {}, errs.NotFound},
		"no reason":      {a.staff, func(in *disclosure.CorrectInput) { in.Reason = personal.NewText(" ") }, errs.Invalid},
		"another person": {a.staff, func(in *disclosure.CorrectInput) {
			in.Instead = new(a.input(func(i *disclosure.Input) { i.Subject = other.ID }))
		}, errs.Invalid},
		"made secret": {a.staff, func(in *disclosure.CorrectInput) { in.Instead = new(a.input(a.secretly)) }, errs.Invalid},
		"unknown":     {a.staff, func(in *disclosure.CorrectInput) { in.ID = id.New(id.Disclosure, testenv.One) }, errs.NotFound},
	} {
		bad := in
		tt.edit(&bad)
		if _, err := a.log.Correct(tt.ctx, bad); errs.KindOf(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	fixed, err := a.log.Correct(a.staff, in)
	a.ok(err)
	if fixed.Corrects == nil || *fixed.Corrects != bank.ID || fixed.Void || fixed.Reason.Reveal() != "the wrong categories" {
		t.Errorf("corrected by %+v", fixed)
	}
	if _, err := a.log.Correct(a.staff, in); !errors.Is(err, disclosure.ErrCorrected) {
		t.Errorf("corrected twice: %v", err)
	}
	c, err := a.log.List(a.staff, a.person.ID, page.Request{First: 10})
	a.ok(err)
	if all := c.Nodes(); len(all) != 2 || all[1].ID != bank.ID || *all[1].CorrectedBy != fixed.ID || !slices.Equal(all[1].Categories, bank.Categories) ||
		all[1].Reference.Reveal() != reference {
		t.Errorf("the log has %d entries, first %+v", len(all), all[len(all)-1])
	}
	told := func() []*disclosure.Recipient {
		t.Helper()
		c, err := a.log.Mine(a.self(a.person), page.Request{First: 10})
		a.ok(err)
		return c.Nodes()
	}
	if mine := told(); len(mine) != 1 || !slices.Equal(mine[0].Categories, []string{"pd:EmailAddress"}) {
		t.Errorf("the person is told of %+v", mine)
	}
	if raw := a.raw(); bytes.Contains(raw, []byte("the wrong categories")) {
		t.Error("the reason is stored in clear")
	}
	// There was none at all: then nobody is told of it.
	void, err := a.log.Correct(a.staff, disclosure.CorrectInput{ID: fixed.ID, Reason: personal.NewText("never sent")})
	a.ok(err)
	if mine := told(); !void.Void || len(mine) != 0 {
		t.Errorf("the person is told of %+v", mine)
	}
	if _, err := a.log.Correct(a.staff, disclosure.CorrectInput{ID: void.ID, Reason: personal.NewText("it was"), Instead: &right}); !errors.Is(err, disclosure.ErrVoid) {
		t.Errorf("a void entry: %v", err)
	}
	// What is secret is corrected secretly.
	hidden := a.record(a.input(a.secretly))[0]
	back := disclosure.CorrectInput{ID: hidden.ID, Reason: personal.NewText("not sent")}
	if _, err := a.log.Correct(a.as(authz.RoleOwner), back); errs.KindOf(err) != errs.NotFound {
		t.Errorf("without clearance: %v", err)
	}
	if v, err := a.log.Correct(a.staff, back); err != nil || v.Secrecy != dataset.AML {
		t.Errorf("corrected %+v, %v", v, err)
	}
}
