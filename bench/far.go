package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/swarmgate/swarmgate/client"
	"github.com/swarmgate/swarmgate/wtproto"
)

// patience is how long anything may take that does not depend on how fast bytes move.
const patience = time.Minute

// way is how a client gets to a server: its answers come from a server without a gateway, or from a
// peer behind one.
type way struct {
	Kind   string   // "webtransport" or a transport of package client, or a server without a gateway
	Socket string   // "stock" or "udp", of the client
	From   string   // the host of the client
	Addr   string   // of the server
	Hashes []string // of the gateway's certificate
	Topic  string   // of the peer
	Alone  bool     // over WebTransport: there is no peer to wait for
	Peers  int      // how many peers of the topic there is a circuit with; 0 is one, with further circuits
}

// stream is one that both kinds of servers have.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// rawStream is a stream of quic-go.
type rawStream struct{ *quic.Stream }

func (s rawStream) CloseWrite() error { return s.Stream.Close() }

func (s rawStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}

// far is a session with a server.
type far interface {
	// open opens a stream that answers exchanges. The first ones may have been there before.
	open(ctx context.Context) (stream, error)
	close()
}

// dial opens a session.
func (w way) dial(ctx context.Context) (far, error) {
	switch w.Kind {
	case "raw":
		return w.dialRaw(ctx)
	case "webtransport":
		return w.dialPage(ctx, true)
	case "raw webtransport":
		return w.dialPage(ctx, false)
	case "yamux":
		return w.dialYamux(ctx)
	case "relay":
		return w.dialRelay(ctx)
	}
	c, err := w.dialGateway(ctx)
	if err != nil || w.Topic == "" {
		return &viaGateway{client: c}, err
	}
	top, err := c.Join(ctx, wtproto.TopicFromName(w.Topic), client.JoinOptions{LookUpOnly: true, MaxPeers: max(w.Peers, 1)})
	if err != nil {
		c.Close()
		return nil, err
	}
	first, err := top.Accept(ctx)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("no circuit: %w, %v", err, top.Status())
	}
	return &viaGateway{client: c, topic: top, first: first, peer: first.Peer(), meets: w.Peers > 0}, nil
}

type rawFar struct {
	tr   *quic.Transport
	conn *quic.Conn
}

func (w way) dialRaw(ctx context.Context) (far, error) {
	to, err := net.ResolveUDPAddr("udp", w.Addr)
	if err != nil {
		return nil, err
	}
	socket, err := packetConn(w.Socket, w.From+":0")
	if err != nil {
		return nil, err
	}
	f := rawFar{tr: &quic.Transport{Conn: socket}}
	f.conn, err = f.tr.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{rawProtocol}}, rawConfig())
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f rawFar) open(ctx context.Context) (stream, error) {
	s, err := f.conn.OpenStreamSync(ctx)
	return rawStream{s}, err
}

func (f rawFar) close() {
	if f.conn != nil {
		f.conn.CloseWithError(0, "")
	}
	f.tr.Close()
	f.tr.Conn.Close()
}

// dialGateway opens a session with a gateway.
func (w way) dialGateway(ctx context.Context) (*client.Client, error) {
	cfg := client.Config{
		Transports: []string{w.Kind}, NoReconnect: true, Budget: 1 << 30, DialTimeout: patience,
		ListenPacket: func() (net.PacketConn, error) { return packetConn(w.Socket, w.From+":0") },
	}
	for _, h := range w.Hashes {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != 32 {
			return nil, errors.New("a bad hash")
		}
		cfg.CertHashes = append(cfg.CertHashes, [32]byte(b))
	}
	return client.Dial(ctx, w.Addr, cfg)
}

// viaGateway is a session with a gateway, and a peer that it has there.
type viaGateway struct {
	client *client.Client
	topic  *client.Topic // nil without one
	first  *client.Conn  // nil once it was given out
	peer   client.Peer
	meets  bool // each stream is with another peer
}

func (f *viaGateway) open(ctx context.Context) (stream, error) {
	if c := f.first; c != nil {
		f.first = nil
		return c, nil
	}
	if f.meets {
		return f.topic.Accept(ctx)
	}
	return f.topic.Open(ctx, f.peer)
}

func (f *viaGateway) close() { f.client.Close() }
