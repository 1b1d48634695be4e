package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/swarmgate/swarmgate/wtproto"
)

// Source says where an address was learned. The policy trusts some sources more than others.
type Source int

// The sources, from the least trusted to the most. An unknown value counts as SourcePublic.
const (
	SourcePublic     Source = iota // learned from a public network or from a stranger
	SourceLAN                      // learned on the LAN
	SourceConfigured               // written by the operator: static peers, seeds
)

// String returns the source as a word for logs.
func (s Source) String() string {
	switch s {
	case SourceLAN:
		return "lan"
	case SourceConfigured:
		return "configured"
	default:
		return "public"
	}
}

// Keepalive of connections that are dialed through a policy. It detects within a minute that the
// machine of a peer has vanished.
const (
	keepaliveIdle     = 30 * time.Second
	keepaliveInterval = 10 * time.Second
	keepaliveCount    = 3
)

// PolicyConfig sets up a [Policy]. The zero value allows public addresses from public networks,
// and from the LAN the subnets of the machine's ordinary interfaces.
type PolicyConfig struct {
	// Allow are further ranges for addresses of [SourcePublic] and [SourceLAN].
	Allow []netip.Prefix
	// Private is short for Allow with all private, shared, link-local and loopback ranges: for
	// tests and development. It also lets LANInterfaces name loopback and point-to-point
	// interfaces.
	Private bool
	// LANInterfaces are the names of the interfaces that are the LAN. If there are none, the LAN
	// is every interface that is up and multicast, and neither loopback nor point-to-point. A
	// named interface may appear later.
	LANInterfaces []string
}

// Policy decides which addresses may be dialed. Every dial of every network asks it.
// Any number of goroutines may use it.
type Policy struct {
	allow   []netip.Prefix // constant after NewPolicy
	private bool           // constant after NewPolicy
	lan     interfaces
	targets targets
	names   ownNames

	mu       sync.RWMutex
	own      map[netip.AddrPort]struct{} // guarded by mu; unmapped, without zone
	ownPorts map[uint16]struct{}         // guarded by mu; on every local address
}

// NewPolicy returns the policy that cfg describes, or every mistake in cfg.
func NewPolicy(cfg PolicyConfig) (*Policy, error) {
	p := &Policy{
		private:  cfg.Private,
		own:      make(map[netip.AddrPort]struct{}),
		ownPorts: make(map[uint16]struct{}),
		names:    ownNames{lookUp: net.DefaultResolver.LookupNetIP},
		lan:      interfaces{names: slices.Clone(cfg.LANInterfaces), any: cfg.Private, read: readInterfaces},
	}
	var errs []error
	for _, r := range cfg.Allow {
		switch {
		case !r.IsValid():
			errs = append(errs, errors.New("discovery: policy: allow: a range is not valid"))
		case r.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("discovery: policy: allow: %s: write an IPv4 range as IPv4", r))
		default:
			p.allow = append(p.allow, r)
		}
	}
	if cfg.Private {
		p.allow = append(p.allow, privateRanges...)
	}
	if slices.Contains(cfg.LANInterfaces, "") {
		errs = append(errs, errors.New("discovery: policy: a LAN interface has no name"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// AddOwn adds listen addresses of this process. The policy forbids to dial them, whatever the
// source. A wildcard address stands for its port on every local address. Addresses with port 0 are
// ignored.
func (p *Policy) AddOwn(addrs ...netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		ip := a.Addr().Unmap().WithZone("")
		switch {
		case a.Port() == 0:
		case !ip.IsValid() || ip.IsUnspecified():
			p.ownPorts[a.Port()] = struct{}{}
		default:
			p.own[netip.AddrPortFrom(ip, a.Port())] = struct{}{}
		}
	}
}

// Check returns nil if addr, learned from src, may be dialed. Otherwise it returns an
// [*wtproto.Error] with CodeForbidden and a reason that names the address. IPv4-mapped IPv6
// addresses count as IPv4 addresses.
func (p *Policy) Check(src Source, addr netip.AddrPort) error {
	ip, zone := addr.Addr().Unmap(), addr.Addr().Zone()
	bare := ip.WithZone("")
	switch {
	case !ip.IsValid():
		return forbid(addr, "is not an address")
	case addr.Port() == 0:
		return forbid(addr, "has port 0")
	case zone != "" && (ip.Is4() || !ip.IsLinkLocalUnicast()):
		return forbid(addr, "has a zone and is not link-local")
	case notUnicast(bare):
		return forbid(addr, "is not unicast")
	case isMetadata(bare):
		return forbid(addr, "is a metadata service")
	}
	if own, err := p.isOwn(netip.AddrPortFrom(bare, addr.Port())); err != nil {
		return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "local addresses are not known", Err: err}
	} else if own {
		return forbid(addr, "is our own: give the peer an address that is not the gateway's")
	}
	switch src {
	case SourceConfigured:
		return nil
	case SourceLAN:
		return p.checkLAN(addr, ip)
	default:
		return p.checkPublic(addr, ip)
	}
}

// checkPublic is the part of Check for addresses that a stranger may have chosen.
func (p *Policy) checkPublic(addr netip.AddrPort, ip netip.Addr) error {
	if ip.Zone() != "" {
		return forbid(addr, "has a zone of another machine")
	}
	if p.isAllowed(ip) {
		return nil
	}
	if r, ok := specialRange(ip); ok {
		return forbid(addr, "is in "+r.String()+", which is not public: allow it with --dial-allow if it is yours")
	}
	return nil
}

// checkLAN is the part of Check for addresses that a machine on the LAN may have chosen.
func (p *Policy) checkLAN(addr netip.AddrPort, ip netip.Addr) error {
	if p.isAllowed(ip) {
		return nil
	}
	view, err := p.lan.view()
	if err != nil {
		return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "the LAN's subnets are not known", Err: err}
	}
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		if ip.Zone() == "" {
			return forbid(addr, "is link-local without a zone")
		}
		if slices.ContainsFunc(view.lan, func(i Interface) bool { return i.Name == ip.Zone() }) {
			return nil
		}
		return forbid(addr, "is not on a LAN interface: name the interface with --lan-interface")
	}
	if ip.IsLoopback() { // any interface may have a loopback address
		return forbid(addr, "is loopback: have the service announce an address of the LAN, or allow it with --dial-allow")
	}
	for _, i := range view.lan {
		if slices.ContainsFunc(i.Subnets, func(s netip.Prefix) bool { return s.Contains(ip) }) {
			return nil
		}
	}
	return forbid(addr, "is in no subnet of a LAN interface: name the interface with --lan-interface, or allow it with --dial-allow")
}

