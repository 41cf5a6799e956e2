package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/identifier"
	"github.com/vogter/vogter/internal/lookup"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// While lookups are made anew, everybody is found at every moment, what is unique
// stays so, and nothing of what changes meanwhile is left behind.
func TestRenewal(t *testing.T) {
	w := world.Start(t)
	log := testenv.Logger(t)
	renewal := mongo.NewLookupRenewal(mongo.RenewalConfig{
		DB: w.DB, Keys: w.Keys, Vault: w.Vault, Subjects: mongo.NewSubjectStore(w.DB, w.Vault, log),
		Records: mongo.NewRecordStore(w.DB, w.Vault, log), RecordKeys: w.Records.LookupKeys, Log: log, Now: w.Now,
	})
	system := tenant.System(t.Context(), "test")
	mail := world.Field("mail", dataset.TypeString)
	kind := dataset.NormaliseEmail
	mail.Lookup, mail.Normaliser = dataset.Exact, &kind
	tenants := []tenant.ID{testenv.One, testenv.Two}
	sets := map[tenant.ID]*dataset.Dataset{}
	emails := map[tenant.ID]map[string]string{} // whom an address finds
	made := 0
	create := func(of tenant.ID) string {
		made++
		ref, email := personal.NewText(fmt.Sprint("r", made)), fmt.Sprintf("a%d@person.example", made)
		s, err := w.Subjects.Create(w.As(of), subject.CreateInput{Reference: &ref, Emails: []personal.Text{personal.NewText(email)}})
		if err != nil {
			t.Fatal(err)
		}
		w.Record(w.As(of), s, sets[of], world.Value("mail", email))
		emails[of][email] = s.ID
		return s.ID
	}
	for _, of := range tenants {
		emails[of] = map[string]string{}
		sets[of] = w.Dataset(w.As(of), "D", mail)
		for range 130 {
			create(of)
		}
	}
	old, err := w.Vault.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := old.Epoch + 1
	if err := w.Vault.OpenEpoch(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	closed := old
	closed.State = vault.MasterClosed
	if _, err := w.Keys.MoveMaster(t.Context(), vault.MasterOpen, closed); err != nil {
		t.Fatal(err)
	}
	w.Sleep(2 * time.Minute) // the closed epoch is remembered as the present one for a minute

	check := func(phase string) {
		t.Helper()
		for _, of := range tenants {
			ctx := w.As(of)
			ref := personal.NewText("r1")
			if of == testenv.Two {
				ref = personal.NewText("r131")
			}
			if _, err := w.Subjects.Create(ctx, subject.CreateInput{Reference: &ref}); !errors.Is(err, subject.ErrDuplicate) {
				t.Errorf("%s: a reference was given twice: %v", phase, err)
			}
			for email, want := range emails[of] {
				text := personal.NewText(email)
				found, err := w.Subjects.Find(ctx, subject.By{Email: &text}, page.Request{First: 5})
				if err != nil || len(found.Edges) != 1 || found.Nodes()[0].ID != want {
					t.Fatalf("%s: %s isn't found, or others are: %v", phase, want, err)
				}
			}
		}
	}
	step := func() bool {
		done, err := renewal.Renew(system, next)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	check("before")
	step()
	for _, of := range tenants {
		create(of)
	}
	check("both are written")
	w.Sleep(3 * time.Minute)

	// Persons and records come, change and go while the next lookups are built.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			s := w.Subject(w.As(testenv.One), fmt.Sprint("busy", n))
			for i := range 3 {
				to := []personal.Text{personal.NewText(fmt.Sprintf("b%d.%d@person.example", n, i))}
				s, err = w.Subjects.Update(w.As(testenv.One), subject.UpdateInput{ID: s.ID, Emails: to, ExpectedVersion: s.Version})
				if err != nil {
					t.Errorf("change beside the renewal: %v", err)
					return
				}
			}
			r := w.Record(w.As(testenv.One), s, sets[testenv.One], world.Value("mail", "gone@person.example"))
			if err := w.Records.Delete(w.As(testenv.One), record.DeleteInput{ID: r.ID}); err != nil {
				t.Errorf("delete beside the renewal: %v", err)
			}
		}
	})
	step()
	stop()
	wg.Wait()
	check("the next are read")
	for _, of := range tenants {
		create(of)
	}
	w.Sleep(3 * time.Minute)
	if !step() {
		t.Error("not done")
	}
	check("the old are gone")
	if n := w.Count(t.Context(), "lookups", bson.D{{Key: "epoch", Value: old.Epoch}}); n != 0 {
		t.Errorf("%d old lookups are left", n)
	}
	if _, err := w.Vault.IndexAt(t.Context(), testenv.One, old.Epoch); err == nil {
		fresh, err := vault.New(vault.Config{Store: w.Keys, KMS: w.KMS, Now: w.Now})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.IndexAt(t.Context(), testenv.One, old.Epoch); !errors.Is(err, vault.ErrKeyMissing) {
			t.Errorf("the old index key is left: %v", err)
		}
	}
	busy := w.Count(t.Context(), "lookups", bson.D{{Key: "tenant", Value: testenv.One}})
	people := w.Count(t.Context(), "subjects", bson.D{{Key: "tenant", Value: testenv.One}})
	records := w.Count(t.Context(), "records", bson.D{{Key: "tenant", Value: testenv.One}})
	if want := 2*people + records; busy != want { // reference and e-mail of each, and one of each record
		t.Errorf("%d lookups of %d persons and %d records, want %d", busy, people, records, want)
	}
	if _, err := renewal.Renew(t.Context(), next); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("without a system context: %v", err)
	}
}

