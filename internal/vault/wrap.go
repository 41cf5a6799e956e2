package vault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	keySize         = 32
	firstGeneration = 1
)

// What a key is for, as the first part of the associated data under which it is
// wrapped or of the info from which it is derived. The numbers are the formats'.
const (
	purposeTenantKey = "vogter/tenant-key/1"
	purposeDataKey   = "vogter/data-key/1"
	purposeIndexKey  = "vogter/index-key/1"
	purposeField     = "vogter/field/1"
	purposeStream    = "vogter/stream/1"
	purposeMAC       = "vogter/mac/1"
	purposeIndex     = "vogter/index/1"
)

// wrapKey is an opened tenant key. It wraps other keys and does nothing else.
type wrapKey struct{ aead cipher.AEAD }

// rootKey is an opened data or index key: never used itself, only derived from.
type rootKey [keySize]byte

// entry is an owner's opened key, or why it can't be used.
type entry struct {
	err         error
	absent      bool // there is no key document at all, so one may be made
	current     *generation
	generations []*generation
	lost        []KeyID // of generations that were destroyed, or don't open
}

// generation is one opened generation of a data key. It is cached by the ten
// thousands, so without ciphers, which are ten times its size: see Keys.cipher.
type generation struct {
	id   KeyID
	root rootKey
}

func newRoot() rootKey {
	var k rootKey
	rand.Read(k[:]) // never fails
	return k
}

