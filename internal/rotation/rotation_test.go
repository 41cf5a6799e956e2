package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/rotation"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

const backups = 400 * 24 * time.Hour

type quiet struct{ *vault.Vault }

func (q quiet) Evict(_ context.Context, owners ...vault.Owner) { q.Vault.Evict(owners...) }

type fixed struct{}

func (fixed) ProviderID(context.Context) (tenant.ID, error) { return world.Provider, nil }

// rig is a platform that rotates keys.
type rig struct {
	*world.World

	s      *rotation.Service
	alarms []string
	trace  func(string)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{World: world.Start(t), trace: func(string) {}}
	r.ok(r.Keys.EnsureIndexes(t.Context()))
	r.s = rotation.NewService(rotation.Config{
		Store: mongo.NewRotationStore(r.DB), Values: mongo.NewSealedValues(r.DB, r.Keys, r.Vault), Keys: r.Keys, Vault: r.Vault,
		Caches: quiet{r.Vault}, Backups: rotation.Fixed(backups), Provider: fixed{}, Changes: r.Changes, Log: testenv.Logger(t), Now: r.Now,
		Timing: rotation.Timing{Rate: 1_000_000, Batch: 7},
		Alarm:  func(_ context.Context, code, object string) { r.alarms = append(r.alarms, code+" "+object) },
		Trace:  func(point string) { r.trace(point) },
	})
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func operator(ctx context.Context, of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(ctx, of), authz.Principal{
		Kind: authz.KindMember, ID: "mem_a", Tenant: of, Role: authz.RoleOperator,
	})
}

func (r *rig) operator() context.Context { return operator(r.Context(), world.Provider) }

func (r *rig) sweep() { r.Helper(); r.ok(r.s.Sweep(tenant.System(r.Context(), "test"))) }

func (r *rig) get(rotationID string) *rotation.Rotation {
	r.Helper()
	got, err := r.s.Get(r.operator(), rotationID)
	r.ok(err)
	return got
}

func (r *rig) request(of tenant.ID, subjectID *string) *rotation.Rotation {
	r.Helper()
	rot, err := r.s.Request(r.operator(), rotation.RequestInput{Tenant: of, Subject: subjectID})
	r.ok(err)
	return rot
}

// until sweeps, and lets time pass, until the rotation is in a state.
func (r *rig) until(rot *rotation.Rotation, want rotation.State, step time.Duration) *rotation.Rotation {
	r.Helper()
	for range 40 {
		r.sweep()
		if got := r.get(rot.ID); got.State == want {
			return got
		}
		r.Sleep(step)
	}
	got := r.get(rot.ID)
	r.Fatalf("the rotation is %+v, not %s", got, want)
	return nil
}

// fresh returns a vault that remembers nothing.
func (r *rig) fresh() *vault.Vault {
	r.Helper()
	v, err := vault.New(vault.Config{Store: r.Keys, KMS: r.KMS, Now: r.Now})
	r.ok(err)
	return v
}

// named returns how many sealed values and objects of a tenant name each key id.
func named(tb testing.TB, data *driver.Database, of tenant.ID) map[vault.KeyID]int {
	tb.Helper()
	names, err := data.ListCollectionNames(tb.Context(), bson.D{})
	if err != nil {
		tb.Fatal(err)
	}
	all := map[vault.KeyID]int{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case bson.D:
			for _, e := range v {
				walk(e.Key, e.Value)
			}
		case bson.A:
			for _, e := range v {
				walk(path, e)
			}
		case bson.Binary:
			if k, ok := vault.SealedBy(v.Data); ok {
				all[k]++
			} else if path == "keyId" {
				all[vault.KeyID(v.Data)]++
			}
		}
	}
	for _, name := range names {
		cursor, err := data.Collection(name).Find(tb.Context(), bson.D{{Key: "tenant", Value: of}})
		if err != nil {
			tb.Fatal(err)
		}
		var docs []bson.D
		if err := cursor.All(tb.Context(), &docs); err != nil {
			tb.Fatal(err)
		}
		for _, d := range docs {
			walk("", d)
		}
	}
	return all
}

func (r *rig) named(of tenant.ID) map[vault.KeyID]int {
	r.Helper()
	return named(r, r.Stored("subjects").Database(), of)
}

