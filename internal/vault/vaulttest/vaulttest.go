// Package vaulttest is the contract of a vault.KeyStore as a test suite, which
// every implementation runs, and a key store in memory for other tests.
package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Two tenants: nothing of the one is ever seen by the other.
const (
	One tenant.ID = "ten_aaaaaaaaaaaaaaaa"
	Two tenant.ID = "ten_bbbbbbbbbbbbbbbb"
)

// Run tests the contract. newStore returns an empty store, or one that holds no
// key of One and Two.
func Run(t *testing.T, newStore func(t *testing.T) vault.KeyStore) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, vault.KeyStore){
		"masters":                      masters,
		"tenant keys":                  tenantKeys,
		"index keys":                   indexKeys,
		"data keys":                    dataKeys,
		"first data key wins":          firstWins,
		"concurrent inserts agree":     concurrentInserts,
		"destroyed key is a tombstone": destroy,
		"bare tombstone":               bareTombstone,
		"large batch":                  largeBatch,
		"closed epoch":                 closedEpoch,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if name != "masters" {
				for _, e := range []vault.Epoch{54, 55, 56} {
					_, err := s.InsertMaster(t.Context(), vault.Master{Epoch: e, KeyRef: "m", State: vault.MasterOpen, CreatedAt: at(0)})
					check(t, err, 0, 0)
				}
			}
			test(t, s)
		})
	}
}

// Nothing new is wrapped under an epoch that isn't open.
func closedEpoch(t *testing.T, s vault.KeyStore) {
	t.Helper()
	_, err := s.InsertMaster(t.Context(), vault.Master{Epoch: 57, KeyRef: "m", State: vault.MasterClosed, CreatedAt: at(0)})
	check(t, err, 0, 0)
	open, closed := key(owner(One, "sub_a", vault.Identity), 1), key(owner(One, "sub_b", vault.Identity), 2)
	for _, e := range []vault.Epoch{57, 58} { // closed, and never opened
		if _, err := s.InsertTenantKey(t.Context(), vault.TenantKey{Tenant: One, Epoch: e, Wrapped: []byte{1}}); !errors.Is(err, vault.ErrEpochClosed) {
			t.Errorf("tenant key in epoch %d: %v", e, err)
		}
		if _, err := s.InsertIndexKey(t.Context(), vault.IndexKey{Tenant: One, Epoch: e, WrappedIn: e, Wrapped: []byte{1}}); !errors.Is(err, vault.ErrEpochClosed) {
			t.Errorf("index key in epoch %d: %v", e, err)
		}
		closed.Generations[1].Epoch = e
		if _, err := s.InsertDataKeys(t.Context(), []vault.DataKey{open, closed}); !errors.Is(err, vault.ErrEpochClosed) {
			t.Errorf("data key in epoch %d: %v", e, err)
		}
	}
	got, err := s.FindDataKeys(t.Context(), []vault.Owner{open.Owner, closed.Owner})
	check(t, err, got, nil)
}

func at(minute int) time.Time { return time.Date(2026, time.March, 2, 10, minute, 0, 0, time.UTC) }

func owner(of tenant.ID, subject string, unit vault.Unit) vault.Owner {
	return vault.Owner{Tenant: of, Subject: subject, Unit: unit}
}

func key(o vault.Owner, mark byte) vault.DataKey {
	return vault.DataKey{
		Owner: o, Current: 2, CreatedAt: at(1),
		Generations: []vault.Generation{
			{Number: 1, KeyID: vault.KeyID{mark, 1}, Epoch: 54, Wrapped: []byte{mark, 1, 0, 255}},
			{Number: 2, KeyID: vault.KeyID{mark, 2}, Epoch: 55, Wrapped: []byte{mark, 2}},
		},
	}
}

