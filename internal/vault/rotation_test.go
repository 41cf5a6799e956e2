package vault

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/kms/localfile"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenant"
)

// oneKeyStore is the store of one data key; the rest is a real one's.
type oneKeyStore struct {
	KeyStore
	doc DataKey
}

func (s *oneKeyStore) FindDataKeys(context.Context, []Owner) ([]DataKey, error) {
	return []DataKey{s.doc}, nil
}

// plainStore holds masters and tenant keys.
type plainStore struct {
	KeyStore
	masters []Master
	tenants []TenantKey
}

func (s *plainStore) Masters(context.Context) ([]Master, error) { return s.masters, nil }

func (s *plainStore) InsertMaster(_ context.Context, m Master) (Master, error) {
	s.masters = append(s.masters, m)
	return m, nil
}

func (s *plainStore) FindTenantKey(_ context.Context, t tenant.ID, e Epoch) (TenantKey, bool, error) {
	for _, k := range s.tenants {
		if k.Tenant == t && k.Epoch == e {
			return k, true, nil
		}
	}
	return TenantKey{}, false, nil
}

func (s *plainStore) InsertTenantKey(_ context.Context, k TenantKey) (TenantKey, error) {
	s.tenants = append(s.tenants, k)
	return k, nil
}

// A key document with several generations, in several epochs, opens what any
// living one sealed, and seals with the current one.
func TestGenerations(t *testing.T) {
	now := func() time.Time { return time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC) }
	file, err := localfile.Open(filepath.Join(t.TempDir(), "masters.json"), now)
	if err != nil {
		t.Fatal(err)
	}
	o := Owner{Tenant: "ten_aaaaaaaaaaaaaaaa", Subject: "sub_a", Unit: Identity}
	p := Place{Collection: "subjects", Record: "sub_a", Field: "name"}
	base := &plainStore{}
	store := &oneKeyStore{KeyStore: base, doc: DataKey{Owner: o}}
	fresh := func() *Vault {
		v, err := New(Config{Store: store, KMS: file, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var (
		sealed [][]byte
		macs   [][32]byte
	)
	for i := range int32(3) {
		e := Epoch(56) + Epoch(i)
		ref, err := file.Create(t.Context(), "epoch-"+string('a'+i))
		if err != nil {
			t.Fatal(err)
		}
		m := Master{Epoch: e, KeyRef: ref, State: MasterOpen}
		base.masters = append(base.masters, m)
		tk, err := fresh().makeTenantKey(t.Context(), o.Tenant, m)
		if err != nil {
			t.Fatal(err)
		}
		_, g := newGeneration(tk, o, i+1, e)
		store.doc.Generations = append(store.doc.Generations, g)
		store.doc.Current = i + 1
		keys, err := fresh().Load(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := keys.Seal(o, p, personal.Int(int64(i)))
		if err != nil {
			t.Fatal(err)
		}
		if KeyID(b[2:headerSize]) != g.KeyID {
			t.Error("not sealed by the current generation")
		}
		mac, err := keys.MAC(o, "api-key", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		sealed, macs = append(sealed, b), append(macs, mac)
	}

	store.doc.Generations[1].Wrapped = nil // the second is retired for good
	keys, err := fresh().Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range sealed {
		_, err := keys.Open(o, p, b)
		ok, macErr := keys.VerifyMAC(macs[i], o, "api-key", []byte("x"))
		if i == 1 {
			if !errors.Is(err, ErrKeyMissing) || ok {
				t.Errorf("what a destroyed generation sealed: %v, its hash verifies: %t", err, ok)
			}
			continue
		}
		if err != nil || macErr != nil || !ok {
			t.Errorf("generation %d: %v, %v, %t", i+1, err, macErr, ok)
		}
	}

	store.doc.Current = 2
	keys, err = fresh().Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Seal(o, p, personal.Int(1)); !errors.Is(err, ErrKeyMissing) {
		t.Errorf("sealing under a destroyed current generation: %v", err)
	}
}
