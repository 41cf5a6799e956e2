package vaulttest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// Memory is a key store in memory, for tests.
type Memory struct {
	mu      sync.Mutex
	masters map[vault.Epoch]vault.Master
	tenants map[tenantEpoch]vault.TenantKey
	indexes map[tenantEpoch]vault.IndexKey
	data    map[vault.Owner]vault.DataKey
	queries int
}

var _ vault.KeyStore = (*Memory)(nil)

type tenantEpoch struct {
	tenant tenant.ID
	epoch  vault.Epoch
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{
		masters: map[vault.Epoch]vault.Master{},
		tenants: map[tenantEpoch]vault.TenantKey{},
		indexes: map[tenantEpoch]vault.IndexKey{},
		data:    map[vault.Owner]vault.DataKey{},
	}
}

// Queries returns how often FindDataKeys was called.
func (m *Memory) Queries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queries
}

// Masters implements vault.KeyStore.
func (m *Memory) Masters(context.Context) ([]vault.Master, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]vault.Master, 0, len(m.masters))
	for _, k := range m.masters {
		all = append(all, k)
	}
	return all, nil
}

// InsertMaster implements vault.KeyStore.
func (m *Memory) InsertMaster(_ context.Context, k vault.Master) (vault.Master, error) {
	return insert(m, m.masters, k.Epoch, k), nil
}

// PutMaster stores k in place of its epoch's master, as closing an epoch will.
func (m *Memory) PutMaster(k vault.Master) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.masters[k.Epoch] = k
}

// FindTenantKey implements vault.KeyStore.
func (m *Memory) FindTenantKey(_ context.Context, t tenant.ID, e vault.Epoch) (vault.TenantKey, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.tenants[tenantEpoch{t, e}]
	return k, ok, nil
}

// InsertTenantKey implements vault.KeyStore.
func (m *Memory) InsertTenantKey(_ context.Context, k vault.TenantKey) (vault.TenantKey, error) {
	if err := m.open(k.Epoch); err != nil {
		return vault.TenantKey{}, err
	}
	return insert(m, m.tenants, tenantEpoch{k.Tenant, k.Epoch}, k), nil
}

// FindIndexKey implements vault.KeyStore.
func (m *Memory) FindIndexKey(_ context.Context, t tenant.ID, e vault.Epoch) (vault.IndexKey, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.indexes[tenantEpoch{t, e}]
	return k, ok, nil
}

// InsertIndexKey implements vault.KeyStore.
func (m *Memory) InsertIndexKey(_ context.Context, k vault.IndexKey) (vault.IndexKey, error) {
	if err := m.open(k.WrappedIn); err != nil {
		return vault.IndexKey{}, err
	}
	return insert(m, m.indexes, tenantEpoch{k.Tenant, k.Epoch}, k), nil
}

// FindDataKeys implements vault.KeyStore.
func (m *Memory) FindDataKeys(_ context.Context, owners []vault.Owner) ([]vault.DataKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries++
	var found []vault.DataKey
	for _, o := range owners {
		if k, ok := m.data[o]; ok {
			found = append(found, clone(k))
		}
	}
	return found, nil
}

// InsertDataKeys implements vault.KeyStore.
func (m *Memory) InsertDataKeys(_ context.Context, keys []vault.DataKey) ([]vault.DataKey, error) {
	stored := make([]vault.DataKey, len(keys))
	for _, k := range keys {
		for _, g := range k.Generations {
			if err := m.open(g.Epoch); err != nil {
				return nil, err
			}
		}
	}
	for i, k := range keys {
		stored[i] = clone(insert(m, m.data, k.Owner, clone(k)))
	}
	return stored, nil
}

// PutDataKey stores k in place of its owner's key, as a rotation will.
func (m *Memory) PutDataKey(k vault.DataKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data[k.Owner] = clone(k)
}

// DestroyDataKey implements vault.KeyStore.
func (m *Memory) DestroyDataKey(_ context.Context, o vault.Owner, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := clone(m.data[o])
	k.Owner = o
	for i := range k.Generations {
		k.Generations[i].Wrapped = nil
	}
	if !k.Destroyed() {
		k.DestroyedAt = at
	}
	m.data[o] = k
	return nil
}

// open fails with vault.ErrEpochClosed unless the epoch takes new keys.
func (m *Memory) open(e vault.Epoch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.masters[e].State != vault.MasterOpen {
		return vault.ErrEpochClosed
	}
	return nil
}

func insert[K comparable, V any](m *Memory, in map[K]V, k K, v V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	if stored, ok := in[k]; ok {
		return stored
	}
	in[k] = v
	return v
}

func clone(k vault.DataKey) vault.DataKey {
	k.Generations = slices.Clone(k.Generations)
	return k
}
