package retention_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/dataset"
	"github.com/vogter/vogter/internal/erasure"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/ledger"
	"github.com/vogter/vogter/internal/retention"
	"github.com/vogter/vogter/internal/subject"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/testenv/world"
	"github.com/vogter/vogter/internal/vault"
)

// proof reports whether the key of the proof about a person is there.
func (r *rig) proof(ctx context.Context, s *subject.Subject) bool {
	r.Helper()
	o := audit.Evidence(testenv.One, s.ID)
	r.Vault.Evict(o)
	keys, err := r.Vault.Load(ctx, o)
	r.ok(err)
	_, err = keys.MAC(o, "x")
	if err != nil && !errors.Is(err, vault.ErrErased) {
		r.Fatal(err)
	}
	return err == nil
}

func (r *rig) erase(ctx context.Context, persons ...*subject.Subject) {
	r.Helper()
	for _, s := range persons {
		_, err := r.erasing.Begin(ctx, erasure.Plan{Subject: s.ID, Cause: "test"})
		r.ok(err)
	}
	r.Work(ctx)
}

// What shows that the law was obeyed is kept for its own period from the person's
// erasure on, and then goes: with its key, by the ledger, and out of the audit log.
// Nothing becomes of the proof about somebody of whom there is other data.
func TestProof(t *testing.T) {
	r := newRig(t)
	ctx := r.As(testenv.One)
	kyc := r.Dataset(ctx, "KYC", world.Field("note", dataset.TypeString))
	r.on("2027-01-10")
	anna, _ := r.client(ctx, "Anna", kyc)
	bo, _ := r.client(ctx, "Bo", kyc)
	dan, _ := r.client(ctx, "Dan", kyc)
	if _, err := r.erasing.Begin(ctx, erasure.Plan{Subject: bo.ID, Units: []vault.Unit{vault.Evidence}}); !errors.Is(err, erasure.ErrProof) {
		t.Errorf("the proof first: %v", err)
	}
	r.on("2027-03-01")
	r.erase(ctx, anna, dan)
	if due := r.due(ctx, "2100-01-01"); len(due) != 0 { // to be decided on
		t.Errorf("%d are due", len(due))
	}
	r.ok(r.s.Resolve(tenant.System(r.Context(), "test")))
	due := r.due(ctx, "2100-01-01")
	if len(due) != 2 || due[0].Unit != retention.Proof || due[0].DueOn.String() != "2032-03-02" ||
		due[0].Outcome != retention.RestrictUntil || due[0].Reason != retention.Within || due[0].Rule != nil {
		t.Fatalf("%d are due: %+v", len(due), due[0])
	}
	if other := r.due(r.As(testenv.Two), "2100-01-01"); len(other) != 0 {
		t.Errorf("another tenant sees %d", len(other))
	}
	if _, err := r.s.Of(ctx, anna.ID, true); !errors.Is(err, subject.ErrNotFound) {
		t.Errorf("a wish about the erased: %v", err)
	}

	// The tenant may set another period, within bounds, also for who is erased already.
	for _, years := range []int{2, 11} {
		if _, err := r.s.ChangeSettings(ctx, retention.SettingsInput{ProofYears: &years}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%d years: %v", years, err)
		}
	}
	years := 4
	_, err := r.s.ChangeSettings(ctx, retention.SettingsInput{ProofYears: &years})
	r.ok(err)
	r.Work(ctx)
	r.ok(r.s.Resolve(tenant.System(r.Context(), "test")))
	if due := r.due(ctx, "2100-01-01"); due[0].DueOn.String() != "2031-03-02" {
		t.Errorf("due on %s", due[0].DueOn)
	}

	r.on("2031-03-01") // the last day
	held := r.hold(ctx, retention.Scope{Persons: []string{dan.ID}})
	r.sweep(ctx)
	if runs := r.runs(ctx); len(runs) != 0 || !r.proof(ctx, anna) {
		t.Fatalf("proposed too early: %+v", runs)
	}
	r.on("2031-03-02")
	r.sweep(ctx)
	runs := r.runs(ctx)
	if len(runs) != 1 || !slices.Equal(runs[0].Items, []retention.Planned{{Subject: anna.ID, Unit: retention.Proof}}) {
		t.Fatalf("%+v", runs)
	}
	_, err = r.s.Approve(ctx, retention.RunInput{ID: runs[0].ID})
	r.ok(err)
	r.Work(ctx)
	if r.proof(ctx, anna) || !r.proof(ctx, bo) || !r.proof(ctx, dan) {
		t.Errorf("Anna's proof %t, Bo's %t, Dan's %t", r.proof(ctx, anna), r.proof(ctx, bo), r.proof(ctx, dan))
	}
	if n := r.Count(ctx, "retentionDates", bson.D{{Key: "subject", Value: anna.ID}}); n != 0 {
		t.Errorf("%d dates are left", n)
	}
	var told []ledger.Kind
	r.ok(r.ledger.Visit(r.Context(), func(e ledger.Entry) error {
		if e.Subject == anna.ID && slices.Equal(e.Units, []string{string(vault.Evidence)}) {
			told = append(told, e.Kind)
		}
		return nil
	}))
	if !slices.Equal(told, []ledger.Kind{ledger.EraseIntent, ledger.EraseDone}) {
		t.Errorf("the ledger has %v", told)
	}
	if got, err := r.Subjects.Get(ctx, anna.ID); err != nil || got.State != subject.Erased {
		t.Errorf("the erased is %+v, %v", got, err)
	}
	if _, err := r.s.Place(ctx, r.holdInput(retention.Scope{Persons: []string{anna.ID}})); !errors.Is(err, subject.ErrErased) {
		t.Errorf("a hold on what is gone: %v", err)
	}

	// A hold keeps the proof until it is released.
	_, err = r.s.Release(r.As(testenv.One), retention.ReleaseInput{ID: held.ID})
	r.ok(err)
	r.on("2031-03-03")
	r.sweep(ctx)
	runs = r.runs(ctx)
	if len(runs) != 2 || !slices.Equal(runs[0].Items, []retention.Planned{{Subject: dan.ID, Unit: retention.Proof}}) {
		t.Fatalf("%+v", runs)
	}
	_, err = r.s.Approve(ctx, retention.RunInput{ID: runs[0].ID})
	r.ok(err)
	r.Work(ctx)
	if r.proof(ctx, dan) || !r.proof(ctx, bo) {
		t.Error("then it goes")
	}
}
