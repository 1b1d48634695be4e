package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
)

// thirdParty is who the cannon aims at.
const thirdParty = "127.0.0.99"

// cannon is a DHT server that knows 20 new providers of whatever it is asked for, all at the same
// third party, and has clients ask for many topics. It counts the connections that the third party
// gets.
func cannon(ctx context.Context, t target) {
	victim, err := net.Listen("tcp", net.JoinHostPort(thirdParty, "0"))
	if err != nil {
		panic(err)
	}
	context.AfterFunc(ctx, func() { victim.Close() })
	go func() {
		for {
			conn, err := victim.Accept()
			if err != nil {
				return
			}
			t.tally.count(nil)
			conn.Close()
		}
	}()
	if err := liar(ctx, t, victim.Addr()); err != nil {
		panic(err)
	}
	for _, s := range t.openAll(ctx, 64) {
		go s.discard()
		for range 64 {
			s.join(randomTopic(), both, 1000)
		}
	}
}

// liar starts the DHT server and lets the gateway know of it.
func liar(ctx context.Context, t target, victim net.Addr) error {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%v/tcp/0", t.from)),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPublic(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { h.Close() })
	at := ma.StringCast(fmt.Sprintf("/ip4/%s/tcp/%d", thirdParty, victim.(*net.TCPAddr).Port))
	var d *dht.IpfsDHT
	ready := make(chan struct{})
	d, err = dht.New(h, dht.Mode(dht.ModeServer), dht.ProtocolPrefix("/swarmgate"), dht.DisableValues(), dht.DisableAutoRefresh(),
		dht.OnRequestHook(func(_ context.Context, _ network.Stream, m *pb.Message) {
			if m.GetType() != pb.Message_GET_PROVIDERS {
				return
			}
			<-ready
			for range 20 {
				if id, err := madeUp(); err == nil {
					h.Peerstore().AddAddr(id, at, peerstore.TempAddrTTL)
					d.ProviderStore().AddProvider(ctx, m.GetKey(), peer.AddrInfo{ID: id})
				}
			}
		}))
	if err != nil {
		return err
	}
	close(ready)
	context.AfterFunc(ctx, func() { d.Close() })
	gateway, err := peer.AddrInfoFromP2pAddr(t.host)
	if err != nil {
		return err
	}
	return h.Connect(ctx, *gateway)
}

// madeUp returns the id of a host that is not there.
func madeUp() (peer.ID, error) {
	_, key, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(key)
}