// tenantKeys returns the key documents of a tenant.
func tenantKeys(tb testing.TB, keys *mongo.KeyStore, of tenant.ID) []vault.DataKey {
	tb.Helper()
	docs, err := keys.DataKeys(tb.Context(), string(of)+"/", 10_000)
	if err != nil {
		tb.Fatal(err)
	}
	return slices.DeleteFunc(docs, func(d vault.DataKey) bool { return d.Owner.Tenant != of })
}

// person is somebody with everything that can be kept.
type person struct {
	*subject.Subject

	name, file string
	record     string
}

func (r *rig) person(ctx context.Context, d *dataset.Dataset, name string) *person {
	r.Helper()
	ref, full := personal.NewText(name), personal.NewText("Full "+name)
	s, err := r.Subjects.Create(ctx, subject.CreateInput{Reference: &ref, Name: &subject.NameInput{Full: &full}})
	r.ok(err)
	f := r.Upload(ctx, s, d, name+".txt", "about "+name)
	rec := r.Record(ctx, s, d, world.Value("note", "note on "+name), world.Value("passport", f.ID))
	return &person{s, name, f.ID, rec.ID}
}

func (r *rig) dataset(ctx context.Context) *dataset.Dataset {
	return r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString), world.Field("passport", dataset.TypeFile))
}

// whole fails unless everything of the person can be read, but for the file if
// the key that sealed it is destroyed.
func (r *rig) whole(ctx context.Context, p *person) {
	r.Helper()
	s, err := r.Subjects.Get(ctx, p.ID)
	r.ok(err)
	if s.Name == nil || s.Name.Full.Reveal() != "Full "+p.name {
		r.Errorf("the name of %s can't be read", p.name)
	}
	rec, err := r.Records.Get(ctx, p.record)
	r.ok(err)
	if len(rec.Fields) != 2 || rec.Fields[0].State != personal.Clear {
		r.Errorf("the record of %s can't be read: %+v", p.name, rec.Fields)
	}
	if p.file == "" {
		return
	}
	_, content, err := r.Files.Open(ctx, p.file)
	r.ok(err)
	b, err := io.ReadAll(content)
	if err != nil || string(b) != "about "+p.name {
		r.Errorf("the file of %s: %v", p.name, err)
	}
	r.ok(content.Close())
}

// everything puts something sealed into every kind of place that there is. What it
// returns looks whether it can still be read where no person's data is.
func (r *rig) everything(of tenant.ID) (look func()) {
	r.Helper()
	ctx := r.As(of)
	_, err := r.Vault.Ensure(ctx, tenancy.Contact(of))
	r.ok(err)
	tenants := mongo.NewTenantStore(r.DB, r.Vault)
	r.ok(r.DB.InTransaction(ctx, func(ctx context.Context) error {
		t, err := tenants.Get(ctx)
		if err != nil {
			return err
		}
		t.DpoContact = &tenancy.DpoContact{Name: personal.NewText("Dpo"), Email: personal.NewText("dpo@example.test")}
		t.Version++
		return tenants.Update(ctx, t)
	}))
	messages := mongo.NewNotifyStore(r.DB, r.Vault)
	r.ok(r.DB.InTransaction(ctx, func(ctx context.Context) error {
		return messages.Insert(ctx, &notify.Row{
			ID: id.New(id.Message, of), Owner: tenancy.Contact(of), To: personal.NewText("a@example.test"), State: notify.Queued, CreatedAt: r.Now(),
		})
	}))
	record := mongo.NewProcessingStore(r.DB, r.Vault)
	party := &processing.Party{ID: id.New(id.Party, of), State: processing.Current, Version: 1, CreatedAt: r.Now()}
	party.Contact = &processing.Contact{Name: personal.NewText("Anna"), Address: personal.NewText("Vej 1")}
	register := &processing.Register{ID: id.New(id.Register, of), State: processing.Prepared, PreparedAt: r.Now()}
	r.ok(r.Changes.DoPlain(ctx, "party.create", party.ID, func(ctx context.Context) error {
		return errors.Join(record.InsertParty(ctx, party), record.InsertRegister(ctx, register, []byte("content")))
	}))
	return func() {
		r.Helper()
		p, err := record.Party(ctx, party.ID)
		r.ok(err)
		content, err := record.Content(ctx, register.ID)
		r.ok(err)
		if p.Contact.Name.Reveal() != "Anna" || p.Contact.Address.Reveal() != "Vej 1" || string(content) != "content" {
			r.Error("the record of processing can't be read")
		}
	}
}

