package p2p

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// Whichever of a gateway and a native peer finds the other, the gateway opens the same circuits.
func TestGatewayOpensToNative(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		gateway, native      [2]bool // announce, look up
		gatewayFound, usOnly bool
	}{
		{"gateway finds", [2]bool{false, true}, [2]bool{true, false}, true, false},
		{"native peer finds", [2]bool{true, false}, [2]bool{false, true}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := swarmOf(t, native, gateway, native)
			g, n := hosts[1], hosts[2]
			client := endpoint(1)
			gm := join(t, g, presence(tc.gateway[0], tc.gateway[1], client), nil)
			nm := join(t, n, presence(tc.native[0], tc.native[1], nativeEndpoint), nil)

			peer := gm.await("the native peer", isPeer(n, nativeEndpoint))
			if s := peer.sighting; s.PeerFoundUs != tc.usOnly || s.Peer.Client || s.Peer.Network != "dht" || s.Peer.Address == "" || s.Holds != 10*time.Minute {
				t.Errorf("sighting of the native peer: %+v", s)
			}
			if s := nm.await("the client", isPeer(g, client)).sighting; s.Dial != nil || s.PeerFoundUs == tc.usOnly || !s.Peer.Client {
				t.Errorf("sighting of the client: %+v", s)
			}
			opened := make(chan discovery.Stream)
			go func() { opened <- dial(t, peer, client) }()
			in := nm.await("the circuit", isInbound).sighting
			if in.Peer.ID != peerID(g, client) || in.Inbound.To() != nativeEndpoint || in.Holds != 0 {
				t.Errorf("inbound: %+v to %v", in, in.Inbound.To())
			}
			st, err := in.Inbound.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go echo(st)
			testEcho(t, <-opened, 1<<20)
		})
	}
}

// The end of one direction leaves the other open.
func TestHalfClose(t *testing.T) {
	a, b := circuitPair(t)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err == nil || err.Error() != "EOF" {
		t.Errorf("Read = %d, %v, want EOF", n, err)
	}
	const text = "there is more"
	if _, err := b.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := a.Read(got); err != nil || string(got[:n]) != text {
		t.Errorf("Read = %q, %v, want %q", got[:n], err, text)
	}
}

