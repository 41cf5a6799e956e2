package detect

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/vogter/vogter/internal/security"
)

// Clock watches the process's wall clock: against its monotonic clock, which
// nobody sets, and against the clocks of other parts.
type Clock struct {
	Wall  func() time.Time
	Mono  func() time.Duration                                    // since any time, and never set
	Peers map[string]func(ctx context.Context) (time.Time, error) // by name
	Inbox *Inbox
	Log   *slog.Logger

	wall time.Time
	mono time.Duration
}

const (
	lookEvery  = 10 * time.Second
	peersEvery = 6 // looks
	// least is the difference from which on it is signalled; what counts is the
	// provider's setting of the detector.
	least = time.Second
)

// Run watches until ctx ends.
func (c *Clock) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		c.Look()
		if n%peersEvery == 0 {
			c.Ask(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Look compares how far the clocks have come since the look before.
func (c *Clock) Look() {
	wall, mono := c.Wall().Round(0), c.Mono() // without the reading of the monotonic clock
	if !c.wall.IsZero() {
		c.tell("process", wall.Sub(c.wall)-(mono-c.mono))
	}
	c.wall, c.mono = wall, mono
}

// Ask compares with the clocks of the peers. One that doesn't answer is for the
// checks of readiness.
func (c *Clock) Ask(ctx context.Context) {
	for name, ask := range c.Peers {
		asking, cancel := context.WithTimeout(ctx, lookEvery/2)
		before := c.Mono()
		theirs, err := ask(asking)
		took := c.Mono() - before
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				c.Log.WarnContext(ctx, "a clock can't be asked", "of", name, "err", fmt.Errorf("ask clock: %w", err))
			}
			continue
		}
		// The answer was true at some moment while it was waited for.
		ours := c.Wall().Round(0)
		switch {
		case theirs.After(ours):
			c.tell(name, theirs.Sub(ours))
		case theirs.Before(ours.Add(-took)):
			c.tell(name, ours.Add(-took).Sub(theirs))
		}
	}
}

func (c *Clock) tell(group string, by time.Duration) {
	if by = by.Abs(); by >= least {
		c.Inbox.Tell(Signal{Detector: security.ClockJump, Group: group, Count: int(by / time.Second)})
	}
}
