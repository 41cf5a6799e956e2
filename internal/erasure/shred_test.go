package erasure_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/export"
	"github.com/vogter/vogter/internal/file"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
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
	"github.com/vogter/vogter/internal/vault/vaulttest"
)

// rig is a platform that can erase.
type rig struct {
	*world.World

	s      *erasure.Service
	ledger *ledger.Ledger
	trace  func(string)
}

// quiet keeps evictions in this process.
type quiet struct{ *vault.Vault }

func (q quiet) Evict(_ context.Context, owners ...vault.Owner) { q.Vault.Evict(owners...) }

func newRig(t *testing.T) *rig {
	t.Helper()
	return openRig(world.Start(t))
}

// openRig is one process of a platform.
func openRig(w *world.World) *rig {
	w.Helper()
	r := &rig{World: w, trace: func(string) {}}
	r.ledger = ledger.New(ledger.Config{Store: mongo.NewLedgerStore(r.DB), Objects: r.Bucket, Signer: testenv.Ring(w, r.DB, r.Vault, r.Changes), Now: r.Now, Keep: time.Hour})
	r.s = r.service(r.DB)
	r.ok(r.ledger.Check(w.Context(), "db-1", r.replay))
	r.Handle(erasure.JobShred, func(ctx context.Context, run *job.Run) error { return r.s.Run(ctx, run) })
	return r
}

func (r *rig) service(db *mongo.DB) *erasure.Service {
	return erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(db), Keys: r.Keys, Caches: quiet{r.Vault}, Ledger: r.ledger, Lookups: mongo.LookupEraser(db),
		Data: mongo.Erasers(db, r.Bucket, r.Changes), Epochs: r.epochs(), Changes: r.Changes, Log: testenv.Logger(r), Now: r.Now,
		Trace: func(point string) { r.trace(point) },
	})
}

func (r *rig) replay(ctx context.Context, e ledger.Entry) error {
	handled, err := r.s.Replay(ctx, e)
	if err == nil && !handled {
		err = ledger.ErrNoReplay
	}
	return err
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// person is somebody with everything that can be kept.
type person struct {
	*subject.Subject

	kyc, marketing *dataset.Dataset
	records        map[string]*record.Record // by dataset
	file           string
	export         string
	secret         string // stands in everything that is kept
	email          string
}

func (r *rig) datasets(ctx context.Context) (kyc, marketing *dataset.Dataset) {
	doc := world.Field("passport", dataset.TypeFile)
	mail := world.Field("mail", dataset.TypeString)
	mail.Lookup = dataset.Exact
	kind := dataset.Normaliser("EMAIL")
	mail.Normaliser = &kind
	return r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString), doc), r.Dataset(ctx, "Marketing", world.Field("note", dataset.TypeString), mail)
}

func (r *rig) person(ctx context.Context, name string, kyc, marketing *dataset.Dataset) *person {
	r.Helper()
	p := &person{kyc: kyc, marketing: marketing, records: map[string]*record.Record{}, secret: name + rand.Text(), email: strings.ToLower(name) + "@person.example"}
	ref, full := personal.NewText(name), personal.NewText(p.secret)
	s, err := r.Subjects.Create(ctx, subject.CreateInput{
		Reference: &ref, Name: &subject.NameInput{Full: &full}, Emails: []personal.Text{personal.NewText(p.email)},
	})
	r.ok(err)
	p.Subject = s
	f := r.Upload(ctx, s, kyc, "a.txt", p.secret)
	p.file = f.ID
	p.records["KYC"] = r.Record(ctx, s, kyc, world.Value("note", p.secret), world.Value("passport", f.ID))
	p.records["Marketing"] = r.Record(ctx, s, marketing, world.Value("note", p.secret), world.Value("mail", p.email))
	e, err := r.Exports.Request(ctx, export.RequestInput{Subject: s.ID})
	r.ok(err)
	p.export = e.ID
	r.Work(ctx)
	return p
}

func (r *rig) finds(ctx context.Context, email string) int {
	r.Helper()
	text := personal.NewText(email)
	found, err := r.Subjects.Find(ctx, subject.By{Email: &text}, page.Request{First: 10})
	r.ok(err)
	return len(found.Edges)
}

func (r *rig) lists(ctx context.Context, p *person) []*record.Record {
	r.Helper()
	list, err := r.Records.List(ctx, record.Query{Subject: p.ID}, page.Request{First: 10})
	r.ok(err)
	return list.Nodes()
}

