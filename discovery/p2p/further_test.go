package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/wtproto"
)

// further opens a further circuit to a sighted peer.
func further(t testing.TB, i item, from wtproto.EndpointID) discovery.Stream {
	t.Helper()
	if i.sighting.Further == nil {
		t.Fatalf("%s takes no further circuits", describe(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := i.sighting.Further(ctx, from)
	if err != nil {
		t.Fatalf("Further: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Only the opener could open circuits, and a second one of a pair ended the first. Either of two
// hosts opens as many further circuits as it likes. They stand beside the first one and each
// other, and one that nobody reads harms none.
func TestFurtherCircuits(t *testing.T) {
	const many = 100
	small, large := keys(t)
	for _, tc := range []struct {
		name   string
		opener func(*Config)
		other  func(*Config)
		from   wtproto.EndpointID // of the one who opens first circuits
		to     wtproto.EndpointID
	}{
		{"gateway and native peer", gateway, native, endpoint(1), nativeEndpoint},
		{"native peers", key(small), key(large), nativeEndpoint, nativeEndpoint},
		{"gateways", all(gateway, key(small)), all(gateway, key(large)), endpoint(1), endpoint(2)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hosts := swarmOf(t, native, tc.opener, tc.other)
			a, b := hosts[1], hosts[2]
			am := join(t, a, presence(true, true, tc.from), nil)
			bm := join(t, b, presence(true, true, tc.to), nil)
			toB, toA := am.await("the other", isPeer(b, tc.to)), bm.await("the opener", isPeer(a, tc.from))
			if toB.sighting.Dial == nil || toA.sighting.Dial != nil {
				t.Fatalf("the opener saw %s, the other one %s", describe(toB), describe(toA))
			}
			opened := make(chan discovery.Stream, 1)
			go func() { opened <- dial(t, toB, tc.from) }()
			first := bm.await("the first circuit", isInbound).sighting.Inbound
			if first.Further() {
				t.Error("the first circuit is a further one")
			}
			end, err := first.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go echo(end)
			kept := <-opened
			for _, way := range []struct {
				name     string
				peer     item
				from, to wtproto.EndpointID
				id       string
				acceptor *member
			}{
				{"by the opener", toB, tc.from, tc.to, peerID(a, tc.from), bm},
				{"by the other", toA, tc.to, tc.from, peerID(b, tc.to), am},
			} {
				t.Run(way.name, func(t *testing.T) {
					ends := make(chan discovery.Stream, 1)
					go func() {
						defer close(ends)
						for i := range many + 1 {
							s := way.acceptor.await("a further circuit", isInbound).sighting
							if s.Peer.ID != way.id || s.Inbound.To() != way.to || !s.Inbound.Further() || s.Holds != 0 {
								t.Errorf("inbound %d: %+v to %v, further %v", i, s, s.Inbound.To(), s.Inbound.Further())
							}
							c, err := s.Inbound.Accept()
							if err != nil {
								t.Errorf("Accept: %v", err)
								return
							}
							if i > 0 {
								go echo(c)
								continue
							}
							ends <- c
						}
					}()
					stalled := further(t, way.peer, way.from)
					unread := <-ends
					full := make(chan error, 1)
					go func() { // nobody reads it
						_, err := stalled.Write(make([]byte, 16<<20))
						full <- err
					}()
					var wg sync.WaitGroup
					for range many {
						wg.Go(func() { testEcho(t, further(t, way.peer, way.from), 20_000) })
					}
					wg.Wait()
					unread.Reset(0x123)
					wantCode(t, "Write of the stalled one", <-full, 0x123, true)
					if _, open := <-ends; open {
						t.Error("one more circuit")
					}
				})
			}
			testEcho(t, kept, 1<<20)
		})
	}
}

// Refusing a further circuit leaves the pair's first one alone, whatever the code.
func TestFurtherRefused(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	gm := join(t, g, presence(true, true, endpoint(1)), nil)
	nm := join(t, n, discovery.Native(), nil)
	toClient := nm.await("the client", isPeer(g, endpoint(1)))
	opened := make(chan discovery.Stream, 1)
	go func() { opened <- dial(t, gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1)) }()
	end, err := nm.await("the first circuit", isInbound).sighting.Inbound.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go echo(end)
	first := <-opened
	for _, code := range []wtproto.Code{wtproto.CodeDeclined, wtproto.CodeBusy, wtproto.CodeCircuitLimit} {
		result := make(chan error, 1)
		go func() {
			_, err := toClient.sighting.Further(t.Context(), nativeEndpoint)
			result <- err
		}()
		gm.await("the further circuit", isInbound).sighting.Inbound.Refuse(code)
		wantCode(t, "Further", <-result, code, true)
	}
	testEcho(t, first, 1000)
	eventually(t, "nothing is remembered of them", func() bool {
		return !g.ties.hasCircuits(n.id) && !n.ties.hasCircuits(g.id)
	})
}

// A peer that was not met, and of which there is no sighting, can open a further circuit. The
// circuit brings the way to open more to it.
func TestFurtherWithoutMeeting(t *testing.T) {
	h := listen(t, gateway)
	m := join(t, h, presence(true, true, endpoint(9)), nil)
	s := newStranger(t, nil)
	asked := make(chan wtproto.Open, 1)
	s.SetStreamHandler(wtproto.HostProtocol, func(st network.Stream) {
		o, err := wtproto.ParseOpen(read(t, st, wtproto.TypeOpen))
		if err != nil {
			t.Error(err)
		}
		asked <- o
		write(t, st, wtproto.Opened{Proof: s.prove(wtproto.ProofOpened, h.id)}.Append(nil))
		_, _ = io.Copy(st, st)
		_ = st.Close()
	})
	st := s.open(h)
	write(t, st, wtproto.Open{
		Digest: testTopic.Digest(), Proof: s.prove(wtproto.ProofOpen, h.id), To: endpoint(9), Flags: wtproto.OpenFurther,
	}.Append(nil))
	in := m.await("the circuit", isInbound)
	if id := in.sighting.Peer.ID; id != string(s.ID()) || !in.sighting.Inbound.Further() {
		t.Errorf("inbound of %x, further %v", id, in.sighting.Inbound.Further())
	}
	c, err := in.sighting.Inbound.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := wtproto.ParseOpened(read(t, st, wtproto.TypeOpened)); err != nil || got.Code != wtproto.CodeNone {
		t.Errorf("OPENED = %+v, %v", got, err)
	}
	back := further(t, in, endpoint(9))
	if o := <-asked; o.From != endpoint(9) || o.To != nativeEndpoint || o.Flags != wtproto.OpenFurther ||
		!testTopic.VerifyProof(o.Proof, wtproto.ProofOpen, []byte(h.id), []byte(s.ID())) {
		t.Errorf("OPEN = %+v", o)
	}
	testEcho(t, back, 1000)
}

// Whoever asks for further circuits chooses the peer, so an endpoint that is not there any more
// says nothing about its host: a client could have the host shunned otherwise.
func TestFurtherInVainIsNoLie(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	join(t, g, presence(true, true, endpoint(1)), nil)
	nm := join(t, n, discovery.Native(), nil)
	nm.await("the client", isPeer(g, endpoint(1)))
	look(n, g.id, func(r *remote) bool { // as if the client had just left
		r.endpoints[endpoint(2)] = true
		r.t.sightEndpointLocked(r, endpoint(2), n.Hold)
		return true
	})
	gone := nm.await("the one that left", isPeer(g, endpoint(2)))
	for range 3 * lieBurst {
		_, err := gone.sighting.Further(t.Context(), nativeEndpoint)
		wantCode(t, "Further", err, wtproto.CodePeerUnreachable, true)
	}
	if err := n.links.shunned(g.id); err != nil {
		t.Errorf("the host is shunned: %v", err)
	}
	if !look(n, g.id, func(r *remote) bool { return r.meeting }) {
		t.Error("the meeting is over")
	}
}

// Hosts that have let each other go still open further circuits while there is a connection. One
// that is lost is told at once.
func TestFurtherAfterTheMeeting(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	gm := join(t, g, presence(true, true, endpoint(1)), echo)
	nm := join(t, n, discovery.Native(), echo)
	toNative, toClient := gm.await("the native peer", isPeer(n, nativeEndpoint)), nm.await("the client", isPeer(g, endpoint(1)))
	first := dial(t, toNative, endpoint(1))
	for range 2 { // more than hosts can have met again
		look(g, n.id, func(r *remote) bool {
			g.links.part(r, wtproto.CodeBusy)
			r.t.apartLocked(r, wtproto.CodeBusy)
			return true
		})
	}
	apart := func(i item) bool { return isPeer(g, endpoint(1))(i) && i.sighting.Holds == partedFor }
	last := nm.await("the client of a host that is met no more", apart)
	testEcho(t, further(t, last, nativeEndpoint), 1000)
	testEcho(t, further(t, toClient, nativeEndpoint), 1000)
	testEcho(t, first, 1000)
	g.Close()
	_, err := last.sighting.Further(t.Context(), nativeEndpoint)
	if e, ok := errors.AsType[*wtproto.Error](err); !ok || e.Code == wtproto.CodeNone {
		t.Errorf("Further = %v after the host has ended", err)
	}
}

// The limit of circuits with a host is of all of them, whoever opened them.
func TestFurtherLimit(t *testing.T) {
	hosts := swarmOf(t, gateway, native)
	g, n := hosts[0], hosts[1]
	gm := join(t, g, presence(true, true, endpoint(1)), echo)
	nm := join(t, n, discovery.Native(), echo)
	ways := []struct {
		peer item
		from wtproto.EndpointID
	}{
		{gm.await("the native peer", isPeer(n, nativeEndpoint)), endpoint(1)},
		{nm.await("the client", isPeer(g, endpoint(1))), nativeEndpoint},
	}
	open := make([]discovery.Stream, MaxCircuits)
	for i := range open {
		w := ways[i%2]
		s, err := w.peer.sighting.Further(t.Context(), w.from)
		if err != nil {
			t.Fatalf("circuit %d: %v", i, err)
		}
		open[i] = s
		t.Cleanup(func() { s.Close() })
	}
	for i, w := range ways {
		_, err := w.peer.sighting.Further(t.Context(), w.from)
		wantCode(t, fmt.Sprintf("Further of side %d", i), err, wtproto.CodeCircuitLimit, false)
	}
	open[0].Close()
	eventually(t, "there is room again", func() bool {
		s, err := ways[1].peer.sighting.Further(t.Context(), nativeEndpoint)
		if err == nil {
			open = slices.Insert(open, 0, s)
			t.Cleanup(func() { s.Close() })
		}
		return err == nil
	})
	if !look(g, n.id, func(r *remote) bool { return r.meeting }) {
		t.Error("the hosts meet no more")
	}
}
