package dat

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/internal/splice/splicetest"
	"github.com/swarmgate/swarmgate/wtproto"
)

// feedFrame returns the first frame of hypercore-protocol 6 for a topic.
func feedFrame(topic wtproto.Topic) []byte {
	b := append([]byte{0x3d, 0x00, 0x0a, 0x20}, topic[:]...)
	b = append(b, 0x12, 0x18)
	nonce := make([]byte, 24)
	rand.Read(nonce)
	return append(b, nonce...)
}

func TestParseFeed(t *testing.T) {
	whole := feedFrame(topicA)
	plain := append([]byte{0x23}, whole[1:36]...)
	for n := range whole {
		if got, _ := parseFeed(whole[:n]); got != feedMore {
			t.Errorf("%d bytes of a frame: %v, want more", n, got)
		}
	}
	for name, tc := range map[string]struct {
		in   []byte
		want feed
	}{
		"a frame": {whole, feedHere}, "and what follows": {append(bytes.Clone(whole), "more"...), feedHere},
		"without a nonce": {plain, feedHere}, "cut": {plain[:35], feedMore},
		"another length": {append([]byte{0x3e}, whole[1:]...), feedNone}, "another channel": {[]byte{0x3d, 0x10}, feedNone},
		"another field": {[]byte{0x3d, 0, 0x0b}, feedNone}, "a short key": {[]byte{0x3d, 0, 0x0a, 0x1f}, feedNone},
		"no nonce where one was promised": {append(bytes.Clone(whole[:36]), 0x13), feedNone},
		"a web client":                    {[]byte("GET / HTTP/1.1\r\n"), feedNone}, "nothing": {nil, feedMore},
	} {
		got, topic := parseFeed(tc.in)
		if got != tc.want || (topic == topicA) != (got == feedHere) {
			t.Errorf("%s: %v, %v; want %v", name, got, topic, tc.want)
		}
	}
}

func FuzzParseFeed(f *testing.F) {
	f.Add(feedFrame(topicA))
	f.Fuzz(func(t *testing.T, b []byte) {
		if found, _ := parseFeed(b); found == feedMore && len(b) >= feedMost {
			t.Errorf("%x: more, want an answer", b)
		}
	})
}

func TestPorts(t *testing.T) {
	a, b := listen(t), listen(t)
	first := a.Addr().(*net.TCPAddr).Port
	p := newPorts("127.0.0.1", PortRange{uint16(first), uint16(first)})
	if ln, err := p.take(); err == nil || !strings.Contains(err.Error(), "no port of --dat-ports can be opened") {
		t.Errorf("take = %v, %v, want that another program has the port", ln, err)
	}
	a.Close()
	freed := p.wait()
	ln, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.take(); err == nil || !strings.Contains(err.Error(), "all 1 ports of --dat-ports are taken") {
		t.Errorf("take = %v, want that all are taken", err)
	}
	ln.Close()
	p.give(ln)
	<-freed
	if ln, err := p.take(); err != nil {
		t.Error(err)
	} else {
		ln.Close()
	}
	b.Close()
}

// sharedHost returns a host with a shared port.
func sharedHost(t *testing.T, cfg Config) *Host {
	t.Helper()
	if cfg.Policy == nil {
		cfg.Policy = newPolicy(t, discovery.PolicyConfig{Private: true})
	}
	ln, err := listenTCP(freeport.Address(t)) // which is free at other addresses too
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = ln.Addr().String()
	h := newHost(cfg, []way{newFakeWay("one")}, ln)
	t.Cleanup(func() { h.Close() })
	return h
}

// freePorts returns a range of n ports that are free.
func freePorts(t *testing.T, n int) PortRange {
	t.Helper()
	first := freeport.Ports(t, n)
	return PortRange{uint16(first), uint16(first + n - 1)}
}

func way0(h *Host) *fakeWay { return h.ways[0].(*fakeWay) }

// knock connects to a port of h and writes b.
func knock(t *testing.T, port uint16, b []byte) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// visitorOf awaits a connection.
func (j *joined) visitorOf() discovery.Sighting {
	j.t.Helper()
	return j.await("connection", func(x discovery.Update) bool { return x.Sighting.Inbound != nil }).Sighting
}

// wantEcho has both ends of a circuit exchange words.
func wantEcho(t *testing.T, s discovery.Stream, c net.Conn, first string) {
	t.Helper()
	b := make([]byte, len(first))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != first {
		t.Errorf("the client read %q, %v, want %q", b, err, first)
	}
	if _, err := s.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	b = make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "answer" {
		t.Errorf("the peer read %q, %v", b, err)
	}
}