func TestResetCodes(t *testing.T) {
	for _, tc := range []struct {
		name       string
		code, want wtproto.Code
	}{
		{"registered", wtproto.CodeStalled, wtproto.CodeStalled},
		{"of an application", 0x12345678, 0x12345678},
		{"largest", 0xffffffff, 0xffffffff},
		{"none", wtproto.CodeNone, wtproto.CodePeerReset},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, opener := range []bool{true, false} {
				a, b := circuitPair(t)
				if opener {
					a, b = b, a
				}
				a.Reset(tc.code)
				_, err := b.Read(make([]byte, 1))
				wantCode(t, "Read", err, tc.want, true)
				_, err = b.Write([]byte{1})
				wantCode(t, "Write", err, tc.want, true)
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				b.Reset(tc.code) // all allowed after the end
				a.Reset(tc.code)
				if err := a.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
}

// Close before the end is a reset.
func TestCloseEarly(t *testing.T) {
	a, b := circuitPair(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := b.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodePeerReset, true)
}

// circuitPair returns the two ends of a circuit between a gateway and a native peer.
func circuitPair(t testing.TB) (opener, acceptor discovery.Stream) {
	t.Helper()
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	accepted := make(chan discovery.Stream, 1)
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	join(t, n, discovery.Native(), func(s discovery.Stream) { accepted <- s })
	opener = dial(t, gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1))
	acceptor = <-accepted
	t.Cleanup(func() { acceptor.Close() })
	return opener, acceptor
}

// Between two native peers it is the one with the smaller id that opens, whichever finds the
// other.
func TestSmallerIDOpens(t *testing.T) {
	for _, smallerFinds := range []bool{true, false} {
		small, large := keys(t)
		hosts := swarmOf(t, native, key(small), key(large))
		a, b := hosts[1], hosts[2]
		am := join(t, a, presence(!smallerFinds, smallerFinds, nativeEndpoint), nil)
		bm := join(t, b, presence(smallerFinds, !smallerFinds, nativeEndpoint), echo)
		if s := bm.await("the smaller", isPeer(a, nativeEndpoint)).sighting; s.Dial != nil {
			t.Error("the larger id may dial")
		}
		testEcho(t, dial(t, am.await("the larger", isPeer(b, nativeEndpoint)), nativeEndpoint), 1000)
	}
}

// Two gateways connect the endpoints that their routers choose.
func TestGateways(t *testing.T) {
	small, large := keys(t)
	hosts := swarmOf(t, native, all(gateway, key(small)), all(gateway, key(large)))
	a, b := hosts[1], hosts[2]
	am := join(t, a, presence(true, true, endpoint(1), endpoint(2)), nil)
	bm := join(t, b, presence(true, true, endpoint(3), endpoint(4), endpoint(5)), nil)
	for _, e := range []int{1, 2} {
		if s := bm.await("a client", isPeer(a, endpoint(e))).sighting; s.Dial != nil || !s.Peer.Client {
			t.Errorf("sighting of %d: %+v", e, s)
		}
	}
	for _, to := range []int{3, 4, 5} {
		peer := am.await("a client", isPeer(b, endpoint(to)))
		opened := make(chan discovery.Stream, 1)
		go func() { opened <- dial(t, peer, endpoint(2)) }()
		in := bm.await("the circuit", isInbound).sighting
		if in.Inbound.To() != endpoint(to) || in.Peer.ID != peerID(a, endpoint(2)) || !in.Peer.Client {
			t.Errorf("inbound %+v to %v, want %v", in, in.Inbound.To(), endpoint(to))
		}
		s, err := in.Inbound.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go echo(s)
		testEcho(t, <-opened, 1000)
	}
}

// A newer circuit of a pair replaces the older one.
func TestReplaced(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	accepted := make(chan discovery.Stream, 3)
	gm := join(t, g, presence(true, true, endpoint(1), endpoint(2)), nil)
	join(t, n, discovery.Native(), func(s discovery.Stream) { accepted <- s })
	peer := gm.await("the native peer", isPeer(n, nativeEndpoint))
	older, other := dial(t, peer, endpoint(1)), dial(t, peer, endpoint(2))
	newer := dial(t, peer, endpoint(1))

	_, err := older.Read(make([]byte, 1))
	wantCode(t, "Read of the opener", err, wtproto.CodeReplaced, true)
	_, err = (<-accepted).Read(make([]byte, 1))
	wantCode(t, "Read of the acceptor", err, wtproto.CodeReplaced, false)
	go echo(<-accepted)
	go echo(<-accepted)
	testEcho(t, other, 1000)
	testEcho(t, newer, 1000)
	eventually(t, "nothing is remembered of them", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.circuits) <= 1 // older's end is still its owner's
	})
}

func TestInboundAnswers(t *testing.T) {
	hosts := swarmOf(t, gateway, native, func(c *Config) { c.AnswerTimeout = time.Second })
	g, n, hasty := hosts[0], hosts[1], hosts[2]
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	nm, hm := join(t, n, discovery.Native(), nil), join(t, hasty, discovery.Native(), nil)
	var peer, hastyPeer item
	gm.await("both native peers", func(i item) bool {
		if isPeer(n, nativeEndpoint)(i) {
			peer = i
		} else if isPeer(hasty, nativeEndpoint)(i) {
			hastyPeer = i
		}
		return peer.sighting.Dial != nil && hastyPeer.sighting.Dial != nil
	})
	for _, tc := range []struct {
		name   string
		answer func(discovery.Inbound)
		want   wtproto.Code
	}{
		{"refused", func(in discovery.Inbound) { in.Refuse(wtproto.CodeCircuitLimit) }, wtproto.CodeCircuitLimit},
		{"the first answer counts", func(in discovery.Inbound) {
			in.Refuse(wtproto.CodeDeclined)
			in.Refuse(wtproto.CodeBusy)
			if s, err := in.Accept(); err == nil {
				s.Close()
				t.Error("accepted after a refusal")
			}
		}, wtproto.CodeDeclined},
		{"no answer", func(discovery.Inbound) {}, wtproto.CodeBusy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			to, m := peer, nm
			if tc.want == wtproto.CodeBusy {
				to, m = hastyPeer, hm
			}
			result := make(chan error, 1)
			go func() {
				s, err := to.sighting.Dial(t.Context(), endpoint(1))
				if err == nil {
					s.Close()
				}
				result <- err
			}()
			tc.answer(m.await("the circuit", isInbound).sighting.Inbound)
			wantCode(t, "Dial", <-result, tc.want, true)
		})
	}
	t.Run("left", func(t *testing.T) {
		result := make(chan error, 1)
		go func() {
			_, err := peer.sighting.Dial(t.Context(), endpoint(1))
			result <- err
		}()
		nm.await("the circuit", isInbound)
		nm.leave()
		wantCode(t, "Dial", <-result, wtproto.CodeLeft, true)
	})
}

