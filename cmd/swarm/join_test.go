package main

import (
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/wtproto"
)

func TestJoinPipesToOnePeerAndEnds(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	g := withStatic(t, echo.Addr().String())
	for _, size := range []int{0, 1, 5 << 20} {
		want := text(size)
		p := swarm(t, strings.NewReader(want), through(g, "join", "there", "--once")...)
		if status := p.wait(t); status != 0 || p.out.String() != want {
			t.Errorf("%d bytes: status %d, %d bytes came back, the same: %v", size, status, len(p.out.String()), p.out.String() == want)
		}
	}
	if n := echo.Accepted(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

func TestJoinTellsEvents(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	cfg := staticConfig(t, echo.Addr().String())
	cfg.ShowAddresses = true
	g := gateway.Start(t, cfg)
	want := text(100_000)
	p := swarm(t, strings.NewReader(want), through(g, "join", "there", "--once", "--json")...)
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	all := p.events(t)
	if got := kinds(all); got != "joined peer data end left" {
		t.Errorf("events: %s", got)
	}
	if received(all) != want {
		t.Error("the data is not what was sent")
	}
	for _, e := range all {
		switch e.Event {
		case "joined", "left":
			if e.Topic != wtproto.TopicFromName("there").String() {
				t.Errorf("%s: topic %q", e.Event, e.Topic)
			}
		case "peer":
			if e.Circuit != 1 || e.Peer == nil || e.Peer.Network != "static" || e.Peer.Address != "tcp://"+echo.Addr().String() || !e.Peer.Initiator || len(e.Peer.ID) != 32 {
				t.Errorf("peer: %+v", e.Peer)
			}
		case "end":
			if e.Circuit != 1 || e.Code != "NONE" || *e.Sent != int64(len(want)) || *e.Received != int64(len(want)) {
				t.Errorf("end: %+v", e)
			}
		}
	}
}

// A peer that half-closes first, such as one whose own input is empty, still gets all bytes, also
// if it reads late: the program does not leave while the gateway holds some of them.
func TestJoinSendsAllAfterThePeerHasEnded(t *testing.T) {
	host := gateway.Host(t, true)
	g := gateway.Start(t, server.Config{Networks: []discovery.Network{host}})
	got, late := make(chan string, 1), make(chan struct{})
	read := sync.OnceFunc(func() { close(late) })
	defer read()
	native := gateway.Host(t, false, host.Addrs()...)
	gateway.Native(t, native, wtproto.TopicFromName("there"), discovery.Native(), func(s discovery.Stream) {
		s.CloseWrite()
		<-late
		b, _ := io.ReadAll(s)
		got <- string(b)
	})
	want := text(300 << 10) // more than the window of the peer, 256 KiB, and less than that and the gateway's, 64 KiB
	p := swarm(t, strings.NewReader(want), through(g, "join", "there", "--once", "--json")...)
	gateway.Eventually(t, "the end of both directions", func() bool { return strings.Contains(p.out.String(), `"end"`) })
	select {
	case status := <-p.status:
		t.Errorf("it ended with status %d before the peer has read all", status)
	case <-time.After(2500 * time.Millisecond):
	}
	read()
	if b := next(t, got); b != want {
		t.Errorf("the peer got %d bytes, want all %d", len(b), len(want))
	}
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestJoinSaysThatAPeerWasCutOff(t *testing.T) {
	rude := gateway.Listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 5))
		c.SetLinger(0) // Close is a RST
	})
	g := withStatic(t, rude.Addr().String())
	r, w := io.Pipe()
	defer w.Close()
	p := swarm(t, r, through(g, "join", "there", "--once", "--json")...)
	io.WriteString(w, "hello")
	if status := p.wait(t); status != statusFailed || !strings.Contains(p.errs.String(), "PEER_RESET") {
		t.Errorf("status %d, %s; want %d and PEER_RESET", status, p.errs.String(), statusFailed)
	}
	all := p.events(t)
	if got := kinds(all); got != "joined peer end left error" {
		t.Errorf("events: %s", got)
	}
	for _, e := range all {
		if e.Code != "" && e.Code != "PEER_RESET" {
			t.Errorf("%s: code %s, want PEER_RESET", e.Event, e.Code)
		}
	}
}

func TestJoinWritesToEveryPeer(t *testing.T) {
	const peers = 3
	got := make(chan string, peers)
	var addresses []string
	for range peers {
		l := gateway.Listen(t, func(c *net.TCPConn) {
			b, _ := io.ReadAll(c)
			got <- string(b)
			io.WriteString(c, "thanks\n")
		})
		addresses = append(addresses, l.Addr().String())
	}
	g := withStatic(t, addresses...)
	want := text(10_000)
	p := swarm(t, strings.NewReader(want), through(g, "join", "there")...)
	for range peers {
		if b := next(t, got); b != want {
			t.Errorf("a peer got %d bytes, want all %d", len(b), len(want))
		}
	}
	gateway.Eventually(t, "the answers", func() bool { return p.out.String() == strings.Repeat("thanks\n", peers) })
	p.stop()
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d after Ctrl-C, want 0", status)
	}
}

func TestJoinEndsWithTheSession(t *testing.T) {
	g := gateway.Start(t, server.Config{})
	p := swarm(t, open(t), through(g, "join", "there", "--json", "--no-reconnect")...)
	gateway.Eventually(t, "the join", func() bool { return strings.Contains(p.out.String(), "joined") })
	g.Close()
	if status := p.wait(t); status != statusFailed {
		t.Errorf("status %d, want %d", status, statusFailed)
	}
	all := p.events(t)
	if got := kinds(all); got != "joined left error" || all[len(all)-1].Code != "SHUTDOWN" {
		t.Errorf("events: %s, %+v; want SHUTDOWN at the end", got, all[len(all)-1])
	}
}

func TestJoinComesBackToAnotherGateway(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	a, b := withStatic(t, echo.Addr().String()), withStatic(t, echo.Addr().String())
	p := swarm(t, open(t), through(a, through(b, "join", "there", "--json")...)...)
	first := a
	gateway.Eventually(t, "a peer", func() bool { return strings.Contains(p.out.String(), `"peer"`) })
	if a.Sessions() == 0 {
		first = b
	}
	first.Close()
	gateway.Eventually(t, "a peer through the other gateway", func() bool {
		out := p.out.String()
		return strings.Contains(out, `"connected"`) && strings.Count(out, `"event":"peer"`) == 2
	})
	p.stop()
	if status := p.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	got := kinds(p.events(t))
	if inOrder := regexp.MustCompile("^joined peer .*disconnected .*reconnecting .*connected .*left$"); !inOrder.MatchString(got) {
		t.Errorf("events: %s", got)
	}
}

func TestJoinFailsWhereItsStreamsDo(t *testing.T) {
	echo := gateway.Listen(t, gateway.Echo)
	g := withStatic(t, echo.Addr().String())
	p := swarm(t, failing{errors.New("the disk is on fire")}, through(g, "join", "there")...)
	if status := p.wait(t); status != statusFailed || !strings.Contains(p.errs.String(), "stdin: the disk is on fire") {
		t.Errorf("status %d, %s", status, p.errs.String())
	}
	var errs output
	args := through(g, "join", "there")
	if status := run(gateway.Context(t), args, strings.NewReader("x"), full{}, &errs); status != statusFailed || !strings.Contains(errs.String(), "stdout: no space left") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}

// full is a standard output on a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }
