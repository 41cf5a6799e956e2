package retention_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/record"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// rig is a platform that keeps and erases. Its clock begins at the end of a year.
type rig struct {
	*world.World

	s       *retention.Service
	erasing *erasure.Service
	ledger  *ledger.Ledger
}

type quiet struct{ *vault.Vault }

func (q quiet) Evict(_ context.Context, owners ...vault.Owner) { q.Vault.Evict(owners...) }

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{World: world.Start(t)}
	log := testenv.Logger(t)
	r.ledger = ledger.New(ledger.Config{Store: mongo.NewLedgerStore(r.DB), Objects: r.Bucket, Signer: testenv.Ring(t, r.DB, r.Vault, r.Changes), Now: r.Now, Keep: time.Hour})
	r.erasing = erasure.NewService(erasure.Config{
		Store: mongo.NewShredStore(r.DB), Keys: r.Keys, Caches: quiet{r.Vault}, Ledger: r.ledger, Lookups: mongo.LookupEraser(r.DB),
		Data: mongo.Erasers(r.DB, r.Bucket, r.Changes), Changes: r.Changes, Log: log, Now: r.Now,
	})
	r.s = retention.NewService(retention.Config{
		Store: mongo.NewRetentionStore(r.DB, r.Vault), Datasets: r.Datasets, Tenants: mongo.NewTenantStore(r.DB, r.Vault), Erasures: r.erasing,
		Ledger: r.ledger, Vault: r.Vault, Changes: r.Changes, Recorder: r.Recorder, Log: log, Now: r.Now,
	})
	r.ok(r.ledger.Check(t.Context(), "db-1", func(context.Context, ledger.Entry) error { return nil }))
	r.Handle(erasure.JobShred, r.erasing.Run)
	r.Handle(retention.JobOutdate, r.s.Outdate)
	r.Handle(retention.JobLedger, r.s.TellLedger)
	r.Handle(retention.JobRun, r.s.Run)
	return r
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// on lets the clock run to noon of a day.
func (r *rig) on(day string) {
	r.Helper()
	to := date(day).Start(time.UTC).Add(12 * time.Hour)
	if to.Before(r.Now()) {
		r.Fatalf("it is %s already", r.Now())
	}
	r.Sleep(to.Sub(r.Now()))
}

// sweep does what the sweeps of a day do, with the jobs that follow.
func (r *rig) sweep(ctx context.Context) {
	r.Helper()
	r.Work(ctx)
	r.ok(r.s.Sweep(tenant.System(r.Context(), "test")))
	r.Work(ctx)
}

// client makes a person with a record in each dataset and a business relation.
func (r *rig) client(ctx context.Context, name string, sets ...*dataset.Dataset) (s *subject.Subject, relation string) {
	r.Helper()
	s = r.Subject(ctx, name)
	_, rel, err := r.Subjects.StartRelation(ctx, subject.StartRelationInput{Subject: s.ID, Kind: subject.BusinessRelation, StartedOn: date("2020-01-01")})
	r.ok(err)
	for _, d := range sets {
		r.Record(ctx, s, d, world.Value("note", name))
	}
	return s, rel.ID
}

func (r *rig) end(ctx context.Context, s *subject.Subject, relation, day string) {
	r.Helper()
	_, _, err := r.Subjects.EndRelation(ctx, subject.EndRelationInput{Subject: s.ID, Relation: relation, EndedOn: date(day)})
	r.ok(err)
}

func (r *rig) rule(ctx context.Context, d *dataset.Dataset, template string) *retention.Rule {
	r.Helper()
	in := retention.CreateInput{Template: &template}
	if d != nil {
		in.Dataset = &d.ID
	}
	rule, err := r.s.Create(ctx, in)
	r.ok(err)
	return rule
}

func (r *rig) own(ctx context.Context, d *dataset.Dataset, trigger retention.Trigger, period string) *retention.Rule {
	r.Helper()
	in := retention.CreateInput{Rule: &retention.ContentInput{
		Trigger: trigger, Period: period, Kind: retention.Max, LegalSource: "GDPR Art. 5(1)(e)", Exception: retention.LegalClaims, TextDa: "Kort.", TextEn: "Short.",
	}}
	if d != nil {
		in.Dataset = &d.ID
	}
	rule, err := r.s.Create(ctx, in)
	r.ok(err)
	return rule
}