// Everything that is kept is sealed anew, while nobody notices; the old keys go when nothing
// needs them and no backup is left, and then open nothing.
func TestRotate(t *testing.T) {
	r := newRig(t)
	ctx, other := r.As(testenv.One), r.As(testenv.Two)
	d, d2 := r.dataset(ctx), r.dataset(other)
	people := []*person{}
	for i := range 5 {
		people = append(people, r.person(ctx, d, fmt.Sprint("Anna", i)))
	}
	look := r.everything(testenv.One)
	bo := r.person(other, d2, "Bo")
	e, err := r.Exports.Request(ctx, export.RequestInput{Subject: people[0].ID})
	r.ok(err)
	r.Work(ctx)
	before, untouched := r.named(testenv.One), r.named(testenv.Two)
	copyOf := r.raw(ctx, "records", people[0].record)
	credentials := r.key(vault.CredentialsOf(testenv.One))
	version := people[1].Version

	rot := r.request(testenv.One, nil)
	if _, err := r.s.Request(r.operator(), rotation.RequestInput{Tenant: testenv.One}); !errors.Is(err, rotation.ErrRunning) {
		t.Errorf("asked for twice: %v", err)
	}
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Resealing || got.Keys == 0 || got.Values != 0 {
		t.Fatalf("%+v", got)
	}
	for _, p := range people {
		r.whole(ctx, p)
	}
	// What is written now is under the new generation at once.
	carl := r.person(ctx, d, "Carl")
	r.Sleep(rotation.Timing{}.Settle + 11*time.Minute)
	waits := r.until(rot, rotation.Waiting, time.Hour)
	if waits.LeftValues != 0 || waits.LeftObjects != 6 || waits.DestroyAt != nil || waits.Values == 0 {
		t.Errorf("%+v", waits) // five files and a package
	}
	after := r.named(testenv.One)
	left := 0
	for k, n := range before {
		if after[k] > 0 && !slices.Contains(credentials, k) {
			left += after[k]
		}
		_ = n
	}
	if left != 6 {
		t.Errorf("%d things are under old keys", left)
	}
	if got := r.named(testenv.Two); !maps.Equal(got, untouched) {
		t.Error("another tenant's values were touched")
	}
	for _, p := range append(people, carl) {
		r.whole(ctx, p)
	}
	r.whole(other, bo)
	look()
	if s, err := r.Subjects.Get(ctx, people[1].ID); err != nil || s.Version != version+1 {
		t.Errorf("the person is at version %d: %v", s.Version, err)
	}
	r.contents(ctx, people[1].ID, version+1)
	if now := r.key(vault.CredentialsOf(testenv.One)); !slices.Equal(now, credentials) {
		t.Error("the key of keyed hashes was rotated")
	}

	// A year goes by, and nothing is destroyed while a file needs it.
	r.Sleep(2 * backups)
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Waiting || got.CleanAt != nil {
		t.Fatalf("%+v", got)
	}
	for _, p := range people {
		r.whole(ctx, p)
		r.ok(r.Records.Delete(ctx, record.DeleteInput{ID: p.record}))
	}
	r.ok(r.Exports.Sweep(tenant.System(ctx, "test")))
	_ = e
	r.Work(ctx)
	r.Sleep(25 * time.Hour)
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Waiting || got.CleanAt == nil || !got.DestroyAt.Equal(got.CleanAt.Add(backups)) {
		t.Fatalf("%+v", got)
	}
	r.Sleep(backups - time.Hour)
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Waiting {
		t.Fatal("destroyed an hour too early")
	}
	done := r.until(rot, rotation.Done, time.Hour)
	if done.Destroyed == 0 || done.EndedAt == nil {
		t.Errorf("%+v", done)
	}
	for _, doc := range tenantKeys(t, r.Keys, testenv.One) {
		if gone := doc.Retired(r.Now()); len(gone) > 0 {
			t.Errorf("%s has a retired generation", doc.Owner.ID())
		}
	}
	r.whole(ctx, carl)
	r.whole(other, bo)

	// The copy of before opens nothing, neither here nor with every key there is.
	k, ok := vault.SealedBy(copyOf)
	owner := record.Unit(testenv.One, people[0].ID, d.ID)
	keys, err := r.fresh().Load(ctx, owner)
	r.ok(err)
	if _, err := keys.Open(owner, vault.Place{Collection: "records", Record: people[0].record, Field: "x"}, copyOf); !ok || !errors.Is(err, vault.ErrKeyMissing) {
		t.Errorf("the copy under %x: %v", k, err)
	}
	counts, err := r.Keys.CountGenerations(ctx, 1000)
	r.ok(err)
	if len(counts) != 2 || counts[0] == 0 || counts[1] == 0 {
		t.Errorf("generations: %v", counts)
	}
}