// wantClosed waits until the peer's connection ends without a byte.
func wantClosed(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 100)); err == nil || n > 0 {
		t.Errorf("%s: read %d bytes, %v; want an end", what, n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("%s: still open", what)
	}
}

// A connection at the shared port belongs to the topic that its first frame names: by all 32 bytes,
// else by the first 20. The frame arrives whole, however it was cut.
func TestSharedPort(t *testing.T) {
	h := sharedHost(t, Config{})
	topics := make(map[wtproto.Topic]*joined)
	for i := range 50 {
		topic := wtproto.TopicFromName(fmt.Sprint("topic ", i))
		if i%2 == 1 {
			clear(topic[20:])
		}
		topics[topic] = joinAs(t, h.plain, topic, endpoint(byte(i)))
		topics[topic].follow(h)
	}
	joinWith(t, h.plain, topicA, discovery.State{LookUp: true, Endpoints: []wtproto.EndpointID{endpoint(77)}}).follow(h)
	for topic, j := range topics {
		frame := feedFrame(topic)
		c := knock(t, h.shared.port(), frame[:1])
		for _, b := range [][]byte{frame[1:3], frame[3:40], frame[40:], []byte("and more")} {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		s := j.visitorOf()
		if s.Peer.Network != "dat" || s.Holds != 0 || !s.PeerFoundUs || s.Peer.Service != nil || s.Inbound.Further() {
			t.Errorf("sighting %+v", s)
		}
		stream, err := s.Inbound.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wantEcho(t, stream, c, string(frame)+"and more")
		stream.Close()
	}
	wantClosed(t, "a topic that nobody announces", knock(t, h.shared.port(), feedFrame(topicA)))
	wantClosed(t, "a topic that nobody is on", knock(t, h.shared.port(), feedFrame(wtproto.TopicFromName("b"))))
	wantClosed(t, "garbage", knock(t, h.shared.port(), []byte("GET / HTTP/1.1\r\n\r\n")))
}

// follow waits until the host follows the topic as the presence says.
func (j *joined) follow(h *Host) uint16 {
	j.t.Helper()
	state, _ := j.presence.State()
	key, _ := way0(h).await(j.t, func(_ trailKey, s discovery.State) bool {
		for _, e := range s.Endpoints {
			if e == state.Endpoints[0] && s.Announce == state.Announce && s.LookUp == state.LookUp {
				return true
			}
		}
		return false
	})
	return key.port
}

// A topic's own port needs no name in the first bytes. If these name another topic of ours, they
// are believed: peers remember ports for longer than topics have them.
func TestTopicPorts(t *testing.T) {
	h := newTestHost(t, Config{Ports: freePorts(t, 3), Listen: "127.0.0.1:0"}, newFakeWay("one"))
	b := wtproto.TopicFromName("b")
	ja, jb := joinAs(t, h.plain, topicA, endpoint(1)), joinAs(t, h.plain, b, endpoint(2))
	pa, pb := ja.follow(h), jb.follow(h)
	if pa == pb || pa == 0 || pb == 0 {
		t.Fatalf("ports %d and %d", pa, pb)
	}
	for _, tc := range []struct {
		name string
		port uint16
		send []byte
		want *joined
	}{
		{"any protocol", pa, []byte("hello"), ja},
		{"one byte", pb, []byte{0x3e}, jb},
		{"its own name", pb, feedFrame(b), jb},
		{"the name of another topic", pa, feedFrame(b), jb},
		{"an unknown name", pa, feedFrame(wtproto.TopicFromName("c")), ja},
	} {
		c := knock(t, tc.port, tc.send)
		stream, err := tc.want.visitorOf().Inbound.Accept()
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		wantEcho(t, stream, c, string(tc.send))
		stream.Close()
	}
	// A port is free again once its topic is left, even before Join ends.
	jc := joinAs(t, h.plain, wtproto.TopicFromName("c"), endpoint(3))
	jc.follow(h)
	jd := joinAs(t, h.plain, wtproto.TopicFromName("d"), endpoint(4))
	if port := jd.follow(h); port != 0 {
		t.Errorf("port %d for a fourth topic, want none", port)
	}
	ja.presence.Set(discovery.State{Announce: true, LookUp: true})
	if key, _ := way0(h).await(t, func(k trailKey, _ discovery.State) bool {
		return k.id == idOf(wtproto.TopicFromName("d")) && k.port != 0
	}); key.port != pa {
		t.Errorf("port %d for the fourth topic, want %d", key.port, pa)
	}
}

// The network says why a topic cannot be found.
func TestUnheard(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		swarm bool
		want  string
	}{
		"no port":                   {Config{}, false, "needs --dat-listen or --dat-ports"},
		"no port of a topic":        {Config{}, true, "the network discovery-swarm needs --dat-ports"},
		"all ports are taken":       {Config{Ports: freePorts(t, 1)}, false, "all 1 ports of --dat-ports are taken"},
		"all ports are taken there": {Config{Ports: freePorts(t, 1)}, true, "all 1 ports of --dat-ports are taken"},
	} {
		h := newTestHost(t, tc.cfg, newFakeWay("one"))
		n := h.plain
		if tc.swarm {
			n = h.swarm
		}
		if tc.cfg.Ports.size() > 0 {
			joinAs(t, n, wtproto.TopicFromName("first"), endpoint(1)).follow(h)
		}
		j := joinAs(t, n, topicA, endpoint(2))
		j.follow(h)
		way0(h).mu.Lock()
		for key, f := range way0(h).follows {
			if key.id == idOf(topicA) {
				f.report(nil)
			}
		}
		way0(h).mu.Unlock()
		x := j.await("note", func(x discovery.Update) bool { return x.Sighting.Note != nil })
		if !strings.Contains(x.Sighting.Note.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, x.Sighting.Note, tc.want)
		}
	}
}