func (r *rig) due(ctx context.Context, by string) []*retention.Decided {
	r.Helper()
	c, err := r.s.Due(ctx, day(by), page.Request{First: 100})
	r.ok(err)
	return c.Nodes()
}

func (r *rig) runs(ctx context.Context) []*retention.Run {
	r.Helper()
	c, err := r.s.Runs(ctx, page.Request{First: 100})
	r.ok(err)
	return c.Nodes()
}

// records counts a person's records in a dataset.
func (r *rig) records(ctx context.Context, s *subject.Subject, d *dataset.Dataset) int {
	r.Helper()
	return r.Count(ctx, "records", bson.D{{Key: "subject", Value: s.ID}, {Key: "dataset", Value: d.ID}})
}

func (r *rig) hold(ctx context.Context, scope retention.Scope) *retention.Hold {
	r.Helper()
	h, err := r.s.Place(ctx, r.holdInput(scope))
	r.ok(err)
	return h
}

func (r *rig) holdInput(scope retention.Scope) retention.PlaceInput {
	return retention.PlaceInput{
		Scope: scope, Exception: retention.LegalClaims, LegalSource: "Retsplejeloven § 298", Reason: personal.NewText("The dispute with Anna"),
		ReviewOn: civil.Of(r.Now()).AddDays(90),
	}
}

// A relation ends, the marketing profile goes first, the KYC file five years later,
// and with the last of it the person.
func TestSweep(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	profile := r.Dataset(ctx, "Profile", world.Field("note", dataset.TypeString))
	r.rule(ctx, kyc, "dk-hvl-30-relation")
	r.own(ctx, profile, retention.LastActivity, "P1Y")
	r.own(ctx, nil, retention.CollectedAt, "P0D")
	no := false
	_, err := r.s.ChangeSettings(ctx, retention.SettingsInput{Approval: &no})
	r.ok(err)

	r.on("2027-01-15")
	anna, relation := r.client(ctx, "Anna", kyc, profile)
	bo, _ := r.client(ctx, "Bo", kyc, profile)
	r.end(ctx, anna, relation, "2027-02-28")

	r.on("2028-01-15") // the last day of the profiles
	r.sweep(ctx)
	if r.records(ctx, anna, profile) != 1 || len(r.runs(ctx)) != 0 {
		t.Fatalf("erased too early: %+v", r.runs(ctx))
	}
	r.on("2028-01-16")
	r.Sweep(ctx, r.s)
	r.sweep(ctx)
	runs := r.runs(ctx)
	if len(runs) != 1 || runs[0].State != retention.Done || runs[0].Erased != 2 || runs[0].Found() != 2 || runs[0].Kept != 0 {
		t.Fatalf("%+v", runs)
	}
	if r.records(ctx, anna, profile)+r.records(ctx, bo, profile) != 0 || r.records(ctx, anna, kyc)+r.records(ctx, bo, kyc) != 2 {
		t.Error("the profiles go, and nothing else")
	}

	r.on("2032-02-28") // the last day of the file
	r.sweep(ctx)
	if r.records(ctx, anna, kyc) != 1 {
		t.Fatal("erased too early")
	}
	r.on("2032-02-29")
	r.sweep(ctx)
	if r.records(ctx, anna, kyc) != 0 || r.records(ctx, bo, kyc) != 1 {
		t.Fatal("the file of the one whose relation ended goes")
	}
	r.on("2032-03-01")
	r.sweep(ctx)
	for s, want := range map[*subject.Subject]subject.State{anna: subject.Erased, bo: subject.Active} {
		if got, err := r.Subjects.Get(ctx, s.ID); err != nil || got.State != want {
			t.Errorf("%s is %v, %v", s.ID, got, err)
		}
	}
	if n := r.Count(ctx, "retentionDates", bson.D{{Key: "subject", Value: anna.ID}}); n != 1 {
		t.Errorf("%d dates are left of the erased, not that of the proof alone", n)
	}
	// A relation that is open keeps the file, and the file the person.
	if due := r.due(ctx, "2040-01-01"); len(due) != 1 || due[0].Subject != anna.ID || due[0].Unit != retention.Proof {
		t.Errorf("%d are due", len(due))
	}
}

