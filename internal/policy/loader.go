package policy

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/tenant"
)

const (
	// Fresh is after how long a server looks for changes of a tenant's policies.
	Fresh = 20 * time.Second
	// stale is for how long it goes on with those it knows when it can't look: a
	// change takes effect within it, or else nothing is permitted.
	stale = 30 * time.Second

	loadTimeout = 5 * time.Second
)

var _ authz.Narrowing = (*Loader)(nil)

// Loader has the active policies of tenants, read again after Fresh.
type Loader struct {
	store  Store
	now    func() time.Time
	flight singleflight.Group

	mu    sync.Mutex
	known map[tenant.ID]loaded
	// forgotten counts what forget was called for: what was read before isn't kept
	// after it.
	forgotten uint64
}

type loaded struct {
	set *authz.Set
	at  time.Time
}

// NewLoader returns a Loader that knows nothing yet.
func NewLoader(store Store, now func() time.Time) *Loader {
	return &Loader{store: store, now: now, known: map[tenant.ID]loaded{}}
}

// Of implements authz.Narrowing.
func (l *Loader) Of(ctx context.Context, of tenant.ID) (*authz.Set, error) {
	l.mu.Lock()
	have, ok := l.known[of]
	l.mu.Unlock()
	age := l.now().Sub(have.at)
	if ok && age < Fresh {
		return have.set, nil
	}
	set, err, _ := l.flight.Do(string(of), func() (any, error) { return l.load(ctx, of) })
	if err != nil {
		if ok && age < stale {
			return have.set, nil
		}
		return nil, fmt.Errorf("load policies of tenant %s: %w", of, err)
	}
	fresh, _ := set.(*authz.Set)
	return fresh, nil
}

func (l *Loader) load(ctx context.Context, of tenant.ID) (*authz.Set, error) {
	// Others wait for it too, whose calls may outlive this one.
	ctx, cancel := context.WithTimeout(tenant.NewContext(context.WithoutCancel(ctx), of), loadTimeout)
	defer cancel()
	l.mu.Lock()
	at, before := l.now(), l.forgotten
	l.mu.Unlock()
	living, err := l.store.Living(ctx)
	if err != nil {
		return nil, err
	}
	var sources []authz.Source
	for _, p := range living {
		if p.State == Active {
			sources = append(sources, p.source())
		}
	}
	var set *authz.Set
	if len(sources) > 0 {
		if set, err = authz.NewSet(sources...); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forgotten == before {
		l.known[of] = loaded{set, at}
	}
	return set, nil
}

// forget has a tenant's policies read again by the next question.
func (l *Loader) forget(of tenant.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgotten++
	l.flight.Forget(string(of))
	delete(l.known, of)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
