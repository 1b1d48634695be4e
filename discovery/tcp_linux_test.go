package discovery

import (
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A machine that vanishes is no reset by the peer.
func TestTCPPeerGone(t *testing.T) {
	here, there := netns.New(t, "here"), netns.New(t, "there")
	dev, _ := netns.Link(t, here, "10.72.0.1/24", there, "10.72.0.2/24")
	var ln net.Listener
	var err error
	there.Do(t, func() { ln, err = net.Listen("tcp", "10.72.0.2:0") })
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
	fast := net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}
	if err := s.(*tcpStream).conn.SetKeepAliveConfig(fast); err != nil {
		t.Fatal(err)
	}
	here.IP(t, "link", "set", dev, "down")
	if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(make([]byte, 1))
	wantCode(t, "Read", err, wtproto.CodePeerGone, false)
}
