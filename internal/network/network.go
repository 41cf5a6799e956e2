// Package network knows from which address a call comes, also behind proxies,
// and whether that lies in one of the networks that somebody has listed.
package network

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/vogter/vogter/internal/errs"
)

// HeaderForwarded is where a proxy says whose call it passes on: addresses, the
// last one added by the proxy that is nearest to us.
const HeaderForwarded = "X-Forwarded-For"

// ErrNetwork reports a text that is no network.
var ErrNetwork = errs.New(errs.Invalid, "a network is written as an address and a length, such as 192.0.2.0/24 or 2001:db8::/48")

// List is a list of networks.
type List []netip.Prefix

// ParseList reads networks in CIDR notation, or ErrNetwork. An address alone
// stands for itself; bits behind a network's length are dropped.
func ParseList(texts []string) (List, error) {
	list := make(List, len(texts))
	for i, text := range texts {
		p, err := parse(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		list[i] = p
	}
	return list, nil
}

func parse(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, ErrNetwork
	}
	return p.Masked(), nil
}

// Strings returns the networks in CIDR notation.
func (l List) Strings() []string {
	texts := make([]string, len(l))
	for i, p := range l {
		texts[i] = p.String()
	}
	return texts
}

// Everybody reports whether one of the networks is that of all addresses.
func (l List) Everybody() bool {
	return slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

// Contains reports whether a lies in one of the networks. An address that isn't
// known lies in none.
func (l List) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Client returns the address that a call comes from. Only what a proxy in the
// list says of whom it speaks for counts, hop by hop; anybody else's
// X-Forwarded-For is ignored. When a trusted proxy names no address, nobody can
// tell: the zero Addr.
func (l List) Client(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := from.Addr().Unmap()
	if !l.Contains(a) {
		return a
	}
	said := strings.Split(strings.Join(r.Header.Values(HeaderForwarded), ","), ",")
	for _, hop := range slices.Backward(said) {
		if hop = strings.TrimSpace(hop); hop == "" && len(said) == 1 {
			return a // the proxy's own call
		}
		if a, err = hopAddr(hop); err != nil || !l.Contains(a) {
			return a
		}
	}
	return a
}

// hopAddr reads an address, which some proxies write with its port.
func hopAddr(s string) (netip.Addr, error) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap(), err
}

type addrKey struct{}

// NewContext returns ctx for a call from a.
func NewContext(ctx context.Context, a netip.Addr) context.Context {
	return context.WithValue(ctx, addrKey{}, a)
}

// AddrFrom returns the address that the call comes from; the zero Addr when
// nobody can tell, or there is no call.
func AddrFrom(ctx context.Context) netip.Addr {
	a, _ := ctx.Value(addrKey{}).(netip.Addr)
	return a
}
