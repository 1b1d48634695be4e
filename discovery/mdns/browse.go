package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/grandcat/zeroconf"

	"github.com/swarmgate/swarmgate/discovery"
)

// domain is the domain of multicast DNS.
const domain = "local."

// browse asks for the instances of s and sends what comes to found until ctx ends, or returns early where it cannot ask.
// found must be read for as long as browse runs.
//
// A zeroconf resolver asks until the first answer and then listens only, reports an instance once, and gives up when it
// can use one IP family alone. So there is a new one for each browse and each family.
func browse(ctx context.Context, s *service, ifaces []discovery.Interface, found chan<- record) error {
	families := []zeroconf.IPType{zeroconf.IPv4, zeroconf.IPv6}
	errs := make([]error, len(families))
	var wg sync.WaitGroup
	for i, family := range families {
		wg.Go(func() { errs[i] = browseFamily(ctx, s, family, ifaces, found) })
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			return nil // one family is enough
		}
	}
	return fmt.Errorf("mdns: browse %s: %w", s.name, errors.Join(errs...))
}

func browseFamily(ctx context.Context, s *service, family zeroconf.IPType, ifaces []discovery.Interface, found chan<- record) error {
	r, err := zeroconf.NewResolver(zeroconf.SelectIPTraffic(family), zeroconf.SelectIfaces(plain(ifaces)))
	if err != nil {
		return err
	}
	entries := make(chan *zeroconf.ServiceEntry, 16)
	err = r.Browse(ctx, s.name, domain, entries)
	for e := range entries { // closed once ctx ends or the query failed; a resolver that is not read to the end leaks
		if rec, ok := s.newRecord(e); ok {
			found <- rec
		}
	}
	return err
}

// plain returns ifaces as net knows them.
func plain(ifaces []discovery.Interface) []net.Interface {
	out := make([]net.Interface, len(ifaces))
	for i, f := range ifaces {
		out[i] = f.Interface
	}
	return out
}
