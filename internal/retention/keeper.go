package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/vogter/vogter/internal/civil"
)

// Keeper says what may not be deleted. It is a part of Service, and there before it.
type Keeper struct {
	store   Store
	tenants Tenants
	now     func() time.Time
}

// NewKeeper returns a Keeper.
func NewKeeper(store Store, tenants Tenants, now func() time.Time) *Keeper {
	return &Keeper{store, tenants, now}
}

// today returns the tenant's zone and the day there.
func (k *Keeper) today(ctx context.Context) (*time.Location, civil.Date, error) {
	t, err := k.tenants.Get(ctx)
	if err != nil {
		return nil, civil.Date{}, err
	}
	zone, err := time.LoadLocation(t.TimeZone)
	if err != nil {
		return nil, civil.Date{}, fmt.Errorf("load the tenant's time zone: %w", err)
	}
	return zone, civil.Of(k.now().In(zone)), nil
}

// MayDelete fails with ErrHeld or ErrMinimum, naming rule and date, when a record
// of persons in a dataset must be kept. It works within a transaction.
func (k *Keeper) MayDelete(ctx context.Context, datasetID string, collected, changed time.Time, persons ...string) error {
	rules, err := k.store.ActiveRules(ctx)
	if err != nil {
		return err
	}
	holds, err := k.store.HoldsOn(ctx, persons...)
	if err != nil {
		return err
	}
	if len(rules)+len(holds) == 0 {
		return nil
	}
	zone, today, err := k.today(ctx)
	if err != nil {
		return err
	}
	items, err := k.store.Items(ctx, persons...)
	if err != nil {
		return err
	}
	for _, p := range persons {
		i := &Item{Subject: p, Unit: datasetID, CollectedAt: &collected, ActivityAt: &changed}
		d := i.datum(personOf(items, p), zone)
		d.Requested = true
		if err := Decide(d, rules, holds, today).refusal(); err != nil {
			return err
		}
	}
	return nil
}

// refusal is why what is decided on can't be deleted now.
func (d Decision) refusal() error {
	switch d.Reason {
	case Held:
		return ErrHeld
	case Minimum:
		e := ErrMinimum.Under("retention.minimum")
		e.Message = fmt.Sprintf("rule %s (%s) keeps this until %s, included", d.Rule.ID, d.Rule.LegalSource, d.KeepUntil)
		return e
	case Pending:
		e := ErrMinimum.Under("retention.minimum")
		e.Message = fmt.Sprintf("rule %s (%s) keeps this: %s hasn't happened, from which its period %s counts", d.Rule.ID, d.Rule.LegalSource, d.Rule.Trigger, d.Rule.Period)
		return e
	default:
		return nil
	}
}
