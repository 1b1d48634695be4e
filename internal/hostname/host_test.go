package hostname

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"gateway.example": "gateway.example", "Gateway.Example": "gateway.example", "gateway.example.": "gateway.example",
		"my_app_gateway": "my_app_gateway", "app.localhost": "app.localhost", "_x._y": "_x._y", "a--b.example": "a--b.example",
		"bücher.example": "xn--bcher-kva.example", "BÜCHER.example": "xn--bcher-kva.example", "bu\u0308cher.example": "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "faß.example": "xn--fa-hia.example", "例え。テスト": "xn--r8jz45g.xn--zckzah",
		"１２７.0.0.1x.example": "127.0.0.1x.example",
		"192.0.2.1":          "192.0.2.1", "2001:DB8:0:0::1": "2001:db8::1", "::ffff:192.0.2.1": "::ffff:c000:201", "fe80::1%eth0": "fe80::1%eth0",
		"1.example": "1.example", "0xg": "0xg", long + ".example": long + ".example",
	} {
		if got, err := Parse(in); got != want || err != nil {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a b", "a/b", "a／b", "a:b", "a@b", "a%b", "*.a", "[::1]", "xn--a", "a\x00", "a\xff",
		"127.1", "1", "0x7f.1", "0x7f", "0x", "10.0.0.256", "1.2.3.4.5", "192.0.2.01", long + "a.example", strings.Repeat(long+".", 4) + "a",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, got)
		}
	}
}

// Whoever connected could send an Origin of 16 KiB of different letters. To find out that it is not
// a name took half a second of a core, once for each origin that the gateway lists.
func TestLongNamesAreNotLookedAt(t *testing.T) {
	var different strings.Builder
	for r := rune(0x20000); different.Len() < 16<<10; r++ {
		different.WriteRune(r)
	}
	for _, in := range []string{different.String(), strings.Repeat("a", 16<<10), strings.Repeat("a.", 8<<10)} {
		_, err := Parse(in)
		if err == nil || !strings.Contains(err.Error(), "longer than any name") || len(err.Error()) > 1<<10 {
			t.Errorf("Parse of %d bytes: %.100v", len(in), err)
		}
	}
	// The longest name is longer as people write it.
	long := strings.Repeat(strings.Repeat("ü", 56)+".", 3) + "example"
	if got, err := Parse(long); err != nil {
		t.Errorf("Parse of a name of %d bytes = %q, %v", len(long), got, err)
	}
}

func TestParseHostPort(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     uint16
	}{
		{"a.example", "a.example", 0},
		{"a.example:443", "a.example", 443},
		{"a.example.:0443", "a.example", 443},
		{"a:", "a", 0},
		{"192.0.2.1:65535", "192.0.2.1", 65535},
		{"2001:db8::1", "2001:db8::1", 0},
		{"[2001:db8::1]", "2001:db8::1", 0},
		{"[2001:DB8::1]:1", "2001:db8::1", 1},
		{"bücher.example:4433", "xn--bcher-kva.example", 4433},
	} {
		got, err := ParseHostPort(c.in)
		if got != (HostPort{c.host, c.port}) || err != nil {
			t.Errorf("ParseHostPort(%q) = %+v, %v; want %q, %d", c.in, got, err, c.host, c.port)
		}
		if again, err := ParseHostPort(got.String()); again != got || err != nil {
			t.Errorf("ParseHostPort(%q) = %+v, %v", got, again, err)
		}
	}
	for _, in := range []string{
		"", ":", ":443", "a:0", "a:65536", "a:+1", "a:1:2", "a:x", "[a]", "[a]:1", "[192.0.2.1]", "[::1", "[::1]1", "::1]", "[]", "127.0.0.1:9090:1",
	} {
		if got, err := ParseHostPort(in); err == nil {
			t.Errorf("ParseHostPort(%q) = %+v, want an error", in, got)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:7f00:1": true, "localhost": true, "app.localhost": true, "a.b.localhost": true,
		"192.0.2.1": false, "localhost.example": false, "notlocalhost": false, "": false, "127.0.0.1.example": false,
	} {
		if IsLoopback(host) != want {
			t.Errorf("IsLoopback(%q) = %v", host, !want)
		}
	}
}

func TestToResolve(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "app.localhost": "localhost", "app.localhost.": "localhost", "127.0.0.1": "127.0.0.1", "a.example.": "a.example.",
		"localhost.example": "localhost.example", "": "",
	} {
		if got := ToResolve(host); got != want {
			t.Errorf("ToResolve(%q) = %q, want %q", host, got, want)
		}
	}
}