// The opener may give up.
func TestDialCancelled(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	nm := join(t, n, discovery.Native(), nil)
	peer := gm.await("the native peer", isPeer(n, nativeEndpoint))
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := peer.sighting.Dial(ctx, endpoint(1))
		result <- err
	}()
	in := nm.await("the circuit", isInbound).sighting.Inbound
	cancel()
	err := <-result
	wantCode(t, "Dial", err, wtproto.CodePeerUnreachable, false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want the end of its context", err)
	}
	// The acceptor learns of it when it answers, or when it reads.
	s, err := in.Accept()
	if err == nil {
		_, err = s.Read(make([]byte, 1))
		s.Close()
	}
	wantCode(t, "Accept", err, wtproto.CodeWithdrawn, true)
}

// Refusals by the host itself. Whether we are on the topic cannot be told from outside.
func TestOpenRefused(t *testing.T) {
	small, large := keys(t)
	h := listen(t, all(key(large)))
	m := join(t, h, discovery.Native(), nil)
	s := newStranger(t, small)
	good := wtproto.Open{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofOpen, h.id), From: endpoint(1)}
	with := func(f func(*wtproto.Open)) wtproto.Open {
		o := good
		f(&o)
		return o
	}
	elsewhere := wtproto.TopicFromName("elsewhere")
	for _, tc := range []struct {
		name string
		open wtproto.Open
		want wtproto.Code
	}{
		{"unknown topic", with(func(o *wtproto.Open) {
			o.Digest = elsewhere.Digest()
			o.Proof = elsewhere.Proof(wtproto.ProofOpen, []byte(s.ID()), []byte(h.id))
		}), wtproto.CodeForbidden},
		{"wrong proof", with(func(o *wtproto.Open) { o.Proof[31] ^= 1 }), wtproto.CodeForbidden},
		{"proof of another frame", with(func(o *wtproto.Open) { o.Proof = s.prove(wtproto.ProofMeet, h.id) }), wtproto.CodeForbidden},
		{"proof for another host", with(func(o *wtproto.Open) { o.Proof = s.prove(wtproto.ProofOpen, s.ID()) }), wtproto.CodeForbidden},
		{"wrong endpoint", with(func(o *wtproto.Open) { o.To = endpoint(2) }), wtproto.CodePeerUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := s.open(h)
			write(t, st, tc.open.Append(nil))
			if got, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened)); err != nil || got != (wtproto.Opened{Code: tc.want}) {
				t.Errorf("OPENED = %+v, %v, want %v and zeros", got, err, tc.want)
			}
			if n, err := st.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("Read = %d, %v, want the end", n, err)
			}
		})
	}
	t.Run("not the opener", func(t *testing.T) {
		g := listen(t, gateway)
		join(t, g, presence(true, true, endpoint(9)), nil)
		st := s.open(g)
		o := with(func(o *wtproto.Open) {
			o.From, o.To, o.Proof = nativeEndpoint, endpoint(9), s.prove(wtproto.ProofOpen, g.id)
		})
		write(t, st, o.Append(nil))
		if got, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened)); err != nil || got.Code != wtproto.CodeProtocol {
			t.Errorf("OPENED = %+v, %v, want %v", got, err, wtproto.CodeProtocol)
		}
	})
	// The good one, after all of these on the same connection.
	st := s.open(h)
	write(t, st, good.Append(nil))
	in := m.await("the circuit", isInbound).sighting.Inbound
	c, err := in.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened))
	if err != nil || got.Code != wtproto.CodeNone || !testTopic.VerifyProof(got.Proof, wtproto.ProofOpened, []byte(h.id), []byte(s.ID())) {
		t.Errorf("OPENED = %+v, %v, want a good proof", got, err)
	}
}

