package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// handmade is a WebTransport session whose streams are made by hand, so that they can be reset
// with any code of QUIC.
type handmade struct {
	t       *testing.T
	conn    *quic.Conn
	session *webtransport.Session
	control *webtransport.Stream
	frames  *frames
}

// handmade connects a client that has been welcomed. Without a config it has no flow control of
// WebTransport's, as browsers.
func (g *Gateway) handmade(t *testing.T, cfg *webtransport.Config) *handmade {
	t.Helper()
	h := &handmade{t: t}
	tr := &webtransport.Transport{
		Config:          cfg,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		QUICConfig:      &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, HandshakeIdleTimeout: Patience},
		DialAddr: func(ctx context.Context, addr string, t *tls.Config, q *quic.Config) (conn *quic.Conn, err error) {
			h.conn, err = quic.DialAddrEarly(ctx, addr, t, q)
			return h.conn, err
		},
	}
	var err error
	if _, h.session, err = tr.Dial(Context(t), g.URL+wtproto.Path, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.session.CloseWithError(0, "")
		h.conn.CloseWithError(0, "")
		tr.Close()
	})
	if h.control, err = h.session.OpenStream(); err != nil {
		t.Fatal(err)
	}
	var secret wtproto.Secret
	rand.Read(secret[:])
	h.control.Write(wtproto.Hello{Version: 1, Credit: 64 << 10, Secret: secret}.Append(nil))
	h.frames = framesOf(h.control)
	next(t, h.frames, wtproto.TypeWelcome)
	return h
}

// accept takes the next offer.
func (h *handmade) accept() *quic.Stream {
	h.t.Helper()
	p, err := wtproto.ParsePeer(next(h.t, h.frames, wtproto.TypePeer))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.take(p)
}

// take takes an offer, on a stream that the library does not know of.
func (h *handmade) take(p wtproto.Peer) *quic.Stream {
	h.t.Helper()
	s, err := h.conn.OpenStream()
	if err != nil {
		h.t.Fatal(err)
	}
	b := quicvarint.Append(nil, 0x41) // a WebTransport stream, of the session whose CONNECT was the first stream
	b = quicvarint.Append(b, 0)
	s.Write(b)
	s.SetReliableBoundary()
	s.Write(wtproto.Accept{Circuit: p.Circuit}.Append(nil))
	return s
}

// noneLeft waits until the gateway has neither sessions nor circuits.
func (g *Gateway) noneLeft(t *testing.T) {
	t.Helper()
	Eventually(t, "all circuits end", func() bool {
		for _, top := range g.Topics() {
			if top.Circuits > 0 {
				return false
			}
		}
		return g.Sessions() == 0
	})
}

// sessionGone is the code with which a WebTransport library resets the streams of a session that
// it closes.
const sessionGone = 0x170d7b68

// A stream that is reset with WT_SESSION_GONE makes webtransport-go wait for the end of the
// session, without a deadline, and ignore CancelRead: each circuit that a client ended so stayed
// for ever, and with it its topic, and after SIGTERM the program.
// A circuit that the peer resets at once, before the client has looked at its stream, is a circuit
// all the same: the client learns who the peer is, and then the code.
func TestResetBehindPeer(t *testing.T) {
	g := Start(t, server.Config{MaxSessionsPerPrincipal: -1})
	for name, dial := range map[string]func(testing.TB) wire{
		"quic":         g.rawDial,
		"webtransport": func(t testing.TB) wire { return g.webTransportDial(t, 100, "") },
	} {
		t.Run(name, func(t *testing.T) {
			topic := wtproto.TopicFromName(t.Name())
			w := dial(t)
			control := w.open()
			control.Write(hello())
			control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp}.Append(nil))
			frames := wtproto.NewReader(control)
			next(t, frames, wtproto.TypeJoined)
			other := joinByHand(t, g.rawDial(t), topic, wtproto.JoinAnnounce)
			other.circuit().reset(0x10b)
			Eventually(t, "the circuit ends", func() bool { return g.Topics()[0].Circuits == 0 })
			control.Write(wtproto.Ping{}.Append(nil))
			next(t, frames, wtproto.TypePong) // the reset has come before it
			s, err := w.accept(Context(t))
			if err != nil {
				t.Fatal(err)
			}
			if p, err := readPeer(s); err != nil || p.Topic != topic {
				t.Errorf("PEER = %+v, %v", p, err)
			}
			if _, err := io.ReadAll(s); resetCode(err) != 0x10b {
				t.Errorf("Read = %v, want 0x10b", err)
			}
		})
	}
}