func TestShred(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	anna, bo := r.person(ctx, "Anna", kyc, marketing), r.person(ctx, "Bo", kyc, marketing)
	shared := r.sharedRecord(ctx, bo, anna)
	sh, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID, Cause: "req_1"})
	r.ok(err)
	// From the mark on, before a single key is gone.
	if _, err := r.Records.Get(ctx, anna.records["KYC"].ID); errs.KindOf(err) != errs.Erased {
		t.Errorf("read after the mark: %v", err)
	}
	note := world.Value("note", "late")
	if _, err := r.Records.Write(ctx, record.WriteInput{Subject: anna.ID, Dataset: kyc.ID, Origin: record.Provided, Fields: []record.FieldInput{note}}); errs.KindOf(err) != errs.Erased {
		t.Errorf("write after the mark: %v", err)
	}
	r.Work(ctx)
	sh, err = r.s.Get(ctx, sh.ID)
	r.ok(err)
	if sh.State != erasure.Done || len(sh.Epochs) != 1 || sh.KeysDestroyedAt() == nil {
		t.Fatalf("%+v", sh)
	}
	s, err := r.Subjects.Get(ctx, anna.ID)
	r.ok(err)
	if s.State != subject.Erased || s.Name != nil {
		t.Errorf("the person is %s", s.State)
	}
	for coll, filter := range map[string]bson.D{
		"records": {{Key: "subjects", Value: anna.ID}}, "files": {{Key: "subject", Value: anna.ID}},
		"exports": {{Key: "subject", Value: anna.ID}}, "lookups": {{Key: "subject", Value: anna.ID}},
	} {
		if n := r.Count(ctx, coll, filter); n != 0 {
			t.Errorf("%d %s are left", n, coll)
		}
	}
	for _, object := range []string{anna.file, anna.export} {
		if left := r.Storage.Contains(t, object); len(left) > 0 {
			t.Errorf("objects are left: %v", left)
		}
	}
	if n := r.finds(ctx, anna.email); n != 0 {
		t.Error("the person is found")
	}
	// The proof lives on, and so does everybody else.
	keys, err := r.Vault.Load(ctx, vault.Owner{Tenant: testenv.One, Subject: anna.ID, Unit: vault.Evidence})
	r.ok(err)
	if _, err := keys.MAC(vault.Owner{Tenant: testenv.One, Subject: anna.ID, Unit: vault.Evidence}, "x"); err != nil {
		t.Errorf("the proof's key: %v", err)
	}
	r.whole(ctx, bo)
	got, err := r.Records.Get(ctx, shared.ID)
	r.ok(err)
	if len(got.Parties) != 0 || len(got.Fields) != 1 {
		t.Errorf("of the other's record %d parties and %d fields are left", len(got.Parties), len(got.Fields))
	}
	var kinds []string
	r.ok(r.ledger.Visit(ctx, func(e ledger.Entry) error { kinds = append(kinds, string(e.Kind)); return nil }))
	if got := strings.Join(kinds, " "); got != "GENESIS ERASE_INTENT ERASE_DONE" {
		t.Errorf("ledger: %s", got)
	}
	if _, err := r.s.Get(r.As(testenv.Two), sh.ID); !errors.Is(err, erasure.ErrNotFound) {
		t.Errorf("another tenant sees it: %v", err)
	}
	if _, err := r.s.Begin(r.As(testenv.Two), erasure.Plan{Subject: bo.ID}); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("another tenant erases: %v", err)
	}
	r.whole(ctx, bo)
}

// sharedRecord is a record of one person with a value about another.
func (r *rig) sharedRecord(ctx context.Context, of, about *person) *record.Record {
	r.Helper()
	rec, err := r.Records.Write(ctx, record.WriteInput{
		Subject: of.ID, Dataset: of.kyc.ID, Origin: record.Provided, Parties: []record.Party{{Subject: about.ID, Role: "spouse"}},
		Fields: []record.FieldInput{world.Value("note", of.secret), world.About(about.ID, "note", about.secret)},
	})
	r.ok(err)
	return rec
}

// whole fails unless everything of the person is there.
func (r *rig) whole(ctx context.Context, p *person) {
	r.Helper()
	s, err := r.Subjects.Get(ctx, p.ID)
	r.ok(err)
	if s.Name == nil || s.Name.Full.Reveal() != p.secret || r.finds(ctx, p.email) != 1 {
		r.Errorf("%s is not whole, or not found", p.ID)
	}
	for name, rec := range p.records {
		got, err := r.Records.Get(ctx, rec.ID)
		if err != nil || got.Fields[0].State != personal.Clear {
			r.Errorf("record of %s: %v", name, err)
		}
	}
	_, content, err := r.Files.Open(ctx, p.file)
	r.ok(err)
	b, err := io.ReadAll(content)
	if err != nil || string(b) != p.secret {
		r.Errorf("file: %v", err)
	}
	r.ok(content.Close())
}

