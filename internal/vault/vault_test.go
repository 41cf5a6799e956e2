package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
	"github.com/vogter/vogter/internal/vault/vaulttest"
)

const (
	one = vaulttest.One
	two = vaulttest.Two
)

var (
	anna  = vault.Owner{Tenant: one, Subject: "sub_anna", Unit: vault.Identity}
	place = vault.Place{Collection: "subjects", Record: "sub_anna", Field: "name"}
)

// clock is a clock that tests move.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// rig is a vault over a store in memory and a real key file.
type rig struct {
	*vault.Vault
	store   *vaulttest.Memory
	kms     kms.Wrapper
	keyFile string
	clock   *clock
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{store: vaulttest.NewMemory(), keyFile: filepath.Join(tb.TempDir(), "masters.json"), clock: newClock()}
	var err error
	if r.kms, err = localfile.Open(r.keyFile, r.clock.now); err != nil {
		tb.Fatal(err)
	}
	r.Vault = r.fresh(tb)
	return r
}

// fresh returns another process's vault over the same store and key file.
func (r *rig) fresh(tb testing.TB) *vault.Vault {
	tb.Helper()
	return newVault(tb, r.store, r.kms, r.clock)
}

func newVault(tb testing.TB, s vault.KeyStore, k kms.Wrapper, c *clock) *vault.Vault {
	tb.Helper()
	v, err := vault.New(vault.Config{Store: s, KMS: k, Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (r *rig) ensure(tb testing.TB, owners ...vault.Owner) *vault.Keys {
	tb.Helper()
	keys, err := r.Ensure(tb.Context(), owners...)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func load(tb testing.TB, v *vault.Vault, owners ...vault.Owner) *vault.Keys {
	tb.Helper()
	keys, err := v.Load(tb.Context(), owners...)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func seal(tb testing.TB, k *vault.Keys, o vault.Owner, p vault.Place, v personal.Value) []byte {
	tb.Helper()
	sealed, err := k.Seal(o, p, v)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func wantErr(tb testing.TB, err, want error, what string) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func TestSealOpen(t *testing.T) {
	r := newRig(t)
	keys := r.ensure(t, anna)
	for name, v := range map[string]personal.Value{
		"string":       personal.String("Ærø Østergård"),
		"empty string": personal.String(""),
		"zeros":        personal.String("a\x00\x00"),
		"long string":  personal.String(strings.Repeat("å", 100_000)),
		"enum":         personal.Enum("MARRIED"),
		"empty enum":   personal.Enum(""),
		"long enum":    personal.Enum(strings.Repeat("x", 59)),
		"int":          personal.Int(-1 << 63),
		"true":         personal.Bool(true),
		"false":        personal.Bool(false),
		"time":         personal.Time(time.Date(1899, 12, 31, 23, 59, 59, 999e6, time.UTC)),
		"bytes":        personal.Bytes([]byte{0xff, 0, 0xfe}),
		"no bytes":     personal.Bytes(nil),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := seal(t, keys, anna, place, v), seal(t, keys, anna, place, v)
			if string(a) == string(b) {
				t.Error("sealing twice gives the same bytes")
			}
			got, err := load(t, r.fresh(t), anna).Open(anna, place, a)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(v) {
				t.Errorf("opens to another value of kind %s", got.Kind())
			}
		})
	}
}

func TestSealRefuses(t *testing.T) {
	r := newRig(t)
	keys := r.ensure(t, anna)
	for name, v := range map[string]personal.Value{
		"no value":     {},
		"broken UTF-8": personal.String("a\xff"),
		"broken enum":  personal.Enum("\xff"),
		"too long":     personal.String(strings.Repeat("x", 15<<20+1)),
		"many bytes":   personal.Bytes(make([]byte, 15<<20+1)),
	} {
		_, err := keys.Seal(anna, place, v)
		wantErr(t, err, vault.ErrValue, name)
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: kind %s", name, errs.KindOf(err))
		}
	}
	for name, p := range map[string]vault.Place{
		"collection": {Record: "r", Field: "f"}, "record": {Collection: "c", Field: "f"}, "field": {Collection: "c", Record: "r"},
		"long": {Collection: "c", Record: strings.Repeat("r", 201), Field: "f"},
	} {
		_, err := keys.Seal(anna, p, personal.Int(1))
		wantErr(t, err, vault.ErrOwner, name)
		_, err = keys.Open(anna, p, nil)
		wantErr(t, err, vault.ErrOwner, name)
		_, err = keys.SealStream(anna, p, nil)
		wantErr(t, err, vault.ErrOwner, name)
		_, err = keys.OpenStream(anna, p, nil, 100)
		wantErr(t, err, vault.ErrOwner, name)
	}
	for name, o := range map[string]vault.Owner{
		"tenant": {Subject: "s", Unit: "u"}, "subject": {Tenant: one, Unit: "u"}, "unit": {Tenant: one, Subject: "s"},
		"slash": {Tenant: one, Subject: "s/identity", Unit: "u"}, "newline": {Tenant: one, Subject: "s\n", Unit: "u"},
	} {
		_, err := r.Ensure(t.Context(), o)
		wantErr(t, err, vault.ErrOwner, name)
		_, err = r.Load(t.Context(), o)
		wantErr(t, err, vault.ErrOwner, name)
	}
}

func TestLengthHidesEnumeration(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	want := len(seal(t, keys, anna, place, personal.Enum("")))
	for n := range 59 {
		if got := len(seal(t, keys, anna, place, personal.Enum(strings.Repeat("x", n)))); got != want {
			t.Errorf("a word of %d bytes is sealed to %d bytes, an empty one to %d", n, got, want)
		}
	}
	if a, b := seal(t, keys, anna, place, personal.Bool(true)), seal(t, keys, anna, place, personal.Bool(false)); len(a) != len(b) {
		t.Error("true and false differ in length")
	}
}

func TestSwapIsFound(t *testing.T) {
	r := newRig(t)
	others := map[string]vault.Owner{
		"tenant":  {Tenant: two, Subject: anna.Subject, Unit: anna.Unit},
		"subject": {Tenant: one, Subject: "sub_bent", Unit: anna.Unit},
		"unit":    {Tenant: one, Subject: anna.Subject, Unit: vault.Evidence},
		"dataset": {Tenant: one, Subject: anna.Subject, Unit: "dst_kyc"},
	}
	keys := r.ensure(t, anna, others["tenant"], others["subject"], others["unit"], others["dataset"])
	sealed := seal(t, keys, anna, place, personal.String("Anna"))
	for name, o := range others {
		_, err := keys.Open(o, place, sealed)
		wantErr(t, err, vault.ErrAuth, "another "+name)
	}
	for name, p := range map[string]vault.Place{
		"collection": {Collection: "records", Record: place.Record, Field: place.Field},
		"record":     {Collection: place.Collection, Record: "sub_bent", Field: place.Field},
		"field":      {Collection: place.Collection, Record: place.Record, Field: "email"},
		"shifted":    {Collection: place.Collection, Record: place.Record + place.Field[:1], Field: place.Field[1:]},
	} {
		_, err := keys.Open(anna, p, sealed)
		wantErr(t, err, vault.ErrAuth, "another "+name)
	}
}

// The key itself must be bound as well: a copied key document is no way in.
func TestCopiedKeyDocumentIsFound(t *testing.T) {
	r := newRig(t)
	r.ensure(t, anna)
	docs, err := r.store.FindDataKeys(t.Context(), []vault.Owner{anna})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]vault.Owner{
		"subject": {Tenant: one, Subject: "sub_bent", Unit: anna.Unit},
		"unit":    {Tenant: one, Subject: anna.Subject, Unit: vault.Evidence},
	} {
		stolen := docs[0]
		stolen.Owner = o
		r.store.PutDataKey(stolen)
		_, err := load(t, r.fresh(t), o).Seal(o, place, personal.Int(1))
		wantErr(t, err, vault.ErrAuth, name)
		_, err = r.fresh(t).Ensure(t.Context(), o)
		wantErr(t, err, vault.ErrAuth, name)
	}
	for name, alter := range map[string]func(*vault.Generation){
		"generation": func(g *vault.Generation) { g.Number = 2 },
		"key id":     func(g *vault.Generation) { g.KeyID[0] ^= 1 },
		"wrapped":    func(g *vault.Generation) { g.Wrapped = append([]byte{g.Wrapped[0] ^ 1}, g.Wrapped[1:]...) },
	} {
		altered := docs[0]
		altered.Generations = append([]vault.Generation(nil), altered.Generations...)
		alter(&altered.Generations[0])
		altered.Current = altered.Generations[0].Number
		r.store.PutDataKey(altered)
		_, err := load(t, r.fresh(t), anna).Seal(anna, place, personal.Int(1))
		wantErr(t, err, vault.ErrAuth, name)
	}
}

func TestEveryBitCounts(t *testing.T) {
	keys := newRig(t).ensure(t, anna)
	sealed := seal(t, keys, anna, place, personal.Enum("MARRIED"))
	for i := range sealed {
		for bit := range 8 {
			altered := append([]byte(nil), sealed...)
			altered[i] ^= 1 << bit
			if _, err := keys.Open(anna, place, altered); !errors.Is(err, vault.ErrAuth) {
				t.Errorf("byte %d bit %d: %v", i, bit, err)
			}
		}
	}
	for n := range sealed {
		if _, err := keys.Open(anna, place, sealed[:n]); !errors.Is(err, vault.ErrAuth) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := keys.Open(anna, place, append(sealed, 0)); !errors.Is(err, vault.ErrAuth) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestErasedAndMissing(t *testing.T) {
	r := newRig(t)
	bent := vault.Owner{Tenant: one, Subject: "sub_bent", Unit: vault.Identity}
	foreign := vault.Owner{Tenant: two, Subject: anna.Subject, Unit: anna.Unit}
	keys := r.ensure(t, anna, bent, foreign)
	a, b := seal(t, keys, anna, place, personal.Int(1)), seal(t, keys, bent, place, personal.Int(2))
	f := seal(t, keys, foreign, place, personal.Int(3))
	if err := r.store.DestroyDataKey(t.Context(), anna, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	r.Evict(anna)

	for _, v := range []*vault.Vault{r.Vault, r.fresh(t)} {
		keys := load(t, v, anna, bent, foreign)
		_, err := keys.Open(anna, place, a)
		wantErr(t, err, vault.ErrErased, "open")
		if errs.KindOf(err) != errs.Erased {
			t.Errorf("kind %s", errs.KindOf(err))
		}
		_, err = keys.Seal(anna, place, personal.Int(1))
		wantErr(t, err, vault.ErrErased, "seal")
		_, err = keys.MAC(anna, "p")
		wantErr(t, err, vault.ErrErased, "mac")
		_, err = keys.SealStream(anna, place, nil)
		wantErr(t, err, vault.ErrErased, "stream")
		if _, err = keys.Open(bent, place, b); err != nil {
			t.Errorf("the neighbour on the same page is lost: %v", err)
		}
		if _, err = keys.Open(foreign, place, f); err != nil {
			t.Errorf("the other tenant's subject of that id is lost: %v", err)
		}
		_, err = v.Ensure(t.Context(), bent, anna)
		wantErr(t, err, vault.ErrErased, "ensure")
	}

	nobody := vault.Owner{Tenant: one, Subject: "sub_nobody", Unit: vault.Identity}
	_, err := load(t, r.Vault, nobody).Open(nobody, place, a)
	wantErr(t, err, vault.ErrKeyMissing, "no key")
	_, err = load(t, r.Vault, bent).Open(nobody, place, a)
	wantErr(t, err, vault.ErrKeyMissing, "not loaded")
	if errs.KindOf(err) != errs.Internal {
		t.Errorf("kind %s", errs.KindOf(err))
	}
}

func TestEnsureMakesOneKey(t *testing.T) {
	r := newRig(t)
	const callers = 64
	var (
		wg     sync.WaitGroup
		sealed [callers][]byte
	)
	for i := range callers {
		v := r.Vault
		if i%2 == 1 {
			v = r.fresh(t) // another process
		}
		wg.Go(func() {
			keys, err := v.Ensure(t.Context(), anna)
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
				return
			}
			if sealed[i], err = keys.Seal(anna, place, personal.Int(int64(i))); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	keys := load(t, r.fresh(t), anna)
	for i, b := range sealed {
		v, err := keys.Open(anna, place, b)
		if n, _ := v.RevealInt(); err != nil || n != int64(i) {
			t.Errorf("what caller %d sealed is lost: %v", i, err)
		}
	}
	if all, err := r.store.Masters(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d masters, %v", len(all), err)
	}
}

func TestPageIsOneQuery(t *testing.T) {
	r := newRig(t)
	var page []vault.Owner
	for i := range 100 {
		page = append(page, vault.Owner{Tenant: one, Subject: fmt.Sprintf("sub_%d", i), Unit: vault.Identity})
	}
	r.ensure(t, page...)
	v, before := r.fresh(t), r.store.Queries()
	load(t, v, append(page, page...)...)
	if n := r.store.Queries() - before; n != 1 {
		t.Errorf("a page took %d queries", n)
	}
	load(t, v, page...)
	if n := r.store.Queries() - before; n != 1 {
		t.Error("cached keys were asked for again")
	}
	r.clock.advance(5*time.Minute - time.Second)
	load(t, v, page...) // use doesn't prolong
	r.clock.advance(2 * time.Second)
	load(t, v, page...)
	if n := r.store.Queries() - before; n != 2 {
		t.Errorf("%d queries: keys must live 5 minutes however often they are used", n)
	}
}

// heldStore answers FindDataKeys only when it is let go.
type heldStore struct {
	*vaulttest.Memory
	found, release chan struct{}
}

func (h *heldStore) FindDataKeys(ctx context.Context, owners []vault.Owner) ([]vault.DataKey, error) {
	docs, err := h.Memory.FindDataKeys(ctx, owners)
	h.found <- struct{}{}
	<-h.release
	return docs, err
}

func TestEvictionBeatsALoadUnderWay(t *testing.T) {
	r := newRig(t)
	r.ensure(t, anna)
	held := &heldStore{Memory: r.store, found: make(chan struct{}), release: make(chan struct{})}
	v := newVault(t, held, r.kms, r.clock)
	done := make(chan error)
	go func() {
		_, err := v.Load(t.Context(), anna) // reads the key while it lives
		done <- err
	}()
	<-held.found
	if err := r.store.DestroyDataKey(t.Context(), anna, r.clock.now()); err != nil {
		t.Fatal(err)
	}
	v.Evict(anna)
	go func() { // asks after the eviction: must not join the query from before
		keys, err := v.Load(t.Context(), anna)
		if err == nil {
			_, err = keys.Seal(anna, place, personal.Int(1))
		}
		done <- err
	}()
	<-held.found
	close(held.release)
	for range 2 {
		if err := <-done; err != nil && !errors.Is(err, vault.ErrErased) {
			t.Fatal(err)
		}
	}
	go func() { // in case the tombstone isn't cached: the test is about what is found, not where
		for range held.found {
		}
	}()
	_, err := load(t, v, anna).Seal(anna, place, personal.Int(1))
	wantErr(t, err, vault.ErrErased, "after the eviction")
	close(held.found)
}

func TestCallerMayGiveUp(t *testing.T) {
	r := newRig(t)
	r.ensure(t, anna)
	held := &heldStore{Memory: r.store, found: make(chan struct{}), release: make(chan struct{})}
	v := newVault(t, held, r.kms, r.clock)
	ctx, cancel := context.WithCancel(t.Context())
	impatient, patient := make(chan error), make(chan error)
	go func() { _, err := v.Load(ctx, anna); impatient <- err }()
	<-held.found
	go func() { _, err := v.Load(t.Context(), anna); patient <- err }()
	cancel()
	wantErr(t, <-impatient, context.Canceled, "impatient")
	go func() {
		for range held.found { // the patient caller's own query, if it came too late to join
		}
	}()
	close(held.release)
	if err := <-patient; err != nil {
		t.Errorf("one caller's cancellation failed another: %v", err)
	}
	close(held.found)
}

func TestKMSUnavailable(t *testing.T) {
	r := newRig(t)
	r.ensure(t, anna)
	if err := os.Chmod(r.keyFile, 0o644); err != nil { // the key file refuses to be used
		t.Fatal(err)
	}
	v := r.fresh(t)
	_, loadErr := v.Load(t.Context(), anna)
	_, ensureErr := v.Ensure(t.Context(), vault.Owner{Tenant: two, Subject: "sub_x", Unit: vault.Identity})
	_, indexErr := v.Index(t.Context(), one)
	for what, err := range map[string]error{"load": loadErr, "ensure": ensureErr, "index": indexErr} {
		wantErr(t, err, vault.ErrKMSUnavailable, what)
		if errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: kind %s", what, errs.KindOf(err))
		}
	}
	if err := os.Chmod(r.keyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Load(t.Context(), anna); err != nil {
		t.Errorf("the failure was remembered: %v", err)
	}
}

func TestDestroyedMasterTakesItsKeysAlong(t *testing.T) {
	r := newRig(t)
	sealed := seal(t, r.ensure(t, anna), anna, place, personal.Int(1))
	all, err := r.store.Masters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.kms.Destroy(t.Context(), all[0].KeyRef); err != nil {
		t.Fatal(err)
	}
	_, err = load(t, r.fresh(t), anna).Open(anna, place, sealed)
	wantErr(t, err, vault.ErrKeyMissing, "open")
}

// forgetfulKMS ignores associated data, as some services do.
type forgetfulKMS struct{ kms.Wrapper }

func (f forgetfulKMS) Wrap(ctx context.Context, ref string, plaintext, _ []byte) ([]byte, error) {
	return f.Wrapper.Wrap(ctx, ref, plaintext, nil)
}

func (f forgetfulKMS) Unwrap(ctx context.Context, ref string, wrapped, _ []byte) ([]byte, error) {
	return f.Wrapper.Unwrap(ctx, ref, wrapped, nil)
}

func TestTenantKeyOfAnotherTenantIsFound(t *testing.T) {
	for name, wrap := range map[string]func(kms.Wrapper) kms.Wrapper{
		"binding service":   func(k kms.Wrapper) kms.Wrapper { return k },
		"forgetful service": func(k kms.Wrapper) kms.Wrapper { return forgetfulKMS{k} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			service := wrap(r.kms)
			if _, err := newVault(t, r.store, service, r.clock).Ensure(t.Context(), anna); err != nil {
				t.Fatal(err)
			}
			epoch := vault.EpochAt(r.clock.now())
			stolen, found, err := r.store.FindTenantKey(t.Context(), one, epoch)
			if err != nil || !found {
				t.Fatal(err)
			}
			stolen.Tenant = two
			if _, err := r.store.InsertTenantKey(t.Context(), stolen); err != nil {
				t.Fatal(err)
			}
			_, err = newVault(t, r.store, service, r.clock).Ensure(t.Context(), vault.Owner{Tenant: two, Subject: "sub_x", Unit: vault.Identity})
			wantErr(t, err, vault.ErrAuth, "another tenant's key")
		})
	}
}

func TestNextEpoch(t *testing.T) {
	r := newRig(t)
	old := vault.EpochAt(r.clock.now())
	sealed := seal(t, r.ensure(t, anna), anna, place, personal.Int(1))
	oldIndex, err := r.Index(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	oldDigest, err := oldIndex.Digest("email", 1, personal.NewText("a@example.com"))
	if err != nil {
		t.Fatal(err)
	}

	// Time alone closes nothing: until the close, all processes stay in the old epoch.
	r.clock.advance(vault.EpochLength)
	bent := vault.Owner{Tenant: one, Subject: "sub_bent", Unit: vault.Identity}
	r.ensure(t, bent)
	if docs, err := r.store.FindDataKeys(t.Context(), []vault.Owner{bent}); err != nil || docs[0].Generations[0].Epoch != old {
		t.Errorf("%v %v", docs, err)
	}

	all, err := r.store.Masters(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	all[0].State = vault.MasterClosed
	r.store.PutMaster(all[0])
	r.clock.advance(2 * time.Minute)
	carl := vault.Owner{Tenant: one, Subject: "sub_carl", Unit: vault.Identity}
	keys := r.ensure(t, anna, carl)
	docs, err := r.store.FindDataKeys(t.Context(), []vault.Owner{carl})
	if err != nil || docs[0].Generations[0].Epoch != old+1 {
		t.Errorf("%v %v", docs, err)
	}
	if _, err := keys.Open(anna, place, sealed); err != nil {
		t.Errorf("a key of the closed epoch doesn't open: %v", err)
	}

	x, err := r.Index(t.Context(), one)
	if err != nil || x.Epoch() != old+1 {
		t.Fatal(x.Epoch(), err)
	}
	digest, err := x.Digest("email", 1, personal.NewText("a@example.com"))
	if err != nil || digest == oldDigest {
		t.Errorf("the new epoch's digests are the old one's, %v", err)
	}
	if x, err = r.fresh(t).IndexAt(t.Context(), one, old); err != nil {
		t.Fatal(err)
	}
	if again, err := x.Digest("email", 1, personal.NewText("a@example.com")); err != nil || again != oldDigest {
		t.Errorf("the old epoch's digests changed, %v", err)
	}
	_, err = r.IndexAt(t.Context(), two, old)
	wantErr(t, err, vault.ErrKeyMissing, "index of a tenant that has none")
}

func TestEpochAt(t *testing.T) {
	for at, want := range map[string]vault.Epoch{
		"2024-01-01T00:00:00Z": 0, "2024-01-14T23:59:59Z": 0, "2024-01-15T00:00:00Z": 1, "2026-03-02T10:00:00Z": 56,
		"2023-12-31T23:59:59Z": -1, "2023-12-18T00:00:00Z": -1, "2023-12-17T23:59:59Z": -2,
	} {
		instant, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := vault.EpochAt(instant); got != want {
			t.Errorf("%s is in epoch %d, want %d", at, got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	r := newRig(t)
	index := func(v *vault.Vault, of string) *vault.Index {
		t.Helper()
		x, err := v.Index(t.Context(), map[string]tenant.ID{"one": one, "two": two}[of])
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	digest := func(x *vault.Index, name string, version int, s string) [vault.DigestSize]byte {
		t.Helper()
		d, err := x.Digest(name, version, personal.NewText(s))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := digest(index(r.Vault, "one"), "email", 1, "a@example.com")
	if got := digest(index(r.fresh(t), "one"), "email", 1, "a@example.com"); got != want {
		t.Error("another process makes other digests")
	}
	for name, other := range map[string][vault.DigestSize]byte{
		"tenant":  digest(index(r.Vault, "two"), "email", 1, "a@example.com"),
		"index":   digest(index(r.Vault, "one"), "phone", 1, "a@example.com"),
		"version": digest(index(r.Vault, "one"), "email", 2, "a@example.com"),
		"value":   digest(index(r.Vault, "one"), "email", 1, "b@example.com"),
	} {
		if other == want {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestIndexConcurrent(t *testing.T) {
	r := newRig(t)
	var (
		wg  sync.WaitGroup
		got [32][vault.DigestSize]byte
	)
	for i := range got {
		v := r.Vault
		if i%2 == 1 {
			v = r.fresh(t)
		}
		wg.Go(func() {
			x, err := v.Index(t.Context(), one)
			if err == nil {
				got[i], err = x.Digest("email", 1, personal.NewText("a@example.com"))
			}
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[0] {
			t.Fatal("two processes made two index keys")
		}
	}
}

func TestMAC(t *testing.T) {
	r := newRig(t)
	o := vault.Owner{Tenant: one, Subject: string(one), Unit: vault.Credentials}
	foreign := vault.Owner{Tenant: two, Subject: string(two), Unit: vault.Credentials}
	keys := r.ensure(t, o, foreign)
	mac := func(o vault.Owner, purpose string, parts ...string) [32]byte {
		t.Helper()
		var b [][]byte
		for _, p := range parts {
			b = append(b, []byte(p))
		}
		sum, err := load(t, r.fresh(t), o).MAC(o, purpose, b...)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	want := mac(o, "api-key", "ab", "c")
	if mac(o, "api-key", "ab", "c") != want {
		t.Error("not deterministic")
	}
	for name, other := range map[string][32]byte{
		"tenant": mac(foreign, "api-key", "ab", "c"), "purpose": mac(o, "idempotency", "ab", "c"),
		"split": mac(o, "api-key", "a", "bc"), "joined": mac(o, "api-key", "abc"), "more": mac(o, "api-key", "ab", "c", ""),
	} {
		if other == want {
			t.Errorf("another %s has the same hash", name)
		}
	}
	if ok, err := keys.VerifyMAC(want, o, "api-key", []byte("ab"), []byte("c")); err != nil || !ok {
		t.Errorf("not verified: %v", err)
	}
	for name, verify := range map[string]func() (bool, error){
		"altered": func() (bool, error) {
			bad := want
			bad[31] ^= 1
			return keys.VerifyMAC(bad, o, "api-key", []byte("ab"), []byte("c"))
		},
		"other tenant":  func() (bool, error) { return keys.VerifyMAC(want, foreign, "api-key", []byte("ab"), []byte("c")) },
		"other purpose": func() (bool, error) { return keys.VerifyMAC(want, o, "idempotency", []byte("ab"), []byte("c")) },
	} {
		if ok, err := verify(); err != nil || ok {
			t.Errorf("%s: %t, %v", name, ok, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]vault.Config{
		"store": {KMS: r.kms, Now: r.clock.now}, "kms": {Store: r.store, Now: r.clock.now}, "clock": {Store: r.store, KMS: r.kms},
		"size": {Store: r.store, KMS: r.kms, Now: r.clock.now, DataKeys: -1},
	} {
		if _, err := vault.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