// What a host may answer to OPEN, other than what it should.
func TestDialAnswers(t *testing.T) {
	small, large := keys(t)
	s := newStranger(t, large)
	static := func(c *Config) { c.Mode, c.Static = Off, map[wtproto.Topic][]string{testTopic: {s.addr()}} }
	h := listen(t, all(gateway, key(small), static))
	hasty := listen(t, all(gateway, key(smaller(t, s.ID())), static, func(c *Config) { c.AnswerTimeout = time.Second }))
	answers := make(chan func(network.Stream), 1)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		r := wtproto.NewReader(st)
		typ, _, err := r.Next()
		if err != nil {
			return
		}
		if typ == wtproto.TypeHost {
			_, _ = st.Write(wtproto.Host{Run: s.run()}.Append(nil))
			for err == nil {
				if typ, _, err = r.Next(); typ == wtproto.TypeMeet {
					met := wtproto.Met{Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofMet, st.Conn().RemotePeer()), Endpoints: []wtproto.EndpointID{nativeEndpoint}}
					_, _ = st.Write(met.Append(nil))
				}
			}
			return
		}
		(<-answers)(st)
	})
	isStranger := func(i item) bool { return i.sighting.Peer.ID == string(s.ID()) }
	peer := join(t, h, presence(true, true, endpoint(1)), nil).await("the stranger", isStranger)
	hastyPeer := join(t, hasty, presence(true, true, endpoint(1)), nil).await("the stranger", isStranger)
	if n := peer.sighting.Peer.Network; n != "static" {
		t.Errorf("network %q, want static", n)
	}
	send := func(frame []byte) func(network.Stream) {
		return func(st network.Stream) { _, _ = st.Write(frame) }
	}
	good := wtproto.Opened{Proof: s.prove(wtproto.ProofOpened, h.id)}.Append(nil)
	unknown := append([]byte{0x3f, 3}, "new"...)
	for _, tc := range []struct {
		name   string
		answer func(network.Stream)
		want   wtproto.Code
		remote bool
	}{
		{"nothing", func(network.Stream) {}, wtproto.CodePeerUnreachable, false},
		{"the end", func(st network.Stream) { _ = st.Close() }, wtproto.CodePeerUnreachable, false},
		{"a cut frame", func(st network.Stream) { _, _ = st.Write(good[:9]); _ = st.CloseWrite() }, wtproto.CodePeerUnreachable, false},
		{"a reset", func(st network.Stream) { _ = st.Reset() }, wtproto.CodePeerReset, true},
		{"a reset with a code", func(st network.Stream) { _ = st.ResetWithError(network.StreamErrorCode(wtproto.CodeShutdown)) }, wtproto.CodeShutdown, true},
		{"libp2p's own limit", func(st network.Stream) { _ = st.ResetWithError(network.StreamResourceLimitExceeded) }, wtproto.CodeCircuitLimit, true},
		{"another frame", send(wtproto.Met{}.Append(nil)), wtproto.CodeProtocol, false},
		{"another protocol", send([]byte("HTTP/1.1 400 Bad Request\r\n")), wtproto.CodePeerUnreachable, false},
		{"a long frame", send([]byte{byte(wtproto.TypeOpened), 0x80, 1, 0, 0}), wtproto.CodeTooLarge, false},
		{"a short frame", send([]byte{byte(wtproto.TypeOpened), 1, 0}), wtproto.CodeProtocol, false},
		{"a wrong proof", send(wtproto.Opened{Proof: s.prove(wtproto.ProofOpen, h.id)}.Append(nil)), wtproto.CodeForbidden, false},
		{"no proof", send(wtproto.Opened{}.Append(nil)), wtproto.CodeForbidden, false},
		{"a refusal", send(wtproto.Opened{Code: wtproto.CodeBusy}.Append(nil)), wtproto.CodeBusy, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answers <- tc.answer
			from := peer
			if tc.name == "nothing" {
				from = hastyPeer
			}
			c, err := from.sighting.Dial(t.Context(), endpoint(1))
			if err == nil {
				c.Close()
			}
			wantCode(t, "Dial", err, tc.want, tc.remote)
		})
	}
	t.Run("frames of a later version", func(t *testing.T) {
		answers <- send(append(append(unknown, unknown...), good...))
		c, err := peer.sighting.Dial(t.Context(), endpoint(1))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}
