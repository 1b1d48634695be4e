package discovery

import (
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// watched returns what OnLost says of s, which looks often.
func watched(t *testing.T, s *tcpStream) <-chan error {
	s.watch = watch{every: 50 * time.Millisecond, silence: time.Second}
	lost := make(chan error, 1)
	t.Cleanup(s.OnLost(func(err error) { lost <- err }))
	return lost
}

// A machine that died while bytes waited for its answer was noticed after 15 minutes: keep-alive
// is silent as long as they wait.
func TestTCPDeadMachine(t *testing.T) {
	here, there := netns.New(t, "here"), netns.New(t, "there")
	dev, _ := netns.Link(t, here, "10.72.1.1/24", there, "10.72.1.2/24")
	var ln net.Listener
	var err error
	there.Do(t, func() { ln, err = net.Listen("tcp", "10.72.1.2:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var s Stream
	here.Do(t, func() {
		s, err = NewTCPDialer(testPolicy(t, PolicyConfig{}), SourceConfigured).Dial(t.Context(), ln.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lost := watched(t, s.(*tcpStream))
	// What is sent now reaches nobody.
	here.IP(t, "neigh", "replace", "10.72.1.2", "lladdr", "02:00:00:00:00:01", "dev", dev, "nud", "permanent")
	if _, err := s.Write([]byte("is anybody there?")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-lost:
		wantCode(t, "OnLost", err, wtproto.CodePeerGone, false)
	case <-time.After(time.Minute):
		t.Error("nobody noticed within a minute")
	}
}

// A peer that answers and does not read is alive, however long that takes. (With TCP_USER_TIMEOUT
// it would be cut off.)
func TestTCPPausedPeerIsAlive(t *testing.T) {
	s, peer := tcpPair(t)
	if err := peer.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	lost := watched(t, s)
	written := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, 16<<20)) // more than fits
		written <- err
	}()
	select {
	case err := <-lost:
		t.Fatalf("OnLost said %v", err)
	case err := <-written:
		t.Fatalf("Write = %v though nobody reads", err)
	case <-time.After(3 * time.Second): // longer than a machine may be silent
	}
	s.Reset(wtproto.CodeNone)
	<-written
}

// After the peer's end was read, only a Write told that the connection was reset: a client that
// sends nothing kept its circuit.
func TestTCPResetAfterEndIsNoticed(t *testing.T) {
	s, peer := tcpPair(t)
	lost := watched(t, s)
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("no end")
	}
	select {
	case err := <-lost:
		t.Fatalf("OnLost said %v of a connection that is half open", err)
	case <-time.After(500 * time.Millisecond):
	}
	reset(t, peer)
	select {
	case err := <-lost:
		wantCode(t, "OnLost", err, wtproto.CodePeerReset, true)
	case <-time.After(time.Minute):
		t.Error("nobody noticed within a minute")
	}
}
