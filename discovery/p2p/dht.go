package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	dhtrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	bus "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	dhtPrefix   = "/swarmgate" // of the private DHT's protocol
	dhtProtocol = "/kad/1.0.0" // of all of them
	// publicEnough is how many hosts of the public DHT we must know to leave its seeds alone,
	// which everybody uses.
	publicEnough = 8
	// hiddenAfter is how long a host waits for a connection from others before it warns that they
	// may not reach it.
	hiddenAfter = 30 * time.Second
)

// publicSeeds are the hosts by which everybody enters the Amino DHT.
func publicSeeds() []string {
	var s []string
	for _, m := range dht.DefaultBootstrapPeers {
		s = append(s, m.String())
	}
	return s
}

// table is our place in a DHT. It keeps us there by connections with the seeds.
type table struct {
	// constant after newTable
	dht       *dht.IpfsDHT
	messenger *pb.ProtocolMessenger // sends single messages over the DHT's streams
	private   bool
	lan       *lan
	connect   func(context.Context, target) error
	log       *slog.Logger
	observer  *discovery.Observer

	status  *status
	moved   chan struct{}           // has an element after a host came or went, also in the routing table
	hint    chan struct{}           // has an element when a host of the LAN was seen
	missing atomic.Pointer[trouble] // the seeds that do not answer

	seeds *seedList // owned by run

	around    *surroundings
	notes     chan struct{} // has an element after a change of what caveat returns
	isHidden  atomic.Bool   // nobody has reached us for long
	hiddenFor time.Time     // owned by run; since when nobody has; zero while somebody has

	auto     bool        // reach decides whether we are a server
	switches bus.Emitter // tells the DHT what we are
	serving  atomic.Bool // we are a server

	mu    sync.Mutex
	reach reach // guarded by mu
}

// trouble is how many seeds do not answer, and why; the error is nil if all do.
type trouble struct {
	n   int
	err error
}

// modes are the library's names for Serve.
var modes = map[Serve]dht.ModeOpt{ServeAuto: dht.ModeAuto, ServeAlways: dht.ModeServer, ServeNever: dht.ModeClient}

// newTable makes a DHT on h, which must not have any connection yet. It dials hosts with connect.
func newTable(h host.Host, s settings, g *gater, l *lan, connect func(context.Context, target) error) (*table, error) {
	var opts []dht.Option
	from := newAnnouncers()
	if s.Mode == Public {
		opts = append(opts,
			dht.Mode(dht.ModeClient),
			dht.QueryFilter(func(d any, info peer.AddrInfo) bool {
				good, _ := g.dialable(info.ID, info.Addrs)
				return len(good) > 0 && dht.PublicQueryFilter(d, info)
			}),
			dht.RoutingTableFilter(dht.PublicRoutingTableFilter),
			dht.RoutingTablePeerDiversityFilter(dht.NewRTPeerDiversityFilter(h, 2, 3)),
			dht.AddressFilter(publicAddrs(s.Policy)),
			dht.EnableOptimisticProvide(),
		)
	} else {
		opts = append(opts,
			dht.Mode(modes[s.dhtServe()]),
			dht.ProtocolPrefix(dhtPrefix),
			dht.DisableValues(),
			dht.AddressFilter(tcpAddrs),
			dht.ProviderDatastore(newRecords(maxRecords, maxTopicRecords, maxHostRecords, h.ID(), from.where)),
			dht.ProviderManagerOpts(
				dhtrecords.ProvideValidity(s.RecordValidity),
				dhtrecords.ProviderAddrTTL(s.RecordValidity),
				dhtrecords.CleanupInterval(s.RecordValidity/2),
				dhtrecords.Cache(noCache{}),
			),
		)
	}
	d, err := dht.New(frugalHost{h, from}, opts...)
	if err != nil {
		return nil, fmt.Errorf("p2p: DHT: %w", err)
	}
	messenger, err := pb.NewProtocolMessenger(d.MessageSender())
	if err != nil {
		return nil, fmt.Errorf("p2p: DHT: %w", errors.Join(err, d.Close()))
	}
	t := &table{
		dht: d, messenger: messenger, seeds: newSeedList(s.seeds, s.SeedMin, s.SeedMax), private: s.Mode == Private, lan: l, connect: connect, log: s.Logger, observer: s.Observer,
		status: newStatus(), moved: make(chan struct{}, 1), hint: make(chan struct{}, 1), notes: make(chan struct{}, 1),
		around: g.around,
	}
	t.missing.Store(&trouble{})
	t.serving.Store(t.private && s.dhtServe() == ServeAlways)
	t.auto = t.private && s.dhtServe() == ServeAuto
	if t.switches, err = h.EventBus().Emitter(new(bus.EvtLocalReachabilityChanged), eventbus.Stateful); err != nil {
		return nil, errors.Join(fmt.Errorf("p2p: DHT: %w", err), d.Close())
	}
	for _, o := range t.seeds.configured {
		h.ConnManager().Protect(o.id, tagSeed)
	}
	// Nobody calls these before there is a connection.
	rt := d.RoutingTable()
	added, removed := rt.PeerAdded, rt.PeerRemoved
	rt.PeerAdded = func(p peer.ID) { added(p); wake(t.moved) }
	rt.PeerRemoved = func(p peer.ID) { removed(p); wake(t.moved) }
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(network.Network, network.Conn) { wake(t.moved) },
		DisconnectedF: func(network.Network, network.Conn) { wake(t.moved) },
	})
	return t, nil
}

