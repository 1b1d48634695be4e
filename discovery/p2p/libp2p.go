package p2p

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/tcpreuse"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	// StreamWindow is how much unread data of one circuit a host holds at most, in bytes. It
	// begins with a quarter of that, and grows while the circuit is read fast.
	StreamWindow = 1 << 20
	// MaxCircuits is the largest number of circuits between two hosts.
	MaxCircuits = 2048

	maxStreams      = MaxCircuits + 16 // streams of our protocol that another host may have open to this one
	maxConns        = 4096             // each way
	maxConnsAll     = 6144             // both ways together
	maxConnsAddress = 64               // in from an IPv4 address or an IPv6 /56
	// othersKept is how many connections without circuits and meetings, such as those of the DHT,
	// the connection manager keeps. If there are more than trimFrom connections in all, it checks
	// them every 10 s. It does not cut connections that are younger than a minute.
	othersKept, trimFrom = 512, 768
)

// newLibp2p returns a libp2p host that does not listen yet.
func newLibp2p(s settings, g *gater, o *observed) (host.Host, error) {
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits()),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxConnsAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: maxConnsAddress}, {PrefixLength: 48, ConnCount: 8 * maxConnsAddress}},
		),
		rcmgr.WithConnRateLimiters(connRate()))
	if err != nil {
		return nil, fmt.Errorf("p2p: resource manager: %w", err)
	}
	conns, err := connmgr.NewConnManager(othersKept, trimFrom)
	if err != nil {
		resources.Close()
		return nil, fmt.Errorf("p2p: connection manager: %w", err)
	}
	options := []tcp.Option{tcp.WithConnectionTimeout(s.DialTimeout)}
	if s.Mode != Public {
		// Dialing from the listen port shows others our address behind a router, which matters on
		// the public DHT only. But two hosts that dial each other that way at the same moment get
		// one TCP connection of which both are the client.
		options = append(options, tcp.DisableReuseport())
	}
	entrance := newDoor()
	newTransport := func(u transport.Upgrader, r network.ResourceManager, shared *tcpreuse.ConnMgr) (*limitedTransport, error) {
		t, err := tcp.NewTCPTransport(guardedUpgrader{u, entrance}, r, shared, options...)
		return &limitedTransport{t, g}, err
	}
	// Forced, so that libp2p asks nobody to dial back. The DHT begins with this value.
	reachability := libp2p.ForceReachabilityPublic
	if s.Mode == Private && s.dhtServe() != ServeAlways {
		reachability = libp2p.ForceReachabilityPrivate
	}
	tell := func(addrs []ma.Multiaddr) []ma.Multiaddr {
		if len(s.announce) > 0 {
			return s.announce
		}
		return o.add(addrs)
	}
	h, err := libp2p.New(
		libp2p.Identity(s.key),
		libp2p.UserAgent("swarmgate"),
		libp2p.NoListenAddrs,
		libp2p.AddrsFactory(tell),
		libp2p.Transport(newTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, newMuxer(s.KeepAlive)),
		libp2p.ConnectionGater(g),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.MultiaddrResolver(noNames{}),
		libp2p.SwarmOpts(swarm.WithDialRanker(g.rankDials), swarm.WithDialTimeoutLocal(s.DialTimeout)),
		libp2p.WithDialTimeout(s.DialTimeout),
		libp2p.DisableRelay(),
		reachability(),
		libp2p.DisableMetrics(),
	)
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	return h, nil
}

// newMuxer returns yamux with a bounded window. Each of its messages fits into one of Noise; with
// yamux's own size the last bytes of each would be one more.
func newMuxer(keepAlive time.Duration) *yamux.Transport {
	t := *yamux.DefaultTransport
	t.MaxStreamWindowSize = StreamWindow
	t.MaxMessageSize = noise.MaxPlaintextLength
	t.KeepAliveInterval = keepAlive
	t.ConnectionWriteTimeout = keepAlive // also the wait for the answer
	return &t
}

// limits bound what one host and all hosts together may have open. They do not count memory,
// because yamux would drop a whole connection when it is used up. Instead they count streams, each
// of which holds at most StreamWindow.
func limits() rcmgr.ConcreteLimitConfig {
	const others = 16 // streams of other protocols; hosts of the DHT use one or two
	return rcmgr.PartialLimitConfig{
		System:              rcmgr.ResourceLimits{Conns: maxConnsAll, ConnsInbound: maxConns, ConnsOutbound: maxConns, StreamsInbound: 32 * maxStreams},
		Transient:           rcmgr.ResourceLimits{ConnsInbound: maxConns / 8, StreamsInbound: 2 * maxStreams},
		PeerDefault:         rcmgr.ResourceLimits{ConnsInbound: 8, ConnsOutbound: 8, StreamsInbound: maxStreams + 4*others},
		ProtocolDefault:     rcmgr.ResourceLimits{StreamsInbound: 8 * maxStreams},
		ProtocolPeerDefault: rcmgr.ResourceLimits{StreamsInbound: others},
		Protocol: map[protocol.ID]rcmgr.ResourceLimits{
			wtproto.HostProtocol: {StreamsInbound: rcmgr.Unlimited},
		},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{
			wtproto.HostProtocol: {StreamsInbound: maxStreams, StreamsOutbound: maxStreams},
		},
	}.Build(rcmgr.InfiniteLimits)
}

// connRate is how fast one address may connect. Loopback may always.
func connRate() *rate.Limiter {
	limit := rate.Limit{RPS: 4, Burst: 2 * maxConnsAddress}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: limit}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: limit}},
			GracePeriod:      time.Minute,
		},
	}
}

// limitedTransport is TCP that asks the policy before each connection. A connection whose host
// proves its id counts as a success.
type limitedTransport struct {
	*tcp.TcpTransport
	gater *gater
}

// Dial connects to a host.
func (t *limitedTransport) Dial(ctx context.Context, m ma.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	return t.DialWithUpdates(ctx, m, id, nil)
}

// DialWithUpdates connects to a host, and reports its progress.
func (t *limitedTransport) DialWithUpdates(
	ctx context.Context, m ma.Multiaddr, id peer.ID, updates chan<- transport.DialUpdate,
) (transport.CapableConn, error) {
	addr, ok := plainTCP(m)
	if !ok {
		return nil, wtproto.Errorf(wtproto.CodeForbidden, "%s is not an IP address with TCP", m)
	}
	src, err := t.gater.source(id, addr)
	who := t.gater.payer(id)
	if err == nil {
		err = t.gater.policy.Spend(who, src, addr)
	}
	if err != nil {
		return nil, err
	}
	c, err := t.TcpTransport.DialWithUpdates(ctx, m, id, updates)
	if err == nil {
		t.gater.policy.Refund(who, src, addr)
	}
	return c, err
}
