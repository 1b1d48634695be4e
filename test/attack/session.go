package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/wtproto"
)

// dialer opens QUIC connections from one socket.
type dialer struct {
	transport *quic.Transport
	to        net.Addr
}

// close ends the connections of d, and its socket.
func (d *dialer) close() {
	d.transport.Close()
	d.transport.Conn.Close()
}

// newDialer returns a dialer, which ends with the program if it is not closed.
func (t target) newDialer() *dialer {
	conn, err := udp.Listen("udp", net.JoinHostPort(t.from.String(), "0"))
	if err != nil {
		panic(err)
	}
	return &dialer{&quic.Transport{Conn: conn}, net.UDPAddrFromAddrPort(t.quic)}
}

// connect opens a connection.
func (d *dialer) connect(ctx context.Context, protocol string) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return d.transport.Dial(ctx, d.to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, &quic.Config{
		MaxIncomingStreams:               4096,
		InitialStreamReceiveWindow:       512, // what is unread stays at the gateway
		MaxStreamReceiveWindow:           512,
		InitialConnectionReceiveWindow:   16 << 20,
		KeepAlivePeriod:                  15 * time.Second,
		EnableDatagrams:                  protocol == http3.NextProtoH3,
		EnableStreamResetPartialDelivery: protocol == http3.NextProtoH3,
	})
}

// session is a session as an attacker has it: only what is sent is decided here.
type session struct {
	conn     *quic.Conn
	control  *quic.Stream
	endpoint wtproto.EndpointID
	write    sync.Mutex
}

// open opens a session and says HELLO.
func (d *dialer) open(ctx context.Context) (*session, error) {
	conn, err := d.connect(ctx, wtproto.ALPN)
	if err != nil {
		return nil, err
	}
	control, err := conn.OpenStream()
	if err != nil {
		return nil, err
	}
	hello := wtproto.Hello{Version: wtproto.Version, Credit: 1 << 40, Agent: "attack"}
	rand.Read(hello.Secret[:])
	s := &session{conn: conn, control: control, endpoint: hello.Secret.Endpoint()}
	if err := s.send(hello.Append(nil)); err != nil {
		return nil, err
	}
	typ, _, err := wtproto.NewReader(control).Next()
	if err == nil && typ != wtproto.TypeWelcome {
		err = errors.New("no WELCOME")
	}
	return s, err
}

// openAll opens up to n sessions, and returns those that came about.
func (t target) openAll(ctx context.Context, n int) (all []*session) {
	d := t.newDialer()
	for range n {
		s, err := d.open(ctx)
		t.tally.count(err)
		if err == nil {
			all = append(all, s)
		}
	}
	return all
}

// send writes to the control stream.
func (s *session) send(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	_, err := s.control.Write(b)
	return err
}

// discard reads the control stream to its end.
func (s *session) discard() { io.Copy(io.Discard, s.control) }

// join joins a topic.
func (s *session) join(topic wtproto.Topic, flags wtproto.JoinFlags, peers uint64) error {
	return s.send(wtproto.Join{Topic: topic, Flags: flags, MaxPeers: peers}.Append(nil))
}

// both asks to announce and to look up.
const both = wtproto.JoinAnnounce | wtproto.JoinLookUp

// circuits hands each circuit that the gateway opens to serve, in a goroutine, after its PEER.
func (s *session) circuits(ctx context.Context, serve func(*quic.Stream)) {
	for {
		str, err := s.conn.AcceptStream(ctx)
		if err != nil {
			return
		}
		go func() {
			if _, _, err := wtproto.NewReader(str).Next(); err == nil {
				serve(str)
			}
		}()
	}
}

// randomTopic returns a topic that nobody is on.
func randomTopic() (t wtproto.Topic) {
	rand.Read(t[:])
	return t
}

// each runs f for all sessions at once, again and again until ctx ends, or f fails for good.
func each(ctx context.Context, all []*session, f func(*session) error) {
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			for ctx.Err() == nil && f(s) == nil {
			}
		})
	}
	wg.Wait()
}

// keep runs f in n goroutines, again and again until ctx ends.
func keep(ctx context.Context, n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	wg.Wait()
}
