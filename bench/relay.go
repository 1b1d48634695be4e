package main

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	p2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// This file is a relay of libp2p (circuit relay v2) with its limits lifted, over TCP, which is the
// fastest of libp2p's transports here: the bytes of a host, through the relay, to another host.

// newHost returns a host without limits, which listens at an address, or at none.
func newHost(listen ...string) (host.Host, error) {
	opts := []libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport), libp2p.ResourceManager(&p2pnet.NullResourceManager{}),
		libp2p.DisableMetrics(), libp2p.EnableRelay(),
	}
	if len(listen) == 0 {
		return libp2p.New(append(opts, libp2p.NoListenAddrs)...)
	}
	return libp2p.New(append(opts, libp2p.ListenAddrStrings(listen...))...)
}

// addrOf returns the first address of a host, with its id.
func addrOf(h host.Host) string { return fmt.Sprintf("%v/p2p/%v", h.Addrs()[0], h.ID()) }

// serveRelay is the role of the relay.
func serveRelay(on string) error {
	h, err := newHost("/ip4/" + on + "/tcp/0")
	if err != nil {
		return err
	}
	limits := relay.DefaultResources()
	limits.Limit, limits.BufferSize, limits.MaxCircuits = nil, 64<<10, 1<<16
	_, err = relay.New(h, relay.WithResources(limits), relay.WithReservationAddressFilter(func(multiaddr.Multiaddr) bool { return true }))
	if err != nil {
		return err
	}
	return answerCalls(listening{Addr: addrOf(h)}, nil)
}

// serveRelayed is the role of the host behind the relay. It says at which address it is there.
func serveRelayed(relayAddr string) error {
	h, err := newHost()
	if err != nil {
		return err
	}
	at, err := peer.AddrInfoFromString(relayAddr)
	if err != nil {
		return err
	}
	h.SetStreamHandler(rawProtocol, func(s p2pnet.Stream) {
		defer s.Close()
		serve(s)
	})
	if _, err := client.Reserve(context.Background(), h, *at); err != nil {
		return err
	}
	return answerCalls(listening{Addr: fmt.Sprintf("%s/p2p-circuit/p2p/%v", relayAddr, h.ID())}, nil)
}

// relayFar is a connection through the relay.
type relayFar struct {
	host host.Host
	to   peer.ID
}

func (w way) dialRelay(ctx context.Context) (far, error) {
	h, err := newHost()
	if err != nil {
		return nil, err
	}
	f := relayFar{host: h}
	to, err := peer.AddrInfoFromString(w.Addr)
	if err == nil {
		f.to = to.ID
		err = h.Connect(ctx, *to)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f relayFar) open(ctx context.Context) (stream, error) {
	s, err := f.host.NewStream(p2pnet.WithAllowLimitedConn(ctx, "bench"), f.to, rawProtocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (f relayFar) close() { f.host.Close() }
