package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// endpoints returns n of them.
func endpoints(n int) (e []wtproto.EndpointID) {
	for i := range n {
		e = append(e, endpoint(i+1))
	}
	return e
}

// Of 101 circuits between two hosts 100 are not read, on this side or on that, and the last one
// moves.
func TestStalledCircuits(t *testing.T) {
	const stalled = 100
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	clients := endpoints(stalled + 1)
	gm := join(t, g, presence(true, true, clients...), nil)
	nm := join(t, n, discovery.Native(), nil)
	peer := gm.await("the native peer", isPeer(n, nativeEndpoint))
	var writers sync.WaitGroup
	open := func(i int) (opener, acceptor discovery.Stream) {
		opened := make(chan discovery.Stream, 1)
		go func() { opened <- dial(t, peer, clients[i]) }()
		in := nm.await("a circuit", isInbound).sighting.Inbound
		acceptor, err := in.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { acceptor.Close() })
		return <-opened, acceptor
	}
	var ends []discovery.Stream
	for i := range stalled {
		a, b := open(i)
		if i%2 == 0 {
			a, b = b, a
		}
		ends = append(ends, a, b)
		if _, err := a.Write(make([]byte, window)); err != nil { // all that fits
			t.Fatal(err)
		}
		writers.Go(func() {
			if n, err := a.Write(make([]byte, window)); err == nil { // and more, which does not
				t.Errorf("wrote %d bytes that nobody reads", n)
			}
		})
	}
	a, b := open(stalled)
	go echo(b)
	testEcho(t, a, 4<<20)
	for _, s := range ends {
		s.Reset(wtproto.CodeStalled)
	}
	writers.Wait()
}

// Each topic that two hosts share once had a stream of its own, which was missing for circuits:
// with 1,100 common topics 1,024 circuits could be opened. Now all topics have one, and as many
// circuits can be opened as the limit says. The next one is refused with a code until one has
// ended.
func TestManyTopicsAndCircuits(t *testing.T) {
	const topics = 1100
	n := listen(t, func(c *Config) { c.Mode = Off })
	static := make(map[wtproto.Topic][]string)
	for i := range topics - 1 {
		static[wtproto.TopicFromName(fmt.Sprint("common topic ", i))] = n.Addrs()
	}
	static[testTopic] = n.Addrs()
	g := listen(t, all(gateway, func(c *Config) { c.Mode, c.Static = Off, static }))
	clients := endpoints(MaxCircuits + 1)
	join(t, n, discovery.Native(), echo)
	for topic := range static {
		if topic != testTopic {
			ignore(t, n, topic, discovery.Native())
			ignore(t, g, topic, presence(true, true, endpoint(1)))
		}
	}
	gm := join(t, g, presence(true, true, clients...), nil)
	peer := gm.await("the native peer", isPeer(n, nativeEndpoint))
	for _, pair := range [][2]*Host{{g, n}, {n, g}} {
		eventually(t, "all topics are met", func() bool { return metWith(pair[0], pair[1].id) == topics })
	}
	if streams := streamsWith(g, n.id); streams != 1 {
		t.Errorf("%d streams, want the link", streams)
	}
	var open []discovery.Stream
	t.Cleanup(func() {
		for _, s := range open {
			s.Close()
		}
	})
	for i, c := range clients {
		s, err := peer.sighting.Dial(t.Context(), c)
		if i == MaxCircuits {
			wantCode(t, "Dial", err, wtproto.CodeCircuitLimit, false)
			break
		}
		if err != nil {
			t.Fatalf("circuit %d: %v", i, err)
		}
		open = append(open, s)
	}
	open[0].Close()
	eventually(t, "there is room again", func() bool {
		s, err := peer.sighting.Dial(t.Context(), clients[MaxCircuits])
		if err == nil {
			open = append(open, s)
		}
		return err == nil
	})
	if met := metWith(g, n.id); met != topics {
		t.Errorf("%d topics are met", met)
	}
}

