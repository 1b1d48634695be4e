package dat

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
)

// openWays opens the ways that cfg asks for.
func openWays(cfg *Config) (ways []way, err error) {
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
			Listen: udpOf(cfg.Listen), Bootstrap: cfg.Bootstrap, Policy: cfg.Policy, Logger: cfg.Logger, Observer: cfg.Observer,
		}))
	}
	if cfg.Multicast {
		add(newMulticast(multicastConfig{Policy: cfg.Policy, Logger: cfg.Logger}))
	}
	if len(cfg.DNS) > 0 {
		add(newDNS(dnsConfig{
			Listen: ipOf(udpOf(cfg.Listen)), Servers: cfg.DNS, Policy: cfg.Policy, Logger: cfg.Logger, Observer: cfg.Observer,
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

// udpOf returns the UDP address of a listen address: its port, and its host if that is an IPv4
// address, else any, because old peers of the DHT speak IPv4.
func udpOf(listen string) netip.AddrPort {
	host, digits, _ := net.SplitHostPort(listen)
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().Is4() {
		ip = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// ipOf returns a with any port; the zero value stays that.
func ipOf(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), 0)
}
