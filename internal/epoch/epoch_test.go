package epoch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/epoch"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/vault"
)

const provider tenant.ID = "ten_pppppppppppppppp"

// The places of what a rig runs on, which its children find in their environment.
const (
	envData  = "EPOCH_TEST_DATA"
	envKeys  = "EPOCH_TEST_KEYS"
	envKMS   = "EPOCH_TEST_KMS"
	envPoint = "EPOCH_TEST_POINT"
	envAhead = "EPOCH_TEST_AHEAD"
)

// rig is a platform's keys and a service that closes their epochs.
type rig struct {
	testing.TB

	data, keysURI, kmsPath string

	keys   *mongo.KeyStore
	kms    kms.Wrapper
	vault  *vault.Vault
	s      *epoch.Service
	ahead  atomic.Int64 // how far the clock is ahead
	alarms []string
	trace  func(string)
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	return openRig(tb, testenv.MongoURI(tb), testenv.MongoURI(tb), filepath.Join(tb.TempDir(), "masters.json"))
}

// openRig is another process of the platform.
func openRig(tb testing.TB, data, keysURI, kmsPath string) *rig {
	tb.Helper()
	r := &rig{TB: tb, data: data, keysURI: keysURI, kmsPath: kmsPath, trace: func(string) {}}
	db := testenv.Data(tb, data)
	r.keys = mongo.NewKeyStore(testenv.Connect(tb, keysURI))
	r.ok(r.keys.EnsureIndexes(tb.Context()))
	var err error
	r.kms, err = localfile.Open(kmsPath, r.now)
	r.ok(err)
	r.vault = r.fresh()
	changes, _ := testenv.Changes(tb, db, r.vault, vault.Hasher{Vault: r.vault}, nil)
	r.s = epoch.NewService(epoch.Config{
		Store: mongo.NewEpochStore(db), Keys: r.keys, KMS: r.kms, Vault: r.vault, Provider: fixed{}, Changes: changes,
		Log: testenv.Logger(tb), Now: r.now, Timing: epoch.Timing{Rate: 1_000_000},
		Alarm: func(_ context.Context, code, object string) { r.alarms = append(r.alarms, code+" "+object) },
		Trace: func(point string) { r.trace(point) },
	})
	return r
}

type fixed struct{}

func (fixed) ProviderID(context.Context) (tenant.ID, error) { return provider, nil }

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) now() time.Time        { return testenv.Now().Add(time.Duration(r.ahead.Load())) }
func (r *rig) sleep(d time.Duration) { r.ahead.Add(int64(d)) }

// fresh returns a vault that remembers nothing.
func (r *rig) fresh() *vault.Vault {
	r.Helper()
	v, err := vault.New(vault.Config{Store: r.keys, KMS: r.kms, Now: r.now})
	r.ok(err)
	return v
}

// operator returns the context of a person of the provider.
func (r *rig) operator(name string) context.Context {
	return authz.NewContext(tenant.NewContext(r.Context(), provider), authz.Principal{
		Kind: authz.KindMember, ID: "mem_" + name, Tenant: provider, Role: authz.RoleOperator,
	})
}

func (r *rig) sweep() error { return r.s.Sweep(tenant.System(r.Context(), "test")) }

func person(of tenant.ID, n int) vault.Owner {
	return vault.Owner{Tenant: of, Subject: fmt.Sprintf("sub_%06d", n), Unit: vault.Identity}
}

func place(o vault.Owner) vault.Place {
	return vault.Place{Collection: "subjects", Record: o.Subject, Field: "name"}
}

// seal makes a key for each person and seals something under it.
func (r *rig) seal(v *vault.Vault, owners ...vault.Owner) map[vault.Owner][]byte {
	r.Helper()
	keys, err := v.Ensure(r.Context(), owners...)
	r.ok(err)
	sealed := map[vault.Owner][]byte{}
	for _, o := range owners {
		sealed[o], err = keys.Seal(o, place(o), personal.String("about "+o.ID()))
		r.ok(err)
	}
	return sealed
}