func masters(t *testing.T, s vault.KeyStore) {
	t.Helper()
	first := vault.Master{Epoch: 55, KeyRef: "first", State: vault.MasterOpen, CreatedAt: at(1)}
	got, err := s.InsertMaster(t.Context(), first)
	check(t, err, got, first)
	got, err = s.InsertMaster(t.Context(), vault.Master{Epoch: 55, KeyRef: "second", State: vault.MasterOpen, CreatedAt: at(2)})
	check(t, err, got, first)
	other := vault.Master{Epoch: 56, KeyRef: "other", State: vault.MasterClosed, CreatedAt: at(3)}
	got, err = s.InsertMaster(t.Context(), other)
	check(t, err, got, other)

	all, err := s.Masters(t.Context())
	slices.SortFunc(all, func(a, b vault.Master) int { return int(a.Epoch - b.Epoch) })
	check(t, err, all, []vault.Master{first, other})
}

func tenantKeys(t *testing.T, s vault.KeyStore) {
	t.Helper()
	first := vault.TenantKey{Tenant: One, Epoch: 55, Wrapped: []byte{1, 0, 255}, CreatedAt: at(1)}
	got, err := s.InsertTenantKey(t.Context(), first)
	check(t, err, got, first)
	got, err = s.InsertTenantKey(t.Context(), vault.TenantKey{Tenant: One, Epoch: 55, Wrapped: []byte{2}, CreatedAt: at(2)})
	check(t, err, got, first)

	got, found, err := s.FindTenantKey(t.Context(), One, 55)
	check(t, err, got, first)
	check(t, nil, found, true)
	for _, absent := range []struct {
		of tenant.ID
		e  vault.Epoch
	}{{Two, 55}, {One, 56}} {
		_, found, err = s.FindTenantKey(t.Context(), absent.of, absent.e)
		check(t, err, found, false)
	}
}

func indexKeys(t *testing.T, s vault.KeyStore) {
	t.Helper()
	first := vault.IndexKey{Tenant: One, Epoch: 55, WrappedIn: 56, Wrapped: []byte{1, 0, 255}, CreatedAt: at(1)}
	got, err := s.InsertIndexKey(t.Context(), first)
	check(t, err, got, first)
	got, err = s.InsertIndexKey(t.Context(), vault.IndexKey{Tenant: One, Epoch: 55, WrappedIn: 55, Wrapped: []byte{2}, CreatedAt: at(2)})
	check(t, err, got, first)

	got, found, err := s.FindIndexKey(t.Context(), One, 55)
	check(t, err, got, first)
	check(t, nil, found, true)
	for _, absent := range []struct {
		of tenant.ID
		e  vault.Epoch
	}{{Two, 55}, {One, 56}} {
		_, found, err = s.FindIndexKey(t.Context(), absent.of, absent.e)
		check(t, err, found, false)
	}
}

func dataKeys(t *testing.T, s vault.KeyStore) {
	t.Helper()
	a, b := key(owner(One, "sub_a", vault.Identity), 1), key(owner(One, "sub_a", "dst_x"), 2)
	foreign := key(owner(Two, "sub_a", vault.Identity), 3)
	got, err := s.FindDataKeys(t.Context(), []vault.Owner{a.Owner})
	check(t, err, got, nil)

	got, err = s.InsertDataKeys(t.Context(), []vault.DataKey{a, b})
	check(t, err, sorted(got), sorted([]vault.DataKey{a, b}))
	got, err = s.FindDataKeys(t.Context(), []vault.Owner{foreign.Owner})
	check(t, err, got, nil)
	got, err = s.InsertDataKeys(t.Context(), []vault.DataKey{foreign})
	check(t, err, got, []vault.DataKey{foreign})

	got, err = s.FindDataKeys(t.Context(), []vault.Owner{b.Owner, owner(One, "sub_none", vault.Identity), a.Owner})
	check(t, err, sorted(got), sorted([]vault.DataKey{a, b}))
	got, err = s.FindDataKeys(t.Context(), []vault.Owner{foreign.Owner})
	check(t, err, got, []vault.DataKey{foreign})
}

