package dat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/mcast"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Whoever we had dialed knew our id. By connecting with it at the right moment, a stranger had
// another peer's address taken for our own, and that was dialed by nobody any more.
func TestRepeatedID(t *testing.T) {
	h := newTestHost(t, Config{Ports: freePorts(t, 1), Listen: "127.0.0.1:0"}, newFakeWay("one"))
	port := joinAs(t, h.swarm, topicA, endpoint(1)).follow(h)
	ln := listen(t)
	type result struct {
		s   discovery.Stream
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := h.swarm.dial(t.Context(), member{h.swarm, topicA, endpoint(1)}, public(ln.Addr().String()))
		done <- result{s, err}
	}()
	peer := accept(t, ln)
	own, err := readID(peer)
	if err != nil {
		t.Fatal(err)
	}
	stranger := knock(t, port, appendID(nil, own))
	if id, err := readID(stranger); err != nil || id != own {
		t.Errorf("the stranger read the id %x, %v; want its own, which is ours", id, err)
	}
	wantClosed(t, "the stranger", stranger)
	peer.Write(appendID(nil, strings.Repeat("p", 32)))
	r := <-done
	if r.err != nil {
		t.Fatalf("Dial = %v", r.err)
	}
	r.s.Close()
	if len(h.own) > 0 {
		t.Errorf("%v is taken for our own address", h.own)
	}
}

// Many peers have the same port number as the shared one. A stranger who wrote there what the
// client writes to everybody ended the client's circuit with such a peer, whose address was taken
// for our own.
func TestRepeatedBytes(t *testing.T) {
	h := sharedHost(t, Config{})
	joinAs(t, h.plain, topicA, endpoint(1)).follow(h)
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", h.shared.port()))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := h.plain.dial(t.Context(), member{h.plain, topicA, endpoint(1)}, public(ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	peer := accept(t, ln.(*net.TCPListener))
	hello := strings.Repeat("the same for everybody ", 3)
	fmt.Fprint(s, hello)
	wantClosed(t, "the stranger", knock(t, h.shared.port(), []byte(hello)))
	b := make([]byte, len(hello))
	if _, err := io.ReadFull(peer, b); err != nil || string(b) != hello {
		t.Errorf("the peer read %q, %v", b, err)
	}
	fmt.Fprint(peer, "alive")
	wantEcho(t, s, peer, "alive")
	if len(h.own) > 0 {
		t.Errorf("%v is taken for our own address", h.own)
	}
}

// Strangers who answer with our id at many addresses left no room for our real one. And an address
// was our own for ever, though it may be somebody else's tomorrow.
func TestOwnAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHost(t, Config{}, newFakeWay("one"))
		defer h.Close()
		at := func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, 8}), uint16(1024+n))
		}
		for n := range 3 * maxOwn {
			time.Sleep(time.Millisecond)
			h.noteOwn(at(n))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.own); n != maxOwn || !h.isOwnLocked(at(3*maxOwn-1), time.Now()) {
			t.Errorf("%d addresses are ours, want %d, the last one too", n, maxOwn)
		}
		if time.Sleep(ownFor); h.isOwnLocked(at(3*maxOwn-1), time.Now()) {
			t.Errorf("it is ours after %v", ownFor)
		}
	})
}

// Each peer of discovery-swarm shows its id to all others. One of these could end other clients'
// circuits with it, by connecting with its id.
func TestSomebodyElsesID(t *testing.T) {
	for _, remote := range []string{strings.Repeat("\x00", 32), strings.Repeat("\xff", 32)} {
		h := newTestHost(t, Config{Ports: freePorts(t, 1), Listen: "127.0.0.1:0"}, newFakeWay("one"))
		j := joinAs(t, h.swarm, topicA, endpoint(1))
		port := j.follow(h)
		ln := listen(t)
		var id string
		var peer net.Conn
		s, err := shakenDial(t, h, endpoint(1), ln, func(c net.Conn) {
			peer = c
			swarmPeer(remote, "", &id)(c)
		})
		if err != nil {
			t.Fatal(err)
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		stranger, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		if _, err := stranger.Write(appendID(nil, remote)); err != nil {
			t.Fatal(err)
		}
		other, err := j.visitorOf().Inbound.Accept()
		if err != nil {
			t.Errorf("the stranger: %v", err)
		} else {
			fmt.Fprint(peer, "alive")
			wantEcho(t, s, peer, "alive")
			other.Close()
		}
		s.Close()
		if len(h.shaken) > 0 {
			t.Errorf("still counted: %v", h.shaken)
		}
	}
}

// Strangers that wait for an answer learned only after 10 s that nobody listens any more.
func TestJoinBreaks(t *testing.T) {
	h := sharedHost(t, Config{})
	h.patience = time.Hour // before the first connection
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	presence := discovery.NewPresence(discovery.State{Announce: true, Endpoints: []wtproto.EndpointID{endpoint(1)}})
	var visitors []net.Conn
	knocked := func(n int) func() bool { // n connections wait
		return func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			for j := range h.present[idOf(topicA)] {
				return len(j.inbox) == n
			}
			return false
		}
	}
	go func() {
		way0(h).await(t, func(trailKey, discovery.State) bool { return true })
		knock(t, h.shared.port(), feedFrame(topicA))
	}()
	for s := range h.plain.Join(ctx, topicA, presence) {
		if s.Inbound == nil {
			continue
		}
		s.Inbound.Refuse(wtproto.CodeDeclined)
		if len(visitors) > 0 {
			break // with one that was not yielded
		}
		for n := range 2 {
			visitors = append(visitors, knock(t, h.shared.port(), feedFrame(topicA)))
			for late := time.Now().Add(30 * time.Second); !knocked(n + 1)(); time.Sleep(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatal("nobody waits")
				}
			}
		}
	}
	for _, c := range visitors {
		wantClosed(t, "after the end", c)
	}
}

