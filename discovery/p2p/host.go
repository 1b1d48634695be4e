package p2p

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	bus "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-yamux/v5"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// flushTime is how long Close waits for others to receive written bytes.
const flushTime = 500 * time.Millisecond

// Host is a libp2p host that is on topics. It is a [discovery.Network]; its methods may be called
// by several goroutines at once.
type Host struct {
	// constant after Listen
	settings
	id     peer.ID
	libp2p host.Host
	gater  *gater
	copies *copies
	// observed has our addresses that seeds have shown.
	observed observed
	lan      *lan
	ties     *ties
	links    *links
	dials    *dials
	run      wtproto.Run // names this life of the program to others
	table    *table      // nil if Mode is Off
	planner  *planner
	names    names
	decoy    wtproto.Topic // to check the proofs of topics that we are not on
	log      *slog.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup // of table.run, callBack, lookForCopies, planner.run and watch
	serves   taskGroup      // of streams that others open, and of links
	closed   func() error   // Close, once

	mu       sync.Mutex
	topics   map[[32]byte]*topic // guarded by mu; by digest
	circuits map[pair]*inbound   // guarded by mu; those that others opened, from OPEN to the end
}

var (
	_ discovery.Network  = (*Host)(nil)
	_ discovery.Follower = (*Host)(nil)
	_ discovery.Compound = (*Host)(nil)
)

