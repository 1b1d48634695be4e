package discovery

import (
	"context"
	"net/netip"
	"syscall"

	"github.com/swarmgate/swarmgate/wtproto"
)

// throughKey is the key of the interface's name in a context.
type throughKey struct{}

// Through returns a context with which [Policy.Dialer] dials through the interface with this name.
// If two interfaces have the same subnet, or a route says so, an address that was heard on one
// interface may be another machine elsewhere. Dials to addresses of this machine do not change.
// Only Linux enforces it.
func Through(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, throughKey{}, name)
}

// bind makes the socket c, which is about to connect to addr, use the interface that ctx names, if
// any.
func (p *Policy) bind(ctx context.Context, addr netip.AddrPort, c syscall.RawConn) error {
	name, _ := ctx.Value(throughKey{}).(string)
	if name == "" {
		return nil
	}
	view, err := p.lan.view()
	if err != nil {
		return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "the interfaces are not known", Err: err}
	}
	ip := addr.Addr().Unmap()
	if _, local := view.local[ip.WithZone("")]; local || ip.IsLoopback() || ip.Zone() != "" {
		return nil // the zone names the interface
	}
	err = bindToInterface(c, name)
	if err != nil && view.isAmbiguous(ip) {
		return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "several interfaces have the subnet of " + ip.String() + ": give them different ones, or name one with --lan-interface", Err: err}
	}
	return nil // old kernels let only root choose
}

// isAmbiguous reports whether several interfaces have a subnet with ip.
func (v interfacesView) isAmbiguous(ip netip.Addr) bool {
	n := 0
	for _, s := range v.subnets {
		if s.Contains(ip) {
			n++
		}
	}
	return n > 1
}
