package seal_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/testenv"
	platform "github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// keeper is a platform that keeps persons and records, with its log.
type keeper struct {
	*platform.World

	verifier *seal.Verifier
	set      *dataset.Dataset
	undo     []func()
	// past has all that the documents of persons and records ever were.
	past map[string][]bson.M
}

func keep(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{World: platform.Start(t), past: map[string][]bson.M{}}
	store := mongo.NewAuditStore(k.DB)
	publisher := seal.NewPublisher(seal.PublisherConfig{
		Checkpoints: store, Logs: store, Rows: k.DB, Recorder: k.Recorder,
		Sealer:   seal.NewSealer(seal.Config{Store: store, Now: k.Now, Log: testenv.Logger(t)}),
		Ring:     sign.NewRing(sign.Config{Store: mongo.NewSignStore(k.DB), Vault: k.Vault, Provider: fixed(platform.Provider), Changes: k.Changes, Now: k.Now}),
		Provider: fixed(platform.Provider), Places: []seal.Objects{k.Storage.Bucket(t)}, Keep: time.Hour, Now: k.Now, Log: testenv.Logger(t),
	})
	k.verifier = &seal.Verifier{Archive: store, Vault: k.Vault, Publisher: publisher, Values: mongo.Values(k.DB)}
	k.set = k.Dataset(k.As(testenv.One), "Customers", platform.Field("note", dataset.TypeString), platform.Field("rating", dataset.TypeString))
	return k
}

func (k *keeper) ok(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *keeper) all(collection string) []bson.M {
	k.Helper()
	cursor, err := k.Stored(collection).Find(k.Context(), bson.D{})
	k.ok(err)
	var docs []bson.M
	k.ok(cursor.All(k.Context(), &docs))
	return docs
}

// remember notes what persons and records are now.
func (k *keeper) remember() {
	k.Helper()
	for _, collection := range []string{"subjects", "records"} {
		for _, d := range k.all(collection) {
			key, _ := d["_id"].(string)
			if was := k.past[key]; len(was) == 0 || number(was[len(was)-1], "version") != number(d, "version") {
				k.past[key] = append(was, d)
			}
		}
	}
}

func (k *keeper) update(ctx context.Context, r *record.Record, to string) {
	k.Helper()
	now, err := k.Records.Get(ctx, r.ID)
	k.ok(err)
	_, err = k.Records.Update(ctx, record.UpdateInput{
		ID: r.ID, ExpectedVersion: now.Version, Fields: []record.FieldInput{platform.Value("note", to)},
	})
	k.ok(err)
}

func (k *keeper) rename(ctx context.Context, s *subject.Subject, to string) {
	k.Helper()
	now, err := k.Subjects.Get(ctx, s.ID)
	k.ok(err)
	_, err = k.Subjects.Update(ctx, subject.UpdateInput{
		ID: s.ID, ExpectedVersion: now.Version, Emails: []personal.Text{personal.NewText(to + "@person.example")},
	})
	k.ok(err)
}

// erase erases a person as a whole.
func (k *keeper) erase(ctx context.Context, s *subject.Subject) {
	k.Helper()
	l := ledger.New(ledger.Config{Store: mongo.NewLedgerStore(k.DB), Objects: k.Bucket, Signer: k.verifier.Publisher.Ring, Now: k.Now, Keep: time.Hour})
	k.ok(l.Check(k.Context(), "db", func(context.Context, ledger.Entry) error { return nil }))
	service := erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(k.DB), Keys: k.Keys, Caches: here{k.Vault}, Ledger: l, Lookups: mongo.LookupEraser(k.DB),
		Data: mongo.Erasers(k.DB, k.Bucket, k.Changes), Changes: k.Changes, Log: testenv.Logger(k), Now: k.Now,
	})
	k.Handle(erasure.JobShred, func(ctx context.Context, r *job.Run) error { return service.Run(ctx, r) })
	_, err := service.Begin(ctx, erasure.Plan{Subject: s.ID, Cause: "req_1"})
	k.ok(err)
	k.Work(ctx)
}

// here keeps evictions in this process.
type here struct{ *vault.Vault }

func (h here) Evict(_ context.Context, owners ...vault.Owner) { h.Vault.Evict(owners...) }