// opens fails unless a vault that remembers nothing opens everything.
func (r *rig) opens(sealed map[vault.Owner][]byte) {
	r.Helper()
	owners := make([]vault.Owner, 0, len(sealed))
	for o := range sealed {
		owners = append(owners, o)
	}
	v := r.fresh()
	for part := range slices.Chunk(owners, 1000) {
		keys, err := v.Load(r.Context(), part...)
		r.ok(err)
		for _, o := range part {
			got, err := keys.Open(o, place(o), sealed[o])
			if text, _ := got.RevealString(); err != nil || text != "about "+o.ID() {
				r.Fatalf("open what is kept on %s: %v", o.ID(), err)
			}
		}
	}
}

// people returns n persons each of two tenants.
func people(n int) []vault.Owner {
	var all []vault.Owner
	for i := range n {
		all = append(all, person(testenv.One, i), person(testenv.Two, i))
	}
	return all
}

// approved asks for the closing of the present epoch and has it approved.
func (r *rig) approved() *epoch.Close {
	r.Helper()
	m, err := r.vault.Current(r.Context())
	r.ok(err)
	c, err := r.s.Request(r.operator("a"), epoch.RequestInput{Epoch: int(m.Epoch)})
	r.ok(err)
	c, err = r.s.Approve(r.operator("b"), epoch.DecideInput{ID: c.ID})
	r.ok(err)
	return c
}

// through sweeps, and lets time pass, until the close is done.
func (r *rig) through(c *epoch.Close) *epoch.Close {
	r.Helper()
	for range 30 {
		r.ok(r.sweep())
		got, err := r.s.Get(r.operator("a"), c.ID)
		r.ok(err)
		if got.State == epoch.Done {
			return got
		}
		r.sleep(25 * time.Hour)
	}
	r.Fatal("the closing doesn't end")
	return nil
}

func (r *rig) master(e vault.Epoch) vault.Master {
	r.Helper()
	all, err := r.keys.Masters(r.Context())
	r.ok(err)
	for _, m := range all {
		if m.Epoch == e {
			return m
		}
	}
	r.Fatalf("no master of epoch %d", e)
	return vault.Master{}
}

