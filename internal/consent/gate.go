package consent

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/purpose"
)

// Keys knows the tenant's purposes by their keys: see purpose.Service.ByKey.
type Keys interface {
	ByKey(ctx context.Context, key string) (*purpose.Purpose, error)
}

// Standings tells where persons stand.
type Standings interface {
	StandingsOf(ctx context.Context, purposeKey string, subjects []string) ([]*Standing, error)
	// Objecting returns those of subjects who have objected to one of what is named.
	Objecting(ctx context.Context, to []Objection, subjects []string) ([]string, error)
}

// Gate tells, at each use of data, on whom nothing may be used for the purpose that
// the caller states: it rests on consent, and theirs isn't in force; or they have
// objected to it.
type Gate struct {
	purposes Keys
	store    Standings
	now      func() time.Time
}

// NewGate returns a Gate.
func NewGate(purposes Keys, store Standings, now func() time.Time) *Gate {
	return &Gate{purposes, store, now}
}

// Closed returns those of subjects on whom nothing may be used for the purpose that
// the caller in ctx states. That is nobody where none is stated, or one that isn't
// registered. It is one question to the database, whatever their number; in a
// transaction that guards the subjects, it and a withdrawal or an objection exclude
// each other. It fails for a purpose that is retired.
//
// The person whom the data is about sees it without consent, and so do jobs, which
// state no purpose.
//
// What the gate asks about is the purpose stated. A dataset that names purposes is
// used for none but these (policy purpose.ofDataset), so nobody gets round the gate
// there by stating none. One that names none is bound to no purpose: whoever may read
// it and states a purpose that rests on consent is asked for it, and who states none
// isn't. It isn't closed, since all of a tenant's data would be that hasn't named
// purposes yet; the record of processing tells of it as drift.
func (g *Gate) Closed(ctx context.Context, subjects ...string) (authz.Closed, error) {
	if len(subjects) == 0 {
		return authz.Closed{}, nil
	}
	stated, err := g.stated(ctx)
	if err != nil || stated == nil {
		return authz.Closed{}, err
	}
	asked := slices.Compact(slices.Sorted(slices.Values(subjects)))
	if !stated.ConsentBased() {
		objecting, err := g.store.Objecting(ctx, StoppedBy(stated), asked)
		return authz.Closed{Persons: objecting, Reason: authz.ReasonObjection}, err
	}
	found, err := g.store.StandingsOf(ctx, stated.Key, asked)
	if err != nil {
		return authz.Closed{}, err
	}
	now, open := g.now(), make(map[string]bool, len(found))
	for _, st := range found {
		open[st.SubjectID] = holds(st, stated, now)
	}
	asked = slices.DeleteFunc(asked, func(s string) bool { return open[s] })
	return authz.Closed{Persons: asked, Reason: authz.ReasonConsent}, nil
}

// Asks reports whether the purpose that the caller in ctx states rests on consent,
// or may be objected to.
func (g *Gate) Asks(ctx context.Context) (bool, error) {
	stated, err := g.stated(ctx)
	return stated != nil, err
}

// stated returns the purpose that the caller states if it rests on consent or may
// be objected to, else nil.
func (g *Gate) stated(ctx context.Context) (*purpose.Purpose, error) {
	p := authz.FromContext(ctx)
	if p.Purpose == "" || p.Kind == authz.KindSubject || p.Kind == authz.KindSystem {
		return nil, nil //nolint:nilnil // nothing is asked for
	}
	stated, err := g.purposes.ByKey(ctx, p.Purpose)
	if errs.KindOf(err) == errs.NotFound || err == nil && !stated.ConsentBased() && len(StoppedBy(stated)) == 0 {
		return nil, nil //nolint:nilnil // likewise
	}
	return stated, err
}