func (k *keeper) replace(collection string, before, after bson.M) {
	k.Helper()
	put := func(d bson.M) {
		_, err := k.Stored(collection).DeleteOne(context.WithoutCancel(k.Context()), bson.D{{Key: "_id", Value: before["_id"]}})
		k.ok(err)
		if d != nil {
			_, err = k.Stored(collection).InsertOne(context.WithoutCancel(k.Context()), d)
			k.ok(err)
		}
	}
	put(after)
	k.undo = append(k.undo, func() { put(before) })
}

// older returns a document that has been changed, and one that it once was.
func (k *keeper) older(collection string) (now, was bson.M) {
	for {
		docs := k.all(collection)
		now = docs[pick(len(docs))]
		key, _ := now["_id"].(string)
		if past := k.past[key]; len(past) > 1 && now["state"] != "ERASED" {
			return now, clone(past[pick(len(past)-1)])
		}
	}
}

func (k *keeper) some(collection string) bson.M {
	for {
		docs := k.all(collection)
		if d := docs[pick(len(docs))]; d["state"] != "ERASED" {
			return d
		}
	}
}

// TestRolledBackValues takes stored values back to what they were, and alters
// them otherwise, as who rules the database can: each time it is found, and the
// value is named.
func TestRolledBackValues(t *testing.T) {
	k := keep(t)
	ctx := k.As(testenv.One)
	var subjects []*subject.Subject
	var records []*record.Record
	for i := range 5 {
		s := k.Subject(ctx, "ref-"+strconv.Itoa(i))
		subjects = append(subjects, s)
		for range 2 {
			records = append(records, k.Record(ctx, s, k.set, platform.Value("note", "first"), platform.Value("rating", "low")))
		}
	}
	shared, err := k.Records.Write(ctx, record.WriteInput{
		Subject: subjects[0].ID, Dataset: k.set.ID, Origin: record.Provided, Parties: []record.Party{{Subject: subjects[4].ID, Role: "spouse"}},
		Fields: []record.FieldInput{platform.Value("note", "x"), platform.About(subjects[4].ID, "note", "y")},
	})
	k.ok(err)
	k.remember()
	for round := range 3 {
		for i, r := range records {
			if i%3 == round || i%2 == 0 {
				k.update(ctx, r, "round "+strconv.Itoa(round))
			}
		}
		k.rename(ctx, subjects[round], "round"+strconv.Itoa(round))
		k.remember()
	}
	deleted := records[1]
	k.ok(k.Records.Delete(ctx, record.DeleteInput{ID: deleted.ID}))
	erased := subjects[4]
	k.erase(ctx, erased)
	k.remember()
	other := k.Subject(k.As(testenv.Two), "ref-0")
	_, err = k.verifier.Publisher.Publish(t.Context())
	k.ok(err)

	sound := func() {
		t.Helper()
		r, err := k.verifier.Verify(t.Context())
		if err != nil || r.Values != int64(len(subjects)+1+len(records)+1-1-2) {
			t.Fatalf("%d values, %v", r.Values, err)
		}
	}
	sound()
	if n := len(k.past[shared.ID]); n != 2 {
		t.Fatalf("the shared record was %d things", n)
	}
	last := func(id string) bson.M { return clone(k.past[id][len(k.past[id])-1]) }
	id0 := func(d bson.M) string { s, _ := d["_id"].(string); return s }
	kinds := []struct {
		name string
		do   func() string
	}{
		{"roll a record back", func() string {
			now, was := k.older("records")
			k.replace("records", now, was)
			return id0(now)
		}},
		{"roll a person back", func() string {
			now, was := k.older("subjects")
			k.replace("subjects", now, was)
			return id0(now)
		}},
		{"roll a record back under the version of now", func() string {
			now, was := k.older("records")
			was["version"] = now["version"]
			k.replace("records", now, was)
			return id0(now)
		}},
		{"roll a record back under the next version", func() string {
			now, was := k.older("records")
			was["version"] = number(now, "version") + 1
			k.replace("records", now, was)
			return id0(now)
		}},
		{"roll a record back under no version", func() string {
			now, was := k.older("records")
			was["version"] = int64(pick(2) - 1)
			k.replace("records", now, was)
			return id0(now)
		}},
		{"give back a person's part in another's record", func() string {
			k.replace("records", last(shared.ID), clone(k.past[shared.ID][0]))
			return shared.ID
		}},
		{"delete a record", func() string {
			now := k.some("records")
			k.replace("records", now, nil)
			return id0(now)
		}},
		{"delete a person", func() string {
			now := k.some("subjects")
			k.replace("subjects", now, nil)
			return id0(now)
		}},
		{"bring a deleted record back", func() string {
			k.replace("records", bson.M{"_id": deleted.ID}, last(deleted.ID))
			k.undo = []func(){func() {
				_, err := k.Stored("records").DeleteOne(context.WithoutCancel(t.Context()), bson.D{{Key: "_id", Value: deleted.ID}})
				k.ok(err)
			}}
			return deleted.ID
		}},
		{"bring an erased person back", func() string {
			var now bson.M
			k.ok(k.Stored("subjects").FindOne(t.Context(), bson.D{{Key: "_id", Value: erased.ID}}).Decode(&now))
			k.replace("subjects", now, clone(k.past[erased.ID][0]))
			return erased.ID
		}},
		{"make a person look erased", func() string {
			now := k.some("subjects")
			after := clone(now)
			after["state"], after["identity"] = "ERASED", bson.M{}
			k.replace("subjects", now, after)
			return id0(now)
		}},
		{"flip a sealed value", func() string {
			now := k.some("records")
			after := clone(now)
			fields, _ := after["fields"].(bson.A)
			field, _ := fields[pick(len(fields))].(bson.D)
			for i := range field {
				if v, ok := field[i].Value.(bson.Binary); ok {
					field[i].Value = bson.Binary{Subtype: v.Subtype, Data: flipped(v.Data)}
				}
			}
			k.replace("records", now, after)
			return id0(now)
		}},
		{"give a record to another", func() string {
			now := k.some("records")
			after := clone(now)
			after["subject"], after["subjects"] = other.ID, bson.A{other.ID}
			k.replace("records", now, after)
			return id0(now)
		}},
		{"insert a record", func() string {
			after := clone(k.some("records"))
			after["_id"] = id.New(id.Record, testenv.One)
			k.replace("records", bson.M{"_id": after["_id"]}, after)
			k.undo = []func(){func() {
				_, err := k.Stored("records").DeleteOne(context.WithoutCancel(t.Context()), bson.D{{Key: "_id", Value: after["_id"]}})
				k.ok(err)
			}}
			return id0(after)
		}},
	}
	rounds := 3
	if full() {
		rounds = 40
	}
	done := 0
	for range rounds {
		for _, kind := range kinds {
			object := kind.do()
			_, err := k.verifier.Verify(t.Context())
			fault, ok := errors.AsType[*proof.Error](err)
			if !ok || fault.Object != object || !strings.Contains(fault.Error(), object) {
				t.Errorf("%s: of %s it says %v", kind.name, object, err)
			}
			for _, undo := range k.undo {
				undo()
			}
			k.undo = nil
			done++
		}
	}
	sound()
	// What an entry tells of a value can't be altered with it.
	now, was := k.older("records")
	k.replace("records", now, was)
	key := fmt.Sprintf("%s.%d", now["_id"], number(was, "version")+1)
	_, err = k.Stored("audit").UpdateOne(t.Context(), bson.D{{Key: "contents.k", Value: key}}, bson.D{{Key: "$set", Value: bson.D{{Key: "contents.0.k", Value: key + "0"}}}})
	k.ok(err)
	if _, err := k.verifier.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "altered") {
		t.Errorf("an entry that tells otherwise: %v", err)
	}
	t.Logf("altered %d times, in %d ways", done, len(kinds))
}

// Who writes while values are compared is not taken for who rolls back.
func TestValuesAreComparedWhileTheyChange(t *testing.T) {
	k := keep(t)
	ctx := k.As(testenv.One)
	s := k.Subject(ctx, "ref")
	var records []*record.Record
	for range 20 {
		records = append(records, k.Record(ctx, s, k.set, platform.Value("note", "first")))
	}
	_, err := k.verifier.Publisher.Publish(ctx)
	k.ok(err)
	done := make(chan error, 1)
	go func() {
		for i := range 60 {
			r, err := k.Records.Get(ctx, records[i%10].ID)
			if err == nil {
				_, err = k.Records.Update(ctx, record.UpdateInput{
					ID: r.ID, ExpectedVersion: r.Version, Fields: []record.FieldInput{platform.Value("note", "again")},
				})
			}
			if err == nil && i%6 == 0 {
				err = k.Records.Delete(ctx, record.DeleteInput{ID: records[10+i/6].ID})
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		if _, err := k.verifier.Verify(ctx); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			k.ok(err)
			return
		default:
		}
	}
}
