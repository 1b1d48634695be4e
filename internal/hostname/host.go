package hostname

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// browser maps names as the URL standard of browsers says.
var browser = idna.New(
	idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false),
)

// maxName is how many bytes a DNS name has at most, and maxWritten how many as people write it: to
// make ASCII of letters takes time by the square of their number.
const (
	maxName    = 253
	maxWritten = utf8.UTFMax * maxName
)

// Parse returns a DNS name in lower-case ASCII and without the dot at its end, if it has one. It
// returns an IP address as netip does, with its zone, but ::ffff:192.0.2.1 as ::ffff:c000:201.
// Names may have underscores, as those of machines do. A name whose last label is a number is an
// error: browsers take it for an IPv4 address.
func Parse(s string) (string, error) {
	if len(s) > maxWritten {
		return "", fmt.Errorf("%.64q… is longer than any name", s)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Is4In6() {
			b := a.As16()
			return fmt.Sprintf("::ffff:%x:%x", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15])), nil
		}
		return a.String(), nil
	}
	name, err := browser.ToASCII(s)
	name = strings.TrimSuffix(name, ".")
	if err != nil || !isName(name) || !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is neither a DNS name nor an IP address", s)
	}
	return name, nil
}

// isName reports whether s is a DNS name in lower-case ASCII.
func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if bad || label == "" || len(label) > 63 {
			return false
		}
		last = label
	}
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && !(isHex && strings.Trim(hex, "0123456789abcdef") == "")
}

// HostPort is a host and a port of it.
type HostPort struct {
	Host string // as [Parse] returns it
	Port uint16 // 0 if it was not given
}

// ParseHostPort reads host[:port], with or without brackets around an IPv6 address that has no
// port.
func ParseHostPort(s string) (HostPort, error) {
	host, digits := s, ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var after string
		host, after, ok = strings.Cut(inner, "]")
		if a, bad := netip.ParseAddr(host); !ok || bad != nil || !a.Is6() || after != "" && after[0] != ':' {
			return HostPort{}, fmt.Errorf("%q: only an IPv6 address stands in brackets", s)
		}
		digits = strings.TrimPrefix(after, ":")
	} else if _, bad := netip.ParseAddr(s); bad != nil {
		host, digits, _ = strings.Cut(s, ":")
	}
	host, err := Parse(host)
	if err != nil || digits == "" {
		return HostPort{Host: host}, err
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return HostPort{}, fmt.Errorf("%q: port %q is not a number from 1 to 65535", s, digits)
	}
	return HostPort{host, uint16(port)}, nil
}

// String returns host:port, or the host alone if there is no port, with brackets around an IPv6
// address.
func (h HostPort) String() string {
	if h.Port != 0 {
		return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
	}
	if strings.Contains(h.Host, ":") {
		return "[" + h.Host + "]"
	}
	return h.Host
}

// IsLoopback reports whether host, as [Parse] returns it, is this machine for every program: an
// address of loopback, localhost, or a name below that, which browsers ask no DNS for (RFC 6761).
func IsLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || IsLocalhost(host)
}

// IsLocalhost reports whether host, as [Parse] returns it, is localhost or a name below it.
func IsLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// ToResolve returns localhost for a name below it, which is this machine whatever a DNS says, and
// another host as it is. The resolver of Go asks the DNS for such names.
func ToResolve(host string) string {
	if IsLocalhost(strings.TrimSuffix(host, ".")) {
		return "localhost"
	}
	return host
}
