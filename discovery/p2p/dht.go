package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	dhtrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	dhtPrefix  = "/swarmgate"    // of the private DHT's protocol
	settleTime = 2 * time.Second // for a host that we connected to, to turn up in the routing table
)

// publicSeeds are the hosts by which everybody enters the Amino DHT.
func publicSeeds() []string {
	var s []string
	for _, m := range dht.DefaultBootstrapPeers {
		s = append(s, m.String())
	}
	return s
}

// table is our place in a DHT. It keeps us there: whenever no other host of it is known, it
// connects to the seeds.
type table struct {
	// constant after newTable
	dht      *dht.IpfsDHT
	seeds    []target
	private  bool
	lan      *lan
	connect  func(context.Context, target) error
	log      *slog.Logger
	observer *discovery.Observer
	seedMin  time.Duration
	seedMax  time.Duration
	provides chan struct{} // one element for each announcement that runs
	lookUps  chan struct{} // one element for each look-up that runs

	status *status
	moved  chan struct{}  // has an element when a host came to the routing table or left it
	hint   chan struct{}  // has an element when a host of the LAN was seen
	dials  sync.WaitGroup // to seeds
}

// newTable makes a DHT on h, which must not have any connection yet. connect is how hosts are dialed.
func newTable(h host.Host, s settings, g *gater, l *lan, connect func(context.Context, target) error) (*table, error) {
	var opts []dht.Option
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
			dht.Mode(dht.ModeServer),
			dht.ProtocolPrefix(dhtPrefix),
			dht.DisableValues(),
			dht.AddressFilter(tcpAddrs),
			dht.ProviderDatastore(newRecords(maxRecords, maxTopicRecords)),
			dht.ProviderManagerOpts(
				dhtrecords.ProvideValidity(s.RecordValidity),
				dhtrecords.ProviderAddrTTL(s.RecordValidity),
				dhtrecords.CleanupInterval(s.RecordValidity/2),
			),
		)
	}
	d, err := dht.New(frugalHost{h}, opts...)
	if err != nil {
		return nil, fmt.Errorf("p2p: DHT: %w", err)
	}
	t := &table{
		dht: d, seeds: s.seeds, private: s.Mode == Private, lan: l, connect: connect, log: s.Logger, observer: s.Observer,
		seedMin: s.SeedMin, seedMax: s.SeedMax,
		provides: make(chan struct{}, maxProvides), lookUps: make(chan struct{}, maxLookUps),
		status: newStatus(), moved: make(chan struct{}, 1), hint: make(chan struct{}, 1),
	}
	// Nobody calls these before there is a connection.
	rt := d.RoutingTable()
	added, removed := rt.PeerAdded, rt.PeerRemoved
	rt.PeerAdded = func(p peer.ID) { added(p); wake(t.moved) }
	rt.PeerRemoved = func(p peer.ID) { removed(p); wake(t.moved) }
	return t, nil
}

// tcpAddrs is what a private DHT stores and tells of a host.
func tcpAddrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	return ma.FilterAddrs(addrs, func(m ma.Multiaddr) bool { _, ok := plainTCP(m); return ok })
}

// publicAddrs returns the filter for what the public DHT is told of us and what we keep of others:
// what p allows, and what is public though p does not allow it because it is ours.
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
	defer t.dials.Wait()
	retry := backoff.New(t.seedMin, t.seedMax)
	for ctx.Err() == nil {
		err := t.enter(ctx)
		if ctx.Err() != nil {
			return
		}
		if t.status.set(err) {
			switch {
			case err == nil:
				t.log.Info("joined the DHT")
			case len(t.seeds) == 0:
				t.log.Info("the DHT has no other host yet")
			default:
				t.log.Warn("not in the DHT", "error", err)
			}
		}
		if err == nil {
			retry.Reset()
			select {
			case <-t.moved:
			case <-ctx.Done():
			}
			continue
		}
		timer := time.NewTimer(retry.Next())
		select {
		case <-timer.C:
		case <-t.moved: // somebody connected to us
		case <-t.hint:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// enter returns nil once another host of the DHT is known, after connecting to the seeds if need
// be, or why there is none.
func (t *table) enter(ctx context.Context) error {
	if !t.empty() {
		return nil
	}
	targets := t.seeds
	if t.private {
		targets = append(targets[:len(targets):len(targets)], t.lan.all()...)
	}
	if len(targets) == 0 {
		return wtproto.Errorf(wtproto.CodePeerUnreachable, "no other host of the DHT is known, and no seed is configured")
	}
	type result struct {
		target int
		err    error
	}
	results := make(chan result, len(targets))
	for i, target := range targets {
		t.dials.Go(func() { results <- result{i, t.connect(ctx, target)} })
	}
	errs, failed := make([]error, len(targets)), 0 // in the order of targets, so that the same trouble has the same words
	settle := time.NewTimer(0)                     // runs once all have answered
	settle.Stop()
	defer settle.Stop()
	for n := 0; t.empty(); {
		select {
		case r := <-results:
			if r.err != nil {
				errs[r.target] = r.err
				failed++
			}
			if n++; n < len(targets) {
				continue
			}
			if failed == n {
				return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "no seed of the DHT answers", Err: errors.Join(errs...)}
			}
			settle.Reset(settleTime)
		case <-t.moved:
		case <-settle.C:
			return wtproto.Errorf(wtproto.CodePeerUnreachable, "the seeds answer, but are not in the DHT")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// whereIs looks for the addresses of a host.
func (t *table) whereIs(ctx context.Context, id peer.ID) ([]ma.Multiaddr, error) {
	info, err := t.dht.FindPeer(ctx, id)
	return info.Addrs, err
}

// close ends the DHT. run must have returned.
func (t *table) close() error { return t.dht.Close() }
