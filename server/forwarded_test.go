package server

import (
	"net/http"
	"net/netip"
	"testing"
)

// A client cannot choose its address: what it wrote into X-Forwarded-For stands before what the
// trusted proxies have appended, and nobody else is believed.
func TestClientAddr(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	for _, test := range []struct {
		name, remote string
		headers      []string
		want         string
	}{
		{"no proxy", "192.0.2.1:5", nil, "192.0.2.1:5"},
		{"a client that makes it up", "192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1:5"},
		{"by a proxy", "10.0.0.1:5", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"IPv6", "[fd00::1]:5", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"a client that makes it up, by a proxy", "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1:0"},
		{"the same in a header of its own", "10.0.0.1:5", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1:0"},
		{"by two proxies", "10.0.0.1:5", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1:0"},
		{"a client that names a proxy", "10.0.0.1:5", []string{"198.51.100.1, 10.0.0.9, 192.0.2.1"}, "192.0.2.1:0"},
		{"with a port", "10.0.0.1:5", []string{"192.0.2.1:99"}, "192.0.2.1:99"},
		{"IPv6 with a port", "10.0.0.1:5", []string{"[2001:db8::1]:99"}, "[2001:db8::1]:99"},
		{"IPv6 in brackets", "10.0.0.1:5", []string{"[2001:db8::1]"}, "[2001:db8::1]:0"},
		{"IPv4 as IPv6", "[::ffff:10.0.0.1]:5", []string{"192.0.2.1"}, "192.0.2.1:0"},
		{"a proxy that says nothing", "10.0.0.1:5", nil, "10.0.0.1:5"},
		{"a proxy that speaks for itself", "10.0.0.1:5", []string{"10.0.0.2"}, "10.0.0.2:0"},
		{"unknown", "10.0.0.1:5", []string{"unknown"}, "10.0.0.1:5"},
		{"unknown behind an address", "10.0.0.1:5", []string{"192.0.2.1, unknown"}, "10.0.0.1:5"},
		{"empty", "10.0.0.1:5", []string{""}, "10.0.0.1:5"},
	} {
		r := &http.Request{RemoteAddr: test.remote, Header: http.Header{"X-Forwarded-For": test.headers}}
		if got := clientAddr(r, trusted).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
