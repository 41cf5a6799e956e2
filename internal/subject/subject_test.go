package subject_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

type denmark struct{}

func (denmark) Country(context.Context) (string, error) { return "DK", nil }

type world struct {
	uri      string
	subjects *subject.Service
	one, two context.Context
}

func start(t *testing.T) *world {
	t.Helper()
	uri := testenv.MongoURI(t)
	db, v := testenv.Data(t, uri), testenv.Vault(t)
	changes, recorder := testenv.Changes(t, db, v, vault.Hasher{Vault: v}, nil)
	as := func(of tenant.ID) context.Context {
		ctx := authz.NewContext(t.Context(), authz.Principal{Kind: authz.KindMachine, ID: id.New(id.APIKey, of), Tenant: of, Clearances: authz.Clearances()})
		return tenant.NewContext(ctx, of)
	}
	return &world{
		uri: uri, one: as(testenv.One), two: as(testenv.Two),
		subjects: subject.NewService(
			mongo.NewSubjectStore(db, v, testenv.Logger(t)), changes, recorder, v, testenv.Authorizer(t), denmark{}, testenv.Now),
	}
}

// set changes a subject behind the platform's back.
func (w *world) set(t *testing.T, subjectID string, state subject.State) {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(w.uri))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	res, err := client.Database("vogter").Collection("subjects").UpdateOne(t.Context(),
		bson.D{{Key: "_id", Value: subjectID}}, bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: state}}}})
	if err != nil || res.MatchedCount != 1 {
		t.Fatal(err, res)
	}
}

func text(s string) *personal.Text {
	t := personal.NewText(s)
	return &t
}

func person(reference string) subject.CreateInput {
	return subject.CreateInput{
		Reference: text(reference), Name: &subject.NameInput{Given: text("Åse"), Family: text("Ødegård")},
		BirthDate: text("1990-02-28"), Emails: []personal.Text{personal.NewText("Aase@Example.dk")},
		Phones: []personal.Text{personal.NewText("33 12 34 56"), personal.NewText("+45 33 12 34 56")},
	}
}