func TestClose(t *testing.T) {
	r := newRig(t)
	sealed := r.seal(r.vault, people(1300)...)
	x, err := r.vault.Index(t.Context(), testenv.One)
	r.ok(err)
	digest, err := x.Digest("email", 1, personal.NewText("a@b.example"))
	r.ok(err)
	old := x.Epoch()
	if err := r.keys.DestroyDataKey(t.Context(), person(testenv.One, 0), r.now()); err != nil {
		t.Fatal(err)
	}
	delete(sealed, person(testenv.One, 0))

	c := r.approved()
	r.ok(r.sweep())
	if got := r.master(old).State; got != vault.MasterClosed {
		t.Fatalf("the master is %s", got)
	}
	if c, _ := r.s.Get(r.operator("a"), c.ID); c.Next() != epoch.Drain {
		t.Fatalf("goes on with %s before the transactions of before have ended", c.Next())
	}
	late := r.seal(r.fresh(), person(testenv.Two, 9999)) // goes under the next epoch
	r.opens(sealed)
	r.sleep(3 * time.Minute)
	r.ok(r.sweep())
	if got := r.master(old).State; got != vault.MasterDisabled {
		t.Fatalf("the master is %s", got)
	}
	r.opens(sealed) // without it
	r.sleep(7*24*time.Hour - time.Minute)
	r.ok(r.sweep())
	if got := r.master(old).State; got != vault.MasterDisabled {
		t.Fatalf("the master is %s a minute too early", got)
	}
	r.sleep(time.Minute)
	c = r.through(c)

	if _, err := r.kms.Unwrap(t.Context(), r.master(old).KeyRef, nil, nil); !errors.Is(err, kms.ErrDestroyed) {
		t.Errorf("the old master: %v", err)
	}
	r.opens(sealed)
	r.opens(late)
	if _, err := r.fresh().Ensure(t.Context(), person(testenv.One, 0)); !errors.Is(err, vault.ErrErased) {
		t.Errorf("the erased key: %v", err)
	}
	x, err = r.fresh().IndexAt(t.Context(), testenv.One, old)
	r.ok(err)
	if got, _ := x.Digest("email", 1, personal.NewText("a@b.example")); got != digest {
		t.Error("the index key moved and is another")
	}
	if _, found, _ := r.keys.FindTenantKey(t.Context(), testenv.One, old); found {
		t.Error("a tenant key of the old epoch is left")
	}
	if n := len(c.Steps); n != len(epoch.Steps()) || c.ApprovedBy == nil || *c.ApprovedBy != "mem_b" {
		t.Errorf("%d steps are recorded, approved by %v", n, c.ApprovedBy)
	}
	status, err := r.s.Status(r.operator("a"))
	r.ok(err)
	last := status.Epochs[len(status.Epochs)-1]
	if last.Epoch != int(old) || last.DestroyedAt == nil || last.DataKeys != 0 || status.Epochs[0].DataKeys != len(sealed)+1 {
		t.Errorf("status: %+v", status.Epochs)
	}
	if _, err := r.s.Request(r.operator("a"), epoch.RequestInput{Epoch: int(old)}); !errors.Is(err, epoch.ErrEpoch) {
		t.Errorf("closed again: %v", err)
	}
	if len(r.alarms) > 0 {
		t.Errorf("alarms: %v", r.alarms)
	}
}

func TestDecisions(t *testing.T) {
	r := newRig(t)
	r.seal(r.vault, people(1)...)
	present, err := r.vault.Current(t.Context())
	r.ok(err)
	in := epoch.RequestInput{Epoch: int(present.Epoch)}
	machine := authz.NewContext(r.operator("a"), authz.Principal{Kind: authz.KindMachine, ID: "key_1", Tenant: provider})
	if _, err := r.s.Request(machine, in); !errors.Is(err, epoch.ErrPerson) {
		t.Errorf("a machine asks: %v", err)
	}
	if _, err := r.s.Request(r.operator("a"), epoch.RequestInput{Epoch: 1}); !errors.Is(err, epoch.ErrEpoch) {
		t.Errorf("an epoch that never was: %v", err)
	}
	c, err := r.s.Request(r.operator("a"), in)
	r.ok(err)
	if _, err := r.s.Request(r.operator("b"), in); !errors.Is(err, epoch.ErrRunning) {
		t.Errorf("asked twice: %v", err)
	}
	decide := epoch.DecideInput{ID: c.ID}
	if _, err := r.s.Approve(r.operator("a"), decide); !errors.Is(err, epoch.ErrSamePerson) {
		t.Errorf("approved by who asked: %v", err)
	}
	if _, err := r.s.Approve(machine, decide); !errors.Is(err, epoch.ErrPerson) {
		t.Errorf("approved by a machine: %v", err)
	}
	foreign := authz.NewContext(tenant.NewContext(t.Context(), testenv.Two), authz.FromContext(r.operator("b")))
	for _, closeID := range []string{c.ID, id.New(id.EpochClose, testenv.Two), "epc_x"} {
		if _, err := r.s.Approve(foreign, epoch.DecideInput{ID: closeID}); errs.KindOf(err) != errs.NotFound {
			t.Errorf("another tenant approves %s: %v", closeID, err)
		}
	}
	r.ok(r.sweep())
	if got, _ := r.s.Get(r.operator("a"), c.ID); got.State != epoch.Requested || len(got.Steps) > 0 {
		t.Errorf("it runs without approval: %+v", got)
	}
	if _, err := r.s.Approve(r.operator("b"), decide); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.Approve(r.operator("c"), decide); !errors.Is(err, epoch.ErrNotRequested) {
		t.Errorf("approved twice: %v", err)
	}
	r.sleep(epoch15)
	r.ok(r.sweep()) // opens the next
	later, err := r.fresh().Current(t.Context())
	r.ok(err)
	if later.Epoch == present.Epoch {
		t.Fatal("the closed epoch is the present one")
	}
	if _, err := r.s.Request(r.operator("a"), epoch.RequestInput{Epoch: int(later.Epoch)}); !errors.Is(err, epoch.ErrOrder) {
		t.Errorf("out of order: %v", err)
	}
}

