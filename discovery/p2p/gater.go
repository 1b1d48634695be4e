package p2p

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// gater asks the policy about every address that libp2p is about to dial. An address counts as
// configured, or as one of the LAN, only together with the id of the host that was configured or
// seen there.
type gater struct {
	policy *discovery.Policy
	around *surroundings
	lan    *lan
	// set before we listen
	self    peer.ID
	reached func(id peer.ID, from netip.AddrPort, port uint16) // a host has connected to our port; may be nil
	arrived func(from netip.AddrPort)                          // one with our own id has

	mu    sync.Mutex
	named map[peer.ID][]netip.AddrPort // guarded by mu; the resolved addresses of configured hosts
	pays  map[peer.ID]any              // guarded by mu; the payers of hosts that are being dialed
}

func newGater(p *discovery.Policy, l *lan) *gater {
	return &gater{policy: p, around: newSurroundings(), lan: l, named: make(map[peer.ID][]netip.AddrPort), pays: make(map[peer.ID]any)}
}

// name adds addrs to the configured addresses of a host, because seeds and static peers may name
// the same host. It keeps the latest 64.
func (g *gater) name(id peer.ID, addrs []ma.Multiaddr) {
	const limit = 64
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.named[id]
	for _, m := range addrs {
		if a, ok := plainTCP(m); ok && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	g.named[id] = all[max(0, len(all)-limit):]
}

// pay notes that id is dialed for the payer who, until somebody calls the returned function.
func (g *gater) pay(id peer.ID, who any) (paid func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pays[id] = who
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.pays, id)
	}
}

// payer returns the payer for which id is dialed, or nil.
func (g *gater) payer(id peer.ID) any {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pays[id]
}

// check returns nil if addr may be dialed for host id.
func (g *gater) check(id peer.ID, m ma.Multiaddr) error {
	addr, ok := plainTCP(m)
	if !ok {
		return wtproto.Errorf(wtproto.CodeForbidden, "%s is not an IP address with TCP", m)
	}
	_, err := g.source(id, addr)
	return err
}

// source returns the source with which addr may be dialed for host id, or why it may not be
// dialed.
func (g *gater) source(id peer.ID, addr netip.AddrPort) (discovery.Source, error) {
	g.mu.Lock()
	named := slices.Contains(g.named[id], addr)
	g.mu.Unlock()
	if named {
		return discovery.SourceConfigured, g.policy.Check(discovery.SourceConfigured, addr)
	}
	err := g.policy.Check(discovery.SourcePublic, addr)
	if err != nil && g.lan.has(id, addr) {
		return discovery.SourceLAN, g.policy.Check(discovery.SourceLAN, addr)
	}
	return discovery.SourcePublic, err
}

// dialable returns those of addrs that may be dialed for host id, in the order and number of
// inOrder, and why others may not be dialed.
func (g *gater) dialable(id peer.ID, addrs []ma.Multiaddr) (good []ma.Multiaddr, refused error) {
	var why ma.Multiaddr
	for _, m := range addrs {
		switch err := g.check(id, m); {
		case err == nil:
			good = append(good, m)
		case refused == nil || !isLoopback(m) && (isLoopback(why) || m.Compare(why) < 0): // the same one, whatever their order
			refused, why = err, m
		}
	}
	return inOrder(good, g.around), refused
}

// whyNot returns why host id can be dialed at none of addrs: refused, or that there are none.
func whyNot(id peer.ID, addrs []ma.Multiaddr, refused error) error {
	plain := slices.ContainsFunc(addrs, func(m ma.Multiaddr) bool { _, ok := plainTCP(m); return ok })
	switch {
	case plain && refused != nil:
		return &wtproto.Error{
			Code:   wtproto.CodeForbidden,
			Reason: "host " + id.String() + " has announced no address that may be dialed from here: let it announce where others reach it (--p2p-announce), or allow its addresses here (--dial-allow)",
			Err:    refused,
		}
	case slices.ContainsFunc(addrs, isName):
		return wtproto.Errorf(wtproto.CodePeerUnreachable,
			"host %s has announced names only, and names of strangers are not resolved: let it announce its IP address (--p2p-announce)", id)
	default:
		return wtproto.Errorf(wtproto.CodePeerUnreachable,
			"host %s has announced no IP address with a TCP port: let it listen on TCP, and announce it (--p2p-announce)", id)
	}
}

// rankDials says when to dial which address of one host: one after the other, in the order of
// inOrder. The gater has allowed them all.
func (g *gater) rankDials(addrs []ma.Multiaddr) []network.AddrDelay {
	var ranked []network.AddrDelay
	for i, m := range inOrder(addrs, g.around) {
		ranked = append(ranked, network.AddrDelay{Addr: m, Delay: time.Duration(i) * discovery.Stagger})
	}
	return ranked
}

// InterceptPeerDial allows all hosts, because only addresses can be dangerous.
func (g *gater) InterceptPeerDial(peer.ID) bool { return true }

// InterceptAddrDial asks the policy.
func (g *gater) InterceptAddrDial(id peer.ID, m ma.Multiaddr) bool { return g.check(id, m) == nil }

// InterceptAccept allows all that the resource manager allows.
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured asks the policy again about the address that we dialed. If the other host
// dialed us, it has proven its id.
func (g *gater) InterceptSecured(d network.Direction, id peer.ID, c network.ConnMultiaddrs) bool {
	if v, ok := c.(*visitor); ok {
		v.proven()
	}
	if from, ok := plainTCP(c.RemoteMultiaddr()); ok && d == network.DirInbound {
		switch {
		case id == g.self:
			if g.arrived != nil {
				g.arrived(from)
			}
			return false
		case g.reached != nil:
			local, _ := plainTCP(c.LocalMultiaddr())
			g.reached(id, from, local.Port())
		}
	}
	return d == network.DirInbound || g.check(id, c.RemoteMultiaddr()) == nil
}

// InterceptUpgraded allows all.
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