func (w *world) create(t *testing.T, ctx context.Context, in subject.CreateInput) *subject.Subject { //nolint:revive // the test comes first
	t.Helper()
	s, err := w.subjects.Create(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFindByEveryIdentifier(t *testing.T) {
	w := start(t)
	in := person("C-1")
	in.NationalIDs = []subject.NationalID{{Country: "DK", Number: personal.NewText("010136-4003")}}
	made := w.create(t, w.one, in)
	w.create(t, w.one, subject.CreateInput{Reference: text("C-2")})
	if len(made.Phones) != 1 || made.Phones[0].Reveal() != "+4533123456" {
		t.Errorf("%d phones", len(made.Phones))
	}
	for name, by := range map[string]subject.By{
		"reference":           {Reference: text("C-1")},
		"e-mail":              {Email: text("aase@EXAMPLE.dk")},
		"phone":               {Phone: text("33123456")},
		"phone with country":  {Phone: text("+45 33 12 34 56")},
		"national id":         {NationalID: &subject.NationalID{Country: "DK", Number: personal.NewText("0101364003")}},
		"name and birth date": {NameAndBirthDate: &subject.NameAndBirthDate{Name: personal.NewText("ÅSE  ØDEGÅRD"), BirthDate: personal.NewText("1990-02-28")}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := w.subjects.Find(w.one, by, page.Request{First: 5})
			if err != nil || len(found.Edges) != 1 || found.Nodes()[0].ID != made.ID || !found.Nodes()[0].Name.Full.Equal(*text("Åse Ødegård")) {
				t.Errorf("found %d, %v", len(found.Nodes()), err)
			}
			if n, err := found.TotalCount(w.one); n != 1 || err != nil {
				t.Errorf("counted %d, %v", n, err)
			}
			found, err = w.subjects.Find(w.two, by, page.Request{First: 5})
			if err != nil || len(found.Edges) != 0 {
				t.Errorf("the second tenant finds %d, %v", len(found.Edges), err)
			}
		})
	}
}

func TestFindRefusals(t *testing.T) {
	w := start(t)
	for name, by := range map[string]subject.By{
		"nothing":     {},
		"two":         {Reference: text("a"), Email: text("a@b.dk")},
		"no phone":    {Phone: text("planted")},
		"no e-mail":   {Email: text("planted")},
		"no CPR":      {NationalID: &subject.NationalID{Country: "DK", Number: personal.NewText("310236-4001")}},
		"no such day": {NameAndBirthDate: &subject.NameAndBirthDate{Name: personal.NewText("planted"), BirthDate: personal.NewText("2026-02-30")}},
	} {
		_, err := w.subjects.Find(w.one, by, page.Request{First: 5})
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || e.Kind != errs.Invalid || !strings.HasPrefix(e.Field, "by") || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

func TestUniqueIdentifiers(t *testing.T) {
	w := start(t)
	in := person("C-1")
	in.NationalIDs = []subject.NationalID{{Country: "DK", Number: personal.NewText("010136-4003")}}
	first := w.create(t, w.one, in)
	for field, again := range map[string]subject.CreateInput{
		"reference":  {Reference: text(" C-1 ")},
		"nationalId": {NationalIDs: []subject.NationalID{{Country: "DK", Number: personal.NewText("0101364003")}}},
	} {
		_, err := w.subjects.Create(w.one, again)
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || !errors.Is(err, subject.ErrDuplicate) || e.Field != field {
			t.Errorf("a second %s gives %v", field, err)
		}
	}
	// The family's phone and the firm's address are shared; another tenant's are others.
	w.create(t, w.one, person("C-2"))
	w.create(t, w.two, in)
	// What is given up is free.
	if _, err := w.subjects.Update(w.one, subject.UpdateInput{
		ID: first.ID, ExpectedVersion: 1, Clear: []subject.Field{subject.FieldReference}, NationalIDs: []subject.NationalID{},
	}); err != nil {
		t.Fatal(err)
	}
	w.create(t, w.one, subject.CreateInput{Reference: text("C-1"), NationalIDs: in.NationalIDs})
}

func TestOneWinnerPerReference(t *testing.T) {
	w := start(t)
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		winners int
	)
	for range 16 {
		wg.Go(func() {
			_, err := w.subjects.Create(w.one, subject.CreateInput{Reference: text("C-1")})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				winners++
			case !errors.Is(err, subject.ErrDuplicate):
				t.Errorf("a loser gets %v", err)
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
}

func TestUpdate(t *testing.T) {
	w := start(t)
	s := w.create(t, w.one, person("C-1"))
	updated, err := w.subjects.Update(w.one, subject.UpdateInput{
		ID: s.ID, ExpectedVersion: 1, Emails: []personal.Text{personal.NewText("new@example.dk")},
	})
	if err != nil || updated.Version != 2 || !updated.Reference.Equal(*text("C-1")) || updated.Name == nil {
		t.Fatalf("got %v, %v", updated, err)
	}
	for email, want := range map[string]int{"new@example.dk": 1, "aase@example.dk": 0} {
		found, err := w.subjects.Find(w.one, subject.By{Email: text(email)}, page.Request{First: 5})
		if err != nil || len(found.Edges) != want {
			t.Errorf("%d found, %v", len(found.Edges), err)
		}
	}
	if _, err := w.subjects.Update(w.one, subject.UpdateInput{ID: s.ID, ExpectedVersion: 1}); !errors.Is(err, change.ErrVersion) {
		t.Errorf("an old version gives %v", err)
	}
	if _, err := w.subjects.Update(w.two, subject.UpdateInput{ID: s.ID, ExpectedVersion: 2}); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("the second tenant gets %v", err)
	}
	got, err := w.subjects.Get(w.one, s.ID)
	if err != nil || got.Version != 2 || got.Emails[0].Reveal() != "new@example.dk" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestUpsert(t *testing.T) {
	w := start(t)
	first, created, err := w.subjects.Upsert(w.one, subject.UpsertInput{Reference: personal.NewText("C-1"), BirthDate: text("1990-02-28")})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	second, created, err := w.subjects.Upsert(w.one, subject.UpsertInput{Reference: personal.NewText("C-1"), Name: &subject.NameInput{Full: text("Bo")}})
	if err != nil || created || second.ID != first.ID || second.BirthDate.IsZero() || second.Name == nil {
		t.Errorf("got %v, %v", created, err)
	}
	other, created, err := w.subjects.Upsert(w.two, subject.UpsertInput{Reference: personal.NewText("C-1")})
	if err != nil || !created || other.ID == first.ID {
		t.Errorf("the second tenant gets %v, %v", created, err)
	}
}

func TestRelations(t *testing.T) {
	w := start(t)
	s := w.create(t, w.one, subject.CreateInput{Reference: text("C-1")})
	day := func(s string) civil.Date { d, _ := civil.Parse(s); return d }
	ctx := change.WithIdempotency(w.one, change.Idempotency{Key: "k"})
	var relation *subject.Relation
	for range 2 { // the replay adds none
		var err error
		_, relation, err = w.subjects.StartRelation(ctx, subject.StartRelationInput{
			Subject: s.ID, Kind: subject.BusinessRelation, StartedOn: day("2024-03-01"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	end := func(on string) error {
		_, _, err := w.subjects.EndRelation(w.one, subject.EndRelationInput{Subject: s.ID, Relation: relation.ID, EndedOn: day(on)})
		return err
	}
	if err := end("2024-02-29"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("an end before the start gives %v", err)
	}
	if err := errors.Join(end("2024-12-31"), end("2024-12-31")); err != nil {
		t.Error(err)
	}
	if err := end("2025-01-01"); errs.KindOf(err) != errs.Precondition {
		t.Errorf("another end gives %v", err)
	}
	got, err := w.subjects.Get(w.one, s.ID)
	if err != nil || len(got.Relations) != 1 || *got.Relations[0].EndedOn != day("2024-12-31") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestGoneAndRestricted(t *testing.T) {
	w := start(t)
	s := w.create(t, w.one, person("C-1"))
	update := func() error {
		_, err := w.subjects.Update(w.one, subject.UpdateInput{ID: s.ID, ExpectedVersion: 1, BirthDate: text("1990-03-01")})
		return err
	}
	w.set(t, s.ID, subject.Restricted)
	if err := update(); !errors.Is(err, subject.ErrRestricted) {
		t.Errorf("an update of a restricted subject gives %v", err)
	}
	for _, state := range []subject.State{subject.Erasing, subject.Erased} {
		w.set(t, s.ID, state)
		if err := update(); !errors.Is(err, subject.ErrErased) {
			t.Errorf("an update of a subject %s gives %v", state, err)
		}
		got, err := w.subjects.Get(w.one, s.ID)
		if err != nil || got.State != state || got.Identity != personal.Erased || !got.Reference.IsZero() || got.Name != nil || got.Phones != nil {
			t.Errorf("a subject %s is read as %v, %v", state, got, err)
		}
	}
}

// A change of a subject whose identifying data can't be opened would lose it.
func TestUnreadableIdentityStays(t *testing.T) {
	w := start(t)
	made, other := w.create(t, w.one, person("C-1")), w.create(t, w.one, person("C-2"))
	client, err := driver.Connect(options.Client().ApplyURI(w.uri))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	stored := client.Database("vogter").Collection("subjects")
	name := func(subjectID string) (doc struct{ Identity struct{ Name bson.Binary } }) {
		if err := stored.FindOne(t.Context(), bson.D{{Key: "_id", Value: subjectID}}).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	put := func(value bson.Binary) {
		if _, err := stored.UpdateByID(t.Context(), made.ID, bson.D{{Key: "$set", Value: bson.D{{Key: "identity.name", Value: value}}}}); err != nil {
			t.Fatal(err)
		}
	}
	whole := name(made.ID).Identity.Name
	put(name(other.ID).Identity.Name)
	started := subject.StartRelationInput{Subject: made.ID, Kind: subject.BusinessRelation, StartedOn: civil.Date{Year: 2024, Month: 3, Day: 1}}
	if _, _, err := w.subjects.StartRelation(w.one, started); !errors.Is(err, subject.ErrUnreadable) {
		t.Errorf("got %v, want %v", err, subject.ErrUnreadable)
	}
	if _, _, err := w.subjects.Upsert(w.one, subject.UpsertInput{Reference: *text("C-1"), BirthDate: text("1990-02-27")}); !errors.Is(err, subject.ErrUnreadable) {
		t.Errorf("got %v, want %v", err, subject.ErrUnreadable)
	}
	put(whole)
	found, err := w.subjects.Find(w.one, subject.By{Reference: text("C-1")}, page.Request{First: 5})
	if err != nil || len(found.Edges) != 1 || !found.Nodes()[0].Name.Full.Equal(made.Name.Full) || len(found.Nodes()[0].Emails) != 1 {
		t.Errorf("found %d, %v", len(found.Edges), err)
	}
}

func TestList(t *testing.T) {
	w := start(t)
	for range 5 {
		w.create(t, w.one, subject.CreateInput{})
	}
	c, err := w.subjects.List(w.one, page.Request{First: 3})
	if err != nil || len(c.Edges) != 3 || !c.PageInfo.HasNextPage {
		t.Fatal(c, err)
	}
	rest, err := w.subjects.List(w.one, page.Request{First: 3, After: c.PageInfo.EndCursor})
	if err != nil || len(rest.Edges) != 2 || rest.PageInfo.HasNextPage {
		t.Error(rest, err)
	}
	if n, err := c.TotalCount(w.one); n != 5 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	if c, err := w.subjects.List(w.two, page.Request{First: 3}); err != nil || len(c.Edges) != 0 {
		t.Errorf("the second tenant lists %v, %v", c, err)
	}
	if _, err := w.subjects.List(w.two, page.Request{First: 3, After: c.PageInfo.EndCursor}); !errors.Is(err, page.ErrCursor) {
		t.Errorf("a foreign cursor gives %v", err)
	}
}
