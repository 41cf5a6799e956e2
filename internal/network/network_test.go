package network_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/vogter/vogter/internal/network"
)

func list(t *testing.T, texts ...string) network.List {
	t.Helper()
	l, err := network.ParseList(texts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestClient(t *testing.T) {
	const proxy, inner, edge = "10.0.0.1:1", "10.0.0.2", "192.0.2.7"
	tests := []struct {
		name, remote string
		trusted      []string
		forwarded    []string
		want         string // "" for an address that nobody can tell
	}{
		{"direct", edge + ":5", nil, nil, edge},
		{"direct, mapped", "[::ffff:192.0.2.7]:5", nil, nil, edge},
		{"direct, with a claim", edge + ":5", nil, []string{"198.51.100.1"}, edge},
		{"a claim of a stranger", edge + ":5", []string{"10.0.0.0/8"}, []string{"198.51.100.1"}, edge},
		{"one proxy", proxy, []string{"10.0.0.1"}, []string{edge}, edge},
		{"one proxy and the caller's own claim", proxy, []string{"10.0.0.1"}, []string{"198.51.100.1, " + edge}, edge},
		{"two proxies", proxy, []string{"10.0.0.0/8"}, []string{"198.51.100.1, " + edge + ", " + inner}, edge},
		{"two headers", proxy, []string{"10.0.0.0/8"}, []string{"198.51.100.1, " + edge, inner}, edge},
		{"port", proxy, []string{"10.0.0.1"}, []string{edge + ":4711"}, edge},
		{"IPv6", "[2001:db8::1]:1", []string{"2001:db8::/64"}, []string{"2001:db8:1::9"}, "2001:db8:1::9"},
		{"IPv6 in brackets", proxy, []string{"10.0.0.1"}, []string{"[2001:db8:1::9]:443"}, "2001:db8:1::9"},
		{"the proxy's own call", proxy, []string{"10.0.0.1"}, nil, "10.0.0.1"},
		{"proxies only", proxy, []string{"10.0.0.0/8"}, []string{"10.9.9.9, " + inner}, "10.9.9.9"},
		{"no address", proxy, []string{"10.0.0.1"}, []string{edge + ", unknown"}, ""},
		{"empty hop", proxy, []string{"10.0.0.1"}, []string{edge + ","}, ""},
		{"no remote address", "@", []string{"10.0.0.1"}, []string{edge}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.remote
			for _, h := range tt.forwarded {
				r.Header.Add(network.HeaderForwarded, h)
			}
			var want netip.Addr
			if tt.want != "" {
				want = netip.MustParseAddr(tt.want)
			}
			if got := list(t, tt.trusted...).Client(r); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestList(t *testing.T) {
	l := list(t, " 192.0.2.77/24 ", "2001:db8::/32", "198.51.100.1", "::ffff:203.0.113.9")
	want := []string{"192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32", "203.0.113.9/32"}
	if got := l.Strings(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for address, in := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "2001:db8:ffff::1": true, "2001:db9::1": false,
		"198.51.100.1": true, "198.51.100.2": false,
	} {
		if got := l.Contains(netip.MustParseAddr(address)); got != in {
			t.Errorf("%s: got %t, want %t", address, got, in)
		}
	}
	if l.Contains(netip.Addr{}) || list(t, "0.0.0.0/0", "::/0").Contains(netip.Addr{}) {
		t.Error("an unknown address lies in a network")
	}
	for _, text := range []string{"", "x", "192.0.2.0/33", "192.0.2", "fe80::1%eth0", "::ffff:192.0.2.0/120", "10.0.0.0/8,"} {
		if _, err := network.ParseList([]string{text}); !errors.Is(err, network.ErrNetwork) {
			t.Errorf("%q gives %v", text, err)
		}
	}
}
