package deadline

import (
	"slices"
	"time"
)

// breachHours returns how long a controller has to notify an authority of a breach
// of which it is aware since an instant, GDPR Art. 33(1): by the law of that day,
// for a change is proposed.
func breachHours(aware time.Time) time.Duration {
	const hours72 = 72 * time.Hour
	dated := []struct {
		since time.Time
		limit time.Duration
	}{{time.Date(2018, time.May, 25, 0, 0, 0, 0, time.UTC), hours72}}
	for _, d := range slices.Backward(dated) {
		if !aware.Before(d.since) {
			return d.limit
		}
	}
	return hours72
}

// Breach is the clock of GDPR Art. 33(1). The hours elapse: nights, weekends,
// holidays and changes of the clocks count as they pass.
type Breach struct {
	// Limit is the strict one, by which alarms and reports go.
	Limit time.Time
	// FormalEnd is the limit with Regulation 1182/71 Art. 3(1): the hour of the
	// event isn't counted. It is for information.
	FormalEnd time.Time
}

// OfBreach returns the clock of a breach, both in UTC.
func OfBreach(aware time.Time) Breach {
	hours := breachHours(aware)
	next := aware.UTC().Truncate(time.Hour)
	if next.Before(aware) {
		next = next.Add(time.Hour)
	}
	return Breach{Limit: aware.UTC().Add(hours), FormalEnd: next.Add(hours)}
}