// raw returns the first sealed value of a stored document.
func (r *rig) raw(ctx context.Context, collection, docID string) []byte {
	r.Helper()
	var doc struct {
		Fields []struct {
			V bson.Binary `bson:"v"`
		} `bson:"fields"`
	}
	r.ok(r.Stored(collection).FindOne(ctx, bson.D{{Key: "_id", Value: docID}}).Decode(&doc))
	return doc.Fields[0].V.Data
}

func (r *rig) key(o vault.Owner) []vault.KeyID {
	r.Helper()
	docs, err := r.Keys.FindDataKeys(r.Context(), []vault.Owner{o})
	r.ok(err)
	var ids []vault.KeyID
	for _, d := range docs {
		for _, g := range d.Generations {
			ids = append(ids, g.KeyID)
		}
	}
	return ids
}

// contents fails unless the log knows what was made of an object.
func (r *rig) contents(ctx context.Context, object string, version int64) {
	r.Helper()
	n := r.Count(ctx, "audit", bson.D{
		{Key: "action", Value: "vault.reseal"}, {Key: "contents.k", Value: fmt.Sprintf("%s.%d", object, version)},
	})
	if n != 1 {
		r.Errorf("%d entries say what became of %s", n, object)
	}
}

func TestOnePerson(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	d := r.dataset(ctx)
	anna, bo := r.person(ctx, d, "Anna"), r.person(ctx, d, "Bo")
	was := r.key(record.Unit(testenv.One, bo.ID, d.ID))
	rot := r.request(testenv.One, &anna.ID)
	r.until(rot, rotation.Waiting, 11*time.Minute)
	if got := r.key(record.Unit(testenv.One, anna.ID, d.ID)); len(got) != 2 {
		t.Errorf("%d generations", len(got))
	}
	if got := r.key(record.Unit(testenv.One, bo.ID, d.ID)); !slices.Equal(got, was) {
		t.Error("another person's key was rotated")
	}
	r.whole(ctx, anna)
	r.whole(ctx, bo)
	// And again, before the first has ended; the later takes what the earlier left.
	again := r.request(testenv.One, nil)
	r.until(again, rotation.Waiting, 11*time.Minute)
	r.whole(ctx, anna)
	if got := r.key(record.Unit(testenv.One, anna.ID, d.ID)); len(got) != 3 {
		t.Errorf("%d generations", len(got))
	}
	for _, p := range []*person{anna, bo} {
		r.ok(r.Records.Delete(ctx, record.DeleteInput{ID: p.record}))
	}
	r.Work(ctx)
	r.until(again, rotation.Done, 30*24*time.Hour)
	r.until(rot, rotation.Done, 30*24*time.Hour)
	for _, doc := range tenantKeys(t, r.Keys, testenv.One) {
		if doc.Owner.Subject == anna.ID && len(doc.Retired(r.Now())) > 0 {
			t.Errorf("%s has a retired generation", doc.Owner.ID())
		}
	}
	if s, err := r.Subjects.Get(ctx, anna.ID); err != nil || s.Name == nil {
		t.Errorf("the person can't be read: %v", err)
	}
}