// ignore is on a topic until the test ends, whatever happens there.
func ignore(t testing.TB, h *Host, topic wtproto.Topic, p *discovery.Presence) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range h.Join(ctx, topic, p) {
			continue
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// metWith returns on how many topics h has met another host.
func metWith(h *Host, id peer.ID) int {
	h.links.mu.Lock()
	defer h.links.mu.Unlock()
	if n := h.links.hosts[id]; n != nil {
		return len(n.meetings)
	}
	return 0
}

// streamsWith returns how many streams of our protocol h has with another host.
func streamsWith(h *Host, id peer.ID) (n int) {
	for _, c := range h.libp2p.Network().ConnsToPeer(id) {
		for _, s := range c.GetStreams() {
			if s.Protocol() == wtproto.HostProtocol {
				n++
			}
		}
	}
	return n
}

// One address that had 64 streams of the DHT with each of 32 ids once took all 2,048 that there
// were for everybody, and the DHT did not answer any more.
func TestOneNetworkLeavesOthersTheDHT(t *testing.T) {
	l := limits().ToPartialLimitConfig()
	most := 8 * maxConnsAddress * int(l.ProtocolPeerDefault.StreamsInbound) // of a /48
	if all := int(l.ProtocolDefault.StreamsInbound); most > all/2 {
		t.Errorf("one /48 can have %d of %d streams of a protocol", most, all)
	}
}

// Streams that do not say what they are take so much room and no more, and give it back.
func TestMaxPending(t *testing.T) {
	for wait := 2 * time.Second; ; wait *= 2 {
		refused, opening := refusedOf(t, maxPending+10, wait)
		if refused == 10 {
			return
		}
		if opening < wait || wait > patience {
			t.Fatalf("%d streams were refused, want 10", refused)
		}
	}
}

// refusedOf opens n streams that do not say what they are, for which the host waits, and returns
// how many are refused, and how long it took to open all. If that is longer than the wait, the
// first ones had ended before the last ones came.
func refusedOf(t *testing.T, n int, wait time.Duration) (refused int, opening time.Duration) {
	small, large := keys(t)
	h := listen(t, all(key(large), func(c *Config) { c.AnswerTimeout = wait }))
	join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	began := time.Now()
	busy := make(chan bool, n)
	var wg sync.WaitGroup
	for range n {
		st := s.open(h)
		write(t, st, []byte{0x25})
		wg.Go(func() {
			_, err := io.ReadAll(st)
			e, ok := errors.AsType[*network.StreamError](err)
			code := wtproto.Code(0)
			if ok {
				code = wtproto.Code(e.ErrorCode)
			}
			switch code {
			case wtproto.CodeBusy, wtproto.CodeIdle:
				busy <- code == wtproto.CodeBusy
			default:
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
	opening = time.Since(began)
	wg.Wait()
	close(busy)
	for b := range busy {
		if b {
			refused++
		}
	}
	eventually(t, "no stream counts as pending", func() bool { return h.ties.pending.Len() == 0 })
	return refused, opening
}

// 256 silent streams with each of four ids, of one address or many, once kept everybody else's
// MEET and OPEN out.
func TestSilentStreamsShutNobodyOut(t *testing.T) {
	h := listen(t, nil)
	join(t, h, discovery.Native(), nil)
	for range 4 {
		_, k := keys(t)
		silent := newStranger(t, k)
		for range maxPendingAll / 4 {
			write(t, silent.open(h), []byte{0x25})
		}
	}
	eventually(t, "all that one address may have are silent", func() bool { return h.ties.pending.Len() == maxPending })
	_, k := keys(t)
	s := newStranger(t, k)
	st := s.link(h, wtproto.HostGateway)
	write(t, st, s.meet(h, endpoint(1)).Append(nil))
	if typ, _, err := wtproto.NewReader(st).Next(); err != nil || typ != wtproto.TypeMet {
		t.Errorf("the answer to MEET is %v, %v", typ, err)
	}
}

// What a topic knows of a host goes with it, when it is forgotten.
func TestMaxKnown(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode = Off })
	tp := h.newTopic(t.Context(), testTopic, presence(false, false))
	if err := h.enter(tp); err != nil {
		t.Fatal(err)
	}
	defer h.leave(tp)
	for i := range 2 * maxKnown {
		tp.addTarget(target{id: hostID("host", i), network: networkDHT})
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if len(tp.hosts) != maxKnown || len(tp.meetings.known) != maxKnown {
		t.Errorf("%d hosts, %d known", len(tp.hosts), len(tp.meetings.known))
	}
	for id, r := range tp.hosts {
		if tp.meetings.known[id] != r.acquaintance {
			t.Fatalf("%q is two", id)
		}
	}
}

// One host may have so many circuits, and is protected while it has any.
func TestTies(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode = Off })
	a := peer.ID("a")
	conns := h.libp2p.ConnManager()
	h.ties.addMeeting(a)
	if !conns.IsProtected(a, tagMeeting) {
		t.Error("a host that is met is not protected")
	}
	h.ties.dropMeeting(a)
	if conns.IsProtected(a, "") {
		t.Error("a host that is met no more is protected")
	}
	for range MaxCircuits {
		if !h.ties.addCircuit(a) {
			t.Fatal("a circuit was refused")
		}
	}
	if h.ties.addCircuit(a) {
		t.Error("there was room for one more circuit")
	}
	for range MaxCircuits - 1 {
		h.ties.dropCircuit(a)
	}
	if !conns.IsProtected(a, tagCircuit) {
		t.Error("a host with a circuit is not protected")
	}
	h.ties.dropCircuit(a)
	if conns.IsProtected(a, tagCircuit) {
		t.Error("a host without a circuit is protected")
	}
	for i := range maxCircuitHosts {
		if !h.ties.addCircuit(hostID("host", i)) {
			t.Fatalf("no circuit with host %d", i)
		}
	}
	if h.ties.addCircuit(a) {
		t.Error("circuits with too many hosts")
	}
	if !h.ties.addCircuit(hostID("host", 0)) {
		t.Error("no second circuit with a host")
	}
	if most := maxMeetingHosts + maxCircuitHosts; most+othersKept > maxConnsAll {
		t.Errorf("%d connections may not be cut, of %d", most, maxConnsAll)
	}
}

// Hosts that are met stay connected, whatever else is connected: 850 gateways once lost 338
// meetings a minute to their connection managers, which cut what was only tagged.
func TestMetHostsAreNotCut(t *testing.T) {
	m, err := connmgr.NewConnManager(othersKept, trimFrom, connmgr.WithGracePeriod(0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ties := newTies(m)
	cut := make(map[string]int)
	kinds := map[string]int{"met": maxMeetingHosts, "circuit": 200, "other": 2 * othersKept}
	for kind, n := range kinds {
		for i := range n {
			id := hostID(kind, i)
			m.Notifee().Connected(nil, &cutConn{id: id, cut: func() { cut[kind]++ }})
			switch kind {
			case "met":
				ties.addMeeting(id)
			case "circuit":
				ties.addCircuit(id)
			}
		}
	}
	m.TrimOpenConns(t.Context())
	if cut["met"]+cut["circuit"] > 0 || cut["other"] != othersKept {
		t.Errorf("cut %v of %v", cut, kinds)
	}
}

// cutConn is a connection that is known to a connection manager only.
type cutConn struct {
	network.Conn
	id  peer.ID
	cut func()
}

func (c *cutConn) RemotePeer() peer.ID                        { return c.id }
func (c *cutConn) Stat() network.ConnStats                    { return network.ConnStats{} }
func (c *cutConn) CloseWithError(network.ConnErrorCode) error { c.cut(); return nil }

// News that nobody pulls pushes out the oldest, and refuses the circuits in it.
func TestNews(t *testing.T) {
	n := new(news)
	in := &inbound{answered: make(chan struct{})}
	n.push(item{sighting: discovery.Sighting{Inbound: in}})
	for i := range maxNews {
		n.push(item{sighting: discovery.Sighting{Holds: time.Duration(i + 1)}})
	}
	if code, refused := in.refusal(); !refused || code != wtproto.CodeBusy {
		t.Errorf("the circuit: refused %v, %v", refused, code)
	}
	for i := range maxNews {
		if got, ok := n.pull(); !ok || got.sighting.Holds != time.Duration(i+1) {
			t.Fatalf("pull %d = %v, %v", i, got, ok)
		}
	}
	if len(n.items) != 0 {
		t.Errorf("%d are left", len(n.items))
	}
}