const epoch15 = 15 * 24 * time.Hour

// Who halts gets back a master that works; the closing can be asked for again.
func TestHalt(t *testing.T) {
	r := newRig(t)
	sealed := r.seal(r.vault, people(3)...)
	c := r.approved()
	r.ok(r.sweep())
	r.sleep(3 * time.Minute)
	r.ok(r.sweep())
	ref := r.master(c.Epoch).KeyRef
	if _, err := r.kms.Wrap(t.Context(), ref, []byte("x"), nil); !errors.Is(err, kms.ErrDisabled) {
		t.Fatalf("the master isn't disabled: %v", err)
	}
	_, err := r.s.Halt(r.operator("c"), epoch.DecideInput{ID: c.ID})
	r.ok(err)
	if _, err := r.kms.Wrap(t.Context(), ref, []byte("x"), nil); err != nil {
		t.Errorf("the master is not usable again: %v", err)
	}
	r.sleep(30 * 24 * time.Hour)
	r.ok(r.sweep())
	if m := r.master(c.Epoch); m.State != vault.MasterClosed {
		t.Errorf("the master is %s", m.State)
	}
	again := r.through(func() *epoch.Close {
		c, err := r.s.Request(r.operator("b"), epoch.RequestInput{Epoch: int(c.Epoch)})
		r.ok(err)
		c, err = r.s.Approve(r.operator("a"), epoch.DecideInput{ID: c.ID})
		r.ok(err)
		return c
	}())
	if _, err := r.s.Halt(r.operator("c"), epoch.DecideInput{ID: again.ID}); !errors.Is(err, epoch.ErrTooLate) {
		t.Errorf("halted after the end: %v", err)
	}
	r.opens(sealed)
}

// Halting while the master is being disabled leaves it usable.
func TestHaltWhileDisabling(t *testing.T) {
	r := newRig(t)
	r.seal(r.vault, people(1)...)
	c := r.approved()
	r.ok(r.sweep())
	r.sleep(3 * time.Minute)
	r.trace = func(point string) {
		if point == "disabled the master" {
			_, err := r.s.Halt(r.operator("c"), epoch.DecideInput{ID: c.ID})
			r.ok(err)
		}
	}
	if err := r.sweep(); !errors.Is(err, epoch.ErrTooLate) {
		t.Errorf("got %v", err)
	}
	m := r.master(c.Epoch)
	if _, err := r.kms.Wrap(t.Context(), m.KeyRef, []byte("x"), nil); err != nil || m.State != vault.MasterClosed {
		t.Errorf("the master is %s: %v", m.State, err)
	}
}

