package dat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func accept(t *testing.T, ln *net.TCPListener) net.Conn {
	t.Helper()
	if err := ln.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wantCode(t *testing.T, what string, err error, code wtproto.Code) {
	t.Helper()
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

// find joins, has the way find addresses, and returns the join.
func find(t *testing.T, n *network, w *fakeWay, addrs ...string) *joined {
	t.Helper()
	j := joinAs(t, n, topicA, endpoint(1))
	_, f := w.await(t, lookUp)
	for _, a := range addrs {
		f.found(public(a))
	}
	return j
}

// A circuit of the network dat has the client's bytes and the peer's, and no others.
func TestDialPlain(t *testing.T) {
	w, ln := newFakeWay("one"), listen(t)
	h := newTestHost(t, Config{}, w)
	j := find(t, h.plain, w, ln.Addr().String())
	s := j.peerAt(ln.Addr().String())
	if s.Peer.Network != "dat" || s.Peer.Service == nil || s.Further == nil {
		t.Errorf("sighting %+v, want a service of dat", s)
	}
	stream, err := s.Dial(t.Context(), endpoint(1))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if at := stream.(discovery.Located).Remote(); at.String() != ln.Addr().String() {
		t.Errorf("Remote = %v", at)
	}
	peer := accept(t, ln)
	if _, err := stream.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(peer); err != nil || string(b) != "ping" {
		t.Errorf("the peer read %q, %v", b, err)
	}
	fmt.Fprint(peer, "pong")
	peer.Close()
	if b, err := io.ReadAll(stream); err != nil || string(b) != "pong" {
		t.Errorf("the client read %q, %v", b, err)
	}
}

// Addresses that strangers wrote are not dialed if they are not public, are our own, or have a
// port below 1024 other than 80 and 443. If there are no others, STATUS has the reason.
func TestForbiddenAddresses(t *testing.T) {
	w := newFakeWay("one")
	policy := newPolicy(t, discovery.PolicyConfig{})
	policy.AddOwn(netip.MustParseAddrPort("203.0.113.9:3282"))
	h := newTestHost(t, Config{Policy: policy}, w)
	j := joinAs(t, h.plain, topicA, endpoint(1))
	_, f := w.await(t, lookUp)
	f.report(nil)
	j.await("start", func(x discovery.Update) bool { return x.Err == nil })
	for _, a := range []string{
		"127.0.0.1:3282", "10.0.0.1:3282", "169.254.169.254:80", "203.0.113.9:3282", "[::1]:3282", "0.0.0.0:3282", "8.8.8.8:0",
		"8.8.8.8:22", "8.8.8.8:25", "8.8.8.8:53", "8.8.8.8:1023", "[::ffff:127.0.0.1]:3282", "255.255.255.255:3282", "224.0.0.251:5353",
	} {
		f.found(public(a))
	}
	x := j.await("reason", func(x discovery.Update) bool { return x.Sighting.Note != nil })
	wantCode(t, "note", x.Sighting.Note, wtproto.CodeForbidden)
	for _, a := range []string{"9.9.9.9:80", "9.9.9.9:443", "9.9.9.9:1024", "[2606:4700::1]:3282"} {
		f.found(public(a))
		j.peerAt(a)
	}
	if rest := addressesOf(j.drain()); len(rest) > 0 {
		t.Errorf("peers at %v, want none", rest)
	}
	lan := address{at: netip.MustParseAddrPort("9.9.9.9:22"), source: discovery.SourceLAN}
	wantCode(t, "a service of the LAN", mayDial(lan), wtproto.CodeForbidden)
}

// Peers that an answer of the DHT made up cost a bounded number of dials: a target gets no more
// than the policy allows, however many ports of it were written, and no dial comes twice.
func TestForgedPeers(t *testing.T) {
	w := newFakeWay("one")
	h := newTestHost(t, Config{Policy: newPolicy(t, discovery.PolicyConfig{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}})}, w)
	j := joinAs(t, h.plain, topicA, endpoint(1))
	_, f := w.await(t, lookUp)
	for i := range 1000 {
		f.found(public(fmt.Sprintf("127.0.0.2:%d", 2000+i)))
		f.found(public(fmt.Sprintf("127.0.0.3:%d", 2000+i)))
	}
	seen := make(map[string]int)
	last := j.peerAt("127.0.0.3:2999")
	for _, x := range append(j.drain(), discovery.Update{Sighting: last}) {
		seen[x.Sighting.Peer.Address]++
	}
	limited, tried := 0, 0
	for i := range 1000 {
		a := public(fmt.Sprintf("127.0.0.3:%d", 2000+i))
		s, err := h.plain.dial(t.Context(), member{h.plain, topicA, endpoint(1)}, a)
		switch {
		case err == nil: // something of this machine listens there
			s.Close()
			tried++
		case codeOf(err) == wtproto.CodeRateLimited:
			limited++
		default:
			tried++
		}
	}
	// The range was allowed by the operator, so a target in it gets 512 failed dials at once.
	if tried > 600 || limited < 400 {
		t.Errorf("%d dials of one target, %d refused", tried, limited)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, trail := range h.trails {
		if n := len(trail.found); n > maxFound {
			t.Errorf("%d addresses are remembered, want at most %d", n, maxFound)
		}
		for a := range trail.found {
			if a.at.Addr().String() != "127.0.0.3" {
				t.Errorf("%v is remembered", a.at)
			}
		}
	}
	for a, n := range seen {
		if n > 1 || strings.Contains(a, "127.0.0.2") {
			t.Errorf("%s was told of %d times", a, n)
		}
	}
}

// shakenDial dials the peer at ln in the mode of discovery-swarm, whose part answer plays.
func shakenDial(t *testing.T, h *Host, from wtproto.EndpointID, ln *net.TCPListener, answer func(net.Conn)) (discovery.Stream, error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			t.Cleanup(func() { c.Close() })
			answer(c)
		}
	}()
	s, err := h.swarm.dial(t.Context(), member{h.swarm, topicA, from}, public(ln.Addr().String()))
	if err != nil {
		ln.SetDeadline(time.Now()) // if nobody has dialed
	}
	<-done
	ln.SetDeadline(time.Time{})
	return s, err
}