// One loud machine silenced all others on the LAN.
func TestLoudMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSilentMulticast(multicastConfig{Policy: testPolicy(t)})
		w.lan = map[int]discovery.Interface{1: {Interface: net.Interface{Index: 1, Name: "lan"}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.90.0.1/16")}}}
		defer w.close()
		f := followOn(t, w, testID("loud"), lookUpOnly, 0)
		defer f.end()
		synctest.Wait()
		b, err := answer([]string{nameOf(testID("other"), datDomain)}, "token=theirs", "peers="+writePeers(ourselves(7)))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 * heardAtOnce {
			w.receive(mcast.Packet{Data: b, Source: netip.MustParseAddrPort("10.90.0.66:5353"), Interface: 1})
		}
		b, err = answer([]string{nameOf(testID("loud"), datDomain)}, "token=theirs", "peers="+writePeers(ourselves(7)))
		if err != nil {
			t.Fatal(err)
		}
		w.receive(mcast.Packet{Data: b, Source: netip.MustParseAddrPort("10.90.0.2:5353"), Interface: 1})
		if n := len(f.found); n != 1 {
			t.Errorf("a quiet machine beside a loud one is heard %d times, want once", n)
		}
		for n := range 4 * maxLoud { // made-up addresses
			w.receive(mcast.Packet{Data: b, Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 90, byte(n >> 8), byte(n)}), 5353), Interface: 1})
		}
		if len(w.loud) > maxLoud {
			t.Errorf("%d machines are remembered, want %d at most", len(w.loud), maxLoud)
		}
	})
}

// Whoever speaks in the name of a server had us answer each of any number of packets.
func TestPushesAreBounded(t *testing.T) {
	server := newFakeServer(t, nil)
	w := newTestDNS(t, server.addr())
	f := followOn(t, w, testID("pushed"), lookUpOnly, 0)
	f.works(t)
	receipts := make(chan struct{}, 10_000)
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := peer.Read(b)
			if err != nil {
				return
			}
			var m dns.Msg
			if m.Unpack(b[:n]) == nil && m.Id == 9999 {
				return
			}
			receipts <- struct{}{}
		}
	}()
	at := peer.LocalAddr().(*net.UDPAddr).AddrPort()
	began := time.Now()
	for range 5000 {
		w.told(at, message{id: 1, said: []said{{name: nameOf(testID("pushed"), datDomain), peers: addrPorts("192.0.2.1:1")}}})
	}
	most := pushesAtOnce + int(time.Since(began).Seconds()+1)*pushesPerSecond
	last, err := receipt(9999)
	if err != nil {
		t.Fatal(err)
	}
	for stop := false; !stop; { // the last one may get lost
		w.asker.conn.WriteToUDPAddrPort(last, at)
		select {
		case <-done:
			stop = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	peer.Close()
	if n := len(receipts); n == 0 || n > most {
		t.Errorf("%d receipts, want some, and %d at most", n, most)
	}
	f.await(t, "192.0.2.1:1")
}

// A flood of strangers' packets at the node of the DHT drowned the answers to our own questions.
func TestAnswersAmidFlood(t *testing.T) {
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	node, ours := open(), open()
	c := newGuardedConn(ours, testPolicy(t), readPacket, func(netip.AddrPort) bool { return false })
	if _, err := c.WriteTo([]byte("d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t1:a1:y1:qe"), node.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	for c.intake.Allow() { // strangers have sent so many that were read
	}
	c.intake.SetLimit(0)
	const answer = "d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t1:a1:y1:re"
	stranger := open()
	for _, from := range []*net.UDPConn{stranger, node} {
		if _, err := from.WriteToUDP([]byte(answer), ours.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make(chan net.Addr, 1)
	go func() {
		_, from, _ := c.ReadFrom(make([]byte, 2048))
		got <- from
	}()
	select {
	case from := <-got:
		if from == nil || from.String() != node.LocalAddr().String() {
			t.Errorf("a packet of %v, want the node's", from)
		}
	case <-time.After(30 * time.Second):
		t.Error("the answer was not read")
	}
	for n := range 1000 { // whoever is asked cannot flood either
		if !c.expects(node.LocalAddr().(*net.UDPAddr).AddrPort()) {
			break
		} else if n > 2*packetsPerAnswer {
			t.Fatalf("%d packets of it are read", n)
		}
	}
}

// A packet that came in while the node was being closed kept the host from closing for ever.
func TestPacketsWhileClosing(t *testing.T) {
	flood, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var to atomic.Pointer[net.UDPAddr]
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if at := to.Load(); at == nil {
				runtime.Gosched()
			} else if _, err := flood.WriteToUDP([]byte("d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t1:a1:y1:qe"), at); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
	defer wg.Wait()
	defer flood.Close()
	for range 50 {
		n, err := newLibraryNode(mainlineConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Bootstrap: []string{}, Policy: testPolicy(t)})
		if err != nil {
			t.Fatal(err)
		}
		to.Store(n.conn.LocalAddr().(*net.UDPAddr))
		for n.server.NumNodes() == 0 { // it hears the flood
			runtime.Gosched()
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			n.close()
		}()
		select {
		case <-closed:
		case <-time.After(30 * time.Second):
			t.Fatal("the node does not close")
		}
	}
}