// Sweep sweeps twice in a day, which looks once.
func (r *rig) Sweep(_ context.Context, s *retention.Service) {
	r.Helper()
	r.ok(s.Sweep(tenant.System(r.Context(), "test")))
	r.ok(s.Sweep(tenant.System(r.Context(), "test")))
}

// Nothing is erased unseen unless the tenant wants that; a cap bounds each run; a
// hold placed after the approval stops its items; a stopped run goes on.
func TestRun(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	profile := r.Dataset(ctx, "Profile", world.Field("note", dataset.TypeString))
	r.own(ctx, profile, retention.CollectedAt, "P1M")
	r.on("2027-01-31")
	var persons []*subject.Subject
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		s, _ := r.client(ctx, name, profile)
		persons = append(persons, s)
	}
	most := 3
	_, err := r.s.ChangeSettings(ctx, retention.SettingsInput{Cap: &most})
	r.ok(err)
	held := r.hold(ctx, retention.Scope{Persons: []string{persons[0].ID}})

	r.on("2027-03-01")
	r.sweep(ctx)
	due := r.due(ctx, "2027-03-01")
	if len(due) != 5 || due[0].DueOn.String() != "2027-03-01" || *due[0].DatasetID() != profile.ID {
		t.Fatalf("%d are due", len(due))
	}
	for _, d := range due {
		want := retention.EraseNow
		if d.Subject == persons[0].ID {
			want = retention.Keep
		}
		if d.Outcome != want {
			t.Errorf("%s: %s %s", d.Subject, d.Outcome, d.Reason)
		}
	}
	runs := r.runs(ctx)
	if len(runs) != 1 || runs[0].State != retention.Proposed || runs[0].Found() != 3 || !runs[0].More {
		t.Fatalf("%+v", runs)
	}
	r.on("2027-03-02")
	r.sweep(ctx)
	if len(r.runs(ctx)) != 1 {
		t.Error("a second run while the first waits")
	}

	late := runs[0].Items[1].Subject
	run, err := r.s.Approve(r.As(testenv.One), retention.RunInput{ID: runs[0].ID})
	r.ok(err)
	if run.State != retention.Running || run.DecidedBy == nil {
		t.Errorf("%+v", run)
	}
	if _, err := r.s.Dismiss(ctx, retention.RunInput{ID: run.ID}); !errors.Is(err, retention.ErrDecided) {
		t.Errorf("dismissed after approval: %v", err)
	}
	r.hold(ctx, retention.Scope{Persons: []string{late}, Datasets: []string{profile.ID}})
	r.Work(ctx)
	run, err = r.s.RunOf(ctx, run.ID)
	r.ok(err)
	if run.State != retention.Done || run.Erased != 2 || run.Kept != 1 || run.Next != 3 {
		t.Errorf("%+v", run)
	}
	left := 0
	for _, p := range persons {
		left += r.records(ctx, p, profile)
	}
	if left != 3 {
		t.Errorf("%d profiles are left", left)
	}

	// Of the three that are left two are held: one is proposed, and dismissed.
	r.on("2027-03-03")
	r.sweep(ctx)
	runs = r.runs(ctx)
	if len(runs) != 2 || runs[0].Found() != 1 || runs[0].More {
		t.Fatalf("%+v", runs[0])
	}
	_, err = r.s.Dismiss(ctx, retention.RunInput{ID: runs[0].ID})
	r.ok(err)
	_, err = r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: held.ID})
	r.ok(err)
	r.on("2027-03-04")
	r.sweep(ctx)
	if runs = r.runs(ctx); len(runs) != 3 || runs[0].Found() != 2 {
		t.Errorf("%+v", runs[0])
	}

	two := r.As(testenv.Two)
	if _, err := r.s.RunOf(two, runs[0].ID); !errors.Is(err, retention.ErrNoRun) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := r.s.Approve(two, retention.RunInput{ID: runs[0].ID}); !errors.Is(err, retention.ErrNoRun) {
		t.Errorf("another tenant approves: %v", err)
	}
	if len(r.due(two, "2040-01-01"))+len(r.runs(two)) != 0 {
		t.Error("another tenant sees something")
	}
}

