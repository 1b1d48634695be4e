package gateway

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/discovery"
	"github.com/swarmgate/swarmgate/server"
	"github.com/swarmgate/swarmgate/wtproto"
)

// wireClient is a client that speaks the protocol by hand: it joins one topic and opens further
// circuits.
type wireClient struct {
	testing.TB
	wire
	circuits chan wireCircuit // that the gateway opens or offers, in the order in which they come
}

// wireCircuit is a circuit of a wireClient, with what the gateway told of it.
type wireCircuit struct {
	wtproto.Peer
	io.ReadWriteCloser
}

// wireCredit is the credit of each circuit, which no test uses up unless it wants to.
const wireCredit = 64 << 10

// joinByHand joins topic.
func joinByHand(t testing.TB, w wire, topic wtproto.Topic, flags wtproto.JoinFlags) *wireClient {
	t.Helper()
	c := &wireClient{t, w, make(chan wireCircuit, 1024)}
	control := w.open()
	m := wtproto.Hello{Version: 1, Credit: wireCredit}
	rand.Read(m.Secret[:])
	control.Write(m.Append(nil))
	control.Write(wtproto.Join{Topic: topic, Flags: flags}.Append(nil))
	r := framesOf(control)
	next(t, r, wtproto.TypeJoined)
	go func() {
		for {
			typ, payload, err := r.Next()
			if err != nil {
				return
			}
			if offer, err := wtproto.ParsePeer(payload); typ == wtproto.TypePeer && err == nil {
				s := w.open()
				s.Write(wtproto.Accept{Circuit: offer.Circuit}.Append(nil))
				c.circuits <- wireCircuit{offer, s}
			}
		}
	}()
	go func() {
		for {
			s, err := w.accept(t.Context())
			if err != nil {
				return
			}
			go func() {
				if p, err := readPeer(s); err == nil {
					c.circuits <- wireCircuit{p, s}
				}
			}()
		}
	}()
	return c
}

// readPeer reads the first frame of a stream, which has to be PEER.
func readPeer(s io.Reader) (wtproto.Peer, error) {
	typ, payload, err := wtproto.NewReader(s).Next()
	if err != nil {
		return wtproto.Peer{}, err
	}
	if typ == wtproto.TypeRefused {
		m, err := wtproto.ParseRefused(payload)
		return wtproto.Peer{}, errors.Join(err, wtproto.Errorf(m.Code, "%s", m.Reason))
	}
	if typ != wtproto.TypePeer {
		return wtproto.Peer{}, fmt.Errorf("got %v", typ)
	}
	p, err := wtproto.ParsePeer(payload)
	p.ID = bytes.Clone(p.ID)
	return p, err
}

func (c *wireClient) circuit() wireCircuit {
	c.Helper()
	select {
	case x := <-c.circuits:
		return x
	case <-Context(c).Done():
		c.Fatal("no circuit")
		panic("unreachable")
	}
}

// connect opens one more circuit with p, and sends early right behind CONNECT.
func (c *wireClient) connect(p wtproto.Peer, early []byte) (wireCircuit, error) {
	s := c.open()
	s.Write(append(wtproto.Connect{Topic: p.Topic, Network: p.Network, ID: p.ID}.Append(nil), early...))
	got, err := readPeer(s)
	return wireCircuit{got, s}, err
}

// notNow reports whether CONNECT was refused for the moment: if all do much at once on a busy
// machine, an answer to the gateway's PING may take more than the 3 s after which it doubts.
func notNow(err error) bool {
	e, ok := errors.AsType[*wtproto.Error](err)
	return ok && e.Code == wtproto.CodePeerUnreachable && strings.HasSuffix(e.Reason, "does not answer now")
}

// reset ends a circuit both ways.
func (c wireCircuit) reset(code wtproto.Code) {
	switch s := c.ReadWriteCloser.(type) {
	case *quic.Stream:
		s.CancelRead(quic.StreamErrorCode(code))
		s.CancelWrite(quic.StreamErrorCode(code))
	case *webtransport.Stream:
		s.CancelRead(webtransport.StreamErrorCode(code))
		s.CancelWrite(webtransport.StreamErrorCode(code))
	case *webStream:
		s.cut(code)
	}
}

