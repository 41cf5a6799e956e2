package webhook

import (
	"net/netip"
	"time"
)

// SetTimeout makes tests of an endpoint that stalls short.
func (c *Client) SetTimeout(d time.Duration) { c.http.Timeout = d }

// Reachable is reachable.
func Reachable(ip string, allowPrivate bool) bool {
	return reachable(netip.MustParseAddr(ip), allowPrivate)
}

// MaxPending is maxPending.
const MaxPending = maxPending