// derive returns the key for one purpose; the parts of info are told apart by
// their lengths.
func (k *rootKey) derive(purpose string, info ...string) ([]byte, error) {
	b := appendPart(make([]byte, 0, 128), purpose)
	for _, s := range info {
		b = appendPart(b, s)
	}
	key, err := hkdf.Expand(sha256.New, k[:], string(b), keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}

// seal appends nonce, ciphertext and tag to dst.
func seal(aead cipher.AEAD, dst, plain, aad []byte) []byte {
	return aead.Seal(dst, nil, plain, aad) //nolint:gosec // G407: newAEAD's ciphers draw the nonce themselves
}

// newGeneration makes a generation of o's key and wraps it under the tenant key
// of the epoch.
func newGeneration(tk wrapKey, o Owner, number int32, epoch Epoch) (*generation, Generation) {
	stored := Generation{Number: number, Epoch: epoch}
	rand.Read(stored.KeyID[:]) // never fails
	root := newRoot()
	stored.Wrapped = seal(tk.aead, nil, root[:], dataKeyAAD(o, &stored))
	return &generation{stored.KeyID, root}, stored
}

// open unwraps all living generations of a key document. What is wrong with
// this key alone is in the entry; the error tells that keys can't be had now. An
// older generation that doesn't open loses what it sealed and no more.
func (v *Vault) open(ctx context.Context, doc *DataKey) (*entry, error) {
	if doc.Destroyed() {
		return &entry{err: ErrErased}, nil
	}
	e := &entry{}
	for i := range doc.Generations {
		stored := &doc.Generations[i]
		if len(stored.Wrapped) == 0 {
			e.lost = append(e.lost, stored.KeyID) // a retired generation, destroyed alone
			continue
		}
		g, err := v.openGeneration(ctx, doc.Owner, stored)
		switch {
		case err == nil:
			e.generations = append(e.generations, g)
			if stored.Number == doc.Current {
				e.current = g
			}
		case !unusable(err):
			return nil, err
		case stored.Number == doc.Current:
			e.err = err
		default:
			e.lost = append(e.lost, stored.KeyID)
		}
	}
	if e.current == nil && e.err == nil {
		e.err = fmt.Errorf("generation %d: %w", doc.Current, ErrKeyMissing)
	}
	return e, nil
}

func (v *Vault) openGeneration(ctx context.Context, o Owner, stored *Generation) (*generation, error) {
	tk, err := v.tenantKey(ctx, o.Tenant, stored.Epoch)
	if err != nil {
		return nil, fmt.Errorf("generation %d: tenant key of epoch %d: %w", stored.Number, stored.Epoch, err)
	}
	plain, err := tk.aead.Open(nil, nil, stored.Wrapped, dataKeyAAD(o, stored))
	if err != nil || len(plain) != keySize {
		return nil, fmt.Errorf("unwrap generation %d: %w", stored.Number, ErrAuth)
	}
	return &generation{stored.KeyID, rootKey(plain)}, nil
}

// unusable reports an error that is about one key, not about the moment.
func unusable(err error) bool { return errors.Is(err, ErrAuth) || errors.Is(err, ErrKeyMissing) }

// tenantKey returns the tenant's key of an epoch, or ErrKeyMissing.
func (v *Vault) tenantKey(ctx context.Context, t tenant.ID, e Epoch) (wrapKey, error) {
	if k, ok := v.tenantKeys.get(tenantEpoch{t, e}); ok {
		return k, nil
	}
	return share(ctx, &v.flights, flightName("tenant", t, e), func(ctx context.Context) (wrapKey, error) {
		doc, found, err := v.store.FindTenantKey(ctx, t, e)
		if err != nil {
			return wrapKey{}, fmt.Errorf("find tenant key: %w", err)
		}
		if !found {
			return wrapKey{}, fmt.Errorf("find tenant key: %w", ErrKeyMissing)
		}
		master, err := v.master(ctx, e)
		if err != nil {
			return wrapKey{}, err
		}
		return v.openTenantKey(ctx, &doc, master)
	})
}

// makeTenantKey returns the tenant's key of the master's epoch and makes it when there is none.
func (v *Vault) makeTenantKey(ctx context.Context, t tenant.ID, master Master) (wrapKey, error) {
	if k, ok := v.tenantKeys.get(tenantEpoch{t, master.Epoch}); ok {
		return k, nil
	}
	return share(ctx, &v.flights, flightName("make", t, master.Epoch), func(ctx context.Context) (wrapKey, error) {
		doc, found, err := v.store.FindTenantKey(ctx, t, master.Epoch)
		if err != nil {
			return wrapKey{}, fmt.Errorf("find tenant key: %w", err)
		}
		if !found {
			key, aad := newRoot(), tenantKeyAAD(t, master.Epoch)
			wrapped, err := v.kms.Wrap(ctx, master.KeyRef, append(key[:], aad...), aad)
			if err != nil {
				return wrapKey{}, fmt.Errorf("wrap tenant key: %w", kmsError(err))
			}
			doc, err = v.store.InsertTenantKey(ctx, TenantKey{
				Tenant: t, Epoch: master.Epoch, Wrapped: wrapped, CreatedAt: v.now().UTC(),
			})
			if err != nil {
				return wrapKey{}, fmt.Errorf("insert tenant key: %w", err)
			}
		}
		return v.openTenantKey(ctx, &doc, master) // proves also that what was just stored opens
	})
}

// openTenantKey unwraps a tenant key and checks, inside, whose and when it is: a
// key management service may ignore the associated data.
func (v *Vault) openTenantKey(ctx context.Context, doc *TenantKey, master Master) (wrapKey, error) {
	aad := tenantKeyAAD(doc.Tenant, doc.Epoch)
	plain, err := v.kms.Unwrap(ctx, master.KeyRef, doc.Wrapped, aad)
	if err != nil {
		return wrapKey{}, fmt.Errorf("unwrap tenant key: %w", kmsError(err))
	}
	if len(plain) != keySize+len(aad) || !bytes.Equal(plain[keySize:], aad) {
		return wrapKey{}, fmt.Errorf("unwrap tenant key: %w", ErrAuth)
	}
	aead, err := newAEAD(plain[:keySize])
	if err != nil {
		return wrapKey{}, err
	}
	k := wrapKey{aead}
	v.tenantKeys.put(tenantEpoch{doc.Tenant, doc.Epoch}, k)
	return k, nil
}

// master returns the master of an epoch, or ErrKeyMissing.
func (v *Vault) master(ctx context.Context, e Epoch) (Master, error) {
	if m, ok := v.masters.get(e); ok {
		return m, nil
	}
	all, err := v.store.Masters(ctx)
	if err != nil {
		return Master{}, fmt.Errorf("find masters: %w", err)
	}
	for _, m := range all {
		if m.Epoch == e {
			v.masters.put(e, m)
			return m, nil
		}
	}
	return Master{}, fmt.Errorf("find master: %w", ErrKeyMissing)
}

// currentMaster returns the master under which new keys are made: the oldest
// open one, so that all processes agree and a newer epoch takes over at the
// moment in which the older is closed. When none is open it makes the present
// epoch's.
func (v *Vault) currentMaster(ctx context.Context) (Master, error) {
	if m, ok := v.current.get(struct{}{}); ok {
		return m, nil
	}
	return share(ctx, &v.flights, "current", func(ctx context.Context) (Master, error) {
		m, found, err := v.openMaster(ctx)
		if err != nil {
			return Master{}, err
		}
		if !found {
			if err := v.OpenEpoch(ctx, EpochAt(v.now())); err != nil {
				return Master{}, err
			}
			if m, found, err = v.openMaster(ctx); err != nil { // another process may have made an older one
				return Master{}, err
			}
			if !found {
				return Master{}, fmt.Errorf("no epoch is open: %w", ErrKeyMissing)
			}
		}
		v.current.put(struct{}{}, m)
		return m, nil
	})
}

// OpenEpoch makes the epoch's master unless there is one.
func (v *Vault) OpenEpoch(ctx context.Context, e Epoch) error {
	ref, err := v.kms.Create(ctx, "vogter-epoch-"+strconv.Itoa(int(e)))
	if err != nil {
		return fmt.Errorf("create master key: %w", kmsError(err))
	}
	_, err = v.store.InsertMaster(ctx, Master{Epoch: e, KeyRef: ref, State: MasterOpen, CreatedAt: v.now().UTC()})
	if err != nil {
		return fmt.Errorf("insert master: %w", err)
	}
	return nil
}

// openMaster returns the master of the oldest open epoch.
func (v *Vault) openMaster(ctx context.Context) (oldest Master, found bool, err error) {
	all, err := v.store.Masters(ctx)
	if err != nil {
		return Master{}, false, fmt.Errorf("find masters: %w", err)
	}
	for _, m := range all {
		if m.State == MasterOpen && (!found || m.Epoch < oldest.Epoch) {
			oldest, found = m, true
		}
	}
	return oldest, found, nil
}

// kmsError translates what a key management service reports.
func kmsError(err error) error {
	switch {
	case errors.Is(err, kms.ErrAuth):
		return ErrAuth.Because(err)
	case errors.Is(err, kms.ErrNoKey), errors.Is(err, kms.ErrDestroyed), errors.Is(err, kms.ErrDisabled):
		return ErrKeyMissing.Because(err)
	}
	return ErrKMSUnavailable.Because(err)
}

func flightName(what string, t tenant.ID, e Epoch) string {
	return what + "/" + string(t) + "/" + strconv.Itoa(int(e))
}

func tenantKeyAAD(t tenant.ID, e Epoch) []byte {
	b := appendPart(nil, purposeTenantKey)
	b = appendPart(b, string(t))
	return appendNumber(b, int32(e))
}

func dataKeyAAD(o Owner, g *Generation) []byte {
	b := appendPart(make([]byte, 0, 192), purposeDataKey)
	b = appendPart(b, string(o.Tenant))
	b = appendPart(b, o.Subject)
	b = appendPart(b, string(o.Unit))
	b = append(b, g.KeyID[:]...)
	b = appendNumber(b, g.Number)
	return appendNumber(b, int32(g.Epoch))
}

func indexKeyAAD(k *IndexKey) []byte {
	b := appendPart(nil, purposeIndexKey)
	b = appendPart(b, string(k.Tenant))
	b = appendNumber(b, int32(k.Epoch))
	return appendNumber(b, int32(k.WrappedIn))
}

// appendPart appends s after its length, so that no two lists of parts read alike.
func appendPart[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // G115: parts are bounded far below 4 GiB
	return append(b, s...)
}

func appendNumber(b []byte, n int32) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // G115: two's complement is what is meant
}
