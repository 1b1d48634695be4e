package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// pageFar is a session of the kind that pages have, in Go. Its credit has no end, so what it costs
// is WebTransport alone.
type pageFar struct {
	tr      *webtransport.Transport
	socket  net.PacketConn
	session *webtransport.Session
	topic   wtproto.Topic
	first   *webtransport.Stream // nil once it was given out
	peer    wtproto.Peer
	meets   bool // each stream is with another peer

	mu      sync.Mutex
	control *webtransport.Stream // guarded by mu while it is written to
}

// dialPage opens a session over WebTransport, with a gateway or without.
func (w way) dialPage(ctx context.Context, gateway bool) (far, error) {
	socket, err := packetConn(w.Socket, w.From+":0")
	if err != nil {
		return nil, err
	}
	f := &pageFar{socket: socket, meets: w.Peers > 0}
	quicTransport := &quic.Transport{Conn: socket}
	f.tr = &webtransport.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		QUICConfig: &quic.Config{
			EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIncomingStreams: 1 << 16,
			InitialStreamReceiveWindow: 6 << 20, MaxStreamReceiveWindow: 6 << 20, // as in Chromium
			InitialConnectionReceiveWindow: 15 << 20, MaxConnectionReceiveWindow: 15 << 20,
		},
		DialAddr: func(ctx context.Context, addr string, tlsCfg *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			to, err := net.ResolveUDPAddr("udp", addr)
			if err != nil {
				return nil, err
			}
			return quicTransport.DialEarly(ctx, to, tlsCfg, cfg)
		},
	}
	if _, f.session, err = f.tr.Dial(ctx, "https://"+w.Addr+wtproto.Path, nil); err != nil {
		f.close()
		return nil, err
	}
	if !gateway {
		return &plainPage{pageFar: f}, nil
	}
	if err := f.begin(ctx, w); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// begin says HELLO, and joins a topic.
func (f *pageFar) begin(ctx context.Context, w way) error {
	var err error
	if f.control, err = f.session.OpenStreamSync(ctx); err != nil {
		return err
	}
	hello := wtproto.Hello{Version: wtproto.Version, Credit: 1 << 40, Agent: "bench"}
	rand.Read(hello.Secret[:])
	b := hello.Append(nil)
	f.topic = wtproto.TopicFromName(w.Topic)
	if w.Topic != "" {
		b = wtproto.Join{Topic: f.topic, Flags: wtproto.JoinLookUp, MaxPeers: uint64(max(w.Peers, 1))}.Append(b)
	}
	if err := f.say(b); err != nil {
		return err
	}
	r := wtproto.NewReader(f.control)
	answer := wtproto.TypeWelcome
	if w.Topic != "" {
		answer = wtproto.TypeJoined
	}
	for typ := wtproto.Type(0); typ != answer; {
		if typ, _, err = r.Next(); err != nil {
			return err
		}
	}
	go f.answer(r)
	if w.Topic == "" || w.Alone {
		return nil
	}
	s, err := f.session.AcceptStream(ctx)
	if err != nil {
		return err
	}
	f.first = s
	return f.readPeer(s, &f.peer)
}

// say writes to the control stream.
func (f *pageFar) say(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.control.Write(b)
	return err
}

// answer reads the control stream until the session ends, and answers each PING.
func (f *pageFar) answer(r *wtproto.Reader) {
	for {
		typ, payload, err := r.Next()
		if err != nil {
			return
		}
		if typ == wtproto.TypePing {
			if m, err := wtproto.ParsePing(payload); err == nil {
				f.say(wtproto.Pong(m).Append(nil))
			}
		}
	}
}

// readPeer reads the first frame of a circuit.
func (f *pageFar) readPeer(s *webtransport.Stream, to *wtproto.Peer) error {
	_, payload, err := wtproto.NewReader(s).Next()
	if err != nil {
		return err
	}
	m, err := wtproto.ParsePeer(payload)
	m.ID = append([]byte(nil), m.ID...)
	*to = m
	return err
}

func (f *pageFar) open(ctx context.Context) (stream, error) {
	if s := f.first; s != nil {
		f.first = nil
		return pageStream{s}, nil
	}
	var peer wtproto.Peer
	if f.meets {
		s, err := f.session.AcceptStream(ctx)
		if err != nil {
			return nil, err
		}
		return pageStream{s}, f.readPeer(s, &peer)
	}
	s, err := f.session.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(wtproto.Connect{Topic: f.topic, Network: f.peer.Network, ID: f.peer.ID}.Append(nil)); err != nil {
		return nil, err
	}
	return pageStream{s}, f.readPeer(s, &peer)
}

func (f *pageFar) close() {
	if f.session != nil {
		f.session.CloseWithError(0, "")
	}
	f.tr.Close()
	f.socket.Close()
}

// pageStream is a stream over WebTransport.
type pageStream struct{ *webtransport.Stream }

func (s pageStream) CloseWrite() error { return s.Stream.Close() }

func (s pageStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}
