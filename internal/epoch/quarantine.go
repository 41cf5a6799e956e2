package epoch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/tenant"
	"github.com/vogter/vogter/internal/vault"
)

// QuarantineState is where a quarantine stands.
type QuarantineState string

// The states of a quarantine.
const (
	Proposed QuarantineState = "REQUESTED" // waits for another operator
	SetAside QuarantineState = "SET_ASIDE" // the key's bytes stand in no one's way
	Released QuarantineState = "RELEASED"  // they are back, or never were set aside
)

// Quarantine sets the bytes of a data key aside that don't open, so that the epoch
// they are wrapped in can be closed. Nothing is destroyed by it: they are put back
// when it is released. But when the epoch's master is destroyed, no copy of the key
// opens any more, from no backup either: look for one before.
//
// Only data keys are set aside, of which one is one person's, and everybody else's
// go on. An index key is the whole tenant's: while one in use doesn't open, nobody of
// the tenant is found, or written without the risk of being there twice, so there is
// nothing to go on with, and closing the epoch must stop. Its bytes are of the key
// store alone: put them back from its other place or a backup. It is never all that
// keeps data readable, for lookups are made from it. A tenant key or master that doesn't
// open is every key's under it (see ErrTenantKey). Kinds that a Config adds have no
// quarantine either: what they wrap isn't known here.
type Quarantine struct {
	ID          string
	Key         string // id of the key's document
	Generations []int32
	Reason      string
	State       QuarantineState
	RequestedBy string
	RequestedAt time.Time
	ApprovedBy  *string
	ApprovedAt  *time.Time
	EndedBy     *string
	EndedAt     *time.Time
	Version     int64
}

// Numbers returns the numbers of the generations.
func (q *Quarantine) Numbers() []int {
	numbers := make([]int, len(q.Generations))
	for i, n := range q.Generations {
		numbers[i] = int(n)
	}
	return numbers
}

// Sentinels of quarantines.
var (
	ErrNoQuarantine = errs.New(errs.NotFound, "no such quarantine of a key")
	ErrNoKey        = errs.New(errs.NotFound, "no such data key, or it is destroyed").At("key")
	// ErrSound refuses to set aside a key that opens.
	ErrSound = errs.New(errs.Precondition, "every generation of the key opens: there is nothing to set aside").At("key").Under("quarantine.sound")
	// ErrTenantKey refuses to set aside a key that shares its fault with others.
	ErrTenantKey = errs.New(errs.Precondition, "not the key is at fault, but the tenant key or master that wraps it: restore that").At("key").Under("quarantine.own")
	// ErrLost refuses to put back what can't ever open.
	ErrLost   = errs.New(errs.Precondition, "the master of the key's epoch is destroyed: nothing opens the key any more").Under("quarantine.lost")
	ErrReason = errs.New(errs.Invalid, "say why, in 10 to 500 characters").At("reason")
)

// Inspection is what is known of a data key.
type Inspection struct {
	Key         string
	CreatedAt   time.Time
	DestroyedAt *time.Time
	Generations []Inspected
}

// Inspected is a generation of an inspected key.
type Inspected struct {
	Number      int32
	ID          vault.KeyID
	Epoch       vault.Epoch
	Current     bool
	Destroyed   bool // for good
	Quarantined bool
	Fault       error // why it doesn't open
}

// Faulty reports whether a generation doesn't open.
func (i *Inspection) Faulty() bool {
	return slices.ContainsFunc(i.Generations, func(g Inspected) bool { return g.Fault != nil })
}

// forgetful returns a vault that remembers nothing, so that the store's bytes are opened.
func (s *Service) forgetful() (*vault.Vault, error) {
	return vault.New(vault.Config{Store: s.Keys, KMS: s.KMS, Now: s.Now})
}

// Inspect looks at a data key by its document's id, tenant/subject/unit, and tries to
// open it. It reads nothing that it sealed.
func (s *Service) Inspect(ctx context.Context, key string) (*Inspection, error) {
	doc, err := s.dataKey(ctx, key)
	if err != nil {
		return nil, err
	}
	v, err := s.forgetful()
	if err != nil {
		return nil, err
	}
	i, _, err := inspect(ctx, v, doc)
	return i, err
}

// InspectAll calls visit for each data key that doesn't open.
func (s *Service) InspectAll(ctx context.Context, visit func(*Inspection) error) (looked int, err error) {
	v, err := s.forgetful()
	if err != nil {
		return 0, err
	}
	for after := ""; ; {
		docs, err := s.Keys.DataKeys(ctx, after, inspectBatch)
		if err != nil {
			return looked, err
		}
		for i := range docs {
			looked++
			found, _, err := inspect(ctx, v, &docs[i])
			if err == nil && found.Faulty() {
				err = visit(found)
			}
			if err != nil {
				return looked, err
			}
		}
		if len(docs) < inspectBatch {
			return looked, nil
		}
		after = docs[len(docs)-1].Owner.ID()
	}
}

const inspectBatch = 1000

func inspect(ctx context.Context, v *vault.Vault, doc *vault.DataKey) (*Inspection, []vault.Fault, error) {
	faults, err := v.Faults(ctx, doc)
	if err != nil {
		return nil, nil, err
	}
	i := &Inspection{Key: doc.Owner.ID(), CreatedAt: doc.CreatedAt, DestroyedAt: present(doc.DestroyedAt)}
	for _, g := range doc.Generations {
		one := Inspected{
			Number: g.Number, ID: g.KeyID, Epoch: g.Epoch, Current: g.Number == doc.Current, Quarantined: len(g.Quarantined) > 0,
			Destroyed: len(g.Wrapped)+len(g.Quarantined) == 0,
		}
		for _, f := range faults {
			if f.Generation == g.Number {
				one.Fault = f.Err
			}
		}
		i.Generations = append(i.Generations, one)
	}
	return i, faults, nil
}