// A changed rule is decided on anew, and so is what rules are about that come into
// force.
func TestRules(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	r.on("2027-01-15")
	anna, relation := r.client(ctx, "Anna", kyc)
	r.end(ctx, anna, relation, "2027-01-15")
	rule := r.rule(ctx, kyc, "eu-amlr-77-relation") // from 10 July 2027
	r.sweep(ctx)
	if len(r.due(ctx, "2040-01-01")) != 0 {
		t.Error("a rule counts before its time")
	}
	r.on("2027-07-10")
	r.sweep(ctx)
	if due := r.due(ctx, "2040-01-01"); len(due) != 1 || due[0].DueOn.String() != "2032-01-16" || due[0].Rule.ID != rule.ID {
		t.Fatalf("%+v", due)
	}

	for name, in := range map[string]retention.ReviseInput{
		"version": {ID: rule.ID, ExpectedVersion: 7},
		"period":  {ID: rule.ID, ExpectedVersion: 1, Period: new("P3Y")},
		"format":  {ID: rule.ID, ExpectedVersion: 1, Period: new("five years")},
		"order":   {ID: rule.ID, ExpectedVersion: 1, ValidTo: day("2027-01-01")},
	} {
		if _, err := r.s.Revise(ctx, in); err == nil {
			t.Errorf("%s: revised", name)
		}
	}
	if _, err := r.s.Revise(ctx, retention.ReviseInput{ID: rule.ID, ExpectedVersion: 1, Period: new("P3Y")}); !errors.Is(err, retention.ErrFixed) {
		t.Errorf("the law's period: %v", err)
	}
	revised, err := r.s.Revise(ctx, retention.ReviseInput{ID: rule.ID, ExpectedVersion: 1, ValidTo: day("2028-01-01")})
	r.ok(err)
	retired, err := r.s.Retire(ctx, retention.RetireInput{ID: rule.ID, ExpectedVersion: revised.Version})
	r.ok(err)
	if _, err := r.s.Retire(ctx, retention.RetireInput{ID: rule.ID, ExpectedVersion: retired.Version}); !errors.Is(err, retention.ErrRetired) {
		t.Errorf("retired twice: %v", err)
	}
	r.sweep(ctx)
	r.ok(r.s.Resolve(tenant.System(r.Context(), "test")))
	if len(r.due(ctx, "2040-01-01")) != 0 {
		t.Error("a retired rule counts")
	}

	for name, in := range map[string]retention.CreateInput{
		"nothing":    {Dataset: &kyc.ID},
		"template":   {Dataset: &kyc.ID, Template: new("nosuch")},
		"assessment": {Dataset: &kyc.ID, Template: new("dk-limitation-long")},
		"dataset":    {Dataset: new("dst_x"), Template: new("dk-hvl-30-single")},
		"activity":   {Activity: new("act_x"), Template: new("dk-hvl-30-single")},
		"trigger":    {Rule: &retention.ContentInput{Trigger: "BIRTH", Period: "P1Y", Kind: retention.Max, Exception: retention.LegalClaims, LegalSource: "x", TextDa: "x", TextEn: "x"}},
	} {
		if _, err := r.s.Create(ctx, in); err == nil {
			t.Errorf("%s: created", name)
		}
	}
	two := r.As(testenv.Two)
	if _, err := r.s.Rule(two, rule.ID); !errors.Is(err, retention.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := r.s.Retire(two, retention.RetireInput{ID: rule.ID, ExpectedVersion: 1}); !errors.Is(err, retention.ErrNotFound) {
		t.Errorf("another tenant retires: %v", err)
	}
	if c, err := r.s.Rules(two, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
		t.Errorf("another tenant lists: %v", err)
	}
	if got := r.Entries(ctx, rule.ID); strings.Join(got, " ") != "retention.create retention.revise retention.retire" {
		t.Errorf("log: %v", got)
	}
}

// A record isn't deleted under a minimum or hold, and the refusal names rule and date.
func TestDelete(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	free := r.Dataset(ctx, "Free", world.Field("note", dataset.TypeString))
	rule := r.rule(ctx, kyc, "dk-hvl-30-relation")
	r.on("2027-01-15")
	anna, relation := r.client(ctx, "Anna", free)
	rec := r.Record(ctx, anna, kyc, world.Value("note", "x"))
	del := func(recordID string) *errs.Error {
		err := r.Records.Delete(ctx, record.DeleteInput{ID: recordID})
		e, _ := errors.AsType[*errs.Error](err)
		return e
	}
	if e := del(rec.ID); e == nil || e.Kind != errs.Precondition || e.Rule != "retention.minimum" || !strings.Contains(e.Message, "BUSINESS_RELATION_END hasn't happened") {
		t.Errorf("while the relation is open: %v", e)
	}
	r.end(ctx, anna, relation, "2027-01-15")
	if e := del(rec.ID); e == nil || !errors.Is(e, retention.ErrMinimum) || !strings.Contains(e.Message, rule.ID) || !strings.Contains(e.Message, "until 2032-01-15") {
		t.Errorf("within five years: %v", e)
	}
	other := r.Record(ctx, anna, free, world.Value("note", "x"))
	h := r.hold(ctx, retention.Scope{Datasets: []string{free.ID}})
	if e := del(other.ID); e == nil || e.Kind != errs.Precondition || e.Rule != "retention.hold" {
		t.Errorf("under a hold: %v", e)
	}
	_, err := r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: h.ID})
	r.ok(err)
	if e := del(other.ID); e != nil {
		t.Errorf("after the release: %v", e)
	}
	r.on("2032-01-16")
	if e := del(rec.ID); e != nil {
		t.Errorf("after five years: %v", e)
	}
}

