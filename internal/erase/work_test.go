package erase_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erase"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/letter"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/paper"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/processing"
	"github.com/vogter/vogter/internal/request"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/verify"
)

// rig is a platform that answers wishes to be erased.
type rig struct {
	*world.World

	s       *erase.Service
	work    *erase.Work
	certs   *certificate.Service
	keeping *retention.Service
	ring    *sign.Ring
	epochs  *fixed
	erasing *erasure.Service
	asked   []*request.Request // what persons asked for
	letters []letter.Fields    // that were written later
}

// List implements erase.Requests.
func (r *rig) List(_ context.Context, f request.Filter, _ *page.Position, _ int) (found []*request.Request, _ error) {
	for _, q := range r.asked {
		if q.Subject == *f.Subject {
			found = append(found, q)
		}
	}
	return found, nil
}

// Later implements erase.Post.
func (r *rig) Later(_ context.Context, _ *request.Request, _, _ string, fields letter.Fields) (string, error) {
	r.letters = append(r.letters, fields)
	return id.New(id.SentLetter, testenv.One), nil
}

type quiet struct{ *vault.Vault }

func (q quiet) Evict(_ context.Context, owners ...vault.Owner) { q.Vault.Evict(owners...) }

// fixed are epochs whose end the test sets.
type fixed struct {
	planned time.Time
	actual  *time.Time
}

func (f *fixed) Irrecoverable(context.Context, ...vault.Epoch) (time.Time, *time.Time, error) {
	return f.planned, f.actual, nil
}

type nobody struct{}

func (nobody) Recipients(context.Context, string, string, int) ([]string, error) { return nil, nil }

func (nobody) Party(context.Context, string) (*processing.Party, error) {
	return nil, processing.ErrNoParty
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{World: world.Start(t), epochs: &fixed{}}
	r.epochs.planned = r.Now().AddDate(0, 3, 0).UTC().Truncate(time.Millisecond)
	r.ring = testenv.Ring(t, r.DB, r.Vault, r.Changes)
	heads := mongo.NewLedgerStore(r.DB)
	entries := ledger.New(ledger.Config{Store: heads, Objects: r.Bucket, Signer: r.ring, Now: r.Now, Keep: time.Hour})
	tenants := mongo.NewTenantStore(r.DB, r.Vault)
	erasing := erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(r.DB), Keys: r.Keys, Caches: quiet{r.Vault}, Ledger: entries, Lookups: mongo.LookupEraser(r.DB),
		Data: mongo.Erasers(r.DB, r.Bucket, r.Changes), Epochs: r.epochs, Changes: r.Changes, Log: testenv.Logger(t), Now: r.Now,
		Done: certificate.Jobs,
	})
	r.erasing = erasing
	r.keeping = retention.NewService(retention.Config{
		Store: mongo.NewRetentionStore(r.DB, r.Vault), Datasets: r.Datasets, Tenants: tenants, Erasures: erasing,
		Ledger: entries, Vault: r.Vault, Changes: r.Changes, Recorder: r.Recorder, Log: testenv.Logger(t), Now: r.Now,
	})
	r.certs = certificate.NewService(certificate.Config{
		Store: mongo.NewCertificateStore(r.DB), Shreddings: erasing, Epochs: r.epochs, Datasets: r.Datasets, Tenants: tenants,
		Ledger: heads, Signer: r.ring, Changes: r.Changes, Now: r.Now, Backups: 400 * 24 * time.Hour,
		Issued: erase.Jobs,
	})
	r.s = erase.NewService(erase.Config{
		Store: mongo.NewHoldingsStore(r.DB, r.Vault), Keeping: r.keeping, Datasets: r.Datasets, Recipients: nobody{}, Parties: nobody{},
		Erasures: erasing, Changes: r.Changes, Recorder: r.Recorder, Now: r.Now, Backups: 400 * 24 * time.Hour,
	})
	r.work = &erase.Work{Service: r.s, Certificates: r.certs, Rules: mongo.NewRetentionStore(r.DB, r.Vault), Requests: r, Post: r}
	r.ok(entries.Check(t.Context(), "db-1", func(context.Context, ledger.Entry) error { return nil }))
	r.Handle(erasure.JobShred, func(ctx context.Context, run *job.Run) error { return erasing.Run(ctx, run) })
	r.Handle(certificate.JobIssue, func(ctx context.Context, run *job.Run) error { return r.certs.Run(ctx, run) })
	r.Handle(erase.JobTell, func(ctx context.Context, run *job.Run) error { return r.work.Run(ctx, run) })
	r.Handle(retention.JobOutdate, r.keeping.Outdate)
	r.Handle(retention.JobLedger, r.keeping.TellLedger)
	r.Handle(retention.JobRun, r.keeping.Run)
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// asks is a request to be erased, approved with a plan.
func (r *rig) asks(s *subject.Subject, plan string) (*request.Request, *request.Item) {
	q := &request.Request{ID: id.New(id.Request, testenv.One), Subject: s.ID, PreparedBy: "mem_a", ApprovedBy: "mem_b", Items: []request.Item{{
		ID: id.New(id.RequestItem, testenv.One), Type: request.Erasure, Proposal: &request.Proposal{Outcome: request.Fulfilled, Ground: "17(1)(a)", Plan: plan},
	}}, Reply: &request.Reply{At: r.Now()}}
	r.asked = append(r.asked, q)
	return q, &q.Items[0]
}

