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
	maxSuspects  = 64               // remembered addresses
	suspectEvery = 10 * time.Minute // delay between two calls of one that has answered
	suspectSoon  = time.Second      // first delay after a call without a result; it doubles each time
	copyHold     = 30 * time.Minute // how long a detected copy is reported
	// ownCall is how long our call may take to arrive at our own port, if we have called
	// ourselves.
	ownCall = time.Second
)

// suspect is an address with our id, and where we learned it.
type suspect struct {
	addr netip.AddrPort
	src  discovery.Source
}

// copies detects another host that has our key. Others take the two for one host, and the two
// never find each other. If somebody announces our id at an address that is not ours, we may have
// had that address before, or a router may forward it to us. So we call it. If a host with our key
// answers, and the call did not arrive at our own port, it is a copy.
type copies struct {
	suspects chan suspect
	calling  atomic.Int32 // our calls under way
	reached  atomic.Int64 // calls that have reached us from our own id

	mu    sync.Mutex
	calls map[netip.AddrPort]*call // guarded by mu
	err   error                    // guarded by mu; names the copy
	until time.Time                // guarded by mu; of err
}

// call is the state of our calls of a suspect.
type call struct {
	suspect suspect
	next    time.Time // no call before that
	retry   bool      // the last call had no result, so we call again
	pace    backoff.Backoff
}

func newCopies() *copies {
	return &copies{suspects: make(chan suspect, maxAddrs), calls: make(map[netip.AddrPort]*call)}
}

// suspect has run call an address. It does not block.
func (c *copies) suspect(s suspect) {
	select {
	case c.suspects <- s:
	default:
	}
}

// due reports whether it is time to call s, and notes the call if so.
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
	known.next, known.retry = now.Add(suspectEvery), false
	return true
}

// called notes the result of the call of a. err is nil if it was a copy that answered.
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
		known.next, known.retry = now.Add(delay), delay < suspectEvery/2 // later only if somebody suspects it again
	}
}

// tells reports whether a call that ended with err shows who is at the address. A slow or aborted
// call shows nothing: the machine may be busy, or we have reached a limit of ours. Nor does
// errReached.
func tells(err error) bool {
	_, other := errors.AsType[sec.ErrPeerIDMismatch](err)
	e, ok := errors.AsType[*wtproto.Error](err)
	return err == nil || other || errors.Is(err, syscall.ECONNREFUSED) || ok && e.Code == wtproto.CodeForbidden
}

// retry returns the suspect without a result that we have to call again first, and when. It
// reports whether there is one.
func (c *copies) retry() (s suspect, at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.calls {
		if known.retry && (!ok || known.next.Before(at)) {
			s, at, ok = known.suspect, known.next, true
		}
	}
	return s, at, ok
}

// found notes a copy, and reports whether that is news.
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

// trouble returns an error that names the copy, or nil if we know of none.
func (c *copies) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.until) {
		return nil
	}
	return c.err
}

// arrived notes that a host with our id has connected to us from an address.
func (h *Host) arrived(from netip.AddrPort) {
	h.copies.reached.Add(1)
	if h.copies.calling.Load() == 0 {
		h.noteCopy(from.Addr())
	}
}

// noteCopy reports a copy.
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

// suspectAddrs suspects addresses with our id, except those that we may not dial because they are
// ours.
func (h *Host) suspectAddrs(addrs []ma.Multiaddr) {
	for _, m := range addrs {
		if a, ok := plainTCP(m); ok {
			if src, err := h.gater.source(h.id, a); err == nil {
				h.copies.suspect(suspect{a, src})
			}
		}
	}
}

// sawOurselves notes addresses with our id that were seen on the LAN. We publish only addresses of
// this machine there ourselves.
func (h *Host) sawOurselves(addrs []netip.AddrPort) {
	for _, a := range addrs {
		if !h.gater.around.isOurs(a.Addr()) && h.Policy.Check(discovery.SourceLAN, a) == nil {
			h.copies.suspect(suspect{a, discovery.SourceLAN})
		}
	}
}

// lookForCopies calls suspects, and looks for new ones at intervals, until ctx ends.
func (h *Host) lookForCopies(ctx context.Context) {
	h.suspectSeeds(ctx)
	pace := backoff.New(h.LookUpMin, h.LookUpEvery) // finds a copy soon, even one that comes later
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

// callSuspect calls a suspect if that is due.
func (h *Host) callSuspect(ctx context.Context, s suspect) {
	if !h.copies.due(s, time.Now()) {
		return
	}
	select { // not at the same moment as the copy does
	case <-time.After(rand.N(4 * ownCall)):
		h.callOurselves(ctx, s)
	case <-ctx.Done():
	}
}

// suspectSeeds suspects the configured seeds with our id. Usually we are that seed.
func (h *Host) suspectSeeds(ctx context.Context) {
	for _, t := range h.selfSeeds {
		addrs, _ := h.names.resolve(ctx, t)
		h.gater.name(h.id, addrs)
		h.suspectAddrs(addrs)
	}
}

// suspectRecords asks a server of the DHT for our addresses in its record of a topic. It reports
// whether there was a server and a topic.
func (h *Host) suspectRecords(ctx context.Context) bool {
	servers := h.table.dht.RoutingTable().ListPeers()
	announced := h.topicsThat(func(t *topic) bool {
		state := t.presence.Now()
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

// callOurselves calls our own id at an address. If a host answers there, and the call did not
// arrive here, it notes a copy.
func (h *Host) callOurselves(ctx context.Context, s suspect) {
	before := h.copies.reached.Load()
	h.copies.calling.Add(1)
	defer h.copies.calling.Add(-1)
	err := h.callAt(ctx, h.id, netip.Addr{}, s.addr, s.src)
	if err == nil {
		select {
		case <-time.After(ownCall):
		case <-ctx.Done():
			return
		}
		if h.copies.reached.Load() != before {
			err = errReached
		}
	}
	if h.copies.called(s.addr, err, time.Now()); err != nil {
		h.log.Debug("this host's id is announced at an address at which no copy was found", "address", s.addr, "error", err)
		return
	}
	h.noteCopy(s.addr.Addr())
}

// errReached is the result of a call of our own id if one has reached us meanwhile. It tells
// nothing: a copy may have called at the same moment.
var errReached = errors.New("p2p: we have called ourselves, or a copy called us")
