package purpose

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/tenant"
)

// ReviseInput asks for the next version of a purpose or of a notice: a draft that
// begins as a copy.
type ReviseInput struct {
	ID       string // of any version
	Material bool   // whether more than words will change
	Reason   string // what changes, and why
}

// PublishInput makes a draft final.
type PublishInput struct {
	ID           string
	ExpectedEdit int64 // what was read and found good
}

// EndInput ends a version: one that was published, or a draft.
type EndInput struct{ ID string }

// edited is a version of a purpose or of a notice.
type edited interface {
	*Purpose | *Notice
	edition() *Edition
	// begin makes it another version.
	begin(e Edition)
}

func (p *Purpose) edition() *Edition { return &p.Edition }
func (n *Notice) edition() *Edition  { return &n.Edition }

func (p *Purpose) begin(e Edition) { p.Edition = e }

func (n *Notice) begin(e Edition) {
	n.Edition = e
	for i := range n.Texts {
		n.Texts[i].ContentHash = "" // of the version that it is a copy of
	}
}

// Store keeps the versions of one kind. Insert and Update work in the transaction
// of a change.
type Store[T edited] interface {
	// Get returns a version, or the kind's error of a missing one.
	Get(ctx context.Context, versionID string) (T, error)
	// GetMany returns the versions with ids, in any order, leaving out unknown ids.
	GetMany(ctx context.Context, ids []string) ([]T, error)
	// List returns up to limit versions after a position, the newest first.
	List(ctx context.Context, after *page.Position, limit int) ([]T, error)
	// Latest returns the highest version of a key, or the highest that was
	// published; nil if there is none.
	Latest(ctx context.Context, key string, published bool) (T, error)
	// Keys counts the keys.
	Keys(ctx context.Context) (int, error)
	// Insert fails with ErrKeyTaken if there is that version of the key.
	Insert(ctx context.Context, v T) error
	// Update replaces the version at the edit before, or fails with ErrEdited.
	Update(ctx context.Context, v T) error
}

// shelf has what can be done with the versions of one kind.
type shelf[T edited] struct {
	store   Store[T]
	changes *change.Runner
	now     func() time.Time
	name    string  // "purpose", as actions have it
	of      id.Type // of its ids
	missing error   // of a version
	end     State   // of what is ended
}

// at is the present instant as it is stored.
func (s *shelf[T]) at() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

func (s *shelf[T]) get(ctx context.Context, versionID string) (v T, err error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if id.Check(s.of, of, versionID) != nil {
		return nil, s.missing
	}
	return s.store.Get(ctx, versionID)
}

func (s *shelf[T]) list(ctx context.Context, r page.Request) (*page.Connection[T], error) {
	at := func(v T) page.Position { return page.Position{CreatedAt: v.edition().CreatedAt, ID: v.edition().ID} }
	return page.Read(ctx, page.List{Of: s.of}, r, at, s.store.List)
}

// create makes the first version of a key. fill gives it its content, within the
// transaction.
func (s *shelf[T]) create(ctx context.Context, key string, v T, fill func(ctx context.Context, v T) error) (T, error) {
	if !validKey(key) {
		return nil, errs.New(errs.Invalid, "a key has 1 to 100 letters, digits and . _ : -").At("key")
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	v.begin(Edition{
		ID: id.New(s.of, of), Key: key, Version: 1, Material: true, MaterialSince: 1, State: Draft, Edit: 1, CreatedAt: now, UpdatedAt: now,
	})
	made, err := s.changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		if n, err := s.store.Keys(ctx); err != nil || n >= MaxKeys {
			return change.Change{}, firstOf(err, ErrTooMany)
		}
		if err := fill(ctx, v); err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: s.name + ".create", Object: v.edition().ID}, s.store.Insert(ctx, v)
	})
	if err != nil {
		return nil, err
	}
	return s.store.Get(ctx, made)
}