// The marketing profile goes, the KYC file stays.
func TestShredUnit(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	anna := r.person(ctx, "Anna", kyc, marketing)
	for _, bad := range []vault.Unit{vault.Identity, "dst_x", vault.Credentials} {
		if _, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID, Units: []vault.Unit{bad}}); !errors.Is(err, erasure.ErrUnit) {
			t.Errorf("unit %s: %v", bad, err)
		}
	}
	_, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID, Units: []vault.Unit{vault.Unit(marketing.ID)}})
	r.ok(err)
	write := record.WriteInput{Subject: anna.ID, Dataset: marketing.ID, Origin: record.Provided, Fields: []record.FieldInput{world.Value("note", "x")}}
	refused := func(when string) {
		if _, err := r.Records.Get(ctx, anna.records["Marketing"].ID); errs.KindOf(err) != errs.Erased && errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s: read: %v", when, err)
		}
		if _, err := r.Records.Write(ctx, write); errs.KindOf(err) != errs.Erased {
			t.Errorf("%s: write: %v", when, err)
		}
	}
	refused("after the mark")
	r.Work(ctx)
	refused("in the end")
	if got := r.lists(ctx, anna); len(got) != 1 || got[0].DatasetID != kyc.ID {
		t.Errorf("%d records are left", len(got))
	}
	delete(anna.records, "Marketing")
	r.whole(ctx, anna)
	if n := r.Count(ctx, "lookups", bson.D{{Key: "owner", Value: bson.D{{Key: "$gt", Value: "rec_"}, {Key: "$lt", Value: "rec`"}}}}); n != 0 {
		t.Errorf("%d lookups of the unit are left", n)
	}
	if left := r.Storage.Contains(t, anna.export); len(left) > 0 {
		t.Errorf("the package that holds a copy is left: %v", left)
	}
}

var errStopped = errors.New("stopped")

// points are where a shredding can stop.
func points() []string {
	all := []string{"destroyed a key", "erased records", "erased files", "erased packages", "erased persons"}
	for _, s := range erasure.Steps() {
		all = append(all, "did "+string(s), "recorded "+string(s))
	}
	return all
}

// A shredding that stops at any point is finished by the next attempt.
func TestStopAnywhere(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	bo := r.person(ctx, "Bo", kyc, marketing)
	for i, point := range points() {
		t.Run(point, func(t *testing.T) {
			anna := r.person(ctx, fmt.Sprint("Anna", i), kyc, marketing)
			sh, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID})
			r.ok(err)
			r.trace = func(p string) {
				if p == point {
					panic(errStopped)
				}
			}
			func() {
				defer func() {
					if p := recover(); p != errStopped { //nolint:errorlint // what was panicked with
						t.Errorf("not stopped: %v", p)
					}
				}()
				r.ok(r.s.Shred(ctx, sh.ID))
			}()
			r.trace = func(string) {}
			r.ok(r.s.Shred(ctx, sh.ID))
			sh, err = r.s.Get(ctx, sh.ID)
			r.ok(err)
			if sh.State != erasure.Done || len(sh.Steps) != len(erasure.Steps()) || len(sh.Epochs) == 0 {
				t.Errorf("%+v", sh)
			}
			if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}) + len(r.Storage.Contains(t, anna.file)); n != 0 {
				t.Errorf("%d things are left", n)
			}
		})
	}
	r.whole(ctx, bo)
}

