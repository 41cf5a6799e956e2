// Package vault seals personal data field by field and keeps the keys.
//
// The hierarchy: a key management service holds one master key per epoch of 14
// days; each tenant has a tenant key per epoch, wrapped by that master; each
// Owner, one retention unit of one subject, has a data key, wrapped by the
// tenant key. Destroying a data key erases everything sealed under it, in every
// copy and backup (GDPR Art. 17). A tenant's index keys give keyed digests by
// which a sealed identifier can be found again.
//
// Ensure makes keys before the transaction that needs them, Load fetches the
// keys of a whole page in one query; the Keys they return seal and open without
// further input or output.
//
// Only the standard library's AES-256-GCM, HKDF and HMAC-SHA-256 are used, in
// the forms that GODEBUG=fips140=only allows. FORMAT.md has the byte formats.
package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
	"github.com/vogter/vogter/internal/tenant"
)

// The ways in which a value or key can be unreadable.
var (
	// ErrErased: the owner's key was destroyed; what it sealed is gone for good.
	ErrErased = errs.New(errs.Erased, "the data is erased")
	// ErrKeyMissing: the owner has no key, or the key that wraps it is gone. It is a fault of ours.
	ErrKeyMissing = errs.New(errs.Internal, "the key is missing")
	// ErrAuth: the bytes were altered, or sealed for another owner or place.
	ErrAuth = errs.New(errs.Internal, "the sealed bytes are not authentic")
	// ErrKMSUnavailable: the key management service doesn't answer; the same call may succeed later.
	ErrKMSUnavailable = errs.New(errs.Unavailable, "the key management service is unavailable")
	// ErrEpochClosed: a key was to be made in an epoch that takes no more.
	ErrEpochClosed = errs.New(errs.Unavailable, "the key epoch has just changed; try again")
	// ErrOwner: an owner or place with an empty, overlong or malformed part. It is a fault of ours.
	ErrOwner = errs.New(errs.Internal, "malformed owner or place of a sealed value")
)

// The limits of the caches. They bound memory and work, never correctness: a
// caller checks the subject's state on every read.
const (
	dataKeyCount = 50_000 // about half a KiB each
	dataKeyTTL   = 5 * time.Minute

	tenantKeyCount = 10_000
	tenantKeyTTL   = time.Hour

	masterCount = 100
	currentTTL  = time.Minute // how long the open epoch is remembered

	flightTimeout = 30 * time.Second
)

// Config is what a Vault needs. All but DataKeys is required.
type Config struct {
	Store KeyStore
	KMS   kms.Wrapper
	Now   func() time.Time

	// DataKeys is how many data keys are cached; 0 means 50,000.
	DataKeys int
}

// Vault makes, loads and caches keys. It may be used concurrently.
type Vault struct {
	store KeyStore
	kms   kms.Wrapper
	now   func() time.Time

	masters    *cache[Epoch, Master]
	current    *cache[struct{}, Master]
	tenantKeys *cache[tenantEpoch, wrapKey]
	indexes    *cache[tenantEpoch, *Index]
	dataKeys   *cache[Owner, *entry]
	flights    singleflight.Group

	mu        sync.Mutex // guards evictions, and dataKeys against being filled with what was just evicted
	evictions uint64
}

// tenantEpoch names a tenant's key of one epoch.
type tenantEpoch struct {
	tenant tenant.ID
	epoch  Epoch
}

