package p2p

import (
	"testing"
	"time"

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
			nm := join(t, n, presence(tc.native[0], tc.native[1], nobody), nil)

			peer := gm.await("the native peer", isPeer(n, nobody))
			if s := peer.sighting; s.FoundUs != tc.usOnly || s.Peer.Client || s.Peer.Network != "dht" || s.Peer.Address == "" || s.Holds != 10*time.Minute {
				t.Errorf("sighting of the native peer: %+v", s)
			}
			if s := nm.await("the client", isPeer(g, client)).sighting; s.Dial != nil || s.FoundUs == tc.usOnly || !s.Peer.Client {
				t.Errorf("sighting of the client: %+v", s)
			}
			opened := make(chan discovery.Stream)
			go func() { opened <- dial(t, peer, client) }()
			in := nm.await("the circuit", isInbound).sighting
			if in.Peer.ID != peerID(g, client) || in.Inbound.To() != nobody || in.Holds != 0 {
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
	opener = dial(t, gm.await("the native peer", isPeer(n, nobody)), endpoint(1))
	acceptor = <-accepted
	t.Cleanup(func() { acceptor.Close() })
	return opener, acceptor
}