func firstOf(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// update gives a draft another content.
func (s *shelf[T]) update(ctx context.Context, versionID string, expected int64, fill func(ctx context.Context, v T) error) (T, error) {
	return s.change(ctx, versionID, "update", func(ctx context.Context, v T, _ time.Time) error {
		switch e := v.edition(); {
		case e.State != Draft:
			return ErrImmutable
		case e.Edit != expected:
			return ErrEdited
		}
		return fill(ctx, v)
	})
}

// revise makes the next version of a key: a copy of the latest that was
// published, or else of the latest.
func (s *shelf[T]) revise(ctx context.Context, in ReviseInput) (T, error) {
	if !valid(in.Reason, 1, maxText, true) {
		return nil, errs.New(errs.Invalid, "a reason has 1 to %d characters", maxText).At("reason")
	}
	named, err := s.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	key, versionID, now := named.edition().Key, id.New(s.of, of), s.at()
	made, err := s.changes.Create(ctx, func(ctx context.Context) (c change.Change, err error) {
		latest, err := s.store.Latest(ctx, key, false)
		if err != nil {
			return c, err
		}
		if latest.edition().State == Draft {
			return c, ErrDraft
		}
		version := latest.edition().Version + 1
		v, err := s.store.Latest(ctx, key, true)
		if err != nil {
			return c, err
		}
		// Nothing stands that what comes after an end could be the same as.
		material := in.Material || v == nil || v.edition().State == s.end
		if v == nil {
			v = latest
		}
		since := v.edition().MaterialSince
		if material {
			since = version
		}
		v.begin(Edition{
			ID: versionID, Key: key, Version: version, Material: material, Reason: &in.Reason, MaterialSince: since,
			State: Draft, Edit: 1, CreatedAt: now, UpdatedAt: now,
		})
		return change.Change{Action: s.name + ".revise", Object: versionID}, s.store.Insert(ctx, v)
	})
	if err != nil {
		return nil, err
	}
	return s.store.Get(ctx, made)
}

// publish makes a draft final, and ends the version before it. ready completes
// the draft, or says what it lacks; before is the version that was published
// before it, or nil.
func (s *shelf[T]) publish(ctx context.Context, in PublishInput, ready func(ctx context.Context, v, before T) error) (T, error) {
	return s.change(ctx, in.ID, "publish", func(ctx context.Context, v T, now time.Time) error {
		e := v.edition()
		switch {
		case e.State != Draft:
			return ErrImmutable
		case e.Edit != in.ExpectedEdit:
			return ErrEdited
		}
		before, err := s.store.Latest(ctx, e.Key, true)
		if err != nil {
			return err
		}
		if err := ready(ctx, v, before); err != nil {
			return err
		}
		e.State, e.PublishedAt = Published, &now
		if before == nil || before.edition().State != Published {
			return nil
		}
		b := before.edition()
		b.State, b.EndedAt, b.UpdatedAt = Superseded, &now, now
		b.Edit++
		return s.store.Update(ctx, before)
	})
}

// finish ends a version for good.
func (s *shelf[T]) finish(ctx context.Context, in EndInput, action string) (T, error) {
	return s.change(ctx, in.ID, action, func(_ context.Context, v T, now time.Time) error {
		e := v.edition()
		if e.State != Draft && e.State != Published {
			return ErrOver
		}
		e.State, e.EndedAt = s.end, &now
		return nil
	})
}

// change has one version changed by fn.
func (s *shelf[T]) change(ctx context.Context, versionID, action string, fn func(ctx context.Context, v T, now time.Time) error) (T, error) {
	if _, err := s.get(ctx, versionID); err != nil {
		return nil, err
	}
	var v T
	now := s.at()
	err := s.changes.Do(ctx, func(ctx context.Context) (c change.Change, err error) {
		if v, err = s.store.Get(ctx, versionID); err != nil {
			return c, err
		}
		if err := fn(ctx, v, now); err != nil {
			return c, err
		}
		v.edition().UpdatedAt = now
		v.edition().Edit++
		return change.Change{Action: s.name + "." + action, Object: versionID}, s.store.Update(ctx, v)
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}