func TestHolds(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	anna, _ := r.client(ctx, "Anna", kyc)
	bo, _ := r.client(ctx, "Bo", kyc)
	h := r.hold(ctx, retention.Scope{Persons: []string{anna.ID, bo.ID}, Datasets: []string{kyc.ID}})
	if h.Reason.Reveal() != "The dispute with Anna" || h.State != retention.Placed {
		t.Errorf("%+v", h)
	}
	raw, err := r.Stored("holds").FindOne(ctx, bson.D{{Key: "_id", Value: h.ID}}).Raw()
	r.ok(err)
	if strings.Contains(string(raw), "Anna") {
		t.Error("the reason is stored in clear")
	}
	decided, err := r.s.Of(ctx, anna.ID, true)
	r.ok(err)
	if len(decided) != 2 || decided[0].Reason != retention.Held || decided[1].Reason != retention.Held || decided[1].Unit != retention.Person {
		t.Errorf("%+v", decided)
	}
	if _, err := r.s.Release(ctx, retention.ReleaseInput{ID: h.ID}); !errors.Is(err, retention.ErrFourEyes) {
		t.Errorf("released by who placed it: %v", err)
	}

	sh, err := r.erasing.Begin(ctx, erasure.Plan{Subject: bo.ID})
	r.ok(err)
	r.ok(r.erasing.Shred(ctx, sh.ID))
	stranger := r.Subject(r.As(testenv.Two), "Stranger")
	for name, scope := range map[string]retention.Scope{
		"empty":      {},
		"twice":      {Persons: []string{anna.ID, anna.ID}},
		"stranger":   {Persons: []string{stranger.ID}},
		"no dataset": {Datasets: []string{anna.ID}},
		"no case":    {Cases: []string{kyc.ID}},
	} {
		if _, err := r.s.Place(ctx, r.holdInput(scope)); err == nil {
			t.Errorf("%s: placed", name)
		}
	}
	proof := r.hold(ctx, retention.Scope{Persons: []string{bo.ID}}) // of an erased person there is the proof
	_, err = r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: proof.ID})
	r.ok(err)

	two := r.As(testenv.Two)
	if _, err := r.s.Hold(two, h.ID); !errors.Is(err, retention.ErrNoHold) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := r.s.Release(two, retention.ReleaseInput{ID: h.ID}); !errors.Is(err, retention.ErrNoHold) {
		t.Errorf("another tenant releases: %v", err)
	}
	released, err := r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: h.ID})
	r.ok(err)
	if released.State != retention.Released || released.ReleasedBy == nil {
		t.Errorf("%+v", released)
	}
	if _, err := r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: h.ID}); !errors.Is(err, retention.ErrReleased) {
		t.Errorf("twice: %v", err)
	}
	placed := retention.Placed
	if c, err := r.s.Holds(ctx, &placed, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
		t.Errorf("placed holds: %v", err)
	}
}

