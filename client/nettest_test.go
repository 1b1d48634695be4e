package client

import (
	"io"
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// proxy copies one way between two circuits, as a gateway does: an end is passed on as an end, a
// reset as a reset both ways.
func proxy(dst io.Writer, to, from farStream) {
	if _, err := io.Copy(dst, from); err != nil {
		code := quic.StreamErrorCode(wtproto.CodePeerGone)
		if e, ok := err.(*quic.StreamError); ok {
			code = e.ErrorCode
		}
		for _, s := range []farStream{to, from} {
			s.CancelRead(code)
			s.CancelWrite(code)
		}
		return
	}
	to.Close()
}

// A circuit between two clients is a net.Conn in every way that the Go authors test.
func TestConn(t *testing.T) { overEach(t, testConn) }

func testConn(t *testing.T, g *fake) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		var conns [2]*Conn
		var streams [2]farStream
		var writers [2]*creditWriter
		var clients [2]*Client
		for i := range conns {
			c, r := g.session(nil)
			topic := r.join(c, topicA, JoinOptions{})
			clients[i] = c
			conns[i], streams[i] = r.circuit(topic, 1)
			writers[i] = r.faithful().writer(streams[i], 1)
		}
		go proxy(writers[1], streams[1], streams[0])
		go proxy(writers[0], streams[0], streams[1])
		stop := func() {
			clients[0].Close()
			clients[1].Close()
		}
		return conns[0], conns[1], stop, nil
	})
}