// tcpAddrs returns the addresses that a private DHT stores and returns for a host.
func tcpAddrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, func(m ma.Multiaddr) bool { _, ok := plainTCP(m); return ok })
}

// publicAddrs returns the filter for addresses that we announce on the public DHT, and for those
// of others that we keep: addresses that p allows, and our own public ones, which p forbids to
// dial.
func publicAddrs(p *discovery.Policy) func([]ma.Multiaddr) []ma.Multiaddr {
	public, _ := discovery.NewPolicy(discovery.PolicyConfig{}) // an empty config has no mistakes
	return func(addrs []ma.Multiaddr) []ma.Multiaddr {
		return ma.FilterAddrs(addrs, func(m ma.Multiaddr) bool {
			a, ok := plainTCP(m)
			return ok && (public.Check(discovery.SourcePublic, a) == nil || p.Check(discovery.SourcePublic, a) == nil)
		})
	}
}

// empty reports whether no other host of the DHT is known.
func (t *table) empty() bool { return t.dht.RoutingTable().Size() == 0 }

// run keeps us in the DHT until ctx ends.
func (t *table) run(ctx context.Context) {
	type result struct {
		seed *seed
		err  error
	}
	results := make(chan result)
	var dials sync.WaitGroup
	defer dials.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	lookAround := t.private
	for ctx.Err() == nil {
		now := time.Now()
		if lookAround {
			t.seeds.sawLAN(t.lan.all())
		}
		lookAround = false
		isNew := t.seeds.update(now, t.connectedSince)
		t.serveOrNot()
		again, err := t.seeds.verdict(now)
		known := err != nil
		if !t.empty() || err == errAlone && t.isUsed() {
			err, known = nil, true
		}
		if known && t.status.set(err) {
			t.note(err)
		} else if isNew {
			t.status.touch()
		}
		if t.private || t.dht.RoutingTable().Size() < publicEnough {
			dial, next := t.seeds.due(now)
			for _, s := range dial {
				dials.Go(func() {
					r := result{s, t.connect(ctx, s.target)}
					select {
					case results <- r:
					case <-ctx.Done():
					}
				})
			}
			if again.IsZero() || next.Before(again) {
				again = next
			}
		}
		n, err := t.seeds.missing()
		if was := t.missing.Swap(&trouble{n, err}); was.n != n {
			wake(t.notes)
		}
		if again.IsZero() {
			again = now.Add(t.seeds.max)
		}
		if next := t.noteReach(now); !next.IsZero() && next.Before(again) {
			again = next
		}
		timer.Reset(again.Sub(now))
		select {
		case <-timer.C:
			lookAround = t.private
		case <-t.hint:
			lookAround = t.private
		case <-t.moved:
		case r := <-results:
			if t.seeds.dialed(r.seed, r.err, time.Now()) && len(t.seeds.configured) > 1 {
				t.log.Warn("a seed of the DHT does not answer", "error", r.seed.err)
			}
		case <-ctx.Done():
		}
	}
}

// reached notes that somebody has connected to us from an address.
func (t *table) reached(from netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reach.best < fromWorld && t.reach.reached(t.around.distance(from.Addr())) {
		wake(t.moved)
	}
}