// A database restored from before a hold gets it back, and so it does its release.
func TestHoldReplay(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	anna, _ := r.client(ctx, "Anna", kyc)
	bo, _ := r.client(ctx, "Bo", kyc)
	kept := r.hold(ctx, retention.Scope{Persons: []string{anna.ID, bo.ID}, Datasets: []string{kyc.ID}})
	over := r.hold(ctx, retention.Scope{Datasets: []string{kyc.ID}})
	r.Work(ctx)
	_, err := r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: over.ID})
	r.ok(err)
	r.Work(ctx)
	_, err = r.Stored("holds").DeleteMany(ctx, bson.D{})
	r.ok(err)
	for range 2 {
		r.ok(r.ledger.Visit(ctx, func(e ledger.Entry) error {
			handled, err := r.s.Replay(r.Context(), e)
			if handled != (e.Kind == ledger.Hold) {
				t.Errorf("%s: handled %v", e.Kind, handled)
			}
			return err
		}))
	}
	again, err := r.s.Hold(ctx, kept.ID)
	r.ok(err)
	if again.State != retention.Placed || len(again.Scope.Persons) != 2 || !again.Covers(anna.ID, kyc.ID) || !again.Covers(bo.ID, kyc.ID) {
		t.Errorf("%+v", again)
	}
	if again, err = r.s.Hold(ctx, over.ID); err != nil || again.State != retention.Released {
		t.Errorf("%+v, %v", again, err)
	}
}

// What is granted but must be kept goes as soon as nothing keeps it; other events
// are noted by those who know of them.
func TestSchedule(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	vouchers := r.Dataset(ctx, "Vouchers", world.Field("note", dataset.TypeString))
	proof := r.Dataset(ctx, "Proof", world.Field("note", dataset.TypeString))
	r.rule(ctx, vouchers, "dk-bookkeeping") // a minimum, and nothing demands that they go
	r.rule(ctx, proof, "dk-evidence-consent")
	r.on("2027-05-04")
	anna, _ := r.client(ctx, "Anna", vouchers, proof)
	in := func(fn func(ctx context.Context) error) {
		r.ok(r.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
			return change.Change{Action: "test.note", Object: anna.ID}, fn(ctx)
		}))
	}
	r.sweep(ctx)
	if len(r.due(ctx, "2060-01-01")) != 0 {
		t.Fatal("nothing is due yet")
	}
	in(func(ctx context.Context) error {
		return errors.Join(r.s.Schedule(ctx, anna.ID, vouchers.ID, "req_1"), r.s.Note(ctx, anna.ID, proof.ID, retention.ConsentWithdrawn, r.Now()))
	})
	in(func(ctx context.Context) error { // an earlier withdrawal doesn't count
		return r.s.Note(ctx, anna.ID, proof.ID, retention.ConsentWithdrawn, r.Now().AddDate(-1, 0, 0))
	})
	if err := r.s.Note(ctx, anna.ID, proof.ID, retention.LastActivity, r.Now()); err == nil {
		t.Error("a date that is stored with the data was noted")
	}
	r.ok(r.s.Resolve(tenant.System(r.Context(), "test")))
	got := map[string]string{}
	for _, d := range r.due(ctx, "2060-01-01") {
		got[d.Unit] = d.DueOn.String() + " " + string(d.Outcome)
	}
	if len(got) != 2 || got[proof.ID] != "2032-05-05 RESTRICT_UNTIL" || got[vouchers.ID] != "2033-01-01 ERASE_AT" {
		t.Errorf("%v", got)
	}
	r.on("2033-01-01")
	r.sweep(ctx)
	run, err := r.s.Approve(ctx, retention.RunInput{ID: r.runs(ctx)[0].ID})
	r.ok(err)
	r.Work(ctx)
	if run, err = r.s.RunOf(ctx, run.ID); err != nil || run.Erased != 2 || r.records(ctx, anna, vouchers)+r.records(ctx, anna, proof) != 0 {
		t.Errorf("%+v, %v", run, err)
	}
}

