package vault

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cache is a bounded LRU cache whose entries expire a fixed time after they
// were put, however often they are used.
type cache[K comparable, V any] struct {
	lru *lru.Cache[K, timed[V]]
	ttl time.Duration
	now func() time.Time
}

type timed[V any] struct {
	value V
	until time.Time
}

func newCache[K comparable, V any](size int, ttl time.Duration, now func() time.Time) (*cache[K, V], error) {
	l, err := lru.New[K, timed[V]](size)
	if err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	return &cache[K, V]{lru: l, ttl: ttl, now: now}, nil
}

func (c *cache[K, V]) get(k K) (V, bool) {
	t, ok := c.lru.Get(k)
	if !ok || !c.now().Before(t.until) {
		var none V
		return none, false
	}
	return t.value, true
}

func (c *cache[K, V]) put(k K, v V) { c.lru.Add(k, timed[V]{v, c.now().Add(c.ttl)}) }

func (c *cache[K, V]) remove(k K) { c.lru.Remove(k) }
