package server

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	// checkTimeout is how long a dependency may take to answer /readyz.
	checkTimeout = 2 * time.Second
	// checkLife is how long its answer counts: however often /readyz is asked, it
	// asks no more often.
	checkLife = time.Second
)

// Check asks whether a part that the API needs is there.
type Check struct {
	Name  string // "mongodb": what /readyz calls it
	Ready func(ctx context.Context) error
	// Optional is a part without which most calls are answered: when it is down,
	// /readyz says so and the process stays ready.
	Optional bool
}

// health answers that the process lives.
func health() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
}

// ready answers whether the process can do its work, and which part is down. It
// says no more: anybody may ask.
func ready(c Config) http.Handler {
	var (
		mu     sync.Mutex
		states []string // of the checks
		until  time.Time
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock() // one asks, and the others wait for what it hears
		if !c.Now().Before(until) {
			states = askAll(context.WithoutCancel(r.Context()), c)
			until = c.Now().Add(checkLife)
		}
		states := states
		mu.Unlock()
		status, summary, checks := http.StatusOK, "ok", make(map[string]string, len(c.Checks))
		for i, check := range c.Checks {
			checks[check.Name] = states[i]
			if states[i] != "ok" && !check.Optional {
				status, summary = http.StatusServiceUnavailable, "down"
			}
		}
		select {
		case <-c.Stop:
			status, summary = http.StatusServiceUnavailable, "stopping"
		default:
		}
		answer(w, status, map[string]any{"status": summary, "checks": checks})
	})
}

// askAll returns the states of all checks.
func askAll(ctx context.Context, c Config) []string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	states := make([]string, len(c.Checks))
	var wg sync.WaitGroup
	for i, check := range c.Checks {
		wg.Go(func() {
			states[i] = "ok"
			if err := ask(ctx, check); err != nil {
				c.Log.WarnContext(ctx, "dependency is down", "dependency", check.Name, "err", err)
				states[i] = "down"
			}
		})
	}
	wg.Wait()
	return states
}

// ask runs a check and leaves it alone once its time is over, so that one which
// doesn't heed its context can't hold up the answer.
func ask(ctx context.Context, check Check) error {
	done := make(chan error, 1)
	go func() { done <- check.Ready(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
