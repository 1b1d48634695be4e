package static

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/swarmgate/swarmgate/wtproto"
)

const scheme = "tcp://"

// Peer is a TCP service that is a peer of a topic.
type Peer struct {
	Topic   wtproto.Topic
	Address string // "host:port", where host is a name, an IPv4 address or a bracketed IPv6 address
}

// Parse reads "topic=tcp://host:port". The topic is 64 hexadecimal digits or a name, which may
// itself hold a "=".
func Parse(s string) (Peer, error) {
	i := strings.LastIndexByte(s, '=')
	if i < 0 {
		return Peer{}, fmt.Errorf("static: %q: want TOPIC=tcp://HOST:PORT", s)
	}
	topic, where := s[:i], s[i+1:]
	address, isTCP := strings.CutPrefix(where, scheme)
	switch {
	case topic == "":
		return Peer{}, fmt.Errorf("static: %q: the topic is empty", s)
	case strings.HasPrefix(where, "/"):
		return Peer{}, fmt.Errorf("static: %q: a multiaddr names a libp2p host, not a TCP service", s)
	case !isTCP:
		return Peer{}, fmt.Errorf("static: %q: the address does not begin with %s", s, scheme)
	}
	address, err := checkAddress(address)
	if err != nil {
		return Peer{}, fmt.Errorf("static: %q: %w", s, err)
	}
	return Peer{Topic: wtproto.TopicFromText(topic), Address: address}, nil
}

// String returns what [Parse] reads, with the topic in digits.
func (p Peer) String() string { return p.Topic.String() + "=" + scheme + p.Address }

// checkAddress returns address in its usual spelling.
func checkAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errors.New("want HOST:PORT, an IPv6 address in brackets")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	ip, err := netip.ParseAddr(host)
	if err == nil {
		host = ip.String()
	} else if !isName(host) {
		return "", fmt.Errorf("host %q is neither a name nor an IP address", host)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// isName reports whether host is a DNS name of ordinary characters. Four numbers are not a name,
// but a mistyped address.
func isName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]
	if strings.Trim(last, "0123456789.") == "" {
		return false
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}