func (r *rig) preview(ctx context.Context, s *subject.Subject) *erase.Plan {
	r.Helper()
	p, err := r.s.Preview(ctx, s.ID)
	r.ok(err)
	return p
}

func (r *rig) keep(ctx context.Context, d *dataset.Dataset, template string) {
	r.Helper()
	_, err := r.keeping.Create(ctx, retention.CreateInput{Template: &template, Dataset: &d.ID})
	r.ok(err)
}

func outcomes(p *erase.Plan) map[string]retention.Outcome {
	m := map[string]retention.Outcome{}
	for _, part := range p.Parts {
		m[part.Dataset] = part.Outcome
	}
	return m
}

// verified checks a file as `vogter verify` does, and returns what it says.
func (r *rig) verified(text string) *verify.Report {
	r.Helper()
	keys, err := r.ring.Keys(r.Context())
	r.ok(err)
	name := filepath.Join(r.TempDir(), "certificate.jws")
	r.ok(os.WriteFile(name, []byte(text+"\n"), 0o600))
	reports, err := verify.Files([]string{name}, verify.Options{Trusted: keys})
	r.ok(err)
	return reports[0]
}

// A person of whom nothing must be kept is erased as a whole, and it is certified.
func TestWhole(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	notes := r.Dataset(ctx, "Notes", world.Field("note", dataset.TypeString))
	papers := r.Dataset(ctx, "Papers", world.Field("note", dataset.TypeString))
	anna, bo := r.Subject(ctx, "Anna"), r.Subject(ctx, "Bo")
	r.Record(ctx, anna, notes, world.Value("note", "anna-secret"))
	r.Upload(ctx, anna, papers, "a.txt", "anna-secret") // a document without a record
	r.Record(ctx, bo, notes, world.Value("note", "bo"))
	p := r.preview(ctx, anna)
	if len(p.Parts) != 3 || len(p.Irreversible) == 0 || len(p.Hash) != 64 {
		t.Fatalf("%+v", p)
	}
	for _, part := range p.Parts {
		if !part.Now() || part.Dataset == "Notes" && (part.Records != 1 || len(part.Fields) != 1) || part.Dataset == "Papers" && part.Files != 1 {
			t.Errorf("%+v", part)
		}
	}
	q, item := r.asks(anna, p.Hash)
	answers, err := r.work.Search(ctx, q, item)
	if err != nil || len(answers) != 2 || answers[0].Result != request.Found {
		t.Errorf("%+v, %v", answers, err)
	}
	done, err := r.work.Carry(ctx, q, item, nil)
	if err != nil || done.Outcome != request.Fulfilled || done.Later || len(done.Results) != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	r.Work(ctx)
	again, err := r.work.Carry(ctx, q, item, nil)
	if err != nil || !slices.Equal(again.Results, done.Results) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}) + r.Count(ctx, "files", bson.D{{Key: "subject", Value: anna.ID}}); n != 0 {
		t.Errorf("%d are left", n)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: bo.ID}}); n != 1 {
		t.Error("another's record is gone")
	}

	c, err := r.certs.Get(ctx, done.Results[1])
	r.ok(err)
	said, err := json.Marshal(c.Content)
	r.ok(err)
	if strings.Contains(string(said), "anna-secret") || !c.Content.WholePerson || len(c.Content.Scope) != 3 || len(c.Content.Steps) != len(erasure.Steps()) ||
		c.Content.Controller.Name != "Første ApS" || c.Content.Processor.Name != "Vogter Drift A/S" || c.Content.Ledger.SHA256 == "" ||
		c.Content.Ground != "GDPR Art. 17(1)(a)" || !c.Content.Backups.IrrecoverableOn.Equal(r.epochs.planned) {
		t.Errorf("%s", said)
	}
	report := r.verified(c.Signed)
	if report.What != "ERASURE_CERTIFICATE" || !strings.Contains(report.Notes[0], c.ID) {
		t.Errorf("%+v", report)
	}
	parts := strings.Split(c.Signed, ".")
	parts[1] = parts[1][:20] + "A" + parts[1][21:]
	keys, err := r.ring.Keys(ctx)
	r.ok(err)
	if _, err := verify.Text([]byte(strings.Join(parts, ".")), verify.Options{Trusted: keys}); !errors.Is(err, sign.ErrAltered) {
		t.Errorf("altered: %v", err)
	}
	for name, got := range map[string]func(ctx context.Context) error{
		"certificate": func(ctx context.Context) error { _, err := r.certs.Get(ctx, c.ID); return err },
		"preview":     func(ctx context.Context) error { _, err := r.s.Preview(ctx, anna.ID); return err },
	} {
		if err := got(r.As(testenv.Two)); !errors.Is(err, certificate.ErrNotFound) && !errors.Is(err, subject.ErrNotFound) {
			t.Errorf("%s as another tenant: %v", name, err)
		}
	}

	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	if c, err = r.certs.Get(ctx, c.ID); err != nil || c.Statement != "" {
		t.Errorf("stated too early: %v", err)
	}
	gone := r.Now().UTC().Truncate(time.Millisecond)
	r.epochs.actual = &gone
	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	c, err = r.certs.Get(ctx, c.ID)
	r.ok(err)
	hash, err := c.Hash()
	r.ok(err)
	for number, say := range map[string]string{c.ID: c.Signed, c.Content.Backups.Statement: c.Statement} {
		f, err := r.certs.Open(ctx, number)
		r.ok(err)
		public, err := r.certs.Public(t.Context(), "en", number)
		if err != nil || string(paper.Attached(f.Content)) != say || string(paper.Attached(public.Content)) != say || f.Subject != anna.ID {
			t.Errorf("%s as PDF: %v", number, err)
		}
		if _, err := r.certs.Open(r.As(testenv.Two), number); !errors.Is(err, certificate.ErrNotFound) {
			t.Errorf("as PDF to another tenant: %v", err)
		}
		for who, want := range map[string]error{anna.ID: nil, bo.ID: certificate.ErrNotFound} {
			self := authz.NewContext(ctx, authz.Principal{Kind: authz.KindSubject, ID: "x", Subject: who, Tenant: testenv.One})
			if _, err := r.certs.Open(self, number); !errors.Is(err, want) {
				t.Errorf("as PDF to a person: %v", err)
			}
		}
	}
	if report := r.verified(c.Statement); report.What != "IRRECOVERABILITY_STATEMENT" || !slices.Contains(report.Notes, "SHA-256 of what the certificate says: "+hash) ||
		!strings.Contains(report.Notes[0], c.Content.Backups.Statement) {
		t.Errorf("%+v", report)
	}
}