// A connection goes to the member with the fewest circuits, and to the next one if that does not
// take it.
func TestFewestCircuits(t *testing.T) {
	h := sharedHost(t, Config{})
	j := joinAs(t, h.plain, topicA, endpoint(1), endpoint(2), endpoint(3))
	j.follow(h)
	got := make(map[wtproto.EndpointID]int)
	var streams []discovery.Stream
	for range 9 {
		knock(t, h.shared.port(), feedFrame(topicA))
		s := j.visitorOf()
		if s.Inbound.To() == endpoint(3) { // it takes none
			s.Inbound.Refuse(wtproto.CodeBusy)
			s = j.visitorOf()
		}
		stream, err := s.Inbound.Accept()
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
		got[s.Inbound.To()]++
	}
	if got[endpoint(1)] < 4 || got[endpoint(2)] < 4 || got[endpoint(3)] > 0 {
		t.Errorf("circuits %v, want 9 for the first two", got)
	}
	c := knock(t, h.shared.port(), feedFrame(topicA))
	for range 3 {
		j.visitorOf().Inbound.Refuse(wtproto.CodeDeclined)
	}
	wantClosed(t, "refused by all", c)
	for _, s := range streams {
		s.Close()
	}
	if len(h.counts) > 0 || len(h.guests) > 0 {
		t.Errorf("still counted: %v, %v", h.counts, h.guests)
	}
}