func TestDecisions(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	anna := r.Subject(ctx, "Anna")
	machine := authz.NewContext(r.operator(), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: world.Provider})
	if _, err := r.s.Request(machine, rotation.RequestInput{Tenant: testenv.One}); !errors.Is(err, rotation.ErrPerson) {
		t.Errorf("a machine asks: %v", err)
	}
	for _, in := range []rotation.RequestInput{
		{Tenant: "ten_zzzzzzzzzzzzzzzz"}, {Tenant: ""}, {Tenant: testenv.Two, Subject: &anna.ID},
	} {
		if _, err := r.s.Request(r.operator(), in); !errors.Is(err, rotation.ErrOwner) {
			t.Errorf("%+v: %v", in, err)
		}
	}
	rot := r.request(testenv.One, nil)
	stranger := operator(t.Context(), testenv.Two)
	if _, err := r.s.Get(stranger, rot.ID); !errors.Is(err, rotation.ErrNotFound) {
		t.Errorf("another tenant sees it: %v", err)
	}
	if _, err := r.s.Halt(stranger, rotation.HaltInput{ID: rot.ID}); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another tenant halts it: %v", err)
	}
	if list, err := r.s.List(stranger, page.Request{First: 10}); err != nil || len(list.Edges) != 0 {
		t.Errorf("another tenant lists it: %v", err)
	}
	if _, err := r.s.Halt(machine, rotation.HaltInput{ID: rot.ID}); !errors.Is(err, rotation.ErrPerson) {
		t.Errorf("a machine halts: %v", err)
	}
	r.sweep()
	halted, err := r.s.Halt(r.operator(), rotation.HaltInput{ID: rot.ID})
	r.ok(err)
	if halted.State != rotation.Halted || halted.EndedAt == nil {
		t.Errorf("%+v", halted)
	}
	if _, err := r.s.Halt(r.operator(), rotation.HaltInput{ID: rot.ID}); !errors.Is(err, rotation.ErrEnded) {
		t.Errorf("halted twice: %v", err)
	}
	r.Sleep(2 * backups)
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Halted || got.Values != 0 {
		t.Errorf("it went on: %+v", got)
	}
	next := r.until(r.request(testenv.One, nil), rotation.Waiting, 11*time.Minute)
	r.until(next, rotation.Done, 30*24*time.Hour) // takes along what the halted one left
	for _, doc := range tenantKeys(t, r.Keys, testenv.One) {
		if len(doc.Retired(r.Now())) > 0 {
			t.Errorf("%s has a retired generation", doc.Owner.ID())
		}
	}
	if list, err := r.s.List(r.operator(), page.Request{First: 1}); err != nil || len(list.Edges) != 1 || list.Edges[0].Node.ID != next.ID || !list.PageInfo.HasNextPage {
		t.Errorf("list: %+v %v", list, err)
	}
}

// A value that no key opens keeps the old generation, and somebody is told.
func TestUnreadable(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	d := r.dataset(ctx)
	anna := r.person(ctx, d, "Anna")
	r.ok(r.Records.Delete(ctx, record.DeleteInput{ID: r.person(ctx, d, "Bo").record}))
	r.Work(ctx)
	var doc bson.D
	r.ok(r.Stored("subjects").FindOne(ctx, bson.D{{Key: "_id", Value: anna.ID}}).Decode(&doc))
	bad := bson.Binary{Subtype: 0x80}
	for _, e := range doc {
		if identity, ok := e.Value.(bson.D); ok && e.Key == "identity" {
			for _, f := range identity {
				if b, ok := f.Value.(bson.Binary); ok {
					bad.Data = slices.Clone(b.Data)
				}
			}
		}
	}
	bad.Data[40] ^= 1
	_, err := r.Stored("unheardOf").InsertOne(ctx, bson.D{{Key: "_id", Value: "x"}, {Key: "tenant", Value: testenv.One}, {Key: "deep", Value: bson.A{bson.D{{Key: "v", Value: bad}}}}})
	r.ok(err)
	rot := r.request(testenv.One, nil)
	for range 5 {
		r.sweep()
		r.Sleep(25 * time.Hour)
	}
	got := r.get(rot.ID)
	if got.State != rotation.Resealing || got.Unreadable != 1 || got.LeftValues != 1 {
		t.Errorf("%+v", got)
	}
	if len(r.alarms) == 0 || r.alarms[0] != "vault.rotation.unreadable "+rot.ID {
		t.Errorf("alarms: %v", r.alarms)
	}
	r.whole(ctx, anna)
	_, err = r.Stored("unheardOf").DeleteOne(ctx, bson.D{{Key: "_id", Value: "x"}})
	r.ok(err)
	r.until(rot, rotation.Waiting, 25*time.Hour)
}

