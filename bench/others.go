package main

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/swarmgate/swarmgate/wtproto"
)

// This file is what one would write today without swarmgate: webtransport-go by itself, and yamux
// over one WebSocket over TLS.

// servePage is the role of a server that speaks WebTransport without a gateway.
func servePage(host string) error {
	conn, err := packetConn("udp", host+":0")
	if err != nil {
		return err
	}
	cert, err := certificate()
	if err != nil {
		return err
	}
	cfg := rawConfig()
	cfg.EnableDatagrams, cfg.EnableStreamResetPartialDelivery = true, true
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{http3.NextProtoH3}}
	mux := http.NewServeMux()
	s := &webtransport.Server{
		H3:          &http3.Server{Handler: mux, TLSConfig: tlsConfig},
		CheckOrigin: func(*http.Request) bool { return true },
	}
	webtransport.ConfigureHTTP3Server(s.H3)
	mux.HandleFunc(wtproto.Path, func(w http.ResponseWriter, r *http.Request) {
		session, err := s.Upgrade(w, r)
		if err != nil {
			return
		}
		for {
			str, err := session.AcceptStream(context.Background())
			if err != nil {
				return
			}
			go func() {
				serve(str)
				str.Close()
				str.CancelRead(0)
			}()
		}
	})
	l, err := (&quic.Transport{Conn: conn}).ListenEarly(tlsConfig, cfg)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			go s.ServeQUICConn(c)
		}
	}()
	return answerCalls(listening{Addr: conn.LocalAddr().String()}, nil)
}

// plainPage is a session with servePage.
type plainPage struct{ *pageFar }

func (f *plainPage) open(ctx context.Context) (stream, error) {
	s, err := f.session.OpenStreamSync(ctx)
	return pageStream{s}, err
}

// yamuxConfig is yamux's own, with room for what a window of QUIC holds.
func yamuxConfig() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.LogOutput, cfg.Logger = nil, log.New(io.Discard, "", 0)
	cfg.MaxStreamWindowSize = 6 << 20
	return cfg
}

// serveYamux is the role of a server that puts all streams into one WebSocket, each of which it
// connects with a TCP service, as the gateway does.
func serveYamux(host, peer string) error {
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return err
	}
	cert, err := certificate()
	if err != nil {
		return err
	}
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		session, err := yamux.Server(websocket.NetConn(context.Background(), c, websocket.MessageBinary), yamuxConfig())
		if err != nil {
			return
		}
		for {
			str, err := session.AcceptStream()
			if err != nil {
				return
			}
			go passOn(str, peer)
		}
	})}
	go s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	return answerCalls(listening{Addr: l.Addr().String()}, nil)
}

// passOn connects a stream with a TCP service.
func passOn(str *yamux.Stream, peer string) {
	defer str.Close()
	c, err := net.Dial("tcp", peer)
	if err != nil {
		return
	}
	defer c.Close()
	go func() {
		io.Copy(c, str)
		c.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(str, c)
}

// yamuxFar is a session with serveYamux.
type yamuxFar struct {
	socket  *websocket.Conn
	session *yamux.Session
}

func (w way) dialYamux(ctx context.Context) (far, error) {
	c, _, err := websocket.Dial(ctx, "wss://"+w.Addr, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(-1)
	session, err := yamux.Client(websocket.NetConn(context.Background(), c, websocket.MessageBinary), yamuxConfig())
	if err != nil {
		c.CloseNow()
		return nil, err
	}
	return yamuxFar{c, session}, nil
}

func (f yamuxFar) open(context.Context) (stream, error) {
	s, err := f.session.OpenStream()
	if err != nil {
		return nil, err
	}
	return yamuxStream{s}, nil
}

func (f yamuxFar) close() {
	f.session.Close()
	f.socket.CloseNow()
}

// yamuxStream is a stream of yamux, which ends both directions at once.
type yamuxStream struct{ *yamux.Stream }

func (s yamuxStream) CloseWrite() error { return s.Close() }
