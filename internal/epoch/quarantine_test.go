package epoch_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

// damage flips a bit of a stored key, and mend flips it back.
func (r *rig) damage(o vault.Owner) (mend func()) {
	r.Helper()
	flip := func() {
		docs, err := r.keys.FindDataKeys(r.Context(), []vault.Owner{o})
		r.ok(err)
		bad := docs[0]
		bad.Generations = slices.Clone(bad.Generations)
		g := &bad.Generations[0]
		g.Wrapped, g.Quarantined = slices.Clone(g.Wrapped), slices.Clone(g.Quarantined)
		if len(g.Wrapped) > 0 {
			g.Wrapped[20] ^= 1
		} else {
			g.Quarantined[20] ^= 1
		}
		m, err := r.fresh().Current(r.Context())
		r.ok(err)
		r.ok(r.keys.ReplaceDataKeys(r.Context(), m.Epoch, docs, []vault.DataKey{bad}))
	}
	flip()
	return flip
}

// A key that doesn't open keeps its epoch from being closed until two persons set
// it aside; nothing is destroyed by that.
func TestQuarantine(t *testing.T) {
	r := newRig(t)
	sealed := r.seal(r.vault, people(3)...)
	bad := person(testenv.One, 1)
	mend := r.damage(bad)
	c := r.approved()
	r.ok(r.sweep())
	r.sleep(3 * time.Minute)
	if err := r.sweep(); !errors.Is(err, vault.ErrAuth) {
		t.Fatalf("the closing went on: %v", err)
	}
	if got, _ := r.s.Get(r.operator("a"), c.ID); got.Next() != epoch.Rewrap || got.Trouble == nil {
		t.Fatalf("%+v", got)
	}
	var faulty []string
	n, err := r.s.InspectAll(t.Context(), func(i *epoch.Inspection) error { faulty = append(faulty, i.Key); return nil })
	r.ok(err)
	if n < 6 || !slices.Equal(faulty, []string{bad.ID()}) {
		t.Errorf("of %d keys %v don't open", n, faulty)
	}
	i, err := r.s.Inspect(t.Context(), bad.ID())
	r.ok(err)
	if !i.Faulty() || !i.Generations[0].Current || i.Generations[0].Destroyed || !errors.Is(i.Generations[0].Fault, vault.ErrAuth) {
		t.Errorf("%+v", i)
	}

	in := epoch.QuarantineInput{Key: bad.ID(), Reason: "a bit has flipped on disk"}
	machine := authz.NewContext(r.operator("a"), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: provider})
	for _, tt := range []struct {
		name string
		ctx  context.Context
		in   epoch.QuarantineInput
		want error
	}{
		{"a machine", machine, in, epoch.ErrPerson},
		{"a sound key", r.operator("a"), epoch.QuarantineInput{Key: person(testenv.Two, 1).ID(), Reason: in.Reason}, epoch.ErrSound},
		{"no such key", r.operator("a"), epoch.QuarantineInput{Key: person(testenv.Two, 999).ID(), Reason: in.Reason}, epoch.ErrNoKey},
		{"no key at all", r.operator("a"), epoch.QuarantineInput{Key: "x", Reason: in.Reason}, epoch.ErrNoKey},
		{"no reason", r.operator("a"), epoch.QuarantineInput{Key: bad.ID(), Reason: "  because  "}, epoch.ErrReason},
	} {
		if _, err := r.s.RequestQuarantine(tt.ctx, tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	q, err := r.s.RequestQuarantine(r.operator("a"), in)
	r.ok(err)
	decide := epoch.DecideInput{ID: q.ID}
	if _, err := r.s.ApproveQuarantine(r.operator("a"), decide); !errors.Is(err, epoch.ErrSamePerson) {
		t.Errorf("approved by who asked: %v", err)
	}
	stranger := authz.NewContext(tenant.NewContext(t.Context(), testenv.Two), authz.FromContext(r.operator("b")))
	if _, err := r.s.ApproveQuarantine(stranger, decide); !errors.Is(err, epoch.ErrNoQuarantine) {
		t.Errorf("approved by another tenant: %v", err)
	}
	if err := r.sweep(); err == nil {
		t.Error("it went on without approval")
	}
	r.trace = func(point string) {
		if point == "approved a quarantine" {
			panic(errStopped)
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = r.s.ApproveQuarantine(r.operator("b"), decide)
		t.Error("not stopped")
	}()
	r.trace = func(string) {}
	for range 2 { // cut short, it is repeated; and once more does nothing
		q, err = r.s.ApproveQuarantine(r.operator("b"), decide)
		r.ok(err)
	}
	if q.State != epoch.SetAside || *q.ApprovedBy != "mem_b" {
		t.Errorf("%+v", q)
	}
	status, err := r.s.Status(r.operator("a"))
	r.ok(err)
	if len(status.Quarantines) != 1 || status.Quarantines[0].ID != q.ID || len(status.Generations) != 1 || status.Generations[0].Keys < 6 {
		t.Errorf("%+v", status)
	}
	if i, err = r.s.Inspect(t.Context(), bad.ID()); err != nil || i.Faulty() || !i.Generations[0].Quarantined || i.Generations[0].Destroyed {
		t.Errorf("%+v %v", i, err)
	}
	keys, err := r.fresh().Load(t.Context(), bad)
	r.ok(err)
	if _, err := keys.Open(bad, place(bad), sealed[bad]); !errors.Is(err, vault.ErrKeyMissing) {
		t.Errorf("what it sealed: %v", err)
	}

	// Mended in time, it opens again, in the epoch to which the others have moved.
	mend()
	_, err = r.s.ReleaseQuarantine(r.operator("c"), decide)
	r.ok(err)
	r.opens(sealed)
	if _, err := r.s.ReleaseQuarantine(r.operator("c"), decide); !errors.Is(err, epoch.ErrNotRequested) {
		t.Errorf("released twice: %v", err)
	}

	// Not mended, it goes with its epoch.
	r.damage(bad)
	again, err := r.s.RequestQuarantine(r.operator("b"), in)
	r.ok(err)
	decide.ID = again.ID
	_, err = r.s.ApproveQuarantine(r.operator("a"), decide)
	r.ok(err)
	r.through(c)
	if _, err := r.s.ReleaseQuarantine(r.operator("c"), decide); !errors.Is(err, epoch.ErrLost) {
		t.Errorf("released after the end: %v", err)
	}
	r.ok(r.keys.DestroyDataKey(t.Context(), bad, r.now()))
	if i, err = r.s.Inspect(t.Context(), bad.ID()); err != nil || !i.Generations[0].Destroyed || i.DestroyedAt == nil {
		t.Errorf("erased: %+v %v", i, err)
	}
	if _, err := r.s.ReleaseQuarantine(r.operator("c"), decide); err != nil {
		t.Errorf("released after the erasure: %v", err)
	}
	delete(sealed, bad)
	r.opens(sealed)
}

var errStopped = errors.New("stopped")

// Keys that don't open for a fault of what wraps them can't be set aside: so none is
// lost because a service is.
func TestQuarantineOfMany(t *testing.T) {
	r := newRig(t)
	r.seal(r.vault, people(1)...)
	m, err := r.vault.Current(t.Context())
	r.ok(err)
	r.ok(r.kms.Disable(t.Context(), m.KeyRef))
	_, err = r.s.RequestQuarantine(r.operator("a"), epoch.QuarantineInput{Key: person(testenv.One, 0).ID(), Reason: "it doesn't open any more"})
	if !errors.Is(err, epoch.ErrTenantKey) {
		t.Errorf("got %v", err)
	}
}

// Keys with several generations, in several epochs, move with all of them, and a
// destroyed generation stays destroyed.
func TestCloseGenerations(t *testing.T) {
	r := newRig(t)
	owners := people(3)
	first := r.seal(r.vault, owners...)
	docs := func() []vault.DataKey {
		found, err := r.keys.FindDataKeys(t.Context(), owners)
		r.ok(err)
		return found
	}
	r.sleep(time.Hour)
	r.ok(r.vault.Retire(t.Context(), r.keys, docs(), r.now()))
	second := r.seal(r.fresh(), owners...)
	r.through(r.approved())
	r.opens(first)
	r.opens(second)
	r.sleep(time.Hour)
	r.ok(r.fresh().Retire(t.Context(), r.keys, docs()[:3], r.now()))
	third := r.seal(r.fresh(), owners...)
	at := r.now()
	r.sleep(time.Hour)
	r.ok(r.fresh().DestroyRetired(t.Context(), r.keys, docs(), at.Add(-time.Minute)))
	r.through(r.approved())
	r.opens(third)
	keys, err := r.fresh().Load(t.Context(), owners...)
	r.ok(err)
	for _, o := range owners {
		if _, err := keys.Open(o, place(o), first[o]); !errors.Is(err, vault.ErrKeyMissing) {
			t.Errorf("%s: what a destroyed generation sealed: %v", o.ID(), err)
		}
	}
	for _, d := range docs() {
		if n := len(d.Retired(r.now())); n != 0 {
			t.Errorf("%s: %d retired generations", d.Owner.ID(), n)
		}
	}
	status, err := r.s.Status(r.operator("a"))
	r.ok(err)
	if g := status.Generations; len(g) != 3 || g[1].Keys != 3 || g[2].Keys != 3 {
		t.Errorf("generations: %+v", status.Generations)
	}
	// An erasure takes them all.
	r.ok(r.keys.DestroyDataKey(t.Context(), owners[0], r.now()))
	for _, d := range docs() {
		if d.Owner == owners[0] && slices.ContainsFunc(d.Generations, func(g vault.Generation) bool { return len(g.Wrapped) > 0 }) {
			t.Error("a generation outlived the erasure")
		}
	}
}
