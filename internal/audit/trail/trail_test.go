package trail_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/audit/seal"
	"github.com/vogter/vogter/internal/audit/trail"
	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/s3"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/verify"
)

type fixed tenant.ID

func (f fixed) ProviderID(context.Context) (tenant.ID, error) { return tenant.ID(f), nil }

// reader may do everything, or not read subjects.
type reader struct{ subjects bool }

func (r reader) Can(_ context.Context, do authz.Permission) authz.Decision {
	return authz.Decision{Allowed: do != authz.SubjectRead || r.subjects}
}

type world struct {
	testing.TB

	uri      string
	db       *mongo.DB
	vault    *vault.Vault
	keys     *mongo.KeyStore
	changes  *change.Runner
	recorder *audit.Recorder
	jobs     *job.Service
	ring     *sign.Ring
	trail    *trail.Service
	conf     trail.Config

	publisher *seal.Publisher
}

func start(tb testing.TB) *world {
	tb.Helper()
	w := &world{TB: tb, uri: testenv.MongoURI(tb), keys: testenv.KeyStore(tb)}
	w.db = testenv.Data(tb, w.uri)
	var err error
	w.vault, err = vault.New(vault.Config{Store: w.keys, KMS: testenv.KMS(tb), Now: testenv.Now})
	w.ok(err)
	log := testenv.Logger(tb)
	w.changes, w.recorder = testenv.Changes(tb, w.db, w.vault, vault.Hasher{Vault: w.vault}, nil)
	w.jobs = job.NewService(mongo.NewJobStore(w.db), w.changes, testenv.Now, log, job.Timing{})
	w.ring = testenv.Ring(tb, w.db, w.vault, w.changes)
	server := s3.Start(tb)
	first := server.Bucket(tb)
	store := mongo.NewAuditStore(w.db)
	w.publisher = seal.NewPublisher(seal.PublisherConfig{
		Checkpoints: store, Logs: store, Rows: w.db, Recorder: w.recorder, Ring: w.ring, Provider: fixed(testenv.Provider),
		Sealer: seal.NewSealer(seal.Config{Store: store, Now: testenv.Now, Log: log}),
		Places: []seal.Objects{first, server.Bucket(tb)}, Keep: time.Hour, Now: testenv.Now, Log: log,
	})
	w.conf = trail.Config{
		Store: mongo.NewTrailStore(w.db), Vault: w.vault, Keys: w.keys, Objects: first, Authorizer: reader{true}, Recorder: w.recorder,
		Publisher: w.publisher, Provider: fixed(testenv.Provider), Signer: w.ring, Jobs: w.jobs, Changes: w.changes, Log: log, Now: testenv.Now,
	}
	w.trail = trail.NewService(w.conf)
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// as returns a context of a member of a tenant.
func (w *world) as(of tenant.ID) context.Context {
	return authz.NewContext(tenant.NewContext(w.Context(), of), authz.Principal{
		Kind: authz.KindMember, ID: id.New(id.Member, of), Tenant: of, Role: authz.RoleDPO,
	})
}

// write writes n entries about a person, and returns the newest entry's id.
func (w *world) write(ctx context.Context, action, subject string, n int) string {
	w.Helper()
	var last string
	var rows []audit.Row
	for i := range n {
		row, err := w.recorder.Row(ctx, testenv.Now(), audit.Event{
			Action: action, Object: "rec_" + strconv.Itoa(i), Touches: []audit.Touch{{Subject: subject, Object: "rec_" + strconv.Itoa(i), Version: 1}},
		})
		w.ok(err)
		rows, last = append(rows, row), row.ID
	}
	w.ok(w.db.InsertAudit(ctx, rows...))
	return last
}

func TestLog(t *testing.T) {
	w := start(t)
	one, two := w.as(testenv.One), w.as(testenv.Two)
	w.write(one, "record.read", "sub_a", 7)
	entry := w.write(one, "record.update", "sub_b", 3)
	actor := authz.FromContext(one).ID
	refused := audit.Refused
	if err := w.recorder.Refuse(one, "subjects", ""); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    *trail.Filter
		want int
	}{
		{"all", nil, 11},
		{"actor", &trail.Filter{Actor: &actor}, 11},
		{"action", &trail.Filter{Action: new("record.update")}, 3},
		{"object", &trail.Filter{Object: new("rec_1")}, 2},
		{"subject", &trail.Filter{Subject: new("sub_b")}, 3},
		{"outcome", &trail.Filter{Outcome: &refused}, 1},
		{"time", &trail.Filter{From: new(testenv.Now().Add(-time.Hour)), To: new(testenv.Now().Add(-time.Minute))}, 0},
	} {
		seen := map[string]bool{}
		var after *string
		var from []time.Time
		for range 20 {
			c, err := w.trail.Page(one, tt.f, page.Request{First: 2, After: after})
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			for _, e := range c.Nodes() {
				if e.Action != "audit.read" { // of this very reading
					seen[e.ID], from = true, append(from, e.At)
				}
			}
			if !c.PageInfo.HasNextPage {
				break
			}
			after = c.PageInfo.EndCursor
		}
		if len(seen) != tt.want || !slices.IsSortedFunc(from, func(a, b time.Time) int { return b.Compare(a) }) {
			t.Errorf("%s: %d entries, want %d", tt.name, len(seen), tt.want)
		}
	}
	if _, err := w.trail.Page(one, &trail.Filter{Action: new("a"), Object: new("b")}, page.Request{First: 1}); !errors.Is(err, trail.ErrFilter) {
		t.Errorf("two at a time: %v", err)
	}
	e, err := w.trail.Get(one, entry)
	w.ok(err)
	if len(e.Subjects) != 1 || e.Subjects[0].State != personal.Clear || e.Subjects[0].Details[0].Object != "rec_2" {
		t.Errorf("got %+v", e.Subjects[0])
	}
	conf := w.conf
	conf.Authorizer = reader{false}
	if e, err = trail.NewService(conf).Get(one, entry); err != nil || e.Subjects[0].State != personal.Withheld || e.Subjects[0].Details != nil {
		t.Errorf("who may not read the person sees %+v, %v", e.Subjects[0], err)
	}
	for what, err := range map[string]error{
		"entry": second(w.trail.Get(two, entry)), "proof": second(w.trail.Proof(two, entry)),
	} {
		if errs.KindOf(err) != errs.NotFound {
			t.Errorf("%s by another tenant: %v", what, err)
		}
	}
	c, err := w.trail.Page(two, nil, page.Request{First: 100})
	if err != nil || len(c.Nodes()) != 0 {
		t.Errorf("another tenant sees %d entries, %v", len(c.Nodes()), err)
	}
}

