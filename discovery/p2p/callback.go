package p2p

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	bus "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/internal/crowd"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxCallbacks   = 1024 // hosts that wait to be called back
	maxCallbacksAt = 8    // at once
	// callbackPause is how long we do not call an address after a failed call. There may be many
	// hosts behind it.
	callbackPause = 30 * time.Second
	// callbackMin and callbackMax bound the delay after a failed call of one host.
	callbackMin, callbackMax = 10 * time.Minute, 6 * time.Hour
)

// callbacks decide which hosts to call back, and when. A host that has connected to a server of
// the DHT does not know whether others can connect to it. So the server connects back to it, only
// at the address that it came from, so that nobody can aim us at a third party. Pure accounting.
type callbacks struct {
	hosts  map[peer.ID]*callback
	places map[netip.Prefix]time.Time // no call before that time
}

type callback struct {
	id      peer.ID
	local   netip.Addr       // our address to which it has connected
	addrs   []netip.AddrPort // of one IP address
	retry   backoff.Backoff
	next    time.Time
	running bool
}

func newCallbacks() *callbacks {
	return &callbacks{hosts: make(map[peer.ID]*callback), places: make(map[netip.Prefix]time.Time)}
}

// want notes that id has connected to our address local, and has to be called back at addrs, which
// all have one IP address.
func (c *callbacks) want(id peer.ID, local netip.Addr, addrs []netip.AddrPort) {
	if c.hosts[id] == nil && len(addrs) > 0 && len(c.hosts) < maxCallbacks {
		c.hosts[id] = &callback{id: id, local: local, addrs: addrs, retry: backoff.New(callbackMin, callbackMax)}
	}
}

// drop notes that we need not call id back.
func (c *callbacks) drop(id peer.ID) { delete(c.hosts, id) }

// due returns the hosts to call now.
func (c *callbacks) due(now time.Time) (calls []*callback) {
	running := 0
	for _, b := range c.hosts {
		if b.running {
			running++
		}
	}
	for place, at := range c.places {
		if !at.After(now) {
			delete(c.places, place)
		}
	}
	for _, b := range c.hosts {
		place := crowd.Groups(b.addrs[0].Addr())[0]
		if _, paused := c.places[place]; paused || b.running || b.next.After(now) || running >= maxCallbacksAt {
			continue
		}
		running++
		b.running = true
		c.places[place] = now.Add(callbackPause) // shorter if it answers
		calls = append(calls, b)
	}
	return calls
}

// done notes the result of a call.
func (c *callbacks) done(b *callback, ok bool, now time.Time) {
	b.running = false
	place := crowd.Groups(b.addrs[0].Addr())[0]
	if ok {
		c.drop(b.id)
		delete(c.places, place)
		return
	}
	b.next = now.Add(b.retry.Next())
	c.places[place] = now.Add(callbackPause)
}

// callBack calls hosts back that have connected to us, until ctx ends. It does so only while we
// are a server of the DHT.
func (h *Host) callBack(ctx context.Context, sub bus.Subscription) {
	defer sub.Close()
	type result struct {
		call *callback
		ok   bool
	}
	c := newCallbacks()
	results := make(chan result)
	var calls sync.WaitGroup
	defer calls.Wait()
	tick := time.NewTicker(callbackPause)
	defer tick.Stop()
	for {
		select {
		case e := <-sub.Out():
			h.noteForCallback(c, e)
		case r := <-results:
			c.done(r.call, r.ok, time.Now())
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !h.table.serving.Load() {
			continue
		}
		for _, b := range c.due(time.Now()) {
			calls.Go(func() {
				err := h.call(ctx, b)
				h.log.Debug("called back", "peer", b.id, "error", err)
				select {
				case results <- result{b, err == nil}:
				case <-ctx.Done():
				}
			})
		}
	}
}

// noteForCallback acts on an event of the host.
func (h *Host) noteForCallback(c *callbacks, e any) {
	switch e := e.(type) {
	case bus.EvtPeerIdentificationCompleted:
		from, ok := plainTCP(e.Conn.RemoteMultiaddr())
		if seen, told := plainTCP(e.ObservedAddr); ok && told && e.Conn.Stat().Direction == network.DirOutbound {
			if h.gater.around.distance(seen.Addr()) == fromWorld {
				h.observed.noteView(e.Peer, from.Addr(), seen.Addr())
			}
		}
		if ok && e.Conn.Stat().Direction == network.DirInbound && slices.Contains(e.Protocols, wtproto.HostProtocol) && !servesDHT(e.Protocols) {
			local, _ := plainTCP(e.Conn.LocalMultiaddr())
			c.want(e.Peer, local.Addr(), callbackAddrs(from.Addr(), e.ListenAddrs))
		}
	case bus.EvtPeerProtocolsUpdated:
		if servesDHT(e.Added) {
			c.drop(e.Peer)
		}
	case bus.EvtPeerConnectednessChanged:
		if e.Connectedness != network.Connected {
			c.drop(e.Peer)
		}
	}
}

func servesDHT(protocols []protocol.ID) bool {
	return slices.Contains(protocols, dhtPrefix+dhtProtocol)
}

// callbackAddrs returns where to call a host that came from the address from and says that it
// listens on listens.
func callbackAddrs(from netip.Addr, listens []ma.Multiaddr) (addrs []netip.AddrPort) {
	for _, m := range listens {
		a, ok := plainTCP(m)
		if !ok {
			continue
		}
		if a = netip.AddrPortFrom(from, a.Port()); !slices.Contains(addrs, a) && len(addrs) < maxSameIP {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// call connects to a host, lets it prove its id, and hangs up. From that the host learns that
// others can connect to it. The connection is not one of the libp2p host, so nobody can open
// streams on it.
func (h *Host) call(ctx context.Context, b *callback) (err error) {
	for _, a := range b.addrs {
		var src discovery.Source
		if src, err = h.gater.source(b.id, a); err == nil {
			err = h.callAt(ctx, b.id, b.local, a, src)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// callAt does so at one address, learned from src. If local is valid, it calls from there, so that
// it takes the same way back.
func (h *Host) callAt(ctx context.Context, id peer.ID, local netip.Addr, addr netip.AddrPort, src discovery.Source) error {
	ctx, cancel := context.WithTimeout(ctx, h.DialTimeout)
	defer cancel()
	d := h.Policy.Dialer(src)
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	c, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := multistream.SelectProtoOrFail(noise.ID, c); err != nil {
		return fmt.Errorf("p2p: call %s back: %w", id, err)
	}
	security, err := noise.New(noise.ID, h.key, nil)
	if err != nil {
		return err
	}
	if _, err := security.SecureOutbound(ctx, c, id); err != nil {
		return fmt.Errorf("p2p: call %s back: %w", id, err)
	}
	h.Policy.Refund(nil, src, addr)
	return nil
}