// resetCode returns the code of the reset that err is.
func resetCode(err error) wtproto.Code {
	if e, ok := errors.AsType[*quic.StreamError](err); ok && e.Remote {
		return wtproto.Code(e.ErrorCode)
	}
	if e, ok := errors.AsType[*webtransport.StreamError](err); ok && e.Remote {
		return wtproto.Code(e.ErrorCode)
	}
	if e, ok := errors.AsType[*webReset](err); ok {
		return e.code
	}
	return wtproto.CodeNone
}

// wireDials are all transports.
func wireDials(g *Gateway) map[string]func(t testing.TB) wire {
	return map[string]func(t testing.TB) wire{
		"quic":         g.rawDial,
		"webtransport": func(t testing.TB) wire { return g.webTransportDial(t, 100, "") },
		"websocket":    g.webSocketDial,
	}
}

// exchange opens n circuits with p at once. On each it sends bytes right behind CONNECT, and their
// end, and reads as many bytes, and their end, from the peer, which has to be an echo.
func (c *wireClient) exchange(p wtproto.Peer, n int) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			data := random(8<<10 - i)
			ask := func() (s io.ReadWriteCloser, got wtproto.Peer, err error) {
				s = c.open()
				wg.Go(func() { // while it reads: credit is more than QUIC's window of the connection
					s.Write(append(wtproto.Connect{Topic: p.Topic, Network: p.Network, ID: p.ID}.Append(nil), data...))
					s.Close()
				})
				got, err = readPeer(s)
				return s, got, err
			}
			s, got, err := ask()
			for ctx := Context(c); notNow(err) && ctx.Err() == nil; {
				s, got, err = ask()
			}
			if err != nil || got.Flags&(wtproto.PeerFurther|wtproto.PeerInitiator) != wtproto.PeerFurther|wtproto.PeerInitiator || !bytes.Equal(got.ID, p.ID) {
				c.Errorf("CONNECT was answered with %+v, %v", got, err)
				return
			}
			if b, err := io.ReadAll(s); err != nil || !bytes.Equal(b, data) {
				c.Errorf("%d bytes came back of %d, %v", len(b), len(data), err)
			}
		})
	}
	wg.Wait()
}

// A client opens a hundred streams with a TCP service at once, each of which is a connection of
// its own. One that is not read stalls none of the others.
func TestHundredStreamsWithService(t *testing.T) {
	topic := wtproto.TopicFromName("service")
	peer := Listen(t, func(c *net.TCPConn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		if first[0] == '!' { // more than the client has credit for
			c.Write(make([]byte, 4<<20))
			return
		}
		c.Write(first)
		Echo(c)
	})
	g := Start(t, server.Config{MaxSessionsPerPrincipal: -1, Networks: []discovery.Network{Static(t, topic, peer.Addr().String())}})
	for name, dial := range wireDials(g) {
		t.Run(name, func(t *testing.T) {
			c := joinByHand(t, dial(t), topic, wtproto.JoinLookUp)
			first := c.circuit()
			first.Write([]byte("x"))
			if _, err := io.ReadFull(first, make([]byte, 1)); err != nil { // the service has accepted it
				t.Fatalf("the first circuit: %v", err)
			}
			before := peer.Accepted()
			unread, err := c.connect(first.Peer, []byte("!"))
			if err != nil {
				t.Fatal(err)
			}
			c.exchange(first.Peer, 100)
			if n := peer.Accepted() - before; n != 101 {
				t.Errorf("the service got %d connections, want 101", n)
			}
			first.Write([]byte("x"))
			if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
				t.Errorf("the first circuit: %v", err)
			}
			if n, err := io.CopyN(io.Discard, unread, wireCredit); err != nil {
				t.Errorf("the circuit that was not read had %d bytes, %v", n, err)
			}
			unread.reset(0x107)
			first.reset(0x107)
		})
	}
	Eventually(t, "the circuits end", func() bool { return g.Topics()[0].Circuits == 0 })
}

