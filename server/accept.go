package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
	"golang.org/x/time/rate"

	"github.com/swarmgate/swarmgate/internal/udp"
	"github.com/swarmgate/swarmgate/server/auth"
	"github.com/swarmgate/swarmgate/wtproto"
)

// requestsOnly is how long an HTTP/3 connection may live without a session.
const requestsOnly = 30 * time.Second

// handshakesUnproven is how many handshakes a second are taken from addresses that have not shown that they are theirs.
const handshakesUnproven = 200

// acceptor takes connections from the socket: raw QUIC and HTTP/3 on the same port, told apart by ALPN. It owns a
// goroutine for each connection.
type acceptor struct {
	server    *Server
	transport *quic.Transport
	listener  *quic.EarlyListener
	h3        *webtransport.Server
	wg        sync.WaitGroup
}

// visit is what a connection's context carries from the accept to the session. An HTTP/3 connection may carry one session, or
// requests alone.
type visit struct {
	conn    *quic.Conn // set before the first request
	refusal *refusal   // set before the first request
	leave   func()     // gives its place back; set before the first request, and may be called again
	once    sync.Once
	began   chan struct{} // closed by once, when a session begins
}

type visitKey struct{}

func newAcceptor(s *Server, conn net.PacketConn) (*acceptor, error) {
	a := &acceptor{server: s}
	if c, ok := conn.(*net.UDPConn); ok {
		wrapped, err := udp.Wrap(c)
		if err != nil {
			return nil, err
		}
		conn = wrapped
	}
	limit := rate.NewLimiter(handshakesUnproven, handshakesUnproven)
	a.transport = &quic.Transport{
		Conn:                conn,
		VerifySourceAddress: func(net.Addr) bool { return !limit.Allow() },
		ConnContext: func(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
			return context.WithValue(ctx, visitKey{}, &visit{began: make(chan struct{})}), nil
		},
	}
	if k := s.cfg.StatelessResetKey; k != nil {
		a.transport.StatelessResetKey = (*quic.StatelessResetKey)(k)
	}
	if k := s.cfg.TokenKey; k != nil {
		a.transport.TokenGeneratorKey = (*quic.TokenGeneratorKey)(k)
	}
	streams := s.cfg.circuits() + spareStreams
	window := uint64(streams) * streamWindow
	quicConfig := &quic.Config{
		MaxIdleTimeout:                   s.cfg.Idle,
		InitialStreamReceiveWindow:       initialStreamWindow,
		MaxStreamReceiveWindow:           streamWindow,
		InitialConnectionReceiveWindow:   window,
		MaxConnectionReceiveWindow:       window,
		MaxIncomingStreams:               int64(streams),
		MaxIncomingUniStreams:            8, // HTTP/3's own
		EnableDatagrams:                  true,
		EnableStreamResetPartialDelivery: true,
	}
	tlsConfig := s.cfg.TLS.Clone()
	tlsConfig.NextProtos = []string{wtproto.ALPN, http3.NextProtoH3}
	tlsConfig.MinVersion = tls.VersionTLS13
	l, err := a.transport.ListenEarly(tlsConfig, quicConfig)
	if err != nil {
		return nil, err
	}
	a.listener = l
	a.h3 = &webtransport.Server{
		H3: &http3.Server{
			Handler:        a.handler(),
			TLSConfig:      tlsConfig,
			MaxHeaderBytes: 16 << 10,
			Logger:         s.log,
		},
		// Safari refuses a server that leaves any of these at zero.
		Config: &webtransport.Config{
			MaxIncomingStreams:    int64(streams),
			MaxIncomingUniStreams: 1,
			MaxIncomingData:       int64(window),
		},
		ApplicationProtocols: []string{wtproto.ALPN},
		ReorderingTimeout:    s.cfg.HelloTimeout,
		CheckOrigin:          func(*http.Request) bool { return true }, // the session refuses, with a code
	}
	return a, nil
}

