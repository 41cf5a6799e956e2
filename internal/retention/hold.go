package retention

import (
	"context"
	"slices"
	"time"

	"github.com/vogter/vogter/internal/civil"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
)

// HoldState is where a hold stands.
type HoldState string

// The states.
const (
	Placed   HoldState = "PLACED"
	Released HoldState = "RELEASED"
)

// Scope is what a hold keeps: what the persons have in the datasets, all of the
// persons when it names no dataset, all persons' when it names no person; and
// cases, besides.
type Scope struct {
	Persons  []string
	Datasets []string
	Cases    []string
}

// Hold keeps data whatever the rules say, until it is released.
type Hold struct {
	ID          string
	Scope       Scope
	Exception   Exception
	LegalSource string
	Reason      personal.Text // sealed; it may speak of persons
	PlacedBy    string
	PlacedAt    time.Time
	ReviewOn    civil.Date
	State       HoldState
	ReleasedBy  *string
	ReleasedAt  *time.Time
}

// Covers reports whether the hold keeps what a person has in a unit, or the case
// whose id the unit is. What identifies a person is kept by a hold on any of the
// person's data.
func (h *Hold) Covers(person string, u Unit) bool {
	switch {
	case h.State != Placed:
		return false
	case slices.Contains(h.Scope.Cases, u):
		return true
	case len(h.Scope.Persons)+len(h.Scope.Datasets) == 0:
		return false // of cases only
	case len(h.Scope.Persons) > 0 && !slices.Contains(h.Scope.Persons, person):
		return false
	default:
		return u == Person && len(h.Scope.Persons) > 0 || len(h.Scope.Datasets) == 0 || slices.Contains(h.Scope.Datasets, u)
	}
}

// Limits of one hold.
const (
	MaxPersons  = 100
	MaxDatasets = 100
	MaxCases    = 100
	MaxHolds    = 1000 // placed at once
)

// Sentinels.
var (
	ErrNoHold    = errs.New(errs.NotFound, "no such hold")
	ErrScope     = errs.New(errs.Invalid, "a hold names 1 to %d persons, datasets or cases of the tenant, each once", MaxPersons).At("scope")
	ErrReleased  = errs.New(errs.Precondition, "the hold is released already").Under("hold.released")
	ErrFourEyes  = errs.New(errs.Forbidden, "a hold is released by another person than the one who placed it").Under("hold.fourEyes")
	ErrManyHolds = errs.New(errs.Limited, "a tenant has at most %d holds at once", MaxHolds)
	// ErrHeld refuses to delete what a hold keeps.
	ErrHeld = errs.New(errs.Precondition, "a legal hold keeps this: it can't be deleted before the hold is released").Under("retention.hold")
	// ErrMinimum refuses to delete what the law demands. Its copies name rule and date.
	ErrMinimum = errs.New(errs.Precondition, "the law demands that this is kept").Under("retention.minimum")
)

// Pages of holds.
type (
	// HoldConnection is a page of them.
	HoldConnection = page.Connection[*Hold]
	// HoldEdge is one of them, on a page.
	HoldEdge = page.Edge[*Hold]
)

// HoldStore keeps holds. Insert and Release work in the transaction of a change.
type HoldStore interface {
	// GetHold fails with ErrNoHold.
	GetHold(ctx context.Context, holdID string) (*Hold, error)
	// Holds returns up to limit holds after a position, the newest first, in any
	// state when it is nil.
	Holds(ctx context.Context, state *HoldState, after *page.Position, limit int) ([]*Hold, error)
	// HoldsOn returns those placed holds that may cover something of persons,
	// without their reasons.
	HoldsOn(ctx context.Context, persons ...string) ([]*Hold, error)
	// CountHolds counts placed holds, up to limit.
	CountHolds(ctx context.Context, limit int) (int, error)
	// InsertHold excludes an erasure of the persons, and of the proof about those who
	// are erased: it fails with subject.ErrErased or subject.ErrNotFound.
	InsertHold(ctx context.Context, h *Hold) error
	// ReleaseHold fails with ErrReleased.
	ReleaseHold(ctx context.Context, h *Hold) error
	// RestoreHold puts back a hold, or a release, that a restored database doesn't
	// know. Repeating it changes nothing.
	RestoreHold(ctx context.Context, h *Hold) error
}