// Listen starts a host. Its error has every mistake in cfg, or names the address on which it
// cannot listen. Listen does not wait for other hosts: [Host.Err] says whether the host has
// reached the DHT. The caller must close the host.
func Listen(cfg Config) (*Host, error) {
	s, err := cfg.read()
	if err != nil {
		return nil, fmt.Errorf("p2p: config: %w", err)
	}
	h := &Host{
		settings: s,
		lan:      newLAN(s.HoldLAN),
		names:    systemNames(),
		copies:   newCopies(),
		topics:   make(map[[32]byte]*topic),
		circuits: make(map[pair]*inbound),
	}
	h.gater = newGater(s.Policy, h.lan)
	h.observed.trust(s.seeds)
	rand.Read(h.decoy[:])
	rand.Read(h.run[:])
	h.links = newLinks(h)
	h.dials = newDials(s.Observer)
	if h.libp2p, err = newLibp2p(s, h.gater, &h.observed); err != nil {
		return nil, err
	}
	h.id = h.libp2p.ID()
	h.log = s.Logger.With("host", h.id.String())
	h.gater.self, h.gater.arrived = h.id, h.arrived
	h.ties = newTies(h.libp2p.ConnManager())
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.closed = sync.OnceValue(h.close)
	if err := h.start(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Host) start() error {
	h.libp2p.SetStreamHandler(wtproto.HostProtocol, h.serve)
	if h.Mode != Off {
		var err error
		if h.table, err = newTable(h.libp2p, h.settings, h.gater, h.lan, func(ctx context.Context, t target) error {
			return h.connect(ctx, t, nil)
		}); err != nil {
			return err
		}
		h.gater.reached = h.reached
	}
	var w walker
	if h.table != nil {
		w = h.table
	}
	h.planner = newPlanner(w, &h.settings)
	for _, m := range h.listen {
		if err := h.libp2p.Network().Listen(m); err != nil {
			return fmt.Errorf("p2p: listen on %s: %w", m, err)
		}
	}
	for _, m := range append(h.libp2p.Network().ListenAddresses(), h.announce...) {
		if a, ok := plainTCP(m); ok {
			h.Policy.AddOwn(a)
		}
	}
	h.wg.Go(func() { h.planner.run(h.ctx) })
	h.wg.Go(func() { h.lookForCopies(h.ctx) })
	if h.table == nil {
		return nil
	}
	if h.Mode == Private && h.dhtServe() != ServeNever {
		sub, err := h.libp2p.EventBus().Subscribe([]any{
			new(bus.EvtPeerIdentificationCompleted), new(bus.EvtPeerProtocolsUpdated), new(bus.EvtPeerConnectednessChanged),
		})
		if err != nil {
			return fmt.Errorf("p2p: %w", err)
		}
		h.wg.Go(func() { h.callBack(h.ctx, sub) })
	}
	h.wg.Go(func() { h.table.run(h.ctx) })
	h.wg.Go(h.watch)
	return nil
}

// reached notes that a host has connected to our port from an address.
func (h *Host) reached(id peer.ID, from netip.AddrPort, port uint16) {
	h.table.reached(from)
	if len(h.announce) > 0 || !h.observed.reached(id, from.Addr(), port) {
		return
	}
	h.Policy.AddOwn(h.observed.addrs()...)
	h.log.Info("others reach this host at an address of a router", "addresses", h.observed.addrs())
	h.table.status.touch() // announcements so far did not have the new address
}

// Networks returns "dht", and "lan" and "static" if the configuration has such hosts.
func (h *Host) Networks() []string {
	names := []string{networkDHT}
	if h.LAN {
		names = append(names, networkLAN)
	}
	if len(h.static) > 0 {
		names = append(names, networkStatic)
	}
	return names
}

// Name returns "dht". The peers of a host are of the networks "dht", "lan" and "static", by how
// their host was found.
func (h *Host) Name() string { return networkDHT }

// ID returns the host's peer id as text.
func (h *Host) ID() string { return h.id.String() }

// Addrs returns the multiaddrs, with /p2p/ID, by which others reach the host at this moment.
func (h *Host) Addrs() []string {
	var s []string
	for _, m := range h.libp2p.Addrs() {
		s = append(s, fmt.Sprintf("%s/p2p/%s", m, h.id))
	}
	return s
}

// Port returns the TCP port of the first address that the host listens on, or 0.
func (h *Host) Port() int {
	if len(h.listen) == 0 {
		return 0
	}
	want, _ := plainTCP(h.listen[0])
	for _, m := range h.libp2p.Network().ListenAddresses() {
		if a, ok := plainTCP(m); ok && a.Addr() == want.Addr() && (a.Port() == want.Port() || want.Port() == 0) {
			return int(a.Port())
		}
	}
	return 0
}

// Err returns why the host is not in its DHT, which of its seeds do not answer, or that another
// host has the same identity. An [*wtproto.Error] is in the chain. It returns nil if nothing is
// wrong, while the host is still entering, if Mode is Off, and if no seeds are configured, because
// others enter by such a host.
func (h *Host) Err() error {
	if err := h.copies.trouble(); err != nil || h.table == nil || len(h.seeds) == 0 {
		return err
	}
	return h.table.err()
}

// HostSeen says that the host with id, in text, was just seen on the LAN at addrs. The host asks
// it about its topics, and enters a private DHT by it. Invalid ids are ignored. HostSeen never
// blocks.
func (h *Host) HostSeen(id string, addrs []netip.AddrPort) {
	p, err := peer.Decode(id)
	if err != nil {
		return
	}
	if p == h.id {
		h.sawOurselves(addrs)
		return
	}
	h.lan.saw(p, addrs)
	if h.table != nil {
		wake(h.table.hint)
	}
	looking := h.topicsThat(func(t *topic) bool {
		state := t.presence.Now()
		return state.LookUp
	})
	if len(looking) > 0 {
		h.links.seek(p)
	}
}

// HostGone says that the host with id, in text, has left the LAN. Connections with it stay.
// Invalid ids are ignored.
func (h *Host) HostGone(id string) {
	if p, err := peer.Decode(id); err == nil {
		h.lan.forget(p)
	}
}

// Close ends all joins, all circuits and all connections, and waits for its goroutines. Bytes
// written to circuits that have ended arrive first, unless that takes long. It may be called more
// than once.
func (h *Host) Close() error { return h.closed() }

func (h *Host) close() error {
	h.cancel()
	h.mu.Lock()
	topics := h.topics
	h.topics = nil
	h.mu.Unlock()
	for _, t := range topics {
		t.end()
		t.part()
		if t.ended != nil {
			t.abandon()
		}
	}
	h.wg.Wait()
	h.serves.stop()
	h.parting()
	var err error
	if h.table != nil {
		err = h.table.close()
	}
	flushed := h.flush()
	err = errors.Join(err, h.libp2p.Close()) // resets all streams
	<-flushed
	h.serves.close()
	return err
}

// parting tells others that we leave, and ends the links.
func (h *Host) parting() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	h.links.close(ctx)
}

