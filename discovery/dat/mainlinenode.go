package dat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/int160"
	nearest "github.com/anacrolix/dht/v2/k-nearest-nodes"
	"github.com/anacrolix/dht/v2/krpc"
	peerstore "github.com/anacrolix/dht/v2/peer-store"
	"github.com/anacrolix/dht/v2/traversal"
	"github.com/anacrolix/log"
	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/backoff"
)

// What the library is set up with.
const (
	// answerAfter is how long a node may take to answer. A question is sent once.
	answerAfter = time.Second
	// sendsPerSecond bounds all packets that our node sends.
	sendsPerSecond = 250
	// walkWidth is how many nodes one walk asks at once. Dead ones are many.
	walkWidth = 6
	// walkNear is how many nodes get an announcement: BEP 5 says 8.
	walkNear = 8
	// tendFirst and tendMost bound the waits of a node that knows nobody, and tendEvery is how often
	// one looks whether that is so.
	tendFirst = time.Second
	tendMost  = time.Minute
	tendEvery = 5 * time.Second
)

// libraryNode is a [dhtNode] of github.com/anacrolix/dht, which only this file imports. FACTS of
// the library that are seen to here: its own store of peers never returns one; it panics at packets
// that strangers can send; it does not bootstrap again by itself while others are known that are
// dead; its limit of packets is one for the whole process; its default nodes are the public ones.
type libraryNode struct {
	names  []string
	own    ownPorts
	policy *discovery.Policy
	conn   *guardedConn
	server *dht.Server
	first  atomic.Pointer[[]netip.AddrPort] // the nodes to begin with, resolved
}

// newLibraryNode opens the socket.
func newLibraryNode(cfg mainlineConfig) (*libraryNode, error) {
	n := &libraryNode{names: cfg.Bootstrap, own: cfg.Own, policy: cfg.Policy}
	if n.names == nil {
		n.names = dht.DefaultGlobalBootstrapHostPorts
	}
	for _, name := range n.names {
		if _, _, err := splitHostPort(name); err != nil {
			return nil, fmt.Errorf("dat: mainline: the node %q: %w", name, err)
		}
	}
	n.first.Store(&[]netip.AddrPort{})
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(listenOn(cfg.Listen)))
	if err != nil {
		return nil, fmt.Errorf("dat: mainline: %w", err)
	}
	n.conn = newGuardedConn(udp, cfg.Policy, readPacket, n.isFirst)
	quiet := log.Default // a copy
	quiet.SetHandlers(log.DiscardHandler)
	library := dht.NewDefaultServerConfig()
	library.Conn = n.conn
	library.StartingNodes = n.startingNodes
	library.PeerStore = libraryStore{newPeerStore()}
	library.QueryResendDelay = func() time.Duration { return answerAfter }
	library.SendLimiter = rate.NewLimiter(sendsPerSecond, sendsPerSecond)
	library.DefaultWant = []krpc.Want{krpc.WantNodes} // IPv4, as old peers
	library.Logger = quiet
	if n.server, err = dht.NewServer(library); err != nil {
		udp.Close()
		return nil, fmt.Errorf("dat: mainline: %w", err)
	}
	return n, nil
}

// splitHostPort is [net.SplitHostPort] with a port that is a number.
func splitHostPort(name string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(name)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, errors.New("it is not HOST:PORT")
	}
	return host, uint16(n), nil
}

// readPacket reads a packet, and reports whether the library may see it. Some packets make it panic,
// others make it remember what they say for ever, or write lines to standard error.
func readPacket(b []byte) (p packet, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	var m krpc.Msg
	if len(b) < 2 || b[0] != 'd' || bencode.Unmarshal(b, &m) != nil {
		return packet{}, false
	}
	p = packet{question: m.Y == "q", number: m.T, seen: addrPortOf(m.IP).Addr()}
	switch m.Y {
	case "q":
		switch m.Q {
		case "ping", "find_node", "get_peers", "announce_peer":
			return p, m.A != nil
		}
		return packet{}, false // such as put, which stores anything for two hours
	case "r":
		return p, m.R != nil
	default:
		return p, m.Y == "e" && m.E != nil
	}
}

// libraryStore is a peerStore as the library wants it.
type libraryStore struct{ store *peerStore }

func (s libraryStore) AddPeer(i peerstore.InfoHash, p krpc.NodeAddr) {
	if p.Port > 0 && p.Port < 1<<16 {
		s.store.add(id(i), addrPortOf(p), time.Now())
	}
}

func (s libraryStore) GetPeers(i peerstore.InfoHash) (peers []krpc.NodeAddr) {
	for _, at := range s.store.get(id(i), time.Now()) {
		var p krpc.NodeAddr
		p.FromAddrPort(at)
		peers = append(peers, p)
	}
	return peers
}

// addrPortOf returns where p is, which is invalid if p is not an address.
func addrPortOf(p krpc.NodeAddr) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(p.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(p.Port))
}

// startingNodes returns the nodes to begin with.
func (n *libraryNode) startingNodes() (nodes []dht.Addr, err error) {
	for _, at := range *n.first.Load() {
		nodes = append(nodes, dht.NewAddr(net.UDPAddrFromAddrPort(at)))
	}
	return nodes, nil
}

