package main

import (
	"net/netip"
	"testing"
)

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// texts checks what read makes of each text; a wanted zero value is an error.
func texts[T comparable](t *testing.T, read func(string) (T, error), cases map[string]T) {
	t.Helper()
	var zero T
	for in, want := range cases {
		got, err := read(in)
		if got != want || (err != nil) != (want == zero) {
			t.Errorf("%q = %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	texts(t, parseSize, map[string]size{
		"1": 1, "17B": 17, "3KiB": 3 << 10, "512MiB": 512 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
		"": 0, "0": 0, "-1": 0, "1K": 0, "1KB": 0, "1.5GiB": 0, "MiB": 0, "9223372036854775807": 1<<63 - 1,
		"9223372036854775808": 0, "9223372036854775807KiB": 0, "18014398509481985KiB": 0,
	})
}

func TestHostPorts(t *testing.T) {
	texts(t, parseHostPort, map[string]hostPort{
		":4433": ":4433", "127.0.0.1:0": "127.0.0.1:0", "[::1]:80": "[::1]:80", "localhost:1": "localhost:1", "[fe80::1%eth0]:1": "[fe80::1%eth0]:1",
		"": "", "4433": "", "127.0.0.1": "", ":http": "", ":65536": "", ":-1": "", "::1:80": "", "a b:1": "", "-a:1": "",
	})
}

func TestPublicNames(t *testing.T) {
	label := "a123456789012345678901234567890123456789012345678901234567890123"
	texts(t, parsePublicName, map[string]publicName{
		"a.Example": {Host: "a.example"}, "localhost": {Host: "localhost"}, "192.0.2.1": {Host: "192.0.2.1"}, "2001:DB8::1": {Host: "2001:db8::1"},
		"x--y.z": {Host: "x--y.z"}, "a.": {Host: "a"}, "a_b": {Host: "a_b"}, "my_app_gateway": {Host: "my_app_gateway"}, "ä": {Host: "xn--4ca"},
		"bücher.example:4433": {Host: "xn--bcher-kva.example", Port: 4433}, "a:1": {Host: "a", Port: 1}, "[2001:db8::1]:443": {Host: "2001:db8::1", Port: 443},
		"": {}, "a..b": {}, ".a": {}, "-a": {}, "a-": {}, "*.a": {}, "https://a": {}, label: {}, "fe80::1%eth0": {}, "a:0": {}, "a:99999": {}, "10.0.0.256": {},
	})
}

func TestOriginTexts(t *testing.T) {
	texts(t, parseOrigin, map[string]origin{
		"*": "*", "https://A.example": "https://a.example", "http://[::1]:8080": "http://[::1]:8080", "chrome-extension://abc": "chrome-extension://abc",
		"https://a/": "https://a", "https://a:443": "https://a", "https://*.Bücher.example": "https://*.xn--bcher-kva.example", "https://[2001:DB8:0::1]": "https://[2001:db8::1]",
		"": "", "a.example": "", "*.a.example": "", "https://": "", "https://a/b": "", "https://a?b": "", "https://a#": "", "https://u@a": "", "://a": "", "null": "",
		"https://a:99999": "", "https://*": "", "https://a.*.example": "", "wss://a": "",
	})
}

func TestDurations(t *testing.T) {
	texts(t, parseDuration, map[string]duration{"30s": 30e9, "1m1ms": 60_001e6, "": 0, "1": 0, "-1s": 0, "x": 0})
	if d, err := parseDuration("0s"); d != 0 || err != nil {
		t.Errorf("0s = %v, %v; want 0 and no error", d, err)
	}
}