// What is about persons secret by AML law stays so for who must not know of it.
func TestSecret(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	secret, err := r.Datasets.Create(ctx, dataset.CreateInput{Name: "Suspicion", Secrecy: dataset.AML, Fields: []dataset.FieldInput{world.Field("note", dataset.TypeString)}})
	r.ok(err)
	anna, _ := r.client(ctx, "Anna", secret)
	rule := r.own(ctx, secret, retention.CollectedAt, "P0D")
	r.Sleep(48 * time.Hour)
	r.sweep(ctx)
	outsider := r.outsider(ctx)
	if _, err := r.s.Rule(outsider, rule.ID); !errors.Is(err, retention.ErrNotFound) {
		t.Errorf("the rule: %v", err)
	}
	if c, err := r.s.Rules(outsider, page.Request{First: 10}); err != nil || len(c.Edges) != 0 {
		t.Errorf("the rules: %v", err)
	}
	if len(r.due(ctx, "2040-01-01")) != 1 || len(r.due(outsider, "2040-01-01")) != 0 {
		t.Error("what is due tells of the dataset")
	}
	if d, err := r.s.Of(outsider, anna.ID, false); err != nil || len(d) != 1 {
		t.Errorf("what is kept tells of the dataset: %v", err)
	}
}

// outsider is as a context of a portal without the clearance for what AML law
// keeps secret.
func (r *rig) outsider(ctx context.Context) context.Context {
	p := authz.FromContext(ctx)
	p.Clearances = nil
	return authz.NewContext(ctx, p)
}

// A rule about cases counts from the last closing of one about the person, whatever
// was written since.
func TestCaseClosed(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	claims := r.Dataset(ctx, "Claims", world.Field("note", dataset.TypeString))
	_, err := r.s.Create(ctx, retention.CreateInput{Dataset: &claims.ID, Rule: &retention.ContentInput{
		Trigger: retention.CaseClosed, Period: "P3Y", Kind: retention.Max, LegalSource: "Forældelsesloven § 3", Exception: retention.LegalClaims, TextDa: "Krav.", TextEn: "Claims.",
	}})
	r.ok(err)
	anna, bo := r.Subject(ctx, "Anna"), r.Subject(ctx, "Bo")
	r.Record(ctx, anna, claims, world.Value("note", "a"))
	r.Record(ctx, bo, claims, world.Value("note", "b"))
	r.ok(r.Changes.DoPlain(ctx, "test", anna.ID, func(ctx context.Context) error { return r.s.CaseClosed(ctx, anna.ID, r.Now()) }))
	r.Record(ctx, anna, claims, world.Value("note", "later"))
	r.Work(ctx)
	r.ok(r.s.Resolve(tenant.System(r.Context(), "test")))
	want := civil.Of(r.Now()).AddMonths(36).AddDays(1)
	due := r.due(ctx, want.AddDays(2).String())
	if len(due) != 1 || due[0].Subject != anna.ID || due[0].Unit != claims.ID || due[0].DueOn.AddDays(1).Before(want) {
		t.Errorf("%d are due, want %s", len(due), want)
	}
	r.ok(r.Changes.DoPlain(ctx, "test", anna.ID, func(ctx context.Context) error { return r.s.CaseClosed(ctx, "sub_nobody", r.Now()) }))
}