func firstWins(t *testing.T, s vault.KeyStore) {
	t.Helper()
	old := key(owner(One, "sub_a", vault.Identity), 1)
	_, err := s.InsertDataKeys(t.Context(), []vault.DataKey{old})
	check(t, err, 0, 0)
	late, fresh := key(old.Owner, 2), key(owner(One, "sub_b", vault.Identity), 3)
	got, err := s.InsertDataKeys(t.Context(), []vault.DataKey{late, fresh})
	check(t, err, sorted(got), sorted([]vault.DataKey{old, fresh}))
	got, err = s.FindDataKeys(t.Context(), []vault.Owner{old.Owner, fresh.Owner})
	check(t, err, sorted(got), sorted([]vault.DataKey{old, fresh}))
}

func concurrentInserts(t *testing.T, s vault.KeyStore) {
	t.Helper()
	const writers = 16
	var (
		wg  sync.WaitGroup
		got [writers][]vault.DataKey
		err [writers]error
	)
	for i := range byte(writers) {
		wg.Go(func() {
			keys := []vault.DataKey{
				key(owner(One, "sub_a", vault.Identity), i),
				key(owner(One, "sub_b", vault.Identity), i),
			}
			if i%2 == 1 {
				slices.Reverse(keys)
			}
			got[i], err[i] = s.InsertDataKeys(t.Context(), keys)
		})
	}
	wg.Wait()
	for i := range writers {
		check(t, err[i], sorted(got[i]), sorted(got[0]))
	}
	check(t, nil, len(got[0]), 2)
}

func destroy(t *testing.T, s vault.KeyStore) {
	t.Helper()
	k, other := key(owner(One, "sub_a", vault.Identity), 1), key(owner(One, "sub_a", vault.Evidence), 2)
	foreign := key(owner(Two, "sub_a", vault.Identity), 3)
	_, err := s.InsertDataKeys(t.Context(), []vault.DataKey{k, other})
	check(t, err, 0, 0)
	_, err = s.InsertDataKeys(t.Context(), []vault.DataKey{foreign})
	check(t, err, 0, 0)
	check(t, s.DestroyDataKey(t.Context(), k.Owner, at(5)), 0, 0)
	check(t, s.DestroyDataKey(t.Context(), k.Owner, at(6)), 0, 0)

	tombstone := key(k.Owner, 1)
	tombstone.DestroyedAt = at(5)
	for i := range tombstone.Generations {
		tombstone.Generations[i].Wrapped = nil
	}
	got, err := s.FindDataKeys(t.Context(), []vault.Owner{k.Owner, other.Owner})
	check(t, err, sorted(got), sorted([]vault.DataKey{tombstone, other}))
	got, err = s.InsertDataKeys(t.Context(), []vault.DataKey{key(k.Owner, 9)})
	check(t, err, got, []vault.DataKey{tombstone})
	got, err = s.FindDataKeys(t.Context(), []vault.Owner{foreign.Owner})
	check(t, err, got, []vault.DataKey{foreign})
}

func bareTombstone(t *testing.T, s vault.KeyStore) {
	t.Helper()
	o := owner(One, "sub_a", vault.Identity)
	check(t, s.DestroyDataKey(t.Context(), o, at(5)), 0, 0)
	got, err := s.InsertDataKeys(t.Context(), []vault.DataKey{key(o, 1)})
	if err != nil || len(got) != 1 || !got[0].Destroyed() || len(got[0].Generations) != 0 {
		t.Fatalf("a key was made over a bare tombstone: %v", err)
	}
}

func largeBatch(t *testing.T, s vault.KeyStore) {
	t.Helper()
	var (
		keys   []vault.DataKey
		owners []vault.Owner
	)
	for i := range 1500 {
		o := owner(One, fmt.Sprintf("sub_%04d", i), vault.Identity)
		owners = append(owners, o)
		if i%3 != 0 {
			keys = append(keys, key(o, byte(i)))
		}
	}
	got, err := s.InsertDataKeys(t.Context(), keys)
	check(t, err, sorted(got), keys)
	got, err = s.FindDataKeys(t.Context(), owners)
	check(t, err, sorted(got), keys)
}

func sorted(keys []vault.DataKey) []vault.DataKey {
	slices.SortFunc(keys, func(a, b vault.DataKey) int { return strings.Compare(a.Owner.ID(), b.Owner.ID()) })
	return keys
}

func check[T any](t *testing.T, err error, got, want T) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}