// Each gate alone keeps the master from being destroyed.
func TestGates(t *testing.T) {
	for name, spoil := range map[string]func(r *rig, store *mongo.EpochStore, c *epoch.Close){
		"not approved": func(r *rig, store *mongo.EpochStore, c *epoch.Close) { c.ApprovedBy = nil },
		"one person":   func(r *rig, store *mongo.EpochStore, c *epoch.Close) { c.ApprovedBy = &c.RequestedBy },
		"a step is missing": func(r *rig, store *mongo.EpochStore, c *epoch.Close) {
			c.Steps = slices.DeleteFunc(c.Steps, func(d epoch.StepDone) bool { return d.Step == epoch.Prove })
			c.Steps = append(c.Steps, c.Steps[0])
		},
		"not disabled": func(r *rig, _ *mongo.EpochStore, c *epoch.Close) {
			m := r.master(c.Epoch)
			m.State = vault.MasterClosed
			_, err := r.keys.MoveMaster(r.Context(), vault.MasterDisabled, m)
			r.ok(err)
		},
		"disabled a moment ago": func(r *rig, _ *mongo.EpochStore, c *epoch.Close) {
			m := r.master(c.Epoch)
			m.DisabledAt = r.now()
			_, err := r.keys.MoveMaster(r.Context(), vault.MasterDisabled, m)
			r.ok(err)
		},
		"no later epoch": func(r *rig, _ *mongo.EpochStore, c *epoch.Close) {
			next, err := r.fresh().Current(r.Context())
			r.ok(err)
			next.State = vault.MasterClosed
			_, err = r.keys.MoveMaster(r.Context(), vault.MasterOpen, next)
			r.ok(err)
		},
		"a key is left": func(r *rig, _ *mongo.EpochStore, c *epoch.Close) {
			// As no code of ours would: under the old epoch, behind the back of the guard.
			m := r.master(c.Epoch)
			m.State = vault.MasterOpen
			_, err := r.keys.MoveMaster(r.Context(), vault.MasterDisabled, m)
			r.ok(err)
			r.ok(r.kms.Enable(r.Context(), m.KeyRef))
			r.seal(r.fresh(), person(testenv.One, 777))
			r.ok(r.kms.Disable(r.Context(), m.KeyRef))
			m.State = vault.MasterDisabled
			_, err = r.keys.MoveMaster(r.Context(), vault.MasterOpen, m)
			r.ok(err)
		},
		"a key doesn't open": func(r *rig, _ *mongo.EpochStore, _ *epoch.Close) {
			docs, err := r.keys.FindDataKeys(r.Context(), []vault.Owner{person(testenv.One, 0)})
			r.ok(err)
			bad := docs[0]
			bad.Generations = slices.Clone(bad.Generations)
			bad.Generations[0].Wrapped = slices.Clone(bad.Generations[0].Wrapped)
			bad.Generations[0].Wrapped[20] ^= 1
			r.ok(r.keys.ReplaceDataKeys(r.Context(), bad.Generations[0].Epoch, docs, []vault.DataKey{bad}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			sealed := r.seal(r.vault, people(2)...)
			c := r.approved()
			for range 2 {
				r.ok(r.sweep())
				r.sleep(3 * time.Minute)
			}
			store := mongo.NewEpochStore(testenv.Connect(t, r.data))
			c, err := store.FindClose(r.operator("a"), c.ID)
			r.ok(err)
			if c.Next() != epoch.Wait {
				t.Fatalf("next is %s", c.Next())
			}
			c.Steps = append(c.Steps, epoch.StepDone{Step: epoch.Wait, At: r.now()})
			r.sleep(8 * 24 * time.Hour)
			spoil(r, store, c)
			c.Version++
			r.ok(store.UpdateClose(r.operator("a"), c))
			if err := r.sweep(); err == nil {
				t.Error("nothing stopped it")
			}
			m := r.master(c.Epoch)
			if m.State == vault.MasterDestroyed {
				t.Error("the master counts as destroyed")
			}
			if _, err := r.kms.Wrap(t.Context(), m.KeyRef, []byte("x"), nil); errors.Is(err, kms.ErrDestroyed) {
				t.Error("the master is destroyed")
			}
			if len(r.alarms) == 0 {
				t.Error("no alarm")
			}
			if name != "a key doesn't open" {
				r.opens(sealed)
			}
		})
	}
}

// Points are where a crash can leave a closing half done.
func points() []string {
	all := []string{"moved a batch", "restored", "disabled the master", "finishing", "destroyed the master"}
	for _, s := range epoch.Steps() {
		all = append(all, "did "+string(s), "recorded "+string(s))
	}
	return all
}

// A process that dies at any point leaves a closing that the next one finishes.
func TestKill(t *testing.T) {
	if point := os.Getenv(envPoint); point != "" {
		child(t, point)
		return
	}
	for _, point := range points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			sealed := r.seal(r.vault, people(300)...)
			c := r.approved()
			killed := false
			for range 12 {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$", "-test.count=1")
				cmd.Env = append(os.Environ(), envData+"="+r.data, envKeys+"="+r.keysURI, envKMS+"="+r.kmsPath,
					envPoint+"="+point, fmt.Sprintf("%s=%d", envAhead, r.ahead.Load()))
				out, err := cmd.CombinedOutput()
				if killed = wasKilled(err); killed {
					break
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				r.sleep(25 * time.Hour)
			}
			if !killed {
				t.Fatal("the point was never reached")
			}
			r.opens(sealed)
			sealed[person(testenv.One, 5000)] = r.seal(r.fresh(), person(testenv.One, 5000))[person(testenv.One, 5000)]
			c = r.through(c)
			r.opens(sealed)
			if m := r.master(c.Epoch); m.State != vault.MasterDestroyed || len(c.Steps) != len(epoch.Steps()) {
				t.Errorf("the master is %s after %d steps", m.State, len(c.Steps))
			}
		})
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
	r := openRig(t, os.Getenv(envData), os.Getenv(envKeys), os.Getenv(envKMS))
	var ahead int64
	if _, err := fmt.Sscan(os.Getenv(envAhead), &ahead); err != nil {
		t.Fatal(err)
	}
	r.ahead.Store(ahead)
	r.trace = func(p string) {
		if p == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	r.ok(r.sweep())
}

func full() bool { return os.Getenv("VOGTER_SCALE") == "full" }

// A key made in the moment in which its epoch is closed is never lost: whoever
// makes it is refused and takes the next epoch, or is waited for.
func TestRace(t *testing.T) {
	rounds := 40
	if full() {
		rounds = 1000
	}
	r := newRig(t)
	sealed := map[vault.Owner][]byte{}
	for round := range rounds {
		var (
			wg sync.WaitGroup
			mu sync.Mutex
		)
		writers := []*vault.Vault{r.fresh(), r.fresh(), r.fresh()}
		for i, v := range writers { // each remembers the epoch as the present one
			maps.Copy(sealed, r.seal(v, person(testenv.One, 10_000_000+round*10+i)))
		}
		m, err := r.vault.Current(t.Context())
		r.ok(err)
		for i, v := range writers {
			wg.Go(func() {
				made := r.seal(v, person(testenv.One, round*10+i), person(testenv.Two, round*10+i))
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(sealed, made)
			})
		}
		wg.Go(func() { // as the steps OPEN_NEXT and FLIP
			r.ok(r.vault.OpenEpoch(t.Context(), m.Epoch+1))
			closed := m
			closed.State = vault.MasterClosed
			moved, err := r.keys.MoveMaster(t.Context(), vault.MasterOpen, closed)
			r.ok(err)
			if !moved {
				t.Error("somebody else closed the epoch")
			}
		})
		wg.Wait() // every transaction of before has ended
		for _, k := range []vault.Kind{vault.DataKeyKind(r.keys), vault.IndexKeyKind(r.keys)} {
			for {
				n, err := r.vault.Rewrap(t.Context(), k, m.Epoch, m.Epoch+1, 500)
				r.ok(err)
				if n == 0 {
					break
				}
			}
		}
		r.ok(r.kms.Destroy(t.Context(), m.KeyRef))
		r.vault = r.fresh()
	}
	r.opens(sealed)
	t.Logf("%d keys made while %d epochs were closed: all are there", len(sealed), rounds)
}

// Clients read and write while every key is moved, and notice nothing.
func TestRewrapUnderLoad(t *testing.T) {
	count := 3000
	if full() {
		count = 150_000
	}
	r := newRig(t)
	sealed, late := map[vault.Owner][]byte{}, map[vault.Owner][]byte{}
	for part := range slices.Chunk(people(count/2), 1000) {
		maps.Copy(sealed, r.seal(r.vault, part...))
	}
	owners := people(count / 2)
	c := r.approved()
	r.ok(r.sweep())
	r.sleep(3 * time.Minute)

	ctx, stop := context.WithCancel(t.Context())
	var (
		wg           sync.WaitGroup
		mu           sync.Mutex
		reads, makes atomic.Int64
	)
	for w := range 4 {
		v, err := vault.New(vault.Config{Store: r.keys, KMS: r.kms, Now: r.now, DataKeys: 100})
		r.ok(err)
		wg.Go(func() {
			for n := w; ctx.Err() == nil; n += 7919 {
				o := owners[n%len(owners)]
				keys, err := v.Load(t.Context(), o)
				if err == nil {
					_, err = keys.Open(o, place(o), sealed[o])
				}
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				reads.Add(1)
			}
		})
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				o := person(testenv.Two, 1_000_000*(w+1)+n)
				keys, err := v.Ensure(t.Context(), o)
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				b, err := keys.Seal(o, place(o), personal.String("about "+o.ID()))
				r.ok(err)
				mu.Lock()
				late[o] = b
				mu.Unlock()
				makes.Add(1)
			}
		})
	}
	began := testenv.Now()
	var moving time.Duration
	r.trace = func(point string) {
		if point == "did "+string(epoch.Rewrap) {
			moving = testenv.Now().Sub(began)
		}
	}
	r.ok(r.sweep()) // to the end of RESTORE, and DISABLE
	all := testenv.Now().Sub(began)
	stop()
	wg.Wait()
	t.Logf("%d keys moved in %s (%.0f/s) and proven twice in %s more, beside %d reads and %d new keys; none failed", count,
		moving.Round(time.Millisecond), float64(count)/moving.Seconds(), (all - moving).Round(time.Millisecond), reads.Load(), makes.Load())
	r.through(c)
	r.opens(sealed)
	r.opens(late)
}

