package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
	"github.com/swarmgate/swarmgate/wtproto"
)

const (
	maxSuspects  = 64               // addresses that are remembered
	suspectEvery = 10 * time.Minute // how often one is called that has answered
	suspectSoon  = time.Second      // how soon one is called again whose call told nothing: at first, doubled each time
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
	calls map[netip.AddrPort]*call // guarded by mu
	err   error                    // guarded by mu; names the copy
	until time.Time                // guarded by mu; of err
}

// call is what is known of the calls of a suspect.
type call struct {
	suspect suspect
	next    time.Time // not called before
	vain    bool      // the last one told nothing, so it is called again by itself
	pace    backoff.Backoff
}

func newCopies() *copies {
	return &copies{suspects: make(chan suspect, maxAddrs), calls: make(map[netip.AddrPort]*call)}
}

// suspect has an address called. It does not block.
func (c *copies) suspect(s suspect) {
	select {
	case c.suspects <- s:
	default:
	}
}

// due reports whether s is to be called now.
func (c *copies) due(s suspect, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.calls[s.addr]
	if known != nil && now.Before(known.next) {
		return false
	}
	if known == nil {
		if len(c.calls) >= maxSuspects {
			for old := range c.calls { // any
				delete(c.calls, old)
				break
			}
		}
		known = &call{suspect: s, pace: backoff.New(suspectSoon, suspectEvery)}
		c.calls[s.addr] = known
	}
	known.next, known.vain = now.Add(suspectEvery), false
	return true
}

// called notes what came of a call of a that was due: err is nil if our id answered.
func (c *copies) called(a netip.AddrPort, err error, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.calls[a]
	switch {
	case known == nil:
	case tells(err):
		known.pace.Reset()
	default:
		delay := known.pace.Next()
		known.next, known.vain = now.Add(delay), delay < suspectEvery/2 // later only if it is suspected again
	}
}

// tells reports whether a call that ended with err says who is at its address, and not only that
// the call was slow, or cut off: a machine that is busy, or a limit of ours.
func tells(err error) bool {
	_, other := errors.AsType[sec.ErrPeerIDMismatch](err)
	e, ok := errors.AsType[*wtproto.Error](err)
	return err == nil || other || errors.Is(err, syscall.ECONNREFUSED) || ok && e.Code == wtproto.CodeForbidden
}

// retry returns a suspect whose last call told nothing and that is to be called again, and when
// that is. It reports whether there is one.
func (c *copies) retry() (s suspect, at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.calls {
		if known.vain && (!ok || known.next.Before(at)) {
			s, at, ok = known.suspect, known.next, true
		}
	}
	return s, at, ok
}

// again has a called the next time that it is suspected.
func (c *copies) again(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, a)
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
	timer, retry := time.NewTimer(pace.Next()), time.NewTimer(suspectEvery)
	defer timer.Stop()
	defer retry.Stop()
	for {
		retry.Stop()
		again, at, ok := h.copies.retry()
		if ok {
			retry.Reset(time.Until(at))
		}
		select {
		case s := <-h.copies.suspects:
			h.callSuspect(ctx, s)
		case <-retry.C:
			h.callSuspect(ctx, again)
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

// callSuspect calls ourselves at a suspect that is due.
func (h *Host) callSuspect(ctx context.Context, s suspect) {
	if !h.copies.due(s, time.Now()) {
		return
	}
	select { // a copy may be about to do the same
	case <-time.After(rand.N(4 * ownCall)):
		h.callOurselves(ctx, s)
	case <-ctx.Done():
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
	err := h.callAt(ctx, h.id, netip.Addr{}, s.addr, s.src)
	if h.copies.called(s.addr, err, time.Now()); err != nil {
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
