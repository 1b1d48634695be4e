package p2p

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

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

// Of 101 circuits between two hosts 100 are not read, on this side or on that, and the last one moves.
func TestStalledCircuits(t *testing.T) {
	const stalled = 100
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	clients := endpoints(stalled + 1)
	gm := join(t, g, presence(true, true, clients...), nil)
	nm := join(t, n, discovery.Native(), nil)
	peer := gm.await("the native peer", isPeer(n, nobody))
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

// A host opens as many circuits as the limit says, and the next one is refused with a code until one has ended.
func TestMaxStreams(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	clients := endpoints(MaxStreams + 1)
	gm := join(t, g, presence(true, true, clients...), nil)
	join(t, n, discovery.Native(), echo)
	peer := gm.await("the native peer", isPeer(n, nobody))
	var open []discovery.Stream
	for _, c := range clients {
		s, err := peer.sighting.Dial(t.Context(), c)
		if err == nil {
			open = append(open, s)
			continue
		}
		wantCode(t, "Dial", err, wtproto.CodeCircuitLimit, false)
		break
	}
	t.Cleanup(func() {
		for _, s := range open {
			s.Close()
		}
	})
	if len(open) < MaxStreams-1 || len(open) > MaxStreams { // the meeting is a stream too
		t.Errorf("%d circuits, want %d", len(open), MaxStreams)
	}
	open[0].Close()
	eventually(t, "there is room again", func() bool {
		s, err := peer.sighting.Dial(t.Context(), clients[MaxStreams])
		if err == nil {
			open = append(open, s)
		}
		return err == nil
	})
}

// One address that had 64 streams of the DHT with each of 32 ids once took all 2,048 that there were
// for everybody, and the DHT did not answer any more.
func TestOneNetworkLeavesOthersTheDHT(t *testing.T) {
	l := limits().ToPartialLimitConfig()
	most := 8 * maxConnsAddress * int(l.ProtocolPeerDefault.StreamsInbound) // of a /48
	if all := int(l.ProtocolDefault.StreamsInbound); most > all/2 {
		t.Errorf("one /48 can have %d of %d streams of a protocol", most, all)
	}
}

// Streams that do not say what they are take so much room and no more, and give it back.
func TestMaxPending(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(key(large), func(c *Config) { c.AnswerTimeout = 2 * time.Second }))
	join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	busy := make(chan bool, maxPending+10)
	var wg sync.WaitGroup
	for range cap(busy) {
		st := s.open(h)
		write(t, st, []byte{0x20})
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
	wg.Wait()
	close(busy)
	refused := 0
	for b := range busy {
		if b {
			refused++
		}
	}
	if refused != 10 {
		t.Errorf("%d streams were refused, want 10", refused)
	}
	if n := h.ties.pending.Len(); n != 0 {
		t.Errorf("%d streams still count as pending", n)
	}
}

// 256 silent streams with each of four ids, of one address or many, once kept everybody else's MEET
// and OPEN out.
func TestSilentStreamsShutNobodyOut(t *testing.T) {
	h := listen(t, nil)
	join(t, h, discovery.Native(), nil)
	for range 4 {
		_, k := keys(t)
		silent := newStranger(t, k)
		for range maxPendingAll / 4 {
			write(t, silent.open(h), []byte{0x20})
		}
	}
	eventually(t, "all that one address may have are silent", func() bool { return h.ties.pending.Len() == maxPending })
	_, k := keys(t)
	s := newStranger(t, k)
	st := s.open(h)
	write(t, st, s.meet(h, endpoint(1)).Append(nil))
	if typ, _, err := wtproto.NewReader(st).Next(); err != nil || typ != wtproto.TypeMet {
		t.Errorf("the answer to MEET is %v, %v", typ, err)
	}
}

// A topic remembers so many hosts; one that is new pushes out the one that was found least recently, and none that is met.
func TestMaxHosts(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode = Off })
	tp := &topic{h: h, hosts: make(map[peer.ID]*remote)}
	id := func(i int) peer.ID { return peer.ID([]byte{byte(i >> 8), byte(i)}) }
	for i := range maxHosts {
		tp.remoteLocked(id(i)).received = &meeting{}
	}
	if r := tp.remoteLocked(id(maxHosts)); r != nil {
		t.Error("there was room for one more host")
	}
	for _, i := range []int{7, 8} {
		tp.hosts[id(i)].received = nil
	}
	tp.hosts[id(7)].seen = time.Now().Add(-time.Minute)
	if r := tp.remoteLocked(id(maxHosts)); r == nil || tp.hosts[id(7)] != nil || tp.hosts[id(8)] == nil || len(tp.hosts) != maxHosts {
		t.Errorf("%v; 7 is there: %v, 8: %v; %d hosts", r, tp.hosts[id(7)] != nil, tp.hosts[id(8)] != nil, len(tp.hosts))
	}
}

// One host may send MEET on so many topics.
func TestTies(t *testing.T) {
	h := listen(t, func(c *Config) { c.Mode = Off })
	a, b := peer.ID("a"), peer.ID("b")
	for range maxMeetings {
		if !h.ties.addMeeting(a, false) {
			t.Fatal("a meeting was refused")
		}
	}
	if h.ties.addMeeting(a, false) {
		t.Error("there was room for one more meeting")
	}
	if !h.ties.addMeeting(a, true) || !h.ties.addMeeting(b, false) {
		t.Error("other meetings do not count, but were refused")
	}
	if got := h.ties.met(1); len(got) != 1 {
		t.Errorf("met(1) = %v", got)
	}
	if got := h.ties.met(9); len(got) != 2 {
		t.Errorf("met(9) = %v", got)
	}
	for range maxMeetings {
		h.ties.dropMeeting(a, false)
	}
	h.ties.dropMeeting(a, true)
	h.ties.dropMeeting(b, false)
	if got := h.ties.met(9); len(got) != 0 || len(h.ties.inbound) != 0 {
		t.Errorf("met = %v after all have ended, %v", got, h.ties.inbound)
	}
	conns := h.libp2p.ConnManager()
	h.ties.addCircuit(a)
	h.ties.addCircuit(a)
	h.ties.dropCircuit(a)
	if !conns.IsProtected(a, tagCircuit) {
		t.Error("a host with a circuit is not protected")
	}
	h.ties.dropCircuit(a)
	if conns.IsProtected(a, tagCircuit) {
		t.Error("a host without a circuit is protected")
	}
}

// News that nobody pulls pushes out the oldest, and refuses the circuits in it.
func TestNews(t *testing.T) {
	n := newNews()
	in := &inbound{answered: make(chan struct{})}
	n.push(item{sighting: discovery.Sighting{Inbound: in}})
	for i := range maxNews {
		n.push(item{sighting: discovery.Sighting{Holds: time.Duration(i + 1)}})
	}
	if code, refused := in.refusal(); !refused || code != wtproto.CodeBusy {
		t.Errorf("the circuit: refused %v, %v", refused, code)
	}
	for i := range maxNews {
		if got, ok := n.pull(t.Context()); !ok || got.sighting.Holds != time.Duration(i+1) {
			t.Fatalf("pull %d = %v, %v", i, got, ok)
		}
	}
	if len(n.items) != 0 {
		t.Errorf("%d are left", len(n.items))
	}
}