func TestCircuitsEndAfterSessionGone(t *testing.T) {
	const circuits = 20
	topic := wtproto.TopicFromName("gone")
	var addrs []string
	ended := make(chan error, circuits)
	for range circuits {
		addrs = append(addrs, Listen(t, func(c *net.TCPConn) {
			_, err := io.Copy(c, c)
			ended <- err
		}).Addr().String())
	}
	for name, end := range map[string]func(*handmade, []*quic.Stream){
		"reset and stop": func(h *handmade, all []*quic.Stream) {
			for _, s := range all {
				s.CancelWrite(sessionGone)
				s.CancelRead(sessionGone)
			}
		},
		"reset and stop, then the session": func(h *handmade, all []*quic.Stream) {
			for _, s := range all {
				s.CancelWrite(sessionGone)
				s.CancelRead(sessionGone)
			}
			h.session.CloseWithError(0, "")
		},
		"reset alone": func(h *handmade, all []*quic.Stream) {
			for _, s := range all {
				s.CancelWrite(sessionGone)
			}
		},
		"stop alone": func(h *handmade, all []*quic.Stream) {
			for _, s := range all {
				s.CancelRead(sessionGone)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, addrs...)}})
			h := g.handmade(t, nil)
			h.control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp | wtproto.JoinOfferOnly}.Append(nil))
			var all []*quic.Stream
			for range circuits {
				s := h.accept()
				s.Write([]byte("x"))
				if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			end(h, all)
			for range circuits {
				select {
				case <-ended:
				case <-Context(t).Done():
					t.Fatal("a peer still has its circuit")
				}
			}
			h.session.CloseWithError(0, "")
			g.noneLeft(t)
		})
	}
}

// Chromium's pages crashed, about once in 20 times on a busy machine, if the gateway ended a
// session in which a stream to the page was open, as the control stream always was. The gateway
// resets them before it tells the end; the library's own reset, WT_SESSION_GONE, comes after the
// client's answer.
func TestStreamsEndBeforeTheirSession(t *testing.T) {
	topic := wtproto.TopicFromName("before")
	hold := func(c *net.TCPConn) {
		c.Write([]byte("x"))
		io.Copy(io.Discard, c)
	}
	g := Start(t, server.Config{Networks: []discovery.Network{Static(t, topic, Listen(t, hold).Addr().String(), Listen(t, hold).Addr().String())}})
	h := g.handmade(t, nil)
	h.control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp | wtproto.JoinOfferOnly}.Append(nil))
	taken := []*quic.Stream{h.accept(), h.accept()}
	for _, s := range taken {
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	g.Close()
	const peerGone = 0x52e4a40fa8db + quic.StreamErrorCode(wtproto.CodePeerGone) // as WebTransport has it
	for i, s := range taken {
		_, err := s.Read(make([]byte, 1))
		if e, ok := errors.AsType[*quic.StreamError](err); !ok || !e.Remote || e.ErrorCode != peerGone {
			t.Errorf("stream %d ended with %v, want a reset with PEER_GONE", i, err)
		}
	}
	_, _, err := h.frames.Next()
	if e, ok := errors.AsType[*webtransport.StreamError](err); !ok || !e.Remote || e.ErrorCode != webtransport.StreamErrorCode(wtproto.CodePeerGone) {
		if e, ok := errors.AsType[*webtransport.SessionError](err); !ok || e.ErrorCode != webtransport.SessionErrorCode(wtproto.CodeShutdown) {
			t.Errorf("the control stream ended with %v, want a reset with PEER_GONE, or the end of its session", err)
		}
	}
	if _, err = h.session.AcceptStream(Context(t)); err == nil || !strings.Contains(err.Error(), "the gateway is closed") {
		t.Errorf("the session ended with %v, want the gateway's reason", err)
	}
}

// A client that closes its session in the middle of a transfer left its circuit behind, 35 times
// in 800.
func TestCircuitsEndWithBusySession(t *testing.T) {
	topic := wtproto.TopicFromName("busy")
	peer := Listen(t, func(c *net.TCPConn) {
		go io.Copy(io.Discard, c)
		for b := make([]byte, 32<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	g := Start(t, server.Config{
		IsolateClients: true, MaxSessionsPerPrincipal: -1,
		Networks: []discovery.Network{Static(t, topic, peer.Addr().String())},
	})
	atOnce(t, 5, 40, func(t *testing.T) {
		h := g.handmade(t, nil)
		h.control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp}.Append(nil))
		s, err := h.session.AcceptStream(Context(t))
		if err != nil {
			t.Fatal(err)
		}
		s.Read(make([]byte, 4096))
		var writing sync.WaitGroup
		writing.Go(func() {
			for b := make([]byte, 4096); ; {
				if _, err := s.Write(b); err != nil {
					return
				}
			}
		})
		s.Read(make([]byte, 4096))
		h.session.CloseWithError(0, "")
		writing.Wait()
	})
	g.noneLeft(t)
}

// atOnce runs n tests at the same time, each some rounds.
func atOnce(t *testing.T, n, rounds int, test func(*testing.T)) {
	t.Run("at once", func(t *testing.T) {
		for i := range n {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for range rounds {
					test(t)
				}
			})
		}
	})
}