// serveOrNot makes us a server or a client of the DHT, as reach says.
func (t *table) serveOrNot() {
	if !t.auto {
		return
	}
	var conns []seedConn
	for _, o := range t.seeds.configured {
		for _, c := range t.dht.Host().Network().ConnsToPeer(o.id) {
			local, ok := plainTCP(c.LocalMultiaddr())
			if remote, remoteOK := plainTCP(c.RemoteMultiaddr()); ok && remoteOK {
				conns = append(conns, seedConn{local.Addr(), t.around.distance(remote.Addr())})
			}
		}
	}
	t.mu.Lock()
	t.reach.seeds(conns)
	serves := t.reach.serves()
	t.mu.Unlock()
	if serves == t.serving.Load() {
		return
	}
	t.serving.Store(serves)
	change := bus.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPrivate}
	if serves {
		change.Reachability = network.ReachabilityPublic
	}
	if err := t.switches.Emit(change); err != nil {
		t.log.Error("cannot start or stop serving the DHT", "error", err)
	}
	if serves {
		t.log.Info("a server of the DHT: others can connect to this host")
	} else {
		t.log.Info("a client of the DHT: nobody has connected to this host from where its seeds are")
	}
}

// errHidden is why others may not find a host that is in the DHT.
var errHidden = wtproto.Errorf(wtproto.CodePeerUnreachable,
	"it works, but nobody has connected to this host yet, so others may not reach it: forward its TCP port, and announce where others reach it (--p2p-announce)")

// caveat returns what is wrong although we are in the DHT: others may not reach us, or seeds by
// which they enter do not answer. It is nil if nothing is wrong.
func (t *table) caveat() error {
	if t.isHidden.Load() {
		return errHidden
	}
	if works, _, _ := t.status.get(); !works {
		return nil
	}
	return t.err()
}

// noteReach notes whether nobody has reached us for long, and returns when to check again, or
// zero.
func (t *table) noteReach(now time.Time) (again time.Time) {
	works, _, _ := t.status.get()
	hidden := false
	switch {
	case !works || !t.auto || t.serving.Load():
		t.hiddenFor = time.Time{}
	case t.hiddenFor.IsZero():
		t.hiddenFor = now
		again = now.Add(hiddenAfter)
	case now.Sub(t.hiddenFor) < hiddenAfter:
		again = t.hiddenFor.Add(hiddenAfter)
	default:
		hidden = true
	}
	if t.isHidden.Swap(hidden) != hidden {
		wake(t.notes)
	}
	return again
}

// trouble returns why we are not in the DHT, as of now: the first host may have come after run has
// looked.
func (t *table) trouble() error {
	works, _, err := t.status.get()
	if works || err == errAlone && (!t.empty() || t.isUsed()) {
		return nil
	}
	return err
}

// isUsed reports whether a host is connected that may be a client of our DHT.
func (t *table) isUsed() bool {
	h := t.dht.Host()
	return slices.ContainsFunc(h.Network().Peers(), func(id peer.ID) bool {
		p, err := h.Peerstore().SupportsProtocols(id, wtproto.HostProtocol)
		return err == nil && len(p) > 0
	})
}

// note logs that we are in the DHT, or why not.
func (t *table) note(err error) {
	switch {
	case err == nil:
		t.log.Info("joined the DHT")
	case len(t.seeds.configured) == 0:
		t.log.Info("the DHT has no other host yet")
	default:
		t.log.Warn("not in the DHT", "error", err)
	}
}

// connectedSince returns when the connection with a host began, or zero without one.
func (t *table) connectedSince(id peer.ID) (since time.Time) {
	for _, c := range t.dht.Host().Network().ConnsToPeer(id) {
		if opened := c.Stat().Opened; !c.IsClosed() && (since.IsZero() || opened.Before(since)) {
			since = opened
		}
	}
	return since
}

// err returns why we are not in the DHT, or the seeds that do not answer though we are in it.
func (t *table) err() error {
	if works, _, err := t.status.get(); !works {
		return err
	}
	if t.private || t.empty() {
		return t.missing.Load().err
	}
	return nil
}

// whereIs looks up the addresses of a host.
func (t *table) whereIs(ctx context.Context, id peer.ID) ([]ma.Multiaddr, error) {
	info, err := t.dht.FindPeer(ctx, id)
	return info.Addrs, err
}

// close ends the DHT. run must have returned.
func (t *table) close() error { return errors.Join(t.switches.Close(), t.dht.Close()) }