// Writers, an erasure and a restore beside the walk.
func TestBeside(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	d := r.Dataset(ctx, "D", world.Field("note", dataset.TypeString))
	const n = 12
	people, records := make([]*subject.Subject, n), make([]*record.Record, n)
	for i := range n {
		people[i] = r.Subject(ctx, fmt.Sprint("p", i))
		records[i] = r.Record(ctx, people[i], d, world.Value("note", "0"))
	}
	snapshot := r.raw(ctx, "records", records[1].ID)
	rot := r.request(testenv.One, nil)
	var (
		wg     sync.WaitGroup
		writes atomic.Int64
		stop   = make(chan struct{})
	)
	for w := range 3 {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				i := (w + 3*k) % (n - 1)
				rec, err := r.Records.Get(ctx, records[i].ID)
				if err == nil {
					_, err = r.Records.Update(ctx, record.UpdateInput{ID: rec.ID, ExpectedVersion: rec.Version, Fields: []record.FieldInput{world.Value("note", strconv.Itoa(k))}})
				}
				if err != nil && errs.KindOf(err) != errs.Conflict { // sealed anew between read and write
					t.Errorf("write: %v", err)
					return
				}
				if err == nil {
					writes.Add(1)
				}
			}
		})
	}
	var once sync.Once
	gone := people[n-1]
	r.trace = func(point string) {
		if point == "sealed anew" {
			once.Do(func() { // the last person's keys are destroyed in the middle of the walk
				for _, doc := range tenantKeys(t, r.Keys, testenv.One) {
					if doc.Owner.Subject == gone.ID {
						r.ok(r.Keys.DestroyDataKey(ctx, doc.Owner, r.Now()))
						r.Vault.Evict(doc.Owner)
					}
				}
			})
		}
	}
	r.sweep()
	r.Sleep(11 * time.Minute)
	r.until(rot, rotation.Waiting, time.Second)
	close(stop)
	wg.Wait()
	if writes.Load() == 0 {
		t.Error("nobody wrote")
	}
	for _, doc := range tenantKeys(t, r.Keys, testenv.One) {
		switch {
		case doc.Owner.Subject == gone.ID:
			if !doc.Destroyed() || slices.ContainsFunc(doc.Generations, func(g vault.Generation) bool { return len(g.Wrapped) > 0 }) {
				t.Errorf("%s: a generation outlived the erasure", doc.Owner.ID())
			}
		case doc.Owner.Unit != vault.Credentials && len(doc.Generations) != 2:
			t.Errorf("%s has %d generations", doc.Owner.ID(), len(doc.Generations))
		}
	}
	for i := range n - 1 {
		got, err := r.Records.Get(ctx, records[i].ID)
		if err != nil || got.Fields[0].State != personal.Clear {
			t.Errorf("record %d: %v", i, err)
		}
	}
	// A value of before comes back, as from a backup: it is sealed anew before anything goes.
	_, err := r.Stored("records").UpdateByID(ctx, records[1].ID, bson.D{{Key: "$set", Value: bson.D{{Key: "fields.0.v", Value: bson.Binary{Subtype: 0x80, Data: snapshot}}}}})
	r.ok(err)
	r.Sleep(backups + time.Hour)
	r.sweep()
	if got := r.get(rot.ID); got.State != rotation.Resealing && got.State != rotation.Waiting || got.State == rotation.Waiting && !got.DestroyAt.After(r.Now()) {
		t.Errorf("%+v", got)
	}
	r.until(rot, rotation.Done, 30*24*time.Hour)
	if got, err := r.Records.Get(ctx, records[1].ID); err != nil || got.Fields[0].State != personal.Clear {
		t.Errorf("the restored record: %v", err)
	}
}

