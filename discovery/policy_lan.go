package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// interfacesAge is how old the list of interfaces of a check may be. Reading the list costs a few
// system calls, and a look-up in a DHT checks hundreds of addresses.
const interfacesAge = 2 * time.Second

// Interface is a network interface with the subnets of its addresses.
type Interface struct {
	net.Interface
	Subnets []netip.Prefix // unmapped, masked, without zone
	locals  []netip.Addr
}

// interfaces reads the machine's interfaces and remembers them for a moment.
type interfaces struct {
	names []string                    // constant; the LAN, empty for a choice by kind
	any   bool                        // constant; names may be of any kind
	read  func() ([]Interface, error) // constant

	mu   sync.Mutex
	last interfacesView // guarded by mu
	at   time.Time      // guarded by mu; when last was read
}

// interfacesView is the state of interfaces at one moment. Nobody changes it later.
type interfacesView struct {
	lan     []Interface
	local   map[netip.Addr]struct{} // every address of the machine, without zone
	subnets []netip.Prefix          // of all interfaces but loopback
}

// view returns the interfaces as they are now, or were a moment ago. It does not remember errors.
func (i *interfaces) view() (interfacesView, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.at.IsZero() && time.Since(i.at) < interfacesAge {
		return i.last, nil
	}
	all, err := i.read()
	if err != nil {
		return interfacesView{}, fmt.Errorf("discovery: policy: interfaces: %w", err)
	}
	v := interfacesView{local: make(map[netip.Addr]struct{})}
	for _, f := range all {
		for _, a := range f.locals {
			v.local[a] = struct{}{}
		}
		if f.Flags&net.FlagLoopback == 0 {
			v.subnets = append(v.subnets, f.Subnets...)
		}
		if i.isLAN(f) {
			v.lan = append(v.lan, f)
		}
	}
	i.last, i.at = v, time.Now()
	return v, nil
}

// isLAN reports whether f is one of those named or, without names, of the ordinary kind.
func (i *interfaces) isLAN(f Interface) bool {
	special := f.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0
	switch {
	case f.Flags&net.FlagUp == 0:
		return false
	case len(i.names) == 0:
		return !special && f.Flags&net.FlagMulticast != 0
	default:
		return (!special || i.any) && slices.Contains(i.names, f.Name)
	}
}

// readInterfaces asks the kernel.
func readInterfaces() ([]Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]Interface, 0, len(list))
	for _, f := range list {
		addrs, err := f.Addrs()
		if err != nil {
			return nil, err
		}
		i := Interface{Interface: f}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			if !ok {
				continue
			}
			ip = ip.Unmap()
			i.locals = append(i.locals, ip)
			if s, err := ip.Prefix(bits); err == nil {
				i.Subnets = append(i.Subnets, s)
			}
		}
		out = append(out, i)
	}
	return out, nil
}