// What the law keeps stays until its time is over, and goes then by itself, with a
// certificate of its own; a hold or another rule after the approval stops it.
func TestPartial(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	profile := r.Dataset(ctx, "Profile", world.Field("note", dataset.TypeString))
	r.keep(ctx, kyc, "dk-hvl-30-relation")
	anna := r.Subject(ctx, "Anna")
	_, rel, err := r.Subjects.StartRelation(ctx, subject.StartRelationInput{Subject: anna.ID, Kind: subject.BusinessRelation, StartedOn: civil.Of(r.Now()).AddDays(-1000)})
	r.ok(err)
	ended := civil.Of(r.Now()).AddDays(-1)
	_, _, err = r.Subjects.EndRelation(ctx, subject.EndRelationInput{Subject: anna.ID, Relation: rel.ID, EndedOn: ended})
	r.ok(err)
	r.Record(ctx, anna, kyc, world.Value("note", "kyc"))
	r.Record(ctx, anna, profile, world.Value("note", "profile"))
	r.Work(ctx)
	p := r.preview(ctx, anna)
	if got := outcomes(p); got["KYC"] == retention.EraseNow || got["Profile"] != retention.EraseNow || got[""] != retention.Keep {
		t.Fatalf("%v", got)
	}

	q, item := r.asks(anna, strings.Repeat("0", 64))
	if _, err := r.work.Carry(ctx, q, item, nil); !errors.Is(err, request.ErrPlan) {
		t.Errorf("another plan: %v", err)
	}
	q, item = r.asks(anna, p.Hash)
	hold, err := r.keeping.Place(ctx, retention.PlaceInput{
		Scope: retention.Scope{Persons: []string{anna.ID}}, Exception: retention.LegalClaims, LegalSource: "Retsplejeloven § 298",
		Reason: personal.NewText("dispute"), ReviewOn: civil.Of(r.Now()).AddDays(90),
	})
	r.ok(err)
	if _, err := r.work.Carry(ctx, q, item, nil); !errors.Is(err, request.ErrHeld) {
		t.Errorf("under a hold: %v", err)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}); n != 2 {
		t.Errorf("%d records are there", n)
	}
	_, err = r.keeping.Release(r.As(testenv.One), retention.ReleaseInput{ID: hold.ID})
	r.ok(err)
	if got := r.preview(ctx, anna); got.Hash != p.Hash {
		t.Error("the same decisions have another hash")
	}

	done, err := r.work.Carry(ctx, q, item, nil)
	if err != nil || done.Outcome != request.PartiallyFulfilled || !done.Later {
		t.Fatalf("%+v, %v", done, err)
	}
	first, err := r.certs.Get(ctx, done.Results[1])
	r.ok(err)
	var kept *certificate.Kept
	for i := range first.Content.Exceptions {
		if k := &first.Content.Exceptions[i]; k.Name == "KYC" {
			kept = k
		}
	}
	if kept == nil || kept.Date == nil || kept.Article != "GDPR Art. 17(3)(b)" || len(first.Content.Scope) != 1 || first.Content.WholePerson {
		t.Fatalf("%+v", first.Content)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}); n != 1 {
		t.Errorf("%d records are there", n)
	}

	no := false
	_, err = r.keeping.ChangeSettings(ctx, retention.SettingsInput{Approval: &no})
	r.ok(err)
	r.Sleep(kept.Date.Start(time.UTC).Add(36 * time.Hour).Sub(r.Now()))
	for range 3 {
		r.Work(ctx)
		r.ok(r.keeping.Sweep(tenant.System(r.Context(), "test")))
		r.Work(ctx)
		r.Sleep(24 * time.Hour)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "subjects", Value: anna.ID}}); n != 0 {
		t.Errorf("%d records are there still", n)
	}
	all, err := r.certs.For(ctx, item.ID)
	r.ok(err)
	whole := slices.ContainsFunc(all, func(c *certificate.Certificate) bool { return c.Content.WholePerson && c.State == certificate.Issued })
	if len(all) < 2 || !whole {
		t.Errorf("%d certificates, of the whole person: %t", len(all), whole)
	}
	if len(r.letters) != len(all)-1 {
		t.Fatalf("%d letters on %d certificates", len(r.letters), len(all))
	}
	library, err := letter.NewLibrary()
	r.ok(err)
	form, err := library.Form("erasure-completed-later", "en")
	r.ok(err)
	for _, l := range r.letters {
		for _, f := range form.Fields {
			if _, ok := l[f.Name]; f.Required && strings.HasPrefix(f.Name, "erasure.") && !ok {
				t.Errorf("a letter lacks %s", f.Name)
			}
		}
	}
	for _, c := range all {
		var names []string
		for _, scope := range c.Content.Scope {
			names = append(names, scope.Name+"/"+scope.Unit)
		}
		if c.ID != first.ID && !slices.Equal(names, []string{"KYC/" + kyc.ID, "/" + retention.Person}) {
			t.Errorf("erased later: %q", names)
		}
	}
	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	gone := r.Now()
	r.epochs.actual = &gone
	r.Sleep(time.Hour)
	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	if again, err := r.certs.For(ctx, item.ID); err != nil || len(again) != len(all)-1 { // the first one's own time is over
		t.Errorf("%d certificates, %v", len(again), err)
	}
	r.Sleep(certificate.Years * 366 * 24 * time.Hour) // their own time is over
	r.ok(r.certs.Sweep(tenant.System(ctx, "test")))
	if again, err := r.certs.For(ctx, item.ID); err != nil || len(again) != 0 {
		t.Errorf("%d certificates are left, %v", len(again), err)
	}
}