// Two clients of a gateway open a hundred streams with each other at once, either of them.
func TestHundredStreamsBetweenClients(t *testing.T) {
	g := Start(t, server.Config{MaxSessionsPerPrincipal: -1})
	const flags = wtproto.JoinAnnounce | wtproto.JoinLookUp | wtproto.JoinStreams
	for from, dialFrom := range wireDials(g) {
		for to, dialTo := range wireDials(g) {
			if to == from {
				continue
			}
			t.Run(from+" and "+to, func(t *testing.T) {
				topic := wtproto.TopicFromName(t.Name())
				a, b := joinByHand(t, dialFrom(t), topic, flags), joinByHand(t, dialTo(t), topic, flags)
				x, y := a.circuit(), b.circuit()
				var accepted, served sync.WaitGroup
				for _, c := range []*wireClient{a, b} {
					accepted.Go(func() {
						for range 101 {
							s := c.circuit()
							if s.Flags != wtproto.PeerFurther|wtproto.PeerClient {
								t.Errorf("PEER = %+v", s.Peer)
							}
							served.Go(func() {
								first := make([]byte, 1)
								if _, err := io.ReadFull(s, first); err == nil && first[0] != '!' { // else it is not read
									s.Write(first)
									io.Copy(s, s)
									s.Close()
								}
							})
						}
					})
				}
				var asked sync.WaitGroup
				for _, side := range []struct {
					c *wireClient
					p wtproto.Peer
				}{{a, x.Peer}, {b, y.Peer}} {
					stalled, err := side.c.connect(side.p, []byte("!"))
					if err != nil {
						t.Fatal(err)
					}
					asked.Go(func() {
						if n, err := stalled.Write(make([]byte, 4<<20)); err == nil {
							t.Errorf("a circuit that nobody reads took %d bytes", n)
						}
					})
					asked.Go(func() {
						side.c.exchange(side.p, 100)
						accepted.Wait() // a reset overtakes what the other side has not read
						stalled.reset(0x107)
					})
				}
				asked.Wait()
				served.Wait()
				x.Write([]byte("x"))
				if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
					t.Errorf("the first circuit: %v", err)
				}
			})
		}
	}
}

// Codes and ends of further circuits pass as those of others, and who takes CONNECT back leaves
// nothing.
func TestFurtherCircuitsEnd(t *testing.T) {
	g := Start(t, server.Config{MaxSessionsPerPrincipal: -1, OfferTimeout: Patience})
	for name, dial := range wireDials(g) {
		t.Run(name, func(t *testing.T) {
			topic := wtproto.TopicFromName(t.Name())
			a := joinByHand(t, dial(t), topic, wtproto.JoinAnnounce|wtproto.JoinLookUp)
			b := joinByHand(t, g.rawDial(t), topic, wtproto.JoinAnnounce|wtproto.JoinLookUp|wtproto.JoinStreams)
			x, y := a.circuit(), b.circuit()
			for _, sender := range []string{"asker", "asked"} {
				fx, err := a.connect(x.Peer, nil)
				if err != nil {
					t.Fatal(err)
				}
				fy := b.circuit()
				from, to := fx, fy
				if sender == "asked" {
					from, to = fy, fx
				}
				from.reset(0x109)
				if _, err := io.ReadAll(to); resetCode(err) != 0x109 {
					t.Errorf("%s resets: Read = %v, want 0x109", sender, err)
				}
			}
			if _, err := b.connect(y.Peer, nil); err == nil {
				t.Error("a got a further circuit, for which it has not asked")
			} else if code, _ := Code(err); code != wtproto.CodeDeclined {
				t.Errorf("CONNECT = %v, want DECLINED", err)
			}
			fx, err := a.connect(x.Peer, nil)
			if err != nil {
				t.Fatal(err)
			}
			fy := b.circuit()
			fx.Write([]byte("question"))
			fx.Close()
			if q, err := io.ReadAll(fy); string(q) != "question" || err != nil {
				t.Errorf("question %q, %v", q, err)
			}
			fy.Write([]byte("answer"))
			fy.Close()
			if q, err := io.ReadAll(fx); string(q) != "answer" || err != nil {
				t.Errorf("answer %q, %v", q, err)
			}
			for range 20 { // at any moment of its opening
				s := a.open()
				s.Write(wtproto.Connect{Topic: topic, Network: x.Network, ID: x.ID}.Append(nil))
				wireCircuit{ReadWriteCloser: s}.reset(0x10a)
			}
			Eventually(t, "nothing is left of them", func() bool {
				return slices.ContainsFunc(g.Topics(), func(s server.TopicStatus) bool { return s.Topic == topic && s.Circuits == 1 })
			})
			x.Write([]byte("x"))
			if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
				t.Errorf("the first circuit: %v", err)
			}
		})
	}
}