// swarmPeer answers as discovery-swarm with an id does, and sends a word after it.
func swarmPeer(id, word string, got *string) func(net.Conn) {
	return func(c net.Conn) {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		c.Write(append(appendID(nil, id), word...))
		remote, err := readID(c)
		if err != nil {
			remote = err.Error()
		}
		*got = remote
	}
}

// The gateway does the handshake of discovery-swarm, and the client sees nothing of it.
func TestHandshake(t *testing.T) {
	ln := listen(t)
	h := newTestHost(t, Config{}, newFakeWay("one"))
	var id string
	s, err := shakenDial(t, h, endpoint(1), ln, swarmPeer(strings.Repeat("p", 32), "hello", &id))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if want := h.swarmID(member{h.swarm, topicA, endpoint(1)}); id != want || len(id) != 32 {
		t.Errorf("the peer saw the id %x, want %x", id, want)
	}
	if h.swarmID(member{h.swarm, topicA, endpoint(2)}) == id || h.swarmID(member{h.swarm, wtproto.Topic{}, endpoint(1)}) == id {
		t.Error("another member, or another topic, has the same id")
	}
}

// Who answered where is forgotten with the topic. It was kept for ever, for each topic that anybody
// had been on, and then if a dial ended after the topic had been left.
func TestWhoAnsweredIsForgotten(t *testing.T) {
	h := newTestHost(t, Config{}, newFakeWay("one"))
	j := joinAs(t, h.swarm, topicA, endpoint(1))
	j.follow(h)
	answer := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.nameLocked(topicA, address{}, "somebody")
	}
	if answer(); len(h.names) != 1 {
		t.Errorf("%d topics are remembered, want 1", len(h.names))
	}
	j.leave()
	answer()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.names) > 0 {
		t.Errorf("%d topics are remembered after all have been left", len(h.names))
	}
}

// A peer that vanishes during the handshake stopped the original. Here it is a failed dial with a
// code, in bounded time, and so is one that sends something else.
func TestBrokenHandshake(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(net.Conn)
		want   wtproto.Code
	}{
		"it closes at once": {func(c net.Conn) {
			readID(c)
			c.Close()
		}, wtproto.CodePeerGone},
		"it closes in the middle": {func(c net.Conn) {
			readID(c)
			c.Write([]byte("\x20half"))
			c.Close()
		}, wtproto.CodePeerGone},
		"it resets": {func(c net.Conn) {
			c.Read(make([]byte, 1))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}, wtproto.CodePeerReset},
		"an id that is too long": {func(c net.Conn) { c.Write([]byte("\xff\xff\x03")) }, wtproto.CodeProtocol},
		"an empty id":            {func(c net.Conn) { c.Write([]byte{0}) }, wtproto.CodeProtocol},
		"a length without end":   {func(c net.Conn) { c.Write([]byte(strings.Repeat("\xff", 20))) }, wtproto.CodeProtocol},
		"a web server":           {func(c net.Conn) { c.Write([]byte("\xd4HTTP/1.1 400 Bad Request\r\n\r\n")) }, wtproto.CodeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newTestHost(t, Config{}, newFakeWay("one"))
			s, err := shakenDial(t, h, endpoint(1), listen(t), tc.answer)
			if err == nil {
				s.Close()
			}
			wantCode(t, "Dial", err, tc.want)
			if len(h.counts) > 0 || len(h.shaken) > 0 {
				t.Errorf("still counted: %v, %v", h.counts, h.shaken)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		h := newTestHost(t, Config{}, newFakeWay("one"))
		began := time.Now()
		_, err := shakenDial(t, h, endpoint(1), listen(t), func(net.Conn) {})
		wantCode(t, "Dial", err, wtproto.CodePeerUnreachable)
		if took := time.Since(began); took < shakeWithin {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		h, ln := newTestHost(t, Config{}, newFakeWay("one")), listen(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := h.swarm.dial(ctx, member{h.swarm, topicA, endpoint(1)}, public(ln.Addr().String()))
			ended <- err
		}()
		accept(t, ln)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Dial = %v", err)
		}
	})
}