// A normaliser changes: what was kept in its earlier form is found, and stays
// unique, while lookups are rebuilt within the epoch, and by the new form alone after.
func TestRebuild(t *testing.T) {
	w := world.Start(t)
	log := testenv.Logger(t)
	later := func(k lookup.Key) lookup.Key {
		k.Before = []identifier.Form{{Version: k.Normaliser, Value: k.Value}}
		k.Normaliser, k.Value = 2, personal.NewText("2:"+k.Value.Reveal())
		return k
	}
	alone := func(k lookup.Key) lookup.Key {
		k = later(k)
		k.Before = nil
		return k
	}
	form := alone
	records := mongo.NewRecordStore(w.DB, w.Vault, log)
	renewal := mongo.NewLookupRenewal(mongo.RenewalConfig{
		DB: w.DB, Keys: w.Keys, Vault: w.Vault, Subjects: mongo.NewSubjectStore(w.DB, w.Vault, log), Records: records, Log: log, Now: w.Now,
		RecordKeys: func(ctx context.Context, r *record.Record) ([]lookup.Key, error) {
			keys, err := w.Records.LookupKeys(ctx, r)
			for i := range keys {
				keys[i] = form(keys[i])
			}
			return keys, err
		},
	})
	system := tenant.System(t.Context(), "test")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mail := world.Field("mail", dataset.TypeString)
	kind := dataset.NormaliseEmail
	mail.Lookup, mail.Normaliser = dataset.Exact, &kind
	of := map[tenant.ID]*record.Record{}
	var byMail, byKey lookup.Key // of tenant One's record
	for _, who := range []tenant.ID{testenv.One, testenv.Two} {
		d := w.Dataset(w.As(who), "D", mail)
		key := personal.NewText("K1")
		r, err := w.Records.Write(w.As(who), record.WriteInput{
			Subject: w.Subject(w.As(who), "a").ID, Dataset: d.ID, Key: &key, Origin: record.Provided,
			Fields: []record.FieldInput{world.Value("mail", "a@person.example")},
		})
		ok(err)
		of[who] = r
		if who == testenv.One {
			keys, err := w.Records.LookupKeys(w.As(who), r)
			ok(err)
			for _, k := range keys {
				if k.Unique {
					byKey = k
				} else {
					byMail = k
				}
			}
		}
	}
	ctx := w.As(testenv.One)
	want := of[testenv.One].ID
	found := func(k lookup.Key) bool {
		t.Helper()
		list, err := records.Find(ctx, lookup.Search{Key: k}, nil, 5)
		ok(err)
		n, err := records.CountFound(ctx, lookup.Search{Key: k, Restricted: true}, 5)
		ok(err)
		if len(list) > 1 || n != len(list) || len(list) == 1 && list[0].ID != want {
			t.Errorf("found %d, counted %d", len(list), n)
		}
		return len(list) == 1
	}
	check := func(phase string, one bool) {
		t.Helper()
		if !found(later(byMail)) || found(alone(byMail)) != one {
			t.Errorf("%s: found in both forms: %t, in the new one: %t", phase, found(later(byMail)), found(alone(byMail)))
		}
		byKeys, err := records.FindByKeys(ctx, []lookup.Key{later(byKey), {Name: byKey.Name, Unique: true, Normaliser: 2, Value: personal.NewText("none")}})
		ok(err)
		if byKeys[0] == nil || byKeys[0].ID != want || byKeys[1] != nil {
			t.Errorf("%s: found by key: %v", phase, byKeys)
		}
		again := *of[testenv.One]
		again.ID = id.New(id.Record, testenv.One)
		err = w.DB.InTransaction(ctx, func(ctx context.Context) error {
			_, err := records.Insert(ctx, record.New{Record: &again, Keys: []lookup.Key{later(byKey)}})
			return err
		})
		if !errors.Is(err, record.ErrDuplicate) {
			t.Errorf("%s: a key was given twice: %v", phase, err)
		}
	}
	old, err := w.Vault.Index(t.Context(), testenv.One)
	ok(err)
	check("before", false)
	one := testenv.One
	if n, err := renewal.Rebuild(system, &one); err != nil || n != 1 {
		t.Fatalf("%d tenants: %v", n, err)
	}
	ok(renewal.Advance(system))
	check("both are written", false)
	if n, err := renewal.Rebuild(system, &one); err != nil || n != 1 { // meanwhile: it is done once more
		t.Fatalf("%d tenants: %v", n, err)
	}
	w.Sleep(3 * time.Minute)
	ok(renewal.Advance(system))
	check("the next are read", true)
	w.Sleep(3 * time.Minute)
	ok(renewal.Advance(system))
	check("the old are gone", true)
	if n, err := renewal.Pending(system); err != nil || n != 1 {
		t.Errorf("%d pending: %v", n, err)
	}
	for range 4 {
		w.Sleep(3 * time.Minute)
		ok(renewal.Advance(system))
		check("once more", true)
	}
	if n, err := renewal.Pending(system); err != nil || n != 0 {
		t.Errorf("%d pending: %v", n, err)
	}
	fresh, err := vault.New(vault.Config{Store: w.Keys, KMS: w.KMS, Now: w.Now})
	ok(err)
	if _, err := fresh.IndexAt(t.Context(), testenv.One, old.Epoch()); !errors.Is(err, vault.ErrKeyMissing) {
		t.Errorf("the old index key is left: %v", err)
	}
	if _, err := fresh.IndexAt(t.Context(), testenv.Two, old.Epoch()); err != nil {
		t.Errorf("another tenant's index key: %v", err)
	}
	var docs []struct {
		Epoch vault.Epoch `bson:"epoch"`
	}
	cursor, err := w.Stored("lookups").Find(ctx, bson.D{{Key: "tenant", Value: testenv.One}})
	ok(err)
	ok(cursor.All(ctx, &docs))
	for _, d := range docs {
		if d.Epoch == old.Epoch() || d.Epoch.MadeIn() != old.Epoch() {
			t.Errorf("a lookup of index key %d", d.Epoch)
		}
	}
	if len(docs) != 3 { // the person's reference, the record's key and field
		t.Errorf("%d lookups", len(docs))
	}
	if done, err := renewal.Renew(system, old.Epoch()); err != nil || !done {
		t.Errorf("the epoch's own renewal: %t %v", done, err)
	}
	if _, err := renewal.Rebuild(t.Context(), nil); !errors.Is(err, tenant.ErrSystem) {
		t.Errorf("without a system context: %v", err)
	}
}