// isFirst reports whether at is a node to begin with.
func (n *libraryNode) isFirst(at netip.AddrPort) bool {
	for _, f := range *n.first.Load() {
		if f == at {
			return true
		}
	}
	return false
}

// resolve resolves the nodes to begin with. Those of a name that cannot be resolved are left out.
func (n *libraryNode) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	all := make([][]netip.AddrPort, len(n.names))
	var wg sync.WaitGroup
	for i, name := range n.names {
		wg.Go(func() {
			host, port, _ := splitHostPort(name)
			ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
			for _, ip := range ips {
				at := netip.AddrPortFrom(ip.Unmap(), port)
				if n.policy.Check(discovery.SourceConfigured, at) == nil {
					all[i] = append(all[i], at)
				}
			}
		})
	}
	wg.Wait()
	var first []netip.AddrPort
	for _, some := range all {
		first = append(first, some...)
	}
	if len(first) > 0 {
		n.first.Store(&first)
	}
}

// tend is described at [dhtNode].
func (n *libraryNode) tend(ctx context.Context, known func(bool)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer n.server.Close()
	maintain := sync.OnceFunc(func() { wg.Go(n.server.TableMaintainer) }) // it ends soon after the server
	failed := backoff.New(tendFirst, tendMost)
	for ctx.Err() == nil {
		wait := tendEvery
		if n.server.Stats().GoodNodes == 0 {
			n.resolve(ctx)
			n.bootstrap(ctx, &wg)
		}
		if n.server.NumNodes() > 0 { // or each bootstrap of the library leaves a goroutine behind
			maintain()
		}
		if n.server.Stats().GoodNodes > 0 {
			known(true)
			failed.Reset()
		} else {
			known(false)
			wait = failed.Next()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// bootstrap asks the nodes to begin with, and then those that they know. If ctx ends before, what it
// has started ends soon after the server, and wg waits for it.
func (n *libraryNode) bootstrap(ctx context.Context, wg *sync.WaitGroup) {
	var pings sync.WaitGroup
	for _, at := range *n.first.Load() { // the library leaves them out while its table has others, dead or not
		pings.Go(func() { n.server.Ping(net.UDPAddrFromAddrPort(at)) })
	}
	pings.Wait()
	if ctx.Err() != nil || n.server.NumNodes() == 0 {
		return
	}
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		_, _ = n.server.Bootstrap() // BootstrapContext would leave its questions behind
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// errNoNode says that a walk has met nobody.
var errNoNode = errors.New("dat: mainline: no node has answered")

// isOwn reports whether a peer at that address is ourselves, as others see us.
func (n *libraryNode) isOwn(at netip.AddrPort) bool {
	return n.own.has(at.Port()) && n.conn.outside.is(at.Addr())
}

// walk is described at [dhtNode].
func (n *libraryNode) walk(ctx context.Context, i id, port uint16, found func([]netip.AddrPort)) error {
	target := int160.FromByteArray(i)
	op := traversal.Start(traversal.OperationInput{
		Target: krpc.ID(i), Alpha: walkWidth, K: walkNear,
		NodeFilter: n.server.TraversalNodeFilter,
		DataFilter: func(token any) bool {
			t, ok := token.(string)
			return ok && len(t) <= maxToken
		},
		DoQuery: func(ctx context.Context, addr krpc.NodeAddr) traversal.QueryResult {
			got := n.server.GetPeers(ctx, dht.NewAddr(addr.UDP()), target, false, dht.QueryRateLimiting{})
			if r := got.Reply.R; r != nil && len(r.Values) > 0 && ctx.Err() == nil {
				peers := make([]netip.AddrPort, 0, min(len(r.Values), maxPeers))
				for _, v := range r.Values[:min(len(r.Values), maxPeers)] {
					if at := addrPortOf(v); !n.isOwn(at) {
						peers = append(peers, at)
					}
				}
				found(peers)
			}
			return got.TraversalQueryResult(addr)
		},
	})
	nodes, err := n.server.TraversalStartingNodes()
	if err == nil {
		op.AddNodes(nodes)
		select {
		case <-op.Stalled():
		case <-ctx.Done():
		}
	}
	op.Stop()
	<-op.Stopped()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case err != nil || op.Stats().NumResponses == 0:
		return errNoNode
	case port == 0:
		return nil
	}
	return n.announce(ctx, op.Closest(), target, port)
}

// announce tells the nodes nearest to target that a peer is at port of our address. A walk that was
// ended by its time announces too.
func (n *libraryNode) announce(ctx context.Context, to *nearest.Type, target int160.T, port uint16) error {
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*answerAfter)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})()
	var wg sync.WaitGroup
	var took atomic.Int64
	to.Range(func(e nearest.Elem) {
		token, ok := e.Data.(string)
		if !ok {
			return
		}
		p := int(port)
		wg.Go(func() {
			got := n.server.Query(inner, dht.NewAddr(e.Addr.UDP()), "announce_peer", dht.QueryInput{
				MsgArgs: krpc.MsgArgs{InfoHash: target.AsByteArray(), Port: &p, Token: token},
			})
			if got.ToError() == nil {
				took.Add(1)
			}
		})
	})
	wg.Wait()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case took.Load() == 0:
		return errors.New("dat: mainline: no node took the announcement")
	}
	return nil
}

// close closes the socket.
func (n *libraryNode) close() {
	n.server.Close()
	n.conn.end()
}
