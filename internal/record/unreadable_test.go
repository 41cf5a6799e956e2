package record_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	platform "github.com/vogter/vogter/internal/testenv/world"
)

// What is stored and can't be opened is not lost by a change of the rest.
func TestUnreadableStays(t *testing.T) {
	w := platform.Start(t)
	one := w.As(testenv.One)
	number := platform.Field("number", dataset.TypeString)
	number.Lookup = dataset.Exact
	set := w.Dataset(one, "Case", number, platform.Field("note", dataset.TypeText))
	person := w.Subject(one, "A-1")
	write := func(key string) *record.Record {
		r, err := w.Records.Write(one, record.WriteInput{
			Subject: person.ID, Dataset: set.ID, Key: text(key), Source: text("register"), Origin: record.Provided,
			Fields: []record.FieldInput{platform.Value("number", key), platform.Value("note", "old")},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r, other := write("K-1"), write("K-2")
	for name, path := range map[string]string{"key": "key", "source": "source", "a value with a lookup": "fields.0.v"} {
		t.Run(name, func(t *testing.T) {
			mend := damage(t, w, r.ID, other.ID, path)
			in := record.UpdateInput{ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{platform.Value("note", "new")}}
			if _, err := w.Records.Update(one, in); !errors.Is(err, record.ErrUnreadable) {
				t.Errorf("got %v, want %v", err, record.ErrUnreadable)
			}
			mend()
		})
	}
	for name, by := range map[string]record.By{
		"key":    {Dataset: set.ID, Value: *text("K-1")},
		"number": {Dataset: set.ID, Field: &number.Key, Value: *text("K-1")},
	} {
		found, err := w.Records.Find(one, by, page.Request{First: 5})
		if err != nil || len(found.Edges) != 1 || found.Nodes()[0].Version != 1 || found.Nodes()[0].Source.Reveal() != "register" {
			t.Errorf("by %s: found %d, %v", name, len(found.Edges), err)
		}
	}
}

// A change that fails for a secret field doesn't name it to whoever must not know
// of it.
func TestUnreadableSecretIsNotNamed(t *testing.T) {
	w := platform.Start(t)
	one := w.As(testenv.One)
	secret := platform.Field("suspicion", dataset.TypeString)
	secret.Lookup, secret.Secrecy = dataset.Exact, dataset.AML
	set := w.Dataset(one, "Case", secret, platform.Field("note", dataset.TypeText))
	person := w.Subject(one, "A-1")
	r := w.Record(one, person, set, platform.Value("suspicion", "a"), platform.Value("note", "old"))
	other := w.Record(one, person, set, platform.Value("suspicion", "b"), platform.Value("note", "old"))
	damage(t, w, r.ID, other.ID, "fields.0.v")
	p := authz.FromContext(one)
	p.Clearances = nil
	for name, tt := range map[string]struct {
		ctx   context.Context
		field string
	}{"cleared": {one, "fields.suspicion"}, "not cleared": {authz.NewContext(one, p), ""}} {
		_, err := w.Records.Update(tt.ctx, record.UpdateInput{
			ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{platform.Value("note", "new")},
		})
		if e, ok := errors.AsType[*errs.Error](err); !ok || !errors.Is(err, record.ErrUnreadable) || e.Field != tt.field {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What somebody is to a record is said in the tenant's own words, and sealed
// under that person's key.
func TestRolesAreSealed(t *testing.T) {
	w := platform.Start(t)
	one := w.As(testenv.One)
	set := w.Dataset(one, "Case", platform.Field("note", dataset.TypeText))
	person, party := w.Subject(one, "A-1"), w.Subject(one, "A-2")
	const role = "planted role"
	r, err := w.Records.Write(one, record.WriteInput{
		Subject: person.ID, Dataset: set.ID, Origin: record.Provided, Parties: []record.Party{{Subject: party.ID, Role: role}},
		Fields: []record.FieldInput{platform.Value("note", "old")},
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := w.Stored("records").FindOne(t.Context(), bson.D{{Key: "_id", Value: r.ID}}).Raw()
	if err != nil || bytes.Contains(stored, []byte("planted")) {
		t.Errorf("stored is %s, %v", stored, err)
	}
	in := record.UpdateInput{ID: r.ID, ExpectedVersion: 1, Fields: []record.FieldInput{platform.Value("note", "new")}}
	if _, err := w.Records.Update(one, in); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[subject.State]string{subject.Active: role, subject.Erasing: ""} {
		w.SetState(one, party, state)
		if got, err := w.Records.Get(one, r.ID); err != nil || len(got.Parties) != 1 || got.Parties[0] != (record.Party{Subject: party.ID, Role: want, Gone: want == ""}) {
			t.Errorf("while %s the parties are %+v, %v", state, got, err)
		}
	}
}

// damage puts at a path of one record's document what another's has there, which
// can't be opened in its new place, and returns what takes that back.
func damage(t *testing.T, w *platform.World, recordID, otherID, path string) (mend func()) {
	t.Helper()
	stored := w.Stored("records")
	at := func(id string) bson.RawValue {
		doc, err := stored.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return doc.Lookup(strings.Split(path, ".")...)
	}
	put := func(v bson.RawValue) {
		if _, err := stored.UpdateByID(context.WithoutCancel(t.Context()), recordID, bson.D{{Key: "$set", Value: bson.D{{Key: path, Value: v}}}}); err != nil {
			t.Fatal(err)
		}
	}
	whole := at(recordID)
	put(at(otherID))
	return func() { put(whole) }
}