func second[T any](_ T, err error) error { return err }

// keysFile returns the platform's public keys as a file.
func (w *world) keySet() *sign.KeySet {
	w.Helper()
	keys, err := w.ring.Keys(w.Context())
	w.ok(err)
	b, err := keys.MarshalJSON()
	w.ok(err)
	set, err := sign.ParseKeySet(b)
	w.ok(err)
	return set
}

func TestProofs(t *testing.T) {
	w := start(t)
	one := w.as(testenv.One)
	entry := w.write(one, "record.read", "sub_a", 300)
	if _, err := w.trail.Proof(one, entry); !errors.Is(err, trail.ErrUncovered) {
		t.Errorf("before any checkpoint: %v", err)
	}
	first, err := w.trail.Publish(one, trail.SealAuditInput{})
	w.ok(err)
	w.write(one, "record.read", "sub_a", 300)
	last, err := w.trail.Publish(one, trail.SealAuditInput{})
	w.ok(err)
	p, err := w.trail.Proof(one, entry)
	w.ok(err)
	r, err := verify.Text([]byte(p.Document), verify.Options{Trusted: w.keySet()})
	if err != nil || r.What != "AUDIT_PROOF" || p.Checkpoint.Number != last.Number {
		t.Errorf("got %+v, %v", r, err)
	}
	forged := strings.Replace(p.Document, fmt.Sprintf(`"seq":%d`, p.Seq), fmt.Sprintf(`"seq":%d`, p.Seq-1), 1)
	if _, err := verify.Text([]byte(forged), verify.Options{Trusted: w.keySet()}); err == nil {
		t.Error("a proof of another place is taken")
	}
	if _, err := verify.Text([]byte(p.Document), verify.Options{Trusted: testKeys(t)}); err == nil {
		t.Error("a stranger's keys are taken")
	}
	c, err := w.trail.Consistency(one, first.Number, last.Number)
	if err != nil || c.From.Size != first.Size || c.To.Size != last.Size || len(c.Path) == 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := w.trail.Consistency(w.as(testenv.Two), first.Number, last.Number); !errors.Is(err, trail.ErrNoCheckpoint) {
		t.Errorf("another tenant: %v", err)
	}
	for name, note := range map[string]string{"checkpoint": last.Note} {
		if r, err := verify.Text([]byte(note), verify.Options{Trusted: w.keySet()}); err != nil || r.SignedBy == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testKeys(t *testing.T) *sign.KeySet {
	t.Helper()
	ring := testenv.NewRing(t)
	if _, err := ring.Sign(t.Context(), sign.Checkpoint, sign.Text("vogter/x/1")); err != nil {
		t.Fatal(err)
	}
	keys, err := ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// work carries out the jobs there are.
func (w *world) work() {
	w.Helper()
	due, err := w.jobs.Due(w.Context(), 100)
	w.ok(err)
	for _, j := range due {
		w.ok(w.jobs.Work(tenant.NewContext(w.Context(), j.Tenant), j.ID, j.Delivery, func(ctx context.Context, r *job.Run) error {
			return w.trail.Build(ctx, r)
		}))
	}
}

// bundle exports the tenant's whole log.
func (w *world) bundle(ctx context.Context, from time.Time) string {
	w.Helper()
	e, err := w.trail.Request(ctx, trail.ExportAuditInput{From: from, To: testenv.Now().Add(time.Hour)})
	w.ok(err)
	w.work()
	e, content, err := w.trail.OpenExport(ctx, e.ID)
	w.ok(err)
	defer content.Close()
	b, err := io.ReadAll(content)
	w.ok(err)
	if e.State != trail.Ready || *e.Size != int64(len(b)) {
		w.Errorf("got %+v, %d bytes", e, len(b))
	}
	name := filepath.Join(w.TempDir(), "bundle.zip")
	w.ok(os.WriteFile(name, b, 0o600))
	return name
}

func TestBundle(t *testing.T) {
	w := start(t)
	one, two := w.as(testenv.One), w.as(testenv.Two)
	for range 5 {
		w.write(one, "record.read", "sub_a", 70)
		w.write(two, "record.read", "sub_a", 3)
		if _, err := w.trail.Publish(one, trail.SealAuditInput{}); err != nil {
			t.Fatal(err)
		}
	}
	middle := testenv.Now()
	w.write(one, "record.read", "sub_a", 30)
	whole := w.bundle(one, middle.Add(-time.Hour))
	entries := 0
	r, err := verify.File(whole, verify.Options{Trusted: w.keySet(), Visit: func(int64, []byte) error { entries++; return nil }})
	if err != nil || entries < 380 {
		t.Fatalf("got %+v with %d entries, %v", r, entries, err)
	}
	if r, err = verify.File(whole, verify.Options{}); err != nil || r.Root == nil {
		t.Errorf("without keys: %v", err)
	}
	if _, err := verify.File(whole, verify.Options{Trusted: testKeys(t)}); err == nil {
		t.Error("a stranger's keys are taken")
	}
	part := 0
	if _, err = verify.File(w.bundle(one, middle), verify.Options{Trusted: w.keySet(), Visit: func(int64, []byte) error { part++; return nil }}); err != nil || part >= entries || part < 30 {
		t.Errorf("from the middle: %d entries, %v", part, err)
	}
	if _, err := w.trail.GetExport(two, "aux_x"); !errors.Is(err, trail.ErrNoExport) {
		t.Errorf("got %v", err)
	}

	// Any byte of the log altered is found, and the entry named.
	z, err := zip.OpenReader(whole)
	w.ok(err)
	defer z.Close()
	f, err := z.Open("audit.log")
	w.ok(err)
	log, err := io.ReadAll(f)
	w.ok(err)
	named := 0
	for at := 22; at < len(log); at += 1 + len(log)/400 {
		b := slices.Clone(log)
		b[at] ^= 4
		_, err := proof.CheckBundle(bytes.NewReader(b), w.keySet(), testenv.One, nil)
		fault, ok := errors.AsType[*proof.Error](err)
		if !ok {
			t.Fatalf("byte %d was altered unnoticed: %v", at, err)
		}
		if fault.Seq >= 0 {
			named++
		}
	}
	if named < 200 {
		t.Errorf("an entry was named %d times", named)
	}
	for name, b := range map[string][]byte{"cut off": log[:len(log)-1], "more behind": append(slices.Clone(log), 1), "nothing": nil} {
		if _, err := proof.CheckBundle(bytes.NewReader(b), w.keySet(), testenv.One, nil); err == nil {
			t.Errorf("%s: found nothing", name)
		}
	}
	if _, err := proof.CheckBundle(bytes.NewReader(log), w.keySet(), testenv.Two, nil); err == nil {
		t.Error("taken for another tenant's")
	}
}

// A bundle is destroyed with its key when its time is over.
func TestSweep(t *testing.T) {
	w := start(t)
	one := w.as(testenv.One)
	w.write(one, "record.read", "sub_a", 3)
	w.bundle(one, testenv.Now().Add(-time.Hour))
	conf := w.conf
	conf.Now = func() time.Time { return testenv.Now().Add(trail.Life + time.Hour) }
	late := trail.NewService(conf)
	w.ok(late.Sweep(tenant.System(t.Context(), "test")))
	c, err := w.trail.Page(one, &trail.Filter{Action: new("audit.export.expire")}, page.Request{First: 10})
	if err != nil || len(c.Nodes()) != 1 {
		t.Fatalf("%d exports expired, %v", len(c.Nodes()), err)
	}
	if _, _, err := late.OpenExport(one, *c.Nodes()[0].Object); !errors.Is(err, trail.ErrExpired) {
		t.Errorf("got %v", err)
	}
}

// A person sees who saw their data, and nothing of what is secret.
func TestSelf(t *testing.T) {
	w := start(t)
	staff := w.as(testenv.One)
	me := id.New(id.Subject, testenv.One)
	self := authz.NewContext(tenant.NewContext(t.Context(), testenv.One), authz.Principal{
		Kind: authz.KindSubject, ID: me, Tenant: testenv.One, Subject: me,
	})
	record := func(secret ...bool) {
		t.Helper()
		ev := audit.Event{Action: "record.read"}
		for _, s := range secret {
			ev.Touches = append(ev.Touches, audit.Touch{Subject: me, Object: id.New(id.Record, testenv.One), Secret: s})
		}
		w.ok(w.recorder.Record(audit.WithRequest(staff, audit.Request{Purpose: "dpv:LegalCompliance"}), ev))
	}
	see := func() []*trail.Access {
		t.Helper()
		var all []*trail.Access
		var after *string
		for {
			c, err := w.trail.Self(self, page.Request{First: 2, After: after})
			w.ok(err)
			for _, a := range c.Nodes() {
				a.ID, a.At = "", time.Time{}
				all = append(all, a)
			}
			if !c.PageInfo.HasNextPage {
				return all
			}
			after = c.PageInfo.EndCursor
		}
	}
	record(false)
	record(false, false, false)
	w.write(staff, "record.read", "sub_other", 2)
	without := see()
	if len(without) != 2 || without[0].Objects != 3 || without[0].By != trail.Staff || *without[0].Purpose != "dpv:LegalCompliance" ||
		without[0].Role == nil || *without[0].Role != authz.RoleDPO {
		t.Fatalf("got %+v", without)
	}
	record(true)
	record(true, true)
	if with := see(); len(with) != len(without) {
		t.Errorf("with secret data the person sees %d accesses, without %d", len(with), len(without))
	}
	record(true, false)
	if with := see(); len(with) != 3 || with[0].Objects != 1 {
		t.Errorf("got %+v", with[0])
	}
	if _, err := w.trail.Self(staff, page.Request{First: 2}); !errors.Is(err, trail.ErrNoSubject) {
		t.Errorf("staff: %v", err)
	}
}

// What the platform's own checks found is shown to the tenant whose log it is.
func TestVerification(t *testing.T) {
	w := start(t)
	one, two := w.as(testenv.One), w.as(testenv.Two)
	if v, err := w.trail.Verification(one); v != nil || err != nil {
		t.Errorf("before the first check: %+v, %v", v, err)
	}
	spoiled := w.write(one, "record.update", "sub_a", 3)
	w.write(two, "record.update", "sub_b", 2)
	if _, err := w.publisher.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := testenv.Now()
	store := mongo.NewAuditStore(w.db)
	patrol := seal.NewPatrol(seal.PatrolConfig{
		Verifier: seal.Verifier{Archive: store, Vault: w.vault, Publisher: w.publisher}, Store: store, Changes: w.changes,
		Report: func(context.Context, tenant.ID) error { return nil }, Now: func() time.Time { return now }, Log: testenv.Logger(t),
	})
	w.ok(patrol.Sweep(t.Context()))
	v, err := w.trail.Verification(one)
	if err != nil || !v.Sound() || v.FullAt == nil || v.Size != 3 {
		t.Fatalf("a sound log: %+v, %v", v, err)
	}
	client, err := driver.Connect(options.Client().ApplyURI(w.uri))
	w.ok(err)
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	_, err = client.Database("vogter").Collection("audit").UpdateByID(t.Context(), spoiled, bson.D{{Key: "$set", Value: bson.D{{Key: "object", Value: "rec_other"}}}})
	w.ok(err)
	now = now.Add(8 * 24 * time.Hour)
	w.ok(patrol.Sweep(t.Context()))
	if v, err = w.trail.Verification(one); err != nil || v.Sound() || v.Fault.Entry == nil || *v.Fault.Entry != spoiled || v.Fault.Seq == nil {
		t.Errorf("a spoiled log: %+v, %v", v, err)
	}
	if v, err = w.trail.Verification(two); err != nil || !v.Sound() || v.Size == 0 {
		t.Errorf("the other tenant's: %+v, %v", v, err)
	}
}
