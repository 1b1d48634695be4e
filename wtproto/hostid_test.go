package wtproto

import "testing"

// The texts are those of libp2p.
func TestHostID(t *testing.T) {
	host := "\x00\x24\x08\x01\x12\x20" + "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ id, want string }{
		{host, "12D3KooWD4VFK72Y8soafo1tmkksxbkCkKYBfdqRh3g6jHkb3nHb"},
		{host + "and an endpoint", "12D3KooWD4VFK72Y8soafo1tmkksxbkCkKYBfdqRh3g6jHkb3nHb"},
		{host[:37], ""},
		{"another host, which has another kind of key", ""},
		{"", ""},
	} {
		if got := HostID([]byte(tt.id)); got != tt.want {
			t.Errorf("HostID(%q) = %q, want %q", tt.id, got, tt.want)
		}
	}
}
