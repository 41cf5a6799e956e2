// Package seal orders the entries of the audit log and publishes what was
// ordered: the Sealer appends each tenant's entries to its Merkle log, the
// Publisher signs checkpoints over all logs and locks them away in two places.
//
// Until an entry is sealed, and until the next checkpoint is published, somebody
// who rules the database could change it unseen. That window is some seconds and
// then at most a minute; afterwards a change is found.
package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// State is a log with what it grows from.
type State struct {
	proof.Head

	Edge  [][]byte
	Fence int64 // grows with each lease; what an older one writes is refused with job.ErrFenced
}

// Store keeps the logs. But for Waiting, which spans tenants and needs
// tenant.System, its methods are for the tenant in ctx.
type Store interface {
	// Waiting returns the first tenant behind after, in order, that has entries
	// to seal; "" if there is none.
	Waiting(ctx context.Context, after tenant.ID) (tenant.ID, error)
	// Lease takes the tenant's log for holder, who may hold it already; else ok
	// is false. A log that isn't there yet is made, empty.
	Lease(ctx context.Context, holder string, now, until time.Time) (s *State, ok bool, err error)
	// Release gives the log back, if it is held under the fence still.
	Release(ctx context.Context, fence int64) error
	// Unsealed returns the entries to seal, the oldest first.
	Unsealed(ctx context.Context, limit int) ([]audit.Entry, error)
	// Tiles returns those tiles of the log that there are, in any order.
	Tiles(ctx context.Context, log int64, ids []proof.TileID) ([]proof.Tile, error)

	InTransaction(ctx context.Context, fn func(ctx context.Context) error) error
	// Order gives unsealed entries their seq, from first on. It fails with
	// job.ErrFenced if one of them isn't unsealed any more.
	Order(ctx context.Context, first int64, ids []string) error
	PutTiles(ctx context.Context, log int64, tiles []proof.Tile) error
	// Move writes next over the log if it is held under its fence and has the
	// size from still, or fails with job.ErrFenced.
	Move(ctx context.Context, from int64, next *State, until time.Time) error
}

// Config is what a Sealer needs. Batch may be 0.
type Config struct {
	Store Store
	Now   func() time.Time
	Log   *slog.Logger
	Batch int // entries sealed in one transaction: 1,000
}

// The sealer's times.
const (
	defaultBatch = 1000
	pause        = 500 * time.Millisecond // between two looks for entries
	lease        = 15 * time.Second
	// turn is how many batches of a tenant are sealed before the next tenant's.
	turn = 20
)

// Sealer orders entries. Any number of them may run, in any number of processes:
// each log is in the hands of one at a time, and no more than a lost hand is
// written in vain.
type Sealer struct {
	Config

	holder string
	mu     sync.Mutex
	held   map[tenant.ID]*hold
}

// hold is a log in this sealer's hands.
type hold struct {
	state State
	tree  *proof.Tree
	until time.Time
}

// NewSealer returns a Sealer.
func NewSealer(c Config) *Sealer {
	if c.Batch == 0 {
		c.Batch = defaultBatch
	}
	return &Sealer{Config: c, holder: rand.Text(), held: map[tenant.ID]*hold{}}
}

// Run seals what comes until ctx ends, then gives its logs back.
func (s *Sealer) Run(ctx context.Context) error {
	defer s.release(context.WithoutCancel(ctx))
	for {
		n, err := s.Seal(ctx)
		if ctx.Err() != nil {
			return nil // it was told to stop
		}
		if err != nil {
			s.Log.ErrorContext(ctx, "sealing the audit log failed", "err", err)
		}
		if n > 0 && err == nil {
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// Seal goes once through all tenants with entries to seal, and returns how many
// it sealed. Logs in other hands are left to them.
func (s *Sealer) Seal(ctx context.Context) (sealed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	system := tenant.System(ctx, "audit sealer")
	var failed []error
	for after := tenant.ID(""); ; {
		of, err := s.Store.Waiting(system, after)
		if err != nil {
			return sealed, errors.Join(append(failed, fmt.Errorf("look for entries: %w", err))...)
		}
		if of == "" {
			return sealed, errors.Join(failed...)
		}
		n, err := s.tenant(tenant.NewContext(ctx, of), of)
		if err != nil { // one tenant's trouble is not another's
			delete(s.held, of)
			failed = append(failed, fmt.Errorf("seal log of %s: %w", of, err))
		}
		sealed, after = sealed+n, of
		if ctx.Err() != nil {
			return sealed, errors.Join(append(failed, ctx.Err())...)
		}
	}
}

// tenant seals a turn's worth of one tenant's entries.
func (s *Sealer) tenant(ctx context.Context, of tenant.ID) (sealed int, err error) {
	for range turn {
		h, err := s.hold(ctx, of)
		if err != nil || h == nil {
			return sealed, err
		}
		n, err := s.batch(ctx, h)
		sealed += n
		if errors.Is(err, job.ErrFenced) {
			delete(s.held, of)
			return sealed, nil // another sealer has the log
		}
		if err != nil || n < s.Batch {
			return sealed, err
		}
	}
	return sealed, nil
}

// hold returns the tenant's log in this sealer's hands, nil if it is in others.
func (s *Sealer) hold(ctx context.Context, of tenant.ID) (*hold, error) {
	now := s.Now()
	if h := s.held[of]; h != nil && now.Before(h.until) {
		return h, nil
	}
	delete(s.held, of)
	until := now.Add(lease)
	state, ok, err := s.Store.Lease(ctx, s.holder, now, until)
	if err != nil || !ok {
		return nil, err
	}
	tiles, err := s.Store.Tiles(ctx, state.Log, proof.OpenTiles(state.Size))
	if err != nil {
		return nil, err
	}
	tree, err := proof.Open(state.Size, state.Edge, tiles)
	if err != nil {
		return nil, fmt.Errorf("open log at %d: %w", state.Size, err)
	}
	h := &hold{*state, tree, until}
	s.held[of] = h
	return h, nil
}

// batch seals up to a batch of entries in one transaction. After an error the
// log must be taken up anew: the tree may be ahead of what is stored.
func (s *Sealer) batch(ctx context.Context, h *hold) (int, error) {
	entries, err := s.Store.Unsealed(ctx, s.Batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	hashes, ids := make([][proof.HashSize]byte, len(entries)), make([]string, len(entries))
	for i := range entries {
		hashes[i], ids[i] = proof.LeafHash(entries[i].Leaf()), entries[i].ID
	}
	tiles, err := h.tree.Append(hashes)
	if err != nil {
		return 0, err
	}
	from, next := h.state.Size, h.state
	next.Size, next.Root, next.Edge = h.tree.Size(), h.tree.Root(), h.tree.Edge()
	until := s.Now().Add(lease)
	err = s.Store.InTransaction(ctx, func(ctx context.Context) error {
		if err := s.Store.Order(ctx, next.Base+from, ids); err != nil {
			return err
		}
		if err := s.Store.PutTiles(ctx, next.Log, tiles); err != nil {
			return err
		}
		return s.Store.Move(ctx, from, &next, until)
	})
	if err != nil {
		return 0, err
	}
	h.state, h.until = next, until
	return len(entries), nil
}

// release gives all logs back, so that others need not wait for them.
func (s *Sealer) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for of, h := range s.held {
		if err := s.Store.Release(tenant.NewContext(ctx, of), h.state.Fence); err != nil {
			s.Log.WarnContext(ctx, "audit log not given back", "tenant", string(of), "err", err)
		}
	}
	clear(s.held)
}