// What is secret by law is in no plan of who may not know, in no hash, answer or
// certificate, and isn't erased on request.
func TestSecret(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	notes := r.Dataset(ctx, "Notes", world.Field("note", dataset.TypeString))
	secret, err := r.Datasets.Create(ctx, dataset.CreateInput{Name: "Reports", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeString)}})
	r.ok(err)
	keep := r.Dataset(ctx, "Kept", world.Field("note", dataset.TypeString))
	_, err = r.keeping.Create(ctx, retention.CreateInput{Dataset: &keep.ID, Rule: &retention.ContentInput{
		Trigger: retention.CollectedAt, Period: "P5Y", Kind: retention.MinAndMax, LegalSource: "§ 12", Exception: retention.LegalObligation, TextDa: "Kort.", TextEn: "Short.",
	}})
	r.ok(err)
	anna := r.Subject(ctx, "Anna")
	r.Record(ctx, anna, notes, world.Value("note", "a"))
	r.Record(ctx, anna, keep, world.Value("note", "a"))
	who := authz.FromContext(ctx)
	who.Clearances = nil
	uncleared := authz.NewContext(ctx, who)
	before := r.preview(uncleared, anna)
	r.Record(ctx, anna, secret, world.Value("note", "a"))
	r.Work(ctx)
	after := r.preview(uncleared, anna)
	if before.Hash != after.Hash || len(after.Parts) != len(before.Parts) || len(r.preview(ctx, anna).Parts) != len(after.Parts)+1 {
		t.Errorf("what is secret shows: %+v", after)
	}
	q, item := r.asks(anna, after.Hash)
	answers, err := r.work.Search(ctx, q, item)
	if err != nil || slices.ContainsFunc(answers, func(a request.Answer) bool { return a.System == secret.ID }) {
		t.Errorf("%+v, %v", answers, err)
	}
	done, err := r.work.Carry(ctx, q, item, nil)
	r.ok(err)
	c, err := r.certs.Get(ctx, done.Results[1])
	r.ok(err)
	said, err := json.Marshal(c.Content)
	r.ok(err)
	if strings.Contains(string(said), secret.ID) || strings.Contains(string(said), "Reports") {
		t.Errorf("%s", said)
	}
	if n := r.Count(ctx, "records", bson.D{{Key: "dataset", Value: secret.ID}}); n != 1 {
		t.Error("what is secret was erased on request")
	}
}
