package request

import (
	"time"

	"github.com/vogter/vogter/internal/civil"
)

// EvidenceYears is for how long the proof of a request is kept from its answer on:
// until an offence against data protection law is barred by time
// (databeskyttelsesloven § 41), DOMAIN §3.5. The answer says so.
const EvidenceYears = 5

// EvidenceEnds returns the last day on which the proof of a request is kept that was
// answered, or ended otherwise, at an instant: by then it is erased.
func EvidenceEnds(at time.Time, zone *time.Location) civil.Date {
	return civil.Of(at.In(zone)).AddMonths(12 * EvidenceYears)
}

// EndsAt returns from when on all that is kept of the request is to be erased, but
// for its ids; nil while an answer is owed.
func (r *Request) EndsAt() *time.Time {
	if r.State.Open() {
		return nil
	}
	zone, err := time.LoadLocation(r.Deadline.Zone)
	if err != nil {
		zone = time.UTC
	}
	at := r.UpdatedAt
	if r.Reply != nil {
		at = r.Reply.At
	}
	ends := EvidenceEnds(at, zone).Start(zone)
	return &ends
}