// New returns a Vault over a key store and a key management service.
func New(c Config) (*Vault, error) {
	if c.Store == nil || c.KMS == nil || c.Now == nil {
		return nil, errors.New("new vault: store, key management and clock are required")
	}
	if c.DataKeys < 0 {
		return nil, errors.New("new vault: a negative number of cached data keys")
	}
	if c.DataKeys == 0 {
		c.DataKeys = dataKeyCount
	}
	v := &Vault{store: c.Store, kms: c.KMS, now: c.Now}
	var err [5]error
	v.masters, err[0] = newCache[Epoch, Master](masterCount, tenantKeyTTL, c.Now)
	v.current, err[1] = newCache[struct{}, Master](1, currentTTL, c.Now)
	v.tenantKeys, err[2] = newCache[tenantEpoch, wrapKey](tenantKeyCount, tenantKeyTTL, c.Now)
	v.indexes, err[3] = newCache[tenantEpoch, *Index](tenantKeyCount, tenantKeyTTL, c.Now)
	v.dataKeys, err[4] = newCache[Owner, *entry](c.DataKeys, dataKeyTTL, c.Now)
	if err := errors.Join(err[:]...); err != nil {
		return nil, fmt.Errorf("new vault: %w", err)
	}
	return v, nil
}

// Ensure returns the owners' keys, making those that don't exist. It is called
// before the transaction that writes what they seal, never inside: a key
// without data is harmless, data without a key is lost. It fails with ErrErased
// when one of the keys was destroyed: nothing makes it anew.
func (v *Vault) Ensure(ctx context.Context, owners ...Owner) (*Keys, error) {
	keys, evictions, err := v.load(ctx, owners)
	if err != nil {
		return nil, fmt.Errorf("ensure keys: %w", err)
	}
	if err := v.makeMissing(ctx, keys, evictions); err != nil {
		return nil, fmt.Errorf("ensure keys: %w", err)
	}
	for o, e := range keys.entries {
		if e.err != nil {
			return nil, fmt.Errorf("ensure key of %s: %w", o.ID(), e.err)
		}
	}
	return keys, nil
}

// Load returns the owners' keys, those that aren't cached with one query. A
// missing, destroyed or damaged key is an error only when it is used, so that
// one unreadable value never loses a page.
func (v *Vault) Load(ctx context.Context, owners ...Owner) (*Keys, error) {
	keys, _, err := v.load(ctx, owners)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	return keys, nil
}

// Evict drops the owners' keys from this process, as erasure does once the keys
// are destroyed in the store. Keys handed out before stay usable by their
// holders: they live as long as one request.
func (v *Vault) Evict(owners ...Owner) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.evictions++
	for _, o := range owners {
		v.dataKeys.remove(o)
	}
}

// load returns the keys of owners from the cache and the store; owners without
// a key have an absent entry. It also returns how many evictions it had seen before
// it asked the store.
func (v *Vault) load(ctx context.Context, owners []Owner) (*Keys, uint64, error) {
	keys := &Keys{entries: make(map[Owner]*entry, len(owners))}
	var ask []Owner
	for _, o := range owners {
		if err := o.check(); err != nil {
			return nil, 0, err
		}
		if _, dup := keys.entries[o]; dup {
			continue
		}
		e, ok := v.dataKeys.get(o)
		if !ok {
			e = &entry{err: ErrKeyMissing, absent: true}
			ask = append(ask, o)
		}
		keys.entries[o] = e
	}
	if len(ask) == 0 {
		return keys, 0, nil
	}

	v.mu.Lock()
	seen := v.evictions
	v.mu.Unlock()
	var name strings.Builder // the eviction count is in it: after an eviction nobody joins an older query
	name.WriteString("data/" + strconv.FormatUint(seen, 10))
	for _, o := range ask {
		name.WriteString("\n" + o.ID())
	}
	found, err := share(ctx, &v.flights, name.String(), func(ctx context.Context) (map[Owner]*entry, error) {
		return v.find(ctx, ask)
	})
	if err != nil {
		return nil, 0, err
	}
	for o, e := range found {
		if _, asked := keys.entries[o]; asked {
			keys.entries[o] = e
			v.remember(o, e, seen)
		}
	}
	return keys, seen, nil
}

