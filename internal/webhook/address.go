package webhook

import (
	"net/netip"
	"slices"
)

// never lists networks that no webhook reaches, whatever is allowed: this
// network, link-local addresses (and with them the metadata services of clouds,
// and those of theirs that lie elsewhere), multicast, what is reserved or for
// examples, and what stands for another address: 6to4 and Teredo.
func never() []string {
	return []string{
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "fd00:ec2::/32", "fd20:ce::/32",
	}
}

// private lists networks that a webhook reaches where private ones are allowed:
// this machine, private networks, those of carriers, and those for benchmarks.
func private() []string {
	return []string{
		"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "::1/128", "fc00::/7",
	}
}

// reachable reports whether a webhook may be called at ip. Of IPv6, beyond what
// is private, no more than global unicast is: so not NAT64 either.
func reachable(ip netip.Addr, allowPrivate bool) bool {
	ip = ip.Unmap().WithZone("")
	in := func(networks []string) bool {
		return slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(ip) })
	}
	switch {
	case !ip.IsValid() || in(never()):
		return false
	case in(private()):
		return allowPrivate
	default:
		return ip.Is4() || netip.MustParsePrefix("2000::/3").Contains(ip)
	}
}