// Of two connections with the same two ids one is dropped: the one that discovery-swarm drops.
func TestRedundant(t *testing.T) {
	for _, tc := range []struct {
		remote   string
		weOpened bool
		want     bool
	}{
		{"a", true, true}, {"z", true, false}, {"a", false, false}, {"z", false, true},
	} {
		if got := redundant(shake{"m", tc.remote}, tc.weOpened); got != tc.want {
			t.Errorf("redundant(%q, we opened %v) = %v, want %v", tc.remote, tc.weOpened, got, tc.want)
		}
	}
	h := newTestHost(t, Config{}, newFakeWay("one"))
	joinAs(t, h.swarm, topicA, endpoint(1), endpoint(2)).follow(h)
	var id string
	lower, higher := strings.Repeat("\x00", 32), strings.Repeat("\xff", 32)
	for name, remote := range map[string]string{"lower": lower, "higher": higher} {
		first, again := listen(t), listen(t)
		old, err := shakenDial(t, h, endpoint(1), first, swarmPeer(remote, "", &id))
		if err != nil {
			t.Fatal(err)
		}
		// At the same address it is known, so it is not dialed.
		_, err = shakenDial(t, h, endpoint(1), first, func(net.Conn) { t.Error("it was dialed again") })
		wantCode(t, name+": the same address", err, wtproto.CodeDeclined)
		s, err := shakenDial(t, h, endpoint(1), again, swarmPeer(remote, "", &id))
		if remote == lower {
			wantCode(t, "the newer connection", err, wtproto.CodeDeclined)
			old.Reset(wtproto.CodeNone)
		} else {
			if err != nil {
				t.Fatal(err)
			}
			_, err = old.Read(make([]byte, 1))
			wantCode(t, "the older connection", err, wtproto.CodeReplaced)
			old.Close()
			s.Reset(wtproto.CodeNone)
		}
		other, err := shakenDial(t, h, endpoint(2), first, swarmPeer(remote, "", &id))
		if err != nil {
			t.Errorf("%s: another member: %v", name, err)
		} else {
			other.Close()
		}
		if len(h.counts) > 0 || len(h.shaken) > 0 {
			t.Errorf("%s: still counted: %v, %v", name, h.counts, h.shaken)
		}
	}
}

// A circuit whose peer had ended its direction, and that is then dropped for another connection,
// stayed open at the client: nobody reads it any more, so nobody learned of it.
func TestReplacedAfterItsEnd(t *testing.T) {
	h := newTestHost(t, Config{}, newFakeWay("one"))
	var id string
	higher := strings.Repeat("\xff", 32)
	old, err := shakenDial(t, h, endpoint(1), listen(t), func(c net.Conn) {
		swarmPeer(higher, "", &id)(c)
		c.(*net.TCPConn).CloseWrite()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if n, err := old.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Fatalf("Read = %d, %v", n, err)
	}
	lost := make(chan error, 1)
	defer old.(discovery.Watched).OnLost(func(err error) { lost <- err })()
	s, err := shakenDial(t, h, endpoint(1), listen(t), swarmPeer(higher, "", &id))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	select {
	case err := <-lost:
		wantCode(t, "the older connection", err, wtproto.CodeReplaced)
	case <-time.After(30 * time.Second):
		t.Error("nobody learns that the older connection is lost")
	}
}

// A handshake that brings our own id back has led to ourselves. The address is not dialed again.
func TestOurself(t *testing.T) {
	w, ln := newFakeWay("one"), listen(t)
	h := newTestHost(t, Config{}, w)
	j := find(t, h.swarm, w, ln.Addr().String())
	j.peerAt(ln.Addr().String())
	own := h.swarmID(member{h.swarm, topicA, endpoint(1)})
	var id string
	_, err := shakenDial(t, h, endpoint(1), ln, swarmPeer(own, "", &id))
	wantCode(t, "Dial", err, wtproto.CodeForbidden)
	j.await("departure", func(x discovery.Update) bool { return x.Sighting.Gone })
	_, f := w.await(t, lookUp)
	f.found(public(ln.Addr().String()))
	f.found(public("127.0.0.1:9"))
	f.found(public("127.0.0.1:9999"))
	j.peerAt("127.0.0.1:9999")
	if rest := addressesOf(j.drain()); len(rest) > 0 {
		t.Errorf("peers at %v, want none", rest)
	}
}