// The gateway wrote the capsule that ends a session while the library wrote others there, for a
// client that uses WebTransport's flow control: that was a data race, and a capsule of the
// library's after the end reset the stream before the client had the code.
func TestCodesReachEveryLibrary(t *testing.T) {
	for name, cfg := range map[string]*webtransport.Config{
		"without flow control": nil,
		"with flow control":    {MaxIncomingStreams: 100, MaxIncomingUniStreams: 1, MaxIncomingData: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			topic := wtproto.TopicFromName("codes")
			g := Start(t, server.Config{
				IsolateClients: true, MaxSessionsPerPrincipal: -1,
				Networks: []discovery.Network{Static(t, topic, Listen(t, Echo).Addr().String())},
			})
			atOnce(t, 4, 25, func(t *testing.T) { g.endsWithCode(t, cfg, topic) })
		})
	}
}

// endsWithCode has the gateway end a session in which streams end and bytes pass, and checks what
// the client is told.
func (g *Gateway) endsWithCode(t *testing.T, cfg *webtransport.Config, topic wtproto.Topic) {
	h := g.handmade(t, cfg)
	h.control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp}.Append(nil))
	s, err := h.session.AcceptStream(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(io.Discard, s) })
	wg.Go(func() {
		for b := make([]byte, 1000); ; {
			if _, err := s.Write(b); err != nil {
				return
			}
		}
	})
	for range 20 { // each makes the library say that there may be one more
		s, err := h.session.OpenStream()
		if err != nil {
			break
		}
		s.CancelWrite(0)
		s.CancelRead(0)
	}
	h.control.Write(wtproto.Welcome{}.Append(nil))
	_, err = h.session.AcceptStream(Context(t))
	for err == nil {
		_, err = h.session.AcceptStream(Context(t))
	}
	if e, ok := errors.AsType[*webtransport.SessionError](err); !ok || wtproto.Code(e.ErrorCode) != wtproto.CodeProtocol || !strings.Contains(e.Message, "does not come from clients") {
		t.Errorf("the session ended with %v, want PROTOCOL and why", err)
	}
	wg.Wait()
}

// A reset overtakes the DECLINE that says its code, as with a page whose browser cannot reset with
// that code. The other end learns it all the same.
func TestDeclineAfterReset(t *testing.T) {
	const mine = wtproto.CodeApplication + 777
	g := Start(t, server.Config{})
	h := g.handmade(t, nil)
	for name, code := range map[string]quic.StreamErrorCode{
		"without a code": 0x52e4a40fa8db, "with a number that is not a code": 0x10c, "with WT_SESSION_GONE": sessionGone,
	} {
		topic := wtproto.TopicFromName(name)
		h.control.Write(wtproto.Join{Topic: topic, Flags: wtproto.JoinLookUp | wtproto.JoinAnnounce | wtproto.JoinOfferOnly}.Append(nil))
		top := Join(t, g.Dial(t, client.Config{}), topic, client.JoinOptions{})
		p, err := wtproto.ParsePeer(next(t, h.frames, wtproto.TypePeer))
		if err != nil {
			t.Fatal(err)
		}
		s := h.take(p)
		s.Write([]byte("x"))
		conn := Accept(t, top)
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		s.CancelWrite(code)
		s.CancelRead(code)
		h.control.Write(wtproto.Decline{Circuit: p.Circuit, Code: mine}.Append(nil))
		if _, err := conn.Read(make([]byte, 1)); err == nil || !isRemote(err, mine) {
			t.Errorf("%s: the other end saw %v, want %v", name, err, mine)
		}
	}
}

func isRemote(err error, code wtproto.Code) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == code && e.Remote
}

// QUIC ended a silent connection in the same moment in which the gateway ended its session, and in
// one of ten cases, more on a busy machine, the client was told nothing instead of IDLE.
func TestIdleIsTold(t *testing.T) {
	for name, cfg := range map[string]*webtransport.Config{
		"without flow control": nil,
		"with flow control":    {MaxIncomingStreams: 100, MaxIncomingUniStreams: 1, MaxIncomingData: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			g := Start(t, server.Config{MaxSessionsPerPrincipal: -1, Idle: 2 * time.Second})
			var all []*handmade
			for range 60 {
				all = append(all, g.handmade(t, cfg))
			}
			for _, h := range all {
				_, err := h.session.AcceptStream(Context(t))
				if e, ok := errors.AsType[*webtransport.SessionError](err); !ok || wtproto.Code(e.ErrorCode) != wtproto.CodeIdle {
					t.Errorf("the session ended with %v, want IDLE", err)
				}
			}
		})
	}
}