// A database restored from before an erasure erases again before it serves.
func TestReplay(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	anna, bo := r.person(ctx, "Anna", kyc, marketing), r.person(ctx, "Bo", kyc, marketing)
	backup := r.backup(ctx)
	stranger := r.person(ctx, "Stranger", kyc, marketing) // whom the backup doesn't know
	for _, p := range []*person{anna, stranger} {
		sh, err := r.s.Begin(ctx, erasure.Plan{Subject: p.ID})
		r.ok(err)
		r.ok(r.s.Shred(ctx, sh.ID))
	}
	r.restore(ctx, backup)
	if r.finds(ctx, anna.email) != 1 {
		t.Fatal("nothing was restored")
	}
	r.ok(r.ledger.Check(ctx, "db-1", r.replay))
	if r.finds(ctx, anna.email) != 0 {
		t.Error("the erased person is found again")
	}
	if s, err := r.Subjects.Get(ctx, anna.ID); err != nil || s.State != subject.Erased {
		t.Errorf("the erased person is back: %v", err)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}); n != 0 {
		t.Errorf("%d records are back", n)
	}
	r.ok(r.ledger.Check(ctx, "db-1", func(context.Context, ledger.Entry) error { return errors.New("again") }))
	r.whole(ctx, bo)
	n := 0
	r.ok(r.ledger.Visit(ctx, func(ledger.Entry) error { n++; return nil }))
	if n != 5 {
		t.Errorf("%d entries", n)
	}
	err := r.replay(ctx, ledger.Entry{Kind: ledger.Hold})
	if !errors.Is(err, ledger.ErrNoReplay) {
		t.Errorf("an entry that nobody carries out: %v", err)
	}
}

// backup copies the data database.
func (r *rig) backup(ctx context.Context) map[string][]bson.Raw {
	r.Helper()
	names := []string{"subjects", "records", "files", "exports", "lookups", "lookupKeys", "shreddings", "ledger", "jobs", "audit"}
	all := map[string][]bson.Raw{}
	for _, name := range names {
		cursor, err := r.Stored(name).Find(ctx, bson.D{})
		r.ok(err)
		docs := []bson.Raw{}
		r.ok(cursor.All(ctx, &docs))
		all[name] = docs
	}
	return all
}

func (r *rig) restore(ctx context.Context, all map[string][]bson.Raw) {
	r.Helper()
	for name, docs := range all {
		_, err := r.Stored(name).DeleteMany(ctx, bson.D{})
		r.ok(err)
		if len(docs) > 0 {
			_, err = r.Stored(name).InsertMany(ctx, docs)
			r.ok(err)
		}
	}
}

// After an erasure, and the end of its epoch, whoever holds every copy that was
// ever made, and every key that still exists, reads nothing of the person and
// can't confirm who it was.
func TestIrrecoverable(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc, marketing := r.datasets(ctx)
	anna, bo := r.person(ctx, "Anna", kyc, marketing), r.person(ctx, "Bo", kyc, marketing)
	old, err := r.Vault.Current(ctx)
	r.ok(err)

	// Everything that a thief, or a backup, could hold of before.
	data := r.backup(ctx)
	var keys []vault.DataKey
	var indexKeys []vault.IndexKey
	r.ok(r.Keys.Copy(ctx, func(s vault.EpochStore) error {
		if keys, err = s.DataKeys(ctx, "", 10_000); err == nil {
			indexKeys, err = s.IndexKeys(ctx, "", 10_000)
		}
		return err
	}))
	tenantKey, _, err := r.Keys.FindTenantKey(ctx, testenv.One, old.Epoch)
	r.ok(err)
	paths := r.Storage.Contains(t, anna.file)
	if len(paths) == 0 {
		t.Fatal("no object to copy")
	}
	object, err := os.ReadFile(paths[0])
	r.ok(err)

	// Before the epoch ends the thief reads everything: so the test can fail.
	if !r.reads(ctx, r.thief(ctx, old, tenantKey, keys, indexKeys), data, anna) {
		t.Fatal("the copies don't open while the master lives: the test proves nothing")
	}
	sh, err := r.s.Begin(ctx, erasure.Plan{Subject: anna.ID})
	r.ok(err)
	r.Work(ctx)
	r.endEpoch(old.Epoch)
	r.whole(ctx, bo)

	// Every key that still exists: the key store of today, and the copies under the masters of today.
	thief := r.thief(ctx, old, tenantKey, keys, indexKeys)
	for _, v := range []*vault.Vault{thief, r.Vault} {
		if r.reads(ctx, v, data, anna) {
			t.Error("the erased name opens")
		}
	}
	if !r.reads(ctx, r.Vault, data, bo) {
		t.Error("the other's name in the copy doesn't open")
	}
	o := record.Unit(testenv.One, anna.ID, kyc.ID)
	for _, v := range []*vault.Vault{thief, r.Vault} {
		k, err := v.Load(ctx, o)
		r.ok(err)
		content, err := k.OpenStream(o, vault.Place{Collection: file.Collection, Record: anna.file, Field: "content"}, bytes.NewReader(object), int64(len(object)))
		if err == nil {
			_, err = io.ReadAll(content)
		}
		if err == nil {
			t.Error("the erased file opens")
		}
	}
	for _, v := range []*vault.Vault{thief, r.Vault} {
		if _, err := v.IndexAt(ctx, testenv.One, old.Epoch); err == nil {
			t.Error("the old index key is there: a copied lookup confirms a guess")
		}
	}
	copied := map[string]bool{}
	for _, doc := range data["lookups"] {
		copied[doc.Lookup("_id").StringValue()] = true
	}
	x, err := r.Vault.Index(ctx, testenv.One)
	r.ok(err)
	for _, p := range []*person{anna, bo} {
		d, err := x.Digest(string(lookup.Email), 1, personal.NewText(p.email))
		r.ok(err)
		if copied[fmt.Sprintf("%s/%s/%x/%s", testenv.One, lookup.Email, d, p.ID)] {
			t.Error("a guess is confirmed by a copied lookup")
		}
	}
	c, err := r.s.Overview(r.As(world.Provider), page.Request{First: 1})
	r.ok(err)
	if o := c.Nodes()[0]; o.ID != sh.ID || o.PlannedAt == nil || o.IrrecoverableAt == nil || o.KeysDestroyedAt == nil {
		t.Errorf("%+v", o)
	}
}