// flush gives written bytes a moment to arrive. libp2p closes a TCP connection with a reset, which
// drops bytes on their way. So we say goodbye behind the last byte, and the others hang up when
// they read it. flush returns after that, or after flushTime. Its goroutines end when the
// connections are closed, and then it closes the channel.
func (h *Host) flush() <-chan struct{} {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range h.libp2p.Network().Conns() {
		var s *yamux.Session
		if c.As(&s) {
			wg.Go(func() {
				if s.GoAway() == nil {
					<-s.CloseChan()
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return done
}

// connect makes sure that there is a connection with the host of t. It tells turn how many
// addresses it dials.
func (h *Host) connect(ctx context.Context, t target, turn *turn) error {
	if h.libp2p.Network().Connectedness(t.id) == network.Connected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.DialTimeout)
	defer cancel()
	addrs := t.addrs
	if t.named {
		var err error
		if addrs, err = h.names.resolve(ctx, t); len(addrs) == 0 && err != nil {
			return unreachable(t.id, err)
		}
		h.gater.name(t.id, addrs)
	}
	addrs = append(addrs[:len(addrs):len(addrs)], h.libp2p.Peerstore().Addrs(t.id)...)
	good, refused := h.gater.dialable(t.id, addrs)
	if len(good) == 0 {
		return whyNot(t.id, addrs, refused)
	}
	turn.uses(len(good))
	if who := turn.payer(); who != nil {
		defer h.gater.pay(t.id, who)()
	}
	h.libp2p.Peerstore().AddAddrs(t.id, good, peerstore.TempAddrTTL)
	// A direct dial ignores libp2p's own memory of failures, which is longer than ours. Nor does
	// libp2p end it before DialTimeout.
	ctx = network.WithDialPeerTimeout(network.WithForceDirectDial(ctx, "asked for"), h.DialTimeout)
	if _, err := h.libp2p.Network().DialPeer(ctx, t.id); err != nil {
		return unreachable(t.id, err)
	}
	return nil
}

// unreachable returns the error for a host to which we cannot connect.
func unreachable(id peer.ID, err error) error {
	todo := "cannot be reached: nothing to do if it is gone, else see that it runs, and open or forward its TCP port"
	if d, ok := errors.AsType[*swarm.DialError](err); ok && len(d.DialErrors) > 0 {
		e := d.DialErrors[0] // on one line
		err = fmt.Errorf("%s: %w", e.Address, e.Cause)
		if _, ok := errors.AsType[sec.ErrPeerIDMismatch](e.Cause); ok {
			todo = "is not there, another host is at the address that it has announced: let it announce one that others reach (--p2p-announce)"
		}
	} else if _, ok := errors.AsType[*net.DNSError](err); ok {
		todo = "has a name that is not resolved: correct it where it is configured"
	}
	return &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: "host " + id.String() + " " + todo, Err: err}
}

// isStatic reports whether the operator wrote that id is on the topic.
func (h *Host) isStatic(key wtproto.Topic, id peer.ID) bool {
	for _, t := range h.static[key] {
		if t.id == id {
			return true
		}
	}
	return false
}

// networkOf returns the network of a host that found us.
func (h *Host) networkOf(key wtproto.Topic, id peer.ID) string {
	if h.isStatic(key, id) {
		return networkStatic
	}
	if _, ok := h.lan.target(id); ok {
		return networkLAN
	}
	return networkDHT
}

// locate asks the DHT for the addresses of t, if it has none.
func (h *Host) locate(ctx context.Context, t *target) error {
	switch {
	case h.table == nil, len(t.addrs) > 0, len(h.libp2p.Peerstore().Addrs(t.id)) > 0:
		return nil
	case h.libp2p.Network().Connectedness(t.id) == network.Connected:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	addrs, err := h.table.whereIs(ctx, t.id)
	if err != nil {
		return unreachable(t.id, err)
	}
	t.addrs = addrs
	return nil
}
