package mdns

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/grandcat/zeroconf"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// service is a DNS-SD service type and the TXT key that says what an instance of it is about.
type service struct {
	name  string
	key   string
	value func(text string) (string, bool) // the usual spelling of the key's value, if it is one
}

var (
	topicService = &service{name: "_swarmgate._tcp", key: "topic", value: func(s string) (string, bool) {
		t, err := wtproto.ParseTopic(s)
		return t.String(), err == nil
	}}
	hostService = &service{name: "_swarmgate._udp", key: "id", value: func(s string) (string, bool) {
		return s, isID(s)
	}}
)

// record is what one answer said of one instance of a service.
type record struct {
	of       *service
	instance string
	value    string // of the service's TXT key; empty where the answer did not say
	port     uint16
	addrs    []netip.Addr // unmapped, without zone
}

// newRecord reads an answer of zeroconf, and reports whether it is an instance of s that can be used.
func (s *service) newRecord(e *zeroconf.ServiceEntry) (record, bool) {
	r := record{of: s, instance: e.Instance, port: uint16(e.Port)}
	if e.Port < 1 || e.Port > 65535 || !isInstance(e.Instance) {
		return record{}, false
	}
	if text, ok := lookUp(e.Text, s.key); ok {
		if r.value, ok = s.value(text); !ok {
			return record{}, false
		}
	}
	for _, list := range [][]net.IP{e.AddrIPv4, e.AddrIPv6} {
		for _, b := range list[:min(len(list), maxAddrs)] {
			if ip, ok := netip.AddrFromSlice(b); ok {
				r.addrs = append(r.addrs, ip.Unmap())
			}
		}
	}
	return r, len(r.addrs) > 0
}

// isInstance reports whether name, with the escapes of DNS, is one label. zeroconf takes every name that ends as ours do:
// what has a further dot is of another type, or none.
func isInstance(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			return false
		}
	}
	return name != "" && len(name) <= 4*63 // each byte may be escaped as \ddd
}

// lookUp returns the value of key among the strings of a TXT record. The first one counts, in any case (RFC 6763, 6.4).
func lookUp(text []string, key string) (string, bool) {
	for _, s := range text {
		if k, v, ok := strings.Cut(s, "="); ok && strings.EqualFold(k, key) {
			return v, true
		}
	}
	return "", false
}

// maxAddrs is how many addresses of an instance are remembered, and how many of a family are read from one answer.
const maxAddrs = 8

// places returns where r may be dialed, and why not elsewhere. A link-local address is tried on each of the
// interfaces: the answer does not say on which it came.
func (r record) places(policy *discovery.Policy, ifaces []discovery.Interface) (allowed []netip.Addr, refused error) {
	try := func(ip netip.Addr) {
		if err := policy.Check(discovery.SourceLAN, netip.AddrPortFrom(ip, r.port)); err != nil {
			refused = err
		} else if !slices.Contains(allowed, ip) {
			allowed = append(allowed, ip)
		}
	}
	for _, ip := range r.addrs {
		if !ip.Is6() || !ip.IsLinkLocalUnicast() {
			try(ip)
			continue
		}
		for _, i := range ifaces {
			try(ip.WithZone(i.Name))
		}
	}
	return allowed, refused
}