// isAllowed reports whether ip is in a range of the configuration.
func (p *Policy) isAllowed(ip netip.Addr) bool {
	return slices.ContainsFunc(p.allow, func(r netip.Prefix) bool { return r.Contains(ip) })
}

// isOwn reports whether this process listens on addr, which is unmapped and without zone.
func (p *Policy) isOwn(addr netip.AddrPort) (bool, error) {
	p.mu.RLock()
	_, exact := p.own[addr]
	_, port := p.ownPorts[addr.Port()]
	p.mu.RUnlock()
	if exact || !port {
		return exact, nil
	}
	if addr.Addr().IsLoopback() { // all of 127.0.0.0/8, though the interface lists one address only
		return true, nil
	}
	view, err := p.lan.view()
	if err != nil {
		return false, err
	}
	_, local := view.local[addr.Addr()]
	return local, nil
}

// LAN returns the interfaces that are the LAN at this moment, for a network that looks for peers
// there. They are shared with other callers and not to be changed.
func (p *Policy) LAN() ([]Interface, error) {
	view, err := p.lan.view()
	if err != nil {
		return nil, err
	}
	return view.lan, nil
}

// Dialer returns a dialer for addresses learned from src. It asks [Policy.Check] for every address
// that a name resolves to, right before it connects, and [Policy.Spend]; a refusal is the error of
// the dial.
func (p *Policy) Dialer(src Source) *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepaliveIdle, Interval: keepaliveInterval, Count: keepaliveCount,
		},
		ControlContext: func(ctx context.Context, _, address string, c syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "no IP address to check", Err: err}
			}
			if err := p.Check(src, addr); err != nil {
				return err
			}
			if err := p.bind(ctx, addr, c); err != nil {
				return err
			}
			// One dial of a plain TCP service is for all who want it, and the server limits the
			// dials of each principal. So all services count as one payer, which leaves at least
			// half to hosts.
			return p.Spend(nil, src, addr)
		},
	}
}

// forbid returns the error for addr, which must not be dialed.
func forbid(addr netip.AddrPort, why string) error {
	return wtproto.Errorf(wtproto.CodeForbidden, "%s %s", addr, why)
}