// run accepts until the server closes or the socket fails. It never waits for a connection.
func (a *acceptor) run() error {
	for {
		conn, err := a.listener.Accept(a.server.ctx)
		if err != nil {
			return err
		}
		a.wg.Go(func() { a.serve(conn) })
	}
}

// wait returns after all connections have ended.
func (a *acceptor) wait() { a.wg.Wait() }

// close frees what newAcceptor made. The socket is the caller's.
func (a *acceptor) close() {
	a.h3.Close()
	a.listener.Close()
	a.transport.Close()
}

// serve serves one connection until it ends.
func (a *acceptor) serve(conn *quic.Conn) {
	select {
	case <-conn.HandshakeComplete():
	case <-conn.Context().Done():
		return
	case <-a.server.ctx.Done():
		conn.CloseWithError(quic.ApplicationErrorCode(wtproto.CodeShutdown), "")
		return
	}
	v := conn.Context().Value(visitKey{}).(*visit)
	v.conn = conn
	v.refusal, v.leave = a.visit(addrOf(conn.RemoteAddr()))
	defer v.leave()
	if conn.ConnectionState().TLS.NegotiatedProtocol == wtproto.ALPN {
		if v.refusal != nil {
			a.refuse(quicLink{conn}, v.refusal)
			return
		}
		newSession(a.server, quicLink{conn}, v.leave).run()
		return
	}
	a.serveHTTP3(v)
}

// visit takes a place for a connection that has no session yet. What it returns to give the place back may be called more than
// once.
func (a *acceptor) visit(addr netip.Addr) (*refusal, func()) {
	p := newPrincipal(&auth.Grant{}, addr)
	if r := a.server.ledger.take(p, resourceVisits, 1); r != nil {
		return r, func() {}
	}
	return nil, sync.OnceFunc(func() { a.server.ledger.give(p, resourceVisits, 1) })
}

// refuse ends a connection that may not have a session, with the code.
func (a *acceptor) refuse(l link, r *refusal) {
	a.server.cfg.Observer.refused(r)
	a.server.cfg.Observer.sessionRefused(r.Code)
	l.close(r.Code, r.Reason)
}

// serveHTTP3 serves requests and one session. A connection that is over a limit is told so in its session, because a page cannot
// tell a refused request from a dead server.
func (a *acceptor) serveHTTP3(v *visit) {
	conn := v.conn
	closeUnlessSession := func() {
		select {
		case <-v.began: // the session closes it, with a code
		default:
			conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no session")
		}
	}
	timeout := time.AfterFunc(requestsOnly, closeUnlessSession)
	defer timeout.Stop()
	stop := context.AfterFunc(a.server.ctx, closeUnlessSession)
	defer stop()
	if err := a.h3.ServeQUICConn(conn); err != nil {
		a.server.log.Debug("HTTP/3 connection failed", "error", err)
	}
}

// handler answers HTTP/3 requests.
func (a *acceptor) handler() http.Handler {
	other := a.server.cfg.Handler
	if other == nil {
		mux := http.NewServeMux()
		mux.Handle(wtproto.InfoPath, a.server.InfoHandler())
		other = mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect && r.URL.Path == wtproto.Path {
			a.upgrade(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// upgrade makes a request a session and serves it.
func (a *acceptor) upgrade(w http.ResponseWriter, r *http.Request) {
	v := r.Context().Value(visitKey{}).(*visit)
	first := false
	v.once.Do(func() { first = true })
	if !first {
		http.Error(w, "one session a connection", http.StatusTooManyRequests)
		return
	}
	keep := &keepStream{ResponseWriter: w}
	session, err := a.h3.Upgrade(keep, r)
	if err != nil {
		a.server.log.Debug("no WebTransport session", "error", err)
		http.Error(w, "this is a WebTransport endpoint", http.StatusBadRequest)
		return
	}
	close(v.began)
	l := newWebTransportLink(v.conn, session, keep, r.Header.Get("Origin"))
	if v.refusal != nil {
		a.refuse(l, v.refusal)
		return
	}
	newSession(a.server, l, v.leave).run()
}

// addrOf returns the IP address of a.
func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr()
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return ap.Addr()
}