func TestLateness(t *testing.T) {
	r := newRig(t)
	r.seal(r.vault, people(1)...)
	m, err := r.vault.Current(t.Context())
	r.ok(err)
	system := tenant.System(t.Context(), "test")
	r.ok(r.s.Watch(system))
	if len(r.alarms) > 0 {
		t.Errorf("early alarms: %v", r.alarms)
	}
	r.sleep(m.Epoch.End().Add(25 * time.Hour).Sub(r.now()))
	r.ok(r.s.Watch(system))
	if want := "vault.epoch.late " + m.KeyRef; !slices.Contains(r.alarms, want) {
		t.Errorf("alarms: %v, want %s", r.alarms, want)
	}
	planned, actual, err := r.s.Irrecoverable(t.Context(), m.Epoch)
	r.ok(err)
	if want := m.Epoch.Start().Add(22 * 24 * time.Hour); actual != nil || !planned.Equal(want) {
		t.Errorf("planned for %s, want %s; actual: %v", planned, want, actual)
	}
	c := r.through(r.approved())
	_, actual, err = r.s.Irrecoverable(t.Context(), m.Epoch)
	r.ok(err)
	if at := r.master(c.Epoch).DestroyedAt; actual == nil || !actual.Equal(at) {
		t.Errorf("irrecoverable at %v, destroyed at %s", actual, at)
	}
	if !strings.HasPrefix(m.KeyRef, "vogter-epoch-") {
		t.Errorf("the master is called %s", m.KeyRef)
	}
}
