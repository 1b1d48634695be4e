package p2p

import (
	"os"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/internal/netns"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A machine that dies says nothing. Each circuit with it is over by yamux's signs of life: one
// that waits, one whose bytes are on their way, and one of which the other side's end was read,
// where no Read is told of anything any more.
func TestDeadMachine(t *testing.T) {
	const hereVar, thereVar = "TEST_HERE", "TEST_THERE"
	if !netns.Inside() {
		here, there := netns.New(t, "here"), netns.New(t, "there")
		netns.Link(t, here, "10.73.0.1/24", there, "10.73.0.2/24")
		here.Rerun(t, hereVar+"="+here.Name(), thereVar+"="+there.Name())
		return
	}
	quick := func(c *Config) { c.Mode, c.KeepAlive = Off, 4*time.Second }
	var n *Host
	netns.Open(os.Getenv(thereVar)).Do(t, func() {
		n = listen(t, all(native, quick, func(c *Config) { c.Listen = []string{"/ip4/10.73.0.2/tcp/0"} }))
	})
	g := listen(t, all(gateway, quick, func(c *Config) {
		c.Listen = []string{"/ip4/10.73.0.1/tcp/0"}
		c.Static = map[wtproto.Topic][]string{testTopic: n.Addrs()}
	}))
	theirs := make(chan discovery.Stream, 3)
	join(t, n, presence(true, false, nativeEndpoint), func(s discovery.Stream) { theirs <- s })
	const circuits = 3
	var clients []wtproto.EndpointID
	for i := range circuits {
		clients = append(clients, endpoint(i+1))
	}
	peer := join(t, g, presence(false, true, clients...), nil).await("the native peer", isPeer(n, nativeEndpoint))
	var ours [circuits]discovery.Stream
	for i := range ours {
		ours[i] = dial(t, peer, clients[i])
		s := <-theirs
		t.Cleanup(func() { s.Close() })
		if i == 2 {
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := ours[i].Read(make([]byte, 1)); err == nil || err.Error() != "EOF" {
				t.Fatalf("Read = %v, want the end", err)
			}
		}
	}
	lost := make(chan error, circuits)
	stop := ours[2].(discovery.Watched).OnLost(func(err error) { lost <- err })
	defer stop()

	// What is sent from now on reaches nobody.
	netns.Open(os.Getenv(hereVar)).IP(t, "neigh", "replace", "10.73.0.2", "lladdr", "02:00:00:00:00:01", "dev", "veth0", "nud", "permanent")
	go func() {
		_, err := ours[0].Read(make([]byte, 1))
		lost <- err
	}()
	go func() {
		var err error
		for err == nil {
			_, err = ours[1].Write(make([]byte, 64<<10))
		}
		lost <- err
	}()
	for range circuits {
		select {
		case err := <-lost:
			wantCode(t, "a circuit with a dead machine", err, wtproto.CodePeerGone, false)
		case <-time.After(patience):
			t.Fatalf("nobody noticed within %v", patience)
		}
	}
}
