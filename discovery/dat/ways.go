package dat

import (
	"errors"
	"net"
	"net/netip"
	"strconv"

	"github.com/swarmgate/swarmgate/internal/crowd"
)

// openWays opens the ways that cfg asks for. shared is the listener of the shared port, or nil.
func openWays(cfg *Config, shared *net.TCPListener) (ways []way, err error) {
	listen, own := netip.AddrPort{}, ownPorts{topics: cfg.Ports}
	if shared != nil {
		at := crowd.AddrPortOf(shared.Addr())
		listen, own.shared = udpOf(cfg.Listen, at.Addr()), at.Port()
	}
	var errs []error
	add := func(w way, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		ways = append(ways, w)
	}
	if cfg.Bootstrap == nil || len(cfg.Bootstrap) > 0 {
		add(newMainline(mainlineConfig{
			Listen: listen, Own: own, Bootstrap: cfg.Bootstrap, Policy: cfg.Policy, Logger: cfg.Logger, Observer: cfg.Observer,
		}))
	}
	if cfg.Multicast {
		add(newMulticast(multicastConfig{Policy: cfg.Policy, Logger: cfg.Logger}))
	}
	if len(cfg.DNS) > 0 {
		add(newDNS(dnsConfig{
			Listen: ipOf(listen), Servers: cfg.DNS, Policy: cfg.Policy, Logger: cfg.Logger, Observer: cfg.Observer,
		}))
	}
	if err := errors.Join(errs...); err != nil {
		for _, w := range ways {
			w.close()
		}
		return nil, err
	}
	return ways, nil
}

// udpOf returns the UDP address that goes with a listen address whose TCP port is at an IP address:
// the same port there. Old peers of the DHT speak IPv4, so for IPv6 it is any IPv4 address, or the
// loopback one.
func udpOf(listen string, at netip.Addr) netip.AddrPort {
	_, digits, _ := net.SplitHostPort(listen)
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	switch at = at.Unmap(); {
	case at.Is4():
	case at.IsLoopback():
		at = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		at = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(at, uint16(port))
}

// ipOf returns a with any port; the zero value stays that.
func ipOf(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), 0)
}
