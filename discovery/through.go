package discovery

import (
	"context"
	"net/netip"
	"syscall"

	"github.com/swarmgate/swarmgate/wtproto"
)

// throughKey is the key of the interface's name in a context.
type throughKey struct{}

// Through returns a context whose dials by [Policy.Dialer] go out of the interface with this name:
// an address that was heard of there may be that of another machine elsewhere, if two interfaces
// have one subnet or a route says so. Dials to addresses of this machine are as without. On
// systems other than Linux nothing makes sure of it.
func Through(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, throughKey{}, name)
}

// bind has the socket c, which is to be connected with addr, go out of the interface that ctx
// names, if any.
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
		return nil // what a zone says is enough
	}
	err = bindToInterface(c, name)
	if err != nil && view.isAmbiguous(ip) {
		return &wtproto.Error{Code: wtproto.CodeForbidden, Reason: "several interfaces have the subnet of " + ip.String() + ": give them different ones, or name one with --lan-interface", Err: err}
	}
	return nil // old kernels let only root choose
}

// isAmbiguous reports whether ip is in subnets of several interfaces.
func (v interfacesView) isAmbiguous(ip netip.Addr) bool {
	n := 0
	for _, s := range v.subnets {
		if s.Contains(ip) {
			n++
		}
	}
	return n > 1
}