func (s *Service) dataKey(ctx context.Context, key string) (*vault.DataKey, error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return nil, ErrNoKey
	}
	docs, err := s.Keys.FindDataKeys(ctx, []vault.Owner{{Tenant: tenant.ID(parts[0]), Subject: parts[1], Unit: vault.Unit(parts[2])}})
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, ErrNoKey
	}
	return &docs[0], nil
}

// faulty returns a data key and the generations of it that can be set aside.
func (s *Service) faulty(ctx context.Context, key string) (*vault.DataKey, []int32, error) {
	doc, err := s.dataKey(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if doc.Destroyed() {
		return nil, nil, ErrNoKey
	}
	v, err := s.forgetful()
	if err != nil {
		return nil, nil, err
	}
	_, faults, err := inspect(ctx, v, doc)
	if err != nil {
		return nil, nil, err
	}
	var own []int32
	for _, f := range faults {
		if !f.Own {
			return nil, nil, ErrTenantKey.Because(f.Err)
		}
		own = append(own, f.Generation)
	}
	if len(own) == 0 {
		return nil, nil, ErrSound
	}
	return doc, own, nil
}

// QuarantineInput names a key to set aside.
type QuarantineInput struct {
	Key    string
	Reason string
}

// RequestQuarantine asks for a key that doesn't open to be set aside, which another
// operator must approve.
func (s *Service) RequestQuarantine(ctx context.Context, in QuarantineInput) (*Quarantine, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	if n := len([]rune(strings.TrimSpace(in.Reason))); n < 10 || n > 500 {
		return nil, ErrReason
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	_, generations, err := s.faulty(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	q := &Quarantine{
		ID: id.New(id.Quarantine, of), Key: in.Key, Generations: generations, Reason: strings.TrimSpace(in.Reason), State: Proposed,
		RequestedBy: by, RequestedAt: s.Now().UTC(), Version: 1,
	}
	made, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		return change.Change{Action: "vault.quarantine.request", Object: q.ID}, s.Store.InsertQuarantine(ctx, q)
	})
	if err != nil {
		return nil, err
	}
	return s.quarantine(ctx, made)
}

func (s *Service) quarantine(ctx context.Context, quarantineID string) (*Quarantine, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(id.Quarantine, of, quarantineID) != nil {
		return nil, ErrNoQuarantine
	}
	return s.Store.FindQuarantine(ctx, quarantineID)
}

// ApproveQuarantine sets the key aside, if it still doesn't open. It can be repeated
// by who approved, should it have been cut short.
func (s *Service) ApproveQuarantine(ctx context.Context, in DecideInput) (*Quarantine, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	q, err := s.quarantine(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	switch {
	case q.State == Released:
		return nil, ErrNotRequested
	case q.RequestedBy == by:
		return nil, ErrSamePerson
	}
	doc, generations, err := s.faulty(ctx, q.Key)
	if errors.Is(err, ErrSound) && q.State == SetAside {
		return q, nil // it was done
	}
	if err != nil {
		return nil, err
	}
	// Only what both have seen: what came to be faulty since takes another request.
	generations = slices.DeleteFunc(generations, func(n int32) bool { return !slices.Contains(q.Generations, n) })
	if q, err = s.changeQuarantine(ctx, q.ID, "vault.quarantine.approve", func(q *Quarantine) error {
		if q.State != Proposed {
			return nil
		}
		at := s.Now().UTC()
		q.State, q.ApprovedBy, q.ApprovedAt = SetAside, &by, &at
		return nil
	}); err != nil {
		return nil, err
	}
	s.Trace("approved a quarantine")
	return q, s.Vault.Quarantine(ctx, s.Keys, *doc, generations...)
}

// ReleaseQuarantine puts the bytes of a key back, or withdraws the request. One
// operator is enough.
func (s *Service) ReleaseQuarantine(ctx context.Context, in DecideInput) (*Quarantine, error) {
	by, err := person(ctx)
	if err != nil {
		return nil, err
	}
	q, err := s.quarantine(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if q.State == Released {
		return nil, ErrNotRequested
	}
	if q.State == SetAside {
		if err := s.putBack(ctx, q.Key); err != nil {
			return nil, err
		}
	}
	return s.changeQuarantine(ctx, q.ID, "vault.quarantine.release", func(q *Quarantine) error {
		at := s.Now().UTC()
		q.State, q.EndedBy, q.EndedAt = Released, &by, &at
		return nil
	})
}

func (s *Service) putBack(ctx context.Context, key string) error {
	doc, err := s.dataKey(ctx, key)
	if err != nil || doc.Destroyed() { // an erasure took them too
		return err
	}
	for _, g := range doc.Generations {
		if len(g.Quarantined) == 0 {
			continue
		}
		m, err := s.master(ctx, g.Epoch)
		if err != nil {
			return err
		}
		if m.State == vault.MasterDestroyed {
			return ErrLost
		}
	}
	return s.Vault.Release(ctx, s.Keys, *doc)
}

func (s *Service) changeQuarantine(ctx context.Context, quarantineID, action string, fn func(*Quarantine) error) (q *Quarantine, err error) {
	err = s.Changes.Do(ctx, func(ctx context.Context) (change.Change, error) {
		if q, err = s.Store.FindQuarantine(ctx, quarantineID); err != nil {
			return change.Change{}, err
		}
		if err := fn(q); err != nil {
			return change.Change{}, err
		}
		q.Version++
		return change.Change{Action: action, Object: q.ID}, s.Store.UpdateQuarantine(ctx, q)
	})
	return q, err
}