// The places of what the processes of TestKill share.
const (
	envData  = "ROTATION_TEST_DATA"
	envKeys  = "ROTATION_TEST_KEYS"
	envKMS   = "ROTATION_TEST_KMS"
	envPoint = "ROTATION_TEST_POINT"
	envAhead = "ROTATION_TEST_AHEAD"
)

// process is one process of a platform that rotates keys.
type process struct {
	testing.TB

	data, keysURI, kmsPath string

	db    *mongo.DB
	keys  *mongo.KeyStore
	kms   kms.Wrapper
	vault *vault.Vault
	s     *rotation.Service
	notes *mongo.NotifyStore
	ahead atomic.Int64
	trace func(string)
}

func (p *process) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *process) now() time.Time { return testenv.Now().Add(time.Duration(p.ahead.Load())) }

func open(tb testing.TB, data, keysURI, kmsPath string) *process {
	tb.Helper()
	p := &process{TB: tb, data: data, keysURI: keysURI, kmsPath: kmsPath, trace: func(string) {}}
	p.db = testenv.Data(tb, data)
	p.keys = mongo.NewKeyStore(testenv.Connect(tb, keysURI))
	p.ok(p.keys.EnsureIndexes(tb.Context()))
	var err error
	p.kms, err = localfile.Open(kmsPath, p.now)
	p.ok(err)
	p.vault, err = vault.New(vault.Config{Store: p.keys, KMS: p.kms, Now: p.now})
	p.ok(err)
	changes, _ := testenv.Changes(tb, p.db, p.vault, vault.Hasher{Vault: p.vault}, nil)
	p.notes = mongo.NewNotifyStore(p.db, p.vault)
	p.s = rotation.NewService(rotation.Config{
		Store: mongo.NewRotationStore(p.db), Values: mongo.NewSealedValues(p.db, p.keys, p.vault), Keys: p.keys, Vault: p.vault,
		Caches: quiet{p.vault}, Backups: rotation.Fixed(backups), Provider: fixed{}, Changes: changes, Log: testenv.Logger(tb), Now: p.now,
		Timing: rotation.Timing{Rate: 1_000_000, Batch: 5}, Trace: func(point string) { p.trace(point) },
	})
	return p
}

func points() []string {
	all := []string{"retired keys", "sealed anew", "destroying", "destroyed keys"}
	for _, s := range []rotation.State{rotation.Resealing, rotation.Waiting, rotation.Done} {
		all = append(all, "saved "+string(s))
	}
	return all
}

func owner(of tenant.ID, i int) vault.Owner {
	return vault.Owner{Tenant: of, Subject: fmt.Sprintf("sub_%s%026d", strings.TrimPrefix(string(of), "ten_"), i), Unit: vault.Identity}
}

// A process that dies at any point leaves a rotation that the next one finishes.
func TestKill(t *testing.T) {
	if point := os.Getenv(envPoint); point != "" {
		child(t, point)
		return
	}
	for _, point := range points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := open(t, testenv.MongoURI(t), testenv.MongoURI(t), filepath.Join(t.TempDir(), "masters.json"))
			var messages []string
			for _, of := range []tenant.ID{testenv.One, testenv.Two} {
				ctx := tenant.NewContext(t.Context(), of)
				for i := range 12 {
					m := &notify.Row{ID: id.New(id.Message, of), Owner: owner(of, i), To: personal.NewText("a@example.test"), State: notify.Queued, CreatedAt: p.now()}
					_, err := p.vault.Ensure(ctx, m.Owner)
					p.ok(err)
					p.ok(p.db.InTransaction(ctx, func(ctx context.Context) error { return p.notes.Insert(ctx, m) }))
					messages = append(messages, m.ID)
				}
			}
			rot, err := p.s.Request(operator(t.Context(), world.Provider), rotation.RequestInput{Tenant: testenv.One})
			p.ok(err)
			killed := false
			for range 8 {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$", "-test.count=1")
				cmd.Env = append(os.Environ(), envData+"="+p.data, envKeys+"="+p.keysURI, envKMS+"="+p.kmsPath,
					envPoint+"="+point, fmt.Sprintf("%s=%d", envAhead, p.ahead.Load()))
				out, err := cmd.CombinedOutput()
				if killed = wasKilled(err); killed {
					break
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				p.ahead.Add(int64(backups / 2))
			}
			if !killed {
				t.Fatal("the point was never reached")
			}
			p.readable(messages)
			for range 12 {
				p.ok(p.s.Sweep(tenant.System(t.Context(), "test")))
				p.ahead.Add(int64(backups / 3))
			}
			got, err := p.s.Get(operator(t.Context(), world.Provider), rot.ID)
			p.ok(err)
			if got.State != rotation.Done || got.Keys != 12 || got.Destroyed != 12 {
				t.Errorf("%+v", got)
			}
			p.readable(messages)
			for _, doc := range append(tenantKeys(t, p.keys, testenv.One), tenantKeys(t, p.keys, testenv.Two)...) {
				want := 1
				if doc.Owner.Tenant == testenv.One && doc.Owner.Unit == vault.Identity {
					want = 2
				}
				if len(doc.Generations) != want || len(doc.Retired(p.now())) > 0 {
					t.Errorf("%s: %d generations", doc.Owner.ID(), len(doc.Generations))
				}
			}
		})
	}
}