// find asks the store for the keys of owners and opens them.
func (v *Vault) find(ctx context.Context, owners []Owner) (map[Owner]*entry, error) {
	docs, err := v.store.FindDataKeys(ctx, owners)
	if err != nil {
		return nil, fmt.Errorf("find data keys: %w", err)
	}
	found := make(map[Owner]*entry, len(docs))
	for i := range docs {
		e, err := v.open(ctx, &docs[i])
		if err != nil {
			return nil, err
		}
		found[docs[i].Owner] = e
	}
	return found, nil
}

// epochAttempts is how often a key is made anew when its epoch closes meanwhile.
const epochAttempts = 3

// inOpenEpoch calls do with the master under which new keys are made, and again
// when that one was closed in the meantime.
func (v *Vault) inOpenEpoch(ctx context.Context, do func(Master) error) error {
	for attempt := 1; ; attempt++ {
		master, err := v.currentMaster(ctx)
		if err != nil {
			return err
		}
		if err = do(master); attempt == epochAttempts || !errors.Is(err, ErrEpochClosed) {
			return err
		}
		v.current.remove(struct{}{})
	}
}

// makeMissing makes and stores the keys that are missing in keys.
func (v *Vault) makeMissing(ctx context.Context, keys *Keys, evictions uint64) error {
	var missing []Owner
	for o, e := range keys.entries {
		if e.absent {
			missing = append(missing, o)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return v.inOpenEpoch(ctx, func(master Master) error {
		fresh, docs := make(map[Owner]*generation, len(missing)), make([]DataKey, len(missing))
		for i, o := range missing {
			tk, err := v.makeTenantKey(ctx, o.Tenant, master)
			if err != nil {
				return err
			}
			g, stored := newGeneration(tk, o, firstGeneration, master.Epoch)
			fresh[o] = g
			docs[i] = DataKey{
				Owner: o, Current: stored.Number, Generations: []Generation{stored}, CreatedAt: v.now().UTC(),
			}
		}
		winners, err := v.store.InsertDataKeys(ctx, docs)
		if err != nil {
			return fmt.Errorf("insert data keys: %w", err)
		}
		return v.adopt(ctx, keys, fresh, winners, evictions)
	})
}

// adopt puts the stored keys into keys: ours, or those of who was first.
func (v *Vault) adopt(
	ctx context.Context, keys *Keys, fresh map[Owner]*generation, winners []DataKey, evictions uint64,
) error {
	for i := range winners {
		o := winners[i].Owner
		g, ours := fresh[o]
		if !ours {
			return fmt.Errorf("insert data keys: the store answers with a key of %s: %w", o.ID(), ErrKeyMissing)
		}
		e := &entry{current: g, generations: []*generation{g}}
		if gs := winners[i].Generations; winners[i].Destroyed() || len(gs) != 1 || gs[0].KeyID != g.id {
			var err error
			if e, err = v.open(ctx, &winners[i]); err != nil { // somebody else was first
				return err
			}
		}
		keys.entries[o] = e
		v.remember(o, e, evictions)
	}
	return nil
}

// remember caches e unless there was an eviction since seen was read, which may
// have been of o, or e is damaged and may be mended.
func (v *Vault) remember(o Owner, e *entry, seen uint64) {
	if e.err != nil && !errors.Is(e.err, ErrErased) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.evictions == seen {
		v.dataKeys.put(o, e)
	}
}

// share runs f once for all concurrent callers with the same name. It isn't
// cancelled when one of them gives up, only after flightTimeout.
func share[T any](ctx context.Context, g *singleflight.Group, name string, f func(context.Context) (T, error)) (T, error) {
	var none T
	answer := g.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		return f(ctx)
	})
	select {
	case <-ctx.Done():
		return none, fmt.Errorf("wait for keys: %w", context.Cause(ctx))
	case r := <-answer:
		if r.Err != nil {
			return none, r.Err
		}
		t, ok := r.Val.(T)
		if !ok {
			return none, fmt.Errorf("share %s: another type", name)
		}
		return t, nil
	}
}