// reads reports whether a vault opens the name of a person in a copy of the data.
func (r *rig) reads(ctx context.Context, v *vault.Vault, data map[string][]bson.Raw, p *person) bool {
	r.Helper()
	o := subject.Identity(testenv.One, p.ID)
	k, err := v.Load(ctx, o)
	r.ok(err)
	for _, doc := range data["subjects"] {
		if doc.Lookup("_id").StringValue() != p.ID {
			continue
		}
		_, sealed := doc.Lookup("identity", "name").Binary()
		got, err := k.Open(o, vault.Place{Collection: "subjects", Record: p.ID, Field: "name"}, sealed)
		text, _ := got.RevealString()
		return err == nil && strings.Contains(text, p.secret)
	}
	r.Fatalf("%s isn't in the copy", p.ID)
	return false
}

// thief returns a vault over copied keys, with the key management of today.
func (r *rig) thief(ctx context.Context, m vault.Master, tk vault.TenantKey, keys []vault.DataKey, indexKeys []vault.IndexKey) *vault.Vault {
	r.Helper()
	store := vaulttest.NewMemory()
	store.PutMaster(m)
	_, err := store.InsertTenantKey(ctx, tk)
	r.ok(err)
	for _, k := range keys {
		store.PutDataKey(k)
	}
	for _, k := range indexKeys {
		_, err := store.InsertIndexKey(ctx, k)
		r.ok(err)
	}
	v, err := vault.New(vault.Config{Store: store, KMS: r.KMS, Now: r.Now})
	r.ok(err)
	return v
}

type provider struct{}

func (provider) ProviderID(context.Context) (tenant.ID, error) { return world.Provider, nil }

// endEpoch closes an epoch to its end.
func (r *rig) endEpoch(e vault.Epoch) {
	r.Helper()
	s := r.epochs()
	operator := func(name string) context.Context {
		return authz.NewContext(tenant.NewContext(r.Context(), world.Provider), authz.Principal{Kind: authz.KindMember, ID: name, Tenant: world.Provider})
	}
	c, err := s.Request(operator("mem_a"), epoch.RequestInput{Epoch: int(e)})
	r.ok(err)
	_, err = s.Approve(operator("mem_b"), epoch.DecideInput{ID: c.ID})
	r.ok(err)
	for range 40 {
		r.ok(s.Sweep(tenant.System(r.Context(), "test")))
		if c, err = s.Get(operator("mem_a"), c.ID); err == nil && c.State == epoch.Done {
			return
		}
		r.ok(err)
		r.Sleep(25 * time.Hour)
	}
	r.Fatal("the epoch doesn't end")
}

// epochs is the service that closes epochs.
func (r *rig) epochs() *epoch.Service {
	log := testenv.Logger(r)
	return epoch.NewService(epoch.Config{
		Store: mongo.NewEpochStore(r.DB), Keys: r.Keys, KMS: r.KMS, Vault: r.Vault, Provider: provider{}, Changes: r.Changes,
		Log: log, Now: r.Now,
		Lookups: mongo.NewLookupRenewal(mongo.RenewalConfig{
			DB: r.DB, Keys: r.Keys, Vault: r.Vault, Subjects: mongo.NewSubjectStore(r.DB, r.Vault, log),
			Records: mongo.NewRecordStore(r.DB, r.Vault, log), RecordKeys: r.Records.LookupKeys, Log: log, Now: r.Now,
		}),
	})
}
