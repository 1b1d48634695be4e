package main

import (
	"bufio"
	"slices"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	p2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protodelim"
)

const (
	// slowAnswer is how long a look-up takes.
	slowAnswer = 3 * time.Second
	// slowHosts are there before the first look-up.
	slowHosts = 80
	// kadProtocol is that of swarmgate's private DHT.
	kadProtocol = protocol.ID("/swarmgate/kad/1.0.0")
)

// slowDHT is a DHT on which each look-up takes slowAnswer, whose hosts are all in this process. All
// enter by one host. It answers a look-up at once with another host, which nobody has asked yet,
// and that one answers late, with the records. From then on it answers at once too. (One that took
// its time each time would be asked by many look-ups, one after the other, as soon as the gateway
// knows it.)
type slowDHT struct {
	fresh chan *slowHost

	mu      sync.Mutex
	records map[string][]*pb.Message_Peer // guarded by mu; by key
	sent    map[string]*slowHost          // guarded by mu; to whom look-ups of a key are sent now
}

// slowHost is a host that is late once.
type slowHost struct {
	peer.AddrInfo
	asked sync.Once
}

// serveSlowDHT is the role of a slow DHT. It answers with how many keys have records.
func serveSlowDHT() error {
	d := &slowDHT{fresh: make(chan *slowHost, slowHosts), records: map[string][]*pb.Message_Peer{}, sent: map[string]*slowHost{}}
	h, err := newHost("/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return err
	}
	h.SetStreamHandler(kadProtocol, func(s p2pnet.Stream) { d.serve(s, d.answer) })
	for range slowHosts {
		if err := d.addHost(); err != nil {
			return err
		}
	}
	go func() {
		for d.addHost() == nil { // which waits until somebody takes one
		}
	}()
	return answerCalls(listening{Addr: addrOf(h)}, func([]byte) (any, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return outcome{Done: len(d.records)}, nil
	})
}

// addHost adds a host that nobody has asked.
func (d *slowDHT) addHost() error {
	h, err := newHost("/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return err
	}
	self := &slowHost{AddrInfo: peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}}
	h.SetStreamHandler(kadProtocol, func(s p2pnet.Stream) {
		d.serve(s, func(m *pb.Message) {
			late := false
			self.asked.Do(func() { late = true })
			if late {
				d.answerLate(m)
			} else {
				d.answer(m)
			}
		})
	})
	d.fresh <- self
	return nil
}

// serve answers the messages of a stream. answer makes a request its answer.
func (d *slowDHT) serve(s p2pnet.Stream, answer func(*pb.Message)) {
	defer s.Close()
	r := bufio.NewReader(s)
	for {
		m := new(pb.Message)
		if err := protodelim.UnmarshalFrom(r, m); err != nil {
			return
		}
		switch m.Type {
		case pb.Message_ADD_PROVIDER: // it has no answer
			d.mu.Lock()
			d.records[string(m.Key)] = slices.Clone(m.ProviderPeers)
			d.mu.Unlock()
			continue
		case pb.Message_GET_PROVIDERS:
			answer(m)
		}
		if _, err := protodelim.MarshalTo(s, m); err != nil {
			return
		}
	}
}

// answer sends a look-up to a host that nobody has asked.
func (d *slowDHT) answer(m *pb.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.sent[string(m.Key)]
	if h == nil {
		select {
		case h = <-d.fresh:
			d.sent[string(m.Key)] = h
		default:
			return // more look-ups than expected: this one finds nobody
		}
	}
	m.CloserPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{h.AddrInfo})
}

// answerLate is the answer of that host.
func (d *slowDHT) answerLate(m *pb.Message) {
	<-time.After(slowAnswer)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sent, string(m.Key))
	m.ProviderPeers = d.records[string(m.Key)]
}