// Silence, slow bytes and floods are bounded in time and number, and honest peers get in beside
// them.
func TestGarbage(t *testing.T) {
	h := sharedHost(t, Config{})
	h.patience = 3 * time.Second // before the first connection
	j := joinAs(t, h.plain, topicA, endpoint(1))
	j.follow(h)
	began := time.Now()
	silent, slow := knock(t, h.shared.port(), nil), knock(t, h.shared.port(), []byte{0x3d})
	var flood []*net.TCPConn
	for range 3 * maxVisitsEach {
		flood = append(flood, knock(t, h.shared.port(), []byte{0x3d, 0x00}))
	}
	honest := knock(t, h.shared.port(), feedFrame(topicA))
	stream, err := j.visitorOf().Inbound.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	b := make([]byte, feedMost)
	if _, err := io.ReadFull(stream, b); err != nil {
		t.Error(err)
	}
	if n := h.visits.Len(); n > maxVisitsEach {
		t.Errorf("%d visits of one address, want at most %d", n, maxVisitsEach)
	}
	wantClosed(t, "silence", silent)
	wantClosed(t, "slow bytes", slow)
	for _, c := range flood {
		wantClosed(t, "flood", c)
	}
	if took := time.Since(began); took < h.patience {
		t.Errorf("all ended within %v, want that the last ones have %v", took, h.patience)
	}
	fmt.Fprint(stream, "alive")
	if _, err := io.ReadFull(honest, b[:5]); err != nil {
		t.Errorf("the honest peer's circuit: %v", err)
	}
	// A stranger cannot take all places of a topic.
	for range maxGuests - 1 { // beside the honest one, which is at the same address
		knock(t, h.shared.port(), feedFrame(topicA))
		s, err := j.visitorOf().Inbound.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	for range 2 {
		wantClosed(t, "one circuit too many", knock(t, h.shared.port(), feedFrame(topicA)))
	}
}

// What was read to sort a connection is read again, and the kernel does not know of that.
func TestVisitorIsReadable(t *testing.T) {
	h := sharedHost(t, Config{})
	j := joinAs(t, h.plain, topicA, endpoint(1))
	j.follow(h)
	frame := feedFrame(topicA)
	c := knock(t, h.shared.port(), frame)
	s, err := j.visitorOf().Inbound.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.(discovery.Readable)
	if r.OnReadable(func() { t.Error("the kernel has told of what was read already") }) {
		t.Fatal("OnReadable = true, though Read would not wait")
	}
	if _, err := io.ReadFull(s, frame); err != nil {
		t.Fatal(err)
	}
	readable := make(chan struct{})
	c.Write([]byte("x"))
	if r.OnReadable(func() { close(readable) }) {
		<-readable
	} else if runtime.GOOS == "linux" {
		t.Error("OnReadable = false, though nothing is left to be read again")
	}
	if n, err := s.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
}

// The handshake of an inbound connection: our id is that of the member that takes it, and the
// redundant one of two connections is dropped.
func TestInboundHandshake(t *testing.T) {
	h := newTestHost(t, Config{Ports: freePorts(t, 1), Listen: "127.0.0.1:0"}, newFakeWay("one"))
	j := joinAs(t, h.swarm, topicA, endpoint(1))
	port := j.follow(h)
	own := h.swarmID(member{h.swarm, topicA, endpoint(1)})
	for name, remote := range map[string]string{"lower": strings.Repeat("\x00", 32), "higher": strings.Repeat("\xff", 32)} {
		first := knock(t, port, append(appendID(nil, remote), "hello"...))
		old, err := j.visitorOf().Inbound.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if id, err := readID(first); id != own || err != nil {
			t.Errorf("the peer saw the id %x, %v", id, err)
		}
		wantEcho(t, old, first, "hello")
		ended := make(chan error, 1)
		go func() { ended <- splicetest.Restless(io.Discard, old) }()
		second := knock(t, port, append(appendID(nil, remote), "again"...))
		s, err := j.visitorOf().Inbound.Accept()
		if id, err := readID(second); id != own || err != nil {
			t.Errorf("the peer saw the id %x, %v", id, err)
		}
		if name == "higher" {
			wantCode(t, "the newer connection", err, wtproto.CodeDeclined)
			wantClosed(t, "the newer connection", second)
			old.Close()
			<-ended
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantClosed(t, "the older connection", first)
		wantCode(t, "the older connection", <-ended, wtproto.CodeReplaced)
		wantEcho(t, s, second, "again")
		old.Close()
		s.Close()
	}
	wantClosed(t, "no handshake", knock(t, port, []byte{0}))
	if len(h.counts) > 0 || len(h.guests) > 0 || len(h.shaken) > 0 {
		t.Errorf("still counted: %v, %v, %v", h.counts, h.guests, h.shaken)
	}
}

// A dial that a router leads back to us is found out by its bytes. Both ends are dropped, and the
// address is not dialed again.
func TestRouterLeadsBack(t *testing.T) {
	for _, mode := range []string{"dat", "discovery-swarm"} {
		h := newTestHost(t, Config{Ports: freePorts(t, 1), Listen: "127.0.0.1:0"}, newFakeWay("one"))
		n := h.plain
		if mode == "discovery-swarm" {
			n = h.swarm
		}
		j := joinAs(t, n, topicA, endpoint(1), endpoint(2))
		port := j.follow(h)
		// The router has the same port at 127.0.0.2, which is not ours to the policy of this test.
		router, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		h.cfg.Policy = newPolicy(t, discovery.PolicyConfig{Private: true})
		h.public.Close()
		h.public = discovery.NewTCPDialer(h.cfg.Policy, discovery.SourcePublic)
		forwarded := make(chan struct{})
		go func() {
			defer close(forwarded)
			in, err := router.Accept()
			if err != nil {
				return
			}
			defer in.Close()
			out, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return
			}
			defer out.Close()
			go io.Copy(out, in)
			io.Copy(in, out)
		}()
		_, f := way0(h).await(t, lookUp)
		at := router.Addr().String()
		f.found(public(at))
		s, err := j.peerAt(at).Dial(t.Context(), endpoint(1))
		if mode == "dat" {
			if err != nil {
				t.Fatal(err)
			}
			s.Write(feedFrame(topicA))
			_, err = s.Read(make([]byte, 1))
			s.Close()
		}
		wantCode(t, mode, err, wtproto.CodeForbidden)
		j.await("departure", func(x discovery.Update) bool { return x.Sighting.Gone })
		f.found(public(at))
		f.found(public("127.0.0.1:9999"))
		j.peerAt("127.0.0.1:9999")
		if rest := addressesOf(j.drain()); len(rest) > 0 {
			t.Errorf("%s: peers at %v, want none", mode, rest)
		}
		router.Close()
		<-forwarded
	}
}
