package p2p

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxSuspects  = 64               // addresses that are remembered
	suspectEvery = 10 * time.Minute // how often one is called
	copyHold     = 30 * time.Minute // how long a copy counts after it was noticed
	// ownCall is how long after a call of ours it may reach us, if it was us that we called.
	ownCall = time.Second
)

// suspect is an address at which our id was seen, and how far that is trusted.
type suspect struct {
	addr netip.AddrPort
	src  discovery.Source
}

// copies notices another host that has our key: for everybody else the two are one, and they never
// find each other. An address that our id is announced at, and that is not ours, may also be where
// we were before, or a router that forwards it to us. So it is called: who answers has our key,
// and if the call did not reach ourselves, it is a copy.
type copies struct {
	suspects chan suspect
	calling  atomic.Int32 // calls of ours that may reach us
	reached  atomic.Int64 // calls under our id that have reached us

	mu    sync.Mutex
	tried map[netip.AddrPort]time.Time // guarded by mu
	err   error                        // guarded by mu; names the copy
	until time.Time                    // guarded by mu; of err
}

func newCopies() *copies {
	return &copies{suspects: make(chan suspect, maxAddrs), tried: make(map[netip.AddrPort]time.Time)}
}

// suspect has an address called. It does not block.
func (c *copies) suspect(s suspect) {
	select {
	case c.suspects <- s:
	default:
	}
}

// due reports whether a is to be called now.
func (c *copies) due(a netip.AddrPort, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.tried[a]) < suspectEvery {
		return false
	}
	if len(c.tried) >= maxSuspects {
		for old := range c.tried { // any
			delete(c.tried, old)
			break
		}
	}
	c.tried[a] = now
	return true
}

// again has a called the next time that it is suspected.
func (c *copies) again(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tried, a)
}

// found notes a copy. It reports whether that is news.
func (c *copies) found(where netip.Addr, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	isNew := now.After(c.until)
	if isNew {
		c.err = &wtproto.Error{Code: wtproto.CodePeerUnreachable, Reason: fmt.Sprintf(
			"another host, at %s, has this host's key and id, so the two never find each other: give each a --state-dir of its own, and delete the file p2p in the copy", where)}
	}
	c.until = now.Add(copyHold)
	return isNew
}

// trouble returns what is wrong, nil if no copy is known.
func (c *copies) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.until) {
		return nil
	}
	return c.err
}

// arrived notes that a host with our id has connected to us, from an address.
func (h *Host) arrived(from netip.AddrPort) {
	h.copies.reached.Add(1)
	if h.copies.calling.Load() == 0 {
		h.noteCopy(from.Addr())
	}
}

// noteCopy has it known that there is a copy.
func (h *Host) noteCopy(where netip.Addr) {
	if !h.copies.found(where, time.Now()) {
		return
	}
	h.log.Warn("another host has this host's identity", "error", h.copies.trouble())
	for _, t := range h.topicsThat(func(*topic) bool { return true }) {
		t.mu.Lock()
		t.reportLocked()
		t.mu.Unlock()
	}
}

// suspectAddrs has the addresses called at which our id was seen, but for those of ours.
func (h *Host) suspectAddrs(addrs []ma.Multiaddr) {
	for _, m := range addrs {
		if a, ok := plainTCP(m); ok {
			if src, err := h.gater.source(h.id, a); err == nil {
				h.copies.suspect(suspect{a, src})
			}
		}
	}
}

// sawOurselves notes where our id was seen on the LAN. What we publish there ourselves is at
// addresses of this machine.
func (h *Host) sawOurselves(addrs []netip.AddrPort) {
	for _, a := range addrs {
		if !h.gater.around.isOurs(a.Addr()) && h.Policy.Check(discovery.SourceLAN, a) == nil {
			h.copies.suspect(suspect{a, discovery.SourceLAN})
		}
	}
}

// lookForCopies calls suspects, and looks for some now and then, until ctx ends.
func (h *Host) lookForCopies(ctx context.Context) {
	h.suspectSeeds(ctx)
	pace := backoff.New(h.LookUpMin, h.LookUpEvery) // a copy is found soon, and one that comes later too
	timer := time.NewTimer(pace.Next())
	defer timer.Stop()
	for {
		select {
		case s := <-h.copies.suspects:
			if !h.copies.due(s.addr, time.Now()) {
				continue
			}
			select { // a copy may be about to do the same
			case <-time.After(rand.N(4 * ownCall)):
				h.callOurselves(ctx, s)
			case <-ctx.Done():
				return
			}
		case <-timer.C:
			if h.Mode == Private && !h.suspectRecords(ctx) {
				pace.Reset()
			}
			timer.Reset(pace.Next())
		case <-ctx.Done():
			return
		}
	}
}

// suspectSeeds has the configured seeds called that have our id. Most times they are us.
func (h *Host) suspectSeeds(ctx context.Context) {
	for _, t := range h.selfSeeds {
		addrs, _ := h.names.resolve(ctx, t)
		h.gater.name(h.id, addrs)
		h.suspectAddrs(addrs)
	}
}

// suspectRecords asks a server of the DHT where it says that we are, who announce a topic. It
// reports whether there was one to ask.
func (h *Host) suspectRecords(ctx context.Context) bool {
	servers := h.table.dht.RoutingTable().ListPeers()
	announced := h.topicsThat(func(t *topic) bool {
		state, _ := t.presence.State()
		return state.Announce
	})
	if len(servers) == 0 || len(announced) == 0 {
		return false
	}
	ask, err := pb.NewProtocolMessenger(h.table.dht.MessageSender())
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, h.DialTimeout)
	defer cancel()
	key := recordKey(announced[rand.IntN(len(announced))].digest)
	providers, _, err := ask.GetProviders(ctx, servers[rand.IntN(len(servers))], key.Hash())
	if err != nil {
		return true
	}
	for _, p := range providers {
		if p.ID == h.id {
			h.suspectAddrs(p.Addrs)
		}
	}
	return true
}

// callOurselves calls our own id at an address, and notes a copy if it answers there and we do not.
func (h *Host) callOurselves(ctx context.Context, s suspect) {
	before := h.copies.reached.Load()
	h.copies.calling.Add(1)
	defer h.copies.calling.Add(-1)
	if err := h.callAt(ctx, h.id, netip.Addr{}, s.addr, s.src); err != nil {
		h.log.Debug("our id is announced where we are not", "address", s.addr, "error", err)
		return
	}
	timer := time.NewTimer(ownCall)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	if h.copies.reached.Load() == before {
		h.noteCopy(s.addr.Addr())
	} else { // it was us, or a copy called us at the same time
		h.copies.again(s.addr)
	}
}
