package audit

import (
	"context"
	"net/netip"
)

// Request is what an entry tells of the call that caused it.
type Request struct {
	ID      string
	Purpose string // header Vogter-Purpose: a term chosen by the tenant, no free text about a person
	Network string // see NetworkOf
	// GPC is set when the caller's browser asks not to have data sold or shared
	// (Global Privacy Control, header Sec-GPC). It is for consent, and no part of
	// an entry.
	GPC bool
}

type requestKey struct{}

// WithRequest returns ctx for the call r.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the call that ctx belongs to, or the zero Request.
func RequestFrom(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}

// NetworkOf returns the network that an address belongs to, /24 for IPv4 and
// /48 for IPv6: enough to see that a key is used from somewhere new, and no
// address of a person. It returns "" for no address.
func NetworkOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
