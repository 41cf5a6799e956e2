package seal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/tenant"
)

// Kept is an object as the database keeps it.
type Kept struct {
	audit.Content

	Gone   bool // but for its bare document
	Moving bool // it is being erased: what is left of it may be anything
}

// Values is one kind of stored values whose changes the log tells. Its methods
// are for the tenant in ctx.
type Values interface {
	// Prefix is what the names of the tenant's objects begin with: nearly always their ids.
	Prefix(of tenant.ID) string
	// Behind returns up to limit objects behind an id, by id.
	Behind(ctx context.Context, after string, limit int) ([]Kept, error)
	// Missing returns those of the ids that no object has.
	Missing(ctx context.Context, ids []string) ([]string, error)
}

// Told is what an entry tells of an object.
type Told struct {
	audit.Content

	Entry string
	Seq   *int64 // once the entry is sealed
}

// values compares what is kept of the tenant in ctx with what the log told last,
// in memory that doesn't grow with it. An object's versions have no gaps: so the
// last change is the one that none of the next version follows.
func (v *Verifier) values(ctx context.Context, of tenant.ID, r *Report) error {
	for _, values := range v.Values {
		for after := values.Prefix(of); ; {
			var kept []Kept
			var told []Told
			// What is kept and what is told are of one moment.
			err := v.Archive.InTransaction(ctx, func(ctx context.Context) (err error) {
				if kept, err = values.Behind(ctx, after, chunk); err != nil {
					return err
				}
				var ask []audit.Content
				for _, k := range kept {
					ask = append(ask, audit.Content{Object: k.Object},
						audit.Content{Object: k.Object, Version: k.Version}, audit.Content{Object: k.Object, Version: k.Version + 1})
				}
				told, err = v.Archive.Told(ctx, ask)
				return err
			})
			if err != nil {
				return fmt.Errorf("compare values of %s: %w", of, err)
			}
			for i := range kept {
				if err := kept[i].check(of, told); err != nil {
					return err
				}
				r.Values++
			}
			if err := v.pace(ctx, len(kept)); err != nil {
				return err
			}
			if len(kept) < chunk {
				break
			}
			after = kept[len(kept)-1].Object
		}
	}
	return nil
}

// find returns what is told of a version; nil for nothing.
func find(told []Told, object string, version int64) *Told {
	i := slices.IndexFunc(told, func(t Told) bool { return t.Object == object && t.Version == version })
	if i < 0 {
		return nil
	}
	return &told[i]
}

// check fails unless an object is what the log told last of it.
func (k *Kept) check(of tenant.ID, told []Told) error {
	fault := func(format string, args ...any) error {
		return &proof.Error{Tenant: of, Seq: -1, Object: k.Object, What: k.Object + " " + fmt.Sprintf(format, args...)}
	}
	gone, made, next := find(told, k.Object, 0), find(told, k.Object, k.Version), find(told, k.Object, k.Version+1)
	switch {
	case k.Moving, k.Gone && gone != nil:
		return nil
	case k.Gone:
		return fault("is kept as erased, and no entry says that it was")
	case gone != nil:
		return fault("was rolled back: it is there at version %d, and entry %s says that it is gone", k.Version, gone.Entry)
	case next != nil:
		return fault("was rolled back to version %d: entry %s made version %d", k.Version, next.Entry, next.Version)
	case made == nil:
		return fault("is at version %d, which no entry tells of", k.Version)
	case !slices.Equal(made.Digest, k.Digest):
		return fault("is altered: it is not what entry %s made of it, version %d", made.Entry, k.Version)
	}
	return nil
}

// there fails unless the objects that the entries made are there still, or later
// entries say that they are gone.
func (l *logCheck) there(ctx context.Context) error {
	for _, values := range l.v.Values {
		prefix := values.Prefix(l.head.Tenant)
		by, made := map[string]int{}, []string(nil)
		for i := range l.rows {
			for _, c := range l.rows[i].Contents {
				if c.Version == 1 && strings.HasPrefix(c.Object, prefix) {
					by[c.Object], made = i, append(made, c.Object)
				}
			}
		}
		if len(made) == 0 {
			continue
		}
		missing, err := values.Missing(ctx, made)
		if err != nil {
			return err
		}
		ask := make([]audit.Content, len(missing))
		for i, object := range missing {
			ask[i].Object = object
		}
		told, err := l.v.Archive.Told(ctx, ask)
		if err != nil {
			return err
		}
		slices.SortFunc(missing, func(a, b string) int { return by[a] - by[b] })
		for _, object := range missing {
			if find(told, object, 0) == nil {
				return &proof.Error{Tenant: l.head.Tenant, Seq: -1, Object: object, What: fmt.Sprintf(
					"%s is missing: entry %s made it, and none says that it is gone", object, l.rows[by[object]].ID)}
			}
		}
	}
	return nil
}
