package client

import (
	"net"
	"testing"
	"time"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// A socket whose packets are not answered hears that nobody listens, and one with a gateway that
// is only silent does not.
func TestKnock(t *testing.T) {
	for _, tt := range []struct {
		name    string
		listens bool
	}{{"a closed port", false}, {"a silent gateway", true}} {
		t.Run(tt.name, func(t *testing.T) {
			gateway, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer gateway.Close()
			conn, err := udp.Listen("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &probingSocket{Conn: conn, refused: make(chan struct{}, 1)}
			defer s.Close()
			to := gateway.LocalAddr().(*net.UDPAddr)
			if !tt.listens {
				to.Port = freeport.Ports(t, 1)
			}
			s.mu.Lock()
			s.heard = time.Now().Add(-lateAck)
			s.mu.Unlock()
			if _, _, err := s.WriteMsgUDP(make([]byte, longestHeader), nil, to); err != nil {
				t.Fatal(err)
			}
			if !tt.listens {
				wait(t, "that nobody listens", s.refused)
				return
			}
			knocks := make(map[string]bool)
			gateway.SetReadDeadline(time.Now().Add(time.Minute))
			for b := make([]byte, 1500); len(knocks) < 4; { // each of another socket
				n, from, err := gateway.ReadFrom(b)
				if err != nil {
					t.Fatal(err)
				}
				if n == probeSize && from.String() != conn.LocalAddr().String() {
					knocks[from.String()] = true
				}
			}
			select {
			case <-s.refused:
				t.Error("nobody listens, though somebody does")
			default:
			}
		})
	}
}

// A client that hears that nobody listens on the port of a silent gateway asks it at once, and
// tries another one beside it. An answer ends the attempt.
func TestRefusedMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g, other := newGateway(t, n.gateway), newGateway(t, n.other)
		c, r := g.session(n.on(other))
		topic := r.join(c, topicA, JoinOptions{})
		r.circuit(topic, 1)
		r.sync()
		start := time.Now()
		live(c).link.(*quicLink).paths.refused <- struct{}{}
		if typ, _ := r.next(); typ != wtproto.TypePing {
			t.Fatalf("got %v, want PING", typ)
		}
		elapsed(t, "PING", start, 0)
		abandoned := other.accept()
		r.send(wtproto.Pong{})
		if e := abandoned.closed(); wtproto.Code(e.ErrorCode) != wtproto.CodeNone {
			t.Errorf("the attempt ended with %v", e)
		}
		if got := live(c).attempt.gateway; got != 0 {
			t.Errorf("the client has moved to gateway %d", got)
		}
		live(c).link.(*quicLink).paths.refused <- struct{}{}
		next := other.accept()
		next.send(welcome, wtproto.Joined{Topic: topicA})
		poll(t, "the other gateway", func() bool { return live(c).attempt.gateway == 1 })
		if took := time.Since(start); took >= pingAfter+silentAfter {
			t.Errorf("moved after %v", took)
		}
	})
}