// readable fails unless a vault that remembers nothing opens all messages.
func (p *process) readable(messages []string) {
	p.Helper()
	v, err := vault.New(vault.Config{Store: p.keys, KMS: p.kms, Now: p.now})
	p.ok(err)
	store := mongo.NewNotifyStore(p.db, v)
	for _, m := range messages {
		of := tenant.ID("ten_" + m[len("msg_"):len("msg_")+16])
		row, err := store.Get(tenant.NewContext(p.Context(), of), m)
		if err != nil || row.To.Reveal() != "a@example.test" {
			p.Fatalf("message %s: %v", m, err)
		}
	}
}

func wasKilled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// child sweeps once and dies at the point.
func child(t *testing.T, point string) {
	t.Helper()
	p := open(t, os.Getenv(envData), os.Getenv(envKeys), os.Getenv(envKMS))
	var ahead int64
	if _, err := fmt.Sscan(os.Getenv(envAhead), &ahead); err != nil {
		t.Fatal(err)
	}
	p.ahead.Store(ahead)
	p.trace = func(at string) {
		if at == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	p.ok(p.s.Sweep(tenant.System(t.Context(), "test")))
}

// The details of the log that name a person are sealed anew, too.
func TestAuditDetails(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	anna := r.Subject(ctx, "Anna")
	r.ok(r.Recorder.Record(ctx, audit.Event{Action: "test.read", Touches: []audit.Touch{{Subject: anna.ID, Object: anna.ID}}}))
	evidence := audit.Evidence(testenv.One, anna.ID)
	old := r.key(evidence)
	if n := r.named(testenv.One)[old[0]]; n < 2 { // the making and the reading
		t.Fatalf("%d details", n)
	}
	r.until(r.request(testenv.One, nil), rotation.Waiting, 11*time.Minute)
	keys := r.key(evidence)
	if now := r.named(testenv.One); len(keys) != 2 || now[old[0]] != 0 || now[keys[1]] < 2 {
		t.Errorf("%d generations, %v", len(keys), now)
	}
}

// The provider's signing keys are sealed for another name than their document's.
func TestSigningKeys(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	_, err := r.Exports.Request(ctx, export.RequestInput{Subject: r.Subject(ctx, "Anna").ID})
	r.ok(err)
	r.Work(ctx) // signs the package
	if n := r.Count(ctx, "signingKeys", bson.D{}); n < 2 {
		t.Fatalf("%d signing keys", n)
	}
	got := r.until(r.request(world.Provider, nil), rotation.Waiting, 11*time.Minute)
	if got.Values < 2 || got.Unreadable != 0 {
		t.Errorf("%+v", got)
	}
	r.until(got, rotation.Done, 30*24*time.Hour)
	fresh := r.fresh()
	changes, _ := testenv.Changes(t, r.DB, fresh, vault.Hasher{Vault: fresh}, nil)
	ring := testenv.Ring(t, r.DB, fresh, changes)
	_, err = ring.Sign(tenant.NewContext(t.Context(), world.Provider), sign.Package, []byte("text\n"))
	r.ok(err)
}
